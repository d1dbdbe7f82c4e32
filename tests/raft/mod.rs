//! The consensus core: a lone voter, scripts of small clusters.

mod cluster;
mod disk;
mod lone;
mod scripts;
