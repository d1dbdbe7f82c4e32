//! Who leads: pre-votes, votes, stepping down, handing over.

use super::{Body, Cx, Entry, EntryKind, Index, Lead, Message, PeerId, Raft, Refusal, Role, Term};
use super::{Transfer, progress::Progress, quorum};

/// How a campaign is led.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Asks first, without touching the term.
    Pre,
    Real,
    /// At the leader's wish: nobody holds on to the old leader.
    Transfer,
}

impl Raft {
    pub(super) fn receive(&mut self, cx: &mut Cx<'_>, from: PeerId, message: Message) {
        let Message { term, body } = message;
        if from == self.id || term > super::message::NUMBER_MAX {
            return;
        }
        if let Body::VoteRequest { transfer: false, .. } = body
            && self.holds_on()
        {
            return;
        }
        // Answers about an election that is only thought of say nothing about terms.
        let thought = matches!(body, Body::VoteRequest { pre: true, .. })
            || matches!(body, Body::VoteReply { pre: true, granted: true, .. });
        if term > self.hard.term && !thought {
            self.set_hard(cx, term, None);
            self.become_follower(cx, None);
        }
        if term < self.hard.term && !matches!(body, Body::VoteReply { pre: true, .. }) {
            match body {
                // Tells a leader of the past that it is one, even where this server itself is
                // behind and cannot win.
                Body::Append { .. } | Body::Heartbeat { .. } => {
                    self.send(cx, from, Body::HeartbeatReply { round: 0 });
                }
                Body::VoteRequest { pre, campaign, .. } => {
                    let granted = false;
                    self.send(cx, from, Body::VoteReply { pre, campaign, granted });
                }
                Body::AppendOk { .. }
                | Body::AppendReject { .. }
                | Body::HeartbeatReply { .. }
                | Body::VoteReply { .. }
                | Body::TimeoutNow => {}
            }
            return;
        }
        match body {
            Body::Append { prev, prev_term, commit, entries } => {
                if self.follow(cx, from) {
                    self.on_append(cx, from, (prev, prev_term), commit, entries);
                }
            }
            Body::Heartbeat { commit, round } => {
                if self.follow(cx, from) {
                    self.on_heartbeat(cx, from, commit, round);
                }
            }
            Body::AppendOk { matched } => self.on_append_ok(cx, from, matched),
            Body::AppendReject { prev, hint, hint_term } => {
                self.on_append_reject(cx, from, prev, (hint, hint_term));
            }
            Body::HeartbeatReply { round } => self.on_heartbeat_reply(cx, from, round),
            Body::VoteRequest { pre, campaign, last, last_term, .. } => {
                self.on_vote_request(cx, from, pre, campaign, (last_term, last));
            }
            Body::VoteReply { pre, campaign, granted } => {
                let asked = match self.role {
                    Role::PreCandidate => pre && campaign == self.hard.term + 1,
                    Role::Candidate => !pre && campaign == self.hard.term,
                    Role::Follower | Role::Leader => false,
                };
                if asked {
                    self.votes.entry(from).or_insert(granted);
                    self.count_votes(cx);
                }
            }
            Body::TimeoutNow => {
                if self.role == Role::Follower && self.leader == Some(from) {
                    self.campaign(cx, Kind::Transfer);
                }
            }
        }
    }

    /// A living leader keeps its followers: they ignore other candidates.
    fn holds_on(&self) -> bool {
        match self.role {
            Role::Leader => true,
            Role::Follower => {
                self.leader.is_some()
                    && self.hurry == 0
                    && self.now.saturating_sub(self.heard_at) < self.config.election_ns
            }
            Role::PreCandidate | Role::Candidate => false,
        }
    }

    /// Takes `from` for the leader of this term; false where the term has another.
    fn follow(&mut self, cx: &mut Cx<'_>, from: PeerId) -> bool {
        if self.role == Role::Leader || self.leader.is_some_and(|l| l != from) {
            return false;
        }
        self.become_follower(cx, Some(from));
        true
    }

    pub(super) fn become_follower(&mut self, cx: &mut Cx<'_>, leader: Option<PeerId>) {
        std::mem::take(&mut self.lead).reads.abandon(cx.out);
        self.role = Role::Follower;
        self.votes.clear();
        self.leader = leader;
        if leader.is_some() {
            self.heard_at = self.now;
            self.hurry = 0;
        }
        self.reset_election();
    }

    pub(super) fn campaign(&mut self, cx: &mut Cx<'_>, kind: Kind) {
        if self.role == Role::Leader || !self.is_electable() {
            return;
        }
        self.hurry = self.hurry.saturating_sub(1);
        self.become_follower(cx, None);
        let pre = kind == Kind::Pre && !self.is_alone();
        if pre {
            self.role = Role::PreCandidate;
        } else {
            self.set_hard(cx, self.hard.term + 1, Some(self.id));
            self.role = Role::Candidate;
        }
        self.votes.insert(self.id, true);
        let campaign = self.hard.term + Term::from(pre);
        let (last, last_term) = (self.tail.last(), self.tail.last_term());
        let transfer = kind == Kind::Transfer;
        for to in self.voters() {
            if to != self.id {
                // The own vote goes out with the requests: they wait until it is durable.
                let body = Body::VoteRequest { pre, transfer, campaign, last, last_term };
                self.send(cx, to, body);
            }
        }
        self.count_votes(cx);
    }

    fn count_votes(&mut self, cx: &mut Cx<'_>) {
        let voters = self.voters();
        let of = |granted| voters.iter().filter(|v| self.votes.get(v) == Some(&granted)).count();
        if of(true) >= quorum::majority(voters.len()) {
            match self.role {
                Role::PreCandidate => self.campaign(cx, Kind::Real),
                Role::Candidate => self.become_leader(cx),
                Role::Follower | Role::Leader => {}
            }
        } else if of(false) >= quorum::majority(voters.len()) {
            self.become_follower(cx, None);
        }
    }

    fn on_vote_request(
        &mut self,
        cx: &mut Cx<'_>,
        from: PeerId,
        pre: bool,
        campaign: Term,
        log: (Term, Index),
    ) {
        let current = log >= (self.tail.last_term(), self.tail.last());
        // Asked whatever the own membership says: the candidate's is the one that counts.
        let granted = current
            && if pre {
                campaign > self.hard.term
            } else {
                campaign == self.hard.term
                    && self.leader.is_none()
                    && self.hard.vote.is_none_or(|v| v == from)
            };
        if granted && !pre {
            if self.hard.vote.is_none() {
                self.set_hard(cx, self.hard.term, Some(from));
            }
            self.become_follower(cx, None);
            self.send_gated(cx, from, Body::VoteReply { pre, campaign, granted });
        } else {
            self.send(cx, from, Body::VoteReply { pre, campaign, granted });
        }
    }

    fn become_leader(&mut self, cx: &mut Cx<'_>) {
        assert_eq!(self.hard.vote, Some(self.id));
        self.votes.clear();
        self.role = Role::Leader;
        self.leader = Some(self.id);
        let index = self.tail.last() + 1;
        self.lead = Lead {
            opened: index,
            heartbeat_at: self.now.saturating_add(self.config.heartbeat_ns),
            quorum_at: self.now.saturating_add(self.config.election_ns),
            ..Lead::default()
        };
        self.sync_peers(index);
        let (kind, payload) = match self.history.current() {
            Some((0, members)) => (EntryKind::Members, members.encode().into()),
            _ => (EntryKind::Empty, [].into()),
        };
        self.append(cx, Entry { index, term: self.hard.term, kind, payload });
        self.broadcast(cx);
    }

    /// Learns of members that came, marks those that left. New ones are probed at `next`.
    pub(super) fn sync_peers(&mut self, next: Index) {
        let Some((_, members)) = self.history.current() else { return };
        for id in members.0.keys().filter(|id| **id != self.id) {
            self.lead.peers.entry(*id).or_insert_with(|| Progress::new(next));
        }
        for (id, p) in &mut self.lead.peers {
            p.leaving = !members.0.contains_key(id);
        }
        if self.lead.transfer.as_ref().is_some_and(|t| !members.is_voter(t.target)) {
            self.lead.transfer = None;
        }
    }

    pub(super) fn tick_leader(&mut self, cx: &mut Cx<'_>) {
        if self.lead.transfer.as_ref().is_some_and(|t| self.now >= t.deadline) {
            self.lead.transfer = None;
        }
        if self.now >= self.lead.quorum_at {
            self.lead.quorum_at = self.now.saturating_add(self.config.election_ns);
            let voters = self.voters();
            let heard =
                |id: &PeerId| *id == self.id || self.lead.peers.get(id).is_some_and(|p| p.active);
            let active = voters.iter().filter(|id| heard(id)).count();
            for p in self.lead.peers.values_mut() {
                p.active = false;
            }
            if active < quorum::majority(voters.len()) {
                self.become_follower(cx, None);
                return;
            }
        }
        if self.now >= self.lead.heartbeat_at {
            self.heartbeat(cx);
        }
    }

    /// The voter whose log is longest, other than this server.
    fn best_voter(&self) -> Option<PeerId> {
        let (_, members) = self.history.current()?;
        let peers = self.lead.peers.iter().filter(|(id, _)| members.is_voter(**id));
        peers.max_by_key(|(_, p)| (p.active, p.matched)).map(|(id, _)| *id)
    }

    pub(super) fn transfer(
        &mut self,
        cx: &mut Cx<'_>,
        target: Option<PeerId>,
    ) -> Result<(), Refusal> {
        if self.role != Role::Leader {
            return Err(Refusal::NotLeader);
        }
        let target =
            target.or_else(|| self.best_voter()).ok_or(Refusal::Invalid("no other voter"))?;
        if target == self.id {
            return Err(Refusal::Invalid("cannot transfer leadership to itself"));
        }
        if !self.history.current().is_some_and(|(_, m)| m.is_voter(target)) {
            return Err(Refusal::Invalid("cannot find peer among the voters"));
        }
        if self.lead.transfer.as_ref().is_none_or(|t| t.target != target) {
            let deadline = self.now.saturating_add(self.config.election_ns);
            self.lead.transfer = Some(Transfer { target, deadline });
            self.replicate(cx, target, false);
            self.hand_over(cx, target);
        }
        Ok(())
    }

    /// Lets the target of a transfer campaign once its log is complete.
    pub(super) fn hand_over(&self, cx: &mut Cx<'_>, peer: PeerId) {
        let wanted = self.lead.transfer.as_ref().is_some_and(|t| t.target == peer);
        let complete = self.lead.peers.get(&peer).is_some_and(|p| p.matched == self.tail.last());
        if wanted && complete {
            self.send(cx, peer, Body::TimeoutNow);
        }
    }

    /// A leader that is no voter any more goes, and names its heir.
    pub(super) fn leave(&mut self, cx: &mut Cx<'_>) {
        if let Some(heir) = self.best_voter() {
            self.send(cx, heir, Body::TimeoutNow);
        }
        self.become_follower(cx, None);
    }
}
