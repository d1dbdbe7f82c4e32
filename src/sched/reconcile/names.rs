//! Names of allocations: `job.group[index]`, and which indexes are free.

use crate::api::Allocation;
use crate::stdx::{BTreeSet, sort};

/// The index in a name; `None` where the name has none.
pub(in crate::sched) fn index(name: &str) -> Option<u32> {
    name.strip_suffix(']')?.rsplit_once('[')?.1.parse().ok()
}

pub(in crate::sched) fn name(job: &str, group: &str, index: u32) -> String {
    format!("{job}.{group}[{index}]")
}

/// Indexes of a group that are in use.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    used: BTreeSet<u32>,
    /// Allocations that the group wants.
    count: u32,
}

impl Names {
    pub(super) fn of<'a>(count: u32, allocs: impl Iterator<Item = &'a Allocation>) -> Self {
        Self { used: sort::gather(allocs.filter_map(|a| index(&a.name))), count }
    }

    /// Takes the `n` lowest free indexes.
    pub(super) fn next(&mut self, n: usize) -> Vec<u32> {
        let mut out = Vec::with_capacity(n);
        let mut used = self.used.iter().copied().peekable();
        let mut at = 0;
        while out.len() < n {
            if used.next_if_eq(&at).is_none() {
                out.push(at);
            }
            at += 1;
        }
        self.used.extend(&out);
        out
    }

    /// Gives back the `n` highest indexes in use.
    pub(super) fn highest(&mut self, n: usize) -> BTreeSet<u32> {
        let out: BTreeSet<u32> = sort::gather(self.used.iter().rev().take(n).copied());
        self.used.retain(|i| !out.contains(i));
        out
    }

    /// Indexes for canaries: first those of allocations that will be destroyed and that no canary
    /// has, then free ones below the count, then ones from the count on.
    pub(super) fn canaries(
        &mut self,
        n: usize,
        canaries: &BTreeSet<u32>,
        destroyed: &BTreeSet<u32>,
    ) -> Vec<u32> {
        let doomed = destroyed.iter().copied().filter(|i| *i < self.count && !canaries.contains(i));
        let mut out: Vec<u32> = doomed.take(n).collect();
        let free = (0..self.count).filter(|i| !self.used.contains(i));
        let free: Vec<u32> = free.take(n - out.len()).collect();
        out.extend(free);
        let beyond = (self.count..).filter(|i| !self.used.contains(i));
        let beyond: Vec<u32> = beyond.take(n - out.len()).collect();
        out.extend(beyond);
        self.used.extend(&out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: u32, used: &[u32]) -> Names {
        Names { used: used.iter().copied().collect(), count }
    }

    #[test]
    fn free_indexes_are_the_lowest() {
        assert_eq!(names(5, &[0, 2]).next(3), [1, 3, 4]);
        assert_eq!(names(2, &[0, 1]).next(2), [2, 3]);
        assert_eq!(names(9, &[]).highest(2), BTreeSet::new());
        assert_eq!(names(9, &[1, 5, 7]).highest(2), [5, 7].into());
    }

    #[test]
    fn canaries_prefer_what_will_be_destroyed() {
        let doomed = [0, 1].into();
        assert_eq!(names(3, &[0, 1]).canaries(3, &BTreeSet::new(), &doomed), [0, 1, 2]);
        assert_eq!(names(2, &[0, 1]).canaries(2, &[0].into(), &doomed), [1, 2]);
    }

    #[test]
    fn indexes_read_back() {
        assert_eq!(index(&name("a.b", "c[1]", 7)), Some(7));
        assert_eq!(index("a.b"), None);
    }
}
