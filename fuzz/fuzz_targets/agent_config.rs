//! Configurations of any bytes become an agent's configuration or one line that says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::agent::config::Config;

fuzz_target!(|text: &[u8]| {
    if let Err(why) = Config::of_text(text) {
        assert!(!why.is_empty());
    }
});
