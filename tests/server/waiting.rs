//! Jobs that find no room, and what wakes them.

use serde_json::{Value, json};

use super::cluster::{Cluster, SECOND, web};
use crate::store::{node, register_node};

const BLOCKED: &str = "created to place remaining allocations";

/// The job `web`, which takes so many MHz.
fn asking(cpu: u64) -> Value {
    let mut job = web(1, &json!({"MaxParallel": 0}), &json!({}));
    job["TaskGroups"][0]["Tasks"][0]["Resources"]["CPU"] = json!(cpu);
    job
}

fn shown(all: &[(String, String)]) -> Vec<(&str, &str)> {
    all.iter().map(|(status, text)| (status.as_str(), text.as_str())).collect()
}

/// A node that can run it, with so many MHz.
fn join(c: &mut Cluster, n: u8, cpu: i64) {
    let mut n = node(n);
    n.attributes.insert("driver.raw_exec".into(), "1".into());
    n.scheduling_eligibility = "eligible".into();
    n.computed_class = format!("v1:{cpu}");
    n.node_resources.get_or_insert_default().cpu.cpu_shares = cpu;
    c.propose(&register_node(&n));
}

#[test]
fn a_job_that_never_fits_costs_nothing_while_it_waits() {
    let mut c = Cluster::new(1);
    c.register(&asking(100_000));
    assert_eq!(shown(&c.evals()), [("complete", ""), ("blocked", BLOCKED)]);
    assert_eq!(c.plans, 1);
    for _ in 0..600 {
        c.jump(5 * SECOND);
        assert!(!c.is_busy());
    }
    assert_eq!((c.plans, c.proposed.len()), (1, 0), "{:?}", c.proposed);
    // A server that takes over does not look again either.
    c.restart();
    c.work();
    assert_eq!((c.plans, c.is_busy()), (1, false));
}

#[test]
fn room_wakes_it_and_a_try_in_vain_makes_no_copy() {
    let mut c = Cluster::new(1);
    c.register(&asking(5000));
    join(&mut c, 2, 2000);
    c.work();
    assert_eq!(c.plans, 2, "a node of another class is worth a try");
    assert_eq!(shown(&c.evals()), [("complete", ""), ("blocked", BLOCKED)]);
    join(&mut c, 3, 8000);
    c.work();
    assert_eq!(shown(&c.evals()), [("complete", ""), ("complete", "")]);
    assert_eq!(c.allocs().len(), 1);
}

#[test]
fn a_newer_version_waits_in_the_stead_of_the_older() {
    let mut c = Cluster::new(1);
    c.register(&asking(5000));
    c.register(&asking(6000));
    let evals = c.evals();
    let blocked = evals.iter().filter(|(status, _)| status == "blocked").count();
    let canceled = evals.iter().filter(|(status, _)| status == "canceled").count();
    assert_eq!((blocked, canceled), (1, 1), "{evals:?}");
    // The one that waits is of the newer version: room for the older one does not do.
    join(&mut c, 2, 5500);
    c.work();
    assert_eq!(c.allocs().len(), 0);
    join(&mut c, 3, 6500);
    c.work();
    assert_eq!(c.allocs().len(), 1);
}

#[test]
fn the_end_of_a_task_makes_room() {
    let mut c = Cluster::new(1);
    let mut first = asking(600);
    first["ID"] = json!("first");
    c.register(&first);
    c.register(&asking(600));
    assert_eq!(c.allocs().len(), 0);
    let eval = c.w.read(|r| r.evals_by_job("default", "first").unwrap()).remove(0);
    let eval = vardo::api::Evaluation {
        id: "0000000a-0000-0000-0000-000000000000".into(),
        status: "pending".into(),
        triggered_by: "job-deregister".into(),
        ..eval
    };
    c.propose(&vardo::command::Command::JobDeregister {
        namespace: "default".into(),
        id: "first".into(),
        purge: false,
        no_shutdown_delay: false,
        eval: Some(Box::new(eval)),
        wall_ns: c.now.wall_ns,
    });
    c.work();
    assert_eq!(c.allocs().len(), 0, "what was told to stop may still run");
    let all = c.w.read(|r| r.allocs_by_job("default", "first").unwrap());
    let update = vardo::command::AllocClientState {
        id: all[0].id.clone(),
        client_status: "complete".into(),
        ..vardo::command::AllocClientState::default()
    };
    let (updates, evals, wall_ns) = (vec![update], Vec::new(), c.now.wall_ns);
    c.propose(&vardo::command::Command::AllocClientUpdate { updates, evals, wall_ns });
    c.work();
    assert_eq!(c.allocs().len(), 1);
}

#[test]
fn conflicts_in_a_row_end_an_evaluation_and_progress_begins_a_new_row() {
    let small = asking(10);
    let mut c = Cluster::new(1);
    c.conflicts = (4, false);
    c.register(&small);
    assert_eq!((shown(&c.evals()), c.plans), (vec![("complete", "")], 5));

    let mut c = Cluster::new(2);
    c.conflicts = (12, true);
    c.register(&small);
    assert_eq!((shown(&c.evals()), c.plans), (vec![("complete", "")], 13));
    assert_eq!(c.allocs().len(), 1);

    let mut c = Cluster::new(3);
    c.conflicts = (5, false);
    c.register(&small);
    let evals = c.evals();
    let waits = ("blocked", "created due to placement conflicts");
    assert!(shown(&evals).contains(&("failed", "maximum attempts reached (5)")), "{evals:?}");
    assert!(shown(&evals).contains(&waits), "{evals:?}");
    assert_eq!((c.plans, c.allocs().len()), (5, 0));
    // Tried again in a minute.
    c.jump(61 * SECOND);
    assert_eq!(c.allocs().len(), 1);
}

#[test]
fn without_workers_evaluations_wait_and_cost_nothing() {
    let mut c = Cluster::new(4);
    c.set_workers(0);
    c.register(&asking(10));
    c.jump(600 * SECOND);
    assert_eq!((shown(&c.evals()), c.plans, c.is_busy()), (vec![("pending", "")], 0, false));
    c.set_workers(1);
    assert!(c.is_busy());
    c.work();
    assert_eq!((shown(&c.evals()), c.allocs().len()), (vec![("complete", "")], 1));
}

/// A worker has 1,024 evaluations under way at most; with two, a leader pauses one.
#[test]
fn workers_bound_what_is_under_way() {
    for (workers, most) in [(1, 1_024), (2, 1_024), (5, 2_048)] {
        let mut c = Cluster::new(5);
        c.set_workers(workers);
        assert_eq!(c.take(3_000), most, "{workers} workers");
        assert!(!c.is_busy(), "it would turn and turn");
    }
}
