//! The keys that sign workload identities: what operators see of them, and what checks signatures.

use serde::Serialize;
use serde_json::json;

use super::auth::need;
use super::{Answer, Ctx, Outcome, Reply, Watch, invalid_method};
use crate::acl::operator;
use crate::api::{ApiError, RootKey, RootKeyMeta, status};
use crate::command::{Applied, Command};
use crate::http::Query;
use crate::limits::{JWKS_MAX_AGE_MIN_S, ROOT_KEY_ROTATION_NS};
use crate::server::keyring::{is_late, key_in_use, new_key};
use crate::server::rsa::{EXPONENT, Pair};
use crate::stdx::json::Bytes;
use crate::stdx::{Entropy, Now, parse_bool};
use crate::store::Table;

type Result = std::result::Result<Outcome, ApiError>;

/// A public key as RFC 7517 prints one of RSA, and RFC 8037 one of Ed25519.
#[derive(Serialize)]
struct Jwk {
    #[serde(rename = "use")]
    purpose: &'static str,
    kty: &'static str,
    kid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<&'static str>,
    alg: &'static str,
    /// The key itself, as all numbers here in base64url without padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

#[derive(Serialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// `/.well-known/jwks.json`: the public halves of the keys that sign identities. Those of RSA come
/// last: whoever wants one takes the newest of the list.
pub(super) fn jwks(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let keys = ctx.reader.root_keys()?;
    let age = match keys.iter().any(|k| is_late(ctx.reader, &k.meta.key_id).unwrap_or(false)) {
        true => JWKS_MAX_AGE_MIN_S,
        false => max_age_s(&keys, ctx.now.wall_ns),
    };
    let (rsa, old): (Vec<_>, _) = keys.into_iter().map(jwk).partition(|k| k.n.is_some());
    let keys = [old, rsa].into_iter().flatten().collect();
    let mut answer = Answer::json(&Jwks { keys })
        .query(ctx.reader.table_index(Table::Operator))
        .watching(Watch::Tables(Table::Operator.bit()));
    answer.headers.push(("Cache-Control", format!("max-age={age}")));
    Ok(answer.into())
}

fn jwk(key: RootKey) -> Jwk {
    let alg = key.algorithm();
    let rsa = !key.modulus.0.is_empty();
    let number = |bytes: &[u8], is: bool| is.then(|| Bytes::encode_url(bytes));
    Jwk {
        purpose: "sig",
        kty: if rsa { "RSA" } else { "OKP" },
        kid: key.meta.key_id,
        crv: (!rsa).then_some("Ed25519"),
        alg,
        x: number(&key.public_key.0, !rsa),
        n: number(&key.modulus.0, rsa),
        e: number(&EXPONENT, rsa),
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
    Ok(Outcome::Rotate(Rotation { publish_ns, full }))
}

/// A new root key, once its RSA half is made.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// ns since the epoch; 0: at once.
    publish_ns: i64,
    full: bool,
}

impl Rotation {
    /// What goes into the log, and the answer.
    pub fn with(self, pair: &Pair, now: Now, entropy: &mut dyn Entropy) -> (Command, Reply) {
        let (wall_ns, Self { publish_ns, full }) = (now.wall_ns, self);
        let command = new_key(wall_ns, true, publish_ns, full, Some(pair), entropy);
        let Command::RootKey { id, .. } = &command else { unreachable!("it is a key") };
        let early = publish_ns > wall_ns;
        // The answer tells of the key as it was proposed: without indexes.
        let key = RootKeyMeta {
            algorithm: ALGORITHM.to_owned(),
            create_time: wall_ns,
            key_id: id.clone(),
            publish_time: publish_ns,
            state: if early { status::KEY_PREPUBLISHED } else { status::KEY_ACTIVE }.to_owned(),
            ..RootKeyMeta::default()
        };
        let reply: Reply = Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => Ok(Answer::json(&json!({ "Index": index, "Key": key })).index(index)),
        });
        (command, reply)
    }
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
    if !force && key_in_use(ctx.reader, id, ctx.now.wall_ns)? {
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
