//! Every value that a query lists is found under its name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::http::Query;

fuzz_target!(|raw: &str| {
    let query = Query::new(raw);
    for (name, value) in query.pairs() {
        assert!(query.get(&name).is_some());
        assert!(query.all(&name).any(|v| v == value));
    }
});
