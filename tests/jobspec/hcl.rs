//! Job files in HCL against what becomes of them: `NAME.hcl` beside `NAME.json` (the job, without
//! what is null) or `NAME.txt` (every mistake). `UPDATE_EXPECT=1` writes them; commit only
//! differences that you can explain.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vardo::hcl::disk::Disk;
use vardo::jobspec::hcl::{self, Inputs};

/// A value without its empty parts.
pub(crate) fn shown(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, v)| !v.is_null() && !matches!(v.as_str(), Some("")))
            .map(|(k, v)| (k.clone(), shown(v)))
            .collect(),
        Value::Array(items) => items.iter().map(shown).collect(),
        other => other.clone(),
    }
}

#[test]
fn job_files_become_what_stands_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jobspec/hcl");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "hcl"))
        .collect();
    files.sort();
    assert!(files.len() >= 12);
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&file).unwrap();
        let (ending, got) = match hcl::job(&text, &Inputs::default(), None) {
            Ok(job) => ("json", serde_json::to_string_pretty(&shown(&job)).unwrap()),
            Err(all) => ("txt", hcl::lines(&name, &text, &all)),
        };
        let beside = file.with_extension(ending);
        let got = format!("{got}\n");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&beside, &got).unwrap();
        }
        if fs::read_to_string(&beside).ok().as_ref() != Some(&got) {
            wrong.push(format!("{}:\n{got}", beside.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn variables_are_taken_from_the_strongest_source() {
    let text = "variable \"a\" {\n  type = list(string)\n  default = [\"d\"]\n}\n\
                variable \"b\" {\n  type = string\n}\njob \"x\" {\n  datacenters = var.a\n  \
                region = var.b\n}\n";
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let parse = |environment: &[_], files: &[_], flags: &[_], strict| {
        let inputs = Inputs { environment, files, flags, strict };
        hcl::job(text, &inputs, None).map_err(|e| hcl::lines("x.hcl", text, &e))
    };
    let env = [pair("a", "[\"env\"]"), pair("b", "5"), pair("unknown", "1")];
    let job = parse(&env, &[], &[], true).unwrap();
    assert_eq!(job["Datacenters"], serde_json::json!(["env"]));
    assert_eq!(job["Region"], "5");
    let files = [pair("v.hcl", "a = [\"file\"]"), pair("v.json", "{\"b\": \"json\"}")];
    let job = parse(&env, &files, &[], true).unwrap();
    assert_eq!(job["Datacenters"], serde_json::json!(["file"]));
    assert_eq!(job["Region"], "json");
    let job = parse(&env, &files, &[pair("b", "flag")], true).unwrap();
    assert_eq!(job["Region"], "flag");
    let unknown = [pair("zz", "1"), pair("b", "x")];
    assert!(parse(&[], &[], &unknown, false).is_ok());
    assert!(parse(&[], &[], &unknown, true).unwrap_err().contains("Undefined variable"));
    let wrong = [pair("a", "5"), pair("b", "x")];
    assert!(parse(&[], &[], &wrong, true).unwrap_err().contains("Invalid value for variable"));
    assert!(parse(&[], &[], &[], true).unwrap_err().starts_with("<nil>: Unset variable \"b\""));
}

/// A machine with two folders.
struct Machine;

impl Disk for Machine {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Ok(format!("from {path}").into_bytes())
    }

    fn list(&self, path: &str) -> Result<Vec<(String, bool)>, String> {
        let names: &[(&str, bool)] = match path {
            "d/" => &[("b.txt", false), ("sub", true), ("a.txt", false), ("c.md", false)],
            "d/sub" => &[("e.txt", false)],
            _ => return Err(format!("no {path}")),
        };
        Ok(names.iter().map(|(n, folder)| ((*n).to_owned(), *folder)).collect())
    }

    fn absolute(&self, path: &str) -> String {
        format!("/here/{path}")
    }

    fn home(&self) -> String {
        "/home/me".to_owned()
    }

    fn chance(&self) -> [u8; 16] {
        [0xff; 16]
    }
}

#[test]
fn files_are_read_for_the_user_only() {
    for (expression, value) in [
        ("file(\"r.txt\")", "from r.txt"),
        ("abspath(\"x\")", "/here/x"),
        ("pathexpand(\"~/x\")", "/home/me/x"),
        ("pathexpand(\"~x\")", "~x"),
        ("uuidv4()", "ffffffff-ffff-4fff-bfff-ffffffffffff"),
        ("bcrypt(\"U*U\", 4)", "$2a$04$999999999999999999999uwVH0rFD6U10XiWAb3L3JoZ68A3xU33O"),
        ("join(\" \", fileset(\"d\", \"*.txt\"))", "a.txt b.txt"),
        ("join(\" \", fileset(\"d\", \"**/*.txt\"))", "a.txt b.txt sub/e.txt"),
    ] {
        let text = format!("job \"x\" {{\n  region = {expression}\n}}\n");
        let job = hcl::job(&text, &Inputs::default(), Some(&Machine)).unwrap();
        assert_eq!(job["Region"], value, "{expression}");
        assert!(hcl::job(&text, &Inputs::default(), None).is_err());
    }
}

/// A server stops where the command line would go on.
#[test]
fn a_server_has_less_patience() {
    let text = "job \"x\" {\n  meta = { n = length([for a in range(400) : \
                [for b in range(400) : a]]) }\n}\n";
    assert!(hcl::job(text, &Inputs::default(), Some(&Machine)).is_ok());
    let wrong = hcl::job(text, &Inputs::default(), None).unwrap_err();
    assert!(hcl::lines("x", text, &wrong).contains("too"), "{wrong:?}");
}
