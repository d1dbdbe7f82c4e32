//! One allocation: the order in which its tasks begin and end.
//!
//! Nothing is remembered that follows from the states of the tasks: every step looks at all of
//! them anew ([`AllocMachine::advance`]), so a restart of the agent at any point finds its way.
//!
//! Order: `prestart` tasks end (sidecars run) → main tasks → `poststart` once all main tasks run →
//! the end of the main tasks stops the sidecars → `poststop`.

use std::rc::Rc;

use crate::api::status::{
    CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_PENDING, CLIENT_RUNNING, DESIRED_EVICT, DESIRED_STOP,
    JOB_BATCH, JOB_SYSBATCH, TASK_RUNNING,
};
use crate::api::{AllocDeploymentStatus, AllocNetworkStatus, Allocation, Job, Task, TaskGroup};
use crate::client::checks::{Checks, ProbeEvent};
use crate::client::env::TaskDirs;
use crate::client::exec_proto::{ExecutorCmd, ExecutorEvent};
use crate::client::health::{self, Watch};
use crate::client::interpolate::Scope;
use crate::client::persist::{Kept, RunRow};
use crate::client::services::Services;
use crate::client::supply::{Change, Supply, SupplyRow};
use crate::client::task::{Ctx, Spec, TaskMachine, Then, alloc_root, sources};
use crate::client::templates::{Place, Templates};
use crate::client::{ClientEffect, Told};
use crate::client::{env, events, files};
use crate::command::AllocClientState;
use crate::stdx::json::Time;
use crate::stdx::{BTreeMap, duration, sort};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Dirs {
    Missing,
    Asked,
    Built,
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    No,
    Until(u64),
    Over,
}

/// Why tasks have to end.
#[derive(Debug, PartialEq, Eq)]
enum Cause {
    None,
    /// The servers, a limit, or the operator want the allocation stopped.
    Stop,
    Sibling(String),
    Leader,
    MainsDead,
}

#[derive(Clone, Debug)]
pub(crate) struct AllocMachine {
    pub(crate) alloc: Rc<Allocation>,
    job: Rc<Job>,
    pub(crate) tasks: Vec<TaskMachine>,
    dirs: Dirs,
    /// Tasks whose files could not be made.
    file_errors: BTreeMap<String, String>,
    run: RunRow,
    /// Monotonic nanoseconds of the end that `max_run_duration` sets.
    run_until: Option<u64>,
    /// The group's `shutdown_delay`, which holds a stop back.
    hold: Hold,
    /// Allocations of this node that have to end first.
    pub(crate) waits: Vec<String>,
    watch: Option<Watch>,
    pub(crate) services: Services,
    pub(crate) checks: Checks,
    pub(crate) supply: Supply,
    pub(crate) templates: Templates,
    /// Collected on the servers: ends without a report.
    pub(crate) gone: bool,
    /// Stopped here because no server was to be reached for too long.
    pub(crate) cut_off: bool,
    /// `run` is not on disk as it is here.
    pub(crate) run_changed: bool,
    /// `alloc` is not on disk as it is here.
    pub(crate) alloc_changed: bool,
    /// The servers have not been told.
    pub(crate) report: bool,
    /// Client status that was last reported.
    pub(crate) reported: &'static str,
}

impl AllocMachine {
    /// `None` where the allocation names a group that its job does not have.
    pub(crate) fn new(alloc: &Rc<Allocation>, ctx: &mut Ctx<'_>) -> Option<Self> {
        let job = Rc::clone(alloc.job.as_ref()?);
        let group = group_of(&job, &alloc.task_group)?;
        let tasks = group.tasks.iter().map(|t| TaskMachine::new(&alloc.id, t, ctx.now)).collect();
        let run = RunRow { begun_wall_ns: ctx.now.wall_ns, ..RunRow::default() };
        let mut machine = Self::blank(alloc, &job, tasks, run);
        machine.arm(ctx);
        Some(machine)
    }

    /// Takes up an allocation where an earlier run of the agent left it.
    pub(crate) fn restore(kept: Kept, ctx: &mut Ctx<'_>) -> Option<Self> {
        let Kept { alloc, run, supply, tasks: mut rows } = kept;
        let alloc = &alloc;
        let job = Rc::clone(alloc.job.as_ref()?);
        let group = group_of(&job, &alloc.task_group)?;
        let tasks = group
            .tasks
            .iter()
            .map(|t| match rows.remove(&t.name) {
                Some(row) => TaskMachine::restore(&alloc.id, t, row, ctx),
                None => TaskMachine::new(&alloc.id, t, ctx.now),
            })
            .collect();
        let mut machine = Self::blank(alloc, &job, tasks, run);
        machine.alloc_changed = false;
        machine.run_changed = false;
        machine.supply = Supply::restore(supply.identities);
        machine.templates = Templates::restore(supply.answers);
        for task in machine.tasks.iter().filter(|t| t.is_live()) {
            machine.templates.adopted(task.name());
        }
        if machine.run.built {
            machine.dirs = Dirs::Built;
        }
        machine.arm(ctx);
        Some(machine)
    }

    fn blank(alloc: &Rc<Allocation>, job: &Rc<Job>, tasks: Vec<TaskMachine>, run: RunRow) -> Self {
        Self {
            alloc: Rc::clone(alloc),
            job: Rc::clone(job),
            tasks,
            dirs: Dirs::Missing,
            file_errors: BTreeMap::new(),
            run,
            run_until: None,
            hold: Hold::No,
            waits: std::iter::once(&alloc.previous_allocation)
                .chain(&alloc.preempted_allocations)
                .filter(|id| !id.is_empty())
                .cloned()
                .collect(),
            watch: None,
            services: Services::default(),
            checks: Checks::default(),
            supply: Supply::default(),
            templates: Templates::default(),
            gone: false,
            cut_off: false,
            run_changed: true,
            alloc_changed: true,
            report: true,
            reported: "",
        }
    }

    /// Sets the clocks that follow from the description.
    fn arm(&mut self, ctx: &Ctx<'_>) {
        let Some(group) = group_of(&self.job, &self.alloc.task_group) else { return };
        let batch = self.job.kind == JOB_BATCH || self.job.kind == JOB_SYSBATCH;
        self.run_until = group.max_run_duration.filter(|ns| batch && *ns > 0).map(|ns| {
            let spent = ctx.now.wall_ns.saturating_sub(self.run.begun_wall_ns).max(0);
            ctx.now.mono_ns + u64::try_from(ns.saturating_sub(spent)).unwrap_or(0)
        });
        let decided = self.run.healthy.is_some()
            || self.alloc.deployment_status.as_ref().is_some_and(|d| d.healthy.is_some());
        let terms = health::terms(&self.alloc, &self.job, group).filter(|_| !decided);
        self.watch = terms.map(|t| match self.watch {
            Some(watch) if watch.terms == t => watch,
            _ => Watch::new(t, ctx.now.mono_ns),
        });
    }

    /// The servers' newer description of the same allocation.
    pub(crate) fn update(&mut self, alloc: &Rc<Allocation>, ctx: &mut Ctx<'_>) {
        assert!(alloc.id == self.alloc.id);
        if self.alloc.deployment_id != alloc.deployment_id {
            self.run.healthy = None;
            self.run_changed = true;
        }
        if let Some(job) = &alloc.job {
            self.job = Rc::clone(job);
        }
        self.alloc = Rc::clone(alloc);
        self.alloc_changed = true;
        self.arm(ctx);
        self.advance(ctx);
    }

    pub(crate) fn dirs_built(&mut self, result: Result<(), String>, ctx: &mut Ctx<'_>) {
        if self.dirs == Dirs::Asked {
            self.dirs = match result {
                Ok(()) => {
                    self.run.built = true;
                    self.run_changed = true;
                    Dirs::Built
                }
                Err(text) => Dirs::Failed(format!(
                    "failed to setup alloc: pre-run hook \"alloc_dir\" failed: {text}"
                )),
            };
            self.advance(ctx);
        }
    }

    pub(crate) fn executor(&mut self, task: &str, event: &ExecutorEvent, ctx: &mut Ctx<'_>) {
        self.each(ctx, |machine, spec, ctx| {
            if machine.name() == task {
                machine.executor(event.clone(), spec, ctx);
            }
        });
        self.advance(ctx);
    }

    /// Does what is due.
    pub(crate) fn timer(&mut self, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono_ns;
        if self.run_until.is_some_and(|at| at <= now) && !self.is_terminal() {
            self.run_until = None;
            self.run.over = true;
            self.run_changed = true;
        }
        self.each(ctx, |machine, spec, ctx| machine.timer(spec, ctx));
        let alloc = Rc::clone(&self.alloc);
        self.checks.timer(&alloc.id, ctx);
        self.heed_checks(ctx);
    }

    /// The servers have answered a question; it may be that of another allocation.
    pub(crate) fn told(&mut self, id: u64, told: Option<&Told>, ctx: &mut Ctx<'_>) {
        if self.templates.told(id, told, ctx) {
            return self.advance(ctx);
        }
        if !self.supply.awaits(id) {
            return;
        }
        let (alloc, job) = (Rc::clone(&self.alloc), Rc::clone(&self.job));
        let Some(group) = group_of(&job, &alloc.task_group) else { return };
        for change in self.supply.told(told, &alloc.id, group, ctx) {
            self.change(change, ctx);
        }
        self.advance(ctx);
    }

    /// Gives a running task what is new, and tells it as it wants to be told.
    fn change(&mut self, change: Change, ctx: &mut Ctx<'_>) {
        let Change { task, files, mode, signal, script, why } = change;
        self.each(ctx, |machine, spec, ctx| {
            if machine.name() != task || !machine.is_running() {
                return;
            }
            if !files.is_empty() {
                let key = (spec.alloc.id.clone(), task.clone());
                ctx.out.push(ClientEffect::Place(key, files.clone()));
            }
            match mode.as_str() {
                "restart" => {
                    let event = events::restart_signaled(ctx.now.wall_ns, &why);
                    machine.stop(Then::Restart, Some(event), true, spec, ctx);
                }
                // Nobody waits for how it goes.
                "signal" => drop(machine.signal(&signal, 0, ctx)),
                "script" => {
                    let Some(script) = &script else { return };
                    let timeout = script.timeout.and_then(|ns| u64::try_from(ns).ok());
                    let command = ExecutorCmd::Run {
                        id: if script.fail_on_error { SCRIPT_FATAL } else { SCRIPT }.to_owned(),
                        command: script.command.clone(),
                        args: script.args.clone(),
                        timeout_ns: timeout.unwrap_or(SCRIPT_NS),
                    };
                    let key = (spec.alloc.id.clone(), task.clone());
                    ctx.out.push(ClientEffect::Executor(key, command));
                }
                _ => {}
            }
        });
    }

    /// Renders the templates of all tasks that may still start or run.
    fn render(&mut self, at: Spec<'_>, ctx: &mut Ctx<'_>) {
        // What lies in files may be made by tasks that run before.
        let may = |t: &TaskMachine| !t.is_waiting() || self.may_start(t);
        let begun = |t: &&TaskMachine| !t.lacks_artifacts() && may(t);
        let built = self.dirs == Dirs::Built;
        let turns = self.tasks.iter().filter(|_| built).filter(begun);
        let turns: Vec<String> = turns.map(|t| t.name().to_owned()).collect();
        let tasks = at.group.tasks.iter().filter(|t| !t.templates.is_empty());
        for task in tasks.filter(|t| self.supply.has_all(t)) {
            let Some(machine) = self.tasks.iter_mut().find(|m| m.name() == task.name) else {
                continue;
            };
            if machine.is_dead() {
                continue;
            }
            let spec = Spec { task, ..at };
            let scope = scope(spec, &self.supply, ctx);
            let place =
                Place { files: turns.contains(&task.name), ..place(spec, &scope, &self.supply) };
            self.templates.advance(&place, ctx);
            if let Some(text) = self.templates.news(&task.name) {
                machine.event(events::template(ctx.now.wall_ns, &text));
            }
        }
    }

    /// Gives running tasks what was rendered anew, where its time has come.
    fn apply_templates(&mut self, ctx: &mut Ctx<'_>) {
        let (alloc, job) = (Rc::clone(&self.alloc), Rc::clone(&self.job));
        let Some(group) = group_of(&job, &alloc.task_group) else { return };
        let mut changes = Vec::new();
        for task in group.tasks.iter().filter(|t| !t.templates.is_empty()) {
            if self.tasks.iter().any(|t| t.name() == task.name && t.is_running()) {
                changes.extend(self.templates.first(task));
            }
            if !self.templates.is_due(&task.name, ctx.now) {
                continue;
            }
            let spec = Spec { alloc: &alloc, job: &job, group, task };
            let scope = scope(spec, &self.supply, ctx);
            changes.extend(self.templates.due(&place(spec, &scope, &self.supply), ctx));
        }
        for change in changes {
            self.change(change, ctx);
        }
    }

    /// What is kept of what servers gave.
    pub(crate) fn supply_row(&self) -> SupplyRow {
        SupplyRow { identities: self.supply.identities().clone(), answers: self.templates.kept() }
    }

    /// How the script of a change mode went.
    pub(crate) fn script_ran(
        &mut self,
        task: &str,
        id: &str,
        text: Option<String>,
        ctx: &mut Ctx<'_>,
    ) {
        let Some(text) = text else { return };
        self.each(ctx, |machine, spec, ctx| {
            if machine.name() == task && machine.is_running() {
                machine.event(events::template(ctx.now.wall_ns, &text));
                if id == SCRIPT_FATAL {
                    machine.stop(Then::Judge, None, true, spec, ctx);
                }
            }
        });
        self.advance(ctx);
    }

    /// Files of a task were written, or not.
    pub(crate) fn placed(&mut self, task: &str, result: Result<(), String>, ctx: &mut Ctx<'_>) {
        let Err(text) = result else { return };
        if let Some(machine) = self.tasks.iter_mut().find(|t| t.name() == task) {
            machine.event(events::setup_failure(ctx.now.wall_ns, &text));
        }
        self.advance(ctx);
    }

    /// The artifacts of a task were fetched, or not.
    pub(crate) fn fetched(
        &mut self,
        task: &str,
        result: Result<(), (String, bool)>,
        ctx: &mut Ctx<'_>,
    ) {
        let mut result = Some(result);
        self.each(ctx, |machine, spec, ctx| {
            if machine.name() == task
                && let Some(result) = result.take()
            {
                machine.fetched(result, spec, ctx);
            }
        });
        self.advance(ctx);
    }

    /// How a probe of a check goes on.
    pub(crate) fn probe(&mut self, check: &str, event: ProbeEvent, ctx: &mut Ctx<'_>) {
        let alloc = Rc::clone(&self.alloc);
        self.checks.probe(&alloc.id, check, event, ctx);
        self.heed_checks(ctx);
    }

    /// Starts anew what its checks found broken.
    fn heed_checks(&mut self, ctx: &mut Ctx<'_>) {
        for (task, check) in std::mem::take(&mut self.checks.restarts) {
            let reason = format!("healthcheck: check {check:?} unhealthy");
            self.each(ctx, |machine, spec, ctx| {
                let chosen =
                    if task.is_empty() { machine.hook.is_empty() } else { machine.name() == task };
                if chosen && machine.is_running() {
                    let why = events::restart_signaled(ctx.now.wall_ns, &reason);
                    machine.stop(Then::Judge, Some(why), true, spec, ctx);
                }
            });
        }
        self.advance(ctx);
    }

    /// Monotonic nanoseconds of what has to happen next.
    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.is_terminal() {
            return None;
        }
        let watch = self.watch.filter(|_| !self.must_stop()).map(|w| w.deadline());
        let held = if let Hold::Until(at) = self.hold { Some(at) } else { None };
        let tasks = self.tasks.iter().filter_map(TaskMachine::deadline);
        // While tasks end nothing is asked.
        let asks = self.cause() == Cause::None && self.waits.is_empty();
        let supply = self.supply.deadline().filter(|_| asks);
        let templates = self.templates.deadline().filter(|_| asks);
        let rest = [self.run_until, held, watch, self.checks.deadline(), supply, templates];
        tasks.chain(rest.into_iter().flatten()).min()
    }

    /// When the verdict on its health falls, where that is so soon that a report waits for it:
    /// whoever sees it run sees then that it is healthy, and the log is an entry shorter.
    pub(crate) fn verdict_due(&self, now: u64) -> Option<u64> {
        let at = self.watch.filter(|_| !self.must_stop())?.deadline();
        (at > now && at - now <= VERDICT_NS).then_some(at)
    }

    /// All tasks are dead; nothing happens any more.
    pub(crate) fn is_terminal(&self) -> bool {
        self.tasks.iter().all(TaskMachine::is_dead)
    }

    /// Time at which the last task ended, for the order of collection.
    pub(crate) fn finished_at(&self) -> i64 {
        self.tasks.iter().map(|t| t.state.finished_at.0).max().unwrap_or(0)
    }

    pub(crate) fn must_stop(&self) -> bool {
        self.desired_stop() || self.gone || self.cut_off || self.run.over
    }

    fn desired_stop(&self) -> bool {
        self.alloc.desired_status == DESIRED_STOP || self.alloc.desired_status == DESIRED_EVICT
    }

    /// Nanoseconds after which an allocation without contact to the servers is to be stopped.
    pub(crate) fn cut_off_after(&self) -> Option<u64> {
        let group = group_of(&self.job, &self.alloc.task_group)?;
        let ns = group.disconnect.as_ref()?.stop_on_client_after?;
        u64::try_from(ns).ok().filter(|_| !self.must_stop() && !self.is_terminal())
    }

    /// Starts and stops whatever the state of the tasks asks for.
    pub(crate) fn advance(&mut self, ctx: &mut Ctx<'_>) {
        let (alloc, job) = (Rc::clone(&self.alloc), Rc::clone(&self.job));
        let Some(group) = group_of(&job, &alloc.task_group) else { return };
        // A pass changes at least one task or is the last; a task has few changes in one step.
        for _ in 0..=8 * self.tasks.len() {
            let before: Vec<_> = self.tasks.iter().map(TaskMachine::phase_tag).collect();
            self.stop_due(&alloc, &job, group, ctx);
            self.start_due(&alloc, &job, group, ctx);
            if self.tasks.iter().map(TaskMachine::phase_tag).eq(before) {
                break;
            }
        }
        if self.is_terminal() {
            self.supply.end(ctx);
            self.templates.end(ctx);
        } else {
            self.apply_templates(ctx);
        }
        self.serve(&alloc, &job, group, ctx);
        self.judge(ctx);
        self.report |= self.tasks.iter().any(|t| t.changed);
    }

    /// Offers what the tasks that run have to offer, and has it checked.
    fn serve(&mut self, alloc: &Allocation, job: &Job, group: &TaskGroup, ctx: &mut Ctx<'_>) {
        let stays = !self.must_stop();
        let running = sort::gather(self.tasks.iter().map(|t| (t.name(), stays && t.serves())));
        let group_up = stays && self.mains().any(TaskMachine::serves);
        let at = (alloc, job, group);
        if let Some(checks) = self.services.update(at, group_up, &running, ctx) {
            self.checks.set(&alloc.id, checks, ctx);
            if self.services.news {
                self.report = true;
                // Others wait to find it.
                self.reported = "";
            }
        }
    }

    fn cause(&self) -> Cause {
        if self.must_stop() {
            return Cause::Stop;
        }
        if let Some(failed) = self.tasks.iter().find(|t| t.is_dead() && t.state.failed) {
            return Cause::Sibling(failed.name().to_owned());
        }
        if self.tasks.iter().any(|t| t.leader && t.is_dead()) {
            return Cause::Leader;
        }
        if self.mains().all(TaskMachine::is_dead) { Cause::MainsDead } else { Cause::None }
    }

    fn stop_due(&mut self, alloc: &Allocation, job: &Job, group: &TaskGroup, ctx: &mut Ctx<'_>) {
        if let Dirs::Failed(text) = &self.dirs {
            for task in &mut self.tasks {
                task.fail_setup(text, ctx);
            }
            return;
        }
        let cause = self.cause();
        if cause == Cause::None {
            return;
        }
        let skip = alloc.desired_transition.no_shutdown_delay == Some(true);
        let held = cause == Cause::Stop && self.hold_back(group, skip, ctx);
        // What runs after the main tasks is left to end by itself, unless nothing has run before
        // it or there is no time for it.
        let all = self.gone || self.run.over || self.dirs != Dirs::Built;
        let leader_first =
            cause == Cause::Stop && self.tasks.iter().any(|t| t.leader && t.is_live());
        let wall = ctx.now.wall_ns;
        for machine in &mut self.tasks {
            let poststop = machine.hook == POSTSTOP;
            // What does not run has nothing to wait for.
            let later = machine.is_live() && (held || (leader_first && !machine.leader));
            if later || (poststop && !(cause == Cause::Stop && all)) {
                continue;
            }
            let Some(task) = group.tasks.iter().find(|t| t.name == machine.name()) else {
                continue;
            };
            let why = match &cause {
                Cause::None | Cause::Stop => None,
                Cause::Sibling(name) => Some(events::sibling_failed(wall, name)),
                Cause::Leader => Some(events::leader_dead(wall)),
                Cause::MainsDead => Some(events::main_tasks_dead(wall)),
            };
            machine.stop(Then::Die, why, skip, Spec { alloc, job, group, task }, ctx);
        }
    }

    /// The group's `shutdown_delay`: true while it runs.
    fn hold_back(&mut self, group: &TaskGroup, skip: bool, ctx: &Ctx<'_>) -> bool {
        let delay = group.shutdown_delay.unwrap_or(0);
        let now = ctx.now;
        let live = self.tasks.iter().any(TaskMachine::is_live);
        let (hold, event) = match (self.hold, u64::try_from(delay)) {
            (Hold::No, Ok(ns)) if ns > 0 && live && !skip => {
                let event = events::shutdown_delay(now.wall_ns, "group ", delay);
                (Hold::Until(now.mono_ns + ns), Some(event))
            }
            (Hold::Until(until), _) if until > now.mono_ns && live => {
                let event = events::shutdown_delay_skipped(now.wall_ns, "group ", delay);
                if skip { (Hold::Over, Some(event)) } else { (self.hold, None) }
            }
            _ => (Hold::Over, None),
        };
        self.hold = hold;
        if let Some(event) = event {
            for task in self.tasks.iter_mut().filter(|t| t.is_live()) {
                task.event(event.clone());
            }
        }
        hold != Hold::Over
    }

    fn start_due(&mut self, alloc: &Allocation, job: &Job, group: &TaskGroup, ctx: &mut Ctx<'_>) {
        let cause = self.cause();
        if cause == Cause::None && !self.is_terminal() && self.waits.is_empty() {
            self.supply.advance(&alloc.id, group, ctx);
            self.render(Spec { alloc, job, group, task: &Task::default() }, ctx);
        }
        if self.dirs == Dirs::Missing {
            if cause == Cause::None && self.waits.is_empty() {
                self.build_dirs(alloc, job, group, ctx);
            }
            return;
        }
        if self.dirs != Dirs::Built {
            return;
        }
        let wall = ctx.now.wall_ns;
        // What is to run at the end cannot wait for what it is given.
        let late = cause != Cause::None;
        let (supply, templates) = (&self.supply, &self.templates);
        let is_ready = |task: &TaskMachine| {
            let spec = group.tasks.iter().find(|t| t.name == task.name());
            // Templates may be made from artifacts.
            let rendered = |t: &Task| task.lacks_artifacts() || templates.is_ready(t);
            late || spec.is_some_and(|t| supply.is_ready(t, wall) && rendered(t))
        };
        for task in self.tasks.iter_mut().filter(|t| t.wants_start(ctx.now.mono_ns)) {
            if !is_ready(task) {
                task.wait();
            }
        }
        let rearming = self.tasks.iter().any(TaskMachine::is_rearming);
        let due: Vec<usize> = (0..self.tasks.len())
            .filter(|i| {
                let Some(task) = self.tasks.get(*i) else { return false };
                let ready = is_ready(task);
                let allowed = ready && (cause == Cause::None || task.hook == POSTSTOP);
                let turn = task.is_waiting() && !rearming && self.may_start(task);
                allowed && (turn || task.wants_start(ctx.now.mono_ns))
            })
            .collect();
        for i in due {
            let Some(machine) = self.tasks.get_mut(i) else { continue };
            let Some(task) = group.tasks.iter().find(|t| t.name == machine.name()) else {
                continue;
            };
            let spec = Spec { alloc, job, group, task };
            let error = self.file_errors.get(&task.name).map(String::as_str);
            if machine.lacks_artifacts() && error.is_none() {
                machine.fetch(spec, ctx);
                continue;
            }
            let mut given = self.supply.give(&alloc.id, task, ctx);
            if !task.templates.is_empty() {
                let scope = scope(spec, &self.supply, ctx);
                let place = place(spec, &scope, &self.supply);
                self.templates.give(&place, ctx, &mut given);
            }
            let error = error.or(self.templates.error(&task.name));
            machine.start(spec, error, given, ctx);
        }
    }

    fn build_dirs(&mut self, alloc: &Allocation, job: &Job, group: &TaskGroup, ctx: &mut Ctx<'_>) {
        let specs: Vec<Spec<'_>> =
            group.tasks.iter().map(|task| Spec { alloc, job, group, task }).collect();
        let (spec, errors) = files::plan(&specs, &alloc.id, ctx);
        self.file_errors = errors;
        self.dirs = Dirs::Asked;
        ctx.out.push(ClientEffect::BuildDirs(spec));
    }

    fn may_start(&self, task: &TaskMachine) -> bool {
        match task.hook.as_str() {
            PRESTART => true,
            POSTSTART => {
                !self.mains().all(TaskMachine::is_dead)
                    && self
                        .mains()
                        .all(|t| t.is_running() || (t.is_dead() && t.state.started_at.0 != 0))
            }
            POSTSTOP => self.tasks.iter().all(|t| t.hook == POSTSTOP || t.is_dead()),
            _ => {
                self.tasks.iter().filter(|t| t.hook == PRESTART).all(|t| {
                    if t.sidecar { t.is_running() } else { t.is_dead() && !t.state.failed }
                })
            }
        }
    }

    fn mains(&self) -> impl Iterator<Item = &TaskMachine> {
        self.tasks.iter().filter(|t| t.hook.is_empty())
    }

    fn judge(&mut self, ctx: &Ctx<'_>) {
        let Some(mut watch) = self.watch.filter(|_| !self.must_stop()) else { return };
        let good = self.tasks.iter().all(|t| match t.hook.as_str() {
            POSTSTOP => true,
            PRESTART if !t.sidecar => t.is_dead() && !t.state.failed,
            POSTSTART if !t.sidecar => t.is_running() || (t.is_dead() && !t.state.failed),
            // One that is stopped for a restart still runs, and has no checks any more.
            _ => t.serves(),
        });
        let served = !watch.terms.checks || self.checks.healthy();
        let failed = self.tasks.iter().any(|t| t.state.failed);
        let ended = self.mains().all(TaskMachine::is_dead);
        let verdict = watch.judge(good && served, failed || ended, ctx.now.mono_ns);
        self.watch = if verdict.is_some() { None } else { Some(watch) };
        if verdict == Some(false) && watch.terms.deployment {
            let text = if failed || ended {
                "Unhealthy because of failed task".to_owned()
            } else if good && !served {
                "Services not healthy by deadline".to_owned()
            } else if good {
                let least = i64::try_from(watch.terms.min_healthy).unwrap_or(i64::MAX);
                format!(
                    "Task not running for min_healthy_time of {} by deadline",
                    duration::Go(least)
                )
            } else {
                "Task not running by deadline".to_owned()
            };
            for task in &mut self.tasks {
                task.event(events::unhealthy(ctx.now.wall_ns, &text));
            }
        }
        if verdict.is_some() {
            self.run.healthy = verdict;
            self.run.healthy_at = ctx.now.wall_ns;
            self.run_changed = true;
            self.report = true;
            // Rollouts wait for it.
            self.reported = "";
        }
    }

    /// Client status and its description.
    pub(crate) fn status(&self) -> (&'static str, &'static str) {
        if self.run.over && self.is_terminal() {
            return (CLIENT_COMPLETE, "allocation exceeded max_run_duration");
        }
        if self.tasks.iter().any(|t| t.is_dead() && t.state.failed) {
            return (CLIENT_FAILED, "Failed tasks");
        }
        // Between the end of the main tasks and what runs after them nothing runs, and yet the
        // allocation is not pending.
        let after = self.mains().all(TaskMachine::is_dead);
        if self.is_terminal() {
            (CLIENT_COMPLETE, "All tasks have completed")
        } else if after || self.tasks.iter().any(|t| t.state.state == TASK_RUNNING) {
            (CLIENT_RUNNING, "Tasks are running")
        } else {
            (CLIENT_PENDING, "No tasks have started")
        }
    }

    /// What the servers are told.
    pub(crate) fn client_state(&self) -> AllocClientState {
        let (status, description) = self.status();
        let deployment_status = self.run.healthy.map(|healthy| AllocDeploymentStatus {
            canary: self.alloc.deployment_status.as_ref().is_some_and(|d| d.canary),
            healthy: Some(healthy),
            modify_index: 0,
            timestamp: Time(self.run.healthy_at),
        });
        AllocClientState {
            id: self.alloc.id.clone(),
            client_status: status.to_owned(),
            client_description: description.to_owned(),
            task_states: sort::gather(
                self.tasks.iter().map(|t| (t.name().to_owned(), t.state.clone())),
            ),
            deployment_status,
            network_status: Some(AllocNetworkStatus::default()),
            services: self.services.news.then(|| self.services.offered.clone()),
        }
    }

    pub(crate) fn run_row(&self) -> &RunRow {
        &self.run
    }

    /// Restarts what runs, or with `all` everything in its order.
    ///
    /// # Errors
    /// The text for the one who asked.
    pub(crate) fn restart(
        &mut self,
        task: &str,
        all: bool,
        ctx: &mut Ctx<'_>,
    ) -> Result<(), String> {
        if self.must_stop() || self.is_terminal() {
            return Err("restart of an alloc that should not run".to_owned());
        }
        if all && !task.is_empty() {
            return Err("task name cannot be set when restarting all tasks".to_owned());
        }
        if !task.is_empty() {
            let Some(machine) = self.tasks.iter().find(|t| t.name() == task) else {
                return Err(format!("Could not find task runner for task: {task}"));
            };
            if !machine.is_running() {
                return Err("Task not running".to_owned());
            }
        }
        let reason = match (all, task.is_empty()) {
            (true, _) => "User requested all tasks to restart",
            (false, true) => "User requested running tasks to restart",
            (false, false) => "User requested task to restart",
        };
        let then = if all { Then::Rearm } else { Then::Restart };
        self.each(ctx, |machine, spec, ctx| {
            let chosen = task.is_empty() || machine.name() == task;
            if chosen && machine.is_running() {
                let why = events::restart_signaled(ctx.now.wall_ns, reason);
                machine.stop(then, Some(why), true, spec, ctx);
            } else if all && machine.is_dead() && machine.hook != POSTSTOP {
                machine.event(events::restart_signaled(ctx.now.wall_ns, reason));
                machine.rearm(ctx);
            }
        });
        self.advance(ctx);
        Ok(())
    }

    /// Sends a signal; the number of tasks whose answer is awaited under `token`, and what failed
    /// at once, by task.
    ///
    /// # Errors
    /// No such task.
    pub(crate) fn signal(
        &mut self,
        task: &str,
        name: &str,
        token: u64,
        ctx: &mut Ctx<'_>,
    ) -> Result<(usize, Vec<String>), String> {
        if !task.is_empty() && self.tasks.iter().all(|t| t.name() != task) {
            return Err("Task not found".to_owned());
        }
        let mut awaited = 0;
        let mut errors = Vec::new();
        for machine in self.tasks.iter_mut().filter(|t| task.is_empty() || t.name() == task) {
            match machine.signal(name, token, ctx) {
                Ok(()) if machine.is_mock() => {}
                Ok(()) => awaited += 1,
                Err(text) if !task.is_empty() => return Err(text),
                Err(text) => errors.push(signal_error(machine.name(), &text)),
            }
        }
        self.advance(ctx);
        Ok((awaited, errors))
    }

    fn each(
        &mut self,
        ctx: &mut Ctx<'_>,
        mut f: impl FnMut(&mut TaskMachine, Spec<'_>, &mut Ctx<'_>),
    ) {
        let (alloc, job) = (Rc::clone(&self.alloc), Rc::clone(&self.job));
        let Some(group) = group_of(&job, &alloc.task_group) else { return };
        for machine in &mut self.tasks {
            if let Some(task) = group.tasks.iter().find(|t| t.name == machine.name()) {
                f(machine, Spec { alloc: &alloc, job: &job, group, task }, ctx);
            }
        }
    }
}

/// How a signal that could not be sent is told.
pub(crate) fn signal_error(task: &str, text: &str) -> String {
    format!("Failed to signal task: {task}, err: {text}")
}

/// What templates of a task see as its environment.
fn scope(spec: Spec<'_>, supply: &Supply, ctx: &Ctx<'_>) -> Scope {
    let dirs = TaskDirs::host(&alloc_root(ctx.config, &spec.alloc.id), &spec.task.name);
    let mut scope = env::build(&sources(spec, ctx, &dirs));
    scope.vars.extend(supply.give(&spec.alloc.id, spec.task, ctx).vars);
    scope
}

fn place<'a>(spec: Spec<'a>, scope: &'a Scope, supply: &'a Supply) -> Place<'a> {
    Place {
        alloc: &spec.alloc.id,
        namespace: &spec.alloc.namespace,
        task: spec.task,
        scope,
        token: supply.default_token(&spec.task.name),
        files: false,
    }
}

/// Names under which scripts of change modes run; of the second the task dies with an error.
pub(crate) const SCRIPT: &str = "template script";
pub(crate) const SCRIPT_FATAL: &str = "template script that must succeed";
/// How long one may run where the job does not say, nanoseconds.
const SCRIPT_NS: u64 = 5_000_000_000;

fn group_of<'j>(job: &'j Job, name: &str) -> Option<&'j TaskGroup> {
    job.task_groups.iter().find(|g| g.name == name)
}

const PRESTART: &str = "prestart";
const POSTSTART: &str = "poststart";
const POSTSTOP: &str = "poststop";

/// A report waits at most this long for a verdict on the health, nanoseconds.
const VERDICT_NS: u64 = 250_000_000;
