//! `/v1/client/*` but for files: what is asked of the node itself.

use super::{
    Ctx, ExecRequest, FilesOp, FilesRequest, Outcome, invalid_method, not_served, uuid_key,
};
use crate::acl::{Caps, ns};
use crate::api::ApiError;
use crate::client::ClientRequest;
use crate::http::{Method, Query, Request};
use crate::stdx::json::{self, List, records};
use crate::stdx::parse_bool;
use crate::store::Table;

type Result = std::result::Result<Outcome, ApiError>;

/// `/v1/client/allocation/{id}/{op}`
pub(super) fn allocation(ctx: &mut Ctx<'_>) -> Result {
    let Some((alloc, op)) = ctx.rest.split_once('/') else {
        return Err(ApiError::not_found("resource not found"));
    };
    let alloc = alloc.to_owned();
    match op {
        "stats" => {
            here(ctx, &alloc, ns::READ_JOB)?;
            let q = Query::new(ctx.req.query());
            let task = q.get("task").unwrap_or_default().into_owned();
            Ok(Outcome::Client(ClientRequest::Stats { alloc, task }))
        }
        "restart" => restart(ctx, alloc),
        "signal" => signal(ctx, alloc),
        "gc" => {
            here(ctx, &alloc, ns::SUBMIT_JOB | ns::GC_ALLOCATION)?;
            Ok(Outcome::Client(ClientRequest::Gc { alloc }))
        }
        "checks" => {
            here(ctx, &alloc, ns::READ_JOB)?;
            Ok(Outcome::Client(ClientRequest::Checks { alloc }))
        }
        "exec" => exec(ctx, alloc),
        "snapshot" => Err(not_served("Moving the data of allocations between nodes")),
        "pause" => match ctx.req.method {
            Method::Get | Method::Put | Method::Post => {
                let caps = match ctx.is_get() {
                    true => ns::READ_JOB,
                    false => ns::SUBMIT_JOB | ns::PAUSE_ALLOCATION,
                };
                here(ctx, &alloc, caps)?;
                if ctx.is_write() {
                    let state = ctx.body::<PauseBody>()?.schedule_state;
                    if !matches!(state.as_str(), "pause" | "run" | "scheduled") {
                        return Err(ApiError::bad("Not a valid task schedule state"));
                    }
                }
                Err(ApiError::failed("Enterprise only"))
            }
            _ => Err(invalid_method()),
        },
        _ => Err(ApiError::not_found("resource not found")),
    }
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct RestartBody {
    task_name: String,
    all_tasks: bool,
}
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct PauseBody {
    schedule_state: String,
}
}

fn restart(ctx: &mut Ctx<'_>, alloc: String) -> Result {
    here(ctx, &alloc, ns::ALLOC_LIFECYCLE)?;
    let body: RestartBody =
        if ctx.req.body.is_empty() { RestartBody::default() } else { ctx.body()? };
    if body.all_tasks && !body.task_name.is_empty() {
        return Err(ApiError::failed("task name cannot be set when restarting all tasks"));
    }
    let (task, all) = (body.task_name, body.all_tasks);
    Ok(Outcome::Client(ClientRequest::Restart { alloc, task, all }))
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct SignalBody {
    signal: String,
    task: String,
}
}

fn signal(ctx: &mut Ctx<'_>, alloc: String) -> Result {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    if ctx.req.body.is_empty() {
        return Err(ApiError::bad("Failed to decode body: Request body is empty"));
    }
    let body: SignalBody =
        ctx.body().map_err(|e| ApiError::bad(format!("Failed to decode body: {}", e.text)))?;
    here(ctx, &alloc, ns::ALLOC_LIFECYCLE)?;
    Ok(Outcome::Client(ClientRequest::Signal { alloc, task: body.task, signal: body.signal }))
}

fn exec(ctx: &mut Ctx<'_>, alloc: String) -> Result {
    here(ctx, &alloc, ns::ALLOC_EXEC)?;
    if ctx.req.websocket.is_none() {
        return Err(ApiError::failed("websocket connection not found in context"));
    }
    let q = Query::new(ctx.req.query());
    let text = |name: &str| q.get(name).unwrap_or_default().into_owned();
    let task = text("task");
    if task.is_empty() {
        return Err(ApiError::bad("must provide task name"));
    }
    let command: List<String> = json::decode(text("command").as_bytes())
        .map_err(|e| ApiError::failed(format!("failed to marshal command into json: {e}")))?;
    if command.is_empty() {
        return Err(ApiError::bad("command is not present"));
    }
    let tty = match text("tty").as_str() {
        "" => false,
        tty => parse_bool(tty).ok_or_else(|| {
            let text = format!("strconv.ParseBool: parsing {tty:?}: invalid syntax");
            ApiError::bad(format!("tty value is not a boolean: {text}"))
        })?,
    };
    // No driver of this version shuts its tasks off from the node's files.
    here(ctx, &alloc, ns::ALLOC_NODE_EXEC)?;
    if ctx.agent.exec_disabled && ctx.agent.client {
        return Err(ApiError::new(403, "Permission denied"));
    }
    Ok(Outcome::Exec(Box::new(ExecRequest { alloc, task, command: command.0, tty })))
}

/// The allocation must be known, and the caller have one of these rights in its namespace.
///
/// # Errors
/// 404 for one that is unknown, 500 for an id that is none, 403.
pub(super) fn here(ctx: &Ctx<'_>, alloc: &str, any_of: Caps) -> std::result::Result<(), ApiError> {
    let key = uuid_key("alloc", alloc)?;
    if !ctx.agent.server {
        // The node itself knows what it holds; a server has seen whether it may be asked.
        return Ok(());
    }
    match ctx.reader.row(Table::Alloc, &key)? {
        Some(row) => ctx.need_row(&row, any_of),
        None => Err(ApiError::not_found(format!("Unknown allocation \"{alloc}\""))),
    }
}

/// `/v1/client/gc`
pub(super) fn gc(ctx: &mut Ctx<'_>) -> Result {
    node_here(ctx, 500)?;
    Ok(Outcome::Client(ClientRequest::GcAll))
}

/// `/v1/client/stats`
pub(super) fn stats(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    node_here(ctx, 404)?;
    Ok(Outcome::Client(ClientRequest::HostStats(Box::default())))
}

/// `/v1/client/metadata`
pub(super) fn metadata(ctx: &mut Ctx<'_>) -> Result {
    match ctx.req.method {
        Method::Get => {
            node_here(ctx, 404)?;
            Ok(Outcome::Client(ClientRequest::MetaGet))
        }
        Method::Put | Method::Post => {
            node_here(ctx, 404)?;
            if ctx.req.body.is_empty() {
                return Err(ApiError::bad("Request body is empty"));
            }
            Ok(Outcome::Client(ClientRequest::MetaSet { body: ctx.req.body.clone() }))
        }
        _ => Err(invalid_method()),
    }
}

/// `/v1/client/identity`
pub(super) fn identity(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    node_here(ctx, 404)?;
    Ok(Outcome::Client(ClientRequest::Identity { renew: false }))
}

/// `/v1/client/identity/renew`
pub(super) fn identity_renew(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    node_here(ctx, 404)?;
    Ok(Outcome::Client(ClientRequest::Identity { renew: true }))
}

records! {
#[derive(Default)]
struct NodeBody {
    #[serde(rename = "NodeID")]
    node_id: String,
}
}

/// The node that a request for one names: by `node_id`, or as `NodeID` in the body of a write,
/// which is how the SDK does it. Empty: none.
pub fn node_named(req: &Request) -> String {
    let id = Query::new(req.query()).get("node_id").unwrap_or_default().into_owned();
    let has_body = matches!(req.path(), "/v1/client/metadata" | "/v1/client/identity/renew");
    if !id.is_empty() || !has_body {
        return id;
    }
    json::decode::<NodeBody>(&req.body).map_or_else(|_| String::new(), |body| body.node_id)
}

/// The node that is named must be this one; `unknown` is the status for one that no server knows.
fn node_here(ctx: &Ctx<'_>, unknown: u16) -> std::result::Result<(), ApiError> {
    let id = node_named(ctx.req);
    if id.is_empty() {
        if ctx.agent.client {
            return Ok(());
        }
        return Err(ApiError::bad("No local Node and node_id not provided"));
    }
    let key = uuid_key("node", &id)?;
    if id == ctx.agent.node_id {
        return Ok(());
    }
    if ctx.reader.row(Table::Node, &key)?.is_none() {
        return Err(ApiError::new(unknown, format!("Unknown node {id}")));
    }
    Err(ApiError::not_found("No path to node"))
}

/// What reading files of an allocation needs.
pub(super) fn files_need(op: FilesOp) -> Caps {
    ns::READ_FS | if op == FilesOp::Logs { ns::READ_LOGS } else { 0 }
}

/// Hands a request for files to the agent once the allocation is known.
///
/// # Errors
/// As [`here`].
pub(super) fn files(ctx: &Ctx<'_>, request: FilesRequest) -> Result {
    here(ctx, &request.alloc, files_need(request.op))?;
    Ok(Outcome::Files(request))
}
