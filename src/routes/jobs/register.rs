//! Registration and validation of jobs.

use super::{Ctx, Result, answer_write, eval_priority_ok, evaluation, is_template, write_only};
use crate::acl::{ns, volume};
use crate::api::{
    ApiError, Job, JobRegisterResponse, JobSubmission, JobValidateResponse, multi_error, status,
};
use crate::command::Command;
use crate::http::query::percent_encode;
use crate::jobspec::{self, AdmitCtx};
use crate::routes::auth::need;
use crate::routes::{Answer, Outcome, Reply};
use crate::stdx::json::{Printed, records};
use crate::store::{StoreError, Table, keys};

records! {
/// What a registration, a plan or a validation may say.
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "JobRegisterRequest")]
pub(super) struct Body {
    pub(super) job: Option<Box<Job>>,
    /// Plans: tell what changes.
    pub(super) diff: bool,
    submission: Option<Box<JobSubmission>>,
    enforce_index: bool,
    job_modify_index: u64,
    preserve_counts: bool,
    preserve_resources: bool,
    eval_priority: i64,
    policy_override: bool,
    pub(super) region: String,
    pub(super) namespace: String,
}
}

/// Runs [`jobspec::admit`] with what this cluster says.
pub(in crate::routes) fn admit(ctx: &Ctx<'_>, job: Job) -> Result<jobspec::Admitted> {
    let reader = ctx.reader;
    let config = reader.scheduler_config()?;
    Ok(jobspec::admit(
        job,
        &AdmitCtx {
            region: &ctx.agent.region,
            priority_default: ctx.agent.job_default_priority,
            priority_max: ctx.agent.job_max_priority,
            count_max: ctx.agent.job_max_count,
            memory_oversubscription: config.memory_oversubscription_enabled,
            zones: ctx.agent.zones,
            namespace: &|name| found(reader.namespace(name)),
            pool_exists: &|name| found(reader.row(Table::NodePool, &keys::name(name))).is_some(),
        },
    ))
}

/// A row that the checks look up. One that cannot be read counts as absent, so that the job is
/// refused.
fn found<T>(row: std::result::Result<Option<T>, StoreError>) -> Option<T> {
    row.unwrap_or_else(|e| {
        log::error!("a job cannot be checked: {e}");
        None
    })
}

/// The same request for the region that the job, or what it is handed in with, asks for, where that
/// is another one.
pub(super) fn elsewhere(ctx: &Ctx<'_>, job: &Job, region: &str) -> Option<Outcome> {
    let asked = [region, &ctx.params.region, &job.region].into_iter().find(|r| !r.is_empty())?;
    if asked == "global" || asked == ctx.agent.region {
        return None;
    }
    let mut target = format!("{}?region=", ctx.req.raw_path());
    percent_encode(asked, &mut target);
    let other = |part: &&str| !part.is_empty() && part.split('=').next() != Some("region");
    for part in ctx.req.query().split('&').filter(other) {
        target.push('&');
        target.push_str(part);
    }
    Some(Outcome::Instead(target))
}

/// Region and namespace of a job that is handed in here, by the order of precedence of the API.
pub(in crate::routes) fn place(ctx: &Ctx<'_>, job: &mut Job, namespace: &str) {
    job.region.clone_from(&ctx.agent.region);
    if ctx.params.namespace_given {
        job.namespace.clone_from(&ctx.params.namespace);
    } else if !namespace.is_empty() {
        namespace.clone_into(&mut job.namespace);
    }
    if job.namespace.is_empty() {
        status::NAMESPACE_DEFAULT.clone_into(&mut job.namespace);
    }
}

/// `path_id`: the id in the path, where the job is named there.
pub(super) fn register(ctx: &mut Ctx<'_>, path_id: Option<&str>) -> Result {
    let body: Body = ctx.body()?;
    let Some(mut job) = body.job else { return Err(ApiError::bad("Job must be specified")) };
    if job.id.is_empty() {
        return Err(ApiError::bad("Job ID hasn't been provided"));
    }
    if path_id.is_some_and(|id| id != job.id) {
        return Err(ApiError::bad("Job ID does not match name"));
    }
    if job.kind == status::JOB_SYSTEM && job.task_groups.iter().any(|g| g.scaling.is_some()) {
        return Err(ApiError::bad(
            "Task groups with job type system do not support scaling blocks",
        ));
    }
    eval_priority_ok(body.eval_priority)?;
    if let Some(other) = elsewhere(ctx, &job, &body.region) {
        return Ok(other);
    }
    place(ctx, &mut job, &body.namespace);
    let existing = ctx.reader.job(&job.namespace, &job.id)?;
    if let Some(old) = &existing {
        preserve(&mut job, old, body.preserve_counts, body.preserve_resources);
    }
    let (mut job, mut warnings) = admit(ctx, *job)?.map_err(|e| jobspec::refusal(&e))?;
    may_register(ctx, &job, body.policy_override)?;
    if ctx.agent.acl.enabled {
        ctx.accessor().clone_into(&mut job.nomad_token_id);
    }
    name_policies(ctx, &mut job, existing.as_ref());
    super::registration_allowed(ctx)?;
    let enforce = body.enforce_index.then_some(body.job_modify_index);
    enforced(enforce, existing.as_ref())?;
    if let Some(old) = &existing {
        same_nature(old, &job)?;
    }
    job.submit_time = ctx.now.wall_ns;
    let submission = submission(ctx, &job, body.submission, &mut warnings);
    propose(ctx, job, submission, enforce, body.eval_priority, &warnings)
}

/// Rights over the namespace, and over what the job wants to mount.
fn may_register(ctx: &Ctx<'_>, job: &Job, policy_override: bool) -> Result<()> {
    let space = &job.namespace;
    ctx.need_ns(space, ns::SUBMIT_JOB | ns::REGISTER_JOB)?;
    if policy_override {
        ctx.need_ns(space, ns::SENTINEL_OVERRIDE)?;
    }
    for wanted in job.task_groups.iter().flat_map(|g| g.volumes.values()) {
        let cap = match (wanted.kind.as_str(), wanted.read_only) {
            ("csi", _) => {
                ctx.need_ns(space, ns::CSI_MOUNT_VOLUME)?;
                continue;
            }
            (_, true) => volume::MOUNT_READONLY | volume::MOUNT_READWRITE,
            (_, false) => volume::MOUNT_READWRITE,
        };
        need(ctx.may(|a| a.host_volume(&wanted.source, cap)))?;
    }
    Ok(())
}

/// Puts a job into the log, with its evaluation, and answers as a registration does.
pub(super) fn propose(
    ctx: &mut Ctx<'_>,
    job: Job,
    submission: Option<Box<JobSubmission>>,
    enforce: Option<u64>,
    eval_priority: i64,
    warnings: &[String],
) -> Result {
    let eval = (!is_template(&job))
        .then(|| Box::new(evaluation(ctx, &job, status::TRIGGER_JOB_REGISTER, eval_priority)));
    let warnings = jobspec::join_warnings(warnings);
    let reply: Reply = Box::new(move |_, _, applied| {
        let a = super::job_applied(applied)?;
        let body = JobRegisterResponse {
            eval_create_index: a.eval_create_index,
            eval_id: a.eval_id,
            index: a.index,
            job_modify_index: a.job_modify_index,
            warnings,
            ..JobRegisterResponse::default()
        };
        Ok(answer_write(&body, a.index))
    });
    let command =
        Command::JobRegister { job: Printed::new(Box::new(job)), submission, eval, enforce };
    Ok(Outcome::Propose(Box::new(command), reply))
}

/// What stands wins over what is handed in, group by group.
fn preserve(job: &mut Job, old: &Job, counts: bool, resources: bool) {
    for g in job.task_groups.iter_mut() {
        let Some(was) = old.task_groups.iter().find(|o| o.name == g.name) else { continue };
        if counts {
            g.count = was.count;
        }
        if !resources {
            continue;
        }
        for t in g.tasks.iter_mut() {
            if let Some(was) = was.tasks.iter().find(|o| o.name == t.name) {
                t.resources.clone_from(&was.resources);
            }
        }
    }
}

/// Gives scaling policies their ids: those that they have, or new ones.
pub(super) fn name_policies(ctx: &mut Ctx<'_>, job: &mut Job, old: Option<&Job>) {
    for g in job.task_groups.iter_mut() {
        let Some(policy) = &mut g.scaling else { continue };
        let before = old.and_then(|o| o.task_groups.iter().find(|o| o.name == g.name));
        policy.id = match before.and_then(|b| b.scaling.as_ref()) {
            Some(known) => known.id.clone(),
            None => ctx.new_id(),
        };
    }
}

/// `EnforceIndex`: the job must be as the caller last saw it. Apply checks again.
fn enforced(enforce: Option<u64>, existing: Option<&Job>) -> Result<()> {
    let why = match (enforce, existing) {
        (None, _) | (Some(0), None) => return Ok(()),
        (Some(0), Some(_)) => "job already exists".to_owned(),
        (Some(_), None) => "job does not exist".to_owned(),
        (Some(n), Some(job)) if n == job.job_modify_index => return Ok(()),
        (Some(_), Some(job)) => {
            format!("job exists with conflicting job modify index: {}", job.job_modify_index)
        }
    };
    let n = enforce.unwrap_or_default();
    Err(ApiError::failed(format!("Enforcing job modify index {n}: {why}")))
}

/// What a job is cannot change from one version to the next.
pub(super) fn same_nature(old: &Job, new: &Job) -> Result<()> {
    if old.kind != new.kind {
        return Err(ApiError::failed(format!(
            "cannot update job from type {:?} to {:?}",
            old.kind, new.kind
        )));
    }
    for (was, is, word) in [
        (old.periodic.is_some(), new.periodic.is_some(), "periodic"),
        (old.parameterized_job.is_some(), new.parameterized_job.is_some(), "parameterized"),
    ] {
        let (from, to) = match (was, is) {
            (true, false) => (word.to_owned(), format!("non-{word}")),
            (false, true) => (format!("non-{word}"), word.to_owned()),
            _ => continue,
        };
        return Err(ApiError::failed(format!("cannot update {from} job to being {to}")));
    }
    Ok(())
}

/// The source that goes with the job, unless it is too large or there is none.
fn submission(
    ctx: &Ctx<'_>,
    job: &Job,
    given: Option<Box<JobSubmission>>,
    warnings: &mut Vec<String>,
) -> Option<Box<JobSubmission>> {
    let mut s = given.filter(|s| !s.source.is_empty())?;
    let flags: usize = s.variable_flags.iter().map(|(k, v)| k.len() + v.len()).sum();
    let size = (s.source.len() + s.variables.len() + flags) as u64;
    let limit = ctx.agent.job_max_source_size;
    if size > limit {
        warnings.push(format!(
            "job source size of {} exceeds maximum of {} and will be discarded",
            human(size),
            human(limit)
        ));
        return None;
    }
    s.namespace.clone_from(&job.namespace);
    s.job_id.clone_from(&job.id);
    Some(s)
}

/// Bytes in units of a thousand: `1.5 MB`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 9.95 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// `/v1/validate/job`: an invalid job is a good answer.
pub(in crate::routes) fn validate(ctx: &mut Ctx<'_>) -> Result {
    write_only(ctx)?;
    let body: Body = ctx.body()?;
    let Some(mut job) = body.job else { return Err(ApiError::bad("Job must be specified")) };
    if job.namespace.is_empty() {
        job.namespace.clone_from(&ctx.params.namespace);
    }
    job.region.clone_from(&ctx.agent.region);
    let mut answer =
        JobValidateResponse { driver_config_validated: true, ..JobValidateResponse::default() };
    let namespace = job.namespace.clone();
    let admitted = admit(ctx, *job)?;
    ctx.need_ns(&namespace, ns::READ_JOB)?;
    match admitted {
        Ok((_, warnings)) => answer.warnings = jobspec::join_warnings(&warnings),
        Err(errors) => {
            answer.error = multi_error(&errors);
            answer.validation_errors = errors.into();
        }
    }
    Ok(Answer::json(&answer).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enforcement_answers_the_recorded_texts() {
        let job = Job { job_modify_index: 11, ..Job::default() };
        let text = |n, job: Option<&Job>| enforced(Some(n), job).map_err(|e| e.text).err();
        assert_eq!(
            text(5, Some(&job)).as_deref(),
            Some("Enforcing job modify index 5: job exists with conflicting job modify index: 11")
        );
        assert_eq!(
            text(0, Some(&job)).as_deref(),
            Some("Enforcing job modify index 0: job already exists")
        );
        assert_eq!(
            text(9, None).as_deref(),
            Some("Enforcing job modify index 9: job does not exist")
        );
        assert_eq!((text(11, Some(&job)), text(0, None)), (None, None));
    }

    #[test]
    fn the_nature_of_a_job_stays() {
        let plain = Job { kind: "batch".to_owned(), ..Job::default() };
        let periodic = Job { periodic: Some(Default::default()), ..plain.clone() };
        let service = Job { kind: "service".to_owned(), ..Job::default() };
        let text = |a: &Job, b: &Job| same_nature(a, b).map_err(|e| e.text);
        assert_eq!(text(&plain, &plain), Ok(()));
        assert_eq!(
            text(&plain, &service).unwrap_err(),
            "cannot update job from type \"batch\" to \"service\""
        );
        assert_eq!(
            text(&periodic, &plain).unwrap_err(),
            "cannot update periodic job to being non-periodic"
        );
        assert_eq!(
            text(&plain, &periodic).unwrap_err(),
            "cannot update non-periodic job to being periodic"
        );
    }

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in
            [(5, "5 B"), (1_000_000, "1.0 MB"), (2_345_678, "2.3 MB"), (12_000, "12 kB")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
