//! JSON as the API speaks it: Go's null rules, canonical printing, forgiving reading.
//!
//! Read with [`decode()`], print with [`encode`]. Types are made readable by [`records!`] and
//! [`choices!`] around their definitions (see `record`), printable by serde's derive.

mod decode;
mod pretty;
mod reader;
pub(crate) mod record;
mod syntax;
mod types;

pub use decode::Decode;
pub use pretty::pretty;
pub use reader::{JsonError, Reader, Step, decode, decode_whole};
pub use record::{Names, Record};
pub(crate) use record::{choices, records};
pub use types::{Any, Bytes, List, Map, Raw, Span, Time, is_zero};

use serde::Serialize;

/// Prints a value without white space. Floats always carry a fraction or an exponent; `<`, `>` and
/// `&` are not escaped.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    encode_into(value, &mut out);
    out
}

/// [`encode`] to the end of a buffer.
///
/// # Panics
/// For values that JSON cannot hold (maps whose keys are not text): a mistake in a type, not data.
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    if let Err(e) = serde_json::to_writer(out, value) {
        unreachable!("a type of ours does not print as JSON: {e}");
    }
}
