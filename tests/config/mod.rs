//! Agent configurations against what becomes of them: `NAME.hcl` or `NAME.json` beside
//! `NAME.expect`, which holds what differs from the smallest configuration (as `/v1/agent/self`
//! prints it) and the warnings, or why the agent does not start. `UPDATE_EXPECT=1` writes them;
//! commit only differences that you can explain.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::Value;
use vardo::agent::config::Config;
use vardo::stdx::BTreeMap;

/// The leaves of an object by their dotted path.
fn leaves(value: &Value, path: &str, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                leaves(inner, &format!("{path}.{key}"), out);
            }
        }
        other => drop(out.insert(path.trim_start_matches('.').to_owned(), other.to_string())),
    }
}

fn shown(config: &Config) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    leaves(&serde_json::from_slice(config.self_json()).unwrap(), "", &mut out);
    out
}

#[test]
fn configurations_become_what_stands_beside_them() {
    let plain = shown(&Config::of_text(b"data_dir = \"/d\"\nserver { enabled = true }").unwrap());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "hcl" || e == "json"))
        .collect();
    files.sort();
    assert!(files.len() >= 40);
    let mut wrong = Vec::new();
    for file in files {
        let mut got = String::new();
        match Config::of_text(&fs::read(&file).unwrap()) {
            Ok(config) => {
                for (path, value) in shown(&config) {
                    if plain.get(&path) != Some(&value) {
                        writeln!(got, "{path} = {value}").unwrap();
                    }
                }
                for warning in config.warnings() {
                    writeln!(got, "WARNING: {warning}").unwrap();
                }
            }
            Err(text) => writeln!(got, "ERROR: {text}").unwrap(),
        }
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let beside = folder.join(format!("{name}.expect"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&beside, &got).unwrap();
        }
        if fs::read_to_string(&beside).ok().as_ref() != Some(&got) {
            wrong.push(format!("{}:\n{got}", beside.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
