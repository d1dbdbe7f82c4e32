//! The functions of the library `sprig` that make no use of clock, chance or surroundings, under
//! the names that templates of tasks know them by: `sprig_default`.

use ring::digest;
use serde_json::{Map, Value};

use super::functions::{self, plain, truth};
use super::{OUTPUT_MAX, helpers};

const NAMES: &[&str] = &[
    "add",
    "add1",
    "append",
    "atoi",
    "b64dec",
    "b64enc",
    "cat",
    "coalesce",
    "concat",
    "contains",
    "default",
    "dict",
    "div",
    "empty",
    "first",
    "float64",
    "fromJson",
    "get",
    "has",
    "hasKey",
    "hasPrefix",
    "hasSuffix",
    "indent",
    "initial",
    "int",
    "int64",
    "join",
    "keys",
    "last",
    "list",
    "lower",
    "max",
    "merge",
    "min",
    "mod",
    "mul",
    "nindent",
    "omit",
    "pick",
    "prepend",
    "quote",
    "regexFind",
    "regexMatch",
    "regexReplaceAll",
    "repeat",
    "replace",
    "rest",
    "reverse",
    "sha1sum",
    "sha256sum",
    "sortAlpha",
    "splitList",
    "squote",
    "sub",
    "substr",
    "ternary",
    "title",
    "toJson",
    "toPrettyJson",
    "toString",
    "trim",
    "trimAll",
    "trimPrefix",
    "trimSuffix",
    "trunc",
    "uniq",
    "until",
    "upper",
    "values",
    "without",
];

/// What the library calls a function of this name.
pub(super) fn name(word: &str) -> Option<&str> {
    word.strip_prefix("sprig_").filter(|name| NAMES.contains(name))
}

/// Calls one of [`NAMES`].
pub(super) fn call(name: &str, values: &[Value]) -> Result<Value, String> {
    let wrong = || format!("Error executing template: wrong arguments of sprig_{name}");
    let own = |name: &str, values: &[Value]| functions::call(name, values);
    // Those that are as others are.
    match (name, values) {
        ("upper" | "lower", [_]) => return own(name, values),
        ("title", [_]) => return own("toTitle", values),
        ("trim", [_]) => return own("trimSpace", values),
        ("trimAll", [_, _]) => return own("trim", values),
        ("trimPrefix" | "trimSuffix" | "indent", [_, _]) => return own(name, values),
        ("replace", [_, _, _]) => return own("replaceAll", values),
        ("splitList", [_, _]) => return own("split", values),
        ("b64enc", [_]) => return own("base64Encode", values),
        ("b64dec", [_]) => return own("base64Decode", values),
        ("fromJson", [_]) => return own("parseJSON", values),
        ("toJson", [_]) => return own("toJSON", values),
        ("toPrettyJson", [_]) => return own("toJSONPretty", values),
        ("until", [Value::Number(_)]) => return own("loop", values),
        ("contains", [part, text]) => return own("in", &[text.clone(), part.clone()]),
        ("nindent", [_, _]) => {
            return Ok(format!("\n{}", plain(&own("indent", values)?)).into());
        }
        ("regexMatch", [Value::String(p), Value::String(text)]) => {
            return Ok(helpers::regex(p)?.is_match(text).into());
        }
        ("regexFind", [Value::String(p), Value::String(text)]) => {
            let regex = helpers::regex(p)?;
            return Ok(regex.find(text).map_or("", |m| m.as_str()).into());
        }
        ("regexReplaceAll", [Value::String(p), Value::String(text), Value::String(by)]) => {
            return helpers::replace_all(p, by, text);
        }
        _ => {}
    }
    let found = number(name, values).or_else(|| text(name, values));
    found.or_else(|| choice(name, values)).or_else(|| list(name, values)).ok_or_else(wrong)
}

/// A whole number, also of a text; what is none is 0, as there.
fn whole(value: &Value) -> i64 {
    match value {
        Value::String(s) => s.trim().parse().unwrap_or(0),
        Value::Bool(b) => i64::from(*b),
        other => other.as_i64().or(other.as_f64().map(|f| f as i64)).unwrap_or(0),
    }
}

fn number(name: &str, values: &[Value]) -> Option<Value> {
    let numbers: Vec<i64> = values.iter().map(whole).collect();
    let (first, rest) = numbers.split_first()?;
    let fold = |f: fn(i64, i64) -> Option<i64>| rest.iter().try_fold(*first, |a, b| f(a, *b));
    let out = match (name, rest.len()) {
        ("int" | "int64" | "atoi", 0) => Some(*first),
        ("float64", 0) => {
            let float = match values.first()? {
                Value::String(s) => s.parse().unwrap_or(0.0),
                other => other.as_f64().unwrap_or(0.0),
            };
            return Some(float.into());
        }
        ("add", _) => fold(i64::checked_add),
        ("add1", 0) => first.checked_add(1),
        ("mul", _) => fold(i64::checked_mul),
        ("sub", 1) => fold(i64::checked_sub),
        ("div", 1) => fold(i64::checked_div),
        ("mod", 1) => fold(i64::checked_rem),
        ("max", _) => fold(|a, b| Some(a.max(b))),
        ("min", _) => fold(|a, b| Some(a.min(b))),
        _ => None,
    };
    out.map(Value::from)
}

fn text(name: &str, values: &[Value]) -> Option<Value> {
    let count = |v: &Value| usize::try_from(whole(v)).unwrap_or(0);
    Some(match (name, values) {
        ("toString", [value]) => functions::shown(value).into(),
        ("quote", all) => {
            all.iter().map(|v| format!("{:?}", plain(v))).collect::<Vec<_>>().join(" ").into()
        }
        ("squote", all) => {
            all.iter().map(|v| format!("'{}'", plain(v))).collect::<Vec<_>>().join(" ").into()
        }
        ("cat", all) => all.iter().map(plain).collect::<Vec<_>>().join(" ").into(),
        ("hasPrefix", [part, text]) => plain(text).starts_with(&plain(part)).into(),
        ("hasSuffix", [part, text]) => plain(text).ends_with(&plain(part)).into(),
        ("join", [sep, Value::Array(all)]) => functions::joined(all, &plain(sep))?,
        ("join", [_, one]) => plain(one).into(),
        ("repeat", [times, text]) => {
            let (times, text) = (count(times), plain(text));
            (times.saturating_mul(text.len()) <= OUTPUT_MAX).then(|| text.repeat(times))?.into()
        }
        ("trunc", [n, text]) => {
            let (text, n) = (plain(text), whole(n));
            let most = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
            let skip = if n < 0 { text.chars().count().saturating_sub(most) } else { 0 };
            text.chars().skip(skip).take(most).collect::<String>().into()
        }
        ("substr", [from, to, text]) => {
            let from = count(from);
            let most = usize::try_from(whole(to)).map_or(usize::MAX, |to| to.saturating_sub(from));
            plain(text).chars().skip(from).take(most).collect::<String>().into()
        }
        ("sha1sum", [text]) => helpers::hex(&digest::SHA1_FOR_LEGACY_USE_ONLY, &plain(text)),
        ("sha256sum", [text]) => helpers::hex(&digest::SHA256, &plain(text)),
        _ => return None,
    })
}

fn choice(name: &str, values: &[Value]) -> Option<Value> {
    Some(match (name, values) {
        ("default", [or, value]) => if truth(value) { value } else { or }.clone(),
        ("default", [or]) => or.clone(),
        ("empty", [value]) => (!truth(value)).into(),
        ("coalesce", all) => all.iter().find(|v| truth(v)).cloned().unwrap_or_default(),
        ("ternary", [yes, no, which]) => if truth(which) { yes } else { no }.clone(),
        _ => return None,
    })
}

/// Lists and maps.
fn list(name: &str, values: &[Value]) -> Option<Value> {
    let map = |pairs: &[Value]| -> Map<String, Value> {
        let pair = |p: &[Value]| Some((plain(p.first()?), p.get(1).cloned().unwrap_or_default()));
        pairs.chunks(2).filter_map(pair).collect()
    };
    let picked = |map: &Map<String, Value>, keys: &[Value], keep: bool| -> Map<String, Value> {
        let has = |key: &str| keys.iter().any(|k| k.as_str() == Some(key)) == keep;
        map.iter().filter(|(k, _)| has(k)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    Some(match (name, values) {
        ("list", all) => all.to_vec().into(),
        ("dict", all) => map(all).into(),
        ("get", [Value::Object(map), key]) => {
            map.get(key.as_str()?).cloned().unwrap_or_else(|| "".into())
        }
        ("hasKey", [Value::Object(map), key]) => map.contains_key(key.as_str()?).into(),
        ("keys", [Value::Object(map)]) => map.keys().map(String::as_str).collect(),
        ("values", [Value::Object(map)]) => map.values().cloned().collect(),
        ("pick", [Value::Object(map), keys @ ..]) => picked(map, keys, true).into(),
        ("omit", [Value::Object(map), keys @ ..]) => picked(map, keys, false).into(),
        ("merge", maps) => {
            let mut out = Map::new();
            for map in maps {
                for (key, value) in map.as_object()? {
                    out.entry(key.as_str()).or_insert_with(|| value.clone());
                }
            }
            out.into()
        }
        ("concat", lists) => {
            let mut out = Vec::new();
            for list in lists {
                out.extend_from_slice(list.as_array()?);
            }
            out.into()
        }
        ("has", [value, Value::Array(all)]) => all.contains(value).into(),
        ("append", [Value::Array(all), value]) => {
            [all.as_slice(), std::slice::from_ref(value)].concat().into()
        }
        ("prepend", [Value::Array(all), value]) => {
            [std::slice::from_ref(value), all.as_slice()].concat().into()
        }
        ("without", [Value::Array(all), not @ ..]) => {
            all.iter().filter(|v| !not.contains(v)).cloned().collect()
        }
        (_, [Value::Array(all)]) => match name {
            "first" => all.first().cloned().unwrap_or_default(),
            "last" => all.last().cloned().unwrap_or_default(),
            "rest" => all.get(1..).unwrap_or_default().to_vec().into(),
            "initial" => all.split_last().map(|(_, rest)| rest).unwrap_or_default().to_vec().into(),
            "reverse" => all.iter().rev().cloned().collect(),
            "sortAlpha" => {
                let mut texts: Vec<String> = all.iter().map(plain).collect();
                crate::stdx::sort::by(&mut texts, Ord::cmp);
                texts.into()
            }
            "uniq" => {
                let mut out: Vec<Value> = Vec::new();
                let mut seen = crate::stdx::BTreeSet::new();
                for value in all {
                    if seen.insert(value.to_string()) {
                        out.push(value.clone());
                    }
                }
                out.into()
            }
            _ => return None,
        },
        _ => return None,
    })
}
