//! Many streams over one connection, with credit for each and an order of urgency for all.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use std::collections::VecDeque;

use super::frame::{self, Decoder, Fault, Frame, Kind, Seal};
use super::hello::{Hello, Secret};
use crate::limits::{
    LINK_CREDIT_BYTES, LINK_DATA_BYTES_MAX, LINK_RAFT_QUEUE_BYTES_MAX, LINK_STREAMS_MAX,
};
use crate::stdx::BTreeMap;

/// Names a stream of one link. The side that dialled opens odd ones.
pub type StreamId = u32;

/// What a link has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The greeting is complete. Nothing else is told before.
    Up(Box<Hello>),
    Raft(Vec<u8>),
    Note(Vec<u8>),
    /// The peer began a stream.
    Opened(StreamId, Vec<u8>),
    Data(StreamId, Vec<u8>),
    /// The peer sends no more on it.
    End(StreamId),
    /// It is over.
    Reset(StreamId),
    /// More may be sent on it.
    Writable(StreamId),
    Pong,
}

impl Event {
    /// The stream that is under way and on which this happened.
    pub fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Data(id, _) | Self::End(id) | Self::Reset(id) | Self::Writable(id) => Some(*id),
            _ => None,
        }
    }
}

/// Invariant: a stream is in the table until both sides have ended it, or one has reset it.
#[derive(Debug)]
struct Stream {
    /// Bytes that may still be sent.
    credit: usize,
    /// Bytes that may still come.
    granted: usize,
    ended_here: bool,
    ended_there: bool,
}

#[derive(Debug)]
enum Phase {
    Hello,
    Proof,
    Up,
}

/// A frame that waits to be sent.
type Waiting = (Kind, StreamId, Vec<u8>);

#[derive(Debug)]
pub struct Link {
    dialled: bool,
    secret: Option<Secret>,
    own: Vec<u8>,
    peer: Vec<u8>,
    greeting: Option<Box<Hello>>,
    phase: Phase,
    input: Decoder,
    seal: Option<Seal>,
    streams: BTreeMap<StreamId, Stream>,
    next_stream: StreamId,
    raft: VecDeque<Vec<u8>>,
    raft_bytes: usize,
    control: VecDeque<Waiting>,
    bulk: VecDeque<Waiting>,
}

impl Link {
    /// A connection that has just been made. `own` goes out at once.
    pub fn new(own: &Hello, secret: Option<Secret>, dialled: bool) -> Self {
        let own = Hello { sealed: secret.is_some(), ..own.clone() }.encode();
        let mut link = Self {
            dialled,
            secret,
            own,
            peer: Vec::new(),
            greeting: None,
            phase: Phase::Hello,
            input: Decoder::default(),
            seal: None,
            streams: BTreeMap::new(),
            next_stream: if dialled { 1 } else { 2 },
            raft: VecDeque::new(),
            raft_bytes: 0,
            control: VecDeque::new(),
            bulk: VecDeque::new(),
        };
        link.control.push_back((Kind::Hello, 0, link.own.clone()));
        link
    }

    pub fn dialled(&self) -> bool {
        self.dialled
    }

    pub fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    /// Nothing runs over it.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// Takes bytes that came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.feed(bytes);
    }

    /// The next thing that the bytes so far mean.
    ///
    /// # Errors
    /// The peer breaks the rules: close the connection, nothing of it means anything any more.
    pub fn poll(&mut self) -> Result<Option<Event>, Fault> {
        loop {
            let Some(frame) = self.input.frame()? else { return Ok(None) };
            let event = match self.phase {
                Phase::Up => self.take(frame)?,
                Phase::Hello | Phase::Proof => self.greet(frame)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn greet(&mut self, frame: Frame) -> Result<Option<Event>, Fault> {
        match (&self.phase, frame.kind) {
            (Phase::Hello, Kind::Hello) => {
                let hello = Hello::decode(&frame.payload)?;
                if frame.payload == self.own {
                    return Err(Fault("talks to itself"));
                }
                if hello.sealed != self.secret.is_some() {
                    return Err(Fault("one side has no secret"));
                }
                self.peer = frame.payload;
                self.greeting = Some(Box::new(hello));
                let Some(secret) = &self.secret else { return Ok(self.up()) };
                self.control.push_back((Kind::Proof, 0, secret.proof(&self.own, &self.peer)));
                self.phase = Phase::Proof;
                Ok(None)
            }
            (Phase::Proof, Kind::Proof) => {
                let Some(secret) = &self.secret else { return Err(Fault("no proof expected")) };
                if !secret.proves(&self.peer, &self.own, &frame.payload) {
                    return Err(Fault("another secret"));
                }
                self.input.seal(secret.seal(&self.peer, &self.own));
                Ok(self.up())
            }
            _ => Err(Fault("greeting out of order")),
        }
    }

    fn up(&mut self) -> Option<Event> {
        self.phase = Phase::Up;
        self.input.greeted();
        self.greeting.take().map(Event::Up)
    }

    fn take(&mut self, frame: Frame) -> Result<Option<Event>, Fault> {
        let Frame { kind, stream: id, payload } = frame;
        Ok(match kind {
            Kind::Hello | Kind::Proof => return Err(Fault("greeting out of order")),
            Kind::Raft => Some(Event::Raft(payload)),
            Kind::Note => Some(Event::Note(payload)),
            Kind::Ping => {
                // One answer stands for all that wait.
                if self.control.back().is_none_or(|(kind, ..)| *kind != Kind::Pong) {
                    self.control.push_back((Kind::Pong, 0, Vec::new()));
                }
                None
            }
            Kind::Pong => Some(Event::Pong),
            Kind::Open => return self.opened(id, payload),
            Kind::Data => return self.data(id, payload),
            Kind::End => {
                let Some(stream) = self.streams.get_mut(&id) else { return Ok(None) };
                if std::mem::replace(&mut stream.ended_there, true) {
                    return Err(Fault("stream ended twice"));
                }
                self.settle(id);
                Some(Event::End(id))
            }
            Kind::Reset => self.streams.remove(&id).map(|_| Event::Reset(id)),
            Kind::Credit => {
                let more = payload.try_into().map(u32::from_le_bytes);
                let more = more.map_err(|_| Fault("credit is cut"))?;
                let Some(stream) = self.streams.get_mut(&id) else { return Ok(None) };
                stream.credit = stream.credit.saturating_add(more as usize);
                Some(Event::Writable(id))
            }
        })
    }

    fn opened(&mut self, id: StreamId, payload: Vec<u8>) -> Result<Option<Event>, Fault> {
        let theirs = (id & 1 == 1) != self.dialled;
        if id == 0 || !theirs || self.streams.contains_key(&id) {
            return Err(Fault("stream opened out of turn"));
        }
        if self.streams.len() >= LINK_STREAMS_MAX {
            self.control.push_back((Kind::Reset, id, Vec::new()));
            return Ok(None);
        }
        self.streams.insert(id, Stream::new());
        Ok(Some(Event::Opened(id, payload)))
    }

    fn data(&mut self, id: StreamId, payload: Vec<u8>) -> Result<Option<Event>, Fault> {
        // Of a stream that was reset meanwhile.
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(None) };
        if stream.ended_there {
            return Err(Fault("data behind the end of a stream"));
        }
        stream.granted =
            stream.granted.checked_sub(payload.len()).ok_or(Fault("data beyond the credit"))?;
        Ok(Some(Event::Data(id, payload)))
    }

    fn settle(&mut self, id: StreamId) {
        if self.streams.get(&id).is_some_and(|s| s.ended_here && s.ended_there) {
            self.streams.remove(&id);
        }
    }

    /// Sends a message of consensus, or drops it where the peer takes none: consensus sends again
    /// what matters.
    pub fn raft(&mut self, message: Vec<u8>) {
        let bytes = self.raft_bytes.saturating_add(message.len());
        if self.is_up() && (self.raft.is_empty() || bytes <= LINK_RAFT_QUEUE_BYTES_MAX) {
            self.raft_bytes = bytes;
            self.raft.push_back(message);
        }
    }

    pub fn note(&mut self, note: Vec<u8>) {
        if self.is_up() {
            self.control.push_back((Kind::Note, 0, note));
        }
    }

    pub fn ping(&mut self) {
        if self.is_up() {
            self.control.push_back((Kind::Ping, 0, Vec::new()));
        }
    }

    /// Begins a stream; `None` where the link is not up or holds too many.
    pub fn open(&mut self, what: Vec<u8>) -> Option<StreamId> {
        if !self.is_up() || self.streams.len() >= LINK_STREAMS_MAX {
            return None;
        }
        let id = self.next_stream;
        self.next_stream = id.checked_add(2)?;
        self.streams.insert(id, Stream::new());
        self.control.push_back((Kind::Open, id, what));
        Some(id)
    }

    /// Bytes that may be sent on a stream now.
    pub fn credit(&self, id: StreamId) -> usize {
        self.streams.get(&id).filter(|s| !s.ended_here).map_or(0, |s| s.credit)
    }

    /// Sends as much of `bytes` as there is credit for; how much that was.
    pub fn send(&mut self, id: StreamId, bytes: &[u8]) -> usize {
        let n = self.credit(id).min(bytes.len());
        let Some(stream) = self.streams.get_mut(&id) else { return 0 };
        stream.credit = stream.credit.saturating_sub(n);
        for piece in bytes.get(..n).unwrap_or_default().chunks(LINK_DATA_BYTES_MAX) {
            self.bulk.push_back((Kind::Data, id, piece.to_vec()));
        }
        n
    }

    /// Nothing more is sent on a stream.
    pub fn end(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if !std::mem::replace(&mut stream.ended_here, true) {
            self.bulk.push_back((Kind::End, id, Vec::new()));
            self.settle(id);
        }
    }

    /// Ends a stream at once; what waits of it is not sent.
    pub fn reset(&mut self, id: StreamId) {
        if self.streams.remove(&id).is_some() {
            self.bulk.retain(|(_, stream, _)| *stream != id);
            self.control.push_back((Kind::Reset, id, Vec::new()));
        }
    }

    /// Data of a stream was used up: so much more may come.
    pub fn grant(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.ended_there) else { return };
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes > 0 {
            stream.granted = stream.granted.saturating_add(bytes as usize);
            self.control.push_back((Kind::Credit, id, bytes.to_le_bytes().to_vec()));
        }
    }

    pub fn has_output(&self) -> bool {
        !self.raft.is_empty() || !self.control.is_empty() || !self.bulk.is_empty()
    }

    /// Puts frames into `out` until it holds about `most` bytes, the most urgent first.
    pub fn fill(&mut self, out: &mut Vec<u8>, most: usize) {
        while out.len() < most {
            // The greeting comes before all else.
            let greeting = self
                .control
                .front()
                .is_some_and(|(kind, ..)| matches!(kind, Kind::Hello | Kind::Proof));
            let (kind, id, payload) = if !greeting && let Some(message) = self.raft.pop_front() {
                self.raft_bytes = self.raft_bytes.saturating_sub(message.len());
                (Kind::Raft, 0, message)
            } else if let Some(waiting) = self.control.pop_front().or_else(|| self.bulk.pop_front())
            {
                waiting
            } else {
                return;
            };
            frame::write(kind, id, &payload, self.seal.as_mut(), out);
            if kind == Kind::Proof
                && let Some(secret) = &self.secret
            {
                self.seal = Some(secret.seal(&self.own, &self.peer));
            }
        }
    }
}

impl Stream {
    fn new() -> Self {
        let (credit, granted) = (LINK_CREDIT_BYTES, LINK_CREDIT_BYTES);
        Self { credit, granted, ended_here: false, ended_there: false }
    }
}
