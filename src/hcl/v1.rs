//! HCL 1: the language of agent configurations and policies. Blocks, labels and plain values; no
//! expressions, no functions. Keys may be quoted, and lines end where they like.
//!
//! A JSON object is read too (for the places of its keys): `:` is as good as `=` there.

use std::ops::Range;

use crate::limits::{HCL_BYTES_MAX, HCL_DEPTH_MAX};
use crate::stdx::BTreeMap;
use crate::stdx::json::Any;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Scalar(Any),
    List(Vec<Self>),
    Object(Vec<Item>),
}

/// `key = value`, or `key "label" { … }` with the labels behind the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// At least one; each with its bytes in the text.
    pub keys: Vec<(String, Range<usize>)>,
    pub value: Node,
}

/// What is wrong with a text. Prints as `At line:column: text`, both from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub line: usize,
    pub column: usize,
    pub text: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "At {}:{}: {}", self.line, self.column, self.text)
    }
}

/// Line and column of a byte, both from 1; columns count characters.
pub fn place(text: &str, at: usize) -> (usize, usize) {
    let before: String = text.char_indices().take_while(|(i, _)| *i < at).map(|(_, c)| c).collect();
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

/// The items of a text.
pub fn parse(text: &str) -> Result<Vec<Item>, Wrong> {
    let fail = |(at, why): (usize, String)| {
        let (line, column) = place(text, at);
        Wrong { line, column, text: why }
    };
    if text.len() > HCL_BYTES_MAX {
        return Err(fail((0, format!("the text is longer than {HCL_BYTES_MAX} bytes"))));
    }
    let mut p = Parser { text, at: 0, depth: 0 };
    p.space().map_err(fail)?;
    let whole = p.peek() == Some(b'{');
    let items = p.items(!whole).map_err(fail)?;
    match items.as_slice() {
        // A document that is one object is its content.
        [Item { keys, value: Node::Object(inner) }] if whole && keys.is_empty() => {
            Ok(inner.clone())
        }
        _ => Ok(items),
    }
}

/// The items as a map. Blocks of one name become a list of them; of other values the last counts.
pub fn values(items: &[Item]) -> BTreeMap<String, Any> {
    let mut out = BTreeMap::new();
    for item in items {
        let mut keys = item.keys.iter().rev().map(|(k, _)| k.clone());
        let mut value = value(&item.value);
        let first = item.keys.len().saturating_sub(1);
        for key in keys.by_ref().take(first) {
            value = Any::Map(BTreeMap::from([(key, value)]));
        }
        let Some(key) = keys.next() else { continue };
        match (out.get_mut(&key), value) {
            (Some(Any::List(old)), Any::Map(new)) if is_blocks(old) => old.push(Any::Map(new)),
            (Some(Any::List(old)), Any::List(new)) if is_blocks(old) && is_blocks(&new) => {
                old.extend(new);
            }
            (Some(old @ Any::Map(_)), Any::Map(new)) => {
                let before = std::mem::replace(old, Any::Null);
                *old = Any::List(vec![before, Any::Map(new)]);
            }
            (_, value) => drop(out.insert(key, value)),
        }
    }
    out
}

fn is_blocks(list: &[Any]) -> bool {
    !list.is_empty() && list.iter().all(|v| matches!(v, Any::Map(_)))
}

fn value(node: &Node) -> Any {
    match node {
        Node::Scalar(v) => v.clone(),
        Node::List(items) => Any::List(items.iter().map(value).collect()),
        Node::Object(items) => Any::Map(values(items)),
    }
}

/// Where the key at a dotted path of lower case stands. Labels are not part of the path of what is
/// inside their block, as in the names of configuration keys.
pub fn find(items: &[Item], path: &str) -> Option<Range<usize>> {
    let (head, rest) = path.split_once('.').map_or((path, None), |(h, r)| (h, Some(r)));
    for item in items {
        let Some((key, range)) = item.keys.first() else { continue };
        if !key.eq_ignore_ascii_case(head) && !key.eq_ignore_ascii_case(path) {
            continue;
        }
        let Some(rest) = rest.filter(|_| !key.eq_ignore_ascii_case(path)) else {
            return Some(range.clone());
        };
        if let Some(found) = inside(&item.value, rest) {
            return Some(found);
        }
    }
    None
}

fn inside(node: &Node, path: &str) -> Option<Range<usize>> {
    match node {
        Node::Scalar(_) => None,
        Node::List(nodes) => nodes.iter().find_map(|n| inside(n, path)),
        Node::Object(items) => find(items, path),
    }
}

type Read<T> = Result<T, (usize, String)>;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fail<T>(&self, why: impl Into<String>) -> Read<T> {
        Err((self.at, why.into()))
    }

    /// What comes next, for messages.
    fn next_name(&self) -> &'static str {
        match self.peek() {
            None => "EOF",
            Some(b'{') => "LBRACE",
            Some(b'}') => "RBRACE",
            Some(b'[') => "LBRACK",
            Some(b']') => "RBRACK",
            Some(b'=') => "ASSIGN",
            Some(b',') => "COMMA",
            Some(b'"') => "STRING",
            Some(b'0'..=b'9' | b'-') => "NUMBER",
            Some(b) if b.is_ascii_alphabetic() || b == b'_' => "IDENT",
            Some(_) => "ILLEGAL",
        }
    }

    /// Steps over space and comments.
    fn space(&mut self) -> Read<()> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}']);
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with('#') || trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                let Some(end) = trimmed.find("*/") else {
                    return self.fail("comment not terminated");
                };
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    /// Items up to the closing brace (which is left) or the end of the text.
    fn items(&mut self, named: bool) -> Read<Vec<Item>> {
        let mut out = Vec::new();
        loop {
            self.space()?;
            match self.peek() {
                None | Some(b'}') if self.depth > 0 || self.peek().is_none() => return Ok(out),
                Some(b',') if !out.is_empty() => self.at += 1,
                Some(b'{') if !named && out.is_empty() => {
                    let value = self.value()?;
                    out.push(Item { keys: Vec::new(), value });
                }
                _ => out.push(self.item()?),
            }
        }
    }

    fn item(&mut self) -> Read<Item> {
        let mut keys: Vec<(String, Range<usize>)> = Vec::new();
        loop {
            self.space()?;
            let start = self.at;
            match self.peek() {
                Some(b'"') => {
                    let key = self.string()?;
                    keys.push((key, start..self.at));
                }
                Some(b) if b.is_ascii_alphabetic() || b == b'_' => {
                    let key = self.word().to_owned();
                    keys.push((key, start..self.at));
                }
                Some(b'=' | b':') if keys.len() == 1 => {
                    self.at += 1;
                    self.space()?;
                    return Ok(Item { keys, value: self.value()? });
                }
                Some(b'=' | b':') if keys.len() > 1 => {
                    return self.fail("nested object expected: LBRACE got: ASSIGN");
                }
                Some(b'{') if !keys.is_empty() => return Ok(Item { keys, value: self.value()? }),
                _ => {
                    let got = self.next_name();
                    let Some((key, _)) = keys.first() else {
                        return self.fail(format!("expected: IDENT | STRING got: {got}"));
                    };
                    return self.fail(format!(
                        "key '{key}' expected start of object ('{{') or assignment ('=')"
                    ));
                }
            }
        }
    }

    fn word(&mut self) -> &str {
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let start = self.at;
        let rest = self.rest();
        self.at += rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self) -> Read<Node> {
        if self.depth >= HCL_DEPTH_MAX {
            return self.fail("nested too deeply");
        }
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                self.depth += 1;
                let items = self.items(true)?;
                self.depth -= 1;
                if self.peek() != Some(b'}') {
                    let got = self.next_name();
                    return self.fail(format!("object expected closing RBRACE got: {got}"));
                }
                self.at += 1;
                Ok(Node::Object(items))
            }
            Some(b'[') => self.list(),
            Some(b'"') => Ok(Node::Scalar(Any::Text(self.string()?))),
            Some(b'<') => self.heredoc(),
            Some(b'0'..=b'9' | b'-' | b'.') => self.number(),
            Some(b) if b.is_ascii_alphabetic() => {
                let start = self.at;
                match self.word() {
                    "true" => Ok(Node::Scalar(Any::Bool(true))),
                    "false" => Ok(Node::Scalar(Any::Bool(false))),
                    "null" => Ok(Node::Scalar(Any::Null)),
                    other => Err((start, format!("Unknown token: IDENT {other}"))),
                }
            }
            _ => {
                let got = self.next_name();
                self.fail(format!("Unknown token: {got}"))
            }
        }
    }

    fn list(&mut self) -> Read<Node> {
        self.at += 1;
        self.depth += 1;
        let mut out = Vec::new();
        loop {
            self.space()?;
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(Node::List(out));
                }
                None => return self.fail("list expected closing RBRACK got: EOF"),
                Some(_) => out.push(self.value()?),
            }
            self.space()?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') | None => {}
                Some(_) => {
                    let got = self.next_name();
                    return self.fail(format!(
                        "error parsing list, expected comma or list end, got: {got}"
                    ));
                }
            }
        }
    }

    /// A quoted text. What stands in `${…}` is kept as it is.
    fn string(&mut self) -> Read<String> {
        let start = self.at;
        let mut out = String::new();
        let mut inner = 0_usize;
        let mut chars = self.text.get(start + 1..).unwrap_or_default().char_indices().peekable();
        let open = |start| (start, "literal not terminated".to_owned());
        while let Some((i, c)) = chars.next() {
            match c {
                '"' if inner == 0 => {
                    self.at = start + 1 + i + 1;
                    return Ok(out);
                }
                '\n' if inner == 0 => return Err(open(start)),
                '\\' if inner == 0 => {
                    let (_, escape) = chars.next().ok_or_else(|| open(start))?;
                    let wide = match escape {
                        'u' => 4,
                        'U' => 8,
                        'x' => 2,
                        _ => 0,
                    };
                    if wide > 0 {
                        let digits: String = chars.by_ref().take(wide).map(|(_, c)| c).collect();
                        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        // Half of a pair, which JSON writes for what lies far out.
                        out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
                        continue;
                    }
                    out.push(match escape {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'a' => '\u{7}',
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'v' => '\u{b}',
                        '"' | '\\' | '/' | '\'' => escape,
                        _ => return Err((start + 1 + i, "illegal char escape".to_owned())),
                    });
                }
                _ => {
                    if c == '$' && chars.peek().is_some_and(|(_, c)| *c == '{') {
                        inner += 1;
                        out.push(c);
                        out.extend(chars.next().map(|(_, c)| c));
                        continue;
                    }
                    match c {
                        '{' if inner > 0 => inner += 1,
                        '}' if inner > 0 => inner -= 1,
                        _ => {}
                    }
                    out.push(c);
                }
            }
        }
        Err(open(start))
    }

    /// `<<MARK` or `<<-MARK` up to the line that is the mark; the latter without its indent.
    fn heredoc(&mut self) -> Read<Node> {
        let rest = self.rest();
        let head = rest.find('\n').unwrap_or(rest.len());
        let Some(mark) = rest.get(..head).unwrap_or_default().trim_end().strip_prefix("<<") else {
            return self.fail("Unknown token: ILLEGAL");
        };
        let (mark, indented) = mark.strip_prefix('-').map_or((mark, false), |m| (m, true));
        if mark.is_empty() {
            return self.fail("heredoc anchor not found");
        }
        let mut length = (head + 1).min(rest.len());
        let mut lines: Vec<&str> = Vec::new();
        for line in rest.get(length..).unwrap_or_default().split_inclusive('\n') {
            length += line.len();
            let bare = line.trim_end_matches(['\n', '\r']);
            if bare.trim_start_matches([' ', '\t']) == mark {
                // The line feed stays: it ends the value.
                let indent = bare.len() - mark.len();
                let cut = |l: &str| {
                    let blank = l.len() - l.trim_start_matches([' ', '\t']).len();
                    l.get(if indented { indent.min(blank) } else { 0 }..).unwrap_or(l).to_owned()
                };
                let text: String = lines.iter().map(|l| cut(l)).collect();
                self.at += length;
                return Ok(Node::Scalar(Any::Text(text)));
            }
            lines.push(line);
        }
        self.fail("heredoc not terminated")
    }

    fn number(&mut self) -> Read<Node> {
        let start = self.at;
        let rest = self.rest();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        let text = rest.get(..rest.find(|c| !fits(c)).unwrap_or(rest.len())).unwrap_or_default();
        let bare = text.trim_start_matches('-');
        let number = match bare.strip_prefix("0x").or_else(|| bare.strip_prefix("0X")) {
            Some(digits) => i64::from_str_radix(digits, 16).ok().map(|n| n as f64),
            None if bare.len() > 1
                && bare.starts_with('0')
                && bare.bytes().all(|b| b.is_ascii_digit()) =>
            {
                i64::from_str_radix(bare, 8).ok().map(|n| n as f64)
            }
            None => bare.parse::<f64>().ok().filter(|n| n.is_finite()),
        };
        let Some(number) = number.filter(|_| text.len() - bare.len() <= 1) else {
            return Err((start, format!("{text:?} is no number")));
        };
        self.at += text.len();
        Ok(Node::Scalar(Any::Number(if text.starts_with('-') { -number } else { number })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(items) => {
                String::from_utf8(crate::stdx::json::encode(&Any::Map(values(&items)))).unwrap()
            }
            Err(wrong) => wrong.to_string(),
        }
    }

    #[test]
    fn texts_become_trees() {
        for (text, tree) in [
            ("", "{}"),
            (
                "a = 1\nb = \"x\" // c\n# d\n/* e */ c = [1, true, \"z\",]",
                r#"{"a":1.0,"b":"x","c":[1.0,true,"z"]}"#,
            ),
            ("a { b = 0x10 c = 010 d = -1.5 }", r#"{"a":{"b":16.0,"c":8.0,"d":-1.5}}"#),
            (
                "p \"x\" { c { e = true } }\np \"y\" {}",
                r#"{"p":[{"x":{"c":{"e":true}}},{"y":{}}]}"#,
            ),
            ("m { \"a.b\" = \"c\"\n d.e = \"f\" }", r#"{"m":{"a.b":"c","d.e":"f"}}"#),
            (
                "m = { a = \"${x {\"y\"} z}\", b = \"\\\"\\u00e9\" }",
                r#"{"m":{"a":"${x {\"y\"} z}","b":"\"é"}}"#,
            ),
            ("a = 1\na = 2", r#"{"a":2.0}"#),
            (
                "t = <<EOF\none\n  two\nEOF\nu = <<-X\n    a\n   b\n   X\n",
                r#"{"t":"one\n  two\n","u":" a\nb\n"}"#,
            ),
            ("{\"a\": {\"b\": [null, 1e2]}}", r#"{"a":{"b":[null,100.0]}}"#),
        ] {
            assert_eq!(read(text), tree, "{text}");
        }
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, wrong) in [
            ("namespace \"default\" {  ", "At 1:24: object expected closing RBRACE got: EOF"),
            ("a = \"x\nb = 1", "At 1:5: literal not terminated"),
            ("a\n", "At 2:1: key 'a' expected start of object ('{') or assignment ('=')"),
            ("a \"b\" = 1", "At 1:7: nested object expected: LBRACE got: ASSIGN"),
            ("a = [1 2]", "At 1:8: error parsing list, expected comma or list end, got: NUMBER"),
            ("a = yes", "At 1:5: Unknown token: IDENT yes"),
            ("é = 1", "At 1:1: expected: IDENT | STRING got: ILLEGAL"),
            ("}", "At 1:1: expected: IDENT | STRING got: RBRACE"),
            ("a = 1x", "At 1:5: \"1x\" is no number"),
        ] {
            assert_eq!(read(text), wrong, "{text}");
        }
        assert!(read(&"a {".repeat(100_000)).contains("nested too deeply"));
        assert!(read(&format!("a = {}", "[".repeat(100_000))).contains("nested too deeply"));
    }

    #[test]
    fn keys_are_found_by_their_path() {
        let text =
            "server {\n  enabled = true\n}\nclient { reserved { cpu = 5 } }\nServer { Bar = 1 }";
        let items = parse(text).unwrap();
        let at = |path| find(&items, path).map(|r| place(text, r.start));
        assert_eq!(at("server.enabled"), Some((2, 3)));
        assert_eq!(at("server.bar"), Some((5, 10)));
        assert_eq!(at("client.reserved.cpu"), Some((4, 21)));
        assert_eq!(at("client.nope"), None);
    }
}
