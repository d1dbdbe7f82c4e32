//! What the machine is: raw files in, the node's attributes and resources out.
//!
//! Nothing here is fatal and no figure is zero: what cannot be read is replaced by a cautious
//! guess, so that a node on unusual hardware still gets work. No cloud is asked anything.

use crate::api::status::{NODE_ELIGIBLE, NODE_INITIALIZING};
use crate::api::{
    DriverInfo, LegacyNodeCpuResources, NetworkResource, Node, NodeDiskResources,
    NodeMemoryResources, NodeNetworkAddress, NodeNetworkResource, NodeProcessorResources,
    NodeReservedResources, NodeResources, NumaCore, NumaTopology,
};
use crate::client::driver;
use crate::client::env::core_list;
use crate::client::hash::Fnv;
use crate::client::usage::{DiskFacts, field};
use crate::stdx::json::{List, Time};
use crate::stdx::{BTreeMap, sort};

/// Version of the API that this agent speaks.
pub const API_VERSION: &str = "2.0.5";

/// The machine, as raw bytes of the files it is read from. What could not be read is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// `/proc/cpuinfo`
    pub cpuinfo: Vec<u8>,
    /// `/proc/meminfo`
    pub meminfo: Vec<u8>,
    /// `/etc/os-release`
    pub os_release: Vec<u8>,
    /// `/etc/debian_version`
    pub debian_version: Vec<u8>,
    /// `/proc/sys/kernel/osrelease`
    pub kernel_release: Vec<u8>,
    /// `/proc/sys/kernel/hostname`
    pub hostname: Vec<u8>,
    /// As `uname -m`; empty: that of the build.
    pub machine: String,
    /// `/sys/devices/system/cpu/online`
    pub cpus_online: Vec<u8>,
    /// By core: `cpufreq/base_frequency` and `cpufreq/cpuinfo_max_freq`.
    pub core_speeds: Vec<(i64, Vec<u8>, Vec<u8>)>,
    /// By core: `topology/physical_package_id`.
    pub core_sockets: Vec<(i64, Vec<u8>)>,
    /// By memory node: `/sys/devices/system/node/node<n>/cpulist`.
    pub numa_nodes: Vec<(i64, Vec<u8>)>,
    /// `/sys/fs/cgroup/cgroup.controllers` exists.
    pub cgroup_v2: bool,
    /// The file system that holds the allocation directories.
    pub disk: DiskFacts,
    /// `/proc/net/route`
    pub routes: Vec<u8>,
    pub interfaces: Vec<Interface>,
}

/// A network interface that is up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// `/sys/class/net/<name>/address`, trimmed.
    pub mac: String,
    /// `/sys/class/net/<name>/speed` in Mbit/s; zero or less: not known.
    pub speed: i64,
    /// As text.
    pub addresses: Vec<String>,
}

/// What the configuration says of the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Empty: the host's name.
    pub name: String,
    pub datacenter: String,
    pub class: String,
    pub pool: String,
    pub meta: BTreeMap<String, String>,
    /// `host:port` under which the HTTP API is reached.
    pub http_addr: String,
    /// Empty: the one with the default route.
    pub network_interface: String,
    /// Mbit/s; zero: as read.
    pub network_speed: i64,
    /// MHz; zero: as read.
    pub cpu_total_compute: i64,
    /// MiB; zero: as read.
    pub memory_total_mb: i64,
    /// MiB; zero: as read.
    pub disk_total_mb: i64,
    /// Zero: 20000 and 32000.
    pub min_dynamic_port: i64,
    pub max_dynamic_port: i64,
    pub reserved: NodeReservedResources,
    /// Empty: `nomad.slice`.
    pub cgroup_parent: String,
    pub raw_exec: bool,
    pub mock_driver: bool,
    pub default_ineligible: bool,
    pub node_max_allocs: i64,
}

/// Describes the node; id and secret are the caller's to set.
pub fn node(facts: &Facts, settings: &Settings, wall_ns: i64) -> Node {
    let hostname = trimmed(&facts.hostname);
    let cores = cores(facts);
    let mut attributes = system_attributes(facts, &hostname);
    let (processors, cpu) = processors(facts, settings, &cores, &mut attributes);
    let (network, address) = network(facts, settings);
    attributes.insert("unique.network.ip-address".to_owned(), address);
    if !settings.http_addr.is_empty() {
        attributes.insert("unique.advertise.address".to_owned(), settings.http_addr.clone());
    }
    let memory_bytes = memory_bytes(facts, settings);
    attributes.insert("memory.totalbytes".to_owned(), memory_bytes.to_string());
    let disk_mb = disk(facts, settings, &mut attributes);
    let drivers = drivers(settings, wall_ns, &mut attributes);
    let port = |set: i64, default| if set > 0 { set } else { default };
    let resources = NodeResources {
        cpu,
        disk: NodeDiskResources { disk_mb },
        max_dynamic_port: port(settings.max_dynamic_port, 32_000),
        memory: NodeMemoryResources {
            memory_mb: i64::try_from(memory_bytes >> 20).unwrap_or(i64::MAX),
        },
        min_dynamic_port: port(settings.min_dynamic_port, 20_000),
        networks: legacy_networks(&network),
        node_networks: vec![network].into(),
        processors,
        ..NodeResources::default()
    };
    let or = |text: &str, default: &str| {
        if text.is_empty() { default.to_owned() } else { text.to_owned() }
    };
    let mut node = Node {
        attributes: attributes.into(),
        cgroup_parent: or(&settings.cgroup_parent, "nomad.slice"),
        datacenter: or(&settings.datacenter, "dc1"),
        drivers: drivers.into(),
        http_addr: settings.http_addr.clone(),
        meta: settings.meta.clone(),
        name: or(&settings.name, &or(&hostname, "localhost")),
        node_class: settings.class.clone(),
        node_max_allocs: settings.node_max_allocs,
        node_pool: or(&settings.pool, "default"),
        node_resources: Some(resources),
        reserved_resources: Some(settings.reserved.clone()),
        scheduling_eligibility: NODE_ELIGIBLE.to_owned(),
        status: NODE_INITIALIZING.to_owned(),
        ..Node::default()
    };
    if settings.default_ineligible {
        crate::api::status::NODE_INELIGIBLE.clone_into(&mut node.scheduling_eligibility);
    }
    node.computed_class = computed_class(&node);
    node
}

/// Nodes of one class are alike in all that placement may ask for: everything but what carries
/// `unique.` in its name.
pub fn computed_class(node: &Node) -> String {
    let mut hash = Fnv::default();
    for text in [&node.datacenter, &node.node_class, &node.node_pool] {
        hash.text(text);
    }
    for map in [&*node.attributes, &node.meta] {
        for (key, value) in map.iter().filter(|(k, _)| !k.starts_with("unique.")) {
            hash.text(key);
            hash.text(value);
        }
        hash.text("");
    }
    for (name, volume) in &node.host_volumes {
        hash.text(name);
        hash.text(if volume.read_only { "r" } else { "w" });
    }
    for (name, _) in node.drivers.iter().filter(|(_, d)| d.detected && d.healthy) {
        hash.text(name);
    }
    for group in node.node_resources.iter().flat_map(|r| r.devices.iter()) {
        for text in [&group.vendor, &group.kind, &group.name] {
            hash.text(text);
        }
        hash.text(&group.instances.len().to_string());
    }
    format!("v1:{}", hash.finish())
}

/// What every node says of itself, whatever its machine is.
pub fn common_attributes() -> BTreeMap<String, String> {
    system_attributes(&Facts::default(), "")
}

fn system_attributes(facts: &Facts, hostname: &str) -> BTreeMap<String, String> {
    let release = os_release(&facts.os_release);
    let os = |key: &str| release.get(key).cloned().unwrap_or_default();
    let debian = trimmed(&facts.debian_version);
    let numbered = debian.starts_with(|c: char| c.is_ascii_digit());
    let os_version = if os("ID") == "debian" && numbered { debian } else { os("VERSION_ID") };
    let machine = if facts.machine.is_empty() { std::env::consts::ARCH } else { &facts.machine };
    let mut out = BTreeMap::new();
    for (key, value) in [
        ("kernel.name", "linux".to_owned()),
        ("kernel.arch", machine.to_owned()),
        ("kernel.version", trimmed(&facts.kernel_release)),
        ("cpu.arch", go_arch(machine).to_owned()),
        ("os.name", os("ID")),
        ("os.version", os_version),
        ("os.signals", SIGNALS.to_owned()),
        ("os.cgroups.version", if facts.cgroup_v2 { "2" } else { "1" }.to_owned()),
        ("unique.hostname", hostname.to_owned()),
        ("nomad.version", API_VERSION.to_owned()),
        ("nomad.service_discovery", "true".to_owned()),
        ("nomad.bridge.hairpin_mode", "false".to_owned()),
        ("vardo.version", env!("CARGO_PKG_VERSION").to_owned()),
    ] {
        if !value.is_empty() {
            out.insert(key.to_owned(), value);
        }
    }
    out
}

/// The cores with their speeds; at least one, none of speed zero.
fn cores(facts: &Facts) -> Vec<NumaCore> {
    let cpuinfo = String::from_utf8_lossy(&facts.cpuinfo);
    let mut listed = parse_list(&facts.cpus_online);
    if listed.is_empty() {
        let values = cpu_fields(&cpuinfo, "processor");
        listed = values.filter_map(|v| v.parse().ok()).collect();
    }
    if listed.is_empty() {
        listed.push(0);
    }
    let seen = cpu_fields(&cpuinfo, "cpu MHz").filter_map(|v| v.parse::<f64>().ok());
    let seen = seen.fold(0.0f64, f64::max);
    // Within the range of i64: no processor reaches 10^9 MHz.
    let seen = seen.clamp(0.0, 1e9) as i64;
    let speed = |raw: &[u8]| trimmed(raw).parse::<i64>().unwrap_or(0).max(0) / 1000;
    listed
        .iter()
        .map(|id| {
            let speeds = facts.core_speeds.iter().find(|(core, ..)| core == id);
            let (base, max) = speeds.map_or((0, 0), |(_, base, max)| (speed(base), speed(max)));
            let guess = if base == 0 && max == 0 && seen == 0 { GUESS_MHZ } else { 0 };
            let node = facts.numa_nodes.iter().find(|(_, cpus)| parse_list(cpus).contains(id));
            let socket = facts.core_sockets.iter().find(|(core, _)| core == id);
            NumaCore {
                base_speed: if base == 0 { seen } else { base },
                disable: false,
                grade: true,
                guess_speed: guess,
                id: *id,
                max_speed: max,
                node_id: node.map_or(0, |(n, _)| *n),
                socket_id: socket.and_then(|(_, s)| trimmed(s).parse().ok()).unwrap_or(0),
            }
        })
        .collect()
}

fn processors(
    facts: &Facts,
    settings: &Settings,
    cores: &[NumaCore],
    attributes: &mut BTreeMap<String, String>,
) -> (NodeProcessorResources, LegacyNodeCpuResources) {
    let speed =
        |c: &NumaCore| [c.base_speed, c.max_speed, c.guess_speed].into_iter().find(|s| *s > 0);
    let speeds: Vec<i64> = cores.iter().map(|c| speed(c).unwrap_or(GUESS_MHZ)).collect();
    let fastest = speeds.iter().copied().max().unwrap_or(GUESS_MHZ);
    let sum: i64 = speeds.iter().sum();
    let total = if settings.cpu_total_compute > 0 { settings.cpu_total_compute } else { sum };
    let kept = settings.reserved.cpu.cpu_shares.clamp(0, total);
    let count = i64::try_from(cores.len()).unwrap_or(i64::MAX);
    let model = {
        let cpuinfo = String::from_utf8_lossy(&facts.cpuinfo);
        let mut names = ["model name", "Hardware", "Processor", "Model"].into_iter();
        names.find_map(|n| cpu_fields(&cpuinfo, n).next().map(str::to_owned)).unwrap_or_default()
    };
    let mut nodes: Vec<i64> = facts.numa_nodes.iter().map(|(n, _)| *n).collect();
    if nodes.is_empty() {
        nodes.push(0);
    }
    for (key, value) in [
        ("cpu.frequency", fastest.to_string()),
        ("cpu.modelname", model),
        ("cpu.numcores", count.to_string()),
        ("cpu.reservablecores", count.to_string()),
        ("cpu.totalcompute", total.to_string()),
        ("cpu.usablecompute", (total - kept).to_string()),
        ("numa.node.count", nodes.len().to_string()),
    ] {
        if !value.is_empty() {
            attributes.insert(key.to_owned(), value);
        }
    }
    for node in &nodes {
        let own: Vec<i64> = cores.iter().filter(|c| c.node_id == *node).map(|c| c.id).collect();
        attributes.insert(format!("numa.node{node}.cores"), core_list(&own));
    }
    let topology = NumaTopology {
        cores: cores.to_vec().into(),
        distances: List::default(),
        nodes: nodes.into(),
        override_total_compute: settings.cpu_total_compute.max(0),
        override_withold_compute: kept,
    };
    let legacy = LegacyNodeCpuResources {
        cpu_shares: total,
        reservable_cpu_cores: cores.iter().map(|c| c.id).collect(),
        total_cpu_cores: count,
    };
    (NodeProcessorResources { topology: Some(topology) }, legacy)
}

fn memory_bytes(facts: &Facts, settings: &Settings) -> u64 {
    match u64::try_from(settings.memory_total_mb) {
        Ok(mb) if mb > 0 => mb << 20,
        _ => match field(&facts.meminfo, "MemTotal:") * 1024 {
            0 => GUESS_MEMORY_BYTES,
            bytes => bytes,
        },
    }
}

fn disk(facts: &Facts, settings: &Settings, attributes: &mut BTreeMap<String, String>) -> i64 {
    let bytes = if facts.disk.size == 0 { GUESS_DISK_BYTES } else { facts.disk.size };
    attributes.insert("unique.storage.bytestotal".to_owned(), bytes.to_string());
    if !facts.disk.device.is_empty() {
        attributes.insert("unique.storage.volume".to_owned(), facts.disk.device.clone());
    }
    if settings.disk_total_mb > 0 {
        settings.disk_total_mb
    } else {
        i64::try_from(bytes >> 20).unwrap_or(i64::MAX).max(1)
    }
}

fn drivers(
    settings: &Settings,
    wall_ns: i64,
    attributes: &mut BTreeMap<String, String>,
) -> BTreeMap<String, DriverInfo> {
    let mut out = BTreeMap::new();
    for (name, on) in [(driver::RAW_EXEC, settings.raw_exec), (driver::MOCK, settings.mock_driver)]
    {
        let key = format!("driver.{name}");
        let mut info = DriverInfo { update_time: Time(wall_ns), ..DriverInfo::default() };
        if on {
            attributes.insert(key.clone(), "1".to_owned());
            info.attributes.insert(key, "true".to_owned());
            info.detected = true;
            info.healthy = true;
            "Healthy".clone_into(&mut info.health_description);
        } else if name == driver::RAW_EXEC {
            "disabled".clone_into(&mut info.health_description);
        } else {
            continue;
        }
        out.insert(name.to_owned(), info);
    }
    out
}

/// The interface that tasks are reached by, and its first address.
fn network(facts: &Facts, settings: &Settings) -> (NodeNetworkResource, String) {
    let wanted = if settings.network_interface.is_empty() {
        default_route(&facts.routes)
    } else {
        settings.network_interface.clone()
    };
    let found = facts
        .interfaces
        .iter()
        .find(|i| i.name == wanted)
        .or_else(|| facts.interfaces.iter().find(|i| i.name != "lo" && !i.addresses.is_empty()))
        .or_else(|| facts.interfaces.first())
        .cloned()
        .unwrap_or_else(|| Interface {
            name: "lo".to_owned(),
            addresses: vec!["127.0.0.1".to_owned()],
            ..Interface::default()
        });
    let is_local = |a: &str| a.starts_with("fe80:") || a.starts_with("169.254.");
    let mut addresses: Vec<&String> = found.addresses.iter().filter(|a| !is_local(a)).collect();
    if addresses.is_empty() {
        addresses = found.addresses.iter().collect();
    }
    sort::by_key(&mut addresses, |a| a.contains(':'));
    let first = addresses.first().map_or_else(|| "127.0.0.1".to_owned(), |a| (*a).clone());
    let speed = [settings.network_speed, found.speed].into_iter().find(|s| *s > 0);
    let described = addresses.iter().map(|a| NodeNetworkAddress {
        address: (*a).clone(),
        alias: "default".to_owned(),
        family: if a.contains(':') { "ipv6" } else { "ipv4" }.to_owned(),
        gateway: String::new(),
        reserved_ports: settings.reserved.networks.reserved_host_ports.clone(),
    });
    let network = NodeNetworkResource {
        addresses: described.collect(),
        device: found.name,
        mac_address: found.mac,
        mode: "host".to_owned(),
        speed: speed.unwrap_or(GUESS_MBITS),
    };
    (network, first)
}

fn legacy_networks(network: &NodeNetworkResource) -> List<NetworkResource> {
    let one = |a: &NodeNetworkAddress| NetworkResource {
        cidr: format!("{}/{}", a.address, if a.family == "ipv6" { 128 } else { 32 }),
        device: network.device.clone(),
        ip: a.address.clone(),
        mbits: network.speed,
        mode: network.mode.clone(),
        ..NetworkResource::default()
    };
    network.addresses.iter().map(one).collect()
}

/// Interface of the route to `0.0.0.0/0`; empty where there is none.
fn default_route(routes: &[u8]) -> String {
    let text = String::from_utf8_lossy(routes);
    let found = text.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (name, target) = (fields.next()?, fields.next()?);
        (target == "00000000").then(|| name.to_owned())
    });
    found.unwrap_or_default()
}

/// `KEY=value` lines, values with or without quotes.
fn os_release(raw: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(raw);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    sort::gather(pairs.map(|(k, v)| (k.to_owned(), v.trim().trim_matches(['"', '\'']).to_owned())))
}

/// Values of one field of `/proc/cpuinfo`, in order.
fn cpu_fields<'a>(cpuinfo: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    cpuinfo.lines().filter_map(move |line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

/// `0-3,8` → 0, 1, 2, 3, 8; at most 4,096 cores.
fn parse_list(raw: &[u8]) -> Vec<i64> {
    let text = trimmed(raw);
    let mut out = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            out.extend((first..=last).take(CORES_MAX.saturating_sub(out.len())));
        }
    }
    out
}

fn trimmed(raw: &[u8]) -> String {
    String::from_utf8_lossy(raw).trim().to_owned()
}

/// Names of architectures as job files use them in constraints.
fn go_arch(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" | "armv8l" => "arm64",
        "i386" | "i486" | "i586" | "i686" | "x86" => "386",
        "armv5tel" | "armv6l" | "armv7l" => "arm",
        "loongarch64" => "loong64",
        "mipsel" => "mipsle",
        _ => machine,
    }
}

/// Signals that tasks may be sent.
const SIGNALS: &str = "SIGUSR1,SIGUSR2,SIGALRM,SIGPIPE,SIGSEGV,SIGSYS,SIGWINCH,SIGXCPU,SIGNULL,\
                       SIGABRT,SIGFPE,SIGKILL,SIGQUIT,SIGSTOP,SIGTTOU,SIGXFSZ,SIGCONT,SIGINT,\
                       SIGIO,SIGPROF,SIGTERM,SIGTSTP,SIGBUS,SIGHUP,SIGILL,SIGIOT,SIGTRAP,SIGTTIN";
/// Guesses for what cannot be read.
const GUESS_MHZ: i64 = 1_000;
const GUESS_MBITS: i64 = 1_000;
const GUESS_MEMORY_BYTES: u64 = 512 << 20;
const GUESS_DISK_BYTES: u64 = 1 << 30;
/// Cores listed at most: a broken list must not fill memory.
const CORES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            cpuinfo: b"processor\t: 0\nmodel name\t: Example CPU\ncpu MHz\t\t: 2596.990\n\n\
                       processor\t: 1\nmodel name\t: Example CPU\ncpu MHz\t\t: 2596.990\n"
                .to_vec(),
            meminfo: b"MemTotal:       24684092 kB\nMemFree: 1 kB\n".to_vec(),
            os_release: b"PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n".to_vec(),
            debian_version: b"12.11\n".to_vec(),
            kernel_release: b"6.1.0\n".to_vec(),
            hostname: b"vm\n".to_vec(),
            machine: "x86_64".to_owned(),
            cpus_online: b"0-1\n".to_vec(),
            numa_nodes: vec![(0, b"0-1\n".to_vec())],
            disk: DiskFacts {
                device: "/dev/sda1".to_owned(),
                size: 270_553_174_016,
                ..DiskFacts::default()
            },
            routes: b"Iface\tDestination\tGateway\neth0\t00000000\t0100A8C0\n".to_vec(),
            interfaces: vec![
                Interface {
                    name: "lo".to_owned(),
                    addresses: vec!["::1".to_owned(), "127.0.0.1".to_owned()],
                    ..Interface::default()
                },
                Interface {
                    name: "eth0".to_owned(),
                    mac: "02:00:00:00:00:01".to_owned(),
                    speed: 10_000,
                    addresses: vec!["fe80::1".to_owned(), "192.168.0.7".to_owned()],
                },
            ],
            ..Facts::default()
        }
    }

    #[test]
    fn a_machine_like_the_recorded_one() {
        let settings = Settings {
            network_interface: "lo".to_owned(),
            http_addr: "127.0.0.1:51775".to_owned(),
            raw_exec: true,
            mock_driver: true,
            ..Settings::default()
        };
        let n = node(&facts(), &settings, 5);
        for (key, value) in [
            ("cpu.arch", "amd64"),
            ("cpu.frequency", "2596"),
            ("cpu.modelname", "Example CPU"),
            ("cpu.numcores", "2"),
            ("cpu.reservablecores", "2"),
            ("cpu.totalcompute", "5192"),
            ("cpu.usablecompute", "5192"),
            ("driver.mock_driver", "1"),
            ("driver.raw_exec", "1"),
            ("kernel.arch", "x86_64"),
            ("kernel.name", "linux"),
            ("kernel.version", "6.1.0"),
            ("memory.totalbytes", "25276510208"),
            ("nomad.service_discovery", "true"),
            ("nomad.version", "2.0.5"),
            ("numa.node.count", "1"),
            ("numa.node0.cores", "0-1"),
            ("os.cgroups.version", "1"),
            ("os.name", "debian"),
            ("os.version", "12.11"),
            ("unique.advertise.address", "127.0.0.1:51775"),
            ("unique.hostname", "vm"),
            ("unique.network.ip-address", "127.0.0.1"),
            ("unique.storage.bytestotal", "270553174016"),
            ("unique.storage.volume", "/dev/sda1"),
        ] {
            assert_eq!(n.attributes.get(key).map(String::as_str), Some(value), "{key}");
        }
        let r = n.node_resources.as_ref().unwrap();
        assert_eq!((r.cpu.cpu_shares, r.cpu.total_cpu_cores), (5192, 2));
        assert_eq!((r.memory.memory_mb, r.disk.disk_mb), (24_105, 258_019));
        assert_eq!((r.min_dynamic_port, r.max_dynamic_port), (20_000, 32_000));
        let network = &r.networks[0];
        assert_eq!((network.cidr.as_str(), network.device.as_str()), ("127.0.0.1/32", "lo"));
        assert_eq!(r.networks[1].cidr, "::1/128");
        assert_eq!(r.node_networks[0].speed, 1000);
        assert_eq!(r.processors.topology.as_ref().unwrap().cores[1].base_speed, 2596);
        assert_eq!(n.drivers.get("raw_exec").unwrap().health_description, "Healthy");
        assert_eq!((n.name.as_str(), n.datacenter.as_str()), ("vm", "dc1"));
    }

    #[test]
    fn the_default_route_chooses_the_interface() {
        let n = node(&facts(), &Settings::default(), 0);
        let r = n.node_resources.unwrap();
        assert_eq!(r.node_networks[0].device, "eth0");
        assert_eq!(r.node_networks[0].speed, 10_000);
        // The address of the link itself is of no use to others.
        let addresses: Vec<&str> = r.networks.iter().map(|n| n.ip.as_str()).collect();
        assert_eq!(addresses, ["192.168.0.7"]);
    }

    #[test]
    fn nothing_readable_is_neither_fatal_nor_zero() {
        let n = node(&Facts::default(), &Settings::default(), 0);
        let r = n.node_resources.unwrap();
        assert!(r.cpu.cpu_shares > 0);
        assert!(r.memory.memory_mb > 0);
        assert!(r.disk.disk_mb > 0);
        assert_eq!(r.node_networks[0].device, "lo");
        assert_eq!(n.name, "localhost");
    }

    #[test]
    fn a_board_without_frequencies() {
        let mut f = facts();
        f.cpuinfo = b"processor\t: 0\nBogoMIPS\t: 108.00\n\nHardware\t: BCM2711\n".to_vec();
        f.cpus_online = b"0-3\n".to_vec();
        f.machine = "aarch64".to_owned();
        f.core_speeds = (0..4).map(|i| (i, Vec::new(), b"1800000\n".to_vec())).collect();
        let n = node(&f, &Settings::default(), 0);
        assert_eq!(n.attributes.get("cpu.totalcompute").map(String::as_str), Some("7200"));
        assert_eq!(n.attributes.get("cpu.modelname").map(String::as_str), Some("BCM2711"));
        assert_eq!(n.attributes.get("cpu.arch").map(String::as_str), Some("arm64"));
    }

    #[test]
    fn classes_ignore_what_is_unique() {
        let a = node(&facts(), &Settings::default(), 0);
        let mut b = a.clone();
        b.attributes.insert("unique.hostname".to_owned(), "other".to_owned());
        b.id = "other".to_owned();
        assert_eq!(computed_class(&a), computed_class(&b));
        assert!(a.computed_class.starts_with("v1:"));
        b.meta.insert("rack".to_owned(), "r2".to_owned());
        assert_ne!(computed_class(&a), computed_class(&b));
    }

    #[test]
    fn lists_of_cores() {
        for (text, want) in
            [("0-3,8", &[0, 1, 2, 3, 8][..]), ("", &[]), ("x", &[]), ("3-1", &[]), ("5\n", &[5])]
        {
            assert_eq!(parse_list(text.as_bytes()), want, "{text}");
        }
        assert_eq!(parse_list(b"0-99999999").len(), CORES_MAX);
    }
}
