//! Whole lives of allocations, in virtual time.
//!
//! [`World`] plays agent and executors: it carries out effects at once, keeps the rows like a disk,
//! and lets a test say how tasks start and end.

mod artifacts;
mod power;
mod random;
mod restored;
mod services;
mod supply;
mod templates;
mod volumes;

use std::rc::Rc;

use super::*;
use crate::api::{
    DisconnectStrategy, Job, LogConfig, MigrateStrategy, RestartPolicy, Task, TaskGroup,
    TaskLifecycleConfig, UpdateStrategy,
};
use crate::client::exec_proto::{ExecutorCmd, ExecutorEvent, Exit, Handle, StartSpec, Usage};
use crate::stdx::BTreeMap;
use crate::stdx::json::Any;

const S: i64 = 1_000_000_000;
const MS: u64 = 1_000_000;

struct World {
    client: Client,
    now: Now,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Last report of each allocation.
    server: BTreeMap<String, AllocClientState>,
    reports: usize,
    starts: Vec<StartSpec>,
    /// Everything else that was asked for, in order.
    log: Vec<String>,
    replies: BTreeMap<u64, Result<String, ApiError>>,
    /// Open connections of checks: to where, and what was sent.
    probes: BTreeMap<TaskKey, (String, String)>,
    /// Questions that are not answered.
    asked: Vec<(u64, Inquiry)>,
    /// Starts are answered by `Started` at once.
    obedient: bool,
    dirs_fail: bool,
}

fn config() -> ClientConfig {
    ClientConfig {
        node: Node { id: "node".to_owned(), datacenter: "dc1".to_owned(), ..Node::default() },
        region: "global".to_owned(),
        alloc_dir: "/data/alloc".to_owned(),
        run_dir: "/run/v".to_owned(),
        host_env: vec![("PATH".to_owned(), "/bin".to_owned())],
        boot_id: "boot-1".to_owned(),
        ..ClientConfig::default()
    }
}

impl World {
    fn new() -> Self {
        Self::boot(config(), BTreeMap::new(), Now { mono_ns: 1_000_000_000, wall_ns: 1_000 * S })
    }

    fn boot(config: ClientConfig, disk: BTreeMap<Vec<u8>, Vec<u8>>, now: Now) -> Self {
        let rows = disk.clone().into_iter().collect();
        let mut world = Self {
            client: Client::new(config),
            now,
            disk,
            server: BTreeMap::new(),
            reports: 0,
            starts: Vec::new(),
            log: Vec::new(),
            replies: BTreeMap::new(),
            probes: BTreeMap::new(),
            asked: Vec::new(),
            obedient: true,
            dirs_fail: false,
        };
        world.input(ClientInput::Restored(rows));
        world.input(ClientInput::Registered { ttl_ns: 10 * S.unsigned_abs() });
        world
    }

    /// The agent dies and comes back after a while; executors live on.
    fn restart_agent(self, config: ClientConfig) -> Self {
        let now =
            Now { mono_ns: self.now.mono_ns + 100 * MS, wall_ns: self.now.wall_ns + 100_000_000 };
        Self::boot(config, self.disk, now)
    }

    fn input(&mut self, input: ClientInput) {
        let mut out = Vec::new();
        self.client.step(self.now, input, &mut out);
        for effect in out {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: ClientEffect) {
        match effect {
            ClientEffect::LocalPut(key, value) => {
                self.disk.insert(key, value);
            }
            ClientEffect::LocalDelete(key) => {
                self.disk.remove(&key);
            }
            ClientEffect::Register(..) => self.log.push("register".to_owned()),
            ClientEffect::Heartbeat => {
                self.log.push("heartbeat".to_owned());
                self.input(ClientInput::HeartbeatAck { ttl_ns: 10 * S.unsigned_abs() });
            }
            ClientEffect::Update(updates) => {
                self.reports += 1;
                for mut update in updates {
                    let old = self.server.remove(&update.id);
                    update.services = update.services.or(old.and_then(|o| o.services));
                    self.server.insert(update.id.clone(), update);
                }
            }
            ClientEffect::BuildDirs(spec) => {
                let result = if self.dirs_fail { Err("disk full".to_owned()) } else { Ok(()) };
                self.input(ClientInput::DirBuilt(spec.alloc, result));
            }
            ClientEffect::Start(key, spec) => {
                // Durable first: the row names the run directory.
                let row = self.disk.get(format!("client/task/{}/{}", key.0, key.1).as_bytes());
                assert!(String::from_utf8_lossy(row.unwrap()).contains(&spec.run_dir));
                let run_dir = spec.run_dir.clone();
                self.starts.push(spec);
                self.log.push(format!("start {}", key.1));
                if self.obedient {
                    self.started(&key.0, &key.1, &run_dir);
                }
            }
            ClientEffect::Executor(key, cmd) => match cmd {
                ExecutorCmd::Shutdown => {}
                ExecutorCmd::Kill { signal, grace_ns } => {
                    self.log.push(format!("kill {} {signal} {}ms", key.1, grace_ns / MS));
                }
                ExecutorCmd::Signal { signal, .. } => {
                    self.log.push(format!("signal {} {signal}", key.1));
                }
                ExecutorCmd::Stats { token } => {
                    let usage = Usage { rss_bytes: 4096, at_ns: 5, ..Usage::default() };
                    self.input(ClientInput::Executor(key, ExecutorEvent::Stats { token, usage }));
                }
                ExecutorCmd::Exec { command, .. } => self.log.push(format!("exec {command}")),
                ExecutorCmd::Run { command, args, timeout_ns, .. } => {
                    let line = format!("{command} {}", args.join(" "));
                    self.log.push(format!("run {} {line} {}ms", key.1, timeout_ns / MS));
                }
            },
            ClientEffect::Volume(..) => {}
            ClientEffect::Adopt(key, handle) => {
                self.log.push(format!("adopt {} {}", key.1, handle.pid));
            }
            ClientEffect::Probe { key, addr, request, .. } => {
                let request = String::from_utf8(request).unwrap();
                let open = self.probes.insert(key, (addr.to_string(), request));
                assert_eq!(open, None, "one probe at a time");
            }
            ClientEffect::Ask(id, inquiry) => self.ask_servers(id, inquiry),
            ClientEffect::Unask(id) => self.asked.retain(|(asked, _)| *asked != id),
            ClientEffect::Place(key, files) => self.place(key, files),
            ClientEffect::Fetch((_, task), spec) => self.fetch(&task, &spec),
            ClientEffect::FetchEnd((_, task)) => self.log.push(format!("fetch no more for {task}")),
            ClientEffect::ProbeEnd(key) => {
                self.probes.remove(&key);
            }
            ClientEffect::RemoveTree { path, alloc: Some(id) } => {
                self.log.push(format!("remove {path}"));
                self.input(ClientInput::Removed(id));
            }
            ClientEffect::RemoveTree { .. } => {}
            ClientEffect::Reply(token, body) => {
                let text = body.map(|b| String::from_utf8(b).unwrap());
                self.replies.insert(token, text);
            }
        }
    }

    fn started(&mut self, alloc: &str, task: &str, run_dir: &str) {
        let handle = Handle {
            pid: 42,
            boot_id: "boot-1".to_owned(),
            run_dir: run_dir.to_owned(),
            ..Handle::default()
        };
        self.event(alloc, task, ExecutorEvent::Started(handle));
    }

    fn event(&mut self, alloc: &str, task: &str, event: ExecutorEvent) {
        self.input(ClientInput::Executor((alloc.to_owned(), task.to_owned()), event));
    }

    fn exit(&mut self, alloc: &str, task: &str, code: i32) {
        self.event(alloc, task, ExecutorEvent::Exited(Exit { code, ..Exit::default() }));
    }

    /// Ends as after an interrupt.
    fn obey(&mut self, alloc: &str, task: &str) {
        let exit = Exit { signal: 2, ..Exit::default() };
        self.event(alloc, task, ExecutorEvent::Exited(exit));
    }

    fn pull(&mut self, allocs: &[&Rc<Allocation>]) {
        self.input(ClientInput::Allocs(allocs.iter().map(|a| Rc::clone(a)).collect()));
    }

    /// Lets time pass, deadline by deadline.
    fn advance_ms(&mut self, ms: u64) {
        let end = self.now.mono_ns + ms * MS;
        let mut idle_turns = 0;
        while let Some(at) = self.client.deadline().filter(|at| *at <= end) {
            idle_turns = if at > self.now.mono_ns { 0 } else { idle_turns + 1 };
            assert!(idle_turns < 10, "awake again and again for nothing");
            self.at(at.max(self.now.mono_ns));
            self.input(ClientInput::Timer);
        }
        self.at(end);
    }

    /// Nobody runs for so long, then all goes on.
    fn sleep_ms(&mut self, ms: u64) {
        self.at(self.now.mono_ns + ms * MS);
        self.input(ClientInput::Timer);
        self.advance_ms(1_000);
    }

    fn at(&mut self, mono_ns: u64) {
        let passed = i64::try_from(mono_ns - self.now.mono_ns).unwrap();
        self.now = Now { mono_ns, wall_ns: self.now.wall_ns + passed };
    }

    fn ask(&mut self, request: ClientRequest) -> Result<String, ApiError> {
        self.input(ClientInput::Request(7, request));
        if !self.replies.contains_key(&7) {
            self.advance_ms(1_001);
        }
        self.replies.remove(&7).expect("an answer")
    }

    fn status(&mut self, alloc: &str) -> (String, String) {
        self.advance_ms(250);
        let s = &self.server[alloc];
        (s.client_status.clone(), s.client_description.clone())
    }

    fn events(&self, alloc: &str, task: &str) -> Vec<String> {
        let state = self.client.task_state(alloc, task).expect("a task");
        state.events.iter().map(|e| format!("{}: {}", e.kind, e.display_message)).collect()
    }

    fn kinds(&self, alloc: &str, task: &str) -> Vec<String> {
        let state = self.client.task_state(alloc, task).expect("a task");
        state.events.iter().map(|e| e.kind.clone()).collect()
    }

    fn state(&self, alloc: &str, task: &str) -> &str {
        &self.client.task_state(alloc, task).expect("a task").state
    }

    fn logged(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

fn program(name: &str) -> Task {
    let mut task = Task {
        name: name.to_owned(),
        driver: driver::RAW_EXEC.to_owned(),
        kill_timeout: Some(5 * S),
        log_config: Some(LogConfig::default()),
        ..Task::default()
    };
    task.config.insert("command".to_owned(), Any::Text("/bin/x".to_owned()));
    task
}

fn hooked(name: &str, hook: &str, sidecar: bool) -> Task {
    let lifecycle = Some(TaskLifecycleConfig { hook: hook.to_owned(), sidecar });
    Task { lifecycle, ..program(name) }
}

fn mock(name: &str, config: &[(&str, &str)]) -> Task {
    let mut task =
        Task { name: name.to_owned(), driver: driver::MOCK.to_owned(), ..Task::default() };
    task.kill_timeout = Some(5 * S);
    for (key, value) in config {
        task.config.insert((*key).to_owned(), Any::Text((*value).to_owned()));
    }
    task
}

fn policy(attempts: i64) -> RestartPolicy {
    RestartPolicy {
        attempts: Some(attempts),
        delay: Some(S),
        interval: Some(600 * S),
        mode: Some("fail".to_owned()),
        render_templates: None,
    }
}

fn group(attempts: i64, tasks: Vec<Task>) -> TaskGroup {
    TaskGroup {
        name: "app".to_owned(),
        restart_policy: Some(policy(attempts)),
        tasks: tasks.into(),
        ..TaskGroup::default()
    }
}

fn alloc(id: &str, kind: &str, group: TaskGroup) -> Rc<Allocation> {
    let job = Job {
        id: "j".to_owned(),
        kind: kind.to_owned(),
        task_groups: vec![group].into(),
        ..Job::default()
    };
    Rc::new(Allocation {
        id: id.to_owned(),
        name: "j.app[0]".to_owned(),
        task_group: "app".to_owned(),
        desired_status: "run".to_owned(),
        client_status: "pending".to_owned(),
        alloc_modify_index: 1,
        job: Some(Rc::new(job)),
        ..Allocation::default()
    })
}

fn stopped(a: &Rc<Allocation>) -> Rc<Allocation> {
    let mut a = Allocation::clone(a);
    a.desired_status = "stop".to_owned();
    a.alloc_modify_index += 1;
    Rc::new(a)
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

#[test]
fn a_batch_task_that_ends_well() {
    let mut w = World::new();
    w.pull(&[&alloc("a", "batch", group(0, vec![program("web")]))]);
    assert_eq!(w.status("a"), pair("running", "Tasks are running"));
    w.exit("a", "web", 0);
    assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
    assert_eq!(
        w.events("a", "web"),
        [
            "Received: Task received by client",
            "Task Setup: Building Task Directory",
            "Started: Task started by client",
            "Terminated: Exit Code: 0",
        ]
    );
    let state = w.client.task_state("a", "web").unwrap();
    assert_eq!((state.failed, state.restarts, state.state.as_str()), (false, 0, "dead"));
    assert!(state.finished_at.0 >= state.started_at.0 && state.started_at.0 > 0);
    let start = &w.starts[0];
    assert_eq!(start.cwd, "/data/alloc/a/web");
    assert_eq!(start.log_dir, "/data/alloc/a/alloc/logs");
    assert!(start.env.contains(&("PATH".to_owned(), "/bin".to_owned())));
    assert!(start.env.contains(&("NOMAD_TASK_NAME".to_owned(), "web".to_owned())));
    assert_eq!(start.log_max_bytes, 10 << 20);
}

#[test]
fn a_batch_task_that_fails() {
    let mut w = World::new();
    w.pull(&[&alloc("a", "batch", group(0, vec![program("web")]))]);
    w.exit("a", "web", 3);
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
    assert_eq!(
        w.events("a", "web")[3..],
        ["Terminated: Exit Code: 3", "Not Restarting: Policy allows no restarts"]
    );
    assert!(w.client.task_state("a", "web").unwrap().failed);
}

#[test]
fn a_program_that_is_not_there() {
    let mut w = World::new();
    w.obedient = false;
    w.pull(&[&alloc("a", "batch", group(0, vec![program("web")]))]);
    w.event("a", "web", ExecutorEvent::StartFailed { error: "no such file".to_owned() });
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
    assert_eq!(w.kinds("a", "web"), ["Received", "Task Setup", "Driver Failure", "Not Restarting"]);
    assert_eq!(w.client.task_state("a", "web").unwrap().started_at.0, 0);
}

#[test]
fn configuration_that_makes_no_sense_fails_without_a_start() {
    let mut task = program("web");
    task.config.insert("args".to_owned(), Any::List(vec![Any::Text("${nope}".to_owned())]));
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", group(2, vec![task]))]);
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
    assert_eq!(
        w.events("a", "web")[2..],
        [
            "Failed Validation: failed to parse config: \n\t* Unknown variable: There is no \
             variable named \"nope\".",
            "Not Restarting: Error was unrecoverable",
        ]
    );
    assert!(w.starts.is_empty());
}

#[test]
fn a_stop_asks_first_and_reports_after() {
    let a = alloc("a", "service", group(2, vec![program("web")]));
    let mut w = World::new();
    w.pull(&[&a]);
    w.pull(&[&stopped(&a)]);
    assert_eq!(w.logged()[1..], ["start web", "kill web 2 5000ms"]);
    assert_eq!(w.state("a", "web"), "running");
    w.obey("a", "web");
    assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
    assert_eq!(
        w.events("a", "web")[3..],
        [
            "Killing: Sent interrupt. Waiting 5s before force killing",
            "Terminated: Exit Code: 130, Signal: 2",
            "Killed: Task successfully killed",
        ]
    );
    assert!(!w.client.task_state("a", "web").unwrap().failed);
}

#[test]
fn an_executor_that_does_not_answer_is_given_up() {
    let a = alloc("a", "service", group(2, vec![program("web")]));
    let mut w = World::new();
    w.pull(&[&a]);
    w.pull(&[&stopped(&a)]);
    w.advance_ms(15_001);
    assert_eq!(w.logged().last().map(String::as_str), Some("kill web 9 0ms"));
    assert_eq!(w.state("a", "web"), "running");
    w.advance_ms(10_001);
    assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
}

#[test]
fn delays_and_signals_of_a_stop() {
    let mut task = program("web");
    task.shutdown_delay = 2 * S;
    task.kill_timeout = Some(90 * S);
    task.kill_signal = "SIGTERM".to_owned();
    let mut g = group(2, vec![task]);
    g.shutdown_delay = Some(3 * S);
    let a = alloc("a", "service", g);
    let mut w = World::new();
    w.pull(&[&a]);
    w.pull(&[&stopped(&a)]);
    w.advance_ms(2_900);
    assert_eq!(w.events("a", "web").len(), 4);
    w.advance_ms(200);
    assert_eq!(w.events("a", "web").len(), 5);
    w.advance_ms(2_000);
    assert_eq!(
        w.events("a", "web")[3..],
        [
            "Waiting for shutdown delay: Waiting for group shutdown_delay of 3s before killing \
             the task.",
            "Waiting for shutdown delay: Waiting for shutdown_delay of 2s before killing the task.",
            "Killing: Sent interrupt. Waiting 30s before force killing",
        ]
    );
    assert!(w.logged().contains(&"kill web 15 30000ms".to_owned()));
    // The wish to skip the delays comes too late for this one, and in time for the next.
    let b = alloc("b", "service", {
        let mut task = program("web");
        task.shutdown_delay = 60 * S;
        group(2, vec![task])
    });
    w.pull(&[&stopped(&a), &b]);
    let mut hurried = Allocation::clone(&stopped(&b));
    w.pull(&[&stopped(&a), &Rc::new(hurried.clone())]);
    assert!(!w.logged().iter().any(|l| l.starts_with("kill")));
    hurried.desired_transition.no_shutdown_delay = Some(true);
    hurried.alloc_modify_index += 1;
    w.pull(&[&stopped(&a), &Rc::new(hurried)]);
    assert_eq!(w.logged(), ["kill web 2 5000ms"]);
}

#[test]
fn restarts_until_the_policy_is_used_up() {
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", group(2, vec![program("web")]))]);
    for restarts in 1..=2 {
        w.exit("a", "web", 1);
        assert_eq!(w.state("a", "web"), "pending");
        w.advance_ms(1_300);
        assert_eq!(w.state("a", "web"), "running");
        let state = w.client.task_state("a", "web").unwrap();
        assert_eq!(state.restarts, restarts);
        assert!(state.last_restart.0 > 0);
    }
    w.exit("a", "web", 0);
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
    assert_eq!(
        w.events("a", "web").last().map(String::as_str),
        Some("Not Restarting: Exceeded allowed attempts 2 in interval 10m0s and mode is \"fail\"")
    );
    // One directory per start.
    let mut dirs: Vec<&str> = w.starts.iter().map(|s| s.run_dir.as_str()).collect();
    dirs.dedup();
    assert_eq!(dirs.len(), 3);
}

#[test]
fn the_order_of_a_life() {
    let tasks = vec![
        program("main"),
        hooked("init", "prestart", false),
        hooked("proxy", "prestart", true),
        hooked("after", "poststart", false),
        hooked("last", "poststop", false),
    ];
    let mut w = World::new();
    w.pull(&[&alloc("a", "batch", group(0, tasks))]);
    assert_eq!(w.logged()[1..], ["start init", "start proxy"]);
    w.exit("a", "init", 0);
    assert_eq!(w.logged(), ["start main", "start after"]);
    w.exit("a", "after", 0);
    w.exit("a", "main", 0);
    assert_eq!(w.logged(), ["kill proxy 2 5000ms"]);
    assert!(w.kinds("a", "proxy").contains(&"Main Tasks Dead".to_owned()));
    w.obey("a", "proxy");
    assert_eq!(w.logged(), ["start last"]);
    assert_eq!(w.status("a"), pair("running", "Tasks are running"));
    w.exit("a", "last", 0);
    assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
}

#[test]
fn a_failed_prestart_task_ends_it_all() {
    let tasks = vec![program("main"), hooked("init", "prestart", false)];
    let mut w = World::new();
    w.pull(&[&alloc("a", "batch", group(0, tasks))]);
    w.exit("a", "init", 1);
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
    assert_eq!(
        w.events("a", "main"),
        [
            "Received: Task received by client",
            "Sibling Task Failed: Task's sibling \"init\" failed",
            "Killed: Task successfully killed",
        ]
    );
    assert_eq!(w.starts.len(), 1);
}

#[test]
fn a_failed_task_takes_its_siblings_along() {
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", group(0, vec![program("one"), program("two")]))]);
    w.exit("a", "one", 1);
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
    assert_eq!(w.state("a", "two"), "running");
    w.obey("a", "two");
    assert_eq!(w.state("a", "two"), "dead");
    assert_eq!(
        w.kinds("a", "two")[3..],
        ["Sibling Task Failed", "Killing", "Terminated", "Killed"]
    );
}

#[test]
fn the_leader_goes_first() {
    let mut leader = program("leader");
    leader.leader = true;
    let a = alloc("a", "service", group(0, vec![program("other"), leader]));
    let mut w = World::new();
    w.pull(&[&a]);
    w.logged();
    w.pull(&[&stopped(&a)]);
    assert_eq!(w.logged(), ["kill leader 2 5000ms"]);
    w.obey("a", "leader");
    assert_eq!(w.logged(), ["kill other 2 5000ms"]);
    w.obey("a", "other");
    assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));

    let mut leader = program("leader");
    leader.leader = true;
    w.pull(&[&stopped(&a), &alloc("b", "batch", group(0, vec![program("other"), leader]))]);
    w.exit("b", "leader", 0);
    assert!(w.kinds("b", "other").contains(&"Leader Task Dead".to_owned()));
}

#[test]
fn an_allocation_that_may_run_no_longer() {
    let mut g = group(0, vec![program("web"), hooked("last", "poststop", false)]);
    g.max_run_duration = Some(10 * S);
    let mut w = World::new();
    w.pull(&[&alloc("a", "batch", g)]);
    w.advance_ms(9_900);
    assert!(!w.logged().iter().any(|l| l.starts_with("kill")));
    w.advance_ms(200);
    w.obey("a", "web");
    assert_eq!(w.status("a"), pair("complete", "allocation exceeded max_run_duration"));
    assert_eq!(w.starts.len(), 1);
}

#[test]
fn mocks_need_no_executor() {
    let mut w = World::new();
    let tasks = vec![mock("m", &[("run_for", "2s"), ("exit_code", "4")])];
    w.pull(&[&alloc("a", "batch", group(1, tasks))]);
    w.advance_ms(10);
    assert_eq!(w.state("a", "m"), "running");
    w.advance_ms(2_000);
    assert_eq!(w.state("a", "m"), "pending");
    w.advance_ms(5_000);
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
    assert_eq!(w.client.task_state("a", "m").unwrap().restarts, 1);
    let b = alloc("b", "service", group(1, vec![mock("m", &[("run_for", "1h")])]));
    let c = alloc("c", "service", group(0, vec![mock("m", &[("start_error", "broken")])]));
    w.pull(&[&b, &c]);
    w.pull(&[&stopped(&b), &c]);
    assert_eq!(w.status("b"), pair("complete", "All tasks have completed"));
    assert_eq!(w.events("c", "m")[2], "Driver Failure: broken");
    assert!(w.starts.is_empty());
}

#[test]
fn reports_leave_soon_and_together() {
    let mut w = World::new();
    let allocs: Vec<_> = (0..10)
        .map(|i| alloc(&format!("a{i}"), "service", group(0, vec![program("web")])))
        .collect();
    let before = w.reports;
    w.pull(&allocs.iter().collect::<Vec<_>>());
    w.advance_ms(20);
    assert_eq!(w.reports, before + 1);
    assert!(w.server.values().all(|s| s.client_status == "running"));
    assert_eq!(w.server.len(), 10);
    assert!(w.server.values().all(|s| s.network_status.is_some()));
}

#[test]
fn an_idle_node_only_sends_heartbeats() {
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", group(0, vec![program("web")]))]);
    w.advance_ms(1_000);
    w.logged();
    w.advance_ms(60_000);
    let log = w.logged();
    assert!((11..=13).contains(&log.len()), "{log:?}");
    assert!(log.iter().all(|l| l == "heartbeat"));
}

#[test]
fn after_a_loss_of_the_servers_everything_is_reported() {
    let mut w = World::new();
    w.pull(&[&alloc("a", "batch", group(0, vec![program("web")]))]);
    w.advance_ms(300);
    w.input(ClientInput::ServerLost);
    w.exit("a", "web", 0);
    w.advance_ms(6_000);
    assert_eq!(w.server["a"].client_status, "running");
    assert!(w.logged().contains(&"register".to_owned()));
    w.input(ClientInput::Registered { ttl_ns: 10 * S.unsigned_abs() });
    assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
}

#[test]
fn stop_on_client_after_needs_no_server() {
    let mut g = group(0, vec![program("web")]);
    g.disconnect = Some(DisconnectStrategy {
        stop_on_client_after: Some(30 * S),
        ..DisconnectStrategy::default()
    });
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", g)]);
    w.input(ClientInput::ServerLost);
    w.advance_ms(29_000);
    assert!(!w.logged().iter().any(|l| l.starts_with("kill")));
    w.advance_ms(1_500);
    assert!(w.logged().contains(&"kill web 2 5000ms".to_owned()));
}

#[test]
fn a_suspended_machine_does_not_count_as_cut_off() {
    let mut g = group(0, vec![program("web")]);
    g.disconnect = Some(DisconnectStrategy {
        stop_on_client_after: Some(30 * S),
        ..DisconnectStrategy::default()
    });
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", g)]);
    w.sleep_ms(3_600_000);
    assert!(!w.logged().iter().any(|l| l.starts_with("kill")));
}

#[test]
fn health_of_a_deployment() {
    let update = UpdateStrategy {
        health_check: Some("task_states".to_owned()),
        min_healthy_time: Some(S / 2),
        healthy_deadline: Some(20 * S),
        ..UpdateStrategy::default()
    };
    let deployed = |id: &str, tasks| {
        let mut g = group(3, tasks);
        g.update = Some(update.clone());
        let mut a = Allocation::clone(&alloc(id, "service", g));
        a.deployment_id = "d".to_owned();
        Rc::new(a)
    };
    let mut w = World::new();
    w.pull(&[&deployed("a", vec![program("web")])]);
    w.advance_ms(450);
    assert_eq!(w.server["a"].deployment_status, None);
    w.advance_ms(80);
    let status = w.server["a"].deployment_status.clone().unwrap();
    assert_eq!((status.healthy, status.timestamp.0 > 0), (Some(true), true));

    // A task that never stays up is unhealthy at the deadline.
    w.obedient = false;
    w.pull(&[&deployed("a", vec![program("web")]), &deployed("b", vec![program("web")])]);
    w.advance_ms(20_100);
    w.advance_ms(250);
    let status = w.server["b"].deployment_status.clone().unwrap();
    assert_eq!(status.healthy, Some(false));
    assert_eq!(
        w.events("b", "web").last().map(String::as_str),
        Some("Alloc Unhealthy: Task not running by deadline")
    );

    // Replacements during a drain are judged as well, without a word in the history.
    w.obedient = true;
    let mut g = group(0, vec![program("web")]);
    g.migrate = Some(MigrateStrategy { min_healthy_time: Some(S), ..MigrateStrategy::default() });
    w.pull(&[&alloc("c", "service", g)]);
    w.advance_ms(1_300);
    assert_eq!(w.server["c"].deployment_status.clone().unwrap().healthy, Some(true));
}

#[test]
fn an_allocation_waits_for_the_one_it_replaces() {
    let a = alloc("a", "service", group(0, vec![program("web")]));
    let mut b = Allocation::clone(&alloc("b", "service", group(0, vec![program("web")])));
    b.previous_allocation = "a".to_owned();
    let b = Rc::new(b);
    let mut w = World::new();
    w.pull(&[&a]);
    w.pull(&[&stopped(&a), &b]);
    assert_eq!(w.starts.len(), 1);
    assert_eq!(w.status("b"), pair("pending", "No tasks have started"));
    w.obey("a", "web");
    assert_eq!(w.starts.len(), 2);
}

#[test]
fn what_the_servers_forgot_is_removed() {
    let a = alloc("a", "service", group(0, vec![program("web")]));
    let mut w = World::new();
    w.pull(&[&a]);
    w.logged();
    w.pull(&[]);
    assert_eq!(w.logged(), ["kill web 2 5000ms"]);
    w.obey("a", "web");
    assert_eq!(w.logged(), ["remove /data/alloc/a"]);
    assert!(w.disk.is_empty(), "{:?}", w.disk);
    assert_eq!(w.client.counts(), (0, 0));
}

#[test]
fn an_allocation_stopped_before_it_began() {
    let mut w = World::new();
    w.pull(&[&stopped(&alloc("a", "service", group(0, vec![program("web")])))]);
    assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
    assert!(w.starts.is_empty());
}

#[test]
fn directories_that_cannot_be_made() {
    let mut w = World::new();
    w.dirs_fail = true;
    w.pull(&[&alloc("a", "service", group(0, vec![program("web")]))]);
    assert_eq!(w.status("a"), pair("failed", "Failed tasks"));
    assert_eq!(
        w.events("a", "web")[1],
        "Setup Failure: failed to setup alloc: pre-run hook \"alloc_dir\" failed: disk full"
    );
}

#[test]
fn the_agent_comes_back() {
    let a = alloc("a", "service", group(1, vec![program("web")]));
    let mut w = World::new();
    w.pull(&[&a]);
    let mut w = w.restart_agent(config());
    assert_eq!(w.logged(), ["adopt web 42", "register"]);
    assert_eq!(w.state("a", "web"), "running");
    w.pull(&[&a]);
    w.started("a", "web", "/run/v/x");
    assert_eq!(w.kinds("a", "web"), ["Received", "Task Setup", "Started"]);
    assert!(w.starts.is_empty());
    // Ended while nobody looked: the executor's file tells.
    let mut w = w.restart_agent(config());
    w.exit("a", "web", 9);
    assert_eq!(w.kinds("a", "web")[3..], ["Terminated", "Restarting"]);
    // The delay before a restart does not outlive the agent.
    let mut w = w.restart_agent(config());
    assert_eq!(w.starts.len(), 1);
    assert_eq!(w.state("a", "web"), "running");
    // A stop that came in between is carried out.
    w.logged();
    let mut w = w.restart_agent(config());
    w.pull(&[&stopped(&a)]);
    assert!(!w.logged().iter().any(|l| l.starts_with("kill")));
    w.started("a", "web", "/run/v/x");
    assert_eq!(w.logged(), ["kill web 2 5000ms"]);
}

#[test]
fn a_start_without_an_answer_is_looked_for() {
    let mut w = World::new();
    w.obedient = false;
    w.pull(&[&alloc("a", "service", group(1, vec![program("web")]))]);
    let mut w = w.restart_agent(config());
    assert_eq!(w.logged()[0], "adopt web 0");
    w.started("a", "web", "/run/v/x");
    assert_eq!(w.kinds("a", "web"), ["Received", "Task Setup", "Started"]);
    assert_eq!(w.state("a", "web"), "running");
}

#[test]
fn rows_that_make_no_sense_are_dropped() {
    let disk = [
        (b"client/alloc/x".to_vec(), b"{".to_vec()),
        (b"client/task/y/web".to_vec(), b"{}".to_vec()),
        (b"client/zz".to_vec(), Vec::new()),
        (b"client/remove/old".to_vec(), Vec::new()),
    ];
    let w = World::boot(config(), disk.into_iter().collect(), Now::default());
    assert!(w.disk.is_empty(), "{:?}", w.disk);
    assert!(w.log.contains(&"remove /data/alloc/old".to_owned()));
}

#[test]
fn restarts_on_request() {
    let tasks = vec![program("web"), hooked("init", "prestart", false)];
    let mut w = World::new();
    w.pull(&[&alloc("a", "service", group(0, tasks))]);
    w.exit("a", "init", 0);
    w.logged();
    let ask = |w: &mut World, task: &str, all| {
        w.ask(ClientRequest::Restart { alloc: "a".to_owned(), task: task.to_owned(), all })
    };
    let failed = |text: &str| Err(ApiError::failed(text));
    assert_eq!(ask(&mut w, "zz", false), failed("Could not find task runner for task: zz"));
    assert_eq!(ask(&mut w, "init", false), failed("Task not running"));
    assert_eq!(
        ask(&mut w, "web", true),
        failed("task name cannot be set when restarting all tasks")
    );
    assert_eq!(ask(&mut w, "", false), Ok("{\"Index\":0}".to_owned()));
    w.obey("a", "web");
    assert_eq!(w.logged(), ["kill web 2 5000ms", "start web"]);
    assert_eq!(
        w.events("a", "web")[3..],
        [
            "Restart Signaled: User requested running tasks to restart",
            "Terminated: Exit Code: 130, Signal: 2",
            "Restarting: Task restarting in 0s",
            "Started: Task started by client",
        ]
    );
    assert_eq!(w.client.task_state("a", "web").unwrap().restarts, 1);
    assert_eq!(ask(&mut w, "", true), Ok("{\"Index\":0}".to_owned()));
    w.obey("a", "web");
    assert_eq!(w.logged(), ["kill web 2 5000ms", "start init"]);
    w.exit("a", "init", 0);
    assert_eq!(w.logged(), ["start web"]);
    assert_eq!(w.status("a"), pair("running", "Tasks are running"));
    assert_eq!(
        w.ask(ClientRequest::Restart { alloc: "x".to_owned(), task: String::new(), all: false }),
        Err(ApiError::not_found("Unknown allocation \"x\""))
    );
}

#[test]
fn signals_on_request() {
    let mut w = World::new();
    w.pull(&[&alloc("a", "batch", group(0, vec![program("web")]))]);
    w.logged();
    let ask = |w: &mut World, task: &str, signal: &str| {
        w.ask(ClientRequest::Signal {
            alloc: "a".to_owned(),
            task: task.to_owned(),
            signal: signal.to_owned(),
        })
    };
    let failed = |text: &str| Err(ApiError::failed(text));
    assert_eq!(ask(&mut w, "zz", "SIGHUP"), failed("Task not found"));
    assert_eq!(ask(&mut w, "", "SIGHUP"), Ok("{\"Index\":0}".to_owned()));
    // What is not known counts as an interrupt.
    assert_eq!(ask(&mut w, "web", "SIGNOPE"), Ok("{\"Index\":0}".to_owned()));
    assert_eq!(w.logged(), ["signal web 1", "signal web 2"]);
    assert!(w.events("a", "web").contains(&"Signaling: Task being sent signal SIGHUP".to_owned()));
    w.exit("a", "web", 0);
    assert_eq!(
        ask(&mut w, "", "SIGHUP"),
        failed("1 error occurred:\n\t* Failed to signal task: web, err: Task not running\n\n")
    );
    assert_eq!(ask(&mut w, "web", "SIGHUP"), failed("Task not running"));
    assert_eq!(
        w.ask(ClientRequest::Restart { alloc: "a".to_owned(), task: String::new(), all: false }),
        failed("restart of an alloc that should not run")
    );
}

#[test]
fn collection() {
    let mut w = World::new();
    let a = alloc("a", "batch", group(0, vec![program("web")]));
    let gc = |id: &str| ClientRequest::Gc { alloc: id.to_owned() };
    w.pull(&[&a]);
    let refused =
        Err(ApiError::failed("No such allocation on client, or allocation not eligible for GC"));
    assert_eq!(w.ask(gc("a")), refused);
    assert_eq!(w.ask(gc("x")), refused);
    w.exit("a", "web", 0);
    assert_eq!(w.ask(gc("a")), Ok(String::new()));
    // The end is reported although the machine is gone, and it does not come back.
    assert_eq!(w.status("a"), pair("complete", "All tasks have completed"));
    w.pull(&[&a]);
    assert_eq!(w.client.counts(), (0, 0));
    assert!(w.disk.is_empty());
    // More than are kept.
    let many: Vec<_> = (0..60)
        .map(|i| alloc(&format!("b{i:02}"), "batch", group(0, vec![program("web")])))
        .collect();
    w.pull(&many.iter().collect::<Vec<_>>());
    for b in &many {
        w.advance_ms(1);
        w.exit(&b.id, "web", 0);
    }
    assert_eq!(w.client.counts(), (50, 0));
    assert!(w.client.alloc("b09").is_none());
    assert!(w.client.alloc_dir("b10").is_some());
    assert_eq!(w.ask(ClientRequest::GcAll), Ok(String::new()));
    assert_eq!(w.client.counts(), (0, 0));
}

#[test]
fn figures_on_request() {
    let mut w = World::new();
    w.pull(&[&alloc("a", "batch", group(0, vec![program("web")]))]);
    let stats = |task: &str| ClientRequest::Stats { alloc: "a".to_owned(), task: task.to_owned() };
    let text = w.ask(stats("")).unwrap();
    assert!(text.contains("\"RSS\":4096") && text.contains("\"web\""), "{text}");
    assert!(w.ask(stats("zz")).unwrap().contains("\"Tasks\":{}"));
    w.exit("a", "web", 0);
    assert!(w.ask(stats("")).unwrap().contains("\"Measured\":null"));
}

#[test]
fn metadata_on_request() {
    let mut w = World::new();
    let class = w.client.node().computed_class.clone();
    w.logged();
    let body = br#"{"Meta":{"rack":"r1"}}"#.to_vec();
    let set = w.ask(ClientRequest::MetaSet { body }).unwrap();
    assert_eq!(set, r#"{"Dynamic":{"rack":"r1"},"Meta":{"rack":"r1"},"Static":{}}"#);
    assert_eq!(w.logged(), ["register"]);
    assert_ne!(w.client.node().computed_class, class);
    let mut w = w.restart_agent(config());
    assert_eq!(w.ask(ClientRequest::MetaGet).unwrap(), set);
    assert_eq!(w.client.node().meta.get("rack").map(String::as_str), Some("r1"));
}
