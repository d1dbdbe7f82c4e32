//! Sorts the allocations of a group by what their node and their own state ask for.

use crate::api::{Allocation, TaskGroup, status};

use super::super::fit;

/// How a node stands to the allocations on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sched) enum NodeState {
    Ok,
    Down,
    Disconnected,
    /// No such node any more.
    Deleted,
}

/// What an allocation is taken for; the words of the contract (scheduler §6, "Classify").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sched) enum Class {
    Untainted,
    Migrate,
    Lost,
    Disconnecting,
    Reconnecting,
    Ignore,
    /// Unknown for longer than the group allows: lost.
    Expiring,
}

/// What a group says about lost connections.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::sched) struct Disconnect {
    /// ns; zero: allocations are lost at once.
    pub(in crate::sched) lost_after: i64,
    pub(in crate::sched) replace: bool,
    /// ns.
    pub(in crate::sched) stop_on_client_after: Option<i64>,
}

impl Disconnect {
    pub(in crate::sched) fn of(group: &TaskGroup) -> Self {
        let Some(d) = &group.disconnect else { return Self { replace: true, ..Self::default() } };
        Self {
            lost_after: d.lost_after,
            replace: d.replace.unwrap_or(true),
            stop_on_client_after: d.stop_on_client_after,
        }
    }
}

/// The first rule that matches decides; the numbers are those of the contract.
pub(in crate::sched) fn classify(
    a: &Allocation,
    node: NodeState,
    group: Disconnect,
    now: i64,
) -> Class {
    let reconnect = needs_reconnect(a);
    let server_terminal = fit::server_terminal(a);
    let client_terminal = fit::client_terminal(a);
    let failed = a.client_status == status::CLIENT_FAILED;
    let unknown = a.client_status == status::CLIENT_UNKNOWN;
    let migrate = a.desired_transition.migrate == Some(true);
    // 1
    if reconnect && a.desired_status == status::DESIRED_RUN && failed {
        return Class::Reconnecting;
    }
    // 2
    let stays = a.desired_transition.migrate_disable_placement == Some(true);
    if server_terminal && !reconnect && stays {
        return Class::Untainted;
    }
    // 3: over on both sides. Batch work that is done, and reschedules that found no place, are
    // sorted out by the reschedule filter, which needs to see them.
    if server_terminal && client_terminal && !reconnect && !keeps_meaning(a) {
        return Class::Ignore;
    }
    let terminal = server_terminal || client_terminal;
    // 4
    let canary = a.deployment_status.as_ref().is_some_and(|d| d.canary);
    if terminal && canary && migrate {
        return Class::Migrate;
    }
    // 5
    if terminal && !reconnect {
        return Class::Untainted;
    }
    // 6
    if unknown && group.lost_after > 0 && unknown_since(a) + group.lost_after <= now {
        return Class::Expiring;
    }
    // 7
    if reconnect && failed && a.desired_status == status::DESIRED_STOP {
        return Class::Ignore;
    }
    // 8 to 11
    if node == NodeState::Disconnected {
        return match a.client_status.as_str() {
            status::CLIENT_UNKNOWN => Class::Untainted,
            status::CLIENT_PENDING => Class::Lost,
            _ if group.lost_after == 0 => Class::Lost,
            _ => Class::Disconnecting,
        };
    }
    // 12
    if migrate {
        return Class::Migrate;
    }
    match node {
        // 13, 14
        NodeState::Ok if reconnect => Class::Reconnecting,
        NodeState::Ok => Class::Untainted,
        // 15
        NodeState::Deleted => Class::Lost,
        // 16 to 18
        NodeState::Down | NodeState::Disconnected if group.replace => Class::Lost,
        NodeState::Down | NodeState::Disconnected => match a.client_status.as_str() {
            status::CLIENT_UNKNOWN => Class::Untainted,
            status::CLIENT_RUNNING => Class::Disconnecting,
            _ => Class::Lost,
        },
    }
}

/// Ended and stopped, but the reschedule filter still has a use for it.
fn keeps_meaning(a: &Allocation) -> bool {
    let not_placed = a
        .reschedule_tracker
        .as_ref()
        .is_some_and(|t| t.last_reschedule == super::super::reschedule::NOT_PLACED);
    let batch = a.job.as_ref().is_some_and(|j| j.kind == status::JOB_BATCH);
    not_placed || batch
}

/// The servers held it for unknown and its node reports it again.
pub(in crate::sched) fn needs_reconnect(a: &Allocation) -> bool {
    let last = a.alloc_states.iter().rev().find(|s| s.field == 0);
    last.is_some_and(|s| s.value == status::CLIENT_UNKNOWN)
        && a.client_status != status::CLIENT_UNKNOWN
}

/// When it last turned unknown (ns).
fn unknown_since(a: &Allocation) -> i64 {
    let mut states = a.alloc_states.iter().rev();
    let last = states.find(|s| s.field == 0 && s.value == status::CLIENT_UNKNOWN);
    last.map_or(a.modify_time, |s| s.time.0)
}
