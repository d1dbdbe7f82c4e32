//! Writes the allocation, in the new form of its resources and in the old one.

use std::rc::Rc;

use crate::api::{
    AllocDeploymentStatus, AllocMetric, AllocatedResources, Allocation, Evaluation, Job, Node,
    Resources, Task, TaskGroup, status,
};
use crate::command::Placement;
use crate::stdx::json::Map;

/// A new allocation before it has a node.
pub(super) struct Draft<'a> {
    pub(super) job: &'a Job,
    pub(super) group: &'a TaskGroup,
    pub(super) eval: &'a Evaluation,
    pub(super) name: String,
    pub(super) deployment_id: &'a str,
    pub(super) canary: bool,
    /// ns since the epoch.
    pub(super) now: i64,
}

impl Draft<'_> {
    /// The placement on `node`. `metrics` are those of the search that found it.
    pub(super) fn place(
        self,
        id: String,
        node: &Node,
        given: Given,
        metrics: AllocMetric,
    ) -> Placement {
        let status = self
            .canary
            .then(|| AllocDeploymentStatus { canary: true, ..AllocDeploymentStatus::default() });
        let alloc = Allocation {
            client_status: status::CLIENT_PENDING.to_owned(),
            create_time: self.now,
            deployment_id: self.deployment_id.to_owned(),
            deployment_status: status.filter(|_| !self.deployment_id.is_empty()),
            desired_status: status::DESIRED_RUN.to_owned(),
            eval_id: self.eval.id.clone(),
            id,
            job_id: self.job.id.clone(),
            metrics: Some(Rc::new(metrics)),
            modify_time: self.now,
            name: self.name,
            namespace: self.job.namespace.clone(),
            node_id: node.id.clone(),
            node_name: node.name.clone(),
            resources: Some(given.sum),
            shared_resources: Some(given.shared),
            task_group: self.group.name.clone(),
            task_resources: given.tasks,
            allocated_resources: Some(given.new),
            ..Allocation::default()
        };
        Placement { alloc, job_version: self.job.version, job_create_index: self.job.create_index }
    }
}

/// What an allocation is given, in the new form and in the old one. Allocations that are given the
/// same share it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) new: Rc<AllocatedResources>,
    sum: Rc<Resources>,
    shared: Rc<Resources>,
    tasks: Rc<Map<Resources>>,
}

impl Given {
    pub(super) fn of(group: &TaskGroup, r: AllocatedResources) -> Self {
        let old = |t: &Task| (t.name.clone(), task(t.resources.as_ref(), &t.name, &r));
        Self {
            sum: Rc::new(sum(group, &r)),
            shared: Rc::new(shared(&r)),
            tasks: Rc::new(group.tasks.iter().map(old).collect()),
            new: Rc::new(r),
        }
    }
}

fn blank() -> Resources {
    Resources { cpu: Some(0), memory_mb: Some(0), ..Resources::default() }
}

/// The old form of what tasks share.
fn shared(r: &AllocatedResources) -> Resources {
    Resources { disk_mb: r.shared.disk_mb, networks: r.shared.networks.clone(), ..blank() }
}

/// The old form of one task's part.
fn task(asked: Option<&Resources>, name: &str, r: &AllocatedResources) -> Resources {
    let mut out = asked.cloned().unwrap_or_else(blank);
    if let Some(given) = r.tasks.get(name) {
        out.cpu = Some(given.cpu.cpu_shares);
        out.memory_mb = Some(given.memory.memory_mb - out.secrets_mb);
        out.memory_max_mb = given.memory.memory_max_mb;
        out.networks = given.networks.clone();
    }
    out
}

/// The old form of the whole.
fn sum(group: &TaskGroup, r: &AllocatedResources) -> Resources {
    let mut out = shared(r);
    for t in &group.tasks {
        let part = task(t.resources.as_ref(), &t.name, r);
        let memory = part.memory_mb.unwrap_or(0);
        out.cpu = Some(out.cpu.unwrap_or(0) + part.cpu.unwrap_or(0));
        out.memory_mb = Some(out.memory_mb.unwrap_or(0) + memory);
        out.memory_max_mb += if part.memory_max_mb > 0 { part.memory_max_mb } else { memory };
        out.cores += part.cores;
        out.secrets_mb += part.secrets_mb;
        out.devices.extend(part.devices.iter().cloned());
        out.networks.extend(part.networks.iter().cloned());
    }
    out
}
