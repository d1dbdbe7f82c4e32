//! What a run is made of, drawn from its seed before it begins: sizes, rates, and the list of
//! faults with their times.
//!
//! Each kind of fault is in a run or not, by a coin, and its rate is drawn on a logarithmic scale:
//! a few things often go wrong where everything at once would drown them (swarm testing). The list
//! is a value, so that a failing run can be shortened by leaving faults out.

use super::rng::Rng;

pub(crate) const US: u64 = 1_000;
pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Sizes and rates of one run. Rates are in ten thousands, times in ns.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub(crate) voters: usize,
    pub(crate) servers: usize,
    /// Messages may be doubled and overtake each other; otherwise they run over connections, which
    /// break where one is lost.
    pub(crate) datagrams: bool,
    pub(crate) drop: u64,
    pub(crate) double: u64,
    /// Of the bytes under way when a connection broke, so many still arrive.
    pub(crate) late: u64,
    pub(crate) delay: u64,
    pub(crate) long_delay: u64,
    pub(crate) commit: u64,
    pub(crate) window: usize,
    pub(crate) message_bytes: usize,
    pub(crate) uncommitted_bytes: usize,
    pub(crate) apply_ahead: u64,
    /// Entries that stay when the log is cut, and how many must be cut for it to be worth it.
    pub(crate) kept: u64,
    pub(crate) trimmed: u64,
    /// Most things that are taken up in one turn of the loop.
    pub(crate) gather: usize,
    pub(crate) clients: usize,
    pub(crate) think: u64,
    pub(crate) keys: u32,
    pub(crate) padding: usize,
    /// Parts of a hundred: reads, and of those the stale ones.
    pub(crate) reads: u64,
    pub(crate) stale: u64,
    /// Clocks run so many parts of a million fast or slow at most.
    pub(crate) drift: u64,
}

/// Whom a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Server(usize),
    Leader,
}

/// Which links are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Servers of the set on one side, all others on the other.
    Halves(u64),
    Alone(Who),
    /// Nothing arrives from the first at the second.
    OneWay(usize, usize),
    /// Nothing arrives at the server, what it says does.
    Deaf(Who),
    /// Each hears its two neighbours only.
    Ring,
    /// Two halves that share one server.
    Bridge(u64, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Add,
    Promote,
    Demote,
    Remove,
    Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Cut(Shape),
    Mend,
    /// `kept`: the commit under way, if any, is on the disk afterwards.
    Crash {
        who: Who,
        kept: bool,
        down: u64,
    },
    /// Within its next commit.
    CrashInCommit {
        who: Who,
        kept: bool,
        down: u64,
    },
    /// The next commit fails for want of space.
    Full {
        who: Who,
    },
    /// The next commit fails, nobody knows what is on the disk, and the process ends.
    Broken {
        who: Who,
        kept: bool,
        down: u64,
    },
    Pause {
        who: Who,
        time: u64,
    },
    /// For some time each commit takes that long.
    Slow {
        who: Who,
        time: u64,
        commit: u64,
    },
    /// The connection between two servers is reset.
    Reset(usize, usize),
    Change(Step, usize),
    /// Two changes in one turn, with whatever writes wait.
    Changes(Step, Step, usize),
    Transfer(Option<usize>),
    Campaign(usize),
    /// The servers outside of the set are lost for ever; the others are stopped, told by
    /// `peers.json` that they are all there is, and started again. `both`: where two are left, both
    /// vote.
    Lose {
        kept: u64,
        both: bool,
        down: u64,
    },
}

/// A run: what the seed made of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) swarm: Swarm,
    /// In the order of their times.
    pub(crate) faults: Vec<(u64, Fault)>,
    /// When all faults end, ns.
    pub(crate) heal_at: u64,
}

impl Plan {
    /// The run of a seed, with faults for `seconds`.
    pub(crate) fn new(seed: u64, seconds: u64) -> Self {
        let rng = &mut Rng::new(seed, 1);
        let heal_at = seconds.max(1) * SECOND;
        let swarm = Swarm::draw(rng);
        let mut plan = Self { seed, swarm, faults: Vec::new(), heal_at };
        let (servers, end) = (plan.swarm.servers, heal_at);
        type Draw = fn(&mut Rng, usize, &mut Vec<(u64, Fault)>, u64);
        let kinds: &[Draw] = &[
            partitions, flapping, crashes, commits, pauses, disks, resets, changes, transfers,
            deaths,
        ];
        for kind in kinds {
            if rng.coin() {
                continue;
            }
            // On average once in one to sixty seconds.
            let every = rng.scale(SECOND, 60 * SECOND);
            let mut at = 2 * SECOND + rng.below(every);
            while at < end {
                kind(rng, servers, &mut plan.faults, at);
                at += rng.below(2 * every);
            }
        }
        let rng = &mut Rng::new(seed, 4);
        if rng.below(6) == 0 {
            let at = 2 * SECOND + rng.below(end);
            let (kept, both, down) = (rng.next(), rng.coin(), down(rng));
            plan.faults.push((at, Fault::Lose { kept, both, down }));
        }
        plan.faults.retain(|(at, _)| *at < end);
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }
}

impl Swarm {
    fn draw(rng: &mut Rng) -> Self {
        let voters = [1, 2, 3, 3, 3, 3, 4, 5][rng.index(8)];
        let datagrams = rng.below(4) == 0;
        let or_none = |rng: &mut Rng, from, to| if rng.coin() { rng.scale(from, to) } else { 0 };
        Self {
            voters,
            servers: voters + rng.index(3).min(6 - voters),
            datagrams,
            drop: or_none(rng, 1, if datagrams { 3000 } else { 50 }),
            double: if datagrams { or_none(rng, 1, 1000) } else { 0 },
            late: or_none(rng, 100, 9000),
            delay: rng.scale(50 * US, 20 * MS),
            long_delay: or_none(rng, 1, 100),
            commit: rng.scale(50 * US, 30 * MS),
            window: [1, 2, 4, 64][rng.index(4)],
            message_bytes: usize::try_from(rng.scale(1, 1 << 16)).unwrap_or(1),
            uncommitted_bytes: [1 << 10, 16 << 20][rng.index(2)],
            apply_ahead: [1, 4, 4096][rng.index(3)],
            kept: [0, 1, 10, 100, 10_000][rng.index(5)],
            trimmed: [1, 10, 100][rng.index(3)],
            gather: [1, 4, 64][rng.index(3)],
            clients: 1 + rng.index(6),
            think: rng.scale(20 * MS, 2 * SECOND),
            keys: 1 + u32::try_from(rng.below(5)).unwrap_or(0),
            padding: [0, 0, 100, 1000][rng.index(4)],
            reads: [20, 50, 80][rng.index(3)],
            stale: [0, 20, 50][rng.index(3)],
            drift: [0, 200, 50_000][rng.index(3)],
        }
    }
}

fn who(rng: &mut Rng, servers: usize) -> Who {
    if rng.below(3) == 0 { Who::Leader } else { Who::Server(rng.index(servers)) }
}

fn down(rng: &mut Rng) -> u64 {
    if rng.below(3) == 0 { rng.below(10 * MS) } else { rng.scale(10 * MS, 10 * SECOND) }
}

fn partitions(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, at: u64) {
    let shape = match rng.below(6) {
        0 => Shape::Halves(rng.next()),
        1 => Shape::Alone(who(rng, n)),
        2 => Shape::OneWay(rng.index(n), rng.index(n)),
        3 => Shape::Deaf(who(rng, n)),
        4 => Shape::Ring,
        _ => Shape::Bridge(rng.next(), rng.index(n)),
    };
    out.push((at, Fault::Cut(shape)));
    if rng.below(4) > 0 {
        out.push((at + rng.scale(100 * MS, 20 * SECOND), Fault::Mend));
    }
}

fn flapping(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, mut at: u64) {
    let shape = Shape::Alone(who(rng, n));
    let period = rng.between(300 * MS, 3 * SECOND);
    for _ in 0..rng.between(2, 8) {
        out.push((at, Fault::Cut(shape)));
        out.push((at + period / 2, Fault::Mend));
        at += period;
    }
}

fn crashes(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, at: u64) {
    // Mostly one, at times all of them one after the other.
    let all = rng.below(8) == 0;
    for server in 0..if all { n } else { 1 } {
        let who = if all { Who::Server(server) } else { who(rng, n) };
        let (kept, down) = (rng.coin(), down(rng));
        out.push((at + rng.below(SECOND), Fault::Crash { who, kept, down }));
    }
}

/// One leader after the other stops soon after it was elected, and comes back later.
fn deaths(rng: &mut Rng, _: usize, out: &mut Vec<(u64, Fault)>, mut at: u64) {
    for _ in 0..rng.between(2, 8) {
        let (kept, down) = (rng.coin(), rng.scale(100 * MS, 8 * SECOND));
        out.push((at, Fault::Crash { who: Who::Leader, kept, down }));
        at += rng.scale(100 * MS, 4 * SECOND);
    }
}

fn commits(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, at: u64) {
    let (who, kept, down) = (who(rng, n), rng.coin(), down(rng));
    out.push((
        at,
        match rng.below(4) {
            0 => Fault::Full { who },
            1 => Fault::Broken { who, kept, down },
            _ => Fault::CrashInCommit { who, kept, down },
        },
    ));
}

fn pauses(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, at: u64) {
    out.push((at, Fault::Pause { who: who(rng, n), time: rng.scale(50 * MS, 30 * SECOND) }));
}

fn disks(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, at: u64) {
    let (time, commit) = (rng.scale(SECOND, 30 * SECOND), rng.scale(20 * MS, 4 * SECOND));
    out.push((at, Fault::Slow { who: who(rng, n), time, commit }));
}

fn resets(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, at: u64) {
    out.push((at, Fault::Reset(rng.index(n), rng.index(n))));
}

fn step(rng: &mut Rng) -> Step {
    use Step::{Add, Address, Demote, Promote, Remove};
    [Add, Add, Promote, Promote, Demote, Remove, Address][rng.index(7)]
}

fn changes(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, at: u64) {
    let whom = rng.index(n);
    out.push((
        at,
        match rng.below(4) {
            0 => Fault::Changes(step(rng), step(rng), whom),
            _ => Fault::Change(step(rng), whom),
        },
    ));
}

fn transfers(rng: &mut Rng, n: usize, out: &mut Vec<(u64, Fault)>, at: u64) {
    out.push((
        at,
        match rng.below(4) {
            0 => Fault::Campaign(rng.index(n)),
            1 => Fault::Transfer(None),
            _ => Fault::Transfer(Some(rng.index(n))),
        },
    ));
}
