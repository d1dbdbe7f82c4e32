//! Checksums that go over polynomials, eight bytes a step.

/// The tables of one, for a polynomial with its bits in reverse.
pub struct Crc([[u32; 256]; 8]);

impl Crc {
    pub const fn new(polynomial: u32) -> Self {
        let mut t = [[0; 256]; 8];
        let mut i = 0;
        while i < 256 {
            let mut c = i as u32;
            let mut k = 0;
            while k < 8 {
                c = if c & 1 == 1 { polynomial ^ c >> 1 } else { c >> 1 };
                k += 1;
            }
            t[0][i] = c;
            i += 1;
        }
        let mut n = 1;
        while n < 8 {
            let mut i = 0;
            while i < 256 {
                t[n][i] = t[n - 1][i] >> 8 ^ t[0][(t[n - 1][i] & 255) as usize];
                i += 1;
            }
            n += 1;
        }
        Self(t)
    }

    /// The checksum of bytes that follow others of checksum `sum`; of none it is 0.
    pub fn on(&self, sum: u32, bytes: &[u8]) -> u32 {
        let Self(t) = self;
        let (words, rest) = bytes.as_chunks::<8>();
        let crc = words.iter().fold(!sum, |crc, word| {
            let n = (u64::from_le_bytes(*word) ^ u64::from(crc)).to_le_bytes();
            n.iter().enumerate().fold(0, |crc, (i, b)| crc ^ t[7 - i][usize::from(*b)])
        });
        !rest.iter().fold(crc, |crc, b| crc >> 8 ^ t[0][usize::from(crc.to_le_bytes()[0] ^ b)])
    }
}
