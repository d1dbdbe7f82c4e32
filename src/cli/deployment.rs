//! Deployments and evaluations.

use serde_json::{Value, json};

use super::args::Args;
use super::find::{self, Found};
use super::format::{fields, text};
use super::http::Query;
use super::monitor::{Monitor, deployment_text, follow};
use super::{Session, Stop, failed, job, lists};
use crate::api::Deployment;
use crate::stdx::json::decode;

/// Lines of an evaluation.
const EVAL: &str = "ID|Create Time:ago|Modify Time:ago|Status|Status Description|Type\
    |TriggeredBy|Job ID|Namespace|Node ID?:id|Priority|Placement Failures=FailedTGAllocs:any\
    |Previous Eval:id|Next Eval:id|Blocked Eval:id|Deployment ID?:id";

/// Shows a deployment, or all.
pub(super) fn status(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    if args.at(0).is_empty() {
        return super::show::list(
            session,
            args,
            "deployments",
            "/v1/deployments",
            lists::DEPLOYMENTS,
        );
    }
    let found = find::by_id(session, &find::DEPLOYMENT, args.at(0))?;
    show(session, args, found)
}

/// Shows a deployment, or the candidates.
pub(super) fn show(session: &mut Session<'_>, args: &Args, found: Found) -> Result<i32, Stop> {
    let Some(deployment) = found.or_candidates(session) else { return Ok(0) };
    let id = text(&deployment, "ID");
    if args.on("monitor") {
        return Monitor::new(session, args.on("verbose")).rollout(id);
    }
    print(session, args, &format!("/v1/deployment/{id}"))
}

/// Prints the deployment at a path.
pub(super) fn print(session: &mut Session<'_>, args: &Args, path: &str) -> Result<i32, Stop> {
    let wrong = "Error retrieving deployment";
    let body = session.api.get_raw(path, Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let deployment: Option<Deployment> = decode(&body).map_err(|e| format!("{wrong}: {e}"))?;
    match deployment {
        Some(d) => session.say(&deployment_text(&d, session.look.verbose)),
        None => session.say("No deployment found"),
    }
    Ok(0)
}

/// Changes a deployment and follows what comes of it.
fn change(
    session: &mut Session<'_>,
    args: &Args,
    (verb, error): (&str, &str),
    body: Value,
    said: &str,
) -> Result<i32, Stop> {
    let id = find::id(session, &find::DEPLOYMENT, args.at(0))?;
    let mut body = body;
    body["DeploymentID"] = id.as_str().into();
    let path = format!("/v1/deployment/{verb}/{id}");
    let answer = session.put(&path, Query::default(), &body, error)?;
    if !said.is_empty() {
        session.say(&said.replace("{}", &find::quoted(&id, session.look.verbose)));
    }
    follow(session, args, text(&answer, "EvalID"))
}

/// Lets canaries take over.
pub(super) fn promote(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let id = find::id(session, &find::DEPLOYMENT, args.at(0))?;
    promote_id(session, args, &id)
}

/// Lets the canaries of a deployment take over, of all groups or those of `-group`.
pub(super) fn promote_id(session: &mut Session<'_>, args: &Args, id: &str) -> Result<i32, Stop> {
    let groups: Vec<&str> = args.all("group").collect();
    let body = json!({ "DeploymentID": id, "All": groups.is_empty(), "Groups": groups });
    let path = format!("/v1/deployment/promote/{id}");
    let answer = session.put(&path, Query::default(), &body, "Error promoting deployment")?;
    follow(session, args, text(&answer, "EvalID"))
}

/// Calls a deployment failed.
pub(super) fn fail(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let said = "Deployment {} failed";
    change(session, args, ("fail", "Error failing deployment"), json!({}), said)
}

/// Halts a deployment.
pub(super) fn pause(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (body, said) = (json!({ "Pause": true }), "Deployment {} paused");
    change(session, args, ("pause", "Error pausing deployment"), body, said)
}

/// Goes on with a deployment.
pub(super) fn resume(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (body, said) = (json!({ "Pause": false }), "Deployment {} resumed");
    change(session, args, ("pause", "Error resuming deployment"), body, said)
}

/// Goes on with a deployment that waits for other regions.
pub(super) fn unblock(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let said = "Deployment {} unblocked";
    change(session, args, ("unblock", "Error unblocking deployment"), json!({}), said)
}

/// Shows an evaluation.
pub(super) fn eval_status(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let found = find::by_id(session, &find::EVAL, args.at(0))?;
    show_eval(session, args, found)
}

/// Shows an evaluation, or the candidates.
pub(super) fn show_eval(session: &mut Session<'_>, args: &Args, found: Found) -> Result<i32, Stop> {
    let Some(eval) = found.or_candidates(session) else { return Ok(0) };
    let id = text(&eval, "ID");
    if args.on("monitor") {
        return Monitor::new(session, args.on("verbose")).evaluation(id);
    }
    let wrong = "Error querying evaluation";
    let path = format!("/v1/evaluation/{id}");
    let body = session.api.get_raw(&path, Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let eval = super::http::decode(&body).map_err(failed(wrong))?;
    session.say(&fields(EVAL, &eval, session.look));
    for (group, metric) in super::format::entries(&eval, "FailedTGAllocs") {
        let metric: crate::api::AllocMetric =
            decode(metric.to_string().as_bytes()).unwrap_or_default();
        let why = super::monitor::reasons(&metric);
        session.section(&format!("Failed Placements of \"{group}\""), &why.join("\n"));
    }
    Ok(0)
}

/// Removes evaluations, by id or by an expression.
pub(super) fn eval_delete(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let filter = args.value("filter").unwrap_or_default();
    if filter.is_empty() == args.positionals.is_empty() {
        return Err(Stop::Usage("Either evaluations or -filter must be given".to_owned()));
    }
    let mut ids = Vec::new();
    for id in &args.positionals {
        ids.push(find::id(session, &find::EVAL, id)?);
    }
    let question = "Are you sure you want to delete these evaluations?";
    if !args.on("yes") && !job::confirm(session, question)? {
        return Ok(0);
    }
    let body = json!({ "EvalIDs": ids, "Filter": filter }).to_string();
    let answer = session
        .api
        .send("DELETE", "/v1/evaluations", Query::default(), Some(body.as_bytes()))
        .map_err(failed("Error deleting evaluations"))?;
    let n = match ids.len() {
        0 => super::format::int(&answer, "Count"),
        n => i64::try_from(n).unwrap_or(0),
    };
    session.say(&format!("Successfully deleted {}", super::format::count(n, "evaluation")));
    Ok(0)
}
