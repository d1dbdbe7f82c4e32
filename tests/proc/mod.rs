//! Tests with real processes of the built program.

mod acl;
mod agent;
mod cli;
mod cluster;
mod durability;
mod events;
mod executor;
mod kinds;
mod lists;
mod metrics;
mod monitor;
mod nodes;
mod rollout;
mod services;
mod simulate;
mod transcript;
