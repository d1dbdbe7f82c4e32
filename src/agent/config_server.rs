//! Blocks of a server's configuration: who takes evaluations, how new nodes are let in, and how
//! work is placed in a cluster that has not begun.

use super::config::{Host, MINUTE, nanos, unsigned};
use super::config_keys::Use;
use super::config_tree::Tree;
use crate::api::{PreemptionConfig, SchedulerConfiguration};
use crate::server::introduction::{Enforcement, Introduction};
use crate::server::workers::{KINDS, WORKERS_MAX, Workers};

/// `num_schedulers`, one per processor, and `enabled_schedulers`, those of all types of jobs.
pub(super) fn workers(tree: &Tree, host: &Host) -> Result<Workers, String> {
    let count = match tree.given("server.num_schedulers") {
        Some(_) => unsigned(tree, "server.num_schedulers")?,
        None => host.cpus.clamp(1, WORKERS_MAX),
    };
    if count > WORKERS_MAX {
        return Err(format!("server.num_schedulers must be between 0 and {WORKERS_MAX}"));
    }
    let kinds = tree.list("server.enabled_schedulers");
    let all = KINDS.iter().filter(|_| kinds.is_empty());
    Workers::new(count, kinds.iter().map(String::as_str).chain(all.copied()))
        .ok_or_else(|| format!("server.enabled_schedulers: {kinds:?} are not all types of jobs"))
}

/// `client_introduction { … }`
pub(super) fn introduction(tree: &Tree) -> Result<Introduction, String> {
    let enforcement = match tree.text("server.client_introduction.enforcement") {
        "none" => Enforcement::None,
        "" | "warn" => Enforcement::Warn,
        "strict" => Enforcement::Strict,
        other => return Err(format!("client_introduction.enforcement: {other:?} is not known")),
    };
    let ttl_ns = nanos(tree, "server.client_introduction.default_identity_ttl", 5 * MINUTE);
    let ttl_max_ns = nanos(tree, "server.client_introduction.max_identity_ttl", 30 * MINUTE);
    if ttl_ns > ttl_max_ns {
        return Err("client_introduction.default_identity_ttl is above max_identity_ttl".into());
    }
    Ok(Introduction { enforcement, ttl_ns, ttl_max_ns })
}

/// `default_scheduler_config { … }`
pub(super) fn scheduling(tree: &Tree) -> Result<Option<SchedulerConfiguration>, String> {
    const BLOCK: &str = "server.default_scheduler_config.";
    if !tree.given_with(Use::Served).any(|name| name.starts_with(BLOCK)) {
        return Ok(None);
    }
    let algorithm = tree.text("server.default_scheduler_config.scheduler_algorithm");
    if !["", "binpack", "spread"].contains(&algorithm) {
        return Err(format!("invalid scheduler algorithm: {algorithm}"));
    }
    let on = |name: &str| tree.bool(&format!("{BLOCK}{name}"));
    let preempts = |kind: &str| on(&format!("preemption_config.{kind}_scheduler_enabled"));
    Ok(Some(SchedulerConfiguration {
        memory_oversubscription_enabled: on("memory_oversubscription_enabled"),
        reject_job_registration: on("reject_job_registration"),
        pause_eval_broker: on("pause_eval_broker"),
        preemption_config: PreemptionConfig {
            batch_scheduler_enabled: preempts("batch"),
            service_scheduler_enabled: preempts("service"),
            sys_batch_scheduler_enabled: preempts("sysbatch"),
            system_scheduler_enabled: preempts("system"),
        },
        scheduler_algorithm: algorithm.to_owned(),
        ..SchedulerConfiguration::default()
    }))
}
