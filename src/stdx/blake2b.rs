//! BLAKE2b with digests of 256 bits (RFC 7693), unkeyed: what the API's `Hash` members hold.

const IV: [u64; 8] = [
    0x6a09_e667_f3bc_c908,
    0xbb67_ae85_84ca_a73b,
    0x3c6e_f372_fe94_f82b,
    0xa54f_f53a_5f1d_36f1,
    0x510e_527f_ade6_82d1,
    0x9b05_688c_2b3e_6c1f,
    0x1f83_d9ab_fb41_bd6b,
    0x5be0_cd19_137e_2179,
];

const SIGMA: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// Which words each of the eight steps of a round mixes: columns, then diagonals.
const LANES: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

const BLOCK: usize = 128;
const DIGEST: usize = 32;

/// The digest of a text that is at hand as a whole.
pub fn digest(data: &[u8]) -> [u8; DIGEST] {
    let mut h = IV;
    h[0] ^= 0x0101_0000 ^ DIGEST as u64;
    let blocks = data.len().div_ceil(BLOCK).max(1);
    let mut chunks = data.chunks(BLOCK);
    for n in 1..=blocks {
        let chunk = chunks.next().unwrap_or_default();
        let mut block = [0; BLOCK];
        block[..chunk.len()].copy_from_slice(chunk);
        let last = n == blocks;
        let seen = if last { data.len() } else { n * BLOCK };
        compress(&mut h, &block, seen as u128, last);
    }
    let mut out = [0; DIGEST];
    for (to, word) in out.chunks_exact_mut(8).zip(h) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    out
}

fn compress(h: &mut [u64; 8], block: &[u8; BLOCK], seen: u128, last: bool) {
    let mut m = [0; 16];
    for (word, bytes) in m.iter_mut().zip(block.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    let mut v = [0; 16];
    v[..8].copy_from_slice(h);
    v[8..].copy_from_slice(&IV);
    v[12] ^= seen as u64;
    v[13] ^= (seen >> 64) as u64;
    if last {
        v[14] = !v[14];
    }
    for round in 0..12 {
        let order = &SIGMA[round % 10];
        for (step, [a, b, c, d]) in LANES.into_iter().enumerate() {
            let (x, y) = (m[order[2 * step]], m[order[2 * step + 1]]);
            v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
            v[d] = (v[d] ^ v[a]).rotate_right(32);
            v[c] = v[c].wrapping_add(v[d]);
            v[b] = (v[b] ^ v[c]).rotate_right(24);
            v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
            v[d] = (v[d] ^ v[a]).rotate_right(16);
            v[c] = v[c].wrapping_add(v[d]);
            v[b] = (v[b] ^ v[c]).rotate_right(63);
        }
    }
    for (i, word) in h.iter_mut().enumerate() {
        *word ^= v[i] ^ v[i + 8];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_others() {
        let hex = |data: &[u8]| digest(data).iter().map(|b| format!("{b:02x}")).collect::<String>();
        for (data, expected) in [
            (Vec::new(), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"),
            (b"abc".to_vec(), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"),
            (vec![b'a'; 128], "ae2aa48507885c4c950fb809b2076f959cde9f8ea6da260d9a3587df33dac450"),
            (vec![b'a'; 129], "2f64744a6de0d2c0b56e64cf6e29a5aaa255010d415d51c75ccc82f73dccd865"),
            (
                (0..=255).cycle().take(1000).collect(),
                "c636324d47d89f2b2434dc2c994100663fbbaea880ff020fc5de89dd0f77a1ec",
            ),
        ] {
            assert_eq!(hex(&data), expected);
        }
    }
}
