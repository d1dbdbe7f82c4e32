//! Processes that are killed or stopped, and networks that are cut.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vardo::stdx::BTreeSet;

use super::super::agent::{Agent, send};
use super::super::cluster::{leader, three};
use super::{held, run, serves, skip, written};
use serde_json::{Value, json};

#[test]
fn f03_all_servers_killed_at_once_lose_nothing() {
    let mut agents = three("f03-", &json!({}));
    let mut acknowledged = BTreeSet::new();
    for round in 0..4 {
        agents[0].until("a leader", serves);
        let stop = AtomicBool::new(false);
        let mut shown = Vec::new();
        let new: Vec<BTreeSet<String>> = std::thread::scope(|scope| {
            let load = |n: usize| {
                let (agent, stop) = (&agents[n], &stop);
                scope.spawn(move || written(agent, &format!("r{round}/s{n}"), stop))
            };
            let loads: Vec<_> = (0..3).map(load).collect();
            let watch = |agent| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let index = index_shown(agent).unwrap_or(last);
                        assert!(index >= last, "{index} shown after {last}");
                        last = index;
                    }
                    last
                })
            };
            let watches: Vec<_> = agents.iter().map(watch).collect();
            std::thread::sleep(Duration::from_millis(150 + round * 53 % 90));
            for agent in &agents {
                send("KILL", agent.pid());
            }
            stop.store(true, Ordering::Relaxed);
            shown.extend(watches.into_iter().map(|w| w.join().expect("a reader")));
            loads.into_iter().map(|l| l.join().expect("a load")).collect()
        });
        assert!(new.iter().any(|set| !set.is_empty()), "round {round} wrote nothing");
        new.into_iter().for_each(|set| acknowledged.extend(set));
        for (agent, shown) in agents.iter_mut().zip(shown) {
            agent.kill();
            agent.spawn();
            // What a server has shown is not taken back by its death.
            agent.until("an answer", |a| {
                let index = index_shown(a);
                assert!(index.is_none_or(|i| i >= shown), "{index:?} after {shown}");
                index.is_some()
            });
        }
    }
    agents[0].until("a leader", serves);
    for agent in &agents {
        agent.until("all that was acknowledged", |a| acknowledged.is_subset(&held(a)));
    }
}

/// The index of a stale read, where there is an answer.
fn index_shown(agent: &Agent) -> Option<u64> {
    let answer = agent.try_get("/v1/vars?stale&prefix=none").filter(|a| a.status == 200)?;
    answer.header("x-nomad-index")?.parse().ok()
}

#[test]
fn f06_a_leader_that_was_stopped_tells_nothing_old() {
    let agents = three("f06-", &json!({}));
    agents[0].until("a key", serves);
    let value = |v: &str| json!({ "Items": { "k": v } });
    for round in 0..3 {
        let at = leader(&agents, &[0, 1, 2]);
        let others: Vec<usize> = (0..3).filter(|i| *i != at).collect();
        assert_eq!(agents[at].put("/v1/var/x", &value("old")).status, 200);
        send("STOP", agents[at].pid());
        let new = format!("new{round}");
        agents[others[0]].until("a write elsewhere", |a| {
            let body = value(&new).to_string();
            a.request("PUT", "/v1/var/x", Some(&body)).is_ok_and(|r| r.status == 200)
        });
        // Asked before it goes on, so that it answers before it hears from anyone.
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                (0..4).map(|_| scope.spawn(|| agents[at].try_get("/v1/var/x"))).collect();
            std::thread::sleep(Duration::from_millis(50));
            send("CONT", agents[at].pid());
            for answer in asked {
                let answer = answer.join().expect("asked").expect("an answer");
                if answer.status == 200 {
                    assert_eq!(answer.json()["Items"]["k"], json!(new), "round {round}");
                }
            }
        });
        agents[at].until("the new value", |a| {
            let answer = a.get("/v1/var/x");
            answer.status == 200 && answer.json()["Items"]["k"] == json!(new)
        });
    }
}

/// Servers with an address and a network name space each, on a bridge that the test is on too.
struct Net {
    name: String,
    agents: Vec<Agent>,
}

impl Net {
    /// `None`: not permitted here. `third`: of the addresses, so that tests do not meet.
    fn new(third: u8) -> Option<Self> {
        let name = format!("v{}{third}", std::process::id() % 10_000);
        let mut net = Self { name: name.clone(), agents: Vec::new() };
        let host = format!("10.77.{third}.254/24");
        let bridge = run("ip", &["link", "add", &name, "type", "bridge"])
            && run("ip", &["addr", "add", &host, "dev", &name])
            && run("ip", &["link", "set", &name, "up"]);
        let join: Vec<String> = (1..=3).map(|n| format!("10.77.{third}.{n}")).collect();
        for (n, ip) in join.iter().enumerate() {
            let (ns, veth) = (format!("{name}-{n}"), format!("{name}v{n}"));
            let inside = format!("{ip}/24");
            let there = bridge
                && run("ip", &["netns", "add", &ns])
                && run(
                    "ip",
                    &["link", "add", &veth, "type", "veth", "peer", "name", "e0", "netns", &ns],
                )
                && run("ip", &["link", "set", &veth, "master", &name, "up"])
                && run("ip", &["-n", &ns, "addr", "add", &inside, "dev", "e0"])
                && run("ip", &["-n", &ns, "link", "set", "e0", "up"])
                && run("ip", &["-n", &ns, "link", "set", "lo", "up"]);
            if !there {
                return None;
            }
            let more = json!({
                "bind_addr": ip,
                "advertise": { "http": ip, "rpc": ip, "serf": ip },
                "ports": { "http": 4646, "rpc": 4647, "serf": 4648 },
                "server": {
                    "enabled": true, "bootstrap_expect": 3,
                    "server_join": { "retry_join": join },
                },
                "client": { "enabled": false },
                "log_level": "INFO",
            });
            let mut agent = Agent::prepare(&format!("{name}-{n}"), &more);
            (agent.port, agent.rpc, agent.serf) = (4646, 4647, 4648);
            agent.spawn_by(&["ip", "netns", "exec", &ns]);
            net.agents.push(agent);
        }
        net.agents[0].until("a leader", serves);
        Some(net)
    }

    /// Nothing gets from one server to another any more, or again.
    fn cut(&self, from: usize, to: usize, cut: bool) {
        let (ns, route) = (format!("{}-{from}", self.name), format!("{}/32", self.agents[to].host));
        let what = if cut { "add" } else { "del" };
        assert!(run("ip", &["-n", &ns, "route", what, "blackhole", &route]), "{what} {route}");
    }

    fn leader_of(&self, at: usize) -> Option<usize> {
        let answer = self.agents[at].try_get("/v1/status/leader").filter(|a| a.status == 200)?;
        self.agents.iter().position(|a| answer.text() == format!("\"{}:4647\"", a.host))
    }

    /// The leader, once all of them agree.
    fn leader(&self, among: &[usize]) -> usize {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let told: BTreeSet<Option<usize>> = among.iter().map(|n| self.leader_of(*n)).collect();
            if let Some(Some(at)) = told.first().filter(|_| told.len() == 1)
                && among.contains(at)
            {
                return *at;
            }
            assert!(Instant::now() < end, "no leader: {told:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn term(&self, at: usize) -> u64 {
        let answer = self.agents[at].get("/v1/agent/self").json();
        let term: &Value = &answer["stats"]["raft"]["term"];
        term.as_str().and_then(|t| t.parse().ok()).expect("a term")
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.agents.clear();
        for n in 0..3 {
            run("ip", &["netns", "del", &format!("{}-{n}", self.name)]);
        }
        run("ip", &["link", "del", &self.name]);
    }
}

#[test]
fn f09_f10_f11_cut_networks_cost_an_election_and_no_write() {
    let Some(net) = Net::new(1) else { return skip("ip netns") };
    let all = [0, 1, 2];
    // F09: the leader is cut off both ways.
    let old = net.leader(&all);
    let others: Vec<usize> = all.into_iter().filter(|n| *n != old).collect();
    for n in &others {
        net.cut(old, *n, true);
        net.cut(*n, old, true);
    }
    let begin = Instant::now();
    net.agents[others[0]].until("a write without it", serves);
    println!("F09: writes resume after {:?}", begin.elapsed());
    let stop = AtomicBool::new(true);
    let acknowledged = written(&net.agents[others[1]], "f09", &stop);
    assert_eq!(acknowledged.len(), 4);
    let alone = net.agents[old].put("/v1/var/alone", &json!({ "Items": { "k": "v" } }));
    assert_eq!(alone.status, 500, "{}", alone.text());
    for n in &others {
        net.cut(old, *n, false);
        net.cut(*n, old, false);
    }
    net.agents[old].until("what it missed", |a| acknowledged.is_subset(&held(a)));
    assert!(!held(&net.agents[old]).contains("alone"));

    // F10: the leader hears, but is not heard; then it is heard, but does not hear.
    for outward in [true, false] {
        let old = net.leader(&all);
        let others: Vec<usize> = all.into_iter().filter(|n| *n != old).collect();
        for n in &others {
            if outward { net.cut(old, *n, true) } else { net.cut(*n, old, true) }
        }
        let begin = Instant::now();
        net.agents[others[0]].until("a write without it", |a| {
            net.leader_of(others[0]).is_some_and(|l| l != old) && serves(a)
        });
        let took = begin.elapsed();
        println!("F10 {outward}: writes resume after {took:?}");
        for n in &others {
            if outward { net.cut(old, *n, false) } else { net.cut(*n, old, false) }
        }
        net.agents[old].until("a leader", serves);
    }

    // F11: a follower and the leader do not see each other; both see the third.
    let old = net.leader(&all);
    let far = (old + 1) % 3;
    let before = net.term(old);
    net.cut(old, far, true);
    net.cut(far, old, true);
    std::thread::sleep(Duration::from_secs(4));
    let third = (old + 2) % 3;
    net.agents[third].until("a write", serves);
    let changes = net.term(third) - before;
    assert!(changes <= 1, "F11: {changes} terms in 4 s");
}

#[test]
fn f12_flapping_networks_cost_few_elections() {
    let Some(net) = Net::new(2) else { return skip("ip netns") };
    let all = [0, 1, 2];
    let old = net.leader(&all);
    net.agents[old].until("a key", serves);
    let before = net.term(old);
    // F12: the leader and the others lose each other for a moment, again and again.
    let flaps = 12;
    for n in 0..flaps {
        let far = (old + 1 + n % 2) % 3;
        net.cut(old, far, true);
        net.cut(far, old, true);
        std::thread::sleep(Duration::from_millis(400));
        net.cut(old, far, false);
        net.cut(far, old, false);
        net.agents[old].until("a write between", serves);
    }
    let at = net.leader(&all);
    let changes = net.term(at) - before;
    assert!(changes <= flaps as u64 / 2, "F12: {changes} terms in {flaps} flaps");
}

/// Processes whose command holds this word.
fn processes(mark: &str) -> usize {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let lines = all.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.filter(|l| String::from_utf8_lossy(l).split('\0').any(|w| w == mark)).count()
}

#[test]
fn f08_a_client_that_was_stopped_ends_what_was_replaced() {
    let server = json!({
        "client": { "enabled": false },
        "server": {
            "enabled": true, "bootstrap_expect": 1,
            "min_heartbeat_ttl": "1s", "heartbeat_grace": "1s",
        },
    });
    let mut server = Agent::prepare("f08-server", &server);
    server.spawn();
    let mut clients: Vec<Agent> = Vec::new();
    for n in 0..2 {
        let mut client = Agent::prepare(
            &format!("f08-client{n}"),
            &json!({
                "server": { "enabled": false },
                "client": { "enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)] },
            }),
        );
        client.spawn();
        clients.push(client);
    }
    server.until("two nodes", |a| {
        a.try_get("/v1/nodes").is_some_and(|r| r.text().matches("\"ready\"").count() == 2)
    });
    let mark = format!("81{}", std::process::id());
    let job = super::super::agent::shell_job("j", "service", 1, &format!("exec sleep {mark}"));
    assert_eq!(server.put("/v1/jobs", &job).status, 200);
    let running = |a: &Agent| -> Vec<Value> {
        let all = a.allocs("j").into_iter();
        let there = |x: &Value| x["ClientStatus"] == "running" && x["DesiredStatus"] == "run";
        all.filter(there).collect()
    };
    server.until("a task", |a| running(a).len() == 1 && processes(&mark) == 1);
    let old = running(&server)[0].clone();
    let at = clients.iter().position(|c| {
        c.get("/v1/agent/self").json()["stats"]["client"]["node_id"] == old["NodeID"]
    });
    let at = at.expect("one of the two");
    send("STOP", clients[at].pid());
    server.until("a replacement", |a| {
        let now = running(a);
        now.len() == 1 && now[0]["NodeID"] != old["NodeID"]
    });
    send("CONT", clients[at].pid());
    server.until("one process", |_| processes(&mark) == 1);
    server
        .until("both nodes again", |a| a.get("/v1/nodes").text().matches("\"ready\"").count() == 2);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!((processes(&mark), running(&server).len()), (1, 1));
}

#[test]
fn f15_servers_that_come_back_with_other_addresses_are_the_same() {
    let mut agents = three("f15-", &json!({}));
    agents[0].until("a key", serves);
    let list = |a: &Agent| -> BTreeSet<(String, String)> {
        let answer = a.get("/v1/operator/raft/configuration?stale").json();
        let text = |v: &Value| v.as_str().expect("text").to_owned();
        let servers = answer["Servers"].as_array().cloned().unwrap_or_default();
        servers.iter().map(|s| (text(&s["ID"]), text(&s["Address"]))).collect()
    };
    let before = list(&agents[0]);
    let join: Vec<String> =
        agents.iter().enumerate().map(|(n, a)| format!("127.0.{}.1:{}", n + 1, a.serf)).collect();
    for (n, agent) in agents.iter_mut().enumerate() {
        agent.kill();
        let ip = format!("127.0.{}.1", n + 1);
        let file = agent.dir.join("agent.json");
        let text = std::fs::read(&file).expect("a configuration");
        let mut config: Value = serde_json::from_slice(&text).expect("JSON");
        config["bind_addr"] = json!(ip);
        config["advertise"] = json!({ "http": ip, "rpc": ip, "serf": ip });
        config["server"]["server_join"] = json!({ "retry_join": join });
        std::fs::write(&file, config.to_string()).expect("a configuration");
        agent.host = ip;
        agent.spawn();
    }
    agents[0].until("a leader", serves);
    agents[0].until("the new addresses", |a| {
        let now = list(a);
        let ids = |set: &BTreeSet<(String, String)>| -> BTreeSet<String> {
            set.iter().map(|(id, _)| id.clone()).collect()
        };
        now.len() == 3
            && ids(&now) == ids(&before)
            && agents
                .iter()
                .all(|b| now.iter().any(|(_, at)| *at == format!("{}:{}", b.host, b.rpc)))
    });
}

#[test]
fn f16_f17_a_killed_supervisor_costs_its_task_and_nothing_else() {
    let agent = Agent::start("f17");
    let job = super::super::agent::shell_job("two", "service", 2, "exec sleep 1000");
    assert_eq!(agent.put("/v1/jobs", &job).status, 200);
    let running = |a: &Agent| {
        let running = |x: &&Value| x["ClientStatus"] == "running";
        a.allocs("two").iter().filter(running).count()
    };
    agent.until("both running", |a| running(a) == 2);
    // The supervisors are this program with another argument.
    let below = agent.dir.display().to_string();
    let mut supervisors = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("processes").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let pid = entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0);
        if line.contains("executor") && line.contains(&below) && pid != agent.pid() {
            supervisors.push(pid);
        }
    }
    assert_eq!(supervisors.len(), 2, "one for each task");
    send("KILL", supervisors[0]);
    agent.until("one failed", |a| a.allocs("two").iter().any(|x| x["ClientStatus"] == "failed"));
    assert!(running(&agent) >= 1, "the other one goes on");
}
