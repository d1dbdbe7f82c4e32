//! The links of this agent and the servers behind them, as values: whom to call, who is there, who
//! is gone.
//!
//! Every server keeps a link to every other, every client one to each server. Who answers at an
//! address shows in its greeting; servers tell each other whom they know, so that one address is
//! enough to find all. Sockets belong to `wires`: this asks for calls and closings, and takes and
//! gives bytes.

use std::net::SocketAddr;

use crate::limits::{
    LINK_GREETING_NS_MAX, LINK_PING_NS, LINK_SILENCE_NS_MAX, LINK_STRANGERS_MAX, SECOND,
};
use crate::link::{Event, Hello, Id, Link, Secret, words};
use crate::raft::PeerId;
use crate::stdx::slab::{Key, Slab};
use crate::stdx::{BTreeMap, BTreeSet, Entropy, Now};

/// First wait before a call is tried again, and the longest, in nanoseconds.
const RETRY_NS: u64 = SECOND / 10;
const RETRY_NS_MAX: u64 = 5 * SECOND;

/// How long a second link to the same server stays, in nanoseconds.
const SPARE_NS: u64 = 2 * SECOND;

/// One connection.
struct Conn {
    link: Link,
    /// Known once the greeting is complete.
    hello: Option<Box<Hello>>,
    /// Whom we called; `None` where we were called.
    called: Option<SocketAddr>,
    /// When it was made, and last heard, mono ns.
    since: u64,
    heard: u64,
    asked: bool,
    /// The names in the certificate that the other side showed; `None` where it was not asked to.
    names: Option<Vec<String>>,
}

/// A server other than this one.
pub(super) struct Known {
    pub(super) hello: Hello,
    link: Option<Key>,
    pub(super) left: bool,
    /// Wall time at which it last came or went.
    pub(super) since_ns: i64,
    /// The same on the monotonic clock.
    pub(super) since_mono_ns: u64,
}

impl Known {
    pub(super) fn alive(&self) -> bool {
        self.link.is_some()
    }
}

/// An address that may be called.
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    next: u64,
    wait: u64,
    /// Tries that are left; `None`: any number.
    left: Option<u32>,
    under_way: bool,
}

/// What became of a link.
pub(super) enum News {
    /// An agent is there.
    Up,
    /// Messages and streams of an agent that is there.
    From(Event),
}

pub(super) struct Mesh {
    own: Hello,
    secret: Option<Secret>,
    /// Certificates name the roles of agents, and have to fit.
    roles: bool,
    conns: Slab<Conn>,
    strangers: usize,
    servers: BTreeMap<Id, Known>,
    nodes: BTreeMap<Id, Key>,
    calls: BTreeMap<SocketAddr, Call>,
    /// Addresses that turned out to be this agent's own.
    own_addresses: BTreeSet<SocketAddr>,
    /// The server that answered at an address last.
    reached: BTreeMap<SocketAddr, Id>,
    /// Calls to be made, connections to be closed.
    pub(super) dials: Vec<(Key, SocketAddr)>,
    pub(super) closes: Vec<Key>,
    /// Links with something to send.
    busy: BTreeSet<Key>,
    /// Agents whose link ended: server and node, zero where it was none.
    pub(super) lost: Vec<(Key, Id, Id)>,
    /// Something that members' lists show has changed.
    pub(super) changed: bool,
    check_at: u64,
}

impl Mesh {
    pub(super) fn new(own: Hello, secret: Option<Secret>) -> Self {
        Self {
            own,
            secret,
            roles: false,
            conns: Slab::default(),
            strangers: 0,
            servers: BTreeMap::new(),
            nodes: BTreeMap::new(),
            calls: BTreeMap::new(),
            own_addresses: BTreeSet::new(),
            reached: BTreeMap::new(),
            dials: Vec::new(),
            closes: Vec::new(),
            busy: BTreeSet::new(),
            lost: Vec::new(),
            changed: true,
            check_at: u64::MAX,
        }
    }

    /// Nobody is there and nobody is called.
    pub(super) fn is_empty(&self) -> bool {
        self.conns.is_empty() && self.servers.is_empty() && self.calls.is_empty()
    }

    pub(super) fn own(&self) -> &Hello {
        &self.own
    }

    /// What this server says of its cluster from the next greeting on.
    pub(super) fn set_cluster(&mut self, cluster: Id, member: bool) {
        (self.own.cluster, self.own.member) = (cluster, member);
    }

    /// Whether certificates have to name the roles of agents, from the next greeting on.
    pub(super) fn set_roles(&mut self, roles: bool) {
        self.roles = roles;
    }

    /// A connection is encrypted; its other side showed a certificate with these names.
    pub(super) fn secured(&mut self, key: Key, names: Vec<String>) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.names = Some(names);
        }
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = (PeerId, &Known)> {
        self.servers.iter().map(|(id, known)| (peer(id), known))
    }

    pub(super) fn server(&self, id: PeerId) -> Option<&Known> {
        self.servers.get(&id.0.to_be_bytes())
    }

    /// The link to a server or to a node, where there is one.
    pub(super) fn to_server(&self, id: PeerId) -> Option<Key> {
        self.server(id).and_then(|s| s.link)
    }

    pub(super) fn to_node(&self, id: Id) -> Option<Key> {
        self.nodes.get(&id).copied()
    }

    /// Servers of a region that are there.
    pub(super) fn alive(&self, region: &str) -> impl Iterator<Item = Key> {
        self.servers.values().filter(move |s| s.hello.region == region).filter_map(|s| s.link)
    }

    /// The greeting of the agent behind a link.
    pub(super) fn hello(&self, key: Key) -> Option<&Hello> {
        self.conns.get(key).and_then(|c| c.hello.as_deref())
    }

    /// For how long nothing has come over a link, in nanoseconds.
    pub(super) fn silent_ns(&self, key: Key, now: Now) -> u64 {
        self.conns.get(key).map_or(u64::MAX, |c| now.mono_ns.saturating_sub(c.heard))
    }

    /// A link, to send on it.
    pub(super) fn link(&mut self, key: Key) -> Option<&mut Link> {
        self.busy.insert(key);
        self.conns.get_mut(key).map(|c| &mut c.link)
    }

    /// Addresses to call until a server answers there.
    pub(super) fn call(&mut self, address: SocketAddr, tries: Option<u32>, now: Now) {
        if self.own_addresses.contains(&address) {
            return;
        }
        let new = !self.calls.contains_key(&address);
        let call = self.calls.entry(address).or_default();
        // One that is called until it answers stays so.
        if new || call.left.is_some() {
            call.left = tries;
        }
        call.next = now.mono_ns;
        self.check_at = self.check_at.min(now.mono_ns);
    }

    /// An address that is nobody's any more: it is not called.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        let text = address.to_string();
        self.reached.remove(&address);
        if !self.servers.values().any(|s| !s.left && s.hello.rpc == text) {
            self.calls.remove(&address);
        }
    }

    /// Whether an agent has answered a call to this address; `None` while that is open.
    pub(super) fn answered(&self, address: SocketAddr) -> Option<bool> {
        if self.calls.contains_key(&address) {
            return None;
        }
        let there = |c: &Conn| c.called == Some(address) && c.hello.is_some();
        let text = address.to_string();
        let reached = self.reached.get(&address);
        let known = |(id, k): (&Id, &Known)| {
            k.alive() && (k.hello.rpc == text || k.hello.serf == text || reached == Some(id))
        };
        Some(
            self.own_addresses.contains(&address)
                || self.conns.iter().any(|(_, c)| there(c))
                || self.servers.iter().any(known),
        )
    }

    /// Somebody called; `None`: too many strangers wait already.
    pub(super) fn accepted(&mut self, now: Now, entropy: &mut dyn Entropy) -> Option<Key> {
        if self.strangers >= LINK_STRANGERS_MAX {
            return None;
        }
        Some(self.open(None, now, entropy))
    }

    fn open(&mut self, called: Option<SocketAddr>, now: Now, entropy: &mut dyn Entropy) -> Key {
        let mut own = self.own.clone();
        entropy.fill(&mut own.challenge);
        let link = Link::new(&own, self.secret.clone(), called.is_some());
        let (since, heard) = (now.mono_ns, now.mono_ns);
        let key = self.conns.insert(Conn {
            link,
            hello: None,
            called,
            since,
            heard,
            asked: false,
            names: None,
        });
        self.strangers += 1;
        self.busy.insert(key);
        self.check_at = self.check_at.min(now.mono_ns + LINK_GREETING_NS_MAX);
        key
    }

    /// The connection at a place of the table.
    pub(super) fn key_at(&self, index: u32) -> Option<Key> {
        self.conns.key_at(index)
    }

    /// Takes bytes that came on a connection.
    pub(super) fn feed(&mut self, key: Key, bytes: &[u8], now: Now) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.heard = now.mono_ns;
            conn.asked = false;
            conn.link.feed(bytes);
            // Proofs and answers to pings leave without another word.
            self.busy.insert(key);
        }
    }

    /// The next thing that a link has to tell.
    pub(super) fn next(&mut self, key: Key, now: Now) -> Option<News> {
        loop {
            let conn = self.conns.get_mut(key)?;
            let event = match conn.link.poll() {
                Ok(event) => event?,
                Err(fault) => {
                    match &conn.hello {
                        Some(h) => log::warn!("the link of {} ends: {fault}", h.name),
                        None => log::warn!("a stranger is sent away: {fault}"),
                    }
                    self.close(key, now);
                    return None;
                }
            };
            self.busy.insert(key);
            match event {
                Event::Pong => {}
                Event::Up(hello) => {
                    if self.up(key, &hello, now) {
                        return Some(News::Up);
                    }
                }
                event => return Some(News::From(event)),
            }
        }
    }

    /// A greeting is complete. Of two links between the same servers, the one is used that the
    /// server with the smaller id made; the other ends once nothing runs over it.
    fn up(&mut self, key: Key, hello: &Hello, now: Now) -> bool {
        if let Some(fault) = self.wrong_role(key, hello) {
            log::error!("the link of {} ({}) ends: {fault}", hello.name, hello.rpc);
            self.close(key, now);
            return false;
        }
        self.strangers = self.strangers.saturating_sub(1);
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let called = conn.called;
        conn.hello = Some(Box::new(hello.clone()));
        if let Some(address) = called {
            self.calls.remove(&address);
        }
        if hello.boot == self.own.boot {
            self.own_addresses.extend(called);
            self.close(key, now);
            return false;
        }
        let (is_server, is_node) = (hello.server != Id::default(), hello.node != Id::default());
        if let Some(address) = called.filter(|_| is_server) {
            self.reached.insert(address, hello.server);
        }
        if is_server && !self.take_server(key, hello, now) {
            self.close(key, now);
            return false;
        }
        if is_node && (self.own.server != Id::default()) {
            if let Some(old) = self.nodes.insert(hello.node, key).filter(|old| *old != key)
                && !is_server
            {
                self.close(old, now);
            }
            self.nodes.insert(hello.node, key);
        }
        log::info!("link to {} ({}) is up", hello.name, hello.rpc);
        true
    }

    /// Why the certificate of the other side does not fit what it says of itself: servers need the
    /// name of servers of their region, other agents that of its clients or servers (contract:
    /// agent-config, section 5).
    fn wrong_role(&self, key: Key, hello: &Hello) -> Option<String> {
        let names = self.conns.get(key)?.names.as_ref().filter(|_| self.roles)?;
        let server = format!("server.{}.nomad", hello.region);
        let client = format!("client.{}.nomad", hello.region);
        let expected = match hello.server == Id::default() {
            true => vec![client, server],
            false => vec![server],
        };
        if names.iter().any(|n| expected.contains(n)) {
            return None;
        }
        let (names, expected) = (names.join(", "), expected.join(", "));
        Some(format!("invalid certificate: {names} not in expected {expected}"))
    }

    /// False where the link is not to be kept.
    fn take_server(&mut self, key: Key, hello: &Hello, now: Now) -> bool {
        if hello.server == self.own.server {
            log::error!("{} at {} has the identity of this server", hello.name, hello.rpc);
            return false;
        }
        if let Some(known) = self.servers.get(&hello.server)
            && let Some(old) = known.link
            && let Some(conn) = self.conns.get(old)
        {
            let silent = now.mono_ns.saturating_sub(conn.heard);
            if known.hello.boot == hello.boot {
                // Whatever runs over the other one may come to its end.
                let ours = self.conns.get(key).is_some_and(|c| c.link.dialled());
                if ours != (self.own.server < hello.server) {
                    self.check_at = self.check_at.min(now.mono_ns + SPARE_NS);
                    return true;
                }
            } else if silent < SECOND / 2 {
                log::error!("two servers have the identity of {}", hello.name);
                return false;
            } else {
                self.close(old, now);
            }
        }
        if let Some(known) = self.servers.get(&hello.server)
            && known.hello.rpc != hello.rpc
            && let Ok(left) = known.hello.rpc.parse::<SocketAddr>()
        {
            // It has moved.
            self.calls.remove(&left);
        }
        let (since_ns, since_mono_ns) = (now.wall_ns, now.mono_ns);
        let (hello_of, link) = (hello.clone(), Some(key));
        let known = Known { hello: hello_of, link, left: false, since_ns, since_mono_ns };
        self.servers.insert(hello.server, known);
        if let Ok(address) = hello.rpc.parse::<SocketAddr>() {
            self.calls.remove(&address);
        }
        self.changed = true;
        true
    }

    /// Ends a connection. Whoever was behind it is told of in `lost`.
    pub(super) fn close(&mut self, key: Key, now: Now) {
        let Some(conn) = self.conns.remove(key) else { return };
        self.closes.push(key);
        self.busy.remove(&key);
        let Some(hello) = conn.hello else {
            self.strangers = self.strangers.saturating_sub(1);
            self.call_failed(conn.called, now);
            return;
        };
        if self.nodes.get(&hello.node) == Some(&key) {
            self.nodes.remove(&hello.node);
        }
        let mut server = Id::default();
        let same = |c: &Conn| c.hello.as_ref().is_some_and(|h| h.boot == hello.boot);
        let spare = self.conns.iter().find(|(_, c)| same(c)).map(|(key, _)| key);
        if let Some(known) = self.servers.get_mut(&hello.server).filter(|s| s.link == Some(key)) {
            known.link = spare;
        }
        if spare.is_none()
            && let Some(known) = self.servers.get_mut(&hello.server)
            && known.hello.boot == hello.boot
            && known.link.is_none()
        {
            log::info!("link to {} is down", hello.name);
            server = hello.server;
            (known.since_ns, known.since_mono_ns) = (now.wall_ns, now.mono_ns);
            self.changed = true;
            if let (false, Ok(address)) = (known.left, known.hello.rpc.parse()) {
                self.call(address, None, now);
            }
        }
        self.lost.push((key, server, hello.node));
    }

    /// A call was not answered: it is made again later.
    fn call_failed(&mut self, address: Option<SocketAddr>, now: Now) {
        let Some((address, call)) = address.and_then(|a| Some((a, self.calls.get_mut(&a)?))) else {
            return;
        };
        call.under_way = false;
        call.wait = call.wait.saturating_mul(2).clamp(RETRY_NS, RETRY_NS_MAX);
        call.next = now.mono_ns + call.wait;
        self.check_at = self.check_at.min(call.next);
        if let Some(left) = &mut call.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                log::error!("nobody could be joined at {address}");
                self.calls.remove(&address);
            }
        }
    }

    /// Mono ns at which [`Self::tick`] is due.
    pub(super) fn deadline(&self) -> Option<u64> {
        Some(self.check_at).filter(|at| *at != u64::MAX)
    }

    /// Makes calls that are due, asks silent links whether they live, ends those that do not.
    pub(super) fn tick(&mut self, now: Now, entropy: &mut dyn Entropy) {
        if self.check_at > now.mono_ns {
            return;
        }
        let due = |c: &Call| !c.under_way && c.next <= now.mono_ns;
        let due: Vec<_> = self.calls.iter().filter(|(_, c)| due(c)).map(|(a, _)| *a).collect();
        for address in due {
            let key = self.open(Some(address), now, entropy);
            self.dials.push((key, address));
            if let Some(call) = self.calls.get_mut(&address) {
                call.under_way = true;
            }
        }
        let mut dead = Vec::new();
        let mut next = u64::MAX;
        let servers = &self.servers;
        for (key, conn) in self.conns.iter_mut() {
            let used = |h: &Hello| servers.get(&h.server).is_none_or(|s| s.link == Some(key));
            let end = match &conn.hello {
                None => conn.since + LINK_GREETING_NS_MAX,
                // There is another link to the same server.
                Some(h) if !used(h) && conn.link.is_idle() => conn.since + SPARE_NS,
                Some(h) if !used(h) => now.mono_ns + SPARE_NS,
                Some(_) => conn.heard + LINK_SILENCE_NS_MAX,
            };
            if end <= now.mono_ns {
                dead.push(key);
                continue;
            }
            let ask = conn.heard + LINK_PING_NS;
            if conn.hello.is_some() && !conn.asked && ask <= now.mono_ns {
                conn.asked = true;
                conn.link.ping();
                self.busy.insert(key);
            }
            let ask = if conn.hello.is_some() && !conn.asked { ask } else { end };
            next = next.min(ask).min(end);
        }
        self.check_at = next;
        for key in dead {
            self.close(key, now);
        }
        let calls = self.calls.values().filter(|c| !c.under_way).map(|c| c.next).min();
        self.check_at = self.check_at.min(calls.unwrap_or(u64::MAX));
    }

    /// Links with something to send, to be emptied.
    pub(super) fn take_busy(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.busy)
    }

    /// The next bytes of a link for its socket.
    pub(super) fn fill(&mut self, key: Key, out: &mut Vec<u8>, most: usize) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.link.fill(out, most);
        }
    }

    /// Sends a note to everyone, or to servers only.
    pub(super) fn tell(&mut self, note: &[u8], servers_only: bool) {
        for (key, conn) in self.conns.iter_mut() {
            let wanted =
                conn.hello.as_ref().is_some_and(|h| !servers_only || h.server != Id::default());
            if wanted {
                conn.link.note(note.to_vec());
                self.busy.insert(key);
            }
        }
    }

    /// The servers that are there, this one included, as a note.
    pub(super) fn roster(&self) -> Vec<u8> {
        let mut note = words::join(&[b"servers"]);
        let own = Some(&self.own).filter(|own| own.server != Id::default());
        let others = self.servers.values().filter(|s| s.alive()).map(|s| &s.hello);
        for hello in own.into_iter().chain(others) {
            words::put(&mut note, &hello.server);
            words::put(&mut note, hello.rpc.as_bytes());
        }
        note
    }

    /// Another agent told whom it knows.
    pub(super) fn heard_of(&mut self, words: &mut words::Words<'_>, now: Now) {
        while let (Some(id), Some(address)) = (words.array::<16>(), words.text()) {
            let known = self.servers.get(&id).is_some_and(|s| s.alive() || s.left);
            if id == self.own.server || known || self.calls.len() >= LINK_STRANGERS_MAX {
                continue;
            }
            if let Ok(address) = address.parse()
                && !self.calls.contains_key(&address)
            {
                self.call(address, None, now);
            }
        }
    }

    /// A server leaves on purpose, or was told to. It is not called any more.
    pub(super) fn leaves(&mut self, id: Id) {
        if let Some(known) = self.servers.get_mut(&id) {
            known.left = true;
            self.changed = true;
            if let Ok(address) = known.hello.rpc.parse::<SocketAddr>() {
                self.calls.remove(&address);
            }
        }
    }

    /// Forgets a server that is not there.
    pub(super) fn prune(&mut self, id: Id) {
        if self.servers.get(&id).is_some_and(|s| !s.alive()) {
            self.servers.remove(&id);
            self.changed = true;
        }
    }
}

pub(super) fn peer(id: &Id) -> PeerId {
    PeerId(u128::from_be_bytes(*id))
}
