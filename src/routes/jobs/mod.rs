//! `/v1/jobs`, `/v1/job/*` and `/v1/validate/job`.
//!
//! Ids may hold slashes, so what is asked of a job is told by the end of the path.

mod launch;
mod parse;
mod plan;
mod read;
mod register;
mod scale;
mod statuses;
mod stop;
mod versions;

pub(super) use parse::parse;
pub(super) use read::alloc_stubs;
pub(super) use register::validate;
pub(super) use statuses::statuses;

use super::{Answer, Ctx, Outcome, invalid_method, list, uuid_key};
use crate::acl::{Caps, ns};
use crate::api::{ApiError, Evaluation, Job, status};
use crate::command::JobApplied;
use crate::http::query::percent_encode;
use crate::http::{Method, Query};
use crate::limits::EXEC_TARGET_BYTES_MAX;
use crate::stdx::json::{self, List};

type Result<T = Outcome> = std::result::Result<T, ApiError>;
type Sub = fn(&mut Ctx<'_>, &str) -> Result;

/// `/v1/jobs`
pub(super) fn collection(ctx: &mut Ctx<'_>) -> Result {
    match ctx.req.method {
        Method::Get => list::jobs(ctx),
        Method::Put | Method::Post => register::register(ctx, None),
        _ => Err(invalid_method()),
    }
}

/// `/v1/job/{id}` and what lies below.
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let rest = ctx.rest;
    for (suffix, reads, writes, run) in SUB {
        if let Some(id) = rest.strip_suffix(suffix) {
            let needed = if ctx.is_get() { reads } else { writes };
            if needed != 0 {
                ctx.need_ns(&ctx.params.namespace, needed)?;
            }
            return run(ctx, id);
        }
    }
    if rest.ends_with("/tag") {
        ctx.need_ns(&ctx.params.namespace, ns::SUBMIT_JOB | ns::TAG_JOB_VERSION)?;
        return versions::tag(ctx);
    }
    match ctx.req.method {
        Method::Get => {
            ctx.need_ns(&ctx.params.namespace, ns::READ_JOB)?;
            read::get(ctx, rest)
        }
        Method::Put | Method::Post => register::register(ctx, Some(rest)),
        Method::Delete => stop::stop(ctx, rest),
        _ => Err(invalid_method()),
    }
}

/// What lies below a job: the capabilities, any of which reading and writing needs (none: the
/// handler says, or knows no such method), and who answers.
const SUB: [(&str, Caps, Caps, Sub); 18] = [
    ("/evaluate", 0, ns::SUBMIT_JOB | ns::EVALUATE_JOB, stop::evaluate),
    ("/allocations", ns::READ_JOB, 0, read::allocations),
    ("/evaluations", ns::READ_JOB, 0, read::evaluations),
    (
        "/periodic/force",
        0,
        ns::DISPATCH_JOB | ns::SUBMIT_JOB | ns::FORCE_PERIODIC_JOB,
        launch::force,
    ),
    ("/plan", 0, 0, plan::plan),
    ("/summary", ns::READ_JOB, ns::READ_JOB, read::summary),
    ("/dispatch", 0, ns::DISPATCH_JOB, launch::dispatch),
    ("/dispatch/payload", 0, ns::DISPATCH_JOB, launch::dispatch_payload),
    ("/versions", ns::READ_JOB, 0, read::versions),
    ("/revert", 0, ns::SUBMIT_JOB | ns::REVERT_JOB, launch::revert),
    ("/deployments", ns::READ_JOB, 0, read::deployments),
    ("/deployment", ns::READ_JOB, 0, read::deployment),
    ("/stable", 0, ns::SUBMIT_JOB | ns::STABLE_JOB, versions::stable),
    ("/scale", ns::READ_JOB | ns::READ_JOB_SCALING, ns::SCALE_JOB | ns::SUBMIT_JOB, scale::scale),
    ("/services", ns::READ_JOB, 0, read::services),
    ("/submission", ns::READ_JOB, 0, read::submission),
    ("/actions", ns::READ_JOB, 0, read::actions),
    ("/action", ns::ALLOC_EXEC, 0, action),
];

/// Runs a command that the job holds ready, in a task of one of its allocations.
fn action(ctx: &mut Ctx<'_>, id: &str) -> Result {
    get_only(ctx)?;
    if ctx.req.websocket.is_none() {
        return Err(ApiError::failed("websocket connection not found in context"));
    }
    let q = Query::new(ctx.req.query());
    let text = |name: &str| q.get(name).unwrap_or_default().into_owned();
    let (alloc_id, task, action) = (text("allocID"), text("task"), text("action"));
    if alloc_id.is_empty() {
        return Err(ApiError::bad("missing AllocID"));
    }
    if task.is_empty() {
        return Err(ApiError::bad("must provide task name"));
    }
    uuid_key("alloc", &alloc_id)?;
    let alloc = ctx.reader.alloc_with_job(&alloc_id)?;
    let alloc = alloc.filter(|a| a.job_id == id && a.namespace == ctx.params.namespace);
    let unknown = || ApiError::not_found(format!("Unknown allocation \"{alloc_id}\""));
    let alloc = alloc.ok_or_else(unknown)?;
    // Of the version that runs there, which may be another than the newest.
    let groups = alloc.job.iter().flat_map(|j| j.task_groups.iter());
    let tasks = groups.filter(|g| g.name == alloc.task_group).flat_map(|g| g.tasks.iter());
    let mut actions = tasks.filter(|t| t.name == task).flat_map(|t| t.actions.iter());
    let found = actions.find(|a| a.name == action);
    let missing = || ApiError::not_found(format!("action {action} not found in task {task}"));
    let found = found.ok_or_else(missing)?;
    let command: List<&str> =
        std::iter::once(&found.command).chain(found.args.iter()).map(String::as_str).collect();
    let command = String::from_utf8_lossy(&json::encode(&command)).into_owned();
    let tty = text("tty");
    let mut target = format!("/v1/client/allocation/{alloc_id}/exec");
    for (name, value) in [("?task=", task), ("&tty=", tty), ("&command=", command)] {
        target.push_str(name);
        percent_encode(&value, &mut target);
    }
    if target.len() > EXEC_TARGET_BYTES_MAX {
        return Err(ApiError::bad(format!("the command of action {action} is too long")));
    }
    Ok(Outcome::Instead(target))
}

fn get_only(ctx: &Ctx<'_>) -> Result<()> {
    if ctx.is_get() { Ok(()) } else { Err(invalid_method()) }
}

fn write_only(ctx: &Ctx<'_>) -> Result<()> {
    if ctx.is_write() { Ok(()) } else { Err(invalid_method()) }
}

/// A new evaluation of a job, to be stored with what caused it.
fn evaluation(ctx: &mut Ctx<'_>, job: &Job, trigger: &str, priority: i64) -> Evaluation {
    Evaluation {
        id: ctx.new_id(),
        namespace: job.namespace.clone(),
        priority: if priority == 0 { job.priority } else { priority },
        kind: job.kind.clone(),
        triggered_by: trigger.to_owned(),
        job_id: job.id.clone(),
        job_modify_index: job.modify_index,
        status: status::EVAL_PENDING.to_owned(),
        create_time: ctx.now.wall_ns,
        modify_time: ctx.now.wall_ns,
        ..Evaluation::default()
    }
}

/// Jobs that only begin others: they are not evaluated themselves.
fn is_template(job: &Job) -> bool {
    job.periodic.is_some() || (job.parameterized_job.is_some() && !job.dispatched)
}

/// What the answer to a change of a job says of `applied`, or why there was none.
fn job_applied(applied: crate::command::Applied) -> Result<JobApplied> {
    use crate::command::Applied;
    match applied {
        Applied::Job(j) => Ok(j),
        Applied::Nothing => Ok(JobApplied::default()),
        Applied::Refused(e) => Err(e),
        Applied::Done
        | Applied::Deployment(_)
        | Applied::Plan { .. }
        | Applied::Conflict(_)
        | Applied::Checked(_) => {
            Err(ApiError::failed("the job's entry was applied as another command"))
        }
    }
}

/// 403 where the scheduler's configuration says so.
fn registration_allowed(ctx: &Ctx<'_>) -> Result<()> {
    let exempt = ctx.agent.acl.enabled && ctx.is_management();
    if !exempt && ctx.reader.scheduler_config()?.reject_job_registration {
        return Err(ApiError::new(
            403,
            "Job registration, dispatch, and scale are disabled by the scheduler configuration",
        ));
    }
    Ok(())
}

/// The number of a query parameter.
fn int_param(ctx: &Ctx<'_>, name: &str) -> Result<Option<i64>> {
    let q = Query::new(ctx.req.query());
    match q.get(name).filter(|v| !v.is_empty()) {
        None => Ok(None),
        Some(v) => v.parse().map(Some).map_err(|_| {
            ApiError::failed(format!(
                "Failed to parse value of {name:?} ({v}) as an int: strconv.Atoi: parsing {:?}: \
                 invalid syntax",
                &*v
            ))
        }),
    }
}

/// A boolean query parameter whose bad values are a 500.
fn bool_or_failed(ctx: &Ctx<'_>, name: &str) -> Result<bool> {
    let q = Query::new(ctx.req.query());
    super::params::bool_param(&q, name).map_err(ApiError::failed)
}

fn eval_priority_ok(priority: i64) -> Result<()> {
    if priority != 0 && !(1..=100).contains(&priority) {
        return Err(ApiError::bad("Eval priority must be between 1 and 100 inclusively"));
    }
    Ok(())
}

fn answer_write<T: serde::Serialize>(body: &T, index: u64) -> Answer {
    Answer::json(body).index(index)
}
