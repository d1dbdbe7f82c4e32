//! A control group (version 2) around one task, where the machine lets us make one. Best effort by
//! design: without a writable tree, or where the controllers still belong to version 1, tasks run
//! without one and nothing fails.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use super::sysfs;

/// A group that holds one task.
#[derive(Debug)]
pub struct Group(PathBuf);

/// Makes a group with the given limits (0 = none) below `<cgroup2 mount>/vardo/`. `None` when
/// there is nothing to limit or when no limit could be set. Empty groups that killed executors
/// have left behind are removed on the way.
#[must_use]
pub fn create(name: &str, memory_max_bytes: u64, cpu_weight: u32) -> Option<Group> {
    if memory_max_bytes == 0 && cpu_weight == 0 {
        return None;
    }
    let mount = mount_point(&sysfs::text("/proc/self/mountinfo"))?;
    let parent = mount.join("vardo");
    if !set(&mount.join("cgroup.subtree_control"), "+memory +cpu") {
        return None;
    }
    match fs::create_dir(&parent) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(_) => return None,
    }
    set(&parent.join("cgroup.subtree_control"), "+memory +cpu").then_some(())?;
    for old in fs::read_dir(&parent).ok()?.flatten() {
        // Settings are no directories, and a group with processes in it refuses to go: both stay.
        drop(fs::remove_dir(old.path()));
    }
    let group = Group(parent.join(name));
    fs::create_dir(&group.0).ok()?;
    let memory =
        memory_max_bytes > 0 && set(&group.0.join("memory.max"), &memory_max_bytes.to_string());
    let cpu = cpu_weight > 0 && set(&group.0.join("cpu.weight"), &cpu_weight.to_string());
    if memory || cpu {
        return Some(group);
    }
    group.remove();
    None
}

/// Writes one setting; whether the kernel took it.
fn set(path: &Path, value: &str) -> bool {
    fs::write(path, value).is_ok()
}

/// Where the version 2 tree is mounted.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let line = mountinfo.lines().find(|l| l.contains(" - cgroup2 "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

impl Group {
    /// The file by which a process enters the group.
    #[must_use]
    pub fn procs(&self) -> Option<File> {
        OpenOptions::new().write(true).open(self.0.join("cgroup.procs")).ok()
    }

    /// Has the kernel killed a process of the group for want of memory?
    #[must_use]
    pub fn oom_killed(&self) -> bool {
        let events = fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        let count = events.lines().find_map(|l| l.strip_prefix("oom_kill "));
        count.is_some_and(|n| n.trim() != "0")
    }

    /// Removes the group; while a process is in it the kernel refuses, and the next [`create`]
    /// tries again.
    pub fn remove(&self) {
        drop(fs::remove_dir(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_found_in_the_mount_table() {
        let table = "24 1 0:22 / /proc rw - proc proc rw\n\
                     30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
        assert_eq!(mount_point(table), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(mount_point("30 23 0:26 / /c rw - cgroup cgroup rw"), None);
        assert!(create("nothing", 0, 0).is_none());
    }
}
