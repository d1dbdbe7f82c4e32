//! The table of commands for what is around a cluster: files, locks, setting up, logging in.

use super::command::{Command, Run, api, local};
use super::{compose, debug, fmt, help, lock, login, setup, stored};

pub(super) const TOOLS: &[Command] = &[
    api(
        "var lock",
        "<path> <command>...",
        "Run a command while a variable's lock is held",
        "ttl=<duration> How long the lock outlives this command; 15s if not given
        delay=<duration> How long nobody gets it after that; 15s if not given
        max-retry=<n> Give up after so many tries; else wait
        shell By a shell; on unless =false",
        Run::Do(lock::run),
    ),
    api(
        "login",
        "",
        "Get a token by an identity provider",
        "method=<name> Method to log in by; else the default one
        type=<type> Type of the method: JWT or OIDC
        login-token=<token> Of type JWT: the provider's token; - reads it from standard input
        oidc-callback-addr=<address> Of type OIDC: where the browser comes back to; \
            localhost:4649 if not given
        json\nt",
        Run::Do(login::run),
    ),
    local(
        "job convert",
        "<compose.yaml>",
        "Make a job file of a compose file",
        "driver=<name> Driver of the tasks: docker, or raw_exec
        name=<job> Name of the job; else that of the file
        out=<path> Write it there, where nothing is yet; else print it",
        Run::Do(compose::run),
    ),
    api(
        "operator debug, debug",
        "",
        "Put what helps to find a fault into an archive",
        "output=<folder> Where to write the archive; else here
        duration=<duration> Go on capturing metrics for so long
        interval=<duration> How often; 30s if not given
        log-level=<level> Of the logs: TRACE, DEBUG, INFO, WARN or ERROR",
        Run::Do(debug::run),
    ),
    local(
        "operator raft info",
        "<data_dir>",
        "Show what a server that is not running remembers of consensus",
        "",
        Run::Do(stored::info),
    ),
    local(
        "operator raft logs",
        "<data_dir>",
        "Print its log as JSON, an entry a line, without secrets",
        "",
        Run::Do(stored::logs),
    ),
    local(
        "operator raft state",
        "<data_dir>",
        "Print its state as JSON, without secrets",
        "",
        Run::Do(stored::state),
    ),
    local(
        "operator client-state",
        "<data_dir>",
        "Print what a client that is not running remembers as JSON, without secrets",
        "",
        Run::Do(stored::client),
    ),
    local(
        "setup",
        "",
        "Write a configuration and a service for an agent, and check the machine",
        "check Only check the machine
        init=<name> Service manager: systemd, openrc or procd; else the one that runs
        servers=<n> Servers that the cluster begins with; 1 if not given
        bind=<address> Address of this machine; else only itself is served
        join=<addresses> Of several servers: their addresses, with commas
        encrypt=<key> Of several servers: the secret of the first one's configuration
        name=<name> Name of the agent; else that of the machine
        data-dir=<path> Where the state lives; /var/lib/vardo if not given
        config=<path> Folder of the configuration; /etc/vardo if not given
        program=<path> Where the program will be; else where it is
        root=<path> Write below this folder, which is to become a machine's root",
        Run::Do(setup::run),
    ),
    local(
        "setup consul",
        "",
        "Say that vardo does not speak to Consul",
        "destroy Taken for compatibility\ny Taken for compatibility",
        Run::Do(|_, _| setup::absent("Consul")),
    ),
    local(
        "setup vault",
        "",
        "Say that vardo does not speak to Vault",
        "destroy Taken for compatibility\ny Taken for compatibility",
        Run::Do(|_, _| setup::absent("Vault")),
    ),
    local(
        "migrate",
        "",
        "What is different for who comes from elsewhere",
        "",
        Run::Do(help::migrate),
    ),
    local(
        "fmt",
        "[path]...",
        "Bring files in HCL into their usual form",
        "check Change nothing; the exit status is 1 where something would be
        list Print the names of files that change; on unless =false
        write Write the files; on unless =false
        recursive Look into directories below too",
        Run::Do(fmt::run),
    ),
];
