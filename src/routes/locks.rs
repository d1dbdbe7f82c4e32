//! Locks of variables: acquire, renew, release (contract: variables).

use super::auth::need;
use super::variables::{check_path, check_size, clear, conflict, refused, sealed};
use super::{Answer, Ctx, LockRenewal, Outcome};
use crate::acl::var;
use crate::api::{ApiError, Variable, VariableLock, multi_error};
use crate::command::{Applied, Command};
use crate::http::Query;
use crate::server::keyring;
use crate::stdx::duration;
use crate::stdx::json::records;
use crate::stdx::json::{self, Map, Span};
use crate::store::{Table, keys};

type Result = std::result::Result<Outcome, ApiError>;

const SECOND: i64 = 1_000_000_000;
/// TTL and delay where none is given.
pub(super) const DEFAULT_NS: i64 = 15 * SECOND;
const TTL_MIN_NS: i64 = 10 * SECOND;
const TTL_MAX_NS: i64 = 24 * 3600 * SECOND;

records! {
/// A lock as requests write it.
#[derive(Default)]
pub(super) struct LockBody {
    #[serde(rename = "TTL")]
    pub(super) ttl: Span,
    #[serde(rename = "LockDelay")]
    pub(super) lock_delay: Span,
    #[serde(rename = "ID")]
    pub(super) id: String,
}
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "VariableDecrypted")]
struct Body {
    items: Map<String>,
    namespace: String,
    lock: Option<LockBody>,
}
}

/// Whether a PUT asks for an operation on the lock.
pub(super) fn asked(q: &Query<'_>) -> bool {
    OPS.iter().any(|(name, _)| q.get(name).is_some())
}

type Op = fn(&mut Ctx<'_>, Body) -> Result;

const OPS: [(&str, Op); 3] =
    [("lock-acquire", acquire), ("lock-renew", renew), ("lock-release", release)];

/// `PUT /v1/var/{path}?lock-…`
pub(super) fn run(ctx: &mut Ctx<'_>) -> Result {
    let q = Query::new(ctx.req.query());
    let mut ops = OPS.iter().filter(|(name, _)| q.get(name).is_some());
    let first = ops.next();
    if ops.next().is_some() {
        return Err(ApiError::bad("multiple lock operations"));
    }
    if q.get("cas").is_some() {
        return Err(ApiError::bad("CAS can't be used with lock operations"));
    }
    let mut body: Body = ctx.body()?;
    if body.namespace.is_empty() {
        body.namespace.clone_from(&ctx.params.namespace);
    }
    check_path(ctx.rest)?;
    need(ctx.may_var(&body.namespace, ctx.rest, var::WRITE))?;
    let Some((_, run)) = first else { return Err(ApiError::bad("Invalid method")) };
    run(ctx, body)
}

/// Takes the lock, and makes the variable where there is none. Its items become those sent.
fn acquire(ctx: &mut Ctx<'_>, body: Body) -> Result {
    check_size(&body.items)?;
    let given = body.lock.unwrap_or_default();
    let or = |span: Span| if span.0 == 0 { DEFAULT_NS } else { span.0 };
    let (ttl, delay) = (or(given.ttl), or(given.lock_delay));
    let mut errors = Vec::new();
    if !(TTL_MIN_NS..=TTL_MAX_NS).contains(&ttl) {
        errors.push("TTL must be between 10 seconds and 24 hours".to_owned());
    }
    if delay < 0 {
        errors.push("lock delay must be positive".to_owned());
    }
    if !errors.is_empty() {
        return Err(refused(&multi_error(&errors)));
    }
    let id = if given.id.is_empty() { ctx.new_id() } else { given.id };
    let lock = VariableLock {
        ttl: duration::Go(ttl).to_string(),
        lock_delay: duration::Go(delay).to_string(),
        id,
    };
    let mut variable = Variable {
        items: body.items,
        lock: Some(lock),
        namespace: body.namespace,
        path: ctx.rest.to_owned(),
        ..Variable::default()
    };
    let at = keys::variable(&variable.namespace, &variable.path);
    keyring::seal(ctx.reader, &mut variable, ctx.entropy).map_err(sealed)?;
    let command =
        Command::VariableAcquire { variable: Box::new(variable), wall_ns: ctx.now.wall_ns };
    propose(command, at, true)
}

/// Gives the lock back; the items stay.
fn release(ctx: &mut Ctx<'_>, body: Body) -> Result {
    let id = body.lock.unwrap_or_default().id;
    if id.is_empty() {
        return Err(refused("missing lock information"));
    }
    if !body.items.is_empty() {
        return Err(refused("lock release operation doesn't take variable items"));
    }
    let (namespace, path) = (body.namespace, ctx.rest.to_owned());
    let at = keys::variable(&namespace, &path);
    let command = Command::VariableRelease { namespace, path, id, wall_ns: ctx.now.wall_ns };
    propose(command, at, false)
}

fn propose(command: Command, at: Vec<u8>, items: bool) -> Result {
    Ok(Outcome::Propose(
        Box::new(command),
        Box::new(move |reader, index, applied| match applied {
            Applied::Conflict(_) => {
                Ok(Answer { index: None, ..conflict(reader, None, &at, false)? })
            }
            Applied::Refused(e) => Err(e),
            _ if items => Ok(clear(reader, &at)?.index(index)),
            _ => {
                let row = reader.row(Table::Variable, &at)?;
                let v = row.map_or(Ok(Variable::default()), |r| json::decode(r.json));
                let v = v.map_err(|e| ApiError::failed(e.to_string()))?;
                Ok(Answer::bytes(without_items(v)).index(index))
            }
        }),
    ))
}

/// Says that the holder is alive. Nothing is written: only the leader's timer moves.
fn renew(ctx: &mut Ctx<'_>, body: Body) -> Result {
    let id = body.lock.unwrap_or_default().id;
    if id.is_empty() {
        return Err(ApiError::failed(multi_error(&["missing lock ID".to_owned()])));
    }
    let key = keys::variable(&body.namespace, ctx.rest);
    let Some(row) = ctx.reader.row(Table::Variable, &key)? else {
        return Err(ApiError::not_found("variable doesn't exist"));
    };
    let variable: Variable = json::decode(row.json).map_err(|e| ApiError::failed(e.to_string()))?;
    if variable.lock.as_ref().is_none_or(|l| l.id.is_empty()) {
        return Err(ApiError::new(409, "variable doesn't hold a lock"));
    }
    let answer = Answer::bytes(without_items(variable));
    Ok(Outcome::RenewLock(Box::new(LockRenewal { key, id, answer })))
}

/// What is told of a variable without its items. Locks are told to managers only.
pub(super) fn metadata(ctx: &Ctx<'_>, row: &[u8]) -> std::result::Result<Vec<u8>, ApiError> {
    let mut v: Variable = json::decode(row).map_err(|e| ApiError::failed(e.to_string()))?;
    if !ctx.is_management() {
        v.lock = None;
    }
    Ok(without_items(v))
}

fn without_items(v: Variable) -> Vec<u8> {
    let (data, items, key_id) = Default::default();
    json::encode(&Variable { data, items, key_id, ..v })
}
