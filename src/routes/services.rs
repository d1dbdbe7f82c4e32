//! `/v1/services` and `/v1/service/*`: what running allocations registered.

use super::auth::need;
use super::page::Page;
use super::{Answer, Ctx, Outcome, Reply, Watch, invalid_method};
use crate::acl::ns;
use crate::api::{ApiError, ServiceRegistration};
use crate::command::{Applied, Command};
use crate::http::{Method, Query};
use crate::stdx::json;
use crate::store::{Reader, Table, keys, splice};

type Result<T = Outcome> = std::result::Result<T, ApiError>;

/// `*` asks for all namespaces.
const ALL: &str = "*";

/// `/v1/services`: names with the tags of all instances, by namespace.
pub(super) fn names(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    let namespace = &ctx.params.namespace;
    need(ctx.may_find(namespace))?;
    let prefix = if namespace == ALL { Vec::new() } else { keys::namespace(namespace) };
    let mut body = String::from("[");
    let (mut last_namespace, mut last_name) = (String::new(), String::new());
    let mut tags: Vec<String> = Vec::new();
    for pair in ctx.reader.scan(Table::Service, &prefix, None, false)? {
        let (_, row) = pair?;
        let s: ServiceRegistration = decode(row.json)?;
        if namespace == ALL && !ctx.may_ns(&s.namespace, ns::READ_JOB) {
            continue;
        }
        if s.namespace != last_namespace || s.service_name != last_name {
            end_name(&mut body, &last_name, &mut tags);
            if s.namespace != last_namespace {
                body.push_str(match last_namespace.as_str() {
                    "" => "{\"Namespace\":",
                    _ => "]},{\"Namespace\":",
                });
                push_json(&mut body, &s.namespace);
                body.push_str(",\"Services\":[");
            } else {
                body.push(',');
            }
            (last_namespace, last_name) = (s.namespace, s.service_name);
        }
        tags.extend(s.tags.iter().cloned());
    }
    end_name(&mut body, &last_name, &mut tags);
    body.push_str(if last_namespace.is_empty() { "]" } else { "]}]" });
    let watch = Watch::Tables(Table::Service.bit());
    let index = ctx.reader.table_index(Table::Service);
    Ok(Answer::bytes(body.into_bytes()).query(index).watching(watch).into())
}

/// Prints one service with its tags, each once.
fn end_name(body: &mut String, name: &str, tags: &mut Vec<String>) {
    if name.is_empty() {
        return;
    }
    tags.sort_unstable();
    tags.dedup();
    body.push_str("{\"ServiceName\":");
    push_json(body, name);
    body.push_str(",\"Tags\":[");
    for (i, tag) in std::mem::take(tags).iter().enumerate() {
        if i > 0 {
            body.push(',');
        }
        push_json(body, tag);
    }
    body.push_str("]}");
}

fn push_json(out: &mut String, text: &str) {
    out.push_str(&String::from_utf8_lossy(&json::encode(&text)));
}

fn decode(json: &[u8]) -> Result<ServiceRegistration> {
    json::decode(json).map_err(|e| ApiError::failed(format!("a stored row is damaged: {e}")))
}

/// `/v1/service/{name}` and `/v1/service/{name}/{id}`
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let (name, id) = match ctx.rest.split('/').collect::<Vec<_>>().as_slice() {
        [name] => (*name, None),
        [name, id] => (*name, Some(*id)),
        _ => return Err(ApiError::bad("invalid URI")),
    };
    match (id, ctx.req.method) {
        (None, Method::Get) => instances(ctx, name),
        (Some(id), Method::Delete) => delete(ctx, id),
        _ => Err(invalid_method()),
    }
}

fn instances(ctx: &Ctx<'_>, name: &str) -> Result {
    if name.is_empty() {
        return Err(ApiError::bad("missing service name"));
    }
    let p = ctx.params;
    need(ctx.may_find(&p.namespace))?;
    let choose = match Query::new(ctx.req.query()).get("choose").filter(|c| !c.is_empty()) {
        None => None,
        Some(text) => Some(Choice::parse(&text)?),
    };
    let prefix = keys::services(&p.namespace, name);
    let start = p.next_token.split_once('.').map(|(_, id)| [&prefix[..], id.as_bytes()].concat());
    let mut page = Page::new::<ServiceRegistration>(p)?;
    let mut chosen = Vec::new();
    let most = usize::try_from(p.per_page).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
    for pair in ctx.reader.scan(Table::Service, &prefix, start.as_deref(), false)? {
        let (_, row) = pair?;
        if !page.passes(row.json)? {
            continue;
        }
        let id = || splice::field(row.json, "ID").unwrap_or_default();
        if choose.is_some() {
            if chosen.len() == most {
                break;
            }
            chosen.push((id(), row.json));
            continue;
        }
        let token = || {
            let id: String = json::decode(id()).unwrap_or_default();
            format!("{}.{id}", p.namespace)
        };
        let Some(out) = page.room(token) else { break };
        out.extend_from_slice(row.json);
    }
    if let Some(choice) = choose {
        for (_, json) in choice.of(chosen) {
            if let Some(out) = page.room(String::new) {
                out.extend_from_slice(json);
            }
        }
    }
    let index = ctx.reader.table_index(Table::Service);
    Ok(page.answer(index, Watch::Row(Table::Service, prefix.into())).into())
}

/// So many instances for this key: the same ones for the same key, as long as they live.
struct Choice {
    count: usize,
    key: String,
}

impl Choice {
    fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('|');
        parts
            .and_then(|(n, key)| Some(Self { count: n.parse().ok()?, key: key.to_owned() }))
            .filter(|c| !c.key.contains('|'))
            .ok_or_else(|| {
                ApiError::bad(
                    "failed to choose services: Parameter for choose must be in form \
                     '<number>|<key>'",
                )
            })
    }

    /// The first in an order that key and instance alone make (rendezvous hashing): another
    /// instance that comes or goes moves nobody else.
    fn of<'r>(&self, mut all: Vec<(&'r [u8], &'r [u8])>) -> Vec<(&'r [u8], &'r [u8])> {
        all.sort_by_cached_key(|(id, _)| (weight(id, self.key.as_bytes()), *id));
        all.truncate(self.count);
        all
    }
}

fn weight(id: &[u8], key: &[u8]) -> u64 {
    let fnv = id.iter().chain(key).fold(0xcbf2_9ce4_8422_2325, |h: u64, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    // Ids that differ in a letter alone would lie side by side without it.
    let mixed = (fnv ^ (fnv >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

fn delete(ctx: &Ctx<'_>, id: &str) -> Result {
    if id.is_empty() {
        return Err(ApiError::bad("missing service id"));
    }
    ctx.need_ns(&ctx.params.namespace, ns::SUBMIT_JOB | ns::DELETE_SERVICE_REGISTRATION)?;
    let (namespace, id) = (ctx.params.namespace.clone(), id.to_owned());
    let reply: Reply = Box::new(|_, index, applied| match applied {
        Applied::Refused(e) => Err(e),
        _ => Ok(Answer::empty().index(index)),
    });
    Ok(Outcome::Propose(Box::new(Command::ServiceDelete { namespace, id }), reply))
}

/// The registrations of these allocations.
pub(super) fn of_allocs(reader: Reader<'_>, allocs: &[[u8; 16]]) -> Result<Answer> {
    let mut body = vec![b'['];
    for alloc in allocs {
        for key in reader.service_keys(alloc)? {
            let Some(row) = reader.row(Table::Service, &key)? else { continue };
            if body.len() > 1 {
                body.push(b',');
            }
            body.extend_from_slice(row.json);
        }
    }
    body.push(b']');
    let watch = Watch::Tables(Table::Service.bit());
    Ok(Answer::bytes(body).query(reader.table_index(Table::Service)).watching(watch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_instances_while_others_come_and_go() {
        let ids: Vec<String> = (0..50).map(|i| format!("_nomad-task-{i}")).collect();
        let pick = |key: &str, ids: &[String], count| -> Vec<Vec<u8>> {
            let all = ids.iter().map(|i| (i.as_bytes(), &b"{}"[..])).collect();
            let choice = Choice { count, key: key.to_owned() };
            choice.of(all).into_iter().map(|(id, _)| id.to_vec()).collect()
        };
        let mut seen = crate::stdx::BTreeSet::new();
        for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let first = pick(key, &ids, 3);
            assert_eq!(first.len(), 3);
            seen.insert(first[0].clone());
            // Without the others the choice is the same, without the first the second leads.
            let others: Vec<String> =
                ids.iter().filter(|i| i.as_bytes() != first[0]).cloned().collect();
            assert_eq!(pick(key, &others, 2), first[1..]);
        }
        assert!(seen.len() > 4, "keys share their instances: {seen:?}");
        assert_eq!(pick("a", &ids, 80).len(), 50);
        for bad in ["", "1", "x|y", "1|a|b", "-1|a"] {
            assert_eq!(Choice::parse(bad).err().map(|e| e.status), Some(400), "{bad}");
        }
    }
}
