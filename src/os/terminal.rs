//! Terminals: those that this process makes for others, and the one that it is used from.
#![expect(unsafe_code, reason = "terminals are set by ioctl(2) and termios(3)")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::linux::{check, set_nonblocking};

/// A new terminal: the side that its user holds, which never waits, and that of the programs.
///
/// # Errors
/// No terminals are to be had: `/dev/ptmx` or `/dev/pts` is missing, or too many are open.
pub fn open() -> io::Result<(File, File)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NOCTTY);
    let user = options.open("/dev/ptmx")?;
    let (locked, mut number): (libc::c_int, libc::c_uint) = (0, 0);
    // SAFETY: `locked` is what the request reads.
    check(unsafe { libc::ioctl(user.as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) })?;
    // SAFETY: `number` is what the request writes.
    check(unsafe { libc::ioctl(user.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })?;
    let program = options.open(format!("/dev/pts/{number}"))?;
    set_nonblocking(user.as_fd())?;
    Ok((user, program))
}

/// Tells a terminal, from either side, how large its window is.
///
/// # Errors
/// It is no terminal.
pub fn set_size(terminal: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is what the request reads.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Rows and columns of a terminal's window; `None` where it is no terminal.
#[must_use]
pub fn size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is what the request writes.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (result >= 0).then_some((size.ws_row, size.ws_col))
}

/// Has a terminal pass every key on as it is typed, without showing it, until this is dropped.
pub struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    before: libc::termios,
}

impl<'a> Raw<'a> {
    /// # Errors
    /// It is no terminal.
    pub fn new(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let mut before = MaybeUninit::<libc::termios>::uninit();
        // SAFETY: `before` is a valid place for the result.
        check(unsafe { libc::tcgetattr(terminal.as_raw_fd(), before.as_mut_ptr()) })?;
        // SAFETY: written by tcgetattr, which succeeded.
        let before = unsafe { before.assume_init() };
        let mut raw = before;
        // SAFETY: `raw` is initialised.
        unsafe { libc::cfmakeraw(&raw mut raw) };
        // SAFETY: `raw` is initialised.
        check(unsafe { libc::tcsetattr(terminal.as_raw_fd(), libc::TCSADRAIN, &raw const raw) })?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let before = &raw const self.before;
        // SAFETY: `before` is initialised. Where it fails the terminal is gone.
        unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSADRAIN, before) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn what_is_typed_arrives_and_the_window_has_a_size() {
        let (mut user, program) = open().unwrap();
        set_size(user.as_fd(), 40, 100).unwrap();
        assert_eq!(size(program.as_fd()), Some((40, 100)));
        let raw = Raw::new(program.as_fd()).unwrap();
        user.write_all(b"x\r").unwrap();
        let mut got = [0; 8];
        let n = (&program).read(&mut got).unwrap();
        assert_eq!(&got[..n], b"x\r", "a raw terminal changes nothing");
        drop(raw);
        user.write_all(b"y\r").unwrap();
        let n = (&program).read(&mut got).unwrap();
        assert_eq!(&got[..n], b"y\n");
        let file = File::open("/dev/null").unwrap();
        assert!(size(file.as_fd()).is_none() && Raw::new(file.as_fd()).is_err());
    }
}
