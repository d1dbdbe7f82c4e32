//! Sees everything at once and knows what may never happen. The names are those of the rules that
//! consensus promises to keep (I1 to I22); what a rule says stands where it is checked.

use std::collections::VecDeque;

use vardo::raft::{Body, EntryKind, Index, LogRead, Members, Message, Role, Term, stored_members};
use vardo::stdx::BTreeMap;

use super::disk::Row;
use super::kv::{Command, Kv};
use super::node::{Node, number, peer};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
    /// When, ns.
    pub(crate) at: u64,
}

/// An entry that is committed for good.
struct Committed {
    term: Term,
    chain: u64,
    op: u64,
    /// What it changes; `None` for an entry that changes nothing in the state.
    command: Option<Command>,
    /// Term of the server that told so first.
    by: Term,
    /// Of the state after it.
    digest: u64,
}

/// What was seen of one server last.
#[derive(Clone, Debug, Default)]
struct Seen {
    life: u32,
    term: Term,
    commit: Index,
    applied: Index,
    role: Role,
    hard: (Term, Option<usize>),
    durable_applied: Index,
    /// Index of the state that a read was answered from last.
    shown: Index,
    /// Memberships of its log, the latest few.
    members: Vec<(Index, Members)>,
    /// Up to where it told the leader of a term that it has everything.
    acked: (Term, Index),
}

#[derive(Default)]
pub(crate) struct Observer {
    pub(crate) failure: Option<Failure>,
    pub(crate) now: u64,
    /// Most bytes of entries in a message, unless a single one is larger.
    message_bytes: usize,
    committed: VecDeque<Committed>,
    kv: Kv,
    leaders: BTreeMap<Term, usize>,
    votes: BTreeMap<(usize, Term), usize>,
    /// Hash of the log up to each entry that was ever durable anywhere.
    chains: BTreeMap<(Index, Term), u64>,
    /// Index of each write that is committed.
    ops: BTreeMap<u64, Index>,
    seen: Vec<Seen>,
    /// What happened how often.
    pub(crate) sometimes: BTreeMap<&'static str, u64>,
}

fn majority(of: usize) -> usize {
    of / 2 + 1
}

impl Observer {
    pub(crate) fn new(servers: usize, message_bytes: usize) -> Self {
        Self { message_bytes, seen: vec![Seen::default(); servers], ..Self::default() }
    }

    pub(crate) fn fail(&mut self, rule: &'static str, what: String) {
        let at = self.now;
        self.failure.get_or_insert(Failure { rule, what, at });
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.sometimes.entry(what).or_insert(0) += 1;
    }

    /// Entries that are committed for good.
    pub(crate) fn committed(&self) -> Index {
        self.committed.len() as Index
    }

    fn entry(&self, index: Index) -> Option<&Committed> {
        self.committed.get(usize::try_from(index.checked_sub(1)?).ok()?)
    }

    /// A turn is over, its commit is not.
    pub(crate) fn turned(&mut self, nodes: &[Node], n: usize) {
        let node = &nodes[n];
        let raft = node.raft();
        let old = self.seen[n].clone_numbers();
        let (term, commit, applied) = (raft.term(), raft.commit_index(), raft.applied_index());
        if old.life == node.life
            && (term < old.term || commit < old.commit || applied < old.applied)
        {
            // I8: term, commit and applied index of a running server never go back.
            self.fail("I8", format!("{n} went back to term {term}, {commit}, {applied}"));
        }
        let role = raft.role();
        if role == Role::Leader && (old.role != Role::Leader || old.term != term) {
            self.elected(nodes, n);
        }
        if old.role == Role::Leader && role != Role::Leader && old.life == node.life {
            self.count(if old.term == term { "leader stepped down" } else { "leader deposed" });
        }
        self.members_changed(nodes, n);
        if role == Role::Leader
            && commit > self.committed()
            && self.holder(nodes, n, commit).is_some()
        {
            self.told(nodes, n, commit);
        }
        let s = &mut self.seen[n];
        (s.life, s.term, s.commit, s.applied, s.role) = (node.life, term, commit, applied, role);
    }

    /// A server goes on from what is on its disk.
    pub(crate) fn restarted(&mut self, n: usize) {
        self.seen[n].life = u32::MAX;
    }

    fn elected(&mut self, nodes: &[Node], n: usize) {
        let term = nodes[n].raft().term();
        let first = *self.leaders.entry(term).or_insert(n);
        if first != n {
            // I1: a term has one leader at most.
            self.fail("I1", format!("{first} and {n} both lead term {term}"));
        }
        self.count("election");
        // What later terms committed meanwhile is not its business.
        let mut last = self.committed();
        while self.entry(last).is_some_and(|c| c.by >= term) {
            last -= 1;
        }
        if let Some(c) = self.entry(last)
            && term_of(&nodes[n], last) != Some(c.term)
            && nodes[n].disk.base.0 < last
        {
            // I3: a leader has everything that was committed in earlier terms.
            let what = format!("{n} leads term {term} without {last}/{}", c.term);
            self.fail("I3", what);
        }
    }

    fn members_changed(&mut self, nodes: &[Node], n: usize) {
        let raft = nodes[n].raft();
        let Some((at, members)) = raft.members() else { return };
        if self.seen[n].members.last().is_some_and(|(i, m)| (*i, m) == (at, members)) {
            return;
        }
        let mut list = std::mem::take(&mut self.seen[n].members);
        let known = list.len();
        list.retain(|(i, _)| *i < at);
        if list.len() != known {
            self.count("membership taken back");
        }
        let fresh = nodes[n].effects.persist.iter().flat_map(|p| &p.entries);
        for e in fresh.filter(|e| e.kind == EntryKind::Members) {
            let Ok(next) = Members::decode(&e.payload) else { continue };
            let Some((before_at, before)) = list.last().filter(|(i, _)| *i < e.index) else {
                continue;
            };
            if raft.role() == Role::Leader {
                if *before == next {
                    continue;
                }
                let opened = term_of(&nodes[n], raft.commit_index()) == Some(raft.term());
                self.count("membership changed");
                if *before_at > raft.commit_index() || !opened {
                    // I6: one change at a time, and none before the term has committed something.
                    let what = format!("{n} changes the membership at {} too early", e.index);
                    self.fail("I6", what);
                }
                if !meet(before, &next) {
                    // I6: majorities of one membership and the next share a server.
                    self.fail("I6", format!("majorities before and after {} may part", e.index));
                }
            }
            list.push((e.index, next));
        }
        if list.last().is_none_or(|(i, _)| *i < at) {
            list.push((at, members.clone()));
        }
        list.drain(..list.len().saturating_sub(8));
        self.seen[n].members = list;
    }

    /// A message leaves.
    pub(crate) fn sending(&mut self, nodes: &[Node], n: usize, to: usize, m: &Message) {
        let disk = &nodes[n].disk;
        if m.term > disk.hard.term {
            // I7: what a server says of a term it cannot forget.
            self.fail("I7", format!("{n} speaks of term {} and may forget it", m.term));
        }
        match &m.body {
            Body::VoteReply { pre: false, granted: true, campaign } => {
                self.votes(nodes, n, to, *campaign);
            }
            Body::VoteRequest { pre: false, campaign, .. } => self.votes(nodes, n, n, *campaign),
            Body::VoteReply { pre: true, granted: false, .. } => self.count("pre-vote refused"),
            Body::AppendOk { matched } => {
                if disk.last() < *matched && m.term == nodes[n].raft().term() {
                    // I5: what is acknowledged is durable, if no later leader has cut it already.
                    self.fail("I5", format!("{n} acknowledges {matched} and may forget it"));
                }
                let acked = &mut self.seen[n].acked;
                if acked.0 != m.term {
                    *acked = (m.term, 0);
                }
                acked.1 = acked.1.max(*matched);
            }
            Body::Append { commit, entries, prev, .. } => {
                self.leads(n, m.term);
                let limit = self.message_bytes;
                let bytes: usize = entries.iter().map(vardo::raft::Entry::size).sum();
                if entries.len() > 1 && bytes > limit {
                    // I21: what is sent at a time is bounded.
                    self.fail("I21", format!("{n} sends {bytes} bytes after {prev}"));
                }
                self.told(nodes, n, *commit);
            }
            Body::Heartbeat { commit, .. } => {
                self.leads(n, m.term);
                self.told(nodes, n, *commit);
            }
            Body::TimeoutNow => self.count("leadership handed over"),
            Body::VoteReply { .. }
            | Body::VoteRequest { .. }
            | Body::AppendReject { .. }
            | Body::HeartbeatReply { .. } => {}
        }
    }

    fn leads(&mut self, n: usize, term: Term) {
        if self.leaders.get(&term).is_some_and(|l| *l != n) {
            self.fail("I1", format!("{n} speaks as the leader of term {term}"));
        }
    }

    fn votes(&mut self, nodes: &[Node], n: usize, whom: usize, term: Term) {
        let first = *self.votes.entry((n, term)).or_insert(whom);
        let hard = nodes[n].disk.hard;
        if first != whom || hard.term == term && hard.vote != Some(peer(whom)) {
            // I7: one vote in each term, and not before it is durable.
            self.fail(
                "I7",
                format!("{n} votes for {whom} in term {term}, {first} first, {hard:?}"),
            );
        }
    }

    /// A voter that has the entry durably, where a majority has: by the membership that was in
    /// force at the entry in this server's log, or by a later one.
    fn holder(&self, nodes: &[Node], n: usize, index: Index) -> Option<usize> {
        let term = term_of(&nodes[n], index)?;
        let held = |v: &usize| nodes[*v].disk.term(index) == Some(term);
        let mut next = Index::MAX;
        for (at, members) in self.seen[n].members.iter().rev() {
            if next <= index {
                break;
            }
            let holders = members.voters().map(number).filter(held).count();
            if holders >= majority(members.voters().count()) {
                return members.voters().map(number).find(held);
            }
            next = *at;
        }
        None
    }

    /// A server says that entries up to `index` are committed.
    fn told(&mut self, nodes: &[Node], n: usize, index: Index) {
        if index <= self.committed() {
            return;
        }
        let Some(holder) = self.holder(nodes, n, index) else {
            // I5: what is committed is durable on a majority.
            let what = format!("{n} tells that {index} is committed, and no majority has it");
            return self.fail("I5", what);
        };
        let by = nodes[n].raft().term();
        for index in self.committed() + 1..=index {
            let Some(row) = nodes[holder].disk.row(index) else {
                return self.fail("I5", format!("{holder} has {index} no more"));
            };
            self.commit(row, by);
        }
    }

    fn commit(&mut self, row: &Row, by: Term) {
        let e = &row.entry;
        let mut op = 0;
        let command = Command::decode(&e.payload).filter(|_| e.kind == EntryKind::Command);
        match command {
            Some(command) => {
                op = command.op;
                self.kv.apply(e.index, command);
                if let Some(first) = self.ops.insert(op, e.index) {
                    // I14: what was asked once takes effect once.
                    self.fail("I14", format!("write {op} is committed at {first} and {}", e.index));
                }
            }
            None => self.kv.skip(e.index),
        }
        let digest = self.kv.digest;
        let (term, chain) = (e.term, row.chain);
        self.committed.push_back(Committed { term, chain, op, command, by, digest });
    }

    /// An operator told the servers that are `left` that they are all there is. What counts from
    /// now on is what the best of them has; what others did in later terms was never heard of.
    pub(crate) fn recovered(&mut self, nodes: &[Node], left: &[usize], best: usize) {
        self.count("recovered by hand");
        let disk = &nodes[best].disk;
        let mut kept = self.committed().min(disk.last());
        while kept > disk.base.0 && disk.chain(kept) != self.entry(kept).map(|c| c.chain) {
            kept -= 1;
        }
        if kept < self.committed() {
            self.count("acknowledged writes lost with a majority");
        }
        self.committed.truncate(usize::try_from(kept).unwrap_or(0));
        self.ops.retain(|_, index| *index <= kept);
        self.kv = Kv::default();
        for (index, c) in (1..).zip(&self.committed) {
            match c.command {
                Some(command) => drop(self.kv.apply(index, command)),
                None => self.kv.skip(index),
            }
        }
        let (last_term, term) = (disk.start().last_term, disk.hard.term);
        self.chains.retain(|(_, t), _| *t <= last_term);
        self.leaders.retain(|t, _| *t < term);
        for n in left {
            let disk = &nodes[*n].disk;
            let members = stored_members(&disk.members).unwrap_or_default();
            let seen = &mut self.seen[*n];
            (seen.hard, seen.members) = ((disk.hard.term, None), vec![(0, members)]);
        }
    }

    /// The commit of a turn is about to reach the disk.
    pub(crate) fn writing(&mut self, node: &Node) {
        let (n, disk) = (node.id, &node.disk);
        let cut = node.effects.persist.as_ref().and_then(|p| p.truncate_from);
        let install = node.install.as_ref().map(|s| s.index + 1);
        let Some(from) = cut.into_iter().chain(install).min() else { return };
        if from > disk.last() {
            return;
        }
        self.count(if cut.is_some() { "log cut" } else { "log dropped by a snapshot" });
        let Some(term) = disk.term(from) else { return };
        if self.entry(from).is_some_and(|c| c.term == term) {
            // I5: what is committed stays.
            self.fail("I5", format!("{n} drops {from}/{term}, which is committed"));
        }
        let acked = self.seen[n].acked;
        if acked.0 == node.raft().term() && from <= acked.1 {
            // I5: what the present leader was told to be durable stays.
            self.fail(
                "I5",
                format!("{n} drops {from}, and told its leader that it has {}", acked.1),
            );
        }
    }

    /// A commit reached the disk. `before`: last entry of the log until then.
    pub(crate) fn written(&mut self, nodes: &[Node], n: usize, from: Index) {
        let node = &nodes[n];
        let disk = &node.disk;
        let hard = (disk.hard.term, disk.hard.vote.map(number));
        let old = self.seen[n].hard;
        if hard.0 < old.0 || hard.0 == old.0 && old.1.is_some() && hard.1 != old.1 {
            // I8: term and vote never go back, over restarts too.
            self.fail("I8", format!("{n} had {old:?} on disk, now {hard:?}"));
        }
        self.seen[n].hard = hard;
        for index in from..=disk.last() {
            let Some(row) = disk.row(index) else { continue };
            let key = (index, row.entry.term);
            if *self.chains.entry(key).or_insert(row.chain) != row.chain {
                // I2: the same index and term stand for the same log up to there.
                self.fail("I2", format!("logs differ at or before {index}/{}, seen on {n}", key.1));
            }
        }
        if node.durable_applied() < self.seen[n].durable_applied {
            self.fail("I8", format!("{n} applied {} once", self.seen[n].durable_applied));
        }
        self.seen[n].durable_applied = node.durable_applied();
        if node.raft.is_some() {
            self.told(nodes, n, disk.applied);
        }
        self.same_state(node);
        if node.install.is_some() {
            self.count("snapshot installed");
        }
    }

    /// The state on a disk is that of the entries up to its applied index.
    pub(crate) fn same_state(&mut self, node: &Node) {
        let disk = &node.disk;
        let chain = disk.chain(disk.applied);
        let Some(c) = self.entry(disk.applied) else {
            if disk.applied > 0 && self.failure.is_none() {
                self.fail("I4", format!("{} applied {}: not committed", node.id, disk.applied));
            }
            return;
        };
        if chain != Some(c.chain) || disk.kv.digest != c.digest {
            // I4: what is applied at an index is the same everywhere. I22: and makes the same
            // state, however it came there.
            self.fail("I4", format!("{} applied something else up to {}", node.id, disk.applied));
        }
    }

    /// A server showed its state as of an index.
    pub(crate) fn shown(&mut self, n: usize, applied: Index) {
        let last = std::mem::replace(&mut self.seen[n].shown, applied);
        if applied < last {
            // I10: what one server shows never goes back.
            self.fail("I10", format!("{n} shows {applied} after {last}"));
        }
    }

    /// A client was told that its write took effect there.
    pub(crate) fn acknowledged(&mut self, op: u64, index: Index) {
        if self.entry(index).map(|c| c.op) != Some(op) {
            // I13: an acknowledged write is in the log for good.
            self.fail("I13", format!("write {op} was acknowledged at {index}, and is not there"));
        }
    }
}

impl Seen {
    /// All but the membership.
    fn clone_numbers(&self) -> Self {
        Self { members: Vec::new(), ..*self }
    }
}

/// Whether each majority of the one shares a server with each majority of the other.
fn meet(a: &Members, b: &Members) -> bool {
    let (of_a, of_b) = (a.voters().count(), b.voters().count());
    let shared = a.voters().filter(|v| b.is_voter(*v)).count();
    majority(of_a) + majority(of_b) > of_a + of_b - shared
}

/// Term of an entry of the log, be it still on its way to the disk.
fn term_of(node: &Node, index: Index) -> Option<Term> {
    if let Some(p) = &node.effects.persist {
        if let Some(e) = p.entries.first()
            && e.index <= index
        {
            let at = usize::try_from(index - e.index).ok()?;
            return p.entries.get(at).map(|e| e.term);
        }
        if p.truncate_from.is_some_and(|from| from <= index) {
            return None;
        }
    }
    if let Some(s) = node.install.as_ref().filter(|s| s.index <= index) {
        return (s.index == index).then_some(s.term);
    }
    node.disk.term(index)
}
