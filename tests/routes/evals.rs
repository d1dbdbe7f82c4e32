//! Deleting of evaluations.

use vardo::command::{AllocClientState, Command, Placement, Plan};

use super::{NODE, Server, job, json, text};

const EVALS: &str = "/v1/evaluations";

/// A server whose broker is paused, with a job, an allocation that runs for its evaluation, and
/// an evaluation more; the ids of both.
fn paused(name: &str) -> (Server, String, String) {
    let mut s = Server::new(name);
    let id = |answer: serde_json::Value| answer["EvalID"].as_str().unwrap().to_owned();
    let placed = id(s.register(&job("web")));
    let other = id(s.register(&job("web")));
    let stored = s.read(|r| r.job("default", "web").unwrap().unwrap());
    let alloc = vardo::api::Allocation {
        id: "aaaaaaaa-0000-4000-8000-000000000001".into(),
        eval_id: placed.clone(),
        namespace: "default".into(),
        job_id: "web".into(),
        node_id: NODE.into(),
        task_group: "app".into(),
        desired_status: "run".into(),
        client_status: "running".into(),
        ..Default::default()
    };
    let node = vardo::api::Node { id: NODE.into(), status: "ready".into(), ..Default::default() };
    let (secret, evals) = (String::new(), Vec::new());
    s.apply(&Command::NodeRegister { node: Box::new(node), secret, wall_ns: 1, evals });
    let places = vec![Placement { alloc, job_version: 0, job_create_index: stored.create_index }];
    let plan = Box::new(Plan { places, ..Plan::default() });
    s.apply(&Command::PlanApply { plan, wall_ns: 1 });
    let config = r#"{"PauseEvalBroker":true}"#;
    let pause = s.ask("PUT", "/v1/operator/scheduler/configuration", config);
    assert_eq!(pause.status, 200);
    (s, placed, other)
}

fn by_ids(ids: &[&str]) -> String {
    serde_json::json!({ "EvalIDs": ids }).to_string()
}

#[test]
fn what_to_delete_is_said_once_and_the_broker_rests() {
    let mut s = Server::new("evals-refused");
    let unknown = "eeeeeeee-0000-4000-8000-000000000000";
    let many = serde_json::json!({ "EvalIDs": vec![unknown; 7282] }).to_string();
    for (body, status, expected) in [
        ("", 400, "Request body is empty"),
        ("{}", 400, "evals must be deleted by either ID or filter"),
        (r#"{"EvalIDs":["x"],"Filter":"y"}"#, 400, "evals cannot be deleted by both ID and filter"),
        (&many, 400, "request includes 7282 evaluation IDs, must be 7281 or fewer"),
        (
            &by_ids(&[unknown]),
            500,
            "eval broker is enabled; eval broker must be paused to delete evals",
        ),
    ] {
        let a = s.ask("DELETE", EVALS, body);
        assert_eq!((a.status, text(&a).as_str()), (status, expected), "{body:.80}");
    }
    s.ask("PUT", "/v1/operator/scheduler/configuration", r#"{"PauseEvalBroker":true}"#);
    let a = s.ask("DELETE", EVALS, &by_ids(&[unknown]));
    assert_eq!((a.status, text(&a).as_str()), (500, "eval not found"));
    let a = s.ask("DELETE", EVALS, &by_ids(&["short"]));
    assert_eq!(a.status, 500);
    let a = s.ask("DELETE", EVALS, r#"{"Filter":"Status =="}"#);
    assert_eq!(a.status, 400);
}

#[test]
fn evaluations_of_running_allocations_stay() {
    let (mut s, placed, other) = paused("evals-deleted");
    let a = s.ask("DELETE", EVALS, &by_ids(&[&other, &placed]));
    let expected = format!("eval {placed} is not safe to delete");
    assert_eq!((a.status, text(&a)), (500, expected));
    assert_eq!(json(&s.get("/v1/evaluations/count"))["Count"], 2, "all or nothing");
    // A filter passes over it.
    let a = s.ask("DELETE", EVALS, r#"{"Filter":"JobID == \"web\""}"#);
    assert_eq!(json(&a), serde_json::json!({"Count": 1, "Index": s.index}), "{}", text(&a));
    assert_eq!(s.get(&format!("/v1/evaluation/{other}")).status, 404);
    let a = s.ask("DELETE", EVALS, r#"{"Filter":"JobID == \"web\""}"#);
    assert_eq!(json(&a)["Count"], 0);
    // Once the allocation is over, nothing rests on it.
    let update = AllocClientState {
        id: "aaaaaaaa-0000-4000-8000-000000000001".into(),
        client_status: "complete".into(),
        ..AllocClientState::default()
    };
    let (updates, evals) = (vec![update], Vec::new());
    s.apply(&Command::AllocClientUpdate { updates, evals, wall_ns: 1 });
    let a = s.ask("DELETE", EVALS, &by_ids(&[&placed, &placed]));
    assert_eq!(json(&a)["Count"], 1, "{}", text(&a));
    assert_eq!(json(&s.get("/v1/evaluations/count"))["Count"], 0);
}
