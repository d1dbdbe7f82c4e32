//! Scaling: the policies of a job's groups as rows of their own, and what was asked of groups.

use serde_json::Value;

use crate::api::{ApiError, Evaluation, Job, ScalingPolicy};
use crate::command::{Applied, JobApplied};
use crate::stdx::json::Printed;
use crate::store::schema::keys;
use crate::store::{Batch, RowHead, StoreError, Table, typed};

/// Events that are kept of a group.
const EVENTS: usize = 20;

impl Batch<'_> {
    /// Keeps an event, after registering the changed job where there is one.
    pub(super) fn job_scale(
        &mut self,
        index: u64,
        (namespace, id): (&str, &str),
        (job, eval, enforce): (Option<&Printed<Job>>, Option<&Evaluation>, Option<u64>),
        (group, event): (&str, &str),
    ) -> Result<Applied, StoreError> {
        let key = keys::job(namespace, id);
        let Some(row) = self.reader().row(Table::Job, &key)? else {
            return Ok(Applied::Refused(ApiError::not_found(format!("job {id:?} not found"))));
        };
        let mut done = JobApplied { job_modify_index: row.modify(), ..JobApplied::default() };
        if let Some(job) = job {
            match self.job_register(index, job, None, eval, enforce)? {
                Applied::Job(registered) => done = registered,
                other => return Ok(other),
            }
        }
        done.index = index;
        self.put_event(index, &key, group, event)?;
        Ok(Applied::Job(done))
    }

    fn put_event(
        &mut self,
        index: u64,
        key: &[u8],
        group: &str,
        event: &str,
    ) -> Result<(), StoreError> {
        let table = Table::ScalingEvent;
        let mut event: Value = typed::decode(table, event.as_bytes())?;
        event["CreateIndex"] = index.into();
        let (create, mut all) = match self.reader().row(table, key)? {
            Some(row) => (row.create(), typed::decode(table, row.json)?),
            None => (index, Value::Object(serde_json::Map::new())),
        };
        match all[group].as_array_mut() {
            Some(list) => {
                list.insert(0, event);
                list.truncate(EVENTS);
            }
            None => all[group] = Value::Array(vec![event]),
        }
        self.put(index, table, key, RowHead::plain(create, index), &all)
    }

    /// Brings the rows of a job's policies in line with its groups. `old` is the job's row before.
    pub(super) fn put_policies(
        &mut self,
        index: u64,
        old: &[ScalingPolicy],
        job: &Job,
    ) -> Result<(), StoreError> {
        let new: Vec<&ScalingPolicy> =
            job.task_groups.iter().filter_map(|g| g.scaling.as_ref()).collect();
        for gone in old.iter().filter(|o| new.iter().all(|n| n.id != o.id)) {
            self.delete(index, Table::ScalingPolicy, &keys::name(&gone.id))?;
        }
        for policy in new {
            self.put_policy(index, policy, policy.enabled.unwrap_or(true) && !job.stop)?;
        }
        Ok(())
    }

    /// Switches the policies of a stopped job off.
    pub(super) fn stop_policies(
        &mut self,
        index: u64,
        policies: &[ScalingPolicy],
    ) -> Result<(), StoreError> {
        policies.iter().try_for_each(|p| self.put_policy(index, p, false))
    }

    fn put_policy(
        &mut self,
        index: u64,
        policy: &ScalingPolicy,
        enabled: bool,
    ) -> Result<(), StoreError> {
        let key = keys::name(&policy.id);
        let mut policy = ScalingPolicy { enabled: Some(enabled), ..policy.clone() };
        policy.create_index = index;
        policy.modify_index = index;
        if let Some(row) = self.reader().row(Table::ScalingPolicy, &key)? {
            let was: ScalingPolicy = typed::decode(Table::ScalingPolicy, row.json)?;
            policy.create_index = was.create_index;
            policy.modify_index = was.modify_index;
            if policy == was {
                return Ok(());
            }
            policy.modify_index = index;
        }
        let head = RowHead::plain(policy.create_index, index);
        self.put(index, Table::ScalingPolicy, &key, head, &policy)
    }
}

/// The policies in a job's row. Jobs without any are not decoded.
pub(super) fn policies(json: &[u8]) -> Result<Vec<ScalingPolicy>, StoreError> {
    let mark = b"\"Scaling\":{";
    if !json.windows(mark.len()).any(|w| w == mark) {
        return Ok(Vec::new());
    }
    let job: Job = typed::decode(Table::Job, json)?;
    Ok(job.task_groups.iter().filter_map(|g| g.scaling.clone()).collect())
}
