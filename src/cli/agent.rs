//! `agent` and `version`.

use super::args::{Args, Flag};
use super::{Session, Stop, system};
use crate::agent::config::Config;
use crate::agent::config_file::FLAGS;
use crate::{API_VERSION, VERSION};

/// Reads the configuration and becomes the agent.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    match Config::load(&args.positionals) {
        Ok(config) => {
            let dev = args.positionals.iter().any(|a| a.trim_start_matches('-') == "dev");
            if dev && system::is_terminal() {
                let next = "in another shell: vardo job init, then vardo job run example.nomad.hcl";
                session.warn(&format!("==> Next, {next}\n==> Ctrl-C ends this agent"));
            }
            for warning in config.warnings() {
                session.warn(&format!("WARNING: {warning}"));
            }
            let given = args.positionals.clone();
            Ok(crate::agent::run(&config, Box::new(move || Config::load(&given))))
        }
        Err(text) => {
            session.warn(&format!("==> {text}"));
            if args.positionals.is_empty() {
                session.warn(
                    "For a first look: vardo agent -dev; one that keeps its state: vardo agent \
                     -data-dir /var/lib/vardo; with a service of the system: vardo setup",
                );
            }
            Ok(1)
        }
    }
}

/// Prints what this program is.
pub(super) fn version(session: &mut Session<'_>, _args: &Args) -> Result<i32, Stop> {
    session.say(&version_line());
    Ok(0)
}

/// Own version and that of the API.
pub(super) fn version_line() -> String {
    format!("Vardo v{} (Nomad API {API_VERSION})", VERSION)
}

/// The agent's flags in the form that help prints.
pub(super) fn flags() -> Vec<Flag> {
    FLAGS
        .iter()
        .map(|f| Flag { name: f.name, value: if f.switch { "" } else { "<value>" }, help: f.help })
        .collect()
}

/// Tells what is wrong with files or directories of configuration, taken together.
pub(super) fn validate(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let flags: Vec<String> = args.positionals.iter().map(|p| format!("-config={p}")).collect();
    let config = Config::load(&flags)?;
    for warning in config.warnings() {
        session.warn(&format!("WARNING: {warning}"));
    }
    session.say("Configuration is valid!");
    Ok(0)
}
