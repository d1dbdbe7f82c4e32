//! `node status`.

use std::collections::BTreeMap;

use super::args::Args;
use super::find::{self, Found, dash};
use super::format::{bytes, pairs, row, short, span, table, time};
use super::http::Query;
use super::{Session, Stop, alloc, failed, system};
use crate::api::{AllocListStub, AllocatedResources, Node, NodeListStub};
use crate::stdx::json::records;

/// Lists nodes, or shows the one that is named.
pub(super) fn status(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    match args.positionals.as_slice() {
        [] if args.on("self") => {
            let id = own_id(session)?;
            let found = find::node(session, &id)?;
            show(session, args, found)
        }
        [] => list(session, args),
        [id] => {
            let found = find::node(session, id)?;
            show(session, args, found)
        }
        _ => Err(Stop::Usage("This command takes either no arguments or one: <node>".to_owned())),
    }
}

records! {
/// The part of `/v1/agent/self` that names the node.
#[derive(Default)]
struct AgentSelf {
    stats: BTreeMap<String, BTreeMap<String, String>>,
}
}

pub(super) fn own_id(session: &Session<'_>) -> Result<String, Stop> {
    let about: AgentSelf = session
        .api
        .get("/v1/agent/self", Query::default())
        .map_err(failed("Error querying agent info"))?;
    let id = about.stats.get("client").and_then(|c| c.get("node_id")).cloned();
    id.ok_or_else(|| Stop::Error("The agent that was asked runs no client".to_owned()))
}

fn list(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let what = "Error querying node status";
    if args.on("json") {
        let query = Query::default().with("pretty", "true");
        let body = session.api.get_raw("/v1/nodes", query).map_err(failed(what))?;
        session.write(&body);
        return Ok(0);
    }
    let nodes: Vec<NodeListStub> =
        session.api.get("/v1/nodes", Query::default()).map_err(failed(what))?;
    if nodes.is_empty() {
        return Ok(0);
    }
    let verbose = args.on("verbose");
    if args.on("quiet") {
        for n in &nodes {
            session.say(&short(&n.id, verbose));
        }
        return Ok(0);
    }
    let mut rows =
        vec![row(["ID", "Node Pool", "DC", "Name", "Class", "Drain", "Eligibility", "Status"])];
    for n in &nodes {
        rows.push(row([
            &short(&n.id, verbose),
            &n.node_pool,
            &n.datacenter,
            &n.name,
            dash(&n.node_class),
            &n.drain.to_string(),
            &n.scheduling_eligibility,
            &n.status,
        ]));
    }
    if args.on("allocs") {
        rows[0].push("Running Allocs".to_owned());
        for (cells, n) in rows.iter_mut().skip(1).zip(&nodes) {
            let running = allocations(session, &n.id)?;
            let running = running.iter().filter(|a| a.client_status == "running").count();
            cells.push(running.to_string());
        }
    }
    session.say(&table(&rows));
    Ok(0)
}

records! {
/// An allocation as `/v1/node/…/allocations` answers it: whole, with its job.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct OnNode {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    task_group: String,
    job: Option<JobVersion>,
    desired_status: String,
    client_status: String,
    create_time: i64,
    modify_time: i64,
    allocated_resources: Option<AllocatedResources>,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct JobVersion {
    version: u64,
}
}

impl From<OnNode> for AllocListStub {
    fn from(a: OnNode) -> Self {
        Self {
            id: a.id,
            node_id: a.node_id,
            task_group: a.task_group,
            job_version: a.job.map_or(0, |j| j.version),
            desired_status: a.desired_status,
            client_status: a.client_status,
            create_time: a.create_time,
            modify_time: a.modify_time,
            allocated_resources: a.allocated_resources.unwrap_or_default(),
            ..Self::default()
        }
    }
}

pub(super) fn allocations(session: &Session<'_>, node: &str) -> Result<Vec<AllocListStub>, Stop> {
    let path = format!("/v1/node/{node}/allocations");
    let allocs: Vec<OnNode> =
        session.api.get(&path, Query::default()).map_err(failed("Error querying allocations"))?;
    Ok(allocs.into_iter().map(AllocListStub::from).collect())
}

/// Shows a node, or the candidates.
pub(super) fn show(
    session: &mut Session<'_>,
    args: &Args,
    found: Found<NodeListStub>,
) -> Result<i32, Stop> {
    let stub = match found {
        Found::One(stub) => stub,
        Found::Several(text) => {
            session.say(&text);
            return Ok(0);
        }
    };
    let path = format!("/v1/node/{}", stub.id);
    let what = "Error querying node info";
    if args.on("json") {
        let query = Query::default().with("pretty", "true");
        let body = session.api.get_raw(&path, query).map_err(failed(what))?;
        session.write(&body);
        return Ok(0);
    }
    let node: Node = session.api.get(&path, Query::default()).map_err(failed(what))?;
    let usage = host_usage(session, &node.id);
    session.say(&head(&node, usage.as_ref()));
    if args.on("short") {
        return Ok(0);
    }
    let verbose = args.on("verbose");
    session.say(&format!("\nNode Events\n{}", events(&node)));
    let allocs = allocations(session, &node.id)?;
    session.say(&format!("\nAllocated Resources\n{}", allocated(&node, &allocs)));
    if let Some(usage) = &usage {
        session.say(&format!("\nHost Resource Utilization\n{}", utilization(&node, usage)));
    }
    if verbose {
        let attributes: Vec<(&str, String)> =
            node.attributes.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        session.say(&format!("\nAttributes\n{}", pairs(&attributes)));
    }
    let text = if allocs.is_empty() {
        "No allocations placed".to_owned()
    } else {
        table(&alloc::list_rows(&allocs, verbose, system::wall_ns()))
    };
    session.say(&format!("\nAllocations\n{text}"));
    Ok(0)
}

fn head(node: &Node, usage: Option<&HostUsage>) -> String {
    let mut list = vec![
        ("ID", node.id.clone()),
        ("Name", node.name.clone()),
        ("Node Pool", node.node_pool.clone()),
        ("Class", node.node_class.clone()),
        ("DC", node.datacenter.clone()),
        ("Drain", node.drain_strategy.is_some().to_string()),
        ("Eligibility", node.scheduling_eligibility.clone()),
        ("Status", node.status.clone()),
    ];
    let volumes: Vec<&str> = node.host_volumes.keys().map(String::as_str).collect();
    list.push(("Host Volumes", volumes.join(",")));
    let networks: Vec<&str> = node.host_networks.keys().map(String::as_str).collect();
    list.push(("Host Networks", networks.join(",")));
    let drivers: Vec<String> = node
        .drivers
        .iter()
        .filter(|(_, d)| d.detected)
        .map(|(name, d)| if d.healthy { name.clone() } else { format!("{name} (unhealthy)") })
        .collect();
    list.push(("Driver Status", drivers.join(",")));
    if let Some(usage) = usage {
        list.push(("Uptime", span(i64::try_from(usage.uptime).unwrap_or(0))));
    }
    pairs(&list)
}

fn events(node: &Node) -> String {
    let mut rows = vec![row(["Time", "Subsystem", "Message"])];
    for event in node.events.iter().rev() {
        rows.push(row([&time(event.timestamp.0), &event.subsystem, &event.message]));
    }
    table(&rows)
}

/// What is promised to allocations that are not over, of what the node has to give.
fn allocated(node: &Node, allocs: &[AllocListStub]) -> String {
    let live = |a: &&AllocListStub| {
        a.desired_status == "run" && matches!(a.client_status.as_str(), "pending" | "running")
    };
    let (mut cpu, mut memory, mut disk, mut n) = (0, 0, 0, 0);
    for a in allocs.iter().filter(live) {
        let AllocatedResources { shared, tasks, .. } = &a.allocated_resources;
        cpu += tasks.values().map(|t| t.cpu.cpu_shares).sum::<i64>();
        memory += tasks.values().map(|t| t.memory.memory_mb).sum::<i64>();
        disk += shared.disk_mb;
        n += 1;
    }
    let has = node.node_resources.clone().unwrap_or_default();
    let kept = node.reserved_resources.clone().unwrap_or_default();
    let mib = |n: i64| bytes(u64::try_from(n).unwrap_or(0) << 20);
    let cells = [
        format!("{cpu}/{} MHz", has.cpu.cpu_shares - kept.cpu.cpu_shares),
        format!("{}/{}", mib(memory), mib(has.memory.memory_mb - kept.memory.memory_mb)),
        format!("{}/{}", mib(disk), mib(has.disk.disk_mb - kept.disk.disk_mb)),
        n.to_string(),
    ];
    table(&[row(["CPU", "Memory", "Disk", "Alloc Count"]), cells.to_vec()])
}

records! {
/// The part of `/v1/client/stats` that is shown.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct HostUsage {
    #[serde(rename = "CPUTicksConsumed")]
    cpu_ticks: f64,
    memory: HostMemory,
    alloc_dir_stats: Option<HostDisk>,
    /// Seconds.
    uptime: u64,
}

/// Bytes.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct HostMemory {
    total: u64,
    used: u64,
}

/// Bytes.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct HostDisk {
    size: u64,
    used: u64,
}
}

/// `None` where the node does not answer: the rest is worth showing without it.
fn host_usage(session: &Session<'_>, node: &str) -> Option<HostUsage> {
    session.api.get("/v1/client/stats", Query::default().with("node_id", node)).ok()
}

fn utilization(node: &Node, usage: &HostUsage) -> String {
    let total = node.node_resources.as_ref().map_or(0, |r| r.cpu.cpu_shares);
    let disk = usage.alloc_dir_stats.as_ref();
    let (used, size) = disk.map_or((0, 0), |d| (d.used, d.size));
    let cells = [
        format!("{:.0}/{total} MHz", usage.cpu_ticks.abs()),
        format!("{}/{}", bytes(usage.memory.used), bytes(usage.memory.total)),
        format!("{}/{}", bytes(used), bytes(size)),
    ];
    table(&[row(["CPU", "Memory", "Disk"]), cells.to_vec()])
}
