//! How the allocations of a job lie over the values of an attribute: for spreads and
//! `distinct_property`.

use std::rc::Rc;

use crate::api::{Node, Spread};
use crate::stdx::{BTreeMap, sort};

use super::target::Target;

/// Live allocations per value of one attribute.
#[derive(Clone, Debug)]
pub(super) struct Census {
    target: Target,
    counts: BTreeMap<String, i64>,
    /// Least and most of `counts`; `None` where they have changed since.
    range: Option<(i64, i64)>,
}

impl Census {
    pub(super) fn of(attribute: &str) -> Self {
        Self { target: Target::parse(attribute), counts: BTreeMap::new(), range: None }
    }

    /// Records that an allocation came to (`1`) or left (`-1`) a node.
    pub(super) fn add(&mut self, node: &Node, by: i64) {
        let Some(value) = self.target.on(node) else { return };
        self.range = None;
        match self.counts.get_mut(value) {
            Some(n) => {
                *n += by;
                if *n <= 0 {
                    self.counts.remove(value);
                }
            }
            None if by > 0 => {
                self.counts.insert(value.to_owned(), by);
            }
            None => {}
        }
    }

    /// The least and the most allocations of a value that is in use.
    fn range(&mut self) -> Option<(i64, i64)> {
        if self.range.is_none() {
            let (least, most) = (self.counts.values().min()?, self.counts.values().max()?);
            self.range = Some((*least, *most));
        }
        self.range
    }

    /// The node's value and how many allocations have it; `None` where the node has no value.
    pub(super) fn on<'a>(&'a self, node: &'a Node) -> Option<(&'a str, i64)> {
        let value = self.target.on(node)?;
        Some((value, self.counts.get(value).copied().unwrap_or(0)))
    }
}

/// A `distinct_property` constraint with its state.
#[derive(Clone, Debug)]
pub(super) struct Distinct {
    pub(super) census: Census,
    attribute: String,
    most: i64,
}

impl Distinct {
    pub(super) fn of(attribute: &str, most: &str) -> Self {
        let most = if most.is_empty() { 1 } else { most.parse().unwrap_or(0) };
        Self { census: Census::of(attribute), attribute: attribute.to_owned(), most }
    }

    /// The reason why the node cannot take one more.
    pub(super) fn refuses(&self, node: &Node) -> Option<String> {
        match self.census.on(node) {
            None => Some(format!("missing property \"{}\"", self.attribute)),
            Some((value, used)) if used >= self.most => {
                Some(format!("distinct_property: {}={value} used by {used} allocs", self.attribute))
            }
            Some(_) => None,
        }
    }
}

/// The spreads of a group (its own and the job's) with their state.
#[derive(Clone, Debug, Default)]
pub(super) struct Spreads {
    all: Vec<One>,
    weights: f64,
    /// Least boost seen so far: what values get that should have no allocation.
    lowest: f64,
    /// Numbers of the combinations of values that nodes have, and a node that has each.
    combinations: BTreeMap<Vec<Option<String>>, u32>,
    samples: Vec<Rc<Node>>,
    /// By combination: what one more allocation there is worth; not a number where that is not
    /// known.
    boosts: Vec<f64>,
}

#[derive(Clone, Debug)]
struct One {
    census: Census,
    weight: f64,
    /// Desired allocations per value; empty: even spread.
    desired: BTreeMap<String, f64>,
    /// For values that are not listed; `None` where the percentages leave nothing.
    rest: Option<f64>,
}

impl Spreads {
    /// `count` is the group's.
    pub(super) fn of<'a>(all: impl IntoIterator<Item = &'a Spread>, count: f64) -> Self {
        let mut out = Self { lowest: -1.0, ..Self::default() };
        for s in all {
            let weight = f64::from(s.weight.unwrap_or(50));
            out.weights += weight;
            let share = |percent: f64| percent / 100.0 * count;
            let listed =
                |t: &crate::api::SpreadTarget| (t.value.clone(), share(f64::from(t.percent)));
            let sum: f64 = s.spread_target.iter().map(|t| f64::from(t.percent)).sum();
            out.all.push(One {
                census: Census::of(&s.attribute),
                weight,
                desired: sort::gather(s.spread_target.iter().map(listed)),
                rest: (sum < 100.0).then(|| share(100.0 - sum)),
            });
        }
        out
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether nodes of equal values score equally, in whatever order they are asked.
    pub(super) fn by_value(&self) -> bool {
        self.all.iter().all(|s| s.rest != Some(0.0) && s.desired.values().all(|d| *d != 0.0))
    }

    pub(super) fn add(&mut self, node: &Node, by: i64) {
        for s in &mut self.all {
            s.census.add(node, by);
        }
        self.boosts.fill(f64::NAN);
    }

    /// The number of the combination of values that a node has.
    pub(super) fn combination(&mut self, node: &Rc<Node>) -> u32 {
        if self.all.is_empty() {
            return 0;
        }
        let values = self.all.iter().map(|s| s.census.target.on(node).map(str::to_owned));
        let next = u32::try_from(self.boosts.len()).unwrap_or(u32::MAX);
        let at = *self.combinations.entry(values.collect()).or_insert(next);
        if at == next {
            self.samples.push(node.clone());
            self.boosts.push(f64::NAN);
        }
        at
    }

    /// [`score`](Self::score) of the nodes that have a combination of values.
    pub(super) fn score_of(&mut self, combination: u32) -> f64 {
        let known = self.boosts[combination as usize];
        if !known.is_nan() {
            return known;
        }
        let node = self.samples[combination as usize].clone();
        let score = self.score(&node);
        self.boosts[combination as usize] = score;
        score
    }

    /// What is known of [`score_of`](Self::score_of), by combination; not a number where nothing
    /// is. Empty without spreads.
    pub(super) fn boosts(&self) -> &[f64] {
        &self.boosts
    }

    /// Sum over all spreads of what one more allocation on `node` is worth.
    pub(super) fn score(&mut self, node: &Node) -> f64 {
        let mut total = 0.0;
        for s in &mut self.all {
            let range = s.census.range();
            let Some((value, used)) = s.census.on(node) else {
                total -= 1.0;
                continue;
            };
            if s.desired.is_empty() {
                total += even(range, used);
                continue;
            }
            let desired = s.desired.get(value).or_else(|| s.desired.get("*")).copied().or(s.rest);
            let Some(desired) = desired else {
                total -= 1.0;
                continue;
            };
            if desired == 0.0 {
                total += self.lowest;
                continue;
            }
            let boost = (desired - float(used + 1)) / desired * (s.weight / self.weights);
            self.lowest = self.lowest.min(boost);
            total += boost;
        }
        total
    }
}

/// An even spread: `current` allocations have the value, between `range` the values in use.
fn even(range: Option<(i64, i64)>, current: i64) -> f64 {
    let Some((min, max)) = range else { return 0.0 };
    // A value in use counts for itself; one that nothing has yet is the least.
    let min = if current == 0 { 0 } else { min };
    let (least, most) = (float(min), float(max));
    if current != min {
        if min == 0 { -1.0 } else { (least - float(current)) / least }
    } else if min == max {
        -1.0
    } else if min == 0 {
        1.0
    } else {
        (most - least) / least
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of allocations are far below 2^53")]
fn float(n: i64) -> f64 {
    n as f64
}
