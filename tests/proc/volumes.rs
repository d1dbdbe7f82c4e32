//! Host volumes against real agents: made on nodes by programs, used, lost, and removed.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};
use crate::support::http::Answer;

/// A program that makes volumes; `slow` ones take their time, `bad` ones are refused.
const PROGRAM: &str = r#"#!/bin/sh
PATH=/usr/bin:/bin
case "$1:$DHV_VOLUME_NAME" in
fingerprint:*) echo '{"version":"0.0.9"}' ;;
create:bad) echo "no room for $DHV_PARAMETERS" >&2; exit 3 ;;
create:slow) sleep 2; mkdir -p "$DHV_VOLUMES_DIR/slow"
  printf '{"path":"%s/slow"}' "$DHV_VOLUMES_DIR" ;;
create:*) mkdir -p "$DHV_VOLUMES_DIR/$DHV_VOLUME_NAME"
  printf '{"path":"%s","bytes":%s}' "$DHV_VOLUMES_DIR/$DHV_VOLUME_NAME" "$DHV_CAPACITY_MIN_BYTES" ;;
delete:*) rm -r "$DHV_CREATED_PATH" ;;
esac
"#;

fn volume(name: &str, plugin: &str) -> Value {
    json!({ "Volume": { "Name": name, "PluginID": plugin } })
}

fn create(agent: &Agent, body: &Value) -> Answer {
    agent.put("/v1/volume/host/create", body)
}

fn created(agent: &Agent, body: &Value) -> String {
    let made = create(agent, body);
    assert_eq!(made.status, 200, "{}", made.text());
    let made = made.json();
    assert_eq!(
        (&made["Volume"]["State"], &made["Volume"]["CreateIndex"]),
        (&json!("pending"), &json!(0))
    );
    assert!(made["Index"].as_u64() > Some(0));
    made["Volume"]["ID"].as_str().expect("an id").to_owned()
}

fn state(agent: &Agent, id: &str) -> Value {
    agent.get(&format!("/v1/volume/host/{id}")).json()["State"].clone()
}

fn is_ready(agent: &Agent, id: &str) -> bool {
    state(agent, id) == "ready"
}

/// A job whose task writes its id into a volume.
fn writer(id: &str, request: &Value) -> Value {
    let mut job = shell_job(id, "service", 1, "echo $NOMAD_ALLOC_ID >> data/who; exec sleep 600");
    let group = &mut job["Job"]["TaskGroups"][0];
    group["Volumes"] = json!({ "v": request });
    group["Tasks"][0]["VolumeMounts"] = json!([{ "Volume": "v", "Destination": "/data" }]);
    job
}

fn running(agent: &Agent, job: &str) -> bool {
    agent.allocs(job).iter().any(|a| a["ClientStatus"] == "running")
}

#[test]
fn volumes_of_a_node_behind_a_link() {
    let server = json!({
        "enabled": true, "bootstrap_expect": 1, "min_heartbeat_ttl": "1s", "heartbeat_grace": "1s",
    });
    let server = Agent::with_no_node("volume-server", &server);
    let mut node = Agent::prepare("volume-node", &json!({}));
    let plugins = node.dir.join("plugins");
    fs::create_dir_all(&plugins).unwrap();
    fs::write(plugins.join("lv"), PROGRAM).unwrap();
    fs::set_permissions(plugins.join("lv"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(plugins.join("notes.txt"), "no program").unwrap();
    let fixed = node.dir.join("fixed");
    fs::create_dir_all(&fixed).unwrap();
    node.configure(&json!({
        "server": { "enabled": false },
        "client": {
            "enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)],
            "host_volume_plugin_dir": plugins, "host_volumes_dir": node.dir.join("volumes"),
            "host_volume": { "fixed": { "path": fixed, "read_only": true } },
        },
    }));
    node.spawn();
    let node_of = |a: &Agent| {
        let id = a.get("/v1/nodes").json()[0]["ID"].as_str()?.to_owned();
        Some(a.get(&format!("/v1/node/{id}")).json())
    };
    server.until("a node with its plugins", |a| {
        let node = node_of(a).unwrap_or_default();
        node["Attributes"]["plugins.host_volume.lv.version"] == "0.0.9" && node["Status"] == "ready"
    });
    let described = node_of(&server).unwrap();
    assert_eq!(described["Attributes"]["plugins.host_volume.mkdir.version"], "0.0.1");
    assert_eq!(described["Attributes"].get("plugins.host_volume.notes.txt.version"), None);
    let entry = &described["HostVolumes"]["fixed"];
    assert_eq!((&entry["ReadOnly"], &entry["ID"]), (&json!(true), &json!("")));

    // A program that fails says why, and nothing is written.
    let mut bad = volume("bad", "lv");
    bad["Volume"]["Parameters"] = json!({ "size": "9" });
    let refused = create(&server, &bad);
    assert_eq!(refused.status, 500);
    assert!(
        refused.text().contains("exited with 3: no room for {\"size\":\"9\"}"),
        "{}",
        refused.text()
    );
    let lists = |a: &Agent| a.get("/v1/volumes?type=host").json();
    assert_eq!(lists(&server), json!([]));

    // One that takes its time holds up neither node nor server.
    let before = server.get("/v1/volumes?type=host").index().max(1);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| created(&server, &volume("slow", "lv")));
        std::thread::sleep(Duration::from_millis(300));
        for agent in [&server, &node] {
            let begun = Instant::now();
            assert_eq!(agent.get("/v1/agent/health").status, 200);
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
        let seen = server.get(&format!("/v1/volumes?type=host&index={before}&wait=20s"));
        assert_eq!(seen.json()[0]["Name"], "slow", "a list waits for it");
        let id = slow.join().expect("a volume");
        server.until("a ready volume", |a| is_ready(a, &id));
    });

    // What a job waits for comes to be; asked at the node, which asks its servers.
    let request = json!({ "Type": "host", "Source": "data", "Sticky": true });
    assert_eq!(server.put("/v1/jobs", &writer("web", &request)).status, 200);
    let mut asked = volume("data", "lv");
    asked["Volume"]["RequestedCapacityMinBytes"] = json!(4096);
    let id = created(&node, &asked);
    server.until("the job that waited", |a| running(a, "web"));
    let stored = server.get(&format!("/v1/volume/host/{id}")).json();
    assert_eq!(stored["CapacityBytes"], 4096);
    assert_eq!(stored["Allocations"][0]["JobID"], "web");
    let who = node.dir.join("volumes/data/who");
    server
        .until("what it wrote", |_| fs::read_to_string(&who).is_ok_and(|t| t.lines().count() == 1));
    let claims = server.get("/v1/volumes/claims?job_id=web").json();
    assert_eq!((&claims[0]["VolumeID"], claims.as_array().map(Vec::len)), (&json!(id), Some(1)));
    assert_eq!(server.get("/v1/volumes/claims?job_id=other").json(), json!([]));

    // Another of the same name changes nothing for the claim: the next allocation comes back.
    let alloc = server.allocs("web")[0]["ID"].as_str().unwrap().to_owned();
    assert_eq!(server.put(&format!("/v1/allocation/{alloc}/stop"), &json!({})).status, 200);
    server
        .until("the next one", |_| fs::read_to_string(&who).is_ok_and(|t| t.lines().count() == 2));
    let next = server.get("/v1/volumes/claims").json();
    assert_eq!((&next[0]["ID"], &next[0]["VolumeID"]), (&claims[0]["ID"], &json!(id)));
    assert_ne!(next[0]["AllocID"], claims[0]["AllocID"]);

    // In use it stays; a lost node takes its volumes along, and brings them back.
    let path = format!("/v1/volume/host/{id}");
    let refused = server.delete(&path);
    assert_eq!(refused.status, 500);
    assert!(refused.text().contains("in use by allocations: ["), "{}", refused.text());
    let gone = created(&server, &volume("gone", "mkdir"));
    node.kill();
    server.until("a lost volume", |a| state(a, &id) == "unavailable");
    let gone = format!("/v1/volume/host/{gone}");
    assert_eq!(server.delete(&gone).text(), "No path to node");
    assert_eq!(server.delete(&format!("{gone}?force=true")).status, 200, "its record alone");
    node.spawn();
    server.until("the volume again", |a| is_ready(a, &id));

    let saved = server.get("/v1/operator/snapshot");
    assert_eq!(server.delete("/v1/job/web?purge=true").status, 200);
    server.until("the end of the job", |a| a.delete(&path).status == 200);
    assert!(!node.dir.join("volumes/data").exists(), "the program has removed it");
    assert_eq!(server.get(&path).text(), "volume not found");
    assert_eq!(server.get("/v1/volumes/claims").json(), json!([]), "they go with the job");
    let restored = crate::support::http::send(
        &format!("127.0.0.1:{}", server.port),
        "PUT",
        "/v1/operator/snapshot",
        &[],
        Some(&saved.body),
    );
    assert_eq!(restored.expect("an answer").status, 200);
    server.until("the record of the snapshot", |a| a.get(&path).status == 200);
}

/// What is mounted is in the task's directory for the task alone, and read-only where the job, the
/// mount or the configuration says so. An agent without the right to mount makes links, and none
/// for what is read-only.
#[test]
fn volumes_of_the_configuration_are_in_the_task() {
    let dir = std::env::temp_dir().join(format!("vardo-test-{}-dirs", std::process::id()));
    fs::create_dir_all(dir.join("rw")).unwrap();
    let agent = Agent::with(
        "fixed",
        &json!({ "client": { "enabled": true, "host_volume": {
            "rw": { "path": dir.join("rw") }, "ro": { "path": dir.join("rw"), "read_only": true },
        } } }),
    );
    assert_eq!(
        agent.put("/v1/jobs", &writer("rw", &json!({ "Type": "host", "Source": "rw" }))).status,
        200
    );
    agent.until("what it wrote", |_| dir.join("rw/who").exists());
    // Files of the volume are not files of the allocation.
    let alloc = agent.allocs("rw")[0]["ID"].as_str().unwrap().to_owned();
    let outside = agent.get(&format!("/v1/client/fs/cat/{alloc}?path=t/data/who")).text();
    let mounts = vardo::os::mount::is_allowed();
    let want = if mounts { "no such file" } else { "Path escapes the alloc directory" };
    assert!(outside.contains(want), "{outside}");
    for (id, request) in [
        ("writes", json!({ "Type": "host", "Source": "ro" })),
        ("sticks", json!({ "Type": "host", "Source": "rw", "Sticky": true })),
    ] {
        let eval = agent.put("/v1/jobs", &writer(id, &request)).json()["EvalID"].clone();
        let path = format!("/v1/evaluation/{}", eval.as_str().unwrap());
        agent.until("a decision", |a| a.get(&path).json()["Status"] == "complete");
        let failed = agent.get(&path).json()["FailedTGAllocs"].clone();
        assert!(failed.to_string().contains("missing compatible host volumes"), "{failed}");
    }
    let mut out = writer("out", &json!({ "Type": "host", "Source": "rw" }));
    out["Job"]["TaskGroups"][0]["Tasks"][0]["VolumeMounts"][0]["Destination"] = json!("../../x");
    assert_eq!(agent.put("/v1/jobs", &out).status, 200);
    agent.until("a refusal", |a| {
        let path = "/v1/job/out/allocations";
        a.get(path).text().contains("volume_mount destination escapes task dir")
    });

    let request = json!({ "Type": "host", "Source": "rw", "ReadOnly": true });
    let mut reader = writer("reader", &request);
    reader["Job"]["TaskGroups"][0]["Tasks"][0]["Config"]["args"] = json!([
        "-c",
        "cat data/who; touch data/no; echo > data/who; rm data/who; sh; exec sleep 600"
    ]);
    assert_eq!(agent.put("/v1/jobs", &reader).status, 200);
    if mounts {
        agent.until("a reader", |a| running(a, "reader"));
        let alloc = agent.allocs("reader")[0]["ID"].as_str().unwrap().to_owned();
        let log = |kind: &str| {
            let path = format!("/v1/client/fs/logs/{alloc}?task=t&type={kind}&plain=true");
            agent.get(&path).text()
        };
        agent.until("its errors", |_| log("stderr").matches("Read-only file system").count() == 3);
        assert!(log("stdout").starts_with(&agent.allocs("rw")[0]["ID"].as_str().unwrap()[..8]));
        assert!(dir.join("rw/who").exists() && !dir.join("rw/no").exists());
    } else {
        agent.until("a refusal", |a| {
            a.get("/v1/job/reader/allocations").text().contains("the right to mount")
        });
    }
    drop(fs::remove_dir_all(&dir));
}

/// Jobs that run on every node, once or for good, claim what they were placed with as others do.
#[test]
fn system_jobs_claim_their_volumes() {
    let agent = Agent::start("volume-system");
    let id = created(&agent, &volume("data", "mkdir"));
    agent.until("a ready volume", |a| is_ready(a, &id));
    for kind in ["system", "sysbatch"] {
        let request = json!({ "Type": "host", "Source": "data", "Sticky": true,
            "AccessMode": "single-node-writer", "AttachmentMode": "file-system" });
        let mut job = writer(kind, &request);
        job["Job"]["Type"] = json!(kind);
        assert_eq!(agent.put("/v1/jobs", &job).status, 200);
        agent.until("its task", |a| running(a, kind));
        let claims = agent.get(&format!("/v1/volumes/claims?job_id={kind}")).json();
        assert_eq!(claims[0]["VolumeID"], json!(id), "{claims}");
        assert_eq!(claims[0]["AllocID"], agent.allocs(kind)[0]["ID"]);
    }
}

/// Texts as recorded (contract: volumes).
#[test]
fn volumes_are_refused_as_recorded() {
    let agent = Agent::start("volume-texts");
    let host = |change: Value| {
        let mut body = volume("v", "mkdir");
        for (key, value) in change.as_object().unwrap() {
            body["Volume"][key] = value.clone();
        }
        body
    };
    let caps = |access: &str, attachment: &str| {
        host(json!({ "RequestedCapabilities": [
                { "AccessMode": access, "AttachmentMode": attachment },
            ] }))
    };
    let register = "/v1/volume/host/register";
    let create = "/v1/volume/host/create";
    let unknown = "11111111-2222-4333-8444-555555555555";
    let csi = json!({ "Volumes": [{ "PluginID": "p", "RequestedCapabilities": [{}] }] });
    for (method, path, body, status, text) in [
        ("PUT", create, json!({}), 500, "missing volume definition"),
        ("PUT", create, host(json!({ "Name": "" })), 500, "volume validation failed: missing name"),
        (
            "PUT",
            create,
            caps("single-node-writer", "zz"),
            500,
            "volume validation failed: invalid attachment mode: \"zz\"",
        ),
        (
            "PUT",
            create,
            caps("yy", "file-system"),
            500,
            "volume validation failed: invalid access mode: \"yy\"",
        ),
        (
            "PUT",
            create,
            host(json!({ "RequestedCapacityMinBytes": 2, "RequestedCapacityMaxBytes": 1 })),
            500,
            "volume validation failed: capacity_max (1) must be larger than capacity_min (2)",
        ),
        ("PUT", create, host(json!({ "Namespace": "x" })), 500, "no such namespace \"x\""),
        (
            "PUT",
            create,
            volume("v2", ""),
            500,
            "could not place volume \"v2\": no node meets constraints: \
            0 nodes had existing volume, 0 nodes filtered by node pool governance, \
             1 nodes were infeasible",
        ),
        ("PUT", register, host(json!({})), 500, "cannot register volume: node ID is required"),
        (
            "PUT",
            register,
            host(json!({ "NodeID": unknown })),
            500,
            "cannot register volume: host path is required",
        ),
        ("DELETE", "/v1/volume/host/x", Value::Null, 500, "no such volume: x"),
        ("DELETE", "/v1/volume/host/x?force=perhaps", Value::Null, 400, "invalid force value"),
        ("GET", "/v1/volume/host/x", Value::Null, 404, "volume not found"),
        ("POST", "/v1/volume/host/x", json!({}), 404, "resource not found"),
        ("GET", "/v1/volumes?type=other", Value::Null, 404, "resource not found"),
        (
            "DELETE",
            "/v1/volumes/claim/x",
            Value::Null,
            500,
            "task group volume claim does not exist",
        ),
        ("GET", "/v1/volumes/claim/x", Value::Null, 405, "Invalid method"),
        ("PUT", "/v1/volumes", json!({}), 500, "missing volume definition"),
        (
            "PUT",
            "/v1/volumes",
            json!({ "Volumes": [{}] }),
            500,
            "validation: missing plugin id, must include at least one capability block",
        ),
        ("PUT", "/v1/volume/csi/c", csi.clone(), 500, "no CSI plugin named: p could be found"),
        ("PUT", "/v1/volume/csi/c/create", csi, 500, "no CSI plugin named: p could be found"),
        ("GET", "/v1/volume/csi/c1", Value::Null, 404, "volume not found"),
        ("DELETE", "/v1/volume/csi/c1", Value::Null, 500, "volume not found: c1"),
        ("DELETE", "/v1/volume/csi/c1/detach", Value::Null, 400, "detach requires node ID"),
        ("GET", "/v1/volume/csi/c1/other", Value::Null, 405, "Invalid method"),
        ("DELETE", "/v1/volume/csi/c1/other", Value::Null, 404, "resource not found"),
        ("GET", "/v1/volumes/external?plugin_id=p", Value::Null, 500, "no such plugin"),
        ("GET", "/v1/volumes/snapshot?plugin_id=p", Value::Null, 500, "no such plugin"),
        ("PUT", "/v1/volumes/snapshot", json!({}), 500, "no such plugin"),
        ("GET", "/v1/plugins?type=other", Value::Null, 200, ""),
        ("GET", "/v1/plugins", Value::Null, 200, "[]"),
        ("GET", "/v1/plugins?type=csi", Value::Null, 200, "[]"),
        ("GET", "/v1/volumes?type=csi", Value::Null, 200, "[]"),
        ("GET", "/v1/volumes", Value::Null, 200, "[]"),
        ("GET", "/v1/plugin/csi/p", Value::Null, 404, "plugin not found"),
        ("GET", "/v1/plugin/csi/", Value::Null, 500, "missing plugin ID"),
    ] {
        let sent = (!body.is_null()).then(|| body.to_string());
        let answer = agent.request(method, path, sent.as_deref()).expect("an answer");
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, text),
            "{method} {path} {body}"
        );
    }
    let none = agent.get("/v1/volumes");
    assert_eq!(none.header("x-nomad-index"), None);
    assert_eq!(agent.request("PUT", create, None).expect("an answer").status, 400);

    // Changes are told; a page ends where it is asked to; what others may not be changed is kept.
    let id = created(&agent, &volume("a", "mkdir"));
    created(&agent, &volume("b", "mkdir"));
    let page = agent.get("/v1/volumes?type=host&per_page=1");
    assert_eq!(page.json().as_array().map(Vec::len), Some(1));
    let token = page.header("x-nomad-nexttoken").expect("a next page").to_owned();
    let rest = agent.get(&format!("/v1/volumes?type=host&next_token={token}")).json();
    assert_eq!(rest.as_array().map(Vec::len), Some(1));
    let filtered = agent.get("/v1/volumes?type=host&filter=Name%20%3D%3D%20%22b%22").json();
    assert_eq!((&filtered[0]["Name"], filtered.as_array().map(Vec::len)), (&json!("b"), Some(1)));
    let moved = host(json!({ "ID": id, "NodeID": unknown }));
    let refused = agent.put(create, &moved).text();
    assert_eq!(
        refused,
        format!("validating volume \"{id}\" update failed: node ID cannot be updated")
    );
    let found = agent.put("/v1/search", &json!({ "Prefix": &id[..8], "Context": "host_volumes" }));
    assert_eq!(found.json()["Matches"]["host_volumes"], json!([id]));
    assert_eq!(agent.delete("/v1/namespace/default").status, 500);
}

/// Weaknesses that others had, by their numbers in the list (of 2 see the executor's mounts): 14 (a
/// request reaches into another namespace), 5 (a plugin's name that is a path, and a node that is
/// named so that nothing is checked).
#[test]
fn volumes_keep_to_their_namespace_and_plugins() {
    let agent = Agent::with("volume-rights", &json!({ "acl": { "enabled": false } }));
    let node = agent.get("/v1/nodes").json()[0]["ID"].clone();
    for (change, why) in [
        (json!({ "PluginID": "../../../bin/sh" }), "1 nodes were infeasible"),
        (json!({ "PluginID": "../../../bin/sh", "NodeID": node }), "1 nodes were infeasible"),
        (
            json!({ "NodeID": node, "Constraints": [
                { "LTarget": "${attr.kernel.name}", "Operand": "=", "RTarget": "plan9" },
            ] }),
            "1 nodes were infeasible",
        ),
    ] {
        let mut body = volume("v", "mkdir");
        for (key, value) in change.as_object().unwrap() {
            body["Volume"][key] = value.clone();
        }
        let refused = create(&agent, &body);
        assert_eq!(refused.status, 500, "{}", refused.text());
        assert!(refused.text().contains(why), "{}", refused.text());
    }
    let mut here = volume("v", "mkdir");
    here["Volume"]["NodeID"] = node;
    let id = created(&agent, &here);
    agent.until("a ready volume", |a| is_ready(a, &id));
    // The same, changed: it is its own name that is there.
    here["Volume"]["ID"] = json!(id);
    here["Volume"]["Parameters"] = json!({ "mode": "0750" });
    assert_eq!(created(&agent, &here), id);
    // In another namespace there is no such volume.
    assert_eq!(agent.put("/v1/namespace", &json!({ "Name": "apps" })).status, 200);
    let elsewhere = format!("/v1/volume/host/{id}?namespace=apps");
    assert_eq!(agent.get(&elsewhere).status, 404);
    assert_eq!(agent.delete(&elsewhere).text(), format!("no such volume: {id}"));
    assert_eq!(agent.get("/v1/volumes?type=host&namespace=apps").json(), json!([]));
}
