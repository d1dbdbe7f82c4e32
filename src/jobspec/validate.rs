//! Checks of a canonical job; every problem is one line of the answer.

use crate::api::status::{JOB_BATCH, JOB_CORE, JOB_SERVICE, JOB_SYSBATCH, JOB_SYSTEM};
use crate::api::*;
use crate::jobspec::{AdmitCtx, cron, group};
use crate::stdx::BTreeMap;

/// All problems of a job, in the reference's order: namespace and pool, the job, then the limits of
/// this cluster.
pub(super) fn job(job: &Job, ctx: &AdmitCtx<'_>) -> Vec<String> {
    let mut e = Vec::new();
    place(job, ctx, &mut e);
    head(job, &mut e);
    kinds(job, &mut e);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, g) in job.task_groups.iter().enumerate() {
        let n = i + 1;
        if g.name.is_empty() {
            e.push(format!("Job task group {n} missing name"));
        } else if let Some(first) = seen.get(g.name.as_str()) {
            e.push(format!("Job task group {n} redefines '{}' from group {first}", g.name));
        } else {
            seen.insert(&g.name, n);
        }
        let count = g.count.unwrap_or(1);
        if job.kind == JOB_SYSTEM && count > 1 {
            e.push(format!(
                "Job task group {} has count {count}. Count cannot exceed 1 with system scheduler",
                g.name
            ));
        }
    }
    for g in job.task_groups.iter() {
        let what = format!("Task group {} validation failed:", g.name);
        e.extend(super::nested(&what, &group::group(job, g)));
    }
    if job.periodic.is_some() {
        periodic(job, ctx, &mut e);
    }
    if job.parameterized_job.is_some() {
        parameterized(job, &mut e);
    }
    limits(job, ctx, &mut e);
    e
}

/// Where the job is to live.
fn place(job: &Job, ctx: &AdmitCtx<'_>, e: &mut Vec<String>) {
    let Some(namespace) = (ctx.namespace)(&job.namespace) else {
        e.push(format!("job {:?} is in nonexistent namespace {:?}", job.id, job.namespace));
        return;
    };
    let Some(may) = &namespace.capabilities else { return pool(job, ctx, e) };
    let refused = |on: &[String], off: &[String], name: &String| {
        off.contains(name) || (!on.is_empty() && !on.contains(name))
    };
    let mut drivers: Vec<&str> = Vec::new();
    let mut modes: Vec<&str> = Vec::new();
    for g in job.task_groups.iter() {
        for n in g.networks.iter() {
            if refused(&may.enabled_network_modes, &may.disabled_network_modes, &n.mode) {
                modes.push(&n.mode);
            }
        }
        for t in g.tasks.iter() {
            if refused(&may.enabled_task_drivers, &may.disabled_task_drivers, &t.driver) {
                drivers.push(&t.driver);
            }
        }
    }
    for (list, what) in [(drivers, "task drivers"), (modes, "network modes")] {
        if !list.is_empty() {
            e.push(format!(
                "used {what} {list:?} are not allowed in namespace {:?}",
                namespace.name
            ));
        }
    }
    pool(job, ctx, e);
}

fn pool(job: &Job, ctx: &AdmitCtx<'_>, e: &mut Vec<String>) {
    if !(ctx.pool_exists)(&job.node_pool) {
        e.push(format!("job {:?} is in nonexistent node pool {:?}", job.id, job.node_pool));
    }
}

fn head(job: &Job, e: &mut Vec<String>) {
    let mut missing = |absent: bool, text: &str| {
        if absent {
            e.push(text.to_owned());
        }
    };
    missing(job.region.is_empty(), "Missing job region");
    missing(job.id.is_empty(), "Missing job ID");
    missing(job.id.contains(' '), "Job ID contains a space");
    missing(job.id.contains('\0'), "Job ID contains a null character");
    missing(job.name.is_empty(), "Missing job name");
    missing(job.name.contains('\0'), "Job Name contains a null character");
    missing(job.namespace.is_empty(), "Job must be in a namespace");
    match job.kind.as_str() {
        JOB_SERVICE | JOB_BATCH | JOB_SYSTEM | JOB_SYSBATCH => (),
        JOB_CORE => missing(true, "job type cannot be core"),
        other => missing(true, &format!("Invalid job type: {other:?}")),
    }
    missing(job.datacenters.is_empty(), "Missing job datacenters");
    missing(
        job.datacenters.iter().any(String::is_empty),
        "Job datacenter must be non-empty string",
    );
    missing(job.task_groups.is_empty(), "Missing job task groups");
    if let Some(ui) = &job.ui {
        missing(
            ui.description.chars().count() > 1000,
            "UI description must be under 1000 characters",
        );
    }
}

/// What only some types of jobs may hold.
fn kinds(job: &Job, e: &mut Vec<String>) {
    for (i, c) in job.constraints.iter().enumerate() {
        let what = format!("Constraint {} validation failed:", i + 1);
        e.extend(super::nested(&what, &constraint(c)));
    }
    if job.kind == JOB_SYSTEM {
        if !job.affinities.is_empty() {
            e.push("System jobs may not have an affinity block".to_owned());
        }
    } else {
        affinities(&job.affinities, e);
    }
    if job.kind == JOB_SYSTEM {
        if !job.spreads.is_empty() {
            e.push("System jobs may not have a spread block".to_owned());
        }
    } else {
        spreads(&job.spreads, e);
    }
}

fn limits(job: &Job, ctx: &AdmitCtx<'_>, e: &mut Vec<String>) {
    if job.payload.is_some() && !job.dispatched {
        e.push("job can't be submitted with a payload, only dispatched".to_owned());
    }
    if job.priority < 1 || job.priority > ctx.priority_max {
        e.push(format!("job priority must be between [1, {}]", ctx.priority_max));
    }
    let total = job.task_groups.iter().fold(0i64, |a, g| a.saturating_add(g.count.unwrap_or(1)));
    if total > ctx.count_max {
        e.push(format!(
            "total count was greater than configured job_max_count: {total} > {}",
            ctx.count_max
        ));
    }
}

fn periodic(job: &Job, ctx: &AdmitCtx<'_>, e: &mut Vec<String>) {
    if job.kind != JOB_BATCH && job.kind != JOB_SYSBATCH {
        e.push("Periodic can only be used with \"batch\" or \"sysbatch\" scheduler".to_owned());
    }
    let Some(p) = job.periodic.as_ref().filter(|p| p.enabled != Some(false)) else { return };
    match (p.spec.is_empty(), p.specs.is_empty()) {
        (true, true) => e.push("Must specify a spec".to_owned()),
        (false, false) => e.push("Only cron or crons may be used".to_owned()),
        _ => (),
    }
    let kind = p.spec_type.as_deref().unwrap_or_default();
    if kind != "cron" {
        e.push(format!("Unknown periodic specification type {kind:?}"));
        return;
    }
    for spec in cron::lines(p) {
        if let Err(why) = cron::Cron::parse(spec) {
            e.push(format!("Invalid cron spec {spec:?}: {why}"));
        }
    }
    let zone = p.time_zone.as_deref().unwrap_or_default();
    if ctx.zones.get(zone).is_none() {
        e.push(format!("Invalid time zone {zone:?}: unknown time zone {zone}"));
    }
}

fn parameterized(job: &Job, e: &mut Vec<String>) {
    if job.kind != JOB_BATCH && job.kind != JOB_SYSBATCH {
        e.push(
            "Parameterized job can only be used with \"batch\" or \"sysbatch\" scheduler"
                .to_owned(),
        );
    }
    let Some(p) = &job.parameterized_job else { return };
    if !matches!(p.payload.as_str(), "optional" | "required" | "forbidden") {
        e.push(format!("Unknown payload requirement: {:?}", p.payload));
    }
    let both: Vec<&str> = p
        .meta_required
        .iter()
        .filter(|k| p.meta_optional.contains(k))
        .map(String::as_str)
        .collect();
    if !both.is_empty() {
        e.push(format!(
            "Required and optional meta keys should be disjoint. Following keys exist in both: \
             [{}]",
            both.join(" ")
        ));
    }
}

/// Problems of one constraint.
pub(super) fn constraint(c: &Constraint) -> Vec<String> {
    let mut e = Vec::new();
    match c.operand.as_str() {
        "" => e.push("Missing constraint operand".to_owned()),
        "distinct_hosts" => (),
        "distinct_property" => {
            if !c.rtarget.is_empty() && c.rtarget.parse::<u64>().ok().is_none_or(|n| n == 0) {
                e.push("Distinct Property must have an allowed count of 1 or greater".to_owned());
            }
        }
        "regexp" => {
            if let Err(why) = regex_lite::Regex::new(&c.rtarget) {
                e.push(format!("Regular expression failed to compile: {why}"));
            }
        }
        "version" | "semver" => {
            if c.rtarget.trim().is_empty() {
                e.push("Version constraint is invalid: Malformed constraint: ".to_owned());
            }
        }
        "=" | "==" | "is" | "!=" | "not" | "<" | "<=" | ">" | ">=" => {
            if c.rtarget.is_empty() {
                e.push(format!("Operator {:?} requires an RTarget", c.operand));
            }
        }
        "set_contains" | "set_contains_all" | "set_contains_any" => {
            if c.rtarget.is_empty() {
                e.push("Set contains constraint requires an RTarget".to_owned());
            }
        }
        "is_set" | "is_not_set" => {
            if !c.rtarget.is_empty() {
                e.push(format!("Operator {:?} does not support an RTarget", c.operand));
            }
        }
        other => e.push(format!("Unknown constraint type {other:?}")),
    }
    let bare = matches!(c.operand.as_str(), "distinct_hosts" | "");
    if !bare && c.ltarget.is_empty() {
        e.push(format!("No LTarget provided but is required by constraint {:?}", c.operand));
    }
    e
}

/// Problems of a list of affinities.
pub(super) fn affinities(list: &[Affinity], e: &mut Vec<String>) {
    for (i, a) in list.iter().enumerate() {
        let mut own = Vec::new();
        match a.operand.as_str() {
            "" => own.push("Missing affinity operand".to_owned()),
            "regexp" => {
                if let Err(why) = regex_lite::Regex::new(&a.rtarget) {
                    own.push(format!("Regular expression failed to compile: {why}"));
                }
            }
            "=" | "==" | "is" | "!=" | "not" | "<" | "<=" | ">" | ">=" | "version" | "semver"
            | "set_contains" | "set_contains_all" | "set_contains_any" => (),
            other => own.push(format!("Unknown affinity operator {other:?}")),
        }
        let weight = a.weight.unwrap_or(50);
        if weight == 0 {
            own.push("Affinity weight cannot be zero".to_owned());
        }
        if !(-100..=100).contains(&weight) {
            own.push("Affinity weight must be within the range [-100,100]".to_owned());
        }
        e.extend(super::nested(&format!("Affinity {} validation failed:", i + 1), &own));
    }
}

/// Problems of a list of spreads.
pub(super) fn spreads(list: &[Spread], e: &mut Vec<String>) {
    for (i, s) in list.iter().enumerate() {
        let mut own = Vec::new();
        if s.attribute.is_empty() {
            own.push("Missing spread attribute".to_owned());
        }
        if !(1..=100).contains(&s.weight.unwrap_or(50)) {
            own.push("Spread block must have a positive weight from 0 to 100".to_owned());
        }
        let mut sum = 0u32;
        let mut seen: Vec<&str> = Vec::new();
        for t in s.spread_target.iter() {
            if seen.contains(&t.value.as_str()) {
                own.push(format!("Spread target value {:?} already defined", t.value));
            }
            seen.push(&t.value);
            if t.percent > 100 {
                own.push(format!(
                    "Spread target percentage for value {:?} must be between 0 and 100",
                    t.value
                ));
            }
            sum += u32::from(t.percent);
        }
        if sum > 100 {
            own.push(format!(
                "Sum of spread target percentages must not be greater than 100%; got {sum}%"
            ));
        }
        e.extend(super::nested(&format!("Spread {} validation failed:", i + 1), &own));
    }
}
