//! The keys that sign workload identities: what operators see of them, and what checks signatures.

use serde::Serialize;

use super::{Answer, Ctx, Outcome, Watch, invalid_method, not_served};
use crate::api::{ApiError, RootKey, RootKeyMeta};
use crate::limits::{JWKS_MAX_AGE_MIN_S, ROOT_KEY_ROTATION_NS};
use crate::stdx::json::Bytes;
use crate::store::Table;

type Result = std::result::Result<Outcome, ApiError>;

/// A public key as RFC 8037 prints it.
#[derive(Serialize)]
struct Jwk {
    #[serde(rename = "use")]
    purpose: &'static str,
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    kid: String,
    /// The key itself, base64url without padding.
    x: String,
}

#[derive(Serialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// `/.well-known/jwks.json`: the public halves of the keys that sign identities.
pub(super) fn jwks(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let keys = ctx.reader.root_keys()?;
    let age = max_age_s(&keys, ctx.now.wall_ns);
    let keys = keys.into_iter().map(jwk).collect();
    let mut answer = Answer::json(&Jwks { keys })
        .query(ctx.reader.table_index(Table::Operator))
        .watching(Watch::Tables(Table::Operator.bit()));
    answer.headers.push(("Cache-Control", format!("max-age={age}")));
    Ok(answer.into())
}

fn jwk(key: RootKey) -> Jwk {
    let x = Bytes::encode(&key.public_key.0);
    Jwk {
        purpose: "sig",
        kty: "OKP",
        crv: "Ed25519",
        alg: "EdDSA",
        kid: key.meta.key_id,
        x: x.trim_end_matches('=').replace('+', "-").replace('/', "_"),
    }
}

/// Seconds until a cache should ask again: half of the time until the newest key is due for
/// rotation.
fn max_age_s(keys: &[RootKey], wall_ns: i64) -> i64 {
    let newest = keys.iter().map(|k| k.meta.create_time).max().unwrap_or(0);
    let left = newest.saturating_add(ROOT_KEY_ROTATION_NS).saturating_sub(wall_ns);
    (left / 2 / 1_000_000_000).max(JWKS_MAX_AGE_MIN_S)
}

/// `/v1/operator/keyring/*`
pub(super) fn keyring(ctx: &mut Ctx<'_>) -> Result {
    match ctx.rest {
        "keys" if ctx.is_get() => {
            let keys = ctx.reader.root_keys()?;
            let keys: Vec<RootKeyMeta> = keys.into_iter().map(|k| k.meta).collect();
            let index = ctx.reader.table_index(Table::Operator);
            let watch = Watch::Tables(Table::Operator.bit());
            Ok(Answer::json(&keys).query(index).watching(watch).into())
        }
        "rotate" if ctx.is_write() => Err(not_served("Rotating of root keys")),
        rest if rest.starts_with("key/") && ctx.is_delete() => {
            Err(not_served("Removing of root keys"))
        }
        _ => Err(invalid_method()),
    }
}
