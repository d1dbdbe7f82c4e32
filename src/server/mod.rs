//! The duties of a server over the state: evaluations are scheduled, nodes watched, garbage
//! collected. Memory only; all of it is rebuilt from the state when this server begins to lead.

pub mod blocked;
pub mod broker;
pub mod deploy;
pub mod drain;
pub mod events;
pub mod gc;
pub mod heartbeat;
pub mod identity;
pub mod introduction;
pub mod keyring;
pub mod locks;
mod making;
mod node_evals;
pub mod periodic;
mod reports;
pub mod rsa;
mod standing;
mod view;
mod volumes;
pub mod workers;

use std::collections::VecDeque;
use std::rc::Rc;

pub use deploy::evaluation as deployment_eval;
pub use keyring::first_key;
pub use node_evals::node_evals;
pub use reports::client_update_evals;
pub use volumes::place_volume;
pub use workers::Workers;

use crate::api::{Allocation, Evaluation, Job, NodeEvent, VariableLock, status};
use crate::command::{Applied, Command, Plan};
use crate::sched::{Fleet, Seed, schedule};
use crate::stdx::json::{self, Time};
use crate::stdx::meter::Span;
use crate::stdx::zone::Zones;
use crate::stdx::{BTreeMap, Entropy, Now, uuid};
use crate::store::{Reader, Row, StoreError, Table, Touched, keys, splice};
use blocked::Blocked;
use broker::{Broker, Lease, Times};
use deploy::Deployments;
use drain::Drains;
use gc::{Collection, Progress, Thresholds};
use heartbeat::Heartbeats;
use locks::Locks;
use periodic::Launcher;
use standing::Standing;
use view::StateView;

/// Times and thresholds of a server, from the configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    pub heartbeat: heartbeat::Config,
    pub gc: Thresholds,
    /// Between two collections, in nanoseconds.
    pub gc_interval_ns: u64,
    /// For the times of periodic jobs.
    pub zones: Zones,
    pub workers: Workers,
}

/// An evaluation that is being worked on.
struct Run {
    lease: Lease,
    /// Plans that met a conflict in a row; one of which a part was done begins a new row.
    conflicts: u32,
    kind: String,
    /// When its plan was proposed, monotonic nanoseconds.
    sent_ns: u64,
}

/// A command with the evaluation whose plan it is, if it is one.
pub type Proposed = (Command, Option<String>);

pub struct Server {
    broker: Broker,
    blocked: Blocked,
    launcher: Launcher,
    heartbeats: Heartbeats,
    drains: Drains,
    locks: Locks,
    deployments: Deployments,
    standing: Standing,
    runs: BTreeMap<String, Run>,
    /// From proposing a plan to its outcome, nanoseconds.
    submit: Span,
    /// Evaluations whose plan met a conflict: they run again on the newest state.
    again: VecDeque<String>,
    /// Superfluous evaluations, to be stored as canceled.
    cancel: Vec<Rc<str>>,
    /// A collection under way.
    collection: Option<Collection>,
    /// A step of it is in the log, but not yet applied.
    reaping: bool,
    /// When the next one begins, mono ns.
    gc_at: u64,
    keys: keyring::Upkeep,
    config: Config,
    leading: bool,
}

impl Server {
    pub fn new(config: Config) -> Self {
        let mut broker = Broker::new();
        broker.leave(config.workers.left);
        Self {
            broker,
            blocked: Blocked::new(),
            launcher: Launcher::new(config.zones),
            heartbeats: Heartbeats::new(config.heartbeat),
            drains: Drains::default(),
            locks: Locks::default(),
            deployments: Deployments::default(),
            standing: Standing::default(),
            runs: BTreeMap::new(),
            submit: Span::default(),
            again: VecDeque::new(),
            cancel: Vec::new(),
            collection: None,
            reaping: false,
            gc_at: u64::MAX,
            keys: keyring::Upkeep::default(),
            config,
            leading: false,
        }
    }

    /// Mono ns at which something is due by itself.
    pub fn deadline(&self, now: Now) -> Option<u64> {
        let gc = Some(self.gc_at).filter(|at| *at != u64::MAX);
        let heard = self.heartbeats.deadline();
        let (drains, locks) = (self.drains.deadline(), self.locks.deadline());
        let (keys, rollouts) = (self.keys.deadline(now), self.deployments.deadline(now));
        let (evals, blocked) = (self.broker.deadline(now), self.blocked.deadline());
        let launch = self.launcher.deadline(now);
        [evals, heard, blocked, drains, locks, keys, rollouts, launch, gc]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether there is work that waits for nothing.
    pub fn has_work(&self) -> bool {
        self.leading
            && (self.has_turn()
                || !self.again.is_empty()
                || !self.cancel.is_empty()
                || self.deployments.has_work()
                || self.collection.is_some())
    }

    /// Whether a worker may take an evaluation, and there is one.
    fn has_turn(&self) -> bool {
        self.runs.len() < self.config.workers.runs_max() && self.broker.has_ready()
    }

    /// From now on these take evaluations; what is under way goes on.
    pub fn set_workers(&mut self, workers: Workers) {
        self.config.workers = workers;
        self.broker.leave(workers.left);
    }

    /// Collects everything that is over, however short ago.
    pub fn force_gc(&mut self) {
        self.collection = Some(Collection::new(Thresholds::FORCE));
    }

    /// All nodes with what stands on them.
    ///
    /// # Errors
    /// Those of the store.
    pub fn fleet(&mut self, reader: Reader<'_>) -> Result<Fleet, StoreError> {
        self.standing.fleet(reader).cloned()
    }

    /// A node was heard; how long it may now be silent, in nanoseconds.
    pub fn heartbeat(&mut self, node: &str, now: Now, entropy: &mut dyn Entropy) -> u64 {
        self.heartbeats.reset(node, now.mono_ns, entropy.u64())
    }

    /// This server leads from now on: everything is taken up from the state.
    ///
    /// # Errors
    /// Those of the store.
    pub fn lead(&mut self, now: Now, reader: Reader<'_>) -> Result<(), StoreError> {
        self.leading = true;
        self.gc_at = now.mono_ns.saturating_add(self.config.gc_interval_ns);
        for eval in reader.live_evals()? {
            self.take_in(&eval, now);
        }
        for node in reader.nodes()? {
            if node.status != status::NODE_DOWN {
                self.heartbeats.take_over(&node.id, now.mono_ns);
            }
            self.drains.note(&node.id, node.drain_strategy.is_some(), now.mono_ns);
        }
        for pair in reader.scan(Table::Variable, &[], None, false)? {
            let (key, row) = pair?;
            self.locks.note(key, lock_of(&row).as_ref(), now.mono_ns);
        }
        self.keys.lead(now, reader)?;
        self.launcher.lead(now, reader)?;
        self.broker.pause(reader.scheduler_config()?.pause_eval_broker);
        self.deployments.lead(now, reader)
    }

    /// Another server leads: everything is let go.
    pub fn follow(&mut self) {
        *self = Self::new(self.config);
    }

    /// The holder of a variable's lock was heard; false where it holds it no longer.
    pub fn renew_lock(&mut self, key: &[u8], id: &str, now: Now) -> bool {
        self.locks.renew(key, id, now.mono_ns)
    }

    /// Works on the RSA key that is being made, if there is one; once in a turn of the loop.
    pub fn make_keys(&mut self, now: Now, entropy: &mut dyn Entropy) {
        self.keys.making.step(now, entropy);
    }

    /// A new RSA key where one is there; else it is made now, in the next turns.
    pub fn take_key(&mut self) -> Option<rsa::Pair> {
        let made = self.keys.making.take();
        if made.is_none() {
            self.keys.making.press();
        }
        made
    }

    /// Somebody waits for the RSA half of a root key.
    pub fn press_keys(&mut self) {
        self.keys.press();
    }

    /// Whether somebody waits for a key that is being made.
    pub fn makes_keys(&self) -> bool {
        self.keys.making.is_pressing()
    }

    fn take_in(&mut self, eval: &Evaluation, now: Now) {
        if eval.status != status::EVAL_BLOCKED {
            self.broker.enqueue(eval, now);
            return;
        }
        let outcome = self.blocked.block(eval, now.mono_ns);
        if outcome.missed {
            self.broker.enqueue(eval, now);
        }
        self.cancel.extend(outcome.cancel);
    }

    /// A commit changed the state.
    ///
    /// # Errors
    /// Those of the store.
    pub fn touched(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        touched: &Touched,
    ) -> Result<(), StoreError> {
        self.standing.touched(reader, touched)?;
        self.reaping = false;
        for id in &touched.evals_done {
            self.blocked.remove(id);
            self.broker.remove(id, now);
        }
        for eval in &touched.evals {
            self.take_in(eval, now);
        }
        for id in &touched.nodes_changed {
            let node = reader.node(id)?;
            if node.as_ref().is_none_or(|n| n.status == status::NODE_DOWN) {
                self.heartbeats.remove(id);
            }
            let draining = node.is_some_and(|n| n.drain_strategy.is_some());
            self.drains.note(id, draining, now.mono_ns);
        }
        if touched.tables & Table::Alloc.bit() != 0 {
            self.drains.stir(now.mono_ns);
        }
        let nodes = touched.nodes_changed.iter().chain(&touched.nodes_freed);
        for id in nodes {
            let Some(node) = reader.node(id)? else { continue };
            if node.status == status::NODE_READY
                && node.scheduling_eligibility == status::NODE_ELIGIBLE
            {
                let woken = self.blocked.unblock(id, &node.computed_class, touched.index);
                self.queue(reader, now, woken)?;
            }
        }
        for (_, key) in touched.rows.iter().filter(|(t, _)| *t == Table::Variable) {
            let lock = reader.row(Table::Variable, key)?.and_then(|row| lock_of(&row));
            self.locks.note(key, lock.as_ref(), now.mono_ns);
        }
        self.keys.touched(reader, touched.tables)?;
        self.stopped_jobs(reader, touched)?;
        self.deployments.touched(touched);
        self.launcher.touched(now, reader, &touched.rows)?;
        if touched.tables & Table::Operator.bit() != 0 {
            self.broker.pause(reader.scheduler_config()?.pause_eval_broker);
        }
        Ok(())
    }

    /// Nothing of a stopped or purged job waits for room any longer.
    fn stopped_jobs(&mut self, reader: Reader<'_>, touched: &Touched) -> Result<(), StoreError> {
        if self.blocked.is_empty() {
            return Ok(());
        }
        for (_, key) in touched.rows.iter().filter(|(t, _)| *t == Table::Job) {
            let stopped = reader.row(Table::Job, key)?.is_none_or(|row| row.job().stop);
            if stopped && let Some((namespace, id)) = keys::split(key) {
                self.cancel.extend(self.blocked.untrack(namespace, id));
            }
        }
        Ok(())
    }

    fn queue(&mut self, reader: Reader<'_>, now: Now, ids: Vec<Rc<str>>) -> Result<(), StoreError> {
        for id in ids {
            if let Some(eval) = reader.eval(&id)? {
                self.broker.enqueue(&eval, now);
            }
        }
        Ok(())
    }

    /// Does what is due, and schedules one evaluation. True where more wait.
    ///
    /// # Errors
    /// Those of the store.
    pub fn work(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        out: &mut Vec<Proposed>,
    ) -> Result<bool, StoreError> {
        if !self.leading {
            return Ok(false);
        }
        self.housekeeping(now, reader, entropy, out)?;
        let (id, fresh) = match self.again.pop_front() {
            Some(id) => (id, None),
            None if !self.has_turn() => return Ok(false),
            None => match self.broker.dequeue(now) {
                Some(lease) => (lease.id.to_string(), Some(lease)),
                None => return Ok(false),
            },
        };
        let Some(eval) = reader.eval(&id)?.filter(is_live) else {
            // It ended while it waited.
            if let Some(lease) = fresh {
                self.cancel.extend(self.broker.ack(&lease, now));
            } else if let Some(run) = self.runs.remove(&id) {
                self.cancel.extend(self.broker.ack(&run.lease, now));
            }
            return Ok(self.has_work());
        };
        match (fresh, self.runs.get_mut(&id)) {
            (Some(lease), _) => {
                let (kind, sent_ns) = (eval.kind.clone(), now.mono_ns);
                self.runs.insert(id.clone(), Run { lease, conflicts: 0, kind, sent_ns });
            }
            (None, Some(run)) => run.sent_ns = now.mono_ns,
            (None, None) => {}
        }
        let plan = {
            let view = StateView::new(reader, &mut self.standing)?;
            let seed = Seed { rng: entropy.u64(), wall_ns: now.wall_ns };
            let plan = schedule(&view, &eval, seed, entropy);
            view.check()?;
            plan
        };
        self.standing.foresee(&plan);
        let plan = Box::new(plan);
        out.push((Command::PlanApply { plan, wall_ns: now.wall_ns }, Some(id)));
        Ok(self.has_work())
    }

    /// What the scheduler would do about an evaluation, had its job been registered as given.
    ///
    /// # Errors
    /// Those of the store.
    pub fn dry_run(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        job: Rc<Job>,
        eval: &Evaluation,
    ) -> Result<Plan, StoreError> {
        let view = StateView::new(reader, &mut self.standing)?.with(job);
        let seed = Seed { rng: entropy.u64(), wall_ns: now.wall_ns };
        let plan = schedule(&view, eval, seed, entropy);
        view.check()?;
        Ok(plan)
    }

    /// Everything that time or earlier outcomes make due, but for scheduling.
    fn housekeeping(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        out: &mut Vec<Proposed>,
    ) -> Result<(), StoreError> {
        self.broker.tick(now);
        let mut evals = Vec::new();
        for id in self.broker.take_failed() {
            self.runs.remove(&*id);
            if let Some(eval) = reader.eval(&id)? {
                let follow_up = uuid::of_row(entropy);
                evals.extend(broker::failed(eval, follow_up, now.wall_ns, entropy.u64()));
            }
        }
        for id in std::mem::take(&mut self.cancel) {
            if let Some(eval) = reader.eval(&id)?.filter(is_live) {
                evals.push(broker::canceled(eval, now.wall_ns));
            }
        }
        if !evals.is_empty() {
            out.push((Command::EvalUpsert { evals }, None));
        }
        for id in self.heartbeats.expired(now.mono_ns) {
            out.push((node_lost(reader, &id, now, entropy)?, None));
        }
        let steps = self.drains.step(now, reader, entropy)?;
        out.extend(steps.into_iter().map(|command| (command, None)));
        out.extend(self.keys.step(now, reader, entropy)?.map(|command| (command, None)));
        for (key, id) in self.locks.expired(now.mono_ns) {
            let Some((namespace, path)) = keys::split(&key) else { continue };
            let (namespace, path) = (namespace.to_owned(), path.to_owned());
            let wall_ns = now.wall_ns;
            out.push((Command::VariableRelease { namespace, path, id, wall_ns }, None));
        }
        let due = self.blocked.retry(now.mono_ns);
        self.queue(reader, now, due)?;
        self.deployments.work(now, reader, entropy, out)?;
        self.launcher.work(now, reader, entropy, out)?;
        self.collect(now, reader, out)
    }

    /// One step of a garbage collection, if one is under way or due.
    fn collect(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        out: &mut Vec<Proposed>,
    ) -> Result<(), StoreError> {
        if self.gc_at <= now.mono_ns {
            self.gc_at = now.mono_ns.saturating_add(self.config.gc_interval_ns);
            self.collection.get_or_insert_with(|| Collection::new(self.config.gc));
        }
        let Some(collection) = &mut self.collection else { return Ok(()) };
        // The next step must see what this one removes.
        if self.reaping {
            return Ok(());
        }
        match collection.step(reader, now.wall_ns)? {
            Progress::Reap(command) => {
                self.reaping = true;
                out.push((*command, None));
            }
            Progress::More => {}
            Progress::Done => self.collection = None,
        }
        Ok(())
    }

    /// The plan of an evaluation was applied, or refused in part.
    ///
    /// # Errors
    /// Those of the store.
    pub fn plan_applied(
        &mut self,
        id: &str,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        result: &Applied,
    ) -> Result<Option<Command>, StoreError> {
        let Some(run) = self.runs.get_mut(id) else { return Ok(None) };
        self.submit.note(now.mono_ns.saturating_sub(run.sent_ns) as f64, 1);
        let refused = matches!(result, Applied::Plan { refused, .. } if !refused.is_empty());
        if refused {
            if matches!(result, Applied::Plan { progress: true, .. }) {
                run.conflicts = 0;
            }
            run.conflicts += 1;
            if run.conflicts < attempts_max(&run.kind) {
                self.broker.extend(&run.lease, now);
                self.again.push_back(id.to_owned());
                return Ok(None);
            }
        }
        let Some(run) = self.runs.remove(id) else { return Ok(None) };
        self.cancel.extend(self.broker.ack(&run.lease, now));
        if !refused {
            return Ok(None);
        }
        let Some(eval) = reader.eval(id)? else { return Ok(None) };
        Ok(Some(Command::EvalUpsert { evals: given_up(eval, now.wall_ns, entropy) }))
    }

    /// How long evaluations and plans took since the last call, in nanoseconds, by [`TIMES`].
    pub fn take_times(&mut self) -> [Span; TIMES.len()] {
        let Times { wait, process, response } = std::mem::take(&mut self.broker.times);
        [wait, process, response, std::mem::take(&mut self.submit)]
    }

    /// Sizes of the queues of a leader, by the reference's names.
    pub fn figures(&self) -> [(&'static str, usize); 11] {
        let broker = self.broker.stats();
        let (held, over) = self.locks.counts();
        [
            ("nomad.nomad.broker.total_ready", broker.ready),
            ("nomad.nomad.broker.total_unacked", broker.unacked),
            ("nomad.nomad.broker.total_pending", broker.pending),
            ("nomad.nomad.broker.total_waiting", broker.waiting),
            ("nomad.nomad.broker.total_cancelable", self.cancel.len()),
            ("nomad.nomad.blocked_evals.total_blocked", self.blocked.len()),
            ("nomad.nomad.blocked_evals.total_escaped", self.blocked.escaped()),
            ("nomad.nomad.plan.queue_depth", self.runs.len()),
            ("nomad.nomad.heartbeat.active", self.heartbeats.active()),
            ("nomad.variables.locks.ttl_timer.num", held),
            ("nomad.variables.locks.delay_timer.num", over),
        ]
    }

    /// The plan did not reach the log: the evaluation is tried again later.
    pub fn plan_failed(&mut self, id: &str, now: Now) {
        if let Some(run) = self.runs.remove(id) {
            self.broker.nack(&run.lease, now);
        }
    }
}

/// What [`Server::take_times`] tells. Source: the API.
pub const TIMES: [&str; 4] = [
    "nomad.nomad.broker.wait_time",
    "nomad.nomad.broker.process_time",
    "nomad.nomad.broker.response_time",
    "nomad.nomad.plan.submit",
];

/// The lock that a variable's row holds.
fn lock_of(row: &Row<'_>) -> Option<VariableLock> {
    json::decode(splice::field(row.json, "Lock")?).ok()
}

fn is_live(eval: &Evaluation) -> bool {
    eval.status == status::EVAL_PENDING || eval.status == status::EVAL_BLOCKED
}

/// How many plans in a row may meet conflicts (contract: scheduler, section 1).
fn attempts_max(kind: &str) -> u32 {
    if kind == status::JOB_BATCH { 2 } else { 5 }
}

/// Too many conflicts: the evaluation fails, and for service and batch jobs another one waits.
fn given_up(mut eval: Evaluation, wall_ns: i64, entropy: &mut dyn Entropy) -> Vec<Evaluation> {
    let mut out = Vec::new();
    if matches!(eval.kind.as_str(), status::JOB_SERVICE | status::JOB_BATCH) {
        let waiting = Evaluation {
            id: uuid::of_row(entropy),
            triggered_by: status::TRIGGER_MAX_PLANS.to_owned(),
            status: status::EVAL_BLOCKED.to_owned(),
            status_description: "created due to placement conflicts".to_owned(),
            previous_eval: eval.id.clone(),
            escaped_computed_class: true,
            blocked_eval: String::new(),
            create_index: 0,
            modify_index: 0,
            create_time: wall_ns,
            modify_time: wall_ns,
            ..eval.clone()
        };
        eval.blocked_eval.clone_from(&waiting.id);
        out.push(waiting);
    }
    let attempts = attempts_max(&eval.kind);
    eval.status = status::EVAL_FAILED.to_owned();
    eval.status_description = format!("maximum attempts reached ({attempts})");
    eval.modify_time = wall_ns;
    out.push(eval);
    out
}

/// A node was silent for too long. It is `disconnected` where an allocation on it may outlive that,
/// else `down`; its jobs are looked at again.
fn node_lost(
    reader: Reader<'_>,
    id: &str,
    now: Now,
    entropy: &mut dyn Entropy,
) -> Result<Command, StoreError> {
    let mut state = status::NODE_DOWN;
    for alloc in reader.allocs_by_node(id)? {
        if alloc.client_status == status::CLIENT_RUNNING
            && reader
                .job_version(
                    &alloc.namespace,
                    &alloc.job_id,
                    alloc.job_create_index,
                    alloc.job_version,
                )?
                .is_some_and(|job| survives_disconnect(&job, &alloc.task_group))
        {
            state = status::NODE_DISCONNECTED;
        }
    }
    log::warn!("node {id} missed its heartbeat and is {state}");
    let event = NodeEvent {
        message: "Node heartbeat missed".to_owned(),
        subsystem: "Cluster".to_owned(),
        timestamp: Time(now.wall_ns),
        ..NodeEvent::default()
    };
    let trigger = status::TRIGGER_NODE_UPDATE;
    Ok(Command::NodeStatus {
        id: id.to_owned(),
        status: state.to_owned(),
        event: Some(event),
        wall_ns: now.wall_ns,
        evals: node_evals(reader, id, trigger, now.wall_ns, entropy)?,
    })
}

fn survives_disconnect(job: &Job, group: &str) -> bool {
    job.task_groups
        .iter()
        .filter(|g| g.name == group)
        .any(|g| g.disconnect.as_ref().is_some_and(|d| d.lost_after > 0))
}

/// All allocations of a node, each with its job.
///
/// # Errors
/// Those of the store.
pub fn allocs_of_node(reader: Reader<'_>, node: &str) -> Result<Vec<Rc<Allocation>>, StoreError> {
    let mut jobs = BTreeMap::new();
    let mut out = Vec::new();
    for mut alloc in reader.allocs_by_node(node)? {
        let at = (
            alloc.namespace.clone(),
            alloc.job_id.clone(),
            alloc.job_create_index,
            alloc.job_version,
        );
        let job = match jobs.get(&at) {
            Some(job) => Rc::clone(job),
            None => {
                let Some(job) = reader.job_version(&at.0, &at.1, at.2, at.3)? else { continue };
                let job = Rc::new(job);
                jobs.insert(at, job.clone());
                job
            }
        };
        alloc.job = Some(job);
        out.push(Rc::new(alloc));
    }
    Ok(out)
}
