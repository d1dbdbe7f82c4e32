//! How this cluster proves to a provider that it is the client that it says (RFC 7523): by a token
//! that it signs, in place of a secret that travels.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use ring::hmac;
use ring::signature::RsaKeyPair;
use serde_json::{Value, json};

use crate::api::AclAuthConfig;
use crate::routes::Ctx;
use crate::server::identity::sign_claims;
use crate::server::rsa;
use crate::stdx::der;
use crate::stdx::json::{self as codec, Any, Bytes};

/// How long a proof is valid, in seconds.
const PROOF_S: i64 = 300;

/// What `OIDCClientAssertion` says, as JSON.
fn settings(how: &Any) -> Value {
    codec::decode(&codec::encode(how)).unwrap_or_default()
}

/// What is wrong with how a method wants to prove itself; `None`: nothing.
pub(super) fn fault(how: &Any, secret: &str) -> Option<String> {
    let how = settings(how);
    let text = |v: &Value, name: &str| v.get(name).and_then(Value::as_str).map(str::to_owned);
    let source = text(&how, "KeySource").unwrap_or_default();
    let algorithm = text(&how, "KeyAlgorithm").unwrap_or_default();
    let wrong = |fits: &[&str]| {
        (!fits.contains(&algorithm.as_str()))
            .then(|| format!("OIDCClientAssertion: {source} does not sign by {algorithm:?}"))
    };
    match source.as_str() {
        "client_secret" if secret.is_empty() => {
            Some("OIDCClientAssertion: there is no OIDCClientSecret".to_owned())
        }
        "client_secret" => wrong(&["", "HS256"]),
        // Which of them the active root key signs by is known when it does.
        "nomad" => wrong(&["", "RS256", "EdDSA"]),
        "private_key" => match how.get("PrivateKey").and_then(|k| text(k, "PemKey")) {
            Some(pem) => pair(&pem).err().or_else(|| wrong(&["", "RS256"])),
            None => {
                Some("OIDCClientAssertion: the key must be given in PrivateKey.PemKey".to_owned())
            }
        },
        _ => Some(format!("OIDCClientAssertion: unknown KeySource {source:?}")),
    }
}

fn pair(pem: &str) -> Result<RsaKeyPair, String> {
    let malformed = || "OIDCClientAssertion: PemKey is no RSA key in PEM (PKCS 8)".to_owned();
    let section = der::pem(pem).filter(|(label, _)| *label == "PRIVATE KEY");
    let (_, der) = section.ok_or_else(malformed)?;
    RsaKeyPair::from_pkcs8(&der).map_err(|_| malformed())
}

/// A proof for the endpoint of a provider; `id`: no other proof has it.
///
/// # Errors
/// There is no key to sign it with.
pub(super) fn assertion(
    ctx: &Ctx<'_>,
    config: &AclAuthConfig,
    how: &Any,
    endpoint: &str,
    id: &str,
) -> Result<String, String> {
    let how = settings(how);
    let now = ctx.now.wall_ns.div_euclid(1_000_000_000);
    let audience = match how.get("Audience") {
        Some(Value::Array(all)) if !all.is_empty() => all.clone(),
        _ => vec![endpoint.into()],
    };
    let claims = json!({
        "iss": config.oidc_client_id, "sub": config.oidc_client_id, "aud": audience, "jti": id,
        "iat": now, "nbf": now, "exp": now.saturating_add(PROOF_S),
    });
    let source = how.get("KeySource").and_then(Value::as_str).unwrap_or_default();
    if source == "nomad" {
        let key = ctx.reader.signing_key().map_err(|e| e.to_string())?.unwrap_or_default();
        let algorithm = how.get("KeyAlgorithm").and_then(Value::as_str).unwrap_or_default();
        return sign_claims(ctx.reader, &key, algorithm, &claims).map_err(|e| e.text);
    }
    let secret = source == "client_secret";
    let mut head = json!({"alg": if secret { "HS256" } else { "RS256" }, "typ": "JWT"});
    let private = how.get("PrivateKey");
    let text = |name: &str| private.and_then(|k| k.get(name)).and_then(Value::as_str);
    if let (Some(id), Some(head)) = (text("KeyID"), head.as_object_mut()) {
        let name = text("KeyIDHeader").filter(|n| !n.is_empty()).unwrap_or("kid");
        head.insert(name.to_owned(), id.into());
    }
    let parts = [&head, &claims].map(|v| Bytes::encode_url(&codec::encode(v)));
    let signed = parts.join(".");
    let signature = if secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, config.oidc_client_secret.as_bytes());
        hmac::sign(&key, signed.as_bytes()).as_ref().to_vec()
    } else {
        let pair = pair(text("PemKey").unwrap_or_default())?;
        let done = rsa::sign(&pair, signed.as_bytes());
        done.ok_or("the key of OIDCClientAssertion does not sign")?
    };
    Ok([signed, Bytes::encode_url(&signature)].join("."))
}
