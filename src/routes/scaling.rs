//! `/v1/scaling/*`: the scaling policies that jobs were registered with.

use super::auth::need;
use super::{Answer, Ctx, Outcome, Watch, invalid_method};
use crate::acl::{Acl, Caps, ns};
use crate::api::ApiError;
use crate::http::Query;
use crate::stdx::json;
use crate::store::{Table, keys, splice};

type Result = std::result::Result<Outcome, ApiError>;

/// What lists show of a policy, in the order in which it is printed.
const STUB: [&str; 6] = ["CreateIndex", "Enabled", "ID", "ModifyIndex", "Target", "Type"];

/// `/v1/scaling/policies`
pub(super) fn policies(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let q = Query::new(ctx.req.query());
    let asked = |name| q.get(name).unwrap_or_default();
    let (namespace, prefix, kind) = (&*ctx.params.namespace, asked("prefix"), asked("type"));
    let job = if prefix.is_empty() && namespace != "*" { asked("job") } else { "".into() };
    need(ctx.may(|a| may(a, namespace, ns::LIST_SCALING_POLICIES)))?;
    let mut body = vec![b'['];
    for pair in ctx.reader.scan(Table::ScalingPolicy, prefix.as_bytes(), None, false)? {
        let (_, row) = pair?;
        let Some(members) = splice::fields(row.json, STUB) else { continue };
        let target = |name| text(members[4], name);
        if (namespace != "*" && target("Namespace") != namespace)
            || (!job.is_empty() && target("Job") != job)
            || !text(row.json, "Type").starts_with(&*kind)
            || !ctx.may(|a| may(a, &target("Namespace"), ns::LIST_SCALING_POLICIES))
        {
            continue;
        }
        body.extend_from_slice(if body.len() > 1 { b"," } else { b"" });
        for (i, (name, value)) in STUB.iter().zip(members).enumerate() {
            body.push(if i == 0 { b'{' } else { b',' });
            body.extend_from_slice(format!("\"{name}\":").as_bytes());
            body.extend_from_slice(value);
        }
        body.push(b'}');
    }
    body.push(b']');
    let watch = Watch::Tables(Table::ScalingPolicy.bit());
    Ok(Answer::bytes(body).query(index(ctx)).watching(watch).into())
}

/// `/v1/scaling/policy/{id}`
pub(super) fn policy(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let key = keys::name(ctx.rest);
    let answer = match ctx.reader.row(Table::ScalingPolicy, &key)? {
        Some(row) => {
            let target = splice::field(row.json, "Target").unwrap_or_default();
            let namespace = text(target, "Namespace");
            need(ctx.may(|a| may(a, &namespace, ns::READ_SCALING_POLICY)))?;
            Answer::bytes(row.json.to_vec()).query(row.modify())
        }
        None => Answer::text(404, "policy not found").query(index(ctx)),
    };
    Ok(answer.watching(Watch::Row(Table::ScalingPolicy, key.into())).into())
}

/// One right over policies, or two over jobs.
fn may(a: &Acl, namespace: &str, cap: Caps) -> bool {
    a.namespace(namespace, cap)
        || (a.namespace(namespace, ns::LIST_JOBS) && a.namespace(namespace, ns::READ_JOB))
}

/// Zero would not block.
fn index(ctx: &Ctx<'_>) -> u64 {
    ctx.reader.table_index(Table::ScalingPolicy).max(1)
}

/// A member that is text; empty where there is none.
pub(super) fn text(json: &[u8], name: &str) -> String {
    splice::field(json, name).and_then(|t| json::decode(t).ok()).unwrap_or_default()
}
