//! What a thousand readers of the event stream cost, with access control: memory for each, and how
//! much slower durable writes become, where the readers want what is written and where they do not.
//!
//! `cargo bench --bench readers` prints each figure beside what is asked for.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time and runs load in threads")]

#[path = "../proc/agent.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod agent;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use agent::Agent;
use serde_json::{Value, json};
use support::http;

const READERS: usize = 1_000;
/// Connections that write, each with one request under way.
const WRITERS: usize = 16;
/// How long a rate is measured.
const SPAN: Duration = Duration::from_secs(3);
const SECRET: &str = "5ec2e700-0000-4000-8000-000000000000";

fn main() {
    let more = json!({ "acl": { "enabled": true }, "client": { "enabled": false } });
    let mut agent = Agent::prepare("bench-readers", &more);
    agent.spawn();
    agent.until("a leader", |a| {
        a.try_get("/v1/status/leader").is_some_and(|l| l.status == 200 && l.text().len() > 2)
    });
    let first = json!({ "BootstrapSecret": SECRET });
    agent.until("the first token", |a| a.put("/v1/acl/bootstrap", &first).status == 200);
    let rules = "namespace \"default\" { policy = \"read\"
                 variables { path \"*\" { capabilities = [\"list\"] } } }";
    manage(&agent, "/v1/acl/policy/ro", &json!({ "Name": "ro", "Rules": rules }));
    let body = json!({ "Type": "client", "Policies": ["ro"] });
    let token = manage(&agent, "/v1/acl/token", &body)["SecretID"].clone();
    let token = token.as_str().expect("a secret");

    row("1,000 readers of the event stream", "figure", "asked");
    rate(&agent);
    let alone = rate(&agent);
    row("writes of variables from 16 clients, a second", &format!("{alone:.0}"), "");
    let before = resident(&agent);
    let quiet = readers(&agent, token, "Job");
    let each = resident(&agent).saturating_sub(before) / READERS as u64;
    row("bytes for each reader", &each.to_string(), "<= 2048");
    let beside = rate(&agent);
    row("slower with readers of jobs", &percent(alone, beside), "<= 10 %");
    drop(quiet);
    let eager = Arc::new(readers(&agent, token, "Variable"));
    let heard_all = steady(&agent, &eager);
    row("that heard all of 200 writes in two seconds", &heard_all.to_string(), "1000");
    let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let drain = {
        let (eager, stop, heard) = (Arc::clone(&eager), Arc::clone(&stop), Arc::clone(&heard));
        thread::spawn(move || {
            let mut buf = vec![0; 1 << 20];
            let mut ended = vec![false; READERS];
            while !stop.load(SeqCst) {
                for (mut stream, ended) in eager.iter().zip(&mut ended) {
                    if let Ok(n) = stream.read(&mut buf) {
                        heard.fetch_add(n as u64, SeqCst);
                        *ended |= n == 0;
                    }
                }
                thread::sleep(Duration::from_millis(20));
            }
            ended.into_iter().filter(|e| *e).count()
        })
    };
    let beside = rate(&agent);
    stop.store(true, SeqCst);
    let cut = drain.join().expect("the thread that reads");
    row("slower with readers of all that is written", &percent(alone, beside), "<= 10 %");
    row("of them cut off, as they fell behind", &cut.to_string(), "");
    let megabytes = heard.load(SeqCst) / 1_000_000;
    row("megabytes that these were sent, a second", &(megabytes / SPAN.as_secs()).to_string(), "");
}

fn row(what: &str, figure: &str, asked: &str) {
    println!("{what:58} {figure:>12} {asked:>12}");
}

fn percent(alone: f64, beside: f64) -> String {
    format!("{:.1} %", (1.0 - beside / alone) * 100.0)
}

/// Writes as a manager; what was answered.
fn manage(agent: &Agent, path: &str, body: &Value) -> Value {
    let (address, body) = (format!("127.0.0.1:{}", agent.port), body.to_string());
    let headers = [("X-Nomad-Token".to_owned(), SECRET.to_owned())];
    let answer = http::send(&address, "PUT", path, &headers, Some(body.as_bytes()));
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

/// Bytes that the agent holds.
fn resident(agent: &Agent) -> u64 {
    let path = format!("/proc/{}/status", agent.pid());
    let text = std::fs::read_to_string(path).expect("its status");
    let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

fn readers(agent: &Agent, token: &str, topic: &str) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", agent.port)).expect("a connection");
        let head = format!(
            "GET /v1/event/stream?topic={topic} HTTP/1.1\r\nHost: a\r\n\
             X-Nomad-Token: {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut buf = [0; 4096];
        let n = stream.read(&mut buf).expect("an answer");
        assert!(buf[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buf[..n]));
        stream.set_nonblocking(true).expect("non-blocking");
        stream
    };
    (0..READERS).map(open).collect()
}

/// How many readers hear of all of some writes, which come one by one.
fn steady(agent: &Agent, readers: &[TcpStream]) -> usize {
    const WRITES: usize = 200;
    let mut lines = vec![0; readers.len()];
    let mut buf = vec![0; 1 << 20];
    let mut hear = |lines: &mut [usize]| {
        for (mut stream, lines) in readers.iter().zip(lines) {
            while let Ok(n @ 1..) = stream.read(&mut buf) {
                *lines += buf[..n].iter().filter(|b| **b == b'\n').count();
            }
        }
    };
    thread::sleep(Duration::from_millis(500));
    hear(&mut lines);
    lines.fill(0);
    for _ in 0..WRITES {
        manage(agent, "/v1/var/bench/steady", &json!({ "Items": { "k": "v" } }));
        thread::sleep(Duration::from_millis(10));
    }
    for _ in 0..20 {
        hear(&mut lines);
        thread::sleep(Duration::from_millis(50));
    }
    lines.into_iter().filter(|n| *n == WRITES).count()
}

/// Variables written a second.
fn rate(agent: &Agent) -> f64 {
    let done = AtomicU64::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let done = &done;
            scope.spawn(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", agent.port)).expect("connected");
                let body = r#"{"Items":{"k":"v"}}"#;
                let request = format!(
                    "PUT /v1/var/bench/{writer} HTTP/1.1\r\nHost: a\r\nX-Nomad-Token: {SECRET}\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let mut buf = [0; 8192];
                while begun.elapsed() < SPAN {
                    stream.write_all(request.as_bytes()).expect("sent");
                    let n = stream.read(&mut buf).expect("an answer");
                    assert!(buf[..n].starts_with(b"HTTP/1.1 200"), "refused");
                    done.fetch_add(1, SeqCst);
                }
            });
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let rate = done.load(SeqCst) as f64 / begun.elapsed().as_secs_f64();
    rate
}
