//! `/v1/deployment/*`. The list is in `list`.

use serde::Serialize;

use super::jobs::alloc_stubs;
use super::{Answer, Ctx, Outcome, Reply, Watch, invalid_method, uuid_key};
use crate::acl::{Caps, ns};
use crate::api::{ApiError, Deployment, status};
use crate::command::{Applied, Command, DeploymentUpdate};
use crate::server::deployment_eval;
use crate::stdx::json::{List, records};
use crate::store::Table;

type Result = std::result::Result<Outcome, ApiError>;

type Write = fn(&mut Ctx<'_>, &str) -> Result;

/// Sub-commands stand before the id.
const WRITES: [(&str, Write); 5] = [
    ("fail/", fail),
    ("pause/", pause),
    ("promote/", promote),
    ("allocation-health/", allocation_health),
    ("unblock/", unblock),
];

/// `/v1/deployment/{id}` and what may stand in front of the id.
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let rest = ctx.rest;
    if let Some(id) = rest.strip_prefix("allocations/") {
        return allocations(ctx, id);
    }
    for (word, run) in WRITES {
        if let Some(id) = rest.strip_prefix(word) {
            return if ctx.is_write() { run(ctx, id) } else { Err(invalid_method()) };
        }
    }
    get(ctx, rest)
}

fn get(ctx: &Ctx<'_>, id: &str) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    if id.is_empty() {
        return Err(ApiError::failed("missing deployment ID"));
    }
    let key = uuid_key("deployment", id)?;
    let answer = match ctx.reader.row(Table::Deployment, &key)? {
        Some(row) => {
            ctx.need_row(&row, ns::READ_JOB)?;
            Answer::bytes(row.json.to_vec()).query(row.modify())
        }
        None => Answer::text(404, "deployment not found")
            .query(ctx.reader.table_index(Table::Deployment)),
    };
    Ok(answer.watching(Watch::Row(Table::Deployment, key.as_slice().into())).into())
}

fn allocations(ctx: &Ctx<'_>, id: &str) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let key = uuid_key("deployment", id)?;
    let ids = match ctx.reader.deployment(id)? {
        Some(d) => {
            ctx.need_ns(&d.namespace, ns::READ_JOB)?;
            ctx.reader.alloc_ids_by_job(&d.namespace, &d.job_id)?
        }
        None => {
            ctx.need_ns(&ctx.params.namespace, ns::READ_JOB)?;
            Vec::new()
        }
    };
    Ok(alloc_stubs(ctx.reader, &ids, |a| a.deployment == key)?.into())
}

records! {
/// What the writes are told.
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "DeploymentRequest")]
struct Body {
    #[serde(rename = "DeploymentID")]
    deployment_id: String,
    pause: bool,
    all: bool,
    groups: List<String>,
    #[serde(rename = "HealthyAllocationIDs")]
    healthy: List<String>,
    #[serde(rename = "UnhealthyAllocationIDs")]
    unhealthy: List<String>,
}
}

fn body(ctx: &Ctx<'_>, id: &str) -> std::result::Result<Body, ApiError> {
    let body: Body = ctx.body()?;
    if body.deployment_id.is_empty() {
        return Err(ApiError::bad("DeploymentID must be specified"));
    }
    if body.deployment_id != id {
        return Err(ApiError::bad("Deployment ID does not match"));
    }
    Ok(body)
}

/// `cap`: what may do it besides submitting jobs.
fn stored(ctx: &Ctx<'_>, id: &str, cap: Caps) -> std::result::Result<Deployment, ApiError> {
    if id.is_empty() {
        return Err(ApiError::failed("missing deployment ID"));
    }
    uuid_key("deployment", id)?;
    let found = ctx.reader.deployment(id)?;
    let d = found.ok_or_else(|| ApiError::failed("deployment not found"))?;
    ctx.need_ns(&d.namespace, ns::SUBMIT_JOB | cap)?;
    Ok(d)
}

/// The body, if there is one, says nothing.
fn fail(ctx: &mut Ctx<'_>, id: &str) -> Result {
    let d = stored(ctx, id, ns::FAIL_DEPLOYMENT)?;
    let revert = d.task_groups.values().any(|g| g.auto_revert);
    steer(ctx, &d, failure("Deployment marked as failed", revert), true)
}

fn failure(why: &str, revert: bool) -> DeploymentUpdate {
    DeploymentUpdate {
        status: status::DEPLOYMENT_FAILED.to_owned(),
        status_description: why.to_owned(),
        revert,
        ..DeploymentUpdate::default()
    }
}

fn pause(ctx: &mut Ctx<'_>, id: &str) -> Result {
    let body = body(ctx, id)?;
    let d = stored(ctx, id, ns::PAUSE_DEPLOYMENT)?;
    let (status, text) = match body.pause {
        true => (status::DEPLOYMENT_PAUSED, "Deployment is paused"),
        false => (status::DEPLOYMENT_RUNNING, "Deployment is running"),
    };
    let update = DeploymentUpdate {
        status: status.to_owned(),
        status_description: text.to_owned(),
        ..DeploymentUpdate::default()
    };
    steer(ctx, &d, update, !body.pause)
}

fn promote(ctx: &mut Ctx<'_>, id: &str) -> Result {
    let body = body(ctx, id)?;
    let d = stored(ctx, id, ns::PROMOTE_DEPLOYMENT)?;
    let update = DeploymentUpdate {
        promote: body.groups.0,
        promote_all: body.all,
        ..DeploymentUpdate::default()
    };
    steer(ctx, &d, update, true)
}

fn allocation_health(ctx: &mut Ctx<'_>, id: &str) -> Result {
    let body = body(ctx, id)?;
    let (healthy, unhealthy) = (body.healthy.0, body.unhealthy.0);
    if healthy.is_empty() && unhealthy.is_empty() {
        return Err(ApiError::failed("must specify at least one healthy/unhealthy allocation ID"));
    }
    let d = stored(ctx, id, ns::SET_ALLOC_HEALTH_DEPLOYMENT)?;
    let mut revert = false;
    for id in &unhealthy {
        let group = ctx.reader.alloc(id)?.map(|a| a.task_group).unwrap_or_default();
        revert |= d.task_groups.get(&group).is_some_and(|g| g.auto_revert);
    }
    let mut update = DeploymentUpdate::default();
    if !unhealthy.is_empty() {
        update = failure("Failed due to unhealthy allocations", revert);
    }
    steer(ctx, &d, DeploymentUpdate { healthy, unhealthy, ..update }, true)
}

/// Only regions that wait for each other can be blocked; here nothing is to be done.
fn unblock(ctx: &mut Ctx<'_>, id: &str) -> Result {
    body(ctx, id)?;
    if !stored(ctx, id, ns::UNBLOCK_DEPLOYMENT)?.is_active() {
        return Err(ApiError::failed("can't unblock terminal deployment"));
    }
    Ok(Answer::json(&Steered::default()).index(0).into())
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Steered {
    deployment_modify_index: u64,
    eval_create_index: u64,
    #[serde(rename = "EvalID")]
    eval_id: String,
    index: u64,
    reverted_job_version: Option<u64>,
}

/// Apply says whether the deployment can still be steered so.
fn steer(ctx: &mut Ctx<'_>, d: &Deployment, update: DeploymentUpdate, evaluates: bool) -> Result {
    let eval = match evaluates {
        true => deployment_eval(ctx.reader, d, ctx.now.wall_ns, ctx.entropy)?.map(Box::new),
        false => None,
    };
    let eval_id = eval.as_ref().map(|e| e.id.clone()).unwrap_or_default();
    let update = Box::new(DeploymentUpdate { id: d.id.clone(), ..update });
    let command = Command::DeploymentSteer { update, eval, wall_ns: ctx.now.wall_ns };
    let reply: Reply = Box::new(move |_, index, applied| match applied {
        Applied::Refused(e) => Err(e),
        Applied::Deployment(reverted_job_version) => {
            let eval_create_index = if eval_id.is_empty() { 0 } else { index };
            let body = Steered {
                deployment_modify_index: index,
                eval_create_index,
                eval_id,
                index,
                reverted_job_version,
            };
            Ok(Answer::json(&body).index(index))
        }
        _ => Err(ApiError::failed("the deployment's entry was applied as another command")),
    });
    Ok(Outcome::Propose(Box::new(command), reply))
}
