//! What should change for one service or batch job: a comparison of the job with its allocations,
//! its nodes and its deployment. Says what to do; finding nodes is left to the caller.

mod classify;
pub(super) mod deployment;
mod group;
mod names;
mod reconnect;

use std::rc::Rc;

use crate::api::{AllocState, Allocation, Deployment, DesiredUpdates, Evaluation, Job, status};
use crate::command::{AllocStop, DeploymentUpdate};
use crate::stdx::json::Time;
use crate::stdx::{BTreeMap, BTreeSet, sort};

pub(super) use classify::{Class, Disconnect, NodeState, classify};
pub(super) use names::{index, name};

use deployment::Current;

/// A set of allocations in a fixed order.
pub(super) type Allocs = Vec<Rc<Allocation>>;

/// Why the caller may have to look again: an allocation that waits.
#[derive(Clone, Debug)]
pub(super) struct Delayed {
    pub(super) alloc: Rc<Allocation>,
    /// ns since the epoch.
    pub(super) at: i64,
    pub(super) kind: Delay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delay {
    /// Reschedule after a failure.
    Reschedule,
    /// The node has until then to come back.
    Disconnect,
    /// The lost allocation may still run on its node until then.
    StopOnClient,
}

/// One allocation to find a node for.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) index: u32,
    pub(super) previous: Option<Rc<Allocation>>,
    /// `previous` is stopped only if a node is found (destructive update).
    pub(super) stop_previous: bool,
    /// A reschedule of `previous`, which its tracker records.
    pub(super) reschedule: bool,
    pub(super) canary: bool,
    /// While canaries run: use the version of the job that ran before.
    pub(super) downgrade: bool,
}

/// One allocation to stop.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub(super) alloc: Rc<Allocation>,
    pub(super) description: &'static str,
    /// Empty: left as it is.
    pub(super) client_status: &'static str,
    pub(super) state: Option<AllocState>,
}

impl Stop {
    fn new(alloc: &Rc<Allocation>, description: &'static str) -> Self {
        Self { alloc: alloc.clone(), description, client_status: "", state: None }
    }

    fn lost(alloc: &Rc<Allocation>) -> Self {
        Self { client_status: status::CLIENT_LOST, ..Self::new(alloc, status::ALLOC_LOST) }
    }
}

/// What should change.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// In the order in which nodes are to be found.
    pub(super) places: Vec<Place>,
    pub(super) stops: Vec<Stop>,
    /// Stay where they are with the new job.
    pub(super) in_place: Allocs,
    /// Other changes of stored allocations.
    pub(super) patches: Vec<AllocStop>,
    pub(super) delayed: Vec<Delayed>,
    pub(super) updates: BTreeMap<String, DesiredUpdates>,
    pub(super) deployment: Option<Deployment>,
    pub(super) deployment_updates: Vec<DeploymentUpdate>,
}

/// How an allocation of an older version gets to the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    Ignore,
    InPlace,
    Destructive,
}

/// What the reconciler asks of its caller.
pub(super) trait Cluster {
    fn node_state(&self, id: &str) -> NodeState;
    /// Whether the new version can run where the allocation runs: the node is there, in a
    /// datacenter and pool of the job, feasible, and has room.
    fn can_stay(&mut self, alloc: &Rc<Allocation>) -> bool;
}

/// What is compared.
pub(super) struct Input<'a> {
    /// None: the job was purged.
    pub(super) job: Option<&'a Job>,
    pub(super) eval: &'a Evaluation,
    /// All that are stored for the job.
    pub(super) allocs: &'a [Rc<Allocation>],
    pub(super) deployment: Option<&'a Deployment>,
    /// For a deployment that must be created.
    pub(super) deployment_id: &'a str,
    pub(super) now: i64,
}

/// Compares. Pure but for what `cluster` keeps of its own answers.
pub(super) fn reconcile(input: &Input<'_>, cluster: &mut dyn Cluster) -> Outcome {
    let mut out = Outcome::default();
    let mut by_group: BTreeMap<&str, Allocs> = BTreeMap::new();
    for a in input.allocs {
        by_group.entry(&a.task_group).or_default().push(a.clone());
    }
    let current = Current::of(input, &mut out);
    let Some(job) = input.job.filter(|j| !j.stop) else {
        for group in input.job.iter().flat_map(|j| j.task_groups.iter()) {
            by_group.entry(&group.name).or_default();
        }
        for (group, allocs) in by_group {
            stop_group(group, allocs, input, cluster, &mut out);
        }
        return out;
    };
    let mut complete = current.deployment.is_some();
    let mut new_deployment = None;
    for group in &job.task_groups {
        let allocs = by_group.remove(group.name.as_str()).unwrap_or_default();
        let run = group::Group::new(job, group, input, &current, cluster, &mut out);
        complete &= run.reconcile(allocs, &mut new_deployment);
    }
    for (group, allocs) in by_group {
        stop_group(group, allocs, input, cluster, &mut out);
    }
    current.finish(complete, new_deployment, &mut out);
    sort::by_key(&mut out.places, |p| !p.stop_previous);
    out
}

/// The group is not wanted any more: all that is not terminal goes.
fn stop_group(
    group: &str,
    allocs: Allocs,
    input: &Input<'_>,
    cluster: &mut dyn Cluster,
    out: &mut Outcome,
) {
    let updates = out.updates.entry(group.to_owned()).or_default();
    for alloc in allocs {
        if super::fit::server_terminal(&alloc) || super::fit::client_terminal(&alloc) {
            continue;
        }
        let wants = alloc.job.as_ref().and_then(|j| j.task_groups.iter().find(|g| g.name == group));
        let wants = wants.map(Disconnect::of).unwrap_or_default();
        let state = cluster.node_state(&alloc.node_id);
        out.stops.push(match classify(&alloc, state, wants, input.now) {
            Class::Lost | Class::Expiring => Stop::lost(&alloc),
            _ => Stop::new(&alloc, status::ALLOC_NOT_NEEDED),
        });
        updates.stop += 1;
    }
}

/// A change of the client status as the servers see it.
fn state(value: &str, now: i64) -> AllocState {
    AllocState { field: 0, time: Time(now), value: value.to_owned() }
}

/// Takes those for which `pick` holds out of `from`.
fn drain(from: &mut Allocs, mut pick: impl FnMut(&Allocation) -> bool) -> Allocs {
    let (picked, rest) = std::mem::take(from).into_iter().partition(|a| pick(a));
    *from = rest;
    picked
}

/// Removes those that `other` holds.
fn subtract(from: &mut Allocs, other: &[Rc<Allocation>]) {
    if other.is_empty() {
        return;
    }
    let ids: BTreeSet<&str> = sort::gather(other.iter().map(|a| a.id.as_str()));
    from.retain(|a| !ids.contains(a.id.as_str()));
}
