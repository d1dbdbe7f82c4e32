//! Functions that make maps of maps: flat keys set out as trees, maps merged, and maps as TOML.

use serde_json::{Map, Value};

use super::{DEPTH_MAX, OUTPUT_MAX};

pub(super) const MAPS: &[&str] =
    &["explode", "explodeMap", "mergeMap", "mergeMapWithOverride", "toTOML"];

/// Calls one of [`MAPS`]; `None`: the arguments are wrong.
pub(super) fn call(name: &str, values: &[Value]) -> Option<Value> {
    match (name, values) {
        ("toTOML", [Value::Object(map)]) => {
            let mut out = String::new();
            table(map, &mut Vec::new(), &mut out)?;
            Some(out.trim_end().into())
        }
        ("mergeMap" | "mergeMapWithOverride", [Value::Object(to), Value::Object(from)]) => {
            let mut to = to.clone();
            merge(&mut to, from, name != "mergeMap");
            Some(to.into())
        }
        ("explodeMap", [Value::Object(map)]) => {
            explode(map.iter().map(|(key, value)| (key.as_str(), value)))
        }
        // A list of pairs.
        ("explode", [Value::Array(pairs)]) => {
            let of = |pair: &'_ Value, long: &str, short: &str| {
                pair.get(long).or_else(|| pair.get(short)).cloned()
            };
            let mut flat = Map::new();
            for pair in pairs {
                let key = of(pair, "Key", "K")?.as_str()?.to_owned();
                flat.insert(key, of(pair, "Value", "V")?);
            }
            explode(flat.iter().map(|(key, value)| (key.as_str(), value)))
        }
        _ => None,
    }
}

/// `a/b` is `b` in `a`. `None`: too deep, or a value stands where a map must.
fn explode<'v>(pairs: impl Iterator<Item = (&'v str, &'v Value)>) -> Option<Value> {
    let mut out = Map::new();
    for (path, value) in pairs {
        let mut at = &mut out;
        let mut names = path.split('/').filter(|n| !n.is_empty()).peekable();
        let mut depth = 0;
        while let Some(name) = names.next() {
            depth += 1;
            if depth > DEPTH_MAX {
                return None;
            }
            if names.peek().is_none() {
                at.insert(name.to_owned(), value.clone());
                break;
            }
            let inner = at.entry(name).or_insert_with(|| Value::Object(Map::new()));
            at = inner.as_object_mut()?;
        }
    }
    Some(out.into())
}

/// Maps in both are merged; of other values the one that is there stays, unless it is empty or
/// `over`.
fn merge(to: &mut Map<String, Value>, from: &Map<String, Value>, over: bool) {
    for (key, value) in from {
        match (to.get_mut(key), value) {
            (Some(Value::Object(to)), Value::Object(from)) => merge(to, from, over),
            (Some(old), _) if !over && super::truth(old) => {}
            _ => drop(to.insert(key.clone(), value.clone())),
        }
    }
}

/// The values of a table, and then the tables in it. `None`: too long, or not to be said in TOML.
fn table(map: &Map<String, Value>, path: &mut Vec<String>, out: &mut String) -> Option<()> {
    let indent = |depth: usize| "  ".repeat(depth.min(DEPTH_MAX));
    let is_table = |v: &Value| {
        v.is_object()
            || v.as_array().is_some_and(|a| !a.is_empty() && a.iter().all(Value::is_object))
    };
    for (key, value) in map.iter().filter(|(_, v)| !is_table(v) && !v.is_null()) {
        out.push_str(&format!("{}{} = ", indent(path.len()), name(key)));
        plain(value, out)?;
        out.push('\n');
    }
    for (key, value) in map.iter().filter(|(_, v)| is_table(v)) {
        path.push(name(key));
        let (many, head) = match value {
            Value::Array(tables) => (tables.as_slice(), ("[[", "]]")),
            one => (std::slice::from_ref(one), ("[", "]")),
        };
        for inner in many.iter().filter_map(Value::as_object) {
            if !out.is_empty() {
                out.push('\n');
            }
            let (open, close) = head;
            out.push_str(&format!("{}{open}{}{close}\n", indent(path.len() - 1), path.join(".")));
            table(inner, path, out)?;
        }
        path.pop();
    }
    (out.len() <= OUTPUT_MAX).then_some(())
}

fn name(key: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { text(key) }
}

/// Strings of TOML and of JSON have the same escapes, but for DEL.
fn text(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

fn plain(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::String(s) => out.push_str(&text(s)),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                plain(item, out)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, value)) in map.iter().filter(|(_, v)| !v.is_null()).enumerate() {
                out.push_str(if i == 0 { "" } else { ", " });
                out.push_str(&format!("{} = ", name(key)));
                plain(value, out)?;
            }
            out.push('}');
        }
        Value::Null => return None,
        Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
    Some(())
}
