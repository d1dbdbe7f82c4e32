//! `simulate`: a fleet that need not exist, over the built program.

#![expect(clippy::disallowed_methods, reason = "tests of the binary start it")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::agent::{Agent, BINARY};

/// A directory with job files, gone at the end.
struct Files(PathBuf);

impl Drop for Files {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl Files {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vardo-sim-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        Self(dir)
    }

    fn write(&self, name: &str, value: &Value) -> String {
        let path = self.0.join(name);
        fs::write(&path, value.to_string()).expect("a file");
        path.display().to_string()
    }
}

fn job(id: &str, count: i64, cpu: i64) -> Value {
    json!({"ID": id, "Name": id, "Type": "service", "Datacenters": ["*"],
        "TaskGroups": [{"Name": "g", "Count": count, "Tasks": [{
            "Name": "t", "Driver": "exec", "Config": {"command": "/bin/true"},
            "Resources": {"CPU": cpu, "MemoryMB": 64}}]}]})
}

/// Exit status, standard output, standard error.
fn simulate(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(BINARY).arg("simulate").args(args).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

fn as_json(args: &[&str]) -> (i32, Value) {
    let (status, out, err) = simulate(args);
    (status, serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{err}")))
}

#[test]
fn everything_finds_a_place_and_the_same_seed_finds_it_again() {
    let files = Files::new("fits");
    let web = files.write("web.json", &job("web", 20, 500));
    let args = ["-nodes", "10", "-racks", "5", "-json", "-verbose", &web];
    let (status, report) = as_json(&args);
    assert_eq!(status, 0, "{report}");
    let group = &report["Jobs"][0];
    assert_eq!((&group["Wanted"], &group["Placed"]), (&json!(20), &json!(20)));
    let nodes = report["Nodes"].as_array().expect("nodes");
    let sum = |key: &str| nodes.iter().map(|n| n[key].as_i64().expect(key)).sum::<i64>();
    assert_eq!((sum("Allocations"), sum("CPU"), sum("MemoryMB")), (20, 10_000, 1_280));
    assert_eq!(report["Placements"].as_array().map(Vec::len), Some(20));
    let again = as_json(&args).1;
    assert_eq!(report["Placements"], again["Placements"]);

    let (status, text, _) = simulate(&["-nodes", "10", &web]);
    assert_eq!(status, 0);
    for part in ["20 allocations placed on 10 nodes", "Packing: ", "cpu 25.0 %", "node-0009"] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn what_does_not_fit_is_told_with_the_reason() {
    let files = Files::new("short");
    let mut wants = job("wants", 3, 1_000);
    wants["Constraints"] = json!([{"LTarget": "${meta.rack}", "Operand": "=", "RTarget": "r0"}]);
    let path = files.write("wants.json", &json!({"Job": wants}));
    let args = ["-nodes", "4", "-racks", "2", "-cpu", "1500", &path];
    let (status, text, _) = simulate(&args);
    assert_eq!(status, 2);
    for part in [
        "2 allocations placed",
        "No place for 1 of wants.g",
        "4 nodes looked at, 2 cannot run it, 2 have no room",
        "2 nodes have not enough: cpu",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}");
    }
}

#[test]
fn what_died_is_placed_again_as_far_as_there_is_room() {
    let files = Files::new("kill");
    let web = files.write("web.json", &job("web", 8, 1_000));
    let (status, report) =
        as_json(&["-nodes", "4", "-cpu", "3000", "-kill", "2", "-seed", "7", "-json", &web]);
    assert_eq!(report["DeadNodes"].as_array().map(Vec::len), Some(2));
    let after = &report["AfterDeaths"][0];
    let number = |key: &str| after[key].as_i64().expect(key);
    assert!(number("Lost") > 0, "{report}");
    assert_eq!(number("Placed") + number("Unplaced"), number("Lost"), "{report}");
    // Two nodes hold three each.
    assert_eq!((number("Unplaced"), status), (2, 2), "{report}");
    for node in report["Nodes"].as_array().expect("nodes") {
        let empty = node["Dead"] == json!(true);
        assert_eq!(node["Allocations"] == json!(0), empty, "{node}");
    }
}

#[test]
fn many_copies_on_a_given_fleet_and_their_picture() {
    let files = Files::new("copies");
    let web = files.write("web.json", &job("web", 4, 100));
    let node = |name: &str, cpu: i64| {
        json!({"Name": name, "Meta": {"rack": "<left & right>"},
            "NodeResources": {"Cpu": {"CpuShares": cpu}, "Memory": {"MemoryMB": 4096},
                "Disk": {"DiskMB": 50_000}}})
    };
    let fleet = files.write("fleet.json", &json!([node("small", 1000), node("large", 9000)]));
    let svg = files.0.join("fleet.svg").display().to_string();
    let args = ["-fleet", &fleet, "-copies", "5", "-svg", &svg, "-json", &web];
    let (status, report) = as_json(&args);
    assert_eq!(status, 0, "{report}");
    assert_eq!(report["Jobs"].as_array().map(Vec::len), Some(5));
    assert_eq!(report["Jobs"][4]["Job"], json!("web-4"));
    let picture = fs::read_to_string(svg).expect("a picture");
    assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"));
    assert!(picture.contains("20 allocations on 2 nodes"));
    assert!(picture.contains("&lt;left &amp; right&gt;") && picture.contains("<title>small: "));
}

#[test]
fn a_running_clusters_nodes_serve_too() {
    let agent = Agent::start(&json!({}));
    let files = Files::new("cluster");
    let web = files.write("web.json", &job("web", 1, 10));
    let address = format!("http://{}", agent.address);
    let (status, report) = as_json(&["-cluster", "-address", &address, "-json", &web]);
    // The agent's only driver is raw_exec.
    assert_eq!(status, 2, "{report}");
    let why = &report["Jobs"][0]["Metric"]["ConstraintFiltered"];
    assert_eq!(why, &json!({"missing drivers": 1}));
    let mut raw = job("raw", 1, 10);
    raw["TaskGroups"][0]["Tasks"][0]["Driver"] = json!("raw_exec");
    let raw = files.write("raw.json", &raw);
    assert_eq!(as_json(&["-cluster", "-address", &address, "-json", &raw]).0, 0);
}

#[test]
fn wrong_calls_are_explained() {
    let files = Files::new("wrong");
    let web = files.write("web.json", &job("web", 1, 10));
    let mut bad = job("bad", 1, 10);
    bad["Type"] = json!("nonsense");
    let bad = files.write("bad.json", &bad);
    let list = files.write("list.json", &json!({"no": "list"}));
    let (web, bad, list) = (web.as_str(), bad.as_str(), list.as_str());
    let cases: &[(&[&str], &str)] = &[
        (&[], "takes at least one argument"),
        (&[web], "A fleet is needed"),
        (&["-nodes", "5", "-cluster", web], "Only one of"),
        (&["-nodes", "0", web], "out of range"),
        (&["-nodes", "x", web], "invalid value"),
        (&["-nodes", "5", "-kill", "6", web], "cannot kill 6 of 5 nodes"),
        (&["-nodes", "5", "-algorithm", "best", web], "binpack or spread"),
        (&["-nodes", "5", web, web], "given twice"),
        (&["-nodes", "5", bad], "job \"bad\" is refused"),
        (&["-nodes", "5", "/no/such/file"], "/no/such/file"),
        (&["-fleet", list, web], "no JSON list of nodes"),
        (&["-fleet", "/no/such/file", web], "/no/such/file"),
    ];
    for (args, text) in cases {
        let (status, out, err) = simulate(args);
        assert_eq!((status, out.as_str()), (1, ""), "{args:?}: {err}");
        assert!(err.contains(text), "{args:?}: {err}");
    }
}
