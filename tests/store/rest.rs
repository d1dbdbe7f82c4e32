//! Variables, configurations, namespaces, pools, and entries applied twice.

use vardo::api::{Job, Namespace, NodePool, SchedulerConfiguration, Variable, VariableLock};
use vardo::command::{Applied, Command};
use vardo::stdx::json::Bytes;
use vardo::store::{KEYRING, Table, keys};

use super::{WALL, World, job, node, register_node};

fn put(value: &str, check: Option<u64>) -> Command {
    let items = vardo::stdx::BTreeMap::from([("k".to_owned(), value.to_owned())]);
    let variable = Variable {
        namespace: "default".into(),
        path: "a/b".into(),
        items: items.into(),
        ..Variable::default()
    };
    Command::VariablePut { variable: Box::new(variable), check, wall_ns: WALL }
}

fn delete(check: Option<u64>) -> Command {
    Command::VariableDelete { namespace: "default".into(), path: "a/b".into(), check }
}

fn stored(w: &World) -> Option<Variable> {
    w.read(|r| r.variable("default", "a/b").unwrap())
}

#[test]
fn check_and_set_follows_the_table() {
    let mut w = World::new();
    assert_eq!(w.run(&put("1", Some(9))), Applied::Conflict(None));
    assert_eq!(w.touched.tables, 0, "a refused entry changes nothing");
    assert_eq!(w.read(|r| r.index()), 1, "but it has been applied");
    assert_eq!(w.run(&delete(Some(9))), Applied::Conflict(None));
    assert_eq!(w.run(&delete(Some(0))), Applied::Nothing);
    assert_eq!(w.run(&put("1", Some(0))), Applied::Done);
    let first = stored(&w).unwrap();
    let at = w.index;
    assert_eq!((first.create_index, first.modify_index), (at, at));
    assert_eq!((first.create_time, first.modify_time), (WALL, WALL));
    w.read(|r| {
        let row = r.row(Table::Variable, &keys::variable("default", "a/b")).unwrap().unwrap();
        assert_eq!(row.json, serde_json::to_vec(&first).unwrap(), "canonical");
    });
    for command in [put("2", Some(0)), put("2", Some(at + 1)), delete(Some(0))] {
        assert_eq!(w.run(&command), Applied::Conflict(Some(Box::new(first.clone()))));
    }
    // An identical value still counts as a change.
    assert_eq!(w.run(&put("1", None)), Applied::Done);
    let second = stored(&w).unwrap();
    assert_eq!((second.create_index, second.modify_index), (at, w.index));
    assert_eq!(w.run(&put("2", Some(second.modify_index))), Applied::Done);
    assert_eq!(stored(&w).unwrap().items["k"], "2");
    assert_eq!(w.run(&delete(Some(w.index))), Applied::Done);
    assert_eq!(stored(&w), None);
    assert_eq!(w.run(&delete(None)), Applied::Nothing);
}

#[test]
fn a_locked_variable_wants_its_lock() {
    let mut w = World::new();
    let locked = |id: &str| match put("1", None) {
        Command::VariablePut { mut variable, check, wall_ns } => {
            variable.lock = Some(VariableLock { id: id.into(), ..VariableLock::default() });
            Command::VariablePut { variable, check, wall_ns }
        }
        other => other,
    };
    let acquire = |id: &str| match locked(id) {
        Command::VariablePut { variable, wall_ns, .. } => {
            Command::VariableAcquire { variable, wall_ns }
        }
        other => other,
    };
    let release = |id: &str| Command::VariableRelease {
        namespace: "default".into(),
        path: "a/b".into(),
        id: id.into(),
        wall_ns: WALL,
    };
    let why = |applied: Applied| match applied {
        Applied::Refused(e) => e.text,
        other => format!("{other:?}"),
    };
    assert_eq!(why(w.run(&release("mine"))), "variable doesn't exist");
    assert_eq!(w.run(&locked("mine")), Applied::Conflict(None), "nobody holds it");
    assert_eq!(w.run(&acquire("mine")), Applied::Done);
    assert_eq!(w.run(&acquire("other")), Applied::Conflict(None));
    assert_eq!(w.run(&put("2", None)), Applied::Conflict(None));
    assert_eq!(w.run(&locked("other")), Applied::Conflict(None));
    assert_eq!(w.run(&delete(None)), Applied::Conflict(None));
    assert_eq!(w.run(&locked("mine")), Applied::Done);
    assert_eq!(w.run(&acquire("mine")), Applied::Done, "the holder may take it again");
    assert_eq!(w.run(&release("other")), Applied::Conflict(None));
    assert_eq!(w.run(&release("mine")), Applied::Done);
    let free = stored(&w).unwrap();
    assert_eq!((free.lock, free.items["k"].as_str()), (None, "1"));
    assert_eq!(why(w.run(&release("mine"))), "variable doesn't hold a lock");
    assert_eq!(w.run(&delete(None)), Applied::Done);
}

#[test]
fn every_cluster_begins_with_the_same_rows() {
    let mut w = World::new();
    w.run(&Command::Bootstrap { wall_ns: WALL });
    w.read(|r| {
        let n = r.namespace("default").unwrap().unwrap();
        assert_eq!((n.create_index, n.modify_index), (1, 1));
        let text = String::from_utf8(
            r.row(Table::Namespace, &keys::name("default")).unwrap().unwrap().json.to_vec(),
        )
        .unwrap();
        assert!(text.contains("\"Hash\":\"C7UbjDwBK0dK8wQq7Izg7SJIzaV+lIo2X7wRtzY3pSw=\""));
        let pools: Vec<_> = r
            .scan(Table::NodePool, b"", None, false)
            .unwrap()
            .map(|p| String::from_utf8(p.unwrap().0.to_vec()).unwrap())
            .collect();
        assert_eq!(pools, ["all", "default"]);
        assert!(r.scheduler_config().unwrap().preemption_config.system_scheduler_enabled);
    });
    w.run(&Command::Bootstrap { wall_ns: WALL });
    assert_eq!(w.touched.tables, 0);
}

#[test]
fn configurations_are_checked_and_stamped() {
    let mut w = World::new();
    w.run(&Command::Bootstrap { wall_ns: WALL });
    let set = |check| Command::SchedulerConfig {
        config: Box::new(SchedulerConfiguration {
            scheduler_algorithm: "spread".into(),
            ..SchedulerConfiguration::default()
        }),
        check,
    };
    assert_eq!(w.run(&set(Some(77))), Applied::Checked(false));
    assert_eq!(w.run(&set(Some(1))), Applied::Checked(true));
    let c = w.read(|r| r.scheduler_config().unwrap());
    assert_eq!((c.create_index, c.modify_index), (1, w.index));
    let document = |json: &str| Command::OperatorDocument {
        name: "autopilot".into(),
        json: json.into(),
        check: None,
    };
    let json = r#"{"LastContactThreshold":"200ms","CreateIndex":0,"ModifyIndex":0}"#;
    assert_eq!(w.run(&document(json)), Applied::Checked(true));
    let at = w.index;
    assert_eq!(w.run(&document(json)), Applied::Checked(true));
    let text = w.read(|r| {
        let row = r.row(Table::Operator, &keys::name("autopilot")).unwrap().unwrap();
        String::from_utf8(row.json.to_vec()).unwrap()
    });
    let next = at + 1;
    assert_eq!(
        text,
        format!(r#"{{"LastContactThreshold":"200ms","CreateIndex":{at},"ModifyIndex":{next}}}"#)
    );
    assert!(matches!(w.run(&document("no")), Applied::Refused(_)));
}

#[test]
fn namespaces_and_pools_come_and_go() {
    let mut w = World::new();
    let namespace = Namespace { name: "dev".into(), ..Namespace::default() };
    let upsert = Command::NamespaceUpsert { namespace: Box::new(namespace) };
    assert_eq!(w.run(&upsert), Applied::Done);
    assert_eq!(w.run(&upsert), Applied::Nothing);
    let pool = NodePool { name: "edge".into(), ..NodePool::default() };
    let upsert = Command::NodePoolUpsert { pool: Box::new(pool) };
    assert_eq!(w.run(&upsert), Applied::Done);
    assert_eq!(w.read(|r| r.node_pool("edge").unwrap().unwrap().modify_index), w.index);
    let refused = |w: &mut World, c: &Command| match w.run(c) {
        Applied::Refused(e) => e.text,
        other => panic!("{other:?}"),
    };
    let drop_namespace =
        |name: &str| Command::NamespaceDelete { name: name.into(), region: "eu".into() };
    let drop_pool = |name: &str| Command::NodePoolDelete { name: name.into(), region: "eu".into() };
    // In use: they stay.
    let user = Job {
        namespace: "dev".into(),
        node_pool: "edge".into(),
        status: "pending".into(),
        ..job("web")
    };
    w.register(&user, 1);
    w.run(&put_in("dev"));
    let mut user_node = node(7);
    user_node.node_pool = "edge".into();
    w.run(&register_node(&user_node));
    assert_eq!(
        refused(&mut w, &drop_namespace("dev")),
        "2 errors occurred:\n\t* namespace \"dev\" has non-terminal jobs in regions: [eu]\n\t* \
         namespace \"dev\" has variables associated with it in regions: [eu]\n\n"
    );
    assert_eq!(
        refused(&mut w, &drop_pool("edge")),
        "2 errors occurred:\n\t* node pool \"edge\" has non-terminal jobs in regions: [eu]\n\t* \
         node pool \"edge\" has nodes in regions: [eu]\n\n"
    );
    w.run(&Command::JobDeregister {
        namespace: "dev".into(),
        id: "web".into(),
        purge: true,
        no_shutdown_delay: false,
        eval: None,
        wall_ns: WALL,
    });
    w.run(&Command::VariableDelete { namespace: "dev".into(), path: "a".into(), check: None });
    w.run(&Command::NodePurge { ids: vec![user_node.id], evals: Vec::new() });
    assert_eq!(w.run(&drop_namespace("dev")), Applied::Done);
    assert_eq!(refused(&mut w, &drop_namespace("dev")), "namespace not found");
    // A job that was admitted a moment before.
    let late =
        Command::JobRegister { job: user.into(), submission: None, eval: None, enforce: None };
    let text = "job \"web\" is in nonexistent namespace \"dev\"";
    assert_eq!(refused(&mut w, &late), text);
    assert_eq!(w.run(&drop_pool("edge")), Applied::Done);
    assert_eq!(w.read(|r| r.node_pool("edge").unwrap()), None);
    // The built-in ones stay.
    w.run(&Command::Bootstrap { wall_ns: WALL });
    assert_eq!(refused(&mut w, &drop_namespace("default")), "can not delete default namespace");
    assert_eq!(refused(&mut w, &drop_pool("all")), "deleting node pool \"all\" is not allowed");
}

fn put_in(namespace: &str) -> Command {
    let variable =
        Box::new(Variable { namespace: namespace.into(), path: "a".into(), ..Variable::default() });
    Command::VariablePut { variable, check: None, wall_ns: WALL }
}

#[test]
fn an_entry_is_applied_once() {
    let mut w = World::new();
    w.run(&put("1", None));
    w.index -= 1;
    assert_eq!(w.run(&put("2", None)), Applied::Nothing);
    assert_eq!(stored(&w).unwrap().items["k"], "1");
}

/// Both replicas hold the same bytes, however the entries were batched.
#[test]
fn batching_does_not_show() {
    let commands: Vec<_> = (0..5)
        .map(|i| {
            let mut j = job("web");
            j.priority = 50 + i % 3;
            Command::JobRegister { job: j.into(), submission: None, eval: None, enforce: None }
        })
        .chain([put("1", None), put("1", None)])
        .collect();
    let mut one = World::new();
    for c in &commands {
        one.run(c);
    }
    let mut all = World::new();
    let mut batch = all.store.batch().unwrap();
    for (i, c) in (1..).zip(&commands) {
        batch.apply(i, c).unwrap();
    }
    batch.commit().unwrap();
    for table in Table::ALL {
        let bytes = |w: &World| {
            w.read(|r| {
                let rows = r.raw(table).unwrap();
                rows.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect::<Vec<_>>()
            })
        };
        assert_eq!(bytes(&one), bytes(&all), "{table:?}");
    }
}

#[test]
fn the_first_root_key_stays_and_its_secret_is_in_no_row() {
    let mut w = World::new();
    w.run(&Command::Bootstrap { wall_ns: WALL });
    let early = node(1);
    w.run(&register_node(&early));
    let key = |n: u8, secret: &str| Command::RootKey {
        id: super::id(b'k', n),
        public: Bytes(vec![n; 32]),
        modulus: Bytes::default(),
        secret: secret.into(),
        wall_ns: WALL,
        rotate: false,
        publish_ns: 0,
        full: false,
    };
    assert_eq!(w.run(&key(1, "c2VjcmV0")), Applied::Done);
    let at = w.index;
    assert_eq!(w.run(&key(2, "b3RoZXI=")), Applied::Nothing);
    assert_eq!(w.touched.tables, 0);
    let late = node(2);
    w.run(&register_node(&late));
    w.run(&Command::NodeStatus {
        id: early.id.clone(),
        status: "ready".into(),
        event: None,
        wall_ns: WALL,
        evals: vec![],
    });
    w.register(&job("web"), 1);
    let j = w.job("web");
    w.run(&super::plan(vec![super::alloc(1, &j, 2, 10)], vec![super::complete(1, &j)]));
    assert_eq!(w.alloc(1).signing_key_id, super::id(b'k', 1));
    w.read(|r| {
        let keys = r.root_keys().unwrap();
        assert_eq!(keys.len(), 1);
        let meta = &keys[0].meta;
        assert_eq!((meta.create_index, meta.modify_index, meta.create_time), (at, at, WALL));
        assert_eq!((meta.algorithm.as_str(), meta.state.as_str()), ("aes256-gcm", "active"));
        assert_eq!(keys[0].public_key.0, [1; 32]);
        let row = format!("{KEYRING}{}", super::id(b'k', 1));
        assert_eq!(r.secret(Table::Operator, row.as_bytes()).unwrap(), Some("c2VjcmV0"));
        for table in Table::ALL {
            for pair in r.scan(table, b"", None, false).unwrap() {
                let text = String::from_utf8(pair.unwrap().1.json.to_vec()).unwrap();
                assert!(!text.contains("c2VjcmV0"), "{text}");
            }
        }
        for id in [&early.id, &late.id] {
            assert_eq!(r.node(id).unwrap().unwrap().identity_signing_key_id, super::id(b'k', 1));
        }
    });
}

/// What must be there once is looked at as it is after all rows of a command: one that takes over
/// a name from another, which gives it up in the same command, does not clash.
#[test]
fn names_may_change_hands_in_one_command() {
    let mut w = World::new();
    let put = |table: &str, rows: [String; 2]| Command::AclPut {
        table: table.to_owned(),
        rows: rows.into(),
    };
    let role = |id: &str, name: &str| format!(r#"{{"ID":"{id}","Name":"{name}"}}"#);
    let method = |name: &str, is: bool| format!(r#"{{"Name":"{name}","Default":{is}}}"#);
    assert_eq!(w.run(&put("role", [role("1", "a"), role("2", "b")])), Applied::Done);
    assert_eq!(w.run(&put("role", [role("2", "a"), role("1", "b")])), Applied::Done);
    let both = w.run(&put("role", [role("1", "c"), role("3", "a")]));
    assert!(matches!(both, Applied::Refused(e) if e.text == "role with name a already exists"));
    let methods = |first, second| put("auth_method", [method("m", first), method("n", second)]);
    assert_eq!(w.run(&methods(true, false)), Applied::Done);
    assert_eq!(w.run(&methods(false, true)), Applied::Done);
    let third = put("auth_method", [method("l", true), method("m", false)]);
    let text = "default method already exists: n";
    assert!(matches!(w.run(&third), Applied::Refused(e) if e.text == text));
}
