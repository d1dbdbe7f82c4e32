//! Registration and what follows from it.

use vardo::api::{Evaluation, JobSubmission, JobVersionTag, PeriodicConfig, TaskGroup};
use vardo::command::{Applied, Command, JobApplied};
use vardo::store::{Table, keys};

use super::{World, alloc, complete, id, job, pending, plan};

#[test]
fn a_new_job_is_written_at_one_index() {
    let mut w = World::with_node();
    let submission = JobSubmission { source: "job {}".into(), ..JobSubmission::default() };
    let done = w.run(&Command::JobRegister {
        job: job("web").into(),
        submission: Some(Box::new(submission)),
        eval: Some(Box::new(pending(1, &job("web")))),
        enforce: Some(0),
    });
    let at = w.index;
    assert_eq!(
        done,
        Applied::Job(JobApplied {
            index: at,
            job_modify_index: at,
            eval_id: id(b'e', 1),
            eval_create_index: at,
        })
    );
    let j = w.job("web");
    assert_eq!((j.version, j.create_index, j.modify_index, j.job_modify_index), (0, at, at, at));
    assert_eq!(j.status, "pending");
    w.read(|r| {
        let e = r.eval(&id(b'e', 1)).unwrap().unwrap();
        assert_eq!((e.create_index, e.modify_index, e.job_modify_index), (at, at, at));
        let s = r.job_submission("default", "web", 0).unwrap().unwrap();
        assert_eq!(
            (s.source.as_str(), s.job_modify_index, s.job_id.as_str()),
            ("job {}", at, "web")
        );
        let stub = r.stub(Table::Job, &keys::job("default", "web")).unwrap().unwrap();
        let text = std::str::from_utf8(stub.json).unwrap();
        let zeros = r#""Complete":0,"Failed":0,"Lost":0,"Queued":0,"Running":0,"Starting":0"#;
        for part in [
            format!("{{\"CreateIndex\":{at},\"Datacenters\":null,\"ID\":\"web\""),
            format!("\"JobModifyIndex\":{at},\"JobSummary\":{{\"Children\":{{\"Dead\":0"),
            format!("\"Summary\":{{\"app\":{{{zeros},\"Unknown\":0}}}}"),
            format!("\"ModifyIndex\":{at},\"Multiregion\":null"),
            "\"Status\":\"pending\"".to_owned(),
        ] {
            assert!(text.contains(&part), "{part} in {text}");
        }
        // The row is what a GET returns, in canonical form.
        let row = r.row(Table::Job, &keys::job("default", "web")).unwrap().unwrap();
        assert_eq!(row.json, serde_json::to_vec(&j).unwrap());
    });
    assert_eq!(w.touched.evals.len(), 1);
}

#[test]
fn the_same_spec_again_only_gets_an_evaluation() {
    let mut w = World::with_node();
    let first = w.register(&job("web"), 1);
    let mut again = job("web");
    again.submit_time += 5;
    again.version = 17;
    again.status = "nonsense".into();
    let before = w.job("web");
    let done = w.register(&again, 2);
    assert_eq!(done.job_modify_index, first.index);
    assert_eq!((done.index, done.eval_create_index), (w.index, w.index));
    assert_eq!(w.job("web"), before);
    assert_eq!(w.touched.tables, Table::Eval.bit());
    // Without an evaluation nothing is written at all.
    let applied = w.run(&Command::JobRegister {
        job: again.into(),
        submission: None,
        eval: None,
        enforce: None,
    });
    assert_eq!(
        applied,
        Applied::Job(JobApplied {
            index: first.index,
            job_modify_index: first.index,
            ..JobApplied::default()
        })
    );
    assert_eq!(w.touched.tables, 0);
}

#[test]
fn a_changed_spec_is_a_new_version() {
    let mut w = World::with_node();
    let first = w.register(&job("web"), 1);
    let mut next = job("web");
    next.priority = 60;
    next.task_groups.push(TaskGroup { name: "db".into(), ..TaskGroup::default() });
    w.register(&next, 2);
    let j = w.job("web");
    assert_eq!((j.version, j.create_index, j.job_modify_index), (1, first.index, w.index));
    w.read(|r| {
        let versions = r.job_versions("default", "web").unwrap();
        let seen: Vec<_> = versions.iter().map(|v| (v.version, v.priority)).collect();
        assert_eq!(seen, [(1, 60), (0, 50)]);
        let s = r.job_summary("default", "web").unwrap().unwrap();
        assert_eq!(s.summary.keys().collect::<Vec<_>>(), ["app", "db"]);
        assert_eq!((s.create_index, s.modify_index), (first.index, w.index));
    });
}

#[test]
fn an_enforced_index_is_checked() {
    let mut w = World::with_node();
    let mut register = |enforce, priority| {
        let mut j = job("web");
        j.priority = priority;
        let applied = w.run(&Command::JobRegister {
            job: j.into(),
            submission: None,
            eval: None,
            enforce: Some(enforce),
        });
        match applied {
            Applied::Refused(e) => Err(e.text),
            Applied::Job(done) => Ok(done.index),
            other => panic!("{other:?}"),
        }
    };
    let text = |n: u64, why: &str| Err(format!("Enforcing job modify index {n}: {why}"));
    assert_eq!(register(9, 50), text(9, "job does not exist"));
    let at = register(0, 50).unwrap();
    assert_eq!(register(0, 51), text(0, "job already exists"));
    assert_eq!(
        register(99, 51),
        text(99, &format!("job exists with conflicting job modify index: {at}"))
    );
    register(at, 51).unwrap();
}

#[test]
fn the_status_follows_from_evaluations_and_allocations() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    w.run(&plan(vec![alloc(1, &j, 1, 10)], vec![complete(1, &j)]));
    let running = w.job("web");
    assert_eq!(running.status, "running");
    assert_eq!((running.modify_index, running.job_modify_index), (w.index, j.job_modify_index));
    let stop = Command::JobDeregister {
        namespace: "default".into(),
        id: "web".into(),
        purge: false,
        no_shutdown_delay: true,
        eval: Some(Box::new(pending(2, &j))),
        wall_ns: 77,
    };
    w.run(&stop);
    let stopped = w.job("web");
    assert_eq!((stopped.stop, stopped.version, stopped.submit_time), (true, 1, 77));
    assert_eq!((stopped.status.as_str(), stopped.job_modify_index), ("running", w.index));
    assert_eq!(w.alloc(1).desired_transition.no_shutdown_delay, Some(true));
    let mut ended = vardo::command::AllocClientState {
        id: id(b'a', 1),
        client_status: "complete".into(),
        ..Default::default()
    };
    w.run(&Command::AllocClientUpdate {
        updates: vec![ended.clone()],
        evals: Vec::new(),
        wall_ns: 1,
    });
    assert_eq!(w.job("web").status, "pending");
    w.run(&Command::EvalUpsert { evals: vec![complete(2, &j)] });
    assert_eq!(w.job("web").status, "dead");
    // Old evaluations may go; the job does not come back to life by that.
    w.run(&Command::Reap {
        evals: vec![id(b'e', 1), id(b'e', 2)],
        allocs: Vec::new(),
        deployments: Vec::new(),
        jobs: Vec::new(),
        nodes: Vec::new(),
    });
    ended.client_description = "gone".into();
    w.run(&Command::AllocClientUpdate { updates: vec![ended], evals: Vec::new(), wall_ns: 2 });
    assert_eq!(w.job("web").status, "dead");
    w.read(|r| {
        let stub = r.stub(Table::Job, &keys::job("default", "web")).unwrap().unwrap();
        assert!(std::str::from_utf8(stub.json).unwrap().contains("\"Status\":\"dead\""));
        assert!(r.evals_by_job("default", "web").unwrap().is_empty());
        assert_eq!(r.created(Table::Eval, None, false).unwrap().count(), 0);
    });
}

#[test]
fn six_versions_are_kept_and_those_in_use_hidden() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let first = w.job("web");
    w.run(&plan(vec![alloc(1, &first, 1, 10)], vec![complete(1, &first)]));
    w.run(&Command::JobTag {
        namespace: "default".into(),
        id: "web".into(),
        version: 0,
        tag: None,
    });
    let mut next = job("web");
    for v in 1..=9u8 {
        next.priority = 50 + i64::from(v);
        w.register(&next, 1 + v);
        if v == 2 {
            let tag = JobVersionTag { name: "good".into(), ..JobVersionTag::default() };
            w.run(&Command::JobTag {
                namespace: "default".into(),
                id: "web".into(),
                version: 2,
                tag: Some(tag),
            });
        }
    }
    w.read(|r| {
        let versions = r.job_versions("default", "web").unwrap();
        let numbers: Vec<_> = versions.iter().map(|v| v.version).collect();
        assert_eq!(numbers, [9, 8, 7, 6, 5, 4, 2]);
        assert_eq!(versions[6].version_tag.as_ref().unwrap().name, "good");
        // Version 0 still runs; its allocation finds it.
        let a = r.alloc_with_job(&id(b'a', 1)).unwrap().unwrap();
        assert_eq!(a.job.unwrap().version, 0);
        let create = first.create_index;
        assert!(r.job_version("default", "web", create, 0).unwrap().is_some());
        assert!(r.job_version("default", "web", create, 1).unwrap().is_none());
    });
    w.run(&Command::Reap {
        evals: Vec::new(),
        allocs: vec![id(b'a', 1)],
        deployments: Vec::new(),
        jobs: Vec::new(),
        nodes: Vec::new(),
    });
    w.read(|r| {
        let gone = r.job_version("default", "web", first.create_index, 0).unwrap();
        assert!(gone.is_none());
        assert!(r.alloc_ids_by_node(&id(b'd', 1)).unwrap().is_empty());
    });
}

#[test]
fn a_purge_leaves_nothing_of_the_job() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let deregister = Command::JobDeregister {
        namespace: "default".into(),
        id: "web".into(),
        purge: true,
        no_shutdown_delay: false,
        eval: Some(Box::new(pending(2, &job("web")))),
        wall_ns: 1,
    };
    assert!(matches!(w.run(&deregister), Applied::Job(_)));
    w.read(|r| {
        for table in [Table::Job, Table::JobSummary, Table::JobVersion, Table::JobSubmission] {
            assert!(r.raw(table).unwrap().is_empty(), "{table:?}");
            assert!(table == Table::JobSubmission || r.table_index(table) == w.index);
        }
        assert!(r.eval(&id(b'e', 2)).unwrap().is_some());
    });
    let at = w.read(|r| r.tables_index(u32::MAX));
    assert_eq!(w.run(&deregister), Applied::Nothing);
    assert_eq!(w.read(|r| r.tables_index(u32::MAX)), at, "no table moved");
}

#[test]
fn periodic_parents_run_and_count_their_children() {
    let mut w = World::with_node();
    let parent = vardo::api::Job {
        kind: "batch".into(),
        periodic: Some(PeriodicConfig::default()),
        ..job("cron")
    };
    w.run(&Command::JobRegister {
        job: parent.into(),
        submission: None,
        eval: None,
        enforce: None,
    });
    assert_eq!(w.job("cron").status, "running");
    let child = vardo::api::Job {
        kind: "batch".into(),
        parent_id: "cron".into(),
        ..job("cron/periodic-1")
    };
    w.register(&child, 1);
    let children = |w: &World| {
        let c = w.read(|r| r.job_summary("default", "cron").unwrap().unwrap().children.unwrap());
        [c.pending, c.running, c.dead]
    };
    assert_eq!(children(&w), [1, 0, 0]);
    let child = w.job("cron/periodic-1");
    w.run(&plan(vec![alloc(1, &child, 1, 10)], vec![complete(1, &child)]));
    assert_eq!(children(&w), [0, 1, 0]);
    let ended = vardo::command::AllocClientState {
        id: id(b'a', 1),
        client_status: "complete".into(),
        ..Default::default()
    };
    w.run(&Command::AllocClientUpdate { updates: vec![ended], evals: Vec::new(), wall_ns: 1 });
    assert_eq!(children(&w), [0, 0, 1]);
    assert_eq!(w.job("cron/periodic-1").status, "dead");
    w.run(&Command::Reap {
        evals: Vec::new(),
        allocs: Vec::new(),
        deployments: Vec::new(),
        jobs: vec![("default".into(), "cron/periodic-1".into())],
        nodes: Vec::new(),
    });
    assert_eq!(children(&w), [0, 0, 0]);
}

#[test]
fn a_token_dispatches_once_while_its_child_lives() {
    let mut w = World::with_node();
    w.register(&vardo::api::Job { kind: "batch".into(), ..job("tmpl") }, 9);
    let child = |n: u8, token: &str| vardo::api::Job {
        kind: "batch".into(),
        parent_id: "tmpl".into(),
        dispatched: true,
        dispatch_idempotency_token: token.into(),
        ..job(&format!("tmpl/dispatch-{n}"))
    };
    let register = |w: &mut World, job: vardo::api::Job| {
        let eval = Some(Box::new(pending(1, &job)));
        w.run(&Command::JobRegister { job: job.into(), submission: None, eval, enforce: None })
    };
    let is_new = |applied: Applied| matches!(applied, Applied::Job(_));
    assert!(is_new(register(&mut w, child(1, "a"))));
    assert_eq!(register(&mut w, child(2, "a")), Applied::Nothing);
    assert!(is_new(register(&mut w, child(3, "b"))));
    assert!(is_new(register(&mut w, child(4, ""))));
    assert!(is_new(register(&mut w, child(5, ""))));
    w.read(|r| {
        assert!(r.job("default", "tmpl/dispatch-2").unwrap().is_none());
        let one = r.dispatched("default", "tmpl", "a").unwrap().unwrap();
        assert_eq!(one.id, "tmpl/dispatch-1");
        assert!(r.dispatched("default", "tmpl", "").unwrap().is_none());
    });
    w.run(&Command::JobDeregister {
        namespace: "default".into(),
        id: "tmpl/dispatch-1".into(),
        purge: true,
        no_shutdown_delay: false,
        eval: None,
        wall_ns: 1,
    });
    assert!(is_new(register(&mut w, child(6, "a"))));
}

#[test]
fn a_run_that_placed_all_cancels_blocked_evaluations() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let blocked = Evaluation { status: "blocked".into(), ..pending(2, &job("web")) };
    w.run(&Command::EvalUpsert { evals: vec![blocked] });
    assert_eq!(w.read(|r| r.live_evals().unwrap().len()), 2);
    w.run(&Command::EvalUpsert { evals: vec![complete(1, &job("web"))] });
    let e = w.read(|r| r.eval(&id(b'e', 2)).unwrap().unwrap());
    assert_eq!(e.status, "canceled");
    assert_eq!(e.status_description, format!("evaluation \"{}\" successful", id(b'e', 1)));
    assert_eq!(w.touched.evals_done, [id(b'e', 2), id(b'e', 1)]);
    assert_eq!(w.job("web").status, "dead");
}

#[test]
fn lists_are_ordered() {
    let mut w = World::with_node();
    for (n, name) in ["b", "a/x", "a", "ab"].iter().enumerate() {
        w.register(&job(name), u8::try_from(9 - n).unwrap());
    }
    w.read(|r| {
        let names = |prefix: &str, start: Option<&str>, reverse| -> Vec<String> {
            let start = start.map(|s| keys::job("default", s));
            r.stubs(Table::Job, &keys::job("default", prefix), start.as_deref(), reverse)
                .unwrap()
                .map(|p| keys::split(p.unwrap().0).unwrap().1.to_owned())
                .collect()
        };
        assert_eq!(names("", None, false), ["a", "a/x", "ab", "b"]);
        assert_eq!(names("", None, true), ["b", "ab", "a/x", "a"]);
        assert_eq!(names("a", Some("a/x"), false), ["a/x", "ab"]);
        assert_eq!(names("a", Some("a/x"), true), ["a/x", "a"]);
        assert_eq!(names("a", Some("zz"), true), ["ab", "a/x", "a"]);
        assert!(names("zz", None, false).is_empty());
        let evals: Vec<_> = r
            .created(Table::Eval, None, false)
            .unwrap()
            .map(|l| l.map(|l| (l.create, l.id[15], l.namespace.to_owned())).unwrap())
            .collect();
        let ids: Vec<_> = evals.iter().map(|e| e.1).collect();
        assert_eq!(ids, [9, 8, 7, 6]);
        assert!(evals.iter().all(|e| e.2 == "default"));
        let from = (evals[2].0, keys::by_uuid(&id(b'e', 7)).unwrap());
        assert_eq!(r.created(Table::Eval, Some(from), false).unwrap().count(), 2);
        assert_eq!(r.created(Table::Eval, Some(from), true).unwrap().count(), 3);
    });
}

#[test]
fn stability_is_kept_per_version() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let stable = |version, stable| Command::JobStability {
        namespace: "default".into(),
        id: "web".into(),
        version,
        stable,
    };
    assert_eq!(w.run(&stable(0, true)), Applied::Done);
    let j = w.job("web");
    assert_eq!((j.stable, j.modify_index), (true, w.index));
    let mut next = job("web");
    next.priority = 1;
    w.register(&next, 2);
    let flags = |w: &World| -> Vec<bool> {
        w.read(|r| r.job_versions("default", "web").unwrap().iter().map(|v| v.stable).collect())
    };
    assert_eq!(flags(&w), [false, true]);
    w.run(&stable(0, false));
    assert_eq!(flags(&w), [false, false]);
    match w.run(&stable(9, true)) {
        Applied::Refused(e) => {
            assert_eq!(e.text, "job \"web\" in namespace \"default\" at version 9 not found");
        }
        other => panic!("{other:?}"),
    }
}
