//! What all kinds of jobs have in common at the end of an evaluation: the evaluation itself, the
//! ones that follow it, and changes of stored allocations merged by id.

use std::rc::Rc;

use crate::api::{
    AllocMetric, Allocation, DesiredUpdates, Evaluation, Job, PlanAnnotations, status,
};
use crate::command::{AllocStop, Plan};
use crate::stdx::json::Time;
use crate::stdx::{BTreeMap, Entropy, sort, uuid};

use super::preempt;
use super::reconcile::{Delay, Delayed};

/// Reschedules that are due within this time of each other share one evaluation, in nanoseconds.
const FOLLOW_UP_WINDOW_NS: i64 = 5_000_000_000;

/// Changes of stored allocations, one per allocation.
#[derive(Debug, Default)]
pub(super) struct Changes {
    list: Vec<AllocStop>,
    at: BTreeMap<String, usize>,
}

impl Changes {
    /// The change of one allocation, to be filled in.
    pub(super) fn of(&mut self, alloc: &Allocation) -> &mut AllocStop {
        let at = *self.at.entry(alloc.id.clone()).or_insert_with(|| {
            self.list.push(AllocStop {
                id: alloc.id.clone(),
                node_id: alloc.node_id.clone(),
                ..AllocStop::default()
            });
            self.list.len() - 1
        });
        &mut self.list[at]
    }

    /// Whether an allocation is to stop.
    pub(super) fn stops(&self, id: &str) -> bool {
        self.at.get(id).is_some_and(|at| !self.list[*at].desired_status.is_empty())
    }

    pub(super) fn add(&mut self, change: AllocStop) {
        assert!(!self.at.contains_key(&change.id), "an allocation is patched once");
        self.at.insert(change.id.clone(), self.list.len());
        self.list.push(change);
    }

    pub(super) fn into_list(self) -> Vec<AllocStop> {
        self.list
    }
}

/// What came of an evaluation besides allocations.
#[derive(Debug, Default)]
pub(super) struct Result {
    pub(super) failed: BTreeMap<String, AllocMetric>,
    pub(super) queued: BTreeMap<String, i64>,
    pub(super) updates: BTreeMap<String, DesiredUpdates>,
    pub(super) deployment_id: String,
    /// Computed classes of nodes with whether they could run the job.
    pub(super) classes: BTreeMap<String, bool>,
    pub(super) escaped: bool,
    /// Allocations of other jobs that had to go.
    pub(super) preempted: Vec<Rc<Allocation>>,
}

/// The plan of an evaluation before anything is decided.
pub(super) fn plan(eval: &Evaluation, job: Option<&Job>, index: u64) -> Plan {
    Plan {
        eval_id: eval.id.clone(),
        priority: job.map_or(eval.priority, |j| j.priority),
        namespace: eval.namespace.clone(),
        job_id: eval.job_id.clone(),
        all_at_once: job.is_some_and(|j| j.all_at_once),
        snapshot_index: index,
        ..Plan::default()
    }
}

/// The evaluation, ended well, and the blocked one where something found no place. An evaluation
/// that was blocked before stays so itself.
pub(super) fn complete(
    eval: &Evaluation,
    result: Result,
    index: u64,
    now: i64,
    entropy: &mut dyn Entropy,
) -> Vec<Evaluation> {
    let mut done = Evaluation {
        deployment_id: result.deployment_id,
        failed_tg_allocs: result.failed.clone().into(),
        modify_time: now,
        plan_annotations: Some(Box::new(PlanAnnotations {
            desired_tg_updates: result.updates.into(),
            preempted_allocs: result.preempted.iter().map(|a| preempt::stub(a)).collect(),
        })),
        queued_allocations: result.queued.into(),
        snapshot_index: index,
        ..eval.clone()
    };
    if result.failed.is_empty() || (eval.status == status::EVAL_BLOCKED) {
        done.status = status::EVAL_COMPLETE.to_owned();
        done.status_description = String::new();
    }
    if result.failed.is_empty() {
        return vec![done];
    }
    if eval.status == status::EVAL_BLOCKED {
        done.status = status::EVAL_BLOCKED.to_owned();
        done.status_description.clone_from(&eval.status_description);
        done.class_eligibility = result.classes.into();
        done.escaped_computed_class = result.escaped;
        return vec![done];
    }
    let blocked = Evaluation {
        class_eligibility: result.classes.into(),
        escaped_computed_class: result.escaped,
        failed_tg_allocs: result.failed.into(),
        snapshot_index: index,
        status: status::EVAL_BLOCKED.to_owned(),
        status_description: "created to place remaining allocations".to_owned(),
        triggered_by: status::TRIGGER_QUEUED.to_owned(),
        ..next(eval, now, entropy)
    };
    done.status = status::EVAL_COMPLETE.to_owned();
    done.status_description = String::new();
    done.blocked_eval.clone_from(&blocked.id);
    vec![done, blocked]
}

/// The evaluation, failed.
pub(super) fn failed(eval: &Evaluation, why: String, index: u64, now: i64) -> Evaluation {
    Evaluation {
        modify_time: now,
        snapshot_index: index,
        status: status::EVAL_FAILED.to_owned(),
        status_description: why,
        ..eval.clone()
    }
}

/// An evaluation of the same job that comes after this one.
pub(super) fn next(eval: &Evaluation, now: i64, entropy: &mut dyn Entropy) -> Evaluation {
    Evaluation {
        create_time: now,
        id: uuid::of_row(entropy),
        job_id: eval.job_id.clone(),
        job_modify_index: eval.job_modify_index,
        kind: eval.kind.clone(),
        modify_time: now,
        namespace: eval.namespace.clone(),
        previous_eval: eval.id.clone(),
        priority: eval.priority,
        status: status::EVAL_PENDING.to_owned(),
        ..Evaluation::default()
    }
}

/// Evaluations at the times that allocations wait for; each allocation learns the id of its own.
pub(super) fn follow_ups(
    eval: &Evaluation,
    mut delayed: Vec<Delayed>,
    changes: &mut Changes,
    now: i64,
    entropy: &mut dyn Entropy,
) -> Vec<Evaluation> {
    let mut out: Vec<Evaluation> = Vec::new();
    sort::by(&mut delayed, |a, b| {
        let key = |d: &Delayed| (d.kind == Delay::Disconnect, d.at);
        key(a).cmp(&key(b)).then_with(|| a.alloc.id.cmp(&b.alloc.id))
    });
    let mut reschedules = 0;
    for d in delayed {
        let (first, later, why) = match d.kind {
            Delay::Disconnect => (
                status::TRIGGER_MAX_DISCONNECT,
                status::TRIGGER_MAX_DISCONNECT,
                "created for delayed disconnect timeout",
            ),
            Delay::Reschedule | Delay::StopOnClient => (
                status::TRIGGER_RESCHEDULE,
                status::TRIGGER_ALLOC_FAILURE,
                "created for delayed rescheduling",
            ),
        };
        let shares = |e: &&Evaluation| {
            e.status_description == why && d.at - e.wait_until.0 < FOLLOW_UP_WINDOW_NS
        };
        let id = match out.last().filter(shares) {
            Some(e) => e.id.clone(),
            None => {
                let trigger = if reschedules == 0 { first } else { later };
                reschedules += usize::from(d.kind != Delay::Disconnect);
                out.push(Evaluation {
                    status_description: why.to_owned(),
                    triggered_by: trigger.to_owned(),
                    wait_until: Time(d.at),
                    ..next(eval, now, entropy)
                });
                out.last().map(|e| e.id.clone()).unwrap_or_default()
            }
        };
        changes.of(&d.alloc).followup_eval_id = id;
    }
    out
}
