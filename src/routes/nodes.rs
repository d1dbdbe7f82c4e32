//! `/v1/node/*`. Lists are in `list`, pools in `pools`.

use serde_json::json;

use super::{Answer, Ctx, Outcome, Watch, invalid_method, uuid_key};
use crate::acl::ns;
use crate::api::{ApiError, DrainMetadata, DrainStrategy, NodeEvent, status};
use crate::command::{Applied, Command};
use crate::server::{drain, node_evals};
use crate::stdx::json::{Map, Time, records};
use crate::store::Table;

type Result = std::result::Result<Outcome, ApiError>;

/// `/v1/node/{id}` and what lies below, told apart by suffix.
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let rest = ctx.rest;
    for (suffix, run) in SUB {
        if let Some(id) = rest.strip_suffix(suffix) {
            return run(ctx, id);
        }
    }
    get(ctx, rest)
}

type Sub = fn(&mut Ctx<'_>, &str) -> Result;

const SUB: [(&str, Sub); 5] = [
    ("/evaluate", evaluate),
    ("/allocations", allocations),
    ("/drain", drain),
    ("/eligibility", eligibility),
    ("/purge", purge),
];

fn get(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    if id.is_empty() {
        return Err(ApiError::failed("missing node ID"));
    }
    let key = uuid_key("node", id)?;
    let watch = Watch::Row(Table::Node, key.as_slice().into());
    let answer = match ctx.reader.row(Table::Node, &key)? {
        Some(row) => Answer::bytes(row.json.to_vec()).query(row.modify()),
        None => Answer::text(404, "node not found").query(ctx.reader.table_index(Table::Node)),
    };
    Ok(answer.watching(watch).into())
}

/// Whole allocations, jobs included.
fn allocations(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    if id.is_empty() {
        return Err(ApiError::failed("missing node ID"));
    }
    let mut body = vec![b'['];
    let mut index = 0;
    for key in ctx.reader.alloc_ids_by_node(id)? {
        let Some(row) = ctx.reader.row(Table::Alloc, &key)? else { continue };
        if ctx.need_row(&row, ns::READ_JOB).is_err() {
            continue;
        }
        if body.len() > 1 {
            body.push(b',');
        }
        index = index.max(row.modify());
        ctx.reader.alloc_json_with_job(&row, &mut body)?;
    }
    body.push(b']');
    if index == 0 {
        index = ctx.reader.table_index(Table::Alloc).max(1);
    }
    let watch = Watch::Tables(Table::Alloc.bit());
    Ok(Answer::bytes(body).query(index).watching(watch).into())
}

fn evaluate(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    let node = known(ctx, id)?;
    let nodes = ctx.reader.scan(Table::Node, &[], None, false)?.count();
    let evals =
        node_evals(ctx.reader, id, status::TRIGGER_NODE_UPDATE, ctx.now.wall_ns, ctx.entropy)?;
    let ids: Vec<String> = evals.iter().map(|e| e.id.clone()).collect();
    let servers = [ctx.agent.rpc_addr.clone()];
    let dc = ctx.agent.datacenter.clone();
    let body = move |index: u64, ids: &[String]| {
        json!({
            "EvalCreateIndex": index,
            "EvalIDs": if ids.is_empty() { None } else { Some(ids) },
            "Features": 0,
            "HeartbeatTTL": 0,
            "Index": index,
            "KnownLeader": false,
            "LastContact": 0,
            "LeaderRPCAddr": servers.first(),
            "NextToken": "",
            "NodeModifyIndex": 0,
            "NumNodes": nodes,
            "SchedulingEligibility": node.scheduling_eligibility,
            "Servers": servers.iter().map(|s| json!({
                "Datacenter": dc,
                "RPCAdvertiseAddr": s,
                "RPCMajorVersion": 0,
                "RPCMinorVersion": 0,
            })).collect::<Vec<_>>(),
            "SignedIdentity": null,
        })
    };
    if evals.is_empty() {
        return Ok(Answer::json(&body(0, &[])).index(0).into());
    }
    Ok(Outcome::Propose(
        Box::new(Command::EvalUpsert { evals }),
        Box::new(move |_, index, _| Ok(Answer::json(&body(index, &ids)).index(index))),
    ))
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct EligibilityBody {
    #[serde(rename = "NodeID")]
    node_id: String,
    eligibility: String,
}
}

fn eligibility(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    let body: EligibilityBody = ctx.body()?;
    let id = if body.node_id.is_empty() { id.to_owned() } else { body.node_id };
    let wanted = body.eligibility;
    if wanted != status::NODE_ELIGIBLE && wanted != status::NODE_INELIGIBLE {
        return Err(ApiError::failed(format!("invalid scheduling eligibility \"{wanted}\"")));
    }
    let node = known(ctx, &id)?;
    let eligible = wanted == status::NODE_ELIGIBLE;
    if eligible && node.drain_strategy.is_some() {
        return Err(ApiError::failed(
            "can not set node's scheduling eligibility to eligible while it is draining",
        ));
    }
    let answer = |index: u64, evals: &[String]| {
        Answer::json(&json!({
            "EvalCreateIndex": if evals.is_empty() { 0 } else { index },
            "EvalIDs": if evals.is_empty() { None } else { Some(evals) },
            "Index": index,
            "NodeModifyIndex": 0,
        }))
        .index(index)
    };
    if node.scheduling_eligibility == wanted {
        return Ok(answer(0, &[]).into());
    }
    let evals = if eligible {
        node_evals(ctx.reader, &id, status::TRIGGER_NODE_UPDATE, ctx.now.wall_ns, ctx.entropy)?
    } else {
        Vec::new()
    };
    let ids: Vec<String> = evals.iter().map(|e| e.id.clone()).collect();
    let event = eligibility_event(&wanted, ctx.now.wall_ns);
    Ok(Outcome::Propose(
        Box::new(Command::NodeEligibility { id, eligibility: wanted, event, evals }),
        Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => Ok(answer(index, &ids)),
        }),
    ))
}

fn eligibility_event(to: &str, wall_ns: i64) -> NodeEvent {
    NodeEvent {
        message: format!("Node marked as {to} for scheduling"),
        subsystem: "Cluster".to_owned(),
        timestamp: Time(wall_ns),
        ..NodeEvent::default()
    }
}

records! {
/// What a drain may ask for. The path's id wins.
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "NodeUpdateDrainRequest")]
struct DrainBody {
    drain_spec: Option<DrainSpec>,
    mark_eligible: bool,
    meta: Map<String>,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct DrainSpec {
    /// ns; below zero: at once, zero: never.
    deadline: i64,
    ignore_system_jobs: bool,
}
}

fn drain(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    let body: DrainBody = ctx.body()?;
    let node = known(ctx, id)?;
    let wall_ns = ctx.now.wall_ns;
    let now = Time(wall_ns);
    let draining = node.drain_strategy.is_some();
    let eligible = body.drain_spec.is_none()
        && body.mark_eligible
        && node.scheduling_eligibility != status::NODE_ELIGIBLE;
    if body.drain_spec.is_none() && !draining && !eligible {
        return Ok(drain_answer(0, false).into());
    }
    let evals = if eligible {
        node_evals(ctx.reader, id, status::TRIGGER_NODE_UPDATE, wall_ns, ctx.entropy)?
    } else {
        Vec::new()
    };
    let strategy = body.drain_spec.map(|spec| DrainStrategy {
        deadline: spec.deadline,
        force_deadline: Time(if spec.deadline > 0 {
            wall_ns.saturating_add(spec.deadline)
        } else {
            0
        }),
        ignore_system_jobs: spec.ignore_system_jobs,
        started_at: node.drain_strategy.as_ref().map_or(now, |s| s.started_at),
    });
    let old = node.last_drain.filter(|_| draining).unwrap_or_default();
    let last = DrainMetadata {
        accessor_id: format!("token:{}", ctx.accessor()),
        meta: if body.meta.is_empty() { old.meta } else { body.meta },
        started_at: if draining { old.started_at } else { now },
        status: match strategy {
            Some(_) => status::DRAIN_DRAINING,
            None => status::DRAIN_CANCELED,
        }
        .to_owned(),
        updated_at: now,
    };
    let event = match (&strategy, draining) {
        (Some(_), false) => drain::event("Node drain strategy set", wall_ns),
        (Some(_), true) => drain::event("Node drain strategy updated", wall_ns),
        (None, true) => drain::event("Node drain disabled", wall_ns),
        (None, false) => eligibility_event(status::NODE_ELIGIBLE, wall_ns),
    };
    let last = (draining || strategy.is_some()).then_some(last);
    let has_evals = !evals.is_empty();
    let mark_eligible = body.mark_eligible;
    let id = id.to_owned();
    Ok(Outcome::Propose(
        Box::new(Command::NodeDrain { id, strategy, mark_eligible, last, event, evals }),
        Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => Ok(drain_answer(index, has_evals)),
        }),
    ))
}

/// The evaluations are there, but are not named, as recorded.
fn drain_answer(index: u64, evals: bool) -> Answer {
    let body = json!({
        "EvalCreateIndex": if evals { index } else { 0 },
        "EvalIDs": null,
        "Index": index,
        "NodeModifyIndex": index,
    });
    Answer::json(&body).index(index)
}

fn purge(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    known(ctx, id)?;
    let evals =
        node_evals(ctx.reader, id, status::TRIGGER_NODE_UPDATE, ctx.now.wall_ns, ctx.entropy)?;
    let ids: Vec<String> = evals.iter().map(|e| e.id.clone()).collect();
    Ok(Outcome::Propose(
        Box::new(Command::NodePurge { ids: vec![id.to_owned()], evals }),
        Box::new(move |_, index, applied| {
            if let Applied::Refused(e) = applied {
                return Err(e);
            }
            let body = json!({
                "EvalCreateIndex": if ids.is_empty() { 0 } else { index },
                "EvalIDs": if ids.is_empty() { None } else { Some(&ids) },
                "Features": 0, "HeartbeatTTL": 0, "Index": index, "KnownLeader": false,
                "LastContact": 0, "LeaderRPCAddr": "", "NextToken": "",
                "NodeModifyIndex": index, "NumNodes": 0, "SchedulingEligibility": "",
                "Servers": null, "SignedIdentity": null,
            });
            Ok(Answer::json(&body).index(index))
        }),
    ))
}

/// The node, or the error of writes to one that does not exist.
fn known(ctx: &Ctx<'_>, id: &str) -> std::result::Result<crate::api::Node, ApiError> {
    uuid_key("node", id)?;
    ctx.reader.node(id)?.ok_or_else(|| ApiError::failed("node not found"))
}
