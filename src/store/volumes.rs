//! Reads about host volumes.

use super::typed::decode;
use super::{Reader, StoreError, Table, keys};
use crate::api::{Allocation, HostVolume, HostVolumeClaim, VolumeRequest};

impl Reader<'_> {
    pub fn host_volume(&self, namespace: &str, id: &str) -> Result<Option<HostVolume>, StoreError> {
        let row = self.row(Table::Volume, &keys::job(namespace, id))?;
        row.map(|row| decode(Table::Volume, row.json)).transpose()
    }

    /// The volumes of a namespace, by id.
    pub fn host_volumes(&self, namespace: &str) -> Result<Vec<HostVolume>, StoreError> {
        self.scan(Table::Volume, &keys::namespace(namespace), None, false)?
            .map(|pair| decode(Table::Volume, pair?.1.json))
            .collect()
    }

    /// The claims of all groups of a namespace, by id.
    pub fn volume_claims(&self, namespace: &str) -> Result<Vec<HostVolumeClaim>, StoreError> {
        let all: Vec<HostVolumeClaim> = self.acl_rows(Table::VolumeClaim)?;
        Ok(all.into_iter().filter(|c| c.namespace == namespace).collect())
    }

    /// Allocations that use a volume and have not ended on its node.
    pub fn volume_users(&self, volume: &HostVolume) -> Result<Vec<Allocation>, StoreError> {
        let mut users = Vec::new();
        for held in self.usage_by_node(&volume.node_id)? {
            let Some(a) = self.alloc_with_job(&keys::uuid_text(&held?.0))? else { continue };
            if a.namespace == volume.namespace
                && requests(&a).any(|v| v.named(&a.name) == volume.name)
            {
                users.push(a);
            }
        }
        Ok(users)
    }

    /// Ids of those of them that may write to it.
    pub fn volume_writers(&self, volume: &HostVolume) -> Result<Vec<String>, StoreError> {
        let mut writers = self.volume_users(volume)?;
        let writes =
            |a: &Allocation| requests(a).any(|v| v.named(&a.name) == volume.name && !v.read_only);
        writers.retain(writes);
        Ok(writers.into_iter().map(|a| a.id).collect())
    }
}

/// What the group of an allocation asks of hosts.
fn requests(a: &Allocation) -> impl Iterator<Item = &VolumeRequest> {
    let job = a.job.as_ref();
    let group = job.and_then(|j| j.task_groups.iter().find(|g| g.name == a.task_group));
    group.into_iter().flat_map(|g| g.volumes.values()).filter(|v| v.kind == "host")
}
