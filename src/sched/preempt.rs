//! Preemption: which allocations of less important jobs make room on a node.

use std::rc::Rc;

use crate::api::{AllocListStub, Allocation, Evaluation, Job, SchedulerConfiguration, status};
use crate::stdx::sort;
use crate::stdx::{BTreeMap, BTreeSet, Entropy};

use super::View;
use super::finish::{self, Changes};
use super::fit::{self, Capacity, Usage};

/// How much lower a victim's priority must be.
const PRIORITY_GAP: i64 = 10;
/// What each victim beyond its group's `migrate.max_parallel` adds to its distance.
const PARALLEL_PENALTY: f64 = 50.0;

/// Whether the configuration lets jobs of a kind preempt.
pub(super) fn enabled(config: &SchedulerConfiguration, kind: &str) -> bool {
    let c = &config.preemption_config;
    match kind {
        status::JOB_SERVICE => c.service_scheduler_enabled,
        status::JOB_BATCH => c.batch_scheduler_enabled,
        status::JOB_SYSTEM => c.system_scheduler_enabled,
        status::JOB_SYSBATCH => c.sys_batch_scheduler_enabled,
        _ => false,
    }
}

/// A group of a job: namespace, job, group.
type GroupKey = (String, String, String);

/// The allocations that may have to go, with what is known of their jobs.
pub(super) struct Rivals<'a> {
    view: &'a dyn View,
    job: &'a Job,
    jobs: BTreeMap<(String, String), Option<Rc<Job>>>,
    /// Victims so far, and how many per group.
    gone: BTreeSet<String>,
    taken: BTreeMap<GroupKey, i64>,
}

/// One that may have to go.
#[derive(Clone, Debug)]
struct Rival {
    alloc: Rc<Allocation>,
    need: Usage,
    priority: i64,
    /// How far its group is over `migrate.max_parallel` if it goes; zero: not.
    over: i64,
}

/// Those that go, with the score of their going.
#[derive(Clone, Debug)]
pub(super) struct Victims {
    pub(super) allocs: Vec<Rc<Allocation>>,
    pub(super) score: f64,
}

impl<'a> Rivals<'a> {
    pub(super) fn new(view: &'a dyn View, job: &'a Job) -> Self {
        Self { view, job, jobs: BTreeMap::new(), gone: BTreeSet::new(), taken: BTreeMap::new() }
    }

    /// The victims that make room for `need` on a node with `used` of `capacity` in use. `None`
    /// where no choice makes room. `stopped`: allocations that the plan stops anyway.
    pub(super) fn choose(
        &mut self,
        node: &str,
        capacity: &Capacity,
        used: &Usage,
        need: &Usage,
        stopped: &Changes,
    ) -> Option<Victims> {
        let mut rivals = self.on(node, stopped);
        let mut used = *used;
        used.add(need);
        let mut chosen: Vec<Rival> = Vec::new();
        while capacity.exceeded(&used).is_some() {
            let lowest = rivals.iter().map(|r| r.priority).min()?;
            let short = shortage(capacity, &used);
            let of_lowest = (0..rivals.len()).filter(|i| rivals[*i].priority == lowest);
            let next = of_lowest.min_by(|a, b| {
                let by_distance =
                    distance(&rivals[*a], &short).total_cmp(&distance(&rivals[*b], &short));
                by_distance.then_with(|| rivals[*a].alloc.id.cmp(&rivals[*b].alloc.id))
            })?;
            let rival = rivals.remove(next);
            used.sub(&rival.need);
            chosen.push(rival);
        }
        // The largest first: they may have made earlier choices superfluous.
        sort::by(&mut chosen, |a, b| {
            let size = |r: &Rival| (r.priority, r.need.cpu, r.need.memory);
            size(b).cmp(&size(a)).then_with(|| a.alloc.id.cmp(&b.alloc.id))
        });
        chosen.retain(|r| {
            let mut with = used;
            with.add(&r.need);
            let needed = capacity.exceeded(&with).is_some();
            if !needed {
                used = with;
            }
            needed
        });
        Some(Victims {
            score: score(chosen.iter().map(|r| r.priority)),
            allocs: chosen.into_iter().map(|r| r.alloc).collect(),
        })
    }

    fn on(&mut self, node: &str, stopped: &Changes) -> Vec<Rival> {
        let mut out = Vec::new();
        for alloc in self.view.allocs_by_node(node) {
            let own = alloc.namespace == self.job.namespace && alloc.job_id == self.job.id;
            let leaving = self.gone.contains(&alloc.id) || stopped.stops(&alloc.id);
            if own || leaving || fit::terminal(&alloc) {
                continue;
            }
            let (Some(r), Some(job)) = (&alloc.allocated_resources, self.job_of(&alloc)) else {
                continue;
            };
            if job.priority > self.job.priority - PRIORITY_GAP {
                continue;
            }
            let group = job.task_groups.iter().find(|g| g.name == alloc.task_group);
            let most = group.and_then(|g| g.migrate.as_ref()).and_then(|m| m.max_parallel);
            let most = most.unwrap_or(0);
            let taken = self.taken.get(&key(&alloc)).copied().unwrap_or(0);
            let over = if most > 0 { (taken + 1 - most).max(0) } else { 0 };
            out.push(Rival { need: fit::need(r), priority: job.priority, over, alloc });
        }
        out
    }

    fn job_of(&mut self, alloc: &Allocation) -> Option<Rc<Job>> {
        let (namespace, id) = (alloc.namespace.as_str(), alloc.job_id.as_str());
        let at = (namespace.to_owned(), id.to_owned());
        let view = self.view;
        self.jobs.entry(at).or_insert_with(|| view.job(namespace, id)).clone()
    }

    /// Writes down that `by` takes the place of the victims.
    pub(super) fn evict(&mut self, victims: &Victims, by: &str, changes: &mut Changes) {
        for victim in &victims.allocs {
            self.gone.insert(victim.id.clone());
            *self.taken.entry(key(victim)).or_insert(0) += 1;
            let change = changes.of(victim);
            change.desired_status = status::DESIRED_EVICT.to_owned();
            change.desired_description = format!("Preempted by alloc ID {by}");
            change.preempted_by = by.to_owned();
        }
    }

    /// Evaluations of the victims' jobs.
    pub(super) fn evaluations(
        &mut self,
        eval: &Evaluation,
        now: i64,
        entropy: &mut dyn Entropy,
    ) -> Vec<Evaluation> {
        let jobs: BTreeSet<(&String, &String)> =
            sort::gather(self.taken.keys().map(|(namespace, job, _)| (namespace, job)));
        let mut out = Vec::new();
        for (namespace, id) in jobs {
            let Some(Some(job)) = self.jobs.get(&(namespace.clone(), id.clone())) else { continue };
            out.push(Evaluation {
                job_id: id.clone(),
                job_modify_index: 0,
                kind: job.kind.clone(),
                namespace: namespace.clone(),
                previous_eval: String::new(),
                priority: job.priority,
                triggered_by: status::TRIGGER_PREEMPTION.to_owned(),
                ..finish::next(eval, now, entropy)
            });
        }
        out
    }
}

fn key(a: &Allocation) -> GroupKey {
    (a.namespace.clone(), a.job_id.clone(), a.task_group.clone())
}

/// What is missing in each dimension.
fn shortage(capacity: &Capacity, used: &Usage) -> Usage {
    Usage {
        cpu: (used.cpu - capacity.cpu).max(0),
        memory: (used.memory - capacity.memory).max(0),
        disk: (used.disk - capacity.disk).max(0),
        allocs: 0,
    }
}

/// How badly a rival matches what is missing: Euclid over the relative differences.
fn distance(rival: &Rival, short: &Usage) -> f64 {
    let part = |short: i64, has: i64| match short > 0 {
        true => ((float(short) - float(has)) / float(short)).powi(2),
        false => 0.0,
    };
    let sum = part(short.cpu, rival.need.cpu)
        + part(short.memory, rival.need.memory)
        + part(short.disk, rival.need.disk);
    sum.sqrt() + float(rival.over) * PARALLEL_PENALTY
}

/// Near 1 for unimportant victims, falling with their priorities.
fn score(priorities: impl Iterator<Item = i64> + Clone) -> f64 {
    let most = float(priorities.clone().max().unwrap_or(0));
    let sum = float(priorities.sum());
    let net = if most > 0.0 { most + sum / most } else { 0.0 };
    1.0 / (1.0 + libm::exp(0.0048 * (net - 2048.0)))
}

#[expect(clippy::cast_precision_loss, reason = "sizes of nodes are far below 2^53")]
fn float(n: i64) -> f64 {
    n as f64
}

/// The short form that plan annotations print.
pub(super) fn stub(a: &Allocation) -> AllocListStub {
    AllocListStub {
        client_description: a.client_description.clone(),
        client_status: a.client_status.clone(),
        create_index: a.create_index,
        create_time: a.create_time,
        deployment_status: a.deployment_status.clone(),
        desired_description: a.desired_description.clone(),
        desired_status: a.desired_status.clone(),
        desired_transition: a.desired_transition.clone(),
        eval_id: a.eval_id.clone(),
        followup_eval_id: a.followup_eval_id.clone(),
        id: a.id.clone(),
        job_id: a.job_id.clone(),
        job_type: a.job.as_ref().map(|j| j.kind.clone()).unwrap_or_default(),
        job_version: a.job_version,
        modify_index: a.modify_index,
        modify_time: a.modify_time,
        name: a.name.clone(),
        namespace: a.namespace.clone(),
        next_allocation: a.next_allocation.clone(),
        node_id: a.node_id.clone(),
        node_name: a.node_name.clone(),
        preempted_allocations: a.preempted_allocations.clone(),
        preempted_by_allocation: a.preempted_by_allocation.clone(),
        reschedule_tracker: a.reschedule_tracker.clone(),
        task_group: a.task_group.clone(),
        task_states: a.task_states.clone(),
        ..AllocListStub::default()
    }
}
