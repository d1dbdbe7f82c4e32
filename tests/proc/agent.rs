//! A durable agent in a directory of its own, which tests kill and start again.

#![expect(
    clippy::disallowed_methods,
    reason = "tests of the binary start processes and wait for them"
)]

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::agent::{BINARY, free_ports};
use crate::support::http::{self, Answer};

/// An agent process; killed, with all its tasks, when dropped.
pub(crate) struct Agent {
    pub(crate) dir: PathBuf,
    /// Where it listens.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Where other agents call.
    pub(crate) rpc: u16,
    pub(crate) serf: u16,
    child: Option<Child>,
}

impl Agent {
    /// A durable server with a client, started and ready to run tasks.
    pub(crate) fn start(name: &str) -> Self {
        Self::with(name, &json!({}))
    }

    /// The same with more configuration.
    pub(crate) fn with(name: &str, more: &Value) -> Self {
        let mut agent = Self::prepare(name, more);
        agent.spawn();
        agent.until_ready();
        agent
    }

    /// A server without a client, once it leads.
    pub(crate) fn with_no_node(name: &str, server: &Value) -> Self {
        let mut agent =
            Self::prepare(name, &json!({ "server": server, "client": { "enabled": false } }));
        agent.spawn();
        agent.until("a leader", |a| {
            a.try_get("/v1/status/leader").is_some_and(|l| l.status == 200 && l.text().len() > 2)
        });
        agent
    }

    /// Lays more over the configuration, for the next start.
    pub(crate) fn configure(&self, more: &Value) {
        let file = self.dir.join("agent.json");
        let text = std::fs::read_to_string(&file).expect("a configuration");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        std::fs::write(&file, config.to_string()).expect("a configuration");
    }

    /// Directory and configuration, nothing started.
    pub(crate) fn prepare(name: &str, more: &Value) -> Self {
        let dir = std::env::temp_dir().join(format!("vardo-test-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).expect("a directory");
        let ports = free_ports();
        let mut config = json!({
            "name": name,
            "data_dir": dir.join("data"),
            "bind_addr": "127.0.0.1",
            "ports": { "http": ports[0], "rpc": ports[1], "serf": ports[2] },
            "advertise": { "http": "127.0.0.1", "rpc": "127.0.0.1", "serf": "127.0.0.1" },
            "server": { "enabled": true, "bootstrap_expect": 1 },
            "client": { "enabled": true },
            "disable_update_check": true,
            "log_level": "WARN",
            "limits": { "http_max_conns_per_client": 0 },
            "plugin": [{ "raw_exec": [{ "config": [{ "enabled": true }] }] }],
        });
        for (k, v) in more.as_object().into_iter().flatten() {
            config[k] = v.clone();
        }
        std::fs::write(dir.join("agent.json"), config.to_string()).expect("a configuration");
        let [port, rpc, serf] = ports;
        let host = config["bind_addr"].as_str().expect("an address").to_owned();
        Self { dir, host, port, rpc, serf, child: None }
    }

    pub(crate) fn spawn(&mut self) {
        let mut command = Command::new(BINARY);
        command.args(["agent", "-config"]).arg(self.dir.join("agent.json"));
        self.begin(command);
    }

    /// Starts it under a limit on the size of files, in KiB: a disk that is full.
    pub(crate) fn spawn_with_room(&mut self, kib: u64) {
        let mut command = Command::new("/bin/bash");
        command.args(["-c", "ulimit -f \"$1\"; exec \"$2\" agent -config \"$3\"", "bash"]);
        command.arg(kib.to_string()).arg(BINARY).arg(self.dir.join("agent.json"));
        self.begin(command);
    }

    /// Starts it by another program, which becomes it or runs it: `strace`, `ip netns exec`.
    pub(crate) fn spawn_by(&mut self, program: &[&str]) {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(BINARY).args(["agent", "-config"]);
        command.arg(self.dir.join("agent.json"));
        self.begin(command);
    }

    fn begin(&mut self, mut command: Command) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.join("agent.log"))
            .expect("a log");
        let child = command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", &self.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        self.child = Some(child);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// SIGKILL, and no trace of the process left.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killed");
            child.wait().expect("reaped");
        }
    }

    /// A signal by number; returns how long the process took to end, and how it ended.
    pub(crate) fn end(&mut self, signal: &str) -> (Duration, std::process::ExitStatus) {
        let mut child = self.child.take().expect("running");
        let begin = Instant::now();
        send(signal, child.id());
        let status = child.wait().expect("reaped");
        (begin.elapsed(), status)
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.child.take().expect("running").wait().expect("reaped")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("agent.log")).unwrap_or_default()
    }

    pub(crate) fn until_ready(&self) {
        self.until("a ready node", |a| {
            a.try_get("/v1/nodes").is_some_and(|r| r.text().contains("\"ready\""))
        });
    }

    /// Asks until it holds, 20 s at most.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds(self) {
            assert!(Instant::now() < end, "{what} did not come; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn try_get(&self, path: &str) -> Option<Answer> {
        self.request("GET", path, None).ok()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path, None).expect("an answer")
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.request("PUT", path, Some(&body.to_string())).expect("an answer")
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", path, None).expect("an answer")
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> std::io::Result<Answer> {
        let address = format!("{}:{}", self.host, self.port);
        http::send(&address, method, path, &[], body.map(str::as_bytes))
    }

    pub(crate) fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }

    /// The state of a task of the only allocation of a job.
    pub(crate) fn allocs(&self, job: &str) -> Vec<Value> {
        let reply = self.get(&format!("/v1/job/{job}/allocations"));
        reply.json().as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        // Tasks and their supervisors outlive the agent: end what carries this directory.
        let mark = format!("HOME={}", self.dir.display());
        let below = self.dir.display().to_string();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
                continue;
            };
            let file = |name: &str| std::fs::read(entry.path().join(name)).unwrap_or_default();
            let has =
                |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
            if has(&file("environ"), &mark)
                || has(&file("environ"), &below)
                || has(&file("cmdline"), &below)
            {
                send("KILL", pid);
            }
        }
        if !std::thread::panicking() {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

/// Sends a signal by name with the system's `kill`.
pub(crate) fn send(signal: &str, pid: u32) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    drop(status);
}

/// A service job of `count` raw_exec tasks that run `/bin/sh -c script`.
pub(crate) fn shell_job(id: &str, kind: &str, count: u64, script: &str) -> Value {
    json!({ "Job": {
        "ID": id, "Name": id, "Type": kind, "Datacenters": ["dc1"],
        "TaskGroups": [{
            "Name": "g", "Count": count,
            "EphemeralDisk": { "SizeMB": 120 },
            "RestartPolicy": { "Attempts": 0, "Mode": "fail" },
            "Tasks": [{
                "Name": "t", "Driver": "raw_exec",
                "Config": { "command": "/bin/sh", "args": ["-c", script] },
                "Resources": { "CPU": 10, "MemoryMB": 10 },
            }],
        }],
    }})
}
