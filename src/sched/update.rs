//! Whether a changed job means new tasks (destructive) or only new bookkeeping (in place).

use crate::api::{Consul, Job, NetworkResource, Port, Service, Task, TaskGroup};
use crate::stdx::{BTreeMap, sort};

/// Whether allocations of group `name` that run `old` must be replaced to run `new`: the list of
/// the contract (scheduler §6, "Update kind"). A group that either side lacks counts as changed.
pub(super) fn destructive(old: &Job, new: &Job, name: &str) -> bool {
    let find = |job: &Job| job.task_groups.iter().position(|g| g.name == name);
    let (Some(a), Some(b)) = (find(old), find(new)) else { return true };
    let (a, b) = (&old.task_groups[a], &new.task_groups[b]);
    group_changed(a, b) || a.tasks.iter().any(|t| task_changed((old, a, t), (new, b)))
}

fn group_changed(a: &TaskGroup, b: &TaskGroup) -> bool {
    let connect = |g: &TaskGroup| -> Vec<_> {
        let with = |s: &Service| s.connect.as_ref().map(|c| (s.name.clone(), c.clone()));
        g.services.iter().filter_map(with).collect()
    };
    a.tasks.len() != b.tasks.len()
        || a.ephemeral_disk != b.ephemeral_disk
        || a.volumes != b.volumes
        || consul_changed(a.consul.as_ref(), b.consul.as_ref())
        || networks_changed(&a.networks, &b.networks)
        || connect(a) != connect(b)
}

fn task_changed((old, g, a): (&Job, &TaskGroup, &Task), (new, h): (&Job, &TaskGroup)) -> bool {
    let Some(b) = h.tasks.iter().find(|t| t.name == a.name) else { return true };
    let disabled = |t: &Task| t.log_config.as_ref().and_then(|l| l.disabled).unwrap_or(false);
    let render =
        |t: &Task| t.restart_policy.as_ref().and_then(|r| r.render_templates).unwrap_or(false);
    let (r, s) = (a.resources.clone().unwrap_or_default(), b.resources.clone().unwrap_or_default());
    a.driver != b.driver
        || a.user != b.user
        || a.config != b.config
        || a.env != b.env
        || a.artifacts != b.artifacts
        || a.vault != b.vault
        || a.secrets != b.secrets
        || a.templates != b.templates
        || a.csi_plugin_config != b.csi_plugin_config
        || a.volume_mounts != b.volume_mounts
        || a.identity != b.identity
        || a.identities != b.identities
        || merged_meta(old, g, a) != merged_meta(new, h, b)
        || consul_changed(a.consul.as_ref(), b.consul.as_ref())
        || disabled(a) != disabled(b)
        || render(a) != render(b)
        || (r.cpu, r.cores, r.memory_mb, r.memory_max_mb, r.secrets_mb)
            != (s.cpu, s.cores, s.memory_mb, s.memory_max_mb, s.secrets_mb)
        || r.devices != s.devices
        || r.numa != s.numa
        || networks_changed(&r.networks, &s.networks)
}

/// What the task sees: job, group and task, the innermost winning.
fn merged_meta<'a>(job: &'a Job, g: &'a TaskGroup, t: &'a Task) -> BTreeMap<&'a str, &'a str> {
    let all = job.meta.iter().chain(g.meta.iter()).chain(t.meta.iter());
    sort::gather(all.map(|(k, v)| (k.as_str(), v.as_str())))
}

fn consul_changed(a: Option<&Consul>, b: Option<&Consul>) -> bool {
    let parts = |c: Option<&Consul>| {
        c.map(|c| (c.namespace.clone(), c.cluster.clone(), c.partition.clone())).unwrap_or_default()
    };
    parts(a) != parts(b)
}

fn networks_changed(a: &[NetworkResource], b: &[NetworkResource]) -> bool {
    let ports = |all: &[Port], fixed: bool| {
        let mut out: Vec<_> = all
            .iter()
            .map(|p| {
                let value = if fixed { p.value } else { 0 };
                (p.label.clone(), p.to, p.host_network.clone(), value, p.ignore_collision)
            })
            .collect();
        sort::by(&mut out, Ord::cmp);
        out
    };
    let same = |a: &NetworkResource, b: &NetworkResource| {
        a.mode == b.mode
            && a.mbits == b.mbits
            && a.hostname == b.hostname
            && a.dns == b.dns
            && a.cni == b.cni
            && ports(&a.reserved_ports, true) == ports(&b.reserved_ports, true)
            && ports(&a.dynamic_ports, false) == ports(&b.dynamic_ports, false)
    };
    a.len() != b.len() || !a.iter().zip(b).all(|(a, b)| same(a, b))
}
