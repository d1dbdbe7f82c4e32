//! Checks of a task.

use crate::api::status::JOB_SERVICE;
use crate::api::*;
use crate::jobspec::{service, validate};
use crate::stdx::BTreeMap;

/// All problems of one task of a canonical job.
pub(super) fn task(job: &Job, g: &TaskGroup, t: &Task) -> Vec<String> {
    let mut e = Vec::new();
    names(t, &mut e);
    if t.driver.is_empty() {
        e.push("Missing task driver".to_owned());
    }
    if t.kill_timeout.unwrap_or(0) < 0 {
        e.push("KillTimeout must be a positive value".to_owned());
    } else if let Some(deadline) = g.update.as_ref().and_then(|u| u.progress_deadline)
        && job.kind == JOB_SERVICE
        && deadline > 0
        && t.kill_timeout.unwrap_or(0) > deadline
    {
        e.push(format!(
            "KillTimout ({}) longer than the group's ProgressDeadline ({})",
            crate::stdx::duration::Go(t.kill_timeout.unwrap_or(0)),
            crate::stdx::duration::Go(deadline)
        ));
    }
    if t.shutdown_delay < 0 {
        e.push("ShutdownDelay must be a positive value".to_owned());
    }
    match &t.resources {
        Some(r) => resources(r, &mut e),
        None => e.push("Missing task resources".to_owned()),
    }
    logs(g, t, &mut e);
    for (i, c) in t.constraints.iter().enumerate() {
        let mut own = validate::constraint(c);
        if matches!(c.operand.as_str(), "distinct_hosts" | "distinct_property") {
            own.push(format!("task level: {} is not allowed", c.operand));
        }
        e.extend(super::nested(&format!("Constraint {} validation failed:", i + 1), &own));
    }
    if job.kind == status::JOB_SYSTEM && !t.affinities.is_empty() {
        e.push("System jobs may not have an affinity block".to_owned());
    } else {
        validate::affinities(&t.affinities, &mut e);
    }
    service::of_task(g, t, &mut e);
    identities(t, &mut e);
    files(g, t, &mut e);
    parts(t, &mut e);
    e
}

fn names(t: &Task, e: &mut Vec<String>) {
    if t.name.is_empty() {
        e.push("Missing task name".to_owned());
    }
    if t.name.contains(['/', '\\']) {
        e.push("Task name cannot include slashes".to_owned());
    }
    if t.name.contains('\0') {
        e.push("Task name cannot include null characters".to_owned());
    }
    if t.name == "alloc" {
        e.push("Task cannot be named \"alloc\"".to_owned());
    }
}

fn resources(r: &Resources, e: &mut Vec<String>) {
    let cpu = r.cpu.unwrap_or(0);
    let memory = r.memory_mb.unwrap_or(0);
    if r.cores > 0 && cpu > 0 {
        e.push("Task can only ask for 'cpu' or 'cores' resource, not both.".to_owned());
    }
    if r.cores <= 0 && cpu < 1 {
        e.push(format!("minimum CPU value is 1; got {cpu}"));
    }
    if memory < 10 {
        e.push(format!("minimum MemoryMB value is 10; got {memory}"));
    }
    if r.disk_mb > 0 {
        e.push(
            "Task can't ask for disk resources, they have to be specified at the task group \
                level."
                .to_owned(),
        );
    }
    if r.memory_max_mb != 0 && r.memory_max_mb != -1 && r.memory_max_mb < memory {
        e.push(format!(
            "MemoryMaxMB value ({}) should be larger than MemoryMB value ({memory})",
            r.memory_max_mb
        ));
    }
    if r.secrets_mb > memory {
        e.push(format!(
            "SecretsMB value ({}) cannot be greater than MemoryMB value ({memory})",
            r.secrets_mb
        ));
    }
    if let Some(n) = &r.numa
        && !matches!(n.affinity.as_str(), "none" | "prefer" | "require")
    {
        e.push(format!(
            "numa affinity must be one of none, prefer, or require; got {:?}",
            n.affinity
        ));
    }
}

fn logs(g: &TaskGroup, t: &Task, e: &mut Vec<String>) {
    let Some(l) = &t.log_config else { return };
    let (files, size) = (l.max_files.unwrap_or(10), l.max_file_size_mb.unwrap_or(10));
    if files < 1 {
        e.push(format!("minimum number of files is 1; got {files}"));
    }
    if size < 1 {
        e.push(format!("minimum file size is 1MB; got {size}"));
    }
    let disk = g.ephemeral_disk.as_ref().and_then(|d| d.size_mb).unwrap_or(300);
    let need = files.saturating_mul(size);
    if disk <= need {
        e.push(format!(
            "log storage ({need} MB) must be less than requested disk capacity ({disk} MB)"
        ));
    }
}

fn identities(t: &Task, e: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for i in t.identity.iter().chain(t.identities.iter()) {
        let mut own = Vec::new();
        if i.ttl > 0 && i.name == "default" {
            own.push("ttl for default identity not yet supported".to_owned());
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !i.name.chars().all(valid) || i.name.len() > 128 {
            own.push(format!(
                "invalid name {:?}. Must match regex ^[a-zA-Z0-9-_]{{1,128}}$",
                i.name
            ));
        }
        if i.ttl < 0 {
            own.push("ttl must be >= 0".to_owned());
        }
        match i.change_mode.as_str() {
            "" | "noop" | "restart" if i.change_signal.is_empty() => (),
            "signal" if i.change_signal.is_empty() => {
                own.push(
                    "change_signal must be specified when using change_mode=signal".to_owned(),
                );
            }
            "signal" => (),
            "" | "noop" | "restart" => {
                own.push("can only use change_signal=\"signal\"".to_owned());
            }
            other => own.push(format!("invalid change_mode: {other}")),
        }
        e.extend(super::nested(&format!("Identity {:?} is invalid:", i.name), &own));
        if seen.contains(&i.name.as_str()) {
            e.push(format!("Identities are not unique: {:?}", i.name));
        }
        seen.push(&i.name);
    }
}

/// Templates, artifacts and mounts: what is put into the task's directory.
fn files(g: &TaskGroup, t: &Task, e: &mut Vec<String>) {
    let mut destinations: BTreeMap<&str, usize> = BTreeMap::new();
    for (i, x) in t.templates.iter().enumerate() {
        let n = i + 1;
        let mut own = Vec::new();
        template(x, &mut own);
        e.extend(super::nested(&format!("Template {n} validation failed:"), &own));
        if let Some(first) = destinations.get(x.dest_path.as_str()) {
            e.push(format!("Template {n} has same destination as {first}"));
        } else {
            destinations.insert(&x.dest_path, n);
        }
    }
    for (i, a) in t.artifacts.iter().enumerate() {
        let mut own = Vec::new();
        if a.getter_source.is_empty() {
            own.push("source must be specified".to_owned());
        }
        if !matches!(a.getter_mode.as_str(), "any" | "file" | "dir") {
            own.push(format!(
                "invalid artifact mode {:?}; must be one of: any, file, dir",
                a.getter_mode
            ));
        }
        if escapes(&a.relative_dest) {
            own.push("destination escapes allocation directory".to_owned());
        }
        e.extend(super::nested(&format!("Artifact {} validation failed:", i + 1), &own));
    }
    for (i, m) in t.volume_mounts.iter().enumerate() {
        if m.volume.is_empty() {
            e.push(format!("Volume Mount ({i}) references an empty volume"));
        } else if !g.volumes.contains_key(&m.volume) {
            e.push(format!("Volume Mount ({i}) references undefined volume {}", m.volume));
        }
        if !matches!(m.propagation_mode.as_str(), "private" | "host-to-task" | "bidirectional") {
            e.push(format!(
                "Volume Mount ({i}) has an invalid propagation mode: {:?}",
                m.propagation_mode
            ));
        }
        if !matches!(m.se_linux_label.as_str(), "" | "z" | "Z") {
            e.push(format!(
                "Volume Mount ({i}) has an invalid SELinux label: {:?}",
                m.se_linux_label
            ));
        }
    }
}

/// Whether a path within the task's directory leads out of the allocation. Two levels up are the
/// allocation itself.
fn escapes(path: &str) -> bool {
    let mut depth = 1i32;
    for part in path.split('/') {
        match part {
            "" | "." => (),
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

fn template(x: &Template, e: &mut Vec<String>) {
    if x.source_path.is_empty() && x.embedded_tmpl.is_empty() {
        e.push("Must specify a source path or have an embedded template".to_owned());
    }
    if x.dest_path.is_empty() {
        e.push("Must specify a destination for the template".to_owned());
    } else if escapes(&x.dest_path) {
        e.push("template destination escapes allocation directory".to_owned());
    }
    match x.change_mode.as_str() {
        "noop" | "restart" => (),
        "signal" => {
            if x.change_signal.is_empty() {
                e.push("Must specify signal value when change mode is signal".to_owned());
            }
            if x.envvars {
                e.push("cannot use signals with env var templates".to_owned());
            }
        }
        "script" => {
            if x.change_script.as_ref().is_none_or(|s| s.command.is_empty()) {
                e.push(
                    "must specify change script configuration value when change mode is script"
                        .to_owned(),
                );
            }
        }
        other => e.push(format!("Invalid change mode given: {other:?}")),
    }
    if x.splay.unwrap_or(0) < 0 {
        e.push("Must specify positive splay value".to_owned());
    }
    if !x.perms.is_empty() && u32::from_str_radix(&x.perms, 8).is_err() {
        e.push(format!(
            "Failed to parse {:?} as octal: strconv.ParseUint: parsing {:?}: invalid syntax",
            x.perms, x.perms
        ));
    }
    if let Some(w) = &x.wait
        && let (Some(min), Some(max)) = (w.min, w.max)
        && min > max
    {
        e.push(format!("wait min {min} is greater than max {max}"));
    }
}

fn parts(t: &Task, e: &mut Vec<String>) {
    if let Some(l) = &t.lifecycle {
        match l.hook.as_str() {
            "prestart" | "poststart" | "poststop" => (),
            "" => e.push("no lifecycle hook provided".to_owned()),
            other => e.push(format!("invalid hook: {other}")),
        }
    }
    if let Some(d) = &t.dispatch_payload
        && escapes(&d.file)
    {
        e.push("Dispatch Payload validation failed: destination escapes task directory".to_owned());
    }
    let mut seen: Vec<&str> = Vec::new();
    for a in t.actions.iter() {
        if seen.contains(&a.name.as_str()) {
            e.push(format!("Action {} defined multiple times", a.name));
        }
        seen.push(&a.name);
        if a.command.is_empty() {
            e.push(format!("Action {} validation failed: command cannot be empty", a.name));
        }
    }
    for s in t.scaling_policies.iter() {
        e.push(format!(
            "Scaling policy invalid: scaling policy type {:?} is not valid for a task",
            s.kind
        ));
    }
    if let Some(v) = &t.vault {
        match v.change_mode.as_str() {
            "noop" | "restart" | "signal" => (),
            other => e.push(format!("Vault validation failed: Unknown change mode {other:?}")),
        }
    }
}
