//! What the agent does about the servers of its region: it finds them, begins a cluster with them,
//! takes them in and lets them go.

use std::rc::Rc;

use super::consensus::{id_text, peer_id};
use super::core::{Core, Ready};
use super::mesh::{News, peer};
use super::relay::Target;
use super::serve::Form;
use crate::api::ApiError;
use crate::http::{Method, Query, Request};
use crate::limits::{MEMBERS_CHECK_NS, SECOND};
use crate::link::{Event, Id, words};
use crate::raft::{Change, Input, Member, Members, Message, PeerId, Refusal};
use crate::routes::cluster::clean_up;
use crate::routes::table::{Place, place};
use crate::routes::{Answer, ClusterRequest, ServerInfo};
use crate::stdx::slab::Key;
use crate::stdx::{BTreeSet, Now, parse_bool, uuid};
use crate::store::{Reader, Table, keys};

/// Local row: the cluster that this server has promised to begin.
pub(super) const PROMISE: &[u8] = b"agent/promise";

/// The state of these duties.
#[derive(Default)]
pub(super) struct Cluster {
    /// Servers that the cluster begins with; 0: it exists already, elsewhere.
    expect: u64,
    /// The id that this server has promised to begin a cluster under; zero: none.
    promise: Id,
    /// Servers that agreed to it.
    agreed: BTreeSet<PeerId>,
    /// Notes that leave after the commit.
    pub(super) after: Vec<(Key, Vec<u8>)>,
    /// When the membership is looked after, mono ns.
    pub(super) check_at: u64,
    /// Since when this server is asked to leave.
    leaving: Option<u64>,
    /// Since when this server leads, mono ns.
    leads_since: Option<u64>,
    warned: bool,
}

impl Cluster {
    pub(super) fn new(expect: u64, promise: Option<&[u8]>) -> Self {
        let promise = promise.and_then(|b| b.try_into().ok()).unwrap_or_default();
        Self { expect, promise, ..Self::default() }
    }
}

/// How often dead servers are looked at, in nanoseconds.
const DEAD_CHECK_NS: u64 = SECOND;

/// The dead server that may go: a learner, or a voter where the cluster then bears more failures
/// than it does with its dead. The reference also lets a third server go that is merely switched
/// off. That gains nothing, two of two are needed then as two of three were before, and it loses
/// the cluster when the second goes while the third comes back: what boxes in a cupboard do.
fn superfluous(members: &Members, dead: &[PeerId], min_quorum: usize) -> Option<PeerId> {
    if let Some(learner) = dead.iter().find(|id| !members.is_voter(**id)) {
        return Some(*learner);
    }
    let voters = members.voters().count();
    let alive = voters - dead.len();
    let bears = |voters: usize| alive.checked_sub(voters / 2 + 1);
    let left = alive.max(min_quorum.min(voters));
    (left < voters && bears(left) > bears(voters)).then(|| dead.first().copied()).flatten()
}

/// How long a server waits to be let go, in nanoseconds.
const LEAVE_NS: u64 = 5 * SECOND;

/// Links: what comes in.
impl Core {
    /// Something came over a link. Events of streams are given back.
    pub(super) fn link_news(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        key: Key,
        news: News,
    ) -> Option<Event> {
        match news {
            News::Up => {
                if self.info.server {
                    let roster = self.mesh.roster();
                    self.mesh.tell(&roster, false);
                }
                self.cluster.check_at = now.mono_ns;
                None
            }
            News::From(Event::Raft(bytes)) => {
                self.raft_message(now, reader, key, &bytes);
                None
            }
            News::From(Event::Note(bytes)) => {
                self.note(now, reader, key, &bytes);
                None
            }
            News::From(event) => Some(event),
        }
    }

    /// Links that ended since this was last asked: their keys.
    pub(super) fn links_lost(&mut self, now: Now, reader: Reader<'_>) -> Vec<Key> {
        let mut keys = Vec::new();
        for (key, server, _) in std::mem::take(&mut self.mesh.lost) {
            if server != Id::default() && self.info.server {
                self.consensus.step(now, reader, Input::Unreachable(peer(&server)));
            }
            if server != Id::default() {
                self.seeds_soon(now);
            }
            self.state_link_lost(now, reader, key);
            self.replica_link_lost(now, key);
            keys.push(key);
        }
        keys
    }

    fn raft_message(&mut self, now: Now, reader: Reader<'_>, key: Key, bytes: &[u8]) {
        let Some(hello) = self.mesh.hello(key) else { return };
        let own = self.consensus.cluster();
        let other = own != Id::default() && hello.cluster != Id::default() && own != hello.cluster;
        if !self.info.server || hello.server == Id::default() || other {
            return;
        }
        if hello.region != self.info.region {
            return;
        }
        let (from, cluster) = (peer(&hello.server), hello.cluster);
        match Message::decode(bytes) {
            Ok(mut message) => {
                if own == Id::default() && cluster != Id::default() {
                    self.consensus.join_cluster(cluster);
                }
                if self.consensus.gate(reader, &mut message) {
                    self.consensus.step(now, reader, Input::Message(from, message));
                }
            }
            Err(e) => {
                log::warn!("a message of {} makes no sense: {e}", hello.name);
                self.mesh.close(key, now);
            }
        }
    }

    fn note(&mut self, now: Now, reader: Reader<'_>, key: Key, bytes: &[u8]) {
        let Some(hello) = self.mesh.hello(key) else { return };
        let (from, same_region) = (hello.server, hello.region == self.info.region);
        if from == Id::default() {
            return;
        }
        let mut words = words::Words(bytes);
        match words.bytes() {
            Some(b"servers") => self.mesh.heard_of(&mut words, now),
            Some(b"leave") => {
                self.mesh.leaves(from);
                self.cluster.check_at = now.mono_ns;
            }
            Some(b"left") => {
                if let Some(id) = words.array() {
                    self.mesh.leaves(id);
                    self.cluster.check_at = now.mono_ns;
                }
            }
            Some(b"begin?") if same_region => self.asked_to_begin(key, &mut words),
            Some(b"begin!") if same_region && words.array() == Some(self.cluster.promise) => {
                self.cluster.agreed.insert(peer(&from));
                self.begin_where_agreed(now, reader);
            }
            Some(b"digest") if same_region => self.hear_digest(peer(&from), &mut words),
            // Of a later version.
            _ => {}
        }
    }
}

/// The beginning of a cluster of several servers.
impl Core {
    /// Servers that would begin a cluster with this one, and itself; empty as long as that cannot
    /// be.
    fn founders(&mut self) -> BTreeSet<Id> {
        let mut out = BTreeSet::new();
        let expect = self.cluster.expect;
        if expect < 2 || !self.info.server || !self.consensus.is_fresh() {
            return out;
        }
        for (_, known) in self.mesh.servers().filter(|(_, k)| k.alive()) {
            let hello = &known.hello;
            if hello.region != self.info.region {
                continue;
            }
            if hello.member || (hello.expect != 0 && hello.expect != expect) {
                if !hello.member && !std::mem::replace(&mut self.cluster.warned, true) {
                    log::error!(
                        "{} expects {} servers and this one {expect}: no cluster is begun",
                        hello.name,
                        hello.expect
                    );
                }
                return BTreeSet::new();
            }
            if hello.expect == expect {
                out.insert(hello.server);
            }
        }
        out.insert(self.mesh.own().server);
        if (out.len() as u64) < expect { BTreeSet::new() } else { out }
    }

    /// The founder with the smallest id asks the others.
    fn begin(&mut self) {
        let founders = self.founders();
        if founders.first() != Some(&self.mesh.own().server) {
            return;
        }
        if self.cluster.promise == Id::default() {
            let mut id = Id::default();
            self.entropy.fill(&mut id);
            self.promise(id);
        }
        let mut note = words::join(&[b"begin?", &self.cluster.promise]);
        founders.iter().for_each(|id| words::put(&mut note, id));
        self.cluster.agreed.clear();
        for id in founders.iter().skip(1) {
            if let Some(link) = self.mesh.to_server(peer(id)).and_then(|k| self.mesh.link(k)) {
                link.note(note.clone());
            }
        }
    }

    fn promise(&mut self, id: Id) {
        self.cluster.promise = id;
        self.local.push((PROMISE.to_vec(), Some(id.to_vec())));
    }

    /// Another founder asks. The answer leaves once the promise is on disk.
    fn asked_to_begin(&mut self, key: Key, words: &mut words::Words<'_>) {
        let Some(id) = words.array::<16>() else { return };
        let mut set = BTreeSet::new();
        while let Some(founder) = words.array() {
            set.insert(founder);
        }
        let free = [Id::default(), id].contains(&self.cluster.promise);
        if set.is_empty() || self.founders() != set || !free {
            return;
        }
        self.promise(id);
        self.cluster.after.push((key, words::join(&[b"begin!", &id])));
    }

    /// All have agreed: the cluster begins.
    fn begin_where_agreed(&mut self, now: Now, reader: Reader<'_>) {
        let founders = self.founders();
        let agreed = |id: &Id| self.cluster.agreed.contains(&peer(id));
        if founders.is_empty() || !founders.iter().skip(1).all(agreed) {
            return;
        }
        let mut members = Members::default();
        for id in &founders {
            let address = match self.mesh.server(peer(id)) {
                Some(known) => known.hello.rpc.clone(),
                None => self.info.rpc_addr.clone(),
            };
            members.0.insert(peer(id), Member { address, voter: true });
        }
        log::info!("a cluster of {} servers begins", members.0.len());
        self.consensus.join_cluster(self.cluster.promise);
        self.consensus.bootstrap(now, reader, members);
    }

    /// A server that is to be alone begins its cluster.
    pub(super) fn begin_alone(&mut self, now: Now, reader: Reader<'_>) {
        if self.cluster.expect == 1 && self.info.server && self.consensus.is_fresh() {
            let mut id = Id::default();
            self.entropy.fill(&mut id);
            self.consensus.join_cluster(id);
            if let Some(own) = peer_id(&self.info.server_id) {
                let members = Members::lone(own, self.info.rpc_addr.clone());
                self.consensus.bootstrap(now, reader, members);
            }
        }
    }
}

/// Who belongs to the cluster.
impl Core {
    /// Looks after links, founders and members, as far as that is due.
    pub(super) fn look_after(&mut self, now: Now, reader: Reader<'_>) {
        self.mesh.tick(now, &mut *self.entropy);
        if self.cluster.check_at > now.mono_ns {
            return;
        }
        self.cluster.check_at = match self.cluster.leaving {
            Some(_) => now.mono_ns + SECOND / 20,
            None => u64::MAX,
        };
        if !self.info.server {
            return;
        }
        if !self.consensus.leads() {
            self.cluster.leads_since = None;
        }
        if self.consensus.is_fresh() {
            self.begin();
            if self.cluster.expect > 1 {
                self.cluster.check_at = now.mono_ns + MEMBERS_CHECK_NS;
            }
        } else if self.consensus.leads() {
            self.tend_members(now, reader);
        }
    }

    /// One step towards the membership that should be.
    fn tend_members(&mut self, now: Now, reader: Reader<'_>) {
        let Some((_, members)) = self.consensus.raft().members() else { return };
        let own = self.consensus.cluster();
        let mut wanted = None;
        for (id, known) in self.mesh.servers() {
            let (hello, member) = (&known.hello, members.0.get(&id));
            if known.left {
                if member.is_some() {
                    wanted = Some(Change::Remove(id));
                    break;
                }
                continue;
            }
            let other = hello.cluster != Id::default() && hello.cluster != own;
            if !known.alive() || other || hello.region != self.info.region {
                continue;
            }
            wanted = match member {
                None => Some(match members.0.iter().find(|(_, m)| m.address == hello.rpc) {
                    // Another server lives at the address of one that is gone.
                    Some((old, _)) => Change::Remove(*old),
                    None => Change::AddLearner(id, hello.rpc.clone()),
                }),
                Some(m) if m.address != hello.rpc => Some(Change::Address(id, hello.rpc.clone())),
                Some(m) if !m.voter => Some(Change::Promote(id)),
                Some(_) => None,
            };
            if wanted.is_some() {
                break;
            }
        }
        if wanted.is_none() {
            wanted = self.clean_up(now, reader);
        }
        let Some(change) = wanted else { return };
        self.cluster.check_at = now.mono_ns + MEMBERS_CHECK_NS;
        let what = format!("{change:?}");
        match self.consensus.ask(now, reader, Input::Change(change, None)) {
            Ok(_) => log::info!("membership: {what}"),
            Err(e) => log::debug!("membership: {what}: {e}"),
        }
    }

    /// A dead server that is to be taken out of the cluster (autopilot's `CleanupDeadServers`).
    fn clean_up(&mut self, now: Now, reader: Reader<'_>) -> Option<Change> {
        let since = *self.cluster.leads_since.get_or_insert(now.mono_ns);
        let raft = self.consensus.raft();
        let (_, members) = raft.members()?;
        let mut gone = Vec::new();
        for id in members.0.keys().filter(|id| **id != raft.id()) {
            match self.mesh.server(*id) {
                Some(known) if known.alive() => {}
                known => gone.push((*id, known.map_or(since, |k| k.since_mono_ns.max(since)))),
            }
        }
        if gone.is_empty() {
            return None;
        }
        self.cluster.check_at = self.cluster.check_at.min(now.mono_ns + DEAD_CHECK_NS);
        let rules = clean_up(reader).ok().filter(|rules| rules.on)?;
        gone.retain(|(_, at)| now.mono_ns.saturating_sub(*at) >= rules.after_ns);
        let dead: Vec<PeerId> = gone.iter().map(|(id, _)| *id).collect();
        superfluous(members, &dead, rules.min_quorum).map(Change::Remove)
    }

    /// A request about the cluster itself.
    pub(super) fn cluster_request(
        &mut self,
        conn: Key,
        form: Form,
        request: ClusterRequest,
        now: Now,
    ) {
        let answer = match request {
            ClusterRequest::Join(addresses) => return self.join(conn, form, &addresses, now),
            ClusterRequest::Servers(hosts) => self.sow_anew(hosts),
            ClusterRequest::ForceLeave { node, prune } => {
                self.force_leave(&node, prune, now);
                Answer::empty()
            }
            // These need the log: they are taken up in this turn's work.
            other => return self.asks.push((conn, form, other)),
        };
        self.ready.push(Ready { conn, form, answer });
    }

    fn force_leave(&mut self, node: &str, prune: bool, now: Now) {
        let named =
            |h: &crate::link::Hello| h.name == node || node == format!("{}.{}", h.name, h.region);
        let found = self.mesh.servers().find(|(_, k)| !k.alive() && named(&k.hello));
        let Some(id) = found.map(|(id, _)| id.0.to_be_bytes()) else { return };
        self.mesh.leaves(id);
        self.mesh.tell(&words::join(&[b"left", &id]), true);
        if prune {
            self.mesh.prune(id);
        }
        self.cluster.check_at = now.mono_ns;
    }

    /// Requests that change the consensus.
    pub(super) fn answer_asks(&mut self, now: Now, reader: Reader<'_>) {
        for (conn, form, request) in std::mem::take(&mut self.asks) {
            let result = match request {
                ClusterRequest::RemovePeer(id) => self.remove_peer(&id, now, reader),
                ClusterRequest::Transfer(to) => self.transfer(&to, now, reader),
                ClusterRequest::Join(_)
                | ClusterRequest::Servers(_)
                | ClusterRequest::ForceLeave { .. } => continue,
            };
            let answer = result.unwrap_or_else(Answer::from);
            self.ready.push(Ready { conn, form, answer });
        }
    }

    fn remove_peer(&mut self, id: &str, now: Now, reader: Reader<'_>) -> Result<Answer, ApiError> {
        let unknown =
            || ApiError::failed(format!("id {id:?} was not found in the Raft configuration"));
        let peer = peer_id(id).ok_or_else(unknown)?;
        let members = self.consensus.raft().members().map(|(_, m)| m);
        members.and_then(|m| m.0.get(&peer)).ok_or_else(unknown)?;
        self.mesh.leaves(peer.0.to_be_bytes());
        let change = Input::Change(Change::Remove(peer), None);
        self.consensus.ask(now, reader, change).map_err(refused)?;
        Ok(Answer::empty())
    }

    /// `to`: an id, or an address.
    fn transfer(&mut self, to: &str, now: Now, reader: Reader<'_>) -> Result<Answer, ApiError> {
        let unknown =
            || ApiError::bad(format!("id {to:?} was not found in the Raft configuration"));
        let members = self.consensus.raft().members().map(|(_, m)| m.clone()).unwrap_or_default();
        let found = match peer_id(to) {
            Some(id) => members.0.get_key_value(&id),
            None => members.0.iter().find(|(_, m)| m.address == to),
        };
        let (id, member) = found.ok_or_else(unknown)?;
        let from = self.consensus.raft().id();
        let noop = *id == from;
        if !noop {
            self.consensus.ask(now, reader, Input::Transfer(Some(*id))).map_err(refused)?;
        }
        Ok(Answer::json(&serde_json::json!({
            "Err": null,
            "From": { "Address": self.info.rpc_addr, "ID": id_text(from) },
            "Noop": noop,
            "To": { "Address": member.address, "ID": id_text(*id) },
        })))
    }

    /// The agent is to end and to leave its cluster. True where it may go now.
    pub(super) fn leave(&mut self, now: Now, reader: Reader<'_>) -> bool {
        // It is looked at again soon, whatever else happens.
        self.cluster.check_at = self.cluster.check_at.min(now.mono_ns + SECOND / 20);
        let Some(own) = peer_id(&self.info.server_id).filter(|_| self.info.server) else {
            return true;
        };
        let members = self.consensus.raft().members().map(|(_, m)| m);
        let alone = members.is_none_or(|m| !m.0.contains_key(&own)) || self.consensus.is_alone();
        let since = *self.cluster.leaving.get_or_insert(now.mono_ns);
        if alone || now.mono_ns.saturating_sub(since) >= LEAVE_NS {
            return true;
        }
        if since == now.mono_ns {
            self.mesh.tell(&words::join(&[b"leave"]), true);
            if self.consensus.leads()
                && let Err(e) = self.consensus.ask(now, reader, Input::Transfer(None))
            {
                log::warn!("leadership could not be handed over: {e}");
            }
        }
        false
    }
}

/// Where requests go, and what is told of servers.
impl Core {
    /// Where a request is to be answered. `linked`: it came from another agent.
    pub(super) fn target(&self, req: &Request, linked: bool, reader: Reader<'_>) -> Target {
        let query = Query::new(req.query());
        if let Some(region) =
            query.get("region").filter(|r| !r.is_empty() && **r != self.info.region)
        {
            let link = self.mesh.alive(&region).next();
            return match link {
                Some(link) => Target::Link(link),
                None if self.info.remote_regions.contains(&*region) => {
                    Target::Region(region.into_owned())
                }
                // Servers may know more.
                None if !linked && !self.info.server => self.to_some_server(),
                None => Target::Here,
            };
        }
        let read = matches!(req.method, Method::Get | Method::Head);
        match place(req.path()) {
            Place::Here => Target::Here,
            Place::Server => self.to_some_server(),
            Place::Node => self.to_node(req, linked, reader),
            Place::Named => {
                let name = |key| query.get(key).filter(|v| !v.is_empty());
                match (name("node_id"), name("server_id")) {
                    (Some(_), None) => self.to_node(req, linked, reader),
                    (None, Some(server)) => self.to_named(&server),
                    _ => Target::Here,
                }
            }
            Place::Leader if !self.info.server => self.to_some_server(),
            Place::Leader => {
                let stale = query
                    .get("stale")
                    .is_some_and(|v| v.is_empty() || parse_bool(&v) == Some(true));
                if read && stale {
                    return Target::Here;
                }
                if self.info.leads && !read && !self.takes_writes() {
                    return Target::Wait;
                }
                if self.info.leads {
                    return if read && !self.consensus.is_alone() {
                        Target::Confirm
                    } else {
                        Target::Here
                    };
                }
                let leader = self.consensus.raft().leader();
                let link = leader.and_then(|l| self.mesh.to_server(l));
                link.map_or(Target::Wait, Target::Link)
            }
        }
    }

    pub(super) fn to_some_server(&self) -> Target {
        if self.info.server {
            return Target::Here;
        }
        self.mesh.alive(&self.info.region).next().map_or(Target::Wait, Target::Link)
    }

    /// Requests for one server. One that no server knows is answered as such.
    fn to_named(&self, server: &str) -> Target {
        let id = crate::routes::named(&self.info, server).map(|s| s.id.as_str());
        match id {
            Some(id) if id != self.info.server_id => {
                let key = peer_id(id).and_then(|id| self.mesh.to_server(id));
                key.map_or(Target::NoPath, Target::Link)
            }
            None if !self.info.server => self.to_some_server(),
            _ => Target::Here,
        }
    }

    /// Requests for a node, or for an allocation that lives on one.
    fn to_node(&self, req: &Request, linked: bool, reader: Reader<'_>) -> Target {
        let named = Some(crate::routes::node_named(req)).filter(|id| !id.is_empty());
        let alloc = req.path().split('/').find(|part| uuid::is_uuid(part));
        if !self.info.server {
            let own = match (&named, alloc) {
                (Some(id), _) => *id == self.info.node_id,
                (None, Some(id)) => self.holds(id),
                (None, None) => true,
            };
            return if own || linked { Target::Here } else { self.to_some_server() };
        }
        let node = match (named, alloc) {
            (Some(id), _) => id,
            (None, Some(id)) => {
                let row = reader.alloc(id).ok().flatten();
                row.map(|a| a.node_id).unwrap_or_default()
            }
            (None, None) => return Target::Here,
        };
        // One that is not known here is answered as such.
        let known = keys::by_uuid(&node)
            .is_some_and(|key| reader.row(Table::Node, &key).is_ok_and(|row| row.is_some()));
        if node == self.info.node_id || !known {
            return Target::Here;
        }
        let key = uuid::to_bytes(&node).and_then(|id| self.mesh.to_node(id));
        key.map_or(Target::NoPath, Target::Node)
    }

    /// Brings what routes may see to the present.
    pub(super) fn refresh(&mut self, now: Now) {
        let raft = self.consensus.raft();
        self.info.raft = self.consensus.info();
        if !self.info.server {
            if std::mem::take(&mut self.mesh.changed) {
                self.info.servers = self.server_list(now);
            }
            return;
        }
        let leader = raft.leader();
        self.info.last_contact_ms = match raft.last_contact() {
            0 => 0,
            at => now.mono_ns.saturating_sub(at) / 1_000_000,
        };
        if self.info.leads {
            self.info.last_contact_ms = 0;
        }
        let members = raft.members().map(|(_, m)| m);
        let seen =
            (raft.term(), raft.role(), leader, self.info.raft.members_index, self.info.leads);
        let lone = self.mesh.is_empty();
        if self.seen.replace(seen) == Some(seen) && !self.mesh.changed && (lone || !self.info.leads)
        {
            return;
        }
        if self.mesh.changed {
            self.cluster.check_at = now.mono_ns;
        }
        self.mesh.changed = false;
        self.mesh.set_cluster(self.consensus.cluster(), members.is_some());
        // A leader is one only once it may answer as such.
        let known = leader.filter(|l| *l != raft.id() || self.info.leads);
        let address = known.and_then(|l| Some(members?.0.get(&l)?.address.clone()));
        self.info.leader_addr = address;
        self.info.servers = self.server_list(now);
    }

    fn server_list(&self, now: Now) -> Rc<[ServerInfo]> {
        let raft = self.consensus.raft();
        let (index, members) = match raft.members() {
            Some((index, members)) => (index, members.clone()),
            None => (0, Members::default()),
        };
        let leader = raft.leader().filter(|_| index > 0);
        let own = self.mesh.own();
        let of = |id: PeerId, hello: &crate::link::Hello, status: &'static str| {
            let member = members.0.get(&id);
            ServerInfo {
                id: id_text(id),
                name: hello.name.clone(),
                region: hello.region.clone(),
                datacenter: hello.datacenter.clone(),
                rpc_addr: hello.rpc.clone(),
                serf_addr: hello.serf.clone(),
                build: hello.build.clone(),
                expect: hello.expect,
                status,
                member: member.is_some(),
                voter: member.is_some_and(|m| m.voter),
                leads: leader == Some(id),
                ..ServerInfo::default()
            }
        };
        let mut out = Vec::new();
        if self.info.server {
            let mut own_info = of(raft.id(), own, "alive");
            own_info.matched = raft.last_index();
            own_info.since_ns = self.info.started_ns;
            out.push(own_info);
        }
        let matched = |id| raft.followers().find(|(f, _)| *f == id).map_or(0, |(_, m)| m);
        for (id, known) in self.mesh.servers() {
            let status = match (known.alive(), known.left) {
                (_, true) => "left",
                (true, false) => "alive",
                (false, false) => "failed",
            };
            let mut info = of(id, &known.hello, status);
            info.matched = matched(id);
            info.since_ns = known.since_ns;
            if !known.alive() {
                let gone = now.wall_ns.saturating_sub(known.since_ns) / 1_000_000;
                info.last_contact_ms = u64::try_from(gone).unwrap_or(0);
            }
            out.push(info);
        }
        for (id, member) in &members.0 {
            if *id != raft.id() && self.mesh.server(*id).is_none() {
                out.push(ServerInfo {
                    id: id_text(*id),
                    rpc_addr: member.address.clone(),
                    region: own.region.clone(),
                    status: "failed",
                    member: true,
                    voter: member.voter,
                    leads: leader == Some(*id),
                    ..ServerInfo::default()
                });
            }
        }
        out.into()
    }

    /// Calls the members that the store knows; they may have moved on, but others know where.
    pub(super) fn call_members(&mut self, now: Now) {
        let own = self.consensus.raft().id();
        let members = self.consensus.raft().members().map(|(_, m)| m.clone()).unwrap_or_default();
        for (id, member) in members.0 {
            if id != own
                && let Ok(address) = member.address.parse()
            {
                self.mesh.call(address, None, now);
            }
        }
    }
}

fn refused(e: Refusal) -> ApiError {
    match e {
        Refusal::NotLeader => ApiError::failed("No cluster leader"),
        other => ApiError::failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_servers_go_where_that_makes_the_cluster_safer() {
        // Voters, dead among them, smallest number of voters; whether one goes.
        for (voters, dead, least, goes) in [
            (1, 0, 0, false),
            (3, 0, 0, false),
            // Two of two are needed afterwards, as two of three are before.
            (3, 1, 0, false),
            (4, 1, 0, true),
            (4, 1, 4, false),
            (5, 1, 0, false),
            (5, 2, 0, true),
            (5, 2, 5, false),
            (5, 2, 3, true),
            (6, 2, 0, true),
            (7, 3, 0, true),
            // Without a majority nothing can be changed anyway; what is left would not be one.
            (3, 2, 0, true),
        ] {
            let member = |n: u128| (PeerId(n), Member { address: n.to_string(), voter: true });
            let members = Members((1..=voters).map(member).collect());
            let dead: Vec<PeerId> = (1..=dead).map(PeerId).collect();
            let found = superfluous(&members, &dead, least);
            assert_eq!(found.is_some(), goes, "{voters} {dead:?} {least}");
        }
        let learner = (PeerId(2), Member { address: String::new(), voter: false });
        let mut members = Members::lone(PeerId(1), "a".to_owned());
        members.0.extend([learner]);
        assert_eq!(superfluous(&members, &[PeerId(2)], 0), Some(PeerId(2)));
    }
}
