//! What lists print instead of whole objects.

use super::*;

records! {
/// `JobListStub` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct JobChildrenSummary {
    pub dead: i64,
    pub pending: i64,
    pub running: i64,
}

/// `AllocListStub` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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
    /// printed `{}` when empty
    pub host_volumes: BTreeMap<String, ClientHostVolumeConfig>,
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
    pub reserved_resources: Option<NodeReservedResources>,
    pub scheduling_eligibility: String,
    pub status: String,
    pub status_description: String,
    /// attribute nomad.version
    pub version: String,
}

/// `JobSubmission` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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
}

impl JobListStub {
    /// The line of a job in lists, without `Meta` and summary.
    pub fn of(job: &Job) -> Self {
        Self {
            create_index: job.create_index,
            datacenters: job.datacenters.clone(),
            id: job.id.clone(),
            job_modify_index: job.job_modify_index,
            job_summary: None,
            meta: Map::default(),
            modify_index: job.modify_index,
            multiregion: job.multiregion.clone(),
            name: job.name.clone(),
            namespace: job.namespace.clone(),
            node_pool: job.node_pool.clone(),
            parameterized_job: job.parameterized_job.is_some() && !job.dispatched,
            parent_id: job.parent_id.clone(),
            periodic: job.periodic.is_some(),
            priority: job.priority,
            status: job.status.clone(),
            status_description: job.status_description.clone(),
            stop: job.stop,
            submit_time: job.submit_time,
            kind: job.kind.clone(),
        }
    }
}

/// The members of a line of [`AllocListStub`]: each is copied from the allocation, or else stands
/// as given here; where that is nothing, it is left out.
pub const ALLOC_LINE: [(&str, &str); 27] = [
    ("AllocatedResources", ""),
    ("ClientDescription", "\"\""),
    ("ClientStatus", "\"\""),
    ("CreateIndex", "0"),
    ("CreateTime", "0"),
    ("DeploymentStatus", "null"),
    ("DesiredDescription", "\"\""),
    ("DesiredStatus", "\"\""),
    (
        "DesiredTransition",
        "{\"ForceReschedule\":null,\"Migrate\":null,\"MigrateDisablePlacement\":null,\
         \"NoShutdownDelay\":null,\"Reschedule\":null}",
    ),
    ("EvalID", "\"\""),
    ("FollowupEvalID", "\"\""),
    ("ID", "\"\""),
    ("JobID", "\"\""),
    ("JobType", "\"\""),
    ("JobVersion", "0"),
    ("ModifyIndex", "0"),
    ("ModifyTime", "0"),
    ("Name", "\"\""),
    ("Namespace", "\"\""),
    ("NextAllocation", "\"\""),
    ("NodeID", "\"\""),
    ("NodeName", "\"\""),
    ("PreemptedAllocations", "null"),
    ("PreemptedByAllocation", "\"\""),
    ("RescheduleTracker", "null"),
    ("TaskGroup", "\"\""),
    ("TaskStates", "null"),
];

impl NodeListStub {
    /// The line of a node in lists, without attributes and resources.
    pub fn of(node: &Node) -> Self {
        let address = node.http_addr.rsplit_once(':').map_or(node.http_addr.as_str(), |(a, _)| a);
        Self {
            address: address.trim_matches(['[', ']']).to_owned(),
            attributes: Map::default(),
            create_index: node.create_index,
            datacenter: node.datacenter.clone(),
            drain: node.drain_strategy.is_some(),
            drivers: node.drivers.clone(),
            host_volumes: node.host_volumes.clone(),
            id: node.id.clone(),
            last_drain: node.last_drain.clone(),
            modify_index: node.modify_index,
            name: node.name.clone(),
            node_class: node.node_class.clone(),
            node_pool: node.node_pool.clone(),
            node_resources: NodeResources::default(),
            reserved_resources: None,
            scheduling_eligibility: node.scheduling_eligibility.clone(),
            status: node.status.clone(),
            status_description: node.status_description.clone(),
            version: node.attributes.get("nomad.version").cloned().unwrap_or_default(),
        }
    }
}
