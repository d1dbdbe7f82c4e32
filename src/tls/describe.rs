//! What a certificate says of itself (RFC 5280), for people.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::files::{Fault, certificates};
use crate::stdx::der::{Der, INTEGER, OCTETS};
use crate::stdx::time;

/// A certificate in words.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Hexadecimal.
    pub serial: String,
    /// Names such as `CN=Vardo Agent CA, O=Works`.
    pub issuer: String,
    pub subject: String,
    /// Wall ns.
    pub from_ns: i64,
    pub until_ns: i64,
    pub names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// It may sign others.
    pub ca: bool,
    /// It may be used to answer calls, and to make them.
    pub answers: bool,
    pub calls: bool,
}

/// Describes the first certificate of a file in PEM.
///
/// # Errors
/// It is missing, or holds no certificate that can be read.
pub fn describe(path: &Path) -> Result<Description, Fault> {
    let chain = certificates(path)?;
    let first = chain.first().and_then(|der| read(der));
    first.ok_or_else(|| format!("{}: the certificate is damaged", path.display()))
}

const BOOL: u8 = 0x01;
const OID: u8 = 0x06;
const SET: u8 = 0x31;
const UTC_TIME: u8 = 0x17;
/// The version of a certificate, and its extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Choices of `GeneralName`.
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

fn read(der: &[u8]) -> Option<Description> {
    let mut body = Der(der).sequence()?.sequence()?;
    let mut after = body;
    if after.take(VERSION).is_some() {
        body = after;
    }
    let serial = body.take(INTEGER)?.iter().map(|b| format!("{b:02x}")).collect();
    body.sequence()?;
    let issuer = name(body.sequence()?);
    let mut validity = body.sequence()?;
    let (from_ns, until_ns) = (moment(&mut validity)?, moment(&mut validity)?);
    let subject = name(body.sequence()?);
    let mut out =
        Description { serial, issuer, subject, from_ns, until_ns, ..Description::default() };
    // The key, and what else comes before the extensions.
    while let Some((tag, content)) = body.read() {
        if tag == EXTENSIONS {
            let mut all = Der(content).sequence()?;
            while let Some(one) = all.sequence() {
                extension(one, &mut out);
            }
        }
    }
    Some(out)
}

/// An extension; one that is not known, or cannot be read, says nothing.
fn extension(mut one: Der<'_>, out: &mut Description) -> Option<()> {
    let id = one.take(OID)?;
    let (mut tag, mut content) = one.read()?;
    if tag == BOOL {
        // Whether it is critical.
        (tag, content) = one.read()?;
    }
    let mut value = Der((tag == OCTETS).then_some(content)?).sequence()?;
    match id {
        [0x55, 0x1d, 19] => out.ca = value.take(BOOL).is_some_and(|b| b != [0]),
        [0x55, 0x1d, 17] => {
            while let Some((tag, content)) = value.read() {
                match (tag, content.len()) {
                    (DNS_NAME, _) => out.names.push(printable(content)),
                    (IP_ADDRESS, 4) => {
                        let octets: [u8; 4] = content.try_into().ok()?;
                        out.addresses.push(Ipv4Addr::from(octets).into());
                    }
                    (IP_ADDRESS, 16) => {
                        let octets: [u8; 16] = content.try_into().ok()?;
                        out.addresses.push(Ipv6Addr::from(octets).into());
                    }
                    _ => {}
                }
            }
        }
        [0x55, 0x1d, 37] => {
            while let Some(purpose) = value.take(OID) {
                out.answers |= purpose == [0x2b, 6, 1, 5, 5, 7, 3, 1];
                out.calls |= purpose == [0x2b, 6, 1, 5, 5, 7, 3, 2];
            }
        }
        _ => {}
    }
    Some(())
}

/// `UTCTime`, whose years are of 1950 to 2049, or `GeneralizedTime`.
fn moment(from: &mut Der<'_>) -> Option<i64> {
    let (tag, text) = from.read()?;
    let text = std::str::from_utf8(text).ok()?;
    let (century, rest) = match tag {
        UTC_TIME if text < "50" => ("20", text),
        UTC_TIME => ("19", text),
        _ => text.split_at_checked(2)?,
    };
    let part = |i: usize| rest.get(2 * i..2 * i + 2);
    time::parse_rfc3339(&format!(
        "{century}{}-{}-{}T{}:{}:{}Z",
        part(0)?,
        part(1)?,
        part(2)?,
        part(3)?,
        part(4)?,
        part(5)?
    ))
}

/// A subject or an issuer.
fn name(mut sets: Der<'_>) -> String {
    let mut out: Vec<String> = Vec::new();
    while let Some(set) = sets.take(SET) {
        let pair = Der(set).sequence();
        let Some((id, (_, text))) = pair.and_then(|mut p| Some((p.take(OID)?, p.read()?))) else {
            continue;
        };
        let key = match id {
            [0x55, 0x04, 3] => "CN",
            [0x55, 0x04, 6] => "C",
            [0x55, 0x04, 7] => "L",
            [0x55, 0x04, 8] => "ST",
            [0x55, 0x04, 9] => "STREET",
            [0x55, 0x04, 10] => "O",
            [0x55, 0x04, 11] => "OU",
            [0x55, 0x04, 17] => "PostalCode",
            _ => continue,
        };
        out.push(format!("{key}={}", printable(text)));
    }
    out.join(", ")
}

/// Text of a certificate, which may come from anyone: nothing in it moves a terminal's cursor.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
