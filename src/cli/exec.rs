//! `alloc exec` and `job action`: a command in a task, with this terminal or these pipes as its
//! own.
//!
//! One thread waits for whatever comes next. Keys are read only once those before them are sent,
//! so that neither side can hold the other up.

use std::io::{IsTerminal, Read};
use std::os::fd::{AsFd, AsRawFd};

use serde_json::Value;

use super::args::Args;
use super::find;
use super::format::{int, list, text};
use super::http::{Failure, Query, Response};
use super::{Session, Stop, failed, logs, system};
use crate::http::websocket::{self, Decoder, Kind};
use crate::os::signals::Signals;
use crate::os::terminal::{self, Raw};
use crate::os::{self, Ready, entropy};
use crate::stdx::Entropy;
use crate::stdx::json::Bytes;

/// How often the agent hears that this side lives, in nanoseconds. Source: the API's clients.
const BEAT_NS: i64 = 10_000_000_000;
/// Keys that are sent at once, in bytes.
const PIECE_BYTES: usize = 4096;

/// Runs a command in the task that is named, or the only one.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (subject, command) = (args.at(0), args.positionals.get(1..).unwrap_or_default());
    let alloc = logs::alloc(session, args, subject)?;
    let task = logs::task_of(&alloc, args.value("task"))?;
    let command = Value::from(command.to_vec()).to_string();
    let query = Query::default().with("task", &task).with("command", &command);
    let path = format!("/v1/client/allocation/{}/exec", text(&alloc, "ID"));
    talk(session, args, &path, query)
}

/// Runs a command that a job holds ready.
pub(super) fn action(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let action = args.at(0);
    let (Some(job), named) = (args.value("job"), args.value("alloc")) else {
        return Err(Stop::Usage("Name the job of the action by -job".to_owned()));
    };
    let job = find::job(session, job)?;
    let path = find::job_path(&job);
    let actions = session.get(&format!("{path}/actions"), Query::default(), "Error reading job")?;
    let fits = |a: &&Value| {
        let is = |key, flag| args.value(flag).is_none_or(|wanted| text(a, key) == wanted);
        text(a, "Name") == action && is("TaskName", "task") && is("TaskGroupName", "group")
    };
    let found: Vec<&Value> = list(&actions, "").iter().filter(fits).collect();
    let [found] = found.as_slice() else {
        let id = text(&job, "ID");
        return Err(Stop::Error(match found.len() {
            0 => format!("Job \"{id}\" has no action \"{action}\""),
            _ => {
                let several = format!("Several tasks of job \"{id}\" have an action \"{action}\"");
                format!("{several}: name one by -task and -group")
            }
        }));
    };
    let group = text(found, "TaskGroupName");
    let alloc = match named {
        Some(id) => find::id(session, &find::ALLOC, id)?,
        None => {
            let query = Query::default();
            let wrong = "Error querying job's allocations";
            let allocs = session.get(&format!("{path}/allocations"), query, wrong)?;
            let runs =
                |a: &&Value| text(a, "TaskGroup") == group && text(a, "ClientStatus") == "running";
            let newest =
                list(&allocs, "").iter().filter(runs).max_by_key(|a| int(a, "CreateIndex"));
            let none = || format!("No allocation of group \"{group}\" runs");
            text(newest.ok_or_else(none)?, "ID").to_owned()
        }
    };
    let query = Query::default().with("action", action).with("allocID", &alloc);
    let query = query.with("task", text(found, "TaskName")).with("group", group);
    talk(session, args, &format!("{path}/action"), query)
}

/// What the other side said last.
enum Heard {
    Nothing,
    Exited(i32),
}

/// Both directions of a conversation, until the command ends; its exit status.
fn talk(session: &mut Session<'_>, args: &Args, path: &str, query: Query) -> Result<i32, Stop> {
    let stdin = std::io::stdin();
    let asks = |name: &str| args.value(name).and_then(crate::stdx::parse_bool);
    let reads = asks("i").unwrap_or(true);
    let tty = asks("t").unwrap_or(reads && stdin.is_terminal() && system::is_terminal());
    let escape = match args.value("e").unwrap_or("~").as_bytes() {
        [] => None,
        b"none" => None,
        [one] => Some(*one),
        _ => return Err(Stop::Usage("-e takes one character, or none".to_owned())),
    };
    let query = query.with("tty", if tty { "true" } else { "false" });
    let wrong = "failed to exec into task";
    let response = session.api.session(path, query).map_err(failed(wrong))?;
    let raw = match tty && reads && stdin.is_terminal() {
        true => Some(Raw::new(stdin.as_fd()).map_err(|e| format!("{wrong}: {e}"))?),
        false => None,
    };
    let escape = escape.filter(|_| raw.is_some()).map(|key| Escape { key, state: 1 });
    let mut talk = Talk {
        response,
        decoder: Decoder::new(false),
        entropy: entropy::System::new(),
        out: Vec::new(),
        reads,
        escape,
        size: None,
        tty,
    };
    let outcome = talk.serve(session);
    drop(raw);
    outcome.map_err(|e| Stop::Error(format!("{wrong}: {e}")))
}

struct Talk {
    response: Response,
    decoder: Decoder,
    entropy: entropy::System,
    /// Frames that wait to be sent.
    out: Vec<u8>,
    reads: bool,
    escape: Option<Escape>,
    /// Rows and columns as they were told.
    size: Option<(u16, u16)>,
    tty: bool,
}

impl Talk {
    fn serve(&mut self, session: &mut Session<'_>) -> Result<i32, Failure> {
        let signals = Signals::for_window()?;
        let stdin = std::io::stdin();
        let mut beat_at = system::wall_ns().saturating_add(BEAT_NS);
        self.tell_size();
        loop {
            while self.response.is_buffered() {
                if let Heard::Exited(code) = self.hear(session)? {
                    return Ok(code);
                }
            }
            if !session.open {
                // Nobody reads what the command writes.
                return Ok(1);
            }
            let keys = if self.reads && self.out.is_empty() { stdin.as_raw_fd() } else { -1 };
            let mut watched = [
                Ready::new(self.response.fd(), !self.out.is_empty()),
                Ready::new(keys, false),
                Ready::new(signals.as_raw_fd(), false),
            ];
            let left = beat_at.saturating_sub(system::wall_ns()).clamp(0, BEAT_NS) / 1_000_000;
            os::poll(&mut watched, i32::try_from(left + 1).unwrap_or(0))?;
            let [socket, keys, window] = watched;
            if socket.writable() && !self.out.is_empty() {
                // So much fits where anything does.
                let piece: Vec<u8> = self.out.drain(..self.out.len().min(PIECE_BYTES)).collect();
                self.response.send(&piece)?;
            }
            if socket.readable()
                && let Heard::Exited(code) = self.hear(session)?
            {
                return Ok(code);
            }
            if window.any() {
                while let Ok(Some(_)) = signals.next() {}
                self.tell_size();
            }
            if keys.any() {
                // More than standard input keeps back, so that all of it shows in the descriptor.
                let mut piece = [0; 4 * PIECE_BYTES];
                let n = stdin.lock().read(&mut piece)?;
                let typed = piece.get(..n).unwrap_or_default();
                let typed = match &mut self.escape {
                    Some(escape) => escape.pass(typed),
                    None => Some(typed.to_vec()),
                };
                match typed {
                    None => return Ok(1),
                    Some(_) if n == 0 => {
                        self.reads = false;
                        self.say("{\"stdin\":{\"close\":true}}");
                    }
                    Some(typed) if typed.is_empty() => {}
                    Some(typed) => {
                        let data = Bytes::encode(&typed);
                        self.say(&format!("{{\"stdin\":{{\"data\":\"{data}\"}}}}"));
                    }
                }
            }
            if beat_at <= system::wall_ns() {
                beat_at = system::wall_ns().saturating_add(BEAT_NS);
                if self.out.is_empty() {
                    self.say("{}");
                }
            }
        }
    }

    /// Tells how large the terminal is, where that is new.
    fn tell_size(&mut self) {
        let size = terminal::size(std::io::stdout().as_fd()).filter(|_| self.tty);
        if let Some((rows, columns)) = size.filter(|_| size != self.size) {
            self.size = size;
            let size = format!("{{\"tty_size\":{{\"height\":{rows},\"width\":{columns}}}}}");
            self.say(&size);
        }
    }

    fn say(&mut self, message: &str) {
        let mask = self.entropy.u64().to_le_bytes();
        let mask = mask.first_chunk().copied();
        websocket::write(Kind::Text, message.as_bytes(), mask, &mut self.out);
    }

    /// Reads once and prints what came.
    fn hear(&mut self, session: &mut Session<'_>) -> Result<Heard, Failure> {
        let mut piece = [0; 4 * PIECE_BYTES];
        let n = self.response.read(&mut piece)?;
        if n == 0 {
            let text = "the agent closed the connection before the command ended";
            return Err(Failure::Malformed(text.to_owned()));
        }
        self.decoder.feed(piece.get(..n).unwrap_or_default());
        loop {
            let message = self.decoder.message();
            let message = message.map_err(|fault| Failure::Malformed(fault.1.to_owned()))?;
            match message {
                None => return Ok(Heard::Nothing),
                Some((Kind::Close, payload)) => {
                    let (_, reason) = websocket::read_close(&payload);
                    return Err(Failure::Malformed(reason));
                }
                Some((Kind::Ping, payload)) => {
                    let mask = Some([0; 4]);
                    websocket::write(Kind::Pong, &payload, mask, &mut self.out);
                }
                Some((Kind::Pong, _)) => {}
                Some((Kind::Text | Kind::Binary, message)) => {
                    let value = super::http::decode(&message)?;
                    for name in ["stdout", "stderr"] {
                        let data = value.get(name).and_then(|v| v.get("data")?.as_str());
                        let bytes = data.and_then(Bytes::decode).unwrap_or_default();
                        match name {
                            "stdout" if !bytes.is_empty() => session.write(&bytes),
                            "stderr" if !bytes.is_empty() => session.write_error(&bytes),
                            _ => {}
                        }
                    }
                    if value.get("exited").and_then(Value::as_bool) == Some(true) {
                        let code = value.pointer("/result/exit_code").and_then(Value::as_i64);
                        let code = i32::try_from(code.unwrap_or(0)).unwrap_or(1);
                        return Ok(Heard::Exited(code));
                    }
                }
            }
        }
    }
}

/// A key at the beginning of a line that speaks to this side: with a dot behind it, it ends the
/// command; twice, it is sent once.
struct Escape {
    key: u8,
    /// 0: within a line; 1: at its beginning; 2: the key was typed there.
    state: u8,
}

impl Escape {
    /// What of the typed bytes is to be sent; `None`: the end was asked for.
    fn pass(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(typed.len() + 1);
        for byte in typed {
            match (self.state, *byte) {
                (1, key) if key == self.key => {
                    self.state = 2;
                    continue;
                }
                (2, b'.') => return None,
                (2, key) if key != self.key => out.push(self.key),
                _ => {}
            }
            out.push(*byte);
            self.state = u8::from(matches!(byte, b'\r' | b'\n'));
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_counts_at_the_beginning_of_a_line() {
        let pass = |pieces: &[&str]| {
            let mut escape = Escape { key: b'~', state: 1 };
            let mut out = String::new();
            for piece in pieces {
                out.push_str(&String::from_utf8(escape.pass(piece.as_bytes())?).unwrap());
            }
            Some(out)
        };
        assert_eq!(pass(&["a~.", "b"]).as_deref(), Some("a~.b"));
        assert_eq!(pass(&["~", "~", "x\r~y"]).as_deref(), Some("~x\r~y"));
        assert_eq!(pass(&["ls\r", "~", "."]), None);
    }
}
