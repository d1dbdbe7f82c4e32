//! What lists of the API's objects show. Columns are specifications of [`format::rows`].

use serde_json::Value;

use super::Session;
use super::format::{self, ago, row, short};
use crate::api::AllocListStub;

pub(super) const ALLOCS: &str = "ID:id|Node ID:id|Task Group|Version=JobVersion\
    |Desired=DesiredStatus|Status=ClientStatus|Created=CreateTime:ago|Modified=ModifyTime:ago";

pub(super) const DEPLOYMENTS: &str =
    "ID:id|Job ID|Job Version|Status|Description=StatusDescription";

pub(super) const EVALS: &str = "ID:id|Priority|Triggered By=TriggeredBy|Job ID|Namespace\
    |Node ID:id|Status|Placement Failures=FailedTGAllocs:any";

/// Two cells are made by [`jobs`].
pub(super) const JOBS: &str = "ID|Type|Priority|Status|Submit Date=SubmitTime:time";

pub(super) const NODES: &str = "ID:id|Node Pool|DC=Datacenter|Name|Class=NodeClass:none|Drain\
    |Eligibility=SchedulingEligibility|Status";

/// The rows of a list of jobs, head first.
pub(super) fn jobs(session: &Session<'_>, jobs: &[Value]) -> Vec<Vec<String>> {
    let mut rows = format::rows(JOBS, jobs, session.look);
    for (cells, job) in rows.iter_mut().skip(1).zip(jobs) {
        cells[1] = kind(
            format::text(job, "Type"),
            format::is(job, "Periodic"),
            format::is(job, "ParameterizedJob"),
        );
        cells[3] = status(format::text(job, "Status"), format::is(job, "Stop"));
    }
    if session.api.namespace == "*" {
        rows[0].insert(1, "Namespace".to_owned());
        for (cells, job) in rows.iter_mut().skip(1).zip(jobs) {
            cells.insert(1, format::text(job, "Namespace").to_owned());
        }
    }
    rows
}

/// `batch/periodic`, `service`.
pub(super) fn kind(kind: &str, periodic: bool, parameterized: bool) -> String {
    let more = match (periodic, parameterized) {
        (true, true) => "/periodic/parameterized",
        (true, false) => "/periodic",
        (false, true) => "/parameterized",
        (false, false) => "",
    };
    format!("{kind}{more}")
}

/// `dead (stopped)`, `running`.
pub(super) fn status(status: &str, stop: bool) -> String {
    if stop { format!("{status} (stopped)") } else { status.to_owned() }
}

/// The rows of a list of allocations, head first.
pub(super) fn allocs(allocs: &[AllocListStub], verbose: bool, now: i64) -> Vec<Vec<String>> {
    let mut rows = vec![row([
        "ID",
        "Node ID",
        "Task Group",
        "Version",
        "Desired",
        "Status",
        "Created",
        "Modified",
    ])];
    for a in allocs {
        rows.push(row([
            &short(&a.id, verbose),
            &short(&a.node_id, verbose),
            &a.task_group,
            &a.job_version.to_string(),
            &a.desired_status,
            &a.client_status,
            &ago(a.create_time, now),
            &ago(a.modify_time, now),
        ]));
    }
    rows
}
