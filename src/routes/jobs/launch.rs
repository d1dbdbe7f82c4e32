//! New jobs made of stored ones: children of templates, and earlier versions.

use serde::Serialize;

use super::{Ctx, Result, answer_write, evaluation, is_template, write_only};
use crate::api::{ApiError, Job, status};
use crate::command::{Applied, Command};
use crate::http::Query;
use crate::routes::{Answer, Outcome, Reply};
use crate::server::periodic::{self, fresh};
use crate::stdx::BTreeMap;
use crate::stdx::json::records;
use crate::stdx::json::{self, Bytes};
use crate::store::{Table, keys};

/// Largest payload of a dispatched job, bytes. Source: the API.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "JobDispatchRequest")]
struct DispatchBody {
    #[serde(rename = "JobID")]
    job_id: String,
    payload: Bytes,
    meta: BTreeMap<String, String>,
    id_prefix_template: String,
    priority: i64,
}
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DispatchResponse {
    #[serde(rename = "DispatchedJobID")]
    dispatched_job_id: String,
    eval_create_index: u64,
    #[serde(rename = "EvalID")]
    eval_id: String,
    index: u64,
    job_create_index: u64,
}

pub(super) fn dispatch(ctx: &mut Ctx<'_>, id: &str) -> Result {
    write_only(ctx)?;
    let body: DispatchBody = ctx.body()?;
    if !body.job_id.is_empty() && body.job_id != id {
        return Err(ApiError::bad("Job ID does not match"));
    }
    child(ctx, id, body)
}

/// The body is the payload.
pub(super) fn dispatch_payload(ctx: &mut Ctx<'_>, id: &str) -> Result {
    write_only(ctx)?;
    let body = DispatchBody { payload: Bytes(ctx.req.body.clone()), ..DispatchBody::default() };
    child(ctx, id, body)
}

fn child(ctx: &mut Ctx<'_>, id: &str, body: DispatchBody) -> Result {
    let failed = |text: String| Err(ApiError::failed(text));
    super::registration_allowed(ctx)?;
    let Some(parent) = ctx.reader.job(&ctx.params.namespace, id)? else {
        return failed("parameterized job not found".to_owned());
    };
    if !is_template(&parent) || parent.parameterized_job.is_none() {
        return failed(format!("Specified job {id:?} is not a parameterized job"));
    }
    if parent.stop {
        return failed(format!("Specified job {id:?} is stopped"));
    }
    may_dispatch(&parent, &body)?;
    if body.priority != 0 && !(1..=ctx.agent.job_max_priority).contains(&body.priority) {
        return failed(format!(
            "dispatch job priority must be between [1, {}]",
            ctx.agent.job_max_priority
        ));
    }
    let token =
        Query::new(ctx.req.query()).get("idempotency_token").unwrap_or_default().into_owned();
    if let Some(job) = ctx.reader.dispatched(&parent.namespace, &parent.id, &token)? {
        return Ok(dispatched_before(job).into());
    }
    let mut job = parent.clone();
    job.id = child_id(ctx, &parent.id, &body.id_prefix_template);
    job.name.clone_from(&job.id);
    job.parent_id.clone_from(&parent.id);
    job.dispatched = true;
    job.dispatch_idempotency_token = token;
    job.payload = (!body.payload.0.is_empty()).then_some(body.payload);
    for (k, v) in body.meta {
        job.meta.insert(k, v);
    }
    if body.priority != 0 {
        job.priority = body.priority;
    }
    let job = fresh(job, ctx.now.wall_ns);
    // A child of a template that is periodic as well waits for its time.
    let eval = job
        .periodic
        .is_none()
        .then(|| Box::new(evaluation(ctx, &job, status::TRIGGER_JOB_REGISTER, 0)));
    let dispatched_job_id = job.id.clone();
    let at = (job.namespace.clone(), job.parent_id.clone(), job.dispatch_idempotency_token.clone());
    let reply: Reply = Box::new(move |reader, _, applied| {
        // Another dispatch with the same token came first, a moment ago.
        if applied == Applied::Nothing
            && let Some(job) = reader.dispatched(&at.0, &at.1, &at.2)?
        {
            return Ok(dispatched_before(job));
        }
        let a = super::job_applied(applied)?;
        let body = DispatchResponse {
            dispatched_job_id,
            eval_create_index: a.eval_create_index,
            eval_id: a.eval_id,
            index: a.index,
            job_create_index: a.job_modify_index,
        };
        Ok(answer_write(&body, a.index))
    });
    let command = Command::JobRegister { job: job.into(), submission: None, eval, enforce: None };
    Ok(Outcome::Propose(Box::new(command), reply))
}

/// `<parent>/dispatch-[<template>-]<unix seconds>-<8 hex digits>`
fn child_id(ctx: &mut Ctx<'_>, parent: &str, template: &str) -> String {
    let mut id = format!("{parent}/dispatch-");
    if !template.is_empty() {
        id.push_str(template);
        id.push('-');
    }
    let mut random = [0; 4];
    ctx.entropy.fill(&mut random);
    let seconds = ctx.now.wall_ns / 1_000_000_000;
    // Writing to a string cannot fail.
    id.push_str(&format!("{seconds}-{:08x}", u32::from_be_bytes(random)));
    id
}

/// The parent's rules for payload and metadata.
fn may_dispatch(parent: &Job, body: &DispatchBody) -> Result<()> {
    let failed = |text: String| Err(ApiError::failed(text));
    let rules = parent.parameterized_job.clone().unwrap_or_default();
    match (rules.payload.as_str(), body.payload.0.is_empty()) {
        ("required", true) => {
            return failed("Payload is not provided but required by parameterized job".to_owned());
        }
        ("forbidden", false) => {
            return failed("Payload provided but forbidden by parameterized job".to_owned());
        }
        _ => (),
    }
    let size = body.payload.0.len();
    if size > PAYLOAD_BYTES_MAX {
        return failed(format!("Payload exceeds maximum size; {size} > {PAYLOAD_BYTES_MAX}"));
    }
    let known = |k: &String| rules.meta_required.contains(k) || rules.meta_optional.contains(k);
    let unknown: Vec<&str> = body.meta.keys().filter(|k| !known(k)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return failed(format!(
            "Dispatch request included unpermitted metadata keys: [{}]",
            unknown.join(" ")
        ));
    }
    let missing: Vec<&str> = rules
        .meta_required
        .iter()
        .filter(|k| !body.meta.contains_key(*k))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return failed(format!(
            "Dispatch did not provide required meta keys: [{}]",
            missing.join(" ")
        ));
    }
    Ok(())
}

/// A live child that was dispatched before is the answer.
fn dispatched_before(job: Job) -> Answer {
    let body = DispatchResponse {
        eval_create_index: 0,
        eval_id: String::new(),
        index: job.modify_index,
        job_create_index: job.create_index,
        dispatched_job_id: job.id,
    };
    answer_write(&body, job.modify_index)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ForceResponse {
    eval_create_index: u64,
    #[serde(rename = "EvalID")]
    eval_id: String,
    index: u64,
}

/// Starts the child of a periodic job now.
pub(super) fn force(ctx: &mut Ctx<'_>, id: &str) -> Result {
    write_only(ctx)?;
    let parent = ctx
        .reader
        .job(&ctx.params.namespace, id)?
        .ok_or_else(|| ApiError::failed("job not found"))?;
    if parent.periodic.is_none() {
        return Err(ApiError::failed("can't force launch non-periodic job"));
    }
    let at = ctx.now.wall_ns / 1_000_000_000;
    let command = periodic::launch(&parent, at, ctx.now, ctx.entropy);
    let reply: Reply = Box::new(move |_, _, applied| {
        let a = super::job_applied(applied)?;
        let body = ForceResponse {
            eval_create_index: a.eval_create_index,
            eval_id: a.eval_id,
            index: a.index,
        };
        Ok(answer_write(&body, a.index))
    });
    Ok(Outcome::Propose(Box::new(command), reply))
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "JobRevertRequest")]
struct RevertBody {
    #[serde(rename = "JobID")]
    job_id: String,
    job_version: u64,
    enforce_prior_version: Option<u64>,
}
}

/// Registers an earlier version as the newest.
pub(super) fn revert(ctx: &mut Ctx<'_>, id: &str) -> Result {
    write_only(ctx)?;
    let body: RevertBody = ctx.body()?;
    if body.job_id.is_empty() {
        return Err(ApiError::bad("JobID must be specified"));
    }
    if body.job_id != id {
        return Err(ApiError::bad("Job ID does not match"));
    }
    let namespace = &ctx.params.namespace;
    let current = ctx
        .reader
        .job(namespace, id)?
        .ok_or_else(|| ApiError::failed(format!("job {id:?} not found")))?;
    if body.job_version == current.version {
        return Err(ApiError::failed("can't revert to current version"));
    }
    if let Some(prior) = body.enforce_prior_version
        && prior != current.version
    {
        return Err(ApiError::failed(format!(
            "Current job has version {}; enforcing version {prior}",
            current.version
        )));
    }
    let version = body.job_version;
    let listed = keys::job_version(namespace, id, current.create_index, version);
    let old = ctx
        .reader
        .row(Table::JobVersion, &listed)?
        .filter(|row| !row.job().hidden)
        .and_then(|row| json::decode::<Job>(row.json).ok())
        .ok_or_else(|| {
            ApiError::failed(format!(
                "job {id:?} in namespace {namespace:?} at version {version} not found"
            ))
        })?;
    let submission = ctx.reader.job_submission(namespace, id, version)?.map(Box::new);
    let mut job = fresh(old, ctx.now.wall_ns);
    job.stop = false;
    super::register::propose(ctx, job, submission, Some(current.job_modify_index), 0, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ParameterizedJobConfig;

    #[test]
    fn dispatch_follows_the_parents_rules() {
        let parent = |payload: &str| Job {
            parameterized_job: Some(ParameterizedJobConfig {
                payload: payload.to_owned(),
                meta_required: vec!["k".to_owned()].into(),
                ..Default::default()
            }),
            ..Job::default()
        };
        let body = |payload: usize, keys: &[&str]| DispatchBody {
            payload: Bytes(vec![0; payload]),
            meta: keys.iter().map(|k| ((*k).to_owned(), String::new())).collect(),
            ..DispatchBody::default()
        };
        let text =
            |p: &str, b: DispatchBody| may_dispatch(&parent(p), &b).map_err(|e| e.text).err();
        assert_eq!(text("optional", body(1, &["k"])), None);
        for (payload, given, want) in [
            (
                "required",
                body(0, &["k"]),
                "Payload is not provided but required by parameterized job",
            ),
            ("forbidden", body(1, &["k"]), "Payload provided but forbidden by parameterized job"),
            ("optional", body(16_385, &["k"]), "Payload exceeds maximum size; 16385 > 16384"),
            (
                "optional",
                body(0, &["k", "z"]),
                "Dispatch request included unpermitted metadata keys: [z]",
            ),
            ("optional", body(0, &[]), "Dispatch did not provide required meta keys: [k]"),
        ] {
            assert_eq!(text(payload, given).as_deref(), Some(want));
        }
    }
}
