//! What a task asks for and what an allocation was given.

use super::*;

records! {
/// `Resources` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Resources {
    #[serde(rename = "CPU")]
    pub cpu: Option<i64>,
    /// 0; exclusive with CPU
    pub cores: i64,
    pub devices: List<RequestedDevice>,
    /// 0; must be 0
    #[serde(rename = "DiskMB")]
    pub disk_mb: i64,
    /// 0 deprecated
    #[serde(rename = "IOPS")]
    pub iops: i64,
    #[serde(rename = "MemoryMB")]
    pub memory_mb: Option<i64>,
    #[serde(rename = "MemoryMaxMB")]
    pub memory_max_mb: i64,
    #[serde(rename = "NUMA")]
    pub numa: Option<Box<NUMA>>,
    /// deprecated at task level
    pub networks: List<NetworkResource>,
    #[serde(rename = "SecretsMB")]
    pub secrets_mb: i64,
}

/// `NetworkResource` of the API; fields that are zero are left out.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkResource {
    #[serde(rename = "CIDR", skip_serializing_if = "is_zero")]
    pub cidr: String,
    #[serde(rename = "CNI", skip_serializing_if = "is_zero")]
    pub cni: CNIConfig,
    #[serde(rename = "DNS", skip_serializing_if = "is_zero")]
    pub dns: DNSConfig,
    /// server side only
    #[serde(skip_serializing_if = "is_zero")]
    pub device: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub dynamic_ports: List<Port>,
    #[serde(skip_serializing_if = "is_zero")]
    pub hostname: String,
    #[serde(rename = "IP", skip_serializing_if = "is_zero")]
    pub ip: String,
    /// deprecated
    #[serde(rename = "MBits", skip_serializing_if = "is_zero")]
    pub mbits: i64,
    /// "" (=host), host|bridge|none|cni/`name`
    #[serde(skip_serializing_if = "is_zero")]
    pub mode: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub reserved_ports: List<Port>,
}

/// `Port` of the API; fields that are zero are left out.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Port {
    /// `default`
    #[serde(skip_serializing_if = "is_zero")]
    pub host_network: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub ignore_collision: bool,
    /// required
    #[serde(skip_serializing_if = "is_zero")]
    pub label: String,
    /// -1 = same as assigned
    #[serde(skip_serializing_if = "is_zero")]
    pub to: i64,
    /// static port (reserved) or assigned port; 0 omitted
    #[serde(skip_serializing_if = "is_zero")]
    pub value: i64,
}

/// `DNSConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DNSConfig {
    pub options: List<String>,
    pub searches: List<String>,
    pub servers: List<String>,
}

/// `CNIConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct CNIConfig {
    pub args: Map<String>,
}

/// `RequestedDevice` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct RequestedDevice {
    pub affinities: List<Affinity>,
    pub constraints: List<Constraint>,
    /// 1
    pub count: Option<u64>,
    pub name: String,
}

/// `NUMA` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NUMA {
    /// none|prefer|require, default none
    pub affinity: String,
    pub devices: List<String>,
}

/// `AllocatedResources` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedResources {
    pub shared: AllocatedSharedResources,
    /// {task: lifecycle/null}
    pub task_lifecycles: Map<Option<TaskLifecycleConfig>>,
    /// {task: AllocatedTaskResources}
    pub tasks: Map<AllocatedTaskResources>,
}

/// `AllocatedTaskResources` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedTaskResources {
    /// {CpuShares i64, ReservedCores `int`/null}
    pub cpu: AllocatedCpuResources,
    pub devices: List<AllocatedDeviceResource>,
    /// {MemoryMB i64, MemoryMaxMB i64}
    pub memory: AllocatedMemoryResources,
    pub networks: List<NetworkResource>,
}

/// `AllocatedSharedResources` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedSharedResources {
    #[serde(rename = "DiskMB")]
    pub disk_mb: i64,
    pub networks: List<NetworkResource>,
    /// flat port list; Networks holds the same ports
    pub ports: List<AllocatedPortMapping>,
}

/// `AllocatedPortMapping` of the API; fields that are zero are left out.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedPortMapping {
    #[serde(rename = "HostIP", skip_serializing_if = "is_zero")]
    pub host_ip: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub ignore_collision: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub label: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub to: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: i64,
}

/// `AllocatedDeviceResource` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedDeviceResource {
    #[serde(rename = "DeviceIDs")]
    pub device_ids: List<String>,
    pub name: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub vendor: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedCpuResources {
    /// MHz.
    pub cpu_shares: i64,
    pub reserved_cores: List<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocatedMemoryResources {
    #[serde(rename = "MemoryMB")]
    pub memory_mb: i64,
    #[serde(rename = "MemoryMaxMB")]
    pub memory_max_mb: i64,
}
}
