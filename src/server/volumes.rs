//! Where a new host volume goes.

use std::rc::Rc;

use crate::api::{HostVolume, Node, status};
use crate::sched;
use crate::stdx::{Entropy, json};
use crate::store::{Reader, StoreError, Table};

/// A node that may hold a new volume: ready, with its plugin, of its pool, as its constraints want
/// it, without another volume of the name. Only the one that the volume names, where it does; else
/// one of several by chance.
///
/// # Errors
/// The text of the reference where there is none.
pub fn place_volume(
    reader: Reader<'_>,
    volume: &HostVolume,
    entropy: &mut dyn Entropy,
) -> Result<Result<Rc<Node>, String>, StoreError> {
    let plugin = format!("plugins.host_volume.{}.version", volume.plugin_id);
    let (mut named, mut unfit, mut fit) = (0, 0, Vec::new());
    for pair in reader.scan(Table::Node, &[], None, false)? {
        let (_, row) = pair?;
        let node: Node = json::decode(row.json)
            .map_err(|e| StoreError::Damaged(format!("a row of node: {e}")))?;
        if !volume.node_id.is_empty() && node.id != volume.node_id {
            continue;
        }
        if node.host_volumes.get(&volume.name).is_some_and(|v| v.id != volume.id) {
            named += 1;
        } else if node.status != status::NODE_READY
            || node.scheduling_eligibility == status::NODE_INELIGIBLE
            || ![&node.node_pool, ""].contains(&volume.node_pool.as_str())
            || !node.attributes.contains_key(&plugin)
            || !sched::meets(&node, &volume.constraints)
        {
            unfit += 1;
        } else {
            fit.push(node);
        }
    }
    if fit.is_empty() {
        return Ok(Err(format!(
            "could not place volume {:?}: no node meets constraints: {named} nodes had existing \
             volume, 0 nodes filtered by node pool governance, {unfit} nodes were infeasible",
            volume.name
        )));
    }
    let at = entropy.u64() % (fit.len() as u64);
    Ok(Ok(Rc::new(fit.swap_remove(usize::try_from(at).unwrap_or(0)))))
}
