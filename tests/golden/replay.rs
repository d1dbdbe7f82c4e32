//! Sends the steps of a scenario and gathers what differs.

#![expect(clippy::disallowed_methods, reason = "steps wait until something holds")]

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::compare::{self, Saved};
use crate::support::agent::Agent;
use crate::support::http::{self, Answer};

/// How long an `until` may take.
const UNTIL: Duration = Duration::from_secs(20);

/// An answer in the form that is compared.
pub(crate) struct Got {
    pub(crate) answer: Answer,
    /// The body is JSON and is meant to be compared as such.
    pub(crate) is_json: bool,
    /// The JSON, or the text.
    pub(crate) body: Value,
}

/// Starts an agent and fails where any step of the file differs.
pub(crate) fn matches(name: &str) {
    matches_at(name, |agent| agent.address.clone());
}

/// The same with the requests sent to another address than the agent's own, as of a proxy.
pub(crate) fn matches_at(name: &str, at: impl Fn(&Agent) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
    let text = std::fs::read(path.join(format!("{name}.json"))).expect("the golden file");
    let scenario: Value = serde_json::from_slice(&text).expect("JSON");
    let steps = scenario["steps"].as_array().expect("steps");
    let (mut compared, mut report) = replay(&scenario["config"], steps, &at);
    if !report.is_empty() {
        // Some recorded moments are short (a stopped job whose tasks still end), and a machine that
        // does much else misses them. What is wrong is wrong in the second run too.
        (compared, report) = replay(&scenario["config"], steps, &at);
    }
    let matched = compared - report.len();
    assert!(
        report.is_empty(),
        "{name}: {matched} of {compared} steps match\n{}",
        report.join("\n")
    );
}

/// How many steps were compared, and what differed. The machine of the recorder had two processors.
fn replay(config: &Value, steps: &[Value], at: &impl Fn(&Agent) -> String) -> (usize, Vec<String>) {
    let mut config = config.clone();
    config["server"]["num_schedulers"] = 2.into();
    let agent = Agent::start(&config);
    let address = at(&agent);
    let (mut saved, mut compared, mut report) = (Saved::default(), 0, Vec::new());
    for (i, step) in steps.iter().enumerate() {
        let got = run(&address, step, &saved);
        save(step, &got, &mut saved);
        let Some(want) = step.get("want") else { continue };
        compared += 1;
        let problems = compare::problems(step, want, &got, &saved);
        if !problems.is_empty() {
            let more = problems.len().saturating_sub(12);
            let shown = problems[..problems.len() - more].join("\n    ");
            let rest = if more > 0 { format!("\n    and {more} more") } else { String::new() };
            report.push(format!("step {i}: {}\n    {shown}{rest}", step["do"]));
        }
    }
    (compared, report)
}

/// Sends a step, again and again where it says `until`.
fn run(address: &str, step: &Value, saved: &Saved) -> Got {
    let begin = Instant::now();
    loop {
        let got = send(address, step, saved);
        let holds = step.get("until").is_none_or(|until| {
            let until = saved.fill(until);
            let all = until.as_object().expect("until is an object");
            all.iter().all(|(at, v)| got.body.pointer(at).is_some_and(|g| compare::equal(g, v)))
        });
        if holds || begin.elapsed() > UNTIL {
            return got;
        }
        // Often at first: a recorded moment right after this step may be short.
        sleep((begin.elapsed() / 4).clamp(Duration::from_millis(2), Duration::from_millis(100)));
    }
}

fn send(address: &str, step: &Value, saved: &Saved) -> Got {
    let request = saved.fill(&step["do"]);
    let (method, path) =
        request.as_str().and_then(|d| d.split_once(' ')).expect("a method and a path");
    let body = match (step.get("raw"), step.get("body")) {
        (Some(raw), _) => Some(saved.fill(raw).as_str().expect("text").to_owned()),
        (None, Some(body)) => Some(saved.fill(body).to_string()),
        (None, None) => None,
    };
    let mut headers = Vec::new();
    for (name, value) in step.get("headers").and_then(Value::as_object).into_iter().flatten() {
        let value = saved.fill(value).as_str().expect("text").to_owned();
        headers.push((name.clone(), value));
    }
    let answer = http::send(address, method, path, &headers, body.as_deref().map(str::as_bytes));
    let answer = answer.unwrap_or_else(|e| Answer {
        body: format!("no answer: {e}").into_bytes(),
        ..Answer::default()
    });
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let document = serde_json::from_str(&text).ok();
    let as_text = step["text"] == Value::Bool(true);
    match document.filter(|_| !as_text) {
        Some(body) => Got { answer, is_json: true, body },
        None => Got { answer, is_json: false, body: Value::String(text) },
    }
}

fn save(step: &Value, got: &Got, saved: &mut Saved) {
    for (name, place) in step.get("save").and_then(Value::as_object).into_iter().flatten() {
        let place = place.as_str().expect("a pointer or a header");
        let value = match place.strip_prefix("header:") {
            Some(header) => got.answer.header(&header.to_lowercase()).map(Value::from),
            None => got.body.pointer(place).cloned(),
        };
        if let Some(value) = value {
            saved.put(name, value);
        }
    }
}
