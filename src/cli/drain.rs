//! `node drain` and `node eligibility`.

use serde_json::{Value, json};

use super::args::Args;
use super::find;
use super::http::Query;
use super::{Session, Stop, failed, node};
use crate::api::{AllocListStub, Node, status};
use crate::stdx::duration;

/// How long an emptying without further words may take.
const DEADLINE_NS: i64 = 3600 * 1_000_000_000;

/// Switches a drain on or off, or follows one.
pub(super) fn drain(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (on, off, watch) = (args.on("enable"), args.on("disable"), args.on("monitor"));
    if usize::from(on) + usize::from(off) + usize::from(watch && !on) != 1 {
        let text = "Exactly one of -enable, -disable and -monitor must be given";
        return Err(Stop::Usage(text.to_owned()));
    }
    let deadline = deadline(args)?;
    let id = chosen(session, args)?;
    let path = format!("/v1/node/{}", id);
    if on || off {
        let spec = on
            .then(|| json!({ "Deadline": deadline, "IgnoreSystemJobs": args.on("ignore-system") }));
        let mut meta = serde_json::Map::new();
        if let Some(text) = args.value("m") {
            meta.insert("message".to_owned(), text.into());
        }
        for (key, value) in args.all("meta").filter_map(|m| m.split_once('=')) {
            meta.insert(key.to_owned(), value.into());
        }
        let body = json!({
            "DrainSpec": spec,
            "MarkEligible": off && !args.on("keep-ineligible"),
            "Meta": if meta.is_empty() { Value::Null } else { Value::Object(meta) },
        });
        session.put(
            &format!("{path}/drain"),
            Query::default(),
            &body,
            "Error updating drain specification",
        )?;
        let what = if on { "set" } else { "unset" };
        session.say(&format!("Node \"{}\" drain strategy {what}", id));
    }
    if off || args.on("detach") {
        return Ok(0);
    }
    follow(session, &id, &path, args.on("ignore-system"))
}

/// Lets a node take work, or nothing new.
pub(super) fn eligibility(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let to = match (args.on("enable"), args.on("disable")) {
        (true, false) => status::NODE_ELIGIBLE,
        (false, true) => status::NODE_INELIGIBLE,
        _ => {
            let text = "Exactly one of -enable and -disable must be given";
            return Err(Stop::Usage(text.to_owned()));
        }
    };
    let id = chosen(session, args)?;
    let path = format!("/v1/node/{}/eligibility", id);
    let body = json!({ "Eligibility": to });
    session.put(&path, Query::default(), &body, "Error updating scheduling eligibility")?;
    session.say(&format!("Node \"{id}\" scheduling eligibility set: {to} for scheduling"));
    Ok(0)
}

fn deadline(args: &Args) -> Result<i64, Stop> {
    let given = args.value("deadline");
    match (args.on("force"), args.on("no-deadline"), given) {
        (true, false, None) => Ok(-1),
        (false, true, None) => Ok(0),
        (false, false, None) => Ok(DEADLINE_NS),
        (false, false, Some(text)) => duration::parse(text).filter(|ns| *ns > 0).ok_or_else(|| {
            Stop::Error(format!("-deadline wants a duration such as 10m, not {text:?}"))
        }),
        _ => {
            let text = "-force, -no-deadline and -deadline exclude each other";
            Err(Stop::Usage(text.to_owned()))
        }
    }
}

/// The id of the node that is named, or of the agent's own.
fn chosen(session: &Session<'_>, args: &Args) -> Result<String, Stop> {
    let id = match args.at(0) {
        "" if args.on("self") => return node::own_id(session),
        id if !id.is_empty() && !args.on("self") => id,
        _ => {
            let text = "This command takes one argument: <node>, or -self";
            return Err(Stop::Usage(text.to_owned()));
        }
    };
    find::id(session, &find::NODE, id)
}

/// Tells what leaves, until the drain is over.
fn follow(session: &mut Session<'_>, id: &str, path: &str, quiet: bool) -> Result<i32, Stop> {
    let mut seen = 0;
    let mut told: Vec<AllocListStub> = Vec::new();
    while session.open {
        let query = Query::default().with("index", &seen.to_string()).with("wait", "2s");
        let (index, about): (u64, Node) =
            session.api.read_indexed(path, query).map_err(failed("Error monitoring node"))?;
        seen = index;
        let now = node::allocations(session, id)?;
        for alloc in &now {
            let before = told.iter().find(|a| a.id == alloc.id);
            let before = before.map_or("", |a| a.client_status.as_str());
            if !before.is_empty() && before != alloc.client_status {
                let after = &alloc.client_status;
                session.say(&format!("Alloc \"{}\" status {before} -> {after}", alloc.id));
            }
        }
        told = now;
        if about.drain_strategy.is_none() {
            let last = about.last_drain.map(|l| l.status).unwrap_or_default();
            let how = match last.as_str() {
                status::DRAIN_COMPLETE if quiet => "drain complete (system jobs stay)",
                status::DRAIN_COMPLETE => "drain complete",
                status::DRAIN_CANCELED => "drain canceled",
                _ => "is not draining",
            };
            session.say(&format!("Node \"{id}\" {how}"));
            return Ok(i32::from(last != status::DRAIN_COMPLETE));
        }
    }
    Ok(0)
}
