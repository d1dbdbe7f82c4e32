//! Use of resources: the machine's and the tasks' figures in the shapes of the API.

use serde::Serialize;

use crate::api::AllocatedTaskResources;
use crate::client::exec_proto::Usage;
use crate::stdx::json::encode;
use crate::stdx::{BTreeMap, sort};

/// The machine's state, as raw bytes of the files it is read from. What could not be read is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    /// `/proc/stat`
    pub stat: Vec<u8>,
    /// `/proc/meminfo`
    pub meminfo: Vec<u8>,
    /// `/proc/uptime`
    pub uptime: Vec<u8>,
    /// Every file system of note, the root first.
    pub disks: Vec<DiskFacts>,
    /// The file system that holds the allocation directories; device and mount point are not shown.
    pub alloc_disk: DiskFacts,
}

/// One file system, as `statvfs` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskFacts {
    pub device: String,
    pub mountpoint: String,
    /// Bytes.
    pub size: u64,
    /// Bytes free, with what is kept for root.
    pub free: u64,
    /// Bytes free for everyone.
    pub available: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

/// A figure of the machine: its name, the label that tells it from others of the name, its value.
pub type HostFigure = (&'static str, Option<(&'static str, String)>, f64);

/// Counters of the processors at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct HostSample {
    cores: Vec<CoreTimes>,
}

/// Clock ticks since the machine's start.
#[derive(Clone, Debug, Default, PartialEq)]
struct CoreTimes {
    name: String,
    user: u64,
    system: u64,
    idle: u64,
    /// All of them, with waiting, interrupts and what was stolen.
    total: u64,
}

/// One task's answer to a question for its use.
#[derive(Clone, Debug)]
pub(crate) struct TaskSample {
    pub(crate) task: String,
    pub(crate) usage: Usage,
    /// The sample before it; rates are zero without one.
    pub(crate) before: Option<Usage>,
}

impl HostSample {
    pub(crate) fn read(facts: &HostFacts) -> Self {
        let text = String::from_utf8_lossy(&facts.stat);
        let cores = text.lines().filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let name = fields.next()?;
            let numbered = name.strip_prefix("cpu")?.bytes().next()?.is_ascii_digit();
            // user nice system idle iowait irq softirq steal; guest times are in user already.
            let n: Vec<u64> = fields.take(8).map_while(|f| f.parse().ok()).collect();
            let at = |i: usize| n.get(i).copied().unwrap_or(0);
            numbered.then(|| CoreTimes {
                name: name.to_owned(),
                user: at(0) + at(1),
                system: at(2),
                idle: at(3) + at(4),
                total: n.iter().sum(),
            })
        });
        Self { cores: cores.collect() }
    }
}

/// Body of `/v1/client/stats`. Without an earlier sample the rates are those since the machine's
/// start. `mhz`: speed of one core.
pub(crate) fn host_stats(
    facts: &HostFacts,
    sample: &HostSample,
    before: Option<&HostSample>,
    mhz: f64,
    wall_ns: i64,
) -> Vec<u8> {
    encode(&host(facts, sample, before, mhz, wall_ns))
}

/// The same as metrics.
pub(crate) fn host_figures(
    facts: &HostFacts,
    sample: &HostSample,
    before: Option<&HostSample>,
    mhz: f64,
    wall_ns: i64,
) -> Vec<HostFigure> {
    let host = host(facts, sample, before, mhz, wall_ns);
    let mut out = vec![
        ("nomad.client.uptime", None, host.uptime as f64),
        ("nomad.client.host.memory.total", None, host.memory.total as f64),
        ("nomad.client.host.memory.available", None, host.memory.available as f64),
        ("nomad.client.host.memory.used", None, host.memory.used as f64),
        ("nomad.client.host.memory.free", None, host.memory.free as f64),
    ];
    for core in &host.cpu {
        for (name, value) in [
            ("nomad.client.host.cpu.idle", core.idle),
            ("nomad.client.host.cpu.system", core.system),
            ("nomad.client.host.cpu.total", core.total_percent),
            ("nomad.client.host.cpu.total_percent", core.total_percent),
            ("nomad.client.host.cpu.total_ticks", core.total_ticks),
            ("nomad.client.host.cpu.user", core.user),
        ] {
            out.push((name, Some(("cpu", core.cpu.to_owned())), value));
        }
    }
    for disk in &host.disk_stats {
        for (name, value) in [
            ("nomad.client.host.disk.available", disk.available as f64),
            ("nomad.client.host.disk.inodes_percent", disk.inodes_used_percent),
            ("nomad.client.host.disk.size", disk.size as f64),
            ("nomad.client.host.disk.used", disk.used as f64),
            ("nomad.client.host.disk.used_percent", disk.used_percent),
        ] {
            out.push((name, Some(("disk", disk.device.to_owned())), value));
        }
    }
    out
}

/// What a task was given and what it uses, as metrics; rates are zero without an earlier sample.
pub(crate) fn task_figures(
    given: Option<&AllocatedTaskResources>,
    used: Option<&Usage>,
    before: Option<&Usage>,
    mhz: f64,
) -> Vec<(&'static str, f64)> {
    let mut out = Vec::new();
    if let Some(given) = given {
        let memory = (given.memory.memory_mb << 20) as f64;
        out.push(("nomad.client.allocs.cpu.allocated", given.cpu.cpu_shares as f64));
        out.push(("nomad.client.allocs.memory.allocated", memory));
    }
    if let Some(used) = used {
        let now = (used.user_ns, used.system_ns);
        let span = before.map_or(0, |b| used.at_ns.saturating_sub(b.at_ns));
        let old = before.map_or(now, |b| (b.user_ns, b.system_ns));
        let r = resources(now, old, span, (used.rss_bytes, used.swap_bytes), mhz);
        out.extend([
            ("nomad.client.allocs.cpu.system", r.cpu_stats.system_mode),
            ("nomad.client.allocs.cpu.total_percent", r.cpu_stats.percent),
            ("nomad.client.allocs.cpu.total_ticks", r.cpu_stats.total_ticks),
            ("nomad.client.allocs.cpu.user", r.cpu_stats.user_mode),
            ("nomad.client.allocs.memory.rss", r.memory_stats.rss as f64),
            ("nomad.client.allocs.memory.swap", r.memory_stats.swap as f64),
        ]);
    }
    out
}

fn host<'a>(
    facts: &'a HostFacts,
    sample: &'a HostSample,
    before: Option<&HostSample>,
    mhz: f64,
    wall_ns: i64,
) -> HostBody<'a> {
    let zero = CoreTimes::default();
    let cpu: Vec<CoreBody<'_>> = sample
        .cores
        .iter()
        .map(|core| {
            let old = before.and_then(|b| b.cores.iter().find(|c| c.name == core.name));
            core_body(core, old.unwrap_or(&zero), mhz)
        })
        .collect();
    let memory = |name: &str| field(&facts.meminfo, name) * 1024;
    let (total, free) = (memory("MemTotal:"), memory("MemFree:"));
    let cached = memory("Buffers:") + memory("Cached:") + memory("SReclaimable:");
    let uptime = String::from_utf8_lossy(&facts.uptime);
    let uptime = uptime.split('.').next().and_then(|t| t.trim().parse().ok()).unwrap_or(0);
    HostBody {
        alloc_dir_stats: disk_body(&facts.alloc_disk),
        cpu_ticks_consumed: cpu.iter().map(|c| c.total_ticks).sum(),
        cpu,
        device_stats: None,
        disk_stats: facts.disks.iter().map(disk_body).collect(),
        memory: MemoryBody {
            available: memory("MemAvailable:"),
            free,
            total,
            used: total.saturating_sub(free).saturating_sub(cached),
        },
        timestamp: wall_ns,
        uptime,
    }
}

/// Body of `/v1/client/allocation/:id/stats`.
pub(crate) fn alloc_stats(samples: &[TaskSample], mhz: f64) -> Vec<u8> {
    let mut sum = Resources { device_stats: Some([]), ..Resources::default() };
    let mut tasks = BTreeMap::new();
    let mut latest = 0;
    for sample in samples {
        let (usage, before) = (&sample.usage, sample.before.as_ref());
        let span = before.map_or(0, |b| usage.at_ns.saturating_sub(b.at_ns));
        let old = before.map_or((usage.user_ns, usage.system_ns), |b| (b.user_ns, b.system_ns));
        let own = resources(
            (usage.user_ns, usage.system_ns),
            old,
            span,
            (usage.rss_bytes, usage.swap_bytes),
            mhz,
        );
        let pids = usage.procs.iter().map(|p| {
            let now = (p.user_ns, p.system_ns);
            let old = before
                .and_then(|b| b.procs.iter().find(|o| o.pid == p.pid))
                .map_or(now, |o| (o.user_ns, o.system_ns));
            (p.pid.to_string(), resources(now, old, span, (p.rss_bytes, p.swap_bytes), mhz))
        });
        let pids: BTreeMap<String, Resources> = sort::gather(pids);
        sum.add(&own);
        latest = latest.max(usage.at_ns);
        let body = TaskBody {
            pids: Some(pids).filter(|p| !p.is_empty()),
            resource_usage: own,
            timestamp: usage.at_ns,
        };
        tasks.insert(sample.task.as_str(), body);
    }
    encode(&AllocBody { resource_usage: sum, tasks, timestamp: latest })
}

/// `now` and `old`: user and system nanoseconds; `span`: nanoseconds between them.
fn resources(
    now: (u64, u64),
    old: (u64, u64),
    span: i64,
    memory: (u64, u64),
    mhz: f64,
) -> Resources {
    let rate = |new: u64, old: u64| {
        if span > 0 { new.saturating_sub(old) as f64 / span as f64 * 100.0 } else { 0.0 }
    };
    let (user, system) = (rate(now.0, old.0), rate(now.1, old.1));
    Resources {
        cpu_stats: Cpu {
            measured: Some(["System Mode", "User Mode", "Percent"]),
            percent: user + system,
            system_mode: system,
            total_ticks: (user + system) / 100.0 * mhz,
            user_mode: user,
            ..Cpu::default()
        },
        device_stats: None,
        memory_stats: Memory {
            measured: Some(["RSS", "Swap"]),
            rss: memory.0,
            swap: memory.1,
            ..Memory::default()
        },
    }
}

fn core_body<'a>(core: &'a CoreTimes, old: &CoreTimes, mhz: f64) -> CoreBody<'a> {
    let total = core.total.saturating_sub(old.total).max(1) as f64;
    let share = |new: u64, old: u64| new.saturating_sub(old) as f64 / total * 100.0;
    let idle = share(core.idle, old.idle);
    let spent = core.total.saturating_sub(core.idle);
    let busy = share(spent, old.total.saturating_sub(old.idle));
    CoreBody {
        cpu: &core.name,
        idle,
        system: share(core.system, old.system),
        total_percent: busy,
        total_ticks: busy / 100.0 * mhz,
        user: share(core.user, old.user),
    }
}

fn disk_body(disk: &DiskFacts) -> DiskBody<'_> {
    let percent = |part: u64, whole: u64| {
        if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
    };
    let used = disk.size.saturating_sub(disk.free);
    DiskBody {
        available: disk.available,
        device: &disk.device,
        inodes_used_percent: percent(disk.inodes.saturating_sub(disk.inodes_free), disk.inodes),
        mountpoint: &disk.mountpoint,
        size: disk.size,
        used,
        used_percent: percent(used, used + disk.available),
    }
}

/// A number of `/proc/meminfo`, in its unit (KiB).
pub(crate) fn field(meminfo: &[u8], name: &str) -> u64 {
    let text = String::from_utf8_lossy(meminfo);
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostBody<'a> {
    alloc_dir_stats: DiskBody<'a>,
    #[serde(rename = "CPU")]
    cpu: Vec<CoreBody<'a>>,
    #[serde(rename = "CPUTicksConsumed")]
    cpu_ticks_consumed: f64,
    device_stats: Option<[(); 0]>,
    disk_stats: Vec<DiskBody<'a>>,
    memory: MemoryBody,
    timestamp: i64,
    uptime: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CoreBody<'a> {
    #[serde(rename = "CPU")]
    cpu: &'a str,
    idle: f64,
    system: f64,
    total_percent: f64,
    total_ticks: f64,
    user: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DiskBody<'a> {
    available: u64,
    device: &'a str,
    inodes_used_percent: f64,
    mountpoint: &'a str,
    size: u64,
    used: u64,
    used_percent: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MemoryBody {
    available: u64,
    free: u64,
    total: u64,
    used: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AllocBody<'a> {
    resource_usage: Resources,
    tasks: BTreeMap<&'a str, TaskBody>,
    timestamp: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TaskBody {
    pids: Option<BTreeMap<String, Resources>>,
    resource_usage: Resources,
    timestamp: i64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Resources {
    cpu_stats: Cpu,
    /// `[]` for the allocation, `null` below it.
    device_stats: Option<[(); 0]>,
    memory_stats: Memory,
}

impl Resources {
    fn add(&mut self, other: &Self) {
        self.cpu_stats.measured = other.cpu_stats.measured;
        self.cpu_stats.percent += other.cpu_stats.percent;
        self.cpu_stats.system_mode += other.cpu_stats.system_mode;
        self.cpu_stats.total_ticks += other.cpu_stats.total_ticks;
        self.cpu_stats.user_mode += other.cpu_stats.user_mode;
        self.memory_stats.measured = other.memory_stats.measured;
        self.memory_stats.rss += other.memory_stats.rss;
        self.memory_stats.swap += other.memory_stats.swap;
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Cpu {
    measured: Option<[&'static str; 3]>,
    percent: f64,
    system_mode: f64,
    throttled_periods: u64,
    throttled_time: u64,
    total_ticks: f64,
    user_mode: f64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Memory {
    cache: u64,
    kernel_max_usage: u64,
    kernel_usage: u64,
    mapped_file: u64,
    max_usage: u64,
    measured: Option<[&'static str; 2]>,
    #[serde(rename = "RSS")]
    rss: u64,
    swap: u64,
    usage: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::exec_proto::ProcUsage;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn nothing_sampled_is_zero() {
        assert_eq!(
            text(alloc_stats(&[], 2596.0)),
            concat!(
                r#"{"ResourceUsage":{"CpuStats":{"Measured":null,"Percent":0.0,"#,
                r#""SystemMode":0.0,"ThrottledPeriods":0,"ThrottledTime":0,"TotalTicks":0.0,"#,
                r#""UserMode":0.0},"DeviceStats":[],"MemoryStats":{"Cache":0,"#,
                r#""KernelMaxUsage":0,"KernelUsage":0,"MappedFile":0,"MaxUsage":0,"#,
                r#""Measured":null,"RSS":0,"Swap":0,"Usage":0}},"Tasks":{},"Timestamp":0}"#
            )
        );
    }

    #[test]
    fn rates_need_two_samples() {
        let at = |at_ns, user_ns| Usage {
            at_ns,
            user_ns,
            system_ns: 0,
            rss_bytes: 139_264,
            swap_bytes: 0,
            procs: vec![ProcUsage { pid: 7, user_ns, ..ProcUsage::default() }],
        };
        let sample = |before| TaskSample {
            task: "web".to_owned(),
            usage: at(2_000_000_000, 1_000_000_000),
            before,
        };
        let first: serde_json::Value =
            serde_json::from_slice(&alloc_stats(&[sample(None)], 1000.0)).unwrap();
        assert_eq!(first["Tasks"]["web"]["ResourceUsage"]["CpuStats"]["Percent"], 0.0);
        assert_eq!(first["ResourceUsage"]["MemoryStats"]["RSS"], 139_264);
        assert_eq!(first["Timestamp"], 2_000_000_000);
        let before = at(1_000_000_000, 500_000_000);
        let second: serde_json::Value =
            serde_json::from_slice(&alloc_stats(&[sample(Some(before))], 1000.0)).unwrap();
        let cpu = &second["Tasks"]["web"]["Pids"]["7"]["CpuStats"];
        assert_eq!((&cpu["Percent"], &cpu["TotalTicks"]), (&50.0.into(), &500.0.into()));
        assert_eq!(second["ResourceUsage"]["CpuStats"]["UserMode"], 50.0);
    }

    #[test]
    fn the_machine() {
        let facts = HostFacts {
            stat: b"cpu  1 1 1 1\ncpu0 10 0 10 80 0 0 0 0 0 0\ncpu1 0 0 0 100\nintr 5\n".to_vec(),
            meminfo: b"MemTotal: 1000 kB\nMemFree: 400 kB\nMemAvailable: 700 kB\nBuffers: 50 kB\n\
                       Cached: 150 kB\n"
                .to_vec(),
            uptime: b"5204.37 9000.0\n".to_vec(),
            disks: vec![DiskFacts {
                device: "/dev/sda1".to_owned(),
                mountpoint: "/".to_owned(),
                size: 270_553_174_016,
                free: 245_292_527_616,
                available: 72_532_647_936,
                inodes: 200,
                inodes_free: 150,
            }],
            alloc_disk: DiskFacts::default(),
        };
        let sample = HostSample::read(&facts);
        let body = host_stats(&facts, &sample, None, 1000.0, 7);
        let v: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(v["CPU"][0]["TotalPercent"], 20.0);
        assert_eq!(v["CPU"][1]["Idle"], 100.0);
        assert_eq!(v["CPU"].as_array().map(Vec::len), Some(2));
        assert_eq!(v["CPUTicksConsumed"], 200.0);
        assert_eq!(v["Memory"]["Used"], 400 * 1024);
        assert_eq!(v["Uptime"], 5204);
        assert_eq!(v["DiskStats"][0]["UsedPercent"], 25.830_652_880_154_55);
        assert_eq!(v["DiskStats"][0]["InodesUsedPercent"], 25.0);
        assert_eq!(v["AllocDirStats"]["UsedPercent"], 0.0);
        assert!(v["DeviceStats"].is_null());
        // Nothing readable is no reason to fail.
        let none = HostFacts::default();
        let body = host_stats(&none, &HostSample::read(&none), None, 0.0, 0);
        assert!(text(body).contains("\"CPU\":[]"));
    }
}
