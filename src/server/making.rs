//! The RSA key that is being made: at leisure where nobody waits for it, else a step in each turn.

use super::rsa::{Pair, Search};
use crate::stdx::{Entropy, Now};

/// Pause between steps that nobody waits for. A key takes about five hundred steps, so that it
/// takes about a second, and a twentieth of a processor or less.
const PAUSE_NS: u64 = 2_000_000;

#[derive(Default)]
pub(super) struct Making {
    search: Option<Box<Search>>,
    /// Mono ns of the next step.
    due: u64,
    pressing: bool,
    made: Option<Pair>,
}

impl Making {
    /// A key is wanted, though not before `at`, mono ns.
    pub(super) fn want(&mut self, at: u64) {
        if self.search.is_none() && self.made.is_none() {
            self.search = Some(Box::default());
            self.due = at;
        }
    }

    /// Somebody waits for a key.
    pub(super) fn press(&mut self) {
        self.want(0);
        self.pressing = self.search.is_some();
    }

    pub(super) fn is_pressing(&self) -> bool {
        self.pressing
    }

    /// Mono ns of the next step.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.search.as_ref().map(|_| self.due)
    }

    /// Does one step where one is due.
    pub(super) fn step(&mut self, now: Now, entropy: &mut dyn Entropy) {
        let Some(search) =
            self.search.as_mut().filter(|_| self.pressing || self.due <= now.mono_ns)
        else {
            return;
        };
        self.due = now.mono_ns.saturating_add(PAUSE_NS);
        if let Some(pair) = search.step(entropy) {
            *self = Self { made: Some(pair), ..Self::default() };
        }
    }

    /// The key, once it is made. Nobody else gets it.
    pub(super) fn take(&mut self) -> Option<Pair> {
        self.made.take()
    }
}
