//! The one table of routes.
//!
//! A path that ends in `/` is a subtree, all others match to the letter, as in Go's router; the
//! longest match wins. Sub-resources are told apart by the handlers, since ids may hold slashes.

use self::Need::{
    Agent, AgentRead, AgentWrite, Asks, Management, Namespace, Node, NodeWrite, Open, Operator,
};
use super::{
    Ctx, Outcome, absent, acl, agent, allocs, client_alloc, client_fs, cluster, deployments, evals,
    events, jobs, keyring, list, metrics, namespaces, nodes, pools, replica, scaling, search,
    servers, services, snapshot, ui, variables, volumes,
};
use crate::acl::{Caps, ns};
use crate::api::ApiError;

pub type Handler = fn(&mut Ctx<'_>) -> Result<Outcome, ApiError>;

pub struct Route {
    pub path: &'static str,
    pub need: Need,
    pub run: Handler,
}

/// What a caller must be allowed, before the handler runs. Reading needs the right to read, all
/// other methods that to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: whoever asks, with whatever token.
    Open,
    /// What the handler says, which knows the object.
    Asks,
    Management,
    Agent,
    /// Whatever the method.
    AgentRead,
    AgentWrite,
    Node,
    NodeWrite,
    Operator,
    /// Any of these in the request's namespace.
    Namespace(Caps),
}

/// Which agent a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The one that is asked.
    Here,
    /// Any server of the region.
    Server,
    /// The leader; reads with `stale` any server.
    Leader,
    /// The node that is named, or that holds the allocation.
    Node,
    /// The server or node that is named, if any is.
    Named,
}

/// Where nodes speak to the leader. Known on links only: what comes from elsewhere finds nothing.
pub const NODE: &str = "/v1/internal/node";

/// Where the leader speaks to nodes about host volumes. Known on links only, too.
pub const VOLUME: &str = "/v1/internal/volume";

/// Where leaders of other regions read what all regions share. Known on links only, too.
pub const REPLICA: &str = "/v1/internal/replica";

/// The event stream.
pub const EVENTS: &str = "/v1/event/stream";

/// Which agent a request for a decoded path belongs to.
pub fn place(path: &str) -> Place {
    let below = |prefix: &str| path.starts_with(prefix);
    match path {
        "/v1/agent/members" | EVENTS | "/v1/validate/job" => Place::Server,
        "/v1/regions" | "/v1/metrics" | "/v1/jobs/parse" => Place::Here,
        NODE => Place::Leader,
        _ if below("/v1/client/") => Place::Node,
        _ if below("/v1/allocation/") && path.ends_with("/checks") => Place::Node,
        "/v1/agent/monitor" | "/v1/agent/monitor/export" | "/v1/agent/host" => Place::Named,
        _ if below("/v1/agent/") => Place::Here,
        _ if below("/v1/status/") || below("/.well-known/") => Place::Server,
        _ if below("/v1/") && find(path).is_some() => Place::Leader,
        _ => Place::Here,
    }
}

/// Every path that is known, in byte order.
pub const ROUTES: &[Route] = &[
    r("/.well-known/jwks.json", Open, keyring::jwks),
    r("/.well-known/openid-configuration", Open, cluster::openid),
    r("/ui/", Open, ui::ui),
    r("/v1/acl/", Asks, acl::one),
    r("/v1/acl/auth-methods", Open, acl::one),
    r("/v1/acl/bootstrap", Open, acl::one),
    r("/v1/acl/login", Open, acl::one),
    r("/v1/acl/oidc/", Open, acl::one),
    r("/v1/acl/token/onetime/exchange", Open, acl::one),
    r("/v1/agent/force-leave", AgentWrite, servers::force_leave),
    r("/v1/agent/health", Open, agent::health),
    r("/v1/agent/host", AgentRead, agent::host),
    r("/v1/agent/join", Open, servers::join),
    r("/v1/agent/keyring/", AgentWrite, agent::gossip_keyring),
    r("/v1/agent/members", Node, servers::members),
    r("/v1/agent/monitor", AgentRead, agent::monitor),
    r("/v1/agent/monitor/export", AgentRead, agent::monitor_export),
    r("/v1/agent/pprof/", AgentWrite, agent::pprof),
    r("/v1/agent/reload", AgentWrite, agent::reload),
    r("/v1/agent/schedulers", Agent, agent::schedulers),
    r("/v1/agent/schedulers/config", Agent, agent::schedulers_config),
    r("/v1/agent/self", AgentRead, agent::self_),
    r("/v1/agent/servers", Agent, agent::servers),
    r("/v1/allocation/", Asks, allocs::one),
    r("/v1/allocations", Asks, list::allocations),
    r("/v1/client/allocation/", Asks, client_alloc::allocation),
    r("/v1/client/fs/", Asks, client_fs::files),
    r("/v1/client/gc", NodeWrite, client_alloc::gc),
    r("/v1/client/identity", Node, client_alloc::identity),
    r("/v1/client/identity/renew", NodeWrite, client_alloc::identity_renew),
    r("/v1/client/metadata", Node, client_alloc::metadata),
    r("/v1/client/stats", Node, client_alloc::stats),
    r("/v1/deployment/", Asks, deployments::one),
    r("/v1/deployments", Asks, list::deployments),
    r("/v1/evaluation/", Asks, evals::one),
    r("/v1/evaluations", Asks, evals::collection),
    r("/v1/evaluations/count", Asks, evals::count),
    r(EVENTS, Asks, events::stream),
    r(REPLICA, Management, replica::page),
    r("/v1/job/", Asks, jobs::one),
    r("/v1/jobs", Asks, jobs::collection),
    r("/v1/jobs/parse", Namespace(ns::PARSE_JOB | ns::SUBMIT_JOB), jobs::parse),
    r("/v1/jobs/statuses", Asks, jobs::statuses),
    r("/v1/metrics", Open, metrics::metrics),
    r("/v1/namespace", Asks, namespaces::one),
    r("/v1/namespace/", Asks, namespaces::one),
    r("/v1/namespaces", Asks, namespaces::collection),
    r("/v1/node/", Node, nodes::one),
    r("/v1/node/pool/", Asks, pools::one),
    r("/v1/node/pools", Asks, pools::collection),
    r("/v1/nodes", Node, list::nodes),
    r("/v1/operator/autopilot/configuration", Operator, cluster::autopilot_config),
    r("/v1/operator/autopilot/health", Operator, servers::autopilot_health),
    r("/v1/operator/keyring/", Asks, keyring::keyring),
    r("/v1/operator/license", Open, absent::license),
    r("/v1/operator/raft/", Management, servers::raft),
    r("/v1/operator/scheduler/configuration", Operator, cluster::scheduler_config),
    r("/v1/operator/snapshot", Asks, snapshot::snapshot),
    r("/v1/operator/upgrade-check/", Operator, absent::upgrade_check),
    r("/v1/operator/utilization", Open, absent::utilization),
    r("/v1/plugin/csi/", Asks, volumes::plugin),
    r("/v1/plugins", Asks, volumes::plugins),
    r("/v1/quota", Open, absent::enterprise),
    r("/v1/quota-usages", Open, absent::enterprise),
    r("/v1/quota/", Open, absent::enterprise),
    r("/v1/quotas", Open, absent::enterprise),
    r("/v1/recommendation", Open, absent::enterprise),
    r("/v1/recommendation/", Open, absent::enterprise),
    r("/v1/recommendations", Open, absent::enterprise),
    r("/v1/recommendations/apply", Open, absent::enterprise),
    r("/v1/regions", Open, servers::regions),
    r("/v1/scaling/policies", Asks, scaling::policies),
    r("/v1/scaling/policy/", Asks, scaling::policy),
    r("/v1/search", Asks, search::prefix),
    r("/v1/search/fuzzy", Asks, search::fuzzy),
    r("/v1/sentinel/policies", Open, absent::enterprise),
    r("/v1/sentinel/policy/", Open, absent::enterprise),
    r("/v1/service/", Asks, services::one),
    r("/v1/services", Asks, services::names),
    r("/v1/status/leader", Open, servers::status_leader),
    r("/v1/status/peers", Open, servers::status_peers),
    r("/v1/system/gc", Management, cluster::system_gc),
    r("/v1/system/reconcile/summaries", Management, cluster::reconcile_summaries),
    r("/v1/validate/job", Asks, jobs::validate),
    r("/v1/var/", Asks, variables::one),
    r("/v1/vars", Asks, list::variables),
    r("/v1/volume/", Asks, volumes::one),
    r("/v1/volumes", Asks, volumes::volumes),
    r("/v1/volumes/", Asks, volumes::below),
];

const fn r(path: &'static str, need: Need, run: Handler) -> Route {
    Route { path, need, run }
}

/// The route for a decoded path and what lies behind its prefix: the path itself, or the innermost
/// subtree that it lies in.
pub fn find(path: &str) -> Option<(&'static Route, &str)> {
    let mut end = path.len().min(LONGEST);
    loop {
        let sought = &path.as_bytes()[..end];
        let before = match ROUTES.binary_search_by(|r| r.path.as_bytes().cmp(sought)) {
            Ok(at) => return Some((ROUTES.get(at)?, &path[end..])),
            Err(at) => ROUTES.get(at.checked_sub(1)?)?,
        };
        // Every subtree that it lies in lies in order before this one, or is it, and so begins it.
        let same = before.path.bytes().zip(sought).take_while(|(a, b)| a == *b).count();
        end = sought[..same].iter().rposition(|b| *b == b'/')? + 1;
        if before.path.len() == end {
            return Some((before, &path[end..]));
        }
    }
}

/// No path of a route is longer, in bytes.
const LONGEST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_stand_in_order_and_are_found() {
        assert!(ROUTES.is_sorted_by(|a, b| a.path.as_bytes() < b.path.as_bytes()));
        assert!(ROUTES.iter().all(|r| r.path.len() < LONGEST));
        for route in ROUTES {
            assert_eq!(find(route.path).map(|(r, rest)| (r.path, rest)), Some((route.path, "")));
        }
        let long = format!("/v1/var/{}", "a/\u{e9}".repeat(2_000));
        for (path, found) in [
            ("/v1/job/a/b", Some(("/v1/job/", "a/b"))),
            ("/v1/node/pool/x/nodes", Some(("/v1/node/pool/", "x/nodes"))),
            ("/v1/node/pools/x", Some(("/v1/node/", "pools/x"))),
            (&long, Some(("/v1/var/", &long[8..]))),
            ("/v1/jobs/", None),
            ("/v1/unknown", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(find(path).map(|(r, rest)| (r.path, rest)), found, "{path}");
        }
    }
}
