//! `/v1/node/pool/*` and `/v1/node/pools`. Lists are in `list`.

use super::auth::need;
use super::{Answer, Ctx, Outcome, Watch, invalid_method, list};
use crate::acl::{Level, pool};
use crate::api::{ApiError, NodePool, multi_error, status};
use crate::command::{Applied, Command};
use crate::stdx::json::{Bytes, Span};
use crate::stdx::{blake2b, duration};
use crate::store::{Table, keys};

type Result = std::result::Result<Outcome, ApiError>;

/// Longest name, in characters. Source: the API.
const NAME_MAX: usize = 128;
/// Longest description, in bytes. Source: the API.
pub(super) const DESCRIPTION_MAX: usize = 256;
/// `NodeIdentityTTL` where none is given: 24 h, in ns.
const IDENTITY_TTL: Span = Span(86_400_000_000_000);

/// `/v1/node/pools`
pub(super) fn collection(ctx: &mut Ctx<'_>) -> Result {
    if ctx.is_write() {
        return upsert(ctx, None);
    }
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    list::pools(ctx)
}

/// `/v1/node/pool/{name}` and its lists.
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let rest = ctx.rest;
    if let Some(name) = rest.strip_suffix("/nodes") {
        need(ctx.may(|a| a.node(Level::Read) && a.node_pool(name, pool::READ)))?;
        return list::pool_nodes(ctx, name);
    }
    if let Some(name) = rest.strip_suffix("/jobs") {
        need(ctx.may(|a| a.node_pool(name, pool::READ)))?;
        return list::pool_jobs(ctx, name);
    }
    if ctx.is_write() {
        return upsert(ctx, Some(rest));
    }
    if ctx.is_delete() {
        return delete(ctx, rest);
    }
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    need(ctx.may(|a| a.node_pool(rest, pool::READ)))?;
    let key = keys::name(rest);
    let watch = Watch::Row(Table::NodePool, key.as_slice().into());
    let answer = match ctx.reader.row(Table::NodePool, &key)? {
        Some(row) => Answer::bytes(row.json.to_vec()).query(row.modify().max(1)),
        None => Answer::text(404, "node pool not found")
            .query(ctx.reader.table_index(Table::NodePool).max(1)),
    };
    Ok(answer.watching(watch).into())
}

/// `path`: the name in the path, where the pool is named there.
fn upsert(ctx: &mut Ctx<'_>, path: Option<&str>) -> Result {
    let mut pool: NodePool = ctx.body()?;
    if path.is_some_and(|name| name != pool.name) {
        return Err(ApiError::bad("Node pool name does not match request path"));
    }
    need(ctx.may(|a| a.node_pool(&pool.name, pool::WRITE)))?;
    if pool.scheduler_configuration.is_some() {
        return Err(ApiError::failed("Feature \"Node Pools Governance\" is unlicensed"));
    }
    let errors = faults(&pool);
    if !errors.is_empty() {
        let name = &pool.name;
        return Err(ApiError::bad(format!(
            "invalid node pool \"{name}\": {}",
            multi_error(&errors)
        )));
    }
    if is_built_in(&pool.name) {
        let name = &pool.name;
        return Err(ApiError::bad(format!("modifying node pool \"{name}\" is not allowed")));
    }
    if pool.node_identity_ttl == Span(0) {
        pool.node_identity_ttl = IDENTITY_TTL;
    }
    pool.hash = Some(hash(&pool));
    Ok(Outcome::Propose(
        Box::new(Command::NodePoolUpsert { pool: Box::new(pool) }),
        Box::new(|_, index, applied| written(index, applied)),
    ))
}

fn delete(ctx: &mut Ctx<'_>, name: &str) -> Result {
    if name.is_empty() {
        return Err(ApiError::bad("node pool name is empty"));
    }
    need(ctx.may(|a| a.node_pool(name, pool::DELETE)))?;
    let (name, region) = (name.to_owned(), ctx.agent.region.clone());
    Ok(Outcome::Propose(
        Box::new(Command::NodePoolDelete { name, region }),
        Box::new(|_, index, applied| written(index, applied)),
    ))
}

/// 200 without a body, or why not.
pub(super) fn written(index: u64, applied: Applied) -> std::result::Result<Answer, ApiError> {
    match applied {
        Applied::Refused(e) => Err(e),
        _ => Ok(Answer::empty().index(index)),
    }
}

pub(super) fn is_built_in(pool: &str) -> bool {
    matches!(pool, status::POOL_ALL | status::POOL_DEFAULT)
}

fn faults(pool: &NodePool) -> Vec<String> {
    let mut errors = Vec::new();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if pool.name.is_empty() || pool.name.len() > NAME_MAX || !pool.name.chars().all(fits) {
        errors.push(format!(
            "invalid name \"{}\", must match regex ^[a-zA-Z0-9-_]{{1,128}}$",
            pool.name
        ));
    }
    if pool.description.len() > DESCRIPTION_MAX {
        errors.push(format!("description longer than {DESCRIPTION_MAX}"));
    }
    errors
}

fn hash(pool: &NodePool) -> Bytes {
    let ttl = duration::Go(pool.node_identity_ttl.0).to_string();
    let mut text = [pool.name.as_str(), &pool.description, &ttl].concat();
    for (key, value) in &pool.meta {
        text.extend([key.as_str(), value]);
    }
    Bytes(blake2b::digest(text.as_bytes()).to_vec())
}
