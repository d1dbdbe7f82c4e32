//! What an agent that is not running has stored: its state, its log, what its client remembers.
//! Secrets are left out.

use std::path::Path;

use serde_json::{Value, json};

use super::args::Args;
use super::format::table;
use super::{Session, Stop};
use crate::agent::offline::{self, Shown};

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn wrong(why: String) -> Stop {
    Stop::Error(format!("Failed to read the state: {why}"))
}

/// `operator raft info`.
pub(super) fn info(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let facts = offline::consensus(Path::new(args.at(0))).map_err(wrong)?;
    let facts: Vec<_> = facts.into_iter().map(|(k, v)| vec![k.to_owned(), v]).collect();
    session.say(&table(&facts));
    Ok(0)
}

/// `operator raft logs`.
pub(super) fn logs(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let print = &mut |index, term, kind, data: &[u8]| {
        let entry = json!({
            "Index": index, "Term": term, "Type": format!("{kind:?}"), "Data": shown(data),
        });
        line(session, &entry.to_string())
    };
    offline::log(Path::new(args.at(0)), print).map_err(wrong)?;
    Ok(0)
}

/// `operator raft state`.
pub(super) fn state(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    rows(session, &mut |to| offline::state(Path::new(args.at(0)), to)).map_err(wrong)
}

/// `operator client-state`.
pub(super) fn client(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let rows = offline::client(Path::new(args.at(0))).map_err(wrong)?;
    let named = rows.iter().map(|(key, value)| {
        let name = String::from_utf8_lossy(key).into_owned();
        // Tokens of identities, and what templates were filled with.
        let secret = name.starts_with("client/supply/");
        (name, if secret { REDACTED.into() } else { shown(value) })
    });
    session.json(&Value::Object(named.collect()).to_string());
    Ok(0)
}

/// Prints rows as one object: the rows of each table.
pub(super) fn rows(
    session: &mut Session<'_>,
    read: &mut dyn FnMut(Shown<'_>) -> Result<(), String>,
) -> Result<i32, String> {
    let mut last = None;
    read(&mut |table, row| {
        let row = shown(row);
        let before = match last.replace(table) {
            None => format!("{{\"{}\":[\n{row}", table.name()),
            Some(t) if t == table => format!(",{row}"),
            Some(_) => format!("],\n\"{}\":[\n{row}", table.name()),
        };
        line(session, &before)
    })?;
    line(session, if last.is_some() { "]}" } else { "{}" })?;
    Ok(0)
}

fn line(session: &mut Session<'_>, text: &str) -> Result<(), String> {
    session.say(text);
    session.open.then_some(()).ok_or_else(|| "nobody reads it".to_owned())
}

const REDACTED: &str = "<redacted>";

/// Stored JSON, without secrets; null for what is none.
fn shown(stored: &[u8]) -> Value {
    let mut value = serde_json::from_slice(stored).unwrap_or_default();
    redact(&mut value);
    value
}

fn redact(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.to_ascii_lowercase();
                if name == "token" || name == "rows" {
                    open(value);
                }
                match value {
                    Value::String(text) if text.is_empty() => {}
                    Value::String(_) | Value::Object(_)
                        if name.contains("secret") || name == "privatekey" || name == "lock" =>
                    {
                        *value = REDACTED.into();
                    }
                    value => redact(value),
                }
            }
        }
        _ => {}
    }
}

/// Commands hold the rows of access control as text.
fn open(value: &mut Value) {
    match value {
        Value::Array(rows) => rows.iter_mut().for_each(open),
        Value::String(text) => {
            let row: Option<Value> = serde_json::from_str(text).ok();
            *value = row.filter(Value::is_object).unwrap_or_else(|| REDACTED.into());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let stored = json!({
            "AclPut": { "rows": ["{\"Name\":\"a\",\"SecretID\":\"hush\"}", "hush"] },
            "AclBootstrap": { "token": "{\"SecretID\":\"hush\",\"Type\":\"management\"}" },
            "RootKey": { "secret": "hush", "id": "b" },
            "Config": { "OIDCClientSecret": "hush", "PrivateKey": { "PemKey": "hush" } },
            "variable": { "Lock": { "ID": "hush" }, "Path": "c" },
        });
        let text = shown(stored.to_string().as_bytes()).to_string();
        assert!(!text.contains("hush"), "{text}");
        for kept in ["\"Name\":\"a\"", "management", "\"id\":\"b\"", "\"Path\":\"c\""] {
            assert!(text.contains(kept), "{text}");
        }
        assert_eq!(shown(b"hush"), Value::Null);
    }
}
