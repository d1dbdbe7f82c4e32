//! Nodes and node pools.

use super::*;

records! {
/// `Node` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// {str:str}
    pub attributes: Map<String>,
    /// {}
    #[serde(rename = "CSIControllerPlugins")]
    pub csi_controller_plugins: BTreeMap<String, Any>,
    /// {}
    #[serde(rename = "CSINodePlugins")]
    pub csi_node_plugins: BTreeMap<String, Any>,
    pub cgroup_parent: String,
    /// `v1:`u64``
    pub computed_class: String,
    pub create_index: u64,
    pub datacenter: String,
    /// `DrainStrategy` is there.
    pub drain: bool,
    /// null unless draining
    pub drain_strategy: Option<DrainStrategy>,
    pub drivers: Map<DriverInfo>,
    /// last 10, oldest first; first is `Node registered`
    pub events: List<NodeEvent>,
    #[serde(rename = "GCVolumesOnNodeGC")]
    pub gc_volumes_on_node_gc: bool,
    /// host:port
    #[serde(rename = "HTTPAddr")]
    pub http_addr: String,
    /// null/obj
    pub host_networks: Map<ClientHostNetworkConfig>,
    /// {name:{Name,Path,ReadOnly,ID}}
    pub host_volumes: BTreeMap<String, ClientHostVolumeConfig>,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "IdentitySigningKeyID")]
    pub identity_signing_key_id: String,
    pub last_alloc_update_index: u64,
    /// null
    pub last_drain: Option<DrainMetadata>,
    pub last_missed_heartbeat_index: u64,
    /// {}
    pub links: BTreeMap<String, String>,
    /// {}
    pub meta: BTreeMap<String, String>,
    pub modify_index: u64,
    pub name: String,
    pub node_class: String,
    /// 0
    pub node_max_allocs: i64,
    pub node_pool: String,
    pub node_resources: Option<NodeResources>,
    pub reserved_resources: Option<NodeReservedResources>,
    /// eligible|ineligible
    pub scheduling_eligibility: String,
    /// always "" in responses
    #[serde(rename = "SecretID")]
    pub secret_id: String,
    /// initializing|ready|down|disconnected
    pub status: String,
    pub status_description: String,
    /// unix seconds
    pub status_updated_at: i64,
    #[serde(rename = "TLSEnabled")]
    pub tls_enabled: bool,
}

/// `NodeResources` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeResources {
    /// legacy, still emitted
    pub cpu: LegacyNodeCpuResources,
    pub devices: List<NodeDeviceResource>,
    pub disk: NodeDiskResources,
    /// 32000
    pub max_dynamic_port: i64,
    pub memory: NodeMemoryResources,
    /// 20000
    pub min_dynamic_port: i64,
    pub networks: List<NetworkResource>,
    pub node_networks: List<NodeNetworkResource>,
    /// {Topology: NumaTopology/null}
    pub processors: NodeProcessorResources,
}

/// `NodePool` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodePool {
    pub create_index: u64,
    pub description: String,
    /// b64 blake2b-256; null for built-ins
    pub hash: Option<Bytes>,
    pub meta: Map<String>,
    pub modify_index: u64,
    /// 1..128 of `A-Za-z0-9-_`
    pub name: String,
    /// ns, default 24h=86400000000000; request accepts integer ns or duration string
    #[serde(rename = "NodeIdentityTTL")]
    pub node_identity_ttl: Span,
    /// must be null in CE
    pub scheduler_configuration: Option<NodePoolSchedulerConfiguration>,
}
}
