//! Requests that another agent answers, and those that this one answers for others.
//!
//! A request goes as the bytes that it is into a stream of the link to the agent that can answer
//! it, and is read there by the same code that reads sockets; what comes back is copied to the
//! client as it is. Blocking queries and streams need nothing more. A number counts the agents on
//! the way, so that two that take each other for the leader do not play ball.

use super::core::Core;
use super::front::Front;
use super::serve::{self, Form};
use super::sock::{Relayed, Sock, State, Via};
use crate::api::ApiError;
use crate::http::{Method, Query, Request};
use crate::limits::{LEADER_WAIT_NS, OUT_BYTES_MAX, RELAY_HOPS_MAX};
use crate::link::{Event, StreamId, words};
use crate::routes::Answer;
use crate::routes::table::{Need, find};
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::store::Reader;

/// First word of a stream that carries a request.
pub(super) const HTTP: &[u8] = b"http";

/// Third word: the peer wants to answer the request itself, and asks whether its caller may.
const BACK: &[u8] = b"back";

/// Whether a request needs no right.
fn is_open(req: &Request) -> bool {
    find(req.path()).is_none_or(|(route, _)| route.need == Need::Open)
}

/// Where a request is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Here,
    /// Here, once it is certain that this server still leads.
    Confirm,
    Link(Key),
    /// By a node, which does not know who may ask.
    Node(Key),
    /// By the leader, when there is one.
    Wait,
    /// The node that could answer is not reached.
    NoPath,
}

impl Front {
    /// Sends a request to where it is answered.
    pub(super) fn route(
        &mut self,
        key: Key,
        form: Form,
        req: Box<Request>,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let (hops, back) = match self.socks.get(key) {
            Some(Sock { via: Via::Link { hops, back, link, .. }, .. }) => {
                (*hops, back.then_some(*link))
            }
            Some(_) => (0, None),
            None => return,
        };
        let target = match back {
            Some(link) => Target::Node(link),
            None => core.target(&req, hops > 0, reader),
        };
        match target {
            Target::Here if hops == 0 && core.guarded && !is_open(&req) => {
                match core.to_some_server() {
                    Target::Link(link) => self.relay(key, form, req, (link, true), 1, core),
                    _ => self.park(key, form, req, now.mono_ns + LEADER_WAIT_NS),
                }
            }
            Target::Here => self.serve(key, form, *req, now, reader, core),
            Target::Confirm => {
                let token = self.next_read;
                self.next_read += 1;
                self.reading.insert(token, (key, form, req));
                if let Some(sock) = self.socks.get_mut(key) {
                    sock.state = State::Reading(token);
                }
                core.read_index(now, reader, token);
            }
            Target::Link(_) | Target::Node(_) if hops >= RELAY_HOPS_MAX => {
                let e = ApiError::failed("the request was passed on too often");
                self.answer(key, form, e.into(), &core.info);
            }
            Target::Link(link) => self.relay(key, form, req, (link, false), hops + 1, core),
            Target::Node(link) => {
                let (info, entropy) = core.for_routes();
                match serve::vouch(now, reader, info, entropy, &req) {
                    Some(answer) => self.answer(key, form, answer, &core.info),
                    None => self.relay(key, form, req, (link, false), hops + 1, core),
                }
            }
            Target::Wait => self.park(key, form, req, now.mono_ns + LEADER_WAIT_NS),
            Target::NoPath => {
                let e = ApiError::not_found("No path to node");
                self.answer(key, form, e.into(), &core.info);
            }
        }
    }

    /// A node speaks to this leader.
    pub(super) fn node_call(
        &mut self,
        key: Key,
        form: Form,
        req: &Request,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let node = Query::new(req.query()).get("id").unwrap_or_default().into_owned();
        let secret = req.token.as_deref().unwrap_or_default();
        match core.node_call(now, reader, (key, form), (&node, secret), &req.body) {
            Some(answer) => self.answer(key, form, answer, &core.info),
            None => {
                if let Some(sock) = self.socks.get_mut(key) {
                    sock.state = State::Proposed;
                }
            }
        }
    }

    fn park(&mut self, key: Key, form: Form, req: Box<Request>, until: u64) {
        self.parked.push_back((key, until, form, req));
        if let Some(sock) = self.socks.get_mut(key) {
            sock.state = State::Parked;
        }
    }

    fn relay(
        &mut self,
        key: Key,
        form: Form,
        req: Box<Request>,
        (to, back): (Key, bool),
        hops: u64,
        core: &mut Core,
    ) {
        let hops = hops.to_le_bytes();
        let what = match back {
            true => words::join(&[HTTP, &hops, BACK]),
            false => words::join(&[HTTP, &hops]),
        };
        let link = core.mesh.link(to);
        let opened = link.and_then(|link| link.open(what).map(|stream| (link, stream)));
        let Some((link, stream)) = opened else {
            let e = ApiError::failed("No cluster leader");
            return self.answer(key, form, e.into(), &core.info);
        };
        let mut rest = Vec::new();
        req.write(&mut rest);
        rest.drain(..link.send(stream, &rest));
        self.streams.insert((to, stream), key);
        let request = matches!(req.method, Method::Get | Method::Head).then_some(req);
        let relayed = Relayed { link: to, stream, form, rest, request, begun: false, owed: 0 };
        if let Some(sock) = self.socks.get_mut(key) {
            sock.state = State::Relayed(Box::new(relayed));
        }
    }

    /// The peer began a stream that carries a request; `words`: what it says of it.
    pub(super) fn stream_opened(
        &mut self,
        link: Key,
        stream: StreamId,
        words: &mut words::Words<'_>,
        now: Now,
    ) -> Option<()> {
        let hops = words.u64()?;
        let back = words.bytes() == Some(BACK);
        let via = Via::Link { link, stream, hops: hops.max(1), back };
        let key = self.socks.insert(Sock::new(via, None, now));
        self.streams.insert((link, stream), key);
        Some(())
    }

    /// Something happened on a stream. True where it is one of a request.
    pub(super) fn stream_event(
        &mut self,
        link: Key,
        event: &Event,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) -> bool {
        let (Event::Data(id, _) | Event::End(id) | Event::Reset(id) | Event::Writable(id)) = event
        else {
            return false;
        };
        let Some(key) = self.streams.get(&(link, *id)).copied() else { return false };
        let Some(sock) = self.socks.get_mut(key) else { return true };
        match (&mut sock.state, event) {
            (State::Relayed(relayed), Event::Data(_, bytes)) if relayed.is(link, *id) => {
                relayed.begun = true;
                relayed.request = None;
                relayed.owed += bytes.len();
                sock.out.copy(bytes);
                self.flush(key, now, core);
            }
            (State::Relayed(relayed), Event::Writable(_)) if relayed.is(link, *id) => {
                if let Some(link) = core.mesh.link(link) {
                    relayed.rest.drain(..link.send(*id, &relayed.rest));
                }
            }
            (State::Relayed(relayed), Event::End(_)) if relayed.is(link, *id) => {
                let (form, begun) = (relayed.form, relayed.begun);
                if let Some(link) = core.mesh.link(link) {
                    link.end(*id);
                }
                self.streams.remove(&(link, *id));
                sock.state = State::Idle;
                sock.closing |= !form.keep_alive || sock.via.is_link();
                if !begun {
                    let e = ApiError::failed("the answer did not come");
                    self.answer(key, form, e.into(), &core.info);
                }
                self.resume(key, now, reader, core);
            }
            (State::Relayed(relayed), Event::Reset(_)) if relayed.is(link, *id) => {
                self.streams.remove(&(link, *id));
                self.cut(key, now, reader, core);
            }
            (_, Event::Data(_, bytes)) => {
                sock.conn.feed(now.mono_ns, bytes);
                if let Some(link) = core.mesh.link(link) {
                    link.grant(*id, bytes.len());
                }
                self.advance(key, now, reader, core);
                self.flush(key, now, core);
            }
            (_, Event::Writable(_)) => self.flush(key, now, core),
            (_, Event::Reset(_)) => self.close(key, core),
            // Nobody asks twice on one stream.
            (_, _) => {}
        }
        true
    }

    /// The agent that was to answer is gone.
    fn cut(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Relayed(relayed) = std::mem::take(&mut sock.state) else { return };
        if relayed.begun {
            return self.close(key, core);
        }
        match relayed.request {
            Some(request) => self.route(key, relayed.form, request, now, reader, core),
            None => {
                let text = "connection to the leader was lost, the outcome is not known";
                self.answer(key, relayed.form, ApiError::failed(text).into(), &core.info);
            }
        }
        self.resume(key, now, reader, core);
    }

    /// A link is down: whatever ran over it ends, or is asked again elsewhere.
    pub(super) fn link_lost(&mut self, link: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let gone: Vec<_> = self.streams.range((link, 0)..=(link, StreamId::MAX)).collect();
        let gone: Vec<_> = gone.into_iter().map(|((_, id), key)| (*id, *key)).collect();
        for (id, key) in gone {
            self.streams.remove(&(link, id));
            match self.socks.get(key) {
                Some(sock) if sock.via_is(link, id) => self.close(key, core),
                Some(_) => self.cut(key, now, reader, core),
                None => {}
            }
        }
    }

    /// Reads that consensus has decided about, and requests that have waited for a leader.
    pub(super) fn settle(&mut self, now: Now, reader: Reader<'_>, core: &mut Core) {
        let (served, lost) = core.take_reads();
        for token in served {
            if let Some((key, form, req)) = self.reading.remove(&token) {
                self.unpark(key);
                self.serve(key, form, *req, now, reader, core);
                self.resume(key, now, reader, core);
            }
        }
        for token in lost {
            if let Some((key, form, req)) = self.reading.remove(&token) {
                self.unpark(key);
                self.route(key, form, req, now, reader, core);
                self.resume(key, now, reader, core);
            }
        }
        let waiting = core.info.leader_addr.is_none();
        for _ in 0..self.parked.len() {
            let Some((key, until, form, req)) = self.parked.pop_front() else { break };
            if until <= now.mono_ns {
                self.unpark(key);
                let answer: Answer = ApiError::failed("No cluster leader").into();
                self.answer(key, form, answer, &core.info);
                self.resume(key, now, reader, core);
            } else if waiting || core.target(&req, false, reader) == Target::Wait {
                self.parked.push_back((key, until, form, req));
            } else {
                self.unpark(key);
                self.route(key, form, req, now, reader, core);
                self.resume(key, now, reader, core);
            }
        }
    }

    fn unpark(&mut self, key: Key) {
        if let Some(sock) = self.socks.get_mut(key) {
            sock.state = State::Idle;
        }
    }

    /// When a request has waited for a leader for long enough.
    pub(super) fn parked_until(&self) -> Option<u64> {
        self.parked.iter().map(|(_, until, ..)| *until).min()
    }

    /// The client has taken of an answer what came of it: more may come.
    pub(super) fn repay(&mut self, key: Key, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Relayed(relayed) = &mut sock.state else { return };
        if relayed.owed > 0 && sock.out.len() < OUT_BYTES_MAX {
            let owed = std::mem::take(&mut relayed.owed);
            if let Some(link) = core.mesh.link(relayed.link) {
                link.grant(relayed.stream, owed);
            }
        }
    }

    /// All of an answer is on its way over the link.
    pub(super) fn finish_stream(&mut self, key: Key, core: &mut Core) {
        if let Some(Sock { via: Via::Link { link, stream, .. }, .. }) = self.socks.get(key) {
            let (link, stream) = (*link, *stream);
            self.streams.remove(&(link, stream));
            if let Some(link) = core.mesh.link(link) {
                link.end(stream);
            }
        }
        self.close(key, core);
    }

    /// Ends a stream of which nobody wants to know any more, unless it has ended.
    pub(super) fn drop_stream(&mut self, to: Key, stream: StreamId, core: &mut Core) {
        if self.streams.remove(&(to, stream)).is_some()
            && let Some(link) = core.mesh.link(to)
        {
            link.reset(stream);
        }
    }
}

impl Sock {
    /// Runs over this stream, as against being answered over it.
    fn via_is(&self, of: Key, id: StreamId) -> bool {
        matches!(self.via, Via::Link { link, stream, .. } if (link, stream) == (of, id))
    }
}

impl Relayed {
    fn is(&self, link: Key, stream: StreamId) -> bool {
        (self.link, self.stream) == (link, stream)
    }
}
