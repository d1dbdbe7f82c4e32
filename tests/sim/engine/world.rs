//! A run: one heap of events in virtual time, from which everything follows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;

use vardo::raft::{Change, Member, Members, Message, Role};
use vardo::stdx::BTreeMap;

use super::beside::Stores;
use super::client::Clients;
use super::disk::State;
use super::net::{Fate, Net};
use super::node::{Answer, Ask, In, Node, Out, describe, number, peer};
use super::observer::{Failure, Observer};
use super::plan::{Fault, MS, Plan, SECOND, Shape, Step, US, Who};
use super::rng::{Rng, fold};

/// Clients go on so long after all faults ended.
const CALM: u64 = 10 * SECOND;
/// By then a write must have succeeded that began [`CALM`] after the end of the faults.
const PROBE_BY: u64 = 40 * SECOND;
/// By then all must agree.
const AGREE_BY: u64 = 600 * SECOND;

/// No run has more.
const EVENTS_MAX: u64 = 5_000_000;

#[derive(Debug)]
enum Item {
    Message(Message),
    Open(u64, Rc<State>),
    Whole(u64),
    Close(u64, bool),
}

#[derive(Debug)]
enum Event {
    Arrive {
        from: usize,
        to: usize,
        epoch: u32,
        item: Item,
    },
    /// A state that was begun at that time has left.
    Sent {
        from: usize,
        to: usize,
        id: u64,
        life: u32,
    },
    Break {
        a: usize,
        b: usize,
        epoch: u32,
    },
    /// One side notices that its link is down.
    Lost {
        at: usize,
        other: usize,
    },
    Dial(usize, usize),
    Wake(usize),
    Done {
        n: usize,
        life: u32,
        took: u64,
    },
    Start {
        n: usize,
        life: u32,
    },
    Resume {
        n: usize,
        life: u32,
    },
    Fault(usize),
    Heal,
    Client(usize),
    Timeout {
        client: usize,
        op: u64,
    },
    Request {
        n: usize,
        ask: Ask,
    },
    Reply {
        client: usize,
        op: u64,
        answer: Answer,
    },
    Check,
}

struct Due {
    at: u64,
    tie: u64,
    event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.tie).cmp(&(other.at, other.tie))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

/// What became of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) failure: Option<Failure>,
    /// Of everything that happened: equal runs have equal hashes.
    pub(crate) hash: u64,
    pub(crate) events: u64,
    /// Virtual time, ns.
    pub(crate) time: u64,
    /// Writes of which clients know that they took effect.
    pub(crate) written: u64,
    /// Registers whose history was too long to explain.
    pub(crate) open: u64,
    pub(crate) sometimes: BTreeMap<&'static str, u64>,
    pub(crate) trace: Vec<String>,
}

struct World<'p> {
    plan: &'p Plan,
    now: u64,
    heap: BinaryHeap<Reverse<Due>>,
    count: u64,
    nodes: Vec<Node>,
    net: Net,
    observer: Observer,
    clients: Clients,
    /// Ties of events, disks, clocks.
    rng: Rng,
    /// Servers that were lost for ever.
    gone: Vec<usize>,
    healed: bool,
    probed: bool,
    over: bool,
    hash: u64,
    trace: Option<Vec<String>>,
}

/// Runs a plan to its end, or to the first promise that is broken.
pub(crate) fn run(plan: &Plan, traced: bool, stores: Stores<'_>) -> Report {
    let mut world = World::new(plan, traced, stores);
    world.begin();
    while !world.over
        && world.observer.failure.is_none()
        && let Some(Reverse(due)) = world.heap.pop()
    {
        world.now = world.now.max(due.at);
        world.observer.now = world.now;
        world.count += 1;
        if world.count > EVENTS_MAX {
            // I21: nothing goes round in circles.
            world.observer.fail("I21", format!("{EVENTS_MAX} events, and no end"));
        }
        world.happens(due.event);
    }
    if world.observer.failure.is_none() {
        for node in &mut world.nodes {
            node.compare();
        }
    } else {
        for n in 0..world.nodes.len() {
            let status = world.nodes[n].status();
            world.note(|| status);
        }
    }
    let mut open = 0;
    if world.observer.failure.is_none() {
        match world.clients.check() {
            Ok(n) => open = n,
            // I9: reads and writes have an order that explains them.
            Err(what) => world.observer.fail("I9", what),
        }
    }
    Report {
        failure: world.observer.failure,
        hash: world.hash,
        events: world.count,
        time: world.now,
        written: world.clients.written,
        open,
        sometimes: world.observer.sometimes,
        trace: world.trace.unwrap_or_default(),
    }
}

impl<'p> World<'p> {
    fn new(plan: &'p Plan, traced: bool, stores: Stores<'_>) -> Self {
        let (swarm, seed) = (&plan.swarm, plan.seed);
        let mut rng = Rng::new(seed, 2);
        let node = |n| {
            let fast = i64::try_from(rng.below(2 * swarm.drift + 1)).unwrap_or(0);
            let fast = fast - i64::try_from(swarm.drift).unwrap_or(0);
            let mut node = Node::new(n, (rng.scale(MS, 1000 * SECOND), fast));
            node.beside = stores.map(|make| make(n));
            node
        };
        Self {
            plan,
            now: MS,
            heap: BinaryHeap::new(),
            count: 0,
            nodes: (0..swarm.servers).map(node).collect(),
            net: Net::new(swarm.servers, Rng::new(seed, 3)),
            observer: Observer::new(swarm.servers, swarm.message_bytes),
            clients: Clients::new(swarm, seed),
            rng,
            gone: Vec::new(),
            healed: false,
            probed: false,
            over: false,
            hash: seed,
            trace: traced.then(Vec::new),
        }
    }

    fn at(&mut self, at: u64, event: Event) {
        // What happens at the same time happens in an order that the seed decides.
        let tie = self.rng.next();
        self.heap.push(Reverse(Due { at, tie, event }));
    }

    fn after(&mut self, time: u64, event: Event) {
        self.at(self.now.saturating_add(time), event);
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>12.6} {}", self.now as f64 / SECOND as f64, what()));
        }
    }

    fn begin(&mut self) {
        let swarm = &self.plan.swarm;
        let member = |n: usize| Member { address: format!("10.0.0.{n}:1"), voter: true };
        let mut members = Members::default();
        for n in 0..swarm.voters {
            members.0.insert(peer(n), member(n));
        }
        for n in 0..swarm.servers {
            self.start(n);
            if n < swarm.voters {
                self.nodes[n].bootstrap(self.now, members.clone());
                self.observer.turned(&self.nodes, n);
            }
            self.go_on(n);
        }
        for (at, _) in self.plan.faults.iter().enumerate() {
            self.at(self.plan.faults[at].0, Event::Fault(at));
        }
        self.at(self.plan.heal_at, Event::Heal);
        for client in 0..swarm.clients {
            let wait = self.clients.rng(client).below(2 * SECOND);
            self.after(wait, Event::Client(client));
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrive { from, to, epoch, item } => self.arrive(from, to, epoch, item),
            Event::Sent { from, to, id, life } => {
                if self.nodes[from].life == life {
                    self.send(from, to, Item::Whole(id));
                }
            }
            Event::Break { a, b, epoch } => {
                if self.net.drop(a, b, epoch) {
                    self.broken(a, b);
                }
            }
            Event::Lost { at, other } => {
                self.note(|| format!("{at} lost its link to {other}"));
                self.take(at, In::LinkLost(other));
            }
            Event::Dial(a, b) => {
                let both = self.nodes[a].raft.is_some() && self.nodes[b].raft.is_some();
                if !both || !self.net.dial(a, b) {
                    let wait = self.rng.between(50 * MS, SECOND);
                    self.after(wait, Event::Dial(a, b));
                }
            }
            Event::Wake(n) => {
                if self.nodes[n].wake_at == self.now {
                    self.nodes[n].wake_at = u64::MAX;
                    self.turn(n);
                }
            }
            Event::Done { n, life, took } => self.done(n, life, took),
            Event::Start { n, life } => {
                let node = &self.nodes[n];
                if node.life == life && node.raft.is_none() && !self.gone.contains(&n) {
                    self.start(n);
                    self.go_on(n);
                }
            }
            Event::Resume { n, life } => {
                if self.nodes[n].life == life && self.nodes[n].paused {
                    self.nodes[n].paused = false;
                    self.note(|| format!("{n} goes on"));
                    self.turn(n);
                }
            }
            Event::Fault(at) => {
                if !self.healed {
                    self.fault(self.plan.faults[at].1);
                }
            }
            Event::Heal => self.heal(),
            Event::Client(client) => self.client(client),
            Event::Timeout { client, op } => self.answered(client, op, Answer::Unknown),
            Event::Request { n, ask } => {
                if self.nodes[n].raft.is_some() {
                    self.take(n, In::Ask(ask));
                } else {
                    self.reply(ask.client, ask.op, Answer::Elsewhere(None));
                }
            }
            Event::Reply { client, op, answer } => self.answered(client, op, answer),
            Event::Check => self.check(),
        }
    }

    fn start(&mut self, n: usize) {
        let seed = self.rng.next();
        self.note(|| format!("{n} starts"));
        self.observer.same_state(&self.nodes[n]);
        self.nodes[n].start(&self.plan.swarm, seed);
    }

    /// Something for a server: now, where its loop waits for it.
    fn take(&mut self, n: usize, input: In) {
        let node = &mut self.nodes[n];
        if node.raft.is_some() {
            node.inbox.push_back(input);
            self.turn(n);
        }
    }

    fn turn(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        if node.raft.is_none() || node.busy || node.paused {
            return;
        }
        let mut out = Vec::new();
        let (net, datagrams) = (&mut self.net, self.plan.swarm.datagrams);
        let mut up = |to| datagrams || net.is_up(n, to);
        node.turn(self.now, self.plan.swarm.gather, &mut up, &mut out);
        self.observer.turned(&self.nodes, n);
        self.release(n, out);
        self.go_on(n);
    }

    /// Begins the commit of a turn, or waits for what comes next.
    fn go_on(&mut self, n: usize) {
        self.remember(n);
        let node = &mut self.nodes[n];
        if node.raft.is_none() || node.busy || node.paused {
            return;
        }
        if node.has_work() {
            node.busy = true;
            let (until, slow) = node.slow;
            let took = if self.now < until {
                self.rng.between(slow / 2, slow + slow / 2)
            } else {
                self.rng.around(self.plan.swarm.commit).max(1)
            };
            let life = self.nodes[n].life;
            return self.after(took, Event::Done { n, life, took });
        }
        let due = if node.inbox.is_empty() { node.due(self.now) } else { self.now + 20 * US };
        if due < node.wake_at || node.wake_at <= self.now {
            node.wake_at = due;
            if due != u64::MAX {
                self.at(due, Event::Wake(n));
            }
        }
    }

    /// What a run is known by.
    fn remember(&mut self, n: usize) {
        let Some(raft) = &self.nodes[n].raft else { return };
        for value in [self.now, n as u64, raft.term(), raft.commit_index(), raft.last_index()] {
            self.hash = fold(self.hash, value);
        }
    }

    fn done(&mut self, n: usize, life: u32, took: u64) {
        let node = &mut self.nodes[n];
        if node.life != life || !node.busy {
            return;
        }
        if node.paused {
            return self.after(10 * MS, Event::Done { n, life, took });
        }
        match node.fail_next.take() {
            Some(Fault::CrashInCommit { kept, down, .. } | Fault::Broken { kept, down, .. }) => {
                self.observer.count(if kept { "crash after commit" } else { "crash in commit" });
                return self.crash(n, kept, down);
            }
            Some(_) => {
                self.observer.count("disk full");
                self.note(|| format!("{n} finds its disk full"));
                let (seed, mut out) = (self.rng.next(), Vec::new());
                self.nodes[n].start_over(&self.plan.swarm, seed, &mut out);
                self.observer.restarted(n);
                self.release(n, out);
                return self.go_on(n);
            }
            None => {}
        }
        let outcomes = self.write(n);
        let mut out = Vec::new();
        self.nodes[n].committed(self.now, took, outcomes, &mut out);
        self.observer.turned(&self.nodes, n);
        self.release(n, out);
        self.remember(n);
        let node = &mut self.nodes[n];
        if node.inbox.is_empty() && !node.has_work() {
            return self.go_on(n);
        }
        self.turn(n);
    }

    fn write(&mut self, n: usize) -> Vec<super::disk::Outcome> {
        self.observer.writing(&self.nodes[n]);
        let persist = self.nodes[n].effects.persist.as_ref();
        let from = persist.and_then(|p| p.entries.first()).map_or(u64::MAX, |e| e.index);
        let outcomes = self.nodes[n].write(&self.plan.swarm);
        self.observer.written(&self.nodes, n, from);
        outcomes
    }

    /// Sends what a server lets out.
    fn release(&mut self, n: usize, out: Vec<Out>) {
        for out in out {
            match out {
                Out::Message(to, m) => {
                    self.note(|| format!("{n}>{to} {}", describe(&m)));
                    self.observer.sending(&self.nodes, n, to, &m);
                    self.send(n, to, Item::Message(m));
                }
                Out::Open(to, id, state) => {
                    self.note(|| {
                        format!("{n}>{to} state as of {}, {} bytes", state.index, state.image.len())
                    });
                    self.send(n, to, Item::Open(id, state));
                    let life = self.nodes[n].life;
                    let takes = self.rng.scale(MS, 5 * SECOND);
                    self.after(takes, Event::Sent { from: n, to, id, life });
                }
                Out::Close(to, id, taken) => self.send(n, to, Item::Close(id, taken)),
                Out::Answer(client, op, answer) => {
                    if let Answer::Read { applied, .. } = answer {
                        self.observer.shown(n, applied);
                    }
                    self.reply(client, op, answer);
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, item: Item) {
        let stream = !matches!(item, Item::Message(_));
        match self.net.send(self.now, from, to, &self.plan.swarm, self.healed) {
            Fate::Lost if stream && self.plan.swarm.datagrams => self.stream_lost(from, to),
            Fate::Lost => {}
            Fate::Breaks { at, epoch } => self.at(at, Event::Break { a: from, b: to, epoch }),
            Fate::Arrives { at, again, epoch } => {
                if let (Some(again), Item::Message(m)) = (again, &item) {
                    let item = Item::Message(m.clone());
                    self.at(again, Event::Arrive { from, to, epoch, item });
                }
                self.at(at, Event::Arrive { from, to, epoch, item });
            }
        }
    }

    fn stream_lost(&mut self, a: usize, b: usize) {
        self.after(100 * MS, Event::Lost { at: a, other: b });
        self.after(100 * MS, Event::Lost { at: b, other: a });
    }

    fn arrive(&mut self, from: usize, to: usize, epoch: u32, item: Item) {
        if self.gone.contains(&from) {
            return;
        }
        let down = self.nodes[to].raft.is_none();
        let input = match item {
            Item::Message(m) => {
                if down || !self.net.arrives(from, to, epoch, &self.plan.swarm) {
                    return;
                }
                if self.count.is_multiple_of(16) {
                    let read = Message::decode(&m.encode());
                    if read.as_ref() != Ok(&m) {
                        self.observer.fail("I21", format!("{m:?} reads back as {read:?}"));
                    }
                }
                self.note(|| format!("{to}<{from} {}", describe(&m)));
                In::Message(from, m)
            }
            // A stream ends with its connection.
            _ if epoch != 0 && self.net.epoch(from, to) != epoch => return,
            _ if down && epoch == 0 => return self.stream_lost(from, to),
            _ if down => return,
            Item::Open(id, state) => In::Opened(from, id, state),
            Item::Whole(id) => In::Whole(from, id),
            Item::Close(id, taken) => In::Closed(id, taken),
        };
        self.take(to, input);
    }

    /// Both sides notice, each at its time, and dial again.
    fn broken(&mut self, a: usize, b: usize) {
        for (at, other) in [(a, b), (b, a)] {
            let wait = self.rng.scale(MS, SECOND);
            self.after(wait, Event::Lost { at, other });
        }
        let wait = SECOND + self.rng.below(SECOND);
        self.after(wait, Event::Dial(a, b));
    }

    fn crash(&mut self, n: usize, kept: bool, down: u64) {
        if self.nodes[n].raft.is_none() {
            return;
        }
        self.note(|| format!("{n} stops, its commit {}", if kept { "kept" } else { "lost" }));
        if self.nodes[n].busy && kept {
            drop(self.write(n));
            self.nodes[n].busy = false;
        }
        if self.nodes[n].busy && self.nodes[n].install.is_some() {
            self.observer.count("crash before a snapshot is in force");
        }
        self.nodes[n].stop(&self.plan.swarm);
        let life = self.nodes[n].life;
        for other in (0..self.nodes.len()).filter(|o| *o != n) {
            let epoch = self.net.epoch(n, other);
            if self.plan.swarm.datagrams {
                self.after(10 * MS, Event::Lost { at: other, other: n });
            } else if self.net.drop(n, other, epoch) {
                self.broken(n, other);
            }
        }
        self.after(down.max(1), Event::Start { n, life });
    }

    fn leader(&self) -> Option<usize> {
        let leads = |n: &Node| {
            let r = n.raft.as_ref().filter(|r| r.role() == Role::Leader)?;
            Some((r.term(), n.id))
        };
        self.nodes.iter().filter_map(leads).max().map(|(_, n)| n)
    }

    fn whom(&self, who: Who) -> usize {
        match who {
            Who::Server(n) => n,
            Who::Leader => self.leader().unwrap_or(0),
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.note(|| format!("-- {fault:?}"));
        match fault {
            Fault::Cut(shape) => {
                let whom = match shape {
                    Shape::Alone(who) | Shape::Deaf(who) => self.whom(who),
                    _ => 0,
                };
                self.net.cut(shape, whom);
            }
            Fault::Mend => self.net.mend(),
            Fault::Crash { who, kept, down } => self.crash(self.whom(who), kept, down),
            Fault::CrashInCommit { who, .. } | Fault::Full { who } | Fault::Broken { who, .. } => {
                let n = self.whom(who);
                self.nodes[n].fail_next = Some(fault);
            }
            Fault::Pause { who, time } => {
                let n = self.whom(who);
                self.nodes[n].paused = self.nodes[n].raft.is_some();
                let life = self.nodes[n].life;
                self.after(time, Event::Resume { n, life });
            }
            Fault::Slow { who, time, commit } => {
                let n = self.whom(who);
                self.nodes[n].slow = (self.now + time, commit);
            }
            Fault::Reset(a, b) => {
                let epoch = self.net.epoch(a, b);
                if a != b && !self.plan.swarm.datagrams && self.net.drop(a, b, epoch) {
                    self.broken(a, b);
                }
            }
            Fault::Change(step, whom) => self.change(&[step], whom),
            Fault::Changes(one, two, whom) => self.change(&[one, two], whom),
            Fault::Transfer(to) => {
                if let Some(leader) = self.leader() {
                    self.take(leader, In::Transfer(to.map(peer)));
                }
            }
            Fault::Campaign(n) => self.take(n, In::Campaign),
            Fault::Lose { kept, both, down } => self.lose(kept, both, down),
        }
    }

    /// What an operator does whose cluster has lost its majority (`agent/recover.rs`). Where two
    /// servers are left, both may vote, as either needs the other. Of more, the one that has the
    /// most votes alone: others that agree without it could contradict what it has applied.
    fn lose(&mut self, kept: u64, both: bool, down: u64) {
        let all = 0..self.nodes.len();
        let known = |n: &usize| kept >> n & 1 == 1 && !self.nodes[*n].disk.members.is_empty();
        let left: Vec<usize> = all.clone().filter(known).collect();
        if left.is_empty() {
            return;
        }
        for n in all {
            let (coin, wait) = (self.rng.coin(), self.rng.below(SECOND));
            if left.contains(&n) {
                self.crash(n, coin, down + wait);
            } else if kept >> n & 1 == 0 {
                self.crash(n, coin, down);
                self.gone.push(n);
            }
        }
        let log = |n: &usize| (self.nodes[*n].disk.start().last_term, self.nodes[*n].disk.last());
        let Some(best) = left.iter().copied().max_by_key(log) else { return };
        let mut members = Members::default();
        for n in &left {
            let voter = *n == best || both && left.len() == 2;
            members.0.insert(peer(*n), Member { address: format!("10.0.0.{n}:1"), voter });
        }
        for n in &left {
            self.nodes[*n].recover(&members);
        }
        self.note(|| format!("of all servers {left:?} are left, {best} is the best of them"));
        self.observer.recovered(&self.nodes, &left, best);
        for client in 0..=self.plan.swarm.clients {
            if let Some(op) = self.clients.waits_for(client) {
                self.answered(client, op, Answer::Unknown);
            }
        }
        self.clients.turn_away();
    }

    /// Asks the leader for changes of the membership, all in one turn.
    fn change(&mut self, steps: &[Step], whom: usize) {
        let Some(leader) = self.leader().filter(|_| !self.gone.contains(&whom)) else { return };
        for step in steps {
            let id = peer(whom);
            let port = self.rng.below(1000) + 2;
            let change = match step {
                Step::Add => Change::AddLearner(id, format!("10.0.0.{whom}:1")),
                Step::Promote => Change::Promote(id),
                Step::Demote => Change::Demote(id),
                Step::Remove => Change::Remove(id),
                Step::Address => Change::Address(id, format!("10.0.0.{whom}:{port}")),
            };
            self.nodes[leader].inbox.push_back(In::Change(change));
        }
        self.turn(leader);
    }

    fn heal(&mut self) {
        self.note(|| "-- all faults end".to_owned());
        self.healed = true;
        self.net.mend();
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            (node.fail_next, node.slow) = (None, (0, 0));
            let life = node.life;
            let wait = self.rng.below(SECOND);
            let event = if self.nodes[n].paused {
                Event::Resume { n, life }
            } else {
                Event::Start { n, life }
            };
            self.after(wait, event);
        }
        self.after(CALM, Event::Client(self.plan.swarm.clients));
        self.after(PROBE_BY, Event::Check);
    }

    fn client(&mut self, client: usize) {
        let swarm = &self.plan.swarm;
        let probes = client == swarm.clients;
        if self.probed && probes || !probes && self.now > self.plan.heal_at + CALM {
            return;
        }
        let (n, ask) = self.clients.next(client, swarm);
        let rng = self.clients.rng(client);
        let (wait, patience) = (rng.around(200 * US), rng.between(SECOND, 5 * SECOND));
        self.after(wait, Event::Request { n, ask });
        self.after(patience, Event::Timeout { client, op: ask.op });
    }

    fn reply(&mut self, client: usize, op: u64, answer: Answer) {
        if let Answer::Written { index, .. } = answer {
            self.observer.acknowledged(op, index);
        }
        let wait = self.clients.rng(client).around(200 * US);
        self.after(wait, Event::Reply { client, op, answer });
    }

    fn answered(&mut self, client: usize, op: u64, answer: Answer) {
        if !self.clients.is_waiting(client, op) {
            return;
        }
        self.note(|| format!("client {client} op {op}: {answer:?}"));
        self.clients.answered(client, op, answer, self.nodes.len());
        if client == self.plan.swarm.clients && matches!(answer, Answer::Written { .. }) {
            self.probed = true;
        }
        let wait = match answer {
            Answer::Elsewhere(_) => self.clients.rng(client).scale(MS, 200 * MS),
            _ => self.clients.rng(client).below(2 * self.plan.swarm.think),
        };
        self.after(wait, Event::Client(client));
    }

    /// The end, once all members agree and a write has succeeded.
    fn check(&mut self) {
        let since = self.now.saturating_sub(self.plan.heal_at);
        if !self.probed {
            // I20: with a majority at work and connected, writes succeed.
            return self
                .observer
                .fail("I20", "no write succeeds after all faults ended".to_owned());
        }
        match self.apart() {
            None => self.over = true,
            Some(why) if since > AGREE_BY => self.observer.fail("I19", why),
            Some(_) => self.after(SECOND, Event::Check),
        }
    }

    /// I19: after all faults, one leads and all members have applied the same.
    fn apart(&self) -> Option<String> {
        let Some(leader) = self.leader() else { return Some("nobody leads".to_owned()) };
        let raft = self.nodes[leader].raft();
        let Some((_, members)) = raft.members() else { return Some("no members".to_owned()) };
        for n in members.0.keys().map(|id| number(*id)) {
            let node = &self.nodes[n];
            let Some(r) = &node.raft else { return Some(format!("{n} is down")) };
            if (r.term(), node.disk.applied) != (raft.term(), self.observer.committed())
                || r.leader() != Some(peer(leader))
            {
                return Some(format!(
                    "{n} is at term {} applied {}, {leader} leads term {} with {} committed",
                    r.term(),
                    node.disk.applied,
                    raft.term(),
                    self.observer.committed()
                ));
            }
        }
        None
    }
}
