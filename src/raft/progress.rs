//! What a leader knows of each follower.

use std::collections::VecDeque;

use super::{Config, Entry, Index};

/// How entries are sent to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Where the logs part is not known: one message at a time. `asked`: it is on its way.
    Probe { asked: bool },
    /// Messages follow each other without waiting, as far as the window goes.
    Replicate,
    /// Nothing, until the snapshot has arrived.
    Snapshot,
}

/// Invariant: `matched < next`.
#[derive(Debug)]
pub(super) struct Progress {
    /// The follower's log equals the leader's up to here, durably.
    pub(super) matched: Index,
    pub(super) next: Index,
    pub(super) state: State,
    /// Messages with entries that are not answered: their last entry and their bytes.
    inflight: VecDeque<(Index, usize)>,
    inflight_bytes: usize,
    /// Commit index that was sent to it, as far as its log went then.
    pub(super) told: Index,
    /// Heard from since the last check of the quorum.
    pub(super) active: bool,
    /// Last round of confirmation that was answered.
    pub(super) round: u64,
    /// No longer a member; told so once that is committed, then forgotten.
    pub(super) leaving: bool,
}

impl Progress {
    pub(super) fn new(next: Index) -> Self {
        Self {
            matched: 0,
            next,
            state: State::Probe { asked: false },
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            told: 0,
            active: true,
            round: 0,
            leaving: false,
        }
    }

    pub(super) fn window_full(&self, config: &Config) -> bool {
        self.inflight.len() >= config.window || self.inflight_bytes >= config.window_bytes
    }

    pub(super) fn may_send(&self, config: &Config) -> bool {
        match self.state {
            State::Probe { asked } => !asked,
            State::Replicate => !self.window_full(config),
            State::Snapshot => false,
        }
    }

    /// Records that `entries`, which begin at `next`, leave now.
    pub(super) fn sent(&mut self, entries: &[Entry]) {
        match self.state {
            State::Probe { .. } => self.state = State::Probe { asked: true },
            State::Replicate => {
                if let Some(last) = entries.last() {
                    let bytes = entries.iter().map(Entry::size).sum();
                    self.inflight.push_back((last.index, bytes));
                    self.inflight_bytes += bytes;
                    self.next = last.index + 1;
                }
            }
            State::Snapshot => unreachable!("nothing is sent beside a snapshot"),
        }
    }

    pub(super) fn probe(&mut self, next: Index, asked: bool) {
        self.next = next.max(self.matched + 1);
        self.state = State::Probe { asked };
        self.inflight.clear();
        self.inflight_bytes = 0;
    }

    /// The follower acknowledged everything up to `index`; true where that is news.
    pub(super) fn acknowledge(&mut self, index: Index, first: Index) -> bool {
        let news = index > self.matched;
        self.matched = self.matched.max(index);
        self.next = self.next.max(self.matched + 1);
        match self.state {
            State::Probe { .. } if index == self.matched => {
                self.next = self.matched + 1;
                self.state = State::Replicate;
            }
            State::Snapshot if news && self.matched + 1 >= first => {
                self.next = self.matched + 1;
                self.state = State::Replicate;
            }
            State::Probe { .. } | State::Snapshot => {}
            State::Replicate => {
                while let Some((last, bytes)) = self.inflight.front().copied()
                    && last <= index
                {
                    self.inflight.pop_front();
                    self.inflight_bytes -= bytes;
                }
            }
        }
        news
    }

    /// Whether a rejection of `prev` answers something that still stands.
    pub(super) fn rejection_counts(&self, prev: Index) -> bool {
        match self.state {
            State::Probe { .. } => prev + 1 == self.next,
            State::Replicate => prev > self.matched,
            State::Snapshot => false,
        }
    }
}
