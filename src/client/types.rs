//! What goes into the node agent and what comes out of it.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::api::{Allocation, ApiError, Node, WaitConfig};
use crate::client::checks::ProbeEvent;
use crate::client::exec_proto::{
    ExecutorCmd, ExecutorEvent, FetchLimits, FetchSpec, Handle, StartSpec,
};
use crate::client::usage::HostFacts;
use crate::client::volumes::VolumeWork;
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
    /// How long templates that do not say it wait for further changes.
    pub template_wait: Option<WaitConfig>,
    /// Terminal allocations that are kept; zero: 50.
    pub gc_max_allocs: usize,
    /// Start of the generator that jitter is drawn from.
    pub seed: u64,
    /// The agent has the right to mount; without it volumes are links, and none is read-only.
    pub mounts: bool,
    /// Absolute; where the built-in plugin makes volumes.
    pub volumes_dir: String,
    /// Absolute, with the programs that make volumes; empty: there are none.
    pub volume_plugin_dir: String,
    /// Names of these programs.
    pub volume_plugins: Vec<String>,
    pub fetch_limits: FetchLimits,
}

/// Something that the node wants to know of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Who the tasks of an allocation are, signed: a list of `SignedIdentity`.
    Identities { alloc: String },
    /// Who the node is, signed: a `SignedIdentity`.
    Node,
    /// A read of the API. With an index: once the answer is newer than that.
    Get { target: String, token: String, index: u64 },
    /// A file of this machine, below a directory that no link leads out of. 200 with what it
    /// holds, 404, or 400 with a sentence.
    File { root: String, path: String },
}

/// What the servers said to a [`Inquiry`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// As of HTTP.
    pub status: u16,
    pub index: u64,
    pub body: Vec<u8>,
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
    /// Answer to `Ask`; `None`: no server could be asked.
    Told(u64, Option<Told>),
    /// Answer to `Place`.
    Placed(TaskKey, Result<(), String>),
    /// Answer to `Fetch`; after a failure with whether another try may help.
    Fetched(TaskKey, Result<(), (String, bool)>),
    /// A deadline of `Client::deadline` has come.
    Timer,
    /// Answer to `BuildDirs`.
    DirBuilt(String, Result<(), String>),
    /// Answer to `RemoveTree` with an allocation.
    Removed(String),
    /// Answer to `Volume`, with what was printed.
    VolumeDone(u64, Result<String, String>),
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
    /// Who the node is, as its servers have signed it; with `renew` anew, and then nothing is told.
    Identity {
        renew: bool,
    },
    MetaGet,
    /// The body as sent.
    MetaSet {
        body: Vec<u8>,
    },
    /// The leader has something to do about a host volume: a `VolumeCall`, which is also what
    /// is answered.
    Volume {
        body: Vec<u8>,
    },
}

/// How a check is made by https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secure {
    /// The name that the certificate has to hold.
    pub name: String,
    /// Any certificate will do.
    pub anyone: bool,
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
        /// `None`: in plain.
        secure: Option<Secure>,
    },
    /// The probe is of no more interest.
    ProbeEnd(TaskKey),
    /// Ask the servers; answered by `Told` with the same number.
    Ask(u64, Inquiry),
    /// The answer is of no more interest.
    Unask(u64),
    /// Write files of a task; answered by `Placed`. A start of the task that follows fails where
    /// this does.
    Place(TaskKey, Vec<PlacedFile>),
    /// Fetch the artifacts of a task; answered by `Fetched`.
    Fetch(TaskKey, FetchSpec),
    /// They are of no more interest; what is under way ends without an answer.
    FetchEnd(TaskKey),
    /// Remove a directory with all below it, also when it is not there. With an allocation's id
    /// it is answered by `Removed`.
    RemoveTree {
        path: String,
        alloc: Option<String>,
    },
    /// Work on host volumes; answered by `VolumeDone`.
    Volume(u64, VolumeWork),
    LocalPut(Vec<u8>, Vec<u8>),
    LocalDelete(Vec<u8>),
    /// The body is JSON or empty.
    Reply(u64, Result<Vec<u8>, ApiError>),
}

/// A file that a task is given while it may be running already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlacedFile {
    /// The directory that the file must lie in, links followed. Absolute.
    pub root: String,
    /// Relative to `root`; missing directories on the way are made.
    pub path: String,
    pub mode: u32,
    /// The user whom the file is for, by name or number; empty: the agent's own.
    pub user: String,
    pub owner: (Option<u32>, Option<u32>),
    pub bytes: Vec<u8>,
}

/// The directories of one allocation, in the order in which they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocDirSpec {
    pub alloc: String,
    /// Absolute; made with mode 0755. What exists already stays.
    pub root: String,
    /// Relative to `root`, with their modes (before the umask: set them after the making).
    pub dirs: Vec<(String, u32)>,
    /// Relative to `root`, with the absolute path that each leads to.
    pub links: Vec<(String, String)>,
    /// Relative to `root`, with mode and content; an existing file is replaced.
    pub files: Vec<(String, u32, Vec<u8>)>,
}
