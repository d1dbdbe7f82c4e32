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
