//! The consensus core over this server's store: what the loop does with its inputs and effects.

use std::ops::Range;
use std::rc::Rc;

use crate::command::{Applied, Command};
use crate::limits::{LOG_ENTRIES_KEPT, LOG_ENTRIES_TRIMMED};
use crate::raft::{
    self, Bounds, Config, Effects, Entry, EntryKind, HardState, Input, LogRead, Members, Message,
    Pace, PeerId, Raft, Refusal, Role, Start,
};
use crate::routes::RaftInfo;
use crate::stdx::{Now, json, uuid};
use crate::store::{Batch, LogEntry, Reader, StoreError};

/// Where the memberships are kept that the core may have to go back to.
const MEMBERS: &str = "raft_members";
/// Where the id of the cluster is kept that this server belongs to.
const CLUSTER: &str = "cluster_id";

/// A message and whom it is for.
pub(super) type Outgoing = (PeerId, Message);

pub(super) struct Consensus {
    raft: Raft,
    pace: Pace,
    /// Of this turn; the next commit carries them out.
    effects: Effects,
    /// First entry of the log on disk.
    first: u64,
    last_term: u64,
    /// The cluster that this server belongs to, and whether that is on disk.
    cluster: [u8; 16],
    cluster_stored: bool,
}

impl Consensus {
    /// # Errors
    /// A sentence, where the store contradicts itself or cannot be read.
    pub(super) fn open(reader: Reader<'_>, id: PeerId, config: Config) -> Result<Self, String> {
        let text = |e: StoreError| e.to_string();
        let (term, vote) = reader.hard_state().map_err(text)?;
        let vote = <[u8; 16]>::try_from(vote).ok().map(|b| PeerId(u128::from_be_bytes(b)));
        let bounds = reader.log_bounds().map_err(text)?;
        let last_term = reader.log_term(bounds.last).map_err(text)?.unwrap_or(0);
        let start = Start {
            hard_state: HardState { term, vote },
            bounds: Bounds { first: bounds.first, last: bounds.last },
            last_term,
            applied: reader.index(),
            members: reader.note(MEMBERS).map_err(text)?.unwrap_or_default(),
        };
        let pace = Pace::new(&config);
        let raft = Raft::new(id, start, config).map_err(|e| e.to_string())?;
        let cluster = reader.note(CLUSTER).map_err(text)?.and_then(|b| b.try_into().ok());
        let (effects, first) = (Effects::default(), bounds.first);
        let cluster_stored = cluster.is_some();
        let cluster = cluster.unwrap_or_default();
        Ok(Self { raft, pace, effects, first, last_term, cluster, cluster_stored })
    }

    /// The membership in force as it is stored.
    ///
    /// # Errors
    /// A sentence, where it cannot be read.
    pub(super) fn members(reader: Reader<'_>) -> Result<Members, String> {
        let stored = reader.note(MEMBERS).map_err(|e| e.to_string())?.unwrap_or_default();
        raft::stored_members(stored).map_err(|e| e.to_string())
    }

    /// Puts another membership into force, whatever the log says.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn put_members(batch: &mut Batch<'_>, members: &Members) -> Result<(), StoreError> {
        let last = batch.reader().log_bounds()?.last;
        batch.put_note(MEMBERS, &raft::forced_members(last, members.clone()))
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Mono ns at which time itself is an input.
    pub(super) fn deadline(&self) -> Option<u64> {
        Some(self.raft.deadline()).filter(|d| *d != u64::MAX)
    }

    /// Whether there is something to write.
    pub(super) fn has_work(&self) -> bool {
        self.effects.persist.is_some() || !self.effects.apply.is_empty()
    }

    /// Leads, and everything of earlier terms is applied.
    pub(super) fn leads(&self) -> bool {
        self.raft.is_ready()
    }

    /// The only voter, which nobody else can lead.
    pub(super) fn is_alone(&self) -> bool {
        self.raft.members().is_some_and(|(_, m)| m.is_lone_voter(self.raft.id()))
    }

    /// No membership was ever known here.
    pub(super) fn is_fresh(&self) -> bool {
        self.raft.members().is_none() && self.raft.term() == 0
    }

    pub(super) fn cluster(&self) -> [u8; 16] {
        self.cluster
    }

    /// From now on this server belongs to that cluster; durable with the next commit that has
    /// anything else to write.
    pub(super) fn join_cluster(&mut self, id: [u8; 16]) {
        if self.cluster != id {
            self.cluster = id;
            self.cluster_stored = false;
        }
    }

    /// A turn of the loop took so long, in nanoseconds.
    pub(super) fn turn_took(&mut self, ns: u64) {
        if let Some((heartbeat_ns, election_ns)) = self.pace.took(ns) {
            log::info!("an election now waits for {} ms", election_ns / 1_000_000);
            self.raft.set_times(heartbeat_ns, election_ns);
        }
    }

    /// Takes one input; what follows from it is carried out by this turn's commit.
    pub(super) fn step(&mut self, now: Now, reader: Reader<'_>, input: Input) {
        self.raft.step(now, &Log(reader), input, &mut self.effects);
    }

    /// Lets time pass.
    pub(super) fn tick(&mut self, now: Now, reader: Reader<'_>) {
        if self.raft.deadline() <= now.mono_ns {
            self.step(now, reader, Input::Tick);
        }
    }

    /// Begins a cluster with these members, where there is nothing at all.
    pub(super) fn bootstrap(&mut self, now: Now, reader: Reader<'_>, members: Members) {
        self.step(now, reader, Input::Bootstrap(members));
        self.step(now, reader, Input::Campaign);
    }

    /// An input that is answered at once: which entries it became.
    pub(super) fn ask(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        input: Input,
    ) -> Result<Range<u64>, Refusal> {
        self.effects.proposals.clear();
        self.step(now, reader, input);
        self.effects.proposals.pop().unwrap_or(Err(Refusal::NotLeader))
    }

    /// Messages that may leave before the commit.
    pub(super) fn take_free(&mut self) -> Vec<Outgoing> {
        self.effects.take_free()
    }

    /// Messages that may leave once everything that was handed over is durable.
    pub(super) fn take_gated(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.effects.send_gated)
    }

    /// Reads that may be served now, and those that cannot be served here.
    pub(super) fn take_reads(&mut self) -> (Vec<u64>, Vec<u64>) {
        let served = std::mem::take(&mut self.effects.reads);
        let lost = std::mem::take(&mut self.effects.reads_lost);
        (served.into_iter().map(|(token, _)| token).collect(), lost)
    }

    /// Peers that need what the log no longer holds.
    pub(super) fn take_snapshots(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.effects.snapshots)
    }

    /// Puts entries and their effects into the open transaction. `own` finds the command of an
    /// entry that this server proposed, which so need not be decoded; what becomes of those is
    /// returned. May run again on another transaction.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn write<'c>(
        &self,
        batch: &mut Batch<'_>,
        own: &dyn Fn(u64) -> Option<&'c Command>,
    ) -> Result<Vec<(u64, Applied)>, StoreError> {
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
        if !self.cluster_stored && self.cluster != [0; 16] {
            batch.put_note(CLUSTER, &self.cluster)?;
        }
        let mut results = Vec::new();
        for index in self.effects.apply.clone() {
            if let Some(command) = own(index) {
                results.push((index, batch.apply(index, command)?));
                continue;
            }
            let at = fresh.first().and_then(|e| usize::try_from(index.checked_sub(e.index)?).ok());
            let command = match at.and_then(|at| fresh.get(at)) {
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

    /// The transaction is durable. The messages that waited for it come back.
    pub(super) fn committed(&mut self, now: Now, reader: Reader<'_>) -> Vec<Outgoing> {
        if let Some(upto) = self.trims() {
            self.first = upto + 1;
        }
        self.cluster_stored = self.cluster != [0; 16];
        let done = std::mem::take(&mut self.effects);
        // Not of the transaction: still to be looked at.
        self.effects.send_free = done.send_free;
        self.effects.reads = done.reads;
        self.effects.reads_lost = done.reads_lost;
        self.effects.snapshots = done.snapshots;
        if let Some(p) = done.persist {
            if let Some(e) = p.entries.last() {
                self.last_term = e.term;
            }
            self.step(now, reader, Input::Persisted(p.ticket));
        }
        if let Some(last) = done.apply.end.checked_sub(1).filter(|_| !done.apply.is_empty()) {
            self.step(now, reader, Input::Applied(last));
        }
        done.send_gated
    }

    /// The state was replaced by another's: the log begins anew.
    pub(super) fn begins_after(&mut self, index: u64, term: u64) {
        (self.first, self.last_term) = (index + 1, term);
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
            members_index: self.raft.members().map_or(0, |(index, _)| index),
            candidate: matches!(self.raft.role(), Role::PreCandidate | Role::Candidate),
        }
    }
}

/// The id of a server as consensus knows it, from its text.
pub(super) fn peer_id(text: &str) -> Option<PeerId> {
    uuid::to_bytes(text).map(|b| PeerId(u128::from_be_bytes(b)))
}

/// And back.
pub(super) fn id_text(id: PeerId) -> String {
    uuid::from_bytes(&id.0.to_be_bytes())
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
