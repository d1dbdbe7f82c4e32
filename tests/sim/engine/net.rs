//! The network between simulated servers: connections that keep the order of what is sent and lose
//! their end when they break, or datagrams that do neither.

use super::plan::{MS, SECOND, Shape, Swarm};
use super::rng::Rng;

/// One connection for each pair of servers.
#[derive(Clone, Debug, Default)]
struct Pair {
    /// Grows with each new connection.
    epoch: u32,
    up: bool,
    /// Something was lost: nothing more arrives from the lower, from the higher server.
    broken: [bool; 2],
    /// When the last thing sent arrives, each way.
    arrives: [u64; 2],
}

#[derive(Debug)]
pub(crate) struct Net {
    servers: usize,
    pairs: Vec<Pair>,
    cut: Vec<bool>,
    rng: Rng,
}

/// What became of something that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    /// So much later, once more at another time, over that connection.
    Arrives {
        at: u64,
        again: Option<u64>,
        epoch: u32,
    },
    /// Lost, and with it the connection, as is noticed some time later.
    Breaks {
        at: u64,
        epoch: u32,
    },
}

impl Net {
    pub(crate) fn new(servers: usize, rng: Rng) -> Self {
        let n = servers * servers;
        let pair = Pair { epoch: 1, up: true, ..Pair::default() };
        Self { servers, pairs: vec![pair; n], cut: vec![false; n], rng }
    }

    fn pair(&mut self, a: usize, b: usize) -> &mut Pair {
        &mut self.pairs[a.min(b) * self.servers + a.max(b)]
    }

    pub(crate) fn epoch(&mut self, a: usize, b: usize) -> u32 {
        self.pair(a, b).epoch
    }

    pub(crate) fn is_up(&mut self, a: usize, b: usize) -> bool {
        self.pair(a, b).up
    }

    fn delay(&mut self, swarm: &Swarm, healed: bool) -> u64 {
        if !healed && self.rng.chance(swarm.long_delay) {
            return self.rng.between(10 * MS, 5 * SECOND);
        }
        self.rng.around(swarm.delay).max(1)
    }

    pub(crate) fn send(
        &mut self,
        now: u64,
        from: usize,
        to: usize,
        swarm: &Swarm,
        healed: bool,
    ) -> Fate {
        let cut = self.cut[from * self.servers + to];
        let lost = cut || !healed && self.rng.chance(swarm.drop);
        let at = now + self.delay(swarm, healed);
        if swarm.datagrams {
            let again = self.rng.chance(swarm.double).then(|| now + self.delay(swarm, healed));
            return if lost { Fate::Lost } else { Fate::Arrives { at, again, epoch: 0 } };
        }
        let notice = now + self.rng.scale(MS, 4 * SECOND);
        let side = usize::from(from > to);
        let p = self.pair(from, to);
        if !p.up || p.broken[side] {
            return Fate::Lost;
        }
        let epoch = p.epoch;
        if lost {
            let first = p.broken == [false; 2];
            p.broken[side] = true;
            return if first { Fate::Breaks { at: notice, epoch } } else { Fate::Lost };
        }
        p.arrives[side] = p.arrives[side].max(at);
        Fate::Arrives { at: p.arrives[side], again: None, epoch }
    }

    /// Whether something that was sent over a connection still counts when it arrives.
    pub(crate) fn arrives(&mut self, from: usize, to: usize, epoch: u32, swarm: &Swarm) -> bool {
        let side = usize::from(from > to);
        let late = swarm.late;
        let p = self.pair(from, to);
        if epoch == 0 || p.up && p.epoch == epoch && !p.broken[side] {
            return true;
        }
        self.rng.chance(late)
    }

    /// The connection is gone; false where it was already.
    pub(crate) fn drop(&mut self, a: usize, b: usize, epoch: u32) -> bool {
        let p = self.pair(a, b);
        p.epoch == epoch && std::mem::replace(&mut p.up, false)
    }

    /// A new connection, where nothing is in its way.
    pub(crate) fn dial(&mut self, a: usize, b: usize) -> bool {
        let n = self.servers;
        let blocked = self.cut[a * n + b] || self.cut[b * n + a];
        let p = self.pair(a, b);
        if !p.up && !blocked {
            *p = Pair { epoch: p.epoch + 1, up: true, ..Pair::default() };
        }
        p.up
    }

    pub(crate) fn mend(&mut self) {
        self.cut.fill(false);
    }

    /// `whom`: the server that a shape is about.
    pub(crate) fn cut(&mut self, shape: Shape, whom: usize) {
        let n = self.servers;
        let in_set = |set: u64, server: usize| set >> server & 1 == 1;
        for from in 0..n {
            for to in 0..n {
                let apart = match shape {
                    Shape::Halves(set) => in_set(set, from) != in_set(set, to),
                    Shape::Alone(_) => from == whom || to == whom,
                    Shape::OneWay(a, b) => (from, to) == (a, b),
                    Shape::Deaf(_) => to == whom,
                    Shape::Ring => {
                        !matches!(from.abs_diff(to), 0 | 1) && from.abs_diff(to) + 1 != n
                    }
                    Shape::Bridge(set, bridge) => {
                        from != bridge && to != bridge && in_set(set, from) != in_set(set, to)
                    }
                };
                if apart && from != to {
                    self.cut[from * n + to] = true;
                }
            }
        }
    }
}
