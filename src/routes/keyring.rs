//! The keys that sign workload identities: what operators see of them, and what checks signatures.

use serde::Serialize;
use serde_json::json;

use super::auth::need;
use super::{Answer, Ctx, Outcome, Watch, invalid_method};
use crate::acl::operator;
use crate::api::{ApiError, RootKey, RootKeyMeta, status};
use crate::command::{Applied, Command};
use crate::http::Query;
use crate::limits::{JWKS_MAX_AGE_MIN_S, ROOT_KEY_ROTATION_NS};
use crate::server::keyring::{key_in_use, new_key};
use crate::stdx::json::Bytes;
use crate::stdx::parse_bool;
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
    let cap = match ctx.rest {
        "keys" => operator::KEYRING_READ,
        "rotate" => operator::KEYRING_ROTATE,
        _ => operator::KEYRING_DELETE,
    };
    need(ctx.may(|a| a.operation(cap)))?;
    match ctx.rest {
        "keys" if ctx.is_get() => {
            let keys = ctx.reader.root_keys()?;
            let keys: Vec<RootKeyMeta> = keys.into_iter().map(|k| k.meta).collect();
            let index = ctx.reader.table_index(Table::Operator);
            let watch = Watch::Tables(Table::Operator.bit());
            Ok(Answer::json(&keys).query(index).watching(watch).into())
        }
        "rotate" if ctx.is_write() => rotate(ctx),
        rest => match rest.strip_prefix("key/").filter(|_| ctx.is_delete()) {
            Some(id) => remove(ctx, id),
            None => Err(invalid_method()),
        },
    }
}

fn rotate(ctx: &mut Ctx<'_>) -> Result {
    let q = Query::new(ctx.req.query());
    let full = q.get("full").is_some_and(|v| v.is_empty() || parse_bool(&v) == Some(true));
    let publish_ns = match q.get("publish_time").filter(|t| !t.is_empty()) {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            ApiError::failed(format!(
                "invalid publish_time: strconv.ParseInt: parsing \"{text}\": invalid syntax"
            ))
        })?,
    };
    if let Some(other) = q.get("algo").filter(|a| !a.is_empty() && a != ALGORITHM) {
        return Err(ApiError::failed(format!("unknown keyring algorithm {other:?}")));
    }
    if full && publish_ns != 0 {
        return Err(ApiError::failed(
            "keyring cannot be prepublished and full rotated at the same time",
        ));
    }
    let wall_ns = ctx.now.wall_ns;
    let command = new_key(wall_ns, true, publish_ns, full, ctx.entropy);
    let Command::RootKey { id, .. } = &command else { return Err(invalid_method()) };
    // The answer tells of the key as it was proposed: without indexes.
    let key = RootKeyMeta {
        algorithm: ALGORITHM.to_owned(),
        create_time: wall_ns,
        key_id: id.clone(),
        publish_time: publish_ns,
        state: if publish_ns > wall_ns { status::KEY_PREPUBLISHED } else { status::KEY_ACTIVE }
            .to_owned(),
        ..RootKeyMeta::default()
    };
    Ok(Outcome::Propose(
        Box::new(command),
        Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => Ok(Answer::json(&json!({ "Index": index, "Key": key })).index(index)),
        }),
    ))
}

fn remove(ctx: &mut Ctx<'_>, id: &str) -> Result {
    let q = Query::new(ctx.req.query());
    let force = match q.get("force") {
        None => false,
        Some(v) => parse_bool(&v).ok_or_else(|| ApiError::new(422, "invalid force parameter"))?,
    };
    if id.is_empty() {
        return Err(ApiError::failed("root key ID is required"));
    }
    let keys = ctx.reader.root_keys()?;
    let Some(key) = keys.iter().find(|k| k.meta.key_id == id) else {
        return Err(ApiError::failed("root key not found"));
    };
    if key.meta.state == status::KEY_ACTIVE {
        return Err(ApiError::failed("active root key cannot be deleted - call rotate first"));
    }
    if !force && key_in_use(ctx.reader, id)? {
        return Err(ApiError::failed("root key in use, cannot delete"));
    }
    Ok(Outcome::Propose(
        Box::new(Command::RootKeyDelete { ids: vec![id.to_owned()] }),
        Box::new(|_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => Ok(Answer::json(&json!({ "Index": index })).index(index)),
        }),
    ))
}

/// What root keys encrypt with, the only one there is.
const ALGORITHM: &str = "aes256-gcm";
