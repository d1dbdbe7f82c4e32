//! `/v1/job/{id}/scale`: how many allocations each group has and should have.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Ctx, Result, write_only};
use crate::api::Allocation;
use crate::routes::{Answer, Watch, not_served};
use crate::store::{Table, keys};

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ScaleStatus {
    job_create_index: u64,
    #[serde(rename = "JobID")]
    job_id: String,
    job_modify_index: u64,
    job_stopped: bool,
    namespace: String,
    task_groups: BTreeMap<String, GroupStatus>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GroupStatus {
    desired: i64,
    /// Newest first; null without any.
    events: Option<Vec<()>>,
    healthy: i64,
    placed: i64,
    running: i64,
    unhealthy: i64,
}

pub(super) fn scale(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if ctx.is_get() {
        return status(ctx, id);
    }
    write_only(ctx)?;
    Err(not_served("Scaling of jobs"))
}

fn status(ctx: &Ctx<'_>, id: &str) -> Result {
    let namespace = &ctx.params.namespace;
    let watch = Watch::Tables(Table::Job.bit() | Table::Alloc.bit());
    let Some(job) = ctx.reader.job(namespace, id)? else {
        let watch = Watch::Row(Table::Job, keys::job(namespace, id).into());
        let index = ctx.reader.index();
        return Ok(Answer::text(404, "job not found").query(index).watching(watch).into());
    };
    let mut index = job.modify_index;
    let mut groups: BTreeMap<String, GroupStatus> = job
        .task_groups
        .iter()
        .map(|g| {
            let desired = g.count.unwrap_or(1);
            (g.name.clone(), GroupStatus { desired, ..GroupStatus::default() })
        })
        .collect();
    for a in ctx.reader.allocs_by_job(namespace, id)? {
        if ended(&a) {
            continue;
        }
        index = index.max(a.modify_index);
        if let Some(g) = groups.get_mut(&a.task_group) {
            count(g, &a);
        }
    }
    let body = ScaleStatus {
        job_create_index: job.create_index,
        job_id: job.id,
        job_modify_index: job.modify_index,
        job_stopped: job.stop,
        namespace: job.namespace,
        task_groups: groups,
    };
    Ok(Answer::json(&body).query(index).watching(watch).into())
}

/// Stopped by the server, or finished on its node.
fn ended(a: &Allocation) -> bool {
    use crate::api::status::{CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_LOST, DESIRED_RUN};
    a.desired_status != DESIRED_RUN
        || [CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_LOST].contains(&a.client_status.as_str())
}

fn count(g: &mut GroupStatus, a: &Allocation) {
    let health = a.deployment_status.as_ref();
    if health.is_some_and(|d| d.canary) {
        return;
    }
    g.placed += 1;
    g.running += i64::from(a.client_status == crate::api::status::CLIENT_RUNNING);
    match health.and_then(|d| d.healthy) {
        Some(true) => g.healthy += 1,
        Some(false) => g.unhealthy += 1,
        None => (),
    }
}
