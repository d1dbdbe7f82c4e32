//! HCL2: text to tree (by `hcl-edit`), tree to values (ours, since references that only the client
//! can resolve must stay as text), and diagnostics with places.
//!
//! Pure, and safe against hostile texts: length and nesting are bounded, and evaluation has a
//! budget of steps and of bytes.

#![deny(clippy::panic, clippy::expect_used)]

pub mod convert;
pub mod diag;
pub mod disk;
pub mod eval;
pub mod format;
mod functions;
mod scan;
pub mod types;
pub mod v1;
pub mod yaml;

pub use diag::{Diagnostic, Source};
pub use eval::Scope;
pub use hcl_edit::Span;
pub use hcl_edit::expr::Expression;
pub use hcl_edit::structure::{Attribute, Block, BlockLabel, Body, Structure};

use crate::limits::{HCL_BYTES_MAX, HCL_ERRORS_MAX, HCL_NESTING_MAX, HCL_OBJECTS_MAX};
use std::borrow::Cow;

/// The tree of a text, or every mistake of its syntax that can be told apart.
///
/// The parser stops at the first mistake. For the next one the line with the mistake is blanked,
/// and what is left is read again, at most [`HCL_ERRORS_MAX`] times.
pub fn parse(text: &str) -> Result<Body, Vec<Diagnostic>> {
    if text.len() > HCL_BYTES_MAX {
        let detail = format!("It has {} bytes; at most {HCL_BYTES_MAX} are read.", text.len());
        return Err(vec![Diagnostic::new(Some(0..0), "Text too long", detail)]);
    }
    let text = &*readable(text).map_err(|deep| vec![deep])?;
    let first = match hcl_edit::parser::parse_body(text) {
        Ok(body) => return Ok(body),
        Err(e) => e,
    };
    if let Some(open) = scan::unclosed(text) {
        return Err(vec![Diagnostic::new(
            Some(open..open + 1),
            "Unclosed configuration block",
            "There is no closing brace for this block before the end of the file. This may be \
             caused by incorrect brace nesting elsewhere in this file.",
        )]);
    }
    let mut left = text.to_owned();
    let mut error = first;
    let mut out: Vec<Diagnostic> = Vec::new();
    loop {
        let at = error.location().offset().min(text.len());
        out.push(explained(text, at, error.message()));
        // A long text is not read over and over.
        let again = (out.len() + 1).saturating_mul(text.len()) <= HCL_BYTES_MAX;
        if !again || out.len() >= HCL_ERRORS_MAX || !blank(&mut left, at) {
            return Err(out);
        }
        match hcl_edit::parser::parse_body(&left) {
            Ok(_) => return Err(out),
            Err(next) if next.location().offset() <= at => return Err(out),
            Err(next) => error = next,
        }
    }
}

/// The value that a text stands for where it is an expression: what follows `-var name=`.
pub fn parse_expr(text: &str) -> Result<Expression, Diagnostic> {
    if text.len() > HCL_BYTES_MAX {
        return Err(Diagnostic::new(
            Some(0..0),
            "Text too long",
            "It is longer than any job may be.",
        ));
    }
    // Written behind a sign, so that its braces count as those of an expression.
    let signed = format!("={text}");
    let read = readable(&signed)
        .map_err(|deep| Diagnostic { range: Some(0..text.len().min(1)), ..deep })?;
    hcl_edit::parser::parse_expr(read.get(1..).unwrap_or_default())
        .map_err(|e| explained(text, e.location().offset().min(text.len()), e.message()))
}

/// A text as the parser may have it, unless too much in it lies in each other.
fn readable(text: &str) -> Result<Cow<'_, str>, Diagnostic> {
    scan::readable(text, HCL_OBJECTS_MAX).map_err(|at| {
        let detail = format!(
            "Objects may lie {HCL_OBJECTS_MAX} deep in each other, with lists, indexes and \
             parentheses {HCL_NESTING_MAX} deep."
        );
        Diagnostic::new(Some(at..at + 1), "Nested too deeply", detail)
    })
}

/// A mistake of the syntax, in the words of the parser.
fn explained(text: &str, at: usize, message: &str) -> Diagnostic {
    let mut start = at;
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let length = text.get(start..).and_then(|t| t.chars().next()).map_or(0, char::len_utf8);
    let message = message.replace('\n', "; ");
    Diagnostic::new(Some(start..start + length), "Invalid syntax", format!("{message}."))
}

/// Takes the line of a mistake out, but for its braces, so that blocks stay closed. False where
/// that changes nothing.
fn blank(text: &mut String, at: usize) -> bool {
    let bytes = text.as_bytes();
    let at = at.min(bytes.len().saturating_sub(1));
    let start = bytes.iter().take(at).rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
    let end = bytes.iter().skip(start).position(|b| *b == b'\n').map_or(bytes.len(), |i| start + i);
    let Some(line) = text.get(start..end) else { return false };
    if line.trim().is_empty() {
        return false;
    }
    let kept: Vec<u8> = match (line.matches('{').count(), line.matches('}').count()) {
        // A block begins here: what its head was does not matter any more.
        (1, 0) => [b"blanked {".to_vec(), vec![b' '; line.len().saturating_sub(9)]].concat(),
        (0, 1) => [vec![b'}'], vec![b' '; line.len() - 1]].concat(),
        _ => vec![b' '; line.len()],
    };
    let Ok(kept) = String::from_utf8(kept) else { return false };
    if kept.len() != line.len() || kept == line {
        return false;
    }
    text.replace_range(start..end, &kept);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> String {
        Source { name: "t", text }.lines(&parse(text).unwrap_err())
    }

    #[test]
    fn an_open_block_is_shown_at_its_brace() {
        assert!(errors("job \"x\" {").starts_with("t:1,9-10: Unclosed configuration block; "));
        assert!(errors("a {\n b { }\n").starts_with("t:1,3-4: Unclosed"));
    }

    #[test]
    fn each_mistake_is_told() {
        let all = errors("a = \nb = 1\nc = = 2\nd {\n  e = ]\n}\n");
        assert_eq!(all.lines().count(), 3, "{all}");
        assert!(all.contains("t:1,") && all.contains("t:3,") && all.contains("t:5,"), "{all}");
    }

    #[test]
    fn deep_and_long_texts_are_refused() {
        let deep = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep).is_err());
        let blocks = format!("{}{}", "a {\n".repeat(50_000), "}\n".repeat(50_000));
        assert!(parse(&blocks).is_err());
        assert!(errors(&" ".repeat(HCL_BYTES_MAX + 1)).contains("Text too long"));
    }

    /// A few hundred bytes of these kept the parser busy for minutes.
    #[test]
    fn objects_in_objects_are_few() {
        for piece in ["[{a", "{a", "{a = b + c / ", "({", "\"${{a = \""] {
            for text in [format!("a = {}", piece.repeat(30)), format!("a = {}", piece.repeat(13))] {
                assert!(errors(&text).contains("Nested too deeply"), "{text}");
                assert!(parse_expr(&text[4..]).is_err());
            }
        }
        let nested = |n: usize| format!("a {{\nb = {}1{}\n}}", "{ c = ".repeat(n), " }".repeat(n));
        assert!(parse(&nested(HCL_OBJECTS_MAX)).is_ok());
        assert!(parse(&nested(HCL_OBJECTS_MAX + 1)).is_err());
        // Each open bracket doubles the time that the mistake at the end takes.
        for unit in ["A[0*Q*", "(0*Q*"] {
            assert!(parse(&format!("x = {}5*R*\"", unit.repeat(24))).is_err());
        }
        let lists = |n: usize| format!("x = {}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(&lists(HCL_NESTING_MAX)).is_ok());
        assert!(parse(&lists(HCL_NESTING_MAX + 1)).is_err());
        // Blocks are not objects, nor is what strings and comments hold.
        let blocks = format!("{}{}", "a /* { */ {\n".repeat(14), "}\n".repeat(14));
        assert!(parse(&blocks).is_ok());
        assert!(parse(&format!("a = \"{}\" # {{{{", "{".repeat(40))).is_ok());
    }
}
