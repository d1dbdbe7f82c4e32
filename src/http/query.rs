//! The part of a target behind the `?`.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

use std::borrow::Cow;

/// Looks up parameters in a raw query string; the first of equal names counts, as in Go.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q>(&'q str);

impl<'q> Query<'q> {
    pub fn new(raw: &'q str) -> Self {
        Self(raw)
    }

    /// The decoded value; `Some("")` for a name without one.
    pub fn get(&self, name: &str) -> Option<Cow<'q, str>> {
        self.pairs().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// All values of a name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'q, str>> + 'a {
        self.pairs().filter(move |(n, _)| n == name).map(|(_, v)| v)
    }

    /// Decoded names and values. Pairs with a broken escape or a `;` are left out, as Go does.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'q, str>, Cow<'q, str>)> + use<'q> {
        self.0.split('&').filter(|p| !p.is_empty() && !p.contains(';')).filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decode(name, true)?, percent_decode(value, true)?))
        })
    }
}

/// Percent-encodes all but unreserved characters.
pub fn escape(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// Resolves `%XX`, and `+` where it stands for a space. `None` for a broken escape or for bytes
/// that are not UTF-8.
pub fn percent_decode(text: &str, plus: bool) -> Option<Cow<'_, str>> {
    if !text.bytes().any(|b| b == b'%' || (plus && b == b'+')) {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        out.push(match b {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high << 4 | low).ok()?
            }
            b'+' if plus => b' ',
            b => b,
        });
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// Appends a value for a query, all but unreserved characters as `%XX`.
pub fn percent_encode(text: &str, out: &mut String) {
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            let digit = |n: u8| char::from_digit(u32::from(n), 16).unwrap_or('0');
            out.extend(['%', digit(b >> 4), digit(b & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_first_counts() {
        let q = Query::new("a=1&b=x+y%2F&a=2&c&%64=d&bad=%zz&e=%e4");
        assert_eq!(q.get("a").as_deref(), Some("1"));
        assert_eq!(q.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(q.get("b").as_deref(), Some("x y/"));
        assert_eq!(q.get("c").as_deref(), Some(""));
        assert_eq!(q.get("d").as_deref(), Some("d"));
        for absent in ["bad", "e", "f"] {
            assert_eq!(q.get(absent), None, "{absent}");
        }
    }
}
