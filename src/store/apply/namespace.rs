//! Namespaces and node pools.

use crate::api::{ApiError, Namespace, NodePool, multi_error, status};
use crate::command::Applied;
use crate::store::rows::JobStatus;
use crate::store::schema::keys;
use crate::store::{Batch, Listed, RowHead, StoreError, Table, typed};

impl Batch<'_> {
    pub(super) fn namespace_upsert(
        &mut self,
        index: u64,
        namespace: &Namespace,
    ) -> Result<Applied, StoreError> {
        let key = keys::name(&namespace.name);
        let mut namespace = namespace.clone();
        if let Some(old) = self.reader().namespace(&namespace.name)? {
            namespace.create_index = old.create_index;
            namespace.modify_index = old.modify_index;
            if namespace == *old {
                return Ok(Applied::Nothing);
            }
        } else {
            namespace.create_index = index;
        }
        namespace.modify_index = index;
        let head = RowHead::plain(namespace.create_index, index);
        self.put(index, Table::Namespace, &key, head, &namespace)?;
        Ok(Applied::Done)
    }

    pub(super) fn node_pool_upsert(
        &mut self,
        index: u64,
        pool: &NodePool,
    ) -> Result<Applied, StoreError> {
        let key = keys::name(&pool.name);
        let mut pool = pool.clone();
        if let Some(old) = self.reader().node_pool(&pool.name)? {
            pool.create_index = old.create_index;
            pool.modify_index = old.modify_index;
            if pool == old {
                return Ok(Applied::Nothing);
            }
        } else {
            pool.create_index = index;
        }
        pool.modify_index = index;
        let head = RowHead::plain(pool.create_index, index);
        self.put(index, Table::NodePool, &key, head, &pool)?;
        Ok(Applied::Done)
    }

    /// Removes a namespace that nothing is left in.
    pub(super) fn namespace_delete(
        &mut self,
        index: u64,
        name: &str,
        region: &str,
    ) -> Result<Applied, StoreError> {
        if name == status::NAMESPACE_DEFAULT {
            return refused("can not delete default namespace");
        }
        let key = keys::name(name);
        if !self.reader().has(Table::Namespace, &key)? {
            return refused("namespace not found");
        }
        let mut errors = Vec::new();
        for what in self.left_in_namespace(name)? {
            errors.push(format!("namespace \"{name}\" has {what} in regions: [{region}]"));
        }
        if !errors.is_empty() {
            return refused(&multi_error(&errors));
        }
        self.delete(index, Table::Namespace, &key)?;
        Ok(Applied::Done)
    }

    fn left_in_namespace(&self, name: &str) -> Result<Vec<&'static str>, StoreError> {
        let reader = self.reader();
        let mut left = Vec::new();
        let prefix = keys::namespace(name);
        let mut jobs = reader.scan(Table::Job, &prefix, None, false)?;
        if jobs.any(|pair| pair.is_ok_and(|(_, row)| row.job().status != JobStatus::Dead)) {
            left.push("non-terminal jobs");
        }
        for listed in reader.created(Table::Alloc, None, false)? {
            let Listed { id, namespace, .. } = listed?;
            if namespace == name
                && reader.row(Table::Alloc, &id)?.is_some_and(|row| !row.alloc().terminal())
            {
                left.push("non-terminal allocations");
                break;
            }
        }
        for (table, what) in [
            (Table::Volume, "volumes associated with it"),
            (Table::Variable, "variables associated with it"),
        ] {
            if reader.scan(table, &prefix, None, false)?.next().is_some() {
                left.push(what);
            }
        }
        Ok(left)
    }

    /// Removes a pool that nothing uses.
    pub(super) fn node_pool_delete(
        &mut self,
        index: u64,
        name: &str,
        region: &str,
    ) -> Result<Applied, StoreError> {
        let key = keys::name(name);
        let reader = self.reader();
        if !reader.has(Table::NodePool, &key)? {
            return refused(&format!("node pool {name} not found"));
        }
        let names = |json: &[u8]| typed::text(json, "NodePool").is_some_and(|p| p == name);
        let mut errors = Vec::new();
        let mut jobs = reader.scan(Table::Job, &[], None, false)?;
        if jobs.any(|p| p.is_ok_and(|(_, r)| r.job().status != JobStatus::Dead && names(r.json))) {
            errors
                .push(format!("node pool \"{name}\" has non-terminal jobs in regions: [{region}]"));
        }
        let mut nodes = reader.scan(Table::Node, &[], None, false)?;
        if nodes.any(|p| p.is_ok_and(|(_, r)| names(r.json))) {
            errors.push(format!("node pool \"{name}\" has nodes in regions: [{region}]"));
        }
        if !errors.is_empty() {
            return refused(&multi_error(&errors));
        }
        if matches!(name, status::POOL_ALL | status::POOL_DEFAULT) {
            return refused(&format!("deleting node pool \"{name}\" is not allowed"));
        }
        drop((jobs, nodes));
        self.delete(index, Table::NodePool, &key)?;
        Ok(Applied::Done)
    }
}

fn refused(why: &str) -> Result<Applied, StoreError> {
    Ok(Applied::Refused(ApiError::failed(why)))
}
