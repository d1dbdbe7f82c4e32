//! The durable image of one simulated server: what a commit of LMDB leaves, whole or not at all.

use std::collections::VecDeque;
use std::rc::Rc;

use vardo::raft::{Bounds, Entry, EntryKind, HardState, Index, LogRead, Start, Term};

use super::beside::Turn;
use super::kv::{Command, Kv, Register};
use super::rng::fold;

/// A copy of the state for a server that is behind.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) members: Vec<u8>,
    pub(crate) chain: u64,
    pub(crate) kv: Rc<Kv>,
    /// As a store reads it out, where one stands beside the model.
    pub(crate) image: Vec<u8>,
}

/// One entry and the hash of it and all before it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) entry: Entry,
    pub(crate) chain: u64,
}

/// `base` is the entry before the first one kept: index, term, hash of everything up to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) base: (Index, Term, u64),
    pub(crate) rows: VecDeque<Row>,
    pub(crate) hard: HardState,
    pub(crate) members: Vec<u8>,
    pub(crate) applied: Index,
    pub(crate) kv: Kv,
}

/// What became of an entry in this server's hands: index, whether the write took place, what stands
/// there now.
pub(crate) type Outcome = (Index, bool, Register);

impl Disk {
    pub(crate) fn last(&self) -> Index {
        self.base.0 + self.rows.len() as Index
    }

    fn last_chain(&self) -> u64 {
        self.rows.back().map_or(self.base.2, |r| r.chain)
    }

    pub(crate) fn row(&self, index: Index) -> Option<&Row> {
        let at = index.checked_sub(self.base.0)?.checked_sub(1)?;
        self.rows.get(usize::try_from(at).ok()?)
    }

    /// Hash of the log up to `index`.
    pub(crate) fn chain(&self, index: Index) -> Option<u64> {
        if index == self.base.0 { Some(self.base.2) } else { self.row(index).map(|r| r.chain) }
    }

    /// One transaction with what a turn asks for.
    pub(crate) fn commit(&mut self, turn: &Turn<'_>) -> Vec<Outcome> {
        let Turn { effects: out, install, trim, hold } = turn;
        let remembers = out.persist.is_some() || install.is_some();
        assert!(!*hold || !remembers, "what the log does not bring again is only held");
        if let Some(state) = install {
            self.base = (state.index, state.term, state.chain);
            self.rows.clear();
            self.applied = state.index;
            self.kv.clone_from(&state.kv);
        }
        if let Some(p) = &out.persist {
            if let Some(h) = p.hard_state {
                self.hard = h;
            }
            if let Some(from) = p.truncate_from {
                while self.last() >= from && self.rows.pop_back().is_some() {}
            }
            for e in &p.entries {
                assert_eq!(e.index, self.last() + 1, "a gap in the log that is written");
                let row = Row { entry: e.clone(), chain: link(self.last_chain(), e) };
                self.rows.push_back(row);
            }
            if let Some(m) = &p.members {
                self.members.clone_from(m);
            }
        }
        let mut outcomes = Vec::new();
        for index in out.apply.clone() {
            assert_eq!(index, self.applied + 1, "entries are applied in order");
            let entry = self.row(index).map(|r| &r.entry).expect("what is applied is stored");
            match Command::decode(&entry.payload).filter(|_| entry.kind == EntryKind::Command) {
                Some(command) => {
                    let (done, now) = self.kv.apply(index, command);
                    outcomes.push((index, done, now));
                }
                None => self.kv.skip(index),
            }
            self.applied = index;
        }
        if let Some(upto) = *trim {
            while self.base.0 < upto
                && let Some(row) = self.rows.pop_front()
            {
                self.base = (row.entry.index, row.entry.term, row.chain);
            }
        }
        outcomes
    }

    pub(crate) fn start(&self) -> Start<'_> {
        Start {
            hard_state: self.hard,
            bounds: self.bounds(),
            last_term: self.rows.back().map_or(self.base.1, |r| r.entry.term),
            applied: self.applied,
            members: &self.members,
        }
    }
}

/// Hash of an entry after everything before it.
pub(crate) fn link(before: u64, e: &Entry) -> u64 {
    let hash = fold(fold(before, e.term), e.kind as u64);
    e.payload.chunks(8).fold(hash, |hash, chunk| {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        fold(hash, u64::from_le_bytes(bytes))
    })
}

impl LogRead for Disk {
    fn bounds(&self) -> Bounds {
        Bounds { first: self.base.0 + 1, last: self.last() }
    }

    fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.0 { Some(self.base.1) } else { self.row(index).map(|r| r.entry.term) }
    }

    fn entries(&self, from: Index, to: Index, max_bytes: usize, out: &mut Vec<Entry>) {
        let mut bytes = 0;
        for index in from..to {
            let Some(row) = self.row(index) else { return };
            bytes += row.entry.size();
            if bytes > max_bytes && index > from {
                return;
            }
            out.push(row.entry.clone());
        }
    }
}
