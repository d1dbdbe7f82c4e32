//! The nodes of one evaluation as columns: facts decoded once, usage kept as the plan grows.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::api::{AllocatedResources, Allocation, Job, Node, status};

use super::View;
use super::fit::{self, Capacity, Usage};
use super::job_allows;
use super::ports::PortBook;

/// What the job's groups look at besides cpu, memory and disk; only that is read from allocations.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wants {
    pub(super) ports: bool,
    pub(super) cores: bool,
    pub(super) devices: bool,
}

/// All nodes, by position. Positions are those of [`View::nodes`].
pub(super) struct Fleet<'v> {
    view: &'v dyn View,
    nodes: Rc<[Rc<Node>]>,
    capacity: Vec<Option<Capacity>>,
    /// Computed class as a small number; equal numbers mean equal classes.
    class: Vec<u32>,
    class_names: Vec<String>,
    /// `None` until the node is first looked at.
    load: Vec<Option<Load>>,
    /// Allocations that the plan stops, on nodes that are not loaded yet.
    stopped: BTreeSet<String>,
    wants: Wants,
}

/// What runs on a node: stored allocations without those that the plan stops, and the plan's own.
pub(super) struct Load {
    pub(super) used: Usage,
    pub(super) ports: Option<Box<PortBook>>,
    /// Reserved cores in use.
    pub(super) cores: BTreeSet<i64>,
    /// Ids of device instances in use.
    pub(super) devices: BTreeSet<String>,
}

impl<'v> Fleet<'v> {
    pub(super) fn new(view: &'v dyn View, wants: Wants) -> Self {
        let nodes = view.nodes();
        assert!(nodes.is_sorted_by(|a, b| a.id < b.id), "nodes come in the order of their ids");
        let mut known: BTreeMap<&str, u32> = BTreeMap::new();
        let mut class = Vec::with_capacity(nodes.len());
        let mut last: Option<(&str, u32)> = None;
        for n in nodes.iter() {
            let name = n.computed_class.as_str();
            let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
            let at = match last {
                Some((same, at)) if same == name => at,
                _ => *known.entry(name).or_insert(next),
            };
            last = Some((name, at));
            class.push(at);
        }
        let mut class_names = vec![String::new(); known.len()];
        for (name, at) in known {
            name.clone_into(&mut class_names[at as usize]);
        }
        let load = nodes.iter().map(|_| None).collect();
        let capacity = vec![None; nodes.len()];
        Self { view, nodes, capacity, class, class_names, load, stopped: BTreeSet::new(), wants }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, at: u32) -> &Rc<Node> {
        &self.nodes[at as usize]
    }

    pub(super) fn position(&self, id: &str) -> Option<u32> {
        let at = self.nodes.binary_search_by(|n| n.id.as_str().cmp(id)).ok()?;
        u32::try_from(at).ok()
    }

    pub(super) fn class(&self, at: u32) -> usize {
        self.class[at as usize] as usize
    }

    pub(super) fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Positions of the nodes that the job may be placed on, with the number of them per
    /// datacenter and the number of nodes in the pool.
    pub(super) fn candidates(&self, job: &Job) -> (Vec<u32>, BTreeMap<String, i64>) {
        let mut out = Vec::new();
        let mut available: BTreeMap<String, i64> = BTreeMap::new();
        let mut last: Option<(&Rc<Node>, bool)> = None;
        for (at, n) in (0..).zip(self.nodes.iter()) {
            if !is_ready(n) {
                continue;
            }
            let allowed = match last {
                Some((same, ok))
                    if same.datacenter == n.datacenter && same.node_pool == n.node_pool =>
                {
                    ok
                }
                _ => job_allows(job, &n.datacenter, &n.node_pool),
            };
            last = Some((n, allowed));
            if allowed {
                out.push(at);
                match available.get_mut(&n.datacenter) {
                    Some(count) => *count += 1,
                    None => {
                        available.insert(n.datacenter.clone(), 1);
                    }
                }
            }
        }
        (out, available)
    }

    pub(super) fn capacity(&mut self, at: u32) -> &Capacity {
        let node = &self.nodes[at as usize];
        self.capacity[at as usize].get_or_insert_with(|| Capacity::of(node))
    }

    /// What runs on the node, read on first use.
    pub(super) fn load(&mut self, at: u32) -> &mut Load {
        let (view, nodes, stopped, wants) = (self.view, &self.nodes, &self.stopped, self.wants);
        self.load[at as usize].get_or_insert_with(|| {
            let node = &nodes[at as usize];
            let mut load = Load {
                used: Usage::default(),
                ports: wants.ports.then(|| Box::new(PortBook::of(node))),
                cores: BTreeSet::new(),
                devices: BTreeSet::new(),
            };
            for alloc in view.allocs_by_node(&node.id) {
                if let Some(r) = &alloc.allocated_resources
                    && !fit::client_terminal(&alloc)
                    && !stopped.contains(&alloc.id)
                {
                    load.add(r, wants);
                }
            }
            load
        })
    }

    /// The plan puts an allocation on a node.
    pub(super) fn place(&mut self, at: u32, r: &AllocatedResources) {
        let wants = self.wants;
        self.load(at).add(r, wants);
    }

    /// The plan takes an allocation from its node.
    pub(super) fn stop(&mut self, alloc: &Allocation) {
        if fit::client_terminal(alloc) {
            return;
        }
        let Some(at) = self.position(&alloc.node_id) else { return };
        match (&mut self.load[at as usize], &alloc.allocated_resources) {
            (Some(load), Some(r)) => load.remove(r),
            (Some(_), None) => {}
            (None, _) => {
                self.stopped.insert(alloc.id.clone());
            }
        }
    }

    /// Takes back [`stop`](Self::stop): no replacement was found.
    pub(super) fn keep(&mut self, alloc: &Allocation) {
        if fit::client_terminal(alloc) {
            return;
        }
        let Some(at) = self.position(&alloc.node_id) else { return };
        let wants = self.wants;
        self.stopped.remove(&alloc.id);
        if let (Some(load), Some(r)) = (&mut self.load[at as usize], &alloc.allocated_resources) {
            load.add(r, wants);
        }
    }
}

impl Load {
    fn add(&mut self, r: &AllocatedResources, wants: Wants) {
        self.used.add(&fit::need(r));
        if let Some(ports) = &mut self.ports {
            ports.take(r);
        }
        if wants.cores || wants.devices {
            for task in r.tasks.values() {
                self.cores.extend(task.cpu.reserved_cores.iter());
                let ids = task.devices.iter().flat_map(|d| d.device_ids.iter());
                self.devices.extend(ids.cloned());
            }
        }
    }

    fn remove(&mut self, r: &AllocatedResources) {
        self.used.sub(&fit::need(r));
        if let Some(ports) = &mut self.ports {
            ports.release(r);
        }
        for task in r.tasks.values() {
            for core in &task.cpu.reserved_cores {
                self.cores.remove(core);
            }
            for id in task.devices.iter().flat_map(|d| d.device_ids.iter()) {
                self.devices.remove(id);
            }
        }
    }
}

/// Takes new allocations.
pub(super) fn is_ready(n: &Node) -> bool {
    n.status == status::NODE_READY
        && n.drain_strategy.is_none()
        && n.scheduling_eligibility != status::NODE_INELIGIBLE
}
