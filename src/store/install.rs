//! The whole replicated state, for an archive or for a server whose log ends before another's
//! begins: read out over many turns, taken in over many turns, put into force in one transaction.
//!
//! The bytes are a mark; for every pair the number of its database, the lengths of key and value
//! (u32, big end first), both of them. Pairs come in order. The log, this server's notes and the
//! rows of its node are not part of it. Between servers the table indexes follow as the last pair,
//! and a checksum over all; archives have checksums of their own.
//!
//! The databases of the replicated state exist twice. One set is in force. What comes is staged in
//! the other one, by as many transactions as it takes, and the last of them only says that the
//! other set is in force from now on: a crash before it leaves the old state, one after it the new.
//! Whatever the set that is not in force still holds is swept away in small steps.

use std::ops::Bound;

use heed::{PutFlags, RoTxn, WithoutTls};

use super::digest::{Sums, hash};
use super::schema::{Db, Dbs, Indexes, SETS, TABLES, id_at, u64_at};
use super::{Batch, Reader, RowHead, Store, StoreError, Table, crc32c};
use crate::command::Applied;
use crate::stdx::uuid;

const MARK: &[u8] = b"vardo install 2\n";
/// What the state in an archive begins with.
pub const ARCHIVE_MARK: &[u8] = b"vardo state 1\n";
/// Where tables end among the numbers of databases.
const TABLES_END: u8 = STUB;
pub(super) const STUB: u8 = 0x40;
pub(super) const IX: u8 = 0x80;
pub(super) const SECRET: u8 = 0x81;
const INDEXES: u8 = 0xff;
/// Number, two lengths.
const HEAD: usize = 1 + 4 + 4;
/// Largest value that is believed, in bytes; no entry of the log makes a row of this size.
const VALUE_BYTES_MAX: usize = 64 << 20;
/// Largest key that the storage library takes, in bytes.
const KEY_BYTES_MAX: usize = 511;
/// How far the file may grow while a state is read out, beyond twice its size then, in bytes: pages
/// that a reader may still look at cannot be used again.
const GROWTH_BYTES_MAX: u64 = 1 << 30;

/// A state that is whole beside the one in force, until an entry of the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub id: [u8; 16],
    /// In which it came. A leader of a later one does not know of it, unless its entry is in the
    /// log.
    pub term: u64,
}

/// Which set of databases is in force, and what the other one holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) active: usize,
    /// The other one holds anything.
    pub(super) dirty: bool,
    pub(super) kept: Option<Kept>,
}

impl Sets {
    /// Where it lies in the `meta` database.
    const KEY: &'static [u8] = b"sets";

    /// As it is stored.
    pub(super) fn read(dbs: &Dbs, txn: &RoTxn<'_>) -> Result<Self, StoreError> {
        let Some(stored) = dbs.meta.get(txn, Self::KEY)? else { return Ok(Self::default()) };
        let parts = || {
            let ([active, dirty], rest) = stored.split_first_chunk::<2>()?;
            let kept = match rest {
                [] => None,
                rest => Some(Kept { id: id_at(rest, 0)?, term: u64_at(rest, 16)? }),
            };
            let active = usize::from(*active);
            (active < SETS).then_some(Self { active, dirty: *dirty != 0, kept })
        };
        parts().ok_or_else(|| StoreError::Damaged("sets of databases are cut".to_owned()))
    }

    pub(super) fn other(self) -> usize {
        (self.active + 1) % SETS
    }
}

impl Dbs {
    /// The replicated databases, each with its number, in the order of the numbers.
    pub(super) fn replicated(&self) -> impl Iterator<Item = (u8, Db)> {
        let tables = Table::ALL.into_iter().map(|t| (t as u8, self.table(t)));
        let stubs = Table::ALL.into_iter().filter_map(|t| Some((t as u8 | STUB, self.stub(t)?)));
        tables.chain(stubs).chain([(IX, self.ix), (SECRET, self.secret)])
    }
}

/// What is read out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The state in force, for a server.
    State,
    /// The same for an archive: without indexes and checksum.
    Archive,
    /// What is kept beside it, for a server.
    Kept,
}

/// A state that is being read out, as it was when that began.
pub(super) struct Export {
    id: ExportId,
    bare: bool,
    txn: RoTxn<'static, WithoutTls>,
    active: usize,
    indexes: Indexes,
    /// Databases that are done, and the last key of the next one that was read.
    done: usize,
    after: Option<Vec<u8>>,
    sum: u32,
    begun: bool,
    /// Bytes of the file in use when it began.
    used: u64,
}

/// Names a state that is being read out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportId(u64);

impl Export {
    /// What a piece of an archive's state holds but for the mark.
    pub(super) fn rows(piece: &[u8]) -> &[u8] {
        piece.strip_prefix(ARCHIVE_MARK).unwrap_or(piece)
    }

    /// Appends about `most` bytes; true: that was the rest.
    fn read(&mut self, dbs: &Dbs, out: &mut Vec<u8>, most: usize) -> Result<bool, StoreError> {
        let from = out.len();
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(if self.bare { ARCHIVE_MARK } else { MARK });
        }
        let whole = self.pairs(dbs, out, from.saturating_add(most))?;
        if self.bare {
            return Ok(whole);
        }
        if whole {
            push(out, INDEXES, &[], &self.indexes.encode());
        }
        self.sum = crc32c(self.sum, out.get(from..).unwrap_or_default());
        if whole {
            out.extend_from_slice(&self.sum.to_be_bytes());
        }
        Ok(whole)
    }

    fn pairs(&mut self, dbs: &Dbs, out: &mut Vec<u8>, until: usize) -> Result<bool, StoreError> {
        for (number, db) in dbs.replicated().skip(self.done) {
            let after = self.after.take();
            let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let range: (Bound<&[u8]>, Bound<&[u8]>) = (from, Bound::Unbounded);
            for pair in db.range(&self.txn, &range)? {
                let (key, value) = pair?;
                push(out, number, key, value);
                if out.len() >= until {
                    self.after = Some(key.to_vec());
                    return Ok(false);
                }
            }
            self.done += 1;
        }
        Ok(true)
    }
}

fn push(out: &mut Vec<u8>, number: u8, key: &[u8], value: &[u8]) {
    out.push(number);
    for part in [key, value] {
        let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
    }
    out.extend_from_slice(key);
    out.extend_from_slice(value);
}

impl Store {
    /// Begins to read a state out as it is now.
    ///
    /// # Errors
    /// Those of the store.
    pub fn export(&mut self, what: Extent) -> Result<ExportId, StoreError> {
        self.settle()?;
        let txn = heed::Env::clone(&self.env).static_read_txn()?;
        let (active, indexes, bare) = match what {
            Extent::Kept => (self.sets.get().other(), Indexes::default(), false),
            _ => {
                let indexes = super::read_indexes(self.dbs(), &txn)?;
                (self.sets.get().active, indexes, what == Extent::Archive)
            }
        };
        self.next_export += 1;
        let (id, used) = (ExportId(self.next_export), self.used_bytes());
        self.exports.push(Export {
            id,
            bare,
            txn,
            active,
            indexes,
            done: 0,
            after: None,
            sum: 0,
            begun: false,
            used,
        });
        Ok(id)
    }

    /// Appends about `most` more bytes of it; true: that was the rest. `None`: it was given up,
    /// as it kept too much of the file from being used again, or the map had to grow.
    ///
    /// # Errors
    /// Those of the store.
    pub fn read_export(
        &mut self,
        id: ExportId,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Result<Option<bool>, StoreError> {
        let Some(export) = self.exports.iter_mut().find(|e| e.id == id) else { return Ok(None) };
        let dbs = self.dbs.get(export.active).unwrap_or(&self.dbs[0]);
        export.read(dbs, out, most).map(Some)
    }

    /// Begins to read the same once more.
    pub fn rewind_export(&mut self, id: ExportId) {
        if let Some(e) = self.exports.iter_mut().find(|e| e.id == id) {
            (e.done, e.after, e.sum, e.begun) = (0, None, 0, false);
        }
    }

    /// Ends it, whole or not.
    pub fn end_export(&mut self, id: ExportId) {
        self.exports.retain(|e| e.id != id);
    }

    /// Gives up those that keep too much of the file from being used again.
    pub(super) fn give_up_exports(&mut self, used: u64) {
        let before = self.exports.len();
        let most = |e: &Export| e.used.saturating_mul(2).saturating_add(GROWTH_BYTES_MAX);
        self.exports.retain(|e| used <= most(e));
        if self.exports.len() < before {
            log::warn!("reading the state out took too long, it begins anew");
        }
    }

    /// The set of databases that is not in force holds something: [`Batch::sweep`] it.
    pub fn is_dirty(&self) -> bool {
        self.sets.get().dirty
    }

    /// The state that is whole there.
    pub fn kept(&self) -> Option<Kept> {
        self.sets.get().kept
    }
}

impl Reader<'_> {
    /// The state that is whole beside the one in force.
    ///
    /// # Errors
    /// Those of the store.
    pub fn kept(&self) -> Result<Option<Kept>, StoreError> {
        Ok(Sets::read(self.dbs, self.txn)?.kept)
    }
}

/// A state as it comes. Everything is checked before it is believed: order, lengths, checksum.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Of an archive: it has no end of its own.
    archive: bool,
    /// Highest index of a row in it.
    newest: u64,
    rest: Vec<u8>,
    sum: u32,
    begun: bool,
    /// Number and key of the last pair.
    last: (u8, Vec<u8>),
    indexes: Option<Indexes>,
    whole: bool,
}

/// The bytes are no state, or not as they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign;

impl Incoming {
    /// One that lies in an archive.
    pub fn of_archive() -> Self {
        Self { archive: true, ..Self::default() }
    }

    /// The highest index of a row in what came of an archive, where that is all of it.
    ///
    /// # Errors
    /// [`Foreign`]: it ends in the middle.
    pub fn finish(&self) -> Result<u64, Foreign> {
        let whole = self.begun && self.rest.is_empty();
        whole.then_some(self.newest).ok_or(Foreign)
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// Bytes that were not taken yet.
    pub fn waiting(&self) -> usize {
        self.rest.len()
    }

    /// The pairs that came whole, for [`Batch::stage`].
    ///
    /// # Errors
    /// [`Foreign`]; nothing of it may be used then.
    pub fn take(&mut self) -> Result<Vec<u8>, Foreign> {
        let mut at = 0;
        let mark = if self.archive { ARCHIVE_MARK } else { MARK };
        if !self.begun && self.rest.len() >= mark.len() {
            if !self.rest.starts_with(mark) {
                return Err(Foreign);
            }
            (self.begun, at) = (true, mark.len());
            self.sum = crc32c(0, mark);
        }
        let from = at;
        let mut end = at;
        while self.begun && self.indexes.is_none() {
            let Some((number, key, value, len)) = pair(self.rest.get(at..).unwrap_or_default())?
            else {
                break;
            };
            at += len;
            if number == INDEXES && !self.archive {
                self.indexes = Some(Indexes::decode(value).ok_or(Foreign)?);
                break;
            }
            if self.archive && number < TABLES_END {
                let head = RowHead::decode(value).ok_or(Foreign)?;
                self.newest = self.newest.max(head.modify);
            }
            let (last, last_key) = &self.last;
            if key.is_empty() || (number, key) <= (*last, last_key.as_slice()) {
                return Err(Foreign);
            }
            self.last = (number, key.to_vec());
            end = at;
        }
        let pairs = self.rest.get(from..end).unwrap_or_default().to_vec();
        self.sum = crc32c(self.sum, self.rest.get(from..at).unwrap_or_default());
        self.rest.drain(..at);
        if self.indexes.is_some() && !self.whole && self.rest.len() >= 4 {
            self.whole = true;
            if self.rest != self.sum.to_be_bytes() {
                return Err(Foreign);
            }
            self.rest.clear();
        } else if self.whole && !self.rest.is_empty() {
            return Err(Foreign);
        }
        Ok(pairs)
    }

    /// What it all ends with, once everything came; `None` before.
    pub fn state(&self) -> Option<State> {
        self.indexes.clone().filter(|_| self.whole).map(State)
    }
}

/// Number, key, value and length of the first pair; `None` where it is not whole.
pub(super) type Pair<'a> = (u8, &'a [u8], &'a [u8], usize);

pub(super) fn pair(bytes: &[u8]) -> Result<Option<Pair<'_>>, Foreign> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let [number, a, b, c, d, e, f, g, h] = *head;
    let key_len = u32::from_be_bytes([a, b, c, d]) as usize;
    let value_len = u32::from_be_bytes([e, f, g, h]) as usize;
    if key_len > KEY_BYTES_MAX || value_len > VALUE_BYTES_MAX {
        return Err(Foreign);
    }
    let Some((key, rest)) = rest.split_at_checked(key_len) else { return Ok(None) };
    let Some(value) = rest.get(..value_len) else { return Ok(None) };
    Ok(Some((number, key, value, HEAD + key_len + value_len)))
}

/// The pairs of [`Incoming::take`]: the table that each is of, key and value.
pub fn pairs(mut pairs: &[u8]) -> impl Iterator<Item = (Option<Table>, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (number, key, value, len) = pair(pairs).ok()??;
        pairs = pairs.get(len..).unwrap_or_default();
        Some((Table::ALL.get(usize::from(number)).copied(), key, value))
    })
}

/// The end of a state that came whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Indexes);

impl State {
    /// The last entry that it holds the effects of.
    pub fn index(&self) -> u64 {
        self.0.applied
    }
}

impl Batch<'_> {
    /// Puts pairs of [`Incoming::take`] beside the state in force. They follow what was staged
    /// before; the first ones come onto a set that was swept.
    ///
    /// # Errors
    /// Those of the store.
    pub fn stage(&mut self, mut pairs: &[u8]) -> Result<(), StoreError> {
        self.put_sets(Sets { dirty: true, kept: None, ..self.sets })?;
        let dbs: Vec<(u8, Db)> = self.other.replicated().collect();
        while let Ok(Some((number, key, value, len))) = pair(pairs) {
            // Of a table that this program does not know: it is left out.
            if let Some((_, db)) = dbs.iter().find(|(n, _)| *n == number) {
                db.put_with_flags(&mut self.txn, PutFlags::APPEND, key, value)?;
                self.sums.other = self.sums.other.wrapping_add(hash(number, key, value));
            }
            pairs = pairs.get(len..).unwrap_or_default();
        }
        Ok(())
    }

    /// Removes about `most` bytes of the set that is not in force; true: nothing is left of it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn sweep(&mut self, most: usize) -> Result<bool, StoreError> {
        self.put_sets(Sets { kept: None, ..self.sets })?;
        let (mut bytes, mut keys) = (0, Vec::new());
        for (_, db) in self.other.replicated() {
            for pair in db.iter(&self.txn)? {
                let (key, value) = pair?;
                bytes += HEAD + key.len() + value.len();
                keys.push(key.to_vec());
                if bytes >= most {
                    break;
                }
            }
            for key in keys.drain(..) {
                db.delete(&mut self.txn, &key)?;
            }
            if bytes >= most {
                return Ok(false);
            }
        }
        self.sums.other = 0;
        self.put_sets(Sets { dirty: false, ..self.sets })?;
        Ok(true)
    }

    /// Puts what was staged into force. The log begins anew behind it; `term` is that of its last
    /// entry.
    ///
    /// # Errors
    /// Those of the store.
    pub fn install(&mut self, state: &State, term: u64) -> Result<(), StoreError> {
        self.switch(state.0.clone())?;
        self.reset_log(state.index(), term)
    }

    /// What was staged is whole: it stays beside the state in force until an entry names it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn keep(&mut self, kept: Kept) -> Result<(), StoreError> {
        self.put_sets(Sets { dirty: true, kept: Some(kept), ..self.sets })
    }

    /// Puts what was kept into force, as the entry says that is being applied. Every index that is
    /// told from now on is higher than any that this state or the one before it had told. The log
    /// begins behind the entry: who does not have it is sent the state.
    pub(super) fn restore(&mut self, id: &str, newest: u64) -> Result<Applied, StoreError> {
        let kept = self.sets.kept.is_some_and(|k| Some(k.id) == uuid::to_bytes(id));
        if !kept {
            let text = "the log says that a snapshot was restored, which is not here";
            return Err(StoreError::Damaged(text.to_owned()));
        }
        let entry = self.indexes.applied;
        let least = newest.saturating_add(1).saturating_sub(entry);
        let mut indexes = Indexes { ahead: self.indexes.ahead.max(least), ..self.indexes.clone() };
        indexes.tables = [indexes.index(); TABLES];
        self.switch(indexes)?;
        self.compact_log(entry)?;
        Ok(Applied::Done)
    }

    /// The same for a server that is not running: what was staged, as of a new end of its log,
    /// whose entries are no more.
    ///
    /// # Errors
    /// Those of the store.
    pub fn restore_alone(&mut self, newest: u64) -> Result<(), StoreError> {
        let last = self.reader().log_bounds()?.last;
        let (term, _) = self.reader().hard_state()?;
        let entry = last.saturating_add(1);
        let least = newest.saturating_add(1).saturating_sub(entry);
        let mut indexes = Indexes { applied: entry, ..self.indexes.clone() };
        indexes.ahead = indexes.ahead.max(least);
        indexes.tables = [indexes.index(); TABLES];
        self.switch(indexes)?;
        self.reset_log(entry, term)
    }

    fn switch(&mut self, indexes: Indexes) -> Result<(), StoreError> {
        std::mem::swap(&mut self.dbs, &mut self.other);
        self.sums = Sums { active: self.sums.other, other: self.sums.active };
        self.replace_indexes(indexes);
        self.put_sets(Sets { active: self.sets.other(), dirty: true, kept: None })
    }

    fn put_sets(&mut self, sets: Sets) -> Result<(), StoreError> {
        if self.sets != sets {
            let mut row = vec![u8::try_from(sets.active).unwrap_or(0), u8::from(sets.dirty)];
            if let Some(kept) = sets.kept {
                row.extend_from_slice(&kept.id);
                row.extend_from_slice(&kept.term.to_be_bytes());
            }
            self.put_meta(Sets::KEY, &row)?;
            self.put_format(sets.active != 0 || self.indexes.ahead != 0)?;
            self.sets = sets;
        }
        Ok(())
    }
}
