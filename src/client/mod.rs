//! The node agent: what runs on this machine, as pure machines that emit effects.

pub mod driver;
pub mod env;
pub mod events;
pub mod exec_proto;
pub mod interpolate;
pub mod restart;
mod types;
pub mod usage;

pub use types::{AllocDirSpec, ClientConfig, ClientEffect, ClientInput, ClientRequest, TaskKey};
