//! Locks of variables, on the leader: how long each is still held, in memory.
//!
//! A lock is held for its TTL from the last word of its holder. After that it stays for its delay,
//! in which nobody can take or renew it, and then it is released in the state.

use std::rc::Rc;

use crate::api::VariableLock;
use crate::stdx::{BTreeMap, BTreeSet, duration};

/// What is given where a text is no duration.
const DEFAULT_NS: u64 = 15_000_000_000;
/// A deadline that is noticed this late was not watched: holders could not renew either.
const SLEPT_NS: u64 = 5_000_000_000;

#[derive(Debug)]
struct Held {
    id: String,
    ttl: u64,
    delay: u64,
    deadline: u64,
    /// The TTL has passed.
    over: bool,
}

/// Invariant: `order` holds the deadlines of `held` but for locks whose release is under way.
#[derive(Debug, Default)]
pub struct Locks {
    held: BTreeMap<Rc<[u8]>, Held>,
    order: BTreeSet<(u64, Rc<[u8]>)>,
}

impl Locks {
    /// The row of a variable, by key, has this lock now, or none. Every write is a word of the
    /// holder.
    pub fn note(&mut self, key: &[u8], lock: Option<&VariableLock>, now: u64) {
        self.forget(key);
        let Some(lock) = lock.filter(|l| !l.id.is_empty()) else { return };
        let ns = |text: &str| {
            duration::parse(text).and_then(|n| u64::try_from(n).ok()).unwrap_or(DEFAULT_NS)
        };
        let (ttl, delay) = (ns(&lock.ttl), ns(&lock.lock_delay));
        let deadline = now.saturating_add(ttl);
        let key: Rc<[u8]> = key.into();
        self.order.insert((deadline, key.clone()));
        self.held.insert(key, Held { id: lock.id.clone(), ttl, delay, deadline, over: false });
    }

    /// How many are held, and how many of those the holder has not been heard of in time.
    pub fn counts(&self) -> (usize, usize) {
        let over = self.held.values().filter(|h| h.over).count();
        (self.held.len() - over, over)
    }

    /// The holder has been heard; false where it no longer holds the lock.
    pub fn renew(&mut self, key: &[u8], id: &str, now: u64) -> bool {
        let Some((key, held)) = self.held.get_key_value(key) else { return false };
        if held.over || held.id != id {
            return false;
        }
        let (key, at) = (key.clone(), now.saturating_add(held.ttl));
        self.move_to(&key, at);
        true
    }

    /// Keys and ids of the locks that are to be released.
    pub fn expired(&mut self, now: u64) -> Vec<(Rc<[u8]>, String)> {
        let mut out = Vec::new();
        if self.deadline().is_some_and(|at| now.saturating_sub(at) > SLEPT_NS) {
            let live = self.held.iter().filter(|(_, h)| !h.over);
            let live: Vec<_> = live.map(|(k, h)| (k.clone(), now.saturating_add(h.ttl))).collect();
            for (key, at) in live {
                self.move_to(&key, at);
            }
        }
        while let Some((at, _)) = self.order.first()
            && *at <= now
            && let Some((at, key)) = self.order.pop_first()
        {
            let Some(held) = self.held.get_mut(&key) else { continue };
            if std::mem::replace(&mut held.over, true) {
                out.push((key, held.id.clone()));
            } else {
                held.deadline = at.saturating_add(held.delay);
                self.order.insert((held.deadline, key));
            }
        }
        out
    }

    /// When [`Self::expired`] is due.
    pub fn deadline(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    fn move_to(&mut self, key: &Rc<[u8]>, at: u64) {
        if let Some(held) = self.held.get_mut(key) {
            self.order.remove(&(held.deadline, key.clone()));
            held.deadline = at;
            self.order.insert((at, key.clone()));
        }
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some((key, held)) = self.held.remove_entry(key) {
            self.order.remove(&(held.deadline, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn lock(id: &str) -> VariableLock {
        VariableLock { ttl: "10s".into(), lock_delay: "2s".into(), id: id.into() }
    }

    #[test]
    fn a_lock_lives_by_the_word_of_its_holder() {
        let mut l = Locks::default();
        l.note(b"a", Some(&lock("1")), 0);
        assert_eq!(l.deadline(), Some(10 * S));
        assert!(l.renew(b"a", "1", 9 * S));
        assert!(!l.renew(b"a", "2", 9 * S) && !l.renew(b"b", "1", 9 * S));
        assert_eq!(l.expired(18 * S), []);
        assert_eq!(l.expired(19 * S), [], "the delay begins");
        assert!(!l.renew(b"a", "1", 19 * S), "too late");
        assert_eq!(l.expired(20 * S), []);
        assert_eq!(l.expired(21 * S), [(Rc::from(&b"a"[..]), "1".to_owned())]);
        assert_eq!((l.deadline(), l.expired(99 * S)), (None, Vec::new()));
        // Released, and taken by another.
        l.note(b"a", None, 21 * S);
        l.note(b"a", Some(&lock("2")), 22 * S);
        assert!(!l.renew(b"a", "1", 23 * S) && l.renew(b"a", "2", 23 * S));
    }

    #[test]
    fn a_sleep_of_the_server_costs_nobody_a_lock() {
        let mut l = Locks::default();
        l.note(b"a", Some(&lock("1")), 0);
        assert_eq!(l.expired(3600 * S), []);
        assert!(l.renew(b"a", "1", 3609 * S));
    }
}
