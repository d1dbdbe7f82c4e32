//! `/v1/volume*` and `/v1/plugin*`: host volumes and claims on them; of CSI what a cluster answers
//! that has no plugin.
//!
//! Before a host volume is written, its node makes, looks at or removes what it stands for: the
//! answer of the node becomes the command.

use super::auth::need;
use super::page::Page;
use super::params::bool_param;
use super::scaling::text;
use super::{Answer, Ctx, OnNode, Outcome, Reply, Then, Watch, invalid_method};
use crate::acl::{Acl, ns};
use crate::api::{ApiError, HostVolume, HostVolumeCapability, HostVolumeClaim, multi_error};
use crate::client::{VolumeCall, VolumeOp};
use crate::command::{Applied, Command};
use crate::http::{Method, Query};
use crate::server::place_volume;
use crate::stdx::json::{self, List, records};
use crate::store::{Table, keys};

type Result<T = Outcome> = std::result::Result<T, ApiError>;

/// Asks for all namespaces.
const ALL: &str = "*";
/// What a volume is made by, and may be used as, where nothing is said.
const PLUGIN: &str = "default";
const ACCESS: [&str; 4] = [
    "single-node-writer",
    "single-node-reader-only",
    "single-node-single-writer",
    "single-node-multi-writer",
];
const ATTACHMENT: [&str; 2] = ["file-system", "block-device"];

records! {
/// A line of the list.
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct Stub {
    capacity_bytes: i64,
    create_index: u64,
    create_time: i64,
    #[serde(rename = "ID")]
    id: String,
    modify_index: u64,
    modify_time: i64,
    name: String,
    namespace: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    node_pool: String,
    #[serde(rename = "PluginID")]
    plugin_id: String,
    state: String,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "HostVolumeCreateRequest")]
struct Asked {
    volume: Option<Box<HostVolume>>,
    policy_override: bool,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "HostVolumeCreateResponse")]
struct Made {
    index: u64,
    volume: HostVolume,
    warnings: String,
}

/// What is looked at of a volume of CSI.
#[derive(Clone, Default)]
#[serde(rename_all = "PascalCase", rename = "CSIVolume")]
struct Csi {
    #[serde(rename = "PluginID")]
    plugin_id: String,
    requested_capabilities: List<HostVolumeCapability>,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase", rename = "CSIVolumeRegisterRequest")]
struct CsiAsked {
    volumes: List<Csi>,
}

#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct OnlyIndex {
    index: u64,
}
}

/// `/v1/volumes`: all that does not read, registers.
pub(super) fn volumes(ctx: &mut Ctx<'_>) -> Result {
    if !ctx.is_get() {
        return csi_register(ctx);
    }
    match Query::new(ctx.req.query()).get("type").as_deref().unwrap_or_default() {
        "" => {
            ctx.open();
            Ok(Answer::bytes(b"[]".to_vec()).into())
        }
        "host" => host_list(ctx),
        "csi" => {
            ctx.need_ns(&ctx.params.namespace, CSI_LISTS)?;
            csi_list()
        }
        _ => {
            ctx.open();
            Err(not_found())
        }
    }
}

fn host_list(ctx: &mut Ctx<'_>) -> Result {
    let p = ctx.params;
    ctx.open();
    let q = Query::new(ctx.req.query());
    let asked = |name: &str| q.get(name).filter(|v| !v.is_empty());
    let (node, pool) = (asked("node_id"), asked("node_pool"));
    let all = p.namespace == ALL;
    let prefix = if all { Vec::new() } else { keys::job(&p.namespace, &p.prefix) };
    let start = p.next_token.split_once('.').map(|(space, id)| keys::job(space, id));
    let mut page = Page::new::<HostVolume>(p)?;
    for pair in ctx.reader.scan(Table::Volume, &prefix, start.as_deref(), p.reverse)? {
        let (key, row) = pair?;
        let (space, id) = keys::split(key).unwrap_or_default();
        let is = |field: &str, value: &Option<std::borrow::Cow<'_, str>>| {
            value.as_deref().is_none_or(|v| text(row.json, field) == v)
        };
        if !id.starts_with(&p.prefix)
            || !ctx.may_ns(space, ns::HOST_VOLUME_READ)
            || !is("NodeID", &node)
            || !is("NodePool", &pool)
            || !page.passes(row.json)?
        {
            continue;
        }
        let Some(out) = page.room(|| format!("{space}.{id}")) else { break };
        let stub: Stub = stored(row.json)?;
        json::encode_into(&stub, out);
    }
    let watch = Watch::Tables(Table::Volume.bit());
    Ok(page.answer(ctx.reader.table_index(Table::Volume), watch).into())
}

fn stored<T: json::Decode + Default>(row: &[u8]) -> Result<T> {
    json::decode(row).map_err(|e| ApiError::failed(format!("a stored row is damaged: {e}")))
}

/// `/v1/volume/*`
pub(super) fn one(ctx: &mut Ctx<'_>) -> Result {
    let parts: Vec<&str> = ctx.rest.split('/').filter(|p| !p.is_empty()).collect();
    match (parts.as_slice(), ctx.req.method) {
        (["host", "create", ..], _) if ctx.is_write() => change(ctx, VolumeOp::Create),
        (["host", "register", ..], _) if ctx.is_write() => change(ctx, VolumeOp::Register),
        (["host", id, ..], Method::Get) => host_get(ctx, id),
        (["host", id, ..], Method::Delete) => host_delete(ctx, id),
        (["csi", id], Method::Get) if !id.is_empty() => {
            let caps = ns::CSI_READ_VOLUME | ns::CSI_MOUNT_VOLUME | ns::READ_JOB;
            ctx.need_ns(&ctx.params.namespace, caps)?;
            unknown_volume(ctx)
        }
        (["csi", _], Method::Put) | (["csi", _, "create"], Method::Put) => csi_register(ctx),
        (["csi", id], Method::Delete) => {
            force(ctx)?;
            ctx.need_ns(&ctx.params.namespace, ns::CSI_WRITE_VOLUME)?;
            Err(ApiError::failed(format!("volume not found: {id}")))
        }
        (["csi", id, "delete"], Method::Delete) => {
            csi_may(ctx, ns::CSI_WRITE_VOLUME)?;
            Err(ApiError::failed(format!("volume not found: {id}")))
        }
        (["csi", id, "detach"], Method::Delete) => {
            csi_may(ctx, ns::CSI_MOUNT_VOLUME)?;
            match Query::new(ctx.req.query()).get("node").filter(|n| !n.is_empty()) {
                None => Err(ApiError::bad("detach requires node ID")),
                Some(_) => Err(ApiError::failed(format!("volume not found: {id}"))),
            }
        }
        (["csi", ..], Method::Get) => {
            ctx.open();
            Err(invalid_method())
        }
        _ => {
            ctx.open();
            Err(not_found())
        }
    }
}

fn not_found() -> ApiError {
    ApiError::not_found("resource not found")
}

fn unknown_volume(ctx: &Ctx<'_>) -> Result {
    let index = ctx.reader.table_index(Table::Volume);
    let watch = Watch::Tables(Table::Volume.bit());
    Ok(Answer::text(404, "volume not found").query(index).watching(watch).into())
}

fn host_get(ctx: &mut Ctx<'_>, id: &str) -> Result {
    ctx.need_ns(&ctx.params.namespace, ns::HOST_VOLUME_READ)?;
    let key = keys::job(&ctx.params.namespace, id);
    let Some(row) = ctx.reader.row(Table::Volume, &key)? else { return unknown_volume(ctx) };
    let mut users = Vec::new();
    for alloc in ctx.reader.volume_users(&stored(row.json)?)? {
        let at = keys::by_uuid(&alloc.id).unwrap_or_default();
        let Some(row) = ctx.reader.row(Table::Alloc, &at)? else { continue };
        users.push(if users.is_empty() { b'[' } else { b',' });
        ctx.reader.alloc_line(&row, false, true, &mut users)?;
    }
    let mut body = row.json.to_vec();
    if !users.is_empty() {
        body = [b"{\"Allocations\":", &users[..], b"],", row.json.get(1..).unwrap_or_default()]
            .concat();
    }
    let watch = Watch::Row(Table::Volume, key.into());
    Ok(Answer::bytes(body).query(row.modify()).watching(watch).into())
}

fn force(ctx: &Ctx<'_>) -> Result<bool> {
    let given = bool_param(&Query::new(ctx.req.query()), "force");
    given.map_err(|_| ApiError::bad("invalid force value"))
}

fn host_delete(ctx: &mut Ctx<'_>, id: &str) -> Result {
    let force = force(ctx)?;
    let namespace = ctx.params.namespace.clone();
    ctx.need_ns(&namespace, ns::HOST_VOLUME_DELETE)?;
    let Some(volume) = ctx.reader.host_volume(&namespace, id)? else {
        return Err(ApiError::failed(format!("no such volume: {id}")));
    };
    let users = ctx.reader.volume_users(&volume)?;
    if !users.is_empty() {
        let users: Vec<&str> = users.iter().map(|a| a.id.as_str()).collect();
        let users = users.join(" ");
        let text = format!("volume {id} in use by allocations: [{users}]");
        return Err(ApiError::failed(text));
    }
    let command = Box::new(Command::HostVolumeDelete { namespace, id: id.to_owned() });
    let reply: Reply = Box::new(|_, index, applied| match applied {
        Applied::Refused(e) => Err(e),
        _ => Ok(Answer::json(&OnlyIndex { index }).index(index)),
    });
    let then = Then::new(move |answer| match answer {
        Err(e) if !force => Err(e),
        _ => Ok((command, reply)),
    });
    Ok(on_node(VolumeOp::Delete, volume, then))
}

fn on_node(op: VolumeOp, volume: HostVolume, then: Then) -> Outcome {
    let node = volume.node_id.clone();
    let body = json::encode(&VolumeCall { op: op.name().to_owned(), volume });
    Outcome::OnNode(Box::new(OnNode { node, body, then }))
}

/// A volume is to be made, made known, or changed.
fn change(ctx: &mut Ctx<'_>, op: VolumeOp) -> Result {
    let cap = match op {
        VolumeOp::Register => ns::HOST_VOLUME_REGISTER,
        _ => ns::HOST_VOLUME_CREATE,
    };
    ctx.need_ns(&ctx.params.namespace, cap)?;
    let asked: Asked = ctx.body()?;
    let failed = |text: String| Err(ApiError::failed(text));
    let Some(mut volume) = asked.volume else {
        return failed("missing volume definition".to_owned());
    };
    if volume.namespace.is_empty() {
        volume.namespace.clone_from(&ctx.params.namespace);
    }
    let space = volume.namespace.clone();
    ctx.need_ns(&space, cap)?;
    if asked.policy_override {
        ctx.need_ns(&space, ns::SENTINEL_OVERRIDE)?;
    }
    complete(&mut volume, op);
    let faults = faults(&volume);
    if !faults.is_empty() {
        let text = if faults.len() == 1 { faults.concat() } else { multi_error(&faults) };
        return failed(format!("volume validation failed: {text}"));
    }
    if !ctx.reader.has(Table::Namespace, &keys::name(&space))? {
        return failed(format!("no such namespace {space:?}"));
    }
    if !volume.id.is_empty() {
        let Some(old) = ctx.reader.host_volume(&space, &volume.id)? else {
            return failed(format!("no such volume: {}", volume.id));
        };
        let users = ctx.reader.volume_users(&old)?;
        let users: Vec<&str> = users.iter().map(|a| a.id.as_str()).collect();
        if let Some(why) = stays(&mut volume, old, &users) {
            return failed(format!("validating volume {:?} update failed: {why}", volume.id));
        }
    } else {
        volume.id = ctx.new_id();
    }
    if op == VolumeOp::Register {
        for (missing, what) in [
            (volume.node_id.is_empty(), "node ID is required"),
            (volume.host_path.is_empty(), "host path is required"),
        ] {
            if missing {
                return failed(format!("cannot register volume: {what}"));
            }
        }
    }
    let node = if op == VolumeOp::Create {
        place_volume(ctx.reader, &volume, ctx.entropy)?.map_err(ApiError::failed)?
    } else {
        let node = ctx.reader.node(&volume.node_id)?;
        node.ok_or_else(|| ApiError::failed(format!("no such node: {}", volume.node_id)))?.into()
    };
    volume.node_id.clone_from(&node.id);
    volume.node_pool.clone_from(&node.node_pool);
    HostVolume::PENDING.clone_into(&mut volume.state);
    let wall_ns = ctx.now.wall_ns;
    (volume.create_time, volume.modify_time) = (wall_ns, wall_ns);
    let then = Then::new(move |answer| {
        let made: VolumeCall =
            json::decode(&answer?).map_err(|e| ApiError::failed(e.to_string()))?;
        let volume = made.volume;
        let told = volume.clone();
        let reply: Reply = Box::new(move |_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => {
                let made = Made { index, volume: told, warnings: String::new() };
                Ok(Answer::json(&made).index(index))
            }
        });
        Ok((Box::new(Command::HostVolumePut { volume: Box::new(volume), wall_ns }), reply))
    });
    Ok(on_node(op, *volume, then))
}

/// What is not said, and what is not for the caller to say.
fn complete(volume: &mut HostVolume, op: VolumeOp) {
    if volume.plugin_id.is_empty() && op == VolumeOp::Create {
        PLUGIN.clone_into(&mut volume.plugin_id);
    }
    if volume.requested_capabilities.is_empty() {
        let [access_mode, attachment_mode] = [ACCESS[0], ATTACHMENT[0]].map(str::to_owned);
        volume.requested_capabilities =
            vec![HostVolumeCapability { access_mode, attachment_mode }].into();
    }
    (volume.create_index, volume.modify_index) = (0, 0);
    if op == VolumeOp::Create {
        volume.host_path.clear();
        volume.capacity_bytes = 0;
    }
}

fn faults(volume: &HostVolume) -> Vec<String> {
    let mut out = Vec::new();
    if volume.name.is_empty() {
        out.push("missing name".to_owned());
    }
    for cap in volume.requested_capabilities.iter() {
        if !ATTACHMENT.contains(&cap.attachment_mode.as_str()) {
            out.push(format!("invalid attachment mode: {:?}", cap.attachment_mode));
        }
        if !ACCESS.contains(&cap.access_mode.as_str()) {
            out.push(format!("invalid access mode: {:?}", cap.access_mode));
        }
    }
    let (min, max) = (volume.requested_capacity_min_bytes, volume.requested_capacity_max_bytes);
    if max > 0 && min > max {
        out.push(format!("capacity_max ({max}) must be larger than capacity_min ({min})"));
    }
    out
}

/// Takes over what an update may not change; why it is refused altogether.
fn stays(volume: &mut HostVolume, old: HostVolume, users: &[&str]) -> Option<String> {
    if !users.is_empty() {
        let users = users.join(", ");
        return Some(format!("cannot update a volume in use: claimed by allocs ({users})"));
    }
    for (new, old, what) in [
        (&volume.node_id, &old.node_id, "node ID"),
        (&volume.node_pool, &old.node_pool, "node pool"),
    ] {
        if !new.is_empty() && new != old {
            return Some(format!("{what} cannot be updated"));
        }
    }
    volume.node_id = old.node_id;
    volume.name = old.name;
    volume.constraints = old.constraints;
    volume.plugin_id = old.plugin_id;
    if volume.host_path.is_empty() {
        volume.host_path = old.host_path;
        volume.capacity_bytes = old.capacity_bytes;
    }
    None
}

/// `/v1/volumes/*`
pub(super) fn below(ctx: &mut Ctx<'_>) -> Result {
    let none = || ApiError::failed("no such plugin");
    match (ctx.rest.split_once('/').unwrap_or((ctx.rest, "")), ctx.req.method) {
        (("claims", ""), Method::Get) => claims(ctx),
        (("claim", id), Method::Delete) => claim_delete(ctx, id),
        (("claim", _), _) => {
            ctx.open();
            Err(invalid_method())
        }
        (("external" | "snapshot", ""), Method::Get) => {
            ctx.need_ns(&ctx.params.namespace, CSI_LISTS)?;
            Err(none())
        }
        (("snapshot", ""), Method::Put | Method::Post | Method::Delete) => {
            csi_may(ctx, ns::CSI_WRITE_VOLUME)?;
            Err(none())
        }
        (("claims" | "external" | "snapshot", ""), _) => {
            ctx.open();
            Err(invalid_method())
        }
        _ => {
            ctx.open();
            Err(not_found())
        }
    }
}

fn claims(ctx: &mut Ctx<'_>) -> Result {
    let p = ctx.params;
    ctx.need_ns(&p.namespace, ns::HOST_VOLUME_READ)?;
    let q = Query::new(ctx.req.query());
    let wanted =
        ["job_id", "task_group", "volume_name"].map(|n| q.get(n).filter(|v| !v.is_empty()));
    let start = (!p.next_token.is_empty()).then_some(p.next_token.as_bytes());
    let mut page = Page::new::<HostVolumeClaim>(p)?;
    let prefix = p.prefix.as_bytes();
    for pair in ctx.reader.scan(Table::VolumeClaim, prefix, start, p.reverse)? {
        let (_, row) = pair?;
        let claim: HostVolumeClaim = stored(row.json)?;
        let has = [&claim.job_id, &claim.task_group_name, &claim.volume_name];
        if (p.namespace != ALL && claim.namespace != p.namespace)
            || !ctx.may_ns(&claim.namespace, ns::HOST_VOLUME_READ)
            || !has.iter().zip(&wanted).all(|(h, w)| w.as_deref().is_none_or(|w| *h == w))
            || !page.passes(row.json)?
        {
            continue;
        }
        let Some(out) = page.room(|| claim.id.clone()) else { break };
        out.extend_from_slice(row.json);
    }
    let watch = Watch::Tables(Table::VolumeClaim.bit());
    Ok(page.answer(ctx.reader.table_index(Table::VolumeClaim), watch).into())
}

fn claim_delete(ctx: &mut Ctx<'_>, id: &str) -> Result {
    ctx.need_ns(&ctx.params.namespace, ns::HOST_VOLUME_DELETE)?;
    if let Some(row) = ctx.reader.row(Table::VolumeClaim, &keys::name(id))? {
        ctx.need_row(&row, ns::HOST_VOLUME_DELETE)?;
    }
    Ok(Outcome::Propose(
        Box::new(Command::VolumeClaimDelete { id: id.to_owned() }),
        Box::new(|_, index, applied| match applied {
            Applied::Refused(e) => Err(e),
            _ => Ok(Answer::empty().index(index)),
        }),
    ))
}

const CSI_LISTS: u64 =
    ns::CSI_LIST_VOLUME | ns::CSI_READ_VOLUME | ns::CSI_MOUNT_VOLUME | ns::LIST_JOBS;

/// A right in the namespace, and that to see plugins.
fn csi_may(ctx: &Ctx<'_>, cap: crate::acl::Caps) -> Result<()> {
    let space = &ctx.params.namespace;
    need(ctx.may(|a| a.namespace(space, cap) && a.plugin_read()))
}

fn csi_register(ctx: &mut Ctx<'_>) -> Result {
    csi_may(ctx, ns::CSI_WRITE_VOLUME)?;
    let asked: CsiAsked = ctx.body()?;
    let Some(volume) = asked.volumes.first() else {
        return Err(ApiError::failed("missing volume definition"));
    };
    let mut faults = Vec::new();
    if volume.plugin_id.is_empty() {
        faults.push("missing plugin id");
    }
    if volume.requested_capabilities.is_empty() {
        faults.push("must include at least one capability block");
    }
    if !faults.is_empty() {
        return Err(ApiError::failed(format!("validation: {}", faults.join(", "))));
    }
    let plugin = &volume.plugin_id;
    Err(ApiError::failed(format!("no CSI plugin named: {plugin} could be found")))
}

/// Empty as long as no plugin can run.
fn csi_list() -> Result {
    let watch = Watch::Tables(Table::Volume.bit());
    Ok(Answer::bytes(b"[]".to_vec()).query(0).watching(watch).into())
}

/// `/v1/plugins`
pub(super) fn plugins(ctx: &mut Ctx<'_>) -> Result {
    let kind = Query::new(ctx.req.query()).get("type").unwrap_or_default().into_owned();
    if !ctx.is_get() || kind != "csi" {
        ctx.open();
    }
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    match kind.as_str() {
        "" => Ok(Answer::bytes(b"[]".to_vec()).into()),
        "csi" => {
            need(ctx.may(Acl::plugin_list))?;
            csi_list()
        }
        _ => Ok(Answer::empty().into()),
    }
}

/// `/v1/plugin/csi/*`
pub(super) fn plugin(ctx: &mut Ctx<'_>) -> Result {
    need(ctx.may(Acl::plugin_read))?;
    if !ctx.is_get() {
        return Err(invalid_method());
    }
    if ctx.rest.is_empty() {
        return Err(ApiError::failed("missing plugin ID"));
    }
    Ok(Answer::text(404, "plugin not found").query(0).into())
}
