//! Every change of the replicated state, as a value: what the log holds and `store::apply` runs.
//!
//! A command carries all that apply may not draw itself: ids, wall-clock time, decisions of the
//! leader. Apply is then a function of (state, index, command) alone, the same on every server.

use crate::api::{
    AllocDeploymentStatus, AllocNetworkStatus, AllocState, Allocation, Deployment,
    DesiredTransition, DrainMetadata, DrainStrategy, Evaluation, HostVolume, HostVolumeClaim, Job,
    JobSubmission, JobVersionTag, Namespace, Node, NodeEvent, NodePool, SchedulerConfiguration,
    ServiceRegistration, TaskState, Variable,
};
use crate::stdx::json::{Bytes, Printed, choices, records};

choices! {
/// One entry of the log. Encoded as JSON without fields that are zero: one codec in the binary,
/// readable dumps, and small enough to lie beside others in a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Writes job, version, summary, submission and evaluation at one index. Where the spec equals
    /// the stored one, only the evaluation is written.
    JobRegister {
        job: Printed<Job>,
        submission: Option<Box<JobSubmission>>,
        /// None for periodic and parameterised jobs.
        eval: Option<Box<Evaluation>>,
        /// `EnforceIndex` with its `JobModifyIndex`.
        enforce: Option<u64>,
    },
    /// Keeps an event of one group, after registering the job where its count changes.
    JobScale {
        namespace: String,
        id: String,
        group: String,
        /// The event as it is printed; its index is filled in.
        event: String,
        job: Option<Printed<Job>>,
        eval: Option<Box<Evaluation>>,
        /// `JobModifyIndex` that the job must have.
        enforce: Option<u64>,
    },
    /// Marks a job stopped, or removes it with all that hangs on it when `purge`.
    JobDeregister {
        namespace: String,
        id: String,
        purge: bool,
        no_shutdown_delay: bool,
        /// None for periodic and parameterised jobs.
        eval: Option<Box<Evaluation>>,
        wall_ns: i64,
    },
    /// Marks a version stable or not.
    JobStability {
        namespace: String,
        id: String,
        version: u64,
        stable: bool,
    },
    /// Names a version, which keeps it from being pruned; `None` takes the name away.
    JobTag {
        namespace: String,
        id: String,
        version: u64,
        tag: Option<JobVersionTag>,
    },
    /// Steers a deployment, by hand or for its watcher. Refused once it has ended.
    DeploymentSteer {
        update: Box<DeploymentUpdate>,
        eval: Option<Box<Evaluation>>,
        wall_ns: i64,
    },
    /// New or changed evaluations.
    EvalUpsert {
        evals: Vec<Evaluation>,
    },
    /// What the scheduler decided. Checked again node by node; see [`Plan`].
    PlanApply {
        plan: Box<Plan>,
        wall_ns: i64,
    },
    /// A node joins or describes itself anew. The secret goes to a table that no answer is
    /// served from.
    NodeRegister {
        node: Box<Node>,
        secret: String,
        wall_ns: i64,
        evals: Vec<Evaluation>,
    },
    NodeStatus {
        id: String,
        status: String,
        event: Option<NodeEvent>,
        wall_ns: i64,
        evals: Vec<Evaluation>,
    },
    NodeEligibility {
        id: String,
        eligibility: String,
        event: NodeEvent,
        evals: Vec<Evaluation>,
    },
    /// Sets or changes a drain (the node is then ineligible), or ends it. `last` replaces
    /// `LastDrain` where given.
    NodeDrain {
        id: String,
        strategy: Option<DrainStrategy>,
        mark_eligible: bool,
        last: Option<DrainMetadata>,
        event: NodeEvent,
        evals: Vec<Evaluation>,
    },
    NodePurge {
        ids: Vec<String>,
        evals: Vec<Evaluation>,
    },
    /// What nodes report of their allocations.
    AllocClientUpdate {
        updates: Vec<AllocClientState>,
        evals: Vec<Evaluation>,
        wall_ns: i64,
    },
    /// Forgets one registration, whichever service it is of.
    ServiceDelete {
        namespace: String,
        id: String,
    },
    /// Wishes of operators for allocations (stop, reschedule, migrate).
    AllocTransition {
        transitions: Vec<(String, DesiredTransition)>,
        evals: Vec<Evaluation>,
        wall_ns: i64,
    },
    /// `check`: the `cas` parameter.
    VariablePut {
        variable: Box<Variable>,
        check: Option<u64>,
        wall_ns: i64,
    },
    VariableDelete {
        namespace: String,
        path: String,
        check: Option<u64>,
    },
    /// The same items under another key. A row that changed meanwhile stays.
    VariableRekey {
        variables: Vec<Variable>,
    },
    /// Takes the variable's lock, whose id comes along; makes the variable where there is none.
    VariableAcquire {
        variable: Box<Variable>,
        wall_ns: i64,
    },
    /// Gives the lock of that id back.
    VariableRelease {
        namespace: String,
        path: String,
        id: String,
        wall_ns: i64,
    },
    /// With its hash; the indexes are filled in.
    NamespaceUpsert {
        namespace: Box<Namespace>,
    },
    /// `region` is named where the namespace is in use.
    NamespaceDelete {
        name: String,
        region: String,
    },
    /// With its hash; the indexes are filled in.
    NodePoolUpsert {
        pool: Box<NodePool>,
    },
    /// `region` is named where the pool is in use.
    NodePoolDelete {
        name: String,
        region: String,
    },
    /// `check`: the `cas` parameter.
    SchedulerConfig {
        config: Box<SchedulerConfiguration>,
        check: Option<u64>,
    },
    /// Same for autopilot: the stored JSON object, as it is served.
    OperatorDocument {
        name: String,
        json: String,
        check: Option<u64>,
    },
    /// Garbage collection: rows to remove, by id; jobs by (namespace, id).
    Reap {
        evals: Vec<String>,
        allocs: Vec<String>,
        deployments: Vec<String>,
        jobs: Vec<(String, String)>,
        nodes: Vec<String>,
    },
    /// Rewrites all job summaries from the allocations.
    ReconcileSummaries,
    /// Writes the rows that every cluster has (default namespace, pools, scheduler configuration)
    /// where they are missing. The first entry of a new leader.
    Bootstrap {
        wall_ns: i64,
    },
    /// A key that signs workload identities. The secret (see `server::keyring`) goes to a table
    /// that no answer is served from.
    RootKey {
        id: String,
        public: Bytes,
        /// Of its RSA half; empty: it has none yet.
        modulus: Bytes,
        secret: String,
        wall_ns: i64,
        /// Where one is active already: takes its place. Without it, nothing happens then.
        rotate: bool,
        /// ns since the epoch: becomes active only then; 0: at once.
        publish_ns: i64,
        /// What older keys encrypted is to be encrypted anew.
        full: bool,
    },
    /// A key that was published before its time becomes active; one that nothing is encrypted with
    /// any more becomes inactive.
    RootKeyState {
        id: String,
        state: String,
    },
    /// The RSA half of a key that has waited for it.
    RootKeyRsa {
        id: String,
        modulus: Bytes,
        /// The whole secret anew.
        secret: String,
    },
    RootKeyDelete {
        ids: Vec<String>,
    },
    /// The first management token, as the JSON object of its row. `reset`: the index of the
    /// bootstrap before it, which it may follow.
    AclBootstrap {
        token: String,
        reset: u64,
    },
    /// Rows of one of the tables of access control, as the JSON of the objects; the indexes are
    /// filled in.
    AclPut {
        table: String,
        rows: Vec<String>,
    },
    /// Rows that are no longer wanted, by the text of their keys; those that are not there are
    /// passed over.
    AclDelete {
        table: String,
        ids: Vec<String>,
    },
    /// A host volume as its node has it now; the indexes, and of an older one its times, are
    /// filled in.
    HostVolumePut {
        volume: Box<HostVolume>,
        wall_ns: i64,
    },
    /// Removes a host volume that no allocation uses.
    HostVolumeDelete {
        namespace: String,
        id: String,
    },
    VolumeClaimDelete {
        id: String,
    },
    /// The state that every server which took this entry keeps beside its own, under this id,
    /// takes the place of its own. `newest`: the highest index in it.
    Restore {
        id: String,
        newest: u64,
    },
}
}

impl Command {
    /// The id that an encoded entry names, where it is a [`Self::Restore`].
    pub fn restores(encoded: &[u8]) -> Option<String> {
        if !encoded.starts_with(b"{\"Restore\":") {
            return None;
        }
        match crate::stdx::json::decode(encoded) {
            Ok(Self::Restore { id, .. }) => Some(id),
            _ => None,
        }
    }

    /// Removes more than it adds, so that it makes room on a full disk.
    pub fn frees(&self) -> bool {
        matches!(
            self,
            Self::VariableDelete { .. }
                | Self::JobDeregister { .. }
                | Self::Reap { .. }
                | Self::NodePurge { .. }
                | Self::ServiceDelete { .. }
                | Self::AclDelete { .. }
        )
    }
}

records! {
/// The outcome of one run of the scheduler for one evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub eval_id: String,
    pub priority: i64,
    pub namespace: String,
    pub job_id: String,
    /// Where true, one node that does not fit drops the whole plan.
    pub all_at_once: bool,
    /// State that the scheduler looked at.
    pub snapshot_index: u64,
    /// Allocations to stop, evict or mark lost or unknown.
    pub stops: Vec<AllocStop>,
    /// New allocations and in-place updates (same id as a stored one). Without `job`.
    pub places: Vec<Placement>,
    /// A deployment that this plan begins or changes.
    pub deployment: Option<Box<Deployment>>,
    pub deployment_updates: Vec<DeploymentUpdate>,
    /// Written only where the whole plan was committed: the evaluation itself, now complete, and
    /// those it leads to (blocked, follow-up).
    pub evals: Vec<Evaluation>,
    /// Claims of the new allocations on volumes; written where their allocation is.
    pub claims: Vec<HostVolumeClaim>,
}
}

impl Plan {
    /// Nothing to do for allocations or deployments.
    pub fn is_empty(&self) -> bool {
        self.stops.is_empty()
            && self.places.is_empty()
            && self.deployment.is_none()
            && self.deployment_updates.is_empty()
    }
}

records! {
/// An allocation with the job version that it runs, which its row names instead of holding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    pub alloc: Allocation,
    pub job_version: u64,
    pub job_create_index: u64,
}

/// Empty text leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllocStop {
    pub id: String,
    pub node_id: String,
    pub desired_status: String,
    pub desired_description: String,
    pub client_status: String,
    pub followup_eval_id: String,
    pub next_allocation: String,
    pub preempted_by: String,
    /// A new entry of `AllocStates`, for disconnected nodes.
    pub state: Option<AllocState>,
    pub transition: Option<DesiredTransition>,
    /// `LastReschedule` of the tracker, where it changes.
    pub last_reschedule: String,
}

/// A change of a deployment. Empty text leaves a field as it is; plans set nothing else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeploymentUpdate {
    pub id: String,
    pub status: String,
    pub status_description: String,
    /// With a failure: the job goes back to its newest stable version.
    pub revert: bool,
    /// Groups whose canaries are promoted; those of all groups where `promote_all`.
    pub promote: Vec<String>,
    pub promote_all: bool,
    /// Allocations whose health is known now.
    pub healthy: Vec<String>,
    /// Any of these fails the deployment.
    pub unhealthy: Vec<String>,
}

/// What a node reports of one allocation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllocClientState {
    pub id: String,
    pub client_status: String,
    pub client_description: String,
    pub task_states: crate::stdx::BTreeMap<String, TaskState>,
    pub deployment_status: Option<AllocDeploymentStatus>,
    pub network_status: Option<AllocNetworkStatus>,
    /// All that the allocation registers now; `None`: as last told.
    pub services: Option<Vec<ServiceRegistration>>,
}
}

/// What apply answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// Done at the index that the entry has.
    Done,
    /// Nothing was changed (unknown job of a deregister, say).
    Nothing,
    Job(JobApplied),
    /// A deployment was steered; the version that its job went back to.
    Deployment(Option<u64>),
    /// The plan's outcome: `refused` names nodes whose part did not fit; `refresh_index` is then
    /// the state that a new attempt must see. With `progress` something of it was done all the
    /// same.
    Plan {
        refused: Vec<String>,
        refresh_index: u64,
        progress: bool,
    },
    /// Check-and-set failed; what stands there now (None: nothing).
    Conflict(Option<Box<Variable>>),
    /// Check-and-set of a configuration: written or not.
    Checked(bool),
    /// Refused with the text that the caller answers.
    Refused(crate::api::ApiError),
}

/// Outcome of a job's registration or deregistration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobApplied {
    /// `Index` of the answer.
    pub index: u64,
    /// `JobModifyIndex` of the answer (the job's `ModifyIndex` where the spec was unchanged).
    pub job_modify_index: u64,
    /// Empty where no evaluation was written.
    pub eval_id: String,
    pub eval_create_index: u64,
}
