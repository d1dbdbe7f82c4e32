//! Artifacts of tasks, fetched by a real agent from a server of the test.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};

/// Serves what it is asked for: by path an answer as a whole, or nothing. What it was asked is
/// sent on.
fn serve(
    answers: Vec<(&'static str, Vec<u8>)>,
) -> (String, std::sync::mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let host = listener.local_addr().expect("an address").to_string();
    let (asked, heard) = std::sync::mpsc::channel();
    #[expect(clippy::disallowed_methods, reason = "a server beside the test")]
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Ok(copy) = stream.try_clone() else { continue };
            let head: Vec<String> = BufReader::new(copy)
                .lines()
                .map_while(Result::ok)
                .take_while(|l| !l.is_empty())
                .collect();
            let target = head.first().and_then(|l| l.split(' ').nth(1)).unwrap_or("").to_owned();
            if asked.send((target.clone(), head.join("\n"))).is_err() {
                return;
            }
            let found = answers.iter().find(|(path, _)| *path == target);
            let answer = found
                .map_or(&b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..], |(_, a)| a);
            // One that is fetched no more hangs up.
            drop(stream.write_all(answer));
            drop(stream.shutdown(Shutdown::Both));
        }
    });
    (host, heard)
}

fn ok(body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    out.extend_from_slice(body);
    out
}

fn moved(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}

/// What `tar` makes of a folder with a program and a file.
fn tar(agent: &Agent, gzip: bool) -> Vec<u8> {
    let folder = agent.dir.join("packed");
    std::fs::create_dir_all(folder.join("bin")).expect("made");
    let program = folder.join("bin/hello");
    std::fs::write(&program, "#!/bin/sh\necho hello from \"$(basename \"$0\")\"\n")
        .expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    std::fs::set_permissions(&program, mode).expect("set");
    std::fs::write(folder.join("text"), vec![b'x'; 100_000]).expect("written");
    #[expect(clippy::disallowed_methods, reason = "an archive as people make them")]
    let mut command = Command::new("tar");
    command.arg(if gzip { "-czf" } else { "-cf" }).arg("-").arg("-C").arg(&folder).arg(".");
    let made = command.stderr(Stdio::null()).output().expect("tar");
    assert!(made.status.success());
    made.stdout
}

fn with(job: &str, artifacts: &Value, script: &str) -> Value {
    let mut job = shell_job(job, "batch", 1, script);
    let group = &mut job["Job"]["TaskGroups"][0];
    group["RestartPolicy"] = json!({
        "Attempts": 1, "Interval": 600_000_000_000_i64, "Delay": 10_000_000, "Mode": "fail",
    });
    group["ReschedulePolicy"] = json!({ "Attempts": 0, "Unlimited": false });
    group["Tasks"][0]["Artifacts"] = artifacts.clone();
    job
}

fn ended(agent: &Agent, job: &str) -> Value {
    let mut found = Value::Null;
    agent.until(job, |a| {
        let Some(alloc) = a.allocs(job).into_iter().next() else { return false };
        found = alloc;
        ["complete", "failed"].contains(&found["ClientStatus"].as_str().unwrap_or_default())
    });
    found
}

#[test]
fn artifacts_are_there_when_the_task_starts() {
    let agent = Agent::start("artifacts-there");
    let packed = tar(&agent, true);
    let (host, heard) = serve(vec![
        ("/a.tar.gz?v=1", ok(&packed)),
        ("/plain.tar", ok(&tar(&agent, false))),
        ("/run", ok(b"#!/bin/sh\necho ran\n")),
        ("/first", moved("/second")),
        ("/second", moved("run")),
    ]);
    let sum = ring::digest::digest(&ring::digest::SHA256, &packed);
    let sum: String = sum.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let artifacts = json!([
        {
            "GetterSource": format!("http://{host}/a.tar.gz?v=1"), "RelativeDest": "local/a",
            "GetterOptions": { "checksum": format!("sha256:{sum}") },
            "GetterHeaders": { "X-Job": "${NOMAD_JOB_ID}" },
        },
        {
            "GetterSource": format!("http://{host}/plain.tar"),
            "GetterOptions": { "archive": "false" },
        },
        {
            "GetterSource": format!("http://{host}/first"), "GetterMode": "file",
            "RelativeDest": "local/deep/down/run",
        },
    ]);
    let script = "local/a/bin/hello; local/deep/down/run; wc -c < local/a/text; \
                  ls -l local/a/bin/hello | cut -c1-10; ls local";
    agent.put("/v1/jobs", &with("fetches", &artifacts, script));
    let alloc = ended(&agent, "fetches");
    let id = alloc["ID"].as_str().expect("an id");
    assert_eq!(alloc["ClientStatus"], "complete", "{alloc}");
    let logs = agent.get(&format!("/v1/client/fs/logs/{id}?task=t&type=stdout&plain=true"));
    let text = "hello from hello\nran\n100000\n-rwxr-xr-x\na\ndeep\nplain.tar\n";
    assert_eq!(logs.text(), text);
    let (target, head) = heard.recv().expect("asked");
    assert_eq!(target, "/a.tar.gz?v=1");
    assert!(head.contains("X-Job: fetches") && head.contains(&format!("Host: {host}")), "{head}");
    let kinds: Vec<&str> = alloc["TaskStates"]["t"]["Events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|e| e["Type"].as_str())
        .collect();
    let want = ["Received", "Task Setup", "Downloading Artifacts", "Started", "Terminated"];
    assert_eq!(kinds, want);
}

#[test]
fn artifacts_that_cannot_be_had_fail_the_task() {
    let agent = Agent::start("artifacts-refused");
    let outward = {
        #[expect(clippy::disallowed_methods, reason = "an archive as nobody should make them")]
        let made = Command::new("tar")
            .args(["-cf", "-", "-P", "/etc/hostname"])
            .stderr(Stdio::null())
            .output()
            .expect("tar");
        made.stdout
    };
    let own = moved(&format!("http://127.0.0.1:{}/v1/metrics", agent.port));
    let (host, heard) = serve(vec![
        ("/a", ok(b"text")),
        ("/out.tar", ok(&outward)),
        ("/loop", moved("/loop")),
        ("/short", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_vec()),
        ("/home", own),
    ]);
    let url = |path: &str| format!("http://{host}{path}");
    for (name, artifact, why, tries) in [
        ("none", json!({ "GetterSource": url("/none") }), "bad response code: 404", 2),
        (
            "sum",
            json!({ "GetterSource": url("/a"),
                "GetterOptions": { "checksum": format!("sha256:{}", "0".repeat(64)) } }),
            "checksums did not match",
            1,
        ),
        ("out", json!({ "GetterSource": url("/out.tar") }), "leads out of it", 1),
        ("loop", json!({ "GetterSource": url("/loop") }), "more than 5 redirects", 6),
        ("home", json!({ "GetterSource": url("/home") }), "an address of this machine", 2),
        ("git", json!({ "GetterSource": "git::https://x/y" }), "only sources that begin with", 0),
        ("dir", json!({ "GetterSource": url("/a"), "GetterMode": "dir" }), "no archive", 0),
        ("short", json!({ "GetterSource": url("/short") }), "end of file", 6),
    ] {
        let job = format!("refused-{name}");
        agent.put("/v1/jobs", &with(&job, &json!([artifact]), "exit 0"));
        let alloc = ended(&agent, &job);
        assert_eq!(alloc["ClientStatus"], "failed", "{name}");
        let events = alloc["TaskStates"]["t"]["Events"].to_string();
        assert!(events.contains("Failed Artifact Download"), "{name}: {events}");
        assert!(events.contains(why), "{name}: {events}");
        assert_eq!(heard.try_iter().count(), tries, "{name}");
        let id = alloc["ID"].as_str().expect("an id");
        let left = agent.get(&format!("/v1/client/fs/ls/{id}?path=/t/local")).text();
        assert_eq!(left, "[]", "{name}: nothing is left");
    }
}

/// A link that another task of the group has put there leads nowhere.
#[test]
fn nothing_is_written_through_links_that_lead_out() {
    let agent = Agent::start("artifacts-links");
    let (host, _heard) = serve(vec![("/a", ok(b"text"))]);
    let outside = agent.dir.join("outside");
    std::fs::create_dir(&outside).expect("made");
    let artifacts = json!([{
        "GetterSource": format!("http://{host}/a"), "RelativeDest": "local/out/sub",
    }]);
    let mut job = with("links", &artifacts, "exit 0");
    let mut plants = job["Job"]["TaskGroups"][0]["Tasks"][0].clone();
    plants["Name"] = json!("plants");
    plants["Artifacts"] = json!([]);
    plants["Lifecycle"] = json!({ "Hook": "prestart" });
    plants["Config"]["args"][1] = json!(format!("ln -s {} ../t/local/out", outside.display()));
    job["Job"]["TaskGroups"][0]["Tasks"].as_array_mut().expect("tasks").push(plants);
    agent.put("/v1/jobs", &job);
    let alloc = ended(&agent, "links");
    let events = alloc["TaskStates"]["t"]["Events"].to_string();
    assert!(events.contains("leads out of the task's directory"), "{events}");
    assert_eq!(std::fs::read_dir(&outside).expect("read").count(), 0);
}
