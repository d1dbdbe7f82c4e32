//! Logging in by a browser: OpenID Connect's authorization code flow.
//!
//! Nothing is kept between its two requests. What the second one must prove stands in `state`: when
//! the first one was, and a code over all that it said, made with a secret of this cluster; the
//! verifier of PKCE is made of the same. So any server can end what another one began.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::assertion::assertion;
use super::login::{admitted, checked, required};
use super::provider::{Provider, discover, discovery_pem, signed_claims};
use super::{Result, json};
use crate::api::{AclAuthConfig, AclAuthMethod, ApiError};
use crate::http::Url;
use crate::http::query::escape;
use crate::routes::fetch::{Ask, Stop};
use crate::routes::{Answer, Ctx};
use crate::server::keyring;
use crate::stdx::json::{Bytes, records};
use crate::stdx::{same_secret, uuid};
use crate::store::Table;

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "ACLOIDCAuthURLRequest")]
struct UrlBody {
    auth_method_name: String,
    #[serde(rename = "RedirectURI")]
    redirect_uri: String,
    client_nonce: String,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "ACLOIDCCompleteAuthRequest")]
struct CompleteBody {
    auth_method_name: String,
    client_nonce: String,
    state: String,
    code: String,
    iss: String,
    #[serde(rename = "RedirectURI")]
    redirect_uri: String,
}

/// What a provider gives for a code, or why not.
#[derive(Default)]
struct Tokens {
    id_token: String,
    access_token: String,
    error: String,
    error_description: String,
}
}

/// How long someone may take to log in, in seconds.
const STATE_S: i64 = 600;
/// Bytes of the code in a state.
const CODE: usize = 24;

/// `/v1/acl/oidc/auth-url`: where the browser is to go.
pub(super) fn auth_url(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    let body: UrlBody = ctx.body()?;
    required(
        "OIDC auth-url",
        &[
            (&body.auth_method_name, "missing auth method name"),
            (&body.redirect_uri, "missing redirect URI"),
            (&body.client_nonce, "missing client nonce"),
        ],
    )?;
    let method = method(ctx, &body.auth_method_name, &body.redirect_uri)?;
    let config = method.config.unwrap_or_default();
    let provider = match discover(ctx, &config) {
        Ok(provider) => provider,
        Err(stop) => {
            return stop
                .outcome(|why| ApiError::failed(format!("failed to generate auth URL: {why}")));
        }
    };
    let UrlBody { auth_method_name, redirect_uri, client_nonce } = &body;
    let no_key = || ApiError::failed("the cluster has no key yet");
    let key = ctx.reader.signing_key()?.ok_or_else(no_key)?;
    let began = ctx.now.wall_ns.div_euclid(SECOND);
    let said = [auth_method_name.as_str(), redirect_uri, client_nonce];
    let (state, verifier) = proofs(ctx, &key, began, said).ok_or_else(no_key)?;
    let mut scopes = vec!["openid"];
    scopes.extend(config.oidc_scopes.iter().map(String::as_str).filter(|s| *s != "openid"));
    let mut fields = vec![
        ("client_id", config.oidc_client_id.clone()),
        ("nonce", client_nonce.clone()),
        ("redirect_uri", redirect_uri.clone()),
        ("response_type", "code".to_owned()),
        ("scope", scopes.join(" ")),
        ("state", state),
    ];
    if wants_pkce(&config, &provider) {
        let challenge = digest(&SHA256, verifier.as_bytes());
        fields.push(("code_challenge", Bytes::encode_url(challenge.as_ref())));
        fields.push(("code_challenge_method", "S256".to_owned()));
    }
    let place = &provider.authorization_endpoint;
    if let Err(why) = Url::parse(place) {
        return Err(ApiError::failed(format!("failed to generate auth URL: {why}")));
    }
    let mark = if place.contains('?') { '&' } else { '?' };
    let url = format!("{place}{mark}{}", form(&fields));
    Ok(Answer::json(&serde_json::json!({ "AuthURL": url })).into())
}

/// `/v1/acl/oidc/complete-auth`: the browser came back with a code.
pub(super) fn complete(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    let body: CompleteBody = ctx.body()?;
    required(
        "OIDC complete-auth",
        &[
            (&body.auth_method_name, "missing auth method name"),
            (&body.client_nonce, "missing client nonce"),
            (&body.state, "missing state"),
            (&body.code, "missing code"),
            (&body.redirect_uri, "missing redirect URI"),
        ],
    )?;
    let method = method(ctx, &body.auth_method_name, &body.redirect_uri)?;
    let config = method.config.clone().unwrap_or_default();
    match claims(ctx, &config, &body) {
        Ok(claims) => admitted(ctx, &method, &config, &claims),
        Err(stop) => stop
            .outcome(|why| ApiError::new(401, format!("unable to validate provided token: {why}"))),
    }
}

/// The method of that name, which leads people back to this address.
fn method(ctx: &Ctx<'_>, name: &str, redirect: &str) -> Result<AclAuthMethod> {
    let method: Option<AclAuthMethod> = ctx.reader.acl_row(Table::AuthMethod, name)?;
    let method = method.ok_or_else(|| ApiError::bad(format!("auth-method {name:?} not found")))?;
    let config = method.config.as_deref().filter(|_| method.kind == "OIDC");
    let config =
        config.ok_or_else(|| ApiError::bad(format!("auth-method {name:?} is not of type OIDC")))?;
    if !config.allowed_redirect_uris.iter().any(|r| r == redirect) {
        return Err(ApiError::bad(format!("unauthorized redirect_uri: {redirect}")));
    }
    Ok(method)
}

/// State and verifier of PKCE for what a login began with, by a root key.
fn proofs(ctx: &Ctx<'_>, key: &str, began: i64, said: [&str; 3]) -> Option<(String, String)> {
    let [name, redirect, nonce] = said;
    let mut text = Vec::new();
    for part in [name, redirect, nonce] {
        // Servers of any width make the same of it.
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    text.extend_from_slice(&began.to_be_bytes());
    let code = keyring::code(ctx.reader, key, b"oidc state", &text).ok()?;
    let verifier = keyring::code(ctx.reader, key, b"oidc verifier", &text).ok()?;
    let state = [&began.to_be_bytes()[..], code.get(..CODE)?].concat();
    Some((Bytes::encode_url(&state), Bytes::encode_url(&verifier)))
}

/// The verifier of PKCE of the login that a state belongs to.
fn verifier(ctx: &Ctx<'_>, body: &CompleteBody) -> std::result::Result<String, Stop> {
    let unknown = || Stop::from("the state is not one that was given out here");
    let state = Bytes::decode_url(&body.state).ok_or_else(unknown)?;
    let began = state.first_chunk().map(|b| i64::from_be_bytes(*b)).ok_or_else(unknown)?;
    let said = [body.auth_method_name.as_str(), &body.redirect_uri, &body.client_nonce];
    let keys = ctx.reader.root_keys().map_err(|e| e.to_string())?;
    // The key may have been replaced meanwhile.
    let all = keys.iter().filter_map(|k| proofs(ctx, &k.meta.key_id, began, said));
    let mine = all.into_iter().find(|(own, _)| same_secret(own, &body.state));
    let (_, verifier) = mine.ok_or_else(unknown)?;
    let age = ctx.now.wall_ns.div_euclid(SECOND).saturating_sub(began);
    if !(-STATE_S..=STATE_S).contains(&age) {
        return Err("the login took too long, begin it anew".into());
    }
    Ok(verifier)
}

/// Whether the provider takes codes with a proof of who asked for them.
fn wants_pkce(config: &AclAuthConfig, provider: &Provider) -> bool {
    let offered = || provider.code_challenge_methods_supported.iter().flatten();
    config.oidc_enable_pkce.unwrap_or_else(|| offered().any(|m| m == "S256"))
}

fn form(fields: &[(&str, String)]) -> String {
    let pairs = fields.iter().map(|(name, value)| format!("{name}={}", escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// What the provider says of whoever has the code.
fn claims(
    ctx: &mut Ctx<'_>,
    config: &AclAuthConfig,
    body: &CompleteBody,
) -> std::result::Result<Value, Stop> {
    let verifier = verifier(ctx, body)?;
    let provider = discover(ctx, config)?;
    if !body.iss.is_empty() && body.iss != provider.issuer {
        return Err(format!("the code is of another provider, {:?}", body.iss).into());
    }
    let (status, document) = match ctx.once(TOKENS) {
        Some(came) => came?,
        None => {
            let ask = exchange(ctx, config, &provider, body, &verifier)?;
            return Err(Stop::Fetch(Box::new(ask)));
        }
    };
    let tokens: Tokens = json::decode(&document)
        .map_err(|_| format!("the provider's answer with status {status} makes no sense"))?;
    if status != 200 || tokens.id_token.is_empty() {
        let Tokens { error, error_description, .. } = tokens;
        return Err(format!("the provider gives no token: {error} {error_description}").into());
    }
    let mut claims = signed_claims(ctx, config, &tokens.id_token)?;
    checked(config, &claims, std::slice::from_ref(&provider.issuer), ctx.now.wall_ns)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let own = |v: &Value| v.as_str() == Some(&config.oidc_client_id);
    let (for_us, only) = match claims.get("aud") {
        Some(Value::Array(all)) => (all.iter().any(own), all.len() == 1),
        one => (one.is_some_and(own), true),
    };
    let bearer = claims.get("azp").map(own);
    if !for_us || bearer == Some(false) || (!only && bearer.is_none()) {
        return Err("invalid audience (aud) claim: the token is for another client".into());
    }
    if !text("nonce").is_some_and(|n| same_secret(n, &body.client_nonce)) {
        return Err("invalid id_token nonce".into());
    }
    let subject = text("sub").unwrap_or_default().to_owned();
    if config.oidc_disable_user_info
        || provider.userinfo_endpoint.is_empty()
        || tokens.access_token.is_empty()
    {
        return Ok(claims);
    }
    let (status, document) = match ctx.once(USERINFO) {
        Some(came) => came?,
        None => {
            let mut ask = Ask::of(USERINFO, &provider.userinfo_endpoint, &discovery_pem(config))?;
            ask.authorization = bearer_of(&tokens.access_token)?;
            ask.keep = false;
            return Err(Stop::Fetch(Box::new(ask)));
        }
    };
    if status != 200 {
        return Err(format!("the {USERINFO} is refused with status {status}").into());
    }
    let more: Value =
        json::decode(&document).map_err(|_| format!("the {USERINFO} makes no sense"))?;
    if more.get("sub").and_then(Value::as_str) != Some(&subject) {
        return Err(format!("the {USERINFO} is about somebody else").into());
    }
    // What is signed counts; the rest is added.
    if let (Value::Object(claims), Value::Object(more)) = (&mut claims, more) {
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
    }
    Ok(claims)
}

/// A field's value with a token in it, which must not hold what would end the field.
fn bearer_of(token: &str) -> std::result::Result<String, Stop> {
    if token.bytes().any(|b| !b.is_ascii_graphic()) {
        return Err("the provider's token has characters that tokens do not have".into());
    }
    Ok(format!("Bearer {token}"))
}

/// The exchange of a code for tokens.
fn exchange(
    ctx: &mut Ctx<'_>,
    config: &AclAuthConfig,
    provider: &Provider,
    body: &CompleteBody,
    verifier: &str,
) -> std::result::Result<Ask, Stop> {
    let mut ask = Ask::of(TOKENS, &provider.token_endpoint, &discovery_pem(config))?;
    ask.keep = false;
    let (id, secret) = (&config.oidc_client_id, &config.oidc_client_secret);
    let mut fields = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", body.code.clone()),
        ("redirect_uri", body.redirect_uri.clone()),
    ];
    if wants_pkce(config, provider) {
        fields.push(("code_verifier", verifier.to_owned()));
    }
    let takes = |how: &str| {
        let all = provider.token_endpoint_auth_methods_supported.as_ref();
        all.is_some_and(|all| all.iter().any(|m| m == how))
    };
    if let Some(how) = &config.oidc_client_assertion {
        let said = uuid::new(ctx.entropy);
        let proof = assertion(ctx, config, how, &provider.token_endpoint, &said)?;
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        fields.push(("client_id", id.clone()));
        fields.push(("client_assertion_type", kind.to_owned()));
        fields.push(("client_assertion", proof));
    } else if secret.is_empty() {
        fields.push(("client_id", id.clone()));
    } else if takes("client_secret_post") && !takes("client_secret_basic") {
        fields.push(("client_id", id.clone()));
        fields.push(("client_secret", secret.clone()));
    } else {
        let pair = format!("{}:{}", escape(id), escape(secret));
        ask.authorization = format!("Basic {}", Bytes::encode(pair.as_bytes()));
    }
    ask.form = Some(form(&fields));
    Ok(ask)
}

/// What is fetched for one person.
const TOKENS: &str = "token of the provider";
const USERINFO: &str = "description of the user";

/// Nanoseconds.
const SECOND: i64 = 1_000_000_000;
