//! The node agent: what runs on this machine, as pure machines that emit effects.

pub mod exec_proto;
mod types;
pub mod usage;

pub use types::{AllocDirSpec, ClientConfig, ClientEffect, ClientInput, ClientRequest, TaskKey};
