//! `/v1/evaluation/*` and `/v1/evaluations`. The list itself is in `list`.

use serde_json::json;

use super::auth::need;
use super::jobs::alloc_stubs;
use super::page::Page;
use super::{Answer, Ctx, Outcome, Params, Watch, invalid_method, list, uuid_key};
use crate::acl::ns;
use crate::api::{ApiError, Evaluation, EvaluationStub};
use crate::command::{Applied, Command};
use crate::http::{Method, Query};
use crate::limits::EVALS_DELETED_MAX;
use crate::server::gc::eval_may_go;
use crate::stdx::json::List;
use crate::stdx::json::records;
use crate::store::{Reader, Table, keys};

type Result = std::result::Result<Outcome, ApiError>;

/// `/v1/evaluations`
pub(super) fn collection(ctx: &mut Ctx<'_>) -> Result {
    match ctx.req.method {
        Method::Get => list::evaluations(ctx),
        Method::Delete => {
            need(ctx.is_management())?;
            delete(ctx)
        }
        _ => Err(invalid_method()),
    }
}

/// Most ids that one request may name. Source: the API.
const DELETE_IDS_MAX: usize = 7281;

records! {
/// What to delete: ids or a filter.
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "EvalDeleteRequest")]
struct DeleteBody {
    #[serde(rename = "EvalIDs")]
    eval_ids: List<String>,
    filter: String,
}
}

/// Removes evaluations that nothing rests on. Ids must all be such; a filter passes over others.
fn delete(ctx: &mut Ctx<'_>) -> Result {
    let DeleteBody { eval_ids, filter } = ctx.body()?;
    let evals = match (eval_ids.is_empty(), filter.is_empty()) {
        (false, false) => {
            return Err(ApiError::bad("evals cannot be deleted by both ID and filter"));
        }
        (true, true) => {
            return Err(ApiError::bad("evals must be deleted by either ID or filter"));
        }
        _ if eval_ids.len() > DELETE_IDS_MAX => {
            let n = eval_ids.len();
            return Err(ApiError::bad(format!(
                "request includes {n} evaluation IDs, must be {DELETE_IDS_MAX} or fewer"
            )));
        }
        _ if !ctx.reader.scheduler_config()?.pause_eval_broker => {
            return Err(ApiError::failed(
                "eval broker is enabled; eval broker must be paused to delete evals",
            ));
        }
        (false, true) => named(ctx, eval_ids.0)?,
        (true, false) => filtered(ctx, filter)?,
    };
    let count = evals.len();
    if count == 0 {
        return Ok(Answer::json(&json!({ "Count": 0, "Index": 0 })).index(0).into());
    }
    let command = Command::Reap {
        evals,
        allocs: Vec::new(),
        deployments: Vec::new(),
        jobs: Vec::new(),
        nodes: Vec::new(),
    };
    Ok(Outcome::Propose(
        Box::new(command),
        Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => Ok(Answer::json(&json!({ "Count": count, "Index": index })).index(index)),
        }),
    ))
}

fn named(ctx: &Ctx<'_>, mut ids: Vec<String>) -> std::result::Result<Vec<String>, ApiError> {
    ids.sort_unstable();
    ids.dedup();
    for id in &ids {
        let key = uuid_key("eval", id)?;
        let Some(row) = ctx.reader.row(Table::Eval, &key)? else {
            return Err(ApiError::failed("eval not found"));
        };
        if !eval_may_go(ctx.reader, &row, ctx.now.wall_ns)? {
            return Err(ApiError::failed(format!("eval {id} is not safe to delete")));
        }
    }
    Ok(ids)
}

/// Those of all namespaces that pass the filter, the first [`EVALS_DELETED_MAX`] by id.
fn filtered(ctx: &Ctx<'_>, filter: String) -> std::result::Result<Vec<String>, ApiError> {
    let page = Page::new::<Evaluation>(&Params { filter, ..Params::default() })?;
    let mut ids = Vec::new();
    for pair in ctx.reader.scan(Table::Eval, &[], None, false)? {
        let (key, row) = pair?;
        if ids.len() >= EVALS_DELETED_MAX {
            break;
        }
        if page.passes(row.json)?
            && eval_may_go(ctx.reader, &row, ctx.now.wall_ns)?
            && let Ok(key) = key.try_into()
        {
            ids.push(keys::uuid_text(key));
        }
    }
    Ok(ids)
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
    let found = ctx.reader.row(Table::Eval, &key)?;
    if let Some(row) = &found {
        ctx.need_row(row, ns::READ_JOB)?;
    }
    let answer = match found {
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
    let mut found: crate::stdx::BTreeMap<String, Evaluation> = Default::default();
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
        Some(e) => {
            ctx.need_ns(&e.namespace, ns::READ_JOB)?;
            ctx.reader.alloc_ids_by_job(&e.namespace, &e.job_id)?
        }
        None => {
            ctx.need_ns(&ctx.params.namespace, ns::READ_JOB)?;
            Vec::new()
        }
    };
    let key = keys::by_uuid(id);
    Ok(alloc_stubs(ctx.reader, &ids, |a| Some(a.eval) == key)?.into())
}
