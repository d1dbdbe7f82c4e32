//! Rolling updates of real tasks by a real agent.

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
