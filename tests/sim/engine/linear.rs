//! Whether operations on one register could have happened one after the other, each at some instant
//! between its call and its return.
//!
//! The search of Wing and Gong (1993) with the cache of Lowe (2017): go through calls and returns
//! in order, try each call whose return was not passed yet, go back where nothing fits, and never
//! try the same set of done operations with the same value again. An operation whose outcome nobody
//! knows may have happened at any time after its call, or never.

use vardo::stdx::BTreeSet;

/// Value of a register that is not there.
pub(crate) const ABSENT: u64 = 0;
/// Time of return of an operation whose outcome is not known.
pub(crate) const NEVER: u64 = u64::MAX;

/// What was asked, and what came of it. Each write has a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Put(u64),
    Delete,
    /// Writes the second where the first stands; what stood there where it failed.
    Cas(u64, u64, Outcome),
    Read(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Found(u64),
    Unknown,
}

/// One operation. Calls and returns are numbered in the order in which they happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) call: u64,
    pub(crate) ret: u64,
    pub(crate) action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// No order explains what was seen.
    Broken,
    /// The search took too long.
    Open,
}

/// The value after the operation, where it fits what stood there before.
pub(crate) fn step(value: u64, action: Action) -> Option<u64> {
    match action {
        Action::Put(new) => Some(new),
        Action::Delete => Some(ABSENT),
        Action::Read(seen) => (seen == value).then_some(value),
        Action::Cas(expected, new, Outcome::Done) => (value == expected).then_some(new),
        Action::Cas(expected, _, Outcome::Found(seen)) => {
            (value == seen && value != expected).then_some(value)
        }
        Action::Cas(expected, new, Outcome::Unknown) => {
            Some(if value == expected { new } else { value })
        }
    }
}

/// A call or a return in the list of those that are not passed yet.
struct Node {
    op: usize,
    is_call: bool,
    before: usize,
    after: usize,
}

/// Calls and returns in their order; the first and the last node are none.
struct List {
    nodes: Vec<Node>,
    /// Where each operation's call and return stand.
    places: Vec<(usize, usize)>,
}

impl List {
    fn new(ops: &[Operation]) -> Self {
        let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * ops.len());
        for (op, o) in ops.iter().enumerate() {
            events.push((o.call, false, op));
            events.push((o.ret, true, op));
        }
        events.sort_unstable();
        let mut places = vec![(0, 0); ops.len()];
        let end = events.len() + 1;
        let mut nodes = Vec::with_capacity(end + 1);
        nodes.push(Node { op: usize::MAX, is_call: false, before: 0, after: 1 });
        for (at, (_, is_return, op)) in (1..).zip(events) {
            if is_return {
                places[op].1 = at;
            } else {
                places[op].0 = at;
            }
            nodes.push(Node { op, is_call: !is_return, before: at - 1, after: at + 1 });
        }
        nodes.push(Node { op: usize::MAX, is_call: false, before: end - 1, after: end });
        Self { nodes, places }
    }

    fn cut(&mut self, at: usize) {
        let Node { before, after, .. } = self.nodes[at];
        self.nodes[before].after = after;
        self.nodes[after].before = before;
    }

    fn uncut(&mut self, at: usize) {
        let Node { before, after, .. } = self.nodes[at];
        self.nodes[before].after = at;
        self.nodes[after].before = at;
    }

    fn lift(&mut self, op: usize) {
        let (call, ret) = self.places[op];
        self.cut(call);
        self.cut(ret);
    }

    fn unlift(&mut self, op: usize) {
        let (call, ret) = self.places[op];
        self.uncut(ret);
        self.uncut(call);
    }
}

/// Looks for an order, in at most `budget` steps. The register is not there at first.
pub(crate) fn check(ops: &[Operation], budget: u64) -> Verdict {
    let mut list = List::new(ops);
    let mut done = vec![0u64; ops.len().div_ceil(64)];
    let mut seen: BTreeSet<(Vec<u64>, u64)> = BTreeSet::new();
    let mut taken: Vec<(usize, u64)> = Vec::new();
    let mut value = ABSENT;
    let mut left = ops.iter().filter(|o| o.ret != NEVER).count();
    let mut at = list.nodes[0].after;
    for _ in 0..budget {
        if left == 0 {
            return Verdict::Linearizable;
        }
        let Node { op, is_call, after, .. } = list.nodes[at];
        if is_call {
            let flip = |done: &mut Vec<u64>| done[op / 64] ^= 1 << (op % 64);
            if let Some(next) = step(value, ops[op].action) {
                flip(&mut done);
                if seen.insert((done.clone(), next)) {
                    taken.push((op, value));
                    value = next;
                    left -= usize::from(ops[op].ret != NEVER);
                    list.lift(op);
                    at = list.nodes[0].after;
                    continue;
                }
                flip(&mut done);
            }
            at = after;
            continue;
        }
        // A return is in the way: what was done last was wrong.
        let Some((op, old)) = taken.pop() else { return Verdict::Broken };
        done[op / 64] ^= 1 << (op % 64);
        value = old;
        left += usize::from(ops[op].ret != NEVER);
        list.unlift(op);
        at = list.nodes[list.places[op].0].after;
    }
    Verdict::Open
}
