//! Evaluations: the reason why a job is looked at, and what came of it.

use super::*;

records! {
/// `Evaluation` of the API; fields that are zero are left out.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Evaluation {
    #[serde(skip_serializing_if = "is_zero")]
    pub annotate_plan: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub blocked_eval: String,
    /// {class:bool}
    #[serde(skip_serializing_if = "is_zero")]
    pub class_eligibility: Map<bool>,
    #[serde(skip_serializing_if = "is_zero")]
    pub create_index: u64,
    /// ns
    #[serde(skip_serializing_if = "is_zero")]
    pub create_time: i64,
    #[serde(rename = "DeploymentID", skip_serializing_if = "is_zero")]
    pub deployment_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub escaped_computed_class: bool,
    /// {group: AllocMetric}
    #[serde(rename = "FailedTGAllocs", skip_serializing_if = "is_zero")]
    pub failed_tg_allocs: Map<AllocMetric>,
    #[serde(rename = "ID", skip_serializing_if = "is_zero")]
    pub id: String,
    #[serde(rename = "JobID", skip_serializing_if = "is_zero")]
    pub job_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub job_modify_index: u64,
    /// core evals only, never set on stored user evals
    #[serde(rename = "LeaderACL", skip_serializing_if = "is_zero")]
    pub leader_acl: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub missing_non_node_resources: List<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub modify_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub modify_time: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub namespace: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub next_eval: String,
    #[serde(rename = "NodeID", skip_serializing_if = "is_zero")]
    pub node_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub node_modify_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub plan_annotations: Option<Box<PlanAnnotations>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub previous_eval: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// {group:int}
    #[serde(skip_serializing_if = "is_zero")]
    pub queued_allocations: Map<i64>,
    #[serde(skip_serializing_if = "is_zero")]
    pub quota_limit_reached: String,
    /// only with ?related=true
    #[serde(skip_serializing_if = "is_zero")]
    pub related_evals: List<EvaluationStub>,
    #[serde(skip_serializing_if = "is_zero")]
    pub snapshot_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub status: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub status_description: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub triggered_by: String,
    #[serde(rename = "Type", skip_serializing_if = "is_zero")]
    pub kind: String,
    /// ns
    #[serde(skip_serializing_if = "is_zero")]
    pub wait: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub wait_until: Time,
}

/// `PlanAnnotations` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct PlanAnnotations {
    /// {group: DesiredUpdates}
    #[serde(rename = "DesiredTGUpdates")]
    pub desired_tg_updates: Map<DesiredUpdates>,
    /// null/list
    pub preempted_allocs: List<AllocListStub>,
}

/// `DesiredUpdates` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DesiredUpdates {
    pub canary: u64,
    pub destructive_update: u64,
    pub disconnect: u64,
    pub ignore: u64,
    pub in_place_update: u64,
    pub migrate: u64,
    pub place: u64,
    pub preemptions: u64,
    pub reconnect: u64,
    pub reschedule_later: u64,
    pub reschedule_now: u64,
    pub stop: u64,
}

/// `EvaluationStub` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct EvaluationStub {
    pub blocked_eval: String,
    pub create_index: u64,
    pub create_time: i64,
    #[serde(rename = "DeploymentID")]
    pub deployment_id: String,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub modify_index: u64,
    pub modify_time: i64,
    pub namespace: String,
    pub next_eval: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub previous_eval: String,
    pub priority: i64,
    pub status: String,
    pub status_description: String,
    pub triggered_by: String,
    #[serde(rename = "Type")]
    pub kind: String,
    pub wait_until: Time,
}
}
