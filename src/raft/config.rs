//! Who the servers are, changed one at a time by entries of the log.

use crate::stdx::BTreeMap;

use super::message::{Reader, WireError, Writer};
use super::{Index, PeerId};

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it is reached. Opaque here, but no two members share one.
    pub address: String,
    /// Counts in majorities. A learner only follows.
    pub voter: bool,
}

/// The servers of a cluster, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(pub BTreeMap<PeerId, Member>);

/// Largest number of servers, learners included.
pub const MEMBERS_MAX: usize = 64;

impl Members {
    /// A cluster of one voter.
    pub fn lone(id: PeerId, address: String) -> Self {
        Self(BTreeMap::from([(id, Member { address, voter: true })]))
    }

    pub fn voters(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.0.iter().filter(|(_, m)| m.voter).map(|(id, _)| *id)
    }

    pub fn is_voter(&self, id: PeerId) -> bool {
        self.0.get(&id).is_some_and(|m| m.voter)
    }

    /// Whether `id` alone is a majority.
    pub fn is_lone_voter(&self, id: PeerId) -> bool {
        self.is_voter(id) && self.voters().count() == 1
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.0
    }

    pub(super) fn write(&self, w: &mut Writer) {
        w.u64(self.0.len() as u64);
        for (id, m) in &self.0 {
            w.u128(id.0);
            w.byte(u8::from(m.voter));
            w.bytes(m.address.as_bytes());
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let members = Self::read(&mut r)?;
        r.end()?;
        Ok(members)
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let n = r.u64()?;
        if n > MEMBERS_MAX as u64 {
            return Err(WireError("too many members"));
        }
        let mut members = BTreeMap::new();
        for _ in 0..n {
            let id = PeerId(r.u128()?);
            let voter = r.flag()?;
            let address = std::str::from_utf8(r.bytes()?)
                .map_err(|_| WireError("address is not text"))?
                .to_owned();
            if members.insert(id, Member { address, voter }).is_some() {
                return Err(WireError("member named twice"));
            }
        }
        Ok(Self(members))
    }
}

/// One step of membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new server, which follows without a vote.
    AddLearner(PeerId, String),
    /// A learner that caught up becomes a voter.
    Promote(PeerId),
    /// A voter becomes a learner.
    Demote(PeerId),
    Remove(PeerId),
    /// The same server at another address.
    Address(PeerId, String),
}

/// The membership in force of those that are stored; empty where there is none.
///
/// # Errors
/// For bytes that are none.
pub fn stored_members(bytes: &[u8]) -> Result<Members, WireError> {
    let history = History::decode(bytes)?;
    Ok(history.current().map(|(_, members)| members.clone()).unwrap_or_default())
}

/// What to store so that a membership is in force that no entry brought. It stands at index 0, so
/// that it stays whatever is cut; whoever comes to lead by it begins with an entry that tells it.
pub fn forced_members(members: Members) -> Vec<u8> {
    History(vec![(0, members)]).encode()
}

/// Memberships by the index of their entry: the last committed one, then those that a truncation
/// could still take back. The last one is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History(Vec<(Index, Members)>);

impl History {
    /// None before a server was ever part of a cluster.
    pub(super) fn current(&self) -> Option<&(Index, Members)> {
        self.0.last()
    }

    /// Whether the server is a voter by the last committed membership or by a later one.
    pub(super) fn names_voter(&self, id: PeerId) -> bool {
        self.0.iter().any(|(_, m)| m.is_voter(id))
    }

    /// What was in force at `index`.
    pub(super) fn at(&self, index: Index) -> Option<&Members> {
        self.0.iter().rev().find(|(i, _)| *i <= index).map(|(_, m)| m)
    }

    pub(super) fn append(&mut self, index: Index, members: Members) {
        assert!(self.0.last().is_none_or(|(i, _)| *i < index));
        self.0.push((index, members));
    }

    /// Takes back what stands at `from` and later; true where something was.
    pub(super) fn truncate(&mut self, from: Index) -> bool {
        let n = self.0.len();
        self.0.retain(|(i, _)| *i < from);
        self.0.len() != n
    }

    /// Forgets what a commit up to `index` made impossible to go back to.
    pub(super) fn commit(&mut self, index: Index) -> bool {
        let keep = self.0.iter().rposition(|(i, _)| *i <= index).unwrap_or(0);
        self.0.drain(..keep);
        keep > 0
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u64(self.0.len() as u64);
        for (index, members) in &self.0 {
            w.u64(*index);
            members.write(&mut w);
        }
        w.0
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut r = Reader::new(bytes);
        let n = r.u64()?;
        let mut out = Self::default();
        for _ in 0..n {
            let index = r.index()?;
            if out.0.last().is_some_and(|(i, _)| *i >= index) {
                return Err(WireError("memberships out of order"));
            }
            out.0.push((index, Members::read(&mut r)?));
        }
        r.end()?;
        Ok(out)
    }
}
