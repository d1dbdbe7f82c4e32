//! The only code that makes system calls: clocks, chance, files, sockets, signals and processes.
//! It decides nothing.

pub mod beneath;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod entropy;
pub mod fdpass;
pub mod fs;
mod linux;
pub mod logdir;
pub mod mount;
pub mod net;
pub mod proc;
pub mod remove;
pub mod signals;
pub mod spawn;
pub mod sysfs;
pub mod task;
pub mod terminal;
pub mod zones;

pub use linux::{Ready, end_with_parent, give_memory_back, poll, run_as_service};

use std::io;

/// An operating system error as Go prints it: the system's own text, lower-case, without its
/// number.
#[must_use]
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}
