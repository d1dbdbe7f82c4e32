//! From what a person types to one object: ids, prefixes, and what to say when it is not one.

use serde_json::Value;

use super::format::{Look, columns, list, short, text};
use super::http::Query;
use super::{Session, Stop, lists};

/// Objects that are found by the beginning of their id.
pub(super) struct Kind {
    /// As it is called in sentences.
    noun: &'static str,
    path: &'static str,
    /// Where a request for them fails.
    wrong: &'static str,
    /// Of the table of candidates.
    columns: &'static str,
}

pub(super) const ALLOC: Kind = Kind {
    noun: "allocation",
    path: "/v1/allocations",
    wrong: "Error querying allocation",
    columns: lists::ALLOCS,
};
pub(super) const NODE: Kind = Kind {
    noun: "node",
    path: "/v1/nodes",
    wrong: "Error querying node info",
    columns: "ID|Datacenter|Name|Class=NodeClass:none|Drain\
        |Eligibility=SchedulingEligibility|Status",
};
pub(super) const EVAL: Kind = Kind {
    noun: "evaluation",
    path: "/v1/evaluations",
    wrong: "Error querying evaluation",
    columns: "ID|Priority|Triggered By=TriggeredBy|Status",
};
pub(super) const DEPLOYMENT: Kind = Kind {
    noun: "deployment",
    path: "/v1/deployments",
    wrong: "Error querying deployment",
    columns: lists::DEPLOYMENTS,
};

/// The object, or the text that names the candidates of an ambiguous prefix.
pub(super) enum Found {
    One(Value),
    Several(String),
}

impl Found {
    /// The object; the candidates are shown.
    pub(super) fn or_candidates(self, session: &mut Session<'_>) -> Option<Value> {
        match self {
            Self::One(value) => Some(value),
            Self::Several(text) => {
                session.say(&text);
                None
            }
        }
    }

    /// The object; the candidates are an error.
    pub(super) fn only(self) -> Result<Value, Stop> {
        match self {
            Self::One(value) => Ok(value),
            Self::Several(text) => Err(Stop::Error(text)),
        }
    }
}

fn several(noun: &str, table: &str) -> Found {
    Found::Several(format!("Prefix matched multiple {noun}s\n\n{table}"))
}

/// A job by id, else by unique prefix. `Ok(None)`: there is none.
pub(super) fn job_or_none(session: &Session<'_>, id: &str) -> Result<Option<Found>, Stop> {
    let query = Query::default().with("prefix", id);
    let jobs = session.get("/v1/jobs", query, "Error querying jobs")?;
    let jobs = list(&jobs, "");
    if let Some(job) = jobs.iter().find(|j| text(j, "ID") == id) {
        return Ok(Some(Found::One(job.clone())));
    }
    Ok(match jobs {
        [] => None,
        [job] => Some(Found::One(job.clone())),
        _ => {
            let rows = lists::jobs(session, jobs);
            Some(several("job", &super::format::table(&rows)))
        }
    })
}

/// A job that there must be. From here on its namespace is the one that is worked in.
pub(super) fn job(session: &mut Session<'_>, id: &str) -> Result<Value, Stop> {
    let missing = || Stop::Error(format!("No job(s) with prefix or ID \"{id}\" found"));
    let job = job_or_none(session, id)?.ok_or_else(missing)?.only()?;
    enter(session, &job);
    Ok(job)
}

/// Works in the namespace of a job, unless one was asked for.
pub(super) fn enter(session: &mut Session<'_>, job: &Value) {
    if session.api.namespace.is_empty() || session.api.namespace == "*" {
        text(job, "Namespace").clone_into(&mut session.api.namespace);
    }
}

/// `/v1/job/<id>` of a job.
pub(super) fn job_path(job: &Value) -> String {
    format!("/v1/job/{}", super::http::escape(text(job, "ID")))
}

/// An object by id or prefix.
pub(super) fn by_id(session: &Session<'_>, kind: &Kind, id: &str) -> Result<Found, Stop> {
    let none = || Stop::Error(format!("No {}(s) with prefix or id \"{id}\" found", kind.noun));
    let prefix = hex_prefix(id)?.ok_or_else(none)?;
    let query = Query::default().with("prefix", &prefix);
    let query = match session.api.namespace.as_str() {
        // Ids are unique: whose they are need not be said.
        "" => query.with("namespace", "*"),
        _ => query,
    };
    let all = session.get(kind.path, query, kind.wrong)?;
    let mut all: Vec<Value> =
        list(&all, "").iter().filter(|v| text(v, "ID").starts_with(id)).cloned().collect();
    if all.len() > 1 {
        let look = Look { verbose: true, ..session.look };
        return Ok(several(kind.noun, &columns(kind.columns, &all, look)));
    }
    all.pop().map(Found::One).ok_or_else(none)
}

/// The full id of an object that there must be.
pub(super) fn id(session: &Session<'_>, kind: &Kind, id: &str) -> Result<String, Stop> {
    by_id(session, kind, id)?.only().map(|v| text(&v, "ID").to_owned())
}

/// An allocation of a job, or of one of its groups: one that runs, else the newest.
pub(super) fn alloc_of_job(
    session: &mut Session<'_>,
    id: &str,
    group: Option<&str>,
) -> Result<Value, Stop> {
    let job = job(session, id)?;
    let path = format!("{}/allocations", job_path(&job));
    let all = session.get(&path, Query::default(), "Error querying job's allocations")?;
    let rank =
        |a: &&Value| (text(a, "ClientStatus") == "running", super::format::int(a, "CreateIndex"));
    let fits = |a: &&Value| group.is_none_or(|g| text(a, "TaskGroup") == g);
    let best = list(&all, "").iter().filter(fits).max_by_key(rank).cloned();
    let id = text(&job, "ID");
    best.ok_or_else(|| Stop::Error(format!("No allocations for job \"{id}\" found")))
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
