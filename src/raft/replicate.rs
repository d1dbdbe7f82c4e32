//! Entries from the leader to its followers, and what follows from their acknowledgements.

use std::ops::Range;
use std::rc::Rc;

use super::config::History;
use super::progress::State;
use super::{Body, Cx, ENTRY_BYTES_MAX, Entry, EntryKind, Index, Members, PeerId, Raft, ReadToken};
use super::{Refusal, Role, Tail, Term, quorum};

impl Raft {
    pub(super) fn propose(
        &mut self,
        cx: &mut Cx<'_>,
        payloads: Vec<Rc<[u8]>>,
    ) -> Result<Range<Index>, Refusal> {
        if self.role != Role::Leader {
            return Err(Refusal::NotLeader);
        }
        if self.lead.transfer.is_some() {
            return Err(Refusal::Transferring);
        }
        if payloads.iter().any(|p| p.len() > ENTRY_BYTES_MAX) {
            return Err(Refusal::TooLarge);
        }
        let bytes: usize = payloads.iter().map(|p| p.len()).sum();
        let waiting = self.lead.uncommitted_bytes;
        if waiting > 0 && waiting.saturating_add(bytes) > self.config.uncommitted_bytes {
            return Err(Refusal::Busy);
        }
        let first = self.tail.last() + 1;
        let term = self.hard.term;
        for (index, payload) in (first..).zip(payloads) {
            self.append(cx, Entry { index, term, kind: EntryKind::Command, payload });
        }
        let last = self.tail.last();
        self.lead.uncommitted.push_back((last, bytes));
        self.lead.uncommitted_bytes += bytes;
        self.broadcast(cx);
        Ok(first..last + 1)
    }

    /// Sends every follower what it lacks, be it only the commit index.
    pub(super) fn broadcast(&mut self, cx: &mut Cx<'_>) {
        let told = self.told_commit();
        let peers: Vec<_> = self.lead.peers.iter().map(|(id, p)| (*id, p.told < told)).collect();
        for (peer, untold) in peers {
            self.replicate(cx, peer, untold);
        }
    }

    /// Commit index that may be told: the entries up to it are on the disks of a majority. What a
    /// lone voter has not made durable is not among them, even if there are other voters by now.
    fn told_commit(&self) -> Index {
        let counted_alone = self.commit <= self.lead.lone;
        if counted_alone { self.commit.min(self.tail.durable()) } else { self.commit }
    }

    /// Sends a follower what it lacks. With `empty`, at least one message, if any may be sent.
    pub(super) fn replicate(&mut self, cx: &mut Cx<'_>, peer: PeerId, mut empty: bool) {
        let commit = self.told_commit();
        while let Some(p) = self.lead.peers.get_mut(&peer)
            && p.may_send(&self.config)
        {
            let prev = p.next - 1;
            let found = self.tail.term(cx.log, prev).and_then(|term| {
                Some((term, self.tail.entries(cx.log, p.next, self.config.message_bytes)?))
            });
            let Some((prev_term, entries)) = found else {
                p.state = State::Snapshot;
                cx.out.snapshots.push(peer);
                return;
            };
            if entries.is_empty() && !empty {
                return;
            }
            p.sent(&entries);
            p.told = commit.min(prev + entries.len() as Index);
            // Once is enough, and a probe waits for its answer.
            let last = entries.is_empty() || p.state != State::Replicate;
            empty = false;
            self.send(cx, peer, Body::Append { prev, prev_term, commit, entries });
            if last {
                return;
            }
        }
    }

    /// One heartbeat to everyone.
    pub(super) fn heartbeat(&mut self, cx: &mut Cx<'_>) {
        self.lead.heartbeat_at = self.now.saturating_add(self.config.heartbeat_ns);
        let (told, round) = (self.told_commit(), self.lead.reads.round);
        for (peer, p) in &self.lead.peers {
            self.send(cx, *peer, Body::Heartbeat { commit: told.min(p.matched), round });
        }
    }

    pub(super) fn on_append(
        &mut self,
        cx: &mut Cx<'_>,
        from: PeerId,
        (prev, prev_term): (Index, Term),
        commit: Index,
        entries: Vec<Entry>,
    ) {
        if prev < self.commit {
            // Old news; what is committed is equal everywhere.
            self.send_gated(cx, from, Body::AppendOk { matched: self.commit });
            return;
        }
        if self.term_at(cx, prev) != Some(prev_term) {
            let (hint, hint_term) = self.floor(cx, prev.min(self.tail.last()), prev_term);
            self.send(cx, from, Body::AppendReject { prev, hint, hint_term });
            return;
        }
        let matched = prev + entries.len() as Index;
        for entry in entries {
            if entry.index <= self.tail.last() {
                if self.term_at(cx, entry.index) == Some(entry.term) {
                    continue;
                }
                self.truncate(cx, entry.index);
            }
            self.append(cx, entry);
        }
        self.commit = self.commit.max(commit.min(matched));
        self.send_gated(cx, from, Body::AppendOk { matched });
    }

    /// The last entry at or before `index` whose term is at most `term`.
    fn floor(&self, cx: &Cx<'_>, mut index: Index, term: Term) -> (Index, Term) {
        loop {
            match self.term_at(cx, index) {
                Some(t) if t > term && index > 0 => index -= 1,
                Some(t) => return (index, t),
                // Trimmed, so committed: the leader has it too.
                None => return (index, 0),
            }
        }
    }

    fn truncate(&mut self, cx: &mut Cx<'_>, from: Index) {
        assert!(from > self.commit, "a committed entry would be replaced");
        assert!(self.role != Role::Leader, "a leader never cuts its log");
        let term = self.term_at(cx, from - 1).unwrap_or_default();
        self.tail.truncate(from, term);
        let p = self.persist(cx);
        p.entries.retain(|e| e.index < from);
        p.truncate_from = Some(p.truncate_from.map_or(from, |t| t.min(from)));
        if self.history.truncate(from) {
            self.persist_members(cx);
        }
    }

    pub(super) fn on_heartbeat(
        &mut self,
        cx: &mut Cx<'_>,
        from: PeerId,
        commit: Index,
        round: u64,
    ) {
        // An honest leader names only entries that this server acknowledged to it.
        if commit <= self.tail.last() {
            self.commit = self.commit.max(commit);
        }
        self.send(cx, from, Body::HeartbeatReply { round });
    }

    pub(super) fn on_append_ok(&mut self, cx: &mut Cx<'_>, from: PeerId, matched: Index) {
        let last = self.tail.last();
        let first = cx.log.bounds().first;
        let Some(p) = self.lead.peers.get_mut(&from) else { return };
        if matched > last {
            return;
        }
        p.active = true;
        if p.acknowledge(matched, first) {
            self.hand_over(cx, from);
        }
        let untold = self.lead.peers.get(&from).is_some_and(|p| p.told < self.told_commit());
        self.replicate(cx, from, untold);
    }

    pub(super) fn on_append_reject(
        &mut self,
        cx: &mut Cx<'_>,
        from: PeerId,
        prev: Index,
        (hint, hint_term): (Index, Term),
    ) {
        let (hint, _) = self.floor(cx, hint.min(self.tail.last()), hint_term);
        let Some(p) = self.lead.peers.get_mut(&from) else { return };
        p.active = true;
        if prev == 0 || prev > self.tail.last() || !p.rejection_counts(prev) {
            return;
        }
        p.probe(prev.min(hint + 1), false);
        self.replicate(cx, from, true);
    }

    pub(super) fn on_heartbeat_reply(&mut self, cx: &mut Cx<'_>, from: PeerId, round: u64) {
        let (last, begun) = (self.tail.last(), self.lead.reads.round);
        let Some(p) = self.lead.peers.get_mut(&from) else { return };
        p.active = true;
        if round <= begun {
            p.round = p.round.max(round);
        }
        match p.state {
            State::Probe { .. } => {
                p.state = State::Probe { asked: false };
                self.replicate(cx, from, true);
            }
            State::Replicate if p.matched < last => {
                if p.next <= last && !p.window_full(&self.config) {
                    self.replicate(cx, from, false);
                    return;
                }
                // All that may be sent is on its way, or lost: asking for an answer at its end
                // finds out which.
                let prev = p.next - 1;
                let Some(prev_term) = self.tail.term(cx.log, prev) else {
                    // Trimmed meanwhile: what was lost cannot be sent again.
                    p.probe(p.matched + 1, false);
                    self.replicate(cx, from, true);
                    return;
                };
                let commit = self.told_commit();
                self.send(cx, from, Body::Append { prev, prev_term, commit, entries: Vec::new() });
            }
            State::Replicate | State::Snapshot => {}
        }
    }

    /// Moves the commit index, hands out what may be applied and answers reads. Runs at the end of
    /// every step.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) {
        if self.role == Role::Leader {
            self.advance_leader(cx);
        }
        let to = self.commit.min(self.applied.saturating_add(self.config.apply_ahead));
        if to > self.handed {
            if cx.out.apply.is_empty() {
                cx.out.apply.start = self.handed + 1;
            }
            assert!(cx.out.apply.is_empty() || cx.out.apply.end == self.handed + 1);
            cx.out.apply.end = to + 1;
            self.handed = to;
        }
        // Not up to the commit index: that is not on the disk, and after a restart the state as of
        // the last applied entry may have to be sent with its membership.
        if self.history.commit(self.handed) {
            self.persist_members(cx);
        }
        if self.role == Role::Leader {
            let round = self.confirmed_round();
            self.lead.reads.release(round, self.applied, cx.out);
        }
    }

    fn advance_leader(&mut self, cx: &mut Cx<'_>) {
        let own = if self.is_alone() { self.tail.last() } else { self.tail.durable() };
        let matched = |id: &PeerId| match self.lead.peers.get(id) {
            _ if *id == self.id => own,
            Some(p) => p.matched,
            None => 0,
        };
        let reached = quorum::reached(self.voters().iter().map(matched).collect());
        if reached > self.commit && self.term_at(cx, reached) == Some(self.hard.term) {
            self.commit = reached;
            if self.is_alone() {
                self.lead.lone = reached;
            }
            while let Some((last, bytes)) = self.lead.uncommitted.front().copied()
                && last <= reached
            {
                self.lead.uncommitted.pop_front();
                self.lead.uncommitted_bytes -= bytes;
            }
        }
        if self.commit >= self.lead.opened {
            for token in std::mem::take(&mut self.lead.reads.early) {
                self.read_index(cx, token);
            }
        }
        let told = self.told_commit();
        if told > self.lead.announced {
            self.lead.announced = told;
            self.broadcast(cx);
            self.settle_members(cx, told);
        }
    }

    /// A committed membership lets go of those who are not in it.
    fn settle_members(&mut self, cx: &mut Cx<'_>, commit: Index) {
        if self.history.current().is_some_and(|(at, _)| *at <= commit) {
            self.lead.peers.retain(|_, p| !p.leaving);
            if !self.is_voter() {
                self.leave(cx);
            }
        }
    }

    /// The last round of heartbeats that a majority answered.
    fn confirmed_round(&self) -> u64 {
        let begun = self.lead.reads.round;
        let answered = |id: &PeerId| match self.lead.peers.get(id) {
            _ if *id == self.id => begun,
            Some(p) => p.round,
            None => 0,
        };
        quorum::reached(self.voters().iter().map(answered).collect())
    }

    pub(super) fn read_index(&mut self, cx: &mut Cx<'_>, token: ReadToken) {
        if self.role != Role::Leader {
            cx.out.reads_lost.push(token);
        } else if self.commit < self.lead.opened {
            self.lead.reads.early.push(token);
        } else if self.is_alone() {
            self.lead.reads.ask_alone(token, self.commit);
        } else if self.lead.reads.ask(token, self.commit, cx.out) {
            self.heartbeat(cx);
        }
    }

    pub(super) fn snapshot_sent(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        installed: Option<Index>,
    ) {
        let last = self.tail.last();
        let Some(p) = self.lead.peers.get_mut(&peer) else { return };
        if p.state != State::Snapshot {
            return;
        }
        match installed {
            Some(index) if index <= last => {
                p.probe(index + 1, false);
                self.replicate(cx, peer, true);
            }
            // Nothing is tried before the next answer to a heartbeat.
            Some(_) | None => p.probe(p.matched + 1, true),
        }
    }

    /// The leader sends its state as of `index`, which it would not if it knew how far this log
    /// goes. Where the log has that entry, nothing after it may be dropped: it may be acknowledged.
    pub(super) fn offered(&mut self, cx: &mut Cx<'_>, from: PeerId, index: Index, term: Term) {
        let follows = self.role == Role::Follower && self.leader == Some(from);
        let held = index <= self.commit || self.term_at(cx, index) == Some(term);
        if follows && held {
            self.commit = self.commit.max(index);
            self.send_gated(cx, from, Body::AppendOk { matched: self.commit });
        }
    }

    /// The store was replaced by the leader's as of `index`.
    pub(super) fn installed(
        &mut self,
        cx: &mut Cx<'_>,
        from: PeerId,
        index: Index,
        term: Term,
        members: &[u8],
    ) {
        assert!(index > self.commit, "a snapshot of the past was installed");
        assert!(self.role != Role::Leader, "a leader installed a snapshot");
        assert!(self.term_at(cx, index) != Some(term), "entries after a snapshot were dropped");
        let members = Members::decode(members).unwrap_or_default();
        assert!(members.voters().next().is_some(), "a snapshot without voters was installed");
        if term > self.hard.term {
            self.set_hard(cx, term, None);
        }
        self.become_follower(cx, Some(from));
        self.history = History::default();
        self.history.append(index, members);
        self.persist_members(cx);
        self.tail = Tail::new(index, term);
        self.commit = index;
        self.handed = index;
        self.applied = index;
        self.send_gated(cx, from, Body::AppendOk { matched: index });
    }
}
