//! What was seen while a node was looked for: the metrics of an allocation or of a failure.

use std::borrow::Cow;

use crate::api::{AllocMetric, NodeScoreMeta, Resources, TaskGroup};
use crate::stdx::BTreeMap;

use crate::stdx::json::Numbers;

use super::fleet::Fleet;

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

/// Why nodes were passed over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refusal {
    /// Feasible, but without room; else not feasible.
    pub(super) exhausted: bool,
    pub(super) reason: Cow<'static, str>,
    /// The number of the nodes' class.
    pub(super) kind: u32,
}

/// The refusals of an evaluation, numbered.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    all: Vec<Refusal>,
    numbers: BTreeMap<Refusal, u32>,
}

impl Refusals {
    pub(super) fn number(&mut self, refusal: Refusal) -> u32 {
        if let Some(n) = self.numbers.get(&refusal) {
            return *n;
        }
        let n = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        self.all.push(refusal.clone());
        self.numbers.insert(refusal, n);
        n
    }

    pub(super) fn get(&self, number: u32) -> &Refusal {
        &self.all[number as usize]
    }
}

/// Counts of one search.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) evaluated: i64,
    /// By number of the refusal.
    refused: Vec<i64>,
    any_filtered: bool,
    /// Best first; among equals the first seen first.
    top: Vec<(u32, Scores)>,
}

impl Tally {
    /// A node was passed over.
    pub(super) fn refuse(&mut self, refusal: u32, exhausted: bool) {
        let at = refusal as usize;
        if self.refused.len() <= at {
            self.refused.resize(at + 1, 0);
        }
        self.refused[at] += 1;
        self.any_filtered |= !exhausted;
    }

    /// The least that a score must exceed to be kept.
    pub(super) fn bar(&self) -> f64 {
        if self.top.len() < SCORES_KEPT {
            return f64::NEG_INFINITY;
        }
        self.top.last().map_or(f64::NEG_INFINITY, |(_, s)| s.mean)
    }

    pub(super) fn score(&mut self, node: u32, scores: Scores) {
        let at = self.top.partition_point(|(_, s)| s.mean >= scores.mean);
        if at < SCORES_KEPT {
            self.top.truncate(SCORES_KEPT - 1);
            self.top.insert(at, (node, scores));
        }
    }

    pub(super) fn any_filtered(&self) -> bool {
        self.any_filtered
    }

    /// Adds the counts of another search.
    pub(super) fn merge(&mut self, other: &Self) {
        self.evaluated += other.evaluated;
        self.any_filtered |= other.any_filtered;
        self.refused.resize(self.refused.len().max(other.refused.len()), 0);
        for (to, from) in self.refused.iter_mut().zip(&other.refused) {
            *to += from;
        }
    }

    /// The form of the API. `base` holds what is the same for all searches of the evaluation.
    pub(super) fn metric(
        &self,
        base: &AllocMetric,
        refusals: &Refusals,
        fleet: &Fleet,
    ) -> AllocMetric {
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
            Numbers(all.into_iter().filter_map(|(name, s)| Some((name.into(), s?))).collect())
        };
        let mut out = AllocMetric {
            nodes_evaluated: self.evaluated,
            score_meta_data: self
                .top
                .iter()
                .map(|(node, s)| NodeScoreMeta {
                    node_id: fleet.node(*node).id.clone(),
                    norm_score: s.mean,
                    scores: scores(s),
                })
                .collect(),
            ..base.clone()
        };
        for (number, n) in (0..).zip(&self.refused).filter(|(_, n)| **n > 0) {
            let refusal = refusals.get(number);
            let (total, reasons, classes) = match refusal.exhausted {
                true => (
                    &mut out.nodes_exhausted,
                    &mut out.dimension_exhausted,
                    &mut out.class_exhausted,
                ),
                false => {
                    (&mut out.nodes_filtered, &mut out.constraint_filtered, &mut out.class_filtered)
                }
            };
            *total += n;
            *reasons.entry(refusal.reason.to_string()).or_insert(0) += n;
            if refusal.kind > 0 {
                let class = fleet.kind_name(refusal.kind).to_owned();
                *classes.entry(class).or_insert(0) += n;
            }
        }
        out
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
