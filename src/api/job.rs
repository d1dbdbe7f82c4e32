//! The job and its parts, as the API reads and prints them (contract: schemas-job).
//!
//! One set of types serves requests and stored rows. A field whose absence means something
//! else than zero is an `Option`; canonicalisation fills it, so stored jobs never print `null`
//! there.

use super::*;

records! {
/// `Job` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Job {
    pub affinities: List<Affinity>,
    /// false (accepted, unused)
    pub all_at_once: bool,
    pub constraints: List<Constraint>,
    /// always ""
    pub consul_namespace: String,
    pub create_index: u64,
    /// ``""``; globs ok; empty string element invalid
    pub datacenters: List<String>,
    /// server
    pub dispatch_idempotency_token: String,
    /// server
    pub dispatched: bool,
    /// required; no spaces or NUL
    #[serde(rename = "ID")]
    pub id: String,
    /// bumps on spec change only (use for EnforceIndex)
    pub job_modify_index: u64,
    pub meta: Map<String>,
    /// Requests only: merged into each group, then gone.
    #[serde(skip_serializing)]
    pub migrate: Option<Box<MigrateStrategy>>,
    /// bumps on any change incl. status
    pub modify_index: u64,
    /// accepted+stored, inert in CE
    pub multiregion: Option<Box<Multiregion>>,
    /// = ID
    pub name: String,
    /// `default`
    pub namespace: String,
    pub node_pool: String,
    /// accessor of submitting token (ACL on)
    #[serde(rename = "NomadTokenID")]
    pub nomad_token_id: String,
    /// batch/sysbatch only
    pub parameterized_job: Option<ParameterizedJobConfig>,
    /// server; "" or parent id
    #[serde(rename = "ParentID")]
    pub parent_id: String,
    /// only on dispatched children; plain bytes b64
    pub payload: Option<Bytes>,
    /// batch/sysbatch only
    pub periodic: Option<PeriodicConfig>,
    pub priority: i64,
    /// agent region (see jobs.md)
    pub region: String,
    /// Requests only: merged into each group, then gone.
    #[serde(skip_serializing)]
    pub reschedule: Option<Box<ReschedulePolicy>>,
    pub spreads: List<Spread>,
    /// server/`stable` call
    pub stable: bool,
    /// pending|running|dead
    pub status: String,
    /// ""
    pub status_description: String,
    /// false
    pub stop: bool,
    /// ns
    pub submit_time: i64,
    pub task_groups: List<TaskGroup>,
    /// `service`; service|batch|system|sysbatch; cannot change
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(rename = "UI")]
    pub ui: Option<Box<JobUIConfig>>,
    pub update: UpdateStrategy,
    /// ""; copied into Task.Vault.Namespace when that is ""
    pub vault_namespace: String,
    /// server, from 0
    pub version: u64,
    /// server via tag call; request value is stored for that version if given
    pub version_tag: Option<JobVersionTag>,
}

/// `JobVersionTag` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct JobVersionTag {
    pub description: String,
    pub name: String,
    pub tagged_time: i64,
}

/// `JobUIConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct JobUIConfig {
    pub description: String,
    pub links: List<JobUILink>,
}

/// `JobUILink` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct JobUILink {
    pub label: String,
    pub url: String,
}

/// `TaskGroup` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TaskGroup {
    /// not for system
    pub affinities: List<Affinity>,
    pub constraints: List<Constraint>,
    /// {Namespace,Cluster default `default`,Partition}
    pub consul: Option<Consul>,
    pub count: Option<i64>,
    /// null
    pub disconnect: Option<DisconnectStrategy>,
    /// {Sticky:false, SizeMB:300, Migrate:false}
    pub ephemeral_disk: Option<EphemeralDisk>,
    /// same, always null
    pub max_client_disconnect: Option<i64>,
    /// null; >0; batch/sysbatch only
    pub max_run_duration: Option<i64>,
    pub meta: Map<String>,
    /// service: default below; other types must be null
    pub migrate: Option<MigrateStrategy>,
    /// required
    pub name: String,
    pub networks: List<NetworkResource>,
    /// same, always false
    pub prevent_reschedule_on_lost: bool,
    /// defaults by type; null for system/sysbatch (setting is an error)
    pub reschedule_policy: Option<ReschedulePolicy>,
    /// defaults by type, merged
    pub restart_policy: Option<RestartPolicy>,
    pub scaling: Option<ScalingPolicy>,
    pub services: List<Service>,
    pub shutdown_delay: Option<i64>,
    /// not for system
    pub spreads: List<Spread>,
    /// deprecated: accepted but not converted, always null in v2
    pub stop_after_client_disconnect: Option<i64>,
    pub tasks: List<Task>,
    pub update: Option<UpdateStrategy>,
    /// {name: VolumeRequest}; unknown Type dropped silently
    pub volumes: Map<VolumeRequest>,
}

/// `UpdateStrategy` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateStrategy {
    /// needs Canary>0
    pub auto_promote: Option<bool>,
    pub auto_revert: Option<bool>,
    pub canary: Option<i64>,
    /// checks|task_states|manual
    pub health_check: Option<String>,
    /// >MinHealthyTime
    pub healthy_deadline: Option<i64>,
    pub max_parallel: Option<i64>,
    pub min_healthy_time: Option<i64>,
    /// 0 or >HealthyDeadline
    pub progress_deadline: Option<i64>,
    /// >0
    pub stagger: Option<i64>,
}

/// `MigrateStrategy` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct MigrateStrategy {
    /// checks|task_states
    pub health_check: Option<String>,
    pub healthy_deadline: Option<i64>,
    pub max_parallel: Option<i64>,
    pub min_healthy_time: Option<i64>,
}

/// `RestartPolicy` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct RestartPolicy {
    pub attempts: Option<i64>,
    pub delay: Option<i64>,
    pub interval: Option<i64>,
    /// fail|delay; delay with 0 attempts invalid
    pub mode: Option<String>,
    pub render_templates: Option<bool>,
}

/// `ReschedulePolicy` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ReschedulePolicy {
    pub attempts: Option<i64>,
    pub delay: Option<i64>,
    /// constant|exponential|fibonacci
    pub delay_function: Option<String>,
    pub interval: Option<i64>,
    pub max_delay: Option<i64>,
    /// exclusive with Attempts>0
    pub unlimited: Option<bool>,
}

/// `DisconnectStrategy` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DisconnectStrategy {
    /// 0
    pub lost_after: i64,
    /// best_score|keep_original|keep_replacement|longest_running; default best_score
    pub reconcile: String,
    /// true
    pub replace: Option<bool>,
    /// null
    pub stop_on_client_after: Option<i64>,
}

/// `EphemeralDisk` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct EphemeralDisk {
    pub migrate: bool,
    #[serde(rename = "SizeMB")]
    pub size_mb: Option<i64>,
    pub sticky: bool,
}

/// `PeriodicConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct PeriodicConfig {
    /// true
    pub enabled: Option<bool>,
    /// false
    pub prohibit_overlap: bool,
    /// "" ; single cron (deprecated)
    pub spec: String,
    /// `cron`
    pub spec_type: Option<String>,
    /// `` when absent
    pub specs: Vec<String>,
    /// `UTC`
    pub time_zone: Option<String>,
}

/// `ParameterizedJobConfig` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct ParameterizedJobConfig {
    pub meta_optional: List<String>,
    pub meta_required: List<String>,
    /// optional|required|forbidden, default `optional`
    pub payload: String,
}

/// `Multiregion` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Multiregion {
    pub regions: List<MultiregionRegion>,
    pub strategy: Option<MultiregionStrategy>,
}

/// `MultiregionStrategy` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct MultiregionStrategy {
    /// 0
    pub max_parallel: i64,
    /// ""
    pub on_failure: String,
}

/// `MultiregionRegion` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct MultiregionRegion {
    /// 1
    pub count: Option<i64>,
    /// ``
    pub datacenters: Vec<String>,
    /// {}
    pub meta: BTreeMap<String, String>,
    pub name: String,
    pub node_pool: String,
}

/// `Constraint` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Constraint {
    /// e.g. `${attr.kernel.name}`
    #[serde(rename = "LTarget")]
    pub ltarget: String,
    pub operand: String,
    #[serde(rename = "RTarget")]
    pub rtarget: String,
}

/// `Affinity` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Affinity {
    #[serde(rename = "LTarget")]
    pub ltarget: String,
    pub operand: String,
    #[serde(rename = "RTarget")]
    pub rtarget: String,
    pub weight: Option<i8>,
}

/// `Spread` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Spread {
    pub attribute: String,
    pub spread_target: List<SpreadTarget>,
    /// 50; 1..100
    pub weight: Option<i8>,
}

/// `SpreadTarget` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct SpreadTarget {
    pub percent: u8,
    pub value: String,
}

/// `VolumeRequest` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeRequest {
    pub access_mode: String,
    pub attachment_mode: String,
    pub mount_options: Option<Box<CSIMountOptions>>,
    pub name: String,
    pub per_alloc: bool,
    pub read_only: bool,
    pub source: String,
    pub sticky: bool,
    /// host|csi
    #[serde(rename = "Type")]
    pub kind: String,
}

/// `CSIMountOptions` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct CSIMountOptions {
    #[serde(rename = "FSType")]
    pub fs_type: String,
    pub mount_flags: List<String>,
}

/// `Consul` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Consul {
    /// `default`
    pub cluster: String,
    pub namespace: String,
    pub partition: String,
}
}
