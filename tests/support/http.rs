//! One request, one answer, one connection; no opinion on statuses.

#![expect(clippy::disallowed_methods, reason = "a test blocks on its requests")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Without its framing; unpacked where it was gzip.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON, which it must be.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `X-Nomad-Index`.
    pub(crate) fn index(&self) -> u64 {
        self.header("x-nomad-index").and_then(|i| i.parse().ok()).expect("an index")
    }

    /// The last header of that name (lower case).
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// GET without headers.
pub(crate) fn get(address: &str, path: &str) -> io::Result<Answer> {
    send(address, "GET", path, &[], None)
}

/// Any request. `Accept-Encoding: identity` unless the headers say otherwise.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: Option<&[u8]>,
) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n");
    if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("accept-encoding")) {
        head.push_str("Accept-Encoding: identity\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if body.is_some() || matches!(method, "PUT" | "POST" | "PATCH") {
        head.push_str(&format!("Content-Length: {}\r\n", body.map_or(0, <[u8]>::len)));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.unwrap_or_default())?;
    read(&mut stream, method == "HEAD")
}

/// Reads one answer; the connection may go on after it.
pub(crate) fn read(stream: &mut TcpStream, no_body: bool) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        more(stream, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    bytes.drain(..head_end);
    let mut lines = head.lines();
    let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
    let mut answer = Answer { status: status.ok_or_else(malformed)?, ..Answer::default() };
    for (name, value) in lines.filter_map(|l| l.split_once(':')) {
        answer.headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    answer.body = if no_body || matches!(answer.status, 204 | 304) {
        Vec::new()
    } else if answer.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
        chunked(stream, bytes)?
    } else if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().map_err(|_| malformed())?;
        while bytes.len() < length {
            more(stream, &mut bytes)?;
        }
        bytes.truncate(length);
        bytes
    } else {
        stream.read_to_end(&mut bytes)?;
        bytes
    };
    if answer.header("content-encoding") == Some("gzip") {
        // Ten bytes of header without optional fields, eight of trailer.
        let packed = answer.body.get(10..answer.body.len().saturating_sub(8));
        answer.body = miniz_oxide::inflate::decompress_to_vec(packed.unwrap_or_default())
            .map_err(|_| malformed())?;
    }
    Ok(answer)
}

fn chunked(stream: &mut TcpStream, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line_end = loop {
            if let Some(at) = bytes.windows(2).position(|w| w == b"\r\n") {
                break at;
            }
            more(stream, &mut bytes)?;
        };
        let line = String::from_utf8_lossy(&bytes[..line_end]).into_owned();
        let size = usize::from_str_radix(line.trim(), 16).map_err(|_| malformed())?;
        while bytes.len() < line_end + 2 + size + 2 {
            more(stream, &mut bytes)?;
        }
        body.extend_from_slice(&bytes[line_end + 2..line_end + 2 + size]);
        bytes.drain(..line_end + 2 + size + 2);
        if size == 0 {
            return Ok(body);
        }
    }
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut part = [0; 16 * 1024];
    let n = loop {
        match stream.read(&mut part) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if n == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.extend_from_slice(&part[..n]);
    Ok(())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed answer")
}
