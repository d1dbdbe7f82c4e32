//! Readers of the event stream. What a commit changed goes to all of them; one that does not read
//! waits with what it has, until what it wants next is no longer kept.

use super::core::Core;
use super::front::{Front, Timer};
use super::serve::{self, Form};
use super::sock::State;
use crate::limits::EVENT_BEAT_NS;
use crate::routes::EventsRequest;
use crate::server::events::{Next, Ring};
use crate::stdx::Now;
use crate::stdx::slab::Key;
use crate::store::Change;

/// The changes and who reads them.
pub(super) struct Events {
    ring: Ring,
    readers: Vec<Key>,
}

impl Events {
    /// Keeps so many changes.
    pub(super) fn new(kept: usize) -> Self {
        Self { ring: Ring::new(kept), readers: Vec::new() }
    }
}

/// What an idle stream says.
const BEAT: &[u8] = b"{}\n";

impl Front {
    pub(super) fn subscribe(
        &mut self,
        key: Key,
        form: Form,
        request: &EventsRequest,
        now: Now,
        core: &mut Core,
    ) {
        let EventsRequest { topics, namespace, index } = request;
        let reader = self.events.ring.subscribe(topics, namespace, *index);
        let Some(sock) = self.socks.get_mut(key) else { return };
        self.head.clear();
        serve::render_events(form, &core.info, &self.headers, &mut self.head);
        sock.out.copy(&self.head);
        sock.out.copy(BEAT);
        sock.state = State::Events(Box::new(reader));
        self.events.readers.push(key);
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
        let readers = std::mem::take(&mut self.events.readers);
        for key in &readers {
            self.run_later(*key);
        }
        self.events.readers = readers;
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
        self.events.readers.retain(|k| *k != key);
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
