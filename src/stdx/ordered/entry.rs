//! The entry of a key, there or not, found once.

use super::{BTreeMap, Place};

/// What a map holds under a key, or the place where it would.
#[derive(Debug)]
pub enum Entry<'a, K, V> {
    Vacant(VacantEntry<'a, K, V>),
    Occupied(OccupiedEntry<'a, K, V>),
}

#[derive(Debug)]
pub struct VacantEntry<'a, K, V> {
    map: &'a mut BTreeMap<K, V>,
    place: Place,
    key: K,
}

#[derive(Debug)]
pub struct OccupiedEntry<'a, K, V> {
    map: &'a mut BTreeMap<K, V>,
    place: Place,
}

impl<'a, K, V> Entry<'a, K, V> {
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        match self {
            Self::Vacant(entry) => entry.insert(make()),
            Self::Occupied(entry) => entry.into_mut(),
        }
    }

    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    pub fn and_modify(mut self, change: impl FnOnce(&mut V)) -> Self {
        if let Self::Occupied(entry) = &mut self {
            change(entry.get_mut());
        }
        self
    }
}

impl<'a, K, V> VacantEntry<'a, K, V> {
    pub(super) fn new(map: &'a mut BTreeMap<K, V>, place: Place, key: K) -> Self {
        Self { map, place, key }
    }

    pub fn key(&self) -> &K {
        &self.key
    }

    pub fn insert(self, value: V) -> &'a mut V {
        let place = self.map.put(self.place, (self.key, value));
        &mut self.map.leaves[place.leaf][place.at].1
    }
}

impl<'a, K, V> OccupiedEntry<'a, K, V> {
    pub(super) fn new(map: &'a mut BTreeMap<K, V>, place: Place) -> Self {
        Self { map, place }
    }

    pub fn get(&self) -> &V {
        &self.map.leaves[self.place.leaf][self.place.at].1
    }

    pub fn get_mut(&mut self) -> &mut V {
        &mut self.map.leaves[self.place.leaf][self.place.at].1
    }

    pub fn into_mut(self) -> &'a mut V {
        &mut self.map.leaves[self.place.leaf][self.place.at].1
    }

    /// What was there before.
    pub fn insert(&mut self, value: V) -> V {
        std::mem::replace(self.get_mut(), value)
    }

    pub fn remove(self) -> V {
        self.map.take(self.place).1
    }
}
