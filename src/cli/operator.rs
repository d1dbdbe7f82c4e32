//! The cluster, its servers, namespaces and services.

use serde_json::{Value, json};

use super::args::Args;
use super::format::{self, at, columns, entries, fields, list, plain, table, text};
use super::http::{Query, escape};
use super::{Session, Stop, failed, find, http, system};
use crate::hcl::v1;
use crate::os::entropy;
use crate::stdx::Entropy;
use crate::stdx::{BTreeMap, duration, json as texts, parse_bool, sort};

/// An object of a file in JSON, or in HCL as `block "name" { … }`; keys in the API's form.
pub(super) fn object(path: &str, block: &str) -> Result<Value, String> {
    let (name, read) = parts(path, block)?;
    let Some(read) = read else { return Ok(name) };
    let mut out = api_form(&read);
    if let (Value::String(_), Value::Object(map)) = (&name, &mut out) {
        map.entry("Name").or_insert(name);
    }
    Ok(out)
}

/// An object of a file, with the keys as they are written.
pub(super) fn read_object(path: &str, block: &str) -> Result<Value, String> {
    let (name, read) = parts(path, block)?;
    let Some(mut read) = read else { return Ok(name) };
    if let (Value::String(_), Value::Object(map)) = (&name, &mut read) {
        map.entry("name").or_insert(name);
    }
    Ok(read)
}

/// The label of the block and what is in it; of a file in JSON the object alone.
fn parts(path: &str, block: &str) -> Result<(Value, Option<Value>), String> {
    let bytes = system::read(path)?;
    let source = String::from_utf8_lossy(&bytes);
    if source.trim_start().starts_with('{') {
        let all = serde_json::from_slice(&bytes).map_err(|e| format!("{path}: {e}"))?;
        return Ok((all, None));
    }
    let items = v1::parse(&source).map_err(|e| format!("{path}: {e}"))?;
    let is = |i: &&v1::Item| i.keys.first().is_some_and(|(k, _)| k == block);
    let found = items.iter().find(is).map(|i| (&i.value, i.keys.get(1)));
    let (inner, name) = match found {
        Some((v1::Node::Object(inner), name)) => (inner.as_slice(), name),
        _ => (items.as_slice(), None),
    };
    let written = texts::encode(&texts::Any::Map(v1::values(inner)));
    let read: Value = serde_json::from_slice(&written).map_err(|e| e.to_string())?;
    Ok((name.map_or(Value::Null, |(name, _)| name.as_str().into()), Some(read)))
}

/// `memory_oversubscription` → `MemoryOversubscription`; what is in `meta` keeps its names.
fn api_form(value: &Value) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let camel = |name: &str| -> String {
        let mut parts = name.split('_').map(|p| {
            let mut chars = p.chars();
            chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars)
        });
        parts.by_ref().flatten().collect()
    };
    let pair = |(k, v): (&String, &Value)| match k.as_str() {
        "meta" => ("Meta".to_owned(), v.clone()),
        _ => (camel(k), api_form(v)),
    };
    Value::Object(sort::gather(map.iter().map(pair)))
}

/// Prints a namespace as it is kept.
pub(super) fn namespace_inspect(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = format!("/v1/namespace/{}", escape(args.at(0)));
    let wrong = "Error querying namespace";
    let body = session.api.get_raw(&path, Query::default()).map_err(failed(wrong))?;
    if !session.shaped(args, &body)? {
        session.json(&String::from_utf8_lossy(&body));
    }
    Ok(0)
}

/// Makes or changes a namespace.
pub(super) fn namespace_apply(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let given = args.at(0);
    let named = |end: &str| given.ends_with(end);
    let mut namespace = if given == "-" || named(".hcl") || named(".json") {
        object(given, "namespace")?
    } else {
        // What is not given stays as it is.
        let path = format!("/v1/namespace/{}", escape(given));
        let there = session.api.get(&path, Query::default());
        there.unwrap_or_else(|_| json!({ "Name": given }))
    };
    if let Some(description) = args.value("description") {
        namespace["Description"] = description.into();
    }
    let name = text(&namespace, "Name").to_owned();
    let path = format!("/v1/namespace/{}", escape(&name));
    session.put(&path, Query::default(), &namespace, "Error applying namespace")?;
    session.say(&format!("Successfully applied namespace \"{name}\"!"));
    Ok(0)
}

/// Shows which services are registered.
pub(super) fn service_list(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error listing service registrations";
    let body = session.api.get_raw("/v1/services", Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed(wrong))?;
    let mut rows = Vec::new();
    for namespace in list(&all, "") {
        for service in list(namespace, "Services") {
            let mut service = service.clone();
            service["Namespace"] = at(namespace, "Namespace").clone();
            rows.push(service);
        }
    }
    let specs = match session.api.namespace.as_str() {
        "*" => "Service Name|Namespace|Tags",
        _ => "Service Name|Tags",
    };
    match rows.as_slice() {
        [] => session.say("No service registrations found"),
        rows => session.say(&columns(specs, rows, session.look)),
    }
    Ok(0)
}

/// Shows the servers.
pub(super) fn members(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error querying servers";
    let body = session.api.get_raw("/v1/agent/members", Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed(wrong))?;
    let own = text(&all, "ServerRegion").to_owned();
    // Each region has a leader; one that is not reached shows none.
    let mut leaders = BTreeMap::new();
    for m in list(&all, "Members") {
        let region = at(m, "Tags.region").as_str().unwrap_or(&own).to_owned();
        if !leaders.contains_key(&region) {
            let query = Query::default().with("region", &region);
            let leader = session.api.get("/v1/status/leader", query).unwrap_or_default();
            leaders.insert(region, plain(&leader));
        }
    }
    let specs = match args.on("detailed") {
        true => "Name|Address=Addr|Port|Tags",
        false => {
            "Name|Address=Addr|Port|Status|Leader|Raft Version=Tags.raft_vsn|Build=Tags.build\
             |Datacenter=Tags.dc|Region=Tags.region"
        }
    };
    let rows: Vec<Value> = list(&all, "Members")
        .iter()
        .map(|m| {
            let mut m = m.clone();
            let rpc = at(&m, "Tags.rpc_addr").as_str().unwrap_or(text(&m, "Addr")).to_owned();
            let address = format!("{rpc}:{}", text(&m, "Tags.port"));
            let region = at(&m, "Tags.region").as_str().unwrap_or(&own);
            m["Leader"] = leaders.get(region).is_some_and(|l| *l == address).into();
            m
        })
        .collect();
    session.say(&columns(specs, &rows, session.look));
    Ok(0)
}

/// Joins servers.
pub(super) fn join(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let query = args.positionals.iter().fold(Query::default(), |q, a| q.with("address", a));
    let answer = session.put("/v1/agent/join", query, &Value::Null, "Error joining")?;
    let error = text(&answer, "error");
    if !error.is_empty() {
        return Err(Stop::Error(format!("Error joining: {error}")));
    }
    session.say(&format!("Joined {} servers successfully", format::int(&answer, "num_joined")));
    Ok(0)
}

/// Calls a server gone.
pub(super) fn force_leave(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let prune = if args.on("prune") { "true" } else { "" };
    let query = Query::default().with("node", args.at(0)).with("prune", prune);
    session.put("/v1/agent/force-leave", query, &Value::Null, "Error force-leaving server")?;
    Ok(0)
}

/// Any request.
pub(super) fn api(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let given = args.at(0).trim_start_matches(['/', '.']);
    let path = match given.strip_prefix("v1/") {
        Some(rest) => format!("/v1/{rest}"),
        None if given.starts_with("ui") => format!("/{given}"),
        None => format!("/v1/{given}"),
    };
    let body = match args.value("d") {
        Some("-") => Some(system::read("-")?),
        Some(text) => Some(text.as_bytes().to_vec()),
        None => None,
    };
    for field in args.all("H") {
        let wrong = || Stop::Usage(format!("{field:?} is not of the form name: value"));
        let (name, value) = field.split_once(':').ok_or_else(wrong)?;
        if field.bytes().any(|b| b < 0x20) {
            return Err(wrong());
        }
        session.api.fields.push_str(&format!("{}: {}\r\n", name.trim(), value.trim()));
    }
    let method = args.value("X").unwrap_or(if body.is_some() { "PUT" } else { "GET" });
    let (bare, parameters) = path.split_once('?').unwrap_or((&path, ""));
    let mut query = Query::default().with("filter", args.value("filter").unwrap_or_default());
    for pair in parameters.split('&').filter(|p| !p.is_empty()) {
        query = query.raw(pair);
    }
    if args.on("dryrun") {
        let body = body.map(|b| format!(" -d '{}'", String::from_utf8_lossy(&b)));
        let fields: String = args.all("H").map(|f| format!(" -H '{f}'")).collect();
        let line = format!(
            "curl -X {method}{fields}{} {}{bare}{}",
            body.unwrap_or_default(),
            session.api.address,
            query.text()
        );
        session.say(&line);
        return Ok(0);
    }
    let (_, answer) = session
        .api
        .whole(method, bare, query, body.as_deref())
        .map_err(failed("Error querying API"))?;
    session.write(&answer);
    Ok(0)
}

/// Sets members of a configuration that flags name; every flag with the path and kind of its value.
fn set_config(
    session: &mut Session<'_>,
    args: &Args,
    (path, inner): (&str, &str),
    flags: &[(&str, &str)],
    what: &str,
) -> Result<i32, Stop> {
    let now = session.get(path, Query::default(), what)?;
    let mut config = at(&now, inner).clone();
    for (flag, member) in flags {
        let Some(given) = args.value(flag) else { continue };
        let value = match at(&config, member) {
            Value::Bool(_) => parse_bool(given).map(Value::Bool),
            Value::Number(_) => given.parse::<u64>().ok().map(Value::from),
            _ => Some(given.into()),
        };
        let wrong = || Stop::Usage(format!("invalid value {given:?} for flag -{flag}"));
        let value = value.ok_or_else(wrong)?;
        match member.split_once('.') {
            Some((outer, inner)) => config[outer][inner] = value,
            None => config[*member] = value,
        }
    }
    session.put(path, super::show::query(args), &config, what)?;
    session.say("Configuration updated!");
    Ok(0)
}

/// Changes autopilot.
pub(super) fn autopilot_set(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let flags = [
        ("cleanup-dead-servers", "CleanupDeadServers"),
        ("last-contact-threshold", "LastContactThreshold"),
        ("max-trailing-logs", "MaxTrailingLogs"),
        ("min-quorum", "MinQuorum"),
        ("server-stabilization-time", "ServerStabilizationTime"),
    ];
    let path = "/v1/operator/autopilot/configuration";
    set_config(session, args, (path, ""), &flags, "Error setting autopilot configuration")
}

/// Changes the scheduler.
pub(super) fn scheduler_set(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let flags = [
        ("scheduler-algorithm", "SchedulerAlgorithm"),
        ("memory-oversubscription", "MemoryOversubscriptionEnabled"),
        ("reject-job-registration", "RejectJobRegistration"),
        ("pause-eval-broker", "PauseEvalBroker"),
        ("preempt-batch-scheduler", "PreemptionConfig.BatchSchedulerEnabled"),
        ("preempt-service-scheduler", "PreemptionConfig.ServiceSchedulerEnabled"),
        ("preempt-sysbatch-scheduler", "PreemptionConfig.SysBatchSchedulerEnabled"),
        ("preempt-system-scheduler", "PreemptionConfig.SystemSchedulerEnabled"),
    ];
    let place = ("/v1/operator/scheduler/configuration", "SchedulerConfig");
    set_config(session, args, place, &flags, "Error setting scheduler configuration")
}

/// Shows how the servers are.
pub(super) fn autopilot_health(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let body = session.api.get_raw("/v1/operator/autopilot/health", Query::default());
    // Servers that are not well are an answer too.
    let body = match body {
        Err(http::Failure::Status(429, text)) => text.into_bytes(),
        other => other.map_err(failed("Error checking autopilot health"))?,
    };
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed("Error checking autopilot health"))?;
    session.say(&fields("Healthy|FailureTolerance|Leader", &all, session.look));
    let specs = "ID|Name|Address|SerfStatus|Version|Leader|Voter|Healthy|LastContact|LastTerm\
        |LastIndex|StableSince:time";
    session.section("Servers", &columns(specs, list(&all, "Servers"), session.look));
    Ok(0)
}

/// Shows the servers that vote.
pub(super) fn raft_peers(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Failed to retrieve raft configuration";
    let path = "/v1/operator/raft/configuration";
    let body = session.api.get_raw(path, Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed(wrong))?;
    let rows: Vec<Value> = list(&all, "Servers")
        .iter()
        .map(|s| {
            let mut s = s.clone();
            s["State"] = if format::is(&s, "Leader") { "leader" } else { "follower" }.into();
            s
        })
        .collect();
    session.say(&columns("Node|ID|Address|State|Voter|RaftProtocol", &rows, session.look));
    Ok(0)
}

/// Takes a server out of the vote.
pub(super) fn raft_remove(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let id = args.value("peer-id").unwrap_or_default();
    let query = Query::default().with("id", id);
    let wrong = "Failed to remove raft peer";
    session.api.send("DELETE", "/v1/operator/raft/peer", query, None).map_err(failed(wrong))?;
    session.say(&format!("Removed peer with id \"{id}\""));
    Ok(0)
}

/// Lets another server lead.
pub(super) fn raft_transfer(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let query = Query::default()
        .with("id", args.value("peer-id").unwrap_or_default())
        .with("address", args.value("peer-address").unwrap_or_default());
    let path = "/v1/operator/raft/transfer-leadership";
    let answer = session.put(path, query, &Value::Null, "Failed to transfer leadership")?;
    session.say(&format!("Transferred leadership to {}", text(&answer, "To.Address")));
    Ok(0)
}

/// Makes a new key.
pub(super) fn keyring_rotate(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut query = Query::default().with("full", if args.on("full") { "true" } else { "" });
    if let Some(after) = args.value("prepublish") {
        let wrong = || Stop::Usage(format!("invalid value {after:?} for flag -prepublish"));
        let ns = duration::parse(after).ok_or_else(wrong)?;
        query = query.with("publish_time", &(session.look.now + ns).to_string());
    }
    let path = "/v1/operator/keyring/rotate";
    let answer = session.put(path, query, &Value::Null, "Error rotating root key")?;
    let specs = "Key=KeyID:id|State|Create Time:time|Publish Time:time";
    session.say(&columns(specs, &[at(&answer, "Key").clone()], session.look));
    Ok(0)
}

/// Removes a key.
pub(super) fn keyring_remove(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let query = Query::default().with("force", if args.on("force") { "true" } else { "" });
    let path = format!("/v1/operator/keyring/key/{}", escape(args.at(0)));
    session.api.send("DELETE", &path, query, None).map_err(failed("Error removing root key"))?;
    session.say(&format!("Removed root key {}", args.at(0)));
    Ok(0)
}

/// Prints what the agent measures.
pub(super) fn metrics(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let format = args.value("format").filter(|_| !args.on("json"));
    let query = Query::default().with("format", format.unwrap_or_default());
    let wrong = "Error getting metrics";
    let body = session.api.get_raw("/v1/metrics", query).map_err(failed(wrong))?;
    if !session.shaped(args, &body)? {
        match args.on("pretty") && format.is_none() {
            true => session.json(&String::from_utf8_lossy(&body)),
            false => session.write(&body),
        };
    }
    Ok(0)
}

/// Makes the secret of a cluster.
pub(super) fn gossip_generate(session: &mut Session<'_>, _: &Args) -> Result<i32, Stop> {
    let mut key = [0; 32];
    entropy::System::new().fill(&mut key);
    session.say(&texts::Bytes::encode(&key));
    Ok(0)
}

/// `operator gossip keyring install`, `list`, `remove` and `use`.
pub(super) fn gossip(session: &mut Session<'_>, args: &Args, op: &str) -> Result<i32, Stop> {
    let (path, body) = (format!("/v1/agent/keyring/{op}"), json!({ "Key": args.at(0) }));
    let answer = session.put(&path, Query::default(), &body, "Error asking for the keyring")?;
    for (key, servers) in entries(&answer, "Keys") {
        session.say(&format!("{key}  {servers}/{}", format::int(&answer, "NumNodes")));
    }
    Ok(0)
}

/// Whether the agent is well: 2 where it is not, or does not answer.
pub(super) fn check(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut fault = None;
    if let Err(e) = session.api.get("/v1/agent/health", Query::default()) {
        fault = Some(e.to_string());
    }
    for (path, flag) in [("/v1/agent/servers", "min-servers"), ("/v1/status/peers", "min-peers")] {
        let Some(least) = args.number(flag).map_err(Stop::Usage)? else { continue };
        match session.api.get(path, Query::default()).map(|all| list(&all, "").len() as u64) {
            Ok(n) if n < least => {
                fault = Some(format!("there are {n} servers, -{flag} is {least}"));
            }
            Ok(_) => {}
            Err(e) => fault = Some(e.to_string()),
        }
    }
    match fault {
        Some(why) => {
            session.warn(&format!("The agent is not well: {why}"));
            Ok(2)
        }
        None => Ok(0),
    }
}

/// Prints the agent's log as it comes.
pub(super) fn monitor(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let node = args.value("node-id").map(|id| find::id(session, &find::NODE, id)).transpose()?;
    let query = Query::default()
        .with("log_level", args.value("log-level").unwrap_or_default())
        .with("node_id", &node.unwrap_or_default())
        .with("server_id", args.value("server-id").unwrap_or_default())
        .with("log_json", if args.on("json") { "true" } else { "" })
        .with("log_include_location", if args.on("log-include-location") { "true" } else { "" })
        .with("plain", "true");
    copied(session, "/v1/agent/monitor", query, "Error starting monitor")
}

/// Prints what the machine's journal has of a service, or what the agent's log file has.
pub(super) fn monitor_export(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let node = args.value("node-id").map(|id| find::id(session, &find::NODE, id)).transpose()?;
    let flag = |name: &str| if args.on(name) { "true" } else { "" };
    let query = Query::default()
        .with("service_name", args.value("service-name").unwrap_or_default())
        .with("logs_since", args.value("logs-since").unwrap_or_default())
        .with("on_disk", flag("on-disk"))
        .with("follow", flag("follow"))
        .with("node_id", &node.unwrap_or_default())
        .with("server_id", args.value("server-id").unwrap_or_default())
        .with("plain", "true");
    copied(session, "/v1/agent/monitor/export", query, "Error reading the journal")
}

/// Prints an answer as it comes, to its end.
fn copied(session: &mut Session<'_>, path: &str, query: Query, wrong: &str) -> Result<i32, Stop> {
    let mut stream = session.api.open("GET", path, query, None).map_err(failed(wrong))?;
    let mut buffer = [0; 16 * 1024];
    while session.open {
        match std::io::Read::read(&mut stream, &mut buffer) {
            Ok(0) => break,
            Ok(n) => session.write(&buffer[..n]),
            Err(e) => return Err(Stop::Error(format!("Error reading: {e}"))),
        }
    }
    Ok(0)
}

/// Prints the address of the web page, or of what it shows of a job.
pub(super) fn ui(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut address = page(session, "", "");
    if !args.at(0).is_empty() {
        let job = find::job(session, args.at(0))?;
        session.api.namespace = text(&job, "Namespace").to_owned();
        address = page(session, "job", text(&job, "ID"));
    }
    if args.on("authenticate") {
        let path = "/v1/acl/token/onetime";
        let once = session.put(path, Query::default(), &Value::Null, "Error logging in")?;
        address = format!("{address}?ott={}", escape(text(&once, "OneTimeToken.OneTimeSecretID")));
    }
    session.say(&address);
    Ok(0)
}

/// Where the web page shows what a command is about.
pub(super) fn page(session: &Session<'_>, command: &str, id: &str) -> String {
    let base = format!("{}/ui", session.api.address.trim_end_matches('/'));
    let (kind, rest) = command.split_once(' ').unwrap_or((command, ""));
    match (kind, rest) {
        // Their arguments are files.
        ("job", "run" | "plan") => format!("{base}/jobs"),
        ("job", _) if !id.is_empty() => {
            let namespace = Some(session.api.namespace.as_str()).filter(|n| !n.is_empty());
            format!("{base}/jobs/{}@{}", escape(id), namespace.unwrap_or("default"))
        }
        ("alloc", _) if !id.is_empty() => format!("{base}/allocations/{}", escape(id)),
        ("node", _) if !id.is_empty() => format!("{base}/clients/{}", escape(id)),
        ("node", _) => format!("{base}/clients"),
        _ => base,
    }
}

/// Shows what the agent says of itself.
pub(super) fn info(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error querying agent info";
    let body = session.api.get_raw("/v1/agent/self", Query::default()).map_err(failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = http::decode(&body).map_err(failed(wrong))?;
    for (part, stats) in entries(&all, "stats") {
        session.say(part);
        for (name, value) in entries(stats, "") {
            session.say(&format!("  {name} = {}", plain(value)));
        }
    }
    Ok(0)
}

/// A key-value table of an object's members.
pub(super) fn members_of(value: &Value) -> String {
    let rows: Vec<Vec<String>> =
        entries(value, "").map(|(k, v)| vec![k.to_owned(), "=".to_owned(), plain(v)]).collect();
    table(&rows)
}
