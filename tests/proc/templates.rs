//! Templates of tasks: rendered from variables and services, and again when these change.

#![expect(clippy::disallowed_methods, reason = "tests wait")]

use std::path::PathBuf;

use serde_json::{Value, json};

use super::acl::{SECRET, ask, bootstrap, guarded, manage};
use super::agent::{Agent, shell_job};

fn ready(name: &str) -> Agent {
    let agent = guarded(name, &json!({}));
    bootstrap(&agent);
    agent.until("a node", |a| {
        ask(a, SECRET, "GET", "/v1/nodes", &Value::Null).text().contains("\"ready\"")
    });
    agent
}

fn job(id: &str, script: &str, templates: &Value) -> Value {
    let mut job = shell_job(id, "service", 1, "");
    let task = &mut job["Job"]["TaskGroups"][0]["Tasks"][0];
    task["Config"] = json!({"command": "/bin/bash", "args": ["-c", script]});
    task["Templates"] = templates.clone();
    job
}

fn alloc(agent: &Agent, job: &str) -> Value {
    let path = format!("/v1/job/{job}/allocations");
    ask(agent, SECRET, "GET", &path, &Value::Null).json()[0].clone()
}

fn file(agent: &Agent, alloc: &str, path: &str) -> PathBuf {
    agent.dir.join("data/alloc").join(alloc).join(path)
}

fn read(agent: &Agent, alloc: &str, path: &str) -> String {
    std::fs::read_to_string(file(agent, alloc, path)).unwrap_or_default()
}

fn set(agent: &Agent, path: &str, value: &str) {
    manage(agent, "PUT", &format!("/v1/var/{path}"), &json!({"Items": {"v": value}}));
}

/// What the history of the only allocation's task says.
fn history(alloc: &Value) -> String {
    let events = alloc["TaskStates"]["t"]["Events"].as_array().cloned().unwrap_or_default();
    let texts: Vec<&str> = events.iter().filter_map(|e| e["DisplayMessage"].as_str()).collect();
    texts.join("\n")
}

#[test]
fn variables_become_files_and_follow_their_changes() {
    let mut agent = ready("templates-live");
    let script = "echo $X >> $NOMAD_ALLOC_DIR/began\n\
                  trap 'cat local/conf >> $NOMAD_ALLOC_DIR/told' USR1\n\
                  while :; do sleep 0.05; done";
    let conf = "job={{ env \"NOMAD_JOB_ID\" }} [[ not ours ]]\n\
                {{- with nomadVar \"nomad/jobs/t\" }} v={{ .v }}{{ end }}\n";
    let templates = json!([
        {"EmbeddedTmpl": conf, "DestPath": "local/conf", "ChangeMode": "signal",
         "ChangeSignal": "SIGUSR1", "Splay": 0, "Perms": "0640"},
        {"EmbeddedTmpl": "X={{ with nomadVar \"nomad/jobs/t/g\" }}{{ .v }}{{ end }}\n",
         "DestPath": "${NOMAD_SECRETS_DIR}/env", "Envvars": true, "Splay": 0},
    ]);
    set(&agent, "nomad/jobs/t/g", "first");
    manage(&agent, "PUT", "/v1/jobs", &job("t", script, &templates));
    // It waits for what is not there, and says so.
    agent.until("a word about what is missing", |a| {
        history(&alloc(a, "t")).contains("Missing: nomad.var.get(nomad/jobs/t)")
    });
    assert_eq!(alloc(&agent, "t")["ClientStatus"], "pending");
    set(&agent, "nomad/jobs/t", "1");
    agent.until("a running task", |a| alloc(a, "t")["ClientStatus"] == "running");
    let id = alloc(&agent, "t")["ID"].as_str().expect("an id").to_owned();
    assert_eq!(read(&agent, &id, "t/local/conf"), "job=t [[ not ours ]] v=1\n");
    assert_eq!(read(&agent, &id, "t/secrets/env"), "X=first\n");
    agent.until("its environment", |a| read(a, &id, "alloc/began") == "first\n");

    set(&agent, "nomad/jobs/t", "2");
    agent.until("a signal", |a| read(a, &id, "alloc/told").contains("v=2"));
    assert_eq!(read(&agent, &id, "alloc/began"), "first\n", "it was not started anew");
    set(&agent, "nomad/jobs/t/g", "second");
    agent.until("a new start", |a| read(a, &id, "alloc/began") == "first\nsecond\n");
    assert!(history(&alloc(&agent, "t")).contains("re-rendered"));

    // An agent that comes back sees what changed meanwhile, and nothing else.
    agent.kill();
    agent.spawn();
    agent.until("an agent that listens", |a| a.try_get("/v1/status/leader").is_some());
    agent.until("a leader", |a| {
        let body = json!({"Items": {"v": "3"}});
        ask(a, SECRET, "PUT", "/v1/var/nomad/jobs/t", &body).status == 200
    });
    agent.until("another signal", |a| read(a, &id, "alloc/told").contains("v=3"));
    assert_eq!(read(&agent, &id, "alloc/began"), "first\nsecond\n");
}

#[test]
fn what_cannot_be_rendered_fails_its_task() {
    let agent = ready("templates-bad");
    for (id, template, dest, why) in [
        ("consul", "{{ key \"a\" }}", "local/x", "Consul, which is not served"),
        ("open", "{{ if true }}", "local/x", "a block has no {{end}}"),
        (
            "many",
            "{{ range loop 9999 }}{{ range loop 9999 }}x{{ end }}{{ end }}",
            "local/x",
            "it does too much",
        ),
    ] {
        let templates = json!([{"EmbeddedTmpl": template, "DestPath": dest}]);
        manage(&agent, "PUT", "/v1/jobs", &job(id, "sleep 600", &templates));
        agent.until("its failure", |a| alloc(a, id)["ClientStatus"] == "failed");
        let history = history(&alloc(&agent, id));
        assert!(history.contains(why), "{id}: {history}");
    }
    // Another's variable is no reason to fail: it may be allowed later.
    let templates = json!([{
        "EmbeddedTmpl": "{{ with nomadVar \"nomad/jobs/other\" }}{{ .v }}{{ end }}",
        "DestPath": "local/x",
    }]);
    set(&agent, "nomad/jobs/other", "secret");
    manage(&agent, "PUT", "/v1/jobs", &job("curious", "sleep 600", &templates));
    agent.until("a word about it", |a| alloc(a, "curious")["ClientStatus"] == "pending");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let a = alloc(&agent, "curious");
    assert_eq!(a["ClientStatus"], "pending");
    let id = a["ID"].as_str().expect("an id");
    assert!(!file(&agent, id, "curious/local/x").exists());
}

/// A task that runs before writes what the task's file is made from; what leads out of the
/// allocation is not read, whatever the links (CVE-2024-1329).
#[test]
fn templates_from_files_stay_in_their_allocation() {
    let agent = ready("templates-files");
    let run = |id: &str, before: &str, source: &str| {
        let templates = json!([{"SourcePath": source, "DestPath": "local/x", "Splay": 0}]);
        let mut job = job(id, "sleep 600", &templates);
        let tasks = job["Job"]["TaskGroups"][0]["Tasks"].as_array_mut().expect("tasks");
        let mut first = tasks[0].clone();
        first["Name"] = json!("before");
        first["Templates"] = json!(null);
        first["Config"]["args"] = json!(["-c", before]);
        first["Lifecycle"] = json!({"Hook": "prestart"});
        tasks.push(first);
        manage(&agent, "PUT", "/v1/jobs", &job);
    };
    let write = "echo '{{ env \"NOMAD_JOB_ID\" }} {{ file \"local/y\" }}' \
                 > $NOMAD_ALLOC_DIR/data/x; echo -n y > $NOMAD_ALLOC_DIR/../t/local/y";
    run("good", write, "${NOMAD_ALLOC_DIR}/data/x");
    agent.until("a running task", |a| alloc(a, "good")["TaskStates"]["t"]["State"] == "running");
    let id = alloc(&agent, "good")["ID"].as_str().expect("an id").to_owned();
    assert_eq!(read(&agent, &id, "t/local/x"), "good y\n");
    let link = "ln -s /etc $NOMAD_ALLOC_DIR/data/etc";
    for (id, source) in [
        ("link", "${NOMAD_ALLOC_DIR}/data/etc/passwd"),
        ("steps", "${NOMAD_ALLOC_DIR}/data/../../../../../etc/passwd"),
        ("sibling", "${NOMAD_ALLOC_DIR}/../before/secrets/x"),
    ] {
        run(id, link, source);
        agent.until("its failure", |a| alloc(a, id)["ClientStatus"] == "failed");
        let history = history(&alloc(&agent, id));
        assert!(history.contains("out of the task's directory"), "{id}: {history}");
        let id = alloc(&agent, id)["ID"].as_str().expect("an id").to_owned();
        assert!(!file(&agent, &id, "t/local/x").exists());
    }
}
