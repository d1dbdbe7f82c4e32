//! Jobs that launch others, and jobs that change their size, over a real agent.

#![expect(clippy::disallowed_methods, reason = "nothing may happen for a while")]

use serde_json::{Value, json};
use vardo::stdx::json::Bytes;

use super::agent::{Agent, shell_job};

fn base64(text: &str) -> String {
    Bytes::encode(text.as_bytes())
}

/// Standard output of the only allocation of a job, once it is complete.
fn output(agent: &Agent, job: &str) -> String {
    let done = |a: &Agent| {
        let allocs = a.allocs(job);
        allocs.first().is_some_and(|a| a["ClientStatus"] == "complete")
    };
    agent.until("a complete allocation", done);
    let alloc = agent.allocs(job)[0]["ID"].as_str().expect("an id").to_owned();
    let path = format!("/v1/client/fs/logs/{alloc}?task=t&type=stdout&plain=true");
    agent.get(&path).text()
}

#[test]
fn a_dispatched_job_finds_its_payload_and_its_metadata() {
    let agent = Agent::start("dispatch");
    let script = "cat \"$NOMAD_TASK_DIR/in.txt\"; \
                  echo \"$NOMAD_META_who/$NOMAD_META_OPT/$NOMAD_JOB_PARENT_ID\"";
    let mut spec = shell_job("tmpl", "batch", 1, script);
    spec["Job"]["ParameterizedJob"] =
        json!({"Payload": "required", "MetaRequired": ["who"], "MetaOptional": ["OPT"]});
    spec["Job"]["Meta"] = json!({"OPT": "default"});
    spec["Job"]["TaskGroups"][0]["Tasks"][0]["DispatchPayload"] = json!({"File": "in.txt"});
    let registered = agent.put("/v1/jobs", &spec).json();
    assert_eq!((&registered["EvalID"], &registered["EvalCreateIndex"]), (&"".into(), &0.into()));

    let body = json!({"Payload": base64("hello\n"), "Meta": {"who": "me"}});
    let done = agent.put("/v1/job/tmpl/dispatch", &body).json();
    let id = done["DispatchedJobID"].as_str().expect("an id");
    assert_eq!(output(&agent, id), "hello\nme/default/tmpl\n");
    agent.until("a dead child", |a| a.get("/v1/job/tmpl/summary").json()["Children"]["Dead"] == 1);
    let parent = agent.get("/v1/job/tmpl").json();
    assert_eq!(parent["Status"], "running", "a template waits for its next dispatch");
}

#[test]
fn a_token_dispatches_once_however_many_ask_at_the_same_time() {
    let agent = Agent::start("dispatch-token");
    let mut spec = shell_job("tmpl", "batch", 1, "exec sleep 600");
    spec["Job"]["ParameterizedJob"] = json!({});
    agent.put("/v1/jobs", &spec);
    for token in ["a", "b", "c", "d"] {
        let path = format!("/v1/job/tmpl/dispatch?idempotency_token={token}");
        let ask = || {
            let reply = agent.put(&path, &json!({}));
            assert_eq!(reply.status, 200, "{}", reply.text());
            reply.json()["DispatchedJobID"].as_str().expect("an id").to_owned()
        };
        let ids: vardo::stdx::BTreeSet<String> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..24).map(|_| scope.spawn(ask)).collect();
            asked.into_iter().map(|a| a.join().expect("an answer")).collect()
        });
        assert_eq!(ids.len(), 1, "{ids:?}");
    }
    let children = agent.get("/v1/jobs?prefix=tmpl/dispatch-").json();
    assert_eq!(children.as_array().map(Vec::len), Some(4));
}

#[test]
fn no_job_comes_into_a_namespace_that_goes() {
    let agent = Agent::start("namespace-race");
    for _ in 0..8 {
        agent.put("/v1/namespace", &json!({"Name": "dev"}));
        let mut spec = shell_job("web", "service", 1, "exec sleep 600");
        spec["Job"]["Namespace"] = json!("dev");
        let (gone, come) = std::thread::scope(|scope| {
            let register = scope.spawn(|| agent.put("/v1/jobs?namespace=dev", &spec).status);
            let gone = agent.delete("/v1/namespace/dev").status;
            (gone, register.join().expect("an answer"))
        });
        // Whoever came first decides, and one of them is refused.
        assert!(matches!((gone, come), (200, 500) | (500, 200)), "{gone} {come}");
        let jobs = agent.get("/v1/jobs?namespace=*").json();
        assert_eq!(jobs.as_array().map(Vec::len), Some(usize::from(come == 200)));
        agent.delete("/v1/job/web?purge=true&namespace=dev");
        agent.until("the end", |a| {
            a.delete("/v1/namespace/dev");
            !a.get("/v1/namespaces").text().contains("\"dev\"")
        });
    }
}

#[test]
fn a_periodic_job_is_launched_by_the_clock_and_by_hand() {
    let mut agent = Agent::start("periodic");
    let children = |a: &Agent| -> Vec<String> {
        let list = a.get("/v1/jobs?prefix=tick/periodic-").json();
        let ids = list.as_array().into_iter().flatten();
        ids.filter_map(|j| j["ID"].as_str().map(str::to_owned)).collect()
    };
    let mut spec = shell_job("tick", "batch", 1, "echo \"$NOMAD_JOB_ID\"");
    spec["Job"]["Periodic"] = json!({"Specs": ["*/2 * * * * * *"], "TimeZone": "UTC"});
    agent.put("/v1/jobs", &spec);
    agent.until("two launches", |a| children(a).len() >= 2);
    let first = children(&agent).remove(0);
    assert_eq!(output(&agent, &first), format!("{first}\n"));
    let child = agent.get(&format!("/v1/job/{first}")).json();
    assert_eq!((&child["ParentID"], &child["Periodic"]), (&"tick".into(), &Value::Null));
    let at: i64 = first.rsplit('-').next().and_then(|t| t.parse().ok()).expect("seconds");
    assert_eq!(at % 2, 0, "{first}");

    // A new process goes on where the old one ended.
    agent.kill();
    let known = {
        agent.spawn();
        agent.until_ready();
        children(&agent).len()
    };
    agent.until("a launch after the start", |a| children(a).len() > known);

    // Switched off, it is launched by hand alone.
    spec["Job"]["Periodic"]["Enabled"] = false.into();
    agent.put("/v1/jobs", &spec);
    let before = children(&agent).len();
    let forced = agent.put("/v1/job/tick/periodic/force", &json!({})).json();
    let eval = forced["EvalID"].as_str().expect("an id");
    let eval = agent.get(&format!("/v1/evaluation/{eval}")).json();
    assert_eq!(eval["TriggeredBy"], "periodic-job");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let after = children(&agent).len();
    assert!(after <= before + 1, "{before} children became {after}");

    let plan = json!({"Job": spec["Job"], "Diff": true});
    let mut daily = plan;
    daily["Job"]["Periodic"] = json!({"Specs": ["@daily"]});
    let plan = agent.put("/v1/job/tick/plan", &daily).json();
    let next = plan["NextPeriodicLaunch"].as_str().expect("a time");
    assert!(next.ends_with("T00:00:00Z"), "{next}");
    daily["Job"]["Periodic"] = json!({"Specs": ["0 0 30 2 *"]});
    let plan = agent.put("/v1/job/tick/plan", &daily).json();
    assert_eq!(plan["NextPeriodicLaunch"], Value::Null, "a time that never comes");
}

#[test]
fn a_job_is_scaled_up_and_down() {
    let agent = Agent::start("scale");
    let mut spec = shell_job("svc", "service", 1, "exec sleep 600");
    spec["Job"]["Update"] = json!({"MaxParallel": 0});
    agent.put("/v1/jobs", &spec);
    for count in [1, 3, 2, 0, 1] {
        let body = json!({"Count": count, "Target": {"Group": "g"}, "Message": "test"});
        let done = agent.put("/v1/job/svc/scale", &body);
        assert_eq!(done.status, 200, "{}", done.text());
        agent.until("as many allocations as asked for", |a| {
            let status = a.get("/v1/job/svc/scale").json();
            let group = &status["TaskGroups"]["g"];
            group["Desired"] == count && group["Running"] == count && group["Placed"] == count
        });
    }
    let events = agent.get("/v1/job/svc/scale").json()["TaskGroups"]["g"]["Events"].take();
    let counts: Vec<_> = events.as_array().expect("events").iter().map(|e| &e["Count"]).collect();
    assert_eq!(counts, [1, 0, 2, 3, 1]);
}
