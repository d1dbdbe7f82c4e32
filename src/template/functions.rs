//! The functions of templates, and how values are shown.

use serde_json::{Map, Value};

use super::OUTPUT_MAX;
use crate::stdx::json::Bytes;
use crate::stdx::parse_bool;

/// Any value on one line.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(map) => {
            let pair = |(k, v): (&String, &Value)| format!("{k}={}", plain(v));
            map.iter().map(pair).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// A value as a template prints it: lists and maps in Go's form.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", shown(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => plain(other),
    }
}

/// Names of the functions that every template has.
pub(super) const FUNCTIONS: &[&str] = &[
    "add",
    "and",
    "base64Decode",
    "base64Encode",
    "base64URLDecode",
    "base64URLEncode",
    "contains",
    "divide",
    "eq",
    "ge",
    "gt",
    "in",
    "indent",
    "index",
    "join",
    "le",
    "len",
    "loop",
    "lower",
    "lt",
    "maximum",
    "minimum",
    "modulo",
    "multiply",
    "ne",
    "not",
    "or",
    "parseBool",
    "parseFloat",
    "parseInt",
    "parseJSON",
    "parseUint",
    "print",
    "printf",
    "println",
    "replaceAll",
    "split",
    "subtract",
    "toJSON",
    "toJSONPretty",
    "toLower",
    "toTitle",
    "toUpper",
    "trim",
    "trimPrefix",
    "trimSpace",
    "trimSuffix",
    "upper",
];

/// Calls one of [`FUNCTIONS`].
pub(super) fn call(name: &str, values: &[Value]) -> Result<Value, String> {
    let wrong = || format!("Error executing template: wrong arguments of {name}");
    let [first, rest @ ..] = values else { return Err(wrong()) };
    let second = rest.first();
    let order = |v: &Value| match (first, v) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => a.as_f64()?.partial_cmp(&b.as_f64()?),
    };
    let compare = |holds: fn(std::cmp::Ordering) -> bool| {
        second.and_then(order).map(|o| Value::Bool(holds(o))).ok_or_else(wrong)
    };
    let same = |v: &Value| v == first || order(v).is_some_and(std::cmp::Ordering::is_eq);
    Ok(match name {
        "and" => values.iter().find(|v| !truth(v)).or(values.last()).cloned().unwrap_or_default(),
        "or" => values.iter().find(|v| truth(v)).or(values.last()).cloned().unwrap_or_default(),
        "not" => (!truth(first)).into(),
        "eq" => rest.iter().any(same).into(),
        "ne" => (!rest.iter().any(same)).into(),
        "lt" => compare(std::cmp::Ordering::is_lt)?,
        "le" => compare(std::cmp::Ordering::is_le)?,
        "gt" => compare(std::cmp::Ordering::is_gt)?,
        "ge" => compare(std::cmp::Ordering::is_ge)?,
        "len" => match first {
            Value::String(s) => s.len().into(),
            Value::Array(a) => a.len().into(),
            Value::Object(o) => o.len().into(),
            _ => 0.into(),
        },
        "index" => rest
            .iter()
            .fold(first, |v, key| {
                let found = match key {
                    Value::String(s) => v.get(s),
                    key => key.as_u64().and_then(|n| v.get(usize::try_from(n).ok()?)),
                };
                found.unwrap_or(&Value::Null)
            })
            .clone(),
        "join" => {
            // The list first, or last where it comes out of a pipe.
            let (list, with) = match (first, second) {
                (Value::Array(list), with) => (list, with),
                (with, Some(Value::Array(list))) => (list, Some(with)),
                _ => return Err(wrong()),
            };
            joined(list, with.and_then(Value::as_str).unwrap_or(",")).ok_or_else(too_much)?
        }
        "lower" | "toLower" => plain(first).to_lowercase().into(),
        "upper" | "toUpper" => plain(first).to_uppercase().into(),
        "toJSON" => first.to_string().into(),
        "toJSONPretty" => format!("{first:#}").into(),
        "loop" => numbers(values).ok_or_else(wrong)?,
        "add" | "subtract" | "multiply" | "divide" | "modulo" | "minimum" | "maximum" => {
            arithmetic(name, first, second.ok_or_else(wrong)?).ok_or_else(wrong)?
        }
        "parseJSON" | "parseBool" | "parseInt" | "parseUint" | "parseFloat" | "base64Decode"
        | "base64Encode" | "base64URLDecode" | "base64URLEncode" | "toTitle" | "trimSpace" => {
            let text = first.as_str().ok_or_else(wrong)?;
            convert(name, text).ok_or_else(|| {
                format!("Error executing template: {name}: {text:?} cannot be read")
            })?
        }
        "in" => match first {
            Value::Array(all) => second.is_some_and(|v| all.contains(v)).into(),
            Value::String(s) => {
                second.and_then(Value::as_str).is_some_and(|t| s.contains(t)).into()
            }
            _ => return Err(wrong()),
        },
        // The text comes last, so that it can come out of a pipe.
        "contains" if let Some(Value::Array(all)) = rest.last() => all.contains(first).into(),
        "contains" | "indent" | "split" | "trim" | "trimPrefix" | "trimSuffix" | "replaceAll" => {
            texts(name, values).ok_or_else(wrong)?
        }
        "print" => values.iter().map(shown).collect::<String>().into(),
        "println" => {
            let texts: Vec<String> = values.iter().map(shown).collect();
            format!("{}\n", texts.join(" ")).into()
        }
        _ => printf(first.as_str().ok_or_else(wrong)?, rest).ok_or_else(too_much)?.into(),
    })
}

/// Most numbers of one `loop`.
const LOOP_MAX: i64 = 10_000;

/// `loop 3` is 0, 1, 2; `loop 2 4` is 2, 3.
fn numbers(values: &[Value]) -> Option<Value> {
    let (from, to) = match values {
        [to] => (0, to.as_i64()?),
        [from, to] => (from.as_i64()?, to.as_i64()?),
        _ => return None,
    };
    let most = to.min(from.saturating_add(LOOP_MAX));
    Some((from..most).map(Value::from).collect())
}

/// As in pipes, `10 | subtract 3` is 7: the second is what comes in.
fn arithmetic(name: &str, first: &Value, second: &Value) -> Option<Value> {
    if let (Some(a), Some(b)) = (first.as_i64(), second.as_i64()) {
        return Some(Value::from(match name {
            "add" => b.checked_add(a)?,
            "subtract" => b.checked_sub(a)?,
            "multiply" => b.checked_mul(a)?,
            "divide" => b.checked_div(a)?,
            "modulo" => b.checked_rem(a)?,
            "minimum" => a.min(b),
            _ => a.max(b),
        }));
    }
    let (a, b) = (first.as_f64()?, second.as_f64()?);
    Some(Value::from(match name {
        "add" => b + a,
        "subtract" => b - a,
        "multiply" => b * a,
        "divide" => b / a,
        "minimum" => a.min(b),
        "maximum" => a.max(b),
        _ => return None,
    }))
}

fn convert(name: &str, text: &str) -> Option<Value> {
    let utf8 = |bytes: Vec<u8>| String::from_utf8(bytes).ok().map(Value::from);
    match name {
        "parseJSON" if text.is_empty() => Some(Value::Object(Map::new())),
        "parseJSON" => serde_json::from_str(text).ok(),
        "parseBool" => parse_bool(text).map(Value::from),
        "parseInt" => text.parse::<i64>().ok().map(Value::from),
        "parseUint" => text.parse::<u64>().ok().map(Value::from),
        "parseFloat" => text.parse::<f64>().ok().filter(|f| f.is_finite()).map(Value::from),
        "base64Encode" => Some(Bytes::encode(text.as_bytes()).into()),
        "base64URLEncode" => Some(Bytes::encode_url(text.as_bytes()).into()),
        "base64Decode" => utf8(Bytes::decode(text)?),
        "base64URLDecode" => utf8(Bytes::decode_url(text.trim_end_matches('='))?),
        "trimSpace" => Some(text.trim().into()),
        _ => {
            let mut out = String::with_capacity(text.len());
            let mut begins = true;
            for c in text.chars() {
                if begins {
                    out.extend(c.to_uppercase());
                } else {
                    out.push(c);
                }
                begins = c.is_whitespace();
            }
            Some(out.into())
        }
    }
}

fn texts(name: &str, values: &[Value]) -> Option<Value> {
    let [first, rest @ ..] = values else { return None };
    let text = rest.last()?.as_str()?;
    if name == "indent" {
        let pad = " ".repeat(usize::try_from(first.as_i64()?).ok()?.min(LINE_MAX));
        if pad.len().saturating_mul(text.matches('\n').count()) > OUTPUT_MAX {
            return None;
        }
        let lines: Vec<String> = text.split('\n').map(|l| [&pad, l].concat()).collect();
        return Some(lines.join("\n").into());
    }
    let part = first.as_str()?;
    Some(match name {
        "contains" => text.contains(part).into(),
        "split" => text.split(part).collect(),
        "trim" => text.trim_matches(|c| part.contains(c)).into(),
        "trimPrefix" => text.strip_prefix(part).unwrap_or(text).into(),
        "trimSuffix" => text.strip_suffix(part).unwrap_or(text).into(),
        _ => {
            let to = rest.first().filter(|_| rest.len() == 2)?.as_str()?;
            let count = if part.is_empty() { text.len() + 1 } else { text.matches(part).count() };
            if count.saturating_mul(to.len()).saturating_add(text.len()) > OUTPUT_MAX {
                return None;
            }
            text.replace(part, to).into()
        }
    })
}

/// Widest indentation.
const LINE_MAX: usize = 100;

fn too_much() -> String {
    format!("Error executing template: more than {OUTPUT_MAX} bytes")
}

/// The texts of a list behind each other; `None` where they are too long.
pub(super) fn joined(list: &[Value], with: &str) -> Option<Value> {
    let texts: Vec<String> = list.iter().map(plain).collect();
    let between = with.len().saturating_mul(texts.len().saturating_sub(1));
    let len = texts.iter().map(String::len).fold(between, usize::saturating_add);
    (len <= OUTPUT_MAX).then(|| texts.join(with).into())
}

/// Go's verbs with width and precision: `%-10s`, `%5d`, `%.2f`, `%q`, `%v`, `%t`, `%x`, `%%`.
/// `None` where it becomes too long.
fn printf(format: &str, values: &[Value]) -> Option<String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let left = chars.next_if_eq(&'-').is_some();
        let zero = chars.next_if_eq(&'0').is_some();
        let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut n = 0_usize;
            while let Some(d) = chars.next_if(char::is_ascii_digit) {
                // No table of a terminal is wider.
                n = (n * 10 + d.to_digit(10).unwrap_or(0) as usize).min(1_000);
            }
            n
        };
        let width = number(&mut chars);
        let precision = chars.next_if_eq(&'.').map(|_| number(&mut chars));
        let verb = chars.next().unwrap_or('%');
        if verb == '%' {
            out.push('%');
            continue;
        }
        if out.len() > OUTPUT_MAX {
            return None;
        }
        let value = values.next().unwrap_or(&Value::Null);
        let text = match verb {
            'q' => format!("{:?}", plain(value)),
            'd' => value.as_f64().map_or_else(|| shown(value), |f| format!("{f:.0}")),
            'x' => value.as_i64().map_or_else(|| shown(value), |n| format!("{n:x}")),
            'f' => format!("{:.*}", precision.unwrap_or(6), value.as_f64().unwrap_or(0.0)),
            _ => match precision {
                Some(most) => shown(value).chars().take(most).collect(),
                None => shown(value),
            },
        };
        out.push_str(&match (left, zero) {
            (true, _) => format!("{text:<width$}"),
            (false, true) => format!("{text:0>width$}"),
            (false, false) => format!("{text:>width$}"),
        });
    }
    (out.len() <= OUTPUT_MAX).then_some(out)
}
