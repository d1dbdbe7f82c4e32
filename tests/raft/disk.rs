//! A disk for the core: a vector that takes what `Persist` says and answers as `LogRead`.

use vardo::raft::{Bounds, Entry, HardState, Index, LogRead, Persist, Start, Term};

/// Durable state of one server. `base` is the entry before the first one kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) base: (Index, Term),
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard: HardState,
    pub(crate) members: Vec<u8>,
    pub(crate) applied: Index,
}

impl Disk {
    pub(crate) fn last(&self) -> Index {
        self.entries.last().map_or(self.base.0, |e| e.index)
    }

    pub(crate) fn write(&mut self, p: &Persist) {
        if let Some(h) = p.hard_state {
            self.hard = h;
        }
        if let Some(from) = p.truncate_from {
            assert!(from > self.applied, "an applied entry was cut");
            self.entries.retain(|e| e.index < from);
        }
        for e in &p.entries {
            assert_eq!(e.index, self.last() + 1);
            self.entries.push(e.clone());
        }
        if let Some(m) = &p.members {
            self.members.clone_from(m);
        }
    }

    pub(crate) fn start(&self) -> Start<'_> {
        Start {
            hard_state: self.hard,
            bounds: self.bounds(),
            last_term: self.entries.last().map_or(self.base.1, |e| e.term),
            applied: self.applied,
            members: &self.members,
        }
    }

    /// Forgets entries up to `index`.
    pub(crate) fn trim(&mut self, index: Index) {
        if let Some(term) = self.term(index) {
            self.base = (index, term);
            self.entries.retain(|e| e.index > index);
        }
    }

    pub(crate) fn get(&self, index: Index) -> Option<&Entry> {
        let at = index.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(at).ok()?)
    }
}

impl LogRead for Disk {
    fn bounds(&self) -> Bounds {
        Bounds { first: self.base.0 + 1, last: self.last() }
    }

    fn term(&self, index: Index) -> Option<Term> {
        if index == self.base.0 { Some(self.base.1) } else { self.get(index).map(|e| e.term) }
    }

    fn entries(&self, from: Index, to: Index, max_bytes: usize, out: &mut Vec<Entry>) {
        let mut bytes = 0;
        for index in from..to {
            let Some(e) = self.get(index) else { return };
            bytes += e.size();
            if bytes > max_bytes && index > from {
                return;
            }
            out.push(e.clone());
        }
    }
}
