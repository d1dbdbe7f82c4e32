//! Picks the program: the parent of one task, or the command line (whose `agent` is the agent).

fn main() -> std::process::ExitCode {
    let args: Vec<String> =
        std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let status = vardo::cli::main(&args);
    std::process::ExitCode::from(u8::try_from(status).unwrap_or(1))
}
