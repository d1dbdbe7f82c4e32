//! One client's connection as the loop holds it: socket, parser, and what is still to be sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::IpAddr;
use std::rc::Rc;

use mio::net::TcpStream;

use super::channel::Channel;
use super::files::OpenStream;
use super::metrics::Asked;
use super::restore::Upload;
use super::serve::Form;
use super::watch::Place;
use crate::http::websocket::Decoder;
use crate::http::{Conn, Request};
use crate::limits::{OUT_BYTES_MAX, OUT_INLINE_MAX};
use crate::link::StreamId;
use crate::routes::{Body, Then};
use crate::server::events::Subscriber;
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::stdx::wheel::TimerId;

/// What a connection is doing.
#[derive(Debug, Default)]
pub(super) enum State {
    /// Waits for a request, or for the rest of one.
    #[default]
    Idle,
    /// A write is in the log; its answer follows the commit.
    Proposed,
    /// A blocking query, with the timer that ends it.
    Held(Place, TimerId),
    /// The node works on it.
    Client,
    /// A read that waits until this server knows that it still leads.
    Reading(u64),
    /// Nobody leads: it waits for someone to.
    Parked,
    /// A document that its answer needs is being fetched.
    Fetching,
    /// Another agent answers it.
    Relayed(Box<Relayed>),
    /// The body of its request goes into a file.
    Uploading(Box<Upload>),
    /// Another region answers it.
    Region(Key),
    /// Frames or a large file are being sent.
    Streaming(Box<Streamed>),
    /// A WebSocket whose first message is to bring the token.
    Greeting(Box<(Form, Request)>),
    /// Runs a command in a task.
    Exec(Key),
    /// Reads the event stream.
    Events(Box<Subscriber>),
    /// Refused: what the peer still sends, up to so many bytes, is thrown away.
    Lingering(usize),
}

/// A body that is read as it is sent.
#[derive(Debug)]
pub(super) struct Streamed {
    pub(super) stream: OpenStream,
    pub(super) form: Form,
    /// Its length is not known before its end.
    pub(super) chunked: bool,
    /// A timer will look at it again.
    pub(super) timed: bool,
}

/// A request that another agent answers.
#[derive(Debug)]
pub(super) struct Relayed {
    pub(super) link: Key,
    pub(super) stream: StreamId,
    pub(super) form: Form,
    /// Bytes of the request that the stream had no credit for.
    pub(super) rest: Vec<u8>,
    /// To be asked again elsewhere if that agent goes; a read of which nothing came yet.
    pub(super) request: Option<Box<Request>>,
    /// The answer is not for the client: what is made of it, and what came of it.
    pub(super) then: Option<(Then, Vec<u8>)>,
    /// Something of the answer has come.
    pub(super) begun: bool,
    /// Bytes that came and are not granted again, as the client has not taken them.
    pub(super) owed: usize,
}

/// What a connection runs over.
pub(super) enum Via {
    Socket(Channel),
    /// A stream of a link: one request of another agent's client, which came over so many agents.
    Link {
        link: Key,
        stream: StreamId,
        hops: u8,
        /// Whoever sent it answers it, if its caller may ask.
        back: bool,
        /// Bytes of a WebSocket or a long body that came and are not granted again.
        owed: u32,
    },
}

impl Via {
    pub(super) fn is_link(&self) -> bool {
        matches!(self, Self::Link { .. })
    }

    /// Bytes of the application may be sent.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Self::Socket(channel) => channel.is_ready(),
            Self::Link { .. } => true,
        }
    }

    /// So many bytes came over a link, and are granted again once there is room for more. They are
    /// no more than the credit of its stream.
    pub(super) fn owe(&mut self, bytes: usize) {
        if let Self::Link { owed, .. } = self {
            *owed = owed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    /// Nothing waits below for the socket.
    fn is_empty(&self) -> bool {
        match self {
            Self::Socket(channel) => channel.is_empty(),
            Self::Link { .. } => true,
        }
    }
}

pub(super) struct Sock {
    pub(super) via: Via,
    pub(super) conn: Conn,
    /// Reads what comes since the connection went on as a WebSocket.
    pub(super) ws: Option<Box<Decoder>>,
    pub(super) state: State,
    /// Of the client; `None` over a link.
    pub(super) ip: Option<IpAddr>,
    pub(super) out: Out,
    /// Close when all is sent.
    pub(super) closing: bool,
    /// Before closing, let the peer finish what it is sending.
    pub(super) linger: bool,
    /// The socket may hold bytes that no new event will tell of.
    pub(super) unread: bool,
    /// What a stream that runs was asked by: whether its caller still may is looked at again.
    pub(super) guard: Option<Box<Request>>,
    /// The loop will come back to it without a new event.
    pub(super) runnable: bool,
    /// Ends a slow sender, or a reader that takes nothing.
    pub(super) timer: Option<TimerId>,
    /// Mono ns of the last byte that the peer took, while there is something to send.
    pub(super) progress_ns: u64,
    /// The request that is being worked on, unless it waits for something to happen.
    pub(super) asked: Option<Asked>,
}

/// A held query costs this, a place among the waiters and a timer. (With debug assertions a socket
/// of mio also knows who polls it.)
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Option<Sock>>() <= 208);

impl Sock {
    /// An answer that goes on: read as it is sent, or by another agent; or a command.
    pub(super) fn is_stream(&self) -> bool {
        matches!(self.state, State::Streaming(_) | State::Relayed(_) | State::Exec(_))
    }

    pub(super) fn new(via: Via, ip: Option<IpAddr>, now: Now) -> Self {
        Self {
            via,
            conn: Conn::new(),
            ws: None,
            state: State::Idle,
            ip,
            out: Out::default(),
            closing: false,
            unread: false,
            guard: None,
            linger: false,
            runnable: false,
            timer: None,
            progress_ns: now.mono_ns,
            asked: None,
        }
    }

    /// All that was to be sent has left.
    pub(super) fn is_sent(&self) -> bool {
        self.out.is_empty() && self.via.is_empty()
    }
}

/// Bytes on their way out. Small answers are gathered, large ones are sent from where they are.
#[derive(Debug, Default)]
pub(super) struct Out {
    parts: VecDeque<Part>,
    /// Bytes of the first part that are sent.
    sent: usize,
    len: usize,
}

#[derive(Debug)]
enum Part {
    Own(Vec<u8>),
    Shared(Rc<[u8]>),
    Static(&'static str),
}

impl Part {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(b) => b,
            Self::Shared(b) => b,
            Self::Static(t) => t.as_bytes(),
        }
    }
}

impl Out {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a stream should pause until the peer has read.
    pub(super) fn is_full(&self) -> bool {
        self.len >= OUT_BYTES_MAX
    }

    /// Copies bytes behind what waits.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        match self.parts.back_mut() {
            Some(Part::Own(last)) if last.len() < OUT_INLINE_MAX => last.extend_from_slice(bytes),
            _ => self.parts.push_back(Part::Own(bytes.to_vec())),
        }
    }

    /// Takes a body: small ones are copied, large ones kept as they are.
    pub(super) fn body(&mut self, body: Body) {
        let bytes = body.as_slice();
        if bytes.len() <= OUT_INLINE_MAX {
            self.copy(bytes);
            return;
        }
        self.len += bytes.len();
        self.parts.push_back(match body {
            Body::Empty => return,
            Body::Static(t) => Part::Static(t),
            Body::Bytes(b) => Part::Own(b),
            Body::Shared(b) => Part::Shared(b),
        });
    }

    /// The same bytes for many connections.
    pub(super) fn shared(&mut self, bytes: Rc<[u8]>) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.parts.push_back(Part::Shared(bytes));
        }
    }

    /// Sends until the socket takes no more.
    ///
    /// # Errors
    /// Those of the socket, except that it would block.
    pub(super) fn flush(&mut self, to: &mut TcpStream) -> io::Result<()> {
        while self.len > 0 {
            let sent = if self.parts.len() == 1 {
                let part = self.parts.front().map_or(&[][..], Part::as_slice);
                to.write(part.get(self.sent..).unwrap_or_default())
            } else {
                let mut slices: [IoSlice<'_>; 8] = std::array::from_fn(|_| IoSlice::new(&[]));
                let mut n = 0;
                for (slot, part) in slices.iter_mut().zip(&self.parts) {
                    let from = if n == 0 { self.sent } else { 0 };
                    *slot = IoSlice::new(part.as_slice().get(from..).unwrap_or_default());
                    n += 1;
                }
                to.write_vectored(slices.get(..n).unwrap_or_default())
            };
            match sent {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Hands out bytes as long as they are taken.
    pub(super) fn pour(&mut self, mut take: impl FnMut(&[u8]) -> usize) {
        while let Some(part) = self.parts.front() {
            let taken = take(part.as_slice().get(self.sent..).unwrap_or_default());
            if taken == 0 {
                return;
            }
            self.advance(taken);
        }
    }

    fn advance(&mut self, n: usize) {
        self.len -= n;
        self.sent += n;
        while let Some(first) = self.parts.front() {
            let whole = first.as_slice().len();
            if self.sent < whole {
                break;
            }
            self.sent -= whole;
            self.parts.pop_front();
        }
        if self.parts.is_empty() {
            // An idle connection holds no memory for what it once sent.
            self.parts = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn parts_leave_in_order_through_short_writes() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = std::net::TcpStream::connect_timeout(
            &listener.local_addr().unwrap(),
            std::time::Duration::from_secs(1),
        )
        .unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream);

        let big: Vec<u8> = (0..3_000_000u32).map(|i| i.to_le_bytes()[0]).collect();
        let shared: Rc<[u8]> = vec![7; 100_000].into();
        let mut out = Out::default();
        out.copy(b"head");
        out.body(Body::Bytes(big.clone()));
        out.shared(shared);
        out.copy(b"tail");
        let total = out.len();

        let mut got = Vec::new();
        let mut buf = vec![0; 65_536];
        while got.len() < total {
            out.flush(&mut stream).unwrap();
            let n = peer.read(&mut buf).unwrap();
            got.extend_from_slice(&buf[..n]);
        }
        assert!(out.is_empty());
        assert_eq!(got.len(), total);
        assert_eq!(&got[..4], b"head");
        assert_eq!(&got[4..4 + big.len()], &big[..]);
        assert_eq!(&got[total - 4..], b"tail");
    }
}
