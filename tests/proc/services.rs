//! Services of running tasks, with checks that really connect. The checked address is a listener
//! of the test itself.

#![expect(clippy::disallowed_methods, reason = "a test serves and waits")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};

/// Answers every request with the status that is set; zero: not at all.
struct Checked {
    port: u16,
    status: Arc<AtomicU16>,
}

impl Checked {
    fn start() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let status = Arc::new(AtomicU16::new(200));
        let says = Arc::clone(&status);
        std::thread::spawn(move || {
            // Connections that get no answer stay open.
            let mut silent = Vec::new();
            for mut stream in listener.incoming().flatten() {
                let mut buf = [0; 4096];
                let n = stream.read(&mut buf).unwrap_or(0);
                let status = says.load(Ordering::Relaxed);
                if status == 0 {
                    silent.push(stream);
                } else if n > 0 {
                    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\nbody");
                    drop(stream.write_all(text.as_bytes()));
                }
            }
        });
        Self { port, status }
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// One task with a service at this port and a check of it.
fn job(id: &str, port: u16, check: Value) -> Value {
    let mut job = shell_job(id, "service", 1, "exec sleep 600");
    let group = &mut job["Job"]["TaskGroups"][0];
    group["Networks"] =
        json!([{ "Mode": "host", "ReservedPorts": [{ "Label": "http", "Value": port }] }]);
    let mut check = check;
    for key in ["Interval", "Timeout"] {
        if check[key].is_null() {
            check[key] = json!(1_000_000_000);
        }
    }
    group["Tasks"][0]["Services"] = json!([{
        "Name": "api-${NOMAD_GROUP_NAME}", "Provider": "nomad", "PortLabel": "http",
        "Tags": ["${node.datacenter}"], "Checks": [check],
    }]);
    job
}

fn instances(agent: &Agent) -> Vec<Value> {
    agent.get("/v1/service/api-g").json().as_array().cloned().unwrap_or_default()
}

/// The only result of the checks of an allocation; `null` where there is none.
fn result(agent: &Agent, alloc: &str) -> Value {
    let all = agent.get(&format!("/v1/client/allocation/{alloc}/checks")).json();
    all.as_object().and_then(|o| o.values().next()).cloned().unwrap_or_default()
}

#[test]
fn services_and_checks_of_a_running_task() {
    let checked = Checked::start();
    let mut agent = Agent::start("services");
    let check = json!({ "Type": "http", "Path": "/", "Name": "alive" });
    assert_eq!(agent.put("/v1/jobs", &job("web", checked.port, check)).status, 200);
    agent.until("a registration", |a| instances(a).len() == 1);
    let first = instances(&agent)[0].clone();
    assert_eq!(first["Port"], json!(checked.port));
    assert_eq!(first["Tags"], json!(["dc1"]));
    let node = first["NodeID"].as_str().expect("an id");
    let node = agent.get(&format!("/v1/node/{node}")).json();
    assert_eq!(first["Address"], node["Attributes"]["unique.network.ip-address"]);
    let alloc = first["AllocID"].as_str().expect("an id").to_owned();
    for list in ["/v1/job/web/services", &format!("/v1/allocation/{alloc}/services")] {
        assert_eq!(agent.get(list).json(), json!([first]), "{list}");
    }
    let names = json!([{ "Namespace": "default",
        "Services": [{ "ServiceName": "api-g", "Tags": ["dc1"] }] }]);
    assert_eq!(agent.get("/v1/services?namespace=*").json(), names);
    for (status, verdict) in [(200, "success"), (500, "failure"), (204, "success"), (0, "failure")]
    {
        checked.says(status);
        agent.until(verdict, |a| {
            let r = result(a, &alloc);
            r["Status"] == verdict && r["StatusCode"].as_u64().unwrap_or(0) == u64::from(status)
        });
    }
    assert_eq!(result(&agent, &alloc)["Output"], "nomad: no answer within 1s");
    assert_eq!(agent.get(&format!("/v1/allocation/{alloc}/checks")).status, 200);

    // Killed and started again, the agent finds the task and its registration as they were.
    agent.kill();
    agent.spawn();
    agent.until_ready();
    checked.says(200);
    agent.until("checks again", |a| result(a, &alloc)["Status"] == "success");
    assert_eq!(instances(&agent), std::slice::from_ref(&first));

    // While the agent is away the task ends: that is found out.
    let index = agent.get("/v1/service/api-g").index();
    agent.kill();
    end_task(&alloc);
    agent.spawn();
    agent.until_ready();
    agent.until("the end of the service", |a| instances(a).is_empty());
    let after = agent.get(&format!("/v1/service/api-g?index={index}&wait=10s"));
    assert!(after.index() > index && after.status == 200);
    assert_eq!(agent.get("/v1/services").json(), json!([]));
}

/// Kills the task of an allocation.
fn end_task(alloc: &str) {
    for (pid, _) in processes(alloc) {
        super::agent::send("KILL", pid);
    }
}

/// The processes of an allocation, but not its executors, with their command lines.
fn processes(alloc: &str) -> Vec<(u32, String)> {
    let mark = format!("NOMAD_ALLOC_ID={alloc}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let file = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
        if file("environ").split(|b| *b == 0).any(|v| v == mark.as_bytes())
            && let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok())
        {
            found.push((pid, String::from_utf8_lossy(&file("cmdline")).replace('\0', " ")));
        }
    }
    found
}

#[test]
fn a_failing_check_restarts_its_task_and_a_stop_wakes_those_who_wait() {
    let checked = Checked::start();
    let agent = Agent::start("check-restart");
    let check = json!({ "Type": "http", "Path": "/", "Name": "alive",
        "CheckRestart": { "Limit": 2, "Grace": 0 } });
    let mut job = job("web", checked.port, check);
    job["Job"]["TaskGroups"][0]["RestartPolicy"] =
        json!({ "Attempts": 5, "Delay": 1, "Interval": 60_000_000_000_u64, "Mode": "fail" });
    agent.put("/v1/jobs", &job);
    agent.until("a registration", |a| instances(a).len() == 1);
    checked.says(503);
    agent.until("a restart", |a| {
        a.allocs("web")[0]["TaskStates"]["t"]["Restarts"].as_u64().is_some_and(|n| n > 0)
    });
    checked.says(200);
    agent.until("the service again", |a| instances(a).len() == 1);
    let index = agent.get("/v1/service/api-g").index();
    let path = format!("/v1/service/api-g?index={index}&wait=14s");
    let gone = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| agent.get(&path));
        agent.delete("/v1/job/web?purge=true");
        waiting.join().expect("an answer")
    });
    assert_eq!((gone.json(), gone.index() > index), (json!([]), true));
}

/// A check by the shell script of that file, so that tests can change what it does.
fn script_check(agent: &Agent, script: &str) -> (std::path::PathBuf, Value) {
    let file = agent.dir.join("check.sh");
    std::fs::write(&file, script).expect("a script");
    let args = json!([file, "${NOMAD_TASK_NAME}"]);
    let check = json!({ "Type": "script", "Name": "up", "Command": "sh", "Args": args });
    (file, check)
}

#[test]
fn a_script_checks_its_task_from_within() {
    let mut agent = Agent::start("check-script");
    let says = "echo \"$1 in $PWD with $NOMAD_ALLOC_NAME\"; echo oops >&2; ";
    let (file, check) = script_check(&agent, &format!("{says} exit 0"));
    let port = Checked::start().port;
    let reply = agent.put("/v1/jobs", &job("web", port, check));
    assert_eq!(reply.status, 200, "{}", reply.text());
    agent.until("a registration", |a| instances(a).len() == 1);
    let alloc = instances(&agent)[0]["AllocID"].as_str().expect("an id").to_owned();
    let until = |agent: &Agent, status: &str, texts: &[&str]| {
        let mut last = Value::Null;
        agent.until(status, |a| {
            last = result(a, &alloc);
            let output = last["Output"].as_str().unwrap_or_default();
            last["Status"] == status && texts.iter().all(|t| output.contains(t))
        });
        last
    };
    let dir = format!("t in {}/data/alloc/{alloc}/t with web.g[0]\n", agent.dir.display());
    let good = until(&agent, "success", &["nomad: script ok\n", &dir, "oops\n"]);
    assert!(good["StatusCode"].is_null() && good["Task"] == "t", "{good}");

    // What it leaves behind goes when it ends, what does not end when its time is over.
    std::fs::write(&file, format!("{says} sleep 1234 & exit 7")).expect("a script");
    until(&agent, "failure", &["nomad: script exited with status 7\n", &dir]);
    std::fs::write(&file, "echo so far; sleep 1234 & sleep 1234").expect("a script");
    until(&agent, "failure", &["nomad: script: timed out after 1s\nso far\n"]);
    std::fs::write(&file, "exec yes").expect("a script");
    let flood = until(&agent, "failure", &["timed out after 1s\n", "y\ny\n"]);
    assert!(flood["Output"].as_str().is_some_and(|o| o.len() < 4096));
    std::fs::write(&file, "exit 0").expect("a script");
    until(&agent, "success", &["script ok"]);
    let left: Vec<_> = processes(&alloc).into_iter().filter(|(_, c)| c.contains("1234")).collect();
    assert!(left.is_empty(), "{left:?}");

    // A run goes on while the agent is replaced, and is not doubled.
    let runs = agent.dir.join("runs");
    let slow = format!("echo x >>{}; sleep 0.6; wc -l <{0}", runs.display());
    std::fs::write(&file, slow).expect("a script");
    agent.until("a run", |_| runs.exists());
    agent.kill();
    agent.spawn();
    agent.until_ready();
    until(&agent, "success", &["script ok\n1\n"]);
    assert_eq!(agent.allocs("web")[0]["TaskStates"]["t"]["Restarts"], json!(0));

    // The end of the task is the end of its scripts.
    std::fs::write(&file, "echo x >>$0.late; exec sleep 4321").expect("a script");
    agent.until("a run", |a| a.dir.join("check.sh.late").exists());
    agent.delete("/v1/job/web");
    agent.until("the end", |_| processes(&alloc).is_empty());
}

#[test]
fn a_failing_script_holds_a_rollout_up_and_restarts_its_task() {
    let agent = Agent::start("check-script-health");
    let (file, mut check) = script_check(&agent, "exit 1");
    check["CheckRestart"] = json!({ "Limit": 2, "Grace": 0 });
    let mut job = job("web", Checked::start().port, check);
    job["Job"]["Update"] = json!({ "MinHealthyTime": 100_000_000, "MaxParallel": 1 });
    let group = &mut job["Job"]["TaskGroups"][0];
    group["RestartPolicy"] =
        json!({ "Attempts": 9, "Delay": 1, "Interval": 60_000_000_000_u64, "Mode": "fail" });
    // The same as a service of the group.
    group["Services"] = group["Tasks"][0]["Services"].take();
    let refused = agent.put("/v1/jobs", &job);
    assert!(refused.text().contains("must name the task to run in"), "{}", refused.text());
    job["Job"]["TaskGroups"][0]["Services"][0]["Checks"][0]["TaskName"] = json!("t");
    assert_eq!(agent.put("/v1/jobs", &job).status, 200);
    let state = |a: &Agent| a.allocs("web").first().cloned().unwrap_or_default();
    agent.until("a restart", |a| {
        let alloc = state(a);
        assert_ne!(alloc["DeploymentStatus"]["Healthy"], json!(true));
        alloc["TaskStates"]["t"]["Restarts"].as_u64().is_some_and(|n| n > 0)
    });
    std::fs::write(&file, "exit 0").expect("a script");
    agent.until("health", |a| state(a)["DeploymentStatus"]["Healthy"] == json!(true));
}

#[test]
fn a_rollout_waits_for_checks() {
    let checked = Checked::start();
    let agent = Agent::start("check-health");
    let check = json!({ "Type": "http", "Path": "/", "Name": "alive" });
    let mut job = job("web", checked.port, check);
    job["Job"]["Update"] = json!({ "MinHealthyTime": 100_000_000, "MaxParallel": 1 });
    checked.says(500);
    agent.put("/v1/jobs", &job);
    let healthy = |a: &Agent| {
        a.allocs("web").first().is_some_and(|x| x["DeploymentStatus"]["Healthy"] == json!(true))
    };
    agent.until("a failing check", |a| {
        let alloc = a.allocs("web").first().and_then(|x| x["ID"].as_str().map(str::to_owned));
        alloc.is_some_and(|id| result(a, &id)["Status"] == "failure")
    });
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert!(!healthy(&agent), "healthy with a failing check");
    checked.says(200);
    agent.until("health", healthy);
}
