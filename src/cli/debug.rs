//! `operator debug`: what a person who is to find a fault would ask first, in one archive.

use std::io::Read;
use std::time::Duration;

use serde_json::Value;

use super::args::Args;
use super::format::{list, text, time};
use super::http::{Failure, Query};
use super::{Session, Stop, system};
use crate::http::gzip::GzipWriter;
use crate::stdx::duration;
use crate::stdx::tar::{BLOCK, header, padding};

/// Files of the archive and where their content comes from.
const ASKED: &[(&str, &str)] = &[
    ("agent-self.json", "/v1/agent/self"),
    ("agent-host.json", "/v1/agent/host"),
    ("members.json", "/v1/agent/members"),
    ("regions.json", "/v1/regions"),
    ("leader.json", "/v1/status/leader"),
    ("raft.json", "/v1/operator/raft/configuration"),
    ("autopilot.json", "/v1/operator/autopilot/health"),
    ("scheduler.json", "/v1/operator/scheduler/configuration"),
    ("nodes.json", "/v1/nodes?resources=true&os=true"),
    ("jobs.json", "/v1/jobs?namespace=*"),
    ("allocations.json", "/v1/allocations?namespace=*&resources=true"),
    ("evaluations.json", "/v1/evaluations?namespace=*"),
    ("deployments.json", "/v1/deployments?namespace=*"),
    ("services.json", "/v1/services?namespace=*"),
    ("namespaces.json", "/v1/namespaces"),
    ("metrics.json", "/v1/metrics"),
];

/// Log that is followed in one request, in bytes.
const LOG_BYTES_MAX: usize = 8 << 20;

pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let span = |flag: &str, or: &str| {
        let text = args.value(flag).unwrap_or(or);
        let ns = duration::parse(text).filter(|ns| *ns >= 0);
        ns.ok_or_else(|| Stop::Usage(format!("-{flag} takes a duration such as 30s")))
    };
    let (length, interval) = (span("duration", "0s")?, span("interval", "30s")?);
    let stamp: String = time(system::wall_ns()).chars().filter(char::is_ascii_digit).collect();
    let name = format!("vardo-debug-{stamp}");
    let path = match args.value("output") {
        Some(folder) => format!("{}/{name}.tar.gz", folder.trim_end_matches('/')),
        None => format!("{name}.tar.gz"),
    };
    let mut archive = Vec::new();
    let mut gzip = GzipWriter::new(&mut archive);
    let mut add = |file: &str, content: &[u8]| {
        gzip.write(&header(&format!("{name}/{file}"), content.len() as u64), &mut archive);
        gzip.write(content, &mut archive);
        gzip.write(padding(content.len() as u64), &mut archive);
    };
    let (mut missing, mut got) = (Vec::new(), 0);
    let mut fetch = |file: &str, path: &str| match session.api.get_raw(path, Query::default()) {
        Ok(body) => {
            got += 1;
            add(file, &body);
        }
        Err(e) => missing.push(format!("{file}: {e}")),
    };
    for (file, path) in ASKED {
        fetch(file, path);
    }
    let mut left = length;
    let mut round = 0;
    while left > 0 && interval > 0 {
        system::pause(u64::try_from(left.min(interval)).unwrap_or(0));
        left -= interval;
        round += 1;
        fetch(&format!("metrics-{round}.json"), "/v1/metrics");
    }
    if got == 0 {
        // One line says why; all say the same.
        let why = missing.first().cloned().unwrap_or_default();
        return Err(Stop::Error(format!("Error capturing data: {why}")));
    }
    let level = args.value("log-level").unwrap_or("DEBUG");
    for (file, query) in followed(session, &mut missing) {
        let query = query.with("log_level", level).with("plain", "true");
        match log(session, query) {
            Ok(text) => add(&file, &text),
            Err(e) => missing.push(format!("{file}: {e}")),
        }
    }
    add("missing.txt", missing.join("\n").as_bytes());
    add("version.txt", super::agent::version_line().as_bytes());
    gzip.write(&[0; 2 * BLOCK], &mut archive);
    gzip.finish(&mut archive);
    system::create(&path, &archive)?;
    for text in &missing {
        session.warn(&format!("missing: {text}"));
    }
    session.say(&format!("Created debug archive: {path}"));
    session.hint("It names jobs, nodes and addresses: look at it before you give it away");
    Ok(0)
}

/// The agents whose logs are wanted: all servers and the first nodes.
fn followed(session: &Session<'_>, missing: &mut Vec<String>) -> Vec<(String, Query)> {
    const NODES_MAX: usize = 10;
    let mut out = Vec::new();
    let mut get = |what: &str, path: &str| {
        session.api.get(path, Query::default()).unwrap_or_else(|e| {
            missing.push(format!("logs of {what}: {e}"));
            Value::Null
        })
    };
    let members = get("servers", "/v1/agent/members");
    for member in list(&members, "Members") {
        let name = text(member, "Name");
        out.push((format!("server-{name}.log"), Query::default().with("server_id", name)));
    }
    let nodes = get("nodes", "/v1/nodes");
    for node in list(&nodes, "").iter().take(NODES_MAX) {
        let id = text(node, "ID");
        let short = super::format::short(id, false);
        out.push((format!("node-{short}.log"), Query::default().with("node_id", id)));
    }
    out
}

/// What an agent's log holds now.
fn log(session: &Session<'_>, query: Query) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let mut response = session.api.open("GET", "/v1/agent/monitor", query, None)?;
    response.poll_every(Duration::from_millis(300))?;
    while out.len() < LOG_BYTES_MAX {
        // Nothing more for a moment, or the end.
        let Ok(n @ 1..) = response.read(&mut buffer) else { break };
        out.extend_from_slice(&buffer[..n]);
    }
    Ok(out)
}
