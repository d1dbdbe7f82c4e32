//! What regions share: written in the authoritative one, known in all.

#![expect(clippy::disallowed_methods, reason = "tests of the binary start it")]

use serde_json::{Value, json};

use super::acl::{SECRET, ask, bootstrap, guarded, manage};
use super::agent::Agent;
use crate::support::agent::BINARY;

fn get(agent: &Agent, token: &str, path: &str) -> u16 {
    ask(agent, token, "GET", path, &Value::Null).status
}

fn text(agent: &Agent, path: &str) -> String {
    ask(agent, SECRET, "GET", path, &Value::Null).text()
}

/// The region where everything is written, and one that takes it over.
fn regions(name: &str, token: &str) -> (Agent, Agent) {
    let hub = guarded(
        &format!("{name}-hub"),
        &json!({"region": "hub", "client": {"enabled": false},
            "acl": {"enabled": true, "token_min_expiration_ttl": "1s"}}),
    );
    bootstrap(&hub);
    let join = json!({"retry_join": [format!("127.0.0.1:{}", hub.serf)]});
    let edge = guarded(
        &format!("{name}-edge"),
        &json!({"region": "edge", "client": {"enabled": false},
            "acl": {"enabled": true, "replication_token": token},
            "server": {"enabled": true, "bootstrap_expect": 1, "authoritative_region": "hub",
                "server_join": join}}),
    );
    (hub, edge)
}

fn create(agent: &Agent, body: &Value) -> (String, String) {
    let token = manage(agent, "PUT", "/v1/acl/token", body).json();
    let text = |k: &str| token[k].as_str().expect("text").to_owned();
    (text("AccessorID"), text("SecretID"))
}

#[test]
fn what_is_shared_is_the_same_in_all_regions() {
    let (hub, mut edge) = regions("shared", SECRET);
    let put = |agent: &Agent, path: &str, body: Value| manage(agent, "PUT", path, &body);
    let rules =
        |level: &str| json!({"Name": "p", "Rules": format!("node {{ policy = \"{level}\" }}")});
    put(&hub, "/v1/acl/policy/p", rules("read"));
    put(&hub, "/v1/acl/role", json!({"Name": "r", "Policies": [{"Name": "p"}]}));
    let config = json!({"JWKSURL": "http://127.0.0.1:1", "ClaimMappings": {"sub": "user"}});
    put(
        &hub,
        "/v1/acl/auth-method",
        json!({"Name": "m", "Type": "JWT", "TokenLocality": "global", "MaxTokenTTL": "1h",
            "Config": config}),
    );
    let rule = json!({"AuthMethod": "m", "BindType": "policy", "BindName": "p"});
    put(&hub, "/v1/acl/binding-rule", rule);
    put(&hub, "/v1/namespace", json!({"Name": "apps", "Meta": {"a": "b"}}));
    put(&hub, "/v1/node/pools", json!({"Name": "gpu"}));
    let (everywhere_id, everywhere) =
        create(&hub, &json!({"Type": "client", "Roles": [{"Name": "r"}], "Global": true}));
    let (_, local) = create(&hub, &json!({"Type": "client", "Policies": ["p"]}));
    edge.until("the token", |a| get(a, &everywhere, "/v1/nodes") == 200);
    // Row by row, but for the indexes, which are each region's own.
    for path in [
        "/v1/acl/policies",
        "/v1/acl/roles",
        "/v1/acl/auth-methods",
        "/v1/acl/binding-rules",
        "/v1/acl/auth-method/m",
        "/v1/namespaces",
        "/v1/node/pools",
    ] {
        let bare = |agent: &Agent| {
            let mut value: Value = serde_json::from_str(&text(agent, path)).expect("JSON");
            let strip = |row: &mut Value| {
                for name in ["CreateIndex", "ModifyIndex"] {
                    if let Some(row) = row.as_object_mut() {
                        row.remove(name);
                    }
                }
            };
            match &mut value {
                Value::Array(rows) => rows.iter_mut().for_each(strip),
                row => strip(row),
            }
            value
        };
        edge.until(path, |edge| bare(edge) == bare(&hub));
    }
    assert_eq!((get(&hub, &local, "/v1/nodes"), get(&edge, &local, "/v1/nodes")), (200, 403));
    // What a policy says, and that a token is gone, is known everywhere soon.
    put(&hub, "/v1/acl/policy/p", rules("deny"));
    edge.until("the policy", |a| get(a, &everywhere, "/v1/nodes") == 403);
    put(&hub, "/v1/acl/policy/p", rules("read"));
    edge.until("the policy", |a| get(a, &everywhere, "/v1/nodes") == 200);
    manage(&hub, "DELETE", &format!("/v1/acl/token/{everywhere_id}"), &Value::Null);
    edge.until("the end of the token", |a| get(a, &everywhere, "/v1/nodes") == 403);
    manage(&hub, "DELETE", "/v1/namespace/apps", &Value::Null);
    manage(&hub, "DELETE", "/v1/node/pool/gpu", &Value::Null);
    edge.until("the end of the namespace", |a| {
        !text(a, "/v1/namespaces").contains("apps") && !text(a, "/v1/node/pools").contains("gpu")
    });
    // Written here, it goes there, and comes back.
    put(&edge, "/v1/acl/policy/q?region=edge", json!({"Name": "q", "Rules": ""}));
    assert_eq!(get(&hub, SECRET, "/v1/acl/policy/q"), 200);
    edge.until("its own policy", |a| get(a, SECRET, "/v1/acl/policy/q") == 200);
    put(&edge, "/v1/namespace/web", json!({"Name": "web"}));
    put(&edge, "/v1/node/pool/big", json!({"Name": "big"}));
    assert!(text(&hub, "/v1/namespaces").contains("web"));
    assert!(text(&hub, "/v1/node/pools").contains("big"));
    let (id, global) = create(&edge, &json!({"Type": "client", "Policies": ["p"], "Global": true}));
    assert_eq!(get(&hub, &global, "/v1/nodes"), 200);
    edge.until("a token of its own", |a| get(a, &global, "/v1/nodes") == 200);
    manage(&edge, "DELETE", &format!("/v1/acl/token/{id}"), &Value::Null);
    assert_eq!(get(&hub, &global, "/v1/nodes"), 403);
    // Tokens of one region stay there, through all of this.
    let (id, own) = create(&edge, &json!({"Type": "client", "Policies": ["p"]}));
    put(&hub, "/v1/acl/policy/z", json!({"Name": "z", "Rules": ""}));
    edge.until("a policy", |a| get(a, SECRET, "/v1/acl/policy/z") == 200);
    assert_eq!((get(&edge, &own, "/v1/nodes"), get(&hub, &own, "/v1/nodes")), (200, 403));
    manage(&edge, "DELETE", &format!("/v1/acl/token/{id}"), &Value::Null);
    assert_eq!(get(&edge, &own, "/v1/nodes"), 403);
    // A client's token may not write there either.
    let weak = create(&hub, &json!({"Type": "client", "Policies": ["p"], "Global": true})).1;
    edge.until("the weak token", |a| get(a, &weak, "/v1/nodes") == 200);
    let body = json!({"Name": "x", "Rules": ""});
    assert_eq!(ask(&edge, &weak, "PUT", "/v1/acl/policy/x", &body).status, 403);
    // What is the same is not written again by the next leader.
    let before = text(&edge, "/v1/acl/policy/p");
    edge.end("TERM");
    edge.spawn();
    put(&hub, "/v1/acl/policy/again", json!({"Name": "again", "Rules": ""}));
    edge.until("a policy", |a| {
        a.try_get("/v1/status/leader").is_some() && get(a, SECRET, "/v1/acl/policy/again") == 200
    });
    assert_eq!(text(&edge, "/v1/acl/policy/p"), before);
    // Each region's leader is one.
    let mut command = std::process::Command::new(BINARY);
    let url = format!("http://127.0.0.1:{}", hub.port);
    let ran = command.args(["server", "members", "-address", &url, "-token", SECRET]).output();
    let shown = String::from_utf8(ran.expect("the command line").stdout).expect("text");
    assert_eq!(shown.lines().filter(|l| l.contains("  true  ")).count(), 2, "{shown}");
    // Without the other region all is known still; writing is refused.
    drop(hub);
    edge.until("the loss", |a| {
        let a = ask(a, SECRET, "PUT", "/v1/acl/policy/x", &body);
        a.status == 500 && a.text() == "No path to region"
    });
    assert_eq!(get(&edge, SECRET, "/v1/acl/policy/p"), 200);
    assert_eq!(ask(&edge, "", "GET", "/v1/internal/replica?table=token", &Value::Null).status, 404);
}

/// Many rows come in pages, and wrong tokens bring nothing.
#[test]
fn many_policies_are_taken_over_in_pages() {
    let (hub, mut edge) = regions("pages", "00000000-0000-0000-0000-000000000000");
    let rules = "namespace \"a\" { policy = \"read\" }\n".repeat(20);
    for n in 0..2_300 {
        let name = format!("p{n}");
        let body = json!({"Name": name, "Rules": rules});
        manage(&hub, "PUT", &format!("/v1/acl/policy/{name}"), &body);
    }
    edge.until("the refusal", |a| a.log().contains("is not told: 403 Permission denied"));
    assert_eq!(get(&edge, SECRET, "/v1/acl/policies"), 403);
    edge.end("TERM");
    edge.configure(&json!({"acl": {"enabled": true, "replication_token": SECRET}}));
    edge.spawn();
    let count = |a: &Agent| text(a, "/v1/acl/policies").matches("\"Name\"").count();
    edge.until("all", |a| a.try_get("/v1/status/leader").is_some() && count(a) == 2_300);
    manage(&hub, "DELETE", "/v1/acl/policy/p1234", &Value::Null);
    let changed = json!({"Name": "p999", "Rules": "", "Description": "last"});
    manage(&hub, "PUT", "/v1/acl/policy/p999", &changed);
    edge.until("one gone, one changed", |a| {
        count(a) == 2_299 && text(a, "/v1/acl/policy/p999").contains("last")
    });
}
