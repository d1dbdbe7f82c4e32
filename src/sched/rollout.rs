//! Deployments of system jobs: how many nodes are updated at a time.

use std::rc::Rc;

use crate::api::{Allocation, Deployment, DeploymentState, Evaluation, Job, TaskGroup, status};
use crate::command::DeploymentUpdate;

use super::reconcile::deployment::{JOB_STOPPED, NEWER_VERSION, begin_group, strategy, update};

/// What a group's strategy allows in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rollout {
    /// Destructive updates that may happen now.
    pub(super) room: usize,
    /// Those that happen now are canaries.
    pub(super) canarying: bool,
    /// Nodes that get a canary in all.
    pub(super) canaries: usize,
    /// The group has a strategy at all.
    pub(super) rolls: bool,
}

impl Rollout {
    /// `current`: live allocations of this version; `nodes`: those that run the group or will.
    pub(super) fn of(
        group: &TaskGroup,
        deployment: Option<&Deployment>,
        current: &[Rc<Allocation>],
        destructive: usize,
        nodes: usize,
    ) -> Self {
        let Some(update) = strategy(group) else {
            return Self { room: destructive, ..Self::default() };
        };
        let parallel = usize::try_from(update.max_parallel.unwrap_or(0)).unwrap_or(0);
        let percent = usize::try_from(update.canary.unwrap_or(0)).unwrap_or(0).min(100);
        let state = deployment.and_then(|d| d.task_groups.get(&group.name));
        let promoted = state.is_some_and(|s| s.promoted);
        let canaries = match destructive > 0 && percent > 0 && !promoted {
            true => (percent * nodes).div_ceil(100).min(parallel),
            false => 0,
        };
        let stuck = deployment.is_some_and(|d| {
            matches!(d.status.as_str(), status::DEPLOYMENT_PAUSED | status::DEPLOYMENT_FAILED)
        });
        let mut room = if stuck { 0 } else { parallel };
        let of_deployment =
            |a: &&Rc<Allocation>| deployment.is_some_and(|d| d.id == a.deployment_id);
        let mut placed = 0;
        for a in current.iter().filter(of_deployment) {
            let health = a.deployment_status.as_ref();
            placed += usize::from(health.is_some_and(|s| s.canary));
            match health.and_then(|s| s.healthy) {
                Some(true) => {}
                Some(false) => room = 0,
                None => room = room.saturating_sub(1),
            }
        }
        if canaries > 0 {
            room = room.min(canaries.saturating_sub(placed));
        }
        Self { room, canarying: canaries > 0, canaries, rolls: true }
    }
}

/// The deployment of this version that is not over. One of another version ends.
pub(super) fn current<'d>(
    job: Option<&Job>,
    latest: Option<&'d Deployment>,
    updates: &mut Vec<DeploymentUpdate>,
) -> Option<&'d Deployment> {
    let d = latest.filter(|d| d.is_active() || d.status == status::DEPLOYMENT_FAILED)?;
    let same =
        job.is_some_and(|j| j.version == d.job_version && j.create_index == d.job_create_index);
    if same {
        return Some(d);
    }
    if d.is_active() {
        let why = match job {
            None => JOB_STOPPED,
            Some(_) => NEWER_VERSION,
        };
        updates.push(update(d, status::DEPLOYMENT_CANCELLED, why));
    }
    None
}

/// A deployment without groups.
pub(super) fn begin(job: &Job, eval: &Evaluation, id: &str, now: i64) -> Deployment {
    super::reconcile::deployment::begin(job, eval.priority, id, now)
}

/// Adds a group that runs on `total` nodes.
pub(super) fn add_group(d: &mut Deployment, group: &TaskGroup, total: usize, step: &Rollout) {
    let mut state: DeploymentState = strategy(group).map(begin_group).unwrap_or_default();
    state.desired_total = i64::try_from(total).unwrap_or(i64::MAX);
    state.desired_canaries = i64::try_from(step.canaries).unwrap_or(i64::MAX);
    d.task_groups.insert(group.name.clone(), state);
    d.status_description = super::reconcile::deployment::description(d).to_owned();
}

/// Nodes came or went: as many allocations are wanted now.
pub(super) fn resize(d: &Deployment, group: &TaskGroup, total: usize) -> Option<Deployment> {
    let total = i64::try_from(total).unwrap_or(i64::MAX);
    let state = d.task_groups.get(&group.name)?;
    if state.desired_total == total || !d.is_active() {
        return None;
    }
    let mut d = d.clone();
    d.task_groups.get_mut(&group.name)?.desired_total = total;
    Some(d)
}

/// A group has nothing to wait for.
pub(super) fn group_done(state: Option<&DeploymentState>) -> bool {
    state.is_none_or(|s| {
        s.healthy_allocs >= s.desired_total.max(s.desired_canaries)
            && (s.desired_canaries == 0 || s.promoted)
    })
}
