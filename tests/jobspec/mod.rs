//! Canonical jobs and refusals, against what was recorded from the reference.

mod diff;
mod fixture;
pub(crate) mod hcl;
mod rules;

use std::rc::Rc;

use serde_json::Value;
use vardo::api::{Job, Namespace, TaskGroup};
use vardo::jobspec::{AdmitCtx, admit, join_warnings, refusal};
use vardo::stdx::json;
use vardo::stdx::zone::Zones;

fn admitted(job: Job) -> Result<(Job, Vec<String>), Vec<String>> {
    admit(
        job,
        &AdmitCtx {
            region: "global",
            priority_default: 50,
            priority_max: 100,
            count_max: 50_000,
            memory_oversubscription: false,
            zones: Zones(zone),
            namespace: &|n| (n == "default" || n == "dev").then(Rc::<Namespace>::default),
            pool_exists: &|p| p == "default",
        },
    )
}

/// A zone without changes.
fn zone(name: &str) -> Option<Vec<u8>> {
    let mut file = [b"TZif".as_slice(), &[0; 46]].concat();
    file[39] = 1;
    (name == "Europe/Berlin").then_some(file)
}

fn given(value: &Value) -> Job {
    json::decode(&json::encode(value)).expect("a job")
}

/// Differences between what was recorded and what came out. Masked values match anything, and
/// so do the fields that the server fills when the job is stored.
fn differences(path: &str, want: &Value, got: &Value, out: &mut Vec<String>) {
    const LATER: [&str; 6] =
        ["/Status", "/Stable", "/Version", "/Stop", "/SubmitTime", "/VersionTag"];
    if LATER.contains(&path) || want.get("$").is_some() {
        return;
    }
    match (want, got) {
        (Value::Object(w), Value::Object(g)) => {
            let keys: vardo::stdx::BTreeSet<&String> = w.keys().chain(g.keys()).collect();
            for k in keys {
                let null = Value::String("(absent)".to_owned());
                let (a, b) = (w.get(k).unwrap_or(&null), g.get(k).unwrap_or(&null));
                differences(&format!("{path}/{k}"), a, b, out);
            }
        }
        (Value::Array(w), Value::Array(g)) if w.len() == g.len() => {
            for (i, (a, b)) in w.iter().zip(g).enumerate() {
                differences(&format!("{path}/{i}"), a, b, out);
            }
        }
        _ if want != got => out.push(format!("{path}: want {want}, got {got}")),
        _ => (),
    }
}

#[test]
fn jobs_are_stored_as_recorded() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/canonical.json")).unwrap();
    for case in &cases {
        let (job, _) = admitted(given(&case["given"])).unwrap();
        let mut out = Vec::new();
        differences("", &case["stored"], &serde_json::to_value(&job).unwrap(), &mut out);
        assert_eq!(out, Vec::<String>::new(), "{}", job.id);
        // What is stored may be handed in again.
        assert_eq!(admitted(job.clone()).unwrap().0, job);
    }
    assert!(cases.len() > 2);
}

#[test]
fn jobs_are_refused_as_recorded() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("fixtures/refused.json")).unwrap();
    for case in &cases {
        let errors = admitted(given(&case["given"])).unwrap_err();
        assert_eq!(refusal(&errors).text, case["text"].as_str().unwrap());
        assert_eq!(refusal(&errors).status, 500);
    }
    assert!(cases.len() > 5);
}

fn service_job() -> Value {
    serde_json::json!({"ID": "svc", "TaskGroups": [{
        "Name": "app",
        "Networks": [{"Mode": "host", "DynamicPorts": [{"Label": "http"}]}],
        "Services": [{"Name": "api", "Provider": "nomad", "PortLabel": "http",
            "CheckRestart": {"Limit": 3},
            "Checks": [{"Type": "http", "Path": "/", "Interval": 1_000_000_000,
                "Timeout": 1_000_000_000}]}],
        "Tasks": [{"Name": "web", "Driver": "raw_exec",
            "Identities": [{"Name": "x"}]}],
    }]})
}

#[test]
fn services_imply_constraints_and_warnings() {
    let (job, warnings) = admitted(given(&service_job())).unwrap();
    let g: &TaskGroup = &job.task_groups[0];
    let implied: Vec<String> = g
        .constraints
        .iter()
        .map(|c| format!("{} {} {}", c.ltarget, c.operand, c.rtarget))
        .collect();
    assert_eq!(
        implied,
        [
            "${attr.nomad.service_discovery} = true",
            "${attr.nomad.version} semver >= 1.4.0",
            "${attr.nomad.version} semver >= 1.7.0-a",
        ]
    );
    assert_eq!(g.networks[0].dynamic_ports[0].host_network, "default");
    let s = &g.services[0];
    assert_eq!((s.cluster.as_str(), s.namespace.as_str()), ("default", "default"));
    let c = &s.checks[0];
    assert_eq!(c.name, "service: \"api\" check");
    assert_eq!(
        c.check_restart.as_ref().map(|r| (r.limit, r.grace)),
        Some((3, Some(1_000_000_000)))
    );
    assert_eq!(
        join_warnings(&warnings),
        "2 warnings:\n\n* Group \"app\" has warnings: 1 error occurred:\n\t* Task \"web\" has \
         warnings: 1 error occurred:\n\t* Identity[x] identities without an expiration are \
         insecure\n\n\n\n\n* group \"app\" defines services, but neither the group nor any of its \
         tasks have shutdown_delay set"
    );
}

#[test]
fn blocks_are_checked_by_type() {
    let base = |kind: &str, extra: (&str, Value)| {
        let mut job = service_job();
        job["Type"] = kind.into();
        job["TaskGroups"][0][extra.0] = extra.1;
        admitted(given(&job)).map(|_| ()).unwrap_err().join("|")
    };
    let update = base("batch", ("Update", serde_json::json!({"MaxParallel": 1})));
    assert!(update.contains("Job type \"batch\" does not allow update block"), "{update}");
    let migrate = base("batch", ("Migrate", serde_json::json!({"MaxParallel": 1})));
    assert!(migrate.contains("Job type \"batch\" does not allow migrate block"), "{migrate}");
    let count = base("system", ("Count", 2.into()));
    assert!(count.contains("Count cannot exceed 1 with system scheduler"), "{count}");
    let restart = base("service", ("RestartPolicy", serde_json::json!({"Interval": 1})));
    assert!(restart.contains("Interval can not be less than 5s (got 1ns)"), "{restart}");
    let reschedule = base("system", ("ReschedulePolicy", serde_json::json!({"Attempts": 1})));
    assert!(reschedule.contains("should not have a reschedule policy"), "{reschedule}");
    let run = base("service", ("MaxRunDuration", 1.into()));
    assert!(run.contains("Job type \"service\" does not allow max_run_duration"), "{run}");
}
