//! The log of a real agent, followed, and what it says of its machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use vardo::stdx::json::{self as own, Bytes};

use super::agent::Agent;

const READ_AGAIN: &str = "the configuration was read again";

/// A follower of the log, in the old version of the protocol: its body is not chunked.
fn follow(agent: &Agent, query: &str) -> BufReader<TcpStream> {
    let mut stream = agent.connect().expect("a connection");
    let head = format!("GET /v1/agent/monitor{query} HTTP/1.0\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).expect("a head"), 0, "{head}");
    }
    let kind = if query.contains("plain=true") { "text/plain" } else { "application/json" };
    assert!(head.contains(" 200 OK\r\n") && head.contains(kind), "{head}");
    reader
}

/// The text of the next frame; empty for one that says nothing.
fn frame(reader: &mut BufReader<TcpStream>) -> String {
    let mut frames = serde_json::Deserializer::from_reader(reader).into_iter::<Value>();
    let frame = frames.next().expect("a frame").expect("JSON");
    let Some(data) = frame.get("Data") else {
        assert_eq!(frame, json!({}));
        return String::new();
    };
    assert_eq!(frame["FileEvent"], "log");
    let bytes: Bytes = own::decode(data.to_string().as_bytes()).expect("base64");
    String::from_utf8(bytes.0).expect("text")
}

/// Lines until one has this text.
fn until(reader: &mut BufReader<TcpStream>, text: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).expect("a line in time"), 0, "the end");
        if line.contains(text) {
            return line;
        }
    }
}

#[test]
fn those_who_follow_the_log_see_more_of_it_than_standard_error() {
    let agent = Agent::start("monitor");
    let mut plain = follow(&agent, "?plain=true");
    let mut placed = follow(&agent, "?plain=true&log_include_location=true&log_level=DEBUG");
    let mut lines = follow(&agent, "?plain=true&log_json=true&log_level=trace");
    let mut frames = follow(&agent, "");
    let mut warnings = follow(&agent, "?log_level=warn");
    agent.put("/v1/agent/reload", &json!({}));
    let line = until(&mut plain, READ_AGAIN);
    assert!(line.ends_with(&format!("Z [INFO] agent::run: {READ_AGAIN}\n")), "{line}");
    let line = until(&mut placed, READ_AGAIN);
    assert!(line.contains(" [INFO] src/agent/run.rs:"), "{line}");
    let line: Value = serde_json::from_str(&until(&mut lines, READ_AGAIN)).expect("JSON");
    let parts = [&line["@level"], &line["@message"], &line["@module"]];
    assert_eq!(parts, ["info", READ_AGAIN, "agent::run"]);
    assert!(line["@timestamp"].as_str().is_some_and(|t| t.ends_with('Z')));
    assert!(frame(&mut frames).contains(READ_AGAIN));
    assert_eq!((frame(&mut frames).as_str(), frame(&mut warnings).as_str()), ("", ""));
    assert!(!agent.log().contains(READ_AGAIN), "the configured level is WARN");

    // One that ends is nobody's business, and a new one begins with what comes then.
    drop((plain, placed, lines));
    agent.put("/v1/agent/reload", &json!({}));
    assert!(frame(&mut frames).contains(READ_AGAIN));
    let mut late = follow(&agent, "?plain=true");
    agent.put("/v1/agent/reload", &json!({}));
    until(&mut late, READ_AGAIN);
    let mut rest = [0; 64];
    late.get_ref().set_nonblocking(true).expect("set");
    assert!(late.read(&mut rest).is_err(), "told twice");

    for (query, text) in [
        ("?log_level=zz", "Unknown log level: zz"),
        ("?log_level=off", "Unknown log level: off"),
        ("?plain=x", "Unknown option for plain: strconv.ParseBool: parsing \"x\": invalid syntax"),
        ("?server_id=zz", "unknown Nomad server zz"),
        ("?node_id=a&server_id=b", "Cannot target node and server simultaneously"),
    ] {
        let reply = agent.get(&format!("/v1/agent/monitor{query}"));
        assert_eq!((reply.status, reply.text().as_str()), (400, text));
    }
}

#[test]
fn another_agent_is_asked_by_its_name() {
    let server = Agent::with("host-server", &json!({ "enable_debug": true }));
    let mut client = Agent::prepare(
        "host-client",
        &json!({
            "enable_debug": true,
            "server": { "enabled": false },
            "client": { "enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)] },
        }),
    );
    client.spawn();
    client.until("a ready node", |a| {
        a.try_get("/v1/nodes").is_some_and(|r| r.text().matches("\"ready\"").count() == 2)
    });
    let id_of = |a: &Agent, path: &str| a.get("/v1/agent/self").json().pointer(path).cloned();
    let node = id_of(&client, "/stats/client/node_id").expect("an id");
    let of_node = format!("?node_id={}", node.as_str().expect("text"));
    let host = |a: &Agent, query: &str| a.get(&format!("/v1/agent/host{query}")).json();
    let home = |a: &Agent| json!(a.dir.display().to_string());

    let plain = host(&server, "");
    assert_eq!(plain["Environment"]["HOME"], home(&server));
    assert!(plain["OS"].as_str().is_some_and(|os| os.starts_with("Linux ")), "{plain}");
    assert!(plain["Disk"].is_object() && plain["Network"].is_array(), "{plain}");
    let asked = host(&server, &of_node);
    assert_eq!(
        (&asked["AgentID"], &asked["HostData"]["Environment"]["HOME"]),
        (&node, &home(&client))
    );
    let asked = host(&client, "?server_id=leader");
    assert_eq!(asked["HostData"]["Environment"]["HOME"], home(&server));
    assert_eq!(host(&client, "?server_id=host-server.global"), asked);

    let mut log = follow(&server, &format!("{of_node}&plain=true"));
    client.put("/v1/agent/reload", &json!({}));
    until(&mut log, READ_AGAIN);
}

#[test]
fn the_description_of_the_host_is_for_debugging() {
    let agent = Agent::start("host-closed");
    let reply = agent.get("/v1/agent/host");
    assert_eq!((reply.status, reply.text().as_str()), (403, "Permission denied"));
}

/// A program in the place of `journalctl`: it tells how it was called, and goes on while followed.
const JOURNALCTL: &str = r#"#!/bin/sh
case "$*" in *-f*) echo $$ > "$HOME/followed" ;; esac
echo "$@"
case "$*" in *-f*) exec sleep 600 ;; *large*) seq 200000 ;; esac
"#;

#[test]
fn the_journal_of_the_machine_is_exported() {
    use std::os::unix::fs::PermissionsExt;
    let mut agent = Agent::prepare("export", &json!({}));
    let program = agent.dir.join("journalctl");
    std::fs::write(&program, JOURNALCTL).expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("set");
    let path = format!("PATH={}:/usr/bin:/bin", agent.dir.display());
    agent.spawn_by(&["/usr/bin/env", &path]);
    agent.until_ready();
    let export = |query: &str| agent.get(&format!("/v1/agent/monitor/export{query}"));
    let args = "--no-pager -xu nomad --since 259200s ago\n";
    assert_eq!(export("?service_name=nomad&plain=true").text(), args);
    let node = agent.get("/v1/agent/self").json()["stats"]["client"]["node_id"].clone();
    let node = node.as_str().expect("an id");
    let frame = export(&format!("?service_name=nomad&logs_since=1h30m&node_id={node}"));
    let args = "--no-pager -xu nomad --since 5400s ago\n";
    let data = Bytes::encode(args.as_bytes());
    assert_eq!(frame.json(), json!({"Data": data, "Offset": args.len()}));
    let large = export("?service_name=nomad-large&plain=true").text();
    assert!(large.ends_with("\n199999\n200000\n"), "{}", large.len());
    for (query, status, text) in [
        ("", 400, "Either -service-name or -on-disk must be set"),
        ("?on_disk=true", 400, "No nomad log file defined"),
        ("?on_disk=true&follow=true", 400, "Cannot follow log file"),
        (
            "?on_disk=true&service_name=nomad",
            400,
            "Cannot target journald and nomad log file simultaneously",
        ),
        ("?service_name=sshd", 422, "service name must include 'nomad"),
        ("?service_name=nomad.x", 422, "service name must include 'nomad"),
        ("?service_name=nomad&logs_since=-1h", 400, "Unable to parse logs_since"),
    ] {
        let answer = export(query);
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{query}");
    }
    // It ends with its reader, and there are not too many.
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(follow(&agent, "/export?service_name=nomad&follow=true"));
        drop(frame_data(readers.last_mut().expect("one")));
    }
    assert!(export("?service_name=nomad").text().contains("under way"));
    let pid = std::fs::read_to_string(agent.dir.join("followed")).expect("a pid");
    drop(readers);
    agent.until("its end", |_| !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists());
    assert_eq!(export("?service_name=nomad").status, 200);
}

#[test]
fn the_log_goes_to_a_file_that_is_begun_anew_and_exported() {
    let mut agent = Agent::prepare("log-file", &json!({}));
    let folder = agent.dir.join("logs");
    std::fs::create_dir(&folder).expect("made");
    let write = |agent: &Agent, file: &str, json: bool| {
        agent.configure(&json!({
            "log_level": "INFO", "log_json": json, "log_file": folder.join(file),
            "log_rotate_bytes": 4_000, "log_rotate_max_files": 2,
        }));
    };
    write(&agent, "", false);
    agent.spawn();
    agent.until_ready();
    let log = || std::fs::read_to_string(folder.join("nomad.log")).expect("a log");
    assert!(log().contains(" [INFO] agent: vardo "), "{}", log());
    let export = "/v1/agent/monitor/export?on_disk=true";
    assert_eq!(agent.get(&format!("{export}&plain=true")).text(), log());
    let frame = agent.get(export).json();
    assert_eq!(frame, json!({"Data": Bytes::encode(log().as_bytes()), "Offset": log().len()}));

    // Files are begun anew, and two of the older are kept.
    for _ in 0..200 {
        agent.put("/v1/agent/reload", &json!({}));
    }
    agent.until("older files", |_| std::fs::read_dir(&folder).expect("read").count() == 3);
    for entry in std::fs::read_dir(&folder).expect("read").map(|e| e.expect("an entry")) {
        let name = entry.file_name().into_string().expect("text");
        let time = name.strip_prefix("nomad").and_then(|n| n.strip_suffix(".log")).expect("ours");
        assert!(time.is_empty() || time.starts_with("-1"), "{name}");
        assert!(entry.metadata().expect("its size").len() <= 4_000);
    }

    // Another file and form after a reload; a full disk stops nothing.
    write(&agent, "other.json", true);
    agent.put("/v1/agent/reload", &json!({}));
    let other = folder.join("other.json");
    agent.until("the other file", |_| {
        std::fs::read_to_string(&other).is_ok_and(|t| t.contains(READ_AGAIN))
    });
    let text = std::fs::read_to_string(&other).expect("a log");
    let line: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["@message"], READ_AGAIN);
    std::fs::remove_file(&other).expect("removed");
    std::os::unix::fs::symlink("/dev/full", &other).expect("linked");
    agent.put("/v1/agent/reload", &json!({}));
    agent.put("/v1/agent/reload", &json!({}));
    assert_eq!(agent.get("/v1/agent/health").status, 200);
}

/// What the next frame holds.
fn frame_data(reader: &mut BufReader<TcpStream>) -> Value {
    let mut frames = serde_json::Deserializer::from_reader(reader).into_iter::<Value>();
    frames.next().expect("a frame").expect("JSON")
}
