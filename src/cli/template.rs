//! A part of Go's templates for `-t`: fields, variables, `if`, `with`, `range`, and the functions
//! that people print lists with.
//!
//! `{{range .}}{{.ID}}{{"\n"}}{{end}}`; `{{-` and `-}}` take the space before and behind.

use serde_json::Value;

use super::format::plain;

/// Deepest nesting of blocks and parentheses.
const DEPTH_MAX: usize = 32;

/// The text that a template makes of a value.
pub(super) fn render(template: &str, value: &Value) -> Result<String, String> {
    let parts = split(template)?;
    let mut run = Run { parts: &parts, at: 0, out: String::new(), vars: Vec::new() };
    run.vars.push(("$".to_owned(), value.clone()));
    match run.block(value, true, 0)? {
        "" => Ok(run.out),
        word => Err(format!("Error parsing template: unexpected {{{{{word}}}}}")),
    }
}

#[derive(Debug)]
enum Part {
    Text(String),
    Action(Vec<String>),
}

/// The texts and actions of a template.
fn split(template: &str) -> Result<Vec<Part>, String> {
    let mut out = Vec::new();
    let mut rest = template;
    let mut trim = false;
    while let Some(open) = rest.find("{{") {
        let (before, after) = rest.split_at(open);
        let mut inner = after.get(2..).unwrap_or_default();
        let mut text = if trim { before.trim_start() } else { before };
        if let Some(cut) = inner.strip_prefix("- ") {
            text = text.trim_end();
            inner = cut;
        }
        out.push(Part::Text(text.to_owned()));
        let end = end_of(inner).ok_or("Error parsing template: unclosed action")?;
        let (body, behind) = inner.split_at(end);
        rest = behind.get(2..).unwrap_or_default();
        let cut = body.strip_suffix(" -");
        trim = cut.is_some();
        let body = cut.unwrap_or(body).trim();
        if !body.starts_with("/*") {
            out.push(Part::Action(words(body)?));
        }
    }
    out.push(Part::Text(if trim { rest.trim_start() } else { rest }.to_owned()));
    Ok(out)
}

/// Where the `}}` of an action stands, strings stepped over.
fn end_of(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text.get(i..).is_some_and(|t| t.starts_with("}}")) => return Some(i),
            None => {}
        }
    }
    None
}

/// Words of an action. Strings keep a quote in front, to be told from names.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((i, c)) = chars.next() {
        match c {
            _ if c.is_whitespace() => {}
            '(' | ')' | '|' | ',' => out.push(c.to_string()),
            '"' | '`' => {
                let mut word = "\"".to_owned();
                loop {
                    let (_, d) = chars.next().ok_or("Error parsing template: open string")?;
                    match d {
                        _ if d == c => break,
                        '\\' if c == '"' => match chars.next().map(|(_, e)| e) {
                            Some('n') => word.push('\n'),
                            Some('t') => word.push('\t'),
                            Some(e) => word.push(e),
                            None => {}
                        },
                        _ => word.push(d),
                    }
                }
                out.push(word);
            }
            ':' if chars.next_if(|(_, d)| *d == '=').is_some() => out.push(":=".to_owned()),
            _ => {
                let stop = |d: char| d.is_whitespace() || "()|,\"`:".contains(d);
                while chars.next_if(|(_, d)| !stop(*d)).is_some() {}
                let end = chars.peek().map_or(text.len(), |(j, _)| *j);
                out.push(text.get(i..end).unwrap_or_default().to_owned());
            }
        }
    }
    Ok(out)
}

struct Run<'p> {
    parts: &'p [Part],
    at: usize,
    out: String,
    vars: Vec<(String, Value)>,
}

impl Run<'_> {
    /// Runs (or, where not `live`, steps over) parts up to the end of a block: the word that ended
    /// it, `end` or `else`; empty at the end of the template.
    fn block(&mut self, dot: &Value, live: bool, depth: usize) -> Result<&'static str, String> {
        if depth > DEPTH_MAX {
            return Err("Error parsing template: nested too deeply".to_owned());
        }
        while let Some(part) = self.parts.get(self.at) {
            self.at += 1;
            let words = match part {
                Part::Text(text) => {
                    if live {
                        self.out.push_str(text);
                    }
                    continue;
                }
                Part::Action(words) => words,
            };
            let (first, rest) = words.split_first().map_or(("", &[][..]), |(f, r)| (f.as_str(), r));
            match first {
                "end" => return Ok("end"),
                // The words behind it stay to be read by whoever runs the block.
                "else" => {
                    self.at -= 1;
                    return Ok("else");
                }
                "if" | "with" => {
                    let kept = self.vars.len();
                    self.choose(first == "with", rest, dot, live, depth)?;
                    self.vars.truncate(kept);
                }
                "range" => {
                    let kept = self.vars.len();
                    self.range(rest, dot, live, depth)?;
                    self.vars.truncate(kept);
                }
                _ if !live => {}
                _ => {
                    let (names, rest) = declared(words);
                    let value = self.pipeline(rest, dot, depth)?;
                    match names.first() {
                        Some(name) => self.vars.push((name.clone(), value)),
                        None => self.out.push_str(&shown(&value)),
                    }
                }
            }
        }
        Ok("")
    }

    /// `if` and `with`, with all of their `else`.
    fn choose(
        &mut self,
        with: bool,
        words: &[String],
        dot: &Value,
        live: bool,
        depth: usize,
    ) -> Result<(), String> {
        let mut open = live;
        let mut condition: Option<Vec<String>> = Some(words.to_vec());
        loop {
            let value = match &condition {
                Some(words) if open => {
                    let (names, rest) = declared(words);
                    let value = self.pipeline(rest, dot, depth)?;
                    self.vars.extend(names.iter().map(|n| (n.clone(), value.clone())));
                    value
                }
                Some(_) => Value::Null,
                None => Value::Bool(true),
            };
            let taken = open && truth(&value);
            let inner = if with && condition.is_some() { &value } else { dot };
            let ended = self.block(inner, taken, depth + 1)?;
            open &= !taken;
            match ended {
                "end" => return Ok(()),
                "else" => condition = self.else_words()?,
                _ => return Err("Error parsing template: a block has no {{end}}".to_owned()),
            }
        }
    }

    /// What stands behind `else`: the condition of `else if`, or nothing.
    fn else_words(&mut self) -> Result<Option<Vec<String>>, String> {
        let Some(Part::Action(words)) = self.parts.get(self.at) else { return Ok(None) };
        self.at += 1;
        match words.get(1).map(String::as_str) {
            None => Ok(None),
            Some("if" | "with") => Ok(Some(words.get(2..).unwrap_or_default().to_vec())),
            Some(other) => Err(format!("Error parsing template: unexpected {other} behind else")),
        }
    }

    fn range(
        &mut self,
        words: &[String],
        dot: &Value,
        live: bool,
        depth: usize,
    ) -> Result<(), String> {
        let (names, rest) = declared(words);
        let value = if live { self.pipeline(rest, dot, depth)? } else { Value::Null };
        let items: Vec<(Value, Value)> = match value {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect()
            }
            Value::Object(map) => map.into_iter().map(|(k, v)| (Value::from(k), v)).collect(),
            _ => Vec::new(),
        };
        let start = self.at;
        let mut ended = "";
        let kept = self.vars.len();
        for (key, item) in &items {
            self.at = start;
            match names {
                [only] => self.vars.push((only.clone(), item.clone())),
                [k, _, v] => {
                    self.vars.push((k.clone(), key.clone()));
                    self.vars.push((v.clone(), item.clone()));
                }
                _ => {}
            }
            ended = self.block(item, true, depth + 1)?;
            self.vars.truncate(kept);
        }
        if items.is_empty() {
            ended = self.block(dot, false, depth + 1)?;
        }
        if ended == "else" {
            self.else_words()?;
            ended = self.block(dot, live && items.is_empty(), depth + 1)?;
        }
        match ended {
            "end" => Ok(()),
            _ => Err("Error parsing template: a block has no {{end}}".to_owned()),
        }
    }

    /// Commands with `|` between; the value of each is the last argument of the next.
    fn pipeline(&self, words: &[String], dot: &Value, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err("Error parsing template: nested too deeply".to_owned());
        }
        let mut last: Option<Value> = None;
        let mut level = 0_usize;
        let pieces = words.split(|w| {
            match w.as_str() {
                "(" => level += 1,
                ")" => level = level.saturating_sub(1),
                _ => {}
            }
            level == 0 && w == "|"
        });
        for piece in pieces {
            let mut values = Vec::new();
            let mut function = None;
            let mut i = 0;
            while let Some(word) = piece.get(i) {
                i += 1;
                if word == "(" {
                    let mut open = 1_usize;
                    let start = i;
                    while open > 0 {
                        match piece.get(i).map(String::as_str) {
                            Some("(") => open += 1,
                            Some(")") => open -= 1,
                            Some(_) => {}
                            None => return Err("Error parsing template: open (".to_owned()),
                        }
                        i += 1;
                    }
                    let inner = piece.get(start..i - 1).unwrap_or_default();
                    let mut value = self.pipeline(inner, dot, depth + 1)?;
                    if let Some(path) = piece.get(i).filter(|w| w.starts_with('.')) {
                        value = field(&value, path);
                        i += 1;
                    }
                    values.push(value);
                } else if i == 1 && FUNCTIONS.contains(&word.as_str()) {
                    function = Some(word.as_str());
                } else {
                    values.push(self.operand(word, dot)?);
                }
            }
            values.extend(last.take());
            last = Some(match function {
                Some(name) => call(name, &values)?,
                None if values.len() == 1 => values.remove(0),
                None => return Err("Error executing template: no function to call".to_owned()),
            });
        }
        Ok(last.unwrap_or(Value::Null))
    }

    fn operand(&self, word: &str, dot: &Value) -> Result<Value, String> {
        if let Some(text) = word.strip_prefix('"') {
            return Ok(text.into());
        }
        if word.starts_with('.') {
            return Ok(field(dot, word));
        }
        if word.starts_with('$') {
            let (name, path) = word.split_once('.').map_or((word, ""), |(n, p)| (n, p));
            let found = self.vars.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v);
            let missing = || format!("Error parsing template: undefined variable {name:?}");
            return found.map(|v| field(v, path)).ok_or_else(missing);
        }
        match word {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            "nil" => Ok(Value::Null),
            _ => serde_json::from_str::<serde_json::Number>(word)
                .map(Value::Number)
                .map_err(|_| format!("Error parsing template: function {word:?} not defined")),
        }
    }
}

/// `$a := …` and `$k, $v := …`: the names and what they are given.
fn declared(words: &[String]) -> (&[String], &[String]) {
    match words {
        [name, sign, rest @ ..] if sign == ":=" && name.starts_with('$') => {
            (words.get(..1).unwrap_or_default(), rest)
        }
        [_, comma, _, sign, ..] if comma == "," && sign == ":=" => {
            // With the comma between them.
            (words.get(..3).unwrap_or_default(), words.get(4..).unwrap_or_default())
        }
        _ => (&[], words),
    }
}

fn field(value: &Value, path: &str) -> Value {
    let names = path.split('.').filter(|p| !p.is_empty());
    names.fold(value, |v, name| v.get(name).unwrap_or(&Value::Null)).clone()
}

fn truth(value: &Value) -> bool {
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
fn shown(value: &Value) -> String {
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

const FUNCTIONS: &[&str] = &[
    "and", "eq", "ge", "gt", "index", "join", "le", "len", "lower", "lt", "ne", "not", "or",
    "print", "printf", "println", "toJSON", "upper",
];

fn call(name: &str, values: &[Value]) -> Result<Value, String> {
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
            let items = first.as_array().ok_or_else(wrong)?;
            let texts: Vec<String> = items.iter().map(plain).collect();
            texts.join(second.and_then(Value::as_str).unwrap_or(",")).into()
        }
        "lower" => plain(first).to_lowercase().into(),
        "upper" => plain(first).to_uppercase().into(),
        "toJSON" => first.to_string().into(),
        "print" => values.iter().map(shown).collect::<String>().into(),
        "println" => {
            let texts: Vec<String> = values.iter().map(shown).collect();
            format!("{}\n", texts.join(" ")).into()
        }
        _ => printf(first.as_str().ok_or_else(wrong)?, rest).into(),
    })
}

/// Go's verbs with width and precision: `%-10s`, `%5d`, `%.2f`, `%q`, `%v`, `%t`, `%x`, `%%`.
fn printf(format: &str, values: &[Value]) -> String {
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
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_print_what_go_prints() {
        let v = json!([{"ID": "a1", "N": 3, "Up": true, "Tags": ["x", "y"], "M": {"k": {"v": 5}}},
            {"ID": "b2", "N": 0, "Up": false, "Tags": null}]);
        for (template, text) in [
            ("plain", "plain"),
            ("{{range .}}{{.ID}} {{end}}", "a1 b2 "),
            ("{{range $i, $e := .}}{{$i}}={{$e.ID}};{{end}}", "0=a1;1=b2;"),
            ("{{range .}}{{if .Up}}up{{else if eq .ID \"b2\"}}b{{else}}?{{end}} {{end}}", "up b "),
            ("{{range .}}{{range .Tags}}{{.}}{{else}}none{{end}} {{end}}", "xy none "),
            ("{{with index . 0}}{{.M.k.v}}/{{len .Tags}}{{end}}", "5/2"),
            ("{{range .}}{{printf \"%-4s|%3d\" .ID .N}}{{\"\\n\"}}{{end}}", "a1  |  3\nb2  |  0\n"),
            ("{{(index . 1).ID | printf \"%q\"}}", "\"b2\""),
            ("a {{- /* c */ -}} b", "ab"),
            ("{{$x := index . 0}}{{$x.Tags}} {{join $x.Tags \"+\"}}", "[x y] x+y"),
            ("{{if and (gt (len .) 1) (not false)}}many{{end}}", "many"),
            ("{{len .}}{{`raw \"}}`}}", "2raw \"}}"),
        ] {
            assert_eq!(render(template, &v).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn wrong_templates_are_refused() {
        for template in [
            "{{",
            "{{nope}}",
            "{{range .}}",
            "{{end}}",
            "{{else}}",
            "{{\"a}}",
            "{{$x}}",
            "{{if true}}{{else}}",
            "{{(}}",
            "{{len}}",
            "{{lt 1 \"a\"}}",
        ] {
            assert!(render(template, &json!({})).is_err(), "{template}");
        }
        let deep = format!("{}{}", "{{if true}}".repeat(10_000), "{{end}}".repeat(10_000));
        assert!(render(&deep, &json!(1)).is_err());
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(render(&deep, &json!(1)).is_err());
    }
}
