//! `search`: objects of all kinds by a part of their names.

use serde_json::{Value, json};

use super::args::Args;
use super::format::{self, entries, list, plain, table};
use super::http::Query;
use super::{Session, Stop, failed, http};

/// Shows what has a name or an id like the text.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error searching";
    let context = args.value("context").unwrap_or("all");
    let body = json!({ "Text": args.at(0), "Context": context }).to_string();
    let path = "/v1/search/fuzzy";
    let (_, answer) = session
        .api
        .whole("PUT", path, Query::default(), Some(body.as_bytes()))
        .map_err(failed(wrong))?;
    if session.shaped(args, &answer)? {
        return Ok(0);
    }
    let found = http::decode(&answer).map_err(failed(wrong))?;
    let mut rows = vec![format::row(["Kind", "Name", "Where"])];
    for (kind, matches) in entries(&found, "Matches") {
        for one in list(matches, "") {
            let scope: Vec<String> = list(one, "Scope").iter().map(plain).collect();
            rows.push(vec![kind.to_owned(), plain(format::at(one, "ID")), scope.join(" ")]);
        }
    }
    match rows.len() {
        1 => session.say("Nothing found"),
        _ => session.say(&table(&rows)),
    }
    let cut = entries(&found, "Truncations").any(|(_, v)| *v == Value::Bool(true));
    if cut {
        session.warn("There is more: say more of the name, or name its kind by -context");
    }
    Ok(0)
}
