//! Stopping jobs, and looking at them anew.

use super::{
    Ctx, Result, answer_write, bool_or_failed, eval_priority_ok, evaluation, int_param,
    is_template, write_only,
};
use crate::acl::ns;
use crate::api::{
    ApiError, DesiredTransition, Job, JobDeregisterResponse, JobRegisterResponse, status,
};
use crate::command::{Applied, Command};
use crate::routes::{Outcome, Reply};
use crate::stdx::json::records;

/// DELETE of a job.
pub(super) fn stop(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if id.is_empty() {
        return Err(ApiError::failed("missing job ID for deregistering"));
    }
    let purge = bool_or_failed(ctx, "purge")?;
    bool_or_failed(ctx, "global")?;
    let no_shutdown_delay = bool_or_failed(ctx, "no_shutdown_delay")?;
    let priority = int_param(ctx, "eval_priority")?.unwrap_or(0);
    eval_priority_ok(priority)?;
    let caps = ns::SUBMIT_JOB | ns::PURGE_JOB | if purge { 0 } else { ns::DEREGISTER_JOB };
    ctx.need_ns(&ctx.params.namespace, caps)?;
    let Some(job) = ctx.reader.job(&ctx.params.namespace, id)? else {
        return Ok(answer_write(&JobDeregisterResponse::default(), 0).into());
    };
    let eval = (!is_template(&job)).then(|| {
        let mut eval = evaluation(ctx, &job, status::TRIGGER_JOB_DEREGISTER, priority);
        // Whatever the job is, as in the reference.
        status::JOB_SERVICE.clone_into(&mut eval.kind);
        Box::new(eval)
    });
    let command = Command::JobDeregister {
        namespace: job.namespace,
        id: job.id,
        purge,
        no_shutdown_delay,
        eval,
        wall_ns: ctx.now.wall_ns,
    };
    let reply: Reply = Box::new(|_, _, applied| {
        let a = super::job_applied(applied)?;
        let body = JobDeregisterResponse {
            eval_create_index: a.eval_create_index,
            eval_id: a.eval_id,
            index: a.index,
            job_modify_index: a.job_modify_index,
            ..JobDeregisterResponse::default()
        };
        Ok(answer_write(&body, a.index))
    });
    Ok(Outcome::Propose(Box::new(command), reply))
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "JobEvaluateRequest")]
struct EvaluateBody {
    #[serde(rename = "JobID")]
    job_id: String,
    eval_options: EvalOptions,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct EvalOptions {
    force_reschedule: bool,
}
}

pub(super) fn evaluate(ctx: &mut Ctx<'_>, id: &str) -> Result {
    write_only(ctx)?;
    let mut force = false;
    if !ctx.req.body.is_empty() {
        let body: EvaluateBody = ctx.body()?;
        if body.job_id.is_empty() {
            return Err(ApiError::bad("Job ID must be specified"));
        }
        if body.job_id != id {
            return Err(ApiError::bad("JobID not same as job name"));
        }
        force = body.eval_options.force_reschedule;
    }
    let job = ctx
        .reader
        .job(&ctx.params.namespace, id)?
        .ok_or_else(|| ApiError::failed("job not found"))?;
    if job.periodic.is_some() {
        return Err(ApiError::failed("can't evaluate periodic job"));
    }
    if is_template(&job) {
        return Err(ApiError::failed("can't evaluate parameterized job"));
    }
    let transitions = if force { forced(ctx, &job)? } else { Vec::new() };
    let eval = evaluation(ctx, &job, status::TRIGGER_JOB_REGISTER, 0);
    let (eval_id, job_modify_index) = (eval.id.clone(), job.modify_index);
    let command = if transitions.is_empty() {
        Command::EvalUpsert { evals: vec![eval] }
    } else {
        Command::AllocTransition { transitions, evals: vec![eval], wall_ns: ctx.now.wall_ns }
    };
    let reply: Reply = Box::new(move |_, index, applied| {
        if let Applied::Refused(e) = applied {
            return Err(e);
        }
        let body = JobRegisterResponse {
            eval_create_index: index,
            eval_id,
            index,
            job_modify_index,
            ..JobRegisterResponse::default()
        };
        Ok(answer_write(&body, index))
    });
    Ok(Outcome::Propose(Box::new(command), reply))
}

/// Failed allocations without a successor, in groups that may be rescheduled.
fn forced(ctx: &Ctx<'_>, job: &Job) -> Result<Vec<(String, DesiredTransition)>> {
    let may = |group: &str| {
        job.task_groups
            .iter()
            .find(|g| g.name == group)
            .and_then(|g| g.reschedule_policy.as_ref())
            .is_some_and(|r| r.attempts.unwrap_or(0) > 0 || r.unlimited == Some(true))
    };
    Ok(ctx
        .reader
        .allocs_by_job(&job.namespace, &job.id)?
        .into_iter()
        .filter(|a| a.client_status == status::CLIENT_FAILED && a.next_allocation.is_empty())
        .filter(|a| may(&a.task_group))
        .map(|a| (a.id, DesiredTransition { force_reschedule: Some(true), ..Default::default() }))
        .collect())
}
