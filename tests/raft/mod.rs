//! The consensus core: a lone voter, scripts of small clusters, random runs.

mod cluster;
mod disk;
mod lone;
mod random;
mod scripts;
