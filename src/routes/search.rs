//! `/v1/search` and `/v1/search/fuzzy`: objects of every kind by the beginning or any part of their
//! names.
//!
//! One table says what can be searched. Each request looks at a bounded number of rows.

use serde_json::{Map, Value, json};

use super::auth::need;
use super::scaling::text;
use super::{Answer, Ctx, Outcome, invalid_method};
use crate::acl::{Acl, Level, ns, pool, var};
use crate::api::{ApiError, Job};
use crate::limits::SEARCH_ROWS_MAX;
use crate::stdx::json::records;
use crate::stdx::{BTreeMap, sort};
use crate::store::{Row, Table, keys, splice};

type Result<T> = std::result::Result<T, ApiError>;

/// What a row is known by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// 16 bytes, printed as a UUID; the namespace stands in the JSON where there is one.
    Uuid { namespaced: bool },
    /// Namespace and name.
    Spaced,
    /// The name of a namespace: visible where the namespace is.
    Namespace,
    /// A name that belongs to no namespace.
    Name,
    /// A name, with the namespace in the JSON under `Target`.
    Policy,
}

/// What the fuzzy search compares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fuzzy {
    /// The beginning of the id, as in the plain search.
    Prefix,
    /// The key's name.
    Key,
    /// `Name` of the object.
    Name,
    /// The job's name, and what is in the job.
    Job,
}

struct Context {
    name: &'static str,
    /// None: nothing of the kind can exist here.
    table: Option<Table>,
    key: Key,
    fuzzy: Fuzzy,
}

const fn c(name: &'static str, table: Option<Table>, key: Key, fuzzy: Fuzzy) -> Context {
    Context { name, table, key, fuzzy }
}

/// In the order in which the API names them.
const CONTEXTS: [Context; 12] = [
    c("allocs", Some(Table::Alloc), Key::Uuid { namespaced: true }, Fuzzy::Name),
    c("jobs", Some(Table::Job), Key::Spaced, Fuzzy::Job),
    c("nodes", Some(Table::Node), Key::Uuid { namespaced: false }, Fuzzy::Name),
    c("node_pools", Some(Table::NodePool), Key::Name, Fuzzy::Key),
    c("evals", Some(Table::Eval), Key::Uuid { namespaced: true }, Fuzzy::Prefix),
    c("deployment", Some(Table::Deployment), Key::Uuid { namespaced: true }, Fuzzy::Prefix),
    c("plugins", None, Key::Name, Fuzzy::Key),
    c("volumes", None, Key::Name, Fuzzy::Prefix),
    c("scaling_policy", Some(Table::ScalingPolicy), Key::Policy, Fuzzy::Prefix),
    c("vars", Some(Table::Variable), Key::Spaced, Fuzzy::Key),
    c("namespaces", Some(Table::Namespace), Key::Namespace, Fuzzy::Key),
    c("host_volumes", Some(Table::Volume), Key::Spaced, Fuzzy::Prefix),
];

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "SearchRequest")]
struct Body {
    prefix: String,
    text: String,
    context: String,
}
}

/// A row that a search may show.
struct Hit<'t> {
    /// Empty for objects that belong to no namespace.
    namespace: String,
    /// Id or name, as it is printed.
    id: String,
    row: Row<'t>,
}

/// `/v1/search`
pub(super) fn prefix(ctx: &mut Ctx<'_>) -> std::result::Result<Outcome, ApiError> {
    let (body, contexts) = asked(ctx)?;
    let mut matches = Map::new();
    let mut truncations = Map::new();
    for context in contexts {
        let uuid = matches!(context.key, Key::Uuid { .. });
        if uuid && !is_uuid_prefix(&body.prefix) {
            continue;
        }
        let (ids, cut) = ids(ctx, context, &body.prefix)?;
        let list = if ids.is_empty() { Value::Null } else { ids.into() };
        matches.insert(context.name.to_owned(), list);
        truncations.insert(context.name.to_owned(), cut.into());
    }
    Ok(answer(ctx, &matches, &truncations).into())
}

/// `/v1/search/fuzzy`
pub(super) fn fuzzy(ctx: &mut Ctx<'_>) -> std::result::Result<Outcome, ApiError> {
    let (body, contexts) = asked(ctx)?;
    let limits = ctx.agent.search;
    if !limits.fuzzy {
        return Err(ApiError::failed("fuzzy search is not enabled"));
    }
    let length = body.text.chars().count();
    if length < limits.term {
        return Err(ApiError::failed(format!(
            "fuzzy search query must be at least {} characters, got {length}",
            limits.term
        )));
    }
    let mut found = Found { text: body.text.to_lowercase(), by_kind: BTreeMap::new() };
    let mut matches = Map::new();
    let mut truncations = Map::new();
    for context in contexts {
        let cut = if context.fuzzy == Fuzzy::Prefix {
            let right = !matches!(context.key, Key::Uuid { .. }) || is_uuid_prefix(&body.text);
            let (ids, cut) =
                if right { ids(ctx, context, &body.text)? } else { (Vec::new(), false) };
            let list: Vec<Value> = ids.into_iter().map(|id| json!({ "ID": id })).collect();
            matches.insert(context.name.to_owned(), list.into());
            cut
        } else {
            let (hits, cut) = hits(ctx, context, "")?;
            for hit in hits {
                found.object(context, &hit);
                if context.fuzzy == Fuzzy::Job
                    && let Some(job) = ctx.reader.job(&hit.namespace, &hit.id)?
                {
                    found.inside(&job);
                }
            }
            cut
        };
        truncations.insert(context.name.to_owned(), cut.into());
    }
    for (kind, mut list) in found.by_kind {
        sort::by(&mut list, Ord::cmp);
        if list.len() > limits.results {
            list.truncate(limits.results);
            truncations.insert(kind.to_owned(), true.into());
        }
        let list: Vec<Value> = list.into_iter().map(|m| m.print()).collect();
        matches.insert(kind.to_owned(), list.into());
    }
    Ok(answer(ctx, &matches, &truncations).into())
}

/// The body of a search, and the contexts that it is about.
fn asked(ctx: &Ctx<'_>) -> Result<(Body, Vec<&'static Context>)> {
    if !ctx.is_write() {
        return Err(invalid_method());
    }
    let body: Body = ctx.body()?;
    let named = |c: &&Context| body.context == "all" || body.context == c.name;
    let mut contexts: Vec<&Context> = CONTEXTS.iter().filter(named).collect();
    if contexts.is_empty() {
        return Err(ApiError::failed(format!(
            "context must be one of [{}] or 'all' for all contexts; got {:?}",
            CONTEXTS.map(|c| c.name).join(" "),
            body.context
        )));
    }
    let space = &ctx.params.namespace;
    contexts.retain(|c| ctx.may(|a| may_search(a, c, space)));
    need(!contexts.is_empty())?;
    Ok((body, contexts))
}

/// Whether anything of a context may be seen, by a request for a namespace.
fn may_search(a: &Acl, context: &Context, space: &str) -> bool {
    match context.name {
        "nodes" => a.node(Level::Read),
        "node_pools" => a.any_node_pool(pool::READ),
        "namespaces" => a.any_in_namespace("*"),
        "vars" => a.any_variable(space, var::LIST),
        "plugins" => a.plugin_list(),
        "volumes" => a.namespace(
            space,
            ns::CSI_LIST_VOLUME | ns::CSI_READ_VOLUME | ns::LIST_JOBS | ns::READ_JOB,
        ),
        "host_volumes" => a.namespace(space, ns::HOST_VOLUME_READ),
        _ => a.namespace(space, ns::READ_JOB),
    }
}

/// Whether one object may be seen.
fn may_see(a: &Acl, context: &Context, hit: &Hit<'_>) -> bool {
    match context.name {
        "nodes" => true,
        "node_pools" => a.node_pool(&hit.id, pool::READ),
        "namespaces" => a.any_in_namespace(&hit.id),
        "vars" => a.variable(&hit.namespace, &hit.id, var::LIST),
        "host_volumes" => a.namespace(&hit.namespace, ns::HOST_VOLUME_READ),
        _ => a.namespace(&hit.namespace, ns::READ_JOB),
    }
}

fn answer(ctx: &Ctx<'_>, matches: &Map<String, Value>, truncations: &Map<String, Value>) -> Answer {
    let tables = CONTEXTS.iter().filter_map(|c| c.table).fold(0, |mask, t| mask | t.bit());
    let index = ctx.reader.tables_index(tables);
    let body = json!({
        "Index": index,
        "KnownLeader": ctx.agent.leader_addr.is_some(),
        "LastContact": ctx.agent.last_contact_ms.saturating_mul(1_000_000),
        "Matches": matches,
        "NextToken": "",
        "Truncations": truncations,
    });
    Answer::json(&body).query(index)
}

/// Whether text may begin a UUID.
fn is_uuid_prefix(text: &str) -> bool {
    text.len() <= 36
        && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && text.bytes().filter(|b| *b == b'-').count() <= 4
}

/// The ids that begin so, and whether there are more.
fn ids(ctx: &Ctx<'_>, context: &Context, prefix: &str) -> Result<(Vec<String>, bool)> {
    let (hits, cut) = hits(ctx, context, prefix)?;
    Ok((hits.into_iter().map(|h| h.id).collect(), cut))
}

/// The first objects of a context whose ids begin so, and whether there are more.
fn hits<'c>(ctx: &Ctx<'c>, context: &Context, prefix: &str) -> Result<(Vec<Hit<'c>>, bool)> {
    let Some(table) = context.table else { return Ok((Vec::new(), false)) };
    let namespace = &ctx.params.namespace;
    let wanted = |of: &str| namespace == "*" || namespace == of;
    let start = match context.key {
        Key::Uuid { .. } => uuid_bytes(prefix),
        Key::Spaced if namespace == "*" => Vec::new(),
        Key::Spaced => keys::job(namespace, prefix),
        Key::Namespace | Key::Name | Key::Policy => prefix.as_bytes().to_vec(),
    };
    let lower = prefix.to_ascii_lowercase();
    let mut out = Vec::new();
    for (looked_at, pair) in ctx.reader.stubs(table, &start, None, false)?.enumerate() {
        let (key, row) = pair?;
        if looked_at >= SEARCH_ROWS_MAX {
            return Ok((out, true));
        }
        let hit = hit(context, key, row);
        let begins = match context.key {
            Key::Uuid { .. } => hit.id.starts_with(&lower),
            _ => hit.id.starts_with(prefix),
        };
        if !begins
            || !(hit.namespace.is_empty() || wanted(&hit.namespace))
            || !ctx.may(|a| may_see(a, context, &hit))
        {
            continue;
        }
        if out.len() == ctx.agent.search.objects {
            return Ok((out, true));
        }
        out.push(hit);
    }
    Ok((out, false))
}

fn hit<'t>(context: &Context, key: &[u8], row: Row<'t>) -> Hit<'t> {
    let (namespace, id) = match context.key {
        Key::Uuid { namespaced } => {
            let id = key.try_into().map(keys::uuid_text).unwrap_or_default();
            let namespace = if namespaced { text(row.json, "Namespace") } else { String::new() };
            (namespace, id)
        }
        Key::Spaced => keys::split(key)
            .map(|(namespace, id)| (namespace.to_owned(), id.to_owned()))
            .unwrap_or_default(),
        Key::Namespace => {
            let name = String::from_utf8_lossy(key).into_owned();
            (name.clone(), name)
        }
        Key::Name => (String::new(), String::from_utf8_lossy(key).into_owned()),
        Key::Policy => {
            let target = splice::field(row.json, "Target").unwrap_or_default();
            (text(target, "Namespace"), String::from_utf8_lossy(key).into_owned())
        }
    };
    Hit { namespace, id, row }
}

/// The bytes that begin all ids with such a prefix: whole ones only.
fn uuid_bytes(prefix: &str) -> Vec<u8> {
    let digits: Vec<u8> = prefix.bytes().filter(|b| *b != b'-').collect();
    let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok();
    digits.chunks_exact(2).map_while(pair).collect()
}

/// One match of a fuzzy search, in the order in which matches are shown.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Match {
    /// Where the text is found in the name.
    at: usize,
    length: usize,
    id: String,
    scope: Vec<String>,
}

impl Match {
    fn print(self) -> Value {
        match self.scope.is_empty() {
            true => json!({ "ID": self.id }),
            false => json!({ "ID": self.id, "Scope": self.scope }),
        }
    }
}

struct Found {
    text: String,
    by_kind: BTreeMap<&'static str, Vec<Match>>,
}

impl Found {
    fn offer(&mut self, kind: &'static str, name: &str, scope: &[&str]) {
        if let Some(at) = name.to_lowercase().find(&self.text) {
            let scope = scope.iter().map(|s| (*s).to_owned()).collect();
            let found = Match { at, length: name.len(), id: name.to_owned(), scope };
            self.by_kind.entry(kind).or_default().push(found);
        }
    }

    fn object(&mut self, context: &Context, hit: &Hit<'_>) {
        let whole = [&*hit.namespace, &*hit.id];
        let scope = match context.key {
            Key::Namespace => &[][..],
            _ if hit.namespace.is_empty() => &whole[1..],
            _ => &whole[..],
        };
        match context.fuzzy {
            Fuzzy::Key => self.offer(context.name, &hit.id, scope),
            _ => self.offer(context.name, &text(hit.row.json, "Name"), scope),
        }
    }

    /// What is in a job: groups, services, tasks, and what tasks run.
    fn inside(&mut self, job: &Job) {
        for g in job.task_groups.iter() {
            let scope = [&*job.namespace, &*job.id];
            self.offer("groups", &g.name, &scope);
            let scope = [&*job.namespace, &*job.id, &*g.name];
            for s in g.services.iter() {
                self.offer("services", &s.name, &scope);
            }
            for t in g.tasks.iter() {
                self.offer("tasks", &t.name, &scope);
                let scope = [&*job.namespace, &*job.id, &*g.name, &*t.name];
                for s in t.services.iter() {
                    self.offer("services", &s.name, &scope);
                }
                let (kind, key) = match t.driver.as_str() {
                    "docker" => ("images", "image"),
                    "exec" | "raw_exec" => ("commands", "command"),
                    "java" => ("classes", "class"),
                    _ => continue,
                };
                if let Some(value) = t.config.get(key).and_then(|v| v.as_str()) {
                    self.offer(kind, value, &scope);
                }
            }
        }
    }
}
