//! The usual form of a text in HCL: indentation, spaces, and `=` below `=`.
//!
//! Works on tokens and moves nothing but white space, so that the meaning stays. Strings, comments
//! and here documents are passed on as they are.

#![deny(clippy::indexing_slicing)]

use super::scan;

/// One word of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'a> {
    text: &'a str,
    kind: Kind,
    /// White space stood before it.
    spaced: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A name, a number, a string, or a sign of which it does not matter.
    Word,
    /// With spaces on both sides.
    Operator,
    Assign,
    Open,
    Close,
    Comma,
    Comment,
}

/// A line in the making.
#[derive(Default)]
struct Line {
    indent: usize,
    /// Up to the `=` that may be moved, or all of it.
    lead: String,
    /// From there on.
    assign: String,
    /// At the end of a line that holds something else.
    comment: String,
}

/// Brings a text into its usual form. One without mistakes of syntax means the same afterwards.
pub fn format(text: &str) -> String {
    let mut lines = Vec::new();
    // How many brackets each level of indentation was opened by.
    let mut levels: Vec<usize> = Vec::new();
    let mut rest = text.trim_end_matches([' ', '\t', '\r']);
    while !rest.is_empty() {
        let (tokens, left) = tokens(rest);
        rest = left;
        let opens = |t: &&Token<'_>| t.kind == Kind::Open;
        let closes = |t: &&Token<'_>| t.kind == Kind::Close;
        let (opened, mut closed) =
            (tokens.iter().filter(opens).count(), tokens.iter().filter(closes).count());
        let more = opened.saturating_sub(closed);
        closed = closed.saturating_sub(opened);
        while let Some(top) = levels.last_mut().filter(|_| closed > 0) {
            let taken = closed.min(*top);
            (*top, closed) = (*top - taken, closed - taken);
            if *top == 0 {
                levels.pop();
            }
        }
        lines.push(line(&tokens, levels.len() * 2));
        if more > 0 {
            levels.push(more);
        }
    }
    align(&mut lines);
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for line in &lines {
        let content = format!("{}{}{}", line.lead, line.assign, line.comment);
        if !content.is_empty() {
            out.extend(std::iter::repeat_n(' ', line.indent));
        }
        out.push_str(content.trim_end_matches([' ', '\t']));
        out.push('\n');
    }
    out
}

/// The tokens up to the end of the line, and what stands behind it. What goes over several lines
/// is one token.
fn tokens(text: &str) -> (Vec<Token<'_>>, &str) {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches([' ', '\t', '\r']);
        let spaced = trimmed.len() < rest.len();
        rest = trimmed;
        let Some(first) = rest.chars().next() else { return (out, rest) };
        if first == '\n' {
            return (out, rest.get(1..).unwrap_or_default());
        }
        let (length, kind) = token(rest, first);
        let (text, left) = rest.split_at_checked(length).unwrap_or((rest, ""));
        out.push(Token { text, kind, spaced });
        rest = left;
    }
}

/// Length and kind of the token that a text begins with.
fn token(rest: &str, first: char) -> (usize, Kind) {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '*');
    match first {
        '/' if rest.starts_with("/*") => (scan::comment(rest), Kind::Word),
        '#' | '/' if scan::comment(rest) > 0 => (scan::comment(rest), Kind::Comment),
        '"' => (scan::whole(rest), Kind::Word),
        '<' if rest.starts_with("<<") => (scan::whole(rest), Kind::Word),
        '{' | '[' | '(' => (1, Kind::Open),
        '}' | ']' | ')' => (1, Kind::Close),
        ',' => (1, Kind::Comma),
        _ if ["==", "!=", "<=", ">=", "=>", "&&", "||"].iter().any(|o| rest.starts_with(o)) => {
            (2, Kind::Operator)
        }
        '=' => (1, Kind::Assign),
        '?' => (1, Kind::Operator),
        c if is_word(c) => (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), Kind::Word),
        c => (c.len_utf8(), Kind::Word),
    }
}

/// Whether a space stands between two tokens.
fn apart(before: Token<'_>, after: Token<'_>) -> bool {
    match (before.kind, after.kind) {
        (_, Kind::Comma) => false,
        (Kind::Open, Kind::Close) => false,
        (Kind::Open, _) if before.text == "{" => true,
        (_, Kind::Close) if after.text == "}" => true,
        (Kind::Open, _) | (_, Kind::Close) => false,
        (Kind::Comma | Kind::Assign | Kind::Operator, _) => true,
        (_, Kind::Assign | Kind::Operator | Kind::Comment) => true,
        (_, Kind::Open) if after.text == "{" => true,
        _ => after.spaced,
    }
}

fn line(tokens: &[Token<'_>], indent: usize) -> Line {
    let mut out = Line { indent, ..Line::default() };
    let (code, comment) = match tokens.split_last() {
        Some((last, code)) if last.kind == Kind::Comment && !code.is_empty() => (code, Some(last)),
        _ => (tokens, None),
    };
    // Attributes whose value ends on the line stand below each other.
    let depth = code.iter().fold(0_isize, |n, t| match t.kind {
        Kind::Open => n + 1,
        Kind::Close => n - 1,
        _ => n,
    });
    let whole = depth == 0 && !code.iter().any(|t| t.text.contains('\n'));
    let assigns = matches!(code, [name, assign, ..]
        if name.kind == Kind::Word && assign.kind == Kind::Assign);
    let mut before: Option<Token<'_>> = None;
    for token in code {
        let moved = whole && assigns && (token.kind == Kind::Assign || !out.assign.is_empty());
        let part = if moved { &mut out.assign } else { &mut out.lead };
        if before.is_some_and(|b| apart(b, *token)) {
            part.push(' ');
        }
        part.push_str(token.text);
        before = Some(*token);
    }
    if let Some(comment) = comment {
        out.comment = format!(" {}", comment.text.trim_end());
    }
    out
}

/// Puts `=` below `=` and comments below comments, in lines that follow each other.
fn align(lines: &mut [Line]) {
    // Of what ends on the line.
    let width = |text: &str| text.rsplit('\n').next().unwrap_or_default().chars().count();
    for run in lines.chunk_by_mut(|a, b| {
        a.assign.is_empty() == b.assign.is_empty() && (a.indent, b.indent) == (b.indent, a.indent)
    }) {
        let most = run.iter().filter(|l| !l.assign.is_empty()).map(|l| width(&l.lead)).max();
        for line in run.iter_mut().filter(|l| !l.assign.is_empty()) {
            let missing = most.unwrap_or(0) - width(&line.lead);
            line.lead.extend(std::iter::repeat_n(' ', missing));
        }
    }
    for run in lines.chunk_by_mut(|a, b| a.comment.is_empty() == b.comment.is_empty()) {
        let wide = |l: &Line| l.indent + width(&l.lead) + width(&l.assign);
        let most = run.iter().map(wide).max().unwrap_or(0);
        for line in run.iter_mut().filter(|l| !l.comment.is_empty()) {
            let missing = most - wide(line);
            line.assign.extend(std::iter::repeat_n(' ', missing));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_get_their_usual_form_and_keep_it() {
        let text = "job \"web\"{\n datacenters=[\"dc1\",\"dc2\"]\n  a = 1\n\n\n\
            # a note\nlong_name=  2# end\n  b= \"x ${ f(\"{\") } = y\" // other\n\
            group   \"g\"   {\ncount=a==1?2:3\nargs = [\n\"a\",\n{ k=1 },\n]\n\
            m={}\n t = { a=1,b = [ 1 ,2 ] }\n\
            template {\ndata = <<EOF\n  kept   as = is\nEOF\n\ndestination=\"x\"\n}\n}\n}";
        let expected = "job \"web\" {\n  datacenters = [\"dc1\", \"dc2\"]\n  a           = 1\n\n\n\
            \x20 # a note\n  long_name = 2                   # end\n\
            \x20 b         = \"x ${ f(\"{\") } = y\" // other\n\
            \x20 group \"g\" {\n    count = a == 1 ? 2:3\n    args = [\n      \"a\",\n\
            \x20     { k = 1 },\n    ]\n    m = {}\n    t = { a = 1, b = [1, 2] }\n\
            \x20   template {\n      data = <<EOF\n  kept   as = is\nEOF\n\n\
            \x20     destination = \"x\"\n    }\n  }\n}\n";
        assert_eq!(format(text), expected);
        assert_eq!(format(expected), expected);
        let odd = "a = \"x\n  y $${ z\"\nlong = \"%%{\" # end\n";
        assert_eq!(format(odd), "a = \"x\n  y $${ z\"\nlong = \"%%{\" # end\n");
        assert_eq!(format("/*/ a  \"%{ */\n"), "/*/ a  \"%{ */\n");
        // What stands behind the mark of a document is no part of it.
        assert_eq!(format("q=<<M\nM#=\n#2\n  "), "q = <<M\nM #=\n#2\n");
        assert_eq!(format("q=[<<M\nx\n M,2]# y"), "q = [<<M\nx\n M, 2] # y\n");
        assert_eq!(format(""), "");
        assert_eq!(format("x = f([{\na = 1\n}])\n"), "x = f([{\n  a = 1\n}])\n");
    }

    #[test]
    fn every_example_means_the_same_afterwards() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/jobspec/hcl");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("examples") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let (Ok(before), true) = (crate::hcl::parse(&text), text.len() > 1) else { continue };
            let formatted = format(&text);
            let after = crate::hcl::parse(&formatted);
            assert_eq!(after.as_ref().ok(), Some(&before), "{path:?}\n{formatted}");
            assert_eq!(format(&formatted), formatted, "{path:?}");
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
    }
}
