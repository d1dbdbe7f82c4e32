//! Namespaces.

use super::*;

records! {
/// `Namespace` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct Namespace {
    /// null/obj
    pub capabilities: Option<NamespaceCapabilities>,
    pub consul_configuration: Option<NamespaceNodePoolConfiguration>,
    pub create_index: u64,
    pub description: String,
    /// b64
    pub hash: Option<Bytes>,
    /// null/obj
    pub meta: Map<String>,
    pub modify_index: u64,
    pub name: String,
    pub node_pool_configuration: Option<NamespaceNodePoolConfiguration>,
    /// null
    pub optional_extra_claims: Map<String>,
    /// "" (CE)
    pub quota: String,
    /// null
    pub required_extra_claims: Map<String>,
    pub vault_configuration: Option<NamespaceNodePoolConfiguration>,
}

/// `NamespaceCapabilities` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NamespaceCapabilities {
    pub disabled_network_modes: List<String>,
    pub disabled_task_drivers: List<String>,
    pub enabled_network_modes: List<String>,
    pub enabled_task_drivers: List<String>,
}

/// `NamespaceNodePoolConfiguration` of the API; every field is always printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct NamespaceNodePoolConfiguration {
    pub allowed: List<String>,
    pub default: String,
    pub denied: List<String>,
}
}
