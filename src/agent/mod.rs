//! The agent: configuration, core and the loop that runs it.

mod boot;
mod call;
mod channel;
mod cluster;
pub mod config;
pub mod config_file;
mod config_keys;
mod config_print;
mod config_server;
mod config_tree;
mod consensus;
mod core;
mod digests;
mod door;
mod events;
mod exec;
mod facts;
mod fetch;
mod files;
mod front;
mod joins;
mod journal;
mod log_file;
mod logger;
mod long_list;
mod mesh;
mod metrics;
mod names;
pub mod offline;
mod plugins;
mod probes;
mod pump;
mod recover;
mod regions;
mod relay;
mod remote;
mod removals;
mod replicate;
mod restore;
mod run;
mod secured;
mod serve;
pub mod snapshots;
mod sock;
mod tasks;
mod tokens;
mod transfer;
mod watch;
mod wires;

use config::Config;
use run::End;

use crate::os::fs::remove_tree;

/// Reads the configuration again, as at the start.
pub type Reload = Box<dyn FnMut() -> Result<Config, String>>;

/// Exit status after a failure of the disk (EX_IOERR): what is on it must be looked at first.
const EXIT_DISK: i32 = 74;

/// Runs the agent until it is told to stop; the process's exit status.
pub fn run(config: &Config, mut reload: Reload) -> i32 {
    logger::start(config.log_level, &config.log_to);
    if let Err(e) = crate::os::signals::end_on_bus() {
        log::warn!("no handler of SIGBUS: {e}");
    }
    let again = Box::new(move || {
        let config = reload()?;
        logger::set(config.log_level, &config.log_to);
        tidy_up(&config);
        Ok(config)
    });
    let agent = match boot::boot(config, again) {
        Ok(agent) => agent,
        Err(e) => {
            log::error!("{e}");
            tidy_up(config);
            return 1;
        }
    };
    log::info!("vardo {} listens on {:?}", crate::VERSION, config.http);
    let status = match agent.run() {
        End::Asked => 0,
        End::Poll(e) => {
            log::error!("poll: {e}");
            1
        }
        End::Store(e) => {
            log::error!("{}", recover::advice(&e, &config.data_dir.join("store")));
            EXIT_DISK
        }
    };
    tidy_up(config);
    status
}

/// Removes what was made for this run alone.
fn tidy_up(config: &Config) {
    if config.data_dir_temporary
        && let Err(e) = remove_tree(&config.data_dir)
    {
        log::warn!("{}: {e}", config.data_dir.display());
    }
}
