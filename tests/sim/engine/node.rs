//! One simulated server: the real core, a model disk, and between them what the loop of the agent
//! does in a turn, in the same order (`agent/core.rs`, `agent/consensus.rs`, `agent/transfer.rs`).

use std::collections::VecDeque;
use std::rc::Rc;

use vardo::raft::{
    Body, Change, Config, Effects, HardState, Input, LogRead, Members, Message, Pace, PeerId, Raft,
    Refusal, Role, Term, forced_members,
};
use vardo::stdx::{BTreeMap, Now};

use super::beside::{Beside, Turn};
use super::disk::{Disk, Outcome, State};
use super::kv::{Command, Register};
use super::plan::{MS, SECOND, Swarm};

/// Something that waits to be taken up by a turn.
#[derive(Clone, Debug)]
pub(crate) enum In {
    Message(usize, Message),
    /// The link to a server is down.
    LinkLost(usize),
    /// A server begins to send its state, has sent all of it.
    Opened(usize, u64, Rc<State>),
    Whole(usize, u64),
    /// The other side has taken what this one sent, or will not.
    Closed(u64, bool),
    Ask(Ask),
    Change(Change),
    Transfer(Option<PeerId>),
    Campaign,
}

/// A request of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) client: usize,
    pub(crate) op: u64,
    pub(crate) request: Request,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    Write(Command),
    Read { key: u32, stale: bool },
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The write took place, or the register was not as expected; what stands there now.
    Written { done: bool, index: u64, now: Register },
    /// With the index of the state that it was read from.
    Read { now: Register, applied: u64 },
    /// Nothing was tried; who may lead.
    Elsewhere(Option<usize>),
    /// Nobody knows what becomes of it.
    Unknown,
}

/// What leaves a server.
#[derive(Debug)]
pub(crate) enum Out {
    Message(usize, Message),
    Open(usize, u64, Rc<State>),
    Close(usize, u64, bool),
    Answer(usize, u64, Answer),
}

struct Coming {
    from: usize,
    id: u64,
    state: Rc<State>,
    whole: bool,
}

pub(crate) struct Node {
    pub(crate) id: usize,
    /// `None` while it is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    /// What a crash leaves of it, where the last commit was one that is held.
    beneath: Option<Disk>,
    /// Held against the disk where it is there.
    pub(crate) beside: Option<Box<dyn Beside>>,
    /// Of this turn; the commit under way carries them out.
    pub(crate) effects: Effects,
    /// Installed by the commit under way.
    pub(crate) install: Option<Rc<State>>,
    pub(crate) inbox: VecDeque<In>,
    /// A commit is under way: the loop stands still.
    pub(crate) busy: bool,
    pub(crate) paused: bool,
    /// Grows with each start and stop: events of before are void.
    pub(crate) life: u32,
    pub(crate) wake_at: u64,
    /// Each commit takes that long at least, until then.
    pub(crate) slow: (u64, u64),
    pub(crate) fail_next: Option<super::plan::Fault>,
    /// Its clock is so far ahead, and so many parts of a million fast.
    clock: (u64, i64),
    pace: Pace,
    leads: bool,
    pending: BTreeMap<u64, Ask>,
    pending_term: Term,
    proposals: Vec<Ask>,
    /// With the term in which it was asked.
    reading: BTreeMap<u64, (Ask, Term)>,
    coming: Option<Coming>,
    install_from: Option<(usize, u64)>,
    /// States under way: id, receiver, index.
    sending: Vec<(u64, usize, u64)>,
    tokens: u64,
    padding_max: usize,
}

pub(crate) fn peer(n: usize) -> PeerId {
    PeerId(n as u128 + 1)
}

pub(crate) fn number(p: PeerId) -> usize {
    usize::try_from(p.0).expect("a small id") - 1
}

pub(crate) fn config(swarm: &Swarm, seed: u64) -> Config {
    Config {
        heartbeat_ns: 100 * MS,
        election_ns: SECOND,
        seed,
        message_bytes: swarm.message_bytes,
        window: swarm.window,
        window_bytes: 1 << 20,
        uncommitted_bytes: swarm.uncommitted_bytes,
        apply_ahead: swarm.apply_ahead,
    }
}

impl Node {
    pub(crate) fn new(id: usize, clock: (u64, i64)) -> Self {
        Self {
            id,
            raft: None,
            disk: Disk::default(),
            beneath: None,
            beside: None,
            effects: Effects::default(),
            install: None,
            inbox: VecDeque::new(),
            busy: false,
            paused: false,
            life: 0,
            wake_at: u64::MAX,
            slow: (0, 0),
            fail_next: None,
            clock,
            pace: Pace::new(&Config::default()),
            leads: false,
            pending: BTreeMap::new(),
            pending_term: 0,
            proposals: Vec::new(),
            reading: BTreeMap::new(),
            coming: None,
            install_from: None,
            sending: Vec::new(),
            tokens: 0,
            padding_max: 0,
        }
    }

    /// What its clock says at a time.
    pub(crate) fn local(&self, now: u64) -> Now {
        let (ahead, fast) = self.clock;
        let drifted = i128::from(now) + i128::from(now) * i128::from(fast) / 1_000_000;
        Now { mono_ns: ahead + u64::try_from(drifted).unwrap_or(0), wall_ns: 0 }
    }

    /// When its timers are due, by the clock of the simulation.
    pub(crate) fn due(&self, now: u64) -> u64 {
        let Some(raft) = &self.raft else { return u64::MAX };
        let deadline = raft.deadline();
        if deadline == u64::MAX {
            return deadline;
        }
        let left = deadline.saturating_sub(self.local(now).mono_ns);
        let left = i128::from(left) * 1_000_000 / i128::from(1_000_000 + self.clock.1) + 1;
        // The agent rounds up to milliseconds.
        now + u64::try_from(left).unwrap_or(0).div_ceil(MS) * MS
    }

    pub(crate) fn start(&mut self, swarm: &Swarm, seed: u64) {
        self.life += 1;
        self.padding_max = swarm.padding;
        if let Some(store) = &mut self.beside {
            store.start(&self.disk);
        }
        let config = config(swarm, seed);
        self.pace = Pace::new(&config);
        self.raft = Some(Raft::new(peer(self.id), self.disk.start(), config).expect("sound"));
    }

    /// All that was not on the disk is gone, also what a commit under way had written.
    pub(crate) fn stop(&mut self, swarm: &Swarm) {
        let trim = self.busy.then(|| self.trim(swarm));
        if let Some(store) = &mut self.beside {
            let install = self.install.as_deref();
            let turn = trim.map(|trim| Turn { effects: &self.effects, install, trim, hold: false });
            store.kill(turn.as_ref());
        }
        self.lose_held();
        let old = std::mem::replace(self, Self::new(self.id, self.clock));
        (self.disk, self.beside) = (old.disk, old.beside);
        self.life = old.life + 1;
        self.slow = old.slow;
    }

    /// Up to where a crash leaves the entries applied.
    pub(crate) fn durable_applied(&self) -> u64 {
        self.beneath.as_ref().unwrap_or(&self.disk).applied
    }

    /// What is shown is durable.
    fn show(&mut self) -> u64 {
        if self.beneath.take().is_some()
            && let Some(store) = &mut self.beside
        {
            store.settle();
        }
        self.disk.applied
    }

    fn lose_held(&mut self) {
        if let Some(disk) = self.beneath.take() {
            self.disk = disk;
        }
    }

    /// While it is down, it is told who the servers are: as in `agent/recover.rs`.
    pub(crate) fn recover(&mut self, members: &Members) {
        let disk = &mut self.disk;
        disk.hard = HardState { term: disk.hard.term + 1, vote: None };
        disk.members = forced_members(members.clone());
        if let Some(store) = &mut self.beside {
            store.recover(&self.disk);
        }
    }

    /// Nothing of the turn reached the disk: consensus goes back to what is there.
    pub(crate) fn start_over(&mut self, swarm: &Swarm, seed: u64, out: &mut Vec<Out>) {
        let trim = self.trim(swarm);
        self.lose_held();
        if let Some(store) = &mut self.beside {
            let install = self.install.as_deref();
            store.lose(&Turn { effects: &self.effects, install, trim, hold: false }, &self.disk);
        }
        self.busy = false;
        self.effects = Effects::default();
        self.give_up(out);
        self.coming = None;
        self.install = None;
        if let Some((from, id)) = self.install_from.take() {
            out.push(Out::Close(from, id, false));
        }
        for (ask, _) in std::mem::take(&mut self.reading).into_values() {
            out.push(Out::Answer(ask.client, ask.op, Answer::Unknown));
        }
        let (members, config) = (self.disk.start(), config(swarm, seed));
        self.raft = Some(Raft::new(peer(self.id), members, config).expect("sound"));
    }

    /// What stands beside the disk is the same.
    pub(crate) fn compare(&mut self) {
        self.lose_held();
        if let Some(store) = &mut self.beside {
            if self.raft.is_some() {
                store.kill(None);
            }
            store.start(&self.disk);
        }
    }

    pub(crate) fn raft(&self) -> &Raft {
        self.raft.as_ref().expect("it runs")
    }

    fn step(&mut self, now: Now, input: Input) {
        let raft = self.raft.as_mut().expect("it runs");
        raft.step(now, &self.disk, input, &mut self.effects);
    }

    fn ask(&mut self, now: Now, input: Input) -> Result<std::ops::Range<u64>, Refusal> {
        self.effects.proposals.clear();
        self.step(now, input);
        self.effects.proposals.pop().unwrap_or(Err(Refusal::NotLeader))
    }

    /// In one line.
    pub(crate) fn status(&self) -> String {
        let (id, disk) = (self.id, &self.disk);
        let stored = format!("log {}..={} applied {}", disk.base.0 + 1, disk.last(), disk.applied);
        let Some(r) = &self.raft else { return format!("{id} is down, {stored}") };
        let members = r.members().map(|(at, m)| {
            let one = |(id, m): (&PeerId, &vardo::raft::Member)| {
                format!("{}{}", number(*id), if m.voter { "" } else { "~" })
            };
            format!("{at}: {}", m.0.iter().map(one).collect::<Vec<_>>().join(" "))
        });
        let leader = r.leader().map(number);
        let (role, term, commit, last) = (r.role(), r.term(), r.commit_index(), r.last_index());
        format!(
            "{id} {role:?} term {term} leader {leader:?} commit {commit} last {last}, {stored}, \
             members {members:?}{}{}",
            if self.busy { ", in a commit" } else { "" },
            if self.paused { ", paused" } else { "" },
        )
    }

    pub(crate) fn is_alone(&self) -> bool {
        let raft = self.raft();
        raft.members().is_some_and(|(_, m)| m.is_lone_voter(raft.id()))
    }

    /// Something is to be written.
    pub(crate) fn has_work(&self) -> bool {
        self.effects.persist.is_some() || !self.effects.apply.is_empty()
    }

    pub(crate) fn bootstrap(&mut self, now: u64, members: Members) {
        let now = self.local(now);
        self.step(now, Input::Bootstrap(members));
        self.step(now, Input::Campaign);
    }

    /// One turn of the loop up to its commit.
    pub(crate) fn turn(
        &mut self,
        time: u64,
        gather: usize,
        up: &mut dyn FnMut(usize) -> bool,
        out: &mut Vec<Out>,
    ) {
        let now = self.local(time);
        let mut late = Vec::new();
        for _ in 0..gather {
            let Some(input) = self.inbox.pop_front() else { break };
            self.take(now, input, &mut late, out);
        }
        self.settle(out);
        if self.raft().deadline() <= now.mono_ns {
            self.step(now, Input::Tick);
        }
        self.take_state(now, out);
        self.send_states(now, up, out);
        for input in late {
            match input {
                In::Change(change) => drop(self.ask(now, Input::Change(change, None))),
                In::Transfer(to) => drop(self.ask(now, Input::Transfer(to))),
                _ => self.step(now, Input::Campaign),
            }
        }
        self.roles(out);
        self.propose(now, out);
        let raft = self.raft();
        if raft.role() != Role::Leader || raft.term() != self.pending_term {
            self.give_up(out);
        }
        for (to, m) in self.effects.take_free() {
            out.push(Out::Message(number(to), m));
        }
        if !self.has_work() {
            self.post_gated(out);
        }
    }

    fn post_gated(&mut self, out: &mut Vec<Out>) {
        for (to, m) in std::mem::take(&mut self.effects.send_gated) {
            out.push(Out::Message(number(to), m));
        }
    }

    fn take(&mut self, now: Now, input: In, late: &mut Vec<In>, out: &mut Vec<Out>) {
        match input {
            In::Message(from, m) => self.step(now, Input::Message(peer(from), m)),
            In::LinkLost(server) => {
                self.step(now, Input::Unreachable(peer(server)));
                while let Some(at) = self.sending.iter().position(|(_, to, _)| *to == server) {
                    let (_, to, _) = self.sending.swap_remove(at);
                    self.step(now, Input::SnapshotSent(peer(to), None));
                }
                if self.coming.as_ref().is_some_and(|c| c.from == server && !c.whole) {
                    self.coming = None;
                }
            }
            In::Opened(from, id, state) => {
                let raft = self.raft();
                if raft.leader() != Some(peer(from)) || state.term > raft.term() {
                    out.push(Out::Close(from, id, false));
                    return;
                }
                let coming = Coming { from, id, state, whole: false };
                if let Some(old) = self.coming.replace(coming) {
                    out.push(Out::Close(old.from, old.id, false));
                }
            }
            In::Whole(from, id) => {
                match self.coming.as_mut().filter(|c| (c.from, c.id) == (from, id)) {
                    Some(coming) => coming.whole = true,
                    None => out.push(Out::Close(from, id, false)),
                }
            }
            In::Closed(id, taken) => {
                if let Some(at) = self.sending.iter().position(|(s, ..)| *s == id) {
                    let (_, to, index) = self.sending.swap_remove(at);
                    self.step(now, Input::SnapshotSent(peer(to), taken.then_some(index)));
                }
            }
            In::Ask(ask) => self.asked(now, ask, out),
            other => late.push(other),
        }
    }

    fn asked(&mut self, now: Now, ask: Ask, out: &mut Vec<Out>) {
        let elsewhere = |node: &Self| {
            Answer::Elsewhere(node.raft().leader().map(number).filter(|l| *l != node.id))
        };
        let answer = match ask.request {
            Request::Read { key, stale } if stale || self.leads && self.is_alone() => {
                Answer::Read { applied: self.show(), now: self.disk.kv.get(key) }
            }
            // The agent asks only once it is ready; the core promises more (R15).
            Request::Read { .. } if self.raft().role() == Role::Leader => {
                self.tokens += 1;
                self.reading.insert(self.tokens, (ask, self.raft().term()));
                let token = self.tokens;
                return self.step(now, Input::ReadIndex(token));
            }
            _ if !self.leads => elsewhere(self),
            Request::Write(_) => return self.proposals.push(ask),
            Request::Read { .. } => elsewhere(self),
        };
        out.push(Out::Answer(ask.client, ask.op, answer));
    }

    /// Reads that consensus has decided about.
    fn settle(&mut self, out: &mut Vec<Out>) {
        for (token, index) in std::mem::take(&mut self.effects.reads) {
            if let Some((ask, term)) = self.reading.remove(&token)
                && let Request::Read { key, .. } = ask.request
            {
                let (applied, now) = (self.show(), self.disk.kv.get(key));
                assert!(index <= applied, "a read as of {index} with {applied} applied");
                let noted = LogRead::term(&self.disk, index).unwrap_or(term);
                assert_eq!(noted, term, "a read as of {index} before its term committed");
                out.push(Out::Answer(ask.client, ask.op, Answer::Read { now, applied }));
            }
        }
        for token in std::mem::take(&mut self.effects.reads_lost) {
            if let Some((ask, _)) = self.reading.remove(&token) {
                out.push(Out::Answer(ask.client, ask.op, Answer::Elsewhere(None)));
            }
        }
    }

    /// A state that came whole is handed to consensus, once nothing else waits to be written.
    fn take_state(&mut self, now: Now, out: &mut Vec<Out>) {
        if self.has_work() || !self.coming.as_ref().is_some_and(|c| c.whole) {
            return;
        }
        let Some(Coming { from, id, state, .. }) = self.coming.take() else { return };
        let (index, term, members) = (state.index, state.term, state.members.clone());
        self.step(now, Input::Offered { from: peer(from), index, term });
        let raft = self.raft();
        let wanted = raft.role() == Role::Follower
            && raft.leader() == Some(peer(from))
            && state.index > raft.commit_index();
        if !wanted {
            out.push(Out::Close(from, id, false));
            return;
        }
        self.step(now, Input::Installed { from: peer(from), index, term, members });
        self.install = Some(state);
        self.install_from = Some((from, id));
    }

    fn send_states(&mut self, now: Now, up: &mut dyn FnMut(usize) -> bool, out: &mut Vec<Out>) {
        for to in std::mem::take(&mut self.effects.snapshots) {
            let to = number(to);
            match self.state().filter(|_| up(to)) {
                Some(state) => {
                    self.tokens += 1;
                    let id = u64::from(self.life) << 32 | self.tokens;
                    self.sending.push((id, to, state.index));
                    out.push(Out::Open(to, id, Rc::new(state)));
                }
                None => self.step(now, Input::SnapshotSent(peer(to), None)),
            }
        }
    }

    fn state(&mut self) -> Option<State> {
        // Reading a state out makes it durable.
        self.beneath = None;
        let index = self.disk.applied;
        Some(State {
            index,
            term: LogRead::term(&self.disk, index)?,
            members: self.raft().members_at(index)?.encode(),
            chain: self.disk.chain(index)?,
            kv: Rc::new(self.disk.kv.clone()),
            image: self.beside.as_mut().map(|store| store.export()).unwrap_or_default(),
        })
    }

    fn roles(&mut self, out: &mut Vec<Out>) {
        let leads = self.raft().is_ready() || (self.leads && self.is_alone());
        if self.leads && !leads {
            self.give_up(out);
        }
        self.leads = leads;
    }

    fn propose(&mut self, now: Now, out: &mut Vec<Out>) {
        if self.proposals.is_empty() {
            return;
        }
        let proposals = std::mem::take(&mut self.proposals);
        let payloads = proposals.iter().filter_map(|ask| match ask.request {
            Request::Write(command) => Some(Rc::from(command.encode(self.padding(ask.op)))),
            Request::Read { .. } => None,
        });
        let payloads = payloads.collect();
        if self.raft().deadline() <= now.mono_ns {
            self.step(now, Input::Tick);
        }
        match self.ask(now, Input::Propose(payloads)) {
            Ok(range) => {
                self.pending_term = self.raft().term();
                self.pending.extend(range.zip(proposals));
            }
            Err(_) => {
                for ask in proposals {
                    out.push(Out::Answer(ask.client, ask.op, Answer::Elsewhere(None)));
                }
            }
        }
    }

    /// Some entries are larger than others.
    fn padding(&self, op: u64) -> usize {
        let part = usize::try_from(op % 8).unwrap_or(0);
        self.padding_max * part / 7
    }

    /// Entries of this server may be replaced: nobody knows what becomes of them.
    fn give_up(&mut self, out: &mut Vec<Out>) {
        for ask in std::mem::take(&mut self.pending).into_values() {
            out.push(Out::Answer(ask.client, ask.op, Answer::Unknown));
        }
    }

    /// Up to where the log is cut by this commit.
    fn trim(&self, swarm: &Swarm) -> Option<u64> {
        let upto = self.raft().trim_to().saturating_sub(swarm.kept);
        let worth = upto >= self.disk.base.0 + 1 + swarm.trimmed;
        (worth && self.install.is_none()).then_some(upto)
    }

    /// The commit under way reaches the disk.
    pub(crate) fn write(&mut self, swarm: &Swarm) -> Vec<Outcome> {
        let (trim, install) = (self.trim(swarm), self.install.as_deref());
        // As in `agent/core.rs`.
        let remembers = self.effects.persist.is_some() || !self.effects.send_gated.is_empty();
        let hold = !remembers && install.is_none() && self.beneath.is_none();
        self.beneath = hold.then(|| self.disk.clone());
        let turn = Turn { effects: &self.effects, install, trim, hold };
        let outcomes = self.disk.commit(&turn);
        if let Some(store) = &mut self.beside {
            store.commit(&turn, &outcomes, &self.disk);
        }
        outcomes
    }

    /// It is durable: what waited for it leaves.
    pub(crate) fn committed(
        &mut self,
        time: u64,
        took: u64,
        outcomes: Vec<Outcome>,
        out: &mut Vec<Out>,
    ) {
        let now = self.local(time);
        self.busy = false;
        let done = std::mem::take(&mut self.effects);
        self.effects.send_free = done.send_free;
        self.effects.reads = done.reads;
        self.effects.reads_lost = done.reads_lost;
        self.effects.snapshots = done.snapshots;
        if let Some(p) = done.persist {
            self.step(now, Input::Persisted(p.ticket));
        }
        if !done.apply.is_empty() {
            self.step(now, Input::Applied(done.apply.end - 1));
        }
        for (to, m) in done.send_gated {
            out.push(Out::Message(number(to), m));
        }
        self.roles(out);
        for (index, written, register) in outcomes {
            if let Some(ask) = self.pending.remove(&index) {
                let answer = Answer::Written { done: written, index, now: register };
                out.push(Out::Answer(ask.client, ask.op, answer));
            }
        }
        self.install = None;
        if let Some((from, id)) = self.install_from.take() {
            out.push(Out::Close(from, id, true));
        }
        if !self.is_alone()
            && let Some((heartbeat, election)) = self.pace.took(took)
            && let Some(raft) = &mut self.raft
        {
            raft.set_times(heartbeat, election);
        }
    }
}

/// What a message says, in short.
pub(crate) fn describe(m: &Message) -> String {
    match &m.body {
        Body::Append { prev, prev_term, commit, entries } => {
            let to = entries.last().map_or(*prev, |e| e.index);
            format!("t{} append {prev}/{prev_term}..={to} commit {commit}", m.term)
        }
        other => format!("t{} {other:?}", m.term),
    }
}
