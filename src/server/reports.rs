//! What follows from the reports of nodes.

use std::collections::BTreeMap;

use crate::api::{Evaluation, status};
use crate::command::AllocClientState;
use crate::stdx::{Entropy, uuid};
use crate::store::{Reader, StoreError};

/// One evaluation for every job of which an allocation failed that was meant to run: it may be
/// placed again. Allocations that ended well need none; the room they leave unblocks others.
pub fn client_update_evals(
    reader: Reader<'_>,
    updates: &[AllocClientState],
    wall_ns: i64,
    entropy: &mut dyn Entropy,
) -> Result<Vec<Evaluation>, StoreError> {
    let mut evals: BTreeMap<(String, String), Evaluation> = BTreeMap::new();
    for update in updates {
        if update.client_status != status::CLIENT_FAILED {
            continue;
        }
        let Some(alloc) = reader.alloc(&update.id)? else { continue };
        if alloc.client_status == status::CLIENT_FAILED
            || alloc.desired_status != status::DESIRED_RUN
        {
            continue;
        }
        let at = (alloc.namespace, alloc.job_id);
        if evals.contains_key(&at) {
            continue;
        }
        let Some(job) = reader.job(&at.0, &at.1)? else { continue };
        if job.stop {
            continue;
        }
        let eval = Evaluation {
            id: uuid::new(entropy),
            namespace: at.0.clone(),
            priority: job.priority,
            kind: job.kind,
            triggered_by: status::TRIGGER_ALLOC_FAILURE.to_owned(),
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
