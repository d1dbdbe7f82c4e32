//! What the machine says of itself, read once for the fingerprint and again for statistics.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::fingerprint::{Facts, Interface};
use crate::client::usage::{DiskFacts, HostFacts};
use crate::limits::HOST_MOUNTS_MAX;
use crate::os::{fs, net, sysfs};
use crate::stdx::{BTreeMap, sort};

/// Everything the fingerprint looks at. What cannot be read stays empty.
pub(super) fn machine(alloc_dir: &Path) -> Facts {
    let read = |path: &str| sysfs::read(path).unwrap_or_default();
    let cpus = numbered("/sys/devices/system/cpu", "cpu");
    let cpu = |n: i64, file: &str| read(&format!("/sys/devices/system/cpu/cpu{n}/{file}"));
    Facts {
        cpuinfo: read("/proc/cpuinfo"),
        meminfo: read("/proc/meminfo"),
        os_release: read("/etc/os-release"),
        debian_version: read("/etc/debian_version"),
        kernel_release: read("/proc/sys/kernel/osrelease"),
        hostname: read("/proc/sys/kernel/hostname"),
        machine: String::new(),
        cpus_online: read("/sys/devices/system/cpu/online"),
        core_speeds: cpus
            .iter()
            .map(|n| (*n, cpu(*n, "cpufreq/base_frequency"), cpu(*n, "cpufreq/cpuinfo_max_freq")))
            .collect(),
        core_sockets: cpus.iter().map(|n| (*n, cpu(*n, "topology/physical_package_id"))).collect(),
        numa_nodes: numbered("/sys/devices/system/node", "node")
            .into_iter()
            .map(|n| (n, read(&format!("/sys/devices/system/node/node{n}/cpulist"))))
            .collect(),
        cgroup_v2: Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        disk: disk(alloc_dir),
        routes: read("/proc/net/route"),
        interfaces: interfaces(),
    }
}

/// What `/v1/client/stats` is made of.
pub(super) fn usage(alloc_dir: &Path) -> HostFacts {
    let read = |path: &str| sysfs::read(path).unwrap_or_default();
    HostFacts {
        stat: read("/proc/stat"),
        meminfo: read("/proc/meminfo"),
        uptime: read("/proc/uptime"),
        disks: vec![disk(Path::new("/"))],
        alloc_disk: disk(alloc_dir),
    }
}

/// Names of a directory that are a word and a number, as the numbers in order.
fn numbered(dir: &str, word: &str) -> Vec<i64> {
    let mut out: Vec<i64> =
        sysfs::names(dir).iter().filter_map(|name| name.strip_prefix(word)?.parse().ok()).collect();
    sort::by(&mut out, Ord::cmp);
    out
}

fn disk(path: &Path) -> DiskFacts {
    let Ok(space) = fs::space(path) else { return DiskFacts::default() };
    let (device, mountpoint) = mount_of(path);
    DiskFacts {
        device,
        mountpoint,
        size: space.size,
        free: space.free,
        available: space.available,
        inodes: space.inodes,
        inodes_free: space.inodes_free,
    }
}

/// Device and mount point of the file system that holds a path: the longest mount point above it.
fn mount_of(path: &Path) -> (String, String) {
    let mounts = sysfs::text("/proc/self/mounts");
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?, words.next()?))
        })
        .filter(|(_, at)| path.starts_with(at))
        .max_by_key(|(_, at)| at.len())
        .map(|(device, at)| (device.to_owned(), at.to_owned()))
        .unwrap_or_default()
}

fn interfaces() -> Vec<Interface> {
    let mut out: Vec<Interface> = Vec::new();
    for found in net::addresses().unwrap_or_default() {
        let ip = found.ip.to_string();
        if let Some(known) = out.iter_mut().find(|i| i.name == found.interface) {
            known.addresses.push(ip);
            continue;
        }
        let file = |name: &str| sysfs::text(&format!("/sys/class/net/{}/{name}", found.interface));
        out.push(Interface {
            mac: file("address").trim().to_owned(),
            speed: file("speed").trim().parse().unwrap_or(0),
            name: found.interface,
            addresses: vec![ip],
        });
    }
    out
}

/// Body of `/v1/agent/host`; wrapped where the agent was asked for by name.
pub(super) fn host(agent: &str) -> Vec<u8> {
    let kernel = |file: &str| sysfs::text(&format!("/proc/sys/kernel/{file}")).trim().to_owned();
    let os = ["ostype", "hostname", "osrelease", "version"].map(kernel).join(" ");
    let network: Vec<Value> = interfaces()
        .into_iter()
        .map(|i| json!({"address": i.addresses.join(","), "mac": i.mac, "name": i.name}))
        .collect();
    let environment = std::env::vars_os().map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        let secret = is_secret(&name);
        let shown = || value.to_string_lossy().into_owned();
        (name, if secret { "<redacted>".to_owned() } else { shown() })
    });
    let environment: BTreeMap<String, String> = sort::gather(environment);
    let data = json!({
        "Disk": mounts(),
        "Environment": environment,
        "Hosts": sysfs::text("/etc/hosts"),
        "Network": network,
        "OS": format!("{os} {}", std::env::consts::ARCH),
        "ResolvConf": sysfs::text("/etc/resolv.conf"),
    });
    let body = if agent.is_empty() { data } else { json!({"AgentID": agent, "HostData": data}) };
    body.to_string().into_bytes()
}

/// Whether a variable may hold what must not be told.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let marks = ["TOKEN", "SECRET", "PASSW", "PASSPHRASE", "CREDENTIAL", "_KEY", "APIKEY", "DSN"];
    marks.iter().any(|mark| name.contains(mark))
}

/// File systems on devices of this machine: those of others may be away, and asking would wait.
fn mounts() -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    for line in sysfs::text("/proc/self/mounts").lines() {
        let mut words = line.split(' ');
        let (Some(device), Some(at)) = (words.next(), words.next()) else { continue };
        if !device.starts_with('/') || out.len() >= HOST_MOUNTS_MAX {
            continue;
        }
        if let Ok(space) = fs::space(Path::new(at)) {
            let (size, used) = (space.size >> 20, space.size.saturating_sub(space.free) >> 20);
            out.insert(at.to_owned(), json!({"DiskMB": size, "UsedMB": used}));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in
            ["NOMAD_TOKEN", "aws_secret_access_key", "PGPASSWORD", "X_API_KEY", "Vault_Token"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PATH", "HOME", "LANG", "KEYMAP", "TERM"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
