//! Faults of disk, process and network on real processes. `README.md` beside this file says which
//! fault of the list is injected how, and what came of it.

#![expect(clippy::disallowed_methods, reason = "faults are injected by programs of the system")]

mod crash;
mod disk;
mod edge;
mod images;
mod slow;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use vardo::stdx::BTreeSet;

use super::agent::Agent;

/// Keeps four writers at an agent until `stop` or until they are refused, and says what was
/// acknowledged.
fn written(agent: &Agent, prefix: &str, stop: &AtomicBool) -> BTreeSet<String> {
    let value = "x".repeat(600);
    let writer = |w: u64| {
        let mut acknowledged = Vec::new();
        for n in 0.. {
            let path = format!("{prefix}/w{w}/n{n}");
            let body = json!({ "Items": { "k": value } }).to_string();
            let answer = agent.request("PUT", &format!("/v1/var/{path}"), Some(&body));
            match answer {
                Ok(answer) if answer.status == 200 => acknowledged.push(path),
                _ => break,
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        acknowledged
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4).map(|w| scope.spawn(move || writer(w))).collect();
        writers.into_iter().flat_map(|w| w.join().expect("a writer")).collect()
    })
}

/// What an agent holds itself.
fn held(agent: &Agent) -> BTreeSet<String> {
    let answer = agent.get("/v1/vars?stale").json();
    let list = answer.as_array().expect("a list").iter();
    list.map(|v| v["Path"].as_str().expect("a path").to_owned()).collect()
}

/// The agent serves: a durable server with its key.
fn serves(agent: &Agent) -> bool {
    let body = json!({ "Items": { "k": "v" } }).to_string();
    agent.request("PUT", "/v1/var/serves", Some(&body)).is_ok_and(|a| a.status == 200)
}

fn lone(name: &str) -> Agent {
    Agent::prepare(name, &json!({ "client": { "enabled": false } }))
}

/// The data file of a server.
fn data(agent: &Agent) -> PathBuf {
    agent.dir.join("data/store/data.mdb")
}

/// Runs a program of the system; false where it is not there or fails.
fn run(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|o| o.status.success())
}

/// Starts an agent with a small library of ours before the system's, and a variable for it. False
/// where there is no compiler.
fn preloaded(agent: &mut Agent, source: &str, (name, value): (&str, &str)) -> bool {
    let [from, to] = ["shim.c", "shim.so"].map(|f| agent.dir.join(f).display().to_string());
    std::fs::write(&from, source).expect("a source");
    if !run("cc", &["-shared", "-fPIC", "-o", &to, &from, "-ldl"]) {
        return false;
    }
    agent.spawn_by(&["env", &format!("LD_PRELOAD={to}"), &format!("{name}={value}")]);
    true
}

/// Says that a fault cannot be injected here.
fn skip(what: &str) {
    println!("SKIP: {what}");
}

/// A file system of its own in memory; unmounted when dropped. `None`: not permitted here.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, kib: u64) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a directory");
        let (size, path) = (format!("size={kib}k"), at.display().to_string());
        run("mount", &["-t", "tmpfs", "-o", &size, "none", &path]).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", &["-l", &self.0.display().to_string()]);
    }
}
