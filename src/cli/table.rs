//! Every command: names, arguments, flags and what it does. The rest stands in `table_rest.rs`
//! and `table_tools.rs`.

use super::command::{Command, Run, api, local};
use super::methods::METHODS;
use super::table_rest::REST;
use super::table_tools::TOOLS;
use super::volume::VOLUME;
use super::{
    agent, alloc, deployment, drain, exec, fs, job, job_change, job_init, job_show, job_status,
    lists, logs, node, plan, simulate,
};

/// First words that several commands share.
pub(super) const GROUPS: &[(&str, &str)] = &[
    ("acl", "Tokens, policies and roles."),
    ("acl auth-method", "Ways to log in."),
    ("acl binding-rule", "What people may do who log in."),
    ("acl policy", "Policies: what may be done."),
    ("acl role", "Roles: policies under one name."),
    ("acl token", "Tokens: who may do it."),
    ("alloc", "Look at allocations and act on them."),
    ("config", "Configuration of agents."),
    ("deployment", "Look at deployments and act on them."),
    ("eval", "Look at evaluations."),
    ("job", "Run, look at and stop jobs."),
    ("job periodic", "Jobs that run by the clock."),
    ("job tag", "Names for versions of a job."),
    ("namespace", "Parts of the cluster with names of their own."),
    ("node", "Look at nodes and act on them."),
    ("node identity", "Tokens that nodes prove themselves with."),
    ("node intro", "Tokens that let new nodes in."),
    ("node meta", "Metadata of a node."),
    ("node pool", "Groups of nodes."),
    ("operator", "The cluster itself."),
    ("operator autopilot", "How servers look after each other."),
    ("operator gossip", "The secret that servers know each other by."),
    ("operator gossip keyring", "The secret that servers know each other by."),
    ("operator raft", "Consensus between the servers."),
    ("operator root", "The cluster's own keys."),
    ("operator root keyring", "Keys that variables and identities are kept with."),
    ("operator scheduler", "How work is placed."),
    ("operator snapshot", "The whole state as a file."),
    ("scaling", "Policies of scaling."),
    ("scaling policy", "Policies of scaling."),
    ("server", "Servers of the cluster."),
    ("service", "Registered services."),
    ("system", "Upkeep of the cluster."),
    ("system reconcile", "Upkeep of summaries."),
    ("tls", "Certificates of agents and people."),
    ("tls ca", "The CA of a cluster."),
    ("tls cert", "What the CA signs."),
    ("var", "Variables: small values that are kept encrypted."),
    ("volume", "Volumes: directories that outlive allocations."),
    ("volume claim", "Which jobs hold which volumes."),
    ("volume snapshot", "Snapshots of volumes of CSI plugins."),
    ("plugin", "CSI plugins."),
];

/// Of a job file.
const FILE: &str = "json The file is JSON whatever it looks like\nvar\nvar-file\nhcl2-strict";

/// All commands, in the order of the help.
pub(super) fn commands() -> impl Iterator<Item = &'static Command> {
    MAIN.iter().chain(REST).chain(METHODS).chain(TOOLS).chain(VOLUME)
}

const MAIN: &[Command] = &[
    local("agent", "[options]", "Run an agent", "", Run::Raw(agent::run)),
    api(
        "job run, run",
        "<path>",
        "Submit a job and follow it until it runs",
        "detach\nverbose\njson The file is JSON whatever it looks like\nvar\nvar-file\nhcl2-strict
        output Print the job as it would be submitted, and stop
        check-index\neval-priority\npolicy-override
        preserve-counts Keep the counts of groups that run
        preserve-resources Keep the resources of tasks that run
        ui",
        Run::Do(job::run),
    ),
    api(
        "job plan, plan",
        "<path>",
        "Show what running a job would change, and whether there is room",
        "json The file is JSON whatever it looks like\nvar\nvar-file\nhcl2-strict
        diff Show the difference; on unless =false
        json-output Print the API's answer as JSON
        t\npolicy-override\nverbose",
        Run::Do(plan::run),
    ),
    api(
        "job validate, validate",
        "<path>",
        "Tell what is wrong with a job file",
        FILE,
        Run::Do(job::validate),
    ),
    api(
        "job status",
        "[job]",
        "Show jobs, or one job",
        "short Only the job itself
        evals Show its evaluations
        all-allocs Show allocations of former jobs of that name too
        verbose\njson\nt\nui",
        Run::Do(job_status::run),
    ),
    api(
        "job stop, stop",
        "<job>...",
        "Stop jobs",
        "detach\nverbose
        purge Remove the job at once
        global Stop it in all of its regions
        yes\nno-shutdown-delay\neval-priority",
        Run::Do(job::stop),
    ),
    api(
        "job start, start",
        "<job>",
        "Start a stopped job again",
        "detach\nverbose",
        Run::Do(job_change::start),
    ),
    api(
        "job inspect, inspect",
        "<job>",
        "Print a job as the server keeps it",
        "json Taken for compatibility: it is JSON in any case
        hcl Print the file it was submitted with
        with-vars With -hcl: the variables too
        version=<n> Another version than the newest
        t",
        Run::Do(job_show::inspect),
    ),
    api(
        "job history",
        "<job>",
        "Show versions of a job",
        "p Show what each version changed
        full Show each version whole
        version=<n> Only this version
        diff-version=<n> Compare with this version
        diff-tag=<name> Compare with the version of this name
        json\nt",
        Run::Do(job_show::history),
    ),
    api(
        "job revert",
        "<job> <version or tag>",
        "Run a former version of a job again",
        "detach\nverbose",
        Run::Do(job_change::revert),
    ),
    api(
        "job scale",
        "<job> [group] <count>",
        "Change how many instances of a group run",
        "detach\nverbose\ncheck-index",
        Run::Do(job_change::scale),
    ),
    api(
        "job scaling-events",
        "<job>",
        "Show when groups of a job were scaled",
        "verbose\njson\nt",
        Run::Do(job_show::scaling_events),
    ),
    api(
        "job eval",
        "<job>",
        "Let the scheduler look at a job again",
        "detach\nverbose\nforce-reschedule Place failed allocations anew",
        Run::Do(job_change::eval),
    ),
    api(
        "job dispatch",
        "<job> [payload file]",
        "Start an instance of a parameterized job",
        "detach\nverbose
        meta=<key=value> Metadata of the instance; repeatable
        id-prefix-template=<text> Part of the instance's id
        idempotency-token=<text> With the same token only one instance runs
        priority=<n> Priority of the instance
        wait Follow it until it has ended
        ui",
        Run::Do(job_change::dispatch),
    ),
    api(
        "job periodic force",
        "<job>",
        "Start a periodic job now",
        "detach\nverbose",
        Run::Do(job_change::periodic_force),
    ),
    api(
        "job promote",
        "<job>",
        "Let the canaries of a job's deployment take over",
        "detach\nverbose\ngroup=<group> Only this group; repeatable",
        Run::Do(job_change::promote),
    ),
    api(
        "job action",
        "<action>",
        "Run a command that a job holds ready",
        "job=<job> Job of the action
        alloc=<allocation> Where to run it; else the newest allocation that runs
        group=<group> Group of the action
        task=<task> Task of the action
        i Pass standard input on; on unless =false
        t With a terminal; on where this is one
        e=<key> Key that ends the command, with a dot at the beginning of a line (none: no key)",
        Run::Do(exec::action),
    ),
    api(
        "job allocs",
        "<job>",
        "Show a job's allocations",
        "all Those of former jobs of that name too\nverbose\njson\nt",
        Run::Do(job_show::allocs),
    ),
    api(
        "job deployments",
        "<job>",
        "Show a job's deployments",
        "all Those of former jobs of that name too
        latest Only the newest
        verbose\njson\nt",
        Run::Do(job_show::deployments),
    ),
    api(
        "job restart",
        "<job>",
        "Restart the tasks of a job, some allocations at a time",
        "all-tasks Tasks that have ended too
        batch-size=<n or n%> So many at a time; 1 if not given
        batch-wait=<duration> Time between batches, or ask
        group=<group> Only this group; repeatable
        task=<task> Only this task; repeatable
        no-shutdown-delay
        on-error=<action> Where one cannot be restarted: fail, skip or ask; fail if not given
        reschedule Replace allocations instead of restarting them
        verbose\nyes",
        Run::Do(job_change::restart),
    ),
    api(
        "job tag apply",
        "<job>",
        "Give a version of a job a name",
        "name=<name> The name
        version=<n> The version; the newest if not given
        description",
        Run::Do(job_change::tag_apply),
    ),
    api(
        "job tag unset",
        "<job>",
        "Take a name from a version of a job",
        "name=<name> The name",
        Run::Do(job_change::tag_unset),
    ),
    api(
        "job init, init",
        "[path]",
        "Write a job file to begin with",
        "short Without comments
        template=<name> Another kind of job, or one of the variables below nomad/job-templates
        list-templates Show which there are",
        Run::Do(job_init::run),
    ),
    api(
        "alloc status",
        "<allocation>",
        "Show an allocation",
        "short Leave out resources and events
        stats Show what it uses
        verbose\njson\nt\nui",
        Run::Do(alloc::status),
    ),
    api(
        "alloc logs, logs",
        "<allocation> [task]",
        "Print what a task has written",
        "stdout Only standard output
        stderr Only standard error
        f\ntail\nn\nc\ntask\njob\ngroup\nverbose",
        Run::Do(logs::run),
    ),
    api(
        "alloc fs, fs",
        "<allocation> [path]",
        "Show files of an allocation",
        "H Sizes for people
        stat Show the file, not what is in it
        f\ntail\nn\nc\njob\ngroup\nverbose",
        Run::Do(fs::run),
    ),
    api(
        "alloc exec, exec",
        "<allocation> <command>...",
        "Run a command in a task",
        "task\njob\ngroup
        i Pass standard input on; on unless =false
        t With a terminal; on where this is one
        e=<key> Key that ends the command, with a dot at the beginning of a line (none: no key)",
        Run::Do(exec::run),
    ),
    api(
        "alloc stop",
        "<allocation>",
        "Stop an allocation and place another instead",
        "detach\nverbose\nno-shutdown-delay",
        Run::Do(alloc::stop),
    ),
    api(
        "alloc restart",
        "<allocation> [task]",
        "Restart tasks of an allocation where they are",
        "all-tasks Tasks that have ended too\ntask\nverbose",
        Run::Do(alloc::restart),
    ),
    api(
        "alloc signal",
        "<allocation> [task]",
        "Send a signal to tasks of an allocation",
        "s=<signal> SIGKILL if not given\ntask\nverbose",
        Run::Do(alloc::signal),
    ),
    api(
        "alloc pause",
        "<allocation> [task]",
        "Hold a task back whatever its schedule says, where servers have schedules",
        "state=<state> pause, run or scheduled; pause if not given
        status Show it\ntask\nverbose",
        Run::Do(alloc::pause),
    ),
    api(
        "alloc checks",
        "<allocation>",
        "Show the results of an allocation's checks",
        "verbose\njson\nt",
        Run::Do(alloc::checks),
    ),
    api(
        "node status",
        "[node]",
        "Show nodes, or one node",
        "self
        stats Show what the host uses
        allocs Count running allocations of each node
        short Only the node itself
        quiet Only ids
        filter\nper-page\npage-token\nos Show the operating system\nverbose\njson\nt\nui",
        Run::Do(node::status),
    ),
    api(
        "node drain",
        "[node]",
        "Empty a node, or end its emptying",
        "enable Begin to drain
        disable End the drain and mark the node eligible
        deadline=<duration> After which all that is left stops; 1h without
        no-deadline Wait for as long as it takes
        force Stop everything at once
        ignore-system Let system jobs stay
        keep-ineligible With -disable: the node takes nothing new yet
        m=<text> Why, for the node's record
        meta=<key=value> More for the node's record; repeatable
        self
        detach
        monitor Follow a drain that is under way
        yes",
        Run::Do(drain::drain),
    ),
    api(
        "node eligibility",
        "[node]",
        "Let a node take work, or nothing new",
        "enable Take work\ndisable Take nothing new\nself",
        Run::Do(drain::eligibility),
    ),
    api(
        "node config",
        "",
        "Show or set the servers that a client calls",
        "servers Show them
        update-servers=<addresses> Set them; with commas between",
        Run::Do(node::config),
    ),
    api(
        "node meta apply",
        "<key=value>...",
        "Set metadata of a node",
        "node-id=<node> The node; the one that is asked if not given
        unset=<keys> Take these away; with commas between",
        Run::Do(node::meta_apply),
    ),
    api(
        "node meta read",
        "",
        "Show metadata of a node",
        "node-id=<node> The node; the one that is asked if not given\njson\nt",
        Run::Do(node::meta_read),
    ),
    api(
        "node identity get",
        "<node>",
        "Show what a node's identity says",
        "json\nt",
        Run::Do(node::identity_get),
    ),
    api(
        "node identity renew",
        "<node>",
        "Let a node ask for a new identity",
        "verbose",
        Run::Do(node::identity_renew),
    ),
    api(
        "node intro create",
        "",
        "Make a token that lets a new node in",
        "node-name=<name> The node; any if not given
        node-pool=<pool> Its pool; default if not given
        ttl=<duration> How long it is valid; as the servers are configured if not given
        json\nt",
        Run::Do(node::intro_create),
    ),
    api(
        "node pool list",
        "",
        "Show node pools",
        "filter\nper-page\npage-token\njson\nt",
        Run::List("node pools", "/v1/node/pools", "Name|Description"),
    ),
    api(
        "node pool info",
        "<pool>",
        "Show a node pool",
        "json\nt",
        Run::Show("node pool", "/v1/node/pool/{0}", "Name|Description|Metadata=Meta"),
    ),
    api(
        "node pool nodes",
        "<pool>",
        "Show the nodes of a pool",
        "filter\nper-page\npage-token\nverbose\njson\nt",
        Run::List("nodes", "/v1/node/pool/{0}/nodes", lists::NODES),
    ),
    api(
        "node pool jobs",
        "<pool>",
        "Show the jobs of a pool",
        "filter\nper-page\npage-token\njson\nt",
        Run::List("jobs", "/v1/node/pool/{0}/jobs", lists::JOBS),
    ),
    api(
        "node pool apply",
        "<path>",
        "Make or change a node pool, from a file in HCL or JSON",
        "json The file is JSON whatever it looks like",
        Run::Do(node::pool_apply),
    ),
    local(
        "node pool init",
        "[path]",
        "Write a file of a node pool to begin with",
        "",
        Run::Do(node::pool_init),
    ),
    api(
        "node pool delete",
        "<pool>",
        "Remove a node pool",
        "",
        Run::Send(
            "deleting node pool",
            "DELETE",
            "/v1/node/pool/{0}",
            "Successfully deleted node pool \"{0}\"!",
        ),
    ),
    api(
        "deployment list",
        "",
        "Show deployments",
        "filter\nper-page\npage-token\nverbose\njson\nt",
        Run::List("deployments", "/v1/deployments", lists::DEPLOYMENTS),
    ),
    api(
        "deployment status",
        "[deployment]",
        "Show a deployment",
        "monitor Follow it to its end
        wait=<duration> Taken for compatibility: changes show at once
        verbose\njson\nt\nui",
        Run::Do(deployment::status),
    ),
    api(
        "deployment promote",
        "<deployment>",
        "Let the canaries of a deployment take over",
        "detach\nverbose\ngroup=<group> Only this group; repeatable",
        Run::Do(deployment::promote),
    ),
    api(
        "deployment fail",
        "<deployment>",
        "Call a deployment failed",
        "detach\nverbose",
        Run::Do(deployment::fail),
    ),
    api(
        "deployment pause",
        "<deployment>",
        "Let a deployment place nothing for now",
        "verbose",
        Run::Do(deployment::pause),
    ),
    api(
        "deployment resume",
        "<deployment>",
        "Let a paused deployment go on",
        "detach\nverbose",
        Run::Do(deployment::resume),
    ),
    api(
        "deployment unblock",
        "<deployment>",
        "Let a deployment that waits for other regions go on",
        "detach\nverbose",
        Run::Do(deployment::unblock),
    ),
    api(
        "simulate",
        "<path>...",
        "Show where jobs would run on a fleet that need not exist",
        "nodes=<n> So many nodes of one shape
        cpu=<MHz> Of each of them; 4000 if not given
        memory=<MB> Of each of them; 8192 if not given
        disk=<MB> Of each of them; 100000 if not given
        racks=<n> Values of ${meta.rack}, r0 and on; 1 if not given
        datacenters=<n> dc1 and on; 1 if not given
        fleet=<path> Nodes as a JSON list, as GET /v1/node/<id> prints each
        cluster The nodes of the running cluster, with what runs there
        copies=<n> Hand in each job so many times, under ids of its own
        algorithm=<name> binpack or spread; binpack if not given
        preempt Important jobs may take the place of others
        kill=<n> Let so many nodes die once all is placed
        seed=<n> Chance: the same seed gives the same outcome; 1 if not given
        svg=<path> Draw how full each node is
        var\nvar-file\nhcl2-strict
        verbose Show every group, node and allocation
        json Print the outcome as JSON",
        Run::Do(simulate::run),
    ),
];

/// Most words of a name.
const WORDS_MAX: usize = 4;

/// The command that `args` begin with, and how many words it took. Longer names first; names of
/// before there were groups (`node-status`) are known too.
pub(super) fn find(args: &[String]) -> Option<(&'static Command, usize)> {
    let has = |name: &str| commands().find(|c| c.names.split(", ").any(|n| n == name));
    for words in (1..=WORDS_MAX).rev() {
        if let Some(command) = args.get(..words).and_then(|w| has(&w.join(" "))) {
            return Some((command, words));
        }
    }
    let old = args.first()?;
    let (group, rest) = old.split_once('-').filter(|(g, _)| OLD_GROUPS.contains(g))?;
    has(&format!("{group} {rest}")).map(|c| (c, 1))
}

const OLD_GROUPS: &[&str] = &["alloc", "eval", "node", "server"];

/// The command that was probably meant by words that begin with a group; `None`: nothing but the
/// group was said.
pub(super) fn nearest_of_group(args: &[String]) -> Option<&'static str> {
    let said = args.join(" ");
    let of_it = |c: &&Command| c.name().split(' ').next() == args.first().map(String::as_str);
    if GROUPS.iter().any(|(name, _)| *name == said) {
        return None;
    }
    crate::hcl::diag::nearest(&said, commands().filter(of_it).map(Command::name))
}

/// The first word of a command that was probably meant.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    let names = commands().flat_map(|c| c.names.split(", "));
    crate::hcl::diag::nearest(word, names.map(|n| n.split(' ').next().unwrap_or(n)))
}
