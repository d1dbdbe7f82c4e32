//! Decides where allocations run: state in, plan out.
//!
//! Pure: knows no store, no clock and no network; wall time and chance come in with [`Seed`], ids
//! through [`Entropy`]. Entry: [`schedule`]. The parts, in the order in which a plan comes about:
//! `generic` and `system` drive one evaluation; `reconcile` says what should change for the job;
//! `fleet` holds the nodes as columns; `ask`, `feasible`, `rank` and `select` find a node for each
//! placement, `preempt` the ones that must go for it; `build` writes the allocation. [`fit`] is
//! shared with the store, which checks each plan again.

mod ask;
mod build;
mod constraint;
mod device;
mod feasible;
mod finish;
pub mod fit;
mod fleet;
mod generic;
mod ports;
mod preempt;
mod rank;
mod reconcile;
mod reschedule;
mod rng;
mod rollout;
mod select;
mod spread;
mod system;
mod tally;
mod target;
mod update;
mod version;
pub mod volume;

use std::rc::Rc;

use crate::api::{
    Allocation, Constraint, Deployment, Evaluation, HostVolume, HostVolumeClaim, Job, Node,
    SchedulerConfiguration, status,
};
use crate::command::Plan;
use crate::stdx::Entropy;

pub use fit::fits;
pub use fleet::Fleet;

/// The state that one evaluation is scheduled on. All answers are of one point in time.
pub trait View {
    /// Index of the last change that this view shows.
    fn index(&self) -> u64;
    fn job(&self, namespace: &str, id: &str) -> Option<Rc<Job>>;
    /// All nodes with what holds room on them: a copy, which the plan changes.
    fn fleet(&self) -> Fleet;
    fn node(&self, id: &str) -> Option<Rc<Node>>;
    /// All that are stored, terminal ones too, each with its `job`.
    fn allocs_by_job(&self, namespace: &str, id: &str) -> Vec<Rc<Allocation>>;
    /// Those that the node has not ended; `job` may be missing.
    fn allocs_by_node(&self, id: &str) -> Vec<Rc<Allocation>>;
    /// The newest of the job.
    fn deployment_latest(&self, namespace: &str, job: &str) -> Option<Deployment>;
    /// The newest version before `job` that is stable, or whose canaries of a group were promoted.
    fn proven_version(&self, job: &Job, group: &str) -> Option<Rc<Job>>;
    fn config(&self) -> SchedulerConfiguration;
    /// Those that were made by requests, in one namespace.
    fn host_volumes(&self, _namespace: &str) -> Vec<HostVolume> {
        Vec::new()
    }
    /// Claims of the groups of a job.
    fn volume_claims(&self, _namespace: &str, _job: &str) -> Vec<HostVolumeClaim> {
        Vec::new()
    }
    /// Ids of the allocations that may write to a volume.
    fn volume_writers(&self, _volume: &HostVolume) -> Vec<String> {
        Vec::new()
    }
}

/// All that a run may draw on besides the state.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// For the order of nodes and for ports.
    pub rng: u64,
    /// Nanoseconds since the epoch.
    pub wall_ns: i64,
}

/// Whether a job may run in a datacenter and node pool.
pub fn job_allows(job: &Job, datacenter: &str, pool: &str) -> bool {
    let asked = if job.node_pool.is_empty() { "default" } else { &job.node_pool };
    let in_pool = asked == "all" || asked == pool;
    in_pool
        && (job.datacenters.is_empty()
            || job.datacenters.iter().any(|d| target::glob(d, datacenter)))
}

/// Whether a node is as all of some constraints want it.
pub fn meets(node: &Node, constraints: &[Constraint]) -> bool {
    constraints.iter().filter_map(constraint::Check::of).all(|c| c.holds(node))
}

/// Whether an allocation of `job` that fails at `now` may be placed anew.
pub fn may_reschedule(alloc: &Allocation, job: &Job, now: i64) -> bool {
    reschedule::may_try_again(alloc, job, now)
}

/// Schedules one evaluation. The plan holds the evaluation itself, ended (`complete`, `failed`, or
/// `blocked` again), and those that follow from it. Draws one id for each object that it makes.
///
/// Which evaluations a kind of job takes is written in the contract (scheduler, section 1).
pub fn schedule(view: &dyn View, eval: &Evaluation, seed: Seed, entropy: &mut dyn Entropy) -> Plan {
    type Run = fn(&dyn View, &Evaluation, Seed, &mut dyn Entropy) -> Plan;
    let (run, takes): (Run, &[&str]) = match eval.kind.as_str() {
        status::JOB_SYSTEM | status::JOB_SYSBATCH => (system::run, SYSTEM_TRIGGERS),
        _ => (generic::run, GENERIC_TRIGGERS),
    };
    let periodic =
        eval.kind == status::JOB_SYSBATCH && eval.triggered_by == status::TRIGGER_PERIODIC;
    if periodic || takes.contains(&eval.triggered_by.as_str()) {
        return run(view, eval, seed, entropy);
    }
    let why = format!("scheduler cannot handle '{}' evaluation reason", eval.triggered_by);
    let mut plan = finish::plan(eval, None, view.index());
    plan.evals.push(finish::failed(eval, why, view.index(), seed.wall_ns));
    plan
}

const GENERIC_TRIGGERS: &[&str] = &[
    status::TRIGGER_JOB_REGISTER,
    status::TRIGGER_JOB_DEREGISTER,
    status::TRIGGER_PERIODIC,
    status::TRIGGER_NODE_DRAIN,
    status::TRIGGER_NODE_UPDATE,
    status::TRIGGER_ALLOC_STOP,
    status::TRIGGER_ROLLING,
    status::TRIGGER_DEPLOYMENT,
    status::TRIGGER_FAILED_FOLLOW_UP,
    status::TRIGGER_MAX_PLANS,
    status::TRIGGER_ALLOC_FAILURE,
    status::TRIGGER_RESCHEDULE,
    status::TRIGGER_QUEUED,
    status::TRIGGER_PREEMPTION,
    status::TRIGGER_SCALING,
    status::TRIGGER_MAX_DISCONNECT,
    status::TRIGGER_RECONNECT,
];

const SYSTEM_TRIGGERS: &[&str] = &[
    status::TRIGGER_JOB_REGISTER,
    status::TRIGGER_NODE_UPDATE,
    status::TRIGGER_FAILED_FOLLOW_UP,
    status::TRIGGER_JOB_DEREGISTER,
    status::TRIGGER_ROLLING,
    status::TRIGGER_PREEMPTION,
    status::TRIGGER_DEPLOYMENT,
    status::TRIGGER_NODE_DRAIN,
    status::TRIGGER_ALLOC_STOP,
    status::TRIGGER_QUEUED,
    status::TRIGGER_SCALING,
    status::TRIGGER_RECONNECT,
    // Besides the contract's list: ends what a lost connection began.
    status::TRIGGER_MAX_DISCONNECT,
];
