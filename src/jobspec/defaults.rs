//! Canonical form: every field that a request may leave out gets the value that it stands for.

use crate::api::status::{
    JOB_BATCH, JOB_SERVICE, JOB_SYSBATCH, JOB_SYSTEM, NAMESPACE_DEFAULT, POOL_DEFAULT,
};
use crate::api::*;
use crate::jobspec::AdmitCtx;
use crate::stdx::json::List;

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Sets `slot` to `value` where it is empty.
pub(super) fn text(slot: &mut String, value: &str) {
    if slot.is_empty() {
        value.clone_into(slot);
    }
}

/// Brings a job into the form in which it is stored.
pub(super) fn job(job: &mut Job, ctx: &AdmitCtx<'_>) {
    forget(job);
    text(&mut job.namespace, NAMESPACE_DEFAULT);
    if job.region.is_empty() || job.region == "global" {
        ctx.region.clone_into(&mut job.region);
    }
    if job.name.is_empty() {
        job.name.clone_from(&job.id);
    }
    text(&mut job.kind, JOB_SERVICE);
    if job.priority == 0 {
        job.priority = ctx.priority_default;
    }
    if job.datacenters.is_empty() {
        job.datacenters.push("*".to_owned());
    }
    if job.node_pool.is_empty() {
        job.node_pool = (ctx.namespace)(&job.namespace)
            .and_then(|n| n.node_pool_configuration.as_ref().map(|c| c.default.clone()))
            .filter(|d| !d.is_empty())
            .unwrap_or_else(|| POOL_DEFAULT.to_owned());
    }
    weights(&mut job.affinities, &mut job.spreads);
    periodic(job);
    multiregion(job);
    let asked = Asked::take(job);
    job.update = job_update(&job.kind, &asked.update);
    let mut groups = std::mem::take(&mut job.task_groups);
    for g in groups.iter_mut() {
        group(job, &asked, g);
    }
    job.task_groups = groups;
}

/// Drops what only the server may say of a job.
fn forget(job: &mut Job) {
    job.status = String::new();
    job.status_description = String::new();
    job.stable = false;
    job.submit_time = 0;
    job.create_index = 0;
    job.modify_index = 0;
    job.job_modify_index = 0;
    job.version = 0;
    job.parent_id = String::new();
    job.dispatched = false;
    job.dispatch_idempotency_token = String::new();
    job.consul_namespace = String::new();
    job.nomad_token_id = String::new();
}

fn periodic(job: &mut Job) {
    if let Some(p) = &mut job.periodic {
        p.enabled.get_or_insert(true);
        text(p.spec_type.get_or_insert_default(), "cron");
        text(p.time_zone.get_or_insert_default(), "UTC");
    }
    if let Some(p) = &mut job.parameterized_job {
        text(&mut p.payload, "optional");
    }
}

fn multiregion(job: &mut Job) {
    if let Some(m) = &mut job.multiregion {
        m.strategy.get_or_insert_default();
        for r in m.regions.iter_mut() {
            r.count.get_or_insert(1);
        }
    }
}

fn weights(affinities: &mut List<Affinity>, spreads: &mut List<Spread>) {
    for a in affinities.iter_mut() {
        a.weight.get_or_insert(50);
    }
    for s in spreads.iter_mut() {
        s.weight.get_or_insert(50);
    }
}

/// Blocks of the job that its groups inherit field by field.
struct Asked {
    update: UpdateStrategy,
    migrate: Option<Box<MigrateStrategy>>,
    reschedule: Option<Box<ReschedulePolicy>>,
}

impl Asked {
    fn take(job: &mut Job) -> Self {
        Self {
            update: std::mem::take(&mut job.update),
            migrate: job.migrate.take(),
            reschedule: job.reschedule.take(),
        }
    }
}

/// The job's own update block keeps two fields; all others live in the groups.
fn job_update(kind: &str, asked: &UpdateStrategy) -> UpdateStrategy {
    let kept = updates(kind);
    UpdateStrategy {
        auto_promote: Some(false),
        auto_revert: Some(false),
        canary: Some(0),
        health_check: Some(String::new()),
        healthy_deadline: Some(0),
        max_parallel: Some(if kept { asked.max_parallel.unwrap_or(1) } else { 0 }),
        min_healthy_time: Some(0),
        progress_deadline: Some(0),
        stagger: Some(if kept { asked.stagger.unwrap_or(30 * SECOND) } else { 0 }),
    }
}

/// Types of jobs that roll out changes step by step.
fn updates(kind: &str) -> bool {
    kind == JOB_SERVICE || kind == JOB_SYSTEM
}

/// Types of jobs whose tasks end.
fn ends(kind: &str) -> bool {
    kind == JOB_BATCH || kind == JOB_SYSBATCH
}

fn group(job: &Job, asked: &Asked, g: &mut TaskGroup) {
    let kind = job.kind.as_str();
    g.update = group_update(kind, &asked.update, g.update.take());
    g.migrate = migrate(kind, asked.migrate.as_deref(), g.migrate.take());
    g.reschedule_policy = reschedule(kind, asked.reschedule.as_deref(), g.reschedule_policy.take());
    g.restart_policy = Some(restart(&restart_default(kind), g.restart_policy.take()));
    scaling(job, g);
    g.count.get_or_insert(1);
    if let Some(s) = &mut g.scaling {
        s.min.get_or_insert(g.count.unwrap_or(1));
    }
    let disk = g.ephemeral_disk.get_or_insert_default();
    disk.size_mb.get_or_insert(300);
    if let Some(d) = &mut g.disconnect {
        text(&mut d.reconcile, "best_score");
        d.replace.get_or_insert(true);
    }
    // Accepted for the sake of old jobs, without effect since their end of life.
    g.max_client_disconnect = None;
    g.stop_after_client_disconnect = None;
    g.prevent_reschedule_on_lost = false;
    if let Some(c) = &mut g.consul {
        text(&mut c.cluster, "default");
    }
    weights(&mut g.affinities, &mut g.spreads);
    networks(&mut g.networks);
    g.volumes.0.retain(|_, v| v.kind == "host" || v.kind == "csi");
    for (name, v) in &mut g.volumes.0 {
        v.name.clone_from(name);
    }
    let owner = Owner { job, group: &g.name, task: None };
    for s in g.services.iter_mut() {
        service(&owner, s);
    }
    for t in g.tasks.iter_mut() {
        task(job, &g.name, g.restart_policy.as_ref(), t);
    }
}

/// Whether an update block is absent, or the zeros that a stored batch job prints.
fn says_nothing(u: &UpdateStrategy) -> bool {
    let numbers =
        [u.canary, u.healthy_deadline, u.max_parallel, u.min_healthy_time, u.progress_deadline];
    numbers.iter().all(|n| n.unwrap_or(0) == 0)
        && u.stagger.unwrap_or(0) == 0
        && u.auto_promote != Some(true)
        && u.auto_revert != Some(true)
        && u.health_check.as_deref().unwrap_or_default().is_empty()
}

fn group_update(
    kind: &str,
    job: &UpdateStrategy,
    group: Option<UpdateStrategy>,
) -> Option<UpdateStrategy> {
    if group.is_none() && says_nothing(job) && !updates(kind) {
        return None;
    }
    let g = group.unwrap_or_default();
    let j = job.clone();
    Some(UpdateStrategy {
        auto_promote: g.auto_promote.or(j.auto_promote).or(Some(false)),
        auto_revert: g.auto_revert.or(j.auto_revert).or(Some(false)),
        canary: g.canary.or(j.canary).or(Some(0)),
        health_check: g.health_check.or(j.health_check).or_else(|| Some("checks".to_owned())),
        healthy_deadline: g.healthy_deadline.or(j.healthy_deadline).or(Some(5 * MINUTE)),
        max_parallel: g.max_parallel.or(j.max_parallel).or(Some(1)),
        min_healthy_time: g.min_healthy_time.or(j.min_healthy_time).or(Some(10 * SECOND)),
        progress_deadline: g.progress_deadline.or(j.progress_deadline).or(Some(10 * MINUTE)),
        stagger: g.stagger.or(j.stagger).or(Some(30 * SECOND)),
    })
}

fn migrate(
    kind: &str,
    job: Option<&MigrateStrategy>,
    group: Option<MigrateStrategy>,
) -> Option<MigrateStrategy> {
    if group.is_none() && job.is_none() && kind != JOB_SERVICE {
        return None;
    }
    let g = group.unwrap_or_default();
    let j = job.cloned().unwrap_or_default();
    Some(MigrateStrategy {
        health_check: g.health_check.or(j.health_check).or_else(|| Some("checks".to_owned())),
        healthy_deadline: g.healthy_deadline.or(j.healthy_deadline).or(Some(5 * MINUTE)),
        max_parallel: g.max_parallel.or(j.max_parallel).or(Some(1)),
        min_healthy_time: g.min_healthy_time.or(j.min_healthy_time).or(Some(10 * SECOND)),
    })
}

fn reschedule(
    kind: &str,
    job: Option<&ReschedulePolicy>,
    group: Option<ReschedulePolicy>,
) -> Option<ReschedulePolicy> {
    if group.is_none() && job.is_none() && (kind == JOB_SYSTEM || kind == JOB_SYSBATCH) {
        return None;
    }
    let (attempts, interval, delay, function, max_delay, unlimited) = match kind {
        JOB_SERVICE => (0, 0, 30 * SECOND, "exponential", HOUR, true),
        JOB_BATCH => (1, 24 * HOUR, 5 * SECOND, "constant", 0, false),
        _ => (0, 0, 0, "", 0, false),
    };
    let g = group.unwrap_or_default();
    let j = job.cloned().unwrap_or_default();
    Some(ReschedulePolicy {
        attempts: g.attempts.or(j.attempts).or(Some(attempts)),
        delay: g.delay.or(j.delay).or(Some(delay)),
        delay_function: g.delay_function.or(j.delay_function).or_else(|| Some(function.to_owned())),
        interval: g.interval.or(j.interval).or(Some(interval)),
        max_delay: g.max_delay.or(j.max_delay).or(Some(max_delay)),
        unlimited: g.unlimited.or(j.unlimited).or(Some(unlimited)),
    })
}

fn restart_default(kind: &str) -> RestartPolicy {
    let (attempts, interval) = if ends(kind) { (3, 24 * HOUR) } else { (2, 30 * MINUTE) };
    RestartPolicy {
        attempts: Some(attempts),
        delay: Some(15 * SECOND),
        interval: Some(interval),
        mode: Some("fail".to_owned()),
        render_templates: Some(false),
    }
}

/// Fields of `over` win, those of `under` stand in.
fn restart(under: &RestartPolicy, over: Option<RestartPolicy>) -> RestartPolicy {
    let o = over.unwrap_or_default();
    RestartPolicy {
        attempts: o.attempts.or(under.attempts),
        delay: o.delay.or(under.delay),
        interval: o.interval.or(under.interval),
        mode: o.mode.or_else(|| under.mode.clone()),
        render_templates: o.render_templates.or(under.render_templates),
    }
}

fn scaling(job: &Job, g: &mut TaskGroup) {
    let Some(s) = &mut g.scaling else { return };
    if g.count.is_none() {
        g.count = s.min;
    }
    s.create_index = 0;
    s.modify_index = 0;
    s.id = String::new();
    s.enabled.get_or_insert(true);
    s.max.get_or_insert(-1);
    text(&mut s.kind, "horizontal");
    let target = [("Group", &g.name), ("Job", &job.id), ("Namespace", &job.namespace)];
    s.target = target.into_iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
}

fn networks(networks: &mut List<NetworkResource>) {
    for n in networks.iter_mut() {
        for p in n.dynamic_ports.iter_mut().chain(n.reserved_ports.iter_mut()) {
            text(&mut p.host_network, "default");
        }
    }
}

fn task(job: &Job, group: &str, under: Option<&RestartPolicy>, t: &mut Task) {
    if let Some(under) = under {
        t.restart_policy = Some(restart(under, t.restart_policy.take()));
    }
    t.kill_timeout.get_or_insert(5 * SECOND);
    let logs = t.log_config.get_or_insert_default();
    logs.disabled.get_or_insert(false);
    logs.max_file_size_mb.get_or_insert(10);
    logs.max_files.get_or_insert(10);
    resources(t.resources.get_or_insert_default());
    for a in t.affinities.iter_mut() {
        a.weight.get_or_insert(50);
    }
    if let Some(c) = &mut t.consul {
        text(&mut c.cluster, "default");
    }
    if let Some(v) = &mut t.vault {
        vault(&job.vault_namespace, v);
    }
    for x in t.templates.iter_mut() {
        template(x);
    }
    for a in t.artifacts.iter_mut() {
        artifact(a);
    }
    for m in t.volume_mounts.iter_mut() {
        text(&mut m.propagation_mode, "private");
    }
    for p in t.scaling_policies.iter_mut() {
        p.enabled.get_or_insert(true);
        p.max.get_or_insert(-1);
        p.min.get_or_insert(0);
    }
    if let Some(c) = &mut t.csi_plugin_config {
        text(&mut c.mount_dir, "/csi");
        text(&mut c.stage_publish_base_dir, "/local/csi");
        if c.health_timeout == 0 {
            c.health_timeout = 30 * SECOND;
        }
    }
    identities(t);
    let owner = Owner { job, group, task: Some(&t.name) };
    for s in t.services.iter_mut() {
        service(&owner, s);
    }
}

/// A task always has the default identity; an entry of that name in the list is it.
fn identities(t: &mut Task) {
    let (default, mut named): (Vec<_>, Vec<_>) = std::mem::take(&mut t.identities.0)
        .into_iter()
        .partition(|i| i.name.is_empty() || i.name == "default");
    if let Some(i) = default.into_iter().next_back() {
        t.identity = Some(i);
    }
    for i in &mut named {
        i.change_signal.make_ascii_uppercase();
    }
    t.identities = List(named);
    let i = t.identity.get_or_insert_default();
    "default".clone_into(&mut i.name);
    i.audience = List(vec!["nomadproject.io".to_owned()]);
}

fn resources(r: &mut Resources) {
    r.cpu.get_or_insert(if r.cores > 0 { 0 } else { 100 });
    r.memory_mb.get_or_insert(300);
    for d in r.devices.iter_mut() {
        d.count.get_or_insert(1);
        for a in d.affinities.iter_mut() {
            a.weight.get_or_insert(50);
        }
    }
    if let Some(n) = &mut r.numa {
        text(&mut n.affinity, "none");
    }
    networks(&mut r.networks);
}

fn vault(namespace: &str, v: &mut Vault) {
    text(&mut v.change_mode, "restart");
    text(&mut v.change_signal, "SIGHUP");
    text(&mut v.cluster, "default");
    text(&mut v.namespace, namespace);
    v.env.get_or_insert(true);
}

fn template(t: &mut Template) {
    text(&mut t.change_mode, "restart");
    if t.change_mode == "signal" {
        text(&mut t.change_signal, "SIGHUP");
    }
    t.change_signal.make_ascii_uppercase();
    text(&mut t.left_delim, "{{");
    text(&mut t.right_delim, "}}");
    text(&mut t.perms, "0644");
    t.splay.get_or_insert(5 * SECOND);
    if let Some(s) = &mut t.change_script {
        s.timeout.get_or_insert(5 * SECOND);
    }
}

fn artifact(a: &mut TaskArtifact) {
    text(&mut a.getter_mode, "any");
    if !a.relative_dest.is_empty() {
        return;
    }
    a.relative_dest = if a.getter_mode == "file" {
        let path = a.getter_source.split(['?', '#']).next().unwrap_or_default();
        format!("local/{}", path.trim_end_matches('/').rsplit('/').next().unwrap_or_default())
    } else {
        "local/".to_owned()
    };
}

/// Whose service it is.
struct Owner<'a> {
    job: &'a Job,
    group: &'a str,
    task: Option<&'a str>,
}

fn service(owner: &Owner<'_>, s: &mut Service) {
    let base = match owner.task {
        Some(task) => format!("{}-{}-{task}", owner.job.id, owner.group),
        None => format!("{}-{}", owner.job.id, owner.group),
    };
    if let Some(task) = owner.task {
        task.clone_into(&mut s.task_name);
    }
    text(&mut s.name, &base);
    s.name = s
        .name
        .replace("${JOB}", &owner.job.id)
        .replace("${TASKGROUP}", owner.group)
        .replace("${TASK}", owner.task.unwrap_or("group"))
        .replace("${BASE}", &base);
    text(&mut s.address_mode, "auto");
    text(&mut s.on_update, "require_healthy");
    text(&mut s.provider, "consul");
    text(&mut s.cluster, "default");
    if s.namespace.is_empty() {
        let namespace = if s.provider == "nomad" { &owner.job.namespace } else { "default" };
        namespace.clone_into(&mut s.namespace);
    }
    if let Some(w) = &mut s.weights {
        w.passing = w.passing.max(1);
        w.warning = w.warning.max(1);
    }
    let shared = s.check_restart.take();
    for c in s.checks.iter_mut() {
        check(&s.name, &s.on_update, owner.task, shared.as_ref(), c);
    }
}

fn check(
    service: &str,
    on_update: &str,
    task: Option<&str>,
    shared: Option<&CheckRestart>,
    c: &mut ServiceCheck,
) {
    if c.name.is_empty() {
        c.name = format!("service: {service:?} check");
    }
    text(&mut c.on_update, on_update);
    if let Some(task) = task {
        text(&mut c.task_name, task);
    }
    if c.kind == "http" {
        text(&mut c.protocol, "http");
    }
    if let Some(shared) = shared {
        let own = c.check_restart.get_or_insert_default();
        if own.limit == 0 {
            own.limit = shared.limit;
        }
        own.grace = own.grace.or(shared.grace);
        own.ignore_warnings |= shared.ignore_warnings;
    }
    if let Some(r) = &mut c.check_restart {
        r.grace.get_or_insert(SECOND);
    }
}
