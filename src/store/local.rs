//! Node-local rows: client state, executor handles, boot records. Not replicated, not part of
//! snapshots. And the secrets, which no answer is served from.

use super::install::SECRET;
use super::reader::Keys;
use super::{Batch, Reader, StoreError, Table};

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

impl<'t> Reader<'t> {
    pub fn local(&self, key: &[u8]) -> Result<Option<&'t [u8]>, StoreError> {
        Ok(self.dbs.local.get(self.txn, key)?)
    }

    /// All node-local rows whose keys begin with `prefix`, in key order.
    pub fn local_rows(&self, prefix: &[u8]) -> Result<Vec<Pair>, StoreError> {
        Keys::open(self.txn, self.dbs.local, prefix, None, false)?
            .map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect()
    }

    /// The secret that belongs to a row (a node's `SecretID`).
    pub fn secret(&self, table: Table, key: &[u8]) -> Result<Option<&'t str>, StoreError> {
        let Some(bytes) = self.dbs.secret.get(self.txn, &secret_key(table, key))? else {
            return Ok(None);
        };
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| StoreError::Damaged("secret is not text".to_owned()))
    }
}

impl Batch<'_> {
    pub fn put_local(&mut self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        Ok(self.dbs.local.put(&mut self.txn, key, value)?)
    }

    pub fn del_local(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.dbs.local.delete(&mut self.txn, key)?;
        Ok(())
    }

    pub(super) fn put_secret(
        &mut self,
        table: Table,
        key: &[u8],
        secret: &str,
    ) -> Result<(), StoreError> {
        let key = secret_key(table, key);
        self.change(SECRET, self.dbs.secret, &key, Some(secret.as_bytes())).map(drop)
    }

    pub(super) fn del_secret(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.change(SECRET, self.dbs.secret, &secret_key(table, key), None).map(drop)
    }
}

fn secret_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.push(table as u8);
    out.extend_from_slice(key);
    out
}
