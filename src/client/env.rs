//! The environment of a task: the `NOMAD_*` variables, metadata, ports, and what of the agent's own
//! environment passes.
//!
//! Later wins: built-in, metadata, host (only names not yet present), the task's own. Values of
//! the task may refer to the built-in ones and to the node, not to each other.

use crate::api::{Allocation, Job, NetworkResource, Node, Task, TaskGroup};
use crate::client::interpolate::Scope;
use crate::stdx::{BTreeMap, sort};

/// Names that are never handed from the agent to its tasks, unless configured otherwise.
pub const DENYLIST: [&str; 10] = [
    "CONSUL_TOKEN",
    "CONSUL_HTTP_TOKEN",
    "CONSUL_HTTP_TOKEN_FILE",
    "VAULT_TOKEN",
    "NOMAD_TOKEN",
    "NOMAD_LICENSE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
];

/// Where the directories of a task lie, as the task sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskDirs {
    pub alloc: String,
    pub local: String,
    pub secrets: String,
    /// Working directory: the task directory.
    pub task: String,
    pub logs: String,
}

impl TaskDirs {
    /// Those of a driver without a root of its own: absolute host paths.
    pub fn host(alloc_root: &str, task: &str) -> Self {
        Self {
            alloc: format!("{alloc_root}/alloc"),
            local: format!("{alloc_root}/{task}/local"),
            secrets: format!("{alloc_root}/{task}/secrets"),
            task: format!("{alloc_root}/{task}"),
            logs: format!("{alloc_root}/alloc/logs"),
        }
    }
}

/// All that the environment of one task is made from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    pub alloc: &'a Allocation,
    pub job: &'a Job,
    pub group: &'a TaskGroup,
    pub task: &'a Task,
    pub node: &'a Node,
    pub region: &'a str,
    pub dirs: &'a TaskDirs,
    pub host_env: &'a [(String, String)],
    /// Empty: [`DENYLIST`].
    pub denylist: &'a [String],
}

/// Builds the scope that a task's configuration is read in; its variables are the environment.
pub fn build(s: &Sources<'_>) -> Scope {
    let mut vars = BTreeMap::new();
    identity(s, &mut vars);
    resources(s, &mut vars);
    ports(s, &mut vars);
    meta(s, &mut vars);
    for (name, value) in s.host_env {
        let denied = if s.denylist.is_empty() {
            DENYLIST.contains(&name.as_str())
        } else {
            s.denylist.contains(name)
        };
        if !denied && !vars.contains_key(name) {
            vars.insert(name.clone(), value.clone());
        }
    }
    let mut scope = Scope::new(vars, s.node, s.region);
    let own: Vec<(String, String)> =
        sort::gather(s.task.env.iter().map(|(k, v)| (scope.text(k), scope.text(v))));
    scope.vars.extend(own);
    let vars = std::mem::take(&mut scope.vars).into_iter();
    scope.vars = sort::gather(vars.map(|(k, v)| (if cleaned(&k) { clean(&k) } else { k }, v)));
    scope
}

fn identity(s: &Sources<'_>, vars: &mut BTreeMap<String, String>) {
    let mut set = |name: &str, value: &str| {
        vars.insert(format!("NOMAD_{name}"), value.to_owned());
    };
    set("ALLOC_DIR", &s.dirs.alloc);
    set("TASK_DIR", &s.dirs.local);
    set("SECRETS_DIR", &s.dirs.secrets);
    set("ALLOC_ID", &s.alloc.id);
    set("SHORT_ALLOC_ID", s.alloc.id.get(..8).unwrap_or(&s.alloc.id));
    set("ALLOC_NAME", &s.alloc.name);
    set("ALLOC_INDEX", alloc_index(&s.alloc.name));
    set("TASK_NAME", &s.task.name);
    set("GROUP_NAME", &s.group.name);
    set("JOB_ID", &s.job.id);
    set("JOB_NAME", &s.job.name);
    if !s.job.parent_id.is_empty() {
        set("JOB_PARENT_ID", &s.job.parent_id);
    }
    set("DC", &s.node.datacenter);
    set("REGION", s.region);
    set("NAMESPACE", &s.alloc.namespace);
    let cgroup = &s.node.cgroup_parent;
    set("PARENT_CGROUP", if cgroup.is_empty() { "nomad.slice" } else { cgroup });
}

fn resources(s: &Sources<'_>, vars: &mut BTreeMap<String, String>) {
    let given = s.alloc.allocated_resources.as_ref().and_then(|r| r.tasks.get(&s.task.name));
    let Some(given) = given else { return };
    vars.insert("NOMAD_CPU_LIMIT".to_owned(), given.cpu.cpu_shares.to_string());
    vars.insert("NOMAD_MEMORY_LIMIT".to_owned(), given.memory.memory_mb.to_string());
    if given.memory.memory_max_mb > 0 {
        vars.insert("NOMAD_MEMORY_MAX_LIMIT".to_owned(), given.memory.memory_max_mb.to_string());
    }
    // A task without cores of its own sees one space: recorded from the reference.
    let cores = core_list(&given.cpu.reserved_cores);
    let cores = if cores.is_empty() { " ".to_owned() } else { cores };
    vars.insert("NOMAD_CPU_CORES".to_owned(), cores);
}

fn ports(s: &Sources<'_>, vars: &mut BTreeMap<String, String>) {
    let Some(given) = s.alloc.allocated_resources.as_ref() else { return };
    for (name, resources) in &given.tasks {
        // Ports of task-level networks: plain for the task itself, with its name for its siblings.
        let own = *name == s.task.name;
        for network in &resources.networks {
            task_network(network, if own { "" } else { name }, vars);
        }
    }
    for port in &given.shared.ports {
        let inner = if port.to > 0 { port.to } else { port.value };
        let host_ip = &port.host_ip;
        let host_addr = joined(host_ip, port.value);
        for (name, value) in [
            ("IP", host_ip.clone()),
            ("HOST_IP", host_ip.clone()),
            ("PORT", inner.to_string()),
            ("ALLOC_PORT", inner.to_string()),
            ("HOST_PORT", port.value.to_string()),
            ("ADDR", host_addr.clone()),
            ("HOST_ADDR", host_addr),
        ] {
            vars.insert(format!("NOMAD_{name}_{}", port.label), value);
        }
    }
}

fn task_network(network: &NetworkResource, task: &str, vars: &mut BTreeMap<String, String>) {
    let family = if network.ip.contains(':') { "IPv6" } else { "IPv4" };
    for port in network.reserved_ports.iter().chain(&network.dynamic_ports) {
        let label = &port.label;
        let inner = if port.to > 0 { port.to } else { port.value };
        let owned = if task.is_empty() { label.clone() } else { format!("{task}_{label}") };
        vars.insert(format!("NOMAD_IP_{owned}"), network.ip.clone());
        vars.insert(format!("NOMAD_ADDR_{owned}"), joined(&network.ip, port.value));
        if task.is_empty() {
            vars.insert(format!("NOMAD_PORT_{owned}"), inner.to_string());
            vars.insert(format!("NOMAD_HOST_PORT_{owned}"), port.value.to_string());
            vars.insert(format!("NOMAD_{family}_{owned}"), network.ip.clone());
        } else {
            vars.insert(format!("NOMAD_PORT_{owned}"), port.value.to_string());
        }
    }
}

fn meta(s: &Sources<'_>, vars: &mut BTreeMap<String, String>) {
    // Optional keys that a dispatch left out are there, and empty.
    let mut merged: BTreeMap<&str, &str> = BTreeMap::new();
    if let Some(parameters) = &s.job.parameterized_job {
        merged.extend(parameters.meta_optional.iter().map(|k| (k.as_str(), "")));
    }
    for layer in [&s.job.meta, &s.group.meta, &s.task.meta] {
        merged.extend(layer.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    }
    for (key, value) in merged {
        vars.insert(format!("NOMAD_META_{key}"), value.to_owned());
        vars.insert(format!("NOMAD_META_{}", key.to_ascii_uppercase()), value.to_owned());
    }
}

/// `web.app[3]` → `3`.
fn alloc_index(name: &str) -> &str {
    name.rsplit_once('[').and_then(|(_, tail)| tail.strip_suffix(']')).unwrap_or("")
}

/// `0-1,3`.
pub(crate) fn core_list(cores: &[i64]) -> String {
    let mut sorted = cores.to_vec();
    sort::by(&mut sorted, Ord::cmp);
    sorted.dedup();
    let mut out = String::new();
    let mut rest = sorted.as_slice();
    while let Some(first) = rest.first() {
        let run = rest.iter().zip(*first..).take_while(|(core, want)| **core == *want).count();
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&first.to_string());
        if let Some(last) = rest.get(run - 1).filter(|_| run > 1) {
            out.push_str(&format!("-{last}"));
        }
        rest = rest.get(run..).unwrap_or_default();
    }
    out
}

fn joined(ip: &str, port: i64) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn cleaned(name: &str) -> bool {
    ["ADDR_", "IP_", "PORT_", "HOST_PORT_", "META_"]
        .iter()
        .any(|p| name.strip_prefix("NOMAD_").is_some_and(|rest| rest.starts_with(p)))
}

fn clean(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{
        AllocatedPortMapping, AllocatedResources, AllocatedTaskResources, ParameterizedJobConfig,
    };

    fn fixture() -> (Allocation, Job, Node) {
        let mut alloc = Allocation {
            id: "3c125c43-c195-e8c0-2617-5477ee824484".to_owned(),
            name: "web.app[2]".to_owned(),
            namespace: "default".to_owned(),
            ..Allocation::default()
        };
        let mut given = AllocatedResources::default();
        let mut task = AllocatedTaskResources::default();
        task.cpu.cpu_shares = 50;
        task.memory.memory_mb = 32;
        given.tasks.insert("web".to_owned(), task);
        given.shared.ports.push(AllocatedPortMapping {
            host_ip: "127.0.0.1".to_owned(),
            label: "http-x".to_owned(),
            to: 8080,
            value: 22518,
            ..AllocatedPortMapping::default()
        });
        alloc.allocated_resources = Some(given.into());
        let mut group = TaskGroup { name: "app".to_owned(), ..TaskGroup::default() };
        group.meta.insert("tier".to_owned(), "group".to_owned());
        let mut task = Task { name: "web".to_owned(), ..Task::default() };
        task.env.insert("A".to_owned(), "${NOMAD_PORT_http-x} ${node.class}".to_owned());
        task.env.insert("PATH".to_owned(), "/task".to_owned());
        group.tasks.push(task);
        let mut job = Job { id: "web".to_owned(), name: "Web".to_owned(), ..Job::default() };
        job.meta.insert("tier".to_owned(), "job".to_owned());
        job.meta.insert("own.er".to_owned(), "me".to_owned());
        job.parameterized_job = Some(ParameterizedJobConfig {
            meta_optional: vec!["later".to_owned()].into(),
            ..ParameterizedJobConfig::default()
        });
        job.task_groups.push(group);
        let node =
            Node { datacenter: "dc1".to_owned(), node_class: "big".to_owned(), ..Node::default() };
        (alloc, job, node)
    }

    fn built(host_env: &[(String, String)]) -> BTreeMap<String, String> {
        let (alloc, job, node) = fixture();
        let group = &job.task_groups[0];
        let dirs = TaskDirs::host("/data/alloc/3c", "web");
        build(&Sources {
            alloc: &alloc,
            job: &job,
            group,
            task: &group.tasks[0],
            node: &node,
            region: "global",
            dirs: &dirs,
            host_env,
            denylist: &[],
        })
        .vars
    }

    #[test]
    fn built_in_variables() {
        let vars = built(&[]);
        for (name, value) in [
            ("NOMAD_ALLOC_DIR", "/data/alloc/3c/alloc"),
            ("NOMAD_TASK_DIR", "/data/alloc/3c/web/local"),
            ("NOMAD_SECRETS_DIR", "/data/alloc/3c/web/secrets"),
            ("NOMAD_ALLOC_ID", "3c125c43-c195-e8c0-2617-5477ee824484"),
            ("NOMAD_SHORT_ALLOC_ID", "3c125c43"),
            ("NOMAD_ALLOC_NAME", "web.app[2]"),
            ("NOMAD_ALLOC_INDEX", "2"),
            ("NOMAD_TASK_NAME", "web"),
            ("NOMAD_GROUP_NAME", "app"),
            ("NOMAD_JOB_ID", "web"),
            ("NOMAD_JOB_NAME", "Web"),
            ("NOMAD_DC", "dc1"),
            ("NOMAD_REGION", "global"),
            ("NOMAD_NAMESPACE", "default"),
            ("NOMAD_CPU_LIMIT", "50"),
            ("NOMAD_MEMORY_LIMIT", "32"),
            ("NOMAD_CPU_CORES", " "),
            ("NOMAD_PARENT_CGROUP", "nomad.slice"),
            ("NOMAD_IP_http_x", "127.0.0.1"),
            ("NOMAD_PORT_http_x", "8080"),
            ("NOMAD_HOST_PORT_http_x", "22518"),
            ("NOMAD_ADDR_http_x", "127.0.0.1:22518"),
            ("NOMAD_META_tier", "group"),
            ("NOMAD_META_TIER", "group"),
            ("NOMAD_META_own_er", "me"),
            ("NOMAD_META_later", ""),
            ("A", "8080 big"),
        ] {
            assert_eq!(vars.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(!vars.contains_key("NOMAD_JOB_PARENT_ID"));
        assert!(!vars.contains_key("NOMAD_MEMORY_MAX_LIMIT"));
    }

    #[test]
    fn host_environment_passes_but_for_secrets() {
        let host = [
            ("PATH", "/bin"),
            ("HOME", "/root"),
            ("VAULT_TOKEN", "s.x"),
            ("NOMAD_TASK_NAME", "forged"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()));
        let vars = built(&host);
        assert_eq!(vars.get("PATH").map(String::as_str), Some("/task"));
        assert_eq!(vars.get("HOME").map(String::as_str), Some("/root"));
        assert_eq!(vars.get("NOMAD_TASK_NAME").map(String::as_str), Some("web"));
        assert!(!vars.contains_key("VAULT_TOKEN"));
    }

    #[test]
    fn core_lists_are_ranges() {
        for (cores, text) in [
            (&[][..], ""),
            (&[0], "0"),
            (&[1, 0, 3], "0-1,3"),
            (&[7, 2, 3, 4], "2-4,7"),
            (&[0, 0, 1], "0-1"),
        ] {
            assert_eq!(core_list(cores), text);
        }
    }
}
