//! How long one evaluation takes: a service job of N allocations over 5,000 nodes in 25 racks, of
//! which a constraint allows about half, with and without a spread over the racks. Columns are kept
//! from one evaluation to the next, as in an agent; everything else is part of the time.
//!
//! `cargo bench` prints processor time beside what the reference takes on such a machine.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::rc::Rc;

use vardo::api::{
    Allocation, Constraint, Deployment, Evaluation, Job, NetworkResource, Node, Port, Resources,
    SchedulerConfiguration, Spread, Task, TaskGroup,
};
use vardo::os::clock::cpu_ns;
use vardo::sched::{Fleet, Seed, View, schedule};
use vardo::simulate::{Shape, fill};
use vardo::stdx::Entropy;

const NODES: u32 = 5_000;
const RACKS: u32 = 25;
const COUNTS: [i64; 4] = [50, 300, 600, 900];
/// Milliseconds of the reference, without and with a spread.
const REFERENCE: [[f64; 4]; 2] = [[20.0, 92.0, 247.0, 425.0], [143.0, 3_800.0, 12_200.0, 28_900.0]];
const RUNS: u64 = 21;

struct Cluster {
    fleet: Fleet,
    job: Rc<Job>,
}

impl View for Cluster {
    fn index(&self) -> u64 {
        100
    }
    fn job(&self, _: &str, _: &str) -> Option<Rc<Job>> {
        Some(self.job.clone())
    }
    fn fleet(&self) -> Fleet {
        self.fleet.clone()
    }
    fn node(&self, id: &str) -> Option<Rc<Node>> {
        self.fleet.position(id).map(|at| self.fleet.node(at).clone())
    }
    fn allocs_by_job(&self, _: &str, _: &str) -> Vec<Rc<Allocation>> {
        Vec::new()
    }
    fn allocs_by_node(&self, _: &str) -> Vec<Rc<Allocation>> {
        Vec::new()
    }
    fn deployment_latest(&self, _: &str, _: &str) -> Option<Deployment> {
        None
    }
    fn proven_version(&self, _: &Job, _: &str) -> Option<Rc<Job>> {
        None
    }
    fn config(&self) -> SchedulerConfiguration {
        SchedulerConfiguration::default()
    }
}

struct Ids(u64);

impl Entropy for Ids {
    fn fill(&mut self, out: &mut [u8]) {
        self.0 += 1;
        for (to, from) in out.iter_mut().zip(self.0.to_be_bytes().iter().cycle()) {
            *to = *from;
        }
    }
}

fn main() {
    let shape = Shape {
        nodes: NODES,
        cpu: 4_000,
        memory: 8_192,
        disk: 100_000,
        racks: RACKS,
        datacenters: 1,
    };
    let nodes = fill(shape.make(), &["exec".to_owned()]).expect("nodes with ids of their own");
    let fleet = Fleet::of(nodes.into_iter().map(Rc::new));
    println!("One evaluation over {NODES} nodes, processor time of {RUNS} runs");
    println!(
        "{:>8} {:>6} {:>12} {:>12} {:>12} {:>8}",
        "spread", "N", "min", "median", "reference", "times"
    );
    for (spread, reference) in [(false, REFERENCE[0]), (true, REFERENCE[1])] {
        for (count, reference) in COUNTS.into_iter().zip(reference) {
            let cluster = Cluster { fleet: fleet.clone(), job: Rc::new(job(count, spread)) };
            let mut times: Vec<u64> = (0..RUNS).map(|seed| run(&cluster, seed, count)).collect();
            times.sort_unstable();
            let ms = |ns: u64| ns as f64 / 1e6;
            let (least, median) = (ms(times[0]), ms(times[times.len() / 2]));
            let spread = if spread { "rack" } else { "none" };
            println!(
                "{spread:>8} {count:>6} {least:>9.2} ms {median:>9.2} ms {reference:>9.0} ms \
                 {:>7.0}x",
                reference / median
            );
        }
    }
}

fn run(cluster: &Cluster, seed: u64, count: i64) -> u64 {
    let eval = Evaluation {
        id: format!("eval-{seed}"),
        job_id: cluster.job.id.clone(),
        kind: cluster.job.kind.clone(),
        triggered_by: "job-register".to_owned(),
        status: "pending".to_owned(),
        ..Evaluation::default()
    };
    let seed = Seed { rng: seed, wall_ns: 1_700_000_000_000_000_000 };
    let mut ids = Ids(0);
    let start = cpu_ns();
    let plan = schedule(cluster, &eval, seed, &mut ids);
    let taken = cpu_ns() - start;
    assert_eq!(plan.places.len() as i64, count, "all are placed");
    for p in &plan.places {
        let node = cluster.node(&p.alloc.node_id).expect("a known node");
        let rack: u32 = node.meta["rack"][1..].parse().expect("a number");
        assert!(rack < RACKS / 2, "only in racks that are allowed");
        let ports = &p.alloc.allocated_resources.as_ref().expect("resources").shared.ports;
        assert!(ports.len() == 2 && ports[0].value != ports[1].value, "two ports each");
    }
    taken
}

fn job(count: i64, spread: bool) -> Job {
    let allowed: Vec<String> = (0..RACKS / 2).map(|r| format!("r{r}")).collect();
    let port = |label: &str| Port { label: label.to_owned(), ..Port::default() };
    let group = TaskGroup {
        name: "web".to_owned(),
        count: Some(count),
        networks: vec![NetworkResource {
            dynamic_ports: vec![port("http"), port("admin")].into(),
            ..NetworkResource::default()
        }]
        .into(),
        tasks: vec![Task {
            name: "web".to_owned(),
            driver: "exec".to_owned(),
            resources: Some(Resources {
                cpu: Some(500),
                memory_mb: Some(256),
                ..Resources::default()
            }),
            ..Task::default()
        }]
        .into(),
        ..TaskGroup::default()
    };
    let over_racks =
        Spread { attribute: "${meta.rack}".to_owned(), weight: Some(100), ..Spread::default() };
    Job {
        id: "bench".to_owned(),
        name: "bench".to_owned(),
        namespace: "default".to_owned(),
        kind: "service".to_owned(),
        priority: 50,
        datacenters: vec!["*".to_owned()].into(),
        node_pool: "default".to_owned(),
        constraints: vec![Constraint {
            ltarget: "${meta.rack}".to_owned(),
            operand: "set_contains_any".to_owned(),
            rtarget: allowed.join(","),
        }]
        .into(),
        spreads: if spread { vec![over_racks].into() } else { Vec::new().into() },
        task_groups: vec![group].into(),
        ..Job::default()
    }
}
