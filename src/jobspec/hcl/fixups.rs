//! What a job file means beyond its tables: short forms, blocks that are passed down, and the few
//! values that the reference's parser itself fills in.

use serde_json::{Map, Value, json};

type Object = Map<String, Value>;

/// Sets what is not set.
fn default(o: &mut Object, name: &str, value: Value) {
    let slot = o.entry(name).or_insert(Value::Null);
    if slot.is_null() {
        *slot = value;
    }
}

fn each<'a>(o: &'a mut Object, name: &str) -> impl Iterator<Item = &'a mut Object> {
    let list = o.get_mut(name).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Hands vault and secrets of a job or group down to tasks that have none of their own.
fn pass_down(o: &mut Object, to: &str) {
    let (vault, secrets) = (o.remove("~vault"), o.remove("~secrets"));
    let inner = if to == "Tasks" { ("Vault", "Secrets") } else { ("~vault", "~secrets") };
    for child in each(o, to) {
        if let Some(vault) = &vault {
            default(child, inner.0, vault.clone());
        }
        if let Some(secrets) = &secrets {
            default(child, inner.1, secrets.clone());
        }
    }
}

pub(super) fn job(o: &mut Object) {
    if let Some(id) = o.remove("~id") {
        o.insert("ID".to_owned(), id);
    }
    let id = o.get("ID").cloned().unwrap_or_default();
    default(o, "Name", id);
    // A task directly under a job is a group of its own; those come first.
    if let Some(Value::Array(tasks)) = o.remove("~tasks") {
        let mut groups: Vec<Value> = tasks.iter().map(group_of).collect();
        if let Some(Value::Array(more)) = o.get_mut("TaskGroups") {
            groups.append(more);
        }
        o.insert("TaskGroups".to_owned(), groups.into());
    }
    let passed = o.contains_key("~vault") || o.contains_key("~secrets");
    pass_down(o, "TaskGroups");
    if passed {
        each(o, "TaskGroups").for_each(|g| pass_down(g, "Tasks"));
    }
}

/// The group that a lone task stands for.
fn group_of(task: &Value) -> Value {
    let mut group = super::decode::unset(&super::schema::GROUP);
    group.insert("Name".to_owned(), task.get("Name").cloned().unwrap_or_default());
    group.insert("Count".to_owned(), json!(1));
    group.insert("Tasks".to_owned(), json!([task]));
    group.into()
}

pub(super) fn group(o: &mut Object) {
    pass_down(o, "Tasks");
}

pub(super) fn task(o: &mut Object) {
    let Some(Value::Array(all)) = o.remove("~identities") else { return };
    let own = |i: &Value| matches!(i.get("Name").and_then(Value::as_str), Some("" | "default"));
    let (default, named): (Vec<_>, Vec<_>) = all.into_iter().partition(own);
    if let Some(mut identity) = default.into_iter().next() {
        if let Some(i) = identity.as_object_mut() {
            i.insert("Name".to_owned(), "default".into());
        }
        o.insert("Identity".to_owned(), identity);
    }
    if !named.is_empty() {
        o.insert("Identities".to_owned(), named.into());
    }
}

/// `regexp = "x"` for an operator with its value.
pub(super) fn constraint(o: &mut Object) {
    let short: Vec<String> = o.keys().filter(|k| k.starts_with('~')).cloned().collect();
    for key in short {
        let (Some(value), Some(name)) = (o.remove(&key), key.strip_prefix('~')) else { continue };
        match (name, &value) {
            ("distinct_hosts", Value::Bool(on)) => {
                o.insert("RTarget".to_owned(), on.to_string().into());
            }
            ("distinct_property", _) => {
                o.insert("LTarget".to_owned(), value);
            }
            _ => {
                o.insert("RTarget".to_owned(), value);
            }
        }
        o.insert("Operand".to_owned(), name.into());
    }
    if o.get("Operand") == Some(&json!("")) {
        o.insert("Operand".to_owned(), "=".into());
    }
}

pub(super) fn periodic(o: &mut Object) {
    o.insert("SpecType".to_owned(), "cron".into());
}

pub(super) fn scaling(o: &mut Object) {
    if o.get("Type") == Some(&json!("")) {
        o.insert("Type".to_owned(), "horizontal".into());
    }
}

pub(super) fn task_scaling(o: &mut Object) {
    let kind = o.remove("~kind").unwrap_or_default();
    let kind = match kind.as_str() {
        Some("mem") => "vertical_mem",
        _ => "vertical_cpu",
    };
    o.insert("Type".to_owned(), kind.into());
}

/// Ports with a number of their own are reserved, all others are chosen when placed.
pub(super) fn network(o: &mut Object) {
    let ports = match o.remove("~ports") {
        Some(Value::Array(ports)) => ports,
        _ => Vec::new(),
    };
    let fixed = |p: &Value| p.get("Value").and_then(Value::as_i64).is_some_and(|v| v > 0);
    let (reserved, dynamic): (Vec<_>, Vec<_>) = ports.into_iter().partition(fixed);
    let list = |l: Vec<Value>| if l.is_empty() { Value::Null } else { l.into() };
    o.insert("ReservedPorts".to_owned(), list(reserved));
    o.insert("DynamicPorts".to_owned(), list(dynamic));
}

pub(super) fn template(o: &mut Object) {
    default(o, "ChangeMode", json!("restart"));
    default(o, "Perms", json!("0644"));
    default(o, "Splay", json!(5_000_000_000_i64));
}

pub(super) fn vault(o: &mut Object) {
    default(o, "Env", json!(true));
    default(o, "DisableFile", json!(false));
    default(o, "ChangeMode", json!("restart"));
}
