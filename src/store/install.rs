//! The replicated state as bytes, for a server whose log ends before another's begins.
//!
//! A mark; for every pair the number of its database, the lengths of key and value (u32, big end
//! first), both of them; the table indexes as the last pair; a checksum over all. The log, this
//! server's notes and the rows of its node are not part of it.

use super::schema::{Db, Dbs, Indexes};
use super::{Batch, Reader, StoreError, Table, crc32c};

const MARK: &[u8] = b"vardo install 1\n";
const STUB: u8 = 0x40;
const IX: u8 = 0x80;
const SECRET: u8 = 0x81;
const INDEXES: u8 = 0xff;

impl Dbs {
    /// The replicated databases, each with its number.
    fn replicated(&self) -> impl Iterator<Item = (u8, Db)> {
        let tables = Table::ALL.into_iter().map(|t| (t as u8, self.table(t)));
        let stubs = Table::ALL.into_iter().filter_map(|t| Some((t as u8 | STUB, self.stub(t)?)));
        tables.chain(stubs).chain([(IX, self.ix), (SECRET, self.secret)])
    }
}

impl Reader<'_> {
    /// All of the replicated state.
    pub fn state(&self) -> Result<Vec<u8>, StoreError> {
        let mut out = MARK.to_vec();
        let mut put = |number: u8, key: &[u8], value: &[u8]| {
            out.push(number);
            for part in [key, value] {
                let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&len.to_be_bytes());
            }
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        };
        for (number, db) in self.dbs.replicated() {
            for pair in db.iter(self.txn)? {
                let (key, value) = pair?;
                put(number, key, value);
            }
        }
        put(INDEXES, &[], &self.indexes.encode());
        let sum = crc32c(0, &out);
        out.extend_from_slice(&sum.to_be_bytes());
        Ok(out)
    }
}

/// A state that came whole.
pub struct State<'a> {
    pairs: Pairs<'a>,
    indexes: Indexes,
}

impl<'a> State<'a> {
    /// `None` for bytes that are none, or not as they were sent.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (whole, sum) = bytes.split_last_chunk::<4>()?;
        if crc32c(0, whole) != u32::from_be_bytes(*sum) {
            return None;
        }
        let pairs = Pairs(whole.strip_prefix(MARK)?);
        let mut rest = Pairs(pairs.0);
        let (number, _, value) = rest.by_ref().last()?;
        let complete = rest.0.is_empty() && number == INDEXES;
        complete.then_some(Self { pairs, indexes: Indexes::decode(value)? })
    }

    /// The last entry that it holds the effects of.
    pub fn index(&self) -> u64 {
        self.indexes.applied
    }
}

struct Pairs<'a>(&'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = (u8, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (number, rest) = self.0.split_first()?;
        let (key, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*key) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*value) as usize)?;
        self.0 = rest;
        Some((*number, key, value))
    }
}

impl Batch<'_> {
    /// Replaces the replicated state. The log begins anew behind it; `term` is that of its last
    /// entry.
    ///
    /// # Errors
    /// Those of the store.
    pub fn install(&mut self, state: &State<'_>, term: u64) -> Result<(), StoreError> {
        let dbs: Vec<(u8, Db)> = self.dbs.replicated().collect();
        for (_, db) in &dbs {
            db.clear(&mut self.txn)?;
        }
        for (number, key, value) in Pairs(state.pairs.0) {
            if let Some((_, db)) = dbs.iter().find(|(n, _)| *n == number) {
                db.put(&mut self.txn, key, value)?;
            }
        }
        self.replace_indexes(state.indexes.clone());
        self.reset_log(state.index(), term)
    }
}
