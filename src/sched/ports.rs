//! Ports of one node: which are taken on which address, and the choice of free ones.

use std::rc::Rc;

use crate::api::{
    AllocatedPortMapping, AllocatedResources, NetworkResource, Node, NodeResources, Port,
};

use super::rng::Rng;

/// Dynamic ports, both ends included, where a node does not say. Source: contract, scheduler §4.
const DYNAMIC_PORTS: (u16, u16) = (20_000, 32_000);
/// Random tries for a dynamic port before the range is scanned.
const DYNAMIC_TRIES: u32 = 20;
/// Name of the host network that ports are on unless they say otherwise.
const HOST_NETWORK: &str = "default";

/// A set of ports, in order: small, and copied in one go.
#[derive(Clone, Debug, Default)]
struct PortSet(Vec<u16>);

impl PortSet {
    fn has(&self, port: u16) -> bool {
        self.0.binary_search(&port).is_ok()
    }

    /// False where it was in already.
    fn insert(&mut self, port: u16) -> bool {
        match self.0.binary_search(&port) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, port);
                true
            }
        }
    }

    fn remove(&mut self, port: u16) -> bool {
        self.0.binary_search(&port).is_ok_and(|at| self.0.remove(at) == port)
    }
}

/// Used ports of one address.
#[derive(Clone, Debug, Default)]
struct Used {
    ports: PortSet,
    /// How many of them lie inside the dynamic range.
    dynamic: u32,
}

#[derive(Clone, Debug)]
struct Address {
    ip: String,
    /// Host network that it belongs to; empty for addresses that only stored allocations name.
    alias: String,
}

/// What does not change while ports are taken and freed.
#[derive(Clone, Debug)]
struct Layout {
    addresses: Vec<Address>,
    /// Dynamic range, both ends included.
    min: u16,
    max: u16,
    /// Address and device of the node's first host network, for the old form of the answer.
    host_ip: String,
    device: String,
    /// The node's own reserved ports do not read.
    invalid: bool,
}

/// All ports of one node.
#[derive(Clone, Debug)]
pub(super) struct PortBook {
    layout: Rc<Layout>,
    /// One per address.
    used: Vec<Used>,
}

impl PortBook {
    /// The node as it is without allocations: its reserved ports are taken.
    pub(super) fn of(node: &Node) -> Self {
        let none = NodeResources::default();
        let have = node.node_resources.as_ref().unwrap_or(&none);
        let port = |p: i64, or: u16| u16::try_from(p).ok().filter(|p| *p != 0).unwrap_or(or);
        let mut layout = Layout {
            addresses: Vec::new(),
            min: port(have.min_dynamic_port, DYNAMIC_PORTS.0),
            max: port(have.max_dynamic_port, DYNAMIC_PORTS.1),
            host_ip: String::new(),
            device: String::new(),
            invalid: false,
        };
        let mut own = Vec::new();
        for net in &have.node_networks {
            for a in &net.addresses {
                if layout.host_ip.is_empty() && matches!(net.mode.as_str(), "" | "host") {
                    layout.host_ip.clone_from(&a.address);
                    layout.device.clone_from(&net.device);
                }
                let alias = if a.alias.is_empty() { HOST_NETWORK } else { &a.alias };
                own.push((layout.address(&a.address, alias), a.reserved_ports.as_str()));
            }
        }
        if layout.addresses.is_empty() {
            for net in have.networks.iter().filter(|n| !n.ip.is_empty()) {
                if layout.host_ip.is_empty() {
                    layout.host_ip.clone_from(&net.ip);
                    layout.device.clone_from(&net.device);
                }
                layout.address(&net.ip, HOST_NETWORK);
            }
        }
        let everywhere = node.reserved_resources.as_ref();
        for at in 0..layout.addresses.len() {
            own.extend(everywhere.map(|r| (at, r.networks.reserved_host_ports.as_str())));
        }
        let ranges: Vec<_> = own.into_iter().map(|(at, text)| (at, parse_ranges(text))).collect();
        layout.invalid = ranges.iter().any(|(_, r)| r.is_none());
        let used = vec![Used::default(); layout.addresses.len()];
        let mut book = Self { layout: Rc::new(layout), used };
        for (at, ranges) in ranges {
            for (from, to) in ranges.into_iter().flatten() {
                for port in from..=to {
                    book.mark(at, port);
                }
            }
        }
        book
    }

    fn mark(&mut self, at: usize, port: u16) -> bool {
        let inside = self.layout.is_dynamic(port);
        let used = &mut self.used[at];
        let fresh = used.ports.insert(port);
        if fresh && inside {
            used.dynamic += 1;
        }
        fresh
    }

    /// Takes the ports of an allocation; false where one of them was taken already.
    pub(super) fn take(&mut self, resources: &AllocatedResources) -> bool {
        let mut clean = true;
        for (ip, port) in ports_of(resources) {
            let at = self.layout.addresses.iter().position(|a| a.ip == ip).unwrap_or_else(|| {
                self.used.push(Used::default());
                Rc::make_mut(&mut self.layout).address(ip, "")
            });
            clean &= self.mark(at, port);
        }
        clean
    }

    /// Frees the ports of an allocation.
    pub(super) fn release(&mut self, resources: &AllocatedResources) {
        for (ip, port) in ports_of(resources) {
            if let Some(at) = self.layout.addresses.iter().position(|a| a.ip == ip)
                && self.used[at].ports.remove(port)
                && self.layout.is_dynamic(port)
            {
                self.used[at].dynamic -= 1;
            }
        }
    }

    /// Whether [`offer`](Self::offer) would succeed for all of `asks` together, and if not why.
    pub(super) fn check(&self, asks: &[NetworkResource]) -> Result<(), String> {
        if self.layout.invalid {
            return Err("invalid node".to_owned());
        }
        let mut fixed: Vec<(usize, u16)> = Vec::new();
        for port in asks.iter().flat_map(|n| &n.reserved_ports) {
            let (at, value) = (self.network(port)?, port_number(port));
            let Some(value) = value else { return Err(format!("invalid port {}", port.value)) };
            let taken = self.used[at].ports.has(value) || fixed.contains(&(at, value));
            if taken && !port.ignore_collision {
                return Err(format!("reserved port collision {}={}", port.label, port.value));
            }
            if !taken {
                fixed.push((at, value));
            }
        }
        let mut wanted = vec![0u32; self.used.len()];
        for port in asks.iter().flat_map(|n| &n.dynamic_ports) {
            wanted[self.network(port)?] += 1;
        }
        let range = u32::from(self.layout.max.saturating_sub(self.layout.min)) + 1;
        for (at, wanted) in wanted.into_iter().enumerate().filter(|(_, w)| *w > 0) {
            let inside = |p: &&(usize, u16)| p.0 == at && self.layout.is_dynamic(p.1);
            let asked = u32::try_from(fixed.iter().filter(inside).count()).unwrap_or(u32::MAX);
            if range.saturating_sub(self.used[at].dynamic) < asked.saturating_add(wanted) {
                return Err("dynamic port selection failed".to_owned());
            }
        }
        Ok(())
    }

    /// Chooses the ports of one allocation, for all of its asks together: the static ones first.
    pub(super) fn offer(
        &self,
        asks: &[NetworkResource],
        rng: &mut Rng,
    ) -> Result<Vec<Offer>, String> {
        self.check(asks)?;
        let mut given: Vec<(usize, u16)> = Vec::new();
        let mut offers: Vec<Offer> = asks.iter().map(|ask| self.blank(ask)).collect();
        for (ask, offer) in asks.iter().zip(&mut offers) {
            for (port, shown) in ask.reserved_ports.iter().zip(&mut offer.network.reserved_ports.0)
            {
                let at = self.network(port)?;
                let value = port_number(port).unwrap_or(0);
                given.push((at, value));
                offer.ports.push(mapping(port, value, &self.layout.addresses[at].ip));
                shown.to = port_to(port, value);
            }
        }
        for (ask, offer) in asks.iter().zip(&mut offers) {
            for (port, shown) in ask.dynamic_ports.iter().zip(&mut offer.network.dynamic_ports.0) {
                let at = self.network(port)?;
                let value = self.pick(at, &given, rng).ok_or("dynamic port selection failed")?;
                given.push((at, value));
                offer.ports.push(mapping(port, value, &self.layout.addresses[at].ip));
                shown.value = i64::from(value);
                shown.to = port_to(port, value);
            }
        }
        Ok(offers)
    }

    fn blank(&self, ask: &NetworkResource) -> Offer {
        let network = NetworkResource {
            ip: self.layout.host_ip.clone(),
            mode: if ask.mode.is_empty() { "host".to_owned() } else { ask.mode.clone() },
            ..ask.clone()
        };
        Offer { network, device: self.layout.device.clone(), ports: Vec::new() }
    }

    fn pick(&self, at: usize, given: &[(usize, u16)], rng: &mut Rng) -> Option<u16> {
        let (used, layout) = (&self.used[at].ports, &self.layout);
        let span = u32::from(layout.max.checked_sub(layout.min)?) + 1;
        let free = |port: &u16| !used.has(*port) && !given.contains(&(at, *port));
        for _ in 0..DYNAMIC_TRIES {
            let port = u16::try_from(u32::from(layout.min) + rng.below(span)).ok()?;
            if free(&port) {
                return Some(port);
            }
        }
        (layout.min..=layout.max).find(free)
    }

    /// The first address of the host network that a port is on.
    fn network(&self, port: &Port) -> Result<usize, String> {
        let name = host_network(port);
        self.layout
            .addresses
            .iter()
            .position(|a| a.alias == name)
            .ok_or_else(|| format!("no addresses available for {name} network"))
    }
}

impl Layout {
    fn address(&mut self, ip: &str, alias: &str) -> usize {
        if let Some(at) = self.addresses.iter().position(|a| a.ip == ip && a.alias == alias) {
            return at;
        }
        self.addresses.push(Address { ip: ip.to_owned(), alias: alias.to_owned() });
        self.addresses.len() - 1
    }

    fn is_dynamic(&self, port: u16) -> bool {
        (self.min..=self.max).contains(&port)
    }
}

/// What one network ask was given.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    /// The ask with values filled in.
    pub(super) network: NetworkResource,
    /// Device of the address; only the old task networks print it.
    pub(super) device: String,
    pub(super) ports: Vec<AllocatedPortMapping>,
}

/// Name of the host network that a port is on.
pub(super) fn host_network(port: &Port) -> &str {
    if port.host_network.is_empty() { HOST_NETWORK } else { &port.host_network }
}

fn port_number(port: &Port) -> Option<u16> {
    u16::try_from(port.value).ok()
}

/// -1 means the same port inside as outside.
fn port_to(port: &Port, value: u16) -> i64 {
    if port.to == -1 { i64::from(value) } else { port.to }
}

fn mapping(port: &Port, value: u16, ip: &str) -> AllocatedPortMapping {
    AllocatedPortMapping {
        host_ip: ip.to_owned(),
        ignore_collision: port.ignore_collision,
        label: port.label.clone(),
        to: port_to(port, value),
        value: i64::from(value),
    }
}

/// Address and port of everything that an allocation holds, without those that may collide.
fn ports_of(r: &AllocatedResources) -> Vec<(&str, u16)> {
    let mut out: Vec<(&str, u16)> = r
        .shared
        .ports
        .iter()
        .filter(|p| !p.ignore_collision)
        .filter_map(|p| Some((p.host_ip.as_str(), u16::try_from(p.value).ok()?)))
        .collect();
    let shared = r.shared.networks.iter().filter(|_| r.shared.ports.is_empty());
    for net in shared.chain(r.tasks.values().flat_map(|t| t.networks.iter())) {
        let ports = net.reserved_ports.iter().chain(net.dynamic_ports.iter());
        out.extend(
            ports
                .filter(|p| !p.ignore_collision)
                .filter_map(|p| Some((net.ip.as_str(), port_number(p)?))),
        );
    }
    out.retain(|(_, port)| *port != 0);
    out
}

/// Reads `22,80,8000-9000`; `None` where it is malformed.
fn parse_ranges(text: &str) -> Option<Vec<(u16, u16)>> {
    let mut out = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (from, to) = match part.split_once('-') {
            Some((a, b)) => (a.trim().parse().ok()?, b.trim().parse().ok()?),
            None => (part.parse().ok()?, part.parse().ok()?),
        };
        if from > to {
            return None;
        }
        out.push((from, to));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read() {
        assert_eq!(parse_ranges(""), Some(vec![]));
        assert_eq!(parse_ranges("22, 80,8000-9000"), Some(vec![(22, 22), (80, 80), (8000, 9000)]));
        for bad in ["x", "9-8", "70000", "1-"] {
            assert_eq!(parse_ranges(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_set_of_ports_takes_each_once() {
        let mut set = PortSet::default();
        for port in [0, 1023, 1024, 20_000, u16::MAX] {
            assert!(!set.has(port));
            assert!(set.insert(port));
            assert!(!set.insert(port));
            assert!(set.has(port));
            assert!(set.remove(port));
            assert!(!set.remove(port));
        }
    }
}
