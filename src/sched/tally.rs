//! What was seen while a node was looked for: the metrics of an allocation or of a failure.

use std::collections::BTreeMap;

use crate::api::{AllocMetric, Node, NodeScoreMeta, Resources, TaskGroup};

/// Nodes that the metrics keep the scores of.
const SCORES_KEPT: usize = 5;

/// The parts of one node's score. `None`: the scorer did not run for this group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scores {
    pub(super) binpack: f64,
    pub(super) devices: Option<f64>,
    pub(super) anti_affinity: Option<f64>,
    pub(super) penalty: Option<f64>,
    pub(super) affinity: Option<f64>,
    pub(super) spread: Option<f64>,
    pub(super) preemption: Option<f64>,
    /// Arithmetic mean of those that counted.
    pub(super) mean: f64,
}

/// Counts of one search.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) evaluated: i64,
    filtered: i64,
    exhausted: i64,
    class_filtered: BTreeMap<String, i64>,
    class_exhausted: BTreeMap<String, i64>,
    reasons: BTreeMap<String, i64>,
    dimensions: BTreeMap<String, i64>,
    /// Best first; among equals the first seen first.
    top: Vec<(u32, Scores)>,
}

impl Tally {
    /// A node was not feasible.
    pub(super) fn filter(&mut self, node: &Node, reason: &str) {
        self.filtered += 1;
        if !node.node_class.is_empty() {
            count(&mut self.class_filtered, &node.node_class);
        }
        count(&mut self.reasons, reason);
    }

    /// A node was feasible but had no room.
    pub(super) fn exhaust(&mut self, node: &Node, dimension: &str) {
        self.exhausted += 1;
        if !node.node_class.is_empty() {
            count(&mut self.class_exhausted, &node.node_class);
        }
        count(&mut self.dimensions, dimension);
    }

    pub(super) fn score(&mut self, node: u32, scores: Scores) {
        let at = self.top.partition_point(|(_, s)| s.mean >= scores.mean);
        if at < SCORES_KEPT {
            self.top.truncate(SCORES_KEPT - 1);
            self.top.insert(at, (node, scores));
        }
    }

    pub(super) fn any_filtered(&self) -> bool {
        self.filtered > 0
    }

    /// Adds the counts of another search.
    pub(super) fn merge(&mut self, other: Self) {
        self.evaluated += other.evaluated;
        self.filtered += other.filtered;
        self.exhausted += other.exhausted;
        for (to, from) in [
            (&mut self.class_filtered, other.class_filtered),
            (&mut self.class_exhausted, other.class_exhausted),
            (&mut self.reasons, other.reasons),
            (&mut self.dimensions, other.dimensions),
        ] {
            for (key, n) in from {
                *to.entry(key).or_insert(0) += n;
            }
        }
    }

    /// The form of the API. `base` holds what is the same for all searches of the evaluation.
    pub(super) fn metric(&self, base: &AllocMetric, id: impl Fn(u32) -> String) -> AllocMetric {
        let scores = |s: &Scores| {
            let all = [
                ("allocation-spread", s.spread),
                ("binpack", Some(s.binpack)),
                ("devices", s.devices),
                ("job-anti-affinity", s.anti_affinity),
                ("node-affinity", s.affinity),
                ("node-reschedule-penalty", s.penalty),
                ("preemption", s.preemption),
            ];
            all.into_iter().filter_map(|(name, s)| Some((name.to_owned(), s?))).collect()
        };
        AllocMetric {
            class_exhausted: self.class_exhausted.clone().into(),
            class_filtered: self.class_filtered.clone().into(),
            constraint_filtered: self.reasons.clone().into(),
            dimension_exhausted: self.dimensions.clone().into(),
            nodes_evaluated: self.evaluated,
            nodes_exhausted: self.exhausted,
            nodes_filtered: self.filtered,
            score_meta_data: self
                .top
                .iter()
                .map(|(node, s)| NodeScoreMeta {
                    node_id: id(*node),
                    norm_score: s.mean,
                    scores: scores(s),
                })
                .collect(),
            ..base.clone()
        }
    }
}

fn count(map: &mut BTreeMap<String, i64>, key: &str) {
    match map.get_mut(key) {
        Some(n) => *n += 1,
        None => {
            map.insert(key.to_owned(), 1);
        }
    }
}

/// Adds what one more allocation of the group would have needed to a failure's metrics, in the
/// dimensions that were short.
pub(super) fn add_exhausted(metric: &mut AllocMetric, group: &TaskGroup) {
    let short = |d: &str| metric.dimension_exhausted.get(d).is_some_and(|n| *n > 0);
    let (cpu, memory) = (short("cpu"), short("memory"));
    if metric.dimension_exhausted.is_empty() {
        return;
    }
    for task in &group.tasks {
        let asked = task.resources.clone().unwrap_or_default();
        let sum = metric.resources_exhausted.entry(task.name.clone()).or_insert_with(|| {
            Resources { cpu: Some(0), memory_mb: Some(0), ..Resources::default() }
        });
        if cpu {
            sum.cpu = Some(sum.cpu.unwrap_or(0) + asked.cpu.unwrap_or(0));
        }
        if memory {
            sum.memory_mb = Some(sum.memory_mb.unwrap_or(0) + asked.memory_mb.unwrap_or(0));
        }
    }
}
