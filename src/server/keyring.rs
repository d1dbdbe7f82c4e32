//! Root keys: each signs workload identities and encrypts variables at rest.
//!
//! Values are encrypted before they enter the log, so neither log nor state hold them in the clear.
//! The key of the encryption is derived from the root key's secret, and bound to the variable's
//! name: a value cannot be moved to another row.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::api::{RootKey, RootKeyMeta, Variable, status};
use crate::command::Command;
use crate::limits::{ROOT_KEY_ROTATION_NS, VARIABLES_REKEYED_PER_STEP};
use crate::stdx::json::{self, Bytes};
use crate::stdx::{Entropy, Now, uuid};
use crate::store::rows::Client;
use crate::store::{KEYRING, Reader, Row, StoreError, Table, keys, splice};

/// Bytes of an Ed25519 seed.
const SEED: usize = 32;
/// Tells the key of the encryption from others that may be derived from the same secret.
const PURPOSE: &[u8] = b"variables";

/// A new key, for a leader that finds none active.
pub fn first_key(
    reader: Reader<'_>,
    now: Now,
    entropy: &mut dyn Entropy,
) -> Result<Option<Command>, StoreError> {
    if reader.signing_key()?.is_some() {
        return Ok(None);
    }
    Ok(Some(new_key(now.wall_ns, false, 0, false, entropy)))
}

/// A new key that takes the place of the active one, at once or at `publish_ns`.
pub fn new_key(
    wall_ns: i64,
    rotate: bool,
    publish_ns: i64,
    full: bool,
    entropy: &mut dyn Entropy,
) -> Command {
    let mut seed = [0; SEED];
    entropy.fill(&mut seed);
    let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(&seed) else {
        unreachable!("{SEED} bytes are a seed");
    };
    Command::RootKey {
        id: uuid::new(entropy),
        public: Bytes(pair.public_key().as_ref().to_vec()),
        secret: Bytes::encode(&seed),
        wall_ns,
        rotate,
        publish_ns,
        full,
    }
}

/// Why a variable cannot be read or written.
#[derive(Debug)]
pub enum SealError {
    Store(StoreError),
    /// The key is gone, or the value is not what was encrypted.
    Broken,
}

impl From<StoreError> for SealError {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

/// Replaces the items of a variable by what may lie on the disk.
///
/// # Errors
/// Those of the store. Before the first leader has made a key the items stay as they are, and are
/// encrypted as soon as there is one.
pub fn seal(
    reader: Reader<'_>,
    variable: &mut Variable,
    entropy: &mut dyn Entropy,
) -> Result<(), SealError> {
    let Some(id) = reader.signing_key()? else { return Ok(()) };
    let key = cipher(reader, &id)?;
    let mut nonce = [0; NONCE_LEN];
    entropy.fill(&mut nonce);
    let mut value = json::encode(&variable.items);
    let name = keys::variable(&variable.namespace, &variable.path);
    let nonce_now = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce_now, Aad::from(&name), &mut value)
        .map_err(|_| SealError::Broken)?;
    variable.items.clear();
    variable.data = Bytes([&nonce[..], &value].concat());
    variable.key_id = id;
    Ok(())
}

/// The variable of a row, with its items in the clear.
///
/// # Errors
/// Those of the store, or where the row is not what was written.
pub fn open(reader: Reader<'_>, row: &[u8]) -> Result<Variable, SealError> {
    let variable: Variable = json::decode(row).map_err(|_| SealError::Broken)?;
    unseal(reader, variable)
}

/// [`open`] for a row that is decoded already.
///
/// # Errors
/// As there.
pub fn unseal(reader: Reader<'_>, mut variable: Variable) -> Result<Variable, SealError> {
    if variable.key_id.is_empty() {
        return Ok(variable);
    }
    let key = cipher(reader, &variable.key_id)?;
    let name = keys::variable(&variable.namespace, &variable.path);
    let mut data = std::mem::take(&mut variable.data.0);
    let (nonce, value) = data.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Broken)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Broken)?;
    let clear = key.open_in_place(nonce, Aad::from(&name), value).map_err(|_| SealError::Broken)?;
    variable.items = json::decode(clear).map_err(|_| SealError::Broken)?;
    variable.key_id.clear();
    Ok(variable)
}

/// The key of the encryption that belongs to a root key.
fn cipher(reader: Reader<'_>, id: &str) -> Result<LessSafeKey, SealError> {
    let row = keys::name(&format!("{KEYRING}{id}"));
    let secret = reader.secret(Table::Operator, &row)?.and_then(Bytes::decode);
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &secret.ok_or(SealError::Broken)?);
    let derived = hmac::sign(&secret, PURPOSE);
    let key = UnboundKey::new(&AES_256_GCM, derived.as_ref()).map_err(|_| SealError::Broken)?;
    Ok(LessSafeKey::new(key))
}

fn key_of(row: &Row<'_>) -> Option<String> {
    json::decode(splice::field(row.json, "KeyID")?).ok()
}

/// Whether a variable is encrypted with a key, or an allocation holds an identity that it signed.
///
/// # Errors
/// Those of the store.
pub fn key_in_use(reader: Reader<'_>, id: &str) -> Result<bool, StoreError> {
    for pair in reader.scan(Table::Variable, &[], None, false)? {
        if key_of(&pair?.1).is_some_and(|k| k == id) {
            return Ok(true);
        }
    }
    for pair in reader.scan(Table::Alloc, &[], None, false)? {
        let (_, row) = pair?;
        let lives = !row.alloc().terminal() || row.alloc().client == Client::Unknown;
        let signer = splice::field(row.json, "SigningKeyID").filter(|_| lives);
        if signer.and_then(|s| json::decode::<String>(s).ok()).is_some_and(|k| k == id) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What root keys make due by themselves: a published one becomes active, an old one is replaced,
/// and variables get another key.
#[derive(Debug)]
pub(super) struct Upkeep {
    /// ns since the epoch.
    due: i64,
    rekeying: bool,
}

impl Default for Upkeep {
    fn default() -> Self {
        Self { due: i64::MAX, rekeying: false }
    }
}

impl Upkeep {
    /// Rows of these tables changed.
    pub(super) fn touched(&mut self, reader: Reader<'_>, tables: u32) -> Result<(), StoreError> {
        let watched = if self.rekeying { Table::Variable.bit() } else { 0 };
        if tables & (Table::Operator.bit() | watched) == 0 {
            return Ok(());
        }
        self.rekeying = false;
        self.due = i64::MAX;
        for RootKey { meta, .. } in reader.root_keys()? {
            let at = match meta.state.as_str() {
                status::KEY_PREPUBLISHED => meta.publish_time,
                status::KEY_ACTIVE => service_time(&meta).saturating_add(ROOT_KEY_ROTATION_NS),
                status::KEY_REKEYING => {
                    self.rekeying = true;
                    0
                }
                _ => continue,
            };
            self.due = self.due.min(at);
        }
        if self.due != i64::MAX {
            // What was written before the first key.
            for pair in reader.scan(Table::Variable, &[], None, false)? {
                if key_of(&pair?.1).is_none() {
                    (self.rekeying, self.due) = (true, 0);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Mono ns at which [`Self::step`] has something to do.
    pub(super) fn deadline(&self, now: Now) -> Option<u64> {
        let wait = u64::try_from(self.due.saturating_sub(now.wall_ns)).unwrap_or(0);
        (self.due != i64::MAX).then(|| now.mono_ns.saturating_add(wait))
    }

    /// One step; the next one must see it applied.
    pub(super) fn step(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<Command>, StoreError> {
        if self.due > now.wall_ns {
            return Ok(None);
        }
        self.due = i64::MAX;
        let root_keys = reader.root_keys()?;
        let of = |state: &'static str| root_keys.iter().filter(move |k| k.meta.state == state);
        if let Some(k) = of(status::KEY_PREPUBLISHED).find(|k| k.meta.publish_time <= now.wall_ns) {
            let (id, state) = (k.meta.key_id.clone(), status::KEY_ACTIVE.to_owned());
            return Ok(Some(Command::RootKeyState { id, state }));
        }
        let rotated = now.wall_ns.saturating_sub(ROOT_KEY_ROTATION_NS);
        if of(status::KEY_ACTIVE).any(|k| service_time(&k.meta) <= rotated) {
            return Ok(Some(new_key(now.wall_ns, true, 0, false, entropy)));
        }
        rekey(reader, &of(status::KEY_REKEYING).collect::<Vec<_>>(), entropy)
    }
}

/// Since when a key is or will be active.
fn service_time(meta: &RootKeyMeta) -> i64 {
    meta.create_time.max(meta.publish_time)
}

/// Encrypts some of what `old` keys hold with the active one.
fn rekey(
    reader: Reader<'_>,
    old: &[&RootKey],
    entropy: &mut dyn Entropy,
) -> Result<Option<Command>, StoreError> {
    let mut variables = Vec::new();
    for pair in reader.scan(Table::Variable, &[], None, false)? {
        let (_, row) = pair?;
        if variables.len() >= VARIABLES_REKEYED_PER_STEP {
            break;
        }
        if key_of(&row).is_some_and(|id| old.iter().all(|k| k.meta.key_id != id)) {
            continue;
        }
        let sealed = open(reader, row.json).and_then(|mut variable| {
            seal(reader, &mut variable, entropy)?;
            Ok(variable)
        });
        match sealed {
            Ok(variable) => variables.push(variable),
            Err(SealError::Store(e)) => return Err(e),
            Err(SealError::Broken) => {
                log::error!("a variable cannot be encrypted anew, so its root key stays");
                return Ok(None);
            }
        }
    }
    if variables.is_empty() {
        let Some(first) = old.first() else { return Ok(None) };
        let (id, state) = (first.meta.key_id.clone(), status::KEY_INACTIVE.to_owned());
        return Ok(Some(Command::RootKeyState { id, state }));
    }
    Ok(Some(Command::VariableRekey { variables }))
}
