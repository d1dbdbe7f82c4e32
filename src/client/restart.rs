//! Whether and when a task that ended starts again.
//!
//! Starts are counted in a window of `interval` that opens with the first of them. Chance (the
//! jitter) is an argument.

use crate::api::RestartPolicy;
use crate::api::status::{JOB_SERVICE, JOB_SYSTEM};
use crate::stdx::duration;
use crate::stdx::json::records;

pub const WITHIN: &str = "Restart within policy";
pub const DELAYED: &str = "Exceeded allowed attempts, applying a delay";
pub const NONE_ALLOWED: &str = "Policy allows no restarts";
pub const MACHINE_LOST: &str = "The machine was restarted";
pub const UNRECOVERABLE: &str = "Error was unrecoverable";

records! {
/// What a task has used up of its policy. Kept across restarts of the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracker {
    /// Ends within the window.
    count: u64,
    /// Monotonic nanoseconds at which the window opened; zero before the first end.
    opened_ns: u64,
}
}

/// How the last run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process ended by itself.
    Exit { success: bool },
    /// It could not be started.
    StartError { recoverable: bool },
    /// It went with the machine, which is running again: no fault of its own.
    MachineLost,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start again after the delay; `shown` where users read the reason before the delay.
    Restart { delay_ns: u64, reason: &'static str, shown: bool },
    /// Dead, and well.
    Finish,
    /// Dead, and failed for this reason.
    Fail(String),
}

/// Whether a task starts again after it ended well. `hook` and `sidecar` are those of its
/// lifecycle, empty for a main task.
pub fn restarts_on_success(job_kind: &str, hook: &str, sidecar: bool) -> bool {
    match hook {
        "" => job_kind == JOB_SERVICE || job_kind == JOB_SYSTEM,
        "prestart" | "poststart" => sidecar,
        _ => false,
    }
}

impl Tracker {
    /// Judges one end. `jitter` is uniform over its range.
    pub fn decide(
        &mut self,
        policy: &RestartPolicy,
        on_success: bool,
        end: End,
        now_ns: u64,
        jitter: u64,
    ) -> Decision {
        let attempts = u64::try_from(policy.attempts.unwrap_or(0)).unwrap_or(0);
        let interval = u64::try_from(policy.interval.unwrap_or(0)).unwrap_or(0);
        let delay = u64::try_from(policy.delay.unwrap_or(0)).unwrap_or(0);
        if end == End::MachineLost {
            return Decision::Restart { delay_ns: 0, reason: MACHINE_LOST, shown: false };
        }
        let success = end == End::Exit { success: true };
        if success && !on_success {
            return Decision::Finish;
        }
        if attempts == 0 {
            return if success {
                Decision::Finish
            } else {
                Decision::Fail(NONE_ALLOWED.to_owned())
            };
        }
        // A window from before a restart of the machine lies in the future of the new clock.
        let open =
            self.opened_ns != 0 && self.opened_ns <= now_ns && now_ns - self.opened_ns <= interval;
        if !open {
            self.opened_ns = now_ns.max(1);
            self.count = 0;
        }
        self.count += 1;
        if end == (End::StartError { recoverable: false }) {
            return Decision::Fail(UNRECOVERABLE.to_owned());
        }
        if self.count <= attempts {
            let delay_ns = delay + jitter % (delay / 4 + 1);
            return Decision::Restart { delay_ns, reason: WITHIN, shown: false };
        }
        if policy.mode.as_deref() == Some("delay") {
            let delay_ns = (self.opened_ns + interval).saturating_sub(now_ns);
            return Decision::Restart { delay_ns, reason: DELAYED, shown: true };
        }
        Decision::Fail(format!(
            "Exceeded allowed attempts {attempts} in interval {} and mode is \"fail\"",
            duration::Go(policy.interval.unwrap_or(0))
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn policy(attempts: i64, mode: &str) -> RestartPolicy {
        RestartPolicy {
            attempts: Some(attempts),
            delay: Some(15 * 1_000_000_000),
            interval: Some(1800 * 1_000_000_000),
            mode: Some(mode.to_owned()),
            render_templates: None,
        }
    }

    fn bad() -> End {
        End::Exit { success: false }
    }

    #[test]
    fn fails_after_the_allowed_attempts() {
        let p = policy(2, "fail");
        let mut t = Tracker::default();
        for at in [10, 20] {
            let d = t.decide(&p, true, bad(), at * S, 0);
            assert_eq!(
                d,
                Decision::Restart { delay_ns: 15 * S, reason: WITHIN, shown: false },
                "{at}"
            );
        }
        let text = "Exceeded allowed attempts 2 in interval 30m0s and mode is \"fail\"";
        assert_eq!(t.decide(&p, true, bad(), 30 * S, 0), Decision::Fail(text.to_owned()));
    }

    #[test]
    fn a_new_window_forgets() {
        let p = policy(1, "fail");
        let mut t = Tracker::default();
        assert!(matches!(t.decide(&p, true, bad(), S, 0), Decision::Restart { .. }));
        assert!(matches!(t.decide(&p, true, bad(), 1802 * S, 0), Decision::Restart { .. }));
        assert!(matches!(t.decide(&p, true, bad(), 1803 * S, 0), Decision::Fail(_)));
        // The clock starts anew with the machine.
        assert!(matches!(t.decide(&p, true, bad(), S, 0), Decision::Restart { .. }));
    }

    #[test]
    fn delay_mode_waits_for_the_end_of_the_window() {
        let p = policy(1, "delay");
        let mut t = Tracker::default();
        assert!(matches!(t.decide(&p, true, bad(), 100 * S, 0), Decision::Restart { .. }));
        assert_eq!(
            t.decide(&p, true, bad(), 160 * S, 0),
            Decision::Restart { delay_ns: 1740 * S, reason: DELAYED, shown: true }
        );
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let p = policy(1000, "fail");
        let mut t = Tracker::default();
        for jitter in [0, 1, 3_750_000_000, 3_750_000_001, u64::MAX] {
            let Decision::Restart { delay_ns, .. } = t.decide(&p, true, bad(), S, jitter) else {
                panic!("within policy");
            };
            assert!((15 * S..=15 * S + 15 * S / 4).contains(&delay_ns), "{delay_ns}");
        }
    }

    #[test]
    fn ends_without_restart() {
        let ok = End::Exit { success: true };
        let unrecoverable = End::StartError { recoverable: false };
        for (attempts, on_success, end, want) in [
            (3, false, ok, Decision::Finish),
            (0, true, ok, Decision::Finish),
            (0, true, bad(), Decision::Fail(NONE_ALLOWED.to_owned())),
            (0, false, unrecoverable, Decision::Fail(NONE_ALLOWED.to_owned())),
            (3, false, unrecoverable, Decision::Fail(UNRECOVERABLE.to_owned())),
        ] {
            let mut t = Tracker::default();
            assert_eq!(t.decide(&policy(attempts, "fail"), on_success, end, S, 0), want);
        }
        let mut t = Tracker::default();
        assert!(matches!(t.decide(&policy(1, "fail"), true, ok, S, 0), Decision::Restart { .. }));
        // What goes with the machine counts for nothing.
        let cut = t.decide(&policy(0, "fail"), false, End::MachineLost, S, 7);
        let now = Decision::Restart { delay_ns: 0, reason: MACHINE_LOST, shown: false };
        assert_eq!((cut, t.count), (now, 1));
    }

    #[test]
    fn who_restarts_after_success() {
        for (kind, hook, sidecar, want) in [
            ("service", "", false, true),
            ("system", "", false, true),
            ("batch", "", false, false),
            ("sysbatch", "", false, false),
            ("service", "prestart", false, false),
            ("batch", "prestart", true, true),
            ("batch", "poststart", true, true),
            ("service", "poststop", false, false),
        ] {
            assert_eq!(restarts_on_success(kind, hook, sidecar), want, "{kind} {hook}");
        }
    }
}
