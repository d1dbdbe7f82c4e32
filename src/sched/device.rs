//! Devices: which groups of a node answer a request, and which instances it gets.

use std::cmp::Ordering;

use crate::api::{
    AllocatedDeviceResource, Constraint, DeviceAttribute, Node, NodeDeviceResource, RequestedDevice,
};
use crate::stdx::BTreeSet;

use super::constraint::texts_hold;

/// The groups of devices of a node.
pub(super) fn groups(node: &Node) -> &[NodeDeviceResource] {
    node.node_resources.as_ref().map_or(&[], |r| &r.devices.0)
}

/// Whether the node has enough healthy instances for all requests if nothing else ran there.
pub(super) fn feasible(node: &Node, asks: &[RequestedDevice]) -> bool {
    assign(node, asks, |_| false).is_some()
}

/// Instances for each request, of those that are not `used`, and the sum of the weights of the
/// affinities that hold for them. `None` where a request cannot be met.
pub(super) fn assign(
    node: &Node,
    asks: &[RequestedDevice],
    used: impl Fn(&str) -> bool,
) -> Option<(Vec<AllocatedDeviceResource>, f64)> {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let mut out = Vec::new();
    let mut matched = 0.0;
    for ask in asks {
        let count = usize::try_from(ask.count.unwrap_or(1)).ok()?;
        let mut best: Option<(f64, &NodeDeviceResource, Vec<&str>)> = None;
        for group in groups(node) {
            if !names(&ask.name, group) || !ask.constraints.iter().all(|c| holds(c, group)) {
                continue;
            }
            let free: Vec<&str> = group
                .instances
                .iter()
                .filter(|i| i.healthy && !used(&i.id) && !taken.contains(i.id.as_str()))
                .map(|i| i.id.as_str())
                .take(count)
                .collect();
            if free.len() < count {
                continue;
            }
            let score = affinity(ask, group);
            if best.as_ref().is_none_or(|(b, _, _)| score > *b) {
                best = Some((score, group, free));
            }
        }
        let (score, group, ids) = best?;
        matched += score;
        taken.extend(&ids);
        out.push(AllocatedDeviceResource {
            device_ids: ids.into_iter().map(str::to_owned).collect(),
            name: group.name.clone(),
            kind: group.kind.clone(),
            vendor: group.vendor.clone(),
        });
    }
    Some((out, matched))
}

/// Sum of the magnitudes of the weights of all affinities; zero: devices do not score.
pub(super) fn weights(asks: &[RequestedDevice]) -> f64 {
    let all = asks.iter().flat_map(|a| &a.affinities);
    all.map(|a| f64::from(a.weight.unwrap_or(50)).abs()).sum()
}

fn affinity(ask: &RequestedDevice, group: &NodeDeviceResource) -> f64 {
    let matching = ask.affinities.iter().filter(|a| {
        let c = Constraint {
            ltarget: a.ltarget.clone(),
            operand: a.operand.clone(),
            rtarget: a.rtarget.clone(),
        };
        holds(&c, group)
    });
    matching.map(|a| f64::from(a.weight.unwrap_or(50))).sum()
}

/// `type`, `vendor/type` or `vendor/type/name`.
fn names(asked: &str, group: &NodeDeviceResource) -> bool {
    let parts: Vec<&str> = asked.splitn(3, '/').collect();
    match parts[..] {
        [kind] => kind == group.kind,
        [vendor, kind] => vendor == group.vendor && kind == group.kind,
        [vendor, kind, name] => vendor == group.vendor && kind == group.kind && name == group.name,
        _ => false,
    }
}

fn holds(c: &Constraint, group: &NodeDeviceResource) -> bool {
    let (left, right) = (value(&c.ltarget, group), value(&c.rtarget, group));
    if let (Some(Value::Number(l)), Some(r)) = (&left, &right)
        && let Some(order) = r.number().and_then(|r| l.compare(&r))
    {
        match c.operand.as_str() {
            "=" | "==" | "is" => return order.is_eq(),
            "!=" | "not" => return order.is_ne(),
            "<" => return order.is_lt(),
            "<=" => return order.is_le(),
            ">" => return order.is_gt(),
            ">=" => return order.is_ge(),
            _ => {}
        }
    }
    texts_hold(&c.operand, left.map(Value::text).as_deref(), right.map(Value::text).as_deref())
}

enum Value {
    Text(String),
    Number(Quantity),
}

impl Value {
    fn text(self) -> String {
        match self {
            Self::Text(t) => t,
            Self::Number(q) if q.unit.is_empty() => q.amount.to_string(),
            Self::Number(q) => format!("{} {}", q.amount, q.unit),
        }
    }

    fn number(&self) -> Option<Quantity> {
        match self {
            Self::Text(t) => Quantity::parse(t),
            Self::Number(q) => Some(q.clone()),
        }
    }
}

fn value(target: &str, group: &NodeDeviceResource) -> Option<Value> {
    let Some(inner) = target.strip_prefix("${").and_then(|t| t.strip_suffix('}')) else {
        return Some(Value::Text(target.to_owned()));
    };
    match inner {
        "device.model" => Some(Value::Text(group.name.clone())),
        "device.vendor" => Some(Value::Text(group.vendor.clone())),
        "device.type" => Some(Value::Text(group.kind.clone())),
        "device.ids" => {
            let ids: Vec<&str> = group.instances.iter().map(|i| i.id.as_str()).collect();
            Some(Value::Text(ids.join(",")))
        }
        _ => group.attributes.get(inner.strip_prefix("device.attr.")?).map(attribute),
    }
}

fn attribute(a: &DeviceAttribute) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "amounts of devices are far below 2^53")]
    let int = a.int.map(|i| i as f64);
    match (int.or(a.float), a.bool, &a.string) {
        (Some(amount), _, _) => Value::Number(Quantity { amount, unit: a.unit.clone() }),
        (_, Some(b), _) => Value::Text(b.to_string()),
        (_, _, text) => Value::Text(text.clone().unwrap_or_default()),
    }
}

/// An amount with its unit, such as 11 GiB.
#[derive(Clone, Debug)]
struct Quantity {
    amount: f64,
    unit: String,
}

impl Quantity {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '-' | '+'))
            .unwrap_or(text.len());
        let (number, unit) = text.split_at_checked(end)?;
        Some(Self { amount: number.parse().ok()?, unit: unit.trim().to_owned() })
    }

    /// `None` where the units measure different things.
    fn compare(&self, other: &Self) -> Option<Ordering> {
        let (a, b) = (scale(&self.unit)?, scale(&other.unit)?);
        (a.0 == b.0).then_some(())?;
        (self.amount * a.1).partial_cmp(&(other.amount * b.1))
    }
}

/// What a unit measures, and how many base units it is.
fn scale(unit: &str) -> Option<(&'static str, f64)> {
    if unit.is_empty() {
        return Some(("", 1.0));
    }
    for (dimension, base) in [("byte/s", "B/s"), ("byte", "B"), ("hertz", "Hz"), ("watt", "W")] {
        let Some(prefix) = unit.strip_suffix(base) else { continue };
        let factor = match prefix {
            "" => 1.0,
            "m" => 1e-3,
            "k" | "K" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "P" => 1e15,
            "Ki" => 1024.0,
            "Mi" => 1_048_576.0,
            "Gi" => 1_073_741_824.0,
            "Ti" => 1_099_511_627_776.0,
            "Pi" => 1_125_899_906_842_624.0,
            _ => return None,
        };
        return Some((dimension, factor));
    }
    None
}
