//! Regions that are reached by the HTTP address of one of their servers: requests for them go there
//! as they are, and the answers come back as they come (`region_addresses` of the configuration).
//!
//! Each request has a connection of its own there, which ends with it. Nothing is read of an
//! answer that the client does not take. A number in the request counts the agents on its way, so
//! that two regions that name each other do not play ball.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use mio::Interest;
use mio::net::TcpStream;

use super::channel::Channel;
use super::config::HttpAddress;
use super::core::Core;
use super::front::{Front, Timer};
use super::serve::Form;
use super::sock::State;
use super::tokens;
use crate::api::ApiError;
use crate::dns::Found;
use crate::http::passage::{Passage, Wishes};
use crate::http::{Method, Request, reply};
use crate::limits::{
    EXEC_INPUT_BYTES_MAX, REGION_ANSWER_NS, REGION_CONNECT_NS, REGION_NEXT_NS, REGION_REQUESTS_MAX,
    REGION_UPLOAD_NS, RELAY_HOPS_MAX, WAIT_JITTER_DIVISOR,
};
use crate::os::{self, net};
use crate::routes::{Answer, Params};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::wheel::TimerId;
use crate::stdx::{BTreeMap, Now};
use crate::store::Reader;
use crate::tls::{self, Session};

/// Reads of an answer at a time, before others have their turn.
const READS_MAX: usize = 8;
/// Longest refusal of a session that is told, in bytes.
const REFUSAL_BYTES_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct Regions {
    addresses: BTreeMap<String, HttpAddress>,
    /// How the encrypted ones are called.
    client: Option<tls::Client>,
    open: Slab<Errand>,
    /// Those whose hosts are being looked up.
    finding: Vec<Key>,
    /// One of these has not been looked for yet.
    fresh: bool,
}

/// A request for another region.
struct Errand {
    /// The client's connection.
    sock: Key,
    form: Form,
    region: String,
    address: HttpAddress,
    /// Addresses of the host that were not tried yet, the next one last.
    others: Vec<IpAddr>,
    channel: Option<Channel>,
    connected: bool,
    /// What is to be sent, and how much of it is.
    request: Vec<u8>,
    sent: usize,
    /// It may change something there.
    writes: bool,
    session: bool,
    /// More of the request may come: a session, or a large body.
    feeds: bool,
    passage: Passage,
    /// Of a session that was refused: what was said.
    refusal: Vec<u8>,
    /// The socket may hold bytes that no new event will tell of.
    unread: bool,
    timer: Option<TimerId>,
    /// How long the answer may take to begin, ns.
    patience_ns: u64,
}

impl Regions {
    pub(super) fn has_news(&self) -> bool {
        self.fresh
    }

    pub(super) fn configure(&mut self, addresses: BTreeMap<String, HttpAddress>) {
        self.addresses = addresses;
    }

    /// How connections are encrypted from now on.
    pub(super) fn secure(&mut self, client: Option<tls::Client>) {
        self.client = client;
    }

    /// More of what the caller of a session sends can be taken.
    pub(super) fn has_room(&self, id: Key) -> bool {
        self.open.get(id).is_none_or(|e| e.request.len() - e.sent < EXEC_INPUT_BYTES_MAX)
    }

    pub(super) fn take_input(&mut self, id: Key, bytes: &[u8]) {
        if let Some(errand) = self.open.get_mut(id) {
            errand.request.extend_from_slice(bytes);
        }
    }
}

impl Front {
    /// Sends a request to another region.
    pub(super) fn send_abroad(
        &mut self,
        key: Key,
        mut form: Form,
        mut req: Request,
        region: String,
        now: Now,
        core: &Core,
    ) {
        let Some(address) = self.regions.addresses.get(&region).cloned() else { return };
        let refusal = if req.hops >= RELAY_HOPS_MAX {
            Some(ApiError::failed("the request was passed on too often"))
        } else if matches!(req.method, Method::Other | Method::Connect) {
            Some(ApiError::new(405, "Invalid method"))
        } else if self.regions.open.len() >= REGION_REQUESTS_MAX {
            Some(ApiError::new(503, "too many requests for other regions at once"))
        } else {
            None
        };
        if let Some(e) = refusal {
            return self.answer(key, form, e.into(), &core.info);
        }
        let Some(sock) = self.socks.get_mut(key) else { return };
        let session = sock.ws.is_some();
        let mut request = Vec::new();
        let writes = !matches!(req.method, Method::Get | Method::Head | Method::Options);
        req.hops += 1;
        if !req.cross_site {
            // It is this agent's own page that asks, and Host is another one there.
            req.origin = None;
        }
        if session {
            // Its greeting was taken here.
            let target = without(req.target(), "ws_handshake");
            req = req.aimed_at(target);
        }
        req.keep_alive = session;
        req.write(&address.authority(), &mut request);
        let upload = req.upload.is_some();
        if upload {
            // The rest of the body goes the same way, as it is.
            form.keep_alive = false;
            request.extend(sock.conn.take_rest());
            if sock.conn.begin_upload() {
                sock.out.copy(reply::CONTINUE);
            }
        }
        // What the caller has sent behind its request.
        request.extend(sock.ws.as_mut().into_iter().flat_map(|ws| ws.take_rest()));
        let passage = Passage::new(Wishes {
            head_only: req.method == Method::Head,
            http10: form.is_http10(),
            keep_alive: form.keep_alive && !sock.via.is_link(),
            session,
        });
        let wait_ns = match Params::parse(req.path(), req.query()) {
            Ok(params) if params.index > 0 => params.wait_ns,
            _ => 0,
        };
        let upload_ns = if upload { REGION_UPLOAD_NS } else { 0 };
        let patience_ns = REGION_ANSWER_NS + upload_ns + wait_ns + wait_ns / WAIT_JITTER_DIVISOR;
        let id = self.regions.open.insert(Errand {
            sock: key,
            form,
            region,
            address,
            others: Vec::new(),
            channel: None,
            connected: false,
            request,
            sent: 0,
            writes,
            session,
            feeds: session || upload,
            passage,
            refusal: Vec::new(),
            unread: false,
            timer: None,
            patience_ns,
        });
        let timer = self.wheel.insert(now.mono_ns + REGION_CONNECT_NS, Timer::Region(id));
        if let Some(errand) = self.regions.open.get_mut(id) {
            errand.timer = Some(timer);
        }
        sock.state = State::Region(id);
        self.regions.finding.push(id);
        self.regions.fresh = true;
    }

    /// Goes on with requests whose hosts are found.
    pub(super) fn call_regions(&mut self, now: Now, reader: Reader<'_>, core: &mut Core) {
        self.regions.fresh = false;
        for id in std::mem::take(&mut self.regions.finding) {
            let Some(errand) = self.regions.open.get_mut(id) else { continue };
            match core.find(&errand.address.host, now) {
                Found::Pending => self.regions.finding.push(id),
                Found::Failed(why) => self.fail(id, 502, &why, now, reader, core),
                Found::Known(mut ips) => {
                    ips.reverse();
                    errand.others = ips;
                    self.call_next(id, "its host has no address", now, reader, core);
                }
            }
        }
    }

    /// Connects to the next address of the host; `why`: what came of the last one.
    fn call_next(&mut self, id: Key, why: &str, now: Now, reader: Reader<'_>, core: &mut Core) {
        let mut why = why.to_owned();
        loop {
            let Some(errand) = self.regions.open.get_mut(id) else { return };
            let Some(ip) = errand.others.pop() else {
                return self.fail(id, 502, &why, now, reader, core);
            };
            let opened = open(errand, ip, self.regions.client.as_ref()).and_then(|mut channel| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                let token = tokens::of(tokens::REGIONS, id);
                let registry = self.execs.registry.as_ref().ok_or("nothing is watched yet")?;
                let done = registry.register(channel.stream(), token, interest);
                done.map(|()| channel).map_err(|e| os::error_text(&e))
            });
            match opened {
                Ok(channel) => {
                    errand.channel = Some(channel);
                    let last = errand.others.is_empty();
                    let ns = if last { REGION_CONNECT_NS } else { REGION_NEXT_NS };
                    return self.patient(id, now.mono_ns + ns);
                }
                Err(e) => why = e,
            }
        }
    }

    /// Something happened on a connection.
    pub(super) fn region_ready(
        &mut self,
        index: usize,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let id = u32::try_from(index).ok().and_then(|i| self.regions.open.key_at(i));
        if let Some(id) = id {
            self.move_errand(id, now, reader, core);
        }
    }

    /// As [`Self::move_errand`], by the connection of the client.
    pub(super) fn move_region(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        if let Some(State::Region(id)) = self.socks.get(key).map(|s| &s.state) {
            self.move_errand(*id, now, reader, core);
        }
    }

    /// Moves what can be moved between a client and another region.
    pub(super) fn move_errand(&mut self, id: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(errand) = self.regions.open.get_mut(id) else { return };
        let (key, before) = (errand.sock, errand.connected);
        match errand.connect().and_then(|()| errand.send()) {
            Ok(()) => {}
            Err(why) if !before && !errand.connected => {
                errand.channel = None;
                return self.call_next(id, &why, now, reader, core);
            }
            Err(why) => return self.fail(id, 502, &why, now, reader, core),
        }
        if errand.connected && !before {
            let due = now.mono_ns + errand.patience_ns;
            self.patient(id, due);
        }
        if self.regions.open.get(id).is_some_and(|e| e.feeds && e.request.is_empty()) {
            self.more_input(key, core);
        }
        let mut passed = Vec::new();
        for round in 0.. {
            let (Some(errand), Some(sock)) =
                (self.regions.open.get_mut(id), self.socks.get_mut(key))
            else {
                return;
            };
            errand.unread = sock.out.is_full() || round == READS_MAX;
            if errand.unread {
                if round == READS_MAX {
                    self.run_later(key);
                }
                break;
            }
            let begun = errand.passage.status().is_some();
            passed.clear();
            let read = errand.read(&mut self.buf, &mut self.plain, &mut passed);
            if !begun && let Some(status) = errand.passage.status() {
                if let Some(timer) = errand.timer.take() {
                    self.wheel.cancel(timer);
                }
                self.meters.answered(status, sock.asked.take());
            }
            let refused = errand.session && errand.passage.status().is_some_and(|s| s != 101);
            if refused {
                let room = REFUSAL_BYTES_MAX.saturating_sub(errand.refusal.len());
                errand.refusal.extend(passed.iter().take(room));
            } else {
                sock.out.copy(&passed);
            }
            match read {
                Ok(true) if !errand.passage.is_done() => {}
                Ok(false) => break,
                Ok(true) => return self.arrived(id, now, reader, core),
                Err(why) => return self.fail(id, 502, &why, now, reader, core),
            }
        }
        self.flush(key, now, core);
    }

    /// The whole answer came.
    fn arrived(&mut self, id: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(errand) = self.end_errand(id) else { return };
        let key = errand.sock;
        let Some(sock) = self.socks.get_mut(key) else { return };
        sock.state = State::Idle;
        match errand.passage.status() {
            Some(status) if errand.session && status != 101 => {
                let body = errand.refusal;
                let answer = Answer { status, ..Answer::bytes(body) };
                self.refuse(key, &answer);
            }
            _ => {
                sock.closing |= errand.session || errand.passage.closes();
                sock.linger |= sock.conn.is_uploading();
            }
        }
        self.resume(key, now, reader, core);
    }

    /// No whole answer will come.
    fn fail(
        &mut self,
        id: Key,
        status: u16,
        why: &str,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let Some(errand) = self.end_errand(id) else { return };
        let key = errand.sock;
        let (region, address) = (&errand.region, &errand.address);
        let mut text = format!("region {region:?} ({address}): {why}");
        if errand.writes && errand.connected {
            text.push_str("; the outcome is not known");
        }
        let Some(sock) = self.socks.get_mut(key) else { return };
        sock.state = State::Idle;
        if errand.passage.status().is_none() || errand.session {
            let e = ApiError::new(status, text);
            self.answer(key, errand.form, e.into(), &core.info);
            return self.resume(key, now, reader, core);
        }
        log::warn!("{text}");
        if sock.via.is_link() {
            return self.close(key, core);
        }
        // Without its end, so that nobody takes it for whole.
        sock.closing = true;
        self.flush(key, now, core);
    }

    /// Nothing came for too long.
    pub(super) fn region_slow(&mut self, id: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(errand) = self.regions.open.get_mut(id) else { return };
        if errand.connected {
            return self.fail(id, 504, "no answer came in time", now, reader, core);
        }
        errand.channel = None;
        let why = "the host could not be reached in time";
        if errand.others.is_empty() {
            return self.fail(id, 504, why, now, reader, core);
        }
        self.call_next(id, why, now, reader, core);
    }

    /// Forgets a request.
    fn end_errand(&mut self, id: Key) -> Option<Errand> {
        let errand = self.regions.open.remove(id)?;
        if let Some(timer) = errand.timer {
            self.wheel.cancel(timer);
        }
        Some(errand)
    }

    /// How long the next thing is waited for, mono ns.
    fn patient(&mut self, id: Key, until: u64) {
        let Some(errand) = self.regions.open.get_mut(id) else { return };
        let timer = self.wheel.insert(until, Timer::Region(id));
        if let Some(old) = errand.timer.replace(timer) {
            self.wheel.cancel(old);
        }
    }

    /// The client is gone.
    pub(super) fn drop_errand(&mut self, id: Key) {
        drop(self.end_errand(id));
    }

    /// The client has taken something: more of an answer may be read.
    pub(super) fn errand_goes_on(&mut self, key: Key) {
        let Some(sock) = self.socks.get(key) else { return };
        let State::Region(id) = sock.state else { return };
        if !sock.out.is_full() && self.regions.open.get(id).is_some_and(|e| e.unread) {
            self.run_later(key);
        }
    }
}

/// A connection to one address of a host.
fn open(errand: &Errand, ip: IpAddr, client: Option<&tls::Client>) -> Result<Channel, String> {
    let address = &errand.address;
    let session = match (address.secure, client) {
        (false, _) => None,
        (true, Some(client)) => Some(Session::called(client, &address.host)?),
        (true, None) => return Err("certificates cannot be checked".to_owned()),
    };
    let stream = TcpStream::connect(SocketAddr::new(ip, address.port));
    let stream = stream.map_err(|e| os::error_text(&e))?;
    if let Err(e) = stream.set_nodelay(true).and_then(|()| net::keep_alive(&stream)) {
        log::debug!("a connection to {address}: {e}");
    }
    Ok(Channel::new(stream, session))
}

impl Errand {
    /// Sees whether the connection stands.
    ///
    /// # Errors
    /// Why it does not and never will.
    fn connect(&mut self) -> Result<(), String> {
        let Some(channel) = self.channel.as_mut().filter(|_| !self.connected) else {
            return Ok(());
        };
        let text = |e: std::io::Error| os::error_text(&e);
        if let Some(e) = channel.stream().take_error().map_err(text)? {
            return Err(text(e));
        }
        match channel.stream().peer_addr() {
            Ok(_) => self.connected = true,
            Err(e) if e.kind() == ErrorKind::NotConnected => {}
            Err(e) => return Err(text(e)),
        }
        Ok(())
    }

    /// Sends what the socket takes now.
    fn send(&mut self) -> Result<(), String> {
        let Some(channel) = self.channel.as_mut().filter(|_| self.connected) else {
            return Ok(());
        };
        let text = |e: std::io::Error| os::error_text(&e);
        channel.push().map_err(text)?;
        while let Some(rest) = self.request.get(self.sent..).filter(|r| !r.is_empty()) {
            match channel.write(rest) {
                Ok(0) => return Err("the connection was lost".to_owned()),
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // An answer may have come before all was sent: reading shows it, or the end.
                Err(_) => return Ok(()),
            }
        }
        if self.feeds {
            (self.request, self.sent) = (Vec::new(), 0);
        }
        Ok(())
    }

    /// Reads once; false where nothing more is there. `passed`: what the client is to get.
    ///
    /// # Errors
    /// Why no more will come, though more should.
    fn read(
        &mut self,
        buf: &mut [u8],
        plain: &mut Vec<u8>,
        passed: &mut Vec<u8>,
    ) -> Result<bool, String> {
        let Some(channel) = self.channel.as_mut().filter(|_| self.connected) else {
            return Ok(false);
        };
        match channel.read(buf, plain) {
            Ok((0, _)) => {
                // With TLS an end without goodbye may be a cut.
                if channel.session().is_some_and(|s| !s.peer_closed()) && !self.passage.is_done() {
                    return Err("the connection was cut".to_owned());
                }
                self.passage.end(passed)?;
                Ok(true)
            }
            Ok((n, bytes)) => {
                self.passage.feed(bytes, passed)?;
                // The handshake may have come to its end.
                self.send()?;
                Ok(n > 0)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(true),
            Err(e) => Err(os::error_text(&e)),
        }
    }
}

/// A target without one of its parameters.
fn without(target: &str, name: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let other = |part: &&str| part.split('=').next() != Some(name);
    let kept: Vec<&str> = query.split('&').filter(other).collect();
    format!("{path}?{}", kept.join("&"))
}
