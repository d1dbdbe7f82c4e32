//! Picks the program from the first argument. Nothing is set up before an executor starts: its memory is paid per task.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match (args.next(), args.next()) {
        (Some(program), Some(run_dir)) if program == "executor" => {
            vardo::executor::run(run_dir.as_ref())
        }
        _ => ExitCode::FAILURE,
    }
}
