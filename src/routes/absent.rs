//! What is known but not served, or served as by a cluster that has none of it.

use super::{Answer, Ctx, Outcome, invalid_method};
use crate::api::ApiError;

type Result = std::result::Result<Outcome, ApiError>;

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
