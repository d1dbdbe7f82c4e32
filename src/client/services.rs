//! What an allocation offers to others while it runs: its services, and what their checks ask.
//!
//! Services of a task are there while the task runs, those of the group while one of its main
//! tasks does. Only the provider `nomad` is served; what names another one is left to it.

use super::checks::CheckSpec;
use super::env::{self, TaskDirs};
use super::interpolate::Scope;
use super::task::{Ctx, Spec, alloc_root, sources};
use crate::api::{
    Allocation, Job, Node, Service, ServiceCheck, ServiceRegistration, Task, TaskGroup,
};
use crate::stdx::BTreeMap;

/// The provider whose registrations are kept here.
pub(crate) const PROVIDER: &str = "nomad";
/// Longest name of a service, in bytes.
const NAME_MAX: usize = 63;

/// All that is offered at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Offer {
    pub(crate) services: Vec<ServiceRegistration>,
    pub(crate) checks: Vec<CheckSpec>,
}

/// Whether a group has anything to offer.
pub(crate) fn any(group: &TaskGroup) -> bool {
    let of_tasks = group.tasks.iter().flat_map(|t| t.services.iter());
    group.services.iter().chain(of_tasks).any(|s| s.provider == PROVIDER)
}

/// What is offered while these tasks run; `group_up`: and what the group itself offers.
pub(crate) fn offer(
    (alloc, job, group): (&Allocation, &Job, &TaskGroup),
    group_up: bool,
    runs: impl Fn(&str) -> bool,
    ctx: &Ctx<'_>,
) -> Offer {
    let mut out = Offer::default();
    let nobody = Task::default();
    let own = |s: &&Service| s.provider == PROVIDER;
    if group_up && group.services.iter().any(|s| own(&s)) {
        let spec = Spec { alloc, job, group, task: &nobody };
        let scope = scope(spec, ctx);
        for service in group.services.iter().filter(own) {
            add(service, spec, &scope, ctx, &mut out);
        }
    }
    for task in group.tasks.iter().filter(|t| runs(&t.name)) {
        if !task.services.iter().any(|s| own(&s)) {
            continue;
        }
        let spec = Spec { alloc, job, group, task };
        let scope = scope(spec, ctx);
        for service in task.services.iter().filter(own) {
            add(service, spec, &scope, ctx, &mut out);
        }
    }
    out
}

/// What names in a service stand for.
fn scope(spec: Spec<'_>, ctx: &Ctx<'_>) -> Scope {
    let dirs = TaskDirs::host(&alloc_root(ctx.config, &spec.alloc.id), &spec.task.name);
    env::build(&sources(spec, ctx, &dirs))
}

fn add(service: &Service, spec: Spec<'_>, scope: &Scope, ctx: &Ctx<'_>, out: &mut Offer) {
    let node = ctx.node;
    let name = scope.text(&service.name);
    if !is_name(&name) {
        log::warn!("{name:?} of allocation {} cannot be a service's name", spec.alloc.id);
        return;
    }
    let label = scope.text(&service.port_label);
    let place = Place::find(spec, node, &service.address_mode, &label);
    let owner = match spec.task.name.as_str() {
        "" => format!("group-{}", spec.group.name),
        task => task.to_owned(),
    };
    let canary = spec.alloc.deployment_status.as_ref().is_some_and(|d| d.canary);
    let tags = if canary && !service.canary_tags.is_empty() {
        &service.canary_tags
    } else {
        &service.tags
    };
    let advertised = scope.text(&service.address);
    for check in service.checks.iter() {
        // A script sees what its task sees.
        let of_task = task_of(spec, check).map(|task| self::scope(Spec { task, ..spec }, ctx));
        let scope = of_task.as_ref().unwrap_or(scope);
        let label = match check.port_label.as_str() {
            "" => label.clone(),
            own => scope.text(own),
        };
        let mode = match check.address_mode.as_str() {
            "" => &service.address_mode,
            own => own,
        };
        let place = Place::find(spec, node, mode, &label);
        out.checks.push(CheckSpec::new(spec, &name, check, &place, scope));
    }
    out.services.push(ServiceRegistration {
        address: if advertised.is_empty() { place.address } else { advertised },
        alloc_id: spec.alloc.id.clone(),
        datacenter: node.datacenter.clone(),
        id: format!("_nomad-task-{}-{owner}-{name}-{label}", spec.alloc.id),
        job_id: spec.job.id.clone(),
        namespace: spec.alloc.namespace.clone(),
        node_id: node.id.clone(),
        port: place.port,
        service_name: name,
        tags: tags.iter().map(|t| scope.text(t)).collect::<Vec<_>>().into(),
        ..ServiceRegistration::default()
    });
}

/// The task that a script of a group's service runs in.
fn task_of<'a>(spec: Spec<'a>, check: &ServiceCheck) -> Option<&'a Task> {
    let named = |t: &&Task| check.kind == "script" && t.name == check.task_name;
    spec.group.tasks.iter().find(named).filter(|t| t.name != spec.task.name)
}

/// Lower bound of what can be asked for by a path of the API.
fn is_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Address and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: String,
    /// 0: none.
    pub(crate) port: i64,
}

impl Place {
    /// Where a port is to be reached. Tasks share the network of their host, so the modes differ
    /// in the port alone: `alloc` and `driver` mean the one inside.
    fn find(spec: Spec<'_>, node: &Node, mode: &str, label: &str) -> Self {
        let inside = matches!(mode, "alloc" | "alloc_ipv6" | "driver");
        let given = spec.alloc.allocated_resources.as_ref();
        let own = given.and_then(|g| g.tasks.get(&spec.task.name));
        let mut all = given.into_iter().flat_map(|g| g.shared.ports.iter());
        let shared = all.find(|p| p.label == label).map(|p| (&p.host_ip, p.value, p.to));
        let networks = || own.into_iter().flat_map(|t| t.networks.iter());
        let of_task = || {
            networks().find_map(|n| {
                let mut ports = n.reserved_ports.iter().chain(&n.dynamic_ports);
                ports.find(|p| p.label == label).map(|p| (&n.ip, p.value, p.to))
            })
        };
        if let Some((ip, value, to)) = shared.or_else(of_task) {
            let port = if inside && to > 0 { to } else { value };
            return Self { address: ip.clone(), port };
        }
        let group = given.into_iter().flat_map(|g| g.shared.networks.iter());
        let network = group.chain(networks()).next().map(|n| n.ip.clone());
        match label.parse::<u16>() {
            Ok(port) => {
                let host = || node.attributes.get("unique.network.ip-address").cloned();
                let address = network.filter(|ip| !ip.is_empty()).or_else(host);
                Self { address: address.unwrap_or_default(), port: i64::from(port) }
            }
            Err(_) => Self { address: network.unwrap_or_default(), port: 0 },
        }
    }
}

/// What was last offered, and whether the servers know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    /// The description and the tasks that the offer follows from.
    from: Option<(u64, u64)>,
    pub(crate) offered: Vec<ServiceRegistration>,
    /// The servers have not been told.
    pub(crate) news: bool,
}

impl Services {
    /// Whether there is, or was, anything to tell.
    pub(crate) fn is_used(&self) -> bool {
        self.from.is_some()
    }

    /// Makes the offer anew where what it follows from has changed. The checks that belong to it.
    pub(crate) fn update(
        &mut self,
        at: (&Allocation, &Job, &TaskGroup),
        group_up: bool,
        running: &BTreeMap<&str, bool>,
        ctx: &Ctx<'_>,
    ) -> Option<Vec<CheckSpec>> {
        if !any(at.2) && !self.is_used() {
            return None;
        }
        let mut hash = super::hash::Fnv::default();
        for (task, runs) in running {
            hash.text(task);
            hash.text(if *runs { "up" } else { "down" });
        }
        hash.text(if group_up { "up" } else { "down" });
        let from = Some((at.0.alloc_modify_index, hash.finish()));
        if self.from == from {
            return None;
        }
        let first = self.from.is_none();
        self.from = from;
        let new = offer(at, group_up, |t| running.get(t).copied().unwrap_or(false), ctx);
        self.news |= first || new.services != self.offered;
        self.offered = new.services;
        Some(new.checks)
    }
}
