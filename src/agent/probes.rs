//! Probes of checks: one connection each, which the loop waits for like for any other.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::client::{ClientInput, ProbeEvent, TaskKey};
use crate::os;
use crate::stdx::slab::{Key, Slab};

struct Probe {
    key: TaskKey,
    stream: TcpStream,
    /// What is still to be sent.
    out: Vec<u8>,
    connected: bool,
}

#[derive(Default)]
pub(super) struct Probes {
    open: Slab<Probe>,
    by_key: BTreeMap<TaskKey, Key>,
}

impl Probes {
    pub(super) fn begin(
        &mut self,
        key: TaskKey,
        addr: SocketAddr,
        request: Vec<u8>,
        registry: &Registry,
        out: &mut Vec<ClientInput>,
    ) {
        self.end(&key);
        let failed = |e: std::io::Error| ProbeEvent::Closed(os::error_text(&e));
        let stream = match TcpStream::connect(addr) {
            Ok(stream) => stream,
            Err(e) => return out.push(ClientInput::Probe(key, failed(e))),
        };
        let probe = Probe { key: key.clone(), stream, out: request, connected: false };
        let at = self.open.insert(probe);
        let Some(probe) = self.open.get_mut(at) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = registry.register(&mut probe.stream, token(at), interest) {
            self.open.remove(at);
            return out.push(ClientInput::Probe(key, failed(e)));
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
        let closed = match probe.go_on(out) {
            Ok(open) => (!open).then(String::new),
            Err(e) => Some(os::error_text(&e)),
        };
        if let Some(text) = closed {
            let key = probe.key.clone();
            self.end(&key);
            out.push(ClientInput::Probe(key, ProbeEvent::Closed(text)));
        }
    }
}

impl Probe {
    /// False where the other side has closed.
    fn go_on(&mut self, out: &mut Vec<ClientInput>) -> std::io::Result<bool> {
        if let Some(e) = self.stream.take_error()? {
            return Err(e);
        }
        if !self.connected {
            match self.stream.peer_addr() {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(true),
                Err(e) => return Err(e),
            }
        }
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if !std::mem::replace(&mut self.connected, true) {
            out.push(ClientInput::Probe(self.key.clone(), ProbeEvent::Connected));
        }
        let mut buf = [0; 4096];
        // A flood is left in the socket: the machine has seen enough long before.
        for _ in 0..READS_MAX {
            match self.stream.read(&mut buf) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    let bytes = buf.get(..n).unwrap_or_default().to_vec();
                    out.push(ClientInput::Probe(self.key.clone(), ProbeEvent::Data(bytes)));
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

/// Reads at a time. More than head and body of an answer are allowed to have.
const READS_MAX: usize = 8;
/// Tokens of probes lie above those of links.
pub(super) const PROBES: usize = 1 << 51;

fn token(key: Key) -> Token {
    Token(PROBES | key.index as usize)
}
