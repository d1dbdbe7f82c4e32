//! The node agent: what runs on this machine, as pure machines that emit effects.
//!
//! [`Client::step`] takes what happened and says what is to be done; it knows no process, file or
//! clock. Below it stand one `AllocMachine` per allocation and one `TaskMachine` per task. What
//! must survive the agent is a node-local row, written before anything that relies on it.

mod alloc;
mod checks;
pub mod driver;
pub mod env;
pub mod events;
pub mod exec_proto;
pub mod file_stream;
mod files;
pub mod fingerprint;
pub mod fs;
mod gather;
mod hash;
mod health;
mod identity;
pub mod interpolate;
mod lookup;
mod meta;
mod persist;
pub mod restart;
mod services;
mod supply;
mod task;
mod templates;
#[cfg(test)]
mod tests;
mod types;
pub mod usage;
mod volumes;

pub use checks::ProbeEvent;
pub use task::HAPPENED;
pub use types::{
    AllocDirSpec, ClientConfig, ClientEffect, ClientInput, ClientRequest, Inquiry, PlacedFile,
    Secure, TaskKey, Told,
};
pub use volumes::{VolumeCall, VolumeOp, VolumeWork};

use std::rc::Rc;

use crate::api::status::{
    CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_LOST, CLIENT_PENDING, CLIENT_RUNNING, TASK_PENDING,
    TASK_RUNNING,
};
use crate::api::{Allocation, ApiError, Node, TaskState};
use crate::client::alloc::AllocMachine;
use crate::client::gather::{Gather, Question};
use crate::client::identity::Identity;
use crate::client::meta::Metadata;
use crate::client::task::{Ctx, Turn};
use crate::client::usage::HostSample;
use crate::client::volumes::Volumes;
use crate::command::AllocClientState;
use crate::stdx::json;
use crate::stdx::sort;
use crate::stdx::{BTreeMap, BTreeSet, Now};

/// What every local row of the client begins with.
pub const LOCAL_PREFIX: &[u8] = b"client/";

/// The node agent of this machine.
pub struct Client {
    config: ClientConfig,
    /// As registered: with dynamic metadata and the class that follows from it.
    node: Node,
    metadata: Metadata,
    volumes: Volumes,
    identity: Identity,
    allocs: BTreeMap<String, AllocMachine>,
    /// Dropped here, with how they ended: must not come back, whatever the servers know of them.
    forgotten: BTreeMap<String, AllocClientState>,
    /// Reports of allocations that are dropped already.
    outbox: Vec<AllocClientState>,
    /// When the waiting reports leave, monotonic nanoseconds.
    flush_at: Option<u64>,
    link: Link,
    /// Monotonic nanoseconds of the last word from a server.
    heard_at: u64,
    questions: Gather,
    host_sample: Option<HostSample>,
    turn: Turn,
}

/// Where the node stands with the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The first input has not come.
    Idle,
    /// A registration is under way; again at that time.
    Registering { retry_at: u64 },
    /// The next heartbeat leaves at that time.
    Registered { beat_at: u64, ttl_ns: u64 },
}

impl Client {
    pub fn new(config: ClientConfig) -> Self {
        let mut node = config.node.clone();
        node.computed_class = fingerprint::computed_class(&node);
        Self {
            metadata: Metadata::new(&config.node),
            volumes: Volumes::default(),
            identity: Identity::default(),
            turn: Turn::new(config.seed),
            node,
            config,
            allocs: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            outbox: Vec::new(),
            flush_at: None,
            link: Link::Idle,
            heard_at: 0,
            questions: Gather::default(),
            host_sample: None,
        }
    }

    /// Takes one input. Effects are appended in the order in which they are to be carried out: rows
    /// first.
    pub fn step(&mut self, now: Now, input: ClientInput, out: &mut Vec<ClientEffect>) {
        let mut effects = Vec::new();
        self.turn.begin(now);
        match input {
            ClientInput::Restored(rows) => self.restored(rows, now, &mut effects),
            ClientInput::Registered { ttl_ns } | ClientInput::HeartbeatAck { ttl_ns } => {
                self.heard(ttl_ns, now);
            }
            ClientInput::ServerLost => {
                if matches!(self.link, Link::Registered { .. }) {
                    let retry_at = now.mono_ns + REGISTER_RETRY_NS;
                    self.link = Link::Registering { retry_at };
                }
            }
            ClientInput::Allocs(allocs) => self.pulled(&allocs, now, &mut effects),
            ClientInput::Executor(key, event) => self.executor(&key, event, now, &mut effects),
            ClientInput::Probe((alloc, check), event) => {
                self.with(&alloc, now, &mut effects, |m, ctx| m.probe(&check, event, ctx));
            }
            ClientInput::Told(id, told) if self.identity.told(id, told.as_ref(), &mut effects) => {}
            ClientInput::Told(id, told) => {
                self.each(now, &mut effects, |m, ctx| m.told(id, told.as_ref(), ctx));
            }
            ClientInput::Placed((id, task), result) => {
                self.with(&id, now, &mut effects, |m, ctx| m.placed(&task, result, ctx));
            }
            ClientInput::Fetched((id, task), result) => {
                self.with(&id, now, &mut effects, |m, ctx| m.fetched(&task, result, ctx));
            }
            ClientInput::Timer => self.timer(now, &mut effects),
            ClientInput::DirBuilt(id, result) => {
                self.with(&id, now, &mut effects, |m, ctx| m.dirs_built(result, ctx));
            }
            ClientInput::VolumeDone(token, result) => {
                if self.volumes.done(token, result, &self.config, now, &mut effects) {
                    self.describe();
                    self.register(now, &mut effects);
                }
            }
            ClientInput::Removed(id) => effects.push(persist::delete_removal(&id)),
            ClientInput::Request(token, request) => {
                self.request(token, request, now, &mut effects);
            }
        }
        self.settle(now, &mut effects);
        self.save(out);
        let (rows, rest): (Vec<_>, Vec<_>) = effects
            .into_iter()
            .partition(|e| matches!(e, ClientEffect::LocalPut(..) | ClientEffect::LocalDelete(_)));
        out.extend(rows);
        out.extend(rest);
    }

    /// Monotonic nanoseconds at which `Timer` is due; `None`: nothing but inputs to wait for.
    pub fn deadline(&self) -> Option<u64> {
        let link = match self.link {
            Link::Idle => None,
            Link::Registering { retry_at } => Some(retry_at),
            Link::Registered { beat_at, .. } => Some(beat_at),
        };
        let cut_off = self.allocs.values().filter_map(AllocMachine::cut_off_after).min();
        let allocs = self.allocs.values().filter_map(AllocMachine::deadline);
        allocs
            .chain(link)
            .chain(self.flush_at)
            .chain(self.questions.deadline())
            .chain(self.volumes.deadline())
            .chain(cut_off.map(|ns| self.heard_at.saturating_add(ns)))
            .min()
    }

    /// Proves to the servers that the node is who it says.
    pub fn secret(&self) -> &str {
        &self.config.secret
    }

    /// The node as it is registered.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// An allocation that this node holds, as it was last described.
    pub fn alloc(&self, id: &str) -> Option<&Rc<Allocation>> {
        self.allocs.get(id).map(|m| &m.alloc)
    }

    /// Directory of an allocation that this node holds.
    pub fn alloc_dir(&self, id: &str) -> Option<String> {
        self.allocs.contains_key(id).then(|| task::alloc_root(&self.config, id))
    }

    /// State of a task of an allocation that this node holds.
    pub fn task_state(&self, alloc: &str, task: &str) -> Option<&TaskState> {
        let machine = self.allocs.get(alloc)?;
        machine.tasks.iter().find(|t| t.name() == task).map(|t| &t.state)
    }

    /// Run directory of a task that commands can be run in.
    ///
    /// # Errors
    /// What the API says of one that they cannot.
    pub fn exec_dir(&self, alloc: &str, task: &str) -> Result<&str, ApiError> {
        let unknown = || ApiError::not_found(format!("Unknown allocation \"{alloc}\""));
        let machine = self.allocs.get(alloc).ok_or_else(unknown)?;
        let (status, _) = machine.status();
        if status != CLIENT_RUNNING && status != CLIENT_PENDING {
            return Err(ApiError::not_found(format!(
                "exec not possible, client status of allocation {alloc} is {status}"
            )));
        }
        let found = machine.tasks.iter().find(|t| t.name() == task);
        let found = found.ok_or_else(|| ApiError::failed("task not found"))?;
        if found.state.started_at == json::Time::default() {
            return Err(ApiError::not_found(format!("task {task:?} not started yet.")));
        }
        if !found.is_running() {
            return Err(ApiError::not_found(format!("task {task:?} is not running.")));
        }
        if found.executor_dir().is_empty() {
            let text = "the driver of the task runs no process to run commands beside";
            return Err(ApiError::failed(text));
        }
        Ok(found.executor_dir())
    }

    /// Allocations held, and of those the ones that still run or will.
    pub fn counts(&self) -> (usize, usize) {
        (self.allocs.len(), self.allocs.values().filter(|m| !m.is_terminal()).count())
    }

    /// How often what happened to tasks since the last call; by [`HAPPENED`].
    pub fn take_happened(&mut self) -> [u64; HAPPENED.len()] {
        std::mem::take(&mut self.turn.happened)
    }

    /// How many allocations and tasks there are in which state, and what they were given of the
    /// node (MHz, MiB), by the reference's names.
    pub fn figures(&self) -> Vec<(&'static str, i64)> {
        let (mut allocs, mut tasks) = ([0; 4], [0; 3]);
        let mut given = [0; 4];
        for machine in self.allocs.values() {
            let at = match machine.status().0 {
                _ if machine.is_terminal() => 3,
                _ if !machine.waits.is_empty() => 0,
                CLIENT_RUNNING => 2,
                _ => 1,
            };
            allocs[at] += 1;
            for task in &machine.tasks {
                let at = match task.state.state.as_str() {
                    TASK_PENDING => 0,
                    TASK_RUNNING => 1,
                    _ => 2,
                };
                tasks[at] += 1;
            }
            if let Some(r) = machine.alloc.allocated_resources.as_ref().filter(|_| at != 3) {
                for task in r.tasks.values() {
                    given[0] += task.cpu.cpu_shares;
                    given[1] += task.memory.memory_mb;
                    given[3] += task.memory.memory_max_mb.max(task.memory.memory_mb);
                }
                given[2] += r.shared.disk_mb;
            }
        }
        let own = self.node.node_resources.as_ref();
        let all = own.map_or([0; 3], |r| [r.cpu.cpu_shares, r.memory.memory_mb, r.disk.disk_mb]);
        let kept = self.node.reserved_resources.as_ref();
        let kept = kept.map_or([0; 3], |r| [r.cpu.cpu_shares, r.memory.memory_mb, r.disk.disk_mb]);
        let free = |i: usize| all[i] - kept[i] - given[i];
        vec![
            ("nomad.client.allocations.blocked", allocs[0]),
            ("nomad.client.allocations.pending", allocs[1]),
            ("nomad.client.allocations.running", allocs[2]),
            ("nomad.client.allocations.terminal", allocs[3]),
            ("nomad.client.tasks.pending", tasks[0]),
            ("nomad.client.tasks.running", tasks[1]),
            ("nomad.client.tasks.dead", tasks[2]),
            ("nomad.client.allocated.cpu", given[0]),
            ("nomad.client.allocated.memory", given[1]),
            ("nomad.client.allocated.disk", given[2]),
            ("nomad.client.allocated.max_memory", given[3]),
            ("nomad.client.unallocated.cpu", free(0)),
            ("nomad.client.unallocated.memory", free(1)),
            ("nomad.client.unallocated.disk", free(2)),
        ]
    }

    /// What each running task was given and used when it was last asked, as metrics.
    pub fn task_figures(&self, mut tell: impl FnMut(&Allocation, &str, &'static str, f64)) {
        let mhz = core_mhz(&self.node);
        for machine in self.allocs.values() {
            let given = machine.alloc.allocated_resources.as_ref();
            for task in machine.tasks.iter().filter(|t| t.is_running()) {
                let given = given.and_then(|g| g.tasks.get(task.name()));
                let used = task.usage.as_ref();
                for (name, value) in usage::task_figures(given, used, task.before.as_ref(), mhz) {
                    tell(&machine.alloc, task.name(), name, value);
                }
            }
        }
    }

    /// The machine's figures as metrics.
    pub fn host_figures(
        &mut self,
        facts: &usage::HostFacts,
        wall_ns: i64,
    ) -> Vec<usage::HostFigure> {
        let sample = HostSample::read(facts);
        let mhz = core_mhz(&self.node);
        let out = usage::host_figures(facts, &sample, self.host_sample.as_ref(), mhz, wall_ns);
        self.host_sample = Some(sample);
        out
    }

    fn restored(
        &mut self,
        rows: Vec<(Vec<u8>, Vec<u8>)>,
        now: Now,
        effects: &mut Vec<ClientEffect>,
    ) {
        let restored = persist::read(rows);
        if let Some(dynamic) = restored.metadata {
            self.metadata.dynamic = dynamic;
        }
        self.volumes.begin(restored.volumes, &self.config, now, effects);
        self.describe();
        for key in restored.broken {
            effects.push(ClientEffect::LocalDelete(key));
        }
        for id in restored.removals.iter().filter(|id| !restored.allocs.contains_key(*id)) {
            effects.push(self.removal(id));
        }
        for (id, kept) in restored.allocs {
            let names: Vec<String> = kept.tasks.keys().cloned().collect();
            let mut ctx = ctx(&self.config, &self.node, &mut self.turn, now, effects);
            match AllocMachine::restore(kept, &mut ctx) {
                Some(machine) => {
                    self.allocs.insert(id, machine);
                }
                None => persist::delete(&id, names.iter().map(String::as_str), effects),
            }
        }
        self.heard_at = now.mono_ns;
        self.register(now, effects);
        // Tasks that wait for a restart, and allocations that were to be stopped, go on at once.
        self.each(now, effects, |m, ctx| m.timer(ctx));
    }

    fn register(&mut self, now: Now, effects: &mut Vec<ClientEffect>) {
        self.link = Link::Registering { retry_at: now.mono_ns + REGISTER_RETRY_NS };
        let node = Box::new(self.node.clone());
        effects.push(ClientEffect::Register(node, self.config.secret.clone()));
    }

    fn heard(&mut self, ttl_ns: u64, now: Now) {
        if !matches!(self.link, Link::Registered { .. }) {
            // Whatever was reported before may have been lost.
            self.report_all(now);
        }
        self.heard_at = now.mono_ns;
        self.link = Link::Registered { beat_at: now.mono_ns + ttl_ns / 2, ttl_ns };
    }

    fn report_all(&mut self, now: Now) {
        for machine in self.allocs.values_mut() {
            machine.report = true;
            machine.services.news |= machine.services.is_used();
        }
        self.flush_at = Some(now.mono_ns);
    }

    fn pulled(&mut self, allocs: &[Rc<Allocation>], now: Now, effects: &mut Vec<ClientEffect>) {
        for alloc in allocs {
            let ended = [CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_LOST]
                .contains(&alloc.client_status.as_str());
            let mut ctx = ctx(&self.config, &self.node, &mut self.turn, now, effects);
            if let Some(machine) = self.allocs.get_mut(&alloc.id) {
                if machine.alloc.alloc_modify_index < alloc.alloc_modify_index {
                    machine.update(alloc, &mut ctx);
                }
                // Told before, and not known (the servers' state may be an older one): once more.
                machine.report |= !ended && machine.is_terminal();
            } else if ended {
            } else if let Some(end) = self.forgotten.get(&alloc.id) {
                if self.outbox.iter().all(|told| told.id != alloc.id) {
                    self.outbox.push(end.clone());
                    self.flush_at = Some(now.mono_ns);
                }
            } else if let Some(machine) = AllocMachine::new(alloc, &mut ctx) {
                self.allocs.insert(alloc.id.clone(), machine);
            }
        }
        let known: BTreeSet<&str> = sort::gather(allocs.iter().map(|a| a.id.as_str()));
        self.forgotten.retain(|id, _| known.contains(id.as_str()));
        for machine in self.allocs.values_mut() {
            machine.gone = !known.contains(machine.alloc.id.as_str());
        }
        self.each(now, effects, |m, ctx| m.advance(ctx));
    }

    fn executor(
        &mut self,
        key: &TaskKey,
        event: exec_proto::ExecutorEvent,
        now: Now,
        effects: &mut Vec<ClientEffect>,
    ) {
        match event {
            exec_proto::ExecutorEvent::Signaled { token, error } => {
                let text =
                    if error.is_empty() { None } else { Some(alloc::signal_error(&key.1, &error)) };
                self.questions.signaled(token, text);
            }
            exec_proto::ExecutorEvent::Stats { token, usage } => {
                let machine = self.allocs.get_mut(&key.0);
                let task = machine.and_then(|m| m.tasks.iter_mut().find(|t| t.name() == key.1));
                let before = task.and_then(|t| {
                    t.before = t.usage.replace(usage.clone());
                    t.before.clone()
                });
                self.questions.sampled(token, &key.1, usage, before);
            }
            exec_proto::ExecutorEvent::Ran { id, code, output, error }
                if [alloc::SCRIPT, alloc::SCRIPT_FATAL].contains(&id.as_str()) =>
            {
                let text = (code != 0 || !error.is_empty()).then(|| {
                    let text = if error.is_empty() { output } else { error };
                    format!("Template failed to run script: exit code {code}: {text}")
                });
                self.with(&key.0, now, effects, |m, ctx| m.script_ran(&key.1, &id, text, ctx));
            }
            exec_proto::ExecutorEvent::Ran { id, code, output, error } => {
                let event = ProbeEvent::Ran { code, output, error };
                self.with(&key.0, now, effects, |m, ctx| m.probe(&id, event, ctx));
            }
            event => self.with(&key.0, now, effects, |m, ctx| m.executor(&key.1, &event, ctx)),
        }
    }

    fn timer(&mut self, now: Now, effects: &mut Vec<ClientEffect>) {
        let at = now.mono_ns;
        // Time in which nobody ran this (suspend, a stopped process) is no silence of the servers.
        let late = self.deadline().map_or(0, |due| at.saturating_sub(due));
        if late > SLEPT_NS {
            self.heard_at = self.heard_at.saturating_add(late).min(at);
        }
        match self.link {
            Link::Registering { retry_at } if retry_at <= at => self.register(now, effects),
            Link::Registered { beat_at, ttl_ns } if beat_at <= at => {
                // Without an answer it is sent again in time for the servers' deadline.
                let beat_at = at + (ttl_ns / 8).max(HEARTBEAT_RETRY_NS);
                self.link = Link::Registered { beat_at, ttl_ns };
                effects.push(ClientEffect::Heartbeat);
            }
            Link::Idle | Link::Registering { .. } | Link::Registered { .. } => {}
        }
        let silent = at.saturating_sub(self.heard_at);
        for machine in self.allocs.values_mut() {
            machine.cut_off |= machine.cut_off_after().is_some_and(|ns| ns <= silent);
        }
        self.each(now, effects, |m, ctx| {
            if m.cut_off || m.deadline().is_some_and(|d| d <= at) {
                m.timer(ctx);
            }
        });
        self.questions.expire(at);
        self.volumes.expire(now, effects);
    }

    fn request(
        &mut self,
        token: u64,
        request: ClientRequest,
        now: Now,
        effects: &mut Vec<ClientEffect>,
    ) {
        let reply = match request {
            ClientRequest::Restart { alloc, task, all } => {
                let mut done = Err(unknown_alloc(&alloc));
                self.with(&alloc, now, effects, |m, ctx| {
                    done = m.restart(&task, all, ctx).map_err(ApiError::failed);
                });
                Some(done.map(|()| INDEX_ZERO.to_vec()))
            }
            ClientRequest::Signal { alloc, task, signal } => {
                self.signal(token, &alloc, &task, &signal, now, effects)
            }
            ClientRequest::Gc { alloc } => Some(self.collect(&alloc, now, effects)),
            ClientRequest::GcAll => {
                self.collect_all(0, now, effects);
                Some(Ok(Vec::new()))
            }
            ClientRequest::Stats { alloc, task } => self.stats(token, &alloc, &task, now, effects),
            ClientRequest::Sample => {
                let asked = self.questions.next_token();
                let mut awaited = 0;
                let mut ctx = ctx(&self.config, &self.node, &mut self.turn, now, effects);
                for task in self.allocs.values().flat_map(|m| &m.tasks) {
                    awaited += usize::from(task.sample(asked, &mut ctx));
                }
                let by = now.mono_ns + ANSWER_NS;
                self.questions.ask(asked, Question::stats(token, awaited, 0.0, by));
                None
            }
            ClientRequest::Checks { alloc } => {
                let machine = self.allocs.get(&alloc);
                let results = machine.map(|m| m.checks.results(&m.alloc.name));
                Some(results.ok_or_else(|| unknown_alloc(&alloc)))
            }
            ClientRequest::HostStats(facts) => {
                let mhz = core_mhz(&self.node);
                let sample = HostSample::read(&facts);
                let body =
                    usage::host_stats(&facts, &sample, self.host_sample.as_ref(), mhz, now.wall_ns);
                self.host_sample = Some(sample);
                Some(Ok(body))
            }
            ClientRequest::Identity { renew } => {
                let id = ctx(&self.config, &self.node, &mut self.turn, now, effects).random();
                self.identity.ask((token, renew), id, now.wall_ns, effects)
            }
            ClientRequest::MetaGet => Some(Ok(self.metadata.body())),
            ClientRequest::MetaSet { body } => Some(self.set_metadata(&body, now, effects)),
            ClientRequest::Volume { body } => {
                self.volumes.ask(token, &body, &self.config, now, effects)
            }
        };
        if let Some(reply) = reply {
            effects.push(ClientEffect::Reply(token, reply));
        }
    }

    fn signal(
        &mut self,
        reply: u64,
        alloc: &str,
        task: &str,
        signal: &str,
        now: Now,
        effects: &mut Vec<ClientEffect>,
    ) -> Option<Result<Vec<u8>, ApiError>> {
        let token = self.questions.next_token();
        let mut sent = Err(unknown_alloc(alloc));
        self.with(alloc, now, effects, |m, ctx| {
            sent = m.signal(task, signal, token, ctx).map_err(ApiError::failed);
        });
        match sent {
            Err(e) => Some(Err(e)),
            Ok((awaited, errors)) => {
                let by = now.mono_ns + ANSWER_NS;
                self.questions.ask(token, Question::signal(reply, awaited, errors, by));
                None
            }
        }
    }

    fn stats(
        &mut self,
        reply: u64,
        alloc: &str,
        task: &str,
        now: Now,
        effects: &mut Vec<ClientEffect>,
    ) -> Option<Result<Vec<u8>, ApiError>> {
        let Some(machine) = self.allocs.get(alloc) else { return Some(Err(unknown_alloc(alloc))) };
        let token = self.questions.next_token();
        let mut awaited = 0;
        let mut ctx = ctx(&self.config, &self.node, &mut self.turn, now, effects);
        for machine in machine.tasks.iter().filter(|t| task.is_empty() || t.name() == task) {
            awaited += usize::from(machine.sample(token, &mut ctx));
        }
        let mhz = core_mhz(&self.node);
        self.questions.ask(token, Question::stats(reply, awaited, mhz, now.mono_ns + ANSWER_NS));
        None
    }

    fn set_metadata(
        &mut self,
        body: &[u8],
        now: Now,
        effects: &mut Vec<ClientEffect>,
    ) -> Result<Vec<u8>, ApiError> {
        if self.metadata.apply(body)? {
            effects.push(persist::put_metadata(&self.metadata.dynamic));
            self.describe();
            self.register(now, effects);
        }
        Ok(self.metadata.body())
    }

    /// Carries metadata and volumes over into the node.
    fn describe(&mut self) {
        self.node.meta = self.metadata.effective();
        self.volumes.describe(&self.config, &mut self.node);
        self.node.computed_class = fingerprint::computed_class(&self.node);
    }

    fn collect(
        &mut self,
        id: &str,
        now: Now,
        effects: &mut Vec<ClientEffect>,
    ) -> Result<Vec<u8>, ApiError> {
        if self.allocs.get(id).is_some_and(AllocMachine::is_terminal) {
            self.drop_alloc(id, now, effects);
            Ok(Vec::new())
        } else {
            Err(ApiError::failed("No such allocation on client, or allocation not eligible for GC"))
        }
    }

    /// Drops terminal allocations, oldest first, until at most `keep` are left.
    fn collect_all(&mut self, keep: usize, now: Now, effects: &mut Vec<ClientEffect>) {
        if self.allocs.values().filter(|m| m.is_terminal()).count() <= keep {
            return;
        }
        let mut ended: Vec<(i64, String)> = self
            .allocs
            .iter()
            .filter(|(_, m)| m.is_terminal())
            .map(|(id, m)| (m.finished_at(), id.clone()))
            .collect();
        sort::by(&mut ended, Ord::cmp);
        let extra = ended.len() - keep;
        for (_, id) in ended.into_iter().take(extra) {
            self.drop_alloc(&id, now, effects);
        }
    }

    fn drop_alloc(&mut self, id: &str, now: Now, effects: &mut Vec<ClientEffect>) {
        let Some(machine) = self.allocs.remove(id) else { return };
        assert!(machine.is_terminal());
        effects.push(persist::put_removal(id));
        effects.push(self.removal(id));
        if !machine.gone {
            let end = machine.client_state();
            self.forgotten.insert(id.to_owned(), end.clone());
            if machine.report {
                self.outbox.push(end);
                self.flush_at = Some(now.mono_ns);
            }
        }
        persist::delete(id, machine.tasks.iter().map(task::TaskMachine::name), effects);
    }

    fn removal(&self, id: &str) -> ClientEffect {
        let path = task::alloc_root(&self.config, id);
        ClientEffect::RemoveTree { path, alloc: Some(id.to_owned()) }
    }

    /// What follows from the new state of all machines: reports, collection, allocations that
    /// waited for others.
    fn settle(&mut self, now: Now, effects: &mut Vec<ClientEffect>) {
        let gone: Vec<String> = self
            .allocs
            .iter()
            .filter(|(_, m)| m.gone && m.is_terminal())
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.drop_alloc(&id, now, effects);
        }
        self.release_waiting(now, effects);
        let keep = if self.config.gc_max_allocs == 0 { GC_MAX } else { self.config.gc_max_allocs };
        self.collect_all(keep, now, effects);
        for (token, reply) in self.questions.answered() {
            effects.push(ClientEffect::Reply(token, reply));
        }
        self.plan_reports(now);
        if self.flush_at.is_some_and(|at| at <= now.mono_ns) {
            self.flush(now, effects);
        }
    }

    fn release_waiting(&mut self, now: Now, effects: &mut Vec<ClientEffect>) {
        if self.allocs.values().all(|m| m.waits.is_empty()) {
            return;
        }
        let running = self.allocs.iter().filter(|(_, m)| !m.is_terminal());
        let running: BTreeSet<String> = sort::gather(running.map(|(id, _)| id.clone()));
        self.each(now, effects, |m, ctx| {
            if !m.waits.is_empty() {
                m.waits.retain(|id| running.contains(id));
                if m.waits.is_empty() {
                    m.advance(ctx);
                }
            }
        });
    }

    /// A change of the client status leaves soon, so that users see it; a mere event waits for
    /// company.
    fn plan_reports(&mut self, now: Now) {
        for machine in self.allocs.values().filter(|m| m.report && !m.gone) {
            let wait = if machine.reported == machine.status().0 { EVENT_NS } else { STATUS_NS };
            let at = machine.verdict_due(now.mono_ns).unwrap_or(0).max(now.mono_ns + wait);
            self.flush_at = Some(self.flush_at.map_or(at, |old| old.min(at)));
        }
    }

    fn flush(&mut self, now: Now, effects: &mut Vec<ClientEffect>) {
        self.flush_at = None;
        if !matches!(self.link, Link::Registered { .. }) {
            // Kept until a server is there; then everything is reported.
            if !self.outbox.is_empty() {
                self.flush_at = Some(now.mono_ns + OFFLINE_NS);
            }
            for machine in self.allocs.values_mut() {
                machine.report = false;
            }
            return;
        }
        let mut updates = std::mem::take(&mut self.outbox);
        let due = |m: &AllocMachine| m.report && !m.gone && m.verdict_due(now.mono_ns).is_none();
        for machine in self.allocs.values_mut().filter(|m| due(m)) {
            machine.report = false;
            machine.reported = machine.status().0;
            updates.push(machine.client_state());
            machine.services.news = false;
        }
        if !updates.is_empty() {
            effects.push(ClientEffect::Update(updates));
        }
        self.plan_reports(now);
    }

    /// Writes the rows that are not on disk as they are here.
    fn save(&mut self, out: &mut Vec<ClientEffect>) {
        for (id, machine) in &mut self.allocs {
            if std::mem::take(&mut machine.alloc_changed) {
                out.push(persist::put_alloc(&machine.alloc));
            }
            if machine.supply.changed || machine.templates.changed {
                (machine.supply.changed, machine.templates.changed) = (false, false);
                out.push(persist::put_supply(id, &machine.supply_row()));
            }
            if std::mem::take(&mut machine.run_changed) {
                out.push(persist::put_run(id, machine.run_row()));
            }
            for task in &mut machine.tasks {
                if std::mem::take(&mut task.changed) {
                    out.push(persist::put_task(id, task.name(), &task.row()));
                }
            }
        }
    }

    fn with(
        &mut self,
        id: &str,
        now: Now,
        effects: &mut Vec<ClientEffect>,
        f: impl FnOnce(&mut AllocMachine, &mut Ctx<'_>),
    ) {
        if let Some(machine) = self.allocs.get_mut(id) {
            f(machine, &mut ctx(&self.config, &self.node, &mut self.turn, now, effects));
        }
    }

    fn each(
        &mut self,
        now: Now,
        effects: &mut Vec<ClientEffect>,
        mut f: impl FnMut(&mut AllocMachine, &mut Ctx<'_>),
    ) {
        let mut ctx = ctx(&self.config, &self.node, &mut self.turn, now, effects);
        for machine in self.allocs.values_mut() {
            f(machine, &mut ctx);
        }
    }
}

fn ctx<'a>(
    config: &'a ClientConfig,
    node: &'a Node,
    turn: &'a mut Turn,
    now: Now,
    out: &'a mut Vec<ClientEffect>,
) -> Ctx<'a> {
    Ctx { now, config, node, out, turn }
}

fn unknown_alloc(id: &str) -> ApiError {
    ApiError::not_found(format!("Unknown allocation \"{id}\""))
}

/// Speed of one core in MHz, for ticks.
fn core_mhz(node: &Node) -> f64 {
    let cpu = node.node_resources.as_ref().map(|r| &r.cpu);
    cpu.map_or(0.0, |c| c.cpu_shares as f64 / c.total_cpu_cores.max(1) as f64)
}

/// What restart and signal answer.
const INDEX_ZERO: &[u8] = br#"{"Index":0}"#;
/// Terminal allocations that are kept, by default.
const GC_MAX: usize = 50;
/// A new client status waits this long for others, nanoseconds.
const STATUS_NS: u64 = 15_000_000;
/// A new event waits this long, nanoseconds.
const EVENT_NS: u64 = 200_000_000;
/// Reports of dropped allocations are tried again after this long without a server.
const OFFLINE_NS: u64 = 5_000_000_000;
/// A registration without an answer is sent again after this long.
const REGISTER_RETRY_NS: u64 = 5_000_000_000;
/// A timer that fires this late was not watched.
const SLEPT_NS: u64 = 5_000_000_000;
/// Least distance of repeated heartbeats.
const HEARTBEAT_RETRY_NS: u64 = 1_000_000_000;
/// How long an executor may take to answer a question before the asker is answered without it.
const ANSWER_NS: u64 = 1_000_000_000;
