//! Tokens that say which task their holder is, signed for the node that runs it.
//!
//! They are made when the node asks and are never stored: what a token says is true as long as the
//! allocation lives, and whoever checks one looks there. Tokens without an end are signed with the
//! key that the allocation names, which stays for as long as the allocation does; others with the
//! active one. Those that a task is given, and others may check, are signed by RSA; those that the
//! node alone shows to servers cost a fiftieth of that by Ed25519.

use serde_json::{Map, Value, json};

use super::keyring::{Signer, is_late};
use crate::api::{
    Allocation, ApiError, IDENTITY_AUDIENCE, IDENTITY_DEFAULT, Job, Namespace, SignedIdentity,
    Task, WorkloadIdentity,
};
use crate::limits::IDENTITIES_SIGNED_MAX;
use crate::sched::fit;
use crate::stdx::json::{self as codec, Bytes};
use crate::stdx::{Entropy, Now, uuid};
use crate::store::Reader;

/// What tokens say of the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Issuer<'a> {
    pub region: &'a str,
    /// `server.oidc_issuer`; may be empty.
    pub url: &'a str,
}

/// All identities of the tasks of an allocation.
///
/// # Errors
/// The allocation is not one of this node or has ended, or there is no key. [`BEING_MADE`]: there
/// will be one soon.
pub fn sign(
    reader: Reader<'_>,
    now: Now,
    entropy: &mut dyn Entropy,
    issuer: Issuer<'_>,
    (node, alloc): (&str, &str),
) -> Result<Vec<SignedIdentity>, ApiError> {
    let alloc = reader.alloc_with_job(alloc)?.filter(|a| a.node_id == node);
    let alloc = alloc.ok_or_else(|| ApiError::not_found("allocation does not exist"))?;
    if fit::client_terminal(&alloc) {
        return Err(ApiError::bad("allocation is terminal"));
    }
    let active = reader.signing_key()?.unwrap_or_default();
    let named = match alloc.signing_key_id.as_str() {
        "" => &active,
        id => id,
    };
    let mut out = Vec::new();
    let Some(job) = &alloc.job else { return Ok(out) };
    let namespace = reader.namespace(&alloc.namespace)?.unwrap_or_default();
    let group = job.task_groups.iter().find(|g| g.name == alloc.task_group);
    let tasks = group.into_iter().flat_map(|g| g.tasks.iter());
    let leaves = |identity: &WorkloadIdentity| identity.env || identity.file;
    let leaving = tasks.clone().flat_map(all).filter(|i| leaves(i)).count();
    if leaving > IDENTITIES_SIGNED_MAX {
        let most = IDENTITIES_SIGNED_MAX;
        return Err(ApiError::bad(format!("a group has no more than {most} identities")));
    }
    let [mut lasting, mut ending] = [named, &active].map(|id| Signers::new(reader, id));
    for task in tasks {
        for identity in all(task) {
            let signers = if identity.ttl > 0 { &mut ending } else { &mut lasting };
            let mut claims = claims(&alloc, job, task, identity, issuer, now, uuid::new(entropy));
            let extra = extra(&namespace, identity);
            if !extra.is_empty() {
                claims["extra_claims"] = extra.into();
            }
            out.push(SignedIdentity {
                task: task.name.clone(),
                name: identity.name.clone(),
                jwt: signers.token(leaves(identity), &claims)?,
                expires: ends(identity, now),
            });
        }
    }
    Ok(out)
}

fn all(task: &Task) -> impl Iterator<Item = &WorkloadIdentity> {
    task.identity.iter().chain(task.identities.iter())
}

/// What the namespace has its tokens say beyond the rest: what is required always, what is optional
/// where the identity asks for it by its name.
fn extra(namespace: &Namespace, identity: &WorkloadIdentity) -> Map<String, Value> {
    let asked = |name: &&String| identity.extra_claims.contains(name);
    let optional = namespace.optional_extra_claims.iter().filter(|(name, _)| asked(name));
    let all = optional.chain(namespace.required_extra_claims.iter());
    all.map(|(name, value)| (name.clone(), value.as_str().into())).collect()
}

/// The token of a node.
///
/// # Errors
/// It is not known, or there is no key.
pub fn sign_node(
    reader: Reader<'_>,
    now: Now,
    entropy: &mut dyn Entropy,
    issuer: Issuer<'_>,
    node: &str,
) -> Result<SignedIdentity, ApiError> {
    let unknown = || ApiError::not_found(format!("Unknown node {node}"));
    let node = reader.node(node)?.ok_or_else(unknown)?;
    let pool = reader.node_pool(&node.node_pool)?;
    let ttl = pool.map(|p| p.node_identity_ttl.0).filter(|ttl| *ttl > 0).unwrap_or(NODE_TTL);
    let id = reader.signing_key()?.unwrap_or_default();
    let end = now.wall_ns.saturating_add(ttl) / SECOND;
    let sub = ["node", issuer.region, &node.node_pool, &node.id, IDENTITY_DEFAULT].join(":");
    let mut claims = node_claims(now, entropy, issuer, &sub, ttl);
    claims["nomad_node_id"] = node.id.into();
    claims["nomad_node_pool"] = node.node_pool.into();
    claims["nomad_node_datacenter"] = node.datacenter.into();
    let key = Signer::new(reader, &id, true).map_err(|_| no_key())?;
    let (name, jwt) = (IDENTITY_DEFAULT.to_owned(), token(&id, &key, &claims)?);
    Ok(SignedIdentity { task: String::new(), name, jwt, expires: end.saturating_mul(SECOND) })
}

/// What tokens of nodes say beside whom they are of; valid for `ttl` nanoseconds.
pub(super) fn node_claims(
    now: Now,
    entropy: &mut dyn Entropy,
    issuer: Issuer<'_>,
    sub: &str,
    ttl: i64,
) -> Value {
    let (begin, end) = (now.wall_ns / SECOND, now.wall_ns.saturating_add(ttl) / SECOND);
    let mut claims = json!({
        "sub": sub, "aud": [IDENTITY_AUDIENCE], "iat": begin, "nbf": begin, "exp": end,
        "jti": uuid::new(entropy),
    });
    if !issuer.url.is_empty() {
        claims["iss"] = issuer.url.into();
    }
    claims
}

/// Where the pool says nothing, nanoseconds. Source: the API, 24 h.
const NODE_TTL: i64 = 24 * 3_600 * SECOND;

/// Whole seconds, as the token says it.
fn ends(identity: &WorkloadIdentity, now: Now) -> i64 {
    if identity.ttl <= 0 {
        return 0;
    }
    let end = now.wall_ns.saturating_add(identity.ttl);
    end.saturating_sub(end.rem_euclid(SECOND))
}

fn claims(
    alloc: &Allocation,
    job: &Job,
    task: &Task,
    identity: &WorkloadIdentity,
    issuer: Issuer<'_>,
    now: Now,
    id: String,
) -> Value {
    // What a dispatched or periodic job may do is said of its parent.
    let job = if job.parent_id.is_empty() { &job.id } else { &job.parent_id };
    let begin = now.wall_ns.div_euclid(SECOND);
    // One that is a service's says so.
    let (who, name) = match identity.service_name.as_str() {
        "" => ("nomad_task", task.name.as_str()),
        service => ("nomad_service", service),
    };
    let parts = [issuer.region, &alloc.namespace, job, &alloc.task_group, name, &identity.name];
    let mut claims = Map::new();
    let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    say("sub", parts.join(":").into());
    say("iat", begin.into());
    say("nbf", begin.into());
    say("jti", id.into());
    say("nomad_namespace", alloc.namespace.as_str().into());
    say("nomad_job_id", job.as_str().into());
    say("nomad_allocation_id", alloc.id.as_str().into());
    say(who, name.into());
    if !identity.audience.is_empty() {
        say("aud", identity.audience.iter().map(String::as_str).collect());
    }
    if !issuer.url.is_empty() {
        say("iss", issuer.url.into());
    }
    match ends(identity, now) {
        0 => None,
        end => say("exp", (end / SECOND).into()),
    };
    claims.into()
}

/// A token that says such things, signed with a root key as its public half is published.
///
/// # Errors
/// There is no such key, or it signs by another algorithm than the one that is asked for.
pub fn sign_claims(
    reader: Reader<'_>,
    id: &str,
    algorithm: &str,
    claims: &Value,
) -> Result<String, ApiError> {
    let key = Signer::new(reader, id, true).map_err(|_| no_key())?;
    if !["", key.algorithm()].contains(&algorithm) {
        let why = format!("the root key signs by {}, not {algorithm}", key.algorithm());
        return Err(ApiError::failed(why));
    }
    token(id, &key, claims)
}

/// What signs with a root key, made when it is needed.
struct Signers<'r> {
    reader: Reader<'r>,
    id: &'r str,
    /// For what stays with this cluster, and for what leaves.
    made: [Option<Signer>; 2],
}

impl<'r> Signers<'r> {
    fn new(reader: Reader<'r>, id: &'r str) -> Self {
        Self { reader, id, made: [None, None] }
    }

    fn token(&mut self, leaves: bool, claims: &Value) -> Result<String, ApiError> {
        let key = match &mut self.made[usize::from(leaves)] {
            Some(key) => key,
            _ if leaves && is_late(self.reader, self.id).unwrap_or(false) => {
                return Err(ApiError::new(BEING_MADE, "the key that signs is being made"));
            }
            none => none.insert(Signer::new(self.reader, self.id, leaves).map_err(|_| no_key())?),
        };
        token(self.id, key, claims)
    }
}

fn no_key() -> ApiError {
    ApiError::failed("no key signs identities")
}

fn token(kid: &str, key: &Signer, claims: &Value) -> Result<String, ApiError> {
    let head = json!({"alg": key.algorithm(), "kid": kid, "typ": "JWT"});
    let [head, claims] = [&head, claims].map(|v| Bytes::encode_url(&codec::encode(v)));
    let signed = [head, claims].join(".");
    let signature = key.sign(signed.as_bytes()).ok_or_else(no_key)?;
    Ok([signed, Bytes::encode_url(&signature)].join("."))
}

/// Status of the answer to those who should ask again soon.
pub const BEING_MADE: u16 = 503;

/// Nanoseconds.
const SECOND: i64 = 1_000_000_000;
