//! What a job and its groups ask of a node, read once per evaluation.

use std::borrow::Cow;

use crate::api::{
    AllocatedCpuResources, AllocatedMemoryResources, AllocatedResources, AllocatedSharedResources,
    AllocatedTaskResources, Constraint, Job, NetworkResource, Node, Port, RequestedDevice,
    TaskGroup, VolumeRequest,
};
use crate::stdx::BTreeSet;

use super::build::Given;
use super::constraint::{Affinities, Check, wants_distinct_hosts};
use super::device;
use super::fit::{self, Usage};
use super::spread::{Distinct, Spreads};
use super::target::Target;

/// MiB of disk of a group that does not say. Source: contract, schemas-job (EphemeralDisk).
const DISK_MB: i64 = 300;
/// Defaults of a task that does not say. Source: contract, schemas-job (Resources).
const TASK_CPU_MHZ: i64 = 100;
const TASK_MEMORY_MB: i64 = 300;

/// Answers kept per computed class; `None`: not asked yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Memo(Vec<Option<bool>>);

impl Memo {
    pub(super) fn get(&self, class: usize) -> Option<bool> {
        self.0.get(class).copied().flatten()
    }

    pub(super) fn set(&mut self, class: usize, eligible: bool) {
        if self.0.len() <= class {
            self.0.resize(class + 1, None);
        }
        self.0[class] = Some(eligible);
    }
}

/// Constraints of one level (job or group) with what is known of the classes.
pub(super) struct Level {
    pub(super) checks: Vec<Check>,
    /// Some check looks at what differs within a class, so that no answer is kept.
    pub(super) unique: bool,
    pub(super) memo: Memo,
    pub(super) distinct_hosts: bool,
    pub(super) distinct: Vec<Distinct>,
}

impl Level {
    fn of<'a>(all: impl Iterator<Item = &'a Constraint> + Clone) -> Self {
        let checks: Vec<Check> = all.clone().filter_map(Check::of).collect();
        Self {
            unique: checks.iter().any(|c| c.unique),
            checks,
            memo: Memo::default(),
            distinct_hosts: wants_distinct_hosts(all.clone()),
            distinct: all
                .filter(|c| c.operand == "distinct_property")
                .map(|c| Distinct::of(&c.ltarget, &c.rtarget))
                .collect(),
        }
    }

    pub(super) fn job(job: &Job) -> Self {
        Self::of(job.constraints.iter())
    }
}

/// What one group asks.
pub(super) struct Ask<'j> {
    pub(super) group: &'j TaskGroup,
    pub(super) level: Level,
    pub(super) drivers: BTreeSet<&'j str>,
    /// Providers of secrets.
    pub(super) secrets: BTreeSet<&'j str>,
    /// The group's network, then those of tasks (the old place).
    pub(super) networks: Vec<NetworkResource>,
    /// Some port's host network is a `${…}` template, which each node resolves for itself.
    templates: bool,
    /// Whether the first of `networks` is the group's.
    pub(super) group_network: bool,
    pub(super) devices: Vec<RequestedDevice>,
    pub(super) device_weights: f64,
    pub(super) host_volumes: Vec<&'j VolumeRequest>,
    pub(super) csi_volumes: Vec<&'j VolumeRequest>,
    pub(super) affinities: Affinities,
    pub(super) spreads: Spreads,
    pub(super) count: i64,
    /// The next allocation prefers the node of the one before, where its data is.
    pub(super) sticky: bool,
    /// Reserved cores over all tasks.
    pub(super) cores: i64,
    /// All that does not depend on the node.
    resources: AllocatedResources,
    /// Need without reserved cores.
    need: Usage,
    /// What the first allocation was given, where all are given the same.
    pub(super) given: Option<Given>,
}

impl<'j> Ask<'j> {
    pub(super) fn of(job: &'j Job, group: &'j TaskGroup, oversubscribe: bool) -> Self {
        let constraints = group.constraints.iter();
        let constraints = constraints.chain(group.tasks.iter().flat_map(|t| t.constraints.iter()));
        let affinities = job.affinities.iter().chain(group.affinities.iter());
        let affinities = affinities.chain(group.tasks.iter().flat_map(|t| t.affinities.iter()));
        let count = group.count.unwrap_or(1);
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        let wanted = count as f64;
        let of_tasks = group.tasks.iter().filter_map(|t| t.resources.as_ref());
        let devices: Vec<_> = of_tasks.clone().flat_map(|r| r.devices.iter().cloned()).collect();
        let networks = group.networks.iter().take(1);
        let networks = networks.chain(of_tasks.flat_map(|r| r.networks.iter()));
        let resources = resources(group, oversubscribe);
        let volumes = |kind: &'static str| {
            group.volumes.values().filter(move |v| v.kind == kind).collect::<Vec<_>>()
        };
        Self {
            group,
            level: Level::of(constraints),
            drivers: group.tasks.iter().map(|t| t.driver.as_str()).collect(),
            secrets: group
                .tasks
                .iter()
                .flat_map(|t| t.secrets.iter())
                .map(|s| s.provider.as_str())
                .filter(|p| !p.is_empty())
                .collect(),
            templates: networks.clone().any(|n| ports(n).any(|p| p.host_network.contains("${"))),
            networks: networks.cloned().collect(),
            group_network: !group.networks.is_empty(),
            device_weights: device::weights(&devices),
            devices,
            host_volumes: volumes("host"),
            csi_volumes: volumes("csi"),
            affinities: Affinities::of(affinities),
            spreads: Spreads::of(group.spreads.iter().chain(job.spreads.iter()), wanted),
            count,
            sticky: group.ephemeral_disk.as_ref().is_some_and(|d| d.sticky),
            cores: cores(group),
            need: fit::need(&resources),
            resources,
            given: None,
        }
    }

    /// Whether no allocation holds anything of its own: ports, cores, devices.
    pub(super) fn gives_all_the_same(&self) -> bool {
        self.networks.is_empty() && self.cores == 0 && self.devices.is_empty()
    }

    /// The networks with host networks by name.
    pub(super) fn networks_on(&self, node: &Node) -> Cow<'_, [NetworkResource]> {
        if !self.templates {
            return Cow::Borrowed(&self.networks);
        }
        let mut out = self.networks.clone();
        for net in &mut out {
            for port in net.reserved_ports.iter_mut().chain(net.dynamic_ports.iter_mut()) {
                if let Some(name) = Target::parse(&port.host_network).on(node) {
                    port.host_network = name.to_owned();
                }
            }
        }
        Cow::Owned(out)
    }

    /// What one allocation needs on a node whose cores have `core_mhz`.
    pub(super) fn need(&self, core_mhz: i64) -> Usage {
        if self.cores == 0 { self.need } else { fit::need(&self.resources(core_mhz)) }
    }

    /// The allocation's resources without ports, cores and devices: those are given per node.
    pub(super) fn resources(&self, core_mhz: i64) -> AllocatedResources {
        let mut out = self.resources.clone();
        for task in self.group.tasks.iter().filter(|_| self.cores > 0) {
            let cores = task.resources.as_ref().map_or(0, |r| r.cores);
            if cores > 0
                && let Some(given) = out.tasks.get_mut(&task.name)
            {
                given.cpu.cpu_shares = cores * core_mhz;
            }
        }
        out
    }
}

fn ports(n: &NetworkResource) -> impl Iterator<Item = &Port> {
    n.reserved_ports.iter().chain(n.dynamic_ports.iter())
}

/// Reserved cores over all tasks: always added up, whatever the lifecycles.
fn cores(group: &TaskGroup) -> i64 {
    group.tasks.iter().filter_map(|t| t.resources.as_ref()).map(|r| r.cores).sum()
}

fn resources(group: &TaskGroup, oversubscribe: bool) -> AllocatedResources {
    let mut out = AllocatedResources {
        shared: AllocatedSharedResources {
            disk_mb: group.ephemeral_disk.as_ref().and_then(|d| d.size_mb).unwrap_or(DISK_MB),
            ..AllocatedSharedResources::default()
        },
        ..AllocatedResources::default()
    };
    for task in &group.tasks {
        let asked = task.resources.clone().unwrap_or_default();
        let cpu = asked.cpu.unwrap_or(if asked.cores > 0 { 0 } else { TASK_CPU_MHZ });
        let given = AllocatedTaskResources {
            cpu: AllocatedCpuResources { cpu_shares: cpu, ..AllocatedCpuResources::default() },
            memory: AllocatedMemoryResources {
                memory_mb: asked.memory_mb.unwrap_or(TASK_MEMORY_MB) + asked.secrets_mb,
                memory_max_mb: if oversubscribe { asked.memory_max_mb } else { 0 },
            },
            ..AllocatedTaskResources::default()
        };
        out.tasks.insert(task.name.clone(), given);
        out.task_lifecycles.insert(task.name.clone(), task.lifecycle.clone());
    }
    out
}
