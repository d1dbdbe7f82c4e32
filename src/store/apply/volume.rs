//! Host volumes and the claims of groups on them.
//!
//! A volume is ready while its node lists it and is not lost: every change of a node looks at the
//! volumes that lie on it.

use crate::api::{ApiError, HostVolume, HostVolumeClaim, Node};
use crate::command::Applied;
use crate::store::rows::NodeStatus;
use crate::store::schema::keys;
use crate::store::{Batch, RowHead, StoreError, Table, typed};

impl Batch<'_> {
    pub(super) fn host_volume_put(
        &mut self,
        index: u64,
        volume: &HostVolume,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let mut volume = volume.clone();
        let key = keys::job(&volume.namespace, &volume.id);
        volume.create_index = index;
        volume.create_time = wall_ns;
        if let Some(row) = self.reader().row(Table::Volume, &key)? {
            let old: HostVolume = typed::decode(Table::Volume, row.json)?;
            volume.create_index = old.create_index;
            volume.create_time = old.create_time;
        }
        let node = self.reader().node(&volume.node_id)?;
        node.map_or(HostVolume::UNAVAILABLE, |node| state(&volume, &node))
            .clone_into(&mut volume.state);
        volume.modify_time = wall_ns;
        self.put_volume(index, &key, volume)?;
        Ok(Applied::Done)
    }

    fn put_volume(
        &mut self,
        index: u64,
        key: &[u8],
        mut volume: HostVolume,
    ) -> Result<(), StoreError> {
        volume.modify_index = index;
        let head = RowHead::plain(volume.create_index, index);
        // Whoever waits for the volume waits for something to happen on its node.
        self.touched.nodes_changed.insert(volume.node_id.clone());
        self.put(index, Table::Volume, key, head, &volume)
    }

    pub(super) fn host_volume_delete(
        &mut self,
        index: u64,
        namespace: &str,
        id: &str,
    ) -> Result<Applied, StoreError> {
        let Some(volume) = self.reader().host_volume(namespace, id)? else {
            return refused(format!("no such volume: {id}"));
        };
        let users = self.reader().volume_users(&volume)?;
        if !users.is_empty() {
            let users: Vec<String> = users.into_iter().map(|a| a.id).collect();
            return refused(format!("volume {id} in use by allocations: [{}]", users.join(" ")));
        }
        for claim in self.reader().volume_claims(namespace)? {
            if claim.volume_id == volume.id {
                self.delete(index, Table::VolumeClaim, &keys::name(&claim.id))?;
            }
        }
        self.delete(index, Table::Volume, &keys::job(namespace, id))?;
        Ok(Applied::Done)
    }

    pub(super) fn volume_claim_delete(
        &mut self,
        index: u64,
        id: &str,
    ) -> Result<Applied, StoreError> {
        if self.delete(index, Table::VolumeClaim, &keys::name(id))? {
            return Ok(Applied::Done);
        }
        refused("task group volume claim does not exist".to_owned())
    }

    /// A new allocation claims a volume, or takes a claim over.
    pub(super) fn put_claim(
        &mut self,
        index: u64,
        claim: &HostVolumeClaim,
    ) -> Result<(), StoreError> {
        let key = keys::name(&claim.id);
        let old = self.reader().row(Table::VolumeClaim, &key)?.map(|row| row.create());
        let mut claim = claim.clone();
        claim.create_index = old.unwrap_or(index);
        claim.modify_index = index;
        let head = RowHead::plain(claim.create_index, index);
        self.put(index, Table::VolumeClaim, &key, head, &claim)
    }

    /// Claims of a job that is gone.
    pub(super) fn drop_claims(
        &mut self,
        index: u64,
        namespace: &str,
        job: &str,
    ) -> Result<(), StoreError> {
        for claim in self.reader().volume_claims(namespace)? {
            if claim.job_id == job {
                self.delete(index, Table::VolumeClaim, &keys::name(&claim.id))?;
            }
        }
        Ok(())
    }

    /// A node has changed, or is gone: so have its volumes. `gone`: whether their records are to
    /// go with it.
    pub(super) fn volumes_follow(
        &mut self,
        index: u64,
        id: &str,
        node: Option<&Node>,
        gone: bool,
    ) -> Result<(), StoreError> {
        let mut changed = Vec::new();
        for pair in self.reader().scan(Table::Volume, &[], None, false)? {
            let (key, row) = pair?;
            if typed::text(row.json, "NodeID").is_some_and(|n| n == id) {
                let volume: HostVolume = typed::decode(Table::Volume, row.json)?;
                changed.push((key.to_vec(), volume));
            }
        }
        for (key, mut volume) in changed {
            if gone {
                self.delete(index, Table::Volume, &key)?;
                continue;
            }
            let to = node.map_or(HostVolume::UNAVAILABLE, |node| state(&volume, node));
            let pool = node.map_or(&volume.node_pool, |n| &n.node_pool);
            if volume.state != to || *pool != volume.node_pool {
                volume.node_pool = pool.clone();
                to.clone_into(&mut volume.state);
                self.put_volume(index, &key, volume)?;
            }
        }
        Ok(())
    }
}

/// The state of a volume on a node, which has it or not.
fn state(volume: &HostVolume, node: &Node) -> &'static str {
    let listed = node.host_volumes.get(&volume.name).is_some_and(|v| v.id == volume.id);
    let lost = matches!(NodeStatus::of(&node.status), NodeStatus::Down | NodeStatus::Disconnected);
    match (lost, listed) {
        (true, _) => HostVolume::UNAVAILABLE,
        (false, true) => HostVolume::READY,
        // It was there before.
        (false, false) if volume.state == HostVolume::READY => HostVolume::UNAVAILABLE,
        (false, false) if volume.state == HostVolume::UNAVAILABLE => HostVolume::UNAVAILABLE,
        (false, false) => HostVolume::PENDING,
    }
}

fn refused(why: String) -> Result<Applied, StoreError> {
    Ok(Applied::Refused(ApiError::failed(why)))
}
