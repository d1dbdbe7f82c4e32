//! The words that statuses, triggers and descriptions are made of.

pub const NAMESPACE_DEFAULT: &str = "default";
pub const POOL_DEFAULT: &str = "default";
pub const POOL_ALL: &str = "all";

pub const JOB_SERVICE: &str = "service";
pub const JOB_BATCH: &str = "batch";
pub const JOB_SYSTEM: &str = "system";
pub const JOB_SYSBATCH: &str = "sysbatch";
pub const JOB_CORE: &str = "_core";

pub const JOB_PENDING: &str = "pending";
pub const JOB_RUNNING: &str = "running";
pub const JOB_DEAD: &str = "dead";

pub const NODE_INITIALIZING: &str = "initializing";
pub const NODE_READY: &str = "ready";
pub const NODE_DOWN: &str = "down";
pub const NODE_DISCONNECTED: &str = "disconnected";
pub const NODE_ELIGIBLE: &str = "eligible";
pub const NODE_INELIGIBLE: &str = "ineligible";

pub const DRAIN_DRAINING: &str = "draining";
pub const DRAIN_COMPLETE: &str = "complete";
pub const DRAIN_CANCELED: &str = "canceled";

pub const DESIRED_RUN: &str = "run";
pub const DESIRED_STOP: &str = "stop";
pub const DESIRED_EVICT: &str = "evict";

pub const CLIENT_PENDING: &str = "pending";
pub const CLIENT_RUNNING: &str = "running";
pub const CLIENT_COMPLETE: &str = "complete";
pub const CLIENT_FAILED: &str = "failed";
pub const CLIENT_LOST: &str = "lost";
pub const CLIENT_UNKNOWN: &str = "unknown";

pub const TASK_PENDING: &str = "pending";
pub const TASK_RUNNING: &str = "running";
pub const TASK_DEAD: &str = "dead";

pub const EVAL_BLOCKED: &str = "blocked";
pub const EVAL_PENDING: &str = "pending";
pub const EVAL_COMPLETE: &str = "complete";
pub const EVAL_FAILED: &str = "failed";
pub const EVAL_CANCELED: &str = "canceled";

pub const TRIGGER_JOB_REGISTER: &str = "job-register";
pub const TRIGGER_JOB_DEREGISTER: &str = "job-deregister";
pub const TRIGGER_PERIODIC: &str = "periodic-job";
pub const TRIGGER_NODE_DRAIN: &str = "node-drain";
pub const TRIGGER_NODE_UPDATE: &str = "node-update";
pub const TRIGGER_ALLOC_STOP: &str = "alloc-stop";
pub const TRIGGER_SCHEDULED: &str = "scheduled";
pub const TRIGGER_ROLLING: &str = "rolling-update";
pub const TRIGGER_DEPLOYMENT: &str = "deployment-watcher";
pub const TRIGGER_FAILED_FOLLOW_UP: &str = "failed-follow-up";
pub const TRIGGER_MAX_PLANS: &str = "max-plan-attempts";
pub const TRIGGER_ALLOC_FAILURE: &str = "alloc-failure";
pub const TRIGGER_RESCHEDULE: &str = "alloc-reschedule";
pub const TRIGGER_QUEUED: &str = "queued-allocs";
pub const TRIGGER_PREEMPTION: &str = "preemption";
pub const TRIGGER_SCALING: &str = "job-scaling";
pub const TRIGGER_MAX_DISCONNECT: &str = "max-disconnect-timeout";
pub const TRIGGER_RECONNECT: &str = "reconnect";

pub const DEPLOYMENT_RUNNING: &str = "running";
pub const DEPLOYMENT_PAUSED: &str = "paused";
pub const DEPLOYMENT_FAILED: &str = "failed";
pub const DEPLOYMENT_SUCCESSFUL: &str = "successful";
pub const DEPLOYMENT_CANCELLED: &str = "cancelled";

pub const ALLOC_NOT_NEEDED: &str = "alloc not needed due to job update";
pub const ALLOC_MIGRATING: &str = "alloc is being migrated";
pub const ALLOC_UPDATING: &str = "alloc is being updated due to job update";
pub const ALLOC_LOST: &str = "alloc is lost since its node is down";
pub const ALLOC_UNKNOWN: &str = "alloc is unknown since its node is disconnected";
pub const ALLOC_IN_PLACE: &str = "alloc updating in-place";
pub const ALLOC_NODE_TAINTED: &str = "alloc not needed as node is tainted";
pub const ALLOC_RESCHEDULED: &str = "alloc was rescheduled because it failed";
pub const ALLOC_RECONNECTED: &str = "alloc not needed due to disconnected client reconnect";

/// State of the root key that signs and encrypts now.
pub const KEY_ACTIVE: &str = "active";
pub const KEY_INACTIVE: &str = "inactive";
/// Becomes active at its time.
pub const KEY_PREPUBLISHED: &str = "prepublished";
/// What it encrypted is being encrypted anew by the active key.
pub const KEY_REKEYING: &str = "rekeying";
