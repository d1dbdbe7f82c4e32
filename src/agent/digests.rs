//! Whether this server's state is what it should be: the rows on its disk against the sum that is
//! kept of them, and that sum against those of the other servers.
//!
//! All rows are read through after the start, and again every so often, a piece at a time. After
//! every so many entries of the log each server tells the others the sum of its state there. One
//! that a majority contradicts ends, as does one whose rows changed on the disk: it must not answer
//! or be asked to vote any more.

use std::collections::VecDeque;

use super::core::Core;
use crate::limits::{
    DIGEST_TELL_NS, DIGESTS_KEPT, SCRUB_PAUSE_NS, SCRUB_PIECE_BYTES, SCRUB_PIECE_NS,
};
use crate::link::words;
use crate::raft::PeerId;
use crate::stdx::{BTreeMap, Now};
use crate::store::{Scrub, Store, StoreError, Touched};

#[derive(Default)]
pub(super) struct Digests {
    /// Entries and the sums after them, the oldest first.
    own: VecDeque<(u64, u64)>,
    /// What others told of entries that are not applied here yet.
    told: BTreeMap<PeerId, (u64, u64)>,
    /// Whether each of them was of another opinion the last time.
    differs: BTreeMap<PeerId, bool>,
    /// It was told that no majority says which state is right.
    split: bool,
    /// The last one that the others were told is so old, mono ns.
    told_at: u64,
    scrub: Option<Scrub>,
    /// Mono ns at which the rows are read on.
    due: u64,
}

impl Digests {
    pub(super) fn deadline(&self) -> u64 {
        self.due
    }

    /// What another server has after an entry.
    fn hear(&mut self, from: PeerId, entry: u64, sum: u64) {
        match self.own.iter().find(|(at, _)| *at == entry) {
            Some((_, own)) => drop(self.differs.insert(from, *own != sum)),
            None if self.own.back().is_none_or(|(last, _)| *last < entry) => {
                self.told.insert(from, (entry, sum));
            }
            None => {}
        }
    }

    fn add(&mut self, entry: u64, sum: u64) {
        self.own.push_back((entry, sum));
        if self.own.len() > DIGESTS_KEPT {
            self.own.pop_front();
        }
        for (from, (at, told)) in &self.told {
            if *at == entry {
                self.differs.insert(*from, *told != sum);
            }
        }
        self.told.retain(|_, (at, _)| *at > entry);
    }

    /// How many voters there are, and how many of them contradict this server. One that has left
    /// says nothing any more: its place may be taken by one that is right.
    fn opinions(&self, voters: impl Iterator<Item = PeerId>) -> (usize, usize) {
        voters.fold((0, 0), |(all, against), id| {
            (all + 1, against + usize::from(self.differs.get(&id) == Some(&true)))
        })
    }
}

impl Core {
    /// A server tells what its state comes to after an entry.
    pub(super) fn hear_digest(&mut self, from: PeerId, words: &mut words::Words<'_>) {
        if let (Some(entry), Some(sum)) = (words.u64(), words.u64())
            && self.consensus.raft().members().is_some_and(|(_, m)| m.is_voter(from))
        {
            self.digests.hear(from, entry, sum);
        }
    }

    /// A commit is durable.
    pub(super) fn digests_moved(&mut self, now: Now, touched: &Touched) {
        let digests = &mut self.digests;
        if touched.replaced {
            digests.own.clear();
            digests.told.clear();
            digests.differs.clear();
        }
        for (entry, sum) in &touched.marks {
            digests.add(*entry, *sum);
        }
        if let Some((entry, sum)) = touched.marks.last()
            && digests.told_at.saturating_add(DIGEST_TELL_NS) <= now.mono_ns
        {
            digests.told_at = now.mono_ns;
            let note = words::join(&[b"digest", &entry.to_le_bytes(), &sum.to_le_bytes()]);
            self.mesh.tell(&note, true);
        }
    }

    /// Reads the rows on, and looks at what the others said.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the state is not what it should be; those of the store.
    pub(super) fn tend_digests(&mut self, now: Now, store: &mut Store) -> Result<(), StoreError> {
        let members = self.consensus.raft().members().map(|(_, m)| m.voters());
        let (voters, against) = self.digests.opinions(members.into_iter().flatten());
        if voters > 0 && against > voters / 2 {
            let text = "the other servers agree on a state that this one does not have";
            return Err(StoreError::Damaged(text.to_owned()));
        }
        let split = against > 0 && 2 * against == voters;
        if split && !self.digests.split {
            log::error!(
                "the servers have different states and no majority says which is right: stop one, \
                 remove it from the cluster, move its data directory away and have it join anew"
            );
        }
        self.digests.split = split;
        if self.digests.due > now.mono_ns || !self.info.server {
            return Ok(());
        }
        let mut scrub = match self.digests.scrub.take() {
            Some(scrub) => scrub,
            None => store.begin_scrub()?,
        };
        let pause = match store.scrub(&mut scrub, SCRUB_PIECE_BYTES)? {
            Some(false) => {
                self.digests.scrub = Some(scrub);
                SCRUB_PIECE_NS
            }
            Some(true) => SCRUB_PAUSE_NS,
            None => SCRUB_PIECE_NS,
        };
        self.digests.due = now.mono_ns.saturating_add(pause);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_compared_at_the_same_entry() {
        let mut d = Digests::default();
        let (a, b) = (PeerId(1), PeerId(2));
        d.add(64, 5);
        d.hear(a, 64, 5);
        d.hear(b, 64, 6);
        assert_eq!((d.differs[&a], d.differs[&b]), (false, true));
        // Of the future; and of a past that nobody remembers.
        d.hear(a, 128, 7);
        d.hear(b, 1, 9);
        assert!(!d.differs[&a]);
        d.add(128, 8);
        assert!(d.differs[&a] && d.told.is_empty());
        d.hear(a, 128, 8);
        assert!(!d.differs[&a]);
        // B, which was wrong, was replaced by another one.
        d.hear(b, 128, 9);
        assert_eq!(d.opinions([a, b, PeerId(3)].into_iter()), (3, 1));
        assert_eq!(d.opinions([a, PeerId(3), PeerId(4)].into_iter()), (3, 0));
        for n in 3..1000 {
            d.add(64 * n, n);
        }
        assert_eq!(d.own.len(), DIGESTS_KEPT);
    }
}
