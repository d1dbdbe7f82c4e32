//! Maps and sets in the order of their keys, with the interface of the standard library's.
//!
//! Those are compiled anew for each type, with all that keeps a tree of nodes in balance, four
//! kilobytes for a map: a tenth of the program. Here the entries lie in leaves, sorted vectors of
//! at most [`LEAF_MAX`], and the leaves in one vector. Searching takes as many comparisons as in a
//! tree; adding and removing move at most the entries of a leaf, and once in dozens of times the
//! list of leaves, 48 KB for a map of a hundred thousand. Small maps, as most are, lie in one leaf
//! and take no more memory than they need.

mod entry;
mod iter;
mod set;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::fmt;
use std::ops::{Bound, Index, RangeBounds};

use serde::{Serialize, Serializer};

pub use entry::{Entry, OccupiedEntry, VacantEntry};
pub use iter::{IntoIter, Iter, IterMut};
pub use set::BTreeSet;

/// Most entries of a leaf.
const LEAF_MAX: usize = 64;

type Leaf<K, V> = Vec<(K, V)>;

/// Entries in the order of their keys, which are unique.
///
/// Each leaf holds at least one entry and all its keys are below those of the next.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BTreeMap<K, V> {
    leaves: Vec<Leaf<K, V>>,
}

/// Where an entry is, or where it would be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    leaf: usize,
    at: usize,
}

impl<K, V> BTreeMap<K, V> {
    pub const fn new() -> Self {
        Self { leaves: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.leaves.iter().map(Vec::len).sum()
    }

    pub const fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    pub fn clear(&mut self) {
        self.leaves.clear();
    }

    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(&[], &self.leaves, &[])
    }

    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut::new(&mut self.leaves)
    }

    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.iter().map(|(k, _)| k)
    }

    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.iter().map(|(_, v)| v)
    }

    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.iter_mut().map(|(_, v)| v)
    }

    pub fn into_keys(self) -> impl DoubleEndedIterator<Item = K> {
        self.into_iter().map(|(k, _)| k)
    }

    pub fn into_values(self) -> impl DoubleEndedIterator<Item = V> {
        self.into_iter().map(|(_, v)| v)
    }

    pub fn first_key_value(&self) -> Option<(&K, &V)> {
        self.leaves.first()?.first().map(pair)
    }

    pub fn last_key_value(&self) -> Option<(&K, &V)> {
        self.leaves.last()?.last().map(pair)
    }

    pub fn pop_first(&mut self) -> Option<(K, V)> {
        (!self.is_empty()).then(|| self.take(Place { leaf: 0, at: 0 }))
    }

    pub fn pop_last(&mut self) -> Option<(K, V)> {
        let leaf = self.leaves.len().checked_sub(1)?;
        Some(self.take(Place { leaf, at: self.leaves[leaf].len() - 1 }))
    }

    /// Keeps the entries that the function wants.
    pub fn retain(&mut self, mut wanted: impl FnMut(&K, &mut V) -> bool) {
        for leaf in &mut self.leaves {
            leaf.retain_mut(|(k, v)| wanted(k, v));
        }
        self.leaves.retain(|leaf| !leaf.is_empty());
    }

    /// Takes the entry at the place out.
    fn take(&mut self, place: Place) -> (K, V) {
        let leaf = &mut self.leaves[place.leaf];
        let entry = leaf.remove(place.at);
        if leaf.is_empty() {
            self.leaves.remove(place.leaf);
        }
        entry
    }

    /// Adds an entry at the place where it belongs and says where it is.
    fn put(&mut self, place: Place, entry: (K, V)) -> Place {
        let Place { leaf, at } = place;
        if leaf == self.leaves.len() {
            if leaf == 0 {
                // Most maps never have a second leaf.
                self.leaves.reserve_exact(1);
            }
            self.leaves.push(Vec::new());
        } else if self.leaves[leaf].len() == LEAF_MAX {
            if at == LEAF_MAX && leaf + 1 == self.leaves.len() {
                // Keys that come in order fill their leaves.
                return self.put(Place { leaf: leaf + 1, at: 0 }, entry);
            }
            let upper = self.leaves[leaf].split_off(LEAF_MAX / 2);
            self.leaves.insert(leaf + 1, upper);
            if at > LEAF_MAX / 2 {
                return self.put(Place { leaf: leaf + 1, at: at - LEAF_MAX / 2 }, entry);
            }
        }
        self.leaves[leaf].insert(at, entry);
        place
    }
}

impl<K: Ord, V> BTreeMap<K, V> {
    /// Where the key is, or where it belongs.
    fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Result<Place, Place>
    where
        K: Borrow<Q>,
    {
        // The key is not in the first leaf when it is not below the first key of the next.
        let leaf = match self.leaves.get(1..) {
            Some(rest) => rest.partition_point(|leaf| leaf[0].0.borrow() <= key),
            None => 0,
        };
        let entries = self.leaves.get(leaf).map_or(&[][..], Vec::as_slice);
        match entries.binary_search_by(|(k, _)| k.borrow().cmp(key)) {
            Ok(at) => Ok(Place { leaf, at }),
            Err(at) => Err(Place { leaf, at }),
        }
    }

    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, v)| v)
    }

    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let place = self.find(key).ok()?;
        Some(pair(&self.leaves[place.leaf][place.at]))
    }

    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let place = self.find(key).ok()?;
        Some(&mut self.leaves[place.leaf][place.at].1)
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.find(key).is_ok()
    }

    /// What the key had before; the key itself stays the one of then.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.leaves[place.leaf][place.at].1, value)),
            Err(place) => {
                self.put(place, (key, value));
                None
            }
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.remove_entry(key).map(|(_, v)| v)
    }

    pub fn remove_entry<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let place = self.find(key).ok()?;
        Some(self.take(place))
    }

    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        match self.find(&key) {
            Ok(place) => Entry::Occupied(OccupiedEntry::new(self, place)),
            Err(place) => Entry::Vacant(VacantEntry::new(self, place, key)),
        }
    }

    /// Takes all entries out of the other map; what is there under the same key gives way.
    pub fn append(&mut self, other: &mut Self) {
        self.extend(std::mem::take(other));
    }

    /// Takes the entries from the key on out.
    pub fn split_off<Q: Ord + ?Sized>(&mut self, key: &Q) -> Self
    where
        K: Borrow<Q>,
    {
        let (Ok(place) | Err(place)) = self.find(key);
        if place.leaf >= self.leaves.len() {
            return Self::new();
        }
        let mut leaves = self.leaves.split_off(place.leaf);
        let upper = leaves[0].split_off(place.at);
        let lower = std::mem::replace(&mut leaves[0], upper);
        self.leaves.push(lower);
        self.leaves.retain(|leaf| !leaf.is_empty());
        leaves.retain(|leaf| !leaf.is_empty());
        Self { leaves }
    }

    /// The entries with keys in the range; none when it is upside down.
    pub fn range<Q: Ord + ?Sized>(&self, range: impl RangeBounds<Q>) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let (start, end) = self.bounds(range);
        let whole = self.leaves.get(start.leaf + 1..end.leaf);
        match (self.leaves.get(start.leaf), whole) {
            (Some(first), Some(between)) => {
                let last = self.leaves.get(end.leaf).map_or(&[][..], |last| &last[..end.at]);
                Iter::new(&first[start.at..], between, last)
            }
            // Both ends lie in the same leaf, or nothing between them.
            (Some(only), None) if start.leaf == end.leaf => {
                Iter::new(only.get(start.at..end.at).unwrap_or_default(), &[], &[])
            }
            _ => Iter::new(&[], &[], &[]),
        }
    }

    /// The places of the first entry in the range and of the first one above it.
    fn bounds<Q: Ord + ?Sized>(&self, range: impl RangeBounds<Q>) -> (Place, Place)
    where
        K: Borrow<Q>,
    {
        let start = match range.start_bound() {
            Bound::Unbounded => Place { leaf: 0, at: 0 },
            Bound::Included(key) => self.edge(key, false),
            Bound::Excluded(key) => self.edge(key, true),
        };
        let end = match range.end_bound() {
            Bound::Unbounded => Place { leaf: self.leaves.len(), at: 0 },
            Bound::Included(key) => self.edge(key, true),
            Bound::Excluded(key) => self.edge(key, false),
        };
        (start, end)
    }

    /// The place before the key, or the one past it.
    fn edge<Q: Ord + ?Sized>(&self, key: &Q, past: bool) -> Place
    where
        K: Borrow<Q>,
    {
        match self.find(key) {
            Ok(place) => Place { at: place.at + usize::from(past), ..place },
            Err(place) => place,
        }
    }
}

fn pair<K, V>(entry: &(K, V)) -> (&K, &V) {
    (&entry.0, &entry.1)
}

impl<K, V> Default for BTreeMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for BTreeMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> Extend<(K, V)> for BTreeMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for BTreeMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut out = Self::new();
        out.extend(entries);
        out
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for BTreeMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Borrow<Q> + Ord, V, Q: Ord + ?Sized> Index<&Q> for BTreeMap<K, V> {
    type Output = V;
    /// # Panics
    /// Where the key is not there.
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("the key is in the map")
    }
}

impl<K: Serialize, V: Serialize> Serialize for BTreeMap<K, V> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_map(self)
    }
}
