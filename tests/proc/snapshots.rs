//! Snapshots: made by the clock, asked for, restored on one server and on three, and offline.

#![expect(clippy::disallowed_methods, reason = "a test waits for files and runs the command line")]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::acl::{SECRET, ask, bootstrap, guarded, manage};
use super::agent::Agent;
use super::cluster::{leader, three};
use crate::support::agent::BINARY;
use crate::support::http;

fn there(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut all: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "snap"));
    all.sort();
    all
}

fn inspect(file: &Path) -> (bool, String) {
    let mut command = std::process::Command::new(BINARY);
    let done = command.args(["operator", "snapshot", "inspect"]).arg(file).output();
    let done = done.expect("the command runs");
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn snapshots_by_the_clock_are_few_and_whole() {
    let dir = std::env::temp_dir().join(format!("vardo-test-{}-clock-snaps", std::process::id()));
    drop(std::fs::remove_dir_all(&dir));
    let more = json!({
        "server": {
            "enabled": true, "bootstrap_expect": 1,
            "snapshots": { "interval": "1s", "keep": 2, "path": dir },
        },
        "log_level": "INFO",
    });
    let mut agent = Agent::with("clock", &more);
    agent.until("the first one", |_| !there(&dir).is_empty());
    // Remains of a server that was killed in the middle.
    std::fs::write(dir.join("unfinished.tmp"), "x").expect("a file");
    std::fs::write(dir.join("other.txt"), "x").expect("a file");
    let value = "x".repeat(30_000);
    for n in 0..40 {
        let items = json!({ "Items": { "k": value } });
        assert_eq!(agent.put(&format!("/v1/var/n{n}"), &items).status, 200);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let begun = dir.join(format!("vardo-{:012}.snap", now.expect("a time").as_secs()));
    agent.until("two that began later", |_| {
        let all = there(&dir);
        assert!(all.len() <= 3, "{all:?}");
        all.len() == 2 && all.iter().all(|p| *p > begun)
    });
    // Killed between two, or in the middle of one: those that are there are whole.
    agent.kill();
    for file in there(&dir) {
        let (good, text) = inspect(&file);
        assert!(good, "{text}");
        let row = text.lines().find(|l| l.starts_with("variable ")).expect("a row");
        assert_eq!(row.split_whitespace().nth(1), Some("40"), "{text}");
    }
    assert!(dir.join("other.txt").exists());
    let file = there(&dir).pop().expect("a snapshot");
    let archive = std::fs::read(&file).expect("reads");
    let bent = dir.join("bent");
    let mut bytes = archive.clone();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(&bent, bytes).expect("a file");
    let (good, text) = inspect(&bent);
    assert!(!good && text.contains("Error reading snapshot"), "{text}");

    let other = Agent::start("clock-b");
    let address = format!("127.0.0.1:{}", other.port);
    let path = "/v1/operator/snapshot";
    let answer = http::send(&address, "PUT", path, &[], Some(&archive)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    other.until("a leader", |a| a.get("/v1/var/n39").status == 200);
    assert_eq!(other.get("/v1/var/n0").json()["Items"]["k"], json!(value));

    // Started again soon after the last one, it waits for the interval, and goes on.
    agent.spawn();
    agent.until("another one", |_| there(&dir).last().is_some_and(|p| *p > file));
    std::thread::sleep(Duration::from_millis(100));
    drop(std::fs::remove_dir_all(&dir));
}

const PATH: &str = "/v1/operator/snapshot";

fn command(args: &[&str]) -> (bool, String) {
    let done = std::process::Command::new(BINARY).args(args).output().expect("the command runs");
    let text = [done.stdout, done.stderr].concat();
    (done.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn at(agent: &Agent) -> String {
    format!("127.0.0.1:{}", agent.port)
}

fn restore(agent: &Agent, archive: &[u8]) -> http::Answer {
    http::send(&at(agent), "PUT", PATH, &[], Some(archive)).expect("an answer")
}

/// Text that does not compress to nothing.
fn noise(seed: u64, bytes: usize) -> String {
    let mut n = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        n ^= n << 13;
        n ^= n >> 7;
        n ^= n << 17;
        char::from(b'a' + (n >> 40) as u8 % 26)
    };
    (0..bytes).map(next).collect()
}

/// Writes variables of 50 KB each.
fn fill(agent: &Agent, count: u64) {
    let body = json!({ "Items": { "k": "v" } }).to_string();
    agent.until("a key", |a| {
        a.request("PUT", "/v1/var/first", Some(&body)).is_ok_and(|r| r.status == 200)
    });
    for n in 0..count {
        let items = json!({ "Items": { "k": noise(n, 50_000) } });
        assert_eq!(agent.put(&format!("/v1/var/big/n{n}"), &items).status, 200);
    }
}

fn resident_kb(agent: &Agent) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("a status");
    let line = text.lines().find(|l| l.starts_with("RssAnon")).expect("a line");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// Everyone of them lists the same variables at the same index.
fn agree(agents: &[Agent], path: &str) {
    let listed = |a: &Agent| {
        let answer = a.get("/v1/vars?stale");
        (answer.index(), answer.text())
    };
    for agent in agents {
        agent.until("the restored state", |a| {
            a.try_get("/v1/vars?stale").is_some_and(|r| r.text().contains(path))
                && listed(a) == listed(&agents[0])
        });
    }
}

#[test]
fn a_snapshot_leaves_and_comes_in_pieces() {
    let mut agent = Agent::prepare("pieces", &json!({ "client": { "enabled": false } }));
    agent.spawn();
    fill(&agent, 400);
    let before = resident_kb(&agent);
    // A reader that takes its time holds nothing up.
    let mut slow = agent.connect().expect("connects");
    write!(slow, "GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    let mut first = [0; 1000];
    slow.read_exact(&mut first).expect("the begin");
    let head = String::from_utf8_lossy(&first).into_owned();
    assert!(head.contains("Digest: sha-256=") && head.contains("application/x-gzip"), "{head}");
    let saved = agent.get(PATH);
    assert_eq!(saved.status, 200);
    assert!(saved.body.len() > 8 << 20, "{}", saved.body.len());
    let grown = resident_kb(&agent).saturating_sub(before);
    assert!(grown < 6 << 10, "grew by {grown} KB while {} bytes were read", saved.body.len());
    let mut rest = vec![0; 1 << 20];
    slow.read_exact(&mut rest).expect("more of it");
    drop(slow);

    // While it comes, slowly, others are served; and nothing has changed before it is whole.
    let index = agent.get("/v1/vars").index();
    assert_eq!(agent.put("/v1/var/later", &json!({ "Items": { "k": "v" } })).status, 200);
    let mut upload = agent.connect().expect("connects");
    let length = saved.body.len();
    write!(upload, "PUT {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n").expect("sent");
    write!(upload, "Content-Length: {length}\r\n\r\n").expect("sent");
    let mut go_on = [0; 25];
    upload.read_exact(&mut go_on).expect("a word");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let (most, last) = saved.body.split_at(length - 10);
    upload.write_all(most).expect("sent");
    assert_eq!(agent.get("/v1/var/later").status, 200);
    let waits = std::thread::spawn({
        let (at, index) = (at(&agent), agent.get("/v1/vars").index());
        move || http::get(&at, &format!("/v1/vars?index={index}&wait=60s")).expect("an answer")
    });
    let done = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        let pings = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                assert_eq!(agent.get("/v1/status/leader").status, 200);
                slowest = slowest.max(begun.elapsed());
            }
            slowest
        });
        upload.write_all(last).expect("sent");
        let answer = http::read(&mut upload, false).expect("an answer");
        done.store(true, Ordering::Relaxed);
        assert_eq!(answer.status, 200, "{}", answer.text());
        pings.join().expect("pings")
    });
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(waits.join().expect("woken").index() > index);
    agent.until("the key", |a| {
        a.put("/v1/var/after", &json!({ "Items": { "k": "v" } })).status == 200
    });
    assert_eq!(agent.get("/v1/var/later").status, 404);
    assert_eq!(agent.get("/v1/var/big/n399").json()["Items"]["k"], json!(noise(399, 50_000)));
    assert!(agent.get("/v1/vars").index() > index + 1);
    let grown = resident_kb(&agent).saturating_sub(before);
    assert!(grown < 10 << 10, "grew by {grown} KB");

    // What is not right changes nothing, wherever that shows.
    let index = agent.get("/v1/vars").index();
    // The bits before the checksum may say the same in another way, zeros from further back.
    for place in [20, length / 2, length - 6] {
        let mut bent = saved.body.clone();
        bent[place] ^= 1;
        let answer = restore(&agent, &bent);
        assert_eq!(answer.status, 500, "{place}");
        assert!(answer.text().starts_with("failed to restore from snapshot: "), "{place}");
    }
    let answer = restore(&agent, &saved.body[..length / 2]);
    assert!(answer.text().contains("unexpected EOF"), "{}", answer.text());
    assert_eq!((agent.get("/v1/vars").index(), agent.get("/v1/var/after").status), (index, 200));
    // Its remains are swept away, the store is as it was after a restart.
    agent.kill();
    agent.spawn();
    agent.until("a leader", |a| a.try_get("/v1/var/after").is_some_and(|r| r.status == 200));
    assert_eq!(restore(&agent, &saved.body).status, 200);
}

#[test]
fn three_servers_end_with_the_restored_state() {
    // Of a cluster that is far ahead.
    let old = Agent::start("ahead");
    fill(&old, 0);
    for n in 0..300 {
        let items = json!({ "Items": { "k": n.to_string() } });
        assert_eq!(old.put(&format!("/v1/var/old/n{n}"), &items).status, 200);
    }
    let (saved, ahead) = (old.get(PATH).body, old.get("/v1/vars").index());
    let mut agents = three("restored", &json!({}));
    fill(&agents[0], 20);
    let lead = leader(&agents, &[0, 1, 2]);
    let (other, away) = ((lead + 1) % 3, (lead + 2) % 3);
    let index = agents[lead].get("/v1/vars").index();
    assert!(index < ahead, "{index} {ahead}");
    let waits = std::thread::spawn({
        let at = at(&agents[other]);
        move || http::get(&at, &format!("/v1/vars?index={index}&wait=60s")).expect("an answer")
    });
    // All three are there; the request goes to one that does not lead.
    let own = agents[other].get(PATH).body;
    let answer = restore(&agents[other], &saved);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let woken = waits.join().expect("woken");
    assert!(woken.index() > ahead, "{} {ahead}", woken.index());
    agree(&agents, "old/n299");
    let put = |agent: &Agent, name: &str| {
        agent.until("a write", |a| {
            a.put(&format!("/v1/var/{name}"), &json!({ "Items": { "k": "v" } })).status == 200
        });
    };
    put(&agents[other], "after");
    let index = agents[lead].get("/v1/vars").index();
    assert!(index > woken.index());
    // One is away, and is sent the state when it comes back; the archive goes in chunks.
    agents[away].kill();
    let file = agents[lead].dir.join("own.snap");
    std::fs::write(&file, &own).expect("a file");
    let address = format!("http://{}", at(&agents[other]));
    let file = file.display().to_string();
    let (good, text) = command(&["operator", "snapshot", "restore", "-address", &address, &file]);
    assert!(good && text.contains("Snapshot Restored"), "{text}");
    put(&agents[lead], "again");
    agents[away].spawn();
    agree(&agents, "big/n19");
    assert!(agents[lead].get("/v1/vars").index() > index);
    // Whoever leads next goes on from there, after a restart too.
    agents[lead].kill();
    put(&agents[away], "later");
    agents[lead].spawn();
    agree(&agents, "later");
    for agent in &mut agents {
        agent.kill();
    }
    for agent in &mut agents {
        agent.spawn();
    }
    agree(&agents, "later");
    put(&agents[other], "last");
    agree(&agents, "last");
    // Without a majority nothing is restored.
    let lead = leader(&agents, &[0, 1, 2]);
    for i in (0..3).filter(|i| *i != lead) {
        agents[i].kill();
    }
    let answer = restore(&agents[lead], &saved);
    assert_eq!(answer.status, 500, "{}", answer.text());
}

#[test]
fn snapshots_of_an_agent_that_is_not_running() {
    let mut agent = Agent::start("offline");
    fill(&agent, 3);
    let data = agent.dir.join("data").display().to_string();
    let file = |name: &str| agent.dir.join(name).display().to_string();
    let (first, second) = (file("first.snap"), file("second.snap"));
    let save = |to: &str| command(&["operator", "snapshot", "save", "-data-dir", &data, to]);
    let (good, text) = save(&first);
    assert!(!good && text.contains(&format!("process id {} runs in", agent.pid())), "{text}");
    assert!(!Path::new(&first).exists());
    agent.kill();
    let (good, text) = save(&first);
    assert!(good && text.contains("State file written to"), "{text}");
    let (good, text) = inspect(Path::new(&first));
    let row = text.lines().find(|l| l.starts_with("variable ")).expect("a row");
    assert!(good && row.split_whitespace().nth(1) == Some("4"), "{text}");
    let (good, text) = command(&["operator", "snapshot", "state", &first]);
    let shown: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(good && shown["variable"].as_array().is_some_and(|v| v.len() == 4), "{text}");
    agent.spawn();
    agent.until("a leader", |a| a.try_get("/v1/var/first").is_some_and(|r| r.status == 200));
    assert_eq!(agent.put("/v1/var/more", &json!({ "Items": { "k": "v" } })).status, 200);
    let index = agent.get("/v1/vars").index();
    let back = |dir: &str| command(&["operator", "snapshot", "restore", "-data-dir", dir, &first]);
    let (good, text) = back(&data);
    assert!(!good && text.contains("stop it, or leave -data-dir away"), "{text}");
    agent.kill();
    let (good, text) = back(&data);
    assert!(good && text.contains("Snapshot Restored"), "{text}");
    let (good, _) = save(&second);
    assert!(good);
    agent.spawn();
    agent.until("a leader", |a| a.try_get("/v1/var/first").is_some_and(|r| r.status == 200));
    assert_eq!(agent.get("/v1/var/more").status, 404);
    assert!(agent.get("/v1/vars").index() > index);
    agent.until("a key", |a| a.put("/v1/var/new", &json!({ "Items": { "k": "v" } })).status == 200);
    let (good, text) = back("/nowhere/at/all");
    assert!(!good && text.contains("is not the data directory of an agent"), "{text}");
}

#[test]
fn what_an_agent_stored_is_shown_without_its_secrets() {
    let mut agent = Agent::prepare("stored", &json!({ "acl": { "enabled": true } }));
    let leads = |a: &Agent| a.try_get("/v1/status/leader").is_some_and(|r| r.text().len() > 2);
    agent.spawn();
    agent.until("a leader", leads);
    let body = json!({ "BootstrapSecret": "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a" });
    agent.until("a token", |a| a.put("/v1/acl/bootstrap", &body).status == 200);
    let data = agent.dir.join("data").display().to_string();
    agent.until("its node", |a| {
        let token = "2b778dd9-f5f1-6f29-b4b4-9a5fa948757a".to_owned();
        let headers = [("X-Nomad-Token".to_owned(), token)];
        let nodes = http::send(&at(a), "GET", "/v1/nodes", &headers, None).expect("an answer");
        nodes.json().as_array().is_some_and(|n| !n.is_empty())
    });
    let read = |what: &str| {
        let (good, text) =
            command(&[&["operator"], &what.split(' ').collect::<Vec<_>>()[..], &[&data]].concat());
        assert!(!text.contains("2b778dd9"), "{text}");
        (good, text)
    };
    let all = ["raft info", "raft logs", "raft state", "client-state"];
    for what in all {
        let (good, text) = read(what);
        let held = format!("process id {} runs in", agent.pid());
        assert!(!good && text.contains(&held) && text.contains("stop it first"), "{text}");
    }
    agent.kill();
    let [info, logs, state, client] = all.map(|what| {
        let (good, text) = read(what);
        assert!(good, "{what}: {text}");
        text
    });
    let fact = |name: &str| {
        let line = info.lines().find_map(|l| l.strip_prefix(name)).expect("a fact");
        line.trim().to_owned()
    };
    assert!(fact("Voter").contains(" at "), "{info}");
    let entries: Vec<serde_json::Value> =
        logs.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(entries.len().to_string(), fact("Log Length"));
    assert_eq!(entries.last().expect("one")["Index"].to_string(), fact("Last Index"));
    let of = |name: &str| entries.iter().find_map(|e| e["Data"].get(name)).expect("an entry");
    assert_eq!(of("AclBootstrap")["token"]["SecretID"], "<redacted>");
    assert_eq!(of("NodeRegister")["secret"], "<redacted>");
    assert_eq!(of("RootKey")["secret"], "<redacted>");
    let state: serde_json::Value = serde_json::from_str(&state).expect("JSON");
    assert_eq!(state["token"][0]["SecretID"], "<redacted>");
    assert_eq!(state["token"][0]["Type"], "management");
    assert_eq!(state["node"].as_array().map(Vec::len), Some(1));
    assert!(serde_json::from_str::<serde_json::Value>(&client).is_ok_and(|c| c.is_object()));
    agent.spawn();
    agent.until("a leader", leads);
}

/// A snapshot for other eyes: rows without secrets, which can still be restored.
#[test]
fn secrets_are_taken_out_of_a_snapshot() {
    let agent = guarded("redact-a", &json!({}));
    bootstrap(&agent);
    agent.until("a key", |a| {
        ask(a, SECRET, "PUT", "/v1/var/kept", &json!({ "Items": { "k": "v" } })).status == 200
    });
    let once = manage(&agent, "PUT", "/v1/acl/token/onetime", &json!({})).json();
    let once = once["OneTimeToken"]["OneTimeSecretID"].as_str().expect("a secret").to_owned();
    let method = json!({
        "Name": "sso", "Type": "OIDC", "TokenLocality": "local", "MaxTokenTTL": "1h",
        "Config": {
            "OIDCDiscoveryURL": "https://a.example", "OIDCClientID": "us",
            "OIDCClientSecret": "hush-hush", "AllowedRedirectURIs": ["https://a.example/b"],
        },
    });
    manage(&agent, "PUT", "/v1/acl/auth-method", &method);
    let path = agent.dir.join("whole.snap");
    let file = path.display().to_string();
    std::fs::write(&path, ask(&agent, SECRET, "GET", PATH, &json!(null)).body).expect("a file");
    let secrets = [SECRET, &once, "hush-hush"];
    let held = || {
        let bytes = std::fs::read(&path).expect("reads");
        let bytes = miniz_oxide::inflate::decompress_to_vec(&bytes[10..bytes.len() - 8]);
        let text = String::from_utf8_lossy(&bytes.expect("gzip")).into_owned();
        (secrets.map(|s| text.contains(s)), text.contains("\"PublicKey\""))
    };
    assert_eq!(held(), ([true; 3], true));
    let before = command(&["operator", "snapshot", "inspect", &file]);
    let (good, text) = command(&["operator", "snapshot", "redact", &file]);
    assert!(good && text == format!("Secrets were taken out of {file}\n"), "{text}");
    assert_eq!(held(), ([false; 3], true));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).expect("there"));
    assert_eq!(mode & 0o777, 0o600);
    // It says of itself what the whole one said, but for sizes.
    let after = command(&["operator", "snapshot", "inspect", &file]);
    for name in ["ID ", "Index ", "Term "] {
        let line = |t: &str| t.lines().find(|l| l.starts_with(name)).map(str::to_owned);
        assert_eq!(line(&after.1), line(&before.1), "{}", after.1);
    }
    assert!(before.1.contains("\none_time_token ") && !after.1.contains("\none_time_token "));

    let other = guarded("redact-b", &json!({}));
    bootstrap(&other);
    let answer = ask(&other, SECRET, "GET", "/v1/vars", &json!(null));
    assert_eq!(answer.status, 200);
    let headers = [("X-Nomad-Token".to_owned(), SECRET.to_owned())];
    let archive = std::fs::read(&path).expect("reads");
    let answer = http::send(&at(&other), "PUT", PATH, &headers, Some(&archive)).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    other.until("the other state", |a| a.try_get("/v1/status/leader").is_some());
    for token in [SECRET, ""] {
        let answer = ask(&other, token, "GET", "/v1/acl/tokens", &json!(null));
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    let (good, text) = command(&["operator", "snapshot", "redact", &at(&other)]);
    assert!(!good && text.starts_with("Error redacting snapshot: "), "{text}");
}

/// What the node has dropped since is not taken for running.
#[test]
fn an_allocation_that_is_over_ends_again_after_a_restore() {
    let agent = Agent::start("dropped");
    agent.until_ready();
    let job = super::agent::shell_job("web", "service", 1, "sleep 600");
    assert_eq!(agent.put("/v1/jobs", &job).status, 200);
    let status = |a: &Agent, id: &str| {
        let all = a.allocs("web");
        let found = all.iter().find(|x| x["ID"] == id || id.is_empty());
        found.map(|x| x["ClientStatus"].as_str().unwrap_or_default().to_owned())
    };
    agent.until("a running task", |a| status(a, "").as_deref() == Some("running"));
    let id = agent.allocs("web")[0]["ID"].as_str().expect("an id").to_owned();
    let saved = agent.get(PATH).body;
    for dropped in [false, true] {
        assert_eq!(agent.delete("/v1/job/web").status, 200);
        agent.until("its end", |a| status(a, &id).as_deref() == Some("complete"));
        if dropped {
            agent.get("/v1/client/gc");
        }
        assert_eq!(restore(&agent, &saved).status, 200);
        agent.until("its end again, and another one", |a| {
            let all = a.allocs("web");
            let runs = |x: &&serde_json::Value| x["ClientStatus"] == "running";
            status(a, &id).as_deref() == Some("complete") && all.iter().filter(runs).count() == 1
        });
        agent.until("the key", |a| {
            a.put("/v1/var/x", &json!({ "Items": { "k": "v" } })).status == 200
        });
    }
}
