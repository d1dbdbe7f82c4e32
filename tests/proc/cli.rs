//! The command line against a running agent: what people see, and exit statuses.

#![expect(clippy::disallowed_methods, reason = "tests of the binary start it")]

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::agent::{Agent, BINARY};

/// What a command printed.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

fn ran(output: &Output) -> Ran {
    Ran {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command against the agent.
fn run(agent: &Agent, args: &[&str]) -> Ran {
    let mut command = Command::new(BINARY);
    command.args(args).env("NOMAD_ADDR", format!("http://{}", agent.address));
    ran(&command.output().expect("the binary runs"))
}

/// Runs a command that must succeed; what it printed.
fn good(agent: &Agent, args: &[&str]) -> String {
    let ran = run(agent, args);
    assert_eq!(ran.status, 0, "{args:?}: {}{}", ran.out, ran.err);
    ran.out
}

fn job(id: &str, script: &str, memory_mb: i64) -> Value {
    json!({"Job": {
        "ID": id, "Name": id, "Type": "batch", "Datacenters": ["dc1"],
        "TaskGroups": [{"Name": "g", "Count": 1, "Tasks": [{
            "Name": "t", "Driver": "raw_exec",
            "Config": {"command": "/bin/sh", "args": ["-c", script]},
            "Resources": {"CPU": 10, "MemoryMB": memory_mb}
        }]}]
    }})
}

fn write(agent: &Agent, job: &Value) -> String {
    let path = agent.dir().join(format!("{}.json", job["Job"]["ID"].as_str().expect("an id")));
    fs::write(&path, job.to_string()).expect("a job file");
    path.display().to_string()
}

#[test]
fn a_job_is_run_looked_at_and_stopped() {
    let agent = Agent::start(&json!({}));
    let script = "echo one; echo two; echo wrong >&2; exec sleep 600";
    let file = write(&agent, &job("web", script, 16));

    let monitored = good(&agent, &["job", "run", &file]);
    for part in [
        "Monitoring evaluation \"",
        "Evaluation triggered by job \"web\"",
        "created: node \"",
        "Evaluation status changed: \"pending\" -> \"complete\"",
        "finished with status \"complete\"",
        "status changed: \"pending\" -> \"running\"",
    ] {
        assert!(monitored.contains(part), "{part:?} is not in\n{monitored}");
    }

    let list = good(&agent, &["status"]);
    assert!(
        list.starts_with("ID   Type   Priority  Status   Submit Date\nweb  batch  50"),
        "{list}"
    );
    // A prefix is enough.
    let status = good(&agent, &["job", "status", "we"]);
    for part in [
        "ID            = web\n",
        "Summary\nTask Group  Queued  Starting  Running",
        "g           0       0         1        0",
        "Allocations\nID ",
    ] {
        assert!(status.contains(part), "{part:?} is not in\n{status}");
    }
    let document: Value =
        serde_json::from_str(&good(&agent, &["status", "-json", "web"])).expect("JSON");
    let alloc = document[0]["Allocations"][0]["ID"].as_str().expect("an id").to_owned();

    // An odd number of digits is a prefix too.
    let shown = good(&agent, &["alloc", "status", &alloc[..7]]);
    for part in ["Client Status", "Task \"t\" is \"running\"", "Recent Events:", "Started"] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert_eq!(logs(&agent, &["-stdout", &alloc], "two\n"), "one\ntwo\n");
    assert_eq!(logs(&agent, &["-stderr", &alloc, "t"], "wrong\n"), "wrong\n");
    assert_eq!(logs(&agent, &["-stdout", "-n", "1", "-job", "web"], "two\n"), "two\n");
    assert_eq!(logs(&agent, &["-stdout", "-c", "4", "-task", "t", &alloc], "two\n"), "two\n");

    let nodes = good(&agent, &["node", "status"]);
    assert!(
        nodes.contains("default    dc1  contract  <none>  false  eligible     ready"),
        "{nodes}"
    );
    let node = good(&agent, &["node", "status", "-self"]);
    for part in
        ["Driver Status = mock_driver,raw_exec", "Allocated Resources\nCPU", "10/", "running"]
    {
        assert!(node.contains(part), "{part:?} is not in\n{node}");
    }

    let stopped = good(&agent, &["job", "stop", "web"]);
    assert!(stopped.contains("finished with status \"complete\""), "{stopped}");
    let list = good(&agent, &["status"]);
    assert!(list.contains("(stopped)"), "{list}");
    good(&agent, &["job", "stop", "-purge", "-detach", "-yes", "web"]);
    assert_eq!(good(&agent, &["status"]), "No running jobs\n");
}

#[test]
fn the_command_of_a_lock_ends_before_a_silent_agent_gives_the_lock_away() {
    let agent = Agent::start(&json!({}));
    good(&agent, &["var", "put", "held", "a=b"]);
    let mut command = Command::new(BINARY);
    command.args(["var", "lock", "-ttl", "10s", "held", "echo on; exec sleep 600"]);
    command.env("NOMAD_ADDR", format!("http://{}", agent.address));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut holder = command.spawn().expect("the binary runs");
    let mut on = [0; 3];
    holder.stdout.as_mut().expect("a pipe").read_exact(&mut on).expect("the command began");
    // It takes connections and answers nothing.
    agent.send("-STOP");
    let began = Instant::now();
    let ended = holder.wait_with_output().expect("it ends");
    agent.send("-CONT");
    let said = ran(&ended).err;
    assert!(said.contains("The lock is lost, ending the command"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(17), "{:?}", began.elapsed());
}

#[test]
fn a_formatted_file_stays_the_link_that_it_is() {
    let agent = Agent::start(&json!({}));
    let file = agent.dir().join("real.hcl");
    let link = agent.dir().join("link.hcl");
    fs::write(&file, "job \"a\"{\n}\n").expect("a file");
    std::os::unix::fs::symlink("real.hcl", &link).expect("a link");
    good(&agent, &["fmt", &link.display().to_string()]);
    assert!(fs::symlink_metadata(&link).is_ok_and(|m| m.is_symlink()));
    assert_eq!(fs::read_to_string(&file).expect("the file"), "job \"a\" {\n}\n");
}

/// What the task wrote may take a moment to reach its file.
fn logs(agent: &Agent, args: &[&str], end: &str) -> String {
    let all = [&["alloc", "logs"], args].concat();
    let mut out = String::new();
    for _ in 0..50 {
        out = good(agent, &all);
        if out.ends_with(end) {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    out
}

#[test]
fn what_does_not_go_is_said_with_the_right_status() {
    let agent = Agent::start(&json!({}));
    let too_big = write(&agent, &job("big", "true", 900_000_000));
    let refused = run(&agent, &["run", &too_big]);
    assert_eq!(refused.status, 2, "{}{}", refused.out, refused.err);
    for part in ["failed to place all allocations:", "* Dimension \"memory\" exhausted on 1 node"] {
        assert!(refused.out.contains(part), "{part:?} is not in\n{}", refused.out);
    }
    let status = good(&agent, &["status", "big"]);
    assert!(status.contains("Placement Failure\nTask Group \"g\":"), "{status}");

    let none = run(&agent, &["job", "status", "nope"]);
    assert_eq!((none.status, none.out.as_str()), (1, ""));
    assert_eq!(none.err, "No job(s) with prefix or ID \"nope\" found\n");
    let none = run(&agent, &["alloc", "status", "0123"]);
    assert_eq!(none.err, "No allocation(s) with prefix or id \"0123\" found\n");
    let none = run(&agent, &["stop", "nope"]);
    assert_eq!(none.err, "No job(s) with prefix or ID \"nope\" found\n");

    let hcl = agent.dir().join("job.hcl");
    fs::write(&hcl, "job \"x\" {}").expect("a file");
    let refused = run(&agent, &["run", &hcl.display().to_string()]);
    assert_eq!(refused.status, 1);
    assert!(refused.err.contains("Missing job task groups"), "{}", refused.err);

    let invalid = write(&agent, &json!({"Job": {"ID": "x"}}));
    let refused = run(&agent, &["run", &invalid]);
    assert_eq!(refused.status, 1);
    let text = "Error submitting job: Unexpected response code: 500 (";
    assert!(refused.err.starts_with(text), "{}", refused.err);
}

#[test]
fn configurations_that_cannot_be_served_stop_the_start() {
    let dir = std::env::temp_dir().join(format!("vardo-config-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a folder");
    let file = dir.join("agent.hcl");
    let file_name = file.display().to_string();
    for (document, text) in [
        (r#"{"tls":{"http":true}}"#, "==> tls.cert_file must be given for what else tls asks for"),
        (r#"{"server":{"bar":1}}"#, "server unexpected keys bar (line 1, column 12)"),
        ("server { enable = true }", "unexpected keys enable (line 1, column 10; did you mean"),
        ("server { enabled = ", "At 1:20: Unknown token: EOF"),
    ] {
        fs::write(&file, document).expect("a file");
        let mut command = Command::new(BINARY);
        let ran = ran(&command.args(["agent", "-dev", "-config", &file_name]).output().unwrap());
        assert_eq!(ran.status, 1, "{document}");
        assert!(ran.err.starts_with("==> ") && ran.err.contains(text), "{document}: {}", ran.err);
    }
    fs::remove_dir_all(&dir).expect("the folder goes");
}

#[test]
fn a_node_is_drained_and_taken_back() {
    let agent = Agent::start(&json!({}));
    let file = write(&agent, &job("sleeper", "sleep 600", 16));
    good(&agent, &["job", "run", "-detach", &file]);
    sleep(Duration::from_secs(2));
    for wrong in [
        &["node", "drain", "-self"][..],
        &["node", "drain", "-enable", "-disable", "-self"],
        &["node", "drain", "-enable", "-force", "-no-deadline", "-self"],
        &["node", "drain", "-enable", "-deadline", "soon", "-self"],
        &["node", "drain", "-enable"],
        &["node", "eligibility", "-self"],
    ] {
        assert_eq!(run(&agent, wrong).status, 1, "{wrong:?}");
    }
    let out = good(&agent, &["node", "drain", "-enable", "-force", "-self", "-m", "bye"]);
    assert!(out.contains("drain strategy set"), "{out}");
    assert!(out.trim_end().ends_with("drain complete"), "{out}");
    let shown = good(&agent, &["node", "status"]);
    assert!(shown.contains("ineligible"), "{shown}");
    good(&agent, &["node", "eligibility", "-enable", "-self"]);
    assert!(!good(&agent, &["node", "status"]).contains("ineligible"));
    good(&agent, &["node", "drain", "-enable", "-no-deadline", "-detach", "-self"]);
    let out = good(&agent, &["node", "drain", "-disable", "-self"]);
    assert!(out.contains("drain strategy unset"), "{out}");
    assert!(!good(&agent, &["node", "status"]).contains("ineligible"));
}

/// What a server parses is short enough for its loop; the command line takes more.
#[test]
fn a_server_parses_no_long_files() {
    let agent = Agent::start(&json!({}));
    let filler = "# 0123456789012345678901234567890123456789\n".repeat(7_000);
    let text = format!("{filler}job \"long\" {{\n  group \"g\" {{}}\n}}\n");
    let body = json!({ "JobHCL": text }).to_string();
    let path = "/v1/jobs/parse";
    let answer =
        crate::support::http::send(&agent.address, "POST", path, &[], Some(body.as_bytes()))
            .expect("an answer");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("servers parse 262144 at most"), "{}", answer.text());
    let path = agent.dir().join("long.hcl");
    fs::write(&path, text).expect("a file");
    let out = good(&agent, &["job", "run", "-output", &path.display().to_string()]);
    assert!(out.contains("\"long\""));
}

/// The script for bash is loaded by bash, and offers words, flags and nothing else.
#[test]
fn completions_work_in_a_shell() {
    if !std::path::Path::new("/bin/bash").exists() {
        return;
    }
    let folder = std::path::Path::new(BINARY).parent().expect("a folder").display().to_string();
    for (words, wanted) in [
        ("vardo job st", "status stop start "),
        ("vardo tls cert in", "info "),
        ("vardo job run -var-", "-var-file= "),
        ("vardo nosuchthing x", ""),
    ] {
        let cursor = words.split(' ').count() - 1;
        let script = format!(
            "PATH={folder}:$PATH; source <(vardo completions bash); COMP_WORDS=({words}); \
             COMP_CWORD={cursor}; _vardo 2>/dev/null; printf '%s ' ${{COMPREPLY[@]}}"
        );
        let ran = Command::new("/bin/bash").args(["--norc", "-c", &script]).output().unwrap();
        let offered = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(offered.trim_start(), wanted, "{words}");
    }
}

/// What answers is no agent, or one that goes away: a line that says what to do.
#[test]
fn answers_that_are_none_are_told_in_one_line() {
    for (scheme, answer, told) in [
        ("http", "", "the agent broke off: it closed the connection; look whether it runs"),
        ("http", "SSH-2.0-x\r\n", "what answers there speaks no HTTP"),
        ("http", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", "the agent broke off: "),
        ("http", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n[", "check -address"),
        ("https", "HTTP/1.1 400 Bad Request\r\n\r\n", "speaks no TLS; ask it by http:// instead"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("{scheme}://{}", listener.local_addr().expect("its address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(answer.as_bytes()));
        });
        let mut command = Command::new(BINARY);
        let ran = ran(&command.args(["job", "status", "-address", &address]).output().unwrap());
        server.join().expect("the server ends");
        assert_eq!((ran.status, ran.err.lines().count()), (1, 1), "{answer:?}: {}", ran.err);
        assert!(ran.err.contains(told), "{answer:?}: {}", ran.err);
    }
}

/// Nobody reads: the command ends without a word and as if all were well; a locale without UTF-8
/// changes nothing, as nothing else than ASCII is said.
#[test]
fn a_closed_pipe_and_an_old_terminal_are_no_mistakes() {
    let agent = Agent::start(&json!({}));
    let path = write(&agent, &job("quiet", "exec sleep 600", 16));
    good(&agent, &["job", "run", "-detach", &path]);
    for args in [&["job", "status"][..], &["job", "status", "quiet"], &["job", "inspect", "quiet"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(BINARY);
        command.args(args).env("NOMAD_ADDR", format!("http://{}", agent.address));
        let ran = ran(&command.stdout(writer).output().expect("the binary runs"));
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{args:?}");
        let mut command = Command::new(BINARY);
        command.args(args).env("NOMAD_ADDR", format!("http://{}", agent.address));
        let plain = command.env("LC_ALL", "C").env("TERM", "dumb").output().expect("it runs");
        assert!(plain.status.success() && plain.stdout.is_ascii(), "{args:?}");
    }
    for args in [&["job", "status"][..], &["alloc", "exec", "-job", "quiet", "true"]] {
        let mut command = Command::new(BINARY);
        let down = command.args(args).env("NOMAD_ADDR", "http://127.0.0.1:1").output();
        let ran = ran(&down.expect("the binary runs"));
        assert_eq!((ran.status, ran.err.lines().count()), (1, 1), "{}", ran.err);
        assert!(ran.err.contains("start one by `vardo agent`"), "{}", ran.err);
    }
}
