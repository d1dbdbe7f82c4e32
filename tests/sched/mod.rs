//! Scheduling as fixtures: a cluster and a job in, the plan out as text.
//!
//! `tests/sched/*.txt` hold cases. A case is a `case:` line, directives (see `world.rs`), `----`
//! and the expected text, up to the next case. `UPDATE_EXPECT=1 cargo test` rewrites the expected
//! part; commit only differences that you can explain.

mod property;
mod show;
mod slow;
mod world;

use std::fmt::Write;
use std::path::Path;

use world::World;

const FILES: [&str; 11] = [
    "place.txt",
    "constraints.txt",
    "rank.txt",
    "resources.txt",
    "classify.txt",
    "rows.txt",
    "reschedule.txt",
    "update.txt",
    "deployment.txt",
    "system.txt",
    "preempt.txt",
];

#[test]
fn fixtures() {
    let update = option_env_now("UPDATE_EXPECT");
    let mut wrong = String::new();
    let mut cases = 0;
    for file in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sched").join(file);
        let text = std::fs::read_to_string(&path).expect("a fixture file");
        let mut fresh = String::new();
        for (i, part) in text.split("case:").enumerate() {
            if i == 0 {
                fresh.push_str(part);
                continue;
            }
            cases += 1;
            let (input, expected) = part.split_once("----\n").expect("a case has a ---- line");
            let title = input.lines().next().unwrap_or("").trim();
            let got = World::parse(input).unwrap_or_else(|e| panic!("{file}: {title}: {e}")).run();
            if got.trim() != expected.trim() {
                writeln!(wrong, "{file}: {title}\n-- expected\n{expected}\n-- got\n{got}").unwrap();
            }
            write!(fresh, "case:{input}----\n{}\n\n", got.trim_end()).unwrap();
        }
        if update {
            std::fs::write(&path, format!("{}\n", fresh.trim_end())).expect("the file is writable");
        }
    }
    assert!(update || wrong.is_empty(), "{wrong}");
    assert!(cases >= 200, "only {cases} cases");
}

#[test]
fn every_row_of_the_classification_has_a_case() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sched/rows.txt");
    let text = std::fs::read_to_string(path).expect("a fixture file");
    for row in 1..=18 {
        assert!(text.contains(&format!("case: row {row}: ")), "row {row}");
    }
}

/// Whether a variable is set: test runs are steered by the environment.
fn option_env_now(name: &str) -> bool {
    std::env::var_os(name).is_some()
}
