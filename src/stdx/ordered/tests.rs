//! The same operations on these and on the standard library's maps give the same.

#![expect(clippy::disallowed_types, reason = "what these are held against")]

use std::collections::BTreeMap as Model;
use std::ops::Bound;

use super::{BTreeMap, BTreeSet, Entry, LEAF_MAX};

/// Numbers that look random.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn check(map: &BTreeMap<u64, u64>, model: &Model<u64, u64>) {
    assert!(map.iter().eq(model.iter()));
    assert!(map.iter().rev().eq(model.iter().rev()));
    assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
    assert_eq!(map.first_key_value(), model.first_key_value());
    assert_eq!(map.last_key_value(), model.last_key_value());
    assert!(map.leaves.iter().all(|leaf| (1..=LEAF_MAX).contains(&leaf.len())));
}

#[test]
fn every_operation_gives_what_a_tree_gives() {
    for seed in 0..60 {
        let mut draw = Draw(seed);
        let keys = [3, 40, 300, 5_000][seed as usize % 4];
        let (mut map, mut model) = (BTreeMap::new(), Model::new());
        for step in 0..2_000 {
            let (key, value) = (draw.below(keys), draw.below(1_000));
            // More is added in the first half, more taken out in the second.
            match draw.below(if step < 1_000 { 14 } else { 22 }) {
                0..8 => assert_eq!(map.insert(key, value), model.insert(key, value)),
                8 => {
                    *map.entry(key).or_insert(1) += value;
                    *model.entry(key).or_insert(1) += value;
                }
                9 => assert_eq!(map.get_mut(&key), model.get_mut(&key)),
                10 => {
                    let (low, high) = (key.min(value), key.max(value));
                    assert!(map.range(low..high).eq(model.range(low..high)));
                    assert!(map.range(..=high).rev().eq(model.range(..=high).rev()));
                    let above = (Bound::Excluded(low), Bound::Unbounded);
                    assert!(map.range::<u64>(above).eq(model.range(above)));
                }
                11 if draw.below(8) == 0 => {
                    let (mut upper, mut other) = (map.split_off(&key), model.split_off(&key));
                    check(&map, &model);
                    check(&upper, &other);
                    map.append(&mut upper);
                    model.append(&mut other);
                }
                12 if draw.below(8) == 0 => {
                    let odd = draw.below(7);
                    map.retain(|k, v| *k % 7 != odd || *v > 500);
                    model.retain(|k, v| *k % 7 != odd || *v > 500);
                }
                13 => assert_eq!(map.pop_first(), model.pop_first()),
                14 => assert_eq!(map.pop_last(), model.pop_last()),
                _ => assert_eq!(map.remove(&key), model.remove(&key)),
            }
            assert_eq!(map.get(&key), model.get(&key));
            if step % 16 == 0 {
                check(&map, &model);
            }
        }
        check(&map, &model);
        map.iter_mut().for_each(|(_, v)| *v += 1);
        model.values_mut().for_each(|v| *v += 1);
        assert!(map.clone().into_iter().rev().eq(model.clone().into_iter().rev()));
        assert!(map.into_iter().eq(model));
    }
}

#[test]
fn walks_from_both_ends_meet() {
    let map: BTreeMap<u64, ()> = (0..200).map(|n| (n, ())).collect();
    let mut keys = map.range(10..190).map(|(n, ())| *n);
    let (mut low, mut high) = (10, 190);
    while let Some(next) = keys.next() {
        assert_eq!(next, low);
        low += 1;
        if let Some(back) = keys.next_back() {
            high -= 1;
            assert_eq!(back, high);
        }
    }
    assert_eq!((low, high, keys.next_back()), (100, 100, None));
}

#[test]
fn keys_in_order_fill_their_leaves() {
    let map: BTreeMap<usize, ()> = (0..LEAF_MAX * 10).map(|n| (n, ())).collect();
    assert_eq!(map.leaves.len(), 10);
}

#[test]
fn a_range_that_is_upside_down_is_empty() {
    let map: BTreeMap<u32, ()> = (0..200).map(|n| (n, ())).collect();
    for (low, high) in [(150, 10), (11, 10), (300, 250)] {
        assert_eq!(map.range(low..high).next(), None);
    }
}

#[test]
fn entries_tell_what_was_there() {
    let mut map = BTreeMap::from([("a", 1)]);
    let Entry::Occupied(mut there) = map.entry("a") else { panic!("it is there") };
    assert_eq!((*there.get(), there.insert(2), there.remove()), (1, 1, 2));
    let Entry::Vacant(free) = map.entry("a") else { panic!("it was taken out") };
    assert_eq!((*free.key(), *free.insert(3)), ("a", 3));
    map.entry("a").and_modify(|n| *n += 1).or_default();
    assert_eq!(format!("{map:?} {:?}", BTreeSet::from([2, 1])), r#"{"a": 4} {1, 2}"#);
    assert_eq!(map["a"], 4);
}
