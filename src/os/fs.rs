//! Files and directories of the agent itself: small files that are whole or absent, directories
//! with exact modes, trees.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::time::SystemTime;

use super::linux;

/// Writes a small file so that after a crash at any time it is the old one or the new one, whole:
/// a temporary file beside it, synced, renamed over it, and the directory synced.
///
/// # Errors
/// Those of the file system; the old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = directory.join(name);
    let written = write_synced(&temporary, bytes, mode);
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        // Whether or not the half-written file goes, the error of the write is the one to tell.
        drop(fs::remove_file(&temporary));
        return renamed;
    }
    sync_dir(directory)
}

/// Creates or overwrites a file and syncs it.
fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let mut file = options.custom_flags(libc::O_NOFOLLOW).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives a file blocks that are really there from one place to another, to where it is lengthened
/// if it is shorter; false where the disk has no more.
#[must_use]
pub fn allocate(file: &File, from: u64, to: u64) -> bool {
    linux::allocate(file.as_raw_fd(), from, to.saturating_sub(from)).is_ok()
}

/// The bytes of a file that holds no more than `most`.
///
/// # Errors
/// Those of the system; `FileTooLarge`.
pub fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut out)?;
    if out.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(out)
}

/// Begins a file anew that only its owner may read.
///
/// # Errors
/// Those of the system; a symbolic link in its place is one.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.custom_flags(libc::O_NOFOLLOW).open(path)
}

/// A file without a name, of which nothing stays once it is closed, in the file system of a
/// directory.
///
/// # Errors
/// Those of the system.
pub fn nameless(dir: &Path) -> io::Result<File> {
    let path = dir.join("nameless.tmp");
    drop(fs::remove_file(&path));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Opens a file to write at its end, and makes it (mode 0640) where it is missing; its size, and
/// when it was made, where the file system knows that.
///
/// # Errors
/// Those of the system; does not wait for a FIFO.
pub fn append_to(path: &Path) -> io::Result<(File, u64, Option<i64>)> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path)?;
    let meta = file.metadata()?;
    let born = meta.created().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok((file, meta.len(), born.and_then(|at| i64::try_from(at.as_nanos()).ok())))
}

/// Appends to a file, for good.
///
/// # Errors
/// Those of the system.
pub fn append(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_data()
}

/// Removes a file.
///
/// # Errors
/// Those of the system.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// The names in a directory that are text, in order.
///
/// # Errors
/// Those of the system.
pub fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// Gives a file another name in the same file system, for good.
///
/// # Errors
/// Those of the system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Those of the file system.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Creates a file that must not exist yet; of several that try, one succeeds.
///
/// # Errors
/// `AlreadyExists` for all but one; those of the file system.
pub fn claim(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop)
}

/// Makes a directory, with its parents (mode 0755), and gives it exactly this mode whatever the
/// file mode mask. An existing one keeps its content and gets the mode; a symbolic link in its
/// place is an error.
///
/// # Errors
/// Those of the file system, and `NotADirectory` if something else is there.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_DIRECTORY);
    options.open(path)?.set_permissions(fs::Permissions::from_mode(mode))
}

/// Gives a directory or file to a user and group by number.
///
/// # Errors
/// Those of the file system; without privilege `PermissionDenied`.
pub fn give_to(path: &Path, user: u32, group: u32) -> io::Result<()> {
    chown(path, Some(user), Some(group))
}

/// Removes a file or a tree. Symbolic links in it are removed, never followed, also when somebody
/// swaps names meanwhile (the standard library walks by descriptors). That it is gone already is
/// no error.
///
/// # Errors
/// Those of the file system; part of the tree may be gone then, and calling again goes on.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes a symbolic link, and the directories that it lies in; one that is there is replaced.
///
/// # Errors
/// Those of the file system; `AlreadyExists` where something else is in its place.
pub fn link(path: &Path, target: &Path) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::remove_file(path)?,
        _ => {}
    }
    std::os::unix::fs::symlink(target, path)
}

/// Space of a file system, in bytes and in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// All bytes.
    pub size: u64,
    /// Bytes that an unprivileged program can still write.
    pub available: u64,
    /// Bytes free, those kept for the administrator included.
    pub free: u64,
    /// All file slots; 0 on file systems without a fixed number.
    pub inodes: u64,
    /// Free file slots.
    pub inodes_free: u64,
}

/// Space of the file system that holds `path`.
///
/// # Errors
/// Those of statvfs(2).
pub fn space(path: &Path) -> io::Result<Space> {
    let raw = linux::statvfs(&linux::c_path(path.as_os_str().as_bytes())?)?;
    // The fields are narrower than 64 bits on some machines.
    let [unit, size, available, free, inodes, inodes_free] =
        [raw.f_frsize, raw.f_blocks, raw.f_bavail, raw.f_bfree, raw.f_files, raw.f_ffree]
            .map(u64::from);
    Ok(Space {
        size: size.saturating_mul(unit),
        available: available.saturating_mul(unit),
        free: free.saturating_mul(unit),
        inodes,
        inodes_free,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("vardo-fs-{}-{name}", std::process::id()));
        remove_tree(&dir).unwrap();
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn atomic_write_replaces_and_leaves_nothing_behind() {
        let dir = scratch("atomic");
        let path = dir.join("a.json");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        assert!(write_atomic(&dir.join("no/such"), b"x", 0o600).is_err());
        remove_tree(&dir).unwrap();
    }

    #[test]
    fn modes_are_exact_and_links_are_not_followed() {
        let dir = scratch("modes");
        make_dir(&dir.join("a/b"), 0o1777).unwrap();
        let mode = fs::metadata(dir.join("a/b")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        std::os::unix::fs::symlink("/", dir.join("link")).unwrap();
        assert!(make_dir(&dir.join("link"), 0o700).is_err());
        fs::write(dir.join("keep"), "x").unwrap();
        fs::create_dir(dir.join("tree")).unwrap();
        std::os::unix::fs::symlink(dir.join("keep"), dir.join("tree/link")).unwrap();
        std::os::unix::fs::symlink(dir.join("a"), dir.join("tree/dir")).unwrap();
        remove_tree(&dir.join("tree")).unwrap();
        assert!(dir.join("keep").exists());
        assert!(dir.join("a/b").exists());
        remove_tree(&dir).unwrap();
        remove_tree(&dir).unwrap();
    }

    #[test]
    fn a_claim_is_given_once() {
        let dir = scratch("claim");
        claim(&dir.join("c")).unwrap();
        assert_eq!(claim(&dir.join("c")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(space(&dir).unwrap().size > 0);
        remove_tree(&dir).unwrap();
    }
}
