//! One server connection: bytes go in as they come, whole requests come out in order.
//!
//! ```text
//! Head ──complete──▶ Body ──complete──▶ (Request) ──▶ Head
//!   └────────refused: Bad, nothing more is read──────┘
//! ```
//!
//! Of a request whose body may be large the head comes out alone, and its body in pieces.
//!
//! The caller takes the next request only after it has answered the one before, and does not read
//! from the socket meanwhile: what a peer can make this side hold is one buffer and one body. A
//! connection without a request in progress holds no memory beyond this struct.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

use super::body::Body;
use super::head::{self, Framing, Request};
use super::reply::Reject;
use crate::limits::{
    HTTP_BODY_BYTES_MAX, HTTP_BODY_BYTES_PER_SECOND_MIN, HTTP_HEAD_NS_MAX, SECOND,
};

#[derive(Debug)]
pub enum Event {
    Request(Request),
    /// Send `100 Continue`, then ask again.
    Continue,
    /// Send this, then close.
    Bad(Reject),
}

#[derive(Debug, Default)]
pub struct Conn {
    buf: Vec<u8>,
    pending: Option<Box<Pending>>,
    /// When the first byte of the request in progress came, mono ns; 0: none is in progress.
    begun_ns: u64,
    /// Bytes of `buf` in which no head was found. A head is looked for again only once a line has
    /// ended behind them, so that bytes that drip in are not parsed over and over.
    searched: u32,
    /// An empty line before the request was skipped.
    skipped: bool,
    dead: bool,
}

/// A request whose body is on its way.
#[derive(Debug)]
struct Pending {
    /// `None`: it was given out, and the body comes behind it.
    request: Option<Request>,
    body: Body,
    expects: bool,
}

impl Conn {
    pub fn new() -> Self {
        Self::default()
    }

    /// The body of the last request is still to come, or to be taken.
    pub fn is_uploading(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| p.request.is_none())
    }

    /// The body of the last request is wanted; true: tell the peer `100 Continue`.
    pub fn begin_upload(&mut self) -> bool {
        self.pending.as_mut().is_some_and(|p| std::mem::take(&mut p.expects))
    }

    /// What came of that body; true: that was the rest.
    ///
    /// # Errors
    /// The answer for broken chunks.
    pub fn upload(&mut self, now_ns: u64) -> Result<(Vec<u8>, bool), Reject> {
        let Some(pending) = &mut self.pending else { return Ok((Vec::new(), true)) };
        let used = match pending.body.feed(&self.buf) {
            Ok(used) => used,
            Err(reject) => {
                self.dead = true;
                return Err(reject);
            }
        };
        let (piece, whole) = (std::mem::take(&mut pending.body.bytes), pending.body.is_done());
        match whole {
            true => {
                self.pending = None;
                self.consume(used, now_ns);
            }
            false => self.consume_keeping_begin(used),
        }
        Ok((piece, whole))
    }

    /// Takes bytes that the peer sent.
    pub fn feed(&mut self, now_ns: u64, bytes: &[u8]) {
        if self.dead || bytes.is_empty() {
            return;
        }
        if self.begun_ns == 0 {
            self.begun_ns = now_ns.max(1);
        }
        self.buf.extend_from_slice(bytes);
    }

    /// What the bytes so far amount to; `None` until there is more.
    pub fn next(&mut self, now_ns: u64) -> Option<Event> {
        self.next_or_upload(now_ns, |_| false)
    }

    /// The same. Requests for which `is_upload` holds are given out before their bodies have come.
    pub fn next_or_upload(
        &mut self,
        now_ns: u64,
        is_upload: impl Fn(&Request) -> bool,
    ) -> Option<Event> {
        if self.dead {
            return None;
        }
        let event = match self.step(now_ns, is_upload) {
            Ok(event) => event,
            Err(reject) => {
                self.dead = true;
                self.buf = Vec::new();
                self.pending = None;
                Some(Event::Bad(reject))
            }
        };
        if self.buf.is_empty() {
            self.buf = Vec::new();
        }
        event
    }

    /// What came behind the last request; for a connection that goes on as something else.
    pub fn take_rest(&mut self) -> Vec<u8> {
        self.begun_ns = 0;
        std::mem::take(&mut self.buf)
    }

    /// By when the rest of the request must be here, mono ns: 30 s for a head, and for a body as
    /// long as it comes at a decent pace.
    pub fn deadline(&self) -> Option<u64> {
        if self.begun_ns == 0 || self.dead {
            return None;
        }
        let pace = self
            .pending
            .as_ref()
            .map_or(0, |p| p.body.total / HTTP_BODY_BYTES_PER_SECOND_MIN)
            .saturating_mul(SECOND);
        Some(self.begun_ns.saturating_add(HTTP_HEAD_NS_MAX).saturating_add(pace))
    }

    fn step(
        &mut self,
        now_ns: u64,
        is_upload: impl Fn(&Request) -> bool,
    ) -> Result<Option<Event>, Reject> {
        if self.pending.is_none() {
            if !self.skipped && self.buf.starts_with(b"\r\n") {
                // One empty line before a request is forgiven (RFC 9112, section 2.2); the parser
                // would forgive any number.
                self.consume(2, now_ns);
                self.skipped = true;
            }
            if self.buf.is_empty() {
                return Ok(None);
            }
            if matches!(self.buf.first(), Some(b'\r' | b'\n')) && self.buf.as_slice() != b"\r" {
                return Err(Reject::bad("malformed request"));
            }
            let Some(head) = self.find_head()? else { return Ok(None) };
            self.skipped = false;
            let upload = is_upload(&head.request);
            if !upload && matches!(head.framing, Framing::Length(n) if n > HTTP_BODY_BYTES_MAX) {
                return Err(Reject::new(413, "Request Entity Too Large"));
            }
            let body = Body::new(head.framing);
            let (len, expects) = (head.len, head.expects && !body.is_done());
            if body.is_done() {
                self.consume(len, now_ns);
                return Ok(Some(Event::Request(head.request)));
            }
            self.consume_keeping_begin(len);
            self.begun_ns = now_ns.max(1);
            if upload {
                self.pending = Some(Box::new(Pending { request: None, body, expects }));
                let mut request = head.request;
                request.upload = Some(head.framing);
                return Ok(Some(Event::Request(request)));
            }
            self.pending = Some(Box::new(Pending { request: Some(head.request), body, expects }));
        }
        let Some(pending) = self.pending.as_mut().filter(|p| p.request.is_some()) else {
            return Ok(None);
        };
        let used = pending.body.feed(&self.buf)?;
        if pending.body.is_done() {
            let Some(pending) = self.pending.take() else { return Ok(None) };
            let Pending { request, body, .. } = *pending;
            self.consume(used, now_ns);
            let Some(mut request) = request else { return Ok(None) };
            request.body = body.bytes;
            return Ok(Some(Event::Request(request)));
        }
        let waits = std::mem::take(&mut pending.expects) && used == 0;
        self.consume_keeping_begin(used);
        Ok(waits.then_some(Event::Continue))
    }

    fn find_head(&mut self) -> Result<Option<head::Head>, Reject> {
        let searched = self.searched as usize;
        let fresh = self.buf.get(searched..).unwrap_or_default();
        let line_end = fresh.iter().rposition(|b| *b == b'\n');
        let line_end = line_end.map(|at| searched.saturating_add(at));
        self.searched = u32::try_from(self.buf.len()).unwrap_or(u32::MAX);
        // Whole lines only: what is refused does not depend on where the bytes were cut.
        let lines = line_end.and_then(|at| self.buf.get(..=at));
        if let Some(head) = lines.map_or(Ok(None), head::parse)? {
            return Ok(Some(head));
        }
        head::too_large(&self.buf).map_or(Ok(None), Err)
    }

    /// Drops bytes at the end of a request; what is left begins the next one.
    fn consume(&mut self, n: usize, now_ns: u64) {
        self.consume_keeping_begin(n);
        self.begun_ns = if self.buf.is_empty() { 0 } else { now_ns.max(1) };
    }

    fn consume_keeping_begin(&mut self, n: usize) {
        self.searched = 0;
        if n >= self.buf.len() {
            self.buf.clear();
        } else {
            self.buf.drain(..n);
        }
    }
}
