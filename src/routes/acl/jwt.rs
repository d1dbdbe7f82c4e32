//! Tokens of identity providers: three parts of base64url, the last a signature over the others.
//!
//! Keys decide which signatures they can check, never the token: one that says `none`, or names an
//! algorithm of another kind of key, fits no key.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use ring::signature::{
    ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::Value;

use crate::limits::JWT_BYTES_MAX;
use crate::stdx::json::{self, Bytes};

/// `1.2.840.113549.1.1.1`
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `1.3.101.112`
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Algorithms by the name that a token has for them, and the keys that they go with.
const ALGORITHMS: [(&str, &[u8], &dyn VerificationAlgorithm); 4] = [
    ("EdDSA", OID_ED25519, &ED25519),
    ("RS256", OID_RSA, &RSA_PKCS1_2048_8192_SHA256),
    ("RS384", OID_RSA, &RSA_PKCS1_2048_8192_SHA384),
    ("RS512", OID_RSA, &RSA_PKCS1_2048_8192_SHA512),
];

/// Whether tokens may be signed so.
pub(super) fn knows(algorithm: &str) -> bool {
    ALGORITHMS.iter().any(|(name, ..)| *name == algorithm)
}

/// A public key.
pub(super) struct Key {
    kind: &'static [u8],
    /// As `ring` takes it.
    bytes: Vec<u8>,
}

impl Key {
    /// Reads a key in PEM (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(pem: &str) -> Result<Self, String> {
        let lines = pem.lines().map(str::trim).skip_while(|l| *l != "-----BEGIN PUBLIC KEY-----");
        let body: String = lines.skip(1).take_while(|l| !l.starts_with('-')).collect();
        let der = Bytes::decode(&body).filter(|d| !d.is_empty());
        let der = der.ok_or("no public key in PEM was found")?;
        let (kind, bytes) = subject_key(&der).ok_or("the public key is malformed")?;
        let kind = [OID_RSA, OID_ED25519].into_iter().find(|k| *k == kind);
        let kind = kind.ok_or("only RSA and Ed25519 keys are served by this version of vardo")?;
        Ok(Self { kind, bytes: bytes.to_vec() })
    }
}

/// One element of DER: its tag, what it holds, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            (bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    let (inner, rest) = rest.split_at_checked(length)?;
    Some((*tag, inner, rest))
}

/// Kind and bits of a `SubjectPublicKeyInfo`.
fn subject_key(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const OBJECT: u8 = 0x06;
    const BITS: u8 = 0x03;
    let whole =
        |(tag, inner, rest): (u8, _, &[u8])| (tag == SEQUENCE && rest.is_empty()).then_some(inner);
    let info = whole(element(der)?)?;
    let (tag, algorithm, rest) = element(info)?;
    let (oid_tag, oid, _) = element(algorithm)?;
    let (bits_tag, bits, end) = element(rest)?;
    let (unused, key) = bits.split_first()?;
    let fits = [tag, oid_tag, bits_tag] == [SEQUENCE, OBJECT, BITS];
    (fits && *unused == 0 && end.is_empty()).then_some((oid, key))
}

/// The claims of a token that one of the keys has signed. `allowed`: algorithms; empty: all.
///
/// # Errors
/// Why it is not to be trusted.
pub(super) fn verify(token: &str, keys: &[Key], allowed: &[String]) -> Result<Value, String> {
    let malformed = || "compact JWS format must have three parts".to_owned();
    if token.len() > JWT_BYTES_MAX {
        return Err("the token is too long".to_owned());
    }
    let (signed, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (head, claims) = signed.split_once('.').ok_or_else(malformed)?;
    if claims.contains('.') {
        return Err(malformed());
    }
    let object = |part: &str, what: &str| {
        let value = base64url(part).and_then(|b| json::decode::<Value>(&b).ok());
        value.filter(Value::is_object).ok_or_else(|| format!("the token's {what} is malformed"))
    };
    let head = object(head, "header")?;
    let name = head.get("alg").and_then(Value::as_str).unwrap_or_default();
    let found = ALGORITHMS.iter().find(|(n, ..)| *n == name);
    let allows = allowed.is_empty() || allowed.iter().any(|a| a == name);
    let Some((_, kind, algorithm)) = found.filter(|_| allows) else {
        return Err(format!("unexpected signature algorithm {name:?}"));
    };
    if head.get("crit").is_some() {
        return Err("the token has critical headers".to_owned());
    }
    let signature = base64url(signature).ok_or("the token's signature is malformed")?;
    let proves = |key: &Key| {
        let public = UnparsedPublicKey::new(*algorithm, &key.bytes);
        key.kind == *kind && public.verify(signed.as_bytes(), &signature).is_ok()
    };
    if !keys.iter().any(proves) {
        return Err("failed to verify id token signature".to_owned());
    }
    object(claims, "claims")
}

/// Base64 with the letters of URLs and without padding.
fn base64url(text: &str) -> Option<Vec<u8>> {
    if text.contains(['+', '/', '=']) {
        return None;
    }
    let mut text = text.replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    Bytes::decode(&text)
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
        assert_eq!((key.kind, key.bytes.len()), (OID_ED25519, 32));
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
