//! Scaling, planning, launching and searching of jobs, by requests.

use serde_json::{Value, json as object};
use vardo::command::Command;
use vardo::stdx::Now;

use super::{Server, job, json, text};

fn with(id: &str, extra: &Value) -> Value {
    let mut job = job(id);
    for (key, value) in extra.as_object().unwrap() {
        job[key] = value.clone();
    }
    job
}

/// A job whose group may have one to three allocations.
fn scaled(id: &str) -> Value {
    let mut job = job(id);
    job["TaskGroups"][0]["Scaling"] =
        object!({"Min": 1, "Max": 3, "Policy": {"target": "x", "n": 5}});
    job
}

fn zoo(name: &str) -> Server {
    let mut s = Server::new(name);
    s.register(&scaled("web"));
    s.register(&with("sys", &object!({"Type": "system"})));
    s.register(&with("plain", &object!({"Type": "batch"})));
    let cron = object!({"Type": "batch", "Periodic": {"Specs": ["@daily"]}});
    s.register(&with("cron", &cron));
    let rules = object!({"Payload": "required", "MetaRequired": ["k"]});
    s.register(&with("tmpl", &object!({"Type": "batch", "ParameterizedJob": rules})));
    let rules = object!({"Payload": "forbidden"});
    s.register(&with("bare", &object!({"Type": "batch", "ParameterizedJob": rules})));
    s.register(&with("gone", &object!({"Type": "batch", "ParameterizedJob": {}})));
    assert_eq!(s.ask("DELETE", "/v1/job/gone", "").status, 200);
    s
}

#[test]
fn requests_are_refused_as_recorded() {
    let mut s = zoo("zoo-refused");
    let long = "A".repeat(21_848);
    let plan = |job: Value| object!({ "Job": job }).to_string();
    for (path, body, status, want) in [
        (
            "web/scale",
            r#"{"Count":-1,"Target":{"Group":"app"}}"#,
            400,
            "scaling action count can't be negative",
        ),
        (
            "web/scale",
            r#"{"Count":1,"Target":{}}"#,
            400,
            "missing task group name for scaling action",
        ),
        (
            "web/scale",
            r#"{"Count":1,"Target":{"Group":"no"}}"#,
            400,
            "task group \"no\" specified for scaling does not exist in job",
        ),
        (
            "web/scale",
            r#"{"Count":4,"Target":{"Group":"app"}}"#,
            400,
            "group count was greater than scaling policy maximum: 4 > 3",
        ),
        (
            "web/scale",
            r#"{"Count":0,"Target":{"Group":"app"}}"#,
            400,
            "group count was less than scaling policy minimum: 0 < 1",
        ),
        (
            "web/scale",
            r#"{"Count":2,"Error":true,"Target":{"Group":"app"}}"#,
            400,
            "scaling action should not contain count if error is true",
        ),
        (
            "web/scale",
            r#"{"Count":2,"Target":{"Group":"app","Job":"other"}}"#,
            400,
            "job ID in payload did not match URL",
        ),
        (
            "web/scale",
            r#"{"Count":2,"Target":{"Group":"app","Namespace":"n"}}"#,
            400,
            "namespace in payload did not match header",
        ),
        (
            "web/scale",
            r#"{"Count":2,"JobModifyIndex":1,"Target":{"Group":"app"}}"#,
            500,
            "Enforcing job modify index 1: job exists with conflicting job modify index: 2",
        ),
        ("web/scale", "", 400, "Request body is empty"),
        (
            "sys/scale",
            r#"{"Count":2,"Target":{"Group":"app"}}"#,
            400,
            "jobs of type \"system\" can only be scaled between 0 and 1",
        ),
        (
            "plain/scale",
            r#"{"Count":50001,"Target":{"Group":"app"}}"#,
            400,
            "total count was greater than configured job_max_count: 50001 > 50000",
        ),
        ("no/scale", r#"{"Count":2,"Target":{"Group":"app"}}"#, 404, "job \"no\" not found"),
        (
            "tmpl/dispatch",
            r#"{"Meta":{"k":"v"}}"#,
            500,
            "Payload is not provided but required by parameterized job",
        ),
        (
            "tmpl/dispatch",
            r#"{"Payload":"eA=="}"#,
            500,
            "Dispatch did not provide required meta keys: [k]",
        ),
        (
            "tmpl/dispatch",
            r#"{"Payload":"eA==","Meta":{"k":"","z":""}}"#,
            500,
            "Dispatch request included unpermitted metadata keys: [z]",
        ),
        (
            "tmpl/dispatch",
            r#"{"Payload":"eA==","Meta":{"k":"v"},"Priority":101}"#,
            500,
            "dispatch job priority must be between [1, 100]",
        ),
        ("tmpl/dispatch", r#"{"JobID":"other"}"#, 400, "Job ID does not match"),
        (
            "bare/dispatch",
            r#"{"Payload":"eA=="}"#,
            500,
            "Payload provided but forbidden by parameterized job",
        ),
        ("gone/dispatch", "{}", 500, "Specified job \"gone\" is stopped"),
        ("web/dispatch", "{}", 500, "Specified job \"web\" is not a parameterized job"),
        ("no/dispatch", "{}", 500, "parameterized job not found"),
        ("tmpl/dispatch/payload", &long, 500, "Payload exceeds maximum size; 21848 > 16384"),
        ("plain/periodic/force", "", 500, "can't force launch non-periodic job"),
        ("no/periodic/force", "", 500, "job not found"),
        ("cron/evaluate", "", 500, "can't evaluate periodic job"),
        ("tmpl/evaluate", "", 500, "can't evaluate parameterized job"),
        ("web/plan", "{}", 400, "Job must be specified"),
        ("web/plan", r#"{"Job":{"Name":"web"}}"#, 400, "Job must have a valid ID"),
        ("web/plan", &plan(job("other")), 400, "Job ID does not match"),
        (
            "web/plan",
            &plan(with("web", &object!({"Type": "batch"}))),
            500,
            "cannot update job from type \"service\" to \"batch\"",
        ),
        (
            "plain/plan",
            &plan(with("plain", &object!({"Type": "batch", "Periodic": {"Specs": ["@daily"]}}))),
            500,
            "cannot update non-periodic job to being periodic",
        ),
        (
            "web/plan",
            &plan(with("web", &object!({"TaskGroups": []}))),
            500,
            "1 error occurred:\n\t* Missing job task groups\n\n",
        ),
    ] {
        let a = s.ask("PUT", &format!("/v1/job/{path}"), body);
        assert_eq!((a.status, text(&a).as_str()), (status, want), "{path} {body}");
    }
    for (path, want) in [
        ("/v1/job/web/versions?diffs=true&diff_version=9", "version 9 not found"),
        ("/v1/job/web/versions?diffs=true&diff_tag=x", "tag \"x\" not found"),
    ] {
        let a = s.get(path);
        assert_eq!((a.status, text(&a).as_str()), (500, want), "{path}");
    }
}

#[test]
fn versions_tell_what_changed() {
    let mut s = Server::new("diffs");
    for count in 1..=3 {
        let mut spec = job("web");
        spec["TaskGroups"][0]["Count"] = count.into();
        s.register(&spec);
    }
    let tag = s.ask("PUT", "/v1/job/web/versions/first/tag", r#"{"Version":0}"#);
    assert_eq!(tag.status, 200);
    let mut counts = |query: &str| -> Vec<String> {
        let diffs =
            json(&s.get(&format!("/v1/job/web/versions?diffs=true{query}")))["Diffs"].take();
        let field = |d: &Value| match &d["TaskGroups"][0]["Fields"] {
            Value::Array(fields) => format!("{} {}", fields[0]["Old"], fields[0]["New"]),
            _ => d["Type"].to_string(),
        };
        diffs.as_array().unwrap().iter().map(field).collect()
    };
    assert_eq!(counts(""), [r#""2" "3""#, r#""1" "2""#]);
    assert_eq!(counts("&diff_version=1"), [r#""2" "3""#, r#""None""#, r#""2" "1""#]);
    assert_eq!(counts("&diff_tag=first"), [r#""1" "3""#, r#""1" "2""#, r#""None""#]);
}

#[test]
fn scaling_keeps_policies_and_events() {
    let mut s = Server::new("scale");
    s.register(&scaled("web"));
    let list = json(&s.get("/v1/scaling/policies"));
    let id = list[0]["ID"].as_str().unwrap().to_owned();
    let target = object!({"Group": "app", "Job": "web", "Namespace": "default"});
    assert_eq!((&list[0]["Target"], &list[0]["Enabled"]), (&target, &true.into()));
    assert!(list[0].get("Max").is_none());
    let path = format!("/v1/scaling/policy/{id}");
    let policy = json(&s.get(&path));
    assert_eq!((&policy["Max"], &policy["Min"]), (&3.into(), &1.into()));
    assert_eq!(policy["Policy"].to_string(), r#"{"n":5.0,"target":"x"}"#);
    assert_eq!(json(&s.get("/v1/job/web"))["TaskGroups"][0]["Scaling"]["ID"], *id);
    for (query, found) in [
        ("job=web", 1),
        ("job=other", 0),
        ("type=hori", 1),
        ("type=vertical", 0),
        ("namespace=none", 0),
        ("namespace=*&job=other", 1),
        (&format!("prefix={}", &id[..3]), 1),
        ("prefix=zz", 0),
    ] {
        let list = json(&s.get(&format!("/v1/scaling/policies?{query}")));
        assert_eq!(list.as_array().unwrap().len(), found, "{query}");
    }

    // Another count: a new version, an evaluation, and an event; the policy stays.
    let body = r#"{"Count":2,"Target":{"Group":"app"},"Message":"up","Meta":{"n":1,"s":["a"]}}"#;
    let done = json(&s.ask("PUT", "/v1/job/web/scale", body));
    assert_eq!((&done["Index"], &done["KnownLeader"]), (&s.index.into(), &true.into()));
    let eval = done["EvalID"].as_str().unwrap();
    let stored = json(&s.get(&format!("/v1/evaluation/{eval}")));
    assert_eq!(stored["TriggeredBy"], "job-scaling");
    let stored = json(&s.get("/v1/job/web"));
    assert_eq!((&stored["Version"], &stored["TaskGroups"][0]["Count"]), (&1.into(), &2.into()));
    assert_eq!(json(&s.get(&path)), policy);
    let status = json(&s.get("/v1/job/web/scale"));
    let event = &status["TaskGroups"]["app"]["Events"][0];
    assert_eq!((&event["Count"], &event["PreviousCount"]), (&2.into(), &1.into()));
    assert_eq!((&event["CreateIndex"], &event["EvalID"]), (&s.index.into(), &done["EvalID"]));
    assert_eq!(event["Meta"].to_string(), r#"{"n":1.0,"s":["a"]}"#);

    // Events without a count change nothing; the newest twenty are kept.
    for n in 0..25 {
        let body = object!({"Target": {"Group": "app"}, "Error": true, "Message": n.to_string()});
        let done = json(&s.ask("PUT", "/v1/job/web/scale", &body.to_string()));
        assert_eq!((&done["EvalID"], &done["EvalCreateIndex"]), (&"".into(), &0.into()));
    }
    let a = s.get("/v1/job/web/scale");
    assert_eq!(a.index, Some(s.index));
    let events = json(&a)["TaskGroups"]["app"]["Events"].take();
    let events = events.as_array().unwrap();
    assert_eq!((events.len(), &events[0]["Message"]), (20, &"24".into()));
    assert_eq!((&events[0]["Count"], &events[0]["PreviousCount"]), (&Value::Null, &2.into()));
    assert_eq!(json(&s.get("/v1/job/web"))["Version"], 1);

    // Stopped: off. Without the block, or purged: gone.
    s.ask("DELETE", "/v1/job/web", "");
    assert_eq!(json(&s.get(&path))["Enabled"], false);
    let again = s.register(&scaled("web"));
    assert_ne!(again["EvalID"], "");
    assert_eq!(json(&s.get(&path))["Enabled"], true);
    s.register(&job("web"));
    assert_eq!(text(&s.get(&path)), "policy not found");
    s.register(&scaled("web"));
    s.ask("DELETE", "/v1/job/web?purge=true", "");
    assert_eq!(text(&s.get("/v1/scaling/policies")), "[]");
    assert_eq!(s.get("/v1/job/web/scale").status, 404);
}

#[test]
fn dispatched_children_are_counted_and_found_by_their_token() {
    let mut s = zoo("zoo-dispatch");
    let body = r#"{"Payload":"eA==","Meta":{"k":"v"},"IdPrefixTemplate":"night"}"#;
    let path = "/v1/job/tmpl/dispatch?idempotency_token=t";
    let first = json(&s.ask("PUT", path, body));
    let id = first["DispatchedJobID"].as_str().unwrap();
    assert!(id.starts_with("tmpl/dispatch-night-1795426609-"), "{id}");
    let again = json(&s.ask("PUT", path, body));
    assert_eq!((&again["DispatchedJobID"], &again["EvalID"]), (&id.into(), &"".into()));
    let child = json(&s.get(&format!("/v1/job/{id}")));
    assert_eq!((&child["Payload"], &child["Meta"]["k"]), (&"eA==".into(), &"v".into()));
    let summary = json(&s.get("/v1/job/tmpl/summary"));
    assert_eq!(summary["Children"], object!({"Dead": 0, "Pending": 1, "Running": 0}));
    let statuses = json(&s.ask("POST", "/v1/jobs/statuses", r#"{"Jobs":[{"ID":"tmpl"}]}"#));
    assert_eq!(statuses[0]["ChildStatuses"], object!(["pending"]));
    s.ask("DELETE", &format!("/v1/job/{id}?purge=true"), "");
    let third = json(&s.ask("PUT", path, body));
    assert_ne!(third["DispatchedJobID"], first["DispatchedJobID"], "the first one is gone");
}

fn search(s: &mut Server, path: &str, body: &Value) -> Value {
    let a = s.ask("PUT", path, &body.to_string());
    assert_eq!(a.status, 200, "{}", text(&a));
    json(&a)
}

#[test]
fn searches_by_prefix() {
    let mut s = zoo("zoo-prefix");
    let mut ids = |prefix: &str, context: &str| {
        let body = object!({"Prefix": prefix, "Context": context});
        search(&mut s, "/v1/search", &body)["Matches"].take()
    };
    assert_eq!(ids("p", "jobs"), object!({"jobs": ["plain"]}));
    assert_eq!(ids("", "jobs")["jobs"].as_array().unwrap().len(), 7);
    assert_eq!(ids("nothing", "jobs"), object!({"jobs": null}));
    assert_eq!(ids("def", "namespaces"), object!({"namespaces": ["default"]}));
    assert_eq!(ids("a", "node_pools"), object!({"node_pools": ["all"]}));
    assert_eq!(ids("not hexadecimal", "evals"), object!({}));
    let evals = ids("", "evals");
    let eval = evals["evals"][0].as_str().unwrap();
    // Odd lengths, with and without the hyphens.
    for prefix in [&eval[..3], &eval[..9], &eval[..14], eval] {
        assert_eq!(ids(prefix, "evals")["evals"][0], *eval, "{prefix}");
    }
    let all = ids("zz", "all");
    assert_eq!(all.as_object().unwrap().len(), 8, "no contexts of UUIDs: {all}");

    for n in 0..30 {
        s.register(&job(&format!("many-{n:02}")));
    }
    let body = object!({"Prefix": "many", "Context": "jobs"});
    let cut = search(&mut s, "/v1/search", &body);
    assert_eq!(cut["Matches"]["jobs"].as_array().unwrap().len(), 20);
    assert_eq!(cut["Truncations"], object!({"jobs": true}));
    let other = search(&mut s, "/v1/search?namespace=other", &body);
    assert_eq!(other["Matches"], object!({"jobs": null}));
    let any = search(&mut s, "/v1/search?namespace=*", &body);
    assert_eq!(any["Matches"], cut["Matches"]);
    assert_eq!(s.get("/v1/search").status, 405);
    assert_eq!(text(&s.ask("PUT", "/v1/search", "")), "Request body is empty");
}

#[test]
fn searches_for_any_part_of_a_name() {
    let mut s = zoo("zoo-fuzzy");
    let command = {
        let snap = s.store.as_ref().unwrap().snap().unwrap();
        vardo::server::first_key(snap.reader(), Now::default(), &mut s.chance).unwrap().unwrap()
    };
    s.apply(&command);
    let variable = r#"{"Items":{"a":"b"}}"#;
    assert_eq!(s.ask("PUT", "/v1/var/some/Webpath", variable).status, 200);
    let body = object!({"Text": "WEB", "Context": "all"});
    let found = search(&mut s, "/v1/search/fuzzy", &body)["Matches"].take();
    assert_eq!(found["jobs"], object!([{"ID": "web", "Scope": ["default", "web"]}]));
    let scope = object!(["default", "some/Webpath"]);
    assert_eq!(found["vars"], object!([{"ID": "some/Webpath", "Scope": scope}]));
    assert_eq!(found["tasks"].as_array().unwrap().len(), 7);
    assert_eq!(found["tasks"][0], object!({"ID": "web", "Scope": ["default", "bare", "app"]}));
    assert_eq!(found["evals"], object!([]));
    assert!(found.get("groups").is_none());
    let body = object!({"Text": "sleep", "Context": "jobs"});
    let commands = search(&mut s, "/v1/search/fuzzy", &body)["Matches"]["commands"].take();
    let scope = object!(["default", "bare", "app", "web"]);
    assert_eq!(commands[0], object!({"ID": "/bin/sleep", "Scope": scope}));
    // Earlier in the name, then shorter, then by letters.
    s.apply(&Command::Bootstrap { wall_ns: 1 });
    for name in ["xa-qq", "qq-long", "qq", "a-qq"] {
        s.register(&job(name));
    }
    let body = object!({"Text": "qq", "Context": "jobs"});
    let jobs = search(&mut s, "/v1/search/fuzzy", &body)["Matches"]["jobs"].take();
    let names: Vec<&str> =
        jobs.as_array().unwrap().iter().filter_map(|m| m["ID"].as_str()).collect();
    assert_eq!(names, ["qq", "qq-long", "a-qq", "xa-qq"]);
}
