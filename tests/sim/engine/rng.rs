//! Chance from a seed. One generator for each part of a run, so that a change in one part leaves
//! what the others draw as it was.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

/// The last step of SplitMix64: spreads the bits of a number over all of it.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Adds a number to a hash.
pub(crate) fn fold(hash: u64, n: u64) -> u64 {
    mix(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n))
}

impl Rng {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(fold(seed, stream))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub(crate) fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }

    pub(crate) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).max(1))
    }

    /// True so many times in ten thousand.
    pub(crate) fn chance(&mut self, in_10k: u64) -> bool {
        in_10k > 0 && self.below(10_000) < in_10k
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// Each power of two between the bounds as likely as any other.
    pub(crate) fn scale(&mut self, from: u64, to: u64) -> u64 {
        let (low, high) = (from.max(1).ilog2(), to.max(1).ilog2());
        let base = 1u64 << self.between(u64::from(low), u64::from(high) + 1);
        (base + self.below(base)).clamp(from, to)
    }

    /// About `median`, a few times less or more: like a log-normal draw, in whole numbers.
    pub(crate) fn around(&mut self, median: u64) -> u64 {
        let ones = (self.next() & 0xff).count_ones();
        let base = (median << ones) >> 4;
        base / 2 + self.below(base.max(1))
    }
}
