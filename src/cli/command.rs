//! What a command is: names, arguments, flags and what it does.

use super::args::{Args, Flag, flags};
use super::{Session, Stop, agent};

/// One command.
pub(super) struct Command {
    /// The first is the full one; the others, behind commas, do the same.
    pub(super) names: &'static str,
    /// Arguments as the usage line shows them: `<needed>`, `[optional]`, `<one or more>...`.
    pub(super) args: &'static str,
    pub(super) about: &'static str,
    /// See [`flags`].
    own: &'static str,
    /// Takes the general options: it speaks to an agent.
    pub(super) remote: bool,
    pub(super) run: Run,
}

/// A command's function: an exit status, or why there was nothing to do.
pub(super) type Code = fn(&mut Session<'_>, &Args) -> Result<i32, Stop>;

/// What a command does.
#[derive(Clone, Copy)]
pub(super) enum Run {
    Do(Code),
    /// Reads its flags itself.
    Raw(Code),
    /// GET of a list: what it is of, path, columns (see `format::rows`).
    List(&'static str, &'static str, &'static str),
    /// GET of an object: what it is, path, lines (see `format::fields`).
    Show(&'static str, &'static str, &'static str),
    /// A request: what goes wrong, method, path, what is said at the end.
    Send(&'static str, &'static str, &'static str, &'static str),
}

/// A command that speaks to an agent.
pub(super) const fn api(
    names: &'static str,
    args: &'static str,
    about: &'static str,
    own: &'static str,
    run: Run,
) -> Command {
    Command { names, args, about, own, remote: true, run }
}

/// A command that does not.
pub(super) const fn local(
    names: &'static str,
    args: &'static str,
    about: &'static str,
    own: &'static str,
    run: Run,
) -> Command {
    Command { names, args, about, own, remote: false, run }
}

impl Command {
    pub(super) fn name(&self) -> &'static str {
        self.names.split(',').next().unwrap_or_default()
    }

    /// Exit status of a mistake. Source: the contract; 1 of a plan says that there are changes.
    pub(super) fn failure(&self) -> i32 {
        if self.name() == "job plan" { 255 } else { 1 }
    }

    /// Flags of its own, without the general options.
    pub(super) fn own_flags(&self) -> Vec<Flag> {
        if matches!(self.run, Run::Raw(_)) { agent::flags() } else { flags(self.own, COMMON) }
    }

    /// All flags.
    pub(super) fn all_flags(&self) -> Vec<Flag> {
        let mut all = self.own_flags();
        if self.remote {
            all.extend(flags(GENERAL, COMMON));
        }
        all
    }
}

/// Options of every command that speaks to an agent.
pub(super) const GENERAL: &str = "\
    address=<addr> Address of the agent, http[s]://host:port or unix:///path; also NOMAD_ADDR
    region=<region> Region to ask; also NOMAD_REGION
    namespace=<namespace> Namespace to work in, * for all; also NOMAD_NAMESPACE
    token=<token> Secret of a token; also NOMAD_TOKEN
    ca-cert=<path> File of the CAs that sign certificates of agents; also NOMAD_CACERT
    ca-path=<path> Folder of such files; also NOMAD_CAPATH
    client-cert=<path> Certificate to show to the agent; also NOMAD_CLIENT_CERT
    client-key=<path> Its key; also NOMAD_CLIENT_KEY
    tls-server-name=<name> Name in the agent's certificate; also NOMAD_TLS_SERVER_NAME
    tls-skip-verify Believe whoever answers; also NOMAD_SKIP_VERIFY
    insecure The same
    no-color Plain output, nothing redrawn in place; also NOMAD_CLI_NO_COLOR
    force-color Colours although the output is no terminal; also NOMAD_CLI_FORCE_COLOR";

/// Flags that mean the same wherever they are.
pub(super) const COMMON: &str = "\
    verbose Show full ids and more detail
    json Print the API's objects as JSON
    t=<template> Print the API's objects by a template such as '{{range .}}{{.ID}}{{end}}'
    detach Return at once instead of following what happens
    yes Do not ask
    var=<name=value> Value of a variable of the file; repeatable
    var-file=<path> File of values of variables; repeatable
    hcl2-strict Refuse values of undeclared variables; on unless =false
    eval-priority=<n> Priority of the evaluation
    check-index=<n> Change it only where its modify index is n; 0: where there is none
    policy-override Taken for compatibility
    no-shutdown-delay Ignore the shutdown delay of groups and tasks
    filter=<expression> Only what the expression is true for
    per-page=<n> At most so many
    page-token=<token> Go on from where a page ended
    self The node of the agent that is asked
    task=<task> Task of the allocation
    job The argument is a job: take one of its allocations
    tail Begin near the end: the last 10 lines, or as -n or -c say
    f Go on with what is written from now on
    n=<lines> Begin with the last lines
    c=<bytes> Begin with the last bytes
    description=<text> Text for people
    group=<group> With -job: a group of that job
    ui Say where the web page shows it";
