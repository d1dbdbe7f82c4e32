//! What a job prints as is canonical: it reads as a job that prints the same, indented or not, and
//! `serde_json` agrees that it is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::api::Job;
use vardo::stdx::json::{decode, encode, pretty};

fuzz_target!(|bytes: &[u8]| {
    let Ok(job) = decode::<Job>(bytes) else { return };
    let canonical = encode(&job);
    let job = decode::<Job>(&canonical).unwrap();
    assert_eq!(encode(&job), canonical);
    let value = serde_json::from_slice::<serde_json::Value>(&canonical).unwrap();
    assert_eq!(decode::<serde_json::Value>(&canonical).unwrap(), value);
    let mut indented = Vec::new();
    pretty(&canonical, &mut indented);
    assert_eq!(encode(&decode::<Job>(&indented).unwrap()), canonical);
});
