//! `alloc status`, and what is done to allocations.

use serde_json::{Value, json};

use super::args::Args;
use super::find::{self, Found};
use super::format::{ago, pairs, row, short, table, time};
use super::http::Query;
use super::monitor::follow;
use super::{Session, Stop, failed, format};
use crate::api::{Allocation, TaskState};
use crate::stdx::json;

/// Shows the allocation that is named.
pub(super) fn status(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let found = find::by_id(session, &find::ALLOC, args.at(0))?;
    show(session, args, found)
}

/// Shows an allocation, or the candidates.
pub(super) fn show(session: &mut Session<'_>, args: &Args, found: Found) -> Result<i32, Stop> {
    let Some(stub) = found.or_candidates(session) else { return Ok(0) };
    let path = format!("/v1/allocation/{}", format::text(&stub, "ID"));
    let wrong = "Error querying allocation";
    let body = session.api.get_raw(&path, Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let alloc: Allocation = json::decode(&body).map_err(|e| format!("{wrong}: {e}"))?;
    let version = format::int(&stub, "JobVersion");
    session.say(&head(&alloc, version, args.on("verbose"), session.look.now));
    if let Some(addresses) = addresses(&alloc) {
        session.section("Allocation Addresses:", &addresses);
    }
    if args.on("stats") {
        let path = format!("/v1/client/allocation/{}/stats", alloc.id);
        let stats = session.get(&path, Query::default(), "Error querying statistics")?;
        let mut rows = vec![row(["Task", "CPU", "Memory"])];
        for (task, usage) in format::entries(&stats, "Tasks") {
            let ticks = format::at(usage, "ResourceUsage.CpuStats.TotalTicks");
            let cpu = format!("{:.0} MHz", ticks.as_f64().unwrap_or(0.0).abs());
            let memory = format::int(usage, "ResourceUsage.MemoryStats.RSS");
            let memory = format::bytes(u64::try_from(memory).unwrap_or(0));
            rows.push(row([task, &cpu, &memory]));
        }
        session.section("Resource Utilization:", &table(&rows));
    }
    for (task, state) in &alloc.task_states {
        session.say(&format!("\nTask \"{task}\" is \"{}\"", state.state));
        if !args.on("short") {
            let text = task_text(&alloc, task, state);
            session.say(&text);
        }
    }
    Ok(0)
}

/// Stops an allocation; another is placed where one is wanted.
pub(super) fn stop(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let id = find::id(session, &find::ALLOC, args.at(0))?;
    let delay = if args.on("no-shutdown-delay") { "true" } else { "" };
    let query = Query::default().with("no_shutdown_delay", delay);
    let path = format!("/v1/allocation/{id}/stop");
    let answer = session.put(&path, query, &Value::Null, "Error stopping allocation")?;
    follow(session, args, format::text(&answer, "EvalID"))
}

/// The allocation and the task (empty: all) that a command names.
fn chosen(session: &Session<'_>, args: &Args) -> Result<(String, String), Stop> {
    let id = find::id(session, &find::ALLOC, args.at(0))?;
    Ok((id, args.value("task").unwrap_or(args.at(1)).to_owned()))
}

/// Restarts tasks in their place.
pub(super) fn restart(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (id, task) = chosen(session, args)?;
    let body = json!({ "TaskName": task, "AllTasks": args.on("all-tasks") });
    let path = format!("/v1/client/allocation/{id}/restart");
    session.put(&path, Query::default(), &body, "Failed to restart allocation")?;
    Ok(0)
}

/// Sends a signal to tasks.
pub(super) fn signal(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (id, task) = chosen(session, args)?;
    let body = json!({ "Task": task, "Signal": args.value("s").unwrap_or("SIGKILL") });
    let path = format!("/v1/client/allocation/{id}/signal");
    session.put(&path, Query::default(), &body, "Error signalling allocation")?;
    Ok(0)
}

/// Holds a task back, or shows whether one is held back.
pub(super) fn pause(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (id, task) = chosen(session, args)?;
    let path = format!("/v1/client/allocation/{id}/pause");
    if args.on("status") {
        let query = Query::default().with("task", &task);
        let answer = session.get(&path, query, "Error getting task schedule state")?;
        session.say(format::text(&answer, "ScheduleState"));
        return Ok(0);
    }
    let body = json!({ "Task": task, "ScheduleState": args.value("state").unwrap_or("pause") });
    session.put(&path, Query::default(), &body, "Error setting task schedule state")?;
    Ok(0)
}

/// Shows the results of checks.
pub(super) fn checks(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let id = find::id(session, &find::ALLOC, args.at(0))?;
    let wrong = "Error querying checks";
    let path = format!("/v1/allocation/{id}/checks");
    let body = session.api.get_raw(&path, Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = super::http::decode(&body).map_err(failed(wrong))?;
    let rows: Vec<Value> = format::entries(&all, "").map(|(_, v)| v.clone()).collect();
    match rows.as_slice() {
        [] => session.say("No checks found"),
        rows => {
            let specs = "Service|Check|Mode|Status|Group|Task:none|Output";
            session.say(&format::columns(specs, rows, session.look));
        }
    }
    Ok(0)
}

fn head(a: &Allocation, version: i64, verbose: bool, now: i64) -> String {
    let id = |text: &str| short(text, verbose);
    let when = |ns: i64| if verbose { time(ns) } else { ago(ns, now) };
    let mut list = vec![
        ("ID", a.id.clone()),
        ("Eval ID", id(&a.eval_id)),
        ("Name", a.name.clone()),
        ("Node ID", id(&a.node_id)),
        ("Node Name", a.node_name.clone()),
        ("Job ID", a.job_id.clone()),
        ("Job Version", version.to_string()),
        ("Client Status", a.client_status.clone()),
        ("Client Description", a.client_description.clone()),
        ("Desired Status", a.desired_status.clone()),
        ("Desired Description", a.desired_description.clone()),
        ("Created", when(a.create_time)),
        ("Modified", when(a.modify_time)),
    ];
    if !a.deployment_id.is_empty() {
        let health = match a.deployment_status.as_ref().and_then(|s| s.healthy) {
            Some(true) => "healthy",
            Some(false) => "unhealthy",
            None => "unset",
        };
        list.push(("Deployment ID", id(&a.deployment_id)));
        list.push(("Deployment Health", health.to_owned()));
    }
    for (name, other) in [
        ("Previous Alloc ID", &a.previous_allocation),
        ("Replacement Alloc ID", &a.next_allocation),
        ("Followup Evaluation", &a.followup_eval_id),
        ("Preempted By", &a.preempted_by_allocation),
    ] {
        if !other.is_empty() {
            list.push((name, id(other)));
        }
    }
    pairs(&list)
}

fn addresses(a: &Allocation) -> Option<String> {
    let resources = a.allocated_resources.as_ref()?;
    let dynamic: Vec<&str> = resources
        .shared
        .networks
        .iter()
        .flat_map(|n| n.dynamic_ports.iter().map(|p| p.label.as_str()))
        .collect();
    let mut rows = vec![row(["Label", "Dynamic", "Address"])];
    for port in &resources.shared.ports {
        let to = if port.to > 0 { format!(" -> {}", port.to) } else { String::new() };
        let yes = if dynamic.contains(&port.label.as_str()) { "yes" } else { "no" };
        let address = format!("{}:{}{to}", port.host_ip, port.value);
        rows.push(row([&format!("*{}", port.label), yes, &address]));
    }
    (rows.len() > 1).then(|| table(&rows))
}

fn task_text(a: &Allocation, task: &str, state: &TaskState) -> String {
    let given = a.allocated_resources.as_ref();
    let mut text = String::new();
    if let Some(resources) = given.and_then(|r| r.tasks.get(task)) {
        let cpu = format!("{} MHz", resources.cpu.cpu_shares);
        let memory = format!("{} MiB", resources.memory.memory_mb);
        let disk = format!("{} MiB", given.map_or(0, |r| r.shared.disk_mb));
        let rows = [row(["CPU", "Memory", "Disk", "Addresses"]), row([&cpu, &memory, &disk, ""])];
        text.push_str(&format!("Task Resources:\n{}\n\n", table(&rows)));
    }
    text.push_str("Task Events:\n");
    text.push_str(&pairs(&[
        ("Started At", time(state.started_at.0)),
        ("Finished At", time(state.finished_at.0)),
        ("Total Restarts", state.restarts.to_string()),
        ("Last Restart", time(state.last_restart.0)),
    ]));
    let mut rows = vec![row(["Time", "Type", "Description"])];
    for event in state.events.iter().rev() {
        let description = event.display_message.replace(['\r', '\n'], " ");
        rows.push(row([&time(event.time), &event.kind, &description]));
    }
    text.push_str(&format!("\n\nRecent Events:\n{}", table(&rows)));
    text
}
