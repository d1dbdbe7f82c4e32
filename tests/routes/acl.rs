//! Access control: every endpoint asked by callers of every kind, and the ways around it that other
//! programs once had (numbers of weaknesses stand where a test is for one).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vardo::api::{AclToken, Deployment, Node, ServiceRegistration};
use vardo::command::{AllocClientState, Command, Placement, Plan};
use vardo::routes::table::{ROUTES, find};
use vardo::routes::{AclInfo, Answer, Outcome};

use super::{NODE, Server, job, json as body_of, text};

/// Of the clock of these tests.
const NOW_NS: i64 = 1_795_426_609_000_000_000;
const SECRET: &str = "5ec2e700-0000-4000-8000-000000000000";
const NODE_SECRET: &str = "0de5ec2e-0000-4000-8000-000000000000";
const ALLOC: &str = "aaaaaaaa-0000-4000-8000-000000000000";
const DEPLOYMENT: &str = "dddddddd-1111-4000-8000-000000000000";

/// The namespace capabilities there are, but `deny`.
fn namespace_capabilities() -> Vec<&'static str> {
    vardo::acl::ns::NAMES.iter().copied().filter(|n| *n != "deny").collect()
}

/// A server with access control, where `self.token` is that of a manager.
fn guarded(name: &str) -> Server {
    let mut s = Server::new(name);
    s.acl = AclInfo::new(true, 1, i64::MAX);
    let boot = s.ask("PUT", "/v1/acl/bootstrap", &json!({"BootstrapSecret": SECRET}).to_string());
    assert_eq!(boot.status, 200, "{}", text(&boot));
    s.token = Some(SECRET.to_owned());
    s
}

impl Server {
    /// Writes as a manager, which must succeed.
    fn manage(&mut self, method: &str, target: &str, body: &Value) -> Answer {
        let before = self.token.replace(SECRET.to_owned());
        let a = self.ask(method, target, &body.to_string());
        assert!(a.status < 300, "{method} {target}: {} {}", a.status, text(&a));
        self.token = before;
        a
    }

    fn policy(&mut self, name: &str, rules: &str) {
        let body = json!({"Name": name, "Rules": rules});
        self.manage("PUT", &format!("/v1/acl/policy/{name}"), &body);
    }

    /// A token with these policies: accessor and secret.
    fn client_token(&mut self, policies: &[&str]) -> (String, String) {
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
    fn try_as(&mut self, token: Option<&str>, method: &str, target: &str, body: &str) -> Tried {
        self.token = token.map(str::to_owned);
        match self.outcome(method, target, body) {
            Ok(Outcome::Answer(a)) => Tried(a.status, text(&a)),
            Ok(_) => Tried(200, String::new()),
            Err(e) => Tried(e.status, e.text),
        }
    }

    fn get_as(&mut self, token: &str, target: &str) -> Tried {
        self.try_as(Some(token), "GET", target, "")
    }

    fn changes(&mut self, command: &Command) {
        self.apply(command);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Tried(u16, String);

impl Tried {
    fn denied(&self) -> bool {
        self.0 == 403 && self.1 == "Permission denied"
    }
}

/// One of everything that an endpoint is about.
struct Seeds {
    eval: String,
    scaling: String,
    once: String,
    role: String,
    accessor: String,
}

fn seed(s: &mut Server) -> Seeds {
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
    fn fill(&self, text: &str) -> String {
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
        match right.split_once(':') {
            Some((kind @ ("node" | "agent" | "operator" | "quota"), "read")) => {
                all.remove(&format!("{kind}:write"));
            }
            _ => {}
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

struct Row<'t> {
    method: &'t str,
    target: &'t str,
    right: &'t str,
    body: &'t str,
}

fn rows() -> Vec<Row<'static>> {
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
