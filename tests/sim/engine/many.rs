//! Many seeds: what they add up to, and the shortest form of one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

use vardo::stdx::BTreeMap;

use super::beside::Stores;
use super::observer::Failure;
use super::plan::Plan;
use super::rng::fold;
use super::world::{Report, run};

/// Runs that a failing plan is shortened with.
const TRIES_MAX: u32 = 400;

/// Runs a plan; an assertion of the core itself counts as a broken promise.
/// `stores`: what stands beside the models of the disks.
pub(crate) fn judge(plan: &Plan, traced: bool, stores: Stores<'_>) -> Report {
    catch_unwind(AssertUnwindSafe(|| run(plan, traced, stores))).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| cause.downcast_ref::<&str>().copied());
        let what = text.unwrap_or("a panic").to_owned();
        Report {
            failure: Some(Failure { rule: "core", what, at: 0 }),
            hash: 0,
            events: 0,
            time: 0,
            written: 0,
            open: 0,
            sometimes: BTreeMap::new(),
            trace: Vec::new(),
        }
    })
}

/// A plan with as few faults and as little time as still break the same promise.
pub(crate) fn shrink(plan: &Plan) -> (Plan, Failure) {
    let rule = |plan: &Plan| judge(plan, false, None).failure;
    let mut best = plan.clone();
    let mut failure = rule(plan).expect("a plan that fails");
    let mut tries = 0;
    let mut attempt = |best: &mut Plan, failure: &mut Failure, plan: Plan| {
        tries += 1;
        if tries > TRIES_MAX {
            return false;
        }
        let found = rule(&plan).filter(|f| f.rule == failure.rule);
        let better = found.is_some();
        if let Some(found) = found {
            (*best, *failure) = (plan, found);
        }
        better
    };
    let mut before = usize::MAX;
    while best.faults.len() < before {
        before = best.faults.len();
        let mut plan = best.clone();
        plan.faults.retain(|(at, _)| failure.at == 0 || *at <= failure.at);
        attempt(&mut best, &mut failure, plan);
        let mut size = best.faults.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < best.faults.len() {
                let mut plan = best.clone();
                plan.faults.drain(at..(at + size).min(plan.faults.len()));
                if !attempt(&mut best, &mut failure, plan) {
                    at += size;
                }
            }
            size /= 2;
        }
    }
    for clients in 1..best.swarm.clients {
        let mut plan = best.clone();
        plan.swarm.clients = clients;
        if attempt(&mut best, &mut failure, plan) {
            break;
        }
    }
    (best, failure)
}

/// What a failing seed is told by.
pub(crate) fn explain(seed: u64, seconds: u64, failure: &Failure) -> String {
    let (plan, least) = shrink(&Plan::new(seed, seconds));
    let mut out = format!(
        "seed {seed} of {seconds} s breaks {}: {}\nin short, at {} ms: {}: {}\n{:?}\n",
        failure.rule,
        failure.what,
        least.at / 1_000_000,
        least.rule,
        least.what,
        plan.swarm,
    );
    for (at, fault) in &plan.faults {
        out.push_str(&format!("{:>9} ms {fault:?}\n", at / 1_000_000));
    }
    out.push_str("SIM_TRACE=1 prints what happened in that run\n");
    out
}

/// Sums over many seeds.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) seeds: u64,
    pub(crate) events: u64,
    pub(crate) written: u64,
    pub(crate) open: u64,
    /// Of all runs.
    pub(crate) hash: u64,
    /// Virtual time, ns.
    pub(crate) time: u128,
    pub(crate) sometimes: BTreeMap<&'static str, u64>,
    pub(crate) failed: Vec<(u64, Failure)>,
}

impl Sums {
    pub(crate) fn add(&mut self, seed: u64, report: Report) {
        self.seeds += 1;
        self.events += report.events;
        self.written += report.written;
        self.open += report.open;
        self.hash = fold(self.hash, report.hash);
        self.time += u128::from(report.time);
        for (what, n) in &report.sometimes {
            *self.sometimes.entry(what).or_insert(0) += n;
        }
        self.failed.extend(report.failure.map(|f| (seed, f)));
    }
}
