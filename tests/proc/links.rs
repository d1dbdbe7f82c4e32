//! A node in a process of its own, behind a link that may be encrypted and that breaks: what its
//! tasks get of the servers, and what is read of it meanwhile.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::acl::{SECRET, ask, bootstrap, manage};
use super::agent::{Agent, shell_job};
use super::between::{Between, CUT, OPEN, SILENT};
use super::exec::{Caller, running};
use super::tls::Certs;

/// A server without a node, and a node that calls it at this port, or at its own.
fn apart(name: &str, tls: Option<[Value; 2]>, more: &Value) -> (Agent, Agent) {
    let mut server =
        Agent::prepare(&format!("{name}-server"), &json!({ "client": { "enabled": false } }));
    let client = Agent::prepare(&format!("{name}-node"), &json!({}));
    if let Some([of_server, of_client]) = tls {
        server.configure(&json!({ "tls": of_server }));
        client.configure(&json!({ "tls": of_client }));
    }
    server.configure(more);
    server.spawn();
    let servers = [format!("127.0.0.1:{}", server.rpc)];
    client.configure(&json!({
        "server": { "enabled": false },
        "client": { "enabled": true, "servers": servers },
    }));
    (server, client)
}

/// A node whose configuration names nobody who answers is told by hand whom to call.
#[test]
fn a_node_is_told_of_its_servers_by_hand() {
    let (server, mut client) = apart("told", None, &json!({}));
    client.configure(&json!({ "client": { "enabled": true, "servers": ["127.0.0.1:1"] } }));
    client.spawn();
    let path = "/v1/agent/servers";
    client.until("no server", |c| c.try_get(path).is_some_and(|a| a.text() == "[]"));
    let put = |agent: &Agent, query: &str| {
        let answer = agent.put(&format!("{path}{query}"), &Value::Null);
        (answer.status, answer.text())
    };
    assert_eq!(put(&client, ""), (400, "missing server address".to_owned()));
    let wrong = "2 errors occurred:\n\t* \"a:b\": \"b\" is no port\n\t* \":1\" names no host\n\n";
    assert_eq!(put(&client, "?address=a:b&address=:1"), (400, wrong.to_owned()));
    assert_eq!(put(&server, "?address=127.0.0.1:1"), (501, "Invalid method".to_owned()));
    let address = format!("127.0.0.1:{}", server.rpc);
    assert_eq!(put(&client, &format!("?address={address}")), (200, String::new()));
    server.until_ready();
    assert_eq!(client.get(path).json(), json!([address]));
}

/// Where servers want nodes to be introduced, one that is not known shows a token for it and its
/// pool; one that is known needs none.
#[test]
fn a_new_node_is_introduced() {
    let strict = json!({
        "acl": { "enabled": true },
        "server": {
            "enabled": true, "bootstrap_expect": 1,
            "client_introduction": { "enforcement": "strict", "max_identity_ttl": "10m" },
        },
    });
    let (server, mut client) = apart("intro", None, &strict);
    server.until("a leader", |a| a.try_get("/v1/status/leader").is_some_and(|r| r.body.len() > 4));
    bootstrap(&server);
    let path = "/v1/acl/identity/client-introduction-token";
    let token = |body: Value| {
        server.until("a key", |s| !s.get("/.well-known/jwks.json").text().contains("[]"));
        manage(&server, "PUT", path, &body).json()["JWT"].as_str().expect("text").to_owned()
    };
    let node = |client: &Agent, token: &str| {
        let servers = [format!("127.0.0.1:{}", server.rpc)];
        client.configure(&json!({
            "client": { "enabled": true, "servers": servers, "intro_token": token },
        }));
    };
    let refused = |client: &Agent, why: &str| {
        let line = format!("the servers refuse what the node asks for: 403 {why}");
        client.until(why, |c| c.log().contains(&line));
    };
    let known = |server: &Agent| {
        let nodes = ask(server, SECRET, "GET", "/v1/nodes", &Value::Null).json();
        nodes.as_array().expect("a list").len()
    };
    client.spawn();
    refused(&client, "the node is not introduced: it shows no token");
    client.kill();
    let too_long = ask(&server, SECRET, "PUT", path, &json!({ "TTL": 601_000_000_000_u64 }));
    assert_eq!(
        (too_long.status, too_long.text().as_str()),
        (400, "TTL must not be more than 10m0s")
    );
    assert_eq!(ask(&server, "", "PUT", path, &json!({})).status, 403);
    for (wrong, why) in [
        (token(json!({ "NodePool": "other" })), "the token is for another node or pool"),
        (token(json!({ "NodeName": "another" })), "the token is for another node or pool"),
        ("a.b.c".to_owned(), ""),
    ] {
        std::fs::remove_file(client.dir.join("agent.log")).expect("a log");
        node(&client, &wrong);
        client.spawn();
        refused(&client, &format!("the node is not introduced: {why}"));
        client.kill();
    }
    assert_eq!(known(&server), 0);
    node(&client, &token(json!({ "NodeName": "intro-node", "TTL": "5m" })));
    client.spawn();
    server.until("the node", |s| known(s) == 1);
    client.kill();
    node(&client, "");
    client.spawn();
    server.until("the node, as before", |s| {
        let nodes = ask(s, SECRET, "GET", "/v1/nodes", &Value::Null).json();
        nodes[0]["Status"] == "ready" && client.try_get("/v1/agent/health").is_some()
    });
}

fn set(agent: &Agent, path: &str, value: &str) {
    let body = json!({ "Items": { "v": value } }).to_string();
    agent.until("a variable", |a| {
        a.request("PUT", &format!("/v1/var/{path}"), Some(&body)).is_ok_and(|r| r.status == 200)
    });
}

/// Tokens, variables and services reach a task, and go on doing so after its server was away.
fn supplied(name: &str, tls: Option<[Value; 2]>) {
    let (mut server, mut client) = apart(name, tls, &json!({}));
    client.spawn();
    server.until_ready();
    set(&server, "nomad/jobs/j", "one");
    let mut job = shell_job("j", "service", 1, "exec sleep 1000");
    let group = &mut job["Job"]["TaskGroups"][0];
    group["Networks"] = json!([{ "Mode": "host", "DynamicPorts": [{ "Label": "p" }] }]);
    let task = &mut group["Tasks"][0];
    task["Identities"] = json!([{
        "Name": "short", "Audience": ["x"], "File": true, "TTL": 4_000_000_000_u64,
    }]);
    task["Services"] = json!([{ "Name": "s", "Provider": "nomad", "PortLabel": "p" }]);
    task["Templates"] = json!([{
        "EmbeddedTmpl": "{{ with nomadVar \"nomad/jobs/j\" }}{{ .v }}{{ end }} \
                         {{ range nomadService \"s\" }}{{ .Port }}{{ end }}",
        "DestPath": "local/conf", "ChangeMode": "noop", "Splay": 0,
    }]);
    let alloc = running(&server, &job);
    let dir = client.dir.join("data/alloc").join(&alloc).join("t");
    let read = |path: &str| std::fs::read_to_string(dir.join(path)).unwrap_or_default();
    let port = server.get("/v1/service/s").json()[0]["Port"].to_string();
    let shown = |v: &str| format!("{v} {port}");
    client.until("the first text", |_| read("local/conf") == shown("one"));
    let token = || read("secrets/nomad_short.jwt");
    client.until("a token", |_| token().split('.').count() == 3);
    set(&server, "nomad/jobs/j", "two");
    client.until("the second text", |_| read("local/conf") == shown("two"));
    let old = token();
    client.until("a newer token", |_| token() != old);
    // The server goes away and comes back; what is there stays meanwhile.
    server.kill();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(read("local/conf"), shown("two"));
    server.spawn();
    set(&server, "nomad/jobs/j", "three");
    client.until("the third text", |_| read("local/conf") == shown("three"));
    let old = token();
    client.until("a newer token", |_| token() != old);
    assert_eq!(server.allocs("j")[0]["TaskStates"]["t"]["Restarts"], 0);
}

#[test]
fn tasks_of_a_node_apart_get_tokens_and_texts() {
    supplied("supplied-plain", None);
}

#[test]
fn tasks_behind_an_encrypted_link_get_tokens_and_texts() {
    let certs = Certs::new("supplied");
    certs.make(&["cert", "create", "-server"]);
    certs.make(&["cert", "create", "-client"]);
    let blocks = ["server", "client"].map(|role| {
        let mut block = certs.block(role);
        block["rpc"] = json!(true);
        block["verify_server_hostname"] = json!(true);
        block
    });
    supplied("supplied-tls", Some(blocks));
}

#[test]
fn a_link_that_breaks_ends_what_runs_over_it_and_nothing_else() {
    let (server, mut client) = apart("broken", None, &json!({}));
    let between = Between::new(server.rpc);
    client.configure(&json!({
        "client": { "enabled": true, "servers": [format!("127.0.0.1:{}", between.port)] },
    }));
    client.spawn();
    server.until_ready();
    let script = "while :; do echo line; sleep 0.1; done";
    let alloc = running(&server, &shell_job("j", "service", 1, script));
    let follow = format!(
        "GET /v1/client/fs/logs/{alloc}?task=t&type=stdout&follow=true&plain=true HTTP/1.1\r\n\
         Host: a\r\n\r\n"
    );
    for how in [CUT, SILENT] {
        // Logs that are followed, and a command, through the server.
        let mut logs = server.connect().expect("a connection");
        logs.write_all(follow.as_bytes()).expect("sent");
        let (mut got, mut buf) = (Vec::new(), [0; 4096]);
        while !got.windows(4).any(|w| w == b"line") {
            let n = logs.read(&mut buf).expect("some of the log");
            assert_ne!(n, 0);
            got.extend_from_slice(&buf[..n]);
        }
        let mark = format!("4{how}{}", std::process::id());
        let mut caller = Caller::exec(&server, &alloc, &["/bin/sleep", &mark], "&task=t");
        server.until("the command", |_| runs(&mark));
        let begun = Instant::now();
        between.is_now(how);
        logs.set_read_timeout(Some(Duration::from_secs(40))).expect("a time-out");
        while logs.read(&mut buf).is_ok_and(|n| n > 0) {}
        while caller.hear().is_some() {}
        server.until("the end of the command", |_| !runs(&mark));
        println!("{how}: over after {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
        // The node finds its server again, and its task has run on.
        between.is_now(OPEN);
        for path in [
            format!("/v1/client/fs/ls/{alloc}?path=/"),
            format!("/v1/client/fs/cat/{alloc}?path=alloc/logs/t.stdout.0"),
            format!("/v1/client/allocation/{alloc}/stats"),
        ] {
            server.until("an answer of the node", |a| a.get(&path).status == 200);
        }
        let outcome = Caller::exec(&server, &alloc, &["/bin/true"], "&task=t").outcome();
        assert_eq!(outcome.1, r#"{"exited":true,"result":{}}"#);
        let state = &server.allocs("j")[0];
        assert_eq!(
            (&state["ClientStatus"], state["ID"].as_str()),
            (&json!("running"), Some(&*alloc))
        );
        // From now on over the link that it has: back through the middle.
        client.kill();
        let stats = format!("/v1/client/allocation/{alloc}/stats");
        for path in [&stats, &format!("/v1/client/fs/ls/{alloc}?path=/")] {
            server.until("no path", |a| a.get(path).text() == "No path to node");
        }
        client.spawn();
        server.until("an answer of the node", |a| {
            a.get(&format!("/v1/client/allocation/{alloc}/stats")).status == 200
        });
    }
}

/// Whether a process with this word in its command runs.
fn runs(mark: &str) -> bool {
    let all = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    let mut lines = all.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(mark))
}
