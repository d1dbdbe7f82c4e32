//! From a configuration to an agent that runs: directories, store, identities, listeners.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

use mio::Poll;

use super::cluster::{self, Cluster};
use super::config::Config;
use super::consensus::{Consensus, peer_id};
use super::core::Core;
use super::facts;
use super::front::Front;
use super::mesh::Mesh;
use super::names::Names;
use super::recover::{advice, recover};
use super::run::{Leave, Loop};
use super::secured::Secured;
use super::snapshots::Snapshots;
use super::tasks::Tasks;
use super::wires::Wires;
use crate::api::{
    ClientHostVolumeConfig, NodeDiskResources, NodeMemoryResources, NodeReservedCpu,
    NodeReservedNetworks, NodeReservedResources,
};
use crate::client::fingerprint;
use crate::client::{Client, ClientConfig, ClientInput};
use crate::limits::SECOND;
use crate::link::{Hello, Secret};
use crate::os::entropy::System;
use crate::os::signals::Signals;
use crate::os::{clock, fs, net, proc, zones};
use crate::raft;
use crate::routes::{AclInfo, AgentInfo};
use crate::server::{self, Server};
use crate::stdx::zone::Zones;
use crate::stdx::{Entropy, Now, uuid};
use crate::store::{Options, Store};

/// Why an agent could not be started: one sentence.
pub(super) type Fault = String;

/// Builds everything up to the first turn.
///
/// # Errors
/// A sentence for the person who starts it.
pub(super) fn boot(config: &Config, reload: super::Reload) -> Result<Loop, Fault> {
    let now = clock::now();
    let mut entropy = System::new();
    let secured = Secured::read(config)?;
    let listeners = listen(&config.http)?;
    let dir = config.data_dir.join("store");
    fs::make_dir(&config.data_dir, 0o700).map_err(|e| at(&config.data_dir, &e))?;
    let sync = !config.data_dir_temporary;
    let options = Options { allocate: fs::allocate, sync, ..Options::default() };
    let mut store = Store::open(&dir, options)
        .map_err(|e| format!("{}: {}", dir.display(), advice(&e, &dir)))?;
    let identity = identities(&mut store, &mut entropy).map_err(|e| e.to_string())?;
    let id = peer_id(&identity.server).ok_or("the server's id is damaged")?;
    if config.server.enabled {
        recover(&config.data_dir, &mut store, id)?;
    }
    let poll = Poll::new().map_err(|e| e.to_string())?;
    let signals = Signals::for_agent().map_err(|e| e.to_string())?;
    let mut front = Front::new(
        listeners,
        config.response_headers.clone(),
        u32::try_from(config.http_max_conns_per_client).unwrap_or(u32::MAX),
        config.server.event_buffer,
        config.telemetry.clone(),
    );
    let client = client(config, &identity, now, &mut entropy)?;
    let mut info = info(config, &identity, now);
    info.remote_regions = config.regions.keys().cloned().collect();
    let mut wires = Wires::new(match config.server.enabled {
        true => listen(&[config.rpc, config.serf])?,
        false => Vec::new(),
    });
    front.secure(secured.http);
    front.regions.secure(secured.regions);
    front.regions.configure(config.regions.clone());
    wires.secure(secured.links);
    let snap = store.snap().map_err(|e| e.to_string())?;
    let raft_config = raft_config(config, &mut entropy);
    let consensus = Consensus::open(snap.reader(), id, raft_config.clone(), config.server.log_kept)
        .map_err(|e| advice(&e, &dir))?;
    let mut mesh = mesh(config, &identity, &consensus, &mut entropy);
    mesh.set_roles(config.tls.rpc && config.tls.verify_names);
    let promise = snap.reader().local(cluster::PROMISE).map_err(|e| e.to_string())?;
    let expect = if config.server.enabled { config.server.bootstrap_expect } else { 0 };
    let cluster = Cluster::new(expect, promise);
    let rows = snap.reader().local_rows(b"client/").map_err(|e| e.to_string())?;
    drop(snap);
    let server = config.server.enabled.then(|| Server::new(server_config(config)));
    let alloc_dir = config.client.alloc_dir.clone();
    let entropy = Box::new(entropy);
    let mut core =
        Core::new(info, consensus, raft_config, mesh, cluster, server, client, entropy, alloc_dir);
    core.guarded = config.acl_enabled && !config.server.enabled;
    core.replicas.token.clone_from(&config.acl_replication_token);
    core.set_workers(config.server.workers, now);
    core.remote.intro.clone_from(&config.client.intro_token);
    core.scheduling.clone_from(&config.server.scheduling);
    core.snapshots = config.server.snapshots.clone().map(Snapshots::new);
    core.spool_dir.clone_from(&config.data_dir);
    core.bootstrap_file = config.data_dir.join("server/acl-bootstrap-reset");
    core.sow(&config.join, config.join_tries);
    let snap = store.snap().map_err(|e| e.to_string())?;
    core.begin_alone(now, snap.reader());
    drop(snap);
    core.call_members(now);
    core.refresh(now);
    core.client_input(now, ClientInput::Restored(rows));
    let (mut tasks, names) = (Tasks::default(), Names::default());
    tasks.probes.believe(config.tls.ca.clone());
    let throw_away = config.data_dir_temporary;
    let leave = Leave {
        on_interrupt: config.leave_on_interrupt,
        on_terminate: config.leave_on_terminate,
        under_way: false,
    };
    let unread = Vec::new();
    let mut agent = Loop {
        poll,
        signals,
        front,
        wires,
        names,
        unread,
        core,
        tasks,
        store,
        reload,
        throw_away,
        leave,
    };
    agent.register().map_err(|e| e.to_string())?;
    Ok(agent)
}

fn listen(addresses: &[SocketAddr]) -> Result<Vec<mio::net::TcpListener>, Fault> {
    addresses
        .iter()
        .map(|a| net::listen(*a).map_err(|e| format!("cannot listen on {a}: {e}")))
        .collect()
}

fn raft_config(config: &Config, entropy: &mut dyn Entropy) -> raft::Config {
    let slower = config.server.raft_multiplier;
    let usual = raft::Config::default();
    raft::Config {
        heartbeat_ns: usual.heartbeat_ns * slower,
        election_ns: usual.election_ns * slower,
        seed: entropy.u64(),
        ..usual
    }
}

fn mesh(
    config: &Config,
    identity: &Identity,
    consensus: &Consensus,
    entropy: &mut dyn Entropy,
) -> Mesh {
    let id = |on: bool, text: &str| uuid::to_bytes(text).filter(|_| on).unwrap_or_default();
    let mut own = Hello {
        server: id(config.server.enabled, &identity.server),
        node: id(config.client.enabled, &identity.node),
        cluster: consensus.cluster(),
        member: !consensus.is_fresh(),
        region: config.region.clone(),
        datacenter: config.datacenter.clone(),
        name: config.node_name.clone(),
        rpc: config.advertise_rpc.to_string(),
        serf: config.advertise_serf.to_string(),
        http: config.advertise_http.to_string(),
        expect: config.server.bootstrap_expect,
        build: crate::API_VERSION.to_owned(),
        ..Hello::default()
    };
    entropy.fill(&mut own.boot);
    let secret = (!config.server.encrypt.is_empty()).then(|| Secret::new(&config.server.encrypt));
    Mesh::new(own, secret)
}

fn at(path: &Path, e: &std::io::Error) -> Fault {
    format!("{}: {e}", path.display())
}

/// Who this agent is, the same for as long as its data lives.
struct Identity {
    server: String,
    node: String,
    /// Proves to servers that a node is who it says.
    secret: String,
}

fn identities(
    store: &mut Store,
    entropy: &mut dyn Entropy,
) -> Result<Identity, crate::store::StoreError> {
    let mut batch = store.batch()?;
    let mut ids = Vec::new();
    for name in ["agent/server_id", "agent/node_id", "agent/node_secret"] {
        let known = batch.reader().local(name.as_bytes())?;
        let id = match known.map(|b| String::from_utf8_lossy(b).into_owned()) {
            Some(id) if uuid::is_uuid(&id) => id,
            _ => {
                let id = uuid::new(entropy);
                batch.put_local(name.as_bytes(), id.as_bytes())?;
                id
            }
        };
        ids.push(id);
    }
    batch.commit()?;
    let mut ids = ids.into_iter();
    let mut next = || ids.next().unwrap_or_default();
    Ok(Identity { server: next(), node: next(), secret: next() })
}

fn client(
    config: &Config,
    identity: &Identity,
    now: Now,
    entropy: &mut dyn Entropy,
) -> Result<Option<Client>, Fault> {
    let c = &config.client;
    if !c.enabled {
        return Ok(None);
    }
    fs::make_dir(&c.alloc_dir, 0o711).map_err(|e| at(&c.alloc_dir, &e))?;
    let run_dir = c.state_dir.join("run");
    fs::make_dir(&c.state_dir, 0o700).map_err(|e| at(&c.state_dir, &e))?;
    fs::make_dir(&run_dir, 0o700).map_err(|e| at(&run_dir, &e))?;
    let settings = fingerprint::Settings {
        name: config.node_name.clone(),
        datacenter: config.datacenter.clone(),
        class: c.node_class.clone(),
        pool: c.node_pool.clone(),
        meta: c.meta.clone(),
        http_addr: config.advertise_http.to_string(),
        network_interface: c.network_interface.clone(),
        network_speed: c.network_speed,
        cpu_total_compute: c.cpu_total_compute,
        memory_total_mb: c.memory_total_mb,
        disk_total_mb: c.disk_total_mb,
        min_dynamic_port: i64::from(c.min_dynamic_port),
        max_dynamic_port: i64::from(c.max_dynamic_port),
        reserved: reserved(c),
        cgroup_parent: String::new(),
        raw_exec: config.raw_exec.enabled,
        mock_driver: config.dev,
        default_ineligible: c.default_ineligible,
        node_max_allocs: c.node_max_allocs,
    };
    let mut node = fingerprint::node(&facts::machine(&c.alloc_dir), &settings, now.wall_ns);
    node.id.clone_from(&identity.node);
    node.gc_volumes_on_node_gc = c.gc_volumes_on_node_gc;
    for (name, (path, read_only)) in &c.host_volumes {
        if !Path::new(path).is_dir() {
            return Err(format!("host_volume {name:?}: {path} is no directory"));
        }
        let (id, name, path) = (String::new(), name.clone(), path.clone());
        let entry = ClientHostVolumeConfig { id, name: name.clone(), path, read_only: *read_only };
        node.host_volumes.insert(name, entry);
    }
    node.tls_enabled = config.tls.http;
    Ok(Some(Client::new(ClientConfig {
        node,
        secret: identity.secret.clone(),
        region: config.region.clone(),
        alloc_dir: c.alloc_dir.to_string_lossy().into_owned(),
        run_dir: run_dir.to_string_lossy().into_owned(),
        host_env: std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect(),
        env_denylist: c
            .options
            .get("env.denylist")
            .map(|list| list.split(',').map(|n| n.trim().to_owned()).collect())
            .unwrap_or_default(),
        boot_id: proc::boot_id(),
        max_kill_timeout_ns: c.max_kill_timeout_ns,
        template_wait: c.template_wait.clone(),
        fetch_limits: c.fetch_limits.clone(),
        gc_max_allocs: c.gc_max_allocs,
        seed: entropy.u64(),
        mounts: crate::os::mount::is_allowed(),
        volumes_dir: c.volumes_dir.to_string_lossy().into_owned(),
        volume_plugin_dir: c.volume_plugin_dir.clone(),
        volume_plugins: programs(&c.volume_plugin_dir),
    })))
}

/// Names of the programs in a directory, in order.
fn programs(dir: &str) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    if dir.is_empty() {
        return Vec::new();
    }
    let listed = std::fs::read_dir(dir);
    if let Err(e) = &listed {
        log::error!("no programs for host volumes in {dir}: {e}");
    }
    let mut names = Vec::new();
    for entry in listed.into_iter().flatten().flatten() {
        let found = std::fs::metadata(entry.path());
        if found.is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    names
}

fn info(config: &Config, identity: &Identity, now: Now) -> AgentInfo {
    let s = &config.server;
    AgentInfo {
        region: config.region.clone(),
        datacenter: config.datacenter.clone(),
        name: config.node_name.clone(),
        server_id: if s.enabled { identity.server.clone() } else { String::new() },
        rpc_addr: config.advertise_rpc.to_string(),
        serf_addr: config.advertise_serf.to_string(),
        http_addr: config.advertise_http.to_string(),
        server: s.enabled,
        expect: s.bootstrap_expect,
        client: config.client.enabled,
        config_json: Rc::from(config.self_json()),
        node_id: if config.client.enabled { identity.node.clone() } else { String::new() },
        debug: config.enable_debug,
        encrypted: !s.encrypt.is_empty(),
        introduction: s.introduction,
        log_file: config.log_to.path.clone(),
        exec_disabled: config.client.disable_remote_exec,
        // A node alone knows no tokens: servers see to it that only those ask who may.
        acl: AclInfo::new(
            config.acl_enabled && s.enabled,
            config.acl_token_min_ttl_ns,
            config.acl_token_max_ttl_ns,
        ),
        event_buffer: if s.enabled { s.event_buffer } else { 0 },
        job_default_priority: s.job_default_priority,
        job_max_priority: s.job_max_priority,
        job_max_count: s.job_max_count,
        job_max_source_size: s.job_max_source_bytes,
        authoritative_region: s.authoritative_region.clone(),
        oidc_issuer: s.oidc_issuer.clone(),
        zones: Zones(zones::file),
        search: s.search,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        started_ns: now.wall_ns,
        ..AgentInfo::default()
    }
}

/// What the operator keeps back from the scheduler.
fn reserved(c: &super::config::Client) -> NodeReservedResources {
    NodeReservedResources {
        cpu: NodeReservedCpu { cpu_shares: c.reserved_cpu, ..NodeReservedCpu::default() },
        disk: NodeDiskResources { disk_mb: c.reserved_disk_mb },
        memory: NodeMemoryResources { memory_mb: c.reserved_memory_mb },
        networks: NodeReservedNetworks { reserved_host_ports: c.reserved_ports.clone() },
    }
}

fn server_config(config: &Config) -> server::Config {
    let s = &config.server;
    let ns = |n: i64| u64::try_from(n).unwrap_or(0);
    server::Config {
        heartbeat: server::heartbeat::Config {
            min_ttl_ns: ns(s.min_heartbeat_ttl_ns),
            max_per_second: (s.max_heartbeats_per_second.max(1.0)) as u64,
            grace_ns: ns(s.heartbeat_grace_ns),
            failover_ttl_ns: ns(s.failover_heartbeat_ttl_ns),
        },
        gc: server::gc::Thresholds {
            eval: s.eval_gc_threshold_ns,
            batch_eval: s.batch_eval_gc_threshold_ns,
            job: s.job_gc_threshold_ns,
            deployment: s.deployment_gc_threshold_ns,
            node: s.node_gc_threshold_ns,
            key: s.root_key_gc_threshold_ns,
            token: s.acl_token_gc_threshold_ns,
        },
        gc_interval_ns: ns(s.job_gc_interval_ns).max(SECOND),
        zones: Zones(zones::file),
        workers: s.workers,
    }
}
