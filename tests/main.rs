//! All integration tests, in one program.

mod golden;
mod http;
mod jobspec;
mod proc;
mod raft;
mod routes;
mod sched;
mod server;
mod store;
mod support;
mod tidy;
