//! Changes of the membership: one at a time, learners first.

use std::ops::Range;

use super::progress::State;
use super::{Change, Cx, Entry, EntryKind, HardState, Index, MEMBERS_MAX, Member, Members, Raft};
use super::{Refusal, Role};

/// A learner this many entries behind the commit index may become a voter.
const PROMOTE_LAG: Index = 256;

impl Raft {
    /// First membership, as entry 1 of term 1. Only where there is nothing at all.
    pub(super) fn bootstrap(&mut self, cx: &mut Cx<'_>, members: &Members) {
        let fresh = self.tail.last() == 0 && self.hard == HardState::default();
        if !fresh || self.history.current().is_some() || members.voters().next().is_none() {
            return;
        }
        self.set_hard(cx, 1, None);
        let payload = members.encode().into();
        self.append(cx, Entry { index: 1, term: 1, kind: EntryKind::Members, payload });
    }

    pub(super) fn change(
        &mut self,
        cx: &mut Cx<'_>,
        change: Change,
        prev: Option<Index>,
    ) -> Result<Range<Index>, Refusal> {
        if self.role != Role::Leader {
            return Err(Refusal::NotLeader);
        }
        if self.lead.transfer.is_some() {
            return Err(Refusal::Transferring);
        }
        let Some((at, members)) = self.history.current() else { return Err(Refusal::NotLeader) };
        // The second condition closes a hole of the first published form of this algorithm.
        if *at > self.commit || self.commit < self.lead.opened {
            return Err(Refusal::Pending);
        }
        if prev.is_some_and(|p| p != *at) {
            return Err(Refusal::Outdated);
        }
        let members = self.changed(members.clone(), change)?;
        let index = self.tail.last() + 1;
        let (term, payload) = (self.hard.term, members.encode().into());
        self.append(cx, Entry { index, term, kind: EntryKind::Members, payload });
        self.sync_peers(index);
        self.broadcast(cx);
        Ok(index..index + 1)
    }

    fn changed(&self, mut members: Members, change: Change) -> Result<Members, Refusal> {
        let map = &mut members.0;
        let taken = |map: &crate::stdx::BTreeMap<_, Member>, id, address: &str| {
            map.iter().any(|(other, m)| *other != id && m.address == address)
        };
        match change {
            Change::AddLearner(id, address) => {
                if map.contains_key(&id) {
                    return Err(Refusal::Invalid("server is a member already"));
                }
                if taken(map, id, &address) {
                    return Err(Refusal::Invalid("address belongs to another member"));
                }
                if map.len() >= MEMBERS_MAX {
                    return Err(Refusal::Invalid("too many members"));
                }
                map.insert(id, Member { address, voter: false });
            }
            Change::Promote(id) => {
                let m = map.get_mut(&id).ok_or(Refusal::Invalid("server is not a member"))?;
                let current = self.lead.peers.get(&id).is_some_and(|p| {
                    p.state == State::Replicate
                        && p.matched > 0
                        && p.matched.saturating_add(PROMOTE_LAG) >= self.commit
                });
                if !m.voter && !current {
                    return Err(Refusal::Invalid("server has not caught up yet"));
                }
                m.voter = true;
            }
            Change::Demote(id) => {
                let m = map.get_mut(&id).ok_or(Refusal::Invalid("server is not a member"))?;
                m.voter = false;
            }
            Change::Remove(id) => {
                map.remove(&id).ok_or(Refusal::Invalid("server is not a member"))?;
            }
            Change::Address(id, address) => {
                if taken(map, id, &address) {
                    return Err(Refusal::Invalid("address belongs to another member"));
                }
                let m = map.get_mut(&id).ok_or(Refusal::Invalid("server is not a member"))?;
                m.address = address;
            }
        }
        if members.voters().next().is_none() {
            return Err(Refusal::Invalid("the last voter must stay"));
        }
        Ok(members)
    }
}
