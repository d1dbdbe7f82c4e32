//! Known mistakes, put back into the core one at a time: each must be found by the seed that is
//! named for it.
//!
//! A copy of the core is changed so that one number decides which mistake it makes, and built
//! together with the simulator into one program. Where a text of the table is no longer in the
//! source, the test fails: the mistake must be put back in another way.
//!
//! `mutants.txt` names seed and broken promise of each. The events of a run change with the code;
//! `UPDATE_EXPECT=1` looks for seeds again.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mistake: which rule forbids it, and how it is made.
struct Mutant {
    name: &'static str,
    /// What it breaks, in words.
    what: &'static str,
    file: &'static str,
    /// Occurs once.
    old: &'static str,
    /// `@` stands for the question whether this mistake is to be made.
    new: &'static str,
}

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "vote-not-durable",
        what: "R1: a vote leaves before it is on the disk",
        file: "election.rs",
        old: "self.send_gated(cx, from, Body::VoteReply { pre, campaign, granted });",
        new: "if @ { self.send(cx, from, Body::VoteReply { pre, campaign, granted }); } else {
              self.send_gated(cx, from, Body::VoteReply { pre, campaign, granted }); }",
    },
    Mutant {
        name: "term-not-durable",
        what: "R1: a message leaves in a term that is not on the disk",
        file: "mod.rs",
        old: "if self.hard.term > self.durable_term {",
        new: "if !@ && self.hard.term > self.durable_term {",
    },
    Mutant {
        name: "two-votes",
        what: "R1: a second vote in one term",
        file: "election.rs",
        old: "&& self.hard.vote.is_none_or(|v| v == from)",
        new: "&& (@ || self.hard.vote.is_none_or(|v| v == from))",
    },
    Mutant {
        name: "stale-candidate",
        what: "R2: a vote for a candidate whose log is behind",
        file: "election.rs",
        old: "let current = log >= (self.tail.last_term(), self.tail.last());",
        new: "let current = @ || log >= (self.tail.last_term(), self.tail.last());",
    },
    Mutant {
        name: "longest-log",
        what: "R2: logs are compared by length before term",
        file: "election.rs",
        old: "let granted = current",
        new: "let current = if @ { log.1 >= self.tail.last() } else { current };
              let granted = current",
    },
    Mutant {
        name: "figure-8",
        what: "R7: entries of earlier terms are committed by counting",
        file: "replicate.rs",
        old: "&& self.term_at(cx, reached) == Some(self.hard.term) {",
        new: "&& (@ || self.term_at(cx, reached) == Some(self.hard.term)) {",
    },
    Mutant {
        name: "half-is-enough",
        what: "R7: half of an even number counts as a majority",
        file: "quorum.rs",
        old: "values[majority(values.len()) - 1]",
        new: "values[if @ { values.len().div_ceil(2) } else { majority(values.len()) } - 1]",
    },
    Mutant {
        name: "learners-count",
        what: "R8: learners count in majorities",
        file: "mod.rs",
        old: "|(_, m)| m.voters().collect()",
        new: "|(_, m)| if @ { m.0.keys().copied().collect() } else { m.voters().collect() }",
    },
    Mutant {
        name: "ack-not-durable",
        what: "R9: entries are acknowledged before they are on the disk",
        file: "replicate.rs",
        old: "self.send_gated(cx, from, Body::AppendOk { matched });",
        new: "if @ { self.send(cx, from, Body::AppendOk { matched }); } else {
              self.send_gated(cx, from, Body::AppendOk { matched }); }",
    },
    Mutant {
        name: "conflict-kept",
        what: "R10: an entry of another term at the same place stays",
        file: "replicate.rs",
        old: "if self.term_at(cx, entry.index) == Some(entry.term) {",
        new: "if @ || self.term_at(cx, entry.index) == Some(entry.term) {",
    },
    Mutant {
        name: "cut-without-conflict",
        what: "R10: an old message cuts what it agrees with",
        file: "replicate.rs",
        old: "== Some(entry.term) {\n                    continue;",
        new: "== Some(entry.term) && !@ {\n                    continue;",
    },
    Mutant {
        name: "previous-unchecked",
        what: "R10: the term of the entry before is not compared",
        file: "replicate.rs",
        old: "if self.term_at(cx, prev) != Some(prev_term) {",
        new: "if self.term_at(cx, prev) != Some(prev_term) && !(@ && prev <= self.tail.last()) {",
    },
    Mutant {
        name: "last-is-matched",
        what: "R11: the answer names the last entry, not the last that agrees",
        file: "replicate.rs",
        old: "let matched = prev + entries.len() as Index;",
        new: "let matched = (prev + entries.len() as Index)
              .max(if @ { self.tail.last() } else { 0 });",
    },
    Mutant {
        name: "probe-below-match",
        what: "R11: a late rejection takes a follower back behind what it has",
        file: "progress.rs",
        old: "self.next = next.max(self.matched + 1);\n        self.state = State::Probe",
        new: "self.next = if @ { next } else { next.max(self.matched + 1) };
              self.state = State::Probe",
    },
    Mutant {
        name: "lost-window",
        what: "R12: nothing is asked where all that was sent got lost",
        file: "replicate.rs",
        old: "State::Replicate if p.matched < last => {",
        new: "State::Replicate if p.matched < last && !@ => {",
    },
    Mutant {
        name: "heartbeat-tells-all",
        what: "R13: a heartbeat tells the commit index to those who may have other entries there",
        file: "replicate.rs",
        old: "Body::Heartbeat { commit: told.min(p.matched), round }",
        new: "Body::Heartbeat { commit: if @ { told } else { told.min(p.matched) }, round }",
    },
    Mutant {
        name: "messages-without-end",
        what: "R14: as many entries in a message as there are",
        file: "log.rs",
        old: "if bytes > max_bytes && !out.is_empty() {",
        new: "if bytes > max_bytes && !out.is_empty() && !@ {",
    },
    Mutant {
        name: "read-unconfirmed",
        what: "R15: a leader serves reads without asking whether it still is one",
        file: "replicate.rs",
        old: "} else if self.is_alone() {\n            self.lead.reads",
        new: "} else if @ || self.is_alone() {\n            self.lead.reads",
    },
    Mutant {
        name: "read-of-an-old-round",
        what: "R15: a read takes answers to heartbeats that were sent before it came",
        file: "read.rs",
        old: "let begin = out.round == 0 || out.round != self.round;",
        new: "let begin = self.round == 0 || !@ && (out.round == 0 || out.round != self.round);",
    },
    Mutant {
        name: "read-before-applied",
        what: "R15: a read is served before the entry that it noted is applied",
        file: "read.rs",
        old: "&& index <= applied",
        new: "&& (@ || index <= applied)",
    },
    Mutant {
        name: "read-before-no-op",
        what: "R15: a read does not wait until the term has committed something",
        file: "replicate.rs",
        old: "} else if self.commit < self.lead.opened {",
        new: "} else if !@ && self.commit < self.lead.opened {",
    },
    Mutant {
        name: "transfer-for-ever",
        what: "R18: a transfer that fails is never given up",
        file: "election.rs",
        old: "is_some_and(|t| self.now >= t.deadline)",
        new: "is_some_and(|t| self.now >= t.deadline && !@)",
    },
    Mutant {
        name: "two-changes",
        what: "R19: a membership changes before the last change is committed",
        file: "membership.rs",
        old: "if *at > self.commit ||",
        new: "if !@ && *at > self.commit ||",
    },
    Mutant {
        name: "change-before-no-op",
        what: "R20: a membership changes before the term has committed anything",
        file: "membership.rs",
        old: "self.commit < self.lead.opened {",
        new: "!@ && self.commit < self.lead.opened {",
    },
    Mutant {
        name: "membership-not-taken-back",
        what: "R21: a membership stays whose entry was cut",
        file: "replicate.rs",
        old: "if self.history.truncate(from) {",
        new: "if !@ && self.history.truncate(from) {",
    },
    Mutant {
        name: "membership-forgotten",
        what: "R21: a membership is not stored with its entry",
        file: "mod.rs",
        old: "self.history.append(entry.index, members);\n            self.persist_members(cx);",
        new: "self.history.append(entry.index, members);
              if !@ { self.persist_members(cx); }",
    },
    Mutant {
        name: "removed-leader-silent",
        what: "R8, thesis 4.2.2: a leader that took its own vote away cannot lead to commit that",
        file: "mod.rs",
        old: "self.history.names_voter(self.id)",
        new: "if @ { self.is_voter() } else { self.history.names_voter(self.id) }",
    },
    Mutant {
        name: "snapshot-drops-tail",
        what: "R31: a snapshot drops entries after it that agree with it",
        file: "replicate.rs",
        old: "|| self.term_at(cx, index) == Some(term);",
        new: "|| !@ && self.term_at(cx, index) == Some(term);",
    },
    Mutant {
        name: "old-snapshot-unanswered",
        what: "R31: a snapshot that brings nothing new is not answered",
        file: "replicate.rs",
        old: "if follows && held {",
        new: "if follows && held && !(@ && index <= self.commit) {",
    },
    Mutant {
        name: "snapshot-once",
        what: "R32: after a snapshot that failed nothing is sent any more",
        file: "replicate.rs",
        old: "Some(_) | None => p.probe(p.matched + 1, true),",
        new: "Some(_) | None => if !@ { p.probe(p.matched + 1, true) },",
    },
    Mutant {
        name: "lone-commit-told",
        what: "R9: what a lone voter counted is told before it is on the disk",
        file: "replicate.rs",
        old: "let counted_alone = self.commit <= self.lead.lone;",
        new: "let counted_alone = if @ { self.is_alone() } else { self.commit <= self.lead.lone };",
    },
];

/// What the changed core and the simulator are built from, besides the core.
const LIBRARY: &str = r#"
pub mod stdx {
    pub use std::collections::{BTreeMap, BTreeSet};
    #[path = "@/src/stdx/now.rs"]
    mod now;
    #[path = "@/src/stdx/sort.rs"]
    pub mod sort;
    pub use now::{Entropy, Now};
}
#[path = "raft/mod.rs"]
pub mod raft;
pub static MUTANT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
pub fn mutant(n: usize) -> bool {
    MUTANT.load(std::sync::atomic::Ordering::Relaxed) == n
}
"#;

/// Prints the first seed that fails, and how; nothing where none does.
const PROGRAM: &str = r#"
#[path = "@/tests/sim/engine/mod.rs"]
mod sim;
fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().expect("a number")).collect();
    vardo::MUTANT.store(args[0] as usize, std::sync::atomic::Ordering::Relaxed);
    for seed in args[1]..args[2] {
        if let Some(failure) = sim::judge(&sim::Plan::new(seed, 100), false, None).failure {
            return println!("{seed} {}", failure.rule);
        }
    }
}
"#;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The core with all mistakes in it, below `folder`.
fn write(folder: &Path) {
    let core = root().join("src/raft");
    std::fs::create_dir_all(folder.join("raft")).expect("a folder");
    let mut problems = String::new();
    for entry in std::fs::read_dir(&core).expect("the core") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).expect("a name");
        let mut text = std::fs::read_to_string(&path).expect("source");
        for (at, m) in (1..).zip(MUTANTS).filter(|(_, m)| m.file == name) {
            let found = text.matches(m.old).count();
            if found != 1 {
                writeln!(problems, "{}: its text is {found} times in {name}", m.name)
                    .expect("text");
            }
            text = text.replace(m.old, &m.new.replace('@', &format!("crate::mutant({at})")));
        }
        std::fs::write(folder.join("raft").join(name), text).expect("writes");
    }
    assert!(problems.is_empty(), "{problems}");
    let here = |text: &str| text.replace('@', root().to_str().expect("a path"));
    std::fs::write(folder.join("vardo.rs"), here(LIBRARY)).expect("writes");
    std::fs::write(folder.join("mutants.rs"), here(PROGRAM)).expect("writes");
}

#[expect(clippy::disallowed_methods, reason = "a test runs the compiler")]
fn output(program: &Path, args: &[&str], folder: &Path) -> String {
    let out = Command::new(program).args(args).current_dir(folder).output().expect("it runs");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// One program for all mistakes.
fn build() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    write(&folder);
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let general = ["--edition=2024", "-O", "-Awarnings"];
    let library = ["--crate-type=lib", "vardo.rs"];
    output(Path::new(&compiler), &[&general[..], &library].concat(), &folder);
    let program = ["--extern=vardo=libvardo.rlib", "mutants.rs"];
    output(Path::new(&compiler), &[&general[..], &program].concat(), &folder);
    folder.join("mutants")
}

#[test]
fn a_thousand_seeds_hold_and_each_known_mistake_is_found_by_its_seed() {
    let program = build();
    let run = |mutant: usize, from: u64, to: u64| {
        let args = [mutant as u64, from, to].map(|n| n.to_string());
        output(&program, &args.each_ref().map(String::as_str), root())
    };
    // The same program without any mistake.
    assert_eq!(run(0, 1, 1001), "", "a seed that fails; cargo bench --bench consensus tells more");
    let file = root().join("tests/sim/mutants.txt");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut table = String::new();
    for (at, m) in (1..).zip(MUTANTS) {
        let line = known.lines().find(|l| l.split_whitespace().next() == Some(m.name));
        let seed: Option<u64> = line.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
        let mut found = seed.map_or(String::new(), |seed| run(at, seed, seed + 1));
        if update && found.is_empty() {
            found = run(at, 1, 40_000);
        }
        let (seed, rule) = found.split_once(' ').unwrap_or(("-", "-"));
        writeln!(table, "{:<28} {seed:>5} {rule:<5} {}", m.name, m.what).expect("text");
    }
    if update {
        std::fs::write(&file, &table).expect("writes");
    }
    assert!(table == known || update, "found now:\n{table}");
    assert!(!table.contains(" - "), "not found by any seed:\n{table}");
}
