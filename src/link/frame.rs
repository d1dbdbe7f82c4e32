//! Frames: length, kind, stream, payload, and a code behind it where the link is sealed.
//!
//! The length is held against the limit of its kind before a byte of the payload is kept.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use std::fmt;

use ring::hmac;

use crate::limits::{LINK_DATA_BYTES_MAX, LINK_GREETING_BYTES_MAX, LINK_NOTE_BYTES_MAX};
use crate::raft;

/// Length in four bytes, kind in one, stream in four; little end first.
const HEAD: usize = 9;
/// Bytes of the code behind a sealed payload.
const CODE: usize = 16;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Hello = 1,
    Proof = 2,
    Raft = 3,
    Note = 4,
    /// Begins a stream; the payload says what for.
    Open = 5,
    Data = 6,
    /// No more data from this side.
    End = 7,
    /// The stream is over at once.
    Reset = 8,
    /// So many more bytes of data may come.
    Credit = 9,
    Ping = 10,
    Pong = 11,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Hello,
        Self::Proof,
        Self::Raft,
        Self::Note,
        Self::Open,
        Self::Data,
        Self::End,
        Self::Reset,
        Self::Credit,
        Self::Ping,
        Self::Pong,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as u8 == byte)
    }

    fn payload_max(self) -> usize {
        match self {
            Self::Hello | Self::Proof => LINK_GREETING_BYTES_MAX,
            Self::Raft => RAFT_BYTES_MAX,
            Self::Data => LINK_DATA_BYTES_MAX,
            Self::Note | Self::Open => LINK_NOTE_BYTES_MAX,
            Self::End | Self::Reset | Self::Credit | Self::Ping | Self::Pong => 8,
        }
    }
}

/// One entry of the greatest size and what stands around it, or a full message of small ones.
const RAFT_BYTES_MAX: usize = raft::ENTRY_BYTES_MAX.saturating_add(1 << 20);

/// Why a link ended: the peer's fault, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault(pub(super) &'static str);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Codes of one direction of a link, in the order of its frames.
#[derive(Debug)]
pub(super) struct Seal {
    key: hmac::Key,
    count: u64,
}

impl Seal {
    pub(super) fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), count: 0 }
    }

    fn code(&mut self, head: &[u8], payload: &[u8]) -> [u8; CODE] {
        let mut cx = hmac::Context::with_key(&self.key);
        cx.update(&self.count.to_le_bytes());
        cx.update(head);
        cx.update(payload);
        self.count = self.count.saturating_add(1);
        let whole = cx.sign();
        let mut code = [0; CODE];
        code.iter_mut().zip(whole.as_ref()).for_each(|(to, from)| *to = *from);
        code
    }
}

/// Writes one frame.
pub(super) fn write(
    kind: Kind,
    stream: u32,
    payload: &[u8],
    seal: Option<&mut Seal>,
    out: &mut Vec<u8>,
) {
    let code = if seal.is_some() { CODE } else { 0 };
    let len = u32::try_from(payload.len().saturating_add(code)).unwrap_or(u32::MAX);
    let mut head = [0; HEAD];
    let stream = stream.to_le_bytes();
    let bytes = len.to_le_bytes().into_iter().chain([kind as u8]).chain(stream);
    head.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    out.extend_from_slice(&head);
    out.extend_from_slice(payload);
    if let Some(seal) = seal {
        out.extend_from_slice(&seal.code(&head, payload));
    }
}

/// Cuts bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buf: Vec<u8>,
    /// Bytes of `buf` that are used up.
    used: usize,
    seal: Option<Seal>,
    /// The greeting is over: frames other than those of it may come.
    greeted: bool,
}

impl Decoder {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    pub(super) fn greeted(&mut self) {
        self.greeted = true;
    }

    /// From the next frame on, each carries a code.
    pub(super) fn seal(&mut self, seal: Seal) {
        self.seal = Some(seal);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// Where the bytes cannot be one; nothing that follows means anything.
    pub fn frame(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            let bytes = self.buf.get(self.used..).unwrap_or_default();
            let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
                self.tidy();
                return Ok(None);
            };
            let [a, b, c, d, kind, e, f, g, h] = *head;
            let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let stream = u32::from_le_bytes([e, f, g, h]);
            let known = Kind::of(kind);
            let code = if self.seal.is_some() { CODE } else { 0 };
            let max = match known {
                Some(kind @ (Kind::Hello | Kind::Proof)) => kind.payload_max(),
                _ if !self.greeted => return Err(Fault("no greeting")),
                Some(kind) => kind.payload_max(),
                // Of a later version: skipped, if it is not long.
                None => LINK_NOTE_BYTES_MAX,
            };
            let Some(payload) = len.checked_sub(code).filter(|n| *n <= max) else {
                return Err(Fault("frame of absurd length"));
            };
            if rest.len() < len {
                self.tidy();
                return Ok(None);
            }
            let (payload, rest) = rest.split_at_checked(payload).unwrap_or_default();
            if let Some(seal) = &mut self.seal {
                let told = rest.get(..CODE).unwrap_or_default();
                let differ =
                    seal.code(head, payload).iter().zip(told).fold(0, |n, (x, y)| n | x ^ y);
                if told.len() != CODE || differ != 0 {
                    return Err(Fault("frame with a wrong code"));
                }
            }
            let payload = payload.to_vec();
            self.used = self.used.saturating_add(HEAD).saturating_add(len);
            if let Some(kind) = known {
                return Ok(Some(Frame { kind, stream, payload }));
            }
        }
    }

    /// Lets go of what was read.
    fn tidy(&mut self) {
        if self.used == self.buf.len() {
            self.buf = Vec::new();
        } else {
            self.buf.drain(..self.used);
        }
        self.used = 0;
    }
}
