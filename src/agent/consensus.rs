//! The consensus core over this server's store: what the loop does with its inputs and effects.

use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use crate::command::{Applied, Command};
use crate::limits::{DIGEST_ENTRIES, LOG_BYTES_HELD_MAX, LOG_BYTES_KEPT, LOG_ENTRIES_TRIMMED};
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
    /// Applied entries that stay in the log.
    kept: u64,
    /// Up to where followers that are there hold the log; entries behind it stay for them.
    hold: u64,
    /// The last entry of the log that puts a snapshot into force and is not applied.
    restores: Option<u64>,
    /// Up to where this turn's transaction cuts the log.
    cut: Cell<Option<u64>>,
}

impl Consensus {
    /// # Errors
    /// Where the store contradicts itself or cannot be read.
    /// `kept`: applied entries that stay in the log, for servers that were away.
    pub(super) fn open(
        reader: Reader<'_>,
        id: PeerId,
        config: Config,
        kept: u64,
    ) -> Result<Self, StoreError> {
        let (term, vote) = reader.hard_state()?;
        let vote = <[u8; 16]>::try_from(vote).ok().map(|b| PeerId(u128::from_be_bytes(b)));
        let bounds = reader.log_bounds()?;
        let last_term = reader.log_term(bounds.last)?.unwrap_or(0);
        let start = Start {
            hard_state: HardState { term, vote },
            bounds: Bounds { first: bounds.first, last: bounds.last },
            last_term,
            applied: reader.applied(),
            members: reader.note(MEMBERS)?.unwrap_or_default(),
        };
        let pace = Pace::new(&config);
        let raft = Raft::new(id, start, config).map_err(|e| StoreError::Damaged(e.to_string()))?;
        let cluster = reader.note(CLUSTER)?.and_then(|b| b.try_into().ok());
        let (effects, first) = (Effects::default(), bounds.first);
        let restores = restores_behind(reader, bounds.last)?;
        let cluster_stored = cluster.is_some();
        let cluster = cluster.unwrap_or_default();
        Ok(Self {
            raft,
            pace,
            effects,
            first,
            last_term,
            cluster,
            cluster_stored,
            kept,
            hold: u64::MAX,
            cut: Cell::new(None),
            restores,
        })
    }

    /// The last entry of the log that puts a snapshot into force and is not applied.
    pub(super) fn restores(&self) -> Option<u64> {
        self.restores
    }

    /// Leaves of a message what this server can take: an entry that puts a snapshot into force is
    /// acknowledged only where that is kept, so that whoever may have to apply it can. False:
    /// nothing is left.
    pub(super) fn gate(&self, reader: Reader<'_>, message: &mut Message) -> bool {
        let raft::Body::Append { entries, .. } = &mut message.body else { return true };
        let kept = || reader.kept().ok().flatten().map(|k| uuid::from_bytes(&k.id));
        let refused = |e: &Entry| restored_by(e).is_some_and(|id| Some(id) != kept());
        match entries.iter().position(refused) {
            Some(0) => return false,
            Some(at) => entries.truncate(at),
            None => {}
        }
        true
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
        batch.put_note(MEMBERS, &raft::forced_members(members.clone()))
    }

    /// Entries behind `index` are still needed by others.
    pub(super) fn hold(&mut self, index: u64) {
        self.hold = index;
    }

    pub(super) fn kept(&self) -> u64 {
        self.kept
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

    /// All that is to be written can be made again of the log on the disk, and no promise waits for
    /// it.
    pub(super) fn only_applies(&self) -> bool {
        self.effects.persist.is_none()
            && self.effects.send_gated.is_empty()
            && (self.cluster_stored || self.cluster == [0; 16])
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

    /// Some reads are decided about: [`Self::take_reads`].
    pub(super) fn has_reads(&self) -> bool {
        !self.effects.reads.is_empty() || !self.effects.reads_lost.is_empty()
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
            if (index - 1).is_multiple_of(DIGEST_ENTRIES) {
                batch.mark(index - 1);
            }
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
        self.cut.set(self.trims(batch.reader().log_bytes()?));
        if let Some(upto) = self.cut.get() {
            batch.compact_log(upto)?;
        }
        Ok(results)
    }

    /// The transaction is durable, or held. The messages that waited for it come back.
    pub(super) fn committed(&mut self, now: Now, reader: Reader<'_>) -> Vec<Outgoing> {
        if let Some(upto) = self.cut.take() {
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
            if p.truncate_from.is_some_and(|from| self.restores.is_some_and(|at| at >= from)) {
                self.restores = None;
            }
            if let Some(e) = p.entries.last() {
                self.last_term = e.term;
            }
            if let Some(e) = p.entries.iter().rfind(|e| restored_by(e).is_some()) {
                self.restores = Some(e.index);
            }
            self.step(now, reader, Input::Persisted(p.ticket));
        }
        // The log begins behind it now.
        if let Some(at) = self.restores.take_if(|at| *at < done.apply.end) {
            self.first = self.first.max(at + 1);
        }
        if let Some(last) = done.apply.end.checked_sub(1).filter(|_| !done.apply.is_empty()) {
            self.step(now, reader, Input::Applied(last));
        }
        done.send_gated
    }

    /// The state was replaced by another's: the log begins anew.
    pub(super) fn begins_after(&mut self, index: u64, term: u64) {
        (self.first, self.last_term) = (index + 1, term);
        self.restores = None;
    }

    /// Up to where the log of so many bytes may be cut, once it is worth it.
    fn trims(&self, bytes: u64) -> Option<u64> {
        let (first, last) = (self.first, self.raft.last_index());
        let room = Room::of(bytes, (last + 1).saturating_sub(first), self.kept);
        let held = self.hold.max(self.raft.applied_index().saturating_sub(room.held));
        let upto = self.raft.trim_to().min(held).saturating_sub(room.kept);
        // Not everything at once, where the log was made with more room.
        (upto >= first + room.step).then_some(upto.min(first + 4 * LOG_ENTRIES_TRIMMED))
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

/// Numbers of entries: how many stay for servers that were away, how many are held for servers that
/// are there, and by how many the log is cut at a time.
#[derive(Debug, PartialEq, Eq)]
struct Room {
    kept: u64,
    held: u64,
    step: u64,
}

impl Room {
    /// For a log of so many entries with so many bytes; `kept`: as the configuration wants it.
    fn of(bytes: u64, entries: u64, kept: u64) -> Self {
        let each = (bytes / entries.max(1)).max(1);
        Self {
            kept: kept.min(LOG_BYTES_KEPT / each),
            held: LOG_BYTES_HELD_MAX / each,
            step: LOG_ENTRIES_TRIMMED.min(LOG_BYTES_KEPT / each / 4).max(1),
        }
    }
}

/// The snapshot that an entry puts into force.
fn restored_by(e: &Entry) -> Option<String> {
    Command::restores(&e.payload).filter(|_| e.kind == EntryKind::Command)
}

/// The last entry that is not applied and puts a snapshot into force.
fn restores_behind(reader: Reader<'_>, last: u64) -> Result<Option<u64>, StoreError> {
    let (mut next, mut found) = (reader.applied() + 1, None);
    while next <= last {
        let entries = reader.log_entries(next, 1 << 20)?;
        let restores = |e: &&LogEntry<'_>| Command::restores(e.payload).is_some();
        found = entries.iter().rfind(restores).map(|e| e.index).or(found);
        next = entries.last().map_or(last, |e| e.index) + 1;
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Kept, Options, Store};

    /// An entry that puts a snapshot into force is taken only where that is kept.
    #[test]
    fn what_cannot_be_applied_is_not_acknowledged() {
        let dir = std::env::temp_dir().join(format!("vardo-gate-{}", std::process::id()));
        let mut store = Store::open(&dir, Options { sync: false, ..Options::default() }).unwrap();
        let snap = store.snap().unwrap();
        let consensus = Consensus::open(snap.reader(), PeerId(1), Config::default(), 9).unwrap();
        drop(snap);
        let kept = Kept { id: [3; 16], term: 1 };
        let restore = Command::Restore { id: uuid::from_bytes(&kept.id), newest: 5 };
        let other = Command::Bootstrap { wall_ns: 1 };
        let entry = |index, command: &Command| {
            let payload = Rc::from(json::encode_lean(command));
            Entry { index, term: 1, kind: EntryKind::Command, payload }
        };
        let entries = [entry(1, &other), entry(2, &restore), entry(3, &other)];
        let left = |store: &Store, entries: &[Entry]| {
            let entries = entries.to_vec();
            let body = raft::Body::Append { prev: 0, prev_term: 0, commit: 0, entries };
            let mut message = Message { term: 1, body };
            let passes = consensus.gate(store.snap().unwrap().reader(), &mut message);
            let raft::Body::Append { entries, .. } = message.body else { return None };
            passes.then_some(entries.len())
        };
        assert_eq!(left(&store, &entries), Some(1));
        assert_eq!(left(&store, &entries[1..]), None);
        assert_eq!(left(&store, &entries[2..]), Some(1));
        for (id, taken) in [([4; 16], 1), (kept.id, 3)] {
            let mut batch = store.batch().unwrap();
            batch.keep(Kept { id, ..kept }).unwrap();
            batch.commit().unwrap();
            assert_eq!(left(&store, &entries), Some(taken));
        }
        drop(store);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_log_of_large_entries_is_a_short_one() {
        const MIB: u64 = 1 << 20;
        let room = |kept, held, step| Room { kept, held, step };
        // Bytes, entries, as configured.
        for (bytes, entries, kept, expected) in [
            (0, 0, 10_240, room(10_240, 1 << 30, 1024)),
            (10 * MIB, 10_240, 10_240, room(10_240, 1 << 20, 1024)),
            (100 * MIB, 100, 10_240, room(128, 1024, 32)),
            (100 * MIB, 100, 16, room(16, 1024, 32)),
            // Those of a mebibyte, beside nothing else.
            (640 * MIB, 10, 10_240, room(2, 16, 1)),
        ] {
            assert_eq!(Room::of(bytes, entries, kept), expected, "{bytes} {entries} {kept}");
        }
    }
}
