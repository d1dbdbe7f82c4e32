//! Clients of the simulated servers: each does one thing at a time and remembers what it was told.

use super::kv::{Command, Kind, Register};
use super::linear::{self, Action, NEVER, Operation, Outcome, Verdict};
use super::node::{Answer, Ask, Request};
use super::plan::Swarm;
use super::rng::Rng;
use vardo::stdx::BTreeMap;

/// Operations on a register before the clients turn to another one: a search for an order takes
/// the longer the more there are.
const OPS_MAX: usize = 150;
const UNKNOWN_MAX: usize = 10;
/// Steps of the search for an order on one register.
const BUDGET: u64 = 300_000;

/// A register that the clients work on; replaced by a fresh one now and then.
#[derive(Clone, Debug, Default)]
struct Slot {
    generation: u32,
    ops: usize,
    unknown: usize,
}

/// What a client waits for.
#[derive(Clone, Debug)]
struct Waiting {
    op: u64,
    slot: usize,
    key: u32,
    call: u64,
    /// With the outcome open; `None` for a stale read.
    action: Option<Action>,
}

#[derive(Debug)]
struct Client {
    rng: Rng,
    server: usize,
    waiting: Option<Waiting>,
    /// What it saw last, by register.
    saw: BTreeMap<u32, Register>,
}

/// All clients and their common history.
#[derive(Debug)]
pub(crate) struct Clients {
    clients: Vec<Client>,
    slots: Vec<Slot>,
    /// Calls and returns are numbered as they happen.
    order: u64,
    ops: u64,
    history: BTreeMap<u32, Vec<Operation>>,
    /// Writes that took effect, as far as clients were told.
    pub(crate) written: u64,
}

impl Clients {
    pub(crate) fn new(swarm: &Swarm, seed: u64) -> Self {
        let client = |n: usize| Client {
            rng: Rng::new(seed, 100 + n as u64),
            server: n % swarm.servers,
            waiting: None,
            saw: BTreeMap::new(),
        };
        Self {
            clients: (0..=swarm.clients).map(client).collect(),
            slots: vec![Slot::default(); swarm.keys as usize],
            order: 0,
            ops: 0,
            history: BTreeMap::new(),
            written: 0,
        }
    }

    pub(crate) fn rng(&mut self, client: usize) -> &mut Rng {
        &mut self.clients[client].rng
    }

    pub(crate) fn waits_for(&self, client: usize) -> Option<u64> {
        self.clients[client].waiting.as_ref().map(|w| w.op)
    }

    /// What was acknowledged may be gone: all turn to registers that nobody has used.
    pub(crate) fn turn_away(&mut self) {
        for s in &mut self.slots {
            *s = Slot { generation: s.generation + 1, ..Slot::default() };
        }
    }

    pub(crate) fn is_waiting(&self, client: usize, op: u64) -> bool {
        self.clients[client].waiting.as_ref().is_some_and(|w| w.op == op)
    }

    /// The next thing that a client does, and at which server. The last client only writes.
    pub(crate) fn next(&mut self, client: usize, swarm: &Swarm) -> (usize, Ask) {
        self.ops += 1;
        self.order += 1;
        let (op, call, probes) = (self.ops, self.order, client == swarm.clients);
        let c = &mut self.clients[client];
        let slot = c.rng.index(self.slots.len());
        let s = &mut self.slots[slot];
        if s.ops >= OPS_MAX || s.unknown >= UNKNOWN_MAX {
            *s = Slot { generation: s.generation + 1, ..Slot::default() };
        }
        s.ops += 1;
        let key = u32::try_from(slot).unwrap_or(0) + swarm.keys * s.generation;
        let saw = c.saw.get(&key).copied().unwrap_or_default();
        let (request, action) = if !probes && c.rng.below(100) < swarm.reads {
            let stale = c.rng.below(100) < swarm.stale;
            if stale {
                c.server = c.rng.index(swarm.servers);
            }
            (Request::Read { key, stale }, (!stale).then_some(Action::Read(0)))
        } else {
            let (kind, action) = match c.rng.below(8) {
                0 => (Kind::Delete, Action::Delete),
                1..4 => (Kind::Cas(saw.index), Action::Cas(saw.value, op, Outcome::Unknown)),
                _ => (Kind::Put, Action::Put(op)),
            };
            (Request::Write(Command { op, key, kind }), Some(action))
        };
        let server = c.server;
        c.waiting = Some(Waiting { op, slot, key, call, action });
        (server, Ask { client, op, request })
    }

    /// A client was answered, or has waited long enough.
    pub(crate) fn answered(&mut self, client: usize, op: u64, answer: Answer, servers: usize) {
        let c = &mut self.clients[client];
        let Some(w) = c.waiting.take_if(|w| w.op == op) else { return };
        self.order += 1;
        let mut ret = self.order;
        let action = match (w.action, answer) {
            (_, Answer::Elsewhere(hint)) => {
                c.server = hint.unwrap_or_else(|| c.rng.index(servers));
                return;
            }
            (None, Answer::Read { .. }) => return,
            (Some(Action::Read(_)), Answer::Read { now, .. }) => {
                c.saw.insert(w.key, now);
                Action::Read(now.value)
            }
            (Some(action), Answer::Written { done, now, .. }) => {
                c.saw.insert(w.key, now);
                self.written += 1;
                match action {
                    Action::Cas(from, to, _) if done => Action::Cas(from, to, Outcome::Done),
                    Action::Cas(from, to, _) => Action::Cas(from, to, Outcome::Found(now.value)),
                    other => other,
                }
            }
            (None | Some(Action::Read(_)), _) => {
                c.server = c.rng.index(servers);
                return;
            }
            (Some(action), _) => {
                ret = NEVER;
                c.server = c.rng.index(servers);
                self.slots[w.slot].unknown += 1;
                action
            }
        };
        self.history.entry(w.key).or_default().push(Operation { call: w.call, ret, action });
    }

    /// Whether what the clients saw has an explanation: how many registers were too much work, or
    /// the first that has none.
    pub(crate) fn check(&mut self) -> Result<u64, String> {
        let mut open = 0;
        for client in 0..self.clients.len() {
            if let Some(op) = self.clients[client].waiting.as_ref().map(|w| w.op) {
                self.answered(client, op, Answer::Unknown, 1);
            }
        }
        for (key, ops) in &self.history {
            match linear::check(ops, BUDGET) {
                Verdict::Linearizable => {}
                Verdict::Open => open += 1,
                Verdict::Broken => {
                    return Err(format!("no order explains register {key}: {ops:?}"));
                }
            }
        }
        Ok(open)
    }
}
