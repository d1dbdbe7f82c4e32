//! The key that signs workload identities.

use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::command::Command;
use crate::stdx::json::Bytes;
use crate::stdx::{Entropy, Now, uuid};
use crate::store::{Reader, StoreError};

/// Bytes of an Ed25519 seed.
const SEED: usize = 32;

/// A new key, for a leader that finds none active.
pub fn first_key(
    reader: Reader<'_>,
    now: Now,
    entropy: &mut dyn Entropy,
) -> Result<Option<Command>, StoreError> {
    if reader.signing_key()?.is_some() {
        return Ok(None);
    }
    let mut seed = [0; SEED];
    entropy.fill(&mut seed);
    let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&seed) else {
        unreachable!("{SEED} bytes are a seed");
    };
    Ok(Some(Command::RootKey {
        id: uuid::new(entropy),
        public: Bytes(pair.public_key().as_ref().to_vec()),
        secret: Bytes::encode(&seed),
        wall_ns: now.wall_ns,
    }))
}
