//! Sorting and gathering without a copy of the standard library's sort for each type: such a copy
//! is five kilobytes of code, and gathering into a `BTreeMap` or `BTreeSet` takes one as well.

use std::cmp::Ordering;

/// Sorts; equal items keep their order.
pub fn by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let mut order = order(items.len(), &|a, b| compare(&items[a], &items[b]));
    for place in 0..items.len() {
        // What stood there at first may have made room for an item before it, even repeatedly.
        let mut from = order[place];
        while from < place {
            from = order[from];
        }
        order[place] = from;
        items.swap(place, from);
    }
}

/// [`by`] a part of each item.
pub fn by_key<T, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    by(items, |a, b| key(a).cmp(&key(b)));
}

/// The places of the items in the order that they belong in.
fn order(len: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by(|a, b| compare(*a, *b));
    order
}

/// A map or a set of items, put in one by one; later ones replace equal ones.
pub fn gather<C: Default + Extend<T>, T>(items: impl IntoIterator<Item = T>) -> C {
    let mut out = C::default();
    out.extend(items);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_sorted_and_equal_ones_keep_their_order() {
        // Every order of up to six items, some of them equal.
        for len in 0..=6usize {
            for code in 0..4usize.pow(len as u32) {
                let digit = |at: usize| code / 4usize.pow(at as u32) % 4;
                let mut items: Vec<(usize, usize)> = (0..len).map(|at| (digit(at), at)).collect();
                let mut expected = items.clone();
                expected.sort_by_key(|(digit, _)| *digit);
                by_key(&mut items, |(digit, _)| *digit);
                assert_eq!(items, expected);
            }
        }
        let mut long: Vec<u32> = (0..1000u32).map(|n| n.wrapping_mul(2_654_435_761)).collect();
        let mut expected = long.clone();
        expected.sort_unstable();
        by(&mut long, u32::cmp);
        assert_eq!(long, expected);
        // A rotation is the worst there is: each item moves once for each that is put in place.
        let mut turned: Vec<u32> = (1..100_000).chain([0]).collect();
        by(&mut turned, u32::cmp);
        assert!(turned.is_sorted());
    }

    #[test]
    fn later_items_replace_equal_ones() {
        let map: crate::stdx::BTreeMap<u8, u8> = gather([(1, 2), (0, 3), (1, 4)]);
        assert_eq!(map.into_iter().collect::<Vec<_>>(), [(0, 3), (1, 4)]);
    }
}
