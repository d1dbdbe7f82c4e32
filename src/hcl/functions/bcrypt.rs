//! Hashes of passwords by bcrypt (Provos and Mazières, 1999), for files of users that a job brings.

use std::fmt::Write;

/// Costs that there are: each doubles the work.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
/// More bytes of a password have no effect.
const PASSWORD_MAX: usize = 72;
const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The hash of a password in its usual form, `$2a$<cost>$<salt and sum>`.
///
/// # Errors
/// The password is too long, or there is no such cost.
pub(super) fn hash(password: &str, cost: u32, salt: &[u8; 16]) -> Result<String, String> {
    if password.len() > PASSWORD_MAX {
        return Err(format!("passwords have at most {PASSWORD_MAX} bytes"));
    }
    if !COSTS.contains(&cost) {
        return Err(format!("the cost must be between {} and {}", COSTS.start(), COSTS.end()));
    }
    let key = [password.as_bytes(), &[0]].concat();
    let mut cipher = Blowfish::new();
    cipher.expand(&key, salt);
    for _ in 0..1_u64 << cost {
        cipher.expand(&key, &[0; 16]);
        cipher.expand(salt, &[0; 16]);
    }
    let mut sum = Vec::new();
    for block in b"OrpheanBeholderScryDoubt".chunks_exact(8) {
        let mut pair = (word(block, &mut 0), word(block, &mut 4));
        for _ in 0..64 {
            pair = cipher.encrypt(pair);
        }
        sum.extend(pair.0.to_be_bytes());
        sum.extend(pair.1.to_be_bytes());
    }
    sum.truncate(23);
    let mut out = String::new();
    write!(out, "$2a${cost:02}${}{}", text(salt), text(&sum)).map_err(|e| e.to_string())?;
    Ok(out)
}

/// Base 64 in the alphabet of bcrypt, without padding.
fn text(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0_u32, |b, x| b << 8 | u32::from(*x)) << (8 * (3 - three.len()));
        for i in 0..=three.len() {
            out.push(char::from(ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]));
        }
    }
    out
}

/// Four bytes from a place on, around the end, which moves on.
fn word(bytes: &[u8], at: &mut usize) -> u32 {
    let mut out = 0;
    for _ in 0..4 {
        out = out << 8 | u32::from(bytes[*at % bytes.len()]);
        *at += 1;
    }
    out
}

const KEYS: usize = 18;
const BOX: usize = 256;

/// The cipher's state: the keys of its rounds, then its four boxes.
struct Blowfish(Vec<u32>);

impl Blowfish {
    /// Before any key the state is the fraction of pi.
    fn new() -> Self {
        Self(pi(KEYS + 4 * BOX))
    }

    fn encrypt(&self, (mut left, mut right): (u32, u32)) -> (u32, u32) {
        let s = |i: usize, byte: u32| self.0[KEYS + i * BOX + (byte & 0xff) as usize];
        for i in 0..KEYS - 2 {
            left ^= self.0[i];
            let mixed = s(0, left >> 24).wrapping_add(s(1, left >> 16)) ^ s(2, left >> 8);
            right ^= mixed.wrapping_add(s(3, left));
            (left, right) = (right, left);
        }
        (right ^ self.0[KEYS - 1], left ^ self.0[KEYS - 2])
    }

    /// Mixes a key and a salt into the state.
    fn expand(&mut self, key: &[u8], salt: &[u8]) {
        let (mut at, mut salted, mut pair) = (0, 0, (0, 0));
        for i in 0..KEYS {
            self.0[i] ^= word(key, &mut at);
        }
        for i in (0..self.0.len()).step_by(2) {
            pair.0 ^= word(salt, &mut salted);
            pair.1 ^= word(salt, &mut salted);
            pair = self.encrypt(pair);
            (self.0[i], self.0[i + 1]) = pair;
        }
    }
}

/// The first words of the fraction of pi, by Machin's formula. A table would be four kilobytes of
/// every binary.
fn pi(words: usize) -> Vec<u32> {
    // The whole part in front, and room for what is lost by rounding at the end.
    let mut sum = vec![0_u32; words + 3];
    arctan(&mut sum, 16, 5, false);
    arctan(&mut sum, 4, 239, true);
    sum.drain(1..=words).collect()
}

/// Adds `times * arctan(1 / of)`, or takes it away.
fn arctan(sum: &mut [u32], times: u32, of: u32, minus: bool) {
    let mut power = vec![0; sum.len()];
    power[0] = times;
    divide(&mut power, of, 0);
    let (mut odd, mut start, mut minus) = (1, 0, minus);
    let mut term = power.clone();
    while start < power.len() {
        term[start..].copy_from_slice(&power[start..]);
        divide(&mut term, odd, start);
        add(sum, &term, start, minus);
        divide(&mut power, of * of, start);
        (odd, minus) = (odd + 2, !minus);
        while power.get(start) == Some(&0) {
            term[start] = 0;
            start += 1;
        }
    }
}

fn divide(number: &mut [u32], by: u32, start: usize) {
    let mut rest = 0;
    for word in number.iter_mut().skip(start) {
        let value = rest << 32 | u64::from(*word);
        *word = (value / u64::from(by)) as u32;
        rest = value % u64::from(by);
    }
}

fn add(sum: &mut [u32], term: &[u32], start: usize, minus: bool) {
    let mut carry = false;
    for (i, word) in sum.iter_mut().enumerate().rev() {
        if i < start && !carry {
            return;
        }
        let other = if i < start { 0 } else { term[i] };
        let step = if minus { u32::overflowing_sub } else { u32::overflowing_add };
        let (part, first) = step(*word, other);
        let (whole, second) = step(part, u32::from(carry));
        (*word, carry) = (whole, first || second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_begins_with_pi() {
        let words = pi(KEYS + 4 * BOX);
        assert_eq!((words.len(), words[0], words[1]), (1042, 0x243f_6a88, 0x85a3_08d3));
        // The last of the published table.
        assert_eq!(words[1041], 0x3ac3_72e6);
    }

    /// Vectors of the original implementation.
    #[test]
    fn hashes_are_those_of_others() {
        let salt = *b"\x10\x41\x04\x10\x41\x04\x10\x41\x04\x10\x41\x04\x10\x41\x04\x10";
        let of = |p: &str| hash(p, 5, &salt).unwrap();
        assert_eq!(of("U*U"), "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
        assert_eq!(of("U*U*"), "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK");
        assert!(hash(&"x".repeat(73), 5, &salt).is_err());
        assert!(hash("x", 3, &salt).is_err());
    }
}
