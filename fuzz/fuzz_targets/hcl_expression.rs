//! Expressions of any text become values within their budget, or diagnostics; values go through
//! YAML and come back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vardo::hcl::eval::Budget;
use vardo::hcl::{Scope, parse_expr, yaml};
use vardo::limits::HCL_SERVER_STEPS_MAX;

fuzz_target!(|text: &str| {
    let _ = yaml::parse(text);
    let Ok(expression) = parse_expr(text) else { return };
    let budget = Budget::new(HCL_SERVER_STEPS_MAX);
    let list = serde_json::json!({"list": [1, 2, 3], "text": "abc", "map": {"k": null}});
    let names = [("var", list.clone()), ("local", list)];
    let unset = ["missing".to_owned()];
    let scope =
        Scope { text, names: &names, unset: &unset, files: None, budget: &budget, outer: None };
    if let Ok(value) = scope.eval(&expression) {
        let _ = yaml::parse(&yaml::print(&value));
    }
});
