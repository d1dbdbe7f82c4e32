//! Where callers come in: the listeners, how many connections an address may have, and whether
//! they are encrypted.

use std::io::ErrorKind;
use std::net::IpAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};

use super::channel::Channel;
use super::front::{Front, Timer};
use super::sock::{Out, Sock, Via};
use super::tokens;
use crate::limits::{ACCEPTS_PER_TURN, SECOND};
use crate::stdx::{BTreeMap, Now};
use crate::tls::{self, Session};

/// How connections are encrypted.
pub(super) struct Secured {
    pub(super) server: tls::Server,
    /// A handshake that takes longer ends the connection, ns; 0: it may take its time.
    pub(super) handshake_ns: u64,
}

pub(super) struct Door {
    pub(super) listeners: Vec<TcpListener>,
    /// Open connections per client address.
    pub(super) per_client: BTreeMap<IpAddr, u32>,
    /// Zero: no limit.
    pub(super) per_client_max: u32,
    /// False while descriptors are short, and while a turn has taken its share.
    pub(super) accepting: bool,
    /// `None`: nothing is encrypted.
    pub(super) secured: Option<Secured>,
    /// Answers of 429 to clients with too many connections.
    refusals: Refusals,
}

impl Door {
    pub(super) fn new(listeners: Vec<TcpListener>, per_client_max: u32) -> Self {
        let (per_client, refusals) = (BTreeMap::new(), Refusals::default());
        Self { listeners, per_client, per_client_max, accepting: true, secured: None, refusals }
    }

    /// # Errors
    /// Those of the poll.
    pub(super) fn register(&mut self, registry: &Registry) -> std::io::Result<()> {
        for (i, l) in self.listeners.iter_mut().enumerate() {
            registry.register(l, tokens::listener(i), Interest::READABLE)?;
        }
        Ok(())
    }
}

impl Front {
    /// Takes new connections, a bounded number a turn.
    pub(super) fn accept(&mut self, at: usize, now: Now, registry: &Registry) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listener) = self.door.listeners.get(at) else { return };
            match listener.accept() {
                Ok((stream, peer)) => self.accepted(stream, peer.ip(), now, registry),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    // Out of descriptors, most likely: wait instead of spinning.
                    log::warn!("accept failed: {e}");
                    if std::mem::replace(&mut self.door.accepting, false) {
                        let at = now.mono_ns + SECOND / 10;
                        self.wheel.insert(at, Timer::Accept);
                    }
                    return;
                }
            }
        }
        // More may wait, and edge-triggered events will not say so again.
        if std::mem::replace(&mut self.door.accepting, false) {
            self.wheel.insert(now.mono_ns, Timer::Accept);
        }
    }

    fn accepted(&mut self, mut stream: TcpStream, ip: IpAddr, now: Now, registry: &Registry) {
        let (open, most) = (self.door.per_client.get(&ip), self.door.per_client_max);
        if most > 0 && open.is_some_and(|open| *open >= most) {
            if self.door.refusals.take(now.mono_ns) {
                let mut out = Out::default();
                out.copy(TOO_MANY);
                if let Err(e) = out.flush(&mut stream) {
                    log::debug!("a refused client was gone: {e}");
                }
            }
            return;
        }
        if let Err(e) = stream.set_nodelay(true) {
            log::debug!("no nodelay: {e}");
        }
        let session = match self.door.secured.as_ref().map(|s| Session::accepted(&s.server)) {
            Some(Err(e)) => return log::error!("a connection could not be encrypted: {e}"),
            Some(Ok(session)) => Some(session),
            None => None,
        };
        let via = Via::Socket(Channel::new(stream, session));
        let key = self.socks.insert(Sock::new(via, Some(ip), now));
        let Some(Sock { via: Via::Socket(channel), timer, .. }) = self.socks.get_mut(key) else {
            return;
        };
        if let Some(limit) = self.door.secured.as_ref().map(|s| s.handshake_ns).filter(|n| *n > 0) {
            *timer = Some(self.wheel.insert(now.mono_ns + limit, Timer::Slow(key)));
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) =
            registry.register(channel.stream(), tokens::of(tokens::CONNS, key), interest)
        {
            log::warn!("a connection could not be watched: {e}");
            self.socks.remove(key);
            return;
        }
        *self.door.per_client.entry(ip).or_insert(0) += 1;
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
        let back = now_ns.saturating_sub(self.at_ns) / (SECOND / 10);
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

/// What whoever speaks plainly to a port of HTTPS reads.
pub(super) const NOT_ENCRYPTED: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
Content-Type: text/plain; charset=utf-8\r\nContent-Length: 48\r\nConnection: close\r\n\r\n\
Client sent an HTTP request to an HTTPS server.\n";
