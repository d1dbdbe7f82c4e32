//! An answer of another server on its way to a client of ours: what belongs to the one connection
//! is taken off and put on again for the other (RFC 9110, section 7.6.1), the rest goes as it is.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

use super::body::Body;
use super::head::Framing;
use super::reply;
use super::response::status_of;

/// Largest head that is taken, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What the client can read and wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Only the head was asked for.
    pub head_only: bool,
    /// It knows no chunks.
    pub http10: bool,
    pub keep_alive: bool,
    /// It has begun a WebSocket here: of the answer only what comes behind its head is for it.
    pub session: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Passage {
    wishes: Wishes,
    /// Until it is complete.
    head: Vec<u8>,
    status: Option<u16>,
    /// `None`: it ends with the connection.
    body: Option<Body>,
    chunked: bool,
    /// The client can tell the end only by that of its connection.
    closes: bool,
    done: bool,
}

impl Passage {
    pub fn new(wishes: Wishes) -> Self {
        Self { wishes, ..Self::default() }
    }

    /// The status, once the head is there.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// The whole answer has passed.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The client's connection has to end with this answer.
    pub fn closes(&self) -> bool {
        self.closes || !self.wishes.keep_alive
    }

    /// Takes what was read, and appends what the client is to get.
    ///
    /// # Errors
    /// Why it is no answer.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        if self.status.is_some() {
            return self.pass(bytes, out);
        }
        // The end may have begun in the bytes before.
        let mut from = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(bytes);
        loop {
            let fresh = self.head.get(from..).unwrap_or_default();
            let Some(end) = fresh.windows(4).position(|w| w == b"\r\n\r\n") else {
                let large = self.head.len() > HEAD_BYTES_MAX;
                return if large { Err("the head of the answer is too large") } else { Ok(()) };
            };
            let end = from.saturating_add(end).saturating_add(4);
            let rest = self.head.split_off(end.min(self.head.len()));
            let head = std::mem::replace(&mut self.head, rest);
            from = 0;
            let head = String::from_utf8_lossy(&head);
            let mut lines = head.trim_end_matches("\r\n").split("\r\n");
            let first = lines.next().unwrap_or_default();
            let status = status_of(first).ok_or("malformed answer")?;
            // What comes before the answer itself.
            if status < 200 && !(status == 101 && self.wishes.session) {
                continue;
            }
            self.begin(status, first, lines, out)?;
            let rest = std::mem::take(&mut self.head);
            return self.pass(&rest, out);
        }
    }

    fn begin<'l>(
        &mut self,
        status: u16,
        first: &str,
        lines: impl Iterator<Item = &'l str>,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        let (mut length, mut chunked) = (None, false);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or("malformed field in the answer")?;
            let value = value.trim();
            let plain = |b: u8| b == b'\t' || (b >= 0x20 && b != 0x7f);
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) || !value.bytes().all(plain) {
                return Err("malformed field in the answer");
            }
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("connection") {
                dropped.extend(value.split(',').map(|w| w.trim().to_owned()));
            } else if is("content-length") {
                let n: usize = value.parse().map_err(|_| "malformed length of the answer")?;
                if length.replace(n).is_some_and(|old| old != n) {
                    return Err("two lengths of one answer");
                }
            } else if is("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err("an encoding that is not known");
                }
                chunked = true;
            } else if !OF_THE_CONNECTION.iter().any(|hop| is(hop)) {
                kept.push((name, value));
            }
        }
        self.status = Some(status);
        let empty = self.wishes.head_only || matches!(status, 204 | 304);
        self.body = match (chunked, length) {
            _ if empty || status == 101 => None,
            (true, _) => Some(Body::new(Framing::Chunked)),
            (false, length) => length.map(|n| Body::new(Framing::Length(n))),
        };
        self.done = empty || self.body.as_ref().is_some_and(Body::is_done);
        if self.wishes.session {
            return Ok(());
        }
        let mut put = |parts: &[&str]| {
            parts.iter().for_each(|p| out.extend_from_slice(p.as_bytes()));
        };
        let line = first.get(9..).filter(|l| l.bytes().all(|b| (0x20..0x7f).contains(&b)));
        put(&["HTTP/1.1 ", line.unwrap_or("200 OK"), "\r\n"]);
        for (name, value) in kept {
            if !dropped.iter().any(|d| d.eq_ignore_ascii_case(name)) {
                put(&[name, ": ", value, "\r\n"]);
            }
        }
        match length.filter(|_| !chunked) {
            Some(n) => put(&["Content-Length: ", &n.to_string(), "\r\n"]),
            None if empty => {}
            None if self.wishes.http10 => self.closes = true,
            None => {
                self.chunked = true;
                put(&["Transfer-Encoding: chunked\r\n"]);
            }
        }
        put(&[if self.closes() { "Connection: close\r\n\r\n" } else { "\r\n" }]);
        Ok(())
    }

    fn pass(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        while !self.done && !bytes.is_empty() {
            let Some(body) = &mut self.body else {
                self.put(bytes, out);
                return Ok(());
            };
            // In pieces, so that nothing is held twice.
            let (piece, rest) = bytes.split_at_checked(PIECE_BYTES).unwrap_or((bytes, &[]));
            body.feed(piece).map_err(|r| r.text)?;
            bytes = rest;
            self.done = body.is_done();
            let plain = std::mem::take(&mut body.bytes);
            self.put(&plain, out);
        }
        if self.done && std::mem::take(&mut self.chunked) {
            out.extend_from_slice(reply::LAST_CHUNK);
        }
        Ok(())
    }

    fn put(&self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.chunked {
            reply::chunk(bytes, out);
        } else {
            out.extend_from_slice(bytes);
        }
    }

    /// The other side has closed its connection.
    ///
    /// # Errors
    /// That was too early.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match (&self.body, self.status) {
            _ if self.done => Ok(()),
            (_, None) => Err("the connection ended before an answer came"),
            (Some(_), _) => Err("the connection ended in the middle of the answer"),
            (None, _) => {
                self.done = true;
                self.pass(&[], out)
            }
        }
    }
}

const PIECE_BYTES: usize = 16 * 1024;

/// Fields that are about a connection and not about an answer.
const OF_THE_CONNECTION: [&str; 7] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(wishes: Wishes, answer: &str, piece: usize) -> Result<(String, bool), &'static str> {
        let (mut passage, mut out) = (Passage::new(wishes), Vec::new());
        for part in answer.as_bytes().chunks(piece) {
            passage.feed(part, &mut out)?;
        }
        let whole = passage.is_done();
        passage.end(&mut out)?;
        Ok((String::from_utf8(out).unwrap(), whole))
    }

    const USUAL: Wishes =
        Wishes { head_only: false, http10: false, keep_alive: true, session: false };

    #[test]
    fn what_is_of_a_connection_stays_behind() {
        let http10 = Wishes { http10: true, keep_alive: false, ..USUAL };
        let head_only = Wishes { head_only: true, ..USUAL };
        let chunks = "HTTP/1.1 200 OK\r\nX-Nomad-Index: 7\r\nConnection: close, X-Own\r\n\
                      X-Own: 1\r\nKeep-Alive: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n";
        for (wishes, answer, expected, whole) in [
            (
                USUAL,
                "HTTP/1.0 404 Not Found\r\nContent-Length: 4\r\nX: a b\r\n\r\nnone",
                "HTTP/1.1 404 Not Found\r\nX: a b\r\nContent-Length: 4\r\n\r\nnone",
                true,
            ),
            (
                http10,
                chunks,
                "HTTP/1.1 200 OK\r\nX-Nomad-Index: 7\r\nConnection: close\r\n\r\nabcde",
                true,
            ),
            (
                head_only,
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
                true,
            ),
            (
                USUAL,
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\n",
                true,
            ),
            (
                Wishes { session: true, ..USUAL },
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02",
                "\x01\x02",
                false,
            ),
        ] {
            for piece in [1, 2, 7, 1000] {
                let got = pass(wishes, answer, piece);
                assert_eq!(got, Ok((expected.to_owned(), whole)), "{answer:?} {piece}");
            }
        }
        let (got, whole) = pass(USUAL, chunks, 1000).unwrap();
        let head = "HTTP/1.1 200 OK\r\nX-Nomad-Index: 7\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!((got, whole), (format!("{head}5\r\nabcde\r\n0\r\n\r\n"), true));
        let endless = "HTTP/1.1 200 OK\r\n\r\nabc";
        let (got, whole) = pass(USUAL, endless, 1000).unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!((got, whole), (format!("{head}3\r\nabc\r\n0\r\n\r\n"), false));
    }

    #[test]
    fn what_is_no_whole_answer_is_an_error() {
        let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "y".repeat(70_000));
        for bad in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx",
            "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: 1\r\n\r\n",
            &large,
        ] {
            for piece in [1, 1000] {
                assert!(pass(USUAL, bad, piece).is_err(), "{bad:?}");
            }
        }
    }
}
