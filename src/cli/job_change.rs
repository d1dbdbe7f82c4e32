//! What is done to jobs that there are.

use serde_json::{Value, json};

use super::args::Args;
use super::find::{self, job_path};
use super::format::{at, int, list, plain, text};
use super::http::{Query, escape};
use super::monitor::{Monitor, follow};
use super::{Session, Stop, failed, job, system};
use crate::stdx::{duration, json::Bytes};

/// PUT below a job, and what comes of it.
fn change(
    session: &mut Session<'_>,
    args: &Args,
    path: &str,
    body: &Value,
    what: &str,
) -> Result<i32, Stop> {
    let answer = session.put(path, Query::default(), body, what)?;
    job::warnings(session, &answer);
    follow(session, args, text(&answer, "EvalID"))
}

/// Registers a stopped job again as it was.
pub(super) fn start(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let wrong = "Error querying job";
    let mut whole = session.get(&job_path(&stub), Query::default(), wrong)?;
    if at(&whole, "Stop").as_bool() != Some(true) {
        let id = text(&stub, "ID");
        return Err(Stop::Error(format!("Job \"{id}\" has not been stopped")));
    }
    whole["Stop"] = false.into();
    let source = format!("{}/submission", job_path(&stub));
    let version = int(&whole, "Version").to_string();
    // Without its source the job starts all the same.
    let query = Query::default().with("version", &version);
    let submission = session.api.get(&source, query).unwrap_or_default();
    let body = json!({ "Job": whole, "Submission": submission });
    change(session, args, "/v1/jobs", &body, "Error starting job")
}

/// Runs a former version again.
pub(super) fn revert(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let path = job_path(&stub);
    let version = match args.at(1).parse::<u64>() {
        Ok(version) => version,
        Err(_) => {
            let wrong = "Error retrieving job versions";
            let all = session.get(&format!("{path}/versions"), Query::default(), wrong)?;
            let named = |v: &&Value| text(v, "VersionTag.Name") == args.at(1);
            let found = list(&all, "Versions").iter().find(named);
            let none = || Stop::Error(format!("No version named \"{}\" found", args.at(1)));
            found.map(|v| at(v, "Version").as_u64().unwrap_or(0)).ok_or_else(none)?
        }
    };
    let body = json!({ "JobID": text(&stub, "ID"), "JobVersion": version });
    change(session, args, &format!("{path}/revert"), &body, "Error reverting job")
}

/// Changes the count of a group.
pub(super) fn scale(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let last = args.positionals.len() - 1;
    let count: i64 = args
        .at(last)
        .parse()
        .map_err(|_| Stop::Error(format!("Failed to convert count {:?} to int", args.at(last))))?;
    let stub = find::job(session, args.at(0))?;
    let path = job_path(&stub);
    let group = if last == 2 {
        args.at(1).to_owned()
    } else {
        let whole = session.get(&path, Query::default(), "Error querying job")?;
        match list(&whole, "TaskGroups") {
            [only] => text(only, "Name").to_owned(),
            _ => {
                let text = "Group name required: the job has several groups";
                return Err(Stop::Error(text.to_owned()));
            }
        }
    };
    let mut body = json!({
        "Count": count, "Target": { "Group": group },
        "Message": "submitted using the vardo command line",
    });
    if let Some(index) = args.number("check-index").map_err(Stop::Usage)? {
        body["JobModifyIndex"] = index.into();
    }
    change(session, args, &format!("{path}/scale"), &body, "Error submitting scaling request")
}

/// Has a job looked at again.
pub(super) fn eval(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let options = json!({ "ForceReschedule": args.on("force-reschedule") });
    let body = json!({ "JobID": text(&stub, "ID"), "EvalOptions": options });
    let path = format!("{}/evaluate", job_path(&stub));
    change(session, args, &path, &body, "Error evaluating job")
}

/// Starts an instance of a parameterized job.
pub(super) fn dispatch(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut meta = serde_json::Map::new();
    for pair in args.all("meta") {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Stop::Error(format!("Error parsing meta value: {pair}")))?;
        meta.insert(key.to_owned(), value.into());
    }
    let payload = match args.at(1) {
        "" => Vec::new(),
        path => system::read(path)?,
    };
    let stub = find::job(session, args.at(0))?;
    let body = json!({
        "Meta": meta,
        "Payload": Bytes::encode(&payload),
        "IdPrefixTemplate": args.value("id-prefix-template").unwrap_or_default(),
        "Priority": args.number("priority").map_err(Stop::Usage)?.unwrap_or(0),
    });
    let token = args.value("idempotency-token").unwrap_or_default();
    let query = Query::default().with("idempotency_token", token);
    let path = format!("{}/dispatch", job_path(&stub));
    let answer = session.put(&path, query, &body, "Failed to dispatch job")?;
    let eval = text(&answer, "EvalID");
    session.say(&format!("Dispatched Job ID = {}", text(&answer, "DispatchedJobID")));
    if !eval.is_empty() {
        let shown = super::format::short(eval, session.look.verbose);
        session.say(&format!("Evaluation ID     = {shown}"));
    }
    if args.on("detach") || eval.is_empty() {
        return Ok(0);
    }
    session.say("");
    let code = Monitor::new(session, args.on("verbose")).evaluation(eval)?;
    match code {
        0 | 1 if args.on("wait") => until_dead(session, text(&answer, "DispatchedJobID")),
        code => Ok(code),
    }
}

/// Waits until an instance has ended; 2 where one of its allocations did not end well.
fn until_dead(session: &mut Session<'_>, id: &str) -> Result<i32, Stop> {
    let wrong = "Error querying job";
    let (path, mut index) = (format!("/v1/job/{}", escape(id)), 0);
    loop {
        let query = Query::default().with("index", &index.to_string()).with("wait", "1m");
        let (at, body) = session.api.whole("GET", &path, query, None).map_err(failed(wrong))?;
        let job = super::http::decode(&body).map_err(failed(wrong))?;
        if text(&job, "Status") == "dead" {
            break;
        }
        index = at;
    }
    let all = session.get(&format!("{path}/allocations"), Query::default(), wrong)?;
    let well = list(&all, "").iter().all(|a| text(a, "ClientStatus") == "complete");
    session.say(&format!("Job {id:?} has ended{}", if well { "" } else { ", not well" }));
    Ok(if well { 0 } else { 2 })
}

/// Starts a periodic job now.
pub(super) fn periodic_force(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let path = format!("{}/periodic/force", job_path(&stub));
    let what = format!("Error forcing periodic job \"{}\"", text(&stub, "ID"));
    change(session, args, &path, &Value::Null, &what)
}

/// Lets the canaries of the newest deployment take over.
pub(super) fn promote(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let path = format!("{}/deployment", job_path(&stub));
    let deployment = session.get(&path, Query::default(), "Error retrieving job deployments")?;
    match text(&deployment, "ID") {
        "" => {
            let id = text(&stub, "ID");
            Err(Stop::Error(format!("Job \"{id}\" has no deployment to promote")))
        }
        id => super::deployment::promote_id(session, args, id),
    }
}

/// Restarts (or replaces) the running allocations of a job, a batch at a time.
pub(super) fn restart(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let stub = find::job(session, args.at(0))?;
    let path = format!("{}/allocations", job_path(&stub));
    let all = session.get(&path, Query::default(), "Error retrieving allocations")?;
    let groups: Vec<&str> = args.all("group").collect();
    let wanted = |a: &&Value| {
        text(a, "ClientStatus") == "running"
            && text(a, "DesiredStatus") == "run"
            && (groups.is_empty() || groups.contains(&text(a, "TaskGroup")))
    };
    let ids: Vec<&str> = list(&all, "").iter().filter(wanted).map(|a| text(a, "ID")).collect();
    let size = args.value("batch-size").unwrap_or("1");
    let wrong = || Stop::Usage(format!("invalid value {size:?} for flag -batch-size"));
    let size = match size.strip_suffix('%') {
        Some(share) => ids.len() * share.parse::<usize>().map_err(|_| wrong())? / 100,
        None => size.parse().map_err(|_| wrong())?,
    };
    let wait = args.value("batch-wait").unwrap_or("0s");
    let pause =
        match wait {
            "ask" => None,
            _ => Some(duration::parse(wait).and_then(|ns| u64::try_from(ns).ok()).ok_or_else(
                || Stop::Usage(format!("invalid value {wait:?} for flag -batch-wait")),
            )?),
        };
    let on_error = args.value("on-error").unwrap_or("fail");
    if !matches!(on_error, "fail" | "skip" | "ask") {
        return Err(Stop::Usage(format!("invalid value {on_error:?} for flag -on-error")));
    }
    let question = format!("Restart {} allocations of job \"{}\"?", ids.len(), text(&stub, "ID"));
    if session.terminal && !args.on("yes") && !job::confirm(session, &question)? {
        return Ok(0);
    }
    let mut failures = 0;
    for (i, batch) in ids.chunks(size.max(1)).enumerate() {
        match pause {
            Some(ns) if i > 0 => system::pause(ns),
            None if i > 0 && !job::confirm(session, "Go on with the next batch?")? => return Ok(1),
            _ => {}
        }
        for id in batch {
            let shown = find::quoted(id, session.look.verbose);
            match restart_one(session, args, id) {
                Ok(()) => session.say(&format!("Restarted allocation {shown}")),
                Err(Stop::Error(text)) if on_error != "fail" => {
                    session.warn(&text);
                    if on_error == "ask" && !job::confirm(session, "Go on with the others?")? {
                        return Ok(1);
                    }
                    failures += 1;
                }
                Err(stop) => return Err(stop),
            }
        }
    }
    session.say("Job restart finished");
    Ok(i32::from(failures > 0))
}

fn restart_one(session: &Session<'_>, args: &Args, id: &str) -> Result<(), Stop> {
    let what = format!("Error restarting allocation \"{id}\"");
    if args.on("reschedule") {
        let delay = if args.on("no-shutdown-delay") { "true" } else { "" };
        let query = Query::default().with("no_shutdown_delay", delay).with("reschedule", "true");
        return session
            .put(&format!("/v1/allocation/{id}/stop"), query, &Value::Null, &what)
            .map(drop);
    }
    let mut tasks: Vec<&str> = args.all("task").collect();
    if tasks.is_empty() {
        tasks.push("");
    }
    for task in tasks {
        let body = json!({ "TaskName": task, "AllTasks": args.on("all-tasks") });
        let path = format!("/v1/client/allocation/{id}/restart");
        session.put(&path, Query::default(), &body, &what)?;
    }
    Ok(())
}

fn tag_path(session: &mut Session<'_>, args: &Args) -> Result<String, Stop> {
    let name = args.value("name").unwrap_or_default();
    if name.is_empty() {
        return Err(Stop::Usage("A name is needed: -name".to_owned()));
    }
    let stub = find::job(session, args.at(0))?;
    Ok(format!("{}/versions/{}/tag", job_path(&stub), escape(name)))
}

/// Names a version.
pub(super) fn tag_apply(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let version = args.number("version").map_err(Stop::Usage)?;
    let path = tag_path(session, args)?;
    let body = json!({
        "Version": version.unwrap_or(0),
        "Latest": version.is_none(),
        "Description": args.value("description").unwrap_or_default(),
    });
    let answer = session.put(&path, Query::default(), &body, "Error tagging job version")?;
    session.say(&format!("Applied tag \"{}\" to the job", plain(at(&answer, "Name"))));
    Ok(0)
}

/// Takes a name from a version.
pub(super) fn tag_unset(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = tag_path(session, args)?;
    let what = "Error removing tag from job";
    session.api.send("DELETE", &path, Query::default(), None).map_err(failed(what))?;
    session.say("Removed the tag from the job");
    Ok(0)
}
