//! Rolling updates from the registration to their end, in virtual time.

use serde_json::{Value, json};
use vardo::command::{Applied, Command, DeploymentUpdate};

use super::cluster::{Cluster, SECOND, is_bad, web};

/// A cluster that runs version 0 of `web`, healthy.
fn settled(count: u64, update: &Value) -> Cluster {
    let mut c = Cluster::new(7);
    c.register(&web(count, update, &json!({"v": "0"})));
    c.pass(10 * SECOND, |_| ());
    assert_eq!(c.outcome(), "0: successful, Deployment completed successfully");
    assert!(c.w.job("web").stable);
    c
}

fn steer(c: &mut Cluster, update: DeploymentUpdate) -> Result<Option<u64>, String> {
    let update = Box::new(DeploymentUpdate { id: c.deployment().id, ..update });
    let command = Command::DeploymentSteer { update, eval: None, wall_ns: c.now.wall_ns };
    match c.propose(&command) {
        Applied::Deployment(reverted) => Ok(reverted),
        Applied::Refused(e) => Err(e.text),
        other => panic!("{other:?}"),
    }
}

fn status(to: &str) -> DeploymentUpdate {
    DeploymentUpdate {
        status: to.into(),
        status_description: "told".into(),
        ..DeploymentUpdate::default()
    }
}

fn promotion() -> DeploymentUpdate {
    DeploymentUpdate { promote_all: true, ..DeploymentUpdate::default() }
}

#[test]
fn an_update_rolls_on_as_its_allocations_become_healthy() {
    let update = json!({"MaxParallel": 2});
    let mut c = settled(5, &update);
    c.register(&web(5, &update, &json!({"v": "1"})));
    let mut least = 5;
    c.pass(20 * SECOND, |c| least = least.min(c.healthy().values().sum()));
    assert_eq!(c.outcome(), "1: successful, Deployment completed successfully");
    assert_eq!((c.healthy(), least), ([(1, 5)].into(), 3));
    let d = c.deployment();
    let g = &d.task_groups["app"];
    assert_eq!((g.desired_total, g.placed_allocs, g.healthy_allocs), (5, 5, 5));
}

#[test]
fn reports_are_gathered_for_a_second() {
    let mut c = settled(3, &json!({"MaxParallel": 3}));
    let evals: Vec<usize> = c
        .proposed
        .iter()
        .filter_map(|p| match p {
            Command::AllocTransition { evals, .. } => Some(evals.len()),
            _ => None,
        })
        .collect();
    assert_eq!(evals, [1], "three healthy allocations, one evaluation");
    let begun = c.now.mono_ns;
    c.register(&web(3, &json!({"MaxParallel": 3}), &json!({"v": "1"})));
    // Healthy after two seconds and a step, evaluated a second later.
    c.pass(3 * SECOND, |_| ());
    assert_eq!(c.deployment().status, "running", "after {} ns", c.now.mono_ns - begun);
    c.pass(SECOND, |_| ());
    assert_eq!(c.deployment().status, "successful");
}

#[test]
fn a_bad_version_is_rolled_back() {
    let update = json!({"AutoRevert": true});
    let mut c = settled(3, &update);
    c.register(&web(3, &update, &json!({"v": "1", "bad": "yes"})));
    let mut seen = Vec::new();
    c.pass(30 * SECOND, |c| {
        let outcome = c.outcome();
        if seen.last() != Some(&outcome) {
            seen.push(outcome);
        }
    });
    let versions = c.w.read(|r| r.deployments_by_job("default", "web").unwrap());
    let of = |v: u64| versions.iter().find(|d| d.job_version == v).expect("a deployment");
    assert_eq!(
        of(1).status_description,
        "Failed due to unhealthy allocations - rolling back to job version 0"
    );
    assert_eq!(seen.last().unwrap(), "2: successful, Deployment completed successfully");
    assert_eq!(c.healthy().values().sum::<usize>(), 3);
    let job = c.w.job("web");
    assert!(!is_bad(&job) && job.stable && job.version == 2, "{job:?}");
    assert_eq!(job.submit_time / 1_000_000_000_000, c.now.wall_ns / 1_000_000_000_000);
}

#[test]
fn there_may_be_nothing_to_go_back_to() {
    let update = json!({"AutoRevert": true});
    let mut c = Cluster::new(7);
    c.register(&web(1, &update, &json!({"bad": "yes"})));
    c.pass(10 * SECOND, |_| ());
    assert_eq!(
        c.outcome(),
        "0: failed, Failed due to unhealthy allocations - no stable job version to auto revert to"
    );
    // The same again, after a version that is like it was declared stable.
    c.propose(&Command::JobStability {
        namespace: "default".into(),
        id: "web".into(),
        version: 0,
        stable: true,
    });
    let mut other = web(1, &update, &json!({"bad": "other"}));
    other["TaskGroups"][0]["Update"]["AutoRevert"] = json!(false);
    c.register(&other);
    c.pass(10 * SECOND, |_| ());
    assert_eq!(c.outcome(), "1: failed, Failed due to unhealthy allocations");
    c.register(&web(1, &update, &json!({"bad": "yes"})));
    c.pass(10 * SECOND, |_| ());
    assert_eq!(
        c.outcome(),
        "2: failed, Failed due to unhealthy allocations - not rolling back to stable job version 0 \
         as current job has same specification"
    );
}

#[test]
fn no_deadline_of_progress_means_that_the_first_failure_counts() {
    let tries = json!({"Attempts": 5, "Interval": 3600 * SECOND, "Delay": SECOND});
    for (deadline, status) in [(0, "failed"), (60 * SECOND, "running")] {
        let mut job = web(1, &json!({"ProgressDeadline": deadline}), &json!({"bad": "yes"}));
        job["TaskGroups"][0]["ReschedulePolicy"] = tries.clone();
        let mut c = Cluster::new(7);
        c.register(&job);
        c.pass(10 * SECOND, |_| ());
        assert_eq!(c.deployment().status, status);
        let placed = c.allocs().len();
        assert_eq!(placed > 1, deadline > 0, "{placed} tries");
    }
}

#[test]
fn progress_puts_the_deadline_off() {
    let mut c = settled(2, &json!({}));
    let limit = c.deployment().task_groups["app"].require_progress_by.0;
    // Nothing of the bad version becomes healthy, and each failure may be tried again.
    let mut bad = web(2, &json!({"AutoRevert": true}), &json!({"bad": "yes"}));
    bad["TaskGroups"][0]["ReschedulePolicy"] =
        json!({"Unlimited": true, "Delay": 5 * SECOND, "DelayFunction": "constant"});
    c.register(&bad);
    let begun = c.now.wall_ns;
    let by = c.deployment().task_groups["app"].require_progress_by.0;
    assert_eq!(by, begun + (60 * SECOND).cast_signed());
    assert!(by > limit);
    c.pass(59 * SECOND, |_| ());
    assert_eq!(c.deployment().job_version, 1);
    assert_eq!(c.deployment().status, "running");
    c.pass(20 * SECOND, |_| ());
    let all = c.w.read(|r| r.deployments_by_job("default", "web").unwrap());
    let failed = all.iter().find(|d| d.job_version == 1).expect("a deployment");
    assert_eq!(
        failed.status_description,
        "Failed due to progress deadline - rolling back to job version 0"
    );
    assert_eq!(c.outcome(), "2: successful, Deployment completed successfully");
}

#[test]
fn canaries_wait_for_promotion_however_long() {
    let update = json!({"Canary": 1, "MaxParallel": 2});
    let mut c = settled(3, &update);
    c.register(&web(3, &update, &json!({"v": "1"})));
    let waiting = "1: running, Deployment is running but requires manual promotion";
    assert_eq!(c.outcome(), waiting);
    let refused = "1 error occurred:\n\t* Task group \"app\" has 0/1 healthy allocations\n\n";
    assert_eq!(steer(&mut c, promotion()), Err(refused.to_owned()));
    c.pass(300 * SECOND, |_| ());
    assert_eq!((c.outcome().as_str(), c.healthy()), (waiting, [(0, 3), (1, 1)].into()));
    let canary = c.deployment().task_groups["app"].placed_canaries[0].clone();
    let is_canary = |c: &Cluster| {
        let allocs = c.allocs();
        let a = allocs.iter().find(|a| a.id == canary).expect("the canary");
        a.deployment_status.as_ref().is_some_and(|s| s.canary)
    };
    assert!(is_canary(&c));
    let unknown = DeploymentUpdate { promote: vec!["zz".into()], ..DeploymentUpdate::default() };
    assert_eq!(steer(&mut c, unknown), Ok(None));
    assert!(!c.deployment().task_groups["app"].promoted);
    assert_eq!(steer(&mut c, promotion()), Ok(None));
    assert!(!is_canary(&c));
    let by = c.deployment().task_groups["app"].require_progress_by.0;
    assert_eq!(by, c.now.wall_ns + (60 * SECOND).cast_signed());
    // The promotion came without an evaluation: one of the node does as well.
    c.restart();
    c.pass(20 * SECOND, |_| ());
    assert_eq!(c.outcome(), "1: successful, Deployment completed successfully");
    assert_eq!(c.healthy(), [(1, 3)].into());
}

#[test]
fn canaries_promote_themselves_where_they_may() {
    let update = json!({"Canary": 2, "AutoPromote": true});
    let mut c = settled(3, &update);
    c.register(&web(3, &update, &json!({"v": "1"})));
    assert_eq!(c.outcome(), "1: running, Deployment is running pending automatic promotion");
    c.pass(20 * SECOND, |_| ());
    assert_eq!(c.outcome(), "1: successful, Deployment completed successfully");
    assert_eq!(c.healthy(), [(1, 3)].into());
}

#[test]
fn a_pause_stops_the_rollout_and_the_clock() {
    let update = json!({});
    let mut c = settled(3, &update);
    c.register(&web(3, &update, &json!({"v": "1"})));
    assert_eq!(steer(&mut c, status("paused")), Ok(None));
    c.pass(200 * SECOND, |_| ());
    assert_eq!((c.outcome().as_str(), c.healthy()), ("1: paused, told", [(0, 2), (1, 1)].into()));
    assert_eq!(steer(&mut c, status("running")), Ok(None));
    let by = c.deployment().task_groups["app"].require_progress_by.0;
    assert_eq!(by, c.now.wall_ns + (60 * SECOND).cast_signed());
    c.pass(20 * SECOND, |_| ());
    assert_eq!(c.outcome(), "1: successful, Deployment completed successfully");
}

#[test]
fn a_deployment_that_is_over_cannot_be_steered() {
    let mut c = settled(1, &json!({}));
    let health = |healthy| {
        let update = DeploymentUpdate { healthy, ..DeploymentUpdate::default() };
        DeploymentUpdate { status: String::new(), ..update }
    };
    for (update, what) in [
        (status("failed"), "fail"),
        (status("paused"), "pause"),
        (status("running"), "resume"),
        (promotion(), "promote"),
        (health(vec!["x".into()]), "set health of allocations for a"),
    ] {
        assert_eq!(steer(&mut c, update), Err(format!("can't {what} terminal deployment")));
    }
    c.register(&web(1, &json!({}), &json!({"v": "1"})));
    assert_eq!(steer(&mut c, health(vec!["x".into()])), Err("unknown alloc \"x\"".into()));
    let allocs = c.allocs();
    let old = allocs.iter().find(|a| a.job_version == 0).expect("the old one");
    let (alloc, deployment) = (old.id.clone(), c.deployment().id);
    let text = format!("alloc {alloc:?} is not part of deployment {deployment:?}");
    assert_eq!(steer(&mut c, health(vec![alloc])), Err(text));
}

#[test]
fn health_may_be_told_by_hand() {
    let mut c = settled(2, &json!({}));
    c.register(&web(2, &json!({}), &json!({"v": "1"})));
    let new = |c: &Cluster| {
        let allocs = c.allocs();
        let new = allocs.iter().find(|a| a.job_version == 1).expect("a new one");
        new.id.clone()
    };
    let told = vec![new(&c)];
    let update = DeploymentUpdate { healthy: told, ..DeploymentUpdate::default() };
    assert_eq!(steer(&mut c, update), Ok(None));
    let g = c.deployment().task_groups["app"].clone();
    assert_eq!((g.healthy_allocs, g.unhealthy_allocs), (1, 0));
    let told = vec![new(&c)];
    let update = DeploymentUpdate { unhealthy: told, revert: true, ..status("failed") };
    assert_eq!(steer(&mut c, update), Ok(Some(0)));
    let all = c.w.read(|r| r.deployments_by_job("default", "web").unwrap());
    let failed = all.iter().find(|d| d.job_version == 1).expect("a deployment");
    let g = &failed.task_groups["app"];
    assert_eq!((g.healthy_allocs, g.unhealthy_allocs), (0, 1));
    assert_eq!(failed.status_description, "told - rolling back to job version 0");
    assert_eq!(c.w.job("web").version, 2);
}

#[test]
fn a_newer_version_and_a_stop_cancel_what_runs() {
    let mut c = settled(3, &json!({}));
    c.register(&web(3, &json!({}), &json!({"v": "1"})));
    let first = c.deployment().id;
    c.register(&web(3, &json!({}), &json!({"v": "2"})));
    let read =
        |c: &Cluster, id: &str| c.w.read(|r| r.deployment(id).unwrap().unwrap()).status_description;
    assert_eq!(read(&c, &first), "Cancelled due to newer version of job");
    let second = c.deployment().id;
    let eval = c.w.read(|r| r.evals_by_job("default", "web").unwrap()).remove(0);
    let id = format!("{:08x}-0000-0000-0000-000000000000", c.now.mono_ns % 0xffff_ffff);
    let eval = vardo::api::Evaluation {
        id,
        status: "pending".into(),
        triggered_by: "job-deregister".into(),
        ..eval
    };
    c.propose(&Command::JobDeregister {
        namespace: "default".into(),
        id: "web".into(),
        purge: false,
        no_shutdown_delay: false,
        eval: Some(Box::new(eval)),
        wall_ns: c.now.wall_ns,
    });
    c.pass(3 * SECOND, |_| ());
    assert_eq!(read(&c, &second), "Cancelled because job is stopped");
    assert_eq!(c.w.job("web").status, "dead");
}

/// How many allocations that the newest deployment placed are not healthy yet, canaries left out.
fn in_flight(c: &Cluster) -> usize {
    let d = c.deployment();
    let g = &d.task_groups["app"];
    let allocs = c.allocs();
    let own = allocs.iter().filter(|a| a.deployment_id == d.id && a.desired_status == "run");
    own.filter(|a| {
        let healthy = a.deployment_status.as_ref().and_then(|s| s.healthy);
        let placed = a.create_index >= d.create_index && !g.placed_canaries.contains(&a.id);
        placed && healthy != Some(true)
    })
    .count()
}

/// `VARDO_SEED=n` replays one seed.
fn seeds(all: std::ops::Range<u64>) -> std::ops::Range<u64> {
    match std::env::var_os("VARDO_SEED") {
        Some(text) => {
            let seed = text.to_str().and_then(|t| t.parse().ok()).expect("VARDO_SEED is a number");
            seed..seed + 1
        }
        None => all,
    }
}

/// Random rollouts with failures, promotions and a server that is killed in between: never are more
/// than `max_parallel` allocations of a rollout in flight, no rollout takes more than these away,
/// and every rollout comes to an end.
#[test]
fn never_more_than_max_parallel_in_flight() {
    for seed in seeds(1..4) {
        let mut c = Cluster::new(seed);
        let count = usize::try_from(1 + c.dice.below(6)).unwrap();
        let parallel = usize::try_from(1 + c.dice.below(3)).unwrap();
        let update = json!({
            "MaxParallel": parallel, "Canary": c.dice.below(3).min(count as u64),
            "AutoPromote": c.dice.below(2) == 1, "AutoRevert": c.dice.below(2) == 1,
        });
        let job = |env: Value| web(count as u64, &update, &env);
        c.register(&job(json!({"v": "0"})));
        c.pass(8 * SECOND, |_| ());
        let deployments =
            |c: &Cluster| c.w.read(|r| r.deployments_by_job("default", "web").unwrap().len());
        // Rollouts that there were when all allocations were healthy at last.
        let mut whole = deployments(&c);
        let mut check = |c: &mut Cluster| {
            let there = c.standing();
            if there >= count {
                whole = deployments(c);
            }
            let missing = count.saturating_sub(there);
            let rollouts = deployments(c) - whole + 1;
            assert!(missing <= parallel * rollouts, "seed {seed}: {missing}, {}", c.outcome());
            let n = in_flight(c);
            assert!(n <= parallel, "seed {seed}: {n} in flight, {}", c.outcome());
        };
        for version in 1..6 {
            let env = match c.dice.below(3) {
                0 => json!({"v": version.to_string(), "bad": "yes"}),
                _ => json!({"v": version.to_string()}),
            };
            c.register(&job(env));
            for _ in 0..4 {
                let time = c.dice.below(8) * SECOND / 2;
                c.pass(time, &mut check);
                match c.dice.below(4) {
                    0 => c.restart(),
                    1 => drop(steer(&mut c, promotion())),
                    _ => {}
                }
            }
        }
        // A good version to end with.
        c.register(&job(json!({"v": "last"})));
        for _ in 0..6 {
            c.pass(6 * SECOND, &mut check);
            drop(steer(&mut c, promotion()));
            c.restart();
        }
        assert!(c.outcome().ends_with("successful, Deployment completed successfully"), "{seed}");
        let last = c.w.job("web").version;
        assert_eq!(c.healthy(), [(last, count)].into(), "seed {seed}");
    }
}
