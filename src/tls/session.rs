//! One encrypted connection.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus, WriteTraffic};
use rustls::{AlertDescription, CertificateError, Error};
use webpki::EndEntityCert;

use super::files::Fault;
use super::setup::{Client, Server};

/// Which side of the connection this is.
#[derive(Clone, Debug)]
pub enum Role {
    Server(Server),
    Client(Client),
}

enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// A connection. It holds no buffer while nothing is on its way.
pub struct Session {
    side: Side,
    /// The beginning of a record whose rest has not come.
    input: Vec<u8>,
    /// Encrypted; the first `sent` bytes have left.
    out: Vec<u8>,
    sent: usize,
    /// The peer said that it sends no more.
    peer_closed: bool,
    closed: bool,
    /// Nothing has come yet.
    fresh: bool,
    /// The peer broke the rules: nothing more is made of what it sends.
    failed: bool,
}

/// What a record may have beside its content, with much room, in bytes.
const RECORD_OVERHEAD: usize = 64;
const RECORD_BYTES: usize = 16 * 1024;

impl Session {
    /// A connection that was accepted.
    ///
    /// # Errors
    /// The library refuses its configuration.
    pub fn accepted(server: &Server) -> Result<Self, Fault> {
        let new = UnbufferedServerConnection::new(server.0.clone());
        new.map(|c| Self::new(Side::Server(c))).map_err(|e| describe(&e))
    }

    /// A connection that was made to `name`, a host name or an address.
    ///
    /// # Errors
    /// The name cannot be one of a host.
    pub fn called(client: &Client, name: &str) -> Result<Self, Fault> {
        let host = name.trim_start_matches('[').trim_end_matches(']');
        let host = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{name:?} is no name of a host"))?;
        let new = UnbufferedClientConnection::new(client.0.clone(), host);
        let mut session = new.map(|c| Self::new(Side::Client(c))).map_err(|e| describe(&e))?;
        session.feed(&mut [], &mut Vec::new())?;
        Ok(session)
    }

    fn new(side: Side) -> Self {
        let (input, out) = (Vec::new(), Vec::new());
        Self {
            side,
            input,
            out,
            sent: 0,
            peer_closed: false,
            closed: false,
            fresh: true,
            failed: false,
        }
    }

    /// The handshake is complete: bytes may be sent.
    pub fn is_ready(&self) -> bool {
        !match &self.side {
            Side::Server(c) => c.is_handshaking(),
            Side::Client(c) => c.is_handshaking(),
        }
    }

    /// Nothing has come yet.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// The peer said that it sends no more. An end without that word may be a cut.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// The names of hosts in the peer's certificate; empty without one.
    pub fn peer_names(&self) -> Vec<String> {
        let chain = match &self.side {
            Side::Server(c) => c.peer_certificates(),
            Side::Client(c) => c.peer_certificates(),
        };
        let Some(cert) = chain.and_then(<[_]>::first) else { return Vec::new() };
        let Ok(cert) = EndEntityCert::try_from(cert) else { return Vec::new() };
        cert.valid_dns_names().map(str::to_owned).collect()
    }

    /// Takes bytes that came and appends what they mean to `plain`. What is to be answered stands
    /// in [`Self::unsent`].
    ///
    /// # Errors
    /// The connection is over; the peer may still be told what stands in [`Self::unsent`].
    pub fn feed(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<(), Fault> {
        if self.failed {
            return Err("the connection is over".to_owned());
        }
        if self.closed {
            // Whoever said goodbye does not listen any more.
            return Ok(());
        }
        self.fresh &= bytes.is_empty();
        if self.input.is_empty() {
            let used = self.run(bytes, plain)?;
            self.input.extend_from_slice(bytes.get(used..).unwrap_or_default());
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(bytes);
        let used = self.run(&mut input, plain)?;
        if used < input.len() {
            input.drain(..used);
            self.input = input;
        }
        Ok(())
    }

    /// The bytes that were used. The library keeps places in them, and must see what is left of
    /// them each time that it is asked, also after a fault.
    fn run(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Fault> {
        let mut used = 0_usize;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let (n, next) = self.step(rest, plain, &mut |_, _| {});
            used = used.saturating_add(n);
            match next {
                Ok(Next::Again) => {}
                Ok(Next::Closed) => self.peer_closed = true,
                Ok(Next::Wait) if self.peer_closed => return Ok(bytes.len()),
                Ok(Next::Wait) => return Ok(used),
                Err(e) => {
                    self.failed = true;
                    // Once more, for what the peer is to be told. Not twice: then it would look at
                    // the bytes again.
                    let rest = bytes.get_mut(used..).unwrap_or_default();
                    let _told = self.step(rest, plain, &mut |_, _| {});
                    return Err(describe(&e));
                }
            }
        }
    }

    fn step(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        write: &mut dyn FnMut(&mut dyn Writer, &mut Vec<u8>),
    ) -> (usize, Result<Next, Error>) {
        let out = &mut self.out;
        match &mut self.side {
            Side::Server(c) => step(c.process_tls_records(bytes), plain, out, write),
            Side::Client(c) => step(c.process_tls_records(bytes), plain, out, write),
        }
    }

    /// Encrypts bytes behind what waits. The handshake must be complete.
    pub fn send(&mut self, plain: &[u8]) {
        if !plain.is_empty() {
            self.write(&mut |writer, out| writer.encrypt(plain, out));
        }
    }

    /// Tells the peer that no more comes.
    pub fn close(&mut self) {
        if self.is_ready() && !std::mem::replace(&mut self.closed, true) {
            self.write(&mut |writer, out| writer.close(out));
        }
    }

    fn write(&mut self, what: &mut dyn FnMut(&mut dyn Writer, &mut Vec<u8>)) {
        if self.failed {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        // Records of the handshake may have to leave before.
        loop {
            let (used, next) = self.step(&mut input, &mut Vec::new(), what);
            input.drain(..used.min(input.len()));
            if !matches!(next, Ok(Next::Again)) {
                self.failed |= next.is_err();
                break;
            }
        }
        if !input.is_empty() {
            self.input = input;
        }
    }

    /// Encrypted bytes for the socket.
    pub fn unsent(&self) -> &[u8] {
        self.out.get(self.sent..).unwrap_or_default()
    }

    /// So many of [`Self::unsent`] have left.
    pub fn sent(&mut self, n: usize) {
        self.sent = self.sent.saturating_add(n);
        if self.sent >= self.out.len() {
            (self.out, self.sent) = (Vec::new(), 0);
        }
    }
}

enum Next {
    Again,
    /// Nothing is left to do with these bytes.
    Wait,
    Closed,
}

/// The writing half of either side.
trait Writer {
    fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>);
    fn close(&mut self, out: &mut Vec<u8>);
}

impl<D> Writer for WriteTraffic<'_, D> {
    fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        // One for the part of a record, one for a change of keys.
        let records = plain.len().div_euclid(RECORD_BYTES).saturating_add(4);
        let room = plain.len().saturating_add(records.saturating_mul(RECORD_OVERHEAD));
        let at = out.len();
        out.resize(at.saturating_add(room), 0);
        let to = out.get_mut(at..).unwrap_or_default();
        let n = WriteTraffic::encrypt(self, plain, to).unwrap_or(0);
        out.truncate(at.saturating_add(n));
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        let at = out.len();
        out.resize(at.saturating_add(RECORD_OVERHEAD.saturating_mul(4)), 0);
        let to = out.get_mut(at..).unwrap_or_default();
        let n = self.queue_close_notify(to).unwrap_or(0);
        out.truncate(at.saturating_add(n));
    }
}

fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    write: &mut dyn FnMut(&mut dyn Writer, &mut Vec<u8>),
) -> (usize, Result<Next, Error>) {
    let used = status.discard;
    let state = match status.state {
        Ok(state) => state,
        Err(e) => return (used, Err(e)),
    };
    let next = match state {
        ConnectionState::ReadTraffic(mut read) => {
            while let Some(record) = read.next_record() {
                match record {
                    Ok(record) => plain.extend_from_slice(record.payload),
                    Err(e) => return (used, Err(e)),
                }
            }
            Next::Again
        }
        ConnectionState::EncodeTlsData(mut encode) => {
            let at = out.len();
            let mut room = RECORD_OVERHEAD;
            loop {
                out.resize(at.saturating_add(room), 0);
                match encode.encode(out.get_mut(at..).unwrap_or_default()) {
                    Ok(n) => {
                        out.truncate(at.saturating_add(n));
                        break Next::Again;
                    }
                    Err(rustls::unbuffered::EncodeError::InsufficientSize(e)) => {
                        room = e.required_size;
                    }
                    Err(_) => return (used, Err(Error::General(String::new()))),
                }
            }
        }
        ConnectionState::TransmitTlsData(transmit) => {
            transmit.done();
            Next::Again
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            write(&mut traffic, out);
            Next::Wait
        }
        ConnectionState::PeerClosed => Next::Closed,
        ConnectionState::BlockedHandshake | ConnectionState::Closed => Next::Wait,
        // Early data is never offered.
        _ => return (used, Err(Error::General(String::new()))),
    };
    (used, Ok(next))
}

/// Whether bytes begin a TLS handshake; `None` until enough of them are there.
pub fn is_hello(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [] => None,
        [0x16] => None,
        [0x16, 3] => None,
        [0x16, 3, minor, ..] => Some(*minor <= 4),
        _ => Some(false),
    }
}

/// One sentence of what went wrong, seen from this side.
fn describe(e: &Error) -> Fault {
    let text = match e {
        Error::InvalidCertificate(e) => match e {
            // Two CAs may have one name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the certificate is signed by no CA that is trusted"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate has expired, or the clock of this machine is wrong"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate is not valid yet, or the clock of this machine is wrong"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate is for another name"
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                "the certificate is not for this use"
            }
            _ => "the certificate is not valid",
        },
        Error::NoCertificatesPresented => "no certificate was shown, one is required",
        Error::InvalidMessage(_) => "the other side speaks no TLS",
        Error::PeerIncompatible(_) => "the other side does not speak TLS 1.3, or nothing else fits",
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "the other side requires a certificate of this one"
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::DecryptError => {
                "the other side does not trust the certificate of this one"
            }
            AlertDescription::CertificateExpired => "the certificate of this side has expired",
            AlertDescription::ProtocolVersion => "the other side does not speak TLS 1.3",
            other => {
                return format!("the other side ended the handshake, alert {}", u8::from(*other));
            }
        },
        Error::DecryptError => "what came was not encrypted for this connection",
        _ => "the other side broke the rules of TLS",
    };
    text.to_owned()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::tls::issue::{Issuer, Order, issue};
    use crate::tls::{Trust, client, server};
    use std::path::Path;

    const DAY: i64 = 86_400_000_000_000;

    /// A CA, a pair for this host and what both sides need.
    fn made(name: &str) -> (Server, Client) {
        let dir = std::env::temp_dir().join(format!("vardo-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = |name: &str| dir.join(name);
        let days = 1_700_000_000_000_000_000;
        let mut order = Order { from_ns: days, until_ns: days + 9_000 * DAY, ..Order::default() };
        (order.ca, order.subject) = (true, vec![(3, "ca".to_owned())]);
        let ca = issue(&order, None).unwrap();
        std::fs::write(path("ca.pem"), &ca.cert).unwrap();
        std::fs::write(path("ca.key"), &ca.key).unwrap();
        let issuer = Issuer::read(&path("ca.pem"), &path("ca.key")).unwrap();
        let dns = vec!["server.global.nomad".to_owned(), "localhost".to_owned()];
        let order = Order { ca: false, dns, answers: true, calls: true, ..order };
        let pair = issue(&order, Some(&issuer)).unwrap();
        std::fs::write(path("cert.pem"), &pair.cert).unwrap();
        std::fs::write(path("cert.key"), &pair.key).unwrap();
        let (cert, key) = (path("cert.pem"), path("cert.key"));
        let trust = Trust { file: path("ca.pem"), names: true, ..Trust::default() };
        let caller = client(&trust, Some((&cert, &key))).unwrap();
        let wrong = server(&cert, &path("ca.key"), None).unwrap_err();
        assert!(wrong.ends_with("do not belong together"), "{wrong}");
        assert!(server(Path::new("/none"), &key, None).unwrap_err().ends_with("no such file"));
        let listener = server(&cert, &key, Some(&path("ca.pem"))).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        (listener, caller)
    }

    fn take(from: &mut Session) -> Vec<u8> {
        let bytes = from.unsent().to_vec();
        from.sent(bytes.len());
        bytes
    }

    /// Carries bytes in pieces until nobody has any; what each side was told.
    fn talk(a: &mut Session, b: &mut Session, piece: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut to_a, mut to_b) = (Vec::new(), Vec::new());
        loop {
            let (from_a, from_b) = (take(a), take(b));
            if from_a.is_empty() && from_b.is_empty() {
                return (to_a, to_b);
            }
            for bytes in from_a.chunks(piece) {
                b.feed(&mut bytes.to_vec(), &mut to_b).unwrap();
            }
            for bytes in from_b.chunks(piece) {
                a.feed(&mut bytes.to_vec(), &mut to_a).unwrap();
            }
        }
    }

    #[test]
    fn bytes_arrive_however_they_are_cut() {
        let (listener, caller) = made("cut");
        let long: Vec<u8> = (0..100_000u32).map(|i| i.to_le_bytes()[0]).collect();
        for piece in [1, 7, 1_000, 1 << 20] {
            let mut there = Session::accepted(&listener).unwrap();
            let mut here = Session::called(&caller, "localhost").unwrap();
            talk(&mut here, &mut there, piece);
            assert!(here.is_ready() && there.is_ready());
            assert_eq!(there.peer_names(), ["server.global.nomad", "localhost"]);
            here.send(b"question");
            there.send(&long);
            let (to_here, to_there) = talk(&mut here, &mut there, piece);
            assert_eq!((to_here, to_there), (long.clone(), b"question".to_vec()));
            there.close();
            talk(&mut here, &mut there, piece);
            assert!(here.peer_closed() && here.input.is_empty() && here.out.is_empty());
        }
    }

    #[test]
    fn whoever_is_called_by_another_name_is_not_believed() {
        let (listener, caller) = made("name");
        let mut there = Session::accepted(&listener).unwrap();
        let mut here = Session::called(&caller, "example.org").unwrap();
        there.feed(&mut take(&mut here), &mut Vec::new()).unwrap();
        let fault = here.feed(&mut take(&mut there), &mut Vec::new()).unwrap_err();
        assert_eq!(fault, "the certificate is for another name");
        // The other side is told.
        assert!(there.feed(&mut take(&mut here), &mut Vec::new()).is_err());
        assert!(!there.is_ready());
    }

    /// Bytes of a handshake, changed at one place and cut at another, end the connection or do not
    /// matter; nothing panics and nobody is believed by accident.
    #[test]
    fn damaged_handshakes_do_no_harm() {
        let (listener, caller) = made("damage");
        let mut seed = 7_u64;
        let mut draw = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % below
        };
        for round in 0..400 {
            let mut there = Session::accepted(&listener).unwrap();
            let mut here = Session::called(&caller, "localhost").unwrap();
            let mut plain = Vec::new();
            for _ in 0..4 {
                for turn in 0..2 {
                    let (from, to) = match turn {
                        0 => (&mut here, &mut there),
                        _ => (&mut there, &mut here),
                    };
                    let mut bytes = take(from);
                    if bytes.is_empty() {
                        continue;
                    }
                    if (round + turn) % 2 == 0 {
                        let at = draw(bytes.len());
                        bytes[at] ^= 1 << draw(8);
                    }
                    let cut = draw(bytes.len());
                    let (first, second) = bytes.split_at_mut(cut);
                    let whole = to.feed(first, &mut plain).is_ok();
                    to.send(b"too early");
                    if whole {
                        drop(to.feed(second, &mut plain));
                    }
                    to.close();
                }
            }
            assert!(plain.is_empty() || plain.starts_with(b"too early"));
        }
    }
}
