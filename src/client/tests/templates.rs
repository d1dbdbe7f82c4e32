//! Templates of tasks: when they are made, from what, and how a running task hears of changes.

use super::supply::identity;
use super::*;
use crate::api::{ChangeScript, Template, WaitConfig, WorkloadIdentity};

fn quiet() -> WorkloadIdentity {
    WorkloadIdentity { env: false, file: false, ..identity("default", 0, "") }
}

fn template(text: &str, dest: &str) -> Template {
    Template {
        embedded_tmpl: text.to_owned(),
        dest_path: dest.to_owned(),
        change_mode: "restart".to_owned(),
        perms: "0600".to_owned(),
        splay: Some(0),
        ..Template::default()
    }
}

fn templated(templates: Vec<Template>) -> Task {
    Task { identity: Some(quiet()), templates: templates.into(), ..program("web") }
}

/// An answer of the servers about a variable with the one item `v`.
fn variable(index: u64, value: &str) -> Option<Told> {
    let body = format!("{{\"Items\":{{\"v\":\"{value}\"}}}}").into_bytes();
    Some(Told { status: 200, index, body })
}

fn told(status: u16, body: &str) -> Option<Told> {
    Some(Told { status, index: 0, body: body.as_bytes().to_vec() })
}

const VAR: &str = "{{ with nomadVar \"p\" }}{{ .v }}{{ end }}";

#[test]
fn templates_are_made_from_what_was_last_known() {
    let mut w = World::new();
    let task = templated(vec![template(VAR, "local/x")]);
    w.pull(&[&alloc("a", "service", group(3, vec![task]))]);
    assert_eq!(w.logged(), ["register", "ask who it is"]);
    w.sign("default", "T", 0);
    assert_eq!(w.logged(), ["ask /v1/var/p?namespace= 0"]);
    w.tell(variable(5, "one"));
    assert_eq!(w.logged(), ["place local/x 600 one", "start web"]);
    w.advance_ms(300);
    assert_eq!(w.logged(), ["ask /v1/var/p?namespace= 5"], "and then for changes");
    w.tell(variable(6, "one"));
    w.advance_ms(300);
    assert_eq!(w.logged(), ["ask /v1/var/p?namespace= 6"], "the same is no change");
    w.tell(variable(7, "two"));
    assert_eq!(w.logged(), ["place local/x 600 two", "kill web 2 5000ms"]);
    w.obey("a", "web");
    assert_eq!(w.logged(), ["place local/x 600 two", "start web"]);

    let mut w = w.restart_agent(config());
    w.tell(None);
    w.event("a", "web", ExecutorEvent::Lost { reason: "the machine was off".to_owned() });
    w.advance_ms(1_500);
    let log = w.logged();
    let at = log.iter().position(|l| l == "place local/x 600 two").expect("rendered");
    assert_eq!(log[at + 1], "start web", "{log:?}");
}

/// The file may be made by a task that runs before, so it is read when the task's turn has come.
#[test]
fn a_template_from_a_file_is_read_in_its_turn() {
    let mut w = World::new();
    let from = |path: &str| Template { source_path: path.to_owned(), ..template("", "local/x") };
    let task = templated(vec![from("${NOMAD_TASK_DIR}/x.tpl")]);
    w.pull(&[&alloc("a", "service", group(0, vec![task, hooked("init", "prestart", false)]))]);
    w.sign("default", "T", 0);
    assert!(w.asked.is_empty(), "{:?}", w.asked);
    w.logged();
    w.exit("a", "init", 0);
    assert_eq!(w.logged(), ["read /data/alloc/a/web local/x.tpl"]);
    w.tell(told(404, ""));
    assert_eq!(w.state("a", "web"), "pending", "it may still come");
    w.advance_ms(1_001);
    w.tell(told(200, "{{ env \"NOMAD_TASK_NAME\" }}, {{ file \"../../alloc/data/y\" }}"));
    assert_eq!(w.state("a", "web"), "dead", "no way out");

    let mut w = World::new();
    w.pull(&[&alloc("a", "service", group(0, vec![templated(vec![from("local/x.tpl")])]))]);
    w.sign("default", "T", 0);
    w.logged();
    w.tell(told(200, "{{ env \"NOMAD_TASK_NAME\" }} {{ file \"${NOMAD_ALLOC_DIR}/data/y\" }}"));
    assert_eq!(w.logged(), ["read /data/alloc/a/alloc data/y"]);
    w.tell(told(200, "one"));
    assert_eq!(w.logged(), ["place local/x 600 web one", "start web"]);
    // What it reads is looked at again; the template itself is not.
    w.advance_ms(5_001);
    assert_eq!(w.asked.len(), 1);
    w.tell(told(200, "two"));
    let log = w.logged();
    assert!(log.contains(&"place local/x 600 web two".to_owned()), "{log:?}");
    assert!(w.disk.values().all(|v| !String::from_utf8_lossy(v).contains("one")), "no copies");

    for (path, told) in [
        ("../b/secrets/x", None),
        ("/data/alloc/a/web/../../b/x", None),
        ("local/link", told(400, "it leads out of the task's directory")),
    ] {
        let mut w = World::new();
        w.pull(&[&alloc("a", "service", group(0, vec![templated(vec![from(path)])]))]);
        w.sign("default", "T", 0);
        if told.is_some() {
            w.tell(told);
        }
        assert_eq!(w.state("a", "web"), "dead", "{path}");
        assert!(w.events("a", "web").join(" ").contains("out of the task's directory"), "{path}");
    }
}

/// Changes that follow each other closely are told once, but the first of them no later than the
/// job says.
#[test]
fn changes_wait_for_quiet_and_not_for_ever() {
    let mut w = World::new();
    let wait = Some(WaitConfig { min: Some(2 * S), max: Some(5 * S) });
    let task = templated(vec![Template { wait, ..template(VAR, "local/x") }]);
    w.pull(&[&alloc("a", "service", group(3, vec![task]))]);
    w.sign("default", "T", 0);
    w.tell(variable(1, "0"));
    w.advance_ms(300);
    w.logged();
    w.tell(variable(2, "1"));
    w.advance_ms(1_900);
    assert!(!w.logged().iter().any(|l| l.starts_with("place")));
    w.tell(variable(3, "2"));
    w.advance_ms(1_900);
    assert!(!w.logged().iter().any(|l| l.starts_with("place")), "it has just changed again");
    w.tell(variable(4, "3"));
    w.advance_ms(1_300);
    let log = w.logged();
    assert!(log.contains(&"place local/x 600 3".to_owned()), "after five seconds: {log:?}");
}

/// A template that does not say it waits as the node does.
#[test]
fn the_node_says_how_long_templates_wait() {
    for (own, ms) in [(None, 2_000), (Some(WaitConfig { min: Some(S), max: None }), 1_000)] {
        let mut config = config();
        config.template_wait = Some(WaitConfig { min: Some(2 * S), max: None });
        let now = Now { mono_ns: 1_000_000_000, wall_ns: 1_000 * S };
        let mut w = World::boot(config, BTreeMap::new(), now);
        let task = templated(vec![Template { wait: own, ..template(VAR, "local/x") }]);
        w.pull(&[&alloc("a", "service", group(3, vec![task]))]);
        w.sign("default", "T", 0);
        w.tell(variable(1, "0"));
        w.advance_ms(300);
        w.logged();
        w.tell(variable(2, "1"));
        w.advance_ms(ms - 100);
        assert!(!w.logged().iter().any(|l| l.starts_with("place")));
        w.advance_ms(200);
        assert!(w.logged().iter().any(|l| l.starts_with("place")));
    }
}

#[test]
fn a_script_may_run_after_the_first_rendering() {
    let script = |first| {
        let command = "/bin/reload".to_owned();
        let script = ChangeScript { command, run_on_first_render: first, ..Default::default() };
        let mode = "script".to_owned();
        Template { change_script: Some(script), change_mode: mode, ..template("x", "local/x") }
    };
    for first in [true, false] {
        let mut w = World::new();
        w.pull(&[&alloc("a", "service", group(3, vec![templated(vec![script(first)])]))]);
        let run = "run web /bin/reload  5000ms".to_owned();
        assert_eq!(w.logged().iter().filter(|l| **l == run).count(), usize::from(first));
        w.exit("a", "web", 1);
        w.advance_ms(2_000);
        assert!(!w.logged().contains(&run), "once");
    }
}

/// What is expensive has a turn of the loop of its own, and an end.
#[test]
fn templates_leave_the_loop_time_for_other_things() {
    let busy =
        "{{ range loop 2000 }}{{ range loop 10 }}{{ if eq . 10 }}x{{ end }}{{ end }}{{ end }}";
    let tasks = |text: &str| {
        let task = |i| Task { name: format!("t{i}"), ..templated(vec![template(text, "local/x")]) };
        (0..4).map(task).collect::<Vec<_>>()
    };
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", group(0, tasks(busy)))]);
    let begun = w.logged().iter().filter(|l| l.starts_with("start")).count();
    assert!((1..4).contains(&begun), "{begun} of four in one turn");
    w.advance_ms(1);
    let rest = w.logged().iter().filter(|l| l.starts_with("start")).count();
    assert_eq!(begun + rest, 4);
    let endless = "{{ range loop 9000 }}{{ range loop 9000 }}{{ end }}{{ end }}";
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", group(0, tasks(endless)))]);
    w.advance_ms(1);
    assert!(w.events("a", "t0").join(" ").contains("it does too much"));
}
