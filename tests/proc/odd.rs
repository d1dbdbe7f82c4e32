//! Requests as nobody in their right mind would send them: every endpoint with odd names, odd
//! parameters, and the bodies of the recorded exchanges with something changed. Each gets an
//! answer, and the agent lives on with all that it had.

use std::path::Path;

use serde_json::{Map, Value, json};
use vardo::stdx::BTreeMap;

use super::agent::Agent;
use crate::sim::engine::rng::Rng;

/// What stands in a path for the name of something, as it is sent.
const NAMES: &[&str] = &[
    "web",
    "",
    ".",
    "..%2f..%2fx",
    "a%2fb",
    "%00",
    "%ff%fe",
    "%c3%a9",
    "*",
    "0",
    "00000000-0000-0000-0000-000000000000",
    "aaaaaaaa-0000-4000-8000-000000000000",
    "(LONG)",
];

const PARAMETERS: &[&str] = &[
    "index=0",
    "index=99999999&wait=1ms",
    "index=-1",
    "per_page=-1",
    "per_page=1",
    "per_page=18446744073709551616",
    "next_token=%00",
    "next_token=(LONG)",
    "filter=((((",
    "filter=ID+matches+%22(a*)*b%22",
    "filter=(LONG)",
    "prefix=(LONG)",
    "prefix=00",
    "namespace=*",
    "namespace=",
    "namespace=(LONG)",
    "region=nope",
    "stale",
    "pretty",
    "reverse=true",
    "offset=-5",
    "offset=99999999999999999999",
    "origin=end",
    "path=..%2f..%2f..",
    "path=(LONG)",
    "type=stdout&task=..",
    "job=(LONG)",
    "all=true",
    "resources=true",
    "eval_priority=101",
    "choose=999999999999|",
    "choose=2|x",
    "diffs=true&diff_version=99",
    "cas=18446744073709551615",
    "lock-acquire",
    "lock-operation=renew",
    "format=prometheus",
];

/// Not asked: what ends the agent, changes all of it, or goes on for as long as the caller listens.
const SKIPPED: &[&str] = &[
    "/agent/leave",
    "/snapshot",
    "/stream",
    "/agent/monitor",
    "/fs/logs",
    "/exec",
    "/action",
    "/pprof",
];

struct Seeds {
    rng: Rng,
    paths: Vec<(String, String)>,
    /// Of the recorded exchanges: method, target, body.
    steps: Vec<(String, String, Option<Value>)>,
    long: String,
}

impl Seeds {
    fn new(seed: u64) -> Self {
        let table = include_str!("../data/endpoints.tsv").lines().filter(|l| !l.starts_with('#'));
        let paths = table.filter_map(|row| row.split_once('\t'));
        let paths = paths.filter(|(path, _)| !SKIPPED.iter().any(|s| path.contains(s)));
        let paths = paths.map(|(path, method)| (path.to_owned(), method.to_owned())).collect();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden");
        let mut files: Vec<_> = std::fs::read_dir(data).expect("goldens").flatten().collect();
        files.sort_by_key(std::fs::DirEntry::path);
        let mut steps = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(file.path()).expect("a golden");
            let golden: Value = serde_json::from_str(&text).expect("JSON");
            for step in golden["steps"].as_array().into_iter().flatten() {
                let asked = step["do"].as_str().and_then(|d| d.split_once(' '));
                if let Some((method, target)) = asked
                    && !SKIPPED.iter().any(|s| target.contains(s))
                    && !target.contains("wait=")
                {
                    let names = target.replace("${", "").replace('}', "");
                    steps.push((method.to_owned(), names, step.get("body").cloned()));
                }
            }
        }
        Self { rng: Rng::new(seed, 0), paths, steps, long: "x".repeat(2_000) }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.index(of.len())]
    }

    fn request(&mut self, n: usize) -> (String, String, Option<String>) {
        let at = self.rng.index(self.steps.len());
        let (mut method, mut target, mut body) = self.steps[at].clone();
        // First every endpoint with every name.
        let named = NAMES.get(n / self.paths.len());
        if named.is_some() || self.rng.coin() {
            let at = if named.is_some() { n } else { self.rng.index(n) } % self.paths.len();
            let path;
            (path, method) = self.paths[at].clone();
            body = body.filter(|_| method != "GET");
            let parts = path.split('/').map(|part| match part.starts_with([':', '{']) {
                true => named.copied().unwrap_or_else(|| self.one(NAMES)),
                false => part,
            });
            target = parts.collect::<Vec<_>>().join("/");
        }
        for _ in 0..self.rng.below(4) {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(self.one(PARAMETERS));
        }
        let target = target.replace("(LONG)", &self.long);
        let body = body.map(|body| {
            let mut text = self.odd(body).to_string();
            if self.rng.chance(500) {
                text.truncate(text.floor_char_boundary(self.rng.index(text.len() + 1)));
            }
            text
        });
        (method, target, body)
    }

    fn odd(&mut self, value: Value) -> Value {
        if self.rng.chance(700) {
            return self.strange();
        }
        match value {
            Value::Object(map) => {
                let mut out = Map::new();
                for (key, value) in map {
                    match self.rng.below(40) {
                        0 => continue,
                        1 => drop(out.insert(key.to_lowercase(), self.odd(value))),
                        2 => drop(out.insert(String::new(), self.odd(value))),
                        _ => drop(out.insert(key, self.odd(value))),
                    }
                }
                Value::Object(out)
            }
            Value::Array(list) => {
                let times = if self.rng.chance(500) { 5 } else { 1 };
                let list: Vec<Value> = list.into_iter().map(|v| self.odd(v)).collect();
                Value::Array(list.iter().cycle().take(list.len() * times).cloned().collect())
            }
            other => other,
        }
    }

    fn strange(&mut self) -> Value {
        let mut strange = vec![
            Value::Null,
            json!(true),
            json!(0),
            json!(-1),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(1e308),
            json!(0.5),
            json!(""),
            json!("../../x"),
            json!("\u{0}\u{1f600}"),
            json!("${node.unique.id} ${"),
            json!("9999999h"),
            json!("-5s"),
            json!("*"),
            json!([]),
            json!({}),
            json!([[null]]),
            json!({ "": { "": [] } }),
            Value::String(self.long.clone()),
            (0..100).fold(json!(0), |inner, _| json!([inner])),
        ];
        strange.swap_remove(self.rng.index(strange.len()))
    }
}

#[test]
fn odd_requests_are_answered_and_harm_nobody() {
    let agent = Agent::start("odd");
    let kept = agent.put("/v1/var/kept", &json!({ "Items": { "a": "b" } }));
    assert_eq!(kept.status, 200, "{}", kept.text());
    let mut seeds = Seeds::new(7);
    let mut count = BTreeMap::<u16, u32>::new();
    for n in 0..6_000 {
        let (method, target, body) = seeds.request(n);
        let answer = agent.request(&method, &target, body.as_deref());
        let answer = answer.unwrap_or_else(|e| {
            panic!("request {n}, {method} {target}: {e}; {body:?}\n{}", agent.log())
        });
        *count.entry(answer.status).or_default() += 1;
    }
    let served = count.get(&200).copied().unwrap_or_default();
    assert!(served > 400, "{count:?}");
    assert_eq!(agent.get("/v1/var/kept").status, 200);
    let log = agent.log();
    assert!(!log.contains("without a name"), "{log}");
}

/// `default_scheduler_config` counts where there is none yet, and never again.
#[test]
fn a_cluster_begins_with_the_scheduler_configuration_of_its_first_server() {
    let server = |algorithm: &str| {
        json!({ "server": {
            "enabled": true, "bootstrap_expect": 1,
            "default_scheduler_config": {
                "scheduler_algorithm": algorithm, "memory_oversubscription_enabled": true,
            },
        }})
    };
    let mut agent = Agent::with("scheduling", &server("spread"));
    let stored = |a: &Agent| {
        a.try_get("/v1/operator/scheduler/configuration")
            .map(|r| r.json()["SchedulerConfig"].clone())
    };
    let begun = stored(&agent).expect("an answer");
    assert_eq!(begun["SchedulerAlgorithm"], "spread");
    assert_eq!(begun["MemoryOversubscriptionEnabled"], true);
    assert_eq!(begun["PreemptionConfig"]["SystemSchedulerEnabled"], true);
    agent.kill();
    agent.configure(&server("binpack"));
    agent.spawn();
    agent.until("a leader", |a| {
        a.try_get("/v1/status/leader").is_some_and(|r| r.status == 200 && r.text().len() > 2)
    });
    agent.until("a write", |a| {
        a.put("/v1/var/new", &json!({ "Items": { "k": "v" } })).status == 200
    });
    assert_eq!(stored(&agent), Some(begun));
}
