//! One transaction that changes the store.

use std::collections::BTreeSet;

use heed::{PutFlags, RwTxn};
use serde::Serialize;

use super::changes::{Change, Recorder};
use super::reader::note_key;
use super::rows::{AllocHead, RowHead};
use super::schema::{Dbs, Indexes};
use super::{Reader, StoreError, Table};
use crate::api::Evaluation;
use crate::stdx::json::{Printed, encode_edited};

/// An allocation took, changed or gave back room on its node. `None`: it holds nothing there.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomMove {
    pub alloc: [u8; 16],
    pub node: [u8; 16],
    pub was: Option<AllocHead>,
    pub now: Option<AllocHead>,
}

/// What a committed batch moved, for watchers, broker and client.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Touched {
    /// The last applied entry.
    pub index: u64,
    /// Mask of [`Table::bit`]s.
    pub tables: u32,
    /// Rows that were written or removed, in that order, possibly more than once.
    pub rows: Vec<(Table, Box<[u8]>)>,
    /// Ids of nodes whose allocations a server changed or removed.
    pub nodes_allocs: BTreeSet<String>,
    /// Ids of nodes on which an allocation finished: room for blocked evaluations.
    pub nodes_freed: BTreeSet<String>,
    /// In the order of the changes.
    pub room: Vec<RoomMove>,
    /// Ids of nodes that were registered or changed status or eligibility.
    pub nodes_changed: BTreeSet<String>,
    /// New or changed evaluations that are pending or blocked.
    pub evals: Vec<Evaluation>,
    /// Ids of evaluations that reached an end (complete, failed, canceled) or were removed.
    pub evals_done: Vec<String>,
    /// Where they are recorded: what each entry changed.
    pub changes: Vec<Change>,
}

/// An open transaction. Dropping it undoes all.
pub struct Batch<'s> {
    pub(super) txn: RwTxn<'s>,
    pub(super) dbs: &'s Dbs,
    pub(super) indexes: Indexes,
    moved: bool,
    pub(super) touched: Touched,
    pub(super) recorder: Option<Recorder>,
    /// Rows are built here.
    pub(super) scratch: Vec<u8>,
}

impl<'s> Batch<'s> {
    pub(super) fn new(txn: RwTxn<'s>, dbs: &'s Dbs, indexes: Indexes) -> Self {
        Self {
            txn,
            dbs,
            indexes,
            moved: false,
            touched: Touched::default(),
            recorder: None,
            scratch: Vec::new(),
        }
    }

    /// Reads what the batch has written so far.
    pub fn reader(&self) -> Reader<'_> {
        Reader { txn: &self.txn, dbs: self.dbs, indexes: &self.indexes, memo: None }
    }

    /// From here on keeps what entries change, for [`Touched::changes`].
    pub fn record(&mut self) {
        self.recorder = Some(Recorder::default());
    }

    /// Marks an entry applied that holds no command (a new leader's, a configuration).
    pub fn skip(&mut self, index: u64) {
        if index > self.indexes.applied {
            self.indexes.applied = index;
            self.moved = true;
        }
    }

    /// Makes all durable. What was touched is told only then.
    pub fn commit(mut self) -> Result<Touched, StoreError> {
        if self.moved {
            self.dbs.meta.put(&mut self.txn, Indexes::KEY, &self.indexes.encode())?;
        }
        self.txn.commit()?;
        self.touched.index = self.indexes.applied;
        self.touched.changes = self.recorder.map(Recorder::finish).unwrap_or_default();
        Ok(self.touched)
    }

    /// The state is another one now: every table moved.
    pub(super) fn replace_indexes(&mut self, indexes: Indexes) {
        self.indexes = indexes;
        self.moved = true;
        self.touched.tables = Table::ALL.iter().fold(0, |mask, t| mask | t.bit());
    }

    pub(super) fn put_meta(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        Ok(self.dbs.meta.put(&mut self.txn, key, value)?)
    }

    /// Stores a fact about this server itself (cluster id, consensus configuration).
    pub fn put_note(&mut self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.put_meta(&note_key(key), value)
    }

    /// Notes that a table moved with entry `index`, and which row did.
    pub(super) fn touch(&mut self, index: u64, table: Table, key: &[u8]) {
        self.moved = true;
        self.indexes.tables[table as usize] = index;
        self.touched.tables |= table.bit();
        self.touched.rows.push((table, key.into()));
    }

    /// Encodes and stores a row; the table moves.
    pub(super) fn put<T: Serialize>(
        &mut self,
        index: u64,
        table: Table,
        key: &[u8],
        head: RowHead,
        value: &T,
    ) -> Result<(), StoreError> {
        self.put_edited(index, table, key, head, value, &[])
    }

    /// [`Self::put`] with other values for some members, in the order in which they are printed.
    pub(super) fn put_edited<T: Serialize>(
        &mut self,
        index: u64,
        table: Table,
        key: &[u8],
        head: RowHead,
        value: &T,
        edits: &[(&str, &[u8])],
    ) -> Result<(), StoreError> {
        let row = self.encode(head, value, edits);
        let done = self.put_row(index, table, key, &row);
        self.scratch = row;
        done
    }

    /// [`Self::put_edited`] of a value that has its text, where it has.
    pub(super) fn put_printed<T: Serialize>(
        &mut self,
        index: u64,
        table: Table,
        key: &[u8],
        head: RowHead,
        value: &Printed<T>,
        edits: &[(&str, &[u8])],
    ) -> Result<(), StoreError> {
        let mut row = std::mem::take(&mut self.scratch);
        row.clear();
        head.encode(&mut row);
        value.encode_edited(edits, &mut row);
        let done = self.put_row(index, table, key, &row);
        self.scratch = row;
        done
    }

    /// Head and JSON in the scratch buffer, which the caller gives back.
    pub(super) fn encode<T: Serialize>(
        &mut self,
        head: RowHead,
        value: &T,
        edits: &[(&str, &[u8])],
    ) -> Vec<u8> {
        let mut row = std::mem::take(&mut self.scratch);
        row.clear();
        head.encode(&mut row);
        encode_edited(value, edits, &mut row);
        row
    }

    /// Stores a row that is encoded already; the table moves.
    pub(super) fn put_row(
        &mut self,
        index: u64,
        table: Table,
        key: &[u8],
        row: &[u8],
    ) -> Result<(), StoreError> {
        self.dbs.table(table).put(&mut self.txn, key, row)?;
        if let Some(recorder) = &mut self.recorder {
            recorder.wrote(table, key, row);
        }
        self.touch(index, table, key);
        Ok(())
    }

    /// Stores a row of given JSON; the table moves.
    pub(super) fn put_json(
        &mut self,
        index: u64,
        table: Table,
        key: &[u8],
        head: RowHead,
        json: &[u8],
    ) -> Result<(), StoreError> {
        let row = self.join(head, json);
        let done = self.put_row(index, table, key, &row);
        self.scratch = row;
        done
    }

    fn join(&mut self, head: RowHead, json: &[u8]) -> Vec<u8> {
        let mut row = std::mem::take(&mut self.scratch);
        row.clear();
        head.encode(&mut row);
        row.extend_from_slice(json);
        row
    }

    /// Stores the list stub of a row, which is written beside it.
    pub(super) fn put_stub<T: Serialize>(
        &mut self,
        table: Table,
        key: &[u8],
        head: RowHead,
        stub: &T,
        edits: &[(&str, &[u8])],
    ) -> Result<(), StoreError> {
        let row = self.encode(head, stub, edits);
        let done = self.put_stub_row(table, key, &row);
        self.scratch = row;
        done
    }

    /// [`Self::put_stub`] of given JSON.
    pub(super) fn put_stub_json(
        &mut self,
        table: Table,
        key: &[u8],
        head: RowHead,
        json: &[u8],
    ) -> Result<(), StoreError> {
        let row = self.join(head, json);
        let done = self.put_stub_row(table, key, &row);
        self.scratch = row;
        done
    }

    fn put_stub_row(&mut self, table: Table, key: &[u8], row: &[u8]) -> Result<(), StoreError> {
        if let Some(db) = self.dbs.stub(table) {
            db.put(&mut self.txn, key, row)?;
        }
        Ok(())
    }

    /// Removes a row and its stub. The table moves where there was one.
    pub(super) fn delete(
        &mut self,
        index: u64,
        table: Table,
        key: &[u8],
    ) -> Result<bool, StoreError> {
        if let Some(db) = self.dbs.stub(table) {
            db.delete(&mut self.txn, key)?;
        }
        if let Some(recorder) = &mut self.recorder
            && let Some(row) = self.dbs.table(table).get(&self.txn, key)?
        {
            recorder.removed(table, key, row);
        }
        let there = self.dbs.table(table).delete(&mut self.txn, key)?;
        if there {
            self.touch(index, table, key);
        }
        Ok(there)
    }

    /// Removes all rows whose keys begin with `prefix`.
    pub(super) fn delete_all(
        &mut self,
        index: u64,
        table: Table,
        prefix: &[u8],
    ) -> Result<(), StoreError> {
        let mut keys = Vec::new();
        for pair in self.reader().scan(table, prefix, None, false)? {
            keys.push(pair?.0.to_vec());
        }
        for key in keys {
            self.delete(index, table, &key)?;
        }
        Ok(())
    }

    pub(super) fn put_ix(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        Ok(self.dbs.ix.put_with_flags(&mut self.txn, PutFlags::empty(), key, value)?)
    }

    pub(super) fn del_ix(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.dbs.ix.delete(&mut self.txn, key)?;
        Ok(())
    }

    /// Moves an index entry; nothing where old and new are the same.
    pub(super) fn move_ix(&mut self, old: Option<&[u8]>, new: &[u8]) -> Result<(), StoreError> {
        if old == Some(new) {
            return Ok(());
        }
        if let Some(old) = old {
            self.del_ix(old)?;
        }
        self.put_ix(new, &[])
    }
}
