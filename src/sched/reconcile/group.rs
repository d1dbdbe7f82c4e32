//! One group of a service or batch job. [`Group::reconcile`] is the order of steps; each step
//! takes from the sets what it decides on.

use std::rc::Rc;

use crate::api::{
    Allocation, Deployment, DeploymentState, DesiredUpdates, Job, ReschedulePolicy, TaskGroup,
    UpdateStrategy, status,
};
use crate::command::AllocStop;
use crate::stdx::{BTreeSet, sort};

use super::super::fit;
use super::super::reschedule::{self, Asking};
use super::super::update;
use super::classify::{Class, Disconnect, classify};
use super::deployment::{Current, begin, begin_group, strategy};
use super::names::{self, Names};
use super::{
    Allocs, Cluster, Delay, Delayed, Input, Outcome, Place, Stop, Update, drain, reconnect, state,
    subtract,
};

/// Shortest time that a lost allocation is given to stop on its own node, in nanoseconds, besides
/// what the group says. Source: contract, scheduler §6 (Disconnect).
const KILL_TIMEOUT_MIN_NS: i64 = 5_000_000_000;

pub(super) struct Group<'a> {
    job: &'a Job,
    group: &'a TaskGroup,
    input: &'a Input<'a>,
    current: &'a Current,
    cluster: &'a mut dyn Cluster,
    out: &'a mut Outcome,
    batch: bool,
    count: usize,
    disconnect: Disconnect,
    policy: ReschedulePolicy,
    updates: DesiredUpdates,
}

/// Allocations by what they need.
#[derive(Debug, Default)]
struct Sets {
    untainted: Allocs,
    migrate: Allocs,
    lost: Allocs,
    disconnecting: Allocs,
    reconnecting: Allocs,
    reschedule_now: Allocs,
    /// Of `reschedule_now`: those that are not stopped, since their node may come back.
    kept_apart: BTreeSet<String>,
    reschedule_later: Allocs,
    /// Places that stay empty until a lost allocation has surely stopped.
    waiting: usize,
}

impl<'a> Group<'a> {
    pub(super) fn new(
        job: &'a Job,
        group: &'a TaskGroup,
        input: &'a Input<'a>,
        current: &'a Current,
        cluster: &'a mut dyn Cluster,
        out: &'a mut Outcome,
    ) -> Self {
        Self {
            batch: job.kind == status::JOB_BATCH,
            count: usize::try_from(group.count.unwrap_or(1)).unwrap_or(0),
            disconnect: Disconnect::of(group),
            policy: reschedule::policy(job, group),
            updates: DesiredUpdates::default(),
            job,
            group,
            input,
            current,
            cluster,
            out,
        }
    }

    /// True where nothing is left to do and the group's part of the deployment is complete.
    pub(super) fn reconcile(
        mut self,
        mut all: Allocs,
        new_deployment: &mut Option<Deployment>,
    ) -> bool {
        let had_version = all.iter().any(|a| self.is_this_version(a));
        let existing = self.current.state(&self.group.name).cloned();
        let mut rollout =
            existing.clone().or_else(|| self.strategy().map(begin_group)).unwrap_or_default();
        if self.batch {
            let old = drain(&mut all, |a| fit::terminal(a) && !self.is_this_version(a));
            self.updates.ignore += count(old.len());
        }
        let canaries = self.canaries(&mut all, &rollout);
        let mut sets = self.sort(all);
        self.filter_failed(&mut sets);
        self.delay_lost(&mut sets);
        self.came_back(&mut sets);
        let live = sets.untainted.iter().chain(&sets.migrate);
        let live = live.chain(&sets.reschedule_now).chain(&sets.lost);
        let mut names =
            Names::of(u32::try_from(self.count).unwrap_or(u32::MAX), live.map(Rc::as_ref));
        let canarying = rollout.desired_canaries > 0 && !rollout.promoted;
        self.stop_surplus(&mut sets, &mut names, &canaries, canarying);
        let (mut destructive, in_place) = self.updates_of(&sets.untainted);
        subtract(&mut sets.untainted, &destructive);
        if existing.is_none() {
            rollout.desired_total += total(destructive.len() + in_place.len());
        }
        if canarying {
            subtract(&mut sets.untainted, &canaries);
        }
        let wanted = self.strategy().and_then(|u| u.canary).unwrap_or(0);
        let wants_canaries = wanted > 0
            && !destructive.is_empty()
            && total(canaries.len()) < wanted
            && !rollout.promoted;
        if wants_canaries {
            rollout.desired_canaries = wanted;
            self.place_canaries(&canaries, &destructive, &mut names, wanted);
        }
        let canarying = rollout.desired_canaries > 0 && !rollout.promoted;
        let room = self.under_provisioned(&sets, &destructive, canarying);
        let places = self.placements(&sets, &destructive, &mut names, canarying);
        if existing.is_none() {
            rollout.desired_total += total(places.len());
        }
        let rescheduled = sets.reschedule_now.len() + sets.reschedule_later.len();
        let idle = destructive.is_empty()
            && in_place.is_empty()
            && places.is_empty()
            && sets.migrate.is_empty()
            && rescheduled == 0
            && !wants_canaries;
        let changes_spec = !destructive.is_empty() || !in_place.is_empty();
        self.updates.in_place_update += count(in_place.len());
        self.out.in_place.extend(in_place);
        let ready = !self.current.paused && !self.current.failed && !canarying;
        let room = self.replacements(ready, places, &sets, room);
        sort::by(&mut destructive, |a, b| {
            names::index(&a.name).cmp(&names::index(&b.name)).then_with(|| a.id.cmp(&b.id))
        });
        self.replace(destructive, if ready { room } else { 0 });
        self.migrations(&sets.migrate, canarying);
        let done = idle && self.rollout_done(existing.as_ref());
        if existing.is_none() && rollout.desired_total > 0 && (!had_version || changes_spec) {
            self.deploy(rollout, new_deployment);
        }
        self.out.updates.insert(self.group.name.clone(), self.updates);
        done
    }

    /// How the group rolls; batch jobs do not.
    fn strategy(&self) -> Option<&'a UpdateStrategy> {
        strategy(self.group).filter(|_| !self.batch)
    }

    fn is_this_version(&self, a: &Allocation) -> bool {
        let job = a.job.as_ref();
        job.is_some_and(|j| {
            j.version == self.job.version && j.create_index == self.job.create_index
        })
    }

    /// Takes the canaries out of `all`: stops those that nobody waits for, gives up those whose
    /// node is gone, and returns the ones that stand. They stay in `all` too.
    fn canaries(&mut self, all: &mut Allocs, rollout: &DeploymentState) -> Allocs {
        let unneeded = &self.current.unneeded_canaries;
        // One that failed is stopped too, lest it be taken for one of the group's.
        for a in drain(all, |a| unneeded.contains(&a.id)) {
            if !fit::server_terminal(&a) {
                self.stop(Stop::new(&a, status::ALLOC_NOT_NEEDED));
            }
        }
        let own = |a: &Allocation| rollout.placed_canaries.contains(&a.id);
        let mut standing = Allocs::new();
        let mut gone = Allocs::new();
        for a in all.iter().filter(|a| own(a)) {
            match self.classify(a) {
                Class::Untainted if !fit::server_terminal(a) && a.next_allocation.is_empty() => {
                    standing.push(a.clone());
                }
                Class::Migrate => {
                    self.stop(Stop::new(a, status::ALLOC_MIGRATING));
                    gone.push(a.clone());
                }
                Class::Lost | Class::Expiring => {
                    self.stop(Stop::lost(a));
                    gone.push(a.clone());
                }
                Class::Untainted | Class::Disconnecting | Class::Reconnecting | Class::Ignore => {}
            }
        }
        subtract(all, &gone);
        standing
    }

    fn classify(&self, a: &Allocation) -> Class {
        classify(a, self.cluster.node_state(&a.node_id), self.disconnect, self.input.now)
    }

    fn sort(&mut self, all: Allocs) -> Sets {
        let mut sets = Sets::default();
        for a in all {
            match self.classify(&a) {
                Class::Untainted => sets.untainted.push(a),
                Class::Migrate => sets.migrate.push(a),
                Class::Lost | Class::Expiring => sets.lost.push(a),
                Class::Disconnecting => sets.disconnecting.push(a),
                Class::Reconnecting => sets.reconnecting.push(a),
                Class::Ignore => sets.waiting += usize::from(self.still_stopping(&a)),
            }
        }
        sets
    }

    /// The reschedule filter, for what failed and for what is out of reach.
    fn filter_failed(&mut self, sets: &mut Sets) {
        for (list, disconnecting) in [
            (std::mem::take(&mut sets.untainted), false),
            (std::mem::take(&mut sets.disconnecting), true),
        ] {
            for a in list {
                let mut verdict = reschedule::verdict(&a, &self.policy, self.asking(disconnecting));
                if disconnecting {
                    self.out_of_reach(&a);
                    if !self.disconnect.replace {
                        verdict = reschedule::Verdict::Keep;
                    }
                }
                self.sort_failed(sets, a, verdict, disconnecting);
            }
        }
        self.updates.reschedule_now += count(sets.reschedule_now.len());
        self.updates.reschedule_later += count(sets.reschedule_later.len());
    }

    fn asking(&self, disconnecting: bool) -> Asking<'a> {
        Asking {
            now: self.input.now,
            eval_id: &self.input.eval.id,
            batch: self.batch,
            deployment: self.current.active_id(),
            disconnecting,
        }
    }

    fn sort_failed(
        &mut self,
        sets: &mut Sets,
        a: Rc<Allocation>,
        verdict: reschedule::Verdict,
        apart: bool,
    ) {
        match verdict {
            reschedule::Verdict::Keep => sets.untainted.push(a),
            reschedule::Verdict::Drop => {}
            reschedule::Verdict::Now => {
                if apart {
                    sets.kept_apart.insert(a.id.clone());
                }
                sets.reschedule_now.push(a);
            }
            reschedule::Verdict::Later(at) => {
                let alloc = a.clone();
                self.out.delayed.push(Delayed { alloc, at, kind: Delay::Reschedule });
                sets.untainted.push(a.clone());
                sets.reschedule_later.push(a);
            }
        }
    }

    /// The node of a running allocation is out of reach: the allocation is unknown from now on.
    fn out_of_reach(&mut self, a: &Rc<Allocation>) {
        self.updates.disconnect += 1;
        self.out.patches.push(AllocStop {
            id: a.id.clone(),
            node_id: a.node_id.clone(),
            client_status: status::CLIENT_UNKNOWN.to_owned(),
            desired_description: status::ALLOC_UNKNOWN.to_owned(),
            state: Some(state(status::CLIENT_UNKNOWN, self.input.now)),
            ..AllocStop::default()
        });
        if self.disconnect.lost_after > 0 {
            let at = self.input.now.saturating_add(self.disconnect.lost_after);
            self.out.delayed.push(Delayed { alloc: a.clone(), at, kind: Delay::Disconnect });
        }
    }

    /// Lost allocations that may still run on their node hold their place for a while.
    fn delay_lost(&mut self, sets: &mut Sets) {
        let Some(wait) = self.client_stop_wait() else { return };
        let now = self.input.now;
        for a in std::mem::take(&mut sets.lost) {
            let at = now.saturating_add(wait);
            self.stop(Stop { state: Some(state(status::CLIENT_LOST, now)), ..Stop::lost(&a) });
            self.out.delayed.push(Delayed { alloc: a, at, kind: Delay::StopOnClient });
            sets.waiting += 1;
        }
    }

    /// Nanoseconds from the loss until a lost allocation has surely stopped on its node.
    fn client_stop_wait(&self) -> Option<i64> {
        let after = self.disconnect.stop_on_client_after?;
        let kill = self.group.tasks.iter().filter_map(|t| t.kill_timeout).max().unwrap_or(0);
        Some(after.saturating_add(kill.max(KILL_TIMEOUT_MIN_NS)))
    }

    /// Lost earlier, not replaced, and perhaps still running.
    fn still_stopping(&self, a: &Allocation) -> bool {
        let Some(wait) = self.client_stop_wait() else { return false };
        let last = a.alloc_states.iter().rev().find(|s| s.field == 0);
        let lost = last.filter(|s| s.value == status::CLIENT_LOST);
        a.next_allocation.is_empty()
            && a.followup_eval_id != self.input.eval.id
            && lost.is_some_and(|s| s.time.0.saturating_add(wait) > self.input.now)
    }

    /// Allocations of nodes that came back, against their replacements.
    fn came_back(&mut self, sets: &mut Sets) {
        let back = std::mem::take(&mut sets.reconnecting);
        if back.is_empty() {
            return;
        }
        self.updates.reconnect += count(back.len());
        let verdict = reconnect::decide(self.job, self.group, back, &sets.untainted);
        for a in &verdict.keep {
            self.out.patches.push(AllocStop {
                id: a.id.clone(),
                node_id: a.node_id.clone(),
                state: Some(state(&a.client_status, self.input.now)),
                ..AllocStop::default()
            });
        }
        for (a, replaced) in verdict.stop {
            let failed = a.client_status == status::CLIENT_FAILED;
            let why = if failed { status::ALLOC_RESCHEDULED } else { status::ALLOC_NOT_NEEDED };
            let known = state(&a.client_status, self.input.now);
            self.stop(Stop { state: Some(known), ..Stop::new(&a, why) });
            if failed && !replaced {
                let verdict = reschedule::verdict(&a, &self.policy, self.asking(false));
                if verdict == reschedule::Verdict::Now {
                    self.updates.reschedule_now += 1;
                    sets.kept_apart.insert(a.id.clone());
                    sets.reschedule_now.push(a);
                }
            }
        }
        for a in &verdict.replaced {
            self.stop(Stop::new(a, status::ALLOC_RECONNECTED));
        }
        subtract(&mut sets.untainted, &verdict.replaced);
        sets.untainted.extend(verdict.keep);
    }

    fn stop(&mut self, stop: Stop) {
        self.updates.stop += 1;
        self.out.stops.push(stop);
    }

    /// Stops what is lost and what is more than the count.
    fn stop_surplus(
        &mut self,
        sets: &mut Sets,
        names: &mut Names,
        canaries: &[Rc<Allocation>],
        canarying: bool,
    ) {
        for a in &sets.lost {
            self.stop(Stop::lost(a));
        }
        let mut pool = sets.untainted.clone();
        if canarying {
            subtract(&mut pool, canaries);
        }
        let known = pool.iter().filter(|a| a.client_status != status::CLIENT_UNKNOWN).count();
        let mut surplus = (known + sets.migrate.len()).saturating_sub(self.count);
        if surplus == 0 {
            return;
        }
        // What ended well stays as it is; a failure that waits for its next try is let go.
        let failed = |a: &Allocation| a.client_status == status::CLIENT_FAILED;
        pool.retain(|a| !fit::server_terminal(a) && (failed(a) || !fit::client_terminal(a)));
        let mut gone = Allocs::new();
        if !canarying && !canaries.is_empty() {
            let taken: BTreeSet<&str> = sort::gather(canaries.iter().map(|a| a.name.as_str()));
            let is_canary = |a: &Allocation| canaries.iter().any(|c| c.id == a.id);
            let doubled = |a: &Allocation| taken.contains(a.name.as_str()) && !is_canary(a);
            take(&mut pool, &mut gone, &mut surplus, doubled);
        }
        if surplus > 0 && !sets.migrate.is_empty() {
            let migrating = sets.migrate.iter().map(Rc::as_ref);
            let count = u32::try_from(self.count).unwrap_or(u32::MAX);
            let high = Names::of(count, migrating).highest(surplus);
            let picked = |a: &Allocation| names::index(&a.name).is_some_and(|i| high.contains(&i));
            take(&mut sets.migrate, &mut gone, &mut surplus, picked);
        }
        if surplus > 0 {
            let high = names.highest(surplus);
            let picked = |a: &Allocation| names::index(&a.name).is_some_and(|i| high.contains(&i));
            take(&mut pool, &mut gone, &mut surplus, picked);
        }
        take(&mut pool, &mut gone, &mut surplus, |_| true);
        for a in &gone {
            self.stop(Stop::new(a, status::ALLOC_NOT_NEEDED));
        }
        subtract(&mut sets.untainted, &gone);
    }

    /// Which of the standing allocations the new version replaces, and which it updates in place.
    fn updates_of(&mut self, untainted: &[Rc<Allocation>]) -> (Allocs, Allocs) {
        let (mut destructive, mut in_place) = (Allocs::new(), Allocs::new());
        for a in untainted {
            match self.update_of(a) {
                Update::Ignore => self.updates.ignore += 1,
                Update::InPlace => in_place.push(a.clone()),
                Update::Destructive => destructive.push(a.clone()),
            }
        }
        (destructive, in_place)
    }

    fn update_of(&mut self, a: &Rc<Allocation>) -> Update {
        let Some(old) = &a.job else { return Update::Destructive };
        let same = old.job_modify_index == self.job.job_modify_index
            && old.create_index == self.job.create_index;
        if same {
            return Update::Ignore;
        }
        if update::destructive(old, self.job, &self.group.name) {
            return Update::Destructive;
        }
        if fit::terminal(a) {
            return Update::Ignore;
        }
        if self.cluster.can_stay(a) { Update::InPlace } else { Update::Destructive }
    }

    fn place_canaries(
        &mut self,
        canaries: &[Rc<Allocation>],
        destructive: &[Rc<Allocation>],
        names: &mut Names,
        wanted: i64,
    ) {
        if self.current.paused || self.current.failed {
            return;
        }
        let indexes =
            |of: &[Rc<Allocation>]| of.iter().filter_map(|a| names::index(&a.name)).collect();
        let missing = usize::try_from(wanted).unwrap_or(0).saturating_sub(canaries.len());
        let chosen = names.canaries(missing, &indexes(canaries), &indexes(destructive));
        self.updates.canary += count(chosen.len());
        for index in chosen {
            let place = Place { canary: true, ..self.fresh(index) };
            self.out.places.push(place);
        }
    }

    fn fresh(&self, index: u32) -> Place {
        Place {
            group: self.group.name.clone(),
            index,
            previous: None,
            stop_previous: false,
            reschedule: false,
            canary: false,
            downgrade: false,
        }
    }

    /// A placement in the stead of `a`.
    fn instead(&self, a: &Rc<Allocation>, canarying: bool) -> Place {
        let canary = a.deployment_status.as_ref().is_some_and(|d| d.canary);
        Place {
            previous: Some(a.clone()),
            canary: canary && canarying,
            downgrade: canarying && !canary,
            ..self.fresh(names::index(&a.name).unwrap_or(0))
        }
    }

    /// How many allocations may be missing or replaced at a time, from here on.
    fn under_provisioned(
        &self,
        sets: &Sets,
        destructive: &[Rc<Allocation>],
        canarying: bool,
    ) -> usize {
        let Some(update) = self.strategy() else { return self.count };
        if destructive.is_empty() && sets.migrate.is_empty() {
            return self.count;
        }
        let parallel = usize::try_from(update.max_parallel.unwrap_or(0)).unwrap_or(0);
        let Some(d) = &self.current.deployment else {
            return if canarying { 0 } else { parallel };
        };
        if self.current.paused || self.current.failed || canarying {
            return 0;
        }
        let mut room = parallel;
        for a in sets.untainted.iter().filter(|a| a.deployment_id == d.id) {
            match a.deployment_status.as_ref().and_then(|s| s.healthy) {
                Some(true) => {}
                Some(false) => return 0,
                None => room = room.saturating_sub(1),
            }
        }
        room
    }

    /// What should be placed besides canaries and destructive updates.
    fn placements(
        &self,
        sets: &Sets,
        destructive: &[Rc<Allocation>],
        names: &mut Names,
        canarying: bool,
    ) -> Vec<Place> {
        let mut out: Vec<Place> = Vec::new();
        for a in &sets.reschedule_now {
            out.push(Place { reschedule: true, ..self.instead(a, canarying) });
        }
        let mut existing = sets.untainted.len()
            + destructive.len()
            + sets.migrate.len()
            + sets.reschedule_now.len()
            + sets.waiting;
        for a in &sets.lost {
            if existing >= self.count {
                break;
            }
            existing += 1;
            out.push(self.instead(a, canarying));
        }
        let missing = self.count.saturating_sub(existing);
        for index in names.next(missing) {
            out.push(Place { downgrade: canarying, ..self.fresh(index) });
        }
        out
    }

    /// Takes the placements that may happen now; returns what is left of `room`.
    fn replacements(&mut self, ready: bool, places: Vec<Place>, sets: &Sets, room: usize) -> usize {
        if ready {
            for a in sets.reschedule_now.iter().filter(|a| !sets.kept_apart.contains(&a.id)) {
                self.stop(Stop::new(a, status::ALLOC_RESCHEDULED));
            }
            self.updates.place += count(places.len());
            let left = room.saturating_sub(places.len());
            self.out.places.extend(places);
            return left;
        }
        let failed = self.current.deployment.as_ref().filter(|_| self.current.failed);
        let lost: BTreeSet<&str> = sort::gather(sets.lost.iter().map(|a| a.id.as_str()));
        for place in places {
            let Some(previous) = &place.previous else { continue };
            if !place.reschedule {
                if lost.contains(previous.id.as_str()) {
                    self.updates.place += 1;
                    self.out.places.push(place);
                }
                continue;
            }
            if failed.is_some_and(|d| d.id == previous.deployment_id) {
                continue;
            }
            if !sets.kept_apart.contains(&previous.id) {
                let stop = Stop::new(previous, status::ALLOC_RESCHEDULED);
                self.updates.stop += 1;
                self.out.stops.push(stop);
            }
            self.updates.place += 1;
            self.out.places.push(place);
        }
        room
    }

    /// Destructive updates, as many as may run at a time.
    fn replace(&mut self, destructive: Allocs, room: usize) {
        let n = destructive.len().min(room);
        self.updates.destructive_update += count(n);
        self.updates.ignore += count(destructive.len() - n);
        for a in destructive.into_iter().take(n) {
            let place = Place { stop_previous: true, ..self.instead(&a, false) };
            self.out.places.push(place);
        }
    }

    fn migrations(&mut self, migrate: &[Rc<Allocation>], canarying: bool) {
        self.updates.migrate += count(migrate.len());
        for a in migrate {
            self.out.stops.push(Stop::new(a, status::ALLOC_MIGRATING));
            let place = self.instead(a, canarying);
            self.out.places.push(place);
        }
    }

    /// The group's part of the deployment has nothing to wait for.
    fn rollout_done(&self, state: Option<&DeploymentState>) -> bool {
        state.is_none_or(|s| {
            s.healthy_allocs >= s.desired_total.max(s.desired_canaries)
                && (s.desired_canaries == 0 || s.promoted)
        })
    }

    fn deploy(&self, state: DeploymentState, new: &mut Option<Deployment>) {
        if self.strategy().is_none() || self.current.deployment.is_some() {
            return;
        }
        let d = new.get_or_insert_with(|| {
            let input = self.input;
            begin(self.job, input.eval.priority, input.deployment_id, input.now)
        });
        d.task_groups.insert(self.group.name.clone(), state);
    }
}

/// Moves up to `surplus` of those that `pick` names from `from` to `to`, highest index first.
fn take(
    from: &mut Allocs,
    to: &mut Allocs,
    surplus: &mut usize,
    pick: impl Fn(&Allocation) -> bool,
) {
    let mut picked: Vec<usize> = (0..from.len()).filter(|i| pick(&from[*i])).collect();
    sort::by_key(&mut picked, |i| std::cmp::Reverse(names::index(&from[*i].name)));
    picked.truncate(*surplus);
    *surplus -= picked.len();
    sort::by(&mut picked, Ord::cmp);
    for i in picked.into_iter().rev() {
        to.push(from.remove(i));
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn total(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
