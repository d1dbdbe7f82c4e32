//! Every size, count, time-out and default in one place: unit, reason, source, and what happens at the limit.

/// Longest filter expression, in bytes. Reached: 400. Source: the request line's limit, divided.
pub const FILTER_BYTES_MAX: usize = 8 << 10;
/// Most levels of brackets and `not`, and most comparisons, of a filter. Reached: 400. Bounds the
/// depth of the recursion that parses and evaluates it.
pub const FILTER_DEPTH_MAX: usize = 128;

/// Longest pattern of a `regexp` constraint, in bytes; longer ones never match. Patterns come from
/// job authors and are compiled by the leader.
pub const SCHED_REGEX_PATTERN_BYTES_MAX: usize = 4096;
/// Largest compiled form of such a pattern, in bytes; larger ones never match. Bounds memory and,
/// as matching takes pattern times text, time.
pub const SCHED_REGEX_PROGRAM_BYTES_MAX: usize = 256 * 1024;
