//! `/v1/var/*`: small secrets and settings. Their locks are in `locks`.

use super::answer::{JSON, TEXT};
use super::auth::need;
use super::locks::{self, DEFAULT_NS, LockBody};
use super::{Answer, Ctx, Outcome, Watch};
use crate::acl::var;
use crate::api::{ApiError, Variable, VariableLock};
use crate::command::{Applied, Command};
use crate::http::{Method, Query};
use crate::server::keyring::{self, SealError};
use crate::stdx::duration;
use crate::stdx::json::records;
use crate::stdx::json::{self, Map, Span};
use crate::store::{Reader, Table, keys};

type Result = std::result::Result<Outcome, ApiError>;

/// Largest sum of keys and values of one variable, in bytes. Source: the API.
pub(super) const VARIABLE_BYTES_MAX: usize = 65_536;
/// Longest path, in characters. Source: the API.
pub(super) const PATH_CHARS_MAX: usize = 128;

records! {
/// What a PUT may say. Its path is ignored, its namespace wins over the query's.
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "VariableDecrypted")]
struct PutBody {
    items: Option<Map<String>>,
    namespace: String,
    lock: Option<LockBody>,
}
}

/// `/v1/var/{path}`
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    if ctx.rest.is_empty() {
        return Err(ApiError::bad("missing variable path"));
    }
    let q = Query::new(ctx.req.query());
    match ctx.req.method {
        Method::Get => get(ctx),
        Method::Put | Method::Post => {
            if locks::asked(&q) {
                return locks::run(ctx);
            }
            put(ctx, check_param(&q)?)
        }
        Method::Delete => delete(ctx, check_param(&q)?),
        _ => Err(ApiError::bad("Invalid method")),
    }
}

fn check_param(q: &Query<'_>) -> std::result::Result<Option<u64>, ApiError> {
    let Some(text) = q.get("cas") else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        ApiError::bad(format!(
            "can not parse cas: strconv.ParseUint: parsing \"{text}\": invalid syntax"
        ))
    })
}

fn get(ctx: &mut Ctx<'_>) -> Result {
    need(ctx.may_var(&ctx.params.namespace, ctx.rest, var::READ))?;
    let key = keys::variable(&ctx.params.namespace, ctx.rest);
    let watch = Watch::Row(Table::Variable, key.clone().into());
    let answer = match ctx.reader.row(Table::Variable, &key)? {
        Some(row) => {
            let mut clear = keyring::open(ctx.reader, row.json).map_err(sealed)?;
            if !ctx.is_management() {
                clear.lock = None;
            }
            Answer::json(&clear).query(row.modify())
        }
        None => {
            Answer::text(404, "variable not found").query(ctx.reader.table_index(Table::Variable))
        }
    };
    Ok(answer.watching(watch).into())
}

fn put(ctx: &mut Ctx<'_>, check: Option<u64>) -> Result {
    let body: PutBody = ctx.body()?;
    let Some(items) = body.items.filter(|i| !i.is_empty()) else {
        return Err(ApiError::bad("variable missing required Items object"));
    };
    if body.lock.as_ref().is_some_and(|l| l.ttl != Span(0) || l.lock_delay != Span(0)) {
        return Err(ApiError::bad(
            "RPC Error:: 400,RPC Error:: 400,variable should not contain lock definition",
        ));
    }
    let namespace = match body.namespace.as_str() {
        "" => ctx.params.namespace.clone(),
        ns => ns.to_owned(),
    };
    if namespace == "*" {
        return Err(refused("can not target wildcard (\"*\")namespace"));
    }
    check_path(ctx.rest)?;
    need(ctx.may_var(&namespace, ctx.rest, var::WRITE))?;
    let reads = ctx.may_var(&namespace, ctx.rest, var::READ);
    check_size(&items)?;
    // The holder writes by its lock's id alone; the lock's times then become the default ones.
    let lock = body.lock.filter(|l| !l.id.is_empty()).map(|l| VariableLock {
        ttl: duration::Go(DEFAULT_NS).to_string(),
        lock_delay: duration::Go(DEFAULT_NS).to_string(),
        id: l.id,
    });
    let path = ctx.rest.to_owned();
    let mut variable = Box::new(Variable { items, lock, namespace, path, ..Variable::default() });
    keyring::seal(ctx.reader, &mut variable, ctx.entropy).map_err(sealed)?;
    let at = keys::variable(&variable.namespace, &variable.path);
    let command = Command::VariablePut { variable, check, wall_ns: ctx.now.wall_ns };
    Ok(Outcome::Propose(
        Box::new(command),
        Box::new(move |reader, index, applied| match applied {
            Applied::Conflict(current) => conflict(reader, current, &at, reads),
            Applied::Refused(e) => Err(e),
            _ => Ok(clear(reader, &at)?.index(index)),
        }),
    ))
}

fn delete(ctx: &mut Ctx<'_>, check: Option<u64>) -> Result {
    check_path(ctx.rest)?;
    let namespace = ctx.params.namespace.clone();
    need(ctx.may_var(&namespace, ctx.rest, var::DESTROY))?;
    let reads = ctx.may_var(&namespace, ctx.rest, var::READ);
    let path = ctx.rest.to_owned();
    let at = keys::variable(&namespace, &path);
    let command = Command::VariableDelete { namespace, path, check };
    Ok(Outcome::Propose(
        Box::new(command),
        Box::new(move |reader, index, applied| match applied {
            Applied::Conflict(current) => conflict(reader, current, &at, reads),
            Applied::Refused(e) => Err(e),
            _ => Ok(Answer { status: 204, ..Answer::default() }.index(index)),
        }),
    ))
}

/// 409 with what stands there; JSON under a text type, as recorded. Without anything there: a
/// variable of zeros that still says which one was meant. `reads`: the caller may see what it
/// holds.
pub(super) fn conflict(
    reader: Reader<'_>,
    current: Option<Box<Variable>>,
    at: &[u8],
    reads: bool,
) -> std::result::Result<Answer, ApiError> {
    let variable = match current {
        Some(current) if reads => keyring::unseal(reader, *current).map_err(sealed)?,
        Some(current) => {
            let (data, items, key_id, lock) = Default::default();
            Variable { data, items, key_id, lock, ..*current }
        }
        None => {
            let mut parts = at.splitn(2, |b| *b == 0);
            let mut text =
                || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            Variable { namespace: text(), path: text(), ..Variable::default() }
        }
    };
    let index = variable.modify_index;
    let mut answer = Answer::bytes(json::encode(&variable)).index(index);
    answer.status = 409;
    debug_assert_eq!(answer.content_type, Some(JSON));
    answer.content_type = Some(TEXT);
    Ok(answer)
}

/// The variable as it lies there now, with its items.
pub(super) fn clear(reader: Reader<'_>, at: &[u8]) -> std::result::Result<Answer, ApiError> {
    let Some(row) = reader.row(Table::Variable, at)? else { return Ok(Answer::bytes(Vec::new())) };
    Ok(Answer::json(&keyring::open(reader, row.json).map_err(sealed)?))
}

pub(super) fn sealed(e: SealError) -> ApiError {
    match e {
        SealError::Store(e) => e.into(),
        SealError::Broken => ApiError::failed("the variable cannot be decrypted"),
    }
}

pub(super) fn refused(text: &str) -> ApiError {
    ApiError::bad(format!("RPC Error:: 400,{text}"))
}

pub(super) fn check_size(items: &Map<String>) -> std::result::Result<(), ApiError> {
    let size: usize = items.iter().map(|(k, v)| k.len() + v.len()).sum();
    if size > VARIABLE_BYTES_MAX {
        return Err(refused("variables are limited to 64KiB in total size"));
    }
    Ok(())
}

/// The rules for paths: characters, length, and what lies under `nomad/`.
pub(super) fn check_path(path: &str) -> std::result::Result<(), ApiError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '~' | '/');
    if path.is_empty() || path.len() > PATH_CHARS_MAX || !path.chars().all(fits) {
        return Err(refused(&format!("invalid path \"{path}\"")));
    }
    let mut parts = path.split('/');
    if parts.next() != Some("nomad") {
        return Ok(());
    }
    let rest: Vec<&str> = parts.collect();
    match rest.as_slice() {
        ["jobs", ..] => Ok(()),
        ["job-templates", name] if !name.is_empty() => Ok(()),
        ["job-templates", ..] => Err(refused(
            "\"nomad/job-templates\" is a reserved directory path, but you may write variables \
             at the level below it, for example, \"nomad/job-templates/template-name\"",
        )),
        _ => Err(refused(
            "only paths at \"nomad/jobs\" or \"nomad/job-templates\" and below are valid paths \
             under the top-level \"nomad\" directory",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_under_nomad_are_reserved() {
        for good in ["a", "a/b-c_d~e", "nomad/jobs", "nomad/jobs/web/g/t", "nomadic"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "b d", "a%", "nomad", "nomad/x", "nomad/job-templates", "nomad/"] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        assert!(check_path(&"a".repeat(128)).is_ok());
        assert!(check_path(&"a".repeat(129)).is_err());
    }
}
