//! The servers of the cluster: `/v1/status/*`, `/v1/regions`, members, and the operator's view of
//! consensus.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};

use super::{AgentInfo, Answer, ClusterRequest, Ctx, Outcome, ServerInfo, invalid_method};
use crate::VERSION;
use crate::api::ApiError;
use crate::http::Query;
use crate::stdx::{BTreeSet, duration, uuid};

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
    let peers: Vec<&str> = members_of(ctx.agent).map(|s| s.rpc_addr.as_str()).collect();
    Ok(Answer::json(&peers).into())
}

/// The servers that take part in the consensus.
fn members_of(agent: &AgentInfo) -> impl Iterator<Item = &ServerInfo> {
    agent.servers.iter().filter(|s| s.member)
}

/// The server that a text names: its id, its name with or without its region, or `leader`.
pub fn named<'a>(agent: &'a AgentInfo, text: &str) -> Option<&'a ServerInfo> {
    agent.servers.iter().find(|s| {
        s.id == text
            || (!s.name.is_empty()
                && (s.name == text || format!("{}.{}", s.name, s.region) == text))
            || (text == "leader" && s.leads && s.region == agent.region)
    })
}

/// `/v1/regions`
pub(super) fn regions(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    let mut names: BTreeSet<&str> = ctx.agent.servers.iter().map(|s| s.region.as_str()).collect();
    names.insert(&ctx.agent.region);
    names.extend(ctx.agent.remote_regions.iter().map(String::as_str));
    Ok(Answer::json(&names).into())
}

/// `/v1/agent/members`
pub(super) fn members(ctx: &mut Ctx<'_>) -> Result {
    get_only(ctx)?;
    let a = ctx.agent;
    let named = a.servers.iter().filter(|s| !s.name.is_empty());
    let body = json!({
        "Members": named.map(|s| member(a, s)).collect::<Vec<_>>(),
        "ServerDC": a.datacenter,
        "ServerName": a.name,
        "ServerRegion": a.region,
    });
    Ok(Answer::json(&body).into())
}

/// This agent as a member.
pub(super) fn own_member(a: &AgentInfo) -> Value {
    match a.servers.first().filter(|_| a.server) {
        Some(own) => member(a, own),
        None => json!({
            "Addr": null, "DelegateCur": 0, "DelegateMax": 0, "DelegateMin": 0, "Name": "",
            "Port": 0, "ProtocolCur": 0, "ProtocolMax": 0, "ProtocolMin": 0, "Status": "none",
            "Tags": null,
        }),
    }
}

/// A server as a member of its region; the shape that gossip has in the reference.
fn member(a: &AgentInfo, s: &ServerInfo) -> Value {
    let (ip, port) = split_addr(&s.serf_addr);
    let (rpc_ip, rpc_port) = split_addr(&s.rpc_addr);
    let mut tags = json!({
        "build": s.build,
        "dc": s.datacenter,
        "id": s.id,
        "port": rpc_port.to_string(),
        "raft_vsn": "3",
        "region": s.region,
        "revision": "",
        "role": "nomad",
        "rpc_addr": rpc_ip,
        "vardo": VERSION,
        "vsn": "1",
    });
    if s.expect > 0 {
        tags["expect"] = s.expect.to_string().into();
    }
    if s.expect == 1 {
        tags["bootstrap"] = "1".into();
    }
    if s.member && !s.voter && s.region == a.region {
        tags["nonvoter"] = "1".into();
    }
    json!({
        "Addr": ip,
        "DelegateCur": 4, "DelegateMax": 5, "DelegateMin": 2,
        "Name": full_name(s),
        "Port": port,
        "ProtocolCur": 2, "ProtocolMax": 5, "ProtocolMin": 1,
        "Status": s.status,
        "Tags": tags,
    })
}

fn full_name(s: &ServerInfo) -> String {
    if s.name.is_empty() { "(unknown)".to_owned() } else { format!("{}.{}", s.name, s.region) }
}

/// Host and port of `host:port`; port 0 where there is none.
fn split_addr(addr: &str) -> (&str, u16) {
    match addr.rsplit_once(':') {
        Some((host, port)) => (host.trim_matches(['[', ']']), port.parse().unwrap_or_default()),
        None => (addr, 0),
    }
}

/// `nomad`, `raft` and `serf` of the statistics in `/v1/agent/self`.
pub(super) fn stats(a: &AgentInfo, stats: &mut Value) {
    let r = a.raft;
    let regions: BTreeSet<&str> = a.servers.iter().map(|s| s.region.as_str()).collect();
    stats["nomad"] = json!({
        "bootstrap": (a.expect == 1).to_string(),
        "known_regions": regions.len().max(1).to_string(),
        "leader": a.leads.to_string(),
        "leader_addr": a.leader_addr.clone().unwrap_or_default(),
        "server": "true",
    });
    let configuration: Vec<String> = members_of(a)
        .map(|s| {
            let suffrage = if s.voter { "Voter" } else { "Nonvoter" };
            format!("{{Suffrage:{suffrage} ID:{} Address:{}}}", s.id, s.rpc_addr)
        })
        .collect();
    let last_contact = match (a.leads, &a.leader_addr) {
        (true, _) => "0".to_owned(),
        (false, None) => "never".to_owned(),
        (false, Some(_)) => {
            let ns = i64::try_from(a.last_contact_ms).unwrap_or(0).saturating_mul(1_000_000);
            duration::Go(ns).to_string()
        }
    };
    stats["raft"] = json!({
        "applied_index": r.applied.to_string(),
        "commit_index": r.commit.to_string(),
        "fsm_pending": r.commit.saturating_sub(r.applied).to_string(),
        "last_contact": last_contact,
        "last_log_index": r.last_index.to_string(),
        "last_log_term": r.last_term.to_string(),
        "last_snapshot_index": "0",
        "last_snapshot_term": "0",
        "latest_configuration": format!("[{}]", configuration.join(" ")),
        "latest_configuration_index": r.members_index.to_string(),
        "logstore_backend": "lmdb",
        "num_peers": members_of(a).count().saturating_sub(1).to_string(),
        "protocol_version": "3",
        "protocol_version_max": "3",
        "protocol_version_min": "3",
        "snapshot_version_max": "1",
        "snapshot_version_min": "0",
        "state": match (a.leads, r.candidate) {
            (true, _) => "Leader",
            (false, true) => "Candidate",
            (false, false) => "Follower",
        },
        "term": r.term.to_string(),
    });
    let with = |status: &str| a.servers.iter().filter(|s| s.status == status).count().to_string();
    stats["serf"] = json!({
        "coordinate_resets": "0", "encrypted": a.encrypted.to_string(), "event_queue": "0",
        "event_time": "1", "failed": with("failed"), "health_score": "0", "intent_queue": "0",
        "left": with("left"), "member_time": "1", "members": a.servers.len().to_string(),
        "query_queue": "0", "query_time": "1",
    });
}

/// `/v1/agent/join`
pub(super) fn join(ctx: &mut Ctx<'_>) -> Result {
    write_only(ctx)?;
    server_only(ctx)?;
    let query = Query::new(ctx.req.query());
    let addresses: Vec<String> = query.all("address").map(|a| a.into_owned()).collect();
    if addresses.is_empty() {
        return Err(ApiError::bad("missing address to join"));
    }
    Ok(Outcome::Cluster(ClusterRequest::Join(addresses)))
}

/// `/v1/agent/force-leave`
pub(super) fn force_leave(ctx: &mut Ctx<'_>) -> Result {
    write_only(ctx)?;
    server_only(ctx)?;
    let q = Query::new(ctx.req.query());
    let node = q.get("node").unwrap_or_default().into_owned();
    if node.is_empty() {
        return Err(ApiError::bad("missing node to force leave"));
    }
    let prune = match q.get("prune") {
        None => false,
        Some(text) if text.is_empty() => false,
        Some(text) => {
            crate::stdx::parse_bool(&text).ok_or_else(|| ApiError::bad("invalid prune value"))?
        }
    };
    Ok(Outcome::Cluster(ClusterRequest::ForceLeave { node, prune }))
}

/// `/v1/operator/raft/*`
pub(super) fn raft(ctx: &mut Ctx<'_>) -> Result {
    match ctx.rest {
        "peer" if ctx.is_delete() => remove_peer(ctx),
        "transfer-leadership" if ctx.is_write() => transfer(ctx),
        rest if rest.starts_with("configuration") => configuration(ctx),
        _ => Err(ApiError::not_found("Invalid method")),
    }
}

fn remove_peer(ctx: &Ctx<'_>) -> Result {
    let q = Query::new(ctx.req.query());
    if q.get("address").is_some() {
        return Err(ApiError::bad(
            "Removing a peer by address is not supported in the current raft protocol version",
        ));
    }
    match q.get("id") {
        Some(id) => Ok(Outcome::Cluster(ClusterRequest::RemovePeer(id.into_owned()))),
        None => Err(ApiError::bad("Must specify the peer's ID to remove")),
    }
}

fn transfer(ctx: &Ctx<'_>) -> Result {
    let q = Query::new(ctx.req.query());
    let (ids, addresses): (Vec<_>, Vec<_>) = (q.all("id").collect(), q.all("address").collect());
    let to = match (ids.as_slice(), addresses.as_slice()) {
        ([], []) => return Err(ApiError::bad("must specify id or address")),
        ([_, ..], [_, ..]) => return Err(ApiError::bad("must specify either id or address")),
        ([id], []) if id.is_empty() => return Err(ApiError::bad("id must be non-empty")),
        ([id], []) if id.len() != 36 => {
            return Err(ApiError::bad("id must be a uuid: uuid string is wrong length"));
        }
        ([id], []) if !uuid::is_uuid(id) => {
            return Err(ApiError::bad("id must be a uuid: uuid is improperly formatted"));
        }
        ([], [a]) if a.is_empty() => return Err(ApiError::bad("address must be non-empty")),
        ([one], []) | ([], [one]) => one.to_string(),
        ([_, _, ..], []) => return Err(ApiError::bad("must specify only one id")),
        ([], [_, _, ..]) => return Err(ApiError::bad("must specify only one address")),
    };
    Ok(Outcome::Cluster(ClusterRequest::Transfer(to)))
}

fn configuration(ctx: &Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(ApiError::new(405, ""));
    }
    let a = ctx.agent;
    let servers = members_of(a).map(|s| {
        json!({
            "Address": s.rpc_addr,
            "ID": s.id,
            "Leader": s.leads,
            "Node": full_name(s),
            "RaftProtocol": "3",
            "Voter": s.voter,
        })
    });
    let body = json!({
        "Index": if a.servers.len() > 1 { a.raft.members_index } else { 0 },
        "Servers": servers.collect::<Vec<_>>(),
    });
    Ok(Answer::json(&body).into())
}

/// `/v1/operator/autopilot/health`. Prints its fields in the order of the reference, not by name.
pub(super) fn autopilot_health(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(ApiError::not_found("Invalid method"));
    }
    let a = ctx.agent;
    let well = |s: &ServerInfo| is_well(a, s);
    let voters: Vec<&ServerInfo> = members_of(a).filter(|s| s.voter).collect();
    let (healthy, tolerance) = autopilot(a);
    let mut servers = String::new();
    for s in members_of(a) {
        let comma = if servers.is_empty() { "" } else { "," };
        let last = if s.leads { a.raft.last_index } else { s.matched };
        let contact = i64::try_from(s.last_contact_ms).unwrap_or(0).saturating_mul(1_000_000);
        // Writing into a string cannot fail.
        let written = write!(
            servers,
            "{comma}{{\"LastContact\":{contact},\"ID\":{id},\"Name\":{name},\"Address\":{addr},\
             \"SerfStatus\":{status},\"Version\":{build},\"Leader\":{leads},\"LastTerm\":{term},\
             \"LastIndex\":{last},\"Healthy\":{well},\"Voter\":{voter},\"StableSince\":{since}}}",
            contact = quoted(&duration::Go(contact).to_string()),
            id = quoted(&s.id),
            name = quoted(&full_name(s)),
            addr = quoted(&s.rpc_addr),
            status = quoted(s.status),
            build = quoted(&s.build),
            leads = s.leads,
            term = a.raft.last_term,
            well = well(s),
            voter = s.voter,
            since = quoted(&crate::stdx::time::Rfc3339(s.since_ns).to_string()),
        );
        debug_assert!(written.is_ok());
    }
    let leader = members_of(a).find(|s| s.leads).map_or("", |s| s.id.as_str());
    let ids: Vec<&str> = voters.iter().map(|s| s.id.as_str()).collect();
    let body = format!(
        "{{\"Healthy\":{healthy},\"FailureTolerance\":{tolerance},\"Servers\":[{servers}],\
         \"Leader\":{},\"Voters\":{}}}",
        quoted(leader),
        quoted(&ids),
    );
    let mut answer = Answer::bytes(body.into_bytes());
    if !healthy {
        answer.status = 429;
    }
    Ok(answer.into())
}

fn is_well(a: &AgentInfo, s: &ServerInfo) -> bool {
    s.status == "alive" && a.leader_addr.is_some()
}

/// Whether all servers are well, and how many may fail before there is no majority.
pub(super) fn autopilot(a: &AgentInfo) -> (bool, usize) {
    let voters = members_of(a).filter(|s| s.voter).count();
    let alive = members_of(a).filter(|s| s.voter && is_well(a, s)).count();
    let healthy = a.leader_addr.is_some() && members_of(a).all(|s| is_well(a, s));
    (healthy, alive.saturating_sub(voters / 2 + 1))
}

fn quoted<T: Serialize + ?Sized>(value: &T) -> String {
    String::from_utf8(crate::stdx::json::encode(value)).unwrap_or_default()
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
