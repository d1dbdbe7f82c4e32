//! Reading: rows, scans, stubs, lists by creation.

use std::ops::Bound;

use heed::types::Bytes;
use heed::{RoRange, RoRevRange, RoTxn};

use super::memo::Memo;
use super::rows::AllocHead;
use super::schema::{Db, Dbs, Indexes, id_at, ix, keys, u64_at};
use super::{Row, StoreError, Table};
use crate::sched::fit::Usage;

/// All reads, of a snapshot or inside of a batch.
#[derive(Clone, Copy)]
pub struct Reader<'t> {
    pub(super) txn: &'t RoTxn<'t>,
    pub(super) dbs: &'t Dbs,
    pub(super) indexes: &'t Indexes,
    /// None inside of a batch, which may have changed what is remembered.
    pub(super) memo: Option<&'t Memo>,
}

/// Key and value as they lie in the store.
pub type RawPair<'t> = (&'t [u8], &'t [u8]);

/// An allocation that holds resources: its id and what it holds.
pub type Held = ([u8; 16], AllocHead);

/// What the storage library takes as a key, in bytes.
const MAX_KEY: usize = 511;

/// Whether there can be a row with this key. Names that requests bring may be empty or of any
/// length, and what the library does not take is no damage of the store.
pub(super) fn fits(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= MAX_KEY
}

type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl<'t> Reader<'t> {
    /// The index of the state: that of the last applied entry.
    pub fn index(&self) -> u64 {
        self.indexes.index()
    }

    /// The number of the last applied entry in the log.
    pub fn applied(&self) -> u64 {
        self.indexes.applied
    }

    /// The index that an applied entry of the log gave its changes.
    pub fn index_of(&self, entry: u64) -> u64 {
        entry.saturating_add(self.indexes.ahead)
    }

    /// The index that last moved a table; 0: none did.
    pub fn table_index(&self, table: Table) -> u64 {
        self.indexes.tables[table as usize]
    }

    /// The greatest of the indexes of the tables in a mask of [`Table::bit`]s.
    pub fn tables_index(&self, mask: u32) -> u64 {
        self.indexes.newest(mask)
    }

    pub fn row(&self, table: Table, key: &[u8]) -> Result<Option<Row<'t>>, StoreError> {
        self.row_in(self.dbs.table(table), table, key)
    }

    /// The list stub with the same key; `None` for tables that lists print whole.
    pub fn stub(&self, table: Table, key: &[u8]) -> Result<Option<Row<'t>>, StoreError> {
        match self.dbs.stub(table) {
            None => Ok(None),
            Some(db) => self.row_in(db, table, key),
        }
    }

    /// True where a row has this key.
    pub fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.row(table, key)?.is_some())
    }

    fn row_in(&self, db: Db, table: Table, key: &[u8]) -> Result<Option<Row<'t>>, StoreError> {
        if !fits(key) {
            return Ok(None);
        }
        db.get(self.txn, key)?.map(|bytes| row(table, bytes)).transpose()
    }

    /// Rows whose keys begin with `prefix`, in key order or against it, from `start` on (the key
    /// itself included).
    pub fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        start: Option<&[u8]>,
        reverse: bool,
    ) -> Result<Scan<'t>, StoreError> {
        self.scan_db(self.dbs.table(table), table, prefix, start, reverse)
    }

    /// [`Self::scan`] over the list stubs; over the rows where a table has none.
    pub fn stubs(
        &self,
        table: Table,
        prefix: &[u8],
        start: Option<&[u8]>,
        reverse: bool,
    ) -> Result<Scan<'t>, StoreError> {
        let db = self.dbs.stub(table).unwrap_or(self.dbs.table(table));
        self.scan_db(db, table, prefix, start, reverse)
    }

    fn scan_db(
        &self,
        db: Db,
        table: Table,
        prefix: &[u8],
        start: Option<&[u8]>,
        reverse: bool,
    ) -> Result<Scan<'t>, StoreError> {
        Ok(Scan { keys: Keys::open(self.txn, db, prefix, start, reverse)?, table })
    }

    /// Allocations, evaluations or deployments in the order in which they were created, from
    /// `start` (create index and id, included) on. Rows and stubs are then looked up by id.
    pub fn created(
        &self,
        table: Table,
        start: Option<(u64, [u8; 16])>,
        reverse: bool,
    ) -> Result<Created<'t>, StoreError> {
        let start = start.map(|(create, id)| ix::created(table, create, &id));
        let prefix = ix::created_prefix(table);
        Ok(Created { keys: self.index_keys(&prefix, start.as_deref(), reverse)? })
    }

    pub(super) fn index_keys(
        &self,
        prefix: &[u8],
        start: Option<&[u8]>,
        reverse: bool,
    ) -> Result<Keys<'t>, StoreError> {
        Keys::open(self.txn, self.dbs.ix, prefix, start, reverse)
    }

    /// The ids (last 16 bytes) of the index entries with a prefix; entries without one, such as the
    /// sum of a node, are passed over.
    pub(super) fn ids(&self, prefix: &[u8]) -> Result<Vec<[u8; 16]>, StoreError> {
        let mut out = Vec::new();
        for pair in self.index_keys(prefix, None, false)? {
            let (key, _) = pair?;
            if key.len() >= prefix.len() + 16 {
                out.push(tail(key)?);
            }
        }
        Ok(out)
    }

    /// True where some index entry has the prefix.
    pub(super) fn any(&self, prefix: &[u8]) -> Result<bool, StoreError> {
        let next = self.dbs.ix.get_greater_than_or_equal_to(self.txn, prefix)?;
        Ok(next.is_some_and(|(key, _)| key.starts_with(prefix)))
    }

    /// What holds resources on a node: allocations that have not finished there, by id. No JSON
    /// is read.
    pub fn usage_by_node(
        &self,
        node_id: &str,
    ) -> Result<impl Iterator<Item = Result<Held, StoreError>> + use<'t>, StoreError> {
        let reader = *self;
        // An id that is none finds nothing: no index has the kind 0.
        let prefix = keys::by_uuid(node_id).map_or(vec![0], |node| ix::by_node(&node, false, &[]));
        Ok(self.index_keys(&prefix, None, false)?.map(move |pair| {
            let id = tail(pair?.0)?;
            let row = reader
                .row(Table::Alloc, &id)?
                .ok_or_else(|| StoreError::Damaged("index names a missing row".to_owned()))?;
            Ok((id, row.alloc()))
        }))
    }

    /// The sum of what allocations hold on a node.
    ///
    /// # Errors
    /// Those of the store.
    pub fn node_sum(&self, node: &[u8; 16]) -> Result<Usage, StoreError> {
        let Some(sum) = self.dbs.ix.get(self.txn, &ix::node_sum(node))? else {
            return Ok(Usage::default());
        };
        let word = |n: usize| {
            u64_at(sum, n * 8)
                .map(u64::cast_signed)
                .ok_or_else(|| StoreError::Damaged("the sum of a node".to_owned()))
        };
        Ok(Usage { cpu: word(0)?, memory: word(1)?, disk: word(2)?, allocs: word(3)? })
    }

    /// Allocations of a node that hold what only one may hold there.
    pub fn exclusive_on(&self, node: &[u8; 16]) -> Result<Vec<[u8; 16]>, StoreError> {
        let mut out = Vec::new();
        for pair in self.index_keys(&ix::by_node(node, false, &[]), None, false)? {
            let (key, exclusive) = pair?;
            if exclusive == [1] {
                out.push(tail(key)?);
            }
        }
        Ok(out)
    }

    pub(super) fn meta(&self, key: &[u8]) -> Result<Option<&'t [u8]>, StoreError> {
        Ok(self.dbs.meta.get(self.txn, key)?)
    }

    /// A fact about this server itself (cluster id, consensus configuration).
    pub fn note(&self, key: &str) -> Result<Option<&'t [u8]>, StoreError> {
        self.meta(&note_key(key))
    }

    /// Every key and value of a replicated table and its stubs, for digests and exports.
    pub fn raw(&self, table: Table) -> Result<Vec<RawPair<'t>>, StoreError> {
        let mut out = Vec::new();
        for db in [Some(self.dbs.table(table)), self.dbs.stub(table)].into_iter().flatten() {
            for pair in db.iter(self.txn)? {
                out.push(pair?);
            }
        }
        Ok(out)
    }
}

pub(super) fn note_key(key: &str) -> Vec<u8> {
    [b"note\0", key.as_bytes()].concat()
}

fn tail(key: &[u8]) -> Result<[u8; 16], StoreError> {
    key.len()
        .checked_sub(16)
        .and_then(|at| id_at(key, at))
        .ok_or_else(|| StoreError::Damaged("index key is cut".to_owned()))
}

fn row(table: Table, bytes: &[u8]) -> Result<Row<'_>, StoreError> {
    Row::decode(bytes)
        .ok_or_else(|| StoreError::Damaged(format!("head of a row of {}", table.name())))
}

/// Keys and values with a common prefix.
pub(super) struct Keys<'t> {
    range: Direction<'t>,
    prefix: Vec<u8>,
}

enum Direction<'t> {
    Forward(RoRange<'t, Bytes, Bytes>),
    Reverse(RoRevRange<'t, Bytes, Bytes>),
}

impl<'t> Keys<'t> {
    pub(super) fn open(
        txn: &'t RoTxn<'t>,
        db: Db,
        prefix: &[u8],
        start: Option<&[u8]>,
        reverse: bool,
    ) -> Result<Self, StoreError> {
        // No stored key is longer, so cutting what is longer does not change the order.
        let start = start.map(|s| s.get(..MAX_KEY).unwrap_or(s));
        let prefix = prefix.get(..MAX_KEY).unwrap_or(prefix);
        let after = successor(prefix);
        let end = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let begin = if prefix.is_empty() { Bound::Unbounded } else { Bound::Included(prefix) };
        let range = if reverse {
            let end = match start {
                Some(s) if after.as_deref().is_none_or(|a| s < a) => Bound::Included(s),
                _ => end,
            };
            let range: Range<'_> = (begin, end);
            Direction::Reverse(db.rev_range(txn, &range)?)
        } else {
            let begin = match start {
                Some(s) if s > prefix => Bound::Included(s),
                _ => begin,
            };
            let range: Range<'_> = (begin, end);
            Direction::Forward(db.range(txn, &range)?)
        };
        Ok(Self { range, prefix: prefix.to_vec() })
    }
}

impl<'t> Iterator for Keys<'t> {
    type Item = Result<RawPair<'t>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pair = match &mut self.range {
            Direction::Forward(r) => r.next(),
            Direction::Reverse(r) => r.next(),
        };
        match pair? {
            Ok((key, value)) => key.starts_with(&self.prefix).then_some(Ok((key, value))),
            Err(e) => Some(Err(e.into())),
        }
    }
}

/// The least key above all that begin with `prefix`; `None` where there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let at = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut out = prefix.get(..=at)?.to_vec();
    *out.last_mut()? += 1;
    Some(out)
}

/// Rows in key order.
pub struct Scan<'t> {
    keys: Keys<'t>,
    table: Table,
}

impl<'t> Iterator for Scan<'t> {
    type Item = Result<(&'t [u8], Row<'t>), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.keys.next()?;
        Some(pair.and_then(|(key, value)| Ok((key, row(self.table, value)?))))
    }
}

/// One object of a list ordered by creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'t> {
    pub create: u64,
    /// Key of its row and stub.
    pub id: [u8; 16],
    pub namespace: &'t str,
}

/// Objects in the order of their creation.
pub struct Created<'t> {
    keys: Keys<'t>,
}

impl<'t> Iterator for Created<'t> {
    type Item = Result<Listed<'t>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pair = self.keys.next()?;
        Some(pair.and_then(|(key, value)| {
            let parts = || {
                let (create, id) = (u64_at(key, 2)?, id_at(key, 10)?);
                Some(Listed { create, id, namespace: std::str::from_utf8(value).ok()? })
            };
            parts().ok_or_else(|| StoreError::Damaged("index of creation".to_owned()))
        }))
    }
}

/// The head of a row that must be there, because an index or another row names it.
pub(super) fn must(row: Option<Row<'_>>, table: Table) -> Result<Row<'_>, StoreError> {
    row.ok_or_else(|| StoreError::Damaged(format!("a row of {} is missing", table.name())))
}
