//! A cluster without machines: the real scheduler, the real checks of plans and the real store on
//! nodes that only exist as rows, under a clock that jumps. Jobs in, a [`Report`] out.
//!
//! `cluster` is the servers' part of an agent's turn; `shape` makes nodes; `report` and `picture`
//! say what came of it.

mod cluster;
mod picture;
mod report;
mod shape;

use std::rc::Rc;

pub use picture::svg;
pub use report::Report;
pub use shape::{Shape, fill, without};

use crate::api::{AllocMetric, Job, Namespace, Node, SchedulerConfiguration, status};
use crate::jobspec::{self, AdmitCtx};
use crate::os::clock;
use crate::stdx::BTreeMap;
use crate::stdx::zone::Zones;
use cluster::{Cluster, Fault};

/// What is simulated.
pub struct Asked {
    /// As [`fill`] leaves them.
    pub nodes: Vec<Node>,
    pub jobs: Vec<Job>,
    /// Each job is handed in so many times, under ids of its own where that is more than one.
    pub copies: u32,
    /// `binpack` or `spread`.
    pub algorithm: String,
    /// Service and batch jobs may preempt.
    pub preempt: bool,
    /// Nodes that die once all is placed.
    pub kill: u32,
    /// All allocations are told, not only counted.
    pub each: bool,
    pub seed: u64,
}

/// Allocations of one group, before or after nodes died.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub placed: u64,
    pub lost: u64,
    /// Out of reach, kept for when their node comes back.
    pub unknown: u64,
    pub evicted: u64,
    /// What found no place, and why.
    pub unplaced: i64,
    pub why: Option<AllocMetric>,
}

/// Group of a job: namespace, job, group.
pub type GroupId = (String, String, String);
pub type Tallies = BTreeMap<GroupId, Tally>;

/// Runs it.
///
/// # Errors
/// A sentence: a job that is refused, a disk that is full.
pub fn run(asked: &Asked) -> Result<Report, String> {
    simulate(asked).map_err(|fault| fault.0)
}

fn simulate(asked: &Asked) -> Result<Report, Fault> {
    let mut jobs = Vec::with_capacity(asked.jobs.len());
    for job in &asked.jobs {
        jobs.push(admit(asked, job).map_err(Fault)?);
    }
    let mut cluster = Cluster::new(asked.seed)?;
    let config = SchedulerConfiguration {
        scheduler_algorithm: asked.algorithm.clone(),
        ..SchedulerConfiguration::default()
    };
    cluster.begin(&asked.nodes, config, asked.preempt)?;
    let started = clock::cpu_ns();
    for job in &jobs {
        for copy in 0..asked.copies {
            let mut job = job.clone();
            if asked.copies > 1 {
                job.id = format!("{}-{copy}", job.id);
                job.name.clone_from(&job.id);
            }
            cluster.submit(job)?;
            // Not all at once: the evaluations that wait are kept in memory.
            if copy % 64 == 63 {
                cluster.settle()?;
            }
        }
    }
    cluster.settle()?;
    let placing_ns = clock::cpu_ns().saturating_sub(started);
    let placed = cluster.take_tallies();
    let mut report = Report::new(asked, &mut cluster, &jobs, placed, placing_ns)?;
    if asked.kill > 0 {
        cluster.start_all()?;
        let dead = cluster.kill(asked.kill)?;
        let after = cluster.take_tallies();
        report.killed(dead, after, &mut cluster)?;
    }
    if asked.each {
        report.each = cluster.placements()?;
    }
    Ok(report)
}

/// As a server would take the job, without limits on the count. A job that waits for a time or a
/// dispatch is taken as one run of it.
fn admit(asked: &Asked, job: &Job) -> Result<Job, String> {
    let mut job = job.clone();
    job.periodic = None;
    job.parameterized_job = None;
    job.region.clear();
    if job.namespace.is_empty() {
        status::NAMESPACE_DEFAULT.clone_into(&mut job.namespace);
    }
    let id = job.id.clone();
    let pools = |name: &str| {
        matches!(name, "all" | "default") || asked.nodes.iter().any(|n| n.node_pool == name)
    };
    let ctx = AdmitCtx {
        region: "global",
        priority_default: 50,
        priority_max: 100,
        count_max: i64::MAX,
        memory_oversubscription: false,
        namespace: &|name| Some(Rc::new(named(name))),
        zones: Zones(crate::os::zones::file),
        pool_exists: &pools,
    };
    let admitted = jobspec::admit(job, &ctx);
    admitted.map(|(job, _)| job).map_err(|errors| {
        let text = jobspec::refusal(&errors).text;
        format!("job {id:?} is refused: {text}")
    })
}

fn named(name: &str) -> Namespace {
    Namespace { name: name.to_owned(), ..Namespace::default() }
}
