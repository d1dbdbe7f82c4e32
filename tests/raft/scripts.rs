//! Scripts: blocks of commands, `----`, and what they are expected to print.
//!
//! `UPDATE_EXPECT=1` writes what they do print. A message is printed when it arrives: sender,
//! receiver, the sender's term, and what it says. Commands:
//!
//! - `cluster 3 [others 1] [window 2] [bytes 1]`: a new cluster.
//! - `campaign 1`, `timeout 1` (its timers fire), `run 500` (milliseconds pass for all; silent but
//!   for changes of role).
//! - `propose 1 x`, `read 1 7`, `transfer 1 [2]`, `change 1 add|promote|demote|remove 4`.
//! - `deliver 1>2 [3]`, `drop 1>2` (all under way), `repeat 1>2` (twice from now), `stabilize`.
//! - `swap 1>2`: the oldest message of a link arrives after the next.
//! - `cut 1>2`, `isolate 1`, `heal`, `unreachable 1 2`.
//! - `slow 1` (writes wait), `persist 1 [mute]` (one ends), `fast 1`; `crash 1`, `start 1`.
//! - `recover 1 1 2`: while 1 is down it is told that 1 and 2 are all the servers there are.
//! - `trim 1 5`, `snapshot 1>3`, `snapshot-fails 1>3`; `quiet` before a command: no messages.
//! - `status`: the state of all.

use std::fmt::Write;
use std::path::Path;

use super::cluster::{Cluster, MS};
use vardo::raft::Input;

fn link(word: &str) -> (u64, u64) {
    let (a, b) = word.split_once('>').expect("a link like 1>2");
    (a.parse().expect("a server"), b.parse().expect("a server"))
}

fn after<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().position(|w| *w == name).and_then(|at| words.get(at + 1).copied())
}

/// Runs one command; false where it is unknown, or there is nothing to deliver or to end.
fn command(c: &mut Cluster, words: &[&str]) -> bool {
    let n = |at: usize| -> u64 { words.get(at).and_then(|w| w.parse().ok()).expect("a number") };
    match words[0] {
        "campaign" => c.input(n(1), Input::Campaign),
        "timeout" => c.timeout(n(1)),
        "run" => c.run(n(1) * MS),
        "propose" => c.propose(n(1), words[2]),
        "read" => c.input(n(1), Input::ReadIndex(n(2))),
        "transfer" => c.transfer(n(1), words.get(2).map(|_| n(2))),
        "change" => c.change(n(1), words[2], n(3)),
        "stabilize" => c.stabilize(),
        "deliver" => {
            let times = words.get(2).map_or(1, |_| n(2));
            return (0..times).all(|_| c.deliver(Some(link(words[1]))));
        }
        "drop" => c.wire.retain(|(a, b, _)| (*a, *b) != link(words[1])),
        "repeat" => {
            let twice: Vec<_> =
                c.wire.iter().filter(|(a, b, _)| (*a, *b) == link(words[1])).cloned().collect();
            c.wire.extend(twice);
        }
        "swap" => {
            let mut of =
                (0..c.wire.len()).filter(|at| (c.wire[*at].0, c.wire[*at].1) == link(words[1]));
            let (a, b) = (of.next().expect("a message"), of.next().expect("another"));
            c.wire.swap(a, b);
        }
        "cut" => drop(c.cuts.insert(link(words[1]))),
        "isolate" => {
            let all: Vec<u64> = c.servers.keys().copied().collect();
            c.cuts.extend(all.iter().flat_map(|o| [(*o, n(1)), (n(1), *o)]));
        }
        "heal" => c.cuts.clear(),
        "unreachable" => c.input(n(1), Input::Unreachable(vardo::raft::PeerId(n(2).into()))),
        "slow" => c.slow(n(1), true),
        "fast" => c.slow(n(1), false),
        "persist" => return c.persist(n(1), words.get(2) != Some(&"mute")),
        "crash" => c.crash(n(1)),
        "start" => c.start(n(1)),
        "recover" => {
            let whom: Vec<u64> = words[2..].iter().map(|w| w.parse().expect("a server")).collect();
            c.recover(n(1), &whom);
        }
        "trim" => c.servers.get_mut(&n(1)).expect("a server").disk.trim(n(2)),
        "snapshot" => {
            let (a, b) = link(words[1]);
            return c.snapshot(a, b);
        }
        "snapshot-fails" => {
            let (a, b) = link(words[1]);
            c.snapshot_failed(a, b);
        }
        "status" => {
            let lines: Vec<_> = c.servers.keys().map(|n| c.status(*n)).collect();
            c.events.extend(lines);
        }
        _ => return false,
    }
    true
}

fn block(cluster: &mut Option<Cluster>, commands: &str) -> String {
    let mut out = String::new();
    for line in commands.lines() {
        let mut words: Vec<_> = line.split_whitespace().collect();
        let quiet = words.first() == Some(&"quiet");
        if quiet {
            words.remove(0);
        }
        if words.is_empty() || words[0].starts_with('#') {
            continue;
        }
        if words[0] == "cluster" {
            let number =
                |name, or| after(&words, name).map_or(or, |w| w.parse().expect("a number"));
            let voters = words[1].parse().expect("a number");
            let window = usize::try_from(number("window", 64)).expect("a small number");
            let bytes = usize::try_from(number("bytes", 1 << 20)).expect("a small number");
            *cluster = Some(Cluster::new(voters, number("others", 0), 1, window, bytes));
            continue;
        }
        let c = cluster.as_mut().expect("a cluster first");
        if !command(c, &words) {
            writeln!(out, "impossible: {line}").expect("text");
        }
        c.check_logs();
        let silent = quiet || words[0] == "run";
        for event in c.events.drain(..).filter(|e| !silent || !e.contains('>')) {
            writeln!(out, "{event}").expect("text");
        }
        for answer in c.answers.drain(..) {
            match answer {
                Ok(range) if range.is_empty() => writeln!(out, "accepted"),
                Ok(range) => writeln!(out, "accepted at {}", range.start),
                Err(why) => writeln!(out, "refused: {why}"),
            }
            .expect("text");
        }
    }
    out
}

/// Runs a script; what it would look like with its true output.
fn replay(text: &str) -> String {
    let mut cluster = None;
    let mut out = Vec::new();
    for part in text.trim_end().split("\n\n") {
        let commands = part.split_once("\n----").map_or(part, |(c, _)| c);
        let printed = block(&mut cluster, commands);
        if commands.lines().all(|l| l.starts_with('#')) {
            out.push(commands.to_owned());
        } else {
            out.push(format!("{commands}\n----\n{printed}").trim_end().to_owned());
        }
    }
    out.join("\n\n") + "\n"
}

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raft");
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "txt"))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    for name in names {
        let text = std::fs::read_to_string(&name).expect("a script");
        let printed = replay(&text);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&name, printed).expect("writes");
        } else if printed != text {
            let first = text.lines().zip(printed.lines()).position(|(a, b)| a != b);
            let at = first.unwrap_or(0);
            panic!(
                "{}:{}: expected {:?}, got {:?}",
                name.display(),
                at + 1,
                text.lines().nth(at),
                printed.lines().nth(at)
            );
        }
    }
}
