//! Blocking queries while they wait.
//!
//! Requests that ask the same (same target, token and form of answer) share one [`Query`]: it is
//! run once for all of them, and they are sent the same bytes. A waiter is then eight bytes here
//! and a timer in the wheel. Nothing is woken from inside apply: [`Watches::touched`] only marks,
//! and the loop serves marked queries after the commit, within its budget.

use std::collections::VecDeque;
use std::rc::Rc;

use super::serve::Form;
use crate::http::Request;
use crate::routes::{Params, Watch};
use crate::stdx::slab::{Key, Slab};
use crate::stdx::{BTreeMap, BTreeSet};
use crate::store::{Table, Touched};

/// One question with all who wait for its answer.
struct Query {
    request: Rc<Request>,
    params: Rc<Params>,
    form: Form,
    watch: Watch,
    /// Connections, in no order.
    waiters: Vec<Key>,
    /// In `ready`.
    marked: bool,
}

/// Where a connection waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) query: Key,
    slot: u32,
}

#[derive(Default)]
pub(super) struct Watches {
    queries: Slab<Query>,
    same: BTreeMap<Vec<u8>, Key>,
    /// Queries per table bit.
    tables: BTreeMap<u32, BTreeSet<Key>>,
    rows: BTreeMap<(Table, Box<[u8]>), BTreeSet<Key>>,
    ready: VecDeque<Key>,
}

impl Watches {
    /// Holds a request of `conn` until `watch` is touched. `same` tells which requests may share
    /// an answer.
    pub(super) fn hold(
        &mut self,
        conn: Key,
        form: Form,
        request: Request,
        params: Params,
        watch: Watch,
    ) -> Place {
        let same = likeness(form, &request);
        let key = match self.same.get(&same) {
            // What is watched can change between runs (a row appears): then it is another query.
            Some(key) if self.queries.get(*key).is_some_and(|q| q.watch == watch) => *key,
            _ => self.open(same, form, request, params, watch),
        };
        let waiters = self.queries.get_mut(key).map(|q| &mut q.waiters);
        let slot = waiters.map_or(0, |w| {
            w.push(conn);
            w.len() - 1
        });
        Place { query: key, slot: u32::try_from(slot).unwrap_or(u32::MAX) }
    }

    fn open(
        &mut self,
        same: Vec<u8>,
        form: Form,
        request: Request,
        params: Params,
        watch: Watch,
    ) -> Key {
        let query = Query {
            request: Rc::new(request),
            params: Rc::new(params),
            form,
            watch: watch.clone(),
            waiters: Vec::new(),
            marked: false,
        };
        let key = self.queries.insert(query);
        self.same.insert(same, key);
        match watch {
            Watch::Tables(mask) => {
                for bit in bits(mask) {
                    self.tables.entry(bit).or_default().insert(key);
                }
            }
            Watch::Row(table, row) => {
                self.rows.entry((table, row)).or_default().insert(key);
            }
        }
        key
    }

    /// Takes a connection out (its time is up, or it closed). Returns the connection that now
    /// stands at its slot, whose `Place` must be set to this one.
    pub(super) fn leave(&mut self, place: Place) -> Option<Key> {
        let query = self.queries.get_mut(place.query)?;
        let slot = place.slot as usize;
        if slot >= query.waiters.len() {
            return None;
        }
        query.waiters.swap_remove(slot);
        let moved = query.waiters.get(slot).copied();
        if query.waiters.is_empty() && !query.marked {
            self.close(place.query);
        }
        moved
    }

    /// What was asked, to ask it again.
    pub(super) fn question(&self, key: Key) -> Option<(Rc<Request>, Rc<Params>, Form)> {
        self.queries.get(key).map(|q| (q.request.clone(), q.params.clone(), q.form))
    }

    /// Marks all queries that a commit may have changed.
    pub(super) fn touched(&mut self, touched: &Touched) {
        let mut woken = Vec::new();
        for bit in bits(touched.tables) {
            woken.extend(self.tables.get(&bit).into_iter().flatten().copied());
        }
        if !self.rows.is_empty() {
            for row in &touched.rows {
                woken.extend(self.rows.get(row).into_iter().flatten().copied());
            }
        }
        for key in woken {
            self.mark(key);
        }
    }

    /// Marks all queries.
    pub(super) fn mark_all(&mut self) {
        let all: Vec<Key> = self.same.values().copied().collect();
        for key in all {
            self.mark(key);
        }
    }

    fn mark(&mut self, key: Key) {
        if let Some(q) = self.queries.get_mut(key).filter(|q| !q.marked) {
            q.marked = true;
            self.ready.push_back(key);
        }
    }

    /// The next query to run again, oldest mark first. Its waiters stay until they are taken.
    pub(super) fn next_ready(&mut self) -> Option<Key> {
        while let Some(key) = self.ready.pop_front() {
            if let Some(q) = self.queries.get_mut(key) {
                q.marked = false;
                if !q.waiters.is_empty() {
                    return Some(key);
                }
                self.close(key);
            }
        }
        None
    }

    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Hands over some of those who wait, `most` at a time; the query ends with the last.
    pub(super) fn take(&mut self, key: Key, most: usize) -> Vec<Key> {
        let Some(query) = self.queries.get_mut(key) else { return Vec::new() };
        let left = query.waiters.len().saturating_sub(most);
        let taken = query.waiters.split_off(left);
        if left == 0 {
            self.close(key);
        } else if !query.marked {
            query.marked = true;
            self.ready.push_front(key);
        }
        taken
    }

    fn close(&mut self, key: Key) {
        let Some(query) = self.queries.remove(key) else { return };
        match query.watch.clone() {
            Watch::Tables(mask) => {
                for bit in bits(mask) {
                    if let Some(set) = self.tables.get_mut(&bit) {
                        set.remove(&key);
                    }
                }
            }
            Watch::Row(table, row) => {
                let at = (table, row);
                if let Some(set) = self.rows.get_mut(&at) {
                    set.remove(&key);
                    if set.is_empty() {
                        self.rows.remove(&at);
                    }
                }
            }
        }
        let same = likeness(query.form, &query.request);
        if self.same.get(&same) == Some(&key) {
            self.same.remove(&same);
        }
    }
}

/// What two requests must share to share an answer.
fn likeness(form: Form, request: &Request) -> Vec<u8> {
    let mut out = vec![form.bits()];
    out.extend_from_slice(request.token.as_deref().unwrap_or_default().as_bytes());
    out.push(0);
    out.extend_from_slice(request.target().as_bytes());
    out
}

/// The single bits of a mask.
fn bits(mask: u32) -> impl Iterator<Item = u32> {
    (0..32).map(|i| 1 << i).filter(move |b| mask & b != 0)
}
