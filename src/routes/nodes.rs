//! `/v1/node/*` and node pools. Lists are in `list`.

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Ctx, Outcome, Watch, invalid_method, not_served, uuid_key};
use crate::api::{ApiError, NodeEvent, status};
use crate::command::{Applied, Command};
use crate::server::node_evals;
use crate::stdx::json::Time;
use crate::store::{Table, keys};

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
    known(ctx, id)?;
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
            "NumNodes": 0,
            "SchedulingEligibility": "",
            "Servers": servers.iter().map(|s| json!({
                "Datacenter": dc,
                "RPCAdvertiseAddr": s,
                "RPCMajorVersion": 1,
                "RPCMinorVersion": 1,
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

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct EligibilityBody {
    #[serde(rename = "NodeID")]
    node_id: String,
    eligibility: String,
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
    let event = NodeEvent {
        message: format!("Node marked as {wanted} for scheduling"),
        subsystem: "Cluster".to_owned(),
        timestamp: Time(ctx.now.wall_ns),
        ..NodeEvent::default()
    };
    Ok(Outcome::Propose(
        Box::new(Command::NodeEligibility { id, eligibility: wanted, event, evals }),
        Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => Ok(answer(index, &ids)),
        }),
    ))
}

fn drain(ctx: &mut Ctx<'_>, _: &str) -> Result {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    Err(not_served("Draining of nodes"))
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

/// `/v1/node/pool/{name}` and its lists.
pub(super) fn pool(ctx: &mut Ctx<'_>) -> Result {
    let rest = ctx.rest;
    if let Some(name) = rest.strip_suffix("/nodes") {
        return super::list::pool_nodes(ctx, name);
    }
    if let Some(name) = rest.strip_suffix("/jobs") {
        return super::list::pool_jobs(ctx, name);
    }
    if ctx.is_get() {
        let key = keys::name(rest);
        let watch = Watch::Row(Table::NodePool, key.as_slice().into());
        let answer = match ctx.reader.row(Table::NodePool, &key)? {
            Some(row) => Answer::bytes(row.json.to_vec()).query(row.modify().max(1)),
            None => Answer::text(404, "node pool not found")
                .query(ctx.reader.table_index(Table::NodePool).max(1)),
        };
        return Ok(answer.watching(watch).into());
    }
    if ctx.is_write() || ctx.is_delete() {
        return Err(not_served("Changing node pools"));
    }
    Err(invalid_method())
}

/// `/v1/node/pools`
pub(super) fn pools(ctx: &mut Ctx<'_>) -> Result {
    if ctx.is_write() {
        return Err(not_served("Changing node pools"));
    }
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    super::list::pools(ctx)
}
