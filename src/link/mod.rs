//! One connection between two agents, as values: bytes in, events out, and back.
//!
//! ```text
//! both:  hello ──▶ (with a shared secret: proof ──▶) up: raft, notes, streams, pings
//! ```
//!
//! A link carries the messages of consensus, short notes about who the servers are, and streams of
//! bytes with credit, in that order of urgency: a snapshot on its way does not hold up a heartbeat.
//! Nothing is believed before the greeting is complete; whatever does not fit ends the link, and
//! the caller closes the connection.
//!
//! With a shared secret (`server.encrypt`) both sides prove that they know it, and every later
//! frame carries a code that depends on the secret, on both greetings and on the frame's place, so
//! that nothing can be put in, repeated or left out on the way. It hides nothing: what is sent can
//! be read by who sees the packets.

mod frame;
mod hello;
mod mux;
pub mod words;

pub use frame::{Decoder, Fault, Frame, Kind};
pub use hello::{Hello, Id, Secret, VERSION_MAX, VERSION_MIN};
pub use mux::{Event, Link, StreamId};
