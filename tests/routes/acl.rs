//! Access control: every endpoint asked by callers of every kind, and the ways around it that other
//! programs once had (numbers of weaknesses stand where a test is for one).

use serde_json::{Value, json};
use vardo::api::{AclToken, Deployment, Node, ServiceRegistration};
use vardo::command::{AllocClientState, Command, Placement, Plan};
use vardo::routes::table::{ROUTES, find};
use vardo::routes::{AclInfo, Answer, Outcome};
use vardo::stdx::BTreeSet;

use super::{NODE, Server, job, json as body_of, text};

/// Of the clock of these tests.
const NOW_NS: i64 = 1_795_426_609_000_000_000;
pub(super) const SECRET: &str = "5ec2e700-0000-4000-8000-000000000000";
const NODE_SECRET: &str = "0de5ec2e-0000-4000-8000-000000000000";
const ALLOC: &str = "aaaaaaaa-0000-4000-8000-000000000000";
const DEPLOYMENT: &str = "dddddddd-1111-4000-8000-000000000000";

/// The namespace capabilities there are, but `deny`.
fn namespace_capabilities() -> Vec<&'static str> {
    vardo::acl::ns::NAMES.iter().copied().filter(|n| *n != "deny").collect()
}

/// A server with access control, where `self.token` is that of a manager.
pub(super) fn guarded(name: &str) -> Server {
    let mut s = Server::new(name);
    s.acl = AclInfo::new(true, 1, i64::MAX);
    let boot = s.ask("PUT", "/v1/acl/bootstrap", &json!({"BootstrapSecret": SECRET}).to_string());
    assert_eq!(boot.status, 200, "{}", text(&boot));
    s.token = Some(SECRET.to_owned());
    s
}

impl Server {
    /// Writes as a manager, which must succeed.
    pub(super) fn manage(&mut self, method: &str, target: &str, body: &Value) -> Answer {
        let before = self.token.replace(SECRET.to_owned());
        let a = self.ask(method, target, &body.to_string());
        assert!(a.status < 300, "{method} {target}: {} {}", a.status, text(&a));
        self.token = before;
        a
    }

    pub(super) fn policy(&mut self, name: &str, rules: &str) {
        let body = json!({"Name": name, "Rules": rules});
        self.manage("PUT", &format!("/v1/acl/policy/{name}"), &body);
    }

    /// A token with these policies: accessor and secret.
    pub(super) fn client_token(&mut self, policies: &[&str]) -> (String, String) {
        let body = json!({"Name": "t", "Type": "client", "Policies": policies});
        let token = body_of(&self.manage("PUT", "/v1/acl/token", &body));
        let text = |k: &str| token[k].as_str().unwrap().to_owned();
        (text("AccessorID"), text("SecretID"))
    }

    /// A policy of that name and a token that has it.
    fn with_rules(&mut self, name: &str, rules: &str) -> String {
        self.policy(name, rules);
        self.client_token(&[name]).1
    }

    /// Status and text of a request with a token, of which nothing is written.
    pub(super) fn try_as(
        &mut self,
        token: Option<&str>,
        method: &str,
        target: &str,
        body: &str,
    ) -> Tried {
        self.token = token.map(str::to_owned);
        match self.outcome(method, target, body) {
            Ok(Outcome::Answer(a)) => Tried(a.status, text(&a)),
            Ok(_) => Tried(200, String::new()),
            Err(e) => Tried(e.status, e.text),
        }
    }

    pub(super) fn get_as(&mut self, token: &str, target: &str) -> Tried {
        self.try_as(Some(token), "GET", target, "")
    }

    fn changes(&mut self, command: &Command) {
        self.apply(command);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tried(pub(super) u16, pub(super) String);

impl Tried {
    fn denied(&self) -> bool {
        self.0 == 403 && self.1 == "Permission denied"
    }
}

/// One of everything that an endpoint is about.
pub(super) struct Seeds {
    eval: String,
    scaling: String,
    once: String,
    role: String,
    accessor: String,
}

pub(super) fn seed(s: &mut Server) -> Seeds {
    let mut web = job("web");
    web["TaskGroups"][0]["Scaling"] = json!({"Min": 0, "Max": 5, "Enabled": true});
    let eval = s.register(&web)["EvalID"].as_str().unwrap().to_owned();
    let created = s.index;
    let node = Node {
        id: NODE.to_owned(),
        status: "ready".to_owned(),
        scheduling_eligibility: "eligible".to_owned(),
        ..Node::default()
    };
    let (secret, evals) = (NODE_SECRET.to_owned(), Vec::new());
    s.changes(&Command::NodeRegister { node: Box::new(node), secret, wall_ns: 1, evals });
    let alloc = vardo::api::Allocation {
        id: ALLOC.to_owned(),
        namespace: "default".to_owned(),
        job_id: "web".to_owned(),
        task_group: "app".to_owned(),
        eval_id: eval.clone(),
        node_id: NODE.to_owned(),
        desired_status: "run".to_owned(),
        client_status: "pending".to_owned(),
        ..Default::default()
    };
    let deployment = Deployment {
        id: DEPLOYMENT.to_owned(),
        namespace: "default".to_owned(),
        job_id: "web".to_owned(),
        job_create_index: created,
        status: "running".to_owned(),
        ..Deployment::default()
    };
    let plan = Plan {
        namespace: "default".to_owned(),
        job_id: "web".to_owned(),
        places: vec![Placement { alloc, job_version: 0, job_create_index: created }],
        deployment: Some(Box::new(deployment)),
        ..Plan::default()
    };
    s.changes(&Command::PlanApply { plan: Box::new(plan), wall_ns: 1 });
    let service = ServiceRegistration {
        id: "s1".to_owned(),
        alloc_id: ALLOC.to_owned(),
        namespace: "default".to_owned(),
        job_id: "web".to_owned(),
        node_id: NODE.to_owned(),
        service_name: "api".to_owned(),
        ..ServiceRegistration::default()
    };
    let update = AllocClientState {
        id: ALLOC.to_owned(),
        client_status: "running".to_owned(),
        services: Some(vec![service]),
        ..AllocClientState::default()
    };
    let (updates, evals) = (vec![update], Vec::new());
    s.changes(&Command::AllocClientUpdate { updates, evals, wall_ns: 1 });
    s.manage("PUT", "/v1/namespace", &json!({"Name": "apps"}));
    s.manage("PUT", "/v1/node/pools", &json!({"Name": "gpu"}));
    s.manage("PUT", "/v1/var/a/b", &json!({"Items": {"k": "v"}}));
    let policies = body_of(&s.get("/v1/scaling/policies"));
    let scaling = policies[0]["ID"].as_str().unwrap().to_owned();
    let once = body_of(&s.manage("PUT", "/v1/acl/token/onetime", &Value::Null));
    let once = once["OneTimeToken"]["OneTimeSecretID"].as_str().unwrap().to_owned();
    s.policy("with", "");
    let role = json!({"Name": "with", "Policies": [{"Name": "with"}]});
    let role = body_of(&s.manage("PUT", "/v1/acl/role", &role));
    let role = role["ID"].as_str().unwrap().to_owned();
    Seeds { eval, scaling, once, role, accessor: String::new() }
}

impl Seeds {
    pub(super) fn fill(&self, text: &str) -> String {
        [
            ("{alloc}", ALLOC),
            ("{node}", NODE),
            ("{deployment}", DEPLOYMENT),
            ("{eval}", &self.eval),
            ("{scaling}", &self.scaling),
            ("{once}", &self.once),
            ("{role}", &self.role),
            ("{accessor}", &self.accessor),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

const VARIABLE_CAPS: [&str; 4] = ["list", "read", "write", "destroy"];
const POOL_CAPS: [&str; 3] = ["delete", "read", "write"];
const OPERATOR_CAPS: [&str; 5] =
    ["snapshot-save", "license-read", "keyring-rotate", "keyring-read", "keyring-delete"];

/// The policy that gives exactly these rights.
fn rules(rights: &BTreeSet<&str>) -> String {
    let with = |prefix: &str| -> Vec<&str> {
        rights.iter().filter_map(|r| r.strip_prefix(prefix)).collect()
    };
    let level = |kind: &str| -> Option<&str> {
        let levels = with(&format!("{kind}:"));
        levels.iter().find(|l| **l == "write").or(levels.first()).copied()
    };
    let mut tree = json!({});
    let known = namespace_capabilities();
    let mut caps: Vec<&str> = rights.iter().copied().filter(|r| known.contains(r)).collect();
    if rights.contains("any-namespace") {
        caps.push("submit-recommendation");
    }
    let mut space = json!({ "capabilities": caps });
    let variables = with("variables:");
    if !variables.is_empty() {
        space["variables"] = json!({"path": {"*": {"capabilities": variables}}});
    }
    if !caps.is_empty() || !variables.is_empty() {
        tree["namespace"] = json!({ "*": space });
    }
    let pools = with("node_pool:");
    if !pools.is_empty() {
        tree["node_pool"] = json!({"*": {"capabilities": pools}});
    }
    let mut operator = json!({});
    if let Some(level) = level("operator") {
        operator["policy"] = level.into();
    }
    let operations = with("operator/");
    if !operations.is_empty() {
        operator["capabilities"] = json!(operations);
    }
    if operator != json!({}) {
        tree["operator"] = operator;
    }
    for kind in ["node", "agent", "plugin", "quota"] {
        if let Some(level) = level(kind) {
            tree[kind] = json!({ "policy": level });
        }
    }
    if tree == json!({}) { String::new() } else { tree.to_string() }
}

/// Every right but these.
fn all_but(lacking: &BTreeSet<&str>) -> BTreeSet<String> {
    let mut all: BTreeSet<String> =
        namespace_capabilities().into_iter().map(str::to_owned).collect();
    all.extend(VARIABLE_CAPS.iter().map(|c| format!("variables:{c}")));
    all.extend(POOL_CAPS.iter().map(|c| format!("node_pool:{c}")));
    all.extend(OPERATOR_CAPS.iter().map(|c| format!("operator/{c}")));
    for kind in ["node", "agent", "operator", "quota"] {
        all.insert(format!("{kind}:read"));
        all.insert(format!("{kind}:write"));
    }
    all.extend(["plugin:read".to_owned(), "plugin:list".to_owned()]);
    for right in lacking {
        all.remove(*right);
        match *right {
            // Reading listed things, and writing read ones, are rights of their own; what stands
            // above a right goes with it.
            "variables:list" => {
                all.remove("variables:read");
            }
            "plugin:list" => {
                all.remove("plugin:read");
            }
            // Each brings those behind it.
            "host-volume-read"
            | "host-volume-create"
            | "host-volume-register"
            | "host-volume-delete" => {
                all.remove("host-volume-write");
                if *right != "host-volume-delete" {
                    all.remove("host-volume-register");
                }
                if *right == "host-volume-read" {
                    all.remove("host-volume-create");
                }
            }
            "any-namespace" => {
                let caps = namespace_capabilities();
                all.retain(|r| !caps.contains(&r.as_str()));
            }
            _ => {}
        }
        let parts = right.split_once(':');
        if let Some((kind @ ("node" | "agent" | "operator" | "quota"), "read")) = parts {
            all.remove(&format!("{kind}:write"));
        }
        if right.starts_with("operator/") {
            all.remove("operator:write");
            if *right == "operator/keyring-read" {
                all.remove("operator:read");
            }
        }
    }
    all
}

pub(super) struct Row<'t> {
    pub(super) method: &'t str,
    pub(super) target: &'t str,
    right: &'t str,
    pub(super) body: &'t str,
}

pub(super) fn rows() -> Vec<Row<'static>> {
    include_str!("../data/acl/endpoints.tsv")
        .lines()
        .filter(|l| !l.starts_with('#'))
        .map(|line| {
            let mut parts = line.split('\t');
            let mut part = || parts.next().unwrap_or_default();
            Row { method: part(), target: part(), right: part(), body: part() }
        })
        .collect()
}

/// The matrix: each endpoint × callers without a token, with one that is unknown, expired, lacks
/// the right and nothing else, has the right and nothing else (for each of several that will do),
/// and manages (CVE-2026-33413: an endpoint that asks nobody).
#[test]
fn every_endpoint_answers_every_caller_as_documented() {
    let mut s = guarded("acl-matrix");
    let mut seeds = seed(&mut s);
    let mut cells = 0;
    let mut wrong = Vec::new();
    for row in rows() {
        let Row { method, target, right, .. } = row;
        let filtered = right.strip_prefix("filtered ");
        let right = filtered.unwrap_or(right);
        let own = matches!(right, "own" | "own-list" | "open" | "any" | "token" | "management");
        let alternatives: Vec<BTreeSet<&str>> = if own {
            vec![BTreeSet::new()]
        } else {
            right.split('|').map(|a| a.split('+').collect()).collect()
        };
        let lacking = all_but(&alternatives.iter().flatten().copied().collect());
        s.policy("without", &rules(&lacking.iter().map(String::as_str).collect()));
        let (_, without) = s.client_token(&["without"]);
        for held in &alternatives {
            s.policy("with", &rules(held));
            let body = json!({"Name": "t", "Type": "client", "Policies": ["with"],
                "Roles": [{"ID": seeds.role}]});
            let with = body_of(&s.manage("PUT", "/v1/acl/token", &body));
            let with_secret = with["SecretID"].as_str().unwrap().to_owned();
            seeds.accessor = with["AccessorID"].as_str().unwrap().to_owned();
            let expired = expired_token(&mut s, &seeds.role);
            let (target, body) = (seeds.fill(target), seeds.fill(row.body));
            // Who asks, and whether they may; `None`: nothing that is theirs is shown.
            let open = Some(right == "open");
            let lists = filtered.is_some() || right == "own-list";
            let lesser = match right {
                "open" | "any" => Some(true),
                _ if lists => None,
                _ => Some(false),
            };
            let unknown = "11111111-2222-3333-4444-555555555555";
            let callers: [(&str, Option<&str>, Option<bool>); 6] = [
                ("no token", None, lesser),
                ("an unknown token", Some(unknown), open),
                ("an expired token", Some(&expired), open),
                (
                    "a token without the right",
                    Some(&without),
                    if right == "token" { Some(true) } else { lesser },
                ),
                ("a token with the right", Some(&with_secret), Some(right != "management")),
                ("a manager", Some(SECRET), Some(true)),
            ];
            for (who, token, allowed) in callers {
                cells += 1;
                let got = s.try_as(token, method, &target, &body);
                let fits = match allowed {
                    Some(true) => got.0 != 403,
                    // Who asks for the token itself is told what is wrong with it.
                    _ if who == "an expired token" && target == "/v1/acl/token/self" => {
                        got == Tried(403, "ACL token expired".to_owned())
                    }
                    Some(false) => got.denied(),
                    None if right == "own-list" && who != "no token" => {
                        got.0 == 200 && !got.1.contains("\"with\"")
                    }
                    None => got == Tried(200, "[]".to_owned()),
                };
                // Where the right is held, a list shows what it is about.
                let shows = !lists || allowed != Some(true) || got.1.len() > 2;
                if !fits || !shows {
                    wrong.push(format!(
                        "{method} {target} ({right}) by {who}: {} {:.80}",
                        got.0, got.1
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cells} cells\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells >= 1_900, "only {cells} cells");
    println!("{cells} cells");
}

/// A token that would have the right, and ended a second ago.
fn expired_token(s: &mut Server, role: &str) -> String {
    let id = vardo::stdx::uuid::new(&mut s.chance);
    let token = AclToken {
        accessor_id: id.clone(),
        secret_id: id.clone(),
        kind: "client".to_owned(),
        policies: Some(vec!["with".to_owned()]),
        roles: vec![vardo::api::AclRoleLink { id: role.to_owned(), name: String::new() }].into(),
        expiration_time: vardo::stdx::json::Time(NOW_NS - 1_000_000_000),
        ..AclToken::default()
    };
    let row = String::from_utf8(vardo::stdx::json::encode(&token)).unwrap();
    s.changes(&Command::AclPut { table: "token".to_owned(), rows: vec![row] });
    id
}

/// No route is missing in the matrix.
#[test]
fn the_matrix_knows_every_route() {
    let covered: BTreeSet<&str> = rows()
        .iter()
        .filter_map(|r| find(r.target.split('?').next()?).map(|(route, _)| route.path))
        .collect();
    let missing: Vec<&str> =
        ROUTES.iter().map(|r| r.path).filter(|p| !covered.contains(p)).collect();
    assert!(missing.is_empty(), "no rows in endpoints.tsv: {missing:?}");
}

/// Rows that may not be seen are not there: not in lists, not in counts, not in searches, and not
/// by the ids of what they hang on (numbers 11, 21, 29, 47, 75, 79; CVE-2023-3300, CVE-2019-16742).
#[test]
fn what_is_in_other_namespaces_is_not_seen() {
    let mut s = guarded("acl-hidden");
    let seeds = seed(&mut s);
    // Behind `default` in every order.
    s.manage("PUT", "/v1/namespace", &json!({"Name": "zoo"}));
    let mut other = job("secret");
    other["Namespace"] = "zoo".into();
    s.register(&other);
    s.manage("PUT", "/v1/var/hidden/x?namespace=zoo", &json!({"Items": {"k": "v"}}));
    s.manage("PUT", "/v1/var/nomad/jobs/web", &json!({"Items": {"k": "v"}}));
    let rules = r#"namespace "zoo" { policy = "write"
                     variables { path "hidden/*" { capabilities = ["list"] } } }"#;
    let apps = s.with_rules("apps", rules);
    let ids = |t: &Tried, key: &str| -> Vec<String> {
        let list: Value = serde_json::from_str(&t.1).unwrap_or_else(|e| panic!("{e}: {t:?}"));
        let list = list.as_array().unwrap().iter();
        list.map(|o| o[key].as_str().unwrap().to_owned()).collect()
    };
    // One page of one row: the hidden one before it takes no room.
    for (target, key, found) in [
        ("/v1/jobs?namespace=*&per_page=1", "ID", "secret"),
        ("/v1/jobs/statuses?namespace=*", "ID", "secret"),
        ("/v1/evaluations?namespace=*&per_page=1", "JobID", "secret"),
        ("/v1/vars?namespace=*&per_page=1", "Path", "hidden/x"),
        ("/v1/namespaces", "Name", "zoo"),
    ] {
        assert_eq!(ids(&s.get_as(&apps, target), key), [found], "{target}");
    }
    let count = s.get_as(&apps, "/v1/evaluations/count?namespace=*");
    assert!(count.1.contains("\"Count\":1,"), "{count:?}");
    for target in ["/v1/allocations?namespace=*", "/v1/deployments?namespace=*"] {
        assert_eq!(s.get_as(&apps, target), Tried(200, "[]".to_owned()), "{target}");
    }
    assert_eq!(s.get_as(&apps, "/v1/services?namespace=*").1, "[]");
    assert_eq!(s.get_as(&apps, "/v1/scaling/policies?namespace=*").1, "[]");
    // The id of what is in `default`, whatever namespace the request names.
    for target in [
        format!("/v1/allocation/{ALLOC}"),
        format!("/v1/evaluation/{}", seeds.eval),
        format!("/v1/evaluation/{}/allocations", seeds.eval),
        format!("/v1/deployment/{DEPLOYMENT}"),
        format!("/v1/deployment/allocations/{DEPLOYMENT}"),
        format!("/v1/scaling/policy/{}", seeds.scaling),
        format!("/v1/client/fs/logs/{ALLOC}?task=web&type=stdout"),
        format!("/v1/client/allocation/{ALLOC}/stats"),
    ] {
        let sign = if target.contains('?') { '&' } else { '?' };
        for target in [format!("{target}{sign}namespace=zoo"), target] {
            assert!(s.get_as(&apps, &target).denied(), "{target}");
        }
    }
    for (method, target) in [
        ("PUT", format!("/v1/allocation/{ALLOC}/stop?namespace=zoo")),
        ("PUT", format!("/v1/deployment/fail/{DEPLOYMENT}?namespace=zoo")),
        ("PUT", format!("/v1/client/allocation/{ALLOC}/restart?namespace=zoo")),
    ] {
        assert!(s.try_as(Some(&apps), method, &target, "").denied(), "{target}");
    }
    // Searches of both kinds, in every context.
    for (prefix, fuzzy) in [("web", "web"), ("aaaaaaaa", "web"), ("a/b", "a/b"), ("nomad", "nomad")]
    {
        let plain = json!({"Prefix": prefix, "Context": "all"}).to_string();
        let a = s.try_as(Some(&apps), "PUT", "/v1/search?namespace=*", &plain);
        assert!(a.0 == 200 && !a.1.contains(&format!("\"{prefix}")), "{a:?}");
        let loose = json!({"Text": fuzzy, "Context": "all"}).to_string();
        let a = s.try_as(Some(&apps), "PUT", "/v1/search/fuzzy?namespace=*", &loose);
        assert!(a.0 == 200 && !a.1.contains("\"default\""), "{a:?}");
    }
    let all = json!({"Prefix": "", "Context": "all"}).to_string();
    let a = s.try_as(Some(&apps), "PUT", "/v1/search?namespace=*", &all);
    for (shown, word) in [(true, "secret"), (true, "hidden/x"), (false, "a/b"), (false, NODE)] {
        assert_eq!(a.1.contains(word), shown, "{word}: {a:?}");
    }
}

/// The namespace that counts is that which is written to (number 14), and each thing of a request
/// that writes several is asked for (numbers 59, 77).
#[test]
fn the_namespace_in_the_body_is_asked_for() {
    let mut s = guarded("acl-body");
    seed(&mut s);
    let rules = r#"namespace "apps" { policy = "write"
                     variables { path "*" { capabilities = ["write", "read"] } } }"#;
    let apps = s.with_rules("apps", rules);
    let mut to_default = job("x");
    to_default["Namespace"] = "default".into();
    for target in ["/v1/jobs", "/v1/job/x", "/v1/job/x/plan", "/v1/validate/job"] {
        let body = json!({"Job": to_default}).to_string();
        assert!(s.try_as(Some(&apps), "PUT", target, &body).denied(), "{target}");
    }
    let body = json!({"Job": to_default, "Namespace": "apps"}).to_string();
    assert_eq!(s.try_as(Some(&apps), "PUT", "/v1/jobs", &body).0, 200);
    let items = json!({"Items": {"k": "v"}, "Namespace": "default"}).to_string();
    let target = "/v1/var/x?namespace=apps";
    assert!(s.try_as(Some(&apps), "PUT", target, &items).denied());
    for op in ["lock-acquire", "lock-release", "lock-renew"] {
        let target = format!("/v1/var/x?namespace=apps&{op}");
        assert!(s.try_as(Some(&apps), "PUT", &target, &items).denied(), "{op}");
    }
    // A mount of a host's volume is a right of its own.
    let mut mounts = job("m");
    mounts["Namespace"] = "apps".into();
    mounts["TaskGroups"][0]["Volumes"] =
        json!({"d": {"Name": "d", "Type": "host", "Source": "data", "ReadOnly": true}});
    let body = json!({ "Job": mounts }).to_string();
    assert!(s.try_as(Some(&apps), "PUT", "/v1/jobs", &body).denied());
    let rules = format!("{rules} host_volume \"da*\" {{ policy = \"read\" }}");
    let reads = s.with_rules("apps-mount", &rules);
    assert_eq!(s.try_as(Some(&reads), "PUT", "/v1/jobs", &body).0, 200);
    mounts["TaskGroups"][0]["Volumes"]["d"]["ReadOnly"] = false.into();
    let body = json!({ "Job": mounts }).to_string();
    assert!(s.try_as(Some(&reads), "PUT", "/v1/jobs", &body).denied());
}

/// What a failed write says of what is there needs the right to read it (number 78), and locks are
/// told to managers only.
#[test]
fn conflicts_tell_items_to_readers_only() {
    let mut s = guarded("acl-conflict");
    seed(&mut s);
    let rules = |caps: &str| {
        format!(
            "namespace \"default\" {{ variables {{ path \"a/b\" {{ capabilities = [{caps}] }} }} }}"
        )
    };
    let writer = s.with_rules("writer", &rules("\"write\", \"destroy\""));
    let reader = s.with_rules("reader", &rules("\"write\", \"read\""));
    let body = json!({"Items": {"k": "w"}}).to_string();
    for (token, shown) in [(&writer, false), (&reader, true)] {
        s.token = Some(token.clone());
        let a = s.ask("PUT", "/v1/var/a/b?cas=1", &body);
        assert_eq!((a.status, text(&a).contains("\"v\"")), (409, shown), "{}", text(&a));
    }
    s.token = Some(writer);
    let a = s.ask("DELETE", "/v1/var/a/b?cas=1", "");
    assert_eq!((a.status, text(&a).contains("\"v\"")), (409, false), "{}", text(&a));
    s.manage("PUT", "/v1/var/a/b?lock-acquire", &json!({"Items": {"k": "v"}}));
    assert!(!s.get_as(&reader, "/v1/var/a/b").1.contains("Lock"));
    assert!(s.get_as(SECRET, "/v1/var/a/b").1.contains("Lock"));
}

/// What stands for a secret is none (number 62), and secrets are where they must be alone.
#[test]
fn placeholders_and_accessors_are_no_secrets() {
    let mut s = guarded("acl-placeholders");
    let accessor = body_of(&s.get("/v1/acl/token/self"));
    let accessor = accessor["AccessorID"].as_str().unwrap().to_owned();
    for token in [
        "redacted",
        "<redacted>",
        "<hidden>",
        "anonymous",
        "acls-disabled",
        "00000000-0000-0000-0000-000000000000",
        &accessor,
        &SECRET.to_uppercase(),
        &SECRET[..35],
        NODE_SECRET,
        "a.b.c",
    ] {
        let got = s.get_as(token, "/v1/jobs");
        assert!(got.denied(), "{token}: {got:?}");
        // What has not the form of a token is told apart here, as recorded.
        let own = s.get_as(token, "/v1/acl/token/self");
        let odd = token.len() != 36;
        assert_eq!(own.0, if odd { 500 } else { 403 }, "{token}: {own:?}");
    }
    s.token = Some(SECRET.to_owned());
    assert!(!text(&s.get("/v1/acl/tokens")).contains("Secret"));
    let method = json!({"Name": "m", "Type": "OIDC", "TokenLocality": "local",
        "MaxTokenTTL": "1h", "Config": {"OIDCClientSecret": "hunter2",
            "OIDCClientID": "c", "OIDCDiscoveryURL": "https://id.example"}});
    let made = s.manage("PUT", "/v1/acl/auth-method", &method);
    for a in [made, s.get("/v1/acl/auth-method/m"), s.get("/v1/acl/auth-methods")] {
        assert!(!text(&a).contains("hunter2"), "{}", text(&a));
    }
}

/// A node reaches its own allocations with its secret, and nothing else.
#[test]
fn nodes_ask_for_their_own_allocations() {
    let mut s = guarded("acl-nodes");
    seed(&mut s);
    let own = format!("/v1/node/{NODE}/allocations");
    let got = s.get_as(NODE_SECRET, &own);
    assert!(got.0 == 200 && got.1.contains(ALLOC), "{got:?}");
    let other = "/v1/node/eeeeeeee-0000-4000-8000-000000000000/allocations";
    for target in [other, "/v1/nodes", "/v1/jobs", &format!("/v1/node/{NODE}")] {
        assert!(s.get_as(NODE_SECRET, target).denied(), "{target}");
    }
    assert!(s.try_as(Some(NODE_SECRET), "PUT", &own, "").denied());
    // Whoever may see nodes sees of their allocations what they may read.
    let nodes = s.with_rules("nodes", "node { policy = \"read\" }");
    assert_eq!(s.get_as(&nodes, &own), Tried(200, "[]".to_owned()));
}

/// Bootstrap: once, with a secret of one's own, and again with the index of the last time.
#[test]
fn the_first_token_is_made_once() {
    let mut s = Server::new("acl-bootstrap");
    assert_eq!(text(&s.ask("PUT", "/v1/acl/bootstrap", "")), "ACL support disabled");
    assert_eq!(s.get("/v1/acl/policy/self").status, 403);
    let own = body_of(&s.get("/v1/acl/token/self"));
    assert_eq!(own["AccessorID"], "acls-disabled");
    s.acl = AclInfo::new(true, 1, i64::MAX);
    let bad = s.ask("PUT", "/v1/acl/bootstrap", "{\"BootstrapSecret\":\"x\"}");
    assert_eq!((bad.status, text(&bad).as_str()), (400, "invalid acl token"));
    let first = s.ask("PUT", "/v1/acl/bootstrap", &json!({"BootstrapSecret": SECRET}).to_string());
    let at = s.index;
    assert_eq!((first.status, &body_of(&first)["SecretID"]), (200, &SECRET.into()));
    let again = s.ask("PUT", "/v1/acl/bootstrap", "");
    let done = format!("ACL bootstrap already done (reset index: {at})");
    assert_eq!((again.status, text(&again)), (400, done));
    s.acl.bootstrap_reset = at + 1;
    let wrong = format!("Invalid bootstrap reset index (specified {}, reset index: {at})", at + 1);
    assert_eq!(text(&s.ask("PUT", "/v1/acl/bootstrap", "")), wrong);
    s.acl.bootstrap_reset = at;
    assert_eq!(s.ask("PUT", "/v1/acl/bootstrap", "").status, 200);
    assert_eq!(s.ask("PUT", "/v1/acl/bootstrap", "").status, 400, "the file is used up");
    assert_eq!(s.get_as(SECRET, "/v1/acl/tokens").0, 200, "the first token stays");
}

#[test]
fn tokens_roles_and_policies_are_refused_as_documented() {
    let mut s = guarded("acl-refused");
    s.policy("ro", "namespace \"*\" { policy = \"read\" }");
    let (client, _) = s.client_token(&["ro"]);
    let missing = "11111111-2222-3333-4444-555555555555";
    let long = "x".repeat(257);
    let invalid =
        |what: &str, why: &str| format!("{what} 0 invalid: 1 error occurred:\n\t* {why}\n\n");
    for (method, target, body, status, want) in [
        ("GET", "/v1/acl/policy/", json!({}), 400, "Missing Policy Name".to_owned()),
        ("GET", "/v1/acl/token/", json!({}), 400, "Missing Token Accessor".to_owned()),
        ("GET", "/v1/acl/role/", json!({}), 400, "missing ACL role ID".to_owned()),
        ("GET", "/v1/acl/role/name/", json!({}), 400, "missing ACL role name".to_owned()),
        ("GET", "/v1/acl/role/x", json!({}), 404, "ACL role not found".to_owned()),
        ("GET", "/v1/acl/role/x/y", json!({}), 400, "invalid URI".to_owned()),
        ("DELETE", "/v1/acl/role/x", json!({}), 500, "ACL role not found".to_owned()),
        ("DELETE", "/v1/acl/policy/none", json!({}), 200, String::new()),
        ("PUT", "/v1/acl/tokens", json!({}), 405, "Invalid method".to_owned()),
        (
            "PUT",
            "/v1/acl/token",
            json!({"AccessorID": missing, "Type": "client", "Policies": ["ro"]}),
            400,
            format!("cannot find token {missing}"),
        ),
        (
            "PUT",
            &format!("/v1/acl/token/{missing}"),
            json!({"AccessorID": client}),
            400,
            "ACL token accessor does not match request path".to_owned(),
        ),
        (
            "PUT",
            &format!("/v1/acl/token/{client}"),
            json!({"AccessorID": client, "Type": "client", "Policies": ["ro"], "Global": true}),
            400,
            invalid("token", "cannot toggle global mode"),
        ),
        (
            "PUT",
            &format!("/v1/acl/token/{client}"),
            json!({"AccessorID": client, "Type": "client", "Policies": ["ro"],
                "ExpirationTTL": "1h"}),
            400,
            invalid("token", "cannot update expiration TTL"),
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"Type": "client", "Policies": ["ro"], "ExpirationTTL": -1}),
            400,
            invalid("token", "token expiration TTL '-1ns' should not be negative"),
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"Name": long, "Type": "management"}),
            400,
            invalid("token", "token name too long"),
        ),
        (
            "PUT",
            "/v1/acl/token",
            json!({"Type": "client", "Roles": [{"Name": "zz"}]}),
            400,
            "cannot find role zz".to_owned(),
        ),
        (
            "PUT",
            "/v1/acl/role",
            json!({"Name": "r", "Policies": [{"Name": "zz"}]}),
            400,
            "cannot find policy zz".to_owned(),
        ),
        (
            "PUT",
            "/v1/acl/role",
            json!({"Name": "r"}),
            400,
            invalid("role", "at least one policy should be specified"),
        ),
        (
            "PUT",
            "/v1/acl/role/x",
            json!({"ID": "y", "Name": "r", "Policies": [{"Name": "ro"}]}),
            400,
            "ACL role ID does not match request path".to_owned(),
        ),
        (
            "PUT",
            "/v1/acl/policy/p",
            json!({"Name": "p", "JobACL": {"JobID": "j"}}),
            400,
            invalid("policy", "namespace must be set to set job ID"),
        ),
    ] {
        let a = s.ask(method, target, &body.to_string());
        assert_eq!((a.status, text(&a)), (status, want), "{method} {target} {body}");
    }
    let role = json!({"Name": "r", "Policies": [{"Name": "ro"}, {"Name": "ro"}]});
    let made = body_of(&s.manage("PUT", "/v1/acl/role", &role));
    assert_eq!(made["Policies"].as_array().unwrap().len(), 1);
    let a = s.ask("PUT", "/v1/acl/role", &role.to_string());
    assert_eq!((a.status, text(&a).as_str()), (400, "role with name r already exists"));
    // Chosen ids; and updates that keep what cannot change.
    let body = json!({"AccessorID": missing, "SecretID": missing, "Type": "client",
        "Policies": ["ro"], "ExpirationTTL": "2h"});
    let made = body_of(&s.manage("PUT", "/v1/acl/token", &body));
    let body = json!({"AccessorID": missing, "Name": "n", "Type": "client", "Policies": ["ro"]});
    let kept = body_of(&s.manage("PUT", &format!("/v1/acl/token/{missing}"), &body));
    for name in ["SecretID", "CreateTime", "ExpirationTime", "ExpirationTTL", "CreateIndex"] {
        assert_eq!(made[name], kept[name], "{name}");
    }
    assert_eq!(kept["ExpirationTTL"], "2h0m0s");
    // What was read may be sent back as it is.
    let made =
        body_of(&s.manage("PUT", "/v1/acl/token", &json!({"Type": "client", "Policies": ["ro"]})));
    assert_eq!(made["ExpirationTTL"], "");
    let path = format!("/v1/acl/token/{}", made["AccessorID"].as_str().unwrap());
    assert_eq!(body_of(&s.manage("PUT", &path, &made))["SecretID"], made["SecretID"]);
    // A secret is that of one token only.
    let other = "21111111-2222-3333-4444-555555555555";
    let body = json!({"AccessorID": other, "SecretID": missing, "Type": "client",
        "Policies": ["ro"]});
    assert_eq!(s.ask("PUT", "/v1/acl/token", &body.to_string()).status, 400);
}

/// Who has a cached right loses it with the policy, the role or the token.
#[test]
fn rights_end_with_what_gave_them() {
    let mut s = guarded("acl-ends");
    s.register(&job("web"));
    let token = s.with_rules("p", "namespace \"default\" { policy = \"read\" }");
    let read = |s: &mut Server| s.get_as(&token, "/v1/job/web").0;
    assert_eq!((read(&mut s), read(&mut s)), (200, 200));
    s.policy("p", "namespace \"default\" { policy = \"deny\" }");
    assert_eq!(read(&mut s), 403);
    s.policy("p", "namespace \"default\" { policy = \"read\" }");
    assert_eq!(read(&mut s), 200);
    s.manage("DELETE", "/v1/acl/policy/p", &Value::Null);
    assert_eq!(read(&mut s), 403);
}

/// Many callers at once, more than are remembered without a search: each has their own rights,
/// whoever asked before, in whichever namespace, until they are gone.
#[test]
fn callers_are_not_taken_for_each_other() {
    let mut s = guarded("acl-crowd");
    for name in ["even", "odd"] {
        s.manage("PUT", "/v1/namespace", &json!({"Name": name}));
        let mut web = job("web");
        web["Namespace"] = name.into();
        s.register(&web);
        s.policy(name, &format!("namespace \"{name}\" {{ policy = \"read\" }}"));
    }
    let parity = ["even", "odd"];
    let mut crowd: Vec<_> = (0..70).map(|n| s.client_token(&[parity[n % 2]])).collect();
    for gone in [None, Some(3), Some(40)] {
        if let Some(gone) = gone {
            let (accessor, secret) = crowd.remove(gone);
            assert_eq!(s.get_as(&secret, "/v1/acl/token/self").0, 200);
            s.manage("DELETE", &format!("/v1/acl/token/{accessor}"), &Value::Null);
            assert!(s.get_as(&secret, "/v1/jobs?namespace=*").denied());
        }
        for round in 0..4 {
            for (accessor, secret) in &crowd {
                let own = s.get_as(secret, "/v1/acl/token/self");
                assert!(own.1.contains(accessor.as_str()), "{own:?}");
                let mine = usize::from(!own.1.contains("even"));
                for ns in [mine, 1 - mine, mine] {
                    let target = format!("/v1/job/web?namespace={}", parity[ns]);
                    let expected = if ns == mine { 200 } else { 403 };
                    assert_eq!(s.get_as(secret, &target).0, expected, "{round} {target}");
                }
                // Another secret with the same sum, and none at all.
                let (front, rest) = secret.split_at(8);
                let turned: String = front.chars().rev().chain(rest.chars()).collect();
                assert_eq!(s.get_as(&turned, "/v1/job/web?namespace=even").0, 403);
                assert_eq!(s.get_as("", "/v1/job/web?namespace=even").0, 403);
            }
        }
    }
}

/// Tokens of an identity provider: those that its keys signed, for this audience, now; rules turn
/// their claims into policies, roles or the right to manage (number 67).
#[test]
fn people_log_in_with_tokens_of_their_provider() {
    let data: Value = serde_json::from_str(include_str!("../data/acl/jwt.json")).unwrap();
    let mut s = guarded("acl-login");
    s.policy("blue", "node { policy = \"read\" }");
    s.policy("ops", "agent { policy = \"read\" }");
    let role = json!({"Name": "ops", "Policies": [{"Name": "ops"}]});
    s.manage("PUT", "/v1/acl/role", &role);
    let method = |keys: Vec<&Value>, more: Value| {
        let mut config = json!({"JWTValidationPubKeys": keys, "BoundAudiences": ["vardo"],
            "BoundIssuer": ["https://id.example"],
            "ClaimMappings": {"sub": "user", "/team/name": "team", "age": "age"},
            "ListClaimMappings": {"groups": "groups"}});
        for (k, v) in more.as_object().into_iter().flatten() {
            config[k] = v.clone();
        }
        json!({"Name": "m", "Type": "JWT", "TokenLocality": "local", "MaxTokenTTL": "1h",
            "TokenNameFormat": "${auth_method_name}/${value.user}", "Config": config})
    };
    let both = vec![&data["rsa"], &data["ed25519"], &data["p256"]];
    s.manage("PUT", "/v1/acl/auth-method", &method(both.clone(), json!({})));
    let login = |s: &mut Server, token: &str| {
        s.token = None;
        let token = &data["tokens"][token];
        let body = json!({"AuthMethodName": "m", "LoginToken": token}).to_string();
        s.ask("PUT", "/v1/acl/login", &body)
    };
    let none = login(&mut s, "eddsa");
    assert_eq!((none.status, text(&none).as_str()), (400, "no role or policy bindings matched"));
    for rule in [
        json!({"AuthMethod": "m", "BindType": "policy", "BindName": "${value.team}",
            "Selector": "value.age == \"42\""}),
        json!({"AuthMethod": "m", "BindType": "role", "BindName": "ops",
            "Selector": "\"ops\" in list.groups"}),
        json!({"AuthMethod": "m", "BindType": "policy", "BindName": "not-there"}),
        json!({"AuthMethod": "m", "BindType": "policy", "BindName": "${value.missing}"}),
        json!({"AuthMethod": "m", "BindType": "management", "Selector": "value.user == root"}),
    ] {
        s.manage("PUT", "/v1/acl/binding-rule", &rule);
    }
    for good in ["rs256", "rs512", "eddsa"] {
        let a = login(&mut s, good);
        assert_eq!(a.status, 200, "{good}: {}", text(&a));
        let token = body_of(&a);
        assert_eq!(token["Policies"], json!(["blue"]), "{good}");
        assert_eq!(token["Roles"][0]["Name"], "ops");
        assert_eq!(
            (&token["Name"], &token["Type"], &token["ExpirationTTL"], &token["Global"]),
            (&"m/alice".into(), &"client".into(), &"1h0m0s".into(), &false.into())
        );
        let secret = token["SecretID"].as_str().unwrap();
        assert_eq!(s.get_as(secret, "/v1/nodes").0, 200);
        assert_eq!(s.get_as(secret, "/v1/agent/self").0, 200);
        assert!(s.get_as(secret, "/v1/acl/tokens").denied());
    }
    for bad in [
        "expired", "early", "audience", "issuer", "timeless", "stranger", "none", "confused",
        "crossed", "critical", "changed",
    ] {
        let a = login(&mut s, bad);
        let told = text(&a).starts_with("unable to validate provided token: ");
        assert!(a.status == 401 && told, "{bad}: {} {}", a.status, text(&a));
    }
    let nobody = login(&mut s, "nobody");
    assert_eq!(nobody.status, 400, "{}", text(&nobody));
    let root = json!({"AuthMethod": "m", "BindType": "management",
        "Selector": "value.user == alice"});
    s.manage("PUT", "/v1/acl/binding-rule", &root);
    let manager = body_of(&login(&mut s, "eddsa"));
    assert_eq!((&manager["Type"], &manager["Policies"]), (&"management".into(), &Value::Null));
    // Keys and algorithms that a method does not name sign for nobody.
    let only = method(both, json!({"SigningAlgs": ["RS512"]}));
    s.manage("PUT", "/v1/acl/auth-method/m", &only);
    for (token, status) in [("rs512", 200), ("rs256", 401), ("eddsa", 401)] {
        assert_eq!(login(&mut s, token).status, status, "{token}");
    }
    s.token = Some(SECRET.to_owned());
    for (body, want) in [
        (method(vec![&data["rsa"]], json!({"SigningAlgs": ["none"]})), "unsupported algorithm"),
        (method(vec![], json!({"JWKSURL": "file:///etc/passwd"})), "no address of a document"),
        (method(vec![&json!("x")], json!({})), "no public key in PEM was found"),
        (method(vec![], json!({})), "exactly one of"),
        (method(vec![&data["rsa"]], json!({"JWKSURL": "https://x"})), "exactly one of"),
        (method(vec![&data["rsa"]], json!({"SigningAlgs": ["HS256"]})), "unsupported algorithm"),
        (json!({"Name": "n"}), "missing auth method Config"),
        (json!({"Name": "a b"}), "invalid name 'a b'"),
    ] {
        let mut body = body;
        if body["Name"] == "m" {
            body["Name"] = "n".into();
        }
        let a = s.ask("PUT", "/v1/acl/auth-method", &body.to_string());
        let right = text(&a).starts_with("auth method 0 invalid: ") && text(&a).contains(want);
        assert!(a.status == 400 && right, "{want}: {} {}", a.status, text(&a));
    }
    for (body, want) in [
        (json!({}), "invalid login request: 2 errors occurred:"),
        (json!({"AuthMethodName": "m9", "LoginToken": "x"}), "auth-method \"m9\" not found"),
    ] {
        let a = s.ask("PUT", "/v1/acl/login", &body.to_string());
        assert!(a.status == 400 && text(&a).starts_with(want), "{}", text(&a));
    }
    let shown = text(&s.get("/v1/acl/auth-methods"));
    assert!(!shown.contains("Config") && shown.contains("\"Name\":\"m\""), "{shown}");
}

/// Tokens go an hour after their end, those for one use at once; nothing else does.
#[test]
fn ended_tokens_are_collected() {
    use vardo::server::gc::{Collection, Progress, Thresholds};
    let mut s = guarded("acl-gc");
    s.policy("p", "node { policy = \"read\" }");
    let (_, stays) = s.client_token(&["p"]);
    let ended = json!({"Type": "client", "Policies": ["p"], "ExpirationTTL": "1m"});
    let ended = body_of(&s.manage("PUT", "/v1/acl/token", &ended));
    let secret = ended["SecretID"].as_str().unwrap().to_owned();
    s.manage("PUT", "/v1/acl/token/onetime", &Value::Null);
    let minute = 60_000_000_000;
    let count = |s: &mut Server| {
        s.token = Some(SECRET.to_owned());
        body_of(&s.get("/v1/acl/tokens")).as_array().unwrap().len()
    };
    let collect = |s: &mut Server, wall_ns: i64| {
        let mut run = Collection::new(Thresholds::default());
        let mut found = Vec::new();
        loop {
            match s.read(|reader| run.step(reader, wall_ns).unwrap()) {
                Progress::Done => return found,
                Progress::More => {}
                Progress::Reap(command) => {
                    s.changes(&command);
                    found.push(*command);
                }
            }
        }
    };
    assert!(collect(&mut s, NOW_NS + 9 * minute).is_empty());
    let once = collect(&mut s, NOW_NS + 11 * minute);
    assert!(matches!(&once[..], [Command::AclDelete { table, .. }] if table == "one_time_token"));
    assert_eq!(count(&mut s), 3);
    assert!(collect(&mut s, NOW_NS + 60 * minute).is_empty());
    assert_eq!(collect(&mut s, NOW_NS + 62 * minute).len(), 1);
    assert_eq!(count(&mut s), 2);
    assert!(s.get_as(&secret, "/v1/nodes").denied());
    assert_eq!(s.get_as(&stays, "/v1/nodes").0, 200);
}
