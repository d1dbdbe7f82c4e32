//! Readers of the event stream. What a commit changed goes to all of them; one that does not read
//! waits with what it has, until what it wants next is no longer kept.

use std::collections::VecDeque;

use super::core::Core;
use super::front::{Front, Timer, mono_at};
use super::serve::{self, Form};
use super::sock::State;
use crate::http::Request;
use crate::http::websocket::REFUSED;
use crate::limits::{
    EVENT_BEAT_NS, EVENT_CROWD_LEAST_NS, EVENT_CROWD_NS, EVENT_QUIET_NS, EVENT_SHARE,
};
use crate::os::clock;
use crate::routes::{AgentInfo, EventsRequest};
use crate::server::events::{Next, Ring, may_hear};
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::store::{Change, Reader};

/// The changes and who reads them.
pub(super) struct Events {
    ring: Ring,
    /// Connections with the tokens that they came with.
    readers: Vec<(Key, Option<String>)>,
    /// What readers may hear of is to be found out again.
    pub(super) rights_moved: bool,
    /// A timer will tell the readers what has changed.
    telling: bool,
    /// Readers of a crowd whose turn it is, in their order.
    due: VecDeque<Key>,
    share: Share,
}

/// How much of the loop's time goes to a crowd of readers: of the time that writes take a part, and
/// what nobody else wants.
#[derive(Debug, Default)]
struct Share {
    /// Nanoseconds that may be spent; below zero where the last reader took longer.
    credit: i64,
    /// Of this turn.
    spent: u64,
    /// Somebody waits for the commit of this turn, and when that was so last.
    writes: bool,
    wrote_ns: u64,
}

impl Share {
    fn budget(&mut self, now: Now, writes: bool) -> u64 {
        self.writes = writes;
        if writes {
            self.wrote_ns = now.mono_ns;
        }
        match now.mono_ns.saturating_sub(self.wrote_ns) > EVENT_QUIET_NS {
            true => EVENT_QUIET_NS,
            false => u64::try_from(self.credit).unwrap_or(0),
        }
    }

    fn turn_ends(&mut self, took: u64) {
        let spent = std::mem::take(&mut self.spent);
        let rest = took.saturating_sub(spent);
        let part = if self.writes { rest / EVENT_SHARE } else { rest };
        let ns = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let most = ns(EVENT_QUIET_NS);
        self.credit = (self.credit + ns(part).min(most) - ns(spent).min(most)).clamp(-most, most);
    }
}

impl Events {
    /// Keeps so many changes.
    pub(super) fn new(kept: usize) -> Self {
        let (readers, rights_moved, due) = (Vec::new(), false, VecDeque::new());
        let (ring, share) = (Ring::new(kept), Share::default());
        Self { ring, readers, rights_moved, telling: false, due, share }
    }

    /// So many that telling all of them takes a while.
    pub(super) fn is_crowd(&self) -> bool {
        self.pause() >= EVENT_CROWD_LEAST_NS
    }

    /// How long changes wait for company before a crowd is told.
    fn pause(&self) -> u64 {
        let readers = u64::try_from(self.readers.len()).unwrap_or(u64::MAX);
        readers.saturating_mul(EVENT_CROWD_NS)
    }

    /// It is the turn of a reader. True where the crowd's time is waited for.
    pub(super) fn queue(&mut self, key: Key) -> bool {
        let crowd = self.is_crowd();
        if crowd {
            self.due.push_back(key);
        }
        crowd
    }

    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn turn_ends(&mut self, took: u64) {
        self.share.turn_ends(took);
    }

    pub(super) fn readers(&self) -> Vec<Key> {
        self.readers.iter().map(|(key, _)| *key).collect()
    }
}

/// What an idle stream says.
const BEAT: &[u8] = b"{}\n";

impl Front {
    pub(super) fn subscribe(
        &mut self,
        key: Key,
        form: Form,
        request: EventsRequest,
        now: Now,
        state: Reader<'_>,
        core: &mut Core,
    ) {
        let EventsRequest { topics, namespace, index, acl, token } = request;
        let mut reader = self.events.ring.subscribe(&topics, &namespace, index);
        reader.acl = acl;
        let Some(sock) = self.socks.get_mut(key) else { return };
        self.head.clear();
        serve::render_events(form, &core.info, &self.headers, &mut self.head);
        sock.out.copy(&self.head);
        sock.out.copy(BEAT);
        sock.state = State::Events(Box::new(reader));
        if let Some(end) = core.info.acl.ends(state, now, token.as_deref()) {
            self.wheel.insert(mono_at(now, end), Timer::Beat(key));
        }
        self.events.readers.push((key, token));
        self.wheel.insert(now.mono_ns + EVENT_BEAT_NS, Timer::Beat(key));
        self.tell(key);
        self.flush(key, now, core);
    }

    /// Who may not hear has a stream that ends at once: the reference has begun it before it asks.
    pub(super) fn tell_nothing(&mut self, key: Key, form: Form, info: &AgentInfo) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        self.meters.answered(403, sock.asked.take());
        self.head.clear();
        serve::render_events(form, info, &self.headers, &mut self.head);
        sock.out.copy(&self.head);
        (sock.state, sock.closing) = (State::Idle, true);
    }

    /// The commit of this turn changed this. A few readers are told at once; a crowd a little
    /// later and in its share of the time, so that writes do not stand behind it: of many changes
    /// in one go.
    pub(super) fn changed(&mut self, now: Now, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let behind = self.events.telling || self.events.has_due();
        self.events.ring.push(changes, behind);
        if !self.events.is_crowd() {
            self.tell_all();
        } else if !std::mem::replace(&mut self.events.telling, true) {
            let at = now.mono_ns.saturating_add(self.events.pause());
            self.wheel.insert(at, Timer::Tell);
        }
    }

    /// Tells all readers what has changed since the last time, or has them wait for their turn.
    pub(super) fn tell_all(&mut self) {
        self.events.telling = false;
        let crowd = self.events.is_crowd();
        for key in self.events.readers() {
            if crowd {
                self.run_later(key);
                continue;
            }
            self.tell(key);
            if self.socks.get(key).is_some_and(|s| !s.out.is_empty() || s.closing) {
                self.run_later(key);
            }
        }
    }

    /// Tells readers of a crowd, as long as their share of the time lasts.
    pub(super) fn tell_some(&mut self, now: Now, writes: bool, state: Reader<'_>, core: &mut Core) {
        let budget = self.events.share.budget(now, writes);
        if !self.events.has_due() || budget == 0 {
            return;
        }
        let begun = clock::mono_ns();
        let mut spent = 0;
        while spent < budget
            && let Some(key) = self.events.due.pop_front()
        {
            // Most of a crowd hears nothing of most changes.
            self.tell(key);
            match self.socks.get_mut(key) {
                Some(sock) if sock.is_sent() && !sock.closing && !sock.unread => {
                    sock.runnable = false;
                }
                _ => self.run_one(key, now, state, core),
            }
            let more = self.socks.get(key).is_some_and(|sock| match &sock.state {
                State::Events(reader) => sock.is_sent() && self.events.ring.has_more(reader),
                _ => false,
            });
            if more {
                self.run_later(key);
            }
            spent = clock::mono_ns().saturating_sub(begun);
        }
        self.events.share.spent += spent;
    }

    /// Gives a reader what it can take.
    pub(super) fn tell(&mut self, key: Key) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Events(reader) = &mut sock.state else { return };
        while !sock.out.is_full() {
            match self.events.ring.next(reader) {
                Next::Line(line) => sock.out.shared(line),
                Next::Idle => return,
                Next::Cut => {
                    sock.closing = true;
                    sock.state = State::Idle;
                    return self.forget_reader(key);
                }
            }
        }
    }

    pub(super) fn forget_reader(&mut self, key: Key) {
        self.events.readers.retain(|(k, _)| *k != key);
    }

    /// Finds out again what a reader may hear of. One that may no longer, or whose token ended, is
    /// cut off.
    pub(super) fn hear_again(&mut self, key: Key, now: Now, state: Reader<'_>, core: &mut Core) {
        let found = self.events.readers.iter().find(|(k, _)| *k == key);
        let Some((_, token)) = found else { return };
        let who = core.info.acl.holder(state, now, token.as_deref());
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Events(reader) = &mut sock.state else { return };
        let acl = who.map(|who| who.and_then(|who| who.acl.clone()));
        if let Ok(acl) = acl
            && acl.as_deref().is_none_or(|a| may_hear(a, &reader.topics(), &reader.space()))
        {
            reader.acl = acl;
            return;
        }
        sock.closing = true;
        sock.state = State::Idle;
        self.forget_reader(key);
        self.flush(key, now, core);
    }

    /// Remembers what a stream of files or of the log was asked by, here or relayed, where rights
    /// are asked for.
    pub(super) fn guard(
        &mut self,
        key: Key,
        req: Box<Request>,
        now: Now,
        state: Reader<'_>,
        core: &mut Core,
    ) {
        let Some(sock) = self.socks.get_mut(key).filter(|s| s.is_stream()) else { return };
        if let Some(end) = core.info.acl.ends(state, now, req.token.as_deref()) {
            self.wheel.insert(mono_at(now, end), Timer::Rights(key));
        }
        sock.guard = Some(req);
    }

    /// Ends a stream whose caller may not read it any more.
    pub(super) fn ask_again(&mut self, key: Key, now: Now, state: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get(key).filter(|s| s.is_stream()) else { return };
        let Some(req) = &sock.guard else { return };
        let (info, entropy) = core.for_routes();
        let Some(answer) = serve::vouch(now, state, info, entropy, req) else { return };
        if matches!(sock.state, State::Exec(_)) {
            let reason = String::from_utf8_lossy(answer.body.as_slice()).into_owned();
            self.end_exec(key, Some((REFUSED, reason)));
            return self.flush(key, now, core);
        }
        self.close(key, core);
    }

    pub(super) fn beat(&mut self, key: Key, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        if matches!(sock.state, State::Events(_)) {
            if sock.out.is_empty() {
                sock.out.copy(BEAT);
            }
            self.wheel.insert(now.mono_ns + EVENT_BEAT_NS, Timer::Beat(key));
            self.flush(key, now, core);
        }
    }
}
