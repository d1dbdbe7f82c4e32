//! What a set of policies allows.

use std::collections::BTreeMap;

use super::policy::{Policy, Rule};
use super::{Caps, DENY, Names, bits, glob, ns, operator, pool, var, volume};

/// How far a right over something that is not divided further goes, in the order in which one
/// policy wins over another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    None,
    List,
    Read,
    Write,
    Deny,
}

impl Level {
    /// What gives no right counts as none, `scale` among it.
    fn of(text: &str) -> Self {
        match text {
            "list" => Self::List,
            "read" => Self::Read,
            "write" => Self::Write,
            "deny" => Self::Deny,
            _ => Self::None,
        }
    }

    /// Whether this allows what needs `need` (read or write).
    fn allows(self, need: Self) -> bool {
        self == Self::Write || (self == Self::Read && need == Self::Read)
    }
}

/// Rights by name: one of the very name wins, else the closest pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    exact: BTreeMap<String, Caps>,
    patterns: BTreeMap<String, Caps>,
}

impl Named {
    fn add(&mut self, rule: &Rule, names: Names) {
        let to = if rule.name.contains('*') { &mut self.patterns } else { &mut self.exact };
        unite(to.entry(rule.name.clone()).or_default(), bits(names, &rule.capabilities));
    }

    fn get(&self, name: &str) -> Caps {
        if let Some(caps) = self.exact.get(name) {
            return *caps;
        }
        closest(self.patterns.iter().map(|(p, c)| (p.as_str(), *c)), name).unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = Caps> {
        self.exact.values().chain(self.patterns.values()).copied()
    }
}

/// What two policies say of the same name: all of it, unless one denies.
fn unite(caps: &mut Caps, more: Caps) {
    *caps |= more;
    if *caps & DENY != 0 {
        *caps = DENY;
    }
}

/// The rights of the pattern that is closest to a name: that which leaves the least to its stars.
fn closest<'a>(patterns: impl Iterator<Item = (&'a str, Caps)>, name: &str) -> Option<Caps> {
    let mut best: Option<(usize, Caps)> = None;
    for (pattern, caps) in patterns {
        if !glob(pattern, name) {
            continue;
        }
        let stars = pattern.matches('*').count();
        // A fitting pattern is longer than the name by its stars at most.
        let distance = (name.len() + stars).saturating_sub(pattern.len());
        if best.is_none_or(|(d, _)| distance < d) {
            best = Some((distance, caps));
        }
    }
    best.map(|(_, caps)| caps)
}

/// The union of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    namespaces: Named,
    pools: Named,
    volumes: Named,
    /// By namespace and path; either may be a pattern.
    variables: BTreeMap<(String, String), Caps>,
    agent: Level,
    node: Level,
    operator: Level,
    operator_caps: Caps,
    quota: Level,
    plugin: Level,
}

impl Acl {
    /// Unites policies.
    pub fn new<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Self {
        let mut out = Self::default();
        for policy in policies {
            out.add(policy);
        }
        out
    }

    fn add(&mut self, policy: &Policy) {
        for rule in &policy.namespaces {
            self.namespaces.add(rule, ns::NAMES);
            for (path, caps) in rule.variables.iter().flatten() {
                let at = (rule.name.clone(), path.clone());
                unite(self.variables.entry(at).or_default(), bits(var::NAMES, caps));
            }
        }
        for rule in &policy.node_pools {
            self.pools.add(rule, pool::NAMES);
        }
        for rule in &policy.host_volumes {
            self.volumes.add(rule, volume::NAMES);
        }
        for (level, text) in [
            (&mut self.agent, &policy.agent),
            (&mut self.node, &policy.node),
            (&mut self.quota, &policy.quota),
            (&mut self.plugin, &policy.plugin),
        ] {
            *level = (*level).max(text.as_deref().map_or(Level::None, Level::of));
        }
        if let Some(rule) = &policy.operator {
            self.operator = self.operator.max(Level::of(&rule.policy));
            unite(&mut self.operator_caps, bits(operator::NAMES, &rule.capabilities));
        }
    }

    /// Whether any of the capabilities is given in a namespace. For `*`: in any that is named.
    pub fn namespace(&self, name: &str, any_of: Caps) -> bool {
        if name == "*" {
            return self.namespaces.all().any(|caps| caps & any_of != 0);
        }
        self.namespaces.get(name) & any_of != 0
    }

    /// Whether anything at all may be done in a namespace.
    pub fn any_in_namespace(&self, name: &str) -> bool {
        self.namespace(name, !DENY)
    }

    pub fn node_pool(&self, name: &str, any_of: Caps) -> bool {
        self.pools.get(name) & any_of != 0
    }

    /// Whether a capability is given for any pool.
    pub fn any_node_pool(&self, any_of: Caps) -> bool {
        self.pools.all().any(|caps| caps & any_of != 0)
    }

    pub fn host_volume(&self, name: &str, any_of: Caps) -> bool {
        self.volumes.get(name) & any_of != 0
    }

    /// Whether a capability for a variable is given. The pair of names counts as one text: one
    /// that names both wins over patterns.
    pub fn variable(&self, namespace: &str, path: &str, cap: Caps) -> bool {
        self.variable_rule(namespace, path) & cap != 0
    }

    fn variable_rule(&self, namespace: &str, path: &str) -> Caps {
        if self.variables.is_empty() {
            return 0;
        }
        if let Some(caps) = self.variables.get(&(namespace.to_owned(), path.to_owned())) {
            return *caps;
        }
        let whole = |ns: &str, path: &str| format!("{ns}\0{path}");
        let patterns: Vec<(String, Caps)> = self
            .variables
            .iter()
            .filter(|((ns, path), _)| ns.contains('*') || path.contains('*'))
            .map(|((ns, path), caps)| (whole(ns, path), *caps))
            .collect();
        let patterns = patterns.iter().map(|(text, caps)| (text.as_str(), *caps));
        closest(patterns, &whole(namespace, path)).unwrap_or(0)
    }

    /// Whether any variable of a namespace could be touched so; for `*`: of any namespace.
    pub fn any_variable(&self, namespace: &str, cap: Caps) -> bool {
        self.variables.iter().any(|((ns, _), caps)| {
            caps & cap != 0 && (namespace == "*" || ns == namespace || glob(ns, namespace))
        })
    }

    pub fn agent(&self, need: Level) -> bool {
        self.agent.allows(need)
    }

    pub fn node(&self, need: Level) -> bool {
        self.node.allows(need)
    }

    pub fn operator(&self, need: Level) -> bool {
        self.operator.allows(need)
    }

    pub fn quota(&self, need: Level) -> bool {
        self.quota.allows(need)
    }

    /// One capability of operators; write gives all of them.
    pub fn operation(&self, cap: Caps) -> bool {
        self.operator == Level::Write
            || (self.operator != Level::Deny && self.operator_caps & cap != 0)
    }

    /// `write` gives neither of the two rights over plugins (contract, section 2).
    pub fn plugin_read(&self) -> bool {
        self.plugin == Level::Read
    }

    pub fn plugin_list(&self) -> bool {
        matches!(self.plugin, Level::List | Level::Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(texts: &[&str]) -> Acl {
        let policies: Vec<Policy> = texts.iter().map(|t| Policy::parse(t).unwrap()).collect();
        Acl::new(&policies)
    }

    #[test]
    fn the_exact_name_wins_alone_then_the_closest_pattern() {
        let a = acl(&[r#"
            namespace "*"        { policy = "write" }
            namespace "prod-*"   { policy = "read" }
            namespace "prod-eu*" { capabilities = ["list-jobs"] }
            namespace "prod-us"  { policy = "deny" }
            namespace "empty"    {}
        "#]);
        let read = |n| a.namespace(n, ns::READ_JOB);
        let submit = |n| a.namespace(n, ns::SUBMIT_JOB);
        assert!(read("dev") && submit("dev"));
        assert!(read("prod-x") && !submit("prod-x"));
        assert!(!read("prod-eu1") && a.namespace("prod-eu1", ns::LIST_JOBS));
        assert!(!read("prod-us") && !a.any_in_namespace("prod-us"));
        assert!(!a.any_in_namespace("empty") && a.any_in_namespace("x"));
        // A denial of one does not deny the question about all.
        assert!(submit("*"));
        assert!(!acl(&[]).namespace("*", ns::READ_JOB));
        // More stars, less weight.
        let b =
            acl(&[r#"namespace "*a*" { policy = "write" } namespace "ab*" { policy = "read" }"#]);
        assert!(!b.namespace("abc", ns::SUBMIT_JOB) && b.namespace("abc", ns::READ_JOB));
    }

    #[test]
    fn policies_unite_and_deny_stays() {
        let read = r#"namespace "a" { policy = "read" }"#;
        let list = r#"namespace "a" { capabilities = ["submit-job"] }"#;
        let deny = r#"namespace "a" { policy = "deny" }"#;
        assert!(acl(&[read, list]).namespace("a", ns::SUBMIT_JOB));
        assert!(acl(&[read, list]).namespace("a", ns::READ_JOB));
        for texts in [[read, deny], [deny, read]] {
            assert!(!acl(&texts).any_in_namespace("a"));
        }
        assert!(!acl(&[deny]).namespace("a", DENY << 1 | ns::READ_JOB));
    }

    #[test]
    fn coarse_rights() {
        let a = acl(&[r#"node { policy = "write" } agent { policy = "read" }"#]);
        assert!(a.node(Level::Write) && a.node(Level::Read));
        assert!(a.agent(Level::Read) && !a.agent(Level::Write));
        assert!(!a.operator(Level::Read) && !a.quota(Level::Read));
        let a = acl(&["node { policy = \"write\" }", "node { policy = \"deny\" }"]);
        assert!(!a.node(Level::Read));
        assert!(!acl(&["node { policy = \"scale\" }"]).node(Level::Read));
        let o = acl(&[r#"operator { capabilities = ["snapshot-save"] }"#]);
        assert!(o.operation(operator::SNAPSHOT_SAVE) && !o.operation(operator::KEYRING_READ));
        assert!(!o.operator(Level::Read));
        let o = acl(&[r#"operator { policy = "write" }"#]);
        assert!(o.operation(operator::KEYRING_DELETE) && o.operator(Level::Write));
        let o = acl(&[r#"operator { policy = "read" }"#]);
        assert!(o.operation(operator::KEYRING_READ) && !o.operation(operator::KEYRING_ROTATE));
        let o = acl(&[r#"operator { policy = "write" }"#, r#"operator { policy = "deny" }"#]);
        assert!(!o.operation(operator::KEYRING_READ));
        for (text, list, read) in
            [("list", true, false), ("read", true, true), ("write", false, false)]
        {
            let p = acl(&[&format!("plugin {{ policy = {text:?} }}")]);
            assert_eq!((p.plugin_list(), p.plugin_read()), (list, read), "{text}");
        }
        let p = acl(&[r#"node_pool "gpu-*" { policy = "read" }"#]);
        assert!(p.node_pool("gpu-1", pool::READ) && !p.node_pool("gpu-1", pool::WRITE));
        assert!(!p.node_pool("default", pool::READ));
        let v = acl(&[r#"host_volume "d*" { policy = "read" }"#]);
        assert!(v.host_volume("data", volume::MOUNT_READONLY));
        assert!(!v.host_volume("data", volume::MOUNT_READWRITE));
    }

    #[test]
    fn variables_by_namespace_and_path() {
        let a = acl(&[r#"
            namespace "default" {
              variables {
                path "a/*"      { capabilities = ["write"] }
                path "a/b"      { capabilities = ["read"] }
                path "secret/*" { capabilities = ["deny", "read"] }
              }
            }
            namespace "*" { variables { path "a/b" { capabilities = ["destroy"] }
                                        path "*"   { capabilities = ["list"] } } }
        "#]);
        let may = |ns: &str, path: &str, cap| a.variable(ns, path, cap);
        assert!(may("default", "a/b", var::READ) && may("default", "a/b", var::LIST));
        assert!(!may("default", "a/b", var::WRITE) && !may("default", "a/b", var::DESTROY));
        assert!(may("default", "a/c", var::WRITE) && !may("default", "a/c", var::READ));
        assert!(!may("default", "secret/x", var::READ | var::LIST | var::WRITE));
        // A pattern of namespaces with a plain path is a pattern.
        assert!(may("other", "a/b", var::DESTROY) && !may("other", "a/b", var::READ));
        assert!(may("other", "z", var::LIST));
        assert!(a.any_variable("other", var::LIST) && a.any_variable("*", var::WRITE));
        assert!(!acl(&[]).any_variable("*", var::LIST));
        assert!(!a.any_variable("other", var::WRITE));
    }
}
