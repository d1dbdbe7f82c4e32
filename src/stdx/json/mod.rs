//! JSON as the API speaks it: Go's null rules, canonical printing, forgiving reading.

mod types;

pub use types::{Any, Bytes, List, Map, Time, is_zero};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads one value.
///
/// # Errors
/// Those of the decoder.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// Prints a value without white space.
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

/// Indents JSON by four spaces.
pub fn pretty(bytes: &[u8], out: &mut Vec<u8>) {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut ser = serde_json::Serializer::with_formatter(&mut *out, format);
    if value.serialize(&mut ser).is_ok() {
        out.push(b'\n');
    }
}
