//! A directory for logs that others may write: files in it are reached by its descriptor and never
//! through a link.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::linux;

/// The directory.
#[derive(Debug)]
pub struct LogDir(OwnedFd);

impl LogDir {
    /// Takes hold of the directory, whatever happens to its name later.
    ///
    /// # Errors
    /// It is missing, not a directory, or a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
        Ok(Self(options.open(path)?.into()))
    }

    /// Opens a file to write at its end, and makes it (mode 0644) if it is missing. Does not wait
    /// for a FIFO.
    ///
    /// # Errors
    /// A link is in its place; those of the file system.
    pub fn append(&self, name: &str) -> io::Result<File> {
        let flags = libc::O_WRONLY
            | libc::O_CREAT
            | libc::O_APPEND
            | libc::O_NOFOLLOW
            | libc::O_NONBLOCK
            | libc::O_NOCTTY;
        let name = linux::c_path(name.as_bytes())?;
        linux::open_at(self.0.as_fd(), &name, flags, 0o644).map(File::from)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        linux::unlink_at(self.0.as_fd(), &linux::c_path(name.as_bytes())?, false)
    }

    /// A path to list it by.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}
