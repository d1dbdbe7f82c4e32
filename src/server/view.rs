//! What the scheduler sees: the state of one snapshot, with the plans on top that are proposed but
//! not yet applied.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::api::{Allocation, Deployment, Job, Node, SchedulerConfiguration};
use crate::command::Plan;
use crate::sched::View;
use crate::store::{Reader, StoreError, Table, keys};

/// Nodes decoded once, kept while their rows stay as they are.
#[derive(Default)]
pub(super) struct NodeCache {
    /// Index of the node table that `list` shows.
    index: u64,
    known: BTreeMap<Vec<u8>, (u64, Rc<Node>)>,
    list: Rc<[Rc<Node>]>,
}

impl NodeCache {
    /// Brings the cache to the state of `reader`; only rows that changed are decoded.
    fn refresh(&mut self, reader: Reader<'_>) -> Result<Rc<[Rc<Node>]>, StoreError> {
        let index = reader.table_index(Table::Node);
        if index == self.index && index != 0 {
            return Ok(self.list.clone());
        }
        let mut old = std::mem::take(&mut self.known);
        for pair in reader.scan(Table::Node, &[], None, false)? {
            let (key, row) = pair?;
            let kept = old.remove(key).filter(|(modify, _)| *modify == row.modify());
            let entry = match kept {
                Some(entry) => entry,
                None => match reader.node(&id_text(key))? {
                    Some(node) => (row.modify(), Rc::new(node)),
                    None => continue,
                },
            };
            self.known.insert(key.to_vec(), entry);
        }
        self.list = self.known.values().map(|(_, n)| n.clone()).collect();
        self.index = index;
        Ok(self.list.clone())
    }
}

/// Plans between their proposal and their commit.
#[derive(Default)]
pub(super) struct InFlight {
    placed: BTreeMap<String, Vec<Rc<Allocation>>>,
    stopped: BTreeSet<String>,
}

impl InFlight {
    pub(super) fn add(&mut self, plan: &Plan) {
        for p in &plan.places {
            self.placed.entry(p.alloc.node_id.clone()).or_default().push(Rc::new(p.alloc.clone()));
        }
        self.stopped.extend(plan.stops.iter().map(|s| s.id.clone()));
    }

    /// All of them were applied or refused.
    pub(super) fn clear(&mut self) {
        self.placed.clear();
        self.stopped.clear();
    }
}

/// Namespace, id, create index and version of a job.
type Version = (String, String, u64, u64);

pub(super) struct StateView<'s> {
    reader: Reader<'s>,
    nodes: Rc<[Rc<Node>]>,
    in_flight: &'s InFlight,
    /// Stands in for the stored job of its name.
    planned: Option<Rc<Job>>,
    jobs: RefCell<BTreeMap<Version, Option<Rc<Job>>>>,
    /// The first read that failed; what the scheduler then decided counts for nothing.
    fault: RefCell<Option<StoreError>>,
}

impl<'s> StateView<'s> {
    /// # Errors
    /// Those of the store.
    pub(super) fn new(
        reader: Reader<'s>,
        cache: &mut NodeCache,
        in_flight: &'s InFlight,
    ) -> Result<Self, StoreError> {
        let nodes = cache.refresh(reader)?;
        let (jobs, fault) = (RefCell::default(), RefCell::default());
        Ok(Self { reader, nodes, in_flight, planned: None, jobs, fault })
    }

    /// The same state, had `job` been registered last.
    pub(super) fn with(mut self, job: Rc<Job>) -> Self {
        self.planned = Some(job);
        self
    }

    /// # Errors
    /// The first failed read since the view was made.
    pub(super) fn check(self) -> Result<(), StoreError> {
        self.fault.into_inner().map_or(Ok(()), Err)
    }

    fn sound<T: Default>(&self, read: Result<T, StoreError>) -> T {
        read.unwrap_or_else(|e| {
            self.fault.borrow_mut().get_or_insert(e);
            T::default()
        })
    }

    /// The version of the job that an allocation runs.
    fn job_of(&self, alloc: &Allocation) -> Option<Rc<Job>> {
        let key = (
            alloc.namespace.clone(),
            alloc.job_id.clone(),
            alloc.job_create_index,
            alloc.job_version,
        );
        self.jobs
            .borrow_mut()
            .entry(key)
            .or_insert_with(|| {
                let a = alloc;
                let job = self.reader.job_version(
                    &a.namespace,
                    &a.job_id,
                    a.job_create_index,
                    a.job_version,
                );
                self.sound(job).map(Rc::new)
            })
            .clone()
    }
}

impl View for StateView<'_> {
    fn index(&self) -> u64 {
        self.reader.index()
    }

    fn job(&self, namespace: &str, id: &str) -> Option<Rc<Job>> {
        let planned = self.planned.as_ref().filter(|j| j.namespace == namespace && j.id == id);
        if planned.is_some() {
            return planned.cloned();
        }
        self.sound(self.reader.job(namespace, id)).map(Rc::new)
    }

    fn nodes(&self) -> Rc<[Rc<Node>]> {
        self.nodes.clone()
    }

    fn node(&self, id: &str) -> Option<Rc<Node>> {
        let at = self.nodes.binary_search_by(|n| n.id.as_str().cmp(id)).ok()?;
        self.nodes.get(at).cloned()
    }

    fn allocs_by_job(&self, namespace: &str, id: &str) -> Vec<Rc<Allocation>> {
        let mut allocs = self.sound(self.reader.allocs_by_job(namespace, id));
        for alloc in &mut allocs {
            alloc.job = self.job_of(alloc);
        }
        allocs.into_iter().map(Rc::new).collect()
    }

    fn allocs_by_node(&self, id: &str) -> Vec<Rc<Allocation>> {
        let placed = self.in_flight.placed.get(id);
        let stored = self.sound(on_node(self.reader, id));
        let mut out: Vec<Rc<Allocation>> = stored
            .into_iter()
            .filter(|a| !self.in_flight.stopped.contains(&a.id))
            .filter(|a| placed.is_none_or(|p| p.iter().all(|q| q.id != a.id)))
            .map(Rc::new)
            .collect();
        out.extend(placed.into_iter().flatten().cloned());
        out
    }

    fn deployment_latest(&self, namespace: &str, job: &str) -> Option<Deployment> {
        self.sound(self.reader.deployments_by_job(namespace, job))
            .into_iter()
            .max_by_key(|d| (d.create_index, d.id.clone()))
    }

    fn proven_version(&self, job: &Job, group: &str) -> Option<Rc<Job>> {
        let deployments = self.sound(self.reader.deployments_by_job(&job.namespace, &job.id));
        let promoted = |version: u64| {
            deployments.iter().any(|d| {
                (d.job_create_index, d.job_version) == (job.create_index, version)
                    && d.task_groups.get(group).is_some_and(|g| g.promoted)
            })
        };
        let versions = self.sound(self.reader.job_versions(&job.namespace, &job.id));
        let older = versions.into_iter().filter(|v| v.version < job.version && !v.stop);
        older.into_iter().find(|v| v.stable || promoted(v.version)).map(Rc::new)
    }

    fn config(&self) -> SchedulerConfiguration {
        self.sound(self.reader.scheduler_config().map(|c| SchedulerConfiguration::clone(&c)))
    }
}

/// What holds resources on a node, decoded.
fn on_node(reader: Reader<'_>, node: &str) -> Result<Vec<Allocation>, StoreError> {
    let mut out = Vec::new();
    for pair in reader.usage_by_node(node)? {
        let (id, _) = pair?;
        out.extend(reader.alloc(&keys::uuid_text(&id))?);
    }
    Ok(out)
}

fn id_text(key: &[u8]) -> String {
    key.try_into().map(keys::uuid_text).unwrap_or_default()
}
