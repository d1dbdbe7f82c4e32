//! When periodic jobs are launched, in virtual time: scripts and the launches that come of them.
//!
//! Lines: `cron:` (as many as wanted), `zone:`, `overlap: no`, `enabled: no`, `from:` and `until:`
//! (instants), `down: A B` (no server between A and B), `clock: A B` (at A the clock is set to B),
//! `end: A` (launched jobs that still live are stopped), `job: A` (the job is registered anew,
//! changed).
//! Expected: one line per launch, when it happened, and the time in its name where that is another.

use std::fmt::Write;
use std::path::Path;

use vardo::api::{Job, PeriodicConfig};
use vardo::command::Command;
use vardo::server::{Config, Server};
use vardo::stdx::time::{Rfc3339, parse_rfc3339};
use vardo::stdx::zone::Zones;
use vardo::stdx::{Entropy, Now};

use crate::store::{World, job};

const SECOND: i64 = 1_000_000_000;

/// Files of two zones that change their clocks by rules.
fn zone(name: &str) -> Option<Vec<u8>> {
    let rule = match name {
        "Europe/Berlin" => "CET-1CEST,M3.5.0,M10.5.0/3",
        "America/New_York" => "EST5EDT,M3.2.0,M11.1.0",
        _ => return None,
    };
    let mut part = [b"TZif2".as_slice(), &[0; 45]].concat();
    part[39] = 1;
    Some([&part, &part, format!("\n{rule}\n").as_bytes()].concat())
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

enum Event {
    Down,
    Up,
    Clock(i64),
    End,
    Register,
}

struct Script {
    job: Job,
    from: i64,
    until: i64,
    events: Vec<(i64, Event)>,
}

fn parse(input: &str) -> Script {
    let mut periodic = PeriodicConfig { enabled: Some(true), ..PeriodicConfig::default() };
    let mut script = Script { job: Job::default(), from: 0, until: 0, events: Vec::new() };
    for line in input.lines() {
        let (word, rest) = line.split_once(": ").expect("a word and a value");
        let times = || -> Vec<i64> {
            rest.split(' ').map(|t| parse_rfc3339(t).unwrap_or_else(|| panic!("{t}"))).collect()
        };
        match word {
            "cron" => periodic.specs.push(rest.to_owned()),
            "zone" => periodic.time_zone = Some(rest.to_owned()),
            "overlap" => periodic.prohibit_overlap = rest == "no",
            "enabled" => periodic.enabled = Some(rest != "no"),
            "from" => script.from = times()[0],
            "until" => script.until = times()[0],
            "down" => script.events.extend([(times()[0], Event::Down), (times()[1], Event::Up)]),
            "clock" => script.events.push((times()[0], Event::Clock(times()[1]))),
            "end" => script.events.push((times()[0], Event::End)),
            "job" => script.events.push((times()[0], Event::Register)),
            other => panic!("{other}"),
        }
    }
    script.job = Job { kind: "batch".into(), periodic: Some(periodic), ..job("tick") };
    script.job.submit_time = script.from;
    script
}

struct Run {
    world: World,
    server: Server,
    chance: Chance,
    now: Now,
    up: bool,
    out: String,
    wakes: u32,
}

impl Run {
    fn new(now: Now) -> Self {
        let mut world = World::new();
        world.run(&Command::Bootstrap { wall_ns: 1 });
        let config = Config { zones: Zones(zone), ..Config::default() };
        let server = Server::new(config);
        Self { world, server, chance: Chance(1), now, up: true, out: String::new(), wakes: 0 }
    }

    fn lead(&mut self) {
        let config = Config { zones: Zones(zone), gc_interval_ns: u64::MAX, ..Config::default() };
        self.server = Server::new(config);
        let snap = self.world.store.snap().expect("a snapshot");
        self.server.lead(self.now, snap.reader()).expect("leads");
    }

    fn run(&mut self, command: &Command) {
        if let Command::JobRegister { job, .. } = command
            && let Some(at) = job.id.strip_prefix("tick/periodic-")
        {
            let named: i64 = at.parse().expect("seconds");
            let clock = self.now.wall_ns / SECOND;
            write!(self.out, "{}", Rfc3339(clock * SECOND)).expect("text");
            if named != clock {
                write!(self.out, " named {}", Rfc3339(named * SECOND)).expect("text");
            }
            self.out.push('\n');
        }
        self.world.run(command);
        if self.up {
            let snap = self.world.store.snap().expect("a snapshot");
            self.server.touched(self.now, snap.reader(), &self.world.touched).expect("reads");
        }
    }

    fn work(&mut self) {
        while self.up {
            let mut commands = Vec::new();
            let snap = self.world.store.snap().expect("a snapshot");
            self.server
                .work(self.now, snap.reader(), &mut self.chance, &mut commands)
                .expect("works");
            drop(snap);
            if commands.is_empty() {
                return;
            }
            for (command, _) in commands {
                self.run(&command);
            }
        }
    }

    /// Lets time pass up to an instant of the clock.
    fn pass(&mut self, until: i64) {
        self.work();
        while self.now.wall_ns < until {
            let left = u64::try_from(until - self.now.wall_ns).expect("ahead");
            let due = self.server.deadline(self.now).filter(|_| self.up);
            let wait = due.map_or(left, |d| d.saturating_sub(self.now.mono_ns).min(left)).max(1);
            self.now.mono_ns += wait;
            self.now.wall_ns += i64::try_from(wait).expect("small");
            self.wakes += 1;
            self.work();
        }
    }

    fn event(&mut self, event: &Event, job: &mut Job) {
        match event {
            Event::Down => self.up = false,
            Event::Up => {
                self.up = true;
                self.lead();
            }
            Event::Clock(to) => self.now.wall_ns = *to,
            Event::End => {
                let ids: Vec<String> = self.world.read(|r| {
                    let children = r.scan(vardo::store::Table::Job, b"default\0tick/", None, false);
                    let keys = children.expect("reads").map(|p| p.expect("a row").0);
                    keys.map(|k| String::from_utf8_lossy(&k[8..]).into_owned()).collect()
                });
                for id in ids {
                    self.run(&Command::JobDeregister {
                        namespace: "default".into(),
                        id,
                        purge: false,
                        no_shutdown_delay: false,
                        eval: None,
                        wall_ns: self.now.wall_ns,
                    });
                }
            }
            Event::Register => {
                job.priority += 1;
                job.submit_time = self.now.wall_ns;
                self.register(job);
            }
        }
    }

    fn register(&mut self, job: &Job) {
        let job = job.clone().into();
        self.run(&Command::JobRegister { job, submission: None, eval: None, enforce: None });
    }
}

fn launches(input: &str) -> (String, u32) {
    let Script { mut job, from, until, events } = parse(input);
    let mut run = Run::new(Now { mono_ns: 5, wall_ns: from });
    run.lead();
    run.register(&job);
    for (at, event) in &events {
        run.pass(*at);
        run.event(event, &mut job);
    }
    run.pass(until);
    (run.out, run.wakes)
}

#[test]
fn periodic_jobs_are_launched_by_the_clock() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/periodic.txt");
    let text = std::fs::read_to_string(&path).expect("the scripts");
    let mut parts = text.split("case:");
    let mut fresh = parts.next().unwrap_or_default().to_owned();
    let mut wrong = String::new();
    for part in parts {
        let (input, expected) = part.split_once("----\n").expect("a case has a ---- line");
        let (title, lines) = input.split_once('\n').expect("a title");
        let (got, _) = launches(lines);
        if got.trim() != expected.trim() {
            writeln!(wrong, "{title}\n-- expected\n{expected}\n-- got\n{got}").expect("text");
        }
        write!(fresh, "case:{input}----\n{}\n\n", got.trim_end()).expect("text");
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, format!("{}\n", fresh.trim_end())).expect("the file is writable");
    } else {
        assert!(wrong.is_empty(), "{wrong}");
    }
}

#[test]
fn a_time_that_never_comes_wakes_nobody() {
    let never = "cron: 0 0 30 2 *\nfrom: 2026-01-01T00:00:00Z\nuntil: 2027-01-01T00:00:00Z\n";
    assert_eq!(launches(never), (String::new(), 1));
    let daily = "cron: @daily\nfrom: 2026-01-01T00:00:00Z\nuntil: 2026-01-02T12:00:00Z\n";
    assert_eq!(launches(daily).0, "2026-01-02T00:00:00Z\n");
}
