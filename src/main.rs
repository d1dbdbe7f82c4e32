//! Picks the program: the parent of one task, or the command line (whose `agent` is the agent).
//! Nothing is set up before an executor starts: its memory is paid per task.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if let (Some(program), Some(run_dir)) = (args.next(), args.next())
        && program == "executor"
    {
        return vardo::executor::run(run_dir.as_ref());
    }
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let status = vardo::cli::main(&args);
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}
