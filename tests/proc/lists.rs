//! A long list that is asked for again and again.

use serde_json::json;

use super::agent::Agent;
use crate::support::http;

#[test]
fn a_long_list_is_always_what_the_state_says() {
    let agent = Agent::start("lists");
    let put = |n: usize, priority: i64| {
        let job = json!({ "Job": {
            "ID": format!("long-{n}"), "Type": "service", "Priority": priority,
            "Datacenters": ["nowhere", "x".repeat(20_000)],
            "TaskGroups": [{ "Name": "g", "Tasks": [{
                "Name": "t", "Driver": "raw_exec", "Config": { "command": "/bin/true" },
            }] }],
        } });
        assert_eq!(agent.put("/v1/jobs", &job).status, 200);
    };
    let priorities = |path: &str| -> Vec<i64> {
        let answer = agent.get(path);
        let list = answer.json();
        list.as_array().expect("a list").iter().filter_map(|j| j["Priority"].as_i64()).collect()
    };
    (1..=15).for_each(|n| put(n, 10));
    // The evaluations of these jobs end, so that nothing moves while the list is compared.
    agent.until("the evaluations are over", |a| {
        let evals = a.get("/v1/evaluations").json();
        evals.as_array().is_some_and(|e| e.iter().all(|e| e["Status"] != "pending"))
    });
    let first = agent.get("/v1/jobs");
    assert!(first.body.len() > 256 * 1024, "{}", first.body.len());
    let again = agent.get("/v1/jobs");
    assert_eq!((again.status, &again.body, again.index()), (200, &first.body, first.index()));
    assert_eq!(again.headers.len(), first.headers.len());
    let gzip = [("Accept-Encoding".to_owned(), "gzip".to_owned())];
    let address = format!("127.0.0.1:{}", agent.port);
    let packed = http::send(&address, "GET", "/v1/jobs", &gzip, None).expect("an answer");
    assert_eq!(packed.body, first.body);
    // Other questions have other answers.
    assert_eq!(priorities("/v1/jobs?per_page=2"), [10, 10]);
    assert_eq!(priorities("/v1/jobs?prefix=long-15"), [10]);
    assert!(agent.get("/v1/jobs?pretty").body.len() > first.body.len());
    // What changes is seen at once, by those who wait too.
    put(3, 20);
    assert_eq!(priorities("/v1/jobs").iter().filter(|p| **p == 20).count(), 1);
    let waited = agent.get(&format!("/v1/jobs?index={}&wait=10s", first.index()));
    assert!(waited.index() > first.index());
    put(16, 30);
    assert_eq!(priorities("/v1/jobs").len(), 16);
}
