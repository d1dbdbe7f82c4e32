//! What the agent is between two system calls: consensus, server and node, as values.
//!
//! One turn of the loop collects proposals, effects and local rows here; [`Core::commit`] turns
//! them into one write of the store. Nothing that depends on the write leaves before it is durable:
//! answers, executor starts and what the scheduler learns all come out of `commit`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use super::consensus::Consensus;
use super::serve::Form;
use crate::api::{ApiError, NodeEvent, status};
use crate::client::{Client, ClientEffect, ClientInput, ClientRequest};
use crate::command::{AllocClientState, Applied, Command};
use crate::limits::FULL_DISK_RETRY_NS;
use crate::routes::{AgentInfo, Answer, DryRun, Reply};
use crate::server::{Server, client_update_evals, first_key, node_evals};
use crate::stdx::json::Time;
use crate::stdx::slab::Key;
use crate::stdx::{Entropy, Now, json};
use crate::store::{Reader, Store, StoreError, Touched};

/// Who waits for an entry to be applied.
enum Waiter {
    Nobody,
    Http(Key, Form, Reply),
    /// A run of the scheduler, by evaluation.
    Plan(String),
    /// The node's registration.
    Register,
}

struct Proposal {
    command: Command,
    waiter: Waiter,
}

/// An answer for a connection, ready to be written.
pub(super) struct Ready {
    pub(super) conn: Key,
    pub(super) form: Form,
    pub(super) answer: Answer,
}

/// What became possible by a commit.
#[derive(Default)]
pub(super) struct Committed {
    pub(super) answers: Vec<Ready>,
    pub(super) touched: Touched,
    /// Effects of the node, whose local rows are now durable.
    pub(super) effects: Vec<ClientEffect>,
}

pub(super) struct Core {
    pub(super) info: AgentInfo,
    /// Where the node's allocations live.
    pub(super) alloc_dir: PathBuf,
    /// The configuration is to be read again.
    pub(super) reload: bool,
    consensus: Consensus,
    server: Option<Server>,
    client: Option<Client>,
    entropy: Box<dyn Entropy>,
    proposals: Vec<Proposal>,
    local: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Effects that wait for the commit of the local rows before them.
    gated: Vec<ClientEffect>,
    /// Requests that the node works on.
    asked: BTreeMap<u64, (Key, Form)>,
    next_ask: u64,
    /// Answers that need no commit.
    ready: Vec<Ready>,
    heartbeat_due: bool,
    /// The disk is full: no new try before this, unless someone asks.
    full_until: u64,
}

impl Core {
    pub(super) fn new(
        info: AgentInfo,
        consensus: Consensus,
        server: Option<Server>,
        client: Option<Client>,
        entropy: Box<dyn Entropy>,
        alloc_dir: PathBuf,
    ) -> Self {
        Self {
            alloc_dir,
            info,
            reload: false,
            consensus,
            server,
            client,
            entropy,
            proposals: Vec::new(),
            local: Vec::new(),
            gated: Vec::new(),
            asked: BTreeMap::new(),
            next_ask: 0,
            ready: Vec::new(),
            heartbeat_due: false,
            full_until: 0,
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
        [self.consensus.deadline(), server, client, full].into_iter().flatten().min()
    }

    /// Whether there is work that waits for nothing.
    pub(super) fn has_runnable(&self) -> bool {
        self.has_writes()
            || !self.ready.is_empty()
            || !self.gated.is_empty()
            || self.server.as_ref().is_some_and(Server::has_work)
    }

    pub(super) fn has_proposals(&self) -> bool {
        !self.proposals.is_empty()
    }

    fn has_writes(&self) -> bool {
        if self.full_until != 0 {
            return self.proposals.iter().any(|p| matches!(p.waiter, Waiter::Http(..)));
        }
        !self.proposals.is_empty() || self.has_local_writes()
    }

    fn has_local_writes(&self) -> bool {
        !self.local.is_empty() || self.consensus.has_work()
    }

    /// Answers that wait for no commit.
    pub(super) fn take_ready(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.ready)
    }

    /// Puts a request's command into the log of this turn.
    pub(super) fn propose_for(&mut self, conn: Key, form: Form, command: Command, reply: Reply) {
        self.propose(command, Waiter::Http(conn, form, reply));
    }

    fn propose(&mut self, command: Command, waiter: Waiter) {
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
        if let ClientRequest::HostStats(facts) = &mut request {
            **facts = super::facts::usage(&self.alloc_dir);
        }
        let token = self.next_ask;
        self.next_ask += 1;
        self.asked.insert(token, (conn, form));
        self.client_input(now, ClientInput::Request(token, request));
    }

    /// The connection of a pending question is gone.
    pub(super) fn forget(&mut self, conn: Key) {
        self.asked.retain(|_, (c, _)| *c != conn);
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
                    let command = Command::NodeRegister { node, secret, wall_ns, evals };
                    self.propose(command, Waiter::Register);
                }
                ClientEffect::Heartbeat => self.heartbeat_due = true,
                ClientEffect::Update(updates) => self.client_update(now, updates),
                ClientEffect::LocalPut(key, value) => self.local.push((key, Some(value))),
                ClientEffect::LocalDelete(key) => self.local.push((key, None)),
                ClientEffect::Reply(token, result) => self.client_replied(token, result),
                other => self.gated.push(other),
            }
        }
    }

    fn client_replied(&mut self, token: u64, result: Result<Vec<u8>, ApiError>) {
        let Some((conn, form)) = self.asked.remove(&token) else { return };
        let answer = match result {
            Ok(body) if body.is_empty() => Answer::empty(),
            Ok(body) => Answer::bytes(body),
            Err(e) => e.into(),
        };
        self.ready.push(Ready { conn, form, answer });
    }

    /// Reports of the node become an entry, with an evaluation for every job that may have to act.
    fn client_update(&mut self, now: Now, updates: Vec<AllocClientState>) {
        let wall_ns = now.wall_ns;
        let command = Command::AllocClientUpdate { updates, evals: Vec::new(), wall_ns };
        self.propose(command, Waiter::Nobody);
    }

    /// Collects garbage of any age, now.
    pub(super) fn collect_garbage(&mut self) {
        if let Some(server) = &mut self.server {
            server.force_gc();
        }
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
        let Some(server) = &mut self.server else { return Ok(false) };
        if std::mem::take(&mut self.heartbeat_due) {
            let ttl_ns = server.heartbeat(&self.info.node_id, now, &mut *self.entropy);
            self.info.heartbeat_ttl_ns = i64::try_from(ttl_ns).unwrap_or(i64::MAX);
            self.client_input(now, ClientInput::HeartbeatAck { ttl_ns });
            let event = NodeEvent {
                message: "Node reregistered by heartbeat".to_owned(),
                subsystem: "Cluster".to_owned(),
                timestamp: Time(now.wall_ns),
                ..NodeEvent::default()
            };
            if self.node_ready(now, reader, Some(event)) {
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

    /// Makes everything of this turn durable in one transaction and says what follows.
    ///
    /// # Errors
    /// Where the disk fails the agent must end: what is on it is unknown. A full disk is no error
    /// here; those who asked are told.
    pub(super) fn commit(&mut self, now: Now, store: &mut Store) -> Result<Committed, StoreError> {
        let mut done = Committed::default();
        if !self.has_writes() {
            done.effects = std::mem::take(&mut self.gated);
            return Ok(done);
        }
        self.complete_proposals(now, store)?;
        let mut proposals = std::mem::take(&mut self.proposals);
        let payloads = proposals.iter().map(|p| Rc::from(json::encode(&p.command))).collect();
        let snap = store.snap()?;
        let range = match self.consensus.prepare(now, snap.reader(), payloads) {
            Ok(range) => range,
            Err(e) => {
                self.refuse(now, std::mem::take(&mut proposals), &e.to_string(), &mut done);
                0..0
            }
        };
        drop(snap);
        let written = loop {
            match self.write(store, &range, &proposals) {
                Err(StoreError::MapFull) => match store.grow() {
                    Ok(bytes) => log::info!("the map grows to {} MiB", bytes >> 20),
                    Err(e) => break Err(e),
                },
                other => break other,
            }
        };
        let (applied, touched) = match written {
            Ok(written) => written,
            Err(e @ (StoreError::NoSpace | StoreError::MapFull)) => {
                log::error!("{e}: writes are refused until there is room");
                self.refuse(now, proposals, &e.to_string(), &mut done);
                self.start_over(now, store)?;
                return Ok(done);
            }
            Err(e) => return Err(e),
        };
        self.local.clear();
        self.full_until = 0;
        done.touched = touched;
        let snap = store.snap()?;
        self.learn(now, snap.reader(), &done.touched)?;
        for ((proposal, index), result) in proposals.into_iter().zip(range).zip(applied) {
            self.finish(now, snap.reader(), proposal, index, result, &mut done)?;
        }
        done.effects = std::mem::take(&mut self.gated);
        Ok(done)
    }

    /// Nothing of the turn reached the disk: consensus goes back to what is there.
    fn start_over(&mut self, now: Now, store: &Store) -> Result<(), StoreError> {
        self.full_until = now.mono_ns + FULL_DISK_RETRY_NS;
        let snap = store.snap()?;
        let seed = self.entropy.u64();
        let (id, addr) = (&self.info.server_id, &self.info.rpc_addr);
        self.consensus =
            Consensus::open(snap.reader(), id, addr, seed).map_err(StoreError::Damaged)?;
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

    /// The one transaction of the turn. May run again: it changes nothing but the batch.
    fn write(
        &self,
        store: &mut Store,
        range: &Range<u64>,
        proposals: &[Proposal],
    ) -> Result<(Vec<Applied>, Touched), StoreError> {
        let mut batch = store.batch()?;
        let own = proposals.iter().map(|p| &p.command);
        let applied = self.consensus.write(&mut batch, range, own)?;
        for (key, value) in &self.local {
            match value {
                Some(value) => batch.put_local(key, value)?,
                None => batch.del_local(key)?,
            }
        }
        Ok((applied, batch.commit()?))
    }

    /// The node is known now: it counts as ready as long as it is heard.
    fn registered(&mut self, now: Now, reader: Reader<'_>) {
        let Some(server) = &mut self.server else { return };
        let id = self.info.node_id.clone();
        let ttl_ns = server.heartbeat(&id, now, &mut *self.entropy);
        self.info.heartbeat_ttl_ns = i64::try_from(ttl_ns).unwrap_or(i64::MAX);
        self.client_input(now, ClientInput::Registered { ttl_ns });
        self.node_ready(now, reader, None);
    }

    /// Marks this agent's node ready, and has the jobs looked at that may want it; false where it
    /// is ready.
    fn node_ready(&mut self, now: Now, reader: Reader<'_>, event: Option<NodeEvent>) -> bool {
        let id = self.info.node_id.clone();
        let known = reader.node(&id).ok().flatten();
        if known.is_none_or(|n| n.status == status::NODE_READY) {
            return false;
        }
        let trigger = status::TRIGGER_NODE_UPDATE;
        let evals = node_evals(reader, &id, trigger, now.wall_ns, &mut *self.entropy);
        let command = Command::NodeStatus {
            id,
            status: status::NODE_READY.to_owned(),
            event,
            wall_ns: now.wall_ns,
            evals: evals.unwrap_or_default(),
        };
        self.propose(command, Waiter::Nobody);
        true
    }

    /// Nothing was written: whoever asked is told, the node tries again.
    fn refuse(&mut self, now: Now, proposals: Vec<Proposal>, why: &str, done: &mut Committed) {
        for proposal in proposals {
            match proposal.waiter {
                Waiter::Http(conn, form, _) => {
                    let answer = ApiError::failed(why).into();
                    done.answers.push(Ready { conn, form, answer });
                }
                Waiter::Plan(eval) => {
                    if let Some(server) = &mut self.server {
                        server.plan_failed(&eval, now);
                    }
                }
                Waiter::Register | Waiter::Nobody => self.proposals.push(proposal),
            }
        }
    }

    /// The committed change reaches broker, blocked evaluations, and the node.
    fn learn(&mut self, now: Now, reader: Reader<'_>, touched: &Touched) -> Result<(), StoreError> {
        self.consensus.committed(now, reader);
        self.info.raft = self.consensus.info();
        if self.consensus.leads() && !self.info.leads {
            self.info.leads = true;
            self.info.leader_addr = Some(self.info.rpc_addr.clone());
            if let Some(server) = &mut self.server {
                server.lead(now, reader)?;
            }
            let wall_ns = now.wall_ns;
            self.propose(Command::Bootstrap { wall_ns }, Waiter::Nobody);
            if let Some(key) = first_key(reader, now, &mut *self.entropy)? {
                self.propose(key, Waiter::Nobody);
            }
        } else if let Some(server) = &mut self.server {
            server.touched(now, reader, touched)?;
        }
        if self.client.is_some() && touched.nodes_allocs.contains(&self.info.node_id) {
            self.push_allocs(now, reader)?;
        }
        Ok(())
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
                let answer = reply(reader, index, result).unwrap_or_else(Answer::from);
                done.answers.push(Ready { conn, form, answer });
            }
            Waiter::Plan(eval) => {
                let Some(server) = &mut self.server else { return Ok(()) };
                let entropy = &mut *self.entropy;
                let next = server.plan_applied(&eval, now, reader, entropy, &result)?;
                if let Some(command) = next {
                    self.propose(command, Waiter::Nobody);
                }
            }
            Waiter::Register => {
                if let Applied::Refused(e) = result {
                    log::error!("the node was refused: {}", e.text);
                    return Ok(());
                }
                self.registered(now, reader);
            }
            Waiter::Nobody => {}
        }
        Ok(())
    }
}
