//! Time and chance as arguments.

/// Time of this turn of the loop, read once by the shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds that never go back and run on through suspend (CLOCK_BOOTTIME).
    pub mono_ns: u64,
    /// Nanoseconds since the epoch; may jump either way.
    pub wall_ns: i64,
}

/// The one seam through which chance enters: the system's generator, or a seed in the simulator.
pub trait Entropy {
    fn fill(&mut self, out: &mut [u8]);

    /// What the next id of a row begins with, where that is not left to chance.
    fn id_front(&mut self) -> Option<[u8; 2]> {
        None
    }

    /// Uniform in the whole range.
    fn u64(&mut self) -> u64 {
        let mut b = [0; 8];
        self.fill(&mut b);
        u64::from_le_bytes(b)
    }
}
