//! Functions beyond the language: regular expressions, digests, formats, and where to find the
//! rest.

use regex_lite::{Regex, RegexBuilder};
use ring::{digest, hmac};
use serde_json::{Map, Value};

use super::{functions, maps, sprig, weight};
use crate::hcl::yaml;

const HELPERS: &[&str] = &[
    "containsAll",
    "containsAny",
    "containsNone",
    "containsNotAll",
    "hmacSHA256Hex",
    "parseYAML",
    "regexMatch",
    "regexReplaceAll",
    "sha256Hex",
    "splitToMap",
    "toUnescapedJSON",
    "toUnescapedJSONPretty",
    "toYAML",
];

/// Largest program of a regular expression, in bytes.
const PATTERN_BYTES_MAX: usize = 64 * 1024;

pub(super) fn knows(name: &str) -> bool {
    HELPERS.contains(&name) || maps::MAPS.contains(&name) || sprig::name(name).is_some()
}

/// What a call costs beyond the size of its values. Some compare all of one with all of the rest;
/// a regular expression looks at each byte with each of its own, as often as it repeats them.
pub(super) fn cost(name: &str, values: &[Value]) -> usize {
    let (short, len) = (sprig::name(name).unwrap_or(name), |v: &Value| weight(v));
    if matches!(short, "omit" | "pick" | "trim" | "trimAll" | "without")
        || name.starts_with("contains")
    {
        let first = values.first().map_or(0, len);
        return first.saturating_mul(values.iter().skip(1).map(len).sum());
    }
    let [Value::String(pattern), rest @ ..] = values else { return 0 };
    if !name.contains("egex") {
        return 0;
    }
    let mut states = pattern.len();
    let counts = pattern.split('{').skip(1).filter_map(|part| part.split_once('}'));
    for (count, _) in counts {
        let most = count.split(',').filter_map(|n| n.trim().parse::<usize>().ok()).max();
        states = states.saturating_mul(most.unwrap_or(1).max(1));
    }
    let states = states.min(PATTERN_BYTES_MAX / 16);
    let text: usize = rest.iter().filter_map(Value::as_str).map(str::len).sum();
    // To read it costs more than to use it once.
    states.saturating_mul(16 + text / 2)
}

/// Calls a function that is no source's own.
pub(super) fn call(name: &str, values: &[Value]) -> Result<Value, String> {
    if let Some(name) = sprig::name(name) {
        return sprig::call(name, values);
    }
    let wrong = || format!("Error executing template: wrong arguments of {name}");
    if maps::MAPS.contains(&name) {
        return maps::call(name, values).ok_or_else(wrong);
    }
    if !HELPERS.contains(&name) {
        return functions::call(name, values);
    }
    Ok(match (name, values) {
        ("regexMatch", [Value::String(pattern), Value::String(text)]) => {
            regex(pattern)?.is_match(text).into()
        }
        ("regexReplaceAll", [Value::String(p), Value::String(by), Value::String(text)]) => {
            replace_all(p, by, text)?
        }
        ("sha256Hex", [Value::String(text)]) => hex(&digest::SHA256, text),
        ("hmacSHA256Hex", [Value::String(text), Value::String(key)]) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
            hex_of(hmac::sign(&key, text.as_bytes()).as_ref()).into()
        }
        ("parseYAML", [Value::String(text)]) => yaml::parse(text).map_err(|(line, why)| {
            format!("Error executing template: parseYAML: line {line}: {why}")
        })?,
        ("toYAML", [value]) => yaml::print(value).trim_end().into(),
        // Ours escapes nothing that need not be.
        ("toUnescapedJSON", [value]) => value.to_string().into(),
        ("toUnescapedJSONPretty", [value]) => format!("{value:#}").into(),
        ("splitToMap", [Value::String(sep), Value::String(inner), Value::String(text)]) => {
            let pair = |item: &str| {
                let (key, value) = item.split_once(inner.as_str()).unwrap_or((item, ""));
                (key.to_owned(), Value::from(value))
            };
            let items = text.split(sep.as_str()).filter(|item| !item.is_empty());
            Value::Object(items.map(pair).collect::<Map<_, _>>())
        }
        (_, [Value::Array(wanted), Value::Array(all)]) if name.starts_with("contains") => {
            let found = wanted.iter().filter(|w| all.contains(w)).count();
            match name {
                "containsAll" => found == wanted.len(),
                "containsAny" => found > 0,
                "containsNone" => found == 0,
                _ => found < wanted.len(),
            }
            .into()
        }
        _ => return Err(wrong()),
    })
}

pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
    built.map_err(|e| format!("Error executing template: {pattern:?}: {e}"))
}

/// `$1` and `${name}` in `by` stand for what the groups have matched.
pub(super) fn replace_all(pattern: &str, by: &str, text: &str) -> Result<Value, String> {
    let regex = regex(pattern)?;
    // Each match, and each of its groups, may be copied once for each `$`.
    let copies = by.matches('$').count().saturating_mul(text.len());
    let most = (text.len() + 1).saturating_mul(by.len().saturating_add(copies));
    if most > super::OUTPUT_MAX
        && regex.find_iter(text).count() * (by.len() + copies) > super::OUTPUT_MAX
    {
        return Err("Error executing template: the result is too long".to_owned());
    }
    Ok(regex.replace_all(text, by).into())
}

pub(super) fn hex(algorithm: &'static digest::Algorithm, text: &str) -> Value {
    hex_of(digest::digest(algorithm, text.as_bytes()).as_ref()).into()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Options, render, within};
    fn run(action: &str) -> Result<String, String> {
        let v = json!({"tags": ["a", "b"], "m": {"k": 1, "l": 2}, "s": "x.y", "none": []});
        render(&format!("{{{{ {action} }}}}"), Options::default(), &v, &mut ())
    }

    #[test]
    fn helpers_do_what_templates_of_the_field_expect() {
        for (action, want) in [
            ("\"foo.bar\" | regexReplaceAll \"fo+([.a-z]+)\" \"$1\"", ".bar"),
            ("\"v1.2\" | regexMatch \"^v[0-9]\"", "true"),
            (".tags | contains \"a\"", "true"),
            ("containsAll .tags .tags", "true"),
            ("containsNone .tags .tags", "false"),
            ("sha256Hex \"a\" | sprig_trunc 8", "ca978112"),
            ("hmacSHA256Hex \"a\" \"k\" | len", "64"),
            ("(parseYAML \"a: [1, 2]\").a", "[1 2]"),
            (".m | toYAML", "\"k\": 1\n\"l\": 2"),
            ("(splitToMap \",\" \"=\" \"a=1,b=2\").b", "2"),
            ("sprig_default \"d\" .nothing", "d"),
            ("sprig_default \"d\" .s", "x.y"),
            (".s | sprig_replace \".\" \"-\" | sprig_upper | sprig_quote", "\"X-Y\""),
            ("sprig_ternary \"a\" \"b\" false", "b"),
            ("sprig_coalesce \"\" .none \"z\"", "z"),
            ("sprig_join \"+\" .tags", "a+b"),
            ("sprig_list 3 1 | sprig_first", "3"),
            ("sprig_get (sprig_dict \"a\" \"b\") \"a\"", "b"),
            ("sprig_hasKey .m \"l\"", "true"),
            ("sprig_keys (sprig_omit .m \"k\")", "[l]"),
            ("sprig_add 1 2 \"3\"", "6"),
            ("sprig_div 7 2", "3"),
            ("sprig_nindent 2 \"a\\nb\"", "\n  a\n  b"),
            ("sprig_substr 1 3 \"abcd\"", "bc"),
            ("sprig_trunc -2 \"abcd\"", "cd"),
            ("sprig_contains \"bc\" \"abcd\"", "true"),
            ("sprig_regexReplaceAll \"a(x*)b\" \"-ab-axxb-\" \"${1}W\"", "-W-xxW-"),
            ("sprig_without .tags \"a\" | sprig_append (sprig_list 1)", "[1 [b]]"),
            ("sprig_uniq (sprig_concat .tags .tags)", "[a b]"),
            ("sprig_b64enc \"a\" | sprig_b64dec", "a"),
            ("(parseJSON `{\"a/b\":1,\"a/c\":\"x\"}` | explodeMap).a", "map[b:1 c:x]"),
            ("explode (parseJSON `[{\"Key\":\"a/b\",\"Value\":1}]`)", "map[a:map[b:1]]"),
            ("parseJSON `{\"k\":9,\"m\":{\"n\":3}}` | mergeMap .m", "map[k:1 l:2 m:map[n:3]]"),
            ("parseJSON `{\"k\":9}` | mergeMapWithOverride .m", "map[k:9 l:2]"),
            (".m | toTOML", "k = 1\nl = 2"),
            (
                "parseJSON `{\"t\":[{\"a\":[1,\"x\\\"y\"]},{\"b c\":true}],\
                 \"u\":{\"v\":{\"w\":1.5}},\
                 \"z\":null,\"e\":[]}` | toTOML",
                "e = []\n\n[[t]]\n  a = [1, \"x\\\"y\"]\n\n[[t]]\n  \"b c\" = true\n\n\
                 [u]\n\n  [u.v]\n    w = 1.5",
            ),
            ("scratch.Set \"a\" 1 }}{{ scratch.SetX \"a\" 2 }}{{ scratch.Get \"a\"", "1"),
            ("scratch.Key \"a\" }}{{ scratch.Set \"a\" 1 }}{{ scratch.Key \"a\"", "falsetrue"),
            (
                "scratch.MapSet \"m\" \"y\" 1 }}{{ scratch.MapSet \"m\" \"x\" 2 }}\
                 {{ scratch.MapSetX \"m\" \"x\" 3 }}{{ scratch.MapValues \"m\"",
                "[2 1]",
            ),
        ] {
            assert_eq!(run(action).as_deref(), Ok(want), "{action}");
        }
        for action in [
            "regexMatch \"(\" \"a\"",
            "sprig_repeat 9999999 \"abc\"",
            "sprig_div 1 0",
            "sprig_env \"HOME\"",
            "sprig_now",
            "writeToFile \"a\"",
            "executeTemplate \"a\"",
            "plugin \"a\"",
            "parseYAML \"a: [\"",
            "toTOML .tags",
            "toTOML (parseJSON `{\"a\":[null]}`)",
            "mergeMap .tags .m",
            "sprig_dict (sprig_repeat 99 \"a/\") 1 | explodeMap",
            "scratch.Nope",
            "scratch.Set \"a\"",
        ] {
            assert!(run(action).is_err(), "{action}");
        }
    }

    /// Whatever it asks for, a template ends within what it was given.
    #[test]
    fn what_is_expensive_is_refused() {
        let long = "a".repeat(20_000);
        let v = json!({"long": long, "list": vec!["x"; 9_000]});
        for action in [
            "regexMatch \"(a?){200}b\" .long",
            "regexMatch \"(((a{9}){9}){9}){9}\" .long",
            "regexReplaceAll \"a*a*a*a*a*a*b\" \"x\" (sprig_repeat 40 .long)",
            "containsAll .list .list",
            "regexMatch \"[a-z0-9]+[a-z0-9]+[a-z0-9]+[a-z0-9]+[a-z0-9]+[a-z0-9]+x\" \"\"",
            "trim (sprig_repeat 40 .long) (sprig_repeat 40 .long)",
        ] {
            let mut steps = 1 << 19;
            let template = format!("{{{{ range loop 900 }}}}{{{{ {action} $ }}}}{{{{ end }}}}");
            let template = template.replace(" $ ", " ").replace(" .l", " $.l");
            let made = within(&mut steps, &template, Options::default(), &v, &mut ());
            assert!(made.is_err_and(|e| e.contains("too much")), "{action}: {steps}");
        }
        // What would be long is not made first.
        for (action, why) in [
            ("join (loop 3000) (sprig_repeat 40 .long)", "more than"),
            ("sprig_join (sprig_repeat 40 .long) .list", "wrong arguments"),
            ("printf (sprig_repeat 100000 \"%1000d\")", "more than"),
        ] {
            let template = format!("{{{{ {action} | len }}}}");
            let made = within(&mut (1 << 19), &template, Options::default(), &v, &mut ());
            assert!(made.is_err_and(|e| e.contains(why)), "{action}");
        }
    }
}
