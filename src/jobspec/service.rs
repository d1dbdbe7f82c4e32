//! Checks of the services of groups and tasks. Checks by script are allowed for provider `nomad`,
//! which the reference does not.

use crate::api::*;
use crate::stdx::{BTreeSet, sort};

const SECOND: i64 = 1_000_000_000;

/// Problems of a group's services and of what all services of a group have in common.
pub(super) fn of_group(g: &TaskGroup, e: &mut Vec<String>) {
    let labels = labels(g, None);
    for (i, s) in g.services.iter().enumerate() {
        let mut own = one(g, s);
        if let Some(text) = unknown_port(s, &labels) {
            own.push(text);
        }
        if s.address_mode == "driver" {
            own.push(format!(
                "service {:?} cannot use address_mode=\"driver\", only services \
                              defined in a \"task\" block can use this mode",
                s.name
            ));
        }
        e.extend(super::nested(&format!("Service[{i}] {} validation failed:", s.name), &own));
    }
    let all = || g.services.iter().chain(g.tasks.iter().flat_map(|t| t.services.iter()));
    let providers: BTreeSet<&str> = sort::gather(all().map(|s| s.provider.as_str()));
    if providers.len() > 1 {
        e.push(
            "Multiple service providers used: task group services must use the same provider"
                .to_owned(),
        );
    }
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for s in all() {
        if !seen.insert((&s.name, &s.task_name, &s.port_label)) {
            twice.insert(s.name.as_str());
        }
    }
    if !twice.is_empty() {
        let names: Vec<&str> = twice.into_iter().collect();
        e.push(format!("Services are not unique: {}", names.join(", ")));
    }
}

/// Problems of a task's services.
pub(super) fn of_task(g: &TaskGroup, t: &Task, e: &mut Vec<String>) {
    let labels = labels(g, Some(t));
    for (i, s) in t.services.iter().enumerate() {
        let mut own = one(g, s);
        if let Some(text) = unknown_port(s, &labels) {
            own.push(text);
        }
        e.extend(super::nested(&format!("Service[{i}] {} validation failed:", s.name), &own));
    }
}

/// Port labels that a service may name.
fn labels<'a>(g: &'a TaskGroup, t: Option<&'a Task>) -> BTreeSet<&'a str> {
    let of_task = t.and_then(|t| t.resources.as_ref()).map(|r| r.networks.as_slice());
    g.networks
        .iter()
        .chain(of_task.unwrap_or_default())
        .flat_map(|n| n.reserved_ports.iter().chain(n.dynamic_ports.iter()))
        .map(|p| p.label.as_str())
        .collect()
}

fn unknown_port(s: &Service, labels: &BTreeSet<&str>) -> Option<String> {
    let known = s.port_label.is_empty()
        || s.port_label.contains("${")
        || s.port_label.parse::<u16>().is_ok()
        || labels.contains(s.port_label.as_str());
    (!known).then(|| {
        format!("port label {:?} referenced by services {} does not exist", s.port_label, s.name)
    })
}

fn one(g: &TaskGroup, s: &Service) -> Vec<String> {
    let mut e = Vec::new();
    // Names with interpolation are known on the node only.
    if !s.name.contains("${") && !host_name(&s.name) {
        e.push(format!(
            "Service name must be valid per RFC 1123 and can contain only alphanumeric characters \
             or dashes and must be no longer than 63 characters: {:?}",
            s.name
        ));
    }
    if !matches!(s.address_mode.as_str(), "auto" | "host" | "driver" | "alloc" | "alloc_ipv6") {
        e.push(format!(
            "Service address_mode must be \"auto\", \"host\", \"driver\", \"alloc\" or \
             \"alloc_ipv6\"; not {:?}",
            s.address_mode
        ));
    }
    if !matches!(s.on_update.as_str(), "require_healthy" | "ignore_warnings" | "ignore") {
        e.push(format!(
            "Service on_update must be one of require_healthy, ignore_warnings, \
                        or ignore; not {:?}",
            s.on_update
        ));
    }
    match s.provider.as_str() {
        "consul" => (),
        "nomad" => {
            if s.connect.is_some() {
                e.push("Service with provider nomad cannot include Connect blocks".to_owned());
            }
        }
        other => e.push(format!(
            "Service provider must be {:?}, or {:?}; not {other:?}",
            "consul", "nomad"
        )),
    }
    for c in s.checks.iter() {
        if let Some(text) = check(g, s, c).into_iter().next() {
            e.push(format!("check {} invalid: {text}", c.name));
        }
    }
    e
}

fn host_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

fn check(g: &TaskGroup, s: &Service, c: &ServiceCheck) -> Vec<String> {
    let mut e = Vec::new();
    match (s.provider.as_str(), c.kind.as_str()) {
        (_, "tcp") | ("consul", "grpc") => (),
        (_, "http") => {
            if c.path.is_empty() {
                e.push("http type must have http path".to_owned());
            } else if c.path.contains("://") {
                e.push("relative http path required".to_owned());
            }
        }
        (provider, "script") => {
            if c.command.is_empty() {
                e.push("script type must have a valid script path".to_owned());
            }
            if provider == "nomad" && !g.tasks.iter().any(|t| t.name == c.task_name) {
                e.push(if c.task_name.is_empty() {
                    "script checks of a group's service must name the task to run in".to_owned()
                } else {
                    format!("script refers to non-existent task {:?}", c.task_name)
                });
            }
        }
        ("nomad", other) => {
            e.push(format!("invalid check type ({other:?}), must be one of tcp, http, script"));
        }
        (_, other) => e.push(format!(
            "invalid check type ({other:?}), must be one of tcp, http, grpc, script"
        )),
    }
    if c.interval < SECOND {
        e.push(if c.interval == 0 {
            "missing required value interval. Interval cannot be less than 1s".to_owned()
        } else {
            format!("interval ({}) cannot be lower than 1s", crate::stdx::duration::Go(c.interval))
        });
    }
    if c.timeout < SECOND {
        e.push(if c.timeout == 0 {
            "missing required value timeout. Timeout cannot be less than 1s".to_owned()
        } else {
            format!(
                "timeout ({}) is lower than required minimum timeout 1s",
                crate::stdx::duration::Go(c.timeout)
            )
        });
    }
    if !matches!(c.initial_status.as_str(), "" | "passing" | "warning" | "critical") {
        e.push(format!(
            "invalid initial check state ({}), must be one of \"passing\", \"warning\", \
             \"critical\" or empty",
            c.initial_status
        ));
    }
    if let Some(r) = &c.check_restart {
        if r.limit < 0 {
            e.push(format!("limit must be greater than or equal to 0: {}", r.limit));
        }
        if r.grace.unwrap_or(0) < 0 {
            e.push(format!("grace period cannot be negative: {}", r.grace.unwrap_or(0)));
        }
    }
    if s.provider == "nomad" {
        for (set, what) in [
            (c.success_before_passing != 0, "success_before_passing"),
            (c.failures_before_critical != 0, "failures_before_critical"),
            (c.failures_before_warning != 0, "failures_before_warning"),
            (!c.initial_status.is_empty(), "initial_status"),
        ] {
            if set {
                e.push(format!("{what} may only be set for Consul service checks"));
            }
        }
    }
    e
}
