//! What a node that fits is worth: the scorers and their mean (contract, scheduler §4).

use super::fit::{Capacity, Usage};
use super::tally::Scores;

/// Largest value of the fit before it is scaled to 1.
const FIT_MAX: f64 = 18.0;

/// How full nodes are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// Fuller is better.
    Binpack,
    /// Emptier is better.
    Spread,
}

/// Usage after the placement against capacity, in [0, 1].
pub(super) fn fit(algorithm: Algorithm, capacity: &Capacity, used: &Usage) -> f64 {
    let free = |used: i64, of: i64| if of > 0 { 1.0 - float(used) / float(of) } else { 1.0 };
    let power = |free| libm::pow(10.0, free);
    let total = power(free(used.cpu, capacity.cpu)) + power(free(used.memory, capacity.memory));
    let raw = match algorithm {
        Algorithm::Binpack => 20.0 - total,
        Algorithm::Spread => total - 2.0,
    };
    raw.clamp(0.0, FIT_MAX) / FIT_MAX
}

/// What a second allocation of the same group on one node costs: `collisions` are there already,
/// the group wants `count` in all.
pub(super) fn anti_affinity(collisions: u32, count: i64) -> Option<f64> {
    (collisions > 0).then(|| -(f64::from(collisions) + 1.0) / float(count.max(1)))
}

/// The scores of the other scorers, each `None` where the scorer has nothing to say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    pub(super) fit: f64,
    pub(super) devices: Option<f64>,
    pub(super) anti_affinity: Option<f64>,
    /// The node is one that an earlier try failed on.
    pub(super) penalty: bool,
    pub(super) affinity: Option<f64>,
    pub(super) spread: Option<f64>,
    /// Others must go for it.
    pub(super) preemption: Option<f64>,
}

impl Parts {
    /// The sum and the number of those that depend on the node alone.
    pub(super) fn of_node(&self) -> (f64, u8) {
        let own = [self.devices, self.anti_affinity, self.affinity];
        own.into_iter().flatten().fold((self.fit, 1), |(sum, n), score| (sum + score, n + 1))
    }
}

/// The mean of what counts. Neutral scorers show 0 and do not count.
pub(super) fn combine(p: &Parts) -> Scores {
    let counted = [
        Some(p.fit),
        p.devices,
        p.anti_affinity,
        p.penalty.then_some(-1.0),
        p.affinity,
        p.spread.filter(|s| *s != 0.0),
        p.preemption,
    ];
    let (mut sum, mut n) = (0.0, 0.0);
    for score in counted.into_iter().flatten() {
        sum += score;
        n += 1.0;
    }
    Scores {
        binpack: p.fit,
        devices: p.devices,
        anti_affinity: Some(p.anti_affinity.unwrap_or(0.0)),
        penalty: Some(if p.penalty { -1.0 } else { 0.0 }),
        affinity: Some(p.affinity.unwrap_or(0.0)),
        spread: p.spread.filter(|s| *s != 0.0),
        preemption: p.preemption,
        mean: sum / n,
    }
}

/// Only the fit: system jobs.
pub(super) fn only_fit(fit: f64) -> Scores {
    Scores { binpack: fit, mean: fit, ..Scores::default() }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of nodes are far below 2^53")]
fn float(n: i64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_score_comes_out() {
        let capacity = Capacity { cpu: 5192, memory: 24105, disk: 258_019, ..Capacity::default() };
        let used = Usage { cpu: 50, memory: 32, disk: 300, allocs: 1 };
        let score = fit(Algorithm::Binpack, &capacity, &used);
        assert!((score - 0.013_879_102_755_099_54).abs() < 1e-15, "{score}");
    }

    #[test]
    fn full_and_empty_nodes_bound_the_score() {
        let capacity = Capacity { cpu: 100, memory: 100, ..Capacity::default() };
        let full = Usage { cpu: 100, memory: 100, ..Usage::default() };
        for (algorithm, full_score) in [(Algorithm::Binpack, 1.0), (Algorithm::Spread, 0.0)] {
            assert_eq!(fit(algorithm, &capacity, &full), full_score);
            assert_eq!(fit(algorithm, &capacity, &Usage::default()), 1.0 - full_score);
        }
    }

    #[test]
    fn neutral_scorers_do_not_count() {
        let mut parts = Parts { fit: 0.5, ..Parts::default() };
        assert_eq!(combine(&parts).mean, 0.5);
        parts.affinity = Some(0.0);
        assert_eq!(combine(&parts).mean, 0.25);
        parts.penalty = true;
        assert!((combine(&parts).mean + 1.0 / 6.0).abs() < 1e-12);
        assert_eq!(anti_affinity(1, 4), Some(-0.5));
        assert_eq!(anti_affinity(0, 4), None);
    }
}
