//! Nodes: registration, status, eligibility, drain, purge.

use crate::api::{
    DrainMetadata, DrainStrategy, Evaluation, Node, NodeEvent, NodeListStub, NodePool, status,
};
use crate::command::Applied;
use crate::stdx::json::{Span, Time};
use crate::store::rows::{Head, NodeStatus};
use crate::store::schema::keys;
use crate::store::{Batch, RowHead, StoreError, Table, typed};

use super::moves::Moves;

/// Events that a node keeps.
const EVENTS: usize = 10;
const SECOND: i64 = 1_000_000_000;
/// `NodeIdentityTTL` where none is given: 24 h, in ns.
const IDENTITY_TTL: i64 = 86_400_000_000_000;

impl Batch<'_> {
    pub(super) fn node_register(
        &mut self,
        index: u64,
        node: &Node,
        secret: &str,
        wall_ns: i64,
        evals: &[Evaluation],
    ) -> Result<Applied, StoreError> {
        let Some(key) = keys::by_uuid(&node.id) else { return Ok(Applied::Nothing) };
        let old = self.reader().node(&node.id)?;
        let mut node = node.clone();
        node.secret_id.clear();
        let seconds = wall_ns.div_euclid(SECOND);
        match &old {
            None => {
                node.create_index = index;
                if node.scheduling_eligibility.is_empty() {
                    status::NODE_ELIGIBLE.clone_into(&mut node.scheduling_eligibility);
                }
                node.status_updated_at = seconds;
                node.events = vec![cluster_event("Node registered", 0, seconds)].into();
                self.add_pool(index, &node.node_pool)?;
            }
            Some(old) => {
                keep_server_part(&mut node, old);
                if node.status != old.status {
                    node.status_updated_at = seconds;
                }
                if matches!(
                    NodeStatus::of(&old.status),
                    NodeStatus::Down | NodeStatus::Disconnected
                ) {
                    push_event(&mut node, cluster_event("Node re-registered", index, seconds));
                }
                if node.node_pool != old.node_pool {
                    self.add_pool(index, &node.node_pool)?;
                }
            }
        }
        self.name_signer(&mut node)?;
        let changed = old.as_ref() != Some(&node);
        if changed {
            self.put_node(index, &key, node)?;
        }
        if !secret.is_empty() {
            self.put_secret(Table::Node, &key, secret)?;
        }
        self.finish_node(index, evals, changed)
    }

    pub(super) fn node_status(
        &mut self,
        index: u64,
        (id, to): (&str, &str),
        event: Option<&NodeEvent>,
        wall_ns: i64,
        evals: &[Evaluation],
    ) -> Result<Applied, StoreError> {
        if matches!(NodeStatus::of(to), NodeStatus::Down | NodeStatus::Disconnected) {
            self.drop_services_of_node(index, id)?;
        }
        self.change_node(index, id, evals, |node| {
            if node.status != to {
                to.clone_into(&mut node.status);
                node.status_updated_at = wall_ns.div_euclid(SECOND);
                if matches!(NodeStatus::of(to), NodeStatus::Down | NodeStatus::Disconnected) {
                    node.last_missed_heartbeat_index = index;
                }
            }
            if let Some(e) = event {
                push_event(node, NodeEvent { create_index: index, ..e.clone() });
            }
        })
    }

    pub(super) fn node_eligibility(
        &mut self,
        index: u64,
        (id, to): (&str, &str),
        event: &NodeEvent,
        evals: &[Evaluation],
    ) -> Result<Applied, StoreError> {
        self.change_node(index, id, evals, |node| {
            if node.scheduling_eligibility != to {
                to.clone_into(&mut node.scheduling_eligibility);
                push_event(node, NodeEvent { create_index: index, ..event.clone() });
            }
        })
    }

    /// Sets, changes or ends a drain. A node that drains takes nothing new. A drain that is over
    /// already does not complete.
    pub(super) fn node_drain(
        &mut self,
        index: u64,
        id: &str,
        strategy: Option<&DrainStrategy>,
        mark_eligible: bool,
        last: Option<&DrainMetadata>,
        event: &NodeEvent,
        evals: &[Evaluation],
    ) -> Result<Applied, StoreError> {
        let completes = last.is_some_and(|l| l.status == status::DRAIN_COMPLETE);
        self.change_node(index, id, evals, |node| {
            if completes && node.drain_strategy.is_none() {
                return;
            }
            node.drain_strategy = strategy.cloned();
            if let Some(last) = last {
                node.last_drain = Some(last.clone());
            }
            let to = match (strategy, mark_eligible) {
                (Some(_), _) => status::NODE_INELIGIBLE,
                (None, true) => status::NODE_ELIGIBLE,
                (None, false) => node.scheduling_eligibility.as_str(),
            };
            node.scheduling_eligibility = to.to_owned();
            push_event(node, NodeEvent { create_index: index, ..event.clone() });
        })
    }

    pub(super) fn node_purge(
        &mut self,
        index: u64,
        ids: &[String],
        evals: &[Evaluation],
    ) -> Result<Applied, StoreError> {
        let mut changed = false;
        for id in ids {
            changed |= self.remove_node(index, id)?;
        }
        self.finish_node(index, evals, changed)
    }

    pub(super) fn remove_node(&mut self, index: u64, id: &str) -> Result<bool, StoreError> {
        let Some(key) = keys::by_uuid(id) else { return Ok(false) };
        self.del_secret(Table::Node, &key)?;
        let node = self.reader().node(id)?;
        let there = self.delete(index, Table::Node, &key)?;
        if there {
            let gone = node.is_some_and(|n| n.gc_volumes_on_node_gc);
            self.volumes_follow(index, id, None, gone)?;
            self.drop_services_of_node(index, id)?;
            self.touched.nodes_changed.insert(id.to_owned());
            self.touched.nodes_allocs.insert(id.to_owned());
        }
        Ok(there)
    }

    fn change_node(
        &mut self,
        index: u64,
        id: &str,
        evals: &[Evaluation],
        change: impl FnOnce(&mut Node),
    ) -> Result<Applied, StoreError> {
        let Some(key) = keys::by_uuid(id) else { return Ok(Applied::Nothing) };
        let Some(row) = self.reader().row(Table::Node, &key)? else {
            return Ok(Applied::Nothing);
        };
        let before: Node = typed::decode(Table::Node, row.json)?;
        let mut node = before.clone();
        change(&mut node);
        self.name_signer(&mut node)?;
        let changed = node != before;
        if changed {
            self.put_node(index, &key, node)?;
        }
        self.finish_node(index, evals, changed)
    }

    fn finish_node(
        &mut self,
        index: u64,
        evals: &[Evaluation],
        changed: bool,
    ) -> Result<Applied, StoreError> {
        let mut moves = Moves::default();
        self.put_evals(index, evals, &mut moves)?;
        self.settle(index, moves)?;
        Ok(if changed || !evals.is_empty() { Applied::Done } else { Applied::Nothing })
    }

    /// Names the key that signs the node's identity. The first node of a cluster is known before
    /// the first key is, so a later change catches up.
    fn name_signer(&self, node: &mut Node) -> Result<(), StoreError> {
        if node.identity_signing_key_id.is_empty() {
            node.identity_signing_key_id = self.reader().signing_key()?.unwrap_or_default();
        }
        Ok(())
    }

    fn put_node(&mut self, index: u64, key: &[u8], mut node: Node) -> Result<(), StoreError> {
        node.modify_index = index;
        node.drain = node.drain_strategy.is_some();
        let head = node.head();
        self.put(index, Table::Node, key, head, &node)?;
        self.put_stub(Table::Node, key, head, &NodeListStub::of(&node), &[])?;
        self.volumes_follow(index, &node.id, Some(&node), false)?;
        self.touched.nodes_changed.insert(node.id);
        Ok(())
    }

    /// A pool that a node names comes to be with the node; the built-in ones may do so before
    /// anything else asks for them.
    pub(super) fn add_pool(&mut self, index: u64, name: &str) -> Result<(), StoreError> {
        let key = keys::name(name);
        if name.is_empty() || self.reader().has(Table::NodePool, &key)? {
            return Ok(());
        }
        let description = match name {
            status::POOL_ALL => "Node pool with all nodes in the cluster.",
            status::POOL_DEFAULT => "Default node pool.",
            _ => "",
        };
        let pool = NodePool {
            name: name.to_owned(),
            description: description.to_owned(),
            create_index: index,
            modify_index: index,
            node_identity_ttl: Span(IDENTITY_TTL),
            ..NodePool::default()
        };
        self.put(index, Table::NodePool, &key, RowHead::plain(index, index), &pool)
    }
}

/// What only servers know of a node stays when it describes itself anew.
fn keep_server_part(node: &mut Node, old: &Node) {
    node.create_index = old.create_index;
    node.modify_index = old.modify_index;
    node.drain = old.drain;
    node.drain_strategy.clone_from(&old.drain_strategy);
    node.scheduling_eligibility.clone_from(&old.scheduling_eligibility);
    node.last_drain.clone_from(&old.last_drain);
    node.last_alloc_update_index = old.last_alloc_update_index;
    node.last_missed_heartbeat_index = old.last_missed_heartbeat_index;
    node.status_updated_at = old.status_updated_at;
    node.identity_signing_key_id.clone_from(&old.identity_signing_key_id);
    node.events.clone_from(&old.events);
}

fn cluster_event(message: &str, index: u64, seconds: i64) -> NodeEvent {
    NodeEvent {
        create_index: index,
        message: message.to_owned(),
        subsystem: "Cluster".to_owned(),
        timestamp: Time(seconds.saturating_mul(SECOND)),
        ..NodeEvent::default()
    }
}

fn push_event(node: &mut Node, event: NodeEvent) {
    node.events.push(event);
    let over = node.events.len().saturating_sub(EVENTS);
    node.events.drain(..over);
}
