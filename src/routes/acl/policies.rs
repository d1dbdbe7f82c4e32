//! Policies.

use super::{
    DESCRIPTION_MAX, Result, as_it_is, decode, delete, get, invalid, is_name, members, put, rows,
    written,
};
use crate::acl::Policy;
use crate::api::{AclPolicy, ApiError};
use crate::routes::auth::{ANONYMOUS, denied, need};
use crate::routes::{Answer, Ctx, Watch};
use crate::stdx::blake2b;
use crate::stdx::json::{self, Bytes};
use crate::store::{Reader, Table, keys};

/// What lists show of a policy.
fn stub(_: Reader<'_>, row: &[u8]) -> Result<Vec<u8>> {
    let names = ["CreateIndex", "Description", "Hash", "JobACL", "ModifyIndex", "Name"];
    Ok(members(row, &names))
}

/// `/v1/acl/policies`: those of the caller, or all.
pub(super) fn list(ctx: &mut Ctx<'_>, _: &str) -> Result {
    let all = ctx.is_management();
    let own = |key: &[u8]| ctx.policies().iter().any(|p| keys::name(p) == key);
    Ok(rows(ctx, Table::Policy, &|key| all || own(key), stub)?.into())
}

/// `/v1/acl/policy/self`
pub(super) fn own(ctx: &mut Ctx<'_>, _: &str) -> Result {
    ctx.open();
    need(ctx.token().is_some() || ctx.is_workload())?;
    let mut found = Vec::new();
    for name in ctx.policies() {
        if let Some(row) = ctx.reader.row(Table::Policy, &keys::name(name))? {
            found.push(stub(ctx.reader, row.json)?);
        }
    }
    let body = match found.is_empty() {
        true => b"null".to_vec(),
        false => [b"[", &*found.join(&b','), b"]"].concat(),
    };
    let watch = Watch::Tables(Table::ACL);
    Ok(Answer::bytes(body).query(ctx.reader.tables_index(Table::ACL)).watching(watch).into())
}

/// `/v1/acl/policy/{name}`
pub(super) fn one(ctx: &mut Ctx<'_>, name: &str) -> Result {
    if name.is_empty() {
        return Err(ApiError::bad("Missing Policy Name"));
    }
    let all = ctx.is_management();
    if ctx.is_get() {
        need(all || name == ANONYMOUS || ctx.policies().iter().any(|p| p == name))?;
        return get(ctx, Table::Policy, name, "ACL policy", whole);
    }
    if !all {
        return Err(denied());
    }
    if ctx.is_delete() {
        return Ok(delete(Table::Policy, name, written()));
    }
    let mut policy: AclPolicy = ctx.body()?;
    if policy.name != name {
        return Err(ApiError::bad("ACL policy name does not match request path"));
    }
    invalid("policy", &faults(&policy))?;
    policy.hash = hash(&policy);
    (policy.create_index, policy.modify_index) = (0, 0);
    Ok(put(Table::Policy, &policy, written()))
}

/// With the tree of its rules.
fn whole(reader: Reader<'_>, row: &[u8]) -> Result<Vec<u8>> {
    let policy: AclPolicy = decode(row)?;
    let tree = Policy::parse(&policy.rules).unwrap_or_default().print(&policy.rules);
    let mut out = as_it_is(reader, row)?;
    out.pop();
    out.extend_from_slice(b",\"RulesJSON\":");
    json::encode_into(&tree, &mut out);
    out.push(b'}');
    Ok(out)
}

fn faults(policy: &AclPolicy) -> Vec<String> {
    let mut errors = Vec::new();
    if !is_name(&policy.name) {
        errors.push(format!("invalid name '{}'", policy.name));
    }
    if let Err(e) = Policy::parse_strict(&policy.rules) {
        errors.push(format!("failed to parse rules: {e}"));
    }
    if policy.description.len() > DESCRIPTION_MAX {
        errors.push(format!("description longer than {DESCRIPTION_MAX}"));
    }
    if let Some(job) = &policy.job_acl {
        for (missing, given, text) in [
            (&job.namespace, &job.job_id, "namespace must be set to set job ID"),
            (&job.job_id, &job.group, "job ID must be set to set group"),
            (&job.group, &job.task, "group must be set to set task"),
        ] {
            if missing.is_empty() && !given.is_empty() {
                errors.push(text.to_owned());
            }
        }
    }
    errors
}

fn hash(policy: &AclPolicy) -> Bytes {
    let mut text = [policy.name.as_str(), &policy.description, &policy.rules].concat();
    if let Some(job) = &policy.job_acl {
        text.extend([job.namespace.as_str(), &job.job_id, &job.group, &job.task]);
    }
    Bytes(blake2b::digest(text.as_bytes()).to_vec())
}
