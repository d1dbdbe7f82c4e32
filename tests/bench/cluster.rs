//! What three servers on one machine do: how long writes stop when their leader is killed, how many
//! they take beside a single server, how much a follower serves and how far it lags behind, and
//! whether one that was away slows the others down while it catches up.
//!
//! `cargo bench --bench cluster` prints each figure beside what is asked for; names of parts
//! (`kill`, `rates`, `lag`, `catch-up`) after `--` choose among them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]
#![expect(clippy::disallowed_methods, reason = "a bench measures time and runs load in threads")]

#[path = "../proc/agent.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod agent;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "tests use the rest")]
mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use agent::Agent;
use serde_json::json;

/// Leaders killed.
const KILLS: usize = 50;
/// Clients that write while leaders are killed.
const CLIENTS: usize = 8;
/// Connections of a rate, each with one request under way.
const CONNECTIONS: usize = 64;
/// How long a rate is measured.
const SPAN: Duration = Duration::from_secs(4);
/// What a follower misses while it is away, in variables of 60 KB.
const MISSED: usize = 17_500;
const MISSED_BYTES: usize = 60_000;

fn main() {
    let chosen: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let parts: [(&str, fn()); 4] =
        [("kill", kill), ("rates", rates), ("lag", lag), ("catch-up", catch_up)];
    println!("{:58} {:>12} {:>12}", "three servers", "figure", "asked");
    for (name, part) in parts {
        if chosen.is_empty() || chosen.iter().any(|c| c == name) {
            part();
        }
    }
}

fn row(what: &str, figure: &str, asked: &str) {
    println!("{what:58} {figure:>12} {asked:>12}");
}

/// A connection that is kept, with at most one request under way.
struct Talk {
    stream: TcpStream,
    buf: Vec<u8>,
}

impl Talk {
    fn to(agent: &Agent) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", agent.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self { stream, buf: Vec::new() })
    }

    fn get(&mut self, path: &str) -> io::Result<()> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
    }

    fn put(&mut self, path: &str, value: &str) -> io::Result<()> {
        let body = format!(r#"{{"Items":{{"k":"{value}"}}}}"#);
        let len = body.len();
        let head = format!("PUT /v1/var/{path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n");
        self.stream.write_all(format!("{head}\r\n{body}").as_bytes())
    }

    /// The status of the answer; its body is left in `buf`.
    fn answer(&mut self) -> io::Result<u16> {
        self.buf.clear();
        let mut chunk = [0; 16_384];
        loop {
            let n = self.stream.read(&mut chunk)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.buf.extend_from_slice(&chunk[..n]);
            let Some(end) = self.buf.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.buf[..end]).to_ascii_lowercase();
            let len = head.split("content-length: ").nth(1).and_then(|t| t.lines().next());
            let len: usize = len.and_then(|n| n.parse().ok()).unwrap_or(0);
            while self.buf.len() < end + 4 + len {
                let n = self.stream.read(&mut chunk)?;
                if n == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                self.buf.extend_from_slice(&chunk[..n]);
            }
            self.buf.drain(..end + 4);
            let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
            return status.ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
}

struct Cluster {
    agents: Vec<Agent>,
}

impl Cluster {
    fn start(name: &str, servers: u64) -> Self {
        let mut agents: Vec<Agent> = (0..servers)
            .map(|n| Agent::prepare(&format!("bench-{name}-{n}"), &json!({})))
            .collect();
        let joins: Vec<String> = agents.iter().map(|a| format!("127.0.0.1:{}", a.serf)).collect();
        for agent in &mut agents {
            let file = agent.dir.join("agent.json");
            let text = std::fs::read_to_string(&file).expect("a configuration");
            let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            config["client"] = json!({ "enabled": false });
            config["server"] = json!({
                "enabled": true,
                "bootstrap_expect": servers,
                "server_join": { "retry_join": joins },
            });
            std::fs::write(&file, config.to_string()).expect("a configuration");
            agent.spawn();
        }
        let cluster = Self { agents };
        cluster.settled();
        cluster
    }

    /// Waits until all agree on a leader and hold the same; returns the leader's place.
    fn settled(&self) -> usize {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let leaders: Vec<Option<String>> = self.agents.iter().map(leader).collect();
            if let Some(Some(told)) = leaders.first()
                && leaders.iter().all(|l| l.as_ref() == Some(told))
                && let Some(at) =
                    self.agents.iter().position(|a| told.ends_with(&format!(":{}", a.rpc)))
            {
                let index = |a: &Agent| {
                    let answer = a.try_get("/v1/vars?stale&per_page=1&prefix=none");
                    answer.and_then(|a| a.header("x-nomad-index").map(str::to_owned))
                };
                let first = index(&self.agents[at]);
                if self.agents.iter().all(|a| index(a) == first) {
                    return at;
                }
            }
            assert!(Instant::now() < end, "no leader: {}", self.agents[0].log());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn leader(agent: &Agent) -> Option<String> {
    let answer = agent.try_get("/v1/status/leader").filter(|a| a.status == 200)?;
    Some(answer.text().trim_matches('"').to_owned())
}

/// Answers per second over all connections, each asked again as soon as it has answered.
fn rate(agent: &Agent, mut ask: impl FnMut(&mut Talk, u64) -> io::Result<()>) -> f64 {
    let mut talks: Vec<Talk> =
        (0..CONNECTIONS).map(|_| Talk::to(agent).expect("a connection")).collect();
    let mut asked = 0;
    for talk in &mut talks {
        ask(talk, asked).expect("sent");
        asked += 1;
    }
    let begin = Instant::now();
    let mut answers = 0;
    while begin.elapsed() < SPAN {
        for talk in &mut talks {
            assert_eq!(talk.answer().expect("an answer"), 200);
            answers += 1;
            ask(talk, asked).expect("sent");
            asked += 1;
        }
    }
    f64::from(answers) / begin.elapsed().as_secs_f64()
}

/// From the SIGKILL of a leader under load to the first write that another server took after it.
fn kill() {
    let mut cluster = Cluster::start("kill", 3);
    let mut gaps = Vec::new();
    for round in 0..KILLS {
        let at = cluster.settled();
        let stop = Arc::new(AtomicBool::new(false));
        let killed = Arc::new(AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let port = cluster.agents[(at + 1 + client % 2) % 3].port;
                let (stop, killed, tell) = (stop.clone(), killed.clone(), tell.clone());
                thread::spawn(move || write_on(port, client, round, &stop, &killed, &tell))
            })
            .collect();
        thread::sleep(Duration::from_millis(150));
        let begin = Instant::now();
        cluster.agents[at].kill();
        killed.store(true, SeqCst);
        let first: Instant = told.recv_timeout(Duration::from_secs(30)).expect("writes resume");
        gaps.push(first.saturating_duration_since(begin).as_secs_f64() * 1e3);
        stop.store(true, SeqCst);
        for client in clients {
            client.join().expect("a client");
        }
        cluster.agents[at].spawn();
    }
    gaps.sort_by(f64::total_cmp);
    let median = gaps[gaps.len() / 2];
    let worst = gaps[gaps.len() - 1];
    row(&format!("leader killed {KILLS} times: writes resume, median"), &ms(median), "400 ms");
    row("  at worst", &ms(worst), "1500 ms");
}

/// Writes one variable after the other; tells of those that were begun after the kill.
fn write_on(
    port: u16,
    client: usize,
    round: usize,
    stop: &AtomicBool,
    killed: &AtomicBool,
    tell: &std::sync::mpsc::Sender<Instant>,
) {
    let mut n = 0;
    while !stop.load(SeqCst) {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        if stream.set_read_timeout(Some(Duration::from_secs(2))).is_err() {
            continue;
        }
        let mut talk = Talk { stream, buf: Vec::new() };
        while !stop.load(SeqCst) {
            n += 1;
            let after = killed.load(SeqCst);
            let path = format!("kill/{round}/{client}/{}", n % 100);
            match talk.put(&path, "v").and_then(|()| talk.answer()) {
                Ok(200) if after => {
                    // Only the first is listened to.
                    tell.send(Instant::now()).unwrap_or_default();
                }
                Ok(200) => {}
                _ => {
                    thread::sleep(Duration::from_millis(2));
                    break;
                }
            }
        }
    }
}

/// Writes of three servers beside one, reads of a follower beside the leader.
fn rates() {
    let value = "v".repeat(200);
    let write = |talk: &mut Talk, n: u64| talk.put(&format!("rate/{n}"), &value);
    let one = Cluster::start("one", 1);
    let alone = rate(&one.agents[0], write);
    drop(one);
    let three = Cluster::start("three", 3);
    let at = three.settled();
    let together = rate(&three.agents[at], write);
    row("variables written to one server", &per_second(alone), "");
    row("  to the leader of three", &per_second(together), "");
    row("  three beside one", &share(together, alone), "60 %");
    let at = three.settled();
    let read = |talk: &mut Talk, _| talk.get("/v1/var/rate/1?stale");
    let leader = rate(&three.agents[at], read);
    let follower = rate(&three.agents[(at + 1) % 3], read);
    row("stale reads of the leader", &per_second(leader), "");
    row("  of a follower", &per_second(follower), "");
    row("  follower beside leader", &share(follower, leader), "90 %");
}

/// How long after its acknowledgement a write shows on a follower, under load.
fn lag() {
    let cluster = Cluster::start("lag", 3);
    let at = cluster.settled();
    let follower = &cluster.agents[(at + 1) % 3];
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (stop, mut talk) =
                (stop.clone(), Talk::to(&cluster.agents[at]).expect("a connection"));
            thread::spawn(move || {
                let mut n = 0u64;
                while !stop.load(SeqCst) {
                    n += 1;
                    let path = format!("lag/load/{client}/{}", n % 1_000);
                    talk.put(&path, "v").expect("sent");
                    assert_eq!(talk.answer().expect("an answer"), 200);
                }
            })
        })
        .collect();
    // The last version that the follower showed.
    let shown = Arc::new(AtomicU64::new(0));
    let reader = {
        let (stop, shown) = (stop.clone(), shown.clone());
        let mut talk = Talk::to(follower).expect("a connection");
        thread::spawn(move || {
            while !stop.load(SeqCst) {
                talk.get("/v1/var/lag/mark?stale").expect("sent");
                if talk.answer().expect("an answer") == 200 {
                    let body: serde_json::Value = serde_json::from_slice(&talk.buf).expect("JSON");
                    let n = body["Items"]["k"].as_str().and_then(|n| n.parse().ok());
                    shown.fetch_max(n.expect("a number"), SeqCst);
                }
            }
        })
    };
    let mut talk = Talk::to(&cluster.agents[at]).expect("a connection");
    let mut lags = Vec::new();
    let begin = Instant::now();
    for n in 1.. {
        talk.put("lag/mark", &n.to_string()).expect("sent");
        assert_eq!(talk.answer().expect("an answer"), 200);
        let acknowledged = Instant::now();
        while shown.load(SeqCst) < n {
            thread::sleep(Duration::from_micros(200));
        }
        lags.push(acknowledged.elapsed().as_secs_f64() * 1e3);
        if begin.elapsed() > SPAN * 2 {
            break;
        }
    }
    stop.store(true, SeqCst);
    for thread in load.into_iter().chain([reader]) {
        thread.join().expect("ended");
    }
    lags.sort_by(f64::total_cmp);
    row("a write shows on a follower after, median", &ms(lags[lags.len() / 2]), "");
    row("  99th percentile", &ms(lags[lags.len() * 99 / 100]), "50 ms");
}

/// Writes while a follower that missed a gigabyte catches up, beside writes before.
fn catch_up() {
    let mut cluster = Cluster::start("catch", 3);
    let at = cluster.settled();
    let away = (at + 1) % 3;
    cluster.agents[away].kill();
    let value = "v".repeat(MISSED_BYTES);
    let mut talks: Vec<Talk> =
        (0..8).map(|_| Talk::to(&cluster.agents[at]).expect("a connection")).collect();
    for n in 0..MISSED + talks.len() {
        let count = talks.len();
        let talk = &mut talks[n % count];
        if n >= count {
            assert_eq!(talk.answer().expect("an answer"), 200);
        }
        if n < MISSED {
            talk.put(&format!("big/{n}"), &value).expect("sent");
        }
    }
    let small = |talk: &mut Talk, n: u64| talk.put(&format!("small/{}", n % 10_000), "v");
    let before = (0..3).map(|_| rate(&cluster.agents[at], small)).sum::<f64>() / 3.0;
    cluster.agents[away].spawn();
    let begin = Instant::now();
    let (mut rates, mut took) = (Vec::new(), None);
    while took.is_none() && begin.elapsed() < Duration::from_secs(180) {
        rates.push(rate(&cluster.agents[at], small));
        let there = cluster.agents[away].try_get(&format!("/v1/var/big/{}?stale", MISSED - 1));
        took = there.filter(|a| a.status == 200).map(|_| begin.elapsed());
    }
    let during = rates.iter().sum::<f64>() / rates.len() as f64;
    row("writes while one of three is away", &per_second(before), "");
    row("  while it catches up on a gigabyte", &per_second(during), "");
    row("  beside before", &share(during, before), "80 %");
    let took = took.map_or("never".to_owned(), |t| format!("{:.1} s", t.as_secs_f64()));
    row("  caught up within", &took, "");
}

fn ms(n: f64) -> String {
    format!("{n:.1} ms")
}

fn per_second(n: f64) -> String {
    format!("{n:.0}/s")
}

fn share(part: f64, whole: f64) -> String {
    format!("{:.0} %", part / whole * 100.0)
}
