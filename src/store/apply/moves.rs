//! What a command does to jobs beside its own rows: counts of their summaries, and their status.
//!
//! Commands note moves while they run; `Batch::settle` then writes each summary and each job at
//! most once.

use crate::api::{JobChildrenSummary, JobSummary, TaskGroupSummary};
use crate::stdx::BTreeMap;
use crate::stdx::json::encode;
use crate::store::rows::{Client, Facts, JobHead, JobKind, JobStatus};
use crate::store::schema::{ix, keys};
use crate::store::{Batch, Reader, Row, RowHead, StoreError, Table, splice, typed};

/// Noted moves, by key of the job.
#[derive(Default)]
pub(super) struct Moves {
    jobs: BTreeMap<Vec<u8>, JobMoves>,
}

#[derive(Default)]
struct JobMoves {
    namespace: String,
    id: String,
    groups: BTreeMap<String, GroupMoves>,
    /// Pending, running, dead.
    children: [i64; 3],
}

#[derive(Default)]
struct GroupMoves {
    /// By [`Client`].
    counts: [i64; 7],
    placed: i64,
    queued: Option<i64>,
}

impl Moves {
    /// The job's status is to be looked at again.
    pub(super) fn job(&mut self, namespace: &str, id: &str) {
        self.of(namespace, id);
    }

    /// An allocation is new (`old` is none) or changed its client status.
    pub(super) fn alloc(
        &mut self,
        namespace: &str,
        job: &str,
        group: &str,
        old: Option<Client>,
        new: Client,
    ) {
        let g = self.of(namespace, job).groups.entry(group.to_owned()).or_default();
        match old {
            None => g.placed += 1,
            Some(old) => g.counts[old as usize] -= 1,
        }
        g.counts[new as usize] += 1;
    }

    /// How many allocations of a group wait for room, as an evaluation tells.
    pub(super) fn queued(&mut self, namespace: &str, job: &str, group: &str, count: i64) {
        let job = self.of(namespace, job);
        job.groups.entry(group.to_owned()).or_default().queued = Some(count);
    }

    /// A child of a job is new, changed its status or is gone.
    pub(super) fn child(
        &mut self,
        namespace: &str,
        parent: &str,
        old: Option<JobStatus>,
        new: Option<JobStatus>,
    ) {
        let children = &mut self.of(namespace, parent).children;
        for (status, step) in [(old, -1), (new, 1)] {
            if let Some(n) = status.and_then(|s| children.get_mut(s as usize)) {
                *n += step;
            }
        }
    }

    /// The job's row has just been written, with its status of now.
    pub(super) fn settled(&mut self, key: &[u8]) {
        if self.jobs.get(key).is_some_and(|j| j.groups.is_empty() && j.children == [0; 3]) {
            self.jobs.remove(key);
        }
    }

    fn of(&mut self, namespace: &str, id: &str) -> &mut JobMoves {
        self.jobs.entry(keys::job(namespace, id)).or_insert_with(|| JobMoves {
            namespace: namespace.to_owned(),
            id: id.to_owned(),
            ..JobMoves::default()
        })
    }
}

impl JobMoves {
    /// True where the summary is no longer what it was.
    fn change(&self, summary: &mut JobSummary) -> bool {
        let before = summary.clone();
        for (name, moves) in &self.groups {
            // Groups that the job no longer has are not counted.
            if let Some(g) = summary.summary.get_mut(name) {
                moves.change(g);
            }
        }
        if self.children != [0; 3] {
            let c = summary.children.get_or_insert_with(JobChildrenSummary::default);
            for (n, step) in
                [&mut c.pending, &mut c.running, &mut c.dead].iter_mut().zip(self.children)
            {
                **n = (**n + step).max(0);
            }
        }
        *summary != before
    }
}

impl GroupMoves {
    fn change(&self, g: &mut TaskGroupSummary) {
        g.queued = (g.queued - self.placed).max(0);
        if let Some(n) = self.queued {
            g.queued = n;
        }
        for (client, step) in [
            (Client::Pending, &mut g.starting),
            (Client::Running, &mut g.running),
            (Client::Complete, &mut g.complete),
            (Client::Failed, &mut g.failed),
            (Client::Lost, &mut g.lost),
            (Client::Unknown, &mut g.unknown),
        ]
        .into_iter()
        .map(|(c, n)| (self.counts[c as usize], n))
        {
            *step = (*step + client).max(0);
        }
    }
}

impl Batch<'_> {
    /// Writes what the moves come to: summaries, statuses, and both in the list stubs.
    pub(super) fn settle(&mut self, index: u64, mut moves: Moves) -> Result<(), StoreError> {
        // Parents are looked at after their children have told them.
        while let Some((key, job)) = moves.jobs.pop_last() {
            self.settle_job(index, &key, &job, &mut moves)?;
        }
        Ok(())
    }

    fn settle_job(
        &mut self,
        index: u64,
        key: &[u8],
        job: &JobMoves,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let reader = self.reader();
        let Some(row) = reader.row(Table::Job, key)? else { return Ok(()) };
        let mut head = row.head;
        let facts = row.job();
        let status = reader.derive_status(&job.namespace, &job.id, &facts, true)?;
        let mut json = None;
        if status != facts.status {
            let text = format!("\"{}\"", status.text());
            json = Some(patch(
                Table::Job,
                row.json,
                &[("ModifyIndex", index.to_string().as_bytes()), ("Status", text.as_bytes())],
            )?);
            head =
                RowHead { modify: index, facts: Facts::Job(JobHead { status, ..facts }), ..head };
            if facts.child
                && let Some(parent) = typed::text(row.json, "ParentID")
            {
                moves.child(&job.namespace, &parent, Some(facts.status), Some(status));
            }
        }
        let summary = self.settle_summary(index, key, job)?;
        if json.is_none() && summary.is_none() {
            return Ok(());
        }
        self.patch_stub(key, head, &head_edits(&head, summary.as_deref()))?;
        if let Some(json) = json {
            self.put_json(index, Table::Job, key, head, &json)?;
        }
        Ok(())
    }

    /// The summary's new JSON, where it changed.
    fn settle_summary(
        &mut self,
        index: u64,
        key: &[u8],
        job: &JobMoves,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if job.groups.is_empty() && job.children == [0; 3] {
            return Ok(None);
        }
        let Some(row) = self.reader().row(Table::JobSummary, key)? else { return Ok(None) };
        let mut summary: JobSummary = typed::decode(Table::JobSummary, row.json)?;
        if !job.change(&mut summary) {
            return Ok(None);
        }
        self.put_summary(index, key, &mut summary).map(Some)
    }

    /// Stores a summary as changed by `index`; its JSON.
    pub(super) fn put_summary(
        &mut self,
        index: u64,
        key: &[u8],
        summary: &mut JobSummary,
    ) -> Result<Vec<u8>, StoreError> {
        summary.modify_index = index;
        let json = encode(summary);
        let head = RowHead::plain(summary.create_index, index);
        self.put_json(index, Table::JobSummary, key, head, &json)?;
        Ok(json)
    }

    /// Sets members of a job's list stub, which gets the job's new head.
    pub(super) fn patch_stub(
        &mut self,
        key: &[u8],
        head: RowHead,
        edits: &[(&str, Vec<u8>)],
    ) -> Result<(), StoreError> {
        let Some(stub) = self.reader().stub(Table::Job, key)? else { return Ok(()) };
        let edits: Vec<(&str, &[u8])> = edits.iter().map(|(n, v)| (*n, v.as_slice())).collect();
        let json = patch(Table::Job, stub.json, &edits)?;
        self.put_stub_json(Table::Job, key, head, &json)
    }

    /// Counts all summaries again from the allocations; what waits stays as it is.
    pub(super) fn reconcile_summaries(&mut self, index: u64) -> Result<bool, StoreError> {
        let mut jobs = Vec::new();
        for pair in self.reader().scan(Table::JobSummary, &[], None, false)? {
            let (key, row) = pair?;
            let summary: JobSummary = typed::decode(Table::JobSummary, row.json)?;
            jobs.push((key.to_vec(), summary));
        }
        let mut changed = false;
        for (key, mut summary) in jobs {
            let before = summary.clone();
            for g in summary.summary.values_mut() {
                *g = TaskGroupSummary { queued: g.queued, ..TaskGroupSummary::default() };
            }
            let mut counts: BTreeMap<String, GroupMoves> = BTreeMap::new();
            let reader = self.reader();
            for id in reader.alloc_ids_by_job(&summary.namespace, &summary.job_id)? {
                let Some(row) = reader.row(Table::Alloc, &id)? else { continue };
                let group = typed::text(row.json, "TaskGroup").unwrap_or_default();
                counts.entry(group).or_default().counts[row.alloc().client as usize] += 1;
            }
            for (name, moves) in counts {
                if let Some(g) = summary.summary.get_mut(&name) {
                    moves.change(g);
                }
            }
            if summary != before {
                changed = true;
                let json = self.put_summary(index, &key, &mut summary)?;
                if let Some(row) = self.reader().row(Table::Job, &key)? {
                    let head = row.head;
                    self.patch_stub(&key, head, &head_edits(&head, Some(&json)))?;
                }
            }
        }
        Ok(changed)
    }
}

/// The members of a job's stub that follow its head, with its summary where that changed.
pub(super) fn head_edits(head: &RowHead, summary: Option<&[u8]>) -> Vec<(&'static str, Vec<u8>)> {
    let mut edits = Vec::with_capacity(6);
    let Facts::Job(job) = head.facts else { return edits };
    edits.push(("JobModifyIndex", job.job_modify.to_string().into_bytes()));
    if let Some(s) = summary {
        edits.push(("JobSummary", s.to_vec()));
    }
    edits.push(("ModifyIndex", head.modify.to_string().into_bytes()));
    edits.push(("Status", format!("\"{}\"", job.status.text()).into_bytes()));
    edits.push(("Stop", job.stop.to_string().into_bytes()));
    edits.push(("SubmitTime", job.submit_time.to_string().into_bytes()));
    edits
}

/// [`splice::patch`] of a row's JSON.
pub(super) fn patch(
    table: Table,
    json: &[u8],
    edits: &[(&str, &[u8])],
) -> Result<Vec<u8>, StoreError> {
    splice::patch(json, edits)
        .ok_or_else(|| StoreError::Damaged(format!("a row of {} is no object", table.name())))
}

impl Reader<'_> {
    /// The status that follows from what a job has: `evaluated` tells that it was looked at
    /// before, which its evaluations may be too old to show.
    pub(super) fn derive_status(
        &self,
        namespace: &str,
        id: &str,
        job: &JobHead,
        evaluated: bool,
    ) -> Result<JobStatus, StoreError> {
        if job.kind == JobKind::System || job.periodic || job.parameterized {
            return Ok(if job.stop { JobStatus::Dead } else { JobStatus::Running });
        }
        let live = |kind: u8| {
            let mut prefix = ix::job_prefix(kind, namespace, id);
            prefix.push(0);
            self.any(&prefix)
        };
        if live(ix::ALLOC_JOB)? || live(ix::DEPLOYMENT_JOB)? {
            return Ok(JobStatus::Running);
        }
        if live(ix::EVAL_JOB)? {
            return Ok(JobStatus::Pending);
        }
        let before = evaluated && matches!(job.status, JobStatus::Running | JobStatus::Dead);
        let dead = job.stop || before || self.any(&ix::job_prefix(ix::EVAL_JOB, namespace, id))?;
        Ok(if dead { JobStatus::Dead } else { JobStatus::Pending })
    }
}

/// Head and JSON of a job row with some members and facts changed.
pub(super) fn job_row(
    row: &Row<'_>,
    modify: u64,
    facts: JobHead,
) -> Result<(RowHead, Vec<u8>), StoreError> {
    let head = RowHead { create: row.create(), modify, facts: Facts::Job(facts) };
    let json = patch(
        Table::Job,
        row.json,
        &[
            ("JobModifyIndex", facts.job_modify.to_string().as_bytes()),
            ("ModifyIndex", modify.to_string().as_bytes()),
            ("Stable", facts.stable.to_string().as_bytes()),
            ("Status", format!("\"{}\"", facts.status.text()).as_bytes()),
            ("Stop", facts.stop.to_string().as_bytes()),
            ("SubmitTime", facts.submit_time.to_string().as_bytes()),
            ("Version", facts.version.to_string().as_bytes()),
        ],
    )?;
    Ok((head, json))
}
