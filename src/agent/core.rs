//! What the agent is between two system calls: consensus, server and node, as values.
//!
//! One turn of the loop collects proposals, effects and local rows here; [`Core::commit`] turns
//! them into one write of the store. Nothing that depends on the write leaves before it is durable:
//! answers, executor starts and what the scheduler learns all come out of `commit`.

use std::path::PathBuf;
use std::rc::Rc;

use super::cluster::Cluster;
use super::consensus::{Consensus, Outgoing};
use super::digests::Digests;
use super::joins::{Join, Seed};
use super::mesh::Mesh;
use super::remote::{self, Remote};
use super::replicate::Replicas;
use super::restore::Restoring;
use super::serve::Form;
use super::snapshots::{Saves, Snapshots};
use super::transfer::Transfers;
use crate::api::{ApiError, NodeEvent, SchedulerConfiguration, status};
use crate::client::{Client, ClientEffect, ClientInput, ClientRequest, Inquiry};
use crate::command::{Applied, Command};
use crate::dns::{Files, Resolver};
use crate::limits::{FULL_DISK_RETRY_NS, HOLD_NS, ROTATIONS_MAX};
use crate::os::net;
use crate::raft::{self, Input, PeerId, Refusal, Role};
use crate::routes::{
    AgentInfo, Answer, ClusterRequest, DryRun, LockRenewal, Reply, Rotation, Then,
};
use crate::server::{Server, Workers, client_update_evals, first_key, node_evals};
use crate::stdx::slab::Key;
use crate::stdx::{BTreeMap, Entropy, Now, json, same_secret, uuid};
use crate::store::{Reader, SCHEDULER, Store, StoreError, Table, Touched, keys};

/// Who waits for an entry to be applied.
pub(super) enum Waiter {
    Nobody,
    Http(Key, Form, Reply),
    /// A run of the scheduler, by evaluation.
    Plan(String),
    /// The leader, for a table that it takes over from another region.
    Replica(usize),
    /// A node's registration: this agent's, or one that waits behind a link.
    Register(Option<(Key, Form)>),
}

struct Proposal {
    command: Command,
    waiter: Waiter,
}

/// What a change of roles shows in: term, role, leader, membership, and whether this server leads.
type Seen = (u64, Role, Option<PeerId>, u64, bool);

/// An answer for a connection, ready to be written.
pub(super) struct Ready {
    pub(super) conn: Key,
    pub(super) form: Form,
    pub(super) answer: Answer,
}

impl Ready {
    fn of(conn: Key, form: Form, answer: Result<Answer, ApiError>) -> Self {
        Self { conn, form, answer: answer.unwrap_or_else(Answer::from) }
    }
}

/// What became possible by a commit.
#[derive(Default)]
pub(super) struct Committed {
    pub(super) answers: Vec<Ready>,
    pub(super) touched: Touched,
    /// Effects of the node, whose local rows are now durable.
    pub(super) effects: Vec<ClientEffect>,
    /// Entries that were applied.
    pub(super) applied: usize,
}

pub(super) struct Core {
    pub(super) info: AgentInfo,
    /// Where the node's allocations live.
    pub(super) alloc_dir: PathBuf,
    /// What a file may say so that access control can be set up anew.
    pub(super) bootstrap_file: PathBuf,
    /// This agent has no state to look tokens up in: servers say who may ask.
    pub(super) guarded: bool,
    /// The configuration is to be read again.
    pub(super) reload: bool,
    pub(super) consensus: Consensus,
    raft_config: raft::Config,
    pub(super) mesh: Mesh,
    pub(super) cluster: Cluster,
    /// Requests that change the consensus, for this turn's work.
    pub(super) asks: Vec<(Key, Form, ClusterRequest)>,
    /// Who waits for servers to answer.
    pub(super) joins: Vec<Join>,
    /// Hosts that the configuration wants to be joined.
    pub(super) seeds: Vec<Seed>,
    /// Finds hosts by their names.
    pub(super) resolver: Resolver,
    /// What the description of the servers was made from.
    pub(super) seen: Option<Seen>,
    pub(super) server: Option<Server>,
    pub(super) client: Option<Client>,
    /// States on their way to or from other servers.
    pub(super) transfers: Transfers,
    /// What the state comes to here and elsewhere.
    pub(super) digests: Digests,
    /// A snapshot that is to take the place of the state.
    pub(super) restoring: Option<Box<Restoring>>,
    /// Snapshots that are made by the clock, and those that are asked for.
    pub(super) snapshots: Option<Snapshots>,
    /// How work is placed in a cluster that has not begun.
    pub(super) scheduling: Option<SchedulerConfiguration>,
    pub(super) saves: Saves,
    /// Where snapshots lie while they come or go.
    pub(super) spool_dir: PathBuf,
    /// How the node speaks with the servers.
    pub(super) remote: Remote,
    /// What is taken over from another region.
    pub(super) replicas: Replicas,
    pub(super) entropy: Box<dyn Entropy>,
    proposals: Vec<Proposal>,
    /// Proposals in the log that are not applied yet, by index, and the term that they belong to.
    pending: BTreeMap<u64, Proposal>,
    pending_term: u64,
    pub(super) local: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Effects that wait for the commit of the local rows before them.
    gated: Vec<ClientEffect>,
    /// Requests that the node works on.
    asked: BTreeMap<u64, (Key, Form)>,
    next_ask: u64,
    /// Those of them that ask for metrics, and in which form.
    sampled: BTreeMap<u64, bool>,
    /// Those of them that something is made of before it is answered.
    then: BTreeMap<u64, Then>,
    /// Who waits for a new root key.
    rotations: Vec<(Key, Form, Rotation)>,
    /// Metrics that can be told now.
    pub(super) metrics_due: Vec<(Key, Form, bool)>,
    /// Answers that need no commit.
    pub(super) ready: Vec<Ready>,
    pub(super) heartbeat_due: bool,
    /// The cluster has a key: variables can be written.
    keyed: bool,
    /// It has one since the last turn: those who wait to write do not wait for another event.
    pub(super) keyed_now: bool,
    /// The disk is full: no new try before this, unless someone asks.
    full_until: u64,
    /// Mono ns at which what the store holds becomes durable at the latest.
    held_until: Option<u64>,
    /// Whether someone does, in this turn.
    asked_to_write: bool,
}

impl Core {
    pub(super) fn new(
        info: AgentInfo,
        consensus: Consensus,
        raft_config: raft::Config,
        mesh: Mesh,
        cluster: Cluster,
        server: Option<Server>,
        client: Option<Client>,
        entropy: Box<dyn Entropy>,
        alloc_dir: PathBuf,
    ) -> Self {
        Self {
            alloc_dir,
            info,
            bootstrap_file: PathBuf::new(),
            guarded: false,
            reload: false,
            consensus,
            raft_config,
            mesh,
            cluster,
            asks: Vec::new(),
            joins: Vec::new(),
            seeds: Vec::new(),
            resolver: Resolver::new(Files(net::name_files)),
            seen: None,
            transfers: Transfers::default(),
            snapshots: None,
            scheduling: None,
            remote: Remote::default(),
            replicas: Replicas::new(String::new()),
            server,
            client,
            entropy,
            proposals: Vec::new(),
            pending: BTreeMap::new(),
            pending_term: 0,
            local: Vec::new(),
            gated: Vec::new(),
            asked: BTreeMap::new(),
            next_ask: 0,
            sampled: BTreeMap::new(),
            then: BTreeMap::new(),
            rotations: Vec::new(),
            metrics_due: Vec::new(),
            ready: Vec::new(),
            heartbeat_due: false,
            keyed: false,
            keyed_now: false,
            full_until: 0,
            held_until: None,
            digests: Digests::default(),
            restoring: None,
            saves: Saves::default(),
            spool_dir: PathBuf::new(),
            asked_to_write: false,
        }
    }

    /// What routes may see and draw from.
    pub(super) fn for_routes(&mut self) -> (&AgentInfo, &mut dyn Entropy) {
        (&self.info, &mut *self.entropy)
    }

    /// Uniform below `n`; zero for zero.
    pub(super) fn random_below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.entropy.u64() % n }
    }

    /// Mono ns at which something is due by itself.
    pub(super) fn deadline(&self, now: Now) -> Option<u64> {
        let server = self.server.as_ref().and_then(|s| s.deadline(now));
        let client = self.client.as_ref().and_then(Client::deadline);
        let full = Some(self.full_until).filter(|at| *at != 0);
        let cluster = Some(self.cluster.check_at).filter(|at| *at != u64::MAX);
        let links = [cluster, self.mesh.deadline(), self.consensus.deadline(), self.joins_until()];
        let state = self.transfers.deadline();
        let snapshots = self.snapshots.as_ref().map(Snapshots::deadline);
        let digests = Some(self.digests.deadline()).filter(|_| self.info.server);
        let names = [self.resolver.deadline(), self.seeds_at()];
        let others = [self.saves.deadline(), self.remote.deadline(), self.replicas.deadline()];
        [server, client, full, self.held_until, state, snapshots, digests]
            .into_iter()
            .chain(others)
            .chain(links)
            .chain(names)
            .flatten()
            .min()
    }

    /// Whether there is work that waits for nothing.
    pub(super) fn has_runnable(&self) -> bool {
        self.has_writes()
            || self.keyed_now
            || !self.ready.is_empty()
            || !self.gated.is_empty()
            || !self.asks.is_empty()
            || self.remote.has_questions()
            || self.resolver.has_news()
            || self.consensus.has_reads()
            || !self.metrics_due.is_empty()
            || self.server.as_ref().is_some_and(|s| s.has_work() || s.makes_keys())
    }

    pub(super) fn has_proposals(&self) -> bool {
        !self.proposals.is_empty()
    }

    /// A turn took so long, in nanoseconds. A lone server has nobody to wait for.
    pub(super) fn turn_took(&mut self, ns: u64) {
        if !self.is_alone() {
            self.consensus.turn_took(ns);
        }
    }

    /// A snapshot is about to be put into force.
    pub(super) fn proposes_restore(&self) -> bool {
        self.proposals.iter().any(|p| matches!(p.command, Command::Restore { .. }))
    }

    /// Clients wait for this turn's commit.
    pub(super) fn has_writers(&self) -> bool {
        self.proposals.iter().any(|p| matches!(p.waiter, Waiter::Http(..)))
    }

    fn has_writes(&self) -> bool {
        if self.full_until != 0 {
            return self.has_writers();
        }
        !self.proposals.is_empty() || self.has_local_writes()
    }

    /// The turn has something to make durable.
    pub(super) fn has_local_writes(&self) -> bool {
        !self.local.is_empty() || self.consensus.has_work() || self.transfers.has_step()
    }

    /// Nobody else can lead: what is read here is the newest state without asking.
    pub(super) fn is_alone(&self) -> bool {
        self.consensus.is_alone()
    }

    /// Asks consensus whether this server still leads; answered by [`Self::take_reads`].
    pub(super) fn read_index(&mut self, now: Now, reader: Reader<'_>, token: u64) {
        self.consensus.step(now, reader, Input::ReadIndex(token));
    }

    /// Reads that may be served now, and those that cannot be served here.
    pub(super) fn take_reads(&mut self) -> (Vec<u64>, Vec<u64>) {
        self.consensus.take_reads()
    }

    /// Whether a task of an allocation that the node holds has ever run; `None` where it holds none
    /// such.
    pub(super) fn task_started(&self, alloc: &str, task: &str) -> Option<bool> {
        let state = self.client.as_ref()?.task_state(alloc, task)?;
        Some(state.started_at != json::Time::default())
    }

    /// The node of this agent holds an allocation.
    pub(super) fn holds(&self, alloc: &str) -> bool {
        self.client.as_ref().is_some_and(|c| c.alloc(alloc).is_some())
    }

    /// Answers that wait for no commit.
    pub(super) fn take_ready(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.ready)
    }

    /// Puts a request's command into the log of this turn.
    pub(super) fn propose_for(&mut self, conn: Key, form: Form, command: Command, reply: Reply) {
        self.propose(command, Waiter::Http(conn, form, reply));
    }

    pub(super) fn propose(&mut self, command: Command, waiter: Waiter) {
        self.proposals.push(Proposal { command, waiter });
    }

    /// Hands a request to the node; answered by an effect.
    pub(super) fn ask_client(
        &mut self,
        conn: Key,
        form: Form,
        mut request: ClientRequest,
        now: Now,
    ) {
        if self.client.is_none() {
            let answer = ApiError::not_found("No path to node").into();
            return self.ready.push(Ready { conn, form, answer });
        }
        if let ClientRequest::HostStats(facts) = &mut request {
            **facts = super::facts::usage(&self.alloc_dir);
        }
        let token = self.next_ask;
        self.next_ask += 1;
        self.asked.insert(token, (conn, form));
        self.client_input(now, ClientInput::Request(token, request));
    }

    /// Hands work on a host volume to the node of this agent.
    pub(super) fn ask_volume(
        &mut self,
        conn: Key,
        form: Form,
        body: Vec<u8>,
        then: Then,
        now: Now,
    ) {
        self.then.insert(self.next_ask, then);
        self.ask_client(conn, form, ClientRequest::Volume { body }, now);
    }

    /// The leader has work on a host volume for the node, and knows its secret.
    pub(super) fn volume_call(
        &mut self,
        conn: Key,
        form: Form,
        secret: &str,
        body: Vec<u8>,
        now: Now,
    ) -> bool {
        let known = self.client.as_ref().is_some_and(|c| same_secret(c.secret(), secret));
        if known {
            self.ask_client(conn, form, ClientRequest::Volume { body }, now);
        }
        known
    }

    /// Has the tasks asked what they use before metrics are told; false without a node.
    pub(super) fn sample(&mut self, conn: Key, form: Form, prometheus: bool, now: Now) -> bool {
        if self.client.is_some() {
            self.sampled.insert(self.next_ask, prometheus);
            self.ask_client(conn, form, ClientRequest::Sample, now);
        }
        self.client.is_some()
    }

    /// The connection of a pending question is gone.
    pub(super) fn forget(&mut self, conn: Key) {
        self.asked.retain(|_, (c, _)| *c != conn);
        self.rotations.retain(|(c, ..)| *c != conn);
        self.saves.forget(conn);
    }

    /// Something happened on the node.
    pub(super) fn client_input(&mut self, now: Now, input: ClientInput) {
        let Some(client) = &mut self.client else { return };
        let mut out = Vec::new();
        client.step(now, input, &mut out);
        self.info.client_allocs = client.counts().0;
        for effect in out {
            match effect {
                ClientEffect::Register(node, secret) => {
                    let wall_ns = now.wall_ns;
                    let evals = Vec::new();
                    self.node_says(Command::NodeRegister { node, secret, wall_ns, evals });
                }
                ClientEffect::Heartbeat => self.node_says(remote::beat(&self.info.node_id)),
                ClientEffect::Update(updates) => {
                    let (wall_ns, evals) = (now.wall_ns, Vec::new());
                    self.node_says(Command::AllocClientUpdate { updates, evals, wall_ns });
                }
                ClientEffect::LocalPut(key, value) => self.local.push((key, Some(value))),
                ClientEffect::LocalDelete(key) => self.local.push((key, None)),
                ClientEffect::Reply(token, result) => self.client_replied(token, result),
                ClientEffect::Ask(_, Inquiry::File { .. }) => self.gated.push(effect),
                ClientEffect::Ask(id, question) => self.remote.question(id, question),
                ClientEffect::Unask(id) => self.forget_question(id),
                other => self.gated.push(other),
            }
        }
    }

    fn client_replied(&mut self, token: u64, result: Result<Vec<u8>, ApiError>) {
        let then = self.then.remove(&token);
        let metrics = self.sampled.remove(&token);
        let Some((conn, form)) = self.asked.remove(&token) else { return };
        if let Some(prometheus) = metrics {
            return self.metrics_due.push((conn, form, prometheus));
        }
        if let Some(then) = then {
            return match then.run(result) {
                Ok((command, reply)) => self.propose_for(conn, form, *command, reply),
                Err(e) => self.ready.push(Ready { conn, form, answer: e.into() }),
            };
        }
        let answer = match result {
            Ok(body) if body.is_empty() => Answer::empty(),
            Ok(body) => Answer::bytes(body),
            Err(e) => e.into(),
        };
        self.ready.push(Ready { conn, form, answer });
    }

    /// The holder of a lock was heard.
    pub(super) fn renew_lock(&mut self, renewal: LockRenewal, now: Now) -> Answer {
        let LockRenewal { key, id, answer } = renewal;
        let held = self.server.as_mut().is_some_and(|s| s.renew_lock(&key, &id, now));
        if held { answer } else { Answer::text(409, "attempting to modify locked variable") }
    }

    /// Somebody wants a new root key, and waits until it is made; false where too many do.
    pub(super) fn rotate(&mut self, conn: Key, form: Form, rotation: Rotation) -> bool {
        let few = self.rotations.len() < ROTATIONS_MAX;
        if few {
            self.rotations.push((conn, form, rotation));
        }
        few
    }

    /// Works on keys that are wanted, once in a turn of the loop.
    pub(super) fn tend_keys(&mut self, now: Now) {
        let Some(server) = self.server.as_mut().filter(|_| self.info.leads) else {
            for (conn, form, _) in std::mem::take(&mut self.rotations) {
                let answer = ApiError::failed("leadership lost before the key was made").into();
                self.ready.push(Ready { conn, form, answer });
            }
            return;
        };
        server.make_keys(now, &mut *self.entropy);
        if !self.rotations.is_empty()
            && let Some(pair) = server.take_key()
        {
            let (conn, form, rotation) = self.rotations.remove(0);
            let (command, reply) = rotation.with(&pair, now, &mut *self.entropy);
            self.propose_for(conn, form, command, reply);
        }
    }

    /// Collects garbage of any age, now.
    pub(super) fn collect_garbage(&mut self) {
        if let Some(server) = &mut self.server {
            server.force_gc();
        }
    }

    /// From now on these take evaluations. Those of before keep their ids.
    pub(super) fn set_workers(&mut self, workers: Workers, now: Now) {
        if let Some(server) = &mut self.server {
            server.set_workers(workers);
        }
        let entropy = &mut *self.entropy;
        self.info.workers = workers;
        self.info.worker_ids.resize_with(workers.count, || (uuid::new(&mut *entropy), now.wall_ns));
    }

    /// Asks the scheduler what it would do.
    pub(super) fn dry_run(&mut self, now: Now, reader: Reader<'_>, ask: DryRun) -> Answer {
        let Some(server) = &mut self.server else {
            return ApiError::failed("No cluster leader").into();
        };
        match server.dry_run(now, reader, &mut *self.entropy, ask.job, &ask.eval) {
            Ok(plan) => (ask.reply)(plan),
            Err(e) => ApiError::failed(e.to_string()).into(),
        }
    }

    /// Timers, and what the evaluations that wait can be turned into. Called again while it says
    /// that there is more.
    pub(super) fn work(&mut self, now: Now, reader: Reader<'_>) -> Result<bool, StoreError> {
        if let Some(client) = &self.client
            && client.deadline().is_some_and(|d| d <= now.mono_ns)
        {
            self.client_input(now, ClientInput::Timer);
        }
        if self.full_until <= now.mono_ns {
            self.full_until = 0;
        }
        self.consensus.tick(now, reader);
        self.resolver.tick(now, &mut *self.entropy);
        self.tend_seeds(now);
        self.look_after(now, reader);
        self.answer_asks(now, reader);
        self.settle_joins(now);
        self.roles(now, reader)?;
        let beats = self.heartbeat_due && self.info.leads;
        if beats && reader.node(&self.info.node_id)?.is_none() {
            // Purged by an operator: it registers anew.
            self.heartbeat_due = false;
            self.client_input(now, ClientInput::ServerLost);
        }
        self.tend_node(now, reader);
        self.tend_replicas(now);
        if std::mem::take(&mut self.heartbeat_due) {
            let node = self.info.node_id.clone();
            let (ttl_ns, again) = self.heartbeat(now, reader, &node);
            self.info.heartbeat_ttl_ns = i64::try_from(ttl_ns).unwrap_or(i64::MAX);
            self.client_input(now, ClientInput::HeartbeatAck { ttl_ns });
            if again {
                // The servers took it for lost, and what it served with it.
                self.client_input(now, ClientInput::ServerLost);
                self.client_input(now, ClientInput::HeartbeatAck { ttl_ns });
            }
        }
        let Some(server) = &mut self.server else { return Ok(false) };
        let mut commands = Vec::new();
        let more = server.work(now, reader, &mut *self.entropy, &mut commands)?;
        for (command, plan) in commands {
            let waiter = plan.map_or(Waiter::Nobody, Waiter::Plan);
            self.propose(command, waiter);
        }
        Ok(more)
    }

    /// Hands the proposals of this turn to consensus. What may leave before they are durable is on
    /// the links after this.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn prepare(&mut self, now: Now, store: &Store) -> Result<(), StoreError> {
        self.asked_to_write = self.has_writes();
        if !self.proposals.is_empty() && self.asked_to_write {
            self.complete_proposals(now, store)?;
            let proposals = std::mem::take(&mut self.proposals);
            let payloads =
                proposals.iter().map(|p| Rc::from(json::encode_lean(&p.command))).collect();
            let snap = store.snap()?;
            self.consensus.tick(now, snap.reader());
            match self.consensus.ask(now, snap.reader(), Input::Propose(payloads)) {
                Ok(range) => {
                    self.pending_term = self.consensus.raft().term();
                    self.pending.extend(range.zip(proposals));
                }
                Err(e) => {
                    let keep = e != Refusal::NotLeader;
                    self.refuse(now, proposals, &e.to_string(), keep);
                }
            }
        }
        self.give_up_pending(now);
        let free = self.consensus.take_free();
        self.post(free);
        if !self.has_local_writes() {
            // Everything that was handed over before is durable.
            let gated = self.consensus.take_gated();
            self.post(gated);
        }
        Ok(())
    }

    /// Puts messages of consensus on the links to their receivers.
    fn post(&mut self, messages: Vec<Outgoing>) {
        for (to, message) in messages {
            if let Some(link) = self.mesh.to_server(to).and_then(|key| self.mesh.link(key)) {
                link.raft(message.encode());
            }
        }
    }

    /// Entries of this server may be replaced once it does not lead any more: nobody knows what
    /// becomes of them.
    fn give_up_pending(&mut self, now: Now) {
        let raft = self.consensus.raft();
        if self.pending.is_empty()
            || (raft.role() == Role::Leader && raft.term() == self.pending_term)
        {
            return;
        }
        let pending = std::mem::take(&mut self.pending).into_values().collect();
        self.refuse(now, pending, "leadership lost while committing log", false);
    }

    /// Makes everything of this turn durable in one transaction and says what follows. A turn that
    /// only applies what the log on the disk holds is durable with that: its transaction stays open
    /// until there is something to remember or somebody to see it, or for [`HOLD_NS`], so that the
    /// disk is waited for once in a write, not twice in a row. Whoever reads waits for the commit:
    /// what was shown is not taken back by a crash.
    ///
    /// # Errors
    /// Where the disk fails the agent must end: what is on it is unknown. A full disk is no error
    /// here; those who asked are told.
    pub(super) fn commit(&mut self, now: Now, store: &mut Store) -> Result<Committed, StoreError> {
        let mut done = Committed::default();
        let writes = self.has_local_writes() && (self.full_until == 0 || self.asked_to_write);
        let written = match writes {
            true => self.write(now, store).map(Some),
            false => self.settle(now, store).map(|()| None),
        };
        let (applied, touched) = match written {
            Ok(Some(written)) => written,
            Ok(None) => {
                done.effects = std::mem::take(&mut self.gated);
                return Ok(done);
            }
            Err(e @ StoreError::NoSpace) => {
                log::error!("{e}: writes are refused until there is room");
                let pending = std::mem::take(&mut self.pending).into_values().collect();
                self.refuse(now, pending, &e.to_string(), true);
                self.state_refused(now);
                self.start_over(now, store)?;
                done.answers = std::mem::take(&mut self.ready);
                return Ok(done);
            }
            Err(e) => return Err(e),
        };
        self.local.clear();
        self.state_written(now);
        self.digests_moved(now, &touched);
        self.full_until = 0;
        done.touched = touched;
        for (key, note) in std::mem::take(&mut self.cluster.after) {
            if let Some(link) = self.mesh.link(key) {
                link.note(note);
            }
        }
        let snap = store.snap()?;
        self.learn(now, snap.reader(), &done.touched)?;
        done.applied = applied.len();
        for (index, result) in applied {
            if let Some(proposal) = self.pending.remove(&index) {
                let index = snap.reader().index_of(index);
                self.finish(now, snap.reader(), proposal, index, result, &mut done)?;
            }
        }
        done.effects = std::mem::take(&mut self.gated);
        Ok(done)
    }

    /// Nothing of the turn reached the disk: consensus goes back to what is there.
    fn start_over(&mut self, now: Now, store: &mut Store) -> Result<(), StoreError> {
        self.full_until = now.mono_ns + FULL_DISK_RETRY_NS;
        self.held_until = None;
        store.fall_back()?;
        self.begin_anew(now, store)
    }

    /// What was applied last is not durable as state: it is not to be shown.
    pub(super) fn is_holding(&self) -> bool {
        self.held_until.is_some()
    }

    /// Somebody wants to see what is held: it becomes durable with this turn.
    pub(super) fn show(&mut self, now: Now) {
        self.held_until = self.held_until.map(|at| at.min(now.mono_ns));
    }

    /// Makes durable what is held, once it is time.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn settle(&mut self, now: Now, store: &mut Store) -> Result<(), StoreError> {
        if self.held_until.take_if(|at| *at <= now.mono_ns).is_some() {
            store.settle()?;
        }
        Ok(())
    }

    /// Consensus takes up what is on the disk.
    fn begin_anew(&mut self, now: Now, store: &Store) -> Result<(), StoreError> {
        let snap = store.snap()?;
        let config = raft::Config { seed: self.entropy.u64(), ..self.raft_config.clone() };
        let id = self.consensus.raft().id();
        let kept = self.consensus.kept();
        self.consensus = Consensus::open(snap.reader(), id, config, kept)?;
        self.begin_alone(now, snap.reader());
        Ok(())
    }

    /// Fills in what depends on the newest state: evaluations for nodes and reports.
    fn complete_proposals(&mut self, now: Now, store: &Store) -> Result<(), StoreError> {
        let snap = store.snap()?;
        for proposal in &mut self.proposals {
            if let Command::AllocClientUpdate { updates, evals, .. } = &mut proposal.command
                && evals.is_empty()
            {
                *evals =
                    client_update_evals(snap.reader(), updates, now.wall_ns, &mut *self.entropy)?;
            }
        }
        Ok(())
    }

    /// The one transaction of the turn.
    fn write(
        &mut self,
        now: Now,
        store: &mut Store,
    ) -> Result<(Vec<(u64, Applied)>, Touched), StoreError> {
        // No more than one turn's, so that a transaction stays small.
        let hold = !store.holds()
            && self.consensus.only_applies()
            && self.local.is_empty()
            && !self.transfers.has_step()
            && self.cluster.after.is_empty()
            && !self.is_alone();
        // Of a full disk, what is removed and what consensus itself has to remember take the rest.
        let mut batch = store.batch_that(self.pending.values().all(|p| p.command.frees()))?;
        if self.info.event_buffer > 0 {
            batch.record();
        }
        self.transfers.write(&mut batch)?;
        let own = |index| self.pending.get(&index).map(|p| &p.command);
        let applied = self.consensus.write(&mut batch, &own)?;
        for (key, value) in &self.local {
            match value {
                Some(value) => batch.put_local(key, value)?,
                None => batch.del_local(key)?,
            }
        }
        let hold = hold && !batch.replaces();
        self.held_until = hold.then(|| now.mono_ns.saturating_add(HOLD_NS));
        Ok((applied, if hold { batch.hold()? } else { batch.commit()? }))
    }

    /// Marks a node ready, and has the jobs looked at that may want it; false where it is ready.
    pub(super) fn node_ready(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        id: &str,
        event: Option<NodeEvent>,
    ) -> bool {
        let known = reader.node(id).ok().flatten();
        if known.is_none_or(|n| n.status == status::NODE_READY) {
            return false;
        }
        let trigger = status::TRIGGER_NODE_UPDATE;
        let evals = node_evals(reader, id, trigger, now.wall_ns, &mut *self.entropy);
        let command = Command::NodeStatus {
            id: id.to_owned(),
            status: status::NODE_READY.to_owned(),
            event,
            wall_ns: now.wall_ns,
            evals: evals.unwrap_or_default(),
        };
        self.propose(command, Waiter::Nobody);
        true
    }

    /// Nothing was written, or nobody knows: whoever asked is told. With `keep`, what nobody waits
    /// for is tried again.
    fn refuse(&mut self, now: Now, proposals: Vec<Proposal>, why: &str, keep: bool) {
        for proposal in proposals {
            match proposal.waiter {
                Waiter::Http(conn, form, _) | Waiter::Register(Some((conn, form))) => {
                    let answer = ApiError::failed(why).into();
                    self.ready.push(Ready { conn, form, answer });
                }
                Waiter::Plan(eval) => {
                    if let Some(server) = &mut self.server {
                        server.plan_failed(&eval, now);
                    }
                }
                Waiter::Replica(at) => self.replica_written(now, at, None),
                Waiter::Register(None) | Waiter::Nobody if keep => self.proposals.push(proposal),
                Waiter::Register(None) | Waiter::Nobody => {
                    // What this node said is said again to the next leader.
                    if matches!(proposal.command, Command::AllocClientUpdate { .. }) {
                        self.info.leads = false;
                        self.node_says(proposal.command);
                    }
                }
            }
        }
    }

    /// The committed change reaches broker, blocked evaluations, and the node.
    fn learn(&mut self, now: Now, reader: Reader<'_>, touched: &Touched) -> Result<(), StoreError> {
        let gated = self.consensus.committed(now, reader);
        self.post(gated);
        if touched.replaced {
            self.replaced();
        } else if self.info.leads
            && let Some(server) = &mut self.server
        {
            server.touched(now, reader, touched)?;
        }
        self.remote.touched(touched);
        self.roles(now, reader)?;
        let moved = touched.replaced || touched.nodes_allocs.contains(&self.info.node_id);
        if self.info.leads && moved && self.client.is_some() {
            self.push_allocs(now, reader)?;
        }
        Ok(())
    }

    /// The state is another one now: what was made of the last one does not count.
    fn replaced(&mut self) {
        self.keyed = false;
        if std::mem::take(&mut self.info.leads)
            && let Some(server) = &mut self.server
        {
            server.follow();
        }
    }

    /// Takes up the duties of a leader, or lays them down.
    fn roles(&mut self, now: Now, reader: Reader<'_>) -> Result<(), StoreError> {
        // The only voter stays what it is while its disk is full and consensus begins anew.
        let leads = self.consensus.leads() || (self.info.leads && self.consensus.is_alone());
        if leads && !self.info.leads {
            self.info.leads = true;
            if let Some(server) = &mut self.server {
                server.lead(now, reader)?;
                if !self.info.oidc_issuer.is_empty() {
                    // Others are meant to check what is signed here.
                    server.press_keys();
                }
            }
            let wall_ns = now.wall_ns;
            if let Some(config) = self.scheduling.clone().map(Box::new)
                && !reader.has(Table::Operator, &keys::name(SCHEDULER))?
            {
                let check = Some(0);
                self.propose(Command::SchedulerConfig { config, check }, Waiter::Nobody);
            }
            self.propose(Command::Bootstrap { wall_ns }, Waiter::Nobody);
            if let Some(key) = first_key(reader, now, &mut *self.entropy)? {
                self.propose(key, Waiter::Nobody);
            }
            self.cluster.check_at = now.mono_ns;
        } else if !leads && self.info.leads {
            log::info!("this server leads no more");
            self.info.leads = false;
            self.give_up_pending(now);
            if let Some(server) = &mut self.server {
                server.follow();
            }
        }
        if self.info.leads && !self.keyed {
            self.keyed = reader.signing_key()?.is_some();
            self.keyed_now = self.keyed;
            if let Some(snapshots) = self.snapshots.as_mut().filter(|_| self.keyed) {
                snapshots.look();
            }
        }
        self.refresh(now);
        Ok(())
    }

    /// This server leads, and has what a leader needs: writes may come.
    pub(super) fn takes_writes(&self) -> bool {
        self.info.leads && self.keyed
    }

    /// Shows the node all of its allocations.
    pub(super) fn push_allocs(&mut self, now: Now, reader: Reader<'_>) -> Result<(), StoreError> {
        let allocs = crate::server::allocs_of_node(reader, &self.info.node_id)?;
        self.client_input(now, ClientInput::Allocs(allocs));
        Ok(())
    }

    fn finish(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        proposal: Proposal,
        index: u64,
        result: Applied,
        done: &mut Committed,
    ) -> Result<(), StoreError> {
        match proposal.waiter {
            Waiter::Http(conn, form, reply) => {
                done.answers.push(Ready::of(conn, form, reply(reader, index, result)));
            }
            Waiter::Plan(eval) => {
                let Some(server) = &mut self.server else { return Ok(()) };
                let entropy = &mut *self.entropy;
                let next = server.plan_applied(&eval, now, reader, entropy, &result)?;
                if let Some(command) = next {
                    self.propose(command, Waiter::Nobody);
                }
            }
            Waiter::Register(from) => {
                let Command::NodeRegister { node, .. } = proposal.command else { return Ok(()) };
                self.registered(now, reader, &node.id, from, result, done)?;
            }
            Waiter::Replica(at) => self.replica_written(now, at, Some(&result)),
            Waiter::Nobody => {}
        }
        Ok(())
    }

    /// A node is known now: it counts as ready as long as it is heard.
    fn registered(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        node: &str,
        from: Option<(Key, Form)>,
        result: Applied,
        done: &mut Committed,
    ) -> Result<(), StoreError> {
        if let Applied::Refused(e) = result {
            match from {
                Some((conn, form)) => done.answers.push(Ready { conn, form, answer: e.into() }),
                None => log::error!("the node was refused: {}", e.text),
            }
            return Ok(());
        }
        let Some(server) = &mut self.server else { return Ok(()) };
        let ttl_ns = server.heartbeat(node, now, &mut *self.entropy);
        self.node_ready(now, reader, node, None);
        if let Some((conn, form)) = from {
            let answer = Answer::text(200, ttl_ns.to_string());
            done.answers.push(Ready { conn, form, answer });
            return Ok(());
        }
        self.info.heartbeat_ttl_ns = i64::try_from(ttl_ns).unwrap_or(i64::MAX);
        self.client_input(now, ClientInput::Registered { ttl_ns });
        self.push_allocs(now, reader)
    }
}
