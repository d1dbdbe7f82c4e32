//! Times of elections that follow how long the turns of the loop take.
//!
//! A server answers nobody while it commits. On a card that syncs in half a second, times meant for
//! a disk would have the servers vote all day.

use super::Config;

/// Longest time of an election, in multiples of the usual one.
const SLOWEST: u64 = 16;

/// What is remembered of the slowest turns.
#[derive(Debug)]
pub struct Pace {
    heartbeat_ns: u64,
    /// Where nothing is slow, ns.
    usual_ns: u64,
    /// As it was last told, ns.
    election_ns: u64,
    /// The longest turn, fading: a half of it after some two hundred shorter ones.
    slow_ns: u64,
}

impl Pace {
    pub fn new(config: &Config) -> Self {
        let usual_ns = config.election_ns;
        Self { heartbeat_ns: config.heartbeat_ns, usual_ns, election_ns: usual_ns, slow_ns: 0 }
    }

    /// A turn took `ns`. New times for [`super::Raft::set_times`] where the difference is worth it:
    /// an election waits for four such turns on top of what is usual, since a leader and a follower
    /// may each be in two of them when a heartbeat is due.
    pub fn took(&mut self, ns: u64) -> Option<(u64, u64)> {
        self.slow_ns = ns.max(self.slow_ns - self.slow_ns / 256);
        let wanted = self.usual_ns.saturating_add(self.slow_ns.saturating_mul(4));
        let wanted = wanted.min(self.usual_ns.saturating_mul(SLOWEST));
        if wanted.abs_diff(self.election_ns) <= self.election_ns / 4 {
            return None;
        }
        self.election_ns = wanted;
        Some((self.heartbeat_ns, wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn elections_wait_for_a_slow_disk_and_no_longer() {
        let mut pace = Pace::new(&Config::default());
        assert!((0..1000).all(|_| pace.took(5 * MS).is_none()));
        // Half a second for each commit.
        assert_eq!(pace.took(500 * MS), Some((100 * MS, 3000 * MS)));
        assert_eq!(pace.took(500 * MS), None);
        // A stall does not push an election out for ever.
        assert_eq!(pace.took(3_600_000 * MS), Some((100 * MS, 16_000 * MS)));
        let mut now = 16_000 * MS;
        for _ in 0..10_000 {
            if let Some((_, election)) = pace.took(5 * MS) {
                assert!(election < now);
                now = election;
            }
        }
        assert!(now <= 1300 * MS, "{now}");
    }
}
