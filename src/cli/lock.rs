//! `var lock`: runs a command for as long as a variable's lock is held.

use std::os::fd::AsRawFd;
use std::time::Duration;

use serde_json::{Map, json};

use super::args::Args;
use super::format::text;
use super::http::{Failure, Query, escape};
use super::{Session, Stop, failed, http, system};
use crate::os::child::Child;
use crate::os::signals::Signals;
use crate::os::{self, Ready};
use crate::stdx::duration;

const WRONG: &str = "Error acquiring lock";
/// A child that does not end when asked has so long before it is killed, in nanoseconds.
const GRACE_NS: i64 = 5_000_000_000;
/// How long an agent is waited for that is to renew the lock. Signals are not passed on meanwhile.
const SILENCE: Duration = Duration::from_secs(2);

/// A lock that is held.
struct Lock {
    url: String,
    id: String,
    ttl_ns: i64,
    /// Wall clock of the last time that the servers knew us alive.
    heard_ns: i64,
}

/// Takes the lock, runs the command while it is held, and gives it back.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let command = args.positionals.get(1..).unwrap_or_default();
    let mut lock = acquire(session, args)?;
    let outcome = hold(session, args, &mut lock, command);
    let body = json!({ "Lock": { "ID": lock.id } }).to_string();
    let query = Query::default().raw("lock-release");
    let released = session.api.send("PUT", &lock.url, query, Some(body.as_bytes()));
    if let Err(e) = released {
        session.warn(&format!("Error releasing lock, it ends by itself: {e}"));
    }
    outcome
}

/// Waits until the lock is free, and takes it.
fn acquire(session: &mut Session<'_>, args: &Args) -> Result<Lock, Stop> {
    let url = format!("/v1/var/{}", escape(args.at(0)));
    let mut wanted = Map::new();
    for (flag, field) in [("ttl", "TTL"), ("delay", "LockDelay")] {
        if let Some(value) = args.value(flag) {
            if duration::parse(value).is_none() {
                return Err(Stop::Usage(format!("-{flag} takes a duration such as 15s")));
            }
            wanted.insert(field.to_owned(), value.into());
        }
    }
    let tries = args.number("max-retry").map_err(Stop::Usage)?;
    let (mut index, mut failures, mut told) = (0, 0, false);
    loop {
        let query = match index {
            0 => Query::default(),
            _ => Query::default().with("index", &format!("{index}")).with("wait", "10s"),
        };
        // What is in the variable stays in it.
        let items = match session.api.whole("GET", &url, query, None) {
            Ok((at, body)) => {
                index = at;
                http::decode(&body).map_err(failed(WRONG))?.get("Items").cloned()
            }
            Err(Failure::Status(404, _)) => None,
            Err(e) => return Err(failed(WRONG)(e)),
        };
        let body = json!({ "Lock": wanted, "Items": items.unwrap_or_else(|| json!({})) });
        let query = Query::default().raw("lock-acquire");
        match session.api.send("PUT", &url, query, Some(body.to_string().as_bytes())) {
            Ok(variable) => {
                let ttl = text(&variable, "Lock.TTL");
                return Ok(Lock {
                    url,
                    id: text(&variable, "Lock.ID").to_owned(),
                    ttl_ns: duration::parse(ttl).unwrap_or(15_000_000_000),
                    heard_ns: system::wall_ns(),
                });
            }
            Err(Failure::Status(409, _)) => {
                failures += 1;
                if tries.is_some_and(|most| failures > most) {
                    return Err(Stop::Error(format!("{WRONG}: {} is locked", args.at(0))));
                }
                if !std::mem::replace(&mut told, true) {
                    session.warn(&format!("{} is locked, waiting", args.at(0)));
                }
                // The lock of one that went away shows no change before it ends.
                if index == 0 {
                    system::pause(1_000_000_000);
                }
            }
            Err(e) => return Err(failed(WRONG)(e)),
        }
    }
}

/// Runs the command and keeps the lock until it ends; the command's exit status.
fn hold(
    session: &mut Session<'_>,
    args: &Args,
    lock: &mut Lock,
    command: &[String],
) -> Result<i32, Stop> {
    let signals = Signals::for_lock().map_err(|e| e.to_string())?;
    let shell = args.value("shell").and_then(crate::stdx::parse_bool).unwrap_or(true);
    let (program, rest) = match (shell, command) {
        (true, _) => ("/bin/sh", vec!["-c".to_owned(), command.join(" ")]),
        (false, [program, rest @ ..]) => (program.as_str(), rest.to_vec()),
        (false, []) => return Err(Stop::Usage("no command".to_owned())),
    };
    let cannot = |e| Stop::Error(format!("Error running {program}: {}", os::error_text(&e)));
    let mut child = Child::start(program, &rest).map_err(cannot)?;
    session.api.silence = Some(SILENCE);
    let mut renew_at = lock.heard_ns.saturating_add(lock.ttl_ns / 2);
    let mut kill_at = None;
    loop {
        if let Some(code) = child.ended().map_err(|e| e.to_string())? {
            return if kill_at.is_some() { Ok(1) } else { Ok(code) };
        }
        let now = system::wall_ns();
        if kill_at.is_some_and(|at| at <= now) {
            drop(child.signal(libc::SIGKILL));
        }
        if kill_at.is_none() && renew_at <= now {
            match lock.renew(session) {
                Ok(()) => {
                    lock.heard_ns = now;
                    renew_at = now.saturating_add(lock.ttl_ns / 2);
                }
                Err(e) => {
                    let lost = matches!(e, Failure::Status(..) | Failure::Token(..));
                    let now = system::wall_ns();
                    let end = lock.heard_ns.saturating_add(lock.ttl_ns);
                    renew_at = now.saturating_add(1_000_000_000).min(end);
                    if lost || now >= end {
                        session.warn(&format!("The lock is lost, ending the command: {e}"));
                        drop(child.signal(libc::SIGTERM));
                        kill_at = Some(now.saturating_add(GRACE_NS));
                    }
                }
            }
        }
        let due = kill_at.unwrap_or(renew_at).saturating_sub(system::wall_ns()).max(0);
        let wait = i32::try_from(due / 1_000_000 + 1).unwrap_or(i32::MAX);
        let mut watched = [Ready::new(signals.as_raw_fd(), false)];
        os::poll(&mut watched, wait.min(60_000)).map_err(|e| e.to_string())?;
        while let Ok(Some(signal)) = signals.next() {
            if signal != libc::SIGCHLD {
                drop(child.signal(signal));
            }
        }
    }
}

impl Lock {
    fn renew(&self, session: &Session<'_>) -> Result<(), Failure> {
        let body = json!({ "Lock": { "ID": self.id } }).to_string();
        let query = Query::default().raw("lock-renew");
        session.api.send("PUT", &self.url, query, Some(body.as_bytes())).map(drop)
    }
}
