//! Allocations: their rows, what nodes report of them, wishes of operators.

use crate::api::{AllocDeploymentStatus, Allocation, Deployment, DesiredTransition, Evaluation};
use crate::command::{AllocClientState, Applied};
use crate::sched::fit::Usage;
use crate::stdx::BTreeSet;
use crate::stdx::json::Time;
use crate::store::rows::{AllocHead, Client, Facts, JobKind, alloc_head, set_splice};
use crate::store::schema::{ix, keys};
use crate::store::{Batch, RoomMove, RowHead, StoreError, Table, typed};

use super::deployment::count_health;
use super::moves::{Moves, patch};

/// Who changed an allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The node learns of it.
    Server,
    /// The node knows already.
    Client,
}

impl Batch<'_> {
    /// Writes an allocation with its index entries. `old` is the head of the row that it replaces.
    /// Nothing for ids that are no UUIDs.
    pub(super) fn put_alloc(
        &mut self,
        index: u64,
        alloc: &Allocation,
        old: Option<RowHead>,
        kind: JobKind,
        by: By,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let id = |text: &str| keys::by_uuid(text);
        let Some(node) = id(&alloc.node_id) else { return Ok(()) };
        let eval = id(&alloc.eval_id).unwrap_or_default();
        let deployment = id(&alloc.deployment_id).unwrap_or_default();
        let head = alloc_head(alloc, kind, [eval, node, deployment]);
        self.put_alloc_as(index, alloc, head, &[], old, by, moves)
    }

    /// [`Self::put_alloc`] with a given head, and other values for some members of the JSON.
    pub(super) fn put_alloc_as(
        &mut self,
        index: u64,
        alloc: &Allocation,
        head: RowHead,
        edits: &[(&str, &[u8])],
        old: Option<RowHead>,
        by: By,
        moves: &mut Moves,
    ) -> Result<(), StoreError> {
        let (Some(key), Facts::Alloc(now)) = (keys::by_uuid(&alloc.id), head.facts) else {
            return Ok(());
        };
        let mut row = self.encode(head, alloc, edits);
        let done = set_splice(&mut row)
            .ok_or_else(|| StoreError::Damaged("an allocation is no object".to_owned()))
            .and_then(|()| self.put_row(index, Table::Alloc, &key, &row));
        self.scratch = row;
        done?;
        let was = match old.map(|h| h.facts) {
            Some(Facts::Alloc(was)) => Some(was),
            _ => None,
        };
        self.index_alloc(index, alloc, &key, was, &now)?;
        if was.map(|w| w.client) != Some(now.client) {
            let old = was.map(|w| w.client);
            moves.alloc(&alloc.namespace, &alloc.job_id, &alloc.task_group, old, now.client);
        }
        moves.job(&alloc.namespace, &alloc.job_id);
        if now.client_terminal() && was.is_some_and(|w| !w.client_terminal()) {
            self.drop_services(index, &key)?;
            self.touched.nodes_freed.insert(alloc.node_id.clone());
        }
        if by == By::Server {
            self.touched.nodes_allocs.insert(alloc.node_id.clone());
        }
        Ok(())
    }

    fn index_alloc(
        &mut self,
        index: u64,
        alloc: &Allocation,
        key: &[u8; 16],
        was: Option<AllocHead>,
        now: &AllocHead,
    ) -> Result<(), StoreError> {
        if was.is_none() {
            let created = ix::created(Table::Alloc, index, key);
            self.put_ix(&created, alloc.namespace.as_bytes())?;
        }
        let by_job = |t: bool| ix::by_job(ix::ALLOC_JOB, &alloc.namespace, &alloc.job_id, t, key);
        let old = was.map(|w| by_job(w.terminal()));
        self.move_ix(old.as_deref(), &by_job(now.terminal()))?;
        self.index_node(key, was, Some(now))
    }

    /// Moves what is known of a node by an allocation that is new, changes or goes.
    pub(super) fn index_node(
        &mut self,
        key: &[u8; 16],
        was: Option<AllocHead>,
        now: Option<&AllocHead>,
    ) -> Result<(), StoreError> {
        let place = |h: &AllocHead| ix::by_node(&h.node, h.client_terminal(), key);
        let (old, new) = (was.as_ref().map(place), now.map(place));
        if let Some(old) = old.as_ref().filter(|_| old != new) {
            self.del_ix(old)?;
        }
        if let Some((now, new)) = now.zip(new)
            && (old.as_ref() != Some(&new) || was.is_some_and(|w| w.exclusive != now.exclusive))
        {
            self.put_ix(&new, &[u8::from(now.exclusive)])?;
        }
        let holds = |h: &AllocHead| !h.client_terminal();
        let (room_was, room_now) = (was.filter(holds), now.copied().filter(holds));
        if let Some(node) = room_was.or(room_now).map(|h| h.node) {
            let step = RoomMove { alloc: *key, node, was: room_was, now: room_now };
            self.touched.room.push(step);
        }
        let held = |h: &AllocHead| holds(h).then(|| (h.node, h.usage()));
        let (before, after) = (was.as_ref().and_then(held), now.and_then(held));
        if before == after {
            return Ok(());
        }
        if let Some((node, usage)) = before {
            let mut sum = self.reader().node_sum(&node)?;
            sum.sub(&usage);
            self.put_node_sum(&node, sum)?;
        }
        if let Some((node, usage)) = after {
            let mut sum = self.reader().node_sum(&node)?;
            sum.add(&usage);
            self.put_node_sum(&node, sum)?;
        }
        Ok(())
    }

    fn put_node_sum(&mut self, node: &[u8; 16], sum: Usage) -> Result<(), StoreError> {
        let key = ix::node_sum(node);
        if sum == Usage::default() {
            return self.del_ix(&key);
        }
        let words = [sum.cpu, sum.memory, sum.disk, sum.allocs].map(i64::to_be_bytes);
        self.put_ix(&key, words.as_flattened())
    }

    /// Loads, changes and writes one allocation; false where there is none, or nothing changed.
    pub(super) fn change_alloc(
        &mut self,
        index: u64,
        key: &[u8; 16],
        wall_ns: i64,
        by: By,
        moves: &mut Moves,
        change: impl FnOnce(&mut Allocation),
    ) -> Result<bool, StoreError> {
        let Some(row) = self.reader().row(Table::Alloc, key)? else { return Ok(false) };
        let (head, kind) = (row.head, row.alloc().kind);
        let before = typed::alloc(&row)?;
        let mut alloc = before.clone();
        change(&mut alloc);
        if alloc == before {
            return Ok(false);
        }
        alloc.modify_index = index;
        alloc.modify_time = wall_ns;
        if by == By::Server {
            alloc.alloc_modify_index = index;
        }
        self.put_alloc(index, &alloc, Some(head), kind, by, moves)?;
        Ok(true)
    }

    /// Merges a wish into an allocation; `live` passes over those that are over.
    pub(super) fn transition(
        &mut self,
        index: u64,
        key: &[u8; 16],
        wish: &DesiredTransition,
        wall_ns: i64,
        live: bool,
        moves: &mut Moves,
    ) -> Result<bool, StoreError> {
        let Some(row) = self.reader().row(Table::Alloc, key)? else { return Ok(false) };
        if live && row.alloc().terminal() {
            return Ok(false);
        }
        self.change_alloc(index, key, wall_ns, By::Server, moves, |a| {
            merge(&mut a.desired_transition, wish);
        })
    }

    pub(super) fn alloc_transition(
        &mut self,
        index: u64,
        transitions: &[(String, DesiredTransition)],
        evals: &[Evaluation],
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let mut moves = Moves::default();
        for (id, wish) in transitions {
            if let Some(key) = keys::by_uuid(id) {
                self.transition(index, &key, wish, wall_ns, false, &mut moves)?;
            }
        }
        self.put_evals(index, evals, &mut moves)?;
        self.settle(index, moves)?;
        Ok(Applied::Done)
    }

    pub(super) fn alloc_client_update(
        &mut self,
        index: u64,
        updates: &[AllocClientState],
        evals: &[Evaluation],
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let mut moves = Moves::default();
        let mut nodes = BTreeSet::new();
        for update in updates {
            let Some(key) = keys::by_uuid(&update.id) else { continue };
            let Some(row) = self.reader().row(Table::Alloc, &key)? else { continue };
            let head = row.alloc();
            let mut healthy = None;
            let changed = self.change_alloc(index, &key, wall_ns, By::Client, &mut moves, |a| {
                healthy = report(index, a, update);
            })?;
            if changed {
                nodes.insert(head.node);
            }
            if let Some(services) = &update.services
                && self.serves(&key)?
            {
                self.put_services(index, &key, services)?;
            }
            if let Some(health) = healthy
                && head.deployment != [0; 16]
            {
                let group = self.group_of(&key)?;
                self.note_health(index, &head.deployment, &group, health, wall_ns)?;
            }
        }
        for node in nodes {
            self.note_alloc_update(index, &node)?;
        }
        self.put_evals(index, evals, &mut moves)?;
        self.settle(index, moves)?;
        Ok(Applied::Done)
    }

    /// Whether the allocation may be found by others: not after its end.
    fn serves(&self, key: &[u8]) -> Result<bool, StoreError> {
        let row = self.reader().row(Table::Alloc, key)?;
        Ok(row.is_some_and(|r| !r.alloc().client_terminal()))
    }

    fn group_of(&self, key: &[u8]) -> Result<String, StoreError> {
        let row = self.reader().row(Table::Alloc, key)?;
        Ok(row.and_then(|r| typed::text(r.json, "TaskGroup")).unwrap_or_default())
    }

    /// Sets `LastAllocUpdateIndex`. The node's `ModifyIndex` stays, its table moves.
    fn note_alloc_update(&mut self, index: u64, node: &[u8]) -> Result<(), StoreError> {
        let Some(row) = self.reader().row(Table::Node, node)? else { return Ok(()) };
        let text = index.to_string();
        let json = patch(Table::Node, row.json, &[("LastAllocUpdateIndex", text.as_bytes())])?;
        let head = row.head;
        self.put_json(index, Table::Node, node, head, &json)
    }

    /// Counts an allocation's new health in its deployment, and moves the deadline of progress.
    fn note_health(
        &mut self,
        index: u64,
        deployment: &[u8; 16],
        group: &str,
        health: (Option<bool>, bool, Time),
        wall_ns: i64,
    ) -> Result<(), StoreError> {
        let Some(row) = self.reader().row(Table::Deployment, deployment)? else { return Ok(()) };
        let mut d: Deployment = typed::decode(Table::Deployment, row.json)?;
        let Some(state) = d.task_groups.get_mut(group) else { return Ok(()) };
        count_health(state, health);
        let mut moves = Moves::default();
        self.put_deployment(index, d, wall_ns, &mut moves)
    }
}

/// Takes what the node knows better. The new health, with what it was, where it changed.
fn report(
    index: u64,
    a: &mut Allocation,
    update: &AllocClientState,
) -> Option<(Option<bool>, bool, Time)> {
    if Client::of(&update.client_status) != Client::Other {
        a.client_status.clone_from(&update.client_status);
    }
    a.client_description.clone_from(&update.client_description);
    if !update.task_states.is_empty() {
        a.task_states = update.task_states.clone().into();
    }
    if update.network_status.is_some() {
        a.network_status.clone_from(&update.network_status);
    }
    let told = update.deployment_status.as_ref()?;
    let now = told.healthy?;
    let was = a.deployment_status.as_ref().and_then(|s| s.healthy);
    if was == Some(now) {
        return None;
    }
    let canary = a.deployment_status.as_ref().is_some_and(|s| s.canary);
    a.deployment_status = Some(AllocDeploymentStatus {
        canary,
        healthy: Some(now),
        modify_index: index,
        timestamp: told.timestamp,
    });
    Some((was, now, told.timestamp))
}

pub(super) fn merge(to: &mut DesiredTransition, wish: &DesiredTransition) {
    for (to, wish) in [
        (&mut to.force_reschedule, wish.force_reschedule),
        (&mut to.migrate, wish.migrate),
        (&mut to.migrate_disable_placement, wish.migrate_disable_placement),
        (&mut to.no_shutdown_delay, wish.no_shutdown_delay),
        (&mut to.reschedule, wish.reschedule),
    ] {
        *to = wish.or(*to);
    }
}
