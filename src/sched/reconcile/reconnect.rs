//! A node came back with an allocation that was given up for unknown: which of the two stays, it
//! or its replacement.

use std::rc::Rc;

use crate::api::{Allocation, Job, TaskGroup, status};

use super::super::fit;
use super::Allocs;

/// What becomes of the allocations that came back.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Known again.
    pub(super) keep: Allocs,
    /// Given up for good, with whether a live replacement stands.
    pub(super) stop: Vec<(Rc<Allocation>, bool)>,
    /// Replacements that the originals make superfluous.
    pub(super) replaced: Allocs,
}

/// Decides for each of `back` against the live allocations `others` of the group.
pub(super) fn decide(
    job: &Job,
    group: &TaskGroup,
    back: Allocs,
    others: &[Rc<Allocation>],
) -> Verdict {
    let mut out = Verdict::default();
    let strategy = group.disconnect.as_ref().map_or("", |d| d.reconcile.as_str());
    for alloc in back {
        let rivals: Vec<&Rc<Allocation>> = others
            .iter()
            .filter(|o| o.id != alloc.id && o.name == alloc.name && !fit::terminal(o))
            .filter(|o| o.client_status != status::CLIENT_UNKNOWN)
            .collect();
        let outdated = alloc
            .job
            .as_ref()
            .is_none_or(|j| j.version != job.version || j.create_index != job.create_index);
        let unwanted = alloc.client_status == status::CLIENT_FAILED
            || outdated
            || alloc.desired_status != status::DESIRED_RUN;
        if unwanted || rivals.iter().any(|r| replacement_wins(strategy, &alloc, r)) {
            out.stop.push((alloc, !rivals.is_empty()));
        } else {
            out.replaced.extend(rivals.into_iter().cloned());
            out.keep.push(alloc);
        }
    }
    out
}

fn replacement_wins(strategy: &str, original: &Allocation, replacement: &Allocation) -> bool {
    let version = |a: &Allocation| a.job.as_ref().map_or(0, |j| j.version);
    if version(replacement) != version(original) {
        return version(replacement) > version(original);
    }
    let runs = |a: &Allocation| a.client_status == status::CLIENT_RUNNING;
    match strategy {
        "keep_original" => false,
        "keep_replacement" => true,
        "longest_running" => match (started(original), started(replacement)) {
            (Some(o), Some(r)) => r < o,
            (o, r) => o.is_none() && r.is_some(),
        },
        _ => {
            let higher = norm_score(replacement) > norm_score(original);
            higher && (runs(replacement) || !runs(original))
        }
    }
}

/// The score that its node had when it was placed.
fn norm_score(a: &Allocation) -> f64 {
    let scores = a.metrics.as_ref().map_or(&[][..], |m| &m.score_meta_data.0);
    scores.iter().find(|s| s.node_id == a.node_id).map_or(0.0, |s| s.norm_score)
}

/// Last start of the leader, or of the main task that started first.
fn started(a: &Allocation) -> Option<i64> {
    let group = a.job.as_ref()?.task_groups.iter().find(|g| g.name == a.task_group)?;
    let start = |name: &str| {
        let s = a.task_states.get(name)?;
        Some(s.last_restart.0.max(s.started_at.0)).filter(|t| *t > 0)
    };
    if let Some(leader) = group.tasks.iter().find(|t| t.leader) {
        return start(&leader.name);
    }
    let main = group.tasks.iter().filter(|t| t.lifecycle.is_none());
    main.filter_map(|t| start(&t.name)).min()
}
