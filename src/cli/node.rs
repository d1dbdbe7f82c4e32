//! `node status`, and what is set at nodes.

use serde_json::{Value, json};

use super::args::Args;
use super::find::{self, Found};
use super::format::{bytes, pairs, row, short, span, table, time};
use super::http::{Query, escape};
use super::{Session, Stop, failed, format, lists, system};
use crate::api::{AllocListStub, AllocatedResources, Node};
use crate::stdx::json::records;
use crate::stdx::{BTreeMap, duration, json};

/// Lists nodes, or shows the one that is named.
pub(super) fn status(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let id = match args.at(0) {
        "" if args.on("self") => own_id(session)?,
        "" => return list(session, args),
        id => id.to_owned(),
    };
    let found = find::by_id(session, &find::NODE, &id)?;
    show(session, args, found)
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
        .read("/v1/agent/self", Query::default())
        .map_err(failed("Error querying agent info"))?;
    let id = about.stats.get("client").and_then(|c| c.get("node_id")).cloned();
    id.ok_or_else(|| Stop::Error("The agent that was asked runs no client".to_owned()))
}

fn list(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let what = "Error querying node status";
    let os = if args.on("os") { "true" } else { "" };
    let query = super::show::query(args).with("os", os);
    let body = session.api.get_raw("/v1/nodes", query).map_err(failed(what))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let nodes = super::http::decode(&body).map_err(failed(what))?;
    let nodes = format::list(&nodes, "");
    if args.on("quiet") {
        for n in nodes {
            session.say(&short(format::text(n, "ID"), session.look.verbose));
        }
    } else if !nodes.is_empty() {
        let mut rows = format::rows(lists::NODES, nodes, session.look);
        if args.on("allocs") {
            rows[0].push("Running Allocs".to_owned());
            for (cells, n) in rows.iter_mut().skip(1).zip(nodes) {
                let running = allocations(session, format::text(n, "ID"))?;
                let running = running.iter().filter(|a| a.client_status == "running").count();
                cells.push(running.to_string());
            }
        }
        session.say(&table(&rows));
    }
    Ok(0)
}

/// Shows or sets the servers that a client calls.
pub(super) fn config(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    if let Some(servers) = args.value("update-servers") {
        let query = servers.split(',').fold(Query::default(), |q, s| q.with("address", s));
        session.put("/v1/agent/servers", query, &Value::Null, "Error updating server list")?;
        return Ok(0);
    }
    if !args.on("servers") {
        let text = "Either -servers or -update-servers must be given";
        return Err(Stop::Usage(text.to_owned()));
    }
    let all = session.get("/v1/agent/servers", Query::default(), "Error querying server list")?;
    for server in format::list(&all, "") {
        session.say(&format::plain(server));
    }
    Ok(0)
}

fn meta_query(session: &Session<'_>, args: &Args) -> Result<Query, Stop> {
    let id = args.value("node-id").map(|id| find::id(session, &find::NODE, id)).transpose()?;
    Ok(Query::default().with("node_id", &id.unwrap_or_default()))
}

/// Sets metadata.
pub(super) fn meta_apply(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut meta = serde_json::Map::new();
    for pair in &args.positionals {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Stop::Usage(format!("{pair:?} is not of the form key=value")))?;
        meta.insert(key.to_owned(), value.into());
    }
    for key in args.value("unset").unwrap_or_default().split(',').filter(|k| !k.is_empty()) {
        meta.insert(key.to_owned(), Value::Null);
    }
    let query = meta_query(session, args)?;
    let body = json!({ "Meta": meta });
    session.put("/v1/client/metadata", query, &body, "Error applying dynamic node metadata")?;
    Ok(0)
}

/// Shows metadata.
pub(super) fn meta_read(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let query = meta_query(session, args)?;
    let wrong = "Error reading dynamic node metadata";
    let body = session.api.get_raw("/v1/client/metadata", query).map_err(failed(wrong))?;
    if !session.shaped(args, &body)? {
        let all = super::http::decode(&body).map_err(failed(wrong))?;
        for (title, part) in
            [("All Meta", "Meta"), ("Dynamic Meta", "Dynamic"), ("Static Meta", "Static")]
        {
            let list: Vec<(&str, String)> =
                format::entries(&all, part).map(|(k, v)| (k, format::plain(v))).collect();
            session.section(title, &pairs(&list));
        }
    }
    Ok(0)
}

/// Makes or changes a node pool from a file.
pub(super) fn pool_apply(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let pool = super::operator::object(args.at(0), "node_pool")?;
    let path = format!("/v1/node/pool/{}", escape(format::text(&pool, "Name")));
    session.put(&path, Query::default(), &pool, "Error applying node pool")?;
    session.say(&format!("Successfully applied node pool \"{}\"!", format::text(&pool, "Name")));
    Ok(0)
}

/// Shows what a node's identity says.
pub(super) fn identity_get(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let id = find::id(session, &find::NODE, args.at(0))?;
    let wrong = "Error reading node identity";
    let query = Query::default().with("node_id", &id);
    let body = session.api.get_raw("/v1/client/identity", query).map_err(failed(wrong))?;
    if !session.shaped(args, &body)? {
        let all = super::http::decode(&body).map_err(failed(wrong))?;
        session.say(&super::operator::members_of(format::at(&all, "Claims")));
    }
    Ok(0)
}

/// Has a node ask for a new identity.
pub(super) fn identity_renew(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let id = find::id(session, &find::NODE, args.at(0))?;
    let query = Query::default().with("node_id", &id);
    let path = "/v1/client/identity/renew";
    session.put(path, query, &json!({}), "Error requesting node identity renewal")?;
    session.say(&format!("Node {} renews its identity", find::quoted(&id, session.look.verbose)));
    Ok(0)
}

/// Makes a token that lets a new node in.
pub(super) fn intro_create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let of = |flag: &str| args.value(flag).unwrap_or_default();
    let ttl = match args.value("ttl") {
        None => Some(0),
        Some(text) => duration::parse(text),
    };
    let ttl = ttl.ok_or_else(|| Stop::Usage("-ttl is a duration such as 10m".to_owned()))?;
    let body = json!({ "NodeName": of("node-name"), "NodePool": of("node-pool"), "TTL": ttl });
    let path = "/v1/acl/identity/client-introduction-token";
    let wrong = "Error generating client introduction token";
    let answer = session.put(path, Query::default(), &body, wrong)?;
    if !session.shaped(args, answer.to_string().as_bytes())? {
        session.say(format::text(&answer, "JWT"));
        session.hint("Start the node with it: vardo agent -client-intro-token=<token>");
    }
    Ok(0)
}

/// Writes a file of a node pool to begin with.
pub(super) fn pool_init(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = Some(args.at(0)).filter(|p| !p.is_empty()).unwrap_or("pool.nomad.hcl");
    let text = "node_pool \"example\" {\n  description = \"Nodes at the edge\"\n\n  meta {\n    \
                site = \"harbour\"\n  }\n}\n";
    system::create(path, text.as_bytes())?;
    session.say(&format!("Example node pool specification written to {path}"));
    session.hint(&format!("Make it: vardo node pool apply {path}"));
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
        session.api.read(&path, Query::default()).map_err(failed("Error querying allocations"))?;
    Ok(allocs.into_iter().map(AllocListStub::from).collect())
}

/// Shows a node, or the candidates.
pub(super) fn show(session: &mut Session<'_>, args: &Args, found: Found) -> Result<i32, Stop> {
    let Some(stub) = found.or_candidates(session) else { return Ok(0) };
    let path = format!("/v1/node/{}", format::text(&stub, "ID"));
    let what = "Error querying node info";
    let body = session.api.get_raw(&path, Query::default()).map_err(failed(what))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let node: Node = json::decode(&body).map_err(|e| format!("{what}: {e}"))?;
    let usage = host_usage(session, &node.id);
    session.say(&head(&node, usage.as_ref()));
    if args.on("short") {
        return Ok(0);
    }
    let verbose = args.on("verbose");
    session.section("Node Events", &events(&node));
    let allocs = allocations(session, &node.id)?;
    session.section("Allocated Resources", &allocated(&node, &allocs));
    if let Some(usage) = &usage {
        session.section("Host Resource Utilization", &utilization(&node, usage));
    }
    if verbose {
        let attributes: Vec<(&str, String)> =
            node.attributes.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        session.section("Attributes", &pairs(&attributes));
    }
    let text = if allocs.is_empty() {
        "No allocations placed".to_owned()
    } else {
        table(&lists::allocs(&allocs, verbose, system::wall_ns()))
    };
    session.section("Allocations", &text);
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
    session.api.read("/v1/client/stats", Query::default().with("node_id", node)).ok()
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
