//! A blocking client of the API for one command.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::secured::{self, Options, Secured};
pub(super) use crate::http::query::escape;
use crate::http::url::Url;
use crate::stdx::json::{self, Decode};

/// Where the API is and what every request carries.
#[derive(Clone, Debug, Default)]
pub(super) struct Api {
    /// `http://host:port`, `https://host:port` or `unix:///path`.
    pub(super) address: String,
    pub(super) region: String,
    pub(super) namespace: String,
    pub(super) token: String,
    /// `user[:password]`.
    pub(super) basic: String,
    pub(super) tls: Options,
    /// Header lines of a request by hand, each with its end.
    pub(super) fields: String,
    /// An agent that says nothing for so long is given up; `None`: it is waited for.
    pub(super) silence: Option<Duration>,
}

/// Why a request gave no usable answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The agent could not be reached, or broke off.
    Io(io::Error),
    /// It answered with another status than 200.
    Status(u16, String),
    /// The same, and what is wrong with the token is known.
    Token(u16, String, &'static str),
    /// It answered something else than what was asked for.
    Malformed(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(e) => match secured::advice(&e.to_string()) {
                "" => write!(f, "the agent broke off: {e}; look whether it runs, and try again"),
                advice => write!(f, "{e}{advice}"),
            },
            Self::Status(code, body) => {
                write!(f, "Unexpected response code: {code} ({body})")?;
                if *code != 403 {
                    return Ok(());
                }
                // What a token lacks cannot be told from here; that there may be one can.
                write!(f, "; give a token that may do this by -token or NOMAD_TOKEN")
            }
            Self::Token(code, body, why) => {
                write!(f, "Unexpected response code: {code} ({body}); {why}")?;
                write!(f, ", give another one by -token or NOMAD_TOKEN")
            }
            Self::Malformed(text) => write!(f, "{text}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// A query string under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(String);

impl Query {
    /// Adds a parameter; an empty value adds nothing.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.0.push(if self.0.is_empty() { '?' } else { '&' });
            self.0.push_str(name);
            self.0.push('=');
            self.0.push_str(&escape(value));
        }
        self
    }
}

impl Query {
    /// Adds `name=value` that is coded already.
    pub(super) fn raw(mut self, pair: &str) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(pair);
        self
    }

    /// With its question mark; empty where there are no parameters.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl Api {
    /// GET of JSON.
    pub(super) fn get(&self, path: &str, query: Query) -> Result<Value, Failure> {
        decode(&self.get_raw(path, query)?)
    }

    /// GET of bytes.
    pub(super) fn get_raw(&self, path: &str, query: Query) -> Result<Vec<u8>, Failure> {
        self.whole("GET", path, query, None).map(|(_, body)| body)
    }

    /// GET of an object of a known type.
    pub(super) fn read<T: Decode + Default>(&self, path: &str, query: Query) -> Result<T, Failure> {
        typed(&self.get_raw(path, query)?)
    }

    /// [`Api::read`] and the index that it is valid for.
    pub(super) fn read_indexed<T: Decode + Default>(
        &self,
        path: &str,
        query: Query,
    ) -> Result<(u64, T), Failure> {
        let (index, body) = self.whole("GET", path, query, None)?;
        Ok((index, typed(&body)?))
    }

    /// Any other request; its answer, null where that has no body.
    pub(super) fn send(
        &self,
        method: &str,
        path: &str,
        query: Query,
        body: Option<&[u8]>,
    ) -> Result<Value, Failure> {
        decode(&self.whole(method, path, query, body)?.1)
    }

    /// Any request; the index and the bytes of its answer.
    pub(super) fn whole(
        &self,
        method: &str,
        path: &str,
        query: Query,
        body: Option<&[u8]>,
    ) -> Result<(u64, Vec<u8>), Failure> {
        let mut stream = self.open(method, path, query, body)?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok((stream.index, bytes))
    }

    /// Sends a request and reads the head of its answer; the body is read from what comes back.
    pub(super) fn open(
        &self,
        method: &str,
        path: &str,
        query: Query,
        body: Option<&[u8]>,
    ) -> Result<Response, Failure> {
        let body = body.map_or(Sent::Nothing, Sent::Bytes);
        self.ask(method, path, query, body, "Connection: close\r\n")
    }

    /// Sends a body of any size as it is read.
    pub(super) fn send_from(
        &self,
        method: &str,
        path: &str,
        body: &mut dyn Read,
    ) -> Result<(), Failure> {
        let body = Sent::Pieces(body);
        self.ask(method, path, Query::default(), body, "Connection: close\r\n").map(drop)
    }

    /// Begins a WebSocket; what is read and sent from then on is its frames.
    pub(super) fn session(&self, path: &str, query: Query) -> Result<Response, Failure> {
        // What the key is for, to tell caches apart, is no concern of an agent's client.
        let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: dmFyZG8gd2Vic29ja2V0IQ==\r\n";
        self.ask("GET", path, query, Sent::Nothing, fields)
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        query: Query,
        body: Sent<'_>,
        fields: &str,
    ) -> Result<Response, Failure> {
        let query = query.with("namespace", &self.namespace).with("region", &self.region);
        let (socket, host) = self.connect()?;
        let mut response = Response::new(socket);
        let mut head = format!("{method} {path}{} HTTP/1.1\r\nHost: {host}\r\n{fields}", query.0);
        head.push_str(&self.fields);
        if !self.token.is_empty() {
            head.push_str(&format!("X-Nomad-Token: {}\r\n", header_value(&self.token)?));
        }
        if !self.basic.is_empty() {
            let coded = json::Bytes::encode(self.basic.as_bytes());
            head.push_str(&format!("Authorization: Basic {coded}\r\n"));
        }
        match &body {
            Sent::Nothing => {}
            Sent::Bytes(body) => head.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            )),
            Sent::Pieces(_) => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        response.socket.write_all(head.as_bytes())?;
        // A refusal may arrive, and the connection close, before a long body is out.
        let sent = match body {
            Sent::Nothing => Ok(()),
            Sent::Bytes(body) => response.socket.write_all(body),
            Sent::Pieces(body) => chunks(body, &mut response.socket),
        };
        match response.read_head() {
            Err(e) => return Err(sent.err().map_or(e, Failure::Io)),
            Ok(status) if status != 101 && !(200..300).contains(&status) => {
                let mut text = Vec::new();
                response.read_to_end(&mut text)?;
                let text = String::from_utf8_lossy(&text).trim().to_owned();
                return Err(match self.token_fault(status, &text, path) {
                    Some(why) => Failure::Token(status, text, why),
                    None => Failure::Status(status, text),
                });
            }
            Ok(_) => {}
        }
        Ok(response)
    }

    /// What is wrong with the token after a refusal: the agent says it to who asks for the token
    /// itself.
    fn token_fault(&self, status: u16, text: &str, path: &str) -> Option<&'static str> {
        const SELF: &str = "/v1/acl/token/self";
        if status != 403 || self.token.is_empty() {
            return None;
        }
        let told = match path {
            SELF => text.to_owned(),
            _ => match self.get_raw(SELF, Query::default()) {
                Err(Failure::Status(403, text) | Failure::Token(403, text, _)) => text,
                _ => return None,
            },
        };
        Some(match told.as_str() {
            "ACL token expired" => "the token has expired",
            _ => "the cluster does not know the token",
        })
    }

    #[expect(clippy::disallowed_methods, reason = "a command blocks: it has nothing else to do")]
    fn connect(&self) -> Result<(Socket, String), Failure> {
        let unreachable = |at: &str, e: &io::Error| {
            let why = match e.kind() {
                io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                io::ErrorKind::NotFound => "no such socket".to_owned(),
                _ => e.to_string(),
            };
            let text = format!(
                "no agent answers at {at}: {why}; start one by `vardo agent`, or say by -address \
                 or NOMAD_ADDR where one is"
            );
            Failure::Malformed(text)
        };
        if let Some(path) = self.address.strip_prefix("unix://") {
            let socket = UnixStream::connect(path).map_err(|e| unreachable(&self.address, &e))?;
            socket.set_read_timeout(self.silence)?;
            return Ok((Socket::Unix(socket), "localhost".to_owned()));
        }
        let (scheme, rest) = match self.address.split_once("://") {
            Some(("https", rest)) => ("https", rest),
            Some(("http", rest)) => ("http", rest),
            _ => ("http", self.address.as_str()),
        };
        let host = rest.split('/').next().unwrap_or_default();
        let bare = host.rsplit(']').next().unwrap_or_default();
        let target = if bare.contains(':') { host.to_owned() } else { format!("{host}:4646") };
        let shown = format!("{scheme}://{target}");
        let socket = match self.silence {
            None => TcpStream::connect(&target),
            Some(most) => connect_within(&target, most),
        };
        let socket = socket.map_err(|e| unreachable(&shown, &e))?;
        socket.set_read_timeout(self.silence)?;
        if scheme == "https" {
            let name = target.rsplit_once(':').map_or(target.as_str(), |(name, _)| name);
            let secured = self.tls.begin(socket, name).map_err(|e| {
                let advice = secured::advice(&e);
                Failure::Malformed(format!("no encrypted connection to {shown}: {e}{advice}"))
            })?;
            return Ok((Socket::Tls(Box::new(secured)), host.to_owned()));
        }
        Ok((Socket::Tcp(socket), host.to_owned()))
    }
}

/// The first address of a host that takes a connection, each within that time.
fn connect_within(target: &str, most: Duration) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::NotFound.into();
    for address in target.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, most) {
            Ok(socket) => return Ok(socket),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The body of a request.
enum Sent<'b> {
    Nothing,
    Bytes(&'b [u8]),
    Pieces(&'b mut dyn Read),
}

fn chunks(body: &mut dyn Read, socket: &mut Socket) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let n = body.read(&mut piece)?;
        let bytes = piece.get(..n).unwrap_or_default();
        let chunk = [format!("{n:x}\r\n").as_bytes(), bytes, b"\r\n"].concat();
        socket.write_all(&chunk)?;
        if n == 0 {
            return Ok(());
        }
    }
}

fn header_value(text: &str) -> Result<&str, Failure> {
    let text = text.trim();
    if text.bytes().any(|b| b < 0x20) {
        return Err(Failure::Malformed("the token holds control characters".to_owned()));
    }
    Ok(text)
}

fn typed<T: Decode + Default>(body: &[u8]) -> Result<T, Failure> {
    let wrong = |e| format!("the answer is not what was asked for ({e}), check -address");
    json::decode(body).map_err(|e| Failure::Malformed(wrong(e)))
}

/// JSON of an answer; null where there is none.
pub(super) fn decode(body: &[u8]) -> Result<Value, Failure> {
    if body.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    let wrong = |e: serde_json::Error| format!("the answer is no JSON ({e}), check -address");
    serde_json::from_slice(body).map_err(|e| Failure::Malformed(wrong(e)))
}

/// GET of a document elsewhere than at an agent: its status, and what the body is read from.
/// `near`: it may be on this machine or its link. Whoever is silent for too long has failed.
#[expect(clippy::disallowed_methods, reason = "a command blocks: it has nothing else to do")]
pub(super) fn document(
    url: &Url,
    fields: &str,
    anyone: bool,
    near: bool,
    silence: Duration,
) -> Result<(u16, Response), Failure> {
    let socket = TcpStream::connect((url.host.as_str(), url.port))?;
    if !near && is_near(socket.peer_addr()?.ip()) {
        let text = "a redirect leads to an address of this machine or its link";
        return Err(Failure::Malformed(text.to_owned()));
    }
    socket.set_read_timeout(Some(silence))?;
    let socket = if url.secure {
        let options = Options { skip_verify: anyone, ..Options::default() };
        let secured = options.begin(socket, &url.host).map_err(Failure::Malformed)?;
        Socket::Tls(Box::new(secured))
    } else {
        Socket::Tcp(socket)
    };
    let mut response = Response::new(socket);
    let (target, host) = (&url.target, url.authority());
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: */*\r\n\
         User-Agent: vardo\r\n{fields}\r\n"
    );
    response.socket.write_all(head.as_bytes())?;
    let status = response.read_head()?;
    Ok((status, response))
}

fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local(),
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<Secured>),
}

impl Socket {
    fn set_read_timeout(&self, after: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.set_read_timeout(Some(after)),
            Self::Unix(s) => s.set_read_timeout(Some(after)),
            Self::Tls(s) => s.set_read_timeout(after),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.write_all(bytes),
            Self::Unix(s) => s.write_all(bytes),
            Self::Tls(s) => s.write_all(bytes),
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.read(into),
            Self::Unix(s) => s.read(into),
            Self::Tls(s) => s.read(into),
        }
    }
}

/// How the rest of a body is marked off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    Bytes(u64),
    /// Bytes of the present chunk; 0: a size line comes next.
    Chunk(u64),
    ToClose,
    Done,
}

/// An answer whose head was read. Reading gives the body; `Ok(0)` is its end.
pub(super) struct Response {
    socket: Socket,
    /// Received and not yet handed out.
    buffer: Vec<u8>,
    left: Left,
    /// `X-Nomad-Index`, 0 where there is none.
    pub(super) index: u64,
    /// Where it leads on; empty where it says nothing of that.
    pub(super) location: String,
}

impl Response {
    fn new(socket: Socket) -> Self {
        let (buffer, location) = (Vec::new(), String::new());
        Self { socket, buffer, left: Left::ToClose, index: 0, location }
    }

    /// To be polled for what may be read and sent.
    pub(super) fn fd(&self) -> RawFd {
        match &self.socket {
            Socket::Tcp(s) => s.as_raw_fd(),
            Socket::Unix(s) => s.as_raw_fd(),
            Socket::Tls(s) => s.fd(),
        }
    }

    /// Something can be read that the descriptor does not tell of.
    pub(super) fn is_buffered(&self) -> bool {
        !self.buffer.is_empty() || matches!(&self.socket, Socket::Tls(s) if s.is_buffered())
    }

    /// Sends bytes of a WebSocket.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// From here on a read that finds nothing for so long fails with `WouldBlock`.
    pub(super) fn poll_every(&self, after: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(after)
    }

    /// More bytes into the buffer; false at the end of the connection.
    fn fill(&mut self) -> io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let n = loop {
            match self.socket.read(&mut chunk) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n > 0)
    }

    fn read_head(&mut self) -> Result<u16, Failure> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut fields);
            let parsed = head.parse(&self.buffer).map_err(|e| {
                let text = format!("what answers there speaks no HTTP ({e}), check -address");
                Failure::Malformed(text)
            })?;
            let httparse::Status::Complete(length) = parsed else {
                if self.buffer.len() > HEAD_BYTES_MAX {
                    return Err(Failure::Malformed("the head is too long".to_owned()));
                }
                if !self.fill()? {
                    return Err(io::Error::other("it closed the connection").into());
                }
                continue;
            };
            let status = head.code.unwrap_or(0);
            let field = |name: &str| {
                let found = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
                found.map(|h| String::from_utf8_lossy(h.value).into_owned())
            };
            let chunked = field("transfer-encoding").is_some_and(|v| v.contains("chunked"));
            let number = |name: &str| field(name).and_then(|v| v.trim().parse().ok());
            self.index = number("x-nomad-index").unwrap_or(0);
            self.location = field("location").unwrap_or_default();
            self.left = match number("content-length") {
                _ if chunked => Left::Chunk(0),
                Some(n) => Left::Bytes(n),
                None => Left::ToClose,
            };
            self.buffer.drain(..length);
            if status != 100 {
                return Ok(status);
            }
        }
    }

    /// Reads the line that begins a chunk. Its own end of line belongs to the chunk before it.
    fn chunk_size(&mut self) -> io::Result<u64> {
        loop {
            let skip = if self.buffer.starts_with(b"\r\n") { 2 } else { 0 };
            let line_end = self.buffer.iter().skip(skip).position(|b| *b == b'\n');
            if let Some(at) = line_end {
                let line = self.buffer.get(skip..skip + at).unwrap_or_default();
                let text = String::from_utf8_lossy(line);
                let digits = text.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16)
                    .map_err(|_| io::Error::other("malformed chunk"))?;
                self.buffer.drain(..=skip + at);
                return Ok(size);
            }
            if self.buffer.len() > 256 || !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

impl Read for Response {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == Left::Chunk(0) {
            self.left = match self.chunk_size()? {
                0 => Left::Done,
                n => Left::Chunk(n),
            };
        }
        let most = match self.left {
            Left::Done | Left::Bytes(0) => return Ok(0),
            Left::Bytes(n) | Left::Chunk(n) => n,
            Left::ToClose => u64::MAX,
        };
        if self.buffer.is_empty() && !self.fill()? {
            return match self.left {
                Left::ToClose => Ok(0),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let n = self.buffer.len().min(into.len()).min(most);
        into[..n].copy_from_slice(&self.buffer[..n]);
        self.buffer.drain(..n);
        let taken = n as u64;
        self.left = match self.left {
            Left::Bytes(left) => Left::Bytes(left - taken),
            Left::Chunk(left) => Left::Chunk(left - taken),
            other => other,
        };
        Ok(n)
    }
}

/// Largest head of an answer that is read, in bytes: far above what any agent sends.
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// Every answer is also fed cut in two at every byte.
    fn body_of(answer: &[u8], cut: usize) -> (u16, Vec<u8>) {
        let (mut far, near) = UnixStream::pair().unwrap();
        far.write_all(&answer[..cut]).unwrap();
        far.write_all(&answer[cut..]).unwrap();
        drop(far);
        let mut response = Response::new(Socket::Unix(near));
        let status = response.read_head().unwrap();
        let mut body = Vec::new();
        response.read_to_end(&mut body).unwrap();
        (status, body)
    }

    #[test]
    fn bodies_end_where_their_framing_says() {
        for (answer, status, body) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloXX"[..], 200, &b"hello"[..]),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n\
                  0\r\n\r\n",
                200,
                b"hello",
            ),
            (b"HTTP/1.1 404 Not Found\r\n\r\nto the close", 404, b"to the close"),
            (
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
                200,
                b"",
            ),
        ] {
            for cut in 0..answer.len() {
                assert_eq!(body_of(answer, cut), (status, body.to_vec()), "cut at {cut}");
            }
        }
    }

    #[test]
    fn queries_are_escaped() {
        let q = Query::default().with("prefix", "a b/c").with("none", "").with("n", "*");
        assert_eq!(q.0, "?prefix=a%20b%2Fc&n=%2A");
    }
}
