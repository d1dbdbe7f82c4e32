//! Processes as `/proc` shows them: identity, descendants, use of resources, and the safe killing
//! of what is left of a task.

use std::io;
use std::os::fd::AsFd;

use crate::client::exec_proto::{Handle, ProcUsage, Usage};
use crate::stdx::{BTreeSet, sort};

use super::{clock, linux, sysfs};

/// Most processes of one task that are looked at in one sample or one round of killing.
const PROCS_MAX: usize = 4096;
/// Most processes listed one by one in a sample; the sums count all.
const PROCS_LISTED_MAX: usize = 256;

/// The fields of `/proc/<pid>/stat` that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// State letter: `R`, `S`, `D`, `T`, `Z`, `X` …
    pub state: u8,
    /// Parent process id.
    pub parent: u32,
    /// Session id.
    pub session: u32,
    /// User and kernel time in clock ticks.
    pub ticks: (u64, u64),
    /// The same of ended children that were waited for.
    pub child_ticks: (u64, u64),
    /// Start in clock ticks after boot.
    pub start_ticks: u64,
    /// Resident memory in pages.
    pub rss_pages: u64,
}

/// Reads `/proc/<pid>/stat`; `None` when there is no such process.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&sysfs::read(&format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name stands in parentheses and may hold any byte, so fields are counted from the
/// last `)`.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let after = bytes.iter().rposition(|b| *b == b')')? + 1;
    let rest = std::str::from_utf8(bytes.get(after..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // The first field after the name is number 3 of proc(5).
    let small = |at: usize| number(at).and_then(|n| u32::try_from(n).ok());
    Some(Stat {
        state: *fields.first()?.as_bytes().first()?,
        parent: small(1)?,
        session: small(3)?,
        ticks: (number(11)?, number(12)?),
        child_ticks: (number(13)?, number(14)?),
        start_ticks: number(19)?,
        rss_pages: number(21)?,
    })
}

/// Names this boot of the machine; empty when the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    sysfs::text("/proc/sys/kernel/random/boot_id")
}

/// All process ids now.
fn all_pids() -> Vec<u32> {
    sysfs::names("/proc").iter().filter_map(|name| name.parse().ok()).collect()
}

/// Children of a process that has one thread or of which every thread is asked. `None`: this
/// kernel does not keep the list.
fn children_of(pid: u32) -> Option<Vec<u32>> {
    let mut children = Vec::new();
    for thread in sysfs::names(&format!("/proc/{pid}/task")) {
        let text = sysfs::read(&format!("/proc/{pid}/task/{thread}/children")).ok()?;
        let text = String::from_utf8_lossy(&text);
        children.extend(text.split_ascii_whitespace().filter_map(|p| p.parse::<u32>().ok()));
    }
    Some(children)
}

/// All descendants of a process, without itself, parents before children.
#[must_use]
pub fn descendants(root: u32) -> Vec<u32> {
    let listed = std::fs::exists(format!("/proc/{root}/task/{root}/children")).unwrap_or(false);
    let mut found = Vec::new();
    if listed {
        let mut next = vec![root];
        while let Some(pid) = next.pop() {
            for child in children_of(pid).unwrap_or_default() {
                if found.len() < PROCS_MAX && !found.contains(&child) {
                    found.push(child);
                    next.push(child);
                }
            }
        }
        return found;
    }
    let parents: Vec<(u32, u32)> =
        all_pids().into_iter().filter_map(|pid| Some((pid, stat(pid)?.parent))).collect();
    let mut known = BTreeSet::from([root]);
    loop {
        let before = known.len();
        for (pid, parent) in &parents {
            if known.contains(parent) && known.insert(*pid) {
                found.push(*pid);
            }
        }
        if known.len() == before || known.len() > PROCS_MAX {
            return found;
        }
    }
}

/// What the descendants of `root` use. Their ended children count in the times, also those that
/// `root` itself has collected.
#[must_use]
pub fn usage(root: u32) -> Usage {
    let (page, per_second) = linux::page_and_ticks();
    let ns = |ticks: u64| ticks.saturating_mul(1_000_000_000 / per_second.max(1));
    let mut sum = Usage { at_ns: clock::wall_ns(), ..Usage::default() };
    if let Some(own) = stat(root) {
        sum.user_ns = ns(own.child_ticks.0);
        sum.system_ns = ns(own.child_ticks.1);
    }
    for pid in descendants(root) {
        let Some(stat) = stat(pid) else { continue };
        let one = ProcUsage {
            pid,
            user_ns: ns(stat.ticks.0),
            system_ns: ns(stat.ticks.1),
            rss_bytes: stat.rss_pages.saturating_mul(page),
            swap_bytes: swap_bytes(pid),
        };
        sum.user_ns =
            sum.user_ns.saturating_add(one.user_ns).saturating_add(ns(stat.child_ticks.0));
        sum.system_ns =
            sum.system_ns.saturating_add(one.system_ns).saturating_add(ns(stat.child_ticks.1));
        sum.rss_bytes = sum.rss_bytes.saturating_add(one.rss_bytes);
        sum.swap_bytes = sum.swap_bytes.saturating_add(one.swap_bytes);
        if sum.procs.len() < PROCS_LISTED_MAX {
            sum.procs.push(one);
        }
    }
    sort::by_key(&mut sum.procs, |p| p.pid);
    sum
}

/// What this process uses itself.
#[must_use]
pub fn own_usage() -> ProcUsage {
    let pid = std::process::id();
    let (page, per_second) = linux::page_and_ticks();
    let ns = |ticks: u64| ticks.saturating_mul(1_000_000_000 / per_second.max(1));
    let Some(stat) = stat(pid) else { return ProcUsage::default() };
    ProcUsage {
        pid,
        user_ns: ns(stat.ticks.0),
        system_ns: ns(stat.ticks.1),
        rss_bytes: stat.rss_pages.saturating_mul(page),
        swap_bytes: swap_bytes(pid),
    }
}

/// Files that this process holds open.
#[must_use]
pub fn open_files() -> usize {
    // One of them is the directory itself.
    sysfs::names("/proc/self/fd").len().saturating_sub(1)
}

/// Swapped memory of a process, in bytes.
fn swap_bytes(pid: u32) -> u64 {
    let text = sysfs::text(&format!("/proc/{pid}/status"));
    let line = text.lines().find_map(|l| l.strip_prefix("VmSwap:"));
    let kib = line.and_then(|l| l.split_ascii_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Sends a signal to a process, but only if it is the one that started at `start_ticks`.
///
/// # Errors
/// `NotFound` when it is gone or its number belongs to another process now; else those of kill(2).
pub fn signal(pid: u32, start_ticks: u64, signal: i32) -> io::Result<()> {
    let number = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // The descriptor pins the process before its start time is looked at. Kernels before 5.3 have
    // none.
    let pinned = linux::pin(number);
    if !is_same(pid, start_ticks) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    match pinned {
        Ok(pinned) => linux::signal_pinned(pinned.as_fd(), signal),
        Err(_) => linux::kill(number, signal),
    }
}

/// Is this process the one that started at `start_ticks`, and not yet ended?
#[must_use]
pub fn is_same(pid: u32, start_ticks: u64) -> bool {
    pid > 1 && stat(pid).is_some_and(|s| s.start_ticks == start_ticks && s.state != b'Z')
}

/// Sends SIGKILL to every child of this process, and to the process group of the task if one of
/// them is in its session. Only for an executor once its task has ended: orphans become its
/// children, so it calls this whenever one has ended, until none is left. Nobody else collects its
/// children, so none of these numbers can have changed hands. Returns whether any was there.
pub fn kill_children(group: u32) -> bool {
    let left = kill_group(group);
    for pid in &left {
        kill_quietly(i64::from(*pid));
    }
    !left.is_empty()
}

/// Sends SIGKILL to a process group that a child of this process has led, if a child is in its
/// session. Returns all children. Only for executors, which alone collect their children.
pub fn kill_group(group: u32) -> Vec<u32> {
    let own = std::process::id();
    let left = children_of(own).unwrap_or_else(|| {
        all_pids().into_iter().filter(|p| stat(*p).is_some_and(|s| s.parent == own)).collect()
    });
    // A child in that session, ended or not, keeps the number from being given to others.
    if group > 1 && left.iter().any(|pid| stat(*pid).is_some_and(|s| s.session == group)) {
        kill_quietly(-i64::from(group));
    }
    left
}

/// SIGKILL to a process or group. That it is gone already is what was wanted.
fn kill_quietly(target: i64) {
    if let Ok(target) = i32::try_from(target) {
        drop(linux::kill(target, libc::SIGKILL));
    }
}

/// Kills what still runs of a task whose executor is gone, and the executor itself if it hangs.
/// Nothing is touched after a restart of the machine, and no process of which it is not certain
/// that it belongs to the task.
pub fn kill_leftovers(handle: &Handle) {
    if handle.pid <= 1 || handle.boot_id.is_empty() || handle.boot_id != boot_id() {
        return;
    }
    kill_same(handle.executor_pid, handle.executor_start_ticks);
    let leader = stat(handle.pid);
    if leader.is_some_and(|s| s.start_ticks != handle.start_ticks) {
        // The number belongs to somebody else now; then no session of that number can be the
        // task's.
        return;
    }
    for pid in all_pids() {
        let Some(found) = stat(pid) else { continue };
        let ours = found.session == handle.pid && found.start_ticks >= handle.start_ticks;
        if ours && (leader.is_some() || has_mark(pid, &handle.mark)) {
            kill_same(pid, found.start_ticks);
        }
    }
}

/// SIGKILL to this very process, if it is still there.
fn kill_same(pid: u32, start_ticks: u64) {
    drop(signal(pid, start_ticks, libc::SIGKILL));
}

/// Does the process's environment hold this entry?
fn has_mark(pid: u32, mark: &str) -> bool {
    !mark.is_empty()
        && sysfs::read(&format!("/proc/{pid}/environ"))
            .is_ok_and(|env| env.split(|b| *b == 0).any(|entry| entry == mark.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_program_with_a_nasty_name() {
        let line = b"77 (a) R 1 (x)) S 5 77 77 0 -1 4194560 1 2 3 4 10 20 30 40 \
            20 0 1 0 4711 1000 25 18446744073709551615";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.session), (b'S', 5, 77));
        assert_eq!((stat.ticks, stat.child_ticks), ((10, 20), (30, 40)));
        assert_eq!((stat.start_ticks, stat.rss_pages), (4711, 25));
        assert_eq!(parse_stat(b""), None);
        assert_eq!(parse_stat(b"1 (a) S 1"), None);
    }

    #[test]
    fn a_reused_number_is_not_signalled() {
        let own = std::process::id();
        let start = stat(own).unwrap().start_ticks;
        assert!(is_same(own, start));
        assert!(signal(own, start, 0).is_ok());
        let error = signal(own, start + 1, libc::SIGKILL).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(signal(0, start, libc::SIGKILL).is_err());
        assert!(signal(1, start, libc::SIGKILL).is_err());
        // A handle with a wrong start time names somebody else: us. We must live on.
        kill_leftovers(&Handle {
            pid: own,
            start_ticks: start + 1,
            boot_id: boot_id(),
            ..Handle::default()
        });
    }
}
