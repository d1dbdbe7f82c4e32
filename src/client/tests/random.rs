//! Random lives: whatever happens in whatever order, some things always hold.

use super::*;

/// A small generator of its own, so that a seed names one life.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn random_group(dice: &mut Dice) -> TaskGroup {
    let mut tasks = Vec::new();
    for i in 0..=dice.below(3) {
        let hook =
            ["", "prestart", "poststart", "poststop"][usize::try_from(dice.below(4)).unwrap()];
        let name = format!("t{i}");
        let mut task = match (hook, dice.below(4)) {
            ("", 0) => mock(&name, &[("run_for", "3s"), ("kill_after", "1s")]),
            ("", _) => program(&name),
            (hook, n) => hooked(&name, hook, n == 0 && hook != "poststop"),
        };
        task.leader = hook.is_empty() && dice.below(4) == 0;
        task.shutdown_delay = i64::try_from(dice.below(2)).unwrap() * S;
        tasks.push(task);
    }
    tasks.push(program("main"));
    let mut g = group(i64::try_from(dice.below(3)).unwrap(), tasks);
    g.shutdown_delay = Some(i64::try_from(dice.below(2)).unwrap() * 2 * S);
    g.max_run_duration = Some(i64::try_from(dice.below(2)).unwrap() * 30 * S);
    g
}

/// Every process runs at most once at a time, nothing happens at a time that is past, and in the
/// end everything ends.
fn live(seed: u64) {
    let mut dice = Dice(seed);
    let mut w = World::new();
    w.obedient = false;
    let kind = if dice.below(2) == 0 { "service" } else { "batch" };
    let mut a = alloc("a", kind, random_group(&mut dice));
    w.pull(&[&a]);
    let mut running: Vec<(String, String)> = Vec::new();
    let mut seen = 0;
    for step in 0..80 {
        for start in w.starts.drain(seen..).collect::<Vec<_>>() {
            let twice = running.iter().any(|(task, _)| *task == start.task);
            assert!(!twice, "seed {seed}: {} runs already", start.task);
            running.push((start.task, start.run_dir));
        }
        seen = 0;
        match dice.below(8) {
            0 | 1 => w.advance_ms(dice.below(3_000)),
            2 | 3 if !running.is_empty() => {
                let at = usize::try_from(dice.below(running.len() as u64)).unwrap();
                let (task, dir) = running[at].clone();
                w.started("a", &task, &dir);
            }
            4 if !running.is_empty() => {
                let at = usize::try_from(dice.below(running.len() as u64)).unwrap();
                let (task, _) = running.remove(at);
                w.exit("a", &task, i32::try_from(dice.below(2)).unwrap());
            }
            5 if dice.below(4) == 0 => {
                let all = dice.below(2) == 0;
                let request =
                    ClientRequest::Restart { alloc: "a".to_owned(), task: String::new(), all };
                w.input(ClientInput::Request(1, request));
            }
            6 if dice.below(4) == 0 => {
                w = w.restart_agent(config());
                w.obedient = false;
                w.pull(&[&a]);
            }
            7 if step > 40 => {
                a = stopped(&a);
                w.pull(&[&a]);
            }
            _ => {}
        }
        let due = w.client.deadline();
        assert!(due.is_none_or(|d| d + 200 * MS > w.now.mono_ns), "seed {seed}: {due:?} is past");
    }
    a = stopped(&a);
    w.pull(&[&a]);
    for _ in 0..12 {
        for (task, _) in std::mem::take(&mut running) {
            w.exit("a", &task, 0);
        }
        w.advance_ms(40_000);
        running.extend(w.starts.drain(..).map(|s| (s.task, s.run_dir)));
        assert!(running.iter().all(|(t, _)| t.starts_with('t')), "seed {seed}");
    }
    assert_eq!(w.client.counts().1, 0, "seed {seed}: never ends");
    let beat = w.client.deadline().unwrap();
    assert!(beat > w.now.mono_ns, "seed {seed}: awake for nothing");
}

#[test]
fn random_lives_end() {
    for seed in 0..200 {
        live(seed);
    }
}
