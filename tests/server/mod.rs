//! Duties of a server over a real store.

mod cluster;
mod deploy;
mod drain;
mod gc;
mod keyring;
mod periodic;
mod waiting;

use vardo::stdx::Entropy;

/// Chance that can be foretold.
pub(crate) struct Counter(pub(crate) u64);

impl Entropy for Counter {
    fn fill(&mut self, to: &mut [u8]) {
        for byte in to {
            self.0 += 1;
            *byte = self.0.to_le_bytes()[0];
        }
    }
}
