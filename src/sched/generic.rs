//! Service and batch jobs: drives one evaluation from the comparison to the plan.

use std::rc::Rc;

use crate::api::{AllocMetric, Allocation, Evaluation, Job, status};
use crate::command::{Placement, Plan};
use crate::stdx::{BTreeMap, Entropy, sort, uuid};

use super::build::Draft;
use super::finish::{self, Changes};
use super::preempt::{self, Rivals, Victims};
use super::reconcile::{self, Cluster, Input, NodeState, Outcome, Place};
use super::reschedule;
use super::select::{Placer, Wish};
use super::tally::add_exhausted;
use super::{Seed, View, job_allows};

pub(super) fn run(
    view: &dyn View,
    eval: &Evaluation,
    seed: Seed,
    entropy: &mut dyn Entropy,
) -> Plan {
    let job = view.job(&eval.namespace, &eval.job_id);
    let allocs = view.allocs_by_job(&eval.namespace, &eval.job_id);
    let deployment = match eval.kind == status::JOB_BATCH {
        true => None,
        false => view.deployment_latest(&eval.namespace, &eval.job_id),
    };
    let deployment_id = uuid::of_row(entropy);
    let input = Input {
        job: job.as_deref(),
        eval,
        allocs: &allocs,
        deployment: deployment.as_ref(),
        deployment_id: &deployment_id,
        now: seed.wall_ns,
    };
    let live = job.as_deref().filter(|j| !j.stop);
    let mut nodes =
        Nodes { view, job: live, placer: live.map(|j| Placer::new(view, j, &allocs, seed.rng)) };
    let mut outcome = reconcile::reconcile(&input, &mut nodes);
    let mut result = finish::Result {
        updates: std::mem::take(&mut outcome.updates),
        deployment_id: match (&outcome.deployment, &deployment) {
            (Some(new), _) => new.id.clone(),
            (None, latest) => latest.as_ref().map(|d| d.id.clone()).unwrap_or_default(),
        },
        ..finish::Result::default()
    };
    let mut plan = finish::plan(eval, job.as_deref(), view.index());
    let mut changes = Changes::default();
    for patch in std::mem::take(&mut outcome.patches) {
        changes.add(patch);
    }
    stop(&outcome, nodes.placer.as_mut(), &mut changes);
    let delayed = std::mem::take(&mut outcome.delayed);
    let mut follow_ups = finish::follow_ups(eval, delayed, &mut changes, seed.wall_ns, entropy);
    let groups = job.iter().flat_map(|j| j.task_groups.iter());
    result.queued = sort::gather(groups.map(|g| (g.name.clone(), 0)));
    if let (Some(job), Some(placer)) = (live, nodes.placer) {
        let downgraded = outcome.places.iter().filter(|p| p.downgrade).map(|p| &p.group);
        let versions = versions(view, job, &allocs, downgraded);
        let mut work = Work {
            eval,
            job,
            versions: &versions,
            placer,
            deployment_id: active_deployment(&input, &outcome),
            changes: &mut changes,
            plan: &mut plan,
            result: &mut result,
            now: seed.wall_ns,
            entropy: &mut *entropy,
            rivals: preempt::enabled(&view.config(), &job.kind).then(|| Rivals::new(view, job)),
        };
        work.update_in_place(&outcome.in_place);
        work.place_all(&outcome.places);
        follow_ups.extend(work.evaluations_of_victims());
    }
    plan.stops = changes.into_list();
    plan.deployment = outcome.deployment.map(Box::new);
    plan.deployment_updates = outcome.deployment_updates;
    plan.evals = finish::complete(eval, result, view.index(), seed.wall_ns, entropy);
    plan.evals.extend(follow_ups);
    plan
}

/// Writes the stops down and frees what they hold.
fn stop(outcome: &Outcome, mut placer: Option<&mut Placer<'_>>, changes: &mut Changes) {
    for stop in &outcome.stops {
        let change = changes.of(&stop.alloc);
        change.desired_status = status::DESIRED_STOP.to_owned();
        change.desired_description = stop.description.to_owned();
        change.client_status = stop.client_status.to_owned();
        if stop.state.is_some() {
            change.state.clone_from(&stop.state);
        }
        if let Some(placer) = placer.as_deref_mut() {
            placer.stop(&stop.alloc);
        }
    }
}

/// Id of the deployment that new allocations belong to; empty: none.
fn active_deployment(input: &Input<'_>, outcome: &Outcome) -> String {
    if let Some(new) = &outcome.deployment {
        return new.id.clone();
    }
    let ended = |id: &str| {
        outcome
            .deployment_updates
            .iter()
            .any(|u| u.id == id && u.status != status::DEPLOYMENT_RUNNING)
    };
    let active = input.deployment.filter(|d| {
        let own = input
            .job
            .is_some_and(|j| j.version == d.job_version && j.create_index == d.job_create_index);
        d.is_active() && !ended(&d.id) && own
    });
    active.map(|d| d.id.clone()).unwrap_or_default()
}

/// For each group the job as it is to run while canaries of this version are tried: the newest
/// version before that was stable or promoted, else the newest that still runs.
fn versions<'g>(
    view: &dyn View,
    job: &Job,
    allocs: &[Rc<Allocation>],
    groups: impl Iterator<Item = &'g String>,
) -> BTreeMap<String, Rc<Job>> {
    let mut out: BTreeMap<String, Rc<Job>> = BTreeMap::new();
    for group in groups {
        if out.contains_key(group) {
            continue;
        }
        let live = allocs.iter().filter(|a| a.task_group == *group && !super::fit::terminal(a));
        let older = live
            .filter_map(|a| a.job.as_ref())
            .filter(|old| old.version < job.version && old.create_index == job.create_index);
        let good = view.proven_version(job, group);
        if let Some(old) = good.or_else(|| older.max_by_key(|old| old.version).cloned()) {
            out.insert(group.clone(), old);
        }
    }
    out
}

/// What the reconciler asks about nodes.
struct Nodes<'a> {
    view: &'a dyn View,
    job: Option<&'a Job>,
    placer: Option<Placer<'a>>,
}

impl Cluster for Nodes<'_> {
    fn node_state(&self, id: &str) -> NodeState {
        match self.view.node(id).as_ref().map(|n| n.status.as_str()) {
            None => NodeState::Deleted,
            Some(status::NODE_DOWN) => NodeState::Down,
            Some(status::NODE_DISCONNECTED) => NodeState::Disconnected,
            Some(_) => NodeState::Ok,
        }
    }

    fn can_stay(&mut self, alloc: &Rc<Allocation>) -> bool {
        let (Some(job), Some(placer)) = (self.job, self.placer.as_mut()) else { return false };
        let Some(at) = placer.fleet.position(&alloc.node_id) else { return false };
        let node = placer.fleet.node(at).clone();
        let Some(group) = placer.group(&alloc.task_group) else { return false };
        if !job_allows(job, &node.datacenter, &node.node_pool) {
            return false;
        }
        // It must not stand in its own way.
        placer.stop(alloc);
        let fits = placer.feasible(group, at, reconcile::index(&alloc.name).unwrap_or(0));
        placer.keep(alloc);
        fits && placer.within_capacity(at)
    }
}

/// Finding nodes, with what is written on the way.
struct Work<'a, 'w> {
    eval: &'a Evaluation,
    job: &'a Job,
    versions: &'a BTreeMap<String, Rc<Job>>,
    placer: Placer<'a>,
    deployment_id: String,
    changes: &'w mut Changes,
    plan: &'w mut Plan,
    result: &'w mut finish::Result,
    now: i64,
    entropy: &'w mut dyn Entropy,
    /// Where the job may preempt others.
    rivals: Option<Rivals<'a>>,
}

impl<'a> Work<'a, '_> {
    fn update_in_place(&mut self, allocs: &[Rc<Allocation>]) {
        for a in allocs {
            let mut alloc = Allocation::clone(a);
            alloc.job = None;
            alloc.deployment_status = None;
            alloc.deployment_id.clone_from(&self.deployment_id);
            alloc.eval_id.clone_from(&self.eval.id);
            alloc.modify_time = self.now;
            self.plan.places.push(Placement {
                alloc,
                job_version: self.job.version,
                job_create_index: self.job.create_index,
            });
        }
    }

    fn place_all(&mut self, places: &[Place]) {
        for place in places {
            let Some(group) = self.placer.group(&place.group) else { continue };
            if let Some(failed) = self.result.failed.get_mut(&place.group) {
                failed.coalesced_failures += 1;
                add_exhausted(failed, self.placer.asks[group].group);
                self.not_placed(place);
                continue;
            }
            if let Err(metric) = self.place(place, group) {
                self.result.failed.insert(place.group.clone(), *metric);
                self.not_placed(place);
            }
        }
        if !self.result.failed.is_empty() {
            (self.result.classes, self.result.escaped) = self.placer.eligibility();
        }
    }

    fn evaluations_of_victims(&mut self) -> Vec<Evaluation> {
        match &mut self.rivals {
            Some(rivals) => rivals.evaluations(self.eval, self.now, self.entropy),
            None => Vec::new(),
        }
    }

    fn not_placed(&mut self, place: &Place) {
        *self.result.queued.entry(place.group.clone()).or_insert(0) += 1;
        if let Some(previous) = place.previous.as_ref().filter(|_| place.reschedule) {
            self.changes.of(previous).last_reschedule = reschedule::NOT_PLACED.to_owned();
        }
    }

    fn place(&mut self, place: &Place, group: usize) -> Result<(), Box<AllocMetric>> {
        let old = self.versions.get(&place.group).filter(|_| place.downgrade);
        let (job, group) = match old {
            Some(old) => (old.as_ref(), self.placer.ask_of(old, group)),
            None => (self.job, group),
        };
        if let Some(previous) = place.previous.as_ref().filter(|_| place.stop_previous) {
            self.placer.stop(previous);
        }
        let wish = self.wish(place, group);
        let (mut found, mut metric) = self.placer.find(&wish);
        let mut victims = None;
        if let Some(rivals) = self.rivals.as_mut().filter(|_| found.is_none())
            && let Some((at, chosen, seen)) = self.placer.find_evicting(&wish, rivals, self.changes)
        {
            chosen.allocs.iter().for_each(|v| self.placer.evict(v));
            (found, metric, victims) = (Some(at), seen, Some(chosen));
        }
        let given = found.and_then(|at| Some((at, self.placer.take(group, at)?)));
        let asked = self.placer.asks[group].group;
        let Some((at, resources)) = given else {
            if let Some(previous) = place.previous.as_ref().filter(|_| place.stop_previous) {
                self.placer.keep(previous);
            }
            add_exhausted(&mut metric, asked);
            return Err(Box::new(metric));
        };
        let draft = Draft {
            job,
            group: asked,
            eval: self.eval,
            name: reconcile::name(&job.id, &place.group, place.index),
            // What runs the version before goes on in its own deployment.
            deployment_id: match (&place.previous, old) {
                (_, None) => &self.deployment_id,
                (Some(previous), Some(_)) => &previous.deployment_id,
                (None, Some(_)) => "",
            },
            canary: place.canary,
            now: self.now,
        };
        let id = uuid::of_row(self.entropy);
        let node = self.placer.fleet.node(at).clone();
        let mut placement = draft.place(id, &node, resources, metric);
        let claims =
            self.placer.shelf.place(&node, (job, &place.group), &placement.alloc, self.entropy);
        self.plan.claims.extend(claims);
        if let (Some(victims), Some(rivals)) = (victims, &mut self.rivals) {
            let alloc = &mut placement.alloc;
            rivals.evict(&victims, &alloc.id, self.changes);
            alloc.preempted_allocations = ids(&victims);
            let updates = self.result.updates.entry(place.group.clone()).or_default();
            updates.preemptions += u64::try_from(victims.allocs.len()).unwrap_or(u64::MAX);
            self.result.preempted.extend(victims.allocs);
        }
        if let Some(previous) = &place.previous {
            placement.alloc.previous_allocation.clone_from(&previous.id);
            if place.stop_previous {
                let change = self.changes.of(previous);
                change.desired_status = status::DESIRED_STOP.to_owned();
                change.desired_description = status::ALLOC_UPDATING.to_owned();
            }
            if place.reschedule {
                self.changes.of(previous).last_reschedule = reschedule::PLACED.to_owned();
                let policy = reschedule::policy(job, asked);
                placement.alloc.reschedule_tracker =
                    Some(reschedule::tracker(previous, &policy, self.now));
            } else {
                // The history goes on, so that a later failure is judged by all of it.
                let history = previous.reschedule_tracker.clone();
                placement.alloc.reschedule_tracker = history.filter(|_| !place.stop_previous);
            }
        }
        self.plan.places.push(placement);
        Ok(())
    }

    fn wish(&self, place: &Place, group: usize) -> Wish {
        let fleet = &self.placer.fleet;
        let previous = place.previous.as_deref();
        let penalty = previous.into_iter().flat_map(reschedule::penalty_nodes);
        let sticky = previous.filter(|_| self.placer.asks[group].sticky);
        Wish {
            group,
            index: place.index,
            penalty: penalty.filter_map(|id| fleet.position(id)).collect(),
            prefer: sticky.and_then(|p| fleet.position(&p.node_id)),
        }
    }
}

fn ids(victims: &Victims) -> crate::stdx::json::List<String> {
    victims.allocs.iter().map(|a| a.id.clone()).collect()
}
