//! What is shown of a job besides its status.

use serde_json::Value;

use super::args::Args;
use super::find::{self, job_path};
use super::format::{columns, fields, int, list, text};
use super::http::Query;
use super::{Session, Stop, deployment, failed, http, lists, plan};

/// Prints the job as the server keeps it, or its source.
pub(super) fn inspect(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let path = job_path(&stub);
    let wrong = "Error inspecting job";
    let wanted = args.number("version").map_err(Stop::Usage)?;
    if args.on("hcl") {
        let newest = session.get(&path, Query::default(), wrong)?;
        let version = wanted.map_or_else(|| int(&newest, "Version").to_string(), |n| n.to_string());
        let query = Query::default().with("version", &version);
        let source = session.get(&format!("{path}/submission"), query, wrong)?;
        session.say(text(&source, "Source").trim_end());
        if args.on("with-vars") {
            session.say(&format!("\n{}", text(&source, "Variables").trim_end()));
        }
        return Ok(0);
    }
    let body = match wanted {
        None => session.api.get_raw(&path, Query::default()).map_err(failed(wrong))?,
        Some(version) => {
            let all = session.get(&format!("{path}/versions"), Query::default(), wrong)?;
            let same = |v: &&Value| v.get("Version").and_then(Value::as_u64) == Some(version);
            let found = list(&all, "Versions").iter().find(same);
            let none = || Stop::Error(format!("Job has no version {version}"));
            found.ok_or_else(none)?.to_string().into_bytes()
        }
    };
    if args.value("t").is_some() {
        session.shaped(args, &body)?;
    } else {
        session.json(&format!("{{\"Job\":{}}}", String::from_utf8_lossy(&body)));
    }
    Ok(0)
}

/// Shows versions, newest first.
pub(super) fn history(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let path = format!("{}/versions", job_path(&stub));
    let wrong = "Error retrieving job versions";
    let against = args.value("diff-version").or(args.value("diff-tag")).is_some();
    let diffs = args.on("p") || against;
    let query = Query::default()
        .with("diffs", if diffs { "true" } else { "" })
        .with("diff_version", args.value("diff-version").unwrap_or_default())
        .with("diff_tag", args.value("diff-tag").unwrap_or_default());
    let body = session.api.get_raw(&path, query).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed(wrong))?;
    let wanted = args.number("version").map_err(Stop::Usage)?;
    let mut first = true;
    for (i, version) in list(&all, "Versions").iter().enumerate() {
        let number = version.get("Version").and_then(Value::as_u64);
        if wanted.is_some() && wanted != number {
            continue;
        }
        if !std::mem::take(&mut first) {
            session.say("");
        }
        if args.on("full") {
            session.json(&version.to_string());
            continue;
        }
        let specs = "Version|Stable|Submit Date=SubmitTime:time|Tag Name?=VersionTag.Name\
            |Tag Description?=VersionTag.Description";
        session.say(&fields(specs, version, session.look));
        if let Some(diff) = list(&all, "Diffs").get(i).filter(|_| diffs) {
            let text = plan::difference(session, diff, false);
            session.say(&format!("\nDiff\n{text}"));
        }
    }
    Ok(0)
}

/// Shows when groups were scaled, newest first.
pub(super) fn scaling_events(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let path = format!("{}/scale", job_path(&stub));
    let wrong = "Error listing scaling events";
    let body = session.api.get_raw(&path, Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed(wrong))?;
    let mut events: Vec<Value> = Vec::new();
    for (group, status) in super::format::entries(&all, "TaskGroups") {
        for event in list(status, "Events") {
            let mut event = event.clone();
            event["Group"] = group.into();
            events.push(event);
        }
    }
    if events.is_empty() {
        session.say("No events found");
        return Ok(0);
    }
    crate::stdx::sort::by(&mut events, |a, b| int(b, "Time").cmp(&int(a, "Time")));
    let specs = "Task Group=Group|Count:none|PrevCount=PreviousCount|Error|Message|Eval ID:id\
        |Date=Time:time";
    session.say(&columns(specs, &events, session.look));
    Ok(0)
}

fn below(
    session: &mut Session<'_>,
    args: &Args,
    (sub, what): (&str, &str),
    specs: &str,
) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let path = format!("{}/{sub}", job_path(&stub));
    super::show::list(session, args, what, &path, specs)
}

/// Shows the allocations of a job.
pub(super) fn allocs(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    below(session, args, ("allocations", "allocations"), lists::ALLOCS)
}

/// Shows the deployments of a job, or the newest.
pub(super) fn deployments(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    if !args.on("latest") {
        return below(session, args, ("deployments", "deployments"), lists::DEPLOYMENTS);
    }
    let stub = find::job(session, args.at(0))?;
    let path = format!("{}/deployment", job_path(&stub));
    deployment::print(session, args, &path)
}
