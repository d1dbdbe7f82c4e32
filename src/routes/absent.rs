//! What is known but not served, or served as by a cluster that has none of it.

use super::auth::need;
use super::{Answer, Ctx, Outcome, Watch, invalid_method, not_served};
use crate::acl::{Acl, ns};
use crate::api::ApiError;
use crate::http::Query;
use crate::store::Table;

type Result = std::result::Result<Outcome, ApiError>;

/// A list that is empty as long as nothing can be put into it.
fn empty_list(ctx: &Ctx<'_>, table: Table) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let index = ctx.reader.table_index(table);
    let watch = Watch::Tables(table.bit());
    Ok(Answer::bytes(b"[]".to_vec()).query(index).watching(watch).into())
}

/// `/v1/volumes`
pub(super) fn volumes(ctx: &mut Ctx<'_>) -> Result {
    let space = &ctx.params.namespace;
    if ctx.is_write() {
        need(ctx.may(|a| a.namespace(space, ns::CSI_WRITE_VOLUME) && a.plugin_read()))?;
        return Err(not_served("Registering of volumes"));
    }
    if Query::new(ctx.req.query()).get("type").as_deref() == Some("csi") {
        let caps = ns::CSI_LIST_VOLUME | ns::CSI_READ_VOLUME | ns::CSI_MOUNT_VOLUME | ns::LIST_JOBS;
        ctx.need_ns(space, caps)?;
    }
    // Of hosts' volumes those are listed that may be seen; of none, there are none.
    ctx.open();
    empty_list(ctx, Table::Volume)
}

/// `/v1/volume/*`, `/v1/volumes/*`
pub(super) fn volume(ctx: &mut Ctx<'_>) -> Result {
    let lists = ns::CSI_LIST_VOLUME | ns::CSI_READ_VOLUME | ns::CSI_MOUNT_VOLUME | ns::LIST_JOBS;
    let reads = ns::CSI_READ_VOLUME | ns::CSI_MOUNT_VOLUME | ns::READ_JOB;
    let volumes = ctx.req.path().starts_with("/v1/volumes/");
    let first = ctx.rest.split('/').next().unwrap_or_default();
    let below = ctx.rest.rsplit('/').next().unwrap_or_default();
    // With it, plugins must be readable.
    let (cap, plugin) = match (volumes, first, below) {
        (false, "host", "create") if ctx.is_write() => (ns::HOST_VOLUME_CREATE, false),
        (false, "host", "register") if ctx.is_write() => (ns::HOST_VOLUME_REGISTER, false),
        (false, "host", _) | (true, "claims", _) if ctx.is_get() => (ns::HOST_VOLUME_READ, false),
        (false, "host", _) | (true, "claim", _) => (ns::HOST_VOLUME_DELETE, false),
        (true, _, _) if ctx.is_get() => (lists, false),
        (false, _, _) if ctx.is_get() => (reads, false),
        (false, _, "detach") => (ns::CSI_MOUNT_VOLUME, true),
        (false, _, below) => (ns::CSI_WRITE_VOLUME, below == "delete" || ctx.is_write()),
        (true, _, _) => (ns::CSI_WRITE_VOLUME, true),
    };
    let space = &ctx.params.namespace;
    need(ctx.may(|a| a.namespace(space, cap) && (!plugin || a.plugin_read())))?;
    Err(not_served("Volumes beyond their list"))
}

/// `/v1/plugins`: no CSI plugin can run yet.
pub(super) fn plugins(ctx: &mut Ctx<'_>) -> Result {
    need(ctx.may(Acl::plugin_list))?;
    empty_list(ctx, Table::Volume)
}

/// `/v1/plugin/csi/*`
pub(super) fn plugin(ctx: &mut Ctx<'_>) -> Result {
    need(ctx.may(Acl::plugin_read))?;
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let index = ctx.reader.table_index(Table::Volume);
    Ok(Answer::text(404, "plugin not found").query(index).into())
}

/// `/v1/operator/license`
pub(super) fn license(ctx: &mut Ctx<'_>) -> Result {
    match ctx.req.method {
        crate::http::Method::Get => Ok(Answer { status: 204, ..Answer::default() }.into()),
        crate::http::Method::Put => enterprise(ctx),
        _ => Err(invalid_method()),
    }
}

/// `/v1/operator/utilization`
pub(super) fn utilization(ctx: &mut Ctx<'_>) -> Result {
    if ctx.req.method == crate::http::Method::Post {
        return enterprise(ctx);
    }
    Err(invalid_method())
}

/// `/v1/operator/upgrade-check/*`
pub(super) fn upgrade_check(ctx: &mut Ctx<'_>) -> Result {
    if ctx.rest != "vault-workload-identity" {
        return Err(ApiError::not_found(format!("Path {} not found", ctx.req.path())));
    }
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let index = ctx.reader.index();
    let body = serde_json::json!({
        "Index": index, "JobsWithoutVaultIdentity": [], "KnownLeader": true, "LastContact": 0,
        "NextToken": "", "OutdatedNodes": [], "VaultTokens": null,
    });
    Ok(Answer::json(&body).query(index).into())
}

/// Quotas, Sentinel and recommendations: the reference answers so without a licence.
pub(super) fn enterprise(_: &mut Ctx<'_>) -> Result {
    Err(ApiError::missing("Nomad Enterprise only endpoint"))
}

/// `/ui/`
pub(super) fn ui(_: &mut Ctx<'_>) -> Result {
    Err(not_served("The web page"))
}
