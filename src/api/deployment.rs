//! Deployments.

use super::*;

records! {
/// `Deployment` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Deployment {
    pub create_index: u64,
    /// ns
    pub create_time: i64,
    /// priority used for its evals
    pub eval_priority: i64,
    #[serde(rename = "ID")]
    pub id: String,
    pub is_multiregion: bool,
    pub job_create_index: u64,
    #[serde(rename = "JobID")]
    pub job_id: String,
    /// job ModifyIndex at creation
    pub job_modify_index: u64,
    /// job JobModifyIndex at creation
    pub job_spec_modify_index: u64,
    pub job_version: u64,
    pub modify_index: u64,
    pub modify_time: i64,
    pub namespace: String,
    pub status: String,
    pub status_description: String,
    /// {group: DeploymentState}
    pub task_groups: Map<DeploymentState>,
}

/// `DeploymentState` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct DeploymentState {
    pub auto_promote: bool,
    pub auto_revert: bool,
    pub desired_canaries: i64,
    pub desired_total: i64,
    pub healthy_allocs: i64,
    pub placed_allocs: i64,
    /// null when none
    pub placed_canaries: List<String>,
    /// ns
    pub progress_deadline: i64,
    pub promoted: bool,
    /// null (zero) until first progress deadline set
    pub require_progress_by: Time,
    pub unhealthy_allocs: i64,
}
}

impl Deployment {
    /// It still runs, is paused or waits: neither successful, failed nor cancelled.
    pub fn is_active(&self) -> bool {
        !matches!(
            self.status.as_str(),
            status::DEPLOYMENT_SUCCESSFUL
                | status::DEPLOYMENT_FAILED
                | status::DEPLOYMENT_CANCELLED
        )
    }
}
