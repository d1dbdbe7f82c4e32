//! `job run` and `job stop`.

use super::args::Args;
use super::find::{self, Found};
use super::http::{Query, escape};
use super::jobfile::JobFile;
use super::monitor::Monitor;
use super::{Session, Stop, failed};
use crate::api::{JobDeregisterResponse, JobRegisterResponse};

/// Submits a job and follows it.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let [path] = args.positionals.as_slice() else {
        return Err(Stop::Usage("This command takes one argument: <path>".to_owned()));
    };
    let job = JobFile::read(path, args).map_err(|e| format!("Error getting job struct: {e}"))?;
    if args.on("output") {
        session.json(&format!("{{\"Job\":{}}}", job.json));
        return Ok(0);
    }
    let namespace = session.api.namespace.clone();
    if namespace.is_empty() {
        session.api.namespace.clone_from(&job.namespace);
    }
    let body = submission(&job, args)?;
    let query = Query::default();
    let answer: JobRegisterResponse = session
        .api
        .put("/v1/jobs", query, body.as_bytes())
        .map_err(failed("Error submitting job"))?;
    if !answer.warnings.is_empty() {
        session.say(&format!("Job Warnings:\n{}\n", answer.warnings.trim_end()));
    }
    if answer.eval_id.is_empty() {
        session.say("Job registration successful");
        return Ok(0);
    }
    if args.on("detach") {
        session.say(&format!("Job registration successful\nEvaluation ID: {}", answer.eval_id));
        return Ok(0);
    }
    Monitor::new(session, args.on("verbose")).evaluation(&answer.eval_id)
}

/// Stops jobs and follows what comes of it.
pub(super) fn stop(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    if args.positionals.is_empty() {
        return Err(Stop::Usage("This command takes at least one argument: <job>".to_owned()));
    }
    let mut status = 0;
    for id in &args.positionals {
        let outcome = stop_one(session, args, id);
        match outcome {
            Ok(one) => status = status.max(one),
            Err(Stop::Error(text)) => {
                session.warn(&text);
                status = 1;
            }
            Err(usage) => return Err(usage),
        }
    }
    Ok(status)
}

fn stop_one(session: &mut Session<'_>, args: &Args, id: &str) -> Result<i32, Stop> {
    let missing = || Stop::Error(format!("No job(s) with prefix or ID \"{id}\" found"));
    let job = match find::job(session, id)?.ok_or_else(missing)? {
        Found::One(job) => job,
        Found::Several(text) => return Err(Stop::Error(text)),
    };
    if job.id != *id && !args.on("yes") {
        let question = format!("Are you sure you want to stop job \"{}\"? [y/N]", job.id);
        session.say(&question);
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(|e| format!("no answer: {e}"))?;
        if answer.trim() != "y" {
            session.say("Cancelling job stop");
            return Ok(0);
        }
    }
    let on = |name: &str| if args.on(name) { "true" } else { "" };
    let query = Query::default()
        .with("purge", on("purge"))
        .with("global", on("global"))
        .with("no_shutdown_delay", on("no-shutdown-delay"))
        .with("eval_priority", args.value("eval-priority").unwrap_or_default());
    if session.api.namespace.is_empty() || session.api.namespace == "*" {
        session.api.namespace.clone_from(&job.namespace);
    }
    let answer: JobDeregisterResponse = session
        .api
        .delete(&format!("/v1/job/{}", escape(&job.id)), query)
        .map_err(failed("Error deregistering job"))?;
    if answer.eval_id.is_empty() {
        return Ok(0);
    }
    if args.on("detach") {
        session.say(&answer.eval_id);
        return Ok(0);
    }
    Monitor::new(session, args.on("verbose")).stop(&answer.eval_id)
}

/// The body of the registration, with the source for the job's page.
fn submission(job: &JobFile, args: &Args) -> Result<String, Stop> {
    let mut body = format!("{{\"Job\":{}", job.json);
    if let Some(index) = args.number("check-index").map_err(Stop::Usage)? {
        body.push_str(&format!(",\"EnforceIndex\":true,\"JobModifyIndex\":{index}"));
    }
    if let Some(priority) = args.number("eval-priority").map_err(Stop::Usage)? {
        body.push_str(&format!(",\"EvalPriority\":{priority}"));
    }
    for (flag, field) in
        [("preserve-counts", "PreserveCounts"), ("policy-override", "PolicyOverride")]
    {
        if args.on(flag) {
            body.push_str(&format!(",\"{field}\":true"));
        }
    }
    body.push_str(&format!(",\"Submission\":{}}}", job.submission));
    Ok(body)
}
