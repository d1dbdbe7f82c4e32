//! The agent's log: one line per record on standard error and in the file of the configuration, and
//! the last of them for those who follow it over `/v1/agent/monitor`.
//!
//! A line has the form that readers of the reference's log know:
//! `2026-11-23T08:32:23.019Z [INFO] agent::run: text`. While nobody follows the log, nothing of it
//! is kept, and records above the configured level cost a comparison.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write as _;

use log::{LevelFilter, Log, Metadata, Record};

use super::log_file::{LogFile, LogTo};
use crate::client::file_stream::{FRAME_BYTES, HEARTBEAT_NS, Step};
use crate::limits::MONITOR_LINES_MAX;
use crate::os::clock;
use crate::routes::MonitorRequest;
use crate::stdx::Now;
use crate::stdx::json::{self, Any, Bytes};
use crate::stdx::time::Rfc3339;

struct Logger {
    stderr: env_logger::Logger,
}

thread_local! {
    /// The agent has one thread, and so one of these.
    static FOLLOWED: RefCell<Followed> = const { RefCell::new(Followed::new()) };
    /// Whether lines on standard error are JSON, and whether they say where they were written.
    static FORM: Cell<(bool, bool)> = const { Cell::new((false, false)) };
}

/// What is kept for those who follow.
struct Followed {
    /// Level of what goes to standard error and to the file, where `RUST_LOG` lets it through.
    shown: LevelFilter,
    file: LogFile,
    /// Levels of those who follow.
    readers: Vec<LevelFilter>,
    lines: VecDeque<Line>,
    /// How many lines came before those that are kept.
    before: u64,
}

struct Line {
    level: log::Level,
    wall_ns: i64,
    target: String,
    text: String,
    /// File and line of the source.
    place: String,
}

impl Followed {
    const fn new() -> Self {
        Self {
            shown: LevelFilter::Off,
            file: LogFile::none(),
            readers: Vec::new(),
            lines: VecDeque::new(),
            before: 0,
        }
    }

    /// Lets through what anybody wants.
    fn open_gate(&self) {
        let most = self.readers.iter().copied().max().unwrap_or(LevelFilter::Off);
        log::set_max_level(most.max(self.shown));
    }

    fn take(&mut self, record: &Record<'_>, stderr: &env_logger::Logger) {
        let shown = record.level() <= self.shown && stderr.matches(record);
        if !shown && self.readers.is_empty() {
            return;
        }
        let line = Line::of(record);
        if shown {
            stderr.log(record);
            let LogTo { json, place, .. } = self.file.to;
            self.file.write(&line.print(json, place), line.wall_ns);
        }
        if self.readers.is_empty() {
            return;
        }
        if self.lines.len() >= MONITOR_LINES_MAX {
            self.lines.pop_front();
            self.before += 1;
        }
        self.lines.push_back(line);
    }
}

/// Begins to log, as [`set`] says. `RUST_LOG` may narrow what is shown.
pub(super) fn start(level: LevelFilter, to: &LogTo) {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Trace).parse_default_env();
    builder.format(|out, record| {
        let (json, place) = FORM.get();
        out.write_all(Line::of(record).print(json, place).as_bytes())
    });
    // Fails where a test has one already.
    if log::set_boxed_logger(Box::new(Logger { stderr: builder.build() })).is_ok() {
        set(level, to);
    }
}

/// Changes the level and the form of what is logged, and opens the file again.
pub(super) fn set(level: LevelFilter, to: &LogTo) {
    FORM.set((to.json, to.place));
    let opened = FOLLOWED.with_borrow_mut(|f| {
        f.shown = level;
        f.open_gate();
        f.file.begin(to.clone(), clock::wall_ns())
    });
    if let Err(e) = opened {
        log::error!("log file {}: {e}", to.path.display());
    }
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // Nothing that runs while it is borrowed logs.
        FOLLOWED.with(|followed| {
            if let Ok(mut f) = followed.try_borrow_mut() {
                f.take(record, &self.stderr);
            }
        });
    }

    fn flush(&self) {}
}

impl Line {
    fn of(record: &Record<'_>) -> Self {
        Self {
            level: record.level(),
            wall_ns: clock::wall_ns(),
            target: record.target().trim_start_matches("vardo::").to_owned(),
            text: record.args().to_string(),
            place: format!("{}:{}", record.file().unwrap_or_default(), record.line().unwrap_or(0)),
        }
    }

    fn time(&self) -> Rfc3339 {
        Rfc3339(self.wall_ns / 1_000_000 * 1_000_000)
    }

    fn print(&self, json: bool, place: bool) -> String {
        if json { self.json(place) } else { self.plain(place) }
    }

    fn plain(&self, place: bool) -> String {
        let mut out = format!("{} [{}] ", self.time(), self.level);
        if place {
            out.push_str(&self.place);
            out.push_str(": ");
        }
        out.push_str(&format!("{}: {}\n", self.target, self.text));
        out
    }

    fn json(&self, place: bool) -> String {
        let text = |t: &str| Any::Text(t.to_owned());
        let mut all = crate::stdx::BTreeMap::from([
            ("@level".to_owned(), text(&self.level.as_str().to_ascii_lowercase())),
            ("@message".to_owned(), text(&self.text)),
            ("@module".to_owned(), text(&self.target)),
            ("@timestamp".to_owned(), text(&self.time().to_string())),
        ]);
        if place {
            all.insert("@caller".to_owned(), text(&self.place));
        }
        let mut out = String::from_utf8(json::encode(&Any::Map(all))).unwrap_or_default();
        out.push('\n');
        out
    }
}

/// One who follows the log; until it is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    request: MonitorRequest,
    /// Number of the next line to look at.
    next: u64,
    last_sent_ns: u64,
}

impl Follower {
    /// Sees what is logged from now on.
    pub(super) fn new(request: MonitorRequest, now: Now) -> Self {
        let next = FOLLOWED.with_borrow_mut(|f| {
            f.readers.push(request.level);
            f.open_gate();
            f.before + f.lines.len() as u64
        });
        Self { request, next, last_sent_ns: now.mono_ns }
    }

    /// Appends what has come, at most about a frame.
    pub(super) fn poll(&mut self, now: Now, out: &mut Vec<u8>) -> Step {
        let mut text = String::new();
        let more = FOLLOWED.with_borrow(|f| self.take(f, &mut text));
        if !text.is_empty() {
            self.send(&text, out);
            self.last_sent_ns = now.mono_ns;
        } else if !self.request.plain && now.mono_ns >= self.last_sent_ns + HEARTBEAT_NS {
            out.extend_from_slice(b"{}");
            self.last_sent_ns = now.mono_ns;
        }
        if more { Step::More } else { Step::Idle }
    }

    /// Lines of its level; true where there are more.
    fn take(&mut self, f: &Followed, out: &mut String) -> bool {
        if let Some(lost) = f.before.checked_sub(self.next).filter(|n| *n > 0) {
            self.next = f.before;
            let lost = Line {
                level: log::Level::Warn,
                wall_ns: clock::wall_ns(),
                target: "agent::logger".to_owned(),
                text: format!("Monitor dropped {lost} logs during monitor request"),
                place: String::new(),
            };
            self.print(&lost, out);
        }
        let skip = usize::try_from(self.next - f.before).unwrap_or(usize::MAX);
        for line in f.lines.iter().skip(skip) {
            if out.len() >= FRAME_BYTES / 2 {
                return true;
            }
            self.next += 1;
            if line.level <= self.request.level {
                self.print(line, out);
            }
        }
        false
    }

    fn print(&self, line: &Line, out: &mut String) {
        out.push_str(&line.print(self.request.json, self.request.place));
    }

    fn send(&self, text: &str, out: &mut Vec<u8>) {
        if self.request.plain {
            return out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(b"{\"Data\":\"");
        out.extend_from_slice(Bytes::encode(text.as_bytes()).as_bytes());
        out.extend_from_slice(b"\",\"FileEvent\":\"log\"}");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        FOLLOWED.with(|followed| {
            let Ok(mut f) = followed.try_borrow_mut() else { return };
            if let Some(at) = f.readers.iter().position(|l| *l == self.request.level) {
                f.readers.swap_remove(at);
            }
            if f.readers.is_empty() {
                f.before += f.lines.len() as u64;
                f.lines = VecDeque::new();
            }
            f.open_gate();
        });
    }
}
