//! A part of YAML that people write by hand: mappings and lists in blocks or in brackets, scalars
//! plain, quoted or in blocks, comments. What it does not know (anchors, tags, several documents,
//! keys that are no scalars) is refused with its line.

#![deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use serde_json::{Map, Value};

use crate::limits::HCL_DEPTH_MAX;

/// A mistake, or something that is not read: its line, counted from 1, and a sentence.
pub type Wrong = (usize, String);

type Result<T> = std::result::Result<T, Wrong>;

/// A line that holds something.
#[derive(Clone, Copy)]
struct Line<'a> {
    /// From 1.
    number: usize,
    indent: usize,
    /// Without indentation, comment and white space at the end.
    text: &'a str,
}

struct Parser<'a> {
    /// All lines as they are, for scalars in blocks.
    raw: Vec<&'a str>,
    lines: Vec<Line<'a>>,
    at: usize,
    /// Lines that begin with a tab, the next one last; only those of scalars in blocks may.
    tabs: Vec<usize>,
}

/// Reads one document. An empty one is null.
///
/// # Errors
/// The first line that is not understood, and why.
pub fn parse(text: &str) -> Result<Value> {
    let raw: Vec<&str> = text.lines().collect();
    let (mut lines, mut tabs) = (Vec::new(), Vec::new());
    for (i, line) in raw.iter().enumerate() {
        let text = uncommented(line).trim_end();
        let body = text.trim_start_matches(' ');
        if body.starts_with('\t') {
            tabs.push(i + 1);
        }
        let begins = body == "---" && lines.is_empty();
        if !body.is_empty() && !begins {
            lines.push(Line { number: i + 1, indent: text.len() - body.len(), text: body });
        }
    }
    tabs.reverse();
    let mut parser = Parser { raw, lines, at: 0, tabs };
    let value = parser.document();
    match (parser.tabs.last(), &value) {
        (Some(tab), Err((line, _))) if line < tab => value,
        (Some(tab), _) => Err((*tab, "a tab in the indentation, use spaces".to_owned())),
        (None, _) => value,
    }
}

/// A line without its comment.
fn uncommented(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before == ' ' || before == '\t' => {
                return line.get(..at).unwrap_or_default();
            }
            // Within a word an apostrophe is one.
            (None, '"' | '\'') if BEFORE_QUOTE.contains(before) => quote = Some(c),
            (Some('"'), _) if before == '\\' => before = ' ',
            (Some(q), _) if q == c => quote = None,
            _ => {}
        }
        before = if before == '\\' && c == '\\' { ' ' } else { c };
    }
    line
}

/// What a quote stands behind that begins a scalar.
const BEFORE_QUOTE: &str = " \t[{,:";

/// Where the scalar in quotes ends that a text begins with, behind its closing quote; `None` where
/// it goes on, or is none.
fn quoted_end(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut signs = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = signs.next() {
        if c == '\\' && quote == '"' {
            signs.next();
        } else if c == quote {
            // Twice it stands for itself.
            if quote == '"' || signs.next_if(|(_, c)| *c == quote).is_none() {
                return Some(at + 1);
            }
        }
    }
    None
}

/// Brackets and quotes that are open behind what was read.
#[derive(Default)]
struct Open {
    brackets: i64,
    quote: Option<char>,
}

impl Open {
    /// Reads on.
    fn read(&mut self, text: &str) {
        let mut before = ' ';
        let mut signs = text.chars();
        while let Some(c) = signs.next() {
            match (self.quote, c) {
                (Some('"'), '\\') => drop(signs.next()),
                (Some(q), _) if q == c => self.quote = None,
                (None, '"' | '\'') if BEFORE_QUOTE.contains(before) => self.quote = Some(c),
                (None, '[' | '{') => self.brackets += 1,
                (None, ']' | '}') => self.brackets -= 1,
                _ => {}
            }
            before = c;
        }
    }
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Result<Value> {
        let Some(first) = self.peek() else { return Ok(Value::Null) };
        let value = self.block(first.indent, 0)?;
        match self.peek() {
            None => Ok(value),
            Some(l) if l.text == "---" => Err((l.number, "more than one document".to_owned())),
            Some(l) => Err((l.number, "the indentation fits nothing above".to_owned())),
        }
    }

    fn peek(&self) -> Option<Line<'a>> {
        self.lines.get(self.at).copied()
    }

    /// What stands at this indentation.
    fn block(&mut self, indent: usize, depth: usize) -> Result<Value> {
        let Some(line) = self.peek() else { return Ok(Value::Null) };
        if depth > HCL_DEPTH_MAX {
            return Err((line.number, "too deep".to_owned()));
        }
        if is_item(line.text) {
            return self.list(indent, depth);
        }
        if split_key(line.text).is_some() {
            return self.mapping(indent, depth);
        }
        self.at += 1;
        scalar(line.text, line.number)
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value> {
        let mut out = Vec::new();
        while let Some(line) = self.peek().filter(|l| l.indent == indent && is_item(l.text)) {
            let rest = line.text.get(1..).unwrap_or_default();
            let text = rest.trim_start();
            if text.is_empty() {
                self.at += 1;
                out.push(self.below(indent, false, depth)?);
                continue;
            }
            // The rest of the line stands where it stands, as the first line of a block.
            let inner = indent + 1 + rest.len() - text.len();
            if is_item(text) || split_key(text).is_some() {
                if let Some(slot) = self.lines.get_mut(self.at) {
                    *slot = Line { indent: inner, text, ..line };
                }
                out.push(self.block(inner, depth + 1)?);
            } else {
                self.at += 1;
                out.push(self.value(text, line, indent, depth)?);
            }
        }
        Ok(Value::Array(out))
    }

    fn mapping(&mut self, indent: usize, depth: usize) -> Result<Value> {
        let mut out = Map::new();
        while let Some(line) = self.peek().filter(|l| l.indent == indent && !is_item(l.text)) {
            let Some((key, rest)) = split_key(line.text) else {
                return Err((line.number, "a key and a colon are missing".to_owned()));
            };
            let key = match scalar(key, line.number)? {
                Value::String(key) => key,
                Value::Null => "null".to_owned(),
                other => other.to_string(),
            };
            if out.contains_key(&key) {
                return Err((line.number, format!("{key} stands here twice")));
            }
            self.at += 1;
            let value = match rest {
                "" => self.below(indent, true, depth)?,
                rest => self.value(rest, line, indent, depth)?,
            };
            out.insert(key, value);
        }
        if let Some(line) = self.peek().filter(|l| l.indent > indent) {
            return Err((line.number, "the indentation fits nothing above".to_owned()));
        }
        Ok(Value::Object(out))
    }

    /// What is indented more than the line before; below a key a list need not be.
    fn below(&mut self, indent: usize, of_key: bool, depth: usize) -> Result<Value> {
        match self.peek() {
            Some(l) if l.indent > indent => self.block(l.indent, depth + 1),
            Some(l) if of_key && l.indent == indent && is_item(l.text) => {
                self.list(indent, depth + 1)
            }
            _ => Ok(Value::Null),
        }
    }

    /// A value that begins on its key's line.
    fn value(&mut self, text: &str, line: Line<'a>, indent: usize, depth: usize) -> Result<Value> {
        match text.chars().next() {
            Some('|' | '>') => Ok(Value::String(self.folded(text, line, indent))),
            Some('[' | '{') => {
                let mut whole = text.to_owned();
                let mut open = Open::default();
                open.read(text);
                // Brackets may go on below.
                while open.brackets > 0 {
                    let Some(next) = self.peek() else { break };
                    open.read(next.text);
                    whole.push(' ');
                    whole.push_str(next.text);
                    self.at += 1;
                }
                let mut flow = Flow { rest: &whole, line: line.number };
                let value = flow.value(depth)?;
                match flow.rest.trim() {
                    "" => Ok(value),
                    rest => Err((line.number, format!("{rest:?} stands behind the value"))),
                }
            }
            _ => {
                let mut whole = text.to_owned();
                // A plain scalar may go on below.
                let quoted = text.starts_with(['"', '\'']);
                while let Some(next) = self.peek().filter(|l| !quoted && l.indent > indent) {
                    if split_key(next.text).is_some() || is_item(next.text) {
                        return Err((next.number, "the indentation fits nothing above".to_owned()));
                    }
                    whole.push(' ');
                    whole.push_str(next.text);
                    self.at += 1;
                }
                scalar(&whole, line.number)
            }
        }
    }

    /// A scalar in a block, `|` or `>`.
    fn folded(&mut self, head: &str, line: Line<'a>, indent: usize) -> String {
        let mut end = line.number;
        let mut inner = None;
        let mut out: Vec<&str> = Vec::new();
        for raw in self.raw.get(line.number..).unwrap_or_default() {
            let body = raw.trim_start_matches(' ');
            let depth = raw.len() - body.len();
            if !body.trim().is_empty() {
                if depth <= indent {
                    break;
                }
                inner.get_or_insert(depth);
            }
            out.push(raw.get(inner.unwrap_or(depth)..).unwrap_or_default());
            end += 1;
        }
        while self.peek().is_some_and(|l| l.number <= end) {
            self.at += 1;
        }
        while self.tabs.last().is_some_and(|tab| (line.number + 1..=end).contains(tab)) {
            self.tabs.pop();
        }
        let text = if head.starts_with('>') {
            let paragraphs: Vec<String> =
                out.split(|l| l.is_empty()).map(|lines| lines.join(" ")).collect();
            paragraphs.join("\n")
        } else {
            out.join("\n")
        };
        let text = text.trim_end_matches('\n');
        if head.contains('-') || text.is_empty() { text.to_owned() } else { format!("{text}\n") }
    }
}

/// A value as YAML, in blocks; strings and keys in quotes, as the reference prints them.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, value)) in map.iter().enumerate() {
                // The first one stands behind a dash, or begins the line.
                if at > 0 {
                    out.push_str(&pad);
                }
                out.push_str(&format!("{}:", Value::from(key.as_str())));
                match value {
                    Value::Object(inner) if !inner.is_empty() => {
                        out.push_str(&format!("\n{pad}  "));
                        block(value, indent + 2, out);
                    }
                    Value::Array(inner) if !inner.is_empty() => {
                        out.push_str(&format!("\n{pad}"));
                        block(value, indent, out);
                    }
                    plain => out.push_str(&format!(" {plain}\n")),
                }
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push_str(&pad);
                }
                out.push_str("- ");
                block(value, indent + 2, out);
            }
        }
        plain => out.push_str(&format!("{plain}\n")),
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// Key and value of a line of a mapping.
fn split_key(text: &str) -> Option<(&str, &str)> {
    let end = match text.chars().next()? {
        '"' | '\'' => quoted_end(text)?,
        '[' | '{' | '|' | '>' => return None,
        _ => {
            let colon = text.find(": ");
            colon.or_else(|| text.ends_with(':').then(|| text.len() - 1))?
        }
    };
    let rest = text.get(end..)?.trim_start().strip_prefix(':')?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    Some((text.get(..end)?, rest.trim()))
}

/// A scalar by its looks.
fn scalar(text: &str, line: usize) -> Result<Value> {
    if let Some(inner) = text.strip_prefix('"') {
        let inner = inner.strip_suffix('"').ok_or((line, "a quote is not closed".to_owned()))?;
        let json = format!("\"{inner}\"");
        return serde_json::from_str(&json).map_err(|_| (line, "malformed string".to_owned()));
    }
    if let Some(inner) = text.strip_prefix('\'') {
        let inner = inner.strip_suffix('\'').ok_or((line, "a quote is not closed".to_owned()))?;
        return Ok(Value::String(inner.replace("''", "'")));
    }
    if text.starts_with(['&', '*', '!', '%', '@', '`', '?']) {
        let what = "anchors, aliases, tags and directives are not read";
        return Err((line, format!("{what}: {text}")));
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => {
            let digits = text.trim_start_matches(['-', '+', '.']);
            let looks = digits.starts_with(|c: char| c.is_ascii_digit());
            let whole = text.parse::<i64>().ok().filter(|_| looks).map(Value::from);
            let float = || text.parse::<f64>().ok().filter(|n| looks && n.is_finite());
            let number = whole.or_else(|| float().map(Value::from));
            number.unwrap_or_else(|| Value::String(text.to_owned()))
        }
    })
}

/// Lists and mappings in brackets.
struct Flow<'a> {
    rest: &'a str,
    line: usize,
}

impl Flow<'_> {
    fn take(&mut self, sign: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > HCL_DEPTH_MAX {
            return Err((self.line, "too deep".to_owned()));
        }
        if self.take('[') {
            let mut out = Vec::new();
            while !self.take(']') {
                out.push(self.value(depth + 1)?);
                self.comma(']')?;
            }
            return Ok(Value::Array(out));
        }
        if self.take('{') {
            let mut out = Map::new();
            while !self.take('}') {
                let key = match self.scalar(":,}")? {
                    Value::String(key) => key,
                    other => other.to_string(),
                };
                let value = if self.take(':') { self.value(depth + 1)? } else { Value::Null };
                out.insert(key, value);
                self.comma('}')?;
            }
            return Ok(Value::Object(out));
        }
        self.scalar(",]}")
    }

    fn comma(&mut self, end: char) -> Result<()> {
        if self.take(',') || self.rest.trim_start().starts_with(end) {
            return Ok(());
        }
        Err((self.line, format!("a comma or {end:?} is missing")))
    }

    fn scalar(&mut self, ends: &str) -> Result<Value> {
        self.rest = self.rest.trim_start();
        let end = match self.rest.chars().next() {
            Some('"' | '\'') => quoted_end(self.rest),
            _ => self.rest.find(|c| ends.contains(c)),
        };
        let end = end.ok_or((self.line, "a bracket or a quote is not closed".to_owned()))?;
        let (text, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        scalar(text.trim(), self.line)
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "of tests")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_people_write_is_read() {
        let text = "---\n# top\nversion: '3.8' # old\nservices:\n  web:\n    image: \"nginx:1\"\n\
            \x20   command: [a, \"b, c\", 3]\n    ports:\n    - 80:80\n    - \"81:81\"\n\
            \x20   environment: {A: 1, B: x y}\n    on: true\n    none:\n    ratio: 0.5\n\
            \x20   script: |\n      one\n        two # kept\n\n      three\n    fold: >-\n      a\n\
            \x20     b\n    list:\n      - name: x\n        more: y\n      -\n        - 1\n\
            \x20   long: a\n      b\n    time: 1:30\n    url: http://x#y\n    it: it's # so\n";
        let value = parse(text).unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(
            value,
            json!({"version": "3.8", "services": {"web": {
                "image": "nginx:1", "command": ["a", "b, c", 3], "ports": ["80:80", "81:81"],
                "environment": {"A": 1, "B": "x y"}, "on": true, "none": null, "ratio": 0.5,
                "script": "one\n  two # kept\n\nthree\n", "fold": "a b",
                "list": [{"name": "x", "more": "y"}, [1]], "long": "a b", "time": "1:30",
                "url": "http://x#y", "it": "it's",
            }}})
        );
        assert_eq!(parse(""), Ok(Value::Null));
        assert_eq!(parse("- a\n- b: 1\n"), Ok(json!(["a", {"b": 1}])));
        assert_eq!(parse("a: [1,\n  2]\nb: 3"), Ok(json!({"a": [1, 2], "b": 3})));
        let quoted = "a: [\"sh\", \"echo \\\"x]\\\", y\", 'it''s', it's]\n\"b\\\"c\": 1\n'd''e': 2";
        let value = json!({"a": ["sh", "echo \"x]\", y", "it's", "it's"], "b\"c": 1, "d'e": 2});
        assert_eq!(parse(quoted), Ok(value));
        let tabbed = json!({"a": "x:\n\ty\n", "b": 1});
        assert_eq!(parse("a: |\n  x:\n  \ty\nb: 1"), Ok(tabbed));
        for (text, at) in [("a: |\n  \tx\n\tb: 1", 3), ("\ta: |\n  x", 1), ("a:\n\t- |\n  x", 2)] {
            assert_eq!(parse(text).map_err(|e| e.0), Err(at), "{text:?}");
        }
        // As long as it is, not as long as it is times its lines.
        let long = format!("[\n{}]", "1,\n".repeat(200_000));
        let read = parse(&format!("a: {long}")).map(|v| v.pointer("/a/199999").is_some());
        assert_eq!(read, Ok(true));
    }

    #[test]
    fn what_is_printed_reads_the_same() {
        let value = json!({
            "a": {"b": [1, {"c": "x: y", "d": [[], {}]}, ["p", ["q"]]], "e": null},
            "f": "line\n", "g": true, "h": 0.5,
        });
        let text = print(&value);
        assert_eq!(parse(&text), Ok(value), "{text}");
        assert_eq!(print(&json!({"a": [1, "b"]})), "\"a\":\n- 1\n- \"b\"\n");
    }

    #[test]
    fn what_is_not_read_is_told_with_its_line() {
        for (text, line) in [
            ("a: 1\nb: *x", 2),
            ("a: &x 1", 1),
            ("a: 1\n\tb: 2", 2),
            ("a: 1\n  b: 2", 2),
            ("a: 1\na: 2", 2),
            ("a: 1\n---\nb: 2", 2),
            ("a: [1", 1),
            ("a: \"x", 1),
            ("a:\n  b: 1\n c: 2", 3),
            ("a: 1\nword", 2),
        ] {
            let wrong = parse(text).err();
            assert_eq!(wrong.as_ref().map(|w| w.0), Some(line), "{text:?}: {wrong:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&format!("a: {deep}")).is_err());
        let deep: String = (0..2_000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        assert!(parse(&deep).is_err());
    }
}
