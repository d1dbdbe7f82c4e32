//! Commands as the log holds them: without zeros, and the same when they are read again.

use std::path::Path;

use serde_json::Value;
use vardo::api::{AllocState, DesiredTransition, NodeEvent, SchedulerConfiguration, TaskState};
use vardo::command::{AllocClientState, AllocStop, Command, DeploymentUpdate, Placement, Plan};
use vardo::stdx::json::{self, Printed, Time};

use super::{WALL, alloc, id, job, logged, node, pending, plan, register_node};

/// What the recordings mask reads as the zero of its type.
fn unmasked(value: &mut Value) {
    match value {
        Value::Object(members) if members.contains_key("$") => *value = Value::Null,
        Value::Object(members) => members.values_mut().for_each(unmasked),
        Value::Array(items) => items.iter_mut().for_each(unmasked),
        _ => {}
    }
}

/// Every object of a recorded text.
fn objects<'v>(value: &'v Value, out: &mut Vec<&'v serde_json::Map<String, Value>>) {
    match value {
        Value::Object(members) => {
            out.push(members);
            members.values().for_each(|v| objects(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| objects(v, out)),
        _ => {}
    }
}

/// The command that would bring a recorded object into the store.
fn command(object: &serde_json::Map<String, Value>) -> Option<Command> {
    let has = |name: &str| object.contains_key(name);
    let bytes = serde_json::to_vec(object).expect("JSON");
    let kind = |names: &[&str]| names.iter().all(|n| has(n));
    Some(if kind(&["Affinities", "TaskGroups"]) {
        let job = json::decode(&bytes).ok()?;
        Command::JobRegister { job, submission: None, eval: None, enforce: Some(0) }
    } else if kind(&["AllocatedResources", "ClientStatus"]) {
        let alloc = json::decode(&bytes).ok()?;
        let place = Placement { alloc, job_version: 0, job_create_index: 3 };
        plan(vec![place], Vec::new())
    } else if kind(&["TriggeredBy", "JobID"]) {
        Command::EvalUpsert { evals: vec![json::decode(&bytes).ok()?] }
    } else if kind(&["JobVersion", "StatusDescription", "TaskGroups"]) {
        let deployment = json::decode(&bytes).ok()?;
        let plan = Plan { deployment, ..Plan::default() };
        Command::PlanApply { plan: Box::new(plan), wall_ns: 0 }
    } else if kind(&["NodeResources", "SchedulingEligibility"]) {
        let node = json::decode(&bytes).ok()?;
        let secret = String::new();
        Command::NodeRegister { node, secret, wall_ns: WALL, evals: Vec::new() }
    } else if kind(&["Items", "Path"]) {
        let variable = json::decode(&bytes).ok()?;
        Command::VariablePut { variable, check: Some(0), wall_ns: 0 }
    } else {
        return None;
    })
}

#[test]
fn recorded_objects_read_back_from_the_log() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let mut kinds = vardo::stdx::BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("the goldens") {
        let text = std::fs::read(entry.expect("an entry").path()).expect("a golden");
        let mut golden: Value = serde_json::from_slice(&text).expect("JSON");
        unmasked(&mut golden);
        let mut found = Vec::new();
        objects(&golden, &mut found);
        for command in found.into_iter().filter_map(command) {
            let form = String::from_utf8(json::encode_lean(&command)).expect("text");
            let whole = json::encode(&command);
            assert!(form.len() <= whole.len(), "{form}");
            assert_eq!(json::encode(&logged(&command)), whole);
            let (kind, _) = form[2..].split_once('"').expect("a kind");
            *kinds.entry(kind.to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(
        kinds.keys().map(String::as_str).collect::<Vec<_>>(),
        ["EvalUpsert", "JobRegister", "NodeRegister", "PlanApply", "VariablePut"],
    );
    assert!(kinds.values().all(|n| *n > 1), "{kinds:?}");
}

#[test]
fn zeros_that_mean_something_stay() {
    let mut web = job("web");
    let group = web.task_groups.0.first_mut().expect("a group");
    group.count = Some(0);
    group.ephemeral_disk = Some(Default::default());
    group.restart_policy = Some(Default::default());
    web.payload = None;
    web.periodic = Some(Default::default());
    web.meta.insert("empty".to_owned(), String::new());
    let transition = DesiredTransition { migrate: Some(false), ..DesiredTransition::default() };
    let states = [("t".to_owned(), TaskState::default())];
    let update = AllocClientState {
        id: id(b'a', 1),
        task_states: states.into_iter().collect(),
        deployment_status: Some(Default::default()),
        network_status: Some(Default::default()),
        ..AllocClientState::default()
    };
    let stop = AllocStop {
        state: Some(AllocState { time: Time(1), ..AllocState::default() }),
        transition: Some(transition.clone()),
        ..AllocStop::default()
    };
    let whole = Plan {
        stops: vec![stop, AllocStop::default()],
        places: vec![alloc(1, &web, 1, 100), Placement::default()],
        deployment: Some(Default::default()),
        deployment_updates: vec![DeploymentUpdate::default()],
        evals: vec![pending(1, &web), Default::default()],
        ..Plan::default()
    };
    let id = id(b'n', 1);
    let text = || String::new();
    let event = NodeEvent::default;
    for command in [
        Command::JobRegister {
            job: web.clone().into(),
            submission: Some(Box::default()),
            eval: Some(Box::default()),
            enforce: Some(0),
        },
        Command::JobRegister {
            job: Printed::default(),
            submission: None,
            eval: None,
            enforce: None,
        },
        Command::JobDeregister {
            namespace: text(),
            id: text(),
            purge: false,
            no_shutdown_delay: false,
            eval: Some(Box::default()),
            wall_ns: 0,
        },
        Command::JobStability { namespace: text(), id: text(), version: 0, stable: false },
        Command::JobTag {
            namespace: text(),
            id: text(),
            version: 0,
            tag: Some(Default::default()),
        },
        Command::EvalUpsert { evals: vec![Default::default()] },
        Command::PlanApply { plan: Box::new(whole), wall_ns: 0 },
        Command::PlanApply { plan: Box::default(), wall_ns: -1 },
        register_node(&node(1)),
        Command::NodeStatus {
            id: id.clone(),
            status: text(),
            event: Some(event()),
            wall_ns: 0,
            evals: Vec::new(),
        },
        Command::NodeEligibility { id, eligibility: text(), event: event(), evals: Vec::new() },
        Command::NodeDrain {
            id: text(),
            strategy: Some(Default::default()),
            mark_eligible: false,
            last: Some(Default::default()),
            event: event(),
            evals: Vec::new(),
        },
        Command::NodePurge { ids: vec![text()], evals: Vec::new() },
        Command::AllocClientUpdate { updates: vec![update], evals: Vec::new(), wall_ns: 0 },
        Command::AllocTransition {
            transitions: vec![(text(), transition), (text(), DesiredTransition::default())],
            evals: Vec::new(),
            wall_ns: 0,
        },
        Command::VariablePut { variable: Box::default(), check: Some(0), wall_ns: 0 },
        Command::VariableDelete { namespace: text(), path: text(), check: None },
        Command::NamespaceUpsert { namespace: Box::default() },
        Command::NodePoolUpsert { pool: Box::default() },
        Command::SchedulerConfig {
            config: Box::new(SchedulerConfiguration::default()),
            check: Some(0),
        },
        Command::OperatorDocument { name: text(), json: "{}".to_owned(), check: None },
        Command::Reap {
            evals: vec![text()],
            allocs: Vec::new(),
            deployments: Vec::new(),
            jobs: vec![(text(), text())],
            nodes: Vec::new(),
        },
        Command::ReconcileSummaries,
        Command::Bootstrap { wall_ns: 0 },
    ] {
        logged(&command);
    }
}
