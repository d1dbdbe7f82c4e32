//! `/v1/jobs/parse`: a job file in HCL, as the API prints jobs.

use serde_json::json;

use super::{Ctx, Result, write_only};
use crate::api::ApiError;
use crate::jobspec::hcl::{self, Inputs};
use crate::limits::HCL_SERVER_BYTES_MAX;
use crate::routes::Answer;
use crate::stdx::json::records;

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct Body {
    #[serde(rename = "JobHCL")]
    job_hcl: String,
    /// Text of a file of variables.
    variables: String,
    canonicalize: bool,
}
}

/// What the file is called in diagnostics.
const NAME: &str = "input.hcl";

pub(in crate::routes) fn parse(ctx: &mut Ctx<'_>) -> Result {
    write_only(ctx)?;
    let body: Body = ctx.body()?;
    if body.job_hcl.is_empty() {
        return Err(ApiError::bad("Job spec is empty"));
    }
    for (what, text) in [("job file", &body.job_hcl), ("file of variables", &body.variables)] {
        if text.len() > HCL_SERVER_BYTES_MAX {
            return Err(ApiError::bad(format!(
                "the {what} has {} bytes, and servers parse {HCL_SERVER_BYTES_MAX} at most: parse \
                 it by the command line (vardo job run -output)",
                text.len()
            )));
        }
    }
    let files = [("variables".to_owned(), body.variables)];
    let inputs = Inputs { files: &files, strict: true, ..Inputs::default() };
    let mut job = hcl::job(&body.job_hcl, &inputs, None).map_err(|wrong| {
        let lines = hcl::lines(NAME, &body.job_hcl, &wrong);
        ApiError::bad(format!("Failed to parse job: {lines}"))
    })?;
    if body.canonicalize {
        hcl::canonical(&mut job);
    }
    Ok(Answer::json(&json!(job)).into())
}
