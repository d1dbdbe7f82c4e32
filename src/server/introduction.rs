//! New nodes: whether they must be introduced, and the tokens that do it.

use super::identity::{Issuer, node_claims, sign_claims};
use crate::api::{ApiError, IDENTITY_DEFAULT};
use crate::stdx::{Entropy, Now};
use crate::store::Reader;

/// What becomes of a node that nobody knows and that shows no token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    None,
    /// It joins, and the log says so.
    #[default]
    Warn,
    Strict,
}

/// `server.client_introduction`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    pub enforcement: Enforcement,
    /// How long a token is valid where nothing is said, and at most; ns.
    pub ttl_ns: i64,
    pub ttl_max_ns: i64,
}

/// What the subjects of introductions begin with.
pub const SUBJECT: &str = "node-introduction";

/// A token that introduces nodes of a pool, or the one of this name (empty: any).
///
/// # Errors
/// There is no key.
pub fn introduce(
    reader: Reader<'_>,
    now: Now,
    entropy: &mut dyn Entropy,
    issuer: Issuer<'_>,
    (name, pool): (&str, &str),
    ttl_ns: i64,
) -> Result<String, ApiError> {
    let key = reader.signing_key()?.unwrap_or_default();
    let sub = [SUBJECT, issuer.region, pool, name, IDENTITY_DEFAULT].join(":");
    let mut claims = node_claims(now, entropy, issuer, &sub, ttl_ns);
    claims["nomad_node_name"] = name.into();
    claims["nomad_node_pool"] = pool.into();
    sign_claims(reader, &key, "", &claims)
}
