//! A state without its secrets, for people who are to look into it.

use super::install::{IX, SECRET, pair};
use super::schema::ix::TOKEN_SECRET;
use super::{Row, StoreError, Table, splice};
use crate::api::AclAuthMethod;
use crate::stdx::json;

/// The pairs of [`super::Incoming::take`] but for keys, secrets, and what finds or stands for a
/// token. Tokens stay without their secrets, variables without their locks (what they hold is
/// encrypted by a key that is gone), auth methods without what they prove themselves by.
///
/// # Errors
/// A row is damaged.
pub fn redacted(mut pairs: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::with_capacity(pairs.len());
    while let Ok(Some((number, key, value, len))) = pair(pairs) {
        let (whole, rest) = pairs.split_at(len);
        pairs = rest;
        let damaged = || StoreError::Damaged("a row cannot be read".to_owned());
        let row = || Row::decode(value).map(|row| row.json).ok_or_else(damaged);
        let shown = match (number, Table::ALL.get(usize::from(number))) {
            (SECRET, _) | (_, Some(Table::OneTimeToken)) => continue,
            (IX, _) if key.first() == Some(&TOKEN_SECRET) => continue,
            (_, Some(Table::Token)) => splice::replace(row()?, "SecretID", b"\"\""),
            (_, Some(Table::Variable)) => splice::replace(row()?, "Lock", b"null"),
            (_, Some(Table::AuthMethod)) => {
                let mut method: AclAuthMethod = json::decode(row()?).map_err(|_| damaged())?;
                if let Some(config) = &mut method.config {
                    config.oidc_client_secret.clear();
                    config.oidc_client_assertion = None;
                }
                Some(json::encode(&method))
            }
            _ => {
                out.extend_from_slice(whole);
                continue;
            }
        };
        let shown = shown.ok_or_else(damaged)?;
        let head = value.get(..value.len() - row()?.len()).unwrap_or_default();
        let of = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes();
        out.push(number);
        out.extend_from_slice(&of(key.len()));
        out.extend_from_slice(&of(head.len() + shown.len()));
        [key, head, &shown].into_iter().for_each(|part| out.extend_from_slice(part));
    }
    Ok(out)
}
