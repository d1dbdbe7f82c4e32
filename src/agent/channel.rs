//! A socket of the loop, encrypted or not, with one face for both.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;

use super::sock::Out;
use crate::tls::Session;

pub(super) struct Channel {
    stream: TcpStream,
    tls: Option<Box<Session>>,
}

/// The byte that every TLS connection begins with.
const HANDSHAKE: u8 = 0x16;

/// Most that is encrypted before the system has taken what was, in bytes.
const ENCRYPT_BYTES: usize = 64 * 1024;

impl Channel {
    pub(super) fn new(stream: TcpStream, tls: Option<Session>) -> Self {
        Self { stream, tls: tls.map(Box::new) }
    }

    /// For the poll, and for what is asked of a socket alone.
    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Bytes of the application may be sent.
    pub(super) fn is_ready(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.is_ready())
    }

    pub(super) fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// Encrypts from here on, or no more: before anything was sent.
    pub(super) fn set_tls(&mut self, tls: Option<Session>) {
        self.tls = tls.map(Box::new);
    }

    pub(super) fn session(&self) -> Option<&Session> {
        self.tls.as_deref()
    }

    /// Reads once: how many bytes the socket gave, and what they are to the application, which may
    /// be nothing. `Ok(0)` is the end.
    ///
    /// # Errors
    /// Those of the socket; `InvalidData` with a sentence where the peer breaks the rules of TLS.
    pub(super) fn read<'b>(
        &mut self,
        buf: &'b mut [u8],
        plain: &'b mut Vec<u8>,
    ) -> io::Result<(usize, &'b [u8])> {
        let n = self.stream.read(buf)?;
        let bytes = buf.get_mut(..n).unwrap_or_default();
        if self.tls.is_none() {
            return Ok((n, bytes));
        }
        self.decrypt(bytes, plain)?;
        Ok((n, plain))
    }

    /// What bytes of the socket are to the application.
    ///
    /// # Errors
    /// `InvalidData` with a sentence where the peer breaks the rules of TLS.
    pub(super) fn decrypt(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> io::Result<()> {
        plain.clear();
        let Some(tls) = &mut self.tls else { return Ok(()) };
        if tls.is_fresh() && bytes.first().is_some_and(|b| *b != HANDSHAKE) {
            return Err(io::Error::new(ErrorKind::InvalidData, "the other side speaks no TLS"));
        }
        let done = tls.feed(bytes, plain);
        // Answers of the handshake, or the reason of its end.
        let sent = self.push();
        done.map_err(|why| io::Error::new(ErrorKind::InvalidData, why))?;
        sent
    }

    /// Nothing that was encrypted waits.
    pub(super) fn is_empty(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.unsent().is_empty())
    }

    /// Sends what is encrypted, as much as the socket takes.
    ///
    /// # Errors
    /// Those of the socket, except that it would block.
    pub(super) fn push(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while !tls.unsent().is_empty() {
            match self.stream.write(tls.unsent()) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => tls.sent(n),
                Err(e) if is_later(&e) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Sends until the socket takes no more, or nothing is left.
    ///
    /// # Errors
    /// Those of the socket, except that it would block.
    pub(super) fn flush(&mut self, out: &mut Out) -> io::Result<()> {
        if self.tls.is_none() {
            return out.flush(&mut self.stream);
        }
        loop {
            self.push()?;
            let Some(tls) = self.tls.as_mut().filter(|t| t.unsent().is_empty() && t.is_ready())
            else {
                return Ok(());
            };
            if out.is_empty() {
                return Ok(());
            }
            let mut room = ENCRYPT_BYTES;
            out.pour(|bytes| {
                let n = bytes.len().min(room);
                tls.send(bytes.get(..n).unwrap_or_default());
                room -= n;
                n
            });
        }
    }

    /// Sends bytes, as many as the socket takes now: how many were taken.
    ///
    /// # Errors
    /// Those of the socket.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.stream.write(bytes);
        }
        self.push()?;
        let Some(tls) = self.tls.as_mut().filter(|t| t.unsent().is_empty() && t.is_ready()) else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let n = bytes.len().min(ENCRYPT_BYTES);
        tls.send(bytes.get(..n).unwrap_or_default());
        self.push()?;
        Ok(n)
    }

    /// Tells the peer that no more comes, where the protocol has a word for that.
    pub(super) fn say_end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close();
            if let Err(e) = self.push() {
                log::debug!("a peer was gone before its connection was closed: {e}");
            }
        }
    }
}

/// The socket takes or gives nothing yet.
pub(super) fn is_later(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}
