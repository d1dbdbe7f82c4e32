//! Lists of byte strings: the form of everything on a link that is not a stream.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

/// Adds one word: its length in four bytes, then itself.
pub fn put(out: &mut Vec<u8>, word: &[u8]) {
    let len = u32::try_from(word.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(word);
}

/// Words put one behind the other.
pub fn join(words: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    words.iter().for_each(|w| put(&mut out, w));
    out
}

/// Takes words off the front of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(pub &'a [u8]);

impl<'a> Words<'a> {
    /// `None` where the bytes end, be it in the middle of a word.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let word = rest.get(..len)?;
        self.0 = rest.get(len..)?;
        Some(word)
    }

    pub fn text(&mut self) -> Option<String> {
        std::str::from_utf8(self.bytes()?).ok().map(str::to_owned)
    }

    /// A word of exactly this many bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_and_cuts_are_seen() {
        let bytes = join(&[b"a", b"", b"\x01\x02\x03\x04\x05\x06\x07\x08"]);
        let mut w = Words(&bytes);
        assert_eq!(w.text().as_deref(), Some("a"));
        assert_eq!(w.bytes(), Some(&[][..]));
        assert_eq!(w.u64(), Some(0x0807_0605_0403_0201));
        assert!(w.is_empty());
        let cut = bytes.get(..bytes.len() - 1).unwrap();
        let mut w = Words(cut);
        assert!(w.bytes().is_some() && w.bytes().is_some() && w.bytes().is_none());
        assert_eq!(Words(&[0xff; 8]).bytes(), None);
    }
}
