//! The answer to a request of ours, as far as anyone here asks: its status, and its body up to a
//! bound.

use super::body::Body;
use super::head::Framing;

/// Largest head that is read, in bytes; larger ones are no answer.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// So many bytes of the body are kept, unless more are asked for; the rest does not matter.
pub const BODY_BYTES_KEPT: usize = 3 * 1024;
/// Bytes of a body that are looked at together.
const PIECE_BYTES: usize = 3 * 1024;

/// An answer on its way in.
#[derive(Clone, Debug)]
pub struct Response {
    /// Bytes of the body that are kept.
    room: usize,
    head: Vec<u8>,
    /// Known with the end of the head.
    status: Option<u16>,
    body: Option<Body>,
    plain: Vec<u8>,
    done: bool,
}

impl Default for Response {
    fn default() -> Self {
        Self::of(BODY_BYTES_KEPT)
    }
}

impl Response {
    /// One of whose body so many bytes are kept.
    pub fn of(room: usize) -> Self {
        let (head, plain) = (Vec::new(), Vec::new());
        Self { room, head, status: None, body: None, plain, done: false }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// Why it is no answer.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if self.status.is_some() {
            return self.feed_body(bytes);
        }
        self.head.extend_from_slice(bytes);
        loop {
            let Some(end) = self.head.windows(4).position(|w| w == b"\r\n\r\n") else {
                let large = self.head.len() > HEAD_BYTES_MAX;
                return if large { Err("the head of the answer is too large") } else { Ok(()) };
            };
            let rest = self.head.split_off(end + 4);
            let head = std::mem::replace(&mut self.head, rest);
            let head = String::from_utf8_lossy(&head);
            let mut lines = head.split("\r\n");
            let status = lines.next().and_then(status_of).ok_or("malformed HTTP response")?;
            // What comes before the answer itself.
            if status < 200 {
                continue;
            }
            self.status = Some(status);
            self.body = framing(lines).map(Body::new);
            self.done = status == 204 || status == 304;
            let rest = std::mem::take(&mut self.head);
            return self.feed_body(&rest);
        }
    }

    fn feed_body(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let Some(body) = &mut self.body else {
            let room = self.room.saturating_sub(self.plain.len());
            self.plain.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            self.done |= self.plain.len() >= self.room;
            return Ok(());
        };
        // In pieces, so that a large body is not gathered before it is cut off.
        for piece in bytes.chunks(PIECE_BYTES) {
            if body.bytes.len() >= self.room {
                break;
            }
            body.feed(piece).map_err(|r| r.text)?;
        }
        self.done |= body.is_done() || body.bytes.len() >= self.room;
        Ok(())
    }

    /// Nothing has come.
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.status.is_none()
    }

    /// The status, once the head is there.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Nothing more is to be waited for.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The end of the body is known by the end of the connection alone.
    pub fn ends_with_connection(&self) -> bool {
        self.status.is_some() && self.body.is_none() && !self.done
    }

    /// What there is of the body, at most as much as is kept.
    pub fn body(&self) -> &[u8] {
        let all = self.body.as_ref().map_or(&self.plain, |b| &b.bytes);
        all.get(..self.room).unwrap_or(all)
    }
}

/// `HTTP/1.1 200 OK` → 200.
pub(super) fn status_of(line: &str) -> Option<u16> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let code = rest.get(1..)?.strip_prefix(' ')?.get(..3)?;
    code.parse().ok().filter(|c| (100..=999).contains(c))
}

/// How the body ends; `None`: with the connection.
fn framing<'l>(lines: impl Iterator<Item = &'l str>) -> Option<Framing> {
    let mut length = None;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return value.eq_ignore_ascii_case("chunked").then_some(Framing::Chunked);
        }
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok().map(Framing::Length);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str, piece: usize) -> Result<(Option<u16>, String, bool), &'static str> {
        let mut r = Response::default();
        for part in answer.as_bytes().chunks(piece) {
            r.feed(part)?;
        }
        Ok((r.status(), String::from_utf8_lossy(r.body()).into_owned(), r.is_done()))
    }

    #[test]
    fn answers_in_any_pieces() {
        for (answer, status, body, done) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
            ("HTTP/1.0 503 x\r\n\r\nwait", 503, "wait", false),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\
                 \r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                500,
                "abc",
                true,
            ),
            ("HTTP/1.1 404\r\ncontent-length: 9\r\n\r\nhalf", 404, "half", false),
        ] {
            for piece in [1, 3, 1000] {
                let expected = (Some(status), body.to_owned(), done);
                assert_eq!(read(answer, piece), Ok(expected), "{answer:?} {piece}");
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error_and_a_flood_is_cut() {
        for bad in ["SSH-2.0-x\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/2 200\r\n\r\n"] {
            assert!(read(bad, 1000).is_err(), "{bad:?}");
        }
        assert!(read(&"x".repeat(HEAD_BYTES_MAX + 1), 1000).is_err());
        for head in ["", "Content-Length: 999999\r\n", "Transfer-Encoding: chunked\r\n"] {
            let size = if head.starts_with('T') { "fffff\r\n" } else { "" };
            let flood = format!("HTTP/1.1 500 x\r\n{head}\r\n{size}{}", "y".repeat(90_000));
            let (_, body, done) = read(&flood, 10_000).unwrap();
            assert_eq!((body.len(), done), (BODY_BYTES_KEPT, true), "{head}");
        }
    }
}
