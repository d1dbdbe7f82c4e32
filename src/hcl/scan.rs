//! Braces of a text, without the tree: for the one mistake that a parser cannot place well.

/// The byte of the innermost brace that is still open at the end of the text.
///
/// Strings, comments and here documents are stepped over. `None` where all are closed.
pub(super) fn unclosed(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut open: Vec<usize> = Vec::new();
    let mut i = 0;
    while let Some(byte) = bytes.get(i) {
        let rest = bytes.get(i..).unwrap_or_default();
        i += match byte {
            b'#' => line(rest),
            b'/' if rest.starts_with(b"//") => line(rest),
            b'/' if rest.starts_with(b"/*") => {
                rest.windows(2).skip(2).position(|w| w == b"*/").map_or(rest.len(), |n| n + 4)
            }
            b'"' => string(rest),
            b'<' if rest.starts_with(b"<<") => heredoc(rest),
            b'{' => {
                open.push(i);
                1
            }
            b'}' => {
                open.pop();
                1
            }
            _ => 1,
        };
    }
    open.pop()
}

/// Length up to the end of the line.
fn line(rest: &[u8]) -> usize {
    rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
}

/// Length of a quoted string with its interpolations; one that is not closed ends with its line.
fn string(rest: &[u8]) -> usize {
    let (mut i, mut depth) = (1, 0_usize);
    while let Some(byte) = rest.get(i) {
        match byte {
            b'\\' if depth == 0 => i += 1,
            b'"' if depth == 0 => return i + 1,
            b'\n' if depth == 0 => return i,
            b'$' | b'%' if rest.get(i + 1) == Some(&b'{') => {
                depth += 1;
                i += 1;
            }
            b'{' if depth > 0 => depth += 1,
            b'}' if depth > 0 => depth -= 1,
            _ => {}
        }
        i += 1;
    }
    rest.len()
}

/// Length of a here document, or of its two `<` where it is none.
fn heredoc(rest: &[u8]) -> usize {
    let head = line(rest);
    let mark = rest.get(2..head).unwrap_or_default().trim_ascii();
    let mark = mark.strip_prefix(b"-").unwrap_or(mark).trim_ascii();
    if mark.is_empty() || !mark.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') {
        return 2;
    }
    let mut at = head;
    for l in rest.get(head..).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
        at += l.len();
        if l.trim_ascii() == mark {
            return at;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::unclosed;

    #[test]
    fn strings_comments_and_documents_are_stepped_over() {
        for closed in [
            "a { b = \"{\" }",
            "a { # {\n}",
            "a { // {\n}",
            "a { /* { */ }",
            "a {\n b = <<EOF\n{{ x\nEOF\n}",
            "a { b = \"${c({d = \"}\"})}\" }",
        ] {
            assert_eq!(unclosed(closed), None, "{closed}");
        }
        assert_eq!(unclosed("a { b {"), Some(6));
        assert_eq!(unclosed("a { b = \"}\" "), Some(2));
    }
}
