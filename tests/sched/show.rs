//! A plan as lines that a person can read: what is done to whom and why.

use std::fmt::{Display, Write};

use vardo::api::{AllocMetric, Deployment, DesiredUpdates, Evaluation};
use vardo::command::{AllocStop, Placement, Plan};

use super::world::{NOW, World};

pub(super) fn plan(world: &World, plan: &Plan) -> String {
    let mut out = String::new();
    for stop in &plan.stops {
        writeln!(out, "change {}", change(stop)).unwrap();
    }
    for place in &plan.places {
        writeln!(out, "{}", placement(world, place)).unwrap();
    }
    if let Some(d) = &plan.deployment {
        let known = world.deployment.as_ref().is_some_and(|known| known.id == d.id);
        let id = if known { &d.id } else { "new" };
        writeln!(out, "deployment {id} {}", deployment(d)).unwrap();
    }
    for u in &plan.deployment_updates {
        writeln!(out, "deployment {} -> {} \"{}\"", u.id, u.status, u.status_description).unwrap();
    }
    for e in &plan.evals {
        evaluation(&mut out, e);
    }
    out
}

fn change(stop: &AllocStop) -> String {
    let mut out = stop.id.clone();
    let mut word = |name: &str, value: &str| {
        if !value.is_empty() {
            write!(out, " {name}={value}").unwrap();
        }
    };
    word("desired", &stop.desired_status);
    word("client", &stop.client_status);
    word("next", &stop.next_allocation);
    word("preempted_by", &stop.preempted_by);
    word("state", stop.state.as_ref().map_or("", |s| s.value.as_str()));
    word("rescheduled", &stop.last_reschedule.replace(' ', "-"));
    if !stop.followup_eval_id.is_empty() {
        out.push_str(" followup");
    }
    if !stop.desired_description.is_empty() {
        write!(out, " \"{}\"", stop.desired_description).unwrap();
    }
    out
}

fn placement(world: &World, p: &Placement) -> String {
    let a = &p.alloc;
    let old = world.allocs.iter().any(|o| o.id == a.id);
    let verb = if old { "in-place" } else { "place" };
    let mut out = format!("{verb} {} on {}", a.name, a.node_id);
    if let Some(job) = world.job.as_ref().filter(|j| j.version != p.job_version) {
        write!(out, " version={} of {}", p.job_version, job.version).unwrap();
    }
    let metric = a.metrics.clone().unwrap_or_default();
    let score = metric.score_meta_data.iter().find(|s| s.node_id == a.node_id);
    if let Some(s) = score.filter(|_| !old) {
        write!(out, " score={:.4}", s.norm_score).unwrap();
        for (name, value) in s.scores.iter().filter(|(n, v)| **v != 0.0 && *n != "binpack") {
            write!(out, " {name}={value:.4}").unwrap();
        }
    }
    if let Some(r) = a.allocated_resources.as_ref().filter(|_| !old) {
        for port in &r.shared.ports {
            write!(out, " {}={}", port.label, port.value).unwrap();
        }
        for (name, t) in &r.tasks {
            if !t.cpu.reserved_cores.is_empty() {
                write!(out, " {name}:cores={:?}:{}", t.cpu.reserved_cores.0, t.cpu.cpu_shares)
                    .unwrap();
            }
            for d in &t.devices {
                write!(out, " {name}:{}={}", d.name, d.device_ids.join(",")).unwrap();
            }
        }
    }
    if !a.previous_allocation.is_empty() && !old {
        write!(out, " previous={}", a.previous_allocation).unwrap();
    }
    if let Some(t) = a.reschedule_tracker.as_ref().filter(|_| !old) {
        let delays = t.events.iter().map(|e| format!("{}s", e.delay / 1_000_000_000));
        write!(out, " tries={}", delays.collect::<Vec<_>>().join(",")).unwrap();
    }
    if a.deployment_status.as_ref().is_some_and(|s| s.canary) {
        out.push_str(" canary");
    }
    if !a.deployment_id.is_empty() {
        out.push_str(" deployed");
    }
    out
}

fn deployment(d: &Deployment) -> String {
    let mut out = format!("{} \"{}\"", d.status, d.status_description);
    for (name, g) in &d.task_groups {
        write!(out, " {name}:total={}", g.desired_total).unwrap();
        if g.desired_canaries > 0 {
            write!(out, ",canaries={}", g.desired_canaries).unwrap();
        }
    }
    out
}

fn evaluation(out: &mut String, e: &Evaluation) {
    write!(out, "eval {} {}", e.status, e.triggered_by).unwrap();
    if !e.node_id.is_empty() {
        write!(out, " node={}", e.node_id).unwrap();
    }
    if e.wait_until.0 != 0 {
        write!(out, " in={}s", (e.wait_until.0 - NOW) / 1_000_000_000).unwrap();
    }
    if !e.blocked_eval.is_empty() {
        out.push_str(" blocked");
    }
    if !e.deployment_id.is_empty() {
        out.push_str(" deployment");
    }
    if !e.status_description.is_empty() {
        write!(out, " \"{}\"", e.status_description).unwrap();
    }
    pairs(out, " queued", e.queued_allocations.iter());
    pairs(out, " classes", e.class_eligibility.iter());
    if e.escaped_computed_class {
        out.push_str(" escaped");
    }
    out.push('\n');
    if let Some(a) = &e.plan_annotations {
        for (group, u) in &a.desired_tg_updates {
            writeln!(out, "  {group}:{}", updates(u)).unwrap();
        }
    }
    if e.previous_eval.is_empty() {
        for (group, m) in &e.failed_tg_allocs {
            writeln!(out, "  {group} failed:{}", metric(m)).unwrap();
        }
    }
}

fn updates(u: &DesiredUpdates) -> String {
    let all = [
        ("canary", u.canary),
        ("destructive", u.destructive_update),
        ("disconnect", u.disconnect),
        ("ignore", u.ignore),
        ("in-place", u.in_place_update),
        ("migrate", u.migrate),
        ("place", u.place),
        ("preemptions", u.preemptions),
        ("reconnect", u.reconnect),
        ("reschedule-later", u.reschedule_later),
        ("reschedule-now", u.reschedule_now),
        ("stop", u.stop),
    ];
    let shown = all.iter().filter(|(_, n)| *n > 0).map(|(name, n)| format!(" {name}={n}"));
    shown.collect()
}

fn metric(m: &AllocMetric) -> String {
    let mut out = format!(
        " evaluated={} filtered={} exhausted={} coalesced={}",
        m.nodes_evaluated, m.nodes_filtered, m.nodes_exhausted, m.coalesced_failures
    );
    pairs(&mut out, "\n    constraint", m.constraint_filtered.iter());
    pairs(&mut out, "\n    class", m.class_filtered.iter());
    pairs(&mut out, "\n    dimension", m.dimension_exhausted.iter());
    let resources = m.resources_exhausted.iter();
    pairs(
        &mut out,
        "\n    resources",
        resources
            .map(|(k, r)| (k, format!("{}MHz,{}MB", r.cpu.unwrap_or(0), r.memory_mb.unwrap_or(0)))),
    );
    out
}

fn pairs<K: Display, V: Display>(out: &mut String, name: &str, all: impl Iterator<Item = (K, V)>) {
    for (i, (k, v)) in all.enumerate() {
        write!(out, "{} {k}={v}", if i == 0 { name } else { "," }).unwrap();
    }
}
