//! The nodes as columns: facts read once, usage kept while plans come and go.
//!
//! The owner of a [`Fleet`] keeps it from one evaluation to the next; an evaluation gets a copy,
//! which costs a few bytes per node, and changes that as its plan grows.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::api::{AllocatedResources, Allocation, Job, Node, status};
use crate::stdx::{BTreeMap, BTreeSet};

use super::fit::{self, Capacity, Usage};
use super::job_allows;
use super::ports::PortBook;

/// All nodes, by position in the order of their ids, with what holds room on them.
#[derive(Clone, Default)]
pub struct Fleet {
    facts: Rc<Facts>,
    loads: Vec<Load>,
}

/// What does not change while allocations come and go.
#[derive(Default)]
struct Facts {
    nodes: Vec<Rc<Node>>,
    /// The first bytes of each id, to find a position without following pointers.
    heads: Vec<u64>,
    capacity: Vec<Capacity>,
    /// Numbers of computed class, node class, and (datacenter, pool); equal numbers, equal texts.
    class: Vec<u32>,
    kind: Vec<u32>,
    site: Vec<u32>,
    class_names: Vec<String>,
    kind_names: Vec<String>,
    sites: Vec<(String, String)>,
    /// Takes new allocations.
    ready: Vec<bool>,
    /// Ports of the node without allocations, read on first use.
    books: Vec<OnceCell<PortBook>>,
}

/// What holds room on a node.
#[derive(Clone, Default)]
pub(super) struct Load {
    pub(super) used: Usage,
    /// What has one owner each; shared with the copies of other evaluations until it changes.
    owned: Option<Rc<Owned>>,
}

#[derive(Clone)]
struct Owned {
    ports: PortBook,
    /// Reserved cores, and ids of device instances.
    cores: BTreeSet<i64>,
    devices: BTreeSet<String>,
}

/// Numbers texts in the order of their appearance.
#[derive(Default)]
struct Numbers<K>(BTreeMap<K, u32>);

impl<K: Ord + Clone + Default> Numbers<K> {
    fn of(&mut self, key: K) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(key).or_insert(next)
    }

    fn names(self) -> Vec<K> {
        let mut out = vec![K::default(); self.0.len()];
        for (name, at) in self.0 {
            out[at as usize] = name;
        }
        out
    }
}

impl Fleet {
    /// Empty nodes, which come in the order of their ids.
    pub fn of(nodes: impl IntoIterator<Item = Rc<Node>>) -> Self {
        let nodes: Vec<Rc<Node>> = nodes.into_iter().collect();
        assert!(nodes.is_sorted_by(|a, b| a.id < b.id), "nodes come in the order of their ids");
        let (mut classes, mut kinds, mut sites) =
            (Numbers::default(), Numbers::default(), Numbers::default());
        kinds.of("");
        let mut facts = Facts::default();
        for n in &nodes {
            facts.heads.push(head(&n.id));
            facts.capacity.push(Capacity::of(n));
            facts.class.push(classes.of(n.computed_class.as_str()));
            facts.kind.push(kinds.of(n.node_class.as_str()));
            facts.site.push(sites.of((n.datacenter.as_str(), n.node_pool.as_str())));
            facts.ready.push(is_ready(n));
            facts.books.push(OnceCell::new());
        }
        let texts = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        facts.class_names = texts(classes.names());
        facts.kind_names = texts(kinds.names());
        let owned = |(dc, pool): (&str, &str)| (dc.to_owned(), pool.to_owned());
        facts.sites = sites.names().into_iter().map(owned).collect();
        let loads = vec![Load::default(); nodes.len()];
        facts.nodes = nodes;
        Self { facts: Rc::new(facts), loads }
    }

    /// The same for other nodes: those that are still the same keep their load. Returns the
    /// positions of the rest, which are empty.
    pub fn renewed(&self, nodes: impl IntoIterator<Item = Rc<Node>>) -> (Self, Vec<u32>) {
        let mut next = Self::of(nodes);
        let mut fresh = Vec::new();
        for at in 0..next.len() {
            let node = next.node(at);
            match self.position(&node.id).filter(|old| Rc::ptr_eq(self.node(*old), node)) {
                Some(old) => next.loads[at as usize] = self.loads[old as usize].clone(),
                None => fresh.push(at),
            }
        }
        (next, fresh)
    }

    pub fn len(&self) -> u32 {
        u32::try_from(self.loads.len()).unwrap_or(u32::MAX)
    }

    pub fn is_empty(&self) -> bool {
        self.loads.is_empty()
    }

    pub fn node(&self, at: u32) -> &Rc<Node> {
        &self.facts.nodes[at as usize]
    }

    pub fn position(&self, id: &str) -> Option<u32> {
        let facts = &self.facts;
        let first = facts.heads.partition_point(|h| *h < head(id));
        let near = facts.nodes.get(first..)?;
        let at = match near.first() {
            Some(n) if n.id == id => first,
            _ => first + near.binary_search_by(|n| n.id.as_str().cmp(id)).ok()?,
        };
        u32::try_from(at).ok()
    }

    pub fn used(&self, at: u32) -> Usage {
        self.loads[at as usize].used
    }

    pub fn capacity(&self, at: u32) -> &Capacity {
        &self.facts.capacity[at as usize]
    }

    /// An allocation holds room on a node from now on.
    pub fn hold(&mut self, at: u32, r: &AllocatedResources) {
        let load = &mut self.loads[at as usize];
        load.used.add(&fit::need(r));
        if fit::exclusive(r) {
            let owned = owned(&self.facts, load, at);
            owned.ports.take(r);
            for task in r.tasks.values() {
                owned.cores.extend(task.cpu.reserved_cores.iter());
                let ids = task.devices.iter().flat_map(|d| d.device_ids.iter());
                owned.devices.extend(ids.cloned());
            }
        }
    }

    /// Takes back [`hold`](Self::hold).
    pub fn free(&mut self, at: u32, r: &AllocatedResources) {
        let load = &mut self.loads[at as usize];
        load.used.sub(&fit::need(r));
        if fit::exclusive(r) && load.owned.is_some() {
            let owned = owned(&self.facts, load, at);
            owned.ports.release(r);
            for task in r.tasks.values() {
                for core in &task.cpu.reserved_cores {
                    owned.cores.remove(core);
                }
                for id in task.devices.iter().flat_map(|d| d.device_ids.iter()) {
                    owned.devices.remove(id);
                }
            }
        }
    }

    /// Nothing holds room on a node.
    pub fn clear(&mut self, at: u32) {
        self.loads[at as usize] = Load::default();
    }

    /// As [`hold`](Self::hold) and [`free`](Self::free), for allocations that own nothing alone.
    pub fn shift(&mut self, at: u32, by: impl FnOnce(&mut Usage)) {
        by(&mut self.loads[at as usize].used);
    }

    pub(super) fn class(&self, at: u32) -> usize {
        self.facts.class[at as usize] as usize
    }

    /// Whether the node has a computed class.
    pub(super) fn is_classed(&self, at: u32) -> bool {
        !self.facts.class_names[self.class(at)].is_empty()
    }

    pub(super) fn class_names(&self) -> &[String] {
        &self.facts.class_names
    }

    /// The number of the node's class; zero: it has none.
    pub(super) fn kind(&self, at: u32) -> u32 {
        self.facts.kind[at as usize]
    }

    pub(super) fn kind_name(&self, kind: u32) -> &str {
        &self.facts.kind_names[kind as usize]
    }

    /// Positions of the nodes that the job may be placed on, with the number of them per
    /// datacenter.
    pub(super) fn candidates(&self, job: &Job) -> (Vec<u32>, BTreeMap<String, i64>) {
        let facts = &self.facts;
        let allowed: Vec<bool> =
            facts.sites.iter().map(|(dc, pool)| job_allows(job, dc, pool)).collect();
        let mut counts = vec![0; facts.sites.len()];
        let mut out = Vec::with_capacity(facts.nodes.len());
        for (at, (site, ready)) in (0..).zip(facts.site.iter().zip(&facts.ready)) {
            if *ready && allowed[*site as usize] {
                out.push(at);
                counts[*site as usize] += 1;
            }
        }
        let mut available = BTreeMap::new();
        for ((dc, _), count) in facts.sites.iter().zip(counts).filter(|(_, n)| *n > 0) {
            *available.entry(dc.clone()).or_insert(0) += count;
        }
        (out, available)
    }

    /// The ports of a node as they stand.
    pub(super) fn ports(&self, at: u32) -> &PortBook {
        match &self.loads[at as usize].owned {
            Some(owned) => &owned.ports,
            None => book(&self.facts, at),
        }
    }

    /// Reserved cores in use.
    pub(super) fn has_core(&self, at: u32, core: i64) -> bool {
        self.loads[at as usize].owned.as_ref().is_some_and(|o| o.cores.contains(&core))
    }

    /// Whether a device instance is in use.
    pub(super) fn has_device(&self, at: u32, id: &str) -> bool {
        self.loads[at as usize].owned.as_ref().is_some_and(|o| o.devices.contains(id))
    }

    /// The plan takes an allocation from its node, if the node has not ended it already.
    pub(super) fn stop(&mut self, alloc: &Allocation) {
        if let Some((at, r)) = self.holding(alloc) {
            self.free(at, r);
        }
    }

    /// Takes back [`stop`](Self::stop): no replacement was found.
    pub(super) fn keep(&mut self, alloc: &Allocation) {
        if let Some((at, r)) = self.holding(alloc) {
            self.hold(at, r);
        }
    }

    fn holding<'a>(&self, alloc: &'a Allocation) -> Option<(u32, &'a AllocatedResources)> {
        let r = alloc.allocated_resources.as_deref().filter(|_| !fit::client_terminal(alloc))?;
        Some((self.position(&alloc.node_id)?, r))
    }
}

fn book(facts: &Facts, at: u32) -> &PortBook {
    facts.books[at as usize].get_or_init(|| PortBook::of(&facts.nodes[at as usize]))
}

fn owned<'l>(facts: &Facts, load: &'l mut Load, at: u32) -> &'l mut Owned {
    let owned = load.owned.get_or_insert_with(|| {
        let ports = book(facts, at).clone();
        Rc::new(Owned { ports, cores: BTreeSet::new(), devices: BTreeSet::new() })
    });
    Rc::make_mut(owned)
}

/// The first eight bytes, as a number of the same order.
fn head(id: &str) -> u64 {
    let mut out = [0; 8];
    for (to, from) in out.iter_mut().zip(id.bytes()) {
        *to = from;
    }
    u64::from_be_bytes(out)
}

/// Takes new allocations.
pub(super) fn is_ready(n: &Node) -> bool {
    n.status == status::NODE_READY
        && n.drain_strategy.is_none()
        && n.scheduling_eligibility != status::NODE_INELIGIBLE
}
