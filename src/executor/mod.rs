//! `vardo executor <run-dir>`: the parent of one task.
//!
//! It outlives the agent: it leads its own session, holds the task's output, writes the logs, and
//! records the end of the task (synced) before it tells anybody. It starts one task, once, and
//! ends when the end is recorded and nobody listens any more, or when an agent tells it to. While
//! nothing happens it sleeps in one poll(2) without a timeout.
//!
//! Its memory is paid for every task, so it sets nothing up that it does not need: no logger, no
//! event library, one static buffer, and what was needed for the start is given back.

mod logs;
mod scripts;

use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;

use crate::client::exec_proto::{
    EXIT_FILE, ExecutorCmd, ExecutorEvent, Exit, HANDLE_FILE, Handle, Lines, PROTO, SOCK_FILE,
    write_line,
};
use crate::os::cgroup::{self, Group};
use crate::os::logdir::LogDir;
use crate::os::signals::Signals;
use crate::os::spawn::{CLAIM_FILE, Reaped};
use crate::os::{self, Ready, clock, fdpass, mount, proc, spawn, task};
use crate::stdx::json;
use logs::Rotated;
use scripts::Scripts;

/// Most agents in conversation at once; one is normal, two while an agent is replaced. More are
/// turned away.
const CONNS_MAX: usize = 4;
/// Most commands that run for callers, each in a conversation of its own.
const EXECS_MAX: usize = 16;
/// Most bytes that wait for an agent that does not read, in bytes; above, its conversation is
/// ended.
const OUT_BYTES_MAX: usize = 256 * 1024;
/// Piece of output moved at once, in bytes.
const COPY_BYTES: usize = 16 * 1024;
/// Longest wait for the task's pipes to end once the task has, in nanoseconds. Only a process that
/// cannot be killed (it hangs in the kernel) makes it wait at all.
const DRAIN_NS: u64 = 2_000_000_000;
/// Longest wait for an agent in conversation to say that it has recorded the end, in nanoseconds.
/// It can read the file.
const LINGER_NS: u64 = 30_000_000_000;
/// Quiet after which memory is given back, in nanoseconds.
const SETTLE_NS: u64 = 500_000_000;
/// Least time between two times that memory is given back, in nanoseconds: a task that writes a
/// line now and then shall not pay for it each time.
const SETTLE_AGAIN_NS: u64 = 30_000_000_000;
/// A SIGTERM is of a machine that goes down if the task ends within this time, in nanoseconds: as
/// long as init systems wait.
const GOING_DOWN_NS: u64 = 120_000_000_000;
/// Pause between attempts to record the end on a disk that is full, in nanoseconds.
const RETRY_NS: u64 = 1_000_000_000;

/// One agent in conversation.
struct Conn {
    stream: UnixStream,
    lines: Lines,
    out: Vec<u8>,
    /// The command that was begun here and has not ended.
    exec: Option<u32>,
}

/// One stream of the task's output.
struct Stream {
    pipe: PipeReader,
    log: Rotated,
}

/// How far the task is.
enum Phase {
    /// It runs; when it is to be killed, the instant (monotonic) of the SIGKILL.
    Running { kill_at: Option<u64> },
    /// Its main process has ended at this instant; its children are being killed and its output
    /// read to the end.
    Draining { exit: Exit, since: u64 },
    /// All is over. The end is recorded, or will be tried again at the instant.
    Over { exit: Exit, since: u64, retry_at: Option<u64> },
}

/// The executor of a running task.
struct Executor {
    signals: Signals,
    listener: UnixListener,
    conns: Vec<Conn>,
    streams: [Option<Stream>; 2],
    log_dir: Option<LogDir>,
    group: Option<Group>,
    scripts: Scripts,
    handle: Handle,
    phase: Phase,
    /// When the last SIGTERM came, which nobody sends to an executor alone (monotonic).
    told_to_end: Option<u64>,
    /// When memory is to be given back (monotonic), unless something happens before.
    settle_at: Option<u64>,
    /// When it may be given back next.
    settle_after: u64,
}

/// Runs the executor of a run directory until its task is over. The process does nothing else.
#[must_use]
pub fn run(run_dir: &Path) -> ExitCode {
    os::run_as_service();
    // From here on all names are relative: the length of the path does not matter to the socket.
    match std::env::set_current_dir(run_dir).and_then(|()| prepare()) {
        Ok(mut executor) => match executor.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_poll) => ExitCode::FAILURE,
        },
        Err(_gone) => ExitCode::FAILURE,
    }
}

/// Listens, claims the run directory and starts the task. A task that cannot be started is an
/// executor whose task is over.
///
/// # Errors
/// Nobody wants the task any more (the directory is gone or claimed), or the system is out of
/// descriptors.
fn prepare() -> io::Result<Executor> {
    let signals = Signals::for_executor()?;
    let mut conns = Vec::new();
    if let Some(stream) = spawn::inherited_stream() {
        conns.push(Conn::new(stream)?);
    }
    let listener = UnixListener::bind(SOCK_FILE)?;
    listener.set_nonblocking(true)?;
    os::fs::claim(Path::new(CLAIM_FILE))?;
    let handle = Handle {
        run_dir: std::env::current_dir()?.to_string_lossy().into_owned(),
        executor_pid: std::process::id(),
        executor_start_ticks: proc::stat(std::process::id()).map_or(0, |s| s.start_ticks),
        boot_id: proc::boot_id(),
        ..Handle::default()
    };
    let mut executor = Executor {
        signals,
        listener,
        conns,
        streams: [None, None],
        log_dir: None,
        group: None,
        scripts: Scripts::default(),
        handle,
        phase: Phase::Running { kill_at: None },
        told_to_end: None,
        settle_at: Some(clock::mono_ns().saturating_add(SETTLE_NS)),
        settle_after: 0,
    };
    match executor.start() {
        Ok(()) => executor.tell(&ExecutorEvent::Started(executor.handle.clone())),
        Err(error) => {
            let exit = Exit { at_ns: clock::wall_ns(), start_error: error, ..Exit::default() };
            executor.finish(exit);
        }
    }
    Ok(executor)
}

impl Executor {
    /// Starts the task as its start file says.
    fn start(&mut self) -> Result<(), String> {
        let spec = scripts::start_spec()?;
        if !spec.run_dir.is_empty() {
            self.handle.run_dir.clone_from(&spec.run_dir);
        }
        mount::enter(&spec.task_dir, &spec.mounts)?;
        if !spec.log_disabled {
            let opened = LogDir::open(Path::new(&spec.log_dir));
            self.log_dir =
                Some(opened.map_err(|e| format!("open {}: {}", spec.log_dir, os::error_text(&e)))?);
        }
        let name = format!("{}-{}", self.handle.executor_pid, self.handle.executor_start_ticks);
        self.group = cgroup::create(&name, spec.memory_max_bytes, spec.cpu_weight);
        let procs = self.group.as_ref().and_then(Group::procs);
        let started = task::start(&spec, procs)?;
        if let (Some([out, err]), Some(dir)) = (started.output, &self.log_dir) {
            let stream = |pipe, name| Stream {
                pipe,
                log: Rotated::new(dir, &spec.task, name, spec.log_max_files, spec.log_max_bytes),
            };
            self.streams = [Some(stream(out, "stdout")), Some(stream(err, "stderr"))];
        }
        self.handle.pid = started.pid;
        // The task is our child and not collected yet, so its number cannot have changed hands.
        self.handle.start_ticks = proc::stat(started.pid).map_or(0, |s| s.start_ticks);
        let mark = spec.env.iter().find(|(name, _)| name == "NOMAD_ALLOC_ID");
        self.handle.mark = mark.map_or_else(String::new, |(name, value)| format!("{name}={value}"));
        let handle = json::encode(&self.handle);
        // On a full disk it stays unwritten; the agent that started us records the handle itself.
        drop(os::fs::write_atomic(Path::new(HANDLE_FILE), &handle, 0o600));
        Ok(())
    }

    /// Serves until there is nothing left to do.
    ///
    /// # Errors
    /// poll(2) failed for another reason than an interruption: the process is broken.
    fn serve(&mut self) -> io::Result<()> {
        let mut watched = Vec::with_capacity(4 + CONNS_MAX);
        loop {
            let now = clock::mono_ns();
            if self.settle_at.is_some_and(|at| at <= now) {
                os::give_memory_back();
                self.settle_at = None;
                self.settle_after = now.saturating_add(SETTLE_AGAIN_NS);
            }
            self.on_time(now);
            if self.is_done(now) {
                return Ok(());
            }
            watched.clear();
            watched.push(Ready::new(self.signals.as_raw_fd(), false));
            watched.push(Ready::new(self.listener.as_raw_fd(), false));
            // A negative descriptor is skipped by the kernel.
            for stream in &self.streams {
                let fd = stream.as_ref().map_or(-1, |s| s.pipe.as_raw_fd());
                watched.push(Ready::new(fd, false));
            }
            for conn in &self.conns {
                watched.push(Ready::new(conn.stream.as_raw_fd(), !conn.out.is_empty()));
            }
            let scripts_at = watched.len();
            self.scripts.watch(&mut watched);
            os::poll(&mut watched, self.timeout_ms(now))?;
            let ready = |at: usize| watched.get(at).is_some_and(|r| r.any());
            if watched.iter().any(|r| r.any()) {
                let quiet = clock::mono_ns().saturating_add(SETTLE_NS);
                self.settle_at = Some(quiet.max(self.settle_after));
            }
            for at in 0..2 {
                if ready(2 + at) {
                    self.pump(at);
                }
            }
            self.scripts.pump(watched.get(scripts_at..).unwrap_or_default());
            if ready(0) {
                self.on_signal();
            }
            let talking: Vec<bool> = (0..self.conns.len()).map(|at| ready(4 + at)).collect();
            self.converse(&talking);
            if ready(1) {
                self.accept();
            }
        }
    }

    /// Milliseconds until [`Executor::on_time`] has something to do, rounded up; -1 for never.
    fn timeout_ms(&self, now: u64) -> i32 {
        let at = match &self.phase {
            Phase::Running { kill_at } => *kill_at,
            Phase::Draining { since, .. } => Some(since.saturating_add(DRAIN_NS)),
            Phase::Over { retry_at: Some(at), .. } => Some(*at),
            Phase::Over { since, .. } => Some(since.saturating_add(LINGER_NS)),
        };
        let at = at.into_iter().chain(self.settle_at).chain(self.scripts.deadline()).min();
        at.map_or(-1, |at| {
            i32::try_from(at.saturating_sub(now).div_ceil(1_000_000)).unwrap_or(i32::MAX)
        })
    }

    /// Is the end recorded and told to whom it concerns?
    fn is_done(&self, now: u64) -> bool {
        match &self.phase {
            Phase::Over { since, retry_at: None, .. } => {
                self.conns.is_empty() || now >= since.saturating_add(LINGER_NS)
            }
            _ => false,
        }
    }

    /// What the passing of time brings: the SIGKILL after the grace, the end of draining, another
    /// try to record.
    fn on_time(&mut self, now: u64) {
        self.scripts.on_time(now);
        match &mut self.phase {
            Phase::Running { kill_at } if kill_at.is_some_and(|at| at <= now) => {
                *kill_at = None;
                // Whether there was anything to kill shows in the SIGCHLD to come.
                proc::kill_children(self.handle.pid);
            }
            Phase::Draining { exit, since } => {
                let late = now >= since.saturating_add(DRAIN_NS);
                let quiet = self.streams.iter().all(Option::is_none);
                if late || (quiet && !proc::kill_children(self.handle.pid)) {
                    let exit = exit.clone();
                    self.finish(exit);
                }
            }
            Phase::Over { exit, retry_at: Some(at), .. } if *at <= now => {
                let exit = exit.clone();
                self.finish(exit);
            }
            _ => {}
        }
    }

    /// Records the end, and once it is on disk tells it.
    fn finish(&mut self, mut exit: Exit) {
        self.streams = [None, None];
        if let Some(group) = self.group.take() {
            group.remove();
        }
        let now = clock::mono_ns();
        exit.going_down |=
            self.told_to_end.is_some_and(|at| now.saturating_sub(at) < GOING_DOWN_NS);
        let json = json::encode(&exit);
        match os::fs::write_atomic(Path::new(EXIT_FILE), &json, 0o600) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                let retry_at = Some(now.saturating_add(RETRY_NS));
                self.phase = Phase::Over { exit, since: now, retry_at };
            }
            // Not found: the run directory was removed, nobody wants to know.
            _ => {
                self.tell(&end_event(&exit));
                self.phase = Phase::Over { exit, since: now, retry_at: None };
            }
        }
    }

    /// Moves one piece of output from the task to its log.
    fn pump(&mut self, at: usize) {
        let mut buffer = [0; COPY_BYTES];
        let Some(slot) = self.streams.get_mut(at) else { return };
        let (Some(stream), Some(dir)) = (slot.as_mut(), &self.log_dir) else { return };
        match stream.pipe.read(&mut buffer) {
            Ok(0) => *slot = None,
            Ok(count) => stream.log.write(dir, buffer.get(..count).unwrap_or_default()),
            Err(e) if is_passing(&e) => {}
            Err(_) => *slot = None,
        }
    }

    /// Collects children that have ended. Other signals are not meant for us; one is remembered.
    fn on_signal(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            if signal == libc::SIGTERM {
                self.told_to_end = Some(clock::mono_ns());
            }
        }
        for child in spawn::reap() {
            if child.pid == self.handle.pid
                && let Phase::Running { .. } = self.phase
            {
                self.on_task_end(child);
            } else if let Some(conn) = self.conns.iter_mut().find(|c| c.exec == Some(child.pid)) {
                conn.exec = None;
                // As a shell tells of signals.
                let code = if child.signal > 0 { 128 + child.signal } else { child.code };
                let (id, output, error) = Default::default();
                conn.say(&ExecutorEvent::Ran { id, code, output, error });
            } else if let Some(event) = self.scripts.ended(child) {
                self.tell(&event);
            }
        }
        if let Phase::Draining { .. } = self.phase {
            // Orphans that have just become ours.
            proc::kill_children(self.handle.pid);
        }
    }

    /// The task's main process has ended: the rest goes with it.
    fn on_task_end(&mut self, child: Reaped) {
        let exit = Exit {
            code: child.code,
            signal: child.signal,
            oom_killed: self.group.as_ref().is_some_and(Group::oom_killed),
            at_ns: clock::wall_ns(),
            ..Exit::default()
        };
        self.phase = Phase::Draining { exit, since: clock::mono_ns() };
    }

    /// Takes new conversations; each begins with where the task stands.
    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.conns.len() >= CONNS_MAX + EXECS_MAX {
                continue;
            }
            let Ok(mut conn) = Conn::new(stream) else { continue };
            match &self.phase {
                Phase::Over { exit, .. } if !exit.start_error.is_empty() => {}
                _ => conn.say(&ExecutorEvent::Started(self.handle.clone())),
            }
            if let Phase::Over { exit, retry_at: None, .. } = &self.phase {
                conn.say(&end_event(exit));
            }
            self.conns.push(conn);
        }
    }

    /// Tells all who listen.
    fn tell(&mut self, event: &ExecutorEvent) {
        for conn in &mut self.conns {
            conn.say(event);
        }
    }

    /// Reads from those that are ready, obeys, answers, and drops the conversations that have
    /// ended.
    fn converse(&mut self, ready: &[bool]) {
        let mut kept = Vec::with_capacity(self.conns.len());
        for (at, mut conn) in std::mem::take(&mut self.conns).into_iter().enumerate() {
            let mut open = true;
            if ready.get(at).is_some_and(|r| *r) {
                open = conn.receive();
                loop {
                    match conn.lines.message() {
                        Ok(Some(command)) => open &= self.obey(&command, &mut conn),
                        Ok(None) => break,
                        Err(_) => {
                            open = false;
                            break;
                        }
                    }
                }
            }
            if open && conn.flush() {
                kept.push(conn);
            } else if let Some(pid) = conn.exec {
                // Nobody reads what it writes any more.
                proc::kill_group(pid);
            }
        }
        self.conns = kept;
    }

    /// One command. Returns whether the conversation goes on.
    fn obey(&mut self, command: &ExecutorCmd, conn: &mut Conn) -> bool {
        match (command, &mut self.phase) {
            (ExecutorCmd::Signal { token, signal }, Phase::Running { .. }) => {
                let sent = proc::signal(self.handle.pid, self.handle.start_ticks, *signal);
                let error = sent.map_or_else(|e| os::error_text(&e), |()| String::new());
                conn.say(&ExecutorEvent::Signaled { token: *token, error });
            }
            (ExecutorCmd::Signal { token, .. }, _) => {
                let error = "task not running".to_owned();
                conn.say(&ExecutorEvent::Signaled { token: *token, error });
            }
            (ExecutorCmd::Kill { signal, grace_ns }, Phase::Running { kill_at }) => {
                let at = clock::mono_ns().saturating_add(*grace_ns);
                *kill_at = Some(kill_at.map_or(at, |before| before.min(at)));
                // A signal that cannot be sent is no reason to spare the task: the SIGKILL follows.
                drop(proc::signal(self.handle.pid, self.handle.start_ticks, *signal));
            }
            (ExecutorCmd::Kill { .. }, _) => {}
            (ExecutorCmd::Stats { token }, _) => {
                let usage = proc::usage(self.handle.executor_pid);
                conn.say(&ExecutorEvent::Stats { token: *token, usage });
            }
            (ExecutorCmd::Shutdown, Phase::Over { since, retry_at, .. }) => {
                // The agent has recorded the end, so it matters no more whether we could.
                (*since, *retry_at) = (0, None);
                return false;
            }
            (ExecutorCmd::Shutdown, _) => {}
            (ExecutorCmd::Run { id, command, args, timeout_ns }, Phase::Running { .. }) => {
                let procs = self.group.as_ref().and_then(Group::procs);
                let begun = self.scripts.begin(id, command, args, *timeout_ns, procs);
                if let Err(error) = begun {
                    conn.say(&scripts::failed(id, error));
                }
            }
            (ExecutorCmd::Run { id, .. }, _) => {
                conn.say(&scripts::failed(id, "task not running".to_owned()));
            }
            (ExecutorCmd::Exec { command, args, tty }, Phase::Running { .. }) => {
                if let Err(error) = self.attach(command, args, *tty, conn) {
                    conn.say(&scripts::failed("", error));
                }
            }
            (ExecutorCmd::Exec { .. }, _) => {
                conn.say(&scripts::failed("", "task not running".to_owned()));
            }
        }
        true
    }

    /// Starts a command for the caller of a conversation and hands over what it reads and writes.
    fn attach(
        &self,
        command: &str,
        args: &[String],
        tty: bool,
        conn: &mut Conn,
    ) -> Result<(), String> {
        if conn.exec.is_some() {
            return Err("one command for each conversation".to_owned());
        }
        let mut spec = scripts::start_spec()?;
        command.clone_into(&mut spec.command);
        spec.args = args.to_vec();
        let procs = self.group.as_ref().and_then(Group::procs);
        let attached = task::attach(&spec, procs, tty)?;
        let mut line = Vec::new();
        write_line(&ExecutorEvent::Attached, &mut line);
        let ends: Vec<_> = attached.ends.iter().map(AsFd::as_fd).collect();
        let sent = match conn.flush() && conn.out.is_empty() {
            true => fdpass::send(conn.stream.as_fd(), &line, &ends),
            false => Err(io::ErrorKind::WouldBlock.into()),
        };
        match sent {
            Ok(count) => {
                conn.out.extend_from_slice(line.get(count..).unwrap_or_default());
                conn.exec = Some(attached.pid);
                Ok(())
            }
            Err(e) => {
                proc::kill_group(attached.pid);
                Err(os::error_text(&e))
            }
        }
    }
}

/// The event that tells an end.
fn end_event(exit: &Exit) -> ExecutorEvent {
    if exit.start_error.is_empty() {
        return ExecutorEvent::Exited(exit.clone());
    }
    ExecutorEvent::StartFailed { error: exit.start_error.clone() }
}

/// Is it an error that goes away by waiting?
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Conn {
    /// Begins a conversation.
    fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let mut conn = Self { stream, lines: Lines::default(), out: Vec::new(), exec: None };
        conn.say(&ExecutorEvent::Hello { proto: PROTO, pid: std::process::id() });
        Ok(conn)
    }

    /// Queues one message and sends what can be sent; the rest goes when there is room.
    fn say(&mut self, event: &ExecutorEvent) {
        write_line(event, &mut self.out);
        // An end shows again at the next poll, where the conversation is dropped.
        self.flush();
    }

    /// Sends what waits; whether the conversation goes on.
    fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => {
                    self.out.drain(..count);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return self.out.len() <= OUT_BYTES_MAX;
                }
                Err(_) => return false,
            }
        }
        self.out = Vec::new();
        true
    }

    /// Reads what has come; whether the conversation goes on.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(count) => {
                self.lines.feed(buffer.get(..count).unwrap_or_default());
                true
            }
            Err(e) => is_passing(&e),
        }
    }
}
