//! Linearizable reads: note the commit index, confirm the leadership by a round of heartbeats that
//! began after the read came, wait until the noted entry is applied.

use std::collections::VecDeque;

use super::{Effects, Index, ReadToken};

/// Reads of one term of leadership.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Last round begun; heartbeats carry it.
    pub(super) round: u64,
    /// Came before the first commit of the term.
    pub(super) early: Vec<ReadToken>,
    /// Need the answers to their round: (round, index, token).
    unconfirmed: VecDeque<(u64, Index, ReadToken)>,
    /// Need their index applied.
    confirmed: VecDeque<(Index, ReadToken)>,
}

impl Reads {
    /// True where heartbeats of a new round must be sent. Reads whose heartbeats have not left yet
    /// share them.
    pub(super) fn ask(&mut self, token: ReadToken, commit: Index, out: &mut Effects) -> bool {
        let begin = out.round == 0 || out.round != self.round;
        if begin {
            self.round += 1;
            out.round = self.round;
        }
        self.unconfirmed.push_back((self.round, commit, token));
        begin
    }

    /// A read that needs no round, of a cluster with one voter.
    pub(super) fn ask_alone(&mut self, token: ReadToken, commit: Index) {
        self.confirmed.push_back((commit, token));
    }

    /// A majority answered round `round`; entries up to `applied` are applied.
    pub(super) fn release(&mut self, round: u64, applied: Index, out: &mut Effects) {
        while let Some((r, index, token)) = self.unconfirmed.front().copied()
            && r <= round
        {
            self.unconfirmed.pop_front();
            self.confirmed.push_back((index, token));
        }
        while let Some((index, token)) = self.confirmed.front().copied()
            && index <= applied
        {
            self.confirmed.pop_front();
            out.reads.push((token, index));
        }
    }

    /// All that can no longer be served.
    pub(super) fn abandon(self, out: &mut Effects) {
        out.reads_lost.extend(self.early);
        out.reads_lost.extend(self.unconfirmed.into_iter().map(|(_, _, t)| t));
        out.reads_lost.extend(self.confirmed.into_iter().map(|(_, t)| t));
    }
}
