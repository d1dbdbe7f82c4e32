//! Decides where allocations run: state in, plan out.
//!
//! Pure: knows no store, no clock and no network; wall time and chance come in with [`Seed`], ids
//! through [`Entropy`]. Entry: [`schedule`]. The parts, in the order in which a plan comes about:
//! `generic` and `system` drive one evaluation; `reconcile` says what should change for the job;
//! `fleet` holds the nodes as columns; `ask`, `feasible`, `rank` and `select` find a node for each
//! placement; `build` writes the allocation. [`fit`] is shared with the store, which checks each
//! plan again.

mod constraint;
pub mod fit;
mod ports;
mod rng;
mod target;
mod version;

use std::rc::Rc;

use crate::api::{Allocation, Deployment, Job, Node, SchedulerConfiguration};

pub use fit::fits;

/// The state that one evaluation is scheduled on. All answers are of one point in time.
pub trait View {
    /// Index of the last change that this view shows.
    fn index(&self) -> u64;
    fn job(&self, namespace: &str, id: &str) -> Option<Rc<Job>>;
    /// All nodes, in the order of their ids.
    fn nodes(&self) -> Rc<[Rc<Node>]>;
    fn node(&self, id: &str) -> Option<Rc<Node>>;
    /// All that are stored, terminal ones too, each with its `job`.
    fn allocs_by_job(&self, namespace: &str, id: &str) -> Vec<Rc<Allocation>>;
    /// Those that the node has not ended; `job` may be missing.
    fn allocs_by_node(&self, id: &str) -> Vec<Rc<Allocation>>;
    /// The newest of the job.
    fn deployment_latest(&self, namespace: &str, job: &str) -> Option<Deployment>;
    fn config(&self) -> SchedulerConfiguration;
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
