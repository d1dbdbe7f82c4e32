//! Checks of a task group.

use crate::api::status::{JOB_BATCH, JOB_SERVICE, JOB_SYSBATCH, JOB_SYSTEM};
use crate::api::*;
use crate::jobspec::{service, task, validate};
use crate::stdx::BTreeMap;
use crate::stdx::duration::Go;

const SECOND: i64 = 1_000_000_000;

/// All problems of one group of a canonical job.
pub(super) fn group(job: &Job, g: &TaskGroup) -> Vec<String> {
    let mut e = Vec::new();
    if g.name.is_empty() {
        e.push("Missing task group name".to_owned());
    }
    if g.name.contains('\0') {
        e.push("Task group name contains null character".to_owned());
    }
    if g.count.unwrap_or(1) < 0 {
        e.push("Task group count can't be negative".to_owned());
    }
    if g.tasks.is_empty() {
        e.push("Missing tasks for task group".to_owned());
    }
    lifetimes(job, g, &mut e);
    for (i, c) in g.constraints.iter().enumerate() {
        let what = format!("Constraint {} validation failed:", i + 1);
        e.extend(super::nested(&what, &validate::constraint(c)));
    }
    scopes(job, g, &mut e);
    if let Some(r) = &g.restart_policy {
        restart(g, r, &mut e);
    }
    blocks(job, g, &mut e);
    tasks(g, &mut e);
    ports(g, &mut e);
    volumes(g, &mut e);
    service::of_group(g, &mut e);
    for t in g.tasks.iter() {
        let what = format!("Task {} validation failed:", t.name);
        e.extend(super::nested(&what, &task::task(job, g, t)));
    }
    e
}

fn lifetimes(job: &Job, g: &TaskGroup, e: &mut Vec<String>) {
    if g.shutdown_delay.is_some_and(|d| d < 0) {
        e.push("ShutdownDelay must be a positive value".to_owned());
    }
    if let Some(d) = g.max_run_duration {
        if d <= 0 {
            e.push("MaxRunDuration must be greater than zero".to_owned());
        }
        if job.kind != JOB_BATCH && job.kind != JOB_SYSBATCH {
            e.push(format!("Job type {:?} does not allow max_run_duration", job.kind));
        }
    }
    if let Some(d) = &g.disconnect {
        if d.lost_after < 0 {
            e.push("lost_after cannot be a negative duration".to_owned());
        }
        if d.stop_on_client_after.is_some_and(|s| s < 0) {
            e.push("stop_on_client_after cannot be a negative duration".to_owned());
        }
        if d.lost_after != 0 && d.stop_on_client_after.is_some() {
            e.push("lost_after and stop_on_client_after cannot be used together".to_owned());
        }
        if d.stop_on_client_after.is_some() && ![JOB_SERVICE, JOB_BATCH].contains(&&*job.kind) {
            e.push("stop_on_client_after can only be used with service and batch jobs".to_owned());
        }
        let known = ["best_score", "keep_original", "keep_replacement", "longest_running"];
        if !known.contains(&d.reconcile.as_str()) {
            e.push(format!("invalid reconcile option: {:?}", d.reconcile));
        }
    }
}

fn scopes(job: &Job, g: &TaskGroup, e: &mut Vec<String>) {
    if job.kind == JOB_SYSTEM {
        if !g.affinities.is_empty() {
            e.push("System jobs may not have an affinity block".to_owned());
        }
        if !g.spreads.is_empty() {
            e.push("System jobs may not have a spread block".to_owned());
        }
    } else {
        validate::affinities(&g.affinities, e);
        validate::spreads(&g.spreads, e);
    }
}

fn restart(g: &TaskGroup, r: &RestartPolicy, e: &mut Vec<String>) {
    let mode = r.mode.as_deref().unwrap_or_default();
    let attempts = r.attempts.unwrap_or(0);
    let (interval, delay) = (r.interval.unwrap_or(0), r.delay.unwrap_or(0));
    if mode != "fail" && mode != "delay" {
        e.push(format!("Unsupported restart mode: {mode:?}"));
        return;
    }
    if attempts == 0 && mode != "fail" {
        e.push(format!("Restart policy {mode:?} with {attempts} attempts is ambiguous"));
    }
    if interval < 5 * SECOND {
        e.push(format!("Interval can not be less than 5s (got {})", Go(interval)));
    }
    if attempts.saturating_mul(delay) > interval {
        e.push(format!(
            "Nomad can't restart the TaskGroup {attempts} times in an interval of {} with a delay \
             of {}",
            Go(interval),
            Go(delay)
        ));
    }
    if delay < 0 {
        e.push(format!("Delay of group {} can not be negative (got {})", g.name, Go(delay)));
    }
}

/// The blocks that depend on the type of the job.
fn blocks(job: &Job, g: &TaskGroup, e: &mut Vec<String>) {
    if g.scaling.is_some() && matches!(job.kind.as_str(), JOB_SYSTEM | JOB_SYSBATCH) {
        e.push(format!("Job type {:?} does not allow scaling block", job.kind));
    } else if let Some(s) = &g.scaling {
        scaling(g, s, e);
    }
    if let Some(d) = &g.ephemeral_disk {
        let size = d.size_mb.unwrap_or(300);
        if size < 10 {
            e.push(format!("minimum ephemeral disk size is 10 MB; got {size}"));
        }
    }
    match &g.reschedule_policy {
        Some(_) if matches!(job.kind.as_str(), JOB_SYSTEM | JOB_SYSBATCH) => {
            e.push("System or sysbatch jobs should not have a reschedule policy".to_owned());
        }
        Some(r) if matches!(job.kind.as_str(), JOB_SERVICE | JOB_BATCH) => reschedule(r, e),
        _ => (),
    }
    if let Some(u) = &g.update {
        match job.kind.as_str() {
            JOB_SERVICE | JOB_SYSTEM => {
                let mut own = Vec::new();
                update(u, &mut own);
                e.extend(own);
            }
            other => e.push(format!("Job type {other:?} does not allow update block")),
        }
    }
    if let Some(m) = &g.migrate {
        if job.kind == JOB_SERVICE {
            migrate(m, e);
        } else {
            e.push(format!("Job type {:?} does not allow migrate block", job.kind));
        }
    }
}

fn scaling(g: &TaskGroup, s: &ScalingPolicy, e: &mut Vec<String>) {
    let (min, max) = (s.min.unwrap_or(0), s.max.unwrap_or(-1));
    let count = g.count.unwrap_or(1);
    let mut own = Vec::new();
    if max < 0 {
        own.push("maximum count must be specified and non-negative".to_owned());
    } else if max < min {
        own.push("maximum count must not be less than minimum count".to_owned());
    }
    if min < 0 {
        own.push("minimum count must be specified and non-negative".to_owned());
    }
    if s.kind != "horizontal" {
        own.push(format!("scaling policy type {:?} is not valid", s.kind));
    }
    e.extend(super::nested("Scaling policy invalid:", &own));
    if count < min {
        e.push(format!(
            "Scaling policy invalid: task group count must not be less than minimum count in \
             scaling policy: {count} < {min}"
        ));
    }
    if max >= 0 && count > max {
        e.push(format!(
            "Scaling policy invalid: task group count must not be greater than maximum count in \
             scaling policy: {count} > {max}"
        ));
    }
}

fn reschedule(r: &ReschedulePolicy, e: &mut Vec<String>) {
    let attempts = r.attempts.unwrap_or(0);
    let unlimited = r.unlimited.unwrap_or(false);
    if attempts == 0 && !unlimited {
        return;
    }
    let (delay, max) = (r.delay.unwrap_or(0), r.max_delay.unwrap_or(0));
    let interval = r.interval.unwrap_or(0);
    let function = r.delay_function.as_deref().unwrap_or_default();
    let mut own = Vec::new();
    if delay < 5 * SECOND {
        own.push(format!("Delay cannot be less than 5s (got {})", Go(delay)));
    }
    match function {
        "constant" => (),
        "exponential" | "fibonacci" => {
            if max < 5 * SECOND {
                own.push(format!("Max Delay cannot be less than 5s (got {})", Go(max)));
            }
            if max < delay {
                own.push(format!(
                    "Max Delay cannot be less than Delay {} (got {})",
                    Go(delay),
                    Go(max)
                ));
            }
        }
        other => own.push(format!("Invalid delay function {other:?}")),
    }
    if unlimited && attempts > 0 {
        own.push("Reschedule attempts must be zero when unlimited is true".to_owned());
    }
    if !unlimited {
        if interval < 15 * SECOND {
            own.push(format!("Interval cannot be less than 15s (got {})", Go(interval)));
        } else if let Some(span) = span(attempts, delay, max, function)
            && span > interval
        {
            own.push(format!(
                "Nomad can only make {attempts} attempts in {} with initial delay {} and delay \
                 function {function:?}; set the interval to at least {}",
                Go(interval),
                Go(delay),
                Go(span)
            ));
        }
    }
    e.extend(own);
}

/// How long all attempts take together; `None` where that is beyond measure.
fn span(attempts: i64, delay: i64, max: i64, function: &str) -> Option<i64> {
    let (mut sum, mut last, mut next) = (0i64, 0i64, delay);
    for _ in 0..attempts.min(10_000) {
        let d = if function == "constant" { delay } else { next.min(max) };
        sum = sum.checked_add(d)?;
        let grown = if function == "fibonacci" {
            last.saturating_add(next).max(delay)
        } else {
            next.saturating_mul(2)
        };
        last = next;
        next = grown;
    }
    Some(sum)
}

fn update(u: &UpdateStrategy, e: &mut Vec<String>) {
    let (healthy, progress) = (u.healthy_deadline.unwrap_or(0), u.progress_deadline.unwrap_or(0));
    let (min, stagger) = (u.min_healthy_time.unwrap_or(0), u.stagger.unwrap_or(0));
    let (parallel, canary) = (u.max_parallel.unwrap_or(0), u.canary.unwrap_or(0));
    let check = u.health_check.as_deref().unwrap_or_default();
    if !matches!(check, "checks" | "task_states" | "manual") {
        e.push(format!("Invalid health check given: {check:?}"));
    }
    if parallel < 0 {
        e.push(format!("Max parallel can not be less than zero: {parallel} < 0"));
    }
    if canary < 0 {
        e.push(format!("Canary count can not be less than zero: {canary} < 0"));
    }
    if canary == 0 && u.auto_promote == Some(true) {
        e.push("Auto Promote requires a Canary count greater than zero".to_owned());
    }
    if min < 0 {
        e.push(format!("Minimum healthy time may not be less than zero: {}", Go(min)));
    }
    if healthy <= 0 {
        e.push(format!("Healthy deadline must be greater than zero: {}", Go(healthy)));
    }
    if progress < 0 {
        e.push(format!("Progress deadline must be zero or greater: {}", Go(progress)));
    }
    if min >= healthy {
        e.push(format!(
            "Minimum healthy time must be less than healthy deadline: {} > {}",
            Go(min),
            Go(healthy)
        ));
    }
    if progress != 0 && healthy >= progress {
        e.push(format!(
            "Healthy deadline must be less than progress deadline: {} > {}",
            Go(healthy),
            Go(progress)
        ));
    }
    if stagger <= 0 {
        e.push(format!("Stagger must be greater than zero: {}", Go(stagger)));
    }
}

fn migrate(m: &MigrateStrategy, e: &mut Vec<String>) {
    let (healthy, min) = (m.healthy_deadline.unwrap_or(0), m.min_healthy_time.unwrap_or(0));
    let parallel = m.max_parallel.unwrap_or(0);
    let check = m.health_check.as_deref().unwrap_or_default();
    if parallel < 0 {
        e.push(format!("MaxParallel must be >= 0 but found {parallel}"));
    }
    if !matches!(check, "checks" | "task_states") {
        e.push(format!("Invalid HealthCheck: {check:?}"));
    }
    if min < 0 {
        e.push(format!("MinHealthyTime is {} and must be >= 0", Go(min)));
    }
    if healthy < 0 {
        e.push(format!("HealthyDeadline is {} and must be >= 0", Go(healthy)));
    }
    if min > healthy {
        e.push("MinHealthyTime must be less than HealthyDeadline".to_owned());
    }
}

fn tasks(g: &TaskGroup, e: &mut Vec<String>) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, t) in g.tasks.iter().enumerate() {
        let n = i + 1;
        if t.name.is_empty() {
            e.push(format!("Task {n} missing name"));
        } else if let Some(first) = seen.get(t.name.as_str()) {
            e.push(format!("Task {n} redefines '{}' from task {first}", t.name));
        } else {
            seen.insert(&t.name, n);
        }
    }
    if g.tasks.iter().filter(|t| t.leader).count() > 1 {
        e.push("Only one task may be marked as leader".to_owned());
    }
}

/// Labels are one name space per group; static ports are taken once per host network.
fn ports(g: &TaskGroup, e: &mut Vec<String>) {
    let mut labels: BTreeMap<&str, String> = BTreeMap::new();
    let mut taken: BTreeMap<(&str, i64), String> = BTreeMap::new();
    let owners = [("taskgroup network".to_owned(), &g.networks)];
    let of_tasks = g
        .tasks
        .iter()
        .filter_map(|t| t.resources.as_ref().map(|r| (format!("task {}", t.name), &r.networks)));
    for (owner, networks) in owners.into_iter().chain(of_tasks) {
        for n in networks.iter() {
            for p in n.reserved_ports.iter().chain(n.dynamic_ports.iter()) {
                port(p, &owner, &mut labels, &mut taken, n, e);
            }
        }
    }
}

fn port<'a>(
    p: &'a Port,
    owner: &str,
    labels: &mut BTreeMap<&'a str, String>,
    taken: &mut BTreeMap<(&'a str, i64), String>,
    n: &NetworkResource,
    e: &mut Vec<String>,
) {
    if p.label.is_empty() {
        e.push("Port label cannot be empty".to_owned());
    } else if let Some(first) = labels.get(p.label.as_str()) {
        e.push(format!("Port label {} already in use by {first}", p.label));
    } else {
        labels.insert(&p.label, owner.to_owned());
    }
    if p.to < -1 {
        e.push(format!("Port {:?} cannot be mapped to negative value {}", p.label, p.to));
    }
    if p.to > 65_535 {
        e.push(format!(
            "Port {:?} cannot be mapped to a port ({}) greater than 65535",
            p.label, p.to
        ));
    }
    if p.ignore_collision && !matches!(n.mode.as_str(), "" | "host") {
        e.push(format!(
            "Port {:?} collision may not be ignored on non-host network mode {:?}",
            p.label, n.mode
        ));
    }
    if p.value == 0 {
        return;
    }
    if !(1..=65_535).contains(&p.value) {
        e.push(format!("Port {:?} value {} is not a port", p.label, p.value));
    } else if let Some(first) = taken.get(&(p.host_network.as_str(), p.value)) {
        if !p.ignore_collision {
            e.push(format!("Static port {} already reserved by {first}", p.value));
        }
    } else {
        taken.insert((&p.host_network, p.value), format!("{owner}:{}", p.label));
    }
}

fn volumes(g: &TaskGroup, e: &mut Vec<String>) {
    for (name, v) in &g.volumes {
        let mut own = Vec::new();
        if v.source.is_empty() {
            own.push("volume has an empty source".to_owned());
        }
        if v.kind == "csi" {
            if v.access_mode.is_empty() {
                own.push("CSI volumes must have an access mode".to_owned());
            }
            if v.attachment_mode.is_empty() {
                own.push("CSI volumes must have an attachment mode".to_owned());
            }
        } else if v.per_alloc && v.sticky {
            own.push("volume cannot be per_alloc when sticky".to_owned());
        }
        let what = format!("Task group volume validation for {name} failed:");
        e.extend(own.iter().map(|text| format!("{what} {text}")));
    }
}
