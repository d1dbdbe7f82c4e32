//! Marks on versions of a job: stable or not, and names.

use serde::Serialize;

use super::{Ctx, Result, answer_write, write_only};
use crate::api::{ApiError, JobVersionTag};
use crate::command::{Applied, Command};
use crate::routes::{Answer, Outcome, Reply, invalid_method};
use crate::stdx::json::records;

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "JobStabilityRequest")]
struct StableBody {
    #[serde(rename = "JobID")]
    job_id: String,
    job_version: u64,
    stable: bool,
}
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OnlyIndex {
    index: u64,
}

/// `/v1/job/{id}/stable`
pub(super) fn stable(ctx: &mut Ctx<'_>, id: &str) -> Result {
    write_only(ctx)?;
    let body: StableBody = ctx.body()?;
    if body.job_id.is_empty() {
        return Err(ApiError::bad("JobID must be specified"));
    }
    if body.job_id != id {
        return Err(ApiError::bad("Job ID does not match"));
    }
    let command = Command::JobStability {
        namespace: ctx.params.namespace.clone(),
        id: body.job_id,
        version: body.job_version,
        stable: body.stable,
    };
    let reply: Reply = Box::new(|_, index, applied| match applied {
        Applied::Refused(e) => Err(e),
        _ => Ok(answer_write(&OnlyIndex { index }, index)),
    });
    Ok(Outcome::Propose(Box::new(command), reply))
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "JobTagRequest")]
struct TagBody {
    version: u64,
    latest: bool,
    description: String,
}
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TagResponse {
    description: String,
    index: u64,
    known_leader: bool,
    last_contact: i64,
    name: String,
    next_token: &'static str,
    tagged_time: i64,
}

/// `/v1/job/{id}/versions/{tag}/tag`; ids with slashes cannot be told from tags here.
pub(super) fn tag(ctx: &mut Ctx<'_>) -> Result {
    let parts: Vec<&str> = ctx.rest.split('/').collect();
    let [id, "versions", name, "tag"] = parts.as_slice() else {
        return Err(ApiError::not_found("invalid job tag endpoint"));
    };
    let namespace = ctx.params.namespace.clone();
    let versions = ctx.reader.job_versions(&namespace, id)?;
    let named = versions
        .iter()
        .find(|v| v.version_tag.as_ref().is_some_and(|t| t.name == *name))
        .map(|v| v.version);
    let failed = |text: String| Err(ApiError::failed(text));
    let (version, tag) = if ctx.is_delete() {
        let Some(version) = named else {
            return failed(format!("tag {name:?} not found on job {id:?}"));
        };
        (version, None)
    } else if ctx.is_write() {
        let body: TagBody = ctx.body()?;
        if body.latest && body.version != 0 {
            return failed(format!(
                "version must be zero when tagging latest, got: {}",
                body.version
            ));
        }
        let found = versions.iter().find(|v| body.latest || v.version == body.version);
        let Some(version) = found.map(|v| v.version) else {
            return failed(format!("job {id:?} version {} not found", body.version));
        };
        if named.is_some_and(|other| other != version) {
            return failed(format!(
                "tag {name:?} already exists on a different version of job {id:?}"
            ));
        }
        let tag = JobVersionTag {
            name: (*name).to_owned(),
            description: body.description,
            tagged_time: ctx.now.wall_ns,
        };
        (version, Some(tag))
    } else {
        return Err(invalid_method());
    };
    let shown = tag.clone().unwrap_or_default();
    let command = Command::JobTag { namespace, id: (*id).to_owned(), version, tag };
    let reply: Reply = Box::new(move |_, index, applied| match applied {
        Applied::Refused(e) => Err(e),
        _ => Ok(Answer::json(&TagResponse {
            description: shown.description,
            index,
            known_leader: false,
            last_contact: 0,
            name: shown.name,
            next_token: "",
            tagged_time: shown.tagged_time,
        })),
    });
    Ok(Outcome::Propose(Box::new(command), reply))
}
