//! Jobs: registration, deregistration, versions, stability, tags.

use crate::api::{
    ApiError, DesiredTransition, Evaluation, Job, JobChildrenSummary, JobListStub, JobSubmission,
    JobSummary, JobVersionTag, TaskGroupSummary, status,
};
use crate::command::{Applied, JobApplied};
use crate::stdx::json::{Printed, encode};
use crate::store::rows::{Facts, Head, JobHead};
use crate::store::schema::keys;
use crate::store::{Batch, Row, RowHead, StoreError, Table, splice, typed};

use super::moves::{Moves, head_edits, job_row, patch};
use super::scaling;

/// Untagged versions that are kept and listed.
const VERSIONS: usize = 6;

impl Batch<'_> {
    pub(super) fn job_register(
        &mut self,
        index: u64,
        job: &Printed<Job>,
        submission: Option<&JobSubmission>,
        eval: Option<&Evaluation>,
        enforce: Option<u64>,
    ) -> Result<Applied, StoreError> {
        let key = keys::job(&job.namespace, &job.id);
        let old = self.reader().row(Table::Job, &key)?;
        if let Some(want) = enforce
            && let Some(refused) = enforced(want, old)
        {
            return Ok(Applied::Refused(refused));
        }
        // Both were so when the command was made, and may have changed since.
        if job.namespace != status::NAMESPACE_DEFAULT
            && !self.reader().has(Table::Namespace, &keys::name(&job.namespace))?
        {
            let (id, namespace) = (&job.id, &job.namespace);
            let text = format!("job {id:?} is in nonexistent namespace {namespace:?}");
            return Ok(Applied::Refused(ApiError::failed(text)));
        }
        let token = &job.dispatch_idempotency_token;
        if job.dispatched
            && old.is_none()
            && self.reader().dispatched(&job.namespace, &job.parent_id, token)?.is_some()
        {
            return Ok(Applied::Nothing);
        }
        if let Some(row) = old
            && same_spec(&encode(&**job), row.json)?
        {
            let (modify, job_modify) = (row.modify(), row.job().job_modify);
            return self.reevaluate(index, job, modify, job_modify, eval);
        }
        let before = old.map(|row| (row.head, row.job()));
        let policies = old.map(|row| scaling::policies(row.json)).transpose()?.unwrap_or_default();
        let mut moves = Moves::default();
        let evaluated = eval.is_some();
        let mut done = JobApplied { index, job_modify_index: index, ..JobApplied::default() };
        if let Some(eval) = eval {
            self.job_eval(index, eval, index, &mut done, &mut moves)?;
        }
        if before.is_some() {
            self.freeze_version(index, &job.namespace, &job.id, false)?;
        }
        let mut facts = JobHead {
            version: before.map_or(0, |(_, j)| j.version + 1),
            job_modify: index,
            stable: false,
            ..head_of(job)
        };
        if let Some((_, j)) = before {
            facts.status = j.status;
        }
        facts.status =
            self.reader().derive_status(&job.namespace, &job.id, &facts, before.is_some())?;
        facts.registered = facts.status;
        let create = before.map_or(index, |(h, _)| h.create);
        let head = RowHead { create, modify: index, facts: Facts::Job(facts) };
        let status = format!("\"{}\"", facts.status.text());
        let (created, changed) = (create.to_string(), index.to_string());
        let version = facts.version.to_string();
        let edits: [(&str, &[u8]); 7] = [
            ("CreateIndex", created.as_bytes()),
            ("JobModifyIndex", changed.as_bytes()),
            ("ModifyIndex", changed.as_bytes()),
            ("Stable", b"false"),
            ("Status", status.as_bytes()),
            ("StatusDescription", b"\"\""),
            ("Version", version.as_bytes()),
        ];
        self.put_printed(index, Table::Job, &key, head, job, &edits)?;
        self.touch(index, Table::JobVersion, &key);
        moves.settled(&key);
        let summary = self.register_summary(index, &key, job)?;
        let edits: [(&str, &[u8]); 6] = [
            ("CreateIndex", created.as_bytes()),
            ("JobModifyIndex", changed.as_bytes()),
            ("JobSummary", &summary),
            ("ModifyIndex", changed.as_bytes()),
            ("Status", status.as_bytes()),
            ("StatusDescription", b"\"\""),
        ];
        self.put_stub(Table::Job, &key, head, &JobListStub::of(job), &edits)?;
        self.put_policies(index, &policies, job)?;
        if let Some(at) = launched_at(job) {
            let key = keys::job(&job.namespace, &job.parent_id);
            self.put(index, Table::PeriodicLaunch, &key, RowHead::plain(index, index), &at)?;
        }
        if let Some(s) = submission {
            self.put_submission(index, job, facts.version, s)?;
        }
        if facts.version > 0 {
            self.prune_versions(index, &job.namespace, &job.id, create)?;
        }
        if facts.child {
            let was = before.map(|(_, j)| j.status);
            if was != Some(facts.status) {
                moves.child(&job.namespace, &job.parent_id, was, Some(facts.status));
            }
        }
        if !evaluated {
            done.eval_create_index = 0;
        }
        self.settle(index, moves)?;
        Ok(Applied::Job(done))
    }

    /// Registration of the spec that is stored already: only the evaluation is written.
    fn reevaluate(
        &mut self,
        index: u64,
        job: &Job,
        modify: u64,
        job_modify: u64,
        eval: Option<&Evaluation>,
    ) -> Result<Applied, StoreError> {
        let mut done =
            JobApplied { index: modify, job_modify_index: modify, ..JobApplied::default() };
        let Some(eval) = eval else { return Ok(Applied::Job(done)) };
        let mut moves = Moves::default();
        self.job_eval(index, eval, job_modify, &mut done, &mut moves)?;
        moves.job(&job.namespace, &job.id);
        done.index = index;
        self.settle(index, moves)?;
        Ok(Applied::Job(done))
    }

    fn job_eval(
        &mut self,
        index: u64,
        eval: &Evaluation,
        job_modify: u64,
        done: &mut JobApplied,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let eval = Evaluation { job_modify_index: job_modify, ..eval.clone() };
        done.eval_id.clone_from(&eval.id);
        done.eval_create_index = index;
        self.put_eval(index, eval, moves)?;
        Ok(())
    }

    /// Gives the newest version a row of its own, before another one takes its place. The row is
    /// the job as it was registered, its head tells what became of it.
    fn freeze_version(
        &mut self,
        index: u64,
        namespace: &str,
        id: &str,
        hidden: bool,
    ) -> Result<(), StoreError> {
        let Some(row) = self.reader().row(Table::Job, &keys::job(namespace, id))? else {
            return Ok(());
        };
        let facts = JobHead { hidden, ..row.job() };
        let head = RowHead { facts: Facts::Job(facts), ..row.head };
        let version = keys::job_version(namespace, id, row.create(), facts.version);
        let json = typed::as_registered(&row)?.into_owned();
        self.put_json(index, Table::JobVersion, &version, head, &json)
    }

    /// Sees to it that there is a summary with all groups of the job; its JSON.
    fn register_summary(
        &mut self,
        index: u64,
        key: &[u8],
        job: &Job,
    ) -> Result<Vec<u8>, StoreError> {
        let groups = job.task_groups.iter().map(|g| &g.name);
        if let Some(row) = self.reader().row(Table::JobSummary, key)? {
            let mut summary: JobSummary = typed::decode(Table::JobSummary, row.json)?;
            let before = summary.summary.len();
            for name in groups {
                summary.summary.entry(name.clone()).or_default();
            }
            if summary.summary.len() == before {
                return Ok(row.json.to_vec());
            }
            return self.put_summary(index, key, &mut summary);
        }
        let mut summary = JobSummary {
            children: Some(JobChildrenSummary::default()),
            create_index: index,
            job_id: job.id.clone(),
            modify_index: index,
            namespace: job.namespace.clone(),
            summary: groups.map(|n| (n.clone(), TaskGroupSummary::default())).collect(),
        };
        self.put_summary(index, key, &mut summary)
    }

    fn put_submission(
        &mut self,
        index: u64,
        job: &Job,
        version: u64,
        submission: &JobSubmission,
    ) -> Result<(), StoreError> {
        let mut s = submission.clone();
        s.namespace.clone_from(&job.namespace);
        s.job_id.clone_from(&job.id);
        s.version = version;
        s.job_modify_index = index;
        let key = keys::submission(&job.namespace, &job.id, version);
        self.put(index, Table::JobSubmission, &key, RowHead::plain(index, index), &s)
    }

    /// Removes untagged versions beyond those kept; hides those that allocations still run.
    fn prune_versions(
        &mut self,
        index: u64,
        namespace: &str,
        id: &str,
        create: u64,
    ) -> Result<(), StoreError> {
        let mut prefix = keys::job_versions(namespace, id);
        prefix.extend_from_slice(&create.to_be_bytes());
        // The newest one is the job's own row.
        let newest = self.reader().row(Table::Job, &keys::job(namespace, id))?;
        let mut plain = usize::from(newest.is_some_and(|row| !row.job().tagged));
        let mut old = Vec::new();
        for pair in self.reader().scan(Table::JobVersion, &prefix, None, true)? {
            let (key, row) = pair?;
            let head = row.job();
            if head.hidden || head.tagged {
                continue;
            }
            plain += 1;
            if plain > VERSIONS {
                old.push((key.to_vec(), head.version));
            }
        }
        for (key, version) in old {
            self.drop_version(index, namespace, id, create, version, &key)?;
            let submission = keys::submission(namespace, id, version);
            self.delete(index, Table::JobSubmission, &submission)?;
        }
        Ok(())
    }

    /// Removes a version, or hides it while allocations run it.
    fn drop_version(
        &mut self,
        index: u64,
        namespace: &str,
        id: &str,
        create: u64,
        version: u64,
        key: &[u8],
    ) -> Result<(), StoreError> {
        if !self.version_used(namespace, id, create, version)? {
            self.delete(index, Table::JobVersion, key)?;
            return Ok(());
        }
        let Some(row) = self.reader().row(Table::JobVersion, key)? else { return Ok(()) };
        let facts = JobHead { hidden: true, ..row.job() };
        let head = RowHead { facts: Facts::Job(facts), ..row.head };
        let json = row.json.to_vec();
        self.put_json(index, Table::JobVersion, key, head, &json)
    }

    /// True where some allocation was placed from this version.
    pub(super) fn version_used(
        &self,
        namespace: &str,
        id: &str,
        create: u64,
        version: u64,
    ) -> Result<bool, StoreError> {
        let reader = self.reader();
        for alloc in reader.alloc_ids_by_job(namespace, id)? {
            if let Some(row) = reader.row(Table::Alloc, &alloc)? {
                let head = row.alloc();
                if head.job_create == create && head.job_version == version {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    pub(super) fn job_deregister(
        &mut self,
        index: u64,
        (namespace, id): (&str, &str),
        purge: bool,
        no_shutdown_delay: bool,
        eval: Option<&Evaluation>,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let key = keys::job(namespace, id);
        if !self.reader().has(Table::Job, &key)? {
            return Ok(Applied::Nothing);
        }
        let mut moves = Moves::default();
        let mut done = JobApplied {
            index,
            job_modify_index: index,
            eval_create_index: index,
            eval_id: String::new(),
        };
        if let Some(eval) = eval {
            self.job_eval(index, eval, index, &mut done, &mut moves)?;
        }
        if no_shutdown_delay {
            let wish =
                DesiredTransition { no_shutdown_delay: Some(true), ..DesiredTransition::default() };
            for alloc in self.reader().alloc_ids_by_job(namespace, id)? {
                self.transition(index, &alloc, &wish, wall_ns, true, &mut moves)?;
            }
        }
        if purge {
            self.remove_job(index, namespace, id, &mut moves)?;
        } else {
            self.stop_job(index, &key, (namespace, id), wall_ns, &mut moves)?;
        }
        self.settle(index, moves)?;
        Ok(Applied::Job(done))
    }

    fn stop_job(
        &mut self,
        index: u64,
        key: &[u8],
        (namespace, id): (&str, &str),
        wall_ns: i64,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let reader = self.reader();
        let Some(row) = reader.row(Table::Job, key)? else { return Ok(()) };
        let was = row.job();
        if was.stop {
            moves.job(namespace, id);
            return Ok(());
        }
        let mut facts = JobHead {
            stop: true,
            version: was.version + 1,
            job_modify: index,
            submit_time: wall_ns,
            tagged: false,
            ..was
        };
        facts.status = reader.derive_status(namespace, id, &facts, true)?;
        facts.registered = facts.status;
        let (head, json) = job_row(&row, index, facts)?;
        let json = patch(Table::Job, &json, &[("VersionTag", b"null")])?;
        if was.child
            && was.status != facts.status
            && let Some(parent) = typed::text(row.json, "ParentID")
        {
            moves.child(namespace, &parent, Some(was.status), Some(facts.status));
        }
        let create = row.create();
        let policies = scaling::policies(row.json)?;
        self.stop_policies(index, &policies)?;
        self.freeze_version(index, namespace, id, false)?;
        self.put_json(index, Table::Job, key, head, &json)?;
        self.touch(index, Table::JobVersion, key);
        self.patch_stub(key, head, &head_edits(&head, None))?;
        self.prune_versions(index, namespace, id, create)
    }

    /// Removes a job with all that hangs on it but its allocations, evaluations and deployments.
    pub(super) fn remove_job(
        &mut self,
        index: u64,
        namespace: &str,
        id: &str,
        moves: &mut Moves,
    ) -> Result<bool, StoreError> {
        let key = keys::job(namespace, id);
        let Some(row) = self.reader().row(Table::Job, &key)? else { return Ok(false) };
        if row.job().child
            && let Some(parent) = typed::text(row.json, "ParentID")
        {
            moves.child(namespace, &parent, Some(row.job().status), None);
        }
        let (create, version) = (row.create(), row.job().version);
        let policies = scaling::policies(row.json)?;
        if self.version_used(namespace, id, create, version)? {
            self.freeze_version(index, namespace, id, true)?;
        }
        self.delete(index, Table::Job, &key)?;
        self.drop_claims(index, namespace, id)?;
        self.touch(index, Table::JobVersion, &key);
        self.delete(index, Table::JobSummary, &key)?;
        self.delete(index, Table::PeriodicLaunch, &key)?;
        self.delete(index, Table::ScalingEvent, &key)?;
        for policy in policies {
            self.delete(index, Table::ScalingPolicy, &keys::name(&policy.id))?;
        }
        let versions = keys::job_versions(namespace, id);
        self.delete_all(index, Table::JobSubmission, &versions)?;
        let mut all = Vec::new();
        for pair in self.reader().scan(Table::JobVersion, &versions, None, false)? {
            let (key, row) = pair?;
            all.push((key.to_vec(), row.create(), row.job().version));
        }
        for (key, create, version) in all {
            self.drop_version(index, namespace, id, create, version, &key)?;
        }
        Ok(true)
    }

    pub(super) fn job_stability(
        &mut self,
        index: u64,
        (namespace, id): (&str, &str),
        version: u64,
        stable: bool,
    ) -> Result<Applied, StoreError> {
        let key = keys::job(namespace, id);
        let Some(row) = self.reader().row(Table::Job, &key)? else {
            return Ok(Applied::Refused(no_version(namespace, id, version)));
        };
        if row.job().version == version {
            if row.job().stable == stable {
                return Ok(Applied::Nothing);
            }
            let (head, json) = job_row(&row, index, JobHead { stable, ..row.job() })?;
            self.put_json(index, Table::Job, &key, head, &json)?;
            self.patch_stub(&key, head, &head_edits(&head, None))?;
            self.touch(index, Table::JobVersion, &key);
            return Ok(Applied::Done);
        }
        let at = keys::job_version(namespace, id, row.create(), version);
        let Some(row) = self.reader().row(Table::JobVersion, &at)?.filter(|r| !r.job().hidden)
        else {
            return Ok(Applied::Refused(no_version(namespace, id, version)));
        };
        if row.job().stable == stable {
            return Ok(Applied::Nothing);
        }
        let facts = Facts::Job(JobHead { stable, ..row.job() });
        let head = RowHead { modify: index, facts, ..row.head };
        let json = row.json.to_vec();
        self.put_json(index, Table::JobVersion, &at, head, &json)?;
        Ok(Applied::Done)
    }

    /// Sets or clears the tag of a version.
    pub(super) fn job_tag(
        &mut self,
        index: u64,
        (namespace, id): (&str, &str),
        version: u64,
        tag: Option<&JobVersionTag>,
    ) -> Result<Applied, StoreError> {
        let key = keys::job(namespace, id);
        let Some(row) = self.reader().row(Table::Job, &key)? else {
            return Ok(Applied::Refused(no_version(namespace, id, version)));
        };
        let newest = row.job().version == version;
        let at = keys::job_version(namespace, id, row.create(), version);
        let text = encode(&tag);
        let edits: [(&str, &[u8]); 1] = [("VersionTag", &text)];
        if newest {
            let facts = Facts::Job(JobHead { tagged: tag.is_some(), ..row.job() });
            let json = patch(Table::Job, row.json, &edits)?;
            let head = RowHead { facts, ..row.head };
            self.put_json(index, Table::Job, &key, head, &json)?;
            self.touch(index, Table::JobVersion, &key);
            return Ok(Applied::Done);
        }
        let Some(row) = self.reader().row(Table::JobVersion, &at)?.filter(|r| !r.job().hidden)
        else {
            return Ok(Applied::Refused(no_version(namespace, id, version)));
        };
        let facts = Facts::Job(JobHead { tagged: tag.is_some(), ..row.job() });
        let json = patch(Table::JobVersion, row.json, &edits)?;
        let head = RowHead { facts, ..row.head };
        self.put_json(index, Table::JobVersion, &at, head, &json)?;
        Ok(Applied::Done)
    }
}

/// When a child of a periodic job was launched, seconds since the epoch.
fn launched_at(job: &Job) -> Option<i64> {
    job.id.strip_prefix(&*job.parent_id)?.strip_prefix("/periodic-")?.parse().ok()
}

fn no_version(namespace: &str, id: &str, version: u64) -> ApiError {
    ApiError::failed(format!(
        "job {id:?} in namespace {namespace:?} at version {version} not found"
    ))
}

fn head_of(job: &Job) -> JobHead {
    if let Facts::Job(h) = job.head().facts { h } else { JobHead::default() }
}

/// The refusal of a registration that enforces an index.
fn enforced(want: u64, old: Option<Row<'_>>) -> Option<ApiError> {
    let why = match (want, old.map(|row| row.job().job_modify)) {
        (0, None) => return None,
        (0, Some(_)) => "job already exists".to_owned(),
        (_, None) => "job does not exist".to_owned(),
        (n, Some(have)) if n == have => return None,
        (_, Some(have)) => format!("job exists with conflicting job modify index: {have}"),
    };
    Some(ApiError::failed(format!("Enforcing job modify index {want}: {why}")))
}

/// True where two jobs are equal but for what the servers keep track of.
pub(super) fn same_spec(new: &[u8], old: &[u8]) -> Result<bool, StoreError> {
    const KEPT: [&str; 9] = [
        "CreateIndex",
        "JobModifyIndex",
        "ModifyIndex",
        "Stable",
        "Status",
        "StatusDescription",
        "SubmitTime",
        "Version",
        "VersionTag",
    ];
    let values = splice::fields(old, KEPT)
        .ok_or_else(|| StoreError::Damaged("a job's row lacks a member".to_owned()))?;
    let mut edits = [("", &b""[..]); KEPT.len()];
    for (slot, edit) in edits.iter_mut().zip(KEPT.into_iter().zip(values)) {
        *slot = edit;
    }
    Ok(patch(Table::Job, new, &edits)? == old)
}
