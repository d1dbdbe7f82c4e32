//! A server with its store and one node, all of it in virtual time: what the server proposes is
//! applied, what it places is reported as running and healthy, or as failed where the job says so.

use serde_json::{Value, json as value};
use vardo::api::{Allocation, Deployment, Evaluation, Job, Node};
use vardo::command::{AllocClientState, Applied, Command};
use vardo::server::{Config, Server, Workers, client_update_evals, workers};
use vardo::stdx::json::{self, Time};
use vardo::stdx::{BTreeMap, Entropy, Now, uuid};

use crate::store::{WALL, World, id, node, register_node};

pub(super) const SECOND: u64 = 1_000_000_000;
/// One step of the virtual clock.
const STEP: u64 = SECOND / 2;

/// A small generator.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

impl Entropy for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        for b in out {
            *b = u8::try_from(self.below(256)).unwrap();
        }
    }
}

pub(super) struct Cluster {
    pub(super) w: World,
    pub(super) now: Now,
    pub(super) dice: Dice,
    server: Server,
    /// When each allocation began to run.
    begun: BTreeMap<String, u64>,
    /// What the server proposed of its own, without plans.
    pub(super) proposed: Vec<Command>,
    /// How many plans it made.
    pub(super) plans: usize,
    /// So many of its next plans meet a conflict; whether a part of each is done all the same.
    pub(super) conflicts: (usize, bool),
}

impl Cluster {
    pub(super) fn new(seed: u64) -> Self {
        let mut w = World::new();
        w.run(&Command::Bootstrap { wall_ns: WALL });
        let mut n: Node = node(1);
        n.attributes.insert("driver.raw_exec".into(), "1".into());
        n.scheduling_eligibility = "eligible".into();
        w.run(&register_node(&n));
        let now = Now { mono_ns: SECOND, wall_ns: WALL };
        let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut c = Self {
            w,
            now,
            dice,
            server: Server::new(Config::default()),
            begun: BTreeMap::new(),
            proposed: Vec::new(),
            plans: 0,
            conflicts: (0, false),
        };
        c.restart();
        c
    }

    /// So many workers take evaluations from now on.
    pub(super) fn set_workers(&mut self, count: usize) {
        let all = Workers::new(count, workers::KINDS.into_iter());
        self.server.set_workers(all.expect("types of jobs"));
    }

    /// Another server process takes up the state.
    pub(super) fn restart(&mut self) {
        let config = Config { gc_interval_ns: 1 << 60, ..Config::default() };
        self.server = Server::new(config);
        let snap = self.w.store.snap().expect("a snapshot");
        self.server.lead(self.now, snap.reader()).expect("leads");
    }

    pub(super) fn propose(&mut self, command: &Command) -> Applied {
        let applied = self.w.run(command);
        let snap = self.w.store.snap().expect("a snapshot");
        self.server.touched(self.now, snap.reader(), &self.w.touched).expect("learns");
        applied
    }

    /// All that needs no time.
    pub(super) fn work(&mut self) {
        for _ in 0..1000 {
            let mut out = Vec::new();
            let snap = self.w.store.snap().expect("a snapshot");
            let more = self.server.work(self.now, snap.reader(), &mut self.dice, &mut out);
            drop(snap);
            if out.is_empty() && !more.expect("works") {
                return;
            }
            for (command, plan) in out {
                let met = plan.is_some() && self.conflicts.0 > 0;
                let result = if met {
                    self.conflicts.0 -= 1;
                    let refused = vec![id(b'd', 1)];
                    let (refresh_index, progress) = (self.w.index, self.conflicts.1);
                    Applied::Plan { refused, refresh_index, progress }
                } else {
                    self.propose(&command)
                };
                let Some(eval) = plan else {
                    self.proposed.push(command);
                    continue;
                };
                self.plans += 1;
                let snap = self.w.store.snap().expect("a snapshot");
                let (server, dice) = (&mut self.server, &mut self.dice);
                let next = server.plan_applied(&eval, self.now, snap.reader(), dice, &result);
                drop(snap);
                if let Some(command) = next.expect("learns") {
                    self.propose(&command);
                }
            }
        }
        panic!("the server has no end of work");
    }

    /// Lets time go by.
    pub(super) fn pass(&mut self, ns: u64, mut check: impl FnMut(&mut Self)) {
        for _ in 0..ns.div_ceil(STEP) {
            self.now.mono_ns += STEP;
            self.now.wall_ns += STEP.cast_signed();
            self.work();
            self.node();
            self.work();
            check(self);
        }
    }

    /// Lets time go by at once, with the node heard in between.
    pub(super) fn jump(&mut self, ns: u64) {
        self.now.mono_ns += ns;
        self.now.wall_ns += ns.cast_signed();
        self.server.heartbeat(&id(b'd', 1), self.now, &mut self.dice);
        self.work();
    }

    /// Whether the server would do something without being told anything.
    pub(super) fn is_busy(&self) -> bool {
        self.server.has_work()
    }

    /// Status and description of the evaluations of the job `web`, oldest first.
    pub(super) fn evals(&self) -> Vec<(String, String)> {
        let mut all = self.w.read(|r| r.evals_by_job("default", "web").expect("reads"));
        all.sort_by_key(|e| e.create_index);
        all.into_iter().map(|e| (e.status, e.status_description)).collect()
    }

    /// The node: what is new runs, what is to stop stops; after two seconds it shows whether it is
    /// healthy. Tasks of a job whose environment says `bad` fail.
    fn node(&mut self) {
        self.server.heartbeat(&id(b'd', 1), self.now, &mut self.dice);
        let mut updates = Vec::new();
        for a in self.allocs() {
            if matches!(a.client_status.as_str(), "complete" | "failed" | "lost") {
                continue;
            }
            let mut update = AllocClientState {
                id: a.id.clone(),
                client_status: "running".into(),
                ..AllocClientState::default()
            };
            let begun = *self.begun.entry(a.id.clone()).or_insert(self.now.mono_ns);
            let judged = a.deployment_status.as_ref().is_some_and(|s| s.healthy.is_some());
            if a.desired_status != "run" {
                update.client_status = "complete".into();
            } else if begun + 2 * SECOND <= self.now.mono_ns && !judged {
                let good = !is_bad(a.job.as_ref().expect("its job"));
                if !a.deployment_id.is_empty() {
                    let status = update.deployment_status.get_or_insert_default();
                    status.healthy = Some(good);
                    status.timestamp = Time(self.now.wall_ns);
                } else if good && a.client_status == "running" {
                    continue;
                }
                if !good {
                    update.client_status = "failed".into();
                }
            } else if a.client_status == "running" {
                continue;
            }
            updates.push(update);
        }
        if updates.is_empty() {
            return;
        }
        let wall_ns = self.now.wall_ns;
        let snap = self.w.store.snap().expect("a snapshot");
        let evals = client_update_evals(snap.reader(), &updates, wall_ns, &mut self.dice);
        drop(snap);
        let evals = evals.expect("reads");
        self.propose(&Command::AllocClientUpdate { updates, evals, wall_ns });
    }

    /// Of so many evaluations, each of a job of its own, how many are given plans before any plan
    /// is applied.
    pub(super) fn take(&mut self, n: usize) -> usize {
        let eval = |i: usize| Evaluation {
            id: uuid::new(&mut self.dice),
            namespace: "default".into(),
            job_id: format!("gone-{i}"),
            kind: "service".into(),
            status: "pending".into(),
            ..Evaluation::default()
        };
        let evals = (0..n).map(eval).collect();
        self.propose(&Command::EvalUpsert { evals });
        let (mut out, snap) = (Vec::new(), self.w.store.snap().expect("a snapshot"));
        while self.server.work(self.now, snap.reader(), &mut self.dice, &mut out).expect("works") {}
        out.iter().filter(|(_, plan)| plan.is_some()).count()
    }

    /// All allocations of the job `web`, with the versions that they run.
    pub(super) fn allocs(&self) -> Vec<Allocation> {
        self.w.read(|r| r.allocs_by_job("default", "web").expect("reads"))
    }

    /// Those that run and were found healthy, by version.
    pub(super) fn healthy(&self) -> BTreeMap<u64, usize> {
        let mut out = BTreeMap::new();
        for a in self.allocs() {
            let good = a.deployment_status.as_ref().and_then(|s| s.healthy) == Some(true);
            if good && a.desired_status == "run" && a.client_status == "running" {
                *out.entry(a.job_version).or_insert(0) += 1;
            }
        }
        out
    }

    /// How many have run for long enough to be healthy, whatever the deployment knows of it.
    pub(super) fn standing(&self) -> usize {
        let allocs = self.allocs();
        let up = allocs.iter().filter(|a| a.desired_status == "run");
        up.filter(|a| {
            a.client_status == "running" && self.begun[&a.id] + 2 * SECOND <= self.now.mono_ns
        })
        .count()
    }

    /// The newest deployment of the job `web`.
    pub(super) fn deployment(&self) -> Deployment {
        let d = self.w.read(|r| r.deployment_latest("default", "web").expect("reads"));
        d.expect("a deployment")
    }

    /// `version: status, description` of the newest deployment.
    pub(super) fn outcome(&self) -> String {
        let d = self.deployment();
        format!("{}: {}, {}", d.job_version, d.status, d.status_description)
    }

    /// Registers a version of the job `web`.
    pub(super) fn register(&mut self, job: &Value) {
        let mut job: Job = json::decode(job.to_string().as_bytes()).expect("a job");
        job.submit_time = self.now.wall_ns;
        let eval = Evaluation {
            id: uuid::new(&mut self.dice),
            namespace: job.namespace.clone(),
            job_id: job.id.clone(),
            priority: job.priority,
            kind: job.kind.clone(),
            status: "pending".into(),
            triggered_by: "job-register".into(),
            ..Evaluation::default()
        };
        let (job, eval) = (job.into(), Some(Box::new(eval)));
        self.propose(&Command::JobRegister { job, submission: None, eval, enforce: None });
        self.work();
    }
}

pub(super) fn is_bad(job: &Job) -> bool {
    job.task_groups[0].tasks[0].env.contains_key("bad")
}

/// The job `web`: `count` tasks, an update strategy, and an environment.
pub(super) fn web(count: u64, update: &Value, env: &Value) -> Value {
    let mut all = value!({"MaxParallel": 1, "ProgressDeadline": 60 * SECOND});
    for (k, v) in update.as_object().into_iter().flatten() {
        all[k] = v.clone();
    }
    value!({
        "ID": "web", "Name": "web", "Namespace": "default", "Type": "service", "Priority": 50,
        "Datacenters": ["*"], "NodePool": "default",
        "TaskGroups": [{
            "Name": "app", "Count": count, "Update": all, "EphemeralDisk": {"SizeMB": 10},
            "ReschedulePolicy": {"Attempts": 0, "Unlimited": false},
            "Tasks": [{"Name": "t", "Driver": "raw_exec", "Env": env,
                "Resources": {"CPU": 10, "MemoryMB": 10}}],
        }],
    })
}
