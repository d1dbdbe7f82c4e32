//! Commands that are one request and one table, as rows of the table of commands describe them.

use super::args::Args;
use super::format::{columns, fields, list as items};
use super::http::{Query, escape};
use super::{Session, Stop, failed, http};

/// Parameters of lists that flags carry as they are.
const CARRIED: &[(&str, &str)] = &[
    ("filter", "filter"),
    ("per-page", "per_page"),
    ("page-token", "next_token"),
    ("job", "job"),
    ("type", "type"),
    ("status", "status"),
    ("prefix", "prefix"),
    ("all", "all"),
    ("check-index", "cas"),
];

/// The flags that a request carries as they are.
pub(super) fn query(args: &Args) -> Query {
    CARRIED.iter().fold(Query::default(), |query, (flag, name)| {
        query.with(name, args.value(flag).unwrap_or_default())
    })
}

/// A path or sentence with the arguments in the place of `{0}`, `{1}`; each through `coded`.
fn filled(text: &str, args: &Args, coded: fn(&str) -> String) -> String {
    let mut out = text.to_owned();
    for (i, given) in args.positionals.iter().enumerate() {
        out = out.replace(&format!("{{{i}}}"), &coded(given));
    }
    out
}

/// A list as a table: what is asked for (plural), path and columns.
pub(super) fn list(
    session: &mut Session<'_>,
    args: &Args,
    what: &str,
    path: &str,
    specs: &str,
) -> Result<i32, Stop> {
    let wrong = format!("Error querying {what}");
    let path = filled(path, args, escape);
    let body = session.api.get_raw(&path, query(args)).map_err(failed(&wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed(&wrong))?;
    match items(&all, "") {
        [] => session.say(&format!("No {what} found")),
        rows => session.say(&columns(specs, rows, session.look)),
    }
    Ok(0)
}

/// An object as a key-value list: what is asked for (singular), path and lines.
pub(super) fn one(
    session: &mut Session<'_>,
    args: &Args,
    what: &str,
    path: &str,
    specs: &str,
) -> Result<i32, Stop> {
    let wrong = format!("Error querying {what}");
    let path = filled(path, args, escape);
    let body = session.api.get_raw(&path, query(args)).map_err(failed(&wrong))?;
    if !session.shaped(args, &body)? {
        let value = http::decode(&body).map_err(failed(&wrong))?;
        session.say(&fields(specs, &value, session.look));
    }
    Ok(0)
}

/// A request without a body: what goes wrong, method and path, and what is said where it does not.
pub(super) fn send(
    session: &mut Session<'_>,
    args: &Args,
    what: &str,
    (method, path): (&str, &str),
    said: &str,
) -> Result<i32, Stop> {
    let path = filled(path, args, escape);
    let what = format!("Error {what}");
    session.api.send(method, &path, query(args), None).map_err(failed(&what))?;
    if !said.is_empty() {
        session.say(&filled(said, args, str::to_owned));
    }
    Ok(0)
}
