//! Regions that are reached by the HTTP address of one of their servers: another vardo, and servers
//! that are slow, dead, or die in the middle of an answer.

#![expect(clippy::disallowed_methods, reason = "a test serves and waits")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};
use super::exec::Caller;
use super::tls::{Certs, until};
use crate::support::agent::free_port;
use crate::support::http;

/// Answers each connection by what its request asks for, and tells nobody.
fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    match stream.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let length = head.lines().find_map(|l| l.strip_prefix("Content-Length: "));
                let length = length.and_then(|n| n.parse().ok()).unwrap_or(0);
                if stream.read_exact(&mut vec![0; length]).is_ok() {
                    answer(&head, &mut stream);
                }
            });
        }
    });
    port
}

/// `name`: its region, and after a dash which agent of it this is.
fn prepared(name: &str, regions: &Value, more: &Value) -> Agent {
    let region = name.split('-').next().unwrap_or_default();
    let agent = Agent::prepare(
        &format!("region-{name}"),
        &json!({ "region": region, "region_addresses": regions, "client": { "enabled": false } }),
    );
    agent.configure(more);
    agent
}

fn leads(agent: &Agent) {
    agent.until("a leader", |a| {
        a.try_get("/v1/status/leader").is_some_and(|l| l.status == 200 && l.text().len() > 2)
    });
}

fn at(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

#[test]
fn a_region_is_used_as_if_it_were_here() {
    let mut west = prepared("west-plain", &json!({}), &json!({ "client": { "enabled": true } }));
    west.spawn();
    let mut east = prepared("east-plain", &json!({ "west": at(west.port) }), &json!({}));
    east.spawn();
    west.until_ready();
    leads(&east);
    assert_eq!(east.get("/v1/regions").json(), json!(["east", "west"]));
    assert_eq!(
        east.get("/v1/status/leader?region=west").text(),
        format!("\"127.0.0.1:{}\"", west.rpc)
    );
    let unknown = east.get("/v1/jobs?region=south");
    assert_eq!((unknown.status, unknown.text().as_str()), (500, "No path to region"));

    // Jobs by the parameter, and by what they say themselves.
    let mut job = shell_job("j", "service", 1, "echo hello; exec sleep 600");
    assert_eq!(east.put("/v1/jobs?region=west", &job).status, 200);
    job["Job"]["ID"] = json!("k");
    job["Job"]["Region"] = json!("west");
    let answer = east.put("/v1/jobs", &job);
    assert_eq!(answer.status, 200, "{}", answer.text());
    job["Diff"] = json!(true);
    let planned = east.put("/v1/job/k/plan", &job);
    assert_eq!(planned.json()["Diff"]["Type"], "None", "{}", planned.text());
    job["Job"]["Region"] = json!("south");
    assert_eq!(east.put("/v1/jobs", &job).text(), "No path to region");
    let here: Vec<_> = east.get("/v1/jobs").json().as_array().cloned().unwrap_or_default();
    assert!(here.is_empty(), "{here:?}");
    west.until("two tasks", |a| {
        ["j", "k"].iter().all(|id| a.allocs(id).iter().any(|x| x["ClientStatus"] == "running"))
    });
    let (mine, theirs) = (east.get("/v1/jobs?region=west"), west.get("/v1/jobs"));
    assert_eq!(mine.json(), theirs.json());

    // A blocking query waits there.
    let index = mine.index();
    let path = format!("/v1/jobs?region=west&index={index}&wait=60s");
    let waited = std::thread::scope(|scope| {
        let asked = scope.spawn(|| east.get(&path));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!asked.is_finished());
        assert_eq!(west.delete("/v1/job/k").status, 200);
        asked.join().expect("an answer")
    });
    assert!(waited.status == 200 && waited.index() > index);
    let begun = Instant::now();
    let same = format!("/v1/jobs?region=west&index={}&wait=1s", waited.index() + 1000);
    assert_eq!(east.get(&same).status, 200);
    assert!(begun.elapsed() >= Duration::from_secs(1));

    // Bodies both ways, logs, commands.
    let text = "x".repeat(60_000);
    let body = json!({ "Items": { "k": text } });
    assert_eq!(east.put("/v1/var/big?region=west", &body).status, 200);
    let read = east.get("/v1/var/big?region=west").json();
    assert_eq!(read["Items"], body["Items"]);
    let alloc = west.allocs("j")[0]["ID"].as_str().expect("an id").to_owned();
    let logs = format!("/v1/client/fs/logs/{alloc}?task=t&type=stdout&plain=true&region=west");
    east.until("a line", |a| a.get(&logs).text() == "hello\n");
    let none = logs.replace(&alloc, "00000000-0000-0000-0000-000000000000");
    let none = east.get(&none);
    assert_eq!(none.status, 404, "{}", none.text());
    let command = ["/bin/sh", "-c", "read a; echo got $a"];
    for greeting in ["", "&ws_handshake=true"] {
        let more = format!("&task=t&region=west{greeting}");
        let mut caller = Caller::exec(&east, &alloc, &command, &more);
        if !greeting.is_empty() {
            caller.say(&json!({ "version": 1, "auth_token": "" }));
        }
        caller.say(&json!({ "stdin": { "data": "aGkK" } }));
        let (out, last) = caller.outcome();
        assert_eq!((out.as_str(), last.as_str()), ("got hi\n", r#"{"exited":true,"result":{}}"#));
    }
    let refused = |a: &Agent| Caller::exec(a, &alloc, &command, "&task=none&region=west").hear();
    assert_eq!(refused(&east), refused(&west));
    assert!(refused(&east).is_some_and(|why| why.contains("task not found")));

    // A state, saved and restored in pieces.
    let saved = east.get("/v1/operator/snapshot?region=west");
    assert_eq!(saved.status, 200);
    assert_eq!(west.delete("/v1/var/big").status, 204);
    let address = format!("127.0.0.1:{}", east.port);
    let path = "/v1/operator/snapshot?region=west";
    let restored = http::send(&address, "PUT", path, &[], Some(&saved.body)).expect("an answer");
    assert_eq!(restored.status, 200, "{}", restored.text());
    west.until("the old state", |a| a.try_get("/v1/var/big").is_some_and(|r| r.status == 200));
    let bent = http::send(&address, "PUT", path, &[], Some(&saved.body[..100]));
    assert_ne!(bent.expect("an answer").status, 200);

    // Streams go on for as long as someone reads.
    for (path, cause) in [("/v1/event/stream", "a"), ("/v1/agent/monitor", "b")] {
        let mut stream = east.connect().expect("a connection");
        let head = format!("GET {path}?region=west&log_level=trace HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        let (mut got, mut buf) = (String::new(), [0; 4096]);
        let mark = if cause == "a" { "JobRegistered" } else { "{" };
        let job = shell_job(&format!("seen-{cause}"), "batch", 1, "true");
        let mut put = false;
        while !got.contains(mark) {
            let n = stream.read(&mut buf).expect("more of the stream");
            assert_ne!(n, 0, "{got}");
            got.push_str(&String::from_utf8_lossy(&buf[..n]));
            if got.contains("\r\n\r\n") && !std::mem::replace(&mut put, true) {
                assert_eq!(west.put("/v1/jobs", &job).status, 200);
            }
        }
        assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
    }

    // The agent there goes away, and comes back.
    west.kill();
    let gone = east.get("/v1/jobs?region=west");
    assert_eq!(gone.status, 502);
    let said = format!("region \"west\" ({}): connection refused", at(west.port));
    assert_eq!(gone.text().to_lowercase(), said);
    assert_eq!(east.get("/v1/jobs").status, 200);
    west.spawn();
    east.until("the region", |a| a.get("/v1/jobs?region=west").status == 200);
}

#[test]
fn a_client_alone_asks_its_servers_for_other_regions() {
    let port = serve(|_, stream| {
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"));
    });
    let mut server = prepared("served-server", &json!({ "far": at(port) }), &json!({}));
    server.spawn();
    let more = json!({
        "server": { "enabled": false },
        "client": { "enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)] },
    });
    let mut client = prepared("served-client", &json!({}), &more);
    client.spawn();
    server.until_ready();
    client.until("an answer", |a| a.get("/v1/jobs?region=far").text() == "[]");
}

/// What a server of another kind gets and what its clients get of it.
#[test]
fn requests_and_answers_of_other_servers_pass_whole_or_are_told_to_be_cut() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let port = serve(move |head, stream| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let mut say = |text: &str| drop(stream.write_all(text.as_bytes()));
        match path.split('?').next().unwrap_or_default() {
            "/v1/jobs" => {
                let body = json!(head).to_string();
                say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nKeep-Alive: 5\r\n");
                say("X-Nomad-Index: 7\r\nX-Odd: yes\r\nTransfer-Encoding: chunked\r\n\r\n");
                say(&format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
            }
            "/v1/nodes" => say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
            "/v1/allocations" => {
                say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
            }
            "/v1/deployments" => say("HTTP/1.1 200"),
            "/v1/evaluations" => {
                say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
                for byte in ["s", "l", "o", "w", "!"] {
                    std::thread::sleep(Duration::from_millis(200));
                    say(byte);
                }
            }
            "/v1/metrics" => {
                say("HTTP/1.1 200 OK\r\n\r\n");
                let piece = [b'x'; 65_536];
                for _ in 0..800 {
                    if stream.write_all(&piece).is_err() {
                        return;
                    }
                    count.fetch_add(piece.len(), Ordering::Relaxed);
                }
            }
            _ => say("nonsense\r\n\r\n"),
        }
    });
    let nobody = free_port();
    let regions = json!({ "far": at(port), "dead": at(nobody), "lost": "http://no.invalid" });
    let mut agent = prepared("near", &regions, &json!({}));
    agent.spawn();
    leads(&agent);

    let headers = [("X-Nomad-Token", "t-1"), ("Keep-Alive", "1"), ("Cookie", "c")];
    let headers = headers.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let address = format!("127.0.0.1:{}", agent.port);
    let asked = http::send(&address, "GET", "/v1/jobs?region=far&x=%20y", &headers, None);
    let asked = asked.expect("an answer");
    assert_eq!((asked.status, asked.index(), asked.header("x-odd")), (200, 7, Some("yes")));
    assert_eq!(asked.header("keep-alive"), None);
    let head = asked.json().as_str().expect("the head").to_owned();
    assert!(head.starts_with("GET /v1/jobs?region=far&x=%20y HTTP/1.1\r\n"), "{head}");
    for part in ["X-Nomad-Token: t-1", &format!("Host: 127.0.0.1:{port}"), "X-Vardo-Hops: 1"] {
        assert!(head.contains(&format!("{part}\r\n")), "{part}: {head}");
    }
    assert!(!head.contains("Cookie") && !head.contains("Keep-Alive"), "{head}");
    let body = "z".repeat(3_000_000);
    let put = agent.request("PUT", "/v1/jobs?region=far", Some(&body)).expect("an answer");
    assert!(put.text().contains("Content-Length: 3000000"), "{}", put.text());

    // Cut answers are not taken for whole ones, and other requests go on.
    for path in ["/v1/nodes", "/v1/allocations"] {
        let mut stream = agent.connect().expect("a connection");
        let ask = format!("GET {path}?region=far HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(ask.as_bytes()).expect("sent");
        let mut got = String::new();
        stream.read_to_string(&mut got).expect("an end");
        assert!(got.contains("half") && !got.ends_with("0\r\n\r\n"), "{path}: {got}");
    }
    for (path, why) in [
        ("/v1/deployments?region=far", "the connection ended before an answer came"),
        ("/v1/system/x?region=far", "malformed answer"),
        ("/v1/jobs?region=dead", "onnection refused"),
        ("/v1/jobs?region=lost", "no such host"),
    ] {
        let answer = agent.get(path);
        assert_eq!(answer.status, 502, "{path}: {}", answer.text());
        // Without any name server, nobody can say that.
        let unasked = answer.text().contains("no name server answered");
        assert!(answer.text().contains(why) || unasked, "{path}: {}", answer.text());
    }
    let begun = Instant::now();
    assert_eq!(agent.get("/v1/evaluations?region=far").text(), "slow!");
    assert!(begun.elapsed() >= Duration::from_millis(900));

    // Nothing is read of an answer that nobody takes.
    let mut stream = agent.connect().expect("a connection");
    stream.write_all(b"GET /v1/metrics?region=far HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut last = usize::MAX;
    while last != written.load(Ordering::Relaxed) || last == 0 {
        last = written.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(last < 800 * 65_536 / 2, "{last} bytes were taken");
    assert_eq!(agent.get("/v1/status/leader").status, 200);
    let answer = http::read(&mut stream, false).expect("an answer");
    assert_eq!(answer.body.len(), 800 * 65_536);
    // Who goes away is not waited for.
    let mut stream = agent.connect().expect("a connection");
    stream.write_all(b"GET /v1/metrics?region=far HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    assert!(stream.read(&mut [0; 10]).expect("a beginning") > 0);
    drop(stream);
    let open = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("its files");
        fds.flatten().filter(|f| is_socket(&f.path())).count()
    };
    agent.until("fewer sockets", |_| open() < 12);
}

fn is_socket(path: &std::path::Path) -> bool {
    std::fs::read_link(path).is_ok_and(|to| to.display().to_string().starts_with("socket"))
}

#[test]
fn regions_that_name_each_other_do_not_play_ball() {
    let mut one = prepared("one", &json!({}), &json!({}));
    let mut two = prepared("two", &json!({ "three": at(one.port) }), &json!({}));
    one.configure(&json!({ "region_addresses": { "three": at(two.port) } }));
    one.spawn();
    two.spawn();
    leads(&one);
    leads(&two);
    let answer = one.get("/v1/jobs?region=three");
    assert_eq!(answer.status, 500);
    assert_eq!(answer.text(), "the request was passed on too often");
}

#[test]
fn a_region_with_certificates_is_believed_by_its_ca() {
    let certs = Certs::new("region");
    certs.make(&["cert", "create", "-server", "-region", "west"]);
    let mut tls = json!({ "http": true, "cert_file": certs.path("west-server-nomad.pem") });
    tls["key_file"] = json!(certs.path("west-server-nomad-key.pem"));
    let mut west = prepared("west-tls", &json!({}), &json!({ "tls": tls }));
    west.spawn();
    until(&west, &certs.client(false), "/v1/status/leader", |t| t.len() > 2);
    let address = json!({ "west": format!("https://localhost:{}", west.port) });
    let ca = json!({ "region_ca_file": certs.path("nomad-agent-ca.pem") });
    let mut east = prepared("east-tls", &address, &ca);
    east.spawn();
    leads(&east);
    let answer = east.get("/v1/jobs?region=west");
    assert_eq!((answer.status, answer.text().as_str()), (200, "[]"));
    // Another one, which the system's CAs say nothing about.
    let mut other = prepared("other", &address, &json!({}));
    other.spawn();
    leads(&other);
    let answer = other.get("/v1/jobs?region=west");
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(answer.text().contains("certificate"), "{}", answer.text());
    // A plain connection to it is told so.
    let plain = json!({ "west": at(west.port) });
    let mut third = prepared("third", &plain, &json!({}));
    third.spawn();
    leads(&third);
    let answer = third.get("/v1/jobs?region=west");
    assert_eq!((answer.status, answer.text().contains("HTTPS server")), (400, true));
}

#[test]
fn a_caller_by_http_1_0_reads_to_the_end_of_its_connection() {
    let port = serve(|_, stream| {
        let text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        drop(stream.write_all(text.as_bytes()));
    });
    let mut agent = prepared("old", &json!({ "far": at(port) }), &json!({}));
    agent.spawn();
    leads(&agent);
    let mut stream = agent.connect().expect("a connection");
    stream.write_all(b"GET /v1/jobs?region=far HTTP/1.0\r\n\r\n").expect("sent");
    let mut got = String::new();
    match stream.read_to_string(&mut got) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), ErrorKind::ConnectionReset),
    }
    assert!(got.ends_with("\r\n\r\nabc"), "{got}");
}
