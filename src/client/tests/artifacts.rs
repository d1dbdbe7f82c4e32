//! What is fetched before a task starts.

use super::supply::identity;
use super::*;
use crate::api::{TaskArtifact, Template};
use crate::client::exec_proto::FetchSpec;

fn artifact(source: &str, dest: &str) -> TaskArtifact {
    TaskArtifact {
        getter_source: source.to_owned(),
        relative_dest: dest.to_owned(),
        getter_mode: "any".to_owned(),
        ..TaskArtifact::default()
    }
}

fn with(artifacts: Vec<TaskArtifact>) -> Task {
    Task { artifacts: artifacts.into(), ..program("web") }
}

impl World {
    pub(super) fn fetch(&mut self, task: &str, spec: &FetchSpec) {
        for a in &spec.artifacts {
            self.log.push(format!("fetch {} to {} for {task}", a.source, a.destination));
        }
    }

    fn fetched(&mut self, result: Result<(), (String, bool)>) {
        self.input(ClientInput::Fetched(("a".to_owned(), "web".to_owned()), result));
    }
}

const FETCH: &str = "fetch http://x/a to local for web";

#[test]
fn a_task_starts_when_its_artifacts_are_there() {
    let mut w = World::new();
    let artifacts = vec![
        artifact("http://x/${NOMAD_TASK_NAME}", "local/"),
        artifact("http://x/b", "${NOMAD_TASK_DIR}/c"),
    ];
    w.pull(&[&alloc("a", "service", group(0, vec![with(artifacts)]))]);
    assert_eq!(
        w.logged()[1..],
        ["fetch http://x/web to local for web", "fetch http://x/b to local/c for web"]
    );
    w.advance_ms(5_000);
    assert!(w.starts.is_empty());
    w.fetched(Ok(()));
    assert!(w.logged().contains(&"start web".to_owned()));
    let kinds = ["Received", "Task Setup", "Downloading Artifacts", "Started"];
    assert_eq!(w.kinds("a", "web"), kinds);
    // They are there for the next start, and after a restart of the agent.
    w.fetched(Ok(()));
    w.ask(ClientRequest::Restart { alloc: "a".into(), task: String::new(), all: false }).unwrap();
    w.obey("a", "web");
    w.advance_ms(1);
    assert_eq!(w.starts.len(), 2);
    let mut w = w.restart_agent(config());
    w.event("a", "web", ExecutorEvent::Lost { reason: "gone".to_owned() });
    w.advance_ms(2_000);
    assert!(w.logged().iter().all(|l| !l.starts_with("fetch")));
}

#[test]
fn a_failure_is_tried_again_as_the_policy_says() {
    let mut w = World::new();
    let a = alloc("a", "service", group(1, vec![with(vec![artifact("http://x/a", "local/")])]));
    w.pull(&[&a]);
    w.fetched(Err(("failed to download artifact: it is down".to_owned(), true)));
    assert_eq!(w.logged(), ["register", FETCH]);
    w.advance_ms(1_500);
    assert_eq!(w.logged(), [FETCH], "once more");
    w.fetched(Err(("failed to download artifact: it is down".to_owned(), true)));
    assert_eq!(w.state("a", "web"), "dead");
    assert_eq!(w.status("a").0, "failed");
    let told = w.events("a", "web");
    assert!(
        told.contains(&"Failed Artifact Download: failed to download artifact: it is down".into())
    );
    assert_eq!(told.iter().filter(|e| e.starts_with("Task Setup")).count(), 1);

    // Of no use.
    for artifacts in [
        vec![artifact("http://x/a", "local/")],
        vec![artifact("http://x/a", "../b")],
        vec![artifact("http://x/a", "/${NOMAD_META_x}/../../b")],
        vec![artifact("http://x/a", "")],
    ] {
        let mut w = World::new();
        let wrong = artifacts[0].relative_dest != "local/";
        w.pull(&[&alloc("a", "service", group(5, vec![with(artifacts)]))]);
        assert_eq!(w.logged().len(), if wrong { 1 } else { 2 });
        w.fetched(Err(("checksums did not match".to_owned(), false)));
        assert_eq!(w.state("a", "web"), "dead");
        assert!(w.starts.is_empty());
    }
}

#[test]
fn what_is_under_way_ends_with_the_task_and_begins_anew_with_the_agent() {
    let mut w = World::new();
    let a = alloc("a", "service", group(1, vec![with(vec![artifact("http://x/a", "local/")])]));
    w.pull(&[&a]);
    w.advance_ms(1_000);
    let mut w = w.restart_agent(config());
    w.pull(&[&a]);
    assert_eq!(w.logged(), ["register", FETCH]);
    let mut stopped = Allocation::clone(&a);
    "stop".clone_into(&mut stopped.desired_status);
    stopped.alloc_modify_index = 9;
    w.pull(&[&Rc::new(stopped)]);
    assert_eq!(w.logged(), ["fetch no more for web"]);
    assert_eq!(w.state("a", "web"), "dead");
    w.fetched(Ok(()));
    assert!(w.starts.is_empty());
    assert_eq!(w.status("a").0, "complete");
}

#[test]
fn templates_may_be_made_from_artifacts() {
    let mut w = World::new();
    let template = Template {
        source_path: "local/x.tpl".to_owned(),
        dest_path: "local/x".to_owned(),
        perms: "600".to_owned(),
        ..Template::default()
    };
    let mut task = with(vec![artifact("http://x/a", "local/")]);
    task.templates = vec![template].into();
    task.identities = vec![identity("default", 0, "")].into();
    w.pull(&[&alloc("a", "service", group(0, vec![task]))]);
    w.sign("default", "T", 0);
    assert!(w.logged().contains(&FETCH.to_owned()));
    w.advance_ms(10_000);
    assert!(w.asked.is_empty(), "not read before: {:?}", w.asked);
    w.fetched(Ok(()));
    assert!(w.logged().contains(&"read /data/alloc/a/web local/x.tpl".to_owned()));
    w.tell(Some(Told { status: 200, index: 0, body: b"text".to_vec() }));
    assert!(w.logged().contains(&"start web".to_owned()));
}
