//! The task and its parts (contract: schemas-job).

use super::*;

records! {
/// `Task` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Task {
    /// unique names
    pub actions: List<Action>,
    pub affinities: List<Affinity>,
    pub artifacts: List<TaskArtifact>,
    /// null
    #[serde(rename = "CSIPluginConfig")]
    pub csi_plugin_config: Option<Box<TaskCSIPluginConfig>>,
    pub config: Map<Any>,
    pub constraints: List<Constraint>,
    pub consul: Option<Consul>,
    /// {File}
    pub dispatch_payload: Option<DispatchPayloadConfig>,
    /// required
    pub driver: String,
    pub env: Map<String>,
    /// named identities; an entry named `default` moves to Identity
    pub identities: List<WorkloadIdentity>,
    pub identity: Option<WorkloadIdentity>,
    /// ""
    pub kill_signal: String,
    /// 5s
    pub kill_timeout: Option<i64>,
    /// ""; connect only
    pub kind: String,
    pub leader: bool,
    /// {Hook prestart|poststart|poststop, Sidecar:bool}
    pub lifecycle: Option<TaskLifecycleConfig>,
    pub log_config: Option<LogConfig>,
    pub meta: Map<String>,
    /// required
    pub name: String,
    pub resources: Option<Resources>,
    pub restart_policy: Option<RestartPolicy>,
    pub scaling_policies: List<ScalingPolicy>,
    /// enterprise
    pub schedule: Option<Box<TaskSchedule>>,
    pub secrets: List<Secret>,
    pub services: List<Service>,
    /// 0
    pub shutdown_delay: i64,
    pub templates: List<Template>,
    /// ""
    pub user: String,
    pub vault: Option<Box<Vault>>,
    pub volume_mounts: List<VolumeMount>,
}

/// `LogConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct LogConfig {
    pub disabled: Option<bool>,
    #[serde(rename = "MaxFileSizeMB")]
    pub max_file_size_mb: Option<i64>,
    pub max_files: Option<i64>,
}

/// `TaskLifecycleConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TaskLifecycleConfig {
    pub hook: String,
    pub sidecar: bool,
}

/// `DispatchPayloadConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DispatchPayloadConfig {
    pub file: String,
}

/// `Template` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Template {
    /// restart|noop|signal|script; `restart`
    pub change_mode: String,
    pub change_script: Option<ChangeScript>,
    /// "" or SIGHUP if mode signal; upper-cased
    pub change_signal: String,
    pub dest_path: String,
    pub embedded_tmpl: String,
    pub envvars: bool,
    pub err_missing_key: bool,
    /// null
    pub gid: Option<i64>,
    /// `{{`
    pub left_delim: String,
    pub once: bool,
    /// `0644`
    pub perms: String,
    /// `}}`
    pub right_delim: String,
    pub source_path: String,
    /// 5s
    pub splay: Option<i64>,
    /// null
    pub uid: Option<i64>,
    /// 0
    pub vault_grace: i64,
    /// {Min,Max: ns/null}
    pub wait: Option<WaitConfig>,
}

/// `ChangeScript` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ChangeScript {
    /// ``
    pub args: Vec<String>,
    pub command: String,
    pub fail_on_error: bool,
    pub run_on_first_render: bool,
    /// 5s
    pub timeout: Option<i64>,
}

/// `TaskArtifact` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TaskArtifact {
    pub chown: bool,
    pub getter_headers: Map<String>,
    pub getter_insecure: bool,
    /// any|file|dir; `any`
    pub getter_mode: String,
    pub getter_options: Map<String>,
    /// required
    pub getter_source: String,
    /// `local/`; mode file: `local/`basename``
    pub relative_dest: String,
}

/// `Vault` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Vault {
    pub allow_token_expiration: bool,
    /// `restart`
    pub change_mode: String,
    /// `SIGHUP` (API default)
    pub change_signal: String,
    /// `default`
    pub cluster: String,
    pub disable_file: bool,
    /// true
    pub env: Option<bool>,
    pub namespace: String,
    pub role: String,
}

/// `Secret` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Secret {
    pub config: Map<Any>,
    pub env: Map<String>,
    pub name: String,
    pub path: String,
    pub provider: String,
}

/// `WorkloadIdentity` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct WorkloadIdentity {
    /// default identity forced to `"nomadproject.io"`
    pub audience: List<String>,
    pub change_mode: String,
    pub change_signal: String,
    pub env: bool,
    pub extra_claims: List<String>,
    pub file: bool,
    pub filepath: String,
    /// `default`
    pub name: String,
    pub service_name: String,
    /// 0
    #[serde(rename = "TTL")]
    pub ttl: i64,
}

/// `Action` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Action {
    pub args: List<String>,
    pub command: String,
    pub name: String,
}

/// `TaskSchedule` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TaskSchedule {
    pub cron: Option<TaskScheduleCron>,
}

/// `TaskScheduleCron` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TaskScheduleCron {
    pub end: String,
    pub start: String,
    pub timezone: String,
}

/// `VolumeMount` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeMount {
    pub destination: String,
    /// `private`|host-to-task|bidirectional
    pub propagation_mode: String,
    pub read_only: bool,
    /// ""
    #[serde(rename = "SELinuxLabel")]
    pub se_linux_label: String,
    pub volume: String,
}

/// `TaskCSIPluginConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TaskCSIPluginConfig {
    /// 30s
    pub health_timeout: i64,
    #[serde(rename = "ID")]
    pub id: String,
    /// /csi
    pub mount_dir: String,
    /// /local/csi
    pub stage_publish_base_dir: String,
    #[serde(rename = "Type")]
    pub kind: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct WaitConfig {
    /// ns.
    pub max: Option<i64>,
    pub min: Option<i64>,
}
}
