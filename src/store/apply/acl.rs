//! Access control: rows that are written and removed whole, all in one way.

use crate::api::{AclAuthMethod, AclRole, ApiError};
use crate::command::Applied;
use crate::stdx::BTreeMap;
use crate::stdx::json::Decode;
use crate::store::schema::{ix, keys};
use crate::store::{BOOTSTRAP, Batch, RowHead, StoreError, Table, splice, typed};

/// The member that names a row of a table.
fn key_member(table: Table) -> &'static str {
    match table {
        Table::Token => "AccessorID",
        Table::Role | Table::BindingRule => "ID",
        Table::OneTimeToken => "OneTimeSecretID",
        _ => "Name",
    }
}

/// Where the row of that name is.
fn key(table: Table, name: &str) -> Vec<u8> {
    if table == Table::OneTimeToken { keys::secret(name) } else { keys::name(name) }
}

/// The table of that name, if it is one of access control.
fn table_of(name: &str) -> Option<Table> {
    let own = [
        Table::Token,
        Table::Policy,
        Table::Role,
        Table::OneTimeToken,
        Table::AuthMethod,
        Table::BindingRule,
    ];
    own.into_iter().find(|t| t.name() == name)
}

impl Batch<'_> {
    /// Once, or again for someone who knows at which index it was done last.
    pub(super) fn acl_bootstrap(
        &mut self,
        index: u64,
        token: &str,
        reset: u64,
    ) -> Result<Applied, StoreError> {
        let key = keys::name(BOOTSTRAP);
        let done = self.reader().row(Table::Operator, &key)?.map(|row| row.modify());
        if let Some(done) = done
            && done != reset
        {
            return Ok(Applied::Refused(bootstrap_done(done, reset)));
        }
        self.put(index, Table::Operator, &key, RowHead::plain(index, index), &index)?;
        self.acl_put(index, Table::Token.name(), &[token.to_owned()])
    }

    pub(super) fn acl_put(
        &mut self,
        index: u64,
        table: &str,
        rows: &[String],
    ) -> Result<Applied, StoreError> {
        let Some(table) = table_of(table) else { return Ok(Applied::Nothing) };
        if let Some(refused) = self.acl_conflict(table, rows)? {
            return Ok(Applied::Refused(refused));
        }
        let mut any = false;
        for json in rows {
            any |= self.acl_row(index, table, json)?;
        }
        Ok(if any { Applied::Done } else { Applied::Nothing })
    }

    /// What must be there once only, in the state that the rows make together: of those that are
    /// replaced, what was before does not count.
    fn acl_conflict(&self, table: Table, rows: &[String]) -> Result<Option<ApiError>, StoreError> {
        let reader = self.reader();
        match table {
            Table::Token => {
                for json in rows.iter().map(String::as_bytes) {
                    let secret = typed::text(json, "SecretID").unwrap_or_default();
                    let other = reader.token_key(&secret)?;
                    let own = typed::text(json, "AccessorID").unwrap_or_default();
                    if other.is_some_and(|key| key != keys::name(&own)) {
                        return Ok(Some(ApiError::bad("a token with this secret exists already")));
                    }
                }
            }
            Table::Role => {
                let mut ids = BTreeMap::new();
                for role in self.with_rows::<AclRole>(table, rows)?.into_values() {
                    if ids.insert(role.name.clone(), role.id).is_some() {
                        let text = format!("role with name {} already exists", role.name);
                        return Ok(Some(ApiError::bad(text)));
                    }
                }
            }
            Table::AuthMethod => {
                let all = self.with_rows::<AclAuthMethod>(table, rows)?;
                let mut defaults = all.into_values().filter(|m| m.default).map(|m| m.name);
                if let (Some(one), Some(other)) = (defaults.next(), defaults.next()) {
                    let new = |name: &String| {
                        let named = |row: &String| typed::text(row.as_bytes(), "Name");
                        rows.iter().any(|row| named(row).as_ref() == Some(name))
                    };
                    let old = if new(&one) { other } else { one };
                    let text = format!("default method already exists: {old}");
                    return Ok(Some(ApiError::bad(text)));
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// All rows of a table by their keys, as they are once these are written.
    fn with_rows<T: Decode + Default>(
        &self,
        table: Table,
        rows: &[String],
    ) -> Result<BTreeMap<Vec<u8>, T>, StoreError> {
        let mut all = BTreeMap::new();
        for pair in self.reader().scan(table, &[], None, false)? {
            let (key, row) = pair?;
            all.insert(key.to_vec(), typed::decode(table, row.json)?);
        }
        for row in rows.iter().map(String::as_bytes) {
            let name = typed::text(row, key_member(table)).unwrap_or_default();
            all.insert(key(table, &name), typed::decode(table, row)?);
        }
        Ok(all)
    }

    /// Writes one row; false where it is there as it is.
    fn acl_row(&mut self, index: u64, table: Table, json: &str) -> Result<bool, StoreError> {
        let damaged = || StoreError::Damaged("a command of access control".to_owned());
        let name = typed::text(json.as_bytes(), key_member(table)).ok_or_else(damaged)?;
        let key = key(table, &name);
        let old = self.reader().row(table, &key)?;
        let stamp = |create: u64, modify: u64| {
            let create = create.to_string();
            let out = splice::replace(json.as_bytes(), "CreateIndex", create.as_bytes())?;
            splice::replace(&out, "ModifyIndex", modify.to_string().as_bytes())
        };
        let mut create = index;
        let mut old_secret = None;
        if let Some(old) = old {
            create = old.create();
            if stamp(create, old.modify()).ok_or_else(damaged)? == old.json {
                return Ok(false);
            }
            old_secret = typed::text(old.json, "SecretID");
        }
        let row = stamp(create, index).ok_or_else(damaged)?;
        if table == Table::Token {
            if let Some(secret) = old_secret {
                self.del_ix(&ix::token_secret(&secret))?;
            }
            let secret = typed::text(&row, "SecretID").ok_or_else(damaged)?;
            self.put_ix(&ix::token_secret(&secret), &key)?;
        }
        self.put_json(index, table, &key, RowHead::plain(create, index), &row)?;
        Ok(true)
    }

    pub(super) fn acl_delete(
        &mut self,
        index: u64,
        table: &str,
        ids: &[String],
    ) -> Result<Applied, StoreError> {
        let Some(table) = table_of(table) else { return Ok(Applied::Nothing) };
        let mut any = false;
        for id in ids {
            let key = key(table, id);
            if table == Table::Token
                && let Some(row) = self.reader().row(table, &key)?
                && let Some(secret) = typed::text(row.json, "SecretID")
            {
                self.del_ix(&ix::token_secret(&secret))?;
            }
            any |= self.delete(index, table, &key)?;
        }
        Ok(if any { Applied::Done } else { Applied::Nothing })
    }
}

/// The answer to a bootstrap that was done before, at index `done`.
fn bootstrap_done(done: u64, reset: u64) -> ApiError {
    ApiError::bad(match reset {
        0 => format!("ACL bootstrap already done (reset index: {done})"),
        _ => format!("Invalid bootstrap reset index (specified {reset}, reset index: {done})"),
    })
}
