//! Chance from the system's generator.

use crate::stdx::Entropy;

/// The system's generator (getrandom(2)).
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Entropy for System {
    /// # Panics
    /// If the system has no generator. Ids and secrets cannot be made without one, so there is
    /// nothing to go on with.
    fn fill(&mut self, out: &mut [u8]) {
        assert!(getrandom::fill(out).is_ok(), "the system's random generator failed");
    }
}
