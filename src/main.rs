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

/// The functions of the system's unwinder that the standard library names, as they are where
/// nothing is ever unwound: this binary has neither the tables for that nor names (see build.rs),
/// and a panic says its place and aborts. The calls that led to it end at once, so what would read
/// and print them, 180 KB of the standard library, is never reached and left out; the others are
/// never called, so that no process, of which each task has one, loads the unwinder's library.
/// Only where that is a shared library; elsewhere these functions would be there twice.
#[cfg(all(not(debug_assertions), target_env = "gnu"))]
#[expect(unsafe_code, reason = "functions of these names are there once")]
mod unwinder {
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_: *const u8, _: *const u8) -> i32 {
        5 // the end of the stack
    }

    macro_rules! never {
        ($($name:ident)*) => { $(
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> ! {
                std::process::abort()
            }
        )* };
    }

    never! {
        _Unwind_GetDataRelBase _Unwind_GetIP _Unwind_GetIPInfo _Unwind_GetLanguageSpecificData
        _Unwind_GetRegionStart _Unwind_GetTextRelBase _Unwind_Resume _Unwind_SetGR _Unwind_SetIP
    }
}
