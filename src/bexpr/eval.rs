//! Expression × object → yes or no.

use serde_json::Value;

use super::{Expr, Op};

/// Fields whose keys are data of the user: a key that is not there is no error.
const MAPS: &[&str] = &[
    "Args",
    "Attributes",
    "CanaryMeta",
    "ClassEligibility",
    "Config",
    "Details",
    "Drivers",
    "Env",
    "FailedTGAllocs",
    "GetterHeaders",
    "GetterOptions",
    "Header",
    "HostNetworks",
    "HostVolumes",
    "Items",
    "Links",
    "Meta",
    "QueuedAllocations",
    "TaggedAddresses",
    "TaskGroups",
    "TaskResources",
    "TaskStates",
    "Tasks",
    "Volumes",
    "list",
    "value",
];

/// What a selector leads to.
enum Found<'v> {
    Value(&'v Value),
    /// A key of a map that is not there.
    Absent,
}

pub(super) fn eval(expr: &Expr, object: &Value, known: &[&str]) -> Result<bool, String> {
    match expr {
        Expr::Or(a, b) => Ok(eval(a, object, known)? || eval(b, object, known)?),
        Expr::And(a, b) => Ok(eval(a, object, known)? && eval(b, object, known)?),
        Expr::Not(a) => Ok(!eval(a, object, known)?),
        Expr::Match { path, op, negated, value, regex } => {
            let holds = match find(path, object, known)? {
                Found::Absent => *op == Op::Empty,
                Found::Value(v) => match op {
                    Op::Equal => equal(v, value)?,
                    Op::In => contains(v, value)?,
                    Op::Empty => empty(v)?,
                    Op::Matches => regex.as_deref().is_some_and(|r| matches(v, r)),
                },
            };
            Ok(holds != *negated)
        }
    }
}

fn find<'v>(path: &[String], object: &'v Value, known: &[&str]) -> Result<Found<'v>, String> {
    let mut at = object;
    for (i, part) in path.iter().enumerate() {
        let missing = |why: String| {
            format!("error finding value in datum: /{} at part {i}: {why}", path.join("/"))
        };
        let in_map = i.checked_sub(1).is_some_and(|p| MAPS.contains(&path[p].as_str()));
        at = match at {
            Value::Object(o) => match o.get(part) {
                Some(v) => v,
                None if in_map => return Ok(Found::Absent),
                // Zero, hence left out.
                None if i == 0 && known.contains(&part.as_str()) => &Value::Null,
                None => {
                    return Err(missing(format!(
                        "couldn't find key: struct field with name {part:?}"
                    )));
                }
            },
            Value::Array(list) => {
                let index: usize = part
                    .parse()
                    .map_err(|_| missing(format!("couldn't convert value {part:?} to index")))?;
                list.get(index).ok_or_else(|| {
                    missing(format!("index {index} is out of range (length = {})", list.len()))
                })?
            }
            Value::Null => return Ok(Found::Absent),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(missing("invalid value kind".to_owned()));
            }
        };
    }
    Ok(Found::Value(at))
}

fn equal(v: &Value, text: &str) -> Result<bool, String> {
    match v {
        Value::String(s) => Ok(s == text),
        Value::Bool(b) => Ok(*b == boolean(text)?),
        Value::Number(n) => {
            let want: f64 = text
                .parse()
                .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))?;
            // Whole numbers are compared as such where both are.
            match (n.as_i64(), text.parse::<i64>()) {
                (Some(a), Ok(b)) => Ok(a == b),
                _ => Ok(n.as_f64() == Some(want)),
            }
        }
        Value::Null => Ok(matches!(text, "" | "0" | "false")),
        Value::Array(_) => Err("Cannot perform Equal operations on type slice".to_owned()),
        Value::Object(_) => Err("Cannot perform Equal operations on type map".to_owned()),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

fn contains(v: &Value, text: &str) -> Result<bool, String> {
    match v {
        Value::String(s) => Ok(s.contains(text)),
        Value::Array(list) => {
            for item in list {
                if !matches!(item, Value::Array(_) | Value::Object(_)) && equal(item, text)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Object(o) => Ok(o.contains_key(text)),
        Value::Null => Ok(false),
        Value::Bool(_) => Err("Cannot perform in/contains operations on type bool".to_owned()),
        Value::Number(_) => Err("Cannot perform in/contains operations on type int".to_owned()),
    }
}

fn empty(v: &Value) -> Result<bool, String> {
    match v {
        Value::String(s) => Ok(s.is_empty()),
        Value::Array(list) => Ok(list.is_empty()),
        Value::Object(o) => Ok(o.is_empty()),
        Value::Null => Ok(true),
        Value::Bool(_) => Err("Cannot perform length-based operations on type bool".to_owned()),
        Value::Number(_) => Err("Cannot perform length-based operations on type int".to_owned()),
    }
}

fn matches(v: &Value, regex: &regex_lite::Regex) -> bool {
    match v {
        Value::String(s) => regex.is_match(s),
        Value::Array(list) => list.iter().any(|i| i.as_str().is_some_and(|s| regex.is_match(s))),
        Value::Null => regex.is_match(""),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    }
}
