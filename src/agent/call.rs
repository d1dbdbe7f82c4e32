//! One request to somebody outside, on a connection of its own that the loop waits for: what checks
//! and fetched documents have in common.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::channel::Channel;
use crate::tls::{self, Session, Trust};

/// Reads at a time, of 4 KB each.
const READS_MAX: usize = 8;

pub(super) struct Call {
    channel: Channel,
    /// What is still to be sent.
    out: Vec<u8>,
    connected: bool,
}

/// What happened on a connection.
pub(super) enum Heard {
    /// It is there, and all was sent.
    Connected,
    Data(Vec<u8>),
}

/// How it goes on.
pub(super) enum Next {
    Wait,
    /// More may be there to read, of which the poll does not tell again.
    More,
    /// The other side has closed.
    Closed,
}

impl Call {
    /// Begins to connect.
    ///
    /// # Errors
    /// Those of the system.
    pub(super) fn begin(
        addr: SocketAddr,
        session: Option<Session>,
        request: Vec<u8>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        Ok(Self { channel: Channel::new(stream, session), out: request, connected: false })
    }

    /// # Errors
    /// Those of the poll.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(self.channel.stream(), token, interest)
    }

    /// Sends and reads what can be.
    ///
    /// # Errors
    /// Those of the socket, or of TLS.
    pub(super) fn go_on(&mut self, heard: &mut Vec<Heard>) -> io::Result<Next> {
        if let Some(e) = self.channel.stream().take_error()? {
            return Err(e);
        }
        if !self.connected {
            match self.channel.stream().peer_addr() {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::NotConnected => return Ok(Next::Wait),
                Err(e) => return Err(e),
            }
        }
        self.send()?;
        if self.out.is_empty() && !std::mem::replace(&mut self.connected, true) {
            heard.push(Heard::Connected);
        }
        let (mut buf, mut plain) = ([0; 4096], Vec::new());
        for _ in 0..READS_MAX {
            match self.channel.read(&mut buf, &mut plain) {
                Ok((0, _)) => return Ok(Next::Closed),
                Ok((_, bytes)) => {
                    if !bytes.is_empty() {
                        heard.push(Heard::Data(bytes.to_vec()));
                    }
                    // The handshake may have come to its end.
                    self.send()?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Next::More)
    }

    /// Whether the other side said that it sends no more, where it can say so.
    pub(super) fn was_ended(&self) -> bool {
        self.channel.session().is_none_or(Session::peer_closed)
    }

    /// Sends what the socket takes now.
    fn send(&mut self) -> io::Result<()> {
        self.channel.push()?;
        while !self.out.is_empty() {
            match self.channel.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// What calls over TLS are made with, once there are any: those that believe anyone, and those that
/// believe whom the system trusts.
#[derive(Default)]
pub(super) struct Callers {
    trusted: Option<tls::Client>,
    anyone: Option<tls::Client>,
    /// A file of CAs that are believed beside those of the system; may be empty.
    file: PathBuf,
}

impl Callers {
    /// Believes the CAs of a file too, from now on.
    pub(super) fn believe(&mut self, file: PathBuf) {
        (self.trusted, self.file) = (None, file);
    }

    /// A session with the host of that name. `pem`: CAs to believe; empty: those of the system.
    ///
    /// # Errors
    /// The certificates are damaged, or the name cannot be one of a host.
    pub(super) fn session(
        &mut self,
        name: &str,
        anyone: bool,
        pem: &str,
    ) -> Result<Session, tls::Fault> {
        let trust = Trust { names: true, all: anyone, pem: pem.to_owned(), ..Trust::default() };
        if !pem.is_empty() {
            return Session::called(&tls::client(&trust, None)?, name);
        }
        let trust = Trust { file: self.file.clone(), system: true, ..trust };
        let slot = if anyone { &mut self.anyone } else { &mut self.trusted };
        let client = match slot {
            Some(client) => client,
            None => slot.insert(tls::client(&trust, None)?),
        };
        Session::called(client, name)
    }
}
