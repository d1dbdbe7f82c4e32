//! Reading jobs.

use serde::Serialize;
use serde_json::Value;

use super::{Ctx, Result, get_only};
use crate::api::{Action, ApiError, Deployment, Evaluation};
use crate::http::Query;
use crate::jobspec::diff;
use crate::routes::params::bool_param;
use crate::routes::services::of_allocs;
use crate::routes::{Answer, Watch};
use crate::stdx::json::{self, List};
use crate::stdx::parse_bool;
use crate::stdx::sort;
use crate::store::rows::AllocHead;
use crate::store::{Reader, Table, keys, splice};

/// A row of a table whose key is that of the job, or 404 `job not found`.
fn job_row(ctx: &Ctx<'_>, table: Table, id: &str) -> Result {
    let key = keys::job(&ctx.params.namespace, id);
    let answer = match ctx.reader.row(table, &key)? {
        Some(row) => Answer::bytes(row.json.to_vec()).query(row.modify()),
        None => Answer::text(404, "job not found").query(ctx.reader.table_index(table)),
    };
    Ok(answer.watching(Watch::Row(table, key.into())).into())
}

pub(super) fn get(ctx: &mut Ctx<'_>, id: &str) -> Result {
    job_row(ctx, Table::Job, id)
}

/// Any method will do, as in the reference.
pub(super) fn summary(ctx: &mut Ctx<'_>, id: &str) -> Result {
    job_row(ctx, Table::JobSummary, id)
}

/// All versions, newest first.
pub(super) fn versions(ctx: &mut Ctx<'_>, id: &str) -> Result {
    get_only(ctx)?;
    let q = Query::new(ctx.req.query());
    let diffs = bool_param(&q, "diffs").map_err(ApiError::failed)?;
    if let Some(v) = q.get("diff_version").filter(|v| !v.is_empty())
        && v.parse::<u64>().is_err()
    {
        return Err(ApiError::failed(format!(
            "Failed to parse value of \"diff_version\" ({v}) as a uint64: strconv.ParseUint: \
             parsing \"{v}\": invalid syntax"
        )));
    }
    let list = ctx.reader.job_versions_json(&ctx.params.namespace, id)?;
    let mut index = 0;
    for json in &list {
        let modify = splice::number(json, "ModifyIndex").unwrap_or(0);
        index = index.max(u64::try_from(modify).unwrap_or(0));
    }
    let watch = Watch::Tables(Table::JobVersion.bit());
    if list.is_empty() {
        let index = ctx.reader.table_index(Table::JobVersion);
        return Ok(Answer::text(404, "job versions not found").query(index).watching(watch).into());
    }
    let diffs = if diffs { differences(&q, &list)? } else { Vec::new() };
    let mut body = b"{\"Diffs\":".to_vec();
    json::encode_into(&List(diffs), &mut body);
    body.extend_from_slice(
        format!(
            ",\"Index\":{index},\"KnownLeader\":{},\"LastContact\":{},\
         \"NextToken\":\"\",\"Versions\":[",
            ctx.agent.leader_addr.is_some(),
            ctx.agent.last_contact_ms.saturating_mul(1_000_000),
        )
        .as_bytes(),
    );
    body.extend_from_slice(&list.join(&b','));
    body.extend_from_slice(b"]}");
    Ok(Answer::bytes(body).query(index).watching(watch).into())
}

/// How versions (newest first) differ: each from the one before it, or all from the one that the
/// query names.
fn differences(q: &Query<'_>, list: &[Vec<u8>]) -> Result<Vec<Value>> {
    let values = list.iter().map(|text| json::decode::<Value>(text));
    let values: Vec<Value> = values
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| ApiError::failed(format!("a stored job is damaged: {e}")))?;
    let named = |name| q.get(name).filter(|v| !v.is_empty());
    let (tag, version) = (named("diff_tag"), named("diff_version"));
    let base = if let Some(tag) = tag {
        let tagged = values.iter().find(|v| v["VersionTag"]["Name"] == *tag);
        Some(tagged.ok_or_else(|| ApiError::failed(format!("tag {tag:?} not found")))?)
    } else if let Some(version) = version {
        let numbered = values.iter().find(|v| v["Version"].as_u64() == version.parse().ok());
        Some(numbered.ok_or_else(|| ApiError::failed(format!("version {version} not found")))?)
    } else {
        None
    };
    Ok(match base {
        Some(base) => values.iter().map(|v| diff::jobs(Some(base), v)).collect(),
        None => values.windows(2).map(|w| diff::jobs(Some(&w[1]), &w[0])).collect(),
    })
}

pub(super) fn submission(ctx: &mut Ctx<'_>, id: &str) -> Result {
    let version = Query::new(ctx.req.query())
        .get("version")
        .and_then(|v| v.parse::<u64>().ok())
        .ok_or_else(|| ApiError::bad("Unable to parse job submission version parameter"))?;
    get_only(ctx)?;
    let key = keys::submission(&ctx.params.namespace, id, version);
    let answer = match ctx.reader.row(Table::JobSubmission, &key)? {
        Some(row) => Answer::bytes(row.json.to_vec()).query(row.modify()),
        None => Answer::text(404, "job source not found").query(0),
    };
    Ok(answer.watching(Watch::Row(Table::JobSubmission, key.into())).into())
}

/// Without `all`, only what belongs to the job as it stands, not to one of the same name before.
fn all_of_name(ctx: &Ctx<'_>) -> bool {
    Query::new(ctx.req.query()).get("all").and_then(|v| parse_bool(&v)).unwrap_or(false)
}

/// `CreateIndex` of the job, where it exists.
fn created(ctx: &Ctx<'_>, id: &str) -> Result<Option<u64>> {
    let key = keys::job(&ctx.params.namespace, id);
    Ok(ctx.reader.row(Table::Job, &key)?.map(|r| r.create()))
}

pub(super) fn allocations(ctx: &mut Ctx<'_>, id: &str) -> Result {
    get_only(ctx)?;
    if id.is_empty() {
        return Err(ApiError::failed("missing job ID"));
    }
    let only = if all_of_name(ctx) { None } else { created(ctx, id)? };
    let ids = ctx.reader.alloc_ids_by_job(&ctx.params.namespace, id)?;
    let answer = alloc_stubs(ctx.reader, &ids, |a| only.is_none_or(|c| a.job_create == c))?;
    Ok(answer.into())
}

/// The list of the stubs of those allocations that pass, with what to watch.
pub(in crate::routes) fn alloc_stubs(
    reader: Reader<'_>,
    ids: &[[u8; 16]],
    wants: impl Fn(&AllocHead) -> bool,
) -> Result<Answer> {
    let mut body = vec![b'['];
    for id in ids {
        let Some(row) = reader.row(Table::Alloc, id)? else { continue };
        if !wants(&row.alloc()) {
            continue;
        }
        if body.len() > 1 {
            body.push(b',');
        }
        reader.alloc_line(&row, false, true, &mut body)?;
    }
    body.push(b']');
    let watch = Watch::Tables(Table::Alloc.bit());
    Ok(Answer::bytes(body).query(reader.table_index(Table::Alloc)).watching(watch))
}

pub(super) fn evaluations(ctx: &mut Ctx<'_>, id: &str) -> Result {
    get_only(ctx)?;
    if id.is_empty() {
        return Err(ApiError::failed("missing job ID"));
    }
    let mut list: Vec<Evaluation> = ctx.reader.evals_by_job(&ctx.params.namespace, id)?;
    sort::by(&mut list, |a, b| a.id.cmp(&b.id));
    Ok(whole(ctx, Table::Eval, &list).into())
}

pub(super) fn deployments(ctx: &mut Ctx<'_>, id: &str) -> Result {
    get_only(ctx)?;
    if id.is_empty() {
        return Err(ApiError::failed("missing job ID"));
    }
    let only = if all_of_name(ctx) { None } else { created(ctx, id)? };
    let mut list: Vec<Deployment> = ctx.reader.deployments_by_job(&ctx.params.namespace, id)?;
    list.retain(|d| only.is_none_or(|c| d.job_create_index == c));
    sort::by(&mut list, |a, b| a.id.cmp(&b.id));
    Ok(whole(ctx, Table::Deployment, &list).into())
}

/// The newest deployment, or `null`.
pub(super) fn deployment(ctx: &mut Ctx<'_>, id: &str) -> Result {
    get_only(ctx)?;
    if id.is_empty() {
        return Err(ApiError::failed("missing job ID"));
    }
    let newest = ctx.reader.deployment_latest(&ctx.params.namespace, id)?;
    Ok(whole(ctx, Table::Deployment, &newest).into())
}

fn whole<T: Serialize>(ctx: &Ctx<'_>, table: Table, value: &T) -> Answer {
    let watch = Watch::Tables(table.bit());
    Answer::json(value).query(ctx.reader.table_index(table)).watching(watch)
}

/// Services that allocations of the job registered.
pub(super) fn services(ctx: &mut Ctx<'_>, id: &str) -> Result {
    get_only(ctx)?;
    let key = keys::job(&ctx.params.namespace, id);
    if !ctx.reader.has(Table::Job, &key)? {
        let watch = Watch::Row(Table::Job, key.into());
        return Ok(Answer::text(404, "job not found").query(0).watching(watch).into());
    }
    let allocs = ctx.reader.alloc_ids_by_job(&ctx.params.namespace, id)?;
    Ok(of_allocs(ctx.reader, &allocs)?.into())
}

/// An action with the task that it runs in.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JobAction {
    args: List<String>,
    command: String,
    name: String,
    task_group_name: String,
    task_name: String,
}

pub(super) fn actions(ctx: &mut Ctx<'_>, id: &str) -> Result {
    get_only(ctx)?;
    let job = ctx
        .reader
        .job(&ctx.params.namespace, id)?
        .ok_or_else(|| ApiError::failed(format!("Unknown job {id:?}")))?;
    let mut out = Vec::new();
    for g in job.task_groups.iter() {
        for t in g.tasks.iter() {
            for Action { args, command, name } in t.actions.iter().cloned() {
                out.push(JobAction {
                    args,
                    command,
                    name,
                    task_group_name: g.name.clone(),
                    task_name: t.name.clone(),
                });
            }
        }
    }
    Ok(Answer::json(&out).query(0).into())
}
