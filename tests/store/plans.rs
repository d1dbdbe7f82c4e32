//! Plans: what is committed, what is refused.

use vardo::api::{
    AllocListStub, Allocation, Deployment, DeploymentState, HostVolume, Job, VolumeRequest,
};
use vardo::command::{AllocStop, Applied, Command, DeploymentUpdate, Placement, Plan};
use vardo::stdx::json;
use vardo::store::Table;

use super::{WALL, World, alloc, complete, id, job, node, pending, plan, register_node};

fn refused(applied: Applied) -> (Vec<String>, u64) {
    match applied {
        Applied::Plan { refused, refresh_index, .. } => (refused, refresh_index),
        other => panic!("{other:?}"),
    }
}

#[test]
fn placements_get_their_indexes_and_are_found_everywhere() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    let applied = w.run(&plan(vec![alloc(1, &j, 1, 10)], vec![complete(1, &j)]));
    assert_eq!(refused(applied), (Vec::new(), 0));
    let at = w.index;
    let a = w.alloc(1);
    assert_eq!((a.create_index, a.modify_index, a.alloc_modify_index), (at, at, at));
    assert_eq!((a.create_time, a.modify_time), (WALL, WALL));
    assert_eq!((a.client_status.as_str(), a.desired_status.as_str()), ("pending", "run"));
    assert_eq!(w.counts("web"), [0, 1, 0, 0, 0, 0]);
    assert!(w.touched.nodes_allocs.contains(&id(b'd', 1)));
    w.read(|r| {
        let ids = |allocs: Vec<Allocation>| -> Vec<String> {
            assert!(allocs.iter().all(|a| a.job.as_ref().is_some_and(|j| j.id == "web")));
            allocs.into_iter().map(|a| a.id).collect()
        };
        let one = [id(b'a', 1)];
        assert_eq!(ids(r.allocs_by_job("default", "web").unwrap()), one);
        assert_eq!(ids(r.allocs_by_node(&id(b'd', 1)).unwrap()), one);
        assert_eq!(ids(r.allocs_by_eval(&id(b'e', 1)).unwrap()), one);
        assert!(r.allocs_by_node(&id(b'd', 2)).unwrap().is_empty());
        assert!(r.allocs_by_node("no id").unwrap().is_empty());
        assert_eq!(r.usage_by_node("no id").unwrap().count(), 0);
        let usage: Vec<_> = r.usage_by_node(&id(b'd', 1)).unwrap().map(Result::unwrap).collect();
        assert_eq!((usage[0].1.cpu, usage[0].1.memory, usage[0].1.disk), (10, 10, 10));
        // The job is spliced in where its name sorts.
        let row = r.row(Table::Alloc, &usage[0].0).unwrap().unwrap();
        let mut out = Vec::new();
        r.alloc_json_with_job(&row, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let id = id(b'a', 1);
        assert!(text.contains(&format!("\"ID\":\"{id}\",\"Job\":{{\"Affinities\":null")), "{text}");
        assert!(text.contains("\"VersionTag\":null},\"JobID\":\"web\""), "{text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        let mut line = Vec::new();
        r.alloc_line(&row, false, true, &mut line).unwrap();
        let back: AllocListStub = json::decode(&line).unwrap();
        assert_eq!(String::from_utf8(line.clone()).unwrap(), {
            String::from_utf8(json::encode(&back)).unwrap()
        });
        let text = String::from_utf8(line).unwrap();
        assert!(text.contains("\"JobType\":\"service\",\"JobVersion\":0"), "{text}");
    });
}

#[test]
fn a_node_that_cannot_take_its_part_refuses_it() {
    let mut w = World::with_node();
    w.run(&register_node(&node(2)));
    w.register(&job("web"), 1);
    let j = w.job("web");
    // 600 of 1000 MHz, then 500 more: node 1 refuses, node 2 takes its part.
    w.run(&plan(vec![alloc(1, &j, 1, 600)], Vec::new()));
    let both = vec![alloc(2, &j, 1, 500), alloc(3, &j, 2, 500)];
    let applied = w.run(&plan(both, vec![complete(1, &j)]));
    assert_eq!(refused(applied), (vec![id(b'd', 1)], w.index));
    w.read(|r| {
        assert!(r.alloc(&id(b'a', 2)).unwrap().is_none());
        assert!(r.alloc(&id(b'a', 3)).unwrap().is_some());
        // The evaluation is not done then.
        assert_eq!(r.eval(&id(b'e', 1)).unwrap().unwrap().status, "pending");
    });
    // All or nothing.
    let all = Plan {
        all_at_once: true,
        places: vec![alloc(4, &j, 1, 500), alloc(5, &j, 2, 5)],
        ..Plan::default()
    };
    let applied = w.run(&Command::PlanApply { plan: Box::new(all), wall_ns: WALL });
    assert_eq!(refused(applied).0, [id(b'd', 1)]);
    assert_eq!(w.touched.tables, 0);
    // What leaves in the same plan makes room.
    let stop = AllocStop {
        id: id(b'a', 1),
        node_id: id(b'd', 1),
        desired_status: "stop".into(),
        desired_description: "alloc is being updated due to job update".into(),
        ..AllocStop::default()
    };
    let swap = Plan { stops: vec![stop], places: vec![alloc(2, &j, 1, 500)], ..Plan::default() };
    let applied = w.run(&Command::PlanApply { plan: Box::new(swap), wall_ns: 5 });
    assert!(refused(applied).0.is_empty());
    let a = w.alloc(1);
    assert_eq!((a.desired_status.as_str(), a.modify_index, a.modify_time), ("stop", w.index, 5));
    assert_eq!(a.alloc_modify_index, w.index);
    // It still runs, so its room is not free for others.
    let applied = w.run(&plan(vec![alloc(6, &j, 1, 100)], Vec::new()));
    assert_eq!(refused(applied).0.len(), 1);
}

#[test]
fn nodes_that_are_gone_down_or_closed_take_nothing_new() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    w.run(&plan(vec![alloc(1, &j, 1, 10)], Vec::new()));
    assert_eq!(refused(w.run(&plan(vec![alloc(2, &j, 9, 1)], Vec::new()))).0, [id(b'd', 9)]);
    let event = vardo::api::NodeEvent::default();
    w.run(&Command::NodeEligibility {
        id: id(b'd', 1),
        eligibility: "ineligible".into(),
        event,
        evals: Vec::new(),
    });
    assert_eq!(refused(w.run(&plan(vec![alloc(2, &j, 1, 1)], Vec::new()))).0.len(), 1);
    // In place is no new allocation.
    let mut update = alloc(1, &j, 1, 20);
    update.alloc.eval_id = id(b'e', 7);
    assert!(refused(w.run(&plan(vec![update], Vec::new()))).0.is_empty());
    let a = w.alloc(1);
    assert!(a.create_index < w.index);
    assert_eq!((a.eval_id, a.modify_index), (id(b'e', 7), w.index));
    let down = Command::NodeStatus {
        id: id(b'd', 1),
        status: "down".into(),
        event: None,
        wall_ns: WALL,
        evals: Vec::new(),
    };
    w.run(&down);
    assert_eq!(refused(w.run(&plan(vec![alloc(2, &j, 1, 1)], Vec::new()))).0.len(), 1);
    // Stops always pass.
    let lost = AllocStop {
        id: id(b'a', 1),
        node_id: id(b'd', 1),
        desired_status: "stop".into(),
        client_status: "lost".into(),
        ..AllocStop::default()
    };
    let stop = Plan { stops: vec![lost], ..Plan::default() };
    let applied = w.run(&Command::PlanApply { plan: Box::new(stop), wall_ns: WALL });
    assert!(refused(applied).0.is_empty());
    assert_eq!(w.counts("web"), [0, 0, 0, 0, 0, 1]);
    assert!(w.touched.nodes_freed.contains(&id(b'd', 1)));
    assert_eq!(w.read(|r| r.usage_by_node(&id(b'd', 1)).unwrap().count()), 0);
}

fn with_port(mut p: Placement, port: i64) -> Placement {
    let text = format!(
        r#"{{"DiskMB":1,"Networks":[{{"IP":"127.0.0.1","Mode":"host",
            "ReservedPorts":[{{"Label":"http","Value":{port}}}]}}],
            "Ports":[{{"HostIP":"127.0.0.1","Label":"http","Value":{port}}}]}}"#
    );
    let resources = p.alloc.allocated_resources.as_mut().expect("resources");
    std::rc::Rc::make_mut(resources).shared = json::decode(text.as_bytes()).expect("shared");
    p
}

#[test]
fn a_port_has_one_owner() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    let place = |n, port| plan(vec![with_port(alloc(n, &j, 1, 1), port)], Vec::new());
    assert!(refused(w.run(&place(1, 8080))).0.is_empty());
    assert_eq!(refused(w.run(&place(2, 8080))).0.len(), 1);
    assert!(refused(w.run(&place(3, 8081))).0.is_empty());
}

#[test]
fn successors_are_named_and_evaluations_written() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    w.run(&plan(vec![alloc(1, &j, 1, 10)], Vec::new()));
    let mut next = alloc(2, &j, 1, 10);
    next.alloc.previous_allocation = id(b'a', 1);
    let blocked = vardo::api::Evaluation { status: "blocked".into(), ..pending(2, &j) };
    w.run(&plan(vec![next], vec![complete(1, &j), blocked]));
    let a = w.alloc(1);
    assert_eq!((a.next_allocation, a.modify_index), (id(b'a', 2), w.index));
    w.read(|r| {
        let e = r.eval(&id(b'e', 2)).unwrap().unwrap();
        assert_eq!((e.create_index, e.modify_index, e.create_time), (w.index, w.index, WALL));
        let e = r.eval(&id(b'e', 1)).unwrap().unwrap();
        assert!(e.create_index < e.modify_index);
    });
    assert_eq!(w.touched.evals.len(), 1);
    assert_eq!(w.touched.evals_done, [id(b'e', 1)]);
}

#[test]
fn deployments_count_what_is_placed_and_healthy() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    let state =
        DeploymentState { desired_total: 1, progress_deadline: 600, ..DeploymentState::default() };
    let deployment = Deployment {
        id: id(b'c', 1),
        namespace: "default".into(),
        job_id: "web".into(),
        job_create_index: j.create_index,
        status: "running".into(),
        task_groups: vardo::stdx::BTreeMap::from([("app".to_owned(), state)]).into(),
        ..Deployment::default()
    };
    let mut place = alloc(1, &j, 1, 10);
    place.alloc.deployment_id = id(b'c', 1);
    let p = Plan {
        places: vec![place],
        deployment: Some(Box::new(deployment)),
        evals: vec![complete(1, &j)],
        ..Plan::default()
    };
    w.run(&Command::PlanApply { plan: Box::new(p), wall_ns: WALL });
    let latest = |w: &World| w.read(|r| r.deployment_latest("default", "web").unwrap().unwrap());
    let d = latest(&w);
    assert_eq!((d.create_index, d.modify_index, d.create_time), (w.index, w.index, WALL));
    let g = &d.task_groups["app"];
    assert_eq!((g.placed_allocs, g.healthy_allocs), (1, 0));
    assert_eq!(g.require_progress_by.0, WALL + 600);
    let healthy = vardo::command::AllocClientState {
        id: id(b'a', 1),
        client_status: "running".into(),
        deployment_status: json::decode(br#"{"Healthy":true,"Timestamp":"2026-11-23T10:00:00Z"}"#)
            .unwrap(),
        ..Default::default()
    };
    let report =
        Command::AllocClientUpdate { updates: vec![healthy], evals: Vec::new(), wall_ns: WALL + 1 };
    w.run(&report);
    let d = latest(&w);
    let g = &d.task_groups["app"];
    assert_eq!((g.placed_allocs, g.healthy_allocs, g.unhealthy_allocs), (1, 1, 0));
    assert!(g.require_progress_by.0 > WALL + 600);
    assert_eq!((d.modify_index, d.modify_time), (w.index, WALL + 1));
    assert_eq!(w.alloc(1).deployment_status.unwrap().modify_index, w.index);
    // The same report again is no news.
    w.run(&report);
    assert_eq!(w.touched.tables, 0);
    let update = DeploymentUpdate {
        id: id(b'c', 1),
        status: "successful".into(),
        status_description: "Deployment completed successfully".into(),
        ..DeploymentUpdate::default()
    };
    let p = Plan { deployment_updates: vec![update], ..Plan::default() };
    w.run(&Command::PlanApply { plan: Box::new(p), wall_ns: WALL });
    assert_eq!(latest(&w).status, "successful");
    let j = w.job("web");
    assert_eq!((j.stable, j.modify_index), (true, w.index));
}

#[test]
fn an_allocation_shows_its_job_as_it_was_registered() {
    let mut w = World::with_node();
    w.register(&job("web"), 1);
    let j = w.job("web");
    w.run(&plan(vec![alloc(1, &j, 1, 10)], vec![complete(1, &j)]));
    let seen = |w: &World| {
        let j = w.read(|r| r.alloc_with_job(&id(b'a', 1)).unwrap().unwrap().job.unwrap());
        (j.status.clone(), j.version, j.modify_index, j.stable)
    };
    let then = ("pending".to_owned(), 0, j.modify_index, false);
    assert_eq!(w.job("web").status, "running");
    assert_eq!(seen(&w), then);
    // Another version, a stop, a purge: the same.
    let mut next = job("web");
    next.priority = 1;
    w.register(&next, 2);
    assert_eq!(seen(&w), then);
    for (purge, eval) in [(false, 3), (true, 4)] {
        w.run(&Command::JobDeregister {
            namespace: "default".into(),
            id: "web".into(),
            purge,
            no_shutdown_delay: false,
            eval: Some(Box::new(pending(eval, &j))),
            wall_ns: 1,
        });
        assert_eq!(seen(&w), then, "{purge}");
    }
    // With the last allocation, the hidden version goes.
    w.run(&Command::Reap {
        evals: Vec::new(),
        allocs: vec![id(b'a', 1)],
        deployments: Vec::new(),
        jobs: Vec::new(),
        nodes: Vec::new(),
    });
    assert!(w.read(|r| r.raw(Table::JobVersion).unwrap().is_empty()));
}

/// Two schedulers, or two jobs of one turn, may choose the same volume: one of them gets it.
#[test]
fn a_volume_has_one_lone_writer() {
    let mut w = World::with_node();
    let mut node = node(1);
    let listed = r#"{"data":{"ID":"55555555-0000-4000-8000-000000000001","Name":"data"}}"#;
    node.host_volumes = json::decode(listed.as_bytes()).unwrap();
    w.run(&register_node(&node));
    let volume = HostVolume {
        id: "55555555-0000-4000-8000-000000000001".into(),
        name: "data".into(),
        namespace: "default".into(),
        node_id: id(b'd', 1),
        ..HostVolume::default()
    };
    w.run(&Command::HostVolumePut { volume: Box::new(volume), wall_ns: WALL });
    let asks = |name: &str, mode: &str, read_only: bool| {
        let mut job: Job = job(name);
        let request = VolumeRequest {
            access_mode: mode.into(),
            kind: "host".into(),
            source: "data".into(),
            read_only,
            ..VolumeRequest::default()
        };
        job.task_groups[0].volumes.insert("v".into(), request);
        job
    };
    for (n, name, mode, read_only) in [
        (1, "one", "single-node-single-writer", false),
        (2, "two", "single-node-single-writer", false),
        (3, "reader", "single-node-single-writer", true),
        (4, "other", "single-node-multi-writer", false),
    ] {
        w.register(&asks(name, mode, read_only), n);
        let j = w.job(name);
        let applied = w.run(&plan(vec![alloc(n, &j, 1, 10)], Vec::new()));
        assert_eq!(refused(applied).0.len(), usize::from(name == "two"), "{name}");
    }
    // Once it leaves, in the same plan too, another may come.
    let stop = |n| AllocStop {
        id: id(b'a', n),
        node_id: id(b'd', 1),
        desired_status: "stop".into(),
        ..AllocStop::default()
    };
    let j = w.job("two");
    let both = vec![alloc(5, &j, 1, 10), alloc(6, &j, 1, 10)];
    let swap = |places| Plan { stops: vec![stop(1), stop(4)], places, ..Plan::default() };
    let run = |w: &mut World, places| {
        let plan = Box::new(swap(places));
        refused(w.run(&Command::PlanApply { plan, wall_ns: WALL })).0.len()
    };
    assert_eq!(run(&mut w, both), 1, "not two of one plan either");
    assert_eq!(run(&mut w, vec![alloc(5, &j, 1, 10)]), 0);
}
