//! Evaluations that found no place and wait for room.
//!
//! An evaluation waits until something changes that could help it; a job that fits nowhere costs
//! nothing meanwhile. What helps is told by computed class: a node that appeared or got room wakes
//! the evaluations that found its class eligible, that never saw it, or whose constraints look
//! beyond classes. Only what is needed for that is held, not the evaluation.

use std::rc::Rc;

use crate::api::{Evaluation, status};
use crate::stdx::{BTreeMap, BTreeSet};

/// Evaluations blocked by conflicts of plans, not by want of room, are tried again after this, in
/// nanoseconds.
pub const CONFLICT_RETRY_NS: u64 = 60_000_000_000;
/// Classes and nodes whose last change is remembered one by one.
const CHANGES_MAX: usize = 4096;

/// Who waits: one per job, or for system jobs one per job and node.
type Owner = (Rc<str>, Rc<str>, Rc<str>);

#[derive(Debug)]
struct Waiting {
    owner: Owner,
    create: u64,
    /// Classes that cannot run the job, in order; every other class may.
    ineligible: Box<[Rc<str>]>,
    /// Any node at all may help.
    escaped: bool,
    /// Monotonic nanoseconds of the next try after a conflict; 0: none.
    retry_at: u64,
}

/// What became of an evaluation that was to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocking {
    /// True where what it waits for happened while the scheduler looked: it is to be queued at
    /// once and is not held.
    pub missed: bool,
    /// Id of an evaluation of the same job that is superfluous now, to be stored as canceled. May
    /// be the new one.
    pub cancel: Option<Rc<str>>,
}

/// All blocked evaluations. Invariant: every map and set speaks of the ids in `waiting` only.
#[derive(Debug, Default)]
pub struct Blocked {
    waiting: BTreeMap<Rc<str>, Waiting>,
    owners: BTreeMap<Owner, Rc<str>>,
    /// Of those that wait for one node: its id → ids.
    by_node: BTreeSet<(Rc<str>, Rc<str>)>,
    retries: BTreeSet<(u64, Rc<str>)>,
    /// Names of ineligible classes, each once.
    names: BTreeSet<Rc<str>>,
    classes: Changes,
    nodes: Changes,
}

/// When each of something last changed.
#[derive(Debug, Default)]
struct Changes {
    last: BTreeMap<Rc<str>, u64>,
    /// Greatest index among the changes that were forgotten.
    forgotten: u64,
}

impl Changes {
    fn note(&mut self, what: &str, index: u64) {
        if let Some(known) = self.last.get_mut(what) {
            *known = index.max(*known);
            return;
        }
        if self.last.len() >= CHANGES_MAX {
            let oldest = self.last.iter().min_by_key(|(_, at)| **at);
            if let Some((what, at)) = oldest.map(|(what, at)| (what.clone(), *at)) {
                self.last.remove(&what);
                self.forgotten = self.forgotten.max(at);
            }
        }
        self.last.insert(what.into(), index);
    }

    /// Whether one that `counts` changed after `index`, or may have.
    fn since(&self, index: u64, counts: impl Fn(&str) -> bool) -> bool {
        self.forgotten > index || self.last.iter().any(|(what, at)| *at > index && counts(what))
    }
}

impl Blocked {
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets an evaluation wait, whose status is blocked in the store. `now`: monotonic
    /// nanoseconds.
    pub fn block(&mut self, eval: &Evaluation, now: u64) -> Blocking {
        self.remove(&eval.id);
        if self.missed(eval) {
            return Blocking { missed: true, cancel: None };
        }
        let id: Rc<str> = eval.id.as_str().into();
        let owner: Owner = (
            eval.namespace.as_str().into(),
            eval.job_id.as_str().into(),
            eval.node_id.as_str().into(),
        );
        let mut cancel = None;
        if let Some(other) = self.owners.get(&owner).cloned() {
            if self.waiting.get(&other).is_some_and(|w| w.create > eval.create_index) {
                return Blocking { missed: false, cancel: Some(id) };
            }
            self.remove(&other);
            cancel = Some(other);
        }
        let conflict = eval.triggered_by == status::TRIGGER_MAX_PLANS;
        let waiting = Waiting {
            owner: owner.clone(),
            create: eval.create_index,
            ineligible: self.ineligible(eval),
            escaped: eval.escaped_computed_class,
            retry_at: if conflict { now.saturating_add(CONFLICT_RETRY_NS) } else { 0 },
        };
        if waiting.retry_at > 0 {
            self.retries.insert((waiting.retry_at, id.clone()));
        }
        if !owner.2.is_empty() {
            self.by_node.insert((owner.2.clone(), id.clone()));
        }
        self.owners.insert(owner, id.clone());
        self.waiting.insert(id, waiting);
        Blocking { missed: false, cancel }
    }

    /// An evaluation ended in the store.
    pub fn remove(&mut self, id: &str) {
        let Some((id, w)) = self.waiting.remove_entry(id) else { return };
        self.owners.remove(&w.owner);
        self.by_node.remove(&(w.owner.2, id.clone()));
        self.retries.remove(&(w.retry_at, id));
    }

    /// A job was stopped: nothing of it waits any longer. The ids, to be stored as canceled.
    pub fn untrack(&mut self, namespace: &str, job_id: &str) -> Vec<Rc<str>> {
        let from: Owner = (namespace.into(), job_id.into(), "".into());
        let of_job = self
            .owners
            .range(from..)
            .take_while(|((n, j, _), _)| (&**n, &**j) == (namespace, job_id));
        let ids: Vec<Rc<str>> = of_job.map(|(_, id)| id.clone()).collect();
        for id in &ids {
            self.remove(id);
        }
        ids
    }

    /// A node of this class appeared, changed or got room at `index`. The ids that it wakes; they
    /// are no longer held.
    pub fn unblock(&mut self, node_id: &str, class: &str, index: u64) -> Vec<Rc<str>> {
        self.classes.note(class, index);
        self.nodes.note(node_id, index);
        let from = (Rc::from(node_id), Rc::from(""));
        let of_node = self.by_node.range(from..).take_while(|(n, _)| &**n == node_id);
        let mut ids: Vec<Rc<str>> = of_node.map(|(_, id)| id.clone()).collect();
        let helped = |w: &Waiting| {
            w.owner.2.is_empty()
                && (w.escaped || w.ineligible.binary_search_by(|c| (**c).cmp(class)).is_err())
        };
        ids.extend(self.waiting.iter().filter(|(_, w)| helped(w)).map(|(id, _)| id.clone()));
        for id in &ids {
            self.remove(id);
        }
        ids
    }

    /// Takes out the evaluations whose time after a conflict has come.
    pub fn retry(&mut self, now: u64) -> Vec<Rc<str>> {
        let due = self.retries.iter().take_while(|(at, _)| *at <= now);
        let ids: Vec<Rc<str>> = due.map(|(_, id)| id.clone()).collect();
        for id in &ids {
            self.remove(id);
        }
        ids
    }

    /// When [`Self::retry`] is due, in monotonic nanoseconds.
    pub fn deadline(&self) -> Option<u64> {
        self.retries.first().map(|(at, _)| *at)
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many wait for more than what classes tell.
    pub fn escaped(&self) -> usize {
        self.waiting.values().filter(|w| w.escaped).count()
    }

    /// Whether something that helps changed after the state that the scheduler saw.
    fn missed(&self, eval: &Evaluation) -> bool {
        let seen = eval.snapshot_index;
        if eval.node_id.is_empty() {
            self.classes.since(seen, |class| {
                eval.escaped_computed_class || eval.class_eligibility.get(class) != Some(&false)
            })
        } else {
            self.nodes.since(seen, |node| node == eval.node_id)
        }
    }

    fn ineligible(&mut self, eval: &Evaluation) -> Box<[Rc<str>]> {
        if self.names.len() >= CHANGES_MAX {
            self.names.retain(|name| Rc::strong_count(name) > 1);
        }
        let unfit = eval.class_eligibility.iter().filter(|(_, ok)| !**ok);
        // In order already: the map is. One name is shared by all evaluations.
        let mut share = |class: &str| -> Rc<str> {
            if let Some(known) = self.names.get(class) {
                return known.clone();
            }
            let name: Rc<str> = class.into();
            self.names.insert(name.clone());
            name
        };
        unfit.map(|(class, _)| share(class)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::json::Map;

    fn eval(id: &str, job: &str, create: u64, seen: u64, classes: &[(&str, bool)]) -> Evaluation {
        let classes = classes.iter().map(|(c, ok)| ((*c).to_owned(), *ok)).collect();
        Evaluation {
            id: id.into(),
            namespace: "default".into(),
            job_id: job.into(),
            create_index: create,
            snapshot_index: seen,
            class_eligibility: Map(classes),
            ..Evaluation::default()
        }
    }

    fn ids(list: &[Rc<str>]) -> Vec<&str> {
        list.iter().map(|i| &**i).collect()
    }

    #[test]
    fn only_what_helps_wakes() {
        let mut b = Blocked::new();
        let held = Blocking::default();
        assert_eq!(b.block(&eval("fit", "a", 1, 10, &[("k1", true), ("k2", false)]), 0), held);
        assert_eq!(b.block(&eval("unfit", "b", 1, 10, &[("k1", false), ("k2", false)]), 0), held);
        let escaped =
            Evaluation { escaped_computed_class: true, ..eval("escaped", "c", 1, 10, &[]) };
        assert_eq!(b.block(&escaped, 0), held);
        let system = Evaluation { node_id: "n9".into(), ..eval("system", "d", 1, 10, &[]) };
        assert_eq!(b.block(&system, 0), held);
        assert_eq!((b.len(), b.escaped(), b.deadline()), (4, 1, None));

        assert_eq!(ids(&b.unblock("n1", "k2", 11)), ["escaped"]);
        assert_eq!(ids(&b.unblock("n1", "k1", 12)), ["fit"]);
        assert_eq!(ids(&b.unblock("n9", "k2", 13)), ["system"]);
        assert_eq!(ids(&b.unblock("n3", "new", 14)), ["unfit"]);
        assert!(b.is_empty() && b.owners.is_empty() && b.by_node.is_empty());

        // What happened while the scheduler looked at index 10 counts.
        let missed = Blocking { missed: true, cancel: None };
        assert_eq!(b.block(&eval("late", "a", 1, 10, &[("k1", true)]), 0), missed);
        let unfit = [("k1", false), ("k2", false), ("new", false)];
        assert_eq!(b.block(&eval("late", "a", 1, 10, &unfit), 0), held);
        assert_eq!(b.block(&Evaluation { snapshot_index: 10, ..system.clone() }, 0), missed);
        assert_eq!(b.block(&Evaluation { snapshot_index: 13, ..system }, 0), held);
    }

    #[test]
    fn one_per_job_and_retries_after_conflicts() {
        let mut b = Blocked::new();
        b.block(&eval("old", "a", 3, 0, &[]), 0);
        let cancels = |b: &mut Blocked, e: &Evaluation| b.block(e, 0).cancel.map(|c| c.to_string());
        assert_eq!(cancels(&mut b, &eval("new", "a", 4, 0, &[])), Some("old".into()));
        assert_eq!(cancels(&mut b, &eval("older", "a", 2, 0, &[])), Some("older".into()));
        assert_eq!(cancels(&mut b, &eval("new", "a", 4, 0, &[])), None);
        let system = Evaluation { node_id: "n1".into(), ..eval("node", "a", 5, 0, &[]) };
        assert_eq!(cancels(&mut b, &system), None);
        b.block(&eval("other", "b", 5, 0, &[]), 0);
        assert_eq!(ids(&b.untrack("default", "a")), ["new", "node"]);
        assert_eq!(b.len(), 1);

        let conflict = Evaluation {
            triggered_by: status::TRIGGER_MAX_PLANS.into(),
            ..eval("conflict", "c", 6, 0, &[])
        };
        b.block(&conflict, 5);
        assert_eq!(b.deadline(), Some(CONFLICT_RETRY_NS + 5));
        assert!(b.retry(CONFLICT_RETRY_NS).is_empty());
        assert_eq!(ids(&b.retry(CONFLICT_RETRY_NS + 5)), ["conflict"]);
        assert_eq!((b.deadline(), b.len()), (None, 1));
    }

    #[test]
    fn forgotten_changes_count_as_missed() {
        let mut b = Blocked::new();
        for n in 0..=CHANGES_MAX as u64 {
            b.unblock("n", &format!("k{n}"), n + 1);
        }
        assert!(b.classes.last.len() <= CHANGES_MAX);
        let unfit: Vec<_> = (0..=CHANGES_MAX).map(|n| (format!("k{n}"), false)).collect();
        let e = |seen| Evaluation {
            class_eligibility: Map(unfit.iter().cloned().collect()),
            ..eval("a", "a", 1, seen, &[])
        };
        assert!(b.block(&e(0), 0).missed);
        assert!(!b.block(&e(1), 0).missed);
    }
}
