//! Follows the deployments that are not over: health of their allocations, promotion, the deadline
//! of progress.
//!
//! What changed in a deployment is seen in its row, whose counts move with every report of health.
//! From that follow evaluations, which let the scheduler take the next step, and the end of a
//! deployment that goes wrong.

use crate::api::{Deployment, DeploymentState, DesiredTransition, Evaluation, status};
use crate::command::{Command, DeploymentUpdate};
use crate::sched;
use crate::stdx::{BTreeMap, BTreeSet, Entropy, Now, uuid};
use crate::store::{Reader, StoreError, Table, Touched, keys};

/// Evaluations of deployments whose allocations changed are gathered for this long, in
/// nanoseconds. Source: contract, scheduler §11.
const GATHER_NS: u64 = 1_000_000_000;

const UNHEALTHY: &str = "Failed due to unhealthy allocations";
const NO_PROGRESS: &str = "Failed due to progress deadline";

/// A command, and nothing that waits for its outcome.
type Out = Vec<(Command, Option<String>)>;

/// What is known of a deployment.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Allocations that were healthy and unhealthy when it was last looked at.
    healthy: i64,
    unhealthy: i64,
    /// When it fails unless it gets on, in nanoseconds of the wall clock; 0: never.
    deadline: i64,
}

/// All deployments that are not over.
#[derive(Debug, Default)]
pub struct Deployments {
    seen: BTreeMap<String, Seen>,
    /// Those of `seen` that have a deadline.
    deadlines: BTreeSet<(i64, String)>,
    /// To be looked at.
    changed: BTreeSet<String>,
    /// To be evaluated when the time comes, with the allocations that may be placed anew.
    gathered: BTreeMap<String, BTreeSet<String>>,
    /// Monotonic nanoseconds; 0: nothing is gathered.
    gathered_until: u64,
}

impl Deployments {
    /// This server leads from now on. What the leader before had gathered is evaluated again.
    ///
    /// # Errors
    /// Those of the store.
    pub fn lead(&mut self, now: Now, reader: Reader<'_>) -> Result<(), StoreError> {
        *self = Self::default();
        for pair in reader.scan(Table::Deployment, &[], None, false)? {
            let (key, row) = pair?;
            if row.deployment().active {
                let id = key.try_into().map(keys::uuid_text).unwrap_or_default();
                self.gather(&id, now);
                self.changed.insert(id);
            }
        }
        Ok(())
    }

    /// A commit changed the state.
    pub fn touched(&mut self, touched: &Touched) {
        let rows = touched.rows.iter().filter(|(table, _)| *table == Table::Deployment);
        self.changed.extend(rows.filter_map(|(_, key)| {
            let key: Result<[u8; 16], _> = key.as_ref().try_into();
            key.ok().map(|key| keys::uuid_text(&key))
        }));
    }

    pub fn has_work(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Monotonic nanoseconds at which something is due by itself.
    pub fn deadline(&self, now: Now) -> Option<u64> {
        let late = self.deadlines.first().map(|(at, _)| {
            now.mono_ns.saturating_add(u64::try_from(at - now.wall_ns).unwrap_or(0))
        });
        let gathered = Some(self.gathered_until).filter(|at| *at != 0);
        late.into_iter().chain(gathered).min()
    }

    /// Does what is due.
    ///
    /// # Errors
    /// Those of the store.
    pub fn work(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        out: &mut Out,
    ) -> Result<(), StoreError> {
        while self.deadlines.first().is_some_and(|(at, _)| *at <= now.wall_ns) {
            self.changed.extend(self.deadlines.pop_first().map(|(_, id)| id));
        }
        for id in std::mem::take(&mut self.changed) {
            self.look(&id, now, reader, entropy, out)?;
        }
        if self.gathered_until != 0 && self.gathered_until <= now.mono_ns {
            self.evaluate(now, reader, entropy, out)?;
        }
        Ok(())
    }

    fn gather(&mut self, id: &str, now: Now) -> &mut BTreeSet<String> {
        if self.gathered.is_empty() {
            self.gathered_until = now.mono_ns.saturating_add(GATHER_NS);
        }
        self.gathered.entry(id.to_owned()).or_default()
    }

    fn forget(&mut self, id: &str) -> Option<Seen> {
        let seen = self.seen.remove(id)?;
        self.deadlines.remove(&(seen.deadline, id.to_owned()));
        Some(seen)
    }

    /// Takes in a deployment as it is now, and does what follows from it at once.
    fn look(
        &mut self,
        id: &str,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        out: &mut Out,
    ) -> Result<(), StoreError> {
        let before = self.forget(id).unwrap_or_default();
        let Some(d) = reader.deployment(id)?.filter(Deployment::is_active) else {
            self.gathered.remove(id);
            return Ok(());
        };
        let sum = |of: fn(&DeploymentState) -> i64| d.task_groups.values().map(of).sum::<i64>();
        let mut seen = Seen {
            healthy: sum(|g| g.healthy_allocs),
            unhealthy: sum(|g| g.unhealthy_allocs),
            deadline: 0,
        };
        if d.status != status::DEPLOYMENT_RUNNING {
            // Nothing moves, and the clock stands still. When it goes on all is looked at anew.
            return Ok(());
        }
        let mut again = BTreeSet::new();
        let mut failure = None;
        if seen.unhealthy != before.unhealthy {
            failure = unhealthy(&d, now, reader, &mut again)?;
        }
        for g in d.task_groups.values().filter(|g| due(g).is_some_and(|at| at <= now.wall_ns)) {
            let revert = failure.is_some_and(|(_, revert)| revert);
            failure = Some((NO_PROGRESS, revert || g.auto_revert));
        }
        if let Some((why, revert)) = failure {
            let update = DeploymentUpdate {
                id: d.id.clone(),
                status: status::DEPLOYMENT_FAILED.to_owned(),
                status_description: why.to_owned(),
                revert,
                ..DeploymentUpdate::default()
            };
            return steer(&d, update, now, reader, entropy, out);
        }
        if seen.healthy != before.healthy && promotes_itself(&d, reader)? {
            let update = DeploymentUpdate {
                id: d.id.clone(),
                promote_all: true,
                ..DeploymentUpdate::default()
            };
            steer(&d, update, now, reader, entropy, out)?;
        } else if (seen.healthy, seen.unhealthy) != (before.healthy, before.unhealthy) {
            self.gather(id, now).extend(again);
        }
        seen.deadline = d.task_groups.values().filter_map(due).min().unwrap_or(0);
        if seen.deadline > 0 {
            self.deadlines.insert((seen.deadline, id.to_owned()));
        }
        self.seen.insert(id.to_owned(), seen);
        Ok(())
    }

    /// Has the scheduler look at all that was gathered.
    fn evaluate(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        out: &mut Out,
    ) -> Result<(), StoreError> {
        self.gathered_until = 0;
        let (mut transitions, mut evals) = (Vec::new(), Vec::new());
        for (id, again) in std::mem::take(&mut self.gathered) {
            let Some(d) = reader.deployment(&id)? else { continue };
            if d.status != status::DEPLOYMENT_RUNNING {
                continue;
            }
            let Some(eval) = evaluation(reader, &d, now.wall_ns, entropy)? else { continue };
            evals.push(eval);
            let wish = DesiredTransition { reschedule: Some(true), ..DesiredTransition::default() };
            transitions.extend(again.into_iter().map(|alloc| (alloc, wish.clone())));
        }
        if !evals.is_empty() {
            out.push((Command::AllocTransition { transitions, evals, wall_ns: now.wall_ns }, None));
        }
        Ok(())
    }
}

/// When a group must have got on, in nanoseconds of the wall clock. None: it has all that it waits
/// for, but perhaps promotion, or there is no limit.
fn due(g: &DeploymentState) -> Option<i64> {
    let canarying = g.desired_canaries > 0 && !g.promoted;
    let wanted = if canarying { g.desired_canaries } else { g.desired_total };
    let limited = g.progress_deadline > 0 && g.require_progress_by.0 > 0;
    (limited && g.healthy_allocs < wanted).then_some(g.require_progress_by.0)
}

/// What unhealthy allocations come to: those that may be placed anew go to `again`; where one may
/// not, why the deployment fails, and whether its job goes back.
fn unhealthy(
    d: &Deployment,
    now: Now,
    reader: Reader<'_>,
    again: &mut BTreeSet<String>,
) -> Result<Option<(&'static str, bool)>, StoreError> {
    let at = (d.job_create_index, d.job_version);
    let job = reader.job_version(&d.namespace, &d.job_id, at.0, at.1)?.unwrap_or_default();
    let id = keys::by_uuid(&d.id).unwrap_or_default();
    let (mut failed, mut revert) = (false, false);
    for key in reader.alloc_ids_by_job(&d.namespace, &d.job_id)? {
        let own = reader.row(Table::Alloc, &key)?.is_some_and(|r| r.alloc().deployment == id);
        let Some(alloc) = (if own { reader.alloc(&keys::uuid_text(&key))? } else { None }) else {
            continue;
        };
        let sick = alloc.deployment_status.as_ref().is_some_and(|s| s.healthy == Some(false));
        let stays = alloc.desired_status == status::DESIRED_RUN
            && alloc.next_allocation.is_empty()
            && alloc.desired_transition.reschedule != Some(true);
        let Some(state) = d.task_groups.get(&alloc.task_group).filter(|_| sick && stays) else {
            continue;
        };
        if state.progress_deadline > 0 && sched::may_reschedule(&alloc, &job, now.wall_ns) {
            again.insert(alloc.id);
        } else {
            failed = true;
            revert |= state.auto_revert;
        }
    }
    Ok(failed.then_some((UNHEALTHY, revert)))
}

/// All groups with canaries promote themselves, and all of their canaries are healthy.
fn promotes_itself(d: &Deployment, reader: Reader<'_>) -> Result<bool, StoreError> {
    let mut any = false;
    for g in d.task_groups.values().filter(|g| g.desired_canaries > 0 && !g.promoted) {
        if !g.auto_promote || g.healthy_allocs < g.desired_canaries {
            return Ok(false);
        }
        let mut healthy = 0;
        for id in &g.placed_canaries {
            let live = reader.alloc(id)?.filter(|a| a.desired_status == status::DESIRED_RUN);
            let health = live.and_then(|a| a.deployment_status).and_then(|s| s.healthy);
            healthy += i64::from(health == Some(true));
        }
        if healthy < g.desired_canaries {
            return Ok(false);
        }
        any = true;
    }
    Ok(any)
}

fn steer(
    d: &Deployment,
    update: DeploymentUpdate,
    now: Now,
    reader: Reader<'_>,
    entropy: &mut dyn Entropy,
    out: &mut Out,
) -> Result<(), StoreError> {
    let wall_ns = now.wall_ns;
    let eval = evaluation(reader, d, wall_ns, entropy)?.map(Box::new);
    out.push((Command::DeploymentSteer { update: Box::new(update), eval, wall_ns }, None));
    Ok(())
}

/// The evaluation that follows a change of a deployment; none where its job is gone.
///
/// # Errors
/// Those of the store.
pub fn evaluation(
    reader: Reader<'_>,
    d: &Deployment,
    wall_ns: i64,
    entropy: &mut dyn Entropy,
) -> Result<Option<Evaluation>, StoreError> {
    let Some(row) = reader.row(Table::Job, &keys::job(&d.namespace, &d.job_id))? else {
        return Ok(None);
    };
    Ok(Some(Evaluation {
        create_time: wall_ns,
        deployment_id: d.id.clone(),
        id: uuid::new(entropy),
        job_id: d.job_id.clone(),
        kind: row.job().kind.text().to_owned(),
        modify_time: wall_ns,
        namespace: d.namespace.clone(),
        priority: d.eval_priority,
        status: status::EVAL_PENDING.to_owned(),
        triggered_by: status::TRIGGER_DEPLOYMENT.to_owned(),
        ..Evaluation::default()
    }))
}
