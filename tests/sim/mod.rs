//! The simulator of the cluster: the seeds that every change is tried with, and what shows that it
//! would find mistakes.

pub(crate) mod engine;
mod histories;
mod mutants;
mod seeds;
mod stores;
