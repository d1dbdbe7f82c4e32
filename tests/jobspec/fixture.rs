//! The language of the fixtures: a small job, and lines that change it.
//!
//! `job.Meta = {"a": "b"}`, `group.Count = 3`, `task.Env = {"A": "1"}`: a member of the job, of
//! its one group, or of its one task is set to a JSON value; dots lead further in
//! (`task.Resources.CPU = 5`). `null` removes a member.

use std::path::Path;

use serde_json::{Value, json};

/// The job that lines change.
pub(crate) fn job() -> Value {
    json!({
        "ID": "web", "Type": "service", "Datacenters": ["dc1"],
        "TaskGroups": [{
            "Name": "app", "Count": 2,
            "Tasks": [{
                "Name": "web", "Driver": "raw_exec",
                "Config": {"command": "/bin/sleep", "args": ["3600"]},
                "Resources": {"CPU": 20, "MemoryMB": 16},
            }],
        }],
    })
}

/// Carries out one line.
pub(crate) fn set(job: &mut Value, line: &str) {
    let (path, value) = line.split_once(" = ").unwrap_or_else(|| panic!("no value: {line}"));
    let value = serde_json::from_str(value).unwrap_or_else(|e| panic!("{line}: {e}"));
    let mut parts = path.split('.');
    let mut at = match parts.next() {
        Some("job") => job,
        Some("group") => &mut job["TaskGroups"][0],
        Some("task") => &mut job["TaskGroups"][0]["Tasks"][0],
        other => panic!("{other:?} in {line}"),
    };
    for part in parts {
        at = match part.parse::<usize>() {
            Ok(n) => {
                let list = at.as_array_mut().expect("a list");
                if list.len() <= n {
                    list.resize(n + 1, Value::Null);
                }
                &mut list[n]
            }
            Err(_) => &mut at[part],
        };
    }
    *at = value;
}

/// Cases of a file, as (title, input, expected), and the file's head. A case is `case:` with its
/// title, lines, `----`, and the expected text.
pub(crate) fn cases(file: &str) -> (String, Vec<(String, String, String)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobspec/fixtures").join(file);
    let text = std::fs::read_to_string(path).expect("a fixture file");
    let mut parts = text.split("case:");
    let head = parts.next().unwrap_or_default().to_owned();
    let cases = parts.map(|part| {
        let (input, expected) = part.split_once("----\n").expect("a case has a ---- line");
        let (title, input) = input.split_once('\n').expect("a title");
        (title.trim().to_owned(), input.to_owned(), expected.to_owned())
    });
    (head, cases.collect())
}

/// Compares what came out with what is expected; `UPDATE_EXPECT=1` writes it down instead.
pub(crate) fn compare(file: &str, run: impl Fn(&str) -> String) -> usize {
    let (head, cases) = cases(file);
    let mut fresh = head;
    let mut wrong = String::new();
    for (title, input, expected) in &cases {
        let got = run(input);
        if got.trim_end() != expected.trim_end() {
            wrong.push_str(&format!("{title}\n-- expected\n{expected}\n-- got\n{got}\n"));
        }
        fresh.push_str(&format!("case: {title}\n{input}----\n{}\n\n", got.trim_end()));
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobspec/fixtures").join(file);
        std::fs::write(path, format!("{}\n", fresh.trim_end())).expect("the file is writable");
    } else {
        assert!(wrong.is_empty(), "{file}\n{wrong}");
    }
    cases.len()
}
