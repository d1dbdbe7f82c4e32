//! `/v1/deployment/*`. The list is in `list`.

use super::jobs::alloc_stubs;
use super::{Answer, Ctx, Outcome, Watch, invalid_method, not_served, uuid_key};
use crate::api::ApiError;
use crate::store::Table;

type Result = std::result::Result<Outcome, ApiError>;

/// Sub-commands stand before the id.
const WRITES: [&str; 5] = ["fail/", "pause/", "promote/", "allocation-health/", "unblock/"];

/// `/v1/deployment/{id}` and what may stand in front of the id.
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let rest = ctx.rest;
    if let Some(id) = rest.strip_prefix("allocations/") {
        return allocations(ctx, id);
    }
    if WRITES.iter().any(|w| rest.starts_with(w)) {
        if !ctx.is_write() {
            return Err(invalid_method());
        }
        return Err(not_served("Steering of deployments by hand"));
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
        Some(row) => Answer::bytes(row.json.to_vec()).query(row.modify()),
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
        Some(d) => ctx.reader.alloc_ids_by_job(&d.namespace, &d.job_id)?,
        None => Vec::new(),
    };
    Ok(alloc_stubs(ctx.reader, &ids, |a| a.deployment == key)?.into())
}
