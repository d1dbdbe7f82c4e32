//! Numbers of many words, the least significant first, as far as making RSA keys needs them.
//!
//! Nothing here takes the same time for all numbers: good for making a key, where nobody can try
//! again with the same secret, and never for using one.

/// Words of a number of 1,024 bits.
pub const WORDS: usize = 16;

/// A number of 1,024 bits.
pub type Wide = [u64; WORDS];

/// Multiplication modulo a number, in Montgomery's form: `x` stands for `x · 2^-1024`. Numbers
/// handed in must be below the modulus, which is odd and has its highest bit set.
#[derive(Clone, Debug)]
pub struct Modulus {
    n: Wide,
    /// `-1 / n` modulo 2^64.
    inverse: u64,
}

impl Modulus {
    pub fn new(n: Wide) -> Self {
        debug_assert!(n[0] & 1 == 1 && n[WORDS - 1] >> 63 == 1);
        // Newton: each step doubles the bits that are right, of which an odd number has three.
        let inverse =
            (0..5).fold(n[0], |x, _| x.wrapping_mul(2_u64.wrapping_sub(n[0].wrapping_mul(x))));
        Self { n, inverse: inverse.wrapping_neg() }
    }

    /// What stands for 1.
    pub fn one(&self) -> Wide {
        // 2^1024 is less than two moduli.
        let mut one = [0; WORDS];
        subtract(&mut one, &self.n);
        one
    }

    /// What stands for -1.
    pub fn minus_one(&self) -> Wide {
        let mut out = self.n;
        subtract(&mut out, &self.one());
        out
    }

    /// Twice a number.
    pub fn double(&self, a: &Wide) -> Wide {
        let (mut out, mut carry) = (*a, 0);
        for word in &mut out {
            (*word, carry) = (*word << 1 | carry, *word >> 63);
        }
        self.reduced(out, carry == 1)
    }

    /// What stands for the product of what two numbers stand for.
    pub fn multiply(&self, a: &Wide, b: &Wide) -> Wide {
        // Indexes, not iterators: those are slow in builds that are not optimised, and tests run
        // these some hundred thousand times.
        let (mut sum, mut over) = ([0; WORDS], 0);
        let mut i = 0;
        while i < WORDS {
            let factor = u128::from(a[i]);
            let mut product = factor * u128::from(b[0]) + u128::from(sum[0]);
            let times = u128::from((product as u64).wrapping_mul(self.inverse));
            let mut multiple = times * u128::from(self.n[0]) + u128::from(product as u64);
            let mut j = 1;
            while j < WORDS {
                product = factor * u128::from(b[j]) + u128::from(sum[j]) + (product >> 64);
                multiple =
                    times * u128::from(self.n[j]) + u128::from(product as u64) + (multiple >> 64);
                sum[j - 1] = multiple as u64;
                j += 1;
            }
            let last = (product >> 64) + (multiple >> 64) + over;
            sum[WORDS - 1] = last as u64;
            over = last >> 64;
            i += 1;
        }
        self.reduced(sum, over == 1)
    }

    /// A number below two moduli, `over` being its bit above the words, less one where that much.
    fn reduced(&self, mut a: Wide, over: bool) -> Wide {
        if over || !is_less(&a, &self.n) {
            subtract(&mut a, &self.n);
        }
        a
    }
}

/// A power, worked out bit by bit.
#[derive(Clone, Debug)]
pub struct Power {
    modulus: Modulus,
    /// `None`: two, by which numbers are multiplied faster.
    base: Option<Wide>,
    exponent: Wide,
    /// The bits of the exponent that are still to come.
    left: usize,
    value: Wide,
}

impl Power {
    /// `base` in Montgomery's form; `None`: two.
    pub fn new(modulus: Modulus, base: Option<Wide>, exponent: Wide) -> Self {
        let value = modulus.one();
        Self { modulus, base, exponent, left: WORDS * 64, value }
    }

    /// Takes up some bits of the exponent: the power, in Montgomery's form, once all are.
    pub fn step(&mut self, bits: usize) -> Option<Wide> {
        for _ in 0..bits.min(self.left) {
            self.left -= 1;
            self.value = self.modulus.multiply(&self.value, &self.value);
            if self.exponent[self.left / 64] >> (self.left % 64) & 1 == 1 {
                self.value = match &self.base {
                    Some(base) => self.modulus.multiply(&self.value, base),
                    None => self.modulus.double(&self.value),
                };
            }
        }
        (self.left == 0).then_some(self.value)
    }
}

/// Whether `a` is less than `b`, both of as many words.
pub fn is_less(a: &[u64], b: &[u64]) -> bool {
    a.iter().rev().lt(b.iter().rev())
}

/// Takes `b`, of no more words, from `a`; what is below zero wraps.
pub fn subtract(a: &mut [u64], b: &[u64]) {
    let mut borrow = false;
    for (i, word) in a.iter_mut().enumerate() {
        let (less, first) = word.overflowing_sub(b.get(i).copied().unwrap_or(0));
        let (less, second) = less.overflowing_sub(u64::from(borrow));
        (*word, borrow) = (less, first || second);
    }
}

/// Sets `a` to `a · factor + more`; what does not fit is dropped.
pub fn multiply_add(a: &mut [u64], factor: u64, more: u64) {
    let mut carry = more;
    for word in a {
        let product = u128::from(*word) * u128::from(factor) + u128::from(carry);
        (*word, carry) = (product as u64, (product >> 64) as u64);
    }
}

/// The product of two numbers, as many words long as both.
pub fn product(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut out = vec![0; a.len() + b.len()];
    for (i, factor) in a.iter().enumerate() {
        let mut carry = 0;
        for (word, by) in out[i..].iter_mut().zip(b.iter().chain([&0])) {
            let sum = u128::from(*factor) * u128::from(*by) + u128::from(*word) + carry;
            (*word, carry) = (sum as u64, sum >> 64);
        }
    }
    out
}

/// Divides `a` and returns what is left over. `by` is not zero.
pub fn divide(a: &mut [u64], by: u32) -> u32 {
    let by = u64::from(by);
    // In halves of words: what fits in one register is fast everywhere.
    let rest = a.iter_mut().rev().fold(0, |rest, word| {
        let high = rest << 32 | *word >> 32;
        let low = (high % by) << 32 | *word & 0xffff_ffff;
        *word = (high / by) << 32 | (low / by);
        low % by
    });
    rest as u32
}

/// What a division leaves over. `by` is not zero.
pub fn rest(a: &[u64], by: u32) -> u32 {
    let by = u64::from(by);
    let each = a.iter().rev().flat_map(|word| [word >> 32, word & 0xffff_ffff]);
    each.fold(0, |rest, half| (rest << 32 | half) % by) as u32
}

/// The number with the most significant byte first, without zeros in front.
pub fn bytes(a: &[u64]) -> Vec<u8> {
    a.iter().rev().flat_map(|word| word.to_be_bytes()).skip_while(|b| *b == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a number as it is printed; the words that it does not fill are zero.
    fn number<const N: usize>(hex: &str) -> [u64; N] {
        let mut out = [0; N];
        for digit in hex.bytes().filter(u8::is_ascii_hexdigit) {
            let digit = char::from(digit).to_digit(16).unwrap();
            multiply_add(&mut out, 16, digit.into());
        }
        out
    }

    /// The prime of the second group of RFC 2409.
    const PRIME: &str = "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74 \
        020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f1437 \
        4fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed \
        ee386bfb5a899fa5ae9f24117c4b1fe649286651ece65381ffffffffffffffff";

    /// Expected values are Python's.
    #[test]
    fn products_and_powers_are_those_that_are_known() {
        let modulus = Modulus::new(number(PRIME));
        let mut a = number::<WORDS>(PRIME);
        subtract(&mut a, &[12_345_678_901_234_567]);
        let mut b = number::<WORDS>("1");
        (0..300).for_each(|_| multiply_add(&mut b, 7, 0));
        let expected = "71cf7e8344025db21b1d45992b78483c46862c5485a41431200976c5864371cd \
        fa3f43009b1f6104fb00f4ba557292483a30e7b77a84655d6667c689700b467c \
        74070a05dbf8ac5c46a9f2ec2d3fbd900a124733f332128469d89d3438eef618 \
        33252a2e014cf0a22024a565b2ed13f36965b5db9deb395c7d8cccc1d38280d3";
        assert_eq!(modulus.multiply(&a, &b), number(expected));
        let whole = "49d8f3e2704b50eba7a61933782bebf2366634e8fb644f6e740a6ac63af5cd07 \
        cc79f8190441e48fd96b05d95ab16a0bcf18e5c930faec05c5bce0c1a56ad586 \
        8ae189f9958381453eec08b753e07c43094f600bdb72809807ada077c7a97563 \
        cbe8ec45fcbdaf35948ed6173a27dafb677aef728a2b994adeb24c436a62b706 \
        b10e8a8ada56ef81f19b390612b36335bd9230979570953dacfaa07f400790b0 \
        cf1b8e083eb4bdceb2172504b584988c8aa298a29656d44e04ecadd6223be849 \
        d01c59307dad2052fd18db562f7e0368713fddc3404e2f989753c3812eb3f458 \
        9945787dab6db2eeb78";
        assert_eq!(product(&a, &b), number::<32>(whole));
        assert_eq!(rest(&product(&a, &b), 65_537), 62512);
        let mut quotient = product(&a, &b);
        assert_eq!(divide(&mut quotient, 4_294_967_291), 796876436);
        multiply_add(&mut quotient, 4_294_967_291, 796876436);
        assert_eq!(quotient, product(&a, &b));

        let exponent = number(&("1f".repeat(40) + "7"));
        let mut power = Power::new(modulus.clone(), Some(b), exponent);
        assert_eq!(power.step(1000), None);
        let expected = "9d40c40fb06a7693b99e2f9a2b62b3d78a198c6a0b3bf791ba39ed4fd37a01a3 \
        c0bc4d3594c08a18a8b6a7f947d2518966df132c379fefc720021d5d7a6d440a \
        8798fd45d584a9637b75fcfb953216922063145158305f3a24bb338b14ce5cd0 \
        4dfa286b45b4808ea0b3fbbd986ff7df2a6a11aac815c26c922d3b1e8e1d61bd";
        assert_eq!(power.step(1000), Some(number(expected)));

        // Fermat, and two by either way.
        let mut exponent = number::<WORDS>(PRIME);
        exponent[0] -= 1;
        for base in [Some(b), None] {
            let mut power = Power::new(modulus.clone(), base, exponent);
            assert_eq!(power.step(1024), Some(modulus.one()));
        }
        let two = modulus.double(&modulus.one());
        let [short, plain] = [None, Some(two)]
            .map(|base| Power::new(modulus.clone(), base, number("1234567")).step(1024));
        assert_eq!(short, plain);
        let minus = modulus.minus_one();
        assert_eq!(modulus.multiply(&minus, &minus), modulus.one());
    }
}
