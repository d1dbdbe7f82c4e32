//! The scheduler's only source of chance: a stream of numbers from the evaluation's seed.

/// SplitMix64: eight bytes of state, every seed is a good seed. Not for secrets; ids come from
/// [`crate::stdx::Entropy`].
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..n` (by multiplication; the bias is below 2^-32 for the small `n` used here).
    pub(super) fn below(&mut self, n: u32) -> u32 {
        let wide = u64::from(u32::try_from(self.next() >> 32).unwrap_or(0)) * u64::from(n);
        u32::try_from(wide >> 32).unwrap_or(0)
    }

    /// Fisher-Yates.
    pub(super) fn shuffle(&mut self, items: &mut [u32]) {
        for i in (1..items.len()).rev() {
            let n = u32::try_from(i + 1).unwrap_or(u32::MAX);
            items.swap(i, self.below(n) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_keep_all_and_follow_the_seed() {
        let run = |seed| {
            let mut v: Vec<u32> = (0..50).collect();
            Rng::new(seed).shuffle(&mut v);
            v
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let mut sorted = run(3);
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..50));
    }
}
