//! What is long under way to another region: queries that are held for tens of seconds and streams
//! that are silent, and what becomes of them when the far side goes away.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use super::agent::Agent;
use super::between::{Between, CUT, OPEN};
use super::events::Stream;
use crate::support::http::{self, Answer};

/// Longer than links, heartbeats and most impatient proxies wait.
const LONG: Duration = Duration::from_secs(22);
const HELD: usize = 20;

fn set(agent: &Agent, path: &str) {
    let items = json!({ "Items": { "k": "v" } }).to_string();
    agent.until("a variable", |a| {
        a.request("PUT", &format!("/v1/var/{path}"), Some(&items)).is_ok_and(|r| r.status == 200)
    });
}

/// A query that the region is to hold.
fn hold(agent: &Agent, index: u64, wait: &str) -> TcpStream {
    let mut stream = agent.connect().expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    let path = format!("/v1/vars?region=west&index={index}&wait={wait}");
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream
}

fn answer(stream: &mut TcpStream) -> Answer {
    http::read(stream, false).expect("an answer")
}

fn sockets(agent: &Agent) -> usize {
    let all = std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).expect("its files").flatten();
    let links = all.filter_map(|f| std::fs::read_link(f.path()).ok());
    links.filter(|to| to.to_string_lossy().starts_with("socket")).count()
}

#[test]
fn what_is_long_under_way_arrives_or_is_told_to_be_over() {
    let of = |name: &str, more| {
        let agent = Agent::prepare(&format!("abroad-{name}"), &more);
        agent.configure(&json!({ "region": name, "client": { "enabled": false } }));
        agent
    };
    let mut west = of("west", json!({}));
    let between = Between::new(west.port);
    let to = format!("http://127.0.0.1:{}", between.port);
    let mut east = of("east", json!({ "region_addresses": { "west": to } }));
    west.spawn();
    east.spawn();
    set(&west, "first");
    set(&east, "here");
    let before = sockets(&east);
    let index = || west_index(&east);

    // Held through a long silence: those whose time is up get what they have, the others wait on.
    let seen = index();
    let mut long: Vec<TcpStream> = (0..HELD).map(|_| hold(&east, seen, "55s")).collect();
    let mut short = hold(&east, seen, "20s");
    let mut stream = Stream::open(&east, "?region=west&topic=Variable");
    let begun = Instant::now();
    east.until("all of them there", |_| between.open() >= HELD + 2);
    let unmoved = answer(&mut short);
    assert!(begun.elapsed() >= Duration::from_secs(19), "{:?}", begun.elapsed());
    assert_eq!((unmoved.status, unmoved.index()), (200, seen));
    std::thread::sleep(LONG.saturating_sub(begun.elapsed()));
    // The same connection, once its query is over.
    short.write_all(b"GET /v1/status/leader HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    assert_eq!(answer(&mut short).text(), format!("\"127.0.0.1:{}\"", east.rpc));
    let moved = Instant::now();
    set(&west, "second");
    for held in &mut long {
        let came = answer(held);
        assert!(came.status == 200 && came.index() > seen, "{}", came.text());
        assert_eq!(came.json().as_array().map(Vec::len), Some(2));
    }
    assert!(moved.elapsed() < Duration::from_secs(10), "{:?}", moved.elapsed());
    stream.until("VariableUpdated", "Variable", "second");
    drop((long, short, stream));

    // The far side goes away under what it holds: by a cut, and as it dies. Nobody is left waiting,
    // what was no answer yet is told to be none, and nothing stays open.
    for dies in [false, true] {
        let seen = index();
        let mut long: Vec<TcpStream> = (0..HELD).map(|_| hold(&east, seen, "55s")).collect();
        let mut stream = Stream::open(&east, "?region=west&topic=Variable");
        set(&west, &format!("third{dies}"));
        stream.until("VariableUpdated", "Variable", &format!("third{dies}"));
        for held in &mut long {
            assert_eq!(answer(held).status, 200);
        }
        drop(long);
        let seen = index();
        let mut long: Vec<TcpStream> = (0..HELD).map(|_| hold(&east, seen, "55s")).collect();
        east.until("all of them there", |_| between.open() > HELD);
        std::thread::sleep(Duration::from_secs(1));
        let gone = Instant::now();
        if dies {
            west.kill();
        } else {
            between.is_now(CUT);
        }
        for held in &mut long {
            let came = answer(held);
            let text = came.text();
            assert_eq!(came.status, 502, "{text}");
            assert!(text.starts_with(&format!("region \"west\" ({to}): ")), "{text}");
            assert!(text.contains("connection"), "{text}");
        }
        println!("{dies}: all told after {:?}", gone.elapsed());
        while stream.next().is_some() {}
        assert!(gone.elapsed() < Duration::from_secs(10), "{:?}", gone.elapsed());
        assert_eq!(east.get("/v1/vars").status, 200);
        drop((long, stream));
        east.until("nothing left of it", |a| sockets(a) <= before && between.open() == 0);
        between.is_now(OPEN);
        if dies {
            west.spawn();
        }
        east.until("the region again", |a| a.get("/v1/vars?region=west").status == 200);
    }

    // Who asked goes away: nothing is held there for nobody.
    let seen = index();
    let long: Vec<TcpStream> = (0..HELD).map(|_| hold(&east, seen, "55s")).collect();
    let stream = Stream::open(&east, "?region=west");
    east.until("all of them there", |_| between.open() > HELD);
    let there = sockets(&west);
    drop((long, stream));
    east.until("nothing left of it", |a| sockets(a) <= before && between.open() == 0);
    west.until("nothing left there", |a| sockets(a) + HELD <= there);
}

/// The index of a list in the other region.
fn west_index(east: &Agent) -> u64 {
    let answer = east.get("/v1/vars?region=west");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.index()
}
