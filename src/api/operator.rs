//! Settings of the cluster that operators change at run time, and scaling policies.

use super::*;

records! {
/// `/v1/operator/scheduler/configuration`.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct PreemptionConfig {
    pub batch_scheduler_enabled: bool,
    pub service_scheduler_enabled: bool,
    pub sys_batch_scheduler_enabled: bool,
    pub system_scheduler_enabled: bool,
}

/// Enterprise only in the reference; must be null here.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NodePoolSchedulerConfiguration {
    pub memory_oversubscription_enabled: Option<bool>,
    pub scheduler_algorithm: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
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

/// What is told of a key that signs workload identities.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct RootKeyMeta {
    /// Of the encryption that the reference couples with it: always `aes256-gcm`.
    pub algorithm: String,
    pub create_index: u64,
    /// ns since the epoch.
    pub create_time: i64,
    #[serde(rename = "KeyID")]
    pub key_id: String,
    pub modify_index: u64,
    /// ns since the epoch at which a prepublished key becomes active; 0: none.
    pub publish_time: i64,
    /// `active`, `inactive`, `prepublished`, `rekeying` or `deprecated`.
    pub state: String,
}

/// The row of a root key: what is told of it and what checks its signatures, never its secret.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct RootKey {
    pub meta: RootKeyMeta,
    /// Ed25519, 32 bytes.
    pub public_key: Bytes,
    /// Of RSA, the modulus: 256 bytes. Empty while the key has no such half.
    pub modulus: Bytes,
}
}

impl RootKey {
    /// What its published half signs by.
    pub fn algorithm(&self) -> &'static str {
        if self.modulus.0.is_empty() { "EdDSA" } else { "RS256" }
    }
}
