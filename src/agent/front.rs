//! The HTTP side of the loop: listeners, connections, held queries, and the bytes that go out.
//!
//! Knows sockets and answers, not what they mean; see `serve` for that. All reads of one turn are
//! answered from one snapshot and leave at once: they depend on nothing that is still to be
//! committed. Answers to writes come back through [`Front::answer`] after the commit.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::rc::Rc;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::core::Core;
use super::events::Events;
use super::facts;
use super::files::{self, OpenStream, Served};
use super::long_list::LongList;
use super::metrics::Meters;
use super::serve::{self, Form, Verdict};
use super::sock::{Out, Sock, State, Streamed, Via};
use super::watch::Watches;
use crate::api::ApiError;
use crate::client::file_stream::{POLL_NS, Step};
use crate::http::conn::Event;
use crate::http::gzip::Gzip;
use crate::http::{Method, Request, reply};
use crate::limits::{
    ACCEPTS_PER_TURN, LINGER_BYTES_MAX, LINGER_NS, OUT_STALL_NS, READ_BYTES, WAIT_JITTER_DIVISOR,
    WAKES_PER_TURN,
};
use crate::link::StreamId;
use crate::routes::metrics::Telemetry;
use crate::routes::table::NODE;
use crate::routes::{Answer, FilesOp, FilesRequest, Outcome};
use crate::stdx::Now;
use crate::stdx::slab::{Key, Slab};
use crate::stdx::wheel::Wheel;
use crate::store::{Reader, Table, Touched};

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
    /// Accept again after the system ran out of descriptors.
    Accept,
}

pub(super) struct Front {
    listeners: Vec<TcpListener>,
    pub(super) socks: Slab<Sock>,
    /// Connections by the stream of a link that they run or are answered over.
    pub(super) streams: BTreeMap<(Key, StreamId), Key>,
    /// Requests that wait for a leader, and until when.
    pub(super) parked: VecDeque<(Key, u64, Form, Box<Request>)>,
    /// Reads that wait for proof that this server leads.
    pub(super) reading: BTreeMap<u64, (Key, Form, Box<Request>)>,
    pub(super) next_read: u64,
    /// Open connections per client address.
    pub(super) per_client: BTreeMap<IpAddr, u32>,
    /// Zero: no limit.
    per_client_max: u32,
    pub(super) wheel: Wheel<Timer>,
    watches: Watches,
    long_list: LongList,
    pub(super) events: Events,
    runnable: VecDeque<Key>,
    accepting: bool,
    gzip: Gzip,
    /// From the configuration, on every answer of a handler.
    pub(super) headers: Vec<(String, String)>,
    buf: Box<[u8]>,
    pub(super) head: Vec<u8>,
    /// Answers of 429 to clients with too many connections: tokens of a bucket, ten a second.
    refusals: Refusals,
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
            listeners,
            socks: Slab::default(),
            streams: BTreeMap::new(),
            parked: VecDeque::new(),
            reading: BTreeMap::new(),
            next_read: 0,
            per_client: BTreeMap::new(),
            per_client_max,
            wheel: Wheel::new(),
            watches: Watches::default(),
            long_list: LongList::default(),
            events: Events::new(events_kept),
            runnable: VecDeque::new(),
            accepting: true,
            gzip: Gzip::new(),
            headers,
            buf: vec![0; READ_BYTES].into_boxed_slice(),
            head: Vec::new(),
            refusals: Refusals::default(),
            meters: Meters::new(telemetry),
        }
    }

    /// Settings that may change while connections are open.
    pub(super) fn configure(&mut self, headers: Vec<(String, String)>, per_client_max: u32) {
        self.headers = headers;
        self.per_client_max = per_client_max;
    }

    /// # Errors
    /// Those of the poll.
    pub(super) fn register(&mut self, registry: &Registry) -> std::io::Result<()> {
        for (i, l) in self.listeners.iter_mut().enumerate() {
            registry.register(l, listener_token(i), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Mono ns at which a timer of a connection is due.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.wheel.next_deadline()
    }

    /// Something is left to do without a new event.
    pub(super) fn has_runnable(&self) -> bool {
        !self.runnable.is_empty() || self.watches.any_ready() || self.events.rights_moved
    }

    /// Takes new connections, a bounded number a turn.
    pub(super) fn accept(&mut self, at: usize, now: Now, registry: &Registry) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(at) else { return };
            match listener.accept() {
                Ok((stream, peer)) => self.accepted(stream, peer.ip(), now, registry),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    // Out of descriptors, most likely: wait instead of spinning.
                    log::warn!("accept failed: {e}");
                    if std::mem::replace(&mut self.accepting, false) {
                        let at = now.mono_ns + crate::limits::SECOND / 10;
                        self.wheel.insert(at, Timer::Accept);
                    }
                    return;
                }
            }
        }
        // More may wait, and edge-triggered events will not say so again.
        if std::mem::replace(&mut self.accepting, false) {
            self.wheel.insert(now.mono_ns, Timer::Accept);
        }
    }

    fn accepted(&mut self, mut stream: TcpStream, ip: IpAddr, now: Now, registry: &Registry) {
        let open = self.per_client.entry(ip).or_insert(0);
        if self.per_client_max > 0 && *open >= self.per_client_max {
            if self.refusals.take(now.mono_ns) {
                let mut out = Out::default();
                out.copy(TOO_MANY);
                if let Err(e) = out.flush(&mut stream) {
                    log::debug!("a refused client was gone: {e}");
                }
            }
            return;
        }
        *open += 1;
        if let Err(e) = stream.set_nodelay(true) {
            log::debug!("no nodelay: {e}");
        }
        let key = self.socks.insert(Sock::new(Via::Socket(stream), Some(ip), now));
        let Some(Sock { via: Via::Socket(stream), .. }) = self.socks.get_mut(key) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = registry.register(stream, conn_token(key), interest) {
            log::warn!("a connection could not be watched: {e}");
            self.socks.remove(key);
        }
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
            matches!(
                s.state,
                State::Held(..)
                    | State::Streaming(_)
                    | State::Events(_)
                    | State::Relayed(_)
                    | State::Parked
                    | State::Reading(_)
            )
        };
        if hung_up && self.socks.get(key).is_some_and(waits) {
            // Nobody is left to wait for the answer.
            self.close(key, core);
            return;
        }
        if readable {
            self.read(key, now, reader, core);
        }
        self.flush(key, now, core);
        if self.socks.get(key).is_some_and(|s| matches!(s.state, State::Events(_))) {
            self.tell(key);
            self.flush(key, now, core);
        }
    }

    /// Reads once and answers what is complete. A short read means that the socket is empty: the
    /// next bytes raise a new event, so the call that would only say so is saved.
    fn read(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        if !matches!(sock.state, State::Idle | State::Lingering(_)) {
            sock.unread = true;
            return;
        }
        sock.unread = false;
        let Via::Socket(stream) = &mut sock.via else { return };
        match stream.read(&mut self.buf) {
            Ok(0) => {
                if sock.out.is_empty() || matches!(sock.state, State::Lingering(_)) {
                    self.close(key, core);
                } else {
                    sock.closing = true;
                }
                return;
            }
            Ok(n) if let State::Lingering(left) = sock.state => {
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
            Ok(n) => {
                let bytes = self.buf.get(..n).unwrap_or_default();
                sock.conn.feed(now.mono_ns, bytes);
                if n == self.buf.len() {
                    sock.unread = true;
                    self.run_later(key);
                }
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
    }

    /// Answers the requests that a connection has read, in order, until one has to wait.
    pub(super) fn advance(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        loop {
            let Some(sock) = self.socks.get_mut(key) else { return };
            if !matches!(sock.state, State::Idle) || sock.closing {
                return;
            }
            match sock.conn.next(now.mono_ns) {
                Some(Event::Request(req)) => self.request(key, req, now, reader, core),
                Some(Event::Continue) => sock.out.copy(reply::CONTINUE),
                Some(Event::Bad(reject)) => {
                    let mut head = std::mem::take(&mut self.head);
                    head.clear();
                    reject.write(&mut head);
                    sock.out.copy(&head);
                    sock.closing = true;
                    sock.linger = true;
                    self.head = head;
                }
                None => {
                    let due = sock.conn.deadline();
                    self.arm_slow(key, due);
                    return;
                }
            }
        }
    }

    /// One timer per connection watches over slow heads, bodies and readers.
    fn arm_slow(&mut self, key: Key, due: Option<u64>) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        match (sock.timer, due) {
            (None, Some(at)) => sock.timer = Some(self.wheel.insert(at, Timer::Slow(key))),
            (Some(timer), None) if sock.out.is_empty() => {
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
            sock.asked = Some(self.meters.asked(read));
        }
        if req.path() == NODE && self.socks.get(key).is_none_or(|s| !s.via.is_link()) {
            return self.answer(key, form, Answer::unknown_path(), &core.info);
        }
        if core.mesh.is_empty() && core.takes_writes() {
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
        if req.path() == BOOTSTRAP {
            let text = std::fs::read_to_string(&core.bootstrap_file).unwrap_or_default();
            core.info.acl.bootstrap_reset = text.trim().parse().unwrap_or(0);
        }
        let (info, entropy) = core.for_routes();
        let (verdict, params) = serve::judge(now, reader, info, entropy, &req, &mut form);
        match verdict {
            Verdict::Answer(answer) => {
                let answer = self.long_list.keep(&req, &params, answer, reader);
                self.answer(key, form, answer, &core.info);
            }
            Verdict::Hold(answer) => {
                let until = core.info.acl.ends(reader, now, req.token.as_deref());
                self.hold(key, form, req, params, answer, (now, until), core);
            }
            Verdict::Do(outcome) => self.carry_out(key, form, outcome, now, reader, core),
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
            Outcome::RenewLock(renewal) => {
                let answer = core.renew_lock(*renewal, now);
                return self.answer(key, form, answer, &core.info);
            }
            Outcome::Restore(state) => {
                core.restore_for(key, form, state);
                State::Proposed
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
        self.meters.answered(answer.status, sock.asked.take());
        self.head.clear();
        let body = serve::render(form, answer, info, &self.headers, &mut self.gzip, &mut self.head);
        sock.out.copy(&self.head);
        sock.out.body(body);
        sock.state = State::Idle;
        sock.closing |= !form.keep_alive || sock.via.is_link();
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
        {
            self.runnable.push_back(key);
        }
    }

    pub(super) fn flush(&mut self, key: Key, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let before = sock.out.len();
        if before > 0 {
            match &mut sock.via {
                Via::Socket(stream) => {
                    if sock.out.flush(stream).is_err() {
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
            if !sock.out.is_empty() && sock.timer.is_none() {
                let due = now.mono_ns + OUT_STALL_NS;
                sock.timer = Some(self.wheel.insert(due, Timer::Slow(key)));
            }
        }
        self.repay(key, core);
        let Some(sock) = self.socks.get_mut(key) else { return };
        if !sock.out.is_empty() || !sock.closing {
            return;
        }
        let Via::Socket(stream) = &mut sock.via else {
            return self.finish_stream(key, core);
        };
        if !std::mem::take(&mut sock.linger) {
            if !matches!(sock.state, State::Lingering(_)) {
                self.close(key, core);
            }
            return;
        }
        // The peer may still be sending what was refused. Closing now would reset the connection
        // and could eat the answer, so what comes is read and thrown away for a moment.
        if stream.shutdown(std::net::Shutdown::Write).is_err() {
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
            State::Reading(token) => drop(self.reading.remove(&token)),
            State::Parked => self.parked.retain(|(parked, ..)| *parked != key),
            State::Events(_) => self.forget_reader(key),
            State::Idle | State::Proposed | State::Streaming(_) | State::Lingering(_) => {}
        }
        if let Some(timer) = sock.timer {
            self.wheel.cancel(timer);
        }
        if let Some(ip) = sock.ip
            && let Some(open) = self.per_client.get_mut(&ip)
        {
            *open -= 1;
            if *open == 0 {
                self.per_client.remove(&ip);
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
        if touched.tables & Table::ACL != 0 {
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
                Timer::Stream(key) => self.pump(key, now, core),
                Timer::Beat(key) => {
                    self.hear_again(key, now, reader, core);
                    self.beat(key, now, core);
                }
                Timer::Accept => {
                    self.accepting = true;
                    for at in 0..self.listeners.len() {
                        self.accept(at, now, registry);
                    }
                }
            }
        }
    }

    /// The time of a blocking query is up: it is answered with what there is.
    fn hold_ended(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Held(place, _) = std::mem::take(&mut sock.state) else { return };
        let Some((req, params, form)) = self.watches.question(place.query) else { return };
        self.leave(place);
        let (info, entropy) = core.for_routes();
        let verdict = serve::run(now, reader, info, entropy, &req, &params);
        self.answer(key, form, answer_of(verdict), &core.info);
        self.resume(key, now, reader, core);
    }

    fn slow(&mut self, key: Key, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        sock.timer = None;
        if !sock.out.is_empty() {
            let due = sock.progress_ns + OUT_STALL_NS;
            if due <= now.mono_ns {
                return self.close(key, core);
            }
            sock.timer = Some(self.wheel.insert(due, Timer::Slow(key)));
        } else if matches!(sock.state, State::Lingering(_)) {
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
        for _ in 0..self.runnable.len() {
            let Some(key) = self.runnable.pop_front() else { break };
            if let Some(sock) = self.socks.get_mut(key) {
                sock.runnable = false;
                if sock.unread {
                    self.read(key, now, reader, core);
                }
                if self.socks.get(key).is_some_and(|s| matches!(s.state, State::Streaming(_))) {
                    self.pump(key, now, core);
                }
                self.tell(key);
                self.flush(key, now, core);
            }
        }
        if std::mem::take(&mut self.events.rights_moved) {
            for key in self.events.readers() {
                self.hear_again(key, now, reader, core);
            }
        }
        let mut sent = 0;
        while sent < WAKES_PER_TURN
            && let Some(query) = self.watches.next_ready()
        {
            sent += self.wake(query, now, reader, core);
        }
    }

    /// Runs a query again. Where it has news, everyone who waits gets the same bytes.
    fn wake(&mut self, query: Key, now: Now, reader: Reader<'_>, core: &mut Core) -> usize {
        let Some((req, params, form)) = self.watches.question(query) else { return 1 };
        let (info, entropy) = core.for_routes();
        let answer = answer_of(serve::run(now, reader, info, entropy, &req, &params));
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

/// Files of allocations, read and followed.
impl Front {
    fn files(&mut self, key: Key, form: Form, request: &FilesRequest, now: Now, core: &mut Core) {
        let mut request = std::borrow::Cow::Borrowed(request);
        if !core.info.server && request.op == FilesOp::Logs {
            // The servers' view of the task is not at hand; the node's own is.
            match core.task_started(&request.alloc, &request.task) {
                Some(started) => request.to_mut().started = started,
                None => {
                    let e = ApiError::bad(format!("unknown task name {:?}", request.task));
                    return self.answer(key, form, e.into(), &core.info);
                }
            }
        }
        let request = request.as_ref();
        let stream = match files::serve(request, &core.alloc_dir.join(&request.alloc)) {
            Ok(Served::Stream(stream)) => stream,
            Ok(Served::Answer(answer)) => return self.answer(key, form, answer, &core.info),
            Err(e) => return self.answer(key, form, e.into(), &core.info),
        };
        self.stream(key, form, stream, now, core);
    }

    /// Begins an answer that is read as it is sent.
    fn stream(&mut self, key: Key, form: Form, stream: OpenStream, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        self.meters.answered(200, None);
        self.head.clear();
        let kind = stream.content_type;
        serve::render_stream(form, kind, &core.info, &self.headers, &mut self.head);
        sock.out.copy(&self.head);
        sock.state = State::Streaming(Box::new(Streamed { stream, form }));
        self.pump(key, now, core);
    }

    /// Moves bytes of a stream, as many as its reader takes.
    fn pump(&mut self, key: Key, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Streaming(streamed) = &mut sock.state else { return };
        let chunked = !streamed.form.is_http10();
        let mut piece = Vec::new();
        let outcome = loop {
            if sock.out.is_full() {
                break Step::More;
            }
            piece.clear();
            let step = streamed.stream.poll(now, &mut piece);
            if chunked {
                self.head.clear();
                reply::chunk(&piece, &mut self.head);
                sock.out.copy(&self.head);
            } else {
                sock.out.copy(&piece);
            }
            if step != Step::More {
                break step;
            }
        };
        match outcome {
            // The socket is full: a little later, unless it is emptied before.
            Step::More | Step::Idle => {
                self.wheel.insert(now.mono_ns + POLL_NS, Timer::Stream(key));
            }
            Step::End | Step::Failed(_) => {
                sock.closing |= !streamed.form.keep_alive || !chunked || sock.via.is_link();
                sock.state = State::Idle;
                if chunked {
                    sock.out.copy(reply::LAST_CHUNK);
                }
                self.run_later(key);
            }
        }
        self.flush(key, now, core);
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

/// A bucket of tokens for refusals: ten a second, a hundred at once (contract: conventions).
#[derive(Default)]
struct Refusals {
    spent: u64,
    at_ns: u64,
}

impl Refusals {
    fn take(&mut self, now_ns: u64) -> bool {
        let back = now_ns.saturating_sub(self.at_ns) / (crate::limits::SECOND / 10);
        if back > 0 {
            self.spent = self.spent.saturating_sub(back);
            self.at_ns = now_ns;
        }
        if self.spent >= 100 {
            return false;
        }
        self.spent += 1;
        true
    }
}

const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
Content-Type: text/plain\r\nContent-Length: 81\r\nConnection: close\r\n\r\n\
Your IP is issuing too many concurrent connections, please rate limit your calls\n";

pub(super) const TOKEN_SIGNALS: Token = Token(0);
/// Tokens of listeners.
pub(super) const LISTENERS: usize = 1;
pub(super) const LISTENERS_MAX: usize = 15;
/// Tokens of connections.
pub(super) const CONNS: usize = 1 << 48;

pub(super) fn listener_token(i: usize) -> Token {
    Token(LISTENERS + i)
}

pub(super) fn conn_token(key: Key) -> Token {
    Token(CONNS | key.index as usize)
}
