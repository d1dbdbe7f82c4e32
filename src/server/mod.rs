//! The duties of a server over the state.

mod node_evals;

pub use node_evals::node_evals;
