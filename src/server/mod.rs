//! The duties of a server over the state.

pub mod blocked;
pub mod broker;
pub mod heartbeat;
mod node_evals;

pub use node_evals::node_evals;
