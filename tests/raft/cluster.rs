//! Servers, their disks and the network between them, all in one thread.
//!
//! Every message goes through its wire form. After each step the cluster checks what consensus
//! promises: one leader per term, equal entries at equal (index, term), and nothing that was
//! applied anywhere is ever different elsewhere.

use std::collections::VecDeque;
use std::rc::Rc;

use super::disk::Disk;
use vardo::raft::{
    Change, Config, Effects, Entry, EntryKind, HardState, Index, Input, Member, Members, Message,
    PeerId, Raft, Refusal, Role, Term, forced_members,
};
use vardo::stdx::{BTreeMap, BTreeSet, Now};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const ELECTION: u64 = 1000 * MS;

/// A server. Its machine is gone while it is down; its disk stays.
pub(crate) struct Server {
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    /// Effects that wait for a slow disk, oldest first.
    held: VecDeque<Effects>,
    slow: bool,
    starts: u64,
    /// Payloads in the order of their application.
    pub(crate) applied: Vec<Entry>,
}

pub(crate) struct Cluster {
    pub(crate) servers: BTreeMap<u64, Server>,
    /// Messages under way: from, to, bytes.
    pub(crate) wire: VecDeque<(u64, u64, Vec<u8>)>,
    /// Links that lose everything, one way.
    pub(crate) cuts: BTreeSet<(u64, u64)>,
    pub(crate) now: u64,
    /// What happened since this was last taken.
    pub(crate) events: Vec<String>,
    pub(crate) answers: Vec<Result<std::ops::Range<Index>, Refusal>>,
    pub(crate) reads: Vec<(u64, u64, Index)>,
    leaders: BTreeMap<Term, u64>,
    /// What was applied at each index, by whomever came first.
    history: BTreeMap<Index, Entry>,
    seed: u64,
    window: usize,
    message_bytes: usize,
}

fn peer(n: u64) -> PeerId {
    PeerId(u128::from(n))
}

fn number(p: PeerId) -> u64 {
    u64::try_from(p.0).expect("a small id")
}

fn members(voters: u64) -> Members {
    let member = |n: u64| Member { address: format!("10.0.0.{n}:1"), voter: true };
    Members((1..=voters).map(|n| (peer(n), member(n))).collect())
}

impl Cluster {
    /// `voters` servers that form a cluster and `others` that know of none;
    /// `window` and `bytes` bound what is sent at a time.
    pub(crate) fn new(voters: u64, others: u64, seed: u64, window: usize, bytes: usize) -> Self {
        let mut c = Self {
            servers: BTreeMap::new(),
            wire: VecDeque::new(),
            cuts: BTreeSet::new(),
            now: MS,
            events: Vec::new(),
            answers: Vec::new(),
            reads: Vec::new(),
            leaders: BTreeMap::new(),
            history: BTreeMap::new(),
            seed,
            window,
            message_bytes: bytes,
        };
        for n in 1..=voters + others {
            let server = Server {
                raft: None,
                disk: Disk::default(),
                held: VecDeque::new(),
                slow: false,
                starts: 0,
                applied: Vec::new(),
            };
            c.servers.insert(n, server);
            c.start(n);
            if n <= voters {
                c.input(n, Input::Bootstrap(members(voters)));
            }
        }
        c.events.clear();
        c
    }

    fn server(&mut self, n: u64) -> &mut Server {
        self.servers.get_mut(&n).expect("a server")
    }

    pub(crate) fn raft(&self, n: u64) -> Option<&Raft> {
        self.servers[&n].raft.as_ref()
    }

    pub(crate) fn start(&mut self, n: u64) {
        let (seed, window, message_bytes) = (self.seed, self.window, self.message_bytes);
        let s = self.server(n);
        s.starts += 1;
        let config = Config {
            election_ns: ELECTION,
            heartbeat_ns: 100 * MS,
            seed: seed ^ (s.starts << 8),
            window,
            message_bytes,
            ..Config::default()
        };
        s.raft = Some(Raft::new(peer(n), s.disk.start(), config).expect("a sound disk"));
    }

    /// What was not written is lost, what is under way from here may still arrive.
    pub(crate) fn crash(&mut self, n: u64) {
        let s = self.server(n);
        s.raft = None;
        s.held.clear();
        s.slow = false;
    }

    /// What `peers.json` does to a server that is down.
    pub(crate) fn recover(&mut self, n: u64, voters: &[u64]) {
        let all = members(voters.iter().copied().max().unwrap_or(0));
        let members =
            Members(all.0.into_iter().filter(|(p, _)| voters.contains(&number(*p))).collect());
        let disk = &mut self.server(n).disk;
        disk.hard = HardState { term: disk.hard.term + 1, vote: None };
        disk.members = forced_members(members);
    }

    /// Writes wait until they are let through one by one.
    pub(crate) fn slow(&mut self, n: u64, slow: bool) {
        self.server(n).slow = slow;
        while !slow && self.persist(n, true) {}
    }

    /// Ends the oldest write that waits; without `send`, nothing that waited for it leaves.
    pub(crate) fn persist(&mut self, n: u64, send: bool) -> bool {
        let Some(mut out) = self.server(n).held.pop_front() else { return false };
        if !send {
            out.send_gated.clear();
        }
        self.commit(n, out);
        true
    }

    pub(crate) fn input(&mut self, n: u64, input: Input) {
        let now = Now { mono_ns: self.now, wall_ns: 0 };
        let s = self.server(n);
        let Some(raft) = s.raft.as_mut() else { return };
        let mut out = Effects::default();
        raft.step(now, &s.disk, input, &mut out);
        self.turn(n, out);
    }

    /// One turn's worth of effects: the free ones now, the rest with the disk.
    fn turn(&mut self, n: u64, mut out: Effects) {
        for (to, m) in out.send_free.drain(..) {
            self.send(n, number(to), &m);
        }
        if let Some(role) = out.role {
            let raft = self.raft(n).expect("it runs");
            let (term, leader) = (raft.term(), raft.leader());
            let leader = leader.map_or(String::new(), |l| format!(", leader {l}"));
            self.events.push(format!("{n} is {role:?} of term {term}{leader}"));
            if role == Role::Leader {
                let first = *self.leaders.entry(term).or_insert(n);
                assert_eq!(first, n, "two leaders of term {term}");
            }
        }
        self.answers.append(&mut out.proposals);
        for (token, index) in out.reads.drain(..) {
            self.events.push(format!("{n} serves read {token} at {index}"));
            self.reads.push((n, token, index));
        }
        for token in out.reads_lost.drain(..) {
            self.events.push(format!("{n} cannot serve read {token}"));
        }
        for to in out.snapshots.drain(..) {
            self.events.push(format!("{n} must send a snapshot to {to}"));
        }
        if out.is_empty() {
            return;
        }
        let s = self.server(n);
        if s.slow || !s.held.is_empty() {
            s.held.push_back(out);
        } else {
            self.commit(n, out);
        }
    }

    fn commit(&mut self, n: u64, out: Effects) {
        let now = Now { mono_ns: self.now, wall_ns: 0 };
        let s = self.servers.get_mut(&n).expect("a server");
        let mut next = Effects::default();
        if let Some(p) = &out.persist {
            s.disk.write(p);
        }
        for index in out.apply.clone() {
            let e = s.disk.get(index).expect("an applied entry is stored").clone();
            assert_eq!(s.disk.applied + 1, index, "applied out of order");
            s.disk.applied = index;
            let first = self.history.entry(index).or_insert_with(|| e.clone());
            assert_eq!(*first, e, "{n} applied something else at {index}");
            if e.kind == EntryKind::Command {
                let text = String::from_utf8_lossy(&e.payload).into_owned();
                self.events.push(format!("{n} applies {index} {text}"));
            }
            s.applied.push(e);
        }
        if let Some(raft) = s.raft.as_mut() {
            if let Some(p) = &out.persist {
                raft.step(now, &s.disk, Input::Persisted(p.ticket), &mut next);
            }
            if !out.apply.is_empty() {
                let last = out.apply.end - 1;
                raft.step(now, &s.disk, Input::Applied(last), &mut next);
            }
        }
        for (to, m) in out.send_gated {
            self.send(n, number(to), &m);
        }
        self.turn(n, next);
    }

    fn send(&mut self, from: u64, to: u64, m: &Message) {
        let s = &self.servers[&from];
        assert!(m.term <= s.disk.hard.term, "{from} speaks of a term that it may forget");
        self.wire.push_back((from, to, m.encode()));
    }

    /// The oldest message under way, or the oldest of one link. False: there is none.
    pub(crate) fn deliver(&mut self, link: Option<(u64, u64)>) -> bool {
        let wanted = |(a, b, _): &(u64, u64, Vec<u8>)| link.is_none_or(|l| l == (*a, *b));
        let Some(at) = self.wire.iter().position(wanted) else { return false };
        self.deliver_at(at);
        true
    }

    pub(crate) fn deliver_at(&mut self, at: usize) {
        let Some((from, to, bytes)) = self.wire.remove(at) else { return };
        let m = Message::decode(&bytes).expect("an honest message");
        let lost = self.cuts.contains(&(from, to))
            || self.servers.get(&to).is_none_or(|s| s.raft.is_none());
        let fate = if lost { " (lost)" } else { "" };
        self.events.push(format!("{from}>{to} {}{fate}", describe(&m)));
        if !lost {
            self.input(to, Input::Message(peer(from), m));
        }
    }

    pub(crate) fn stabilize(&mut self) {
        for _ in 0..100_000 {
            if !self.deliver(None) {
                return;
            }
        }
        panic!("messages without end");
    }

    /// Steps the timers of one server when they are due next.
    pub(crate) fn timeout(&mut self, n: u64) {
        let deadline = self.raft(n).map_or(0, Raft::deadline);
        if deadline != u64::MAX {
            self.now = self.now.max(deadline);
            self.input(n, Input::Tick);
        }
    }

    /// Lets time pass; messages take none of it.
    pub(crate) fn run(&mut self, ns: u64) {
        let end = self.now + ns;
        loop {
            self.stabilize();
            let due =
                self.servers.iter().filter_map(|(n, s)| Some((s.raft.as_ref()?.deadline(), *n)));
            match due.min() {
                Some((at, n)) if at <= end => {
                    self.now = self.now.max(at);
                    self.input(n, Input::Tick);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    pub(crate) fn propose(&mut self, n: u64, text: &str) {
        self.input(n, Input::Propose(vec![Rc::from(text.as_bytes())]));
    }

    pub(crate) fn change(&mut self, n: u64, what: &str, whom: u64) {
        let id = peer(whom);
        let change = match what {
            "add" => Change::AddLearner(id, format!("10.0.0.{whom}:1")),
            "promote" => Change::Promote(id),
            "demote" => Change::Demote(id),
            "remove" => Change::Remove(id),
            other => panic!("no such change: {other}"),
        };
        self.input(n, Input::Change(change, None));
    }

    pub(crate) fn transfer(&mut self, n: u64, to: Option<u64>) {
        self.input(n, Input::Transfer(to.map(peer)));
    }

    /// Copies what `from` has applied to `to`, as a snapshot would. False where `to` has it all.
    pub(crate) fn snapshot(&mut self, from: u64, to: u64) -> bool {
        let source = &self.servers[&from];
        let Some(leader) = source.raft.as_ref() else { return false };
        let (index, applied) = (source.disk.applied, source.applied.clone());
        let Some(term) = vardo::raft::LogRead::term(&source.disk, index) else { return false };
        let Some(members) = leader.members_at(index) else { return false };
        let members = members.encode();
        let target = &self.servers[&to];
        if target.raft.is_none() || !target.held.is_empty() {
            return false;
        }
        self.input(to, Input::Offered { from: peer(from), index, term });
        if index <= self.raft(to).map_or(u64::MAX, Raft::commit_index) {
            self.snapshot_failed(from, to);
            return true;
        }
        let target = self.server(to);
        target.disk.base = (index, term);
        target.disk.entries.clear();
        target.disk.applied = index;
        target.applied = applied;
        self.input(to, Input::Installed { from: peer(from), index, term, members });
        self.input(from, Input::SnapshotSent(peer(to), Some(index)));
        true
    }

    pub(crate) fn snapshot_failed(&mut self, from: u64, to: u64) {
        self.input(from, Input::SnapshotSent(peer(to), None));
    }

    /// Equal (index, term) means equal entries, and equal ones before.
    pub(crate) fn check_logs(&self) {
        let mut seen: BTreeMap<(Index, Term), (&Entry, Option<Term>)> = BTreeMap::new();
        for s in self.servers.values() {
            for e in &s.disk.entries {
                let before = vardo::raft::LogRead::term(&s.disk, e.index - 1);
                let (first, first_before) = seen.entry((e.index, e.term)).or_insert((e, before));
                assert_eq!(*first, e);
                if first_before.is_some() && before.is_some() {
                    assert_eq!(*first_before, before, "logs part before {}/{}", e.index, e.term);
                }
            }
        }
    }

    pub(crate) fn status(&self, n: u64) -> String {
        let s = &self.servers[&n];
        let log: Vec<_> =
            s.disk.entries.iter().map(|e| format!("{}/{}", e.index, e.term)).collect();
        let Some(r) = &s.raft else { return format!("{n} is down; log {}", log.join(" ")) };
        let members = r.members().map_or(String::new(), |(_, m)| {
            let one =
                |(id, m): (&PeerId, &Member)| format!("{id}{}", if m.voter { "" } else { "~" });
            m.0.iter().map(one).collect::<Vec<_>>().join(",")
        });
        format!(
            "{n} {:?} term {} commit {} applied {} members {members}; log {}",
            r.role(),
            r.term(),
            r.commit_index(),
            s.disk.applied,
            log.join(" ")
        )
    }
}

fn describe(m: &Message) -> String {
    use vardo::raft::Body;
    let what = match &m.body {
        Body::Append { prev, prev_term, commit, entries } => {
            let list: Vec<_> = entries.iter().map(|e| format!("{}/{}", e.index, e.term)).collect();
            format!("append after {prev}/{prev_term} commit {commit} [{}]", list.join(" "))
        }
        Body::AppendOk { matched } => format!("has {matched}"),
        Body::AppendReject { prev, hint, hint_term } => {
            format!("lacks {prev}, try {hint}/{hint_term}")
        }
        Body::Heartbeat { commit, round } => format!("heartbeat commit {commit} round {round}"),
        Body::HeartbeatReply { round } => format!("alive, round {round}"),
        Body::VoteRequest { pre, transfer, campaign, last, last_term } => {
            let kind = if *pre { "pre-vote" } else { "vote" };
            let transfer = if *transfer { " by transfer" } else { "" };
            format!("asks {kind} for {campaign} with {last}/{last_term}{transfer}")
        }
        Body::VoteReply { pre, campaign, granted } => {
            let kind = if *pre { "pre-vote" } else { "vote" };
            format!("{} {kind} for {campaign}", if *granted { "grants" } else { "refuses" })
        }
        Body::TimeoutNow => "campaign now".to_owned(),
    };
    format!("t{} {what}", m.term)
}
