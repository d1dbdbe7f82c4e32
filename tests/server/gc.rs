//! What a collection removes, and what it must leave.

use vardo::api::{Job, ReschedulePolicy, TaskGroup};
use vardo::command::{AllocClientState, Command};
use vardo::server::gc::{Collection, Progress, Thresholds};
use vardo::store::Table;

use crate::store::{WALL, World, alloc, complete, id, job, pending, plan};

/// Runs a collection to its end; how many rows it removed of each table.
fn collect(w: &mut World, thresholds: Thresholds, wall_ns: i64) -> [usize; 5] {
    let mut collection = Collection::new(thresholds);
    let mut removed = [0; 5];
    for _ in 0..100 {
        match w.read(|r| collection.step(r, wall_ns)).expect("reads") {
            Progress::Reap(command) => {
                let Command::Reap { jobs, evals, allocs, deployments, nodes } = &*command else {
                    panic!("{command:?}");
                };
                let found = [jobs.len(), evals.len(), allocs.len(), deployments.len(), nodes.len()];
                for (sum, n) in removed.iter_mut().zip(found) {
                    *sum += n;
                }
                w.run(&command);
            }
            Progress::More => {}
            Progress::Done => return removed,
        }
    }
    panic!("a collection has no end");
}

fn report(w: &mut World, n: u8, status: &str) {
    let update = AllocClientState {
        id: id(b'a', n),
        client_status: status.into(),
        ..AllocClientState::default()
    };
    let updates = vec![update];
    w.run(&Command::AllocClientUpdate { updates, evals: Vec::new(), wall_ns: WALL });
}

/// A job with evaluation 1 complete and allocation 1 placed for it.
fn placed(w: &mut World, spec: &Job) -> Job {
    w.register(spec, 1);
    let j = w.job(&spec.id);
    let mut done = complete(1, &j);
    done.modify_time = WALL;
    w.run(&plan(vec![alloc(1, &j, 1, 10)], vec![done]));
    j
}

fn stop(w: &mut World, j: &Job) {
    let mut eval = complete(2, j);
    eval.modify_time = WALL;
    w.run(&Command::JobDeregister {
        namespace: j.namespace.clone(),
        id: j.id.clone(),
        purge: false,
        no_shutdown_delay: false,
        eval: Some(Box::new(pending(2, j))),
        wall_ns: WALL,
    });
    w.run(&Command::EvalUpsert { evals: vec![eval] });
}

fn node_down(w: &mut World) {
    w.run(&Command::NodeStatus {
        id: id(b'd', 1),
        status: "down".into(),
        event: None,
        wall_ns: WALL,
        evals: Vec::new(),
    });
}

const HOUR: i64 = 3_600_000_000_000;

#[test]
fn a_stopped_job_goes_with_all_of_it_and_then_its_node() {
    let mut w = World::with_node();
    let j = placed(&mut w, &job("web"));
    assert_eq!(collect(&mut w, Thresholds::FORCE, WALL), [0; 5], "it runs");
    stop(&mut w, &j);
    report(&mut w, 1, "running");
    assert_eq!(collect(&mut w, Thresholds::FORCE, WALL), [0, 1, 0, 0, 0], "its task still runs");
    report(&mut w, 1, "complete");
    node_down(&mut w);
    assert_eq!(collect(&mut w, Thresholds::default(), WALL + HOUR / 2), [0; 5], "too young");
    assert_eq!(collect(&mut w, Thresholds::default(), WALL + 2 * HOUR), [0, 1, 1, 0, 0]);
    assert_eq!(collect(&mut w, Thresholds::default(), WALL + 5 * HOUR), [1, 0, 0, 0, 0]);
    assert_eq!(collect(&mut w, Thresholds::default(), WALL + 25 * HOUR), [0, 0, 0, 0, 1]);
    w.read(|r| {
        for table in [Table::Job, Table::JobVersion, Table::Eval, Table::Alloc, Table::Node] {
            assert_eq!(r.raw(table).unwrap().len(), 0, "{}", table.name());
        }
    });
}

#[test]
fn a_batch_job_remembers_what_it_did() {
    let mut w = World::with_node();
    let spec = Job { kind: "batch".into(), ..job("once") };
    let j = placed(&mut w, &spec);
    w.run(&Command::EvalUpsert { evals: vec![pending(3, &j)] });
    report(&mut w, 1, "complete");
    // An evaluation of it waits: the job is not dead, its allocation stays, however old.
    assert_eq!(collect(&mut w, Thresholds::FORCE, WALL + 100 * HOUR), [0; 5]);
    let mut done = complete(3, &j);
    done.modify_time = WALL;
    w.run(&Command::EvalUpsert { evals: vec![done] });
    assert_eq!(w.job("once").status, "dead");
    assert_eq!(collect(&mut w, Thresholds::default(), WALL + 3 * HOUR), [0; 5]);
    assert_eq!(collect(&mut w, Thresholds::FORCE, WALL), [1, 2, 1, 0, 0]);
}

#[test]
fn a_failed_allocation_stays_while_it_may_be_placed_again() {
    for (unlimited, attempts, kept) in [(true, 0, true), (false, 3, true), (false, 0, false)] {
        let mut w = World::with_node();
        let policy = ReschedulePolicy {
            unlimited: Some(unlimited),
            attempts: Some(attempts),
            interval: Some(24 * HOUR),
            ..ReschedulePolicy::default()
        };
        let group = TaskGroup {
            name: "app".into(),
            reschedule_policy: Some(policy),
            ..TaskGroup::default()
        };
        let j = placed(&mut w, &Job { task_groups: vec![group].into(), ..job("web") });
        w.run(&Command::EvalUpsert { evals: vec![pending(3, &j)] });
        report(&mut w, 1, "failed");
        let expected = if kept { [0; 5] } else { [0, 1, 1, 0, 0] };
        assert_eq!(collect(&mut w, Thresholds::default(), WALL + 2 * HOUR), expected);
        let at_last = if unlimited || !kept { [0; 5] } else { [0, 1, 1, 0, 0] };
        assert_eq!(collect(&mut w, Thresholds::default(), WALL + 26 * HOUR), at_last);
    }
}

#[test]
fn many_rows_go_in_steps() {
    let mut w = World::with_node();
    let j = placed(&mut w, &job("web"));
    let evals = (0..2500)
        .map(|n| {
            let mut e = complete(0, &j);
            e.id = format!("{n:08x}-0000-0000-0000-000000000000");
            e
        })
        .collect();
    w.run(&Command::EvalUpsert { evals });
    let before = w.index;
    assert_eq!(collect(&mut w, Thresholds::default(), WALL), [0, 2500, 0, 0, 0]);
    assert_eq!(w.index - before, 5);
}
