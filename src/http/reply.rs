//! Heads of answers, written straight into the buffer that is sent.

use std::io::Write as _;

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Known(usize),
    Chunks,
    /// With the connection.
    Endless,
}

/// The head of an answer.
pub struct Head<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    /// `X-Nomad-Index`
    pub index: Option<u64>,
    /// `X-Nomad-LastContact`, milliseconds.
    pub last_contact_ms: Option<u64>,
    pub known_leader: Option<bool>,
    pub next_token: Option<&'a str>,
    pub gzip: bool,
    /// `Vary: Accept-Encoding`, on all that a handler answers.
    pub vary: bool,
    /// Values with control characters are left out: they could end the head.
    pub extra: &'a [(&'a str, &'a str)],
    pub len: Length,
    pub close: bool,
}

impl Head<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.reserve(256);
        status_line(self.status, out);
        if let Some(kind) = self.content_type {
            field("Content-Type", kind, out);
            if kind.starts_with("text/") {
                // Whatever it looks like, it is no page with programs in it.
                out.extend_from_slice(b"X-Content-Type-Options: nosniff\r\n");
            }
        }
        if self.gzip {
            out.extend_from_slice(b"Content-Encoding: gzip\r\n");
        }
        if self.vary {
            out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
        }
        if let Some(index) = self.index {
            number("X-Nomad-Index", index, out);
        }
        if let Some(known) = self.known_leader {
            out.extend_from_slice(if known {
                b"X-Nomad-KnownLeader: true\r\n"
            } else {
                b"X-Nomad-KnownLeader: false\r\n"
            });
        }
        if let Some(ms) = self.last_contact_ms {
            number("X-Nomad-LastContact", ms, out);
        }
        if let Some(token) = self.next_token {
            field("X-Nomad-NextToken", token, out);
        }
        for (name, value) in self.extra {
            field(name, value, out);
        }
        match self.len {
            Length::Known(_) if self.status == 204 => {}
            Length::Known(len) => number("Content-Length", len as u64, out),
            Length::Endless => {}
            Length::Chunks => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        }
        if self.close {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// A request that is refused before anyone looks at its meaning; the connection closes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    pub status: u16,
    pub text: &'static str,
}

impl Reject {
    pub(super) fn new(status: u16, text: &'static str) -> Self {
        Self { status, text }
    }

    pub(super) fn bad(text: &'static str) -> Self {
        Self::new(400, text)
    }

    /// The whole answer.
    pub fn write(&self, out: &mut Vec<u8>) {
        let text = self.text;
        Head {
            status: self.status,
            content_type: Some("text/plain; charset=utf-8"),
            index: None,
            last_contact_ms: None,
            known_leader: None,
            next_token: None,
            gzip: false,
            vary: false,
            extra: &[],
            len: Length::Known(text.len()),
            close: true,
        }
        .write(out);
        out.extend_from_slice(text.as_bytes());
    }
}

/// What a client with `Expect: 100-continue` waits for.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// The end of a body in chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// For a head or a body that takes too long.
pub const TOO_SLOW: Reject = Reject { status: 408, text: "Request Timeout" };

/// Appends one chunk. An empty one would end the body and is not written.
pub fn chunk(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    // Writing into a vector cannot fail.
    if let Ok(()) = write!(out, "{:x}\r\n", bytes.len()) {
        out.extend_from_slice(bytes);
        out.extend_from_slice(b"\r\n");
    }
}

fn status_line(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    digits(u64::from(status), out);
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn field(name: &str, value: &str, out: &mut Vec<u8>) {
    if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        log::error!("header {name} left out: its value holds control characters");
        return;
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn number(name: &str, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    digits(value, out);
    out.extend_from_slice(b"\r\n");
}

fn digits(mut n: u64, out: &mut Vec<u8>) {
    let mut buf = [0; 20];
    let mut at = buf.len();
    loop {
        at -= 1;
        if let Some(slot) = buf.get_mut(at) {
            *slot = b'0' + u8::try_from(n % 10).unwrap_or(0);
        }
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(buf.get(at..).unwrap_or_default());
}

fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        204 => "No Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Request Entity Too Large",
        414 => "Request URI Too Long",
        417 => "Expectation Failed",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_the_head() {
        let mut out = Vec::new();
        field("Location", "/a\r\nSet-Cookie: x", &mut out);
        assert_eq!(out, b"");
    }

    #[test]
    fn numbers_print_whole() {
        for n in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            digits(n, &mut out);
            assert_eq!(out, n.to_string().as_bytes());
        }
    }
}
