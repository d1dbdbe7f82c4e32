//! Commands in tasks over WebSockets: recorded exchanges, rights, other agents, terminals, ends.

#![expect(clippy::disallowed_methods, reason = "the system is asked about sockets")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use vardo::http::websocket::{self, Decoder, Kind};
use vardo::stdx::json::Bytes;

use super::agent::{Agent, shell_job};

const SECRET: &str = "5ec2e700-0000-4000-8000-000000000000";

/// One caller.
pub(crate) struct Caller {
    stream: TcpStream,
    decoder: Decoder,
}

fn escape(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

impl Caller {
    /// Upgrades, with a header more.
    fn new(agent: &Agent, target: &str, header: &str) -> Self {
        let mut stream = agent.connect().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
             Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).expect("a byte"), 1, "{target}");
            got.push(byte[0]);
        }
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&got), expected, "{target}");
        Self { stream, decoder: Decoder::new(false) }
    }

    pub(crate) fn exec(agent: &Agent, alloc: &str, command: &[&str], more: &str) -> Self {
        let command = escape(&json!(command).to_string());
        let path = format!("/v1/client/allocation/{alloc}/exec?command={command}{more}");
        Self::new(agent, &path, "")
    }

    pub(crate) fn say(&mut self, message: &Value) {
        let mut frame = Vec::new();
        let mask = Some([7, 1, 2, 3]);
        websocket::write(Kind::Text, message.to_string().as_bytes(), mask, &mut frame);
        self.stream.write_all(&frame).expect("sent");
    }

    /// The next message or close frame as text; `None` at the end of the connection.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            match self.decoder.message().expect("frames in order") {
                Some((Kind::Close, payload)) => {
                    let (code, reason) = websocket::read_close(&payload);
                    return Some(format!("{code} {reason}"));
                }
                Some((_, message)) => return Some(String::from_utf8(message).expect("text")),
                None => {}
            }
            let mut piece = [0; 65_536];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(n) => self.decoder.feed(&piece[..n]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return None,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn rest(mut self) -> Vec<String> {
        std::iter::from_fn(|| self.hear()).collect()
    }

    /// What a command prints until it ends, and its last message.
    pub(crate) fn outcome(self) -> (String, String) {
        let messages = self.rest();
        let mut out = String::new();
        for message in &messages {
            let value: Value = serde_json::from_str(message).unwrap_or_default();
            let data = value["stdout"]["data"].as_str().or(value["stderr"]["data"].as_str());
            let bytes = data.and_then(Bytes::decode).unwrap_or_default();
            out.push_str(&String::from_utf8_lossy(&bytes));
        }
        (out, messages.last().cloned().unwrap_or_default())
    }
}

pub(crate) fn running(agent: &Agent, job: &Value) -> String {
    let registered = agent.put("/v1/jobs", job);
    assert_eq!(registered.status, 200, "{}", registered.text());
    let id = job["Job"]["ID"].as_str().expect("an id");
    agent.until("a running task", |a| {
        a.allocs(id).first().is_some_and(|a| a["ClientStatus"] == "running")
    });
    agent.allocs(id)[0]["ID"].as_str().expect("an id").to_owned()
}

#[test]
fn exchanges_are_as_recorded() {
    let agent = Agent::start("exec-recorded");
    let mut job = shell_job("web", "service", 1, "exec sleep 1000");
    job["Job"]["TaskGroups"][0]["Tasks"][0]["Actions"] = json!([
        {"Name": "greet", "Command": "/bin/sh", "Args": ["-c", "echo $NOMAD_JOB_ID; exit 5"]}
    ]);
    let alloc = running(&agent, &job);
    let mut cat = Caller::exec(&agent, &alloc, &["/bin/cat"], "&task=t&tty=false");
    cat.say(&json!({}));
    cat.say(&json!({"stdin": {"data": "aGVsbG8K"}}));
    assert_eq!(cat.hear().as_deref(), Some(r#"{"stdout":{"data":"aGVsbG8K"}}"#));
    cat.say(&json!({"stdin": {"close": true}}));
    let mut rest = cat.rest();
    rest.sort();
    let closes = [r#"{"stderr":{"close":true}}"#, r#"{"stdout":{"close":true}}"#];
    assert_eq!(rest, [r#"{"exited":true,"result":{}}"#, closes[0], closes[1]]);
    let exit = Caller::exec(&agent, &alloc, &["/bin/sh", "-c", "exit 3"], "&task=t&tty=true");
    assert_eq!(exit.rest(), [closes[1], r#"{"exited":true,"result":{"exit_code":3}}"#]);
    let ends = |command: &[&str], more: &str| {
        let last = Caller::exec(&agent, &alloc, command, more).rest();
        last.last().cloned().unwrap_or_default()
    };
    assert_eq!(ends(&["/bin/true"], "&task=nope"), "1011 task not found");
    assert_eq!(ends(&["/bin/true"], ""), "1008 must provide task name");
    assert_eq!(ends(&[], "&task=t"), "1008 command is not present");
    let why = "failed to start command: fork/exec /bin/nope: no such file or directory";
    assert_eq!(
        ends(&["/bin/nope"], "&task=t"),
        format!("1011 rpc error: code = Unknown desc = {why}")
    );
    assert_eq!(
        ends(&["/bin/sh", "-c", "kill -9 $$"], "&task=t"),
        r#"{"exited":true,"result":{"exit_code":137}}"#
    );
    let unknown = "11111111-2222-3333-4444-555555555555";
    let other = Caller::exec(&agent, unknown, &["/bin/true"], "&task=t");
    assert_eq!(other.rest(), [format!("1008 Unknown allocation \"{unknown}\"")]);
    let plain = agent.get(&format!("/v1/client/allocation/{alloc}/exec?task=t&command=%5B%5D"));
    assert_eq!(
        (plain.status, plain.text().as_str()),
        (500, "websocket connection not found in context")
    );
    let action = |name: &str| {
        let at = format!("/v1/job/web/action?action={name}&allocID={alloc}&group=g&task=t");
        Caller::new(&agent, &format!("{at}&command=null&tty=false"), "").outcome()
    };
    let done = r#"{"exited":true,"result":{"exit_code":5}}"#;
    assert_eq!(action("greet"), ("web\n".to_owned(), done.to_owned()));
    assert_eq!(action("x").1, "1008 action x not found in task t");
}

#[test]
fn a_terminal_has_a_size_and_echoes() {
    let agent = Agent::start("exec-tty");
    let alloc = running(&agent, &shell_job("web", "service", 1, "exec sleep 1000"));
    let script = "read x; stty size; echo got $x; echo $TERM; exec cat > /dev/null";
    let more = "&task=t&tty=true";
    let mut shell = Caller::exec(&agent, &alloc, &["/bin/sh", "-c", script], more);
    shell.say(&json!({"tty_size": {"height": 40, "width": 100}}));
    shell.say(&json!({"stdin": {"data": Bytes::encode(b"word\r")}}));
    // Ends a program at a terminal.
    shell.say(&json!({"stdin": {"close": true}}));
    let (out, last) = shell.outcome();
    assert_eq!(out, "word\r\n40 100\r\ngot word\r\nxterm\r\n");
    assert_eq!(last, r#"{"exited":true,"result":{}}"#);
    // An interrupt reaches what runs at the terminal.
    let mut shell = Caller::exec(&agent, &alloc, &["/bin/sleep", "1000"], more);
    shell.say(&json!({"stdin": {"data": Bytes::encode(b"\x03")}}));
    assert_eq!(shell.outcome().1, r#"{"exited":true,"result":{"exit_code":130}}"#);
}

/// Whether a process with this in its command line runs.
fn runs(mark: &str) -> bool {
    let all = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    let mut lines = all.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(mark))
}

#[test]
fn a_command_ends_with_its_caller_its_task_and_not_with_its_agent() {
    let mut agent = Agent::start("exec-ends");
    let alloc = running(&agent, &shell_job("web", "service", 1, "exec sleep 1000"));
    let mark = format!("19{}", std::process::id());
    let begin = |agent: &Agent| {
        let caller = Caller::exec(agent, &alloc, &["/bin/sleep", &mark], "&task=t");
        agent.until("the command", |_| runs(&mark));
        caller
    };
    let caller = begin(&agent);
    drop(caller);
    agent.until("the end of the command", |_| !runs(&mark));
    // A new agent finds the task again, and so do its callers.
    agent.kill();
    agent.until("the end of nothing", |_| !runs(&mark));
    agent.spawn();
    agent.until_ready();
    agent.until("the task", |a| {
        let outcome = Caller::exec(a, &alloc, &["/bin/true"], "&task=t").outcome().1;
        outcome == r#"{"exited":true,"result":{}}"#
    });
    let caller = begin(&agent);
    assert_eq!(agent.delete("/v1/job/web").status, 200);
    let (_, last) = caller.outcome();
    assert!(last.contains("137") || last == "1011 the task has ended", "{last}");
    agent.until("the end of the command", |_| !runs(&mark));
    agent.until("the end of the job", |a| a.allocs("web")[0]["ClientStatus"] == "complete");
    let over = Caller::exec(&agent, &alloc, &["/bin/true"], "&task=t").rest();
    let why = format!("exec not possible, client status of allocation {alloc} is complete");
    assert_eq!(over, [format!("1008 {why}")]);
}

/// A caller that does not read holds its command up, and takes no memory of the agent's.
#[test]
fn who_does_not_read_is_waited_for() {
    let agent = Agent::start("exec-pressure");
    let alloc = running(&agent, &shell_job("web", "service", 1, "exec sleep 1000"));
    let script = "head -c 50000000 /dev/zero | tr '\\0' x";
    let caller = Caller::exec(&agent, &alloc, &["/bin/sh", "-c", script], "&task=t");
    let resident = || {
        let text = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let before = resident();
    for _ in 0..20 {
        assert_eq!(agent.get("/v1/status/leader").status, 200);
        std::thread::park_timeout(Duration::from_millis(20));
    }
    assert!(resident() < before + 8 * 1024, "{before} KiB grew to {}", resident());
    let (out, last) = caller.outcome();
    assert_eq!((out.len(), last.as_str()), (50_000_000, r#"{"exited":true,"result":{}}"#));
    // The other way: input that nobody reads yet.
    let mut caller = Caller::exec(&agent, &alloc, &["/bin/sh", "-c", "sleep 1; wc -c"], "&task=t");
    let piece = Bytes::encode(&[b'x'; 30_000]);
    for _ in 0..200 {
        caller.say(&json!({"stdin": {"data": piece}}));
    }
    caller.say(&json!({"stdin": {"close": true}}));
    assert_eq!(caller.outcome().0.trim(), "6000000");
}

#[test]
fn other_agents_pass_it_on_and_rights_are_asked_for() {
    let config = json!({"acl": {"enabled": true}, "client": {"enabled": false}});
    let mut server = Agent::prepare("exec-server", &config);
    server.spawn();
    let body = json!({"BootstrapSecret": SECRET});
    server.until("the first token", |a| {
        let made = a.request("PUT", "/v1/acl/bootstrap", Some(&body.to_string()));
        made.is_ok_and(|r| r.status == 200)
    });
    let mut node = Agent::prepare(
        "exec-node",
        &json!({
            "acl": {"enabled": true},
            "server": {"enabled": false},
            "client": {"enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)]},
        }),
    );
    node.spawn();
    let ask = |method: &str, path: &str, body: &Value| {
        let headers = [("X-Nomad-Token".to_owned(), SECRET.to_owned())];
        let body = (!body.is_null()).then(|| body.to_string());
        let address = format!("127.0.0.1:{}", server.port);
        let body = body.as_deref().map(str::as_bytes);
        crate::support::http::send(&address, method, path, &headers, body).expect("an answer")
    };
    let token = |name: &str, caps: &[&str]| {
        let caps: Vec<String> = caps.iter().map(|c| format!("{c:?}")).collect();
        let rules = format!("namespace \"default\" {{ capabilities = [{}] }}", caps.join(","));
        let policy = json!({"Name": name, "Rules": rules});
        assert_eq!(ask("PUT", &format!("/v1/acl/policy/{name}"), &policy).status, 200);
        let token = json!({"Type": "client", "Policies": [name]});
        ask("PUT", "/v1/acl/token", &token).json()["SecretID"].as_str().unwrap().to_owned()
    };
    let may = token("may", &["alloc-exec", "alloc-node-exec"]);
    let may_not = token("may-not", &["alloc-exec", "read-job"]);
    server.until("a ready node", |_| {
        ask("GET", "/v1/nodes", &Value::Null).text().contains("\"ready\"")
    });
    let job = shell_job("web", "service", 1, "exec sleep 1000");
    assert_eq!(ask("PUT", "/v1/jobs", &job).status, 200);
    let list = || ask("GET", "/v1/job/web/allocations", &Value::Null).json();
    server.until("a running task", |_| list()[0]["ClientStatus"] == "running");
    let alloc = list()[0]["ID"].as_str().unwrap().to_owned();
    let greeted = |agent: &Agent, command: &[&str], token: &str| {
        let more = "&task=t&ws_handshake=true";
        let mut caller = Caller::exec(agent, &alloc, command, more);
        caller.say(&json!({"version": 1, "auth_token": token}));
        caller
    };
    for agent in [&server, &node] {
        for token in ["", &may_not, "11111111-2222-3333-4444-555555555555"] {
            let refused = greeted(agent, &["/bin/true"], token).rest();
            assert_eq!(refused, ["1008 Permission denied"], "{token}");
        }
        for token in [SECRET, &may] {
            let mut cat = greeted(agent, &["/bin/sh", "-c", "cat; exit 9"], token);
            let piece = Bytes::encode(&[b'x'; 30_000]);
            for _ in 0..50 {
                cat.say(&json!({"stdin": {"data": piece}}));
            }
            cat.say(&json!({"stdin": {"close": true}}));
            let (out, last) = cat.outcome();
            assert_eq!(out.len(), 1_500_000);
            assert_eq!(last, r#"{"exited":true,"result":{"exit_code":9}}"#);
        }
        let mut wrong = Caller::exec(agent, &alloc, &["/bin/true"], "&task=t&ws_handshake=true");
        wrong.say(&json!({"version": 2}));
        assert_eq!(wrong.rest(), ["1008 unexpected handshake value: 2"]);
        // Whoever sends pings instead of a greeting is heard out, however many they are.
        let mut pings = Caller::exec(agent, &alloc, &["/bin/true"], "&task=t&ws_handshake=true");
        let mut many = Vec::new();
        for _ in 0..10_000 {
            websocket::write(Kind::Ping, b"", Some([7, 1, 2, 3]), &mut many);
        }
        pings.stream.write_all(&many).expect("sent");
        pings.say(&json!({"version": 2}));
        assert_eq!(pings.rest(), ["1008 unexpected handshake value: 2"]);
        // The caller goes: so does the command, on another machine.
        let mark = format!("29{}", std::process::id());
        let caller = greeted(agent, &["/bin/sleep", &mark], &may);
        server.until("the command", |_| runs(&mark));
        drop(caller);
        server.until("the end of the command", |_| !runs(&mark));
    }
    // Who loses the right loses the command.
    let mark = format!("39{}", std::process::id());
    let callers = [&server, &node].map(|a| greeted(a, &["/bin/sleep", &mark], &may));
    server.until("the commands", |_| runs(&mark));
    assert_eq!(ask("DELETE", "/v1/acl/policy/may", &Value::Null).status, 200);
    server.until("the end of the commands", |_| !runs(&mark));
    callers.into_iter().for_each(|caller| drop(caller.rest()));
}

#[test]
fn a_command_does_not_outlive_the_token_that_asked_for_it() {
    let config = json!({"acl": {"enabled": true, "token_min_expiration_ttl": "1s"}});
    let mut agent = Agent::prepare("exec-token", &config);
    agent.spawn();
    let body = json!({"BootstrapSecret": SECRET});
    agent.until("the first token", |a| {
        let made = a.request("PUT", "/v1/acl/bootstrap", Some(&body.to_string()));
        made.is_ok_and(|r| r.status == 200)
    });
    let ask = |method: &str, path: &str, body: &Value| {
        let headers = [("X-Nomad-Token".to_owned(), SECRET.to_owned())];
        let body = (!body.is_null()).then(|| body.to_string());
        let address = format!("127.0.0.1:{}", agent.port);
        let body = body.as_deref().map(str::as_bytes);
        crate::support::http::send(&address, method, path, &headers, body).expect("an answer")
    };
    let job = shell_job("web", "service", 1, "exec sleep 1000");
    agent.until("a leader", |_| ask("PUT", "/v1/jobs", &job).status == 200);
    let list = || ask("GET", "/v1/job/web/allocations", &Value::Null).json();
    agent.until("a running task", |_| list()[0]["ClientStatus"] == "running");
    let alloc = list()[0]["ID"].as_str().unwrap().to_owned();
    let rules = "namespace \"default\" { capabilities = [\"alloc-exec\", \"alloc-node-exec\"] }";
    let policy = json!({"Name": "may", "Rules": rules});
    assert_eq!(ask("PUT", "/v1/acl/policy/may", &policy).status, 200);
    let token = json!({"Type": "client", "Policies": ["may"], "ExpirationTTL": 3_000_000_000_u64});
    let token = ask("PUT", "/v1/acl/token", &token).json();
    let more = "&task=t&ws_handshake=true";
    let mut caller = Caller::exec(&agent, &alloc, &["/bin/sleep", "1000"], more);
    caller.say(&json!({"version": 1, "auth_token": token["SecretID"]}));
    // Meanwhile the system asks after its caller.
    let mine = format!(":{}", caller.stream.local_addr().expect("an address").port());
    let mut ss = std::process::Command::new("ss");
    if let Ok(all) = ss.args(["-tno"]).output() {
        let all = String::from_utf8_lossy(&all.stdout).into_owned();
        let ours = format!(":{} ", agent.port);
        let mut lines = all.lines().filter(|l| l.contains(&mine) && l.contains(&ours));
        assert!(lines.any(|l| l.contains("keepalive")), "{mine} {ours}\n{all}");
    }
    let said = caller.rest();
    let last = said.last().expect("a last word");
    assert!(last.starts_with("1008 "), "{said:?}");
}
