//! Starting and finding executors.
//!
//! A new executor gets one end of a socket pair as its standard input: the agent talks to it at
//! once, with no wait for a socket to appear. A restarted agent dials the socket in the run
//! directory instead, through the directory's descriptor, so that the length of the path does not
//! matter.
//!
//! A run directory is used for one start. Whoever creates its claim file decides: the executor,
//! just before it starts the task, or an agent that gives the start up for lost. So a task never
//! runs behind the back of an agent that has replaced it.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use mio::net::UnixStream;

use crate::client::exec_proto::{
    EXIT_FILE, ExecutorEvent, Exit, HANDLE_FILE, Handle, SOCK_FILE, START_FILE, StartSpec,
};
use crate::stdx::json;

use super::{fs, linux, proc, sysfs};
pub use linux::Reaped;

/// The file that decides who uses a run directory.
pub const CLAIM_FILE: &str = "claim";

/// A just started executor.
#[derive(Debug)]
pub struct Spawned {
    /// Process id of the executor; a child of the caller, to be collected with [`reap`].
    pub pid: u32,
    /// The conversation with it.
    pub stream: UnixStream,
}

/// Starts an executor for `spec`: makes the run directory (mode 0700), writes and syncs its start
/// file, and runs this same program again, also if its file has been replaced meanwhile.
///
/// # Errors
/// Those of the file system and of starting a process. A run directory that was used before is
/// `AlreadyExists`.
pub fn executor(spec: &StartSpec) -> io::Result<Spawned> {
    let run_dir = Path::new(&spec.run_dir);
    fs::make_dir(run_dir, 0o700)?;
    if run_dir.join(CLAIM_FILE).exists() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    let bytes = json::encode(spec);
    fs::write_atomic(&run_dir.join(START_FILE), &bytes, 0o600)?;
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    #[expect(clippy::disallowed_methods, reason = "the one place that starts executors")]
    let mut command = Command::new("/proc/self/exe");
    command.arg("executor").arg(run_dir).env_clear();
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    Ok(Spawned { pid: child.id(), stream: UnixStream::from_std(ours) })
}

/// In an executor: the conversation that came with its start, if there is one. To be called once,
/// first of all.
#[must_use]
pub fn inherited_stream() -> Option<StdStream> {
    linux::take_stdin_socket().map(StdStream::from)
}

/// Opens a conversation with the executor of a run directory.
///
/// # Errors
/// Nobody listens there.
pub fn dial(run_dir: &Path) -> io::Result<UnixStream> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW);
    let dir = options.open(run_dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCK_FILE}", dir.as_raw_fd()))
}

/// Finds a task again after a restart of the agent: a conversation with its executor, or what
/// became of it.
///
/// # Errors
/// The event that says how it ended: `Exited`, `StartFailed` or `Lost`.
pub fn adopt(handle: &Handle) -> Result<UnixStream, ExecutorEvent> {
    let run_dir = Path::new(&handle.run_dir);
    if let Ok(stream) = dial(run_dir) {
        return Ok(stream);
    }
    if ended(run_dir).is_none()
        && let Err(e) = fs::claim(&run_dir.join(CLAIM_FILE))
        && e.kind() == io::ErrorKind::AlreadyExists
        && let Ok(stream) = dial(run_dir)
    {
        // The executor was just about to listen when it was dialled first; it listens before it
        // claims.
        return Ok(stream);
    }
    Err(aftermath(handle))
}

/// What became of a task whose executor no longer answers. If it left no word, whatever still runs
/// of the task is killed. An end that the machine brought by going down is none of the task's own.
#[must_use]
pub fn aftermath(handle: &Handle) -> ExecutorEvent {
    let run_dir = Path::new(&handle.run_dir);
    let other_boot = !handle.boot_id.is_empty() && handle.boot_id != proc::boot_id();
    match ended(run_dir) {
        Some(ExecutorEvent::Exited(exit)) if other_boot && exit.going_down => {}
        Some(event) => return event,
        None => {}
    }
    let recorded = sysfs::read(&run_dir.join(HANDLE_FILE).to_string_lossy());
    let recorded = recorded.ok().and_then(|b| json::decode::<Handle>(&b).ok());
    let handle = match recorded {
        Some(recorded) if handle.pid == 0 => recorded,
        _ => handle.clone(),
    };
    if other_boot {
        return ExecutorEvent::Lost { reason: "machine restarted".to_owned() };
    }
    proc::kill_leftovers(&handle);
    ExecutorEvent::Lost { reason: "executor ended unexpectedly".to_owned() }
}

/// The end that an executor has recorded.
fn ended(run_dir: &Path) -> Option<ExecutorEvent> {
    let bytes = sysfs::read(&run_dir.join(EXIT_FILE).to_string_lossy()).ok()?;
    let exit: Exit = json::decode(&bytes).ok()?;
    if exit.start_error.is_empty() {
        return Some(ExecutorEvent::Exited(exit));
    }
    Some(ExecutorEvent::StartFailed { error: exit.start_error })
}

/// A program of the operator that runs beside the agent.
#[derive(Debug)]
pub struct Helper {
    /// A child of the caller, to be collected with [`reap`]; leads a process group.
    pub pid: u32,
    /// What it prints, errors too; non-blocking.
    pub output: StdStream,
}

/// Starts a program with one argument and nothing but the given environment.
///
/// # Errors
/// Those of starting a process.
pub fn helper(program: &str, arg: &str, env: &[(String, String)]) -> io::Result<Helper> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    #[expect(clippy::disallowed_methods, reason = "the one place that starts helpers")]
    let mut command = Command::new(program);
    command.arg(arg).env_clear().envs(env.iter().map(|(k, v)| (k, v)));
    let errors = OwnedFd::from(theirs.try_clone()?);
    command.stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(errors).process_group(0);
    let child = command.spawn()?;
    Ok(Helper { pid: child.id(), output: ours })
}

/// A program that is read while it runs, and ends with this value.
#[derive(Debug)]
pub struct Follow {
    /// What it prints, errors too; non-blocking.
    pub output: StdStream,
    pinned: OwnedFd,
}

/// Starts a program of the machine, by its name, with the environment of the agent. Its end is to
/// be collected with [`reap`].
///
/// # Errors
/// Those of starting a process.
pub fn follow(program: &str, args: &[&str]) -> io::Result<Follow> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    #[expect(clippy::disallowed_methods, reason = "the one place that starts those")]
    let mut command = Command::new(program);
    let errors = OwnedFd::from(theirs.try_clone()?);
    command.args(args).stdin(Stdio::null()).stdout(OwnedFd::from(theirs)).stderr(errors);
    let pid = command.spawn()?.id().cast_signed();
    match linux::pin(pid) {
        Ok(pinned) => Ok(Follow { output: ours, pinned }),
        Err(e) => {
            drop(linux::kill(pid, libc::SIGKILL));
            Err(e)
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // It may have ended already.
        drop(linux::signal_pinned(self.pinned.as_fd(), libc::SIGKILL));
    }
}

/// Ends a helper and all that it has started in its group.
pub fn end_helper(pid: u32) {
    drop(linux::kill(-pid.cast_signed(), libc::SIGKILL));
}

/// Collects all children that have ended, without waiting. To be called on every SIGCHLD.
#[must_use]
pub fn reap() -> Vec<Reaped> {
    std::iter::from_fn(|| linux::reap_one().ok().flatten()).collect()
}
