//! `/v1/client/fs/*`: what a request for files asks for. The agent reads them.
//!
//! The order of checks is that of the reference: allocation named, required parameters, allocation
//! known, values, then the file. `cat` and `readat` tell every error in the body of a 200: the
//! reference has sent its head by then, and clients know it so.

use super::{Answer, Ctx, FilesOp, FilesRequest, Outcome, client_alloc};
use crate::api::ApiError;
use crate::http::Query;
use crate::stdx::parse_bool;

type Result<T> = std::result::Result<T, ApiError>;

/// `/v1/client/fs/{op}/{alloc}`, any method.
pub(super) fn files(ctx: &mut Ctx<'_>) -> Result<Outcome> {
    let (op, alloc) = ctx.rest.split_once('/').unwrap_or((ctx.rest, ""));
    let op = match op {
        "ls" => FilesOp::Ls,
        "stat" => FilesOp::Stat,
        "cat" => FilesOp::Cat,
        "readat" => FilesOp::ReadAt,
        "stream" => FilesOp::Stream,
        "logs" => FilesOp::Logs,
        _ => return Err(ApiError::not_found("Invalid method")),
    };
    let query = Query::new(ctx.req.query());
    let request = request(ctx, op, alloc, &query);
    match request.and_then(|request| client_alloc::files(ctx, request)) {
        Err(e) if op.tells_errors_as_text() && e.status != 403 => {
            Ok(Answer::text(200, e.text).into())
        }
        other => other,
    }
}

impl FilesOp {
    /// Are errors of this operation the body of a 200?
    pub fn tells_errors_as_text(self) -> bool {
        matches!(self, Self::Cat | Self::ReadAt)
    }
}

/// Reads the parameters of one operation.
fn request(ctx: &Ctx<'_>, op: FilesOp, alloc: &str, query: &Query<'_>) -> Result<FilesRequest> {
    if alloc.is_empty() {
        return Err(ApiError::bad("must provide a valid alloc id"));
    }
    let text = |name: &str| query.get(name).unwrap_or_default().into_owned();
    let mut request =
        FilesRequest { alloc: alloc.to_owned(), op, path: text("path"), ..FilesRequest::default() };
    match op {
        FilesOp::Ls => {
            if request.path.is_empty() {
                request.path.push('/');
            }
            return Ok(request);
        }
        FilesOp::Stat | FilesOp::Cat | FilesOp::ReadAt | FilesOp::Stream => {
            if request.path.is_empty() {
                return Err(ApiError::bad("must provide a file name"));
            }
        }
        FilesOp::Logs => {
            (request.task, request.kind) = (text("task"), text("type"));
            if request.task.is_empty() {
                return Err(ApiError::bad("must provide task name"));
            }
            if request.kind != "stdout" && request.kind != "stderr" {
                return Err(ApiError::bad("must provide log type (stdout/stderr)"));
            }
        }
    }
    client_alloc::here(ctx, alloc, client_alloc::files_need(op))?;
    match op {
        FilesOp::Ls | FilesOp::Stat | FilesOp::Cat => {}
        FilesOp::ReadAt => {
            request.offset = integer("offset", &text("offset"))?;
            if query.get("limit").is_some_and(|v| !v.is_empty()) {
                request.limit = integer("limit", &text("limit"))?;
            }
        }
        FilesOp::Stream => {
            // This handler of the reference knows no status for bad values.
            place(&mut request, query).map_err(|e| match e.text.as_str() {
                "origin must be start or end" => e,
                _ => ApiError::failed(e.text),
            })?;
            request.follow = boolean("follow", query, true).map_err(ApiError::failed)?;
        }
        FilesOp::Logs => {
            place(&mut request, query)?;
            request.follow = boolean("follow", query, false).map_err(ApiError::bad)?;
            request.plain = boolean("plain", query, false).map_err(ApiError::bad)?;
            request.started = ctx.agent.server && task_started(ctx, &request)?;
        }
    }
    Ok(request)
}

/// `offset` and `origin`.
fn place(request: &mut FilesRequest, query: &Query<'_>) -> Result<()> {
    if let Some(offset) = query.get("offset").filter(|v| !v.is_empty()) {
        request.offset = integer("offset", &offset)?;
    }
    request.from_end = match query.get("origin").as_deref() {
        None | Some("" | "start") => false,
        Some("end") => true,
        Some(_) => return Err(ApiError::bad("origin must be start or end")),
    };
    Ok(())
}

/// A whole number, as Go's `strconv.ParseInt` reads and refuses it.
fn integer(name: &str, text: &str) -> Result<i64> {
    text.parse().map_err(|e: std::num::ParseIntError| {
        let why = match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        ApiError::bad(format!("error parsing {name}: strconv.ParseInt: parsing {text:?}: {why}"))
    })
}

/// A truth value, with a default for one that is absent or empty.
fn boolean(name: &str, query: &Query<'_>, default: bool) -> std::result::Result<bool, String> {
    match query.get(name) {
        None => Ok(default),
        Some(text) if text.is_empty() => Ok(default),
        Some(text) => parse_bool(&text).ok_or_else(|| {
            format!(
                "failed to parse {name} field to boolean: \
                 strconv.ParseBool: parsing {text:?}: invalid syntax"
            )
        }),
    }
}

/// Has the task of an allocation ever run?
///
/// # Errors
/// 400 for a task that the allocation does not have.
fn task_started(ctx: &Ctx<'_>, request: &FilesRequest) -> Result<bool> {
    let found = ctx.reader.alloc_with_job(&request.alloc)?;
    let unknown = || ApiError::bad(format!("unknown task name {:?}", request.task));
    let alloc = found.ok_or_else(unknown)?;
    if let Some(state) = alloc.task_states.0.get(&request.task) {
        return Ok(state.started_at != crate::stdx::json::Time::default());
    }
    let job = alloc.job.as_ref().ok_or_else(unknown)?;
    let group = job.task_groups.0.iter().find(|g| g.name == alloc.task_group);
    let known = group.is_some_and(|g| g.tasks.0.iter().any(|t| t.name == request.task));
    if known { Ok(false) } else { Err(unknown()) }
}
