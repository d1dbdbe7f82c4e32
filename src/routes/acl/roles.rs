//! Roles.

use super::{
    DESCRIPTION_MAX, Result, as_it_is, delete, get, invalid, is_name, put as put_row, rows, shows,
};
use crate::api::{AclRole, ApiError};
use crate::command::Applied;
use crate::routes::auth::need;
use crate::routes::{Answer, Ctx, Watch};
use crate::stdx::json::Bytes;
use crate::stdx::{BTreeSet, blake2b};
use crate::store::{Table, keys};

/// Whether the caller has a role.
fn has(ctx: &Ctx<'_>, id: &str) -> bool {
    let token = ctx.token();
    token.is_some_and(|t| t.roles.iter().any(|r| r.id == id))
}

/// `/v1/acl/roles`: those of the caller, or all.
pub(super) fn list(ctx: &mut Ctx<'_>, _: &str) -> Result {
    let all = ctx.is_management();
    let own = |key: &[u8]| std::str::from_utf8(key).is_ok_and(|id| has(ctx, id));
    Ok(rows(ctx, Table::Role, &|key| all || own(key), as_it_is)?.into())
}

/// `/v1/acl/role/{id}`
pub(super) fn one(ctx: &mut Ctx<'_>, id: &str) -> Result {
    if id.is_empty() {
        return Err(ApiError::bad("missing ACL role ID"));
    }
    if id.contains('/') {
        return Err(ApiError::bad("invalid URI"));
    }
    if ctx.is_get() {
        need(ctx.is_management() || has(ctx, id))?;
        return get(ctx, Table::Role, id, "ACL role", as_it_is);
    }
    if !ctx.is_delete() {
        return put(ctx, id);
    }
    need(ctx.is_management())?;
    Ok(delete(
        Table::Role,
        id,
        Box::new(|_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            Applied::Nothing => Err(ApiError::failed("ACL role not found")),
            _ => Ok(Answer::empty().index(index)),
        }),
    ))
}

/// `/v1/acl/role/name/{name}`
pub(super) fn by_name(ctx: &mut Ctx<'_>, name: &str) -> Result {
    if name.is_empty() {
        return Err(ApiError::bad("missing ACL role name"));
    }
    let all = ctx.is_management();
    let found = named(ctx, name)?;
    need(all || found.as_ref().is_some_and(|r| has(ctx, &r.id)))?;
    let answer = match found {
        Some(role) => Answer::json(&role).query(role.modify_index),
        None => Answer::text(404, "ACL role not found").query(ctx.reader.table_index(Table::Role)),
    };
    Ok(answer.watching(Watch::Tables(Table::Role.bit())).into())
}

/// The role of a name.
pub(super) fn named(ctx: &Ctx<'_>, name: &str) -> Result<Option<AclRole>> {
    let roles: Vec<AclRole> = ctx.reader.acl_rows(Table::Role)?;
    Ok(roles.into_iter().find(|r| r.name == name))
}

/// `id`: that in the path; empty: a new one.
pub(super) fn put(ctx: &mut Ctx<'_>, id: &str) -> Result {
    need(ctx.is_management())?;
    let mut role: AclRole = ctx.body()?;
    if !id.is_empty() && role.id != id {
        return Err(ApiError::bad("ACL role ID does not match request path"));
    }
    let mut seen = BTreeSet::new();
    role.policies.retain(|p| seen.insert(p.name.clone()));
    invalid("role", &faults(&role))?;
    if role.id.is_empty() {
        role.id = ctx.new_id();
    } else if !ctx.reader.has(Table::Role, &keys::name(&role.id))? {
        return Err(ApiError::bad(format!("cannot find role {}", role.id)));
    }
    if named(ctx, &role.name)?.is_some_and(|other| other.id != role.id) {
        return Err(ApiError::bad(format!("role with name {} already exists", role.name)));
    }
    for policy in role.policies.iter() {
        if !ctx.reader.has(Table::Policy, &keys::name(&policy.name))? {
            return Err(ApiError::bad(format!("cannot find policy {}", policy.name)));
        }
    }
    role.hash = hash(&role);
    (role.create_index, role.modify_index) = (0, 0);
    let reply = shows(Table::Role, &role.id, as_it_is);
    Ok(put_row(Table::Role, &role, reply))
}

fn faults(role: &AclRole) -> Vec<String> {
    let mut errors = Vec::new();
    if !is_name(&role.name) {
        errors.push(format!("invalid name '{}'", role.name));
    }
    if role.description.len() > DESCRIPTION_MAX {
        errors.push(format!("description longer than {DESCRIPTION_MAX}"));
    }
    if role.policies.is_empty() {
        errors.push("at least one policy should be specified".to_owned());
    }
    errors
}

fn hash(role: &AclRole) -> Bytes {
    let mut text = [role.name.as_str(), &role.description].concat();
    text.extend(role.policies.iter().map(|p| p.name.as_str()));
    Bytes(blake2b::digest(text.as_bytes()).to_vec())
}
