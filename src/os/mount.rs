//! Directories of the machine within that of a task, which nobody else sees there.
//!
//! Targets are found below the task's directory by descriptors, so that no link that a task plants
//! makes another place of the machine look as it likes (CVE-2026-14896 was of that kind).

use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::beneath::Root;
use super::{linux, sysfs};
use crate::client::exec_proto::Mount;

/// Bit of the capability that mounts need.
const SYS_ADMIN: u32 = 21;

/// Whether this process has the right to mount.
#[must_use]
pub fn is_allowed() -> bool {
    let status = sysfs::text("/proc/self/status");
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"));
    let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> SYS_ADMIN & 1 == 1)
}

/// Gives this process, which must have one thread, a mount name space with these mounts below
/// `root`. Without any nothing is done.
///
/// # Errors
/// A sentence for the user.
pub fn enter(root: &str, mounts: &[Mount]) -> Result<(), String> {
    if mounts.is_empty() {
        return Ok(());
    }
    let text = |e: io::Error| super::error_text(&e);
    linux::own_mounts().map_err(|e| format!("no mount name space for its volumes: {}", text(e)))?;
    let root = Root::open(Path::new(root)).map_err(|e| format!("{root}: {}", text(e)))?;
    mounts.iter().try_for_each(|mount| {
        bind(&root, mount).map_err(|e| {
            format!("failed to mount {} at {}: {}", mount.source, mount.target, text(e))
        })
    })
}

fn bind(root: &Root, mount: &Mount) -> io::Result<()> {
    let source = CString::new(mount.source.as_str())?;
    let wanted = std::fs::metadata(&mount.source)?;
    let below = root.mount_point(&mount.target, Path::new(&mount.source))?;
    let deep = if mount.read_only { 0 } else { libc::MS_REC };
    linux::mount(Some(&source), &CString::new(below.as_path())?, libc::MS_BIND | deep)?;
    // Found anew, the name leads to what was mounted, unless somebody swaps names.
    let mounted = root.find(&mount.target)?;
    if (mounted.meta.dev(), mounted.meta.ino()) != (wanted.dev(), wanted.ino()) {
        return Err(io::Error::other("something else is in its place"));
    }
    let at = CString::new(mounted.as_path())?;
    if !mount.follows {
        linux::mount(None, &at, libc::MS_PRIVATE | deep)?;
    }
    // What the machine forbids there stays forbidden: a remount sets all anew.
    let kept = libc::ST_RDONLY | libc::ST_NOSUID | libc::ST_NODEV | libc::ST_NOEXEC;
    let mut flags = linux::statvfs(&at)?.f_flag & kept | libc::MS_NOSUID;
    if mount.read_only {
        flags |= libc::MS_RDONLY;
    }
    if !mount.devices {
        flags |= libc::MS_NODEV;
    }
    linux::mount(None, &at, libc::MS_REMOUNT | libc::MS_BIND | flags)
}
