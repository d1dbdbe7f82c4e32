//! Starts the built binary as an agent with fresh directories on free ports, and ends what is left.

#![expect(
    clippy::disallowed_methods,
    reason = "tests of the binary start processes and wait for them"
)]

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http;

/// The program under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_vardo");

/// How long an agent may take to lead, and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `agent -dev`. Dropping it ends the agent, its tasks and their supervisors.
pub(crate) struct Agent {
    /// `host:port` of the API.
    pub(crate) address: String,
    dir: PathBuf,
    child: Child,
}

impl Agent {
    /// Starts one. `config` is laid over the configuration that the goldens were recorded with.
    pub(crate) fn start(config: &Value) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("vardo-test-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory for the agent");
        let [http, rpc, serf] = free_ports();
        let mut document = json!({
            "ports": {"http": http, "rpc": rpc, "serf": serf},
            "disable_update_check": true,
            "name": "contract",
            "plugin": [{"raw_exec": [{"config": [{"enabled": true}]}]}],
        });
        for (key, value) in config.as_object().into_iter().flatten() {
            document[key] = value.clone();
        }
        let file = dir.join("agent.json");
        fs::write(&file, document.to_string()).expect("a configuration file");
        let log = File::create(dir.join("agent.log")).expect("a log file");
        let child = Command::new(BINARY)
            .args(["agent", "-dev", "-config"])
            .arg(&file)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &dir)
            .env("TMPDIR", &dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the binary starts");
        let mut agent = Self { address: format!("127.0.0.1:{http}"), dir, child };
        agent.wait_for_leader();
        agent
    }

    /// A directory that goes with the agent.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn wait_for_leader(&mut self) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().expect("its state") {
                panic!("the agent ended with {status}:\n{}", self.log());
            }
            let leads = |a: &http::Answer| a.body.len() > 4 && a.body.contains(&b'"');
            if http::get(&self.address, "/v1/status/leader").is_ok_and(|a| leads(&a)) {
                // The node registers while this passes, as when the goldens were recorded.
                return sleep(Duration::from_secs(1));
            }
            sleep(Duration::from_millis(50));
        }
        panic!("the agent did not become leader:\n{}", self.log());
    }

    fn log(&self) -> String {
        let log = fs::read(self.dir.join("agent.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Sends the agent itself a signal, such as `-STOP`.
    pub(crate) fn send(&self, name: &str) {
        self.signal(name, self.child.id());
    }

    fn signal(&self, name: &str, pid: u32) {
        drop(Command::new("kill").args([name, &pid.to_string()]).stderr(Stdio::null()).status());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("last lines of the agent's log:\n{last}");
        }
        self.send("-INT");
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
        // Tasks and their supervisors outlive the agent; they carry its directory as HOME.
        let mark = format!("HOME={}", self.dir.display()).into_bytes();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|b| *b == 0).any(|v| v == mark) {
                self.signal("-KILL", pid);
            }
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Three ports that nobody listens on, handed out once in this process.
///
/// They lie below those that the kernel gives to outgoing connections and to listeners of port 0: a
/// port of that range can be taken by any of them between this look and the start of the agent.
/// Processes that test side by side begin at places of their own.
pub(crate) fn free_ports() -> [u16; 3] {
    [(); 3].map(|()| free_port())
}

/// One such port.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 10_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(997);
    loop {
        let at = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + at % COUNT).expect("a port");
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}
