//! Duties of a server over a real store.

mod drain;
mod gc;
