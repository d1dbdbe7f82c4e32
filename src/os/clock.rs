//! The one place that reads clocks.

use crate::stdx::Now;

use super::linux::clock_ns;

/// Reads both clocks: one that runs through suspend and never goes back, and the wall clock.
#[must_use]
pub fn now() -> Now {
    Now { mono_ns: mono_ns(), wall_ns: wall_ns() }
}

/// Nanoseconds that never go back (CLOCK_BOOTTIME).
#[must_use]
pub fn mono_ns() -> u64 {
    u64::try_from(clock_ns(libc::CLOCK_BOOTTIME)).unwrap_or(0)
}

/// Nanoseconds since the epoch (CLOCK_REALTIME).
#[must_use]
pub fn wall_ns() -> i64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// Nanoseconds that this process has run on a core.
#[must_use]
pub fn cpu_ns() -> u64 {
    u64::try_from(clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)).unwrap_or(0)
}
