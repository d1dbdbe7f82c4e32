//! Allocations: one placement of a task group on a node.

use super::*;

records! {
/// `Allocation` of the API; fields that are zero are left out.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Allocation {
    /// server-side changes only (clients watch it)
    #[serde(skip_serializing_if = "is_zero")]
    pub alloc_modify_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub alloc_states: List<AllocState>,
    #[serde(skip_serializing_if = "is_zero")]
    pub allocated_resources: Option<Rc<AllocatedResources>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub client_description: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub client_status: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub create_index: u64,
    /// ns
    #[serde(skip_serializing_if = "is_zero")]
    pub create_time: i64,
    #[serde(rename = "DeploymentID", skip_serializing_if = "is_zero")]
    pub deployment_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub deployment_status: Option<AllocDeploymentStatus>,
    #[serde(skip_serializing_if = "is_zero")]
    pub desired_description: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub desired_status: String,
    /// omitted when all null
    #[serde(skip_serializing_if = "is_zero")]
    pub desired_transition: DesiredTransition,
    #[serde(rename = "EvalID", skip_serializing_if = "is_zero")]
    pub eval_id: String,
    #[serde(rename = "FollowupEvalID", skip_serializing_if = "is_zero")]
    pub followup_eval_id: String,
    #[serde(rename = "ID", skip_serializing_if = "is_zero")]
    pub id: String,
    /// The job as of the placement. Not in the row: rows name the version, answers splice it in.
    #[serde(skip)]
    pub job: Option<Rc<Job>>,
    #[serde(rename = "JobID", skip_serializing_if = "is_zero")]
    pub job_id: String,
    /// Version and `CreateIndex` of `job`; kept in the row's head.
    #[serde(skip)]
    pub job_version: u64,
    #[serde(skip)]
    pub job_create_index: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub metrics: Option<Rc<AllocMetric>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub modify_index: u64,
    /// ns
    #[serde(skip_serializing_if = "is_zero")]
    pub modify_time: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub namespace: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub network_status: Option<AllocNetworkStatus>,
    #[serde(skip_serializing_if = "is_zero")]
    pub next_allocation: String,
    #[serde(rename = "NodeID", skip_serializing_if = "is_zero")]
    pub node_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub node_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub preempted_allocations: List<String>,
    #[serde(skip_serializing_if = "is_zero")]
    pub preempted_by_allocation: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub previous_allocation: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub reschedule_tracker: Option<RescheduleTracker>,
    /// legacy: normally absent
    #[serde(skip_serializing_if = "is_zero")]
    pub resources: Option<Rc<Resources>>,
    #[serde(skip_serializing_if = "is_zero")]
    pub shared_resources: Option<Rc<Resources>>,
    #[serde(rename = "SigningKeyID", skip_serializing_if = "is_zero")]
    pub signing_key_id: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub task_group: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub task_resources: Rc<Map<Resources>>,
    /// {task: TaskState}
    #[serde(skip_serializing_if = "is_zero")]
    pub task_states: Map<TaskState>,
}

/// `DesiredTransition` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DesiredTransition {
    pub force_reschedule: Option<bool>,
    pub migrate: Option<bool>,
    pub migrate_disable_placement: Option<bool>,
    pub no_shutdown_delay: Option<bool>,
    pub reschedule: Option<bool>,
}

/// `AllocNetworkStatus` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocNetworkStatus {
    pub address: String,
    pub address_i_pv6: String,
    #[serde(rename = "DNS")]
    pub dns: Option<Box<DNSConfig>>,
    pub interface_name: String,
}

/// `TaskState` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TaskState {
    /// last 10, oldest first
    pub events: List<TaskEvent>,
    pub failed: bool,
    /// null until dead
    pub finished_at: Time,
    /// null until restarted
    pub last_restart: Time,
    /// "" |force_pause|scheduled_pause|force_run|schedule_resume
    pub paused: String,
    pub restarts: u64,
    /// null until started
    pub started_at: Time,
    /// pending|running|dead
    pub state: String,
}

/// `TaskEvent` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct TaskEvent {
    /// Printed `{}` when empty.
    pub details: BTreeMap<String, String>,
    pub disk_limit: i64,
    pub display_message: String,
    pub download_error: String,
    pub driver_error: String,
    pub driver_message: String,
    /// legacy scalar fields mirror Details
    pub exit_code: i64,
    pub failed_sibling: String,
    pub fails_task: bool,
    pub generic_source: String,
    pub kill_error: String,
    pub kill_reason: String,
    /// ns
    pub kill_timeout: i64,
    pub message: String,
    pub restart_reason: String,
    pub setup_error: String,
    pub signal: i64,
    pub start_delay: i64,
    pub task_signal: String,
    pub task_signal_reason: String,
    /// ns
    pub time: i64,
    #[serde(rename = "Type")]
    pub kind: String,
    pub validation_error: String,
    pub vault_error: String,
}

/// `AllocDeploymentStatus` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocDeploymentStatus {
    pub canary: bool,
    /// null = unknown
    pub healthy: Option<bool>,
    pub modify_index: u64,
    pub timestamp: Time,
}

/// `AllocMetric` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocMetric {
    /// ns
    pub allocation_time: i64,
    pub class_exhausted: Map<i64>,
    pub class_filtered: Map<i64>,
    pub coalesced_failures: i64,
    pub constraint_filtered: Map<i64>,
    pub dimension_exhausted: Map<i64>,
    pub node_pool: String,
    /// Ready nodes of the pool per datacenter; `{}` where there are none.
    pub nodes_available: BTreeMap<String, i64>,
    pub nodes_evaluated: i64,
    pub nodes_exhausted: i64,
    pub nodes_filtered: i64,
    pub nodes_in_pool: i64,
    pub quota_exhausted: List<String>,
    pub resources_exhausted: Map<Resources>,
    /// top 5 nodes
    pub score_meta_data: List<NodeScoreMeta>,
    /// deprecated, null
    pub scores: Map<f64>,
}

/// `NodeScoreMeta` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeScoreMeta {
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub norm_score: f64,
    pub scores: Numbers,
}

/// `RescheduleTracker` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct RescheduleTracker {
    pub events: List<RescheduleEvent>,
    /// `ok`|`no placement`|""
    pub last_reschedule: String,
}

/// `RescheduleEvent` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct RescheduleEvent {
    pub delay: i64,
    #[serde(rename = "PrevAllocID")]
    pub prev_alloc_id: String,
    #[serde(rename = "PrevNodeID")]
    pub prev_node_id: String,
    /// ns
    pub reschedule_time: i64,
}

/// `AllocState` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocState {
    /// 0 = client status
    pub field: u8,
    pub time: Time,
    pub value: String,
}
}
