//! The agent: configuration, core and the loop that runs it.

pub mod config;
pub mod config_file;
mod config_keys;
mod config_tree;

/// Runs the agent until it is told to stop; the process's exit status.
pub fn run(_config: config::Config) -> i32 {
    1
}
