//! Every key of the agent's configuration: its place in a file, its place in `/v1/agent/self`, its
//! kind and default, and whether this version serves it.
//!
//! The one table drives reading, merging, the printed configuration and the check that nothing is
//! configured in vain. Start at [`KEYS`].

use self::Kind::{
    Bool, Count, Fixed, Float, Int, List, ListAppend, ListNull, MaybeBool, MaybeInt, Nanos,
    NanosText, Secret, Strings, Switch, Text,
};
use self::Use::{Idle, Refused, Served};

/// Type of a value, how two files merge on it, how it prints, and its default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A later text that is not empty replaces.
    Text(&'static str),
    /// Text that prints as `<redacted>`.
    Secret,
    /// A later number that is not zero replaces.
    Int(i64),
    Float(f64),
    /// The last file that names it wins, zero included; the default when none does.
    Count(i64),
    /// Can only be turned on by a later file.
    Bool,
    /// The last file that names it wins; the default when none does.
    Switch(bool),
    /// As `Switch`, and prints `null` where no file names it.
    MaybeBool,
    /// Prints `null` where no file names it.
    MaybeInt,
    /// A duration as text in files, printed as nanoseconds.
    Nanos(&'static str),
    /// A duration as text in files, printed as that text.
    NanosText(&'static str),
    /// A later list replaces; prints `[]` when empty.
    List(&'static [&'static str]),
    /// As `List`, and prints `null` when empty.
    ListNull,
    /// A later list is appended; prints `null` when empty.
    ListAppend,
    /// Text to text, merged key by key; prints `{}` when empty.
    Strings,
    /// Not a key of files: JSON that is printed at this place.
    Fixed(&'static str),
}

/// What setting a key does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Use {
    /// It takes effect.
    Served,
    /// It tunes a part that this version does not have; a warning names it.
    Idle,
    /// It asks for something that this version does not do; the start stops.
    Refused,
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted place in a file, in lower case; empty for [`Kind::Fixed`].
    pub(super) name: &'static str,
    /// Dotted place in `/v1/agent/self`; empty where it is not printed.
    pub(super) go: &'static str,
    pub(super) kind: Kind,
    pub(super) used: Use,
}

const fn k(name: &'static str, go: &'static str, kind: Kind, used: Use) -> Key {
    Key { name, go, kind, used }
}

/// Printed at this place whatever the files say.
const fn fixed(go: &'static str, json: &'static str) -> Key {
    Key { name: "", go, kind: Fixed(json), used: Served }
}

/// Blocks whose content is taken as it is: they configure systems that vardo does not speak to.
pub(super) const FREE_BLOCKS: &[&str] = &["reporting", "keyring", "eventlog", "sentinel", "audit"];

/// Keys of one `host_volume "name"` block.
pub(super) const HOST_VOLUME: &[&str] = &["path", "read_only"];

/// Keys of one `host_network "name"` block.
pub(super) const HOST_NETWORK: &[&str] = &["cidr", "interface", "reserved_ports"];

/// The row of a key, by its name in files (lower case).
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|k| k.name == name)
}

/// The last part of the key or block that was probably meant by `name`, which is none.
pub(super) fn near(name: &str) -> Option<&'static str> {
    let (block, word) = name.rsplit_once('.').map_or(("", name), |(b, w)| (b, w));
    let below = |k: &'static Key| -> Option<&'static str> {
        let rest = match block {
            "" => k.name,
            _ => k.name.strip_prefix(block)?.strip_prefix('.')?,
        };
        rest.split('.').next()
    };
    let known = KEYS.iter().filter_map(below).filter(|w| !w.is_empty());
    crate::hcl::diag::nearest(word, known)
}

/// Whether `name` is a block that holds keys.
pub(super) fn is_block(name: &str) -> bool {
    KEYS.iter().any(|k| k.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// All keys, top-level ones first.
pub(super) static KEYS: &[Key] = &[
    k("region", "Region", Text("global"), Served),
    k("region_addresses", "", Strings, Served),
    k("region_ca_file", "", Text(""), Served),
    k("datacenter", "Datacenter", Text("dc1"), Served),
    k("name", "NodeName", Text(""), Served),
    k("data_dir", "DataDir", Text(""), Served),
    k("plugin_dir", "PluginDir", Text(""), Idle),
    k("bind_addr", "BindAddr", Text("0.0.0.0"), Served),
    k("log_level", "LogLevel", Text("INFO"), Served),
    k("log_json", "LogJson", Bool, Served),
    k("log_file", "LogFile", Text(""), Served),
    k("log_rotate_bytes", "LogRotateBytes", Int(0), Served),
    k("log_rotate_duration", "LogRotateDuration", NanosText(""), Served),
    k("log_rotate_max_files", "LogRotateMaxFiles", Int(0), Served),
    k("log_include_location", "LogIncludeLocation", Bool, Served),
    k("enable_debug", "EnableDebug", Bool, Served),
    k("enable_syslog", "EnableSyslog", Bool, Refused),
    k("syslog_facility", "SyslogFacility", Text("LOCAL0"), Idle),
    k("leave_on_interrupt", "LeaveOnInt", Bool, Served),
    k("leave_on_terminate", "LeaveOnTerm", Bool, Served),
    k("disable_update_check", "DisableUpdateCheck", MaybeBool, Served),
    k("disable_anonymous_signature", "DisableAnonymousSignature", Bool, Served),
    k("http_api_response_headers", "HTTPAPIResponseHeaders", Strings, Served),
    k("ports.http", "Ports.HTTP", Int(4646), Served),
    k("ports.rpc", "Ports.RPC", Int(4647), Served),
    k("ports.serf", "Ports.Serf", Int(4648), Served),
    k("addresses.http", "Addresses.HTTP", Text(""), Served),
    k("addresses.rpc", "Addresses.RPC", Text(""), Served),
    k("addresses.serf", "Addresses.Serf", Text(""), Served),
    k("advertise.http", "AdvertiseAddrs.HTTP", Text(""), Served),
    k("advertise.rpc", "AdvertiseAddrs.RPC", Text(""), Served),
    k("advertise.serf", "AdvertiseAddrs.Serf", Text(""), Served),
    k("limits.https_handshake_timeout", "Limits.HTTPSHandshakeTimeout", NanosText("5s"), Served),
    k("limits.http_max_conns_per_client", "Limits.HTTPMaxConnsPerClient", Count(100), Served),
    k("limits.rpc_handshake_timeout", "Limits.RPCHandshakeTimeout", NanosText("5s"), Idle),
    k("limits.rpc_max_conns_per_client", "Limits.RPCMaxConnsPerClient", Count(100), Idle),
    k("acl.enabled", "ACL.Enabled", Bool, Served),
    k("acl.token_ttl", "ACL.TokenTTL", Nanos("30s"), Idle),
    k("acl.policy_ttl", "ACL.PolicyTTL", Nanos("30s"), Idle),
    k("acl.role_ttl", "ACL.RoleTTL", Nanos("30s"), Idle),
    k("acl.replication_token", "ACL.ReplicationToken", Secret, Served),
    k("acl.token_min_expiration_ttl", "ACL.TokenMinExpirationTTL", Nanos(""), Served),
    k("acl.token_max_expiration_ttl", "ACL.TokenMaxExpirationTTL", Nanos(""), Served),
    // server
    k("server.enabled", "Server.Enabled", Bool, Served),
    k("server.bootstrap_expect", "Server.BootstrapExpect", Int(0), Served),
    k("server.data_dir", "Server.DataDir", Text(""), Refused),
    k("server.authoritative_region", "Server.AuthoritativeRegion", Text(""), Served),
    k("server.num_schedulers", "Server.NumSchedulers", MaybeInt, Served),
    k("server.enabled_schedulers", "Server.EnabledSchedulers", ListAppend, Served),
    k("server.raft_protocol", "Server.RaftProtocol", Int(3), Served),
    k("server.raft_multiplier", "Server.RaftMultiplier", MaybeInt, Served),
    k("server.raft_snapshot_threshold", "Server.RaftSnapshotThreshold", MaybeInt, Idle),
    k("server.raft_snapshot_interval", "Server.RaftSnapshotInterval", NanosText(""), Idle),
    k("server.snapshots.interval", "", NanosText(""), Served),
    k("server.snapshots.keep", "", Int(24), Served),
    k("server.snapshots.path", "", Text(""), Served),
    k("server.raft_trailing_logs", "Server.RaftTrailingLogs", MaybeInt, Served),
    k("server.raft_logstore.backend", "", Text(""), Idle),
    k("server.raft_logstore.disable_log_cache", "", Bool, Idle),
    k("server.raft_boltdb.no_freelist_sync", "", Bool, Idle),
    k("server.node_gc_threshold", "Server.NodeGCThreshold", NanosText(""), Served),
    k("server.job_gc_interval", "Server.JobGCInterval", NanosText(""), Served),
    k("server.job_gc_threshold", "Server.JobGCThreshold", NanosText(""), Served),
    k("server.eval_gc_threshold", "Server.EvalGCThreshold", NanosText(""), Served),
    k("server.batch_eval_gc_threshold", "Server.BatchEvalGCThreshold", NanosText(""), Served),
    k("server.deployment_gc_threshold", "Server.DeploymentGCThreshold", NanosText(""), Served),
    k("server.csi_plugin_gc_threshold", "Server.CSIPluginGCThreshold", NanosText(""), Idle),
    k(
        "server.csi_volume_claim_gc_interval",
        "Server.CSIVolumeClaimGCInterval",
        NanosText(""),
        Idle,
    ),
    k(
        "server.csi_volume_claim_gc_threshold",
        "Server.CSIVolumeClaimGCThreshold",
        NanosText(""),
        Idle,
    ),
    k("server.acl_token_gc_threshold", "Server.ACLTokenGCThreshold", NanosText(""), Served),
    k("server.root_key_gc_interval", "Server.RootKeyGCInterval", NanosText(""), Idle),
    k("server.root_key_gc_threshold", "Server.RootKeyGCThreshold", NanosText(""), Served),
    k("server.root_key_rotation_threshold", "Server.RootKeyRotationThreshold", NanosText(""), Idle),
    k("server.heartbeat_grace", "Server.HeartbeatGrace", Nanos(""), Served),
    k("server.min_heartbeat_ttl", "Server.MinHeartbeatTTL", Nanos(""), Served),
    k("server.max_heartbeats_per_second", "Server.MaxHeartbeatsPerSecond", Float(0.0), Served),
    k("server.failover_heartbeat_ttl", "Server.FailoverHeartbeatTTL", Nanos(""), Served),
    k("server.encrypt", "", Secret, Served),
    k("server.server_join.start_join", "Server.ServerJoin.StartJoin", ListAppend, Served),
    k("server.server_join.retry_join", "Server.ServerJoin.RetryJoin", List(&[]), Served),
    k("server.server_join.retry_max", "Server.ServerJoin.RetryMaxAttempts", Int(0), Served),
    k("server.server_join.retry_interval", "Server.ServerJoin.RetryInterval", Nanos("30s"), Idle),
    k("server.start_join", "Server.StartJoin", List(&[]), Served),
    k("server.retry_join", "Server.RetryJoin", List(&[]), Served),
    k("server.retry_max", "Server.RetryMaxAttempts", Int(0), Served),
    k("server.retry_interval", "Server.RetryInterval", Nanos(""), Idle),
    k("server.rejoin_after_leave", "Server.RejoinAfterLeave", Bool, Idle),
    k("server.non_voting_server", "Server.NonVotingServer", Bool, Refused),
    k("server.redundancy_zone", "Server.RedundancyZone", Text(""), Refused),
    k("server.upgrade_version", "Server.UpgradeVersion", Text(""), Idle),
    k("server.default_scheduler_config.scheduler_algorithm", "", Text("binpack"), Served),
    k("server.default_scheduler_config.memory_oversubscription_enabled", "", MaybeBool, Served),
    k("server.default_scheduler_config.reject_job_registration", "", MaybeBool, Served),
    k("server.default_scheduler_config.pause_eval_broker", "", MaybeBool, Served),
    k(
        "server.default_scheduler_config.preemption_config.batch_scheduler_enabled",
        "",
        MaybeBool,
        Served,
    ),
    k(
        "server.default_scheduler_config.preemption_config.system_scheduler_enabled",
        "",
        Switch(true),
        Served,
    ),
    k(
        "server.default_scheduler_config.preemption_config.service_scheduler_enabled",
        "",
        MaybeBool,
        Served,
    ),
    k(
        "server.default_scheduler_config.preemption_config.sysbatch_scheduler_enabled",
        "",
        MaybeBool,
        Served,
    ),
    k(
        "server.plan_rejection_tracker.enabled",
        "Server.PlanRejectionTracker.Enabled",
        Switch(false),
        Idle,
    ),
    k(
        "server.plan_rejection_tracker.node_threshold",
        "Server.PlanRejectionTracker.NodeThreshold",
        Int(100),
        Idle,
    ),
    k(
        "server.plan_rejection_tracker.node_window",
        "Server.PlanRejectionTracker.NodeWindow",
        Nanos("5m"),
        Idle,
    ),
    k("server.enable_event_broker", "Server.EnableEventBroker", Switch(true), Served),
    k("server.event_buffer_size", "Server.EventBufferSize", Int(100), Served),
    k("server.search.fuzzy_enabled", "Server.Search.FuzzyEnabled", Switch(true), Served),
    k("server.search.limit_query", "Server.Search.LimitQuery", Int(20), Served),
    k("server.search.limit_results", "Server.Search.LimitResults", Int(100), Served),
    k("server.search.min_term_length", "Server.Search.MinTermLength", Int(2), Served),
    k("server.deploy_query_rate_limit", "Server.DeploymentQueryRateLimit", Float(0.0), Idle),
    k("server.job_default_priority", "Server.JobDefaultPriority", MaybeInt, Served),
    k("server.job_max_priority", "Server.JobMaxPriority", MaybeInt, Served),
    k("server.job_max_count", "Server.JobMaxCount", MaybeInt, Served),
    k("server.job_max_source_size", "Server.JobMaxSourceSize", Text("1M"), Served),
    k("server.job_tracked_versions", "Server.JobTrackedVersions", Int(6), Idle),
    k("server.oidc_issuer", "Server.OIDCIssuer", Text(""), Served),
    k("server.start_timeout", "Server.StartTimeout", NanosText(""), Idle),
    k(
        "server.client_introduction.enforcement",
        "Server.ClientIntroduction.Enforcement",
        Text(""),
        Served,
    ),
    k(
        "server.client_introduction.default_identity_ttl",
        "Server.ClientIntroduction.DefaultIdentityTTL",
        Nanos(""),
        Served,
    ),
    k(
        "server.client_introduction.max_identity_ttl",
        "Server.ClientIntroduction.MaxIdentityTTL",
        Nanos(""),
        Served,
    ),
    k("server.plan_apply_pipeline", "Server.PlanApplyPipeline", Int(1), Idle),
    k("server.license_path", "Server.LicensePath", Text(""), Served),
    k("server.license_env", "Server.LicenseEnv", Text(""), Served),
    fixed("Server.DefaultSchedulerConfig", "null"),
    fixed("Server.LogFile", "\"\""),
    fixed("Server.NonProduction", "false"),
    fixed("Server.RaftBoltConfig", "null"),
    fixed("Server.RaftLogStoreConfig", "null"),
    // client
    k("client.enabled", "Client.Enabled", Bool, Served),
    k("client.state_dir", "Client.StateDir", Text(""), Served),
    k("client.alloc_dir", "Client.AllocDir", Text(""), Served),
    k("client.alloc_mounts_dir", "Client.AllocMountsDir", Text(""), Idle),
    k("client.host_volumes_dir", "Client.HostVolumesDir", Text(""), Served),
    k("client.host_volume_plugin_dir", "Client.HostVolumePluginDir", Text(""), Served),
    k("client.common_plugin_dir", "Client.CommonPluginDir", Text(""), Idle),
    k("client.servers", "Client.Servers", ListAppend, Served),
    k("client.server_join.start_join", "Client.ServerJoin.StartJoin", ListAppend, Served),
    k("client.server_join.retry_join", "Client.ServerJoin.RetryJoin", List(&[]), Served),
    k("client.server_join.retry_max", "Client.ServerJoin.RetryMaxAttempts", Int(0), Idle),
    k("client.server_join.retry_interval", "Client.ServerJoin.RetryInterval", Nanos("30s"), Idle),
    k("client.node_class", "Client.NodeClass", Text(""), Served),
    k("client.node_pool", "Client.NodePool", Text("default"), Served),
    k("client.options", "Client.Options", Strings, Served),
    k("client.meta", "Client.Meta", Strings, Served),
    k("client.chroot_env", "Client.ChrootEnv", Strings, Idle),
    k("client.network_interface", "Client.NetworkInterface", Text(""), Served),
    k("client.preferred_address_family", "Client.PreferredAddressFamily", Text(""), Idle),
    k("client.network_speed", "Client.NetworkSpeed", Int(0), Served),
    k("client.cpu_total_compute", "Client.CpuCompute", Int(0), Served),
    k("client.cpu_disable_dmidecode", "Client.CpuDisableDmidecode", Bool, Idle),
    k("client.memory_total_mb", "Client.MemoryMB", Int(0), Served),
    k("client.disk_total_mb", "Client.DiskTotalMB", Int(0), Served),
    k("client.disk_free_mb", "Client.DiskFreeMB", Int(0), Idle),
    k("client.reservable_cores", "Client.ReservableCores", Text(""), Idle),
    k("client.min_dynamic_port", "Client.MinDynamicPort", Int(20000), Served),
    k("client.max_dynamic_port", "Client.MaxDynamicPort", Int(32000), Served),
    k("client.client_min_port", "Client.ClientMinPort", Int(14000), Idle),
    k("client.client_max_port", "Client.ClientMaxPort", Int(14512), Idle),
    k("client.reserved.cpu", "Client.Reserved.CPU", Int(0), Served),
    k("client.reserved.memory", "Client.Reserved.MemoryMB", Int(0), Served),
    k("client.reserved.disk", "Client.Reserved.DiskMB", Int(0), Served),
    k("client.reserved.reserved_ports", "Client.Reserved.ReservedPorts", Text(""), Served),
    k("client.reserved.cores", "Client.Reserved.Cores", Text(""), Idle),
    k("client.max_kill_timeout", "Client.MaxKillTimeout", NanosText("30s"), Served),
    k("client.gc_interval", "Client.GCInterval", Nanos("1m"), Idle),
    k("client.gc_parallel_destroys", "Client.GCParallelDestroys", Int(2), Idle),
    k("client.gc_disk_usage_threshold", "Client.GCDiskUsageThreshold", Float(80.0), Idle),
    k("client.gc_inode_usage_threshold", "Client.GCInodeUsageThreshold", Float(70.0), Idle),
    k("client.gc_max_allocs", "Client.GCMaxAllocs", Int(50), Served),
    k("client.gc_volumes_on_node_gc", "Client.GCVolumesOnNodeGC", Bool, Served),
    k("client.no_host_uuid", "Client.NoHostUUID", Switch(true), Idle),
    k("client.disable_remote_exec", "Client.DisableRemoteExec", Bool, Served),
    k(
        "client.bind_wildcard_default_host_network",
        "Client.BindWildcardDefaultHostNetwork",
        Switch(true),
        Idle,
    ),
    k("client.bridge_network_name", "Client.BridgeNetworkName", Text(""), Idle),
    k("client.bridge_network_subnet", "Client.BridgeNetworkSubnet", Text(""), Idle),
    k("client.bridge_network_subnet_ipv6", "Client.BridgeNetworkSubnetIPv6", Text(""), Idle),
    k("client.bridge_network_hairpin_mode", "Client.BridgeNetworkHairpinMode", Bool, Idle),
    k("client.cni_path", "Client.CNIPath", Text("/opt/cni/bin:/usr/libexec/cni"), Idle),
    k("client.cni_config_dir", "Client.CNIConfigDir", Text("/opt/cni/config"), Idle),
    k("client.cgroup_parent", "Client.CgroupParent", Text(""), Idle),
    k("client.nomad_service_discovery", "Client.NomadServiceDiscovery", Switch(true), Idle),
    k(
        "client.artifact.http_read_timeout",
        "Client.Artifact.HTTPReadTimeout",
        NanosText("30m"),
        Served,
    ),
    k("client.artifact.http_max_size", "Client.Artifact.HTTPMaxSize", Text("100GB"), Served),
    k("client.artifact.gcs_timeout", "Client.Artifact.GCSTimeout", NanosText("30m"), Idle),
    k("client.artifact.git_timeout", "Client.Artifact.GitTimeout", NanosText("30m"), Idle),
    k("client.artifact.hg_timeout", "Client.Artifact.HgTimeout", NanosText("30m"), Idle),
    k("client.artifact.s3_timeout", "Client.Artifact.S3Timeout", NanosText("30m"), Idle),
    k(
        "client.artifact.decompression_size_limit",
        "Client.Artifact.DecompressionSizeLimit",
        Text("100GB"),
        Served,
    ),
    k(
        "client.artifact.decompression_file_count_limit",
        "Client.Artifact.DecompressionFileCountLimit",
        Int(4096),
        Served,
    ),
    k(
        "client.artifact.disable_artifact_inspection",
        "Client.Artifact.DisableArtifactInspection",
        Bool,
        Idle,
    ),
    k(
        "client.artifact.disable_filesystem_isolation",
        "Client.Artifact.DisableFilesystemIsolation",
        Bool,
        Idle,
    ),
    k(
        "client.artifact.filesystem_isolation_extra_paths",
        "Client.Artifact.FilesystemIsolationExtraPaths",
        ListNull,
        Idle,
    ),
    k(
        "client.artifact.set_environment_variables",
        "Client.Artifact.SetEnvironmentVariables",
        Text(""),
        Idle,
    ),
    k(
        "client.template.function_denylist",
        "Client.TemplateConfig.FunctionDenylist",
        List(&["executeTemplate", "plugin", "writeToFile"]),
        Idle,
    ),
    k(
        "client.template.function_blacklist",
        "Client.TemplateConfig.FunctionBlacklist",
        ListNull,
        Idle,
    ),
    k("client.template.disable_file_sandbox", "Client.TemplateConfig.DisableSandbox", Bool, Idle),
    k("client.template.max_stale", "Client.TemplateConfig.MaxStale", Nanos("87600h"), Idle),
    k(
        "client.template.block_query_wait",
        "Client.TemplateConfig.BlockQueryWaitTime",
        Nanos("5m"),
        Idle,
    ),
    k(
        "client.template.vault_default_lease_duration",
        "Client.TemplateConfig.VaultDefaultLeaseDuration",
        Nanos("5m"),
        Idle,
    ),
    k("client.template.wait.min", "Client.TemplateConfig.Wait.Min", Nanos("5s"), Served),
    k("client.template.wait.max", "Client.TemplateConfig.Wait.Max", Nanos("4m"), Served),
    k("client.template.wait_bounds.min", "", NanosText(""), Idle),
    k("client.template.wait_bounds.max", "", NanosText(""), Idle),
    k(
        "client.template.consul_retry.attempts",
        "Client.TemplateConfig.ConsulRetry.Attempts",
        Int(12),
        Idle,
    ),
    k(
        "client.template.consul_retry.backoff",
        "Client.TemplateConfig.ConsulRetry.Backoff",
        Nanos("250ms"),
        Idle,
    ),
    k(
        "client.template.consul_retry.max_backoff",
        "Client.TemplateConfig.ConsulRetry.MaxBackoff",
        Nanos("1m"),
        Idle,
    ),
    k(
        "client.template.vault_retry.attempts",
        "Client.TemplateConfig.VaultRetry.Attempts",
        Int(12),
        Idle,
    ),
    k(
        "client.template.vault_retry.backoff",
        "Client.TemplateConfig.VaultRetry.Backoff",
        Nanos("250ms"),
        Idle,
    ),
    k(
        "client.template.vault_retry.max_backoff",
        "Client.TemplateConfig.VaultRetry.MaxBackoff",
        Nanos("1m"),
        Idle,
    ),
    k(
        "client.template.nomad_retry.attempts",
        "Client.TemplateConfig.NomadRetry.Attempts",
        Int(12),
        Idle,
    ),
    k(
        "client.template.nomad_retry.backoff",
        "Client.TemplateConfig.NomadRetry.Backoff",
        Nanos("250ms"),
        Idle,
    ),
    k(
        "client.template.nomad_retry.max_backoff",
        "Client.TemplateConfig.NomadRetry.MaxBackoff",
        Nanos("1m"),
        Idle,
    ),
    fixed("Client.TemplateConfig.BlockQueryWaitTimeHCL", "\"\""),
    fixed("Client.TemplateConfig.ConsulRetry.BackoffHCL", "\"\""),
    fixed("Client.TemplateConfig.ConsulRetry.MaxBackoffHCL", "\"\""),
    fixed("Client.TemplateConfig.MaxStaleHCL", "\"\""),
    fixed("Client.TemplateConfig.NomadRetry.BackoffHCL", "\"\""),
    fixed("Client.TemplateConfig.NomadRetry.MaxBackoffHCL", "\"\""),
    fixed("Client.TemplateConfig.UseClientConsulToken", "false"),
    fixed("Client.TemplateConfig.VaultDefaultLeaseDurationHCL", "\"\""),
    fixed("Client.TemplateConfig.VaultRetry.BackoffHCL", "\"\""),
    fixed("Client.TemplateConfig.VaultRetry.MaxBackoffHCL", "\"\""),
    fixed("Client.TemplateConfig.Wait.MaxHCL", "\"\""),
    fixed("Client.TemplateConfig.Wait.MinHCL", "\"\""),
    fixed("Client.TemplateConfig.WaitBounds", "null"),
    k("client.drain_on_shutdown.deadline", "", NanosText(""), Refused),
    k("client.drain_on_shutdown.force", "", Bool, Refused),
    k("client.drain_on_shutdown.ignore_system_jobs", "", Bool, Refused),
    k("client.users.dynamic_user_min", "Client.Users.MinDynamicUser", Int(80000), Idle),
    k("client.users.dynamic_user_max", "Client.Users.MaxDynamicUser", Int(89999), Idle),
    k("client.node_max_allocs", "Client.NodeMaxAllocs", Int(0), Served),
    k("client.default_ineligible", "Client.DefaultIneligible", Bool, Served),
    k("client.intro_token", "Client.IntroToken", Secret, Served),
    k("client.log_file", "Client.LogFile", Text(""), Refused),
    fixed("Client.Drain", "null"),
    fixed("Client.HostNetworks", "null"),
    fixed("Client.HostVolumes", "null"),
    fixed("Client.Fingerprinters", "[]"),
    // tls
    k("tls.http", "TLSConfig.EnableHTTP", Bool, Served),
    k("tls.rpc", "TLSConfig.EnableRPC", Bool, Served),
    k("tls.ca_file", "TLSConfig.CAFile", Text(""), Served),
    k("tls.cert_file", "TLSConfig.CertFile", Text(""), Served),
    k("tls.key_file", "TLSConfig.KeyFile", Text(""), Served),
    k("tls.verify_server_hostname", "TLSConfig.VerifyServerHostname", Bool, Served),
    k("tls.verify_https_client", "TLSConfig.VerifyHTTPSClient", Bool, Served),
    k("tls.rpc_upgrade_mode", "TLSConfig.RPCUpgradeMode", Bool, Served),
    k("tls.tls_min_version", "TLSConfig.TLSMinVersion", Text(""), Served),
    k("tls.tls_cipher_suites", "TLSConfig.TLSCipherSuites", Text(""), Idle),
    k("tls.tls_prefer_server_cipher_suites", "", Bool, Idle),
    fixed("TLSConfig.Checksum", "\"\""),
    fixed("TLSConfig.KeyLoader", "{}"),
    // telemetry
    k("telemetry.collection_interval", "Telemetry.CollectionInterval", NanosText("1s"), Idle),
    k(
        "telemetry.in_memory_collection_interval",
        "Telemetry.InMemoryCollectionInterval",
        NanosText("10s"),
        Served,
    ),
    k(
        "telemetry.in_memory_retention_period",
        "Telemetry.InMemoryRetentionPeriod",
        NanosText("1m"),
        Idle,
    ),
    k("telemetry.prometheus_metrics", "Telemetry.PrometheusMetrics", Bool, Served),
    k("telemetry.publish_allocation_metrics", "Telemetry.PublishAllocationMetrics", Bool, Served),
    k("telemetry.publish_node_metrics", "Telemetry.PublishNodeMetrics", Bool, Served),
    k("telemetry.disable_hostname", "Telemetry.DisableHostname", Bool, Served),
    k("telemetry.use_node_name", "Telemetry.UseNodeName", Bool, Served),
    k("telemetry.statsd_address", "Telemetry.StatsdAddr", Text(""), Refused),
    k("telemetry.statsite_address", "Telemetry.StatsiteAddr", Text(""), Refused),
    k("telemetry.datadog_address", "Telemetry.DataDogAddr", Text(""), Refused),
    k("telemetry.datadog_tags", "Telemetry.DataDogTags", ListNull, Idle),
    k("telemetry.prefix_filter", "Telemetry.PrefixFilter", ListNull, Served),
    k("telemetry.filter_default", "Telemetry.FilterDefault", MaybeBool, Served),
    k(
        "telemetry.disable_dispatched_job_summary_metrics",
        "Telemetry.DisableDispatchedJobSummaryMetrics",
        Bool,
        Served,
    ),
    k(
        "telemetry.disable_rpc_rate_metrics_labels",
        "Telemetry.DisableRPCRateMetricsLabels",
        Bool,
        Idle,
    ),
    k(
        "telemetry.disable_quota_utilization_metrics",
        "Telemetry.DisableQuotaUtilizationMetrics",
        Bool,
        Idle,
    ),
    k(
        "telemetry.disable_allocation_hook_metrics",
        "Telemetry.DisableAllocationHookMetrics",
        Bool,
        Idle,
    ),
    k(
        "telemetry.include_alloc_metadata_in_metrics",
        "Telemetry.IncludeAllocMetadataInMetrics",
        Switch(true),
        Idle,
    ),
    k(
        "telemetry.allowed_metadata_keys_in_metrics",
        "Telemetry.AllowedMetadataKeysInMetrics",
        List(&[]),
        Idle,
    ),
    k("telemetry.circonus_api_token", "Telemetry.CirconusAPIToken", Secret, Refused),
    k("telemetry.circonus_api_app", "Telemetry.CirconusAPIApp", Text(""), Idle),
    k("telemetry.circonus_api_url", "Telemetry.CirconusAPIURL", Text(""), Refused),
    k(
        "telemetry.circonus_submission_interval",
        "Telemetry.CirconusSubmissionInterval",
        NanosText(""),
        Idle,
    ),
    k(
        "telemetry.circonus_submission_url",
        "Telemetry.CirconusCheckSubmissionURL",
        Text(""),
        Refused,
    ),
    k("telemetry.circonus_check_id", "Telemetry.CirconusCheckID", Text(""), Idle),
    k(
        "telemetry.circonus_check_force_metric_activation",
        "Telemetry.CirconusCheckForceMetricActivation",
        Text(""),
        Idle,
    ),
    k("telemetry.circonus_check_instance_id", "Telemetry.CirconusCheckInstanceID", Text(""), Idle),
    k("telemetry.circonus_check_search_tag", "Telemetry.CirconusCheckSearchTag", Text(""), Idle),
    k("telemetry.circonus_check_tags", "Telemetry.CirconusCheckTags", Text(""), Idle),
    k(
        "telemetry.circonus_check_display_name",
        "Telemetry.CirconusCheckDisplayName",
        Text(""),
        Idle,
    ),
    k("telemetry.circonus_broker_id", "Telemetry.CirconusBrokerID", Text(""), Idle),
    k("telemetry.circonus_broker_select_tag", "Telemetry.CirconusBrokerSelectTag", Text(""), Idle),
    // ui
    k("ui.enabled", "UI.Enabled", Switch(true), Served),
    k("ui.show_cli_hints", "UI.ShowCLIHints", Switch(true), Idle),
    k(
        "ui.content_security_policy.connect_src",
        "UI.ContentSecurityPolicy.ConnectSrc",
        List(&["*"]),
        Idle,
    ),
    k(
        "ui.content_security_policy.default_src",
        "UI.ContentSecurityPolicy.DefaultSrc",
        List(&["'none'"]),
        Idle,
    ),
    k(
        "ui.content_security_policy.form_action",
        "UI.ContentSecurityPolicy.FormAction",
        List(&["'none'"]),
        Idle,
    ),
    k(
        "ui.content_security_policy.frame_ancestors",
        "UI.ContentSecurityPolicy.FrameAncestors",
        List(&["'none'"]),
        Idle,
    ),
    k(
        "ui.content_security_policy.img_src",
        "UI.ContentSecurityPolicy.ImgSrc",
        List(&["'self'", "data:"]),
        Idle,
    ),
    k(
        "ui.content_security_policy.script_src",
        "UI.ContentSecurityPolicy.ScriptSrc",
        List(&["'self'"]),
        Idle,
    ),
    k(
        "ui.content_security_policy.style_src",
        "UI.ContentSecurityPolicy.StyleSrc",
        List(&["'self'", "'unsafe-inline'"]),
        Idle,
    ),
    k("ui.label.text", "UI.Label.Text", Text(""), Idle),
    k("ui.label.background_color", "UI.Label.BackgroundColor", Text(""), Idle),
    k("ui.label.text_color", "UI.Label.TextColor", Text(""), Idle),
    k("ui.consul.ui_url", "UI.Consul.BaseUIURL", Text(""), Idle),
    k("ui.vault.ui_url", "UI.Vault.BaseUIURL", Text(""), Idle),
    // autopilot
    k("autopilot.cleanup_dead_servers", "Autopilot.CleanupDeadServers", MaybeBool, Idle),
    k("autopilot.disable_upgrade_migration", "Autopilot.DisableUpgradeMigration", MaybeBool, Idle),
    k("autopilot.enable_custom_upgrades", "Autopilot.EnableCustomUpgrades", MaybeBool, Idle),
    k("autopilot.enable_redundancy_zones", "Autopilot.EnableRedundancyZones", MaybeBool, Idle),
    k("autopilot.last_contact_threshold", "Autopilot.LastContactThreshold", Nanos("200ms"), Idle),
    k("autopilot.max_trailing_logs", "Autopilot.MaxTrailingLogs", Int(250), Idle),
    k("autopilot.min_quorum", "Autopilot.MinQuorum", Int(0), Idle),
    k(
        "autopilot.server_stabilization_time",
        "Autopilot.ServerStabilizationTime",
        Nanos("10s"),
        Idle,
    ),
    // rpc
    k("rpc.accept_backlog", "RPC.AcceptBacklog", Int(256), Idle),
    k("rpc.keep_alive_interval", "RPC.KeepAliveInterval", Nanos("30s"), Idle),
    k("rpc.connection_write_timeout", "RPC.ConnectionWriteTimeout", Nanos("10s"), Idle),
    k("rpc.stream_open_timeout", "RPC.StreamOpenTimeout", Nanos("75s"), Idle),
    k("rpc.stream_close_timeout", "RPC.StreamCloseTimeout", Nanos("5m"), Idle),
    k("rpc.dial_timeout", "RPC.DialTimeout", Nanos("10s"), Idle),
    fixed("RPC.ConnectionWriteTimeoutHCL", "\"10s\""),
    fixed("RPC.DialTimeoutHCL", "\"10s\""),
    fixed("RPC.KeepAliveIntervalHCL", "\"30s\""),
    fixed("RPC.StreamCloseTimeoutHCL", "\"5m\""),
    fixed("RPC.StreamOpenTimeoutHCL", "\"75s\""),
    // What the reference prints and vardo has no keys for.
    fixed("Audit", r#"{"Enabled":null,"Filters":null,"Sinks":null}"#),
    fixed("Eventlog", r#"{"Enabled":false,"Level":"error"}"#),
    fixed("KEKProviders", "null"),
    fixed("Reporting.DisableUsageReporting", "null"),
    fixed("Reporting.ExportInterval", "0"),
    fixed("Reporting.License", r#"{"Enabled":null}"#),
    fixed("Reporting.NonProduction", "false"),
    fixed("Reporting.SnapshotRetentionTime", "0"),
    fixed("Reporting.SnapshotRetentionTimeHCL", "\"\""),
    fixed("Sentinel", r#"{"AdditionalEnabledModules":null,"Imports":null}"#),
    fixed("Version.BuildDate", "null"),
    fixed("Version.Revision", "\"\""),
    fixed("Version.Version", "\"2.0.5\""),
    fixed("Version.VersionMetadata", "\"\""),
    fixed("Version.VersionPrerelease", "\"\""),
];
