//! `/v1/job/{id}/plan`: what a registration would change and what the scheduler would do about it.

use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use super::register::{Body, admit, elsewhere, name_policies, place, same_nature};
use super::{Ctx, Result, answer_write, evaluation, write_only};
use crate::acl::ns;
use crate::api::{AllocMetric, ApiError, Evaluation, Job, PlanAnnotations, status};
use crate::command::Plan;
use crate::jobspec::{self, diff};
use crate::routes::{Answer, DryRun, Outcome};
use crate::server::periodic;
use crate::stdx::json::{self, List, Map, Time};

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Response {
    annotations: PlanAnnotations,
    created_evals: List<Evaluation>,
    diff: Value,
    #[serde(rename = "FailedTGAllocs")]
    failed_tg_allocs: Map<AllocMetric>,
    index: u64,
    job_modify_index: u64,
    next_periodic_launch: Time,
    warnings: String,
}

pub(super) fn plan(ctx: &mut Ctx<'_>, id: &str) -> Result {
    write_only(ctx)?;
    let body: Body = ctx.body()?;
    let Some(mut job) = body.job else { return Err(ApiError::bad("Job must be specified")) };
    if job.id.is_empty() {
        return Err(ApiError::bad("Job must have a valid ID"));
    }
    if job.id != id {
        return Err(ApiError::bad("Job ID does not match"));
    }
    if let Some(other) = elsewhere(ctx, &job, &body.region) {
        return Ok(other);
    }
    place(ctx, &mut job, &body.namespace);
    let existing = ctx.reader.job(&job.namespace, &job.id)?;
    let (mut job, warnings) = admit(ctx, *job)?.map_err(|e| jobspec::refusal(&e))?;
    ctx.need_ns(&job.namespace, ns::SUBMIT_JOB | ns::PLAN_JOB)?;
    if let Some(old) = &existing {
        same_nature(old, &job)?;
    }
    name_policies(ctx, &mut job, existing.as_ref());
    let diff = if body.diff { difference(existing.as_ref(), &job)? } else { Value::Null };
    let index = existing.as_ref().map_or(0, |j| j.job_modify_index);
    as_registered(&mut job, existing.as_ref(), ctx.reader.index() + 1);
    let eval = Evaluation {
        annotate_plan: true,
        ..evaluation(ctx, &job, status::TRIGGER_JOB_REGISTER, 0)
    };
    let next = periodic::next(&job, ctx.agent.zones, ctx.now.wall_ns / 1_000_000_000);
    let next = Time(next.map_or(0, |at| at.saturating_mul(1_000_000_000)));
    let eval_id = eval.id.clone();
    let warnings = jobspec::join_warnings(&warnings);
    let reply = Box::new(move |plan| {
        answer(
            plan,
            &eval_id,
            Response {
                diff,
                index,
                job_modify_index: index,
                next_periodic_launch: next,
                warnings,
                ..Response::default()
            },
        )
    });
    Ok(Outcome::DryRun(Box::new(DryRun { job: Rc::new(job), eval, reply })))
}

/// The difference of two jobs by what is printed of them.
pub(super) fn difference(old: Option<&Job>, new: &Job) -> Result<Value> {
    let value = |job: &Job| {
        json::decode::<Value>(&json::encode(job)).map_err(|e| ApiError::failed(e.to_string()))
    };
    let old = old.map(value).transpose()?;
    Ok(diff::jobs(old.as_ref(), &value(new)?))
}

/// Gives the job what its registration at `index` would give it: nothing, where nothing changes.
fn as_registered(job: &mut Job, old: Option<&Job>, index: u64) {
    if let Some(old) = old {
        job.create_index = old.create_index;
        job.job_modify_index = old.job_modify_index;
        job.modify_index = old.modify_index;
        job.stable = old.stable;
        job.status.clone_from(&old.status);
        job.status_description.clone_from(&old.status_description);
        job.submit_time = old.submit_time;
        job.version = old.version;
        job.version_tag.clone_from(&old.version_tag);
        job.nomad_token_id.clone_from(&old.nomad_token_id);
        if job == old {
            return;
        }
        job.stable = false;
        job.version_tag = None;
        job.version += 1;
    } else {
        job.create_index = index;
    }
    job.job_modify_index = index;
    job.modify_index = index;
}

fn answer(plan: Plan, eval_id: &str, mut out: Response) -> Answer {
    for mut eval in plan.evals {
        if eval.id == eval_id {
            out.annotations = eval.plan_annotations.map(|a| *a).unwrap_or_default();
            out.failed_tg_allocs = eval.failed_tg_allocs;
        } else {
            // Of a state that never was.
            eval.job_modify_index = 0;
            eval.snapshot_index = 0;
            out.created_evals.push(eval);
        }
    }
    diff::annotate(&mut out.diff, &out.annotations.desired_tg_updates);
    answer_write(&out, out.index)
}
