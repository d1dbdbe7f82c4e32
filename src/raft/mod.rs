//! Consensus over opaque entries, without clock, disk, network or chance of its own.
//!
//! [`Raft::step`] takes one thing that happened and adds to [`Effects`] what is to be done. The
//! driver gathers the effects of a turn, sends what may leave at once, makes `persist` and `apply`
//! durable in one transaction, then sends the rest and reports [`Input::Persisted`] and
//! [`Input::Applied`].
//!
//! A server that is the only voter elects itself in its first step. Its entries count as committed
//! together with the open transaction, because the log row and its effects become durable in the
//! same instant, and nothing leaves before.
//!
//! Safety rests on few rules, each asserted where it could break: a vote or an acknowledgement
//! leaves only after it is durable; a leader commits by counting only entries of its own term; it
//! begins its term with an empty entry and serves nothing before that one is applied; nothing at or
//! below the commit index is ever replaced; a membership is in force from the moment that it is
//! appended, and changes by one server at a time.

mod config;
mod election;
mod log;
mod membership;
mod message;
mod pace;
mod progress;
mod quorum;
mod read;
mod replicate;
mod types;

use std::collections::VecDeque;

use crate::stdx::{BTreeMap, Now};

use config::History;
use log::Tail;
use progress::Progress;
use read::Reads;

pub use config::{Change, MEMBERS_MAX, Member, Members, forced_members, stored_members};
pub use message::{Body, Message, WireError};
pub use pace::Pace;
pub use types::*;

/// So many elections in a row are begun soon after the link to a leader broke.
const HURRIED_ELECTIONS: u32 = 8;
/// They begin after this part of the shortest silence at the earliest, five times that at the
/// latest: long enough for the vote of one to arrive before another begins.
const HURRY: u64 = 40;

/// One server's part in the consensus.
#[derive(Debug)]
pub struct Raft {
    id: PeerId,
    config: Config,
    rng: u64,
    now: u64,
    hard: HardState,
    /// Term of the last hard state that is on disk. No message of a later term leaves.
    durable_term: Term,
    role: Role,
    leader: Option<PeerId>,
    /// When the leader was last heard.
    heard_at: u64,
    /// 0 before the first step.
    election_at: u64,
    /// Elections that are begun soon, as the link to the leader broke; 0 while nothing is amiss.
    hurry: u32,
    votes: BTreeMap<PeerId, bool>,
    history: History,
    tail: Tail,
    /// `applied <= handed <= commit <= tail.last()`
    commit: Index,
    /// Last entry given out in [`Effects::apply`].
    handed: Index,
    applied: Index,
    ticket: Ticket,
    /// Hand-overs to the disk that are not reported back.
    writes: VecDeque<Write>,
    lead: Lead,
}

/// What was true when a hand-over to the disk was made.
#[derive(Debug)]
struct Write {
    ticket: Ticket,
    term: Term,
    last: Index,
    last_term: Term,
}

/// State of a leader; empty in every other role.
#[derive(Debug, Default)]
struct Lead {
    peers: BTreeMap<PeerId, Progress>,
    /// The empty entry that began the term.
    opened: Index,
    heartbeat_at: u64,
    quorum_at: u64,
    /// Commit index that the followers were told.
    announced: Index,
    /// Last entry that counted as committed while this server was the only voter.
    lone: Index,
    transfer: Option<Transfer>,
    reads: Reads,
    /// Own proposals that are not committed: last entry of each batch and its bytes.
    uncommitted: VecDeque<(Index, usize)>,
    uncommitted_bytes: usize,
}

/// A hand-over of leadership under way.
#[derive(Debug)]
struct Transfer {
    target: PeerId,
    deadline: u64,
}

/// What each step has at hand.
struct Cx<'a> {
    log: &'a dyn LogRead,
    out: &'a mut Effects,
}

impl Raft {
    /// A follower with what the store held. Fails where the store contradicts itself.
    pub fn new(id: PeerId, start: Start<'_>, config: Config) -> Result<Self, StartError> {
        let Start { hard_state, bounds, last_term, applied, members } = start;
        let history = History::decode(members).map_err(|e| StartError(e.0))?;
        let last = bounds.last;
        if last.max(hard_state.term).max(last_term) > message::NUMBER_MAX {
            return Err(StartError("log index or term out of range"));
        }
        if bounds.first == 0 || bounds.first > last + 1 {
            return Err(StartError("bounds of the log are not in order"));
        }
        if last > 0 && (hard_state.term == 0 || history.current().is_none()) {
            return Err(StartError("the log has entries, but its hard state is gone"));
        }
        if last_term > hard_state.term {
            return Err(StartError("the log is of a later term than the hard state"));
        }
        if applied > last || applied + 1 < bounds.first {
            return Err(StartError("applied index is outside of the log"));
        }
        Ok(Self {
            id,
            rng: config.seed ^ id.0 as u64,
            config,
            now: 0,
            hard: hard_state,
            durable_term: hard_state.term,
            role: Role::Follower,
            leader: None,
            heard_at: 0,
            election_at: 0,
            hurry: 0,
            votes: BTreeMap::new(),
            history,
            tail: Tail::new(last, last_term),
            commit: applied,
            handed: applied,
            applied,
            ticket: 0,
            writes: VecDeque::new(),
            lead: Lead::default(),
        })
    }

    pub fn id(&self) -> PeerId {
        self.id
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn term(&self) -> Term {
        self.hard.term
    }

    /// Who leads the present term, as far as this server knows.
    pub fn leader(&self) -> Option<PeerId> {
        self.leader
    }

    pub fn commit_index(&self) -> Index {
        self.commit
    }

    pub fn applied_index(&self) -> Index {
        self.applied
    }

    pub fn last_index(&self) -> Index {
        self.tail.last()
    }

    /// Leads, and its first entry is applied. Only then may it answer as the leader.
    pub fn is_ready(&self) -> bool {
        self.role == Role::Leader && self.applied >= self.lead.opened
    }

    /// Changes the times of elections, as the disk turns out to be slower or faster. From the next
    /// one on.
    pub fn set_times(&mut self, heartbeat_ns: u64, election_ns: u64) {
        (self.config.heartbeat_ns, self.config.election_ns) = (heartbeat_ns, election_ns);
    }

    /// Membership in force and the index of its entry; `None` on a server that was never part of a
    /// cluster.
    pub fn members(&self) -> Option<(Index, &Members)> {
        self.history.current().map(|(i, m)| (*i, m))
    }

    /// Membership as of an applied entry, for a snapshot there; `None` where it is no longer known.
    pub fn members_at(&self, index: Index) -> Option<&Members> {
        self.history.at(index)
    }

    /// When the leader was last heard, in nanoseconds of the monotonic clock; 0: never.
    pub fn last_contact(&self) -> u64 {
        if self.role == Role::Leader { self.now } else { self.heard_at }
    }

    /// How far each follower is; empty unless this server leads.
    pub fn followers(&self) -> impl Iterator<Item = (PeerId, Index)> + '_ {
        self.lead.peers.iter().map(|(id, p)| (*id, p.matched))
    }

    /// The log is needed from here on, by this server or by followers that answer. The entry
    /// itself may go.
    pub fn trim_to(&self) -> Index {
        let peers = self.lead.peers.values().filter(|p| p.active).map(|p| p.matched);
        peers.fold(self.applied, Index::min)
    }

    /// When `Tick` must be stepped next, in nanoseconds of the monotonic clock; `u64::MAX`: never.
    pub fn deadline(&self) -> u64 {
        if self.role == Role::Leader {
            if self.lead.peers.is_empty() {
                return u64::MAX;
            }
            let transfer = self.lead.transfer.as_ref().map_or(u64::MAX, |t| t.deadline);
            return self.lead.heartbeat_at.min(self.lead.quorum_at).min(transfer);
        }
        if self.is_electable() { self.election_at } else { u64::MAX }
    }

    /// Takes one input and adds its effects to `out`. `log` is the durable log as the last commit
    /// left it.
    pub fn step(&mut self, now: Now, log: &dyn LogRead, input: Input, out: &mut Effects) {
        self.now = self.now.max(now.mono_ns);
        if self.election_at == 0 {
            self.reset_election();
        }
        let before = (self.role, self.hard.term, self.leader);
        let mut cx = Cx { log, out };
        self.dispatch(&mut cx, input);
        if self.leader.is_none() && self.role != Role::Leader && self.is_alone() {
            self.campaign(&mut cx, election::Kind::Real);
        }
        self.advance(&mut cx);
        if (self.role, self.hard.term, self.leader) != before {
            cx.out.role = Some(self.role);
        }
        if let Some(w) = self.writes.back_mut()
            && cx.out.persist.is_some()
        {
            w.term = self.hard.term;
            w.last = self.tail.last();
            w.last_term = self.tail.last_term();
        }
        self.check();
    }

    fn dispatch(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Message(from, message) => self.receive(cx, from, message),
            Input::Propose(payloads) => {
                let answer = self.propose(cx, payloads);
                cx.out.proposals.push(answer);
            }
            Input::Change(change, prev) => {
                let answer = self.change(cx, change, prev);
                cx.out.proposals.push(answer);
            }
            Input::Transfer(target) => {
                let answer = self.transfer(cx, target);
                cx.out.proposals.push(answer.map(|()| 0..0));
            }
            Input::Bootstrap(members) => self.bootstrap(cx, &members),
            Input::Campaign => self.campaign(cx, election::Kind::Pre),
            Input::Tick => self.tick(cx),
            Input::Persisted(ticket) => self.persisted(ticket),
            Input::Applied(index) => {
                assert!(index <= self.handed, "applied what was not handed out");
                self.applied = self.applied.max(index);
            }
            Input::ReadIndex(token) => self.read_index(cx, token),
            Input::Unreachable(peer) => {
                if let Some(p) = self.lead.peers.get_mut(&peer)
                    && p.state == progress::State::Replicate
                {
                    p.probe(p.matched + 1, false);
                }
                if self.role == Role::Follower && self.leader == Some(peer) {
                    self.hurry = HURRIED_ELECTIONS;
                    self.reset_election();
                }
            }
            Input::SnapshotSent(peer, arrived) => self.snapshot_sent(cx, peer, arrived),
            Input::Offered { from, index, term } => self.offered(cx, from, index, term),
            Input::Installed { from, index, term, members } => {
                self.installed(cx, from, index, term, &members);
            }
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        if self.role == Role::Leader {
            self.tick_leader(cx);
        } else if self.now >= self.election_at {
            self.reset_election();
            self.campaign(cx, election::Kind::Pre);
        }
    }

    fn persisted(&mut self, ticket: Ticket) {
        while let Some(w) = self.writes.front()
            && w.ticket <= ticket
        {
            self.durable_term = self.durable_term.max(w.term);
            self.tail.stable(w.last, w.last_term);
            self.writes.pop_front();
        }
    }

    fn is_voter(&self) -> bool {
        self.history.current().is_some_and(|(_, m)| m.is_voter(self.id))
    }

    /// May campaign: a voter, or one that is none any more by an entry that may not be committed.
    /// The others may lack that entry, and then only this server can give it to them (Ongaro's
    /// thesis, 4.2.2).
    fn is_electable(&self) -> bool {
        self.history.names_voter(self.id)
    }

    /// The only voter: a majority by itself.
    fn is_alone(&self) -> bool {
        self.history.current().is_some_and(|(_, m)| m.is_lone_voter(self.id))
    }

    fn voters(&self) -> Vec<PeerId> {
        self.history.current().map_or(Vec::new(), |(_, m)| m.voters().collect())
    }

    fn term_at(&self, cx: &Cx<'_>, index: Index) -> Option<Term> {
        self.tail.term(cx.log, index)
    }

    /// A message that depends on nothing written in this turn, unless its term does.
    fn send(&self, cx: &mut Cx<'_>, to: PeerId, body: Body) {
        let message = Message { term: self.hard.term, body };
        if self.hard.term > self.durable_term {
            cx.out.send_gated.push((to, message));
        } else {
            cx.out.send_free.push((to, message));
        }
    }

    /// A promise: leaves when everything that was handed over is durable.
    fn send_gated(&self, cx: &mut Cx<'_>, to: PeerId, body: Body) {
        cx.out.send_gated.push((to, Message { term: self.hard.term, body }));
    }

    /// The hand-over of this turn.
    fn persist<'a>(&mut self, cx: &'a mut Cx<'_>) -> &'a mut Persist {
        if cx.out.persist.is_none() {
            self.ticket += 1;
            let (ticket, term) = (self.ticket, self.durable_term);
            self.writes.push_back(Write { ticket, term, last: 0, last_term: 0 });
        }
        let ticket = self.ticket;
        let p = cx.out.persist.get_or_insert_with(|| Persist { ticket, ..Persist::default() });
        assert_eq!(p.ticket, ticket, "effects of a turn that is over");
        p
    }

    fn set_hard(&mut self, cx: &mut Cx<'_>, term: Term, vote: Option<PeerId>) {
        assert!(term >= self.hard.term && term <= message::NUMBER_MAX);
        assert!(term > self.hard.term || self.hard.vote.is_none() || self.hard.vote == vote);
        self.hard = HardState { term, vote };
        self.persist(cx).hard_state = Some(self.hard);
    }

    /// Adds an entry to the log and to what is written.
    fn append(&mut self, cx: &mut Cx<'_>, entry: Entry) {
        if entry.kind == EntryKind::Members
            && let Ok(members) = Members::decode(&entry.payload)
        {
            self.history.append(entry.index, members);
            self.persist_members(cx);
        }
        self.persist(cx).entries.push(entry.clone());
        self.tail.append(entry);
    }

    fn persist_members(&mut self, cx: &mut Cx<'_>) {
        let bytes = self.history.encode();
        self.persist(cx).members = Some(bytes);
    }

    /// Draws the time of the next election: one to two times the shortest from now, or a small part
    /// of that where the leader is likely to be dead.
    fn reset_election(&mut self) {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let span = self.config.election_ns.max(HURRY);
        let wait = match self.hurry {
            0 => span.saturating_add((z ^ (z >> 31)) % span),
            _ => (span / HURRY).saturating_add((z ^ (z >> 31)) % (4 * (span / HURRY))),
        };
        self.election_at = self.now.saturating_add(wait).max(1);
    }

    /// What must hold after every step; a server that breaks it stops.
    fn check(&self) {
        assert!(self.applied <= self.handed);
        assert!(self.handed <= self.commit);
        assert!(self.commit <= self.tail.last());
        assert!(self.tail.last_term() <= self.hard.term);
        assert!(self.durable_term <= self.hard.term);
        if self.role == Role::Leader {
            assert_eq!(self.leader, Some(self.id));
            assert!(self.lead.opened > 0);
            for p in self.lead.peers.values() {
                assert!(p.matched < p.next);
                assert!(p.matched <= self.tail.last());
            }
        } else {
            assert!(self.lead.peers.is_empty());
        }
    }
}
