//! Who takes evaluations out of the queue, and of which jobs.
//!
//! All workers are slots on the loop's one thread: more of them make nothing faster. Their number
//! bounds how many plans wait for their commit at a time, and none of them takes no evaluation.

use crate::api::status;

/// Types of jobs, in the order in which they are told.
pub const KINDS: [&str; 4] =
    [status::JOB_BATCH, status::JOB_SYSTEM, status::JOB_SYSBATCH, status::JOB_SERVICE];

/// Most workers that a configuration may ask for.
pub const WORKERS_MAX: usize = 1_024;

/// Evaluations that one worker has under way at a time.
const RUNS_MAX: usize = 1_024;

/// The workers of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// 0 to [`WORKERS_MAX`].
    pub count: usize,
    /// A bit for each of [`KINDS`] that is not taken.
    pub(super) left: u8,
}

impl Default for Workers {
    fn default() -> Self {
        Self { count: 1, left: 0 }
    }
}

impl Workers {
    /// So many for jobs of these types. `None` where a name is unknown; `_core`, whose work needs
    /// no queue here, is known.
    pub fn new<'n>(count: usize, mut kinds: impl Iterator<Item = &'n str>) -> Option<Self> {
        let all = (1 << KINDS.len()) - 1;
        let left =
            kinds.try_fold(all, |left, name| match KINDS.iter().position(|k| *k == name) {
                Some(at) => Some(left & !(1 << at)),
                None => (name == status::JOB_CORE).then_some(left),
            })?;
        Some(Self { count, left })
    }

    /// The types of jobs that are taken, and `_core`.
    pub fn kinds(self) -> Vec<&'static str> {
        let taken = (0..KINDS.len()).filter(|at| self.left >> at & 1 == 0);
        taken.map(|at| KINDS[at]).chain([status::JOB_CORE]).collect()
    }

    /// So many of a leader's, the first ones, take nothing. Source: the API.
    pub fn paused(self) -> usize {
        self.count * 3 / 4
    }

    /// How many evaluations of a leader may be under way at a time.
    pub(super) fn runs_max(self) -> usize {
        (self.count - self.paused()) * RUNS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_types_of_jobs() {
        let all = ["batch", "system", "sysbatch", "service", "_core"];
        assert_eq!(Workers::default().kinds(), all);
        let two = Workers::new(2, ["_core", "service", "batch"].into_iter()).unwrap();
        assert_eq!(two.kinds(), ["batch", "service", "_core"]);
        assert_eq!(Workers::new(2, std::iter::empty()).unwrap().kinds(), ["_core"]);
        assert_eq!(Workers::new(2, ["web"].into_iter()), None);
    }

    #[test]
    fn a_leader_pauses_three_quarters() {
        let paused = [0, 1, 2, 3, 4, 5, 8, 1_024].map(|n| Workers { count: n, left: 0 }.paused());
        assert_eq!(paused, [0, 0, 1, 2, 3, 3, 6, 768]);
    }
}
