//! Settings of the cluster that operators change at run time, and scaling policies.

use super::*;

/// `/v1/operator/scheduler/configuration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SchedulerConfiguration {
    pub create_index: u64,
    pub memory_oversubscription_enabled: bool,
    pub modify_index: u64,
    /// Zero: 100.
    pub node_limit_for_feasibility_checks: u64,
    pub pause_eval_broker: bool,
    pub preemption_config: PreemptionConfig,
    pub reject_job_registration: bool,
    /// `binpack`, `spread` or empty (as `binpack`).
    pub scheduler_algorithm: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PreemptionConfig {
    pub batch_scheduler_enabled: bool,
    pub service_scheduler_enabled: bool,
    pub sys_batch_scheduler_enabled: bool,
    pub system_scheduler_enabled: bool,
}

/// Enterprise only in the reference; must be null here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodePoolSchedulerConfiguration {
    pub memory_oversubscription_enabled: Option<bool>,
    pub scheduler_algorithm: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ScalingPolicy {
    pub create_index: u64,
    pub enabled: Option<bool>,
    #[serde(rename = "ID")]
    pub id: String,
    pub max: Option<i64>,
    pub min: Option<i64>,
    pub modify_index: u64,
    pub policy: Option<Any>,
    pub target: Map<String>,
    #[serde(rename = "Type")]
    pub kind: String,
}
