//! Root keys: each signs workload identities and encrypts variables at rest.
//!
//! Values are encrypted before they enter the log, so neither log nor state hold them in the clear.
//! The key of the encryption is derived from the root key's secret, and bound to the variable's
//! name: a value cannot be moved to another row.
//!
//! A root key has two halves. Ed25519 signs what only servers of this cluster check; its seed is
//! drawn in no time, so that a new cluster begins at once. RSA signs what leaves: others ask for
//! RS256. That half takes a while to make (`server::rsa`). A new cluster's first key gets it in
//! idle moments soon after, or as soon as someone asks for a signature by it; a key that takes the
//! place of another has it from the beginning, and whoever asked for it waits. A secret is the seed
//! in base64, a dot, and the other half's private key in base64, which is empty while it is waited
//! for. Keys of older agents have a seed alone, no dot, and sign by it until they are replaced.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair, RsaKeyPair};

use super::making::Making;
use super::rsa::{self, Pair};
use crate::api::{RootKey, RootKeyMeta, Variable, status};
use crate::command::Command;
use crate::limits::{ROOT_KEY_ROTATION_NS, SECOND, VARIABLES_REKEYED_PER_STEP};
use crate::stdx::json::{self, Bytes};
use crate::stdx::{Entropy, Now, uuid};
use crate::store::rows::Client;
use crate::store::{KEYRING, Reader, Row, StoreError, Table, keys, splice};

/// Bytes of an Ed25519 seed.
const SEED: usize = 32;
/// How long after a new leader the first key's RSA half is begun, where nobody waits for it.
const LATE_NS: u64 = 2 * SECOND;
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
    Ok(Some(new_key(now.wall_ns, false, 0, false, None, entropy)))
}

/// A new key that takes the place of the active one, at once or at `publish_ns`. Without `rsa` it
/// is to be given that half later.
pub fn new_key(
    wall_ns: i64,
    rotate: bool,
    publish_ns: i64,
    full: bool,
    rsa: Option<&Pair>,
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
        modulus: Bytes(rsa.map(|r| r.modulus.clone()).unwrap_or_default()),
        secret: both(&Bytes::encode(&seed), rsa.map_or(&[], |r| &r.private)),
        wall_ns,
        rotate,
        publish_ns,
        full,
    }
}

/// A secret of both halves.
fn both(seed: &str, private: &[u8]) -> String {
    [seed, &Bytes::encode(private)].join(".")
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

/// The secrets of both halves; `None`: the key is of one alone.
fn halves<'r>(reader: Reader<'r>, id: &str) -> Result<(&'r str, Option<&'r str>), SealError> {
    let row = keys::name(&format!("{KEYRING}{id}"));
    let secret = reader.secret(Table::Operator, &row)?.ok_or(SealError::Broken)?;
    Ok(secret.split_once('.').map_or((secret, None), |(seed, private)| (seed, Some(private))))
}

fn seed(reader: Reader<'_>, id: &str) -> Result<Vec<u8>, SealError> {
    Bytes::decode(halves(reader, id)?.0).ok_or(SealError::Broken)
}

/// Whether a key waits for its RSA half.
///
/// # Errors
/// Those of the store, or there is no such key.
pub fn is_late(reader: Reader<'_>, id: &str) -> Result<bool, SealError> {
    Ok(halves(reader, id)?.1.is_some_and(str::is_empty))
}

/// What signs identities with a root key.
pub(super) enum Signer {
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Signer {
    /// By RSA where the key has that half, and `leaves` says that others than servers of this
    /// cluster are to check what is signed.
    pub(super) fn new(reader: Reader<'_>, id: &str, leaves: bool) -> Result<Self, SealError> {
        let private = halves(reader, id)?.1.filter(|private| leaves && !private.is_empty());
        let signer = match private {
            Some(private) => {
                let private = Bytes::decode(private).ok_or(SealError::Broken)?;
                RsaKeyPair::from_der(&private).map(|pair| Self::Rsa(Box::new(pair)))
            }
            None => Ed25519KeyPair::from_seed_unchecked(&seed(reader, id)?).map(Self::Ed25519),
        };
        signer.map_err(|_| SealError::Broken)
    }

    /// As tokens name it.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::Rsa(_) => "RS256",
        }
    }

    /// Twenty microseconds of work, by RSA a millisecond. `None`: the library refuses.
    pub(super) fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(pair) => Some(pair.sign(text).as_ref().to_vec()),
            Self::Rsa(pair) => rsa::sign(pair, text),
        }
    }
}

/// A code over a text that only servers of this cluster can make, by a root key; `purpose` tells
/// it from other codes.
///
/// # Errors
/// Those of the store, or there is no such key.
pub fn code(
    reader: Reader<'_>,
    id: &str,
    purpose: &[u8],
    text: &[u8],
) -> Result<[u8; 32], SealError> {
    let derived = derived(reader, id, purpose)?;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()), text);
    tag.as_ref().try_into().map_err(|_| SealError::Broken)
}

/// A secret for one purpose, derived from that of a root key.
fn derived(reader: Reader<'_>, id: &str, purpose: &[u8]) -> Result<hmac::Tag, SealError> {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, &seed(reader, id)?);
    Ok(hmac::sign(&secret, purpose))
}

/// The key of the encryption that belongs to a root key.
fn cipher(reader: Reader<'_>, id: &str) -> Result<LessSafeKey, SealError> {
    let derived = derived(reader, id, PURPOSE)?;
    let key = UnboundKey::new(&AES_256_GCM, derived.as_ref()).map_err(|_| SealError::Broken)?;
    Ok(LessSafeKey::new(key))
}

fn key_of(row: &Row<'_>) -> Option<String> {
    json::decode(splice::field(row.json, "KeyID")?).ok()
}

/// Whether a variable is encrypted with a key, or an allocation holds an identity that it signed,
/// or may hold one with an end that the key signed before another took its place.
///
/// # Errors
/// Those of the store.
pub fn key_in_use(reader: Reader<'_>, id: &str, wall_ns: i64) -> Result<bool, StoreError> {
    let keys = reader.root_keys()?;
    let active = keys.iter().find(|k| k.meta.state == status::KEY_ACTIVE);
    let signed = keys.iter().any(|k| {
        k.meta.key_id == id
            && ![status::KEY_ACTIVE, status::KEY_PREPUBLISHED].contains(&&*k.meta.state)
    });
    if let Some(active) = active.filter(|_| signed) {
        let ends = service_time(&active.meta).saturating_add(longest_identity(reader)?);
        if wall_ns < ends {
            return Ok(true);
        }
    }
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

/// How long tokens with an end are valid at most, as the jobs that there are say, in nanoseconds.
fn longest_identity(reader: Reader<'_>) -> Result<i64, StoreError> {
    const NAME: &[u8] = b"\"TTL\":";
    let mut longest = 0;
    for pair in reader.scan(Table::Job, &[], None, false)? {
        let (_, row) = pair?;
        // Found as text: jobs are many and long, and other members of that name do no harm.
        let places = row.json.windows(NAME.len()).enumerate().filter(|(_, w)| *w == NAME);
        for (at, _) in places {
            let rest = row.json.get(at.saturating_add(NAME.len())..).unwrap_or_default();
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).take(18);
            let number = digits.fold(0_i64, |n, b| n * 10 + i64::from(b - b'0'));
            longest = number.max(longest);
        }
    }
    Ok(longest)
}

/// What root keys make due by themselves: a published one becomes active, an old one is replaced,
/// the first one gets its RSA half, and variables get another key.
pub(super) struct Upkeep {
    /// ns since the epoch.
    due: i64,
    rekeying: bool,
    /// A key that waits for its RSA half.
    late: Option<String>,
    /// When that half may be begun, mono ns.
    begin: u64,
    pub(super) making: Making,
}

impl Default for Upkeep {
    fn default() -> Self {
        let (late, begin) = (None, u64::MAX);
        Self { due: i64::MAX, rekeying: false, late, begin, making: Making::default() }
    }
}

impl Upkeep {
    /// This server leads from now on.
    pub(super) fn lead(&mut self, now: Now, reader: Reader<'_>) -> Result<(), StoreError> {
        self.begin = now.mono_ns.saturating_add(LATE_NS);
        self.touched(reader, Table::Operator.bit())
    }

    /// Somebody waits for the RSA half of a key.
    pub(super) fn press(&mut self) {
        self.begin = 0;
    }

    /// Rows of these tables changed.
    pub(super) fn touched(&mut self, reader: Reader<'_>, tables: u32) -> Result<(), StoreError> {
        let watched = if self.rekeying { Table::Variable.bit() } else { 0 };
        if tables & (Table::Operator.bit() | watched) == 0 {
            return Ok(());
        }
        self.rekeying = false;
        self.late = None;
        self.due = i64::MAX;
        for RootKey { meta, .. } in reader.root_keys()? {
            if is_late(reader, &meta.key_id).unwrap_or(false) {
                self.late = Some(meta.key_id.clone());
                self.making.want(self.begin);
            }
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
        let due = (self.due != i64::MAX).then(|| now.mono_ns.saturating_add(wait));
        [due, self.making.deadline()].into_iter().flatten().min()
    }

    /// One step; the next one must see it applied.
    pub(super) fn step(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<Command>, StoreError> {
        if self.late.is_some() {
            if let Some(pair) = self.making.take() {
                return Ok(self.late.take().and_then(|id| completed(reader, id, pair)));
            }
            if self.begin == 0 {
                self.making.press();
            } else {
                self.making.want(self.begin);
            }
        }
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
            let Some(pair) = self.making.take() else {
                self.making.press();
                self.due = now.wall_ns;
                return Ok(None);
            };
            return Ok(Some(new_key(now.wall_ns, true, 0, false, Some(&pair), entropy)));
        }
        rekey(reader, &of(status::KEY_REKEYING).collect::<Vec<_>>(), entropy)
    }
}

/// Gives a key its RSA half.
fn completed(reader: Reader<'_>, id: String, pair: Pair) -> Option<Command> {
    let (seed, _) = halves(reader, &id).ok()?;
    let secret = both(seed, &pair.private);
    Some(Command::RootKeyRsa { id, modulus: Bytes(pair.modulus), secret })
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
