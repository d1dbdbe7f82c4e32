//! Reading and writing below a directory that others may write: nothing named by a request, and no
//! link that a task plants, leads out of it, blocks, or wakes a device.
//!
//! A file is first opened as a mere place (`O_PATH`), which has no side effect and never waits;
//! what it is gets checked on that descriptor; only a regular file is then opened for reading,
//! through the descriptor and not through its name again.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use super::linux;

use crate::stdx::sort;

/// Most entries of one directory that are listed.
const ENTRIES_MAX: usize = 65_536;

/// A directory that bounds all reading.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
}

/// An open place below a [`Root`].
#[derive(Debug)]
pub struct Found {
    place: OwnedFd,
    /// What it is.
    pub meta: Metadata,
    /// Where it really is, relative to the root, after all links.
    pub real: PathBuf,
}

/// One name in a directory. Links are told as links.
#[derive(Debug)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// What it is.
    pub meta: Metadata,
}

/// Does this error mean that the path would have left the root?
#[must_use]
pub fn is_escape(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EXDEV)
}

impl Root {
    /// Opens the bounding directory.
    ///
    /// # Errors
    /// It is missing, not a directory, or a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
        let dir: OwnedFd = options.open(path)?.into();
        let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd()))?;
        Ok(Self { dir, path })
    }

    /// Finds `path`, relative to the root; a leading `/` counts from the root and an empty path is
    /// the root.
    ///
    /// # Errors
    /// Those of the file system; [`is_escape`] tells a path that would leave the root.
    pub fn find(&self, path: &str) -> io::Result<Found> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let c_path = linux::c_path(relative.as_bytes())?;
        let place = match linux::open_beneath(self.dir.as_fd(), &c_path, libc::O_PATH) {
            // Kernels before 5.6 do not know the call, and some sandboxes forbid unknown ones.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                self.walk(relative)?
            }
            other => other?,
        };
        let file = File::from(place);
        let meta = file.metadata()?;
        let place = OwnedFd::from(file);
        let at = std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))?;
        let Ok(real) = at.strip_prefix(&self.path) else {
            return Err(io::Error::from_raw_os_error(libc::EXDEV));
        };
        Ok(Found { real: real.to_owned(), place, meta })
    }

    /// Writes a file whole, in the place of what has its name; missing directories on the way are
    /// made. Of user and group those that are given own it then. It is not synced.
    ///
    /// # Errors
    /// Those of the file system; [`is_escape`] tells a path that would leave the root.
    pub fn place(&self, path: &str, bytes: &[u8], mode: u32, owner: Owner) -> io::Result<()> {
        let mut begun = self.begin(path, (None, None))?;
        begun.file.write_all(bytes)?;
        begun.finish(mode, owner)
    }

    /// Begins a file that takes the place of what has its name when it is finished; missing
    /// directories on the way are made, for that owner.
    ///
    /// # Errors
    /// As of [`Self::place`].
    pub fn begin(&self, path: &str, owner: Owner) -> io::Result<Begun> {
        let (at, name) = self.folder(path, owner)?;
        let (temporary, place) = (at.below(&format!(".{name}.tmp")), at.below(name));
        drop(std::fs::remove_file(&temporary));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Begun { file: options.open(&temporary)?, temporary, place, _at: at, done: false })
    }

    /// The directory that a path lies in, made where it is missing, and the last part.
    fn folder<'p>(&self, path: &'p str, owner: Owner) -> io::Result<(Found, &'p str)> {
        let path = path.trim_start_matches('/');
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok((self.make(folder, owner)?, name))
    }

    /// A directory, made with all above it where it is missing, for that owner.
    ///
    /// # Errors
    /// As of [`Self::place`].
    pub fn make(&self, folder: &str, (user, group): Owner) -> io::Result<Found> {
        let mut at = self.find("")?;
        let mut so_far = String::new();
        for part in folder.split('/').filter(|p| !p.is_empty() && *p != ".") {
            so_far.push_str(part);
            at = match self.find(&so_far) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    std::fs::create_dir(at.below(part))?;
                    if user.is_some() || group.is_some() {
                        lchown(at.below(part), user, group)?;
                    }
                    self.find(&so_far)?
                }
                found => found?,
            };
            so_far.push('/');
        }
        Ok(at)
    }

    /// A directory to mount on, made where it is missing. A link to `old` in its place goes.
    ///
    /// # Errors
    /// As of [`Self::place`].
    pub fn mount_point(&self, path: &str, old: &Path) -> io::Result<Found> {
        let (at, name) = self.folder(path, (None, None))?;
        let here = at.below(name);
        if std::fs::read_link(&here).is_ok_and(|to| to == old) {
            std::fs::remove_file(&here)?;
        }
        match std::fs::create_dir(&here) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        self.find(path)
    }

    /// One component after another, none of which may be a link or `..`.
    fn walk(&self, relative: &str) -> io::Result<OwnedFd> {
        let mut at = self.dir.try_clone()?;
        let mut parts = relative.split('/').filter(|p| !p.is_empty() && *p != ".").peekable();
        while let Some(part) = parts.next() {
            if part == ".." {
                return Err(io::Error::from_raw_os_error(libc::EXDEV));
            }
            let name = linux::c_path(part.as_bytes())?;
            let more = if parts.peek().is_some() { libc::O_DIRECTORY } else { 0 };
            at = linux::open_at(at.as_fd(), &name, libc::O_PATH | libc::O_NOFOLLOW | more, 0)?;
        }
        let at = File::from(at);
        if at.metadata()?.is_symlink() {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        Ok(at.into())
    }
}

/// User and group, as far as they are given.
pub type Owner = (Option<u32>, Option<u32>);

/// A file that is being written. Unless it is finished nothing of it stays.
#[derive(Debug)]
pub struct Begun {
    pub file: File,
    temporary: PathBuf,
    place: PathBuf,
    /// Both lie in this one.
    _at: Found,
    done: bool,
}

impl Begun {
    /// Gives it its mode, its owner and its name. It is not synced.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn finish(mut self, mode: u32, (user, group): Owner) -> io::Result<()> {
        if user.is_some() || group.is_some() {
            fchown(&self.file, user, group)?;
        }
        self.file.set_permissions(Permissions::from_mode(mode))?;
        std::fs::rename(&self.temporary, &self.place)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.done {
            drop(std::fs::remove_file(&self.temporary));
        }
    }
}

impl Found {
    /// The open place itself, as a name for this process.
    #[must_use]
    pub fn as_path(&self) -> String {
        format!("/proc/self/fd/{}", self.place.as_raw_fd())
    }

    /// A name in this directory, whatever has become of the directory's own name.
    fn below(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.place.as_raw_fd()))
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// `InvalidInput` for anything but a regular file; those of the file system.
    pub fn open(&self) -> io::Result<File> {
        if !self.meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options.open(format!("/proc/self/fd/{}", self.place.as_raw_fd()))
    }

    /// Names in a directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// It is not a directory; those of the file system.
    pub fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let open = format!("/proc/self/fd/{}/.", self.place.as_raw_fd());
        for entry in std::fs::read_dir(open)?.take(ENTRIES_MAX) {
            let entry = entry?;
            // A name that vanished between listing and asking is not there.
            let Ok(meta) = entry.metadata() else { continue };
            entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), meta });
        }
        sort::by(&mut entries, |a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Where it really is, as text relative to the root.
    #[must_use]
    pub fn real_text(&self) -> String {
        String::from_utf8_lossy(self.real.as_os_str().as_bytes()).into_owned()
    }
}

/// Reads at a position until the buffer is full or the file ends; returns the count.
///
/// # Errors
/// Those of the file system.
pub fn read_at(file: &File, mut offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..)
        && !rest.is_empty()
    {
        match file.read_at(rest, offset) {
            Ok(0) => break,
            Ok(got) => {
                done += got;
                offset = offset.saturating_add(got as u64);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Identity of an open file, to see that a name leads to another one now, and whether it still has
/// a name.
///
/// # Errors
/// Those of fstat(2).
pub fn identity(file: &File) -> io::Result<(u64, u64, bool)> {
    let meta = file.metadata()?;
    Ok((meta.dev(), meta.ino(), meta.nlink() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("vardo-beneath-{}-{name}", std::process::id()));
        super::super::fs::remove_tree(&dir).unwrap();
        std::fs::create_dir_all(dir.join("tree/alloc/logs")).unwrap();
        std::fs::create_dir_all(dir.join("tree/web/secrets")).unwrap();
        std::fs::write(dir.join("outside"), "outside").unwrap();
        std::fs::write(dir.join("tree/alloc/logs/a"), "inside").unwrap();
        std::fs::write(dir.join("tree/web/secrets/key"), "key").unwrap();
        dir
    }

    #[expect(clippy::disallowed_methods, reason = "the test needs a FIFO and std makes none")]
    fn make_fifo(path: &Path) -> bool {
        std::process::Command::new("mkfifo").arg(path).status().unwrap().success()
    }

    /// Every path that tries to leave, by the call of new kernels and by the walk for old ones.
    #[test]
    fn nothing_leads_out() {
        let dir = scratch("out");
        let root = dir.join("tree");
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("../outside", root.join("relative")).unwrap();
        symlink("/etc", root.join("alloc/etc")).unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("/proc/self/exe", root.join("magic")).unwrap();
        let bound = Root::open(&root).unwrap();
        let bad = [
            "..",
            "../outside",
            "/../outside",
            "alloc/../../outside",
            "./..//outside",
            "absolute",
            "relative",
            "alloc/etc/passwd",
            "up/outside",
            "magic",
            "a\0b",
        ];
        for path in bad {
            assert!(bound.find(path).is_err(), "{path}");
            let walked = bound.walk(path.trim_start_matches('/'));
            assert!(walked.is_err(), "{path}");
        }
        for path in ["../outside", "absolute", "relative", "alloc/etc/passwd"] {
            assert!(is_escape(&bound.find(path).unwrap_err()), "{path}");
        }
        let long = "a/".repeat(4096);
        assert!(bound.find(&long).is_err());
        super::super::fs::remove_tree(&dir).unwrap();
    }

    #[test]
    fn what_is_inside_is_read() {
        let dir = scratch("in");
        let root = dir.join("tree");
        symlink("logs/a", root.join("alloc/link")).unwrap();
        symlink("../web/secrets/key", root.join("alloc/sly")).unwrap();
        let bound = Root::open(&root).unwrap();
        for path in ["alloc/logs/a", "/alloc/logs/a", "alloc/./logs/../logs/a", "alloc/link"] {
            let found = bound.find(path).unwrap();
            assert_eq!(found.real_text(), "alloc/logs/a", "{path}");
            let mut buffer = [0; 32];
            let count = read_at(&found.open().unwrap(), 2, &mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"side", "{path}");
        }
        assert_eq!(bound.find("alloc/sly").unwrap().real_text(), "web/secrets/key");
        let names: Vec<String> =
            bound.find("").unwrap().list().unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["alloc", "web"]);
        assert!(bound.find("alloc/logs/a").unwrap().list().is_err());
        super::super::fs::remove_tree(&dir).unwrap();
    }

    #[test]
    fn what_is_no_file_neither_opens_nor_waits() {
        let dir = scratch("fifo");
        let root = dir.join("tree");
        let fifo = root.join("alloc/fifo");
        assert!(make_fifo(&fifo));
        let socket = std::os::unix::net::UnixListener::bind(root.join("alloc/sock")).unwrap();
        let bound = Root::open(&root).unwrap();
        for path in ["alloc/fifo", "alloc/sock", "alloc"] {
            let found = bound.find(path).unwrap();
            assert_eq!(found.open().unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        drop(socket);
        super::super::fs::remove_tree(&dir).unwrap();
    }

    /// Files are written inside only, whatever links lie in the way, and never through one.
    #[test]
    fn nothing_is_written_outside() {
        let dir = scratch("place");
        let root = dir.join("tree");
        std::fs::write(dir.join("victim"), "old").unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink(dir.join("victim"), root.join("link")).unwrap();
        symlink("../victim", root.join("alloc/link")).unwrap();
        let bound = Root::open(&root).unwrap();
        let place = |path: &str| bound.place(path, b"new", 0o640, (None, None));
        for bad in ["", "/", "..", "a/..", "../x", "up/x", "up/tree/x", "alloc/../../x", "a\0b"] {
            assert!(place(bad).is_err(), "{bad}");
        }
        for good in ["x", "/deep/er/x", "./x", "link", "alloc/link"] {
            place(good).unwrap();
            let path = root.join(good.trim_start_matches('/'));
            assert_eq!(std::fs::read(&path).unwrap(), b"new", "{good}");
            let meta = std::fs::symlink_metadata(&path).unwrap();
            assert_eq!(meta.permissions().mode() & 0o7777, 0o640, "{good}");
        }
        assert_eq!(std::fs::read(dir.join("victim")).unwrap(), b"old");
        assert!(!dir.join("x").exists());
        super::super::fs::remove_tree(&dir).unwrap();
    }

    /// A task swaps a directory and a link to `/` as fast as it can; every read is of the inside
    /// or fails.
    #[test]
    fn a_swapped_link_never_shows_the_outside() {
        let dir = scratch("swap");
        let root = dir.join("tree");
        std::fs::create_dir(root.join("x")).unwrap();
        std::fs::write(root.join("x/outside"), "inside").unwrap();
        symlink(&dir, root.join("y")).unwrap();
        let bound = Root::open(&root).unwrap();
        for turn in 0..400 {
            let (a, b, c) = (root.join("x"), root.join("y"), root.join("z"));
            std::fs::rename(&a, &c).unwrap();
            std::fs::rename(&b, &a).unwrap();
            std::fs::rename(&c, &b).unwrap();
            for path in ["x/outside", "y/outside"] {
                if let Ok(found) = bound.find(path) {
                    let mut buffer = [0; 16];
                    let count = read_at(&found.open().unwrap(), 0, &mut buffer).unwrap();
                    assert_eq!(&buffer[..count], b"inside", "turn {turn}");
                }
            }
        }
        super::super::fs::remove_tree(&dir).unwrap();
    }
}
