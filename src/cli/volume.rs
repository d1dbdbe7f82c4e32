//! Volumes, claims on them, and plugins.

use serde_json::{Value, json};

use super::args::Args;
use super::command::{Command, Run, api, local};
use super::format::{at, columns, entries, fields, int, list, plain, text};
use super::http::{Query, escape};
use super::operator::read_object;
use super::{Session, Stop, lists, system};

pub(super) const VOLUME: &[Command] = &[
    local(
        "volume init",
        "[path]",
        "Write a file of a volume to begin with",
        "type=<type> Taken for compatibility\njson Taken for compatibility",
        Run::Do(init),
    ),
    api(
        "volume create",
        "<path>",
        "Make a volume on some node",
        "detach Do not wait until it is ready
        id=<id> Change this volume
        policy-override Taken for compatibility
        verbose",
        Run::Do(create),
    ),
    api(
        "volume register",
        "<path>",
        "Make a directory of a node known as a volume",
        "detach Do not wait until it is ready
        id=<id> Change this volume
        policy-override Taken for compatibility
        verbose",
        Run::Do(register),
    ),
    api(
        "volume delete",
        "<volume>",
        "Remove a volume with what it holds",
        "type=<type> host or csi; host if not given
        force Remove the record though the node is not to be reached
        secret=<key=value> Taken for compatibility",
        Run::Do(delete),
    ),
    api(
        "volume deregister",
        "<volume>",
        "Forget a volume of a CSI plugin",
        "force Though it is in use",
        Run::Send(
            "deregistering volume",
            "DELETE",
            "/v1/volume/csi/{0}",
            "Successfully deregistered volume \"{0}\"!",
        ),
    ),
    api(
        "volume detach",
        "<volume> <node>",
        "Take a volume of a CSI plugin from a node",
        "",
        Run::Send(
            "detaching volume",
            "DELETE",
            "/v1/volume/csi/{0}/detach?node={1}",
            "Successfully detached volume \"{0}\"!",
        ),
    ),
    api(
        "volume status",
        "[volume]",
        "Show volumes, or one of them",
        "type=<type> Only host or csi
        node=<node> Only those of this node
        node-pool=<pool> Only those of this pool
        plugin_id=<plugin> Taken for compatibility
        filter\nper-page\npage-token\nverbose\njson\nt\nshort Without its allocations",
        Run::Do(status),
    ),
    api(
        "volume snapshot list",
        "",
        "Show snapshots of a CSI plugin",
        "plugin=<plugin> Of this plugin\nper-page\npage-token\nverbose",
        Run::Do(snapshots),
    ),
    api(
        "volume snapshot create",
        "<volume> [name]",
        "Have a CSI plugin make a snapshot of a volume",
        "parameter=<key=value> For the plugin; repeatable\nverbose",
        Run::Do(snapshot_create),
    ),
    api(
        "volume snapshot delete",
        "<plugin> <snapshot>",
        "Have a CSI plugin remove a snapshot",
        "",
        Run::Send(
            "deleting snapshot",
            "DELETE",
            "/v1/volumes/snapshot?plugin_id={0}&snapshot_id={1}",
            "Snapshot deleted",
        ),
    ),
    api(
        "volume claim list",
        "",
        "Show which groups stay with which volumes",
        "job=<job> Only of this job
        group=<group> Only of this group
        volume-name=<name> Only on volumes of this name
        filter\nper-page\npage-token\nverbose\njson\nt",
        Run::Do(claims),
    ),
    api(
        "volume claim delete",
        "<claim>",
        "Let the next allocation go to another volume",
        "y Taken for compatibility",
        Run::Send(
            "deleting task group host volume claim",
            "DELETE",
            "/v1/volumes/claim/{0}",
            "Task group host volume claim {0} successfully deleted",
        ),
    ),
    api(
        "plugin status",
        "[plugin]",
        "Show CSI plugins",
        "type=<type> csi\nverbose\njson\nt\nshort Taken for compatibility",
        Run::Do(plugins),
    ),
];

const EXAMPLE: &str = r#"name      = "data"
type      = "host"
plugin_id = "mkdir"

capability {
  access_mode     = "single-node-writer"
  attachment_mode = "file-system"
}

parameters {
  mode = "0755"
}
"#;

const COLUMNS: &str = "ID:id|Name|Namespace|Plugin ID|Node ID:id|Node Pool|State";
const ONE: &str = "ID|Name|Namespace|Plugin ID|Node ID|Node Pool|Capacity=CapacityBytes|State\
    |Host Path|Create Index|Modify Index";
const CLAIMS: &str =
    "ID:id|Namespace|Job ID|Task Group=TaskGroupName|Alloc ID:id|Volume ID:id|Volume Name";

fn init(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = Some(args.at(0)).filter(|p| !p.is_empty()).unwrap_or("volume.host.hcl");
    system::create(path, EXAMPLE.as_bytes())?;
    session.say(&format!("Example volume specification written to {path}"));
    Ok(0)
}

/// A block that stands once or several times.
fn blocks<'v>(spec: &'v Value, name: &str) -> Vec<&'v Value> {
    match at(spec, name) {
        Value::Null => Vec::new(),
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    }
}

/// A size such as `10GiB`, in bytes.
fn size(given: &Value, what: &str) -> Result<u64, Stop> {
    let written = plain(given);
    let end = written.find(|c: char| !c.is_ascii_digit()).unwrap_or(written.len());
    let (number, unit) = written.split_at(end);
    let unit = unit.trim().to_ascii_uppercase();
    let (base, unit): (u64, &str) = match unit.strip_suffix("IB") {
        Some(unit) => (1024, unit),
        None => (1000, unit.strip_suffix('B').unwrap_or(&unit)),
    };
    let power = ["", "K", "M", "G", "T", "P"].iter().position(|u| *u == unit);
    let power = power.and_then(|p| base.checked_pow(u32::try_from(p).ok()?));
    let bytes = power.and_then(|p| number.parse::<u64>().ok()?.checked_mul(p));
    match bytes {
        _ if written.is_empty() => Ok(0),
        Some(bytes) => Ok(bytes),
        None => Err(Stop::Error(format!("{what}: {written:?} is no size"))),
    }
}

/// The volume that a file describes, and what it is for: `host` or `csi`.
fn volume(path: &str, args: &Args) -> Result<(String, Value), Stop> {
    let spec = read_object(path, "volume")?;
    let kind = Some(text(&spec, "type")).filter(|k| !k.is_empty()).unwrap_or("host");
    let mut out = json!({ "Constraints": [], "RequestedCapabilities": [] });
    for (key, member) in [
        ("id", "ID"),
        ("name", "Name"),
        ("namespace", "Namespace"),
        ("plugin_id", "PluginID"),
        ("node_id", "NodeID"),
        ("node_pool", "NodePool"),
        ("host_path", "HostPath"),
    ] {
        if !at(&spec, key).is_null() {
            out[member] = plain(at(&spec, key)).into();
        }
    }
    if let Some(id) = args.value("id") {
        out["ID"] = id.into();
    }
    for (key, member) in [
        ("capacity", "CapacityBytes"),
        ("capacity_min", "RequestedCapacityMinBytes"),
        ("capacity_max", "RequestedCapacityMaxBytes"),
    ] {
        let bytes = size(at(&spec, key), key)?;
        if bytes > 0 {
            out[member] = bytes.into();
        }
    }
    let capabilities = blocks(&spec, "capability").into_iter().map(|c| {
        json!({
            "AccessMode": text(c, "access_mode"), "AttachmentMode": text(c, "attachment_mode"),
        })
    });
    out["RequestedCapabilities"] = capabilities.collect();
    let constraints = blocks(&spec, "constraint").into_iter().map(|c| {
        let operand = Some(text(c, "operator")).filter(|o| !o.is_empty()).unwrap_or("=");
        json!({
            "LTarget": text(c, "attribute"), "Operand": operand, "RTarget": plain(at(c, "value")),
        })
    });
    out["Constraints"] = constraints.collect();
    let mut parameters = json!({});
    for block in blocks(&spec, "parameters") {
        for (key, value) in entries(block, "") {
            parameters[key] = plain(value).into();
        }
    }
    out["Parameters"] = parameters;
    Ok((kind.to_owned(), out))
}

fn create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    write(session, args, "create", "Created")
}

fn register(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    write(session, args, "register", "Registered")
}

fn write(session: &mut Session<'_>, args: &Args, op: &str, done: &str) -> Result<i32, Stop> {
    let (kind, volume) = volume(args.at(0), args)?;
    let wrong = match op {
        "create" => "Error creating volume",
        _ => "Error registering volume",
    };
    if kind == "csi" {
        let path = format!("/v1/volume/csi/{}/create", escape(text(&volume, "ID")));
        session.put(&path, Query::default(), &json!({ "Volumes": [volume] }), wrong)?;
        return Ok(0);
    }
    let path = format!("/v1/volume/host/{op}");
    let answer = session.put(&path, Query::default(), &json!({ "Volume": volume }), wrong)?;
    let (name, id) = (text(&answer, "Volume.Name"), text(&answer, "Volume.ID"));
    session.say(&format!("==> {done} host volume {name} with ID {id}"));
    if args.on("detach") {
        return Ok(0);
    }
    let path = format!("/v1/volume/host/{}", escape(id));
    let mut index = 0;
    for _ in 0..WAITS {
        let query = Query::default()
            .with("namespace", text(&answer, "Volume.Namespace"))
            .with("index", &index.to_string())
            .with("wait", "10s");
        let now = session.get(&path, query, wrong)?;
        if text(&now, "State") == "ready" {
            let tick = if system::is_utf8() { "✓" } else { "*" };
            session.say(&format!("  {tick} Host volume \"{id}\" ready"));
            return Ok(0);
        }
        index = int(&now, "ModifyIndex");
    }
    Err(Stop::Error(format!("Host volume \"{id}\" is not ready yet")))
}

/// How often it is asked whether a volume is ready.
const WAITS: usize = 6;

/// The id of a volume, by its beginning.
fn found(session: &Session<'_>, prefix: &str) -> Result<String, Stop> {
    let query = Query::default().with("type", "host").with("prefix", prefix);
    let all = session.get("/v1/volumes", query, "Error querying volumes")?;
    match list(&all, "") {
        [] => Err(Stop::Error(format!("No volumes with prefix or ID {prefix:?} found"))),
        [one] => Ok(text(one, "ID").to_owned()),
        several => {
            let table = columns(COLUMNS, several, session.look);
            Err(Stop::Error(format!("Prefix matched multiple volumes\n\n{table}")))
        }
    }
}

fn delete(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = super::failed("Error deleting volume");
    let given = args.at(0);
    let (id, path) = match args.value("type") {
        Some("csi") => (given.to_owned(), format!("/v1/volume/csi/{}/delete", escape(given))),
        _ => {
            let id = found(session, given)?;
            let path = format!("/v1/volume/host/{}/delete", escape(&id));
            (id, path)
        }
    };
    let force = if args.on("force") { "true" } else { "" };
    let query = Query::default().with("force", force);
    session.api.send("DELETE", &path, query, None).map_err(wrong)?;
    session.say(&format!("Successfully deleted volume \"{id}\"!"));
    Ok(0)
}

fn status(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error querying volumes";
    let given = args.at(0);
    if !given.is_empty() && args.value("type") != Some("csi") {
        let path = format!("/v1/volume/host/{}", escape(&found(session, given)?));
        let body = session.api.get_raw(&path, Query::default()).map_err(super::failed(wrong))?;
        if session.shaped(args, &body)? {
            return Ok(0);
        }
        let volume = super::http::decode(&body).map_err(super::failed(wrong))?;
        session.say(&fields(ONE, &volume, session.look));
        let allocs = list(&volume, "Allocations");
        if !allocs.is_empty() && !args.on("short") {
            session.section("Allocations", &columns(lists::ALLOCS, allocs, session.look));
        }
        return Ok(0);
    }
    if !given.is_empty() {
        let path = format!("/v1/volume/csi/{}", escape(given));
        let volume = session.get(&path, Query::default(), wrong)?;
        session.say(&fields("ID|Name|Plugin ID", &volume, session.look));
        return Ok(0);
    }
    let of = |flag: &str| args.value(flag).unwrap_or_default();
    let mut shown = false;
    for (kind, specs) in [("host", COLUMNS), ("csi", "ID|Name|Namespace|Plugin ID|Schedulable")] {
        if args.value("type").is_some_and(|t| t != kind) {
            continue;
        }
        let query = super::show::query(args)
            .with("type", "")
            .with("node_id", of("node"))
            .with("node_pool", of("node-pool"));
        let path = format!("/v1/volumes?type={kind}");
        let body = session.api.get_raw(&path, query).map_err(super::failed(wrong))?;
        if session.shaped(args, &body)? {
            return Ok(0);
        }
        let all = super::http::decode(&body).map_err(super::failed(wrong))?;
        if let rows @ [_, ..] = list(&all, "") {
            session.say(&columns(specs, rows, session.look));
            shown = true;
        }
    }
    if !shown {
        session.say("No volumes");
    }
    Ok(0)
}

const SNAPSHOT: &str = "/v1/volumes/snapshot";
const SNAPSHOTS: &str = "ID|Volume=ExternalSourceVolumeID|Size=SizeBytes|Ready=IsReady";

fn snapshots(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let plugin = args.value("plugin").unwrap_or_default();
    let query = super::show::query(args).with("plugin_id", plugin);
    let all = session.get(SNAPSHOT, query, "Error querying snapshots")?;
    match list(&all, "Snapshots") {
        [] => session.say("No snapshots found"),
        rows => session.say(&columns(SNAPSHOTS, rows, session.look)),
    }
    Ok(0)
}

fn snapshot_create(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let mut parameters = json!({});
    for (key, value) in args.all("parameter").filter_map(|p| p.split_once('=')) {
        parameters[key] = value.into();
    }
    let (volume, name) = (args.at(0), args.at(1));
    let body = json!({ "Snapshots": [
        { "SourceVolumeID": volume, "Name": name, "Parameters": parameters },
    ]});
    let made = session.put(SNAPSHOT, Query::default(), &body, "Error snapshotting volume")?;
    for snapshot in list(&made, "Snapshots") {
        let id = text(snapshot, "ID");
        session.say(&format!("Completed snapshot of volume \"{volume}\" with snapshot ID {id}"));
    }
    Ok(0)
}

fn claims(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error querying volume claims";
    let of = |flag: &str| args.value(flag).unwrap_or_default();
    let query = super::show::query(args)
        .with("job_id", of("job"))
        .with("task_group", of("group"))
        .with("volume_name", of("volume-name"));
    let body = session.api.get_raw("/v1/volumes/claims", query).map_err(super::failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    let all = super::http::decode(&body).map_err(super::failed(wrong))?;
    match list(&all, "") {
        [] => session.say("No task group host volume claims found"),
        rows => session.say(&columns(CLAIMS, rows, session.look)),
    }
    Ok(0)
}

fn plugins(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let wrong = "Error querying plugins";
    if !args.at(0).is_empty() {
        let path = format!("/v1/plugin/csi/{}", escape(args.at(0)));
        let plugin = session.get(&path, Query::default(), wrong)?;
        session.say(&fields("ID|Provider|Version", &plugin, session.look));
        return Ok(0);
    }
    let query = Query::default().with("type", "csi");
    let body = session.api.get_raw("/v1/plugins", query).map_err(super::failed(wrong))?;
    if session.shaped(args, &body)? {
        return Ok(0);
    }
    session.say("No CSI plugins");
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_a_thousand_or_1024() {
        for (given, bytes) in
            [("", 0), ("5", 5), ("10 GB", 10_000_000_000), ("2MiB", 2 << 20), ("1k", 1000)]
        {
            assert_eq!(size(&given.into(), "capacity").ok(), Some(bytes), "{given}");
        }
        assert!(size(&"many".into(), "capacity").is_err());
        assert!(size(&"99999999999PB".into(), "capacity").is_err());
    }
}
