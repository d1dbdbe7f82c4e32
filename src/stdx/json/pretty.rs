//! Re-indents JSON without building a tree.

/// Appends canonical JSON `bytes` to `out` in the form of Go's `MarshalIndent`: four spaces a
/// level, `: ` after keys, `[]` and `{}` kept together, and a line feed at the end.
///
/// Works on what [`encode`](super::encode()) prints; on bytes that are not JSON it prints
/// something, and never panics.
pub fn pretty(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len().saturating_mul(2));
    let mut depth = 0usize;
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => rest = string(rest, out),
            b'{' | b'[' => {
                out.push(*byte);
                depth = depth.saturating_add(1);
                if rest.first().is_some_and(|b| matches!(b, b'}' | b']')) {
                    continue;
                }
                line(depth, out);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    line(depth, out);
                }
                out.push(*byte);
            }
            b',' => {
                out.push(b',');
                line(depth, out);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                // A number or a word: up to the next byte that stands for itself.
                let end = rest.iter().position(|b| b"{}[],:\" \t\r\n".contains(b));
                let (scalar, after) = rest.split_at(end.unwrap_or(rest.len()));
                out.push(*byte);
                out.extend_from_slice(scalar);
                rest = after;
            }
        }
    }
    out.push(b'\n');
}

/// Copies a string whose opening quote has been read; returns what follows it.
fn string<'a>(text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    out.push(b'"');
    let mut escaped = false;
    let end = text.iter().position(|b| {
        let ends = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        ends
    });
    let (content, rest) = text.split_at(end.map_or(text.len(), |e| e.saturating_add(1)));
    out.extend_from_slice(content);
    rest
}

fn line(depth: usize, out: &mut Vec<u8>) {
    const BLANKS: &[u8; 64] = &[b' '; 64];
    out.push(b'\n');
    let mut left = depth.saturating_mul(4);
    while left > 0 {
        let some = BLANKS.get(..left).unwrap_or(BLANKS);
        out.extend_from_slice(some);
        left = left.saturating_sub(some.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_indented_by_four() {
        for (input, expected) in [
            ("1", "1\n"),
            ("[]", "[]\n"),
            ("{}", "{}\n"),
            ("null", "null\n"),
            (
                r#"{"a":[1,{}],"b":"x\",{:[","c":[]}"#,
                "{\n    \"a\": [\n        1,\n        {}\n    ],\n    \
                 \"b\": \"x\\\",{:[\",\n    \"c\": []\n}\n",
            ),
        ] {
            let mut out = Vec::new();
            pretty(input.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn strange_bytes_do_no_harm() {
        for input in ["\"", "\"\\", "]]]]", "{[", "}{"] {
            let mut out = Vec::new();
            pretty(input.as_bytes(), &mut out);
            assert_eq!(out.last(), Some(&b'\n'));
        }
    }
}
