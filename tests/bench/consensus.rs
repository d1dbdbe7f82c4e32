//! Runs the simulator of the cluster over many seeds, as `cargo bench --bench consensus`.
//!
//! `-- --seeds 1000 --from 1 --seconds 100` says how many, which is the first, and how long the
//! faults of each last. The first failing seed is printed in its shortest form and ends the bench
//! with an error; with `SIM_TRACE=1` every event of the seeds is printed.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

#[path = "../sim/engine/mod.rs"]
mod sim;

use std::process::ExitCode;

use sim::{Plan, Sums, explain, judge};
use vardo::os::clock::cpu_ns;

fn number(args: &[String], name: &str, or: u64) -> u64 {
    let at = args.iter().position(|a| a == name);
    at.and_then(|at| args.get(at + 1)).and_then(|v| v.parse().ok()).unwrap_or(or)
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let [seeds, from, seconds] = [("--seeds", 1000), ("--from", 1), ("--seconds", 100)]
        .map(|(name, or)| number(&args, name, or));
    let traced = std::env::var_os("SIM_TRACE").is_some();
    let mut sums = Sums::default();
    let begun = cpu_ns();
    for seed in from..from + seeds {
        let report = judge(&Plan::new(seed, seconds), traced, None);
        for line in &report.trace {
            println!("{line}");
        }
        if let Some(failure) = &report.failure {
            println!("{}", explain(seed, seconds, failure));
            return ExitCode::FAILURE;
        }
        sums.add(seed, report);
    }
    let minutes = cpu_ns().saturating_sub(begun) as f64 / 60e9;
    let hours = sums.time as f64 / 3600e9;
    println!(
        "{} seeds, {hours:.1} simulated hours, {} events, {} writes, {} histories too long\n\
         hash {:016x}\n\
         {:.0} simulated hours for a minute of one processor",
        sums.seeds,
        sums.events,
        sums.written,
        sums.open,
        sums.hash,
        hours / minutes,
    );
    for (what, n) in &sums.sometimes {
        println!("{n:>9} {what}");
    }
    ExitCode::SUCCESS
}
