//! Weaknesses that programs of this kind once had, where it takes a running agent to see them;
//! `tests/weaknesses.md` says which test is for which.

#![expect(clippy::disallowed_methods, reason = "tests wait, and run the command line")]

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::acl::{SECRET, ask, bootstrap, guarded, manage};
use super::agent::{Agent, shell_job};
use crate::support::agent::BINARY;

const PLANTED: &str = "pl4nted-s3cret";

/// An agent that says all that it can, with secrets in it.
fn told(name: &str) -> Agent {
    let agent = guarded(
        name,
        &json!({"log_level": "TRACE",
            "acl": {"enabled": true, "replication_token": format!("{PLANTED}-replication")}}),
    );
    bootstrap(&agent);
    let items = json!({"Items": {"k": format!("{PLANTED}-item")}});
    manage(&agent, "PUT", "/v1/var/nomad/jobs/j", &items);
    let config = json!({"OIDCDiscoveryURL": "https://id.example", "OIDCClientID": "c",
        "OIDCClientSecret": format!("{PLANTED}-client")});
    let method = json!({"Name": "m", "Type": "OIDC", "TokenLocality": "local",
        "MaxTokenTTL": "1h", "Config": config});
    manage(&agent, "PUT", "/v1/acl/auth-method", &method);
    let mut job = shell_job("j", "service", 1, "sleep 60");
    job["Job"]["TaskGroups"][0]["Tasks"][0]["Templates"] = json!([{
        "EmbeddedTmpl": "{{ with nomadVar \"nomad/jobs/j\" }}{{ .k }}{{ end }}",
        "DestPath": "secrets/k",
    }]);
    manage(&agent, "PUT", "/v1/jobs", &job);
    agent.until("the task", |a| {
        manage(a, "GET", "/v1/job/j/allocations", &Value::Null).text().contains("\"running\"")
    });
    agent
}

/// What is asked with a secret is not written down, whatever becomes of it (numbers 23, 74).
#[test]
fn no_secret_stands_in_the_log() {
    let agent = told("weak-log");
    let wrong = format!("{PLANTED}-wrong");
    for token in [SECRET, &wrong, "e30.e30.pl4nted-s3cret"] {
        for path in ["/v1/jobs", "/v1/nope", "/v1/acl/token/self", "/v1/var/nomad/jobs/j", "//x"] {
            ask(&agent, token, "GET", path, &Value::Null);
            ask(&agent, token, "PUT", path, &json!({"SecretID": wrong}));
        }
    }
    let login = json!({"AuthMethodName": "m", "LoginToken": wrong});
    ask(&agent, "", "PUT", "/v1/acl/login", &login);
    let log = agent.log();
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "{log}");
    assert!(!log.contains(PLANTED) && !log.contains(SECRET), "{log}");
    let own = manage(&agent, "GET", "/v1/agent/self", &Value::Null).text();
    assert!(!own.contains(PLANTED), "{own}");
}

/// What is gathered for others to look at holds no secret (number 4).
#[test]
fn what_is_gathered_holds_no_secret() {
    let agent = told("weak-bundle");
    let out = Command::new(BINARY)
        .args(["operator", "debug", "-duration=1s", "-interval=500ms", "-log-level=TRACE"])
        .arg(format!("-output={}", agent.dir.display()))
        .env("NOMAD_ADDR", format!("http://127.0.0.1:{}", agent.port))
        .env("NOMAD_TOKEN", SECRET)
        .output()
        .expect("it runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let archive = std::fs::read_dir(&agent.dir)
        .expect("a folder")
        .filter_map(|e| Some(e.ok()?.path()))
        .find(|p| p.to_string_lossy().ends_with(".tar.gz"))
        .expect("an archive");
    let all = Command::new("tar").arg("-xzOf").arg(&archive).output().expect("it runs").stdout;
    assert!(all.len() > 5_000, "{}", all.len());
    let all = String::from_utf8_lossy(&all);
    for secret in [PLANTED, SECRET] {
        let at = all.find(secret).map(|at| &all[at.saturating_sub(200)..at]);
        assert!(at.is_none(), "{secret}: {at:?}");
    }
}

/// The lock of a holder that is not heard any more ends by itself, after its time and the delay;
/// one that is renewed lives on.
#[test]
fn locks_end_by_themselves() {
    let agent = Agent::with_no_node("weak-locks", &json!({"enabled": true, "bootstrap_expect": 1}));
    let lock = json!({"Lock": {"TTL": "10s", "LockDelay": "1s"}, "Items": {"k": "v"}});
    let begin = Instant::now();
    let [lost, kept] = ["lost", "kept"].map(|name| {
        let a = agent.put(&format!("/v1/var/{name}?lock-acquire"), &lock);
        assert_eq!(a.status, 200, "{}", a.text());
        a.json()["Lock"]["ID"].clone()
    });
    assert!(lost.is_string());
    let other = json!({"Items": {"k": "w"}});
    let mut free = None;
    while begin.elapsed() < Duration::from_secs(14) {
        let renewal = json!({"Lock": {"ID": kept}});
        assert_eq!(agent.put("/v1/var/kept?lock-renew", &renewal).status, 200);
        let status = agent.put("/v1/var/lost", &other).status;
        if status == 200 && free.is_none() {
            free = Some(begin.elapsed());
        }
        assert!(free.is_some() || status == 409, "{status}");
        sleep(Duration::from_millis(250));
    }
    let free = free.expect("the lock ends");
    assert!(free > Duration::from_millis(10_500), "{free:?}");
    assert_eq!(agent.put("/v1/var/kept", &other).status, 409);
    let late = json!({"Lock": {"ID": lost}});
    assert_eq!(agent.put("/v1/var/lost?lock-renew", &late).status, 409);
}

/// A thousand policies of a token take next to nothing from each request.
#[test]
fn a_thousand_policies_cost_little() {
    const ROUNDS: usize = 2_000;
    let open = Agent::with_no_node("weak-open", &json!({"enabled": true, "bootstrap_expect": 1}));
    let closed = guarded("weak-closed", &json!({"client": {"enabled": false}}));
    bootstrap(&closed);
    let names: Vec<String> = (0..1_000).map(|n| format!("p{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let rules = format!("namespace \"ns{n}\" {{ policy = \"read\" }}");
        let body = json!({"Name": name, "Rules": rules});
        manage(&closed, "PUT", &format!("/v1/acl/policy/{name}"), &body);
    }
    let read = json!({"Name": "read", "Rules": "namespace \"default\" { policy = \"read\" }"});
    manage(&closed, "PUT", "/v1/acl/policy/read", &read);
    let all: Vec<&str> = names.iter().map(String::as_str).chain(["read"]).collect();
    let token =
        manage(&closed, "PUT", "/v1/acl/token", &json!({"Type": "client", "Policies": all}));
    let token = token.json()["SecretID"].as_str().expect("text").to_owned();
    let job = shell_job("j", "service", 0, "sleep 1");
    open.put("/v1/jobs", &job);
    manage(&closed, "PUT", "/v1/jobs", &job);
    let mut best = [Duration::MAX; 2];
    let mut sockets = [&open, &closed].map(|a| a.connect().expect("a connection"));
    let least = if cfg!(debug_assertions) { 0.6 } else { 0.8 };
    let mut share = 0.0;
    // Short rounds, some of which nobody else on the machine disturbs.
    for round in 0..ROUNDS {
        for (i, token) in ["", &token].into_iter().enumerate() {
            let request = format!(
                "GET /v1/job/j HTTP/1.1\r\nHost: x\r\nX-Nomad-Token: {token}\r\n\
                 Accept-Encoding: identity\r\n\r\n"
            );
            let begin = Instant::now();
            for _ in 0..10 {
                std::io::Write::write_all(&mut sockets[i], request.as_bytes()).expect("sent");
                let a = crate::support::http::read(&mut sockets[i], false).expect("an answer");
                assert_eq!(a.status, 200, "{}", a.text());
            }
            best[i] = best[i].min(begin.elapsed());
        }
        share = best[0].as_secs_f64() / best[1].as_secs_f64();
        if round >= ROUNDS / 10 && share > least {
            break;
        }
    }
    println!(
        "GET of a job with a token of 1,000 policies: {:.0} % of the rate without",
        share * 100.0
    );
    assert!(share > least, "{share}");
}
