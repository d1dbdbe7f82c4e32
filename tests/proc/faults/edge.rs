//! What a box in a cupboard meets: a clock that is set by years, a sleep, a power cut with nobody
//! to ask.

#![expect(clippy::disallowed_methods, reason = "a test waits")]

use std::fs;
use std::time::Duration;

use super::super::agent::{Agent, send, shell_job};
use super::{preloaded, run, skip};
use serde_json::json;

/// Adds the seconds in the file that `SHIFT` names to the clocks that its second line names.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, t);
    char text[64] = {0};
    int fd = open(getenv("SHIFT"), O_RDONLY);
    if (fd < 0) return done;
    int all = read(fd, text, 63) > 1 && text[0] == 's';
    if (id == CLOCK_REALTIME || (id == CLOCK_BOOTTIME && all)) t->tv_sec += atol(text + 1);
    close(fd);
    return done;
}
"#;

/// An agent whose clocks are set by what is written into the file.
fn shifted(name: &str) -> Option<(Agent, std::path::PathBuf)> {
    let mut agent = Agent::prepare(name, &json!({ "log_level": "INFO" }));
    let shift = agent.dir.join("shift");
    if !preloaded(&mut agent, SHIM, ("SHIFT", &shift.display().to_string())) {
        return None;
    }
    agent.until_ready();
    Some((agent, shift))
}

fn task(agent: &Agent) -> String {
    let alloc = &agent.allocs("j")[0];
    let id = alloc["ID"].as_str().expect("an id");
    agent.get(&format!("/v1/client/fs/logs/{id}?task=t&type=stdout&plain=true")).text()
}

#[test]
fn a_clock_that_jumps_and_a_long_sleep_leave_tasks_as_they_are() {
    let Some((agent, shift)) = shifted("edge") else { return skip("cc") };
    let job = shell_job("j", "service", 1, "echo pid $$; exec sleep 1000");
    assert_eq!(agent.put("/v1/jobs", &job).status, 200);
    agent.until("its task", |a| !a.allocs("j").is_empty() && task(a).starts_with("pid "));
    let before = task(&agent);
    // The wall clock alone forward and back by years; then a sleep of five years, twice.
    let year = 365 * 24 * 3600;
    for (kind, seconds) in
        [('w', 5 * year), ('w', -20 * year), ('w', 0), ('s', 5 * year), ('s', 10 * year)]
    {
        let new = agent.dir.join("shift.new");
        fs::write(&new, format!("{kind}{seconds}")).expect("a file");
        fs::rename(&new, &shift).expect("set");
        let path = format!("/v1/var/{kind}{}", seconds + 20 * year);
        let items = json!({ "Items": { "k": "v" } });
        agent.until("a write", |a| {
            a.request("PUT", &path, Some(&items.to_string())).is_ok_and(|r| r.status == 200)
        });
        std::thread::sleep(Duration::from_secs(2));
        let nodes = agent.get("/v1/nodes").json();
        assert_eq!(nodes[0]["Status"], "ready", "{kind} {seconds}: {nodes}");
        let allocs = agent.allocs("j");
        let states: Vec<_> = allocs.iter().map(|a| &a["ClientStatus"]).collect();
        assert_eq!(states, [&json!("running")], "{kind} {seconds}; {}", agent.log());
        assert_eq!(task(&agent), before, "{kind} {seconds}");
    }
    let log = agent.log();
    assert!(!log.contains("missed its heartbeat"), "{log}");
}

/// The boot id is what tells a machine that was switched off from an agent that was restarted.
fn boot(agent: &mut Agent, id: &str) {
    let file = agent.dir.join("boot_id");
    fs::write(&file, format!("{id}\n")).expect("a file");
    let script =
        format!("mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$@\"", file.display());
    agent.spawn_by(&["unshare", "-m", "sh", "-c", &script, "sh"]);
}

#[test]
fn tasks_run_again_after_a_power_cut_with_no_server_there() {
    if !run("unshare", &["-m", "true"]) {
        return skip("unshare");
    }
    let only = json!({ "client": { "enabled": false } });
    let mut server = Agent::prepare("cut-server", &only);
    server.spawn();
    server.until("a leader", super::serves);
    let more = json!({
        "server": { "enabled": false },
        "client": { "enabled": true, "servers": [format!("127.0.0.1:{}", server.rpc)] },
    });
    let mut client = Agent::prepare("cut-client", &more);
    boot(&mut client, "11111111-1111-4111-8111-111111111111");
    client.until_ready();
    let mark = client.dir.join("starts");
    let script = format!("echo start >> {}; exec sleep 1000", mark.display());
    let mut job = shell_job("j", "service", 1, &script);
    job["Job"]["TaskGroups"][0]["RestartPolicy"] = json!({
        "Attempts": 2, "Interval": 60_000_000_000i64, "Delay": 1_000_000_000, "Mode": "delay",
    });
    assert_eq!(server.put("/v1/jobs", &job).status, 200);
    let starts = || fs::read_to_string(&mark).unwrap_or_default().lines().count();
    client.until("its task", |_| starts() == 1);
    server.until("running", |a| a.allocs("j").iter().all(|x| x["ClientStatus"] == "running"));
    // The power goes: agent, supervisor and task at once; the server stays away.
    server.kill();
    client.kill();
    let below = client.dir.display().to_string();
    for entry in fs::read_dir("/proc").expect("processes").flatten() {
        let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let both = String::from_utf8_lossy(&[environ, line].concat()).into_owned();
        if both.contains(&below)
            && let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>()
        {
            send("KILL", pid);
        }
    }
    boot(&mut client, "22222222-2222-4222-8222-222222222222");
    client.until("its task again", |_| starts() == 2);
    // The server comes back, and nothing is started a third time.
    server.spawn();
    server.until("a leader", super::serves);
    server.until("running", |a| {
        let allocs = a.allocs("j");
        allocs.len() == 1 && allocs[0]["ClientStatus"] == "running"
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(starts(), 2);
}
