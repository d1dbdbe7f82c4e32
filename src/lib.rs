//! vardo: a small scheduler and runner of workloads that speaks the Nomad HTTP API.
//!
//! # The map, in the order of the data
//!
//! Bytes come in through [`agent`]'s loop, the only place that waits. [`http`] turns them into
//! requests; [`routes`] says what a request means: an answer read from the state, a [`command`]
//! to be put into the log, or a question to the node. Commands of one turn go through [`raft`] and
//! are appended and applied by [`store`] in one transaction of LMDB; only then their answers
//! leave. Other agents speak over a [`link`] each: consensus, and requests that belong elsewhere.
//! What a commit moved wakes blocking queries and reaches [`server`], which gives pending
//! evaluations to [`sched`] and puts the plans that come back into the log again. Allocations of
//! this node reach [`client`], whose machines say what must happen to directories and tasks; each
//! task has a process of its own for a parent, the [`executor`]. Hosts are found by their names
//! by [`dns`].
//!
//! What a caller may do is said by [`acl`], which knows policies and nothing else.
//!
//! Files of tasks and what the command line prints can be made by a [`template`]. Their artifacts
//! are fetched by a process of its own, and archives taken apart by [`unpack`].
//!
//! Job files come in as [`hcl`] and leave as jobs by [`jobspec`]. [`simulate`] drives the same
//! server, scheduler and store over nodes that do not exist.
//!
//! # What is not known where
//!
//! * `raft` does not know what it replicates; `sched` does not know the store; neither reads a
//!   clock or draws chance: [`stdx::Now`] and [`stdx::Entropy`] are arguments.
//! * `routes` never write the state, and apply never looks at anything but the state, the index
//!   and the command, so that every server comes to the same bytes.
//! * Only `store` names the storage library, only [`os`] makes system calls, only `agent::run`
//!   polls. `tests/tidy.rs` holds the table of who may use whom.
//!
//! Values in the store are the JSON bytes that a GET returns: the fields of [`api`] stand in the
//! order in which they are printed. Every size, count and time-out stands in [`limits`].

pub mod acl;
pub mod agent;
pub mod api;
pub mod bexpr;
pub mod cli;
pub mod client;
pub mod command;
pub mod dns;
pub mod executor;
pub mod hcl;
pub mod http;
pub mod jobspec;
pub mod limits;
pub mod link;
pub mod os;
pub mod raft;
pub mod routes;
pub mod sched;
pub mod server;
pub mod simulate;
pub mod stdx;
pub mod store;
pub mod template;
pub mod tls;
pub mod unpack;

/// The level of the API that is served: what `Version` fields of the API say.
pub const API_VERSION: &str = "2.0.5";
/// vardo's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
