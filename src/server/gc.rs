//! What may be removed: finished evaluations with their allocations, dead jobs, deployments that
//! are over, nodes that are gone.
//!
//! A collection runs in small steps, each over the state as it is then: the leader proposes what a
//! step found, and takes the next one when that is applied. Jobs go first and nodes last, because a
//! node can only go when nothing is left of what ran on it.

use crate::api::{AclToken, Evaluation, OneTimeToken, status};
use crate::command::Command;
use crate::server::keyring::key_in_use;
use crate::stdx::{BTreeMap, json};
use crate::store::rows::{AllocHead, Client, Desired, JobKind, JobStatus, NodeStatus};
use crate::store::{KEYRING, Reader, Row, StoreError, Table, keys, splice};

const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

/// Time between two collections, in nanoseconds.
pub const INTERVAL_NS: u64 = 5 * MINUTE.cast_unsigned();
/// Rows that one step looks at, at most.
const STEP_ROWS: usize = 1000;
/// Rows that one step removes, roughly at most. A job or evaluation goes whole.
const STEP_IDS: usize = 500;

/// How long something must be over before it is removed, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    pub eval: i64,
    /// Evaluations of batch jobs.
    pub batch_eval: i64,
    pub job: i64,
    pub deployment: i64,
    pub node: i64,
    /// Root keys, after the next one took over.
    pub key: i64,
    /// Tokens, after their end.
    pub token: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            eval: HOUR,
            batch_eval: 24 * HOUR,
            job: 4 * HOUR,
            deployment: HOUR,
            node: 24 * HOUR,
            key: HOUR,
            token: HOUR,
        }
    }
}

impl Thresholds {
    /// Everything that is over, however short ago: what an operator asks for.
    pub const FORCE: Self =
        Self { eval: 0, batch_eval: 0, job: 0, deployment: 0, node: 0, key: 0, token: 0 };
}

/// Looks at one row and notes what may go with it.
type Look = fn(&mut Pass<'_>, &[u8], &Row<'_>) -> Result<(), StoreError>;

/// What a collection goes through, in this order.
const STAGES: [(Table, Look); 7] = [
    (Table::Job, job),
    (Table::Eval, eval),
    (Table::Deployment, deployment),
    (Table::Node, node),
    (Table::Operator, root_key),
    (Table::Token, token),
    (Table::OneTimeToken, one_time_token),
];

/// What a step came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// To be proposed; the next step must see it applied.
    Reap(Box<Command>),
    /// Nothing among the rows of this step.
    More,
    /// All tables were looked at.
    Done,
}

/// One collection, from the first job to the last node.
#[derive(Debug)]
pub struct Collection {
    thresholds: Thresholds,
    /// Which of [`STAGES`]; past the last one: done.
    stage: usize,
    /// Key to go on from.
    from: Vec<u8>,
}

/// Ids found by a step.
#[derive(Default)]
struct Found {
    evals: Vec<String>,
    allocs: Vec<String>,
    deployments: Vec<String>,
    jobs: Vec<(String, String)>,
    nodes: Vec<String>,
    /// Of root keys or tokens.
    keys: Vec<String>,
}

impl Found {
    fn len(&self) -> usize {
        self.evals.len()
            + self.allocs.len()
            + self.deployments.len()
            + self.jobs.len()
            + self.nodes.len()
            + self.keys.len()
    }
}

/// The allocations of a job with the evaluation that each came from.
type Allocs = Vec<([u8; 16], AllocHead)>;

/// One step: the state that it looks at, and what it found.
struct Pass<'r> {
    reader: Reader<'r>,
    wall_ns: i64,
    thresholds: Thresholds,
    /// By job, read once per step.
    allocs: BTreeMap<(String, String), Allocs>,
    found: Found,
}

impl Collection {
    pub fn new(thresholds: Thresholds) -> Self {
        Self { thresholds, stage: 0, from: Vec::new() }
    }

    /// Looks at the next rows. `wall_ns`: nanoseconds since the epoch.
    pub fn step(&mut self, reader: Reader<'_>, wall_ns: i64) -> Result<Progress, StoreError> {
        let Some((table, look)) = STAGES.get(self.stage) else { return Ok(Progress::Done) };
        let (allocs, found) = (BTreeMap::new(), Found::default());
        let mut pass = Pass { reader, wall_ns, thresholds: self.thresholds, allocs, found };
        let mut end = true;
        let scan = reader.scan(*table, &[], Some(&self.from), false)?;
        for (rows, pair) in scan.enumerate() {
            let (key, row) = pair?;
            if rows == STEP_ROWS || pass.found.len() >= STEP_IDS {
                self.from = key.to_vec();
                end = false;
                break;
            }
            look(&mut pass, key, &row)?;
        }
        if end {
            self.stage += 1;
            self.from.clear();
        }
        if pass.found.len() > 0 {
            let Found { evals, allocs, deployments, jobs, nodes, keys: ids } = pass.found;
            // Keys and tokens have stages of their own, so nothing else was found beside them.
            let command = match table {
                Table::Operator => Command::RootKeyDelete { ids },
                Table::Token | Table::OneTimeToken => {
                    Command::AclDelete { table: table.name().to_owned(), ids }
                }
                _ => Command::Reap { evals, allocs, deployments, jobs, nodes },
            };
            return Ok(Progress::Reap(Box::new(command)));
        }
        Ok(if self.stage == STAGES.len() { Progress::Done } else { Progress::More })
    }
}

/// A member of a row's JSON; missing members are zero and are left out.
fn number(row: &Row<'_>, name: &str) -> i64 {
    splice::number(row.json, name).unwrap_or(0)
}

fn text(row: &Row<'_>, name: &str) -> String {
    let field = splice::field(row.json, name);
    field.and_then(|json| json::decode(json).ok()).unwrap_or_default()
}

fn alloc_rows<'t>(
    reader: Reader<'t>,
    ids: &[[u8; 16]],
) -> Result<Vec<([u8; 16], Row<'t>)>, StoreError> {
    let mut out = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(row) = reader.row(Table::Alloc, id)? {
            out.push((*id, row));
        }
    }
    Ok(out)
}

/// Jobs that ended and were not told to stay: stopped ones, and batch jobs that ran.
fn job(pass: &mut Pass<'_>, key: &[u8], row: &Row<'_>) -> Result<(), StoreError> {
    let (reader, cutoff) = (pass.reader, pass.wall_ns - pass.thresholds.job);
    let found = &mut pass.found;
    let head = row.job();
    let once = matches!(head.kind, JobKind::Batch | JobKind::Sysbatch)
        && !head.periodic
        && !head.parameterized;
    let kept = head.tagged || !(head.stop || once);
    if head.status != JobStatus::Dead || kept || head.submit_time > cutoff {
        return Ok(());
    }
    let Some((namespace, id)) = keys::split(key) else { return Ok(()) };
    for pair in reader.scan(Table::JobVersion, &keys::job_versions(namespace, id), None, false)? {
        if pair?.1.job().tagged {
            return Ok(());
        }
    }
    let evals = reader.evals_by_job(namespace, id)?;
    if evals.iter().any(|e| !over(e) || e.modify_time > cutoff) {
        return Ok(());
    }
    let allocs = alloc_rows(reader, &reader.alloc_ids_by_job(namespace, id)?)?;
    let stays = |(_, row): &([u8; 16], Row<'_>)| {
        let head = row.alloc();
        !head.terminal() || head.client == Client::Running || number(row, "ModifyTime") > cutoff
    };
    if allocs.iter().any(stays) {
        return Ok(());
    }
    found.evals.extend(evals.into_iter().map(|e| e.id));
    found.allocs.extend(allocs.iter().map(|(id, _)| keys::uuid_text(id)));
    let deployments = reader.deployments_by_job(namespace, id)?;
    found.deployments.extend(deployments.into_iter().map(|d| d.id));
    found.jobs.push((namespace.to_owned(), id.to_owned()));
    Ok(())
}

/// Tokens whose time has been over for long.
fn token(pass: &mut Pass<'_>, _: &[u8], row: &Row<'_>) -> Result<(), StoreError> {
    let Ok(token) = json::decode::<AclToken>(row.json) else { return Ok(()) };
    if token.is_expired(pass.wall_ns.saturating_sub(pass.thresholds.token)) {
        pass.found.keys.push(token.accessor_id);
    }
    Ok(())
}

/// Those that nobody has exchanged in time.
fn one_time_token(pass: &mut Pass<'_>, _: &[u8], row: &Row<'_>) -> Result<(), StoreError> {
    let Ok(token) = json::decode::<OneTimeToken>(row.json) else { return Ok(()) };
    if token.expires_at.0 <= pass.wall_ns {
        pass.found.keys.push(token.one_time_secret_id);
    }
    Ok(())
}

fn over(eval: &Evaluation) -> bool {
    crate::store::rows::EvalStatus::of(&eval.status).terminal()
}

/// Evaluations that ended, with the allocations that they led to, if all of those may go.
fn eval(pass: &mut Pass<'_>, _: &[u8], row: &Row<'_>) -> Result<(), StoreError> {
    let (reader, thresholds) = (pass.reader, pass.thresholds);
    let head = row.eval();
    let batch = matches!(head.kind, JobKind::Batch | JobKind::Sysbatch);
    let cutoff = pass.wall_ns - if batch { thresholds.batch_eval } else { thresholds.eval };
    if !head.status.terminal() || number(row, "ModifyTime") > cutoff {
        return Ok(());
    }
    let [id, namespace, job_id] = ["ID", "Namespace", "JobID"].map(|name| text(row, name));
    let Some(key) = keys::by_uuid(&id) else { return Ok(()) };
    let job = reader.row(Table::Job, &keys::job(&namespace, &job_id))?;
    let at = (namespace, job_id);
    if !pass.allocs.contains_key(&at) {
        let rows = alloc_rows(reader, &reader.alloc_ids_by_job(&at.0, &at.1)?)?;
        let heads = rows.iter().map(|(id, row)| (*id, row.alloc())).collect();
        pass.allocs.insert(at.clone(), heads);
    }
    let mut gone = Vec::new();
    for (alloc, head) in pass.allocs.get(&at).into_iter().flatten().filter(|(_, h)| h.eval == key) {
        // What a batch job has done must be known as long as it may be asked to run again.
        let done = batch && job.is_some_and(|j| !j.job().stop && j.create() == head.job_create);
        if done || !alloc_over(reader, alloc, head, job.as_ref(), cutoff)? {
            return Ok(());
        }
        gone.push(keys::uuid_text(alloc));
    }
    pass.found.allocs.extend(gone);
    pass.found.evals.push(id);
    Ok(())
}

/// Whether an operator may remove an evaluation: no allocation that it led to runs, or may still
/// be placed anew.
///
/// # Errors
/// Those of the store.
pub fn eval_may_go(reader: Reader<'_>, row: &Row<'_>, wall_ns: i64) -> Result<bool, StoreError> {
    let [id, namespace, job_id] = ["ID", "Namespace", "JobID"].map(|name| text(row, name));
    let Some(key) = keys::by_uuid(&id) else { return Ok(false) };
    let job = reader.row(Table::Job, &keys::job(&namespace, &job_id))?;
    for (alloc, row) in alloc_rows(reader, &reader.alloc_ids_by_job(&namespace, &job_id)?)? {
        let head = row.alloc();
        if head.eval == key && !alloc_over(reader, &alloc, &head, job.as_ref(), wall_ns)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an allocation is over for good: nothing runs, nobody follows it.
fn alloc_over(
    reader: Reader<'_>,
    id: &[u8; 16],
    head: &AllocHead,
    job: Option<&Row<'_>>,
    cutoff: i64,
) -> Result<bool, StoreError> {
    let Some(row) = reader.row(Table::Alloc, id)? else { return Ok(true) };
    let modified = number(&row, "ModifyTime");
    if !head.terminal() || head.client == Client::Running || modified > cutoff {
        return Ok(false);
    }
    let job_over = job.is_none_or(|j| j.job().stop || j.job().status == JobStatus::Dead);
    if job_over || head.client != Client::Failed || head.desired != Desired::Run {
        return Ok(true);
    }
    // It failed, and may be placed anew.
    let Some(alloc) = reader.alloc_with_job(&keys::uuid_text(id))? else { return Ok(true) };
    if !alloc.next_allocation.is_empty() {
        return Ok(true);
    }
    let group = alloc.job.iter().flat_map(|j| j.task_groups.iter());
    let policy = group
        .filter(|g| g.name == alloc.task_group)
        .find_map(|g| g.reschedule_policy.clone())
        .unwrap_or_default();
    if policy.unlimited.unwrap_or(false) {
        return Ok(false);
    }
    let attempts = policy.attempts.unwrap_or(0);
    let interval = policy.interval.unwrap_or(0);
    Ok(attempts <= 0 || modified.saturating_add(interval) <= cutoff)
}

/// Deployments that ended and that no living allocation belongs to.
fn deployment(pass: &mut Pass<'_>, key: &[u8], row: &Row<'_>) -> Result<(), StoreError> {
    let (reader, cutoff) = (pass.reader, pass.wall_ns - pass.thresholds.deployment);
    if row.deployment().active || number(row, "ModifyTime") > cutoff {
        return Ok(());
    }
    let Some(id) = key.first_chunk::<16>().filter(|_| key.len() == 16) else { return Ok(()) };
    let text = keys::uuid_text(id);
    let Some(deployment) = reader.deployment(&text)? else { return Ok(()) };
    let ids = reader.alloc_ids_by_job(&deployment.namespace, &deployment.job_id)?;
    for (_, row) in alloc_rows(reader, &ids)? {
        let head = row.alloc();
        if head.deployment == *id && !head.terminal() {
            return Ok(());
        }
    }
    pass.found.deployments.push(text);
    Ok(())
}

/// Nodes that are down and on which nothing is left.
fn node(pass: &mut Pass<'_>, key: &[u8], row: &Row<'_>) -> Result<(), StoreError> {
    let cutoff = pass.wall_ns - pass.thresholds.node;
    let seconds = number(row, "StatusUpdatedAt");
    if row.node().status != NodeStatus::Down || seconds.saturating_mul(1_000_000_000) > cutoff {
        return Ok(());
    }
    let Some(id) = key.first_chunk::<16>().filter(|_| key.len() == 16) else { return Ok(()) };
    let id = keys::uuid_text(id);
    if pass.reader.alloc_ids_by_node(&id)?.is_empty() {
        pass.found.nodes.push(id);
    }
    Ok(())
}

/// Root keys that were replaced and that nothing needs any more.
fn root_key(pass: &mut Pass<'_>, key: &[u8], _: &Row<'_>) -> Result<(), StoreError> {
    let Some(id) = key.strip_prefix(KEYRING.as_bytes()) else { return Ok(()) };
    let keys = pass.reader.root_keys()?;
    let is = |state: &str| keys.iter().find(|k| k.meta.state == state);
    let cutoff = pass.wall_ns - pass.thresholds.key;
    let replaced = is(status::KEY_ACTIVE).is_some_and(|k| k.meta.create_time <= cutoff);
    let own = keys.iter().find(|k| k.meta.key_id.as_bytes() == id);
    let Some(own) = own.filter(|k| k.meta.state == status::KEY_INACTIVE && replaced) else {
        return Ok(());
    };
    if !key_in_use(pass.reader, &own.meta.key_id, pass.wall_ns)? {
        pass.found.keys.push(own.meta.key_id.clone());
    }
    Ok(())
}
