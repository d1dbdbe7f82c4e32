//! Requests against handlers and a store, without a socket or an agent.

mod acl;
mod evals;
mod files;
mod identities;
mod jobs;
mod walk;
mod weaknesses;

use std::path::PathBuf;

use vardo::api::{Allocation, ApiError, Evaluation, Node};
use vardo::command::{Command, Placement, Plan};
use vardo::http::conn::{Conn, Event};
use vardo::http::{Method, Request};
use vardo::routes::{
    AclInfo, AgentInfo, Answer, Ctx, Document, Documents, Outcome, Params, Watch, dispatch,
};
use vardo::stdx::json::Bytes;
use vardo::stdx::{Entropy, Now};
use vardo::store::{Options, Store, Table};

const NODE: &str = "dddddddd-0000-4000-8000-000000000000";

/// A server of one that decides at once.
struct Server {
    store: Option<Store>,
    dir: PathBuf,
    index: u64,
    chance: Chance,
    acl: AclInfo,
    documents: Documents,
    /// What came for the next request alone.
    fetched: Vec<Document>,
    /// What requests come with.
    token: Option<String>,
}

struct Chance(u64);

impl Entropy for Chance {
    fn fill(&mut self, out: &mut [u8]) {
        for b in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *b = (self.0 >> 33) as u8;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.store = None;
        if let Err(e) = std::fs::remove_dir_all(&self.dir) {
            println!("{}: {e}", self.dir.display());
        }
    }
}

impl Server {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vardo-routes-{name}-{}", std::process::id()));
        let options = Options { map_bytes: 64 << 20, sync: false, ..Options::default() };
        let store = Some(Store::open(&dir, options).unwrap());
        let (chance, acl) = (Chance(7), AclInfo::default());
        let (documents, fetched) = (Documents::default(), Vec::new());
        let mut server =
            Self { store, dir, index: 0, chance, acl, documents, fetched, token: None };
        server.apply(&Command::Bootstrap { wall_ns: 1 });
        server
    }

    fn read<T>(&self, f: impl FnOnce(vardo::store::Reader<'_>) -> T) -> T {
        let snap = self.store.as_ref().unwrap().snap().unwrap();
        f(snap.reader())
    }

    fn apply(&mut self, command: &Command) -> vardo::command::Applied {
        self.index += 1;
        let mut batch = self.store.as_mut().unwrap().batch().unwrap();
        let applied = batch.apply(self.index, command).unwrap();
        batch.commit().unwrap();
        applied
    }

    /// What is to happen for a request.
    fn outcome(&mut self, method: &str, target: &str, body: &str) -> Result<Outcome, ApiError> {
        let mut request = request(method, target, body);
        request.token.clone_from(&self.token);
        let params = Params::parse(request.path(), request.query())?;
        let agent = AgentInfo {
            server: true,
            region: "global".to_owned(),
            client: true,
            event_buffer: 10,
            acl: self.acl.clone(),
            documents: self.documents.clone(),
            leads: true,
            leader_addr: Some("127.0.0.1:4647".to_owned()),
            job_default_priority: 50,
            job_max_priority: 100,
            job_max_count: 50_000,
            job_max_source_size: 1_000_000,
            ..AgentInfo::default()
        };
        let snap = self.store.as_ref().unwrap().snap().unwrap();
        dispatch(&mut Ctx {
            now: Now { mono_ns: 1, wall_ns: 1_795_426_609_000_000_000 },
            reader: snap.reader(),
            agent: &agent,
            entropy: &mut self.chance,
            req: &request,
            params: &params,
            rest: "",
            access: vardo::routes::Access::default(),
            fetched: &self.fetched,
        })
    }

    /// What a request is answered with.
    fn ask(&mut self, method: &str, target: &str, body: &str) -> Answer {
        match self.outcome(method, target, body) {
            Err(e) => e.into(),
            Ok(Outcome::Answer(a)) => a,
            Ok(Outcome::Propose(command, reply)) => {
                let applied = self.apply(&command);
                let snap = self.store.as_ref().unwrap().snap().unwrap();
                reply(snap.reader(), self.index, applied).unwrap_or_else(Into::into)
            }
            Ok(Outcome::Instead(target)) => {
                let body = format!("asked instead: {target}");
                Answer { status: 0, ..Answer::bytes(body.into_bytes()) }
            }
            Ok(_) => unreachable!("{method} {target}: no other outcome is asked for here"),
        }
    }

    fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, "")
    }

    /// The ids that a list shows, and where it goes on.
    fn ids(&mut self, target: &str) -> (Vec<String>, Option<String>) {
        let a = self.get(target);
        assert_eq!(a.status, 200, "{target}: {}", text(&a));
        let list = json(&a);
        let ids = list.as_array().unwrap().iter().map(|o| o["ID"].as_str().unwrap().to_owned());
        (ids.collect(), a.next_token)
    }

    fn register(&mut self, job: &serde_json::Value) -> serde_json::Value {
        let body = serde_json::json!({ "Job": job }).to_string();
        let a = self.ask("PUT", "/v1/jobs", &body);
        assert_eq!(a.status, 200, "{}", text(&a));
        json(&a)
    }
}

fn request(method: &str, target: &str, body: &str) -> Request {
    let mut conn = Conn::new();
    let length = body.len();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    conn.feed(1, head.as_bytes());
    conn.feed(1, body.as_bytes());
    match conn.next(1) {
        Some(Event::Request(r)) => r,
        other => panic!("{other:?}"),
    }
}

fn text(a: &Answer) -> String {
    String::from_utf8_lossy(a.body.as_slice()).into_owned()
}

fn json(a: &Answer) -> serde_json::Value {
    serde_json::from_slice(a.body.as_slice()).unwrap()
}

fn job(id: &str) -> serde_json::Value {
    serde_json::json!({"ID": id, "Datacenters": ["dc1"], "Meta": {"owner": "me"}, "TaskGroups": [{
        "Name": "app", "Count": 1, "Tasks": [{"Name": "web", "Driver": "raw_exec",
            "Config": {"command": "/bin/sleep"}, "Resources": {"CPU": 20, "MemoryMB": 16}}]}]})
}

#[test]
fn a_job_is_registered_read_and_purged() {
    let mut s = Server::new("job");
    let done = s.register(&job("web"));
    let index = s.index;
    assert_eq!(done["Index"], index);
    assert_eq!(done["JobModifyIndex"], index);
    assert_eq!(done["EvalCreateIndex"], index);
    let eval = done["EvalID"].as_str().unwrap().to_owned();

    let a = s.get("/v1/job/web");
    assert_eq!((a.status, a.index, a.meta), (200, Some(index), true));
    assert!(matches!(a.watch, Some(Watch::Row(Table::Job, _))));
    let stored = json(&a);
    assert_eq!(stored["Status"], "pending");
    assert_eq!(stored["SubmitTime"], 1_795_426_609_000_000_000i64);

    let e = json(&s.get(&format!("/v1/evaluation/{eval}")));
    assert_eq!((&e["TriggeredBy"], &e["Type"]), (&"job-register".into(), &"service".into()));
    assert_eq!(s.get("/v1/job/web/summary").status, 200);
    assert_eq!(json(&s.get("/v1/job/web/evaluations")).as_array().unwrap().len(), 1);
    assert_eq!(text(&s.get("/v1/job/web/deployment")), "null");
    assert_eq!(text(&s.get("/v1/job/web/submission?version=0")), "job source not found");
    assert_eq!(
        text(&s.get("/v1/job/web/submission")),
        "Unable to parse job submission version parameter"
    );
    let versions = json(&s.get("/v1/job/web/versions?diffs=true"));
    assert_eq!(versions["Versions"].as_array().unwrap().len(), 1);
    assert_eq!((&versions["Diffs"], &versions["Index"]), (&serde_json::Value::Null, &index.into()));

    // The same spec again: an evaluation, no new version.
    let again = s.register(&job("web"));
    assert_eq!(json(&s.get("/v1/job/web"))["Version"], 0);
    assert_eq!(again["Index"], s.index);
    let mut changed = job("web");
    changed["TaskGroups"][0]["Count"] = 2.into();
    s.register(&changed);
    assert_eq!(json(&s.get("/v1/job/web"))["Version"], 1);
    let back = s.ask("PUT", "/v1/job/web/revert", r#"{"JobID":"web","JobVersion":0}"#);
    assert_eq!(back.status, 200, "{}", text(&back));
    let reverted = json(&s.get("/v1/job/web"));
    assert_eq!((&reverted["Version"], &reverted["TaskGroups"][0]["Count"]), (&2.into(), &1.into()));
    let e = s.ask("PUT", "/v1/job/web/revert", r#"{"JobID":"web","JobVersion":9}"#);
    assert_eq!(text(&e), "job \"web\" in namespace \"default\" at version 9 not found");

    let stable = r#"{"JobID":"web","JobVersion":0,"Stable":true}"#;
    assert_eq!(json(&s.ask("PUT", "/v1/job/web/stable", stable))["Index"], s.index);
    let tag = s.ask("PUT", "/v1/job/web/versions/v1/tag", r#"{"Version":1,"Description":"x"}"#);
    assert_eq!((json(&tag)["Name"].as_str(), tag.index), (Some("v1"), None));
    let versions = json(&s.get("/v1/job/web/versions"));
    let shown: Vec<_> = versions["Versions"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&shown[1]["VersionTag"]["Name"], &shown[2]["Stable"]),
        (&"v1".into(), &true.into())
    );
    assert_eq!(json(&s.ask("DELETE", "/v1/job/web/versions/v1/tag", ""))["Name"], "");
    assert_eq!(
        text(&s.ask("DELETE", "/v1/job/web/versions/v1/tag", "")),
        "tag \"v1\" not found on job \"web\""
    );
    assert_eq!(
        text(&s.ask("PUT", "/v1/job/web/versions/v1/tag", r#"{"Version":99}"#)),
        "job \"web\" version 99 not found"
    );

    let stopped = json(&s.ask("DELETE", "/v1/job/web", ""));
    assert_ne!(stopped["EvalID"], "");
    assert_eq!(json(&s.get("/v1/job/web"))["Stop"], true);
    assert_eq!(s.ask("DELETE", "/v1/job/web?purge=true", "").status, 200);
    let gone = s.get("/v1/job/web");
    assert_eq!((gone.status, text(&gone).as_str()), (404, "job not found"));
    let none = s.ask("DELETE", "/v1/job/web", "");
    assert_eq!((none.status, none.index, json(&none)["Index"].as_u64()), (200, Some(0), Some(0)));
}

#[test]
fn requests_are_refused_as_recorded() {
    let mut s = Server::new("refused");
    s.register(&job("web"));
    let modify = s.index;
    let web = job("web").to_string();
    for (method, target, body, status, want) in [
        ("PUT", "/v1/jobs", String::new(), 400, "Request body is empty".to_owned()),
        ("PUT", "/v1/jobs", "{}".to_owned(), 400, "Job must be specified".to_owned()),
        ("PUT", "/v1/jobs", r#"{"Job":null}"#.to_owned(), 400, "Job must be specified".to_owned()),
        (
            "PUT",
            "/v1/jobs",
            r#"{"Job":{"ID":"x"}}"#.to_owned(),
            500,
            "1 error occurred:\n\t* Missing job task groups\n\n".to_owned(),
        ),
        (
            "PUT",
            "/v1/job/other",
            format!("{{\"Job\":{web}}}"),
            400,
            "Job ID does not match name".to_owned(),
        ),
        (
            "PUT",
            "/v1/jobs",
            format!("{{\"Job\":{web},\"EnforceIndex\":true,\"JobModifyIndex\":1}}"),
            500,
            format!(
                "Enforcing job modify index 1: job exists with conflicting job modify index: \
                 {modify}"
            ),
        ),
        (
            "PUT",
            "/v1/jobs",
            format!("{{\"Job\":{web},\"EnforceIndex\":true}}"),
            500,
            "Enforcing job modify index 0: job already exists".to_owned(),
        ),
        (
            "PUT",
            "/v1/jobs",
            format!("{{\"Job\":{web},\"Region\":\"mars\"}}"),
            0,
            "asked instead: /v1/jobs?region=mars".to_owned(),
        ),
        ("DELETE", "/v1/jobs", String::new(), 405, "Invalid method".to_owned()),
        ("GET", "/v1/job/no/versions", String::new(), 404, "job versions not found".to_owned()),
        ("PUT", "/v1/job/no/evaluate", String::new(), 500, "job not found".to_owned()),
        (
            "PUT",
            "/v1/job/no/dispatch",
            "{}".to_owned(),
            500,
            "parameterized job not found".to_owned(),
        ),
        (
            "PUT",
            "/v1/job/web/periodic/force",
            String::new(),
            500,
            "can't force launch non-periodic job".to_owned(),
        ),
        (
            "GET",
            "/v1/allocation/no",
            String::new(),
            500,
            "alloc lookup failed: index error: UUID must be 36 characters".to_owned(),
        ),
        ("GET", "/v1/allocation/a/b/c", String::new(), 404, "resource not found".to_owned()),
        (
            "PUT",
            "/v1/allocation/11111111-2222-3333-4444-555555555555/stop",
            String::new(),
            404,
            "allocation not found".to_owned(),
        ),
        (
            "GET",
            "/v1/evaluation/no",
            String::new(),
            500,
            "failed to lookup eval: eval lookup failed: index error: UUID must be 36 characters"
                .to_owned(),
        ),
        ("GET", "/v1/deployment/", String::new(), 500, "missing deployment ID".to_owned()),
        (
            "GET",
            "/v1/evaluations?filter=ID+is+empty&status=x",
            String::new(),
            400,
            "Filter expression cannot be used with other filter parameters".to_owned(),
        ),
        (
            "GET",
            "/v1/node/pool/default/nodes?prefix=a",
            String::new(),
            400,
            "prefix argument not allowed".to_owned(),
        ),
        (
            "POST",
            "/v1/jobs/statuses",
            r#"{"Jobs":[]}"#.to_owned(),
            400,
            "no jobs in request".to_owned(),
        ),
    ] {
        let a = s.ask(method, target, &body);
        assert_eq!((a.status, text(&a)), (status, want), "{method} {target}");
    }
}

#[test]
fn jobs_are_listed_page_by_page() {
    let mut s = Server::new("jobs");
    assert_eq!(text(&s.get("/v1/jobs")), "[]");
    for id in ["c", "a/1", "b", "a"] {
        s.register(&job(id));
    }
    assert_eq!(s.ids("/v1/jobs"), (strings(&["a", "a/1", "b", "c"]), None));
    assert_eq!(s.ids("/v1/jobs?reverse=true").0, strings(&["c", "b", "a/1", "a"]));
    assert_eq!(s.ids("/v1/jobs?prefix=a").0, strings(&["a", "a/1"]));
    assert_eq!(s.ids("/v1/jobs?prefix=a&namespace=*").0, strings(&["a", "a/1"]));
    let (ids, next) = s.ids("/v1/jobs?per_page=2");
    assert_eq!((ids, next.as_deref()), (strings(&["a", "a/1"]), Some("default.b")));
    assert_eq!(s.ids("/v1/jobs?per_page=2&next_token=default.b"), (strings(&["b", "c"]), None));
    let (ids, next) = s.ids("/v1/jobs?per_page=1&reverse=true&next_token=default.b");
    assert_eq!((ids, next.as_deref()), (strings(&["b"]), Some("default.a/1")));
    // A token whose item is gone: the next one begins the page.
    assert_eq!(s.ids("/v1/jobs?next_token=default.aa").0, strings(&["b", "c"]));
    assert_eq!(s.ids("/v1/jobs?namespace=nowhere").0, strings(&[]));
    // The filter is about the job, not about its stub.
    assert_eq!(
        s.ids("/v1/jobs?filter=Meta.owner+%3D%3D+me+and+ID+contains+a").0,
        strings(&["a", "a/1"])
    );
    let list = json(&s.get("/v1/jobs?meta=true&per_page=1"));
    assert_eq!(list[0]["Meta"]["owner"], "me");
    assert_eq!(json(&s.get("/v1/jobs?per_page=1"))[0]["Meta"], serde_json::Value::Null);
    assert_eq!(s.ids("/v1/node/pool/default/jobs").0.len(), 4);
    assert_eq!(s.ids("/v1/node/pool/none/jobs").0.len(), 0);
    let statuses = s.get("/v1/jobs/statuses?per_page=2");
    assert_eq!(json(&statuses)[0]["ID"], "a");
    assert!(statuses.next_token.is_some());
}

#[test]
fn allocations_and_evaluations_are_listed_by_age_or_by_prefix() {
    let mut s = Server::new("allocs");
    let eval = s.register(&job("web"))["EvalID"].as_str().unwrap().to_owned();
    let created = s.index;
    let node = Node {
        id: NODE.to_owned(),
        status: "ready".to_owned(),
        scheduling_eligibility: "eligible".to_owned(),
        ..Node::default()
    };
    s.apply(&Command::NodeRegister {
        node: Box::new(node),
        secret: String::new(),
        wall_ns: 1,
        evals: Vec::new(),
    });
    let ids = [
        "cccccccc-0000-4000-8000-000000000000",
        "aaaaaaaa-0000-4000-8000-000000000000",
        "ab000000-0000-4000-8000-000000000000",
    ];
    for id in ids {
        let alloc = Allocation {
            id: id.to_owned(),
            namespace: "default".to_owned(),
            job_id: "web".to_owned(),
            task_group: "app".to_owned(),
            name: "web.app[0]".to_owned(),
            eval_id: eval.clone(),
            node_id: NODE.to_owned(),
            desired_status: "run".to_owned(),
            client_status: "pending".to_owned(),
            ..Allocation::default()
        };
        let place = Placement { alloc, job_version: 0, job_create_index: created };
        let plan = Plan {
            namespace: "default".to_owned(),
            job_id: "web".to_owned(),
            places: vec![place],
            ..Plan::default()
        };
        s.apply(&Command::PlanApply { plan: Box::new(plan), wall_ns: 1 });
    }
    assert_eq!(s.ids("/v1/allocations").0, strings(&ids));
    assert_eq!(s.ids("/v1/allocations?prefix=cc").0, strings(&ids[..1]));
    assert_eq!(s.ids("/v1/allocations?filter=ClientStatus+%3D%3D+pending").0.len(), 3);
    assert_eq!(s.ids("/v1/allocations?namespace=other").0.len(), 0);
    let sorted = strings(&[ids[1], ids[2], ids[0]]);
    assert_eq!(s.ids("/v1/job/web/allocations").0, sorted);
    assert_eq!(s.ids(&format!("/v1/evaluation/{eval}/allocations")).0, sorted);
    let one = s.get(&format!("/v1/allocation/{}", ids[0]));
    assert_eq!(json(&one)["Job"]["ID"], "web");
    assert!(matches!(one.watch, Some(Watch::Row(Table::Alloc, _))));
    let stopped = s.ask("PUT", &format!("/v1/allocation/{}/stop", ids[0]), "");
    assert_eq!(json(&stopped)["Index"], s.index);
    let one = json(&s.get(&format!("/v1/allocation/{}", ids[0])));
    assert_eq!(one["DesiredTransition"]["Migrate"], true);
    assert_eq!(json(&s.get("/v1/job/web/scale"))["TaskGroups"]["app"]["Placed"], 3);
    assert_eq!(json(&s.get("/v1/jobs/statuses"))[0]["Allocs"].as_array().unwrap().len(), 3);
}

#[test]
fn evaluations_are_listed_by_age_or_by_prefix() {
    let mut s = Server::new("evals");
    let ids = [
        "cccccccc-0000-4000-8000-000000000000",
        "aaaaaaaa-0000-4000-8000-000000000000",
        "ab000000-0000-4000-8000-000000000000",
    ];
    for id in ids {
        let eval = Evaluation {
            id: id.to_owned(),
            namespace: "default".to_owned(),
            job_id: "web".to_owned(),
            status: "pending".to_owned(),
            ..Evaluation::default()
        };
        s.apply(&Command::EvalUpsert { evals: vec![eval] });
    }
    assert_eq!(s.ids("/v1/evaluations").0, strings(&ids));
    let (page, next) = s.ids("/v1/evaluations?per_page=1");
    assert_eq!(page, strings(&ids[..1]));
    let next = next.unwrap();
    assert_eq!(next, format!("3.{}", ids[1]));
    assert_eq!(s.ids(&format!("/v1/evaluations?next_token={next}")).0, strings(&ids[1..]));
    assert_eq!(
        s.ids(&format!("/v1/evaluations?reverse=true&next_token={next}")).0,
        strings(&[ids[1], ids[0]])
    );
    assert_eq!(s.ids("/v1/evaluations?prefix=aa").0, strings(&ids[1..2]));
    assert_eq!(
        text(&s.get("/v1/evaluations?prefix=a")),
        "eval lookup failed: index error: Input (without hyphens) must be even length"
    );
    assert_eq!(json(&s.get("/v1/evaluations/count?filter=ID+matches+%22%5Ea%22"))["Count"], 2);
    let a = s.get("/v1/evaluations/count?filter=Nope+is+empty");
    assert_eq!(a.status, 500);
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn methods_are_told_apart() {
    assert_eq!(request("POST", "/v1/jobs?x=y", "{}").method, Method::Post);
}

#[test]
fn public_keys_are_published_and_secrets_are_not() {
    let mut s = Server::new("keys");
    let a = s.get("/.well-known/jwks.json");
    assert_eq!((a.status, text(&a).as_str()), (200, r#"{"keys":[]}"#));
    let created = 1_795_426_609_000_000_000 - 3_600_000_000_000;
    let command = {
        let snap = s.store.as_ref().unwrap().snap().unwrap();
        let now = Now { mono_ns: 1, wall_ns: created };
        vardo::server::first_key(snap.reader(), now, &mut s.chance).unwrap().unwrap()
    };
    let Command::RootKey { id, secret, .. } = &command else { panic!("{command:?}") };
    // The test vector of RFC 8032, 7.1, whatever chance has drawn.
    let public = [
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07,
        0x3a, 0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07,
        0x51, 0x1a,
    ];
    s.apply(&Command::RootKey {
        id: id.clone(),
        public: Bytes(public.to_vec()),
        modulus: Bytes::default(),
        // As of a key that waits for nothing.
        secret: secret.trim_end_matches('.').to_owned(),
        wall_ns: created,
        rotate: false,
        publish_ns: 0,
        full: false,
    });
    let a = s.get("/.well-known/jwks.json");
    assert_eq!(
        text(&a),
        format!(
            "{{\"keys\":[{{\"use\":\"sig\",\"kty\":\"OKP\",\"kid\":\"{id}\",\
             \"crv\":\"Ed25519\",\"alg\":\"EdDSA\",\
             \"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}}]}}"
        )
    );
    assert_eq!(a.index, Some(s.index));
    assert!(matches!(a.watch, Some(Watch::Tables(m)) if m == Table::Operator.bit()));
    // Half of what is left of 720 h.
    assert_eq!(a.headers, [("Cache-Control", format!("max-age={}", 719 * 3600 / 2))]);
    let a = s.get("/v1/operator/keyring/keys");
    assert_eq!(
        json(&a),
        serde_json::json!([{ "Algorithm": "aes256-gcm", "CreateIndex": s.index,
            "CreateTime": created, "KeyID": id, "ModifyIndex": s.index, "PublishTime": 0,
            "State": "active" }])
    );
    assert_eq!(a.index, Some(s.index));
    let snap = s.store.as_ref().unwrap().snap().unwrap();
    let now = Now::default();
    assert_eq!(vardo::server::first_key(snap.reader(), now, &mut s.chance).unwrap(), None);
}
