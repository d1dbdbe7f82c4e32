//! Registrations come and go with what they belong to.

use vardo::api::ServiceRegistration;
use vardo::command::{AllocClientState, Applied, Command};
use vardo::store::{Table, keys};

use super::{WALL, World, alloc, complete, id, job, plan};

fn service(n: u8, name: &str, port: i64) -> ServiceRegistration {
    ServiceRegistration {
        id: format!("_nomad-task-{}-group-app-{name}-http", id(b'a', n)),
        service_name: name.into(),
        namespace: "default".into(),
        alloc_id: id(b'a', n),
        port,
        ..ServiceRegistration::default()
    }
}

fn tell(n: u8, status: &str, services: Option<Vec<ServiceRegistration>>) -> Command {
    let update = AllocClientState {
        id: id(b'a', n),
        client_status: status.into(),
        services,
        ..AllocClientState::default()
    };
    Command::AllocClientUpdate { updates: vec![update], evals: Vec::new(), wall_ns: 9 }
}

/// Two allocations, each with the services `api` and `db`.
fn world() -> World {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    w.run(&plan(vec![alloc(1, &j, 1, 10), alloc(2, &j, 1, 10)], vec![complete(1, &j)]));
    for n in [1, 2] {
        let services = vec![service(n, "api", 80), service(n, "db", 90)];
        w.run(&tell(n, "running", Some(services)));
    }
    assert_eq!(all(&w), ["api 1 80", "api 2 80", "db 1 90", "db 2 90"]);
    w
}

/// `name allocation port` of all rows, in the order of their keys.
fn all(w: &World) -> Vec<String> {
    w.read(|r| {
        let rows = r.scan(Table::Service, &[], None, false).expect("reads");
        rows.map(|pair| {
            let s: ServiceRegistration =
                vardo::stdx::json::decode(pair.expect("reads").1.json).expect("a registration");
            let alloc = s.alloc_id.chars().last().expect("an id");
            format!("{} {alloc} {}", s.service_name, s.port)
        })
        .collect()
    })
}

#[test]
fn what_is_told_replaces_what_was() {
    let mut w = world();
    let before = w.index;
    // The same again moves nothing.
    w.run(&tell(1, "running", Some(vec![service(1, "db", 90), service(1, "api", 80)])));
    assert_eq!(w.touched.tables & Table::Service.bit(), 0);
    w.run(&tell(1, "running", Some(vec![service(1, "api", 81)])));
    assert_eq!(all(&w), ["api 1 81", "api 2 80", "db 2 90"]);
    // Those who wait for either service learn of it, and others do not.
    let woken = |name: &str| {
        let key: Box<[u8]> = keys::services("default", name).into();
        w.touched.rows.contains(&(Table::Service, key))
    };
    assert!(woken("api") && woken("db") && !woken("ap"));
    let key = keys::service("default", "api", &service(1, "api", 0).id);
    let row = w.read(|r| {
        let row = r.row(Table::Service, &key).expect("reads").expect("a row");
        (row.create(), row.modify())
    });
    assert_eq!(row, (before - 1, w.index), "it is the same instance, changed");
    w.run(&tell(1, "running", None));
    assert_eq!(all(&w).len(), 3);
}

#[test]
fn the_end_of_an_allocation_ends_its_services() {
    for status in ["complete", "failed", "lost"] {
        let mut w = world();
        w.run(&tell(1, status, None));
        assert_eq!(all(&w), ["api 2 80", "db 2 90"], "{status}");
        // A late word changes nothing.
        w.run(&tell(1, status, Some(vec![service(1, "api", 80)])));
        w.run(&tell(9, "running", Some(vec![service(9, "api", 80)])));
        assert_eq!(all(&w).len(), 2, "{status}");
    }
    let mut w = world();
    let none = Vec::new();
    w.run(&Command::Reap {
        evals: none.clone(),
        allocs: vec![id(b'a', 2)],
        deployments: none.clone(),
        jobs: Vec::new(),
        nodes: none,
    });
    assert_eq!(all(&w), ["api 1 80", "db 1 90"]);
}

#[test]
fn nobody_is_sent_to_a_node_that_is_not_heard() {
    for status in ["down", "disconnected"] {
        let mut w = world();
        w.run(&Command::NodeStatus {
            id: id(b'd', 1),
            status: status.into(),
            event: None,
            wall_ns: WALL,
            evals: Vec::new(),
        });
        assert_eq!(all(&w), Vec::<String>::new(), "{status}");
    }
    let mut w = world();
    w.run(&Command::NodePurge { ids: vec![id(b'd', 1)], evals: Vec::new() });
    assert_eq!(all(&w), Vec::<String>::new());
}

#[test]
fn one_registration_is_deleted_by_its_id() {
    let mut w = world();
    let delete = |namespace: &str, id: &str| Command::ServiceDelete {
        namespace: namespace.into(),
        id: id.into(),
    };
    let known = service(1, "api", 0).id;
    for (namespace, id) in
        [("default", "nope"), ("other", known.as_str()), ("default", "_nomad-task-x")]
    {
        assert!(matches!(w.run(&delete(namespace, id)), Applied::Refused(_)), "{id}");
    }
    assert_eq!(w.run(&delete("default", &known)), Applied::Done);
    assert_eq!(all(&w), ["api 2 80", "db 1 90", "db 2 90"]);
    // Its node tells of it again.
    w.run(&tell(1, "running", Some(vec![service(1, "api", 80), service(1, "db", 90)])));
    assert_eq!(all(&w).len(), 4);
}
