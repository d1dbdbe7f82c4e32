//! From what a person types to one object: ids, prefixes, and what to say when it is not one.

use super::format::{row, short, table};
use super::http::Query;
use super::{Session, Stop, failed};
use crate::api::{AllocListStub, JobListStub, NodeListStub};

/// The object, or the text that names the candidates of an ambiguous prefix.
pub(super) enum Found<T> {
    One(T),
    Several(String),
}

/// A job by id, else by unique prefix. `Ok(None)`: there is none.
pub(super) fn job(session: &Session<'_>, id: &str) -> Result<Option<Found<JobListStub>>, Stop> {
    let query = Query::default().with("prefix", id);
    let mut jobs: Vec<JobListStub> =
        session.api.get("/v1/jobs", query).map_err(failed("Error querying jobs"))?;
    if let Some(at) = jobs.iter().position(|j| j.id == id) {
        return Ok(Some(Found::One(jobs.swap_remove(at))));
    }
    if jobs.len() > 1 {
        let rows = super::job_status::list_rows(&jobs, session.api.namespace == "*");
        return Ok(Some(Found::Several(format!(
            "Prefix matched multiple jobs\n\n{}",
            table(&rows)
        ))));
    }
    Ok(jobs.pop().map(Found::One))
}

/// A node by id or prefix.
pub(super) fn node(session: &Session<'_>, id: &str) -> Result<Found<NodeListStub>, Stop> {
    let Some(prefix) = hex_prefix(id)? else {
        return Err(Stop::Error(format!("No node(s) with prefix or id \"{id}\" found")));
    };
    let query = Query::default().with("prefix", &prefix);
    let nodes: Vec<NodeListStub> =
        session.api.get("/v1/nodes", query).map_err(failed("Error querying node info"))?;
    let mut nodes: Vec<_> = nodes.into_iter().filter(|n| n.id.starts_with(id)).collect();
    if nodes.len() > 1 {
        let mut rows =
            vec![row(["ID", "Datacenter", "Name", "Class", "Drain", "Eligibility", "Status"])];
        for n in &nodes {
            let drain = if n.drain { "true" } else { "false" };
            rows.push(row([
                &n.id,
                &n.datacenter,
                &n.name,
                dash(&n.node_class),
                drain,
                &n.scheduling_eligibility,
                &n.status,
            ]));
        }
        return Ok(Found::Several(format!("Prefix matched multiple nodes\n\n{}", table(&rows))));
    }
    nodes
        .pop()
        .map(Found::One)
        .ok_or_else(|| Stop::Error(format!("No node(s) with prefix or id \"{id}\" found")))
}

/// An allocation by id or prefix.
pub(super) fn alloc(session: &Session<'_>, id: &str) -> Result<Found<AllocListStub>, Stop> {
    let none = || Stop::Error(format!("No allocation(s) with prefix or id \"{id}\" found"));
    let prefix = hex_prefix(id)?.ok_or_else(none)?;
    let query = Query::default().with("prefix", &prefix);
    let allocs: Vec<AllocListStub> =
        session.api.get("/v1/allocations", query).map_err(failed("Error querying allocation"))?;
    let mut allocs: Vec<_> = allocs.into_iter().filter(|a| a.id.starts_with(id)).collect();
    if allocs.len() > 1 {
        let rows = super::alloc::list_rows(&allocs, true, super::system::wall_ns());
        let text = format!("Prefix matched multiple allocations\n\n{}", table(&rows));
        return Ok(Found::Several(text));
    }
    allocs.pop().map(Found::One).ok_or_else(none)
}

/// An allocation of a job: one that runs, else the newest.
pub(super) fn alloc_of_job(session: &Session<'_>, id: &str) -> Result<AllocListStub, Stop> {
    let missing = || Stop::Error(format!("No job(s) with prefix or ID \"{id}\" found"));
    let job = match job(session, id)?.ok_or_else(missing)? {
        Found::One(job) => job,
        Found::Several(text) => return Err(Stop::Error(text)),
    };
    let path = format!("/v1/job/{}/allocations", super::http::escape(&job.id));
    let query = Query::default();
    let allocs: Vec<AllocListStub> =
        session.api.get(&path, query).map_err(failed("Error querying job's allocations"))?;
    let best = allocs.into_iter().max_by_key(|a| (a.client_status == "running", a.create_index));
    best.ok_or_else(|| Stop::Error(format!("No allocations for job \"{}\" found", job.id)))
}

/// A prefix that the API takes: whole bytes. `None`: no id can begin like that.
fn hex_prefix(id: &str) -> Result<Option<String>, Stop> {
    let digits = id.bytes().filter(|b| *b != b'-').count();
    if digits < 2 {
        return Err(Stop::Error("Identifier must contain at least two characters.".to_owned()));
    }
    if id.len() > 36 || !id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Ok(None);
    }
    let cut = if digits % 2 == 1 { &id[..id.len() - 1] } else { id };
    Ok(Some(cut.trim_end_matches('-').to_owned()))
}

/// What an empty cell is shown as.
pub(super) fn dash(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// Ids in a sentence: short unless `verbose`, in quotes.
pub(super) fn quoted(id: &str, verbose: bool) -> String {
    format!("\"{}\"", short(id, verbose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_cut_to_whole_bytes() {
        for (id, prefix) in [
            ("ab", Some("ab")),
            ("abc", Some("ab")),
            ("01234567-8", Some("01234567")),
            ("01234567-89", Some("01234567-89")),
            ("zz", None),
        ] {
            assert_eq!(hex_prefix(id).ok().flatten().as_deref(), prefix, "{id}");
        }
        assert!(hex_prefix("a").is_err());
    }
}
