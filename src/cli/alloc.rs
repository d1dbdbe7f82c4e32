//! `alloc status`.

use super::args::Args;
use super::find::{self, Found};
use super::format::{ago, pairs, row, short, table, time};
use super::http::Query;
use super::{Session, Stop, failed, system};
use crate::api::{AllocListStub, Allocation, TaskState};

/// Shows the allocation that is named.
pub(super) fn status(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let [id] = args.positionals.as_slice() else {
        return Err(Stop::Usage("This command takes one argument: <allocation>".to_owned()));
    };
    let found = find::alloc(session, id)?;
    show(session, args, found)
}

/// Shows an allocation, or the candidates.
pub(super) fn show(
    session: &mut Session<'_>,
    args: &Args,
    found: Found<AllocListStub>,
) -> Result<i32, Stop> {
    let stub = match found {
        Found::One(stub) => stub,
        Found::Several(text) => {
            session.say(&text);
            return Ok(0);
        }
    };
    let path = format!("/v1/allocation/{}", stub.id);
    let query = Query::default();
    if args.on("json") {
        let body = session
            .api
            .get_raw(&path, query.with("pretty", "true"))
            .map_err(failed("Error querying allocation"))?;
        session.write(&body);
        return Ok(0);
    }
    let alloc: Allocation =
        session.api.get(&path, query).map_err(failed("Error querying allocation"))?;
    let now = system::wall_ns();
    session.say(&head(&alloc, &stub, args.on("verbose"), now));
    if let Some(addresses) = addresses(&alloc) {
        session.say(&format!("\nAllocation Addresses:\n{addresses}"));
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

/// The rows of a list of allocations, head first.
pub(super) fn list_rows(allocs: &[AllocListStub], verbose: bool, now: i64) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "ID",
        "Node ID",
        "Task Group",
        "Version",
        "Desired",
        "Status",
        "Created",
        "Modified",
    ])];
    for a in allocs {
        rows.push(row([
            &short(&a.id, verbose),
            &short(&a.node_id, verbose),
            &a.task_group,
            &a.job_version.to_string(),
            &a.desired_status,
            &a.client_status,
            &ago(a.create_time, now),
            &ago(a.modify_time, now),
        ]));
    }
    rows
}

fn head(a: &Allocation, stub: &AllocListStub, verbose: bool, now: i64) -> String {
    let id = |text: &str| short(text, verbose);
    let when = |ns: i64| if verbose { time(ns) } else { ago(ns, now) };
    let mut list = vec![
        ("ID", a.id.clone()),
        ("Eval ID", id(&a.eval_id)),
        ("Name", a.name.clone()),
        ("Node ID", id(&a.node_id)),
        ("Node Name", a.node_name.clone()),
        ("Job ID", a.job_id.clone()),
        ("Job Version", stub.job_version.to_string()),
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
