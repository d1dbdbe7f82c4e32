//! Deployments, as plans and health reports change them.

use crate::api::{Deployment, status};
use crate::command::DeploymentUpdate;
use crate::store::rows::{Facts, Head, deployment_active};
use crate::store::schema::{ix, keys};
use crate::store::{Batch, StoreError, Table, typed};

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
        let now = by_job(deployment_active(&d.status));
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

    /// A deployment as the scheduler wants it. What allocations have reported since the scheduler
    /// looked stays.
    pub(super) fn plan_deployment(
        &mut self,
        index: u64,
        planned: &Deployment,
        wall_ns: i64,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let mut d = planned.clone();
        if let Some(stored) = self.reader().deployment(&d.id)? {
            d.create_time = stored.create_time;
            for (name, old) in &stored.task_groups {
                let Some(state) = d.task_groups.get_mut(name) else { continue };
                state.healthy_allocs = old.healthy_allocs;
                state.unhealthy_allocs = old.unhealthy_allocs;
                state.placed_allocs = old.placed_allocs;
                state.require_progress_by = old.require_progress_by;
                for id in &old.placed_canaries {
                    if !state.placed_canaries.contains(id) {
                        state.placed_canaries.push(id.clone());
                    }
                }
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
