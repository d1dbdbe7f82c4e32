//! The first version of HCL, as far as policies are written in it: blocks with labels, values,
//! lists and objects; any number of them on a line. Texts of errors are those of its parser.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

/// How deep blocks and lists may lie in each other.
const DEPTH_MAX: usize = 32;

/// What stands behind a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Text, number or truth value, as text.
    Word(String),
    List(Vec<Self>),
    Object(Vec<Item>),
}

/// `namespace "default" { … }` has two keys, `policy = "read"` has one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    pub(super) keys: Vec<String>,
    pub(super) value: Value,
}

/// Reads a document of the language; JSON where it begins with a brace.
///
/// # Errors
/// What is wrong and where: `At 1:24: object expected closing RBRACE got: EOF`.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, String> {
    if text.trim_start().starts_with('{') {
        let value: serde_json::Value =
            crate::stdx::json::decode(text.as_bytes()).map_err(|e| e.to_string())?;
        return match of_json(value) {
            Value::Object(items) => Ok(items),
            Value::Word(_) | Value::List(_) => Err("object expected".to_owned()),
        };
    }
    let mut p = Parser { text, at: 0, token: Token::Eof, began: 0, depth: 0 };
    p.next()?;
    let items = p.items()?;
    match p.token {
        Token::Eof => Ok(items),
        _ => Err(p.fault(&format!("expected: IDENT | STRING | ASSIGN | LBRACE got: {}", p.name()))),
    }
}

fn of_json(value: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => Value::Word(String::new()),
        Json::Bool(b) => Value::Word(b.to_string()),
        Json::Number(n) => Value::Word(n.to_string()),
        Json::String(s) => Value::Word(s),
        Json::Array(list) => Value::List(list.into_iter().map(of_json).collect()),
        Json::Object(map) => {
            let item = |(key, value)| Item { keys: vec![key], value: of_json(value) };
            Value::Object(map.into_iter().map(item).collect())
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Eof,
    Ident(String),
    Text(String),
    Number(String),
    Sign(char),
}

struct Parser<'a> {
    text: &'a str,
    /// Behind the token.
    at: usize,
    token: Token,
    /// Where the token begins.
    began: usize,
    depth: usize,
}

type Result<T, E = String> = std::result::Result<T, E>;

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes).min(self.text.len());
    }

    fn fault(&self, why: &str) -> String {
        let before = self.text.get(..self.began).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        format!("At {line}:{}: {why}", column.saturating_add(1))
    }

    fn name(&self) -> &'static str {
        match self.token {
            Token::Eof => "EOF",
            Token::Ident(_) => "IDENT",
            Token::Text(_) => "STRING",
            Token::Number(_) => "NUMBER",
            Token::Sign('{') => "LBRACE",
            Token::Sign('}') => "RBRACE",
            Token::Sign('[') => "LBRACK",
            Token::Sign(']') => "RBRACK",
            Token::Sign('=') => "ASSIGN",
            Token::Sign(',') => "COMMA",
            Token::Sign(_) => "ILLEGAL",
        }
    }

    /// Goes on to the next token.
    fn next(&mut self) -> Result<()> {
        self.blanks()?;
        self.began = self.at;
        let Some(c) = self.rest().chars().next() else {
            self.token = Token::Eof;
            return Ok(());
        };
        match c {
            '{' | '}' | '[' | ']' | '=' | ',' => {
                self.skip(1);
                self.token = Token::Sign(c);
            }
            '"' => self.token = Token::Text(self.quoted()?),
            '<' if self.rest().starts_with("<<") => self.token = Token::Text(self.heredoc()?),
            '-' | '0'..='9' => {
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
                self.token = Token::Number(self.word(fits));
            }
            c if c.is_alphabetic() || c == '_' => {
                let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
                self.token = Token::Ident(self.word(fits));
            }
            _ => return Err(self.fault("illegal character")),
        }
        Ok(())
    }

    fn word(&mut self, fits: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default().to_owned();
        self.skip(end);
        word
    }

    /// White space and comments.
    fn blanks(&mut self) -> Result<()> {
        loop {
            let rest = self.rest();
            let end = if rest.starts_with('#') || rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else {
                    self.began = self.at;
                    return Err(self.fault("comment not terminated"));
                };
                end.saturating_add(2)
            } else {
                let trimmed = rest.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
                rest.len().saturating_sub(trimmed.len())
            };
            if end == 0 {
                return Ok(());
            }
            self.skip(end);
        }
    }

    fn quoted(&mut self) -> Result<String> {
        let mut out = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => out.push('\n'),
                    Some((_, 't')) => out.push('\t'),
                    Some((_, 'r')) => out.push('\r'),
                    Some((_, c @ ('"' | '\\'))) => out.push(c),
                    _ => return Err(self.fault("illegal char escape")),
                },
                None | Some((_, '\n')) => return Err(self.fault("literal not terminated")),
                Some((_, c)) => out.push(c),
            }
        };
        self.skip(end.saturating_add(1));
        Ok(out)
    }

    /// `<<END` up to a line of that word alone; with `<<-` it may be indented.
    fn heredoc(&mut self) -> Result<String> {
        let rest = self.rest().get(2..).unwrap_or_default();
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let Some((mark, body)) = rest.split_once('\n') else {
            return Err(self.fault("heredoc not terminated"));
        };
        let mark = mark.trim();
        let mut out = String::new();
        for line in body.split_inclusive('\n') {
            if !mark.is_empty() && line.trim() == mark {
                let left = body.as_ptr().addr();
                let used = line.as_ptr().addr().saturating_sub(left).saturating_add(line.len());
                let unused = body.len().saturating_sub(used);
                self.at = self.text.len().saturating_sub(unused);
                return Ok(out);
            }
            out.push_str(line);
        }
        Err(self.fault("heredoc not terminated"))
    }

    /// Items up to a closing brace or the end.
    fn items(&mut self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        while !matches!(self.token, Token::Eof | Token::Sign('}')) {
            items.push(self.item()?);
            if self.token == Token::Sign(',') {
                self.next()?;
            }
        }
        Ok(items)
    }

    fn item(&mut self) -> Result<Item> {
        let mut keys = Vec::new();
        loop {
            match std::mem::replace(&mut self.token, Token::Eof) {
                Token::Ident(key) | Token::Text(key) => {
                    keys.push(key);
                    self.next()?;
                }
                Token::Sign('=') if keys.len() == 1 => {
                    self.next()?;
                    let value = self.value()?;
                    return Ok(Item { keys, value });
                }
                Token::Sign('{') if !keys.is_empty() => {
                    let value = Value::Object(self.object()?);
                    return Ok(Item { keys, value });
                }
                other => {
                    self.token = other;
                    let last = keys.last().map_or("", String::as_str);
                    return Err(self.fault(&match &self.token {
                        Token::Sign('=') if !keys.is_empty() => {
                            "nested object expected: LBRACE got: ASSIGN".to_owned()
                        }
                        _ if keys.is_empty() => {
                            format!("expected: IDENT | STRING got: {}", self.name())
                        }
                        _ => format!(
                            "key '{last}' expected start of object ('{{') or assignment ('=')"
                        ),
                    }));
                }
            }
        }
    }

    /// Behind the opening brace.
    fn object(&mut self) -> Result<Vec<Item>> {
        self.deeper()?;
        self.next()?;
        let items = self.items()?;
        if self.token != Token::Sign('}') {
            let got = self.name();
            return Err(self.fault(&format!("object expected closing RBRACE got: {got}")));
        }
        self.depth = self.depth.saturating_sub(1);
        self.next()?;
        Ok(items)
    }

    fn value(&mut self) -> Result<Value> {
        match std::mem::replace(&mut self.token, Token::Eof) {
            Token::Text(word) | Token::Number(word) => {
                self.next()?;
                Ok(Value::Word(word))
            }
            Token::Ident(word) if word == "true" || word == "false" => {
                self.next()?;
                Ok(Value::Word(word))
            }
            Token::Sign('{') => Ok(Value::Object(self.object()?)),
            Token::Sign('[') => self.list(),
            other => {
                self.token = other;
                Err(self.fault(&format!("Unknown token: {}", self.name())))
            }
        }
    }

    /// Behind the opening bracket.
    fn list(&mut self) -> Result<Value> {
        self.deeper()?;
        self.next()?;
        let mut out = Vec::new();
        loop {
            if self.token == Token::Sign(']') {
                self.depth = self.depth.saturating_sub(1);
                self.next()?;
                return Ok(Value::List(out));
            }
            out.push(self.value()?);
            match self.token {
                Token::Sign(',') => self.next()?,
                Token::Sign(']') => {}
                _ => {
                    let got = self.name();
                    return Err(self.fault(&format!(
                        "error parsing list, expected comma or list end, got: {got}"
                    )));
                }
            }
        }
    }

    fn deeper(&mut self) -> Result<()> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEPTH_MAX {
            return Err(self.fault("objects lie too deep in each other"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Value {
        Value::Word(text.to_owned())
    }

    fn item(keys: &[&str], value: Value) -> Item {
        Item { keys: keys.iter().map(|k| (*k).to_owned()).collect(), value }
    }

    #[test]
    fn blocks_lists_and_comments() {
        let text = "# one\nnamespace \"a\" { policy = \"read\" x = [\"b\", 1,] } // two\n\
                    /* three */ node{policy=true}\nt = <<E\n a\nE\nu { }";
        let a = Value::Object(vec![
            item(&["policy"], word("read")),
            item(&["x"], Value::List(vec![word("b"), word("1")])),
        ]);
        assert_eq!(
            parse(text).unwrap(),
            [
                item(&["namespace", "a"], a),
                item(&["node"], Value::Object(vec![item(&["policy"], word("true"))])),
                item(&["t"], word(" a\n")),
                item(&["u"], Value::Object(vec![])),
            ]
        );
        assert_eq!(parse(r#" {"a":{"b":"c"}}"#).unwrap(), {
            vec![item(&["a"], Value::Object(vec![item(&["b"], word("c"))]))]
        });
    }

    #[test]
    fn faults_say_where() {
        for (text, fault) in [
            ("namespace \"default\" { ", "At 1:23: object expected closing RBRACE got: EOF"),
            ("nope {", "At 1:7: object expected closing RBRACE got: EOF"),
            ("a", "At 1:2: key 'a' expected start of object ('{') or assignment ('=')"),
            ("\n a = \"b", "At 2:6: literal not terminated"),
            ("a = b", "At 1:5: Unknown token: IDENT"),
            ("= 1", "At 1:1: expected: IDENT | STRING got: ASSIGN"),
            ("a = [1 2]", "At 1:8: error parsing list, expected comma or list end, got: NUMBER"),
            ("a }", "At 1:3: key 'a' expected start of object ('{') or assignment ('=')"),
            ("}", "At 1:1: expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACE"),
            ("a = <<E\nb", "At 1:5: heredoc not terminated"),
            ("/* a", "At 1:1: comment not terminated"),
            ("a ! b", "At 1:3: illegal character"),
        ] {
            assert_eq!(parse(text), Err(fault.to_owned()), "{text}");
        }
        let deep = format!("a = {}", "[".repeat(100_000));
        assert!(parse(&deep).unwrap_err().contains("too deep"));
    }
}
