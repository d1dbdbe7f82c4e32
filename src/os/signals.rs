//! Signals as readable events: blocked for the process and read from a descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::linux;

/// Ends the process with a sentence and status 74 where a page of a mapped file is not there any
/// more (SIGBUS).
///
/// # Errors
/// None in practice.
pub fn end_on_bus() -> io::Result<()> {
    linux::end_on_bus()
}

/// Receives the signals it was made for, which no longer interrupt the process.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// For an agent: SIGINT, SIGTERM, SIGHUP and SIGCHLD; and SIGXFSZ, which would end the process
    /// where a write that fails (EFBIG) can be answered.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn for_agent() -> io::Result<Self> {
        let held = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD, libc::SIGXFSZ];
        linux::signal_fd(&held).map(Self)
    }

    /// For an executor: SIGCHLD, and those that are meant for the agent or a terminal are held
    /// back for ever. They are blocked and not ignored, because a task would inherit the latter.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn for_executor() -> io::Result<Self> {
        let all = [
            libc::SIGCHLD,
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGQUIT,
            libc::SIGTERM,
            libc::SIGPIPE,
            libc::SIGUSR1,
            libc::SIGUSR2,
        ];
        linux::signal_fd(&all).map(Self)
    }

    /// For a command that runs a program for its caller: SIGCHLD, and those that end both.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn for_lock() -> io::Result<Self> {
        linux::signal_fd(&[libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGHUP]).map(Self)
    }

    /// For a program at a terminal: SIGWINCH, when its window has another size.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn for_window() -> io::Result<Self> {
        linux::signal_fd(&[libc::SIGWINCH]).map(Self)
    }

    /// The next pending signal's number; `None` when there is none now.
    ///
    /// # Errors
    /// None in practice.
    pub fn next(&self) -> io::Result<Option<i32>> {
        linux::next_signal(self.0.as_fd())
    }
}

impl AsRawFd for Signals {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
