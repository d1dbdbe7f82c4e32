//! Whether an allocation counts as healthy for its deployment, or for the drain that it replaces
//! another in.

use crate::api::status::JOB_SERVICE;
use crate::api::{Allocation, Job, TaskGroup};

/// What the rollout asks of an allocation. Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) min_healthy: u64,
    pub(crate) deadline: u64,
    /// The checks of its services count too.
    pub(crate) checks: bool,
    /// Part of a deployment, whose users see a reason where it fails.
    pub(crate) deployment: bool,
}

/// `None` where nobody asks.
pub(crate) fn terms(alloc: &Allocation, job: &Job, group: &TaskGroup) -> Option<Terms> {
    let (min_healthy, deadline, check) = if alloc.deployment_id.is_empty() {
        let m = group.migrate.as_ref().filter(|_| job.kind == JOB_SERVICE)?;
        (m.min_healthy_time, m.healthy_deadline, m.health_check.as_deref())
    } else {
        let u = group.update.as_ref().unwrap_or(&job.update);
        (u.min_healthy_time, u.healthy_deadline, u.health_check.as_deref())
    };
    if check == Some("manual") {
        return None;
    }
    let ns = |value: Option<i64>, default: u64| {
        value.and_then(|n| u64::try_from(n).ok()).unwrap_or(default)
    };
    Some(Terms {
        min_healthy: ns(min_healthy, MIN_HEALTHY_NS),
        deadline: ns(deadline, DEADLINE_NS),
        checks: check != Some("task_states"),
        deployment: !alloc.deployment_id.is_empty(),
    })
}

/// Follows one allocation until the verdict. Times are monotonic nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    pub(crate) terms: Terms,
    begun: u64,
    /// All tasks have been as they should be from here on.
    since: Option<u64>,
}

impl Watch {
    pub(crate) fn new(terms: Terms, now: u64) -> Self {
        Self { terms, begun: now, since: None }
    }

    /// `good`: all tasks are as they should be; `failed`: one has failed for good. A verdict is
    /// final.
    pub(crate) fn judge(&mut self, good: bool, failed: bool, now: u64) -> Option<bool> {
        if failed {
            return Some(false);
        }
        self.since = if good { self.since.or(Some(now)) } else { None };
        if self.since.is_some_and(|since| now >= since.saturating_add(self.terms.min_healthy)) {
            return Some(true);
        }
        (now >= self.begun.saturating_add(self.terms.deadline)).then_some(false)
    }

    /// When to judge again if nothing happens.
    pub(crate) fn deadline(&self) -> u64 {
        let last = self.begun.saturating_add(self.terms.deadline);
        self.since.map_or(last, |since| last.min(since.saturating_add(self.terms.min_healthy)))
    }
}

/// Defaults of the update strategy.
const MIN_HEALTHY_NS: u64 = 10_000_000_000;
const DEADLINE_NS: u64 = 300_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch::new(Terms { min_healthy: 10, deadline: 100, checks: true, deployment: true }, 1000)
    }

    #[test]
    fn healthy_after_the_least_time() {
        let mut w = watch();
        assert_eq!(w.judge(false, false, 1000), None);
        assert_eq!(w.deadline(), 1100);
        assert_eq!(w.judge(true, false, 1020), None);
        assert_eq!(w.deadline(), 1030);
        assert_eq!(w.judge(true, false, 1029), None);
        assert_eq!(w.judge(true, false, 1030), Some(true));
    }

    #[test]
    fn a_restart_begins_anew_and_the_deadline_ends_it() {
        let mut w = watch();
        assert_eq!(w.judge(true, false, 1050), None);
        assert_eq!(w.judge(false, false, 1055), None);
        assert_eq!(w.judge(true, false, 1095), None);
        assert_eq!(w.deadline(), 1100);
        assert_eq!(w.judge(true, false, 1100), Some(false));
    }

    #[test]
    fn a_failed_task_is_the_verdict() {
        assert_eq!(watch().judge(true, true, 1000), Some(false));
    }
}
