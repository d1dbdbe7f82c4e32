//! A program that a command runs for its caller, with the same standard streams.
#![expect(unsafe_code, reason = "what a child does before exec has no safe face")]

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child as Inner, Command};

use super::linux;

/// A program that runs. It is not ended with this value.
#[derive(Debug)]
pub struct Child(Inner);

impl Child {
    /// Starts a program, with the environment of this one. Signals that this process holds back
    /// reach it.
    ///
    /// # Errors
    /// Those of fork(2) and exec(2).
    pub fn start(program: &str, args: &[String]) -> io::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the one place that commands start some at")]
        let mut command = Command::new(program);
        command.args(args);
        // SAFETY: makes one system call; it neither allocates nor takes locks.
        unsafe { command.pre_exec(linux::unblock_signals) };
        command.spawn().map(Self)
    }

    /// Its exit status once it has ended, as a shell tells it.
    ///
    /// # Errors
    /// None in practice.
    pub fn ended(&mut self) -> io::Result<Option<i32>> {
        let status = self.0.try_wait()?;
        Ok(status.map(|s| s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0))))
    }

    /// Sends it a signal, unless it has ended.
    ///
    /// # Errors
    /// It has just ended.
    pub fn signal(&mut self, signal: i32) -> io::Result<()> {
        match self.0.try_wait()? {
            Some(_) => Ok(()),
            None => linux::kill(self.0.id().cast_signed(), signal),
        }
    }
}
