//! Objects that all regions share, taken over from the authoritative one by the leader of another.
//!
//! Each table is read in rounds: pages of names, with the rows that changed since the last round;
//! the next round waits for a change. What a page says of its stretch of names is made true here:
//! rows that differ are written, those that are gone removed. Nothing is remembered over a change
//! of leaders but what is in the state: the next leader compares everything once, and writes only
//! what differs.

use serde::Serialize;

use super::core::{Core, Waiter};
use super::relay::HTTP;
use super::remote;
use crate::api::{
    AclAuthMethod, AclBindingRule, AclPolicy, AclRole, AclToken, Namespace, NodePool,
};
use crate::command::{Applied, Command};
use crate::http::query::escape;
use crate::limits::{REPLICA_ANSWER_MAX, REPLICA_COMPARED_MAX, SECOND};
use crate::link::{Event, StreamId, words};
use crate::routes::replica::{Page, SHARED, is_shared};
use crate::routes::table::REPLICA;
use crate::stdx::slab::Key;
use crate::stdx::{Now, json, uuid};
use crate::store::{Reader, StoreError, Table, splice};

/// Pauses between rounds, between pages, and after a fault, in nanoseconds.
const ROUND_NS: u64 = SECOND / 10;
const PAGE_NS: u64 = SECOND / 50;
const FAULT_NS: u64 = 5 * SECOND;

/// What a table waits for.
enum At {
    /// To ask, at this mono ns.
    Rest(u64),
    /// The answer over a link.
    Asked(Key, StreamId, Vec<u8>),
    /// So many writes.
    Writing(usize),
}

struct Pull {
    table: Table,
    at: At,
    /// The other region's index of what was taken over; 0: nothing yet.
    since: u64,
    /// That of the round under way.
    index: u64,
    /// Where the next page begins.
    after: String,
    /// Something of the round could not be written: it is all compared again.
    refused: bool,
}

/// Tables that are taken over.
pub(super) struct Replicas {
    /// A management token of the authoritative region; may be empty.
    pub(super) token: String,
    pulls: Vec<Pull>,
}

impl Replicas {
    pub(super) fn new(token: String) -> Self {
        Self { token, pulls: Vec::new() }
    }

    /// Mono ns at which [`Core::tend_replicas`] has something to do.
    pub(super) fn deadline(&self) -> Option<u64> {
        let due = |p: &Pull| match p.at {
            At::Rest(due) => Some(due),
            _ => None,
        };
        self.pulls.iter().filter_map(due).min()
    }

    fn of(&mut self, key: Key, id: StreamId) -> Option<usize> {
        let is_it = |p: &Pull| matches!(p.at, At::Asked(k, i, _) if (k, i) == (key, id));
        self.pulls.iter().position(is_it)
    }
}

impl Pull {
    fn new(table: Table) -> Self {
        let after = String::new();
        Self { table, at: At::Rest(0), since: 0, index: 0, after, refused: false }
    }

    /// What was asked last came to nothing: it is asked again.
    fn fail(&mut self, now: Now) {
        self.after.clear();
        self.at = At::Rest(now.mono_ns + FAULT_NS);
    }

    /// A page is done with.
    fn go_on(&mut self, now: Now) {
        if !self.after.is_empty() {
            self.at = At::Rest(now.mono_ns + PAGE_NS);
        } else if std::mem::take(&mut self.refused) {
            self.since = 0;
            self.at = At::Rest(now.mono_ns + FAULT_NS);
        } else {
            self.since = self.index;
            self.at = At::Rest(now.mono_ns + ROUND_NS);
        }
    }

    /// The bytes of the next request.
    fn request(&self, token: &str) -> Vec<u8> {
        let (table, since) = (self.table.name(), self.since);
        let mut target = format!("{REPLICA}?stale&table={table}&since={since}");
        match self.after.as_str() {
            "" => target.push_str(&format!("&index={since}&wait=5m")),
            after => target.push_str(&format!("&after={}", escape(after))),
        }
        let mut head = format!("GET {target} HTTP/1.1\r\nHost: vardo\r\n");
        if !token.is_empty() {
            head.push_str(&format!("X-Nomad-Token: {token}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }
}

impl Core {
    /// Asks for what is due, where this server leads a region that takes over from another.
    pub(super) fn tend_replicas(&mut self, now: Now) {
        let info = &self.info;
        let other = !info.authoritative_region.is_empty();
        if !info.leads || !other || info.authoritative_region == info.region {
            for pull in std::mem::take(&mut self.replicas.pulls) {
                if let At::Asked(key, id, _) = pull.at
                    && let Some(link) = self.mesh.link(key)
                {
                    link.reset(id);
                }
            }
            return;
        }
        if self.replicas.pulls.is_empty() {
            let all = info.acl.enabled;
            let tables = SHARED.into_iter().filter(|t| all || Table::ACL & t.bit() == 0);
            self.replicas.pulls = tables.map(Pull::new).collect();
        }
        for at in 0..self.replicas.pulls.len() {
            self.pull(now, at);
        }
    }

    fn pull(&mut self, now: Now, at: usize) {
        let to = self.mesh.alive(&self.info.authoritative_region).next();
        let Some(pull) = self.replicas.pulls.get_mut(at) else { return };
        if !matches!(pull.at, At::Rest(due) if due <= now.mono_ns) {
            return;
        }
        pull.at = At::Rest(now.mono_ns + SECOND);
        let request = pull.request(&self.replicas.token);
        let hops = 1u64.to_le_bytes();
        let Some((to, link)) = to.and_then(|to| self.mesh.link(to).map(|link| (to, link))) else {
            return;
        };
        let Some(id) = link.open(words::join(&[HTTP, &hops])) else { return };
        if link.send(id, &request) < request.len() {
            return link.reset(id);
        }
        pull.at = At::Asked(to, id, Vec::new());
    }

    /// Something happened on a stream; true where it is one of a table.
    pub(super) fn replica_event(
        &mut self,
        now: Now,
        reader: Reader<'_>,
        key: Key,
        event: &Event,
    ) -> bool {
        let Some(id) = event.stream() else { return false };
        let Some(at) = self.replicas.of(key, id) else { return false };
        let Some(pull) = self.replicas.pulls.get_mut(at) else { return false };
        let (At::Asked(_, _, answer), Some(link)) = (&mut pull.at, self.mesh.link(key)) else {
            return false;
        };
        match event {
            Event::Data(_, bytes) if answer.len() < REPLICA_ANSWER_MAX => {
                answer.extend_from_slice(bytes);
                link.grant(id, bytes.len());
            }
            Event::Data(..) => {
                log::warn!("too much came of {}", pull.table.name());
                link.reset(id);
                pull.fail(now);
            }
            Event::End(_) => {
                link.end(id);
                let answer = std::mem::take(answer);
                self.take_page(now, reader, at, &answer);
            }
            Event::Reset(_) => pull.fail(now),
            _ => {}
        }
        true
    }

    /// The link over which a table was asked for is down.
    pub(super) fn replica_link_lost(&mut self, now: Now, key: Key) {
        for pull in &mut self.replicas.pulls {
            if matches!(pull.at, At::Asked(k, ..) if k == key) {
                pull.fail(now);
                // Another server may be there.
                pull.at = At::Rest(now.mono_ns + ROUND_NS);
            }
        }
    }

    fn take_page(&mut self, now: Now, reader: Reader<'_>, at: usize, answer: &[u8]) {
        let Some(pull) = self.replicas.pulls.get_mut(at) else { return };
        let (region, name) = (&self.info.authoritative_region, pull.table.name());
        let page = match remote::parse(answer) {
            Some((200, index, body)) => json::decode(body).ok().map(|page: Page| (index, page)),
            Some((status, _, body)) => {
                let text = String::from_utf8_lossy(body);
                log::warn!("{name} of region {region} is not told: {status} {text}");
                return pull.fail(now);
            }
            None => None,
        };
        let Some((index, mut page)) = page else {
            log::warn!("what region {region} says of {name} makes no sense");
            return pull.fail(now);
        };
        if pull.after.is_empty() {
            pull.index = index;
        }
        match changes(reader, pull.table, &pull.after, &mut page) {
            Ok(commands) => {
                pull.after = page.next;
                match commands.len() {
                    0 => pull.go_on(now),
                    n => pull.at = At::Writing(n),
                }
                for command in commands {
                    self.propose(command, Waiter::Replica(at));
                }
            }
            Err(e) => {
                log::error!("{name} cannot be compared: {e}");
                pull.fail(now);
            }
        }
    }

    /// One of the writes of a page is done; `None`: nobody knows what became of it.
    pub(super) fn replica_written(&mut self, now: Now, at: usize, applied: Option<&Applied>) {
        let Some(pull) = self.replicas.pulls.get_mut(at) else { return };
        let At::Writing(left) = &mut pull.at else { return };
        *left = left.saturating_sub(1);
        if let Some(Applied::Refused(e)) = applied {
            log::warn!("a change of {} is not taken over: {}", pull.table.name(), e.text);
        }
        pull.refused |= matches!(applied, None | Some(Applied::Refused(_)));
        if *left == 0 {
            pull.go_on(now);
        }
    }
}

/// What makes the rows from a name on be as a page says. What is gone goes first: it may stand in
/// the way of what came. Where many rows stand here, the page is cut: the rest is asked for again.
fn changes(
    reader: Reader<'_>,
    table: Table,
    after: &str,
    page: &mut Page,
) -> Result<Vec<Command>, StoreError> {
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let start = (!after.is_empty()).then_some(after.as_bytes());
    for (seen, pair) in reader.scan(table, &[], start, false)?.enumerate() {
        let (key, row) = pair?;
        let key = String::from_utf8_lossy(key);
        if !page.next.is_empty() && *key >= *page.next {
            break;
        }
        if seen == REPLICA_COMPARED_MAX {
            page.next = key.into_owned();
            break;
        }
        let known = page.keys.binary_search_by(|k| k.as_str().cmp(&key)).is_ok();
        if !known && is_shared(table, row.json) {
            gone.push(key.into_owned());
        }
    }
    for json in &page.rows {
        let name = splice::field(json.as_bytes(), member(table));
        let name: Option<String> = name.and_then(|n| json::decode(n).ok());
        let within = |name: &String| page.next.is_empty() || *name < page.next;
        let Some(name) = name.filter(within) else { continue };
        let Some(json) = as_own(table, json) else {
            log::warn!("{name:?} of {} is not taken over: it makes no sense", table.name());
            continue;
        };
        let old = reader.row(table, &crate::store::keys::name(&name))?;
        if old.is_none_or(|old| !is_same(old.json, &json)) {
            new.push(json);
        }
    }
    let mut out = Vec::new();
    match table {
        Table::Namespace => {
            let region = String::new();
            let delete = |name| Command::NamespaceDelete { name, region: region.clone() };
            out.extend(gone.into_iter().map(delete));
            let put = |text: String| {
                Some(Command::NamespaceUpsert {
                    namespace: Box::new(json::decode(text.as_bytes()).ok()?),
                })
            };
            out.extend(new.into_iter().filter_map(put));
        }
        Table::NodePool => {
            let region = String::new();
            let delete = |name| Command::NodePoolDelete { name, region: region.clone() };
            out.extend(gone.into_iter().map(delete));
            let put = |text: String| {
                Some(Command::NodePoolUpsert {
                    pool: Box::new(json::decode(text.as_bytes()).ok()?),
                })
            };
            out.extend(new.into_iter().filter_map(put));
        }
        _ => {
            let table = table.name().to_owned();
            if !gone.is_empty() {
                out.push(Command::AclDelete { table: table.clone(), ids: gone });
            }
            if !new.is_empty() {
                out.push(Command::AclPut { table, rows: new });
            }
        }
    }
    Ok(out)
}

/// A row as this program writes it, for nothing in the log may be what the store cannot take;
/// `None`: it is no row of the table.
fn as_own(table: Table, json: &str) -> Option<String> {
    fn read<T: json::Decode + Default + Serialize>(text: &str) -> Option<Vec<u8>> {
        json::decode::<T>(text.as_bytes()).ok().map(|row| json::encode(&row))
    }
    let own = match table {
        Table::Policy => read::<AclPolicy>(json),
        Table::Role => read::<AclRole>(json),
        Table::AuthMethod => read::<AclAuthMethod>(json),
        Table::BindingRule => read::<AclBindingRule>(json),
        Table::Token => {
            let token = json::decode(json.as_bytes()).ok();
            let has_ids =
                |t: &AclToken| uuid::is_uuid(&t.accessor_id) && uuid::is_uuid(&t.secret_id);
            token.filter(has_ids).map(|token| json::encode(&token))
        }
        Table::Namespace => read::<Namespace>(json),
        Table::NodePool => read::<NodePool>(json),
        _ => None,
    };
    String::from_utf8(own?).ok()
}

/// What names a row of a table.
fn member(table: Table) -> &'static str {
    match table {
        Table::Token => "AccessorID",
        Table::Role | Table::BindingRule => "ID",
        _ => "Name",
    }
}

/// The same but for the indexes, which each region has of its own.
fn is_same(own: &[u8], other: &str) -> bool {
    let mut other = Some(other.as_bytes().to_vec());
    for name in ["CreateIndex", "ModifyIndex"] {
        let index = splice::field(own, name).unwrap_or(b"0");
        other = other.and_then(|o| splice::replace(&o, name, index));
    }
    other.is_some_and(|o| o == own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Options, Store};

    /// What the store could not take or read again never comes into the log.
    #[test]
    fn what_makes_no_sense_is_left_out() {
        let id = "00000000-0000-4000-8000-000000000000";
        for (table, bad) in [
            (Table::Token, format!(r#"{{"AccessorID":"{id}","Global":true}}"#)),
            (Table::Token, format!(r#"{{"AccessorID":"{id}","SecretID":"x"}}"#)),
            (Table::Token, format!(r#"{{"AccessorID":"{id}","SecretID":"{id}","Policies":5}}"#)),
            (Table::Policy, r#"{"Name":"p","Rules":[]}"#.to_owned()),
            (Table::Role, r#"{"ID":"r","Name":{}}"#.to_owned()),
            (Table::AuthMethod, r#"{"Name":"m","Default":"x"}"#.to_owned()),
            (Table::BindingRule, "[]".to_owned()),
            (Table::Job, "{}".to_owned()),
        ] {
            assert_eq!(as_own(table, &bad), None, "{bad}");
        }
        let row = as_own(Table::Policy, r#"{"Name":"p","Rules":"","Of a later version":1}"#);
        assert!(row.is_some_and(|r| r.contains(r#""ModifyIndex":0"#) && !r.contains("later")));
    }

    /// Rows of this region alone, however many, are passed by in steps, and stay; of the others
    /// each is compared once.
    #[test]
    fn many_rows_of_its_own_take_many_turns() {
        let dir = std::env::temp_dir().join(format!("vardo-replicate-{}", std::process::id()));
        let mut store = Store::open(&dir, Options { sync: false, ..Options::default() }).unwrap();
        let id = |n: usize| format!("{n:08}-0000-4000-8000-000000000000");
        let row = |n: usize, global: bool| {
            let id = id(n);
            format!(
                r#"{{"AccessorID":"{id}","SecretID":"{id}","Type":"client","Global":{global}}}"#
            )
        };
        // The last two are known nowhere else.
        let count = 2 * REPLICA_COMPARED_MAX + 2;
        let rows = (0..count).map(|n| row(n, n >= count - 2)).collect();
        let mut batch = store.batch().unwrap();
        batch.apply(1, &Command::AclPut { table: "token".to_owned(), rows }).unwrap();
        batch.commit().unwrap();
        let snap = store.snap().unwrap();
        // New ones before, between and behind those that are passed by.
        let new = [0, REPLICA_COMPARED_MAX, count + 5];
        let (mut after, mut puts, mut gone, mut turns) = (String::new(), vec![], vec![], 0);
        loop {
            let told = new.iter().filter(|n| *id(**n) >= *after);
            let mut page = Page {
                keys: told.clone().map(|n| id(*n)).collect(),
                next: String::new(),
                rows: told.map(|n| row(*n, true)).collect(),
            };
            for command in changes(snap.reader(), Table::Token, &after, &mut page).unwrap() {
                match command {
                    Command::AclPut { rows, .. } => puts.extend(rows),
                    Command::AclDelete { ids, .. } => gone.extend(ids),
                    other => panic!("{other:?}"),
                }
            }
            turns += 1;
            after = page.next;
            if after.is_empty() {
                break;
            }
        }
        assert_eq!(turns, 3);
        assert_eq!(puts, new.map(|n| as_own(Table::Token, &row(n, true)).unwrap()));
        assert_eq!(gone, [id(count - 2), id(count - 1)]);
        drop(snap);
        drop(store);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
