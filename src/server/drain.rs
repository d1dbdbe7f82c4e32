//! Emptying of nodes: what leaves them now, what waits, and when a node is done.
//!
//! Services leave in step with their replacements (`migrate.max_parallel`, counted by health),
//! batch work is left to end, system jobs go last. At the deadline all that is left goes at once.
//! The strategy lies in the state, so another leader or a restart goes on where this one was.

use crate::stdx::ordered::Entry;

use crate::api::{
    DesiredTransition, DrainMetadata, DrainStrategy, Evaluation, Job, Node, NodeEvent, status,
};
use crate::command::Command;
use crate::stdx::json::{self, Time};
use crate::stdx::{BTreeMap, BTreeSet, Entropy, Now, uuid};
use crate::store::rows::{AllocHead, JobKind};
use crate::store::{Reader, Row, StoreError, Table, keys, splice};

/// Looks at the same nodes are at least this far apart: changes in between are seen together.
pub const COALESCE_NS: u64 = 1_000_000_000;
/// A deadline is looked at anew after this at the latest, as wall clocks are set.
const RECHECK_NS: u64 = 60 * COALESCE_NS;

/// The nodes that drain, and when to look at them next.
#[derive(Debug, Default)]
pub struct Drains {
    nodes: BTreeSet<String>,
    /// Mono ns.
    due: Option<u64>,
    last: Option<u64>,
}

/// An allocation as far as a drain looks at it.
struct Live {
    id: String,
    at: (String, String),
    group: String,
    head: AllocHead,
    migrating: bool,
    healthy: bool,
}

impl Live {
    /// Nothing has told it to leave yet.
    fn stays(&self) -> bool {
        !self.head.terminal() && !self.migrating
    }
}

impl Drains {
    /// A node began to drain, changed its strategy, or drains no longer.
    pub fn note(&mut self, id: &str, draining: bool, now: u64) {
        if draining {
            self.nodes.insert(id.to_owned());
            self.stir(now);
        } else if self.nodes.remove(id) && self.nodes.is_empty() {
            self.due = None;
        }
    }

    /// Allocations changed somewhere.
    pub fn stir(&mut self, now: u64) {
        if self.nodes.is_empty() {
            return;
        }
        let at = self.last.map_or(now, |last| now.max(last.saturating_add(COALESCE_NS)));
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Mono ns at which [`Self::step`] has something to look at.
    pub fn deadline(&self) -> Option<u64> {
        self.due
    }

    /// Says what must happen now, where a look is due.
    ///
    /// # Errors
    /// Those of the store.
    pub fn step(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<Command>, StoreError> {
        if self.due.is_none_or(|due| due > now.mono_ns) {
            return Ok(Vec::new());
        }
        self.last = Some(now.mono_ns);
        self.due = None;
        let mut out = Vec::new();
        let mut leave = Vec::new();
        let mut paced = BTreeSet::new();
        let mut patient = BTreeSet::new();
        for id in &self.nodes {
            let Some(node) = reader.node(id)? else { continue };
            let Some(strategy) = &node.drain_strategy else { continue };
            let live = live_on(reader, id)?;
            let rests = |a: &Live| !(is_system(a) && strategy.ignore_system_jobs);
            if !live.iter().any(rests) {
                out.push(complete(&node, now.wall_ns));
                continue;
            }
            let forced = is_over(strategy, now.wall_ns);
            if !forced {
                patient.extend(keys::by_uuid(id));
                if strategy.force_deadline.0 > 0 {
                    let left = strategy.force_deadline.0.saturating_sub(now.wall_ns);
                    let wait = u64::try_from(left).unwrap_or(0).min(RECHECK_NS);
                    let at = now.mono_ns.saturating_add(wait);
                    self.due = Some(self.due.map_or(at, |due| due.min(at)));
                }
            }
            let only_system = live.iter().all(is_system);
            for a in live.into_iter().filter(Live::stays).filter(|a| rests(a)) {
                if forced || (only_system && is_system(&a)) {
                    leave.push(a);
                } else if a.head.kind == JobKind::Service {
                    paced.insert(a.at);
                }
            }
        }
        for at in paced {
            pace(reader, &at, &patient, &mut leave)?;
        }
        if !leave.is_empty() {
            out.push(migrate(reader, leave, now.wall_ns, entropy)?);
        }
        Ok(out)
    }
}

/// Force, or the deadline has passed.
fn is_over(strategy: &DrainStrategy, wall_ns: i64) -> bool {
    strategy.deadline < 0 || (strategy.force_deadline.0 > 0 && strategy.force_deadline.0 <= wall_ns)
}

fn is_system(a: &Live) -> bool {
    matches!(a.head.kind, JobKind::System | JobKind::Sysbatch)
}

/// How many allocations of a group may be told to leave: as long as so many are healthy that no
/// more than `max_parallel` are missing.
pub fn may_leave(count: i64, max_parallel: i64, healthy: usize) -> usize {
    let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
    let spare = healthy.saturating_sub(count.saturating_sub(max_parallel));
    usize::try_from(spare).unwrap_or(0)
}

/// Picks what leaves of a service, group by group.
fn pace(
    reader: Reader<'_>,
    at: &(String, String),
    draining: &BTreeSet<[u8; 16]>,
    leave: &mut Vec<Live>,
) -> Result<(), StoreError> {
    let Some(job) = reader.job(&at.0, &at.1)?.filter(|j| !j.stop) else { return Ok(()) };
    let mut groups: BTreeMap<String, (usize, Vec<Live>)> = BTreeMap::new();
    let gone: BTreeSet<&str> = leave.iter().map(|a| a.id.as_str()).collect();
    for id in reader.alloc_ids_by_job(&at.0, &at.1)? {
        let Some(a) = reader.row(Table::Alloc, &id)?.and_then(|row| live(&id, &row)) else {
            continue;
        };
        if !a.stays() || gone.contains(a.id.as_str()) {
            continue;
        }
        let (healthy, candidates) = groups.entry(a.group.clone()).or_default();
        *healthy += usize::from(a.healthy);
        if draining.contains(&a.head.node) {
            candidates.push(a);
        }
    }
    for (name, (healthy, candidates)) in groups {
        let Some(group) = job.task_groups.iter().find(|g| g.name == name) else { continue };
        let max = group.migrate.as_ref().and_then(|m| m.max_parallel).unwrap_or(1);
        let n = may_leave(group.count.unwrap_or(1), max, healthy);
        leave.extend(candidates.into_iter().take(n));
    }
    Ok(())
}

/// What is not over on a node.
fn live_on(reader: Reader<'_>, node: &str) -> Result<Vec<Live>, StoreError> {
    let mut out = Vec::new();
    for id in reader.alloc_ids_by_node(node)? {
        if let Some(row) = reader.row(Table::Alloc, &id)?
            && !row.alloc().client_terminal()
        {
            out.extend(live(&id, &row));
        }
    }
    Ok(out)
}

/// `None` for a row without its names.
fn live(id: &[u8; 16], row: &Row<'_>) -> Option<Live> {
    let text = |name: &str| json::decode::<String>(splice::field(row.json, name)?).ok();
    let inner = |name: &str, field: &str| splice::field(splice::field(row.json, name)?, field);
    Some(Live {
        id: keys::uuid_text(id),
        at: (text("Namespace")?, text("JobID")?),
        group: text("TaskGroup")?,
        head: row.alloc(),
        migrating: inner("DesiredTransition", "Migrate") == Some(b"true"),
        healthy: inner("DeploymentStatus", "Healthy").is_some_and(|h| h != b"null"),
    })
}

/// Tells allocations to leave, and has their jobs looked at.
fn migrate(
    reader: Reader<'_>,
    leave: Vec<Live>,
    wall_ns: i64,
    entropy: &mut dyn Entropy,
) -> Result<Command, StoreError> {
    let mut jobs: BTreeMap<(String, String), Option<Job>> = BTreeMap::new();
    let mut transitions = Vec::with_capacity(leave.len());
    for a in leave {
        let wish = DesiredTransition { migrate: Some(true), ..DesiredTransition::default() };
        transitions.push((a.id, wish));
        if let Entry::Vacant(place) = jobs.entry(a.at) {
            let (namespace, id) = place.key();
            let job = reader.job(namespace, id)?;
            place.insert(job);
        }
    }
    let evals = jobs.into_values().flatten().map(|job| Evaluation {
        id: uuid::of_row(entropy),
        namespace: job.namespace,
        priority: job.priority,
        kind: job.kind,
        triggered_by: status::TRIGGER_NODE_DRAIN.to_owned(),
        job_id: job.id,
        job_modify_index: job.job_modify_index,
        status: status::EVAL_PENDING.to_owned(),
        create_time: wall_ns,
        modify_time: wall_ns,
        ..Evaluation::default()
    });
    let evals = evals.collect();
    Ok(Command::AllocTransition { transitions, evals, wall_ns })
}

/// Nothing is left on a node. It stays ineligible.
fn complete(node: &Node, wall_ns: i64) -> Command {
    log::info!("node {} is drained", node.id);
    let last = node.last_drain.clone().unwrap_or_default();
    Command::NodeDrain {
        id: node.id.clone(),
        strategy: None,
        mark_eligible: false,
        last: Some(DrainMetadata {
            status: status::DRAIN_COMPLETE.to_owned(),
            updated_at: Time(wall_ns),
            ..last
        }),
        event: event("Node drain complete", wall_ns),
        evals: Vec::new(),
    }
}

/// An event of a node's drain.
pub fn event(message: &str, wall_ns: i64) -> NodeEvent {
    NodeEvent {
        message: message.to_owned(),
        subsystem: "Drain".to_owned(),
        timestamp: Time(wall_ns),
        ..NodeEvent::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_leave_as_may_be_missing() {
        for (count, max, healthy, expected) in [
            (3, 1, 3, 1),
            (3, 1, 2, 0),
            (3, 2, 3, 2),
            (3, 2, 2, 1),
            (1, 1, 1, 1),
            (3, 5, 3, 5),
            (0, 1, 0, 1),
            (3, 0, 3, 0),
            (i64::MIN, i64::MAX, 0, usize::try_from(i64::MAX).unwrap()),
        ] {
            assert_eq!(may_leave(count, max, healthy), expected, "{count} {max} {healthy}");
        }
    }

    #[test]
    fn changes_within_a_second_are_seen_together() {
        let mut d = Drains { last: Some(0), ..Drains::default() };
        d.stir(5);
        assert_eq!(d.deadline(), None, "nothing drains");
        d.note("a", true, 5);
        assert_eq!(d.deadline(), Some(COALESCE_NS));
        d.stir(7);
        assert_eq!(d.deadline(), Some(COALESCE_NS));
        d.note("a", false, 8);
        assert_eq!(d.deadline(), None);
        d.note("a", true, 3 * COALESCE_NS);
        assert_eq!(d.deadline(), Some(3 * COALESCE_NS));
    }
}
