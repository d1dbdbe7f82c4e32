//! The web page as a browser gets it.

use serde_json::json;

use super::agent::Agent;
use crate::support::http;

#[test]
fn the_page_is_served_with_what_it_needs_and_nothing_else() {
    let mut agent = Agent::with_no_node("page", &json!({ "enabled": true, "bootstrap_expect": 1 }));
    assert_eq!(agent.get("/").header("location"), Some("/ui/"));
    let page = agent.get("/ui/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let rules = page.header("content-security-policy").expect("rules");
    for rule in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
        assert!(rules.contains(rule) && !rules.contains("unsafe"), "{rules}");
    }
    // The addresses that the command line prints are all the same page.
    for path in ["/ui/jobs", "/ui/jobs/a%2Fb@default", "/ui/allocations/0", "/ui/nothing"] {
        assert_eq!(agent.get(path).body, page.body, "{path}");
    }
    let text = page.text();
    let files = text.split('"').filter(|part| part.starts_with("/ui/page."));
    let files: Vec<&str> = files.collect();
    assert_eq!(files, ["/ui/page.css", "/ui/page.js"]);
    let kinds = ["text/css; charset=utf-8", "text/javascript; charset=utf-8"];
    for (file, kind) in files.into_iter().zip(kinds) {
        let answer = agent.get(file);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_ne!(answer.body, page.body);
    }
    // Names of jobs and what tasks say come from strangers: they must never become markup.
    let script = agent.get("/ui/page.js").text();
    for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "http:"] {
        assert!(!script.contains(word), "{word}");
    }
    // Each address of the API that it asks is one.
    for part in script.split(['"', '`']).filter(|part| part.starts_with("/v1/")) {
        let path = part.split(['?', '$']).next().unwrap_or_default();
        let status = agent.get(path).status;
        assert!(status != 404 || part.contains('$'), "{part}: {status}");
    }
    assert_eq!(agent.put("/ui/", &json!({})).status, 405);
    agent.kill();
    agent.configure(&json!({ "ui": { "enabled": false } }));
    agent.spawn();
    agent.until("an answer", |a| a.try_get("/v1/status/leader").is_some());
    let off = agent.get("/ui/jobs");
    assert_eq!(off.status, 404);
    assert!(off.text().contains("ui.enabled"), "{}", off.text());
}

/// The page of another site that someone has open must not run anything here, where no token is
/// asked for. Who is no browser sends none of these fields; this agent's own page shows its host.
#[test]
fn pages_of_other_sites_change_nothing() {
    let agent = Agent::start("forged");
    let own = format!("http://127.0.0.1:{}", agent.port);
    let exec = "/v1/client/allocation/0/exec?task=t&command=%5B%22sh%22%5D";
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let site = |site: &str| format!("Sec-Fetch-Site: {site}\r\n");
    let origin = |origin: &str| format!("Origin: {origin}\r\n");
    let both = |a: &str, o: &str| site(a) + &origin(o);
    for (method, path, fields, status) in [
        ("PUT", "/v1/system/gc", String::new(), 200),
        ("PUT", "/v1/system/gc", origin(&own), 200),
        ("PUT", "/v1/system/gc", both("same-origin", "https://proxy.example"), 200),
        ("PUT", "/v1/system/gc", site("none"), 200),
        ("PUT", "/v1/system/gc", origin("http://evil.example"), 403),
        ("POST", "/v1/jobs", origin("null"), 403),
        ("DELETE", "/v1/job/a", origin("http://127.0.0.1:1"), 403),
        ("PUT", "/v1/system/gc", both("cross-site", &own), 403),
        ("PUT", "/v1/system/gc", site("same-site"), 403),
        // Browsers do not send tokens to where they were not told that they may.
        ("PUT", "/v1/system/gc", origin("http://a.example") + "X-Nomad-Token: x\r\n", 200),
        ("GET", "/v1/jobs", both("cross-site", "http://evil.example"), 200),
        // They ask before they send this.
        ("DELETE", "/v1/var/a", origin("http://a.example"), 204),
        ("POST", "/v1/var/a", origin("http://a.example"), 403),
        ("GET", exec, upgrade.to_owned(), 101),
        ("GET", exec, upgrade.to_owned() + &origin(&own), 101),
        ("GET", exec, upgrade.to_owned() + &origin("http://evil.example"), 403),
    ] {
        let mut stream = agent.connect().expect("a connection");
        let body = if path == "/v1/jobs" && method != "GET" { "{}" } else { "" };
        let host = agent.port;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{host}\r\nContent-Length: {length}\r\n\
             {fields}\r\n{body}"
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).expect("sent");
        let answer = http::read(&mut stream, status == 101).expect("an answer");
        assert_eq!(answer.status, status, "{method} {path} {fields}: {}", answer.text());
        assert!(status != 403 || answer.text().contains("another site"), "{}", answer.text());
    }
}
