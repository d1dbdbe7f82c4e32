//! WebSocket (RFC 6455) as values: bytes in, messages out; either side.
//!
//! No extension and no subprotocol is ever agreed on. What breaks the rules is a [`Fault`] with the
//! code that the connection is to be closed with.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::limits::WEBSOCKET_MESSAGE_BYTES_MAX;
use crate::stdx::json::Bytes;

/// What a frame carries; the numbers of RFC 6455, section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// The other side may not do this; the connection ends with the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub u16, pub &'static str);

/// Something of the protocol was broken.
pub const PROTOCOL_ERROR: u16 = 1002;
/// The request cannot be served; what HTTP says by a status below 500.
pub const REFUSED: u16 = 1008;
/// A message is too long.
pub const TOO_BIG: u16 = 1009;
/// What HTTP says by the status 500.
pub const FAILED: u16 = 1011;

/// The value of `Sec-WebSocket-Accept` for a key.
pub fn accept(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    Bytes::encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

/// Appends one whole frame. Clients give a mask that nobody can foresee, servers none.
pub fn write(kind: Kind, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | kind as u8);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ ..=125), _) => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends the frame that ends a conversation; reasons are cut to what a frame may hold.
pub fn write_close(code: u16, reason: &str, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let mut payload = code.to_be_bytes().to_vec();
    let most = reason.floor_char_boundary(CONTROL_BYTES_MAX.saturating_sub(2));
    payload.extend_from_slice(reason.as_bytes().get(..most).unwrap_or_default());
    write(Kind::Close, &payload, mask, out);
}

/// Code and reason of a frame that ended a conversation.
pub fn read_close(payload: &[u8]) -> (u16, String) {
    let Some((code, reason)) = payload.split_first_chunk() else { return (1005, String::new()) };
    (u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned())
}

/// Most bytes of a frame that is no message.
const CONTROL_BYTES_MAX: usize = 125;

/// Puts messages together. Holds one of at most [`WEBSOCKET_MESSAGE_BYTES_MAX`], and what was fed
/// behind it.
#[derive(Debug)]
pub struct Decoder {
    /// Frames must come masked: from clients.
    masked: bool,
    input: Vec<u8>,
    /// Bytes of `input` that are used up.
    read: usize,
    /// The begin of a message in several frames.
    message: Option<(Kind, Vec<u8>)>,
}

/// The head of a frame.
struct Head {
    last: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Where the payload begins and ends, behind what is used up.
    begin: usize,
    end: usize,
}

impl Decoder {
    /// `masked`: the other side is a client.
    pub fn new(masked: bool) -> Self {
        Self { masked, input: Vec::new(), read: 0, message: None }
    }

    /// Takes bytes that came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.read);
        self.read = 0;
        self.input.extend_from_slice(bytes);
    }

    /// What was fed and no message was made of.
    pub fn take_rest(&mut self) -> Vec<u8> {
        self.input.drain(..std::mem::take(&mut self.read));
        std::mem::take(&mut self.input)
    }

    /// The next whole message, in order with the frames that are none (close, ping, pong).
    ///
    /// # Errors
    /// Nothing that comes behind it means anything.
    pub fn message(&mut self) -> Result<Option<(Kind, Vec<u8>)>, Fault> {
        loop {
            let rest = self.input.get(self.read..).unwrap_or_default();
            if rest.is_empty() && self.read > 0 {
                // A connection that waits holds nothing.
                (self.input, self.read) = (Vec::new(), 0);
            }
            let rest = self.input.get(self.read..).unwrap_or_default();
            let Some(head) = head(rest, self.masked)? else { return Ok(None) };
            let Some(payload) = rest.get(head.begin..head.end) else { return Ok(None) };
            let payload = payload.iter().zip(head.mask.iter().cycle()).map(|(b, m)| b ^ m);
            let payload: Vec<u8> = payload.collect();
            self.read = self.read.saturating_add(head.end);
            let begun = self.message.take();
            let (kind, mut whole) = match (head.opcode, begun) {
                (8, _) => return Ok(Some((Kind::Close, payload))),
                (9 | 10, begun) => {
                    self.message = begun;
                    let kind = if head.opcode == 9 { Kind::Ping } else { Kind::Pong };
                    return Ok(Some((kind, payload)));
                }
                (0, Some(begun)) => begun,
                (1, None) => (Kind::Text, Vec::new()),
                (2, None) => (Kind::Binary, Vec::new()),
                _ => return Err(Fault(PROTOCOL_ERROR, "frame out of order")),
            };
            if whole.len().saturating_add(payload.len()) > WEBSOCKET_MESSAGE_BYTES_MAX {
                return Err(Fault(TOO_BIG, "message too long"));
            }
            whole.extend_from_slice(&payload);
            if head.last {
                return Ok(Some((kind, whole)));
            }
            self.message = Some((kind, whole));
        }
    }
}

/// Reads the head of a frame; `None` where it is not whole.
fn head(bytes: &[u8], masked: bool) -> Result<Option<Head>, Fault> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    let (last, opcode) = (first & 0x80 != 0, first & 0x0f);
    if first & 0x70 != 0 {
        return Err(Fault(PROTOCOL_ERROR, "reserved bits set"));
    }
    if masked != (second & 0x80 != 0) {
        return Err(Fault(PROTOCOL_ERROR, "frame masked by the wrong side"));
    }
    let long = |from: usize, bytes_of: usize| bytes.get(from..from.saturating_add(bytes_of));
    let (at, length) = match second & 0x7f {
        126 => match long(2, 2).and_then(|b| b.try_into().ok()) {
            Some(b) => (4, u64::from(u16::from_be_bytes(b))),
            None => return Ok(None),
        },
        127 => match long(2, 8).and_then(|b| b.try_into().ok()) {
            Some(b) => (10, u64::from_be_bytes(b)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    if opcode >= 8 && (!last || length > CONTROL_BYTES_MAX as u64) {
        return Err(Fault(PROTOCOL_ERROR, "malformed control frame"));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > WEBSOCKET_MESSAGE_BYTES_MAX {
        return Err(Fault(TOO_BIG, "message too long"));
    }
    let (begin, mask) = match masked {
        false => (at, [0; 4]),
        true => match long(at, 4).and_then(|b| b.try_into().ok()) {
            Some(mask) => (at.saturating_add(4), mask),
            None => return Ok(None),
        },
    };
    Ok(Some(Head { last, opcode, mask, begin, end: begin.saturating_add(length) }))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "of what the test has made")]
mod tests {
    use super::*;

    #[test]
    fn keys_are_accepted_as_the_standard_shows() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    fn all(decoder: &mut Decoder) -> Vec<(Kind, Vec<u8>)> {
        std::iter::from_fn(|| decoder.message().unwrap()).collect()
    }

    #[test]
    fn messages_survive_every_cut() {
        for mask in [None, Some([1, 2, 3, 200])] {
            let long = vec![b'x'; 70_000];
            let mut bytes = Vec::new();
            write(Kind::Text, b"hello", mask, &mut bytes);
            write(Kind::Ping, b"", mask, &mut bytes);
            write(Kind::Binary, &long[..300], mask, &mut bytes);
            let cuts = bytes.len();
            write(Kind::Text, &long, mask, &mut bytes);
            write_close(REFUSED, "no", mask, &mut bytes);
            for cut in 0..cuts {
                let mut decoder = Decoder::new(mask.is_some());
                decoder.feed(&bytes[..cut]);
                let mut got = all(&mut decoder);
                decoder.feed(&bytes[cut..]);
                got.extend(all(&mut decoder));
                assert_eq!(got[0], (Kind::Text, b"hello".to_vec()));
                assert_eq!(got[2], (Kind::Binary, long[..300].to_vec()));
                assert_eq!(got[3].1.len(), long.len());
                assert_eq!(read_close(&got[4].1), (REFUSED, "no".to_owned()));
                assert_eq!(got.len(), 5);
            }
        }
    }

    #[test]
    fn parts_become_one_message_and_disorder_an_end() {
        let parts = [0x01, 2, b'a', b'b', 0x89, 0, 0x80, 1, b'c', 0x81, 1, b'd'];
        let mut decoder = Decoder::new(false);
        decoder.feed(&parts);
        let got = all(&mut decoder);
        assert_eq!(got[1..], [(Kind::Text, b"abc".to_vec()), (Kind::Text, b"d".to_vec())]);
        let bad: [&[u8]; 7] = [
            &[0x80, 0],
            &[0x01, 0, 0x81, 0],
            &[0xc1, 0],
            &[0x81, 0x80, 1, 2, 3, 4],
            &[0x09, 0],
            &[0x89, 126, 0, 126],
            &[0x83, 0],
        ];
        for bytes in bad {
            let mut decoder = Decoder::new(false);
            decoder.feed(bytes);
            let got = decoder.message();
            assert!(matches!(got, Err(Fault(PROTOCOL_ERROR, _))), "{bytes:?}: {got:?}");
        }
        let mut decoder = Decoder::new(false);
        decoder.feed(&[0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]);
        assert!(matches!(decoder.message(), Err(Fault(TOO_BIG, _))));
    }
}
