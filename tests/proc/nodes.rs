//! Drains, purges, deleting, collecting and snapshots against real agents.

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};
use crate::support::http;

fn node_of(agent: &Agent) -> Value {
    let id = agent.get("/v1/nodes").json()[0]["ID"].as_str().expect("an id").to_owned();
    agent.get(&format!("/v1/node/{id}")).json()
}

fn running(agent: &Agent, job: &str) -> bool {
    agent.allocs(job).iter().any(|a| a["ClientStatus"] == "running")
}

#[test]
fn a_drain_outlives_the_agent_and_ends_at_its_deadline() {
    let mut agent = Agent::start("drain");
    let registered = agent.put("/v1/jobs", &shell_job("once", "batch", 1, "sleep 600"));
    assert_eq!(registered.status, 200, "{}", registered.text());
    agent.until("a running task", |a| running(a, "once"));
    let node = node_of(&agent);
    let path = format!("/v1/node/{}", node["ID"].as_str().unwrap());
    let before = agent.get(&path).index();
    let spec = json!({ "DrainSpec": { "Deadline": 4_000_000_000i64 }, "Meta": { "why": "test" } });
    let set = agent.put(&format!("{path}/drain"), &spec);
    assert_eq!(set.status, 200, "{}", set.text());
    let seen = agent.get(&format!("{path}?index={before}&wait=10s")).json();
    assert_eq!(seen["LastDrain"]["Status"], "draining");
    assert_eq!(seen["SchedulingEligibility"], "ineligible");
    let eligible = json!({ "Eligibility": "eligible" });
    let refused = agent.put(&format!("{path}/eligibility"), &eligible);
    assert_eq!(refused.status, 500, "{}", refused.text());
    agent.kill();
    agent.spawn();
    agent.until_ready();
    assert!(running(&agent, "once"), "batch work is left alone until the deadline");
    agent.until("the end of the drain", |a| node_of(a)["LastDrain"]["Status"] == "complete");
    let node = node_of(&agent);
    assert_eq!((&node["Drain"], &node["DrainStrategy"]), (&json!(false), &Value::Null));
    assert_eq!(node["SchedulingEligibility"], "ineligible");
    assert_eq!(node["LastDrain"]["Meta"], json!({ "why": "test" }));
    let last = node["Events"].as_array().unwrap().iter().rev();
    let drains: Vec<_> = last.filter(|e| e["Subsystem"] == "Drain").collect();
    assert_eq!(drains[0]["Message"], "Node drain complete");
    assert!(!running(&agent, "once"));
    // Marked eligible again, it takes the work back.
    let back = agent.put(&format!("{path}/drain"), &json!({ "MarkEligible": true }));
    assert_eq!(back.status, 200, "{}", back.text());
    agent.until("the work again", |a| running(a, "once"));
}

#[test]
fn a_purged_node_that_lives_comes_back() {
    let server = json!({ "enabled": true, "bootstrap_expect": 1, "min_heartbeat_ttl": "1s" });
    let agent = Agent::with("purge", &json!({ "server": server }));
    let node = node_of(&agent);
    let purged = agent.put(&format!("/v1/node/{}/purge", node["ID"].as_str().unwrap()), &json!({}));
    assert_eq!(purged.status, 200, "{}", purged.text());
    assert_eq!(agent.get("/v1/nodes").json(), json!([]));
    agent.until_ready();
    assert_eq!(node_of(&agent)["ID"], node["ID"]);
}

#[test]
fn what_waits_in_a_paused_broker_can_be_deleted_and_what_is_over_collected() {
    let agent = Agent::start("evals");
    let config = "/v1/operator/scheduler/configuration";
    assert_eq!(agent.put(config, &json!({ "PauseEvalBroker": true })).status, 200);
    let job = shell_job("web", "service", 1, "sleep 600");
    let eval = agent.put("/v1/jobs", &job).json()["EvalID"].as_str().unwrap().to_owned();
    assert_eq!(agent.get(&format!("/v1/evaluation/{eval}")).json()["Status"], "pending");
    let filter = json!({ "Filter": "JobID == \"web\"" });
    let deleted = agent.request("DELETE", "/v1/evaluations", Some(&filter.to_string())).unwrap();
    assert_eq!((deleted.status, &deleted.json()["Count"]), (200, &json!(1)));
    assert_eq!(agent.get("/v1/evaluations/count").json()["Count"], 0);
    assert_eq!(agent.put(config, &json!({ "PauseEvalBroker": false })).status, 200);
    assert_eq!(agent.allocs("web"), [] as [Value; 0], "nothing asks for it any more");
    assert_eq!(agent.put("/v1/jobs", &job).status, 200);
    agent.until("a running task", |a| running(a, "web"));
    assert_eq!(agent.put("/v1/system/gc", &json!({})).status, 200);
    assert_eq!(agent.get("/v1/job/web").status, 200, "it runs");
    assert_eq!(agent.delete("/v1/job/web").status, 200);
    agent.until("the end of the task", |a| !running(a, "web"));
    agent.until("the collection", |a| {
        assert_eq!(a.put("/v1/system/gc", &json!({})).status, 200);
        a.get("/v1/job/web").status == 404 && a.allocs("web").is_empty()
    });
}

fn restore(agent: &Agent, archive: &[u8]) -> http::Answer {
    let address = format!("127.0.0.1:{}", agent.port);
    http::send(&address, "PUT", "/v1/operator/snapshot", &[], Some(archive)).expect("an answer")
}

#[test]
fn a_snapshot_brings_back_what_was_there_here_and_elsewhere() {
    let agent = Agent::start("snapshot");
    // A server that has just begun anew leads a moment later.
    let put = |agent: &Agent, name: &str| {
        let mut index = 0;
        agent.until("a write", |a| {
            let done = a.put(&format!("/v1/var/{name}"), &json!({ "Items": { "k": name } }));
            index = done.header("x-nomad-index").and_then(|i| i.parse().ok()).unwrap_or(0);
            done.status == 200
        });
        index
    };
    let get = |agent: &Agent, name: &str| agent.get(&format!("/v1/var/{name}"));
    put(&agent, "before");
    assert_eq!(agent.put("/v1/jobs", &shell_job("web", "service", 1, "sleep 600")).status, 200);
    agent.until("a running task", |a| running(a, "web"));
    let saved = agent.get("/v1/operator/snapshot");
    assert_eq!(saved.status, 200, "{}", saved.text());
    assert_eq!(saved.header("content-type"), Some("application/x-gzip"));
    assert!(saved.header("digest").is_some_and(|d| d.starts_with("sha-256=")));
    let after = put(&agent, "after");
    let mut bent = saved.body.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 0x10;
    for (archive, why) in [
        (&b"no archive"[..], "failed to decompress snapshot: gzip: invalid header"),
        (&saved.body[..saved.body.len() / 2], "failed to decompress snapshot: unexpected EOF"),
        (&bent[..], "failed to"),
    ] {
        let refused = restore(&agent, archive);
        let text = format!("failed to restore from snapshot: {why}");
        assert_eq!(refused.status, 500);
        assert!(refused.text().starts_with(&text), "{}", refused.text());
    }
    assert_eq!(get(&agent, "after").status, 200, "refused archives change nothing");
    let done = restore(&agent, &saved.body);
    assert_eq!((done.status, done.text().as_str()), (200, ""));
    agent.until("the old state", |a| get(a, "after").status == 404);
    assert_eq!(get(&agent, "before").json()["Items"]["k"], "before");
    assert!(running(&agent, "web"));
    assert!(put(&agent, "again") > after, "the index never runs backwards");

    // Elsewhere: a fresh agent takes over everything but the node.
    let mut other = Agent::start("snapshot-elsewhere");
    assert_eq!(restore(&other, &saved.body).status, 200);
    other.until("the variable", |a| {
        a.try_get("/v1/var/before").is_some_and(|r| r.json()["Items"]["k"] == "before")
    });
    put(&other, "new");
    other.kill();
    other.spawn();
    other.until("the state after a restart", |a| {
        a.try_get("/v1/var/new").is_some_and(|r| r.status == 200)
    });
    assert_eq!(get(&other, "before").json()["Items"]["k"], "before");
    assert_eq!(other.get("/v1/job/web").status, 200);
}
