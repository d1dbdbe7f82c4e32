//! Arithmetic of majorities.

use crate::stdx::sort;

/// Least number of servers that two of which sets always share one.
pub(super) const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// The greatest value that a majority has reached, given each voter's; 0 without voters.
pub(super) fn reached(mut values: Vec<u64>) -> u64 {
    if values.is_empty() {
        return 0;
    }
    sort::by(&mut values, |a, b| b.cmp(a));
    values[majority(values.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_reached() {
        assert_eq!(reached(vec![]), 0);
        assert_eq!(reached(vec![7]), 7);
        assert_eq!(reached(vec![7, 5]), 5);
        assert_eq!(reached(vec![9, 2, 5]), 5);
        assert_eq!(reached(vec![9, 2, 5, 4]), 4);
        assert_eq!(reached(vec![1, 2, 3, 4, 5]), 3);
        assert_eq!([1, 2, 3, 4, 5, 7].map(majority), [1, 2, 2, 3, 3, 4]);
    }
}
