//! One transaction that changes the store.

use std::cell::{Cell, RefCell};

use heed::RwTxn;
use serde::Serialize;

use super::changes::{Change, Recorder};
use super::digest::Sums;
use super::install::{IX, STUB, Sets};
use super::reader::{fits, note_key};
use super::rows::{AllocHead, RowHead};
use super::schema::{Dbs, Indexes};
use super::{Reader, StoreError, Table};
use crate::api::Evaluation;
use crate::stdx::BTreeSet;
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
    /// The index of the state.
    pub index: u64,
    /// The state is another one now: what was known of it does not count.
    pub replaced: bool,
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
    /// Entries, and the sum of the state after each, to be compared with others.
    pub marks: Vec<(u64, u64)>,
}

/// What a store knows of itself beside the databases; moves when a batch ends well.
type Known<'s> = (&'s Cell<Sets>, &'s Cell<Sums>, &'s RefCell<Option<RwTxn<'static>>>);

/// An open transaction. Dropping it undoes all, and what was held before it.
pub struct Batch<'s> {
    pub(super) txn: RwTxn<'static>,
    /// The databases in force, and those that are not.
    pub(super) dbs: &'s Dbs,
    pub(super) other: &'s Dbs,
    /// Which these are, and which the store takes for them until this commits.
    pub(super) sets: Sets,
    pub(super) sums: Sums,
    known: Known<'s>,
    pub(super) indexes: Indexes,
    moved: bool,
    pub(super) touched: Touched,
    pub(super) recorder: Option<Recorder>,
    /// Rows are built here.
    pub(super) scratch: Vec<u8>,
}

impl<'s> Batch<'s> {
    pub(super) fn new(
        txn: RwTxn<'static>,
        (dbs, other): (&'s Dbs, &'s Dbs),
        known: Known<'s>,
        indexes: Indexes,
    ) -> Self {
        Self {
            txn,
            dbs,
            other,
            sets: known.0.get(),
            sums: known.1.get(),
            known,
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

    /// Another state is put into force.
    pub fn replaces(&self) -> bool {
        self.touched.replaced
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
    pub fn commit(self) -> Result<Touched, StoreError> {
        self.end(false)
    }

    /// Lets all be seen without making it durable: the next batch goes on with it. For what is made
    /// again of the log on the disk, should it be lost: a crash before the next commit takes the
    /// state back to the last one, and no row of the log is missing then. It ends with that commit
    /// or [`super::Store::settle`].
    pub fn hold(self) -> Result<Touched, StoreError> {
        self.end(true)
    }

    fn end(mut self, hold: bool) -> Result<Touched, StoreError> {
        if self.moved {
            self.dbs.meta.put(&mut self.txn, Indexes::KEY, &self.indexes.encode())?;
        }
        let (sets, sums, held) = self.known;
        if self.moved || self.sums != sums.get() {
            self.put_sums()?;
        }
        if hold {
            held.replace(Some(self.txn));
        } else {
            self.txn.commit()?;
        }
        sets.set(self.sets);
        sums.set(self.sums);
        self.touched.index = self.indexes.index();
        self.touched.changes = self.recorder.map(Recorder::finish).unwrap_or_default();
        Ok(self.touched)
    }

    /// The state is another one now: every table moved.
    pub(super) fn replace_indexes(&mut self, indexes: Indexes) {
        self.indexes = indexes;
        self.moved = true;
        self.touched.replaced = true;
        self.touched.tables = Table::ALL.iter().fold(0, |mask, t| mask | t.bit());
    }

    pub(super) fn put_meta(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        Ok(self.dbs.meta.put(&mut self.txn, key, value)?)
    }

    /// Says whether earlier programs may open the store.
    pub(super) fn put_format(&mut self, second: bool) -> Result<(), StoreError> {
        let format = if second { super::FORMAT_SECOND } else { super::FORMAT };
        self.put_meta(super::FORMAT_KEY, format.as_bytes())
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
        if !fits(key) {
            // Requests without a name are refused before they come here. Should one not be: to
            // fail would stop every server at this entry of the log, for ever.
            log::error!("a row of {} without a name is not stored", table.name());
            return Ok(());
        }
        self.change(table as u8, self.dbs.table(table), key, Some(row))?;
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
            self.change(table as u8 | STUB, db, key, Some(row))?;
        }
        Ok(())
    }

    /// Removes a row and its stub. The table moves where there was one; false: there was none.
    pub(super) fn delete(
        &mut self,
        index: u64,
        table: Table,
        key: &[u8],
    ) -> Result<bool, StoreError> {
        if !fits(key) {
            return Ok(false);
        }
        if let Some(db) = self.dbs.stub(table) {
            self.change(table as u8 | STUB, db, key, None)?;
        }
        if let Some(recorder) = &mut self.recorder
            && let Some(row) = self.dbs.table(table).get(&self.txn, key)?
        {
            recorder.removed(table, key, row);
        }
        let there = self.change(table as u8, self.dbs.table(table), key, None)?;
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
        self.change(IX, self.dbs.ix, key, Some(value)).map(drop)
    }

    pub(super) fn del_ix(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.change(IX, self.dbs.ix, key, None).map(drop)
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
