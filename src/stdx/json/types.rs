//! Wrappers that print and read values by the API's rules.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use serde::{Serialize, Serializer};

use crate::stdx::{BTreeMap, sort, time};

/// For `skip_serializing_if`: true for the zero value of a type.
pub fn is_zero<T: Default + PartialEq>(t: &T) -> bool {
    *t == T::default()
}

/// A list that prints `null` when empty and reads `null` as empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for List<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.0
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(v: Vec<T>) -> Self {
        Self(v)
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(i: I) -> Self {
        Self(i.into_iter().collect())
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Serialize> Serialize for List<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() { s.serialize_none() } else { self.0.serialize(s) }
    }
}

/// A map with text keys in byte order that prints `null` when empty and reads `null` as empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map<T>(pub BTreeMap<String, T>);

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Deref for Map<T> {
    type Target = BTreeMap<String, T>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for Map<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T> From<BTreeMap<String, T>> for Map<T> {
    fn from(m: BTreeMap<String, T>) -> Self {
        Self(m)
    }
}

impl<T> FromIterator<(String, T)> for Map<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(i: I) -> Self {
        Self(sort::gather(i))
    }
}

impl<'a, T> IntoIterator for &'a Map<T> {
    type Item = (&'a String, &'a T);
    type IntoIter = crate::stdx::ordered::Iter<'a, String, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Serialize> Serialize for Map<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() { s.serialize_none() } else { self.0.serialize(s) }
    }
}

/// Numbers by name, in the byte order of the names; prints as [`Map`] does. Names that the program
/// gives cost nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Numbers(pub Vec<(Cow<'static, str>, f64)>);

impl Numbers {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &f64)> {
        self.0.iter().map(|(name, n)| (&**name, n))
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() { s.serialize_none() } else { s.collect_map(self.iter()) }
    }
}

/// A point in time: nanoseconds since the epoch. Zero prints `null`, all else RFC 3339 in UTC with
/// up to nine digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0 == 0 { s.serialize_none() } else { s.collect_str(&time::Rfc3339(self.0)) }
    }
}

/// A length of time in nanoseconds: prints the number, reads a number or text as `"24h"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(pub i64);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64(self.0)
    }
}

/// Bytes: standard base64 in JSON, `null` when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Bytes {
    /// Standard base64 with padding.
    pub fn encode(bytes: &[u8]) -> String {
        let mut out = vec![b'='; bytes.len().div_ceil(3) * 4];
        let (quads, _) = out.as_chunks_mut::<4>();
        let (whole, rest) = bytes.as_chunks::<3>();
        let mut quads = quads.iter_mut();
        for ([a, b, c], quad) in whole.iter().zip(&mut quads) {
            *quad = four(*a, *b, *c);
        }
        if let Some(quad) = quads.next() {
            let mut last = [0; 3];
            last[..rest.len()].copy_from_slice(rest);
            let [a, b, c] = last;
            quad[..=rest.len()].copy_from_slice(&four(a, b, c)[..=rest.len()]);
        }
        String::from_utf8(out).unwrap_or_default()
    }

    /// Base64 with the letters of URLs and without padding.
    pub fn encode_url(bytes: &[u8]) -> String {
        let text = Self::encode(bytes);
        text.trim_end_matches('=').replace('+', "-").replace('/', "_")
    }

    /// `None` for anything that is not what [`Self::encode_url`] makes.
    pub fn decode_url(text: &str) -> Option<Vec<u8>> {
        if text.contains(['+', '/', '=']) {
            return None;
        }
        let mut text = text.replace('-', "+").replace('_', "/");
        while !text.len().is_multiple_of(4) {
            text.push('=');
        }
        Self::decode(&text)
    }

    /// `None` for anything that is not padded standard base64.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        let (quads, rest) = text.as_bytes().as_chunks::<4>();
        if !rest.is_empty() {
            return None;
        }
        let mut out = vec![0; quads.len() * 3];
        let pad = text.bytes().rev().take_while(|b| *b == b'=').count();
        if pad > 2 {
            return None;
        }
        let (threes, _) = out.as_chunks_mut::<3>();
        let last = threes.len().saturating_sub(1);
        for (at, (quad, three)) in quads.iter().zip(threes).enumerate() {
            let kept = if at == last { 4 - pad } else { 4 };
            let mut n = 0u32;
            for b in &quad[..kept] {
                // 64 and more: no digit.
                let digit = DIGITS[usize::from(*b)];
                n = n << 6 | u32::from(digit);
                if digit > 63 {
                    return None;
                }
            }
            let [_, a, b, c] = (n << (6 * (4 - kept))).to_be_bytes();
            *three = [a, b, c];
        }
        out.truncate(out.len() - pad);
        Some(out)
    }
}

/// Four digits for three bytes.
fn four(a: u8, b: u8, c: u8) -> [u8; 4] {
    let n = u32::from_be_bytes([0, a, b, c]);
    let digit = |n: u32| BASE64[(n & 63) as usize];
    [digit(n >> 18), digit(n >> 12), digit(n >> 6), digit(n)]
}

/// The place in [`BASE64`] of each byte; 255: none.
static DIGITS: [u8; 256] = {
    let mut out = [255; 256];
    let mut at = 0;
    while at < BASE64.len() {
        out[BASE64[at] as usize] = at as u8;
        at += 1;
    }
    out
};

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if self.0.is_empty() { s.serialize_none() } else { s.serialize_str(&Self::encode(&self.0)) }
    }
}

/// The text of a value, as it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raw(pub String);

/// A value of free form, such as a driver's `Config`. Every number is a float, as in the reference,
/// and prints with a fraction.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Any {
    #[default]
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

impl Any {
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(t) = self { Some(t) } else { None }
    }

    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(l) = self { Some(l) } else { None }
    }
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => s.serialize_none(),
            Self::Bool(b) => s.serialize_bool(*b),
            Self::Number(n) => s.serialize_f64(*n),
            Self::Text(t) => s.serialize_str(t),
            Self::List(l) => l.serialize(s),
            Self::Map(m) => m.serialize(s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::json::decode;

    #[test]
    fn base64_follows_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(Bytes::encode(plain.as_bytes()), coded);
            assert_eq!(Bytes::decode(coded).unwrap(), plain.as_bytes());
        }
        for bad in ["Zg", "Zg=a", "=aaa", "Z===", "Zm9v Zg=", "Zg==Zg=="] {
            assert_eq!(Bytes::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn empty_lists_and_maps_are_null() {
        let text = serde_json::to_string(&(List::<u8>::default(), Map::<u8>::default(), Time(0)));
        assert_eq!(text.unwrap(), "[null,null,null]");
        let back: (List<u8>, (Map<u8>, Time)) = decode(b"[null,[null,null]]").unwrap();
        assert_eq!(back, Default::default());
    }

    #[test]
    fn numbers_of_free_form_print_as_floats() {
        let any: Any = decode(br#"{"b":[5,-1,2.5],"a":null}"#).unwrap();
        assert_eq!(serde_json::to_string(&any).unwrap(), r#"{"a":null,"b":[5.0,-1.0,2.5]}"#);
    }
}
