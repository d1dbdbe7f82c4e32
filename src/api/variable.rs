//! Variables.

use super::*;

records! {
/// `Variable` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Variable {
    pub create_index: u64,
    /// ns
    pub create_time: i64,
    /// The items as they are stored: nonce, then AES-256-GCM of their JSON. Never answered.
    #[serde(skip_serializing_if = "is_zero")]
    pub data: Bytes,
    /// omitted when empty
    #[serde(skip_serializing_if = "is_zero")]
    pub items: Map<String>,
    /// Root key that `data` is encrypted with. Never answered.
    #[serde(rename = "KeyID", skip_serializing_if = "is_zero")]
    pub key_id: String,
    /// omitted when none/hidden
    #[serde(skip_serializing_if = "is_zero")]
    pub lock: Option<VariableLock>,
    pub modify_index: u64,
    /// ns
    pub modify_time: i64,
    pub namespace: String,
    pub path: String,
}

/// A lock on a variable. Prints its fields in this order, durations as Go text, as the reference
/// does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VariableLock {
    #[serde(rename = "TTL")]
    pub ttl: String,
    #[serde(rename = "LockDelay")]
    pub lock_delay: String,
    #[serde(rename = "ID")]
    pub id: String,
}
}
