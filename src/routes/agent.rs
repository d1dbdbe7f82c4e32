//! `/v1/agent/*` but for what is about the servers: who this agent is.

use serde_json::{Value, json};

use super::{
    AgentInfo, Answer, ClusterRequest, Ctx, ExportRequest, MonitorRequest, Outcome, invalid_method,
    not_served,
};
use crate::VERSION;
use crate::api::ApiError;
use crate::api::status::JOB_CORE;
use crate::http::Query;
use crate::server::Workers;
use crate::stdx::duration;
use crate::stdx::json::records;
use crate::stdx::parse_bool;

type Result = std::result::Result<Outcome, ApiError>;

/// `/v1/agent/health`
pub(super) fn health(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    let q = Query::new(ctx.req.query());
    let asked: Vec<_> = q.all("type").collect();
    let wants = |role: &str| asked.is_empty() || asked.iter().any(|a| a == role);
    let named = |role: &str| asked.iter().any(|a| a == role);
    let mut body = serde_json::Map::new();
    let mut well = true;
    let mut put = |role: &str, ok: bool, message: &str| {
        well &= ok;
        body.insert(role.to_owned(), json!({ "message": message, "ok": ok }));
    };
    if ctx.agent.client && wants("client") {
        match servers_of(ctx.agent).next() {
            Some(_) => put("client", true, "ok"),
            None => put("client", false, "no known servers"),
        }
    } else if named("client") {
        put("client", false, "client not enabled");
    }
    if ctx.agent.server && wants("server") {
        match ctx.agent.leader_addr {
            Some(_) => put("server", true, "ok"),
            None => put("server", false, "no leader"),
        }
    } else if named("server") {
        put("server", false, "server not enabled");
    }
    let body = Value::Object(body);
    if well { Ok(Answer::json(&body).into()) } else { Err(ApiError::failed(body.to_string())) }
}

/// `/v1/agent/servers`: the servers that this client knows, or is to call from now on.
pub(super) fn servers(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_write() {
        get_only(ctx)?;
    }
    if !ctx.agent.client {
        return Err(ApiError::missing("Invalid method"));
    }
    let addresses: Vec<String> =
        Query::new(ctx.req.query()).all("address").map(std::borrow::Cow::into_owned).collect();
    if ctx.is_write() && addresses.is_empty() {
        return Err(ApiError::bad("missing server address"));
    }
    if ctx.is_write() && ctx.agent.server {
        return Err(not_served("Replacing the server of a node that is beside one"));
    }
    if ctx.is_write() {
        return Ok(Outcome::Cluster(ClusterRequest::Servers(addresses)));
    }
    let mut known: Vec<&str> = servers_of(ctx.agent).collect();
    known.sort_unstable();
    Ok(Answer::json(&known).into())
}

/// RPC addresses of the servers that this client may turn to.
fn servers_of(agent: &AgentInfo) -> impl Iterator<Item = &str> {
    let region = &agent.region;
    let alive = agent.servers.iter().filter(move |s| s.status == "alive" && s.region == *region);
    alive.map(|s| s.rpc_addr.as_str())
}

/// `/v1/agent/self`
pub(super) fn self_(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    let a = ctx.agent;
    let mut body = Vec::with_capacity(a.config_json.len() + 2048);
    body.extend_from_slice(b"{\"config\":");
    body.extend_from_slice(&a.config_json);
    body.extend_from_slice(b",\"member\":");
    body.extend_from_slice(super::servers::own_member(a).to_string().as_bytes());
    body.extend_from_slice(b",\"stats\":");
    body.extend_from_slice(stats(a).to_string().as_bytes());
    body.push(b'}');
    Ok(Answer::bytes(body).into())
}

fn stats(a: &AgentInfo) -> Value {
    let mut stats = json!({
        "runtime": {
            "arch": std::env::consts::ARCH,
            "cpu_count": a.cpus.to_string(),
            "goroutines": "0",
            "kernel.name": "linux",
            "max_procs": "1",
            "version": format!("vardo {VERSION}"),
        },
    });
    if a.server {
        super::servers::stats(a, &mut stats);
    }
    if a.client {
        stats["client"] = json!({
            "heartbeat_ttl": duration::Go(a.heartbeat_ttl_ns).to_string(),
            "known_servers": servers_of(a).collect::<Vec<_>>().join(","),
            "last_heartbeat": "0s",
            "node_id": a.node_id,
            "num_allocations": a.client_allocs.to_string(),
        });
    }
    stats
}

/// `/v1/agent/reload`
pub(super) fn reload(ctx: &mut Ctx<'_>) -> Result {
    write_only(ctx)?;
    Ok(Outcome::Reload)
}

/// `/v1/agent/schedulers`: of a leader the first workers are paused.
pub(super) fn schedulers(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    if !ctx.agent.server {
        return Err(ApiError::bad("Server only endpoint"));
    }
    let a = ctx.agent;
    let paused = if a.leads { a.workers.paused() } else { 0 };
    let worker = |(at, (id, started_ns)): (usize, &(String, i64))| {
        json!({
            "enabled_schedulers": a.workers.kinds(),
            "id": id,
            "started": crate::stdx::time::Rfc3339(*started_ns).to_string(),
            "status": if at < paused { "Paused" } else { "Started" },
            "workload_status": if at < paused { "Paused" } else { "WaitingToDequeue" },
        })
    };
    let body = json!({
        "schedulers": a.worker_ids.iter().enumerate().map(worker).collect::<Vec<_>>(),
        "server_id": format!("{}.{}", a.name, a.region),
    });
    Ok(Answer::json(&body).into())
}

/// `/v1/agent/schedulers/config`: what is written holds until the agent ends.
pub(super) fn schedulers_config(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_write() {
        get_only(ctx)?;
    }
    if !ctx.agent.server {
        return Err(ApiError::bad("Server only endpoint"));
    }
    let workers = if ctx.is_write() { asked_workers(ctx)? } else { ctx.agent.workers };
    let answer = Answer::json(&json!({
        "enabled_schedulers": workers.kinds(),
        "num_schedulers": workers.count,
        "server_id": format!("{}.{}", ctx.agent.name, ctx.agent.region),
    }));
    Ok(if ctx.is_write() { Outcome::Workers(workers, answer) } else { answer.into() })
}

records! {
/// Body of a write of `/v1/agent/schedulers/config`.
#[derive(Default)]
struct WorkersAsked {
    num_schedulers: i64,
    enabled_schedulers: Vec<String>,
}
}

/// The workers that a body asks for: no more than processors, and `_core` among their types.
fn asked_workers(ctx: &Ctx<'_>) -> std::result::Result<Workers, ApiError> {
    let asked: WorkersAsked =
        ctx.body().map_err(|e| ApiError::bad(format!("Invalid request: {}", e.text)))?;
    let kinds = asked.enabled_schedulers.iter().map(String::as_str);
    usize::try_from(asked.num_schedulers)
        .ok()
        .filter(|n| *n <= ctx.agent.cpus && kinds.clone().any(|k| k == JOB_CORE))
        .and_then(|n| Workers::new(n, kinds))
        .ok_or_else(|| ApiError::bad("Invalid request"))
}

/// `/v1/agent/pprof/*`: only the command line has a meaning here.
pub(super) fn pprof(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    if !ctx.agent.debug && !ctx.agent.acl.enabled {
        return Err(ApiError::new(403, "Permission denied"));
    }
    match ctx.rest {
        "" => Err(ApiError::not_found("Invalid method")),
        name => Err(ApiError::not_found(format!("Pprof profile not found profile: {name}"))),
    }
}

/// `/v1/agent/keyring/*`: there is no gossip, so it has no keys, and the one secret of `encrypt` is
/// neither told nor changed.
pub(super) fn gossip_keyring(ctx: &mut Ctx<'_>) -> Result {
    server_only(ctx)?;
    match ctx.rest {
        "list" | "install" | "use" | "remove" if ctx.agent.encrypted => {
            Err(not_served("Telling or changing the secret that servers share"))
        }
        "list" | "install" | "use" | "remove" => {
            Err(ApiError::failed("1/1 nodes reported failure"))
        }
        _ => Err(ApiError::not_found("resource not found")),
    }
}

/// `/v1/agent/monitor`
pub(super) fn monitor(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    let q = Query::new(ctx.req.query());
    let level = q.get("log_level").filter(|l| !l.is_empty()).unwrap_or("info".into());
    let known = level.parse().ok().filter(|l| *l != log::LevelFilter::Off);
    let level = known.ok_or_else(|| ApiError::bad(format!("Unknown log level: {level}")))?;
    let flag = |name: &str| match q.get(name).as_deref() {
        None | Some("") => Ok(false),
        Some(text) => parse_bool(text).ok_or_else(|| {
            ApiError::bad(format!(
                "Unknown option for {name}: strconv.ParseBool: parsing {text:?}: invalid syntax"
            ))
        }),
    };
    let request = MonitorRequest {
        level,
        json: flag("log_json")?,
        place: flag("log_include_location")?,
        plain: flag("plain")?,
    };
    named_here(ctx, "Cannot target node and server simultaneously")?;
    Ok(Outcome::Monitor(request))
}

/// `/v1/agent/monitor/export`: what the machine's journal has about a service, or the file of the
/// agent's log.
pub(super) fn monitor_export(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    let q = Query::new(ctx.req.query());
    let flag = |name: &str| q.get(name).as_deref().and_then(parse_bool).unwrap_or(false);
    let service = q.get("service_name").unwrap_or_default();
    let bad = |text: &str| Err(ApiError::bad(text));
    match (flag("on_disk"), service.is_empty()) {
        (true, false) => return bad("Cannot target journald and nomad log file simultaneously"),
        (false, true) => return bad("Either -service-name or -on-disk must be set"),
        (true, true) if flag("follow") => return bad("Cannot follow log file"),
        _ => {}
    }
    named_here(ctx, "Cannot target node and server simultaneously")?;
    let file = ctx.agent.log_file.clone();
    if service.is_empty() {
        if file.as_os_str().is_empty() {
            return bad("No nomad log file defined");
        }
        let (service, plain) = (String::new(), flag("plain"));
        let request = ExportRequest { service, file, since_s: 0, follow: false, plain };
        return Ok(Outcome::Export(request));
    }
    let unit = service.rsplit_once('.').is_none_or(|(_, end)| UNITS.contains(&end));
    if !service.contains("nomad") || service.len() > UNIT_BYTES_MAX || !unit {
        return Err(ApiError::new(422, "service name must include 'nomad"));
    }
    let since = q.get("logs_since").filter(|t| !t.is_empty());
    let since = since.map_or(Some(SINCE_NS), |t| duration::parse(&t));
    let since_s = since.and_then(|ns| u64::try_from(ns / 1_000_000_000).ok());
    let since_s = since_s.ok_or_else(|| ApiError::bad("Unable to parse logs_since"))?;
    let (service, follow, plain) = (service.into_owned(), flag("follow"), flag("plain"));
    Ok(Outcome::Export(ExportRequest { service, file, since_s, follow, plain }))
}

/// How far back where nothing is said, nanoseconds. Source: the API, 72 h.
const SINCE_NS: i64 = 72 * 3_600 * 1_000_000_000;

/// What the name of a unit of systemd may end in, and how long it may be.
const UNITS: [&str; 11] = [
    "service",
    "socket",
    "device",
    "mount",
    "automount",
    "swap",
    "target",
    "path",
    "timer",
    "slice",
    "scope",
];
const UNIT_BYTES_MAX: usize = 255;

/// A request that names an agent has come to that one, or there is none such.
fn named_here(ctx: &Ctx<'_>, both: &str) -> std::result::Result<(), ApiError> {
    let q = Query::new(ctx.req.query());
    let name = |key| q.get(key).filter(|v| !v.is_empty());
    match (name("node_id"), name("server_id")) {
        (Some(_), Some(_)) => Err(ApiError::bad(both)),
        (Some(node), None) if *node != ctx.agent.node_id => {
            Err(ApiError::bad(format!("Unknown node {node}")))
        }
        (None, Some(server)) if super::servers::named(ctx.agent, &server).is_none() => {
            Err(ApiError::bad(format!("unknown Nomad server {server}")))
        }
        _ => Ok(()),
    }
}

/// `/v1/agent/host`: what support asks for first.
pub(super) fn host(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    if !ctx.agent.debug && !ctx.agent.acl.enabled {
        return Err(ApiError::new(403, "Permission denied"));
    }
    named_here(ctx, "Can only forward to either client node or server")?;
    let q = Query::new(ctx.req.query());
    let name = |key| q.get(key).filter(|v| !v.is_empty());
    let agent = match (name("node_id"), name("server_id")) {
        (Some(_), _) => ctx.agent.node_id.clone(),
        (None, Some(_)) => ctx.agent.server_id.clone(),
        (None, None) => String::new(),
    };
    Ok(Outcome::Host(agent))
}

fn get_only(ctx: &Ctx<'_>) -> std::result::Result<(), ApiError> {
    if ctx.is_get() { Ok(()) } else { Err(invalid_method()) }
}

fn write_only(ctx: &Ctx<'_>) -> std::result::Result<(), ApiError> {
    if ctx.is_write() { Ok(()) } else { Err(invalid_method()) }
}

fn server_only(ctx: &Ctx<'_>) -> std::result::Result<(), ApiError> {
    if ctx.agent.server { Ok(()) } else { Err(ApiError::missing("Invalid method")) }
}
