//! `fmt`: brings files in HCL into their usual form.

use super::args::Args;
use super::{Session, Stop, system};
use crate::hcl::{self, Source};
use crate::stdx::{parse_bool, sort};

/// Files are looked for so deep.
const DEPTH_MAX: usize = 32;

pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let on = |flag: &str| args.value(flag).and_then(parse_bool).unwrap_or(true);
    let (check, list) = (args.on("check"), on("list"));
    let write = on("write") && !check;
    if args.at(0) == "-" {
        let text = text_of("-", system::read("-")?)?;
        let formatted = formatted("<stdin>", &text)?;
        if !check {
            session.write(formatted.as_bytes());
        }
        return Ok(i32::from(check && formatted != text));
    }
    let mut files = Vec::new();
    let here = [".".to_owned()];
    let paths = if args.positionals.is_empty() { &here } else { args.positionals.as_slice() };
    for path in paths {
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => gather(path, args.on("recursive"), 0, &mut files)?,
            Ok(_) if is_hcl(path) => files.push(path.clone()),
            Ok(_) => {
                let text = "only files that end in .hcl or .nomad are formatted";
                return Err(Stop::Error(format!("{path}: {text}")));
            }
            Err(e) => return Err(Stop::Error(format!("{path}: {e}"))),
        }
    }
    let (mut changed, mut wrong) = (false, false);
    for path in files {
        let outcome = system::read(&path).and_then(|bytes| {
            let text = text_of(&path, bytes)?;
            Ok((formatted(&path, &text)?, text))
        });
        match outcome {
            Ok((formatted, text)) if formatted != text => {
                changed = true;
                if list {
                    session.say(&path);
                }
                if write {
                    let cannot = |e| format!("{path}: {}", crate::os::error_text(&e));
                    let mode = mode(&path);
                    // A link stays one.
                    let to = std::fs::canonicalize(&path).map_err(cannot)?;
                    crate::os::fs::write_atomic(&to, formatted.as_bytes(), mode).map_err(cannot)?;
                }
            }
            Ok(_) => {}
            Err(text) => {
                wrong = true;
                session.warn(&text);
            }
        }
    }
    Ok(i32::from(wrong || (check && changed)))
}

fn mode(path: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).map_or(0o644, |m| m.permissions().mode() & 0o777)
}

fn text_of(path: &str, bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| format!("{path}: it is no text in UTF-8"))
}

/// The usual form of a text, which must be without mistakes of syntax.
fn formatted(name: &str, text: &str) -> Result<String, String> {
    let source = Source { name, text };
    let pictures = |wrong: Vec<hcl::Diagnostic>| {
        let shown: Vec<String> = wrong.iter().map(|d| source.picture(d)).collect();
        shown.join("\n\n")
    };
    hcl::parse(text).map_err(pictures)?;
    Ok(hcl::format::format(text))
}

fn is_hcl(path: &str) -> bool {
    path.ends_with(".hcl") || path.ends_with(".nomad")
}

/// Files of a directory, in order.
fn gather(path: &str, recursive: bool, depth: usize, out: &mut Vec<String>) -> Result<(), String> {
    let entries = std::fs::read_dir(path).map_err(|e| format!("{path}: {e}"))?;
    let mut names: Vec<(String, bool)> = Vec::new();
    for entry in entries.flatten() {
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        if let Ok(name) = entry.file_name().into_string() {
            names.push((name, is_dir));
        }
    }
    sort::by_key(&mut names, |n| n.clone());
    for (name, is_dir) in names {
        let below = match path {
            "." => name.clone(),
            _ => format!("{}/{name}", path.trim_end_matches('/')),
        };
        if is_dir && recursive && depth < DEPTH_MAX && !name.starts_with('.') {
            gather(&below, recursive, depth + 1, out)?;
        } else if !is_dir && is_hcl(&name) {
            out.push(below);
        }
    }
    Ok(())
}
