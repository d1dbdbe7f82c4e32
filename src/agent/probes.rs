//! Probes of checks: one connection each, which the loop waits for like for any other.

use std::net::SocketAddr;
use std::path::PathBuf;

use mio::Registry;

use super::call::{Call, Callers, Heard, Next};
use super::tokens;

use crate::client::{ClientInput, ProbeEvent, Secure, TaskKey};
use crate::os;
use crate::stdx::BTreeMap;
use crate::stdx::slab::{Key, Slab};

struct Probe {
    key: TaskKey,
    call: Call,
}

#[derive(Default)]
pub(super) struct Probes {
    open: Slab<Probe>,
    by_key: BTreeMap<TaskKey, Key>,
    callers: Callers,
}

impl Probes {
    /// Checks by https believe the CAs of a file too, from now on.
    pub(super) fn believe(&mut self, file: PathBuf) {
        self.callers.believe(file);
    }

    pub(super) fn begin(
        &mut self,
        key: TaskKey,
        addr: SocketAddr,
        request: Vec<u8>,
        secure: Option<&Secure>,
        registry: &Registry,
        out: &mut Vec<ClientInput>,
    ) {
        self.end(&key);
        let session = secure.map(|s| self.callers.session(&s.name, s.anyone, "")).transpose();
        let call = session.and_then(|session| {
            Call::begin(addr, session, request).map_err(|e| os::error_text(&e))
        });
        let call = match call {
            Ok(call) => call,
            Err(why) => return out.push(ClientInput::Probe(key, ProbeEvent::Closed(why))),
        };
        let at = self.open.insert(Probe { key: key.clone(), call });
        let Some(probe) = self.open.get_mut(at) else { return };
        if let Err(e) = probe.call.register(registry, tokens::of(tokens::PROBES, at)) {
            self.open.remove(at);
            let closed = ProbeEvent::Closed(os::error_text(&e));
            return out.push(ClientInput::Probe(key, closed));
        }
        self.by_key.insert(key, at);
    }

    pub(super) fn end(&mut self, key: &TaskKey) {
        if let Some(at) = self.by_key.remove(key) {
            self.open.remove(at);
        }
    }

    /// Something happened on a connection.
    pub(super) fn ready(&mut self, index: usize, out: &mut Vec<ClientInput>) {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let Some(at) = self.open.key_at(index) else { return };
        let Some(probe) = self.open.get_mut(at) else { return };
        let key = probe.key.clone();
        let mut heard = Vec::new();
        let next = probe.call.go_on(&mut heard);
        out.extend(heard.into_iter().map(|heard| {
            let event = match heard {
                Heard::Connected => ProbeEvent::Connected,
                Heard::Data(bytes) => ProbeEvent::Data(bytes),
            };
            ClientInput::Probe(key.clone(), event)
        }));
        let text = match next {
            // A flood is left in the socket: the machine has seen enough long before.
            Ok(Next::Wait | Next::More) => return,
            Ok(Next::Closed) => String::new(),
            Err(e) => os::error_text(&e),
        };
        self.end(&key);
        out.push(ClientInput::Probe(key, ProbeEvent::Closed(text)));
    }
}
