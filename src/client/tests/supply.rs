//! Tokens of tasks: asked for, given, renewed, and kept while nobody can be asked.

use super::*;
use crate::api::{SignedIdentity, WorkloadIdentity};
use crate::stdx::json;

pub(super) fn identity(name: &str, ttl_s: i64, mode: &str) -> WorkloadIdentity {
    WorkloadIdentity {
        name: name.to_owned(),
        env: true,
        file: true,
        ttl: ttl_s * S,
        change_mode: mode.to_owned(),
        change_signal: if mode == "signal" { "SIGHUP".to_owned() } else { String::new() },
        ..WorkloadIdentity::default()
    }
}

fn with(identities: Vec<WorkloadIdentity>) -> Task {
    Task { identities: identities.into(), ..program("web") }
}

impl World {
    pub(super) fn ask_servers(&mut self, id: u64, inquiry: Inquiry) {
        self.log.push(match &inquiry {
            Inquiry::Identities { .. } => "ask who it is".to_owned(),
            Inquiry::Get { target, index, .. } => format!("ask {target} {index}"),
            Inquiry::Node => "ask who the node is".to_owned(),
            Inquiry::File { root, path } => format!("read {root} {path}"),
        });
        self.asked.push((id, inquiry));
    }

    pub(super) fn place(&mut self, key: TaskKey, files: Vec<PlacedFile>) {
        for file in files {
            let text = String::from_utf8(file.bytes).unwrap();
            self.log.push(format!("place {} {:o} {text}", file.path, file.mode));
        }
        self.input(ClientInput::Placed(key, Ok(())));
    }

    pub(super) fn sign(&mut self, name: &str, jwt: &str, ttl_s: i64) {
        let expires = if ttl_s > 0 { self.now.wall_ns + ttl_s * S } else { 0 };
        let signed = SignedIdentity {
            task: "web".to_owned(),
            name: name.to_owned(),
            jwt: jwt.to_owned(),
            expires,
        };
        let told = Told { status: 200, index: 0, body: json::encode(&[signed]) };
        self.tell(Some(told));
    }

    pub(super) fn tell(&mut self, told: Option<Told>) {
        let (id, _) = self.asked.pop().expect("a question");
        self.input(ClientInput::Told(id, told));
    }
}

#[test]
fn a_task_starts_with_its_token() {
    let mut w = World::new();
    let a = alloc("a", "service", group(0, vec![with(vec![identity("vault", 0, "")])]));
    w.pull(&[&a]);
    assert_eq!(w.logged(), ["register", "ask who it is"]);
    assert!(w.starts.is_empty(), "not without its token");
    w.tell(None);
    w.advance_ms(1_001);
    assert_eq!(w.logged(), ["ask who it is"], "asked again after a while");
    w.sign("vault", "T1", 0);
    assert_eq!(w.logged(), ["place secrets/nomad_vault.jwt 600 T1", "start web"]);
    let env = &w.starts[0].env;
    assert!(env.iter().any(|(k, v)| k == "NOMAD_TOKEN_vault" && v == "T1"));
    w.advance_ms(10_000_000);
    assert!(w.logged().iter().all(|l| l == "heartbeat"), "no renewal");
}

#[test]
fn a_task_that_wants_no_token_waits_for_none() {
    let mut w = World::new();
    let quiet = WorkloadIdentity { env: false, file: false, ..identity("x", 0, "") };
    w.pull(&[&alloc("a", "service", group(0, vec![with(vec![quiet])]))]);
    assert_eq!(w.logged(), ["register", "start web"]);
}

#[test]
fn tokens_are_renewed_before_they_end() {
    for (mode, then) in [
        ("", vec![]),
        ("noop", vec![]),
        ("signal", vec!["signal web 1"]),
        ("restart", vec!["kill web 2 5000ms"]),
    ] {
        let mut w = World::new();
        let a = alloc("a", "service", group(0, vec![with(vec![identity("x", 600, mode)])]));
        w.pull(&[&a]);
        w.sign("x", "T1", 600);
        w.logged();
        w.advance_ms(290_000);
        assert!(!w.logged().contains(&"ask who it is".to_owned()), "{mode}: too early");
        w.advance_ms(100_000);
        assert!(w.logged().contains(&"ask who it is".to_owned()), "{mode}: too late");
        w.sign("x", "T2", 600);
        let mut expected = vec!["place secrets/nomad_x.jwt 600 T2".to_owned()];
        expected.extend(then.iter().map(|t| (*t).to_owned()));
        assert_eq!(w.logged(), expected, "{mode}");
    }
}

#[test]
fn the_last_tokens_serve_while_nobody_can_be_asked() {
    let mut w = World::new();
    let a = alloc("a", "service", group(3, vec![with(vec![identity("x", 600, "")])]));
    w.pull(&[&a]);
    w.sign("x", "T1", 600);
    w.logged();
    let mut w = w.restart_agent(config());
    w.event("a", "web", ExecutorEvent::Lost { reason: "the machine was off".to_owned() });
    w.advance_ms(2_000);
    let log = w.logged();
    assert!(log.contains(&"place secrets/nomad_x.jwt 600 T1".to_owned()), "{log:?}");
    // The end of the token does not keep it from starting where there is no newer one.
    w.advance_ms(700_000);
    assert_eq!(w.asked.len(), 1);
    w.exit("a", "web", 1);
    w.advance_ms(2_000);
    assert!(!w.logged().contains(&"start web".to_owned()), "a newer one may come");
    w.tell(None);
    w.advance_ms(2_000);
    assert!(w.logged().contains(&"start web".to_owned()));
    // What ends asks no more, and leaves nothing behind.
    w.pull(&[&stopped(&a)]);
    w.obey("a", "web");
    assert!(w.asked.is_empty());
    w.pull(&[]);
    assert!(w.disk.keys().all(|k| !k.starts_with(b"client/supply")));
}
