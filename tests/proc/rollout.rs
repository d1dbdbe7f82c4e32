//! Rolling updates of real tasks by a real agent.

#![expect(clippy::disallowed_methods, reason = "time is to pass")]

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};
use crate::support::http::Answer;

const MS: u64 = 1_000_000;
const NOBODY: &str = "11111111-2222-3333-4444-555555555555";

/// The job `web`, whose tasks sleep after `first`.
fn web(count: u64, first: &str, update: &Value) -> Value {
    let mut body = shell_job("web", "service", count, &format!("{first}; exec sleep 600"));
    let mut all = json!({
        "MaxParallel": 1, "MinHealthyTime": 200 * MS, "HealthyDeadline": 10_000 * MS,
        "ProgressDeadline": 20_000 * MS,
    });
    for (k, v) in update.as_object().into_iter().flatten() {
        all[k] = v.clone();
    }
    let group = &mut body["Job"]["TaskGroups"][0];
    group["Update"] = all;
    // A parent that ignores SIGINT leaves that to its children.
    group["Tasks"][0]["KillSignal"] = json!("SIGTERM");
    group["ReschedulePolicy"] = json!({"Attempts": 0, "Unlimited": false});
    body
}

fn register(agent: &Agent, body: &Value) {
    let reply = agent.put("/v1/jobs", body);
    assert_eq!(reply.status, 200, "{}", reply.text());
}

/// The deployment of a version of the job.
fn deployment(agent: &Agent, version: u64) -> Option<Value> {
    let list = agent.try_get("/v1/job/web/deployments")?.json();
    list.as_array()?.iter().find(|d| d["JobVersion"] == json!(version)).cloned()
}

fn until_status(agent: &Agent, version: u64, status: &str) -> Value {
    let mut found = Value::Null;
    agent.until(&format!("version {version} {status}"), |a| {
        found = deployment(a, version).unwrap_or_default();
        found["Status"] == json!(status)
    });
    found
}

/// Allocations of a version that are meant to run.
fn of_version(agent: &Agent, version: u64) -> Vec<Value> {
    let all = agent.allocs("web").into_iter();
    all.filter(|a| a["JobVersion"] == json!(version) && a["DesiredStatus"] == "run").collect()
}

fn is_healthy(alloc: &Value) -> bool {
    alloc["DeploymentStatus"]["Healthy"] == json!(true)
}

fn stable(agent: &Agent) -> Vec<(u64, bool)> {
    let versions = agent.get("/v1/job/web/versions").json()["Versions"].clone();
    let one = |v: &Value| (v["Version"].as_u64().unwrap(), v["Stable"].as_bool().unwrap());
    versions.as_array().expect("versions").iter().map(one).collect()
}

#[test]
fn four_tasks_are_replaced_two_at_a_time() {
    let agent = Agent::start("rolling");
    let update = json!({"MaxParallel": 2});
    register(&agent, &web(4, "true", &update));
    until_status(&agent, 0, "successful");
    register(&agent, &web(4, "echo new", &update));
    let mut most = 0;
    agent.until("the end", |a| {
        let new = of_version(a, 1);
        let waiting = new.iter().filter(|a| !is_healthy(a)).count();
        most = waiting.max(most);
        assert!(waiting <= 2, "{waiting} at a time");
        assert!(new.len() + of_version(a, 0).len() <= 4);
        deployment(a, 1).is_some_and(|d| d["Status"] == "successful")
    });
    assert_eq!((most, of_version(&agent, 1).len(), of_version(&agent, 0).len()), (2, 4, 0));
    assert_eq!(stable(&agent), [(1, true), (0, true)]);
}

#[test]
fn a_bad_update_goes_back_by_itself() {
    let agent = Agent::start("revert");
    let update = json!({"AutoRevert": true});
    register(&agent, &web(2, "true", &update));
    until_status(&agent, 0, "successful");
    let good: Vec<Value> = of_version(&agent, 0).iter().map(|a| a["ID"].clone()).collect();
    register(&agent, &web(2, "exit 1", &update));
    let failed = until_status(&agent, 1, "failed");
    assert_eq!(
        failed["StatusDescription"],
        "Failed due to unhealthy allocations - rolling back to job version 0"
    );
    assert_eq!(failed["TaskGroups"]["g"]["UnhealthyAllocs"], 1);
    until_status(&agent, 2, "successful");
    assert_eq!(stable(&agent), [(2, true), (1, false), (0, true)]);
    let now = of_version(&agent, 2);
    assert_eq!(now.len(), 2);
    // The one that the bad version never reached goes on as it was.
    assert_eq!(now.iter().filter(|a| good.contains(&a["ID"])).count(), 1);
}

#[test]
fn a_canary_is_promoted_by_hand() {
    let agent = Agent::start("canary");
    let update = json!({"Canary": 1, "MaxParallel": 2});
    register(&agent, &web(2, "true", &update));
    let first = until_status(&agent, 0, "successful")["ID"].as_str().unwrap().to_owned();
    register(&agent, &web(2, "echo new", &update));
    let d = until_status(&agent, 1, "running");
    assert_eq!(d["StatusDescription"], "Deployment is running but requires manual promotion");
    let id = d["ID"].as_str().unwrap().to_owned();
    let path = |word: &str| format!("/v1/deployment/{word}/{id}");
    let all = json!({"DeploymentID": id, "All": true});
    let says = |reply: Answer, status: u16, text: &str| {
        assert_eq!((reply.status, reply.text().as_str()), (status, text));
    };
    let promote = |body: &Value| agent.put(&path("promote"), body);
    let early = "1 error occurred:\n\t* Task group \"g\" has 0/1 healthy allocations\n\n";
    says(promote(&all), 500, early);
    says(promote(&json!({})), 400, "DeploymentID must be specified");
    says(promote(&json!({"DeploymentID": first})), 400, "Deployment ID does not match");
    let nobody = format!("/v1/deployment/fail/{NOBODY}");
    says(agent.put(&nobody, &json!({})), 500, "deployment not found");
    says(agent.get(&path("promote")), 405, "Invalid method");
    let nobodys = json!({"DeploymentID": id, "HealthyAllocationIDs": [NOBODY]});
    let unknown = format!("unknown alloc \"{NOBODY}\"");
    says(agent.put(&path("allocation-health"), &nobodys), 500, &unknown);

    let paused = agent.put(&path("pause"), &json!({"DeploymentID": id, "Pause": true}));
    let body = paused.json();
    assert_eq!((paused.status, body["EvalID"].as_str()), (200, Some("")));
    assert_eq!(body["DeploymentModifyIndex"], json!(paused.index()));
    assert_eq!(body["RevertedJobVersion"], Value::Null);
    until_status(&agent, 1, "paused");
    let resumed = agent.put(&path("pause"), &json!({"DeploymentID": id, "Pause": false}));
    assert!(resumed.json()["EvalID"].as_str().is_some_and(|id| id.len() == 36));
    let unblocked = agent.put(&path("unblock"), &json!({"DeploymentID": id}));
    assert_eq!((unblocked.status, unblocked.json()["Index"].as_u64()), (200, Some(0)));

    // A blocking query sees the canary become healthy.
    let mut index = 1;
    let healthy = (0..20).any(|_| {
        let reply = agent.get(&format!("/v1/deployment/{id}?index={index}&wait=5s"));
        index = reply.index();
        reply.json()["TaskGroups"]["g"]["HealthyAllocs"] == 1
    });
    assert!(healthy, "{}", agent.log());
    assert_eq!((of_version(&agent, 0).len(), of_version(&agent, 1).len()), (2, 1));
    let nothing = promote(&json!({"DeploymentID": id, "Groups": ["zz"]}));
    assert_eq!((nothing.status, nothing.json()["EvalID"].as_str().unwrap().len()), (200, 36));
    assert_eq!(deployment(&agent, 1).unwrap()["TaskGroups"]["g"]["Promoted"], false);
    let promoted = promote(&all);
    assert_eq!(promoted.status, 200, "{}", promoted.text());
    let d = until_status(&agent, 1, "successful");
    assert_eq!(d["TaskGroups"]["g"]["Promoted"], true);
    assert_eq!((of_version(&agent, 0).len(), of_version(&agent, 1).len()), (0, 2));
    says(promote(&all), 500, "can't promote terminal deployment");
    says(agent.put(&path("unblock"), &all), 500, "can't unblock terminal deployment");
}

#[test]
fn an_agent_that_was_killed_goes_on_with_the_rollout() {
    let mut agent = Agent::start("killed");
    register(&agent, &web(3, "true", &json!({})));
    until_status(&agent, 0, "successful");
    register(&agent, &web(3, "echo new", &json!({})));
    agent.until("the first healthy one", |a| of_version(a, 1).iter().any(is_healthy));
    agent.kill();
    agent.spawn();
    agent.until_ready();
    agent.until("the second", |a| of_version(a, 1).len() == 2);
    agent.kill();
    agent.spawn();
    let d = until_status(&agent, 1, "successful");
    assert_eq!(d["TaskGroups"]["g"]["HealthyAllocs"], 3);
    assert_eq!((of_version(&agent, 0).len(), of_version(&agent, 1).len()), (0, 3));
}

/// The job `web` with two groups, `a` and `b`, of one canary each.
fn two_groups(first: &str) -> Value {
    let mut body = web(1, first, &json!({"Canary": 1}));
    let group = body["Job"]["TaskGroups"][0].clone();
    body["Job"]["TaskGroups"] = json!([group, group]);
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        body["Job"]["TaskGroups"][i]["Name"] = json!(name);
    }
    body
}

#[test]
fn groups_are_promoted_one_by_one() {
    let agent = Agent::start("groups");
    register(&agent, &two_groups("true"));
    until_status(&agent, 0, "successful");
    register(&agent, &two_groups("echo new"));
    let id = until_status(&agent, 1, "running")["ID"].as_str().unwrap().to_owned();
    let group = |a: &Agent, g: &str, field: &str| {
        deployment(a, 1).map_or(Value::Null, |d| d["TaskGroups"][g][field].clone())
    };
    agent.until("healthy canaries", |a| {
        ["a", "b"].into_iter().all(|g| group(a, g, "HealthyAllocs") == 1)
    });
    let promote = |names: Value| {
        let body = json!({"DeploymentID": id, "Groups": names});
        let reply = agent.put(&format!("/v1/deployment/promote/{id}"), &body);
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    promote(json!(["a"]));
    let running = |a: &Agent, version: u64, name: &str| {
        of_version(a, version).iter().filter(|x| x["TaskGroup"] == json!(name)).count()
    };
    agent.until("the old one of a goes", |a| running(a, 0, "a") == 0);
    assert_eq!((running(&agent, 0, "b"), running(&agent, 1, "b")), (1, 1));
    assert_eq!(group(&agent, "a", "Promoted"), json!(true));
    assert_eq!(group(&agent, "b", "Promoted"), json!(false));
    assert_eq!(until_status(&agent, 1, "running")["ID"], json!(id));
    promote(json!(["b"]));
    until_status(&agent, 1, "successful");
    assert_eq!((running(&agent, 0, "b"), running(&agent, 1, "b")), (0, 1));
}

#[test]
fn a_deployment_that_is_over_cannot_be_steered_and_is_collected() {
    let agent = Agent::start("collected");
    register(&agent, &web(1, "true", &json!({})));
    until_status(&agent, 0, "successful");
    register(&agent, &web(1, "exit 1", &json!({"Canary": 1})));
    let id = until_status(&agent, 1, "failed")["ID"].as_str().unwrap().to_owned();
    let says = |word: &str, more: &Value, status: u16, text: &str| {
        let mut body = json!({"DeploymentID": id});
        for (k, v) in more.as_object().into_iter().flatten() {
            body[k] = v.clone();
        }
        let reply = agent.put(&format!("/v1/deployment/{word}/{id}"), &body);
        assert_eq!((reply.status, reply.text().as_str()), (status, text), "{word}");
    };
    says("fail", &json!({}), 500, "can't fail terminal deployment");
    says("pause", &json!({"Pause": true}), 500, "can't pause terminal deployment");
    says("pause", &json!({"Pause": false}), 500, "can't resume terminal deployment");
    says("unblock", &json!({}), 500, "can't unblock terminal deployment");
    let health = json!({"HealthyAllocationIDs": [NOBODY]});
    says(
        "allocation-health",
        &health,
        500,
        "can't set health of allocations for a terminal deployment",
    );

    // One that allocations still stand for stays; without them it goes as well.
    let first = deployment(&agent, 0).expect("a deployment")["ID"].clone();
    let list = |a: &Agent| {
        let list = a.get("/v1/deployments").json().as_array().cloned().unwrap_or_default();
        list.into_iter().map(|d| d["ID"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(list(&agent).len(), 2);
    agent.until("the failed one collected", |a| {
        a.put("/v1/system/gc", &json!({}));
        list(a).len() < 2
    });
    assert_eq!(list(&agent), [first]);
    agent.delete("/v1/job/web");
    agent.until("the end", |a| {
        let done = |x: &Value| ["complete", "failed"].map(Value::from).contains(&x["ClientStatus"]);
        a.allocs("web").iter().all(done)
    });
    agent.until("collected deployments", |a| {
        a.put("/v1/system/gc", &json!({}));
        list(a).is_empty()
    });
    assert_eq!(agent.get(&format!("/v1/deployment/{id}")).status, 404);
}

/// Time in user and kernel mode of a process and its ended children, in ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let fields = stat.rsplit(") ").next().expect("fields").split(' ');
    fields.skip(11).take(4).map(|f| f.parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_job_that_never_fits_costs_no_time_while_it_waits() {
    let agent = Agent::start("never");
    let mut job = web(3, "true", &json!({}));
    job["Job"]["TaskGroups"][0]["Constraints"] =
        json!([{"LTarget": "${attr.kernel.name}", "Operand": "=", "RTarget": "plan9"}]);
    register(&agent, &job);
    agent.until("a blocked evaluation", |a| {
        let evals = a.get("/v1/job/web/evaluations").json();
        evals.as_array().is_some_and(|l| l.iter().any(|e| e["Status"] == "blocked"))
    });
    // A new server makes a key at leisure.
    agent.until("the root key's other half", |a| {
        a.get("/.well-known/jwks.json").json()["keys"][0]["alg"] == "RS256"
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    let (before, index) = (ticks(agent.pid()), agent.get("/v1/evaluations").index());
    std::thread::sleep(std::time::Duration::from_secs(4));
    let spent = ticks(agent.pid()) - before;
    assert!(spent <= 2, "{spent} ticks of 10 ms in four seconds");
    assert_eq!(agent.get("/v1/evaluations").index(), index);
}
