//! Documents that requests wait for: fetched on the loop, each bounded in size and time.
//!
//! Requests for one document wait for the same fetch. Redirects are not followed: whoever answers
//! at the address that was configured does not choose what this machine asks for next.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::call::{Call, Callers, Heard, Next};
use super::core::Core;
use super::front::{Front, Timer};
use super::serve::Form;
use super::sock::State;
use super::tokens;
use crate::api::ApiError;
use crate::dns::Found;
use crate::http::{Request, response::Response};
use crate::limits::{DOCUMENT_BYTES_MAX, FETCH_NS_MAX, FETCH_ROUNDS_MAX, FETCHES_MAX};
use crate::os;
use crate::routes::fetch::{Ask, Document, Fetched};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::{BTreeMap, Now};
use crate::store::Reader;

/// A request that waits.
struct Waiter {
    conn: Key,
    form: Form,
    request: Box<Request>,
}

struct Fetch {
    ask: Ask,
    key: [u8; 32],
    /// Where it may be, as far as that was not tried.
    addrs: Vec<IpAddr>,
    call: Option<Call>,
    response: Response,
    waiters: Vec<Waiter>,
}

#[derive(Default)]
pub(super) struct Fetches {
    open: Slab<Fetch>,
    /// What came already for requests that are not answered yet.
    came: BTreeMap<Key, Vec<Document>>,
    callers: Callers,
    /// Those whose host's address is not known yet.
    unnamed: Vec<Key>,
    /// Those with more to read, and those that are over.
    again: Vec<Key>,
    over: Vec<(Key, Fetched)>,
}

impl Fetches {
    /// What was fetched for the request of a connection.
    pub(super) fn of(&self, conn: Key) -> &[Document] {
        self.came.get(&conn).map_or(&[], Vec::as_slice)
    }

    /// The request of a connection is over.
    pub(super) fn forget(&mut self, conn: Key) {
        self.came.remove(&conn);
    }

    /// Nobody is left on a connection.
    pub(super) fn leave(&mut self, conn: Key) {
        self.forget(conn);
        let at = self.open.iter().find(|(_, f)| f.waiters.iter().any(|w| w.conn == conn));
        let Some(at) = at.map(|(key, _)| key) else { return };
        let Some(fetch) = self.open.get_mut(at) else { return };
        fetch.waiters.retain(|w| w.conn != conn);
        // What says the same to all is of use to the next one.
        if fetch.waiters.is_empty() && !fetch.ask.keep {
            self.open.remove(at);
        }
    }

    /// Something is left to do without a new event.
    pub(super) fn has_work(&self) -> bool {
        !self.again.is_empty() || !self.over.is_empty()
    }

    /// The fetch at a place of the table.
    pub(super) fn key_at(&self, index: usize) -> Option<Key> {
        self.open.key_at(u32::try_from(index).ok()?)
    }

    /// Nothing more is waited for.
    pub(super) fn give_up(&mut self, at: Key) {
        if let Some(fetch) = self.open.get_mut(at) {
            fetch.addrs.clear();
            let after = FETCH_NS_MAX / crate::limits::SECOND;
            self.over.push((at, Err(format!("no whole answer came within {after} s"))));
        }
    }

    /// Something happened on a connection.
    pub(super) fn ready(&mut self, at: Key) {
        let Some(fetch) = self.open.get_mut(at) else { return };
        match fetch.go_on() {
            Ok(None) => {}
            Ok(Some(Next::More)) => self.again.push(at),
            Ok(Some(_)) => {
                let Some(status) = fetch.response.status() else { return };
                let body: Rc<[u8]> = fetch.response.body().into();
                let fetched = match body.len() > DOCUMENT_BYTES_MAX {
                    true => Err(format!("the answer is longer than {DOCUMENT_BYTES_MAX} bytes")),
                    false => Ok((status, body)),
                };
                self.over.push((at, fetched));
            }
            Err(why) => self.over.push((at, Err(why))),
        }
    }
}

impl Fetch {
    /// `Closed` where the answer is whole, `More` where there is more to read.
    fn go_on(&mut self) -> Result<Option<Next>, String> {
        let Some(call) = &mut self.call else { return Ok(None) };
        let mut heard = Vec::new();
        let next = call.go_on(&mut heard);
        for heard in heard {
            if let Heard::Data(bytes) = heard {
                self.response.feed(&bytes)?;
            }
        }
        let is_done = self.response.is_done();
        match next {
            _ if is_done => Ok(Some(Next::Closed)),
            Err(e) => Err(os::error_text(&e)),
            Ok(Next::Closed) if self.response.ends_with_connection() && call.was_ended() => {
                Ok(Some(Next::Closed))
            }
            Ok(Next::Closed) => Err("the connection was closed before the answer ended".to_owned()),
            Ok(Next::More) => Ok(Some(Next::More)),
            Ok(Next::Wait) => Ok(None),
        }
    }
}

impl Front {
    /// Has a request wait for a document.
    pub(super) fn fetch(
        &mut self,
        conn: Key,
        form: Form,
        request: Box<Request>,
        ask: Ask,
        now: Now,
        core: &mut Core,
    ) {
        let rounds = self.fetches.came.entry(conn).or_default();
        let refused = match () {
            () if rounds.len() >= FETCH_ROUNDS_MAX => Some("too many documents are needed"),
            () if self.fetches.open.len() >= FETCHES_MAX => Some("too many documents are fetched"),
            () => None,
        };
        if let Some(why) = refused {
            self.fetches.forget(conn);
            return self.answer(conn, form, ApiError::new(503, why).into(), &core.info);
        }
        if let Some(sock) = self.socks.get_mut(conn) {
            sock.state = State::Fetching;
        }
        let waiter = Waiter { conn, form, request };
        let key = ask.key();
        let same = |f: &Fetch| ask.keep && f.ask.keep && f.key == key;
        let at = self.fetches.open.iter().find(|(_, f)| same(f)).map(|(at, _)| at);
        if let Some(fetch) = at.and_then(|at| self.fetches.open.get_mut(at)) {
            return fetch.waiters.push(waiter);
        }
        let response = Response::of(DOCUMENT_BYTES_MAX + 1);
        let (addrs, waiters) = (Vec::new(), vec![waiter]);
        let fetch = Fetch { ask, key, addrs, call: None, response, waiters };
        let at = self.fetches.open.insert(fetch);
        self.wheel.insert(now.mono_ns + FETCH_NS_MAX, Timer::Fetch(at));
        self.seek(at, now, core);
    }

    /// Looks up where a document is, and connects.
    fn seek(&mut self, at: Key, now: Now, core: &mut Core) {
        let Some(fetch) = self.fetches.open.get_mut(at) else { return };
        match core.find(&fetch.ask.url.host, now) {
            Found::Pending => self.fetches.unnamed.push(at),
            Found::Failed(why) => self.fetches.over.push((at, Err(why))),
            Found::Known(mut addrs) => {
                addrs.reverse();
                fetch.addrs = addrs;
                self.call(at, "the host has no address".to_owned());
            }
        }
    }

    /// Connects to the next address of a host; `why`: what is told where there is none.
    fn call(&mut self, at: Key, mut why: String) {
        while let Some(fetch) = self.fetches.open.get_mut(at)
            && let Some(ip) = fetch.addrs.pop()
        {
            match self.connect(at, ip) {
                Ok(()) => return,
                Err(e) => why = e,
            }
        }
        self.fetches.over.push((at, Err(why)));
    }

    fn connect(&mut self, at: Key, ip: IpAddr) -> Result<(), String> {
        let Some(fetch) = self.fetches.open.get_mut(at) else { return Ok(()) };
        let url = &fetch.ask.url;
        let pem = &fetch.ask.pem;
        let session = url.secure.then(|| self.fetches.callers.session(&url.host, false, pem));
        let (session, request) = (session.transpose()?, fetch.ask.request());
        let failed = |e: std::io::Error| os::error_text(&e);
        let addr = SocketAddr::new(ip, url.port);
        let call = fetch.call.insert(Call::begin(addr, session, request).map_err(failed)?);
        let registry = self.execs.registry.as_ref().ok_or("the loop does not run")?;
        call.register(registry, tokens::of(tokens::FETCHES, at)).map_err(failed)
    }

    /// Goes on with what has more to read, and with the requests whose documents are there.
    pub(super) fn tend_fetches(&mut self, now: Now, reader: Reader<'_>, core: &mut Core) {
        for at in std::mem::take(&mut self.fetches.again) {
            self.fetches.ready(at);
        }
        for at in std::mem::take(&mut self.fetches.unnamed) {
            self.seek(at, now, core);
        }
        for (at, fetched) in std::mem::take(&mut self.fetches.over) {
            let fetch = self.fetches.open.get_mut(at);
            // Nobody listens there: elsewhere somebody may.
            if let (Some(fetch), Err(why)) = (fetch, &fetched)
                && !fetch.addrs.is_empty()
                && fetch.response.is_empty()
            {
                self.call(at, why.clone());
                continue;
            }
            let Some(fetch) = self.fetches.open.remove(at) else { continue };
            if let Err(why) = &fetched {
                let Ask { what, url, .. } = &fetch.ask;
                log::warn!("the {what} at {} could not be fetched: {why}", url.authority());
            }
            if fetch.ask.keep {
                core.info.documents.keep(fetch.key, now, fetched.clone());
            }
            for Waiter { conn, form, request } in fetch.waiters {
                if let Some(sock) = self.socks.get_mut(conn) {
                    sock.state = State::Idle;
                }
                let document = Document { what: fetch.ask.what, fetched: fetched.clone() };
                self.fetches.came.entry(conn).or_default().push(document);
                self.admit(conn, form, *request, now, reader, core);
                self.resume(conn, now, reader, core);
            }
        }
    }
}
