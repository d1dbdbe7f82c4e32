//! The parts of a node: what it has, what it keeps back, what happened to it.

use super::*;

records! {
/// Old form of the CPU figures, still printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct LegacyNodeCpuResources {
    /// Sum over all cores, in MHz.
    pub cpu_shares: i64,
    pub reservable_cpu_cores: List<i64>,
    pub total_cpu_cores: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeProcessorResources {
    pub topology: Option<NumaTopology>,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NumaTopology {
    pub cores: List<NumaCore>,
    pub distances: List<List<i64>>,
    pub nodes: List<i64>,
    pub override_total_compute: i64,
    /// The reference's spelling.
    pub override_withold_compute: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NumaCore {
    /// MHz.
    pub base_speed: i64,
    pub disable: bool,
    /// True: a performance core.
    pub grade: bool,
    pub guess_speed: i64,
    #[serde(rename = "ID")]
    pub id: i64,
    pub max_speed: i64,
    #[serde(rename = "NodeID")]
    pub node_id: i64,
    #[serde(rename = "SocketID")]
    pub socket_id: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeMemoryResources {
    #[serde(rename = "MemoryMB")]
    pub memory_mb: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeDiskResources {
    #[serde(rename = "DiskMB")]
    pub disk_mb: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeNetworkResource {
    pub addresses: List<NodeNetworkAddress>,
    pub device: String,
    pub mac_address: String,
    pub mode: String,
    pub speed: i64,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeNetworkAddress {
    pub address: String,
    pub alias: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    pub gateway: String,
    pub reserved_ports: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeDeviceResource {
    pub attributes: Map<DeviceAttribute>,
    pub instances: List<NodeDevice>,
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub vendor: String,
}

/// One typed value; exactly one of the first four is set.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DeviceAttribute {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bool: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub float: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub int: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub string: Option<String>,
    pub unit: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeDevice {
    pub health_description: String,
    pub healthy: bool,
    #[serde(rename = "ID")]
    pub id: String,
    pub locality: Option<NodeDeviceLocality>,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeDeviceLocality {
    #[serde(rename = "PciBusID")]
    pub pci_bus_id: String,
}

/// What the operator keeps back from the scheduler.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeReservedResources {
    pub cpu: NodeReservedCpu,
    pub disk: NodeDiskResources,
    pub memory: NodeMemoryResources,
    pub networks: NodeReservedNetworks,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeReservedCpu {
    /// MHz.
    pub cpu_shares: i64,
    pub reserved_cpu_cores: List<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeReservedNetworks {
    /// Such as `22,80,8000-9000`.
    pub reserved_host_ports: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DriverInfo {
    /// Printed `{}` when empty.
    pub attributes: BTreeMap<String, String>,
    pub detected: bool,
    pub health_description: String,
    pub healthy: bool,
    pub update_time: Time,
}

/// One line of a node's history; the last ten are kept.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeEvent {
    pub create_index: u64,
    pub details: Map<String>,
    pub message: String,
    /// `Drain`, `Driver`, `Heartbeat`, `Cluster`, `Storage` or `Scheduler`.
    pub subsystem: String,
    pub timestamp: Time,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DrainStrategy {
    /// ns; below zero: at once, zero: no deadline.
    pub deadline: i64,
    pub force_deadline: Time,
    pub ignore_system_jobs: bool,
    pub started_at: Time,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DrainMetadata {
    #[serde(rename = "AccessorID")]
    pub accessor_id: String,
    pub meta: Map<String>,
    pub started_at: Time,
    /// `draining`, `complete` or `canceled`.
    pub status: String,
    pub updated_at: Time,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ClientHostVolumeConfig {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
    pub path: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ClientHostNetworkConfig {
    #[serde(rename = "CIDR")]
    pub cidr: String,
    pub interface: String,
    pub name: String,
    pub reserved_ports: String,
}

/// A server as nodes are told of it.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeServerInfo {
    pub datacenter: String,
    #[serde(rename = "RPCAdvertiseAddr")]
    pub rpc_advertise_addr: String,
    #[serde(rename = "RPCMajorVersion")]
    pub rpc_major_version: i32,
    #[serde(rename = "RPCMinorVersion")]
    pub rpc_minor_version: i32,
}
}
