//! `/v1/acl/*`: who may do what (contract: acl, section 4).

mod assertion;
pub(super) mod jwt;
mod login;
mod methods;
mod oidc;
mod policies;
mod provider;
mod roles;
mod tokens;

use serde::Serialize;

use super::auth::{denied, need};
use super::{Answer, Ctx, Outcome, Reply, Watch, invalid_method};
use crate::api::status::POOL_DEFAULT;
use crate::api::{ApiError, multi_error};
use crate::command::{Applied, Command};
use crate::server::identity::Issuer;
use crate::server::introduction::introduce;
use crate::stdx::duration;
use crate::stdx::json::{self, Span, records};
use crate::store::{Reader, Table, keys, splice};

type Result<T = Outcome> = std::result::Result<T, ApiError>;
type Sub = fn(&mut Ctx<'_>, &str) -> Result;

/// Longest description, in bytes. Source: the API.
const DESCRIPTION_MAX: usize = 256;
/// Longest name of a policy, role or method, in characters. Source: the API.
const NAME_MAX: usize = 128;

/// Methods as bits.
const GET: u8 = 1;
const WRITE: u8 = 2;
const DELETE: u8 = 4;

/// Whole paths behind `/v1/acl/`, what they take, and who answers.
const EXACT: &[(&str, u8, Sub)] = &[
    ("bootstrap", WRITE, tokens::bootstrap),
    ("policies", GET, policies::list),
    ("policy/self", GET, policies::own),
    ("tokens", GET, tokens::list),
    ("token", WRITE, tokens::put),
    ("token/self", GET, tokens::own),
    ("token/onetime", WRITE, tokens::one_time),
    ("token/onetime/exchange", WRITE, tokens::exchange),
    ("roles", GET, roles::list),
    ("role", WRITE, roles::put),
    ("auth-methods", GET, methods::list),
    ("auth-method", WRITE, methods::put),
    ("binding-rules", GET, methods::rules),
    ("binding-rule", WRITE, methods::put_rule),
    ("login", WRITE, login::login),
    ("oidc/auth-url", WRITE, oidc::auth_url),
    ("oidc/complete-auth", WRITE, oidc::complete),
    ("identity/client-introduction-token", WRITE, introduction),
];

/// Beginnings of paths that end in a name; the longer one first.
const BELOW: &[(&str, u8, Sub)] = &[
    ("policy/", GET | WRITE | DELETE, policies::one),
    ("token/", GET | WRITE | DELETE, tokens::one),
    ("role/name/", GET, roles::by_name),
    ("role/", GET | WRITE | DELETE, roles::one),
    ("auth-method/", GET | WRITE | DELETE, methods::one),
    ("binding-rule/", GET | WRITE | DELETE, methods::one_rule),
];

/// `/v1/acl/*`
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let rest = ctx.req.path().strip_prefix("/v1/acl/").unwrap_or_default();
    let exact = EXACT.iter().find(|(path, ..)| *path == rest).map(|(_, m, run)| (*m, *run, ""));
    let below =
        || BELOW.iter().find_map(|(path, m, run)| Some((*m, *run, rest.strip_prefix(*path)?)));
    let Some((methods, run, name)) = exact.or_else(below) else {
        return Ok(Answer::unknown_path().into());
    };
    let asked = match () {
        () if ctx.is_get() => GET,
        () if ctx.is_write() => WRITE,
        () if ctx.is_delete() => DELETE,
        () => 0,
    };
    if methods & asked == 0 {
        return Err(invalid_method());
    }
    if ctx.agent.acl.enabled {
        return run(ctx, name);
    }
    match rest {
        "token/self" => tokens::own(ctx, ""),
        "policy/self" => Err(denied()),
        _ => Err(ApiError::bad("ACL support disabled")),
    }
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct IntroductionAsked {
    #[serde(rename = "TTL")]
    ttl: Span,
    node_name: String,
    node_pool: String,
}
}

/// A token that lets new nodes in.
fn introduction(ctx: &mut Ctx<'_>, _: &str) -> Result {
    need(ctx.may(|a| a.node(crate::acl::Level::Write)))?;
    let asked: IntroductionAsked = ctx.body()?;
    let rules = ctx.agent.introduction;
    let ttl = if asked.ttl.0 > 0 { asked.ttl.0 } else { rules.ttl_ns };
    if ttl > rules.ttl_max_ns {
        let most = duration::Go(rules.ttl_max_ns);
        return Err(ApiError::bad(format!("TTL must not be more than {most}")));
    }
    let pool = if asked.node_pool.is_empty() { POOL_DEFAULT } else { &asked.node_pool };
    let issuer = Issuer { region: &ctx.agent.region, url: &ctx.agent.oidc_issuer };
    let whom = (asked.node_name.as_str(), pool);
    let jwt = introduce(ctx.reader, ctx.now, &mut *ctx.entropy, issuer, whom, ttl)?;
    Ok(Answer::json(&serde_json::json!({ "JWT": jwt })).into())
}

/// Whether a text is a name of a policy, role or method.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(fits)
}

/// 400 with all that is wrong with the only object of a request.
fn invalid(what: &str, errors: &[String]) -> Result<()> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad(format!("{what} 0 invalid: {}", multi_error(errors))))
}

/// Puts a row into the log.
fn put<T: Serialize>(table: Table, row: &T, reply: Reply) -> Outcome {
    let rows = vec![String::from_utf8(json::encode(row)).unwrap_or_default()];
    let command = Command::AclPut { table: table.name().to_owned(), rows };
    Outcome::Propose(Box::new(command), reply)
}

fn delete(table: Table, id: &str, reply: Reply) -> Outcome {
    let command = Command::AclDelete { table: table.name().to_owned(), ids: vec![id.to_owned()] };
    Outcome::Propose(Box::new(command), reply)
}

/// 200 without a body, or why not.
fn written() -> Reply {
    Box::new(|_, index, applied| super::pools::written(index, applied))
}

/// The row as it was written, by way of `print`.
fn shows(table: Table, name: &str, print: fn(Reader<'_>, &[u8]) -> Result<Vec<u8>>) -> Reply {
    let key = keys::name(name);
    Box::new(move |reader, index, applied| match applied {
        Applied::Refused(e) => Err(e),
        _ => {
            let row = reader.row(table, &key)?.ok_or_else(|| ApiError::failed("row is gone"))?;
            Ok(Answer::bytes(print(reader, row.json)?).index(index))
        }
    })
}

fn as_it_is(_: Reader<'_>, row: &[u8]) -> Result<Vec<u8>> {
    Ok(row.to_vec())
}

/// One row, which can be waited for.
fn get(
    ctx: &Ctx<'_>,
    table: Table,
    name: &str,
    what: &str,
    print: fn(Reader<'_>, &[u8]) -> Result<Vec<u8>>,
) -> Result {
    let key = keys::name(name);
    let answer = match ctx.reader.row(table, &key)? {
        Some(row) => Answer::bytes(print(ctx.reader, row.json)?).query(row.modify()),
        None => Answer::text(404, format!("{what} not found")).query(ctx.reader.table_index(table)),
    };
    Ok(answer.watching(Watch::Row(table, key.into())).into())
}

/// All rows that the caller may see, each by way of `print`.
fn rows(
    ctx: &Ctx<'_>,
    table: Table,
    wants: &dyn Fn(&[u8]) -> bool,
    print: fn(Reader<'_>, &[u8]) -> Result<Vec<u8>>,
) -> Result<Answer> {
    let mut body = vec![b'['];
    for pair in ctx.reader.scan(table, ctx.params.prefix.as_bytes(), None, false)? {
        let (key, row) = pair?;
        if !wants(key) {
            continue;
        }
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(&print(ctx.reader, row.json)?);
    }
    body.push(b']');
    let index = ctx.reader.table_index(table);
    Ok(Answer::bytes(body).query(index).watching(Watch::Tables(table.bit())))
}

/// Some of the members of an object, in the order of their names.
fn members(object: &[u8], names: &[&str]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for name in names {
        if out.len() > 1 {
            out.push(b',');
        }
        json::encode_into(name, &mut out);
        out.push(b':');
        out.extend_from_slice(splice::field(object, name).unwrap_or(b"null"));
    }
    out.push(b'}');
    out
}

fn decode<T: json::Decode + Default>(row: &[u8]) -> Result<T> {
    json::decode(row).map_err(|e| ApiError::failed(format!("a stored row is damaged: {e}")))
}
