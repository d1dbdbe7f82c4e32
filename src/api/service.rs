//! Services of groups and tasks, with their checks and mesh settings.

use super::*;

records! {
/// `Service` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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

/// Where one instance of a service is to be reached, as its node registered it.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceRegistration {
    /// May be empty.
    pub address: String,
    #[serde(rename = "AllocID")]
    pub alloc_id: String,
    pub create_index: u64,
    pub datacenter: String,
    /// `_nomad-task-<alloc>-<task, or group-<group>>-<service>-<port label>`
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub modify_index: u64,
    pub namespace: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// 0 when no port
    pub port: i64,
    pub service_name: String,
    pub tags: List<String>,
}

/// `ServiceCheck` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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
    /// http|tcp|script|grpc (nomad provider: http, tcp, script)
    #[serde(rename = "Type")]
    pub kind: String,
}

/// `CheckRestart` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct CheckRestart {
    /// 1s when block present
    pub grace: Option<i64>,
    pub ignore_warnings: bool,
    pub limit: i64,
}

/// `ServiceWeights` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceWeights {
    pub passing: i64,
    pub warning: i64,
}

/// Settings of a service mesh. Kept and shown as they were sent: nothing here speaks to Consul.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ConsulConnect {
    pub gateway: Option<Any>,
    pub native: bool,
    pub sidecar_service: Option<Any>,
    pub sidecar_task: Option<Any>,
}
}

/// What a check of a service last found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CheckResult {
    pub check: String,
    /// Name of the allocation.
    pub group: String,
    #[serde(rename = "ID")]
    pub id: String,
    /// `healthiness` or `readiness`
    pub mode: &'static str,
    pub output: String,
    pub service: String,
    /// `success`, `failure` or `pending`
    pub status: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    pub status_code: u16,
    #[serde(skip_serializing_if = "is_zero")]
    pub task: String,
    /// Seconds since the epoch.
    pub timestamp: i64,
}
