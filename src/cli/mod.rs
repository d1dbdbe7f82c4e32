//! The command line: a blocking program that speaks to an agent over its HTTP API.
//!
//! `table.rs` holds every command with its flags; parser, help, man page and completions are made
//! from it. A command gets a [`Session`] (where to write, where the API is) and answers with an
//! exit status. Answers of the API are read as plain JSON; `format.rs` makes columns of them.

mod acl;
mod agent;
mod alloc;
mod args;
mod command;
mod complete;
mod compose;
mod debug;
mod deployment;
mod drain;
mod exec;
mod fetch;
mod find;
mod fmt;
mod format;
mod fs;
mod help;
mod http;
mod job;
mod job_change;
mod job_init;
mod job_show;
mod job_status;
mod jobfile;
mod lists;
mod lock;
mod login;
mod logs;
mod methods;
mod monitor;
mod node;
mod operator;
mod plan;
mod search;
mod secured;
mod setup;
mod show;
mod simulate;
mod snapshot;
mod stored;
mod system;
mod table;
mod table_rest;
mod table_tools;
mod tls;
mod var;
mod volume;

use std::io::Write;

use serde_json::Value;

use self::args::Args;
use self::command::{Command, Run};
use self::format::Look;
use self::http::{Api, Failure, Query};
use crate::template::{Options, render};

/// Runs the command that the arguments after the program's name ask for; its exit status.
pub fn main(args: &[String]) -> i32 {
    if args == [crate::client::exec_proto::FETCH] {
        return fetch::run();
    }
    let mut out = std::io::stdout();
    let mut err = std::io::stderr();
    run(args, &mut out, &mut err)
}

/// As [`main`], with the streams to write to.
fn run(args: &[String], out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let mut session = Session {
        api: Api::default(),
        out,
        err,
        terminal: false,
        colour: false,
        open: true,
        look: Look::default(),
    };
    let first = args.first().map_or("", String::as_str);
    match first {
        "" => {
            session.warn(&help::overview());
            return UNKNOWN_COMMAND;
        }
        "help" if args.len() > 1 => {
            let mut words = args.get(1..).unwrap_or_default().to_vec();
            words.push("-help".to_owned());
            return run(&words, session.out, session.err);
        }
        "-h" | "-help" | "--help" | "help" => {
            session.say(&help::overview());
            return 0;
        }
        "-v" | "-version" | "--v" | "--version" => {
            // Programs that look for the reference's binary read the first line.
            session.say(&format!("Nomad v{}\n{}", crate::API_VERSION, agent::version_line()));
            return 0;
        }
        _ => {}
    }
    match table::find(args) {
        Some((command, used)) => {
            dispatch(&mut session, command, args.get(used..).unwrap_or_default())
        }
        None => unknown(&mut session, args),
    }
}

fn dispatch(session: &mut Session<'_>, command: &Command, rest: &[String]) -> i32 {
    let asks = |a: &String| matches!(a.as_str(), "-h" | "-help" | "--help");
    if let Run::Raw(run) = command.run {
        if rest.iter().any(asks) {
            session.say(&help::command(command));
            return 0;
        }
        let outcome = run(session, &Args::raw(rest));
        return finish(session, command, outcome);
    }
    let flags = command.all_flags();
    let args = Args::parse(rest, &flags, command.args).and_then(|args| {
        let wrong = args.count_wrong(command.args).filter(|_| !args.help);
        wrong.map_or(Ok(args), Err)
    });
    let args = match args {
        Ok(args) => args,
        Err(text) => return finish(session, command, Err(Stop::Usage(text))),
    };
    if args.help {
        session.say(&help::command(command));
        return 0;
    }
    session.api = api(&args);
    let plain = args.on("no-color") || system::env("NOMAD_CLI_NO_COLOR").is_some();
    let forced = args.on("force-color") || system::env("NOMAD_CLI_FORCE_COLOR").is_some();
    session.terminal = system::is_terminal() && !plain;
    session.colour = (session.terminal || forced) && !plain;
    session.look = Look { verbose: args.on("verbose"), now: system::wall_ns() };
    let outcome = match command.run {
        Run::Do(run) | Run::Raw(run) => run(session, &args),
        Run::List(what, path, columns) => show::list(session, &args, what, path, columns),
        Run::Show(what, path, columns) => show::one(session, &args, what, path, columns),
        Run::Send(what, method, path, said) => {
            show::send(session, &args, what, (method, path), said)
        }
    };
    if args.on("ui") && outcome.is_ok() {
        let page = operator::page(session, command.name(), args.at(0));
        session.warn(&format!("==> In a browser: {page}"));
    }
    finish(session, command, outcome)
}

fn finish(session: &mut Session<'_>, command: &Command, outcome: Result<i32, Stop>) -> i32 {
    match outcome {
        Ok(status) => status,
        Err(Stop::Error(text)) => {
            session.warn(&text);
            command.failure()
        }
        Err(Stop::Usage(text)) => {
            session.warn(&text);
            session.warn(&format!("For additional help try 'vardo {} -help'", command.name()));
            command.failure()
        }
    }
}

/// General options over environment over defaults.
fn api(args: &Args) -> Api {
    let pick = |flag: &str, variable: &str| {
        args.value(flag).map(str::to_owned).or_else(|| system::env(variable)).unwrap_or_default()
    };
    let address = pick("address", "NOMAD_ADDR");
    Api {
        address: if address.is_empty() { "http://127.0.0.1:4646".to_owned() } else { address },
        region: pick("region", "NOMAD_REGION"),
        namespace: pick("namespace", "NOMAD_NAMESPACE"),
        token: pick("token", "NOMAD_TOKEN"),
        basic: system::env("NOMAD_HTTP_AUTH").unwrap_or_default(),
        tls: secured::Options {
            ca_cert: pick("ca-cert", "NOMAD_CACERT"),
            ca_path: pick("ca-path", "NOMAD_CAPATH"),
            client_cert: pick("client-cert", "NOMAD_CLIENT_CERT"),
            client_key: pick("client-key", "NOMAD_CLIENT_KEY"),
            server_name: pick("tls-server-name", "NOMAD_TLS_SERVER_NAME"),
            skip_verify: args.on("tls-skip-verify")
                || args.on("insecure")
                || secured::Options::skips(),
        },
        fields: String::new(),
        silence: None,
    }
}

/// A group without a command of it, or a word that is neither.
fn unknown(session: &mut Session<'_>, args: &[String]) -> i32 {
    let asked = args.iter().any(|a| matches!(a.as_str(), "-h" | "-help" | "--help"));
    match help::group(args) {
        Some(text) if asked => session.say(&text),
        Some(text) => {
            if let Some(near) = table::nearest_of_group(args) {
                let said = args.join(" ");
                session.warn(&format!("No such command: {said}; did you mean '{near}'?"));
            }
            session.warn(&text);
        }
        None => {
            let first = args.first().map_or("", String::as_str);
            let near = table::nearest(first).map(|n| format!("; did you mean '{n}'?"));
            session.warn(&format!("No such command: {first}{}", near.unwrap_or_default()));
            session.warn(&help::overview());
            return UNKNOWN_COMMAND;
        }
    }
    i32::from(!asked)
}

/// What a command works with.
struct Session<'a> {
    api: Api,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Standard output is a terminal: progress may be redrawn in place.
    terminal: bool,
    /// Titles may be bold and differences coloured.
    colour: bool,
    /// False once nobody reads the output any more.
    open: bool,
    look: Look,
}

impl Session<'_> {
    /// A line on standard output.
    fn say(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// A section: an empty line, a title and what it is of.
    fn section(&mut self, title: &str, body: &str) {
        let title = self.paint("1", title);
        self.say(&format!("\n{title}\n{body}"));
    }

    /// Text in a colour or weight of ANSI, where there may be any.
    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Bytes on standard output, as they are.
    fn write(&mut self, bytes: &[u8]) {
        self.open &= self.out.write_all(bytes).and_then(|()| self.out.flush()).is_ok();
    }

    /// Bytes on standard error, as they are.
    fn write_error(&mut self, bytes: &[u8]) {
        self.open &= self.err.write_all(bytes).and_then(|()| self.err.flush()).is_ok();
    }

    /// JSON, indented by 4.
    fn json(&mut self, text: &str) {
        let mut out = Vec::new();
        crate::stdx::json::pretty(text.as_bytes(), &mut out);
        self.write(&out);
    }

    /// A line on standard error. Where that fails there is nobody left to tell.
    fn warn(&mut self, line: &str) {
        self.open &= writeln!(self.err, "{line}").is_ok();
    }

    /// What a person would probably do next; nothing for programs, or where hints are off.
    fn hint(&mut self, text: &str) {
        let off = system::env("NOMAD_CLI_SHOW_HINTS").as_deref().and_then(crate::stdx::parse_bool);
        if self.terminal && off != Some(false) {
            self.warn(&format!("\n==> {text}"));
        }
    }

    /// Prints an answer as `-json` or `-t` ask; false where neither does.
    fn shaped(&mut self, args: &Args, body: &[u8]) -> Result<bool, Stop> {
        if let Some(template) = args.value("t") {
            let value = http::decode(body).map_err(|e| e.to_string())?;
            let text = render(template, Options::default(), &value, &mut ())?;
            self.say(&text);
            return Ok(true);
        }
        if args.on("json") {
            self.json(&String::from_utf8_lossy(body));
            return Ok(true);
        }
        Ok(false)
    }

    /// GET of JSON; `what` is the sentence before the colon where it fails.
    fn get(&self, path: &str, query: Query, what: &str) -> Result<Value, Stop> {
        self.api.get(path, query).map_err(failed(what))
    }

    /// PUT of JSON.
    fn put(&self, path: &str, query: Query, body: &Value, what: &str) -> Result<Value, Stop> {
        let body = body.to_string();
        self.api.send("PUT", path, query, Some(body.as_bytes())).map_err(failed(what))
    }
}

/// Why a command ends early.
enum Stop {
    Error(String),
    /// Called wrongly: the way to the help follows.
    Usage(String),
}

impl From<String> for Stop {
    fn from(text: String) -> Self {
        Self::Error(text)
    }
}

/// Makes a [`Stop`] of a failed request: `what` is the sentence before the colon.
fn failed(what: &str) -> impl FnOnce(Failure) -> Stop {
    let what = what.to_owned();
    move |e| Stop::Error(format!("{what}: {e}"))
}

/// Exit status for a word that is no command, as the reference has it.
const UNKNOWN_COMMAND: i32 = 127;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(args: &[&str]) -> (i32, String, String) {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = run(&args, &mut out, &mut err);
        (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn versions_are_told_to_people_and_to_harnesses() {
        assert_eq!(call(&["version"]), (0, "Vardo v0.1.0 (Nomad API 2.0.5)\n".into(), "".into()));
        let (status, out, _) = call(&["-version"]);
        assert_eq!(status, 0);
        assert!(out.starts_with("Nomad v2.0.5\n"));
    }

    #[test]
    fn wrong_words_end_with_the_reference_status() {
        assert_eq!(call(&[]).0, 127);
        let (status, _, err) = call(&["jbo"]);
        assert_eq!(status, 127);
        assert!(err.starts_with("No such command: jbo; did you mean 'job'?\n"), "{err}");
        assert_eq!(call(&["job"]).0, 1);
        assert_eq!(call(&["job", "nope"]).0, 1);
        let (status, _, err) = call(&["job", "runn"]);
        assert_eq!(status, 1);
        assert!(err.starts_with("No such command: job runn; did you mean 'job run'?\n"), "{err}");
        let (_, _, err) = call(&["operator", "raft", "list-pers"]);
        assert!(err.contains("did you mean 'operator raft list-peers'?"), "{err}");
        assert_eq!(call(&["operator", "raft", "-help"]).0, 0);
        assert_eq!(call(&["help", "operator", "raft"]), call(&["operator", "raft", "-help"]));
        assert_eq!(call(&["help", "job", "run"]), call(&["job", "run", "-help"]));
        assert_eq!(call(&["job", "stop"]).0, 1);
        let (status, out, err) = call(&["node", "status", "-nope"]);
        assert_eq!((status, out.as_str()), (1, ""));
        assert!(err.contains("flag provided but not defined: -nope"));
        assert!(err.ends_with("For additional help try 'vardo node status -help'\n"));
    }

    /// Every command has help with all of its flags, and every flag an explanation.
    #[test]
    fn every_command_explains_itself() {
        for command in table::commands() {
            let words: Vec<&str> = command.name().split(' ').chain(["-help"]).collect();
            let (status, out, err) = call(&words);
            assert_eq!((status, err.as_str()), (0, ""), "{words:?}");
            assert!(out.starts_with(&format!("Usage: vardo {}", command.name())), "{out}");
            for flag in command.all_flags() {
                assert!(!flag.help.is_empty(), "{words:?} -{}", flag.name);
                assert!(out.contains(&format!("\n  -{}", flag.name)), "{words:?} -{}", flag.name);
            }
            for name in command.names.split(", ") {
                let words: Vec<String> = name.split(' ').map(str::to_owned).collect();
                let found = table::find(&words).map(|(c, n)| (c.names, n));
                assert_eq!(found, Some((command.names, words.len())), "{name}");
            }
        }
    }

    /// The first words of every command lead on, instead of being unknown.
    #[test]
    fn every_group_explains_itself() {
        for command in table::commands() {
            let words: Vec<&str> = command.name().split(' ').collect();
            for n in 1..words.len() {
                assert_eq!(call(&words[..n]).0, 1, "{:?} is no group of the table", &words[..n]);
            }
        }
    }

    /// Every command is run by a transcript.
    #[test]
    fn every_command_has_a_transcript() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proc/transcripts");
        let mut run = crate::stdx::BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for line in text.lines().filter_map(|l| l.strip_prefix("$ ")) {
                let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                run.extend(table::find(&words).map(|(command, _)| command.name()));
            }
        }
        let names = table::commands().map(Command::name);
        let missing: Vec<&str> = names.filter(|name| !run.contains(name)).collect();
        assert!(missing.is_empty(), "no transcript runs {missing:?}");
    }

    #[test]
    fn an_agent_that_is_not_there_is_said_in_one_line() {
        let (status, out, err) = call(&["job", "status", "-address=http://127.0.0.1:1"]);
        assert_eq!((status, out.as_str()), (1, ""));
        assert_eq!(
            err,
            "Error querying jobs: no agent answers at http://127.0.0.1:1: connection refused; \
             start one by `vardo agent`, or say by -address or NOMAD_ADDR where one is\n"
        );
    }
}
