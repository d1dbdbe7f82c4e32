//! What a set of policies allows.

use super::policy::Policy;
use super::{Caps, DENY, bits, glob, ns, operator, pool, var, volume};

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

/// Rights by name, in the order of the names. Sorted lists, as they are read far more often than
/// they are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules(Vec<(String, Caps)>);

impl Rules {
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(n, _)| n.as_str().cmp(name))
    }

    /// What two policies say of the same name: all of it, unless one denies.
    fn unite(&mut self, name: String, more: Caps) {
        let at = self.place(&name).unwrap_or_else(|at| {
            self.0.insert(at, (name, 0));
            at
        });
        if let Some((_, caps)) = self.0.get_mut(at) {
            unite(caps, more);
        }
    }
}

fn unite(caps: &mut Caps, more: Caps) {
    *caps |= more;
    if *caps & DENY != 0 {
        *caps = DENY;
    }
}

/// Rights by name: one of the very name wins, else the closest pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    exact: Rules,
    patterns: Rules,
}

impl Named {
    fn add(&mut self, name: String, caps: Caps) {
        let to = if name.contains('*') { &mut self.patterns } else { &mut self.exact };
        to.unite(name, caps);
    }

    fn get(&self, name: &str) -> Caps {
        if let Ok(at) = self.exact.place(name) {
            return self.exact.0.get(at).map_or(0, |(_, caps)| *caps);
        }
        // The closest is that which leaves the least to its stars.
        let mut best: Option<(usize, Caps)> = None;
        for (pattern, caps) in &self.patterns.0 {
            if !glob(pattern, name) {
                continue;
            }
            let stars = pattern.bytes().filter(|b| *b == b'*').count();
            // A fitting pattern is longer than the name by its stars at most.
            let distance = (name.len() + stars).saturating_sub(pattern.len());
            if best.is_none_or(|(d, _)| distance < d) {
                best = Some((distance, *caps));
            }
        }
        best.map_or(0, |(_, caps)| caps)
    }

    fn all(&self) -> impl Iterator<Item = &(String, Caps)> {
        self.exact.0.iter().chain(&self.patterns.0)
    }

    /// Whether any of the capabilities is given for any name.
    fn any(&self, any_of: Caps) -> bool {
        self.all().any(|(_, caps)| caps & any_of != 0)
    }
}

/// Namespace and path of a variable as one name.
fn of_both(namespace: &str, path: &str) -> String {
    [namespace, "\0", path].concat()
}

/// The task that asks, as far as its rights depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    pub namespace: String,
    /// Of a dispatched or periodic job: the parent's.
    pub job: String,
    pub group: String,
    pub task: String,
}

impl Workload {
    /// A workload reads and lists the variables that are named after it.
    fn variable(&self, namespace: &str, path: &str) -> Option<Caps> {
        if namespace != self.namespace {
            return None;
        }
        let mut rest = path.strip_prefix("nomad/jobs")?;
        for part in [&self.job, &self.group, &self.task] {
            if rest.is_empty() {
                break;
            }
            rest = rest.strip_prefix('/')?.strip_prefix(part.as_str())?;
        }
        rest.is_empty().then_some(var::READ | var::LIST)
    }
}

/// The union of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    workload: Option<Workload>,
    namespaces: Named,
    pools: Named,
    volumes: Named,
    /// By namespace and path, either of which may be a pattern.
    variables: Named,
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

    /// The same with what a workload may do without any policy.
    #[must_use]
    pub fn of(mut self, workload: Workload) -> Self {
        self.workload = Some(workload);
        self
    }

    /// Any running task may find services.
    pub fn is_workload(&self) -> bool {
        self.workload.is_some()
    }

    fn add(&mut self, policy: &Policy) {
        for rule in &policy.namespaces {
            for (path, caps) in rule.variables.iter().flatten() {
                self.variables.add(of_both(&rule.name, path), bits(var::NAMES, caps));
            }
        }
        for (to, rules, names) in [
            (&mut self.namespaces, &policy.namespaces, ns::NAMES),
            (&mut self.pools, &policy.node_pools, pool::NAMES),
            (&mut self.volumes, &policy.host_volumes, volume::NAMES),
        ] {
            for rule in rules {
                to.add(rule.name.clone(), bits(names, &rule.capabilities));
            }
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
            return self.namespaces.any(any_of);
        }
        self.in_namespace(name) & any_of != 0
    }

    /// All that may be done in one namespace.
    pub fn in_namespace(&self, name: &str) -> Caps {
        self.namespaces.get(name)
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
        self.pools.any(any_of)
    }

    pub fn host_volume(&self, name: &str, any_of: Caps) -> bool {
        self.volumes.get(name) & any_of != 0
    }

    /// Whether a capability for a variable is given. The pair of names counts as one text: one
    /// that names both wins over what a workload has by itself, and that over patterns.
    pub fn variable(&self, namespace: &str, path: &str, cap: Caps) -> bool {
        let name = of_both(namespace, path);
        let own = self.workload.as_ref().and_then(|w| w.variable(namespace, path));
        let caps = match own.filter(|_| self.variables.exact.place(&name).is_err()) {
            Some(own) => own,
            None => self.variables.get(&name),
        };
        caps & cap != 0
    }

    /// Whether any variable of a namespace could be touched so; for `*`: of any namespace.
    pub fn any_variable(&self, namespace: &str, cap: Caps) -> bool {
        let at_home = |w: &Workload| namespace == "*" || namespace == w.namespace;
        if self.workload.as_ref().is_some_and(at_home) && cap & (var::READ | var::LIST) != 0 {
            return true;
        }
        self.variables.all().any(|(name, caps)| {
            let ns = name.split('\0').next().unwrap_or_default();
            caps & cap != 0 && (namespace == "*" || glob(ns, namespace))
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
    fn workloads_read_what_is_named_after_them() {
        let web = Workload {
            namespace: "default".to_owned(),
            job: "web".to_owned(),
            group: "g".to_owned(),
            task: "t".to_owned(),
        };
        let none = acl(&[]).of(web.clone());
        let may = |path: &str| none.variable("default", path, var::READ);
        for own in ["nomad/jobs", "nomad/jobs/web", "nomad/jobs/web/g", "nomad/jobs/web/g/t"] {
            assert!(may(own) && none.variable("default", own, var::LIST), "{own}");
            assert!(!none.variable("default", own, var::WRITE), "{own}");
            assert!(!none.variable("other", own, var::READ), "{own}");
        }
        for other in [
            "nomad/jobs/we",
            "nomad/jobs/web2",
            "nomad/jobs/web/g2",
            "nomad/jobs/web/g/t/x",
            "nomad/jobs/other/g/t",
            "nomad/jobs/",
            "nomad/jobsweb",
            "x",
        ] {
            assert!(!may(other), "{other}");
        }
        assert!(!none.namespace("default", ns::READ_JOB) && !none.node(Level::Read));
        // An exact rule says more than the implicit right, a pattern less.
        let deny = r#"namespace "default" { variables {
            path "nomad/jobs/web" { capabilities = ["deny"] }
            path "nomad/*" { capabilities = ["deny"] } } }"#;
        let denied = acl(&[deny]).of(web);
        assert!(!denied.variable("default", "nomad/jobs/web", var::READ));
        assert!(denied.variable("default", "nomad/jobs/web/g", var::READ));
        assert!(none.any_variable("default", var::LIST) && !none.any_variable("other", var::LIST));
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
