//! A whole cluster in one thread, with time and chance that a seed decides.
//!
//! The real core of consensus runs on model disks over a model network; clients write and read.
//! What goes wrong and when is drawn from the seed: messages are lost, late, doubled; links are cut
//! in all shapes; servers stop at any point, also within a commit; disks are slow or full; clocks
//! drift; servers come and go as members; logs are cut short. Then everything heals. An observer
//! who sees all servers at once checks at each event what may never happen, and at the end whether
//! an order of the operations explains what the clients saw, all members agree and a write
//! succeeds.
//!
//! The same seed is the same run, to the last event.

pub(crate) mod beside;
mod client;
pub(crate) mod disk;
pub(crate) mod kv;
pub(crate) mod linear;
mod many;
mod net;
mod node;
mod observer;
pub(crate) mod plan;
pub(crate) mod rng;
mod world;

pub(crate) use many::{Sums, explain, judge};
pub(crate) use plan::Plan;
