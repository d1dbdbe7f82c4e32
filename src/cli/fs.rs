//! `alloc fs`: directories and files of an allocation.

use std::io::Read;

use super::args::Args;
use super::format::{bytes, int, is, list, nanos, row, table, text, time};
use super::http::Query;
use super::logs::{self, Part};
use super::{Session, Stop, failed};

/// Shows a directory, or prints a file.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let alloc = logs::alloc(session, args, args.at(0))?;
    let id = text(&alloc, "ID");
    let path = if args.at(1).is_empty() { "/" } else { args.at(1) };
    let url = |what: &str| format!("/v1/client/fs/{what}/{id}");
    let query = Query::default().with("path", path);
    let stat = session.get(&url("stat"), query.clone(), "Error reading file")?;
    let size = |n: i64| match args.on("H") {
        true => bytes(u64::try_from(n).unwrap_or(0)),
        false => n.to_string(),
    };
    let line = |v: &serde_json::Value| {
        let end = if is(v, "IsDir") { "/" } else { "" };
        let name = format!("{}{end}", text(v, "Name"));
        row([text(v, "FileMode"), &size(int(v, "Size")), &time(nanos(&v["ModTime"])), &name])
    };
    let head = row(["Mode", "Size", "Modified Time", "Name"]);
    if args.on("stat") {
        session.say(&table(&[head, line(&stat)]));
        return Ok(0);
    }
    if is(&stat, "IsDir") {
        let all = session.get(&url("ls"), query, "Error listing directory")?;
        let rows: Vec<Vec<String>> =
            std::iter::once(head).chain(list(&all, "").iter().map(line)).collect();
        session.say(&table(&rows));
        return Ok(0);
    }
    let wrong = "Error reading file";
    let whole = || session.api.get_raw(&url("cat"), query.clone()).map_err(failed(wrong));
    let start = match logs::part(args)? {
        Part::All => 0,
        Part::Bytes(n) => int(&stat, "Size").saturating_sub(i64::try_from(n).unwrap_or(i64::MAX)),
        Part::Lines(n) => {
            let start = logs::last_lines(&whole()?, n, true).unwrap_or(0);
            i64::try_from(start).unwrap_or(0)
        }
    }
    .max(0);
    if args.on("f") {
        let query = query.with("origin", "start").with("offset", &start.to_string());
        let query = query.with("plain", "true").with("follow", "true");
        let mut stream =
            session.api.open("GET", &url("stream"), query, None).map_err(failed(wrong))?;
        let mut buffer = [0; 16 * 1024];
        while session.open {
            match stream.read(&mut buffer).map_err(|e| format!("{wrong}: {e}"))? {
                0 => break,
                n => session.write(&buffer[..n]),
            }
        }
        return Ok(0);
    }
    let all = whole()?;
    let start = usize::try_from(start).unwrap_or(0);
    session.write(all.get(start..).unwrap_or_default());
    Ok(0)
}
