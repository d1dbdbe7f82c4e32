//! Nodes for a simulation: of a shape, or read from elsewhere with what they leave out filled in.

use crate::api::{
    Allocation, DriverInfo, NetworkResource, Node, NodeNetworkAddress, NodeNetworkResource,
    NodeResources, status,
};
use crate::client::fingerprint::{common_attributes, computed_class};
use crate::sched::fit;
use crate::stdx::uuid;

/// Nodes that differ in rack and datacenter only.
#[derive(Clone, Debug)]
pub struct Shape {
    pub nodes: u32,
    /// MHz.
    pub cpu: i64,
    /// MiB.
    pub memory: i64,
    /// MiB.
    pub disk: i64,
    /// Dealt out in turns: `${meta.rack}` is `r0`, `r1`, …
    pub racks: u32,
    /// Dealt out in turns: `dc1`, `dc2`, …
    pub datacenters: u32,
}

impl Shape {
    pub fn make(&self) -> Vec<Node> {
        (0..self.nodes).map(|at| self.one(at)).collect()
    }

    fn one(&self, at: u32) -> Node {
        let mut resources = NodeResources::default();
        resources.cpu.cpu_shares = self.cpu;
        resources.memory.memory_mb = self.memory;
        resources.disk.disk_mb = self.disk;
        let mut node = Node {
            name: format!("node-{at:04}"),
            datacenter: format!("dc{}", at % self.datacenters.max(1) + 1),
            node_resources: Some(resources),
            ..Node::default()
        };
        node.meta.insert("rack".to_owned(), format!("r{}", at % self.racks.max(1)));
        node
    }
}

/// A node with what holds room on it kept back, so that only the rest is given away.
pub fn without(mut node: Node, allocs: &[Allocation]) -> Node {
    let kept = node.reserved_resources.get_or_insert_default();
    let live = allocs.iter().filter(|a| !fit::client_terminal(a));
    for r in live.filter_map(|a| a.allocated_resources.as_ref()) {
        let need = fit::need(r);
        kept.cpu.cpu_shares += need.cpu;
        kept.memory.memory_mb += need.memory;
        kept.disk.disk_mb += need.disk;
        kept.cpu
            .reserved_cpu_cores
            .extend(r.tasks.values().flat_map(|t| t.cpu.reserved_cores.iter()));
        for port in &r.shared.ports {
            let all = &mut kept.networks.reserved_host_ports;
            let comma = if all.is_empty() { "" } else { "," };
            all.push_str(&format!("{comma}{}", port.value));
        }
    }
    node
}

/// Makes nodes complete: ready, with an id, an address, what every node says of itself and, where
/// they name no drivers, with all of `drivers`. Returns them in the order of their ids.
///
/// # Errors
/// A sentence, where two nodes have one id.
pub fn fill(mut nodes: Vec<Node>, drivers: &[String]) -> Result<Vec<Node>, String> {
    for (at, node) in (1u64..).zip(&mut nodes) {
        if !uuid::is_uuid(&node.id) {
            // Spread over the whole range, as the ids of machines are.
            let mixed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            let mut id = [0; 16];
            id[..8].copy_from_slice(&mixed);
            id[8..].copy_from_slice(&at.to_be_bytes());
            node.id = uuid::from_bytes(&id);
        }
        for (field, default) in [
            (&mut node.name, format!("node-{at:04}")),
            (&mut node.datacenter, "dc1".to_owned()),
            (&mut node.node_pool, "default".to_owned()),
            (&mut node.status, status::NODE_READY.to_owned()),
            (&mut node.scheduling_eligibility, status::NODE_ELIGIBLE.to_owned()),
        ] {
            if field.is_empty() {
                *field = default;
            }
        }
        for (name, value) in common_attributes() {
            if !node.attributes.contains_key(&name) {
                node.attributes.insert(name, value);
            }
        }
        if node.drivers.is_empty() {
            for driver in drivers {
                let info = DriverInfo { detected: true, healthy: true, ..DriverInfo::default() };
                node.drivers.insert(driver.clone(), info);
            }
        }
        let have = node.node_resources.get_or_insert_default();
        if have.node_networks.is_empty() && have.networks.is_empty() {
            let ip = format!("10.{}.{}.{}", at >> 16 & 255, at >> 8 & 255, at & 255);
            have.networks.push(NetworkResource {
                device: "eth0".to_owned(),
                ip: ip.clone(),
                mode: "host".to_owned(),
                ..Default::default()
            });
            have.node_networks.push(NodeNetworkResource {
                addresses: vec![NodeNetworkAddress {
                    address: ip,
                    alias: "default".to_owned(),
                    family: "ipv4".to_owned(),
                    ..Default::default()
                }]
                .into(),
                device: "eth0".to_owned(),
                mode: "host".to_owned(),
                ..Default::default()
            });
        }
        node.computed_class = computed_class(node);
    }
    nodes.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(pair) = nodes.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(format!("two nodes have the id {}", pair[0].id));
    }
    Ok(nodes)
}
