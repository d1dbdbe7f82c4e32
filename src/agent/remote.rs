//! The node and the servers: in this process where this server leads, else over a link.
//!
//! What a node says is a command without the parts that the leader fills in, sent as a request to a
//! path that exists on links only; what it is to run is a blocking query for its allocations. Both
//! find the leader as every request does. Nothing is forgotten when a link breaks: what was not
//! answered is said again over the next one.

use std::collections::VecDeque;
use std::rc::Rc;

use super::core::{Core, Waiter};
use super::relay::HTTP;
use super::serve::{self, Form, Verdict};
use crate::api::{Allocation, ApiError, Job, Node, SignedIdentity, status};
use crate::client::{ClientInput, Inquiry, Told};
use crate::command::Command;
use crate::http::Request;
use crate::limits::{HTTP_BODY_BYTES_MAX, SECOND};
use crate::link::{Event, StreamId, words};
use crate::routes::table::NODE;
use crate::routes::{Answer, Params, Watch, introduced};
use crate::server::identity::{BEING_MADE, Issuer, sign, sign_node};
use crate::server::introduction::Enforcement;
use crate::stdx::json::records;
use crate::stdx::slab::Key;
use crate::stdx::{BTreeMap, Now, json, same_secret, uuid};
use crate::store::{Reader, Table, Touched, keys};

/// Reports that wait for a server. More are dropped; the node then tells everything anew.
const QUEUE_MAX: usize = 256;
/// Behind the time that a heartbeat is answered with: the node was taken for lost.
const AGAIN: &str = " again";
/// Allocations whose identities are signed in one turn of the loop for the node of this agent.
const SIGNED_PER_TURN: usize = 8;
/// How a node's description of itself begins.
const REGISTER: &[u8] = b"{\"NodeRegister\"";
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

/// What a request is about.
enum Topic {
    /// What is said again if no answer comes.
    Say(Rc<[u8]>),
    /// The query for allocations.
    Pull,
    /// A question of the node, by its number.
    Ask(u64, Inquiry),
}

/// One request that is not answered yet.
struct Asked {
    topic: Topic,
    /// Bytes that the stream had no credit for.
    rest: Vec<u8>,
    answer: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Remote {
    at: At,
    queue: VecDeque<Rc<[u8]>>,
    open: BTreeMap<StreamId, Asked>,
    /// What the node asks besides, not sent yet.
    questions: Vec<(u64, Inquiry)>,
    /// Questions to this server that wait for a change.
    held: Vec<(u64, Inquiry, Watch)>,
    pulling: bool,
    /// Index of the allocations that the node was shown.
    index: u64,
    /// Nothing is asked before this, mono ns.
    pause: u64,
    dropped: bool,
    /// Shown to servers that do not know this node.
    pub(super) intro: String,
}

impl Remote {
    /// Mono ns at which something is to be asked.
    pub(super) fn deadline(&self) -> Option<u64> {
        let open = !self.pulling || !self.queue.is_empty();
        let waits = matches!(self.at, At::Link(_)) && open;
        waits.then_some(self.pause)
    }

    /// Something is to be asked, of this server too.
    pub(super) fn has_questions(&self) -> bool {
        !self.questions.is_empty()
    }

    pub(super) fn question(&mut self, id: u64, question: Inquiry) {
        self.questions.push((id, question));
    }

    /// Questions that a commit may have changed are asked again.
    pub(super) fn touched(&mut self, touched: &Touched) {
        for (id, question, watch) in std::mem::take(&mut self.held) {
            let woken = match &watch {
                _ if touched.replaced => true,
                Watch::Tables(mask) => touched.tables & mask != 0,
                Watch::Row(table, row) => {
                    let is_it = |(t, r): &(Table, Box<[u8]>)| t == table && r == row;
                    touched.tables & table.bit() != 0 && touched.rows.iter().any(is_it)
                }
            };
            match woken {
                true => self.questions.push((id, question)),
                false => self.held.push((id, question, watch)),
            }
        }
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
    pub(super) fn tend_node(&mut self, now: Now, reader: Reader<'_>) {
        if self.info.node_id.is_empty() {
            return;
        }
        let at = self.servers_at();
        if at != self.remote.at {
            let lost = self.leave_servers();
            self.remote.at = at;
            for id in lost {
                self.client_input(now, ClientInput::Told(id, None));
            }
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
        let mut signed = 0;
        for (id, question) in std::mem::take(&mut self.remote.questions) {
            let signs = matches!(question, Inquiry::Identities { .. }) && at == At::Here;
            signed += usize::from(signs);
            match at {
                // A signature is a millisecond of work. The others have the next turns.
                _ if signs && signed > SIGNED_PER_TURN => self.remote.question(id, question),
                At::Nowhere => self.client_input(now, ClientInput::Told(id, None)),
                At::Here => self.answer_node(now, reader, id, question),
                At::Link(link) => {
                    if self.ask(link, Topic::Ask(id, question)).is_some() {
                        self.client_input(now, ClientInput::Told(id, None));
                    }
                }
            }
        }
        let At::Link(link) = at else { return };
        if self.remote.pause > now.mono_ns {
            return;
        }
        while let Some(command) = self.remote.queue.pop_front() {
            if let Some(Topic::Say(command)) = self.ask(link, Topic::Say(command)) {
                self.remote.queue.push_front(command);
                break;
            }
        }
        if !self.remote.pulling {
            self.remote.pulling = self.ask(link, Topic::Pull).is_none();
        }
    }

    /// A question of this server's own node.
    fn answer_node(&mut self, now: Now, reader: Reader<'_>, id: u64, question: Inquiry) {
        let told = match &question {
            Inquiry::Identities { alloc } => {
                let node = self.info.node_id.clone();
                let signed = self.signed(now, reader, &node, alloc);
                signed.map_or_else(Answer::from, |all| Answer::json(&all))
            }
            Inquiry::Node => {
                let node = self.info.node_id.clone();
                let signed = self.signed_node(now, reader, &node);
                signed.map_or_else(Answer::from, |one| Answer::json(&one))
            }
            Inquiry::Get { target, token, .. } => match Request::get(target, token) {
                Some(request) => self.answer_read(now, reader, &request),
                None => Answer::text(400, "the node asks for what cannot be asked for"),
            },
            Inquiry::File { .. } => return,
        };
        if let Inquiry::Get { index, .. } = &question
            && *index > 0
            && told.status < 500
            && told.index.is_some_and(|i| i <= *index)
            && let Some(watch) = told.watch
        {
            return self.remote.held.push((id, question, watch));
        }
        let index = told.index.unwrap_or(0);
        let told = Told { status: told.status, index, body: told.body.as_slice().to_vec() };
        self.client_input(now, ClientInput::Told(id, Some(told)));
    }

    fn answer_read(&mut self, now: Now, reader: Reader<'_>, request: &Request) -> Answer {
        let params = match Params::parse(request.path(), request.query()) {
            Ok(params) => params,
            Err(e) => return e.into(),
        };
        let (info, entropy) = self.for_routes();
        match serve::run(now, reader, info, entropy, request, &params, &[]) {
            Verdict::Answer(answer) => answer,
            _ => Answer::text(400, "only reads are for a node to ask"),
        }
    }

    /// The node is not interested in an answer any more.
    pub(super) fn forget_question(&mut self, id: u64) {
        let remote = &mut self.remote;
        remote.questions.retain(|(q, _)| *q != id);
        remote.held.retain(|(q, ..)| *q != id);
        let is_it = |asked: &Asked| matches!(asked.topic, Topic::Ask(q, _) if q == id);
        let stream = remote.open.iter().find(|(_, a)| is_it(a)).map(|(stream, _)| *stream);
        let Some(stream) = stream else { return };
        remote.open.remove(&stream);
        if let At::Link(link) = remote.at
            && let Some(link) = self.mesh.link(link)
        {
            link.reset(stream);
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

    /// What was said and not answered is said again elsewhere; the questions of the node come back.
    fn leave_servers(&mut self) -> Vec<u64> {
        let link = match self.remote.at {
            At::Link(link) => self.mesh.link(link),
            At::Here | At::Nowhere => None,
        };
        let open = std::mem::take(&mut self.remote.open);
        if let Some(link) = link {
            open.keys().for_each(|stream| link.reset(*stream));
        }
        let mut lost: Vec<u64> = self.remote.held.drain(..).map(|(id, ..)| id).collect();
        for asked in open.into_values().rev() {
            match asked.topic {
                Topic::Say(command) => self.remote.queue.push_front(command),
                Topic::Ask(id, _) => lost.push(id),
                Topic::Pull => {}
            }
        }
        self.remote.pulling = false;
        self.remote.index = 0;
        self.remote.pause = 0;
        lost
    }

    /// Sends one request; what it is about comes back where it cannot be sent now.
    fn ask(&mut self, to: Key, topic: Topic) -> Option<Topic> {
        let Some(client) = &self.client else { return Some(topic) };
        let (node, pulled) = (&self.info.node_id, self.remote.index);
        let secret = client.secret();
        let (target, token) = match &topic {
            Topic::Say(body) if body.starts_with(REGISTER) => {
                (format!("PUT {NODE}?id={node}&intro={}", self.remote.intro), secret)
            }
            Topic::Say(_) => (format!("PUT {NODE}?id={node}"), secret),
            Topic::Pull => {
                (format!("GET /v1/node/{node}/allocations?index={pulled}&wait=5m"), secret)
            }
            Topic::Ask(_, Inquiry::Identities { alloc }) => {
                (format!("GET {NODE}?id={node}&sign={alloc}"), secret)
            }
            Topic::Ask(_, Inquiry::Node) => (format!("GET {NODE}?id={node}&sign="), secret),
            // The node reads its files itself.
            Topic::Ask(_, Inquiry::File { .. }) => return None,
            Topic::Ask(_, Inquiry::Get { target, token, index }) => {
                let more = if target.contains('?') { '&' } else { '?' };
                (format!("GET {target}{more}index={index}&wait=5m"), &**token)
            }
        };
        let mut head = format!("{target} HTTP/1.1\r\nHost: vardo\r\n");
        if !token.is_empty() {
            head.push_str(&format!("X-Nomad-Token: {token}\r\n"));
        }
        let mut request = match &topic {
            Topic::Say(body) => {
                head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
                [head.as_bytes(), body].concat()
            }
            Topic::Pull | Topic::Ask(..) => [head.as_bytes(), b"\r\n"].concat(),
        };
        let hops = 1u64.to_le_bytes();
        let link = self.mesh.link(to);
        let opened = link.and_then(|l| l.open(words::join(&[HTTP, &hops])).map(|id| (l, id)));
        let Some((link, stream)) = opened else { return Some(topic) };
        request.drain(..link.send(stream, &request));
        let asked = Asked { topic, rest: request, answer: Vec::new() };
        self.remote.open.insert(stream, asked);
        None
    }

    /// Something happened on a stream; true where it is one of the node's.
    pub(super) fn remote_event(&mut self, now: Now, key: Key, event: &Event) -> bool {
        let Some(id) = event.stream() else { return false };
        let Some(asked) = self.remote.open.get_mut(&id).filter(|_| self.remote.at == At::Link(key))
        else {
            return false;
        };
        let Some(link) = self.mesh.link(key) else { return false };
        match event {
            Event::Data(_, bytes) if asked.answer.len() < HTTP_BODY_BYTES_MAX => {
                asked.answer.extend_from_slice(bytes);
                link.grant(id, bytes.len());
                return true;
            }
            Event::Writable(_) => {
                asked.rest.drain(..link.send(id, &asked.rest));
                return true;
            }
            Event::End(_) => link.end(id),
            _ => link.reset(id),
        }
        if let Some(asked) = self.remote.open.remove(&id) {
            self.answered(now, asked);
        }
        true
    }

    fn answered(&mut self, now: Now, asked: Asked) {
        let parsed = parse(&asked.answer);
        let (status, index, body) = parsed.unwrap_or((500, 0, b""));
        let command = match asked.topic {
            Topic::Ask(id, _) => {
                let told = |(status, index, body): (_, _, &[u8])| Told {
                    status,
                    index,
                    body: body.to_vec(),
                };
                return self.client_input(now, ClientInput::Told(id, parsed.map(told)));
            }
            Topic::Say(command) => Some(command),
            Topic::Pull => {
                self.remote.pulling = false;
                None
            }
        };
        if status != 200 {
            let text = String::from_utf8_lossy(body);
            log::warn!("the servers refuse what the node asks for: {status} {text}");
            self.remote.pause = now.mono_ns + PAUSE_NS;
            if status < 500 {
                // They do not know this node, or not as this one.
                self.client_input(now, ClientInput::ServerLost);
            } else if let Some(command) = command {
                self.remote.queue.push_front(command);
            }
            return;
        }
        let Some(command) = command else {
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
            let register = command.starts_with(REGISTER);
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
    /// A node that is not here asks who the tasks of an allocation are, or without one who it is.
    ///
    /// # Errors
    /// It does not prove that it is this node, or has no such allocation.
    pub(super) fn sign_for(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        (node, secret): (&str, &str),
        alloc: &str,
    ) -> Result<Answer, ApiError> {
        let key = keys::by_uuid(node).ok_or_else(|| ApiError::bad("malformed node id"))?;
        let known = reader.secret(Table::Node, &key)?;
        if secret.is_empty() || known.is_none_or(|k| !same_secret(k, secret)) {
            return Err(ApiError::new(403, "node secret ID does not match"));
        }
        if alloc.is_empty() {
            return Ok(Answer::json(&self.signed_node(now, reader, node)?));
        }
        Ok(Answer::json(&self.signed(now, reader, node, alloc)?))
    }

    fn signed_node(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        node: &str,
    ) -> Result<SignedIdentity, ApiError> {
        let issuer = Issuer { region: &self.info.region, url: &self.info.oidc_issuer };
        sign_node(reader, now, &mut *self.entropy, issuer, node)
    }

    fn signed(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        node: &str,
        alloc: &str,
    ) -> Result<Vec<SignedIdentity>, ApiError> {
        let issuer = Issuer { region: &self.info.region, url: &self.info.oidc_issuer };
        let signed = sign(reader, now, &mut *self.entropy, issuer, (node, alloc));
        if let Err(e) = &signed
            && e.status == BEING_MADE
            && let Some(server) = &mut self.server
        {
            server.press_keys();
        }
        signed
    }

    /// A node that is not here says something. An answer where one is known at once.
    pub(super) fn node_call(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        (conn, form): (Key, Form),
        proof: (&str, &str, &str),
        body: &[u8],
    ) -> Option<Answer> {
        match self.node_said(now, reader, (conn, form), proof, body) {
            Ok(answer) => answer,
            Err(e) => Some(e.into()),
        }
    }

    fn node_said(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        (conn, form): (Key, Form),
        (node, secret, intro): (&str, &str, &str),
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
                if known.is_none() {
                    self.let_in(now, reader, &described, intro)?;
                }
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

    /// A node that is not known is to show a token that introduces it, where that is wanted.
    fn let_in(
        &self,
        now: Now,
        reader: Reader<'_>,
        node: &Node,
        token: &str,
    ) -> Result<(), ApiError> {
        let enforcement = self.info.introduction.enforcement;
        if enforcement == Enforcement::None {
            return Ok(());
        }
        let whom = (node.name.as_str(), node.node_pool.as_str());
        let introduced = introduced(reader, now, &self.info.region, token, whom);
        let Err(why) = introduced else { return Ok(()) };
        if enforcement == Enforcement::Strict {
            return Err(ApiError::new(403, format!("the node is not introduced: {why}")));
        }
        log::warn!("node {} ({}) joins without being introduced: {why}", node.id, node.name);
        Ok(())
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
pub(super) fn parse(answer: &[u8]) -> Option<(u16, u64, &[u8])> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let index = head.lines().filter_map(|l| l.split_once(": ")).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("x-nomad-index").then(|| value.parse().ok())?
    });
    Some((status, index.unwrap_or(0), answer.get(end + 4..)?))
}
