//! When each node must have been heard again.

use std::rc::Rc;

use crate::stdx::{BTreeMap, BTreeSet};

const SECOND: u64 = 1_000_000_000;
/// A deadline that is noticed this late was not watched.
const SLEPT_NS: u64 = 5 * SECOND;

/// Times of heartbeats, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Shortest time that a node is given.
    pub min_ttl_ns: u64,
    /// Heartbeats per second that all nodes together shall not exceed; at least 1.
    pub max_per_second: u64,
    /// A node may be this much late.
    pub grace_ns: u64,
    /// What each node is given when another server begins to lead.
    pub failover_ttl_ns: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_ttl_ns: 10 * SECOND,
            max_per_second: 50,
            grace_ns: 10 * SECOND,
            failover_ttl_ns: 300 * SECOND,
        }
    }
}

/// Deadlines of all nodes that are not down. Invariant: both maps hold the same nodes.
#[derive(Debug, Default)]
pub struct Heartbeats {
    config: Config,
    nodes: BTreeMap<Rc<str>, u64>,
    order: BTreeSet<(u64, Rc<str>)>,
}

impl Heartbeats {
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }

    /// A node was heard at `now` (monotonic nanoseconds); the time that it is given. `jitter`:
    /// uniform.
    pub fn reset(&mut self, node: &str, now: u64, jitter: u64) -> u64 {
        let count = self.nodes.len() as u64 + u64::from(!self.nodes.contains_key(node));
        let spread = count.saturating_mul(SECOND) / self.config.max_per_second.max(1);
        let base = self.config.min_ttl_ns.max(spread).max(1);
        let ttl = base.saturating_add(jitter % base);
        self.set(node, now.saturating_add(ttl).saturating_add(self.config.grace_ns));
        ttl
    }

    /// A node that another leader last heard: it has time to find this one.
    pub fn take_over(&mut self, node: &str, now: u64) {
        self.set(node, now.saturating_add(self.config.failover_ttl_ns));
    }

    /// Down or gone: no longer waited for.
    pub fn remove(&mut self, node: &str) {
        if let Some((node, at)) = self.nodes.remove_entry(node) {
            self.order.remove(&(at, node));
        }
    }

    /// How many are waited for.
    pub fn active(&self) -> usize {
        self.nodes.len()
    }

    pub fn contains(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// Forgets all nodes: this server does not lead.
    pub fn clear(&mut self) {
        self.nodes.clear();
        self.order.clear();
    }

    /// Takes out the nodes whose time is up, longest silent first. Where this comes much too late
    /// it was this process that slept (suspend, a stopped process): the silence was its own, and
    /// every node is given the time to be heard again.
    pub fn expired(&mut self, now: u64) -> Vec<Rc<str>> {
        let mut out = Vec::new();
        if self.deadline().is_some_and(|at| now.saturating_sub(at) > SLEPT_NS) {
            let by =
                now.saturating_add(self.config.min_ttl_ns).saturating_add(self.config.grace_ns);
            self.order.clear();
            for (node, at) in &mut self.nodes {
                *at = by.max(*at);
                self.order.insert((*at, node.clone()));
            }
        }
        while let Some((at, _)) = self.order.first()
            && *at <= now
            && let Some((_, node)) = self.order.pop_first()
        {
            self.nodes.remove(&node);
            out.push(node);
        }
        out
    }

    /// When [`Self::expired`] is due.
    pub fn deadline(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    fn set(&mut self, node: &str, deadline: u64) {
        let id = match self.nodes.get_key_value(node) {
            Some((id, at)) => {
                self.order.remove(&(*at, id.clone()));
                id.clone()
            }
            None => node.into(),
        };
        self.nodes.insert(id.clone(), deadline);
        self.order.insert((deadline, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_of_the_server_is_no_silence_of_the_nodes() {
        let mut h = Heartbeats::new(Config::default());
        h.reset("a", 0, 0);
        h.reset("b", 0, SECOND);
        h.take_over("c", 3600 * SECOND);
        assert_eq!(h.expired(3600 * SECOND), [], "an hour of suspend");
        assert_eq!(h.deadline(), Some(3620 * SECOND));
        h.reset("b", 3601 * SECOND, 0);
        assert_eq!(h.expired(3620 * SECOND), ["a".into()]);
        assert_eq!(h.expired(3621 * SECOND), ["b".into()]);
        assert_eq!(h.deadline(), Some(3900 * SECOND));
    }

    #[test]
    fn nodes_are_given_time_by_their_number() {
        let mut h = Heartbeats::new(Config::default());
        assert_eq!(h.deadline(), None);
        assert_eq!(h.reset("a", 0, 3 * SECOND), 13 * SECOND);
        assert_eq!(h.reset("b", 0, 12 * SECOND), 12 * SECOND);
        assert_eq!(h.deadline(), Some(22 * SECOND));
        assert_eq!(h.reset("b", 5 * SECOND, 0), 10 * SECOND);
        assert_eq!(h.deadline(), Some(23 * SECOND));
        h.take_over("c", 0);
        assert_eq!(h.expired(25 * SECOND), ["a".into(), "b".into()]);
        h.remove("c");
        h.remove("c");
        assert_eq!((h.deadline(), h.contains("c")), (None, false));
        for n in 0..1000 {
            h.take_over(&n.to_string(), 0);
        }
        // A thousand nodes at fifty a second: twenty seconds.
        assert_eq!(h.reset("7", 0, 0), 20 * SECOND);
        h.clear();
        assert_eq!(h.deadline(), None);
        assert_eq!(h.reset("a", u64::MAX, u64::MAX), 10 * SECOND + u64::MAX % (10 * SECOND));
    }
}
