//! What the scheduler sees: the state of one snapshot, with the plans on top that are proposed but
//! not yet applied.

use std::cell::RefCell;
use std::rc::Rc;

use crate::api::{
    Allocation, Deployment, HostVolume, HostVolumeClaim, Job, Node, SchedulerConfiguration,
};
use crate::sched::{Fleet, View};
use crate::stdx::BTreeMap;
use crate::store::{Reader, StoreError};

use super::standing::Standing;

/// Namespace, id, create index and version of a job.
type Version = (String, String, u64, u64);

pub(super) struct StateView<'s> {
    reader: Reader<'s>,
    fleet: &'s Fleet,
    /// Stands in for the stored job of its name.
    planned: Option<Rc<Job>>,
    jobs: RefCell<BTreeMap<Version, Option<Rc<Job>>>>,
    /// The first read that failed; what the scheduler then decided counts for nothing.
    fault: RefCell<Option<StoreError>>,
}

impl<'s> StateView<'s> {
    /// # Errors
    /// Those of the store.
    pub(super) fn new(reader: Reader<'s>, standing: &'s mut Standing) -> Result<Self, StoreError> {
        let fleet = standing.fleet(reader)?;
        let (jobs, fault) = (RefCell::default(), RefCell::default());
        Ok(Self { reader, fleet, planned: None, jobs, fault })
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

    fn fleet(&self) -> Fleet {
        self.fleet.clone()
    }

    fn node(&self, id: &str) -> Option<Rc<Node>> {
        self.fleet.position(id).map(|at| self.fleet.node(at).clone())
    }

    fn allocs_by_job(&self, namespace: &str, id: &str) -> Vec<Rc<Allocation>> {
        let mut allocs = self.sound(self.reader.allocs_by_job(namespace, id));
        for alloc in &mut allocs {
            alloc.job = self.job_of(alloc);
        }
        allocs.into_iter().map(Rc::new).collect()
    }

    fn allocs_by_node(&self, id: &str) -> Vec<Rc<Allocation>> {
        self.sound(super::standing::on_node(self.reader, id)).into_iter().map(Rc::new).collect()
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

    fn host_volumes(&self, namespace: &str) -> Vec<HostVolume> {
        self.sound(self.reader.host_volumes(namespace))
    }

    fn volume_claims(&self, namespace: &str, job: &str) -> Vec<HostVolumeClaim> {
        let mut claims = self.sound(self.reader.volume_claims(namespace));
        claims.retain(|c| c.job_id == job);
        claims
    }

    fn volume_writers(&self, volume: &HostVolume) -> Vec<String> {
        self.sound(self.reader.volume_writers(volume))
    }

    fn config(&self) -> SchedulerConfiguration {
        self.sound(self.reader.scheduler_config().map(|c| SchedulerConfiguration::clone(&c)))
    }
}
