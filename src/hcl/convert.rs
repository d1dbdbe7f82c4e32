//! Values and how one kind becomes another, by HCL's rules.
//!
//! A value is a JSON value: HCL's maps are sorted by key too, and its numbers are whole or not.

use serde_json::Value;

use crate::stdx::BTreeSet;

/// What a kind of value is called in diagnostics.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// The number as the language prints it: whole ones without a fraction.
pub fn number_text(n: &serde_json::Number) -> String {
    match n.as_f64() {
        Some(f) if n.is_f64() && f.fract() == 0.0 && f.abs() < 1e15 => format!("{f:.0}"),
        _ => n.to_string(),
    }
}

/// A number of HCL from a float; whole ones become integers. `None` for what is no number.
pub fn number(f: f64) -> Option<Value> {
    // Up to 2^53 each whole float is one integer.
    if f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0 {
        return Some(Value::from(f as i64));
    }
    serde_json::Number::from_f64(f).map(Value::Number)
}

/// Text for a scalar: what stands in a template or where a string is wanted.
pub fn to_text(value: &Value) -> Option<String> {
    match value {
        Value::String(s) => Some(s.clone()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Number(n) => Some(number_text(n)),
        _ => None,
    }
}

/// A number for a number or for text that reads as one.
pub fn to_f64(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => s.trim().parse().ok().filter(|f: &f64| f.is_finite()),
        _ => None,
    }
}

/// A whole number.
pub fn to_i64(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => n.as_i64().or_else(|| whole(n.as_f64()?)),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

fn whole(f: f64) -> Option<i64> {
    (f.fract() == 0.0 && f.abs() < 9.2e18).then_some(f as i64)
}

/// A truth value, also from text.
pub fn to_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(b) => Some(*b),
        Value::String(s) => match s.as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Equality of HCL: kinds must agree, whole and other numbers may.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|((k, x), (l, y))| k == l && equal(x, y))
        }
        _ => a == b,
    }
}

/// The elements without those that were there before.
pub fn distinct(items: &[Value]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    items.iter().filter(|v| seen.insert(v.to_string())).cloned().collect()
}

/// Numbers first, by their size, all else in the order of its text: sets have no order of their
/// own.
pub fn sorted(mut items: Vec<Value>) -> Vec<Value> {
    let text = |v: &Value| to_text(v).unwrap_or_else(|| v.to_string());
    items.sort_by(|a, b| match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (x, y) => y.is_some().cmp(&x.is_some()).then_with(|| text(a).cmp(&text(b))),
    });
    items
}

/// A list as a set: nothing twice, and in order.
pub fn set(items: &[Value]) -> Vec<Value> {
    sorted(distinct(items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_print_as_they_are_written() {
        assert_eq!(to_text(&json!(5.0)).unwrap(), "5");
        assert_eq!(to_text(&json!(1.5)).unwrap(), "1.5");
        assert_eq!(to_i64(&json!(3.0)), Some(3));
        assert_eq!(to_i64(&json!(3.5)), None);
        assert!(equal(&json!([1, {"a": 2.0}]), &json!([1.0, {"a": 2}])));
        assert!(!equal(&json!(1), &json!("1")));
    }
}
