//! The HTTP side of the loop: listeners, connections, held queries, and the bytes that go out.
//!
//! Knows sockets and answers, not what they mean; see `serve` for that. All reads of one turn are
//! answered from one snapshot and leave at once: they depend on nothing that is still to be
//! committed. Answers to writes come back through [`Front::answer`] after the commit.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;

use mio::Registry;
use mio::net::TcpListener;

use super::core::Core;
use super::door::{Door, NOT_ENCRYPTED, Secured};
use super::events::Events;
use super::exec::Execs;
use super::facts;
use super::fetch::Fetches;
use super::files::OpenStream;
use super::long_list::LongList;
use super::metrics::Meters;
use super::regions::Regions;
use super::serve::{self, Form, Verdict};
use super::sock::{Sock, State, Via};
use super::watch::Watches;
use crate::api::ApiError;
use crate::http::conn::Event;
use crate::http::gzip::Gzip;
use crate::http::{Method, Request, reply};
use crate::limits::{
    LINGER_BYTES_MAX, LINGER_NS, OUT_STALL_NS, READ_BYTES, TLS_HANDSHAKES_PER_TURN,
    WAIT_JITTER_DIVISOR, WAKES_PER_TURN,
};
use crate::link::StreamId;
use crate::routes::metrics::Telemetry;
use crate::routes::table::{EVENTS, NODE, Place, REPLICA, VOLUME, place};
use crate::routes::{Answer, Outcome, is_session, is_upload};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::wheel::Wheel;
use crate::stdx::{BTreeMap, Now};
use crate::store::{Reader, Table, Touched};
use crate::tls::Session;

/// Timers of connections.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// A blocking query has waited long enough.
    Held(Key),
    /// A head, a body or a reader is too slow.
    Slow(Key),
    /// Look whether a followed file has grown.
    Stream(Key),
    /// An event stream may have been silent for long.
    Beat(Key),
    /// A crowd of readers is to be told what has changed.
    Tell,
    /// The token of a stream ends.
    Rights(Key),
    /// The last output of a command was waited for.
    Exec(Key),
    /// A document does not come in time.
    Fetch(Key),
    /// A region takes too long.
    Region(Key),
    /// Accept again after the system ran out of descriptors.
    Accept,
}

pub(super) struct Front {
    pub(super) door: Door,
    pub(super) socks: Slab<Sock>,
    /// Connections by the stream of a link that they run or are answered over.
    pub(super) streams: BTreeMap<(Key, StreamId), Key>,
    /// Requests that wait for a leader, and until when.
    pub(super) parked: VecDeque<(Key, u64, Form, Box<Request>)>,
    /// Requests that see what is not durable yet: they are served after the commit.
    pub(super) early: Vec<(Key, Form, Box<Request>)>,
    /// Reads that wait for proof that this server leads.
    pub(super) reading: BTreeMap<u64, (Key, Form, Box<Request>)>,
    pub(super) next_read: u64,
    /// The link to the last leader that was known; `None`: it was this server.
    pub(super) led_over: Option<Key>,
    pub(super) wheel: Wheel<Timer>,
    watches: Watches,
    long_list: LongList,
    pub(super) events: Events,
    pub(super) execs: Execs,
    pub(super) fetches: Fetches,
    pub(super) regions: Regions,
    runnable: VecDeque<Key>,
    gzip: Gzip,
    /// From the configuration, on every answer of a handler.
    pub(super) headers: Vec<(String, String)>,
    pub(super) buf: Box<[u8]>,
    /// What encrypted bytes mean, for as long as they are looked at.
    pub(super) plain: Vec<u8>,
    /// Handshakes that may still go on in this turn.
    handshakes: usize,
    pub(super) head: Vec<u8>,
    pub(super) meters: Meters,
}

impl Front {
    pub(super) fn new(
        listeners: Vec<TcpListener>,
        headers: Vec<(String, String)>,
        per_client_max: u32,
        events_kept: usize,
        telemetry: Telemetry,
    ) -> Self {
        Self {
            door: Door::new(listeners, per_client_max),
            socks: Slab::default(),
            streams: BTreeMap::new(),
            parked: VecDeque::new(),
            early: Vec::new(),
            reading: BTreeMap::new(),
            next_read: 0,
            led_over: None,
            wheel: Wheel::new(),
            watches: Watches::default(),
            long_list: LongList::default(),
            events: Events::new(events_kept),
            execs: Execs::default(),
            fetches: Fetches::default(),
            regions: Regions::default(),
            runnable: VecDeque::new(),
            gzip: Gzip::new(),
            headers,
            buf: vec![0; READ_BYTES].into_boxed_slice(),
            plain: Vec::new(),
            handshakes: TLS_HANDSHAKES_PER_TURN,
            head: Vec::new(),
            meters: Meters::new(telemetry),
        }
    }

    /// Settings that may change while connections are open.
    pub(super) fn configure(&mut self, headers: Vec<(String, String)>, per_client_max: u32) {
        self.headers = headers;
        self.door.per_client_max = per_client_max;
    }

    /// How connections are encrypted from now on. Those that are open stay as they are.
    pub(super) fn secure(&mut self, secured: Option<Secured>) {
        self.door.secured = secured;
    }

    /// # Errors
    /// Those of the poll.
    pub(super) fn register(&mut self, registry: &Registry) -> std::io::Result<()> {
        self.door.register(registry)?;
        self.execs.registry = Some(registry.try_clone()?);
        Ok(())
    }

    /// Mono ns at which a timer of a connection is due.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    /// Something is left to do without a new event.
    pub(super) fn has_runnable(&self) -> bool {
        !self.runnable.is_empty()
            || !self.early.is_empty()
            || self.watches.any_ready()
            || self.events.rights_moved
            || self.events.has_due()
            || self.fetches.has_work()
            || self.regions.has_news()
    }
}

impl Front {
    /// Something happened on a connection.
    pub(super) fn ready(
        &mut self,
        index: usize,
        readable: bool,
        hung_up: bool,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let Some(key) = u32::try_from(index).ok().and_then(|i| self.socks.key_at(i)) else {
            return;
        };
        let waits = |s: &Sock| {
            match &s.state {
                // What a node has been asked to do is written, whoever still wants to know.
                State::Relayed(relayed) => relayed.then.is_none(),
                state => matches!(
                    state,
                    State::Held(..)
                        | State::Streaming(_)
                        | State::Events(_)
                        | State::Greeting(_)
                        | State::Exec(_)
                        | State::Region(_)
                        | State::Parked
                        | State::Reading(_)
                        | State::Fetching
                ),
            }
        };
        if hung_up && self.socks.get(key).is_some_and(waits) {
            // Nobody is left to wait for the answer.
            self.close(key, core);
            return;
        }
        if readable {
            self.read(key, now, reader, core);
        }
        let reads_events = |s: &Sock| matches!(s.state, State::Events(_));
        if self.events.is_crowd() && self.socks.get(key).is_some_and(reads_events) {
            return self.run_later(key);
        }
        self.flush(key, now, core);
        match self.socks.get(key).map(|s| &s.state) {
            Some(State::Events(_)) => {
                self.tell(key);
                self.flush(key, now, core);
            }
            Some(State::Exec(_)) => {
                self.move_exec(key, now, core);
                self.flush(key, now, core);
            }
            Some(State::Streaming(_)) => self.pump(key, now, core),
            _ => {}
        }
    }

    /// Reads once and answers what is complete. A short read means that the socket is empty: the
    /// next bytes raise a new event, so the call that would only say so is saved.
    fn read(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        if sock.ws.is_some() && !matches!(sock.state, State::Lingering(_)) {
            return self.read_session(key, now, reader, core);
        }
        let relays = match &sock.state {
            State::Idle | State::Lingering(_) | State::Uploading(_) => false,
            State::Relayed(relayed) if sock.conn.is_uploading() && relayed.has_room() => true,
            State::Region(id) if sock.conn.is_uploading() && self.regions.has_room(*id) => true,
            _ => {
                sock.unread = true;
                return;
            }
        };
        let Via::Socket(channel) = &mut sock.via else { return };
        let handshake = !channel.is_ready();
        if handshake && self.handshakes == 0 {
            sock.unread = true;
            return self.run_later(key);
        }
        self.handshakes -= usize::from(handshake);
        sock.unread = false;
        let ended;
        match channel.read(&mut self.buf, &mut self.plain) {
            Ok((0, _)) => {
                if sock.is_sent() || matches!(sock.state, State::Lingering(_)) {
                    self.close(key, core);
                } else {
                    sock.closing = true;
                }
                return;
            }
            Ok((n, _)) if let State::Lingering(left) = sock.state => {
                match left.checked_sub(n) {
                    Some(left) => {
                        sock.state = State::Lingering(left);
                        sock.unread = true;
                        self.run_later(key);
                    }
                    None => self.close(key, core),
                }
                return;
            }
            Ok((n, bytes)) => {
                match &mut sock.state {
                    State::Relayed(relayed) if relays => relayed.rest.extend_from_slice(bytes),
                    State::Region(id) if relays => self.regions.take_input(*id, bytes),
                    _ => sock.conn.feed(now.mono_ns, bytes),
                }
                if !channel.is_ready() {
                    return;
                }
                ended = channel.session().is_some_and(Session::peer_closed);
                if handshake && let Some(timer) = sock.timer.take() {
                    self.wheel.cancel(timer);
                }
                if n == READ_BYTES {
                    sock.unread = true;
                    self.run_later(key);
                }
            }
            Err(e) if e.kind() == ErrorKind::InvalidData => {
                if channel.session().is_some_and(Session::is_fresh) {
                    channel.set_tls(None);
                    sock.out.copy(NOT_ENCRYPTED);
                    (sock.closing, sock.linger) = (true, true);
                    return;
                }
                log::debug!("a client's connection ends: {e}");
                return self.close(key, core);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                sock.unread = true;
                self.run_later(key);
                return;
            }
            Err(_) => {
                self.close(key, core);
                return;
            }
        }
        self.advance(key, now, reader, core);
        self.upload(key, now, core);
        if relays {
            self.pass_on(key, core);
            self.move_region(key, now, reader, core);
        }
        if ended && let Some(sock) = self.socks.get_mut(key) {
            sock.closing |= matches!(sock.state, State::Idle);
        }
    }

    /// Answers the requests that a connection has read, in order, until one has to wait.
    pub(super) fn advance(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        loop {
            let Some(sock) = self.socks.get_mut(key) else { return };
            if !matches!(sock.state, State::Idle) || sock.closing {
                return;
            }
            match sock.conn.next_or_upload(now.mono_ns, is_upload) {
                Some(Event::Request(req)) => self.request(key, req, now, reader, core),
                Some(Event::Continue) => sock.out.copy(reply::CONTINUE),
                Some(Event::Bad(reject)) => self.reject(key, &reject),
                None => {
                    let due = sock.conn.deadline();
                    self.arm_slow(key, due);
                    return;
                }
            }
        }
    }

    /// What came makes no sense: this is the last answer.
    pub(super) fn reject(&mut self, key: Key, reject: &reply::Reject) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        self.head.clear();
        reject.write(&mut self.head);
        sock.out.copy(&self.head);
        (sock.closing, sock.linger) = (true, true);
    }

    /// One timer per connection watches over slow heads, bodies and readers.
    pub(super) fn arm_slow(&mut self, key: Key, due: Option<u64>) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        match (sock.timer, due) {
            (None, Some(at)) => sock.timer = Some(self.wheel.insert(at, Timer::Slow(key))),
            (Some(timer), None) if sock.is_sent() => {
                self.wheel.cancel(timer);
                sock.timer = None;
            }
            _ => {}
        }
    }

    fn request(&mut self, key: Key, req: Request, now: Now, reader: Reader<'_>, core: &mut Core) {
        let form = Form::of(&req);
        if let Some(sock) = self.socks.get_mut(key) {
            let read = matches!(req.method, Method::Get | Method::Head);
            sock.asked = Some(self.meters.asked(read, sock.via.is_link()));
            sock.guard = None;
        }
        self.fetches.forget(key);
        if [NODE, VOLUME, REPLICA].contains(&req.path())
            && self.socks.get(key).is_none_or(|s| !s.via.is_link())
        {
            return self.answer(key, form, Answer::unknown_path(), &core.info);
        }
        let session = req.websocket.is_some() && is_session(req.path());
        if req.cross_site
            && serve::is_forged(&req, session)
            && self.socks.get(key).is_some_and(|s| !s.via.is_link())
        {
            let text = "Permission denied: a page of another site asks (Origin is not Host)";
            return self.answer(key, form, ApiError::new(403, text).into(), &core.info);
        }
        if session {
            return self.upgrade(key, form, req, now, reader, core);
        }
        self.admit(key, form, req, now, reader, core);
    }

    /// Answers a request here, or has it answered where it belongs.
    pub(super) fn admit(
        &mut self,
        key: Key,
        form: Form,
        req: Request,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let regions = &core.info.remote_regions;
        // Nodes that are not there now have their own answer.
        let ours = !matches!(place(req.path()), Place::Node | Place::Named);
        if ours && core.mesh.is_empty() && core.takes_writes() && regions.is_empty() {
            return self.serve(key, form, req, now, reader, core);
        }
        self.route(key, form, Box::new(req), now, reader, core);
    }

    /// Answers a request here.
    pub(super) fn serve(
        &mut self,
        key: Key,
        mut form: Form,
        req: Request,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        if let Some(answer) =
            self.long_list.get(&req, reader).filter(|_| core.is_alone() && !core.info.acl.enabled)
        {
            return self.answer(key, form, answer, &core.info);
        }
        if req.path() == NODE {
            return self.node_call(key, form, &req, now, reader, core);
        }
        if req.path() == VOLUME {
            let secret = req.token.unwrap_or_default();
            if !core.volume_call(key, form, &secret, req.body, now) {
                let e = ApiError::new(403, "node secret ID does not match");
                return self.answer(key, form, e.into(), &core.info);
            }
            if let Some(sock) = self.socks.get_mut(key) {
                sock.state = State::Client;
            }
            return;
        }
        if req.path() == BOOTSTRAP {
            let text = std::fs::read_to_string(&core.bootstrap_file).unwrap_or_default();
            core.info.acl.bootstrap_reset = text.trim().parse().unwrap_or(0);
        }
        let (info, entropy) = core.for_routes();
        let fetched = self.fetches.of(key);
        let (verdict, params) = serve::judge(now, reader, info, entropy, &req, &mut form, fetched);
        if core.is_holding() && !matches!(verdict, Verdict::Do(Outcome::Propose(..))) {
            core.show(now);
            return self.put_off(key, form, req);
        }
        match verdict {
            Verdict::Answer(answer) if answer.status == 403 && req.path() == EVENTS => {
                self.tell_nothing(key, form, &core.info);
            }
            Verdict::Answer(answer) => {
                let answer = self.long_list.keep(&req, &params, answer, reader);
                self.answer(key, form, answer, &core.info);
            }
            Verdict::Hold(answer) => {
                let until = core.info.acl.ends(reader, now, req.token.as_deref());
                self.hold(key, form, req, params, answer, (now, until), core);
            }
            Verdict::Do(Outcome::Instead(target)) => {
                self.admit(key, form, req.aimed_at(target), now, reader, core);
            }
            Verdict::Do(Outcome::Fetch(ask)) => {
                self.fetch(key, form, Box::new(req), *ask, now, core);
            }
            Verdict::Do(outcome) => {
                self.carry_out(key, form, outcome, now, reader, core);
                if core.info.acl.enabled && self.socks.get(key).is_some_and(Sock::is_stream) {
                    self.guard(key, Box::new(req), now, reader, core);
                }
            }
        }
    }

    fn hold(
        &mut self,
        key: Key,
        form: Form,
        req: Request,
        params: crate::routes::Params,
        answer: Answer,
        (now, until): (Now, Option<i64>),
        core: &mut Core,
    ) {
        let Some(watch) = answer.watch else { return };
        let jitter = core.random_below(params.wait_ns / WAIT_JITTER_DIVISOR);
        let mut due = now.mono_ns.saturating_add(params.wait_ns).saturating_add(jitter);
        if let Some(until) = until {
            // Nobody waits for longer than their token is valid.
            due = due.min(mono_at(now, until));
        }
        let timer = self.wheel.insert(due, Timer::Held(key));
        let place = self.watches.hold(key, form, req, params, watch);
        if let Some(sock) = self.socks.get_mut(key) {
            sock.state = State::Held(place, timer);
            sock.asked = None;
        }
    }

    fn carry_out(
        &mut self,
        key: Key,
        form: Form,
        outcome: Outcome,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let state = match outcome {
            Outcome::Answer(answer) => return self.answer(key, form, answer, &core.info),
            Outcome::Propose(command, reply) => {
                core.propose_for(key, form, *command, reply);
                State::Proposed
            }
            Outcome::DryRun(ask) => {
                let answer = core.dry_run(now, reader, *ask);
                return self.answer(key, form, answer, &core.info);
            }
            Outcome::Client(request) => {
                core.ask_client(key, form, request, now);
                State::Client
            }
            Outcome::OnNode(ask) => return self.on_node(key, form, *ask, now, reader, core),
            Outcome::Files(request) => return self.files(key, form, &request, now, core),
            Outcome::Metrics { prometheus }
                if self.meters.wants_tasks() && core.sample(key, form, prometheus, now) =>
            {
                State::Client
            }
            Outcome::Metrics { prometheus } => {
                let answer = self.metrics(prometheus, now, reader, core);
                return self.answer(key, form, answer, &core.info);
            }
            Outcome::Host(agent) => {
                let body = facts::host(&agent);
                return self.answer(key, form, Answer::bytes(body), &core.info);
            }
            Outcome::Monitor(request) => {
                let stream = OpenStream::log(request, now);
                return self.stream(key, form, stream, now, core);
            }
            Outcome::Export(request) => match OpenStream::journal(&request) {
                Ok(stream) => return self.stream(key, form, stream, now, core),
                Err(e) => return self.answer(key, form, e.into(), &core.info),
            },
            Outcome::Rotate(rotation) if core.rotate(key, form, rotation) => State::Client,
            Outcome::Rotate(_) => {
                let e = ApiError::new(429, "too many root keys are asked for");
                return self.answer(key, form, e.into(), &core.info);
            }
            Outcome::RenewLock(renewal) => {
                let answer = core.renew_lock(*renewal, now);
                return self.answer(key, form, answer, &core.info);
            }
            Outcome::Restore => return self.begin_upload(key, form, now, core),
            Outcome::Save if core.saves.ask(key, form) => State::Client,
            Outcome::Save => {
                let e = ApiError::new(429, "too many snapshots are asked for");
                return self.answer(key, form, e.into(), &core.info);
            }
            Outcome::Events(request) => {
                return self.subscribe(key, form, request, now, reader, core);
            }
            Outcome::SystemGc => {
                core.collect_garbage();
                return self.answer(key, form, Answer::empty(), &core.info);
            }
            Outcome::Cluster(request) => {
                core.cluster_request(key, form, request, now);
                State::Client
            }
            Outcome::Exec(request) => return self.begin_exec(key, form, *request, now, core),
            // Taken up before.
            Outcome::Instead(_) | Outcome::Fetch(_) => return,
            Outcome::Workers(workers, answer) => {
                core.set_workers(workers, now);
                return self.answer(key, form, answer, &core.info);
            }
            Outcome::Reload => {
                core.reload = true;
                return self.answer(key, form, Answer::empty(), &core.info);
            }
        };
        if let Some(sock) = self.socks.get_mut(key) {
            sock.state = state;
        }
    }

    /// Writes an answer and frees the connection for its next request.
    pub(super) fn answer(
        &mut self,
        key: Key,
        form: Form,
        answer: Answer,
        info: &crate::routes::AgentInfo,
    ) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        if sock.ws.is_some() {
            return self.refuse(key, &answer);
        }
        self.meters.answered(answer.status, sock.asked.take());
        self.head.clear();
        let body = serve::render(form, answer, info, &self.headers, &mut self.gzip, &mut self.head);
        sock.out.copy(&self.head);
        sock.out.body(body);
        sock.state = State::Idle;
        sock.closing |= !form.keep_alive || sock.via.is_link();
        if sock.conn.is_uploading() {
            (sock.closing, sock.linger) = (true, true);
        }
    }

    /// After an answer that came later than its request: send it, and go on with what was read
    /// meanwhile.
    pub(super) fn resume(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        self.advance(key, now, reader, core);
        if self.socks.get(key).is_some_and(|s| s.unread && matches!(s.state, State::Idle)) {
            self.run_later(key);
        }
        self.flush(key, now, core);
    }

    pub(super) fn run_later(&mut self, key: Key) {
        if let Some(sock) = self.socks.get_mut(key)
            && !std::mem::replace(&mut sock.runnable, true)
            && !(matches!(sock.state, State::Events(_)) && self.events.queue(key))
        {
            self.runnable.push_back(key);
        }
    }

    pub(super) fn flush(&mut self, key: Key, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let before = sock.out.len();
        if !sock.is_sent() {
            match &mut sock.via {
                Via::Socket(channel) => {
                    if channel.flush(&mut sock.out).is_err() {
                        return self.close(key, core);
                    }
                }
                Via::Link { link, stream, .. } => {
                    let Some(link) = core.mesh.link(*link) else { return self.close(key, core) };
                    sock.out.pour(|bytes| link.send(*stream, bytes));
                }
            }
            if sock.out.len() < before {
                sock.progress_ns = now.mono_ns;
            }
            if !sock.is_sent() && sock.timer.is_none() {
                let due = now.mono_ns + OUT_STALL_NS;
                sock.timer = Some(self.wheel.insert(due, Timer::Slow(key)));
            }
        }
        self.repay(key, core);
        self.errand_goes_on(key);
        let Some(sock) = self.socks.get_mut(key) else { return };
        if !sock.is_sent() || !sock.closing {
            return;
        }
        let Via::Socket(channel) = &mut sock.via else {
            return self.finish_stream(key, core);
        };
        channel.say_end();
        if !std::mem::take(&mut sock.linger) {
            if !matches!(sock.state, State::Lingering(_)) {
                self.close(key, core);
            }
            return;
        }
        // The peer may still be sending what was refused. Closing now would reset the connection
        // and could eat the answer, so what comes is read and thrown away for a moment.
        if channel.stream().shutdown(std::net::Shutdown::Write).is_err() {
            return self.close(key, core);
        }
        sock.state = State::Lingering(LINGER_BYTES_MAX);
        sock.unread = true;
        if let Some(timer) = sock.timer.take() {
            self.wheel.cancel(timer);
        }
        sock.timer = Some(self.wheel.insert(now.mono_ns + LINGER_NS, Timer::Slow(key)));
        self.run_later(key);
    }

    pub(super) fn close(&mut self, key: Key, core: &mut Core) {
        let Some(sock) = self.socks.remove(key) else { return };
        if let Via::Link { link, stream, .. } = sock.via {
            self.drop_stream(link, stream, core);
        }
        match sock.state {
            State::Held(place, timer) => {
                self.wheel.cancel(timer);
                self.leave(place);
            }
            State::Client => core.forget(key),
            State::Relayed(relayed) => self.drop_stream(relayed.link, relayed.stream, core),
            State::Region(id) => self.drop_errand(id),
            State::Reading(token) => drop(self.reading.remove(&token)),
            State::Parked => {
                self.parked.retain(|(parked, ..)| *parked != key);
                self.early.retain(|(early, ..)| *early != key);
            }
            State::Events(_) => self.forget_reader(key),
            State::Exec(id) => self.execs.end(id),
            State::Fetching => self.fetches.leave(key),
            State::Idle
            | State::Proposed
            | State::Streaming(_)
            | State::Uploading(_)
            | State::Greeting(_)
            | State::Lingering(_) => {}
        }
        if let Some(timer) = sock.timer {
            self.wheel.cancel(timer);
        }
        if let Some(ip) = sock.ip
            && let Some(open) = self.door.per_client.get_mut(&ip)
        {
            *open -= 1;
            if *open == 0 {
                self.door.per_client.remove(&ip);
            }
        }
    }

    fn leave(&mut self, place: super::watch::Place) {
        if let Some(moved) = self.watches.leave(place)
            && let Some(Sock { state: State::Held(at, _), .. }) = self.socks.get_mut(moved)
        {
            *at = place;
        }
    }

    /// The commit of this turn changed these rows.
    pub(super) fn touched(&mut self, touched: &Touched) {
        self.watches.touched(touched);
        if touched.tables & Table::ACL != 0 || touched.replaced {
            // Someone may have lost the right to what they wait for.
            self.watches.mark_all();
            self.events.rights_moved = true;
        }
        self.long_list.touched(touched);
    }

    /// Timers of connections that are due.
    pub(super) fn expire(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
        registry: &Registry,
    ) {
        let mut due = Vec::new();
        self.wheel.expire(now.mono_ns, &mut due);
        for timer in due {
            match timer {
                Timer::Held(key) => self.hold_ended(key, now, reader, core),
                Timer::Slow(key) => self.slow(key, now, core),
                Timer::Stream(key) => {
                    if let Some(Sock { state: State::Streaming(s), .. }) = self.socks.get_mut(key) {
                        s.timed = false;
                    }
                    self.pump(key, now, core);
                }
                Timer::Exec(key) => {
                    self.move_exec(key, now, core);
                    self.flush(key, now, core);
                }
                Timer::Beat(key) => {
                    self.hear_again(key, now, reader, core);
                    self.beat(key, now, core);
                }
                Timer::Fetch(at) => self.fetches.give_up(at),
                Timer::Tell => self.tell_all(),
                Timer::Region(id) => self.region_slow(id, now, reader, core),
                Timer::Rights(key) => self.ask_again(key, now, reader, core),
                Timer::Accept => {
                    self.door.accepting = true;
                    for at in 0..self.door.listeners.len() {
                        self.accept(at, now, registry);
                    }
                }
            }
        }
    }

    /// The time of a blocking query is up: it is answered with what there is.
    fn hold_ended(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        if let State::Held(_, timer) = &mut sock.state
            && core.is_holding()
        {
            // Next turn: what it would see is durable then.
            core.show(now);
            *timer = self.wheel.insert(now.mono_ns, Timer::Held(key));
            return;
        }
        let State::Held(place, _) = std::mem::take(&mut sock.state) else { return };
        let Some((req, params, form)) = self.watches.question(place.query) else { return };
        self.leave(place);
        let (info, entropy) = core.for_routes();
        let verdict = serve::run(now, reader, info, entropy, &req, &params, &[]);
        self.answer(key, form, answer_of(verdict), &core.info);
        self.resume(key, now, reader, core);
    }

    fn slow(&mut self, key: Key, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        sock.timer = None;
        if !sock.is_sent() {
            let due = sock.progress_ns + OUT_STALL_NS;
            if due <= now.mono_ns {
                return self.close(key, core);
            }
            sock.timer = Some(self.wheel.insert(due, Timer::Slow(key)));
        } else if matches!(sock.state, State::Lingering(_) | State::Greeting(_))
            || !sock.via.is_ready()
        {
            self.close(key, core);
        } else if let Some(due) = sock.conn.deadline() {
            if due > now.mono_ns {
                return self.arm_slow(key, Some(due));
            }
            self.head.clear();
            reply::TOO_SLOW.write(&mut self.head);
            sock.out.copy(&self.head);
            sock.closing = true;
            self.flush(key, now, core);
        }
    }

    /// Comes back to connections with more to read, and to queries that a commit has woken.
    pub(super) fn work(&mut self, now: Now, reader: Reader<'_>, core: &mut Core) {
        self.tend_fetches(now, reader, core);
        self.handshakes = TLS_HANDSHAKES_PER_TURN;
        self.call_regions(now, reader, core);
        for _ in 0..self.runnable.len() {
            let Some(key) = self.runnable.pop_front() else { break };
            self.run_one(key, now, reader, core);
        }
        if std::mem::take(&mut self.events.rights_moved) {
            for key in self.events.readers() {
                self.hear_again(key, now, reader, core);
            }
            let guarded = self.socks.iter().filter(|(_, sock)| sock.guard.is_some());
            for key in guarded.map(|(key, _)| key).collect::<Vec<_>>() {
                self.ask_again(key, now, reader, core);
            }
        }
        let mut sent = 0;
        while sent < WAKES_PER_TURN
            && let Some(query) = self.watches.next_ready()
        {
            sent += self.wake(query, now, reader, core);
        }
    }

    /// Goes on with a connection that was put off.
    pub(super) fn run_one(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        sock.runnable = false;
        if sock.unread {
            self.read(key, now, reader, core);
        }
        if self.socks.get(key).is_some_and(|s| matches!(s.state, State::Streaming(_))) {
            self.pump(key, now, core);
        }
        self.move_exec(key, now, core);
        self.move_region(key, now, reader, core);
        self.tell(key);
        self.flush(key, now, core);
    }

    /// Runs a query again. Where it has news, everyone who waits gets the same bytes.
    fn wake(&mut self, query: Key, now: Now, reader: Reader<'_>, core: &mut Core) -> usize {
        let Some((req, params, form)) = self.watches.question(query) else { return 1 };
        let (info, entropy) = core.for_routes();
        let answer = answer_of(serve::run(now, reader, info, entropy, &req, &params, &[]));
        if answer.watch.is_some() && answer.index.is_some_and(|i| i <= params.index) {
            return 1;
        }
        self.head.clear();
        let status = answer.status;
        let body =
            serve::render(form, answer, &core.info, &self.headers, &mut self.gzip, &mut self.head);
        let mut whole = std::mem::take(&mut self.head);
        whole.extend_from_slice(body.as_slice());
        let whole: Rc<[u8]> = whole.into();
        let waiters = self.watches.take(query, WAKES_PER_TURN);
        let woken = waiters.len();
        for key in waiters {
            let Some(sock) = self.socks.get_mut(key) else { continue };
            let State::Held(_, timer) = std::mem::take(&mut sock.state) else { continue };
            self.wheel.cancel(timer);
            self.meters.answered(status, None);
            sock.out.shared(whole.clone());
            sock.closing |= !form.keep_alive || sock.via.is_link();
            self.resume(key, now, reader, core);
        }
        woken
    }
}

/// The monotonic time of a wall-clock time, as far as can be said now.
pub(super) fn mono_at(now: Now, wall_ns: i64) -> u64 {
    let left = wall_ns.saturating_sub(now.wall_ns);
    now.mono_ns.saturating_add(u64::try_from(left).unwrap_or(0))
}

/// The path that a file in the data directory has a say in.
const BOOTSTRAP: &str = "/v1/acl/bootstrap";

fn answer_of(verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Answer(a) | Verdict::Hold(a) => a,
        Verdict::Do(_) => ApiError::failed("a query became a write").into(),
    }
}
