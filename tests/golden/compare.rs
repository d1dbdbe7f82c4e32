//! Whether an answer is what was recorded, up to ids, times and indexes.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::replay::Got;

/// Values that earlier steps saved, by name.
#[derive(Default)]
pub(crate) struct Saved(Vec<(String, Value)>);

impl Saved {
    /// Saves a value, over an older one of that name.
    pub(crate) fn put(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// `value` with every `${name}` replaced; a text that is `${name:int}` becomes a number.
    pub(crate) fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(s) => {
                let whole = s.strip_prefix("${").and_then(|r| r.strip_suffix(":int}"));
                let number = whole.and_then(|name| self.text(name)).and_then(|t| t.parse().ok());
                number.map_or_else(|| Value::String(self.fill_text(s)), |n: i64| Value::from(n))
            }
            Value::Array(list) => list.iter().map(|v| self.fill(v)).collect(),
            Value::Object(map) => {
                let entry = |(k, v): (&String, &Value)| (self.fill_text(k), self.fill(v));
                Value::Object(map.iter().map(entry).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// `text` with saved values written as `${name}`, so that both sides name the same thing. Short
    /// values are left alone: they would hit by chance.
    fn mask(&self, text: &str) -> String {
        let texts = self.0.iter().filter_map(|(n, v)| v.as_str().map(|v| (n, v)));
        let mut long: Vec<_> = texts.filter(|(_, v)| v.chars().count() >= 8).collect();
        long.sort_by_key(|(_, v)| std::cmp::Reverse(v.chars().count()));
        long.into_iter().fold(text.to_owned(), |t, (n, v)| t.replace(v, &format!("${{{n}}}")))
    }

    fn fill_text(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            out.push_str(before);
            let end = from.find('}').map_or(from.len(), |e| e + 1);
            let (name, after) = from.split_at(end);
            let value = self.text(name.trim_start_matches("${").trim_end_matches('}'));
            out.push_str(&value.unwrap_or_else(|| name.to_owned()));
            rest = after;
        }
        out + rest
    }

    fn text(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(n, _)| n == name)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
}

/// Every difference, one line each.
pub(crate) fn problems(step: &Value, want: &Value, got: &Got, saved: &Saved) -> Vec<String> {
    let mut out = Vec::new();
    if want["status"] != got.answer.status {
        out.push(format!("status: want {}, got {}", want["status"], got.answer.status));
    }
    for (name, value) in want["headers"].as_object().into_iter().flatten() {
        let found = got.answer.header(&name.to_lowercase());
        match value {
            Value::Object(_) if found.is_some() => {}
            Value::Object(_) => out.push(format!("header {name}: missing")),
            _ if value.as_str() == found => {}
            _ => out.push(format!("header {name}: want {value}, got {found:?}")),
        }
    }
    if want["json"] != got.is_json {
        let kind = if got.is_json { "text" } else { "JSON" };
        out.push(format!("body: want {kind} {}, got {}", clip(&want["body"]), clip(&got.body)));
        return out;
    }
    Diff { step, saved, out: &mut out }.run(&want["body"], &got.body, "");
    out
}

/// Equality as of JSON's meaning: 5 is 5.0.
pub(crate) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => {
            x.as_f64() == y.as_f64()
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y))
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| equal(v, w)))
        }
        _ => a == b,
    }
}

struct Diff<'d> {
    step: &'d Value,
    saved: &'d Saved,
    out: &'d mut Vec<String>,
}

impl Diff<'_> {
    fn run(&mut self, want: &Value, got: &Value, path: &str) {
        let at = if path.is_empty() { "/" } else { path };
        if let Some(kinds) = marker(want, "$") {
            let kind = kind(got);
            let fits = kinds.split('|').any(|k| k == kind || (k == "string" && kind == "uuid"));
            if !fits {
                self.out.push(format!("{at}: want a {kinds}, got {kind} {}", clip(got)));
            }
            return;
        }
        if let Some(form) = marker(want, "$re") {
            let regex = regex_lite::Regex::new(&format!("^(?s:{form})$")).expect("a pattern");
            if !got.as_str().is_some_and(|t| regex.is_match(t)) {
                self.out.push(format!("{at}: want text like {form}, got {}", clip(got)));
            }
            return;
        }
        match (want, got) {
            (Value::Object(want), Value::Object(got)) => self.objects(want, got, path),
            (Value::Array(want), Value::Array(got)) => self.lists(want, got, path),
            (Value::String(want), Value::String(got)) => {
                let got = self.saved.mask(got);
                if *want != got {
                    let (want, got) = (clip(&want.as_str().into()), clip(&got.into()));
                    self.out.push(format!("{at}: want {want}, got {got}"));
                }
            }
            _ if equal(want, got) => {}
            _ => self.out.push(format!("{at}: want {}, got {}", clip(want), clip(got))),
        }
    }

    fn objects(&mut self, want: &Map<String, Value>, got: &Map<String, Value>, path: &str) {
        let masked: Vec<(String, &Value)> =
            got.iter().map(|(k, v)| (self.saved.mask(k), v)).collect();
        for (name, value) in want {
            match masked.iter().find(|(n, _)| n == name) {
                Some((_, got)) => self.run(value, got, &format!("{path}/{name}")),
                None => self.out.push(format!("{path}/{name}: missing")),
            }
        }
        for (name, _) in &masked {
            let here = format!("{path}/{name}");
            if !want.contains_key(name) && !self.listed("loose", &here) {
                self.out.push(format!("{here}: not in the reference"));
            }
        }
    }

    fn lists(&mut self, want: &[Value], got: &[Value], path: &str) {
        let mut got: Vec<&Value> = got.iter().collect();
        if self.listed("unordered", path) {
            got.sort_by_cached_key(|v| sort_key(v));
        }
        if want.len() != got.len() {
            let at = if path.is_empty() { "/" } else { path };
            self.out.push(format!("{at}: want {} elements, got {}", want.len(), got.len()));
        }
        for (i, (want, got)) in want.iter().zip(got).enumerate() {
            self.run(want, got, &format!("{path}/{i}"));
        }
    }

    /// Whether a pointer of the step's list fits; `*` fits any one part.
    fn listed(&self, key: &str, path: &str) -> bool {
        let patterns = self.step.get(key).and_then(Value::as_array).into_iter().flatten();
        patterns.filter_map(Value::as_str).any(|pattern| {
            let (p, q): (Vec<_>, Vec<_>) =
                (pattern.split('/').collect(), path.split('/').collect());
            p.len() == q.len() && p.iter().zip(&q).all(|(a, b)| *a == "*" || a == b)
        })
    }
}

/// The text of an object whose only key is `name`.
fn marker<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    let map = value.as_object().filter(|m| m.len() == 1)?;
    map.get(name)?.as_str()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(s) if is_uuid(s) => "uuid",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// 8-4-4-4-12 hex digits in lower case.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

/// JSON in the form that the recorder sorted by: a space after colons and commas, ASCII only.
fn sort_key(value: &Value) -> String {
    match value {
        Value::String(s) => quoted(s),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(sort_key).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let entry = |(k, v): (&String, &Value)| format!("{}: {}", quoted(k), sort_key(v));
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in Value::from(text).to_string().chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a string takes it");
            }
        }
    }
    out
}

fn clip(value: &Value) -> String {
    value.to_string().chars().take(90).collect()
}

mod tests {
    use super::*;
    use serde_json::json;

    fn check(step: &Value, want: &Value, got: &Value, problems: &[&str]) {
        let mut saved = Saved::default();
        saved.put("id", json!("0123456789"));
        let mut out = Vec::new();
        Diff { step, saved: &saved, out: &mut out }.run(want, got, "");
        assert_eq!(out, problems);
    }

    #[test]
    fn masks_and_kinds_match_what_they_stand_for() {
        let none = json!({});
        check(&none, &json!({"$": "number"}), &json!(7), &[]);
        check(&none, &json!({"$": "null|string"}), &json!("x"), &[]);
        let uuid = json!("01234567-89ab-cdef-0123-456789abcdef");
        check(&none, &json!({"$": "string"}), &uuid, &[]);
        check(&none, &json!({"$": "uuid"}), &json!("x"), &["/: want a uuid, got string \"x\""]);
        check(&none, &json!({"$re": "a+"}), &json!("aaa"), &[]);
        check(&none, &json!({"$re": "a"}), &json!("aa"), &["/: want text like a, got \"aa\""]);
        check(&none, &json!("job ${id}"), &json!("job 0123456789"), &[]);
        check(&none, &json!({"${id}": 1}), &json!({"0123456789": 1.0}), &[]);
    }

    #[test]
    fn differences_are_named_by_their_place() {
        let got = json!({"a": [1, {"b": null}], "x": 1});
        check(
            &json!({}),
            &json!({"a": [2, {"b": false}, 3], "c": 1}),
            &got,
            &[
                "/a: want 3 elements, got 2",
                "/a/0: want 2, got 1",
                "/a/1/b: want false, got null",
                "/c: missing",
                "/x: not in the reference",
            ],
        );
        let step = json!({"loose": ["/x"], "unordered": ["/a"]});
        check(&step, &json!({"a": [1, 2]}), &json!({"a": [2, 1], "x": 0}), &[]);
    }

    #[test]
    fn saved_values_are_filled_in() {
        let mut saved = Saved::default();
        saved.put("n", json!(5));
        saved.put("s", json!("x"));
        let filled = saved.fill(&json!({"${s}": ["${n:int}", "a${n}b${none}"]}));
        assert_eq!(filled, json!({"x": [5, "a5b${none}"]}));
    }
}
