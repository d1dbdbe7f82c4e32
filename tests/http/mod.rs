//! The connection machine over hostile and ordinary byte streams, whole and cut at every byte.

use vardo::http::conn::{Conn, Event};

/// What a stream of bytes amounts to: requests as `METHOD path [body]`, then the refusal.
fn run(parts: &[&[u8]]) -> Vec<String> {
    let mut conn = Conn::new();
    let mut out = Vec::new();
    for part in parts {
        conn.feed(1, part);
        while let Some(event) = conn.next(1) {
            out.push(match event {
                Event::Request(r) => {
                    let body = String::from_utf8_lossy(&r.body).into_owned();
                    let close = if r.keep_alive { "" } else { " close" };
                    format!("{:?} {} [{body}]{close}", r.method, r.target())
                }
                Event::Continue => continue,
                Event::Bad(reject) => format!("{}", reject.status),
            });
        }
    }
    out
}

/// The same result whole, cut in two at every place, byte by byte, and cut at random places.
fn check(name: &str, bytes: &[u8], expected: &[&str]) {
    assert_eq!(run(&[bytes]), expected, "{name}");
    for at in 0..=bytes.len() {
        let (a, b) = bytes.split_at(at);
        assert_eq!(run(&[a, b]), expected, "{name}, cut at {at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(run(&single), expected, "{name}, byte by byte");
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..20 {
        let (mut parts, mut rest) = (Vec::new(), bytes);
        for _ in 0..round % 4 + 2 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (part, after) = rest.split_at((seed >> 33) as usize % (rest.len() + 1));
            parts.push(part);
            rest = after;
        }
        parts.push(rest);
        assert_eq!(run(&parts), expected, "{name}, random cuts, round {round}");
    }
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /v1/jobs HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes()
}

#[test]
fn framing_is_refused_where_two_readers_could_differ() {
    const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let rows: Vec<(&str, String, String, &str)> = vec![
        ("H01", format!("Content-Length: 5\r\n{chunked}"), "0\r\n\r\n".into(), "400"),
        ("H02", "Content-Length: 5\r\nContent-Length: 6\r\n".into(), "hello".into(), "400"),
        ("H03", "Content-Length: 5\r\nContent-Length: 5\r\n".into(), "hello".into(), "400"),
        ("H04", "Content-Length: 5, 5\r\n".into(), "hello".into(), "400"),
        ("H05 plus", "Content-Length: +5\r\n".into(), "hello".into(), "400"),
        ("H05 minus", "Content-Length: -1\r\n".into(), String::new(), "400"),
        ("H05 hex", "Content-Length: 0x5\r\n".into(), "hello".into(), "400"),
        ("H05 two", "Content-Length: 5 5\r\n".into(), "hello".into(), "400"),
        ("H05 empty", "Content-Length: \r\n".into(), String::new(), "400"),
        ("H05 underscore", "Content-Length: 1_0\r\n".into(), String::new(), "400"),
        ("H05 other digits", "Content-Length: \u{661}\r\n".into(), "x".into(), "400"),
        ("H05 20 digits", "Content-Length: 00000000000000000005\r\n".into(), "hello".into(), "400"),
        ("H05 2^63", "Content-Length: 9223372036854775808\r\n".into(), String::new(), "413"),
        ("H05 2^64+31", "Content-Length: 18446744073709551647\r\n".into(), String::new(), "400"),
        ("H06 list", "Transfer-Encoding: gzip, chunked\r\n".into(), "0\r\n\r\n".into(), "501"),
        ("H06 identity", "Transfer-Encoding: identity\r\n".into(), String::new(), "501"),
        ("H06 two", format!("{chunked}{chunked}"), "0\r\n\r\n".into(), "501"),
        ("H06 twice", "Transfer-Encoding: chunked, chunked\r\n".into(), String::new(), "501"),
        ("H08 quoted", "Transfer-Encoding: \"chunked\"\r\n".into(), String::new(), "400"),
        ("H08 weight", "Transfer-Encoding: chunked;q=1\r\n".into(), String::new(), "400"),
        ("H08 NUL", "Transfer-Encoding: chunked\0\r\n".into(), String::new(), "400"),
        ("H08 VT", "Transfer-Encoding: \x0bchunked\r\n".into(), String::new(), "400"),
        ("H10", "Content-Length : 5\r\n".into(), "hello".into(), "400"),
        ("H11", "X-A: b\r\n c\r\n".into(), String::new(), "400"),
        ("H12", "X-A: b\nX-B: c\r\n".into(), String::new(), "400"),
        ("H13 CR", "X-A: b\rc\r\n".into(), String::new(), "400"),
        ("H13 NUL", "X-A: b\0c\r\n".into(), String::new(), "400"),
        ("H14", chunked.into(), "5\nhello\r\n0\r\n\r\n".into(), "400"),
        ("H14 ext", chunked.into(), "5;a\nb\r\nhello\r\n0\r\n\r\n".into(), "400"),
        (
            "H15 long",
            chunked.into(),
            format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1100)),
            "400",
        ),
        ("H16 minus", chunked.into(), "-5\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("H16 hex", chunked.into(), "0x5\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("H16 plus", chunked.into(), "+5\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("H16 space", chunked.into(), " 5\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("H16 underscore", chunked.into(), "1_0\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("H16 empty", chunked.into(), "\r\nhello\r\n0\r\n\r\n".into(), "400"),
        ("H17 17 digits", chunked.into(), "10000000000000005\r\nhello".into(), "413"),
        ("H17 16 f", chunked.into(), "ffffffffffffffff\r\nhello".into(), "413"),
        ("H18", chunked.into(), "5\r\nhelloXX0\r\n\r\n".into(), "400"),
        ("H19 bare LF", chunked.into(), "0\r\nX: y\n\r\n\r\n".into(), "400"),
        ("H33 other", "Expect: 200-ok\r\nContent-Length: 1\r\n".into(), "x".into(), "417"),
    ];
    for (name, fields, body, status) in rows {
        let mut bytes = post(&fields, &body);
        bytes.extend_from_slice(CANARY.as_bytes());
        check(name, &bytes, &[status]);
    }
}

#[test]
fn ordinary_streams_are_read_in_order() {
    let get = "GET /a?b=c HTTP/1.1\r\nHost: a\r\n\r\n";
    check("one", get.as_bytes(), &["Get /a?b=c []"]);
    check("H21", get.repeat(3).as_bytes(), &["Get /a?b=c []"; 3]);
    let mut both = post("Content-Length: 5\r\n", "hello");
    both.extend_from_slice(get.as_bytes());
    check("H20", &both, &["Post /v1/jobs [hello]", "Get /a?b=c []"]);
    let chunks = "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nContent-Length: 7\r\nHost: x\r\n\r\n";
    let mut chunked = post("Transfer-Encoding: cHuNkEd\r\n", chunks);
    chunked.extend_from_slice(get.as_bytes());
    check("H07 H15 H19", &chunked, &["Post /v1/jobs [hello world]", "Get /a?b=c []"]);
    check("H26 one", format!("\r\n{get}").as_bytes(), &["Get /a?b=c []"]);
    check("H26 two", format!("\r\n\r\n{get}").as_bytes(), &["400"]);
    check("H26 LF", format!("\n{get}").as_bytes(), &["400"]);
    let absolute = "GET http://other/v1/jobs?x HTTP/1.1\r\nHost: a\r\n\r\n";
    check("H28", absolute.as_bytes(), &["Get /v1/jobs?x []"]);
    check("H29 *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &["Options * []"]);
    check("H29 TRACE", b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", &["Other / []"]);
    check("H36", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", &["Other / []"]);
    let closes = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, keep-alive\r\n\r\n";
    check("H34", closes.as_bytes(), &["Get / [] close"]);
    check("H36 override", &post("X-HTTP-Method-Override: DELETE\r\n", ""), &["Post /v1/jobs []"]);
    let named = b"GET /v1/job/a HTTP/1.1\r\nHost: a\r\nConnection: X-Nomad-Token\r\n\r\n";
    check("H34 named", named, &["Get /v1/job/a []"]);
    check("H28 no path", b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", &["Get / []"]);
    check("H29 CONNECT", b"CONNECT x:1 HTTP/1.1\r\nHost: a\r\n\r\n", &["Connect x:1 []"]);
    check("1.0 alive", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", &["Get / [] close"]);
    check("1.0", b"GET / HTTP/1.0\r\n\r\n", &["Get / [] close"]);
}

#[test]
fn heads_out_of_order_are_refused() {
    for (name, head, status) in [
        ("H09", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"),
        ("H22 none", "GET / HTTP/1.1\r\n\r\n", "400"),
        ("H22 two", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("H22 user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"),
        ("H22 space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        ("H22 comma", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400"),
        ("H23 minor", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505"),
        ("H23 ten", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", "400"),
        ("H23 case", "GET / http/1.1\r\nHost: a\r\n\r\n", "505"),
        ("H25", "GET /x\r\n", "400"),
        ("H27 spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("H27 control", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("H27 high", "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("H28 scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("H23", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
        ("H24", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"),
        ("H27 tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("H30 fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("H30 escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("H30 NUL", "GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
    ] {
        check(name, head.as_bytes(), &[status]);
    }
}

#[test]
fn sizes_have_their_own_answers() {
    let long = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n));
    assert_eq!(run(&[long(100_000).as_bytes()]), ["414"]);
    assert_eq!(run(&[long(10_000).as_bytes()]).len(), 1);
    let many = |n: usize| {
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X-A: b\r\n".repeat(n)).into_bytes()
    };
    assert_eq!(run(&[&many(10_000)]), ["431"]);
    assert_eq!(run(&[&many(127)]), ["Get / []"]);
    assert_eq!(run(&[&many(128)]), ["431"]);
    let wide = format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}\r\n\r\n", "b".repeat(70_000));
    assert_eq!(run(&[wide.as_bytes()]), ["431"]);
    let halves: Vec<&[u8]> = wide.as_bytes().chunks(1000).collect();
    assert_eq!(run(&halves), ["431"]);
    let huge = post("Content-Length: 99999999\r\n", "");
    assert_eq!(run(&[&huge]), ["413"]);
}

#[test]
fn slow_senders_have_a_deadline_and_idle_ones_have_none() {
    const S: u64 = 1_000_000_000;
    let mut conn = Conn::new();
    assert_eq!(conn.deadline(), None);
    conn.feed(5 * S, b"GET / HT");
    assert!(conn.next(5 * S).is_none());
    assert_eq!(conn.deadline(), Some(35 * S));
    conn.feed(20 * S, b"TP/1.1\r\n");
    assert!(conn.next(20 * S).is_none());
    assert_eq!(conn.deadline(), Some(35 * S), "one more byte buys no time");
    conn.feed(21 * S, b"Host: a\r\n\r\n");
    assert!(matches!(conn.next(21 * S), Some(Event::Request(_))));
    assert_eq!(conn.deadline(), None);

    conn.feed(50 * S, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    assert!(conn.next(50 * S).is_none());
    assert_eq!(conn.deadline(), Some(80 * S));
    conn.feed(51 * S, &[b'x'; 24_000]);
    assert!(conn.next(51 * S).is_none());
    assert_eq!(conn.deadline(), Some(180 * S), "a body that flows has time");
}

#[test]
fn a_hundred_continue_is_sent_only_while_the_body_is_awaited() {
    let head: &[u8] =
        b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut conn = Conn::new();
    conn.feed(1, head);
    assert!(matches!(conn.next(1), Some(Event::Continue)));
    assert!(conn.next(1).is_none());
    conn.feed(1, b"ok");
    assert!(matches!(conn.next(1), Some(Event::Request(r)) if r.body == b"ok"));
    let mut conn = Conn::new();
    conn.feed(1, &[head, b"ok"].concat());
    assert!(matches!(conn.next(1), Some(Event::Request(r)) if r.body == b"ok"));
}

#[test]
fn tokens_and_encodings_are_found() {
    let one = |fields: &str| {
        let mut conn = Conn::new();
        conn.feed(1, format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes());
        match conn.next(1) {
            Some(Event::Request(r)) => r,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(one("X-Nomad-Token:  abc \r\n").token.as_deref(), Some("abc"));
    assert_eq!(one("Authorization: bEARER abc def\r\n").token.as_deref(), Some("abc"));
    assert_eq!(one("Authorization: Basic abc\r\n").token, None);
    let empty = one("X-Nomad-Token: \r\nAuthorization: Bearer b\r\n");
    assert_eq!(empty.token.as_deref(), Some("b"));
    let both = one("Authorization: Bearer b\r\nX-Nomad-Token: a\r\n");
    assert_eq!(both.token.as_deref(), Some("a"));
    for (value, gzip) in [
        ("gzip", true),
        ("deflate, GZIP;q=0.5", true),
        ("gzip;q=0", false),
        ("gzip; q=0.000", false),
        ("identity", false),
        ("*;q=0", false),
    ] {
        assert_eq!(one(&format!("Accept-Encoding: {value}\r\n")).accept_gzip, gzip, "{value}");
    }
    let escaped = {
        let mut conn = Conn::new();
        conn.feed(1, b"GET /v1/job/a%2Fb%20c HTTP/1.1\r\nHost: a\r\n\r\n");
        match conn.next(1) {
            Some(Event::Request(r)) => r,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((escaped.path(), escaped.raw_path()), ("/v1/job/a/b c", "/v1/job/a%2Fb%20c"));
}

/// 64 KiB that come byte by byte may not cost 64 Ki times the parsing of 64 KiB.
#[test]
fn bytes_that_drip_in_are_looked_at_a_few_times() {
    let mut conn = Conn::new();
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-A: {}", "b".repeat(60_000));
    let mut seen = 0;
    for byte in head.as_bytes().chunks(1) {
        conn.feed(1, byte);
        seen += usize::from(conn.next(1).is_some());
    }
    assert_eq!(seen, 0);
    conn.feed(1, b"\r\n\r\n");
    assert!(matches!(conn.next(1), Some(Event::Request(_))));
}

#[test]
fn idle_connections_are_small() {
    assert!(size_of::<Conn>() <= 80, "{}", size_of::<Conn>());
}
