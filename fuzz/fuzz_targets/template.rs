//! Templates of any text end, within their bounds, in a text or an explanation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use vardo::template::{OUTPUT_MAX, Options, render};

fuzz_target!(|input: (&str, &str, bool)| {
    let (template, data, strict) = input;
    let value = serde_json::from_str(data).unwrap_or_else(|_| {
        json!({"a": [1, "x", null, {"b": true}], "c": data, "d": {}})
    });
    let options = Options { strict, ..Options::default() };
    let made = |value: &Value| render(template, options, value, &mut ());
    let once = made(&value);
    if let Ok(text) = &once {
        assert!(text.len() <= OUTPUT_MAX);
    }
    assert_eq!(once, made(&value));
});
