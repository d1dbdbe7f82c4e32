//! One task of an allocation: started, watched, asked to end, started again.
//!
//! ```text
//!            start             Started            exit, policy allows
//!  Waiting ────────▶ Starting ────────▶ Running ───────────────────▶ Backoff ──▶ Starting
//!     ▲                 │                 │ ▲                           │
//!     │ stop(Rearm)     │ StartFailed     │ └── Adopting (after the     │ stop
//!     │                 ▼                 ▼      agent's restart)       ▼
//!     └─────────────  Dead  ◀── Stopping ◀── Delay                    Dead
//! ```
//!
//! Where it has artifacts, `Waiting` and `Backoff` go to `Fetching` first, and from there back to
//! `Waiting`, or on as after a failed start.
//!
//! The machine does not know its siblings; `alloc` decides when a task may start and when it has
//! to stop.

use crate::api::status::{TASK_DEAD, TASK_PENDING, TASK_RUNNING};
use crate::api::{Allocation, Job, RestartPolicy, Task, TaskEvent, TaskGroup, TaskState};
use crate::client::driver::{self, Launch, Mock};
use crate::client::env::{self, Sources, TaskDirs};
use crate::client::events;
use crate::client::exec_proto::{ExecutorCmd, ExecutorEvent, Exit, Handle, StartSpec, Usage};
use crate::client::restart::{self, Decision, End};
use crate::client::supply::Given;
use crate::client::{ClientConfig, ClientEffect, TaskKey};
use crate::stdx::Now;
use crate::stdx::json::Time;
use crate::stdx::json::records;

/// What a machine works with during one step.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a ClientConfig,
    /// The node with its present metadata.
    pub(crate) node: &'a crate::api::Node,
    pub(crate) out: &'a mut Vec<ClientEffect>,
    pub(crate) turn: &'a mut Turn,
}

/// What the machines draw from.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    pub(crate) rng: u64,
    /// The instant of the loop's turn, monotonic nanoseconds.
    at_ns: u64,
    /// What its templates may still cost, in steps of theirs.
    pub(crate) steps: usize,
    /// How often what happened to tasks since that was asked last, by [`Happened`].
    pub(crate) happened: [u64; HAPPENED.len()],
}

/// What metrics count of tasks.
#[derive(Clone, Copy)]
enum Happened {
    Start,
    Running,
    Complete,
    Failed,
    Restart,
    OomKilled,
}

/// The names of what [`Turn::happened`] counts. Source: the API.
pub const HAPPENED: [&str; 6] = [
    "nomad.client.allocs.start",
    "nomad.client.allocs.running",
    "nomad.client.allocs.complete",
    "nomad.client.allocs.failed",
    "nomad.client.allocs.restart",
    "nomad.client.allocs.oom_killed",
];

/// Steps of templates in one turn of the loop, a few milliseconds; what was begun is finished.
const TURN_STEPS: usize = 1 << 18;

impl Turn {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: seed, ..Self::default() }
    }

    fn note(&mut self, what: Happened) {
        if let Some(n) = self.happened.get_mut(what as usize) {
            *n += 1;
        }
    }

    /// A step that is taken at that instant.
    pub(crate) fn begin(&mut self, now: Now) {
        if self.at_ns != now.mono_ns {
            (self.at_ns, self.steps) = (now.mono_ns, TURN_STEPS);
        }
    }
}

impl Ctx<'_> {
    /// Next number of the generator (splitmix64).
    pub(crate) fn random(&mut self) -> u64 {
        self.turn.rng = self.turn.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.turn.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The parts of a job that one task stands in.
#[derive(Clone, Copy)]
pub(crate) struct Spec<'a> {
    pub(crate) alloc: &'a Allocation,
    pub(crate) job: &'a Job,
    pub(crate) group: &'a TaskGroup,
    pub(crate) task: &'a Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its turn in the life of the allocation has not come.
    Waiting,
    /// Its artifacts are being fetched; then it waits again.
    Fetching,
    /// The executor was begun and has not answered.
    Starting,
    Running,
    /// The executor of an earlier run of the agent is being looked for.
    Adopting,
    /// Told to stop; its `shutdown_delay` runs, and so does the task.
    Delay {
        until: u64,
    },
    /// Asked to end. At `give_up` it is killed hard, and after that given up.
    Stopping {
        give_up: u64,
        hard: bool,
    },
    /// Starts again then.
    Backoff {
        until: u64,
    },
    Dead,
}

/// What follows when a stop is through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Die,
    Restart,
    /// Wait for its turn again.
    Rearm,
    /// What the policy for restarts says of a failure.
    Judge,
}

/// A mock's run: its next event and when.
#[derive(Clone, Debug)]
struct MockRun {
    mock: Box<Mock>,
    at: u64,
    started: bool,
}

records! {
/// What is kept of a task on disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TaskRow {
    state: TaskState,
    tracker: restart::Tracker,
    starts: u64,
    handle: Handle,
    /// An executor was begun and its end is not recorded.
    live: bool,
    /// Waits for its next start.
    backoff: bool,
    /// Its artifacts are there.
    fetched: bool,
}
}

#[derive(Clone, Debug)]
pub(crate) struct TaskMachine {
    key: TaskKey,
    pub(crate) hook: String,
    pub(crate) sidecar: bool,
    pub(crate) leader: bool,
    pub(crate) state: TaskState,
    phase: Phase,
    then: Then,
    /// A stop that came before the task was known to run.
    stop_when_started: bool,
    /// It ran when the machine went down.
    cut: bool,
    tracker: restart::Tracker,
    starts: u64,
    /// It has artifacts that are not there yet.
    lacks_artifacts: bool,
    handle: Handle,
    mock: Option<MockRun>,
    /// The last sample, for rates.
    pub(crate) usage: Option<Usage>,
    /// And the one before it.
    pub(crate) before: Option<Usage>,
    /// State that the disk or the servers have not seen.
    pub(crate) changed: bool,
}

impl TaskMachine {
    pub(crate) fn new(alloc: &str, task: &Task, now: Now) -> Self {
        let mut machine = Self::blank(alloc, task);
        machine.state.state = TASK_PENDING.to_owned();
        machine.event(events::received(now.wall_ns));
        machine
    }

    /// Takes up a task where an earlier run of the agent left it.
    pub(crate) fn restore(alloc: &str, task: &Task, row: TaskRow, ctx: &mut Ctx<'_>) -> Self {
        let mut machine = Self::blank(alloc, task);
        machine.state = row.state;
        machine.tracker = row.tracker;
        machine.starts = row.starts;
        machine.lacks_artifacts &= !row.fetched;
        machine.phase = if machine.state.state == TASK_DEAD {
            Phase::Dead
        } else if row.live {
            Phase::Adopting
        } else if row.backoff {
            Phase::Backoff { until: ctx.now.mono_ns }
        } else {
            Phase::Waiting
        };
        machine.handle = row.handle;
        if machine.phase == Phase::Adopting {
            // After a restart of the machine only what the executor left on disk can be asked;
            // its process ids are other processes now.
            let other_boot = machine.handle.boot_id != ctx.config.boot_id;
            if other_boot && !machine.handle.boot_id.is_empty() {
                let Handle { run_dir, boot_id, .. } = machine.handle;
                machine.handle = Handle { boot_id, ..Handle::at(&run_dir) };
                machine.cut = true;
            }
            if task.driver != driver::MOCK {
                let handle = machine.handle.clone();
                ctx.out.push(ClientEffect::Adopt(machine.key.clone(), handle));
            }
        }
        machine
    }

    fn blank(alloc: &str, task: &Task) -> Self {
        let lifecycle = task.lifecycle.as_ref();
        Self {
            key: (alloc.to_owned(), task.name.clone()),
            hook: lifecycle.map(|l| l.hook.clone()).unwrap_or_default(),
            sidecar: lifecycle.is_some_and(|l| l.sidecar),
            leader: task.leader,
            state: TaskState::default(),
            phase: Phase::Waiting,
            then: Then::Die,
            stop_when_started: false,
            cut: false,
            tracker: restart::Tracker::default(),
            starts: 0,
            lacks_artifacts: !task.artifacts.is_empty(),
            handle: Handle::default(),
            mock: None,
            usage: None,
            before: None,
            changed: true,
        }
    }

    pub(crate) fn row(&self) -> TaskRow {
        TaskRow {
            state: self.state.clone(),
            tracker: self.tracker.clone(),
            starts: self.starts,
            handle: self.handle.clone(),
            live: self.is_live(),
            backoff: matches!(self.phase, Phase::Backoff { .. }),
            fetched: !self.lacks_artifacts,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.key.1
    }

    /// For telling whether a step changed anything.
    pub(crate) fn phase_tag(&self) -> std::mem::Discriminant<Phase> {
        std::mem::discriminant(&self.phase)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    pub(crate) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Where its executor is found; empty for a task without one.
    pub(crate) fn executor_dir(&self) -> &str {
        &self.handle.run_dir
    }

    /// Does its work, as far as is known: also while its executor is looked for.
    pub(crate) fn serves(&self) -> bool {
        let known = matches!(self.phase, Phase::Running | Phase::Adopting);
        known && self.state.state == TASK_RUNNING && !self.stop_when_started
    }

    /// Has an executor, as far as is known.
    pub(crate) fn is_live(&self) -> bool {
        match self.phase {
            Phase::Starting
            | Phase::Running
            | Phase::Adopting
            | Phase::Delay { .. }
            | Phase::Stopping { .. } => true,
            Phase::Waiting | Phase::Fetching | Phase::Backoff { .. } | Phase::Dead => false,
        }
    }

    pub(crate) fn lacks_artifacts(&self) -> bool {
        self.lacks_artifacts
    }

    /// Begun, and will be begun again after it is stopped.
    pub(crate) fn is_rearming(&self) -> bool {
        self.is_live() && self.then == Then::Rearm && self.is_stopping()
    }

    fn is_stopping(&self) -> bool {
        self.stop_when_started || matches!(self.phase, Phase::Delay { .. } | Phase::Stopping { .. })
    }

    /// A mock has no executor to ask.
    pub(crate) fn is_mock(&self) -> bool {
        self.mock.is_some()
    }

    fn begins(&mut self, wall_ns: i64) {
        let known = |e: &TaskEvent| e.message == events::BUILDING;
        if self.starts == 0 && !self.state.events.iter().any(known) {
            self.event(events::setup(wall_ns));
        }
    }

    /// Fetches the artifacts of the task, before anything else.
    pub(crate) fn fetch(&mut self, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        assert!(matches!(self.phase, Phase::Waiting | Phase::Backoff { .. }));
        self.begins(ctx.now.wall_ns);
        self.event(events::artifacts(ctx.now.wall_ns));
        self.phase = Phase::Fetching;
        match super::files::artifacts(spec, ctx) {
            Ok(fetch) => ctx.out.push(ClientEffect::Fetch(self.key.clone(), fetch)),
            Err(text) => self.fetched(Err((text, false)), spec, ctx),
        }
    }

    /// They are there, or not; then with whether another try may help.
    pub(crate) fn fetched(
        &mut self,
        result: Result<(), (String, bool)>,
        spec: Spec<'_>,
        ctx: &mut Ctx<'_>,
    ) {
        if self.phase != Phase::Fetching {
            return;
        }
        match result {
            Ok(()) => {
                self.lacks_artifacts = false;
                self.phase = Phase::Waiting;
                self.changed = true;
            }
            Err((text, recoverable)) => {
                self.event(events::artifact_failed(ctx.now.wall_ns, &text));
                self.ended(End::StartError { recoverable }, spec, ctx);
            }
        }
    }

    /// Begins the task. `files_error` is what kept its files from being made.
    pub(crate) fn start(
        &mut self,
        spec: Spec<'_>,
        files_error: Option<&str>,
        given: Given,
        ctx: &mut Ctx<'_>,
    ) {
        assert!(matches!(self.phase, Phase::Waiting | Phase::Backoff { .. }));
        let wall = ctx.now.wall_ns;
        self.begins(wall);
        if let Some(text) = files_error {
            self.event(events::setup_failure(wall, text));
            return self.ended(End::StartError { recoverable: false }, spec, ctx);
        }
        let volumes = match super::files::volumes(spec, ctx) {
            Ok(volumes) => volumes,
            Err(text) => {
                self.event(events::setup_failure(wall, &text));
                return self.ended(End::StartError { recoverable: false }, spec, ctx);
            }
        };
        let dirs = TaskDirs::host(&alloc_root(ctx.config, &spec.alloc.id), &spec.task.name);
        let mut scope = env::build(&sources(spec, ctx, &dirs));
        scope.vars.extend(given.vars);
        match driver::launch(&spec.task.driver, &spec.task.config, &scope) {
            Err(text) => {
                self.event(events::failed_validation(wall, &text));
                self.ended(End::StartError { recoverable: false }, spec, ctx);
            }
            Ok(Launch::Mock(mock)) => {
                self.starts += 1;
                ctx.turn.note(Happened::Start);
                self.phase = Phase::Starting;
                self.changed = true;
                let at = ctx.now.mono_ns + mock.start_block_for_ns;
                self.mock = Some(MockRun { mock, at, started: false });
            }
            Ok(Launch::Process { command, args, work_dir, denied_env }) => {
                self.starts += 1;
                ctx.turn.note(Happened::Start);
                self.phase = Phase::Starting;
                self.changed = true;
                let run_dir = self.run_dir(ctx.config);
                let boot_id = ctx.config.boot_id.clone();
                self.handle = Handle { boot_id, ..Handle::at(&run_dir) };
                let log = spec.task.log_config.clone().unwrap_or_default();
                let task_dir = dirs.task.clone();
                let cwd = if work_dir.is_empty() {
                    dirs.task
                } else if work_dir.starts_with('/') {
                    work_dir
                } else {
                    format!("{}/{work_dir}", dirs.task)
                };
                let env = scope.vars.into_iter().filter(|(n, _)| !driver::denied(n, &denied_env));
                let start = StartSpec {
                    run_dir,
                    command,
                    args,
                    env: env.collect(),
                    cwd,
                    task_dir,
                    mounts: if ctx.config.mounts { volumes } else { Vec::new() },
                    user: spec.task.user.clone(),
                    log_dir: dirs.logs,
                    task: spec.task.name.clone(),
                    log_max_files: at_least_one(log.max_files.unwrap_or(10)),
                    log_max_bytes: u64::from(at_least_one(log.max_file_size_mb.unwrap_or(10)))
                        << 20,
                    log_disabled: log.disabled.unwrap_or(false),
                    memory_max_bytes: 0,
                    cpu_weight: 0,
                };
                if !given.files.is_empty() {
                    ctx.out.push(ClientEffect::Place(self.key.clone(), given.files));
                }
                ctx.out.push(ClientEffect::Start(self.key.clone(), start));
            }
        }
    }

    /// What the executor, or the mock in its place, says.
    pub(crate) fn executor(&mut self, event: ExecutorEvent, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        if !self.is_live() {
            return;
        }
        match event {
            ExecutorEvent::Hello { .. }
            | ExecutorEvent::Signaled { .. }
            | ExecutorEvent::Ran { .. }
            | ExecutorEvent::Attached
            | ExecutorEvent::Stats { .. } => {}
            ExecutorEvent::Started(handle) => self.started(handle, spec, ctx),
            ExecutorEvent::StartFailed { error } => self.start_failed(&error, spec, ctx),
            ExecutorEvent::Exited(exit) if !exit.start_error.is_empty() => {
                self.start_failed(&exit.start_error, spec, ctx);
            }
            ExecutorEvent::Exited(exit) => self.exited(&exit, "", spec, ctx),
            ExecutorEvent::Lost { reason } => {
                self.exited(&Exit::default(), &format!("executor lost: {reason}"), spec, ctx);
            }
        }
    }

    fn started(&mut self, handle: Handle, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        self.handle = handle;
        self.changed = true;
        match self.phase {
            Phase::Starting => self.note_start(ctx),
            // A start that was recorded without its answer is noted now.
            Phase::Adopting if self.state.state != TASK_RUNNING => self.note_start(ctx),
            Phase::Adopting => {}
            Phase::Waiting
            | Phase::Fetching
            | Phase::Running
            | Phase::Delay { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Dead => return,
        }
        self.phase = Phase::Running;
        if std::mem::take(&mut self.stop_when_started) {
            self.begin_stop(spec, ctx);
        }
    }

    fn note_start(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now;
        ctx.turn.note(Happened::Running);
        self.state.state = TASK_RUNNING.to_owned();
        self.state.started_at = Time(now.wall_ns);
        self.event(events::started(now.wall_ns));
    }

    fn start_failed(&mut self, error: &str, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        let recoverable = self.mock.as_ref().is_some_and(|m| m.mock.start_error_recoverable);
        let text = if self.mock.is_some() {
            error.to_owned()
        } else {
            format!("failed to launch command with executor: {error}")
        };
        self.event(events::driver_failure(ctx.now.wall_ns, &text));
        self.ended(End::StartError { recoverable }, spec, ctx);
    }

    /// `lost` is what happened where no exit is known.
    fn exited(&mut self, exit: &Exit, lost: &str, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        let message = match &self.mock {
            Some(m) if lost.is_empty() => m.mock.exit_err_msg.clone(),
            _ => lost.to_owned(),
        };
        self.event(events::terminated(ctx.now.wall_ns, exit, &message));
        if exit.oom_killed {
            ctx.turn.note(Happened::OomKilled);
        }
        if std::mem::take(&mut self.cut) && !lost.is_empty() {
            return self.ended(End::MachineLost, spec, ctx);
        }
        let success = exit.code == 0 && exit.signal == 0 && message.is_empty();
        self.ended(End::Exit { success }, spec, ctx);
    }

    /// One run is over: cleans up after it and decides what follows.
    fn ended(&mut self, end: End, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        let stopping = self.is_stopping();
        self.release(ctx);
        self.stop_when_started = false;
        let end = match self.then {
            _ if !stopping => end,
            Then::Die => {
                self.event(events::killed(ctx.now.wall_ns, ""));
                return self.die(false, ctx);
            }
            Then::Restart => return self.back_off(0, "", false, ctx),
            Then::Rearm => {
                self.back_off(0, "", false, ctx);
                self.phase = Phase::Waiting;
                return;
            }
            Then::Judge => End::Exit { success: false },
        };
        let policy = policy(spec);
        let on_success = restart::restarts_on_success(&spec.job.kind, &self.hook, self.sidecar);
        let jitter = ctx.random();
        match self.tracker.decide(policy, on_success, end, ctx.now.mono_ns, jitter) {
            Decision::Restart { delay_ns, reason, shown } => {
                self.back_off(delay_ns, reason, shown, ctx);
            }
            Decision::Finish => self.die(false, ctx),
            Decision::Fail(reason) => {
                self.event(events::not_restarting(ctx.now.wall_ns, &reason));
                self.die(true, ctx);
            }
        }
    }

    /// Lets the executor go and removes what it needed.
    fn release(&mut self, ctx: &mut Ctx<'_>) {
        self.mock = None;
        (self.usage, self.before) = (None, None);
        let handle = std::mem::take(&mut self.handle);
        if !handle.run_dir.is_empty() {
            ctx.out.push(ClientEffect::Executor(self.key.clone(), ExecutorCmd::Shutdown));
            ctx.out.push(ClientEffect::RemoveTree { path: handle.run_dir, alloc: None });
        }
    }

    fn back_off(&mut self, delay_ns: u64, reason: &str, shown: bool, ctx: &mut Ctx<'_>) {
        let now = ctx.now;
        ctx.turn.note(Happened::Restart);
        let shown_ns = i64::try_from(delay_ns).unwrap_or(i64::MAX);
        self.event(events::restarting(now.wall_ns, shown_ns, reason, shown));
        TASK_PENDING.clone_into(&mut self.state.state);
        self.state.restarts += 1;
        self.state.last_restart = Time(now.wall_ns);
        self.then = Then::Die;
        self.phase = Phase::Backoff { until: now.mono_ns + delay_ns };
    }

    fn die(&mut self, failed: bool, ctx: &mut Ctx<'_>) {
        let now = ctx.now;
        let failure = failed || self.state.failed;
        ctx.turn.note(if failure { Happened::Failed } else { Happened::Complete });
        TASK_DEAD.clone_into(&mut self.state.state);
        self.state.failed |= failed;
        self.state.finished_at = Time(now.wall_ns);
        self.phase = Phase::Dead;
        self.changed = true;
    }

    /// Dead without ever having been begun, because of what went wrong around it.
    pub(crate) fn fail_setup(&mut self, text: &str, ctx: &mut Ctx<'_>) {
        if self.phase != Phase::Dead {
            self.event(events::setup_failure(ctx.now.wall_ns, text));
            self.die(true, ctx);
        }
    }

    /// Asks for a stop; `why` is noted where the stop is new. A stop for good overrides one for a
    /// restart.
    pub(crate) fn stop(
        &mut self,
        then: Then,
        why: Option<TaskEvent>,
        skip_delay: bool,
        spec: Spec<'_>,
        ctx: &mut Ctx<'_>,
    ) {
        if self.is_stopping() {
            if then == Then::Die && self.then != Then::Die {
                self.then = Then::Die;
                self.changed = true;
            }
            if skip_delay && matches!(self.phase, Phase::Delay { .. }) {
                let delay = spec.task.shutdown_delay;
                self.event(events::shutdown_delay_skipped(ctx.now.wall_ns, "", delay));
                self.begin_stop(spec, ctx);
            }
            return;
        }
        if self.phase == Phase::Dead {
            return;
        }
        if let Some(why) = why {
            self.event(why);
        }
        match self.phase {
            Phase::Waiting | Phase::Fetching | Phase::Backoff { .. } => {
                if self.phase == Phase::Fetching {
                    ctx.out.push(ClientEffect::FetchEnd(self.key.clone()));
                }
                if then == Then::Die {
                    self.event(events::killed(ctx.now.wall_ns, ""));
                    self.die(false, ctx);
                } else {
                    self.phase = Phase::Waiting;
                }
            }
            Phase::Starting | Phase::Adopting => {
                self.then = then;
                self.stop_when_started = true;
            }
            Phase::Running => {
                self.then = then;
                let delay = spec.task.shutdown_delay;
                match u64::try_from(delay) {
                    Ok(ns) if ns > 0 && !skip_delay && then == Then::Die => {
                        self.event(events::shutdown_delay(ctx.now.wall_ns, "", delay));
                        self.phase = Phase::Delay { until: ctx.now.mono_ns + ns };
                    }
                    _ => self.begin_stop(spec, ctx),
                }
            }
            Phase::Delay { .. } | Phase::Stopping { .. } | Phase::Dead => {}
        }
    }

    fn begin_stop(&mut self, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        let grace = kill_timeout(spec.task, ctx.config);
        if self.then == Then::Die {
            let shown = i64::try_from(grace).unwrap_or(i64::MAX);
            self.event(events::killing(ctx.now.wall_ns, shown));
        }
        self.changed = true;
        self.phase = Phase::Stopping { give_up: ctx.now.mono_ns + grace + ANSWER_NS, hard: false };
        if let Some(run) = &mut self.mock {
            run.at = ctx.now.mono_ns + run.mock.kill_after_ns.min(grace);
        } else {
            let signal = driver::signal_or_interrupt(&spec.task.kill_signal);
            let kill = ExecutorCmd::Kill { signal, grace_ns: grace };
            ctx.out.push(ClientEffect::Executor(self.key.clone(), kill));
        }
    }

    /// Begins anew what has ended, when its turn comes again.
    pub(crate) fn rearm(&mut self, ctx: &mut Ctx<'_>) {
        assert!(self.phase == Phase::Dead);
        self.back_off(0, "", false, ctx);
        self.state.finished_at = Time(0);
        self.phase = Phase::Waiting;
    }

    /// # Errors
    /// Why the signal cannot be sent, for the one who asked.
    pub(crate) fn signal(
        &mut self,
        name: &str,
        token: u64,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        if self.phase != Phase::Running {
            return Err("Task not running".to_owned());
        }
        self.event(events::signaling(ctx.now.wall_ns, name));
        if let Some(run) = &self.mock {
            let error = &run.mock.signal_error;
            return if error.is_empty() { Ok(()) } else { Err(error.clone()) };
        }
        let signal = driver::signal_or_interrupt(name);
        let cmd = ExecutorCmd::Signal { token, signal };
        ctx.out.push(ClientEffect::Executor(self.key.clone(), cmd));
        Ok(())
    }

    /// Asks for a sample; false where there is nothing to ask.
    pub(crate) fn sample(&self, token: u64, ctx: &mut Ctx<'_>) -> bool {
        let ask = self.is_running() && !self.is_mock();
        if ask {
            let cmd = ExecutorCmd::Stats { token };
            ctx.out.push(ClientEffect::Executor(self.key.clone(), cmd));
        }
        ask
    }

    /// Monotonic nanoseconds of what has to happen next.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let own = match self.phase {
            Phase::Delay { until } | Phase::Backoff { until } => Some(until),
            Phase::Stopping { give_up, .. } => Some(give_up),
            Phase::Waiting
            | Phase::Fetching
            | Phase::Starting
            | Phase::Running
            | Phase::Adopting
            | Phase::Dead => None,
        };
        let mock = self.mock.as_ref().map(|m| m.at);
        own.into_iter().chain(mock).min()
    }

    /// Does what is due. Starts are left to the caller: see [`Self::wants_start`].
    pub(crate) fn timer(&mut self, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono_ns;
        if self.mock.as_ref().is_some_and(|m| m.at <= now) {
            self.mock_due(spec, ctx);
        }
        // A mock does not outlive its agent.
        if self.phase == Phase::Adopting && spec.task.driver == driver::MOCK {
            self.exited(&Exit::default(), "executor lost: the agent was restarted", spec, ctx);
        }
        match self.phase {
            Phase::Delay { until } if until <= now => self.begin_stop(spec, ctx),
            Phase::Stopping { give_up, hard: false } if give_up <= now => {
                self.phase = Phase::Stopping { give_up: now + ANSWER_NS, hard: true };
                let kill = ExecutorCmd::Kill { signal: KILL, grace_ns: 0 };
                ctx.out.push(ClientEffect::Executor(self.key.clone(), kill));
            }
            Phase::Stopping { give_up, hard: true } if give_up <= now => {
                self.exited(&Exit::default(), "executor lost: no answer to a kill", spec, ctx);
            }
            Phase::Waiting
            | Phase::Fetching
            | Phase::Starting
            | Phase::Running
            | Phase::Adopting
            | Phase::Delay { .. }
            | Phase::Stopping { .. }
            | Phase::Backoff { .. }
            | Phase::Dead => {}
        }
    }

    /// Its time to start again has come.
    pub(crate) fn wants_start(&self, now_ns: u64) -> bool {
        matches!(self.phase, Phase::Backoff { until } if until <= now_ns)
    }

    /// Its time has come, and not yet what it needs.
    pub(crate) fn wait(&mut self) {
        assert!(matches!(self.phase, Phase::Backoff { .. }));
        self.phase = Phase::Waiting;
        self.changed = true;
    }

    fn mock_due(&mut self, spec: Spec<'_>, ctx: &mut Ctx<'_>) {
        let Some(run) = &mut self.mock else { return };
        if run.started {
            let killed = matches!(self.phase, Phase::Stopping { .. });
            let exit = if killed {
                Exit::default()
            } else {
                Exit { code: run.mock.exit_code, signal: run.mock.exit_signal, ..Exit::default() }
            };
            return self.exited(&exit, "", spec, ctx);
        }
        if !run.mock.start_error.is_empty() {
            let text = run.mock.start_error.clone();
            return self.start_failed(&text, spec, ctx);
        }
        run.started = true;
        run.at = ctx.now.mono_ns.saturating_add(run.mock.run_for_ns);
        self.started(Handle::default(), spec, ctx);
    }

    pub(crate) fn event(&mut self, event: TaskEvent) {
        events::push(&mut self.state, event);
        self.changed = true;
    }

    /// Unique per start, short enough for a socket path.
    fn run_dir(&self, config: &ClientConfig) -> String {
        let mut hash = crate::client::hash::Fnv::default();
        hash.text(&self.key.0);
        hash.text(&self.key.1);
        format!("{}/{:016x}-{}", config.run_dir, hash.finish(), self.starts)
    }
}

/// The directory of an allocation.
pub(crate) fn alloc_root(config: &ClientConfig, alloc: &str) -> String {
    format!("{}/{alloc}", config.alloc_dir)
}

/// What the environment of a task is made from.
pub(crate) fn sources<'a>(spec: Spec<'a>, ctx: &'a Ctx<'_>, dirs: &'a TaskDirs) -> Sources<'a> {
    Sources {
        alloc: spec.alloc,
        job: spec.job,
        group: spec.group,
        task: spec.task,
        node: ctx.node,
        region: &ctx.config.region,
        dirs,
        host_env: &ctx.config.host_env,
        denylist: &ctx.config.env_denylist,
    }
}

fn policy<'a>(spec: Spec<'a>) -> &'a RestartPolicy {
    static NONE: RestartPolicy = RestartPolicy {
        attempts: None,
        delay: None,
        interval: None,
        mode: None,
        render_templates: None,
    };
    spec.task.restart_policy.as_ref().or(spec.group.restart_policy.as_ref()).unwrap_or(&NONE)
}

/// The task's own, or 5 s, but not more than the node allows.
fn kill_timeout(task: &Task, config: &ClientConfig) -> u64 {
    let most =
        if config.max_kill_timeout_ns > 0 { config.max_kill_timeout_ns } else { KILL_MAX_NS };
    let asked = task.kill_timeout.unwrap_or(KILL_TIMEOUT_NS).clamp(0, most);
    u64::try_from(asked).unwrap_or(0)
}

fn at_least_one(n: i64) -> u32 {
    u32::try_from(n.max(1)).unwrap_or(u32::MAX)
}

/// SIGKILL.
const KILL: i32 = 9;
/// Default of `kill_timeout`.
const KILL_TIMEOUT_NS: i64 = 5_000_000_000;
/// Default of `max_kill_timeout`.
const KILL_MAX_NS: i64 = 30_000_000_000;
/// How long an executor may take beyond the grace it was given, nanoseconds. Past it the task is
/// killed hard, past it again the executor counts as lost.
const ANSWER_NS: u64 = 10_000_000_000;
