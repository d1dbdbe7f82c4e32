//! Three servers as real processes: they find each other, lose their leader, grow from one.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use vardo::stdx::BTreeSet;

use serde_json::{Value, json};

use super::agent::Agent;
use crate::support::http::Answer;

/// Three servers that are to begin a cluster, started.
pub(crate) fn three(name: &str, more: &Value) -> Vec<Agent> {
    several(3, name, more)
}

pub(crate) fn several(count: u64, name: &str, more: &Value) -> Vec<Agent> {
    let mut agents: Vec<Agent> =
        (0..count).map(|n| prepared(&format!("{name}{n}"), count, &[], more)).collect();
    let ports: Vec<u16> = agents.iter().map(|a| a.serf).collect();
    for agent in &mut agents {
        configure(agent, |config| config["server"]["server_join"] = join(&ports));
        agent.spawn();
    }
    for agent in &agents {
        agent.until("a leader", |a| leader_of(a).is_some());
    }
    agents
}

fn join(ports: &[u16]) -> Value {
    let addresses: Vec<String> = ports.iter().map(|p| format!("127.0.0.1:{p}")).collect();
    json!({ "retry_join": addresses })
}

fn prepared(name: &str, expect: u64, ports: &[u16], more: &Value) -> Agent {
    let mut config = json!({
        "server": { "enabled": true, "bootstrap_expect": expect, "server_join": join(ports) },
        "client": { "enabled": false },
        "log_level": "INFO",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        if let (Some(block), Some(value)) = (config[key].as_object_mut(), value.as_object()) {
            block.extend(value.clone());
        } else {
            config[key] = value.clone();
        }
    }
    Agent::prepare(name, &config)
}

fn configure(agent: &Agent, change: impl FnOnce(&mut Value)) {
    let file = agent.dir.join("agent.json");
    let text = std::fs::read_to_string(&file).expect("a configuration");
    let mut config = serde_json::from_str(&text).expect("JSON");
    change(&mut config);
    std::fs::write(&file, config.to_string()).expect("a configuration");
}

/// RPC port of the leader that an agent knows.
fn leader_of(agent: &Agent) -> Option<u16> {
    let answer = agent.try_get("/v1/status/leader").filter(|a| a.status == 200)?;
    answer.text().trim_matches('"').rsplit(':').next()?.parse().ok()
}

/// Place of the leader among running agents, once all of them agree.
pub(crate) fn leader(agents: &[Agent], running: &[usize]) -> usize {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let told: BTreeSet<Option<u16>> = running.iter().map(|i| leader_of(&agents[*i])).collect();
        if let Some(Some(port)) = told.first().filter(|_| told.len() == 1)
            && let Some(at) = running.iter().find(|i| agents[**i].rpc == *port)
        {
            return *at;
        }
        assert!(Instant::now() < end, "no leader: {told:?}; log:\n{}", agents[running[0]].log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn write(agent: &Agent, path: &str) -> Option<Answer> {
    let body = json!({ "Items": { "k": path } }).to_string();
    agent.request("PUT", &format!("/v1/var/{path}"), Some(&body)).ok()
}

fn paths(agent: &Agent) -> BTreeSet<String> {
    let answer = agent.get("/v1/vars?stale");
    let list = answer.json();
    let list = list.as_array().expect("a list").iter();
    list.map(|v| v["Path"].as_str().expect("a path").to_owned()).collect()
}

#[test]
fn a_killed_leader_takes_no_acknowledged_write_along() {
    let mut agents = three("kill", &json!({}));
    let mut acknowledged = BTreeSet::new();
    let mut n = 0;
    for round in 0..3 {
        let at = leader(&agents, &[0, 1, 2]);
        let others: Vec<usize> = (0..3).filter(|i| *i != at).collect();
        for _ in 0..20 {
            n += 1;
            let path = format!("before/{n}");
            let answer = write(&agents[n % 3], &path).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
            acknowledged.insert(path);
        }
        agents[at].kill();
        let killed = Instant::now();
        loop {
            n += 1;
            let path = format!("after/{n}");
            if write(&agents[others[n % 2]], &path).is_some_and(|a| a.status == 200) {
                acknowledged.insert(path);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Far below an election by time-out alone, which takes a second at least.
        let took = killed.elapsed();
        assert!(took < Duration::from_secs(5), "writes resumed after {took:?} in round {round}");
        agents[at].spawn();
    }
    leader(&agents, &[0, 1, 2]);
    for agent in &agents {
        agent.until("all writes", |a| acknowledged.is_subset(&paths(a)));
    }
    // Two of three gone: nothing is acknowledged, what is there can still be read.
    let at = leader(&agents, &[0, 1, 2]);
    let left = (at + 1) % 3;
    for i in (0..3).filter(|i| *i != left) {
        agents[i].kill();
    }
    agents[left].until("no leader", |a| leader_of(a).is_none());
    let answer = write(&agents[left], "alone").expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (500, "No cluster leader"));
    let stale = agents[left].get("/v1/vars?stale");
    assert_eq!(stale.header("x-nomad-knownleader"), Some("false"));
    assert!(stale.header("x-nomad-lastcontact").is_some_and(|ms| ms != "0"));
    assert!(acknowledged.is_subset(&paths(&agents[left])));
}

/// What the command line says to an agent, and its exit status.
fn command(agent: &Agent, args: &[&str]) -> (i32, String) {
    let mut command = std::process::Command::new(crate::support::agent::BINARY);
    command.args(args).env("NOMAD_ADDR", format!("http://127.0.0.1:{}", agent.port));
    let ran = command.output().expect("the binary runs");
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// Servers that do not look for each other are brought together, and the lead is handed over.
#[test]
fn an_operator_makes_a_cluster_and_moves_its_lead_by_hand() {
    let mut agents: Vec<Agent> =
        (0..3).map(|n| prepared(&format!("byhand{n}"), 3, &[], &json!({}))).collect();
    for agent in &mut agents {
        agent.spawn();
    }
    for agent in &agents {
        agent.until("the API", |a| a.try_get("/v1/status/peers").is_some());
    }
    let (status, said) = command(&agents[0], &["check"]);
    assert!(status == 2 && said.contains("no leader"), "{said}");
    let others = [1, 2].map(|i: usize| format!("127.0.0.1:{}", agents[i].serf));
    let joined = command(&agents[0], &["server", "join", &others[0], &others[1]]);
    assert_eq!(joined, (0, "Joined 2 servers successfully\n".to_owned()));
    let first = leader(&agents, &[0, 1, 2]);
    let next = (first + 1) % 3;
    let template = "{{range .Servers}}{{.ID}} {{.Address}}\n{{end}}";
    let (_, peers) = command(&agents[next], &["operator", "raft", "list-peers", "-t", template]);
    let address = format!("127.0.0.1:{}", agents[next].rpc);
    let line = peers.lines().find(|l| l.ends_with(&address)).expect("the next leader");
    let id = line.split(' ').next().expect("an id");
    let args = ["operator", "raft", "transfer-leadership", "-peer-id", id];
    let moved = command(&agents[next], &args);
    assert_eq!(moved, (0, format!("Transferred leadership to {address}\n")));
    agents[first].until("the new leader", |_| leader(&agents, &[0, 1, 2]) == next);
}

#[test]
fn a_follower_passes_on_what_the_leader_must_answer() {
    // With a shared secret, which both ends of a link must prove.
    let secret = json!({ "server": { "encrypt": "cg8StVXbQJ0gPvMd9o7yrg==" } });
    let agents = three("pass", &secret);
    let at = leader(&agents, &[0, 1, 2]);
    let (follower, other) = (&agents[(at + 1) % 3], &agents[(at + 2) % 3]);
    assert_eq!(follower.get("/v1/agent/self").json()["stats"]["serf"]["encrypted"], "true");
    let keyring = follower.get("/v1/agent/keyring/list");
    assert!(keyring.status == 501 && keyring.text().contains("not served"), "{}", keyring.text());
    let first = write(follower, "a").expect("an answer");
    assert_eq!(first.status, 200, "{}", first.text());
    let index = first.index();
    assert_eq!(other.get("/v1/var/a").index(), index, "reads see what was written elsewhere");
    // A blocking query waits at the leader and comes back through the follower, and the
    // connection serves the next request.
    let mut stream = follower.connect().expect("a connection");
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let query = ask(&format!("/v1/vars?index={index}&wait=20s"));
    stream.write_all(query.as_bytes()).expect("sent");
    std::thread::sleep(Duration::from_millis(100));
    let begin = Instant::now();
    let second = write(other, "b").expect("an answer");
    let answer = crate::support::http::read(&mut stream, false).expect("an answer");
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!((answer.status, answer.index()), (200, second.index()));
    assert_eq!(answer.json().as_array().map(Vec::len), Some(2));
    stream.write_all(ask("/v1/status/leader").as_bytes()).expect("sent");
    let answer = crate::support::http::read(&mut stream, false).expect("an answer");
    assert_eq!(answer.text(), format!("\"127.0.0.1:{}\"", agents[at].rpc));
    // Bodies larger than the credit of a stream, both ways.
    let big = "x".repeat(50_000);
    let items: Value = (0..40).map(|i| (format!("k{i}"), Value::from(big.as_str()))).collect();
    let refused = follower.put("/v1/var/big", &json!({ "Items": items }));
    assert_ne!(refused.status, 200, "larger than a variable may be");
    for i in 0..20 {
        let items = json!({ "Items": { "k": big } });
        assert_eq!(follower.put(&format!("/v1/var/big{i}"), &items).status, 200);
    }
    assert!(follower.get("/v1/vars?prefix=big").status == 200);
    // What does not exist is said by the leader in the same words.
    let missing = follower.get("/v1/job/nothing");
    assert_eq!((missing.status, missing.text()), (404, "job not found".to_owned()));
}

/// What every server holds of the variables, and of which entry.
fn digest(agent: &Agent) -> (u64, String) {
    let answer = agent.get("/v1/vars?stale");
    (answer.index(), answer.text())
}

#[test]
fn a_server_behind_the_log_is_sent_the_state() {
    let short = json!({ "server": { "raft_trailing_logs": 16 } });
    let mut agents = three("behind", &short);
    let at = leader(&agents, &[0, 1, 2]);
    let (left, other) = ((at + 1) % 3, (at + 2) % 3);
    agents[left].until("a key", |a| write(a, "first").is_some_and(|w| w.status == 200));
    agents[left].kill();
    // The log stays for it until the leader has given it up, an election time-out or two later.
    std::thread::sleep(Duration::from_secs(4));
    // 6 MB of state, and more entries than the log keeps.
    let value = "x".repeat(5_000);
    std::thread::scope(|scope| {
        for w in 0..8 {
            let (agent, value) = (&agents[if w % 2 == 0 { at } else { other }], &value);
            scope.spawn(move || {
                for n in 0..160 {
                    let items = json!({ "Items": { "k": value } });
                    let answer = agent.put(&format!("/v1/var/w{w}/n{n}"), &items);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            });
        }
    });
    // It is killed in the middle of taking it in, wherever that is, and has the old state or the
    // new one.
    for wait in [150, 250, 350] {
        agents[left].spawn();
        std::thread::sleep(Duration::from_millis(wait));
        agents[left].kill();
    }
    agents[left].spawn();
    agents[left].until("the state", |a| {
        a.try_get("/v1/vars?stale").is_some_and(|r| r.status == 200)
            && digest(a) == digest(&agents[at])
    });
    assert_eq!(paths(&agents[left]).len(), 8 * 160 + 1);
    // By whichever of the two led meanwhile: under load the leadership may move.
    let logs = agents[at].log() + &agents[other].log();
    assert!(logs.contains("bytes of state"), "no state was sent:\n{logs}");
    // It votes as before: with it and one other there is a majority.
    agents[other].kill();
    assert_eq!(write(&agents[left], "second").expect("an answer").status, 200);
    // What it holds is there after a restart, the remains of the old state are not.
    agents[left].kill();
    agents[left].spawn();
    agents[left].until("the second write", |a| {
        a.try_get("/v1/vars?stale").is_some_and(|r| r.status == 200) && paths(a).contains("second")
    });
}

#[test]
fn one_server_grows_to_three_and_shrinks_again() {
    let mut agents = vec![prepared("grow0", 1, &[], &json!({}))];
    agents[0].spawn();
    agents[0].until("a leader", |a| leader_of(a).is_some());
    let first = |a: &Agent| write(a, "first").is_some_and(|w| w.status == 200);
    agents[0].until("a key to write variables with", first);
    for n in 1..3 {
        // Told of the gossip port, as configurations for the reference are.
        let leave = json!({ "leave_on_terminate": true });
        let mut agent = prepared(&format!("grow{n}"), 0, &[], &leave);
        agent.spawn();
        let path = format!("/v1/agent/join?address=127.0.0.1:{}", agents[0].serf);
        agent.until("its API", |a| a.try_get("/v1/agent/members").is_some());
        let answer = agent.put(&path, &json!({})).json();
        assert_eq!(answer["num_joined"], 1, "{answer}");
        let nobody = agent.put("/v1/agent/join?address=127.0.0.1:1&address=x:y", &json!({})).json();
        assert_eq!(nobody["num_joined"], 0, "{nobody}");
        let why = "\"x:y\": \"y\" is no port; failed to join 127.0.0.1:1: nobody answered";
        assert_eq!(nobody["error"], why);
        agents.push(agent);
    }
    let voters = |a: &Agent| {
        let answer = a.get("/v1/operator/raft/configuration").json();
        let list = answer["Servers"].as_array().cloned().unwrap_or_default();
        list.iter().filter(|s| s["Voter"] == true).count()
    };
    agents[0].until("three voters", |a| voters(a) == 3);
    for agent in &agents {
        agent.until("the first write", |a| paths(a).contains("first"));
    }
    let members = agents[1].get("/v1/agent/members").json();
    let alive = members["Members"].as_array().expect("a list").iter();
    assert_eq!(alive.filter(|m| m["Status"] == "alive").count(), 3, "{members}");
    // A stranger at the door changes nothing.
    let stranger = std::net::TcpStream::connect(("127.0.0.1", agents[0].rpc));
    let mut stranger = stranger.expect("a connection");
    stranger.write_all(&[0xff; 64]).expect("sent");
    stranger.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    let mut rest = Vec::new();
    drop(stranger.read_to_end(&mut rest));
    assert_eq!(write(&agents[2], "second").expect("an answer").status, 200);
    // The leadership moves where it is told to, and a server that leaves is let go.
    let list = agents[0].get("/v1/operator/raft/configuration").json();
    let id = list["Servers"].as_array().expect("a list").iter();
    let id = id.filter(|s| s["Address"] == format!("127.0.0.1:{}", agents[2].rpc));
    let id = id.map(|s| s["ID"].as_str().expect("an id").to_owned()).next().expect("a server");
    let path = format!("/v1/operator/raft/transfer-leadership?id={id}");
    let answer = agents[0].put(&path, &json!({}));
    assert_eq!((answer.status, &answer.json()["Noop"]), (200, &json!(false)), "{}", answer.text());
    agents[0].until("another leader", |a| leader_of(a) == Some(agents[2].rpc));
    let mut last = agents.pop().expect("three");
    let (took, status) = last.end("TERM");
    assert!(took < Duration::from_secs(6) && status.success(), "{took:?} {status}");
    agents[0].until("two voters", |a| voters(a) == 2);
    assert_eq!(write(&agents[1], "third").expect("an answer").status, 200);
}

#[test]
fn a_fourth_server_that_died_is_taken_out_and_may_come_back() {
    let mut agents = three("dead", &json!({}));
    let ports: Vec<u16> = agents.iter().map(|a| a.serf).collect();
    let mut fourth = prepared("late", 0, &ports, &json!({}));
    fourth.spawn();
    let voters = |a: &Agent| {
        let answer = a.get("/v1/operator/raft/configuration").json();
        let list = answer["Servers"].as_array().cloned().unwrap_or_default();
        list.iter().filter(|s| s["Voter"] == true).count()
    };
    agents[0].until("four voters", |a| voters(a) == 4);
    let rules = json!({ "CleanupDeadServers": true, "ServerStabilizationTime": "500ms" });
    assert_eq!(agents[0].put("/v1/operator/autopilot/configuration", &rules).status, 200);
    fourth.kill();
    agents[0].until("three voters", |a| voters(a) == 3);
    // Of three servers none goes: two of two would be no better than two of three.
    let leader = leader(&agents, &[0, 1, 2]);
    let other = (leader + 1) % 3;
    agents[other].kill();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(voters(&agents[leader]), 3);
    fourth.spawn();
    agents[leader].until("four voters again", |a| voters(a) == 4);
    // Now the one that is still dead can be spared.
    agents[leader].until("three voters again", |a| voters(a) == 3);
    assert_eq!(write(&fourth, "late").expect("an answer").status, 200);
}

#[test]
fn what_is_left_of_a_cluster_goes_on_as_its_operator_says() {
    let mut agents = three("lost", &json!({}));
    agents[0].until("a key", |a| write(a, "kept").is_some_and(|w| w.status == 200));
    let list = agents[0].get("/v1/operator/raft/configuration").json();
    let own = format!("127.0.0.1:{}", agents[0].rpc);
    let servers = list["Servers"].as_array().expect("a list");
    let server = servers.iter().find(|s| s["Address"] == own).expect("this server");
    let id = server["ID"].clone();
    agents[0].until("the write", |a| paths(a).contains("kept"));
    for agent in agents.iter_mut() {
        agent.kill();
    }
    let dir = agents[0].dir.join("data/server/raft");
    std::fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("peers.json");
    // A file that makes no sense keeps the server from starting.
    std::fs::write(&file, r#"["127.0.0.1:1"]"#).expect("a file");
    agents[0].spawn();
    let why = "has no id that is known";
    agents[0].until("the end", |a| a.log().contains(why));
    agents[0].kill();
    let peers = json!([{ "id": id, "address": own, "non_voter": false }]);
    std::fs::write(&file, peers.to_string()).expect("a file");
    agents[0].spawn();
    agents[0].until("a leader", |a| leader_of(a) == Some(a.rpc));
    assert!(paths(&agents[0]).contains("kept"));
    assert_eq!(write(&agents[0], "after").expect("an answer").status, 200);
    assert!(!file.exists(), "the file is used up");
}

#[test]
fn a_client_apart_runs_jobs_while_leaders_come_and_go() {
    let mut agents = three("apart", &json!({}));
    let more = json!({
        "server": { "enabled": false },
        "client": { "enabled": true, "servers": [format!("127.0.0.1:{}", agents[0].rpc)] },
    });
    let mut client = Agent::prepare("apart-client", &more);
    client.spawn();
    // The client answers for the cluster: it asks a server, which asks the leader.
    client.until("a ready node", |a| {
        a.try_get("/v1/nodes").is_some_and(|r| r.text().contains("\"ready\""))
    });
    let job = super::agent::shell_job("j", "service", 2, "echo hello; exec sleep 1000");
    let answer = client.put("/v1/jobs", &job);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let states = |a: &Agent, state: &str| {
        a.allocs("j").iter().filter(|x| x["ClientStatus"] == state).count()
    };
    client.until("two running", |a| states(a, "running") == 2);
    // Its logs and figures, asked of every server and of the client itself.
    let alloc = client.allocs("j")[0]["ID"].as_str().expect("an id").to_owned();
    let logs = format!("/v1/client/fs/logs/{alloc}?task=t&type=stdout&plain=true");
    for agent in agents.iter().chain([&client]) {
        agent.until("its log", |a| a.get(&logs).text() == "hello\n");
        let stats = agent.get(&format!("/v1/client/allocation/{alloc}/stats"));
        assert_eq!(stats.status, 200, "{}", stats.text());
    }
    // The leader dies, and with it, maybe, the server that the client speaks to.
    let at = leader(&agents, &[0, 1, 2]);
    agents[at].kill();
    let others: Vec<usize> = (0..3).filter(|i| *i != at).collect();
    leader(&agents, &others);
    let stop = client.delete("/v1/job/j");
    assert_eq!(stop.status, 200, "{}", stop.text());
    agents[others[0]].until("both ended", |a| states(a, "complete") == 2);
    // A node speaks over links only.
    let door = agents[others[0]].put("/v1/internal/node?id=x", &json!({}));
    assert_eq!(door.status, 404);
}
