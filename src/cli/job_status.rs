//! `job status`, and `status` which also takes ids of allocations and nodes.

use super::args::Args;
use super::find::{self, Found};
use super::format::{pairs, row, short, table, time};
use super::http::{Failure, Query, escape};
use super::monitor::{deployed, reasons};
use super::{Session, Stop, alloc, failed, node, system};
use crate::api::{AllocListStub, Deployment, Evaluation, Job, JobListStub, JobSummary};

/// Lists jobs, or shows the one that is named.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    match args.positionals.as_slice() {
        [] => list(session, args),
        [id] => one(session, args, id),
        _ => Err(Stop::Usage("This command takes either no arguments or one: <job>".to_owned())),
    }
}

fn list(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    if args.on("json") {
        let body = session
            .api
            .get_raw("/v1/jobs", Query::default().with("pretty", "true"))
            .map_err(failed("Error querying jobs"))?;
        session.write(&body);
        return Ok(0);
    }
    let jobs: Vec<JobListStub> =
        session.api.get("/v1/jobs", Query::default()).map_err(failed("Error querying jobs"))?;
    if jobs.is_empty() {
        session.say("No running jobs");
    } else {
        let rows = list_rows(&jobs, session.api.namespace == "*");
        session.say(&table(&rows));
    }
    Ok(0)
}

/// The rows of a list of jobs, head first.
pub(super) fn list_rows(jobs: &[JobListStub], namespaces: bool) -> Vec<Vec<String>> {
    let mut rows = vec![row(["ID", "Type", "Priority", "Status", "Submit Date"])];
    for job in jobs {
        rows.push(row([
            &job.id,
            &kind(&job.kind, job.periodic, job.parameterized_job),
            &job.priority.to_string(),
            &status(&job.status, job.stop),
            &time(job.submit_time),
        ]));
    }
    if namespaces {
        rows[0].insert(1, "Namespace".to_owned());
        for (cells, job) in rows.iter_mut().skip(1).zip(jobs) {
            cells.insert(1, job.namespace.clone());
        }
    }
    rows
}

fn kind(kind: &str, periodic: bool, parameterized: bool) -> String {
    let more = match (periodic, parameterized) {
        (true, true) => "/periodic/parameterized",
        (true, false) => "/periodic",
        (false, true) => "/parameterized",
        (false, false) => "",
    };
    format!("{kind}{more}")
}

fn status(status: &str, stop: bool) -> String {
    if stop { format!("{status} (stopped)") } else { status.to_owned() }
}

fn one(session: &mut Session<'_>, args: &Args, id: &str) -> Result<i32, Stop> {
    let job = match find::job(session, id)? {
        Some(Found::One(job)) => job,
        Some(Found::Several(text)) => {
            session.say(&text);
            return Ok(0);
        }
        None => return other(session, args, id),
    };
    if session.api.namespace.is_empty() || session.api.namespace == "*" {
        session.api.namespace.clone_from(&job.namespace);
    }
    let path = format!("/v1/job/{}", escape(&job.id));
    if args.on("json") {
        return json(session, &path);
    }
    let job: Job =
        session.api.get(&path, Query::default()).map_err(failed("Error querying job"))?;
    session.say(&head(&job));
    if args.on("short") {
        return Ok(0);
    }
    details(session, args, &path)
}

/// What is not a job: an allocation or a node.
fn other(session: &mut Session<'_>, args: &Args, id: &str) -> Result<i32, Stop> {
    if let Ok(found) = find::alloc(session, id) {
        return alloc::show(session, args, found);
    }
    if let Ok(found) = find::node(session, id) {
        return node::show(session, args, found);
    }
    Err(Stop::Error(format!("No job(s) with prefix or ID \"{id}\" found")))
}

fn head(job: &Job) -> String {
    let yes = |b: bool| b.to_string();
    pairs(&[
        ("ID", job.id.clone()),
        ("Name", job.name.clone()),
        ("Submit Date", time(job.submit_time)),
        ("Type", job.kind.clone()),
        ("Priority", job.priority.to_string()),
        ("Datacenters", job.datacenters.join(",")),
        ("Namespace", job.namespace.clone()),
        ("Node Pool", job.node_pool.clone()),
        ("Status", status(&job.status, job.stop)),
        ("Periodic", yes(job.periodic.is_some())),
        ("Parameterized", yes(job.parameterized_job.is_some() && !job.dispatched)),
    ])
}

fn details(session: &mut Session<'_>, args: &Args, path: &str) -> Result<i32, Stop> {
    let verbose = args.on("verbose");
    let summary: JobSummary = session
        .api
        .get(&format!("{path}/summary"), Query::default())
        .map_err(failed("Error querying job summary"))?;
    session.say(&format!("\nSummary\n{}", summary_table(&summary)));
    let evals: Vec<Evaluation> = session
        .api
        .get(&format!("{path}/evaluations"), Query::default())
        .map_err(failed("Error querying job evaluations"))?;
    if args.on("evals") {
        session.say(&format!("\nEvaluations\n{}", evaluation_table(&evals, verbose)));
    }
    if let Some(text) = placement_failure(&evals) {
        session.say(&format!("\n{text}"));
    }
    // Not every job has one, and a null is an answer too.
    let deployment: Result<Option<Deployment>, Failure> =
        session.api.get(&format!("{path}/deployment"), Query::default());
    if let Ok(Some(d)) = deployment {
        let head = pairs(&[
            ("ID", short(&d.id, verbose)),
            ("Status", d.status.clone()),
            ("Description", d.status_description.clone()),
        ]);
        session.say(&format!("\nLatest Deployment\n{head}\n\nDeployed\n{}", deployed(&d)));
    }
    let all = if args.on("all-allocs") { "true" } else { "" };
    let allocs: Vec<AllocListStub> = session
        .api
        .get(&format!("{path}/allocations"), Query::default().with("all", all))
        .map_err(failed("Error querying job allocations"))?;
    let text = if allocs.is_empty() {
        "No allocations placed".to_owned()
    } else {
        table(&alloc::list_rows(&allocs, verbose, system::wall_ns()))
    };
    session.say(&format!("\nAllocations\n{text}"));
    Ok(0)
}

fn summary_table(summary: &JobSummary) -> String {
    let mut rows = vec![row([
        "Task Group",
        "Queued",
        "Starting",
        "Running",
        "Failed",
        "Complete",
        "Lost",
        "Unknown",
    ])];
    for (group, s) in &summary.summary {
        let counts = [s.queued, s.starting, s.running, s.failed, s.complete, s.lost, s.unknown];
        let mut cells = vec![group.clone()];
        cells.extend(counts.iter().map(i64::to_string));
        rows.push(cells);
    }
    table(&rows)
}

fn evaluation_table(evals: &[Evaluation], verbose: bool) -> String {
    let mut rows = vec![row(["ID", "Priority", "Triggered By", "Status", "Placement Failures"])];
    for e in evals {
        rows.push(row([
            &short(&e.id, verbose),
            &e.priority.to_string(),
            &e.triggered_by,
            &e.status,
            &(!e.failed_tg_allocs.is_empty()).to_string(),
        ]));
    }
    table(&rows)
}

/// What the newest evaluation could not place, where one still waits for room.
fn placement_failure(evals: &[Evaluation]) -> Option<String> {
    let blocked = evals.iter().any(|e| e.status == "blocked");
    let latest = evals
        .iter()
        .filter(|e| !e.failed_tg_allocs.is_empty())
        .max_by_key(|e| e.create_index)
        .filter(|_| blocked)?;
    let mut text = "Placement Failure".to_owned();
    for (group, metrics) in &latest.failed_tg_allocs {
        text.push_str(&format!("\nTask Group \"{group}\":"));
        for reason in reasons(metrics) {
            text.push_str(&format!("\n  {reason}"));
        }
    }
    Some(text)
}

/// `[{"Allocations":…,"Evaluations":…,"LatestDeployment":…,"Summary":…}]`.
fn json(session: &mut Session<'_>, path: &str) -> Result<i32, Stop> {
    let mut parts = Vec::new();
    for (name, sub) in [
        ("Allocations", "allocations"),
        ("Evaluations", "evaluations"),
        ("LatestDeployment", "deployment"),
        ("Summary", "summary"),
    ] {
        let body = session.api.get_raw(&format!("{path}/{sub}"), Query::default());
        let text = match body {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(Failure::Status(..)) if sub == "deployment" => "null".to_owned(),
            Err(e) => return Err(failed("Error querying job")(e)),
        };
        parts.push(format!("\"{name}\":{text}"));
    }
    session.json(&format!("[{{{}}}]", parts.join(",")));
    Ok(0)
}
