//! A row of any bytes is read or refused, and its JSON lies within it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::store::Row;

fuzz_target!(|bytes: &[u8]| {
    let Some(row) = Row::decode(bytes) else { return };
    assert!(bytes.ends_with(row.json));
    assert_eq!((row.create(), row.modify()), (row.head.create, row.head.modify));
});
