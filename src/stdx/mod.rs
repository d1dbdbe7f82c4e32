//! Small things that the standard library could have had; pure, and free of the rest of the crate.

pub mod blake2b;
pub mod crc;
pub mod der;
pub mod duration;
pub mod json;
pub mod meter;
mod now;
pub mod ordered;
mod parse_bool;
pub mod slab;
pub mod sort;
pub mod tar;
pub mod time;
pub mod uuid;
pub mod wheel;
pub mod wide;
pub mod zone;

pub use now::{Entropy, Now};
pub use ordered::{BTreeMap, BTreeSet};
pub use parse_bool::parse_bool;

/// Compares secrets in a time that depends on their lengths alone.
pub fn same_secret(a: &str, b: &str) -> bool {
    let differing = a.bytes().zip(b.bytes()).fold(0, |all, (x, y)| all | (x ^ y));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}
