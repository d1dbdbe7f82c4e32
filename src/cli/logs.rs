//! `alloc logs`: what tasks have written, once or as it comes.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use serde_json::Value;

use super::args::Args;
use super::find;
use super::format::{entries, text};
use super::http::{Query, Response};
use super::{Session, Stop, failed};

/// The allocation that is named, or with `-job` one of the job's.
pub(super) fn alloc(session: &mut Session<'_>, args: &Args, name: &str) -> Result<Value, Stop> {
    match args.on("job") {
        true => find::alloc_of_job(session, name, args.value("group")),
        false => {
            if !name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
                session.hint(&format!("For an allocation of the job {name:?} add -job"));
            }
            find::by_id(session, &find::ALLOC, name)?.only()
        }
    }
}

/// Which part of a stream to print.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    All,
    Lines(u64),
    Bytes(u64),
}

/// Bytes that a line is first taken to have when its beginning is looked for from the end.
const LINE_BYTES_GUESS: u64 = 120;

/// How long to look at one stream before the other has its turn.
const TURN: Duration = Duration::from_millis(100);

/// Prints standard output and error of a task.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (subject, task) = (args.at(0), Some(args.at(1)).filter(|t| !t.is_empty()));
    let alloc = alloc(session, args, subject)?;
    let task = task_of(&alloc, args.value("task").or(task))?;
    let part = part(args)?;
    let kinds: &[&str] = match (args.on("stdout"), args.on("stderr")) {
        (true, false) => &["stdout"],
        (false, true) => &["stderr"],
        _ => &["stdout", "stderr"],
    };
    if args.on("f") {
        return follow(session, &alloc, &task, part, kinds);
    }
    for kind in kinds {
        let bytes = whole(session, &alloc, &task, kind, part)?;
        session.write(&bytes);
    }
    Ok(0)
}

pub(super) fn part(args: &Args) -> Result<Part, Stop> {
    let number = |name| args.number(name).map_err(Stop::Usage);
    Ok(match (number("n")?, number("c")?) {
        (Some(_), Some(_)) => {
            return Err(Stop::Usage("Both -n and -c are set; choose one".to_owned()));
        }
        (Some(lines), None) => Part::Lines(lines),
        (None, Some(bytes)) => Part::Bytes(bytes),
        (None, None) if args.on("tail") => Part::Lines(10),
        (None, None) => Part::All,
    })
}

/// The task to read: the one that is named, or the only one.
pub(super) fn task_of(alloc: &Value, named: Option<&str>) -> Result<String, Stop> {
    let tasks: Vec<&str> = entries(alloc, "TaskStates").map(|(name, _)| name).collect();
    if let Some(task) = named {
        return Ok(task.to_owned());
    }
    if let [only] = tasks.as_slice() {
        return Ok((*only).to_owned());
    }
    let id = super::format::short(text(alloc, "ID"), false);
    if tasks.is_empty() {
        return Err(Stop::Error(format!("Allocation \"{id}\" has no task yet, name it by -task")));
    }
    let list: String = tasks.iter().map(|t| format!("  * {t}\n")).collect();
    Err(Stop::Error(format!(
        "Allocation \"{id}\" is running the following tasks:\n{list}\nPlease specify the task."
    )))
}

fn request(alloc: &Value, task: &str, kind: &str) -> (String, Query) {
    let query = Query::default().with("task", task).with("type", kind).with("plain", "true");
    (format!("/v1/client/fs/logs/{}", text(alloc, "ID")), query)
}

/// The wanted part of a stream as it stands now.
fn whole(
    session: &Session<'_>,
    alloc: &Value,
    task: &str,
    kind: &str,
    part: Part,
) -> Result<Vec<u8>, Stop> {
    let get = |from_end: Option<u64>| {
        let (path, mut query) = request(alloc, task, kind);
        if let Some(offset) = from_end {
            query = query.with("origin", "end").with("offset", &offset.to_string());
        }
        session.api.get_raw(&path, query).map_err(failed(&format!("Error reading {kind}")))
    };
    match part {
        Part::All => get(None),
        Part::Bytes(n) => get(Some(n)),
        Part::Lines(n) => {
            let mut offset = n.saturating_mul(LINE_BYTES_GUESS).max(1);
            loop {
                let bytes = get(Some(offset))?;
                let all = (bytes.len() as u64) < offset;
                if let Some(start) = last_lines(&bytes, n, all) {
                    return Ok(bytes.get(start..).unwrap_or_default().to_vec());
                }
                offset = offset.saturating_mul(4);
            }
        }
    }
}

/// Where the last `n` lines begin. `None`: further back than `bytes` reach, and they are not `all`.
pub(super) fn last_lines(bytes: &[u8], n: u64, all: bool) -> Option<usize> {
    if n == 0 {
        return Some(bytes.len());
    }
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut ends = body.iter().enumerate().rev().filter(|(_, b)| **b == b'\n').map(|(i, _)| i);
    let skip = usize::try_from(n - 1).ok()?;
    match ends.nth(skip) {
        Some(at) => Some(at + 1),
        None => all.then_some(0),
    }
}

/// Prints the wanted part and goes on, both streams in turn, until the task's streams end.
fn follow(
    session: &mut Session<'_>,
    alloc: &Value,
    task: &str,
    part: Part,
    kinds: &[&str],
) -> Result<i32, Stop> {
    let mut streams: Vec<Response> = Vec::new();
    for kind in kinds {
        let (path, query) = request(alloc, task, kind);
        let query = query.with("follow", "true");
        let query = match part {
            Part::All => query,
            // Lines are counted first; then the stream goes on from their beginning.
            Part::Lines(_) | Part::Bytes(_) => {
                let back = whole(session, alloc, task, kind, part)?.len();
                query.with("origin", "end").with("offset", &back.to_string())
            }
        };
        let what = format!("Error reading {kind}");
        let stream = session.api.open("GET", &path, query, None).map_err(failed(&what))?;
        if kinds.len() > 1 {
            stream.poll_every(TURN).map_err(|e| format!("{what}: {e}"))?;
        }
        streams.push(stream);
    }
    let mut buffer = [0; 16 * 1024];
    while !streams.is_empty() && session.open {
        let mut ended = Vec::new();
        for (i, stream) in streams.iter_mut().enumerate() {
            match stream.read(&mut buffer) {
                Ok(0) => ended.push(i),
                Ok(n) => session.write(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => ended.push(i),
                Err(e) => return Err(Stop::Error(format!("Error reading: {e}"))),
            }
        }
        for i in ended.into_iter().rev() {
            drop(streams.remove(i));
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_counted_from_the_end() {
        for (text, n, all, start) in [
            ("a\nb\nc\n", 2, false, Some(2)),
            ("a\nb\nc", 2, false, Some(2)),
            ("a\nb\n", 2, false, None),
            ("a\nb\n", 2, true, Some(0)),
            ("a\nb\n", 5, true, Some(0)),
            ("a\nb\n", 0, false, Some(4)),
            ("", 3, true, Some(0)),
        ] {
            assert_eq!(last_lines(text.as_bytes(), n, all), start, "{text:?} {n} {all}");
        }
    }
}
