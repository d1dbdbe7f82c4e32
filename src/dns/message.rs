//! Questions to name servers and their answers, as bytes (RFC 1035, section 4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest name with its lengths and the root, in bytes (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: usize = 63;
const HEAD_BYTES: usize = 12;
const TYPE_ALIAS: u16 = 5;
const CLASS_INTERNET: u16 = 1;
/// Most aliases that are followed from one name to another.
const ALIASES_MAX: usize = 8;
/// Most addresses that are taken from an answer.
const ADDRESSES_MAX: usize = 16;

/// A name as it is on the wire: labels with their lengths, in lower case, and the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<u8>);

impl Name {
    /// Of letters, digits, `-` and `_`, with dots between.
    ///
    /// # Errors
    /// Why it is no name of a host.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let mut out = Vec::with_capacity(text.len() + 2);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if label.is_empty() || label.len() > LABEL_BYTES_MAX || !label.bytes().all(fits) {
                return Err("not a valid host name");
            }
            out.push(label.len() as u8);
            out.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        out.push(0);
        if out.len() > NAME_BYTES_MAX { Err("the name is too long") } else { Ok(Self(out)) }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V4 = 1,
    V6 = 28,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Not empty; and for how many seconds they hold.
    Addresses(Vec<IpAddr>, u32),
    /// The name has no address of this kind.
    Nothing,
    NoName,
    /// The server does not know, or does not want to say, or speaks nonsense.
    Failed,
}

/// A question, with the wish that the server asks others where it has to.
pub fn query(id: u16, name: &Name, kind: Kind) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + name.0.len() + 4);
    out.extend(id.to_be_bytes());
    out.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend(&name.0);
    out.extend((kind as u16).to_be_bytes());
    out.extend(CLASS_INTERNET.to_be_bytes());
    out
}

/// What a datagram says to a question; `None` where it answers another one, or none.
pub fn answer(bytes: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Said> {
    let mut reader = Reader { bytes, at: 0 };
    let (got, flags) = (reader.u16()?, reader.u16()?);
    let (questions, records) = (reader.u16()?, reader.u16()?);
    reader.at = HEAD_BYTES;
    let (is_answer, usual) = (flags & 0x8000 != 0, flags & 0x7800 == 0);
    if got != id || !is_answer || !usual || bytes.len() < HEAD_BYTES {
        return None;
    }
    let code = flags & 0xf;
    if questions != 1 {
        // Servers that make nothing of a question need not repeat it.
        return (questions == 0 && code != 0).then_some(Said::Failed);
    }
    let (asked, of, class) = (reader.name()?, reader.u16()?, reader.u16()?);
    if asked != *name || of != kind as u16 || class != CLASS_INTERNET {
        return None;
    }
    match code {
        0 => {}
        3 => return Some(Said::NoName),
        _ => return Some(Said::Failed),
    }
    let cut = flags & 0x0200 != 0;
    let mut found = Vec::new();
    for _ in 0..records {
        match reader.record(kind) {
            Some(record) => found.extend(record),
            // Of an answer that did not fit, what is there is good enough.
            None if cut => break,
            None => return Some(Said::Failed),
        }
    }
    let (mut ips, mut ttl_s) = follow(&found, name);
    if ips.is_empty() {
        return Some(if cut { Said::Failed } else { Said::Nothing });
    }
    ips.truncate(ADDRESSES_MAX);
    // RFC 2181, section 8: the highest bit is not of use.
    ttl_s = if ttl_s > i32::MAX as u32 { 0 } else { ttl_s };
    Some(Said::Addresses(ips, ttl_s))
}

/// The addresses at the end of the aliases of a name, and the shortest life on the way.
fn follow(found: &[(Name, u32, Data)], name: &Name) -> (Vec<IpAddr>, u32) {
    let (mut name, mut ttl_s) = (name, u32::MAX);
    for _ in 0..=ALIASES_MAX {
        let mut ips = Vec::new();
        let mut alias = None;
        for (_, ttl, data) in found.iter().filter(|(owner, ..)| owner == name) {
            match data {
                Data::Ip(ip) => {
                    ttl_s = ttl_s.min(*ttl);
                    ips.push(*ip);
                }
                Data::Alias(to) => alias = Some((to, *ttl)),
            }
        }
        match alias {
            Some((to, ttl)) if ips.is_empty() => {
                ttl_s = ttl_s.min(ttl);
                name = to;
            }
            _ => return (ips, ttl_s),
        }
    }
    (Vec::new(), 0)
}

enum Data {
    Ip(IpAddr),
    Alias(Name),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let out = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(out)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A name, whose end may stand earlier in the message. Every pointer goes further back than
    /// the one before, so that none can lead in a circle.
    fn name(&mut self) -> Option<Name> {
        let mut out = Vec::new();
        let (mut at, mut back, mut jumped) = (self.at, self.at, false);
        loop {
            let length = usize::from(*self.bytes.get(at)?);
            match length >> 6 {
                0 => {
                    let label = self.bytes.get(at..at + 1 + length)?;
                    at += 1 + length;
                    if out.len() + label.len() > NAME_BYTES_MAX {
                        return None;
                    }
                    out.extend(label.iter().map(u8::to_ascii_lowercase));
                    if length == 0 {
                        break;
                    }
                }
                3 => {
                    let to = (length & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    if to >= back {
                        return None;
                    }
                    if !jumped {
                        self.at = at + 2;
                        jumped = true;
                    }
                    (at, back) = (to, to);
                }
                _ => return None,
            }
        }
        if !jumped {
            self.at = at;
        }
        Some(Name(out))
    }

    /// One record; `Some(None)` where it says nothing about addresses of this kind.
    fn record(&mut self, kind: Kind) -> Option<Option<(Name, u32, Data)>> {
        let owner = self.name()?;
        let (of, class, ttl) = (self.u16()?, self.u16()?, self.u32()?);
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let data = match (class, of, length, kind) {
            (CLASS_INTERNET, TYPE_ALIAS, ..) => Some(Data::Alias(self.name()?)),
            (CLASS_INTERNET, 1, 4, Kind::V4) => Some(Data::Ip(Ipv4Addr::from(self.u32()?).into())),
            (CLASS_INTERNET, 28, 16, Kind::V6) => {
                let octets: [u8; 16] = self.take(16)?.try_into().ok()?;
                Some(Data::Ip(Ipv6Addr::from(octets).into()))
            }
            _ => None,
        };
        self.at = end;
        Some(data.map(|data| (owner, ttl, data)))
    }
}
