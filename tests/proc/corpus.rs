//! Every job file of `tests/jobspec/hcl`, through the command line and through a server: the same
//! job, or the same mistakes at the same places, as `tests/jobspec/hcl.rs` holds the library to.

#![expect(clippy::disallowed_methods, reason = "tests of the binary start it")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::jobspec::hcl::shown;
use crate::support::agent::{Agent, BINARY};
use crate::support::http;

/// The lines that begin with the name of a file: one for each mistake.
fn mistakes(text: &str, name: &str) -> Vec<String> {
    let own = |l: &&str| l.starts_with(&format!("{name}:")) || l.starts_with("<nil>:");
    text.lines().filter(own).map(|l| l.replace(name, "input.hcl")).collect()
}

#[test]
fn job_files_are_the_same_for_the_command_line_and_a_server() {
    let agent = Agent::start(&json!({}));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobspec/hcl");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "hcl"));
    files.sort();
    assert!(files.len() >= 60);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.display().to_string();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let body = json!({ "JobHCL": text }).to_string();
        let answer =
            http::send(&agent.address, "POST", "/v1/jobs/parse", &[], Some(body.as_bytes()));
        let answer = answer.expect("an answer");
        let ran = Command::new(BINARY)
            .args(["job", "run", "-output", &path])
            .env("NOMAD_ADDR", format!("http://{}", agent.address))
            .output()
            .expect("the binary runs");
        let ended = ran.status.code();
        match fs::read_to_string(file.with_extension("json")) {
            Ok(expected) => {
                let expected: Value = serde_json::from_str(&expected).unwrap();
                assert_eq!((answer.status, ended), (200, Some(0)), "{name}");
                let parsed: Value = serde_json::from_slice(&answer.body).expect("JSON");
                assert_eq!(shown(&parsed), expected, "{name}, by a server");
                let printed: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
                assert_eq!(shown(&printed["Job"]), expected, "{name}, by the command line");
            }
            Err(_) => {
                let expected = fs::read_to_string(file.with_extension("txt")).unwrap();
                let expected = mistakes(&expected, &name);
                assert!(!expected.is_empty(), "{name}");
                assert_eq!((answer.status, ended), (400, Some(1)), "{name}");
                if text.is_empty() {
                    assert_eq!(answer.text(), "Job spec is empty");
                    continue;
                }
                let told = answer.text();
                let told = told.strip_prefix("Failed to parse job: ").expect("a prefix");
                assert_eq!(mistakes(told, "input.hcl"), expected, "{name}, by a server");
                let mut told = mistakes(&String::from_utf8_lossy(&ran.stderr), &path);
                // What only a server refuses.
                let own = |l: &&String| !l.contains("filesystem function disabled");
                told.retain(|l| own(&l));
                let expected: Vec<_> = expected.iter().filter(own).cloned().collect();
                assert_eq!(told, expected, "{name}, by the command line");
            }
        }
    }
}

/// Every agent configuration of `tests/config`, by `config validate`: the same outcome as
/// `tests/config/mod.rs` holds the library to, with what is wrong or warned of.
#[test]
fn configurations_are_the_same_for_the_command_line() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "hcl" || e == "json"));
    files.sort();
    assert!(files.len() >= 30);
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(folder.join(format!("{name}.expect"))).unwrap();
        let mut command = Command::new(BINARY);
        let ran = command.args(["config", "validate"]).arg(&file).output().expect("it runs");
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        let wrong = expected.lines().find_map(|l| l.strip_prefix("ERROR: "));
        assert_eq!(ran.status.code(), Some(i32::from(wrong.is_some())), "{name}: {told}");
        let warnings = expected.lines().filter_map(|l| l.strip_prefix("WARNING: "));
        for text in wrong.into_iter().chain(warnings) {
            let text = text.rsplit("Error loading ").next().unwrap_or(text);
            assert!(told.contains(text), "{name}: {text:?} is not in {told:?}");
        }
    }
}
