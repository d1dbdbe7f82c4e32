//! Readers of the event stream. What a commit changed goes to all of them; one that does not read
//! waits with what it has, until what it wants next is no longer kept.

use super::core::Core;
use super::front::{Front, Timer, mono_at};
use super::serve::{self, Form};
use super::sock::State;
use crate::limits::EVENT_BEAT_NS;
use crate::routes::EventsRequest;
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
}

impl Events {
    /// Keeps so many changes.
    pub(super) fn new(kept: usize) -> Self {
        Self { ring: Ring::new(kept), readers: Vec::new(), rights_moved: false }
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

    /// The commit of this turn changed this.
    pub(super) fn changed(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.events.ring.push(changes);
        for key in self.events.readers() {
            self.run_later(key);
        }
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
