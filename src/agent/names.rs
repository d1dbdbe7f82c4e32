//! The sockets of questions to name servers, and hosts with ports as people write them.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};

use super::core::Core;
use super::tokens;
use crate::dns::{Effect, Found, Resolver};
use crate::stdx::{BTreeMap, Entropy, Now};

/// Largest datagram that is read, in bytes. Answers to questions without extensions have 512.
const DATAGRAM_BYTES: usize = 2048;

/// Each attempt has a socket of its own, whose port nobody can know before.
#[derive(Default)]
pub(super) struct Names {
    sockets: BTreeMap<u32, UdpSocket>,
}

impl Names {
    /// Sends what is to be asked.
    pub(super) fn flush(
        &mut self,
        resolver: &mut Resolver,
        now: Now,
        entropy: &mut dyn Entropy,
        registry: &Registry,
    ) {
        loop {
            let effects = resolver.take_out();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Close(number) => drop(self.sockets.remove(&number)),
                    Effect::Send(number, server, questions) => {
                        match open(number, server, &questions, registry) {
                            Ok(socket) => drop(self.sockets.insert(number, socket)),
                            Err(e) => {
                                log::debug!("the name server {server} cannot be asked: {e}");
                                resolver.failed(number, now, entropy);
                            }
                        }
                    }
                }
            }
        }
    }

    /// Something came on a socket.
    pub(super) fn ready(
        &mut self,
        number: usize,
        resolver: &mut Resolver,
        now: Now,
        entropy: &mut dyn Entropy,
    ) {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let Some(socket) = self.sockets.get(&number) else { return };
        let mut buf = [0; DATAGRAM_BYTES];
        loop {
            match socket.recv(&mut buf) {
                Ok(n) => {
                    let bytes = buf.get(..n).unwrap_or_default();
                    resolver.received(number, bytes, now, entropy);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Nobody is there who would answer.
                Err(_) => return resolver.failed(number, now, entropy),
            }
        }
    }
}

fn open(
    number: u32,
    server: SocketAddr,
    questions: &[Vec<u8>],
    registry: &Registry,
) -> std::io::Result<UdpSocket> {
    let any = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let mut socket = UdpSocket::bind(any)?;
    // What comes from elsewhere is not received then.
    socket.connect(server)?;
    registry.register(&mut socket, Token(tokens::NAMES | number as usize), Interest::READABLE)?;
    for question in questions {
        socket.send(question)?;
    }
    Ok(socket)
}

impl Core {
    /// Where a host is, an address or a name; see [`Resolver::find`]. While that is pending, ask
    /// again in each turn: the loop turns when there is news.
    pub(super) fn find(&mut self, host: &str, now: Now) -> Found {
        self.resolver.find(host, now, &mut *self.entropy)
    }
}

/// `host`, `host:port`, `ip`, `ip:port`, `[ip]:port` taken apart.
///
/// # Errors
/// The port is no number, or there is no host.
pub(super) fn host_port(text: &str, port: u16) -> Result<(String, u16), String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text.to_owned(), port));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, own)) if !own.ends_with(']') => {
            (host, own.parse().map_err(|_| format!("{text:?}: {own:?} is no port"))?)
        }
        _ => (text, port),
    };
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() {
        Err(format!("{text:?} names no host"))
    } else {
        Ok((host.to_owned(), port))
    }
}

#[cfg(test)]
mod tests {
    use super::host_port;

    #[test]
    fn hosts_have_ports() {
        for (text, host, port) in [
            ("a", "a", 1),
            ("a.b:2", "a.b", 2),
            ("10.0.0.1", "10.0.0.1", 1),
            ("10.0.0.1:2", "10.0.0.1", 2),
            ("::1", "::1", 1),
            ("[::1]", "::1", 1),
            ("[::1]:2", "::1", 2),
        ] {
            assert_eq!(host_port(text, 1), Ok((host.to_owned(), port)), "{text}");
        }
        for text in ["", ":1", "a:", "a:b", "a:70000", "[]:1"] {
            assert!(host_port(text, 1).is_err(), "{text}");
        }
    }
}
