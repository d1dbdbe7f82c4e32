//! Auth methods and binding rules: how people without a token get one.

use serde_json::Value;

use super::assertion;
use super::jwt::{Key, knows};
use super::{
    DESCRIPTION_MAX, Result, as_it_is, decode, delete, get, invalid, is_name, members,
    put as put_row, rows, shows,
};
use crate::api::{AclAuthConfig, AclAuthMethod, AclBindingRule, ApiError};
use crate::command::Applied;
use crate::http::Url;
use crate::routes::auth::need;
use crate::routes::{Answer, Ctx};
use crate::server::events::redacted;
use crate::stdx::json::{self, Any, Bytes, Span, Time, records};
use crate::stdx::{blake2b, duration};
use crate::store::{Reader, Table, keys};

records! {
/// A method as requests write it: durations as text or numbers.
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "ACLAuthMethod")]
struct MethodBody {
    name: String,
    #[serde(rename = "Type")]
    kind: String,
    token_locality: String,
    token_name_format: String,
    #[serde(rename = "MaxTokenTTL")]
    max_token_ttl: Span,
    default: bool,
    config: Option<Box<AclAuthConfig>>,
}
}

/// What stands for a secret that is shown.
const REDACTED: &str = "redacted";
const NAME_FORMAT: &str = "${auth_method_type}-${auth_method_name}";

/// What lists show of a method.
fn stub(_: Reader<'_>, row: &[u8]) -> Result<Vec<u8>> {
    let names = ["CreateIndex", "Default", "Hash", "ModifyIndex", "Name", "Type"];
    Ok(members(row, &names))
}

fn shown(_: Reader<'_>, row: &[u8]) -> Result<Vec<u8>> {
    Ok(json::encode(&redacted(decode(row)?)))
}

/// `/v1/acl/auth-methods`: for those who have no token yet, too.
pub(super) fn list(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    Ok(rows(ctx, Table::AuthMethod, &|_| true, stub)?.into())
}

/// `/v1/acl/auth-method/{name}`
pub(super) fn one(ctx: &mut Ctx<'_>, name: &str) -> Result {
    need(ctx.is_management())?;
    if name.is_empty() {
        return Err(ApiError::bad("missing ACL auth-method name"));
    }
    if ctx.is_get() {
        return get(ctx, Table::AuthMethod, name, "ACL auth-method", shown);
    }
    if ctx.is_delete() {
        return Ok(remove(Table::AuthMethod, name, "ACL auth-method not found"));
    }
    put(ctx, name)
}

fn remove(table: Table, name: &str, gone: &'static str) -> super::Outcome {
    delete(
        table,
        name,
        Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            Applied::Nothing => Err(ApiError::failed(gone)),
            _ => Ok(Answer::empty().index(index)),
        }),
    )
}

/// `name`: that in the path; empty: none.
pub(super) fn put(ctx: &mut Ctx<'_>, name: &str) -> Result {
    need(ctx.is_management())?;
    let mut body: MethodBody = ctx.body()?;
    if name.is_empty() {
    } else if body.name.is_empty() {
        name.clone_into(&mut body.name);
    } else if body.name != name {
        return Err(ApiError::bad("ACL auth-method name does not match request path"));
    }
    let old: Option<AclAuthMethod> = ctx.reader.acl_row(Table::AuthMethod, &body.name)?;
    let old = old.unwrap_or_else(|| AclAuthMethod {
        token_name_format: NAME_FORMAT.to_owned(),
        create_time: Time(ctx.now.wall_ns),
        ..AclAuthMethod::default()
    });
    let or = |given: String, kept: &String| if given.is_empty() { kept.clone() } else { given };
    let ttl = match body.max_token_ttl.0 {
        0 => duration::parse(&old.max_token_ttl).unwrap_or(0),
        given => given,
    };
    let mut method = AclAuthMethod {
        max_token_ttl: duration::Go(ttl).to_string(),
        name: body.name,
        kind: or(body.kind, &old.kind),
        token_locality: or(body.token_locality, &old.token_locality),
        token_name_format: or(body.token_name_format, &old.token_name_format),
        default: body.default,
        config: merged(body.config, old.config)?,
        hash: Bytes::default(),
        create_time: old.create_time,
        modify_time: Time(ctx.now.wall_ns),
        create_index: 0,
        modify_index: 0,
    };
    invalid("auth method", &faults(ctx, &method, ttl))?;
    method.hash = hash(&method);
    let reply = shows(Table::AuthMethod, &method.name, shown);
    Ok(put_row(Table::AuthMethod, &method, reply))
}

/// Empty fields keep the stored value; so does a secret that is sent back as it was shown.
fn merged(
    given: Option<Box<AclAuthConfig>>,
    kept: Option<Box<AclAuthConfig>>,
) -> Result<Option<Box<AclAuthConfig>>> {
    let Some(mut new) = given else { return Ok(kept) };
    if new.oidc_client_secret == REDACTED {
        new.oidc_client_secret.clear();
    }
    let kept_assertion = kept.as_ref().and_then(|old| old.oidc_client_assertion.as_ref());
    if let (Some(Any::Map(new)), Some(Any::Map(old))) =
        (&mut new.oidc_client_assertion, kept_assertion)
    {
        for (name, value) in new.iter_mut().filter(|(_, v)| **v == Any::Text(REDACTED.to_owned())) {
            if let Some(kept) = old.get(name) {
                value.clone_from(kept);
            }
        }
    }
    if let Some(old) = kept {
        *new = filled(&json::encode(&new), &json::encode(&old))?;
    }
    for leeway in
        [&mut new.expiration_leeway, &mut new.not_before_leeway, &mut new.clock_skew_leeway]
    {
        let ns = duration::parse(leeway).unwrap_or(0);
        *leeway = duration::Go(ns).to_string();
    }
    Ok(Some(new))
}

/// An object whose members that are empty have the values of another one's.
fn filled<T: json::Decode + Default>(new: &[u8], old: &[u8]) -> Result<T> {
    let mut new: serde_json::Map<String, Value> = object(new)?;
    for (name, value) in object(old)? {
        let empty = match new.get(&name) {
            None | Some(Value::Null) => true,
            Some(Value::String(s)) => s.is_empty(),
            Some(_) => false,
        };
        if empty {
            new.insert(name, value);
        }
    }
    decode(&json::encode(&new))
}

fn object(text: &[u8]) -> Result<serde_json::Map<String, Value>> {
    match decode(text)? {
        Value::Object(map) => Ok(map),
        _ => Ok(serde_json::Map::new()),
    }
}

fn faults(ctx: &Ctx<'_>, m: &AclAuthMethod, ttl: i64) -> Vec<String> {
    let mut errors = Vec::new();
    if !is_name(&m.name) {
        errors.push(format!("invalid name '{}'", m.name));
    }
    if !["local", "global"].contains(&m.token_locality.as_str()) {
        errors.push(format!("invalid token locality '{}'", m.token_locality));
    }
    if !["JWT", "OIDC"].contains(&m.kind.as_str()) {
        errors.push(format!("invalid token type '{}'", m.kind));
    }
    match &m.config {
        None => errors.push("invalid config: missing auth method Config".to_owned()),
        Some(c) if m.kind == "JWT" => {
            let given = [
                !c.oidc_discovery_url.is_empty(),
                !c.jwks_url.is_empty(),
                !c.jwt_validation_pub_keys.is_empty(),
            ];
            for key in c.jwt_validation_pub_keys.iter() {
                if let Err(why) = Key::parse(key) {
                    errors.push(format!("invalid config: {why}"));
                }
            }
            if given.into_iter().filter(|g| *g).count() != 1 {
                errors.push(
                    "invalid config: exactly one of OIDCDiscoveryURL, JWKSURL, \
                     JWTValidationPubKeys must be set"
                        .to_owned(),
                );
            }
        }
        Some(c) => {
            for (text, missing) in [
                (&c.oidc_discovery_url, "missing OIDCDiscoveryURL"),
                (&c.oidc_client_id, "missing OIDCClientID"),
            ] {
                if text.is_empty() {
                    errors.push(format!("invalid config: {missing}"));
                }
            }
            let how = c.oidc_client_assertion.as_ref();
            let fault = how.and_then(|how| assertion::fault(how, &c.oidc_client_secret));
            errors.extend(fault.map(|f| format!("invalid config: {f}")));
        }
    }
    if let Some(c) = &m.config {
        let urls = [&c.oidc_discovery_url, &c.jwks_url].into_iter().filter(|u| !u.is_empty());
        errors.extend(
            urls.filter_map(|u| Url::parse(u).err()).map(|e| format!("invalid config: {e}")),
        );
        for algorithm in c.signing_algs.iter().filter(|a| !knows(a)) {
            errors.push(format!("invalid config: unsupported algorithm {algorithm:?}"));
        }
    }
    let (least, most) = (ctx.agent.acl.token_min_ttl_ns, ctx.agent.acl.token_max_ttl_ns);
    if !(least..=most).contains(&ttl) {
        errors.push(format!(
            "invalid MaxTokenTTL value '{}' (should be between {} and {})",
            duration::Go(ttl),
            duration::Go(least),
            duration::Go(most)
        ));
    }
    errors
}

fn hash(m: &AclAuthMethod) -> Bytes {
    let mut text = json::encode(&m.config);
    for part in [&m.name, &m.kind, &m.token_locality, &m.token_name_format, &m.max_token_ttl] {
        text.extend_from_slice(part.as_bytes());
    }
    text.extend_from_slice(if m.default { b"true" } else { b"false" });
    Bytes(blake2b::digest(&text).to_vec())
}

/// What lists show of a rule.
fn rule_stub(_: Reader<'_>, row: &[u8]) -> Result<Vec<u8>> {
    Ok(members(row, &["AuthMethod", "CreateIndex", "Description", "Hash", "ID", "ModifyIndex"]))
}

/// `/v1/acl/binding-rules`
pub(super) fn rules(ctx: &mut Ctx<'_>, _: &str) -> Result {
    need(ctx.is_management())?;
    Ok(rows(ctx, Table::BindingRule, &|_| true, rule_stub)?.into())
}

/// `/v1/acl/binding-rule/{id}`
pub(super) fn one_rule(ctx: &mut Ctx<'_>, id: &str) -> Result {
    need(ctx.is_management())?;
    if id.is_empty() {
        return Err(ApiError::bad("missing ACL binding rule ID"));
    }
    if ctx.is_get() {
        return get(ctx, Table::BindingRule, id, "ACL binding rule", as_it_is);
    }
    if ctx.is_delete() {
        return Ok(remove(Table::BindingRule, id, "ACL binding rule not found"));
    }
    put_rule(ctx, id)
}

/// `id`: that in the path; empty: a new rule.
pub(super) fn put_rule(ctx: &mut Ctx<'_>, id: &str) -> Result {
    need(ctx.is_management())?;
    let body: AclBindingRule = ctx.body()?;
    if !id.is_empty() && body.id != id {
        return Err(ApiError::bad("ACL binding rule ID does not match request path"));
    }
    let old: Option<AclBindingRule> = match body.id.as_str() {
        "" => None,
        id => {
            let old = ctx.reader.acl_row(Table::BindingRule, id)?;
            Some(old.ok_or_else(|| ApiError::bad(format!("cannot find binding rule {id}")))?)
        }
    };
    let now = Time(ctx.now.wall_ns);
    let mut rule = match old {
        None => AclBindingRule { id: ctx.new_id(), create_time: now, ..body },
        Some(old) => filled(&json::encode(&body), &json::encode(&old))?,
    };
    invalid("binding rule", &rule_faults(&rule))?;
    if !ctx.reader.has(Table::AuthMethod, &keys::name(&rule.auth_method))? {
        let text = format!("ACL auth-method {} not found", rule.auth_method);
        return Err(ApiError::bad(text));
    }
    rule.modify_time = now;
    (rule.create_index, rule.modify_index) = (0, 0);
    rule.hash = rule_hash(&rule);
    let reply = shows(Table::BindingRule, &rule.id, as_it_is);
    Ok(put_row(Table::BindingRule, &rule, reply))
}

fn rule_faults(r: &AclBindingRule) -> Vec<String> {
    let mut errors = Vec::new();
    if r.auth_method.is_empty() {
        errors.push("auth method is missing".to_owned());
    }
    if r.description.len() > DESCRIPTION_MAX {
        errors.push(format!("description longer than {DESCRIPTION_MAX}"));
    }
    match r.bind_type.as_str() {
        "" => errors.push("bind type is missing".to_owned()),
        "role" | "policy" if r.bind_name.is_empty() => {
            errors.push("bind name is missing".to_owned());
        }
        "management" if !r.bind_name.is_empty() => {
            errors.push("bind name should be empty".to_owned());
        }
        "role" | "policy" | "management" => {}
        other => errors.push(format!("unsupported bind type: {other:?}")),
    }
    if !r.selector.is_empty()
        && let Err(e) = crate::bexpr::Filter::parse(&r.selector)
    {
        errors.push(format!("failed to parse selector: {e}"));
    }
    errors
}

fn rule_hash(r: &AclBindingRule) -> Bytes {
    let text = [&*r.id, &r.description, &r.auth_method, &r.selector, &r.bind_type, &r.bind_name];
    Bytes(blake2b::digest(text.concat().as_bytes()).to_vec())
}
