//! What is read as a duration prints as text that is read as the same one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::stdx::duration::{Go, parse};

fuzz_target!(|input: (i64, &str)| {
    for ns in [Some(input.0), parse(input.1)].into_iter().flatten() {
        assert_eq!(parse(&Go(ns).to_string()), Some(ns));
    }
});
