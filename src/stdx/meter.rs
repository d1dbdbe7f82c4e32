//! Numbers of what happens: cheap to note, kept for good and for one interval after the other.
//!
//! Whoever notes says which interval it is, so nothing has to be done when one ends.

/// What was noted in one interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Span {
    pub count: u64,
    pub sum: f64,
    /// Sum of the squares.
    pub squares: f64,
    pub least: f64,
    pub most: f64,
}

impl Span {
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }

    /// Standard deviation of a sample; zero for fewer than two values.
    pub fn deviation(&self) -> f64 {
        let n = self.count as f64;
        if self.count < 2 {
            return 0.0;
        }
        ((n * self.squares - self.sum * self.sum).max(0.0) / (n * (n - 1.0))).sqrt()
    }

    /// Notes a value, so many times (at least once).
    pub fn note(&mut self, value: f64, times: u64) {
        self.add(&Self {
            count: times,
            sum: value * times as f64,
            squares: value * value * times as f64,
            least: value,
            most: value,
        });
    }

    /// Adds what was noted elsewhere.
    fn add(&mut self, other: &Self) {
        self.least = if self.count == 0 { other.least } else { self.least.min(other.least) };
        self.most = if self.count == 0 { other.most } else { self.most.max(other.most) };
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
    }
}

/// Values of one kind. Holds the present interval and the one before it.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Since the start.
    pub count: u64,
    pub sum: f64,
    spans: [(i64, Span); 2],
}

impl Series {
    /// Notes a value, so many times. `interval`: the number of the present one; never goes back,
    /// unless the clock does.
    pub fn note(&mut self, interval: i64, value: f64, times: u64) {
        let mut span = Span::default();
        if times > 0 {
            span.note(value, times);
        }
        self.add(interval, &span);
    }

    /// Notes what was noted elsewhere meanwhile.
    pub fn add(&mut self, interval: i64, span: &Span) {
        if span.count == 0 {
            return;
        }
        self.count += span.count;
        self.sum += span.sum;
        let [now, last] = &mut self.spans;
        if now.0 != interval {
            *last = std::mem::replace(now, (interval, Span::default()));
        }
        now.1.add(span);
    }

    /// What was noted in an interval: the present one, or the one before it.
    pub fn of(&self, interval: i64) -> Span {
        let span = self.spans.iter().find(|(n, _)| *n == interval);
        span.map(|(_, s)| *s).unwrap_or_default()
    }
}

/// Upper bounds of the buckets of a [`Meter`], in nanoseconds.
pub const BOUNDS_NS: [u64; 16] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// Durations, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    pub series: Series,
    /// How many were at most as long as each bound, and longer than the one before it; the last:
    /// longer than all.
    pub buckets: [u64; BOUNDS_NS.len() + 1],
}

impl Meter {
    /// As [`Series::note`].
    pub fn note(&mut self, interval: i64, ns: u64, times: u64) {
        self.series.note(interval, ns as f64, times);
        if let Some(bucket) = self.buckets.get_mut(BOUNDS_NS.partition_point(|b| *b < ns)) {
            *bucket += times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_follow_each_other() {
        let mut s = Series::default();
        s.note(7, 2.0, 1);
        s.note(7, 4.0, 3);
        let seven = Span { count: 4, sum: 14.0, squares: 52.0, least: 2.0, most: 4.0 };
        assert_eq!((s.of(7), s.of(6)), (seven, Span::default()));
        assert_eq!((seven.mean(), seven.deviation()), (3.5, 1.0));
        s.note(8, 0.0, 1);
        assert_eq!(s.of(7), seven);
        s.note(12, 1.0, 1);
        assert_eq!((s.of(7).count, s.of(8).count, s.of(11).count, s.of(12).count), (0, 1, 0, 1));
        assert_eq!((s.count, s.sum), (6, 15.0));
        assert_eq!(s.of(12).deviation(), 0.0);
        s.note(12, 9.0, 0);
        assert_eq!(s.count, 6);
    }

    #[test]
    fn durations_fall_into_the_first_bucket_that_holds_them() {
        let mut m = Meter::default();
        for (ns, bucket) in [(0, 0), (50_000, 0), (50_001, 1), (10_000_000_000, 15), (u64::MAX, 16)]
        {
            let before = m.buckets[bucket];
            m.note(1, ns, 2);
            assert_eq!(m.buckets[bucket], before + 2, "{ns}");
        }
    }
}
