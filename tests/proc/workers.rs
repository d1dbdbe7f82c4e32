//! The workers of a server: how many there are, of which jobs, and who may change it.

use serde_json::{Value, json};

use super::agent::{Agent, send, shell_job};

const CONFIG: &str = "/v1/agent/schedulers/config";

/// Writes the workers, and what is answered.
fn set(agent: &Agent, count: u64, kinds: &[&str]) -> Value {
    let answer =
        agent.put(CONFIG, &json!({ "num_schedulers": count, "enabled_schedulers": kinds }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn statuses(agent: &Agent) -> Vec<(String, String)> {
    let told = agent.get("/v1/agent/schedulers").json();
    let text = |v: &Value| v.as_str().expect("text").to_owned();
    let workers = told["schedulers"].as_array().expect("a list").iter();
    workers.map(|w| (text(&w["id"]), text(&w["status"]))).collect()
}

/// The statuses of the evaluations of a job.
fn evals(agent: &Agent, job: &str) -> Vec<String> {
    let told = agent.get(&format!("/v1/job/{job}/evaluations")).json();
    let all = told.as_array().expect("a list").iter();
    all.map(|e| e["Status"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn without_workers_jobs_wait_and_with_some_only_theirs_run() {
    let agent = Agent::start("workers-none");
    let none = set(&agent, 0, &["service", "batch", "_core"]);
    assert_eq!(none["num_schedulers"], 0);
    assert_eq!(none["enabled_schedulers"], json!(["batch", "service", "_core"]));
    assert_eq!(agent.get(CONFIG).json(), none);
    assert_eq!(statuses(&agent), []);
    agent.put("/v1/jobs", &shell_job("web", "service", 1, "exec sleep 600"));
    agent.put("/v1/jobs", &shell_job("once", "batch", 1, "true"));

    set(&agent, 1, &["batch", "_core"]);
    agent.until("the batch job's end", |a| {
        a.allocs("once").first().is_some_and(|a| a["ClientStatus"] == "complete")
    });
    assert_eq!((evals(&agent, "web"), agent.allocs("web").len()), (vec!["pending".into()], 0));

    // The only worker stays who it is; it takes the rest.
    let before = statuses(&agent);
    set(&agent, 1, &["_core", "service", "batch", "system", "sysbatch"]);
    agent.until("the service", |a| !a.allocs("web").is_empty());
    assert_eq!(
        (statuses(&agent), before.len(), before[0].1.as_str()),
        (before.clone(), 1, "Started")
    );
}

#[test]
fn what_is_asked_for_must_make_sense() {
    let agent = Agent::start("workers-asked");
    let before = agent.get(CONFIG).json();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    for (count, kinds) in [
        (json!(1), json!(["batch", "service"])),
        (json!(1), json!(["batch", "_core", "web"])),
        (json!(-1), json!(["_core"])),
        (json!(cpus + 1), json!(["_core"])),
    ] {
        let body = json!({ "num_schedulers": count, "enabled_schedulers": kinds });
        let answer = agent.put(CONFIG, &body);
        assert_eq!((answer.status, answer.text().as_str()), (400, "Invalid request"), "{body}");
    }
    for (body, text) in [("{", "Invalid request: "), ("", "Invalid request: Request body is empty")]
    {
        let answer = agent.request("PUT", CONFIG, Some(body)).expect("an answer");
        assert!(answer.status == 400 && answer.text().starts_with(text), "{}", answer.text());
    }
    let answer = agent.delete(CONFIG);
    assert_eq!((answer.status, answer.text().as_str()), (405, "Invalid method"));
    assert_eq!(agent.get(CONFIG).json(), before);
}

#[test]
fn the_configuration_says_how_many_and_is_read_again() {
    let server = |count: u64| {
        json!({ "enabled": true, "bootstrap_expect": 1, "num_schedulers": count,
            "enabled_schedulers": ["service", "system"] })
    };
    let mut agent = Agent::with("workers-config", &json!({ "server": server(5) }));
    let five = statuses(&agent);
    let shown: Vec<&str> = five.iter().map(|(_, status)| status.as_str()).collect();
    assert_eq!(shown, ["Paused", "Paused", "Paused", "Started", "Started"]);
    let config = agent.get(CONFIG).json();
    assert_eq!(config["enabled_schedulers"], json!(["system", "service", "_core"]));

    // What was written is forgotten when the file is read again, and at the end.
    set(&agent, 1, &["_core"]);
    agent.configure(&json!({ "server": server(3) }));
    send("HUP", agent.pid());
    agent.until("the new number", |a| a.get(CONFIG).json()["num_schedulers"] == 3);
    assert_eq!(statuses(&agent)[0].0, five[0].0, "the first is the same one");
    set(&agent, 1, &["_core"]);
    agent.kill();
    agent.spawn();
    agent.until_ready();
    assert_eq!(agent.get(CONFIG).json()["num_schedulers"], 3);
}
