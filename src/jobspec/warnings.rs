//! What is allowed but unwise.

use crate::api::*;

/// All warnings of a job, in the order in which they are answered.
pub(super) fn job(job: &Job, memory_oversubscription: bool) -> Vec<String> {
    let mut out = Vec::new();
    if job.periodic.as_ref().is_some_and(|p| !p.spec.is_empty()) {
        out.push(
            "cron is deprecated and may be removed in a future release. Use crons instead"
                .to_owned(),
        );
    }
    let promotes = |g: &TaskGroup| g.update.as_ref().and_then(|u| u.auto_promote) == Some(true);
    let updated = job.task_groups.iter().filter(|g| g.update.is_some()).count();
    let promoted = job.task_groups.iter().filter(|g| promotes(g)).count();
    for g in job.task_groups.iter() {
        let what = format!("Group {:?} has warnings:", g.name);
        out.extend(super::nested(&what, &group(g)));
    }
    if promoted > 0 && promoted != updated {
        out.push(
            "auto_promote must be true for all groups to enable automatic promotion".to_owned(),
        );
    }
    for g in job.task_groups.iter() {
        let served = !g.services.is_empty();
        let delayed =
            g.shutdown_delay.is_some_and(|d| d > 0) || g.tasks.iter().any(|t| t.shutdown_delay > 0);
        if served && !delayed {
            out.push(format!(
                "group {:?} defines services, but neither the group nor any of its tasks have \
                 shutdown_delay set",
                g.name
            ));
        }
    }
    if !memory_oversubscription {
        oversubscribed(job, &mut out);
    }
    out
}

fn group(g: &TaskGroup) -> Vec<String> {
    let mut out = Vec::new();
    let count = g.count.unwrap_or(1);
    if let Some(parallel) = g.update.as_ref().and_then(|u| u.max_parallel)
        && count > 1
        && parallel > count
    {
        out.push(format!(
            "Update max parallel count is greater than task group count ({parallel} > {count}). A \
             destructive change would result in the simultaneous replacement of all allocations."
        ));
    }
    if g.networks.iter().any(|n| n.mbits > 0) {
        out.push(
            "mbits has been deprecated as of Nomad 0.12.0. Please remove mbits from the network \
             block"
                .to_owned(),
        );
    }
    for t in g.tasks.iter() {
        let what = format!("Task {:?} has warnings:", t.name);
        out.extend(super::nested(&what, &task(t)));
    }
    out
}

fn task(t: &Task) -> Vec<String> {
    let mut out = Vec::new();
    if t.resources.as_ref().is_some_and(|r| r.networks.iter().any(|n| n.mbits > 0)) {
        out.push(
            "mbits has been deprecated as of Nomad 0.12.0. Please remove mbits from the network \
             block"
                .to_owned(),
        );
    }
    for i in t.identities.iter().filter(|i| i.ttl == 0) {
        out.push(format!("Identity[{}] identities without an expiration are insecure", i.name));
    }
    out
}

fn oversubscribed(job: &Job, out: &mut Vec<String>) {
    for g in job.task_groups.iter() {
        for t in g.tasks.iter() {
            if t.resources.as_ref().is_some_and(|r| r.memory_max_mb != 0) {
                out.push(format!(
                    "Memory oversubscription is not enabled; Task \"{}.{}\" memory_max value will \
                     be ignored. Update the Scheduler Configuration to allow oversubscription.",
                    g.name, t.name
                ));
            }
        }
    }
}
