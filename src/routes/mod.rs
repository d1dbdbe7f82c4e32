//! From a request to its answer: what each path of the API means.
//!
//! A handler reads the state through a [`Reader`] and returns a value: an answer, a command to be
//! put into the log, or something only the agent can do. It never writes, waits, or touches a
//! socket. Blocking queries are not its business either: it names the index of what it read and
//! what to watch, and the agent holds the request and asks again.

mod absent;
mod acl;
mod agent;
mod allocs;
pub mod answer;
mod archive;
mod auth;
mod client_alloc;
mod client_fs;
pub mod cluster;
mod deployments;
mod evals;
mod events;
pub mod fetch;
mod identity;
mod jobs;
mod keyring;
mod list;
mod locks;
pub mod metrics;
mod namespaces;
mod nodes;
mod page;
pub mod params;
mod pools;
pub mod replica;
mod scaling;
mod search;
mod servers;
mod services;
mod snapshot;
pub mod table;
mod ui;
mod variables;
mod volumes;

use std::path::PathBuf;
use std::rc::Rc;

use crate::acl::Acl;
use crate::api::{ApiError, Evaluation, Job};
pub use crate::client::ClientRequest;
use crate::command::{Applied, Command, Plan};
use crate::http::{Method, Request};
use crate::server::Workers;
use crate::server::introduction::Introduction;
use crate::stdx::zone::Zones;
use crate::stdx::{BTreeSet, Entropy, Now};
use crate::store::{Reader, keys};

pub use answer::{Answer, Body, Watch};
pub use archive::{Archive, Unpack};
pub use auth::{Access, AclInfo};
pub use client_alloc::node_named;
pub use fetch::{Ask, Document, Documents};
pub use identity::introduced;
pub use keyring::Rotation;
pub use params::Params;
pub use servers::named;
pub use snapshot::is_upload;

/// What handlers know of the agent that they run in. Changes only between turns.
#[derive(Clone, Debug, Default)]
pub struct AgentInfo {
    pub region: String,
    /// Where objects that all regions share are written; empty: here.
    pub authoritative_region: String,
    pub datacenter: String,
    /// Name of this agent, without the region.
    pub name: String,
    /// Identity of the server in the cluster (36 characters); empty on agents without one.
    pub server_id: String,
    /// `ip:port` that other agents reach this one at.
    pub rpc_addr: String,
    /// Host and port of the gossip name, which only members' answers print.
    pub serf_addr: String,
    pub http_addr: String,
    pub server: bool,
    pub client: bool,
    /// Whether this server leads, and may answer reads of mode `default`.
    pub leads: bool,
    /// RPC address of the leader, where one is known.
    pub leader_addr: Option<String>,
    /// Milliseconds since the leader was last heard of; zero on the leader.
    pub last_contact_ms: u64,
    /// For `stats.raft` of `/v1/agent/self`.
    pub raft: RaftInfo,
    /// Servers of all regions, this one first if it is one.
    pub servers: Rc<[ServerInfo]>,
    /// Regions that are reached by addresses of the configuration.
    pub remote_regions: BTreeSet<String>,
    /// Servers that the cluster began with, from the configuration.
    pub expect: u64,
    /// The merged configuration as `/v1/agent/self` prints it.
    pub config_json: Rc<[u8]>,
    /// Identity of the node that this agent is; empty on agents without a client.
    pub node_id: String,
    pub debug: bool,
    /// Servers share a secret.
    pub encrypted: bool,
    /// Where the agent's log is written; empty: to no file.
    pub log_file: PathBuf,
    /// Nobody may run commands in tasks of this node.
    pub exec_disabled: bool,
    /// Number of allocations that the client holds, and its heartbeat, for `stats.client`.
    pub client_allocs: usize,
    /// Changes that are kept for the event stream; 0: there is none.
    pub event_buffer: usize,
    pub heartbeat_ttl_ns: i64,
    pub acl: AclInfo,
    /// What was fetched of others, and says the same to all.
    pub documents: Documents,
    /// Who workload identities are said to come from (`server.oidc_issuer`); may be empty.
    pub oidc_issuer: String,
    /// Defaults and limits for jobs (`server.job_default_priority`, …).
    pub job_default_priority: i64,
    pub job_max_priority: i64,
    pub job_max_count: i64,
    /// Bytes.
    pub job_max_source_size: u64,
    /// For the times of periodic jobs.
    pub zones: Zones,
    pub search: SearchLimits,
    pub introduction: Introduction,
    pub workers: Workers,
    /// Of each worker the id (36 characters) and since when it is there, ns since the epoch.
    pub worker_ids: Vec<(String, i64)>,
    /// Processors of this machine.
    pub cpus: usize,
    /// When the agent was started, ns since the epoch.
    pub started_ns: i64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct RaftInfo {
    pub term: u64,
    pub last_index: u64,
    pub last_term: u64,
    pub commit: u64,
    pub applied: u64,
    /// Entry of the membership in force.
    pub members_index: u64,
    pub candidate: bool,
}

/// One server that this agent knows, itself included.
#[derive(Clone, Debug, Default)]
pub struct ServerInfo {
    /// 36 characters.
    pub id: String,
    /// Without the region; empty where the server was never spoken to.
    pub name: String,
    pub region: String,
    pub datacenter: String,
    pub rpc_addr: String,
    pub serf_addr: String,
    pub build: String,
    pub expect: u64,
    /// `alive`, `failed`, `left`.
    pub status: &'static str,
    /// Part of the consensus of this region, and with a vote.
    pub member: bool,
    pub voter: bool,
    pub leads: bool,
    /// How far its log is known to equal the leader's; only the leader knows.
    pub matched: u64,
    pub last_contact_ms: u64,
    /// When it was last seen to come or to go, ns since the epoch.
    pub since_ns: i64,
}

/// How far searches go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchLimits {
    pub fuzzy: bool,
    /// Matches of a kind, and objects of a kind that a fuzzy search looks at.
    pub objects: usize,
    /// Matches of a kind that a fuzzy search shows.
    pub results: usize,
    /// Characters of the shortest text of a fuzzy search.
    pub term: usize,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self { fuzzy: true, objects: 20, results: 100, term: 2 }
    }
}

/// One request and all that may be known to answer it.
pub struct Ctx<'c> {
    pub now: Now,
    pub reader: Reader<'c>,
    pub agent: &'c AgentInfo,
    /// For the ids that a command carries.
    pub entropy: &'c mut dyn Entropy,
    pub req: &'c Request,
    pub params: &'c Params,
    /// The decoded path behind the route's prefix (`web/summary` for `/v1/job/web/summary`).
    pub rest: &'c str,
    /// Who asks; found out by [`dispatch`].
    pub access: Access,
    /// What was fetched for this request.
    pub fetched: &'c [Document],
}

impl Ctx<'_> {
    /// PUT and POST are the same almost everywhere.
    pub fn is_write(&self) -> bool {
        matches!(self.req.method, Method::Put | Method::Post)
    }

    pub fn is_get(&self) -> bool {
        self.req.method == Method::Get
    }

    pub fn is_delete(&self) -> bool {
        self.req.method == Method::Delete
    }

    /// A new id of a row, 36 characters.
    pub fn new_id(&mut self) -> String {
        crate::stdx::uuid::of_row(self.entropy)
    }

    /// Reads the body, which must not be empty.
    ///
    /// # Errors
    /// 400 `Request body is empty`, or the decoder's text.
    pub fn body<T: crate::stdx::json::Decode + Default>(&self) -> Result<T, ApiError> {
        if self.req.body.is_empty() {
            return Err(ApiError::bad("Request body is empty"));
        }
        crate::stdx::json::decode(&self.req.body).map_err(|e| ApiError::bad(e.to_string()))
    }
}

/// The end of a write: makes the answer from what apply said, on a state that contains the change.
pub type Reply = Box<dyn FnOnce(Reader<'_>, u64, Applied) -> Result<Answer, ApiError>>;

/// What is to happen for a request.
pub enum Outcome {
    Answer(Answer),
    /// Into the log; `Reply` runs once the entry is durable and applied.
    Propose(Box<Command>, Reply),
    /// Schedule an evaluation as if a job were registered already, and write nothing.
    DryRun(Box<DryRun>),
    /// For the node that this agent runs.
    Client(ClientRequest),
    /// For some node, before anything is written.
    OnNode(Box<OnNode>),
    /// Files of an allocation, read or followed by the agent.
    Files(FilesRequest),
    /// The description of the machine; with the id of the agent if one was asked for by name.
    Host(String),
    /// What the agent counts.
    Metrics {
        prometheus: bool,
    },
    /// The agent's log, followed.
    Monitor(MonitorRequest),
    /// The machine's journal about a service.
    Export(ExportRequest),
    /// Something about the servers of the cluster.
    Cluster(ClusterRequest),
    /// Read the whole state out into an archive.
    Save,
    /// Replace the state by that of the archive whose bytes follow the request.
    Restore,
    /// Make a new root key.
    Rotate(Rotation),
    /// Move the timer of a variable's lock.
    RenewLock(Box<LockRenewal>),
    /// The event stream.
    Events(EventsRequest),
    /// Collect all garbage now.
    SystemGc,
    /// Read the configuration again, as on SIGHUP.
    Reload,
    /// From now on these take evaluations.
    Workers(Workers, Answer),
    /// Run a command in a task; the connection is a WebSocket.
    Exec(Box<ExecRequest>),
    /// The request means another one, for this target.
    Instead(String),
    /// The request is to be run again once this is there, or is known not to come.
    Fetch(Box<Ask>),
}

/// A command for a task of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    pub alloc: String,
    pub task: String,
    /// Not empty: a program and its arguments.
    pub command: Vec<String>,
    pub tty: bool,
}

/// Whether requests for a path go on as WebSockets, where they ask for it.
pub fn is_session(path: &str) -> bool {
    let within = |prefix, ending| path.starts_with(prefix) && path.ends_with(ending);
    within("/v1/client/allocation/", "/exec") || within("/v1/job/", "/action")
}

impl From<Answer> for Outcome {
    fn from(a: Answer) -> Self {
        Self::Answer(a)
    }
}

/// What a node is to do about a host volume.
pub struct OnNode {
    /// 36 characters.
    pub node: String,
    /// A [`crate::client::VolumeCall`], which is also what the node answers.
    pub body: Vec<u8>,
    pub then: Then,
}

/// What is written once the node has answered, or why it is not.
type Next = Result<(Box<Command>, Reply), ApiError>;

/// Makes of a node's answer what is written.
pub struct Then(Box<dyn FnOnce(Result<Vec<u8>, ApiError>) -> Next>);

impl Then {
    pub fn new(f: impl FnOnce(Result<Vec<u8>, ApiError>) -> Next + 'static) -> Self {
        Self(Box::new(f))
    }

    pub fn run(self, answer: Result<Vec<u8>, ApiError>) -> Next {
        (self.0)(answer)
    }
}

impl std::fmt::Debug for Then {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Then")
    }
}

/// How the agent's log is to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MonitorRequest {
    pub level: log::LevelFilter,
    /// Lines as JSON objects.
    pub json: bool,
    /// With the place in the source.
    pub place: bool,
    /// The lines themselves, not in frames.
    pub plain: bool,
}

/// What of the machine's journal is asked for, or the file of the agent's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportRequest {
    /// A unit of systemd; empty: the file.
    pub service: String,
    pub file: PathBuf,
    /// How far back, in seconds.
    pub since_s: u64,
    pub follow: bool,
    /// The lines themselves, not in frames.
    pub plain: bool,
}

/// A question to the scheduler.
pub struct DryRun {
    pub job: Rc<Job>,
    pub eval: Evaluation,
    /// Makes the answer from what the scheduler would do.
    pub reply: Box<dyn FnOnce(Plan) -> Answer>,
}

/// What is asked of the cluster itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterRequest {
    /// Addresses to call, as they were given.
    Join(Vec<String>),
    /// What the node's configuration names to be called, replaced.
    Servers(Vec<String>),
    /// A server that failed, by name; to be forgotten altogether.
    ForceLeave {
        node: String,
        prune: bool,
    },
    /// Ids of the consensus, 36 characters.
    RemovePeer(String),
    Transfer(String),
}

/// The holder of a variable's lock says that it is alive.
#[derive(Debug)]
pub struct LockRenewal {
    /// Of the variable's row.
    pub key: Vec<u8>,
    /// Of the lock.
    pub id: String,
    /// Where it still holds the lock.
    pub answer: Answer,
}

/// What a reader of the event stream wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsRequest {
    /// Topic and key; `*` is any.
    pub topics: Vec<(String, String)>,
    pub namespace: String,
    /// Changes before it are passed over.
    pub index: u64,
    /// What the caller may hear of; `None`: everything.
    pub acl: Option<Rc<Acl>>,
    /// What it came with, to be looked at again.
    pub token: Option<String>,
}

/// Which part of an allocation's directory to read, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilesRequest {
    pub alloc: String,
    pub op: FilesOp,
    /// Relative to the allocation's directory.
    pub path: String,
    pub offset: i64,
    /// Zero: to the end.
    pub limit: i64,
    /// Offset counts from the end.
    pub from_end: bool,
    pub follow: bool,
    /// Raw bytes instead of frames.
    pub plain: bool,
    pub task: String,
    /// `stdout` or `stderr`.
    pub kind: String,
    /// Whether the task has ever run, as far as the servers know.
    pub started: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilesOp {
    #[default]
    Ls,
    Stat,
    Cat,
    ReadAt,
    Stream,
    Logs,
}

/// The key of an object with a UUID.
///
/// # Errors
/// 500 with the reference's text for an id that is none; `what` is `alloc`, `eval`, `node` or
/// `deployment`.
pub fn uuid_key(what: &str, id: &str) -> Result<[u8; 16], ApiError> {
    keys::by_uuid(id).ok_or_else(|| {
        ApiError::failed(format!("{what} lookup failed: index error: {}", uuid_fault(id)))
    })
}

/// Why an id is none.
fn uuid_fault(id: &str) -> String {
    if id.len() != 36 {
        return "UUID must be 36 characters".to_owned();
    }
    match id.chars().find(|c| !c.is_ascii_hexdigit() && *c != '-') {
        Some(c) => format!(
            "Invalid UUID: encoding/hex: invalid byte: U+{:04X} {}",
            u32::from(c),
            if c.is_ascii_graphic() { format!("'{c}'") } else { String::new() }
        ),
        None => "Invalid UUID: Input (without hyphens) must be even length".to_owned(),
    }
}

/// Finds the handler for a request and runs it.
///
/// # Errors
/// Whatever the request is to be refused with.
pub fn dispatch(ctx: &mut Ctx<'_>) -> Result<Outcome, ApiError> {
    let Some((route, rest)) = table::find(ctx.req.path()) else {
        return Ok(Outcome::Answer(Answer::unknown_path()));
    };
    let mut inner = inner(ctx, rest);
    if let Some(target) = replica::elsewhere(&inner)? {
        return Ok(Outcome::Instead(target));
    }
    inner.admit(route.need)?;
    let outcome = (route.run)(&mut inner)?;
    let refuses = matches!(&outcome, Outcome::Answer(a) if a.status >= 400);
    if refuses || inner.was_asked() {
        return Ok(outcome);
    }
    log::error!("nothing says who may ask for {}", route.path);
    Err(auth::denied())
}

/// Whether the caller may ask what an agent without tokens of its own will answer: `None`, or what
/// is answered instead. Handlers of such requests only check them here.
pub fn vouch(ctx: &mut Ctx<'_>) -> Option<Answer> {
    let (route, rest) = table::find(ctx.req.path())?;
    let mut inner = inner(ctx, rest);
    if let Err(e) = inner.admit(route.need) {
        return Some(e.into());
    }
    if route.need != table::Need::Asks {
        return None;
    }
    match (route.run)(&mut inner) {
        Err(e) => Some(e.into()),
        Ok(Outcome::Answer(answer)) => Some(answer),
        Ok(_) if inner.was_asked() => None,
        Ok(_) => Some(auth::denied().into()),
    }
}

fn inner<'c>(ctx: &'c mut Ctx<'_>, rest: &'c str) -> Ctx<'c> {
    Ctx {
        now: ctx.now,
        reader: ctx.reader,
        agent: ctx.agent,
        entropy: &mut *ctx.entropy,
        req: ctx.req,
        params: ctx.params,
        rest,
        access: Access::default(),
        fetched: ctx.fetched,
    }
}

/// 405 with the recorded text.
pub fn invalid_method() -> ApiError {
    ApiError::new(405, "Invalid method")
}

/// For parts of the API that are known but not served: 501 with a sentence.
pub fn not_served(what: &str) -> ApiError {
    ApiError::missing(format!("{what} is not served by this version of vardo"))
}
