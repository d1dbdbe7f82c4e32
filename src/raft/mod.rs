//! Consensus over opaque entries.
