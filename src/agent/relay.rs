//! Requests that another agent answers, and those that this one answers for others.
//!
//! A request goes as the bytes that it is into a stream of the link to the agent that can answer
//! it, and is read there by the same code that reads sockets; what comes back is copied to the
//! client as it is. Blocking queries and streams need nothing more. A number counts the agents on
//! the way, so that two that take each other for the leader do not play ball.

use super::core::Core;
use super::front::Front;
use super::remote;
use super::serve::{self, Form};
use super::sock::{Relayed, Sock, State, Via};
use crate::api::ApiError;
use crate::http::{Method, Query, Request, reply};
use crate::limits::{
    EXEC_INPUT_BYTES_MAX, LEADER_SILENCE_NS, LEADER_WAIT_NS, OUT_BYTES_MAX, RELAY_HOPS_MAX,
    VOLUME_ANSWER_MAX,
};
use crate::link::{Event, StreamId, words};
use crate::routes::table::{Need, VOLUME, find};
use crate::routes::{Answer, OnNode, Then};
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::store::{Reader, Table, keys};

/// First word of a stream that carries a request.
pub(super) const HTTP: &[u8] = b"http";

/// Third word: the peer wants to answer the request itself, and asks whether its caller may.
const BACK: &[u8] = b"back";

/// Whether a request needs no right.
fn is_open(req: &Request) -> bool {
    find(req.path()).is_none_or(|(route, _)| route.need == Need::Open)
}

/// Where a request is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Here,
    /// Here, once it is certain that this server still leads.
    Confirm,
    Link(Key),
    /// By a region that is reached by its address.
    Region(String),
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
                    None => {
                        let guards = core.info.acl.enabled && req.method == Method::Get;
                        let asked = guards.then(|| req.clone());
                        self.relay(key, form, req, (link, false), hops + 1, core);
                        if let Some(asked) = asked {
                            self.guard(key, asked, now, reader, core);
                        }
                    }
                }
            }
            Target::Region(region) => self.send_abroad(key, form, *req, region, now, core),
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
        let q = Query::new(req.query());
        let node = q.get("id").unwrap_or_default().into_owned();
        let secret = req.token.as_deref().unwrap_or_default();
        if let Some(alloc) = q.get("sign") {
            let signed = core.sign_for(now, reader, (&node, secret), &alloc);
            let answer = signed.map_or_else(Answer::from, |answer| answer.index(0));
            return self.answer(key, form, answer, &core.info);
        }
        let proof = (&*node, secret, &*q.get("intro").unwrap_or_default());
        match core.node_call(now, reader, (key, form), proof, &req.body) {
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

    /// A request is served in a later turn, once what it sees is durable.
    pub(super) fn put_off(&mut self, key: Key, form: Form, req: Request) {
        self.early.push((key, form, Box::new(req)));
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
        hops: u8,
        core: &mut Core,
    ) {
        let hops = u64::from(hops).to_le_bytes();
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
        req.write("vardo", &mut rest);
        let mut sock = self.socks.get_mut(key);
        if let Some(sock) = sock.as_mut().filter(|_| req.upload.is_some()) {
            // The rest of the body goes the same way, as it is.
            rest.extend(sock.conn.take_rest());
            if sock.conn.begin_upload() {
                sock.out.copy(reply::CONTINUE);
            }
        }
        let session = sock.and_then(|sock| sock.ws.as_mut());
        let is_session = session.is_some();
        // What the caller has sent behind its request is not sent twice.
        rest.extend(session.into_iter().flat_map(|s| s.take_rest()));
        rest.drain(..link.send(stream, &rest));
        self.streams.insert((to, stream), key);
        let mut form = form;
        form.keep_alive &= req.upload.is_none();
        let again = !is_session && matches!(req.method, Method::Get | Method::Head);
        let request = again.then_some(req);
        let relayed =
            Relayed { link: to, stream, form, rest, request, then: None, begun: false, owed: 0 };
        if let Some(sock) = self.socks.get_mut(key) {
            sock.state = State::Relayed(Box::new(relayed));
        }
    }

    /// Has a node do something before a request goes on.
    pub(super) fn on_node(
        &mut self,
        key: Key,
        form: Form,
        ask: OnNode,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let OnNode { node, body, then } = ask;
        if node == core.info.node_id {
            if let Some(sock) = self.socks.get_mut(key) {
                sock.state = State::Client;
            }
            return core.ask_volume(key, form, body, then, now);
        }
        let id = keys::by_uuid(&node).unwrap_or_default();
        let secret = reader.secret(Table::Node, &id).ok().flatten().unwrap_or_default();
        let to = core.mesh.to_node(id);
        let hops = 1u64.to_le_bytes();
        let link = to.and_then(|to| core.mesh.link(to).map(|link| (to, link)));
        let opened =
            link.and_then(|(to, l)| l.open(words::join(&[HTTP, &hops])).map(|id| (to, l, id)));
        let Some((to, link, stream)) = opened else {
            let e = ApiError::failed("No path to node");
            return self.node_did(key, form, then, Err(e), now, reader, core);
        };
        let mut rest = format!(
            "PUT {VOLUME} HTTP/1.1\r\nHost: vardo\r\nX-Nomad-Token: {secret}\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        rest.extend_from_slice(&body);
        rest.drain(..link.send(stream, &rest));
        self.streams.insert((to, stream), key);
        let (request, then) = (None, Some((then, Vec::new())));
        let relayed =
            Relayed { link: to, stream, form, rest, request, then, begun: false, owed: 0 };
        if let Some(sock) = self.socks.get_mut(key) {
            sock.state = State::Relayed(Box::new(relayed));
        }
    }

    /// The node has answered, or could not be asked.
    fn node_did(
        &mut self,
        key: Key,
        form: Form,
        then: Then,
        answer: Result<Vec<u8>, ApiError>,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        match then.run(answer) {
            Ok((command, reply)) => {
                core.propose_for(key, form, *command, reply);
                if let Some(sock) = self.socks.get_mut(key) {
                    sock.state = State::Proposed;
                }
            }
            Err(e) => {
                self.answer(key, form, e.into(), &core.info);
                self.resume(key, now, reader, core);
            }
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
        let hops = u8::try_from(words.u64()?.max(1)).unwrap_or(u8::MAX);
        let back = words.bytes() == Some(BACK);
        let via = Via::Link { link, stream, hops, back, owed: 0 };
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
        let Some(id) = event.stream() else { return false };
        let Some(key) = self.streams.get(&(link, id)).copied() else { return false };
        let Some(sock) = self.socks.get_mut(key) else { return true };
        match (&mut sock.state, event) {
            (State::Relayed(relayed), Event::Data(_, bytes))
                if relayed.is(link, id) && relayed.then.is_some() =>
            {
                if let Some((_, came)) = &mut relayed.then
                    && came.len() < VOLUME_ANSWER_MAX
                {
                    came.extend_from_slice(bytes);
                }
                if let Some(link) = core.mesh.link(link) {
                    link.grant(id, bytes.len());
                }
            }
            (State::Relayed(relayed), Event::Data(_, bytes)) if relayed.is(link, id) => {
                relayed.begun = true;
                relayed.request = None;
                relayed.owed += bytes.len();
                sock.out.copy(bytes);
                self.flush(key, now, core);
            }
            (State::Relayed(relayed), Event::Writable(_)) if relayed.is(link, id) => {
                if sock.ws.is_some() || sock.conn.is_uploading() {
                    self.pass_on(key, core);
                } else if let Some(link) = core.mesh.link(link) {
                    relayed.rest.drain(..link.send(id, &relayed.rest));
                }
            }
            (State::Relayed(relayed), Event::End(_)) if relayed.is(link, id) => {
                let (form, begun, then) = (relayed.form, relayed.begun, relayed.then.take());
                if let Some(link) = core.mesh.link(link) {
                    link.end(id);
                }
                self.streams.remove(&(link, id));
                sock.state = State::Idle;
                if let Some((then, came)) = then {
                    self.node_did(key, form, then, node_answer(&came), now, reader, core);
                    return true;
                }
                sock.closing |= !form.keep_alive || sock.via.is_link();
                sock.linger |= sock.conn.is_uploading();
                if !begun {
                    let e = ApiError::failed("the answer did not come");
                    self.answer(key, form, e.into(), &core.info);
                }
                self.resume(key, now, reader, core);
            }
            (State::Relayed(relayed), Event::Reset(_)) if relayed.is(link, id) => {
                self.streams.remove(&(link, id));
                self.cut(key, now, reader, core);
            }
            (_, Event::Data(_, bytes)) if sock.ws.is_some() => {
                self.feed_session(key, bytes, now, reader, core);
            }
            (State::Relayed(relayed), Event::Data(_, bytes)) if sock.conn.is_uploading() => {
                relayed.rest.extend_from_slice(bytes);
                sock.via.owe(bytes.len());
                self.pass_on(key, core);
            }
            (State::Region(id), Event::Data(_, bytes)) if sock.conn.is_uploading() => {
                self.regions.take_input(*id, bytes);
                sock.via.owe(bytes.len());
                self.move_region(key, now, reader, core);
            }
            (_, Event::Data(_, bytes)) => {
                sock.conn.feed(now.mono_ns, bytes);
                if let Some(link) = core.mesh.link(link) {
                    link.grant(id, bytes.len());
                }
                self.advance(key, now, reader, core);
                self.upload(key, now, core);
                self.flush(key, now, core);
            }
            (_, Event::Writable(_)) => {
                self.flush(key, now, core);
                self.pump(key, now, core);
                self.move_exec(key, now, core);
                self.flush(key, now, core);
            }
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
        if let Some((then, _)) = relayed.then {
            let lost = ApiError::failed("the connection to the node was lost");
            self.node_did(key, relayed.form, then, Err(lost), now, reader, core);
            return;
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
        self.follow_leader(now, reader, core);
        if !core.is_holding() {
            for (key, form, req) in std::mem::take(&mut self.early) {
                self.unpark(key);
                self.serve(key, form, *req, now, reader, core);
                self.resume(key, now, reader, core);
            }
        }
        core.keyed_now = false;
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

    /// Another server leads: what waits for an answer of the last one, of which nothing is heard
    /// any more, does not wait until its link is given up.
    fn follow_leader(&mut self, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(leader) = core.consensus.raft().leader() else { return };
        let link = core.mesh.to_server(leader);
        if link == self.led_over {
            return;
        }
        let Some(old) = std::mem::replace(&mut self.led_over, link) else { return };
        if core.mesh.silent_ns(old, now) < LEADER_SILENCE_NS {
            return;
        }
        let over = self.streams.range((old, 0)..=(old, StreamId::MAX));
        let over: Vec<_> = over.map(|((_, id), key)| (*id, *key)).collect();
        for (id, key) in over {
            let waits = |s: &Sock| match &s.state {
                State::Relayed(r) => r.is(old, id) && !r.begun,
                _ => false,
            };
            if self.socks.get(key).is_some_and(waits) {
                self.drop_stream(old, id, core);
                self.cut(key, now, reader, core);
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

/// What a node said, from the bytes of its answer.
fn node_answer(came: &[u8]) -> Result<Vec<u8>, ApiError> {
    match remote::parse(came) {
        Some((200, _, body)) => Ok(body.to_vec()),
        Some((_, _, body)) => Err(ApiError::failed(String::from_utf8_lossy(body).into_owned())),
        None => Err(ApiError::failed("the answer of the node did not come")),
    }
}

impl Sock {
    /// Runs over this stream, as against being answered over it.
    fn via_is(&self, of: Key, id: StreamId) -> bool {
        matches!(self.via, Via::Link { link, stream, .. } if (link, stream) == (of, id))
    }
}

impl Relayed {
    /// More of a request may come.
    pub(super) fn has_room(&self) -> bool {
        self.rest.len() < EXEC_INPUT_BYTES_MAX
    }

    fn is(&self, link: Key, stream: StreamId) -> bool {
        (self.link, self.stream) == (link, stream)
    }
}
