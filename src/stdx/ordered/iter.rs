//! Walks over the entries of a map: those of a first leaf, of the leaves between, of a last one.

use std::{slice, vec};

use super::{BTreeMap, Leaf, pair};

/// Walk over entries in order.
#[derive(Debug)]
pub struct Iter<'a, K, V> {
    front: slice::Iter<'a, (K, V)>,
    between: slice::Iter<'a, Leaf<K, V>>,
    back: slice::Iter<'a, (K, V)>,
}

/// Walk over entries whose values may change.
#[derive(Debug)]
pub struct IterMut<'a, K, V> {
    front: slice::IterMut<'a, (K, V)>,
    between: slice::IterMut<'a, Leaf<K, V>>,
    back: slice::IterMut<'a, (K, V)>,
}

/// Walk that takes the entries out.
#[derive(Debug)]
pub struct IntoIter<K, V> {
    front: vec::IntoIter<(K, V)>,
    between: vec::IntoIter<Leaf<K, V>>,
    back: vec::IntoIter<(K, V)>,
}

impl<'a, K, V> Iter<'a, K, V> {
    pub(super) fn new(front: &'a [(K, V)], between: &'a [Leaf<K, V>], back: &'a [(K, V)]) -> Self {
        Self { front: front.iter(), between: between.iter(), back: back.iter() }
    }
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self { front: self.front.clone(), between: self.between.clone(), back: self.back.clone() }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.front.next() {
                return Some(pair(entry));
            }
            match self.between.next() {
                Some(leaf) => self.front = leaf.iter(),
                None => return self.back.next().map(pair),
            }
        }
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.back.next_back() {
                return Some(pair(entry));
            }
            match self.between.next_back() {
                Some(leaf) => self.back = leaf.iter(),
                None => return self.front.next_back().map(pair),
            }
        }
    }
}

impl<'a, K, V> IterMut<'a, K, V> {
    pub(super) fn new(leaves: &'a mut [Leaf<K, V>]) -> Self {
        Self { front: [].iter_mut(), between: leaves.iter_mut(), back: [].iter_mut() }
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.front.next() {
                return Some((key, value));
            }
            match self.between.next() {
                Some(leaf) => self.front = leaf.iter_mut(),
                None => return self.back.next().map(|(key, value)| (&*key, value)),
            }
        }
    }
}

impl<K, V> DoubleEndedIterator for IterMut<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.back.next_back() {
                return Some((key, value));
            }
            match self.between.next_back() {
                Some(leaf) => self.back = leaf.iter_mut(),
                None => return self.front.next_back().map(|(key, value)| (&*key, value)),
            }
        }
    }
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.front.next() {
                return Some(entry);
            }
            match self.between.next() {
                Some(leaf) => self.front = leaf.into_iter(),
                None => return self.back.next(),
            }
        }
    }
}

impl<K, V> DoubleEndedIterator for IntoIter<K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.back.next_back() {
                return Some(entry);
            }
            match self.between.next_back() {
                Some(leaf) => self.back = leaf.into_iter(),
                None => return self.front.next_back(),
            }
        }
    }
}

impl<K, V> IntoIterator for BTreeMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;

    fn into_iter(self) -> IntoIter<K, V> {
        IntoIter {
            front: Vec::new().into_iter(),
            between: self.leaves.into_iter(),
            back: Vec::new().into_iter(),
        }
    }
}

impl<'a, K, V> IntoIterator for &'a BTreeMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut BTreeMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;

    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}
