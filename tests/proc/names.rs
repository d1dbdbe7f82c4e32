//! Names of hosts wherever an address may stand, asked of a name server that the test plays. It
//! needs root: for the port of name servers, and for a `resolv.conf` of the agent's own.

#![expect(clippy::disallowed_methods, reason = "tests of the binary start processes and wait")]

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vardo::stdx::BTreeMap;

use super::agent::{Agent, shell_job};
use crate::support::agent::BINARY;

/// A name server with a few names, each with one address for a second. It is silent about names
/// that begin with `silent`.
pub(super) struct Server {
    ip: String,
    told: Sender<(String, Ipv4Addr)>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// `None`: not permitted here.
    pub(super) fn start() -> Option<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let n = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let own = std::process::id().wrapping_mul(31).wrapping_add(n) % 60_000;
        let ip = format!("127.53.{}.{}", own / 250, own % 250 + 1);
        let socket = UdpSocket::bind((ip.as_str(), 53)).ok()?;
        let (told, news) = channel();
        let server = Self { ip, told, asked: Arc::default() };
        let asked = Arc::clone(&server.asked);
        std::thread::spawn(move || {
            let (mut buf, mut names) = ([0; 512], BTreeMap::new());
            while let Ok((n, from)) = socket.recv_from(&mut buf) {
                asked.fetch_add(1, Ordering::Relaxed);
                names.extend(news.try_iter());
                if let Some(reply) = reply(&buf[..n], &names) {
                    drop(socket.send_to(&reply, from));
                }
            }
        });
        Some(server)
    }

    pub(super) fn set(&self, name: &str, ip: &str) {
        let ip = ip.parse().expect("an address");
        self.told.send((name.to_owned(), ip)).expect("it serves");
    }

    /// Starts an agent that asks this server.
    pub(super) fn spawn(&self, agent: &mut Agent) {
        let file = agent.dir.join("resolv.conf");
        std::fs::write(&file, format!("nameserver {}\n", self.ip)).expect("a file");
        let file = file.display().to_string();
        let script = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        agent.spawn_by(&["unshare", "-m", "sh", "-c", script, &file]);
    }
}

fn reply(question: &[u8], names: &BTreeMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] != 0 {
        let n = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..=at + n]).into_owned());
        at += n + 1;
    }
    let (name, kind) = (labels.join("."), question[at + 2]);
    if name.starts_with("silent") {
        return None;
    }
    let mut out = question.to_vec();
    (out[2], out[3]) = (0x81, 0x80);
    match names.get(&name) {
        None => out[3] |= 3,
        Some(ip) if kind == 1 => {
            out[7] = 1;
            out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
            out.extend(ip.octets());
        }
        Some(_) => {}
    }
    Some(out)
}

fn skip() {
    println!("SKIP: needs root");
}

/// A server at an address of the loopback.
fn server_at(agent: &Agent, ip: &str) {
    agent.configure(&json!({
        "bind_addr": ip,
        "advertise": { "http": ip, "rpc": ip, "serf": ip },
        "addresses": { "http": "127.0.0.1" },
        "client": { "enabled": false },
    }));
}

#[test]
fn a_client_finds_its_server_by_name_also_when_it_moves() {
    let Some(dns) = Server::start() else { return skip() };
    let mut server = Agent::prepare("moved-server", &json!({}));
    server_at(&server, "127.0.0.2");
    server.spawn();
    let more = json!({
        "server": { "enabled": false },
        "client": {
            "enabled": true,
            "servers": [format!("srv.test:{}", server.rpc), format!("silent.test:{}", server.rpc)],
        },
    });
    let mut client = Agent::prepare("moving-client", &more);
    let begun = Instant::now();
    dns.spawn(&mut client);
    // The name is nobody's yet, and another is not answered for.
    client.until("its API", |a| a.try_get("/v1/agent/self").is_some());
    assert!(begun.elapsed() < Duration::from_secs(3), "it waited: {:?}", begun.elapsed());
    let asked = Instant::now();
    assert_eq!(client.get("/v1/agent/self").status, 200);
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    assert_eq!(server.get("/v1/nodes").json(), json!([]));
    dns.set("srv.test", "127.0.0.2");
    server.until_ready();
    // The server moves, which only the name server tells.
    server.kill();
    server_at(&server, "127.0.0.3");
    dns.set("srv.test", "127.0.0.3");
    server.spawn();
    let status = |a: &Agent| {
        a.try_get("/v1/agent/members").is_some_and(|m| m.text().contains("\"127.0.0.3\""))
    };
    server.until("its new address", status);
    let mut job = shell_job("j", "service", 1, "exec sleep 600");
    job["Job"]["TaskGroups"][0]["RestartPolicy"] = json!({ "Attempts": 0, "Mode": "fail" });
    server.until("a leader", |a| {
        a.request("PUT", "/v1/jobs", Some(&job.to_string())).is_ok_and(|r| r.status == 200)
    });
    server.until("a task that runs", |a| {
        a.allocs("j").iter().any(|alloc| alloc["ClientStatus"] == "running")
    });
}

#[test]
fn servers_are_joined_by_name() {
    let Some(dns) = Server::start() else { return skip() };
    dns.set("two.test", "127.0.0.1");
    let lone = |name: &str| Agent::prepare(name, &json!({ "client": { "enabled": false } }));
    let (mut one, mut two) = (lone("named-one"), lone("named-two"));
    two.configure(&json!({ "server": { "enabled": true, "bootstrap_expect": 0 } }));
    dns.spawn(&mut one);
    two.spawn();
    for agent in [&one, &two] {
        agent.until("its API", |a| a.try_get("/v1/agent/self").is_some());
    }
    let join = |host: &str| -> Value {
        one.request("PUT", &format!("/v1/agent/join?address={host}"), None)
            .expect("an answer")
            .json()
    };
    let told = join("none.test");
    assert_eq!(told["num_joined"], 0);
    let text = told["error"].as_str().expect("a sentence");
    assert!(text.contains("lookup none.test: no such host"), "{text}");
    let told = join(&format!("two.test:{}", two.serf));
    assert_eq!((&told["num_joined"], &told["error"]), (&json!(1), &json!("")));
    let told = join(&format!("localhost:{}", two.rpc));
    assert_eq!((&told["num_joined"], &told["error"]), (&json!(1), &json!("")));
    one.until("two members", |a| {
        let list = a.get("/v1/agent/members").json();
        list["Members"].as_array().is_some_and(|m| m.len() == 2)
    });
    assert!(dns.asked.load(Ordering::Relaxed) >= 4);
}

#[test]
fn an_agent_starts_without_route_and_without_name_servers() {
    let mut agent = Agent::prepare(
        "no-network",
        &json!({ "server": {
            "enabled": true, "bootstrap_expect": 1,
            "server_join": { "retry_join": ["other.example.com"] },
        } }),
    );
    if !Command::new("unshare").args(["-n", "true"]).output().is_ok_and(|o| o.status.success()) {
        return skip();
    }
    agent.spawn_by(&["unshare", "-n", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"]);
    let pid = agent.pid().to_string();
    let ask = |args: &[&str]| {
        let address = format!("http://127.0.0.1:{}", agent.port);
        let asked = Command::new("nsenter")
            .args(["-t", &pid, "-n", BINARY])
            .args(args)
            .env("NOMAD_ADDR", address)
            .output();
        String::from_utf8_lossy(&asked.expect("nsenter").stdout).into_owned()
    };
    let end = Instant::now() + Duration::from_secs(20);
    while !ask(&["node", "status"]).contains("ready") {
        assert!(Instant::now() < end, "no ready node; log:\n{}", agent.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(ask(&["var", "put", "a", "k=v"]).contains("a"), "{}", agent.log());
    assert!(ask(&["var", "get", "a"]).contains('v'));
}
