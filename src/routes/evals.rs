//! `/v1/evaluation/*` and `/v1/evaluations`. The list itself is in `list`.

use serde_json::json;

use super::jobs::alloc_stubs;
use super::{Answer, Ctx, Outcome, Watch, invalid_method, list, not_served, uuid_key};
use crate::api::{ApiError, Evaluation, EvaluationStub};
use crate::http::{Method, Query};
use crate::store::{Reader, Table, keys};

type Result = std::result::Result<Outcome, ApiError>;

/// `/v1/evaluations`
pub(super) fn collection(ctx: &mut Ctx<'_>) -> Result {
    match ctx.req.method {
        Method::Get => list::evaluations(ctx),
        Method::Delete => Err(not_served("Deleting of evaluations")),
        _ => Err(invalid_method()),
    }
}

/// `/v1/evaluations/count`
pub(super) fn count(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let index = ctx.reader.table_index(Table::Eval);
    let body = json!({
        "Count": list::count_evaluations(ctx)?,
        "Index": index,
        "KnownLeader": ctx.agent.leader_addr.is_some(),
        "LastContact": ctx.agent.last_contact_ms.saturating_mul(1_000_000),
        "NextToken": "",
    });
    let watch = Watch::Tables(Table::Eval.bit());
    Ok(Answer::json(&body).query(index).watching(watch).into())
}

/// `/v1/evaluation/{id}` and its allocations.
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    match ctx.rest.strip_suffix("/allocations") {
        Some(id) => allocations(ctx, id),
        None => get(ctx, ctx.rest),
    }
}

fn get(ctx: &Ctx<'_>, id: &str) -> Result {
    let key = uuid_key("failed to lookup eval: eval", id)?;
    let related = Query::new(ctx.req.query()).get("related").is_some_and(|v| v == "true");
    let answer = match ctx.reader.row(Table::Eval, &key)? {
        None => Answer::text(404, "eval not found").query(ctx.reader.table_index(Table::Eval)),
        Some(row) if !related => Answer::bytes(row.json.to_vec()).query(row.modify()),
        Some(row) => match ctx.reader.eval(id)? {
            Some(mut eval) => {
                eval.related_evals = related_to(ctx.reader, &eval)?.into();
                Answer::json(&eval).query(row.modify())
            }
            None => Answer::bytes(row.json.to_vec()).query(row.modify()),
        },
    };
    Ok(answer.watching(Watch::Row(Table::Eval, key.as_slice().into())).into())
}

/// All evaluations that led to this one or came of it, by id, without itself.
fn related_to(
    reader: Reader<'_>,
    eval: &Evaluation,
) -> std::result::Result<Vec<EvaluationStub>, ApiError> {
    let mut found: std::collections::BTreeMap<String, Evaluation> = Default::default();
    let mut open = links(eval);
    while let Some(id) = open.pop() {
        if id == eval.id || found.contains_key(&id) {
            continue;
        }
        if let Some(e) = reader.eval(&id)? {
            open.extend(links(&e));
            found.insert(id, e);
        }
    }
    Ok(found.into_values().map(stub).collect())
}

fn links(e: &Evaluation) -> Vec<String> {
    [&e.next_eval, &e.previous_eval, &e.blocked_eval]
        .into_iter()
        .chain(e.related_evals.iter().map(|s| &s.id))
        .filter(|id| !id.is_empty())
        .cloned()
        .collect()
}

fn stub(e: Evaluation) -> EvaluationStub {
    EvaluationStub {
        blocked_eval: e.blocked_eval,
        create_index: e.create_index,
        create_time: e.create_time,
        deployment_id: e.deployment_id,
        id: e.id,
        job_id: e.job_id,
        modify_index: e.modify_index,
        modify_time: e.modify_time,
        namespace: e.namespace,
        next_eval: e.next_eval,
        node_id: e.node_id,
        previous_eval: e.previous_eval,
        priority: e.priority,
        status: e.status,
        status_description: e.status_description,
        triggered_by: e.triggered_by,
        kind: e.kind,
        wait_until: e.wait_until,
    }
}

/// Allocations that an evaluation last touched.
fn allocations(ctx: &Ctx<'_>, id: &str) -> Result {
    let ids = match ctx.reader.eval(id)? {
        Some(e) => ctx.reader.alloc_ids_by_job(&e.namespace, &e.job_id)?,
        None => Vec::new(),
    };
    let key = keys::by_uuid(id);
    Ok(alloc_stubs(ctx.reader, &ids, |a| Some(a.eval) == key)?.into())
}
