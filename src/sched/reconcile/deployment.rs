//! The deployment as the reconciler sees it: which one counts, which one ends, which one begins.

use crate::api::{Deployment, DeploymentState, Job, TaskGroup, UpdateStrategy, status};
use crate::command::DeploymentUpdate;

use super::{Input, Outcome};

const RUNNING: &str = "Deployment is running";
const NEEDS_PROMOTION: &str = "Deployment is running but requires manual promotion";
const AUTO_PROMOTION: &str = "Deployment is running pending automatic promotion";
const COMPLETE: &str = "Deployment completed successfully";
pub(in crate::sched) const JOB_STOPPED: &str = "Cancelled because job is stopped";
pub(in crate::sched) const NEWER_VERSION: &str = "Cancelled due to newer version of job";

/// The deployments that matter for one evaluation.
pub(super) struct Current {
    /// Of this version of the job, and not successful yet.
    pub(super) deployment: Option<Deployment>,
    /// Canaries that nobody will promote any more.
    pub(super) unneeded_canaries: Vec<String>,
    pub(super) paused: bool,
    pub(super) failed: bool,
}

impl Current {
    /// Looks at the newest deployment; ends it where it is of another version.
    pub(super) fn of(input: &Input<'_>, out: &mut Outcome) -> Self {
        let mut current =
            Self { deployment: None, unneeded_canaries: Vec::new(), paused: false, failed: false };
        let Some(d) = input.deployment else { return current };
        let job = input.job.filter(|j| !j.stop);
        let same =
            job.is_some_and(|j| j.version == d.job_version && j.create_index == d.job_create_index);
        if !same {
            if d.is_active() {
                let why = if job.is_none() { JOB_STOPPED } else { NEWER_VERSION };
                out.deployment_updates.push(update(d, status::DEPLOYMENT_CANCELLED, why));
            }
            current.unneeded_canaries = unpromoted_canaries(d);
            return current;
        }
        current.paused = d.status == status::DEPLOYMENT_PAUSED;
        current.failed = d.status == status::DEPLOYMENT_FAILED;
        if current.failed {
            current.unneeded_canaries = unpromoted_canaries(d);
        }
        if d.status != status::DEPLOYMENT_SUCCESSFUL {
            current.deployment = Some(d.clone());
        }
        current
    }

    /// Id of the deployment while it is active.
    pub(super) fn active_id(&self) -> Option<&str> {
        self.deployment.as_ref().filter(|d| d.is_active()).map(|d| d.id.as_str())
    }

    pub(super) fn state(&self, group: &str) -> Option<&DeploymentState> {
        self.deployment.as_ref()?.task_groups.get(group)
    }

    /// Writes down what became of the deployments.
    pub(super) fn finish(self, complete: bool, new: Option<Deployment>, out: &mut Outcome) {
        if let Some(mut new) = new {
            new.status_description = description(&new).to_owned();
            out.deployment = Some(new);
            return;
        }
        out.deployment_updates.extend(self.deployment.and_then(|d| progress(&d, complete)));
    }
}

/// What changes in a deployment after its groups were looked at.
pub(in crate::sched) fn progress(d: &Deployment, complete: bool) -> Option<DeploymentUpdate> {
    let (status, text) = match complete {
        true => (status::DEPLOYMENT_SUCCESSFUL, COMPLETE),
        false => (status::DEPLOYMENT_RUNNING, description(d)),
    };
    let stays = d.status == status && d.status_description == text;
    let moves = complete || d.status == status::DEPLOYMENT_RUNNING;
    (d.is_active() && moves && !stays).then(|| update(d, status, text))
}

pub(in crate::sched) fn update(
    d: &Deployment,
    status: &str,
    description: &str,
) -> DeploymentUpdate {
    DeploymentUpdate {
        id: d.id.clone(),
        status: status.to_owned(),
        status_description: description.to_owned(),
        ..DeploymentUpdate::default()
    }
}

fn unpromoted_canaries(d: &Deployment) -> Vec<String> {
    let groups = d.task_groups.values().filter(|g| !g.promoted);
    groups.flat_map(|g| g.placed_canaries.iter().cloned()).collect()
}

/// What a running deployment waits for.
pub(in crate::sched) fn description(d: &Deployment) -> &'static str {
    let mut waiting =
        d.task_groups.values().filter(|g| g.desired_canaries > 0 && !g.promoted).peekable();
    if waiting.peek().is_none() {
        RUNNING
    } else if waiting.all(|g| g.auto_promote) {
        AUTO_PROMOTION
    } else {
        NEEDS_PROMOTION
    }
}

/// A deployment of this version of the job, without groups.
pub(in crate::sched) fn begin(job: &Job, priority: i64, id: &str, now: i64) -> Deployment {
    Deployment {
        create_time: now,
        eval_priority: priority,
        id: id.to_owned(),
        is_multiregion: job.multiregion.is_some(),
        job_create_index: job.create_index,
        job_id: job.id.clone(),
        job_modify_index: job.modify_index,
        job_spec_modify_index: job.job_modify_index,
        job_version: job.version,
        modify_time: now,
        namespace: job.namespace.clone(),
        status: status::DEPLOYMENT_RUNNING.to_owned(),
        ..Deployment::default()
    }
}

/// The state of a group in a new deployment.
pub(in crate::sched) fn begin_group(update: &UpdateStrategy) -> DeploymentState {
    DeploymentState {
        auto_promote: update.auto_promote.unwrap_or(false),
        auto_revert: update.auto_revert.unwrap_or(false),
        progress_deadline: update.progress_deadline.unwrap_or(0),
        ..DeploymentState::default()
    }
}

/// The group's strategy where it rolls at all.
pub(in crate::sched) fn strategy(group: &TaskGroup) -> Option<&UpdateStrategy> {
    group.update.as_ref().filter(|u| u.max_parallel.unwrap_or(0) > 0)
}
