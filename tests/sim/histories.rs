//! The judge of histories is judged: bad ones are seen, honest ones pass.

use super::engine::linear::{ABSENT, Action, NEVER, Operation, Outcome, Verdict, check, step};
use super::engine::rng::Rng;

fn op(call: u64, ret: u64, action: Action) -> Operation {
    Operation { call, ret, action }
}

#[test]
fn bad_histories_are_seen() {
    use Action::{Cas, Delete, Put, Read};
    use Outcome::{Done, Found, Unknown};
    let good: &[&[Operation]] = &[
        &[],
        &[op(1, 2, Read(ABSENT))],
        // Overlapping: either order.
        &[op(1, 4, Put(7)), op(2, 3, Read(ABSENT)), op(5, 6, Read(7))],
        &[op(1, 4, Put(7)), op(2, 3, Read(7))],
        // Nobody knows: seen late, or never.
        &[op(1, NEVER, Put(7)), op(2, 3, Read(ABSENT)), op(4, 5, Read(7))],
        &[op(1, NEVER, Put(7)), op(2, 3, Read(ABSENT))],
        &[op(1, NEVER, Cas(ABSENT, 7, Unknown)), op(2, 3, Read(7))],
        &[op(1, 2, Put(7)), op(3, 4, Cas(7, 8, Done)), op(5, 6, Cas(7, 9, Found(8)))],
        &[op(1, 2, Put(7)), op(3, 4, Delete), op(5, 6, Read(ABSENT))],
    ];
    for (at, ops) in good.iter().enumerate() {
        assert_eq!(check(ops, 1000), Verdict::Linearizable, "good history {at}");
    }
    let bad: &[(&str, &[Operation])] = &[
        ("stale read", &[op(1, 2, Put(7)), op(3, 4, Put(8)), op(5, 6, Read(7))]),
        ("lost write", &[op(1, 2, Put(7)), op(3, 4, Read(ABSENT))]),
        ("from the future", &[op(1, 2, Read(7)), op(3, 4, Put(7))]),
        ("from nowhere", &[op(1, 2, Read(9))]),
        ("there and back", &[op(1, 8, Put(7)), op(2, 3, Read(7)), op(4, 5, Read(ABSENT))]),
        ("two of one", &[op(1, 2, Put(7)), op(3, 5, Cas(7, 8, Done)), op(4, 6, Cas(7, 9, Done))]),
        ("failed for nothing", &[op(1, 2, Put(7)), op(3, 4, Cas(7, 8, Found(7)))]),
        ("undead", &[op(1, 2, Put(7)), op(3, 4, Delete), op(5, 6, Read(7))]),
        (
            "unknown, seen, unseen",
            &[op(1, NEVER, Put(7)), op(2, 3, Read(7)), op(4, 5, Read(ABSENT))],
        ),
    ];
    for (what, ops) in bad {
        assert_eq!(check(ops, 1000), Verdict::Broken, "{what}");
    }
}

/// A history of a register that works: each operation takes effect at a point between its call
/// and its return.
fn honest(rng: &mut Rng) -> Vec<Operation> {
    let (mut value, mut time) = (ABSENT, 0);
    let mut out: Vec<Operation> = Vec::new();
    for n in 1..=rng.between(5, 60) {
        // In the order of their effects, each around its own instant.
        time += 10;
        let action = match rng.below(5) {
            0 => Action::Put(n),
            1 if value != ABSENT => Action::Cas(value, n, Outcome::Done),
            2 => Action::Cas(n + 1000, n, Outcome::Found(value)),
            3 if rng.below(4) == 0 => Action::Delete,
            _ => Action::Read(value),
        };
        value = step(value, action).expect("it fits");
        let (call, ret) = (time - rng.below(25).min(time), time + 1 + rng.below(25));
        out.push(op(call * 1000 + n, ret * 1000 + n, action));
    }
    out
}

#[test]
fn honest_histories_pass_and_with_one_answer_changed_most_fail() {
    let mut rng = Rng::new(1, 0);
    let (mut changed, mut caught) = (0, 0);
    for _ in 0..500 {
        let mut ops = honest(&mut rng);
        assert_eq!(check(&ops, 100_000), Verdict::Linearizable, "{ops:?}");
        let reads: Vec<usize> =
            (0..ops.len()).filter(|at| matches!(ops[*at].action, Action::Read(_))).collect();
        let Some(at) = reads.get(rng.index(reads.len())) else { continue };
        // A value that was never there at the time.
        ops[*at].action = Action::Read(5000);
        changed += 1;
        caught += usize::from(check(&ops, 100_000) == Verdict::Broken);
    }
    assert!(changed > 300 && caught * 100 >= changed * 95, "{caught} of {changed}");
}
