//! What an agent has acknowledged is there after SIGKILL at any moment, and tasks live on.

#![expect(
    clippy::disallowed_methods,
    reason = "tests of the binary wait for it and write from several threads"
)]

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vardo::stdx::BTreeMap;

use serde_json::json;

use super::agent::{Agent, shell_job};
use crate::support::http;

/// Writers on connections of their own put variables as fast as they are answered, each key once.
/// The agent is killed at a moment that differs from round to round; what was answered with 200
/// must be there afterwards, with its value, and indexes must not run backwards.
#[test]
fn sigkill_fifty_times_under_write_load_loses_nothing() {
    const ROUNDS: u64 = 50;
    const WRITERS: u64 = 6;
    let mut agent = Agent::start("kill50");
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    let mut last_index = 0;
    for round in 0..ROUNDS {
        let (stop, begun) = (AtomicBool::new(false), AtomicBool::new(false));
        let acked: Vec<(String, String, u64)> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|w| {
                    let (agent, stop, begun) = (&agent, &stop, &begun);
                    scope.spawn(move || write_until(agent, stop, begun, round, w))
                })
                .collect();
            while !begun.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Up to 99 ms later, so that kills fall anywhere between two commits.
            std::thread::sleep(Duration::from_millis(round * 37 % 99));
            super::agent::send("KILL", agent.pid());
            stop.store(true, Ordering::Relaxed);
            writers.into_iter().flat_map(|w| w.join().expect("a writer")).collect()
        });
        agent.kill();
        assert!(!acked.is_empty(), "round {round} wrote nothing");
        for (path, value, index) in acked {
            last_index = last_index.max(index);
            written.insert(path, value);
        }
        agent.spawn();
        agent.until("the server", |a| a.try_get("/v1/vars").is_some_and(|r| r.status == 200));
        let list = agent.get("/v1/vars");
        assert!(list.index() >= last_index, "round {round}: the index ran backwards");
        let listed = list.json().as_array().map_or(0, Vec::len);
        assert!(listed >= written.len(), "round {round}: {listed} of {}", written.len());
    }
    let mut stream = agent.connect().expect("a connection");
    for (path, value) in &written {
        write!(stream, "GET /v1/var/{path} HTTP/1.1\r\nHost: v\r\n\r\n").expect("sent");
        let reply = http::read(&mut stream, false).expect("an answer");
        assert_eq!(reply.status, 200, "{path} is lost");
        assert_eq!(reply.json()["Items"]["v"], json!(value), "{path} changed");
    }
    println!("{} acknowledged writes over {ROUNDS} kills, all there", written.len());
}

fn write_until(
    agent: &Agent,
    stop: &AtomicBool,
    begun: &AtomicBool,
    round: u64,
    writer: u64,
) -> Vec<(String, String, u64)> {
    let mut acked = Vec::new();
    let Ok(mut stream) = agent.connect() else { return acked };
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let path = format!("r{round}/w{writer}/n{n}");
        let value = format!("{round}-{writer}-{n}");
        let body = json!({ "Items": { "v": value } }).to_string();
        let sent = write!(
            stream,
            "PUT /v1/var/{path} HTTP/1.1\r\nHost: v\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let Ok(reply) = sent.and_then(|()| http::read(&mut stream, false)) else { break };
        assert_eq!(reply.status, 200, "{}", reply.text());
        acked.push((path, value, reply.index()));
        begun.store(true, Ordering::Relaxed);
    }
    acked
}

/// Twenty tasks write a line every 20 ms. The agent is killed and started again under them: each
/// goes on with the same pid, and its log misses no line.
#[test]
fn an_agent_restarts_under_twenty_tasks() {
    const TASKS: u64 = 20;
    let mut agent = Agent::start("under20");
    let script = "echo pid $$; i=0; while true; do echo line $i; i=$((i+1)); sleep 0.02; done";
    let reply = agent.put("/v1/jobs", &shell_job("many", "service", TASKS, script));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let running =
        |a: &Agent| a.get("/v1/job/many/summary").json()["Summary"]["g"]["Running"] == json!(TASKS);
    agent.until("all tasks running", running);
    let ids: Vec<String> =
        agent.allocs("many").iter().map(|a| a["ID"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(ids.len() as u64, TASKS);
    let pids = |a: &Agent| -> BTreeMap<String, u32> {
        ids.iter()
            .map(|id| {
                let log = task_log(a, id);
                let pid = log.lines().next().and_then(|l| l.strip_prefix("pid ")).expect("a pid");
                (id.clone(), pid.parse().expect("a number"))
            })
            .collect()
    };
    agent.until("every log begun", |a| ids.iter().all(|id| task_log(a, id).contains("line 0\n")));
    let before = pids(&agent);
    for _ in 0..2 {
        agent.kill();
        std::thread::sleep(Duration::from_millis(300));
        agent.spawn();
        agent.until_ready();
        agent.until("all tasks running again", running);
        for (id, pid) in &before {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(!stat.is_empty(), "the task of {id} is gone");
        }
        assert_eq!(pids(&agent), before);
    }
    std::thread::sleep(Duration::from_millis(200));
    for id in &ids {
        let log = task_log(&agent, id);
        let lines: Vec<&str> = log.lines().skip(1).collect();
        assert!(lines.len() > 20, "{id} wrote only {} lines", lines.len());
        // The last line may be half written.
        for (i, line) in lines.iter().take(lines.len() - 1).enumerate() {
            assert_eq!(*line, format!("line {i}"), "the log of {id} has a hole");
        }
    }
    let now = agent.allocs("many");
    assert_eq!(now.len() as u64, TASKS, "no task was started anew");
    for alloc in &now {
        assert_eq!(alloc["TaskStates"]["t"]["Restarts"], json!(0));
        assert_eq!(alloc["ClientStatus"], json!("running"));
    }
    let stopped = agent.delete("/v1/job/many");
    assert_eq!(stopped.status, 200);
    agent.until("all tasks gone", |_| {
        before.values().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
    });
}

fn task_log(agent: &Agent, alloc: &str) -> String {
    agent.get(&format!("/v1/client/fs/logs/{alloc}?task=t&type=stdout&plain=true")).text()
}

/// SIGTERM and SIGINT end the agent within a second, whatever it holds.
#[test]
fn signals_end_the_agent_within_a_second() {
    for signal in ["INT", "TERM"] {
        let mut agent = Agent::start(&format!("sig{signal}"));
        assert_eq!(agent.put("/v1/var/a", &json!({ "Items": { "k": "v" } })).status, 200);
        let index = agent.get("/v1/vars").index();
        let mut held = agent.connect().expect("a connection");
        write!(held, "GET /v1/vars?index={index}&wait=5m HTTP/1.1\r\nHost: v\r\n\r\n")
            .expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        let (took, _) = agent.end(signal);
        assert!(took < Duration::from_secs(1), "SIG{signal} took {took:?}");
        agent.spawn();
        agent.until_ready();
        assert_eq!(agent.get("/v1/var/a").json()["Items"]["k"], json!("v"));
    }
}

/// A second agent on the same directory is refused, by name of the first.
#[test]
fn a_second_agent_on_the_same_data_is_refused() {
    let agent = Agent::start("twice");
    let begin = Instant::now();
    let mut second = Agent::prepare("twice-b", &json!({ "data_dir": agent.dir.join("data") }));
    second.spawn();
    let status = second.wait();
    assert!(!status.success());
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(second.log().contains(&agent.pid().to_string()), "{}", second.log());
    assert_eq!(agent.get("/v1/jobs").status, 200);
}

/// A database cut short makes the start fail with a sentence, not with a crash.
#[test]
fn a_damaged_file_is_refused_with_a_sentence() {
    let mut agent = Agent::start("damaged");
    for n in 0..50 {
        let items = json!({ "Items": { "k": "x".repeat(2000) } });
        assert_eq!(agent.put(&format!("/v1/var/a{n}"), &items).status, 200);
    }
    agent.kill();
    let file = find(&agent.dir.join("data"), "data.mdb").expect("the database");
    std::fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|f| f.set_len(5 * 4096))
        .expect("shortened");
    agent.spawn();
    let status = agent.wait();
    assert!(status.code().is_some_and(|c| c != 0), "{status:?}: {}", agent.log());
}

/// Where the disk has no more room, writes are refused with a sentence, reads go on, the agent
/// lives, and nothing that was acknowledged is lost. With room again, writes go on.
#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    let mut agent = Agent::prepare("full", &json!({}));
    agent.spawn_with_room(24 * 1024);
    agent.until_ready();
    let value = "x".repeat(60_000);
    let mut kept = 0;
    let refusal = loop {
        let items = json!({ "Items": { "k": value } });
        let reply = agent.put(&format!("/v1/var/fill/n{kept}"), &items);
        if reply.status != 200 {
            break reply;
        }
        kept += 1;
        assert!(kept < 2000, "the disk never filled");
    };
    assert_eq!(refusal.status, 500, "{}", refusal.text());
    assert!(refusal.text().contains("no space"), "{}", refusal.text());
    assert!(kept > 10, "only {kept} fitted");
    for _ in 0..3 {
        let big = json!({ "Items": { "k": value } });
        assert_eq!(agent.put("/v1/var/fill/more", &big).status, 500);
        assert_eq!(agent.get("/v1/var/fill/n0").status, 200);
        assert_eq!(agent.get("/v1/status/leader").status, 200);
    }
    agent.kill();
    agent.spawn();
    agent.until_ready();
    assert_eq!(agent.get("/v1/vars").json().as_array().map(Vec::len), Some(kept));
    assert_eq!(agent.put("/v1/var/fill/more", &json!({ "Items": { "k": "v" } })).status, 200);
}

/// The store asks for more addresses than it may ever need, and makes do with what there is.
#[test]
fn few_addresses_are_enough() {
    let mut agent = Agent::prepare("addresses", &json!({}));
    let limited = ["/bin/bash", "-c", "ulimit -v 6000000; exec \"$@\"", "bash"];
    agent.spawn_by(&limited);
    agent.until_ready();
    assert_eq!(agent.put("/v1/var/a", &json!({ "Items": { "k": "v" } })).status, 200);
}

/// The client that opens more connections than it may is told so, and others are not.
#[test]
fn connections_over_the_limit_are_told_to_wait() {
    let limits = json!({ "limits": { "http_max_conns_per_client": 20 } });
    let agent = Agent::with("limit", &limits);
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..30 {
        let mut stream = agent.connect().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        match http::read(&mut stream, false) {
            Ok(reply) => {
                assert_eq!(reply.status, 429);
                assert!(reply.text().starts_with("Your IP is issuing too many concurrent"));
                refused += 1;
            }
            Err(_) => open.push(stream),
        }
    }
    assert_eq!((open.len(), refused), (20, 10));
    drop(open);
    agent.until("room for new connections", |a| {
        a.try_get("/v1/regions").is_some_and(|r| r.status == 200)
    });
}

fn find(dir: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name) {
                return Some(found);
            }
        } else if entry.file_name() == name {
            return Some(path);
        }
    }
    None
}
