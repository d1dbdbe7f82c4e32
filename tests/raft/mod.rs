//! The consensus core: a lone voter, scripts of small clusters, random runs.

mod disk;
mod lone;
