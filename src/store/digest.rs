//! A sum over all rows of the replicated state, kept up to date by every change.
//!
//! It does not depend on the order of the rows, so a change costs the hashes of the old row and of
//! the new one. Servers that applied the same entries have the same sum: they compare theirs (see
//! `agent::digests`). And what lies on the disk must come to it: the rows are read through every
//! now and then, a piece at a time, and summed up again ([`Scrub`]). LMDB itself has no checksums.

use heed::RoTxn;

use super::install::{Export, pair};
use super::schema::{Db, Dbs, Indexes, u64_at};
use super::{Batch, ExportId, Extent, Store, StoreError};

/// The sums of the set that is in force and of the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) active: u64,
    pub(super) other: u64,
}

impl Sums {
    /// Where it lies in the `meta` database, behind the entry that it is of: an earlier program
    /// leaves it behind.
    const KEY: &'static [u8] = b"sums";

    fn encode(self, indexes: &Indexes) -> [u8; 24] {
        let mut out = [0; 24];
        for (to, n) in out.chunks_exact_mut(8).zip([indexes.applied, self.active, self.other]) {
            to.copy_from_slice(&n.to_be_bytes());
        }
        out
    }

    /// As they are stored, or summed up where they are not.
    pub(super) fn read(
        (dbs, other): (&Dbs, &Dbs),
        txn: &RoTxn<'_>,
        indexes: &Indexes,
    ) -> Result<Self, StoreError> {
        let stored = dbs.meta.get(txn, Self::KEY)?.and_then(|b| {
            let is_of = u64_at(b, 0)? == indexes.applied;
            Some(Self { active: u64_at(b, 8)?, other: u64_at(b, 16)? }).filter(|_| is_of)
        });
        match stored {
            Some(sums) => Ok(sums),
            None => Ok(Self { active: sum(dbs, txn)?, other: sum(other, txn)? }),
        }
    }
}

fn sum(dbs: &Dbs, txn: &RoTxn<'_>) -> Result<u64, StoreError> {
    let mut sum = 0u64;
    for (number, db) in dbs.replicated() {
        for pair in db.iter(txn)? {
            let (key, value) = pair?;
            sum = sum.wrapping_add(hash(number, key, value));
        }
    }
    Ok(sum)
}

/// 64 bits that change with any bit of a row. Against chance, not against someone who writes into
/// the file.
pub(super) fn hash(number: u8, key: &[u8], value: &[u8]) -> u64 {
    let lengths = (key.len() as u64) << 40 | (value.len() as u64) << 8 | u64::from(number);
    let h = fold(lengths ^ 0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93);
    hash_on(hash_on(h, key), value)
}

fn hash_on(mut h: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        h = fold(h ^ word, 0xa076_1d64_78bd_642f).wrapping_add(word.rotate_left(29));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    let word = u64::from_le_bytes(last);
    fold(h ^ word, 0xe703_7ed1_a0b4_28db).wrapping_add(word.rotate_left(29))
}

/// Both halves of a product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    ((product >> 64) as u64) ^ (product & u128::from(u64::MAX)) as u64
}

impl Batch<'_> {
    /// Sets or removes a pair of the state in force; whether it was there.
    pub(super) fn change(
        &mut self,
        number: u8,
        db: Db,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<bool, StoreError> {
        let mut sum = self.sums.active;
        let old = db.get(&self.txn, key)?;
        let there = old.is_some();
        if there && old == value {
            return Ok(true);
        }
        if let Some(old) = old {
            sum = sum.wrapping_sub(hash(number, key, old));
        }
        match value {
            Some(value) => {
                sum = sum.wrapping_add(hash(number, key, value));
                db.put(&mut self.txn, key, value)?;
            }
            None if there => drop(db.delete(&mut self.txn, key)?),
            None => {}
        }
        self.sums.active = sum;
        Ok(there)
    }

    /// Notes the sum that the state has after an entry, to be compared with others.
    pub fn mark(&mut self, entry: u64) {
        self.touched.marks.push((entry, self.sums.active));
    }

    pub(super) fn put_sums(&mut self) -> Result<(), StoreError> {
        let row = self.sums.encode(&self.indexes);
        self.put_meta(Sums::KEY, &row)
    }
}

/// The rows on the disk, on their way to being summed up.
pub struct Scrub {
    export: ExportId,
    sum: u64,
    want: u64,
}

impl Store {
    /// Begins to sum up what is there now.
    ///
    /// # Errors
    /// Those of the store.
    pub fn begin_scrub(&mut self) -> Result<Scrub, StoreError> {
        let want = self.sums.get().active;
        Ok(Scrub { export: self.export(Extent::Archive)?, sum: 0, want })
    }

    /// Sums up about `most` more bytes; true: that was the rest. `None`: it was given up, as an
    /// export is.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where the rows are not what was written; those of the store.
    pub fn scrub(&mut self, scrub: &mut Scrub, most: usize) -> Result<Option<bool>, StoreError> {
        let mut bytes = Vec::new();
        let Some(whole) = self.read_export(scrub.export, &mut bytes, most)? else {
            return Ok(None);
        };
        let mut rest = Export::rows(&bytes);
        while let Ok(Some((number, key, value, len))) = pair(rest) {
            scrub.sum = scrub.sum.wrapping_add(hash(number, key, value));
            rest = rest.get(len..).unwrap_or_default();
        }
        if whole {
            self.end_export(scrub.export);
            if scrub.sum != scrub.want {
                let text = "rows in the file are not as they were written";
                return Err(StoreError::Damaged(text.to_owned()));
            }
        }
        Ok(Some(whole))
    }

    /// Ends it, whole or not.
    pub fn end_scrub(&mut self, scrub: &Scrub) {
        self.end_export(scrub.export);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bit_counts() {
        let (key, value) = (*b"a key of a row", *b"some value, a little longer than the key");
        let own = hash(3, &key, &value);
        assert_ne!(own, hash(4, &key, &value));
        assert_ne!(hash(3, b"ab", b"c"), hash(3, b"a", b"bc"));
        assert_ne!(hash(3, b"a", b"\0"), hash(3, b"a", b""));
        for at in 0..value.len() * 8 {
            let mut other = value;
            other[at / 8] ^= 1 << (at % 8);
            assert_ne!(own, hash(3, &key, &other), "{at}");
        }
        for at in 0..key.len() * 8 {
            let mut other = key;
            other[at / 8] ^= 1 << (at % 8);
            assert_ne!(own, hash(3, &other, &value), "{at}");
        }
    }
}
