//! Commands that callers of the API run in tasks: a WebSocket on one side, pipes or a terminal on
//! the other.
//!
//! The agent that the caller has connected to answers the upgrade and takes the token out of the
//! greeting. From there the request goes where every other goes; between agents the frames travel
//! as they are, and whoever holds the task speaks them. The executor of the task starts the command
//! and hands over its descriptors, so that nothing is copied but by this loop, and nothing is read
//! that the other side does not take.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::core::Core;
use super::front::{Front, Timer};
use super::serve::Form;
use super::sock::{Sock, State, Via};
use super::tokens;
use crate::api::ApiError;
use crate::client::exec_proto::{ExecutorCmd, ExecutorEvent, Lines, PROTO_EXEC, write_line};
use crate::http::websocket::{self, Decoder, FAILED, Fault, Kind, REFUSED};
use crate::http::{Query, Request};
use crate::limits::{
    EXEC_INPUT_BYTES_MAX, EXEC_TTY_LINGER_NS, EXECS_MAX, HTTP_HEAD_NS_MAX, READ_BYTES,
};
use crate::os::{self, fdpass, net, spawn, terminal};
use crate::routes::{Answer, ExecRequest};
use crate::stdx::json::{self, Bytes, records};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::{Now, parse_bool};
use crate::store::Reader;

/// Piece of output that becomes one message, in bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// What ends the input of a program at a terminal.
const END_OF_INPUT: u8 = 4;

#[derive(Default)]
pub(super) struct Execs {
    table: Slab<Exec>,
    /// To watch descriptors that come while others are looked at.
    pub(super) registry: Option<Registry>,
}

/// One command.
struct Exec {
    /// The connection of its caller.
    sock: Key,
    /// With the executor, which says how the command ends.
    talk: UnixStream,
    lines: Lines,
    /// What the executor has not been told yet.
    said: Vec<u8>,
    /// To be told once it is known that the executor can run it.
    command: Option<ExecutorCmd>,
    tty: bool,
    /// Its terminal is in both.
    input: Option<File>,
    outputs: [Option<File>; 2],
    /// Came with the line that is to be read next.
    fds: Vec<OwnedFd>,
    attached: bool,
    /// Input that it has not taken.
    waiting: Vec<u8>,
    input_ends: bool,
    /// Rows and columns.
    size: Option<(u16, u16)>,
    /// Its exit status, or why there is none.
    ended: Option<Result<i32, String>>,
    /// Until when what is left of its output is waited for, mono ns.
    linger_until: Option<u64>,
}

records! {
/// The first message of a caller.
#[derive(Default)]
struct Greeting {
    version: i64,
    auth_token: String,
}

/// Any other.
#[derive(Default)]
struct Input {
    stdin: Option<Stdin>,
    tty_size: Option<Size>,
}

#[derive(Default)]
struct Stdin {
    data: Bytes,
    close: bool,
}

#[derive(Default)]
struct Size {
    height: i64,
    width: i64,
}
}

impl Front {
    /// The connection goes on as a WebSocket.
    pub(super) fn upgrade(
        &mut self,
        key: Key,
        mut form: Form,
        req: Request,
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let mut decoder = Decoder::new(true);
        decoder.feed(&sock.conn.take_rest());
        sock.ws = Some(Box::new(decoder));
        form.keep_alive = false;
        if let Via::Socket(channel) = &mut sock.via
            && let Err(e) = net::keep_alive(channel.stream())
        {
            // Only that one who vanished is noticed later.
            log::debug!("a caller of a command: {e}");
        }
        if sock.via.is_link() {
            // Greeted where it came in.
            return self.admit(key, form, req, now, reader, core);
        }
        let accept = websocket::accept(req.websocket.as_deref().unwrap_or_default());
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                    Connection: Upgrade\r\nSec-WebSocket-Accept: ";
        sock.out.copy(format!("{head}{accept}\r\n\r\n").as_bytes());
        let greets = Query::new(req.query()).get("ws_handshake").map(|v| (parse_bool(&v), v));
        match greets {
            None | Some((Some(false), _)) => self.admit(key, form, req, now, reader, core),
            Some((None, text)) if !text.is_empty() => {
                let why = format!("strconv.ParseBool: parsing {text:?}: invalid syntax");
                let text = format!("ws_handshake value is not a boolean: {why}");
                self.refuse(key, &ApiError::bad(text).into());
            }
            Some((None, _)) => self.admit(key, form, req, now, reader, core),
            Some((Some(true), _)) => {
                let due = now.mono_ns.saturating_add(HTTP_HEAD_NS_MAX);
                let timer = self.wheel.insert(due, Timer::Slow(key));
                if let Some(old) = sock.timer.replace(timer) {
                    self.wheel.cancel(old);
                }
                sock.state = State::Greeting(Box::new((form, req)));
                self.hear(key, now, reader, core);
            }
        }
    }

    /// What HTTP would answer, as the end of a conversation.
    pub(super) fn refuse(&mut self, key: Key, answer: &Answer) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        self.meters.answered(answer.status, sock.asked.take());
        let code = if answer.status == 500 { FAILED } else { REFUSED };
        let reason = String::from_utf8_lossy(answer.body.as_slice());
        end(sock, code, reason.trim_end());
    }

    /// Reads what a caller sends, as long as it is taken.
    pub(super) fn read_session(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let room = match &sock.state {
            State::Greeting(_) => true,
            State::Relayed(relayed) => relayed.rest.len() < EXEC_INPUT_BYTES_MAX,
            State::Region(id) => self.regions.has_room(*id),
            State::Exec(id) => self.execs.has_room(*id) && !sock.out.is_full(),
            _ => false,
        };
        sock.unread = !room;
        let Via::Socket(channel) = &mut sock.via else { return };
        if !room {
            return;
        }
        let (n, bytes) = match channel.read(&mut self.buf, &mut self.plain) {
            Ok((0, _)) => return self.close(key, core),
            Ok(read) => read,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return,
            Err(e) if e.kind() == ErrorKind::Interrupted => {
                sock.unread = true;
                return self.run_later(key);
            }
            Err(_) => return self.close(key, core),
        };
        match (&mut sock.state, &mut sock.ws) {
            (State::Relayed(relayed), _) => relayed.rest.extend_from_slice(bytes),
            (State::Region(id), _) => self.regions.take_input(*id, bytes),
            (_, Some(decoder)) => decoder.feed(bytes),
            _ => {}
        }
        if n == READ_BYTES {
            sock.unread = true;
            self.run_later(key);
        }
        self.hear(key, now, reader, core);
    }

    /// Takes what another agent passes on of what a caller sends.
    pub(super) fn feed_session(
        &mut self,
        key: Key,
        bytes: &[u8],
        now: Now,
        reader: Reader<'_>,
        core: &mut Core,
    ) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        sock.via.owe(bytes.len());
        match (&mut sock.state, &mut sock.ws) {
            (State::Relayed(relayed), _) => relayed.rest.extend_from_slice(bytes),
            (State::Region(id), _) => self.regions.take_input(*id, bytes),
            (_, Some(decoder)) => decoder.feed(bytes),
            _ => {}
        }
        self.hear(key, now, reader, core);
    }

    /// Goes on with what came of a caller.
    fn hear(&mut self, key: Key, now: Now, reader: Reader<'_>, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        match sock.state {
            State::Relayed(_) => self.pass_on(key, core),
            State::Region(_) => self.move_region(key, now, reader, core),
            State::Exec(_) => self.move_exec(key, now, core),
            State::Greeting(_) => {
                let Some(decoder) = &mut sock.ws else { return };
                let message = loop {
                    match decoder.message() {
                        Ok(None) => return,
                        Ok(Some((Kind::Ping | Kind::Pong, _))) => {}
                        Ok(Some((Kind::Close, _))) => return self.close(key, core),
                        Ok(Some((_, message))) => break Ok(message),
                        Err(fault) => break Err(fault),
                    }
                };
                let State::Greeting(begun) = std::mem::take(&mut sock.state) else { return };
                let (form, mut req) = *begun;
                if let Some(timer) = sock.timer.take() {
                    self.wheel.cancel(timer);
                }
                let greeted = message.map_err(|Fault(code, text)| (code, text.to_owned()));
                let greeted = greeted.and_then(|m| greet(&m, &mut req).map_err(|e| (REFUSED, e)));
                match greeted {
                    Ok(()) => self.admit(key, form, req, now, reader, core),
                    Err((code, text)) => end(sock, code, &text),
                }
            }
            _ => {}
        }
        self.flush(key, now, core);
    }

    /// Sends on what a caller has sent to the agent that answers it.
    pub(super) fn pass_on(&mut self, key: Key, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Relayed(relayed) = &mut sock.state else { return };
        if let Some(link) = core.mesh.link(relayed.link) {
            relayed.rest.drain(..link.send(relayed.stream, &relayed.rest));
        }
        if relayed.rest.len() < EXEC_INPUT_BYTES_MAX {
            self.more_input(key, core);
        }
    }

    /// There is room for more of what the caller sends.
    pub(super) fn more_input(&mut self, key: Key, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        if let Via::Link { link, stream, owed, .. } = &mut sock.via
            && let Some(link) = core.mesh.link(*link)
        {
            link.grant(*stream, std::mem::take(owed) as usize);
        }
        if sock.unread {
            self.run_later(key);
        }
    }

    /// Runs a command beside a task of this node.
    pub(super) fn begin_exec(
        &mut self,
        key: Key,
        form: Form,
        request: ExecRequest,
        now: Now,
        core: &mut Core,
    ) {
        let begun = match &core.client {
            Some(client) => {
                let dir = client.exec_dir(&request.alloc, &request.task);
                dir.and_then(|dir| self.execs.begin(key, dir, &request))
            }
            None => Err(ApiError::not_found("No path to node")),
        };
        match begun {
            Err(e) => self.answer(key, form, e.into(), &core.info),
            Ok(id) => {
                let ExecRequest { alloc, task, command, .. } = request;
                log::info!("running {command:?} in task {task} of allocation {alloc}");
                if let Some(sock) = self.socks.get_mut(key) {
                    self.meters.answered(101, sock.asked.take());
                    sock.state = State::Exec(id);
                }
                self.move_exec(key, now, core);
            }
        }
    }

    /// Something happened on what a command is known by.
    pub(super) fn exec_ready(&mut self, index: usize, now: Now, core: &mut Core) {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let id = self.execs.table.key_at(index);
        if let Some(key) = id.and_then(|id| self.execs.table.get(id)).map(|e| e.sock) {
            self.move_exec(key, now, core);
            self.flush(key, now, core);
        }
    }

    /// Moves what can be moved between a command and its caller.
    pub(super) fn move_exec(&mut self, key: Key, now: Now, core: &mut Core) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        let State::Exec(id) = sock.state else { return };
        let Self { execs: Execs { table, registry }, .. } = self;
        let (Some(exec), Some(registry)) = (table.get_mut(id), registry) else { return };
        if let Err(fault) = exec.hear_caller(sock) {
            return self.end_exec(key, Some((fault.0, fault.1.to_owned())));
        }
        exec.hear_executor(registry, tokens::of(tokens::EXECS, id));
        exec.write_input();
        let drained = exec.read_outputs(sock);
        let late = exec.linger_until.is_some_and(|until| until <= now.mono_ns);
        let open = exec.outputs.iter().any(Option::is_some);
        match &exec.ended {
            Some(Ok(_)) if exec.tty && open && drained && !late => {
                // The last output comes with the end of the terminal, a moment after the exit.
                let until = now.mono_ns.saturating_add(EXEC_TTY_LINGER_NS);
                let known = exec.linger_until.replace(exec.linger_until.unwrap_or(until));
                if known.is_none() {
                    self.wheel.insert(until, Timer::Exec(key));
                }
            }
            Some(Ok(code)) if drained => {
                let code = *code;
                for at in 0..2 {
                    exec.close_output(at, sock);
                }
                let result =
                    if code == 0 { String::new() } else { format!("\"exit_code\":{code}") };
                say(sock, &format!("{{\"exited\":true,\"result\":{{{result}}}}}"));
                return self.end_exec(key, None);
            }
            Some(Err(error)) => {
                let error = error.clone();
                return self.end_exec(key, Some((FAILED, error)));
            }
            _ => {}
        }
        let (room, stuck) = (exec.has_room(), !drained);
        if room {
            self.more_input(key, core);
        }
        if stuck {
            // What filled the connection may leave at once, and then no event tells of room.
            self.flush(key, now, core);
            if self.socks.get(key).is_some_and(|s| !s.out.is_full()) {
                self.run_later(key);
            }
        }
    }

    /// A command is over: its caller is told why where it did not end by itself.
    pub(super) fn end_exec(&mut self, key: Key, why: Option<(u16, String)>) {
        let Some(sock) = self.socks.get_mut(key) else { return };
        if let State::Exec(id) = std::mem::take(&mut sock.state) {
            self.execs.end(id);
        }
        match why {
            Some((code, reason)) => end(sock, code, &reason),
            None => {
                sock.closing = true;
                sock.linger = !sock.via.is_link();
            }
        }
    }
}

/// Reads the greeting of a caller, and takes the token out of it.
fn greet(message: &[u8], req: &mut Request) -> Result<(), String> {
    let greeting: Greeting = json::decode(message).map_err(|e| e.to_string())?;
    if greeting.version != 1 {
        return Err(format!("unexpected handshake value: {}", greeting.version));
    }
    let token = greeting.auth_token;
    if req.token.as_ref().is_some_and(|header| *header != token) {
        return Err("handshake auth token mismatched auth header token".to_owned());
    }
    // It travels on in the head of a request.
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("ACL token not found".to_owned());
    }
    req.token = Some(token).filter(|t| !t.is_empty());
    Ok(())
}

/// Queues a message for a caller.
fn say(sock: &mut Sock, message: &str) {
    let mut frame = Vec::with_capacity(message.len() + 10);
    websocket::write(Kind::Text, message.as_bytes(), None, &mut frame);
    sock.out.copy(&frame);
}

/// Ends the conversation with a caller.
fn end(sock: &mut Sock, code: u16, reason: &str) {
    let mut frame = Vec::new();
    websocket::write_close(code, reason, None, &mut frame);
    sock.out.copy(&frame);
    sock.state = State::Idle;
    sock.closing = true;
    sock.linger = !sock.via.is_link();
}

impl Execs {
    fn begin(&mut self, sock: Key, run_dir: &str, request: &ExecRequest) -> Result<Key, ApiError> {
        if self.table.len() >= EXECS_MAX {
            return Err(ApiError::failed(format!("{EXECS_MAX} commands run already")));
        }
        let failed = |e: std::io::Error| {
            ApiError::failed(format!("the executor of the task: {}", os::error_text(&e)))
        };
        let talk = spawn::dial(Path::new(run_dir)).map_err(failed)?;
        let [command, args @ ..] = request.command.as_slice() else {
            return Err(ApiError::bad("command is not present"));
        };
        let tty = request.tty;
        let command = ExecutorCmd::Exec { command: command.clone(), args: args.to_vec(), tty };
        let Some(registry) = &self.registry else { return Err(ApiError::failed("no registry")) };
        let id = self.table.insert(Exec {
            sock,
            talk,
            lines: Lines::default(),
            said: Vec::new(),
            command: Some(command),
            tty,
            input: None,
            outputs: [None, None],
            fds: Vec::new(),
            attached: false,
            waiting: Vec::new(),
            input_ends: false,
            size: None,
            ended: None,
            linger_until: None,
        });
        let token = tokens::of(tokens::EXECS, id);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Some(exec) = self.table.get_mut(id)
            && let Err(e) = registry.register(&mut exec.talk, token, interest)
        {
            self.end(id);
            return Err(failed(e));
        }
        Ok(id)
    }

    fn has_room(&self, id: Key) -> bool {
        self.table.get(id).is_some_and(Exec::has_room)
    }

    /// Lets go of a command. Where it still runs its executor ends it.
    pub(super) fn end(&mut self, id: Key) {
        drop(self.table.remove(id));
    }
}

impl Exec {
    /// More input can be taken.
    fn has_room(&self) -> bool {
        self.waiting.len() < EXEC_INPUT_BYTES_MAX
    }

    /// Takes the messages of the caller.
    fn hear_caller(&mut self, sock: &mut Sock) -> Result<(), Fault> {
        while self.has_room() {
            let Some(decoder) = &mut sock.ws else { break };
            match decoder.message()? {
                None => break,
                Some((Kind::Close, _)) => return Err(Fault(1000, "")),
                Some((Kind::Pong, _)) => {}
                Some((Kind::Ping, payload)) => {
                    let mut frame = Vec::new();
                    websocket::write(Kind::Pong, &payload, None, &mut frame);
                    sock.out.copy(&frame);
                }
                Some((Kind::Text | Kind::Binary, message)) => {
                    let wrong = |_| Fault(REFUSED, "a message is not what was asked for");
                    let input: Input = json::decode(&message).map_err(wrong)?;
                    if let Some(stdin) = input.stdin
                        && !self.input_ends
                        && self.ended.is_none()
                    {
                        self.waiting.extend_from_slice(&stdin.data.0);
                        self.input_ends |= stdin.close;
                    }
                    if let Some(size) = input.tty_size {
                        let cut = |n: i64| u16::try_from(n.max(0)).unwrap_or(u16::MAX);
                        self.size = Some((cut(size.height), cut(size.width)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes what the executor says, and the descriptors that come with it.
    fn hear_executor(&mut self, registry: &Registry, token: Token) {
        let mut buffer = [0; 4096];
        while self.ended.is_none() {
            match fdpass::receive(self.talk.as_fd(), &mut buffer, &mut self.fds) {
                Ok(0) => self.fail("the task has ended"),
                Ok(n) => self.lines.feed(buffer.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.fail("the task has ended"),
            }
            loop {
                match self.lines.message::<ExecutorEvent>() {
                    Ok(Some(event)) => self.told(event, registry, token),
                    Ok(None) => break,
                    Err(e) => self.fail(&format!("the executor speaks strangely: {e}")),
                }
            }
        }
        while !self.said.is_empty() {
            match self.talk.write(&self.said) {
                Ok(n) if n > 0 => drop(self.said.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Its end shows where it is read from.
                _ => break,
            }
        }
    }

    fn fail(&mut self, why: &str) {
        self.ended.get_or_insert_with(|| Err(why.to_owned()));
    }

    fn told(&mut self, event: ExecutorEvent, registry: &Registry, token: Token) {
        match event {
            ExecutorEvent::Hello { proto, .. } if proto < PROTO_EXEC => {
                self.fail("the task was started by an earlier version: restart it");
            }
            ExecutorEvent::Hello { .. } => {
                if let Some(command) = self.command.take() {
                    write_line(&command, &mut self.said);
                }
            }
            ExecutorEvent::Attached if !self.attached => {
                if let Err(e) = self.attach(registry, token) {
                    self.fail(&os::error_text(&e));
                }
            }
            ExecutorEvent::Ran { id, code, error, .. } if id.is_empty() => {
                let outcome = if error.is_empty() { Ok(code) } else { Err(error) };
                self.ended.get_or_insert(outcome);
            }
            ExecutorEvent::StartFailed { .. } => self.fail("the task has ended"),
            // Of the task and of others; the end of this command is told apart.
            _ => {}
        }
    }

    fn attach(&mut self, registry: &Registry, token: Token) -> std::io::Result<()> {
        self.attached = true;
        let mut files = std::mem::take(&mut self.fds).into_iter().map(File::from);
        self.input = files.next();
        self.outputs = if self.tty {
            [self.input.as_ref().map(File::try_clone).transpose()?, None]
        } else {
            [files.next(), files.next()]
        };
        let all = self.input.iter().map(|f| (f, Interest::WRITABLE));
        let outputs = self.outputs.iter().flatten().map(|f| (f, Interest::READABLE));
        for (file, interest) in all.chain(outputs) {
            registry.register(&mut SourceFd(&file.as_raw_fd()), token, interest)?;
        }
        Ok(())
    }

    /// Gives the command what it takes of its input.
    fn write_input(&mut self) {
        if !self.attached {
            return;
        }
        let Some(mut input) = self.input.as_ref() else {
            self.waiting = Vec::new();
            return;
        };
        if let Some((rows, columns)) = self.size.take()
            && self.tty
            && let Err(e) = terminal::set_size(input.as_fd(), rows, columns)
        {
            log::debug!("the size of a terminal was not set: {e}");
        }
        if self.input_ends && self.tty && !self.waiting.ends_with(&[END_OF_INPUT]) {
            self.waiting.push(END_OF_INPUT);
        }
        while !self.waiting.is_empty() {
            match input.write(&self.waiting) {
                Ok(n) if n > 0 => drop(self.waiting.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                // It takes no more, as programs may.
                _ => {
                    self.input = None;
                    self.waiting = Vec::new();
                    return;
                }
            }
        }
        self.waiting = Vec::new();
        if self.input_ends {
            self.input = None;
        }
    }

    /// Sends on what the command writes, until the connection is full; false where more may wait.
    fn read_outputs(&mut self, sock: &mut Sock) -> bool {
        let mut piece = [0; PIECE_BYTES];
        for at in 0..2 {
            while let Some(mut file) = self.outputs.get(at).and_then(Option::as_ref) {
                if sock.out.is_full() {
                    return false;
                }
                match file.read(&mut piece) {
                    Ok(0) => self.close_output(at, sock),
                    Ok(n) => {
                        let data = Bytes::encode(piece.get(..n).unwrap_or_default());
                        say(sock, &format!("{{\"{}\":{{\"data\":\"{data}\"}}}}", name(at)));
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    // Nobody holds the terminal now; to let go of it would end the command.
                    Err(_) if self.tty && self.ended.is_none() => break,
                    Err(_) => self.close_output(at, sock),
                }
            }
        }
        true
    }

    /// Tells the end of an output, once.
    fn close_output(&mut self, at: usize, sock: &mut Sock) {
        if self.outputs.get_mut(at).and_then(Option::take).is_some() {
            say(sock, &format!("{{\"{}\":{{\"close\":true}}}}", name(at)));
        }
    }
}

fn name(at: usize) -> &'static str {
    if at == 0 { "stdout" } else { "stderr" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_bring_a_token_and_nothing_else() {
        let try_out = |message: &str, header: Option<&str>| {
            let mut req = Request::default();
            req.token = header.map(str::to_owned);
            greet(message.as_bytes(), &mut req).map(|()| req.token)
        };
        let token = |t: &str| Ok(Some(t.to_owned()));
        assert_eq!(try_out(r#"{"version":1,"auth_token":"abc"}"#, None), token("abc"));
        assert_eq!(try_out(r#"{"version":1,"auth_token":"abc"}"#, Some("abc")), token("abc"));
        assert_eq!(try_out(r#"{"version":1}"#, None), Ok(None));
        for (message, header, why) in [
            (r#"{"version":2}"#, None, "unexpected handshake value: 2"),
            (r#"{"version":1,"auth_token":"a\r\nHost: b"}"#, None, "ACL token not found"),
            (
                r#"{"version":1,"auth_token":"a"}"#,
                Some("b"),
                "handshake auth token mismatched auth header token",
            ),
        ] {
            assert_eq!(try_out(message, header), Err(why.to_owned()));
        }
        assert!(try_out("{", None).is_err());
    }
}
