//! Encrypted connections as values: bytes of the network in, bytes of the application out, and
//! back. Only this part names the library.
//!
//! ```text
//! socket ──feed──▶ Session ──▶ plain bytes        plain bytes ──send──▶ Session ──unsent──▶ socket
//! ```
//!
//! TLS 1.3 only: every client of the last years speaks it, and 1.2 would bring another 75 KiB and
//! the modes that need care. Nothing is resumed: there are no tickets to be kept, stolen or
//! invalidated, and a connection to an agent lives long. Certificates are read from files at start
//! and when the configuration is read again; what is open keeps those that it began with.

mod describe;
mod files;
pub mod issue;
mod session;
mod setup;

pub use describe::{Description, describe};
pub use files::{Fault, read, write_new};
pub use session::{Role, Session, is_hello};
pub use setup::{Client, Server, Trust, client, server};
