//! The event stream: the last changes, and where each subscriber stands in them.
//!
//! A change is printed once, when its first reader comes to it; readers that want all of it share
//! the bytes. Memory is bounded by the number of changes kept and by their bytes: a reader that
//! falls behind the oldest is cut off and has to subscribe anew.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::acl::{Acl, Level, ns, var};
use crate::api::{AclAuthMethod, Variable};
use crate::limits::EVENT_BYTES_MAX;
use crate::stdx::json::{self, Any};
use crate::store::{Change, ChangedRow, Table, splice};

/// The changes that are kept.
#[derive(Debug)]
pub struct Ring {
    batches: VecDeque<Batch>,
    /// Number of the first batch.
    first: u64,
    bytes: usize,
    batches_max: usize,
    /// What is known of those who want the same, the last ones who asked.
    idle: VecDeque<Idle>,
}

/// Nothing between two numbers of batches is wanted by a part of the subscribers.
#[derive(Debug)]
struct Idle {
    part: Part,
    from: u64,
    to: u64,
}

/// Parts of subscribers that are remembered.
const IDLE_MAX: usize = 32;

#[derive(Debug)]
struct Batch {
    index: u64,
    bytes: usize,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Nobody has read it.
    Rows(Vec<ChangedRow>),
    Events {
        all: Vec<Event>,
        /// The line for those who want all.
        whole: Rc<[u8]>,
        /// The line for the last who wanted a part: who asks next mostly asks the same.
        part: Option<(Part, Rc<[u8]>)>,
    },
}

/// Names are JSON text with its quotes, so that they are compared without being read.
#[derive(Debug)]
struct Event {
    topic: &'static str,
    key: Box<[u8]>,
    namespace: Box<[u8]>,
    filter_keys: Vec<Box<[u8]>>,
    text: Box<[u8]>,
}

/// Whose line a part is: everyone's with these topics, this namespace and these rights.
#[derive(Debug)]
struct Part {
    topics: Vec<(String, Vec<u8>)>,
    namespace: Option<Vec<u8>>,
    acl: Option<Rc<Acl>>,
}

impl Part {
    fn of(s: &Subscriber) -> Self {
        let (topics, namespace) = (s.topics.clone(), s.namespace.clone());
        Self { topics, namespace, acl: s.acl.clone() }
    }

    fn is_for(&self, s: &Subscriber) -> bool {
        let same = match (&self.acl, &s.acl) {
            (None, None) => true,
            (Some(a), Some(b)) => Rc::ptr_eq(a, b),
            _ => false,
        };
        same && self.namespace == s.namespace && self.topics == s.topics
    }
}

/// One subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Topic and key; `*` is any.
    topics: Vec<(String, Vec<u8>)>,
    /// `None`: all.
    namespace: Option<Vec<u8>>,
    next: u64,
    /// What may be heard; `None`: everything.
    pub acl: Option<Rc<Acl>>,
}

/// What a subscriber is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Line(Rc<[u8]>),
    /// Nothing new.
    Idle,
    /// What it wants next is gone.
    Cut,
}

impl Ring {
    /// Keeps so many changes.
    pub fn new(batches_max: usize) -> Self {
        let (batches, idle) = (VecDeque::new(), VecDeque::new());
        Self { batches, first: 0, bytes: 0, batches_max, idle }
    }

    /// Takes new changes. While readers are behind who shall hear of all, more than the number are
    /// kept; never more than the bytes.
    pub fn push(&mut self, changes: Vec<Change>, behind: bool) {
        for change in changes {
            let bytes = change.rows.iter().map(|r| r.json.len() + ROW_BYTES).sum();
            self.bytes += bytes;
            let form = Form::Rows(change.rows);
            self.batches.push_back(Batch { index: change.index, bytes, form });
            let most = if behind { usize::MAX } else { self.batches_max };
            while self.batches.len() > most || self.bytes > EVENT_BYTES_MAX {
                let Some(old) = self.batches.pop_front() else { break };
                self.bytes -= old.bytes;
                self.first += 1;
            }
        }
    }

    /// Whether there may be more for a subscriber.
    pub fn has_more(&self, s: &Subscriber) -> bool {
        s.next < self.end()
    }

    /// Where a subscriber may go on, by what others who want the same have found.
    fn skip(&mut self, s: &mut Subscriber) {
        for idle in self.idle.iter().filter(|i| (i.from..i.to).contains(&s.next)) {
            if idle.part.is_for(s) {
                s.next = idle.to;
                return;
            }
        }
    }

    /// A subscriber found nothing between two batches.
    fn learn(&mut self, s: &Subscriber, from: u64, to: u64) {
        if from == to {
            return;
        }
        if let Some(idle) = self.idle.iter_mut().find(|i| i.part.is_for(s)) {
            if !(idle.from..=idle.to).contains(&from) {
                idle.from = from;
            }
            idle.to = to;
            return;
        }
        if self.idle.len() == IDLE_MAX {
            self.idle.pop_front();
        }
        self.idle.push_back(Idle { part: Part::of(s), from, to });
    }

    fn end(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    /// A subscriber from an index on: the oldest change that is not before it; the newest where
    /// all are. `namespace`: `*` is all; `topics`: topic and key, either may be `*`.
    pub fn subscribe(
        &self,
        topics: &[(String, String)],
        namespace: &str,
        index: u64,
    ) -> Subscriber {
        let before = self.batches.iter().take_while(|b| b.index < index).count();
        // What is kept for those who are behind is not for who comes new.
        let oldest = self.batches.len().saturating_sub(self.batches_max);
        let at = before.max(oldest).min(self.batches.len().saturating_sub(1));
        let key = |k: &str| if k == ANY { ANY.into() } else { json::encode(&k) };
        Subscriber {
            topics: topics.iter().map(|(t, k)| (t.clone(), key(k))).collect(),
            namespace: (namespace != ANY).then(|| json::encode(&namespace)),
            next: self.first + at as u64,
            acl: None,
        }
    }

    /// The next line for a subscriber, who moves on.
    pub fn next(&mut self, s: &mut Subscriber) -> Next {
        self.skip(s);
        let from = s.next;
        while s.next < self.end() {
            let Some(at) = s.next.checked_sub(self.first) else { return Next::Cut };
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let Some(batch) = self.batches.get_mut(at) else { return Next::Idle };
            s.next += 1;
            if let Some(line) = batch.line(s) {
                self.learn(s, from, s.next - 1);
                return Next::Line(line);
            }
        }
        self.learn(s, from, s.next);
        Next::Idle
    }
}

impl Batch {
    fn line(&mut self, s: &Subscriber) -> Option<Rc<[u8]>> {
        let index = self.index;
        if let Form::Rows(rows) = &mut self.form {
            let rows = std::mem::take(rows);
            let all: Vec<Event> = rows.into_iter().filter_map(|r| print(r, index)).collect();
            let whole = line(all.iter(), index);
            self.form = Form::Events { all, whole, part: None };
        }
        let Form::Events { all, whole, part } = &mut self.form else { return None };
        if let Some((_, line)) = part.as_ref().filter(|(part, _)| part.is_for(s)) {
            return (!line.is_empty()).then(|| Rc::clone(line));
        }
        let wanted: Vec<&Event> = all.iter().filter(|e| s.wants(e)).collect();
        let text = match wanted.len() {
            0 => Rc::default(),
            n if n == all.len() => Rc::clone(whole),
            _ => line(wanted.into_iter(), index),
        };
        *part = Some((Part::of(s), Rc::clone(&text)));
        (!text.is_empty()).then_some(text)
    }
}

/// Whether topics may be followed in a namespace at all; `*`: in any.
pub fn may_hear(a: &Acl, topics: &[&str], namespace: &str) -> bool {
    topics.iter().all(|topic| match *topic {
        "Variable" => a.any_variable(namespace, var::LIST),
        topic => may_hear_of(a, topic, namespace),
    })
}

/// What a topic needs (contract: events).
fn may_hear_of(a: &Acl, topic: &str, namespace: &str) -> bool {
    match topic {
        "Deployment" | "Evaluation" | "Allocation" | "Job" | "Service" | "CSIPlugin" => {
            a.namespace(namespace, ns::READ_JOB)
        }
        "HostVolume" => a.namespace(namespace, ns::HOST_VOLUME_READ),
        "CSIVolume" => a.namespace(namespace, ns::CSI_READ_VOLUME),
        "Node" => a.node(Level::Read),
        "Operator" => a.operator(Level::Read),
        _ => false,
    }
}

impl Event {
    fn may_be_heard(&self, a: &Acl) -> bool {
        let text = |json: &[u8]| json::decode::<String>(json).unwrap_or_default();
        let namespace = text(&self.namespace);
        match self.topic {
            "Variable" => a.variable(&namespace, &text(&self.key), var::LIST),
            topic => may_hear_of(a, topic, &namespace),
        }
    }
}

impl Subscriber {
    /// The topics that are followed.
    pub fn topics(&self) -> Vec<&str> {
        self.topics.iter().map(|(topic, _)| topic.as_str()).collect()
    }

    /// The namespace that is followed; `*`: all.
    pub fn space(&self) -> String {
        match &self.namespace {
            None => ANY.to_owned(),
            Some(name) => json::decode(name).unwrap_or_default(),
        }
    }

    fn wants(&self, e: &Event) -> bool {
        let here =
            self.namespace.as_ref().is_none_or(|n| e.namespace.len() <= 2 || **n == *e.namespace);
        here && self.acl.as_deref().is_none_or(|a| e.may_be_heard(a))
            && self.topics.iter().any(|(topic, key)| {
                (topic == ANY || topic == e.topic)
                    && (key == ANY.as_bytes()
                        || **key == *e.key
                        || e.filter_keys.iter().any(|k| **k == **key))
            })
    }
}

fn line<'e>(events: impl Iterator<Item = &'e Event>, index: u64) -> Rc<[u8]> {
    let mut out = b"{\"Events\":[".to_vec();
    for (i, event) in events.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&event.text);
    }
    out.extend_from_slice(format!("],\"Index\":{index}}}\n").as_bytes());
    out.into()
}

/// Topic, name of the key's field, and fields that are further keys.
fn shape(table: Table) -> Option<(&'static str, &'static str, &'static [&'static str])> {
    Some(match table {
        Table::Job => ("Job", "ID", &[]),
        Table::Eval => ("Evaluation", "ID", &["JobID", "DeploymentID"]),
        Table::Alloc => ("Allocation", "ID", &["JobID", "DeploymentID"]),
        Table::Deployment => ("Deployment", "ID", &["JobID"]),
        Table::Node => ("Node", "ID", &[]),
        Table::NodePool => ("NodePool", "Name", &[]),
        Table::Service => ("Service", "ID", &["JobID", "ServiceName"]),
        Table::Variable => ("Variable", "Path", &[]),
        Table::Token => ("ACLToken", "AccessorID", &[]),
        Table::Policy => ("ACLPolicy", "Name", &[]),
        Table::Role => ("ACLRole", "ID", &["Name"]),
        Table::AuthMethod => ("ACLAuthMethod", "Name", &[]),
        Table::BindingRule => ("ACLBindingRule", "ID", &["AuthMethod"]),
        Table::Volume => ("HostVolume", "ID", &["ID", "Name", "PluginID"]),
        _ => return None,
    })
}

/// An auth method as it may be shown.
pub fn redacted(mut method: AclAuthMethod) -> AclAuthMethod {
    if let Some(config) = &mut method.config {
        if !config.oidc_client_secret.is_empty() {
            "redacted".clone_into(&mut config.oidc_client_secret);
        }
        if let Some(Any::Map(assertion)) = &mut config.oidc_client_assertion {
            for secret in ["ClientSecret", "PrivateKey"] {
                if let Some(value) = assertion.get_mut(secret) {
                    *value = Any::Text("redacted".to_owned());
                }
            }
        }
    }
    method
}

fn print(row: ChangedRow, index: u64) -> Option<Event> {
    let (topic, mut key, filters) = shape(row.table)?;
    let mut object = row.json.into_vec();
    let mut payload: &[u8] = topic.as_bytes();
    let mut flags = String::new();
    match row.table {
        Table::Variable => {
            // What it holds is told to nobody.
            let variable: Variable = json::decode(&object).ok()?;
            let (data, items, key_id) = Default::default();
            object = json::encode(&Variable { data, items, key_id, ..variable });
            payload = b"Metadata";
            flags = format!("\"Deleted\":{},", row.deleted);
        }
        // Secrets are told to nobody.
        Table::Token => object = splice::replace(&object, "SecretID", b"\"\"")?,
        Table::AuthMethod => {
            object = json::encode(&redacted(json::decode(&object).ok()?));
            payload = b"AuthMethod";
        }
        Table::Volume => {
            payload = b"Volume";
            // As the reference: found by its further keys alone.
            if row.deleted {
                key = "";
            }
        }
        Table::Job if row.deleted => flags = "\"Deleted\":true,".to_owned(),
        _ => {}
    }
    let field = |name: &str| splice::field(&object, name).unwrap_or(b"\"\"");
    let has_namespace = !topic.starts_with("ACL") && !topic.starts_with("Node");
    let namespace = if has_namespace { field("Namespace") } else { b"\"\"" };
    let key = field(key);
    let filter_keys: Vec<Box<[u8]>> = filters.iter().map(|f| field(f).into()).collect();
    let mut text = b"{\"FilterKeys\":".to_vec();
    if filter_keys.is_empty() {
        text.extend_from_slice(b"null");
    } else {
        text.push(b'[');
        text.extend_from_slice(&filter_keys.join(&b","[..]));
        text.push(b']');
    }
    text.extend_from_slice(format!(",\"Index\":{index},\"Key\":").as_bytes());
    text.extend_from_slice(key);
    text.extend_from_slice(b",\"Namespace\":");
    text.extend_from_slice(namespace);
    text.extend_from_slice(format!(",\"Payload\":{{{flags}\"").as_bytes());
    text.extend_from_slice(payload);
    text.extend_from_slice(b"\":");
    text.extend_from_slice(&object);
    text.extend_from_slice(
        format!("}},\"Topic\":\"{topic}\",\"Type\":\"{}\"}}", row.kind).as_bytes(),
    );
    let (key, namespace) = (key.into(), namespace.into());
    Some(Event { topic, key, namespace, filter_keys, text: text.into() })
}

/// Any topic, key or namespace.
const ANY: &str = "*";
/// What a row costs beyond its bytes.
const ROW_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str, namespace: &str) -> ChangedRow {
        let json = format!("{{\"ID\":\"{id}\",\"Namespace\":\"{namespace}\"}}");
        let json = json.into_bytes().into();
        ChangedRow { table: Table::Job, kind: "JobRegistered", deleted: false, json }
    }

    fn change(index: u64, rows: Vec<ChangedRow>) -> Change {
        Change { index, rows }
    }

    fn topics(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(t, k)| ((*t).to_owned(), (*k).to_owned())).collect()
    }

    fn read(ring: &mut Ring, s: &mut Subscriber) -> Vec<String> {
        let mut out = Vec::new();
        while let Next::Line(line) = ring.next(s) {
            out.push(String::from_utf8(line.to_vec()).unwrap());
        }
        out
    }

    fn indexes(ring: &mut Ring, all: &[(&str, &str)], namespace: &str, from: u64) -> Vec<String> {
        let mut s = ring.subscribe(&topics(all), namespace, from);
        let lines = read(ring, &mut s);
        let index = |l: &String| l.rsplit_once(":").unwrap().1.trim_end_matches("}\n").to_owned();
        lines.iter().map(index).collect()
    }

    #[test]
    fn lines_as_recorded() {
        let mut ring = Ring::new(10);
        let eval = br#"{"DeploymentID":"","ID":"e","JobID":"web","Namespace":"default"}"#;
        let variable = concat!(
            r#"{"CreateIndex":1,"CreateTime":2,"Items":{"password":"hunter2"},"ModifyIndex":1,"#,
            r#""ModifyTime":2,"Namespace":"default","Path":"a/b"}"#
        );
        let row = |table, json: &[u8], deleted| ChangedRow {
            table,
            kind: "X",
            deleted,
            json: json.into(),
        };
        ring.push(
            vec![change(
                7,
                vec![
                    row(Table::Eval, eval, false),
                    row(Table::Variable, variable.as_bytes(), true),
                    row(Table::Job, br#"{"ID":"web","Namespace":"n"}"#, true),
                    row(Table::Node, br#"{"ID":"d"}"#, false),
                ],
            )],
            false,
        );
        let mut s = ring.subscribe(&topics(&[("*", "*")]), "*", 0);
        let lines = read(&mut ring, &mut s);
        assert_eq!(lines.len(), 1);
        let expected = concat!(
            r#"{"Events":[{"FilterKeys":["web",""],"Index":7,"Key":"e","Namespace":"default","#,
            r#""Payload":{"Evaluation":{"DeploymentID":"","ID":"e","JobID":"web","#,
            r#""Namespace":"default"}},"Topic":"Evaluation","Type":"X"},"#,
            r#"{"FilterKeys":null,"Index":7,"Key":"a/b","Namespace":"default","Payload":{"#,
            r#""Deleted":true,"Metadata":{"CreateIndex":1,"CreateTime":2,"ModifyIndex":1,"#,
            r#""ModifyTime":2,"Namespace":"default","Path":"a/b"}},"Topic":"Variable","#,
            r#""Type":"X"},"#,
            r#"{"FilterKeys":null,"Index":7,"Key":"web","Namespace":"n","Payload":{"#,
            r#""Deleted":true,"Job":{"ID":"web","Namespace":"n"}},"Topic":"Job","Type":"X"},"#,
            r#"{"FilterKeys":null,"Index":7,"Key":"d","Namespace":"","#,
            r#""Payload":{"Node":{"ID":"d"}},"Topic":"Node","Type":"X"}],"Index":7}"#,
            "\n"
        );
        assert_eq!(lines[0], expected);
        assert_eq!(ring.next(&mut s), Next::Idle);
    }

    #[test]
    fn only_what_is_asked_for() {
        let mut ring = Ring::new(10);
        let node =
            ChangedRow { table: Table::Node, json: br#"{"ID":"d"}"#[..].into(), ..job("", "") };
        let service = ChangedRow {
            table: Table::Service,
            json: br#"{"ID":"s","JobID":"web","Namespace":"default","ServiceName":"api"}"#[..]
                .into(),
            ..job("", "")
        };
        ring.push(
            vec![
                change(1, vec![job("web", "default")]),
                change(2, vec![job("web", "other")]),
                change(3, vec![node]),
                change(4, vec![job("db", "default"), service]),
            ],
            false,
        );
        for (asked, namespace, found) in [
            (&[("*", "*")][..], "*", &["1", "2", "3", "4"][..]),
            (&[("*", "*")], "default", &["1", "3", "4"]),
            (&[("Job", "*")], "other", &["2"]),
            (&[("Job", "web")], "*", &["1", "2"]),
            (&[("Service", "api")], "default", &["4"]),
            (&[("Service", "web"), ("Node", "*")], "default", &["3", "4"]),
            (&[("Nope", "*")], "*", &[]),
        ] {
            assert_eq!(indexes(&mut ring, asked, namespace, 0), found, "{asked:?} {namespace}");
        }
        let mut s = ring.subscribe(&topics(&[("Service", "*")]), "*", 4);
        let line = read(&mut ring, &mut s).remove(0);
        assert!(line.contains("\"Service\":") && !line.contains("\"Job\":"), "{line}");
    }

    #[test]
    fn where_a_subscriber_begins_and_when_it_is_cut_off() {
        let mut ring = Ring::new(3);
        let all = topics(&[("*", "*")]);
        let mut early = ring.subscribe(&all, "*", 0);
        assert_eq!(ring.next(&mut early), Next::Idle);
        ring.push((1..=3).map(|i| change(i * 10, vec![job("a", "n")])).collect(), false);
        let mut slow = early.clone();
        assert_eq!(read(&mut ring, &mut early).len(), 3);
        for (from, found) in
            [(0, &["10", "20", "30"][..]), (20, &["20", "30"]), (21, &["30"]), (99, &["30"])]
        {
            assert_eq!(indexes(&mut ring, &[("*", "*")], "*", from), found, "{from}");
        }
        ring.push(vec![change(40, vec![job("a", "n")])], false);
        assert_eq!(ring.next(&mut slow), Next::Cut);
        assert_eq!(read(&mut ring, &mut early).len(), 1);
        // While some are behind more is kept for them, and not for who comes new.
        let mut slow = early.clone();
        ring.push((5..=9).map(|i| change(i * 10, vec![job("a", "n")])).collect(), true);
        assert_eq!(indexes(&mut ring, &[("*", "*")], "*", 0), ["70", "80", "90"]);
        assert_eq!(read(&mut ring, &mut slow).len(), 5);
        ring.push(vec![change(100, vec![job("a", "n")])], false);
        assert_eq!(ring.batches.len(), 3);
        // The bytes are bounded too.
        let big = format!("{{\"ID\":\"{}\"}}", "x".repeat(EVENT_BYTES_MAX / 2));
        let row = ChangedRow { json: big.into_bytes().into(), ..job("", "") };
        ring.push((15..18).map(|i| change(i * 10, vec![row.clone()])).collect(), true);
        assert_eq!(ring.batches.len(), 1);
    }
}
