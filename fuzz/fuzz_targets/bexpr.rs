//! Filters of any text, over objects of any shape, answer or explain; they never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::bexpr::Filter;
use vardo::stdx::json::decode;

fuzz_target!(|input: (&str, &[u8])| {
    let Ok(filter) = Filter::parse(input.0) else { return };
    let object = decode(input.1).unwrap_or_default();
    assert_eq!(filter.matches(&object, &["ID"]), filter.matches(&object, &["ID"]));
});
