//! What the agent and the executor of a task say to each other.
//!
//! One unix stream socket per conversation, one JSON object per line in both directions. The
//! executor speaks first: [`ExecutorEvent::Hello`], then, as far as they have happened, `Started`
//! and `Exited`; a second agent that dials the socket after a restart therefore needs no question
//! to learn where the task stands. The protocol is versioned because an upgraded agent meets the
//! executors of the old one.

use std::fmt;

use crate::stdx::json::{self, Decode, choices, records};
use serde::Serialize;

/// Version of this protocol. Raised when a message changes its meaning; new optional fields do not
/// count.
pub const PROTO: u32 = 3;
/// Version since which executors run scripts ([`ExecutorCmd::Run`]). Older ones end the
/// conversation when they hear of one.
pub const PROTO_RUN: u32 = 2;
/// Version since which executors run commands for callers ([`ExecutorCmd::Exec`]).
pub const PROTO_EXEC: u32 = 3;
/// Longest line either side accepts, in bytes. A longer one ends the conversation.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most output of a script that is told, in bytes.
pub const SCRIPT_OUTPUT_BYTES: usize = 3 * 1024;
/// Name of the program that fetches, and the variable of its environment with a [`FetchSpec`]. It
/// prints why it failed, and exits with [`FETCH_FAILED`] or, where another try is of no use, with
/// another status but 0.
pub const FETCH: &str = "fetch-artifacts";
pub const FETCH_VARIABLE: &str = "VARDO_FETCH";
pub const FETCH_FAILED: i32 = 1;
/// File in the run directory that tells the executor what to start.
pub const START_FILE: &str = "start.json";
/// File in the run directory that holds the [`Exit`] of the task; written and synced before anyone
/// is told.
pub const EXIT_FILE: &str = "exit.json";
/// Socket in the run directory.
pub const SOCK_FILE: &str = "sock";
/// File in the run directory that holds the [`Handle`] once the task runs; what is left to an
/// agent that died between start and its own record.
pub const HANDLE_FILE: &str = "handle.json";

records! {
/// A directory of the machine that a task has within its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Absolute.
    pub source: String,
    /// Relative to the task directory; made where it is missing.
    pub target: String,
    /// Nothing is written through it. What is mounted below the source is then not seen.
    pub read_only: bool,
    /// Its device files work.
    pub devices: bool,
    /// What the machine mounts below the source later is seen as well.
    pub follows: bool,
}

/// Everything an executor needs to start its task; the content of [`START_FILE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartSpec {
    /// Directory of this run, absolute, one per start of the task, below the data directory (not
    /// below the allocation directory, which the task may write).
    pub run_dir: String,
    /// Program: an absolute path, or a name that is looked up in the `PATH` of `env`.
    pub command: String,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// The task's whole environment, in order; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Working directory, absolute: the task directory.
    pub cwd: String,
    /// The task directory, absolute: what `mounts` lie in.
    pub task_dir: String,
    /// Made in a mount name space of the task and its executor before anything else, in this order.
    /// There is none where nothing is to be mounted.
    pub mounts: Vec<Mount>,
    /// User name or number to run as; empty keeps the agent's user.
    pub user: String,
    /// Directory of the rotated logs, absolute: `<alloc dir>/alloc/logs`.
    pub log_dir: String,
    /// Task name; logs are `<log_dir>/<task>.<stdout|stderr>.<n>`.
    pub task: String,
    /// Most log files kept per stream; the oldest is dropped. Least value 1.
    pub log_max_files: u32,
    /// Size at which a log file is closed and the next begun, in bytes. Least value 1.
    pub log_max_bytes: u64,
    /// No log files: output goes to `/dev/null`.
    pub log_disabled: bool,
    /// Memory limit in bytes for the control group; 0 = none. Best effort: without a writable
    /// cgroup v2 tree nothing is limited.
    pub memory_max_bytes: u64,
    /// CPU weight for the control group (1 to 10,000); 0 = the kernel's default. Best effort as
    /// above.
    pub cpu_weight: u32,
}

/// What is to be fetched before a task starts; what a process that fetches is given in
/// [`FETCH_VARIABLE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchSpec {
    /// The task directory, absolute, out of which nothing leads.
    pub task_dir: String,
    /// User name or number that files with `chown` are for; empty: that of the agent.
    pub user: String,
    /// In this order.
    pub artifacts: Vec<Artifact>,
    pub limits: FetchLimits,
}

/// One of them. Nothing is left to be interpolated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifact {
    pub source: String,
    /// Relative to the task directory, without steps outwards: a file with mode `file`, otherwise
    /// a directory.
    pub destination: String,
    /// `any`, `file` or `dir`.
    pub mode: String,
    pub chown: bool,
    /// Any certificate will do.
    pub insecure: bool,
    pub headers: Vec<(String, String)>,
    /// `checksum`, `archive`, `filename`, and parameters of the source's query.
    pub options: Vec<(String, String)>,
}

/// What fetching may cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchLimits {
    /// All artifacts of the task together.
    pub seconds: u32,
    /// Each of them, as it is sent.
    pub bytes: u64,
    /// Each archive, unpacked.
    pub unpacked_bytes: u64,
    /// Files and folders of each archive.
    pub entries: u64,
}

/// Names a running task so that it can be found again, and never mistaken for another process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handle {
    /// The run directory of its [`StartSpec`].
    pub run_dir: String,
    /// Process id of the task, which leads its own session and process group; 0 while it is not
    /// known.
    pub pid: u32,
    /// Start time of that process in clock ticks after boot, field 22 of `/proc/<pid>/stat`.
    pub start_ticks: u64,
    /// Process id of the executor; 0 while it is not known.
    pub executor_pid: u32,
    /// Start time of the executor, as above.
    pub executor_start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id` at the start. Another one now means that the machine was
    /// restarted and the task with it.
    pub boot_id: String,
    /// An environment entry (`NAME=value`) that only this task's processes have; tells what is
    /// left of a session whose leader is gone from strangers. Empty: no such check is possible and
    /// such leftovers are not touched.
    pub mark: String,
}
}

impl Handle {
    /// A handle that only knows where to look; for a start that was recorded before its answer
    /// came.
    #[must_use]
    pub fn at(run_dir: &str) -> Self {
        Self { run_dir: run_dir.to_owned(), ..Self::default() }
    }
}

records! {
/// How a task ended; the content of [`EXIT_FILE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Exit status of the process; 0 when a signal ended it.
    pub code: i32,
    /// Signal that ended it, or 0.
    pub signal: i32,
    /// The kernel's out-of-memory killer ended it. Known only with a control group.
    pub oom_killed: bool,
    /// Wall clock at the end, in nanoseconds since the epoch.
    pub at_ns: i64,
    /// Why the task could not be started; empty when it ran.
    pub start_error: String,
    /// The executor was told to end too, shortly before: all processes are, when the machine goes
    /// down.
    pub going_down: bool,
}

/// Use of resources by one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcUsage {
    /// Process id.
    pub pid: u32,
    /// Time in user mode since its start, in nanoseconds.
    pub user_ns: u64,
    /// Time in the kernel since its start, in nanoseconds.
    pub system_ns: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Swapped memory in bytes.
    pub swap_bytes: u64,
}

/// Use of resources by the task and all its children, taken on [`ExecutorCmd::Stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Wall clock of the sample, in nanoseconds since the epoch.
    pub at_ns: i64,
    /// Time in user mode of all processes, also of those that ended, in nanoseconds.
    pub user_ns: u64,
    /// Time in the kernel, as above.
    pub system_ns: u64,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Swapped memory in bytes.
    pub swap_bytes: u64,
    /// The processes, at most 256, by process id.
    pub procs: Vec<ProcUsage>,
}
}

choices! {
/// Agent to executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutorCmd {
    /// Sends a signal to the task's main process. Answered by [`ExecutorEvent::Signaled`] with the
    /// same token.
    Signal { token: u64, signal: i32 },
    /// Asks the task to end: `signal` to its main process, and after `grace_ns` SIGKILL to the
    /// whole group. A second kill may shorten the grace, never lengthen it. Answered by `Exited`
    /// only.
    Kill { signal: i32, grace_ns: u64 },
    /// Asks for one sample. Answered by [`ExecutorEvent::Stats`] with the same token.
    Stats { token: u64 },
    /// The exit has been recorded: the executor may go. Before the task's end it is ignored.
    Shutdown,
    /// Runs a script beside the task, with its environment, directory and user. Answered by
    /// [`ExecutorEvent::Ran`] with the same id, at the latest after `timeout_ns`, when the script
    /// is killed. While a run of that id is under way no other is begun: its end answers both.
    Run { id: String, command: String, args: Vec<String>, timeout_ns: u64 },
    /// Runs a command beside the task for a caller, as above, at pipes or at a terminal. Once per
    /// conversation, and killed with it. Answered by `Attached`, and by `Ran` without an id when it
    /// ends or could not be started.
    Exec { command: String, args: Vec<String>, tty: bool },
}
}

choices! {
/// Executor to agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutorEvent {
    /// First line of every conversation.
    Hello { proto: u32, pid: u32 },
    /// The task runs. Also the first answer to a successful adoption.
    Started(Handle),
    /// The task could not be started; the text is for the user. The executor then ends as after an
    /// exit.
    StartFailed { error: String },
    /// The task ended; [`EXIT_FILE`] is on disk.
    Exited(Exit),
    /// Answer to a signal: an empty text, or why it was not sent.
    Signaled { token: u64, error: String },
    /// Answer to a question for a sample.
    Stats { token: u64, usage: Usage },
    /// A script has ended: its exit status and the last [`SCRIPT_OUTPUT_BYTES`] of what it wrote.
    /// With an error: it has none, because it was not started, was killed, or took too long.
    Ran { id: String, code: i32, output: String, error: String },
    /// The command of this conversation runs. Its descriptors come with this line: the terminal,
    /// or the far ends of input, output and error output.
    Attached,
    /// Made by the agent, never sent: the executor is gone and left no [`EXIT_FILE`]. What still
    /// ran of the task has been killed where it could be identified.
    Lost { reason: String },
}
}

/// Cuts a byte stream into lines. Holds no buffer while no partial line is pending.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
    read: usize,
}

/// The other side does not speak this protocol: a line that is too long, or not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtoError(pub String);

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Lines {
    /// Takes what was read from the socket.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole line as a message; `None` until there is one. Blank lines are skipped.
    ///
    /// # Errors
    /// A line above [`LINE_BYTES_MAX`] or one that is not a message; the conversation should end.
    pub fn message<T: Decode + Default>(&mut self) -> Result<Option<T>, ProtoError> {
        loop {
            let rest = self.held.get(self.read..).unwrap_or_default();
            let Some(end) = rest.iter().position(|b| *b == b'\n') else {
                if rest.len() > LINE_BYTES_MAX {
                    return Err(ProtoError("line too long".to_owned()));
                }
                self.held.drain(..self.read);
                self.read = 0;
                if self.held.is_empty() {
                    self.held = Vec::new();
                }
                return Ok(None);
            };
            let line = rest.get(..end).unwrap_or_default();
            self.read += end + 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return match json::decode_whole(line) {
                Ok(message) => Ok(Some(message)),
                Err(e) => Err(ProtoError(e.to_string())),
            };
        }
    }
}

/// Appends one message and its line end.
pub fn write_line<T: Serialize>(message: &T, out: &mut Vec<u8>) {
    // The types of this module have string keys and no floats, so encoding cannot fail.
    if let Ok(()) = serde_json::to_writer(&mut *out, message) {
        out.push(b'\n');
    }
}

/// Number of a signal given as `SIGTERM`, `TERM`, `sigterm` or `15`; `None` when there is no such
/// signal.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    SIGNALS.iter().find(|(n, _)| *n == short).map(|(_, number)| *number)
}

/// Signal names without their `SIG`.
const SIGNALS: [(&str, i32); 30] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("PROF", libc::SIGPROF),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_every_split() {
        let mut bytes = Vec::new();
        write_line(&ExecutorCmd::Kill { signal: 15, grace_ns: 5 }, &mut bytes);
        write_line(&ExecutorCmd::Shutdown, &mut bytes);
        for at in 0..bytes.len() {
            let mut lines = Lines::default();
            let mut got = Vec::new();
            for part in [&bytes[..at], &bytes[at..]] {
                lines.feed(part);
                while let Some(m) = lines.message::<ExecutorCmd>().unwrap() {
                    got.push(m);
                }
            }
            assert_eq!(got, [ExecutorCmd::Kill { signal: 15, grace_ns: 5 }, ExecutorCmd::Shutdown]);
            assert_eq!(lines.held.capacity(), 0);
        }
    }

    #[test]
    fn a_flood_without_line_end_is_an_error() {
        let mut lines = Lines::default();
        lines.feed(&vec![b'x'; LINE_BYTES_MAX + 1]);
        assert!(lines.message::<ExecutorEvent>().is_err());
    }

    #[test]
    fn signal_names() {
        for (name, number) in [("SIGINT", 2), ("sigkill", 9), ("HUP", libc::SIGHUP), ("15", 15)] {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
        for name in ["", "SIG", "SIGNOPE", "0", "-1", "65"] {
            assert_eq!(signal_number(name), None, "{name}");
        }
    }
}
