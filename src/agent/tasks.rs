//! The node's effects, carried out: directories, executors, and what executors say.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use mio::net::UnixStream;
use mio::{Interest, Registry};

use super::plugins::Plugins;
use super::probes::Probes;
use super::removals::{Removals, Then};
use super::tokens;
use crate::client::exec_proto::{
    ExecutorCmd, ExecutorEvent, Handle, Lines, PROTO_RUN, StartSpec, write_line,
};
use crate::client::{
    AllocDirSpec, ClientEffect, ClientInput, Inquiry, PlacedFile, TaskKey, Told, VolumeWork,
};
use crate::limits::TEMPLATE_FILE_MAX;
use crate::os::beneath::{self, Root};
use crate::os::{self, spawn};
use crate::stdx::BTreeMap;
use crate::stdx::slab::{Key, Slab};

/// One conversation with an executor.
struct Talk {
    task: TaskKey,
    handle: Handle,
    stream: UnixStream,
    lines: Lines,
    out: Vec<u8>,
    /// Version of the protocol that the executor speaks; 0 until it has said so.
    proto: u32,
    /// Scripts to be run once that is known.
    held: Vec<ExecutorCmd>,
    /// How the task ended was told: the end of the conversation is no news.
    ended: bool,
}

#[derive(Default)]
pub(super) struct Tasks {
    talks: Slab<Talk>,
    by_task: BTreeMap<TaskKey, Key>,
    /// Tasks whose files could not be written just now, and why.
    unplaced: BTreeMap<TaskKey, String>,
    pub(super) probes: Probes,
    pub(super) plugins: Plugins,
    pub(super) removals: Removals,
}

impl Tasks {
    /// Carries out one effect; what is known at once comes back as inputs.
    pub(super) fn run(
        &mut self,
        effect: ClientEffect,
        registry: &Registry,
        out: &mut Vec<ClientInput>,
    ) {
        match effect {
            ClientEffect::BuildDirs(spec) => {
                let result = build_dirs(&spec).map_err(|e| os::error_text(&e));
                out.push(ClientInput::DirBuilt(spec.alloc, result));
            }
            ClientEffect::Start(task, spec) => match self.unplaced.remove(&task) {
                Some(why) => {
                    let error = format!("its files cannot be written: {why}");
                    out.push(ClientInput::Executor(task, ExecutorEvent::StartFailed { error }));
                }
                None => self.start(task, &spec, registry, out),
            },
            ClientEffect::Adopt(task, handle) => match spawn::adopt(&handle) {
                Ok(stream) => self.open(task, handle, stream, registry, out),
                Err(event) => out.push(ClientInput::Executor(task, event)),
            },
            ClientEffect::Executor(task, command) => self.tell(&task, &command, out),
            ClientEffect::RemoveTree { path, alloc } => {
                self.removals.push(path, alloc.map_or(Then::Nobody, Then::Alloc));
            }
            ClientEffect::Volume(token, VolumeWork::Remove { path }) => {
                self.removals.push(path, Then::Volume(token));
            }
            ClientEffect::Probe { key, addr, request, secure } => {
                self.probes.begin(key, addr, request, secure.as_ref(), registry, out);
            }
            ClientEffect::ProbeEnd(key) => self.probes.end(&key),
            ClientEffect::Place(task, files) => {
                let result = files.iter().try_for_each(place);
                let result = result.map_err(|e| os::error_text(&e));
                match &result {
                    Ok(()) => self.unplaced.remove(&task),
                    Err(text) => self.unplaced.insert(task.clone(), text.clone()),
                };
                out.push(ClientInput::Placed(task, result));
            }
            ClientEffect::Fetch(task, spec) => self.plugins.fetch(task, &spec, out),
            ClientEffect::FetchEnd(task) => self.plugins.fetch_end(&task),
            ClientEffect::Ask(id, Inquiry::File { root, path }) => {
                out.push(ClientInput::Told(id, Some(read(&root, &path))));
            }
            ClientEffect::Volume(token, work) => out.extend(self.plugins.run(token, work)),
            // The core keeps these for itself.
            ClientEffect::Register(..)
            | ClientEffect::Heartbeat
            | ClientEffect::Update(_)
            | ClientEffect::Ask(..)
            | ClientEffect::Unask(_)
            | ClientEffect::LocalPut(..)
            | ClientEffect::LocalDelete(_)
            | ClientEffect::Reply(..) => {}
        }
    }

    /// Ends every task at once: those of a throw-away agent go with it.
    pub(super) fn end_all(&mut self) {
        let kill = ExecutorCmd::Kill { signal: libc::SIGKILL, grace_ns: 0 };
        let mut out = Vec::new();
        for task in self.by_task.keys().cloned().collect::<Vec<_>>() {
            self.tell(&task, &kill, &mut out);
        }
    }

    fn start(
        &mut self,
        task: TaskKey,
        spec: &StartSpec,
        registry: &Registry,
        out: &mut Vec<ClientInput>,
    ) {
        match spawn::executor(spec) {
            Ok(spawned) => {
                let mut handle = Handle::at(&spec.run_dir);
                handle.executor_pid = spawned.pid;
                self.open(task, handle, spawned.stream, registry, out);
            }
            Err(e) => {
                let error = os::error_text(&e);
                out.push(ClientInput::Executor(task, ExecutorEvent::StartFailed { error }));
            }
        }
    }

    fn open(
        &mut self,
        task: TaskKey,
        handle: Handle,
        stream: UnixStream,
        registry: &Registry,
        out: &mut Vec<ClientInput>,
    ) {
        let talk = Talk {
            task: task.clone(),
            handle,
            stream,
            lines: Lines::default(),
            out: Vec::new(),
            proto: 0,
            held: Vec::new(),
            ended: false,
        };
        let key = self.talks.insert(talk);
        let Some(talk) = self.talks.get_mut(key) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(e) =
            registry.register(&mut talk.stream, tokens::of(tokens::TALKS, key), interest)
        {
            self.talks.remove(key);
            let reason = os::error_text(&e);
            out.push(ClientInput::Executor(task, ExecutorEvent::Lost { reason }));
            return;
        }
        if let Some(old) = self.by_task.insert(task, key) {
            self.talks.remove(old);
        }
    }

    /// Something happened on a conversation.
    pub(super) fn ready(&mut self, index: usize, out: &mut Vec<ClientInput>) {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let Some(key) = self.talks.key_at(index) else { return };
        let Some(talk) = self.talks.get_mut(key) else { return };
        let open = talk.read(out) && talk.flush();
        if !open {
            self.close(key, out);
        }
    }

    fn tell(&mut self, task: &TaskKey, command: &ExecutorCmd, out: &mut Vec<ClientInput>) {
        let key = self.by_task.get(task).copied();
        let Some((key, talk)) = key.and_then(|k| Some((k, self.talks.get_mut(k)?))) else {
            if let ExecutorCmd::Run { id, .. } = command {
                out.push(not_run(task.clone(), id, "the task has no process"));
            }
            return;
        };
        talk.say(command, out);
        let done = matches!(command, ExecutorCmd::Shutdown);
        if !talk.flush() || done {
            talk.ended |= done;
            self.close(key, out);
        }
    }

    /// The executor hung up. Unless it has told how the task ended, that is found out now.
    fn close(&mut self, key: Key, out: &mut Vec<ClientInput>) {
        let Some(talk) = self.talks.remove(key) else { return };
        if self.by_task.get(&talk.task) == Some(&key) {
            self.by_task.remove(&talk.task);
        }
        if !talk.ended {
            let event = spawn::aftermath(&talk.handle);
            out.push(ClientInput::Executor(talk.task, event));
        }
    }
}

impl Talk {
    /// Queues one command. Scripts wait until it is known whether the executor runs any.
    fn say(&mut self, command: &ExecutorCmd, out: &mut Vec<ClientInput>) {
        match command {
            ExecutorCmd::Run { .. } if self.proto == 0 => self.held.push(command.clone()),
            ExecutorCmd::Run { id, .. } if self.proto < PROTO_RUN => {
                let why = "the task was started by an earlier version: restart it";
                out.push(not_run(self.task.clone(), id, why));
            }
            _ => write_line(command, &mut self.out),
        }
    }

    /// Reads all there is; false where the conversation is over.
    fn read(&mut self, out: &mut Vec<ClientInput>) -> bool {
        let mut buf = [0; 4096];
        loop {
            match self.stream.read(&mut buf) {
                Ok(0) => return false,
                Ok(n) => self.lines.feed(buf.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
            loop {
                match self.lines.message::<ExecutorEvent>() {
                    Ok(Some(event)) => self.heard(event, out),
                    Ok(None) => break,
                    Err(e) => {
                        log::error!("the executor of {} speaks strangely: {e}", self.task.1);
                        return false;
                    }
                }
            }
        }
    }

    fn heard(&mut self, event: ExecutorEvent, out: &mut Vec<ClientInput>) {
        match &event {
            ExecutorEvent::Started(handle) => self.handle = handle.clone(),
            ExecutorEvent::Exited(_) | ExecutorEvent::StartFailed { .. } => self.ended = true,
            ExecutorEvent::Hello { proto, .. } => {
                self.proto = *proto;
                for command in std::mem::take(&mut self.held) {
                    self.say(&command, out);
                }
            }
            ExecutorEvent::Signaled { .. }
            | ExecutorEvent::Stats { .. }
            | ExecutorEvent::Ran { .. }
            | ExecutorEvent::Attached
            | ExecutorEvent::Lost { .. } => {}
        }
        out.push(ClientInput::Executor(self.task.clone(), event));
    }

    fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return false,
                Ok(n) => {
                    self.out.drain(..n);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.out = Vec::new();
        true
    }
}

/// The answer to a script that no executor was told of.
fn not_run(task: TaskKey, id: &str, why: &str) -> ClientInput {
    let (id, error) = (id.to_owned(), why.to_owned());
    ClientInput::Executor(task, ExecutorEvent::Ran { id, code: 0, output: String::new(), error })
}

/// Writes one file of a task, within the task's own directory.
fn place(file: &PlacedFile) -> std::io::Result<()> {
    let ids = match file.user.as_str() {
        "" => None,
        name => os::task::user_ids(name),
    };
    let (user, group) = ids.unzip();
    let owner = (file.owner.0.or(user), file.owner.1.or(group));
    Root::open(Path::new(&file.root))?.place(&file.path, &file.bytes, file.mode, owner)
}

/// A file of a task that its templates read.
fn read(root: &str, path: &str) -> Told {
    let bytes = Root::open(Path::new(root)).and_then(|root| {
        let found = root.find(path)?;
        let size = usize::try_from(found.meta.len()).unwrap_or(usize::MAX);
        if size > TEMPLATE_FILE_MAX {
            let text = format!("it is larger than {TEMPLATE_FILE_MAX} bytes");
            return Err(std::io::Error::other(text));
        }
        let mut bytes = vec![0; size];
        let count = beneath::read_at(&found.open()?, 0, &mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    });
    let (status, body) = match bytes {
        Ok(bytes) => (200, bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => (404, Vec::new()),
        Err(e) if beneath::is_escape(&e) => (400, b"it leads out of the task's directory".to_vec()),
        Err(e) => (400, os::error_text(&e).into_bytes()),
    };
    Told { status, index: 0, body }
}

/// Directories in their order, with exactly their modes, and files.
fn build_dirs(spec: &AllocDirSpec) -> std::io::Result<()> {
    let root = Path::new(&spec.root);
    os::fs::make_dir(root, 0o755)?;
    for (dir, mode) in &spec.dirs {
        os::fs::make_dir(&root.join(dir), *mode)?;
    }
    for (link, target) in &spec.links {
        os::fs::link(&root.join(link), Path::new(target))?;
    }
    for (file, mode, bytes) in &spec.files {
        os::fs::write_atomic(&root.join(file), bytes, *mode)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk() -> Talk {
        let (stream, _) = UnixStream::pair().unwrap();
        Talk {
            task: ("a".to_owned(), "t".to_owned()),
            handle: Handle::default(),
            stream,
            lines: Lines::default(),
            out: Vec::new(),
            proto: 0,
            held: Vec::new(),
            ended: false,
        }
    }

    /// An executor of an earlier version would end the conversation, and the task be given up.
    #[test]
    fn scripts_are_for_executors_that_know_them() {
        let run = ExecutorCmd::Run {
            id: "check".to_owned(),
            command: "x".to_owned(),
            args: Vec::new(),
            timeout_ns: 1,
        };
        for proto in [PROTO_RUN - 1, PROTO_RUN] {
            let (mut talk, mut out) = (talk(), Vec::new());
            talk.say(&run, &mut out);
            talk.say(&ExecutorCmd::Stats { token: 1 }, &mut out);
            let stats = talk.out.clone();
            assert!(out.is_empty() && !stats.is_empty(), "it waits for the greeting");
            talk.heard(ExecutorEvent::Hello { proto, pid: 1 }, &mut out);
            let refused = out.iter().any(|input| {
                matches!(input, ClientInput::Executor(_, ExecutorEvent::Ran { id, error, .. })
                    if id == "check" && error.contains("earlier version"))
            });
            assert_eq!((refused, talk.out == stats), (proto < PROTO_RUN, proto < PROTO_RUN));
        }
    }
}
