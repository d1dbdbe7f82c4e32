//! Random runs: messages late, lost, doubled and out of order, servers that stop at any point,
//! slow disks, changes of the membership, trimmed logs. Safety is checked at every step; then
//! everything heals, and the cluster must agree.

use std::collections::BTreeMap;

use super::cluster::{Cluster, ELECTION, MS};
use vardo::raft::{Input, Role};

struct Rng(u64);

impl Rng {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % below.max(1)
    }
}

struct Run {
    c: Cluster,
    rng: Rng,
    size: u64,
    /// Proposals that were applied on the server that took them, by index.
    written: u64,
    changes: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let voters = 3 + 2 * rng.next(2);
        let others = rng.next(2);
        let window = 1 + usize::try_from(rng.next(5)).expect("small");
        let bytes = 1 << rng.next(12);
        let changes = rng.next(2) == 0;
        let c = Cluster::new(voters, others, seed, window, bytes);
        Self { c, rng, size: voters + others, written: 0, changes }
    }

    fn any(&mut self) -> u64 {
        1 + self.rng.next(self.size)
    }

    fn step(&mut self) {
        let n = self.any();
        match self.rng.next(100) {
            0..55 => {
                let at = self.rng.next(self.c.wire.len().min(8) as u64);
                self.c.deliver_at(usize::try_from(at).expect("small"));
            }
            55..58 => drop(self.c.wire.pop_front()),
            58..60 => {
                if let Some(m) = self.c.wire.front().cloned() {
                    self.c.wire.push_back(m);
                }
            }
            60..72 => {
                self.written += 1;
                let at = self.c.leader().unwrap_or(n);
                let text = self.written.to_string();
                self.c.propose(at, &text);
            }
            72..80 => {
                self.c.now += self.rng.next(200) * MS;
                self.c.input(n, Input::Tick);
            }
            80..82 => {
                self.c.now += self.rng.next(2 * ELECTION);
                self.c.input(n, Input::Tick);
            }
            82..84 => {
                if self.c.raft(n).is_some() {
                    self.c.crash(n);
                }
            }
            84..88 => {
                if self.c.raft(n).is_none() {
                    self.c.start(n);
                }
            }
            88 => self.c.slow(n, true),
            89 => self.c.slow(n, false),
            90..92 => {
                let send = self.rng.next(4) > 0;
                if self.c.persist(n, send) && !send {
                    self.c.crash(n);
                }
            }
            92 => {
                let to = self.any();
                self.c.cuts.insert((n, to));
            }
            93 => self.c.cuts.clear(),
            94 => {
                let s = self.c.servers.get_mut(&n).expect("a server");
                if s.raft.is_some() {
                    let upto = s.disk.applied.saturating_sub(self.rng.next(4));
                    s.disk.trim(upto);
                }
            }
            95 => self.snapshots(),
            96 => {
                let to = self.any();
                self.c.transfer(n, Some(to));
            }
            97 if self.changes => self.change(),
            98 => self.c.input(n, Input::ReadIndex(self.written)),
            _ => self.c.input(n, Input::Campaign),
        }
    }

    fn change(&mut self) {
        let whom = self.any();
        let what = ["add", "promote", "promote", "demote", "remove"];
        let what = what[usize::try_from(self.rng.next(5)).expect("small")];
        if let Some(leader) = self.c.leader() {
            // A server that was removed does not come back under its old id.
            let voters = self
                .c
                .raft(leader)
                .and_then(|r| r.members())
                .map_or(0, |(_, m)| m.voters().count());
            let shrinks = matches!(what, "demote" | "remove");
            let removed = what == "remove" && whom <= 3;
            if !(removed || shrinks && voters <= 3) {
                self.c.change(leader, what, whom);
            }
        }
    }

    /// Serves every wish for a snapshot that was uttered.
    fn snapshots(&mut self) {
        let wishes: Vec<(u64, u64)> = self
            .c
            .events
            .iter()
            .filter_map(|e| {
                let (from, to) = e.split_once(" must send a snapshot to ")?;
                Some((from.parse().ok()?, to.parse().ok()?))
            })
            .collect();
        self.c.events.clear();
        for (from, to) in wishes {
            let leads = self.c.raft(from).is_some_and(|r| r.role() == Role::Leader);
            if leads && (self.c.raft(to).is_none() || !self.c.snapshot(from, to)) {
                self.c.snapshot_failed(from, to);
            }
        }
    }

    /// Everything works again: within a few elections all agree and a write succeeds.
    fn heal(&mut self) {
        self.c.cuts.clear();
        for n in 1..=self.size {
            if self.c.raft(n).is_none() {
                self.c.start(n);
            }
            self.c.slow(n, false);
        }
        for _ in 0..30 {
            self.c.run(ELECTION / 2);
            self.snapshots();
        }
        let leader = self.c.leader().expect("a leader");
        self.c.answers.clear();
        self.c.reads.clear();
        self.c.propose(leader, "last");
        self.c.input(leader, Input::ReadIndex(u64::MAX));
        self.c.run(ELECTION / 2);
        let at = match self.c.answers[..] {
            [Ok(ref range)] => range.start,
            ref other => panic!("{other:?}"),
        };
        assert_eq!(self.c.reads.len(), 1, "the read was not served: {:?}", self.c.events);
        let members = self.c.raft(leader).and_then(|r| r.members()).expect("members").1.clone();
        let mut applied = BTreeMap::new();
        for n in 1..=self.size {
            if members.0.contains_key(&vardo::raft::PeerId(n.into())) {
                assert!(self.c.servers[&n].disk.applied >= at, "{}", self.c.status(n));
                applied.insert(n, self.c.servers[&n].applied.clone());
            }
        }
        let first = applied.values().next().expect("a member");
        assert!(applied.values().all(|a| a == first), "members applied different things");
    }
}

#[test]
fn safe_under_all_faults_and_alive_after_them() {
    for seed in 1..=150 {
        let mut run = Run::new(seed);
        for step in 0..1500 {
            run.step();
            if step % 50 == 0 {
                run.c.check_logs();
            }
            if run.c.wire.len() > 400 {
                run.c.wire.drain(..200);
            }
        }
        run.heal();
        run.c.check_logs();
    }
}
