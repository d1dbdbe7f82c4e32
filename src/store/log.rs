//! The log's entries, the hard state and other facts of consensus, as rows.

use std::ops::ControlFlow;

use heed::PutFlags;

use super::crc32c;
use super::schema::u64_at;
use super::{Batch, Reader, StoreError};

/// One entry of the log. The payload is a command in JSON, or what consensus itself stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry<'a> {
    pub index: u64,
    pub term: u64,
    pub kind: u8,
    pub payload: &'a [u8],
}

/// What the log holds. Empty where `last < first`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogBounds {
    pub first: u64,
    pub last: u64,
    /// Term of the entry before `first` (0 where there was none).
    pub base_term: u64,
}

/// Checksum, term, kind.
const ENTRY_HEAD: usize = 4 + 8 + 1;
const HARD_STATE: &[u8] = b"hard_state";
const LOG_BASE: &[u8] = b"log_base";

impl<'t> Reader<'t> {
    /// First and last index of the log.
    pub fn log_bounds(&self) -> Result<LogBounds, StoreError> {
        let (base, base_term) = match self.meta(LOG_BASE)? {
            None => (0, 0),
            Some(b) => u64_at(b, 0).zip(u64_at(b, 8)).ok_or_else(|| damaged("log base"))?,
        };
        let last = match self.dbs.log.last(self.txn)? {
            None => base,
            Some((key, _)) => u64_at(key, 0).ok_or_else(|| damaged("log key"))?,
        };
        Ok(LogBounds { first: base + 1, last, base_term })
    }

    /// What the log takes on disk, in bytes, to whole pages.
    pub fn log_bytes(&self) -> Result<u64, StoreError> {
        let stat = self.dbs.log.stat(self.txn)?;
        let pages = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
        Ok(pages as u64 * u64::from(stat.page_size))
    }

    /// The term of an entry; `None` where the log does not hold it (0 has term 0).
    pub fn log_term(&self, index: u64) -> Result<Option<u64>, StoreError> {
        if index == 0 {
            return Ok(Some(0));
        }
        if let Some(e) = self.log_entry(index)? {
            return Ok(Some(e.term));
        }
        let bounds = self.log_bounds()?;
        Ok((index + 1 == bounds.first).then_some(bounds.base_term))
    }

    /// One entry, its checksum verified.
    pub fn log_entry(&self, index: u64) -> Result<Option<LogEntry<'t>>, StoreError> {
        match self.dbs.log.get(self.txn, &index.to_be_bytes())? {
            None => Ok(None),
            Some(row) => decode(index, row).map(Some),
        }
    }

    /// Entries from `from` on, at least one (where there is one), until their payloads exceed
    /// `max_bytes`.
    pub fn log_entries(
        &self,
        from: u64,
        max_bytes: usize,
    ) -> Result<Vec<LogEntry<'t>>, StoreError> {
        let mut out = Vec::new();
        let mut bytes = 0usize;
        self.each_entry(from, |e| {
            if !out.is_empty() && bytes + e.payload.len() > max_bytes {
                return ControlFlow::Break(());
            }
            bytes += e.payload.len();
            out.push(e);
            ControlFlow::Continue(())
        })?;
        Ok(out)
    }

    fn each_entry(
        &self,
        from: u64,
        mut visit: impl FnMut(LogEntry<'t>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let start = from.to_be_bytes();
        let range: (std::ops::Bound<&[u8]>, std::ops::Bound<&[u8]>) =
            (std::ops::Bound::Included(&start), std::ops::Bound::Unbounded);
        for pair in self.dbs.log.range(self.txn, &range)? {
            let (key, row) = pair?;
            let index = u64_at(key, 0).ok_or_else(|| damaged("log key"))?;
            if visit(decode(index, row)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Term and vote as they were stored; the vote's form is the caller's.
    pub fn hard_state(&self) -> Result<(u64, &'t [u8]), StoreError> {
        match self.meta(HARD_STATE)? {
            None => Ok((0, &[])),
            Some(b) => {
                let term = u64_at(b, 0).ok_or_else(|| damaged("hard state"))?;
                Ok((term, b.get(8..).unwrap_or_default()))
            }
        }
    }
}

impl Batch<'_> {
    /// Appends entries; they follow the last one of the log.
    pub fn append(&mut self, entries: &[LogEntry<'_>]) -> Result<(), StoreError> {
        for e in entries {
            let mut row = std::mem::take(&mut self.scratch);
            row.clear();
            encode(e, &mut row);
            let put = self.dbs.log.put_with_flags(
                &mut self.txn,
                PutFlags::APPEND,
                &e.index.to_be_bytes(),
                &row,
            );
            self.scratch = row;
            put?;
        }
        Ok(())
    }

    /// Removes the entries from `index` on.
    pub fn truncate_from(&mut self, index: u64) -> Result<(), StoreError> {
        loop {
            let last = self.reader().log_bounds()?;
            if last.last < index || last.last < last.first {
                return Ok(());
            }
            self.dbs.log.delete(&mut self.txn, &last.last.to_be_bytes())?;
        }
    }

    /// Removes the entries up to and with `upto`, which the state holds already. Nothing for
    /// entries that are not applied.
    pub fn compact_log(&mut self, upto: u64) -> Result<(), StoreError> {
        let bounds = self.reader().log_bounds()?;
        let upto = upto.min(self.reader().applied()).min(bounds.last);
        if upto < bounds.first {
            return Ok(());
        }
        let term = self.reader().log_term(upto)?.ok_or_else(|| damaged("log has a gap"))?;
        for i in bounds.first..=upto {
            self.dbs.log.delete(&mut self.txn, &i.to_be_bytes())?;
        }
        self.log_base(upto, term)
    }

    /// Makes the log begin after `index`, as after the import of a snapshot.
    pub fn reset_log(&mut self, index: u64, term: u64) -> Result<(), StoreError> {
        self.dbs.log.clear(&mut self.txn)?;
        self.log_base(index, term)
    }

    fn log_base(&mut self, index: u64, term: u64) -> Result<(), StoreError> {
        let mut row = index.to_be_bytes().to_vec();
        row.extend_from_slice(&term.to_be_bytes());
        self.put_meta(LOG_BASE, &row)
    }

    /// Term and vote. The vote's form is the caller's; empty: none.
    pub fn hard_state(&mut self, term: u64, vote: &[u8]) -> Result<(), StoreError> {
        let mut row = term.to_be_bytes().to_vec();
        row.extend_from_slice(vote);
        self.put_meta(HARD_STATE, &row)
    }
}

fn encode(e: &LogEntry<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&e.term.to_be_bytes());
    out.push(e.kind);
    out.extend_from_slice(e.payload);
    let sum = crc32c(crc32c(0, &e.index.to_be_bytes()), &out[4..]);
    out[..4].copy_from_slice(&sum.to_be_bytes());
}

fn decode(index: u64, row: &[u8]) -> Result<LogEntry<'_>, StoreError> {
    let parts = || {
        let sum = u32::from_be_bytes(row.get(..4)?.try_into().ok()?);
        if crc32c(crc32c(0, &index.to_be_bytes()), row.get(4..)?) != sum {
            return None;
        }
        let (term, kind) = (u64_at(row, 4)?, *row.get(12)?);
        Some(LogEntry { index, term, kind, payload: row.get(ENTRY_HEAD..)? })
    };
    parts().ok_or_else(|| damaged(&format!("log entry {index}: checksum")))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_seen() {
        let mut row = Vec::new();
        encode(&LogEntry { index: 3, term: 2, kind: 1, payload: b"{}" }, &mut row);
        assert!(decode(3, &row).is_ok());
        assert!(decode(4, &row).is_err());
        for i in 0..row.len() {
            row[i] ^= 4;
            assert!(decode(3, &row).is_err());
            row[i] ^= 4;
        }
    }
}
