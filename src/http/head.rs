//! The head of a request: what httparse finds, held against what it lets through.
//!
//! Each check beyond the parser's stands in the list of hostile inputs (H01 to H40) that the tests
//! walk through.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

use std::io::BufRead;
use std::mem::MaybeUninit;

use httparse::{Error, Status};

use super::query::percent_decode;
use super::reply::Reject;
use crate::limits::{HTTP_FIELDS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_LINE_BYTES_MAX};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Connect,
    /// Any other token; methods are case-sensitive, so `get` is one of these.
    Other,
}

/// One whole request. Fields that nobody asks for are dropped.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: Method,
    /// As sent, without scheme and authority.
    target: String,
    /// Bytes of `target` before the `?`.
    path_len: usize,
    /// Only where the path holds an escape.
    decoded: Option<String>,
    /// `X-Nomad-Token`, or the bearer of `Authorization`; trimmed.
    pub token: Option<String>,
    pub origin: Option<String>,
    /// A page of another site asks in someone's browser: by `Sec-Fetch-Site` where the browser
    /// sends it, else by an `Origin` that is not `Host`. Does not travel on to other agents.
    pub cross_site: bool,
    /// `Access-Control-Request-Method` and `-Headers`.
    pub acr_method: Option<String>,
    pub acr_headers: Option<String>,
    pub accept_gzip: bool,
    /// Never for HTTP/1.0, whose way of asking for it proxies pass on without meaning it.
    pub keep_alive: bool,
    /// The client cannot read chunks.
    pub http10: bool,
    /// Agents of other regions that it has passed (`X-Vardo-Hops`).
    pub hops: u8,
    /// `Sec-WebSocket-Key` of a request that asks to go on as a WebSocket (version 13).
    pub websocket: Option<String>,
    pub body: Vec<u8>,
    /// The body comes in pieces behind the request.
    pub upload: Option<Framing>,
}

impl Request {
    /// What an agent asks itself; `None` for a target that no request can have.
    pub fn get(target: &str, token: &str) -> Option<Self> {
        let token = Some(token.to_owned()).filter(|t| !t.is_empty());
        let mut request = Self { keep_alive: true, token, ..Self::default() };
        set_target(&mut request, target).ok()?;
        Some(request)
    }

    /// The path, percent-decoded: what handlers and rights go by.
    pub fn path(&self) -> &str {
        self.decoded.as_deref().unwrap_or_else(|| self.raw_path())
    }

    /// The path as it was sent.
    pub fn raw_path(&self) -> &str {
        self.target.get(..self.path_len).unwrap_or_default()
    }

    /// What stands behind the `?`, as it was sent.
    pub fn query(&self) -> &str {
        self.target.get(self.path_len.saturating_add(1)..).unwrap_or_default()
    }

    /// Path and query as sent.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The same request for another target, which holds no more than a request line may.
    pub fn aimed_at(mut self, target: String) -> Self {
        self.path_len = target.find('?').unwrap_or(target.len());
        self.target = target;
        self.decoded = None;
        self
    }

    /// The request as bytes again, for the agent that is to answer it, which is called by `host`.
    pub fn write(&self, host: &str, out: &mut Vec<u8>) {
        let method = match self.method {
            Method::Get | Method::Other => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Connect => "CONNECT",
        };
        let version = if self.http10 { "0" } else { "1" };
        let mut add = |parts: &[&str]| {
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
        };
        add(&[method, " ", &self.target, " HTTP/1.", version, "\r\nHost: ", host, "\r\n"]);
        let fields = [
            ("X-Nomad-Token", &self.token),
            ("Origin", &self.origin),
            ("Access-Control-Request-Method", &self.acr_method),
            ("Access-Control-Request-Headers", &self.acr_headers),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                add(&[name, ": ", value, "\r\n"]);
            }
        }
        if self.hops > 0 {
            add(&["X-Vardo-Hops: ", &self.hops.to_string(), "\r\n"]);
        }
        if let Some(key) = &self.websocket {
            add(&["Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"]);
            add(&["Sec-WebSocket-Key: ", key, "\r\n"]);
        }
        if self.accept_gzip {
            add(&["Accept-Encoding: gzip\r\n"]);
        }
        if !self.keep_alive {
            add(&["Connection: close\r\n"]);
        }
        if self.upload == Some(Framing::Chunked) {
            add(&["Transfer-Encoding: chunked\r\n"]);
        } else if let Some(Framing::Length(length)) = self.upload {
            add(&["Content-Length: ", &length.to_string(), "\r\n"]);
        } else if !self.body.is_empty() || !matches!(self.method, Method::Get | Method::Head) {
            add(&["Content-Length: ", &self.body.len().to_string(), "\r\n"]);
        }
        add(&["\r\n"]);
        out.extend_from_slice(&self.body);
    }
}

/// How the body of a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes follow.
    Length(usize),
    Chunked,
}

/// A head that is complete and in order.
pub(super) struct Head {
    pub(super) request: Request,
    pub(super) framing: Framing,
    /// The client waits for a `100 Continue` before it sends the body.
    pub(super) expects: bool,
    /// Bytes that the head took.
    pub(super) len: usize,
}

/// Parses a head. `Ok(None)`: more bytes are needed.
///
/// # Errors
/// The answer for a head that is malformed, ambiguous or too large; the connection then closes.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, Reject> {
    let mut fields = [const { MaybeUninit::uninit() }; HTTP_FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let len = match parsed.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => {
            return match too_large(bytes) {
                Some(reject) => Err(reject),
                None => Ok(None),
            };
        }
        Err(e) => return Err(too_large(bytes).unwrap_or_else(|| refusal(e))),
    };
    let head = bytes.get(..len).unwrap_or_default();
    if let Some(reject) = too_large(head) {
        return Err(reject);
    }
    if has_bare_lf(head) {
        return Err(Reject::bad("bare line feed in the head"));
    }
    let http10 = parsed.version == Some(0);
    let mut request = Request { http10, keep_alive: !http10, ..Request::default() };
    request.method = method(parsed.method.unwrap_or_default());
    let mut framing = Fields::default();
    for field in parsed.headers.iter() {
        framing.take(field.name, field.value, &mut request)?;
    }
    set_target(&mut request, parsed.path.unwrap_or_default())?;
    if !http10 && framing.hosts != 1 {
        return Err(Reject::bad("one Host is required"));
    }
    let hosts = parsed.headers.iter().filter(|f| f.name.eq_ignore_ascii_case("host"));
    request.cross_site = framing.cross_site.unwrap_or_else(|| {
        let origin = request.origin.as_deref();
        let is_host = |o: &str| hosts.clone().any(|f| f.value.eq_ignore_ascii_case(o.as_bytes()));
        origin.is_some_and(|o| o.split_once("://").is_none_or(|(_, own)| !is_host(own)))
    });
    if framing.websocket != WEBSOCKET || request.method != Method::Get {
        request.websocket = None;
    }
    let end = framing.end(http10)?;
    Ok(Some(Head { request, framing: end, expects: framing.expects, len }))
}

/// What decides about the body, gathered over all fields.
#[derive(Default)]
struct Fields {
    hosts: u32,
    length: Option<usize>,
    chunked: bool,
    expects: bool,
    /// `X-Nomad-Token` was there.
    token: bool,
    /// What of [`WEBSOCKET`] was there.
    websocket: u8,
    /// What `Sec-Fetch-Site` says.
    cross_site: Option<bool>,
}

/// `Connection: Upgrade`, `Upgrade: websocket`, and the version.
const WEBSOCKET: u8 = 7;

impl Fields {
    fn take(&mut self, name: &str, value: &[u8], req: &mut Request) -> Result<(), Reject> {
        let text = || Some(String::from_utf8_lossy(value.trim_ascii()).into_owned());
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                self.hosts = self.hosts.saturating_add(1);
                if value.iter().any(|b| b" ,@/\\?#\t".contains(b) || *b >= 0x80) {
                    return Err(Reject::bad("malformed Host"));
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                if self.length.is_some() {
                    return Err(Reject::bad("more than one Content-Length"));
                }
                self.length = Some(content_length(value)?);
            }
            14 if name.eq_ignore_ascii_case("sec-fetch-site") => {
                self.cross_site = Some(!matches!(value, b"same-origin" | b"none"));
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.chunked {
                    return Err(Reject::new(501, "Unsupported transfer encoding"));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(transfer_refusal(value));
                }
                self.chunked = true;
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Reject::new(417, "Expectation Failed"));
                }
                self.expects = true;
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                let has = |word: &[u8]| {
                    value.split(|b| *b == b',').any(|p| p.trim_ascii().eq_ignore_ascii_case(word))
                };
                req.keep_alive &= !has(b"close");
                self.websocket |= u8::from(has(b"upgrade"));
            }
            15 if name.eq_ignore_ascii_case("accept-encoding") => {
                req.accept_gzip = accepts_gzip(value);
            }
            // Nobody gains by a wrong one.
            12 if name.eq_ignore_ascii_case("x-vardo-hops") => {
                req.hops = text().and_then(|t| t.parse().ok()).unwrap_or(u8::MAX);
            }
            // An empty one is none.
            13 if name.eq_ignore_ascii_case("x-nomad-token") => {
                let token = text().filter(|t| !t.is_empty());
                if self.token && token.is_some() && token != req.token {
                    // Who else reads the head might take the other one.
                    return Err(Reject::bad("two tokens"));
                }
                self.token |= token.is_some();
                req.token = token.or(req.token.take());
            }
            13 if name.eq_ignore_ascii_case("authorization") && req.token.is_none() => {
                let mut words = value.split(|b| *b == b' ').filter(|w| !w.is_empty());
                if words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"bearer")) {
                    req.token = words.next().map(|w| String::from_utf8_lossy(w).into_owned());
                }
            }
            7 if name.eq_ignore_ascii_case("upgrade") => {
                self.websocket |= u8::from(value.eq_ignore_ascii_case(b"websocket")) << 1;
            }
            21 if name.eq_ignore_ascii_case("sec-websocket-version") => {
                self.websocket |= u8::from(value == b"13") << 2;
            }
            17 if name.eq_ignore_ascii_case("sec-websocket-key") => req.websocket = text(),
            6 if name.eq_ignore_ascii_case("origin") => req.origin = text(),
            29 if name.eq_ignore_ascii_case("access-control-request-method") => {
                req.acr_method = text();
            }
            30 if name.eq_ignore_ascii_case("access-control-request-headers") => {
                req.acr_headers = text();
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112, section 6.3, strictly: what two readers could take differently is refused.
    fn end(&self, http10: bool) -> Result<Framing, Reject> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(Reject::bad("both Content-Length and Transfer-Encoding")),
            (true, None) if http10 => Err(Reject::bad("Transfer-Encoding in HTTP/1.0")),
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// 1 to 19 ASCII digits and nothing else.
fn content_length(value: &[u8]) -> Result<usize, Reject> {
    let digits = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    // More than fits is more than the limit, which is checked next.
    text.map(|t| t.parse().unwrap_or(usize::MAX))
        .ok_or_else(|| Reject::bad("malformed Content-Length"))
}

fn transfer_refusal(value: &[u8]) -> Reject {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b',' | b' ' | b'-' | b'\t');
    if value.is_empty() || !value.iter().all(plain) {
        return Reject::bad("malformed Transfer-Encoding");
    }
    Reject::new(501, "Unsupported transfer encoding")
}

/// Any mention of gzip, unless its weight is zero.
fn accepts_gzip(value: &[u8]) -> bool {
    value.split(|b| *b == b',').any(|part| {
        let mut words = part.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let named = words.next().is_some_and(|w| w.eq_ignore_ascii_case(b"gzip"));
        let refused = words.any(|w| {
            let weight = w.strip_prefix(b"q=").or_else(|| w.strip_prefix(b"Q="));
            weight.is_some_and(|q| q.iter().all(|b| matches!(b, b'0' | b'.')))
        });
        named && !refused
    })
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "CONNECT" => Method::Connect,
        _ => Method::Other,
    }
}

/// Takes path and query out of the target, which may be absolute; whoever it names as its host.
fn set_target(request: &mut Request, target: &str) -> Result<(), Reject> {
    let bad = || Reject::bad("malformed request target");
    if target.bytes().any(|b| b == b'#' || b >= 0x80) {
        return Err(bad());
    }
    let origin = if target.starts_with('/') || target == "*" || request.method == Method::Connect {
        target
    } else {
        let rest = strip_scheme(target).ok_or_else(bad)?;
        match rest.find(['/', '?']) {
            Some(at) => rest.get(at..).unwrap_or_default(),
            None => "",
        }
    };
    if !origin.starts_with('/') && origin != "*" && request.method != Method::Connect {
        request.target.push('/');
    }
    request.target.push_str(origin);
    request.path_len = request.target.find('?').unwrap_or(request.target.len());
    if request.raw_path().contains('%') {
        let path = percent_decode(request.raw_path(), false).ok_or_else(bad)?;
        if path.contains('\0') {
            return Err(bad());
        }
        request.decoded = Some(path.into_owned());
    }
    Ok(())
}

fn strip_scheme(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")).then_some(rest)
}

/// The answer for a head, or the begin of one, that is larger than any client's.
pub(super) fn too_large(bytes: &[u8]) -> Option<Reject> {
    let within = bytes.get(..HTTP_LINE_BYTES_MAX).unwrap_or(bytes);
    if bytes.len() > HTTP_LINE_BYTES_MAX && !within.contains(&b'\n') {
        return Some(Reject::new(414, "Request URI Too Long"));
    }
    if bytes.len() <= HTTP_HEAD_BYTES_MAX {
        return None;
    }
    // The buffer may hold much of the body behind a head of a decent size.
    let head = bytes.get(..HTTP_HEAD_BYTES_MAX).unwrap_or(bytes);
    let ends = head.windows(4).any(|w| w == b"\r\n\r\n");
    (!ends).then(|| Reject::new(431, "Request Header Fields Too Large"))
}

fn refusal(e: Error) -> Reject {
    match e {
        Error::TooManyHeaders => Reject::new(431, "Request Header Fields Too Large"),
        Error::Version => Reject::new(505, "HTTP Version Not Supported"),
        Error::HeaderName | Error::HeaderValue | Error::NewLine | Error::Status | Error::Token => {
            Reject::bad("malformed request")
        }
    }
}

/// httparse takes a lone LF for a line end; others do not, so nobody may.
fn has_bare_lf(head: &[u8]) -> bool {
    let mut rest = head;
    while !rest.is_empty() {
        let line = rest;
        // Finds line ends as fast as the machine can; a slice never fails.
        let length = rest.skip_until(b'\n').unwrap_or(line.len());
        let line = line.get(..length).unwrap_or_default();
        if line.ends_with(b"\n") && !line.ends_with(b"\r\n") {
            return true;
        }
    }
    false
}
