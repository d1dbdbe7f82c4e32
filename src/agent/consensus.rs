//! The consensus core over this server's store: what the loop does with its inputs and effects.

use std::ops::Range;
use std::rc::Rc;

use crate::command::{Applied, Command};
use crate::limits::{LOG_ENTRIES_KEPT, LOG_ENTRIES_TRIMMED};
use crate::raft::{
    Bounds, Config, Effects, Entry, EntryKind, HardState, Input, LogRead, Members, PeerId, Raft,
    Refusal, Role, Start,
};
use crate::routes::RaftInfo;
use crate::stdx::{Now, json, uuid};
use crate::store::{Batch, LogEntry, Reader, StoreError};

/// Where the memberships are kept that the core may have to go back to.
const MEMBERS: &str = "raft_members";

pub(super) struct Consensus {
    raft: Raft,
    /// Of this turn; the next commit carries them out.
    effects: Effects,
    /// First entry of the log on disk.
    first: u64,
    /// Nothing was ever stored: the cluster begins with this server.
    fresh: Option<Members>,
    last_term: u64,
}

impl Consensus {
    /// # Errors
    /// A sentence, where the store contradicts itself or cannot be read.
    pub(super) fn open(
        reader: Reader<'_>,
        server_id: &str,
        rpc_addr: &str,
        seed: u64,
    ) -> Result<Self, String> {
        let text = |e: StoreError| e.to_string();
        let id = uuid::to_bytes(server_id).ok_or("the server's id is damaged")?;
        let id = PeerId(u128::from_be_bytes(id));
        let (term, vote) = reader.hard_state().map_err(text)?;
        let vote = <[u8; 16]>::try_from(vote).ok().map(|b| PeerId(u128::from_be_bytes(b)));
        let bounds = reader.log_bounds().map_err(text)?;
        let last_term = reader.log_term(bounds.last).map_err(text)?.unwrap_or(0);
        let members = reader.note(MEMBERS).map_err(text)?.unwrap_or_default();
        let start = Start {
            hard_state: HardState { term, vote },
            bounds: Bounds { first: bounds.first, last: bounds.last },
            last_term,
            applied: reader.index(),
            members,
        };
        let fresh = members.is_empty().then(|| Members::lone(id, rpc_addr.to_owned()));
        let raft = Raft::new(id, start, Config { seed, ..Config::default() })
            .map_err(|e| e.to_string())?;
        let effects = Effects::default();
        Ok(Self { raft, effects, first: bounds.first, fresh, last_term })
    }

    /// Mono ns at which time itself is an input.
    pub(super) fn deadline(&self) -> Option<u64> {
        Some(self.raft.deadline()).filter(|d| *d != u64::MAX)
    }

    /// Whether there is something to write, or nobody leads yet.
    pub(super) fn has_work(&self) -> bool {
        self.effects.persist.is_some()
            || !self.effects.apply.is_empty()
            || self.raft.role() != Role::Leader
    }

    /// Leads, and everything of earlier terms is applied.
    pub(super) fn leads(&self) -> bool {
        self.raft.is_ready()
    }

    /// Steps what this turn has: time, and the payloads of new entries. Says which entries those
    /// become.
    pub(super) fn prepare(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        payloads: Vec<Rc<[u8]>>,
    ) -> Result<Range<u64>, Refusal> {
        let log = Log(reader);
        if let Some(members) = self.fresh.take() {
            self.raft.step(now, &log, Input::Bootstrap(members), &mut self.effects);
        }
        if self.raft.role() != Role::Leader || self.raft.deadline() <= now.mono_ns {
            self.raft.step(now, &log, Input::Tick, &mut self.effects);
        }
        if payloads.is_empty() {
            return Ok(0..0);
        }
        self.effects.proposals.clear();
        self.raft.step(now, &log, Input::Propose(payloads), &mut self.effects);
        self.effects.proposals.pop().unwrap_or(Err(Refusal::NotLeader))
    }

    /// Puts entries and their effects into the open transaction. `own` are the commands of the
    /// entries `range`, which so need not be decoded. May run again on another transaction.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn write<'c>(
        &self,
        batch: &mut Batch<'_>,
        range: &Range<u64>,
        mut own: impl Iterator<Item = &'c Command>,
    ) -> Result<Vec<Applied>, StoreError> {
        let fresh: &[Entry] = self.effects.persist.as_ref().map_or(&[], |p| &p.entries);
        if let Some(p) = &self.effects.persist {
            if let Some(h) = p.hard_state {
                let vote = h.vote.map(|v| v.0.to_be_bytes());
                batch.hard_state(h.term, vote.as_ref().map_or(&[], |v| v.as_slice()))?;
            }
            if let Some(from) = p.truncate_from {
                batch.truncate_from(from)?;
            }
            let rows: Vec<LogEntry<'_>> = fresh.iter().map(row).collect();
            batch.append(&rows)?;
            if let Some(members) = &p.members {
                batch.put_note(MEMBERS, members)?;
            }
        }
        let mut results = Vec::new();
        for index in self.effects.apply.clone() {
            if range.contains(&index)
                && let Some(command) = own.next()
            {
                results.push(batch.apply(index, command)?);
                continue;
            }
            let command = match fresh.iter().find(|e| e.index == index) {
                Some(e) => (e.kind as u8, e.payload.clone()),
                None => match batch.reader().log_entry(index)? {
                    Some(e) => (e.kind, Rc::from(e.payload)),
                    None => return Err(StoreError::Damaged(format!("entry {index} is missing"))),
                },
            };
            if command.0 == EntryKind::Command as u8 {
                let command: Command = json::decode(&command.1).map_err(|e| {
                    StoreError::Damaged(format!("entry {index} does not decode: {e}"))
                })?;
                batch.apply(index, &command)?;
            } else {
                batch.skip(index);
            }
        }
        if let Some(upto) = self.trims() {
            batch.compact_log(upto)?;
        }
        Ok(results)
    }

    /// The transaction is durable.
    pub(super) fn committed(&mut self, now: Now, reader: Reader<'_>) {
        if let Some(upto) = self.trims() {
            self.first = upto + 1;
        }
        let done = std::mem::take(&mut self.effects);
        let log = Log(reader);
        if let Some(p) = done.persist {
            if let Some(e) = p.entries.last() {
                self.last_term = e.term;
            }
            self.raft.step(now, &log, Input::Persisted(p.ticket), &mut self.effects);
        }
        if let Some(last) = done.apply.end.checked_sub(1).filter(|_| !done.apply.is_empty()) {
            self.raft.step(now, &log, Input::Applied(last), &mut self.effects);
        }
    }

    /// Up to where the log may be cut, once it is worth it.
    fn trims(&self) -> Option<u64> {
        let upto = self.raft.trim_to().saturating_sub(LOG_ENTRIES_KEPT);
        (upto >= self.first + LOG_ENTRIES_TRIMMED).then_some(upto)
    }

    pub(super) fn info(&self) -> RaftInfo {
        RaftInfo {
            term: self.raft.term(),
            last_index: self.raft.last_index(),
            last_term: self.last_term,
            commit: self.raft.commit_index(),
            applied: self.raft.applied_index(),
        }
    }
}

fn row(e: &Entry) -> LogEntry<'_> {
    LogEntry { index: e.index, term: e.term, kind: e.kind as u8, payload: &e.payload }
}

/// The log on disk, as the core reads it.
struct Log<'r>(Reader<'r>);

impl LogRead for Log<'_> {
    fn bounds(&self) -> Bounds {
        let b = self.0.log_bounds().unwrap_or_default();
        Bounds { first: b.first, last: b.last }
    }

    fn term(&self, index: u64) -> Option<u64> {
        self.0.log_term(index).ok().flatten()
    }

    fn entries(&self, from: u64, to: u64, max_bytes: usize, out: &mut Vec<Entry>) {
        let found = self.0.log_entries(from, max_bytes).unwrap_or_default();
        out.extend(found.into_iter().filter(|e| e.index < to).filter_map(|e| {
            Some(Entry {
                index: e.index,
                term: e.term,
                kind: EntryKind::from_byte(e.kind)?,
                payload: Rc::from(e.payload),
            })
        }));
    }
}
