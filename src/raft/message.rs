//! Messages between servers and their wire form.
//!
//! Fixed little-endian fields after one byte of kind. Decoding trusts nothing: lengths are checked
//! before anything is allocated, indexes and terms against what can ever be reached, and entries
//! must run without a gap.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use std::fmt;

use super::{Entry, EntryKind, Index, Term};

/// A message and the term of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub term: Term,
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Entries after (`prev`, `prev_term`).
    Append {
        prev: Index,
        prev_term: Term,
        commit: Index,
        entries: Vec<Entry>,
    },
    /// The sender's log equals the leader's up to here, durably.
    AppendOk {
        matched: Index,
    },
    /// Nothing equal at `prev`. The hint is the sender's last entry up to there whose term is not
    /// above that of the refused one.
    AppendReject {
        prev: Index,
        hint: Index,
        hint_term: Term,
    },
    /// `round` comes back in the reply.
    Heartbeat {
        commit: Index,
        round: u64,
    },
    HeartbeatReply {
        round: u64,
    },
    /// `pre`: only asks how a vote in `campaign` would go. `transfer`: the leader itself wishes it.
    VoteRequest {
        pre: bool,
        transfer: bool,
        campaign: Term,
        last: Index,
        last_term: Term,
    },
    VoteReply {
        pre: bool,
        campaign: Term,
        granted: bool,
    },
    /// The leader hands over: campaign at once.
    TimeoutNow,
}

/// Malformed bytes. The peer's fault: close its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireError(pub(super) &'static str);

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for WireError {}

/// Above this no index, term or round is believed, so that sums with them cannot overflow.
pub(super) const NUMBER_MAX: u64 = u64::MAX - (1 << 32);

#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, v: u8) {
        self.0.push(v);
    }

    pub(super) fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    fn u64s(&mut self, numbers: &[u64]) {
        for n in numbers {
            self.u64(*n);
        }
    }

    pub(super) fn u128(&mut self, v: u128) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, v: &[u8]) {
        self.u64(v.len() as u64);
        self.0.extend_from_slice(v);
    }
}

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(WireError("message too short"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    pub(super) fn u128(&mut self) -> Result<u128, WireError> {
        Ok(u128::from_le_bytes(self.take()?))
    }

    pub(super) fn index(&mut self) -> Result<u64, WireError> {
        match self.u64()? {
            n if n <= NUMBER_MAX => Ok(n),
            _ => Err(WireError("number out of range")),
        }
    }

    pub(super) fn flag(&mut self) -> Result<bool, WireError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError("not a flag")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let n = usize::try_from(self.u64()?).map_err(|_| WireError("length out of range"))?;
        let (head, rest) = self.0.split_at_checked(n).ok_or(WireError("message too short"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError("bytes after the message")) }
    }
}

impl Message {
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        let kind = match &self.body {
            Body::Append { .. } => 1,
            Body::AppendOk { .. } => 2,
            Body::AppendReject { .. } => 3,
            Body::Heartbeat { .. } => 4,
            Body::HeartbeatReply { .. } => 5,
            Body::VoteRequest { .. } => 6,
            Body::VoteReply { .. } => 7,
            Body::TimeoutNow => 8,
        };
        w.byte(kind);
        w.u64(self.term);
        match &self.body {
            Body::Append { prev, prev_term, commit, entries } => {
                w.u64s(&[*prev, *prev_term, *commit]);
                for e in entries {
                    w.u64(e.term);
                    w.byte(e.kind as u8);
                    w.bytes(&e.payload);
                }
            }
            Body::AppendOk { matched } => w.u64(*matched),
            Body::AppendReject { prev, hint, hint_term } => {
                w.u64s(&[*prev, *hint, *hint_term]);
            }
            Body::Heartbeat { commit, round } => {
                w.u64s(&[*commit, *round]);
            }
            Body::HeartbeatReply { round } => w.u64(*round),
            Body::VoteRequest { pre, transfer, campaign, last, last_term } => {
                w.byte(u8::from(*pre));
                w.byte(u8::from(*transfer));
                w.u64s(&[*campaign, *last, *last_term]);
            }
            Body::VoteReply { pre, campaign, granted } => {
                w.byte(u8::from(*pre));
                w.u64(*campaign);
                w.byte(u8::from(*granted));
            }
            Body::TimeoutNow => {}
        }
        w.0
    }

    /// Reads one whole message. The caller bounds the length of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let kind = r.byte()?;
        let term = r.index()?;
        let body = match kind {
            1 => {
                let (prev, prev_term, commit) = (r.index()?, r.index()?, r.index()?);
                let entries = read_entries(&mut r, prev, prev_term, term)?;
                Body::Append { prev, prev_term, commit, entries }
            }
            2 => Body::AppendOk { matched: r.index()? },
            3 => Body::AppendReject { prev: r.index()?, hint: r.index()?, hint_term: r.index()? },
            4 => Body::Heartbeat { commit: r.index()?, round: r.index()? },
            5 => Body::HeartbeatReply { round: r.index()? },
            6 => Body::VoteRequest {
                pre: r.flag()?,
                transfer: r.flag()?,
                campaign: r.index()?,
                last: r.index()?,
                last_term: r.index()?,
            },
            7 => Body::VoteReply { pre: r.flag()?, campaign: r.index()?, granted: r.flag()? },
            8 => Body::TimeoutNow,
            _ => return Err(WireError("unknown kind of message")),
        };
        r.end()?;
        Ok(Self { term, body })
    }
}

fn read_entries(
    r: &mut Reader<'_>,
    prev: Index,
    prev_term: Term,
    term: Term,
) -> Result<Vec<Entry>, WireError> {
    let mut entries = Vec::new();
    let (mut index, mut least) = (prev, prev_term);
    while !r.0.is_empty() {
        index = index.checked_add(1).ok_or(WireError("number out of range"))?;
        let of = r.index()?;
        if of < least || of > term {
            return Err(WireError("terms out of order"));
        }
        least = of;
        let kind = EntryKind::from_byte(r.byte()?).ok_or(WireError("unknown kind of entry"))?;
        let payload: std::rc::Rc<[u8]> = r.bytes()?.into();
        if kind == EntryKind::Members {
            super::Members::decode(&payload)?;
        }
        entries.push(Entry { index, term: of, kind, payload });
    }
    Ok(entries)
}

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that is wrong may stop"
)]
mod tests {
    use super::*;
    use crate::raft::{Member, Members, PeerId};

    fn samples() -> Vec<Message> {
        let members = Members::lone(PeerId(u128::MAX), "h:1".into());
        let payloads: [(EntryKind, Vec<u8>); 3] = [
            (EntryKind::Empty, Vec::new()),
            (EntryKind::Command, b"{}".to_vec()),
            (EntryKind::Members, members.encode()),
        ];
        let entries = (6..).zip(payloads).map(|(index, (kind, payload))| Entry {
            index,
            term: index - 2,
            kind,
            payload: payload.into(),
        });
        let bodies = vec![
            Body::Append { prev: 5, prev_term: 4, commit: 3, entries: entries.collect() },
            Body::Append { prev: 0, prev_term: 0, commit: 0, entries: Vec::new() },
            Body::AppendOk { matched: 7 },
            Body::AppendReject { prev: 9, hint: 8, hint_term: 2 },
            Body::Heartbeat { commit: 1, round: 2 },
            Body::HeartbeatReply { round: 2 },
            Body::VoteRequest { pre: true, transfer: false, campaign: 9, last: 8, last_term: 7 },
            Body::VoteReply { pre: false, campaign: 9, granted: true },
            Body::TimeoutNow,
        ];
        bodies.into_iter().map(|body| Message { term: 8, body }).collect()
    }

    #[test]
    fn messages_read_back_and_damage_is_an_error() {
        for m in samples() {
            let bytes = m.encode();
            assert_eq!(Message::decode(&bytes).as_ref(), Ok(&m));
            for end in 0..bytes.len() {
                if let Ok(other) = Message::decode(&bytes[..end]) {
                    // A list of entries may end anywhere between two of them.
                    assert!(matches!(other.body, Body::Append { .. }), "{m:?} cut at {end}");
                }
            }
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    // Never a panic; what is read is within bounds.
                    if let Ok(other) = Message::decode(&damaged) {
                        assert!(other.term <= NUMBER_MAX);
                    }
                }
            }
        }
        let mut absurd =
            Message { term: 1, body: Body::Heartbeat { commit: 0, round: 0 } }.encode();
        absurd[9..17].fill(0xff);
        assert_eq!(Message::decode(&absurd), Err(WireError("number out of range")));
        let mut long = samples().swap_remove(0).encode();
        long[42..50].fill(0x7f);
        assert!(Message::decode(&long).is_err());
        assert!(Message::decode(&[99; 60]).is_err());
    }

    #[test]
    fn memberships_read_back() {
        let mut members = Members::lone(PeerId(1), "a:1".into());
        members.0.insert(PeerId(2), Member { address: "b:2".into(), voter: false });
        let bytes = members.encode();
        assert_eq!(Members::decode(&bytes), Ok(members));
        for end in 0..bytes.len() {
            assert!(Members::decode(&bytes[..end]).is_err());
        }
        assert!(Members::decode(&u64::MAX.to_le_bytes()).is_err());
    }
}
