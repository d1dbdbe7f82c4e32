//! Filters of lists: the `filter` parameter (contract: conventions, section 5).
//!
//! A filter is parsed once and then asked about the JSON of each stored object. Fields that an
//! object leaves out because they are zero still exist: the caller names them.

mod eval;
mod parse;

use serde_json::Value;

/// How a selector and a value are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Equal,
    In,
    Empty,
    Matches,
}

#[derive(Debug)]
enum Expr {
    Or(Box<Self>, Box<Self>),
    And(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Match {
        path: Vec<String>,
        op: Op,
        negated: bool,
        value: String,
        regex: Option<Box<regex_lite::Regex>>,
    },
}

/// A parsed filter.
#[derive(Debug)]
pub struct Filter {
    expr: Expr,
}

impl Filter {
    /// Parses a filter.
    ///
    /// # Errors
    /// `line:column (offset): no match found, expected: …`, or what is wrong with a pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { expr: parse::parse(text)? })
    }

    /// Whether an object passes. `known`: names of the object's fields, which count as zero where
    /// the JSON has no such key.
    ///
    /// # Errors
    /// Unknown fields, and values that cannot be compared with the field's type.
    pub fn matches(&self, object: &Value, known: &[&str]) -> Result<bool, String> {
        eval::eval(&self.expr, object, known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<bool, String> {
        let object = serde_json::json!({
            "ID": "web", "Type": "service", "Priority": 50, "Stop": false, "Rate": 1.5,
            "Meta": {"owner": "me", "a.b": "c"}, "Datacenters": ["dc1", "dc2"], "Periodic": null,
            "Env": null, "TaskGroups": [{"Name": "app", "Count": 2}], "UI": {"Description": "x"},
        });
        Filter::parse(text)?.matches(&object, &["EvalID"])
    }

    #[test]
    fn expressions_are_evaluated() {
        for (text, want) in [
            ("Type == \"service\"", true),
            ("Type==service", true),
            ("Type != service", false),
            ("Type == `service` and Priority == 50", true),
            ("Type == batch or (Priority == 50 and not Stop == true)", true),
            ("not (Type == service)", false),
            ("not not Type == service", true),
            ("Stop == false", true),
            ("Rate == 1.5", true),
            ("Meta.owner == me", true),
            ("Meta[\"a.b\"] == c", true),
            ("\"/Meta/owner\" == \"me\"", true),
            ("Meta.none == x", false),
            ("Meta.none != x", true),
            ("Meta.none is empty", true),
            ("Env.none is not empty", false),
            ("owner in Meta", true),
            ("Meta contains owner", true),
            ("dc1 in Datacenters", true),
            ("\"dc3\" not in Datacenters", true),
            ("Datacenters contains dc2", true),
            ("Datacenters not contains dc2", false),
            ("Datacenters is empty", false),
            ("Periodic is empty", true),
            ("EvalID == \"\"", true),
            ("EvalID is empty", true),
            ("ID contains \"e\"", true),
            ("ID matches \"^w.b$\"", true),
            ("ID not matches \"^w.b$\"", false),
            ("\"/TaskGroups/0/Name\" == app", true),
            ("UI.Description == x", true),
        ] {
            assert_eq!(check(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn failures_say_what_is_wrong() {
        assert_eq!(
            check("NoField == \"x\"").unwrap_err(),
            "error finding value in datum: /NoField at part 0: couldn't find key: struct field \
             with name \"NoField\""
        );
        assert!(check("UI.Nope == x").unwrap_err().contains("/UI/Nope at part 1"));
        for bad in ["", "ID", "ID ==", "ID == \"x", "(ID == x", "ID == x)", "ID = x", "== x"] {
            assert!(check(bad).unwrap_err().contains("no match found, expected:"), "{bad}");
        }
        assert!(check("ID ==").unwrap_err().starts_with("1:6 (5): "));
        assert!(check("Priority == x").is_err());
        assert!(check("ID matches \"[\"").is_err());
        assert!(check(&"(".repeat(100_000)).is_err());
        assert!(check(&"not ".repeat(100_000)).is_err());
        let long = vec!["ID == web"; 1_000].join(" and ");
        assert!(check(&long).is_err());
    }
}
