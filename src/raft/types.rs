//! What goes into the core and what comes out of it.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use super::{Change, Message};

/// Position in the log, from 1 on.
pub type Index = u64;
/// Election term, from 1 on; 0 stands for "before any".
pub type Term = u64;
/// Number of one hand-over to the disk. Grows by one with each.
pub type Ticket = u64;
/// Names a read to the caller.
pub type ReadToken = u64;

/// Identity of a server: 128 random bits, drawn once, never an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u128);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry is to the core; the payload of a `Command` is opaque to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EntryKind {
    /// Begins a term of leadership; no payload.
    Empty = 0,
    Command = 1,
    /// An encoded [`Members`](super::Members), in force from the moment that it is appended.
    Members = 2,
}

impl EntryKind {
    /// The inverse of `kind as u8`; `None` for a kind that this version does not know.
    pub const fn from_byte(b: u8) -> Option<Self> {
        match b {
            0 => Some(Self::Empty),
            1 => Some(Self::Command),
            2 => Some(Self::Members),
            _ => None,
        }
    }
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub index: Index,
    pub term: Term,
    pub kind: EntryKind,
    pub payload: Rc<[u8]>,
}

impl Entry {
    /// Bytes that the entry counts for in windows and limits.
    pub fn size(&self) -> usize {
        self.payload.len() + 32
    }
}

/// What a server must not forget between two starts, besides its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    pub term: Term,
    /// Who got this server's vote in `term`.
    pub vote: Option<PeerId>,
}

/// Entries that the store holds: `first..=last`; `last + 1 == first` where it holds none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub first: Index,
    pub last: Index,
}

/// The durable log, as the core reads it. After each commit the next step must see the log as
/// committed.
pub trait LogRead {
    fn bounds(&self) -> Bounds;
    /// Term of the entry at `index`, for `first - 1 ..= last` (the term before `first` is kept when
    /// the log is trimmed); `None` elsewhere.
    fn term(&self, index: Index) -> Option<Term>;
    /// Appends entries `from..to` to `out` until their sizes exceed `max_bytes`; at least one.
    fn entries(&self, from: Index, to: Index, max_bytes: usize, out: &mut Vec<Entry>);
}

/// Timing and limits of one server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Between two heartbeats of a leader. Default 100 ms.
    pub heartbeat_ns: u64,
    /// Shortest silence after which a follower campaigns; drawn from one to two times this.
    /// Default 1 s.
    pub election_ns: u64,
    /// Start of the generator that spreads elections. Different on each server and start.
    pub seed: u64,
    /// Most bytes of entries in one message, unless a single entry is larger. Default 1 MiB.
    pub message_bytes: usize,
    /// Most messages in flight to one follower. Default 64.
    pub window: usize,
    /// Most bytes in flight to one follower. Default 1 MiB.
    pub window_bytes: usize,
    /// Most bytes of proposals that are not committed yet; more are refused. Default 16 MiB.
    pub uncommitted_bytes: usize,
    /// Most entries handed out to be applied ahead of `Applied`. Default 4,096.
    pub apply_ahead: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_ns: 100_000_000,
            election_ns: 1_000_000_000,
            seed: 0,
            message_bytes: 1 << 20,
            window: 64,
            window_bytes: 1 << 20,
            uncommitted_bytes: 16 << 20,
            apply_ahead: 4096,
        }
    }
}

/// Largest payload of one entry, in bytes. A larger proposal is refused.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;

/// What the store held at start.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    pub hard_state: HardState,
    pub bounds: Bounds,
    /// Term of the entry at `bounds.last` (0 where there never was one).
    pub last_term: Term,
    /// Index of the last entry whose effects the store holds.
    pub applied: Index,
    /// Bytes of the last [`Persist::members`]; empty on a fresh server.
    pub members: &'a [u8],
}

/// A store whose parts contradict each other. The server must not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub(super) &'static str);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for StartError {}

/// Everything that can happen to the core.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// From a peer. Who sent it is vouched for by the link, not by the message.
    Message(PeerId, Message),
    /// New entries; answered in [`Effects::proposals`].
    Propose(Vec<Rc<[u8]>>),
    /// One change of the membership; answered in [`Effects::proposals`]. With an index, it must be
    /// that of the entry that holds the present membership.
    Change(Change, Option<Index>),
    /// Hands leadership over, to the given server or to the best one; answered in
    /// [`Effects::proposals`] with an empty range.
    Transfer(Option<PeerId>),
    /// First membership of a cluster. Ignored unless log, hard state and membership are all empty.
    Bootstrap(super::Members),
    /// Starts an election now.
    Campaign,
    /// Time passed. The only input that fires timers: step it after the messages of the turn.
    Tick,
    /// Everything up to this ticket is on disk.
    Persisted(Ticket),
    /// Entries up to this one are applied, durably.
    Applied(Index),
    /// A linearizable read; answered in [`Effects::reads`] or [`Effects::reads_lost`].
    ReadIndex(ReadToken),
    /// A message to the peer was lost for sure, or its link is down. A follower whose leader that
    /// is holds on to it no longer and campaigns soon, unless the leader is heard again.
    Unreachable(PeerId),
    /// A snapshot for the peer, asked for by [`Effects::snapshots`], was installed there up to an
    /// index, or failed.
    SnapshotSent(PeerId, Option<Index>),
    /// The leader's state up to this entry has come. To be stepped before it is installed, which
    /// then is only right while the entry is still beyond the commit index.
    Offered { from: PeerId, index: Index, term: Term },
    /// State and membership up to this entry were replaced by a snapshot of the leader's, durably.
    /// The store holds no entries beyond it.
    Installed { from: PeerId, index: Index, term: Term, members: Vec<u8> },
}

/// What must be written, in this order: hard state, truncation, entries, membership. One
/// transaction, which also holds the effects of [`Effects::apply`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Persist {
    /// To be given back by [`Input::Persisted`].
    pub ticket: Ticket,
    pub hard_state: Option<HardState>,
    /// Entries from this index on are removed first.
    pub truncate_from: Option<Index>,
    pub entries: Vec<Entry>,
    /// The memberships that this server may have to go back to, as opaque bytes for
    /// [`Start::members`].
    pub members: Option<Vec<u8>>,
}

/// What to do. One value may gather the effects of all steps of a turn.
///
/// Order of use: `send_free`, then one transaction with `persist` and `apply`, then the rest. A
/// transaction that fails for want of space may be run again from the same value; after any other
/// failure the process must end.
#[derive(Debug, Default, PartialEq)]
#[must_use]
pub struct Effects {
    /// May leave at once.
    pub send_free: Vec<(PeerId, Message)>,
    pub persist: Option<Persist>,
    /// Leave when this and every earlier `persist` is durable.
    pub send_gated: Vec<(PeerId, Message)>,
    /// Entries to apply, among them ones that only `persist` holds so far.
    pub apply: Range<Index>,
    /// Reads that may be served from the state as it is now; the index that they waited for.
    pub reads: Vec<(ReadToken, Index)>,
    /// Reads that this server cannot serve: it does not lead, or no longer.
    pub reads_lost: Vec<ReadToken>,
    /// One answer for each `Propose`, `Change` and `Transfer`, in their order: indexes of the new
    /// entries.
    pub proposals: Vec<Result<Range<Index>, Refusal>>,
    /// Set where role, term or known leader changed. Replies that wait for entries of an earlier
    /// term have an unknown outcome then.
    pub role: Option<Role>,
    /// Peers that need entries which the log no longer holds: send them a snapshot, and report
    /// [`Input::SnapshotSent`] whatever comes of it. Nothing else is sent to them before.
    pub snapshots: Vec<PeerId>,
    /// Round of confirmation whose heartbeats are in `send_free`.
    pub(super) round: u64,
}

impl Effects {
    /// Takes out what may leave at once. Reads that come later need heartbeats of their own.
    pub fn take_free(&mut self) -> Vec<(PeerId, Message)> {
        self.round = 0;
        std::mem::take(&mut self.send_free)
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self { round: self.round, ..Self::default() }
    }
}

/// What a server is in its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

/// Why something was not even tried. Nothing of it is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This server does not lead. Ask [`Raft::leader`](super::Raft::leader).
    NotLeader,
    /// Leadership is being handed over; try again.
    Transferring,
    /// Too much is waiting to be committed; try again.
    Busy,
    /// A payload above [`ENTRY_BYTES_MAX`].
    TooLarge,
    /// The last change of the membership is not committed yet, or no entry of this term is.
    Pending,
    /// The membership is not the one that the caller saw.
    Outdated,
    /// The change or transfer makes no sense: the text says why.
    Invalid(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotLeader => "node is not the leader",
            Self::Transferring => "leadership transfer in progress",
            Self::Busy => "too many uncommitted entries",
            Self::TooLarge => "entry too large",
            Self::Pending => "configuration change already in progress",
            Self::Outdated => "configuration changed since prevIndex",
            Self::Invalid(why) => why,
        })
    }
}
