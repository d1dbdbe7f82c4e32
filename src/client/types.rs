//! What goes into the node agent and what comes out of it.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::api::{Allocation, ApiError, Node};
use crate::client::checks::ProbeEvent;
use crate::client::exec_proto::{ExecutorCmd, ExecutorEvent, Handle, StartSpec};
use crate::client::usage::HostFacts;
use crate::command::AllocClientState;

/// Allocation id and task name.
pub type TaskKey = (String, String);

/// What the agent knows before the first step. All of it stays as it is while the agent runs, but
/// for the node's metadata.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    /// The node as it is to be registered: id, name, datacenter, pool, class, metadata of the
    /// configuration file, address, and the attributes and resources of the fingerprint.
    pub node: Node,
    /// The node's secret, given along with every registration.
    pub secret: String,
    pub region: String,
    /// Absolute; allocation directories are `<alloc_dir>/<id>`.
    pub alloc_dir: String,
    /// Absolute and short (a socket path must fit 107 bytes); run directories of executors are
    /// `<run_dir>/<16 hex digits>-<n>`.
    pub run_dir: String,
    /// Environment of the agent, of which tasks get what the deny list leaves.
    pub host_env: Vec<(String, String)>,
    /// Names never given to tasks; empty: the built-in list.
    pub env_denylist: Vec<String>,
    /// `/proc/sys/kernel/random/boot_id`, trimmed.
    pub boot_id: String,
    /// Upper bound of a task's `kill_timeout`, nanoseconds; zero: 30 s.
    pub max_kill_timeout_ns: i64,
    /// Terminal allocations that are kept; zero: 50.
    pub gc_max_allocs: usize,
    /// Start of the generator that jitter is drawn from.
    pub seed: u64,
}

/// What happened outside.
#[derive(Clone, Debug)]
pub enum ClientInput {
    /// The node-local rows that begin with `client/`. The first input; may be empty.
    Restored(Vec<(Vec<u8>, Vec<u8>)>),
    /// The node's registration was accepted; send a heartbeat within `ttl_ns`.
    Registered {
        ttl_ns: u64,
    },
    HeartbeatAck {
        ttl_ns: u64,
    },
    /// No server can be reached; the agent sends `Registered` or `HeartbeatAck` when one is again.
    ServerLost,
    /// All allocations of this node, with `job` set. One that is missing was collected on the
    /// servers.
    Allocs(Vec<Rc<Allocation>>),
    Executor(TaskKey, ExecutorEvent),
    /// How a probe goes on, by allocation and check.
    Probe(TaskKey, ProbeEvent),
    /// A deadline of `Client::deadline` has come.
    Timer,
    /// Answer to `BuildDirs`.
    DirBuilt(String, Result<(), String>),
    /// Answer to `RemoveTree` with an allocation.
    Removed(String),
    /// Answered with `Reply` under the same token.
    Request(u64, ClientRequest),
}

/// What clients of the API ask of the node.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientRequest {
    /// Empty `task`: all running tasks; `all`: also finished ones.
    Restart {
        alloc: String,
        task: String,
        all: bool,
    },
    /// Empty `task`: every task.
    Signal {
        alloc: String,
        task: String,
        signal: String,
    },
    /// Drops one terminal allocation.
    Gc {
        alloc: String,
    },
    /// Drops all terminal allocations.
    GcAll,
    /// Empty `task`: all of them.
    Stats {
        alloc: String,
        task: String,
    },
    /// Asks every running task what it uses, for [`Client::task_figures`](super::Client); the
    /// answer tells only that they have answered.
    Sample,
    /// Results of the checks of an allocation's services.
    Checks {
        alloc: String,
    },
    /// The machine's figures; the agent reads the files.
    HostStats(Box<HostFacts>),
    MetaGet,
    /// The body as sent.
    MetaSet {
        body: Vec<u8>,
    },
}

/// What is to be done outside. `LocalPut` and `LocalDelete` must be durable before any later
/// effect of the same step is carried out.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientEffect {
    /// Node and secret.
    Register(Box<Node>, String),
    Heartbeat,
    Update(Vec<AllocClientState>),
    /// Answered by `DirBuilt`.
    BuildDirs(AllocDirSpec),
    /// Begin an executor; answered by `Started`, `StartFailed` or `Lost`.
    Start(TaskKey, StartSpec),
    Executor(TaskKey, ExecutorCmd),
    /// Find the executor of an earlier run of the agent; answered by `Started`, `Exited` or `Lost`.
    Adopt(TaskKey, Handle),
    /// Connect, send what there is to send, and tell what comes back, by allocation and check.
    Probe {
        key: TaskKey,
        addr: SocketAddr,
        request: Vec<u8>,
    },
    /// The probe is of no more interest.
    ProbeEnd(TaskKey),
    /// Remove a directory with all below it, also when it is not there. With an allocation's id
    /// it is answered by `Removed`.
    RemoveTree {
        path: String,
        alloc: Option<String>,
    },
    LocalPut(Vec<u8>, Vec<u8>),
    LocalDelete(Vec<u8>),
    /// The body is JSON or empty.
    Reply(u64, Result<Vec<u8>, ApiError>),
}

/// The directories of one allocation, in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocDirSpec {
    pub alloc: String,
    /// Absolute; made with mode 0755. What exists already stays.
    pub root: String,
    /// Relative to `root`, with their modes (before the umask: set them after the making).
    pub dirs: Vec<(String, u32)>,
    /// Relative to `root`, with mode and content; an existing file is replaced.
    pub files: Vec<(String, u32, Vec<u8>)>,
}
