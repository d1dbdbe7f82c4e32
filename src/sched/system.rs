//! System and sysbatch jobs: one allocation of each group on every node that can run it.

use std::rc::Rc;

use crate::api::{
    AllocMetric, AllocState, Allocation, Deployment, DesiredUpdates, Evaluation, Job, TaskGroup,
    status,
};
use crate::command::{Placement, Plan};
use crate::stdx::json::Time;
use crate::stdx::{BTreeMap, BTreeSet, Entropy, sort, uuid};

use super::build::Draft;
use super::finish::{self, Changes};
use super::fit;
use super::preempt::{self, Rivals};
use super::reconcile::{self, Disconnect, NodeState, deployment};
use super::rollout::{self, Rollout};
use super::select::{Placer, Wish};
use super::tally::{Tally, add_exhausted};
use super::update;
use super::{Seed, View};

pub(super) fn run(
    view: &dyn View,
    eval: &Evaluation,
    seed: Seed,
    entropy: &mut dyn Entropy,
) -> Plan {
    let job = view.job(&eval.namespace, &eval.job_id);
    let allocs = view.allocs_by_job(&eval.namespace, &eval.job_id);
    let latest = match eval.kind == status::JOB_SYSTEM {
        true => view.deployment_latest(&eval.namespace, &eval.job_id),
        false => None,
    };
    let mut plan = finish::plan(eval, job.as_deref(), view.index());
    let mut result = finish::Result::default();
    let mut changes = Changes::default();
    let live = job.as_deref().filter(|j| !j.stop);
    let current = rollout::current(live, latest.as_ref(), &mut plan.deployment_updates);
    let mut exhausted = BTreeSet::new();
    if let Some(job) = live {
        let id = uuid::of_row(entropy);
        let mut work = Work {
            view,
            eval,
            job,
            placer: Placer::new(view, job, &allocs, seed.rng),
            current,
            deployment: None,
            new_id: id,
            changes: &mut changes,
            plan: &mut plan,
            result: &mut result,
            exhausted: BTreeSet::new(),
            complete: current.is_some(),
            now: seed.wall_ns,
            entropy: &mut *entropy,
            rivals: preempt::enabled(&view.config(), &job.kind).then(|| Rivals::new(view, job)),
        };
        work.run(&allocs);
        exhausted = std::mem::take(&mut work.exhausted);
    } else {
        stop_all(view, job.as_deref(), &allocs, &mut changes, &mut result);
    }
    plan.stops = changes.into_list();
    let shown = plan.deployment.as_deref().or(latest.as_ref());
    result.deployment_id = shown.map(|d| d.id.clone()).unwrap_or_default();
    let follow_ups = std::mem::take(&mut plan.evals);
    plan.evals = complete(eval, result, &exhausted, view.index(), seed.wall_ns, entropy);
    plan.evals.extend(follow_ups);
    plan
}

/// Ends the evaluation, with one blocked evaluation per node that had no room.
fn complete(
    eval: &Evaluation,
    mut result: finish::Result,
    exhausted: &BTreeSet<String>,
    index: u64,
    now: i64,
    entropy: &mut dyn Entropy,
) -> Vec<Evaluation> {
    let failed = std::mem::take(&mut result.failed);
    let (classes, escaped) = (std::mem::take(&mut result.classes), result.escaped);
    let mut evals = finish::complete(eval, result, index, now, entropy);
    let stays = eval.status == status::EVAL_BLOCKED && exhausted.contains(&eval.node_id);
    for done in &mut evals {
        done.failed_tg_allocs = failed.clone().into();
        if stays {
            done.status = status::EVAL_BLOCKED.to_owned();
            done.class_eligibility = classes.clone().into();
            done.escaped_computed_class = escaped;
        }
    }
    for node in exhausted.iter().filter(|n| !stays || **n != eval.node_id) {
        evals.push(Evaluation {
            class_eligibility: classes.clone().into(),
            escaped_computed_class: escaped,
            failed_tg_allocs: failed.clone().into(),
            node_id: node.clone(),
            snapshot_index: index,
            status: status::EVAL_BLOCKED.to_owned(),
            status_description: "created to place remaining allocations".to_owned(),
            triggered_by: status::TRIGGER_QUEUED.to_owned(),
            ..finish::next(eval, now, entropy)
        });
    }
    evals
}

/// The job is stopped or gone.
fn stop_all(
    view: &dyn View,
    job: Option<&Job>,
    allocs: &[Rc<Allocation>],
    changes: &mut Changes,
    result: &mut finish::Result,
) {
    for group in job.iter().flat_map(|j| j.task_groups.iter()) {
        result.updates.entry(group.name.clone()).or_default();
    }
    for a in allocs.iter().filter(|a| !fit::terminal(a)) {
        let change = changes.of(a);
        change.desired_status = status::DESIRED_STOP.to_owned();
        match node_state(view, &a.node_id) {
            NodeState::Down | NodeState::Deleted => {
                change.client_status = status::CLIENT_LOST.to_owned();
                change.desired_description = status::ALLOC_LOST.to_owned();
            }
            NodeState::Ok | NodeState::Disconnected => {
                change.desired_description = status::ALLOC_NOT_NEEDED.to_owned();
            }
        }
        result.updates.entry(a.task_group.clone()).or_default().stop += 1;
    }
    let groups = job.iter().flat_map(|j| j.task_groups.iter());
    result.queued = sort::gather(groups.map(|g| (g.name.clone(), 0)));
}

fn node_state(view: &dyn View, id: &str) -> NodeState {
    match view.node(id).as_ref().map(|n| n.status.as_str()) {
        None => NodeState::Deleted,
        Some(status::NODE_DOWN) => NodeState::Down,
        Some(status::NODE_DISCONNECTED) => NodeState::Disconnected,
        Some(_) => NodeState::Ok,
    }
}

/// What a live allocation of a group that is still wanted needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Ignore,
    Stop(&'static str),
    Lost,
    Unknown,
    InPlace,
    Destructive,
}

struct Work<'a, 'w> {
    view: &'a dyn View,
    eval: &'a Evaluation,
    job: &'a Job,
    placer: Placer<'a>,
    /// Deployment of this version that is not over.
    current: Option<&'a Deployment>,
    /// One that this plan begins or changes.
    deployment: Option<Deployment>,
    new_id: String,
    changes: &'w mut Changes,
    plan: &'w mut Plan,
    result: &'w mut finish::Result,
    /// Nodes that had no room.
    exhausted: BTreeSet<String>,
    /// All groups have nothing left to do for `current`.
    complete: bool,
    now: i64,
    entropy: &'w mut dyn Entropy,
    /// Where the job may preempt others.
    rivals: Option<Rivals<'w>>,
}

/// One group's part of the comparison.
#[derive(Default)]
struct Diff {
    updates: DesiredUpdates,
    in_place: Vec<Rc<Allocation>>,
    destructive: Vec<Rc<Allocation>>,
    /// Node, number in the name, and the ended allocation that was there before.
    missing: Vec<(u32, u32, Option<Rc<Allocation>>)>,
    /// Live allocations of this version.
    current: Vec<Rc<Allocation>>,
    /// Places where sysbatch work has ended.
    done: usize,
}

impl Work<'_, '_> {
    fn run(&mut self, allocs: &[Rc<Allocation>]) {
        let mut by_group: BTreeMap<&str, Vec<&Rc<Allocation>>> = BTreeMap::new();
        for a in allocs {
            by_group.entry(&a.task_group).or_default().push(a);
        }
        for (at, group) in self.job.task_groups.iter().enumerate() {
            let of_group = by_group.remove(group.name.as_str()).unwrap_or_default();
            let diff = self.compare(group, &of_group);
            self.apply(at, group, diff);
        }
        for (group, allocs) in by_group {
            let mut updates = DesiredUpdates::default();
            for a in allocs.into_iter().filter(|a| !fit::terminal(a)) {
                self.stop(a, status::ALLOC_NOT_NEEDED);
                updates.stop += 1;
            }
            self.result.updates.insert(group.to_owned(), updates);
        }
        if !self.result.failed.is_empty() {
            (self.result.classes, self.result.escaped) = self.placer.eligibility();
        }
        if let Some(rivals) = &mut self.rivals {
            self.plan.evals.extend(rivals.evaluations(self.eval, self.now, self.entropy));
        }
        self.plan.deployment = self.deployment.take().map(Box::new);
        if let Some(d) = self.current {
            self.plan.deployment_updates.extend(deployment::progress(d, self.complete));
        }
    }

    fn compare(&mut self, group: &TaskGroup, allocs: &[&Rc<Allocation>]) -> Diff {
        let mut diff = Diff::default();
        let count = u32::try_from(group.count.unwrap_or(1)).unwrap_or(0);
        let mut candidates = self.placer.candidates().to_vec();
        sort::by(&mut candidates, Ord::cmp);
        let mut held: BTreeSet<(u32, u32)> = BTreeSet::new();
        let mut ended: BTreeMap<(u32, u32), &Rc<Allocation>> = BTreeMap::new();
        for a in allocs {
            let index = reconcile::index(&a.name).unwrap_or(0);
            let place = self.placer.fleet.position(&a.node_id).map(|at| (at, index));
            if fit::terminal(a) {
                if let Some(place) = place {
                    let newest = ended.entry(place).or_insert(a);
                    if newest.create_index < a.create_index {
                        *newest = a;
                    }
                }
                continue;
            }
            let candidate = place.is_some_and(|(at, _)| candidates.binary_search(&at).is_ok());
            let need = match index < count {
                true => self.need(group, a, candidate),
                false => Need::Stop(status::ALLOC_NOT_NEEDED),
            };
            match need {
                Need::Lost => self.lost(a, &mut diff),
                Need::Unknown => self.unknown(a, group, &mut diff),
                Need::Stop(why) => {
                    self.stop(a, why);
                    diff.updates.stop += 1;
                }
                Need::Ignore => {
                    diff.updates.ignore += 1;
                    diff.current.push((*a).clone());
                }
                Need::InPlace => diff.in_place.push((*a).clone()),
                Need::Destructive => diff.destructive.push((*a).clone()),
            }
            let frees = matches!(need, Need::Lost);
            held.extend(place.filter(|_| !frees));
        }
        for at in candidates {
            for index in 0..count {
                let before = ended.get(&(at, index)).copied();
                let done = before.is_some_and(|a| self.is_done(a));
                diff.done += usize::from(done);
                if !held.contains(&(at, index)) && !done {
                    diff.missing.push((at, index, before.cloned()));
                }
            }
        }
        diff
    }

    /// Sysbatch work that ran, however it ended, is not run again by the same version.
    fn is_done(&self, a: &Allocation) -> bool {
        let same = a.job.as_ref().is_some_and(|j| {
            j.version == self.job.version && j.create_index == self.job.create_index
        });
        self.job.kind == status::JOB_SYSBATCH && same && a.client_status != status::CLIENT_LOST
    }

    fn need(&mut self, group: &TaskGroup, a: &Rc<Allocation>, candidate: bool) -> Need {
        if a.desired_transition.migrate == Some(true) {
            return Need::Stop(status::ALLOC_NODE_TAINTED);
        }
        let unknown = a.client_status == status::CLIENT_UNKNOWN;
        let state = node_state(self.view, &a.node_id);
        let disconnect = Disconnect::of(group);
        if reconcile::classify(a, state, disconnect, self.now) == reconcile::Class::Expiring {
            return Need::Lost;
        }
        match state {
            NodeState::Down | NodeState::Deleted => return Need::Lost,
            NodeState::Disconnected if unknown => return Need::Ignore,
            NodeState::Disconnected => {
                let running = a.client_status == status::CLIENT_RUNNING;
                let waits = disconnect.lost_after > 0;
                return if running && waits { Need::Unknown } else { Need::Lost };
            }
            NodeState::Ok if unknown => return Need::Ignore,
            NodeState::Ok => {}
        }
        let Some(old) = a.job.clone() else { return Need::Destructive };
        let same = old.job_modify_index == self.job.job_modify_index
            && old.create_index == self.job.create_index;
        if same {
            return Need::Ignore;
        }
        if !candidate {
            return Need::Stop(status::ALLOC_NOT_NEEDED);
        }
        if update::destructive(&old, self.job, &group.name) {
            return Need::Destructive;
        }
        let at = self.placer.fleet.position(&a.node_id).zip(self.placer.group(&group.name));
        let Some((at, group)) = at else { return Need::Destructive };
        let index = reconcile::index(&a.name).unwrap_or(0);
        self.placer.stop(a);
        let feasible = self.placer.feasible(group, at, index);
        self.placer.keep(a);
        match feasible {
            // The new constraints exclude the node.
            false => Need::Stop(status::ALLOC_NOT_NEEDED),
            true if self.placer.within_capacity(at) => Need::InPlace,
            true => Need::Destructive,
        }
    }

    fn stop(&mut self, a: &Allocation, why: &'static str) {
        let change = self.changes.of(a);
        change.desired_status = status::DESIRED_STOP.to_owned();
        change.desired_description = why.to_owned();
        self.placer.stop(a);
    }

    fn lost(&mut self, a: &Allocation, diff: &mut Diff) {
        self.stop(a, status::ALLOC_LOST);
        self.changes.of(a).client_status = status::CLIENT_LOST.to_owned();
        diff.updates.stop += 1;
    }

    fn unknown(&mut self, a: &Rc<Allocation>, group: &TaskGroup, diff: &mut Diff) {
        diff.updates.disconnect += 1;
        let lost_after = Disconnect::of(group).lost_after;
        let change = self.changes.of(a);
        change.client_status = status::CLIENT_UNKNOWN.to_owned();
        change.desired_description = status::ALLOC_UNKNOWN.to_owned();
        change.state = Some(AllocState {
            field: 0,
            time: Time(self.now),
            value: status::CLIENT_UNKNOWN.to_owned(),
        });
        let follow = Evaluation {
            status_description: "created for delayed disconnect timeout".to_owned(),
            triggered_by: status::TRIGGER_MAX_DISCONNECT.to_owned(),
            wait_until: Time(self.now.saturating_add(lost_after)),
            ..finish::next(self.eval, self.now, self.entropy)
        };
        self.changes.of(a).followup_eval_id.clone_from(&follow.id);
        self.plan.evals.push(follow);
    }

    fn apply(&mut self, at: usize, group: &TaskGroup, mut diff: Diff) {
        let nodes =
            diff.current.len() + diff.in_place.len() + diff.destructive.len() + diff.missing.len();
        let step = Rollout::of(group, self.current, &diff.current, diff.destructive.len(), nodes);
        let later = diff.destructive.split_off(step.room.min(diff.destructive.len()));
        diff.updates.ignore += u64::try_from(later.len()).unwrap_or(u64::MAX);
        diff.updates.in_place_update = u64::try_from(diff.in_place.len()).unwrap_or(u64::MAX);
        diff.updates.destructive_update = u64::try_from(diff.destructive.len()).unwrap_or(u64::MAX);
        let changes_spec =
            !diff.in_place.is_empty() || !diff.destructive.is_empty() || !later.is_empty();
        let begins = self.current.is_none()
            && step.rolls
            && self.job.kind == status::JOB_SYSTEM
            && (changes_spec || (diff.current.is_empty() && !diff.missing.is_empty()));
        let deployment_id = match self.current {
            Some(d) => d.id.clone(),
            None if begins => self.new_id.clone(),
            None => String::new(),
        };
        self.result.queued.insert(group.name.clone(), 0);
        for a in &diff.in_place {
            self.update_in_place(a, &deployment_id);
        }
        let mut search = Search::default();
        let placed_before = self.plan.places.len();
        for a in &diff.destructive {
            let Some(node) = self.placer.fleet.position(&a.node_id) else { continue };
            let index = reconcile::index(&a.name).unwrap_or(0);
            self.placer.stop(a);
            let slot = Slot { group: at, node, index, canary: step.canarying };
            if self.place(slot, Some(a), &deployment_id, &mut search) {
                let change = self.changes.of(a);
                change.desired_status = status::DESIRED_STOP.to_owned();
                change.desired_description = status::ALLOC_UPDATING.to_owned();
            } else {
                self.placer.keep(a);
            }
        }
        for (node, index, before) in &diff.missing {
            let slot = Slot { group: at, node: *node, index: *index, canary: false };
            self.place(slot, before.as_ref(), &deployment_id, &mut search);
        }
        let asked = diff.missing.len().saturating_sub(search.filtered_missing);
        diff.updates.place = u64::try_from(asked).unwrap_or(u64::MAX);
        diff.updates.preemptions = u64::try_from(search.preempted).unwrap_or(u64::MAX);
        let placed = self.plan.places.len() - placed_before;
        let total = nodes.saturating_sub(search.filtered_missing);
        let fits = placed + diff.current.len() + diff.in_place.len() + diff.done;
        self.settle_search(at, group, search, fits);
        let idle = !changes_spec && asked == 0;
        if let Some(d) = self.deployment.as_ref().or(self.current) {
            let resized = rollout::resize(d, group, total);
            let state = resized.as_ref().unwrap_or(d).task_groups.get(&group.name);
            self.complete &= idle && rollout::group_done(state);
            self.deployment = resized.or(self.deployment.take());
        }
        if begins && total > 0 {
            let d = self
                .deployment
                .get_or_insert_with(|| rollout::begin(self.job, self.eval, &self.new_id, self.now));
            rollout::add_group(d, group, total, &step);
        }
        self.result.updates.insert(group.name.clone(), diff.updates);
    }

    /// What the searches of a group say about it as a whole: nodes without room are failures;
    /// nodes that cannot run it are only where no node can.
    fn settle_search(&mut self, at: usize, group: &TaskGroup, search: Search, fits: usize) {
        let metric = match search.exhausted {
            Some(metric) => metric,
            None if fits == 0 && search.tally.any_filtered() => self.placer.metric(&search.tally),
            None => return,
        };
        let queued = i64::try_from(search.exhausted_nodes).unwrap_or(i64::MAX);
        self.result.queued.insert(group.name.clone(), queued);
        self.result.failed.insert(self.placer.asks[at].group.name.clone(), metric);
    }

    fn update_in_place(&mut self, a: &Rc<Allocation>, deployment_id: &str) {
        let mut alloc = Allocation::clone(a);
        alloc.job = None;
        alloc.deployment_status = None;
        deployment_id.clone_into(&mut alloc.deployment_id);
        alloc.eval_id.clone_from(&self.eval.id);
        alloc.modify_time = self.now;
        self.plan.places.push(Placement {
            alloc,
            job_version: self.job.version,
            job_create_index: self.job.create_index,
        });
    }

    fn place(
        &mut self,
        slot: Slot,
        before: Option<&Rc<Allocation>>,
        deployment_id: &str,
        search: &mut Search,
    ) -> bool {
        let wish = Wish { group: slot.group, index: slot.index, ..Wish::default() };
        let mut tally = Tally::default();
        let mut fits = self.placer.fits_on(&wish, slot.node, &mut tally);
        let mut victims = None;
        if !fits
            && !tally.any_filtered()
            && let Some(rivals) = &mut self.rivals
        {
            let mut seen = Tally::default();
            victims = self.placer.evict_on(&wish, slot.node, rivals, self.changes, &mut seen);
            if let Some((_, victims)) = &victims {
                victims.allocs.iter().for_each(|v| self.placer.evict(v));
                (fits, tally) = (true, seen);
            }
        }
        let given = match fits {
            true => self.placer.take(slot.group, slot.node),
            false => None,
        };
        let group = self.placer.asks[slot.group].group;
        let Some(resources) = given else {
            if tally.any_filtered() {
                search.filtered_missing += 1;
                search.tally.merge(&tally);
                return false;
            }
            search.exhausted_nodes += 1;
            let id = self.placer.fleet.node(slot.node).id.clone();
            self.exhausted.insert(id);
            match &mut search.exhausted {
                Some(metric) => {
                    metric.coalesced_failures += 1;
                    add_exhausted(metric, group);
                }
                None => {
                    let mut metric = self.placer.metric(&tally);
                    add_exhausted(&mut metric, group);
                    search.exhausted = Some(metric);
                }
            }
            return false;
        };
        let draft = Draft {
            job: self.job,
            group,
            eval: self.eval,
            name: reconcile::name(&self.job.id, &group.name, slot.index),
            deployment_id,
            canary: slot.canary,
            now: self.now,
        };
        let id = uuid::of_row(self.entropy);
        let metric = self.placer.metric(&tally);
        let mut placement = draft.place(id, self.placer.fleet.node(slot.node), resources, metric);
        if let (Some((_, victims)), Some(rivals)) = (victims, &mut self.rivals) {
            let alloc = &mut placement.alloc;
            rivals.evict(&victims, &alloc.id, self.changes);
            alloc.preempted_allocations = victims.allocs.iter().map(|a| a.id.clone()).collect();
            search.preempted += victims.allocs.len();
            self.result.preempted.extend(victims.allocs);
        }
        if let Some(before) = before {
            placement.alloc.previous_allocation.clone_from(&before.id);
        }
        let (shelf, node) = (&mut self.placer.shelf, self.placer.fleet.node(slot.node));
        let claims = shelf.place(node, (self.job, &group.name), &placement.alloc, self.entropy);
        self.plan.claims.extend(claims);
        self.plan.places.push(placement);
        true
    }
}

/// Where one allocation goes.
#[derive(Clone, Copy, Debug)]
struct Slot {
    group: usize,
    node: u32,
    index: u32,
    canary: bool,
}

/// What the searches of one group came to.
#[derive(Default)]
struct Search {
    /// Nodes that cannot run the group.
    tally: Tally,
    filtered_missing: usize,
    exhausted: Option<AllocMetric>,
    exhausted_nodes: usize,
    preempted: usize,
}
