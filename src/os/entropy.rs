//! Chance from the system's generator.

use crate::stdx::Entropy;

/// Ids of rows that begin alike, one after the other. A block of the ids that begin with the same
/// two bytes is then a page or a few of the store, and a commit touches these instead of as many
/// pages as it has rows. The blocks are gone through in turn, so that ids stay evenly spread.
const IDS_PER_BLOCK: u64 = 16;

/// The system's generator (getrandom(2)).
#[derive(Clone, Copy, Debug)]
pub struct System {
    /// Counts the ids of rows, from a random start.
    ids: u64,
}

impl System {
    /// # Panics
    /// As [`Entropy::fill`] does.
    pub fn new() -> Self {
        let mut new = Self { ids: 0 };
        new.ids = new.u64();
        new
    }
}

impl Entropy for System {
    /// # Panics
    /// If the system has no generator. Ids and secrets cannot be made without one, so there is
    /// nothing to go on with.
    fn fill(&mut self, out: &mut [u8]) {
        assert!(getrandom::fill(out).is_ok(), "the system's random generator failed");
    }

    fn id_front(&mut self) -> Option<[u8; 2]> {
        self.ids = self.ids.wrapping_add(1);
        let [.., first, second] = (self.ids / IDS_PER_BLOCK).to_be_bytes();
        Some([first, second])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::uuid;

    #[test]
    fn ids_of_rows_lie_close_together_and_all_over() {
        let mut system = System::new();
        let mut ids = |n: usize| -> Vec<u16> {
            let front = |id: String| u16::from_str_radix(&id[..4], 16).unwrap();
            (0..n).map(|_| front(uuid::of_row(&mut system))).collect()
        };
        let mut few = ids(160);
        few.dedup();
        assert!(few.len() <= 11, "{few:x?}");
        assert!(few.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "{few:x?}");
        let mut counts = vec![0u32; 1 << 16];
        for front in ids(2 << 20) {
            counts[usize::from(front)] += 1;
        }
        assert!(counts.iter().all(|n| (31..=33).contains(n)));
    }
}
