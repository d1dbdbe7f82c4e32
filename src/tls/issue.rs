//! Certificates made here: a CA of the cluster's own, and what it signs for agents and people.
//!
//! Keys are P-256. What is written is as much of RFC 5280 as strict readers ask for: version 3,
//! key identifiers on both sides, critical basic constraints and key usage.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use webpki::EndEntityCert;

use super::files::{Fault, certificates, key};
use crate::stdx::der::der_of;
use crate::stdx::json::Bytes;
use crate::stdx::time;

/// What a certificate is to say.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// Attributes of the subject: last number of the id below 2.5.4, and text. Empty ones are left
    /// out.
    pub subject: Vec<(u8, String)>,
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
    /// It may be used to answer calls, and to make them.
    pub answers: bool,
    pub calls: bool,
    /// It may sign others, with names below these domains only where there are any.
    pub ca: bool,
    pub domains: Vec<String>,
    /// Wall ns.
    pub from_ns: i64,
    pub until_ns: i64,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

/// Who signs.
pub struct Issuer {
    key: Arc<dyn SigningKey>,
    /// A whole `Name`.
    name: Vec<u8>,
    key_id: Option<Vec<u8>>,
}

impl Issuer {
    /// A CA that is kept in files.
    ///
    /// # Errors
    /// They are missing, damaged, or do not belong together.
    pub fn read(cert_file: &Path, key_file: &Path) -> Result<Self, Fault> {
        let damaged = || format!("{}: the certificate is damaged", cert_file.display());
        let chain = certificates(cert_file)?;
        let der = chain.first().ok_or_else(damaged)?;
        let cert = EndEntityCert::try_from(der).map_err(|_| damaged())?;
        let key = any_supported_type(&key(key_file)?)
            .map_err(|_| format!("{}: the key is of no known kind", key_file.display()))?;
        if key.public_key().is_none_or(|k| k != cert.subject_public_key_info()) {
            let (cert, key) = (cert_file.display(), key_file.display());
            return Err(format!("{cert} and {key} do not belong together"));
        }
        Ok(Self { key, name: der_of(SEQUENCE, &[cert.subject()]), key_id: key_id_of(der) })
    }
}

/// Makes a key and a certificate for it, signed by `issuer`, or by itself.
///
/// # Errors
/// The library refuses: the system has no generator of random numbers.
pub fn issue(order: &Order, issuer: Option<&Issuer>) -> Result<Issued, Fault> {
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new())
        .map_err(|_| "no key could be made")?;
    let own = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()));
    let own = any_supported_type(&own).map_err(|_| "no key could be made")?;
    let spki = own.public_key().ok_or("no key could be made")?;
    let digest = digest::digest(&digest::SHA256, &spki);
    let key_id = digest.as_ref().get(..20).unwrap_or_default();

    let subject = name(&order.subject);
    let (signer, issuer_name, issuer_id) = match issuer {
        Some(i) => (&i.key, i.name.as_slice(), i.key_id.as_deref()),
        None => (&own, subject.as_slice(), Some(key_id)),
    };
    let schemes: Vec<_> = SCHEMES.iter().map(|(scheme, _)| *scheme).collect();
    let signer = signer.choose_scheme(&schemes).ok_or("the CA's key is of no known kind")?;
    let mut known = SCHEMES.iter();
    let (_, scheme) =
        known.find(|(s, _)| *s == signer.scheme()).ok_or("the CA's key is of no known kind")?;

    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| "no serial number could be drawn")?;
    // Positive and of full length.
    serial[0] = serial[0] & 0x7f | 0x40;
    let validity = der_of(SEQUENCE, &[&moment(order.from_ns), &moment(order.until_ns)]);
    let extensions = der_of(SEQUENCE, &[&extensions(order, key_id, issuer_id)]);
    let body = der_of(
        SEQUENCE,
        &[
            &[0xa0, 3, INTEGER, 1, 2],
            &der_of(INTEGER, &[&serial]),
            scheme,
            issuer_name,
            &validity,
            &subject,
            &spki,
            &der_of(0xa3, &[&extensions]),
        ],
    );
    let signature = signer.sign(&body).map_err(|_| "the CA's key did not sign")?;
    let cert = der_of(SEQUENCE, &[&body, scheme, &der_of(BIT_STRING, &[&[0], &signature])]);
    Ok(Issued { cert: pem("CERTIFICATE", &cert), key: pem("PRIVATE KEY", pkcs8.as_ref()) })
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// Choices of `GeneralName`.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

/// Ids of extensions below 2.5.29.
const SUBJECT_KEY_ID: u8 = 14;
const KEY_USAGE: u8 = 15;
const ALT_NAMES: u8 = 17;
const BASIC_CONSTRAINTS: u8 = 19;
const NAME_CONSTRAINTS: u8 = 30;
const AUTHORITY_KEY_ID: u8 = 35;
const EXTENDED_USAGE: u8 = 37;

/// What signs, and its `AlgorithmIdentifier` (RFC 5758, 8410, 4055).
const SCHEMES: [(SignatureScheme, &[u8]); 4] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"),
    (SignatureScheme::ECDSA_NISTP384_SHA384, b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"),
    (SignatureScheme::ED25519, b"\x30\x05\x06\x03\x2b\x65\x70"),
    (
        SignatureScheme::RSA_PKCS1_SHA256,
        b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
    ),
];

fn name(attributes: &[(u8, String)]) -> Vec<u8> {
    let mut sets = Vec::new();
    for (id, text) in attributes.iter().filter(|(_, text)| !text.is_empty()) {
        let pair = [der_of(OID, &[&[0x55, 0x04, *id]]), der_of(UTF8, &[text.as_bytes()])];
        let pair = der_of(SEQUENCE, &[&pair[0], &pair[1]]);
        sets.extend(der_of(SET, &[&pair]));
    }
    der_of(SEQUENCE, &[&sets])
}

/// Two digits of the year until 2049, four from then on (RFC 5280, section 4.1.2.5).
fn moment(wall_ns: i64) -> Vec<u8> {
    let secs = wall_ns.div_euclid(1_000_000_000);
    let (year, month, day) = time::civil(secs.div_euclid(86_400));
    let (hour, minute, second) =
        (secs.div_euclid(3_600) % 24, secs.div_euclid(60) % 60, secs.rem_euclid(60));
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    match year {
        2000..2050 => der_of(UTC_TIME, &[format!("{:02}{rest}", year % 100).as_bytes()]),
        _ => der_of(GENERALIZED_TIME, &[format!("{year:04}{rest}").as_bytes()]),
    }
}

fn extensions(order: &Order, key_id: &[u8], issuer_id: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |id: u8, critical: bool, value: &[u8]| {
        let id = der_of(OID, &[&[0x55, 0x1d, id]]);
        let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
        out.extend(der_of(SEQUENCE, &[&id, critical, &der_of(OCTET_STRING, &[value])]));
    };
    // Bits from the top: digital signature; signing of certificates and of revocations.
    let (is_ca, usage): (&[u8], u8) =
        if order.ca { (&[0x01, 0x01, 0xff], 0b1000_0110) } else { (&[], 0b1000_0000) };
    add(BASIC_CONSTRAINTS, true, &der_of(SEQUENCE, &[is_ca]));
    let unused = if order.ca { 1 } else { 7 };
    add(KEY_USAGE, true, &der_of(BIT_STRING, &[&[unused, usage]]));
    add(SUBJECT_KEY_ID, false, &der_of(OCTET_STRING, &[key_id]));
    if let Some(id) = issuer_id {
        add(AUTHORITY_KEY_ID, false, &der_of(SEQUENCE, &[&der_of(0x80, &[id])]));
    }
    let mut uses = Vec::new();
    for (on, last) in [(order.answers, 1), (order.calls, 2)] {
        if on {
            uses.extend(der_of(OID, &[&[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, last]]));
        }
    }
    if !uses.is_empty() {
        add(EXTENDED_USAGE, false, &der_of(SEQUENCE, &[&uses]));
    }
    let mut names = Vec::new();
    order.dns.iter().for_each(|n| names.extend(der_of(DNS_NAME, &[n.as_bytes()])));
    for ip in &order.ips {
        names.extend(match ip {
            IpAddr::V4(ip) => der_of(IP_ADDRESS, &[&ip.octets()]),
            IpAddr::V6(ip) => der_of(IP_ADDRESS, &[&ip.octets()]),
        });
    }
    if !names.is_empty() {
        add(ALT_NAMES, false, &der_of(SEQUENCE, &[&names]));
    }
    let mut domains = Vec::new();
    for domain in &order.domains {
        domains.extend(der_of(SEQUENCE, &[&der_of(DNS_NAME, &[domain.as_bytes()])]));
    }
    if !domains.is_empty() {
        add(NAME_CONSTRAINTS, true, &der_of(SEQUENCE, &[&der_of(0xa0, &[&domains])]));
    }
    out
}

/// The subject's key identifier of a certificate, where it says one: readers compare it with what
/// those that it signed say.
fn key_id_of(cert: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let id = [OID, 3, 0x55, 0x1d, SUBJECT_KEY_ID, OCTET_STRING];
    let at = cert.windows(id.len()).position(|w| w == id)?;
    let [_, tag, len, rest @ ..] = cert.get(at + id.len()..)? else { return None };
    if *tag != OCTET_STRING {
        return None;
    }
    rest.get(..usize::from(*len)).map(<[u8]>::to_vec)
}

fn pem(what: &str, der: &[u8]) -> String {
    let text = Bytes::encode(der);
    let mut out = format!("-----BEGIN {what}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {what}-----\n"));
    out
}
