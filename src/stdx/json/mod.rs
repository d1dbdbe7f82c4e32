//! JSON as the API speaks it: Go's null rules, canonical printing, forgiving reading.

mod types;

pub use types::{Any, Bytes, List, Map, Time, is_zero};
