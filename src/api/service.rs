//! Services of groups and tasks, with their checks and mesh settings.

use super::*;

/// `Service` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Service {
    pub address: String,
    /// `auto`
    pub address_mode: String,
    pub canary_meta: Map<String>,
    pub canary_tags: List<String>,
    /// Requests only: merged into each check, then gone.
    #[serde(skip_serializing)]
    pub check_restart: Option<CheckRestart>,
    pub checks: List<ServiceCheck>,
    /// `default`
    pub cluster: String,
    pub connect: Option<Box<ConsulConnect>>,
    pub enable_tag_override: bool,
    pub identity: Option<WorkloadIdentity>,
    pub kind: String,
    pub meta: Map<String>,
    /// ``job`-`group``-`task```; ${JOB},${TASKGROUP},${TASK},${BASE} expanded
    pub name: String,
    /// consul: `default`; nomad: job namespace
    pub namespace: String,
    /// `require_healthy`|ignore_warnings|ignore
    pub on_update: String,
    pub port_label: String,
    /// `consul`|nomad (default consul!)
    pub provider: String,
    pub tagged_addresses: Map<String>,
    pub tags: List<String>,
    /// task services: task name
    pub task_name: String,
    pub weights: Option<Box<ServiceWeights>>,
}

/// `ServiceCheck` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceCheck {
    pub address_mode: String,
    pub args: List<String>,
    pub body: String,
    pub check_restart: Option<CheckRestart>,
    pub command: String,
    pub expose: bool,
    pub failures_before_critical: i64,
    pub failures_before_warning: i64,
    #[serde(rename = "GRPCService")]
    pub grpc_service: String,
    #[serde(rename = "GRPCUseTLS")]
    pub grpc_use_tls: bool,
    pub header: Map<List<String>>,
    /// passing|warning|critical|""
    pub initial_status: String,
    pub interval: i64,
    pub method: String,
    /// `service: "`svc`" check`
    pub name: String,
    pub notes: String,
    /// inherits service
    pub on_update: String,
    /// required for http, relative
    pub path: String,
    pub port_label: String,
    /// http default for http
    pub protocol: String,
    pub success_before_passing: i64,
    #[serde(rename = "TLSServerName")]
    pub tls_server_name: String,
    #[serde(rename = "TLSSkipVerify")]
    pub tls_skip_verify: bool,
    /// task service: task name
    pub task_name: String,
    pub timeout: i64,
    /// http|tcp|script|grpc (nomad provider: http, tcp)
    #[serde(rename = "Type")]
    pub kind: String,
}

/// `CheckRestart` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct CheckRestart {
    /// 1s when block present
    pub grace: Option<i64>,
    pub ignore_warnings: bool,
    pub limit: i64,
}

/// `ServiceWeights` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ServiceWeights {
    pub passing: i64,
    pub warning: i64,
}

/// `ConsulConnect` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConsulConnect {
    pub gateway: Option<Any>,
    pub native: bool,
    pub sidecar_service: Option<Box<ConsulSidecarService>>,
    pub sidecar_task: Option<Box<SidecarTask>>,
}

/// `ConsulSidecarService` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConsulSidecarService {
    #[serde(rename = "DisableDefaultTCPCheck")]
    pub disable_default_tcp_check: bool,
    pub meta: Map<String>,
    pub port: String,
    pub proxy: Option<ConsulProxy>,
    pub tags: List<String>,
}

/// `SidecarTask` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SidecarTask {
    pub config: Map<Any>,
    pub driver: String,
    pub env: Map<String>,
    pub identities: List<WorkloadIdentity>,
    pub kill_signal: String,
    pub kill_timeout: Option<i64>,
    pub log_config: Option<LogConfig>,
    pub meta: Map<String>,
    pub name: String,
    pub resources: Option<Resources>,
    pub shutdown_delay: Option<i64>,
    pub user: String,
    pub volume_mounts: List<VolumeMount>,
}

/// `ConsulProxy` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConsulProxy {
    pub config: Map<Any>,
    pub expose: Option<ConsulExposeConfig>,
    pub local_service_address: String,
    pub local_service_port: i64,
    pub transparent_proxy: Option<ConsulTransparentProxy>,
    pub upstreams: List<ConsulUpstream>,
}

/// `ConsulUpstream` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConsulUpstream {
    pub config: Map<Any>,
    pub datacenter: String,
    pub destination_name: String,
    pub destination_namespace: String,
    pub destination_partition: String,
    pub destination_peer: String,
    pub destination_type: String,
    pub local_bind_address: String,
    pub local_bind_port: i64,
    pub local_bind_socket_mode: String,
    pub local_bind_socket_path: String,
    pub mesh_gateway: Option<Any>,
}

/// `ConsulExposeConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConsulExposeConfig {
    pub paths: List<ConsulExposePath>,
}

/// `ConsulExposePath` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConsulExposePath {
    pub listener_port: String,
    pub local_path_port: i64,
    pub path: String,
    pub protocol: String,
}

/// `ConsulTransparentProxy` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConsulTransparentProxy {
    pub exclude_inbound_ports: List<String>,
    #[serde(rename = "ExcludeOutboundCIDRs")]
    pub exclude_outbound_cidrs: List<String>,
    pub exclude_outbound_ports: List<u16>,
    #[serde(rename = "ExcludeUIDs")]
    pub exclude_uids: List<String>,
    #[serde(rename = "NoDNS")]
    pub no_dns: bool,
    pub outbound_port: u16,
    #[serde(rename = "UID")]
    pub uid: String,
}
