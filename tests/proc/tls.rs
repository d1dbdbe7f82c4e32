//! Encrypted connections of the built program, with certificates that it made itself.

#![expect(
    clippy::disallowed_methods,
    reason = "tests of the binary start processes and wait for them"
)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vardo::tls::{self, Session, Trust};

use super::agent::{Agent, send, shell_job};
use crate::support::agent::BINARY;

/// A folder of certificates; goes when dropped.
pub(crate) struct Certs(PathBuf);

impl Certs {
    /// A CA.
    pub(crate) fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vardo-certs-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir).expect("a folder");
        let certs = Self(dir);
        certs.make(&["ca", "create"]);
        certs
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(BINARY).arg("tls").args(args).current_dir(&self.0).output().expect("it runs")
    }

    pub(crate) fn make(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// A `tls` block with the certificate of a role of the region `global`.
    pub(crate) fn block(&self, role: &str) -> Value {
        json!({
            "ca_file": self.path("nomad-agent-ca.pem"),
            "cert_file": self.path(&format!("global-{role}-nomad.pem")),
            "key_file": self.path(&format!("global-{role}-nomad-key.pem")),
        })
    }

    /// What a caller needs who trusts this CA, with or without a certificate for people.
    pub(crate) fn client(&self, shows: bool) -> tls::Client {
        let trust =
            Trust { file: self.0.join("nomad-agent-ca.pem"), names: true, ..Trust::default() };
        let pair = ["global-cli-nomad.pem", "global-cli-nomad-key.pem"].map(|n| self.0.join(n));
        let [cert, key] = &pair;
        tls::client(&trust, shows.then_some((cert, key))).expect("a client")
    }
}

impl Drop for Certs {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn with(mut block: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        block[key] = value.clone();
    }
    json!({ "tls": block })
}

/// A connection to an agent's API that lives for as many requests as are sent.
struct Https {
    socket: TcpStream,
    session: Session,
    plain: Vec<u8>,
}

impl Https {
    fn open(agent: &Agent, client: &tls::Client) -> io::Result<Self> {
        let socket = agent.connect()?;
        let session = Session::called(client, "127.0.0.1").map_err(io::Error::other)?;
        let mut https = Self { socket, session, plain: Vec::new() };
        https.push()?;
        while !https.session.is_ready() {
            https.fill()?;
        }
        Ok(https)
    }

    fn push(&mut self) -> io::Result<()> {
        let n = self.session.unsent().len();
        self.socket.write_all(self.session.unsent())?;
        self.session.sent(n);
        Ok(())
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buf = vec![0; 65_536];
        let n = self.socket.read(&mut buf)?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.session.feed(&mut buf[..n], &mut self.plain).map_err(io::Error::other)?;
        self.push()
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.session.send(head.as_bytes());
        self.session.send(body);
        self.push()
    }

    /// Status and body of the next answer, which says its length.
    fn answer(&mut self) -> io::Result<(u16, String)> {
        loop {
            if let Some(at) = self.plain.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.plain[..at]).to_lowercase();
                let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
                let length: usize = length.expect("a length").trim().parse().expect("a number");
                if self.plain.len() >= at + 4 + length {
                    let status = head[9..12].parse().expect("a status");
                    let body = self.plain[at + 4..at + 4 + length].to_vec();
                    self.plain.drain(..at + 4 + length);
                    return Ok((status, String::from_utf8_lossy(&body).into_owned()));
                }
            }
            self.fill()?;
        }
    }

    fn get(&mut self, path: &str) -> io::Result<(u16, String)> {
        self.send("GET", path, b"")?;
        self.answer()
    }
}

fn try_get(agent: &Agent, client: &tls::Client, path: &str) -> io::Result<(u16, String)> {
    Https::open(agent, client)?.get(path)
}

/// Asks until the answer holds, 30 s at most.
pub(crate) fn until(agent: &Agent, client: &tls::Client, path: &str, holds: impl Fn(&str) -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match try_get(agent, client, path) {
            Ok((200, text)) if holds(&text) => return,
            last => assert!(Instant::now() < end, "{path}: {last:?}; log:\n{}", agent.log()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn started(name: &str, more: &Value) -> Agent {
    let mut agent = Agent::prepare(name, more);
    agent.spawn();
    agent
}

/// Waits for a line of the log.
fn told(agent: &Agent, line: &str) {
    agent.until(line, |a| a.log().contains(line));
}

#[test]
fn the_api_is_served_by_https_only() {
    let certs = Certs::new("https");
    certs.make(&["cert", "create", "-server"]);
    let mut config = with(certs.block("server"), &json!({ "http": true }));
    config["limits"] = json!({ "https_handshake_timeout": "1s", "http_max_conns_per_client": 0 });
    let agent = started("https", &config);
    let client = certs.client(false);
    until(&agent, &client, "/v1/nodes", |t| t.contains("\"ready\""));

    // Many requests over one connection, also behind each other before an answer.
    let mut https = Https::open(&agent, &client).expect("a connection");
    for _ in 0..3 {
        assert_eq!(https.get("/v1/regions").expect("an answer"), (200, "[\"global\"]".to_owned()));
    }
    for _ in 0..20 {
        https.send("GET", "/v1/regions", b"").expect("sent");
    }
    for _ in 0..20 {
        assert_eq!(https.answer().expect("an answer").0, 200);
    }
    // Bodies of many records, both ways.
    let text = "x".repeat(200_000);
    let spec = json!({ "JobHCL": format!("job \"j\" {{ # {text}\n}}"), "Canonicalize": false });
    https.send("POST", "/v1/jobs/parse", spec.to_string().as_bytes()).expect("sent");
    let (status, answer) = https.answer().expect("an answer");
    assert!(status == 200 && answer.contains("\"j\""), "{status} {answer}");
    let mut job = shell_job("large", "batch", 1, "true");
    job["Job"]["Meta"] = json!({ "large": "y".repeat(600_000) });
    https.send("PUT", "/v1/jobs", job.to_string().as_bytes()).expect("sent");
    assert_eq!(https.answer().expect("an answer").0, 200);
    let (status, answer) = https.get("/v1/job/large").expect("an answer");
    assert!(status == 200 && answer.len() > 600_000 && answer.ends_with('}'));

    // A query that waits is woken.
    let mut other = Https::open(&agent, &client).expect("a connection");
    hold(&mut https, &mut other);
    describe(&mut other, "news");
    assert!(https.answer().expect("an answer").1.contains("news"));

    // Whoever speaks plainly is told.
    let plain = agent.get("/v1/regions");
    assert_eq!(plain.status, 400);
    assert_eq!(plain.text(), "Client sent an HTTP request to an HTTPS server.\n");
    // Whoever begins and says nothing more goes.
    let mut silent = agent.connect().expect("a connection");
    silent.write_all(&[0x16, 3, 1]).expect("sent");
    let begin = Instant::now();
    assert_eq!(silent.read(&mut [0; 16]).unwrap_or(0), 0);
    assert!((800..5_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    // Another CA does not know this agent.
    let others = Certs::new("https-other");
    let fault = try_get(&agent, &others.client(false), "/v1/regions").expect_err("refused");
    assert!(fault.to_string().contains("signed by no CA that is trusted"), "{fault}");
    assert!(https.get("/v1/regions").is_ok());
}

/// Changes a namespace.
fn describe(https: &mut Https, text: &str) {
    let body = json!({ "Name": "watched", "Description": text }).to_string();
    https.send("PUT", "/v1/namespace", body.as_bytes()).expect("sent");
    assert_eq!(https.answer().expect("an answer").0, 200);
}

/// Lets `waits` wait for the next change of it.
fn hold(waits: &mut Https, other: &mut Https) {
    describe(other, "as it was");
    let (_, text) = other.get("/v1/namespace/watched").expect("an answer");
    let index = serde_json::from_str::<Value>(&text).expect("JSON")["ModifyIndex"].clone();
    let path = format!("/v1/namespace/watched?index={index}&wait=30s");
    waits.send("GET", &path, b"").expect("sent");
}

fn command(agent: &Agent, certs: &Certs, more: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    command.args(["operator", "api", "/v1/regions"]);
    command.env("NOMAD_ADDR", format!("https://127.0.0.1:{}", agent.port));
    command.env("NOMAD_CACERT", certs.path("nomad-agent-ca.pem"));
    command.envs(more.iter().copied());
    let ran = command.output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.code().unwrap_or(-1), text(&ran.stdout), text(&ran.stderr))
}

#[test]
fn callers_show_certificates_where_they_have_to() {
    let certs = Certs::new("callers");
    for role in ["-server", "-cli"] {
        certs.make(&["cert", "create", role]);
    }
    let block = with(certs.block("server"), &json!({ "http": true, "verify_https_client": true }));
    let agent = started("callers", &block);
    until(&agent, &certs.client(true), "/v1/status/leader", |t| t.len() > 4);
    let fault = try_get(&agent, &certs.client(false), "/v1/regions").expect_err("refused");
    assert!(fault.to_string().contains("requires a certificate"), "{fault}");

    let (cert, key) = (certs.path("global-cli-nomad.pem"), certs.path("global-cli-nomad-key.pem"));
    let pair = [("NOMAD_CLIENT_CERT", cert.as_str()), ("NOMAD_CLIENT_KEY", key.as_str())];
    let (status, out, err) = command(&agent, &certs, &pair);
    assert_eq!((status, out.as_str(), err.as_str()), (0, "[\"global\"]", ""));
    let folder = certs.0.join("trusted");
    std::fs::create_dir(&folder).expect("a folder");
    std::fs::copy(certs.path("nomad-agent-ca.pem"), folder.join("a.pem")).expect("a copy");
    let folder = folder.display().to_string();
    let from = |more: [(&'static str, &str); 2]| {
        let all: Vec<_> = pair.iter().copied().chain(more).collect();
        command(&agent, &certs, &all)
    };
    assert_eq!(from([("NOMAD_CACERT", ""), ("NOMAD_CAPATH", &folder)]).0, 0);
    assert_eq!(from([("NOMAD_CACERT", ""), ("NOMAD_SKIP_VERIFY", "true")]).0, 0);
    let name = "server.global.nomad";
    assert_eq!(from([("NOMAD_TLS_SERVER_NAME", name), ("NOMAD_CAPATH", "")]).0, 0);
    let http = format!("http://127.0.0.1:{}", agent.port);
    let none = ("NOMAD_CAPATH", "");
    for (more, text) in [
        (
            [("NOMAD_CACERT", ""), none],
            "is signed by no CA that is trusted; name the cluster's CA by",
        ),
        ([("NOMAD_CLIENT_CERT", ""), none], "needs its key, and a key its certificate"),
        (
            [("NOMAD_TLS_SERVER_NAME", "elsewhere"), none],
            "is for another name; say which by -tls-server-name",
        ),
        ([("NOMAD_CACERT", "/none.pem"), none], "/none.pem: there is no such file"),
        ([("NOMAD_CACERT", &key), none], "holds no certificate"),
        ([("NOMAD_ADDR", &http), none], "Client sent an HTTP request to an HTTPS server."),
    ] {
        let (status, out, err) = from(more);
        assert!(status == 1 && out.is_empty() && err.contains(text), "{more:?}: {err}");
        assert_eq!(err.trim_end().lines().count(), 1, "{err}");
    }
    let (status, _, err) = command(&agent, &certs, &[]);
    assert!(status == 1 && err.contains("a certificate of this one; give one by"), "{err}");
}

fn replace(from: &Certs, to: &Certs) {
    let names = ["nomad-agent-ca.pem", "global-server-nomad.pem", "global-server-nomad-key.pem"];
    for name in names {
        std::fs::copy(from.path(name), to.path(name)).expect("a copy");
    }
}

#[test]
fn certificates_change_while_tasks_and_queries_live_on() {
    let (first, second) = (Certs::new("first"), Certs::new("second"));
    for certs in [&first, &second] {
        certs.make(&["cert", "create", "-server"]);
    }
    let (old, new) = (first.client(false), second.client(false));
    let agent = started("reload", &with(first.block("server"), &json!({ "http": true })));
    until(&agent, &old, "/v1/nodes", |t| t.contains("\"ready\""));
    let mut https = Https::open(&agent, &old).expect("a connection");
    let job = shell_job("lives", "service", 1, "sleep 600");
    https.send("PUT", "/v1/jobs", job.to_string().as_bytes()).expect("sent");
    assert_eq!(https.answer().expect("an answer").0, 200);
    until(&agent, &old, "/v1/job/lives/allocations", |t| t.contains("\"running\""));
    let before = https.get("/v1/job/lives/allocations").expect("an answer").1;
    let mut held = Https::open(&agent, &old).expect("a connection");
    hold(&mut held, &mut https);

    // A file that is broken changes nothing.
    let cert = first.path("global-server-nomad.pem");
    let good = std::fs::read(&cert).expect("the certificate");
    std::fs::write(&cert, "-----BEGIN CERTIFICATE-----\nno\n").expect("written");
    send("HUP", agent.pid());
    told(&agent, "Failed to reload configs: ");
    assert!(try_get(&agent, &old, "/v1/regions").is_ok());
    std::fs::write(&cert, good).expect("written");

    replace(&second, &first);
    send("HUP", agent.pid());
    until(&agent, &new, "/v1/regions", |t| t.contains("global"));
    let fault = try_get(&agent, &old, "/v1/regions").expect_err("another CA");
    assert!(fault.to_string().contains("signed by no CA that is trusted"), "{fault}");
    // Conversations run over it too.
    let list: Value = serde_json::from_str(&before).expect("JSON");
    let mut command = Command::new(BINARY);
    command.args(["alloc", "exec", "-i=false", "-t=false", list[0]["ID"].as_str().expect("an id")]);
    command.args(["/bin/sh", "-c", "echo from inside; exit 4"]);
    command.env("NOMAD_ADDR", format!("https://127.0.0.1:{}", agent.port));
    command.env("NOMAD_CACERT", second.path("nomad-agent-ca.pem"));
    let ran = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!((ran.status.code(), said.as_str()), (Some(4), "from inside\n"));
    // What was open works as before, and the task has not noticed.
    let after = https.get("/v1/job/lives/allocations").expect("an answer").1;
    let id = |text: &str| {
        let list: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(list.as_array().map(Vec::len), Some(1), "{text}");
        assert_eq!(list[0]["ClientStatus"], "running");
        list[0]["ID"].clone()
    };
    assert_eq!(id(&before), id(&after));
    describe(&mut https, "news");
    assert!(held.answer().expect("woken").1.contains("news"));
}

#[test]
fn files_that_do_not_fit_stop_the_start() {
    let (certs, others) = (Certs::new("start"), Certs::new("start-other"));
    for certs in [&certs, &others] {
        certs.make(&["cert", "create", "-server"]);
    }
    let on = json!({ "http": true, "rpc": true });
    let block = with(certs.block("server"), &on)["tls"].clone();
    for (key, value, text) in [
        ("ca_file", String::new(), "tls.ca_file must be given"),
        ("cert_file", certs.path("none.pem"), "none.pem: there is no such file"),
        ("cert_file", certs.path("nomad-agent-ca-key.pem"), "holds no certificate"),
        ("key_file", certs.path("nomad-agent-ca.pem"), "holds no private key"),
        ("key_file", others.path("global-server-nomad-key.pem"), "do not belong together"),
        ("tls_min_version", "tls10".to_owned(), "is not one of tls12, tls13"),
    ] {
        let mut block = block.clone();
        block[key] = json!(value);
        let mut agent = Agent::prepare("start", &json!({ "tls": block }));
        agent.spawn();
        assert_eq!(agent.wait().code(), Some(1), "{key} {value}");
        let log = agent.log();
        let lines = log.lines().filter(|l| !l.contains("WARN")).count();
        assert!(log.contains(text) && lines == 1, "{key} {value}: {log}");
    }
}

/// An agent that joins others, over encrypted links.
fn member(name: &str, certs: &Certs, role: &str, join: &[u16], more: &Value) -> Agent {
    let join: Vec<_> = join.iter().map(|p| format!("127.0.0.1:{p}")).collect();
    let is_server = more["server"] != json!(false);
    let mut config = json!({
        "tls": certs.block(role),
        "server": {
            "enabled": is_server, "bootstrap_expect": 3, "server_join": { "retry_join": join },
        },
        "client": { "enabled": !is_server, "servers": join },
        "log_level": "INFO",
    });
    if !is_server {
        config["server"] = json!({ "enabled": false });
    }
    config["tls"]["rpc"] = json!(true);
    config["tls"]["verify_server_hostname"] = json!(true);
    for (key, value) in more["tls"].as_object().into_iter().flatten() {
        config["tls"][key] = value.clone();
    }
    if let Some(secret) = more.get("encrypt") {
        config["server"]["encrypt"] = secret.clone();
    }
    started(name, &config)
}

fn runs_a_job(servers: &[Agent], id: &str) {
    servers[0].until_ready();
    let reply = servers[1].put("/v1/jobs", &shell_job(id, "batch", 1, "echo done"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let done = |a: &Agent| a.allocs(id).iter().any(|x| x["ClientStatus"] == "complete");
    servers[2].until("a task that ran", done);
}

#[test]
fn agents_show_each_other_certificates_of_their_roles() {
    let (certs, others) = (Certs::new("roles"), Certs::new("roles-other"));
    for role in ["-server", "-client"] {
        certs.make(&["cert", "create", role]);
    }
    others.make(&["cert", "create", "-server"]);
    certs.make(&["cert", "create", "-server", "-region", "elsewhere"]);
    let mut servers: Vec<Agent> = Vec::new();
    let sealed = json!({ "encrypt": "MDEyMzQ1Njc4OWFiY2RlZg==" });
    for n in 0..3 {
        let known: Vec<u16> = servers.iter().map(|s| s.rpc).collect();
        servers.push(member(&format!("roles{n}"), &certs, "server", &known, &sealed));
    }
    let ports: Vec<u16> = servers.iter().map(|s| s.rpc).collect();
    let mut node = sealed.clone();
    node["server"] = json!(false);
    let client = member("roles-client", &certs, "client", &ports, &node);
    runs_a_job(&servers, "mutual");

    // A client's certificate makes no server, nor one of another region.
    let liar = member("roles-liar", &certs, "client", &ports[..1], &sealed);
    let text = "invalid certificate: client.global.nomad, localhost not in expected \
                server.global.nomad";
    told(&servers[0], text);
    drop(liar);
    let pair = json!({
        "cert_file": certs.path("elsewhere-server-nomad.pem"),
        "key_file": certs.path("elsewhere-server-nomad-key.pem"),
    });
    let mut more = sealed.clone();
    more["tls"] = pair;
    let stranger = member("roles-region", &certs, "server", &ports[..1], &more);
    told(
        &servers[0],
        "invalid certificate: server.elsewhere.nomad, localhost not in expected \
         server.global.nomad",
    );
    drop(stranger);
    // Another CA, and no encryption.
    let stranger = member("roles-ca", &others, "server", &ports[1..2], &sealed);
    told(&stranger, "the certificate is signed by no CA that is trusted");
    told(&servers[1], "a stranger is sent away: the other side");
    drop(stranger);
    let mut more = sealed;
    more["tls"] = json!({ "rpc": false });
    let plain = member("roles-plain", &certs, "server", &ports[2..], &more);
    told(&servers[2], "a stranger is sent away: the other side speaks no TLS");
    drop(plain);
    let members = servers[0].get("/v1/agent/members").json();
    assert_eq!(members["Members"].as_array().map(Vec::len), Some(3), "{members}");
    drop(client);
}

#[test]
fn a_cluster_takes_up_encryption_without_a_stop() {
    let certs = Certs::new("upgrade");
    for role in ["-server", "-client"] {
        certs.make(&["cert", "create", role]);
    }
    let plain = json!({ "tls": { "rpc": false } });
    let both = json!({ "tls": { "rpc_upgrade_mode": true } });
    // Two take both, one does not encrypt yet.
    let mut servers: Vec<Agent> = Vec::new();
    for (n, more) in [&both, &both, &plain].into_iter().enumerate() {
        let known: Vec<u16> = servers.iter().map(|s| s.rpc).collect();
        servers.push(member(&format!("upgrade{n}"), &certs, "server", &known, more));
    }
    let ports: Vec<u16> = servers.iter().map(|s| s.rpc).collect();
    let node = json!({ "server": false, "tls": { "rpc": true } });
    let client = member("upgrade-client", &certs, "client", &ports[..2], &node);
    runs_a_job(&servers, "mixed");
    drop(client);
}

#[test]
fn certificates_are_made_once_and_say_what_was_asked() {
    let certs = Certs::new("made");
    let ran = certs.run(&["ca", "create"]);
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!((ran.status.code(), text.trim()), (Some(1), "nomad-agent-ca.pem already exists"));
    let said = certs.make(&["cert", "create", "-server", "-additional-dnsname=api.example"]);
    assert!(said.contains("==> Server certificate saved to: global-server-nomad.pem"), "{said}");
    let ran = certs.run(&["cert", "create", "-server"]);
    assert_eq!(ran.status.code(), Some(1));
    for (args, text) in [
        (&["cert", "create"][..], "one of -server, -client or -cli"),
        (&["cert", "create", "-cli", "-client"], "one of -server, -client or -cli"),
        (&["cert", "create", "-cli", "-days", "0"], "-days must be between 1 and 36500"),
        (&["cert", "create", "-cli", "-region", "../x"], "is no name"),
        (&["cert", "create", "-cli", "-additional-ipaddress", "1.2.3"], "is no IP address"),
        (&["cert", "create", "-cli", "-ca", "none.pem"], "none.pem: there is no such file"),
        (&["cert", "create", "-cli", "-key", "nomad-agent-ca.pem"], "holds no private key"),
        (&["ca", "create", "-additional-domain", "x"], "needs -name-constraint"),
    ] {
        let ran = certs.run(args);
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(1) && said.contains(text), "{args:?}: {said}");
    }
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(certs.0.join(name)).expect("a file").permissions().mode() & 0o777
    };
    assert_eq!(mode("global-server-nomad-key.pem"), 0o600);
    certs.make(&["ca", "create", "-name-constraint", "-domain=edge", "-days=20000"]);
    certs.make(&["cert", "create", "-client", "-domain=edge", "-region=eu"]);
    // What another program makes of them, where it is there.
    let verified = |ca: &str, cert: &str| {
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-CAfile", ca, cert]).current_dir(&certs.0);
        command.output().is_ok_and(|ran| ran.status.success())
    };
    if Path::new("/usr/bin/openssl").exists() {
        assert!(verified("nomad-agent-ca.pem", "global-server-nomad.pem"));
        assert!(verified("edge-agent-ca.pem", "eu-client-edge.pem"));
        assert!(!verified("edge-agent-ca.pem", "global-server-nomad.pem"));
    }
}

#[test]
fn services_are_checked_by_https() {
    let certs = Certs::new("checks");
    certs.make(&["cert", "create", "-server"]);
    let mut config = with(certs.block("server"), &json!({ "http": true }));
    let with_ca = config.clone();
    config["tls"]["ca_file"] = json!("");
    config["bind_addr"] = json!("0.0.0.0");
    let agent = started("checks", &config);
    let client = certs.client(false);
    until(&agent, &client, "/v1/nodes", |t| t.contains("\"ready\""));
    // The agent itself is what is checked: by anyone's certificate, and by one that the system
    // would have to trust.
    let check = |name: &str, anyone: bool| {
        json!({
            "Name": name, "Type": "http", "Protocol": "https", "Path": "/v1/regions",
            "Interval": 1_000_000_000, "Timeout": 2_000_000_000, "TLSSkipVerify": anyone,
            "TLSServerName": "localhost",
        })
    };
    let mut job = shell_job("checked", "service", 1, "sleep 600");
    let group = &mut job["Job"]["TaskGroups"][0];
    group["Services"] = json!([{
        "Name": "api", "Provider": "nomad",
        "PortLabel": agent.port.to_string(),
        "Checks": [check("anyone", true), check("trusted", false)],
    }]);
    let mut https = Https::open(&agent, &client).expect("a connection");
    https.send("PUT", "/v1/jobs", job.to_string().as_bytes()).expect("sent");
    let (status, text) = https.answer().expect("an answer");
    assert_eq!(status, 200, "{text}");
    until(&agent, &client, "/v1/job/checked/allocations", |t| t.contains("\"running\""));
    let (_, text) = https.get("/v1/job/checked/allocations").expect("an answer");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let path = format!("/v1/client/allocation/{}/checks", list[0]["ID"].as_str().expect("an id"));
    let status_of = |text: &str, name: &str| {
        let all: Value = serde_json::from_str(text).expect("JSON");
        let mut all = all.as_object().cloned().unwrap_or_default().into_iter();
        let found = all.find(|(_, c)| c["Check"] == name).map(|(_, c)| c).unwrap_or_default();
        (found["Status"].clone(), found["Output"].clone())
    };
    until(&agent, &client, &path, |t| status_of(t, "anyone").0 == "success");
    until(&agent, &client, &path, |t| status_of(t, "trusted").0 == "failure");
    let (_, text) = https.get(&path).expect("an answer");
    let (_, output) = status_of(&text, "trusted");
    let why = output.as_str().unwrap_or_default();
    assert!(why.contains("the certificate is signed by no CA that is trusted"), "{text}");
    // The agent's own CA is believed beside those of the system.
    agent.configure(&with_ca);
    send("HUP", agent.pid());
    until(&agent, &client, &path, |t| status_of(t, "trusted").0 == "success");
}
