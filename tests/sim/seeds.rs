//! The seeds that every change is tried with.

use std::fmt::Write;

use super::engine::{Plan, Sums, explain, judge};

/// How long the faults of a run last, seconds.
const SECONDS: u64 = 40;
const SEEDS: u64 = 20;
/// Seeds that a bug was found with, and the seconds of their faults. The events of a run change
/// with the code, so what they found has scripts of its own in `tests/raft`.
const FOUND: &[(u64, u64)] = &[
    (36, 100),
    (254, 100),
    (2299, 100),
    (2553, 100),
    (2994, 100),
    (4093, 100),
    (6623, 100),
    (10922, 100),
];

#[test]
fn what_consensus_promises_holds_whatever_fails() {
    let mut sums = Sums::default();
    let fixed = (1..=SEEDS).map(|seed| (seed, SECONDS)).chain(FOUND.iter().copied());
    for (seed, seconds) in fixed {
        let plan = Plan::new(seed, seconds);
        let report = judge(&plan, std::env::var_os("SIM_TRACE").is_some(), None);
        for line in &report.trace {
            println!("{line}");
        }
        if let Some(failure) = &report.failure {
            panic!("{}", explain(seed, seconds, failure));
        }
        sums.add(seed, report);
    }
    // Runs in which nothing happens prove nothing.
    let mut rare = String::new();
    for what in [
        "crash after commit",
        "crash in commit",
        "disk full",
        "election",
        "leader deposed",
        "leader stepped down",
        "leadership handed over",
        "log cut",
        "membership changed",
        "pre-vote refused",
        "snapshot installed",
    ] {
        if sums.sometimes.get(what).is_none_or(|n| *n < 5) {
            writeln!(rare, "{what}: {:?}", sums.sometimes.get(what)).expect("text");
        }
    }
    assert!(rare.is_empty(), "hardly ever happened:\n{rare}");
    assert!(sums.written > 1000 && sums.open == 0);
}

#[test]
fn a_seed_is_a_run_to_the_last_event() {
    for seed in 1..=5 {
        let plan = Plan::new(seed, SECONDS);
        let (one, two) = (judge(&plan, false, None), judge(&plan, true, None));
        assert_eq!((one.hash, one.events, one.time), (two.hash, two.events, two.time));
        assert!(one.failure.is_none() && one.events > 100, "{one:?}");
        assert_ne!(one.hash, judge(&Plan::new(seed + 100, SECONDS), false, None).hash);
    }
}
