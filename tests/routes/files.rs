//! `/v1/client/fs/*`: what is refused before a file is looked at, and what is asked of the agent.

use vardo::routes::{FilesOp, FilesRequest};

use super::{Answer, NODE, Outcome, Server, job, text};
use vardo::api::Allocation;
use vardo::command::{Command, Placement, Plan};

const ALLOC: &str = "aaaaaaaa-0000-4000-8000-000000000000";
const UNKNOWN: &str = "11111111-2222-3333-4444-555555555555";

/// A server with one allocation of the job `web`, whose task is called the same.
fn server(name: &str) -> Server {
    let mut s = Server::new(name);
    let done = s.register(&job("web"));
    let created = done["JobModifyIndex"].as_u64().unwrap();
    let node = vardo::api::Node {
        id: NODE.to_owned(),
        name: "n".to_owned(),
        datacenter: "dc1".to_owned(),
        status: "ready".to_owned(),
        ..vardo::api::Node::default()
    };
    s.apply(&Command::NodeRegister {
        node: Box::new(node),
        evals: Vec::new(),
        wall_ns: 1,
        secret: String::new(),
    });
    let alloc = Allocation {
        id: ALLOC.to_owned(),
        namespace: "default".to_owned(),
        job_id: "web".to_owned(),
        task_group: "app".to_owned(),
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
    s
}

#[test]
fn refusals_are_as_recorded() {
    let mut s = server("fs-refused");
    let syntax = "strconv.ParseInt: parsing \"\": invalid syntax";
    let cases: &[(&str, u16, String)] = &[
        ("nope/ALLOC", 404, "Invalid method".to_owned()),
        ("nope/", 404, "Invalid method".to_owned()),
        ("ls/", 400, "must provide a valid alloc id".to_owned()),
        ("ls/UNKNOWN", 404, format!("Unknown allocation \"{UNKNOWN}\"")),
        (
            "ls/short",
            500,
            "alloc lookup failed: index error: UUID must be 36 characters".to_owned(),
        ),
        ("stat/ALLOC", 400, "must provide a file name".to_owned()),
        ("cat/ALLOC", 200, "must provide a file name".to_owned()),
        ("cat/UNKNOWN?path=a", 200, format!("Unknown allocation \"{UNKNOWN}\"")),
        ("readat/ALLOC?path=a", 200, format!("error parsing offset: {syntax}")),
        ("stream/ALLOC", 400, "must provide a file name".to_owned()),
        ("stream/ALLOC?path=a&origin=x", 400, "origin must be start or end".to_owned()),
        (
            "stream/ALLOC?path=a&offset=x",
            500,
            format!("error parsing offset: {}", syntax.replace("\"\"", "\"x\"")),
        ),
        (
            "stream/ALLOC?path=a&follow=x",
            500,
            "failed to parse follow field to boolean: \
             strconv.ParseBool: parsing \"x\": invalid syntax"
                .to_owned(),
        ),
        ("logs/ALLOC", 400, "must provide task name".to_owned()),
        ("logs/ALLOC?task=web", 400, "must provide log type (stdout/stderr)".to_owned()),
        ("logs/ALLOC?task=web&type=x", 400, "must provide log type (stdout/stderr)".to_owned()),
        ("logs/ALLOC?task=zz&type=stdout", 400, "unknown task name \"zz\"".to_owned()),
        ("logs/ALLOC?task=web&type=stdout&origin=x", 400, "origin must be start or end".to_owned()),
        ("logs/UNKNOWN?task=web&type=stdout", 404, format!("Unknown allocation \"{UNKNOWN}\"")),
    ];
    for (target, status, want) in cases {
        let target = target.replace("ALLOC", ALLOC).replace("UNKNOWN", UNKNOWN);
        let a: Answer = s.get(&format!("/v1/client/fs/{target}"));
        assert_eq!((a.status, text(&a)), (*status, want.clone()), "{target}");
    }
}

#[test]
fn parameters_reach_the_agent() {
    let mut s = server("fs-asked");
    let base = FilesRequest { alloc: ALLOC.to_owned(), ..FilesRequest::default() };
    let cases = [
        ("ls/ALLOC", FilesRequest { path: "/".to_owned(), ..base.clone() }),
        (
            "readat/ALLOC?path=a%2Fb&offset=3&limit=4",
            FilesRequest {
                op: FilesOp::ReadAt,
                path: "a/b".to_owned(),
                offset: 3,
                limit: 4,
                ..base.clone()
            },
        ),
        (
            "stream/ALLOC?path=a",
            FilesRequest {
                op: FilesOp::Stream,
                path: "a".to_owned(),
                follow: true,
                ..base.clone()
            },
        ),
        (
            "logs/ALLOC?task=web&type=stderr&origin=end&offset=9&plain=true&follow=true",
            FilesRequest {
                op: FilesOp::Logs,
                task: "web".to_owned(),
                kind: "stderr".to_owned(),
                offset: 9,
                from_end: true,
                plain: true,
                follow: true,
                ..base
            },
        ),
    ];
    for (target, want) in cases {
        let target = format!("/v1/client/fs/{}", target.replace("ALLOC", ALLOC));
        match s.outcome("GET", &target, "") {
            Ok(Outcome::Files(request)) => assert_eq!(request, want, "{target}"),
            _ => panic!("{target}: no request for files"),
        }
    }
}
