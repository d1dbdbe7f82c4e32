//! `/v1/jobs/statuses`: the overview that a user interface shows of many jobs at once.

use serde::Serialize;

use super::{Ctx, Result};
use crate::acl::ns;
use crate::api::{AllocDeploymentStatus, Allocation, ApiError, Deployment, Job, status};
use crate::http::{Method, Query};
use crate::routes::page::Page;
use crate::routes::{Params, Watch, invalid_method};
use crate::stdx::json::records;
use crate::stdx::json::{self, List};
use crate::stdx::parse_bool;
use crate::stdx::sort;
use crate::store::{Reader, Row, Table, keys};

records! {
/// The jobs that a caller is interested in.
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "JobStatusesRequest")]
struct Body {
    jobs: Option<Vec<Wanted>>,
    include_children: bool,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct Wanted {
    #[serde(rename = "ID")]
    id: String,
    namespace: String,
}
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StatusesJob {
    /// Null for jobs that only begin others.
    allocs: Option<Vec<StatusesAlloc>>,
    /// Null for jobs that run something themselves.
    child_statuses: Option<Vec<String>>,
    datacenters: List<String>,
    group_count_sum: i64,
    #[serde(rename = "ID")]
    id: String,
    is_pack: bool,
    latest_deployment: Option<LatestDeployment>,
    modify_index: u64,
    name: String,
    namespace: String,
    node_pool: String,
    #[serde(rename = "ParentID")]
    parent_id: String,
    priority: i64,
    status: String,
    stop: bool,
    submit_time: i64,
    #[serde(rename = "Type")]
    kind: String,
    version: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StatusesAlloc {
    client_status: String,
    deployment_status: StatusesDeployment,
    #[serde(rename = "FollowupEvalID")]
    followup_eval_id: String,
    group: String,
    has_paused_task: bool,
    #[serde(rename = "ID")]
    id: String,
    job_version: u64,
    #[serde(rename = "NodeID")]
    node_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct StatusesDeployment {
    canary: bool,
    healthy: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LatestDeployment {
    all_auto_promote: bool,
    #[serde(rename = "ID")]
    id: String,
    is_active: bool,
    job_version: u64,
    requires_promotion: bool,
    status: String,
    status_description: String,
}

pub(in crate::routes) fn statuses(ctx: &mut Ctx<'_>) -> Result {
    if !matches!(ctx.req.method, Method::Get | Method::Post) {
        return Err(invalid_method());
    }
    let body = body(ctx)?;
    let mut params = ctx.params.clone();
    if let Some(jobs) = &body.jobs {
        if !params.namespace_given {
            "*".clone_into(&mut params.namespace);
        }
        params.per_page = i32::try_from(jobs.len()).unwrap_or(i32::MAX);
    }
    ctx.need_ns(&params.namespace, ns::READ_JOB)?;
    let mut page = Page::new::<Job>(&params)?;
    let reader = ctx.reader;
    let mut index = 0;
    for (_, key) in candidates(reader, &params, &body)? {
        let Some(row) = reader.row(Table::Job, &key)? else { continue };
        let space = keys::split(&key).unwrap_or_default().0;
        if !ctx.may_ns(space, ns::READ_JOB) || !page.passes(row.json)? {
            continue;
        }
        let Some(out) = page.room(|| row.modify().to_string()) else { break };
        let (job, newest) = overview(reader, &row)?;
        index = index.max(newest);
        json::encode_into(&job, out);
    }
    let mask = Table::Job.bit() | Table::Alloc.bit() | Table::Deployment.bit();
    if index == 0 {
        index = reader.table_index(Table::Job);
    }
    Ok(page.answer(index, Watch::Tables(mask)).into())
}

fn body(ctx: &Ctx<'_>) -> Result<Body> {
    let mut body = if ctx.req.body.is_empty() {
        Body::default()
    } else {
        json::decode(&ctx.req.body)
            .map_err(|e| ApiError::bad(format!("error decoding request: {e}")))?
    };
    if body.jobs.as_ref().is_some_and(Vec::is_empty) {
        return Err(ApiError::bad("no jobs in request"));
    }
    let q = Query::new(ctx.req.query());
    if let Some(v) = q.get("include_children").filter(|v| !v.is_empty()) {
        body.include_children |= parse_bool(&v).ok_or_else(|| {
            ApiError::bad(format!(
                "Failed to parse value of \"include_children\" ({v}) as a bool: \
                 strconv.ParseBool: parsing \"{v}\": invalid syntax"
            ))
        })?;
    }
    Ok(body)
}

/// Keys of the jobs in question with what they are ordered by, from the page's token on.
fn candidates(reader: Reader<'_>, p: &Params, body: &Body) -> Result<Vec<(u64, Vec<u8>)>> {
    let mut out = Vec::new();
    let keep = |row: &Row<'_>| body.include_children || !row.job().child;
    if let Some(jobs) = &body.jobs {
        for wanted in jobs {
            let namespace = match wanted.namespace.as_str() {
                "" => status::NAMESPACE_DEFAULT,
                given => given,
            };
            if p.namespace != "*" && p.namespace != namespace {
                continue;
            }
            let key = keys::job(namespace, &wanted.id);
            if let Some(row) = reader.row(Table::Job, &key)?.filter(keep) {
                out.push((row.modify(), key));
            }
        }
    } else {
        let prefix = if p.namespace == "*" { Vec::new() } else { keys::namespace(&p.namespace) };
        for pair in reader.scan(Table::Job, &prefix, None, false)? {
            let (key, row) = pair?;
            if keep(&row) {
                out.push((row.modify(), key.to_vec()));
            }
        }
    }
    // Jobs that one entry changed keep the order of their names.
    sort::by(&mut out, |a, b| if p.reverse { a.0.cmp(&b.0) } else { b.0.cmp(&a.0) });
    out.dedup_by(|a, b| a.1 == b.1);
    if let Ok(token) = p.next_token.parse::<u64>() {
        out.retain(|(modify, _)| if p.reverse { *modify >= token } else { *modify <= token });
    }
    Ok(out)
}

/// One job with its allocations, and the newest index of all that was looked at.
fn overview(reader: Reader<'_>, row: &Row<'_>) -> Result<(StatusesJob, u64)> {
    let job: Job = json::decode(row.json)
        .map_err(|e| ApiError::failed(format!("a stored job is damaged: {e}")))?;
    let mut newest = row.modify();
    let template = super::is_template(&job);
    let mut allocs = None;
    let mut child_statuses = None;
    if template {
        let mut found = Vec::new();
        let prefix = keys::job(&job.namespace, &format!("{}/", job.id));
        for pair in reader.scan(Table::Job, &prefix, None, false)? {
            let (_, row) = pair?;
            if row.job().child {
                newest = newest.max(row.modify());
                found.push(row.job().status.text().to_owned());
            }
        }
        child_statuses = Some(found);
    } else {
        let list = reader.allocs_by_job(&job.namespace, &job.id)?;
        newest = list.iter().fold(newest, |n, a| n.max(a.modify_index));
        allocs = Some(list.into_iter().map(alloc).collect());
    }
    let deployment = reader.deployment_latest(&job.namespace, &job.id)?;
    newest = newest.max(deployment.as_ref().map_or(0, |d| d.modify_index));
    let out = StatusesJob {
        allocs,
        child_statuses,
        group_count_sum: job.task_groups.iter().map(|g| g.count.unwrap_or(1)).sum(),
        is_pack: job.meta.contains_key("pack.name"),
        latest_deployment: deployment.map(latest),
        datacenters: job.datacenters,
        id: job.id,
        modify_index: job.modify_index,
        name: job.name,
        namespace: job.namespace,
        node_pool: job.node_pool,
        parent_id: job.parent_id,
        priority: job.priority,
        status: job.status,
        stop: job.stop,
        submit_time: job.submit_time,
        kind: job.kind,
        version: job.version,
    };
    Ok((out, newest))
}

fn alloc(a: Allocation) -> StatusesAlloc {
    let AllocDeploymentStatus { canary, healthy, .. } = a.deployment_status.unwrap_or_default();
    StatusesAlloc {
        client_status: a.client_status,
        deployment_status: StatusesDeployment { canary, healthy },
        followup_eval_id: a.followup_eval_id,
        group: a.task_group,
        has_paused_task: a.task_states.values().any(|s| !s.paused.is_empty()),
        id: a.id,
        job_version: a.job_version,
        node_id: a.node_id,
    }
}

fn latest(d: Deployment) -> LatestDeployment {
    let groups = || d.task_groups.values();
    LatestDeployment {
        all_auto_promote: !d.task_groups.is_empty() && groups().all(|g| g.auto_promote),
        requires_promotion: groups().any(|g| g.desired_canaries > 0 && !g.promoted),
        is_active: is_active(&d),
        job_version: d.job_version,
        id: d.id,
        status: d.status,
        status_description: d.status_description,
    }
}

/// Neither successful, failed nor cancelled.
pub(super) fn is_active(d: &Deployment) -> bool {
    use status::{DEPLOYMENT_CANCELLED, DEPLOYMENT_FAILED, DEPLOYMENT_SUCCESSFUL};
    ![DEPLOYMENT_FAILED, DEPLOYMENT_SUCCESSFUL, DEPLOYMENT_CANCELLED].contains(&d.status.as_str())
}
