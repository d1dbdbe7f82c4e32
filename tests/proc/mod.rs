//! Tests with real processes of the built program.

mod agent;
mod cli;
mod durability;
mod executor;
mod services;
