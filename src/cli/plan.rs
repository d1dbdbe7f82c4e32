//! `job plan`: what would change, and whether there is room.

use serde_json::Value;

use super::args::Args;
use super::format::{at, entries, int, list, text};
use super::http::{Query, escape};
use super::jobfile::JobFile;
use super::monitor::reasons;
use super::{Session, Stop, failed, http, job};
use crate::api::AllocMetric;
use crate::stdx::json;

/// Shows the plan. 0: nothing but updates in place; 1: allocations come and go.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = args.at(0);
    let file = JobFile::read(path, args).map_err(|e| format!("Error getting job struct: {e}"))?;
    if session.api.namespace.is_empty() {
        session.api.namespace.clone_from(&file.namespace);
    }
    let diff = args.value("diff").is_none() || args.on("diff");
    let body = format!(
        "{{\"Job\":{},\"Diff\":{diff},\"PolicyOverride\":{}}}",
        file.json,
        args.on("policy-override")
    );
    let wrong = "Error during plan";
    let url = format!("/v1/job/{}/plan", escape(&file.id));
    let (_, raw) = session
        .api
        .whole("PUT", &url, Query::default(), Some(body.as_bytes()))
        .map_err(failed(wrong))?;
    let answer = http::decode(&raw).map_err(failed(wrong))?;
    let status = exit_status(&answer);
    if args.on("json-output") {
        session.json(&String::from_utf8_lossy(&raw));
        return Ok(status);
    }
    if args.value("t").is_some() {
        session.shaped(args, &raw)?;
        return Ok(status);
    }
    if diff {
        let text = difference(session, at(&answer, "Diff"), args.on("verbose"));
        session.say(&format!("{text}\n"));
    }
    let title = session.paint("1", "Scheduler dry-run:");
    session.say(&format!("{title}\n{}\n", dry_run(session, &answer)));
    job::warnings(session, &answer);
    let index = int(&answer, "JobModifyIndex");
    let mut vars = String::new();
    for name in ["var", "var-file"] {
        for value in args.all(name) {
            vars.push_str(&format!(" -{name}={value:?}"));
        }
    }
    session.say(&format!(
        "Job Modify Index: {index}\nTo submit the job with version verification run:\n\n\
         vardo job run -check-index {index}{vars} {path}\n\nWith the check-index flag the job is \
         only run where it has not changed since; another\nindex means that this plan is out of \
         date."
    ));
    Ok(status)
}

fn exit_status(answer: &Value) -> i32 {
    let kinds = ["Stop", "Place", "Migrate", "DestructiveUpdate", "Canary"];
    let moves = entries(answer, "Annotations.DesiredTGUpdates")
        .any(|(_, u)| kinds.iter().any(|k| int(u, k) > 0));
    // Without a difference there may still be allocations that wait for room.
    let same = text(answer, "Diff.Type") == "None";
    i32::from(moves && !same)
}

fn dry_run(session: &Session<'_>, answer: &Value) -> String {
    let mut out = String::new();
    let failures = at(answer, "FailedTGAllocs");
    if failures.as_object().is_none_or(serde_json::Map::is_empty) {
        out.push_str(&session.paint("32", "- All tasks successfully allocated."));
    } else {
        out.push_str(&session.paint("33", "- WARNING: Failed to place all allocations."));
        for (group, metric) in entries(failures, "") {
            let metric: AllocMetric =
                json::decode(metric.to_string().as_bytes()).unwrap_or_default();
            let n = super::format::count(metric.coalesced_failures + 1, "allocation");
            out.push_str(&format!("\n  Task Group \"{group}\" (failed to place {n}):"));
            for reason in reasons(&metric) {
                out.push_str(&format!("\n    {reason}"));
            }
        }
    }
    let preempted = list(answer, "Annotations.PreemptedAllocs");
    if !preempted.is_empty() {
        out.push_str(&format!("\n- Preempts {} allocations.", preempted.len()));
    }
    let next = text(answer, "NextPeriodicLaunch");
    if !next.is_empty() {
        out.push_str(&format!("\n- If submitted now, next periodic launch would be at {next}."));
    }
    out
}

/// A difference of two versions of a job, without an end of line.
pub(super) fn difference(session: &Session<'_>, diff: &Value, verbose: bool) -> String {
    let mut d = Difference { session, verbose, out: String::new() };
    d.head("Job", diff, 0, text(diff, "ID"));
    d.members(diff, 2);
    for group in list(diff, "TaskGroups") {
        d.head("Task Group", group, 0, text(group, "Name"));
        d.members(group, 2);
        for task in list(group, "Tasks") {
            d.head("Task", task, 2, text(task, "Name"));
            d.members(task, 4);
        }
    }
    d.out.trim_end().to_owned()
}

struct Difference<'s, 'a> {
    session: &'s Session<'a>,
    verbose: bool,
    out: String,
}

impl Difference<'_, '_> {
    /// The sign of a kind of change, in its colour; unchanged things have none.
    fn sign(&self, kind: &str) -> String {
        let (code, sign) = match kind {
            "Added" => ("32", "+"),
            "Deleted" => ("31", "-"),
            "Edited" => ("33", "+/-"),
            _ => return String::new(),
        };
        format!("{} ", self.session.paint(code, sign))
    }

    fn line(&mut self, indent: usize, kind: &str, text: &str) {
        let sign = self.sign(kind);
        self.out.push_str(&format!("{:indent$}{sign}{text}\n", ""));
    }

    fn head(&mut self, noun: &str, diff: &Value, indent: usize, name: &str) {
        let updates: Vec<String> =
            entries(diff, "Updates").map(|(what, n)| format!("{n} {what}")).collect();
        let notes = list(diff, "Annotations").iter().map(super::format::plain);
        let all: Vec<String> = updates.into_iter().chain(notes).collect();
        let all = if all.is_empty() { String::new() } else { format!(" ({})", all.join(", ")) };
        self.line(indent, text(diff, "Type"), &format!("{noun}: \"{name}\"{all}"));
    }

    /// Fields and objects; those of something new or gone only where everything is asked for.
    fn members(&mut self, diff: &Value, indent: usize) {
        if text(diff, "Type") == "Edited" || self.verbose {
            self.fields(diff, indent);
            self.objects(diff, indent);
        }
    }

    fn fields(&mut self, diff: &Value, indent: usize) {
        for field in list(diff, "Fields") {
            let kind = text(field, "Type");
            if kind == "None" && !self.verbose {
                continue;
            }
            let (name, old, new) = (text(field, "Name"), text(field, "Old"), text(field, "New"));
            let value = match kind {
                "Added" => format!("{new:?}"),
                "Deleted" => format!("{old:?}"),
                "Edited" => format!("{old:?} => {new:?}"),
                _ => format!("{new:?}"),
            };
            let notes: Vec<String> =
                list(field, "Annotations").iter().map(super::format::plain).collect();
            let notes =
                if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
            self.line(indent, kind, &format!("{name}: {value}{notes}"));
        }
    }

    fn objects(&mut self, diff: &Value, indent: usize) {
        for object in list(diff, "Objects") {
            let kind = text(object, "Type");
            if kind == "None" && !self.verbose {
                continue;
            }
            self.line(indent, kind, &format!("{} {{", text(object, "Name")));
            self.fields(object, indent + 2);
            self.objects(object, indent + 2);
            self.line(indent, "", "}");
        }
    }
}
