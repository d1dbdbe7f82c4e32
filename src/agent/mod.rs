//! The agent: configuration, core and the loop that runs it.

mod boot;
pub mod config;
pub mod config_file;
mod config_keys;
mod config_tree;
mod consensus;
mod core;
mod facts;
mod files;
mod front;
mod run;
mod serve;
mod sock;
mod tasks;
mod watch;

use config::Config;
use run::End;

/// Runs the agent until it is told to stop; the process's exit status.
pub fn run(config: Config) -> i32 {
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    let reload = Box::new(|| log::info!("reloading the configuration"));
    let agent = match boot::boot(&config, reload) {
        Ok(agent) => agent,
        Err(e) => {
            log::error!("{e}");
            return 1;
        }
    };
    log::info!("listening on {:?}", config.http);
    let status = match agent.run() {
        End::Asked => 0,
        End::Poll(e) => {
            log::error!("poll: {e}");
            1
        }
        End::Store(e) => {
            log::error!("{e}");
            74
        }
    };
    if config.data_dir_temporary
        && let Err(e) = crate::os::fs::remove_tree(&config.data_dir)
    {
        log::warn!("{}: {e}", config.data_dir.display());
    }
    status
}
