//! Tests with real processes of the built program.

mod cli;
mod executor;
