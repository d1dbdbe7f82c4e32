//! Go's templates: fields, variables, `if`, `with`, `range`, `define`, `template`, `block`,
//! pipelines and functions. The command line prints objects by them, and tasks have files made by
//! them.
//!
//! `{{range .}}{{.ID}}{{"\n"}}{{end}}`; `{{-` and `-}}` take the space before and behind. What a
//! template costs is bounded: its nesting, its output, and the sum of what it looks at.

mod functions;
mod helpers;
mod maps;
mod sprig;

use serde_json::{Map, Value, json};

pub use functions::plain;
use functions::{FUNCTIONS, shown, truth};

use crate::stdx::BTreeMap;

/// Deepest nesting of blocks and parentheses.
const DEPTH_MAX: usize = 32;
/// Largest output, in bytes.
pub const OUTPUT_MAX: usize = 1 << 20;
/// Steps of a template where nothing else is said; a value that is looked at counts with its size
/// (one for each member and for 16 bytes of text).
const STEPS_MAX: usize = 4 << 20;

/// What a template may ask of its surroundings by functions that are not of the language.
pub trait Source {
    /// The value of a function of this source; `None`: it has no such function.
    fn call(&mut self, name: &str, args: &[Value]) -> Option<Result<Value, String>>;

    /// Whether a function is one of this source.
    fn knows(&self, name: &str) -> bool;
}

/// Nothing but the language itself.
impl Source for () {
    fn call(&mut self, _: &str, _: &[Value]) -> Option<Result<Value, String>> {
        None
    }

    fn knows(&self, _: &str) -> bool {
        false
    }
}

/// How a template is read.
#[derive(Clone, Copy, Debug)]
pub struct Options<'o> {
    /// What actions stand between.
    pub left: &'o str,
    pub right: &'o str,
    /// A field that is not there is an error.
    pub strict: bool,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { left: "{{", right: "}}", strict: false }
    }
}

/// The text that a template makes of a value, within [`STEPS_MAX`].
///
/// # Errors
/// What is wrong with the template, or with what it does.
pub fn render(
    template: &str,
    options: Options<'_>,
    value: &Value,
    source: &mut dyn Source,
) -> Result<String, String> {
    let mut steps = STEPS_MAX;
    within(&mut steps, template, options, value, source)
}

/// The text that a template makes of a value. What it costs is taken from `steps`, which bounds it.
///
/// # Errors
/// What is wrong with the template, or with what it does.
pub fn within(
    steps: &mut usize,
    template: &str,
    options: Options<'_>,
    value: &Value,
    source: &mut dyn Source,
) -> Result<String, String> {
    if options.left.is_empty() || options.right.is_empty() {
        return Err("Error parsing template: empty delimiter".to_owned());
    }
    let parts = split(template, options)?;
    let mut run = Run {
        parts: &parts,
        at: 0,
        out: String::new(),
        vars: Vec::new(),
        strict: options.strict,
        steps,
        source,
        named: named(&parts),
        loops: 0,
        leaving: "",
        scratch: Map::new(),
    };
    run.spend(template.len() / 16)?;
    run.vars.push(("$".to_owned(), value.clone()));
    match run.block(value, true, 0)? {
        "" => Ok(run.out),
        word => Err(format!("Error parsing template: unexpected {{{{{word}}}}}")),
    }
}

/// Where the templates begin that have names, behind their `define` or `block`. The last of a name
/// counts.
fn named(parts: &[Part]) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        let Part::Action(words) = part else { continue };
        if let [word, name, rest @ ..] = words.as_slice()
            && ((word == "define" && rest.is_empty()) || word == "block")
        {
            out.insert(name.clone(), at + 1);
        }
    }
    out
}

#[derive(Debug)]
enum Part {
    Text(String),
    Action(Vec<String>),
}

/// The texts and actions of a template.
fn split(template: &str, options: Options<'_>) -> Result<Vec<Part>, String> {
    let Options { left, right, .. } = options;
    let mut out = Vec::new();
    let mut rest = template;
    let mut trim = false;
    while let Some(open) = rest.find(left) {
        let (before, after) = rest.split_at(open);
        let mut inner = after.get(left.len()..).unwrap_or_default();
        let mut text = if trim { before.trim_start() } else { before };
        if let Some(cut) = inner.strip_prefix("- ") {
            text = text.trim_end();
            inner = cut;
        }
        out.push(Part::Text(text.to_owned()));
        let end = end_of(inner, right).ok_or("Error parsing template: unclosed action")?;
        let (body, behind) = inner.split_at(end);
        rest = behind.get(right.len()..).unwrap_or_default();
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

/// Where the end of an action stands, strings and comments stepped over.
fn end_of(text: &str, right: &str) -> Option<usize> {
    let comment = text.trim_start();
    if comment.starts_with("/*") {
        // Behind the sign that begins it: `/*/` goes on.
        let begin = text.len() - comment.len() + 2;
        let end = begin + text.get(begin..)?.find("*/")?;
        return Some(end + text.get(end..)?.find(right)?);
    }
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text.get(i..).is_some_and(|t| t.starts_with(right)) => return Some(i),
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
    strict: bool,
    /// What is left of them.
    steps: &'p mut usize,
    source: &'p mut dyn Source,
    named: BTreeMap<String, usize>,
    /// How many `range` stand around.
    loops: usize,
    /// `break` or `continue`, until the end of what it ends: nothing more is done there.
    leaving: &'static str,
    /// What `scratch` was given.
    scratch: Map<String, Value>,
}

impl<'p> Run<'p> {
    fn spend(&mut self, steps: usize) -> Result<(), String> {
        let left = self.steps.checked_sub(steps);
        *self.steps = left.unwrap_or(0);
        left.map(drop).ok_or_else(|| "Error executing template: it does too much".to_owned())
    }

    fn print(&mut self, text: &str) -> Result<(), String> {
        if self.out.len() + text.len() > OUTPUT_MAX {
            return Err(format!("Error executing template: more than {OUTPUT_MAX} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    /// Runs (or, where not `live`, steps over) parts up to the end of a block: the word that ended
    /// it, `end` or `else`; empty at the end of the template.
    fn block(&mut self, dot: &Value, live: bool, depth: usize) -> Result<&'static str, String> {
        if depth > DEPTH_MAX {
            return Err("Error parsing template: nested too deeply".to_owned());
        }
        let parts: &'p [Part] = self.parts;
        while let Some(part) = parts.get(self.at) {
            self.at += 1;
            self.spend(1)?;
            let live = live && self.leaving.is_empty();
            let words = match part {
                Part::Text(text) => {
                    if live {
                        self.print(text)?;
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
                // Run where it is asked for by its name; a `block` is asked for at once.
                "define" | "block" => {
                    let loops = std::mem::take(&mut self.loops);
                    if self.block(dot, false, depth + 1)? != "end" {
                        return Err("Error parsing template: a block has no {{end}}".to_owned());
                    }
                    self.loops = loops;
                    if live && first == "block" {
                        self.template(rest, dot, depth)?;
                    }
                }
                "break" | "continue" if self.loops == 0 => {
                    return Err(format!(
                        "Error parsing template: {{{{{first}}}}} outside of range"
                    ));
                }
                _ if !live => {}
                "break" => self.leaving = "break",
                "continue" => self.leaving = "continue",
                "template" => self.template(rest, dot, depth)?,
                _ => {
                    if let [name, sign, rest @ ..] = words.as_slice()
                        && sign == "="
                    {
                        let value = self.pipeline(rest, dot, depth)?;
                        self.assign(name, value)?;
                        continue;
                    }
                    let (names, rest) = declared(words);
                    let value = self.pipeline(rest, dot, depth)?;
                    match names.first() {
                        Some(name) => self.vars.push((name.clone(), value)),
                        None => self.print(&shown(&value))?,
                    }
                }
            }
        }
        Ok("")
    }

    /// `$x = …` for a variable that is there.
    fn assign(&mut self, name: &str, value: Value) -> Result<(), String> {
        let found = self.vars.iter_mut().rev().find(|(n, _)| n == name);
        let Some((_, old)) = found else {
            return Err(format!("Error parsing template: undefined variable {name:?}"));
        };
        *old = value;
        Ok(())
    }

    /// `template "name" .`: the one of that name, with nothing of the variables around.
    fn template(&mut self, words: &[String], dot: &Value, depth: usize) -> Result<(), String> {
        let (name, rest) = words.split_first().ok_or("Error parsing template: no name")?;
        let begin = self.named.get(name).copied();
        let begin = begin.ok_or_else(|| {
            let name = name.trim_start_matches('"');
            format!("Error parsing template: template {name:?} not defined")
        })?;
        let value = if rest.is_empty() { Value::Null } else { self.pipeline(rest, dot, depth)? };
        let vars = std::mem::replace(&mut self.vars, vec![("$".to_owned(), value.clone())]);
        let at = std::mem::replace(&mut self.at, begin);
        let loops = std::mem::take(&mut self.loops);
        let ended = self.block(&value, true, depth + 1)?;
        (self.vars, self.at, self.loops) = (vars, at, loops);
        match ended {
            "end" => Ok(()),
            _ => Err("Error parsing template: a block has no {{end}}".to_owned()),
        }
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
        self.loops += 1;
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
            if std::mem::take(&mut self.leaving) == "break" {
                break;
            }
        }
        if items.is_empty() {
            ended = self.block(dot, false, depth + 1)?;
        }
        self.loops -= 1;
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
    fn pipeline(&mut self, words: &[String], dot: &Value, depth: usize) -> Result<Value, String> {
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
                        value = self.field(&value, path)?;
                        i += 1;
                    }
                    values.push(value);
                } else if i == 1 && (is_language(word) || self.source.knows(word)) {
                    function = Some(word.as_str());
                } else {
                    values.push(self.operand(word, dot)?);
                }
            }
            values.extend(last.take());
            last = Some(match function {
                Some(name) => {
                    let more = helpers::cost(name, &values);
                    self.spend(values.iter().map(weight).sum::<usize>().saturating_add(more))?;
                    let value = match self.source.call(name, &values) {
                        Some(value) => value?,
                        None if let Some(method) = name.strip_prefix("scratch.") => {
                            self.scratch(method, &values)?
                        }
                        None => helpers::call(name, &values)?,
                    };
                    self.spend(weight(&value))?;
                    value
                }
                None if values.len() == 1 => values.remove(0),
                None => return Err("Error executing template: no function to call".to_owned()),
            });
        }
        Ok(last.unwrap_or(Value::Null))
    }

    /// Values kept under names while the template runs.
    fn scratch(&mut self, method: &str, values: &[Value]) -> Result<Value, String> {
        let kept = &mut self.scratch;
        Ok(match (method, values) {
            ("Key", [Value::String(key)]) => kept.contains_key(key).into(),
            ("Get", [Value::String(key)]) => kept.get(key).cloned().unwrap_or_default(),
            ("Set" | "SetX", [Value::String(key), value]) => {
                if method == "Set" || !kept.contains_key(key) {
                    kept.insert(key.clone(), value.clone());
                }
                "".into()
            }
            ("MapSet" | "MapSetX", [Value::String(key), Value::String(inner), value])
                if let Value::Object(map) =
                    kept.entry(key).or_insert_with(|| Value::Object(Map::new())) =>
            {
                if method == "MapSet" || !map.contains_key(inner) {
                    map.insert(inner.clone(), value.clone());
                }
                "".into()
            }
            ("MapValues", [Value::String(key)]) => {
                kept.get(key).and_then(|map| parts_of(map, "Values")).unwrap_or_default()
            }
            _ => {
                return Err(format!(
                    "Error executing template: wrong method or arguments of scratch.{method}"
                ));
            }
        })
    }

    fn field(&mut self, value: &Value, path: &str) -> Result<Value, String> {
        let (value, cost) = field(value, path, self.strict)?;
        self.spend(cost)?;
        Ok(value)
    }

    fn operand(&mut self, word: &str, dot: &Value) -> Result<Value, String> {
        if let Some(text) = word.strip_prefix('"') {
            return Ok(text.into());
        }
        if word.starts_with('.') {
            return self.field(dot, word);
        }
        if word.starts_with('$') {
            let (name, path) = word.split_once('.').map_or((word, ""), |(n, p)| (n, p));
            let found = self.vars.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v);
            let missing = || format!("Error parsing template: undefined variable {name:?}");
            let (value, cost) = field(found.ok_or_else(missing)?, path, self.strict)?;
            self.spend(cost)?;
            return Ok(value);
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

/// The value at a path of names, and what its copy costs.
fn field(value: &Value, path: &str, strict: bool) -> Result<(Value, usize), String> {
    let mut at = value;
    for name in path.split('.').filter(|p| !p.is_empty()) {
        at = match at.get(name) {
            Some(inner) => inner,
            // A variable's items are texts here and objects with a value elsewhere.
            None if at.is_string() && name == "Value" => at,
            None if let Some(list) = parts_of(at, name) => {
                let cost = weight(&list);
                return Ok((list, cost));
            }
            None if strict => {
                return Err(format!("Error executing template: map has no entry for key {name:?}"));
            }
            None => &Value::Null,
        };
    }
    Ok((at.clone(), weight(at)))
}

/// The members of a map as a list.
fn parts_of(value: &Value, name: &str) -> Option<Value> {
    let map = value.as_object()?;
    match name {
        "Tuples" => Some(map.iter().map(|(k, v)| json!({"K": k, "V": v})).collect()),
        "Keys" => Some(map.keys().map(String::as_str).collect()),
        "Values" => Some(map.values().cloned().collect()),
        _ => None,
    }
}

/// How much there is to copy or to look at.
fn weight(value: &Value) -> usize {
    1 + match value {
        Value::String(s) => s.len() / 16,
        Value::Array(a) => a.iter().map(weight).sum(),
        Value::Object(o) => o.iter().map(|(k, v)| k.len() / 16 + weight(v)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

fn is_language(word: &str) -> bool {
    FUNCTIONS.contains(&word) || helpers::knows(word) || word.starts_with("scratch.")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("a{{/*/ }} */}}b", "ab"),
            ("{{$x := index . 0}}{{$x.Tags}} {{join $x.Tags \"+\"}}", "[x y] x+y"),
            ("{{if and (gt (len .) 1) (not false)}}many{{end}}", "many"),
            ("{{len .}}{{`raw \"}}`}}", "2raw \"}}"),
            (
                "{{define \"row\"}}<{{.ID}}{{template \"n\" .N}}>{{end}}\
                 {{range .}}{{template \"row\" .}}{{end}}{{define \"n\"}}:{{$}}{{end}}",
                "<a1:3><b2:0>",
            ),
            ("{{if .}}{{define \"x\"}}y{{end}}{{end}}{{template \"x\"}}", "y"),
            ("{{block \"x\" index . 0}}{{.ID}}{{end}}{{template \"x\" index . 1}}", "a1b2"),
            ("{{block \"x\" .}}a{{end}}{{define \"x\"}}b{{end}}", "b"),
            (
                "{{range loop 9}}{{if eq . 2}}{{continue}}{{end}}\
                 {{if gt . 4}}{{break}}x{{end}}{{.}}{{end}}!",
                "0134!",
            ),
            (
                "{{range loop 2}}{{range loop 3}}{{if eq . 1}}{{break}}{{else}}-{{end}}\
                 {{.}}{{end}};{{else}}none{{end}}",
                "-0;-0;",
            ),
            ("{{range .}}{{with .Tags}}{{continue}}{{end}}{{.ID}}{{end}}", "b2"),
        ] {
            assert_eq!(
                render(template, Options::default(), &v, &mut ()).as_deref(),
                Ok(text),
                "{template}"
            );
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
            "{{template \"x\"}}",
            "{{define \"x\"}}",
            "{{block \"x\" .}}",
            "{{block}}{{end}}",
            "{{break}}",
            "{{if false}}{{continue}}{{end}}",
            "{{range loop 1}}{{define \"x\"}}{{break}}{{end}}{{template \"x\"}}{{end}}",
            "{{range loop 1}}{{template \"x\"}}{{end}}{{define \"x\"}}{{continue}}{{end}}",
            "{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}",
            "{{define \"x\"}}{{$}}{{template \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}",
        ] {
            assert!(
                render(template, Options::default(), &json!({}), &mut ()).is_err(),
                "{template}"
            );
        }
        let deep = format!("{}{}", "{{if true}}".repeat(10_000), "{{end}}".repeat(10_000));
        assert!(render(&deep, Options::default(), &json!(1), &mut ()).is_err());
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(10_000), ")".repeat(10_000));
        assert!(render(&deep, Options::default(), &json!(1), &mut ()).is_err());
    }
}
