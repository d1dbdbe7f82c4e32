//! Policies: from text to rules, with the texts of the API for what is wrong.

use std::ops::Range;

use serde_json::{Value as Json, json};

use super::{Names, bit, ns, operator, pool, sentinel, var, volume};
use crate::hcl::v1::{self, Item, Node};
use crate::stdx::json::Any;

/// Longest name of a namespace, pool or volume, in characters.
const NAME_MAX: usize = 128;

/// One block: what is granted over all that its name fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    /// Empty: none.
    pub(super) policy: String,
    /// What is said, what the policy stands for, and what follows from both.
    pub(super) capabilities: Vec<String>,
    /// Capabilities by path.
    pub(super) variables: Option<Vec<(String, Vec<String>)>>,
}

/// What a policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub(super) namespaces: Vec<Rule>,
    pub(super) node_pools: Vec<Rule>,
    pub(super) host_volumes: Vec<Rule>,
    pub(super) agent: Option<String>,
    pub(super) node: Option<String>,
    pub(super) quota: Option<String>,
    pub(super) plugin: Option<String>,
    pub(super) operator: Option<Rule>,
    pub(super) sentinel: Option<Rule>,
    /// Keys at the top that mean nothing, or stand there twice.
    pub(super) extra: Vec<String>,
}

/// The kinds of blocks that have a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    Namespace,
    NodePool,
    HostVolume,
}

impl Block {
    /// Its key.
    fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::NodePool => "node_pool",
            Self::HostVolume => "host_volume",
        }
    }
}

type Result<T, E = String> = std::result::Result<T, E>;

impl Policy {
    /// Reads a policy that was accepted before, or is to be looked at leniently: what is unknown
    /// at its top is passed over.
    ///
    /// # Errors
    /// As [`Self::parse_strict`], but for keys.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let items = v1::parse(text).map_err(|e| format!("Failed to parse ACL Policy: {e}"))?;
        let mut policy = read(&items);
        if policy == (Self { extra: policy.extra.clone(), ..Self::default() }) {
            return Err(format!("Invalid policy: {text}"));
        }
        policy.check_and_expand()?;
        Ok(policy)
    }

    /// Reads a policy that is to be stored.
    ///
    /// # Errors
    /// What the API says of a text that is no policy.
    pub fn parse_strict(text: &str) -> Result<Self> {
        let policy = Self::parse(text)?;
        if policy.extra.is_empty() {
            return Ok(policy);
        }
        Err(format!("Invalid or duplicate policy keys: {}", policy.extra.join(", ")))
    }

    fn check_and_expand(&mut self) -> Result<()> {
        for (block, rules) in [
            (Block::Namespace, &mut self.namespaces),
            (Block::NodePool, &mut self.node_pools),
            (Block::HostVolume, &mut self.host_volumes),
        ] {
            for rule in rules {
                check_name(block, rule)?;
                check_rule(rule, block)?;
                check_variables(rule)?;
                expand(rule, block.name());
                if block == Block::Namespace {
                    derive(rule);
                }
            }
        }
        for (what, policy) in [
            ("agent", &self.agent),
            ("node", &self.node),
            ("quota", &self.quota),
            ("plugin", &self.plugin),
        ] {
            let Some(policy) = policy else { continue };
            let fits = match what {
                "plugin" => policy == "list" || (is_policy(policy) && policy != "scale"),
                _ => is_policy(policy),
            };
            if !fits {
                return Err(coarse_fault(what, policy));
            }
        }
        for (what, names, rule) in [
            ("operator", operator::NAMES, &mut self.operator),
            ("sentinel", sentinel::NAMES, &mut self.sentinel),
        ] {
            if let Some(rule) = rule {
                check_single(rule, what, names)?;
                expand(rule, what);
            }
        }
        Ok(())
    }

    /// The tree that a GET shows beside the text.
    pub fn print(&self, raw: &str) -> Json {
        let coarse = |policy: &Option<String>| policy.as_ref().map(|p| json!({ "Policy": p }));
        let single = |rule: &Option<Rule>| {
            rule.as_ref()
                .map(|r| json!({ "Capabilities": list(&r.capabilities), "Policy": r.policy }))
        };
        let blocks = |rules: &[Rule], spaces: bool| {
            let all: Vec<Json> = rules.iter().map(|r| block(r, spaces)).collect();
            if all.is_empty() { Json::Null } else { all.into() }
        };
        json!({
            "Agent": coarse(&self.agent),
            "ExtraKeysHCL": list(&self.extra),
            "HostVolumes": blocks(&self.host_volumes, false),
            "Namespaces": blocks(&self.namespaces, true),
            "Node": coarse(&self.node),
            "NodePools": blocks(&self.node_pools, false),
            "Operator": single(&self.operator),
            "Plugin": coarse(&self.plugin),
            "Quota": coarse(&self.quota),
            "Raw": raw,
            "Sentinel": single(&self.sentinel),
        })
    }
}

/// Null where there is nothing, as Go prints.
fn list(texts: &[String]) -> Json {
    if texts.is_empty() { Json::Null } else { texts.into() }
}

fn block(r: &Rule, space: bool) -> Json {
    let mut out =
        json!({ "Capabilities": list(&r.capabilities), "Name": r.name, "Policy": r.policy });
    if space {
        let path = |(path, caps): &(String, Vec<String>)| {
            let caps = list(caps);
            json!({ "Capabilities": caps, "PathSpec": path })
        };
        let paths = |all: &Vec<_>| json!({ "Paths": all.iter().map(path).collect::<Vec<_>>() });
        out["Variables"] = r.variables.as_ref().map_or(Json::Null, paths);
    }
    out
}

fn is_policy(text: &str) -> bool {
    ["deny", "read", "write", "scale"].contains(&text)
}

fn coarse_fault(what: &str, policy: &str) -> String {
    let (head, tail) = what.split_at(1);
    let kind = format!("{}{tail}", head.to_uppercase());
    format!("Invalid {what} policy: &acl.{kind}Policy{{Policy:{}}}", quote(policy))
}

fn check_single(rule: &Rule, what: &str, names: Names) -> Result<()> {
    if !rule.policy.is_empty() && !is_policy(&rule.policy) {
        return Err(coarse_fault(what, &rule.policy));
    }
    match rule.capabilities.iter().find(|c| bit(names, c).is_none()) {
        Some(cap) => Err(format!("Invalid {what} capability '{cap}'")),
        None => Ok(()),
    }
}

fn check_name(block: Block, rule: &Rule) -> Result<()> {
    let pool = block == Block::NodePool;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '*') || (pool && c == '_');
    let name = &rule.name;
    if !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(fits) {
        return Ok(());
    }
    Err(match block {
        Block::Namespace => format!("Invalid namespace name: {}", go_text(rule, block)),
        Block::NodePool => format!("Invalid node pool name '{name}'"),
        Block::HostVolume => format!("Invalid host volume name: {}", go_text(rule, block)),
    })
}

fn check_rule(rule: &Rule, block: Block) -> Result<()> {
    let Rule { name, policy, .. } = rule;
    if !policy.is_empty() && !is_policy(policy) {
        return Err(match block {
            Block::Namespace => format!("Invalid namespace policy: {}", go_text(rule, block)),
            Block::NodePool => format!("Invalid node pool policy '{policy}' for '{name}'"),
            Block::HostVolume => format!("Invalid host volume policy: {}", go_text(rule, block)),
        });
    }
    let names = match block {
        Block::Namespace => ns::NAMES,
        Block::NodePool => pool::NAMES,
        Block::HostVolume => volume::NAMES,
    };
    let Some(cap) = rule.capabilities.iter().find(|c| bit(names, c).is_none()) else {
        return Ok(());
    };
    let text = || go_text(rule, block);
    Err(match block {
        Block::Namespace => format!("Invalid namespace capability '{cap}': {}", text()),
        Block::NodePool => format!("Invalid node pool capability '{cap}' for '{name}'"),
        Block::HostVolume => format!("Invalid host volume capability '{cap}': {}", text()),
    })
}

fn check_variables(rule: &mut Rule) -> Result<()> {
    let name = &rule.name;
    let Some(paths) = &mut rule.variables else { return Ok(()) };
    if paths.is_empty() {
        return Err(format!("Invalid variable policy: no variable paths in namespace {name}"));
    }
    for (path, caps) in paths {
        if path.is_empty() {
            return Err(format!("Invalid missing variable path in namespace {name}"));
        }
        if path.starts_with('/') {
            // The stray mark is the reference's.
            return Err(format!(
                "Invalid variable path {} in namespace {name}: cannot start with a leading '/'`",
                quote(path)
            ));
        }
        if let Some(cap) = caps.iter().find(|c| bit(var::NAMES, c).is_none()) {
            return Err(format!("Invalid variable capability '{cap}' in namespace {name}"));
        }
        let has = |cap: &str| caps.iter().any(|c| c == cap);
        if has("deny") {
            *caps = vec!["deny".to_owned()];
        } else if has("read") && !has("list") {
            caps.push("list".to_owned());
        }
    }
    Ok(())
}

/// A block as Go prints the value that it becomes.
fn go_text(rule: &Rule, block: Block) -> String {
    let list = if rule.capabilities.is_empty() {
        "[]string(nil)".to_owned()
    } else {
        let all: Vec<String> = rule.capabilities.iter().map(|c| quote(c)).collect();
        format!("[]string{{{}}}", all.join(", "))
    };
    let head =
        format!("Name:{}, Policy:{}, Capabilities:{list}", quote(&rule.name), quote(&rule.policy));
    match block {
        Block::Namespace => {
            // The reference prints an address, which means nothing to anyone.
            let variables = if rule.variables.is_some() { "0xc000000000" } else { "nil" };
            format!("&acl.NamespacePolicy{{{head}, Variables:(*acl.VariablesPolicy)({variables})}}")
        }
        Block::NodePool => format!("&acl.NodePoolPolicy{{{head}}}"),
        Block::HostVolume => format!("&acl.HostVolumePolicy{{{head}}}"),
    }
}

fn quote(text: &str) -> String {
    format!("{text:?}")
}

/// What policies stand for, by the kind of block. `deny` stands for itself everywhere.
const EXPANSIONS: &[(&str, &str, &[&str])] = &[
    (
        "namespace",
        "read",
        &[
            "list-jobs",
            "parse-job",
            "read-job",
            "csi-list-volume",
            "csi-read-volume",
            "read-job-scaling",
            "list-scaling-policies",
            "read-scaling-policy",
            "host-volume-read",
        ],
    ),
    (
        "namespace",
        "write",
        &[
            "list-jobs",
            "parse-job",
            "read-job",
            "csi-list-volume",
            "csi-read-volume",
            "read-job-scaling",
            "list-scaling-policies",
            "read-scaling-policy",
            "host-volume-read",
            "scale-job",
            "submit-job",
            "dispatch-job",
            "read-logs",
            "read-fs",
            "alloc-exec",
            "alloc-lifecycle",
            "csi-mount-volume",
            "csi-write-volume",
            "submit-recommendation",
            "host-volume-create",
        ],
    ),
    (
        "namespace",
        "scale",
        &[
            "list-scaling-policies",
            "read-scaling-policy",
            "read-job-scaling",
            "scale-job",
            "read-job",
            "submit-recommendation",
        ],
    ),
    ("node_pool", "read", &["read"]),
    ("node_pool", "write", &["delete", "read", "write"]),
    ("host_volume", "read", &["mount-readonly"]),
    ("host_volume", "write", &["mount-readonly", "mount-readwrite"]),
    ("operator", "read", &["license-read", "keyring-read"]),
    (
        "operator",
        "write",
        &["snapshot-save", "license-read", "keyring-rotate", "keyring-read", "keyring-delete"],
    ),
    ("sentinel", "read", &["sentinel-read"]),
    ("sentinel", "write", &["sentinel-read", "sentinel-submit", "sentinel-delete"]),
];

fn expand(rule: &mut Rule, block: &str) {
    let found = EXPANSIONS.iter().find(|(b, policy, _)| *b == block && *policy == rule.policy);
    let expansion = match found {
        Some((.., expansion)) => expansion,
        None if rule.policy == "deny" => &["deny"][..],
        None => return,
    };
    rule.capabilities.extend(expansion.iter().map(|c| (*c).to_owned()));
}

/// What capabilities over volumes of hosts bring with them.
fn derive(rule: &mut Rule) {
    let mut more: Vec<&str> = Vec::new();
    for cap in &rule.capabilities {
        more.extend_from_slice(match cap.as_str() {
            "host-volume-write" => &[
                "host-volume-register",
                "host-volume-create",
                "host-volume-delete",
                "host-volume-read",
            ],
            "host-volume-register" => &["host-volume-create", "host-volume-read"],
            "host-volume-create" => &["host-volume-read"],
            _ => &[],
        });
    }
    let more: Vec<String> = more.into_iter().map(str::to_owned).collect();
    rule.capabilities.extend(more);
}

/// Sorts the items of a document by what they are about. What has an unexpected form reads as
/// empty, and is then refused by the checks.
fn read(items: &[Item]) -> Policy {
    let mut p = Policy::default();
    let mut seen = 0u8;
    for item in items {
        let Some((key, _)) = item.keys.first() else {
            p.extra.push("{".to_owned());
            continue;
        };
        let key = key.as_str();
        let named = match key {
            "namespace" => Some(&mut p.namespaces),
            "node_pool" => Some(&mut p.node_pools),
            "host_volume" => Some(&mut p.host_volumes),
            _ => None,
        };
        if let Some(rules) = named {
            labelled(item.keys.get(1..).unwrap_or_default(), &item.value, &mut |name, body| {
                rules.push(rule(name, body));
            });
            continue;
        }
        let singles = ["agent", "node", "quota", "plugin", "operator", "sentinel"];
        let place = singles.iter().position(|s| *s == key).map(|at| 1 << at);
        let Some(place) = place.filter(|place| seen & place == 0) else {
            p.extra.push(key.to_owned());
            continue;
        };
        seen |= place;
        let mut body = Vec::new();
        flatten(&item.value, &mut body);
        let rule = rule("", &body);
        match key {
            "agent" => p.agent = Some(rule.policy),
            "node" => p.node = Some(rule.policy),
            "quota" => p.quota = Some(rule.policy),
            "plugin" => p.plugin = Some(rule.policy),
            "operator" => p.operator = Some(rule),
            _ => p.sentinel = Some(rule),
        }
    }
    p
}

/// The items of an object, or of all objects of a list.
fn flatten<'v>(value: &'v Node, out: &mut Vec<&'v Item>) {
    match value {
        Node::Object(items) => out.extend(items),
        Node::List(list) => list.iter().for_each(|v| flatten(v, out)),
        Node::Scalar(_) => {}
    }
}

/// Blocks with one label: `x "label" { … }`, or `"x": {"label": { … }}`, with lists at each level.
fn labelled(keys: &[(String, Range<usize>)], value: &Node, to: &mut dyn FnMut(&str, &[&Item])) {
    if let Node::List(list) = value {
        for value in list {
            labelled(keys, value, to);
        }
        return;
    }
    let mut body = Vec::new();
    flatten(value, &mut body);
    if let [(label, _)] = keys {
        return to(label, &body);
    }
    if !keys.is_empty() || body.is_empty() || matches!(value, Node::Scalar(_)) {
        // More labels than one, or nothing that could be one.
        return to("", &body);
    }
    for item in body {
        match (&item.value, item.keys.as_slice()) {
            (Node::Scalar(_), _) => return to("", &[item]),
            (value, keys) => labelled(keys, value, to),
        }
    }
}

fn rule(name: &str, body: &[&Item]) -> Rule {
    let mut rule = Rule { name: name.to_owned(), ..Rule::default() };
    for item in body {
        let Some((key, _)) = item.keys.first() else { continue };
        match key.as_str() {
            "policy" => rule.policy = word(&item.value),
            "capabilities" => rule.capabilities.extend(words(&item.value)),
            "variables" => {
                let mut paths = Vec::new();
                let mut inner = Vec::new();
                flatten(&item.value, &mut inner);
                for path in inner {
                    if path.keys.first().is_some_and(|(k, _)| k == "path") {
                        let labels = path.keys.get(1..).unwrap_or_default();
                        labelled(labels, &path.value, &mut |name, body| {
                            paths.push((name.to_owned(), self::rule("", body).capabilities));
                        });
                    }
                }
                rule.variables.get_or_insert_default().extend(paths);
            }
            _ => {}
        }
    }
    rule
}

fn word(value: &Node) -> String {
    match value {
        Node::Scalar(Any::Text(w)) => w.clone(),
        Node::Scalar(Any::Bool(b)) => b.to_string(),
        Node::Scalar(Any::Number(n)) => n.to_string(),
        Node::Scalar(Any::Null) => String::new(),
        // What is no word is no policy or capability either.
        Node::Scalar(Any::List(_) | Any::Map(_)) | Node::List(_) | Node::Object(_) => {
            "{}".to_owned()
        }
    }
}

fn words(value: &Node) -> Vec<String> {
    match value {
        Node::List(list) => list.iter().map(word).collect(),
        other => vec![word(other)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Policy::parse_strict(text).unwrap_err()
    }

    #[test]
    fn hcl_and_json_say_the_same() {
        let hcl = r#"
            namespace "default" {
              policy = "write"
              variables { path "x"   { capabilities = ["list"] }
                          path "y/*" { capabilities = ["read"] } }
            }
            namespace "b" { capabilities = ["read-job"] }
            operator { policy = "read" }
        "#;
        let json = r#"{"namespace":{"default":{"policy":"write","variables":{"path":{
            "x":{"capabilities":["list"]},"y/*":{"capabilities":["read"]}}}},
            "b":{"capabilities":["read-job"]}},"operator":{"policy":"read"}}"#;
        let lists = r#"{"namespace":[{"default":[{"policy":"write","variables":[{"path":[
            {"x":[{"capabilities":["list"]}]},{"y/*":[{"capabilities":["read"]}]}]}]}]},
            {"b":[{"capabilities":["read-job"]}]}],"operator":[{"policy":"read"}]}"#;
        let one = Policy::parse_strict(hcl).unwrap();
        let mut two = Policy::parse_strict(json).unwrap();
        // Objects of JSON have no order.
        two.namespaces.sort_by_key(|r| std::cmp::Reverse(r.name.clone()));
        assert_eq!(one, two);
        assert_eq!(one, Policy::parse_strict(lists).unwrap());
        let paths = one.namespaces[0].variables.as_ref().unwrap();
        assert_eq!(paths[1], ("y/*".to_owned(), vec!["read".to_owned(), "list".to_owned()]));
    }

    #[test]
    fn the_tree_as_recorded() {
        let text = "node { policy = \"read\" }\nnamespace \"default\" { policy = \"read\" }";
        let printed = Policy::parse(text).unwrap().print(text).to_string();
        assert_eq!(
            printed,
            concat!(
                r#"{"Agent":null,"ExtraKeysHCL":null,"HostVolumes":null,"#,
                r#""Namespaces":[{"Capabilities":["list-jobs","parse-job","read-job","#,
                r#""csi-list-volume","csi-read-volume","read-job-scaling","#,
                r#""list-scaling-policies","read-scaling-policy","host-volume-read"],"#,
                r#""Name":"default","Policy":"read","Variables":null}],"#,
                r#""Node":{"Policy":"read"},"NodePools":null,"Operator":null,"Plugin":null,"#,
                r#""Quota":null,"Raw":"node { policy = \"read\" }\n"#,
                r#"namespace \"default\" { policy = \"read\" }","Sentinel":null}"#
            )
        );
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_the_api() {
        for (text, wrong) in [
            (
                "namespace \"default\" { ",
                "Failed to parse ACL Policy: At 1:23: object expected closing RBRACE got: EOF",
            ),
            ("# nothing", "Invalid policy: # nothing"),
            (
                "node { policy = \"read\" } zz = 1 node { policy = \"write\" }",
                "Invalid or duplicate policy keys: zz, node",
            ),
            (
                "namespace \"default\" { policy = \"nope\" }",
                "Invalid namespace policy: &acl.NamespacePolicy{Name:\"default\", \
                 Policy:\"nope\", Capabilities:[]string(nil), \
                 Variables:(*acl.VariablesPolicy)(nil)}",
            ),
            (
                "namespace \"a b\" { policy = \"read\" }",
                "Invalid namespace name: &acl.NamespacePolicy{Name:\"a b\", Policy:\"read\", \
                 Capabilities:[]string(nil), Variables:(*acl.VariablesPolicy)(nil)}",
            ),
            (
                // A block without a name applies to nothing (CVE-2023-3072).
                "namespace { policy = \"write\" }",
                "Invalid namespace name: &acl.NamespacePolicy{Name:\"\", Policy:\"write\", \
                 Capabilities:[]string(nil), Variables:(*acl.VariablesPolicy)(nil)}",
            ),
            (
                "namespace \"x\" { capabilities = [\"read-job\", \"zz\"] }",
                "Invalid namespace capability 'zz': &acl.NamespacePolicy{Name:\"x\", Policy:\"\", \
                 Capabilities:[]string{\"read-job\", \"zz\"}, \
                 Variables:(*acl.VariablesPolicy)(nil)}",
            ),
            ("node_pool \"n\" { policy = \"x\" }", "Invalid node pool policy 'x' for 'n'"),
            (
                "node_pool \"n\" { capabilities = [\"x\"] }",
                "Invalid node pool capability 'x' for 'n'",
            ),
            ("operator { capabilities = [\"x\"] }", "Invalid operator capability 'x'"),
            ("sentinel { capabilities = [\"x\"] }", "Invalid sentinel capability 'x'"),
            (
                "namespace \"x\" { variables {} }",
                "Invalid variable policy: no variable paths in namespace x",
            ),
            (
                "namespace \"x\" { variables { path \"\" { capabilities = [\"read\"] } } }",
                "Invalid missing variable path in namespace x",
            ),
            (
                "namespace \"x\" { variables { path \"/a\" { capabilities = [\"read\"] } } }",
                "Invalid variable path \"/a\" in namespace x: cannot start with a leading '/'`",
            ),
            (
                "namespace \"y\" { variables { path \"a\" { capabilities = [\"x\"] } } }",
                "Invalid variable capability 'x' in namespace y",
            ),
            ("agent { }", "Invalid agent policy: &acl.AgentPolicy{Policy:\"\"}"),
            (
                "plugin { policy = \"scale\" }",
                "Invalid plugin policy: &acl.PluginPolicy{Policy:\"scale\"}",
            ),
            (
                "namespace \"a\" \"b\" { policy = \"read\" }",
                "Invalid namespace name: &acl.NamespacePolicy{Name:\"\", Policy:\"read\", \
                 Capabilities:[]string(nil), Variables:(*acl.VariablesPolicy)(nil)}",
            ),
        ] {
            assert_eq!(fault(text), wrong, "{text}");
        }
        assert!(Policy::parse_strict("").is_ok());
        assert!(Policy::parse("node { policy = \"read\" } zz = 1").is_ok());
        assert!(Policy::parse_strict("plugin { policy = \"list\" }").is_ok());
        assert!(Policy::parse_strict("namespace \"x\" {}").is_ok());
    }

    #[test]
    fn capabilities_in_their_order() {
        let caps = |text: &str| Policy::parse(text).unwrap().namespaces.remove(0).capabilities;
        let write = caps("namespace \"a\" { policy = \"write\" capabilities = [\"alloc-exec\"] }");
        assert_eq!(write.first().unwrap(), "alloc-exec");
        assert_eq!(write.len(), 1 + 20 + 1);
        assert_eq!(write.last().unwrap(), "host-volume-read");
        let derived = caps("namespace \"a\" { capabilities = [\"host-volume-register\"] }");
        assert_eq!(derived, ["host-volume-register", "host-volume-create", "host-volume-read"]);
        let deny =
            "namespace \"a\" { variables { path \"x\" { capabilities = [\"read\", \"deny\"] } } }";
        let rule = Policy::parse(deny).unwrap().namespaces.remove(0);
        assert_eq!(rule.variables.unwrap()[0].1, ["deny"]);
    }
}
