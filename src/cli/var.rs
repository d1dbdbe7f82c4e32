//! Variables.

use serde_json::{Value, json};

use super::args::Args;
use super::format::{at, columns, entries, fields, list as items, plain, text};
use super::http::{Failure, Query, escape};
use super::{Session, Stop, failed, http, operator, show, system};
use crate::template::{Options, render};

fn path(args: &Args) -> String {
    format!("/v1/var/{}", escape(args.at(0)))
}

/// Prints a variable (or a list of them) in the form of `-out`.
fn print(session: &mut Session<'_>, args: &Args, body: &[u8], or: &str) -> Result<bool, Stop> {
    let value = http::decode(body).map_err(|e| e.to_string())?;
    match args.value("out").unwrap_or(or) {
        "none" => {}
        "json" => session.json(&String::from_utf8_lossy(body)),
        "go-template" => {
            let template = args.value("template").unwrap_or_default();
            let text = render(template, Options::default(), &value, &mut ())?;
            session.say(&text);
        }
        "hcl" => {
            let quote = |v: &Value| Value::String(plain(v)).to_string();
            let mut text = format!(
                "namespace = {}\npath      = {}\n\nitems {{\n",
                quote(at(&value, "Namespace")),
                quote(at(&value, "Path"))
            );
            for (key, item) in entries(&value, "Items") {
                text.push_str(&format!("  {:?} = {}\n", key, quote(item)));
            }
            session.say(&format!("{text}}}"));
        }
        "table" | "terse" => return Ok(false),
        other => {
            return Err(Stop::Usage(format!("invalid value {other:?} for flag -out")));
        }
    }
    Ok(true)
}

fn default_form(session: &Session<'_>) -> &'static str {
    if session.terminal { "table" } else { "json" }
}

fn show(session: &mut Session<'_>, args: &Args, body: &[u8], or: &str) -> Result<i32, Stop> {
    if !print(session, args, body, or)? {
        let value = http::decode(body).map_err(|e| e.to_string())?;
        let specs = "Namespace|Path|Create Time:time|Modify Time:time|Check Index=ModifyIndex";
        session.say(&fields(specs, &value, session.look));
        session.section("Items", &operator::members_of(at(&value, "Items")));
    }
    Ok(0)
}

/// Reads a variable.
pub(super) fn get(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error retrieving variable";
    let body = session.api.get_raw(&path(args), Query::default()).map_err(failed(wrong))?;
    if let Some(key) = args.value("item") {
        let value = http::decode(&body).map_err(failed(wrong))?;
        let item = value.get("Items").and_then(|i| i.get(key)).and_then(Value::as_str);
        let none = || Stop::Error(format!("Variable does not contain {key:?} item"));
        session.say(item.ok_or_else(none)?);
        return Ok(0);
    }
    let or = default_form(session);
    show(session, args, &body, or)
}

/// Writes a variable: items of a file, and over them those of the arguments.
pub(super) fn put(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut variable = json!({});
    let first = args.at(0);
    let file = if first == "-" { Some(first) } else { first.strip_prefix('@') };
    if let Some(file) = file {
        variable = operator::object(file, "variable")?;
    }
    let name = match file {
        Some(_) => text(&variable, "Path").to_owned(),
        None => first.to_owned(),
    };
    let mut written = serde_json::Map::new();
    for (key, value) in entries(&variable, "Items") {
        written.insert(key.to_owned(), plain(value).into());
    }
    for pair in args.positionals.iter().skip(1) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Stop::Usage(format!("{pair:?} is not of the form key=value")))?;
        let value = match value.strip_prefix('@') {
            Some(file) => String::from_utf8_lossy(&system::read(file)?).into_owned(),
            None => value.to_owned(),
        };
        written.insert(key.to_owned(), value.into());
    }
    if name.is_empty() || written.is_empty() {
        return Err(Stop::Usage("A path and at least one item are needed".to_owned()));
    }
    let body = json!({ "Path": name, "Items": written }).to_string();
    let query = match args.on("force") {
        true => Query::default(),
        false => show::query(args),
    };
    let url = format!("/v1/var/{}", escape(&name));
    let (_, answer) = match session.api.whole("PUT", &url, query, Some(body.as_bytes())) {
        Err(Failure::Status(409, there)) => {
            let there = http::decode(there.as_bytes()).unwrap_or_default();
            let index = super::format::int(&there, "ModifyIndex");
            let text = format!(
                "Check-and-Set conflict: the variable has been changed, its check index is {index}"
            );
            return Err(Stop::Error(text));
        }
        other => other.map_err(failed("Error creating variable"))?,
    };
    if args.value("out").is_some() {
        return show(session, args, &answer, "none");
    }
    let answer = http::decode(&answer).map_err(failed("Error creating variable"))?;
    session.say(&format!(
        "Successfully wrote variable \"{name}\" with modify index {}",
        super::format::int(&answer, "ModifyIndex")
    ));
    Ok(0)
}

/// Shows which variables there are.
pub(super) fn list(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error listing variables";
    let query = show::query(args).with("prefix", args.at(0));
    let body = session.api.get_raw("/v1/vars", query).map_err(failed(wrong))?;
    let or = default_form(session);
    if print(session, args, &body, or)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed(wrong))?;
    match items(&all, "") {
        [] => session.say("No variables found"),
        rows if args.value("out") == Some("terse") => {
            for row in rows {
                session.say(text(row, "Path"));
            }
        }
        rows => {
            let specs = "Namespace|Path|Last Updated=ModifyTime:time";
            session.say(&columns(specs, rows, session.look));
        }
    }
    Ok(0)
}

/// Removes a variable.
pub(super) fn purge(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error purging variable";
    session.api.send("DELETE", &path(args), show::query(args), None).map_err(failed(wrong))?;
    session.say(&format!("Successfully purged variable \"{}\"!", args.at(0)));
    Ok(0)
}

/// Writes a file of a variable to begin with.
pub(super) fn init(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let (or, content) = match args.value("out").unwrap_or("hcl") {
        "json" => {
            ("spec.nv.json", "{\n  \"Path\": \"path/to\",\n  \"Items\": {\"key\": \"value\"}\n}\n")
        }
        _ => ("spec.nv.hcl", "path = \"path/to\"\n\nitems {\n  key = \"value\"\n}\n"),
    };
    let path = Some(args.at(0)).filter(|p| !p.is_empty()).unwrap_or(or);
    system::create(path, content.as_bytes())?;
    session.say(&format!("Example variable specification written to {path}"));
    Ok(0)
}
