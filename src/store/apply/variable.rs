//! Variables: put and delete with check-and-set and locks.

use crate::api::{ApiError, Variable};
use crate::command::Applied;
use crate::store::rows::RowHead;
use crate::store::{Batch, Row, StoreError, Table, keys, splice, typed};

impl Batch<'_> {
    pub(super) fn variable_put(
        &mut self,
        index: u64,
        variable: &Variable,
        check: Option<u64>,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let key = keys::variable(&variable.namespace, &variable.path);
        let old = self.reader().row(Table::Variable, &key)?;
        if conflicts(old, check) {
            return conflict(old);
        }
        let held = old.map(|row| lock_id(&row)).transpose()?.flatten();
        let named = variable.lock.as_ref().map(|l| l.id.as_str());
        if held.is_some() && held.as_deref() != named {
            return Ok(Applied::Conflict(None));
        }
        // Whoever names a lock that is gone meant to hold it.
        if held.is_none() && named.is_some() {
            return Ok(Applied::Conflict(None));
        }
        self.put_variable(index, variable, wall_ns)
    }

    /// The lock is free, or held under the same id.
    pub(super) fn variable_acquire(
        &mut self,
        index: u64,
        variable: &Variable,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let key = keys::variable(&variable.namespace, &variable.path);
        let old = self.reader().row(Table::Variable, &key)?;
        let held = old.map(|row| lock_id(&row)).transpose()?.flatten();
        let named = variable.lock.as_ref().map(|l| l.id.as_str());
        if held.is_some() && held.as_deref() != named {
            return Ok(Applied::Conflict(None));
        }
        self.put_variable(index, variable, wall_ns)
    }

    pub(super) fn variable_release(
        &mut self,
        index: u64,
        (namespace, path): (&str, &str),
        id: &str,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let refused = |why| Ok(Applied::Refused(ApiError::failed(why)));
        let key = keys::variable(namespace, path);
        let Some(row) = self.reader().row(Table::Variable, &key)? else {
            return refused("variable doesn't exist");
        };
        match lock_id(&row)? {
            None => return refused("variable doesn't hold a lock"),
            Some(held) if held != id => return Ok(Applied::Conflict(None)),
            Some(_) => {}
        }
        let mut variable: Variable = typed::decode(Table::Variable, row.json)?;
        variable.lock = None;
        self.put_variable(index, &variable, wall_ns)
    }

    /// Nothing that users see changes, so the stamps stay.
    pub(super) fn variable_rekey(
        &mut self,
        index: u64,
        variables: &[Variable],
    ) -> Result<Applied, StoreError> {
        let mut any = false;
        for v in variables {
            let key = keys::variable(&v.namespace, &v.path);
            let Some(row) = self.reader().row(Table::Variable, &key)? else { continue };
            if row.modify() == v.modify_index {
                let head = row.head;
                self.put(index, Table::Variable, &key, head, v)?;
                any = true;
            }
        }
        Ok(if any { Applied::Done } else { Applied::Nothing })
    }

    /// Writes a variable with new stamps; those of its creation stay.
    fn put_variable(
        &mut self,
        index: u64,
        variable: &Variable,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        let key = keys::variable(&variable.namespace, &variable.path);
        let (create_index, create_time) = match self.reader().row(Table::Variable, &key)? {
            None => (index, wall_ns),
            Some(row) => {
                let time = splice::number(row.json, "CreateTime");
                (row.create(), time.ok_or_else(damaged)?)
            }
        };
        // Only the stamps differ from what came, so the items are not copied.
        let stamped = Stamped { variable, create_index, create_time, index, wall_ns };
        let head = RowHead::plain(create_index, index);
        self.put(index, Table::Variable, &key, head, &stamped)?;
        Ok(Applied::Done)
    }

    pub(super) fn variable_delete(
        &mut self,
        index: u64,
        namespace: &str,
        path: &str,
        check: Option<u64>,
    ) -> Result<Applied, StoreError> {
        let key = keys::variable(namespace, path);
        let old = self.reader().row(Table::Variable, &key)?;
        if conflicts(old, check) {
            return conflict(old);
        }
        if let Some(row) = old
            && lock_id(&row)?.is_some()
        {
            return Ok(Applied::Conflict(None));
        }
        let there = self.delete(index, Table::Variable, &key)?;
        Ok(if there { Applied::Done } else { Applied::Nothing })
    }
}

/// The `cas` table of the contract: 0 wants nothing there, N wants that `ModifyIndex`.
fn conflicts(old: Option<Row<'_>>, check: Option<u64>) -> bool {
    match (check, old) {
        (None, _) | (Some(0), None) => false,
        (Some(_), None) => true,
        (Some(n), Some(row)) => n == 0 || row.modify() != n,
    }
}

fn conflict(old: Option<Row<'_>>) -> Result<Applied, StoreError> {
    let current = old.map(|row| typed::decode(Table::Variable, row.json)).transpose()?;
    Ok(Applied::Conflict(current.map(Box::new)))
}

fn lock_id(row: &Row<'_>) -> Result<Option<String>, StoreError> {
    match splice::field(row.json, "Lock") {
        None => Ok(None),
        Some(lock) => {
            let lock: crate::api::VariableLock = typed::decode(Table::Variable, lock)?;
            Ok((!lock.id.is_empty()).then_some(lock.id))
        }
    }
}

fn damaged() -> StoreError {
    StoreError::Damaged("a variable's row".to_owned())
}

/// A variable with other stamps, printed like [`Variable`].
struct Stamped<'a> {
    variable: &'a Variable,
    create_index: u64,
    create_time: i64,
    index: u64,
    wall_ns: i64,
}

impl serde::Serialize for Stamped<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let v = self.variable;
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("CreateIndex", &self.create_index)?;
        map.serialize_entry("CreateTime", &self.create_time)?;
        if !v.data.0.is_empty() {
            map.serialize_entry("Data", &v.data)?;
        }
        if !v.items.is_empty() {
            map.serialize_entry("Items", &v.items)?;
        }
        if !v.key_id.is_empty() {
            map.serialize_entry("KeyID", &v.key_id)?;
        }
        if let Some(lock) = &v.lock {
            map.serialize_entry("Lock", lock)?;
        }
        map.serialize_entry("ModifyIndex", &self.index)?;
        map.serialize_entry("ModifyTime", &self.wall_ns)?;
        map.serialize_entry("Namespace", &v.namespace)?;
        map.serialize_entry("Path", &v.path)?;
        map.end()
    }
}
