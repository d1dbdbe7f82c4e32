//! Making RSA keys of 2,048 bits (FIPS 186-5, A.1.3), and signing with them by RS256.
//!
//! Primes are looked for in steps of a millisecond or less, one in a turn of the loop, so that
//! nothing else has to wait. A start is drawn, small primes strike out what they divide behind it,
//! what is left is tested one by one: by the power of two first, which drops all but primes, then
//! by the powers of drawn bases. That takes about ninety powers for a key. The steps' times depend
//! on the secret; whoever could measure them sees each number once and not again.

use ring::rand::SystemRandom;
use ring::signature::{
    KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};

use crate::stdx::Entropy;
use crate::stdx::der::{INTEGER, SEQUENCE, der_of};
use crate::stdx::wide::{self, Modulus, Power, WORDS, Wide};

/// The public exponent of all keys, as JSON Web Keys have it.
pub const EXPONENT: [u8; 3] = [1, 0, 1];
const E: u32 = 65_537;
/// Candidates behind a start, each four more than the last: one of 177 is a prime.
const WINDOW: usize = 1_024;
/// Odd primes below this are struck out. More would cost more than the powers that they save.
const SIEVED: usize = 1 << 13;
/// Tests with drawn bases. Source: FIPS 186-5, table B.1: 5 for an error of 2^-112 at most.
const ROUNDS: u32 = 5;
/// Bits of an exponent that are taken up in a step.
const BITS_PER_STEP: usize = 128;
/// The primes differ by more than two to this (A.1.3, step 5.4).
const APART_BITS: usize = 924;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Most significant byte first: 256 bytes.
    pub modulus: Vec<u8>,
    /// All of it, as an `RSAPrivateKey` (RFC 8017) in DER.
    pub private: Vec<u8>,
}

/// What the next step does.
enum Stage {
    Draw,
    /// Candidates that are left, the next one last.
    Choose(Vec<Wide>),
    /// One of them, with the tests that it has passed.
    Test(Vec<Wide>, Wide, u32, Power),
    /// Both primes are known, the greater first; what is worked out is `1 / q` modulo `p`.
    Join(Wide, Wide, Power),
}

/// A key in the making.
pub struct Search {
    small: Vec<u32>,
    /// The first prime.
    first: Option<Wide>,
    stage: Stage,
}

impl Default for Search {
    fn default() -> Self {
        let mut composite = [false; SIEVED];
        let mut small = Vec::new();
        for n in (3..SIEVED).step_by(2) {
            if !composite[n] {
                small.push(n as u32);
                (n * n..SIEVED).step_by(n).for_each(|m| composite[m] = true);
            }
        }
        Self { small, first: None, stage: Stage::Draw }
    }
}

impl Search {
    /// Does a part of the work: the key, after some thousand steps at most.
    pub fn step(&mut self, chance: &mut dyn Entropy) -> Option<Pair> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Draw) {
            Stage::Draw => Stage::Choose(self.candidates(draw(chance))),
            Stage::Choose(mut left) => match left.pop() {
                Some(n) if self.fits(&n) => {
                    // Of a number that is 3 modulo 4, less one, half is odd: where it is prime,
                    // the power of half is 1 or -1, and that is all of Miller's and Rabin's test.
                    let power = Power::new(Modulus::new(n), None, half(&n));
                    Stage::Test(left, n, 0, power)
                }
                Some(_) => Stage::Choose(left),
                None => Stage::Draw,
            },
            Stage::Test(left, n, passed, mut power) => match power.step(BITS_PER_STEP) {
                None => Stage::Test(left, n, passed, power),
                Some(value) => {
                    let modulus = Modulus::new(n);
                    if value != modulus.one() && value != modulus.minus_one() {
                        Stage::Choose(left)
                    } else if passed < ROUNDS {
                        let base = modulus.multiply(&random(chance), &modulus.one());
                        let power = Power::new(modulus, Some(base), half(&n));
                        Stage::Test(left, n, passed + 1, power)
                    } else {
                        self.found(n)
                    }
                }
            },
            Stage::Join(p, q, mut power) => match power.step(BITS_PER_STEP) {
                None => Stage::Join(p, q, power),
                Some(inverse) => {
                    let mut plain = [0; WORDS];
                    plain[0] = 1;
                    let pair = joined(&p, &q, &Modulus::new(p).multiply(&inverse, &plain));
                    if pair.is_some() {
                        return pair;
                    }
                    log::error!("an RSA key was made that does not work, so another one is");
                    Stage::Draw
                }
            },
        };
        None
    }

    /// What small primes leave of the numbers behind a start.
    fn candidates(&self, start: Wide) -> Vec<Wide> {
        let mut struck = [false; WINDOW];
        for prime in &self.small {
            // The first `i` with `start + 4 i` divisible.
            let quarter = if prime % 4 == 3 { prime + 1 } else { 3 * prime + 1 } / 4;
            let first = (prime - wide::rest(&start, *prime)) * quarter % prime;
            (first as usize..WINDOW).step_by(*prime as usize).for_each(|i| struck[i] = true);
        }
        let mut out = Vec::new();
        for i in (0..WINDOW).filter(|i| !struck[*i]) {
            let mut n = start;
            n[0] = n[0].wrapping_add(4 * i as u64);
            // Few starts are so near to where the word ends.
            if n[0] >= start[0] {
                out.push(n);
            }
        }
        out
    }

    /// Whether a number may be one of the primes.
    fn fits(&self, n: &Wide) -> bool {
        let apart = self.first.is_none_or(|first| {
            let (less, more) = if wide::is_less(n, &first) { (*n, first) } else { (first, *n) };
            let mut distance = more;
            wide::subtract(&mut distance, &less);
            distance[APART_BITS / 64] >> (APART_BITS % 64) != 0 || distance[WORDS - 1] != 0
        });
        apart && wide::rest(n, E) != 1
    }

    fn found(&mut self, n: Wide) -> Stage {
        let Some(first) = self.first.take() else {
            self.first = Some(n);
            return Stage::Draw;
        };
        let (p, q) = if wide::is_less(&n, &first) { (first, n) } else { (n, first) };
        let modulus = Modulus::new(p);
        let base = (0..WORDS * 64).fold(q, |q, _| modulus.double(&q));
        // Fermat: the power of p - 2 is the inverse.
        let mut exponent = p;
        wide::subtract(&mut exponent, &[2]);
        Stage::Join(p, q, Power::new(modulus, Some(base), exponent))
    }
}

fn random(chance: &mut dyn Entropy) -> Wide {
    [0; WORDS].map(|_: u64| chance.u64())
}

/// A number of 1,024 bits whose two highest ones are set, so that the product of two has all of
/// its bits, and the two lowest: FIPS 186-5 leaves those of a prime to be chosen.
fn draw(chance: &mut dyn Entropy) -> Wide {
    let mut out = random(chance);
    out[0] |= 3;
    out[WORDS - 1] |= 3 << 62;
    out
}

/// Half of what is one less than an odd number.
fn half(n: &Wide) -> Wide {
    let mut out = *n;
    wide::divide(&mut out, 2);
    out
}

/// `1 / e` modulo a number that `e`, a prime, does not divide.
fn inverse_of_e(m: &[u64]) -> Vec<u64> {
    let e = u64::from(E);
    let rest = u64::from(wide::rest(m, E));
    // Fermat again: the exponent is 65,535, sixteen bits that are all set.
    let inverse = (0..16).fold(1, |power, _| power * power % e * rest % e);
    let mut out = [m, &[0]].concat();
    wide::multiply_add(&mut out, e - inverse, 1);
    wide::divide(&mut out, E);
    out
}

/// The key of two primes, once it has signed and the signature was right.
fn joined(p: &Wide, q: &Wide, coefficient: &Wide) -> Option<Pair> {
    let less_one = |n: &Wide| {
        let mut out = *n;
        out[0] -= 1;
        out
    };
    let (p1, q1) = (less_one(p), less_one(q));
    let modulus = wide::product(p, q);
    let exponent = inverse_of_e(&wide::product(&p1, &q1));
    // A.1.3 wants more than half of the bits.
    if exponent.iter().skip(WORDS).all(|word| *word == 0) {
        return None;
    }
    let [p1, q1] = [p1, q1].map(|n| inverse_of_e(&n));
    let numbers: [&[u64]; 9] = [&[], &modulus, &[E.into()], &exponent, p, q, &p1, &q1, coefficient];
    let mut fields = Vec::new();
    for number in numbers {
        // With a bit in front that says that it is not negative.
        let bytes = wide::bytes(number);
        let sign: &[u8] = if bytes.first().is_none_or(|b| *b >= 0x80) { &[0] } else { &[] };
        fields.extend(der_of(INTEGER, &[sign, &bytes]));
    }
    let made = Pair { modulus: wide::bytes(&modulus), private: der_of(SEQUENCE, &[&fields]) };
    let text = b"an RSA key that works";
    let signature = sign(&RsaKeyPair::from_der(&made.private).ok()?, text)?;
    let public = RsaPublicKeyComponents { n: made.modulus.clone(), e: EXPONENT.to_vec() };
    public.verify(&RSA_PKCS1_2048_8192_SHA256, text, &signature).ok()?;
    Some(made)
}

/// Signs by RS256: about a millisecond. `None`: the library refuses.
pub fn sign(key: &RsaKeyPair, text: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0; key.public_key().modulus_len()];
    // This way of signing draws no chance; the library wants a source of it all the same.
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut out).ok()?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::der::Der;

    /// A sequence that anyone can repeat (splitmix64).
    struct Chance(u64);

    impl Entropy for Chance {
        fn fill(&mut self, out: &mut [u8]) {
            for chunk in out.chunks_mut(8) {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                chunk.copy_from_slice(&(z ^ z >> 31).to_le_bytes()[..chunk.len()]);
            }
        }
    }

    fn made(seed: u64) -> (Pair, usize) {
        let (mut search, mut chance, mut steps) = (Search::default(), Chance(seed), 1);
        loop {
            if let Some(pair) = search.step(&mut chance) {
                return (pair, steps);
            }
            steps += 1;
        }
    }

    /// That a key signs and its signature is right is part of making it.
    #[test]
    fn keys_are_as_they_must_be() {
        let (pair, steps) = made(1);
        assert_eq!(made(1), (pair.clone(), steps), "the same by the same chance");
        assert!((100..10_000).contains(&steps), "{steps} steps");
        assert_eq!((pair.modulus.len(), pair.modulus[0] >> 7), (256, 1));
        let mut der = Der(&pair.private).sequence().unwrap();
        let numbers: Vec<&[u8]> = std::iter::from_fn(|| der.take(INTEGER)).collect();
        let [version, n, e, d, p, q, ..] = numbers[..] else { panic!("{} numbers", numbers.len()) };
        assert_eq!((numbers.len(), version, e), (9, &[0][..], &EXPONENT[..]));
        assert_eq!(n[1..], pair.modulus);
        assert!(d.len() > 128 && p.len() == 129 && q.len() == 129);
        for prime in [p, q] {
            assert_eq!((prime[0], prime[1] >> 6, prime[128] & 3), (0, 3, 3));
        }
        assert!(p > q);
        assert_ne!(made(2).0.modulus, pair.modulus);
    }

    /// The prime of the second group of RFC 2409.
    fn prime() -> Wide {
        let mut out = [u64::MAX; WORDS];
        let words = [
            0xc90f_daa2_2168_c234,
            0xc4c6_628b_80dc_1cd1,
            0x2902_4e08_8a67_cc74,
            0x020b_bea6_3b13_9b22,
            0x514a_0879_8e34_04dd,
            0xef95_19b3_cd3a_431b,
            0x302b_0a6d_f25f_1437,
            0x4fe1_356d_6d51_c245,
            0xe485_b576_625e_7ec6,
            0xf44c_42e9_a637_ed6b,
            0x0bff_5cb6_f406_b7ed,
            0xee38_6bfb_5a89_9fa5,
            0xae9f_2411_7c4b_1fe6,
            0x4928_6651_ece6_5381,
        ];
        out[1..15].iter_mut().rev().zip(words).for_each(|(to, word)| *to = word);
        out
    }

    #[test]
    fn primes_are_told_from_others() {
        let mut search = Search { stage: Stage::Choose(vec![prime()]), ..Search::default() };
        for _ in 0..1 + (1 + ROUNDS) * 8 {
            assert!(search.first.is_none());
            assert_eq!(search.step(&mut Chance(0)), None);
        }
        assert_eq!(search.first, Some(prime()));
        assert!(!search.fits(&prime()), "the second one must be another");
        let mut near = prime();
        near[APART_BITS / 64 - 1] ^= 1;
        assert!(!search.fits(&near));
        near[WORDS - 1] ^= 1;
        assert!(search.fits(&near));

        // None but primes gets through any of the rounds.
        let mut composite = prime();
        composite[0] -= 4;
        for (passed, base) in (0..=ROUNDS).map(|n| (n, (n > 0).then(|| draw(&mut Chance(9))))) {
            let power = Power::new(Modulus::new(composite), base, half(&composite));
            let stage = Stage::Test(Vec::new(), composite, passed, power);
            let mut search = Search { stage, ..Search::default() };
            (0..8).for_each(|_| assert_eq!(search.step(&mut Chance(0)), None));
            assert!(matches!(search.stage, Stage::Choose(_)) && search.first.is_none());
        }
    }

    #[test]
    fn small_primes_strike_out_what_they_divide_and_no_more() {
        let search = Search::default();
        assert_eq!((search.small.len(), search.small.first()), (1_027, Some(&3)));
        let start = draw(&mut Chance(5));
        let left = search.candidates(start);
        assert!((50..300).contains(&left.len()), "{}", left.len());
        for i in 0..WINDOW as u64 {
            let mut n = start;
            n[0] += 4 * i;
            let divided = search.small.iter().any(|prime| wide::rest(&n, *prime) == 0);
            assert_eq!(left.contains(&n), !divided, "{i}");
        }
    }
}
