//! The defaults that the API's own client fills in before it sends a job (`Canonicalize`).
//!
//! They are fewer than those of registration, and leave `null` what only a server decides.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Fills the job's defaults in place.
pub fn canonical(job: &mut Value) {
    let Some(job) = job.as_object_mut() else { return };
    fill(
        job,
        json!({
            "AllAtOnce": false, "ConsulNamespace": "", "CreateIndex": 0, "JobModifyIndex": 0,
            "ModifyIndex": 0, "Namespace": "default", "NodePool": "", "NomadTokenID": "",
            "ParentID": "", "Priority": 50, "Region": "global", "Stable": false, "Status": "",
            "StatusDescription": "", "Stop": false, "Type": "service", "VaultNamespace": "",
            "Version": 0,
        }),
    );
    let kind = job.get("Type").and_then(Value::as_str).unwrap_or_default().to_owned();
    inner(
        job,
        "Periodic",
        &json!({
            "Enabled": true, "ProhibitOverlap": false, "Spec": "", "Specs": [], "SpecType": "cron",
            "TimeZone": "UTC",
        }),
    );
    if let Some(o) = object(job, "ParameterizedJob")
        && o.get("Payload") == Some(&json!(""))
    {
        o.insert("Payload".to_owned(), json!("optional"));
    }
    let update = rollouts(&kind).then(|| merged(job.get("Update"), update()));
    if let Some(update) = &update {
        job.insert("Update".to_owned(), update.clone());
    }
    let passed: Vec<(&str, Value)> = [
        ("Update", update),
        ("Migrate", (kind == "service").then(|| merged(job.get("Migrate"), migrate()))),
        ("ReschedulePolicy", reschedule(&kind).map(|r| merged(job.get("Reschedule"), r))),
        ("RestartPolicy", Some(restart(&kind))),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    weights(job);
    let id = job.get("ID").and_then(Value::as_str).unwrap_or_default().to_owned();
    for group in each(job, "TaskGroups") {
        for (name, value) in &passed {
            let value = merged(group.get(*name), value.clone());
            group.insert((*name).to_owned(), value);
        }
        let count = group.get("Scaling").and_then(|s| s.get("Min")).filter(|m| !m.is_null());
        let count = count.cloned().unwrap_or(json!(1));
        fill(
            group,
            json!({
                "Count": count, "EphemeralDisk": {"Migrate": false, "SizeMB": 300, "Sticky": false},
            }),
        );
        inner(group, "EphemeralDisk", &json!({"Migrate": false, "SizeMB": 300, "Sticky": false}));
        inner(group, "Consul", &json!({}));
        let count = group.get("Count").cloned();
        inner(group, "Scaling", &json!({"Enabled": true, "Min": count}));
        inner(group, "Disconnect", &json!({"Replace": true, "Reconcile": "best_score"}));
        weights(group);
        let restart = group.get("RestartPolicy").cloned();
        let name = group.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
        services(group, &format!("{id}-{name}"));
        for task in each(group, "Tasks") {
            self::task(task, restart.as_ref(), &format!("{id}-{name}"));
        }
    }
}

fn task(task: &mut Object, group_restart: Option<&Value>, prefix: &str) {
    let logs = json!({"Disabled": false, "MaxFileSizeMB": 10, "MaxFiles": 10});
    fill(
        task,
        json!({
            "KillTimeout": 5_000_000_000_i64, "Resources": {"Devices": null, "DiskMB": null,
            "IOPS": null, "MemoryMaxMB": null, "NUMA": null, "Networks": null, "SecretsMB": null},
            "LogConfig": {"Enabled": null},
        }),
    );
    inner(task, "LogConfig", &logs);
    if let Some(resources) = object(task, "Resources") {
        let cores = resources.get("Cores").and_then(Value::as_i64).unwrap_or(0) > 0;
        fill(resources, json!({"CPU": if cores { 0 } else { 100 }, "Cores": 0, "MemoryMB": 300}));
        for device in each(resources, "Devices") {
            fill(device, json!({"Count": 1}));
            weights(device);
        }
    }
    if let Some(restart) = group_restart {
        let value = merged(task.get("RestartPolicy"), restart.clone());
        task.insert("RestartPolicy".to_owned(), value);
    }
    inner(
        task,
        "Vault",
        &json!({
            "AllowTokenExpiration": false, "ChangeMode": "restart", "ChangeSignal": "SIGHUP",
            "DisableFile": false, "Env": true, "Namespace": "",
        }),
    );
    if let Some(vault) = object(task, "Vault") {
        replace_empty(vault, "Cluster", "default");
    }
    for artifact in each(task, "Artifacts") {
        let file = artifact.get("GetterMode").and_then(Value::as_str) == Some("file");
        let source = artifact.get("GetterSource").and_then(Value::as_str).unwrap_or_default();
        let last = source.rsplit('/').next().unwrap_or_default().to_owned();
        let dest = if file { format!("local/{last}") } else { "local/".to_owned() };
        fill(
            artifact,
            json!({
                "GetterInsecure": false, "GetterMode": "any", "GetterSource": "",
                "RelativeDest": dest,
            }),
        );
    }
    for template in each(task, "Templates") {
        let signal = template.get("ChangeMode").and_then(Value::as_str) == Some("signal");
        fill(
            template,
            json!({
                "ChangeMode": "restart", "ChangeSignal": if signal { "SIGHUP" } else { "" },
                "DestPath": "", "EmbeddedTmpl": "", "Envvars": false, "LeftDelim": "{{",
                "Perms": "0644", "RightDelim": "}}", "SourcePath": "",
                "Splay": 5_000_000_000_i64, "VaultGrace": 0,
            }),
        );
        inner(template, "ChangeScript", &json!({"Args": [], "Timeout": 5_000_000_000_i64}));
    }
    for mount in each(task, "VolumeMounts") {
        fill(
            mount,
            json!({
                "PropagationMode": "private", "ReadOnly": false, "SELinuxLabel": "",
            }),
        );
    }
    weights(task);
    let name = task.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
    services(task, &format!("{prefix}-{name}"));
}

fn services(of: &mut Object, default_name: &str) {
    for service in each(of, "Services") {
        for (field, value) in [
            ("Name", default_name),
            ("AddressMode", "auto"),
            ("OnUpdate", "require_healthy"),
            ("Provider", "consul"),
            ("Cluster", "default"),
        ] {
            replace_empty(service, field, value);
        }
        let get = |s: &Object, f: &str| s.get(f).cloned().unwrap_or_default();
        let (name, on_update) = (get(service, "Name"), get(service, "OnUpdate"));
        let restart = get(service, "CheckRestart");
        let name = name.as_str().unwrap_or_default().to_owned();
        for check in each(service, "Checks") {
            replace_empty(check, "Name", &format!("service: \"{name}\" check"));
            replace_empty(check, "OnUpdate", on_update.as_str().unwrap_or_default());
            let own = merged(check.get("CheckRestart"), restart.clone());
            check.insert("CheckRestart".to_owned(), own);
            inner(check, "CheckRestart", &json!({"Grace": 1_000_000_000_i64}));
        }
    }
}

/// Weights of affinities and spreads.
fn weights(of: &mut Object) {
    for list in ["Affinities", "Spreads"] {
        each(of, list).for_each(|o| fill(o, json!({"Weight": 50})));
    }
}

fn rollouts(kind: &str) -> bool {
    matches!(kind, "service" | "system")
}

fn update() -> Value {
    json!({
        "AutoPromote": false, "AutoRevert": false, "Canary": 0, "HealthCheck": "checks",
        "HealthyDeadline": 300_000_000_000_i64, "MaxParallel": 1,
        "MinHealthyTime": 10_000_000_000_i64, "ProgressDeadline": 600_000_000_000_i64,
        "Stagger": 30_000_000_000_i64,
    })
}

fn migrate() -> Value {
    json!({
        "HealthCheck": "checks", "HealthyDeadline": 300_000_000_000_i64, "MaxParallel": 1,
        "MinHealthyTime": 10_000_000_000_i64,
    })
}

fn restart(kind: &str) -> Value {
    let (attempts, interval) =
        if rollouts(kind) { (2, 1_800_000_000_000_i64) } else { (3, 86_400_000_000_000) };
    json!({
        "Attempts": attempts, "Delay": 15_000_000_000_i64, "Interval": interval, "Mode": "fail",
        "RenderTemplates": false,
    })
}

fn reschedule(kind: &str) -> Option<Value> {
    Some(match kind {
        "service" => json!({
            "Attempts": 0, "Delay": 30_000_000_000_i64, "DelayFunction": "exponential",
            "Interval": 0, "MaxDelay": 3_600_000_000_000_i64, "Unlimited": true,
        }),
        "batch" => json!({
            "Attempts": 1, "Delay": 5_000_000_000_i64, "DelayFunction": "constant",
            "Interval": 86_400_000_000_000_i64, "MaxDelay": 0, "Unlimited": false,
        }),
        _ => return None,
    })
}

/// What is set, over what is given.
fn merged(set: Option<&Value>, mut given: Value) -> Value {
    match (set, &mut given) {
        (Some(Value::Object(set)), Value::Object(given)) => {
            let set = set.iter().filter(|(_, v)| !v.is_null());
            given.extend(set.map(|(k, v)| (k.clone(), v.clone())));
        }
        (Some(set), _) if !set.is_null() => return set.clone(),
        _ => {}
    }
    given
}

/// Sets what is null.
fn fill(o: &mut Object, defaults: Value) {
    let Value::Object(defaults) = defaults else { return };
    for (name, value) in defaults {
        let slot = o.entry(name).or_insert(Value::Null);
        if slot.is_null() {
            *slot = value;
        }
    }
}

fn inner(o: &mut Object, name: &str, defaults: &Value) {
    if let Some(o) = object(o, name) {
        fill(o, defaults.clone());
    }
}

fn object<'a>(o: &'a mut Object, name: &str) -> Option<&'a mut Object> {
    o.get_mut(name)?.as_object_mut()
}

fn each<'a>(o: &'a mut Object, name: &str) -> impl Iterator<Item = &'a mut Object> {
    let list = o.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

fn replace_empty(o: &mut Object, name: &str, value: &str) {
    if o.get(name).and_then(Value::as_str) == Some("") {
        o.insert(name.to_owned(), value.into());
    }
}
