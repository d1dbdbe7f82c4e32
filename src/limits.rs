//! Every size, count, time-out and default in one place: unit, reason, source, and what happens at the limit.
