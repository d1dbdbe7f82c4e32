//! `/v1/agent/*`, `/v1/status/*`, `/v1/regions`: who this agent is and whom it knows.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::{AgentInfo, Answer, Ctx, Outcome, invalid_method, not_served};
use crate::api::ApiError;
use crate::http::Query;
use crate::{API_VERSION, VERSION};

type Result = std::result::Result<Outcome, ApiError>;

/// `/v1/status/leader`
pub(super) fn status_leader(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    match &ctx.agent.leader_addr {
        Some(addr) => Ok(Answer::json(addr).into()),
        None if ctx.params.stale => Ok(Answer::json(&"").into()),
        None => Err(ApiError::failed("No cluster leader")),
    }
}

/// `/v1/status/peers`
pub(super) fn status_peers(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    Ok(Answer::json(&[&ctx.agent.rpc_addr]).into())
}

/// `/v1/regions`
pub(super) fn regions(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    Ok(Answer::json(&[&ctx.agent.region]).into())
}

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
        put("client", true, "ok");
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

/// `/v1/agent/members`
pub(super) fn members(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    let a = ctx.agent;
    let body = json!({
        "Members": if a.server { vec![member(a)] } else { Vec::new() },
        "ServerDC": a.datacenter,
        "ServerName": a.name,
        "ServerRegion": a.region,
    });
    Ok(Answer::json(&body).into())
}

/// This agent as a member of the region; the shape that gossip has in the reference.
fn member(a: &AgentInfo) -> Value {
    if !a.server {
        return json!({
            "Addr": null, "DelegateCur": 0, "DelegateMax": 0, "DelegateMin": 0, "Name": "",
            "Port": 0, "ProtocolCur": 0, "ProtocolMax": 0, "ProtocolMin": 0, "Status": "none",
            "Tags": null,
        });
    }
    let (ip, port) = split_addr(&a.serf_addr);
    let (_, rpc_port) = split_addr(&a.rpc_addr);
    json!({
        "Addr": ip,
        "DelegateCur": 4, "DelegateMax": 5, "DelegateMin": 2,
        "Name": format!("{}.{}", a.name, a.region),
        "Port": port,
        "ProtocolCur": 2, "ProtocolMax": 5, "ProtocolMin": 1,
        "Status": "alive",
        "Tags": {
            "bootstrap": "1",
            "build": API_VERSION,
            "dc": a.datacenter,
            "expect": "1",
            "id": a.server_id,
            "port": rpc_port.to_string(),
            "raft_vsn": "3",
            "region": a.region,
            "revision": "",
            "role": "nomad",
            "rpc_addr": split_addr(&a.rpc_addr).0,
            "vardo": VERSION,
            "vsn": "1",
        },
    })
}

/// Host and port of `host:port`; port 0 where there is none.
pub(super) fn split_addr(addr: &str) -> (&str, u16) {
    match addr.rsplit_once(':') {
        Some((host, port)) => (host.trim_matches(['[', ']']), port.parse().unwrap_or_default()),
        None => (addr, 0),
    }
}

/// `/v1/agent/servers`: the servers that this client knows.
pub(super) fn servers(ctx: &mut Ctx<'_>) -> Result {
    if ctx.is_write() {
        if Query::new(ctx.req.query()).get("address").is_none() {
            return Err(ApiError::bad("missing server address"));
        }
        return Err(not_served("Replacing a client's list of servers"));
    }
    get_only(ctx)?;
    if !ctx.agent.client {
        return Err(ApiError::missing("Invalid method"));
    }
    Ok(Answer::json(&[&ctx.agent.rpc_addr]).into())
}

/// `/v1/agent/self`
pub(super) fn self_(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    let a = ctx.agent;
    let mut body = Vec::with_capacity(a.config_json.len() + 2048);
    body.extend_from_slice(b"{\"config\":");
    body.extend_from_slice(&a.config_json);
    body.extend_from_slice(b",\"member\":");
    body.extend_from_slice(member(a).to_string().as_bytes());
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
        let r = a.raft;
        stats["nomad"] = json!({
            "bootstrap": "true",
            "known_regions": "1",
            "leader": a.leads.to_string(),
            "leader_addr": a.leader_addr.clone().unwrap_or_default(),
            "server": "true",
        });
        stats["raft"] = json!({
            "applied_index": r.applied.to_string(),
            "commit_index": r.commit.to_string(),
            "fsm_pending": "0",
            "last_contact": if a.leads { "0".to_owned() } else { "never".to_owned() },
            "last_log_index": r.last_index.to_string(),
            "last_log_term": r.last_term.to_string(),
            "last_snapshot_index": "0",
            "last_snapshot_term": "0",
            "latest_configuration":
                format!("[{{Suffrage:Voter ID:{} Address:{}}}]", a.server_id, a.rpc_addr),
            "latest_configuration_index": "0",
            "logstore_backend": "lmdb",
            "num_peers": "0",
            "protocol_version": "3",
            "protocol_version_max": "3",
            "protocol_version_min": "3",
            "snapshot_version_max": "1",
            "snapshot_version_min": "0",
            "state": if a.leads { "Leader" } else { "Follower" },
            "term": r.term.to_string(),
        });
        stats["serf"] = json!({
            "coordinate_resets": "0", "encrypted": "false", "event_queue": "0",
            "event_time": "1", "failed": "0", "health_score": "0", "intent_queue": "0",
            "left": "0", "member_time": "1", "members": "1", "query_queue": "0",
            "query_time": "1",
        });
    }
    if a.client {
        stats["client"] = json!({
            "heartbeat_ttl": crate::stdx::duration::Go(a.heartbeat_ttl_ns).to_string(),
            "known_servers": a.rpc_addr,
            "last_heartbeat": "0s",
            "node_id": a.node_id,
            "num_allocations": a.client_allocs.to_string(),
        });
    }
    stats
}

/// `/v1/agent/join`: a region has one server today, so there is nobody to join.
pub(super) fn join(ctx: &mut Ctx<'_>) -> Result {
    write_only(ctx)?;
    server_only(ctx)?;
    if Query::new(ctx.req.query()).get("address").is_none() {
        return Err(ApiError::bad("missing address to join"));
    }
    Err(not_served("Joining other servers"))
}

/// `/v1/agent/force-leave`
pub(super) fn force_leave(ctx: &mut Ctx<'_>) -> Result {
    write_only(ctx)?;
    server_only(ctx)?;
    let q = Query::new(ctx.req.query());
    if q.get("node").is_none_or(|n| n.is_empty()) {
        return Err(ApiError::bad("missing node to force leave"));
    }
    if let Some(prune) = q.get("prune")
        && !prune.is_empty()
        && crate::stdx::parse_bool(&prune).is_none()
    {
        return Err(ApiError::bad("invalid prune value"));
    }
    // Only failed members leave by force, and the only member here is this one.
    Ok(Answer::empty().into())
}

/// `/v1/agent/reload`
pub(super) fn reload(ctx: &mut Ctx<'_>) -> Result {
    write_only(ctx)?;
    Ok(Outcome::Reload)
}

/// `/v1/agent/schedulers`: the one scheduler of the loop, in the shape of many.
pub(super) fn schedulers(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    if !ctx.agent.server {
        return Err(ApiError::bad("Server only endpoint"));
    }
    let body = json!({
        "schedulers": [{
            "enabled_schedulers": SCHEDULERS,
            "id": ctx.agent.server_id,
            "started": null,
            "status": "Started",
            "workload_status": "WaitingToDequeue",
        }],
        "server_id": format!("{}.{}", ctx.agent.name, ctx.agent.region),
    });
    Ok(Answer::json(&body).into())
}

/// `/v1/agent/schedulers/config`
pub(super) fn schedulers_config(ctx: &mut Ctx<'_>) -> Result {
    if ctx.is_write() {
        return Err(not_served("Changing the number of schedulers (the loop has one)"));
    }
    get_only(ctx)?;
    if !ctx.agent.server {
        return Err(ApiError::bad("Server only endpoint"));
    }
    let body = json!({
        "enabled_schedulers": SCHEDULERS,
        "num_schedulers": 1,
        "server_id": format!("{}.{}", ctx.agent.name, ctx.agent.region),
    });
    Ok(Answer::json(&body).into())
}

const SCHEDULERS: [&str; 5] = ["batch", "system", "sysbatch", "service", "_core"];

/// `/v1/metrics`: what can be told without a collector.
pub(super) fn metrics(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    Err(not_served("Metrics"))
}

/// `/v1/operator/raft/configuration`
pub(super) fn raft_configuration(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(ApiError::new(405, ""));
    }
    let a = ctx.agent;
    let body = json!({
        "Index": 0,
        "Servers": [{
            "Address": a.rpc_addr,
            "ID": a.server_id,
            "Leader": a.leads,
            "Node": format!("{}.{}", a.name, a.region),
            "RaftProtocol": "3",
            "Voter": true,
        }],
    });
    Ok(Answer::json(&body).into())
}

/// `/v1/operator/autopilot/health`. Prints its fields in the order of the reference, not by name.
pub(super) fn autopilot_health(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(ApiError::not_found("Invalid method"));
    }
    let a = ctx.agent;
    let healthy = a.leader_addr.is_some();
    let mut body = String::new();
    // Writing into a string cannot fail.
    let written = write!(
        body,
        "{{\"Healthy\":{healthy},\"FailureTolerance\":0,\"Servers\":[{{\"LastContact\":\"0s\",\
         \"ID\":{id},\"Name\":{name},\"Address\":{addr},\"SerfStatus\":\"alive\",\
         \"Version\":\"{API_VERSION}\",\"Leader\":{leads},\"LastTerm\":{term},\
         \"LastIndex\":{last},\"Healthy\":{healthy},\"Voter\":true,\"StableSince\":{since}}}],\
         \"Leader\":{id},\"Voters\":[{id}]}}",
        id = quoted(&a.server_id),
        name = quoted(&format!("{}.{}", a.name, a.region)),
        addr = quoted(&a.rpc_addr),
        leads = a.leads,
        term = a.raft.last_term,
        last = a.raft.last_index,
        since = quoted(&crate::stdx::time::Rfc3339(a.started_ns).to_string()),
    );
    debug_assert!(written.is_ok());
    let mut answer = Answer::bytes(body.into_bytes());
    if !healthy {
        answer.status = 429;
    }
    Ok(answer.into())
}

fn quoted<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(crate::stdx::json::encode(value)).unwrap_or_default()
}

/// `/v1/agent/pprof/*`: only the command line has a meaning here.
pub(super) fn pprof(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    if !ctx.agent.debug {
        return Err(ApiError::new(403, "Permission denied"));
    }
    match ctx.rest {
        "" => Err(ApiError::not_found("Invalid method")),
        name => Err(ApiError::not_found(format!("Pprof profile not found profile: {name}"))),
    }
}

/// `/v1/agent/keyring/*`: there is no gossip, so it has no keys.
pub(super) fn gossip_keyring(ctx: &mut Ctx<'_>) -> Result {
    server_only(ctx)?;
    match ctx.rest {
        "list" | "install" | "use" | "remove" => {
            Err(ApiError::failed("1/1 nodes reported failure"))
        }
        _ => Err(ApiError::not_found("resource not found")),
    }
}

/// `/v1/agent/monitor` and others that stream the agent's log.
pub(super) fn monitor(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    Err(not_served("Following the agent's log"))
}

/// `/v1/agent/host`
pub(super) fn host(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    if !ctx.agent.debug {
        return Err(ApiError::new(403, "Permission denied"));
    }
    Err(not_served("The description of the host"))
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
