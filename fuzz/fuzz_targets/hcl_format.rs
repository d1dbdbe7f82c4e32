//! A text in its usual form has the same words, and stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::hcl::{format::format, parse};

fuzz_target!(|text: &str| {
    let formatted = format(text);
    if parse(text).is_err() {
        return;
    }
    assert!(parse(&formatted).is_ok(), "{formatted}");
    let words = |t: &str| t.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    assert_eq!(words(&formatted), words(text));
    assert_eq!(format(&formatted), formatted);
});
