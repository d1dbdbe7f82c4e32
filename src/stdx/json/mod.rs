//! JSON as the API speaks it: Go's null rules, canonical printing, forgiving reading.
//!
//! Read with [`decode()`], print with [`encode()`]. Types are made readable by [`records!`] and
//! [`choices!`] around their definitions (see `record`), printable by serde's derive. No other
//! module holds a printer, so every type is compiled once for it.

mod decode;
mod encode;
mod pretty;
mod printed;
mod reader;
pub(crate) mod record;
mod syntax;
mod types;

pub use decode::Decode;
pub use pretty::pretty;
pub use printed::Printed;
pub use reader::{JsonError, Reader, Step, decode, decode_whole};
pub use record::{Names, Record};
pub(crate) use record::{choices, records};
pub(crate) use syntax::plain;
pub use types::{Any, Bytes, List, Map, Numbers, Raw, Span, Time, is_zero};

use serde::Serialize;

use encode::{Edits, Form, Printer};

/// Prints a value without white space. Floats always carry a fraction or an exponent; `<`, `>` and
/// `&` are not escaped.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    encode_into(value, &mut out);
    out
}

/// [`encode()`] to the end of a buffer.
///
/// # Panics
/// For values that JSON cannot hold (maps whose keys are not text): a mistake in a type, not data.
pub fn encode_into<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    print(value, Printer::new(out, Form::Whole, &[]));
}

/// [`encode_into`] with other values for some members of the outermost object, as text and in the
/// order of its fields; also for members that would be left out.
pub fn encode_edited<T: Serialize + ?Sized>(value: &T, edits: Edits<'_>, out: &mut Vec<u8>) {
    print(value, Printer::new(out, Form::Whole, edits));
}

/// Prints a value without the fields that are zero; [`decode()`] reads the same value from it.
pub fn encode_lean<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    print(value, Printer::new(&mut out, Form::Lean, &[]));
    out
}

fn print<T: Serialize + ?Sized>(value: &T, mut printer: Printer<'_>) {
    if let Err(e) = value.serialize(&mut printer) {
        unreachable!("a type of ours does not print as JSON: {e}");
    }
}
