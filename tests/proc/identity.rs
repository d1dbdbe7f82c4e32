//! Who a task is: its token, what that opens, and when it ends.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::{Value, json};

use super::acl::{SECRET, ask, bootstrap, guarded, manage};
use super::agent::{Agent, shell_job};
use crate::support::http::{self, Answer};
use vardo::stdx::json::Bytes;

/// Asks the API for what `$1` names with the token in a file, by the shell alone.
const FETCH: &str = "fetch() { exec 3<>/dev/tcp/127.0.0.1/$PORT; \
    printf 'GET %s HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer %s\\r\\n' \
    \"$1\" \"$2\" >&3; printf 'Connection: close\\r\\n\\r\\n' >&3; cat <&3; exec 3>&-; }";

fn job(agent: &Agent, id: &str, script: &str, identities: &Value) -> Value {
    let mut job = shell_job(id, "service", 1, "");
    let task = &mut job["Job"]["TaskGroups"][0]["Tasks"][0];
    task["Config"] = json!({"command": "/bin/bash", "args": ["-c", format!("{FETCH}\n{script}")]});
    task["Env"] = json!({"PORT": agent.port.to_string()});
    task["Identities"] = identities.clone();
    job
}

/// Registers a job and waits for its allocation to run: its id.
fn run(agent: &Agent, job: &Value) -> String {
    manage(agent, "PUT", "/v1/jobs", job);
    let id = job["Job"]["ID"].as_str().expect("an id");
    let mut found = String::new();
    agent.until("a running allocation", |a| {
        let path = format!("/v1/job/{id}/allocations");
        let allocs = ask(a, SECRET, "GET", &path, &Value::Null).json();
        let first = &allocs[0];
        found = first["ID"].as_str().unwrap_or_default().to_owned();
        first["ClientStatus"] == "running"
    });
    found
}

fn file(agent: &Agent, alloc: &str, path: &str) -> PathBuf {
    agent.dir.join("data/alloc").join(alloc).join(path)
}

fn token(agent: &Agent, alloc: &str) -> String {
    std::fs::read_to_string(file(agent, alloc, "t/secrets/nomad_token")).expect("a token")
}

fn get(agent: &Agent, token: &str, path: &str) -> Answer {
    ask(agent, token, "GET", path, &Value::Null)
}

fn claims(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).expect("a part");
    serde_json::from_slice(&Bytes::decode_url(part).expect("base64url")).expect("JSON")
}

fn forged(head: &Value, claims: &Value, signature: &str) -> String {
    let part = |v: &Value| Bytes::encode_url(v.to_string().as_bytes());
    format!("{}.{}.{signature}", part(head), part(claims))
}

fn put_variable(agent: &Agent, path: &str, value: &str) {
    let body = json!({"Items": {"k": value}});
    manage(agent, "PUT", &format!("/v1/var/{path}"), &body);
}

#[test]
fn a_task_reads_what_is_named_after_it() {
    let agent = guarded("identity-own", &json!({}));
    bootstrap(&agent);
    agent.until("a node", |a| get(a, SECRET, "/v1/nodes").text().contains("\"ready\""));
    put_variable(&agent, "nomad/jobs/j/g/t", "mine");
    put_variable(&agent, "nomad/jobs/j2", "other");
    let script = "fetch /v1/var/nomad/jobs/j/g/t \"$NOMAD_TOKEN\" > $NOMAD_ALLOC_DIR/own\n\
                  token=$(cat secrets/nomad_token)\n\
                  fetch /v1/var/nomad/jobs/j2 \"$token\" > $NOMAD_ALLOC_DIR/other\n\
                  echo $NOMAD_TOKEN_vault > $NOMAD_ALLOC_DIR/vault; touch $NOMAD_ALLOC_DIR/end\n\
                  sleep 600";
    let identities = json!([
        {"Name": "default", "Env": true, "File": true},
        {"Name": "vault", "Audience": ["vault.io"], "Env": true, "TTL": 3_600_000_000_000_i64},
    ]);
    let alloc = run(&agent, &job(&agent, "j", script, &identities));
    agent.until("both answers", |a| file(a, &alloc, "alloc/end").exists());
    let read = |name: &str| std::fs::read_to_string(file(&agent, &alloc, name)).expect("a file");
    let own = read("alloc/own");
    assert!(own.starts_with("HTTP/1.1 200") && own.contains("\"mine\""), "{own}");
    let other = read("alloc/other");
    assert!(other.starts_with("HTTP/1.1 403"), "{other}");

    let path = file(&agent, &alloc, "t/secrets/nomad_token");
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let token = token(&agent, &alloc);
    let said = claims(&token, 1);
    assert_eq!(said["sub"], "global:default:j:g:t:default");
    assert_eq!(said["aud"], json!(["nomadproject.io"]));
    assert_eq!(said["nomad_allocation_id"], alloc.as_str());
    assert_eq!((&said["nomad_job_id"], &said["nomad_task"]), (&json!("j"), &json!("t")));
    assert!(said["exp"].is_null() && said["iat"].is_i64() && said["jti"].is_string());

    // No right but those of its name (numbers 34 and 67 of the list of weaknesses).
    for (path, status) in [
        ("/v1/var/nomad/jobs", 404),
        ("/v1/var/nomad/jobs/j", 404),
        ("/v1/var/nomad/jobs/j/g", 404),
        ("/v1/var/nomad/jobs/j/g/t", 200),
        ("/v1/var/nomad/jobs/j/g/t2", 403),
        ("/v1/var/nomad/jobs/j2", 403),
        ("/v1/jobs", 403),
        ("/v1/job/j", 403),
        ("/v1/agent/self", 403),
        ("/v1/acl/tokens", 403),
        ("/v1/operator/scheduler/configuration", 403),
        ("/v1/services", 200),
        ("/v1/service/none", 200),
        ("/v1/acl/token/self", 404),
    ] {
        let a = get(&agent, &token, path);
        assert_eq!(a.status, status, "{path}: {}", a.text());
    }
    let a = get(&agent, &token, "/v1/vars?prefix=nomad");
    assert!(a.text().contains("jobs/j/g/t") && !a.text().contains("jobs/j2"), "{}", a.text());
    let a = ask(&agent, &token, "PUT", "/v1/var/nomad/jobs/j/g/t", &json!({"Items": {"k": "x"}}));
    assert_eq!(a.status, 403);

    // A policy that is attached to `j` says nothing of `j2` (number 9), nor of another task.
    for (name, acl) in [
        ("task", json!({"Namespace": "default", "JobID": "j", "Group": "g", "Task": "t"})),
        ("prefix", json!({"Namespace": "default", "JobID": "j2"})),
    ] {
        let right = if name == "task" { "list-jobs" } else { "read-job" };
        let rules = format!("namespace \"default\" {{ capabilities = [\"{right}\"] }}");
        let body = json!({"Name": name, "Rules": rules, "JobACL": acl});
        manage(&agent, "PUT", &format!("/v1/acl/policy/{name}"), &body);
    }
    assert_eq!(get(&agent, &token, "/v1/jobs").status, 200);
    assert_eq!(get(&agent, &token, "/v1/job/j").status, 403);
    let second = run(&agent, &job(&agent, "j2", "sleep 600", &identities));
    let second_token = self::token(&agent, &second);
    assert_eq!(get(&agent, &second_token, "/v1/jobs").status, 403);
    assert_eq!(get(&agent, &second_token, "/v1/job/j2").status, 200);
    assert_eq!(get(&agent, &second_token, "/v1/var/nomad/jobs/j2").status, 200);

    // What is not signed by this cluster, for this API, is nothing.
    let parts: Vec<&str> = token.split('.').collect();
    let (head, said) = (claims(&token, 0), claims(&token, 1));
    let mut claim_more = said.clone();
    claim_more["nomad_job_id"] = json!("j2");
    let with_head = |key: &str, value: &str| {
        let mut head = head.clone();
        head[key] = value.into();
        forged(&head, &said, parts[2])
    };
    let vault = read("alloc/vault");
    assert_eq!(claims(vault.trim(), 1)["aud"], json!(["vault.io"]));
    let kid = head["kid"].as_str().expect("a kid");
    for (what, bad) in [
        ("no algorithm", forged(&json!({"alg": "none", "kid": kid}), &said, "")),
        ("another algorithm", with_head("alg", "EdDSA")),
        ("a secret for a public key", with_head("alg", "HS256")),
        ("an unknown key", with_head("kid", "5ec2e700-0000-4000-8000-000000000000")),
        ("no key", forged(&json!({"alg": "RS256"}), &said, parts[2])),
        ("other claims", forged(&head, &claim_more, parts[2])),
        ("another's audience", vault.trim().to_owned()),
        ("cut off", token[..token.len() - 4].to_owned()),
        ("no parts", "..".to_owned()),
        ("huge", format!("{}.{}.{}", parts[0], "A".repeat(7000), parts[2])),
    ] {
        let a = get(&agent, &bad, "/v1/var/nomad/jobs/j/g/t");
        assert_eq!((a.status, a.text().as_str()), (403, "Permission denied"), "{what}");
        let a = get(&agent, &bad, "/v1/acl/token/self");
        assert_eq!(a.status, 500, "{what}: {}", a.text());
    }

    // Nowhere in what is served does a token stand (number 12).
    for path in [
        format!("/v1/allocation/{alloc}"),
        "/v1/allocations?resources=true&task_states=true".to_owned(),
        "/v1/job/j".to_owned(),
        "/v1/job/j/allocations".to_owned(),
        "/v1/nodes".to_owned(),
        format!("/v1/node/{}/allocations", node(&agent)),
        "/v1/evaluations".to_owned(),
        "/v1/operator/keyring/keys".to_owned(),
    ] {
        let text = get(&agent, SECRET, &path).text();
        assert!(!text.contains("eyJ") && !text.contains("SignedIdentities"), "{path}: {text}");
    }
    assert!(!agent.log().contains("eyJ"), "in the log");
    // Nor does a node's own path serve others.
    let path = format!("/v1/internal/node?id={}&sign={alloc}", node(&agent));
    assert_eq!(get(&agent, SECRET, &path).status, 404);

    // Keys are replaced; tokens live as long as their key is published and their task runs.
    manage(&agent, "PUT", "/v1/operator/keyring/rotate", &Value::Null);
    assert_eq!(get(&agent, &token, "/v1/jobs").status, 200);
    let third = run(&agent, &job(&agent, "j3", "sleep 600", &identities));
    let newer = claims(&self::token(&agent, &third), 0);
    assert_ne!(newer["kid"], head["kid"]);
    let delete = format!("/v1/operator/keyring/key/{kid}");
    let a = ask(&agent, SECRET, "DELETE", &delete, &Value::Null);
    assert!(a.status >= 400, "a key in use stays: {}", a.status);
    manage(&agent, "DELETE", "/v1/job/j", &Value::Null);
    agent.until("the end of its token", |a| get(a, &token, "/v1/jobs").status == 403);
}

fn node(agent: &Agent) -> String {
    let nodes = get(agent, SECRET, "/v1/nodes").json();
    nodes[0]["ID"].as_str().expect("an id").to_owned()
}

/// One with a time is renewed, its file replaced, its task told; after its end it opens nothing.
#[test]
fn tokens_with_a_time_are_renewed() {
    let mut agent = guarded("identity-ttl", &json!({}));
    bootstrap(&agent);
    agent.until("a node", |a| get(a, SECRET, "/v1/nodes").text().contains("\"ready\""));
    let script = "trap 'echo usr >> $NOMAD_ALLOC_DIR/told' USR1\n\
                  while :; do sleep 0.05; done";
    let identities = json!([{
        "Name": "api", "Audience": ["nomadproject.io"], "File": true, "TTL": 3_000_000_000_i64,
        "ChangeMode": "signal", "ChangeSignal": "SIGUSR1", "Filepath": "local/deep/api.jwt",
    }]);
    put_variable(&agent, "nomad/jobs/k", "v");
    let alloc = run(&agent, &job(&agent, "k", script, &identities));
    let path = file(&agent, &alloc, "t/local/deep/api.jwt");
    let first = std::fs::read_to_string(&path).expect("a token");
    assert_eq!(get(&agent, &first, "/v1/var/nomad/jobs/k").status, 200);
    let next = |agent: &Agent, old: &str| {
        let mut new = String::new();
        agent.until("a newer token", |_| {
            new = std::fs::read_to_string(&path).expect("a token");
            new != old
        });
        new
    };
    let second = next(&agent, &first);
    assert_eq!(get(&agent, &second, "/v1/var/nomad/jobs/k").status, 200);
    agent.until("a signal", |a| file(a, &alloc, "alloc/told").exists());
    agent.until("its end", |a| get(a, &first, "/v1/var/nomad/jobs/k").status == 403);
    // An agent that comes back goes on renewing.
    let last = std::fs::read_to_string(&path).expect("a token");
    agent.kill();
    agent.spawn();
    let third = next(&agent, &last);
    agent.until("what it opens", |a| get(a, &third, "/v1/var/nomad/jobs/k").status == 200);
}

#[test]
fn the_issuer_tells_where_its_keys_are() {
    let path = "/.well-known/openid-configuration";
    let server =
        json!({"enabled": true, "bootstrap_expect": 1, "oidc_issuer": "https://n.example"});
    let agent = guarded("identity-oidc", &json!({"server": server}));
    let address = format!("127.0.0.1:{}", agent.port);
    let a = http::send(&address, "GET", path, &[], None).expect("an answer");
    assert_eq!(a.status, 200, "{}", a.text());
    assert_eq!(a.json()["issuer"], "https://n.example");
    assert_eq!(a.json()["jwks_uri"], "https://n.example/.well-known/jwks.json");
    // Nobody has asked for a signature, but others are meant to check some.
    agent.until("a key of RSA", |_| {
        let a = http::send(&address, "GET", path, &[], None).expect("an answer");
        a.json()["id_token_signing_alg_values_supported"] == json!(["RS256"])
    });
}

/// Others check what is signed by what is published; the agent goes on answering while it makes
/// keys, and keys outlive a restart and a snapshot.
#[test]
fn what_leaves_is_signed_by_rsa() {
    let mut agent = guarded("identity-rsa", &json!({}));
    bootstrap(&agent);
    agent.until("a node", |a| get(a, SECRET, "/v1/nodes").text().contains("\"ready\""));
    let published = |a: &Agent| {
        let mut keys = get(a, "", "/.well-known/jwks.json").json()["keys"].take();
        keys.as_array_mut().map(std::mem::take).unwrap_or_default()
    };
    let signed = |a: &Agent, token: &str| {
        let head = claims(token, 0);
        assert_eq!(head["alg"], "RS256");
        let keys = published(a);
        let key = keys.iter().find(|k| k["kid"] == head["kid"]).expect("it is published");
        assert_eq!(
            (&key["kty"], &key["use"], &key["e"]),
            (&"RSA".into(), &"sig".into(), &"AQAB".into())
        );
        let number = |name: &str| Bytes::decode_url(key[name].as_str().unwrap()).unwrap();
        let (text, signature) = token.rsplit_once('.').unwrap();
        let signature = Bytes::decode_url(signature).unwrap();
        let public = RsaPublicKeyComponents { n: number("n"), e: number("e") };
        public.verify(&RSA_PKCS1_2048_8192_SHA256, text.as_bytes(), &signature).is_ok()
    };
    let identities = json!([{"Name": "default", "File": true}]);
    let first = run(&agent, &job(&agent, "r1", "sleep 600", &identities));
    let first = token(&agent, &first);
    assert!(signed(&agent, &first));
    assert_eq!(get(&agent, &first, "/v1/services").status, 200);

    // Somebody else is served while the next key is made.
    let mut rotation = agent.connect().expect("connected");
    let ask = format!(
        "PUT /v1/operator/keyring/rotate HTTP/1.1\r\nHost: x\r\nX-Nomad-Token: {SECRET}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    rotation.write_all(ask.as_bytes()).expect("asked");
    rotation.set_nonblocking(true).expect("set");
    let mut served = 0;
    while rotation.peek(&mut [0]).is_err() {
        assert_eq!(get(&agent, SECRET, "/v1/jobs").status, 200);
        served += 1;
    }
    rotation.set_nonblocking(false).expect("set");
    let mut rotated = String::new();
    rotation.read_to_string(&mut rotated).expect("an answer");
    assert!(served > 10, "{served} requests were answered");
    let rotated = rotated.split_once("\r\n\r\n").expect("an answer").1;
    let rotated: Value = serde_json::from_str(rotated).expect("JSON");
    let kid = rotated["Key"]["KeyID"].clone();
    assert!(published(&agent).iter().all(|k| k["kty"] == "RSA"));
    assert!(signed(&agent, &first) && get(&agent, &first, "/v1/services").status == 200);
    let second = run(&agent, &job(&agent, "r2", "sleep 600", &identities));
    let second = token(&agent, &second);
    assert!(signed(&agent, &second) && claims(&second, 0)["kid"] == kid);

    let keys = published(&agent);
    let saved = get(&agent, SECRET, "/v1/operator/snapshot");
    agent.kill();
    agent.spawn();
    agent.until("its state", |a| {
        let head = ("X-Nomad-Token".to_owned(), second.clone());
        let address = format!("127.0.0.1:{}", a.port);
        http::send(&address, "GET", "/v1/services", &[head], None).is_ok_and(|a| a.status == 200)
    });
    assert_eq!(published(&agent), keys);
    manage(&agent, "PUT", "/v1/operator/keyring/rotate?full", &Value::Null);
    let address = format!("127.0.0.1:{}", agent.port);
    let head = [("X-Nomad-Token".to_owned(), SECRET.to_owned())];
    let path = "/v1/operator/snapshot";
    let put = http::send(&address, "PUT", path, &head, Some(&saved.body)).expect("an answer");
    assert_eq!(put.status, 200, "{}", put.text());
    agent.until("its keys", |a| published(a) == keys);
    agent.until("a node", |a| get(a, SECRET, "/v1/nodes").text().contains("\"ready\""));
    let third = run(&agent, &job(&agent, "r3", "sleep 600", &identities));
    let third = token(&agent, &third);
    assert!(signed(&agent, &third) && claims(&third, 0)["kid"] == kid);
    assert_eq!(get(&agent, &third, "/v1/services").status, 200);
}

/// A node asks its servers who it is, keeps that, and asks anew when it is told to; any agent can
/// be asked.
#[test]
fn a_node_has_an_identity() {
    let server =
        Agent::with_no_node("identity-server", &json!({ "enabled": true, "bootstrap_expect": 1 }));
    let mut node = Agent::prepare("identity-node", &json!({}));
    node.configure(&json!({
        "server": { "enabled": false },
        "client": { "enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)] },
    }));
    node.spawn();
    let mut id = String::new();
    server.until("a ready node", |a| {
        let nodes = a.get("/v1/nodes").json();
        id = nodes[0]["ID"].as_str().unwrap_or_default().to_owned();
        nodes[0]["Status"] == "ready"
    });
    let path = format!("/v1/client/identity?node_id={id}");
    let first = server.get(&path);
    let said = &first.json()["Claims"];
    assert_eq!(said["sub"], format!("node:global:default:{id}:default"));
    assert_eq!(said["aud"], json!(["nomadproject.io"]));
    assert_eq!(
        (&said["nomad_node_id"], &said["nomad_node_datacenter"]),
        (&json!(id), &json!("dc1"))
    );
    let time = |name: &str| said[name].as_f64().expect("a time");
    assert_eq!(time("exp") - time("iat"), 86_400.0);
    assert!(first.text().contains(&format!("\"iat\":{:.1}", time("iat"))), "{}", first.text());
    assert_eq!(node.get("/v1/client/identity").text(), first.text(), "it is kept");
    let renewed = node.put("/v1/client/identity/renew", &json!({}));
    assert_eq!((renewed.status, renewed.text().as_str()), (200, "{}"));
    let second = server.get(&path).json();
    assert_ne!(second["Claims"]["jti"], said["jti"]);
    for (method, path, status) in [
        ("PUT", path.as_str(), 405),
        ("GET", "/v1/client/identity/renew", 405),
        ("GET", "/v1/client/identity?node_id=11111111-2222-4333-8444-555555555555", 404),
    ] {
        assert_eq!(server.request(method, path, None).expect("an answer").status, status, "{path}");
    }
    assert_eq!(server.get("/v1/client/identity").text(), "No local Node and node_id not provided");
}

/// What a namespace wants said is said, and a service's identity names the service.
#[test]
fn tokens_say_what_their_namespace_wants() {
    let agent = Agent::start("identity-extra");
    let space = json!({
        "Name": "apps",
        "RequiredExtraClaims": {"site": "north"},
        "OptionalExtraClaims": {"line": "7", "unasked": "x"},
    });
    assert_eq!(agent.put("/v1/namespace", &space).status, 200);
    let identities = json!([{ "Name": "web", "Audience": ["a"], "Env": true, "ServiceName": "api",
        "ExtraClaims": ["line"], "TTL": 3_600_000_000_000_i64 }]);
    let mut job = shell_job("j", "service", 1, "echo $NOMAD_TOKEN_web > local/t; exec sleep 600");
    job["Job"]["Namespace"] = json!("apps");
    job["Job"]["TaskGroups"][0]["Tasks"][0]["Identities"] = identities;
    assert_eq!(agent.put("/v1/jobs?namespace=apps", &job).status, 200);
    let token = || {
        let allocs = agent.get("/v1/job/j/allocations?namespace=apps").json();
        let id = allocs[0]["ID"].as_str().unwrap_or_default().to_owned();
        let path = agent.dir.join("data/alloc").join(id).join("t/local/t");
        std::fs::read_to_string(path).unwrap_or_default()
    };
    agent.until("a token", |_| token().ends_with('\n'));
    let said = claims(token().trim(), 1);
    assert_eq!(said["extra_claims"], json!({"line": "7", "site": "north"}));
    assert_eq!(said["nomad_service"], "api");
    assert!(said["nomad_task"].is_null() && said["sub"] == "global:apps:j:g:api:web", "{said}");
}
