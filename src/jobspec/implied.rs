//! Constraints that follow from what a job uses, added so that only able nodes take it.

use crate::api::{Constraint, Job, Service, Task, TaskGroup};
use crate::stdx::{BTreeSet, sort};

/// Adds the implied constraints to every group, after those that were given.
pub(super) fn constraints(job: &mut Job) {
    for g in job.task_groups.iter_mut() {
        let implied = of_group(g);
        for c in implied {
            if !g.constraints.contains(&c) {
                g.constraints.push(c);
            }
        }
    }
}

fn constraint(ltarget: &str, operand: &str, rtarget: &str) -> Constraint {
    Constraint {
        ltarget: format!("${{attr.{ltarget}}}"),
        operand: operand.to_owned(),
        rtarget: rtarget.to_owned(),
    }
}

fn services(g: &TaskGroup) -> impl Iterator<Item = &Service> {
    g.services.iter().chain(g.tasks.iter().flat_map(|t| t.services.iter()))
}

fn of_group(g: &TaskGroup) -> Vec<Constraint> {
    let mut out = Vec::new();
    let tasks = || g.tasks.iter();
    if tasks().any(|t| t.vault.is_some()) {
        out.push(constraint("vault.version", "semver", ">= 0.6.1"));
    }
    let signals: BTreeSet<String> = sort::gather(tasks().flat_map(signals));
    if !signals.is_empty() {
        let list: Vec<&str> = signals.iter().map(String::as_str).collect();
        out.push(constraint("os.signals", "set_contains", &list.join(",")));
    }
    if services(g).any(|s| s.provider == "nomad") {
        out.push(constraint("nomad.service_discovery", "=", "true"));
    }
    if services(g).any(|s| s.provider == "nomad" && !s.checks.is_empty()) {
        out.push(constraint("nomad.version", "semver", ">= 1.4.0"));
    }
    if services(g).any(|s| s.provider == "consul") {
        out.push(constraint("consul.version", "semver", ">= 1.8.0"));
    }
    if g.networks.iter().any(|n| n.mode == "bridge") {
        for plugin in ["bridge", "firewall", "host-local", "loopback", "portmap"] {
            out.push(constraint(&format!("plugins.cni.version.{plugin}"), "semver", ">= 0.4.0"));
        }
    }
    let numa = |t: &Task| {
        t.resources.as_ref().and_then(|r| r.numa.as_ref()).is_some_and(|n| n.affinity != "none")
    };
    if tasks().any(numa) {
        out.push(constraint("nomad.version", "semver", ">= 1.6.3-dev"));
        out.push(constraint("kernel.name", "=", "linux"));
    }
    if tasks().any(|t| t.schedule.is_some()) {
        out.push(constraint("nomad.version", "semver", ">= 1.8.0-dev"));
    }
    let providers: BTreeSet<&str> =
        sort::gather(tasks().flat_map(|t| t.secrets.iter().map(|s| s.provider.as_str())));
    for p in providers {
        out.push(constraint(&format!("plugins.secrets.{p}.version"), "is_set", ""));
    }
    if tasks().any(|t| !t.identities.is_empty()) || services(g).any(|s| s.identity.is_some()) {
        out.push(constraint("nomad.version", "semver", ">= 1.7.0-a"));
    }
    out
}

/// Signals that the node must be able to send to this task.
fn signals(t: &Task) -> Vec<String> {
    let mut out = Vec::new();
    if !t.kill_signal.is_empty() {
        out.push(t.kill_signal.clone());
    }
    if let Some(v) = t.vault.as_ref().filter(|v| v.change_mode == "signal") {
        out.push(v.change_signal.clone());
    }
    for x in t.templates.iter().filter(|x| x.change_mode == "signal") {
        out.push(x.change_signal.clone());
    }
    out
}
