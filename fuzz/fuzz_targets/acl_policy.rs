//! Policies of any text are rules or an explanation; rules answer questions about any name, and
//! more policies never let a denied namespace be touched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::acl::{Acl, Policy, ns, var};

fuzz_target!(|input: (&str, &str, &str)| {
    let (text, name, path) = input;
    let Ok(policy) = Policy::parse(text) else { return };
    assert!(policy.print(text).is_object());
    let deny = Policy::parse("namespace \"x\" { policy = \"deny\" }").unwrap_or_default();
    let alone = Acl::new([&policy]);
    let both = Acl::new([&policy, &deny]);
    assert!(!both.any_in_namespace("x"));
    assert_eq!(alone.namespace(name, ns::READ_JOB), alone.namespace(name, ns::READ_JOB));
    if alone.namespace(name, ns::READ_JOB) {
        assert!(alone.namespace("*", ns::READ_JOB));
    }
    if alone.variable(name, path, var::READ) {
        assert!(alone.any_variable("*", var::READ));
    }
});
