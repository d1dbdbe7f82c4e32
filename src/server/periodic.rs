//! Launches periodic jobs when they are due.
//!
//! When a job was last launched stands in the state, so a new leader finds what was missed: one
//! launch, whatever the number of missed times. A job that is due is asked for again until its
//! launch is in the state. A clock that is set back is noticed; a time that never comes costs
//! nothing.

use super::Proposed;
use crate::api::{Evaluation, Job, status};
use crate::command::Command;
use crate::jobspec::cron::{self, Cron};
use crate::limits::{PERIODIC_CHECK_NS, PERIODIC_LATE_S, PERIODIC_RETRY_S};
use crate::stdx::zone::Zones;
use crate::stdx::{BTreeMap, BTreeSet, Entropy, Now, uuid};
use crate::store::{Reader, Row, StoreError, Table, keys};

const SECOND_NS: i64 = 1_000_000_000;

/// A periodic job that launches at some time.
#[derive(Clone, Copy)]
struct Timer {
    /// Seconds since the epoch.
    due: i64,
    /// When to look at it: then, or later where the launch was asked for already.
    wake: i64,
    /// Launches up to then were left out on purpose.
    settled: i64,
}

#[derive(Default)]
pub(super) struct Launcher {
    zones: Zones,
    /// By the key of the job's row.
    timers: BTreeMap<Box<[u8]>, Timer>,
    /// The same, in the order of time.
    order: BTreeSet<(i64, Box<[u8]>)>,
    /// The time when it was last looked at, seconds since the epoch.
    seen: i64,
}

impl Launcher {
    pub(super) fn new(zones: Zones) -> Self {
        Self { zones, ..Self::default() }
    }

    /// Takes up all periodic jobs from the state.
    pub(super) fn lead(&mut self, now: Now, reader: Reader<'_>) -> Result<(), StoreError> {
        let mut found = Vec::new();
        for pair in reader.stubs(Table::Job, &[], None, false)? {
            let (key, row) = pair?;
            if launches(&row) {
                found.push(key);
            }
        }
        for key in found {
            self.arm(now, reader, key)?;
        }
        Ok(())
    }

    /// Rows of a table changed.
    pub(super) fn touched(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        rows: &[(Table, Box<[u8]>)],
    ) -> Result<(), StoreError> {
        for (table, key) in rows {
            if matches!(table, Table::Job | Table::PeriodicLaunch) {
                self.arm(now, reader, key)?;
            }
        }
        Ok(())
    }

    /// Mono ns at which something is due. Waits are cut, as the clock may be set meanwhile.
    pub(super) fn deadline(&self, now: Now) -> Option<u64> {
        let (wake, _) = self.order.first()?;
        let wait = wake.saturating_mul(SECOND_NS).saturating_sub(now.wall_ns);
        let wait = u64::try_from(wait).unwrap_or(0).min(PERIODIC_CHECK_NS);
        Some(now.mono_ns.saturating_add(wait))
    }

    /// Sets the timer of a job by what the state says of it.
    fn arm(&mut self, now: Now, reader: Reader<'_>, key: &[u8]) -> Result<(), StoreError> {
        let settled = self.forget(key).map_or(i64::MIN, |t| t.settled);
        if !reader.row(Table::Job, key)?.is_some_and(|row| launches(&row)) {
            return Ok(());
        }
        let Some((namespace, id)) = keys::split(key) else { return Ok(()) };
        let Some(job) = reader.job(namespace, id)? else { return Ok(()) };
        let last = reader.last_launch(namespace, id)?.unwrap_or(0);
        let after = last.max(job.submit_time.div_euclid(SECOND_NS));
        // What lies far ahead was written while the clock was wrong.
        let clock = now.wall_ns.div_euclid(SECOND_NS);
        let after = if after > clock + PERIODIC_LATE_S { clock } else { after };
        if let Some(due) = next(&job, self.zones, after.max(settled)) {
            self.set(key, Timer { due, wake: due, settled });
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], timer: Timer) {
        self.forget(key);
        self.order.insert((timer.wake, key.into()));
        self.timers.insert(key.into(), timer);
    }

    fn forget(&mut self, key: &[u8]) -> Option<Timer> {
        let timer = self.timers.remove(key)?;
        self.order.remove(&(timer.wake, key.into()));
        Some(timer)
    }

    /// Launches what is due.
    pub(super) fn work(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
        out: &mut Vec<Proposed>,
    ) -> Result<(), StoreError> {
        let clock = now.wall_ns.div_euclid(SECOND_NS);
        if clock < self.seen {
            let all: Vec<Box<[u8]>> = self.timers.keys().cloned().collect();
            for key in all {
                if let Some(timer) = self.timers.get_mut(&key) {
                    timer.settled = timer.settled.min(clock);
                }
                self.arm(now, reader, &key)?;
            }
        }
        self.seen = clock;
        while let Some((_, key)) = self.order.first().filter(|(wake, _)| *wake <= clock).cloned() {
            let Some(timer) = self.forget(&key) else { continue };
            let Some((namespace, id)) = keys::split(&key) else { continue };
            let Some(job) = reader.job(namespace, id)? else { continue };
            let at = if clock - timer.due > PERIODIC_LATE_S { clock } else { timer.due };
            if job.periodic.as_ref().is_some_and(|p| p.prohibit_overlap)
                && has_live_child(reader, namespace, id)?
            {
                log::info!("job {id:?} is not launched: its last launch still runs");
                self.timers.insert(key.clone(), Timer { settled: clock, ..timer });
                self.arm(now, reader, &key)?;
                continue;
            }
            out.push((launch(&job, at, now, entropy), None));
            self.set(&key, Timer { wake: clock + PERIODIC_RETRY_S, ..timer });
        }
        Ok(())
    }
}

/// Whether a job of these facts may launch others by the clock.
fn launches(row: &Row<'_>) -> bool {
    let head = row.job();
    head.periodic && !head.stop && !head.parameterized
}

/// The first launch of a job after a time, seconds since the epoch; `None` where it never comes.
pub fn next(job: &Job, zones: Zones, after: i64) -> Option<i64> {
    let periodic = job.periodic.as_ref().filter(|p| p.enabled != Some(false))?;
    let name = periodic.time_zone.as_deref().unwrap_or_default();
    let Some(zone) = zones.get(name) else {
        log::error!("job {:?} is not launched: no time zone {name:?} on this machine", job.id);
        return None;
    };
    let times = cron::lines(periodic).filter_map(|line| Cron::parse(line).ok());
    times.filter_map(|cron| cron.next_in(&zone, after)).min()
}

fn has_live_child(reader: Reader<'_>, namespace: &str, id: &str) -> Result<bool, StoreError> {
    let summary = reader.job_summary(namespace, id)?;
    Ok(summary.and_then(|s| s.children).is_some_and(|c| c.pending + c.running > 0))
}

/// The child of a periodic job for a launch at `at` (seconds since the epoch), with its evaluation.
pub fn launch(parent: &Job, at: i64, now: Now, entropy: &mut dyn Entropy) -> Command {
    let mut job = fresh(parent.clone(), now.wall_ns);
    job.parent_id.clone_from(&parent.id);
    job.id = format!("{}/periodic-{at}", parent.id);
    job.name.clone_from(&job.id);
    job.periodic = None;
    let eval = Evaluation {
        create_time: now.wall_ns,
        id: uuid::new(entropy),
        job_id: job.id.clone(),
        kind: job.kind.clone(),
        modify_time: now.wall_ns,
        namespace: job.namespace.clone(),
        priority: job.priority,
        status: status::EVAL_PENDING.to_owned(),
        triggered_by: status::TRIGGER_PERIODIC.to_owned(),
        ..Evaluation::default()
    };
    let eval = Some(Box::new(eval));
    Command::JobRegister { job: job.into(), submission: None, eval, enforce: None }
}

/// A copy of a stored job without what it must not carry along.
pub fn fresh(mut job: Job, wall_ns: i64) -> Job {
    job.status = String::new();
    job.status_description = String::new();
    job.stable = false;
    job.version = 0;
    job.version_tag = None;
    job.create_index = 0;
    job.modify_index = 0;
    job.job_modify_index = 0;
    job.submit_time = wall_ns;
    job
}
