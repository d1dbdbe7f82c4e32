//! Signs of a text without its tree: for the one mistake that the parser cannot place well, for
//! nesting that it takes too long over, and for the usual form.
//!
//! What is code, text or comment must be the same here and for the parser, to the byte: brackets
//! that only the parser saw would be nested as deep as somebody likes.

use crate::limits::HCL_NESTING_MAX;
use hcl_edit::Ident;
use std::borrow::Cow;
use std::ops::Range;

/// What the place that is being read lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within<'a> {
    /// Braces of a block, and their byte.
    Block(usize),
    /// Braces of an expression, and their byte.
    Object(usize),
    /// A list, an index or parentheses.
    Brackets,
    /// A quoted string.
    String,
    /// A here document, and the mark that ends it.
    Document(&'a str),
    /// `${` or `%{` in a string or document.
    Template,
}

/// A way through a text, sign by sign.
struct Scan<'a> {
    text: &'a str,
    /// The byte that comes next.
    at: usize,
    /// From the outermost to the innermost.
    within: Vec<Within<'a>>,
    /// How many objects and templates are open.
    objects: usize,
    /// How many lists, indexes and parentheses are open.
    brackets: usize,
    /// The first byte of the sign before, of those that are code.
    before: u8,
    /// A string that is not closed ends with its line.
    lines: bool,
    /// Where documents without a line stand.
    empty: Vec<Range<usize>>,
}

impl<'a> Scan<'a> {
    const fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            within: Vec::new(),
            objects: 0,
            brackets: 0,
            before: b'\n',
            lines: false,
            empty: Vec::new(),
        }
    }

    /// Goes over one sign; a comment, an escape and the head of a document are one. False at the
    /// end of the text.
    fn step(&mut self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else { return false };
        self.at += match self.within.last() {
            Some(Within::String) => self.in_string(rest, first),
            Some(Within::Document(mark)) => {
                match rest.strip_prefix('\n').and_then(|line| marked(line, mark)) {
                    Some(length) => {
                        self.close();
                        1 + length
                    }
                    None => self.in_text(rest, first),
                }
            }
            _ => self.in_code(rest, first),
        };
        true
    }

    fn in_string(&mut self, rest: &str, first: char) -> usize {
        match first {
            '\\' => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            '"' => {
                self.close();
                1
            }
            '\n' if self.lines => {
                self.close();
                1
            }
            _ => self.in_text(rest, first),
        }
    }

    fn in_text(&mut self, rest: &str, first: char) -> usize {
        if rest.starts_with("$${") || rest.starts_with("%%{") {
            return 3;
        }
        if rest.starts_with("${") || rest.starts_with("%{") {
            self.open(Within::Template);
            return 2;
        }
        first.len_utf8()
    }

    fn in_code(&mut self, rest: &'a str, first: char) -> usize {
        let comment = comment(rest);
        if comment > 0 {
            return comment;
        }
        if first.is_ascii_whitespace() {
            return 1;
        }
        let before = std::mem::replace(&mut self.before, rest.as_bytes().first().map_or(0, |b| *b));
        match first {
            '"' => self.open(Within::String),
            '[' | '(' => self.open(Within::Brackets),
            '{' => {
                // What has a name before it is a block, unless it is in an expression.
                let named = before.is_ascii_alphanumeric() || b"_-\"\n".contains(&before);
                let block = named && self.objects == 0;
                let within = if block { Within::Block } else { Within::Object };
                self.open(within(self.at));
            }
            ']' | ')' if self.within.last() == Some(&Within::Brackets) => self.close(),
            '}' => {
                // Those that are still open in there are a mistake.
                while self.within.last() == Some(&Within::Brackets) {
                    self.close();
                }
                self.close();
            }
            '<' => {
                if let Some((mark, head)) = document(rest) {
                    let Some(length) = rest.get(head..).and_then(|line| marked(line, mark)) else {
                        self.open(Within::Document(mark));
                        return head;
                    };
                    self.empty.push(self.at..self.at + head + length);
                    return head + length;
                }
            }
            _ => {}
        }
        first.len_utf8()
    }

    fn open(&mut self, within: Within<'a>) {
        self.objects += usize::from(matches!(within, Within::Object(_) | Within::Template));
        self.brackets += usize::from(within == Within::Brackets);
        self.within.push(within);
    }

    fn close(&mut self) {
        let Some(within) = self.within.pop() else { return };
        self.objects -= usize::from(matches!(within, Within::Object(_) | Within::Template));
        self.brackets -= usize::from(within == Within::Brackets);
    }
}

/// The byte of the innermost brace that is still open at the end of the text.
///
/// Strings, comments and here documents are stepped over. `None` where all are closed.
pub(super) fn unclosed(text: &str) -> Option<usize> {
    let mut scan = Scan { lines: true, ..Scan::new(text) };
    while scan.step() {}
    let is_text = |w: &Within<'_>| matches!(w, Within::String | Within::Document(_));
    let code = scan.within.split(is_text).next().unwrap_or_default();
    code.iter().rev().find_map(|w| match w {
        Within::Block(at) | Within::Object(at) => Some(*at),
        _ => None,
    })
}

/// A text as the parser may have it, of the same length: for it a here document without a line
/// would end with the next one of the same mark, so it becomes `""`.
///
/// # Errors
///
/// The sign by which more than so many objects and templates are in each other, or with lists,
/// indexes and parentheses more than [`HCL_NESTING_MAX`]. The parser tries an object as key and as
/// value, and what is in brackets more than once, so that each level can double the time that a
/// mistake in the innermost one takes.
pub(super) fn readable(text: &str, most: usize) -> Result<Cow<'_, str>, usize> {
    let mut scan = Scan::new(text);
    let mut at = 0;
    while scan.step() {
        if scan.objects > most || scan.objects + scan.brackets > HCL_NESTING_MAX {
            return Err(at);
        }
        at = scan.at;
    }
    let mut text = Cow::Borrowed(text);
    for range in scan.empty {
        let value = format!("{:width$}", "\"\"", width = range.len());
        text.to_mut().replace_range(range, &value);
    }
    Ok(text)
}

/// Length of the string or here document at the head of a text, or of the sign.
pub(super) fn whole(text: &str) -> usize {
    let mut scan = Scan::new(text);
    while scan.step() && !scan.within.is_empty() {}
    scan.at
}

/// Length of the comment at the head of a text; 0 where none is.
pub(super) fn comment(text: &str) -> usize {
    if let Some(inner) = text.strip_prefix("/*") {
        return inner.find("*/").map_or(text.len(), |at| at + 4);
    }
    match text.starts_with('#') || text.starts_with("//") {
        true => text.find('\n').unwrap_or(text.len()),
        false => 0,
    }
}

/// The mark of the here document at the head of a text, and the length of its first line.
fn document(text: &str) -> Option<(&str, usize)> {
    let line = text.split_inclusive('\n').next()?.strip_suffix('\n')?;
    let mark = line.strip_prefix("<<")?;
    let mark = mark.strip_prefix('-').unwrap_or(mark);
    let mark = mark.strip_suffix('\r').unwrap_or(mark);
    Ident::try_new(mark).ok().map(|_| (mark, line.len() + 1))
}

/// Length up to behind the mark that a line begins with. For the parser the line may go on.
fn marked(line: &str, mark: &str) -> Option<usize> {
    let after = line.trim_start_matches([' ', '\t']).strip_prefix(mark)?;
    let goes_on = after.chars().next().is_some_and(|c| Ident::try_new(format!("_{c}")).is_ok());
    (!goes_on).then_some(line.len() - after.len())
}

#[cfg(test)]
mod tests {
    use super::{readable, unclosed, whole};

    #[test]
    fn strings_comments_and_documents_are_stepped_over() {
        for closed in [
            "a { b = \"{\" }",
            "a { # {\n}",
            "a { // {\n}",
            "a { /* { */ }",
            "a {\n b = <<EOF\n{{ x\nEOF\n}",
            "a {\n b = <<E-F\n{{ x\n EOF {\nE-Fx\n E-F\n}",
            "a { b = \"${c({d = \"}\"})}\" }",
            "a { b = \"${c(\"{\")}\" }",
            "a { b = \"${c /* \" */ }\" }",
        ] {
            assert_eq!(unclosed(closed), None, "{closed}");
        }
        assert_eq!(unclosed("a { b {"), Some(6));
        assert_eq!(unclosed("a { b = \"}\" "), Some(2));
        assert_eq!(unclosed("a { b = \"} \n c {"), Some(15));
        assert_eq!(unclosed("a { b = <<EOF\n c { ${ { "), Some(2));
    }

    #[test]
    fn a_document_ends_at_its_mark() {
        assert_eq!(whole("<<M\nx\nMM\n M, 2"), 11);
        assert_eq!(whole("<<-M\r\nM\r\n"), 7);
        assert_eq!(whole("<<M\n${\"\nM\n\"}\nM\n"), 14);
        assert_eq!(whole("<<M \nM\n"), 1);
        assert_eq!(whole("\"$$${\"\" }"), 6);
        assert_eq!(whole("\"\\\"\"\""), 4);
    }

    /// Places that were taken for text while the parser read code.
    #[test]
    fn nothing_hides_brackets() {
        let deep = "[".repeat(30);
        for head in [
            "a = <<M\nM ",
            "a = <<M\nx\nM, ",
            "a = <<M\n${\"\nM\n\" ",
            "a = \"\n \"",
            "a = \"${ /* \" */ ",
            "a = \"$$${\"",
            "a = <<M\n\" \nM\n b = ",
        ] {
            assert!(readable(&format!("{head}{deep}"), 12).is_err(), "{head}");
        }
        let text = "a = \"$${[[[[[[[[[[[[[[[[[[[[[\"\n# [[[[[[[[[[[[[[[[[[[[[[\n";
        assert_eq!(readable(text, 12).as_deref(), Ok(text));
    }

    #[test]
    fn an_empty_document_is_an_empty_text() {
        let text = "a = <<M\n  M\nb = <<M\nx\nM\n";
        assert_eq!(readable(text, 12).as_deref(), Ok("a = \"\"     \nb = <<M\nx\nM\n"));
        let body = crate::hcl::parse(text).expect("a text");
        assert_eq!(body.len(), 2, "{body:?}");
    }
}
