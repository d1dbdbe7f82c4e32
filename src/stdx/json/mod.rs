//! JSON as the API speaks it: Go's null rules, canonical printing, forgiving reading.
//!
//! Read with [`decode()`], print with [`encode`]: both are `serde_json` with the API's rules around
//! it. No other module holds a typed reader, so every type is compiled into one decoder only.

mod decode;
mod pretty;
mod syntax;
mod types;

pub use decode::{JsonError, decode};
pub use pretty::pretty;
pub use types::{Any, Bytes, List, Map, Span, Time, is_zero};

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
