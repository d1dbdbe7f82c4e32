//! Reads that decode: rows as the objects of the API.

use std::borrow::Cow;
use std::rc::Rc;

use crate::stdx::json::Decode;
use crate::stdx::{BTreeMap, same_secret};

use super::reader::{Reader, must};
use super::rows::{AllocHead, Row};
use super::schema::{ix, keys};
use super::{StoreError, Table, splice};
use crate::api::{
    ALLOC_LINE, AclToken, Allocation, Deployment, Evaluation, Job, JobSubmission, JobSummary,
    Namespace, Node, NodePool, OneTimeToken, RootKey, SchedulerConfiguration, Variable, status,
};

/// Key of the scheduler's configuration in [`Table::Operator`].
pub const SCHEDULER: &str = "scheduler";
/// What the keys of root keys begin with in [`Table::Operator`]; their id follows.
pub const KEYRING: &str = "keyring/";

/// Key of the row in [`Table::Operator`] that says when access control was set up.
pub const BOOTSTRAP: &str = "acl-bootstrap";

/// The one place where rows become values.
pub(super) fn decode<T: Decode + Default>(table: Table, json: &[u8]) -> Result<T, StoreError> {
    crate::stdx::json::decode(json)
        .map_err(|e| StoreError::Damaged(format!("a row of {}: {e}", table.name())))
}

/// Every job version that one read has decoded, by `CreateIndex` and version.
type Versions = BTreeMap<(u64, u64), Option<Rc<Job>>>;

impl<'t> Reader<'t> {
    fn get<T: Decode + Default>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        self.row(table, key)?.map(|row| decode(table, row.json)).transpose()
    }

    fn get_id<T: Decode + Default>(&self, table: Table, id: &str) -> Result<Option<T>, StoreError> {
        keys::by_uuid(id).map_or(Ok(None), |key| self.get(table, &key))
    }

    fn get_ids<T: Decode + Default>(
        &self,
        table: Table,
        prefix: &[u8],
    ) -> Result<Vec<T>, StoreError> {
        let mut ids = self.ids(prefix)?;
        ids.sort_unstable();
        ids.iter().map(|id| decode(table, must(self.row(table, id)?, table)?.json)).collect()
    }

    pub fn job(&self, namespace: &str, id: &str) -> Result<Option<Job>, StoreError> {
        self.get(Table::Job, &keys::job(namespace, id))
    }

    pub fn job_summary(&self, namespace: &str, id: &str) -> Result<Option<JobSummary>, StoreError> {
        self.get(Table::JobSummary, &keys::job(namespace, id))
    }

    pub fn job_submission(
        &self,
        namespace: &str,
        id: &str,
        version: u64,
    ) -> Result<Option<JobSubmission>, StoreError> {
        self.get(Table::JobSubmission, &keys::submission(namespace, id, version))
    }

    /// When a periodic job was last launched, seconds since the epoch.
    pub fn last_launch(&self, namespace: &str, id: &str) -> Result<Option<i64>, StoreError> {
        self.get(Table::PeriodicLaunch, &keys::job(namespace, id))
    }

    /// A version as it was registered, also one that is no longer listed but still runs.
    pub fn job_version(
        &self,
        namespace: &str,
        id: &str,
        create_index: u64,
        version: u64,
    ) -> Result<Option<Job>, StoreError> {
        self.version_json(namespace, id, create_index, version)?
            .map(|json| decode(Table::JobVersion, &json))
            .transpose()
    }

    /// The newest version lies in the job's own row, older ones have rows of theirs.
    fn version_json(
        &self,
        namespace: &str,
        id: &str,
        create_index: u64,
        version: u64,
    ) -> Result<Option<Cow<'t, [u8]>>, StoreError> {
        if let Some(row) = self.row(Table::Job, &keys::job(namespace, id))?
            && (row.create(), row.job().version) == (create_index, version)
        {
            return Ok(Some(as_registered(&row)?));
        }
        let key = keys::job_version(namespace, id, create_index, version);
        Ok(self.row(Table::JobVersion, &key)?.map(|row| Cow::Borrowed(row.json)))
    }

    /// The listed versions of a job, newest first, with their status and stability of today.
    pub fn job_versions(&self, namespace: &str, id: &str) -> Result<Vec<Job>, StoreError> {
        self.job_versions_json(namespace, id)?
            .iter()
            .map(|json| decode(Table::JobVersion, json))
            .collect()
    }

    /// [`Self::job_versions`] as the JSON of each.
    pub fn job_versions_json(&self, namespace: &str, id: &str) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut out = Vec::new();
        let Some(newest) = self.row(Table::Job, &keys::job(namespace, id))? else {
            return Ok(out);
        };
        let mut prefix = keys::job_versions(namespace, id);
        prefix.extend_from_slice(&newest.create().to_be_bytes());
        out.push(newest.json.to_vec());
        for pair in self.scan(Table::JobVersion, &prefix, None, true)? {
            let (_, row) = pair?;
            if !row.job().hidden {
                out.push(current(&row)?);
            }
        }
        Ok(out)
    }

    /// An allocation without its job.
    pub fn alloc(&self, id: &str) -> Result<Option<Allocation>, StoreError> {
        let Some(key) = keys::by_uuid(id) else { return Ok(None) };
        self.row(Table::Alloc, &key)?.map(|row| alloc(&row)).transpose()
    }

    /// An allocation with the job version that it runs.
    pub fn alloc_with_job(&self, id: &str) -> Result<Option<Allocation>, StoreError> {
        let Some(mut a) = self.alloc(id)? else { return Ok(None) };
        self.set_job(&mut a, &mut Versions::new())?;
        Ok(Some(a))
    }

    /// All allocations of a job id, of earlier incarnations too, with their jobs, by id.
    pub fn allocs_by_job(&self, namespace: &str, id: &str) -> Result<Vec<Allocation>, StoreError> {
        self.allocs(&ix::job_prefix(ix::ALLOC_JOB, namespace, id))
    }

    /// All allocations of a node that are known, with their jobs, by id.
    pub fn allocs_by_node(&self, node_id: &str) -> Result<Vec<Allocation>, StoreError> {
        let Some(node) = keys::by_uuid(node_id) else { return Ok(Vec::new()) };
        self.allocs(&ix::node_prefix(&node))
    }

    /// The allocations that an evaluation placed or updated, with their jobs, by id.
    pub fn allocs_by_eval(&self, eval_id: &str) -> Result<Vec<Allocation>, StoreError> {
        let Some(key) = keys::by_uuid(eval_id) else { return Ok(Vec::new()) };
        let Some(eval) = self.eval(eval_id)? else { return Ok(Vec::new()) };
        let mut ids = self.alloc_ids_by_job(&eval.namespace, &eval.job_id)?;
        let mut out = Vec::new();
        let mut versions = Versions::new();
        ids.sort_unstable();
        for id in ids {
            let row = must(self.row(Table::Alloc, &id)?, Table::Alloc)?;
            if row.alloc().eval == key {
                let mut a = alloc(&row)?;
                self.set_job(&mut a, &mut versions)?;
                out.push(a);
            }
        }
        Ok(out)
    }

    /// The keys of all allocations of a job, in order.
    pub fn alloc_ids_by_job(&self, namespace: &str, id: &str) -> Result<Vec<[u8; 16]>, StoreError> {
        let mut ids = self.ids(&ix::job_prefix(ix::ALLOC_JOB, namespace, id))?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The keys of all allocations of a node, in order.
    pub fn alloc_ids_by_node(&self, node_id: &str) -> Result<Vec<[u8; 16]>, StoreError> {
        let Some(node) = keys::by_uuid(node_id) else { return Ok(Vec::new()) };
        let mut ids = self.ids(&ix::node_prefix(&node))?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The keys of the registrations of an allocation's services, in order.
    pub fn service_keys(&self, alloc: &[u8; 16]) -> Result<Vec<Vec<u8>>, StoreError> {
        let prefix = ix::services_of(alloc);
        let mut out = Vec::new();
        for pair in self.index_keys(&prefix, None, false)? {
            out.push(pair?.0.get(prefix.len()..).unwrap_or_default().to_vec());
        }
        Ok(out)
    }

    fn allocs(&self, prefix: &[u8]) -> Result<Vec<Allocation>, StoreError> {
        let mut ids = self.ids(prefix)?;
        ids.sort_unstable();
        let mut versions = Versions::new();
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            let mut a = alloc(&must(self.row(Table::Alloc, &id)?, Table::Alloc)?)?;
            self.set_job(&mut a, &mut versions)?;
            out.push(a);
        }
        Ok(out)
    }

    fn set_job(&self, a: &mut Allocation, versions: &mut Versions) -> Result<(), StoreError> {
        let at = (a.job_create_index, a.job_version);
        // One read may span jobs; a version is only reused for its own.
        if let Some(known) = versions.get(&at)
            && known.as_ref().is_some_and(|j| j.id == a.job_id && j.namespace == a.namespace)
        {
            a.job.clone_from(known);
            return Ok(());
        }
        let job = self.job_version(&a.namespace, &a.job_id, at.0, at.1)?.map(Rc::new);
        a.job.clone_from(&job);
        versions.insert(at, job);
        Ok(())
    }

    /// An allocation as a GET returns it: `row` with the job version that it runs in its sorted
    /// place. Without `Job` where the version is gone.
    pub fn alloc_json_with_job(&self, row: &Row<'_>, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let head = row.alloc();
        let bad = || StoreError::Damaged("an allocation's row".to_owned());
        let job = match (text(row.json, "Namespace"), text(row.json, "JobID")) {
            (Some(namespace), Some(id)) => {
                self.version_json(&namespace, &id, head.job_create, head.job_version)?
            }
            _ => None,
        };
        let at = usize::try_from(head.splice).map_err(|_| bad())?;
        let (front, back) = row.json.split_at_checked(at).ok_or_else(bad)?;
        out.reserve(row.json.len() + job.as_ref().map_or(0, |j| j.len()) + 8);
        out.extend_from_slice(front);
        if let Some(job) = job {
            out.extend_from_slice(b"\"Job\":");
            out.extend_from_slice(&job);
            out.push(b',');
        }
        out.extend_from_slice(back);
        Ok(())
    }

    /// The line of an allocation in lists, made of its row.
    pub fn alloc_line(
        &self,
        row: &Row<'_>,
        resources: bool,
        task_states: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let head = row.alloc();
        let kind = format!("\"{}\"", head.kind.text());
        let version = head.job_version.to_string();
        let edits: [(&str, &[u8]); 4] = [
            ("AllocatedResources", b""),
            ("JobType", kind.as_bytes()),
            ("JobVersion", version.as_bytes()),
            ("TaskStates", b"null"),
        ];
        let edits = &edits[usize::from(resources)..if task_states { 3 } else { 4 }];
        splice::project(row.json, &ALLOC_LINE, edits, out)
            .ok_or_else(|| StoreError::Damaged("an allocation's row".to_owned()))
    }

    pub fn evals_by_job(&self, namespace: &str, id: &str) -> Result<Vec<Evaluation>, StoreError> {
        self.get_ids(Table::Eval, &ix::job_prefix(ix::EVAL_JOB, namespace, id))
    }

    /// Evaluations that are pending or blocked, of all jobs; what a new leader begins with.
    pub fn live_evals(&self) -> Result<Vec<Evaluation>, StoreError> {
        let mut out = Vec::new();
        for pair in self.scan(Table::Eval, &[], None, false)? {
            let (_, row) = pair?;
            if !row.eval().status.terminal() {
                out.push(decode(Table::Eval, row.json)?);
            }
        }
        Ok(out)
    }

    /// The deployments of a job id, by id.
    pub fn deployments_by_job(
        &self,
        namespace: &str,
        id: &str,
    ) -> Result<Vec<Deployment>, StoreError> {
        self.get_ids(Table::Deployment, &ix::job_prefix(ix::DEPLOYMENT_JOB, namespace, id))
    }

    /// The deployment of a job id with the highest `CreateIndex`.
    pub fn deployment_latest(
        &self,
        namespace: &str,
        id: &str,
    ) -> Result<Option<Deployment>, StoreError> {
        let mut best: Option<Row<'t>> = None;
        for id in self.ids(&ix::job_prefix(ix::DEPLOYMENT_JOB, namespace, id))? {
            let row = must(self.row(Table::Deployment, &id)?, Table::Deployment)?;
            if best.is_none_or(|b| b.create() < row.create()) {
                best = Some(row);
            }
        }
        best.map(|row| decode(Table::Deployment, row.json)).transpose()
    }

    pub fn deployment(&self, id: &str) -> Result<Option<Deployment>, StoreError> {
        self.get_id(Table::Deployment, id)
    }

    pub fn eval(&self, id: &str) -> Result<Option<Evaluation>, StoreError> {
        self.get_id(Table::Eval, id)
    }

    pub fn node(&self, id: &str) -> Result<Option<Node>, StoreError> {
        self.get_id(Table::Node, id)
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let mut out = Vec::new();
        for pair in self.scan(Table::Node, &[], None, false)? {
            out.push(decode(Table::Node, pair?.1.json)?);
        }
        Ok(out)
    }

    /// The live child of a template that was dispatched with this token. Without a token there is
    /// none.
    pub fn dispatched(
        &self,
        namespace: &str,
        parent: &str,
        token: &str,
    ) -> Result<Option<Job>, StoreError> {
        let prefix = keys::job(namespace, &format!("{parent}/dispatch-"));
        if token.is_empty() {
            return Ok(None);
        }
        for pair in self.scan(Table::Job, &prefix, None, false)? {
            let (_, row) = pair?;
            let live = row.job().child && row.job().status.text() != status::JOB_DEAD;
            if live && text(row.json, "DispatchIdempotencyToken").is_some_and(|t| t == token) {
                return decode(Table::Job, row.json).map(Some);
            }
        }
        Ok(None)
    }

    pub fn variable(&self, namespace: &str, path: &str) -> Result<Option<Variable>, StoreError> {
        self.get(Table::Variable, &keys::variable(namespace, path))
    }

    pub fn namespace(&self, name: &str) -> Result<Option<Rc<Namespace>>, StoreError> {
        let read = || self.get(Table::Namespace, &keys::name(name));
        match self.memo {
            Some(memo) => memo.namespaces.get(self.table_index(Table::Namespace), name, read),
            None => Ok(read()?.map(Rc::new)),
        }
    }

    pub fn node_pool(&self, name: &str) -> Result<Option<NodePool>, StoreError> {
        self.get(Table::NodePool, &keys::name(name))
    }

    /// Defaults (all zero) before the first leader has written it.
    pub fn scheduler_config(&self) -> Result<Rc<SchedulerConfiguration>, StoreError> {
        let read = || self.get(Table::Operator, &keys::name(SCHEDULER));
        let config = match self.memo {
            Some(memo) => memo.scheduler.get(self.table_index(Table::Operator), "", read)?,
            None => read()?.map(Rc::new),
        };
        Ok(config.unwrap_or_default())
    }

    /// Key of the row of the token that has a secret.
    pub(super) fn token_key(&self, secret: &str) -> Result<Option<&'t [u8]>, StoreError> {
        Ok(self.dbs.ix.get(self.txn, &ix::token_secret(secret))?)
    }

    /// The token that has a secret. It is found by a digest; whether the secret is the right one
    /// is then compared in a time that does not depend on where it differs.
    pub fn token_by_secret(&self, secret: &str) -> Result<Option<AclToken>, StoreError> {
        let Some(key) = self.token_key(secret)? else { return Ok(None) };
        let token: Option<AclToken> = self.get(Table::Token, key)?;
        Ok(token.filter(|t| same_secret(&t.secret_id, secret)))
    }

    /// What stands for a token once. The caller compares the secret.
    pub fn one_time_token(&self, secret: &str) -> Result<Option<OneTimeToken>, StoreError> {
        self.get(Table::OneTimeToken, &keys::secret(secret))
    }

    /// A row of one of the tables of access control, by the text of its key.
    pub fn acl_row<T: Decode + Default>(
        &self,
        table: Table,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        self.get(table, &keys::name(name))
    }

    /// All rows of a table of access control, in the order of their keys.
    pub fn acl_rows<T: Decode + Default>(&self, table: Table) -> Result<Vec<T>, StoreError> {
        self.scan(table, &[], None, false)?.map(|pair| decode(table, pair?.1.json)).collect()
    }

    /// The keys that sign workload identities, by id.
    pub fn root_keys(&self) -> Result<Vec<RootKey>, StoreError> {
        self.scan(Table::Operator, KEYRING.as_bytes(), None, false)?
            .map(|pair| decode(Table::Operator, pair?.1.json))
            .collect()
    }

    /// Id of the key that signs now; `None` before the first leader has written it.
    pub fn signing_key(&self) -> Result<Option<String>, StoreError> {
        for pair in self.scan(Table::Operator, KEYRING.as_bytes(), None, false)? {
            let (_, row) = pair?;
            let meta = splice::field(row.json, "Meta").unwrap_or_default();
            if text(meta, "State").is_some_and(|s| s == status::KEY_ACTIVE) {
                return Ok(text(meta, "KeyID"));
            }
        }
        Ok(None)
    }
}

/// Decodes an allocation; what its JSON leaves out comes from the head.
pub(super) fn alloc(row: &Row<'_>) -> Result<Allocation, StoreError> {
    let mut a: Allocation = decode(Table::Alloc, row.json)?;
    let AllocHead { job_version, job_create, .. } = row.alloc();
    a.job_version = job_version;
    a.job_create_index = job_create;
    Ok(a)
}

/// The JSON of a job's row as it was when its version was registered.
pub(super) fn as_registered<'t>(row: &Row<'t>) -> Result<Cow<'t, [u8]>, StoreError> {
    let head = row.job();
    if row.modify() == head.job_modify {
        return Ok(Cow::Borrowed(row.json));
    }
    let modify = head.job_modify.to_string();
    let status = format!("\"{}\"", head.registered.text());
    splice::patch(
        row.json,
        &[("ModifyIndex", modify.as_bytes()), ("Stable", b"false"), ("Status", status.as_bytes())],
    )
    .map(Cow::Owned)
    .ok_or_else(|| StoreError::Damaged("a job's row".to_owned()))
}

/// An older version's JSON with what its head knows better.
fn current(row: &Row<'_>) -> Result<Vec<u8>, StoreError> {
    let head = row.job();
    let modify = row.modify().to_string();
    let status = format!("\"{}\"", head.status.text());
    let stable = if head.stable { "true" } else { "false" };
    splice::patch(
        row.json,
        &[
            ("ModifyIndex", modify.as_bytes()),
            ("Stable", stable.as_bytes()),
            ("Status", status.as_bytes()),
        ],
    )
    .ok_or_else(|| StoreError::Damaged("a job version's row".to_owned()))
}

/// A member that is a string.
pub(super) fn text(json: &[u8], name: &str) -> Option<String> {
    crate::stdx::json::decode(splice::field(json, name)?).ok()
}
