//! The sockets of links: called and calling, read and written. What the bytes mean is the mesh's
//! business.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::mesh::Mesh;
use crate::limits::{ACCEPTS_PER_TURN, LINK_OUT_BYTES, READ_BYTES};
use crate::os::net;
use crate::stdx::slab::Key;
use crate::stdx::{Entropy, Now};

struct Wire {
    stream: TcpStream,
    key: Key,
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    sent: usize,
}

pub(super) struct Wires {
    listeners: Vec<TcpListener>,
    wires: BTreeMap<u32, Wire>,
    buf: Box<[u8]>,
}

impl Wires {
    pub(super) fn new(listeners: Vec<TcpListener>) -> Self {
        Self { listeners, wires: BTreeMap::new(), buf: Box::default() }
    }

    /// # Errors
    /// Those of the poll.
    pub(super) fn register(&mut self, registry: &Registry) -> std::io::Result<()> {
        for (i, l) in self.listeners.iter_mut().enumerate() {
            registry.register(l, Token(LINK_LISTENERS + i), Interest::READABLE)?;
        }
        Ok(())
    }

    /// Takes calls of other agents.
    pub(super) fn accept(
        &mut self,
        at: usize,
        now: Now,
        mesh: &mut Mesh,
        entropy: &mut dyn Entropy,
        registry: &Registry,
    ) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.listeners.get(at) else { return };
            match net::accept(listener) {
                Ok(Some((stream, _))) => {
                    if let Some(key) = mesh.accepted(now, entropy) {
                        self.take(key, stream, now, mesh, registry);
                    }
                }
                Ok(None) => return,
                Err(e) => return log::warn!("a link could not be accepted: {e}"),
            }
        }
    }

    fn take(
        &mut self,
        key: Key,
        mut stream: TcpStream,
        now: Now,
        mesh: &mut Mesh,
        registry: &Registry,
    ) {
        let token = Token(LINKS | key.index as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = registry.register(&mut stream, token, interest) {
            log::warn!("a link could not be watched: {e}");
            return mesh.close(key, now);
        }
        self.wires.insert(key.index, Wire { stream, key, out: Vec::new(), sent: 0 });
    }

    /// Reads all there is, up to a bound, and hands it to the mesh. True where more may be there.
    pub(super) fn read(&mut self, key: Key, now: Now, mesh: &mut Mesh) -> bool {
        if self.buf.is_empty() {
            self.buf = vec![0; READ_BYTES].into_boxed_slice();
        }
        let Some(wire) = self.wires.get_mut(&key.index).filter(|w| w.key == key) else {
            return false;
        };
        loop {
            match wire.stream.read(&mut self.buf) {
                Ok(0) => break,
                Ok(n) => {
                    mesh.feed(key, self.buf.get(..n).unwrap_or_default(), now);
                    return n == self.buf.len();
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(e) if e.kind() == ErrorKind::NotConnected => return false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    log::debug!("a link broke: {e}");
                    break;
                }
            }
        }
        mesh.close(key, now);
        false
    }

    /// Makes the calls and closings that are asked for, and sends what waits. True where a link has
    /// more to send than the system takes now.
    pub(super) fn flush(&mut self, now: Now, mesh: &mut Mesh, registry: &Registry) {
        for (key, address) in std::mem::take(&mut mesh.dials) {
            self.dial(key, address, now, mesh, registry);
        }
        for key in mesh.take_busy() {
            self.send(key, now, mesh);
        }
        for key in std::mem::take(&mut mesh.closes) {
            if self.wires.get(&key.index).is_some_and(|w| w.key == key) {
                self.wires.remove(&key.index);
            }
        }
    }

    fn dial(
        &mut self,
        key: Key,
        address: SocketAddr,
        now: Now,
        mesh: &mut Mesh,
        registry: &Registry,
    ) {
        match TcpStream::connect(address) {
            Ok(stream) => {
                // Shows its end at the first read.
                drop(stream.set_nodelay(true));
                self.take(key, stream, now, mesh, registry);
            }
            Err(e) => {
                log::debug!("{address} cannot be called: {e}");
                mesh.close(key, now);
            }
        }
    }

    /// The socket may take more.
    pub(super) fn send(&mut self, key: Key, now: Now, mesh: &mut Mesh) {
        let Some(wire) = self.wires.get_mut(&key.index).filter(|w| w.key == key) else { return };
        loop {
            if wire.sent == wire.out.len() {
                wire.out.clear();
                wire.sent = 0;
                mesh.fill(key, &mut wire.out, LINK_OUT_BYTES);
                if wire.out.is_empty() {
                    wire.out = Vec::new();
                    return;
                }
            }
            match wire.stream.write(wire.out.get(wire.sent..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => wire.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::NotConnected => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        mesh.close(key, now);
    }
}

/// Tokens of the listeners for links.
pub(super) const LINK_LISTENERS: usize = 16;
pub(super) const LINK_LISTENERS_MAX: usize = 19;
/// Tokens of links lie above those of conversations.
pub(super) const LINKS: usize = 1 << 50;
