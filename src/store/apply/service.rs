//! Registrations of services. They live as long as their allocation runs and its node is heard.

use crate::api::{ApiError, ServiceRegistration};
use crate::command::Applied;
use crate::stdx::BTreeMap;
use crate::store::schema::{ix, keys};
use crate::store::{Batch, RowHead, StoreError, Table, typed};

impl Batch<'_> {
    /// Makes the registrations of an allocation those that its node tells of. What stays as it was
    /// is not written.
    pub(super) fn put_services(
        &mut self,
        index: u64,
        alloc: &[u8; 16],
        told: &[ServiceRegistration],
    ) -> Result<(), StoreError> {
        let mut old: BTreeMap<Vec<u8>, ServiceRegistration> = BTreeMap::new();
        for key in self.reader().service_keys(alloc)? {
            if let Some(row) = self.reader().row(Table::Service, &key)? {
                old.insert(key, typed::decode(Table::Service, row.json)?);
            }
        }
        for service in told {
            let key = keys::service(&service.namespace, &service.service_name, &service.id);
            let was = old.remove(&key);
            let create = was.as_ref().map_or(index, |w| w.create_index);
            let mut now = ServiceRegistration { create_index: create, ..service.clone() };
            now.modify_index = was.as_ref().map_or(index, |w| w.modify_index);
            if was.as_ref() == Some(&now) {
                continue;
            }
            now.modify_index = index;
            self.put(index, Table::Service, &key, RowHead::plain(create, index), &now)?;
            self.put_ix(&[&ix::services_of(alloc)[..], &key].concat(), &[])?;
            self.touch_service(index, &key);
        }
        for key in old.into_keys() {
            self.remove_service(index, alloc, &key)?;
        }
        Ok(())
    }

    /// The allocation serves no longer.
    pub(super) fn drop_services(&mut self, index: u64, alloc: &[u8; 16]) -> Result<(), StoreError> {
        for key in self.reader().service_keys(alloc)? {
            self.remove_service(index, alloc, &key)?;
        }
        Ok(())
    }

    /// Nothing on the node can be reached.
    pub(super) fn drop_services_of_node(
        &mut self,
        index: u64,
        node: &str,
    ) -> Result<(), StoreError> {
        for alloc in self.reader().alloc_ids_by_node(node)? {
            self.drop_services(index, &alloc)?;
        }
        Ok(())
    }

    pub(super) fn service_delete(
        &mut self,
        index: u64,
        namespace: &str,
        id: &str,
    ) -> Result<Applied, StoreError> {
        // The id names its allocation.
        let alloc = id.strip_prefix(ID_PREFIX).and_then(|rest| keys::by_uuid(rest.get(..36)?));
        if let Some(alloc) = alloc {
            for key in self.reader().service_keys(&alloc)? {
                let row = self.reader().row(Table::Service, &key)?;
                let named = |field| row.and_then(|r| typed::text(r.json, field));
                if named("ID").as_deref() == Some(id)
                    && named("Namespace").as_deref() == Some(namespace)
                {
                    self.remove_service(index, &alloc, &key)?;
                    return Ok(Applied::Done);
                }
            }
        }
        Ok(Applied::Refused(ApiError::failed("service registration not found")))
    }

    fn remove_service(
        &mut self,
        index: u64,
        alloc: &[u8; 16],
        key: &[u8],
    ) -> Result<(), StoreError> {
        self.del_ix(&[&ix::services_of(alloc)[..], key].concat())?;
        if self.delete(index, Table::Service, key)? {
            self.touch_service(index, key);
        }
        Ok(())
    }

    /// Wakes who waits for the service that a row is of.
    fn touch_service(&mut self, index: u64, key: &[u8]) {
        // Neither namespace nor name holds a NUL.
        let end = key.iter().enumerate().filter(|(_, b)| **b == 0).nth(1);
        if let Some((end, _)) = end {
            self.touch(index, Table::Service, key.get(..=end).unwrap_or_default());
        }
    }
}

/// What every id of a registration begins with.
const ID_PREFIX: &str = "_nomad-task-";
