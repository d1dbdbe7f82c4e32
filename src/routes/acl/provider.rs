//! What identity providers publish: their keys, and where they are to be asked (OpenID Connect
//! Discovery 1.0).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use serde_json::Value;

use super::jwt::{Key, check_algorithm, key_set, verify};
use crate::api::AclAuthConfig;
use crate::limits::SECOND;
use crate::routes::Ctx;
use crate::routes::fetch::{Ask, Stop};
use crate::stdx::json::{self, records};

/// How long keys and descriptions are believed without another look, in nanoseconds.
const FRESH_NS: u64 = 300 * SECOND;
/// Where a token is signed by none of the keys there may be new ones: looked for so often at most,
/// in nanoseconds.
const AGAIN_NS: u64 = 10 * SECOND;

records! {
/// The description of a provider, as far as it is asked for anything.
#[derive(Clone, Debug, Default)]
pub(super) struct Provider {
    pub(super) issuer: String,
    pub(super) jwks_uri: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) userinfo_endpoint: String,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub(super) code_challenge_methods_supported: Option<Vec<String>>,
}
}

/// The CAs that a provider's certificate may be signed by.
pub(super) fn discovery_pem(config: &AclAuthConfig) -> String {
    config.discovery_ca_pem.join("\n")
}

/// The description of the provider that a method names.
///
/// # Errors
/// It has to be fetched, cannot be, or is that of another one.
pub(super) fn discover(ctx: &Ctx<'_>, config: &AclAuthConfig) -> Result<Provider, Stop> {
    let url = config.oidc_discovery_url.trim_end_matches('/');
    let place = format!("{url}/.well-known/openid-configuration");
    let ask = Ask::of("description of the provider", &place, &discovery_pem(config))?;
    let document = ctx.kept(ask, FRESH_NS)?;
    let provider: Provider = json::decode(&document)
        .map_err(|e| format!("the description of the provider makes no sense: {e}"))?;
    if provider.issuer.trim_end_matches('/') != url {
        let issuer = &provider.issuer;
        return Err(format!("the provider calls itself {issuer:?}, which is not {url:?}").into());
    }
    Ok(provider)
}

/// The claims of a token that a method's provider has signed.
///
/// # Errors
/// Why it is not to be trusted, or what has to be fetched first.
pub(super) fn signed_claims(
    ctx: &Ctx<'_>,
    config: &AclAuthConfig,
    token: &str,
) -> Result<Value, Stop> {
    let allowed = &config.signing_algs;
    if !config.jwt_validation_pub_keys.is_empty() {
        let keys: Result<Vec<Key>, String> =
            config.jwt_validation_pub_keys.iter().map(|pem| Key::parse(pem)).collect();
        return Ok(verify(token, &keys?, allowed)?);
    }
    // Nothing is fetched for what cannot be right.
    check_algorithm(token, allowed)?;
    let ask = match config.jwks_url.as_str() {
        "" => {
            let provider = discover(ctx, config)?;
            Ask::of("keys of the provider", &provider.jwks_uri, &discovery_pem(config))?
        }
        url => Ask::of("keys of the provider", url, &config.jwks_ca_cert)?,
    };
    let keys = key_set(&ctx.kept(ask.clone(), FRESH_NS)?)?;
    match verify(token, &keys, allowed) {
        Ok(claims) => Ok(claims),
        Err(_) => Ok(verify(token, &key_set(&ctx.kept(ask, AGAIN_NS)?)?, allowed)?),
    }
}
