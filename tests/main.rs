//! All integration tests, in one program.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a failed step of a test ends it, and says what it saw"
)]

mod config;
mod golden;
mod http;
mod jobspec;
mod link;
mod proc;
mod raft;
mod routes;
mod sched;
mod server;
mod sim;
mod store;
mod support;
mod tidy;
