//! Job files of any text become jobs or diagnostics that can be shown; they never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::jobspec::hcl::{Inputs, canonical, job, lines};

fuzz_target!(|text: &str| {
    match job(text, &Inputs::default(), None) {
        Ok(mut job) => canonical(&mut job),
        Err(wrong) => assert!(!lines("job.hcl", text, &wrong).is_empty()),
    }
});
