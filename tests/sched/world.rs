//! The small language of the fixtures: one directive per line, `key=value` words, `#` comments.
//!
//! `node`, `job`, `other` (a job that stands in the way), `alloc`, `deployment`, `eval`, `config`:
//! an object with defaults. `was N`: the job as it was at version N (a copy, to be changed by
//! `set`). `set /Json/Pointer VALUE` changes the object declared last; missing steps on the way are
//! made. `n[1..3]` declares three nodes.

use std::rc::Rc;

use serde_json::{Value, json};
use vardo::api::{Allocation, Deployment, Evaluation, Job, Node, SchedulerConfiguration};
use vardo::command::Plan;
use vardo::sched::{Fleet, Seed, View, fit, schedule};
use vardo::stdx::json as codec;
use vardo::stdx::{BTreeMap, Entropy};

/// The time of every run, in nanoseconds.
pub(super) const NOW: i64 = 1_700_000_000_000_000_000;

#[derive(Default)]
pub(super) struct World {
    pub nodes: Vec<Rc<Node>>,
    pub job: Option<Rc<Job>>,
    /// All of its versions.
    pub versions: Vec<Rc<Job>>,
    /// Jobs that stand in the way.
    pub others: Vec<Rc<Job>>,
    pub allocs: Vec<Rc<Allocation>>,
    pub deployment: Option<Deployment>,
    pub config: SchedulerConfiguration,
    pub eval: Evaluation,
}

impl View for World {
    fn index(&self) -> u64 {
        100
    }
    fn job(&self, _: &str, id: &str) -> Option<Rc<Job>> {
        self.job.iter().chain(&self.others).find(|j| j.id == id).cloned()
    }
    fn fleet(&self) -> Fleet {
        let mut fleet = Fleet::of(self.nodes.iter().cloned());
        for a in self.allocs.iter().filter(|a| !fit::client_terminal(a)) {
            if let (Some(at), Some(r)) = (fleet.position(&a.node_id), &a.allocated_resources) {
                fleet.hold(at, r);
            }
        }
        fleet
    }
    fn node(&self, id: &str) -> Option<Rc<Node>> {
        self.nodes.iter().find(|n| n.id == id).cloned()
    }
    fn allocs_by_job(&self, _: &str, id: &str) -> Vec<Rc<Allocation>> {
        self.allocs.iter().filter(|a| a.job_id == id).cloned().collect()
    }
    fn allocs_by_node(&self, id: &str) -> Vec<Rc<Allocation>> {
        let over =
            |a: &Allocation| matches!(a.client_status.as_str(), "complete" | "failed" | "lost");
        self.allocs.iter().filter(|a| a.node_id == id && !over(a)).cloned().collect()
    }
    fn deployment_latest(&self, _: &str, _: &str) -> Option<Deployment> {
        self.deployment.clone()
    }
    fn proven_version(&self, job: &Job, _: &str) -> Option<Rc<Job>> {
        let older = self.versions.iter().filter(|v| v.version < job.version && v.stable);
        older.max_by_key(|v| v.version).cloned()
    }
    fn config(&self) -> SchedulerConfiguration {
        self.config.clone()
    }
}

/// Ids in order: `00000001-…`.
pub(super) struct Count(pub u32);

impl Entropy for Count {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.0 += 1;
        for (to, from) in out.iter_mut().zip(self.0.to_be_bytes()) {
            *to = from;
        }
    }
}

impl World {
    pub(super) fn plan(&self) -> Plan {
        schedule(self, &self.eval, Seed { rng: 7, wall_ns: NOW }, &mut Count(0))
    }

    pub(super) fn run(&self) -> String {
        super::show::plan(self, &self.plan())
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut objects: Vec<Object> = Vec::new();
        for line in text.lines().skip(1) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            directive(word, rest.trim(), &mut objects).map_err(|e| format!("{line}: {e}"))?;
        }
        build(objects)
    }
}

/// A declared object.
struct Object {
    kind: String,
    name: String,
    words: BTreeMap<String, String>,
    value: Value,
}

fn directive(word: &str, rest: &str, objects: &mut Vec<Object>) -> Result<(), String> {
    if word == "set" {
        let (pointer, value) = rest.split_once(' ').ok_or("set POINTER VALUE")?;
        let value: Value = serde_json::from_str(value).map_err(|e| e.to_string())?;
        let last = objects.last_mut().ok_or("nothing to set")?;
        put(&mut last.value, pointer, value);
        return Ok(());
    }
    let mut words = BTreeMap::new();
    let mut name = String::new();
    for w in rest.split_whitespace() {
        match w.split_once('=') {
            Some((k, v)) => {
                words.insert(k.to_owned(), v.to_owned());
            }
            None => name = w.to_owned(),
        }
    }
    let mut push = |name: String, value: Value| {
        objects.push(Object { kind: word.to_owned(), name, words: words.clone(), value });
    };
    match word {
        "node" => {
            for name in expand(&name) {
                let value = node(&name, &words)?;
                push(name, value);
            }
        }
        "job" | "other" => push(name.clone(), job(&name, &words)?),
        "was" => {
            let found = objects.iter().find(|o| o.kind == "job").ok_or("was before job")?;
            let mut value = found.value.clone();
            let version: u64 = name.parse().map_err(|_| "was VERSION")?;
            put(&mut value, "/Version", json!(version));
            put(&mut value, "/JobModifyIndex", json!(10 + version));
            objects.push(Object { kind: "was".into(), name, words, value });
        }
        "alloc" | "deployment" | "eval" | "config" => push(name, json!({})),
        _ => return Err("no such directive".to_owned()),
    }
    Ok(())
}

fn expand(name: &str) -> Vec<String> {
    let range = name.split_once('[').and_then(|(head, tail)| {
        let (from, to) = tail.strip_suffix(']')?.split_once("..")?;
        Some((head, from.parse::<u32>().ok()?, to.parse::<u32>().ok()?))
    });
    match range {
        Some((head, from, to)) => (from..=to).map(|i| format!("{head}{i:02}")).collect(),
        None => vec![name.to_owned()],
    }
}

/// Sets what a JSON pointer names, making objects and lists on the way.
fn put(value: &mut Value, pointer: &str, to: Value) {
    let mut at = value;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/");
        at = match part.parse::<usize>() {
            Ok(i) => {
                if !at.is_array() {
                    *at = json!([]);
                }
                let list = at.as_array_mut().expect("a list");
                while list.len() <= i {
                    list.push(json!({}));
                }
                &mut list[i]
            }
            Err(_) => {
                if !at.is_object() {
                    *at = json!({});
                }
                at.as_object_mut().expect("an object").entry(part).or_insert(Value::Null)
            }
        };
    }
    *at = to;
}

fn number(words: &BTreeMap<String, String>, key: &str, or: i64) -> Result<i64, String> {
    match words.get(key) {
        Some(text) => text.parse().map_err(|_| format!("{key} is no number")),
        None => Ok(or),
    }
}

fn word<'w>(words: &'w BTreeMap<String, String>, key: &str, or: &'w str) -> &'w str {
    words.get(key).map_or(or, String::as_str)
}

fn node(name: &str, w: &BTreeMap<String, String>) -> Result<Value, String> {
    let ip = word(w, "ip", "10.0.0.1");
    let mut attributes = BTreeMap::from([("kernel.name", "linux")]);
    let mut meta = BTreeMap::new();
    for (key, value) in w {
        if let Some(key) = key.strip_prefix("attr.") {
            attributes.insert(key, value);
        }
        if let Some(key) = key.strip_prefix("meta.") {
            meta.insert(key, value.as_str());
        }
    }
    let mut drivers = serde_json::Map::new();
    for d in word(w, "drivers", "raw_exec").split(',').filter(|d| !d.is_empty()) {
        let healthy = !d.ends_with(":sick");
        let name = d.trim_end_matches(":sick");
        drivers.insert(name.into(), json!({"Detected": true, "Healthy": healthy}));
    }
    let mut volumes = serde_json::Map::new();
    for v in word(w, "volumes", "").split(',').filter(|d| !d.is_empty()) {
        let name = v.trim_end_matches(":ro");
        volumes.insert(name.into(), json!({"Name": name, "ReadOnly": v.ends_with(":ro")}));
    }
    let cores = number(w, "cores", 0)?;
    Ok(json!({
        "ID": name, "Name": name, "Status": word(w, "status", "ready"),
        "SchedulingEligibility": word(w, "eligibility", "eligible"),
        "DrainStrategy": w.get("drain").map(|_| json!({})),
        "Datacenter": word(w, "dc", "dc1"), "NodePool": word(w, "pool", "default"),
        "NodeClass": word(w, "class", ""), "NodeMaxAllocs": number(w, "max_allocs", 0)?,
        "Attributes": attributes, "Meta": meta, "Drivers": drivers, "HostVolumes": volumes,
        "NodeResources": {
            "Cpu": {"CpuShares": number(w, "cpu", 4000)?, "TotalCpuCores": cores,
                "ReservableCpuCores": (0..cores).collect::<Vec<_>>()},
            "Memory": {"MemoryMB": number(w, "memory", 8000)?},
            "Disk": {"DiskMB": number(w, "disk", 100_000)?},
            "MinDynamicPort": number(w, "min_port", 0)?,
            "MaxDynamicPort": number(w, "max_port", 0)?,
            "Networks": [{"Mode": word(w, "mode", "host"), "IP": ip, "Device": "eth0"}],
            "NodeNetworks": [{"Mode": "host", "Device": "eth0", "Addresses":
                [{"Address": ip, "Alias": "default", "Family": "ipv4"}]}],
        },
        "ReservedResources": {"Networks": {"ReservedHostPorts": word(w, "reserved", "")}},
    }))
}

fn job(name: &str, w: &BTreeMap<String, String>) -> Result<Value, String> {
    let kind = word(w, "type", "service");
    let list = |key: &str, fixed: bool| -> Vec<Value> {
        let parts = word(w, key, "").split(',').filter(|p| !p.is_empty());
        parts
            .map(|p| match p.split_once(':').filter(|_| fixed) {
                Some((label, port)) => {
                    json!({"Label": label, "Value": port.parse::<i64>().unwrap_or(0)})
                }
                None => json!({"Label": p}),
            })
            .collect()
    };
    let (dynamic, fixed) = (list("ports", false), list("static", true));
    let network = json!([{"Mode": word(w, "network", "host"),
        "DynamicPorts": dynamic, "ReservedPorts": fixed}]);
    let any = !dynamic.is_empty() || !fixed.is_empty() || w.contains_key("network");
    let parallel = number(w, "parallel", 0)?;
    let update = json!({"MaxParallel": parallel, "Canary": number(w, "canary", 0)?,
        "ProgressDeadline": 600_000_000_000i64});
    let version = number(w, "version", 0)?;
    let mut group = json!({
        "Name": "app", "Count": number(w, "count", 1)?, "EphemeralDisk": {"SizeMB": 100},
        "Networks": if any { network } else { Value::Null },
        "Tasks": [{"Name": "web", "Driver": word(w, "driver", "raw_exec"),
            "Resources": {"CPU": number(w, "cpu", 100)?, "MemoryMB": number(w, "memory", 100)?,
                "Cores": number(w, "cores", 0)?}}],
    });
    if parallel > 0 {
        group["Update"] = update;
    }
    Ok(json!({
        "ID": name, "Name": name, "Namespace": "default", "Type": kind,
        "Priority": number(w, "priority", 50)?,
        "Datacenters": word(w, "dc", "*").split(',').collect::<Vec<_>>(),
        "NodePool": word(w, "pool", "default"), "Stop": word(w, "stop", "false") == "true",
        "Version": version, "CreateIndex": 5, "ModifyIndex": 50,
        "JobModifyIndex": 10 + version, "TaskGroups": [group],
    }))
}

/// `-90s` is ninety seconds before now.
fn time(text: &str) -> Result<i64, String> {
    let seconds = text.strip_suffix('s').and_then(|t| t.parse::<i64>().ok());
    Ok(NOW + seconds.ok_or("times are written -90s")? * 1_000_000_000)
}

fn build(objects: Vec<Object>) -> Result<World, String> {
    let mut world = World::default();
    let mut versions: BTreeMap<u64, Rc<Job>> = BTreeMap::new();
    let mut classes: BTreeMap<String, usize> = BTreeMap::new();
    let read = |e: codec::JsonError| e.to_string();
    for o in objects {
        match o.kind.as_str() {
            "node" => {
                let mut n: Node = typed(&o.value).map_err(read)?;
                let shared = |k: &&String| !k.starts_with("unique.");
                let facts = format!(
                    "{:?} {:?} {} {} {} {:?} {:?}",
                    n.attributes.iter().filter(|(k, _)| shared(k)).collect::<Vec<_>>(),
                    n.meta.iter().filter(|(k, _)| shared(k)).collect::<Vec<_>>(),
                    n.node_class,
                    n.datacenter,
                    n.node_pool,
                    n.drivers,
                    n.node_resources.as_ref().map(|r| (&r.devices, &r.networks)),
                );
                let next = classes.len() + 1;
                n.computed_class = format!("v1:{}", classes.entry(facts).or_insert(next));
                world.nodes.push(Rc::new(n));
            }
            "job" | "was" => {
                let j: Job = typed(&o.value).map_err(read)?;
                let j = Rc::new(j);
                versions.insert(j.version, j.clone());
                if o.kind == "job" {
                    world.eval.job_id.clone_from(&j.id);
                    world.eval.kind.clone_from(&j.kind);
                    world.job = Some(j);
                }
            }
            "other" => {
                world.others.push(Rc::new(typed(&o.value).map_err(read)?));
            }
            "alloc" => {
                let a = alloc(&o, world.job.as_ref(), &versions)?;
                world.allocs.push(Rc::new(a));
            }
            "deployment" => {
                let job = world.job.clone().ok_or("deployment before job")?;
                let w = &o.words;
                let mut d: Deployment = typed(&o.value).map_err(read)?;
                d.id = o.name;
                word(w, "status", "running").clone_into(&mut d.status);
                if d.status_description.is_empty() {
                    d.status_description = "Deployment is running".to_owned();
                }
                d.job_version = u64::try_from(number(w, "version", 0)?).unwrap_or(0);
                d.job_create_index = job.create_index;
                let state = d.task_groups.entry("app".to_owned()).or_default();
                state.desired_total = number(w, "total", 0)?;
                state.healthy_allocs = number(w, "healthy", 0)?;
                state.desired_canaries = number(w, "canaries", 0)?;
                state.promoted = word(w, "promoted", "false") == "true";
                let placed = word(w, "placed", "").split(',').filter(|p| !p.is_empty());
                state.placed_canaries = placed.map(str::to_owned).collect();
                world.deployment = Some(d);
            }
            "eval" => {
                let (kind, job) = (world.eval.kind.clone(), world.eval.job_id.clone());
                let w = &o.words;
                world.eval = typed(&o.value).map_err(read)?;
                word(w, "type", &kind).clone_into(&mut world.eval.kind);
                world.eval.triggered_by = word(w, "trigger", "job-register").to_owned();
                world.eval.status = word(w, "status", "pending").to_owned();
                world.eval.node_id = word(w, "node", "").to_owned();
                world.eval.job_id = word(w, "job", &job).to_owned();
                world.eval.id = o.name;
            }
            _ => world.config = typed(&o.value).map_err(read)?,
        }
    }
    world.versions = versions.into_values().collect();
    world.nodes.sort_by(|a, b| a.id.cmp(&b.id));
    if world.eval.id.is_empty() {
        world.eval.id = "eval".to_owned();
    }
    if world.eval.triggered_by.is_empty() {
        world.eval.triggered_by = "job-register".to_owned();
        world.eval.status = "pending".to_owned();
    }
    world.eval.namespace = "default".to_owned();
    world.eval.priority = 50;
    world.eval.create_time = 1;
    Ok(world)
}

fn alloc(
    o: &Object,
    job: Option<&Rc<Job>>,
    versions: &BTreeMap<u64, Rc<Job>>,
) -> Result<Allocation, String> {
    let w = &o.words;
    let current = job.map_or(0, |j| j.version);
    let version = number(w, "version", i64::try_from(current).unwrap_or(0))?;
    let version = u64::try_from(version).unwrap_or(0);
    let group = word(w, "group", "app");
    let id = job.map_or("gone", |j| j.id.as_str());
    let other = w.get("job").map(String::as_str);
    let mut a: Allocation = typed(&o.value).map_err(|e| e.to_string())?;
    a.id = o.name.clone();
    a.namespace = "default".to_owned();
    a.job_id = other.unwrap_or(id).to_owned();
    a.name = format!("{}.{group}[{}]", a.job_id, number(w, "index", 0)?);
    a.task_group = group.to_owned();
    a.node_id = word(w, "node", "n1").to_owned();
    a.client_status = word(w, "client", "running").to_owned();
    a.desired_status = word(w, "desired", "run").to_owned();
    a.deployment_id = word(w, "deployment", "").to_owned();
    a.next_allocation = word(w, "next", "").to_owned();
    a.previous_allocation = word(w, "previous", "").to_owned();
    a.followup_eval_id = word(w, "followup", "").to_owned();
    a.create_index = 20;
    a.modify_time = NOW - 1_000_000_000_000;
    a.job = match other {
        Some(_) => None,
        None => versions.get(&version).cloned(),
    };
    if w.contains_key("healthy") || w.contains_key("canary") {
        let status = a.deployment_status.get_or_insert_default();
        status.healthy = w.get("healthy").map(|h| h == "true");
        status.canary = w.contains_key("canary");
    }
    if w.contains_key("migrate") {
        a.desired_transition.migrate = Some(true);
    }
    if w.contains_key("reschedule") {
        a.desired_transition.reschedule = Some(true);
    }
    if let Some(at) = w.get("unknown") {
        a.alloc_states.push(vardo::api::AllocState {
            field: 0,
            time: vardo::stdx::json::Time(time(at)?),
            value: "unknown".to_owned(),
        });
    }
    if let Some(at) = w.get("finished") {
        let state = a.task_states.entry("web".to_owned()).or_default();
        state.state = "dead".to_owned();
        state.failed = a.client_status == "failed";
        state.finished_at = vardo::stdx::json::Time(time(at)?);
    }
    if a.allocated_resources.is_none() {
        let mut r = vardo::api::AllocatedResources::default();
        let task = r.tasks.entry("web".to_owned()).or_default();
        task.cpu.cpu_shares = number(w, "cpu", 100)?;
        task.memory.memory_mb = number(w, "memory", 100)?;
        r.shared.disk_mb = 100;
        for p in word(w, "ports", "").split(',').filter(|p| !p.is_empty()) {
            r.shared.ports.push(vardo::api::AllocatedPortMapping {
                host_ip: "10.0.0.1".to_owned(),
                value: p.parse().map_err(|_| "a port")?,
                ..Default::default()
            });
        }
        a.allocated_resources = Some(r.into());
    }
    Ok(a)
}

fn typed<T: codec::Decode + Default>(value: &Value) -> Result<T, codec::JsonError> {
    codec::decode(&codec::encode(value))
}
