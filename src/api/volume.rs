//! Host volumes, and the claims that keep a group with its volume.

use super::*;

records! {
/// `HostVolume` of the API: a directory of a node that was made, or made known, by a request.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct HostVolume {
    pub capacity_bytes: i64,
    /// omitted when empty
    #[serde(skip_serializing_if = "is_zero")]
    pub constraints: List<Constraint>,
    pub create_index: u64,
    /// ns
    pub create_time: i64,
    pub host_path: String,
    #[serde(rename = "ID")]
    pub id: String,
    pub modify_index: u64,
    /// ns
    pub modify_time: i64,
    pub name: String,
    pub namespace: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub node_pool: String,
    /// omitted when empty
    #[serde(skip_serializing_if = "is_zero")]
    pub parameters: Map<String>,
    #[serde(rename = "PluginID")]
    pub plugin_id: String,
    pub requested_capabilities: List<HostVolumeCapability>,
    pub requested_capacity_max_bytes: i64,
    pub requested_capacity_min_bytes: i64,
    /// `pending`, `ready` or `unavailable`.
    pub state: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct HostVolumeCapability {
    pub access_mode: String,
    pub attachment_mode: String,
}

/// `TaskGroupHostVolumeClaim` of the API: allocations of the group go where this volume is.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct HostVolumeClaim {
    #[serde(rename = "AllocID")]
    pub alloc_id: String,
    pub create_index: u64,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub modify_index: u64,
    pub namespace: String,
    pub task_group_name: String,
    #[serde(rename = "VolumeID")]
    pub volume_id: String,
    pub volume_name: String,
}
}

impl HostVolume {
    /// The node has not said yet that it has it.
    pub const PENDING: &str = "pending";
    pub const READY: &str = "ready";
    /// Its node is not to be reached.
    pub const UNAVAILABLE: &str = "unavailable";

    /// A volume may be used so.
    pub fn allows(&self, access: &str, attachment: &str) -> bool {
        self.requested_capabilities
            .iter()
            .any(|c| c.access_mode == access && c.attachment_mode == attachment)
    }
}

impl VolumeRequest {
    /// The name of the volume that an allocation of this name gets: `source`, with the number of
    /// the allocation (`[0]`) behind it where each has its own.
    pub fn named(&self, alloc: &str) -> String {
        let number = alloc.rfind('[').filter(|_| self.per_alloc).and_then(|at| alloc.get(at..));
        format!("{}{}", self.source, number.unwrap_or_default())
    }
}
