//! Reading and writing DER, the form of keys and certificates (X.690); PEM around it (RFC 7468).

use crate::stdx::json::Bytes;

pub const INTEGER: u8 = 0x02;
pub const OCTETS: u8 = 0x04;
pub const SEQUENCE: u8 = 0x30;

/// What is left to read of a value that holds others.
#[derive(Clone, Copy)]
pub struct Der<'a>(pub &'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and its content. `None` at the end, and where it is no DER.
    pub fn read(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(first) {
            short @ 0..=0x7f => (short, rest),
            // No key and no certificate needs more than four bytes of length.
            long @ 0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
                (bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)), rest)
            }
            _ => return None,
        };
        let (content, left) = rest.split_at_checked(length)?;
        self.0 = left;
        Some((tag, content))
    }

    /// The content of the next value, which must have this tag.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.read().filter(|(t, _)| *t == tag).map(|(_, content)| content)
    }

    /// What the next value, a sequence, holds.
    pub fn sequence(&mut self) -> Option<Self> {
        self.take(SEQUENCE).map(Der)
    }
}

/// One value: its tag, its length, and the parts one behind the other.
pub fn der_of(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = len.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
            out.extend_from_slice(bytes);
        }
    }
    parts.iter().for_each(|p| out.extend_from_slice(p));
    out
}

/// The first PEM section of a text: what it holds, and its bytes.
pub fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    let body: String = body.split_whitespace().collect();
    Some((label, Bytes::decode(&body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_one_after_the_other() {
        let mut der = Der(&[0x30, 5, 2, 1, 7, 4, 0, 2, 0x81, 1, 9]);
        let mut inner = der.sequence().unwrap();
        assert_eq!(inner.take(INTEGER), Some(&[7][..]));
        assert_eq!(inner.take(OCTETS), Some(&[][..]));
        assert_eq!(inner.read(), None);
        assert_eq!(der.take(INTEGER), Some(&[9][..]));
        for bad in [&[2_u8][..], &[2, 1], &[2, 0x80, 1], &[2, 0x84, 255, 255, 255, 255]] {
            assert_eq!(Der(bad).read(), None, "{bad:?}");
        }
    }

    #[test]
    fn a_section_of_pem_is_found() {
        let text = "note\n-----BEGIN A B-----\naGk\n=\n-----END A B-----\n";
        assert_eq!(pem(text), Some(("A B", b"hi".to_vec())));
        assert_eq!(pem("-----BEGIN A-----"), None);
    }
}
