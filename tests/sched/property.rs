//! Random clusters, jobs and events: whatever happens, no node is over-committed, no port is held
//! twice, and nothing is left to do once a plan was carried out.
//!
//! `VARDO_SEED=n` replays one seed.

use std::rc::Rc;

use vardo::api::{Allocation, Job, status};
use vardo::command::Plan;
use vardo::sched::{fits, schedule};
use vardo::stdx::BTreeSet;

use super::world::{Count, NOW, World};

/// A small generator of its own: the tests must not lean on the one they test.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    pub(super) fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

#[test]
fn plans_keep_their_promises() {
    let seeds: std::ops::Range<u64> = match std::env::var_os("VARDO_SEED") {
        Some(text) => {
            let seed = text.to_str().and_then(|t| t.parse().ok()).expect("VARDO_SEED is a number");
            seed..seed + 1
        }
        None => 1..121u64,
    };
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let mut world = start(&mut dice);
        for step in 0..12 {
            let plan = run(&world, seed * 100 + step);
            assert_eq!(plan, run(&world, seed * 100 + step), "seed {seed}: not a function");
            carry_out(&mut world, &plan);
            check(
                &world,
                &format!("seed {seed} step {step}\n{}", super::show::plan(&world, &plan)),
            );
            let again = run(&world, seed * 100 + step + 50);
            let waits = world.job.as_ref().is_some_and(|j| j.task_groups[0].update.is_some());
            let failed = plan.evals.iter().any(|e| !e.failed_tg_allocs.is_empty());
            let idle = waits || failed || again.is_empty();
            let (before, after) =
                (super::show::plan(&world, &plan), super::show::plan(&world, &again));
            assert!(idle, "seed {seed} step {step}\n{before}\nand then\n{after}");
            happen(&mut world, &mut dice);
        }
    }
}

fn run(world: &World, rng: u64) -> Plan {
    let mut eval = world.eval.clone();
    eval.id = format!("eval-{rng}");
    let seed = vardo::sched::Seed { rng, wall_ns: NOW };
    schedule(world, &eval, seed, &mut Count(u32::try_from(rng).unwrap() << 12))
}

fn start(dice: &mut Dice) -> World {
    let mut text = String::from("random\n");
    for i in 0..1 + dice.below(12) {
        let cpu = 500 + dice.below(4) * 500;
        let cores = dice.below(3) * 2;
        let rack = dice.pick(&["r1", "r2"]);
        text.push_str(&format!(
            "node n{i:02} cpu={cpu} memory=2000 cores={cores} meta.rack={rack} max_port=20003\n"
        ));
    }
    let kind = dice.pick(&["service", "service", "batch", "system", "sysbatch"]);
    let ports = dice.pick(&["", " ports=a", " ports=a,b static=s:80", " static=s:20001 ports=a"]);
    let parallel = if kind == "service" { dice.pick(&["", "", " parallel=2"]) } else { "" };
    let cores = if dice.below(5) == 0 { " cores=1 cpu=0" } else { " cpu=200" };
    let count = if kind == "service" || kind == "batch" { 1 + dice.below(9) } else { 1 };
    text.push_str(&format!("job web type={kind} count={count}{ports}{parallel}{cores}\n"));
    match dice.below(4) {
        0 => text.push_str("set /Constraints/0 {\"Operand\":\"distinct_hosts\"}\n"),
        1 => text.push_str("set /Spreads/0 {\"Attribute\":\"${meta.rack}\",\"Weight\":50}\n"),
        _ => {}
    }
    World::parse(&text).expect("the generated world reads")
}

/// What the store and the nodes would do with a plan.
fn carry_out(world: &mut World, plan: &Plan) {
    let job = world.job.clone().expect("a job");
    for stop in &plan.stops {
        let old = world.allocs.iter_mut().find(|a| a.id == stop.id).expect("a known allocation");
        let mut a = Allocation::clone(old);
        for (to, from) in [
            (&mut a.desired_status, &stop.desired_status),
            (&mut a.client_status, &stop.client_status),
            (&mut a.followup_eval_id, &stop.followup_eval_id),
        ] {
            if !from.is_empty() {
                to.clone_from(from);
            }
        }
        if a.desired_status == status::DESIRED_STOP && a.client_status == status::CLIENT_RUNNING {
            a.client_status = status::CLIENT_COMPLETE.to_owned();
        }
        *old = Rc::new(a);
    }
    for place in &plan.places {
        let mut a = place.alloc.clone();
        a.job = Some(job.clone());
        let old = world.allocs.iter_mut().find(|o| o.id == a.id);
        match old {
            Some(old) => {
                a.client_status.clone_from(&old.client_status);
                *old = Rc::new(a);
            }
            None => {
                a.client_status = status::CLIENT_RUNNING.to_owned();
                let previous = a.previous_allocation.clone();
                if let Some(p) = world.allocs.iter_mut().find(|o| o.id == previous) {
                    Rc::make_mut(p).next_allocation.clone_from(&a.id);
                }
                world.allocs.push(Rc::new(a));
            }
        }
    }
}

fn live(a: &Allocation) -> bool {
    a.desired_status == status::DESIRED_RUN
        && matches!(a.client_status.as_str(), status::CLIENT_RUNNING | status::CLIENT_PENDING)
}

fn check(world: &World, at: &str) {
    for node in &world.nodes {
        let here = world.allocs.iter().filter(|a| a.node_id == node.id);
        let fit = fits(node, here.map(Rc::as_ref));
        assert_eq!(fit, Ok(()), "{at}node {}", node.id);
    }
    let job = world.job.as_ref().expect("a job");
    let mut names = BTreeSet::new();
    for a in world.allocs.iter().filter(|a| live(a)) {
        let place = if job.kind.starts_with("sys") { a.node_id.as_str() } else { "" };
        assert!(names.insert((place, a.name.clone())), "{at}{} twice", a.name);
    }
    if !job.kind.starts_with("sys") {
        let count = usize::try_from(job.task_groups[0].count.unwrap_or(0)).unwrap();
        assert!(
            names.len() <= count,
            "{at}more than {count}: {:#?}",
            world
                .allocs
                .iter()
                .filter(|a| live(a))
                .map(|a| (&a.id, &a.name, &a.node_id, &a.client_status))
                .collect::<Vec<_>>()
        );
    }
}

/// Something changes: the job, a node, or an allocation.
fn happen(world: &mut World, dice: &mut Dice) {
    let mut job = Job::clone(world.job.as_ref().expect("a job"));
    match dice.below(6) {
        0 => {
            if !job.kind.starts_with("sys") {
                job.task_groups[0].count = Some(i64::try_from(dice.below(10)).unwrap());
            }
            job.version += 1;
            job.job_modify_index += 1;
        }
        1 => {
            let value = job.version.to_string();
            job.task_groups[0].tasks[0].env.insert("V".to_owned(), value);
            job.version += 1;
            job.job_modify_index += 1;
        }
        2 | 3 => {
            let at = usize::try_from(dice.below(world.nodes.len() as u64)).unwrap();
            let status = dice.pick(&["down", "ready", "disconnected", "ready"]);
            Rc::make_mut(&mut world.nodes[at]).status = status.to_owned();
        }
        _ => {
            if let Some(at) = world.allocs.iter().position(|a| live(a) && dice.below(2) == 0) {
                let a = Rc::make_mut(&mut world.allocs[at]);
                a.client_status = dice.pick(&["failed", "complete", "running"]).to_owned();
                // A system allocation that migrates leaves its place empty for one round.
                let moves = dice.below(3) == 0 && !job.kind.starts_with("sys");
                a.desired_transition.migrate = moves.then_some(true);
            }
        }
    }
    world.job = Some(Rc::new(job));
}

/// What is placed on equal nodes lies evenly over the values of a spread, whatever died before.
#[test]
fn even_spreads_stay_within_one_of_ideal() {
    for seed in 1..301 {
        let mut dice = Dice::new(seed);
        let racks = 2 + dice.below(4);
        let per_rack = 1 + dice.below(5);
        let count = 1 + dice.below(racks * per_rack * 3);
        let mut text = String::from("random\n");
        for i in 0..racks * per_rack {
            text.push_str(&format!("node n{i:02} meta.rack=r{}\n", i % racks));
        }
        text.push_str(&format!("job web count={count} cpu=100\n"));
        text.push_str("set /Spreads/0 {\"Attribute\":\"${meta.rack}\",\"Weight\":100}\n");
        let mut world = World::parse(&text).expect("the generated world reads");
        let plan = run(&world, seed);
        carry_out(&mut world, &plan);
        let mut by_rack = vec![0u64; usize::try_from(racks).unwrap()];
        for a in &world.allocs {
            let node: u64 = a.node_id[1..].parse().unwrap();
            by_rack[usize::try_from(node % racks).unwrap()] += 1;
        }
        let ideal = count / racks;
        let even = by_rack.iter().all(|n| (ideal..=ideal + 1).contains(n));
        assert!(even, "seed {seed}: {count} over {by_rack:?}\n{text}");
    }
}

/// While a rollout goes on, no more allocations are replaced than may be in flight.
#[test]
fn no_more_than_max_parallel_are_in_flight() {
    for seed in 1..201 {
        let mut dice = Dice::new(seed);
        let parallel = 1 + dice.below(4);
        let count = 1 + dice.below(9);
        let text = format!(
            "random\nnode n[1..4] cpu=4000\njob web count={count} parallel={parallel} version=1\n"
        );
        let mut world = World::parse(&text).expect("the generated world reads");
        let plan = run(&world, seed);
        carry_out(&mut world, &plan);
        let mut job = Job::clone(world.job.as_ref().expect("a job"));
        job.version += 1;
        job.job_modify_index += 1;
        job.task_groups[0].tasks[0].env.insert("V".to_owned(), "2".to_owned());
        world.job = Some(Rc::new(job));
        let mut turns = 0;
        loop {
            let plan = run(&world, seed + 1_000 + turns);
            if let Some(d) = plan.deployment.clone() {
                world.deployment = Some(*d);
            }
            carry_out(&mut world, &plan);
            let fresh: Vec<usize> = (0..world.allocs.len())
                .filter(|i| live(&world.allocs[*i]))
                .filter(|i| world.allocs[*i].job.as_ref().is_some_and(|j| j.version == 2))
                .collect();
            let healthy = |a: &Allocation| {
                a.deployment_status.as_ref().is_some_and(|s| s.healthy == Some(true))
            };
            let waiting: Vec<usize> =
                fresh.iter().copied().filter(|i| !healthy(&world.allocs[*i])).collect();
            assert!(
                waiting.len() as u64 <= parallel,
                "seed {seed}: {} of {count} in flight, {parallel} may be",
                waiting.len()
            );
            if fresh.len() as u64 == count && waiting.is_empty() {
                break;
            }
            turns += 1;
            assert!(turns < 100, "seed {seed}: the rollout stands still");
            // One at a time turns healthy.
            let Some(at) = waiting.first() else { continue };
            let a = Rc::make_mut(&mut world.allocs[*at]);
            a.deployment_status.get_or_insert_default().healthy = Some(true);
            let state = world.deployment.as_mut().and_then(|d| d.task_groups.get_mut("app"));
            state.expect("a deployment").healthy_allocs += 1;
        }
    }
}
