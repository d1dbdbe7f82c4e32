//! The store: commands in, rows and indexes out.

mod allocs;
mod durability;
mod install;
mod jobs;
mod log;
mod nodes;
mod plans;
mod rest;
mod services;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use vardo::api::{Allocation, Evaluation, Job, Node, TaskGroup};
use vardo::command::{Applied, Command, JobApplied, Placement, Plan};
use vardo::sched::fit::Usage;
use vardo::stdx::json;
use vardo::store::{Options, Reader, Store, Touched, keys};

/// A directory that goes with the test.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("vardo-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            println!("left behind: {e}");
        }
    }
}

/// Lengthens a file by a hole.
const LENGTHEN: vardo::store::Allocate = |file, _, end| file.set_len(end).is_ok();

pub(crate) const FAST: Options = Options { map_bytes: 256 << 20, sync: false, allocate: LENGTHEN };
pub(crate) const WALL: i64 = 1_795_426_609_138_526_693;

/// A store whose commands get the next index each.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) index: u64,
    pub(crate) touched: Touched,
    dir: Dir,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = Dir::new();
        let store = Store::open(dir.path(), FAST).expect("a store");
        Self { store, index: 0, touched: Touched::default(), dir }
    }

    /// Closes the store and opens what is on the disk.
    pub(crate) fn reopen(&mut self) {
        let other = Dir::new();
        self.store = Store::open(other.path(), FAST).expect("a store");
        self.store = Store::open(self.dir.path(), FAST).expect("a store");
    }

    /// With the built-in rows, and one node.
    pub(crate) fn with_node() -> Self {
        let mut w = Self::new();
        w.run(&Command::Bootstrap { wall_ns: WALL });
        w.run(&register_node(&node(1)));
        w
    }

    /// Applies a command as the log gives it back.
    pub(crate) fn run(&mut self, command: &Command) -> Applied {
        self.index += 1;
        let mut batch = self.store.batch().expect("a batch");
        let applied = batch.apply(self.index, &logged(command)).expect("applies");
        self.touched = batch.commit().expect("commits");
        self.read(sums_are_right);
        applied
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(Reader<'_>) -> T) -> T {
        let snap = self.store.snap().expect("a snapshot");
        f(snap.reader())
    }

    pub(crate) fn register(&mut self, job: &Job, eval: u8) -> JobApplied {
        let eval = Box::new(pending(eval, job));
        match self.run(&Command::JobRegister {
            job: job.clone().into(),
            submission: None,
            eval: Some(eval),
            enforce: None,
        }) {
            Applied::Job(done) => done,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn job(&self, id: &str) -> Job {
        self.read(|r| r.job("default", id).expect("reads").expect("a job"))
    }

    pub(crate) fn alloc(&self, n: u8) -> Allocation {
        self.read(|r| r.alloc(&id(b'a', n)).expect("reads").expect("an allocation"))
    }

    /// Queued, starting, running, complete, failed, lost of the group `app`.
    pub(crate) fn counts(&self, job: &str) -> [i64; 6] {
        self.read(|r| {
            let s = r.job_summary("default", job).expect("reads").expect("a summary");
            let g = &s.summary["app"];
            [g.queued, g.starting, g.running, g.complete, g.failed, g.lost]
        })
    }
}

/// The sum of every node is what its allocations come to.
fn sums_are_right(r: Reader<'_>) {
    for n in 1..=3 {
        let node = id(b'd', n);
        let mut want = Usage::default();
        for held in r.usage_by_node(&node).expect("reads") {
            let (_, head) = held.expect("a row");
            want.add(&Usage {
                cpu: head.cpu.into(),
                memory: head.memory.into(),
                disk: head.disk.into(),
                allocs: 1,
            });
        }
        let key = keys::by_uuid(&node).expect("an id");
        assert_eq!(r.node_sum(&key).expect("reads"), want, "node {n}");
    }
}

/// What the log gives back of a command, which must be the same.
pub(crate) fn logged(command: &Command) -> Command {
    let back: Command = json::decode(&json::encode_lean(command)).expect("a command");
    // Fields that no row prints, such as the version that an allocation runs, travel beside it.
    assert_eq!(json::encode(&back), json::encode(command));
    back
}

/// A UUID of a kind, by number.
pub(crate) fn id(kind: u8, n: u8) -> String {
    format!("{kind:02x}000000-0000-0000-0000-0000000000{n:02x}")
}

pub(crate) fn job(name: &str) -> Job {
    Job {
        id: name.into(),
        name: name.into(),
        namespace: "default".into(),
        kind: "service".into(),
        priority: 50,
        submit_time: WALL,
        task_groups: vec![TaskGroup { name: "app".into(), ..TaskGroup::default() }].into(),
        ..Job::default()
    }
}

pub(crate) fn pending(n: u8, job: &Job) -> Evaluation {
    Evaluation {
        id: id(b'e', n),
        namespace: job.namespace.clone(),
        job_id: job.id.clone(),
        priority: job.priority,
        kind: job.kind.clone(),
        status: "pending".into(),
        triggered_by: "job-register".into(),
        ..Evaluation::default()
    }
}

pub(crate) fn complete(n: u8, job: &Job) -> Evaluation {
    Evaluation {
        status: "complete".into(),
        queued_allocations: vardo::stdx::BTreeMap::from([("app".to_owned(), 0)]).into(),
        ..pending(n, job)
    }
}

pub(crate) fn node(n: u8) -> Node {
    let resources = r#"{"Cpu":{"CpuShares":1000},"Memory":{"MemoryMB":1000},
        "Disk":{"DiskMB":10000},"MinDynamicPort":20000,"MaxDynamicPort":32000,
        "Networks":[{"IP":"127.0.0.1","Mode":"host","CIDR":"127.0.0.1/32","Device":"lo"}]}"#;
    Node {
        id: id(b'd', n),
        name: format!("node-{n}"),
        datacenter: "dc1".into(),
        node_pool: "default".into(),
        status: "ready".into(),
        http_addr: "127.0.0.1:4646".into(),
        node_resources: json::decode(resources.as_bytes()).expect("resources"),
        ..Node::default()
    }
}

pub(crate) fn register_node(node: &Node) -> Command {
    Command::NodeRegister {
        node: Box::new(node.clone()),
        secret: "secret".into(),
        wall_ns: WALL,
        evals: Vec::new(),
    }
}

/// Allocation `n` of a job on a node, which takes so many MHz.
pub(crate) fn alloc(n: u8, job: &Job, node: u8, cpu: i64) -> Placement {
    let resources = format!(
        r#"{{"Shared":{{"DiskMB":10}},"TaskLifecycles":{{"web":null}},
            "Tasks":{{"web":{{"Cpu":{{"CpuShares":{cpu}}},"Memory":{{"MemoryMB":10}}}}}}}}"#
    );
    Placement {
        alloc: Allocation {
            id: id(b'a', n),
            eval_id: id(b'e', 1),
            name: format!("{}.app[{n}]", job.id),
            namespace: job.namespace.clone(),
            job_id: job.id.clone(),
            node_id: id(b'd', node),
            node_name: format!("node-{node}"),
            task_group: "app".into(),
            desired_status: "run".into(),
            allocated_resources: json::decode(resources.as_bytes()).expect("resources"),
            ..Allocation::default()
        },
        job_version: job.version,
        job_create_index: job.create_index,
    }
}

pub(crate) fn plan(places: Vec<Placement>, evals: Vec<Evaluation>) -> Command {
    let plan = Plan { places, evals, ..Plan::default() };
    Command::PlanApply { plan: Box::new(plan), wall_ns: WALL }
}
