//! HTTP/1.1 as values: bytes in, requests out; answers in, bytes out. No socket, no clock, no
//! meaning of a path.

mod body;
pub mod conn;
pub mod gzip;
mod head;
pub mod passage;
pub mod query;
pub mod reply;
pub mod response;
pub mod url;
pub mod websocket;

pub use conn::Conn;
pub use head::{Method, Request};
pub use query::Query;
pub use url::Url;
