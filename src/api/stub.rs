//! What lists print instead of whole objects.

use super::*;

/// `JobListStub` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobListStub {
    pub create_index: u64,
    pub datacenters: List<String>,
    #[serde(rename = "ID")]
    pub id: String,
    pub job_modify_index: u64,
    /// always present in lists; null in upgrade-check
    pub job_summary: Option<JobSummary>,
    /// only with ?meta=true
    #[serde(skip_serializing_if = "is_zero")]
    pub meta: Map<String>,
    pub modify_index: u64,
    pub multiregion: Option<Box<Multiregion>>,
    pub name: String,
    /// always non-empty
    #[serde(skip_serializing_if = "is_zero")]
    pub namespace: String,
    pub node_pool: String,
    /// bool: parameterized and not dispatched child
    pub parameterized_job: bool,
    #[serde(rename = "ParentID")]
    pub parent_id: String,
    /// bool: has periodic block
    pub periodic: bool,
    pub priority: i64,
    pub status: String,
    pub status_description: String,
    pub stop: bool,
    /// ns since epoch
    pub submit_time: i64,
    #[serde(rename = "Type")]
    pub kind: String,
}

/// `JobSummary` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobSummary {
    /// null or counts; zero struct on fresh jobs , null after stop
    pub children: Option<JobChildrenSummary>,
    pub create_index: u64,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub modify_index: u64,
    pub namespace: String,
    /// per task group
    pub summary: Map<TaskGroupSummary>,
}

/// `TaskGroupSummary` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskGroupSummary {
    pub complete: i64,
    pub failed: i64,
    pub lost: i64,
    pub queued: i64,
    pub running: i64,
    pub starting: i64,
    pub unknown: i64,
}

/// `JobChildrenSummary` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobChildrenSummary {
    pub dead: i64,
    pub pending: i64,
    pub running: i64,
}

/// `AllocListStub` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct AllocListStub {
    /// only ?resources=true
    #[serde(skip_serializing_if = "is_zero")]
    pub allocated_resources: AllocatedResources,
    pub client_description: String,
    pub client_status: String,
    pub create_index: u64,
    pub create_time: i64,
    /// null until health known / no deployment
    pub deployment_status: Option<AllocDeploymentStatus>,
    pub desired_description: String,
    pub desired_status: String,
    /// always object with 5 nullable bools
    pub desired_transition: DesiredTransition,
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    #[serde(rename = "FollowupEvalID")]
    pub followup_eval_id: String,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub job_type: String,
    /// version of the alloc's embedded job
    pub job_version: u64,
    pub modify_index: u64,
    pub modify_time: i64,
    pub name: String,
    pub namespace: String,
    pub next_allocation: String,
    #[serde(rename = "NodeID")]
    pub node_id: String,
    pub node_name: String,
    pub preempted_allocations: List<String>,
    pub preempted_by_allocation: String,
    pub reschedule_tracker: Option<RescheduleTracker>,
    pub task_group: String,
    /// null if task_states=false
    pub task_states: Map<TaskState>,
}

/// `NodeListStub` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeListStub {
    /// host part of HTTPAddr
    pub address: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub attributes: Map<String>,
    pub create_index: u64,
    pub datacenter: String,
    /// DrainStrategy != null
    pub drain: bool,
    pub drivers: Map<DriverInfo>,
    pub host_volumes: Map<ClientHostVolumeConfig>,
    #[serde(rename = "ID")]
    pub id: String,
    /// null if never drained
    pub last_drain: Option<DrainMetadata>,
    pub modify_index: u64,
    pub name: String,
    pub node_class: String,
    pub node_pool: String,
    /// only with ?resources=true
    #[serde(skip_serializing_if = "is_zero")]
    pub node_resources: NodeResources,
    /// only with ?resources=true
    #[serde(skip_serializing_if = "is_zero")]
    pub reserved_resources: NodeReservedResources,
    pub scheduling_eligibility: String,
    pub status: String,
    pub status_description: String,
    /// attribute nomad.version
    pub version: String,
}

/// `JobSubmission` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JobSubmission {
    pub format: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub job_modify_index: u64,
    pub namespace: String,
    pub source: String,
    pub variable_flags: Map<String>,
    pub variables: String,
    pub version: u64,
}
