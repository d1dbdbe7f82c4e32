//! Scripts that run beside the task for its checks: each in a session of its own, with the task's
//! environment, and no longer than it may.

use std::fs::{self, File};
use std::io::{ErrorKind, PipeReader, Read};
use std::os::fd::AsRawFd;

use crate::client::exec_proto::{ExecutorEvent, SCRIPT_OUTPUT_BYTES, START_FILE, StartSpec};
use crate::os::spawn::Reaped;
use crate::os::{Ready, clock, proc, task};
use crate::stdx::duration;
use crate::stdx::json;

/// Most scripts at a time. More are refused.
const SCRIPTS_MAX: usize = 32;
/// Pieces that are read of what a script left in its pipes when it ended: more than they hold.
const READS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Scripts(Vec<Script>);

/// A script that runs.
struct Script {
    id: String,
    /// It leads its own session and process group.
    pid: u32,
    pipes: [Option<PipeReader>; 2],
    /// The end of what it wrote, on both pipes as it came.
    output: Vec<u8>,
    timeout_ns: u64,
    /// Monotonic nanoseconds of its SIGKILL; `None` where that was sent.
    kill_at: Option<u64>,
}

/// The event of a script that has no exit status.
pub(super) fn failed(id: &str, error: String) -> ExecutorEvent {
    ExecutorEvent::Ran { id: id.to_owned(), code: 0, output: String::new(), error }
}

/// What the task was started with.
///
/// # Errors
/// A sentence for the user.
pub(super) fn start_spec() -> Result<StartSpec, String> {
    let bytes = fs::read(START_FILE).map_err(|e| e.to_string())?;
    json::decode(&bytes).map_err(|e| e.to_string())
}

impl Scripts {
    /// Starts a script as the start file says of the task. One whose id runs is left alone.
    ///
    /// # Errors
    /// A sentence for the user: why it does not run.
    pub(super) fn begin(
        &mut self,
        id: &str,
        command: &str,
        args: &[String],
        timeout_ns: u64,
        group_procs: Option<File>,
    ) -> Result<(), String> {
        if self.0.iter().any(|s| s.id == id) {
            return Ok(());
        }
        if self.0.len() >= SCRIPTS_MAX {
            return Err(format!("{SCRIPTS_MAX} scripts run already"));
        }
        let mut spec = start_spec()?;
        command.clone_into(&mut spec.command);
        spec.args = args.to_vec();
        spec.log_disabled = false;
        let started = task::start(&spec, group_procs)?;
        self.0.push(Script {
            id: id.to_owned(),
            pid: started.pid,
            pipes: started.output.map_or([None, None], |pipes| pipes.map(Some)),
            output: Vec::new(),
            timeout_ns,
            kill_at: Some(clock::mono_ns().saturating_add(timeout_ns)),
        });
        Ok(())
    }

    /// Monotonic nanoseconds at which [`Self::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.0.iter().filter_map(|s| s.kill_at).min()
    }

    /// Kills what takes too long. Its end shows as that of any other.
    pub(super) fn on_time(&mut self, now: u64) {
        for script in self.0.iter_mut().filter(|s| s.kill_at.is_some_and(|at| at <= now)) {
            script.kill_at = None;
            proc::kill_group(script.pid);
        }
    }

    /// Adds the pipes to what is polled, two for each script.
    pub(super) fn watch(&self, watched: &mut Vec<Ready>) {
        for pipe in self.0.iter().flat_map(|s| &s.pipes) {
            watched.push(Ready::new(pipe.as_ref().map_or(-1, AsRawFd::as_raw_fd), false));
        }
    }

    /// Reads one piece of each pipe that is ready; `ready` as [`Self::watch`] added them.
    pub(super) fn pump(&mut self, ready: &[Ready]) {
        for (script, ready) in self.0.iter_mut().zip(ready.chunks(2)) {
            for at in (0..2).filter(|at| ready.get(*at).is_some_and(|r| r.any())) {
                script.read(at);
            }
        }
    }

    /// What is to be told of a child that was collected, if it was a script.
    pub(super) fn ended(&mut self, child: Reaped) -> Option<ExecutorEvent> {
        let at = self.0.iter().position(|s| s.pid == child.pid)?;
        let mut script = self.0.swap_remove(at);
        // What it has left behind goes with it.
        proc::kill_group(script.pid);
        for at in 0..2 {
            for _ in 0..READS_MAX {
                if !script.read(at) {
                    break;
                }
            }
        }
        let error = match (script.kill_at, child.signal) {
            (None, _) => {
                let after = i64::try_from(script.timeout_ns).unwrap_or(i64::MAX);
                format!("timed out after {}", duration::Go(after))
            }
            (Some(_), 0) => String::new(),
            (Some(_), signal) => format!("ended by signal {signal}"),
        };
        let cut = script.output.len().saturating_sub(SCRIPT_OUTPUT_BYTES);
        let output = script.output.get(cut..).unwrap_or_default();
        let output = String::from_utf8_lossy(output).into_owned();
        Some(ExecutorEvent::Ran { id: script.id, code: child.code, output, error })
    }
}

impl Script {
    /// Reads one piece; false where there is nothing more for now.
    fn read(&mut self, at: usize) -> bool {
        let Some(slot) = self.pipes.get_mut(at) else { return false };
        let Some(pipe) = slot else { return false };
        let mut buffer = [0; SCRIPT_OUTPUT_BYTES];
        match pipe.read(&mut buffer) {
            Ok(0) => *slot = None,
            Ok(n) => {
                let excess = (self.output.len() + n).saturating_sub(SCRIPT_OUTPUT_BYTES);
                self.output.drain(..excess.min(self.output.len()));
                self.output.extend_from_slice(buffer.get(..n).unwrap_or_default());
                return true;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return true,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => *slot = None,
        }
        false
    }
}
