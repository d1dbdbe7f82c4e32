//! Every command: names, arguments, flags and function.

use super::args::{Args, Flag, switch, valued};
use super::{Session, Stop, agent, alloc, drain, job, job_status, logs, node, simulate};

/// One command.
pub(super) struct Command {
    /// The first is the full one; the others do the same.
    pub(super) names: &'static [&'static str],
    pub(super) about: &'static str,
    /// Arguments as the usage line shows them.
    pub(super) usage: &'static str,
    pub(super) flags: &'static [Flag],
    /// Takes the general options: it speaks to an agent.
    pub(super) general: bool,
    /// Reads its flags itself.
    pub(super) own_flags: bool,
    /// The exit status, or why there was nothing to do.
    pub(super) run: fn(&mut Session<'_>, &Args) -> Result<i32, Stop>,
}

/// Options of every command that speaks to an agent.
pub(super) const GENERAL: &[Flag] = &[
    valued(
        "address",
        "<addr>",
        "Address of the agent, http://host:port or unix:///path; also \
        NOMAD_ADDR",
    ),
    valued("region", "<region>", "Region to ask; also NOMAD_REGION"),
    valued("namespace", "<namespace>", "Namespace to work in; also NOMAD_NAMESPACE"),
    valued("token", "<token>", "Secret of a token; also NOMAD_TOKEN"),
    switch("no-color", "Plain output, nothing redrawn in place"),
    switch("force-color", "Taken for compatibility, output has no colours"),
];

/// First words that several commands share.
pub(super) const GROUPS: &[(&str, &str)] = &[
    ("alloc", "Look at allocations."),
    ("job", "Run, look at and stop jobs."),
    ("node", "Look at nodes."),
];

const VERBOSE: Flag = switch("verbose", "Show full ids and more detail");
const JSON: Flag = switch("json", "Print the API's objects as JSON");
const VAR: Flag = valued("var", "<name=value>", "Value of a variable of the file; repeatable");
const VAR_FILE: Flag = valued("var-file", "<path>", "File of values of variables; repeatable");
const HCL2_STRICT: Flag =
    switch("hcl2-strict", "Refuse values of undeclared variables; on unless =false");
const DETACH: Flag = switch("detach", "Return at once instead of following what happens");

/// All commands, in the order of the help.
pub(super) const COMMANDS: &[Command] = &[
    Command {
        names: &["agent"],
        about: "Run an agent",
        usage: "[options]",
        flags: &[],
        general: false,
        own_flags: true,
        run: agent::run,
    },
    Command {
        names: &["job run", "run"],
        about: "Submit a job and follow it until it runs",
        usage: "[options] <path>",
        flags: &[
            DETACH,
            VERBOSE,
            switch("json", "The file is JSON whatever it looks like"),
            VAR,
            VAR_FILE,
            HCL2_STRICT,
            switch("output", "Print the job as it would be submitted, and stop"),
            valued("check-index", "<n>", "Submit only where the job's modify index is n; 0: new"),
            valued("eval-priority", "<n>", "Priority of the evaluation"),
            switch("preserve-counts", "Keep the counts of groups that run"),
            switch("policy-override", "Taken for compatibility"),
        ],
        general: true,
        own_flags: false,
        run: job::run,
    },
    Command {
        names: &["job status", "status"],
        about: "Show jobs, or one job",
        usage: "[options] [job]",
        flags: &[
            switch("short", "Only the job itself"),
            switch("evals", "Show its evaluations"),
            switch("all-allocs", "Show allocations of former jobs of that name too"),
            VERBOSE,
            JSON,
        ],
        general: true,
        own_flags: false,
        run: job_status::run,
    },
    Command {
        names: &["job stop", "stop"],
        about: "Stop jobs",
        usage: "[options] <job>...",
        flags: &[
            DETACH,
            VERBOSE,
            switch("purge", "Remove the job at once"),
            switch("global", "Stop it in all of its regions"),
            switch("yes", "Do not ask"),
            switch("no-shutdown-delay", "Ignore the shutdown delay of groups and tasks"),
            valued("eval-priority", "<n>", "Priority of the evaluation"),
        ],
        general: true,
        own_flags: false,
        run: job::stop,
    },
    Command {
        names: &["node status", "node-status"],
        about: "Show nodes, or one node",
        usage: "[options] [node]",
        flags: &[
            switch("self", "The node of the agent that is asked"),
            switch("stats", "Show what the host uses"),
            switch("allocs", "Count running allocations of each node"),
            switch("short", "Only the node itself"),
            switch("quiet", "Only ids"),
            VERBOSE,
            JSON,
        ],
        general: true,
        own_flags: false,
        run: node::status,
    },
    Command {
        names: &["node drain", "node-drain"],
        about: "Empty a node, or end its emptying",
        usage: "[options] <node>",
        flags: &[
            switch("enable", "Begin to drain"),
            switch("disable", "End the drain and mark the node eligible"),
            valued("deadline", "<duration>", "After which all that is left stops; 1h without"),
            switch("no-deadline", "Wait for as long as it takes"),
            switch("force", "Stop everything at once"),
            switch("ignore-system", "Let system jobs stay"),
            switch("keep-ineligible", "With -disable: the node takes nothing new yet"),
            valued("m", "<text>", "Why, for the node's record"),
            valued("meta", "<key>=<value>", "More for the node's record"),
            switch("self", "The node of the agent that is asked"),
            switch("detach", "Do not wait for the end"),
            switch("monitor", "Follow a drain that is under way"),
            switch("yes", "Nothing is asked anyway"),
        ],
        general: true,
        own_flags: false,
        run: drain::drain,
    },
    Command {
        names: &["node eligibility", "node-eligibility"],
        about: "Let a node take work, or nothing new",
        usage: "[options] <node>",
        flags: &[
            switch("enable", "Take work"),
            switch("disable", "Take nothing new"),
            switch("self", "The node of the agent that is asked"),
        ],
        general: true,
        own_flags: false,
        run: drain::eligibility,
    },
    Command {
        names: &["alloc status", "alloc-status"],
        about: "Show an allocation",
        usage: "[options] <allocation>",
        flags: &[switch("short", "Leave out resources and events"), VERBOSE, JSON],
        general: true,
        own_flags: false,
        run: alloc::status,
    },
    Command {
        names: &["alloc logs", "logs"],
        about: "Print what a task has written",
        usage: "[options] <allocation> [task]",
        flags: &[
            switch("stdout", "Only standard output"),
            switch("stderr", "Only standard error"),
            switch("f", "Go on with what is written from now on"),
            switch("tail", "Begin near the end: the last 10 lines, or as -n or -c say"),
            valued("n", "<lines>", "Begin with the last lines"),
            valued("c", "<bytes>", "Begin with the last bytes"),
            valued("task", "<task>", "Task of the allocation"),
            switch("job", "The argument is a job: take one of its allocations"),
            VERBOSE,
        ],
        general: true,
        own_flags: false,
        run: logs::run,
    },
    Command {
        names: &["simulate"],
        about: "Show where jobs would run on a fleet that need not exist",
        usage: "[options] <path of a job>...",
        flags: &[
            valued("nodes", "<n>", "So many nodes of one shape"),
            valued("cpu", "<MHz>", "Of each of them; 4000 if not given"),
            valued("memory", "<MB>", "Of each of them; 8192 if not given"),
            valued("disk", "<MB>", "Of each of them; 100000 if not given"),
            valued("racks", "<n>", "Values of ${meta.rack}, r0 and on; 1 if not given"),
            valued("datacenters", "<n>", "dc1 and on; 1 if not given"),
            valued("fleet", "<path>", "Nodes as a JSON list, as GET /v1/node/<id> prints each"),
            switch("cluster", "The nodes of the running cluster, with what runs there"),
            valued("copies", "<n>", "Hand in each job so many times, under ids of its own"),
            valued("algorithm", "<name>", "binpack or spread; binpack if not given"),
            switch("preempt", "Important jobs may take the place of others"),
            valued("kill", "<n>", "Let so many nodes die once all is placed"),
            valued("seed", "<n>", "Chance: the same seed gives the same outcome; 1 if not given"),
            valued("svg", "<path>", "Draw how full each node is"),
            VAR,
            VAR_FILE,
            HCL2_STRICT,
            switch("verbose", "Show every group, node and allocation"),
            switch("json", "Print the outcome as JSON"),
        ],
        general: true,
        own_flags: false,
        run: simulate::run,
    },
    Command {
        names: &["version"],
        about: "Print the version",
        usage: "",
        flags: &[],
        general: false,
        own_flags: false,
        run: agent::version,
    },
];

/// The command that `args` begin with, and how many words it took. Longer names first.
pub(super) fn find(args: &[String]) -> Option<(&'static Command, usize)> {
    for words in [2, 1] {
        let name = args.get(..words).map(|w| w.join(" "));
        let found = name.and_then(|n| COMMANDS.iter().find(|c| c.names.contains(&n.as_str())));
        if let Some(command) = found {
            return Some((command, words));
        }
    }
    None
}
