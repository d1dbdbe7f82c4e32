//! The one table of routes.
//!
//! A path that ends in `/` is a subtree, all others match to the letter, as in Go's router; the
//! longest match wins. Sub-resources are told apart by the handlers, since ids may hold slashes.

use super::{
    Ctx, Outcome, absent, agent, allocs, client_alloc, client_fs, cluster, deployments, evals,
    events, jobs, keyring, list, metrics, namespaces, nodes, pools, scaling, search, servers,
    services, snapshot, variables,
};
use crate::api::ApiError;

pub type Handler = fn(&mut Ctx<'_>) -> Result<Outcome, ApiError>;

pub struct Route {
    pub path: &'static str,
    pub run: Handler,
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

/// Which agent a request for a decoded path belongs to.
pub fn place(path: &str) -> Place {
    let below = |prefix: &str| path.starts_with(prefix);
    match path {
        "/v1/agent/members" | "/v1/event/stream" | "/v1/validate/job" => Place::Server,
        "/v1/regions" | "/v1/metrics" | "/v1/jobs/parse" => Place::Here,
        NODE => Place::Leader,
        _ if below("/v1/client/") => Place::Node,
        _ if below("/v1/allocation/") && path.ends_with("/checks") => Place::Node,
        "/v1/agent/monitor" | "/v1/agent/host" => Place::Named,
        _ if below("/v1/agent/") => Place::Here,
        _ if below("/v1/status/") || below("/.well-known/") => Place::Server,
        _ if below("/v1/") && find(path).is_some() => Place::Leader,
        _ => Place::Here,
    }
}

/// Every path that is known, by name.
pub const ROUTES: &[Route] = &[
    r("/.well-known/jwks.json", keyring::jwks),
    r("/.well-known/openid-configuration", cluster::openid),
    r("/ui/", absent::ui),
    r("/v1/acl/", absent::acl),
    r("/v1/agent/force-leave", servers::force_leave),
    r("/v1/agent/health", agent::health),
    r("/v1/agent/host", agent::host),
    r("/v1/agent/join", servers::join),
    r("/v1/agent/keyring/", agent::gossip_keyring),
    r("/v1/agent/members", servers::members),
    r("/v1/agent/monitor", agent::monitor),
    r("/v1/agent/monitor/export", agent::monitor_export),
    r("/v1/agent/pprof/", agent::pprof),
    r("/v1/agent/reload", agent::reload),
    r("/v1/agent/schedulers", agent::schedulers),
    r("/v1/agent/schedulers/config", agent::schedulers_config),
    r("/v1/agent/self", agent::self_),
    r("/v1/agent/servers", agent::servers),
    r("/v1/allocation/", allocs::one),
    r("/v1/allocations", list::allocations),
    r("/v1/client/allocation/", client_alloc::allocation),
    r("/v1/client/fs/", client_fs::files),
    r("/v1/client/gc", client_alloc::gc),
    r("/v1/client/identity", client_alloc::identity),
    r("/v1/client/identity/renew", client_alloc::identity),
    r("/v1/client/metadata", client_alloc::metadata),
    r("/v1/client/stats", client_alloc::stats),
    r("/v1/deployment/", deployments::one),
    r("/v1/deployments", list::deployments),
    r("/v1/evaluation/", evals::one),
    r("/v1/evaluations", evals::collection),
    r("/v1/evaluations/count", evals::count),
    r("/v1/event/stream", events::stream),
    r("/v1/job/", jobs::one),
    r("/v1/jobs", jobs::collection),
    r("/v1/jobs/parse", jobs::parse),
    r("/v1/jobs/statuses", jobs::statuses),
    r("/v1/metrics", metrics::metrics),
    r("/v1/namespace", namespaces::one),
    r("/v1/namespace/", namespaces::one),
    r("/v1/namespaces", namespaces::collection),
    r("/v1/node/", nodes::one),
    r("/v1/node/pool/", pools::one),
    r("/v1/node/pools", pools::collection),
    r("/v1/nodes", list::nodes),
    r("/v1/operator/autopilot/configuration", cluster::autopilot_config),
    r("/v1/operator/autopilot/health", servers::autopilot_health),
    r("/v1/operator/keyring/", keyring::keyring),
    r("/v1/operator/license", absent::license),
    r("/v1/operator/raft/", servers::raft),
    r("/v1/operator/scheduler/configuration", cluster::scheduler_config),
    r("/v1/operator/snapshot", snapshot::snapshot),
    r("/v1/operator/upgrade-check/", absent::upgrade_check),
    r("/v1/operator/utilization", absent::utilization),
    r("/v1/plugin/csi/", absent::plugin),
    r("/v1/plugins", absent::plugins),
    r("/v1/quota", absent::enterprise),
    r("/v1/quota-usages", absent::enterprise),
    r("/v1/quota/", absent::enterprise),
    r("/v1/quotas", absent::enterprise),
    r("/v1/recommendation", absent::enterprise),
    r("/v1/recommendation/", absent::enterprise),
    r("/v1/recommendations", absent::enterprise),
    r("/v1/recommendations/apply", absent::enterprise),
    r("/v1/regions", servers::regions),
    r("/v1/scaling/policies", scaling::policies),
    r("/v1/scaling/policy/", scaling::policy),
    r("/v1/search", search::prefix),
    r("/v1/search/fuzzy", search::fuzzy),
    r("/v1/sentinel/policies", absent::enterprise),
    r("/v1/sentinel/policy/", absent::enterprise),
    r("/v1/service/", services::one),
    r("/v1/services", services::names),
    r("/v1/status/leader", servers::status_leader),
    r("/v1/status/peers", servers::status_peers),
    r("/v1/system/gc", cluster::system_gc),
    r("/v1/system/reconcile/summaries", cluster::reconcile_summaries),
    r("/v1/validate/job", jobs::validate),
    r("/v1/var/", variables::one),
    r("/v1/vars", list::variables),
    r("/v1/volume/", absent::volume),
    r("/v1/volumes", absent::volumes),
    r("/v1/volumes/", absent::volume),
];

const fn r(path: &'static str, run: Handler) -> Route {
    Route { path, run }
}

/// The route for a decoded path and what lies behind its prefix.
pub fn find(path: &str) -> Option<(&'static Route, &str)> {
    let mut best: Option<(&'static Route, &str)> = None;
    for route in ROUTES {
        let rest = if route.path.ends_with('/') {
            match path.strip_prefix(route.path) {
                Some(rest) => rest,
                None => continue,
            }
        } else if path == route.path {
            return Some((route, ""));
        } else {
            continue;
        };
        if best.is_none_or(|(b, _)| b.path.len() < route.path.len()) {
            best = Some((route, rest));
        }
    }
    best
}
