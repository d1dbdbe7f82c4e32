//! What tests of the real binary share: an agent of their own, and a client that takes any answer.

pub(crate) mod agent;
pub(crate) mod http;
