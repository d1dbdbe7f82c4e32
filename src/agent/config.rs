//! The validated configuration of an agent.
//!
//! [`Config`] can only be made by [`Config::build`], which checks every rule, so that whoever holds
//! one need not check again. Files and flags are read by `config_file.rs`. All durations are
//! nanoseconds.

use std::fmt::{Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;

use log::LevelFilter;

use super::config_keys::Use;
use super::config_print::print;
use super::config_server::{introduction, scheduling, workers};
use super::config_tree::{Block, Tree, boolean};
use super::log_file::LogTo;
use super::snapshots::Schedule;
use crate::api::{SchedulerConfiguration, WaitConfig};
use crate::client::exec_proto::FetchLimits;
use crate::limits::{LOG_ENTRIES_KEPT, TOKEN_TTL_MAX_NS, TOKEN_TTL_MIN_NS};
use crate::routes::SearchLimits;
use crate::routes::metrics::Telemetry;
use crate::server::introduction::Introduction;
use crate::server::workers::Workers;
use crate::stdx::json::Any;
use crate::stdx::{BTreeMap, duration, parse_bool, sort};

/// What an agent is told to be. Reads through to [`Settings`]; nothing can change it.
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    self_json: Vec<u8>,
    warnings: Vec<String>,
}

impl Deref for Config {
    type Target = Settings;
    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl Config {
    /// The `config` object of `/v1/agent/self`: names of the reference, secrets redacted, keys in
    /// byte order.
    pub fn self_json(&self) -> &[u8] {
        &self.self_json
    }

    /// Sentences for the log at start, without a prefix.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Puts warnings of reading before those of what was read.
    pub(super) fn warn_first(&mut self, mut warnings: Vec<String>) {
        warnings.append(&mut self.warnings);
        self.warnings = warnings;
    }

    /// Checks what was read. `asked` is what files and flags say, `tree` that over the defaults of
    /// the mode, `host` what the machine says of itself.
    pub(super) fn build(tree: &Tree, asked: &Tree, host: &Host) -> Result<Self, String> {
        check_served(tree, host)?;
        let settings = settings(tree, host)?;
        let mut warnings: Vec<String> = asked
            .given_with(Use::Idle)
            .map(|name| format!("{name} is set and has no effect in this version"))
            .collect();
        if !(settings.dev || settings.tls.http && settings.tls.rpc) {
            warnings.push("mTLS is not configured - the API is not secure without mTLS!".into());
        }
        let self_json = print(tree, host, &settings);
        Ok(Self { settings, self_json, warnings })
    }
}

/// Facts about machine and invocation that configuration is completed from.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    pub(super) dev: bool,
    /// Made for this run; only with `dev` and no `data_dir`.
    pub(super) temporary: Option<PathBuf>,
    pub(super) name: String,
    /// Own addresses, loopback excluded, in the order of the system.
    pub(super) addresses: Vec<Ipv4Addr>,
    /// `-config` arguments, and the files that were read.
    pub(super) paths: Vec<String>,
    pub(super) files: Vec<String>,
    /// Processors; 0 counts as one.
    pub(super) cpus: usize,
}

/// Every setting that the agent reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// One node of server and client for development; nothing outlives it.
    pub dev: bool,
    /// Absolute.
    pub data_dir: PathBuf,
    /// `data_dir` was made for this run and may be removed at its end.
    pub data_dir_temporary: bool,
    /// Not empty; the first is the one that is advertised when nothing else is said.
    pub http: Vec<SocketAddr>,
    pub rpc: SocketAddr,
    /// Where the reference gossips. Links are accepted there too: configurations name this port for
    /// joining.
    pub serf: SocketAddr,
    pub advertise_http: SocketAddr,
    pub advertise_rpc: SocketAddr,
    pub advertise_serf: SocketAddr,
    pub region: String,
    /// Where other regions are reached, by their names, and the CA of those with TLS; an empty
    /// path: what the system trusts.
    pub regions: BTreeMap<String, HttpAddress>,
    pub region_ca: PathBuf,
    pub datacenter: String,
    pub node_name: String,
    pub log_level: LevelFilter,
    pub log_to: LogTo,
    pub enable_debug: bool,
    pub telemetry: Telemetry,
    /// Requests need tokens. Those with an end are valid for so long, ns.
    pub acl_enabled: bool,
    pub acl_token_min_ttl_ns: i64,
    pub acl_token_max_ttl_ns: i64,
    /// A management token of the authoritative region; empty: none. Printable characters.
    pub acl_replication_token: String,
    /// Added to every answer of the API. Names and values hold no control characters.
    pub response_headers: Vec<(String, String)>,
    /// Open connections of one address; 0: no limit.
    pub http_max_conns_per_client: usize,
    /// ns; 0: a handshake may take its time.
    pub https_handshake_ns: u64,
    pub tls: Tls,
    /// An agent that is told to end leaves its cluster first.
    pub leave_on_interrupt: bool,
    pub leave_on_terminate: bool,
    /// Servers to call, as they were written (host, or host and port), and the port where none is.
    pub join: Vec<(String, u16)>,
    /// Times that each is called; `None`: until it answers.
    pub join_tries: Option<u32>,
    pub server: Server,
    pub client: Client,
    pub raw_exec: RawExec,
    /// `config` of every `plugin` block, by name.
    pub plugins: BTreeMap<String, Any>,
}

/// The server's part.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    pub enabled: bool,
    /// Servers that the cluster begins with; 0: it exists already.
    pub bootstrap_expect: u64,
    /// 16, 24 or 32 bytes that all agents of the cluster share; empty: none.
    pub encrypt: Vec<u8>,
    /// 1 to 10: how much slower than on a good network elections are.
    pub raft_multiplier: u64,
    /// Applied entries that stay in the log, for servers that were away.
    pub log_kept: u64,
    /// Snapshots that are made by the clock; `None`: none.
    pub snapshots: Option<Schedule>,
    /// How work is placed in a cluster that has not begun; `None`: as usual.
    pub scheduling: Option<SchedulerConfiguration>,
    pub workers: Workers,
    /// How new nodes are let in.
    pub introduction: Introduction,
    pub node_gc_threshold_ns: i64,
    pub root_key_gc_threshold_ns: i64,
    pub job_gc_interval_ns: i64,
    pub acl_token_gc_threshold_ns: i64,
    pub job_gc_threshold_ns: i64,
    pub eval_gc_threshold_ns: i64,
    pub batch_eval_gc_threshold_ns: i64,
    pub deployment_gc_threshold_ns: i64,
    pub heartbeat_grace_ns: i64,
    pub min_heartbeat_ttl_ns: i64,
    pub max_heartbeats_per_second: f64,
    pub failover_heartbeat_ttl_ns: i64,
    pub job_default_priority: i64,
    /// Changes kept for the event stream; zero: none is served.
    pub event_buffer: usize,
    pub job_max_priority: i64,
    /// Instances of one job.
    pub job_max_count: i64,
    /// Bytes of a kept job source.
    pub job_max_source_bytes: u64,
    /// The region where what all regions share is written; empty: this one.
    pub authoritative_region: String,
    /// A URL; empty: none.
    pub oidc_issuer: String,
    pub search: SearchLimits,
}

/// The node's part.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    pub enabled: bool,
    pub state_dir: PathBuf,
    pub alloc_dir: PathBuf,
    /// Where the built-in plugin makes host volumes.
    pub volumes_dir: PathBuf,
    /// Programs that make host volumes; empty: there are none.
    pub volume_plugin_dir: String,
    /// `host_volume` by name: absolute path, and whether nobody may write there.
    pub host_volumes: BTreeMap<String, (String, bool)>,
    pub gc_volumes_on_node_gc: bool,
    pub node_class: String,
    pub node_pool: String,
    pub meta: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    /// Empty: the interface of the default route.
    pub network_interface: String,
    /// Megabits per second; 0: as the system says.
    pub network_speed: i64,
    /// MHz of all cores; 0: as the system says.
    pub cpu_total_compute: i64,
    /// 0: as the system says.
    pub memory_total_mb: i64,
    /// 0: as the system says.
    pub disk_total_mb: i64,
    /// 1 to 65535, min not above max.
    pub min_dynamic_port: u16,
    pub max_dynamic_port: u16,
    /// MHz kept for others.
    pub reserved_cpu: i64,
    pub reserved_memory_mb: i64,
    pub reserved_disk_mb: i64,
    /// As written, checked: `22,80,8000-9000`.
    pub reserved_ports: String,
    pub max_kill_timeout_ns: i64,
    pub fetch_limits: FetchLimits,
    /// `client.template.wait`, where it was given.
    pub template_wait: Option<WaitConfig>,
    /// Terminal allocations that stay on disk.
    pub gc_max_allocs: usize,
    /// Allocations at one time; 0: no limit.
    pub node_max_allocs: i64,
    /// New nodes take no work until an operator says so.
    pub default_ineligible: bool,
    /// Nobody may run commands in tasks of this node.
    pub disable_remote_exec: bool,
    /// Shown to servers that do not know this node; characters of a JWT, may be empty.
    pub intro_token: String,
}

/// The `tls` block.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// Both need certificate and key, links and `verify_callers` a CA as well.
    pub http: bool,
    pub rpc: bool,
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Certificates of agents name their roles.
    pub verify_names: bool,
    /// Whoever calls by HTTPS shows a certificate.
    pub verify_callers: bool,
    /// Links that are not encrypted are taken too.
    pub upgrade: bool,
}

/// `plugin "raw_exec"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawExec {
    pub enabled: bool,
}

/// Stops the start where something is asked for that this version does not do.
fn check_served(tree: &Tree, host: &Host) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("{what} is not supported by this version"));
    if let Some(name) = tree.given_with(Use::Refused).next() {
        return refuse(name);
    }
    if let Some(name) = tree.absent.first() {
        return refuse(name);
    }
    let options = tree.strings("client.options");
    if let Some(name) = options.keys().find(|k| OPTIONS_REFUSED.contains(&k.as_str())) {
        return refuse(&format!("client.options {name}"));
    }
    if tree.free.get("audit") == Some(&true) {
        return refuse("audit.enabled");
    }
    for ((kind, _), block) in &tree.outside {
        if *kind == "vault" && block.get("enabled").and_then(boolean) == Some(true) {
            return refuse("vault.enabled");
        }
    }
    let (server, client) =
        (host.dev || tree.bool("server.enabled"), host.dev || tree.bool("client.enabled"));
    if !server && !client {
        return Err("Must specify either server, client or dev mode for the agent.".into());
    }
    if tree.int("server.bootstrap_expect") > 0 && !server {
        return Err("Bootstrap requires server mode to be enabled".into());
    }
    Ok(())
}

fn settings(tree: &Tree, host: &Host) -> Result<Settings, String> {
    let data_dir = data_dir(tree, host)?;
    let net = network(tree, host)?;
    let region = plain(tree, "region");
    if region.contains('\0') {
        return Err("Region contains invalid characters".into());
    }
    let regions = regions(tree, &region)?;
    let datacenter = plain(tree, "datacenter");
    if datacenter.contains(['\0', '*']) {
        return Err("Datacenter contains invalid characters (null or '*')".into());
    }
    let mut node_name = plain(tree, "name");
    if node_name.is_empty() {
        node_name.clone_from(&host.name);
    }
    Ok(Settings {
        dev: host.dev,
        data_dir_temporary: host.temporary.is_some(),
        http: net.http,
        rpc: net.rpc,
        serf: net.serf,
        advertise_http: net.advertise_http,
        advertise_rpc: net.advertise_rpc,
        advertise_serf: net.advertise_serf,
        region,
        regions,
        region_ca: match tree.text("region_ca_file") {
            "" => PathBuf::from(tree.text("tls.ca_file")),
            path => PathBuf::from(path),
        },
        datacenter,
        telemetry: telemetry(tree, host, &node_name),
        node_name,
        log_level: log_level(tree.text("log_level"))?,
        log_to: log_to(tree)?,
        enable_debug: tree.bool("enable_debug"),
        acl_enabled: tree.bool("acl.enabled"),
        acl_replication_token: match tree.text("acl.replication_token") {
            token if token.bytes().all(|b| b.is_ascii_graphic()) => token.to_owned(),
            _ => return Err("acl.replication_token has characters that no token has".into()),
        },
        acl_token_min_ttl_ns: nanos(tree, "acl.token_min_expiration_ttl", TOKEN_TTL_MIN_NS),
        acl_token_max_ttl_ns: nanos(tree, "acl.token_max_expiration_ttl", TOKEN_TTL_MAX_NS),
        response_headers: response_headers(tree)?,
        http_max_conns_per_client: unsigned(tree, "limits.http_max_conns_per_client")?,
        https_handshake_ns: nanos(tree, "limits.https_handshake_timeout", 5 * SECOND)
            .try_into()
            .unwrap_or(0),
        tls: tls(tree)?,
        leave_on_interrupt: tree.bool("leave_on_interrupt"),
        leave_on_terminate: tree.bool("leave_on_terminate"),
        join: join(tree, host),
        join_tries: tries(tree),
        server: server(tree, host)?,
        client: client(tree, host, &data_dir)?,
        raw_exec: raw_exec(tree)?,
        plugins: plugins(tree),
        data_dir,
    })
}

/// `region_addresses { west = "https://west.example.com:4646" }`
fn regions(tree: &Tree, own: &str) -> Result<BTreeMap<String, HttpAddress>, String> {
    let mut out = BTreeMap::new();
    for (name, text) in tree.strings("region_addresses") {
        if name == own {
            return Err(format!("region_addresses: {name:?} is this agent's own region"));
        }
        let address = HttpAddress::read(&text).ok_or_else(|| {
            format!("region_addresses: {name} = {text:?} is not of the form https://host:port")
        })?;
        out.insert(name, address);
    }
    Ok(out)
}

/// Where an HTTP server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAddress {
    pub secure: bool,
    /// An address or a name.
    pub host: String,
    pub port: u16,
}

impl HttpAddress {
    /// `http://host:port` or `https://host:port`; without a port it is 4646.
    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let (host, port) = super::names::host_port(rest, 4646).ok()?;
        rest.bytes().all(plain).then_some(Self { secure, host, port })
    }

    /// What requests name it by.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl Display for HttpAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

fn tls(tree: &Tree) -> Result<Tls, String> {
    let path = |name: &str| PathBuf::from(tree.text(name));
    let tls = Tls {
        http: tree.bool("tls.http"),
        rpc: tree.bool("tls.rpc"),
        ca: path("tls.ca_file"),
        cert: path("tls.cert_file"),
        key: path("tls.key_file"),
        verify_names: tree.bool("tls.verify_server_hostname"),
        verify_callers: tree.bool("tls.verify_https_client"),
        upgrade: tree.bool("tls.rpc_upgrade_mode"),
    };
    if !["", "tls12", "tls13"].contains(&tree.text("tls.tls_min_version")) {
        let given = tree.text("tls.tls_min_version");
        return Err(format!("tls.tls_min_version {given:?} is not one of tls12, tls13"));
    }
    let files = [
        ("ca_file", &tls.ca, tls.rpc || tls.http && tls.verify_callers),
        ("cert_file", &tls.cert, tls.rpc || tls.http),
        ("key_file", &tls.key, tls.rpc || tls.http),
    ];
    let missing =
        |(_, path, needed): &&(&str, &PathBuf, bool)| *needed && path.as_os_str().is_empty();
    if let Some((name, ..)) = files.iter().find(missing) {
        return Err(format!("tls.{name} must be given for what else tls asks for"));
    }
    Ok(tls)
}

fn telemetry(tree: &Tree, host: &Host, node_name: &str) -> Telemetry {
    let own = if tree.bool("telemetry.use_node_name") { node_name } else { &host.name };
    let label = if tree.bool("telemetry.disable_hostname") { "" } else { own };
    let rule = |text: String| match text.strip_prefix('-') {
        Some(prefix) => (false, prefix.to_owned()),
        None => (true, text.trim_start_matches('+').to_owned()),
    };
    let unlisted =
        tree.given("telemetry.filter_default").is_none() || tree.bool("telemetry.filter_default");
    Telemetry {
        interval_ns: nanos(tree, "telemetry.in_memory_collection_interval", 10 * SECOND),
        prometheus: tree.bool("telemetry.prometheus_metrics"),
        node: tree.bool("telemetry.publish_node_metrics"),
        tasks: tree.bool("telemetry.publish_allocation_metrics"),
        host: label.to_owned(),
        filter: tree.list("telemetry.prefix_filter").into_iter().map(rule).collect(),
        unlisted,
        dispatched: !tree.bool("telemetry.disable_dispatched_job_summary_metrics"),
    }
}

fn data_dir(tree: &Tree, host: &Host) -> Result<PathBuf, String> {
    let given = tree.text("data_dir");
    match &host.temporary {
        Some(temporary) => Ok(temporary.clone()),
        None if given.is_empty() => {
            Err("Must specify \"data_dir\" config option or \"data-dir\" CLI flag".into())
        }
        None => absolute("data-dir", given),
    }
}

/// Every address that a key names for joining.
fn join(tree: &Tree, host: &Host) -> Vec<(String, u16)> {
    let mut keys: Vec<(&str, u16)> = Vec::new();
    if host.dev || tree.bool("server.enabled") {
        let serf = 4648;
        keys.extend([("server.start_join", serf), ("server.retry_join", serf)]);
        keys.push(("server.server_join.start_join", serf));
        keys.push(("server.server_join.retry_join", serf));
    }
    if host.dev || tree.bool("client.enabled") {
        let rpc = 4647;
        keys.extend([("client.servers", rpc), ("client.server_join.start_join", rpc)]);
        keys.push(("client.server_join.retry_join", rpc));
    }
    let hosts = |(key, port)| tree.list(key).into_iter().map(move |host| (host, port));
    keys.into_iter().flat_map(hosts).collect()
}

fn tries(tree: &Tree) -> Option<u32> {
    let keys = ["server.retry_max", "server.server_join.retry_max"];
    let most = keys.iter().map(|key| tree.int(key)).max().unwrap_or(0);
    u32::try_from(most).ok().filter(|n| *n > 0)
}

/// `encrypt`: base64 of 16, 24 or 32 bytes.
fn secret(text: &str) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = crate::stdx::json::Bytes::decode(text)
        .ok_or("Invalid encryption key: illegal base64 data at input byte 0")?;
    if matches!(bytes.len(), 16 | 24 | 32) {
        return Ok(bytes);
    }
    Err("Invalid encryption key: key size must be 16, 24 or 32 bytes".to_owned())
}

/// Of a data directory `data`, `data/snapshots` is where they go unless the path says otherwise.
fn snapshots(tree: &Tree) -> Result<Option<Schedule>, String> {
    let interval_ns = nanos(tree, "server.snapshots.interval", 0);
    if interval_ns == 0 {
        return Ok(None);
    }
    if interval_ns < 1_000_000_000 {
        return Err("server.snapshots.interval must be a second or more".to_owned());
    }
    let keep = unsigned(tree, "server.snapshots.keep")?;
    if keep == 0 {
        return Err("server.snapshots.keep must be 1 or more".to_owned());
    }
    let path = match tree.text("server.snapshots.path") {
        "" => PathBuf::from(tree.text("data_dir")).join("snapshots"),
        path => PathBuf::from(path),
    };
    if !path.is_absolute() {
        return Err("server.snapshots.path must be absolute".to_owned());
    }
    Ok(Some(Schedule { interval_ns, keep, path }))
}

fn server(tree: &Tree, host: &Host) -> Result<Server, String> {
    let multiplier = tree.int("server.raft_multiplier");
    if !(0..=10).contains(&multiplier) {
        return Err(format!("raft_multiplier cannot be {multiplier}. Must be between 1 and 10"));
    }
    let default_priority = positive(tree, "server.job_default_priority", 50);
    let max_priority = positive(tree, "server.job_max_priority", 100);
    if !(100..=32766).contains(&max_priority) {
        return Err("server.job_max_priority must be between 100 and 32766".into());
    }
    if default_priority > max_priority {
        return Err("server.job_default_priority must not be above job_max_priority".into());
    }
    let per_second = tree.float("server.max_heartbeats_per_second");
    Ok(Server {
        enabled: host.dev || tree.bool("server.enabled"),
        bootstrap_expect: unsigned(tree, "server.bootstrap_expect")?,
        encrypt: secret(tree.text("server.encrypt"))?,
        raft_multiplier: u64::try_from(multiplier).unwrap_or(1).max(1),
        snapshots: snapshots(tree)?,
        scheduling: scheduling(tree)?,
        workers: workers(tree, host)?,
        introduction: introduction(tree)?,
        log_kept: match u64::try_from(tree.int("server.raft_trailing_logs")) {
            Ok(n) if n > 0 => n,
            _ => LOG_ENTRIES_KEPT,
        },
        node_gc_threshold_ns: nanos(tree, "server.node_gc_threshold", 24 * HOUR),
        root_key_gc_threshold_ns: nanos(tree, "server.root_key_gc_threshold", HOUR),
        acl_token_gc_threshold_ns: nanos(tree, "server.acl_token_gc_threshold", HOUR),
        job_gc_interval_ns: nanos(tree, "server.job_gc_interval", 5 * MINUTE),
        job_gc_threshold_ns: nanos(tree, "server.job_gc_threshold", 4 * HOUR),
        eval_gc_threshold_ns: nanos(tree, "server.eval_gc_threshold", HOUR),
        batch_eval_gc_threshold_ns: nanos(tree, "server.batch_eval_gc_threshold", 24 * HOUR),
        deployment_gc_threshold_ns: nanos(tree, "server.deployment_gc_threshold", HOUR),
        heartbeat_grace_ns: nanos(tree, "server.heartbeat_grace", 10 * SECOND),
        min_heartbeat_ttl_ns: nanos(tree, "server.min_heartbeat_ttl", 10 * SECOND),
        max_heartbeats_per_second: if per_second > 0.0 { per_second } else { 50.0 },
        failover_heartbeat_ttl_ns: nanos(tree, "server.failover_heartbeat_ttl", 5 * MINUTE),
        job_default_priority: default_priority,
        event_buffer: match tree.bool("server.enable_event_broker") {
            true => usize::try_from(tree.int("server.event_buffer_size")).unwrap_or(0),
            false => 0,
        },
        job_max_priority: max_priority,
        job_max_count: positive(tree, "server.job_max_count", 50_000),
        authoritative_region: tree.text("server.authoritative_region").to_owned(),
        oidc_issuer: tree.text("server.oidc_issuer").to_owned(),
        job_max_source_bytes: bytes(tree.text("server.job_max_source_size"))
            .ok_or("server.job_max_source_size must be a size such as \"1M\"")?,
        search: SearchLimits {
            fuzzy: tree.bool("server.search.fuzzy_enabled"),
            objects: unsigned(tree, "server.search.limit_query")?,
            results: unsigned(tree, "server.search.limit_results")?,
            term: unsigned(tree, "server.search.min_term_length")?,
        },
    })
}

/// `host_volume "name" { path = "/…" }`
fn host_volumes(tree: &Tree) -> Result<BTreeMap<String, (String, bool)>, String> {
    let mut out = BTreeMap::new();
    for (name, block) in &tree.host_volumes {
        let path = block.get("path").and_then(Any::as_str).unwrap_or_default();
        if !path.starts_with('/') {
            return Err(format!("host_volume {name:?} must have an absolute path: {path:?}"));
        }
        let read_only = block.get("read_only").and_then(boolean).unwrap_or(false);
        out.insert(name.clone(), (path.to_owned(), read_only));
    }
    Ok(out)
}

fn client(tree: &Tree, host: &Host, data_dir: &std::path::Path) -> Result<Client, String> {
    let meta = tree.strings("client.meta");
    let name_ok = |k: &str| k.split('.').all(|p| !p.is_empty()) && !k.contains('\0');
    if let Some(bad) = meta.keys().find(|k| !name_ok(k)) {
        return Err(format!("Invalid Client.Meta key: {bad}"));
    }
    let node_pool = plain(tree, "client.node_pool");
    if node_pool == "all" || !is_pool_name(&node_pool) {
        return Err(format!("Invalid node pool: {node_pool:?}"));
    }
    let (low, high) = (tree.int("client.min_dynamic_port"), tree.int("client.max_dynamic_port"));
    let bad_range = || format!("Invalid dynamic port range: min_dynamic_port={low} max={high}");
    let (min_dynamic_port, max_dynamic_port) = (
        u16::try_from(low).map_err(|_| bad_range())?,
        u16::try_from(high).map_err(|_| bad_range())?,
    );
    if min_dynamic_port == 0 || min_dynamic_port > max_dynamic_port {
        return Err(bad_range());
    }
    let reserved_ports = plain(tree, "client.reserved.reserved_ports");
    if !is_port_list(&reserved_ports) {
        return Err(format!("reserved.reserved_ports {reserved_ports:?} invalid"));
    }
    Ok(Client {
        enabled: host.dev || tree.bool("client.enabled"),
        state_dir: beside(tree, "client.state_dir", data_dir, "client")?,
        alloc_dir: beside(tree, "client.alloc_dir", data_dir, "alloc")?,
        volumes_dir: beside(tree, "client.host_volumes_dir", data_dir, "host_volumes")?,
        volume_plugin_dir: match tree.text("client.host_volume_plugin_dir") {
            "" => String::new(),
            dir => absolute("host-volume-plugin-dir", dir)?.to_string_lossy().into_owned(),
        },
        host_volumes: host_volumes(tree)?,
        gc_volumes_on_node_gc: tree.bool("client.gc_volumes_on_node_gc"),
        node_class: plain(tree, "client.node_class"),
        node_pool,
        meta,
        options: tree.strings("client.options"),
        network_interface: plain(tree, "client.network_interface"),
        network_speed: tree.int("client.network_speed").max(0),
        cpu_total_compute: tree.int("client.cpu_total_compute").max(0),
        memory_total_mb: tree.int("client.memory_total_mb").max(0),
        disk_total_mb: tree.int("client.disk_total_mb").max(0),
        min_dynamic_port,
        max_dynamic_port,
        reserved_cpu: tree.int("client.reserved.cpu").max(0),
        reserved_memory_mb: tree.int("client.reserved.memory").max(0),
        reserved_disk_mb: tree.int("client.reserved.disk").max(0),
        reserved_ports,
        max_kill_timeout_ns: nanos(tree, "client.max_kill_timeout", 30 * SECOND),
        fetch_limits: fetch_limits(tree)?,
        template_wait: template_wait(tree)?,
        gc_max_allocs: unsigned(tree, "client.gc_max_allocs")?,
        node_max_allocs: tree.int("client.node_max_allocs").max(0),
        default_ineligible: tree.bool("client.default_ineligible"),
        disable_remote_exec: tree.bool("client.disable_remote_exec"),
        intro_token: match tree.text("client.intro_token") {
            token if token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) => {
                token.to_owned()
            }
            _ => return Err("client.intro_token has characters that no token has".into()),
        },
    })
}

/// Without it templates wait for nothing but their splay.
fn fetch_limits(tree: &Tree) -> Result<FetchLimits, String> {
    let size = |key: &str| {
        let text = tree.text(key);
        bytes(text).ok_or_else(|| format!("{key} must be a size such as 100GB, not {text:?}"))
    };
    let seconds = nanos(tree, "client.artifact.http_read_timeout", 30 * MINUTE) / SECOND;
    Ok(FetchLimits {
        seconds: u32::try_from(seconds.max(1)).unwrap_or(u32::MAX),
        bytes: size("client.artifact.http_max_size")?,
        unpacked_bytes: size("client.artifact.decompression_size_limit")?,
        entries: unsigned(tree, "client.artifact.decompression_file_count_limit")?,
    })
}

fn template_wait(tree: &Tree) -> Result<Option<WaitConfig>, String> {
    let given = |name| tree.given(name).and_then(|_| duration::parse(tree.text(name)));
    let (min, max) = (given("client.template.wait.min"), given("client.template.wait.max"));
    if max.is_some() && min > max {
        return Err("client.template.wait: min is greater than max".to_owned());
    }
    Ok((min.is_some() || max.is_some()).then_some(WaitConfig { min, max }))
}

fn raw_exec(tree: &Tree) -> Result<RawExec, String> {
    let option = tree.strings("client.options").get("driver.raw_exec.enable").cloned();
    let mut out = RawExec { enabled: option.and_then(|o| parse_bool(&o)).unwrap_or(false) };
    let config = tree.plugins.get("raw_exec").and_then(|b| b.get("config"));
    let Some(config) = config else { return Ok(out) };
    let config = super::config_tree::merged(config).ok_or("plugin raw_exec: config is no block")?;
    for (key, value) in &config {
        match key.as_str() {
            "enabled" => {
                out.enabled = boolean(value).ok_or("raw_exec: enabled must be true or false")?;
            }
            "denied_host_uids" | "denied_host_gids" | "denied_envvars" => {
                let unset = match value {
                    Any::Null => true,
                    Any::Text(t) => t.is_empty(),
                    Any::List(l) => l.is_empty(),
                    Any::Bool(_) | Any::Number(_) | Any::Map(_) => false,
                };
                if !unset {
                    return Err(format!("raw_exec {key} is not supported by this version"));
                }
            }
            // Knobs of cgroup versions that no longer matter.
            "no_cgroups" => {}
            _ => return Err(format!("plugin raw_exec: unexpected key {key} in config")),
        }
    }
    Ok(out)
}

fn plugins(tree: &Tree) -> BTreeMap<String, Any> {
    let config = |b: &Block| match b.get("config").and_then(super::config_tree::merged) {
        Some(config) => Any::Map(config),
        None => Any::Null,
    };
    sort::gather(tree.plugins.iter().map(|(name, block)| (name.clone(), config(block))))
}

fn response_headers(tree: &Tree) -> Result<Vec<(String, String)>, String> {
    let headers = tree.strings("http_api_response_headers");
    for (name, value) in &headers {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) || value.bytes().any(|b| b < 0x20) {
            return Err(format!("http_api_response_headers: {name:?} cannot be sent"));
        }
    }
    Ok(headers.into_iter().collect())
}

/// Where the agent listens and what it tells others.
struct Net {
    http: Vec<SocketAddr>,
    rpc: SocketAddr,
    serf: SocketAddr,
    advertise_http: SocketAddr,
    advertise_rpc: SocketAddr,
    advertise_serf: SocketAddr,
}

fn network(tree: &Tree, host: &Host) -> Result<Net, String> {
    let listen = |part: &str| -> Result<Vec<SocketAddr>, String> {
        let given = tree.text(&format!("addresses.{part}"));
        let text = if given.is_empty() { tree.text("bind_addr") } else { given };
        let port = tree.int(&format!("ports.{part}"));
        let port = u16::try_from(port).map_err(|_| format!("ports.{part}: {port} is no port"))?;
        let all: Result<Vec<_>, _> =
            addresses(text, host).map(|a| a.map(|ip| (ip, port).into())).collect();
        let all = all?;
        if all.is_empty() {
            return Err(format!("Failed to parse {part} address {text:?}"));
        }
        Ok(all)
    };
    let (http, rpc, serf) = (listen("http")?, listen("rpc")?[0], listen("serf")?[0]);
    let advertise = |part: &str, bound: SocketAddr| {
        advertise(tree.text(&format!("advertise.{part}")), bound, host)
    };
    Ok(Net {
        advertise_http: advertise("http", http[0])?,
        advertise_rpc: advertise("rpc", rpc)?,
        advertise_serf: advertise("serf", serf)?,
        http,
        rpc,
        serf,
    })
}

/// The addresses of a list with spaces between. The one template is `{{ GetPrivateIP }}`.
fn addresses(text: &str, host: &Host) -> impl Iterator<Item = Result<IpAddr, String>> {
    let squeezed = text.replace("{{ ", "{{").replace(" }}", "}}");
    let words: Vec<String> = squeezed.split_whitespace().map(str::to_owned).collect();
    let private = host.addresses.iter().find(|a| a.is_private()).copied();
    words.into_iter().map(move |word| match word.as_str() {
        "{{GetPrivateIP}}" => private
            .map(IpAddr::V4)
            .ok_or_else(|| "GetPrivateIP: this machine has no private address".to_owned()),
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => {
            let bare = word.trim_start_matches('[').trim_end_matches(']');
            bare.parse().map_err(|_| format!("Failed to parse address {word:?}"))
        }
    })
}

/// `given` is an address with or without a port, or empty.
fn advertise(given: &str, bound: SocketAddr, host: &Host) -> Result<SocketAddr, String> {
    if !given.is_empty() {
        if let Ok(full) = given.parse() {
            return Ok(full);
        }
        let ip = addresses(given, host).next().unwrap_or_else(|| Err("empty".into()));
        return ip
            .map(|ip| SocketAddr::new(ip, bound.port()))
            .map_err(|_| format!("Failed to parse advertise address {given:?}"));
    }
    if !bound.ip().is_unspecified() {
        return Ok(bound);
    }
    let own = host.addresses.iter().find(|a| a.is_private()).or(host.addresses.first());
    match own {
        Some(ip) => Ok((*ip, bound.port()).into()),
        None if host.dev => Ok((Ipv4Addr::LOCALHOST, bound.port()).into()),
        None => {
            Err("Defaulting advertise to localhost is unsafe, please set advertise manually".into())
        }
    }
}

fn log_level(text: &str) -> Result<LevelFilter, String> {
    Ok(match text.to_ascii_uppercase().as_str() {
        "TRACE" => LevelFilter::Trace,
        "DEBUG" => LevelFilter::Debug,
        "INFO" => LevelFilter::Info,
        "WARN" => LevelFilter::Warn,
        "ERROR" => LevelFilter::Error,
        "OFF" => LevelFilter::Off,
        _ => {
            return Err(format!(
                "Invalid log level: {text}. Valid log levels are: [TRACE DEBUG INFO WARN ERROR OFF]"
            ));
        }
    })
}

/// A path without the name of a file is the folder of `nomad.log`. Source: the API.
fn log_to(tree: &Tree) -> Result<LogTo, String> {
    let mut path = PathBuf::from(tree.text("log_file"));
    if tree.text("log_file").ends_with('/') || path.is_dir() {
        path.push("nomad.log");
    }
    Ok(LogTo {
        json: tree.bool("log_json"),
        place: tree.bool("log_include_location"),
        path: std::path::absolute(&path).unwrap_or(path),
        bytes: unsigned(tree, "log_rotate_bytes")?,
        age_ns: nanos(tree, "log_rotate_duration", 24 * HOUR),
        older: tree.int("log_rotate_max_files"),
    })
}

/// Names of 1 to 128 letters, digits, `-` and `_`.
fn is_pool_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=128).contains(&name.len()) && name.bytes().all(fits)
}

/// `22,80,8000-9000`, or nothing.
fn is_port_list(text: &str) -> bool {
    let port = |t: &str| t.trim().parse::<u16>().ok();
    text.is_empty()
        || text.split(',').all(|part| match part.split_once('-') {
            Some((a, b)) => matches!((port(a), port(b)), (Some(a), Some(b)) if a <= b),
            None => port(part).is_some(),
        })
}

/// `1M`, `500K`, `2G`, with or without a final B; powers of 1,024.
fn bytes(text: &str) -> Option<u64> {
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.trim_end_matches('B').trim_end_matches('I');
    let (number, shift) = match upper.chars().last()? {
        'K' => (&upper[..upper.len() - 1], 10),
        'M' => (&upper[..upper.len() - 1], 20),
        'G' => (&upper[..upper.len() - 1], 30),
        _ => (upper, 0),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn plain(tree: &Tree, name: &str) -> String {
    tree.text(name).to_owned()
}

fn absolute(what: &str, text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("{what} must be given as an absolute path: got {text}"))
    }
}

/// A directory of its own, or `name` below the data directory.
fn beside(
    tree: &Tree,
    key: &str,
    data_dir: &std::path::Path,
    name: &str,
) -> Result<PathBuf, String> {
    match tree.text(key) {
        "" => Ok(data_dir.join(name)),
        given => absolute(&key.rsplit('.').next().unwrap_or(key).replace('_', "-"), given),
    }
}

pub(super) fn unsigned<T: TryFrom<i64>>(tree: &Tree, name: &str) -> Result<T, String> {
    let n = tree.int(name);
    T::try_from(n).map_err(|_| format!("{name} must not be {n}"))
}

fn positive(tree: &Tree, name: &str, default: i64) -> i64 {
    let n = tree.int(name);
    if n > 0 { n } else { default }
}

/// A duration that was checked when it was read; absent or zero means the default.
pub(super) fn nanos(tree: &Tree, name: &str, default: i64) -> i64 {
    duration::parse(tree.text(name)).filter(|n| *n > 0).unwrap_or(default)
}

const SECOND: i64 = 1_000_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Options that keep something from the node or its tasks, and are not obeyed yet.
const OPTIONS_REFUSED: &[&str] = &[
    "driver.allowlist",
    "driver.denylist",
    "fingerprint.allowlist",
    "fingerprint.denylist",
    "user.checked_drivers",
    "user.denylist",
];
