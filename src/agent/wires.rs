//! The sockets of links: called and calling, read and written. What the bytes mean is the mesh's
//! business.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::channel::{Channel, is_later};
use super::mesh::Mesh;
use super::tokens;
use crate::limits::{ACCEPTS_PER_TURN, LINK_OUT_BYTES, READ_BYTES};
use crate::os::net;
use crate::stdx::slab::Key;
use crate::stdx::{BTreeMap, Entropy, Now};
use crate::tls::{self, Session, is_hello};

/// How links are encrypted: both sides show certificates.
pub(super) struct Secured {
    pub(super) server: tls::Server,
    pub(super) client: tls::Client,
    /// Links that are not encrypted are taken too.
    pub(super) upgrade: bool,
}

struct Wire {
    channel: Channel,
    /// The first bytes of a caller who may encrypt or not, until they show which.
    sniffed: Option<Vec<u8>>,
    /// The mesh knows the names of the other side.
    named: bool,
    key: Key,
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    sent: usize,
}

pub(super) struct Wires {
    listeners: Vec<TcpListener>,
    wires: BTreeMap<u32, Wire>,
    buf: Box<[u8]>,
    plain: Vec<u8>,
    secured: Option<Secured>,
}

impl Wires {
    pub(super) fn new(listeners: Vec<TcpListener>) -> Self {
        let (wires, buf, plain) = (BTreeMap::new(), Box::default(), Vec::new());
        Self { listeners, wires, buf, plain, secured: None }
    }

    /// How links are encrypted from now on. Those that are open stay as they are.
    pub(super) fn secure(&mut self, secured: Option<Secured>) {
        self.secured = secured;
    }

    /// # Errors
    /// Those of the poll.
    pub(super) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (i, l) in self.listeners.iter_mut().enumerate() {
            registry.register(l, Token(tokens::LINK_LISTENERS + i), Interest::READABLE)?;
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
                        let upgrade = self.secured.as_ref().is_some_and(|s| s.upgrade);
                        let tls = match &self.secured {
                            Some(s) if !upgrade => Some(Session::accepted(&s.server)),
                            _ => None,
                        };
                        let sniffed = upgrade.then(Vec::new);
                        self.take(key, stream, (tls, sniffed), now, mesh, registry);
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
        (tls, sniffed): (Option<Result<Session, tls::Fault>>, Option<Vec<u8>>),
        now: Now,
        mesh: &mut Mesh,
        registry: &Registry,
    ) {
        let token = tokens::of(tokens::LINKS, key);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) = registry.register(&mut stream, token, interest) {
            log::warn!("a link could not be watched: {e}");
            return mesh.close(key, now);
        }
        let tls = match tls.transpose() {
            Ok(tls) => tls,
            Err(e) => {
                log::error!("a link could not be encrypted: {e}");
                return mesh.close(key, now);
            }
        };
        let channel = Channel::new(stream, tls);
        let wire = Wire { channel, sniffed, named: false, key, out: Vec::new(), sent: 0 };
        self.wires.insert(key.index, wire);
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
            match wire.read(&mut self.buf, &mut self.plain, self.secured.as_ref()) {
                Ok((0, _)) => break,
                Ok((n, bytes)) => {
                    if wire.channel.is_secured() && wire.channel.is_ready() && !wire.named {
                        wire.named = true;
                        let names = wire.channel.session().map(Session::peer_names);
                        mesh.secured(key, names.unwrap_or_default());
                    }
                    mesh.feed(key, bytes, now);
                    return n == READ_BYTES;
                }
                Err(e) if is_later(&e) => return false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::InvalidData => {
                    match mesh.hello(key) {
                        Some(h) => log::warn!("the link of {} ends: {e}", h.name),
                        None => log::warn!("a stranger is sent away: {e}"),
                    }
                    break;
                }
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
                let called = |s: &Secured| Session::called(&s.client, &address.ip().to_string());
                let tls = self.secured.as_ref().map(called);
                self.take(key, stream, (tls, None), now, mesh, registry);
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
        if wire.sniffed.is_some() {
            return;
        }
        loop {
            if wire.channel.push().is_err() {
                break;
            }
            if !wire.channel.is_empty() || !wire.channel.is_ready() {
                return;
            }
            if wire.sent == wire.out.len() {
                wire.out.clear();
                wire.sent = 0;
                mesh.fill(key, &mut wire.out, LINK_OUT_BYTES);
                if wire.out.is_empty() {
                    wire.out = Vec::new();
                    return;
                }
            }
            match wire.channel.write(wire.out.get(wire.sent..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(n) => wire.sent += n,
                Err(e) if is_later(&e) => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        mesh.close(key, now);
    }
}

impl Wire {
    /// As [`Channel::read`]; finds out first whether the other side encrypts, where it may choose.
    fn read<'b>(
        &mut self,
        buf: &'b mut [u8],
        plain: &'b mut Vec<u8>,
        secured: Option<&Secured>,
    ) -> io::Result<(usize, &'b [u8])> {
        let Some(mut begun) = self.sniffed.take() else { return self.channel.read(buf, plain) };
        let read = self.channel.stream().read(buf);
        begun.extend_from_slice(buf.get(..*read.as_ref().unwrap_or(&0)).unwrap_or_default());
        let (n, encrypts) = match (read, is_hello(&begun)) {
            (Ok(n), Some(encrypts)) if n > 0 => (n, encrypts),
            (read, _) => {
                self.sniffed = Some(begun);
                return read.map(|n| (n, &[][..]));
            }
        };
        if !encrypts {
            *plain = begun;
            return Ok((n, plain));
        }
        let Some(secured) = secured else { return Err(ErrorKind::ConnectionAborted.into()) };
        let session = Session::accepted(&secured.server).map_err(io::Error::other)?;
        self.channel.set_tls(Some(session));
        self.channel.decrypt(&mut begun, plain)?;
        Ok((n, plain))
    }
}
