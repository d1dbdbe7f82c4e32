//! `simulate`: reads jobs and a fleet, and shows what the simulation makes of them.

use super::args::Args;
use super::http::{Query, escape};
use super::jobfile::JobFile;
use super::{Session, Stop, failed};
use crate::api::{Allocation, Job, Node, NodeListStub};
use crate::simulate::{self, Asked, Shape};
use crate::stdx::BTreeMap;

/// Drivers of nodes that name none, besides those that the jobs ask for.
const DRIVER: &str = "raw_exec";

pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    if args.positionals.is_empty() {
        return Err(Stop::Usage("This command takes at least one argument: <path>".to_owned()));
    }
    let mut jobs: Vec<Job> = Vec::new();
    for path in &args.positionals {
        let wrong = |e: String| format!("Error getting job struct: {path}: {e}");
        let file = JobFile::read_as(path, args, false).map_err(wrong)?;
        let job: Job =
            crate::stdx::json::decode(file.json.as_bytes()).map_err(|e| wrong(e.to_string()))?;
        if jobs.iter().any(|j| j.id == job.id && j.namespace == job.namespace) {
            return Err(Stop::Error(format!("the job {:?} was given twice", job.id)));
        }
        jobs.push(job);
    }
    let mut drivers = vec![DRIVER.to_owned()];
    let tasks = jobs.iter().flat_map(|j| &j.task_groups).flat_map(|g| &g.tasks);
    drivers.extend(tasks.map(|t| t.driver.clone()).filter(|d| !d.is_empty()));
    let nodes = simulate::fill(nodes(session, args)?, &drivers)?;
    if nodes.is_empty() {
        return Err(Stop::Error("the fleet has no nodes".to_owned()));
    }
    let algorithm = args.value("algorithm").unwrap_or("binpack");
    if !matches!(algorithm, "binpack" | "spread") {
        let text = format!("invalid value {algorithm:?} for flag -algorithm: binpack or spread");
        return Err(Stop::Usage(text));
    }
    let kill = small(args, "kill", 0, 0)?;
    if usize::try_from(kill).is_ok_and(|n| n > nodes.len()) {
        return Err(Stop::Error(format!("cannot kill {kill} of {} nodes", nodes.len())));
    }
    let report = simulate::run(&Asked {
        nodes,
        jobs,
        copies: small(args, "copies", 1, 1)?,
        algorithm: algorithm.to_owned(),
        preempt: args.on("preempt"),
        kill,
        each: args.on("verbose"),
        seed: args.number("seed").map_err(Stop::Usage)?.unwrap_or(1),
    })?;
    if let Some(path) = args.value("svg") {
        std::fs::write(path, simulate::svg(&report)).map_err(|e| format!("{path}: {e}"))?;
    }
    match args.on("json") {
        true => session.json(&report.json()),
        false => session.say(report.text().trim_end()),
    }
    // As a plan that finds no place for everything.
    Ok(if report.complete() { 0 } else { 2 })
}

/// A number between `least` and what fits 31 bits.
fn small(args: &Args, name: &str, or: u32, least: u32) -> Result<u32, Stop> {
    let Some(n) = args.number(name).map_err(Stop::Usage)? else { return Ok(or) };
    u32::try_from(n)
        .ok()
        .filter(|n| (least..=i32::MAX.unsigned_abs()).contains(n))
        .ok_or_else(|| Stop::Usage(format!("value {n} for flag -{name} is out of range")))
}

/// The fleet, from exactly one of its three sources.
fn nodes(session: &Session<'_>, args: &Args) -> Result<Vec<Node>, Stop> {
    match (args.value("nodes"), args.value("fleet"), args.on("cluster")) {
        (Some(_), None, false) => {
            let size = |name, or| small(args, name, or, 1).map(i64::from);
            let shape = Shape {
                nodes: small(args, "nodes", 1, 1)?,
                cpu: size("cpu", 4_000)?,
                memory: size("memory", 8_192)?,
                disk: size("disk", 100_000)?,
                racks: small(args, "racks", 1, 1)?,
                datacenters: small(args, "datacenters", 1, 1)?,
            };
            Ok(shape.make())
        }
        (None, Some(path), false) => {
            let text = std::fs::read(path).map_err(|e| format!("{path}: {e}"))?;
            let nodes = crate::stdx::json::decode(&text);
            Ok(nodes.map_err(|e| format!("{path}: the fleet is no JSON list of nodes: {e}"))?)
        }
        (None, None, true) => of_cluster(session),
        (None, None, false) => Err(Stop::Usage(
            "A fleet is needed: -nodes, -fleet or -cluster says where from".to_owned(),
        )),
        _ => Err(Stop::Usage("Only one of -nodes, -fleet and -cluster can be given".to_owned())),
    }
}

/// The nodes of a running cluster. What runs there already is kept back.
fn of_cluster(session: &Session<'_>) -> Result<Vec<Node>, Stop> {
    let api = &session.api;
    let stubs: Vec<NodeListStub> =
        api.read("/v1/nodes", Query::default()).map_err(failed("Error querying nodes"))?;
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    for stub in stubs {
        let path = format!("/v1/node/{}", escape(&stub.id));
        let node: Node =
            api.read(&path, Query::default()).map_err(failed("Error querying node"))?;
        let path = format!("{path}/allocations");
        let allocs: Vec<Allocation> =
            api.read(&path, Query::default()).map_err(failed("Error querying allocations"))?;
        nodes.insert(stub.id, simulate::without(node, &allocs));
    }
    Ok(nodes.into_values().collect())
}
