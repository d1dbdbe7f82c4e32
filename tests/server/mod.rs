//! Duties of a server over a real store.

mod gc;
