//! Tokens of identity providers: three parts of base64url, the last a signature over the others.
//!
//! Keys decide which signatures they can check, never the token: one that says `none`, or names an
//! algorithm of another kind of key, fits no key.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

use crate::limits::{JWKS_KEYS_MAX, JWT_BYTES_MAX};
use crate::stdx::der::{self, Der, INTEGER};
use crate::stdx::json::{self, Bytes};

/// `1.2.840.113549.1.1.1`
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `1.3.101.112`
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// `1.2.840.10045.2.1`, a key on the curve that is named behind it.
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `1.2.840.10045.3.1.7`
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `1.3.132.0.34`
const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// Kinds of keys. A token's algorithm goes with one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    Ed25519,
    P256,
    P384,
}

/// How a signature is checked.
enum Check {
    Rsa(&'static RsaParameters),
    Other(Kind, &'static dyn VerificationAlgorithm),
}

/// Algorithms by the name that a token has for them. None works with a shared secret.
static ALGORITHMS: [(&str, Check); 9] = [
    ("EdDSA", Check::Other(Kind::Ed25519, &ED25519)),
    ("ES256", Check::Other(Kind::P256, &ECDSA_P256_SHA256_FIXED)),
    ("ES384", Check::Other(Kind::P384, &ECDSA_P384_SHA384_FIXED)),
    ("RS256", Check::Rsa(&RSA_PKCS1_2048_8192_SHA256)),
    ("RS384", Check::Rsa(&RSA_PKCS1_2048_8192_SHA384)),
    ("RS512", Check::Rsa(&RSA_PKCS1_2048_8192_SHA512)),
    ("PS256", Check::Rsa(&RSA_PSS_2048_8192_SHA256)),
    ("PS384", Check::Rsa(&RSA_PSS_2048_8192_SHA384)),
    ("PS512", Check::Rsa(&RSA_PSS_2048_8192_SHA512)),
];

/// Whether tokens may be signed so.
pub(super) fn knows(algorithm: &str) -> bool {
    ALGORITHMS.iter().any(|(name, ..)| *name == algorithm)
}

/// A public key.
pub(in crate::routes) struct Key {
    kind: Kind,
    /// Its name; empty: it has none, and may be the key of any token.
    id: String,
    /// The only algorithm that it is for; empty: any that goes with its kind.
    algorithm: String,
    /// As `ring` takes it; of RSA the modulus.
    bytes: Vec<u8>,
    /// Of RSA alone.
    exponent: Vec<u8>,
}

impl Key {
    fn new(kind: Kind, bytes: &[u8]) -> Self {
        let (id, algorithm, exponent) = (String::new(), String::new(), Vec::new());
        Self { kind, id, algorithm, bytes: bytes.to_vec(), exponent }
    }

    /// One of Ed25519, 32 bytes.
    pub(in crate::routes) fn ed25519(bytes: &[u8]) -> Self {
        Self::new(Kind::Ed25519, bytes)
    }

    /// One of RSA, the numbers with the most significant byte first.
    pub(in crate::routes) fn rsa(modulus: &[u8], exponent: &[u8]) -> Self {
        Self { exponent: exponent.to_vec(), ..Self::new(Kind::Rsa, modulus) }
    }

    /// Reads a key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(pem: &str) -> Result<Self, String> {
        let section = der::pem(pem).filter(|(label, _)| *label == "PUBLIC KEY");
        let (_, der) = section.ok_or("no public key in PEM was found")?;
        let malformed = "the public key is malformed";
        let [oid, curve, bytes] = subject_key(&der).ok_or(malformed)?;
        let kind = match (oid, curve) {
            (OID_RSA, _) => {
                let [modulus, exponent] = rsa_key(bytes).ok_or(malformed)?;
                return Ok(Self::rsa(modulus, exponent));
            }
            (OID_ED25519, _) => Kind::Ed25519,
            (OID_EC, OID_P256) => Kind::P256,
            (OID_EC, OID_P384) => Kind::P384,
            _ => return Err("only RSA, P-256, P-384 and Ed25519 keys are served".to_owned()),
        };
        Ok(Self::new(kind, bytes))
    }

    /// Reads a key of a set (RFC 7517); `None`: it is of no kind that is known, or not for
    /// signatures.
    fn of_set(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name: &str| Bytes::decode_url(text(name)).filter(|b| !b.is_empty());
        if !["", "sig"].contains(&text("use")) {
            return None;
        }
        let point = |kind, bytes: usize| {
            let (x, y) = (number("x")?, number("y")?);
            let whole = x.len() == bytes && y.len() == bytes;
            whole.then(|| Self::new(kind, &[&[4][..], &x, &y].concat()))
        };
        let read = match (text("kty"), text("crv")) {
            ("RSA", _) => Self::rsa(&number("n")?, &number("e")?),
            ("OKP", "Ed25519") => Self::new(Kind::Ed25519, &number("x")?),
            ("EC", "P-256") => point(Kind::P256, 32)?,
            ("EC", "P-384") => point(Kind::P384, 48)?,
            _ => return None,
        };
        Some(Self { id: text("kid").to_owned(), algorithm: text("alg").to_owned(), ..read })
    }

    /// Whether the key may have signed a token that says so of itself.
    fn fits(&self, id: &str, algorithm: &str) -> bool {
        let same = |own: &str, given: &str| own.is_empty() || given.is_empty() || own == given;
        same(&self.id, id) && same(&self.algorithm, algorithm)
    }

    fn has_signed(&self, check: &Check, message: &[u8], signature: &[u8]) -> bool {
        match check {
            Check::Rsa(parameters) if self.kind == Kind::Rsa => {
                // What is in front of a number does not change it.
                let bare = |n: &[u8]| {
                    let zeros = n.iter().take_while(|b| **b == 0).count();
                    n.get(zeros..).unwrap_or_default().to_vec()
                };
                let (n, e) = (bare(&self.bytes), bare(&self.exponent));
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
            }
            Check::Other(kind, algorithm) if self.kind == *kind => {
                let key = UnparsedPublicKey::new(*algorithm, &self.bytes);
                key.verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

/// The keys of a set (RFC 7517) that can check signatures.
///
/// # Errors
/// It is no set of keys, or holds none.
pub(super) fn key_set(document: &[u8]) -> Result<Vec<Key>, String> {
    let set: Value = json::decode(document).map_err(|_| "the set of keys is no JSON")?;
    let keys =
        set.get("keys").and_then(Value::as_array).ok_or("the set of keys has no \"keys\"")?;
    let keys: Vec<Key> = keys.iter().take(JWKS_KEYS_MAX).filter_map(Key::of_set).collect();
    if keys.is_empty() {
        return Err("the set of keys holds none that checks signatures".to_owned());
    }
    Ok(keys)
}

const OBJECT: u8 = 0x06;
const BITS: u8 = 0x03;

/// Kind, curve (empty where there is none) and bits of a `SubjectPublicKeyInfo`.
fn subject_key(der: &[u8]) -> Option<[&[u8]; 3]> {
    let mut whole = Der(der);
    let mut info = whole.sequence()?;
    let mut algorithm = info.sequence()?;
    let oid = algorithm.take(OBJECT)?;
    let curve = algorithm.take(OBJECT).unwrap_or_default();
    let (unused, key) = info.take(BITS)?.split_first()?;
    let fits = *unused == 0 && info.0.is_empty() && whole.0.is_empty();
    fits.then_some([oid, curve, key])
}

/// Modulus and exponent of an `RSAPublicKey`.
fn rsa_key(der: &[u8]) -> Option<[&[u8]; 2]> {
    let mut whole = Der(der);
    let mut key = whole.sequence()?;
    let numbers = [key.take(INTEGER)?, key.take(INTEGER)?];
    (key.0.is_empty() && whole.0.is_empty()).then_some(numbers)
}

/// Header, claims and signature of a token, and what the last signs; nothing of it is trusted yet.
struct Parts<'t> {
    head: Value,
    claims: &'t str,
    signature: &'t str,
    signed: &'t str,
}

fn parts(token: &str) -> Result<Parts<'_>, String> {
    let malformed = || "compact JWS format must have three parts".to_owned();
    if token.len() > JWT_BYTES_MAX {
        return Err("the token is too long".to_owned());
    }
    let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (head, claims) = signed.split_once('.').ok_or_else(malformed)?;
    if claims.contains('.') {
        return Err(malformed());
    }
    Ok(Parts { head: object(head, "header")?, claims, signature, signed })
}

fn object(part: &str, what: &str) -> Result<Value, String> {
    let value = Bytes::decode_url(part).and_then(|b| json::decode::<Value>(&b).ok());
    value.filter(Value::is_object).ok_or_else(|| format!("the token's {what} is malformed"))
}

/// The name of the key that a token says it is signed with; empty where it says none.
///
/// # Errors
/// It is no token.
pub(in crate::routes) fn key_id(token: &str) -> Result<String, String> {
    let head = parts(token)?.head;
    Ok(head.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Whether a token is signed as it may be. `allowed`: algorithms; empty: all that are known.
///
/// # Errors
/// It is no token, or is signed otherwise.
pub(super) fn check_algorithm(token: &str, allowed: &[String]) -> Result<(), String> {
    algorithm(&parts(token)?.head, allowed).map(drop)
}

fn algorithm<'h>(head: &'h Value, allowed: &[String]) -> Result<(&'h str, &'static Check), String> {
    let name = head.get("alg").and_then(Value::as_str).unwrap_or_default();
    let allows = allowed.is_empty() || allowed.iter().any(|a| a == name);
    let found = ALGORITHMS.iter().find(|(n, _)| *n == name && allows);
    let Some((_, check)) = found else {
        return Err(format!("unexpected signature algorithm {name:?}"));
    };
    if head.get("crit").is_some() {
        return Err("the token has critical headers".to_owned());
    }
    Ok((name, check))
}

/// The claims of a token that one of the keys has signed. `allowed`: algorithms; empty: all.
///
/// # Errors
/// Why it is not to be trusted.
pub(in crate::routes) fn verify(
    token: &str,
    keys: &[Key],
    allowed: &[String],
) -> Result<Value, String> {
    let Parts { head, claims, signature, signed } = parts(token)?;
    let (name, check) = algorithm(&head, allowed)?;
    let id = head.get("kid").and_then(Value::as_str).unwrap_or_default();
    let signature = Bytes::decode_url(signature).ok_or("the token's signature is malformed")?;
    let mut fitting = keys.iter().filter(|k| k.fits(id, name));
    if !fitting.any(|k| k.has_signed(check, signed.as_bytes(), &signature)) {
        return Err("failed to verify id token signature".to_owned());
    }
    object(claims, "claims")
}

/// What claims must say.
pub(super) struct Expected<'c> {
    /// Any of them; empty: whatever.
    pub(super) audiences: &'c [String],
    pub(super) issuers: &'c [String],
    /// Nanoseconds that clocks may differ by, and that tokens live beyond their times.
    pub(super) skew_ns: i64,
    pub(super) expiration_ns: i64,
    pub(super) not_before_ns: i64,
}

/// Whether the times, the issuer and the audience of claims are as they must be.
///
/// # Errors
/// What is not.
pub(super) fn check_claims(
    claims: &Value,
    expected: &Expected<'_>,
    wall_ns: i64,
) -> Result<(), String> {
    let time = |name: &str| -> Result<Option<i64>, String> {
        match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(v) => {
                let seconds = v.as_i64().or_else(|| v.as_f64().map(|f| f as i64));
                let ns = seconds.and_then(|s| s.checked_mul(1_000_000_000));
                ns.map(Some).ok_or_else(|| format!("{name} is no time"))
            }
        }
    };
    let (issued, begins, ends) = (time("iat")?, time("nbf")?, time("exp")?);
    let Some(first) = issued.or(begins).or(ends) else {
        return Err(
            "no issued at (iat), not before (nbf), or expiration time (exp) claims in token"
                .to_owned(),
        );
    };
    let begins =
        begins.unwrap_or_else(|| issued.unwrap_or(first.saturating_sub(expected.not_before_ns)));
    let ends =
        ends.unwrap_or_else(|| issued.unwrap_or(begins).saturating_add(expected.expiration_ns));
    if wall_ns > ends.saturating_add(expected.skew_ns) {
        return Err("invalid expiration time (exp) claim: token is expired".to_owned());
    }
    if wall_ns.saturating_add(expected.skew_ns) < begins {
        return Err("invalid not before (nbf) claim: token not yet valid".to_owned());
    }
    if issued.is_some_and(|at| wall_ns.saturating_add(expected.skew_ns) < at) {
        return Err("invalid issued at (iat) claim: token issued in the future".to_owned());
    }
    let texts = |name: &str| -> Vec<&str> {
        match claims.get(name) {
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            Some(Value::String(one)) => vec![one],
            _ => Vec::new(),
        }
    };
    let any = |name: &str, of: &[String]| {
        of.is_empty() || texts(name).iter().any(|t| of.iter().any(|o| o == t))
    };
    if !any("iss", expected.issuers) {
        return Err("invalid issuer (iss) claim".to_owned());
    }
    if !any("aud", expected.audiences) {
        return Err("invalid audience (aud) claim: audience claim does not match any expected \
                    audience"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519_PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn keys_are_read_whole_or_not_at_all() {
        let key = Key::parse(ED25519_PEM).unwrap();
        assert_eq!((key.kind, key.bytes.len()), (Kind::Ed25519, 32));
        for bad in ["", "x", &ED25519_PEM[..60], &ED25519_PEM.replace("MCow", "MCox")] {
            assert!(Key::parse(bad).is_err(), "{bad}");
        }
        let body = Bytes::decode("MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
        let der = body.unwrap();
        for cut in 0..der.len() {
            assert_eq!(subject_key(der.get(..cut).unwrap()), None);
        }
        assert_eq!(subject_key(&[&der[..], b"x"].concat()), None);
    }

    /// Tokens and sets of keys with any byte changed, and cut anywhere, are refused or mean what
    /// they say; nothing panics.
    #[test]
    fn damaged_tokens_do_no_harm() {
        let set = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
            "x":"GZmQ2WTnBXtFEzyCQ5Q3dGWqCjXHbNnQyZkDSfJ2v1o"},{"kty":"RSA","n":"AQAB","e":"AQAB"},
            {"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}"#;
        let part = |text: &str| Bytes::encode_url(text.as_bytes());
        let head = part(r#"{"alg":"EdDSA","kid":"k"}"#);
        let token = [head, part(r#"{"exp":1}"#), part(&"s".repeat(64))].join(".");
        let keys = key_set(set).unwrap();
        assert_eq!(keys.len(), 2, "a point of the wrong size is none");
        for at in 0..token.len() {
            for byte in [b'.', b'A', b'-', b'"', 0x7f] {
                let mut bytes = token.clone().into_bytes();
                *bytes.get_mut(at).unwrap() = byte;
                assert!(verify(std::str::from_utf8(&bytes).unwrap(), &keys, &[]).is_err());
            }
            assert!(verify(token.get(..at).unwrap(), &keys, &[]).is_err());
        }
        for at in 0..set.len() {
            for byte in [b'"', b'}', 0, 0xff] {
                let mut bytes = set.to_vec();
                *bytes.get_mut(at).unwrap() = byte;
                if let Ok(keys) = key_set(&bytes) {
                    assert!(verify(&token, &keys, &[]).is_err());
                }
            }
            assert!(key_set(set.get(..at).unwrap()).is_err());
        }
        assert!(verify(&"a.".repeat(100_000), &keys, &[]).is_err());
        let none = [part(r#"{"alg":"none"}"#), part("{}"), String::new()].join(".");
        assert!(verify(&none, &keys, &[]).unwrap_err().contains("algorithm"));
    }

    #[test]
    fn times_have_their_leeway() {
        let expected = |skew: i64| Expected {
            audiences: &[],
            issuers: &[],
            skew_ns: skew * 1_000_000_000,
            expiration_ns: 10_000_000_000,
            not_before_ns: 0,
        };
        let at = |claims: Value, seconds: i64, skew: i64| {
            check_claims(&claims, &expected(skew), seconds * 1_000_000_000).is_ok()
        };
        let exp = serde_json::json!({"exp": 100});
        assert!(at(exp.clone(), 100, 0) && !at(exp.clone(), 101, 0) && at(exp, 101, 1));
        let nbf = serde_json::json!({"nbf": 100, "exp": 200});
        assert!(at(nbf.clone(), 100, 0) && !at(nbf.clone(), 99, 0) && at(nbf, 99, 1));
        let iat = serde_json::json!({"iat": 100});
        assert!(at(iat.clone(), 110, 0) && !at(iat.clone(), 111, 0) && !at(iat, 99, 0));
        assert!(!at(serde_json::json!({}), 1, 0));
        assert!(!at(serde_json::json!({"exp": "x"}), 1, 0));
        assert!(!at(serde_json::json!({"exp": 1e300}), 1, 0));
    }
}
