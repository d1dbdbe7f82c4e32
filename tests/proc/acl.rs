//! Access control of running agents: what waits, what streams, what other agents answer.

#![expect(clippy::disallowed_methods, reason = "tests wait")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};
use crate::support::http::{self, Answer};

pub(super) const SECRET: &str = "5ec2e700-0000-4000-8000-000000000000";

fn address(agent: &Agent) -> String {
    format!("127.0.0.1:{}", agent.port)
}

pub(super) fn ask(agent: &Agent, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let headers = match token {
        "" => vec![],
        token => vec![("X-Nomad-Token".to_owned(), token.to_owned())],
    };
    let body = (!body.is_null()).then(|| body.to_string());
    let body = body.as_deref().map(str::as_bytes);
    http::send(&address(agent), method, path, &headers, body).expect("an answer")
}

fn get(agent: &Agent, token: &str, path: &str) -> Answer {
    ask(agent, token, "GET", path, &Value::Null)
}

/// A request of the manager, which succeeds.
pub(super) fn manage(agent: &Agent, method: &str, path: &str, body: &Value) -> Answer {
    let a = ask(agent, SECRET, method, path, body);
    assert!(a.status < 300, "{method} {path}: {} {}", a.status, a.text());
    a
}

pub(super) fn guarded(name: &str, more: &Value) -> Agent {
    let mut config = json!({"acl": {"enabled": true, "token_min_expiration_ttl": "1s"}});
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let mut agent = Agent::prepare(name, &config);
    agent.spawn();
    agent.until("a leader", |a| {
        a.try_get("/v1/status/leader").is_some_and(|r| r.status == 200 && r.body.len() > 4)
    });
    agent
}

pub(super) fn bootstrap(agent: &Agent) {
    let body = json!({"BootstrapSecret": SECRET});
    agent.until("the first token", |a| ask(a, "", "PUT", "/v1/acl/bootstrap", &body).status == 200);
}

fn policy(agent: &Agent, name: &str, rules: &str) {
    let body = json!({"Name": name, "Rules": rules});
    manage(agent, "PUT", &format!("/v1/acl/policy/{name}"), &body);
}

/// Accessor and secret of a token of a policy.
fn token(agent: &Agent, policy: &str, ttl: &str) -> (String, String) {
    let mut body = json!({"Type": "client", "Policies": [policy]});
    if !ttl.is_empty() {
        body["ExpirationTTL"] = ttl.into();
    }
    let token = manage(agent, "PUT", "/v1/acl/token", &body).json();
    let text = |k: &str| token[k].as_str().expect("text").to_owned();
    (text("AccessorID"), text("SecretID"))
}

/// Sends a request and leaves the answer for later.
fn open(agent: &Agent, token: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address(agent)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nX-Nomad-Token: {token}\r\n\
         Accept-Encoding: identity\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

const READ: &str = "namespace \"default\" { policy = \"read\" }";

/// A query that waits ends with 403 when its token is deleted, loses its right, or ends (numbers 53
/// and A09 of the list of weaknesses; the reference answers what was written later).
#[test]
fn queries_that_wait_end_with_their_tokens() {
    let agent = guarded("acl-wait", &json!({}));
    bootstrap(&agent);
    policy(&agent, "ro", READ);
    policy(&agent, "narrowed", READ);
    manage(&agent, "PUT", "/v1/jobs", &shell_job("j", "service", 0, "sleep 1"));
    let index = manage(&agent, "GET", "/v1/jobs", &Value::Null).index() + 50;
    let path = format!("/v1/jobs?index={index}&wait=60s");
    let (deleted_id, deleted) = token(&agent, "ro", "");
    let (_, narrowed) = token(&agent, "narrowed", "");
    let (_, expired) = token(&agent, "ro", "2s");
    let mut waits: Vec<TcpStream> =
        [&deleted, &narrowed, &expired].iter().map(|t| open(&agent, t, &path)).collect();
    sleep(Duration::from_millis(200));
    let begin = Instant::now();
    manage(&agent, "DELETE", &format!("/v1/acl/token/{deleted_id}"), &Value::Null);
    policy(&agent, "narrowed", "namespace \"default\" { capabilities = [\"read-job\"] }");
    for (i, wait) in waits.iter_mut().enumerate() {
        let a = http::read(wait, false).expect("an answer");
        assert_eq!((a.status, a.text().as_str()), (403, "Permission denied"), "{i}");
    }
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    // One whose right stays goes on waiting while others lose theirs.
    let (_, stays) = token(&agent, "ro", "");
    let mut waits = open(&agent, &stays, &format!("/v1/jobs?index={index}&wait=1s"));
    sleep(Duration::from_millis(100));
    policy(&agent, "narrowed", READ);
    let begin = Instant::now();
    assert_eq!(http::read(&mut waits, false).expect("an answer").status, 200);
    assert!(begin.elapsed() > Duration::from_millis(500), "{:?}", begin.elapsed());
}

/// Reads a stream for a while, or to its end: what came, and whether it ended.
fn listen(stream: &mut TcpStream, time: Duration) -> (String, bool) {
    let end = Instant::now() + time;
    let mut all = Vec::new();
    let mut buf = [0; 4096];
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
        stream.set_read_timeout(Some(left)).expect("a limit");
        match stream.read(&mut buf) {
            Ok(0) => return (String::from_utf8_lossy(&all).into_owned(), true),
            Ok(n) => all.extend_from_slice(&buf[..n]),
            Err(_) => break,
        }
    }
    (String::from_utf8_lossy(&all).into_owned(), false)
}

/// Whoever may not hear has a stream without a byte, which has ended.
fn nothing(agent: &Agent, token: &str, query: &str) {
    let denied = get(agent, token, &format!("/v1/event/stream{query}"));
    let (kind, length) = (denied.header("content-type"), denied.header("content-length"));
    assert_eq!((denied.status, denied.text().as_str()), (200, ""), "{query}");
    assert_eq!((kind, length), (Some("application/json"), None), "{query}");
}

/// CVE-2025-0937 (wildcard namespace), CVE-2022-3867 (a token's end), A10 (deletion).
#[test]
fn event_streams_keep_to_the_rights_of_their_tokens() {
    let agent = guarded("acl-events", &json!({}));
    bootstrap(&agent);
    manage(&agent, "PUT", "/v1/namespace", &json!({"Name": "apps"}));
    policy(&agent, "ro", READ);
    let (accessor, secret) = token(&agent, "ro", "");
    let (_, ends) = token(&agent, "ro", "2s");
    for query in ["", "?topic=Job&topic=Node", "?topic=Job&namespace=apps"] {
        nothing(&agent, &secret, query);
    }
    nothing(&agent, "5ec2e700-0000-4000-8000-00000000dead", "?topic=Job");
    let path = "/v1/event/stream?topic=Job&namespace=*";
    let mut all = open(&agent, &secret, path);
    let mut short = open(&agent, &ends, path);
    let mut manager = open(&agent, SECRET, "/v1/event/stream?namespace=*");
    for (id, namespace) in [("mine", "default"), ("theirs", "apps")] {
        let mut job = shell_job(id, "service", 0, "sleep 1");
        job["Job"]["Namespace"] = namespace.into();
        manage(&agent, "PUT", "/v1/jobs", &job);
    }
    policy(&agent, "other", READ);
    let (_, marked) = token(&agent, "other", "");
    let (heard, ended) = listen(&mut all, Duration::from_millis(500));
    assert!(heard.contains("\"mine\"") && !heard.contains("\"theirs\""), "{heard}");
    assert!(!ended);
    let (heard, _) = listen(&mut manager, Duration::from_millis(200));
    assert!(heard.contains("\"theirs\"") && heard.contains("ACLTokenUpserted"), "{heard}");
    assert!(!heard.contains(&marked) && !heard.contains(SECRET), "a secret was told");
    let (_, ended) = listen(&mut short, Duration::from_secs(5));
    assert!(ended, "the stream outlives its token");
    manage(&agent, "DELETE", &format!("/v1/acl/token/{accessor}"), &Value::Null);
    let (_, ended) = listen(&mut all, Duration::from_secs(2));
    assert!(ended, "the stream outlives its token");
    assert!(!agent.log().contains(SECRET) && !agent.log().contains(&secret));
}

/// Logs and files that are followed end with the right to read them, here and through a server.
#[test]
fn followed_files_keep_to_the_rights_of_their_tokens() {
    let server = guarded("acl-follow", &json!({"client": {"enabled": false}}));
    bootstrap(&server);
    let more = json!({
        "server": {"enabled": false},
        "client": {"enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)]},
        "acl": {"enabled": true},
    });
    let mut node = Agent::prepare("acl-follow-node", &more);
    node.spawn();
    node.until("an answer", |a| a.try_get("/v1/agent/health").is_some());
    server.until("a ready node", |a| get(a, SECRET, "/v1/nodes").text().contains("\"ready\""));
    let job = shell_job("j", "service", 1, "echo hello; exec sleep 1000");
    manage(&server, "PUT", "/v1/jobs", &job);
    let list = |a: &Agent| get(a, SECRET, "/v1/job/j/allocations").json();
    server.until("a running task", |a| list(a)[0]["ClientStatus"] == "running");
    let alloc = list(&server)[0]["ID"].as_str().expect("an id").to_owned();
    let rules = "namespace \"default\" { capabilities = [\"read-logs\", \"read-fs\"] }
                 agent { policy = \"read\" }";
    policy(&server, "logs", rules);
    let (accessor, secret) = token(&server, "logs", "");
    let (_, ends) = token(&server, "logs", "2s");
    let log = format!("/v1/client/fs/logs/{alloc}?task=t&type=stdout&plain=true&follow=true");
    let file = format!("/v1/client/fs/stream/{alloc}?path=alloc/logs/t.stdout.0&follow=true");
    let mut short = open(&server, &ends, &log);
    let monitor = "/v1/agent/monitor?log_level=info".to_owned();
    let places = [(&server, &log), (&node, &log), (&server, &file), (&server, &monitor)];
    let mut streams: Vec<TcpStream> =
        places.iter().map(|(agent, path)| open(agent, &secret, path)).collect();
    for (stream, (_, path)) in streams.iter_mut().zip(&places) {
        let (_, ended) = listen(stream, Duration::from_millis(300));
        assert!(!ended, "{path}");
    }
    let (_, ended) = listen(&mut short, Duration::from_secs(5));
    assert!(ended, "the log outlives its token");
    manage(&server, "DELETE", &format!("/v1/acl/token/{accessor}"), &Value::Null);
    for (stream, (_, path)) in streams.iter_mut().zip(&places) {
        let (_, ended) = listen(stream, Duration::from_secs(5));
        assert!(ended, "the stream outlives its token: {path}");
    }
}

/// A node apart has no tokens: whatever it is asked, its servers say whether it may answer
/// (CVE-2023-1782). Nodes and servers themselves go on working.
#[test]
fn an_agent_without_tokens_asks_its_servers() {
    let server = guarded("acl-server", &json!({"client": {"enabled": false}}));
    let more = json!({
        "acl": {"enabled": true},
        "server": {"enabled": false},
        "client": {"enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)]},
    });
    let mut node = Agent::prepare("acl-node", &more);
    node.spawn();
    bootstrap(&server);
    node.until("an answer", |a| a.try_get("/v1/agent/health").is_some());
    node.until("a ready node", |a| get(a, SECRET, "/v1/nodes").text().contains("\"ready\""));
    let job = shell_job("j", "service", 1, "echo hello; exec sleep 1000");
    assert_eq!(ask(&node, "", "PUT", "/v1/jobs", &job).status, 403);
    assert_eq!(ask(&node, SECRET, "PUT", "/v1/jobs", &job).status, 200);
    let running = |a: &Agent| {
        let list = get(a, SECRET, "/v1/job/j/allocations").json();
        list[0]["ClientStatus"] == "running"
    };
    node.until("a running task", running);
    let list = get(&node, SECRET, "/v1/job/j/allocations").json();
    let alloc = list[0]["ID"].as_str().expect("an id").to_owned();
    let id = list[0]["NodeID"].as_str().expect("an id").to_owned();
    policy(&server, "all-but-jobs", "node { policy = \"write\" } agent { policy = \"write\" }");
    policy(&server, "jobs", "namespace \"default\" { policy = \"write\" }");
    let (_, machines) = token(&server, "all-but-jobs", "");
    let (_, jobs) = token(&server, "jobs", "");
    let unknown = "11111111-2222-3333-4444-555555555555";
    let fs = format!("/v1/client/fs/logs/{alloc}?task=t&type=stdout&plain=true");
    let reads = [
        (fs, &jobs, &machines),
        (format!("/v1/client/fs/ls/{alloc}"), &jobs, &machines),
        (format!("/v1/client/fs/cat/{alloc}?path=t/local"), &jobs, &machines),
        (format!("/v1/client/allocation/{alloc}/stats"), &jobs, &machines),
        (format!("/v1/allocation/{alloc}/checks"), &jobs, &machines),
        ("/v1/client/stats".to_owned(), &machines, &jobs),
        (format!("/v1/client/stats?node_id={id}"), &machines, &jobs),
        ("/v1/client/metadata".to_owned(), &machines, &jobs),
    ];
    for (path, may, may_not) in &reads {
        for agent in [&node, &server] {
            if path == "/v1/client/stats" || path == "/v1/client/metadata" {
                continue;
            }
            check(agent, path, may, may_not, unknown);
        }
        check(&node, path, may, may_not, unknown);
    }
    for path in ["/v1/agent/self", "/v1/agent/servers"] {
        check(&node, path, &machines, &jobs, unknown);
    }
    assert_eq!(get(&node, "", "/v1/agent/health").status, 200);
    let restart = format!("/v1/client/allocation/{alloc}/restart");
    for agent in [&node, &server] {
        for token in ["", unknown, &machines] {
            assert_eq!(ask(agent, token, "PUT", &restart, &json!({})).status, 403);
        }
    }
    assert_eq!(ask(&node, &jobs, "PUT", &restart, &json!({})).status, 200);
    assert_eq!(ask(&node, &jobs, "PUT", "/v1/client/gc", &json!({})).status, 403);
    let pause = format!("/v1/client/allocation/{alloc}/pause");
    for (state, status, text) in
        [("zz", 400, "Not a valid task schedule state"), ("run", 500, "Enterprise only")]
    {
        let told = ask(&server, &jobs, "PUT", &pause, &json!({ "ScheduleState": state }));
        assert_eq!((told.status, told.text().as_str()), (status, text));
    }
    // Clients name the node in the body too.
    let meta = |id: &str| json!({ "NodeID": id, "Meta": { "rack": "r1" } });
    let set = |id: &str| ask(&server, &machines, "PUT", "/v1/client/metadata", &meta(id));
    assert_eq!(
        (set(unknown).status, set(unknown).text()),
        (404, format!("Unknown node {unknown}"))
    );
    assert_eq!(set(&id).json()["Dynamic"], json!({ "rack": "r1" }));
    assert_eq!(get(&node, &machines, "/v1/client/metadata").json()["Meta"]["rack"], "r1");
    let renew = "/v1/client/identity/renew";
    assert_eq!(ask(&server, &machines, "PUT", renew, &json!({ "NodeID": id })).status, 200);
    assert_eq!(ask(&server, &machines, "PUT", renew, &json!({})).status, 400, "no node");
}

fn check(agent: &Agent, path: &str, may: &str, may_not: &str, unknown: &str) {
    for token in ["", unknown, may_not] {
        let a = get(agent, token, path);
        assert_eq!((a.status, a.text().as_str()), (403, "Permission denied"), "{path}");
    }
    for token in [may, SECRET] {
        let a = get(agent, token, path);
        assert!(a.status == 200, "{path}: {} {}", a.status, a.text());
    }
}

/// Secrets are not told, logged, or found by two names for the same thing.
#[test]
fn a_request_has_one_token() {
    let agent = guarded("acl-one", &json!({"log_level": "TRACE"}));
    bootstrap(&agent);
    let send = |headers: &[(&str, &str)]| {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        http::send(&address(&agent), "GET", "/v1/jobs", &headers, None).expect("an answer").status
    };
    let bearer = format!("bearer {SECRET}");
    assert_eq!(send(&[("X-Nomad-Token", SECRET)]), 200);
    assert_eq!(send(&[("X-Nomad-Token", &format!(" {SECRET} "))]), 200);
    assert_eq!(send(&[("Authorization", &bearer)]), 200);
    assert_eq!(send(&[("X-Nomad-Token", "x"), ("Authorization", &bearer)]), 403);
    assert_eq!(send(&[("Authorization", &bearer), ("X-Nomad-Token", "x")]), 403);
    assert_eq!(send(&[("X-Nomad-Token", SECRET), ("x-nomad-token", "x")]), 400);
    assert_eq!(send(&[("X-Nomad-Token", SECRET), ("x-nomad-token", SECRET)]), 200);
    let in_query = get(&agent, "", &format!("/v1/jobs?token={SECRET}"));
    assert_eq!(in_query.status, 403);
    let shown = manage(&agent, "GET", "/v1/agent/self", &Value::Null).text();
    assert!(!shown.contains(SECRET));
    assert!(!agent.log().contains(SECRET));
}

/// Three servers: whoever is asked, the token goes along, and a right that is given or taken holds
/// everywhere; nothing of it is lost with a leader.
#[test]
fn tokens_hold_on_every_server() {
    let ports: Vec<[u16; 3]> = (0..3).map(|_| crate::support::agent::free_ports()).collect();
    let join: Vec<String> = ports.iter().map(|p| format!("127.0.0.1:{}", p[2])).collect();
    let mut servers: Vec<Agent> = (0..3)
        .map(|n| {
            let config = json!({
                "acl": {"enabled": true},
                "ports": {"http": ports[n][0], "rpc": ports[n][1], "serf": ports[n][2]},
                "server": {"enabled": true, "bootstrap_expect": 3,
                    "server_join": {"retry_join": join}},
                "client": {"enabled": false},
            });
            let mut agent = Agent::prepare(&format!("acl-three{n}"), &config);
            [agent.port, agent.rpc, agent.serf] = ports[n];
            agent.spawn();
            agent
        })
        .collect();
    let leader = |agent: &Agent| {
        let answer = agent.try_get("/v1/status/leader").filter(|a| a.status == 200)?;
        answer.text().trim_matches('"').rsplit(':').next()?.parse::<u16>().ok()
    };
    for server in &servers {
        server.until("a leader", |a| leader(a).is_some());
    }
    bootstrap(&servers[0]);
    policy(&servers[1], "ro", READ);
    let (accessor, secret) = token(&servers[2], "ro", "");
    for server in &servers {
        assert_eq!(get(server, &secret, "/v1/jobs").status, 200);
        assert_eq!(get(server, "", "/v1/jobs").status, 403);
        assert_eq!(get(server, &secret, "/v1/nodes").status, 403);
        let var = ask(server, &secret, "PUT", "/v1/var/x", &json!({"Items": {"k": "v"}}));
        assert_eq!(var.status, 403);
        // What a server answers from its own state: once that has come there.
        server.until("the token here", |a| get(a, &secret, "/v1/jobs?stale").status == 200);
        assert_eq!(get(server, SECRET, "/v1/agent/members").status, 200);
        assert_eq!(get(server, &secret, "/v1/agent/members").status, 403);
    }
    let at = leader(&servers[0]).expect("a leader");
    let dead = servers.iter().position(|s| s.rpc == at).expect("one of them");
    servers[dead].kill();
    let rest: Vec<&Agent> = servers.iter().filter(|s| s.rpc != at).collect();
    rest[0].until("the next leader", |a| {
        leader(a).is_some_and(|l| l != at) && get(a, &secret, "/v1/jobs").status == 200
    });
    manage(rest[1], "DELETE", &format!("/v1/acl/token/{accessor}"), &Value::Null);
    for server in rest {
        assert_eq!(get(server, &secret, "/v1/jobs").status, 403);
        server.until("the end here", |a| get(a, &secret, "/v1/jobs?stale").status == 403);
    }
}
