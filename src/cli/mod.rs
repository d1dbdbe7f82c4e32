//! The command line: a blocking program that speaks to an agent over its HTTP API.
//!
//! `table.rs` holds every command with its flags; parser and help are made from it. A command gets
//! a [`Session`] (where to write, where the API is) and answers with an exit status.

mod agent;
mod alloc;
mod args;
mod drain;
mod find;
mod format;
mod http;
mod job;
mod job_status;
mod jobfile;
mod logs;
mod monitor;
mod node;
mod simulate;
mod system;
mod table;

use std::io::Write;

use self::args::{Args, Flag};
use self::http::{Api, Failure};
use self::table::{COMMANDS, Command, GENERAL, GROUPS};

/// Runs the command that the arguments after the program's name ask for; its exit status.
pub fn main(args: &[String]) -> i32 {
    let mut out = std::io::stdout();
    let mut err = std::io::stderr();
    run(args, &mut out, &mut err)
}

/// As [`main`], with the streams to write to.
fn run(args: &[String], out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let mut session = Session { api: Api::default(), out, err, terminal: false, open: true };
    let bare = |a: &str| a.trim_start_matches('-').to_owned();
    match args.first().map(String::as_str) {
        None => {
            session.warn(&overview());
            return UNKNOWN_COMMAND;
        }
        Some("-h" | "-help" | "--help" | "help") => {
            session.say(&overview());
            return 0;
        }
        Some(flag) if matches!(bare(flag).as_str(), "version" | "v") && flag.starts_with('-') => {
            // Programs that look for the reference's binary read the first line.
            session.say(&format!("Nomad v{}\n{}", crate::API_VERSION, agent::version_line()));
            return 0;
        }
        Some(_) => {}
    }
    let Some((command, used)) = table::find(args) else {
        return unknown(&mut session, args);
    };
    dispatch(&mut session, command, args.get(used..).unwrap_or_default())
}

fn dispatch(session: &mut Session<'_>, command: &Command, rest: &[String]) -> i32 {
    if command.own_flags {
        if rest.iter().any(|a| matches!(a.as_str(), "-h" | "-help" | "--help")) {
            session.say(&help(command));
            return 0;
        }
        let args = Args::raw(rest);
        let outcome = (command.run)(session, &args);
        return finish(session, command, outcome);
    }
    let general: &[Flag] = if command.general { GENERAL } else { &[] };
    let args = match Args::parse(rest, &[command.flags, general]) {
        Ok(args) => args,
        Err(text) => {
            session.warn(&text);
            return finish(session, command, Err(Stop::Usage(String::new())));
        }
    };
    if args.help {
        session.say(&help(command));
        return 0;
    }
    session.api = api(&args);
    session.terminal = system::is_terminal() && !args.on("no-color");
    let outcome = (command.run)(session, &args);
    finish(session, command, outcome)
}

fn finish(session: &mut Session<'_>, command: &Command, outcome: Result<i32, Stop>) -> i32 {
    match outcome {
        Ok(status) => status,
        Err(Stop::Error(text)) => {
            session.warn(&text);
            1
        }
        Err(Stop::Usage(text)) => {
            if !text.is_empty() {
                session.warn(&text);
            }
            let name = command.names[0];
            session.warn(&format!("For additional help try 'vardo {name} -help'"));
            1
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
    }
}

fn unknown(session: &mut Session<'_>, args: &[String]) -> i32 {
    let group = args.first().map_or("", String::as_str);
    let Some((name, about)) = GROUPS.iter().find(|(name, _)| *name == group) else {
        session.warn(&overview());
        return UNKNOWN_COMMAND;
    };
    let mut text = format!("Usage: vardo {name} <subcommand> [options] [args]\n\n  {about}\n\n");
    text.push_str("Subcommands:\n\n");
    for command in COMMANDS {
        let of_group = |n: &&&str| n.split_once(' ').is_some_and(|(g, _)| g == *name);
        if let Some((_, sub)) = command.names.iter().find(of_group).and_then(|n| n.split_once(' '))
        {
            text.push_str(&format!("    {sub:<10}{}\n", command.about));
        }
    }
    let asked = args.iter().skip(1).any(|a| matches!(a.as_str(), "-h" | "-help" | "--help"));
    if asked {
        session.say(text.trim_end());
    } else {
        session.warn(text.trim_end());
    }
    i32::from(!asked)
}

/// The list of commands.
fn overview() -> String {
    let mut text = "Usage: vardo [-version] [-help] <command> [args]\n\nCommands:\n\n".to_owned();
    for command in COMMANDS {
        text.push_str(&format!("    {:<14}{}\n", command.names[0], command.about));
        for alias in command.names.iter().skip(1) {
            text.push_str(&format!("    {alias:<14}The same as '{}'\n", command.names[0]));
        }
    }
    text.trim_end().to_owned()
}

fn help(command: &Command) -> String {
    let mut text = format!("Usage: vardo {} {}\n\n", command.names[0], command.usage);
    text.push_str(&format!("  {}\n", command.about));
    let mut section = |title: &str, flags: &[Flag]| {
        if flags.is_empty() {
            return;
        }
        text.push_str(&format!("\n{title}:\n"));
        for flag in flags {
            let gap = if flag.value.is_empty() { "" } else { "=" };
            text.push_str(&format!("\n  -{}{gap}{}\n    {}.\n", flag.name, flag.value, flag.help));
        }
    };
    if command.own_flags {
        section("Options", &agent::flags());
    } else {
        section("Options", command.flags);
    }
    if command.general {
        section("General options", GENERAL);
    }
    text.trim_end().to_owned()
}

/// What a command works with.
struct Session<'a> {
    api: Api,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    /// Standard output is a terminal: progress may be redrawn in place.
    terminal: bool,
    /// False once nobody reads the output any more.
    open: bool,
}

impl Session<'_> {
    /// A line on standard output.
    fn say(&mut self, line: &str) {
        self.write(line.as_bytes());
        self.write(b"\n");
    }

    /// Bytes on standard output, as they are.
    fn write(&mut self, bytes: &[u8]) {
        self.open &= self.out.write_all(bytes).and_then(|()| self.out.flush()).is_ok();
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
        assert_eq!(call(&["nope"]).0, 127);
        assert_eq!(call(&["job"]).0, 1);
        assert_eq!(call(&["job", "nope"]).0, 1);
        assert_eq!(call(&["job", "stop"]).0, 1);
        let (status, out, err) = call(&["node", "status", "-nope"]);
        assert_eq!((status, out.as_str()), (1, ""));
        assert!(err.contains("flag provided but not defined: -nope"));
        assert!(err.contains("For additional help try 'vardo node status -help'"));
    }

    #[test]
    fn every_command_explains_itself() {
        for command in COMMANDS {
            for name in command.names {
                let mut words: Vec<&str> = name.split(' ').collect();
                words.push("-help");
                let (status, out, _) = call(&words);
                assert_eq!(status, 0, "{name}");
                assert!(out.starts_with("Usage: vardo "), "{name}");
            }
        }
    }
}
