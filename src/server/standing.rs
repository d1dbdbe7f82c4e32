//! What stands on the nodes, kept from one evaluation to the next: the state's columns, and the
//! same with the plans on top that are proposed but not yet applied.

use std::rc::Rc;

use crate::api::{Allocation, Node};
use crate::command::Plan;
use crate::sched::Fleet;
use crate::sched::fit;
use crate::stdx::BTreeMap;
use crate::store::rows::AllocHead;
use crate::store::{Reader, RoomMove, StoreError, Table, Touched, keys};

#[derive(Default)]
pub(super) struct Standing {
    /// Index of the node table that the columns show; zero: they were never read.
    index: u64,
    /// Nodes decoded once, with the index of their row.
    known: BTreeMap<Vec<u8>, (u64, Rc<Node>)>,
    committed: Fleet,
    /// With the plans in flight, if there are any.
    ahead: Option<Fleet>,
    /// The new allocations of those plans, until they are seen in a commit.
    foreseen: BTreeMap<[u8; 16], String>,
}

impl Standing {
    /// The columns as of `reader` with the plans in flight.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn fleet(&mut self, reader: Reader<'_>) -> Result<&Fleet, StoreError> {
        let index = reader.table_index(Table::Node);
        if index != self.index || index == 0 {
            self.read_nodes(reader)?;
            self.index = index;
        }
        Ok(self.ahead.as_ref().unwrap_or(&self.committed))
    }

    /// Reads the rows of nodes that changed, and what stands on them.
    fn read_nodes(&mut self, reader: Reader<'_>) -> Result<(), StoreError> {
        let mut old = std::mem::take(&mut self.known);
        for pair in reader.scan(Table::Node, &[], None, false)? {
            let (key, row) = pair?;
            let kept = old.remove(key).filter(|(modify, _)| *modify == row.modify());
            let entry = match kept {
                Some(entry) => entry,
                None => match reader.node(&id_text(key))? {
                    Some(node) => (row.modify(), Rc::new(node)),
                    None => continue,
                },
            };
            self.known.insert(key.to_vec(), entry);
        }
        let nodes = self.known.values().map(|(_, n)| n.clone());
        let (fleet, fresh) = self.committed.renewed(nodes);
        self.committed = fleet;
        for at in fresh {
            let id = self.committed.node(at).id.clone();
            load(&mut self.committed, at, &id, reader)?;
        }
        self.ahead = None;
        self.foreseen.clear();
        Ok(())
    }

    /// A plan was proposed. Room that it gives back is free only when the node has ended what
    /// stands there.
    pub(super) fn foresee(&mut self, plan: &Plan) {
        let fleet = self.ahead.get_or_insert_with(|| self.committed.clone());
        for p in plan.places.iter().filter(|p| p.alloc.create_index == 0) {
            let (Some(at), Some(key), Some(r)) = (
                fleet.position(&p.alloc.node_id),
                keys::by_uuid(&p.alloc.id),
                &p.alloc.allocated_resources,
            ) else {
                continue;
            };
            fleet.hold(at, r);
            self.foreseen.insert(key, p.alloc.node_id.clone());
        }
    }

    /// A commit decided all plans in flight: each was applied, or refused in part.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) fn touched(
        &mut self,
        reader: Reader<'_>,
        touched: &Touched,
    ) -> Result<(), StoreError> {
        let mut foreseen = std::mem::take(&mut self.foreseen);
        let ahead = self.ahead.take();
        if self.index == 0 {
            return Ok(());
        }
        if let Some(fleet) = ahead {
            self.committed = fleet;
        }
        let fleet = &mut self.committed;
        for step in &touched.room {
            if step.was.is_none() && foreseen.remove(&step.alloc).is_some() {
                continue;
            }
            let Some(at) = fleet.position(&keys::uuid_text(&step.node)) else { continue };
            if !follow(fleet, at, step, reader)? {
                reload(fleet, at, reader)?;
            }
        }
        for node in foreseen.into_values() {
            if let Some(at) = fleet.position(&node) {
                reload(fleet, at, reader)?;
            }
        }
        Ok(())
    }
}

/// One allocation's change; false where its node is to be read again.
fn follow(
    fleet: &mut Fleet,
    at: u32,
    step: &RoomMove,
    reader: Reader<'_>,
) -> Result<bool, StoreError> {
    let owns = |head: &Option<AllocHead>| head.as_ref().is_some_and(|h| h.exclusive);
    if !owns(&step.was) && !owns(&step.now) {
        fleet.shift(at, |used| {
            if let Some(was) = &step.was {
                used.sub(&was.usage());
            }
            if let Some(now) = &step.now {
                used.add(&now.usage());
            }
        });
        return Ok(true);
    }
    let alloc = reader.alloc(&keys::uuid_text(&step.alloc))?;
    let Some(r) = alloc.as_ref().and_then(|a| a.allocated_resources.as_ref()) else {
        return Ok(false);
    };
    match (&step.was, &step.now) {
        (Some(_), None) => fleet.free(at, r),
        (None, Some(_)) => fleet.hold(at, r),
        (Some(was), Some(now)) => return Ok(was.usage() == now.usage()),
        (None, None) => {}
    }
    Ok(true)
}

fn reload(fleet: &mut Fleet, at: u32, reader: Reader<'_>) -> Result<(), StoreError> {
    let id = fleet.node(at).id.clone();
    fleet.clear(at);
    load(fleet, at, &id, reader)
}

/// Reads what stands on an empty node.
fn load(fleet: &mut Fleet, at: u32, id: &str, reader: Reader<'_>) -> Result<(), StoreError> {
    let Some(key) = keys::by_uuid(id) else { return Ok(()) };
    if reader.exclusive_on(&key)?.is_empty() {
        let sum = reader.node_sum(&key)?;
        fleet.shift(at, |used| *used = sum);
        return Ok(());
    }
    for entry in reader.usage_by_node(id)? {
        let (alloc, head) = entry?;
        if !head.exclusive {
            fleet.shift(at, |used| used.add(&head.usage()));
            continue;
        }
        if let Some(a) = reader.alloc(&keys::uuid_text(&alloc))?
            && let Some(r) = &a.allocated_resources
        {
            fleet.hold(at, r);
        }
    }
    Ok(())
}

/// What holds room on a node, decoded.
pub(super) fn on_node(reader: Reader<'_>, node: &str) -> Result<Vec<Allocation>, StoreError> {
    let mut out = Vec::new();
    for pair in reader.usage_by_node(node)? {
        let (id, _) = pair?;
        out.extend(reader.alloc(&keys::uuid_text(&id))?.filter(|a| !fit::client_terminal(a)));
    }
    Ok(out)
}

fn id_text(key: &[u8]) -> String {
    key.try_into().map(keys::uuid_text).unwrap_or_default()
}
