//! Who a task is, as servers say it to the node that runs it.

use super::*;

/// Name of the identity that every task has.
pub const IDENTITY_DEFAULT: &str = "default";
/// Audience of the tokens that the API itself takes.
pub const IDENTITY_AUDIENCE: &str = "nomadproject.io";

records! {
/// One identity of one task, signed. The token is a secret: it stands in answers to the node that
/// runs the allocation, and nowhere else.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct SignedIdentity {
    pub task: String,
    pub name: String,
    #[serde(rename = "JWT")]
    pub jwt: String,
    /// Nanoseconds since the epoch; zero: never.
    pub expires: i64,
}
}
