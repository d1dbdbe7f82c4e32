//! The state in LMDB.
