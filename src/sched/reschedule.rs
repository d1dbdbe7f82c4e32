//! When and whether a failed allocation is placed anew.

use crate::api::{
    Allocation, Job, RescheduleEvent, ReschedulePolicy, RescheduleTracker, TaskGroup, status,
};

use super::fit;

/// Events of a tracker that are kept under an unlimited policy, besides the new one.
const EVENTS_KEPT: usize = 5;
/// A reschedule that is due within this many nanoseconds happens now.
const NOW_WINDOW_NS: i64 = 1_000_000_000;
/// `LastReschedule` of trackers.
pub(super) const PLACED: &str = "ok";
pub(super) const NOT_PLACED: &str = "no placement";

/// What should become of an allocation that does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts as one of the group's, as it is.
    Keep,
    /// It counts as nothing.
    Drop,
    Now,
    /// At this time (ns); it counts until then.
    Later(i64),
}

/// The evaluation that asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) now: i64,
    pub(super) eval_id: &'a str,
    pub(super) batch: bool,
    /// Deployment that is active now; its own allocations wait for the deployment watcher.
    pub(super) deployment: Option<&'a str>,
    /// The allocation's node went away: it counts as failed now.
    pub(super) disconnecting: bool,
}

/// The reschedule filter of the contract (scheduler §6).
pub(super) fn verdict(a: &Allocation, policy: &ReschedulePolicy, asking: Asking<'_>) -> Verdict {
    if !a.next_allocation.is_empty() && fit::terminal(a) {
        return Verdict::Drop;
    }
    let not_placed = a.reschedule_tracker.as_ref().is_some_and(|t| t.last_reschedule == NOT_PLACED);
    let stopped = fit::server_terminal(a);
    let failed = a.client_status == status::CLIENT_FAILED;
    if asking.batch {
        if stopped && !not_placed {
            // What was moved away did not end by itself, however its tasks took the signal.
            let moved = a.desired_transition.migrate == Some(true);
            let done = a.desired_status == status::DESIRED_STOP && !moved && ran_successfully(a);
            return if done { Verdict::Keep } else { Verdict::Drop };
        }
        if !failed && !stopped && !asking.disconnecting {
            return Verdict::Keep;
        }
    } else {
        if stopped && !not_placed {
            return Verdict::Drop;
        }
        let over =
            matches!(a.client_status.as_str(), status::CLIENT_COMPLETE | status::CLIENT_LOST);
        if over && !stopped {
            return Verdict::Drop;
        }
    }
    due(a, policy, asking)
}

fn due(a: &Allocation, policy: &ReschedulePolicy, asking: Asking<'_>) -> Verdict {
    let of_deployment = asking.deployment.is_some_and(|d| d == a.deployment_id);
    if of_deployment && a.desired_transition.reschedule != Some(true) {
        return Verdict::Keep;
    }
    if a.desired_transition.force_reschedule == Some(true) {
        return Verdict::Now;
    }
    let failed = a.client_status == status::CLIENT_FAILED || asking.disconnecting;
    let stopped = fit::server_terminal(a);
    if !failed || !eligible(a, policy, asking.now) {
        return if stopped { Verdict::Drop } else { Verdict::Keep };
    }
    let failed_at = if asking.disconnecting { asking.now } else { fail_time(a) };
    let at = failed_at.saturating_add(next_delay(a, policy, failed_at));
    if a.followup_eval_id == asking.eval_id || at - asking.now <= NOW_WINDOW_NS {
        Verdict::Now
    } else if a.followup_eval_id.is_empty() {
        Verdict::Later(at)
    } else {
        Verdict::Keep
    }
}

/// Whether the policy of an allocation's group lets it be placed anew.
pub(super) fn may_try_again(a: &Allocation, job: &Job, now: i64) -> bool {
    let group = job.task_groups.iter().find(|g| g.name == a.task_group);
    group.is_some_and(|g| eligible(a, &policy(job, g), now))
}

/// Whether the policy has tries left.
fn eligible(a: &Allocation, policy: &ReschedulePolicy, now: i64) -> bool {
    if policy.unlimited == Some(true) {
        return true;
    }
    let attempts = policy.attempts.unwrap_or(0);
    if attempts <= 0 {
        return false;
    }
    let failed_at = if fit::client_terminal(a) { fail_time(a) } else { now };
    let window = policy.interval.unwrap_or(0);
    let recent = events(a).iter().filter(|e| failed_at - e.reschedule_time < window).count();
    i64::try_from(recent).unwrap_or(i64::MAX) < attempts
}

fn events(a: &Allocation) -> &[RescheduleEvent] {
    a.reschedule_tracker.as_ref().map_or(&[], |t| &t.events.0)
}

/// When the last of its tasks ended, else when the allocation last changed.
pub(super) fn fail_time(a: &Allocation) -> i64 {
    let last = a.task_states.values().map(|s| s.finished_at.0).max().unwrap_or(0);
    if last > 0 { last } else { a.modify_time }
}

/// Nanoseconds to wait after a failure at `failed_at`.
pub(super) fn next_delay(a: &Allocation, policy: &ReschedulePolicy, failed_at: i64) -> i64 {
    let base = policy.delay.unwrap_or(0);
    let max = policy.max_delay.unwrap_or(0);
    let events = events(a);
    let Some(last) = events.last() else { return base };
    let before = events.len().checked_sub(2).and_then(|i| events.get(i));
    let delay = match policy.delay_function.as_deref() {
        Some("exponential") => last.delay.saturating_mul(2),
        Some("fibonacci") => match before {
            // After the cap was left behind the sequence begins anew.
            Some(before) if before.delay == max && last.delay == base => base,
            Some(before) => last.delay.saturating_add(before.delay),
            None => base,
        },
        _ => return base,
    };
    if max <= 0 || delay <= max {
        return delay;
    }
    // It ran for longer than the cap: trust it again.
    if failed_at - last.reschedule_time > max { base } else { max }
}

/// The tracker of an allocation that replaces `previous` at `now`.
pub(super) fn tracker(
    previous: &Allocation,
    policy: &ReschedulePolicy,
    now: i64,
) -> RescheduleTracker {
    let mut kept: Vec<RescheduleEvent> = events(previous).to_vec();
    if policy.attempts.unwrap_or(0) > 0 {
        let window = policy.interval.unwrap_or(0);
        kept.retain(|e| now - e.reschedule_time <= window);
    } else if kept.len() > EVENTS_KEPT {
        kept.drain(..kept.len() - EVENTS_KEPT);
    }
    kept.push(RescheduleEvent {
        delay: next_delay(previous, policy, fail_time(previous)),
        prev_alloc_id: previous.id.clone(),
        prev_node_id: previous.node_id.clone(),
        reschedule_time: now,
    });
    RescheduleTracker { events: kept.into(), last_reschedule: PLACED.to_owned() }
}

/// Nodes that a replacement of `previous` had better avoid.
pub(super) fn penalty_nodes(previous: &Allocation) -> impl Iterator<Item = &str> {
    let own = (previous.client_status == status::CLIENT_FAILED).then_some(&previous.node_id);
    let earlier = events(previous).iter().map(|e| &e.prev_node_id);
    own.into_iter().chain(earlier).map(String::as_str)
}

/// The policy of a group; jobs that were never canonicalised get their type's default.
pub(super) fn policy(job: &Job, group: &TaskGroup) -> ReschedulePolicy {
    let given = group.reschedule_policy.clone();
    given.unwrap_or_else(|| match job.kind.as_str() {
        status::JOB_SERVICE => ReschedulePolicy {
            delay: Some(30_000_000_000),
            delay_function: Some("exponential".to_owned()),
            max_delay: Some(3_600_000_000_000),
            unlimited: Some(true),
            ..ReschedulePolicy::default()
        },
        status::JOB_BATCH => ReschedulePolicy {
            attempts: Some(1),
            delay: Some(5_000_000_000),
            delay_function: Some("constant".to_owned()),
            interval: Some(86_400_000_000_000),
            ..ReschedulePolicy::default()
        },
        _ => ReschedulePolicy::default(),
    })
}

/// All tasks ended well.
pub(super) fn ran_successfully(a: &Allocation) -> bool {
    let done = |s: &crate::api::TaskState| s.state == status::TASK_DEAD && !s.failed;
    !a.task_states.is_empty() && a.task_states.values().all(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn alloc(delays: &[i64], last_at: i64) -> Allocation {
        let events: Vec<_> = delays
            .iter()
            .map(|d| RescheduleEvent {
                delay: d * S,
                reschedule_time: last_at,
                ..RescheduleEvent::default()
            })
            .collect();
        Allocation {
            reschedule_tracker: Some(RescheduleTracker {
                events: events.into(),
                ..RescheduleTracker::default()
            }),
            ..Allocation::default()
        }
    }

    fn check(function: &str, max: i64, delays: &[i64], ran: i64, want: i64) {
        let policy = ReschedulePolicy {
            delay: Some(30 * S),
            max_delay: Some(max * S),
            delay_function: Some(function.to_owned()),
            unlimited: Some(true),
            ..ReschedulePolicy::default()
        };
        let got = next_delay(&alloc(delays, 0), &policy, ran * S);
        assert_eq!(got / S, want, "{function} {delays:?} after {ran} s");
    }

    #[test]
    fn delays_grow_by_their_function() {
        for function in ["constant", "exponential", "fibonacci"] {
            check(function, 3600, &[], 0, 30);
        }
        check("constant", 0, &[30, 30, 30], 0, 30);
        check("exponential", 3600, &[30], 0, 60);
        check("exponential", 3600, &[30, 60, 120], 0, 240);
        check("exponential", 100, &[30, 60], 0, 100);
        check("exponential", 100, &[30, 60, 100], 50, 100);
        check("exponential", 100, &[30, 60, 100], 101, 30);
        check("fibonacci", 3600, &[30], 0, 30);
        check("fibonacci", 3600, &[30, 30], 0, 60);
        check("fibonacci", 3600, &[30, 30, 60, 90], 0, 150);
        check("fibonacci", 100, &[30, 60, 90], 0, 100);
        check("fibonacci", 100, &[90, 100, 30], 0, 30);
    }
}
