//! Access control: tokens, policies, roles, and what logs people in.

use super::*;

records! {
/// `ACLToken` of the API, in the order in which the reference prints it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AclToken {
    /// As Go prints a duration; empty: none.
    #[serde(rename = "ExpirationTTL")]
    pub expiration_ttl: String,
    #[serde(rename = "AccessorID")]
    pub accessor_id: String,
    #[serde(rename = "SecretID")]
    pub secret_id: String,
    #[serde(rename = "Name")]
    pub name: String,
    /// `client` or `management`
    #[serde(rename = "Type")]
    pub kind: String,
    /// null/list
    #[serde(rename = "Policies")]
    pub policies: Option<Vec<String>>,
    /// null/list; stored without their names
    #[serde(rename = "Roles")]
    pub roles: List<AclRoleLink>,
    #[serde(rename = "Global")]
    pub global: bool,
    /// b64
    #[serde(rename = "Hash")]
    pub hash: Bytes,
    #[serde(rename = "CreateTime")]
    pub create_time: Time,
    /// null: never
    #[serde(rename = "ExpirationTime")]
    pub expiration_time: Time,
    #[serde(rename = "CreateIndex")]
    pub create_index: u64,
    #[serde(rename = "ModifyIndex")]
    pub modify_index: u64,
}

/// A role that a token has.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AclRoleLink {
    #[serde(rename = "ID")]
    pub id: String,
    pub name: String,
}

/// `ACLPolicy` of the API.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AclPolicy {
    pub create_index: u64,
    pub description: String,
    /// b64
    pub hash: Bytes,
    #[serde(rename = "JobACL")]
    pub job_acl: Option<JobAcl>,
    pub modify_index: u64,
    pub name: String,
    /// The policy's text.
    pub rules: String,
}

/// Which workloads have a policy by themselves.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct JobAcl {
    pub group: String,
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub namespace: String,
    pub task: String,
}

/// `ACLRole` of the API.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AclRole {
    pub create_index: u64,
    pub description: String,
    /// b64
    pub hash: Bytes,
    #[serde(rename = "ID")]
    pub id: String,
    pub modify_index: u64,
    pub name: String,
    pub policies: List<AclPolicyLink>,
}

#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AclPolicyLink {
    pub name: String,
}

/// Stands for a token once.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct OneTimeToken {
    #[serde(rename = "AccessorID")]
    pub accessor_id: String,
    pub create_index: u64,
    pub expires_at: Time,
    pub modify_index: u64,
    #[serde(rename = "OneTimeSecretID")]
    pub one_time_secret_id: String,
}

/// How people without a token log in. In the order in which the reference prints it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AclAuthMethod {
    /// As Go prints a duration.
    #[serde(rename = "MaxTokenTTL")]
    pub max_token_ttl: String,
    #[serde(rename = "Name")]
    pub name: String,
    /// `JWT` or `OIDC`
    #[serde(rename = "Type")]
    pub kind: String,
    /// `local` or `global`
    #[serde(rename = "TokenLocality")]
    pub token_locality: String,
    #[serde(rename = "TokenNameFormat")]
    pub token_name_format: String,
    #[serde(rename = "Default")]
    pub default: bool,
    #[serde(rename = "Config")]
    pub config: Option<Box<AclAuthConfig>>,
    /// b64
    #[serde(rename = "Hash")]
    pub hash: Bytes,
    #[serde(rename = "CreateTime")]
    pub create_time: Time,
    #[serde(rename = "ModifyTime")]
    pub modify_time: Time,
    #[serde(rename = "CreateIndex")]
    pub create_index: u64,
    #[serde(rename = "ModifyIndex")]
    pub modify_index: u64,
}

/// What an auth method checks. Durations as Go prints them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AclAuthConfig {
    #[serde(rename = "ExpirationLeeway")]
    pub expiration_leeway: String,
    #[serde(rename = "NotBeforeLeeway")]
    pub not_before_leeway: String,
    #[serde(rename = "ClockSkewLeeway")]
    pub clock_skew_leeway: String,
    /// PEM
    #[serde(rename = "JWTValidationPubKeys")]
    pub jwt_validation_pub_keys: List<String>,
    #[serde(rename = "JWKSURL")]
    pub jwks_url: String,
    #[serde(rename = "OIDCDiscoveryURL")]
    pub oidc_discovery_url: String,
    #[serde(rename = "OIDCClientID")]
    pub oidc_client_id: String,
    #[serde(rename = "OIDCClientSecret")]
    pub oidc_client_secret: String,
    #[serde(rename = "OIDCClientAssertion")]
    pub oidc_client_assertion: Option<Any>,
    #[serde(rename = "OIDCEnablePKCE")]
    pub oidc_enable_pkce: Option<bool>,
    #[serde(rename = "OIDCDisableUserInfo")]
    pub oidc_disable_user_info: bool,
    #[serde(rename = "OIDCScopes")]
    pub oidc_scopes: List<String>,
    #[serde(rename = "BoundAudiences")]
    pub bound_audiences: List<String>,
    #[serde(rename = "BoundIssuer")]
    pub bound_issuer: List<String>,
    #[serde(rename = "AllowedRedirectURIs")]
    pub allowed_redirect_uris: List<String>,
    #[serde(rename = "DiscoveryCaPem")]
    pub discovery_ca_pem: List<String>,
    #[serde(rename = "JWKSCACert")]
    pub jwks_ca_cert: String,
    #[serde(rename = "SigningAlgs")]
    pub signing_algs: List<String>,
    #[serde(rename = "ClaimMappings")]
    pub claim_mappings: Map<String>,
    #[serde(rename = "ListClaimMappings")]
    pub list_claim_mappings: Map<String>,
    #[serde(rename = "VerboseLogging")]
    pub verbose_logging: bool,
}

/// What someone who logs in gets.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct AclBindingRule {
    pub auth_method: String,
    pub bind_name: String,
    /// `role`, `policy` or `management`
    pub bind_type: String,
    pub create_index: u64,
    pub create_time: Time,
    pub description: String,
    /// b64
    pub hash: Bytes,
    #[serde(rename = "ID")]
    pub id: String,
    pub modify_index: u64,
    pub modify_time: Time,
    /// An expression over the claims; empty: fits all.
    pub selector: String,
}
}

impl AclToken {
    pub const CLIENT: &str = "client";
    pub const MANAGEMENT: &str = "management";

    /// Whether its time is over, at a wall-clock time in ns.
    pub fn is_expired(&self, wall_ns: i64) -> bool {
        self.expiration_time != Time(0) && self.expiration_time.0 <= wall_ns
    }
}
