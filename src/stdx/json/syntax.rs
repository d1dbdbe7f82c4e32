//! The syntax of JSON, with what is wrong in Go's words.
//!
//! Go reads a value to its end before it decodes, so a mistake in the syntax is reported before any
//! mistake in a type, wherever they are.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

/// Containers within containers up to here; as many as the typed reader takes.
pub(super) const DEPTH_MAX: usize = 127;

/// The end of the first value (one past its last byte), or what Go says of the bytes.
pub(super) fn check(bytes: &[u8]) -> Result<usize, String> {
    let mut scan = Scan::new(bytes);
    scan.value()?;
    Ok(scan.at)
}

/// How many bytes at the front stand for themselves in a string: no quote, no backslash, no
/// control character. Eight are looked at in one go.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Sets the top bit of the lowest byte that is zero, and perhaps of some above it.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0usize;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let low = word.wrapping_sub(ONES << 5) & !word;
        let quote = zero(word ^ 0x2222_2222_2222_2222);
        let slash = zero(word ^ 0x5c5c_5c5c_5c5c_5c5c);
        let hit = (low | quote | slash) & ONES << 7;
        if hit != 0 {
            return at.saturating_add((hit.trailing_zeros() >> 3) as usize);
        }
        at = at.saturating_add(8);
    }
    let special = |b: &u8| matches!(b, b'"' | b'\\' | ..0x20);
    at.saturating_add(rest.iter().position(special).unwrap_or(rest.len()))
}

/// The text between the quotes of a string that has passed [`check`]. What is not Unicode (invalid
/// UTF-8, an escaped surrogate without its other half) becomes U+FFFD.
pub(super) fn unescape(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut text = chunk.valid();
        while let Some((before, after)) = text.split_once('\\') {
            out.push_str(before);
            let (c, length) = escaped(after);
            out.push(c);
            text = after.get(length..).unwrap_or_default();
        }
        out.push_str(text);
        for _ in chunk.invalid() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
    out
}

/// The character of an escape without its backslash, and the bytes that it takes.
fn escaped(text: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..)?.strip_prefix('u')?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let plain = match text.bytes().next().unwrap_or_default() {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            // The second half is looked at only after a first half, so a pair is taken at once.
            let first = unit(0).unwrap_or_default();
            let second = text.get(5..6).filter(|t| *t == "\\").and_then(|_| unit(6));
            let mut pair = char::decode_utf16([first, second.unwrap_or_default()]);
            return match pair.next() {
                Some(Ok(c)) if c.len_utf16() == 2 => (c, 11),
                Some(Ok(c)) => (c, 5),
                _ => (char::REPLACEMENT_CHARACTER, 5),
            };
        }
        byte => char::from(byte),
    };
    (plain, 1)
}

/// A place in bytes, and what may follow there.
pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    /// Nothing but white space has been seen.
    pub(super) empty: bool,
}

impl<'a> Scan<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, empty: true }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.saturating_add(1);
        Some(byte)
    }

    /// The next byte that is not white space; it is consumed.
    pub(super) fn token(&mut self) -> Result<u8, String> {
        loop {
            match self.next() {
                None if self.empty => return Err("EOF".to_owned()),
                None => return Err(cut()),
                Some(b' ' | b'\t' | b'\r' | b'\n') => {}
                Some(byte) => {
                    self.empty = false;
                    return Ok(byte);
                }
            }
        }
    }

    /// One value. Containers are kept on a stack of their own, so depth costs no call stack.
    pub(super) fn value(&mut self) -> Result<(), String> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            // A value begins here.
            let byte = self.token()?;
            match byte {
                b'{' | b'[' => {
                    if open.len() >= DEPTH_MAX {
                        return Err(bad(byte, "exceeded max depth"));
                    }
                    open.push(byte);
                    let before = self.at;
                    let first = self.token()?;
                    match (byte, first) {
                        (b'{', b'}') | (b'[', b']') => {
                            open.pop();
                        }
                        (b'{', _) => {
                            self.key(first)?;
                            continue;
                        }
                        _ => {
                            self.at = before;
                            continue;
                        }
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number(byte)?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return Err(bad(byte, "looking for beginning of value")),
            }
            // A value has ended; so may have the containers around it.
            loop {
                let Some(container) = open.last() else { return Ok(()) };
                match (*container, self.token()?) {
                    (b'[', b',') => break,
                    (b'{', b',') => {
                        let first = self.token()?;
                        self.key(first)?;
                        break;
                    }
                    (b'[', b']') | (b'{', b'}') => {
                        open.pop();
                    }
                    (b'[', byte) => return Err(bad(byte, "after array element")),
                    (_, byte) => return Err(bad(byte, "after object key:value pair")),
                }
            }
        }
    }

    /// The rest of a key whose first byte is `first`, with the colon.
    fn key(&mut self, first: u8) -> Result<(), String> {
        if first != b'"' {
            return Err(bad(first, "looking for beginning of object key string"));
        }
        self.string()?;
        match self.token()? {
            b':' => Ok(()),
            byte => Err(bad(byte, "after object key")),
        }
    }

    pub(super) fn string(&mut self) -> Result<(), String> {
        loop {
            match self.next().ok_or_else(cut)? {
                b'"' => return Ok(()),
                b'\\' => match self.next().ok_or_else(cut)? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        for _ in 0..4 {
                            let byte = self.next().ok_or_else(cut)?;
                            if !byte.is_ascii_hexdigit() {
                                return Err(bad(byte, "in \\u hexadecimal character escape"));
                            }
                        }
                    }
                    byte => return Err(bad(byte, "in string escape code")),
                },
                byte if byte < 0x20 => return Err(bad(byte, "in string literal")),
                _ => {}
            }
        }
    }

    pub(super) fn number(&mut self, mut byte: u8) -> Result<(), String> {
        if byte == b'-' {
            byte = self.digit("in numeric literal")?;
        }
        if byte != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at = self.at.saturating_add(1);
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at = self.at.saturating_add(1);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at = self.at.saturating_add(1);
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }

    fn digit(&mut self, place: &str) -> Result<u8, String> {
        match self.next().ok_or_else(cut)? {
            byte if byte.is_ascii_digit() => Ok(byte),
            byte => Err(bad(byte, place)),
        }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at = self.at.saturating_add(1);
        }
    }

    /// The rest of a word whose first letter has been read.
    pub(super) fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes().skip(1) {
            let byte = self.next().ok_or_else(cut)?;
            if byte != expected {
                let expected = char::from(expected);
                return Err(bad(byte, &format!("in literal {word} (expecting '{expected}')")));
            }
        }
        Ok(())
    }
}

fn cut() -> String {
    "unexpected EOF".to_owned()
}

pub(super) fn bad(byte: u8, place: &str) -> String {
    let shown = match byte {
        b'\'' => "\\'".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        0x0b => "\\v".to_owned(),
        0x0c => "\\f".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\t' => "\\t".to_owned(),
        0..=0x1f | 0x7f => format!("\\x{byte:02x}"),
        0x80..=0xa0 | 0xad => format!("\\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    };
    format!("invalid character '{shown}' {place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named_as_go_names_them() {
        for (input, expected) in [
            ("", "EOF"),
            (" \n", "EOF"),
            ("{", "unexpected EOF"),
            ("\"a", "unexpected EOF"),
            ("-", "unexpected EOF"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[01]", "invalid character '1' after array element"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{'a':1}", "invalid character '\\'' looking for beginning of object key string"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e+x", "invalid character 'x' in exponent of numeric literal"),
            ("nul1", "invalid character '1' in literal null (expecting 'l')"),
            ("tree", "invalid character 'e' in literal true (expecting 'u')"),
            ("\u{1f}", "invalid character '\\x1f' looking for beginning of value"),
        ] {
            assert_eq!(check(input.as_bytes()), Err(expected.to_owned()), "{input}");
        }
        for (input, end) in [("1", 1), (" {\"a\":[1,{}]}x", 13), ("[[],[]] ", 7), ("-0.5e-3", 7)] {
            assert_eq!(check(input.as_bytes()), Ok(end), "{input}");
        }
    }
}
