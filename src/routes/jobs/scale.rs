//! `/v1/job/{id}/scale`: how many allocations each group has and should have, and other numbers of
//! them.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Ctx, Result, answer_write, evaluation, is_template, write_only};
use crate::api::{Allocation, ApiError, Job, JobRegisterResponse, status};
use crate::command::Command;
use crate::routes::{Answer, Outcome, Reply, Watch};
use crate::server::periodic::fresh;
use crate::stdx::json::{self, Any, Map, Printed, records};
use crate::stdx::{BTreeMap, sort};
use crate::store::{Table, keys};

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "ScalingRequest")]
struct Body {
    count: Option<i64>,
    error: bool,
    job_modify_index: u64,
    message: String,
    meta: Map<Any>,
    target: Map<String>,
}
}

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
    events: Value,
    healthy: i64,
    placed: i64,
    running: i64,
    unhealthy: i64,
}

pub(super) fn scale(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if ctx.is_get() {
        return current(ctx, id);
    }
    write_only(ctx)?;
    let body: Body = ctx.body()?;
    let target = |name: &str| body.target.get(name).map(String::as_str).unwrap_or_default();
    let (group, count) = (target("Group").to_owned(), body.count);
    let namespace = ctx.params.namespace.clone();
    let refused = |text: &str| Err(ApiError::bad(text));
    if !["", id].contains(&target("Job")) {
        return refused("job ID in payload did not match URL");
    }
    if !["", &*namespace].contains(&target("Namespace")) {
        return refused("namespace in payload did not match header");
    }
    if group.is_empty() {
        return refused("missing task group name for scaling action");
    }
    if count.is_some_and(|n| n < 0) {
        return refused("scaling action count can't be negative");
    }
    if count.is_some() && body.error {
        return refused("scaling action should not contain count if error is true");
    }
    super::registration_allowed(ctx)?;
    let Some(job) = ctx.reader.job(&namespace, id)? else {
        return Err(ApiError::not_found(format!("job {id:?} not found")));
    };
    let Some(now) = job.task_groups.iter().find(|g| g.name == group).map(|g| g.count.unwrap_or(1))
    else {
        return Err(ApiError::bad(format!(
            "task group {group:?} specified for scaling does not exist in job"
        )));
    };
    let job = match count {
        None => None,
        Some(n) => Some(Printed::new(Box::new(scaled(ctx, job, &group, n)?))),
    };
    let eval = job
        .as_deref()
        .filter(|j| !is_template(j))
        .map(|j| Box::new(evaluation(ctx, j, status::TRIGGER_SCALING, 0)));
    let event = json!({
        "Count": count,
        "CreateIndex": 0,
        "Error": body.error,
        "EvalID": eval.as_ref().map(|e| e.id.clone()),
        "Message": body.message,
        "Meta": meta(&body.meta)?,
        "PreviousCount": now,
        "Time": ctx.now.wall_ns,
    });
    let command = Command::JobScale {
        namespace,
        id: id.to_owned(),
        group,
        event: event.to_string(),
        job,
        eval,
        enforce: Some(body.job_modify_index).filter(|n| *n > 0),
    };
    let reply: Reply = Box::new(|_, _, applied| {
        let a = super::job_applied(applied)?;
        let body = JobRegisterResponse {
            eval_create_index: a.eval_create_index,
            eval_id: a.eval_id,
            index: a.index,
            job_modify_index: a.job_modify_index,
            known_leader: true,
            ..JobRegisterResponse::default()
        };
        Ok(answer_write(&body, a.index))
    });
    Ok(Outcome::Propose(Box::new(command), reply))
}

/// The job with another number in one group, where that is allowed.
fn scaled(ctx: &Ctx<'_>, job: Job, group: &str, count: i64) -> Result<Job> {
    let refused = |text: String| Err(ApiError::bad(text));
    if job.kind == status::JOB_SYSTEM && count > 1 {
        return refused("jobs of type \"system\" can only be scaled between 0 and 1".to_owned());
    }
    let mut job = fresh(job, ctx.now.wall_ns);
    for g in job.task_groups.iter_mut().filter(|g| g.name == group) {
        if let Some(s) = &g.scaling {
            let (min, max) = (s.min.unwrap_or(0), s.max.unwrap_or(i64::MAX));
            if count < min {
                return refused(format!(
                    "group count was less than scaling policy minimum: {count} < {min}"
                ));
            }
            if count > max {
                return refused(format!(
                    "group count was greater than scaling policy maximum: {count} > {max}"
                ));
            }
        }
        g.count = Some(count);
    }
    let counts = job.task_groups.iter().map(|g| g.count.unwrap_or(1));
    let (total, most) = (counts.fold(0, i64::saturating_add), ctx.agent.job_max_count);
    if total > most {
        return refused(format!(
            "total count was greater than configured job_max_count: {total} > {most}"
        ));
    }
    let newest = ctx.reader.deployment_latest(&job.namespace, &job.id)?;
    if newest.is_some_and(|d| super::statuses::is_active(&d)) {
        return refused("job scaling blocked due to active deployment".to_owned());
    }
    Ok(job)
}

/// What the caller notes with an event, as it is printed.
fn meta(meta: &Map<Any>) -> Result<Value> {
    json::decode(&json::encode(meta)).map_err(|e| ApiError::failed(e.to_string()))
}

fn current(ctx: &Ctx<'_>, id: &str) -> Result {
    let namespace = &ctx.params.namespace;
    let tables = [Table::Job, Table::Alloc, Table::ScalingEvent];
    let watch = Watch::Tables(tables.iter().fold(0, |mask, t| mask | t.bit()));
    let key = keys::job(namespace, id);
    let Some(job) = ctx.reader.job(namespace, id)? else {
        let watch = Watch::Row(Table::Job, key.into());
        let index = ctx.reader.index();
        return Ok(Answer::text(404, "job not found").query(index).watching(watch).into());
    };
    let mut index = job.modify_index;
    let mut events = Value::Null;
    if let Some(row) = ctx.reader.row(Table::ScalingEvent, &key)? {
        index = index.max(row.modify());
        events = json::decode(row.json).map_err(|e| ApiError::failed(e.to_string()))?;
    }
    let mut groups: BTreeMap<String, GroupStatus> = sort::gather(job.task_groups.iter().map(|g| {
        let events = events.get_mut(&g.name).map(Value::take).unwrap_or_default();
        let desired = g.count.unwrap_or(1);
        (g.name.clone(), GroupStatus { desired, events, ..GroupStatus::default() })
    }));
    for a in ctx.reader.allocs_by_job(namespace, id)? {
        if ended(&a) {
            continue;
        }
        index = index.max(a.modify_index);
        if let Some(g) = groups.get_mut(&a.task_group) {
            tally(g, &a);
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

fn tally(g: &mut GroupStatus, a: &Allocation) {
    let health = a.deployment_status.as_ref();
    if health.is_some_and(|d| d.canary) {
        return;
    }
    g.placed += 1;
    g.running += i64::from(a.client_status == status::CLIENT_RUNNING);
    match health.and_then(|d| d.healthy) {
        Some(true) => g.healthy += 1,
        Some(false) => g.unhealthy += 1,
        None => (),
    }
}
