//! The whole replicated state as a sequence of bytes, and back.
//!
//! Begins with [`MARK`]; then, for every pair, a byte for its database, the lengths of key and
//! value (u32, big-endian), key and value. The log, this server's notes and node-local rows are not
//! part of it.

use super::schema::{Db, Dbs};
use super::{Batch, Reader, Store, StoreError, Table, Touched};

/// Which program and layout wrote it.
const MARK: &[u8] = b"vardo state 1\n";
/// Bytes that are handed on at a time, roughly.
const PIECE: usize = 64 << 10;

impl Dbs {
    /// The databases of an export, each with its number.
    fn exported(&self) -> impl Iterator<Item = (u8, Db)> {
        let tables = Table::ALL.into_iter().map(|t| (t as u8, self.table(t)));
        let stubs = Table::ALL.into_iter().filter_map(|t| Some((t as u8 | 0x40, self.stub(t)?)));
        tables.chain(stubs).chain([(0x80, self.ix), (0x81, self.secret)])
    }
}

impl Reader<'_> {
    /// Hands the state on, piece by piece.
    ///
    /// # Errors
    /// Those of the store.
    pub fn export(&self, to: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let mut piece = MARK.to_vec();
        for (number, db) in self.dbs.exported() {
            for pair in db.iter(self.txn)? {
                let (key, value) = pair?;
                piece.push(number);
                for part in [key, value] {
                    let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                    piece.extend_from_slice(&length.to_be_bytes());
                }
                piece.extend_from_slice(key);
                piece.extend_from_slice(value);
                if piece.len() >= PIECE {
                    to(&piece);
                    piece.clear();
                }
            }
        }
        to(&piece);
        Ok(())
    }
}

/// The pairs of an export; ends early, without [`Self::is_whole`], where it is cut or foreign.
pub struct Import<'a> {
    rest: &'a [u8],
    whole: bool,
}

impl<'a> Import<'a> {
    /// `None` for what is no export.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        Some(Self { rest: bytes.strip_prefix(MARK)?, whole: true })
    }

    /// Whether every byte was understood.
    pub fn is_whole(mut self) -> bool {
        while self.next().is_some() {}
        self.whole
    }

    fn pair(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (number, rest) = self.rest.split_first()?;
        let (key_len, rest) = rest.split_first_chunk::<4>()?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let length = |b: &[u8; 4]| usize::try_from(u32::from_be_bytes(*b)).ok();
        let (key, rest) = rest.split_at_checked(length(key_len)?)?;
        let (value, rest) = rest.split_at_checked(length(value_len)?)?;
        let fits = !key.is_empty() && key.len() <= 511;
        self.rest = rest;
        fits.then_some((*number, key, value))
    }
}

impl<'a> Iterator for Import<'a> {
    type Item = (u8, &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let pair = self.pair();
        if pair.is_none() {
            self.whole = false;
            self.rest = &[];
        }
        pair
    }
}

impl Store {
    /// Replaces the replicated state by an export. The log begins anew behind every index that
    /// either has seen.
    ///
    /// # Errors
    /// Those of the store; then nothing has changed.
    pub fn import(&mut self, bytes: &[u8], term: u64) -> Result<Touched, StoreError> {
        let mut batch = self.batch()?;
        batch.import(bytes, term)?;
        batch.commit()
    }
}

impl Batch<'_> {
    fn import(&mut self, bytes: &[u8], term: u64) -> Result<(), StoreError> {
        let foreign = || StoreError::Damaged("no export of a state".to_owned());
        let dbs: Vec<(u8, Db)> = self.dbs.exported().collect();
        let mut newest = self.reader().log_bounds()?.last.max(self.indexes.applied);
        for (_, db) in &dbs {
            db.clear(&mut self.txn)?;
        }
        for (number, key, value) in Import::new(bytes).ok_or_else(foreign)? {
            let Some((_, db)) = dbs.iter().find(|(n, _)| *n == number) else { continue };
            if number < 0x40 {
                let head = super::RowHead::decode(value).ok_or_else(foreign)?;
                newest = newest.max(head.modify);
            }
            db.put(&mut self.txn, key, value)?;
        }
        let index = newest.saturating_add(1);
        self.skip(index);
        for table in Table::ALL {
            self.indexes.tables[table as usize] = index;
            self.touched.tables |= table.bit();
        }
        self.reset_log(index, term)
    }
}
