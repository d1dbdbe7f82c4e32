//! Weaknesses that programs of this kind once had; `tests/weaknesses.md` says which test is for
//! which.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vardo::server::keyring::new_key;

use super::acl::{Row, SECRET, guarded, rows, seed};
use super::{Server, job, text};

/// Everything that has a body says what it is, so that no browser guesses (numbers 13, 44, 61, 64).
#[test]
fn every_answer_says_what_it_is() {
    let mut s = guarded("weak-types");
    let seeds = seed(&mut s);
    let mut answers = 0;
    for Row { method, target, body, .. } in rows() {
        for token in [None, Some(SECRET.to_owned())] {
            s.token = token;
            let (target, body) = (seeds.fill(target), seeds.fill(body));
            let answer = match s.outcome(method, &target, &body) {
                Ok(vardo::routes::Outcome::Answer(answer)) => answer,
                Err(e) => e.into(),
                Ok(_) => continue,
            };
            answers += 1;
            // The page of its own is the only one.
            let page = target.starts_with("/ui/");
            let named = answer.content_type.is_some_and(|t| t.contains("html") == page);
            assert!(named || answer.body.as_slice().is_empty(), "{method} {target}");
        }
    }
    assert!(answers > 300, "{answers}");
}

/// Secrets stand in no answer but that to whoever may read just them (numbers 10, 12, 49).
#[test]
fn secrets_are_shown_nowhere() {
    let mut s = guarded("weak-secrets");
    let seeds = seed(&mut s);
    let secret = "plant3d-s3cret";
    let how = json!({"KeySource": "private_key", "PrivateKey": {"KeyID": "k",
        "PemKey": include_str!("../data/acl/provider.pem")}});
    for (name, config) in [
        ("m1", json!({"OIDCClientSecret": secret})),
        ("m2", json!({"OIDCClientAssertion": how, "OIDCClientSecret": secret})),
    ] {
        let mut config = config;
        config["OIDCDiscoveryURL"] = "https://id.example".into();
        config["OIDCClientID"] = "c".into();
        let body = json!({"Name": name, "Type": "OIDC", "TokenLocality": "local",
            "MaxTokenTTL": "1h", "Config": config});
        s.manage("PUT", "/v1/acl/auth-method", &body);
    }
    let (_, other) = s.client_token(&["with"]);
    let key = include_str!("../data/acl/provider.pem").lines().nth(3).unwrap();
    let mut seen = 0;
    let more = ["/v1/acl/auth-method/m1", "/v1/acl/auth-method/m2"];
    let all = rows().into_iter().filter(|r| r.method == "GET").map(|r| r.target);
    for target in all.chain(more) {
        s.token = Some(SECRET.to_owned());
        let target = seeds.fill(target);
        let Ok(vardo::routes::Outcome::Answer(answer)) = s.outcome("GET", &target, "") else {
            continue;
        };
        seen += 1;
        let shown = text(&answer);
        // What regions read of each other is not for clients, who find nothing there.
        if target.starts_with("/v1/internal/") {
            continue;
        }
        for planted in [secret, key, &other] {
            assert!(!shown.contains(planted), "{target}: {shown}");
        }
    }
    assert!(seen > 70, "{seen}");
}

/// Each part of a job gone, null, or of another kind is refused or taken, and nothing more, also
/// when it is applied (numbers 34 and 38).
#[test]
fn damaged_jobs_do_no_harm() {
    let mut s = Server::new("weak-jobs");
    let mut whole = job("web");
    whole["Update"] = json!({"MaxParallel": 1, "Canary": 1, "HealthCheck": "checks"});
    whole["Spreads"] = json!([{"Attribute": "${node.datacenter}", "Weight": 50,
        "SpreadTarget": [{"Value": "dc1", "Percent": 10}]}]);
    whole["Constraints"] =
        json!([{"LTarget": "${attr.kernel.name}", "RTarget": "linux", "Operand": "="}]);
    whole["Affinities"] = json!([{"LTarget": "${meta.a}", "RTarget": "b", "Operand": "=",
        "Weight": -50}]);
    let check = json!({"Type": "http", "Path": "/", "Interval": 1_000_000_000,
        "Timeout": 1_000_000_000});
    whole["TaskGroups"][0]["Services"] =
        json!([{"Name": "s", "Provider": "nomad", "PortLabel": "http", "Checks": [check]}]);
    whole["TaskGroups"][0]["Networks"] = json!([{"DynamicPorts": [{"Label": "http"}]}]);
    whole["TaskGroups"][0]["Tasks"][0]["Identities"] =
        json!([{"Name": "x", "TTL": 60_000_000_000_i64}]);
    whole["TaskGroups"][0]["Tasks"][0]["Templates"] =
        json!([{"EmbeddedTmpl": "x", "DestPath": "local/x"}]);
    let good = s.ask("PUT", "/v1/jobs", &json!({ "Job": whole }).to_string());
    assert_eq!(good.status, 200, "{}", text(&good));
    let mut paths = Vec::new();
    walk(&whole, String::new(), &mut paths);
    assert!(paths.len() > 50, "{}", paths.len());
    let mut taken = 0;
    for path in &paths {
        for value in [
            Value::Null,
            json!(-1),
            json!(u64::MAX),
            json!(""),
            json!("${"),
            json!([null]),
            json!({}),
            json!([[]]),
        ] {
            let mut damaged = whole.clone();
            *damaged.pointer_mut(path).unwrap() = value;
            let body = json!({"Job": damaged}).to_string();
            let a = s.ask("PUT", "/v1/jobs", &body);
            assert!([200, 400, 500].contains(&a.status), "{path}: {} {}", a.status, text(&a));
            taken += usize::from(a.status == 200);
            s.ask("PUT", "/v1/validate/job", &body);
        }
    }
    assert!(taken > 20, "{taken}");
}

/// Where each part of a value is.
fn walk(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                walk(inner, format!("{at}/{name}"), out);
            }
        }
        Value::Array(all) => {
            for (i, inner) in all.iter().enumerate() {
                walk(inner, format!("{at}/{i}"), out);
            }
        }
        _ => {}
    }
    if !at.is_empty() {
        out.push(at);
    }
}

/// A root key stays for as long as tokens with an end that it may have signed are valid.
#[test]
fn keys_stay_while_their_tokens_are_valid() {
    const NOW: i64 = 1_795_426_609_000_000_000;
    const HOUR: i64 = 3_600_000_000_000;
    let mut s = Server::new("weak-keys");
    let rotated = |s: &mut Server, at: i64, rotate: bool| {
        let command = new_key(at, rotate, 0, false, None, &mut s.chance);
        s.apply(&command);
        match command {
            vardo::command::Command::RootKey { id, .. } => id,
            _ => unreachable!("a key"),
        }
    };
    let first = rotated(&mut s, NOW - 5 * HOUR, false);
    let second = rotated(&mut s, NOW - HOUR, true);
    let path = |id: &str| format!("/v1/operator/keyring/key/{id}");
    let mut web = job("web");
    web["TaskGroups"][0]["Tasks"][0]["Identities"] = json!([{"Name": "x", "TTL": 2 * HOUR}]);
    s.register(&web);
    let a = s.ask("DELETE", &path(&first), "");
    assert_eq!((a.status, text(&a).as_str()), (500, "root key in use, cannot delete"));
    assert_eq!(s.ask("DELETE", &path(&second), "").status, 500, "it is active");
    web["TaskGroups"][0]["Tasks"][0]["Identities"] = json!([{"Name": "x", "TTL": HOUR / 2}]);
    s.register(&web);
    assert_eq!(s.ask("DELETE", &path(&first), "").status, 200);
    rotated(&mut s, NOW, true);
    assert_eq!(s.ask("DELETE", &path(&second), "").status, 500);
    assert_eq!(s.ask("DELETE", &format!("{}?force=true", path(&second)), "").status, 200);
}

/// Every test that the table names is there.
#[test]
fn the_table_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders: Vec<PathBuf> = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let table = include_str!("../weaknesses.md");
    let mut named = 0;
    for row in table.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| #")) {
        for name in row.split('`').skip(1).step_by(2).filter(|n| n.contains("::")) {
            let function = name.rsplit("::").next().unwrap();
            assert!(sources.contains(&format!("fn {function}()")), "{name} is not there: {row}");
            named += 1;
        }
    }
    assert!(named > 40, "{named}");
}
