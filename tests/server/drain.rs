//! Drains over a real store, under a clock of the test's own.

use vardo::api::{
    AllocDeploymentStatus, DrainMetadata, DrainStrategy, Job, MigrateStrategy, TaskGroup,
};
use vardo::command::{AllocClientState, Command};
use vardo::server::drain::{Drains, event};
use vardo::stdx::Now;
use vardo::stdx::json::Time;

use super::Counter;
use crate::store::{WALL, World, alloc, complete, id, job, node, plan, register_node};

const SECOND: u64 = 1_000_000_000;

struct Drained {
    w: World,
    drains: Drains,
    entropy: Counter,
    mono: u64,
}

impl Drained {
    /// Two nodes; allocations by number on node 1.
    fn new(job: &Job, allocs: std::ops::Range<u8>) -> Self {
        let mut w = World::with_node();
        w.run(&register_node(&node(2)));
        w.register(job, 1);
        let j = w.job(&job.id);
        let places = allocs.map(|n| alloc(n, &j, 1, 10)).collect();
        w.run(&plan(places, vec![complete(1, &j)]));
        Self { w, drains: Drains::default(), entropy: Counter(0), mono: 0 }
    }

    fn now(&self) -> Now {
        Now { mono_ns: self.mono, wall_ns: WALL + i64::try_from(self.mono).unwrap() }
    }

    fn drain(&mut self, deadline_s: i64, ignore_system_jobs: bool) {
        let now = self.now().wall_ns;
        let deadline = deadline_s * 1_000_000_000;
        let strategy = DrainStrategy {
            deadline,
            force_deadline: Time(if deadline > 0 { now + deadline } else { 0 }),
            ignore_system_jobs,
            started_at: Time(now),
        };
        self.w.run(&Command::NodeDrain {
            id: id(b'd', 1),
            strategy: Some(strategy),
            mark_eligible: false,
            last: Some(DrainMetadata { status: "draining".into(), ..DrainMetadata::default() }),
            event: event("Node drain strategy set", now),
            evals: Vec::new(),
        });
        self.drains.note(&id(b'd', 1), true, self.mono);
    }

    /// Lets a second pass, and everything that is due then happen. The allocations told to leave,
    /// by number, and how many evaluations came with them.
    fn second(&mut self) -> (Vec<u8>, usize) {
        self.mono += SECOND;
        self.drains.stir(self.mono);
        let now = self.now();
        let (drains, entropy) = (&mut self.drains, &mut self.entropy);
        let commands = self.w.read(|r| drains.step(now, r, entropy)).expect("reads");
        let (mut left, mut evals) = (Vec::new(), 0);
        for command in commands {
            if let Command::AllocTransition { transitions, evals: e, .. } = &command {
                let number = |id: &str| u8::from_str_radix(&id[id.len() - 2..], 16).unwrap();
                left.extend(transitions.iter().map(|(id, _)| number(id)));
                assert!(e.iter().all(|e| e.triggered_by == "node-drain"));
                evals += e.len();
            }
            self.w.run(&command);
        }
        if self.node().drain_strategy.is_none() {
            self.drains.note(&id(b'd', 1), false, self.mono);
        }
        left.sort_unstable();
        (left, evals)
    }

    fn report(&mut self, n: u8, client_status: &str, healthy: Option<bool>) {
        let deployment_status =
            healthy.map(|h| AllocDeploymentStatus { healthy: Some(h), ..Default::default() });
        let update = AllocClientState {
            id: id(b'a', n),
            client_status: client_status.into(),
            deployment_status,
            ..AllocClientState::default()
        };
        let wall_ns = WALL;
        self.w.run(&Command::AllocClientUpdate {
            updates: vec![update],
            evals: Vec::new(),
            wall_ns,
        });
    }

    /// The replacement of an allocation, on the other node.
    fn replace(&mut self, n: u8, job: &str) {
        let j = self.w.job(job);
        self.w.run(&plan(vec![alloc(n, &j, 2, 10)], Vec::new()));
    }

    fn node(&self) -> vardo::api::Node {
        self.w.read(|r| r.node(&id(b'd', 1)).unwrap().unwrap())
    }

    fn done(&self) -> bool {
        let n = self.node();
        assert_eq!(n.scheduling_eligibility, "ineligible");
        assert_eq!(n.drain, n.drain_strategy.is_some());
        let complete = n.last_drain.is_some_and(|l| l.status == "complete");
        assert_eq!(complete, !n.drain);
        complete
    }
}

fn with(kind: &str, count: i64, max_parallel: i64) -> Job {
    let migrate =
        MigrateStrategy { max_parallel: Some(max_parallel), ..MigrateStrategy::default() };
    let group = TaskGroup {
        name: "app".into(),
        count: Some(count),
        migrate: Some(migrate),
        ..TaskGroup::default()
    };
    Job { kind: kind.into(), task_groups: vec![group].into(), ..job("web") }
}

#[test]
fn a_service_leaves_in_step_with_its_replacements() {
    let mut d = Drained::new(&with("service", 3, 1), 1..4);
    for n in 1..4 {
        d.report(n, "running", Some(true));
    }
    d.drain(3600, false);
    assert_eq!(d.second(), (vec![1], 1));
    assert_eq!(d.second(), (vec![], 0), "nothing has replaced it");
    d.report(1, "complete", None);
    d.replace(11, "web");
    d.report(11, "running", None);
    assert_eq!(d.second(), (vec![], 0), "its replacement is not healthy yet");
    d.report(11, "running", Some(true));
    assert_eq!(d.second(), (vec![2], 1));
    d.report(2, "complete", None);
    d.replace(12, "web");
    d.report(12, "running", Some(true));
    assert_eq!(d.second(), (vec![3], 1));
    assert!(!d.done());
    d.report(3, "complete", None);
    d.second();
    assert!(d.done());
    assert_eq!(d.node().events.last().unwrap().message, "Node drain complete");
    assert_eq!(d.drains.deadline(), None, "nothing is left to wait for");
}

#[test]
fn at_the_deadline_all_leave() {
    let mut d = Drained::new(&with("service", 3, 1), 1..4);
    d.drain(10, false);
    for _ in 0..8 {
        assert_eq!(d.second(), (vec![], 0), "none was ever healthy");
    }
    assert_eq!(d.drains.deadline(), Some(10 * SECOND));
    d.mono = 10 * SECOND;
    assert_eq!(d.second(), (vec![1, 2, 3], 1));
    assert_eq!(d.second(), (vec![], 0));
}

#[test]
fn force_asks_nobody_and_no_deadline_waits_for_ever() {
    let mut d = Drained::new(&with("batch", 2, 1), 1..3);
    d.drain(0, false);
    d.mono = 1_000_000 * SECOND;
    assert_eq!(d.second(), (vec![], 0), "batch work may end");
    d.report(1, "complete", None);
    assert_eq!(d.second(), (vec![], 0));
    d.drain(-1, false);
    assert_eq!(d.second(), (vec![2], 1));
    d.report(2, "complete", None);
    d.second();
    assert!(d.done());
}

#[test]
fn system_jobs_go_last_or_stay() {
    for ignore in [false, true] {
        let mut d = Drained::new(&with("system", 1, 1), 1..2);
        d.w.register(&Job { id: "once".into(), ..with("batch", 1, 1) }, 2);
        let batch = d.w.job("once");
        d.w.run(&plan(vec![alloc(5, &batch, 1, 10)], Vec::new()));
        d.drain(3600, ignore);
        assert_eq!(d.second(), (vec![], 0), "the batch job runs");
        d.report(5, "complete", None);
        let expected = if ignore { (vec![], 0) } else { (vec![1], 1) };
        assert_eq!(d.second(), expected);
        if !ignore {
            assert!(!d.done());
            d.report(1, "complete", None);
            d.second();
        }
        assert!(d.done());
    }
}

#[test]
fn a_drain_that_was_taken_back_does_not_complete() {
    let mut d = Drained::new(&with("service", 1, 1), 1..2);
    d.drain(3600, false);
    let cancel = Command::NodeDrain {
        id: id(b'd', 1),
        strategy: None,
        mark_eligible: true,
        last: Some(DrainMetadata { status: "canceled".into(), ..DrainMetadata::default() }),
        event: event("Node drain disabled", WALL),
        evals: Vec::new(),
    };
    d.report(1, "complete", None);
    let now = Now { mono_ns: SECOND, wall_ns: WALL };
    let (drains, entropy) = (&mut d.drains, &mut d.entropy);
    let late = d.w.read(|r| drains.step(now, r, entropy)).expect("reads");
    d.w.run(&cancel);
    for command in &late {
        d.w.run(command);
    }
    assert_eq!(late.len(), 1);
    let n = d.node();
    assert_eq!(n.last_drain.unwrap().status, "canceled");
    assert_eq!(n.scheduling_eligibility, "eligible");
}
