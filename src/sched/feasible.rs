//! Whether a node can run a group at all, room aside, and if not the reason that evaluations print.

use std::borrow::Cow;

use crate::api::{Node, VolumeRequest};

use super::ask::{Ask, Level};
use super::device;
use super::ports::host_network;
use super::target::Target;
use super::volume::Shelf;

/// The reason of nodes whose class is known to be unfit.
const CLASS_INELIGIBLE: &str = "computed class ineligible";

/// Where the node stands: its position's class and the job's allocations on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) class: usize,
    /// Whether the node has a computed class; without one nothing is kept for later nodes.
    pub(super) classed: bool,
    /// Live or proposed allocations of the job on the node, and of this group.
    pub(super) of_job: u32,
    pub(super) of_group: u32,
}

/// Why a node cannot run a group.
#[derive(Clone, Debug)]
pub(super) struct Unfit {
    pub(super) reason: Cow<'static, str>,
    /// The same node will be told something else: by then its class is known to be unfit.
    pub(super) once: bool,
}

impl Unfit {
    fn always(reason: Cow<'static, str>) -> Self {
        Self { reason, once: false }
    }
}

/// Runs all checks in the order of the contract (scheduler §3). `index` is the number in the name
/// of the allocation, for volumes per allocation.
pub(super) fn check(
    job: &mut Level,
    ask: &mut Ask<'_>,
    node: &Node,
    place: Place,
    (shelf, index): (&Shelf, u32),
) -> Result<(), Unfit> {
    let keep = place.classed && !job.unique;
    match job.memo.get(place.class).filter(|_| keep) {
        Some(false) => return Err(Unfit::always(CLASS_INELIGIBLE.into())),
        Some(true) => {}
        None => {
            let failed = job.checks.iter().find(|c| !c.holds(node)).map(|c| c.text.clone());
            if keep {
                job.memo.set(place.class, failed.is_none());
            }
            if let Some(reason) = failed {
                return Err(Unfit { reason: reason.into(), once: keep });
            }
        }
    }
    let keep = place.classed && !ask.level.unique;
    match ask.level.memo.get(place.class).filter(|_| keep) {
        Some(false) => return Err(Unfit::always(CLASS_INELIGIBLE.into())),
        Some(true) => {}
        None => {
            let outcome = by_class(ask, node);
            if keep {
                ask.level.memo.set(place.class, outcome.is_ok());
            }
            outcome.map_err(|reason| Unfit { reason, once: keep })?;
        }
    }
    by_node(job, ask, node, place, (shelf, index)).map_err(Unfit::always)
}

/// The checks whose answer holds for the whole computed class.
fn by_class(ask: &Ask<'_>, node: &Node) -> Result<(), Cow<'static, str>> {
    if !ask.drivers.iter().all(|d| has_driver(node, d)) {
        return Err("missing drivers".into());
    }
    if let Some(c) = ask.level.checks.iter().find(|c| !c.holds(node)) {
        return Err(c.text.clone().into());
    }
    if !ask.devices.is_empty() && !device::feasible(node, &ask.devices) {
        return Err("missing devices".into());
    }
    network(ask, node)?;
    let has = |p: &&str| node.attributes.contains_key(&format!("plugins.secrets.{p}.version"));
    if !ask.secrets.iter().all(has) {
        return Err("missing secrets provider".into());
    }
    Ok(())
}

fn has_driver(node: &Node, driver: &str) -> bool {
    if let Some(info) = node.drivers.get(driver) {
        return info.detected && info.healthy;
    }
    let set = node.attributes.get(&format!("driver.{driver}"));
    set.is_some_and(|v| matches!(v.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

fn network(ask: &Ask<'_>, node: &Node) -> Result<(), Cow<'static, str>> {
    let Some(net) = ask.networks.first().filter(|_| ask.group_network) else { return Ok(()) };
    let host = |mode: &str| if mode.is_empty() { "host".to_owned() } else { mode.to_owned() };
    let mode = host(&net.mode);
    if mode == "none" {
        return Ok(());
    }
    let none = crate::api::NodeResources::default();
    let have = node.node_resources.as_ref().unwrap_or(&none);
    let modes = have.networks.iter().map(|n| host(&n.mode));
    let mut modes = modes.chain(have.node_networks.iter().map(|n| host(&n.mode)));
    if !modes.any(|m| m == mode) {
        return Err("missing network".into());
    }
    for port in net.reserved_ports.iter().chain(net.dynamic_ports.iter()) {
        let asked = host_network(port);
        let name = match Target::parse(asked) {
            Target::Literal(name) => name,
            target => match target.on(node) {
                Some(name) => name.to_owned(),
                None => {
                    let label = &port.label;
                    return Err(format!(
                        "invalid host network \"{asked}\" template for port \"{label}\""
                    )
                    .into());
                }
            },
        };
        let addresses = have.node_networks.iter().flat_map(|n| n.addresses.iter());
        let known = name == "default"
            || node.host_networks.contains_key(&name)
            || addresses.into_iter().any(|a| a.alias == name);
        if !known {
            return Err(
                format!("missing host network \"{name}\" for port \"{}\"", port.label).into()
            );
        }
    }
    Ok(())
}

/// The checks that each node answers for itself.
fn by_node(
    job: &Level,
    ask: &Ask<'_>,
    node: &Node,
    place: Place,
    (shelf, index): (&Shelf, u32),
) -> Result<(), Cow<'static, str>> {
    let group = &ask.group.name;
    if !ask.host_volumes.iter().all(|v| shelf.has(node, group, v, &source(v, index))) {
        return Err("missing compatible host volumes".into());
    }
    if !ask.csi_volumes.is_empty() {
        let names: Vec<String> = ask.csi_volumes.iter().map(|v| source(v, index)).collect();
        return Err(format!("missing CSI volume(s) {}", names.join(", ")).into());
    }
    if (job.distinct_hosts && place.of_job > 0) || (ask.level.distinct_hosts && place.of_group > 0)
    {
        return Err("distinct_hosts".into());
    }
    match job.distinct.iter().chain(&ask.level.distinct).find_map(|d| d.refuses(node)) {
        Some(reason) => Err(reason.into()),
        None => Ok(()),
    }
}

fn source(v: &VolumeRequest, index: u32) -> String {
    if v.per_alloc { format!("{}[{index}]", v.source) } else { v.source.clone() }
}
