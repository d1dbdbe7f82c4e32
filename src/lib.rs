//! vardo: a small scheduler and runner of workloads that speaks the Nomad HTTP API.

pub mod agent;
pub mod api;
pub mod bexpr;
pub mod cli;
pub mod client;
pub mod command;
pub mod executor;
pub mod http;
pub mod jobspec;
pub mod limits;
pub mod os;
pub mod raft;
pub mod routes;
pub mod sched;
pub mod server;
pub mod stdx;
pub mod store;

/// The level of the API that is served: what `Version` fields of the API say.
pub const API_VERSION: &str = "2.0.5";
/// vardo's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
