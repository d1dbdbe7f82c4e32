//! The node and the servers: in this process where this server leads, else over a link.
//!
//! What a node says is a command without the parts that the leader fills in, sent as a request to a
//! path that exists on links only; what it is to run is a blocking query for its allocations. Both
//! find the leader as every request does. Nothing is forgotten when a link breaks: what was not
//! answered is said again over the next one.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::core::{Core, Waiter};
use super::relay::HTTP;
use super::serve::Form;
use crate::api::{Allocation, ApiError, Job, status};
use crate::client::ClientInput;
use crate::command::Command;
use crate::limits::{HTTP_BODY_BYTES_MAX, SECOND};
use crate::link::{Event, StreamId, words};
use crate::routes::Answer;
use crate::routes::table::NODE;
use crate::stdx::json::records;
use crate::stdx::slab::Key;
use crate::stdx::{Now, json, same_secret, uuid};
use crate::store::{Reader, Table, keys};

/// Reports that wait for a server. More are dropped; the node then tells everything anew.
const QUEUE_MAX: usize = 256;
/// Behind the time that a heartbeat is answered with: the node was taken for lost.
const AGAIN: &str = " again";
/// Pause after an error, in nanoseconds.
const PAUSE_NS: u64 = SECOND;

/// Where the servers are, as seen from the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Nowhere,
    /// This server leads.
    Here,
    Link(Key),
}

/// One request that is not answered yet.
struct Asked {
    /// What is said again if no answer comes; `None`: the query for allocations.
    command: Option<Rc<[u8]>>,
    /// Bytes that the stream had no credit for.
    rest: Vec<u8>,
    answer: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Remote {
    at: At,
    queue: VecDeque<Rc<[u8]>>,
    open: BTreeMap<StreamId, Asked>,
    pulling: bool,
    /// Index of the allocations that the node was shown.
    index: u64,
    /// Nothing is asked before this, mono ns.
    pause: u64,
    dropped: bool,
}

impl Remote {
    /// Mono ns at which something is to be asked.
    pub(super) fn deadline(&self) -> Option<u64> {
        let waits = matches!(self.at, At::Link(_)) && (!self.pulling || !self.queue.is_empty());
        waits.then_some(self.pause)
    }

    fn say(&mut self, command: Rc<[u8]>) {
        if self.queue.len() >= QUEUE_MAX {
            self.queue.pop_front();
            self.dropped = true;
        }
        self.queue.push_back(command);
    }
}

/// The node's side.
impl Core {
    /// The node has something to say to the servers.
    pub(super) fn node_says(&mut self, command: Command) {
        if !self.info.leads {
            return self.remote.say(json::encode(&command).into());
        }
        match command {
            Command::NodeRegister { .. } => self.propose(command, Waiter::Register(None)),
            Command::NodeStatus { .. } => self.heartbeat_due = true,
            other => self.propose(other, Waiter::Nobody),
        }
    }

    /// Finds the servers and asks them what is to be asked.
    pub(super) fn tend_node(&mut self, now: Now) {
        if self.info.node_id.is_empty() {
            return;
        }
        let at = self.servers_at();
        if at != self.remote.at {
            self.leave_servers();
            self.remote.at = at;
            if at == At::Here {
                for command in std::mem::take(&mut self.remote.queue) {
                    if let Ok(command) = json::decode(&command) {
                        self.node_says(command);
                    }
                }
            }
        }
        if std::mem::take(&mut self.remote.dropped) {
            self.client_input(now, ClientInput::ServerLost);
        }
        let At::Link(link) = at else { return };
        if self.remote.pause > now.mono_ns {
            return;
        }
        while let Some(command) = self.remote.queue.pop_front() {
            self.ask(link, Some(command));
        }
        if !self.remote.pulling {
            self.remote.pulling = true;
            self.ask(link, None);
        }
    }

    fn servers_at(&self) -> At {
        if self.info.leads {
            return At::Here;
        }
        if self.info.server {
            let leader = self.consensus.raft().leader();
            let link = leader.and_then(|l| self.mesh.to_server(l));
            return link.map_or(At::Nowhere, At::Link);
        }
        let all: Vec<Key> = self.mesh.alive(&self.info.region).collect();
        if let At::Link(link) = self.remote.at
            && all.contains(&link)
        {
            return self.remote.at;
        }
        // Nodes spread over the servers by their ids.
        let id = uuid::to_bytes(&self.info.node_id).unwrap_or_default();
        let spread = usize::from(id[0]).checked_rem(all.len());
        spread.and_then(|n| all.get(n)).map_or(At::Nowhere, |link| At::Link(*link))
    }

    /// What is not answered is asked again elsewhere.
    fn leave_servers(&mut self) {
        let link = match self.remote.at {
            At::Link(link) => self.mesh.link(link),
            At::Here | At::Nowhere => None,
        };
        let open = std::mem::take(&mut self.remote.open);
        if let Some(link) = link {
            open.keys().for_each(|stream| link.reset(*stream));
        }
        for asked in open.into_values().rev() {
            if let Some(command) = asked.command {
                self.remote.queue.push_front(command);
            }
        }
        self.remote.pulling = false;
        self.remote.index = 0;
        self.remote.pause = 0;
    }

    fn ask(&mut self, to: Key, command: Option<Rc<[u8]>>) {
        let Some(client) = &self.client else { return };
        let (node, index) = (&self.info.node_id, self.remote.index);
        let secret = client.secret();
        let mut request = match &command {
            Some(body) => format!(
                "PUT {NODE}?id={node} HTTP/1.1\r\nHost: vardo\r\nX-Nomad-Token: {secret}\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            ),
            None => format!(
                "GET /v1/node/{node}/allocations?index={index}&wait=5m HTTP/1.1\r\n\
                 Host: vardo\r\nX-Nomad-Token: {secret}\r\n\r\n"
            ),
        }
        .into_bytes();
        request.extend_from_slice(command.as_deref().unwrap_or_default());
        let hops = 1u64.to_le_bytes();
        let link = self.mesh.link(to);
        let opened = link.and_then(|l| l.open(words::join(&[HTTP, &hops])).map(|id| (l, id)));
        let Some((link, stream)) = opened else {
            self.remote.pulling &= command.is_some();
            self.remote.queue.extend(command);
            return;
        };
        request.drain(..link.send(stream, &request));
        let asked = Asked { command, rest: request, answer: Vec::new() };
        self.remote.open.insert(stream, asked);
    }

    /// Something happened on a stream; true where it is one of the node's.
    pub(super) fn remote_event(&mut self, now: Now, key: Key, event: &Event) -> bool {
        let (Event::Data(id, _) | Event::End(id) | Event::Reset(id) | Event::Writable(id)) = event
        else {
            return false;
        };
        let Some(asked) = self.remote.open.get_mut(id).filter(|_| self.remote.at == At::Link(key))
        else {
            return false;
        };
        let Some(link) = self.mesh.link(key) else { return false };
        match event {
            Event::Data(_, bytes) if asked.answer.len() < HTTP_BODY_BYTES_MAX => {
                asked.answer.extend_from_slice(bytes);
                link.grant(*id, bytes.len());
                return true;
            }
            Event::Writable(_) => {
                asked.rest.drain(..link.send(*id, &asked.rest));
                return true;
            }
            Event::End(_) => link.end(*id),
            _ => link.reset(*id),
        }
        if let Some(asked) = self.remote.open.remove(id) {
            self.answered(now, asked);
        }
        true
    }

    fn answered(&mut self, now: Now, asked: Asked) {
        let (status, index, body) = parse(&asked.answer).unwrap_or((500, 0, b""));
        self.remote.pulling &= asked.command.is_some();
        if status != 200 {
            let text = String::from_utf8_lossy(body);
            log::warn!("the servers refuse what the node asks for: {status} {text}");
            self.remote.pause = now.mono_ns + PAUSE_NS;
            if status < 500 {
                // They do not know this node, or not as this one.
                self.client_input(now, ClientInput::ServerLost);
            } else if let Some(command) = asked.command {
                self.remote.queue.push_front(command);
            }
            return;
        }
        let Some(command) = asked.command else {
            match allocations(body) {
                Ok(allocs) => {
                    self.remote.index = index;
                    self.client_input(now, ClientInput::Allocs(allocs));
                }
                Err(e) => {
                    log::error!("the allocations of this node make no sense: {e}");
                    self.remote.pause = now.mono_ns + PAUSE_NS;
                }
            }
            return;
        };
        let text = std::str::from_utf8(body).unwrap_or_default();
        let (text, again) = match text.strip_suffix(AGAIN) {
            Some(text) => (text, true),
            None => (text, false),
        };
        if again {
            self.client_input(now, ClientInput::ServerLost);
        }
        if let Ok(ttl_ns) = text.parse() {
            self.info.heartbeat_ttl_ns = i64::try_from(ttl_ns).unwrap_or(i64::MAX);
            let register = command.starts_with(b"{\"NodeRegister\"");
            self.client_input(
                now,
                match register {
                    true => ClientInput::Registered { ttl_ns },
                    false => ClientInput::HeartbeatAck { ttl_ns },
                },
            );
        }
    }
}

/// The leader's side.
impl Core {
    /// A node that is not here says something. An answer where one is known at once.
    pub(super) fn node_call(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        (conn, form): (Key, Form),
        (node, secret): (&str, &str),
        body: &[u8],
    ) -> Option<Answer> {
        match self.node_said(now, reader, (conn, form), (node, secret), body) {
            Ok(answer) => answer,
            Err(e) => Some(e.into()),
        }
    }

    fn node_said(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        (conn, form): (Key, Form),
        (node, secret): (&str, &str),
        body: &[u8],
    ) -> Result<Option<Answer>, ApiError> {
        let command: Command = json::decode(body).map_err(|e| ApiError::bad(e.to_string()))?;
        let key = keys::by_uuid(node).ok_or_else(|| ApiError::bad("malformed node id"))?;
        let known = reader.secret(Table::Node, &key)?;
        if known.is_some_and(|k| !same_secret(k, secret)) || secret.is_empty() {
            return Err(ApiError::new(403, "node secret ID does not match"));
        }
        let wall_ns = now.wall_ns;
        match command {
            Command::NodeRegister { node: described, .. } if described.id == node => {
                let (evals, secret) = (Vec::new(), secret.to_owned());
                let command = Command::NodeRegister { node: described, secret, wall_ns, evals };
                self.propose(command, Waiter::Register(Some((conn, form))));
                Ok(None)
            }
            _ if known.is_none() || reader.node(node)?.is_none() => {
                Err(ApiError::not_found("node not found"))
            }
            Command::NodeStatus { .. } => {
                let (ttl_ns, again) = self.heartbeat(now, reader, node);
                let again = if again { AGAIN } else { "" };
                Ok(Some(Answer::text(200, format!("{ttl_ns}{again}"))))
            }
            Command::AllocClientUpdate { mut updates, .. } => {
                // A node speaks of its own allocations only.
                let mut own = Vec::new();
                for update in updates.drain(..) {
                    if reader.alloc(&update.id)?.is_some_and(|a| a.node_id == node) {
                        own.push(update);
                    }
                }
                let command =
                    Command::AllocClientUpdate { updates: own, evals: Vec::new(), wall_ns };
                let reply = Box::new(|_: Reader<'_>, _: u64, _| Ok(Answer::empty()));
                self.propose_for(conn, form, command, reply);
                Ok(None)
            }
            _ => Err(ApiError::bad("not for a node to say")),
        }
    }

    /// A node is heard: how long it may be silent now, and whether it was taken for lost and must
    /// tell everything anew.
    pub(super) fn heartbeat(&mut self, now: Now, reader: Reader<'_>, node: &str) -> (u64, bool) {
        let Some(server) = &mut self.server else { return (0, false) };
        let ttl_ns = server.heartbeat(node, now, &mut *self.entropy);
        let event = crate::api::NodeEvent {
            message: "Node reregistered by heartbeat".to_owned(),
            subsystem: "Cluster".to_owned(),
            timestamp: json::Time(now.wall_ns),
            ..crate::api::NodeEvent::default()
        };
        (ttl_ns, self.node_ready(now, reader, node, Some(event)))
    }
}

/// What a node says to be heard.
pub(super) fn beat(node: &str) -> Command {
    Command::NodeStatus {
        id: node.to_owned(),
        status: status::NODE_READY.to_owned(),
        event: None,
        wall_ns: 0,
        evals: Vec::new(),
    }
}

records! {
/// The part of an allocation that its own row does not hold.
#[derive(Default)]
struct JobOf {
    job: Option<Rc<Job>>,
}
}

/// Allocations as the API answers them, each with the job that it runs.
fn allocations(body: &[u8]) -> Result<Vec<Rc<Allocation>>, json::JsonError> {
    let allocs: Vec<Allocation> = json::decode(body)?;
    let jobs: Vec<JobOf> = json::decode(body)?;
    let with_job = |(mut alloc, of): (Allocation, JobOf)| {
        if let Some(job) = &of.job {
            (alloc.job_version, alloc.job_create_index) = (job.version, job.create_index);
        }
        alloc.job = of.job;
        Rc::new(alloc)
    };
    Ok(allocs.into_iter().zip(jobs).map(with_job).collect())
}

/// Status, index and body of an answer that came whole.
fn parse(answer: &[u8]) -> Option<(u16, u64, &[u8])> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let index = head.lines().filter_map(|l| l.split_once(": ")).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("x-nomad-index").then(|| value.parse().ok())?
    });
    Some((status, index.unwrap_or(0), answer.get(end + 4..)?))
}
