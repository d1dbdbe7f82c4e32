//! Disks that fail, fill up, or hold something else than what was written.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::cluster::{leader, several, three};
use super::{Mount, data, held, lone, run, serves, skip, written};
use serde_json::json;
use vardo::command::Command;
use vardo::store::{LogEntry, Options, Store};

/// What a process ends with when its disk failed.
const EXIT_DISK: i32 = 74;

/// The n-th call of one kind fails, by `strace`; the calls before and after it work.
fn ends_and_keeps(name: &str, call: &str, error: &str, nth: &[u32]) {
    if !run("strace", &["-V"]) {
        return skip("strace");
    }
    for n in nth {
        let mut agent = lone(&format!("{name}{n}"));
        agent.spawn();
        agent.until("a leader", serves);
        agent.kill();
        let (trace, inject) =
            (format!("trace={call}"), format!("inject={call}:error={error}:when={n}"));
        agent.spawn_by(&["strace", "-D", "-qqq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
        let acknowledged = std::thread::scope(|scope| {
            let agent = &agent;
            let load = scope.spawn(move || {
                let end = Instant::now() + Duration::from_secs(10);
                while !serves(agent) && Instant::now() < end {
                    if agent.log().contains("storage:") {
                        break;
                    }
                }
                written(agent, "eio", &AtomicBool::new(false))
            });
            load.join().expect("a load")
        });
        let status = agent.wait();
        // Before the loop turns it is a start that failed.
        let code = status.code();
        assert!(
            code == Some(EXIT_DISK) || code == Some(1),
            "{call} {n}: {status}: {}",
            agent.log()
        );
        assert!(!acknowledged.is_empty() || *n < 12, "{call} {n}: nothing was written before");
        agent.spawn();
        agent.until("a leader", serves);
        let held = held(&agent);
        let lost: Vec<_> = acknowledged.difference(&held).collect();
        assert!(lost.is_empty(), "{call} {n}: lost {lost:?}");
    }
}

#[test]
fn d05_a_flush_that_fails_ends_the_agent_and_loses_nothing() {
    ends_and_keeps("d05-", "fdatasync", "EIO", &[1, 6, 40]);
}

#[test]
fn d06_a_page_that_is_not_written_ends_the_agent_and_loses_nothing() {
    ends_and_keeps("d06-", "pwrite64", "EIO", &[2, 40, 97]);
}

/// A leader answers what a majority has on its disks before its own holds the effects; if that
/// fails, they are lost with it, and the writes stand.
#[test]
fn d05_a_leader_whose_flush_fails_leaves_to_the_others_what_it_acknowledged() {
    if !run("strace", &["-V"]) {
        return skip("strace");
    }
    let mut agents = three("d05-of-three-", &json!({}));
    agents[0].until("a key", serves);
    let at = leader(&agents, &[0, 1, 2]);
    let pid = agents[at].pid().to_string();
    let mut strace = std::process::Command::new("strace");
    strace.args(["-qqq", "-o", "/dev/null", "-e", "trace=fdatasync", "-p", &pid]);
    strace.args(["-e", "inject=fdatasync:error=EIO:when=60"]);
    let mut strace = strace.spawn().expect("strace");
    let acknowledged = written(&agents[at], "eio", &AtomicBool::new(false));
    assert_eq!(agents[at].wait().code(), Some(EXIT_DISK), "{}", agents[at].log());
    drop(strace.wait());
    assert!(!acknowledged.is_empty(), "nothing was written before");
    let others: Vec<usize> = (0..3).filter(|i| *i != at).collect();
    agents[others[0]].until("another leads", serves);
    let held = held(&agents[leader(&agents, &others)]);
    let lost: Vec<_> = acknowledged.difference(&held).collect();
    assert!(lost.is_empty(), "lost {lost:?}");
}

#[test]
fn d07_a_disk_that_hangs_costs_the_leadership() {
    if !run("strace", &["-V"]) {
        return skip("strace");
    }
    let mut agents = three("d07-", &json!({}));
    agents[0].until("a key", serves);
    let at = leader(&agents, &[0, 1, 2]);
    let others: Vec<usize> = (0..3).filter(|i| *i != at).collect();
    let pid = agents[at].pid().to_string();
    let mut strace = std::process::Command::new("strace");
    strace.args(["-qqq", "-o", "/dev/null", "-e", "trace=fdatasync", "-p", &pid]);
    strace.args(["-e", "inject=fdatasync:delay_enter=8000000:when=1"]);
    let mut strace = strace.spawn().expect("strace");
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    // The write that hangs; its outcome is open.
    let body = json!({ "Items": { "k": "v" } }).to_string();
    std::thread::scope(|scope| {
        let hangs = &agents[at];
        scope.spawn(|| drop(hangs.request("PUT", "/v1/var/hangs", Some(&body))));
        agents[others[0]].until("a write elsewhere", serves);
    });
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    let now = leader(&agents, &others);
    assert_ne!(now, at);
    drop(strace.kill());
    drop(strace.wait());
    agents[at].until("the old leader follows", |a| held(a).contains("serves"));
    agents[at].kill();
}

#[test]
fn d02_a_disk_that_another_fills_is_left_as_it_is_until_there_is_room() {
    let mut agent = lone("d02");
    let Some(mount) = Mount::new(&agent.dir.join("data"), 48 << 10) else {
        return skip("mount");
    };
    agent.spawn();
    agent.until("a leader", serves);
    let filler = mount.0.join("filler");
    // As much as there is; the error that ends it is what is wanted.
    drop(fs::write(&filler, vec![0u8; 64 << 20]));
    let value = "x".repeat(50_000);
    let mut kept = 0;
    let refusal = loop {
        let items = json!({ "Items": { "k": value } });
        let answer = agent.put(&format!("/v1/var/n{kept}"), &items);
        if answer.status != 200 {
            break answer;
        }
        kept += 1;
        assert!(kept < 1000, "the disk never filled");
    };
    assert_eq!((refusal.status, refusal.text().contains("no space")), (500, true));
    assert_eq!(agent.get("/v1/vars").json().as_array().map(Vec::len), Some(kept + 1));
    fs::remove_file(&filler).expect("removed");
    agent.until("room again", serves);
    agent.kill();
    agent.spawn();
    agent.until("a leader", serves);
    assert_eq!(held(&agent).len(), kept + 1);
    agent.kill();
}

#[test]
fn d01_a_disk_that_is_full_takes_deletions_and_then_writes_again() {
    let mut agent = lone("d01");
    let Some(_mount) = Mount::new(&agent.dir.join("data"), 20 << 10) else {
        return skip("mount");
    };
    agent.spawn();
    agent.until("a leader", serves);
    let value = "x".repeat(6_000);
    let mut kept = 0;
    loop {
        let items = json!({ "Items": { "k": value } });
        if agent.put(&format!("/v1/var/n{kept}"), &items).status != 200 {
            break;
        }
        kept += 1;
        assert!(kept < 20_000, "the disk never filled");
    }
    for n in 0..kept * 3 / 4 {
        let answer = agent.delete(&format!("/v1/var/n{n}"));
        assert_eq!(answer.status, 204, "{n} of {kept}: {}", answer.text());
    }
    // In the room that is free now, without a restart.
    for n in 0..20 {
        let items = json!({ "Items": { "k": value } });
        let answer = agent.put(&format!("/v1/var/again{n}"), &items);
        assert_eq!(answer.status, 200, "{n} of {kept}: {}", answer.text());
    }
    agent.kill();
    agent.spawn();
    agent.until("a leader", serves);
    assert_eq!(held(&agent).len(), kept - kept * 3 / 4 + 20 + 1);
    agent.kill();
}

#[test]
fn d12_d17_a_foreign_or_damaged_store_is_refused_with_what_to_do() {
    let mut agent = lone("d12");
    agent.spawn();
    agent.until("a leader", serves);
    let mode = |p: &std::path::Path| fs::metadata(p).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&agent.dir.join("data")), 0o700, "D14");
    assert_eq!(mode(&data(&agent)) & 0o077, 0, "D14");
    agent.kill();
    let refused = |agent: &mut super::Agent, why: &str| {
        agent.spawn();
        let status = agent.wait();
        assert!(status.code().is_some_and(|c| c != 0), "{why}: {status}");
        let log = agent.log();
        assert!(log.contains(why), "{why}: {log}");
        fs::write(agent.dir.join("agent.log"), "").expect("a log");
        log
    };
    // Each of the two pages that the file begins with.
    let file = OpenOptions::new().read(true).write(true).open(data(&agent)).expect("a file");
    let mut page = [0; 4096];
    for at in [0, 4096] {
        file.read_exact_at(&mut page, at).expect("read");
        file.write_all_at(&[0; 4096], at).expect("written");
        let log = refused(&mut agent, &format!("meta page {} is bad", at / 4096));
        assert!(log.contains("join the others anew"), "{log}");
        file.write_all_at(&page, at).expect("written");
    }
    let lock = agent.dir.join("data/store/agent.lock");
    let text = fs::read_to_string(&lock).expect("a lock");
    fs::write(&lock, text.replace("format 1", "format 9")).expect("a lock");
    refused(&mut agent, "the store has \"format 9\", this program reads \"format 1\"");
    fs::write(&lock, text).expect("a lock");
    agent.spawn();
    agent.until("a leader", serves);
}

#[test]
fn d10_a_file_cut_short_under_a_running_agent_ends_it() {
    let mut agent = lone("d10");
    agent.spawn();
    agent.until("a leader", serves);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| written(&agent, "cut", &stop));
        std::thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        load.join().expect("a load");
    });
    let file = OpenOptions::new().write(true).open(data(&agent)).expect("a file");
    file.set_len(3 * 4096).expect("cut");
    drop(agent.request("GET", "/v1/vars", None));
    let status = agent.wait();
    assert_eq!(status.code(), Some(EXIT_DISK), "{status}: {}", agent.log());
    assert!(agent.log().contains("Start it again, it looks at the file"), "{}", agent.log());
    agent.spawn();
    let status = agent.wait();
    assert!(status.code().is_some_and(|c| c != 0), "{status}");
    assert!(agent.log().contains("file shorter than meta says"), "{}", agent.log());
}

/// One bit of what lies on the disk is another one, wherever that text is found in the file: the
/// server ends, or the page is not in use and all is as it was.
#[test]
fn d11_a_flipped_bit_is_found_and_ends_the_server() {
    let mut agent = lone("d11");
    agent.spawn();
    agent.until("a leader", serves);
    let needle = "a description that nobody else would write";
    let namespace = json!({ "Name": "flip", "Description": needle });
    assert_eq!(agent.put("/v1/namespace/flip", &namespace).status, 200);
    agent.kill();
    let file = OpenOptions::new().read(true).write(true).open(data(&agent)).expect("a file");
    let bytes = fs::read(data(&agent)).expect("reads");
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, w)| *w == needle.as_bytes())
        .map(|(at, _)| at)
        .collect();
    let mut found = 0;
    for at in &places {
        let at = (*at + 5) as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 1], at).expect("written");
        fs::write(agent.dir.join("agent.log"), "").expect("a log");
        agent.spawn();
        let bad = "rows in the file are not as they were written";
        let mut ended = false;
        agent.until("an end or an answer", |a| {
            // In a row, or in the entry of the log that it came by.
            ended = [bad, "checksum"].iter().any(|why| a.log().contains(why));
            ended || serves(a)
        });
        if ended {
            found += 1;
            assert!(agent.wait().code().is_some_and(|c| c != 0));
            assert!(agent.log().contains("join the others anew"), "{}", agent.log());
        } else {
            let there = agent.get("/v1/namespace/flip").json();
            assert_eq!(there["Description"], needle);
            agent.kill();
        }
        file.write_all_at(&byte, at).expect("written");
    }
    assert!(found > 0, "{places:?}");
    agent.spawn();
    agent.until("all is well again", serves);
}

/// Has a stopped agent apply one entry more, which deletes a variable; its log says another.
fn deletes(agent: &super::Agent, variable: &str, said: &str) {
    let options = Options { sync: false, ..Options::default() };
    let mut store = Store::open(&agent.dir.join("data/store"), options).expect("a store");
    let mut batch = store.batch().expect("a batch");
    let (last, applied) =
        (batch.reader().log_bounds().expect("bounds").last, batch.reader().applied());
    let term = batch.reader().log_term(last).expect("a term").expect("there");
    for entry in applied + 1..=last {
        let e = batch.reader().log_entry(entry).expect("reads").expect("there");
        let command: Option<Command> = vardo::stdx::json::decode(e.payload).ok();
        match command {
            Some(command) => drop(batch.apply(entry, &command).expect("applies")),
            None => batch.skip(entry),
        }
    }
    let of = |path: &str| {
        let (path, namespace) = (path.to_owned(), "default".to_owned());
        Command::VariableDelete { namespace, path, check: None }
    };
    let payload = vardo::stdx::json::encode_lean(&of(said));
    let row = LogEntry { index: last + 1, term, kind: 1, payload: &payload };
    batch.append(&[row]).expect("appends");
    batch.apply(last + 1, &of(variable)).expect("applies");
    batch.commit().expect("commits");
}

/// Of two nobody can say who is right: both say so, once, and go on.
#[test]
fn d13_two_servers_that_contradict_each_other_say_so() {
    let mut agents = several(2, "d13-two-", &json!({}));
    agents[0].until("a key", serves);
    let lead = leader(&agents, &[0, 1]);
    let away = 1 - lead;
    agents[lead]
        .until("a write", |a| a.put("/v1/var/n0", &json!({ "Items": { "k": "v" } })).status == 200);
    agents[away].until("the write", |a| held(a).contains("n0"));
    // The one that follows cannot have less than the other, and so its log will be the cluster's.
    std::thread::sleep(Duration::from_millis(500));
    agents[lead].kill();
    agents[away].kill();
    deletes(&agents[away], "n0", "none");
    agents[away].spawn();
    agents[lead].spawn();
    agents[away].until("a cluster", serves);
    let said = |a: &super::Agent| a.log().matches("no majority says which is right").count();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (agents, stop) = (&agents, &stop);
        scope.spawn(move || written(&agents[away], "load", stop));
        let end = Instant::now() + Duration::from_secs(60);
        while agents.iter().any(|a| said(a) == 0) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(2_500));
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(agents.iter().map(said).collect::<Vec<_>>(), [1, 1], "{}", agents[away].log());
    agents[lead].until("service", serves);
}

/// A follower whose state is another one, by an entry that only looks like that of the others.
#[test]
fn d13_a_server_that_the_others_contradict_ends_and_joins_anew() {
    let mut agents = three("d13-", &json!({}));
    agents[0].until("a key", serves);
    let lead = leader(&agents, &[0, 1, 2]);
    let (away, other) = ((lead + 1) % 3, (lead + 2) % 3);
    let put = |agent: &super::Agent, n: usize| {
        let items = json!({ "Items": { "k": n.to_string() } });
        agent.until("a write", |a| a.put(&format!("/v1/var/n{n}"), &items).status == 200);
    };
    put(&agents[lead], 0);
    agents[away].until("the write", |a| held(a).contains("n0"));
    agents[away].kill();
    deletes(&agents[away], "n0", "n0");
    put(&agents[lead], 1);
    // Children that other tests begin at this moment hold the lock until they run.
    std::thread::sleep(Duration::from_millis(300));
    agents[away].spawn();
    let stop = AtomicBool::new(false);
    let status = std::thread::scope(|scope| {
        let (leader, stop) = (&agents[lead], &stop);
        scope.spawn(move || written(leader, "load", stop));
        let end = Instant::now() + Duration::from_secs(60);
        while !agents[away].log().contains("the other servers agree") && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Relaxed);
        agents[away].log()
    });
    assert!(status.contains("the other servers agree on a state"), "{status}");
    assert!(status.contains("join the others anew"), "{status}");
    assert_eq!(agents[away].wait().code(), Some(EXIT_DISK));
    // The others are as sure of themselves as before.
    put(&agents[other], 2);
    assert!(held(&agents[other]).contains("n0"));
    // As the sentence says: without its directory it is sent the state.
    fs::remove_dir_all(agents[away].dir.join("data/store")).expect("moved away");
    agents[away].spawn();
    agents[away].until("the state", |a| {
        a.try_get("/v1/vars?stale").is_some_and(|r| r.status == 200) && held(a).contains("n0")
    });
}

#[test]
fn d08_a_disk_that_turns_read_only_ends_the_agent_and_loses_nothing() {
    ends_and_keeps("d08-", "pwrite64", "EROFS", &[40]);
}

#[test]
fn d18_tasks_that_fill_their_disk_leave_the_agent_alone() {
    let dir = std::env::temp_dir().join(format!("vardo-test-{}-d18-allocs", std::process::id()));
    let Some(_mount) = Mount::new(&dir, 16 << 10) else {
        return skip("mount");
    };
    let more = json!({ "client": { "enabled": true, "alloc_dir": dir } });
    let agent = super::Agent::with("d18", &more);
    agent.until_ready();
    let script = "cat /dev/zero > $NOMAD_ALLOC_DIR/data/big
        while :; do echo 0123456789012345678901234567890123456789; done";
    let mut job = super::super::agent::shell_job("full", "service", 1, script);
    let group = &mut job["Job"]["TaskGroups"][0];
    group["EphemeralDisk"] = json!({ "SizeMB": 11 });
    group["Tasks"][0]["LogConfig"] = json!({ "MaxFiles": 1, "MaxFileSizeMB": 2 });
    assert_eq!(agent.put("/v1/jobs", &job).status, 200);
    let path = dir.display();
    let free = format!("test $(df --output=avail -k {path} | tail -1) -lt 64");
    let full = || run("sh", &["-c", &free]);
    agent.until("a full disk", |_| full());
    let spent = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).expect("a stat");
        let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
        fields.skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum::<u64>()
    };
    let before = spent();
    std::thread::sleep(Duration::from_secs(2));
    let ticks = spent() - before;
    assert!(ticks < 60, "{ticks} hundredths of a second of two");
    assert!(serves(&agent));
    assert_eq!(agent.delete("/v1/job/full?purge=true").status, 200);
    agent.until("its end", |a| a.allocs("full").iter().all(|x| x["ClientStatus"] != "running"));
}

#[test]
fn r08_an_agent_without_descriptors_waits_for_some() {
    if !run("prlimit", &["--version"]) {
        return skip("prlimit");
    }
    let mut agent = lone("r08");
    agent.spawn_by(&["prlimit", "--nofile=64"]);
    agent.until("a leader", serves);
    let open: Vec<_> = (0..100).filter_map(|_| agent.connect().ok()).collect();
    assert_eq!(open.len(), 100);
    std::thread::sleep(Duration::from_millis(500));
    let stat = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", agent.pid())).expect("a stat");
        let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
        fields.skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum::<u64>()
    };
    let before = stat();
    std::thread::sleep(Duration::from_secs(1));
    let ticks = stat() - before;
    assert!(ticks < 30, "it spins: {ticks} hundredths of a second");
    drop(open);
    agent.until("an answer", serves);
}

#[test]
fn r19_lists_in_little_memory_are_answered_or_refused() {
    if !run("prlimit", &["--version"]) {
        return skip("prlimit");
    }
    let mut agent = lone("r19");
    agent.spawn_by(&["prlimit", &format!("--data={}", 96 << 20)]);
    agent.until("a leader", serves);
    let value = "x".repeat(60_000);
    for n in 0..200 {
        let items = json!({ "Items": { "k": value } });
        assert_eq!(agent.put(&format!("/v1/var/n{n}"), &items).status, 200);
    }
    // Readers that take nothing hold what they asked for, and the agent lives.
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut reader = agent.connect().expect("connects");
        let ask = "GET /v1/operator/snapshot HTTP/1.1\r\nHost: x\r\n\r\n";
        std::io::Write::write_all(&mut reader, ask.as_bytes()).expect("sent");
        held.push(reader);
    }
    for _ in 0..20 {
        assert!(serves(&agent));
    }
    drop(held);
    assert!(serves(&agent));
}
