//! `operator snapshot`: the whole state as a file, from an agent or from its directory.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::args::Args;
use super::format::{at, plain, table};
use super::http::{self, Query};
use super::{Session, Stop, failed, stored, system};
use crate::agent::offline;

const PATH: &str = "/v1/operator/snapshot";

/// Writes the whole state into a file.
pub(super) fn save(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let made = format!("vardo-{}.snap", session.look.now / 1_000_000_000);
    let path = Some(args.at(0)).filter(|p| !p.is_empty()).unwrap_or(&made);
    let mut file = system::create_file(path, 0o600)?;
    if let Err(stop) = write(session, args, &mut file) {
        drop(std::fs::remove_file(path));
        return Err(stop);
    }
    session.say(&format!("State file written to {path}"));
    Ok(0)
}

fn write(session: &Session<'_>, args: &Args, file: &mut File) -> Result<(), Stop> {
    if let Some(dir) = args.value("data-dir") {
        let wrong = |why| Stop::Error(format!("Failed to save the state: {why}"));
        return offline::save(Path::new(dir), file).map_err(wrong);
    }
    let wrong = "Failed to get snapshot file from the servers";
    let stale = if args.on("stale") { "true" } else { "" };
    let query = Query::default().with("stale", stale);
    let mut body = session.api.open("GET", PATH, query, None).map_err(failed(wrong))?;
    let broken = |e: std::io::Error| Stop::Error(format!("{wrong}: {e}"));
    std::io::copy(&mut body, file).map_err(broken)?;
    file.sync_all().map_err(broken)?;
    std::io::Seek::rewind(file).map_err(broken)?;
    let wrong = |why| Stop::Error(format!("The snapshot that came is not right: {why}"));
    offline::inspect(file).map(drop).map_err(wrong)
}

/// Says what is in a snapshot, without a server.
pub(super) fn inspect(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = |why: String| Stop::Error(format!("Error reading snapshot: {why}"));
    let (meta, tables) = offline::inspect(&mut open(args.at(0))?).map_err(wrong)?;
    let meta = http::decode(&meta).map_err(failed("Error reading snapshot"))?;
    let facts = ["ID", "Size", "Index", "Term", "Version"];
    let facts = facts.map(|name| vec![name.to_owned(), plain(at(&meta, name))]);
    session.say(&table(&facts));
    let mut rows = vec![["Type", "Count", "Size"].map(str::to_owned).to_vec()];
    let bytes = tables.iter().map(|(_, _, bytes)| bytes).sum::<usize>();
    let of = |(name, count, bytes): (&str, usize, usize)| {
        vec![name.to_owned(), count.to_string(), bytes.to_string()]
    };
    rows.extend(tables.into_iter().map(of));
    rows.push(vec!["Total".to_owned(), String::new(), bytes.to_string()]);
    session.say(&format!("\n{}", table(&rows)));
    Ok(0)
}

/// Prints the rows in a snapshot, without a server.
pub(super) fn state(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = |why: String| Stop::Error(format!("Error reading snapshot: {why}"));
    // Nothing is shown of what is not right.
    let mut file = open(args.at(0))?;
    offline::inspect(&mut file).map_err(wrong)?;
    let mut file = open(args.at(0))?;
    stored::rows(session, &mut |to| offline::show(&mut file, to)).map_err(wrong)
}

/// Takes keys and other secrets out of a snapshot, without a server.
pub(super) fn redact(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = args.at(0);
    let beside = format!("{path}.redacted");
    let done = offline::redact(Path::new(path), &mut system::create_file(&beside, 0o600)?)
        .and_then(|()| std::fs::rename(&beside, path).map_err(|e| e.to_string()));
    if let Err(why) = done {
        drop(std::fs::remove_file(&beside));
        return Err(Stop::Error(format!("Error redacting snapshot: {why}")));
    }
    session.say(&format!("Secrets were taken out of {path}"));
    Ok(0)
}

fn open(path: &str) -> Result<Box<dyn Read>, Stop> {
    match path {
        "-" => Ok(Box::new(std::io::stdin())),
        _ => {
            let file = File::open(path).map_err(|e| Stop::Error(format!("{path}: {e}")))?;
            Ok(Box::new(std::io::BufReader::new(file)))
        }
    }
}

/// Replaces the whole state.
pub(super) fn restore(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Failed to restore snapshot";
    let mut file = open(args.at(0))?;
    if let Some(dir) = args.value("data-dir") {
        let wrong = |why| Stop::Error(format!("{wrong}: {why}"));
        offline::restore(Path::new(dir), &mut file).map_err(wrong)?;
    } else {
        session.api.send_from("PUT", PATH, &mut file).map_err(failed(wrong))?;
    }
    session.say("Snapshot Restored");
    Ok(0)
}
