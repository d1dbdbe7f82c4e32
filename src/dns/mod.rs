//! Names of hosts: a small resolver as values. It asks the name servers of the machine, as a stub
//! resolver does (RFC 1035, RFC 1123 6.1.3); sockets belong to its owner.
//!
//! ```text
//! find(name) ──▶ Known | Pending | Failed      take_out() ──▶ Send | Close ──▶ sockets
//!                                              received(), failed(), tick() ◀── sockets, clock
//! ```
//!
//! [`Resolver::find`] is asked again and again by those who need a name, in every turn while it is
//! `Pending`: it begins what is to be asked, and remembers what was answered for as long as the
//! answer says. What cannot be refreshed stays in use: better an address of yesterday than none.

mod files;
mod message;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use files::{Settings, hosts, settings};
pub use message::{Kind, Name, Said, answer, query};

use crate::limits::{
    DNS_ANSWER_NS_MAX, DNS_ANSWER_NS_MIN, DNS_FAILED_NS, DNS_FILES_NS, DNS_NAMES_MAX, DNS_OTHER_NS,
    DNS_STALE_NS, DNS_TRY_NS, DNS_WORK_MAX, SECOND,
};
use crate::stdx::{BTreeMap, Entropy, Now};

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not empty; those of version 4 first.
    Known(Vec<IpAddr>),
    /// Not yet: ask again in a later turn.
    Pending,
    /// There are none, and why: a sentence that names the host.
    Failed(String),
}

/// For the sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send datagrams from a socket of its own that is connected to this server. Whatever comes
    /// back belongs to the number.
    Send(u32, SocketAddr, Vec<Vec<u8>>),
    /// Nothing more is expected there.
    Close(u32),
}

/// The texts that say where names are found, as they are on disk now: `/etc/hosts`, and
/// `/etc/resolv.conf`. Reading files is left to the one who makes this.
#[derive(Clone, Copy, Debug)]
pub struct Files(pub fn() -> (Vec<u8>, Vec<u8>));

/// What was asked for once.
#[derive(Debug, Default)]
struct Entry {
    /// The last good answer.
    addresses: Vec<IpAddr>,
    error: Option<String>,
    /// Until when the above holds, mono ns.
    until: u64,
    used: u64,
    work: Option<Work>,
}

/// A question under way.
#[derive(Debug)]
struct Work {
    since: u64,
    /// The name as it may be completed, the next one last.
    candidates: Vec<Name>,
    attempt: u32,
    /// Of the attempt under way, and of its two questions.
    number: u32,
    ids: [u16; 2],
    said: [Option<Said>; 2],
    give_up: u64,
}

const KINDS: [Kind; 2] = [Kind::V4, Kind::V6];

/// Attempts have numbers below this one, so that there is room for more beside them.
const NUMBERS: u32 = 1 << 28;

/// Times that each server is asked, each time for twice as long.
const ROUNDS: u32 = 3;

/// See the module.
#[derive(Debug)]
pub struct Resolver {
    files: Files,
    hosts: Vec<u8>,
    settings: Settings,
    /// When the files are read again, mono ns.
    read_at: u64,
    names: BTreeMap<String, Entry>,
    next: u32,
    out: Vec<Effect>,
    /// A name was found, or not, since the last tick.
    news: bool,
}

impl Resolver {
    /// Nothing is read or asked before the first name.
    pub fn new(files: Files) -> Self {
        let (settings, names, out) = (settings(b""), BTreeMap::new(), Vec::new());
        let (read_at, next, news) = (0, 0, false);
        Self { files, hosts: Vec::new(), settings, read_at, names, next, out, news }
    }

    /// Where a host is: an address as text (also in brackets), or a name.
    pub fn find(&mut self, host: &str, now: Now, entropy: &mut dyn Entropy) -> Found {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse() {
            return Found::Known(vec![ip]);
        }
        let host = host.to_ascii_lowercase();
        let plain = host.trim_end_matches('.');
        if plain == "localhost" || plain.ends_with(".localhost") {
            // RFC 6761: never asked for.
            return Found::Known(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Some(entry) = self.names.get_mut(&host) {
            entry.used = now.mono_ns;
            let late = |w: &Work| now.mono_ns.saturating_sub(w.since) >= DNS_STALE_NS;
            match &entry.work {
                Some(work) if entry.addresses.is_empty() || !late(work) => return Found::Pending,
                None if entry.until <= now.mono_ns => {}
                _ => return entry.found(),
            }
        }
        self.begin(&host, now, entropy)
    }

    fn begin(&mut self, host: &str, now: Now, entropy: &mut dyn Entropy) -> Found {
        if self.read_at <= now.mono_ns {
            let (hosts, resolv) = (self.files.0)();
            (self.hosts, self.settings) = (hosts, settings(&resolv));
            self.read_at = now.mono_ns + DNS_FILES_NS;
        }
        if !self.names.contains_key(host) {
            self.make_room();
        }
        let candidates = self.settings.candidates(host);
        let busy = self.names.values().filter(|e| e.work.is_some()).count() >= DNS_WORK_MAX;
        let entry = self.names.entry(host.to_owned()).or_default();
        entry.used = now.mono_ns;
        let listed = hosts(&self.hosts, host.trim_end_matches('.'));
        if !listed.is_empty() {
            (entry.addresses, entry.error) = (listed, None);
            entry.until = now.mono_ns + DNS_FILES_NS;
            return entry.found();
        }
        let candidates = match candidates {
            Ok(candidates) => candidates,
            Err(e) => {
                entry.fail(format!("lookup {host}: {e}"), now);
                return entry.found();
            }
        };
        if busy {
            return Found::Pending;
        }
        entry.work = Some(Work {
            since: now.mono_ns,
            candidates,
            attempt: 0,
            number: 0,
            ids: [0; 2],
            said: [None, None],
            give_up: 0,
        });
        self.ask(host, now, entropy);
        self.names.get(host).map_or(Found::Pending, |e| match e.work {
            Some(_) => Found::Pending,
            None => e.found(),
        })
    }

    /// Forgets the name that was longest of no use, where there are too many.
    fn make_room(&mut self) {
        if self.names.len() < DNS_NAMES_MAX {
            return;
        }
        let idle = self.names.iter().filter(|(_, e)| e.work.is_none());
        if let Some(name) = idle.min_by_key(|(_, e)| e.used).map(|(name, _)| name.clone()) {
            self.names.remove(&name);
        }
    }

    /// Sends the next attempt for a name, or gives it up.
    fn ask(&mut self, host: &str, now: Now, entropy: &mut dyn Entropy) {
        let Some(entry) = self.names.get_mut(host) else { return };
        let Some(work) = &mut entry.work else { return };
        let servers = u32::try_from(self.settings.servers.len()).unwrap_or(1);
        let (round, at) = (work.attempt / servers, work.attempt % servers);
        let server = self.settings.servers.get(at as usize).copied();
        let (Some(server), Some(name)) =
            (server.filter(|_| round < ROUNDS), work.candidates.last())
        else {
            entry.fail(format!("lookup {host}: no name server answered"), now);
            return;
        };
        self.next = (self.next + 1) % NUMBERS;
        work.attempt += 1;
        work.number = self.next;
        work.said = [None, None];
        work.give_up = now.mono_ns + (DNS_TRY_NS << round);
        let chance = entropy.u64();
        work.ids = [chance as u16, (chance >> 16) as u16];
        if work.ids[0] == work.ids[1] {
            work.ids[1] = !work.ids[0];
        }
        let queries = work.ids.into_iter().zip(KINDS).map(|(id, kind)| query(id, name, kind));
        self.out.push(Effect::Send(self.next, server, queries.collect()));
    }

    fn host_of(&self, number: u32) -> Option<String> {
        let is_it = |e: &Entry| e.work.as_ref().is_some_and(|w| w.number == number);
        self.names.iter().find(|(_, e)| is_it(e)).map(|(host, _)| host.clone())
    }

    /// A datagram came from the server of an attempt. What answers none of its questions is as
    /// good as nothing.
    pub fn received(&mut self, number: u32, bytes: &[u8], now: Now, entropy: &mut dyn Entropy) {
        let Some(host) = self.host_of(number) else { return };
        let work = self.names.get_mut(&host).and_then(|e| e.work.as_mut());
        let Some((work, name)) = work.and_then(|w| w.candidates.last().cloned().map(|n| (w, n)))
        else {
            return;
        };
        for (said, (id, kind)) in work.said.iter_mut().zip(work.ids.into_iter().zip(KINDS)) {
            if said.is_none() {
                *said = answer(bytes, id, &name, kind);
            }
        }
        let ended = match (&work.said[0], &work.said[1]) {
            (Some(_), Some(_)) => true,
            (Some(Said::NoName), None) | (None, Some(Said::NoName)) => true,
            (Some(Said::Addresses(..)), None) | (None, Some(Said::Addresses(..))) => {
                // Some servers never answer to one of the kinds.
                work.give_up = work.give_up.min(now.mono_ns + DNS_OTHER_NS);
                false
            }
            _ => false,
        };
        if ended {
            self.conclude(&host, now, entropy);
        }
    }

    /// An attempt cannot be made, or its server is not there.
    pub fn failed(&mut self, number: u32, now: Now, entropy: &mut dyn Entropy) {
        if let Some(host) = self.host_of(number) {
            self.conclude(&host, now, entropy);
        }
    }

    /// Mono ns at which [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<u64> {
        self.names.values().filter_map(|e| e.work.as_ref()).map(|w| w.give_up).min()
    }

    /// Something became known since the last tick: who waits for names is to ask again.
    pub fn has_news(&self) -> bool {
        self.news
    }

    /// Ends attempts that took too long. Before those who wait for names are asked.
    pub fn tick(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.news = false;
        let late = |e: &Entry| e.work.as_ref().is_some_and(|w| w.give_up <= now.mono_ns);
        let late: Vec<String> =
            self.names.iter().filter(|(_, e)| late(e)).map(|(host, _)| host.clone()).collect();
        for host in late {
            self.conclude(&host, now, entropy);
        }
    }

    /// What the sockets are to do.
    pub fn take_out(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.out)
    }

    /// An attempt is over: the name is found, or there is none, or the next one is made.
    fn conclude(&mut self, host: &str, now: Now, entropy: &mut dyn Entropy) {
        let Some(entry) = self.names.get_mut(host) else { return };
        let Some(work) = &mut entry.work else { return };
        self.out.push(Effect::Close(work.number));
        let (mut found, mut ttl_s) = (Vec::new(), u32::MAX);
        for said in work.said.iter().flatten() {
            if let Said::Addresses(more, ttl) = said {
                found.extend(more);
                ttl_s = ttl_s.min(*ttl);
            }
        }
        if !found.is_empty() {
            let ttl_ns = u64::from(ttl_s).saturating_mul(SECOND);
            (entry.addresses, entry.error) = (found, None);
            entry.until = now.mono_ns + ttl_ns.clamp(DNS_ANSWER_NS_MIN, DNS_ANSWER_NS_MAX);
            entry.work = None;
            self.news = true;
            return;
        }
        let none = |s: &Option<Said>| matches!(s, Some(Said::Nothing | Said::NoName));
        let no_name = work.said.contains(&Some(Said::NoName));
        if no_name || work.said.iter().all(none) {
            work.candidates.pop();
            work.attempt = 0;
            if work.candidates.is_empty() {
                // The answer of a server that knows: what was known before is wrong.
                entry.addresses.clear();
                entry.fail(format!("lookup {host}: no such host"), now);
                self.news = true;
                return;
            }
        }
        self.ask(host, now, entropy);
        self.news |= self.names.get(host).is_some_and(|e| e.work.is_none());
    }
}

impl Entry {
    fn found(&self) -> Found {
        match &self.error {
            Some(error) if self.addresses.is_empty() => Found::Failed(error.clone()),
            _ => Found::Known(self.addresses.clone()),
        }
    }

    fn fail(&mut self, why: String, now: Now) {
        self.error = Some(why);
        self.until = now.mono_ns + DNS_FAILED_NS;
        self.work = None;
    }
}

#[cfg(test)]
mod tests;
