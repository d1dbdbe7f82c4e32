//! Root keys.

use crate::api::{RootKey, status};
use crate::command::Applied;
use crate::stdx::json::Bytes;
use crate::store::schema::keys;
use crate::store::{Batch, KEYRING, RowHead, StoreError, Table};

impl Batch<'_> {
    /// Stores a key. Without `rotate` nothing happens where one is active: two leaders may both
    /// have found none.
    pub(super) fn root_key(
        &mut self,
        index: u64,
        mut key: RootKey,
        secret: &str,
        rotate: bool,
        full: bool,
    ) -> Result<Applied, StoreError> {
        if !rotate && self.reader().signing_key()?.is_some() {
            return Ok(Applied::Nothing);
        }
        key.meta.state = if key.meta.publish_time > key.meta.create_time {
            status::KEY_PREPUBLISHED.to_owned()
        } else {
            self.retire(index, full)?;
            status::KEY_ACTIVE.to_owned()
        };
        "aes256-gcm".clone_into(&mut key.meta.algorithm);
        key.meta.create_index = index;
        self.put_secret(Table::Operator, &row_key(&key.meta.key_id), secret)?;
        self.put_root_key(index, key)?;
        Ok(Applied::Done)
    }

    /// The two steps that a key takes by itself: into service, and out of being replaced.
    pub(super) fn root_key_state(
        &mut self,
        index: u64,
        id: &str,
        to: &str,
    ) -> Result<Applied, StoreError> {
        let from = match to {
            status::KEY_ACTIVE => status::KEY_PREPUBLISHED,
            _ => status::KEY_REKEYING,
        };
        let mut keys = self.reader().root_keys()?.into_iter();
        let Some(mut key) = keys.find(|k| k.meta.key_id == id && k.meta.state == from) else {
            return Ok(Applied::Nothing);
        };
        if to == status::KEY_ACTIVE {
            self.retire(index, false)?;
        }
        to.clone_into(&mut key.meta.state);
        self.put_root_key(index, key)?;
        Ok(Applied::Done)
    }

    /// Gives a key the half that it has not had.
    pub(super) fn root_key_rsa(
        &mut self,
        index: u64,
        id: &str,
        modulus: &Bytes,
        secret: &str,
    ) -> Result<Applied, StoreError> {
        let mut keys = self.reader().root_keys()?.into_iter();
        let key = keys.find(|k| k.meta.key_id == id && k.modulus.0.is_empty());
        let Some(mut key) = key else { return Ok(Applied::Nothing) };
        key.modulus.clone_from(modulus);
        self.put_secret(Table::Operator, &row_key(id), secret)?;
        self.put_root_key(index, key)?;
        Ok(Applied::Done)
    }

    /// Removes keys, but never the active one.
    pub(super) fn root_key_delete(
        &mut self,
        index: u64,
        ids: &[String],
    ) -> Result<Applied, StoreError> {
        let active = self.reader().signing_key()?;
        let mut any = false;
        for id in ids.iter().filter(|id| Some(*id) != active.as_ref()) {
            let key = row_key(id);
            self.del_secret(Table::Operator, &key)?;
            any |= self.delete(index, Table::Operator, &key)?;
        }
        Ok(if any { Applied::Done } else { Applied::Nothing })
    }

    /// The active key signs no longer; what it signed can still be checked. `full`: what this and
    /// older ones encrypted is to be encrypted anew.
    fn retire(&mut self, index: u64, full: bool) -> Result<(), StoreError> {
        let to = if full { status::KEY_REKEYING } else { status::KEY_INACTIVE };
        for mut key in self.reader().root_keys()? {
            let state = key.meta.state.as_str();
            if state == status::KEY_ACTIVE || (full && state == status::KEY_INACTIVE) {
                to.clone_into(&mut key.meta.state);
                self.put_root_key(index, key)?;
            }
        }
        Ok(())
    }

    fn put_root_key(&mut self, index: u64, mut key: RootKey) -> Result<(), StoreError> {
        key.meta.modify_index = index;
        let head = RowHead::plain(key.meta.create_index, index);
        self.put(index, Table::Operator, &row_key(&key.meta.key_id), head, &key)
    }
}

fn row_key(id: &str) -> Vec<u8> {
    keys::name(&format!("{KEYRING}{id}"))
}
