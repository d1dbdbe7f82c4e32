//! Namespaces, node pools, configurations of the cluster, and what every cluster begins with.

use crate::api::{
    ApiError, Namespace, NodePool, PreemptionConfig, RootKey, RootKeyMeta, SchedulerConfiguration,
    status,
};
use crate::command::Applied;
use crate::stdx::json::Bytes;
use crate::store::schema::keys;
use crate::store::{Batch, KEYRING, RowHead, SCHEDULER, StoreError, Table, splice};

/// Hash of the default namespace (contract: namespaces, test vector).
const DEFAULT_NAMESPACE_HASH: &str = "C7UbjDwBK0dK8wQq7Izg7SJIzaV+lIo2X7wRtzY3pSw=";

impl Batch<'_> {
    pub(super) fn scheduler_config(
        &mut self,
        index: u64,
        config: &SchedulerConfiguration,
        check: Option<u64>,
    ) -> Result<Applied, StoreError> {
        let key = keys::name(SCHEDULER);
        let old = self.reader().row(Table::Operator, &key)?.map(|row| row.head);
        if check.is_some_and(|n| old.map_or(0, |h| h.modify) != n) {
            return Ok(Applied::Checked(false));
        }
        let mut config = config.clone();
        config.create_index = old.map_or(index, |h| h.create);
        config.modify_index = index;
        let head = RowHead::plain(config.create_index, index);
        self.put(index, Table::Operator, &key, head, &config)?;
        Ok(Applied::Checked(true))
    }

    /// Stores an object of any shape; its `CreateIndex` and `ModifyIndex`, where it has them, are
    /// filled in.
    pub(super) fn operator_document(
        &mut self,
        index: u64,
        name: &str,
        json: &str,
        check: Option<u64>,
    ) -> Result<Applied, StoreError> {
        let key = keys::name(name);
        let old = self.reader().row(Table::Operator, &key)?.map(|row| row.head);
        if check.is_some_and(|n| old.map_or(0, |h| h.modify) != n) {
            return Ok(Applied::Checked(false));
        }
        let create = old.map_or(index, |h| h.create);
        let stamped =
            splice::replace(json.as_bytes(), "CreateIndex", create.to_string().as_bytes())
                .and_then(|j| splice::replace(&j, "ModifyIndex", index.to_string().as_bytes()));
        let Some(json) = stamped else {
            return Ok(Applied::Refused(ApiError::bad("document is not a JSON object")));
        };
        self.put_json(index, Table::Operator, &key, RowHead::plain(create, index), &json)?;
        Ok(Applied::Checked(true))
    }

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
            if namespace == old {
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

    /// Removes a row that is known by its name.
    pub(super) fn delete_named(
        &mut self,
        index: u64,
        table: Table,
        name: &str,
    ) -> Result<Applied, StoreError> {
        let there = self.delete(index, table, &keys::name(name))?;
        Ok(if there { Applied::Done } else { Applied::Nothing })
    }

    /// Writes what is missing of the rows that every cluster has.
    pub(super) fn bootstrap(&mut self, index: u64) -> Result<Applied, StoreError> {
        let head = RowHead::plain(index, index);
        let key = keys::name(status::NAMESPACE_DEFAULT);
        if !self.reader().has(Table::Namespace, &key)? {
            let namespace = Namespace {
                name: status::NAMESPACE_DEFAULT.to_owned(),
                description: "Default shared namespace".to_owned(),
                hash: Bytes::decode(DEFAULT_NAMESPACE_HASH).map(Bytes),
                create_index: index,
                modify_index: index,
                ..Namespace::default()
            };
            self.put(index, Table::Namespace, &key, head, &namespace)?;
        }
        for name in [status::POOL_ALL, status::POOL_DEFAULT] {
            self.add_pool(index, name)?;
        }
        if !self.reader().has(Table::Operator, &keys::name(SCHEDULER))? {
            let preemption_config =
                PreemptionConfig { system_scheduler_enabled: true, ..PreemptionConfig::default() };
            let config = SchedulerConfiguration {
                scheduler_algorithm: "binpack".to_owned(),
                preemption_config,
                ..SchedulerConfiguration::default()
            };
            self.scheduler_config(index, &config, None)?;
        }
        Ok(Applied::Done)
    }

    /// Stores a key that signs from now on. Nothing happens where one is active: two leaders may
    /// both have found none.
    pub(super) fn root_key(
        &mut self,
        index: u64,
        id: &str,
        public: &Bytes,
        secret: &str,
        wall_ns: i64,
    ) -> Result<Applied, StoreError> {
        if self.reader().signing_key()?.is_some() {
            return Ok(Applied::Nothing);
        }
        let meta = RootKeyMeta {
            algorithm: "aes256-gcm".to_owned(),
            create_index: index,
            create_time: wall_ns,
            key_id: id.to_owned(),
            modify_index: index,
            publish_time: 0,
            state: status::KEY_ACTIVE.to_owned(),
        };
        let row = RootKey { meta, public_key: public.clone() };
        let key = keys::name(&format!("{KEYRING}{id}"));
        self.put_secret(Table::Operator, &key, secret)?;
        self.put(index, Table::Operator, &key, RowHead::plain(index, index), &row)?;
        Ok(Applied::Done)
    }
}
