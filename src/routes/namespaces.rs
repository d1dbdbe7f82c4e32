//! `/v1/namespace*`.

use super::auth::need;
use super::pools::{DESCRIPTION_MAX, written};
use super::{Answer, Ctx, Outcome, Watch, invalid_method};
use crate::api::{ApiError, Namespace, NamespaceNodePoolConfiguration, multi_error};
use crate::command::Command;
use crate::stdx::blake2b;
use crate::stdx::json::Bytes;
use crate::store::{Table, keys};

type Result = std::result::Result<Outcome, ApiError>;

/// Longest name, in characters. Source: the API.
pub(super) const NAME_MAX: usize = 128;

/// `/v1/namespaces`: by name, all of them, or those with a prefix.
pub(super) fn collection(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    ctx.open();
    let mut body = vec![b'['];
    let prefix = ctx.params.prefix.as_bytes();
    for pair in ctx.reader.scan(Table::Namespace, prefix, None, false)? {
        let (key, row) = pair?;
        let name = String::from_utf8_lossy(key);
        if !ctx.may(|a| a.any_in_namespace(&name)) {
            continue;
        }
        if body.len() > 1 {
            body.push(b',');
        }
        body.extend_from_slice(row.json);
    }
    body.push(b']');
    let index = ctx.reader.table_index(Table::Namespace).max(1);
    let watch = Watch::Tables(Table::Namespace.bit());
    Ok(Answer::bytes(body).query(index).watching(watch).into())
}

/// `/v1/namespace` and `/v1/namespace/{name}`
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let named = ctx.req.path() != "/v1/namespace";
    if named && ctx.rest.is_empty() {
        return Err(ApiError::bad("Missing Namespace Name"));
    }
    if ctx.is_write() {
        return upsert(ctx, named);
    }
    if !named || !(ctx.is_get() || ctx.is_delete()) {
        return Err(invalid_method());
    }
    if ctx.is_delete() {
        need(ctx.is_management())?;
        let (name, region) = (ctx.rest.to_owned(), ctx.agent.region.clone());
        return Ok(Outcome::Propose(
            Box::new(Command::NamespaceDelete { name, region }),
            Box::new(|_, index, applied| written(index, applied)),
        ));
    }
    need(ctx.may(|a| a.any_in_namespace(ctx.rest)))?;
    let key = keys::name(ctx.rest);
    let watch = Watch::Row(Table::Namespace, key.as_slice().into());
    let answer = match ctx.reader.row(Table::Namespace, &key)? {
        Some(row) => Answer::bytes(row.json.to_vec()).query(row.modify().max(1)),
        None => Answer::text(404, "Namespace not found")
            .query(ctx.reader.table_index(Table::Namespace).max(1)),
    };
    Ok(answer.watching(watch).into())
}

fn upsert(ctx: &mut Ctx<'_>, named: bool) -> Result {
    let mut namespace: Namespace = ctx.body()?;
    if named && namespace.name != ctx.rest {
        return Err(ApiError::bad("Namespace name does not match request path"));
    }
    need(ctx.is_management())?;
    let errors = faults(&namespace);
    if !errors.is_empty() {
        let name = &namespace.name;
        return Err(ApiError::failed(format!(
            "Invalid namespace \"{name}\": {}",
            multi_error(&errors)
        )));
    }
    namespace.hash = Some(hash(&namespace));
    Ok(Outcome::Propose(
        Box::new(Command::NamespaceUpsert { namespace: Box::new(namespace) }),
        Box::new(|_, index, applied| written(index, applied)),
    ))
}

fn faults(n: &Namespace) -> Vec<String> {
    let mut errors = Vec::new();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if n.name.is_empty() || n.name.len() > NAME_MAX || !n.name.chars().all(fits) {
        errors
            .push(format!("invalid name \"{}\". Must match regex ^[a-zA-Z0-9-]{{1,128}}$", n.name));
    }
    if n.description.len() > DESCRIPTION_MAX {
        errors.push(format!("description longer than {DESCRIPTION_MAX}"));
    }
    for (given, what, feature) in [
        (&n.node_pool_configuration, "node pool", "Node Pools Governance"),
        (&n.vault_configuration, "vault", "Multi-Vault Clusters"),
        (&n.consul_configuration, "consul", "Multi-Consul Clusters"),
    ] {
        if given.is_some() {
            errors.push(format!("invalid {what} configuration: {feature} is unlicensed."));
        }
    }
    errors
}

/// All that a user can say, in the order of the contract.
fn hash(n: &Namespace) -> Bytes {
    let mut text = [n.name.as_str(), &n.description, &n.quota].concat();
    if let Some(c) = &n.capabilities {
        for list in [
            &c.enabled_task_drivers,
            &c.disabled_task_drivers,
            &c.enabled_network_modes,
            &c.disabled_network_modes,
        ] {
            text.extend(list.iter().map(String::as_str));
        }
    }
    for c in [&n.node_pool_configuration, &n.vault_configuration, &n.consul_configuration]
        .into_iter()
        .flatten()
    {
        let NamespaceNodePoolConfiguration { allowed, default, denied } = c;
        text.push_str(default);
        text.extend(allowed.iter().chain(denied.iter()).map(String::as_str));
    }
    for (key, value) in &n.meta {
        text.extend([key.as_str(), value]);
    }
    Bytes(blake2b::digest(text.as_bytes()).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_hash() {
        let n = Namespace {
            name: "default".into(),
            description: "Default shared namespace".into(),
            ..Namespace::default()
        };
        let text = Bytes::encode(&hash(&n).0);
        assert_eq!(text, "C7UbjDwBK0dK8wQq7Izg7SJIzaV+lIo2X7wRtzY3pSw=");
    }
}
