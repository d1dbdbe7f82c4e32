//! `/v1/operator/snapshot`: the whole state as an archive, and back.
//!
//! The archive holds the root keys, so whoever has it can read every variable. It is made, and
//! taken in, over many turns; see `agent::saves` and `agent::restore`.

use super::auth::need;
use super::{Ctx, Outcome, invalid_method};
use crate::acl::operator;
use crate::api::ApiError;
use crate::http::{Method, Request};

/// The body of a request is not gathered, it goes where it is needed as it comes.
pub fn is_upload(req: &Request) -> bool {
    matches!(req.method, Method::Put | Method::Post) && req.path() == "/v1/operator/snapshot"
}

/// `/v1/operator/snapshot`
pub(super) fn snapshot(ctx: &mut Ctx<'_>) -> Result<Outcome, ApiError> {
    if ctx.is_get() {
        need(ctx.may(|a| a.operation(operator::SNAPSHOT_SAVE)))?;
        return Ok(Outcome::Save);
    }
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    need(ctx.is_management())?;
    Ok(Outcome::Restore)
}
