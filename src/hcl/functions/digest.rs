//! Encodings and digests.

use ring::digest;
use serde_json::Value;

use super::{Function, Result, text};
use crate::stdx::json::Bytes;

pub(super) const TABLE: &[Function] = &[
    ("base64decode", 1, 1, |a| {
        let bytes = decode64(&text(a, 0)?).ok_or("it is not base64")?;
        String::from_utf8(bytes).map(Value::from).map_err(|_| "it is not text".to_owned())
    }),
    ("base64encode", 1, 1, |a| Ok(encode64(text(a, 0)?.as_bytes()).into())),
    ("md5", 1, 1, |a| Ok(hex(&md5(text(a, 0)?.as_bytes())).into())),
    ("sha1", 1, 1, |a| sum(&digest::SHA1_FOR_LEGACY_USE_ONLY, a)),
    ("sha256", 1, 1, |a| sum(&digest::SHA256, a)),
    ("sha512", 1, 1, |a| sum(&digest::SHA512, a)),
    ("uuidv5", 2, 2, |a| uuidv5(&text(a, 0)?, &text(a, 1)?)),
];

fn sum(algorithm: &'static digest::Algorithm, args: &[Value]) -> Result {
    Ok(hex(digest::digest(algorithm, text(args, 0)?.as_bytes()).as_ref()).into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn encode64(bytes: &[u8]) -> String {
    Bytes::encode(bytes)
}

pub(super) fn decode64(text: &str) -> Option<Vec<u8>> {
    Bytes::decode(text)
}

/// RFC 9562: the name in its name space.
fn uuidv5(space: &str, name: &str) -> Result {
    let space = match space {
        "dns" => "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "url" => "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
        "oid" => "6ba7b812-9dad-11d1-80b4-00c04fd430c8",
        "x500" => "6ba7b814-9dad-11d1-80b4-00c04fd430c8",
        other => other,
    };
    let digits: String = space.chars().filter(|c| *c != '-').collect();
    let space = u128::from_str_radix(&digits, 16).map_err(|_| "the name space is not a UUID")?;
    let input = [&space.to_be_bytes(), name.as_bytes()].concat();
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &input);
    let first: [u8; 16] = sum.as_ref().first_chunk().copied().unwrap_or_default();
    let mut id = u128::from_be_bytes(first);
    id = id & !(0xf << 76) | 5 << 76;
    id = id & !(0b11 << 62) | 0b10 << 62;
    let h = format!("{id:032x}");
    let part = |r: std::ops::Range<usize>| h.get(r).unwrap_or_default();
    let parts = [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)];
    Ok(parts.join("-").into())
}

/// RFC 1321. For names and cache keys; nothing is protected by it.
fn md5(bytes: &[u8]) -> [u8; 16] {
    const TURNS: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state = [0x6745_2301_u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut input = bytes.to_vec();
    input.push(0x80);
    input.resize(input.len().next_multiple_of(64), 0);
    if bytes.len() % 64 > 55 {
        input.resize(input.len() + 64, 0);
    }
    let bits = (bytes.len() as u64).wrapping_mul(8).to_le_bytes();
    let end = input.len() - 8;
    input.truncate(end);
    input.extend(bits);
    for block in input.chunks_exact(64) {
        let word = |i: usize| {
            let w = block.get(i * 4..).and_then(|b| b.first_chunk()).copied();
            u32::from_le_bytes(w.unwrap_or_default())
        };
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64_usize {
            let (mix, at) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            // The constants are the sine of 1, 2, 3 … by definition.
            let sine = (libm::sin(i as f64 + 1.0).abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(sine).wrapping_add(word(at));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(TURNS[i / 16][i % 4]));
        }
        for (s, x) in state.iter_mut().zip([a, b, c, d]) {
            *s = s.wrapping_add(x);
        }
    }
    let mut out = [0; 16];
    for (chunk, s) in out.chunks_exact_mut(4).zip(state) {
        chunk.copy_from_slice(&s.to_le_bytes());
    }
    out
}
