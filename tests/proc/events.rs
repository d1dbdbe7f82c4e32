//! The event stream of a real agent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};

/// A reader behind the head of its answer.
pub(crate) struct Stream {
    head: String,
    lines: BufReader<TcpStream>,
}

impl Stream {
    pub(crate) fn open(agent: &Agent, query: &str) -> Self {
        let mut stream = agent.connect().expect("a connection");
        let head = format!(
            "GET /v1/event/stream{query} HTTP/1.1\r\nHost: v\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut lines = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(lines.read_line(&mut head).expect("a head"), 0, "{head}");
        }
        Self { head, lines }
    }

    /// The next line; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Value> {
        let chunked = self.head.contains("Transfer-Encoding: chunked");
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).expect("a line in time");
            if chunked && line == "0\r\n" {
                return None;
            }
            // Sizes of chunks, which are whole lines here, and what is around them.
            if chunked && !line.is_empty() && !line.starts_with('{') {
                continue;
            }
            return (!line.is_empty()).then(|| serde_json::from_str(&line).expect("JSON"));
        }
    }

    /// Reads on to an event with this type, topic and key.
    pub(crate) fn until(&mut self, kind: &str, topic: &str, key: &str) -> Value {
        loop {
            let line = self.next().expect("the stream goes on");
            for event in line["Events"].as_array().into_iter().flatten() {
                assert_eq!(event["Index"], line["Index"]);
                if event["Type"] == kind && event["Topic"] == topic && event["Key"] == key {
                    return event.clone();
                }
            }
        }
    }
}

#[test]
fn what_happens_is_told_in_order() {
    let agent = Agent::start("events-told");
    let mut all = Stream::open(&agent, "");
    let mut web = Stream::open(&agent, "?topic=Evaluation:web&topic=Job:web&index=999999");
    for part in [
        "200 OK",
        "Content-Type: application/json\r\n",
        "Connection: close\r\n",
        "Cache-Control: no-cache\r\n",
    ] {
        assert!(all.head.contains(part), "{}", all.head);
    }
    for part in ["Content-Length", "Transfer-Encoding", "gzip"] {
        assert!(!all.head.contains(part), "{}", all.head);
    }
    assert_eq!((all.next(), web.next()), (Some(json!({})), Some(json!({}))));

    agent.put("/v1/jobs", &shell_job("db", "service", 1, "exec sleep 600"));
    agent.put("/v1/jobs", &shell_job("web", "service", 2, "exec sleep 600"));
    agent.put("/v1/var/a/b", &json!({ "Path": "a/b", "Items": { "password": "hunter2" } }));
    // A plain reader is told what was before it.
    let node = agent.get("/v1/nodes").json()[0]["ID"].as_str().expect("an id").to_owned();
    all.until("NodeRegistration", "Node", &node);
    let job = all.until("JobRegistered", "Job", "web");
    // As it was then.
    let then = &job["Payload"]["Job"];
    assert_eq!((&then["Status"], &then["ModifyIndex"]), (&json!("pending"), &job["Index"]));
    assert_eq!(then["TaskGroups"], agent.get("/v1/job/web").json()["TaskGroups"]);
    assert_eq!((&job["Namespace"], &job["FilterKeys"]), (&json!("default"), &Value::Null));
    let variable = all.until("VariableUpdated", "Variable", "a/b");
    assert_eq!(variable["Payload"]["Deleted"], json!(false));
    assert!(!variable.to_string().contains("hunter2"));

    let alloc = loop {
        let line = all.next().expect("a line");
        let events = line["Events"].as_array().cloned().unwrap_or_default();
        let ran = |e: &&Value| {
            let a = &e["Payload"]["Allocation"];
            a["JobID"] == "web" && a["ClientStatus"] == "running"
        };
        if let Some(event) = events.iter().find(ran) {
            break event.clone();
        }
    };
    assert_eq!(
        (&alloc["Type"], &alloc["FilterKeys"][0]),
        (&json!("AllocationUpdated"), &json!("web"))
    );
    assert_eq!(alloc["Payload"]["Allocation"]["Job"], Value::Null);

    // Who asks for one job hears of that one.
    agent.delete("/v1/job/db");
    agent.delete("/v1/job/web?purge=true");
    let last = loop {
        let line = web.next().expect("a line");
        for event in line["Events"].as_array().into_iter().flatten() {
            assert!(event["Key"] == "web" || event["FilterKeys"][0] == "web", "{event}");
        }
        if line.to_string().contains("JobDeregistered") {
            break line;
        }
    };
    let gone = last["Events"].as_array().expect("events").iter().find(|e| e["Topic"] == "Job");
    assert_eq!(gone.map(|e| &e["Payload"]["Deleted"]), Some(&json!(true)));
    assert_eq!(agent.get("/v1/event/stream?topic=a:b:c").status, 400);
}

/// Each kind of change has its own name.
#[test]
fn what_is_done_by_hand_is_told_by_its_name() {
    let agent = Agent::start("events-kinds");
    let mut all = Stream::open(&agent, "");
    agent.put("/v1/jobs", &shell_job("web", "service", 1, "exec sleep 600"));
    agent.until("a running task", |a| {
        a.allocs("web").first().is_some_and(|x| x["ClientStatus"] == "running")
    });
    let id = agent.get("/v1/job/web/deployment").json()["ID"].as_str().expect("an id").to_owned();
    let steer = |op: &str, body: &Value| {
        let mut body = body.clone();
        body["DeploymentID"] = json!(id);
        let answer = agent.put(&format!("/v1/deployment/{op}/{id}"), &body);
        assert_eq!(answer.status, 200, "{op}: {}", answer.text());
    };
    steer("pause", &json!({ "Pause": true }));
    let told = all.until("DeploymentStatusUpdate", "Deployment", &id);
    assert_eq!(told["Payload"]["Deployment"]["Status"], "paused");
    steer("pause", &json!({ "Pause": false }));
    steer("promote", &json!({ "Groups": ["zz"] }));
    all.until("DeploymentPromotion", "Evaluation", &newest_eval(&agent));
    let alloc = agent.allocs("web")[0]["ID"].clone();
    steer("allocation-health", &json!({ "HealthyAllocationIDs": [alloc] }));
    let told = all.until("DeploymentAllocHealth", "Deployment", &id);
    assert_eq!(told["Payload"]["Deployment"]["TaskGroups"]["g"]["HealthyAllocs"], 1);
    let scale = json!({ "Count": 2, "Target": { "Group": "g" } });
    assert_eq!(agent.put("/v1/job/web/scale", &scale).status, 200);
    let told = all.until("JobRegistered", "Job", "web");
    assert_eq!(told["Payload"]["Job"]["TaskGroups"][0]["Count"], 2);

    let volume = json!({ "Volume": { "Name": "v", "PluginID": "mkdir" } });
    let made = agent.put("/v1/volume/host/create", &volume).json();
    let id = made["Volume"]["ID"].as_str().expect("an id");
    all.until("HostVolumeRegistered", "HostVolume", id);
    assert_eq!(agent.delete(&format!("/v1/volume/host/{id}")).status, 200);
    let told = all.until("HostVolumeDeleted", "HostVolume", "");
    assert_eq!(told["FilterKeys"], json!([id, "v", "mkdir"]));
}

fn newest_eval(agent: &Agent) -> String {
    let evals = agent.get("/v1/job/web/evaluations").json();
    let evals = evals.as_array().expect("a list").iter();
    let newest = evals.max_by_key(|e| e["CreateIndex"].as_u64()).expect("one");
    newest["ID"].as_str().expect("an id").to_owned()
}

/// A reader that takes nothing does not hold up anybody, and is cut off once what it would be told
/// next is gone.
#[test]
fn a_slow_reader_is_cut_off() {
    let config = json!({ "server": {
        "enabled": true, "bootstrap_expect": 1, "event_buffer_size": 4 } });
    let agent = Agent::with("events-slow", &config);
    let mut slow = Stream::open(&agent, "?topic=Job");
    let text = "x".repeat(200_000);
    for n in 0..60 {
        let mut job = shell_job(&format!("big{n}"), "service", 0, "exec sleep 600");
        job["Job"]["Meta"] = json!({ "text": text });
        assert_eq!(agent.put("/v1/jobs", &job).status, 200);
    }
    let mut rest = Vec::new();
    slow.lines.read_to_end(&mut rest).expect("the end comes");
    let told = rest.iter().filter(|b| **b == b'\n').count();
    assert!(told < 60, "all {told} were told");
    // A new reader is told the last ones.
    let mut new = Stream::open(&agent, "?topic=Job:big59");
    assert_eq!(new.next(), Some(json!({})));
    new.until("JobRegistered", "Job", "big59");
}
