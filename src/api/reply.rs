//! Answers to writes.

use super::*;

records! {
/// `JobRegisterResponse` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct JobRegisterResponse {
    pub eval_create_index: u64,
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    pub index: u64,
    pub job_modify_index: u64,
    pub known_leader: bool,
    pub last_contact: i64,
    pub next_token: String,
    pub warnings: String,
}

/// `JobDeregisterResponse` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct JobDeregisterResponse {
    pub eval_create_index: u64,
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    pub index: u64,
    pub job_modify_index: u64,
    pub known_leader: bool,
    pub last_contact: i64,
    pub next_token: String,
    #[serde(rename = "VolumeEvalID")]
    pub volume_eval_id: String,
    pub volume_eval_index: u64,
}

/// `JobValidateResponse` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct JobValidateResponse {
    pub driver_config_validated: bool,
    pub error: String,
    pub validation_errors: List<String>,
    pub warnings: String,
}

/// `NodeUpdateResponse` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeUpdateResponse {
    pub eval_create_index: u64,
    pub eval_i_ds: List<String>,
    pub features: u64,
    #[serde(rename = "HeartbeatTTL")]
    pub heartbeat_ttl: i64,
    pub index: u64,
    pub known_leader: bool,
    pub last_contact: i64,
    #[serde(rename = "LeaderRPCAddr")]
    pub leader_rpc_addr: String,
    pub next_token: String,
    pub node_modify_index: u64,
    pub num_nodes: i32,
    pub scheduling_eligibility: String,
    pub servers: List<NodeServerInfo>,
    pub signed_identity: Option<String>,
}

/// `NodeDrainUpdateResponse` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeDrainUpdateResponse {
    pub eval_create_index: u64,
    pub eval_i_ds: List<String>,
    pub index: u64,
    pub node_modify_index: u64,
}

/// `NodeEligibilityUpdateResponse` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodeEligibilityUpdateResponse {
    pub eval_create_index: u64,
    pub eval_i_ds: List<String>,
    pub index: u64,
    pub node_modify_index: u64,
}

/// `AllocStopResponse` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AllocStopResponse {
    #[serde(rename = "EvalID")]
    pub eval_id: String,
    pub index: u64,
}
}
