//! Networks that pass single bytes, or that are far: everything works, slower.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::time::{Duration, Instant};

use super::super::agent::{Agent, shell_job};
use super::super::between::{BYTES, Between, LATE, LATE_BY, OPEN};
use super::super::cluster::leader;
use super::super::events::Stream;
use super::super::exec::{Caller, running};
use super::{held, serves};
use crate::golden::replay;
use serde_json::{Value, json};

/// Three servers and a node. Whatever goes between them, and whatever is asked of them, goes
/// through a proxy.
struct Apart {
    /// The node is the last.
    agents: Vec<Agent>,
    links: Vec<Between>,
    doors: Vec<Between>,
}

impl Apart {
    fn new(name: &str) -> Self {
        let mut agents: Vec<Agent> =
            (0..4).map(|n| Agent::prepare(&format!("{name}{n}"), &json!({}))).collect();
        let links: Vec<Between> = agents[..3].iter().map(|a| Between::new(a.rpc)).collect();
        let at: Vec<String> = links.iter().map(|l| format!("127.0.0.1:{}", l.port)).collect();
        for n in 0..3 {
            // Nobody is told of the ports where they really are.
            let rpc = &at[n];
            agents[n].configure(&json!({
                "advertise": { "http": "127.0.0.1", "rpc": rpc, "serf": rpc },
                "server": {
                    "enabled": true, "bootstrap_expect": 3, "server_join": { "retry_join": at },
                },
                "client": { "enabled": false },
                "log_level": "INFO",
            }));
        }
        agents[3].configure(&json!({
            "server": { "enabled": false }, "client": { "enabled": true, "servers": at },
        }));
        let doors: Vec<Between> = agents.iter().map(|a| Between::new(a.port)).collect();
        for (n, agent) in agents.iter_mut().enumerate() {
            agent.spawn();
            agent.port = doors[n].port;
        }
        for (agent, link) in agents.iter_mut().zip(&links) {
            agent.rpc = link.port;
        }
        agents[0].until("a key", serves);
        agents[3].until_ready();
        Self { agents, links, doors }
    }

    fn are_now(&self, state: u8) {
        self.links.iter().chain(&self.doors).for_each(|b| b.is_now(state));
    }
}

/// The terms that an agent has seen.
fn term(agent: &Agent) -> u64 {
    let answer = agent.get("/v1/agent/self").json();
    answer["stats"]["raft"]["term"].as_str().and_then(|t| t.parse().ok()).expect("a term")
}

/// Writes, reads, waits, listens and runs something, by each of the agents.
fn works(apart: &Apart, how: &str) {
    let agents = &apart.agents;
    let at = leader(agents, &[0, 1, 2]);
    let [one, two] = [(at + 1) % 3, (at + 2) % 3].map(|n| &agents[n]);
    let before = term(one);
    let mut stream = Stream::open(one, "?topic=Variable");
    for (n, agent) in agents.iter().enumerate() {
        let body = json!({ "Items": { "k": "v".repeat(3_000) } });
        let path = format!("{how}/{n}");
        let answer = agent.put(&format!("/v1/var/{path}"), &body);
        assert_eq!(answer.status, 200, "{how} {n}: {}", answer.text());
        // Read where it was not written, and not a moment too old.
        let read = agents[(n + 1) % 4].get(&format!("/v1/var/{path}"));
        assert_eq!((read.status, &read.json()["Items"]), (200, &body["Items"]), "{how} {n}");
        stream.until("VariableUpdated", "Variable", &path);
    }
    // A blocking query of a follower, for what another one is told.
    let seen = two.get("/v1/vars").index();
    let path = format!("/v1/vars?index={seen}&wait=60s");
    let (asked, body) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| two.get(&path));
        std::thread::sleep(Duration::from_secs(2));
        assert!(!asked.is_finished(), "{how}: woken by nothing");
        let body = json!({ "Items": { "k": "v" } });
        assert_eq!(one.put(&format!("/v1/var/{how}/wakes"), &body).status, 200);
        let begun = Instant::now();
        (asked.join().expect("an answer"), begun.elapsed())
    });
    assert!(asked.status == 200 && asked.index() > seen, "{how}");
    assert!(body < Duration::from_secs(5), "{how}: woken after {body:?}");
    // A task: it gets to its node, its states come back, it is told apart and spoken to.
    let id = format!("job-{how}");
    let script = "echo here; exec sleep 1000";
    let alloc = running(one, &shell_job(&id, "service", 1, script));
    let logs = format!("/v1/client/fs/logs/{alloc}?task=t&type=stdout&plain=true");
    two.until("its line", |a| a.get(&logs).text() == "here\n");
    let mut cat = Caller::exec(two, &alloc, &["/bin/sh", "-c", "read a; echo $a"], "&task=t");
    cat.say(&json!({ "stdin": { "data": "aGVsbG8K" } }));
    let (out, last) = cat.outcome();
    assert_eq!((&*out, &*last), ("hello\n", r#"{"exited":true,"result":{}}"#), "{how}");
    assert_eq!(one.delete(&format!("/v1/job/{id}")).status, 200);
    two.until("its end", |a| a.allocs(&id).iter().all(|x| x["ClientStatus"] == "complete"));
    // More than a link takes at once, both ways.
    let big = json!({ "Items": { "k": "x".repeat(60_000) } });
    for n in 0..3 {
        assert_eq!(two.put(&format!("/v1/var/{how}/big{n}"), &big).status, 200, "{how}");
    }
    let read: Value = one.get(&format!("/v1/var/{how}/big2")).json();
    assert_eq!(read["Items"], big["Items"], "{how}");
    for agent in &agents[..3] {
        agent.until("all that was written", |a| held(a).contains(&format!("{how}/big2")));
    }
    let nodes = one.get("/v1/nodes").json();
    assert_eq!(nodes[0]["Status"], "ready", "{how}");
    assert_eq!(term(one), before, "{how}: elections");
    assert_eq!(leader(agents, &[0, 1, 2]), at, "{how}: another leader");
}

#[test]
fn f13_single_bytes_and_long_ways_cost_time_and_nothing_else() {
    let mut apart = Apart::new("f13-");
    for (how, state) in [("bytes", BYTES), ("late", LATE)] {
        let before: Vec<usize> = apart.links.iter().map(Between::passed).collect();
        apart.are_now(state);
        // What is on its way now may come after what is sent from now on.
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        works(&apart, how);
        println!("F13 {how}: {:?}", begun.elapsed());
        let through = apart.links.iter().zip(&before).filter(|(l, b)| l.passed() > **b).count();
        assert!(through >= 2, "F13 {how}: the links do not go through the proxies");
        if state == LATE {
            let begun = Instant::now();
            assert!(serves(&apart.agents[0]));
            assert!(begun.elapsed() >= 2 * LATE_BY, "{:?}", begun.elapsed());
        }
        // The leader dies and comes back: there is another one, with the network as it is.
        let at = leader(&apart.agents, &[0, 1, 2]);
        let other = (at + 1) % 3;
        let before = term(&apart.agents[other]);
        apart.agents[at].kill();
        let begun = Instant::now();
        apart.agents[other].until("a write without it", serves);
        println!("F13 {how}: writes resume after {:?}", begun.elapsed());
        apart.agents[at].spawn();
        apart.agents[at].until("its return", serves);
        let terms = term(&apart.agents[other]) - before;
        assert!(terms <= 4, "F13 {how}: {terms} terms for one election");
    }
    apart.are_now(OPEN);
}

/// What was recorded of the reference, asked for in single bytes and answered in single bytes.
#[test]
fn f13_recorded_exchanges_in_single_bytes() {
    for name in ["conventions", "variables", "job-batch"] {
        replay::matches_at(name, |agent| {
            let port = agent.address.rsplit(':').next().and_then(|p| p.parse().ok());
            let door = Between::new(port.expect("a port"));
            door.is_now(BYTES);
            format!("127.0.0.1:{}", door.port)
        });
    }
}
