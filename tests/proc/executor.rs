//! The executor as a process: it starts one task, writes its logs, tells its end, and outlives
//! whoever started it.
//!
//! Every test spawns the built program as the agent would, over a socket pair as standard input,
//! and speaks the line protocol.
#![expect(clippy::disallowed_methods, reason = "tests start processes and wait for them")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vardo::client::exec_proto::{
    ExecutorCmd, ExecutorEvent, Exit, Handle, Lines, Mount, PROTO, StartSpec, Usage, write_line,
};
use vardo::os::{proc, spawn};
use vardo::stdx::json;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of its own for one test, with a task directory and a log directory; removed in the
/// end.
struct Scene(PathBuf);

impl Scene {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("vardo-exec-{}-{name}", std::process::id()));
        vardo::os::fs::remove_tree(&dir).unwrap();
        for part in ["run", "task", "logs"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        Self(dir)
    }

    fn run_dir(&self) -> PathBuf {
        self.0.join("run")
    }

    fn path(&self, relative: &str) -> String {
        self.0.join(relative).to_string_lossy().into_owned()
    }

    fn shell(&self, script: &str) -> StartSpec {
        StartSpec {
            run_dir: self.path("run"),
            command: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            env: vec![
                ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
                ("NOMAD_ALLOC_ID".to_owned(), self.0.display().to_string()),
            ],
            cwd: self.path("task"),
            log_dir: self.path("logs"),
            task: "t".to_owned(),
            log_max_files: 3,
            log_max_bytes: 1 << 20,
            ..StartSpec::default()
        }
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.0.join("logs").join(name)).unwrap_or_default()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(vardo::os::fs::remove_tree(&self.0));
    }
}

/// One side of a conversation.
struct Talk {
    stream: UnixStream,
    lines: Lines,
}

impl Talk {
    fn new(stream: UnixStream) -> Self {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, lines: Lines::default() }
    }

    fn dial(run_dir: &Path) -> Self {
        let stream = spawn::dial(run_dir).unwrap();
        Self::new(UnixStream::from(OwnedFd::from(stream)))
    }

    /// The next event; `None` at the end of the conversation.
    fn next(&mut self) -> Option<ExecutorEvent> {
        loop {
            if let Some(event) = self.lines.message().unwrap() {
                return Some(event);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.lines.feed(&buffer[..count]),
                Err(e) => assert_eq!(e.kind(), ErrorKind::Interrupted),
            }
        }
    }

    fn send(&mut self, command: &ExecutorCmd) {
        let mut line = Vec::new();
        write_line(command, &mut line);
        self.stream.write_all(&line).unwrap();
    }

    fn started(&mut self) -> Handle {
        loop {
            match self.next().expect("the executor ended") {
                ExecutorEvent::Started(handle) => return handle,
                ExecutorEvent::Hello { proto, .. } => assert_eq!(proto, PROTO),
                other => panic!("{other:?}"),
            }
        }
    }

    fn exited(&mut self) -> Exit {
        loop {
            match self.next().expect("the executor ended") {
                ExecutorEvent::Exited(exit) => return exit,
                ExecutorEvent::Hello { .. } | ExecutorEvent::Started(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn usage(&mut self) -> Usage {
        self.send(&ExecutorCmd::Stats { token: 7 });
        match self.next() {
            Some(ExecutorEvent::Stats { token: 7, usage }) => usage,
            other => panic!("{other:?}"),
        }
    }
}

fn start(spec: &StartSpec) -> (Child, Talk) {
    let run_dir = Path::new(&spec.run_dir);
    fs::write(run_dir.join("start.json"), serde_json::to_vec(spec).unwrap()).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    // With a file open, as the agent has its own.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec 9< /dev/null; exec \"$0\" executor \"$1\""]);
    command.arg(env!("CARGO_BIN_EXE_vardo")).arg(run_dir).stdin(OwnedFd::from(theirs));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    (child, Talk::new(ours))
}

/// Waits until a condition holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn recorded(scene: &Scene) -> Exit {
    json::decode(&fs::read(scene.run_dir().join("exit.json")).unwrap()).unwrap()
}

#[test]
fn a_task_runs_and_its_end_is_recorded_before_it_is_told() {
    let scene = Scene::new("runs");
    let script = "echo out; echo err >&2; pwd; echo \"$A\"; read x || echo no input; exit 3";
    let mut spec = scene.shell(script);
    spec.env.push(("A".to_owned(), "b c".to_owned()));
    let (mut child, mut talk) = start(&spec);
    let handle = talk.started();
    assert!(handle.pid > 1);
    assert_eq!(handle.run_dir, spec.run_dir);
    assert_eq!(handle.boot_id, proc::boot_id());
    let exit = talk.exited();
    assert_eq!((exit.code, exit.signal), (3, 0));
    assert_eq!(recorded(&scene), exit);
    assert_eq!(scene.log("t.stdout.0"), format!("out\n{}\nb c\nno input\n", spec.cwd));
    assert_eq!(scene.log("t.stderr.0"), "err\n");
    talk.send(&ExecutorCmd::Shutdown);
    assert!(child.wait().unwrap().success());
    // A restarted agent that finds nobody reads the record.
    assert!(matches!(spawn::adopt(&handle), Err(ExecutorEvent::Exited(e)) if e == exit));
}

/// What the agent and the executor hold open, and signals that they hold back, are not the task's.
#[test]
fn a_task_inherits_nothing() {
    let scene = Scene::new("inherits");
    let mut spec = scene.shell("");
    (spec.command, spec.args) = ("/bin/cat".to_owned(), vec!["/proc/self/status".to_owned()]);
    let (mut child, mut talk) = start(&spec);
    assert_eq!(talk.exited().code, 0);
    let status = scene.log("t.stdout.0");
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    talk.send(&ExecutorCmd::Shutdown);
    assert!(child.wait().unwrap().success());
    let scene = Scene::new("inherits-files");
    let mut spec = scene.shell("");
    (spec.command, spec.args) = ("/bin/ls".to_owned(), vec!["/proc/self/fd".to_owned()]);
    let (mut child, mut talk) = start(&spec);
    assert_eq!(talk.exited().code, 0);
    // The last one is what it reads itself.
    assert_eq!(scene.log("t.stdout.0"), "0\n1\n2\n3\n");
    talk.send(&ExecutorCmd::Shutdown);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_task_that_cannot_start_says_why() {
    let scene = Scene::new("nostart");
    let cases = [
        ("/no/such/program", "", "task", "no such file or directory"),
        ("/etc/passwd", "", "task", "permission denied"),
        ("/bin/true", "no-such-user", "task", "unknown user no-such-user"),
        ("/bin/true", "", "gone", "does not exist"),
    ];
    for (command, user, cwd, want) in cases {
        let mut spec = scene.shell("");
        (spec.command, spec.user, spec.cwd) = (command.into(), user.into(), scene.path(cwd));
        vardo::os::fs::remove_tree(&scene.run_dir()).unwrap();
        fs::create_dir(scene.run_dir()).unwrap();
        let (mut child, mut talk) = start(&spec);
        let Some(ExecutorEvent::Hello { .. }) = talk.next() else { panic!("no hello") };
        let Some(ExecutorEvent::StartFailed { error }) = talk.next() else { panic!("started") };
        assert!(error.contains(want), "{error}");
        drop(talk);
        assert!(child.wait().unwrap().success());
        let told = spawn::adopt(&Handle::at(&spec.run_dir));
        assert!(matches!(told, Err(ExecutorEvent::StartFailed { .. })), "{told:?}");
    }
}

#[test]
fn logs_rotate_and_the_oldest_go() {
    let scene = Scene::new("rotate");
    let mut spec = scene.shell("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
    spec.log_max_bytes = 4096;
    let (mut child, mut talk) = start(&spec);
    assert_eq!(talk.exited().code, 0);
    drop(talk);
    assert!(child.wait().unwrap().success());
    let mut files: Vec<(u64, String)> = fs::read_dir(scene.0.join("logs"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter_map(|n| Some((n.strip_prefix("t.stdout.")?.parse().ok()?, scene.log(&n))))
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
    assert!(all.ends_with("line 2999\n"));
    let mut lines = all.lines().map(|l| l.strip_prefix("line ").unwrap().parse::<u32>().unwrap());
    let first = lines.next().unwrap();
    assert!(lines.zip(first + 1..).all(|(got, want)| got == want));
    assert!(files.iter().all(|(_, text)| text.len() <= 4096 && text.ends_with('\n')));
}

/// Without a place for its logs a task loses them and nothing else: links in their place are not
/// followed.
#[test]
fn logs_that_cannot_be_written_are_dropped() {
    let scene = Scene::new("full");
    for stream in ["stdout", "stderr"] {
        std::os::unix::fs::symlink("/dev/full", scene.0.join(format!("logs/t.{stream}.0")))
            .unwrap();
    }
    let script =
        "i=0; while [ $i -lt 20000 ]; do echo some line of output; i=$((i+1)); done; exit 5";
    let (mut child, mut talk) = start(&scene.shell(script));
    talk.started();
    assert_eq!(talk.exited().code, 5);
    drop(talk);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_task_outlives_its_agent_and_is_found_again() {
    let scene = Scene::new("outlives");
    let script = "echo a; while [ ! -e go ]; do sleep 0.05; done; echo b; exit 4";
    let (mut child, mut talk) = start(&scene.shell(script));
    let handle = talk.started();
    drop(talk);
    // Signals of a terminal or of a stopping service do not reach it.
    for signal in ["-HUP", "-INT", "-TERM"] {
        let pid = handle.executor_pid.to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
    let stream = spawn::adopt(&handle).unwrap();
    let mut talk = Talk::new(UnixStream::from(OwnedFd::from(stream)));
    assert_eq!(talk.started(), handle);
    fs::write(scene.0.join("task/go"), "").unwrap();
    assert_eq!(talk.exited().code, 4);
    drop(talk);
    assert!(child.wait().unwrap().success());
    assert_eq!(scene.log("t.stdout.0"), "a\nb\n");
}

/// Who goes down tells all processes to end: what the task then does is not its own end once the
/// machine is up again. What it did while the machine ran is.
#[test]
fn an_end_that_the_machine_brought_is_not_the_tasks() {
    for all in [true, false] {
        let scene = Scene::new(&format!("going-down-{all}"));
        let (mut child, mut talk) =
            start(&scene.shell("trap 'exit 0' TERM; while :; do sleep 0.1; done"));
        let handle = talk.started();
        until("the trap is set", || proc::descendants(handle.pid).len() == 1);
        drop(talk);
        for pid in [handle.executor_pid, handle.pid].into_iter().skip(usize::from(!all)) {
            let pid = pid.to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        }
        assert!(child.wait().unwrap().success());
        assert_eq!(recorded(&scene).going_down, all);
        let ended = |event| matches!(event, ExecutorEvent::Exited(exit) if exit.code == 0);
        assert!(ended(spawn::adopt(&handle).unwrap_err()));
        let before = Handle { boot_id: "another".to_owned(), ..handle };
        match spawn::adopt(&before).unwrap_err() {
            ExecutorEvent::Lost { reason } if all => assert_eq!(reason, "machine restarted"),
            event => assert!(!all && ended(event)),
        }
    }
}

#[test]
fn several_agents_may_talk_and_any_may_kill() {
    let scene = Scene::new("reconnect");
    let (mut child, mut first) =
        start(&scene.shell("trap 'echo got term; exit 9' TERM; while :; do sleep 0.1; done"));
    let handle = first.started();
    until("the trap is set", || proc::descendants(handle.pid).len() == 1);
    let mut second = Talk::dial(&scene.run_dir());
    assert_eq!(second.started(), handle);
    drop(first);
    second.send(&ExecutorCmd::Signal { token: 1, signal: 0 });
    let answer = second.next();
    assert!(
        matches!(&answer, Some(ExecutorEvent::Signaled { token: 1, error }) if error.is_empty())
    );
    second.send(&ExecutorCmd::Kill { signal: libc_term(), grace_ns: 10_000_000_000 });
    let exit = second.exited();
    assert_eq!((exit.code, exit.signal), (9, 0));
    assert_eq!(scene.log("t.stdout.0"), "got term\n");
    second.send(&ExecutorCmd::Shutdown);
    assert!(child.wait().unwrap().success());
}

fn libc_term() -> i32 {
    vardo::client::exec_proto::signal_number("SIGTERM").unwrap()
}

#[test]
fn who_ignores_the_signal_is_killed_after_the_grace_with_all_children() {
    let scene = Scene::new("grace");
    let script = "trap '' TERM; sleep 1000 & setsid sleep 1001 & while :; do sleep 0.05; done";
    let (mut child, mut talk) = start(&scene.shell(script));
    let handle = talk.started();
    until("its children run", || proc::descendants(handle.executor_pid).len() >= 4);
    let all = proc::descendants(handle.executor_pid);
    let starts: Vec<(u32, u64)> =
        all.iter().filter_map(|p| Some((*p, proc::stat(*p)?.start_ticks))).collect();
    let usage = talk.usage();
    assert!(usage.rss_bytes > 0);
    assert!(usage.procs.iter().any(|p| p.pid == handle.pid));
    let begin = Instant::now();
    talk.send(&ExecutorCmd::Kill { signal: libc_term(), grace_ns: 300_000_000 });
    let exit = talk.exited();
    assert_eq!((exit.code, exit.signal), (0, 9));
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert!(starts.iter().all(|(pid, start)| !proc::is_same(*pid, *start)));
    drop(talk);
    assert!(child.wait().unwrap().success());
}

/// Only the executor is killed: the task dies with it, and what has escaped from its parent is
/// found by its session and mark.
#[test]
fn a_killed_executor_leaves_nothing_running() {
    let scene = Scene::new("killed");
    let (mut child, mut talk) = start(&scene.shell("sleep 1000 & sleep 1001"));
    let handle = talk.started();
    until("its children run", || proc::descendants(handle.pid).len() == 2);
    let starts: Vec<(u32, u64)> = proc::descendants(handle.executor_pid)
        .into_iter()
        .filter_map(|p| Some((p, proc::stat(p)?.start_ticks)))
        .collect();
    assert_eq!(starts.len(), 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(talk.next().is_none());
    assert!(matches!(spawn::adopt(&handle), Err(ExecutorEvent::Lost { .. })));
    until("all are gone", || starts.iter().all(|(pid, start)| !proc::is_same(*pid, *start)));
}

/// An agent that gives a start up for lost makes sure that it does not happen later.
#[test]
fn an_abandoned_start_does_not_happen() {
    let scene = Scene::new("abandoned");
    let spec = scene.shell("echo never");
    let handle = Handle::at(&spec.run_dir);
    assert!(matches!(spawn::adopt(&handle), Err(ExecutorEvent::Lost { .. })));
    let (mut child, _talk) = start(&spec);
    assert!(!child.wait().unwrap().success());
    assert_eq!(scene.log("t.stdout.0"), "");
}

/// A path longer than a socket address is no obstacle.
#[test]
fn a_deep_run_directory_works() {
    let scene = Scene::new("deep");
    let mut spec = scene.shell("sleep 1000");
    spec.run_dir = scene.path(&format!("run/{}", "long-name/".repeat(20)));
    fs::create_dir_all(&spec.run_dir).unwrap();
    let (mut child, mut talk) = start(&spec);
    let handle = talk.started();
    let mut second = Talk::dial(Path::new(&spec.run_dir));
    assert_eq!(second.started(), handle);
    second.send(&ExecutorCmd::Kill { signal: libc_term(), grace_ns: 0 });
    assert_ne!(talk.exited().signal, 0);
    drop((talk, second));
    assert!(child.wait().unwrap().success());
}

/// The price of one task: memory that only its executor has, and its share of the rest.
#[test]
fn an_idle_executor_is_small() {
    let scene = Scene::new("small");
    let (mut child, mut talk) = start(&scene.shell("echo x; exec sleep 1000"));
    let handle = talk.started();
    until("its first output", || scene.log("t.stdout.0") == "x\n");
    // It gives back what it needed for the start once it has been quiet for a while.
    std::thread::sleep(Duration::from_millis(1500));
    let smaps = format!("/proc/{}/smaps", handle.executor_pid);
    let smaps = fs::read_to_string(smaps).unwrap_or_default();
    let (mut of_program, mut pss, mut text) = (false, 0, 0);
    let (mut own, mut relocated) = (0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let kib: u64 = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
        match name {
            "Pss:" => pss += kib,
            "Rss:" if of_program => text += kib,
            "Anonymous:" if of_program => relocated += kib,
            "Anonymous:" => own += kib,
            _ if !name.ends_with(':') => of_program = line.ends_with("/vardo"),
            _ => {}
        }
    }
    // The share of the program's text falls with every further process of it, and what has to be
    // relocated grows with the program; the rest is what this code touches.
    println!("executor: Pss {pss} KiB; own {own}, relocated {relocated}, program {text} KiB");
    assert!(own < 200, "{smaps}");
    talk.send(&ExecutorCmd::Kill { signal: libc_term(), grace_ns: 0 });
    talk.exited();
    drop(talk);
    assert!(child.wait().unwrap().success());
}

/// Volumes are there for the task and for what runs beside it, and for nobody else. A link that a
/// task planted for its next start makes no other place look as it likes (CVE-2026-14896).
#[test]
fn volumes_are_mounted_for_the_task_alone() {
    if !vardo::os::mount::is_allowed() {
        return;
    }
    let scene = Scene::new("mounts");
    fs::create_dir_all(scene.0.join("volume")).unwrap();
    fs::write(scene.0.join("volume/file"), "content").unwrap();
    let mount = |target: &str, read_only| Mount {
        source: scene.path("volume"),
        target: target.to_owned(),
        read_only,
        ..Mount::default()
    };
    let spec = StartSpec {
        task_dir: scene.path("task"),
        mounts: vec![mount("a/b", true), mount("c", false)],
        ..scene.shell(
            "cat a/b/file; echo x > a/b/new || echo kept; echo y > c/new; \
             grep ' - ' /proc/self/mountinfo | grep -c nosuid,nodev",
        )
    };
    // What an agent left that had no right to mount.
    std::os::unix::fs::symlink(scene.path("volume"), scene.0.join("task/c")).unwrap();
    let (mut child, mut talk) = start(&spec);
    talk.exited();
    talk.send(&ExecutorCmd::Shutdown);
    child.wait().unwrap();
    assert!(scene.log("t.stdout.0").starts_with("contentkept\n"), "{}", scene.log("t.stdout.0"));
    assert_eq!(fs::read_to_string(scene.0.join("volume/new")).unwrap(), "y\n");
    assert_eq!(fs::read_dir(scene.0.join("task/a/b")).unwrap().count(), 0, "here is nothing");

    for target in ["etc", "etc/ssl"] {
        let scene = Scene::new("mount-link");
        fs::create_dir_all(scene.0.join("volume")).unwrap();
        std::os::unix::fs::symlink("/etc", scene.0.join("task/etc")).unwrap();
        let mount = Mount { source: scene.path("volume"), ..mount(target, false) };
        let spec = StartSpec {
            task_dir: scene.path("task"),
            mounts: vec![mount],
            ..scene.shell("echo started")
        };
        let (mut child, mut talk) = start(&spec);
        assert!(matches!(talk.next(), Some(ExecutorEvent::Hello { .. })));
        let Some(ExecutorEvent::StartFailed { error }) = talk.next() else { panic!("started") };
        assert!(error.contains("failed to mount"), "{error}");
        drop(talk);
        child.wait().unwrap();
    }
}
