//! What changes between two jobs, told field by field (contract: jobs, plan).
//!
//! One walk over the printed JSON serves every object of a job. What its members are is read off
//! their values; the tables below name the exceptions: members that do not count, maps of the
//! user, lists whose parts have names, and the words under which parts are shown.

use serde_json::{Map, Value, json};

use crate::api::DesiredUpdates;
use crate::stdx::{BTreeMap, BTreeSet, sort};

/// Where a member stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Job,
    Group,
    Task,
    /// Below those: unchanged members are told as well, for context.
    Part,
}

/// Members that are no part of the specification, or are told elsewhere.
const JOB_SKIPS: &[&str] = &[
    "CreateIndex",
    "ID",
    "JobModifyIndex",
    "ModifyIndex",
    "NomadTokenID",
    "Payload",
    "Stable",
    "Status",
    "StatusDescription",
    "SubmitTime",
    "TaskGroups",
    "Update",
    "Version",
    "VersionTag",
];
const GROUP_SKIPS: &[&str] = &["Name", "Tasks"];
const TASK_SKIPS: &[&str] = &["Name", "RestartPolicy"];

/// Members of parts that do not count: (part, member).
const PART_SKIPS: &[(&str, &str)] = &[
    ("DynamicPorts", "Value"),
    ("Networks", "CIDR"),
    ("Networks", "Device"),
    ("Networks", "IP"),
    ("Scaling", "CreateIndex"),
    ("Scaling", "ID"),
    ("Scaling", "ModifyIndex"),
    ("Update", "Stagger"),
];

/// Members that are left out of JSON where they are zero: (part, member, zero).
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("DynamicPorts", "HostNetwork", ""),
    ("DynamicPorts", "IgnoreCollision", "false"),
    ("DynamicPorts", "To", "0"),
    ("Networks", "Hostname", ""),
    ("Networks", "MBits", "0"),
    ("Networks", "Mode", ""),
    ("ReservedPorts", "HostNetwork", ""),
    ("ReservedPorts", "IgnoreCollision", "false"),
    ("ReservedPorts", "To", "0"),
    ("ReservedPorts", "Value", "0"),
];

/// Maps from words to words: each key is a field of its own, `Meta[owner]`.
const MAPS: &[&str] = &[
    "Args",
    "CanaryMeta",
    "Env",
    "GetterHeaders",
    "GetterOptions",
    "Meta",
    "TaggedAddresses",
    "Target",
];

/// Values of free form, told as the fields of one object.
const FREE: &[&str] = &["Config", "Header", "Policy"];

/// Plain members that are null where they are not given.
const NULLABLE: &[&str] = &["Gid", "Max", "Min", "Replace", "StopOnClientAfter", "Uid"];

/// Lists and maps whose parts have names: a part of the same name was edited. Parts of other lists
/// are removed and added.
const NAMED: &[&str] = &["Actions", "Identities", "Secrets", "Services", "Volumes"];

/// Lists under the word for one of their parts.
const SHOWN: &[(&str, &str)] = &[
    ("Actions", "Action"),
    ("Affinities", "Affinity"),
    ("Artifacts", "Artifact"),
    ("Checks", "Check"),
    ("Connect", "ConsulConnect"),
    ("Constraints", "Constraint"),
    ("Devices", "Device"),
    ("DynamicPorts", "Dynamic Port"),
    ("Identities", "Identity"),
    ("Links", "Link"),
    ("Networks", "Network"),
    ("Regions", "Region"),
    ("ReservedPorts", "Static Port"),
    ("ScalingPolicies", "ScalingPolicy"),
    ("Secrets", "Secret"),
    ("Services", "Service"),
    ("Spreads", "Spread"),
    ("Templates", "Template"),
    ("VolumeMounts", "VolumeMount"),
    ("Volumes", "VolumeRequest"),
];

/// Parts in the order in which they are told; all others follow by name.
const ORDER: &[&str] = &[
    "Datacenters",
    "Constraints",
    "Affinities",
    "Spreads",
    "Config",
    "RestartPolicy",
    "Disconnect",
    "Migrate",
    "ReschedulePolicy",
    "EphemeralDisk",
    "Consul",
    "Update",
    "Networks",
    "Resources",
    "LogConfig",
    "DispatchPayload",
    "Artifacts",
    "Services",
    "Vault",
    "Templates",
    "Identity",
    "Identities",
];

const NONE: &str = "None";
const ADDED: &str = "Added";
const DELETED: &str = "Deleted";
const EDITED: &str = "Edited";

/// The difference of two jobs as the API prints it; no old job means that all is added.
pub fn jobs(old: Option<&Value>, new: &Value) -> Value {
    let mut out = object(old, Some(new), "", Level::Job);
    let groups =
        named(old.and_then(|o| o.get("TaskGroups")), new.get("TaskGroups"), &|a, b, name| {
            group(a, b, name)
        });
    mark_edited(&mut out, &groups);
    out.insert("TaskGroups".to_owned(), list(groups));
    out.insert("ID".to_owned(), new.get("ID").cloned().unwrap_or_default());
    out.remove("Name");
    Value::Object(out)
}

fn group(old: Option<&Value>, new: Option<&Value>, name: &str) -> Map<String, Value> {
    let mut out = object(old, new, "", Level::Group);
    let tasks =
        named(old.and_then(|o| o.get("Tasks")), new.and_then(|n| n.get("Tasks")), &|a, b, name| {
            let mut task = object(a, b, "", Level::Task);
            task.insert("Name".to_owned(), name.into());
            task.insert("Annotations".to_owned(), Value::Null);
            task
        });
    mark_edited(&mut out, &tasks);
    out.insert("Tasks".to_owned(), list(tasks));
    out.insert("Name".to_owned(), name.into());
    out.insert("Updates".to_owned(), Value::Null);
    out
}

/// A whole whose parts changed is edited.
fn mark_edited(whole: &mut Map<String, Value>, parts: &[Value]) {
    if kind(whole) == NONE && parts.iter().any(|p| p["Type"] != NONE) {
        whole.insert("Type".to_owned(), EDITED.into());
    }
}

fn kind(diff: &Map<String, Value>) -> &str {
    diff.get("Type").and_then(Value::as_str).unwrap_or(NONE)
}

fn list(values: Vec<Value>) -> Value {
    if values.is_empty() { Value::Null } else { Value::Array(values) }
}

/// Tells the two forms of a part, and its name.
type Tell<'t> = &'t dyn Fn(Option<&Value>, Option<&Value>, &str) -> Map<String, Value>;

/// Pairs parts by name (the second of a name with the second) and tells each pair, by name.
fn named(old: Option<&Value>, new: Option<&Value>, tell: Tell<'_>) -> Vec<Value> {
    type Pair<'v> = (Option<&'v Value>, Option<&'v Value>);
    let mut pairs: BTreeMap<(&str, usize), Pair<'_>> = BTreeMap::new();
    for (value, newer) in [(old, false), (new, true)] {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for part in parts(value) {
            let name = part.get("Name").and_then(Value::as_str).unwrap_or_default();
            let nth = seen.entry(name).or_default();
            let pair = pairs.entry((name, *nth)).or_default();
            *(if newer { &mut pair.1 } else { &mut pair.0 }) = Some(part);
            *nth += 1;
        }
    }
    pairs.into_iter().map(|((name, _), (a, b))| Value::Object(tell(a, b, name))).collect()
}

/// The parts of a list, or of a map from names to parts.
fn parts(value: Option<&Value>) -> Vec<&Value> {
    match value {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(Value::Object(map)) => map.values().collect(),
        _ => Vec::new(),
    }
}

/// Two forms of one object. `member` is the name under which it stands in its whole.
fn object(
    old: Option<&Value>,
    new: Option<&Value>,
    member: &str,
    level: Level,
) -> Map<String, Value> {
    let (old, new) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    let (fields, changed) =
        fields(&flat(old, member, level), &flat(new, member, level), level == Level::Part);
    let mut objects = Vec::new();
    for name in members(old, new, level, member) {
        part(name, member_of(old, name), member_of(new, name), &mut objects);
    }
    let kind = match (old, new) {
        (None, None) => NONE,
        (None, Some(_)) => ADDED,
        (Some(_), None) => DELETED,
        _ if changed || !objects.is_empty() => EDITED,
        _ => NONE,
    };
    told(member, kind, if kind == NONE { Vec::new() } else { fields }, objects)
}

fn member_of<'v>(of: Option<&'v Map<String, Value>>, name: &str) -> Option<&'v Value> {
    of.and_then(|o| o.get(name))
}

fn told(member: &str, kind: &str, fields: Vec<Value>, objects: Vec<Value>) -> Map<String, Value> {
    let shown = SHOWN.iter().find(|(m, _)| *m == member).map_or(member, |(_, s)| s);
    let mut out = Map::new();
    out.insert("Fields".to_owned(), list(fields));
    out.insert("Name".to_owned(), shown.into());
    out.insert("Objects".to_owned(), list(objects));
    out.insert("Type".to_owned(), kind.into());
    out
}

fn skipped(member: &str, whole: &str, level: Level) -> bool {
    match level {
        Level::Job => JOB_SKIPS.contains(&member),
        Level::Group => GROUP_SKIPS.contains(&member),
        Level::Task => TASK_SKIPS.contains(&member),
        Level::Part => PART_SKIPS.contains(&(whole, member)),
    }
}

/// Names of the members of both that are parts, in the order in which they are told.
fn members<'v>(
    old: Option<&'v Map<String, Value>>,
    new: Option<&'v Map<String, Value>>,
    level: Level,
    whole: &str,
) -> Vec<&'v str> {
    let all = [old, new].into_iter().flatten().flatten();
    let names = all
        .filter(|(name, v)| v.is_array() || (v.is_object() && !MAPS.contains(&name.as_str())))
        .map(|(name, _)| name.as_str())
        .filter(|name| !skipped(name, whole, level));
    let names: BTreeSet<&str> = sort::gather(names);
    let mut names: Vec<&str> = names.into_iter().collect();
    sort::by_key(&mut names, |n| ORDER.iter().position(|o| o == n).unwrap_or(ORDER.len()));
    names
}

/// One part of an object, where it changed.
fn part(name: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Value>) {
    if old == new {
        return;
    }
    let whole = |v: Option<&Value>| v.filter(|v| !v.is_null()).is_some();
    let any = [old, new].into_iter().flatten().find(|v| !v.is_null());
    if FREE.contains(&name) {
        let (mut a, mut b) = (BTreeMap::new(), BTreeMap::new());
        flatten(old, "", &mut a);
        flatten(new, "", &mut b);
        let (fields, _) = fields(&a, &b, true);
        let kind = edit(whole(old), whole(new));
        out.push(Value::Object(told(name, kind, fields, Vec::new())));
    } else if NAMED.contains(&name) {
        let changed = named(old, new, &|a, b, _| object(a, b, name, Level::Part));
        out.extend(changed.into_iter().filter(|d| d["Type"] != NONE));
    } else if let Some(Value::Array(list)) = any {
        if list.first().is_some_and(Value::is_object) {
            set(name, old, new, out);
        } else {
            words(name, old, new, out);
        }
    } else {
        let (old, new) = (old.filter(|v| v.is_object()), new.filter(|v| v.is_object()));
        let diff = object(old, new, name, Level::Part);
        if kind(&diff) != NONE {
            out.push(Value::Object(diff));
        }
    }
}

fn edit(old: bool, new: bool) -> &'static str {
    match (old, new) {
        (false, _) => ADDED,
        (_, false) => DELETED,
        _ => EDITED,
    }
}

/// Objects without names: those that only one side has.
fn set(name: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Value>) {
    let by_text = |v| -> BTreeMap<String, &Value> {
        sort::gather(parts(v).into_iter().map(|part| (part.to_string(), part)))
    };
    let (old, new) = (by_text(old), by_text(new));
    for (side, other, added) in [(&new, &old, true), (&old, &new, false)] {
        for (_, part) in side.iter().filter(|(text, _)| !other.contains_key(*text)) {
            let pair = if added { (None, Some(*part)) } else { (Some(*part), None) };
            out.push(Value::Object(object(pair.0, pair.1, name, Level::Part)));
        }
    }
}

/// Words in no order: those that only one side has, and the others for context.
fn words(name: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Value>) {
    let set = |v: Option<&Value>| -> BTreeSet<String> {
        parts(v).into_iter().filter_map(scalar).collect()
    };
    let (old, new) = (set(old), set(new));
    let (gone, come) = (old.difference(&new).count() > 0, new.difference(&old).count() > 0);
    if !gone && !come {
        return;
    }
    let words: BTreeSet<&String> = old.iter().chain(&new).collect();
    let told_words = words
        .into_iter()
        .map(|w| {
            let side = |s: &BTreeSet<String>| if s.contains(w) { w.clone() } else { String::new() };
            field(name, &side(&old), &side(&new))
        })
        .collect();
    out.push(Value::Object(told(name, edit(gone, come), told_words, Vec::new())));
}

/// A value that is one field, as text; `None` for lists and objects.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(b) => Some(b.to_string()),
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => {
            let text = n.to_string();
            Some(text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned))
        }
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// The fields of an object: its plain members, and the keys of its maps.
fn flat(of: Option<&Map<String, Value>>, whole: &str, level: Level) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let Some(of) = of else { return out };
    for (_, member, zero) in LEFT_OUT.iter().filter(|(w, ..)| *w == whole) {
        out.insert((*member).to_owned(), (*zero).to_owned());
    }
    for (name, value) in of.iter().filter(|(n, _)| !skipped(n, whole, level)) {
        match value {
            Value::Object(map) if MAPS.contains(&name.as_str()) => {
                let keys = map.iter().filter_map(|(k, v)| Some((k, scalar(v)?)));
                out.extend(keys.map(|(k, v)| (format!("{name}[{k}]"), v)));
            }
            Value::Null if !NULLABLE.contains(&name.as_str()) => {}
            other => out.extend(scalar(other).map(|v| (name.clone(), v))),
        }
    }
    out
}

/// All that a value of free form holds, by its path: `args[0]`, `mounts[0][target]`.
fn flatten(value: Option<&Value>, path: &str, out: &mut BTreeMap<String, String>) {
    let below = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}[{key}]") }
    };
    match value {
        None => {}
        Some(Value::Object(map)) => {
            for (key, v) in map {
                flatten(Some(v), &below(key), out);
            }
        }
        Some(Value::Array(list)) => {
            for (i, v) in list.iter().enumerate() {
                flatten(Some(v), &below(&i.to_string()), out);
            }
        }
        Some(_) if path.is_empty() => {}
        Some(plain) => out.extend(scalar(plain).map(|v| (path.to_owned(), v))),
    }
}

/// The fields of two forms of an object, and whether any differs.
fn fields(
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    context: bool,
) -> (Vec<Value>, bool) {
    let names: BTreeSet<&String> = sort::gather(old.keys().chain(new.keys()));
    let empty = String::new();
    let mut out = Vec::new();
    let mut changed = false;
    for name in names {
        let (a, b) = (old.get(name).unwrap_or(&empty), new.get(name).unwrap_or(&empty));
        changed |= a != b;
        if context || a != b {
            out.push(field(name, a, b));
        }
    }
    (out, changed)
}

fn field(name: &str, old: &str, new: &str) -> Value {
    let kind = if old == new { NONE } else { edit(!old.is_empty(), !new.is_empty()) };
    json!({ "Annotations": null, "Name": name, "New": new, "Old": old, "Type": kind })
}

/// Fields and objects of a task whose change means a new one (contract: scheduler §6).
const REPLACES: &[&str] = &[
    "Artifact",
    "CSIPluginConfig",
    "Config",
    "Consul",
    "Driver",
    "Identity",
    "Resources",
    "Secret",
    "Template",
    "User",
    "Vault",
    "VolumeMount",
];

/// Adds to a difference what the scheduler would do about it.
pub fn annotate(diff: &mut Value, updates: &BTreeMap<String, DesiredUpdates>) {
    let Some(groups) = diff.get_mut("TaskGroups").and_then(Value::as_array_mut) else { return };
    for group in groups {
        if let Some(u) = group["Name"].as_str().and_then(|name| updates.get(name)) {
            let counts = [
                ("ignore", u.ignore),
                ("create", u.place),
                ("destroy", u.stop),
                ("migrate", u.migrate),
                ("canary", u.canary),
                ("in-place update", u.in_place_update),
                ("create/destroy update", u.destructive_update),
            ];
            let some = counts.into_iter().filter(|(_, n)| *n > 0);
            let some = some.map(|(what, n)| (what.to_owned(), Value::from(n)));
            group["Updates"] = Value::Object(sort::gather(some));
        }
        for field in group["Fields"].as_array_mut().into_iter().flatten() {
            let number = |side: &str| field[side].as_str().and_then(|n| n.parse().ok());
            if field["Name"] == "Count" {
                let (old, new) = (number("Old").unwrap_or(0i64), number("New").unwrap_or(0));
                let what = if new > old { "forces create" } else { "forces destroy" };
                field["Annotations"] = json!([what]);
            }
        }
        let whole = group["Type"].as_str().unwrap_or(NONE).to_owned();
        for task in group["Tasks"].as_array_mut().into_iter().flatten() {
            if let Some(what) = forces(task, &whole) {
                task["Annotations"] = json!([what]);
            }
        }
    }
}

/// What the change of a task in a group (changed as `group` says) leads to.
fn forces(task: &Value, group: &str) -> Option<&'static str> {
    match (task["Type"].as_str()?, group) {
        (NONE, _) => None,
        (_, ADDED) => Some("forces create"),
        (_, DELETED) => Some("forces destroy"),
        (EDITED, _) if !replaced(task) => Some("forces in-place update"),
        _ => Some("forces create/destroy update"),
    }
}

fn replaced(task: &Value) -> bool {
    let changed = |list: &Value, name: &dyn Fn(&str, &Value) -> bool| {
        list.as_array()
            .into_iter()
            .flatten()
            .any(|d| d["Type"] != NONE && name(d["Name"].as_str().unwrap_or_default(), d))
    };
    changed(&task["Fields"], &|n, _| {
        REPLACES.contains(&n) || n.starts_with("Env[") || n.starts_with("Meta[")
    }) || changed(&task["Objects"], &|n, d| {
        REPLACES.contains(&n)
            || (n == "LogConfig" && changed(&d["Fields"], &|field, _| field == "Disabled"))
    })
}
