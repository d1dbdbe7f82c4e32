//! Commands against a running agent, written as a person would see them: `transcripts/*.txt`.
//!
//! `$ command` is run, the lines below are what it prints, `! line` what it prints on standard
//! error, `? n` its exit status where that is not 0. `<*>` stands for anything within a line,
//! `<:name>` for a word that is kept, to be used as `{name}`; a line `...` for any lines. `{dir}`
//! is a directory of the agent, where commands run. `> path` begins a file, up to the next
//! command; `~` waits a moment; `@ {…}` is the agent's configuration. `^C` interrupts the command
//! after a second, and with `%` standard output is a terminal, whose escapes show as `^[`.

#![expect(clippy::disallowed_methods, reason = "tests of the binary start it")]

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use vardo::stdx::BTreeMap;

use serde_json::json;

use crate::support::agent::{Agent, BINARY};

type Names = BTreeMap<String, String>;

fn filled(text: &str, names: &Names) -> String {
    names.iter().fold(text.to_owned(), |t, (k, v)| t.replace(&format!("{{{k}}}"), v))
}

/// Whether a line fits a pattern; words that are to be kept go into `names`.
fn fits(pattern: &str, line: &str, names: &mut Names) -> bool {
    let Some(open) = pattern.find("<*>").into_iter().chain(pattern.find("<:")).min() else {
        return pattern == line;
    };
    let (before, after) = pattern.split_at(open);
    let Some(rest) = line.strip_prefix(before) else { return false };
    let (hole, after) = after.split_at(after.find('>').expect("a closed hole") + 1);
    let name = hole.strip_prefix("<:").and_then(|h| h.strip_suffix('>'));
    for end in (0..=rest.len()).filter(|i| rest.is_char_boundary(*i)) {
        let (taken, left) = rest.split_at(end);
        if name.is_some() && (taken.is_empty() || taken.contains(' ')) {
            continue;
        }
        let mut kept = names.clone();
        // The longest word is wanted: what follows it is a space or the end.
        if name.is_some() && left.starts_with(|c: char| c.is_alphanumeric() || c == '-') {
            continue;
        }
        if fits(after, left, &mut kept) {
            kept.extend(name.map(|n| (n.to_owned(), taken.to_owned())));
            *names = kept;
            return true;
        }
    }
    false
}

fn all_fit(patterns: &[&str], lines: &[&str], names: &mut Names) -> bool {
    match (patterns.split_first(), lines.split_first()) {
        (None, None) => true,
        (Some((&"...", rest)), _) => (0..=lines.len()).any(|i| {
            let mut kept = names.clone();
            let fit = all_fit(rest, &lines[i..], &mut kept);
            if fit {
                *names = kept;
            }
            fit
        }),
        (Some((pattern, rest)), Some((line, left))) => {
            let pattern = filled(pattern, names);
            fits(&pattern, line, names) && all_fit(rest, left, names)
        }
        _ => false,
    }
}

/// What a command printed that was interrupted.
fn interrupted(mut command: Command) -> Output {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    sleep(Duration::from_secs(1));
    super::agent::send("INT", child.id());
    child.wait().expect("it ends");
    child.wait_with_output().expect("what it printed")
}

/// What a command prints at a terminal.
fn at_terminal(mut command: Command) -> Output {
    let (mut user, program) = vardo::os::terminal::open().expect("a terminal");
    let mut child = command.stdout(program).stderr(Stdio::piped()).spawn().expect("it runs");
    // It holds the terminal's other side.
    drop(command);
    let (mut printed, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match user.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => printed.extend_from_slice(&piece[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(5)),
            Err(_) => break,
        }
    }
    child.wait().expect("it ends");
    let ended = child.wait_with_output().expect("what it printed");
    let text = String::from_utf8_lossy(&printed).replace("\r\n", "\n").replace('\x1b', "^[");
    Output { stdout: text.into_bytes(), ..ended }
}

/// One command with what is expected of it.
fn step(agent: &Agent, step: &str, names: &mut Names) -> Result<(), String> {
    let (head, body) = step.split_once('\n').unwrap_or((step, ""));
    if let Some(path) = head.strip_prefix("> ") {
        let path = filled(path, names);
        let folder = std::path::Path::new(&path).parent().expect("a folder");
        fs::create_dir_all(folder).map_err(|e| e.to_string())?;
        fs::write(&path, body).map_err(|e| e.to_string())?;
        return Ok(());
    }
    let line = filled(head.trim_start_matches("$ "), names);
    let mut words: Vec<String> = Vec::new();
    for (i, part) in line.split('\'').enumerate() {
        match i % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    let (mut out, mut err, mut status, mut wait) = (Vec::new(), Vec::new(), 0, false);
    let (mut interrupt, mut terminal) = (false, false);
    for line in body.trim_end().lines() {
        if line == "~" {
            wait = true;
        } else if line == "^C" {
            interrupt = true;
        } else if line == "%" {
            terminal = true;
        } else if let Some(text) = line.strip_prefix("! ") {
            err.push(text);
        } else if let Some(code) = line.strip_prefix("? ") {
            status = code.parse().expect("a status");
        } else {
            out.push(line);
        }
    }
    let mut said = String::new();
    // What happens by itself may take a moment.
    for _ in 0..if wait { 100 } else { 1 } {
        let mut command = Command::new(BINARY);
        command.args(&words).env("NOMAD_ADDR", format!("http://{}", agent.address));
        command.current_dir(agent.dir()).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        let ran = match (interrupt, terminal) {
            (false, false) => command.output().expect("the binary runs"),
            (true, _) => interrupted(command),
            (_, true) => at_terminal(command),
        };
        let (printed, warned) =
            (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        let lines = |t: &str| t.trim_end().lines().map(str::to_owned).collect::<Vec<_>>();
        let (printed, warned) = (lines(&printed), lines(&warned));
        let as_str =
            |v: &'_ Vec<String>| v.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        let got: Vec<&str> = printed.iter().map(String::as_str).collect();
        let got_err: Vec<&str> = warned.iter().map(String::as_str).collect();
        // A signal counts below zero.
        let ended = ran.status.code().or_else(|| ran.status.signal().map(|s| -s));
        if ended == Some(status) && all_fit(&out, &got, names) && all_fit(&err, &got_err, names) {
            return Ok(());
        }
        said = format!("{}\n! {}\n? {:?}", as_str(&printed), as_str(&warned), ended);
        if wait {
            sleep(Duration::from_millis(100));
        }
    }
    Err(format!("{step}\n---- it said ----\n{said}\n"))
}

#[test]
fn transcripts_are_as_they_are_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proc/transcripts");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let config = text.lines().find_map(|l| l.strip_prefix("@ "));
        let config = config.map_or(json!({}), |c| serde_json::from_str(c).expect("JSON"));
        let agent = Agent::start(&config);
        let dir = agent.dir().display().to_string();
        let mut names =
            Names::from([("dir".to_owned(), dir), ("address".to_owned(), agent.address.clone())]);
        let mut steps: Vec<String> = Vec::new();
        for line in text.lines().filter(|l| !l.starts_with(['#', '@'])) {
            match steps.last_mut() {
                Some(last) if !line.starts_with("$ ") && !line.starts_with("> ") => {
                    last.push('\n');
                    last.push_str(line);
                }
                _ if line.is_empty() => {}
                _ => steps.push(line.to_owned()),
            }
        }
        for one in &steps {
            if let Err(text) = step(&agent, one, &mut names) {
                wrong.push(format!("{}: {text}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn patterns_fit_what_they_should() {
    let mut names = Names::new();
    assert!(all_fit(&["a <:id> <*> z", "...", "{id}"], &["a b-1 c d z", "x", "b-1"], &mut names));
    assert_eq!(names.get("id").map(String::as_str), Some("b-1"));
    assert!(!all_fit(&["a"], &["a", "b"], &mut names));
    assert!(!all_fit(&["a <none>"], &["a b"], &mut names));
}
