//! Texts encrypted for a key of RSA (PKCS #1 v1.5, RFC 8017), read with its private half.

use crate::stdx::der::{Der, INTEGER, OCTETS, pem};

/// Longest modulus, in bits.
const BITS_MAX: usize = 8_192;

/// The text in `secret`, read with a private key in PEM: PKCS #1 or PKCS #8, not encrypted.
///
/// This takes as long as its numbers are large, and so is for a person's own machine alone.
///
/// # Errors
/// It is no such key, or the text was not encrypted for it. Which of the two steps of the second
/// failed is not told.
pub(super) fn decrypt(secret: &[u8], key: &str) -> Result<Vec<u8>, String> {
    let (modulus, exponent) = private(key).ok_or("the key is no RSA private key in PEM")?;
    let bytes = modulus.iter().skip_while(|b| **b == 0).count();
    let wrong = || "the text was not encrypted for this key".to_owned();
    let n = Number::new(&modulus);
    if bytes * 8 > BITS_MAX || n.0.first().is_none_or(|w| w % 2 == 0) {
        return Err("the key is no RSA private key that can be used".to_owned());
    }
    let c = Number::new(secret);
    if secret.len() > bytes || !c.below(&n) {
        return Err(wrong());
    }
    let padded = c.power(&exponent, &n).bytes(bytes);
    // 0, 2, at least eight bytes that are not 0, 0, the text.
    let [0, 2, rest @ ..] = padded.as_slice() else { return Err(wrong()) };
    let end = rest.iter().position(|b| *b == 0).filter(|i| *i >= 8).ok_or_else(wrong)?;
    Ok(rest.get(end + 1..).unwrap_or_default().to_vec())
}

/// Modulus and private exponent of a key.
fn private(key: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (label, bytes) = pem(key)?;
    let inner = match label {
        "RSA PRIVATE KEY" => bytes,
        "PRIVATE KEY" => {
            let mut outer = Der(&bytes).sequence()?;
            outer.take(INTEGER)?;
            outer.sequence()?;
            outer.take(OCTETS)?.to_vec()
        }
        _ => return None,
    };
    let mut parts = Der(&inner).sequence()?;
    parts.take(INTEGER)?;
    let modulus = parts.take(INTEGER)?.to_vec();
    parts.take(INTEGER)?;
    Some((modulus, parts.take(INTEGER)?.to_vec()))
}

/// A number: words from the least on, without zeros at the end.
struct Number(Vec<u32>);

impl Number {
    fn new(bytes: &[u8]) -> Self {
        let word = |w: &[u8]| w.iter().fold(0, |n, b| n << 8 | u32::from(*b));
        Self::trimmed(bytes.rchunks(4).map(word).collect())
    }

    fn trimmed(mut words: Vec<u32>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self(words)
    }

    fn bytes(&self, length: usize) -> Vec<u8> {
        let byte = |i: usize| self.0.get(i / 4).map_or(0, |w| w.to_le_bytes()[i % 4]);
        (0..length).rev().map(byte).collect()
    }

    fn below(&self, other: &Self) -> bool {
        let key = |n: &Self| (n.0.len(), n.0.iter().rev().copied().collect::<Vec<_>>());
        key(self) < key(other)
    }

    /// The remainder of `self` to the power of `exponent`, by an odd `n` that is larger.
    fn power(&self, exponent: &[u8], n: &Self) -> Self {
        let length = n.0.len();
        // Montgomery's form of 1: the remainder of 2^(32 * length), doubled bit by bit.
        let mut one = vec![0; length];
        one[0] = 1;
        let mut shifted = one.clone();
        for _ in 0..32 * length {
            double(&mut shifted, &n.0);
        }
        let mut base = shifted.clone();
        for _ in 0..32 * length {
            double(&mut base, &n.0);
        }
        let mut own = self.0.clone();
        own.resize(length, 0);
        let base = product(&own, &base, &n.0);
        let mut out = shifted;
        for byte in exponent {
            for bit in (0..8).rev() {
                out = product(&out, &out, &n.0);
                if byte >> bit & 1 == 1 {
                    out = product(&out, &base, &n.0);
                }
            }
        }
        Self::trimmed(product(&out, &one, &n.0))
    }
}

/// Twice a number below `n`, modulo `n`.
fn double(number: &mut [u32], n: &[u32]) {
    let mut carry = 0;
    for word in number.iter_mut() {
        let next = *word >> 31;
        *word = *word << 1 | carry;
        carry = next;
    }
    reduce(number, carry, n);
}

/// Takes `n` away once where the number, with what was carried out of it, is not below it.
fn reduce(number: &mut [u32], carry: u32, n: &[u32]) {
    if carry == 0 && number.iter().rev().lt(n.iter().rev()) {
        return;
    }
    let mut borrow = false;
    for (word, other) in number.iter_mut().zip(n) {
        let (part, first) = word.overflowing_sub(*other);
        let (whole, second) = part.overflowing_sub(u32::from(borrow));
        (*word, borrow) = (whole, first || second);
    }
}

/// Montgomery's product of two numbers below `n`: `a * b / 2^(32 * words)`, modulo `n`.
fn product(a: &[u32], b: &[u32], n: &[u32]) -> Vec<u32> {
    // What makes the lowest word vanish: the negative inverse of n's, by Newton's steps.
    let mut inverse = 1_u32;
    for _ in 0..5 {
        let off = 2_u32.wrapping_sub(n[0].wrapping_mul(inverse));
        inverse = inverse.wrapping_mul(off);
    }
    let negative = inverse.wrapping_neg();
    let length = n.len();
    let mut sum = vec![0_u32; length + 2];
    for x in a {
        add(&mut sum, b, *x);
        let times = sum[0].wrapping_mul(negative);
        add(&mut sum, n, times);
        sum.remove(0);
        sum.push(0);
    }
    let carry = sum[length];
    sum.truncate(length);
    reduce(&mut sum, carry, n);
    sum
}

/// Adds `number * times`.
fn add(sum: &mut [u32], number: &[u32], times: u32) {
    let mut carry = 0;
    for (i, word) in sum.iter_mut().enumerate() {
        let more = number.get(i).map_or(0, |w| u64::from(*w) * u64::from(times));
        let value = u64::from(*word) + more + carry;
        *word = value as u32;
        carry = value >> 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::json::Bytes;

    fn power(base: u64, exponent: u64, n: u64) -> u64 {
        let out = Number::new(&base.to_be_bytes())
            .power(&exponent.to_be_bytes(), &Number::new(&n.to_be_bytes()));
        u64::from_be_bytes(out.bytes(8).try_into().unwrap())
    }

    #[test]
    fn powers_are_right() {
        assert_eq!(power(3, 4, 1_000_001), 81);
        // Fermat: by a prime.
        assert_eq!(power(123_456_789, 18_446_744_073_709_551_556, 18_446_744_073_709_551_557), 1);
        assert_eq!(power(0, 5, 7), 0);
        assert_eq!(power(2, 64, 18_446_744_073_709_551_557), 59);
    }

    /// Written by another program, with a key that guards nothing.
    #[test]
    fn what_was_encrypted_is_read() {
        let secret = include_str!("../../../tests/jobspec/rsa/secret.txt").trim();
        let mut secret = Bytes::decode(secret).unwrap();
        let keys = [
            include_str!("../../../tests/jobspec/rsa/pkcs1.pem"),
            include_str!("../../../tests/jobspec/rsa/pkcs8.pem"),
        ];
        for key in keys {
            assert_eq!(decrypt(&secret, key).unwrap(), b"good morning");
        }
        secret[5] ^= 1;
        assert!(decrypt(&secret, keys[0]).unwrap_err().contains("not encrypted for this key"));
        assert!(decrypt(&[0xff; 128], keys[0]).is_err());
        assert!(decrypt(&[1; 129], keys[0]).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in ["", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"] {
            assert!(decrypt(b"x", key).unwrap_err().contains("no RSA private key"));
        }
    }
}
