//! Rows that almost every request asks for, decoded once for as long as their table stays as it is.

use std::cell::RefCell;
use std::rc::Rc;

use super::StoreError;
use crate::api::{Namespace, SchedulerConfiguration};
use crate::stdx::BTreeMap;

/// Kept beside the store; only snapshots read through it, as they see what is committed.
#[derive(Default)]
pub(super) struct Memo {
    pub(super) namespaces: Kept<Namespace>,
    pub(super) scheduler: Kept<SchedulerConfiguration>,
}

/// Decoded rows of one table, by name.
pub(super) struct Kept<T>(RefCell<(u64, BTreeMap<String, Rc<T>>)>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Kept<T> {
    /// The row of a name, as it is while the table has index `at`. Rows that are not there are not
    /// remembered, so that no one can fill this with names.
    pub(super) fn get(
        &self,
        at: u64,
        name: &str,
        read: impl FnOnce() -> Result<Option<T>, StoreError>,
    ) -> Result<Option<Rc<T>>, StoreError> {
        let mut kept = self.0.borrow_mut();
        if kept.0 != at {
            *kept = (at, BTreeMap::new());
        } else if let Some(known) = kept.1.get(name) {
            return Ok(Some(known.clone()));
        }
        let Some(row) = read()?.map(Rc::new) else { return Ok(None) };
        kept.1.insert(name.to_owned(), row.clone());
        Ok(Some(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_again_once_their_table_moves() {
        let kept = Kept::default();
        let get = |at, value: Option<u8>| kept.get(at, "a", || Ok(value)).unwrap().map(|v| *v);
        assert_eq!(get(1, None), None);
        assert_eq!(get(1, Some(5)), Some(5));
        assert_eq!(get(1, Some(6)), Some(5));
        assert_eq!(get(2, Some(7)), Some(7));
        assert_eq!(get(3, None), None);
    }
}
