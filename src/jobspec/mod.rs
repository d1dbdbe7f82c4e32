//! What becomes of a job that is handed in: defaults, checks, warnings.
//!
//! Pure: objects of the API in, objects of the API and texts out (contract: schemas-job). Register,
//! validate and plan all pass through [`admit`], so they cannot disagree.

pub mod cron;
mod defaults;
pub mod diff;
mod group;
pub mod hcl;
mod implied;
mod service;
mod task;
mod validate;
mod warnings;

use std::rc::Rc;

use crate::api::{ApiError, Job, Namespace, multi_error};
use crate::stdx::zone::Zones;

/// What the cluster says about a job that is handed in.
pub struct AdmitCtx<'a> {
    /// Region of this agent; stands in for an empty one and for `global`.
    pub region: &'a str,
    /// `job_default_priority`: for a priority of zero.
    pub priority_default: i64,
    /// `job_max_priority`.
    pub priority_max: i64,
    /// `job_max_count`: most allocations that all groups of a job may ask for together.
    pub count_max: i64,
    /// Of the scheduler's configuration; without it `memory_max` earns a warning.
    pub memory_oversubscription: bool,
    /// The namespace by its name, `None` where there is none.
    pub namespace: &'a dyn Fn(&str) -> Option<Rc<Namespace>>,
    /// The time zones of this machine.
    pub zones: Zones,
    /// Whether a node pool exists.
    pub pool_exists: &'a dyn Fn(&str) -> bool,
}

/// A job as it is stored with its warnings, or all that is wrong with it.
pub type Admitted = Result<(Job, Vec<String>), Vec<String>>;

/// Fills defaults, adds implied constraints and checks the job.
///
/// Returns the job as it is stored and the warnings that go with it. The error lists every
/// problem, in the order in which the reference reports them; [`refusal`] makes the answer of it.
pub fn admit(mut job: Job, ctx: &AdmitCtx<'_>) -> Admitted {
    defaults::job(&mut job, ctx);
    implied::constraints(&mut job);
    let errors = validate::job(&job, ctx);
    if !errors.is_empty() {
        return Err(errors);
    }
    let warnings = warnings::job(&job, ctx.memory_oversubscription);
    Ok((job, warnings))
}

/// The answer to a job that was refused: 500 with all problems.
pub fn refusal(errors: &[String]) -> ApiError {
    ApiError::failed(multi_error(errors))
}

/// `1 warning:\n\n* a` or `2 warnings:\n\n* a\n* b`; empty without warnings.
pub fn join_warnings(warnings: &[String]) -> String {
    let mut out = match warnings.len() {
        0 => return String::new(),
        1 => "1 warning:\n".to_owned(),
        n => format!("{n} warnings:\n"),
    };
    for w in warnings {
        out.push_str("\n* ");
        out.push_str(w);
    }
    out
}

/// Nested problems as one line of the outer list; `None` without any.
fn nested(what: &str, errors: &[String]) -> Option<String> {
    (!errors.is_empty()).then(|| format!("{what} {}", multi_error(errors)))
}
