//! `job run`, `validate`, `stop` and `init`.

use serde_json::Value;

use super::args::Args;
use super::find;
use super::format::{at, list, nanos, plain, span, text, time};
use super::http::{Query, escape};
use super::jobfile::JobFile;
use super::monitor::Monitor;
use super::{Session, Stop, failed};

/// Submits a job and follows it.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let job =
        JobFile::read(args.at(0), args).map_err(|e| format!("Error getting job struct: {e}"))?;
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
    let answer = session
        .api
        .send("PUT", "/v1/jobs", query, Some(body.as_bytes()))
        .map_err(failed("Error submitting job"))?;
    warnings(session, &answer);
    let eval = text(&answer, "EvalID");
    if eval.is_empty() {
        session.say("Job registration successful");
        let path = format!("/v1/job/{}/plan", escape(&job.id));
        let body = format!("{{\"Job\":{}}}", job.json);
        let planned = session.api.send("PUT", &path, Query::default(), Some(body.as_bytes()));
        let next = nanos(at(&planned.unwrap_or_default(), "NextPeriodicLaunch"));
        if next > 0 {
            let left = span((next - session.look.now) / 1_000_000_000);
            session.say(&format!("Approximate next launch time: {} ({left} from now)", time(next)));
        }
        return Ok(0);
    }
    if args.on("detach") {
        session.say(&format!("Job registration successful\nEvaluation ID: {eval}"));
        return Ok(0);
    }
    let status = Monitor::new(session, args.on("verbose")).evaluation(eval)?;
    session.hint(&format!("Look at it: vardo job status {}", job.id));
    Ok(status)
}

/// Stops jobs and follows what comes of it.
pub(super) fn stop(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
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
    let given = session.api.namespace.clone();
    let job = find::job(session, id)?;
    let outcome = stop_found(session, args, &job, text(&job, "ID") == id);
    session.api.namespace = given;
    outcome
}

fn stop_found(
    session: &mut Session<'_>,
    args: &Args,
    job: &Value,
    exact: bool,
) -> Result<i32, Stop> {
    if !exact && !args.on("yes") {
        let question = format!("Are you sure you want to stop job \"{}\"?", text(job, "ID"));
        if !confirm(session, &question)? {
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
    let answer = session
        .api
        .send("DELETE", &find::job_path(job), query, None)
        .map_err(failed("Error deregistering job"))?;
    match text(&answer, "EvalID") {
        "" => Ok(0),
        eval if args.on("detach") => {
            session.say(eval);
            Ok(0)
        }
        eval => Monitor::new(session, args.on("verbose")).stop(eval),
    }
}

/// Asks a person; only `y` and `yes` are consent.
pub(super) fn confirm(session: &mut Session<'_>, question: &str) -> Result<bool, Stop> {
    session.say(&format!("{question} [y/N]"));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|e| format!("no answer: {e}"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints what a server warns of.
pub(super) fn warnings(session: &mut Session<'_>, answer: &Value) {
    let warnings = text(answer, "Warnings").trim_end();
    if !warnings.is_empty() {
        session.say(&format!("Job Warnings:\n{warnings}\n"));
    }
}

/// Tells what is wrong with a file: here, and by the rules of the server.
pub(super) fn validate(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let job = JobFile::read(args.at(0), args).map_err(|e| format!("Error parsing job: {e}"))?;
    let body = format!("{{\"Job\":{}}}", job.json);
    let answer = session
        .api
        .send("PUT", "/v1/validate/job", Query::default(), Some(body.as_bytes()))
        .map_err(failed("Error validating job"))?;
    warnings(session, &answer);
    let wrong: Vec<String> = list(&answer, "ValidationErrors").iter().map(plain).collect();
    if !text(&answer, "Error").is_empty() {
        let wrong = if wrong.is_empty() { text(&answer, "Error").into() } else { wrong.join("\n") };
        return Err(Stop::Error(format!("Job validation errors:\n{wrong}")));
    }
    session.say("Job validation successful");
    Ok(0)
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
    for (flag, field) in [
        ("preserve-counts", "PreserveCounts"),
        ("preserve-resources", "PreserveResources"),
        ("policy-override", "PolicyOverride"),
    ] {
        if args.on(flag) {
            body.push_str(&format!(",\"{field}\":true"));
        }
    }
    body.push_str(&format!(",\"Submission\":{}}}", job.submission));
    Ok(body)
}
