//! Reports of nodes and wishes of operators.

use vardo::api::{DesiredTransition, TaskState};
use vardo::command::{AllocClientState, Applied, Command};
use vardo::stdx::BTreeMap;
use vardo::store::Table;

use super::{WALL, World, alloc, complete, id, job, pending, plan};

fn report(n: u8, status: &str) -> AllocClientState {
    let state = TaskState { state: "running".into(), ..TaskState::default() };
    AllocClientState {
        id: id(b'a', n),
        client_status: status.into(),
        client_description: "Tasks are running".into(),
        task_states: BTreeMap::from([("web".to_owned(), state)]),
        ..AllocClientState::default()
    }
}

#[test]
fn reports_move_the_summary_and_the_node() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    let queued = vardo::api::Evaluation {
        queued_allocations: BTreeMap::from([("app".to_owned(), 3)]).into(),
        ..pending(1, &j)
    };
    w.run(&Command::EvalUpsert { evals: vec![queued] });
    assert_eq!(w.counts("web"), [3, 0, 0, 0, 0, 0]);
    let places = (1..=3).map(|n| alloc(n, &j, 1, 10)).collect();
    w.run(&plan(places, Vec::new()));
    assert_eq!(w.counts("web"), [0, 3, 0, 0, 0, 0]);
    let placed_at = w.index;
    let node_before = w.read(|r| r.node(&id(b'd', 1)).unwrap().unwrap());
    let updates = vec![report(1, "running"), report(2, "failed"), report(9, "running")];
    w.run(&Command::AllocClientUpdate { updates, evals: vec![pending(2, &j)], wall_ns: 9 });
    assert_eq!(w.counts("web"), [0, 1, 1, 0, 1, 0]);
    let a = w.alloc(1);
    assert_eq!((a.modify_index, a.alloc_modify_index, a.modify_time), (w.index, placed_at, 9));
    assert_eq!(a.task_states["web"].state, "running");
    let node = w.read(|r| r.node(&id(b'd', 1)).unwrap().unwrap());
    assert_eq!(node.last_alloc_update_index, w.index);
    assert_eq!(node.modify_index, node_before.modify_index);
    assert_eq!(w.touched.evals[0].id, id(b'e', 2));
    assert!(w.touched.nodes_allocs.is_empty(), "the node knows already");
    assert_eq!(w.touched.nodes_freed.len(), 1);
    w.run(&Command::AllocClientUpdate {
        updates: vec![report(1, "complete"), report(3, "running")],
        evals: Vec::new(),
        wall_ns: 10,
    });
    assert_eq!(w.counts("web"), [0, 0, 1, 1, 1, 0]);
    w.read(|r| {
        assert_eq!(r.usage_by_node(&id(b'd', 1)).unwrap().count(), 1);
        assert_eq!(r.alloc_ids_by_node(&id(b'd', 1)).unwrap().len(), 3);
        assert_eq!(r.alloc_ids_by_job("default", "web").unwrap().len(), 3);
    });
    // Counting again from scratch comes to the same, and moves nothing.
    assert_eq!(w.run(&Command::ReconcileSummaries), Applied::Nothing);
    assert_eq!(w.touched.tables, 0);
}

#[test]
fn wishes_are_merged() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    w.run(&plan(vec![alloc(1, &j, 1, 10)], vec![complete(1, &j)]));
    let wish = |f: fn(&mut DesiredTransition)| {
        let mut t = DesiredTransition::default();
        f(&mut t);
        Command::AllocTransition {
            transitions: vec![(id(b'a', 1), t), (id(b'a', 9), DesiredTransition::default())],
            evals: Vec::new(),
            wall_ns: WALL,
        }
    };
    w.run(&wish(|t| t.migrate = Some(true)));
    w.run(&wish(|t| t.no_shutdown_delay = Some(true)));
    let a = w.alloc(1);
    assert_eq!(a.desired_transition.migrate, Some(true));
    assert_eq!(a.desired_transition.no_shutdown_delay, Some(true));
    assert_eq!(a.alloc_modify_index, w.index);
    assert_ne!(w.touched.tables & Table::Alloc.bit(), 0);
}
