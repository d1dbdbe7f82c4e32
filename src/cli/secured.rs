//! The encrypted connection of a command: it blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::system;
use crate::stdx::parse_bool;
use crate::tls::{self, Fault, Session, Trust};

/// General options about encryption.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub(super) ca_cert: String,
    pub(super) ca_path: String,
    pub(super) client_cert: String,
    pub(super) client_key: String,
    pub(super) server_name: String,
    pub(super) skip_verify: bool,
}

impl Options {
    /// Whether the environment says that nobody is to be checked.
    pub(super) fn skips() -> bool {
        system::env("NOMAD_SKIP_VERIFY").as_deref().and_then(parse_bool) == Some(true)
    }

    fn client(&self) -> Result<tls::Client, Fault> {
        let trust = Trust {
            file: PathBuf::from(&self.ca_cert),
            folder: PathBuf::from(&self.ca_path),
            names: true,
            all: self.skip_verify,
            ..Trust::default()
        };
        let pair = match (self.client_cert.as_str(), self.client_key.as_str()) {
            ("", "") => None,
            (cert, key) if !cert.is_empty() && !key.is_empty() => {
                Some((Path::new(cert), Path::new(key)))
            }
            _ => return Err("a client certificate needs its key, and a key its certificate".into()),
        };
        tls::client(&trust, pair)
    }

    /// Encrypts a connection to `host`.
    pub(super) fn begin(&self, socket: TcpStream, host: &str) -> Result<Secured, Fault> {
        let name = if self.server_name.is_empty() { host } else { &self.server_name };
        let session = Session::called(&self.client()?, name)?;
        let mut secured = Secured { socket, session, plain: Vec::new() };
        while !secured.session.is_ready() {
            secured.push().map_err(|e| e.to_string())?;
            match secured.fill() {
                Ok(0) => return Err("the agent closed the connection".to_owned()),
                Ok(_) => {}
                Err(e) => return Err(e.to_string()),
            }
        }
        secured.push().map_err(|e| e.to_string())?;
        Ok(secured)
    }
}

/// What to do about a connection that was not made; empty where nothing is known.
pub(super) fn advice(fault: &str) -> &'static str {
    let known = [
        ("no CA that is trusted", "; name the cluster's CA by -ca-cert or NOMAD_CACERT"),
        ("requires a certificate", "; give one by -client-cert and -client-key"),
        ("does not trust the certificate", "; give another by -client-cert and -client-key"),
        ("is for another name", "; say which by -tls-server-name or NOMAD_TLS_SERVER_NAME"),
        ("speaks no TLS", "; ask it by http:// instead"),
    ];
    known.iter().find(|(part, _)| fault.contains(part)).map_or("", |(_, advice)| advice)
}

pub(super) struct Secured {
    socket: TcpStream,
    session: Session,
    /// Decrypted and not yet read.
    plain: Vec<u8>,
}

impl Secured {
    pub(super) fn set_read_timeout(&self, after: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(after))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Something is decrypted and not yet read.
    pub(super) fn is_buffered(&self) -> bool {
        !self.plain.is_empty()
    }

    fn push(&mut self) -> io::Result<()> {
        let waiting = self.session.unsent();
        let n = waiting.len();
        self.socket.write_all(waiting)?;
        self.session.sent(n);
        Ok(())
    }

    /// Reads once from the socket: the bytes that came, encrypted.
    fn fill(&mut self) -> io::Result<usize> {
        let mut buf = [0; 16 * 1024];
        let n = self.socket.read(&mut buf)?;
        let fed = self.session.feed(buf.get_mut(..n).unwrap_or_default(), &mut self.plain);
        fed.map_err(|why| {
            // The reason counts, not whether the other side still hears of it.
            let _told = self.push();
            io::Error::new(ErrorKind::InvalidData, why)
        })?;
        Ok(n)
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.session.send(piece);
            self.push()?;
        }
        Ok(())
    }

    /// # Errors
    /// Those of the socket, and `UnexpectedEof` where it ends without the other side saying so:
    /// the rest may have been cut off.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.plain.is_empty() {
            if self.session.peer_closed() {
                return Ok(0);
            }
            if self.fill()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        let n = self.plain.len().min(into.len());
        into[..n].copy_from_slice(&self.plain[..n]);
        self.plain.drain(..n);
        Ok(n)
    }
}

/// Most that is encrypted before it is sent, in bytes.
const PIECE_BYTES: usize = 256 * 1024;
