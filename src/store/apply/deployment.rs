//! Deployments, as plans and health reports change them.

use crate::api::{
    AllocDeploymentStatus, ApiError, Deployment, DeploymentState, Evaluation, Job, multi_error,
    status,
};
use crate::command::{Applied, DeploymentUpdate};
use crate::stdx::json::{Time, encode};
use crate::store::rows::{Facts, Head};
use crate::store::schema::{ix, keys};
use crate::store::{Batch, StoreError, Table, typed};

use super::alloc::By;
use super::job::same_spec;
use super::moves::Moves;

impl Batch<'_> {
    /// Writes a deployment as changed by `index`. Nothing where its id is no UUID.
    pub(super) fn put_deployment(
        &mut self,
        index: u64,
        mut d: Deployment,
        wall_ns: i64,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let Some(key) = keys::by_uuid(&d.id) else { return Ok(()) };
        let old = self.reader().row(Table::Deployment, &key)?.map(|row| row.head);
        d.create_index = old.map_or(index, |h| h.create);
        d.modify_index = index;
        d.modify_time = wall_ns;
        if d.create_time == 0 {
            d.create_time = wall_ns;
        }
        let head = d.head();
        self.put(index, Table::Deployment, &key, head, &d)?;
        let by_job =
            |active: bool| ix::by_job(ix::DEPLOYMENT_JOB, &d.namespace, &d.job_id, !active, &key);
        let now = by_job(d.is_active());
        match old {
            None => {
                let created = ix::created(Table::Deployment, index, &key);
                self.put_ix(&created, d.namespace.as_bytes())?;
                self.put_ix(&now, &[])?;
            }
            Some(h) => {
                let was = matches!(h.facts, Facts::Deployment(x) if x.active);
                self.move_ix(Some(&by_job(was)), &now)?;
            }
        }
        moves.job(&d.namespace, &d.job_id);
        Ok(())
    }

    /// A deployment that the scheduler begins. Of one that is there already, only how many
    /// allocations are wanted changes.
    pub(super) fn plan_deployment(
        &mut self,
        index: u64,
        planned: &Deployment,
        wall_ns: i64,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let Some(mut d) = self.reader().deployment(&planned.id)? else {
            return self.put_deployment(index, planned.clone(), wall_ns, moves);
        };
        for (name, state) in &planned.task_groups {
            if let Some(stored) = d.task_groups.get_mut(name) {
                stored.desired_total = state.desired_total;
            }
        }
        self.put_deployment(index, d, wall_ns, moves)
    }

    pub(super) fn update_deployment(
        &mut self,
        index: u64,
        update: &DeploymentUpdate,
        wall_ns: i64,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let Some(mut d) = self.reader().deployment(&update.id)? else { return Ok(()) };
        // It ended while the scheduler looked.
        if !d.is_active() {
            return Ok(());
        }
        d.status.clone_from(&update.status);
        d.status_description.clone_from(&update.status_description);
        let stable = d.status == status::DEPLOYMENT_SUCCESSFUL;
        let (namespace, job, version) = (d.namespace.clone(), d.job_id.clone(), d.job_version);
        let create = d.job_create_index;
        self.put_deployment(index, d, wall_ns, moves)?;
        let row = self.reader().row(Table::Job, &keys::job(&namespace, &job))?;
        if stable && row.is_some_and(|r| create == 0 || r.create() == create) {
            self.job_stability(index, (&namespace, &job), version, true)?;
        }
        Ok(())
    }

    /// Pauses, resumes, fails or promotes a deployment, or says how its allocations are.
    pub(super) fn deployment_steer(
        &mut self,
        index: u64,
        update: &DeploymentUpdate,
        eval: Option<&Evaluation>,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let refused = |text: String| Ok(Applied::Refused(ApiError::failed(text)));
        let Some(mut d) = self.reader().deployment(&update.id)? else {
            return refused("deployment not found".to_owned());
        };
        if !d.is_active() {
            return refused(format!("can't {} terminal deployment", verb(update)));
        }
        let mut moves = Moves::default();
        if let Some(why) = self.promote(index, &mut d, update, wall_ns, &mut moves)? {
            return refused(why);
        }
        if let Some(why) = self.report_health(index, &mut d, update, wall_ns, &mut moves)? {
            return refused(why);
        }
        let mut target = None;
        if !update.status.is_empty() {
            if update.status == status::DEPLOYMENT_RUNNING && d.status == status::DEPLOYMENT_PAUSED
            {
                d.task_groups.values_mut().for_each(|state| begin_progress(state, wall_ns));
            }
            d.status.clone_from(&update.status);
            d.status_description.clone_from(&update.status_description);
            if update.revert && update.status == status::DEPLOYMENT_FAILED {
                target = self.way_back(&mut d, wall_ns)?;
            }
        }
        let (namespace, id) = (d.namespace.clone(), d.job_id.clone());
        self.put_deployment(index, d, wall_ns, &mut moves)?;
        let Some((version, job)) = target else {
            if let Some(eval) = eval {
                self.put_eval(index, eval.clone(), &mut moves)?;
            }
            self.settle(index, moves)?;
            return Ok(Applied::Deployment(None));
        };
        self.settle(index, moves)?;
        let submission = self.reader().job_submission(&namespace, &id, version)?;
        self.job_register(index, &job.into(), submission.as_ref(), eval, None)?;
        Ok(Applied::Deployment(Some(version)))
    }

    /// Promotes groups whose canaries are healthy; the refusal where some are not.
    fn promote(
        &mut self,
        index: u64,
        d: &mut Deployment,
        update: &DeploymentUpdate,
        wall_ns: i64,
        moves: &mut Moves,
    ) -> Result<Option<String>, StoreError> {
        let mut canaries = Vec::new();
        let mut unready = Vec::new();
        let meant = |name: &String| update.promote_all || update.promote.contains(name);
        for (name, state) in d.task_groups.iter_mut().filter(|(name, _)| meant(name)) {
            let mut healthy = 0;
            for id in &state.placed_canaries {
                let Some(key) = keys::by_uuid(id) else { continue };
                let Some(row) = self.reader().row(Table::Alloc, &key)? else { continue };
                let health = typed::alloc(&row)?.deployment_status.and_then(|s| s.healthy);
                healthy += i64::from(health == Some(true) && !row.alloc().terminal());
                canaries.push(key);
            }
            if healthy < state.desired_canaries {
                let wanted = state.desired_canaries;
                unready.push(format!(
                    "Task group {name:?} has {healthy}/{wanted} healthy allocations"
                ));
            }
            state.promoted = true;
            begin_progress(state, wall_ns);
        }
        if !unready.is_empty() {
            return Ok(Some(multi_error(&unready)));
        }
        for key in canaries {
            self.change_alloc(index, &key, wall_ns, By::Server, moves, |a| {
                if let Some(s) = a.deployment_status.as_mut().filter(|s| s.canary) {
                    s.canary = false;
                    s.modify_index = index;
                }
            })?;
        }
        Ok(None)
    }

    /// Health of allocations as an operator sees it; the refusal where one is none of these.
    fn report_health(
        &mut self,
        index: u64,
        d: &mut Deployment,
        update: &DeploymentUpdate,
        wall_ns: i64,
        moves: &mut Moves,
    ) -> Result<Option<String>, StoreError> {
        let told = update.healthy.iter().map(|id| (id, true));
        let told = told.chain(update.unhealthy.iter().map(|id| (id, false)));
        let mut known = Vec::new();
        for (id, healthy) in told {
            let Some(alloc) = self.reader().alloc(id)? else {
                return Ok(Some(format!("unknown alloc {id:?}")));
            };
            if alloc.deployment_id != d.id {
                return Ok(Some(format!("alloc {id:?} is not part of deployment {:?}", d.id)));
            }
            known.push((alloc, healthy));
        }
        for (alloc, healthy) in known {
            let was = alloc.deployment_status.as_ref().and_then(|s| s.healthy);
            let Some(key) = keys::by_uuid(&alloc.id).filter(|_| was != Some(healthy)) else {
                continue;
            };
            let at = Time(wall_ns);
            self.change_alloc(index, &key, wall_ns, By::Server, moves, |a| {
                a.deployment_status = Some(AllocDeploymentStatus {
                    canary: a.deployment_status.as_ref().is_some_and(|s| s.canary),
                    healthy: Some(healthy),
                    modify_index: index,
                    timestamp: at,
                });
            })?;
            if let Some(state) = d.task_groups.get_mut(&alloc.task_group) {
                count_health(state, (was, healthy, at));
            }
        }
        Ok(None)
    }

    /// What a job whose deployment `d` failed goes back to: its newest stable version, unless that
    /// is the same but for its number. The deployment's description says which.
    fn way_back(&self, d: &mut Deployment, wall_ns: i64) -> Result<Option<(u64, Job)>, StoreError> {
        let reader = self.reader();
        let Some(row) = reader.row(Table::Job, &keys::job(&d.namespace, &d.job_id))? else {
            return Ok(None);
        };
        let current = row.job();
        let newest = (row.create(), current.version) == (d.job_create_index, d.job_version);
        if current.stop || !newest {
            return Ok(None);
        }
        let versions = reader.job_versions(&d.namespace, &d.job_id)?;
        let Some(mut job) = versions.into_iter().find(|v| v.stable) else {
            d.status_description.push_str(" - no stable job version to auto revert to");
            return Ok(None);
        };
        let version = job.version;
        job.stop = false;
        job.version_tag = None;
        if same_spec(&encode(&job), row.json)? {
            d.status_description.push_str(&format!(
                " - not rolling back to stable job version {version} as current job has same \
                 specification"
            ));
            return Ok(None);
        }
        job.submit_time = wall_ns;
        d.status_description.push_str(&format!(" - rolling back to job version {version}"));
        Ok(Some((version, job)))
    }

    /// Counts allocations that were placed for a deployment: group, id, whether a canary, and
    /// when.
    pub(super) fn count_placed(
        &mut self,
        index: u64,
        id: &str,
        placed: &[Placed],
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let Some(key) = keys::by_uuid(id) else { return Ok(()) };
        let Some(row) = self.reader().row(Table::Deployment, &key)? else { return Ok(()) };
        let mut d: Deployment = typed::decode(Table::Deployment, row.json)?;
        let mut wall_ns = d.modify_time;
        for p in placed {
            let Some(state) = d.task_groups.get_mut(&p.group) else { continue };
            wall_ns = p.wall_ns;
            state.placed_allocs += 1;
            if p.canary && !state.placed_canaries.contains(&p.alloc) {
                state.placed_canaries.push(p.alloc.clone());
            }
            if state.progress_deadline > 0 && state.require_progress_by.0 == 0 {
                state.require_progress_by.0 = p.wall_ns.saturating_add(state.progress_deadline);
            }
        }
        self.put_deployment(index, d, wall_ns, moves)
    }
}

/// One allocation placed for a deployment.
pub(super) struct Placed {
    pub(super) group: String,
    pub(super) alloc: String,
    pub(super) canary: bool,
    pub(super) wall_ns: i64,
}

/// What an update asks of a deployment, for refusals.
fn verb(update: &DeploymentUpdate) -> &'static str {
    match update.status.as_str() {
        _ if !update.healthy.is_empty() || !update.unhealthy.is_empty() => {
            "set health of allocations for a"
        }
        status::DEPLOYMENT_FAILED => "fail",
        status::DEPLOYMENT_PAUSED => "pause",
        status::DEPLOYMENT_RUNNING => "resume",
        _ => "promote",
    }
}

/// The time for progress begins anew.
fn begin_progress(state: &mut DeploymentState, wall_ns: i64) {
    if state.progress_deadline > 0 {
        state.require_progress_by = Time(wall_ns.saturating_add(state.progress_deadline));
    }
}

/// Counts an allocation's health, with what it was before, and moves the deadline of progress.
pub(super) fn count_health(
    state: &mut DeploymentState,
    (was, now, at): (Option<bool>, bool, Time),
) {
    match was {
        Some(true) => state.healthy_allocs -= 1,
        Some(false) => state.unhealthy_allocs -= 1,
        None => {}
    }
    if now {
        state.healthy_allocs += 1;
        let by = at.0.saturating_add(state.progress_deadline);
        if state.progress_deadline > 0 && by > state.require_progress_by.0 {
            state.require_progress_by = Time(by);
        }
    } else {
        state.unhealthy_allocs += 1;
    }
}
