//! `job status`, and `status` which also takes ids of whatever else there is.

use super::args::Args;
use super::find::{self, Found};
use super::format::{pairs, row, short, table, time};
use super::http::{Failure, Query};
use super::monitor::{deployed, reasons};
use super::{Session, Stop, alloc, deployment, failed, format, http, lists, node, system};
use crate::api::{AllocListStub, Deployment, Evaluation, Job, JobSummary};

/// Lists jobs, or shows the one that is named.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    match args.at(0) {
        "" => list(session, args),
        id => match find::job_or_none(session, id)? {
            Some(found) => one(session, args, found),
            None => Err(Stop::Error(format!("No job(s) with prefix or ID \"{id}\" found"))),
        },
    }
}

/// As [`run`]; what is no job is looked for among allocations, nodes, evaluations and deployments.
pub(super) fn any(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let id = args.at(0);
    if id.is_empty() {
        return list(session, args);
    }
    if let Some(found) = find::job_or_none(session, id)? {
        return one(session, args, found);
    }
    type Show = fn(&mut Session<'_>, &Args, Found) -> Result<i32, Stop>;
    let kinds: [(&find::Kind, Show); 4] = [
        (&find::ALLOC, alloc::show),
        (&find::NODE, node::show),
        (&find::EVAL, deployment::show_eval),
        (&find::DEPLOYMENT, deployment::show),
    ];
    for (kind, show) in kinds {
        if let Ok(found) = find::by_id(session, kind, id) {
            return show(session, args, found);
        }
    }
    Err(Stop::Error(format!("Unable to resolve ID: \"{id}\"")))
}

fn list(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let body =
        session.api.get_raw("/v1/jobs", Query::default()).map_err(failed("Error querying jobs"))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let jobs = http::decode(&body).map_err(failed("Error querying jobs"))?;
    match format::list(&jobs, "") {
        [] => session.say("No running jobs"),
        jobs => {
            let rows = lists::jobs(session, jobs);
            session.say(&table(&rows));
        }
    }
    Ok(0)
}

fn one(session: &mut Session<'_>, args: &Args, found: Found) -> Result<i32, Stop> {
    let Some(job) = found.or_candidates(session) else { return Ok(0) };
    find::enter(session, &job);
    let path = find::job_path(&job);
    if args.on("json") || args.value("t").is_some() {
        return json(session, args, &path);
    }
    let job: Job =
        session.api.read(&path, Query::default()).map_err(failed("Error querying job"))?;
    session.say(&head(&job));
    if args.on("short") {
        return Ok(0);
    }
    details(session, args, &path)
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
        ("Status", lists::status(&job.status, job.stop)),
        ("Periodic", yes(job.periodic.is_some())),
        ("Parameterized", yes(job.parameterized_job.is_some() && !job.dispatched)),
    ])
}

fn details(session: &mut Session<'_>, args: &Args, path: &str) -> Result<i32, Stop> {
    let verbose = args.on("verbose");
    let summary: JobSummary = session
        .api
        .read(&format!("{path}/summary"), Query::default())
        .map_err(failed("Error querying job summary"))?;
    session.section("Summary", &summary_table(&summary));
    let evals: Vec<Evaluation> = session
        .api
        .read(&format!("{path}/evaluations"), Query::default())
        .map_err(failed("Error querying job evaluations"))?;
    if args.on("evals") {
        session.section("Evaluations", &evaluation_table(&evals, verbose));
    }
    if let Some(text) = placement_failure(&evals) {
        session.say(&format!("\n{text}"));
    }
    // Not every job has one, and a null is an answer too.
    let deployment: Result<Option<Deployment>, Failure> =
        session.api.read(&format!("{path}/deployment"), Query::default());
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
        .read(&format!("{path}/allocations"), Query::default().with("all", all))
        .map_err(failed("Error querying job allocations"))?;
    let text = if allocs.is_empty() {
        "No allocations placed".to_owned()
    } else {
        table(&lists::allocs(&allocs, verbose, system::wall_ns()))
    };
    session.section("Allocations", &text);
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
fn json(session: &mut Session<'_>, args: &Args, path: &str) -> Result<i32, Stop> {
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
    session.shaped(args, format!("[{{{}}}]", parts.join(",")).as_bytes())?;
    Ok(0)
}
