//! What a real agent tells of itself to collectors.

#![expect(clippy::disallowed_methods, reason = "time is to pass")]

use serde_json::{Value, json};

use super::agent::{Agent, shell_job};

/// The value of a line of the text form that begins so.
fn value(text: &str, begin: &str) -> Option<f64> {
    let line = text.lines().find(|l| l.starts_with(begin))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn counters_gauges_and_histograms() {
    let telemetry = json!({
        "prometheus_metrics": true, "publish_node_metrics": true, "use_node_name": true,
        "publish_allocation_metrics": true,
        "in_memory_collection_interval": "1s", "prefix_filter": ["-nomad.nomad.heartbeat"],
    });
    let agent = Agent::with("metrics", &json!({ "telemetry": telemetry }));
    agent.put("/v1/jobs", &shell_job("web", "service", 2, "while :; do :; done"));
    agent.until("two running", |a| {
        a.allocs("web").iter().filter(|x| x["ClientStatus"] == "running").count() == 2
    });
    let mut never = shell_job("never", "batch", 1, "exec sleep 600");
    never["Job"]["TaskGroups"][0]["Tasks"][0]["Resources"]["CPU"] = json!(1_000_000_000);
    agent.put("/v1/jobs", &never);
    let reply = agent.get("/v1/metrics?format=prometheus");
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8; escaping=underscores")
    );
    let group = "job=\"web\",namespace=\"default\",task_group=\"g\",host=\"metrics\"}";
    let read = |name: &str| format!("nomad_nomad_job_summary_{name}{{{group}");
    agent.until("a blocked evaluation", |a| {
        let text = a.get("/v1/metrics?format=prometheus").text();
        value(&text, "nomad_nomad_blocked_evals_total_blocked{host=\"metrics\"}") == Some(1.0)
            && value(&text, &read("running")) == Some(2.0)
    });
    let text = agent.get("/v1/metrics?format=prometheus").text();
    for (begin, want) in [
        (read("queued").as_str(), 0.0),
        ("nomad_nomad_job_status_running{", 1.0),
        ("nomad_nomad_job_status_pending{", 1.0),
        ("nomad_nomad_autopilot_healthy{", 1.0),
        ("nomad_nomad_autopilot_failure_tolerance{", 0.0),
        ("nomad_nomad_agent_http_connections{", 1.0),
        ("nomad_client_allocs_start{host", 2.0),
        ("nomad_client_allocs_running{host", 2.0),
        ("nomad_client_allocs_failed{host", 0.0),
        ("nomad_client_allocs_complete{host", 0.0),
        ("nomad_nomad_rpc_request{host", 0.0),
        ("nomad_nomad_plan_queue_depth{", 0.0),
        ("nomad_client_allocations_running{datacenter=\"dc1\",node_class=\"none\"", 2.0),
        ("nomad_client_tasks_running{", 2.0),
        ("nomad_client_allocated_cpu{", 20.0),
        ("nomad_client_allocs_cpu_allocated{alloc_id=", 10.0),
        ("nomad_client_allocs_memory_allocated{alloc_id=", f64::from(10 << 20)),
        ("nomad_client_allocated_memory{", 20.0),
        ("nomad_client_allocated_max_memory{", 20.0),
    ] {
        assert_eq!(value(&text, begin), Some(want), "{begin}\n{text}");
    }
    for begin in [
        "nomad_raft_appliedIndex{",
        "nomad_raft_apply{",
        "nomad_raft_commitTime_count{",
        "nomad_client_unallocated_cpu{",
        "nomad_client_host_memory_total{",
        "nomad_client_allocs_memory_rss{alloc_id=",
        "nomad_client_uptime{",
        "nomad_client_host_disk_size{",
        "process_resident_memory_bytes{",
        "process_open_fds{",
        "vardo_http_answers{class=\"2xx\",host=\"metrics\"}",
        "vardo_http_read_seconds_count{",
        "nomad_runtime_alloc_bytes{",
        "nomad_nomad_broker_wait_time_count{",
        "nomad_nomad_broker_process_time_count{",
        "nomad_nomad_broker_response_time_sum{",
        "nomad_nomad_plan_submit_count{",
        "vardo_http_write_seconds_count{",
        "vardo_loop_turn_seconds_count{",
        "vardo_loop_commit_seconds_sum{",
    ] {
        assert!(value(&text, begin).is_some_and(|v| v > 0.0), "{begin}\n{text}");
    }
    for name in ["idle", "total"] {
        let begin = format!("nomad_client_host_cpu_{name}{{cpu=\"cpu0\"");
        assert!(value(&text, &begin).is_some(), "{begin}");
    }
    assert!(!text.contains("heartbeat"), "filtered");
    // Rates need some time between two questions.
    agent.until("time that tasks have spent", |a| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let text = a.get("/v1/metrics?format=prometheus").text();
        value(&text, "nomad_client_allocs_cpu_user{alloc_id=").is_some_and(|v| v > 0.0)
    });
    // Buckets rise to the count, and writes are told from reads.
    let count = value(&text, "vardo_http_write_seconds_count{").expect("a count");
    let all = "vardo_http_write_seconds_bucket{host=\"metrics\",le=\"+Inf\"}";
    assert_eq!((count, value(&text, all)), (2.0, Some(2.0)));
    let types = |kind: &str| text.lines().filter(|l| l.ends_with(kind)).count();
    assert_eq!((types(" histogram"), types(" summary")), (4, 5));
    let names: Vec<&str> = text.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let once: vardo::stdx::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), once.len(), "a type is told once");

    // The JSON form shows the last whole interval.
    let mut told = Value::Null;
    agent.until("an interval with a write", |a| {
        a.put("/v1/var/a", &json!({ "Path": "a", "Items": { "k": "v" } }));
        told = a.get("/v1/metrics").json();
        let samples = told["Samples"].as_array().cloned().unwrap_or_default();
        samples.iter().any(|s| s["Name"] == "vardo.http.write")
    });
    let apply = told["Counters"].as_array().expect("a list").iter();
    let apply = apply.clone().find(|c| c["Name"] == "nomad.raft.apply").expect("applied");
    assert_eq!((&apply["Max"], &apply["Labels"]), (&json!(1.0), &json!({ "host": "metrics" })));
    assert_eq!((&apply["Sum"], &apply["Rate"]), (&apply["Rate"], &apply["Sum"]), "one second");
    let gauges = told["Gauges"].as_array().expect("a list");
    assert!(gauges.is_sorted_by_key(|g| g["Name"].as_str().map(str::to_owned)));
    let at = told["Timestamp"].as_str().expect("a time");
    assert!(
        at.ends_with(" +0000 UTC") && at.len() == "2026-11-23 08:35:50 +0000 UTC".len(),
        "{at}"
    );
}

#[test]
fn what_happens_to_tasks_and_what_agents_ask_of_each_other_is_counted() {
    let telemetry = json!({ "prometheus_metrics": true });
    let server = Agent::with_no_node(
        "count-server",
        &json!({ "bootstrap_expect": 1,
        "enabled": true }),
    );
    let mut client = Agent::prepare(
        "count-client",
        &json!({
            "telemetry": telemetry,
            "server": { "enabled": false },
            "client": { "enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)] },
        }),
    );
    server.configure(&json!({ "telemetry": telemetry }));
    client.spawn();
    server.until("a ready node", |a| {
        a.try_get("/v1/nodes").is_some_and(|r| r.text().contains("\"ready\""))
    });
    let mut job = shell_job("fails", "batch", 1, "exit 3");
    job["Job"]["TaskGroups"][0]["RestartPolicy"] = json!({
        "Attempts": 1, "Interval": 600_000_000_000_i64, "Delay": 10_000_000,
        "Mode": "fail",
    });
    job["Job"]["TaskGroups"][0]["ReschedulePolicy"] = json!({ "Attempts": 0, "Unlimited": false });
    server.put("/v1/jobs", &job);
    server.put("/v1/jobs", &shell_job("works", "batch", 1, "exit 0"));
    client.until("their ends", |c| {
        let text = c.get("/v1/metrics?format=prometheus").text();
        let of = |name: &str| value(&text, &format!("nomad_client_allocs_{name}{{host"));
        ["start", "running", "restart", "failed", "complete", "oom_killed"].map(of)
            == [3.0, 3.0, 1.0, 1.0, 1.0, 0.0].map(Some)
    });
}

#[test]
fn the_text_form_is_there_where_it_is_wanted() {
    let agent = Agent::start("metrics-plain");
    let reply = agent.get("/v1/metrics?format=prometheus");
    assert_eq!((reply.status, reply.text().as_str()), (415, "Prometheus is not enabled"));
    let told = agent.get("/v1/metrics").json();
    let gauges = told["Gauges"].as_array().expect("a list");
    assert!(
        gauges.iter().any(|g| g["Name"] == "nomad.nomad.heartbeat.active" && g["Value"] == 1.0)
    );
    assert!(gauges.iter().all(|g| !g["Name"].as_str().is_some_and(|n| n.contains(".host."))));
    assert_eq!(agent.put("/v1/metrics", &json!({})).status, 405);
}
