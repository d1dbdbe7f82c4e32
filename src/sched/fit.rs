//! Whether allocations fit on a node together. The scheduler proposes with it and the store checks
//! every plan again with it, so it depends on neither.

use crate::api::{AllocatedResources, Allocation, Node, NodeResources, status};
use crate::stdx::BTreeSet;

use super::ports::PortBook;

/// What a node has for allocations: all of it without what the operator keeps back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capacity {
    /// MHz over all cores.
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    /// MiB.
    pub disk: i64,
    /// MHz of one core, which a reserved core counts for.
    pub core_mhz: i64,
    /// Most allocations at a time; zero: no limit.
    pub allocs: i64,
}

/// Sums over allocations, in the units of [`Capacity`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: i64,
    pub memory: i64,
    pub disk: i64,
    /// Number of allocations.
    pub allocs: i64,
}

impl Usage {
    pub fn add(&mut self, other: &Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
        self.disk = self.disk.saturating_add(other.disk);
        self.allocs += other.allocs;
    }

    pub fn sub(&mut self, other: &Self) {
        self.cpu = self.cpu.saturating_sub(other.cpu);
        self.memory = self.memory.saturating_sub(other.memory);
        self.disk = self.disk.saturating_sub(other.disk);
        self.allocs -= other.allocs;
    }
}

impl Capacity {
    pub fn of(node: &Node) -> Self {
        let none = NodeResources::default();
        let have = node.node_resources.as_ref().unwrap_or(&none);
        let cores = have.processors.topology.as_ref().map_or(&[][..], |t| &t.cores.0);
        let speed = |c: &crate::api::NumaCore| {
            [c.base_speed, c.guess_speed, c.max_speed].into_iter().find(|s| *s > 0).unwrap_or(0)
        };
        let usable = cores.iter().filter(|c| !c.disable);
        let total = match (have.cpu.cpu_shares, &have.processors.topology) {
            (shares, _) if shares > 0 => shares,
            (_, Some(t)) if t.override_total_compute > 0 => t.override_total_compute,
            _ => usable.clone().map(speed).sum(),
        };
        let count = match have.cpu.total_cpu_cores {
            n if n > 0 => n,
            _ => i64::try_from(usable.count()).unwrap_or(0),
        };
        let kept = node.reserved_resources.clone().unwrap_or_default();
        Self {
            cpu: total - kept.cpu.cpu_shares,
            memory: have.memory.memory_mb - kept.memory.memory_mb,
            disk: have.disk.disk_mb - kept.disk.disk_mb,
            core_mhz: if count > 0 { total / count } else { 0 },
            allocs: node.node_max_allocs,
        }
    }

    /// The first dimension in which `used` exceeds this, in the words of the API.
    pub fn exceeded(&self, used: &Usage) -> Option<&'static str> {
        if self.allocs > 0 && used.allocs > self.allocs {
            Some("max allocation exceeded")
        } else if used.cpu > self.cpu {
            Some("cpu")
        } else if used.memory > self.memory {
            Some("memory")
        } else if used.disk > self.disk {
            Some("disk")
        } else {
            None
        }
    }
}

/// Cores of a node that tasks may have to themselves, in order.
pub fn reservable_cores(node: &Node) -> Vec<i64> {
    let kept = node.reserved_resources.as_ref().map_or(&[][..], |r| &r.cpu.reserved_cpu_cores.0);
    let all = node.node_resources.as_ref().map_or(&[][..], |r| &r.cpu.reservable_cpu_cores.0);
    all.iter().copied().filter(|c| !kept.contains(c)).collect()
}

/// What an allocation needs at its worst moment. Tasks with a lifecycle do not all run at once:
/// per dimension the largest of main, poststart and prestart sidecars together; all prestart
/// tasks; all poststop tasks.
pub fn need(r: &AllocatedResources) -> Usage {
    let (mut main, mut before, mut after) = (Usage::default(), Usage::default(), Usage::default());
    for (name, task) in &r.tasks {
        let one =
            Usage { cpu: task.cpu.cpu_shares, memory: task.memory.memory_mb, ..Usage::default() };
        let lifecycle = r.task_lifecycles.get(name).and_then(Option::as_ref);
        match lifecycle.map(|l| (l.hook.as_str(), l.sidecar)) {
            Some(("prestart", sidecar)) => {
                before.add(&one);
                if sidecar {
                    main.add(&one);
                }
            }
            Some(("poststop", _)) => after.add(&one),
            _ => main.add(&one),
        }
    }
    Usage {
        cpu: main.cpu.max(before.cpu).max(after.cpu),
        memory: main.memory.max(before.memory).max(after.memory),
        disk: r.shared.disk_mb,
        allocs: 1,
    }
}

/// True where an allocation holds ports, cores or devices, of which each has one owner.
pub fn exclusive(r: &AllocatedResources) -> bool {
    !r.shared.ports.is_empty()
        || !r.shared.networks.is_empty()
        || r.tasks.values().any(|t| {
            !t.networks.is_empty() || !t.cpu.reserved_cores.is_empty() || !t.devices.is_empty()
        })
}

/// The node has ended it: it uses nothing any more.
pub fn client_terminal(a: &Allocation) -> bool {
    matches!(
        a.client_status.as_str(),
        status::CLIENT_COMPLETE | status::CLIENT_FAILED | status::CLIENT_LOST
    )
}

/// Servers want it stopped.
pub fn server_terminal(a: &Allocation) -> bool {
    matches!(a.desired_status.as_str(), status::DESIRED_STOP | status::DESIRED_EVICT)
}

/// Over for the node or for the servers.
pub fn terminal(a: &Allocation) -> bool {
    client_terminal(a) || server_terminal(a)
}

/// Whether all of `allocs` (those that stay and those proposed) fit on `node` together; those that
/// the node has ended are passed over. The error names the dimension as evaluations print it:
/// `cpu`, `memory`, `disk`, `cores`, `network: port collision`, `devices: …`,
/// `max allocation exceeded`.
pub fn fits<'a>(
    node: &Node,
    allocs: impl IntoIterator<Item = &'a Allocation>,
) -> Result<(), String> {
    let mut used = Usage::default();
    let mut cores: BTreeSet<i64> = BTreeSet::new();
    let mut devices: BTreeSet<&str> = BTreeSet::new();
    let mut ports: Option<PortBook> = None;
    let mut collision = false;
    let mut core_twice = false;
    let mut device_twice = false;
    for alloc in allocs {
        let Some(r) = alloc.allocated_resources.as_ref().filter(|_| !client_terminal(alloc)) else {
            continue;
        };
        used.add(&need(r));
        for task in r.tasks.values() {
            for core in &task.cpu.reserved_cores {
                core_twice |= !cores.insert(*core);
            }
            for id in task.devices.iter().flat_map(|d| d.device_ids.iter()) {
                device_twice |= !devices.insert(id);
            }
        }
        let has_ports = !r.shared.ports.is_empty()
            || !r.shared.networks.is_empty()
            || r.tasks.values().any(|t| !t.networks.is_empty());
        if has_ports {
            collision |= !ports.get_or_insert_with(|| PortBook::of(node)).take(r);
        }
    }
    if !cores.is_empty() {
        let have = reservable_cores(node);
        core_twice |= cores.iter().any(|c| !have.contains(c));
    }
    if core_twice {
        return Err("cores".to_owned());
    }
    if let Some(dimension) = Capacity::of(node).exceeded(&used) {
        return Err(dimension.to_owned());
    }
    if collision {
        return Err("network: port collision".to_owned());
    }
    if device_twice || devices.iter().any(|id| !has_device(node, id)) {
        return Err("devices: device oversubscribed".to_owned());
    }
    Ok(())
}

fn has_device(node: &Node, id: &str) -> bool {
    let groups = node.node_resources.as_ref().map_or(&[][..], |r| &r.devices.0);
    groups.iter().flat_map(|g| &g.instances).any(|i| i.id == id)
}
