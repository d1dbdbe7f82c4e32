//! What other regions take over from the authoritative one: policies, roles, global tokens, ways to
//! log in, namespaces and node pools.
//!
//! A leader of another region reads each table in pages and waits for changes as every client does
//! (`/v1/internal/replica`, known on links only). Of rows that it has seen it is told the names
//! alone, which is how it learns what is gone. Writes of such objects go to the authoritative
//! region, wherever they are asked for.

use serde_json::json;

use super::{Answer, Ctx, Outcome, Watch};
use crate::api::{AclAuthMethod, ApiError};
use crate::http::Query;
use crate::http::query::escape;
use crate::limits::{REPLICA_PAGE_BYTES, REPLICA_PAGE_ROWS};
use crate::stdx::json::{self as codec, records};
use crate::store::{Table, keys, splice};

/// Tables that regions share; the first of them need access control.
pub const SHARED: [Table; 7] = [
    Table::Policy,
    Table::Role,
    Table::AuthMethod,
    Table::BindingRule,
    Table::Token,
    Table::Namespace,
    Table::NodePool,
];

records! {
/// Some rows of a table, in the order of their names.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
pub struct Page {
    /// Names of all of them.
    pub keys: Vec<String>,
    /// Where the next page begins; empty: this is the last.
    pub next: String,
    /// Those that changed since, as they are stored.
    pub rows: Vec<String>,
}

/// What tells where a token belongs.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct Given {
    #[serde(rename = "AccessorID")]
    accessor_id: String,
    global: bool,
    auth_method_name: String,
}
}

/// Whether a row of a table is one that regions share.
pub fn is_shared(table: Table, row: &[u8]) -> bool {
    table != Table::Token || splice::field(row, "Global") == Some(b"true")
}

/// `/v1/internal/replica`
pub(super) fn page(ctx: &mut Ctx<'_>) -> Result<Outcome, ApiError> {
    let query = Query::new(ctx.req.query());
    let name = query.get("table").unwrap_or_default();
    let table = SHARED.into_iter().find(|t| t.name() == name);
    let table = table.ok_or_else(|| ApiError::bad("no such table is shared"))?;
    if Table::ACL & table.bit() != 0 && !ctx.agent.acl.enabled {
        return Err(ApiError::bad("ACL support disabled"));
    }
    let since: u64 = query.get("since").and_then(|s| s.parse().ok()).unwrap_or(0);
    let after = query.get("after").filter(|a| !a.is_empty());
    let start = after.as_ref().map(|a| a.as_bytes());
    let mut page = Page::default();
    let (mut bytes, mut seen) = (0, 0);
    for pair in ctx.reader.scan(table, &[], start, false)? {
        let (key, row) = pair?;
        let key = String::from_utf8_lossy(key).into_owned();
        if seen >= REPLICA_PAGE_ROWS || bytes >= REPLICA_PAGE_BYTES {
            page.next = key;
            break;
        }
        seen += 1;
        if !is_shared(table, row.json) {
            continue;
        }
        if row.modify() > since {
            bytes += row.json.len();
            page.rows.push(String::from_utf8_lossy(row.json).into_owned());
        }
        page.keys.push(key);
    }
    // Zero would not be waited for.
    let index = ctx.reader.table_index(table).max(1);
    let body = json!({"Keys": page.keys, "Next": page.next, "Rows": page.rows});
    Ok(Answer::json(&body).query(index).watching(Watch::Tables(table.bit())).into())
}

/// The target in the authoritative region for a write that belongs there; `None`: it belongs here.
///
/// # Errors
/// Those of the store.
pub(super) fn elsewhere(ctx: &Ctx<'_>) -> Result<Option<String>, ApiError> {
    let region = &ctx.agent.authoritative_region;
    if region.is_empty() || *region == ctx.agent.region || ctx.is_get() {
        return Ok(None);
    }
    let path = ctx.req.path();
    let shared = match path.strip_prefix("/v1/acl/") {
        Some(rest) => is_shared_write(ctx, rest)?,
        None => ["/v1/namespace", "/v1/namespace/", "/v1/node/pool/", "/v1/node/pools"]
            .iter()
            .any(|p| path == *p || (p.ends_with('/') && path.starts_with(p))),
    };
    if !shared {
        return Ok(None);
    }
    let pairs = ctx.req.query().split('&').filter(|p| !p.is_empty() && !p.starts_with("region="));
    let own = format!("region={}", escape(region));
    let query: Vec<&str> = pairs.chain([own.as_str()]).collect();
    Ok(Some(format!("{}?{}", ctx.req.raw_path(), query.join("&"))))
}

fn is_shared_write(ctx: &Ctx<'_>, rest: &str) -> Result<bool, ApiError> {
    if !ctx.agent.acl.enabled {
        return Ok(false);
    }
    let given = || codec::decode::<Given>(&ctx.req.body).unwrap_or_default();
    let logs_in = ["login", "oidc/auth-url", "oidc/complete-auth"].contains(&rest);
    if logs_in {
        let method: Option<AclAuthMethod> =
            ctx.reader.acl_row(Table::AuthMethod, &given().auth_method_name)?;
        return Ok(method.is_some_and(|m| m.token_locality == "global"));
    }
    if rest.starts_with("token/onetime") || rest.starts_with("identity/") {
        return Ok(false);
    }
    let Some(id) = rest.strip_prefix("token/").or((rest == "token").then_some("")) else {
        return Ok(true);
    };
    let Given { accessor_id, global, .. } = given();
    let id = if id.is_empty() { accessor_id } else { id.to_owned() };
    // One that is known here is here what it is there.
    match ctx.reader.row(Table::Token, &keys::name(&id))? {
        Some(row) => Ok(is_shared(Table::Token, row.json)),
        None => Ok(global),
    }
}
