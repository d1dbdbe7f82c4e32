//! Programs that run beside the loop: those of the operator that work on host volumes, and our own
//! that fetch artifacts.
//!
//! What a program prints waits in a socket until it has ended. One that prints more than fits
//! waits for room that never comes, and is ended when its time is up.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

use crate::client::exec_proto::{FETCH, FETCH_FAILED, FETCH_VARIABLE, FetchSpec};
use crate::client::{ClientInput, TaskKey, VolumeWork};
use crate::limits::PLUGIN_OUTPUT_MAX;
use crate::os::{self, spawn};
use crate::stdx::json;

/// Programs that run, and for whom.
#[derive(Default)]
pub(super) struct Plugins {
    running: Vec<(For, spawn::Helper)>,
    /// Artifacts whose turn has not come.
    waiting: VecDeque<(TaskKey, String)>,
}

#[derive(PartialEq)]
enum For {
    /// The number of the work on a volume.
    Volume(u64),
    Fetch(TaskKey),
    /// Nobody wants to hear of it any more.
    Nobody,
}

impl Plugins {
    /// Begins or does some work; the answer where there is one at once.
    pub(super) fn run(&mut self, token: u64, work: VolumeWork) -> Option<ClientInput> {
        let done = match work {
            VolumeWork::Run { program, op, env } => match spawn::helper(&program, op, &env) {
                Ok(helper) => {
                    self.running.push((For::Volume(token), helper));
                    return None;
                }
                Err(e) => Err(e),
            },
            VolumeWork::End => {
                if let Some((_, helper)) =
                    self.running.iter().find(|(f, _)| *f == For::Volume(token))
                {
                    spawn::end_helper(helper.pid);
                }
                return None;
            }
            VolumeWork::Mkdir { path, mode, user, group } => mkdir(&path, mode, user, group),
            // Done beside it, piece by piece.
            VolumeWork::Remove { .. } => return None,
            VolumeWork::Look { path } => match Path::new(&path).is_dir() {
                true => Ok(()),
                false => Err(std::io::Error::from(std::io::ErrorKind::NotADirectory)),
            },
            VolumeWork::Kept => Ok(()),
        };
        let done = done.map(|()| String::new()).map_err(|e| os::error_text(&e));
        Some(ClientInput::VolumeDone(token, done))
    }

    /// Fetches artifacts of a task, when it is their turn.
    pub(super) fn fetch(&mut self, task: TaskKey, spec: &FetchSpec, out: &mut Vec<ClientInput>) {
        let spec = String::from_utf8_lossy(&json::encode(spec)).into_owned();
        self.waiting.push_back((task, spec));
        self.fetch_next(out);
    }

    /// Nobody waits for them any more.
    pub(super) fn fetch_end(&mut self, task: &TaskKey) {
        self.waiting.retain(|(t, _)| t != task);
        for (whose, helper) in &mut self.running {
            if matches!(whose, For::Fetch(t) if t == task) {
                *whose = For::Nobody;
                spawn::end_helper(helper.pid);
            }
        }
    }

    fn fetch_next(&mut self, out: &mut Vec<ClientInput>) {
        let fetches = self.running.iter().filter(|(f, _)| !matches!(f, For::Volume(_))).count();
        for _ in fetches..FETCHERS_MAX {
            let Some((task, spec)) = self.waiting.pop_front() else { return };
            let env = [(FETCH_VARIABLE.to_owned(), spec)];
            match spawn::helper("/proc/self/exe", FETCH, &env) {
                Ok(helper) => self.running.push((For::Fetch(task), helper)),
                Err(e) => {
                    let text = format!("failed to download artifacts: {}", os::error_text(&e));
                    out.push(ClientInput::Fetched(task, Err((text, true))));
                }
            }
        }
    }

    /// A child of the agent has ended; it may be one of these.
    pub(super) fn ended(&mut self, child: spawn::Reaped, out: &mut Vec<ClientInput>) {
        let at = self.running.iter().position(|(_, helper)| helper.pid == child.pid);
        let Some(at) = at else { return };
        let (whose, helper) = self.running.swap_remove(at);
        let mut printed = Vec::new();
        // Ends with an error where something that it left behind still holds the other side.
        drop((&helper.output).take(PLUGIN_OUTPUT_MAX).read_to_end(&mut printed));
        let printed = String::from_utf8_lossy(&printed).into_owned();
        out.extend(match whose {
            For::Volume(token) => {
                let done = match (child.signal, child.code) {
                    (0, 0) => Ok(printed),
                    (0, code) => Err(format!("the plugin exited with {code}: {printed}")),
                    (signal, _) => {
                        Err(format!("the plugin was ended by signal {signal}: {printed}"))
                    }
                };
                Some(ClientInput::VolumeDone(token, done))
            }
            For::Fetch(task) => {
                let done = match (child.signal, child.code) {
                    (0, 0) => Ok(()),
                    (0, code) => Err((printed, code == FETCH_FAILED)),
                    (signal, _) => {
                        let why = match signal {
                            libc::SIGALRM => "it took too long".to_owned(),
                            signal => format!("ended by signal {signal}"),
                        };
                        Err((format!("failed to download artifacts: {why}"), true))
                    }
                };
                Some(ClientInput::Fetched(task, done))
            }
            For::Nobody => None,
        });
        self.fetch_next(out);
    }
}

/// Most processes that fetch at a time; the others wait.
const FETCHERS_MAX: usize = 8;

fn mkdir(path: &str, mode: u32, user: Option<u32>, group: Option<u32>) -> std::io::Result<()> {
    let path = Path::new(path);
    if let Some(all) = path.parent() {
        std::fs::create_dir_all(all)?;
    }
    os::fs::make_dir(path, mode)?;
    std::os::unix::fs::chown(path, user, group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_heard_when_it_has_ended() {
        let mut plugins = Plugins::default();
        let env = vec![("A".to_owned(), "b".to_owned())];
        let program = "/usr/bin/env".to_owned();
        assert!(plugins.run(3, VolumeWork::Run { program, op: "-0", env }).is_none());
        let (_, helper) = &plugins.running[0];
        let (pid, mut first) = (helper.pid, [0]);
        helper.output.set_nonblocking(false).unwrap();
        while (&helper.output).read(&mut first).unwrap() > 0 && first != [0] {}
        helper.output.set_nonblocking(true).unwrap();
        let mut out = Vec::new();
        plugins.ended(spawn::Reaped { pid, code: 2, signal: 0 }, &mut out);
        assert!(matches!(&out[..], [ClientInput::VolumeDone(3, Err(_))]), "{out:?}");
        plugins.ended(spawn::Reaped { pid, code: 0, signal: 0 }, &mut out);
        assert_eq!(out.len(), 1);
    }
}
