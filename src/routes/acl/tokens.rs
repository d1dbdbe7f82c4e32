//! Tokens, the first one and those for one use among them.

use serde_json::json;

use super::roles::named;
use super::{NAME_MAX, Result, decode, delete, get, invalid, members, put as put_row, shows};
use crate::api::{AclRole, AclRoleLink, AclToken, ApiError, OneTimeToken};
use crate::command::{Applied, Command};
use crate::limits::ONE_TIME_TOKEN_NS;
use crate::routes::auth::{ANONYMOUS, DISABLED, denied, need};
use crate::routes::page::Page;
use crate::routes::{Answer, Ctx, Outcome, Watch};
use crate::stdx::json::{self as codec, Bytes, List, Span, Time, records};
use crate::stdx::{BTreeSet, blake2b, duration, same_secret, uuid};
use crate::store::{Reader, Table, keys};

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct BootstrapBody {
    bootstrap_secret: String,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "ACLToken")]
struct TokenBody {
    #[serde(rename = "AccessorID")]
    accessor_id: String,
    #[serde(rename = "SecretID")]
    secret_id: String,
    name: String,
    #[serde(rename = "Type")]
    kind: String,
    policies: List<String>,
    roles: List<AclRoleLink>,
    global: bool,
    #[serde(rename = "ExpirationTTL")]
    expiration_ttl: Span,
    expiration_time: Time,
}

#[derive(Default)]
struct ExchangeBody {
    #[serde(rename = "OneTimeSecretID")]
    secret: String,
}
}

/// `/v1/acl/bootstrap`
pub(super) fn bootstrap(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    let body: BootstrapBody =
        if ctx.req.body.is_empty() { BootstrapBody::default() } else { ctx.body()? };
    let secret = body.bootstrap_secret;
    if !secret.is_empty() && !uuid::is_uuid(&secret) {
        return Err(ApiError::bad("invalid acl token"));
    }
    let mut token = AclToken {
        accessor_id: uuid::new(ctx.entropy),
        secret_id: if secret.is_empty() { uuid::new(ctx.entropy) } else { secret },
        name: "Bootstrap Token".to_owned(),
        kind: AclToken::MANAGEMENT.to_owned(),
        global: true,
        create_time: Time(ctx.now.wall_ns),
        ..AclToken::default()
    };
    token.hash = hash(&token);
    let reply = shows(Table::Token, &token.accessor_id, whole);
    let token = String::from_utf8(codec::encode(&token)).unwrap_or_default();
    let command = Command::AclBootstrap { token, reset: ctx.agent.acl.bootstrap_reset };
    Ok(Outcome::Propose(Box::new(command), reply))
}

/// A stored token as it is shown, with the names of its roles; those that are gone are left out.
fn shown(reader: Reader<'_>, mut token: AclToken) -> Result<AclToken> {
    let mut roles = Vec::new();
    for link in token.roles.iter() {
        if let Some(role) = reader.acl_row::<AclRole>(Table::Role, &link.id)? {
            roles.push(AclRoleLink { id: role.id, name: role.name });
        }
    }
    token.roles = List(roles);
    Ok(token)
}

pub(super) fn whole(reader: Reader<'_>, row: &[u8]) -> Result<Vec<u8>> {
    Ok(codec::encode(&shown(reader, decode(row)?)?))
}

/// What lists show of a token: all but its secret.
const STUB: [&str; 11] = [
    "AccessorID",
    "CreateIndex",
    "CreateTime",
    "ExpirationTime",
    "Global",
    "Hash",
    "ModifyIndex",
    "Name",
    "Policies",
    "Roles",
    "Type",
];

/// `/v1/acl/tokens`
pub(super) fn list(ctx: &mut Ctx<'_>, _: &str) -> Result {
    need(ctx.is_management())?;
    let p = ctx.params;
    let mut page = Page::new::<AclToken>(p)?;
    let start = (!p.next_token.is_empty()).then_some(p.next_token.as_bytes());
    for pair in ctx.reader.scan(Table::Token, p.prefix.as_bytes(), start, p.reverse)? {
        let (key, row) = pair?;
        if !page.passes(row.json)? {
            continue;
        }
        let Some(out) = page.room(|| String::from_utf8_lossy(key).into_owned()) else { break };
        out.extend_from_slice(&members(&whole(ctx.reader, row.json)?, &STUB));
    }
    let index = ctx.reader.table_index(Table::Token);
    Ok(page.answer(index, Watch::Tables(Table::Token.bit())).into())
}

/// `/v1/acl/token/{accessor}`
pub(super) fn one(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if id.is_empty() {
        return Err(ApiError::bad("Missing Token Accessor"));
    }
    if ctx.is_get() {
        let own = ctx.token().is_some_and(|t| t.accessor_id == id);
        need(ctx.is_management() || own)?;
        return get(ctx, Table::Token, id, "ACL token", whole);
    }
    if !ctx.is_delete() {
        return put(ctx, id);
    }
    need(ctx.is_management())?;
    let gone = format!("Cannot delete nonexistent tokens: {id}");
    Ok(delete(
        Table::Token,
        id,
        Box::new(|_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            Applied::Nothing => Err(ApiError::bad(gone)),
            _ => Ok(Answer::empty().index(index)),
        }),
    ))
}

/// `/v1/acl/token/self`: those without a token are told so in the form of one.
pub(super) fn own(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    if let Some(token) = ctx.token() {
        let key = keys::name(&token.accessor_id);
        let body = codec::encode(&shown(ctx.reader, token.clone())?);
        let answer = Answer::bytes(body).query(token.modify_index);
        return Ok(answer.watching(Watch::Row(Table::Token, key.into())).into());
    }
    if ctx.is_workload() {
        return Err(ApiError::not_found("ACL token not found"));
    }
    let (accessor, name, policies) = match ctx.agent.acl.enabled {
        true => (ANONYMOUS, "Anonymous Token", "[\"anonymous\"]"),
        false => (DISABLED, "ACLs disabled token", "null"),
    };
    let body = format!(
        "{{\"ExpirationTTL\":\"\",\"AccessorID\":\"{accessor}\",\"SecretID\":\"\",\
         \"Name\":\"{name}\",\"Type\":\"client\",\"Policies\":{policies},\"Roles\":null,\
         \"Global\":false,\"Hash\":null,\"CreateTime\":\"0001-01-01T00:00:00Z\",\
         \"ExpirationTime\":null,\"CreateIndex\":0,\"ModifyIndex\":0}}"
    );
    Ok(Answer::bytes(body.into_bytes()).query(ctx.reader.table_index(Table::Token)).into())
}

/// `id`: that in the path; empty: a new token.
pub(super) fn put(ctx: &mut Ctx<'_>, id: &str) -> Result {
    need(ctx.is_management())?;
    let body: TokenBody = ctx.body()?;
    if !id.is_empty() && body.accessor_id != id {
        return Err(ApiError::bad("ACL token accessor does not match request path"));
    }
    let old: Option<AclToken> = match body.accessor_id.as_str() {
        "" => None,
        id => ctx.reader.acl_row(Table::Token, id)?,
    };
    let chosen = uuid::is_uuid(&body.accessor_id)
        && uuid::is_uuid(&body.secret_id)
        && body.kind == AclToken::CLIENT;
    if old.is_none() && !body.accessor_id.is_empty() && !chosen {
        return Err(ApiError::bad(format!("cannot find token {}", body.accessor_id)));
    }
    let mut token = AclToken {
        policies: Some(unique(body.policies.0)),
        roles: role_links(ctx, &body.roles)?,
        name: body.name,
        kind: body.kind,
        global: body.global,
        ..AclToken::default()
    };
    let mut errors = faults(&token);
    match old {
        None => {
            token.create_time = Time(ctx.now.wall_ns);
            let ends = (body.expiration_ttl.0, body.expiration_time);
            expire(ctx, &mut token, ends, &mut errors);
            (token.accessor_id, token.secret_id) = match body.accessor_id.is_empty() {
                true => (uuid::new(ctx.entropy), uuid::new(ctx.entropy)),
                false => (body.accessor_id, body.secret_id),
            };
        }
        Some(old) => {
            let span = duration::parse(&old.expiration_ttl).unwrap_or(0);
            for (changed, text) in [
                (token.global != old.global, "cannot toggle global mode"),
                (![0, span].contains(&body.expiration_ttl.0), "cannot update expiration TTL"),
                (
                    ![Time(0), old.expiration_time].contains(&body.expiration_time),
                    "cannot update expiration time",
                ),
            ] {
                if changed {
                    errors.push(text.to_owned());
                }
            }
            token = AclToken {
                accessor_id: old.accessor_id,
                secret_id: old.secret_id,
                create_time: old.create_time,
                expiration_ttl: old.expiration_ttl,
                expiration_time: old.expiration_time,
                ..token
            };
        }
    }
    invalid("token", &errors)?;
    token.hash = hash(&token);
    let reply = shows(Table::Token, &token.accessor_id, whole);
    Ok(put_row(Table::Token, &token, reply))
}

/// Each once, in their order.
fn unique(mut names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.retain(|n| seen.insert(n.clone()));
    names
}

/// The ids of the roles that are named by id or name, each once.
fn role_links(ctx: &Ctx<'_>, given: &[AclRoleLink]) -> Result<List<AclRoleLink>> {
    let mut ids = Vec::new();
    for link in given {
        let (role, called) = if link.id.is_empty() {
            (named(ctx, &link.name)?, &link.name)
        } else {
            (ctx.reader.acl_row(Table::Role, &link.id)?, &link.id)
        };
        let role = role.ok_or_else(|| ApiError::bad(format!("cannot find role {called}")))?;
        ids.push(role.id);
    }
    let link = |id| AclRoleLink { id, name: String::new() };
    Ok(unique(ids).into_iter().map(link).collect())
}

fn faults(token: &AclToken) -> Vec<String> {
    let mut errors = Vec::new();
    if token.name.len() > 2 * NAME_MAX {
        errors.push("token name too long".to_owned());
    }
    let none = token.policies.as_ref().is_none_or(Vec::is_empty) && token.roles.is_empty();
    match token.kind.as_str() {
        AclToken::CLIENT if none => {
            errors.push("client token missing policies or roles".to_owned());
        }
        AclToken::MANAGEMENT if !none => {
            errors.push("management token cannot be associated with policies or roles".to_owned());
        }
        AclToken::CLIENT | AclToken::MANAGEMENT => {}
        _ => errors.push("token type must be client or management".to_owned()),
    }
    errors
}

/// When a new token ends, by a length of time or a point in it; zero: neither.
fn expire(ctx: &Ctx<'_>, token: &mut AclToken, ends: (i64, Time), errors: &mut Vec<String>) {
    let (ttl_ns, at) = ends;
    let go = |ns: i64| duration::Go(ns).to_string();
    if ttl_ns < 0 {
        errors.push(format!("token expiration TTL '{}' should not be negative", go(ttl_ns)));
        return;
    }
    if ttl_ns > 0 {
        token.expiration_ttl = go(ttl_ns);
        token.expiration_time = Time(token.create_time.0.saturating_add(ttl_ns));
    }
    if at != Time(0) {
        token.expiration_time = at;
    }
    if token.expiration_time == Time(0) {
        return;
    }
    let left = token.expiration_time.0.saturating_sub(token.create_time.0);
    let (least, most) = (ctx.agent.acl.token_min_ttl_ns, ctx.agent.acl.token_max_ttl_ns);
    if left < 0 {
        errors.push("expiration time cannot be before create time".to_owned());
    } else if left < least {
        let (least, left) = (go(least), go(left));
        errors.push(format!(
            "expiration time cannot be less than {least} in the future (was {left})"
        ));
    } else if left > most {
        let (most, left) = (go(most), go(left));
        errors
            .push(format!("expiration time cannot be more than {most} in the future (was {left})"));
    }
}

/// All that a user can say, in the order of the contract.
pub(super) fn hash(token: &AclToken) -> Bytes {
    let mut text = [token.name.as_str(), &token.kind].concat();
    text.extend(token.policies.iter().flatten().map(String::as_str));
    text.push_str(if token.global { "global" } else { "local" });
    text.extend(token.roles.iter().map(|r| r.id.as_str()));
    Bytes(blake2b::digest(text.as_bytes()).to_vec())
}

/// `/v1/acl/token/onetime`: a secret that can be exchanged for the caller's token.
pub(super) fn one_time(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    let token = ctx.token().ok_or_else(denied)?;
    let mut once = OneTimeToken {
        accessor_id: token.accessor_id.clone(),
        expires_at: Time(ctx.now.wall_ns.saturating_add(ONE_TIME_TOKEN_NS)),
        one_time_secret_id: uuid::new(ctx.entropy),
        ..OneTimeToken::default()
    };
    let row = codec::encode(&once);
    let command = Command::AclPut {
        table: Table::OneTimeToken.name().to_owned(),
        rows: vec![String::from_utf8(row).unwrap_or_default()],
    };
    Ok(Outcome::Propose(
        Box::new(command),
        Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => {
                (once.create_index, once.modify_index) = (index, index);
                let body = json!({ "Index": index, "OneTimeToken": once });
                Ok(Answer::json(&body).index(index))
            }
        }),
    ))
}

/// `/v1/acl/token/onetime/exchange`: only the first who comes gets the token.
pub(super) fn exchange(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    let body: ExchangeBody = ctx.body()?;
    let once = ctx.reader.one_time_token(&body.secret)?.ok_or_else(denied)?;
    if !same_secret(&once.one_time_secret_id, &body.secret) || once.expires_at.0 <= ctx.now.wall_ns
    {
        return Err(denied());
    }
    let token: AclToken =
        ctx.reader.acl_row(Table::Token, &once.accessor_id)?.ok_or_else(denied)?;
    need(!token.is_expired(ctx.now.wall_ns))?;
    Ok(delete(
        Table::OneTimeToken,
        &body.secret,
        Box::new(move |reader, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            Applied::Nothing => Err(denied()),
            _ => {
                let token = codec::encode(&shown(reader, token)?);
                let mut body = format!("{{\"Index\":{index},\"Token\":").into_bytes();
                body.extend_from_slice(&token);
                body.push(b'}');
                Ok(Answer::bytes(body).index(index))
            }
        }),
    ))
}
