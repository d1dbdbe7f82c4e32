//! Every size, count, time-out and default in one place: unit, reason, source, and what happens at the limit.

/// Longest filter expression, in bytes. Reached: 400. Source: the request line's limit, divided.
pub const FILTER_BYTES_MAX: usize = 8 << 10;
/// Most levels of brackets and `not`, and most comparisons, of a filter. Reached: 400. Bounds the
/// depth of the recursion that parses and evaluates it.
pub const FILTER_DEPTH_MAX: usize = 128;
