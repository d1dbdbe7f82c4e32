//! Services and their checks, in virtual time.

use super::*;
use crate::api::{
    AllocDeploymentStatus, AllocatedPortMapping, AllocatedResources, CheckRestart, Service,
    ServiceCheck,
};

fn service(name: &str, label: &str) -> Service {
    Service {
        name: name.to_owned(),
        provider: "nomad".to_owned(),
        port_label: label.to_owned(),
        address_mode: "auto".to_owned(),
        ..Service::default()
    }
}

fn check(kind: &str) -> ServiceCheck {
    ServiceCheck {
        name: "alive".to_owned(),
        kind: kind.to_owned(),
        path: "/health".to_owned(),
        protocol: "http".to_owned(),
        interval: 5 * S,
        timeout: 2 * S,
        ..ServiceCheck::default()
    }
}

/// With a port `http` of the group.
fn with_port(mut a: Rc<Allocation>) -> Rc<Allocation> {
    let mut given = AllocatedResources::default();
    given.shared.ports.push(AllocatedPortMapping {
        host_ip: "127.0.0.1".to_owned(),
        label: "http".to_owned(),
        to: 8080,
        value: 22518,
        ..AllocatedPortMapping::default()
    });
    Rc::make_mut(&mut a).allocated_resources = Some(given.into());
    a
}

fn serving(services: Vec<Service>, task_services: Vec<Service>) -> Rc<Allocation> {
    let mut g = group(1, vec![Task { services: task_services.into(), ..program("web") }]);
    g.services = services.into();
    with_port(alloc("a", "service", g))
}

/// `name address:port tags` of all that the servers know.
fn known(w: &mut World) -> Vec<String> {
    w.advance_ms(20);
    let services = w.server.get("a").and_then(|u| u.services.clone()).unwrap_or_default();
    let line = |s: &crate::api::ServiceRegistration| {
        format!("{} {}:{} {}", s.service_name, s.address, s.port, s.tags.join(","))
    };
    services.iter().map(line).collect()
}

fn results(w: &mut World) -> String {
    w.ask(ClientRequest::Checks { alloc: "a".to_owned() }).unwrap()
}

impl World {
    /// The only open probe goes on so.
    fn probe(&mut self, events: &[ProbeEvent]) {
        assert_eq!(self.probes.len(), 1, "{:?}", self.probes);
        let key = self.probes.keys().next().unwrap().clone();
        for event in events {
            self.input(ClientInput::Probe(key.clone(), event.clone()));
        }
        assert!(self.probes.is_empty());
    }

    fn answer(&mut self, status: u16) {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\nbody");
        self.probe(&[ProbeEvent::Connected, ProbeEvent::Data(text.into_bytes())]);
    }

    fn refuse(&mut self) {
        self.probe(&[ProbeEvent::Closed("connection refused".to_owned())]);
    }
}

#[test]
fn services_are_there_while_their_tasks_run() {
    let mut group_service = service("api-${NOMAD_ALLOC_INDEX}", "http");
    group_service.tags = vec!["v-${node.datacenter}".to_owned()].into();
    let inside = Service { address_mode: "driver".to_owned(), ..service("inside", "http") };
    let fixed = Service { address: "10.1.2.3".to_owned(), ..service("fixed", "9000") };
    let elsewhere = Service { provider: "consul".to_owned(), ..service("elsewhere", "http") };
    let a = serving(vec![group_service, elsewhere], vec![inside, fixed, service("bare", "")]);
    let mut w = World::new();
    w.obedient = false;
    w.pull(&[&a]);
    assert_eq!(known(&mut w), Vec::<String>::new());
    let run_dir = w.starts[0].run_dir.clone();
    w.started("a", "web", &run_dir);
    let all = [
        "api-0 127.0.0.1:22518 v-dc1",
        "inside 127.0.0.1:8080 ",
        "fixed 10.1.2.3:9000 ",
        "bare :0 ",
    ];
    assert_eq!(known(&mut w), all);
    let first = w.server["a"].services.as_ref().unwrap()[0].clone();
    assert_eq!(first.id, "_nomad-task-a-group-app-api-0-http");
    assert_eq!((first.node_id.as_str(), first.datacenter.as_str()), ("node", "dc1"));
    let second = &w.server["a"].services.as_ref().unwrap()[1];
    assert_eq!(second.id, "_nomad-task-a-web-inside-http");

    // While it waits for its restart nobody is sent there.
    w.obedient = true;
    w.exit("a", "web", 1);
    assert_eq!(known(&mut w), Vec::<String>::new());
    w.advance_ms(2_000);
    assert_eq!(known(&mut w).len(), 4);

    // And none comes before the end of what is asked to stop.
    w.pull(&[&stopped(&a)]);
    assert_eq!(known(&mut w), Vec::<String>::new());
    assert_eq!(w.state("a", "web"), "running");
}

#[test]
fn canaries_have_tags_of_their_own_until_they_are_promoted() {
    let mut s = service("api", "http");
    s.tags = vec!["live".to_owned()].into();
    s.canary_tags = vec!["canary".to_owned()].into();
    let mut a = serving(vec![s], Vec::new());
    let canary = |yes| Some(AllocDeploymentStatus { canary: yes, ..Default::default() });
    Rc::make_mut(&mut a).deployment_status = canary(true);
    let mut w = World::new();
    w.pull(&[&a]);
    assert_eq!(known(&mut w), ["api 127.0.0.1:22518 canary"]);
    let alloc = Rc::make_mut(&mut a);
    alloc.deployment_status = canary(false);
    alloc.alloc_modify_index += 1;
    w.pull(&[&a]);
    assert_eq!(known(&mut w), ["api 127.0.0.1:22518 live"]);
}

#[test]
fn an_agent_that_comes_back_tells_all_services_again() {
    let mut w = World::new();
    let a = serving(vec![service("api", "http")], Vec::new());
    w.pull(&[&a]);
    assert_eq!(known(&mut w).len(), 1);
    let mut w = w.restart_agent(config());
    // The task has not answered yet and counts as what it was.
    assert_eq!(known(&mut w).len(), 1);
    w.event("a", "web", ExecutorEvent::Lost { reason: "gone".to_owned() });
    assert_eq!(known(&mut w).len(), 0);
    w.advance_ms(2_000);
    assert_eq!(known(&mut w).len(), 1);
    w.server.clear();
    w.input(ClientInput::ServerLost);
    w.input(ClientInput::Registered { ttl_ns: 10 * S.unsigned_abs() });
    assert_eq!(known(&mut w).len(), 1);
}

#[test]
fn an_http_check_asks_and_judges() {
    let mut c = check("http");
    c.header.insert("X-From".to_owned(), vec!["${NOMAD_JOB_ID}".to_owned()].into());
    c.path = "health check?a=1".to_owned();
    let s = Service { checks: vec![c].into(), ..service("api", "http") };
    let mut w = World::new();
    w.pull(&[&serving(vec![s], Vec::new())]);
    assert!(results(&mut w).contains(r#""Status":"pending""#));
    let (to, request) = w.probes.values().next().unwrap().clone();
    assert_eq!(to, "127.0.0.1:22518");
    assert!(request.starts_with("GET /health%20check?a=1 HTTP/1.1\r\nHost: 127.0.0.1:22518\r\n"));
    assert!(request.contains("\r\nX-From: j\r\n"), "{request}");
    assert!(request.ends_with("\r\nConnection: close\r\n\r\n"), "{request}");
    w.answer(200);
    let ok = results(&mut w);
    assert!(ok.contains(r#""Mode":"healthiness","Output":"nomad: http ok","Service":"api""#));
    assert!(ok.contains(r#""Status":"success","StatusCode":200,"Timestamp":1000}"#), "{ok}");
    assert!(ok.contains(r#""Check":"alive","Group":"j.app[0]","ID":""#), "{ok}");

    // Nothing before the interval is over; then one at a time, and a silent one is given up.
    w.advance_ms(4_900);
    assert!(w.probes.is_empty());
    w.advance_ms(200);
    assert_eq!(w.probes.len(), 1);
    w.advance_ms(2_000);
    assert!(results(&mut w).contains(r#""Output":"nomad: no answer within 2s""#));
    w.advance_ms(3_000);
    for (status, text) in [(503, "failure"), (429, "failure"), (302, "failure"), (201, "success")] {
        w.answer(status);
        let all = results(&mut w);
        assert!(all.contains(&format!(r#""Status":"{text}","StatusCode":{status},"#)), "{all}");
        w.advance_ms(5_000);
    }
    w.probe(&[ProbeEvent::Connected, ProbeEvent::Closed(String::new())]);
    assert!(results(&mut w).contains("closed without an answer"));
}

#[test]
fn checks_end_with_their_task() {
    let s = Service { checks: vec![check("tcp")].into(), ..service("api", "http") };
    let mut w = World::new();
    let a = serving(Vec::new(), vec![s]);
    w.pull(&[&a]);
    assert_eq!(w.probes.values().next().unwrap().1, "");
    w.probe(&[ProbeEvent::Connected]);
    assert!(results(&mut w).contains(r#""Output":"nomad: tcp ok""#));
    assert!(results(&mut w).contains(r#""Task":"web""#));
    w.advance_ms(5_000);
    w.pull(&[&stopped(&a)]);
    assert!(w.probes.is_empty(), "an open probe of a task that is gone");
    assert_eq!(results(&mut w), "null");
    w.obey("a", "web");
    w.advance_ms(60_000);
    assert!(w.probes.is_empty());
}

#[test]
fn what_cannot_be_asked_says_so() {
    for (s, c, why) in [
        (service("api", ""), check("tcp"), "nomad: the check has no port"),
        (
            service("api", "http"),
            ServiceCheck { method: "GET /x".to_owned(), ..check("http") },
            "nomad: invalid method",
        ),
        (
            service("api", "http"),
            ServiceCheck {
                header: BTreeMap::from([("A\r\nB".to_owned(), vec!["x".to_owned()].into())]).into(),
                ..check("http")
            },
            "nomad: invalid header field",
        ),
    ] {
        let s = Service { checks: vec![c].into(), ..s };
        let mut w = World::new();
        w.pull(&[&serving(vec![s], Vec::new())]);
        let all = results(&mut w);
        assert!(all.contains(why) && w.probes.is_empty(), "{all}");
    }
}

/// With a check that restarts its task.
fn restarting(limit: i64, ignore_warnings: bool) -> World {
    let terms = CheckRestart { limit, grace: Some(3 * S), ignore_warnings };
    let c =
        ServiceCheck { check_restart: Some(terms), task_name: "web".to_owned(), ..check("http") };
    let s = Service { checks: vec![c].into(), ..service("api", "http") };
    let mut w = World::new();
    w.pull(&[&serving(Vec::new(), vec![s])]);
    w.logged();
    w
}

#[test]
fn a_check_that_fails_too_often_restarts_its_task_within_the_policy() {
    let mut w = restarting(2, false);
    // Within the grace it does not count, and a success begins anew.
    w.refuse();
    for status in [500, 200, 500] {
        w.advance_ms(5_000);
        w.answer(status);
    }
    assert!(!w.kinds("a", "web").contains(&"Restart Signaled".to_owned()));
    w.advance_ms(5_000);
    w.answer(429);
    let restart = "Restart Signaled: healthcheck: check \"alive\" unhealthy";
    assert!(w.events("a", "web").contains(&restart.to_owned()), "{:?}", w.events("a", "web"));
    assert!(w.logged().contains(&"kill web 2 5000ms".to_owned()));
    assert_eq!(results(&mut w), "null");
    w.obey("a", "web");
    assert_eq!(w.state("a", "web"), "pending");
    w.advance_ms(2_000);
    assert_eq!(w.state("a", "web"), "running");
    // The policy allows one restart; with the second the task fails.
    w.refuse();
    for _ in 0..2 {
        w.advance_ms(5_000);
        w.refuse();
    }
    w.obey("a", "web");
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
}

#[test]
fn warnings_may_be_ignored() {
    let mut w = restarting(1, true);
    w.refuse();
    for _ in 0..3 {
        w.advance_ms(5_000);
        w.answer(429);
    }
    assert!(!w.kinds("a", "web").contains(&"Restart Signaled".to_owned()));
    w.advance_ms(5_000);
    w.answer(500);
    assert!(w.kinds("a", "web").contains(&"Restart Signaled".to_owned()));
}

/// A new allocation of a rollout with a check.
fn rollout(on_update: &str, health_check: &str) -> World {
    let c = ServiceCheck { on_update: on_update.to_owned(), ..check("http") };
    let s = Service { checks: vec![c].into(), ..service("api", "http") };
    let mut a = serving(vec![s], Vec::new());
    let alloc = Rc::make_mut(&mut a);
    alloc.deployment_id = "d".to_owned();
    let job = Rc::make_mut(alloc.job.as_mut().unwrap());
    job.task_groups[0].update = Some(UpdateStrategy {
        health_check: Some(health_check.to_owned()),
        min_healthy_time: Some(10 * S),
        healthy_deadline: Some(60 * S),
        ..UpdateStrategy::default()
    });
    let mut w = World::new();
    w.pull(&[&a]);
    w
}

fn healthy(w: &mut World) -> Option<bool> {
    w.advance_ms(250);
    w.server["a"].deployment_status.as_ref().and_then(|d| d.healthy)
}

#[test]
fn a_rollout_waits_for_good_checks() {
    let mut w = rollout("require_healthy", "checks");
    w.advance_ms(1_000);
    w.refuse();
    w.advance_ms(4_000);
    w.answer(200);
    w.advance_ms(5_000);
    w.answer(500);
    w.advance_ms(5_000);
    w.answer(200);
    w.advance_ms(5_000);
    w.answer(200);
    w.advance_ms(4_000);
    assert_eq!(healthy(&mut w), None, "the failure in between began it anew");
    w.advance_ms(1_000);
    assert_eq!(healthy(&mut w), Some(true));
}

#[test]
fn a_rollout_without_good_checks_fails_at_the_deadline() {
    let mut w = rollout("require_healthy", "checks");
    for _ in 0..12 {
        w.answer(503);
        w.advance_ms(5_000);
    }
    assert_eq!(healthy(&mut w), Some(false));
    let last = w.events("a", "web").pop().unwrap();
    assert!(last.ends_with("Services not healthy by deadline"), "{last}");
}

#[test]
fn some_checks_do_not_hold_a_rollout_up() {
    for (on_update, health_check, status, verdict) in [
        ("ignore", "checks", 500, Some(true)),
        ("ignore_warnings", "checks", 429, Some(true)),
        ("ignore_warnings", "checks", 500, None),
        ("require_healthy", "checks", 429, None),
        ("require_healthy", "task_states", 500, Some(true)),
    ] {
        let mut w = rollout(on_update, health_check);
        w.answer(status);
        for _ in 0..3 {
            w.advance_ms(5_000);
            w.answer(status);
        }
        assert_eq!(healthy(&mut w), verdict, "{on_update} {health_check} {status}");
    }
}

#[test]
fn scripts_run_in_their_task_and_are_judged_by_their_status() {
    let script = |task: &str| ServiceCheck {
        task_name: task.to_owned(),
        command: "/bin/is-up".to_owned(),
        args: vec!["${NOMAD_TASK_NAME}".to_owned()].into(),
        check_restart: Some(CheckRestart { limit: 3, grace: Some(0), ..CheckRestart::default() }),
        ..check("script")
    };
    let of_group = Service { checks: vec![script("web")].into(), ..service("api", "http") };
    let mut w = World::new();
    w.pull(&[&serving(vec![of_group], Vec::new())]);
    let run = "run web /bin/is-up web 2000ms";
    let runs = |w: &World| w.log.iter().filter(|l| *l == run).count();
    assert_eq!(runs(&w), 1, "{:?}", w.log);
    let id = {
        let all = results(&mut w);
        assert!(all.contains("\"Status\":\"pending\""), "{all}");
        all.split('"').nth(1).unwrap().to_owned()
    };
    let ran = |w: &mut World, code: i32, error: &str| {
        let (output, error) = ("said".to_owned(), error.to_owned());
        w.event("a", "web", ExecutorEvent::Ran { id: id.clone(), code, output, error });
    };
    // No second run while one is under way, however long it takes.
    w.advance_ms(6_000);
    assert_eq!(runs(&w), 1);
    ran(&mut w, 0, "");
    let all = results(&mut w);
    assert!(all.contains("\"Status\":\"success\"") && all.contains("script ok\\nsaid"), "{all}");
    w.advance_ms(5_000);
    assert_eq!(runs(&w), 2);
    ran(&mut w, 3, "");
    let all = results(&mut w);
    assert!(all.contains("script exited with status 3"), "{all}");
    // Of a run that is over nothing more is heard.
    ran(&mut w, 0, "");
    assert_eq!(results(&mut w), all);
    w.advance_ms(5_000);
    ran(&mut w, 0, "timed out after 2s");
    assert!(results(&mut w).contains("nomad: script: timed out after 2s"));
    w.advance_ms(5_000);
    ran(&mut w, 0, "ended by signal 9");
    assert!(w.log.iter().any(|l| l.starts_with("kill web")), "{:?}", w.log);
}

#[test]
fn an_executor_that_does_not_answer_counts_as_a_failure() {
    let script = ServiceCheck { command: "/bin/x".to_owned(), ..check("script") };
    let s = Service { checks: vec![script].into(), ..service("api", "http") };
    let mut w = World::new();
    w.pull(&[&serving(Vec::new(), vec![s])]);
    w.advance_ms(7_100);
    let all = results(&mut w);
    assert!(all.contains("\"Status\":\"failure\""), "{all}");
}
