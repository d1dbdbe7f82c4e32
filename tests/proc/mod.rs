//! Tests with real processes of the built program.

mod agent;
mod cli;
mod cluster;
mod durability;
mod executor;
mod lists;
mod nodes;
mod rollout;
mod services;
