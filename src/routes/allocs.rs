//! `/v1/allocation/*`. The list is in `list`.

use super::params::bool_param;
use super::services::of_allocs;
use super::{Answer, Ctx, Outcome, Reply, Watch, invalid_method, uuid_key};
use crate::acl::ns;
use crate::api::{AllocStopResponse, ApiError, DesiredTransition, Evaluation, status};
use crate::client::ClientRequest;
use crate::command::{Applied, Command};
use crate::http::Query;
use crate::store::Table;

type Result = std::result::Result<Outcome, ApiError>;

/// `/v1/allocation/{id}` and what lies below, told apart by segments.
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let no_resource = || ApiError::not_found("resource not found");
    if !ctx.rest.is_ascii() {
        return Err(no_resource());
    }
    match ctx.rest.split('/').collect::<Vec<_>>().as_slice() {
        [id] => get(ctx, id),
        [id, "stop"] => stop(ctx, id),
        [id, "services"] => services(ctx, id),
        [id, "checks"] => checks(ctx, id),
        _ => Err(no_resource()),
    }
}

fn get(ctx: &Ctx<'_>, id: &str) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let key = uuid_key("alloc", id)?;
    let answer = match ctx.reader.row(Table::Alloc, &key)? {
        Some(row) => {
            ctx.need_row(&row, ns::READ_JOB)?;
            let mut body = Vec::with_capacity(row.json.len() + 4096);
            ctx.reader.alloc_json_with_job(&row, &mut body)?;
            Answer::bytes(body).query(row.modify())
        }
        None => Answer::text(404, "alloc not found").query(ctx.reader.table_index(Table::Alloc)),
    };
    Ok(answer.watching(Watch::Row(Table::Alloc, key.as_slice().into())).into())
}

/// Marks an allocation to be replaced.
fn stop(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    let q = Query::new(ctx.req.query());
    let no_shutdown_delay = bool_param(&q, "no_shutdown_delay").map_err(ApiError::failed)?;
    let reschedule = bool_param(&q, "reschedule").map_err(ApiError::failed)?;
    uuid_key("alloc", id)?;
    let Some(alloc) = ctx.reader.alloc_with_job(id)? else {
        return Err(ApiError::not_found("allocation not found"));
    };
    ctx.need_ns(&alloc.namespace, ns::ALLOC_LIFECYCLE)?;
    // The job may be gone already; its last version still says what is to be looked at.
    let job = match ctx.reader.job(&alloc.namespace, &alloc.job_id)? {
        Some(job) => job,
        None => alloc.job.as_deref().cloned().unwrap_or_default(),
    };
    let eval = Evaluation {
        id: ctx.new_id(),
        namespace: alloc.namespace,
        priority: job.priority,
        kind: job.kind,
        triggered_by: status::TRIGGER_ALLOC_STOP.to_owned(),
        job_id: alloc.job_id,
        job_modify_index: job.modify_index,
        status: status::EVAL_PENDING.to_owned(),
        create_time: ctx.now.wall_ns,
        modify_time: ctx.now.wall_ns,
        ..Evaluation::default()
    };
    let transition = DesiredTransition {
        migrate: Some(true),
        no_shutdown_delay: Some(no_shutdown_delay),
        reschedule: Some(reschedule),
        ..DesiredTransition::default()
    };
    let eval_id = eval.id.clone();
    let command = Command::AllocTransition {
        transitions: vec![(alloc.id, transition)],
        evals: vec![eval],
        wall_ns: ctx.now.wall_ns,
    };
    let reply: Reply = Box::new(move |_, index, applied| match applied {
        Applied::Refused(e) => Err(e),
        _ => Ok(Answer::json(&AllocStopResponse { eval_id, index }).index(index)),
    });
    Ok(Outcome::Propose(Box::new(command), reply))
}

fn services(ctx: &Ctx<'_>, id: &str) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let key = uuid_key("alloc", id)?;
    let namespace = &ctx.params.namespace;
    ctx.need_ns(namespace, ns::READ_JOB)?;
    if ctx.reader.alloc(id)?.is_none_or(|a| a.namespace != *namespace) {
        let index = ctx.reader.table_index(Table::Service);
        let watch = Watch::Row(Table::Alloc, key.as_slice().into());
        let answer = Answer::text(404, "allocation not found").query(index);
        return Ok(answer.watching(watch).into());
    }
    Ok(of_allocs(ctx.reader, &[key])?.into())
}

/// Results of the checks of an allocation's services; any method will do.
fn checks(ctx: &Ctx<'_>, id: &str) -> Result {
    let request = Outcome::Client(ClientRequest::Checks { alloc: id.to_owned() });
    if !ctx.agent.server {
        // The node itself knows what it holds; a server has seen whether it may be asked.
        return Ok(request);
    }
    let Some(alloc) = ctx.reader.alloc(id)? else {
        return Err(ApiError::not_found(format!("Unknown allocation {id:?}")));
    };
    ctx.need_ns(&alloc.namespace, ns::READ_JOB)?;
    if ctx.reader.node(&alloc.node_id)?.is_none() {
        return Err(ApiError::not_found(format!("Unknown node {:?}", alloc.node_id)));
    }
    Ok(request)
}
