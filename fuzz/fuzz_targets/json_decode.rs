//! A job that can be read prints as JSON that reads as the same job and prints the same; and what
//! `serde_json` makes of canonical bytes is what we make of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::api::Job;
use vardo::stdx::json::{decode, encode, pretty};

fuzz_target!(|bytes: &[u8]| {
    let Ok(job) = decode::<Job>(bytes) else { return };
    let canonical = encode(&job);
    assert_eq!(decode::<Job>(&canonical).as_ref(), Ok(&job));
    assert_eq!(serde_json::from_slice::<Job>(&canonical).unwrap(), job);
    let mut indented = Vec::new();
    pretty(&canonical, &mut indented);
    assert_eq!(encode(&decode::<Job>(&indented).unwrap()), canonical);
});
