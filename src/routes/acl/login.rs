//! Logging in: a token of an identity provider is exchanged for one of this cluster.

use serde_json::{Map, Value, json};

use super::jwt::{Expected, check_claims};
use super::provider::signed_claims;
use super::roles::named;
use super::tokens::{hash, whole};
use super::{Result, put as put_row, shows};
use crate::api::{
    AclAuthConfig, AclAuthMethod, AclBindingRule, AclRoleLink, AclToken, ApiError, multi_error,
};
use crate::bexpr::Filter;
use crate::routes::Ctx;
use crate::routes::fetch::Stop;
use crate::stdx::json::{List, Time, records};
use crate::stdx::{BTreeSet, duration, uuid};
use crate::store::{Table, keys};

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "ACLLoginRequest")]
struct Body {
    auth_method_name: String,
    login_token: String,
}
}

const SECOND: i64 = 1_000_000_000;
/// What clocks may differ by, and how long tokens live that do not say so. Source: the API.
const SKEW_NS: i64 = 60 * SECOND;
const LEEWAY_NS: i64 = 150 * SECOND;

/// `/v1/acl/login`
pub(super) fn login(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    let body: Body = ctx.body()?;
    required(
        "login",
        &[
            (&body.auth_method_name, "missing auth method name"),
            (&body.login_token, "missing login token"),
        ],
    )?;
    let name = &body.auth_method_name;
    let method: Option<AclAuthMethod> = ctx.reader.acl_row(Table::AuthMethod, name)?;
    let method = method.ok_or_else(|| ApiError::bad(format!("auth-method {name:?} not found")))?;
    let config = method.config.as_deref().filter(|_| method.kind == "JWT");
    let config =
        config.ok_or_else(|| ApiError::bad(format!("auth-method {name:?} is not of type JWT")))?;
    let trusted = signed_claims(ctx, config, &body.login_token).and_then(|claims| {
        checked(config, &claims, &config.bound_issuer, ctx.now.wall_ns)?;
        Ok(claims)
    });
    match trusted {
        Ok(claims) => admitted(ctx, &method, config, &claims),
        Err(stop) => stop
            .outcome(|why| ApiError::new(401, format!("unable to validate provided token: {why}"))),
    }
}

/// 400 with all that a request lacks.
pub(super) fn required(what: &str, fields: &[(&String, &str)]) -> Result<()> {
    let missing = fields.iter().filter(|(text, _)| text.is_empty());
    let missing: Vec<String> = missing.map(|(_, missing)| (*missing).to_owned()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad(format!("invalid {what} request: {}", multi_error(&missing))))
}

/// Someone with such claims gets a token.
pub(super) fn admitted(
    ctx: &mut Ctx<'_>,
    method: &AclAuthMethod,
    config: &AclAuthConfig,
    claims: &Value,
) -> Result {
    let claims = mapped(config, claims);
    let token = bound(ctx, method, &claims)?;
    let reply = shows(Table::Token, &token.accessor_id, whole);
    Ok(put_row(Table::Token, &token, reply))
}

/// Whether times, issuer and audience of claims are as the method wants them.
///
/// # Errors
/// What is not.
pub(super) fn checked(
    config: &AclAuthConfig,
    claims: &Value,
    issuers: &[String],
    wall_ns: i64,
) -> std::result::Result<(), Stop> {
    let leeway = |text: &str, default: i64| match duration::parse(text) {
        None | Some(0) => default,
        Some(ns) => ns.max(0),
    };
    let expected = Expected {
        audiences: &config.bound_audiences,
        issuers,
        skew_ns: leeway(&config.clock_skew_leeway, SKEW_NS),
        expiration_ns: leeway(&config.expiration_leeway, LEEWAY_NS),
        not_before_ns: leeway(&config.not_before_leeway, LEEWAY_NS),
    };
    Ok(check_claims(claims, &expected, wall_ns)?)
}

/// A claim by its name, or by a pointer into nested ones.
fn claim<'c>(claims: &'c Value, name: &str) -> Option<&'c Value> {
    if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) }
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    }
}

/// What selectors and names see of the claims: `value.x` and `list.y`.
fn mapped(config: &AclAuthConfig, claims: &Value) -> Value {
    let mut values = Map::new();
    for (from, to) in config.claim_mappings.iter() {
        if let Some(text) = claim(claims, from).and_then(word) {
            values.insert(to.clone(), text.into());
        }
    }
    let mut lists = Map::new();
    for (from, to) in config.list_claim_mappings.iter() {
        let list = match claim(claims, from) {
            Some(Value::Array(all)) => all.iter().filter_map(word).collect(),
            Some(one) => word(one).into_iter().collect::<Vec<_>>(),
            None => continue,
        };
        lists.insert(to.clone(), list.into());
    }
    json!({ "list": lists, "value": values })
}

/// `${value.x}` and the like in a name; `None` where something is asked for that is not there.
fn interpolated(text: &str, find: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let (name, after) = behind.split_once('}')?;
        out.push_str(before);
        out.push_str(&find(name.trim())?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// The token that the rules of a method give to someone with such claims.
fn bound(ctx: &mut Ctx<'_>, method: &AclAuthMethod, claims: &Value) -> Result<AclToken> {
    let value = |name: &str| word(claims["value"].get(name.strip_prefix("value.")?)?);
    let (mut policies, mut roles) = (BTreeSet::new(), BTreeSet::new());
    let mut manages = false;
    for rule in ctx.reader.acl_rows::<AclBindingRule>(Table::BindingRule)? {
        if rule.auth_method != method.name || !selects(&rule, claims) {
            continue;
        }
        let Some(name) = interpolated(&rule.bind_name, &value) else { continue };
        match rule.bind_type.as_str() {
            "management" => manages = true,
            "policy" if ctx.reader.has(Table::Policy, &keys::name(&name))? => {
                policies.insert(name);
            }
            "role" => roles.extend(named(ctx, &name)?.map(|r| r.id)),
            _ => {}
        }
    }
    if !manages && policies.is_empty() && roles.is_empty() {
        return Err(ApiError::bad("no role or policy bindings matched"));
    }
    let find = |name: &str| match name {
        "auth_method_type" => Some(method.kind.clone()),
        "auth_method_name" => Some(method.name.clone()),
        name => value(name),
    };
    let name = interpolated(&method.token_name_format, &find).ok_or_else(|| {
        ApiError::bad(format!("failed to generate a name from {:?}", method.token_name_format))
    })?;
    let ttl_ns = duration::parse(&method.max_token_ttl).unwrap_or(0);
    let now = ctx.now.wall_ns;
    let mut token = AclToken {
        accessor_id: uuid::new(ctx.entropy),
        secret_id: uuid::new(ctx.entropy),
        name: name.chars().take(super::NAME_MAX * 2).collect(),
        kind: AclToken::MANAGEMENT.to_owned(),
        global: method.token_locality == "global",
        create_time: Time(now),
        expiration_ttl: duration::Go(ttl_ns).to_string(),
        expiration_time: Time(now.saturating_add(ttl_ns)),
        ..AclToken::default()
    };
    if !manages {
        AclToken::CLIENT.clone_into(&mut token.kind);
        token.policies = Some(policies.into_iter().collect());
        let link = |id| AclRoleLink { id, name: String::new() };
        token.roles = List(roles.into_iter().map(link).collect());
    }
    token.hash = hash(&token);
    Ok(token)
}

/// Whether a rule is about someone with such claims. One that cannot be told is not.
fn selects(rule: &AclBindingRule, claims: &Value) -> bool {
    if rule.selector.is_empty() {
        return true;
    }
    let filter = Filter::parse(&rule.selector);
    filter.is_ok_and(|f| f.matches(claims, &[]).unwrap_or(false))
}
