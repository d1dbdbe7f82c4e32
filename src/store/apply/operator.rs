//! Configurations of the cluster, and what every cluster begins with.

use crate::api::{ApiError, Namespace, PreemptionConfig, SchedulerConfiguration, status};
use crate::command::Applied;
use crate::stdx::json::Bytes;
use crate::store::schema::keys;
use crate::store::{Batch, RowHead, SCHEDULER, StoreError, Table, splice};

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
}
