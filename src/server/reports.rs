//! What follows from the reports of nodes.

use crate::api::{Evaluation, status};
use crate::command::AllocClientState;
use crate::stdx::{BTreeMap, Entropy, uuid};
use crate::store::rows::{Client, Desired};
use crate::store::{Reader, StoreError, Table, keys};

/// One evaluation for every job of which an allocation failed that was meant to run: it may be
/// placed again; and for those of which one came back that was held for unknown. Allocations that
/// ended well need none; the room they leave unblocks others.
pub fn client_update_evals(
    reader: Reader<'_>,
    updates: &[AllocClientState],
    wall_ns: i64,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Evaluation>, StoreError> {
    let mut evals: BTreeMap<(String, String), Evaluation> = BTreeMap::new();
    for update in updates {
        let failed = update.client_status == status::CLIENT_FAILED;
        let Some(key) = keys::by_uuid(&update.id) else { continue };
        let Some(row) = reader.row(Table::Alloc, &key)? else { continue };
        let was = row.alloc();
        let returns =
            was.client == Client::Unknown && update.client_status != status::CLIENT_UNKNOWN;
        let fails = failed && was.client != Client::Failed && was.desired == Desired::Run;
        if !(returns || fails) {
            continue;
        }
        let Some(alloc) = reader.alloc(&update.id)? else { continue };
        let at = (alloc.namespace, alloc.job_id);
        if evals.contains_key(&at) {
            continue;
        }
        let Some(job) = reader.job(&at.0, &at.1)? else { continue };
        if job.stop {
            continue;
        }
        let eval = Evaluation {
            id: uuid::of_row(entropy),
            namespace: at.0.clone(),
            priority: job.priority,
            kind: job.kind,
            triggered_by: if returns {
                status::TRIGGER_RECONNECT
            } else {
                status::TRIGGER_ALLOC_FAILURE
            }
            .to_owned(),
            job_id: at.1.clone(),
            status: status::EVAL_PENDING.to_owned(),
            create_time: wall_ns,
            modify_time: wall_ns,
            ..Evaluation::default()
        };
        evals.insert(at, eval);
    }
    Ok(evals.into_values().collect())
}
