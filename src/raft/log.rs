//! The log as the core sees it: what the store holds durably, and a tail that is on its way there.

use std::collections::VecDeque;

use super::{Bounds, Entry, Index, LogRead, Term};

/// Entries that no commit covers yet stand in memory; the rest is read through [`LogRead`].
/// Invariant: the tail's indexes run from `durable + 1` without a gap, its terms never decrease.
#[derive(Debug)]
pub(super) struct Tail {
    durable: Index,
    durable_term: Term,
    entries: VecDeque<Entry>,
}

impl Tail {
    pub(super) fn new(last: Index, last_term: Term) -> Self {
        Self { durable: last, durable_term: last_term, entries: VecDeque::new() }
    }

    pub(super) fn last(&self) -> Index {
        self.entries.back().map_or(self.durable, |e| e.index)
    }

    pub(super) fn last_term(&self) -> Term {
        self.entries.back().map_or(self.durable_term, |e| e.term)
    }

    /// Last entry that is on disk and was not replaced since.
    pub(super) fn durable(&self) -> Index {
        self.durable
    }

    /// First entry that can still be read. A store that was not yet cut as far as it was told
    /// answers for what stands before the cut only.
    fn first(&self, log: &dyn LogRead) -> Index {
        let Bounds { first, .. } = log.bounds();
        first.min(self.durable + 1)
    }

    /// `None` where the entry was trimmed away or does not exist yet.
    pub(super) fn term(&self, log: &dyn LogRead, index: Index) -> Option<Term> {
        if index == 0 {
            return Some(0);
        }
        if index == self.durable {
            return Some(self.durable_term);
        }
        if index > self.durable {
            return self.get(index).map(|e| e.term);
        }
        if index + 1 < self.first(log) { None } else { log.term(index) }
    }

    fn get(&self, index: Index) -> Option<&Entry> {
        let at = index.checked_sub(self.durable)?.checked_sub(1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// Entries from `from` on, about `max_bytes` of them, at least one where there is one. `None`
    /// where the first was trimmed away.
    pub(super) fn entries(
        &self,
        log: &dyn LogRead,
        from: Index,
        max_bytes: usize,
    ) -> Option<Vec<Entry>> {
        if from < self.first(log) {
            return None;
        }
        let mut out = Vec::new();
        if from <= self.durable {
            log.entries(from, self.durable + 1, max_bytes, &mut out);
            assert!(out.first().is_some_and(|e| e.index == from), "the store lost an entry");
        }
        let mut next = out.last().map_or(from, |e| e.index + 1);
        let mut bytes: usize = out.iter().map(Entry::size).sum();
        while next > self.durable
            && let Some(e) = self.get(next)
        {
            bytes = bytes.saturating_add(e.size());
            if bytes > max_bytes && !out.is_empty() {
                break;
            }
            out.push(e.clone());
            next += 1;
        }
        Some(out)
    }

    pub(super) fn append(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last() + 1, "a gap in the log");
        assert!(entry.term >= self.last_term(), "terms of the log decrease");
        self.entries.push_back(entry);
    }

    /// Drops entries from `from` on. `term` is that of the entry before.
    pub(super) fn truncate(&mut self, from: Index, term: Term) {
        assert!(from > 0);
        if from <= self.durable {
            self.durable = from - 1;
            self.durable_term = term;
            self.entries.clear();
        } else {
            while self.entries.back().is_some_and(|e| e.index >= from) {
                self.entries.pop_back();
            }
        }
    }

    /// The write that ended with entry (`index`, `term`) is on disk. It counts only where that
    /// entry was not replaced in the meantime.
    pub(super) fn stable(&mut self, index: Index, term: Term) {
        if self.get(index).is_none_or(|e| e.term != term) {
            return;
        }
        while self.entries.front().is_some_and(|e| e.index <= index) {
            self.entries.pop_front();
        }
        self.durable = index;
        self.durable_term = term;
    }
}
