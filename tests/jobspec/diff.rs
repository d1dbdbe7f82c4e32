//! Differences of jobs as fixtures: `old:` and `new:` lines change the small job, the difference
//! comes out as text, with what the scheduler would do where a line says so (`place: 1`).

use std::fmt::Write;

use serde_json::Value;
use vardo::api::DesiredUpdates;
use vardo::jobspec::diff;
use vardo::stdx::BTreeMap;

use super::fixture;

fn run(input: &str) -> String {
    let (mut old, mut new) = (Some(fixture::job()), fixture::job());
    let mut counts = DesiredUpdates::default();
    let mut annotated = false;
    for line in input.lines() {
        let (word, rest) = line.split_once(':').expect("a word and a colon");
        let rest = rest.trim();
        let number = || rest.parse().expect("a number");
        match word {
            "old" if rest == "none" => old = None,
            "old" => fixture::set(old.as_mut().expect("an old job"), rest),
            "new" => fixture::set(&mut new, rest),
            "place" => counts.place = number(),
            "destructive" => counts.destructive_update = number(),
            "in place" => counts.in_place_update = number(),
            "stop" => counts.stop = number(),
            other => panic!("{other}"),
        }
        annotated |= !matches!(word, "old" | "new");
    }
    let stored = |job: Value| {
        let (job, _) = super::admitted(super::given(&job)).unwrap_or_else(|e| panic!("{e:?}"));
        serde_json::to_value(job).expect("JSON")
    };
    let mut diff = diff::jobs(old.map(stored).as_ref(), &stored(new));
    if annotated {
        diff::annotate(&mut diff, &BTreeMap::from([("app".to_owned(), counts)]));
    }
    let mut out = String::new();
    show(&diff, "job", 0, &mut out);
    out
}

fn list(v: &Value) -> impl Iterator<Item = &Value> {
    v.as_array().into_iter().flatten()
}

fn show(diff: &Value, what: &str, depth: usize, out: &mut String) {
    let mark = |v: &Value| match v["Type"].as_str() {
        Some("Added") => "+",
        Some("Deleted") => "-",
        Some("Edited") => "~",
        Some("None") => "=",
        other => panic!("{other:?}"),
    };
    let notes = |v: &Value| match &v["Annotations"] {
        Value::Null => String::new(),
        notes => format!(" {notes}"),
    };
    let indent = "  ".repeat(depth);
    let name = diff["Name"].as_str().or(diff["ID"].as_str()).unwrap_or_default();
    let updates = diff.get("Updates").filter(|u| !u.is_null());
    let updates = updates.map_or_else(String::new, |u| format!(" {u}"));
    let head = format!("{} {what} {name}", mark(diff));
    writeln!(out, "{indent}{}{}{updates}", head.trim_end(), notes(diff)).unwrap();
    for f in list(&diff["Fields"]) {
        let name = f["Name"].as_str().expect("a name");
        let (old, new) = (&f["Old"], &f["New"]);
        let change = match f["Type"].as_str() {
            Some("None") => old.to_string(),
            _ => format!("{old} -> {new}"),
        };
        writeln!(out, "{indent}  {} {name}: {change}{}", mark(f), notes(f)).unwrap();
    }
    for (parts, what) in [("Objects", ""), ("TaskGroups", "group"), ("Tasks", "task")] {
        for part in list(diff.get(parts).unwrap_or(&Value::Null)) {
            show(part, what, depth + 1, out);
        }
    }
}

#[test]
fn differences_of_jobs() {
    assert!(fixture::compare("diff.txt", run) >= 25);
}
