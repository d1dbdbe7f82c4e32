//! Text → expression, by recursive descent.

use super::{Expr, Op};
use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX};

/// Size limit of a compiled pattern, bytes.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Parses a whole filter.
pub(super) fn parse(text: &str) -> Result<Expr, String> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(format!("filter is longer than {FILTER_BYTES_MAX} bytes"));
    }
    let mut p = Parser { text, at: 0, depth: 0, terms: 0, problem: None };
    p.space();
    let expr = p.or();
    p.space();
    let expr = match expr {
        Some(e) if p.at == text.len() => Some(e),
        Some(_) => p.expected(&["\"and\"", "\"or\"", "EOF"]),
        None => None,
    };
    expr.ok_or_else(|| p.problem.unwrap_or_else(|| "no match found".to_owned()))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    /// Comparisons so far; each is one level of the chain that `and` and `or` build.
    terms: usize,
    /// The first problem: where it is set, parsing ends.
    problem: Option<String>,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) -> bool {
        let from = self.at;
        while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.at > from
    }

    /// Fails here, in the words of the reference's parser generator.
    fn expected<T>(&mut self, what: &[&str]) -> Option<T> {
        let before = self.text.get(..self.at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let list = match what {
            [] => String::new(),
            [one] => (*one).to_owned(),
            [many @ .., last] => format!("{} or {last}", many.join(", ")),
        };
        self.fail(format!("{line}:{column} ({}): no match found, expected: {list}", self.at))
    }

    fn fail<T>(&mut self, text: String) -> Option<T> {
        self.problem.get_or_insert(text);
        None
    }

    /// A word with no letter behind it.
    fn word(&mut self, word: &str) -> bool {
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        if after.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return false;
        }
        self.at += word.len();
        true
    }

    fn or(&mut self) -> Option<Expr> {
        let mut left = self.and()?;
        loop {
            let from = self.at;
            if !(self.space() && self.word("or")) {
                self.at = from;
                return Some(left);
            }
            self.space();
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
    }

    fn and(&mut self) -> Option<Expr> {
        let mut left = self.not()?;
        loop {
            let from = self.at;
            if !(self.space() && self.word("and")) {
                self.at = from;
                return Some(left);
            }
            self.space();
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
    }

    fn not(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return self.fail(format!("filter is nested more than {FILTER_DEPTH_MAX} deep"));
        }
        let from = self.at;
        let out = if self.word("not") && self.space() {
            Expr::Not(Box::new(self.not()?))
        } else {
            self.at = from;
            self.group()?
        };
        self.depth -= 1;
        Some(out)
    }

    fn group(&mut self) -> Option<Expr> {
        if self.peek() != Some(b'(') {
            return self.comparison();
        }
        self.at += 1;
        self.space();
        let inner = self.or()?;
        self.space();
        if self.peek() != Some(b')') {
            return self.expected(&["\")\"", "\"and\"", "\"or\""]);
        }
        self.at += 1;
        Some(inner)
    }

    fn comparison(&mut self) -> Option<Expr> {
        self.terms += 1;
        if self.terms > FILTER_DEPTH_MAX {
            return self.fail(format!("filter has more than {FILTER_DEPTH_MAX} comparisons"));
        }
        let first_at = self.at;
        let first = self.operand()?;
        let spaced = self.space();
        let (word, negated) = self.operator(spaced)?;
        let (selector_at, selector, op, value) = match word {
            Word::Empty => (first_at, first, Op::Empty, String::new()),
            Word::In => {
                self.space();
                let at = self.at;
                (at, self.operand()?, Op::In, first.text)
            }
            Word::Equal | Word::Contains | Word::Matches => {
                self.space();
                let op = match word {
                    Word::Equal => Op::Equal,
                    Word::Matches => Op::Matches,
                    Word::Contains | Word::In | Word::Empty => Op::In,
                };
                (first_at, first, op, self.operand()?.text)
            }
        };
        let Some(path) = selector.path else {
            self.at = selector_at;
            return self.expected(&["\"(\"", "\"not\"", "selector"]);
        };
        let regex = if op == Op::Matches {
            let built = regex_lite::RegexBuilder::new(&value).size_limit(PATTERN_BYTES_MAX).build();
            match built {
                Ok(r) => Some(Box::new(r)),
                Err(e) => return self.fail(format!("failed to compile pattern {value:?}: {e}")),
            }
        } else {
            None
        };
        Some(Expr::Match { path, op, negated, value, regex })
    }

    /// The operator and whether it is negated. Words need a space in front.
    fn operator(&mut self, spaced: bool) -> Option<(Word, bool)> {
        for (sign, negated) in [("==", false), ("!=", true)] {
            if self.rest().starts_with(sign) {
                self.at += 2;
                return Some((Word::Equal, negated));
            }
        }
        let from = self.at;
        if spaced && self.word("is") && self.space() {
            let negated = self.word("not") && self.space();
            if self.word("empty") {
                return Some((Word::Empty, negated));
            }
        }
        self.at = from;
        if spaced {
            let negated = self.word("not") && self.space();
            for (text, word) in
                [("in", Word::In), ("contains", Word::Contains), ("matches", Word::Matches)]
            {
                if self.word(text) {
                    return Some((word, negated));
                }
            }
        }
        self.at = from;
        self.expected(&[
            "\"!=\"",
            "\"==\"",
            "\"contains\"",
            "\"in\"",
            "\"is\"",
            "\"matches\"",
            "\"not\"",
        ])
    }

    /// A selector or a value: which of both it is, its place decides.
    fn operand(&mut self) -> Option<Operand> {
        match self.peek() {
            Some(quote @ (b'"' | b'`')) => self.quoted(quote),
            Some(b) if b.is_ascii_digit() || b == b'-' => self.number(),
            Some(b) if b.is_ascii_alphabetic() || b == b'_' => self.name(),
            _ => self.expected(&["\"\\\"\"", "\"`\"", "[-0-9]", "[a-zA-Z]"]),
        }
    }

    fn quoted(&mut self, quote: u8) -> Option<Operand> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return self.expected(&[if quote == b'"' { "\"\\\"\"" } else { "\"`\"" }]);
            };
            self.at += c.len_utf8();
            if c == char::from(quote) {
                break;
            }
            if c == '\\' && quote == b'"' {
                let Some(escaped) = self.rest().chars().next() else { continue };
                self.at += escaped.len_utf8();
                text.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                });
            } else {
                text.push(c);
            }
        }
        // A pointer into the object; `~1` and `~0` are its escapes.
        let path = text
            .strip_prefix('/')
            .map(|p| p.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect());
        Some(Operand { text, path })
    }

    fn number(&mut self) -> Option<Operand> {
        let from = self.at;
        self.at += 1;
        while self.peek().is_some_and(|b| b.is_ascii_digit() || b == b'.') {
            self.at += 1;
        }
        Some(Operand { text: self.text.get(from..self.at)?.to_owned(), path: None })
    }

    fn name(&mut self) -> Option<Operand> {
        let from = self.at;
        let mut path = vec![self.identifier()];
        loop {
            let rest = self.rest();
            let next = rest.as_bytes().get(1).copied().unwrap_or(0);
            if rest.starts_with('.') && (next.is_ascii_alphanumeric() || next == b'_') {
                self.at += 1;
                path.push(self.identifier());
            } else if rest.starts_with("[\"") || rest.starts_with("[`") {
                self.at += 1;
                path.push(self.quoted(next)?.text);
                if self.peek() != Some(b']') {
                    return self.expected(&["\"]\""]);
                }
                self.at += 1;
            } else {
                break;
            }
        }
        Some(Operand { text: self.text.get(from..self.at)?.to_owned(), path: Some(path) })
    }

    fn identifier(&mut self) -> String {
        let word: String = self
            .rest()
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '-'))
            .collect();
        self.at += word.len();
        word
    }
}

#[derive(Clone, Copy)]
enum Word {
    Equal,
    In,
    Contains,
    Empty,
    Matches,
}

struct Operand {
    /// As a value.
    text: String,
    /// As a selector; `None` for numbers and text that is no pointer.
    path: Option<Vec<String>>,
}
