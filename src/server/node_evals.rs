//! Which jobs must be looked at again when a node changes.

use crate::api::{Evaluation, Job, status};
use crate::stdx::{BTreeMap, Entropy, uuid};
use crate::store::rows::JobKind;
use crate::store::{Reader, StoreError, Table, keys};

/// One evaluation for every job with allocations on the node, and for every system job (unless
/// stopped) of its datacenter and pool: those may want to run there.
pub fn node_evals(
    reader: Reader<'_>,
    node_id: &str,
    trigger: &str,
    wall_ns: i64,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Evaluation>, StoreError> {
    let Some(node) = reader.node(node_id)? else { return Ok(Vec::new()) };
    let mut jobs: BTreeMap<(String, String), Job> = BTreeMap::new();
    for alloc in reader.allocs_by_node(node_id)? {
        let at = (alloc.namespace, alloc.job_id);
        if !jobs.contains_key(&at)
            && let Some(job) = reader.job(&at.0, &at.1)?
        {
            jobs.insert(at, job);
        }
    }
    for pair in reader.scan(Table::Job, &[], None, false)? {
        let (key, row) = pair?;
        if !matches!(row.job().kind, JobKind::System | JobKind::Sysbatch) {
            continue;
        }
        let Some((namespace, id)) = keys::split(key) else { continue };
        if let Some(job) = reader.job(namespace, id)?
            && !job.stop
            && crate::sched::job_allows(&job, &node.datacenter, &node.node_pool)
        {
            jobs.entry((job.namespace.clone(), job.id.clone())).or_insert(job);
        }
    }
    let evals = jobs.into_values().map(|job| Evaluation {
        id: uuid::of_row(entropy),
        namespace: job.namespace.clone(),
        priority: job.priority,
        kind: job.kind.clone(),
        triggered_by: trigger.to_owned(),
        job_id: job.id,
        node_id: node_id.to_owned(),
        node_modify_index: node.modify_index,
        status: status::EVAL_PENDING.to_owned(),
        create_time: wall_ns,
        modify_time: wall_ns,
        ..Evaluation::default()
    });
    Ok(evals.collect())
}
