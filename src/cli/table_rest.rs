//! The rest of the table of commands: what is not about jobs, allocations, nodes and deployments.

use super::command::{Command, Run, api, local};
use super::{
    acl, agent, complete, deployment, help, job_status, lists, operator, search, snapshot, tls, var,
};

/// What is said of commands that no agent without a licence serves.
pub(super) const ENTERPRISE: &str = "Of the reference with a licence";

/// A command of the reference with a licence, with whatever follows: the agent says so.
const fn enterprise(name: &'static str, method: &'static str, path: &'static str) -> Command {
    api(name, "[word]...", ENTERPRISE, "", Run::Send("asking", method, path, ""))
}

pub(super) const REST: &[Command] = &[
    api(
        "eval list",
        "",
        "Show evaluations",
        "job=<job> Only of this job
        status=<status> Only those with this status
        filter\nper-page\npage-token\nverbose\njson\nt",
        Run::List("evaluations", "/v1/evaluations", lists::EVALS),
    ),
    api(
        "eval status",
        "<evaluation>",
        "Show an evaluation",
        "monitor Follow it to its end\nverbose\njson\nt\nui",
        Run::Do(deployment::eval_status),
    ),
    api(
        "eval delete",
        "[evaluation]...",
        "Remove evaluations that are over or useless",
        "filter\nyes",
        Run::Do(deployment::eval_delete),
    ),
    api(
        "var put",
        "<path> [key=value]...",
        "Write a variable",
        "in=<form> Taken for compatibility: what a file is shows by itself
        out=<form> table, json, hcl, go-template or none
        check-index
        force Write whatever is there
        template=<template> With -out=go-template
        verbose",
        Run::Do(var::put),
    ),
    api(
        "var get",
        "<path>",
        "Read a variable",
        "item=<key> Only the value of this key
        out=<form> table, json, hcl, go-template or none
        template=<template> With -out=go-template",
        Run::Do(var::get),
    ),
    api(
        "var list",
        "[prefix]",
        "Show which variables there are",
        "out=<form> table, json, terse or go-template
        template=<template> With -out=go-template
        filter\nper-page\npage-token\nverbose",
        Run::Do(var::list),
    ),
    api("var purge", "<path>", "Remove a variable", "check-index", Run::Do(var::purge)),
    local(
        "var init",
        "[path]",
        "Write a file of a variable to begin with",
        "out=<form> hcl or json",
        Run::Do(var::init),
    ),
    api(
        "namespace list",
        "",
        "Show namespaces",
        "filter\njson\nt",
        Run::List("namespaces", "/v1/namespaces", "Name|Description"),
    ),
    api(
        "namespace status",
        "<name>",
        "Show a namespace",
        "json\nt",
        Run::Show(
            "namespace",
            "/v1/namespace/{0}",
            "Name|Description|Quota|EnabledDrivers?=Capabilities.EnabledTaskDrivers\
            |DisabledDrivers?=Capabilities.DisabledTaskDrivers|Metadata?=Meta",
        ),
    ),
    api(
        "namespace inspect",
        "<name>",
        "Print a namespace as the server keeps it",
        "t",
        Run::Do(operator::namespace_inspect),
    ),
    api(
        "namespace apply",
        "<name or path>",
        "Make or change a namespace, by name or from a file in HCL or JSON",
        "description
        quota=<name> Taken for compatibility
        json The file is JSON whatever it looks like",
        Run::Do(operator::namespace_apply),
    ),
    api(
        "namespace delete",
        "<name>",
        "Remove a namespace",
        "",
        Run::Send(
            "deleting namespace",
            "DELETE",
            "/v1/namespace/{0}",
            "Successfully deleted namespace \"{0}\"!",
        ),
    ),
    api(
        "service list",
        "",
        "Show which services are registered",
        "json\nt",
        Run::Do(operator::service_list),
    ),
    api(
        "service info",
        "<service>",
        "Show instances of a service",
        "filter\nper-page\npage-token\nverbose\njson\nt",
        Run::List(
            "instances",
            "/v1/service/{0}",
            "Job ID|Address|Port|Tags|Node ID:id|Alloc ID:id",
        ),
    ),
    api(
        "service delete",
        "<service> <registration>",
        "Remove an instance of a service",
        "",
        Run::Send(
            "deleting service registration",
            "DELETE",
            "/v1/service/{0}/{1}",
            "Successfully deleted service registration",
        ),
    ),
    api(
        "scaling policy list",
        "",
        "Show policies of scaling",
        "job=<job> Only of this job\ntype=<type> Only of this type\nverbose\njson\nt",
        Run::List("policies", "/v1/scaling/policies", "ID:id|Enabled|Type|Target"),
    ),
    api(
        "scaling policy info",
        "<policy>",
        "Show a policy of scaling",
        "json\nt",
        Run::Show("policy", "/v1/scaling/policy/{0}", "ID|Enabled|Type|Target|Min|Max|Policy"),
    ),
    api(
        "server members",
        "",
        "Show the servers of the cluster",
        "detailed Show all that they tell of themselves\nverbose\njson\nt",
        Run::Do(operator::members),
    ),
    api("server join", "<address>...", "Let the agent join servers", "", Run::Do(operator::join)),
    api(
        "server force-leave",
        "<server>",
        "Call a server gone that died",
        "prune Forget it at once",
        Run::Do(operator::force_leave),
    ),
    api(
        "operator api",
        "<path>",
        "Send any request to the API and print the answer",
        "X=<method> GET, or PUT where there is a body
        d=<body> What to send; - for standard input
        H=<header> A header, name: value; repeatable
        dryrun Print the request as a curl command
        filter\nverbose",
        Run::Do(operator::api),
    ),
    api(
        "operator autopilot get-config",
        "",
        "Show how servers look after each other",
        "json\nt",
        Run::Show(
            "autopilot configuration",
            "/v1/operator/autopilot/configuration",
            "CleanupDeadServers|LastContactThreshold|MaxTrailingLogs|MinQuorum\
            |ServerStabilizationTime|EnableRedundancyZones|DisableUpgradeMigration\
            |EnableCustomUpgrades",
        ),
    ),
    api(
        "operator autopilot set-config",
        "",
        "Change how servers look after each other",
        "cleanup-dead-servers=<bool> Remove servers that died
        last-contact-threshold=<duration> Longest silence of a healthy server
        max-trailing-logs=<n> Most entries that a healthy server is behind
        min-quorum=<n> Fewest servers that are kept
        server-stabilization-time=<duration> For which a new server must be healthy
        check-index",
        Run::Do(operator::autopilot_set),
    ),
    api(
        "operator autopilot health",
        "",
        "Show how the servers are",
        "json\nt",
        Run::Do(operator::autopilot_health),
    ),
    local(
        "operator gossip keyring generate",
        "",
        "Make the secret of a cluster, for encrypt in its servers' configurations",
        "",
        Run::Do(operator::gossip_generate),
    ),
    api(
        "operator gossip keyring list",
        "",
        "Show the secrets of a cluster that knows several",
        "",
        Run::Do(|session, args| operator::gossip(session, args, "list")),
    ),
    api(
        "operator gossip keyring install",
        "<key>",
        "Have all servers know another secret",
        "",
        Run::Do(|session, args| operator::gossip(session, args, "install")),
    ),
    api(
        "operator gossip keyring use",
        "<key>",
        "Have all servers speak by that secret",
        "",
        Run::Do(|session, args| operator::gossip(session, args, "use")),
    ),
    api(
        "operator gossip keyring remove",
        "<key>",
        "Have all servers forget a secret",
        "",
        Run::Do(|session, args| operator::gossip(session, args, "remove")),
    ),
    api(
        "operator metrics",
        "",
        "Print what the agent measures",
        "pretty Indent it
        format=<format> prometheus
        json\nt",
        Run::Do(operator::metrics),
    ),
    api(
        "operator utilization",
        "",
        ENTERPRISE,
        "",
        Run::Send("reading utilization", "POST", "/v1/operator/utilization", ""),
    ),
    api(
        "operator raft list-peers",
        "",
        "Show the servers that vote",
        "json\nt\nstale Taken for compatibility",
        Run::Do(operator::raft_peers),
    ),
    api(
        "operator raft remove-peer",
        "",
        "Take a server out of the vote",
        "peer-id=<id> The server",
        Run::Do(operator::raft_remove),
    ),
    api(
        "operator raft transfer-leadership",
        "",
        "Let another server lead",
        "peer-id=<id> The server\npeer-address=<address> The server, by its address",
        Run::Do(operator::raft_transfer),
    ),
    api(
        "operator root keyring list",
        "",
        "Show the cluster's keys",
        "verbose\njson\nt",
        Run::List(
            "keys",
            "/v1/operator/keyring/keys",
            "Key=KeyID:id|State|Create Time:time|Publish Time:time",
        ),
    ),
    api(
        "operator root keyring rotate",
        "",
        "Make a new key",
        "full Keep everything with the new key at once
        prepublish=<duration> Use it only after a time
        verbose",
        Run::Do(operator::keyring_rotate),
    ),
    api(
        "operator root keyring remove",
        "<key>",
        "Remove a key that nothing is kept with",
        "force Although something may be kept with it",
        Run::Do(operator::keyring_remove),
    ),
    api(
        "operator scheduler get-config",
        "",
        "Show how work is placed",
        "json\nt",
        Run::Show(
            "scheduler configuration",
            "/v1/operator/scheduler/configuration",
            "Scheduler Algorithm=SchedulerConfig.SchedulerAlgorithm\
            |Memory Oversubscription=SchedulerConfig.MemoryOversubscriptionEnabled\
            |Reject Job Registration=SchedulerConfig.RejectJobRegistration\
            |Pause Eval Broker=SchedulerConfig.PauseEvalBroker\
            |Preemption System Scheduler=SchedulerConfig.PreemptionConfig.SystemSchedulerEnabled\
            |Preemption Service Scheduler=SchedulerConfig.PreemptionConfig.ServiceSchedulerEnabled\
            |Preemption Batch Scheduler=SchedulerConfig.PreemptionConfig.BatchSchedulerEnabled\
            |Preemption SysBatch Scheduler=\
            SchedulerConfig.PreemptionConfig.SysBatchSchedulerEnabled\
            |Modify Index=SchedulerConfig.ModifyIndex",
        ),
    ),
    api(
        "operator scheduler set-config",
        "",
        "Change how work is placed",
        "scheduler-algorithm=<name> binpack or spread
        memory-oversubscription=<bool> Tasks may use more memory than they reserve
        reject-job-registration=<bool> Take no jobs but from operators
        pause-eval-broker=<bool> Place nothing
        preempt-batch-scheduler=<bool> Important batch jobs take the place of others
        preempt-service-scheduler=<bool> Important services take the place of others
        preempt-sysbatch-scheduler=<bool> Important sysbatch jobs take the place of others
        preempt-system-scheduler=<bool> Important system jobs take the place of others
        check-index",
        Run::Do(operator::scheduler_set),
    ),
    api(
        "operator snapshot save",
        "[path]",
        "Write the whole state into a file",
        "stale Of any server, not of the leader
        data-dir=<path> Of an agent that is not running, from its data directory",
        Run::Do(snapshot::save),
    ),
    local(
        "operator snapshot inspect",
        "<path>",
        "Check a snapshot and say what is in it",
        "",
        Run::Do(snapshot::inspect),
    ),
    api(
        "operator snapshot restore",
        "<path>",
        "Replace the whole state by that of a file",
        "data-dir=<path> Of a server that is not running and has no others, in its data directory",
        Run::Do(snapshot::restore),
    ),
    local(
        "operator snapshot state",
        "<path>",
        "Print the rows in a snapshot as JSON",
        "",
        Run::Do(snapshot::state),
    ),
    local(
        "operator snapshot redact",
        "<path>",
        "Take keys and other secrets out of a snapshot",
        "",
        Run::Do(snapshot::redact),
    ),
    api(
        "system gc",
        "",
        "Remove what is over",
        "",
        Run::Send("running system garbage-collection", "PUT", "/v1/system/gc", ""),
    ),
    api(
        "system reconcile summaries",
        "",
        "Count the allocations of all jobs again",
        "",
        Run::Send("running reconcile summaries", "PUT", "/v1/system/reconcile/summaries", ""),
    ),
    api(
        "acl bootstrap",
        "[path]",
        "Make the first token, which may do everything",
        "json\nt",
        Run::Do(acl::bootstrap),
    ),
    api(
        "acl policy list",
        "",
        "Show policies",
        "json\nt",
        Run::List("policies", "/v1/acl/policies", "Name|Description"),
    ),
    api("acl policy info", "<policy>", "Show a policy", "json\nt", Run::Do(acl::policy_info)),
    api(
        "acl policy apply",
        "<policy> <path>",
        "Make or change a policy, from a file in HCL or JSON",
        "description
        namespace=<namespace> Namespace of a job that has the policy by itself
        job=<job> Job that has the policy by itself
        group=<group> Group of that job
        task=<task> Task of that group",
        Run::Do(acl::policy_apply),
    ),
    api(
        "acl policy delete",
        "<policy>",
        "Remove a policy",
        "",
        Run::Send(
            "deleting ACL policy",
            "DELETE",
            "/v1/acl/policy/{0}",
            "Successfully deleted ACL policy \"{0}\"!",
        ),
    ),
    api(
        "acl policy self",
        "",
        "Show the policies of the token that is used",
        "json\nt",
        Run::List("policies", "/v1/acl/policy/self", "Name|Description|Job ID=JobACL.JobID"),
    ),
    api(
        "acl token list",
        "",
        "Show tokens",
        "filter\nper-page\npage-token\njson\nt",
        Run::List(
            "tokens",
            "/v1/acl/tokens",
            "Name|Type|Global|Accessor ID|Expired=ExpirationTime:time",
        ),
    ),
    api(
        "acl token info",
        "<accessor>",
        "Show a token",
        "json\nt",
        Run::Show("token", "/v1/acl/token/{0}", acl::TOKEN),
    ),
    api(
        "acl token self",
        "",
        "Show the token that is used",
        "json\nt",
        Run::Show("token", "/v1/acl/token/self", acl::TOKEN),
    ),
    api(
        "acl token create",
        "",
        "Make a token",
        "name=<name> Name for people
        type=<type> client or management; client if not given
        policy=<name> Policy of the token; repeatable
        role-name=<name> Role of the token; repeatable
        role-id=<id> Role of the token; repeatable
        global For all regions; taken as true or false
        ttl=<duration> After which the token ends
        accessor=<id> Id of the token; made up if not given
        secret=<id> Secret of the token; made up if not given
        json\nt",
        Run::Do(acl::token_create),
    ),
    api(
        "acl token update",
        "<accessor>",
        "Change a token",
        "name=<name> Name for people
        type=<type> client or management
        policy=<name> Policy of the token; repeatable
        role-name=<name> Role of the token; repeatable
        role-id=<id> Role of the token; repeatable
        json\nt",
        Run::Do(acl::token_update),
    ),
    api(
        "acl token delete",
        "<accessor>",
        "Remove a token",
        "",
        Run::Send(
            "deleting token",
            "DELETE",
            "/v1/acl/token/{0}",
            "Token {0} successfully deleted",
        ),
    ),
    api(
        "acl role list",
        "",
        "Show roles",
        "verbose\njson\nt",
        Run::List("roles", "/v1/acl/roles", "ID:id|Name|Description|Policies=Policies:names"),
    ),
    api(
        "acl role info",
        "[role]",
        "Show a role",
        "by-name=<name> By its name instead of its id\njson\nt",
        Run::Do(acl::role_info),
    ),
    api(
        "acl role create",
        "",
        "Make a role",
        "name=<name> Its name\ndescription\npolicy=<name> Policy of it; repeatable\njson\nt",
        Run::Do(acl::role_create),
    ),
    api(
        "acl role update",
        "<role>",
        "Change a role",
        "name=<name> Its name
        description
        policy=<name> Policy of it; repeatable
        no-merge Replace what is not given too
        json\nt",
        Run::Do(acl::role_update),
    ),
    api(
        "acl role delete",
        "<role>",
        "Remove a role",
        "",
        Run::Send(
            "deleting ACL role",
            "DELETE",
            "/v1/acl/role/{0}",
            "ACL role {0} successfully deleted",
        ),
    ),
    api(
        "status",
        "[id or prefix]",
        "Show jobs, or whatever the id is of",
        "verbose\njson\nt
        short Only the object itself
        evals Of a job: show its evaluations
        all-allocs Of a job: show allocations of former jobs of that name too",
        Run::Do(job_status::any),
    ),
    api(
        "search",
        "<text>",
        "Find objects of all kinds by a part of their names",
        "context=<kind> Only this kind: jobs, allocs, nodes, vars and so on\njson\nt",
        Run::Do(search::run),
    ),
    api(
        "check",
        "",
        "Tell by the exit status whether the agent is well: 2 where it is not",
        "min-peers=<n> Fewest servers that vote
        min-servers=<n> Fewest servers that the agent knows",
        Run::Do(operator::check),
    ),
    api(
        "monitor",
        "",
        "Print the agent's log as it is written",
        "log-level=<level> TRACE, DEBUG, INFO, WARN or ERROR; INFO if not given
        node-id=<node> The log of this node
        server-id=<server> The log of this server
        log-include-location With the place in the source
        json As JSON",
        Run::Do(operator::monitor),
    ),
    api(
        "monitor export",
        "",
        "Print what the machine's journal has of an agent's service",
        "service-name=<unit> The service, such as nomad.service
        logs-since=<duration> How far back; 72h if not given
        follow Go on with what comes
        on-disk The agent's log file instead
        node-id=<node> The journal of this node's machine
        server-id=<server> The journal of this server's machine",
        Run::Do(operator::monitor_export),
    ),
    api(
        "ui",
        "[id]",
        "Print the address of the web page",
        "authenticate With a one-time token in it, for this session's rights
        show-url Taken for compatibility",
        Run::Do(operator::ui),
    ),
    api("agent-info", "", "Show what the agent says of itself", "json\nt", Run::Do(operator::info)),
    local(
        "config validate",
        "<path>...",
        "Tell what is wrong with an agent's configuration",
        "",
        Run::Do(agent::validate),
    ),
    local(
        "completions",
        "<shell> [word]...",
        "Print what completes commands in bash, zsh or fish",
        "",
        Run::Do(complete::run),
    ),
    local("man", "", "Print the manual page", "", Run::Do(help::man)),
    local(
        "tls ca create",
        "",
        "Make a CA that signs certificates of a cluster",
        "days=<n> Days it is valid for; 1825 if not given
        domain=<name> Domain of the cluster, nomad if not given
        name-constraint Let it sign for names below the domain and for localhost only
        additional-domain=<name> Another domain to sign for; repeatable
        common-name=<name> Of its subject, like the next
        country=<code> Of its subject
        postal-code=<code> Of its subject
        province=<name> Of its subject
        locality=<name> Of its subject
        street-address=<text> Of its subject
        organization=<name> Of its subject
        organizational-unit=<name> Of its subject",
        Run::Do(tls::ca_create),
    ),
    local(
        "tls ca info",
        "[path]",
        "Show what a CA's certificate says",
        "domain=<name> Domain of the cluster, nomad if not given",
        Run::Do(tls::ca_info),
    ),
    local(
        "tls cert create",
        "",
        "Make a certificate for a server, a client or a person",
        "server For servers: server.<region>.nomad
        client For clients: client.<region>.nomad
        cli For the command line: it makes calls and answers none
        region=<name> Region of the agent, global if not given
        cluster-region=<name> The same
        domain=<name> Domain of the cluster, nomad if not given
        days=<n> Days it is valid for; 365 if not given
        ca=<path> Certificate of the CA; <domain>-agent-ca.pem if not given
        key=<path> Key of the CA; <domain>-agent-ca-key.pem if not given
        additional-dnsname=<name> Another name of the host; repeatable
        additional-ipaddress=<ip> Another address of the host; repeatable",
        Run::Do(tls::cert_create),
    ),
    local("tls cert info", "<path>", "Show what a certificate says", "", Run::Do(tls::cert_info)),
    enterprise("license", "PUT", "/v1/operator/license"),
    enterprise("quota", "GET", "/v1/quotas"),
    enterprise("recommendation", "GET", "/v1/recommendations"),
    enterprise("sentinel", "GET", "/v1/sentinel/policies"),
    local("version", "", "Print the version", "", Run::Do(agent::version)),
];
