//! What may stand in a job file, as tables: block by block the names of HCL, those of the API, and
//! what is printed where nothing was said (contract: jobspec, schemas-job §parse).
//!
//! Names of the API that begin with `~` are only for [`super::fixups`], which takes them away.

use Kind::{Any, Bool, ByLabel, Duration, Int, Many, Map as Strings, MapOfLists, One, Str, Strs};
use Unset::{False, Null};
use serde_json::{Map, Value};

use super::fixups;

/// What a name stands for.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Str,
    Int,
    Bool,
    /// Text such as `1h30m`, or nanoseconds.
    Duration,
    /// A list of strings.
    Strs,
    /// A map of strings: a block, or an attribute.
    Map,
    /// A map of lists of strings.
    MapOfLists,
    /// A map of anything: a block with blocks inside, or an attribute.
    Any,
    /// A block that stands once.
    One(&'static Object),
    /// A block that may be repeated.
    Many(&'static Object),
    /// A block that may be repeated; a map by its label.
    ByLabel(&'static Object),
    /// Only for the API.
    Fixed,
}

/// What is printed for a name that does not occur.
#[derive(Clone, Copy)]
pub(super) enum Unset {
    Null,
    Text,
    False,
    Zero,
    Nothing,
}

pub(super) struct Field {
    /// Name in HCL; empty where there is none.
    pub hcl: &'static str,
    pub json: &'static str,
    pub kind: Kind,
    pub unset: Unset,
    pub required: bool,
}

pub(super) struct Object {
    /// The field that takes the label of the block; empty where it has none.
    pub label: &'static str,
    pub fields: &'static [Field],
    /// What the tables cannot say, once all fields are read.
    pub fix: Option<fn(&mut Map<String, Value>)>,
}

/// A field that prints as `null` where it is not set.
const fn opt(hcl: &'static str, json: &'static str, kind: Kind) -> Field {
    Field { hcl, json, kind, unset: Null, required: false }
}

/// A field that prints as the zero value of its kind where it is not set.
const fn plain(hcl: &'static str, json: &'static str, kind: Kind) -> Field {
    let unset = match kind {
        Str => Unset::Text,
        Bool => False,
        Int | Duration => Unset::Zero,
        _ => Null,
    };
    Field { hcl, json, kind, unset, required: false }
}

/// A field that must be set.
const fn must(hcl: &'static str, json: &'static str, kind: Kind) -> Field {
    Field { hcl, json, kind, unset: Null, required: true }
}

/// A name that only the fix-up sees.
const fn hidden(hcl: &'static str, json: &'static str, kind: Kind) -> Field {
    Field { hcl, json, kind, unset: Unset::Nothing, required: false }
}

/// A field of the API that no job file sets.
const fn api(json: &'static str, unset: Unset) -> Field {
    Field { hcl: "", json, kind: Kind::Fixed, unset, required: false }
}

const fn block(fields: &'static [Field]) -> Object {
    Object { label: "", fields, fix: None }
}

const fn labelled(label: &'static str, fields: &'static [Field]) -> Object {
    Object { label, fields, fix: None }
}

pub(super) static JOB: Object = Object {
    label: "ID",
    fix: Some(fixups::job),
    fields: &[
        opt("affinity", "Affinities", Many(&AFFINITY)),
        opt("all_at_once", "AllAtOnce", Bool),
        opt("constraint", "Constraints", Many(&CONSTRAINT)),
        opt("consul_namespace", "ConsulNamespace", Str),
        api("CreateIndex", Null),
        opt("datacenters", "Datacenters", Strs),
        api("DispatchIdempotencyToken", Null),
        api("Dispatched", False),
        hidden("id", "~id", Str),
        api("JobModifyIndex", Null),
        opt("meta", "Meta", Strings),
        opt("migrate", "Migrate", One(&MIGRATE)),
        api("ModifyIndex", Null),
        opt("multiregion", "Multiregion", One(&MULTIREGION)),
        opt("name", "Name", Str),
        opt("namespace", "Namespace", Str),
        opt("node_pool", "NodePool", Str),
        api("NomadTokenID", Null),
        opt("parameterized", "ParameterizedJob", One(&PARAMETERIZED)),
        api("ParentID", Null),
        api("Payload", Null),
        opt("periodic", "Periodic", One(&PERIODIC)),
        opt("priority", "Priority", Int),
        opt("region", "Region", Str),
        opt("reschedule", "Reschedule", One(&RESCHEDULE)),
        hidden("secret", "~secrets", Many(&SECRET)),
        opt("spread", "Spreads", Many(&SPREAD)),
        api("Stable", Null),
        api("Status", Null),
        api("StatusDescription", Null),
        api("Stop", Null),
        api("SubmitTime", Null),
        hidden("task", "~tasks", Many(&TASK)),
        opt("group", "TaskGroups", Many(&GROUP)),
        opt("type", "Type", Str),
        opt("ui", "UI", One(&UI)),
        opt("update", "Update", One(&UPDATE)),
        hidden("vault", "~vault", One(&VAULT)),
        opt("vault_namespace", "VaultNamespace", Str),
        api("Version", Null),
        api("VersionTag", Null),
    ],
};

pub(super) static GROUP: Object = Object {
    label: "Name",
    fix: Some(fixups::group),
    fields: &[
        opt("affinity", "Affinities", Many(&AFFINITY)),
        opt("constraint", "Constraints", Many(&CONSTRAINT)),
        opt("consul", "Consul", One(&CONSUL)),
        opt("count", "Count", Int),
        opt("disconnect", "Disconnect", One(&DISCONNECT)),
        opt("ephemeral_disk", "EphemeralDisk", One(&EPHEMERAL_DISK)),
        opt("max_client_disconnect", "MaxClientDisconnect", Duration),
        opt("max_run_duration", "MaxRunDuration", Duration),
        opt("meta", "Meta", Strings),
        opt("migrate", "Migrate", One(&MIGRATE)),
        opt("network", "Networks", Many(&NETWORK)),
        opt("prevent_reschedule_on_lost", "PreventRescheduleOnLost", Bool),
        opt("reschedule", "ReschedulePolicy", One(&RESCHEDULE)),
        opt("restart", "RestartPolicy", One(&RESTART)),
        opt("scaling", "Scaling", One(&SCALING)),
        hidden("secret", "~secrets", Many(&SECRET)),
        opt("service", "Services", Many(&SERVICE)),
        opt("shutdown_delay", "ShutdownDelay", Duration),
        opt("spread", "Spreads", Many(&SPREAD)),
        opt("stop_after_client_disconnect", "StopAfterClientDisconnect", Duration),
        opt("task", "Tasks", Many(&TASK)),
        opt("update", "Update", One(&UPDATE)),
        hidden("vault", "~vault", One(&VAULT)),
        opt("volume", "Volumes", ByLabel(&VOLUME)),
    ],
};

static TASK: Object = Object {
    label: "Name",
    fix: Some(fixups::task),
    fields: &[
        opt("action", "Actions", Many(&ACTION)),
        opt("affinity", "Affinities", Many(&AFFINITY)),
        opt("artifact", "Artifacts", Many(&ARTIFACT)),
        hidden("csi_plugin", "CSIPluginConfig", One(&CSI_PLUGIN)),
        opt("config", "Config", Any),
        opt("constraint", "Constraints", Many(&CONSTRAINT)),
        opt("consul", "Consul", One(&CONSUL)),
        opt("dispatch_payload", "DispatchPayload", One(&DISPATCH_PAYLOAD)),
        plain("driver", "Driver", Str),
        opt("env", "Env", Strings),
        api("Identities", Null),
        api("Identity", Null),
        hidden("identity", "~identities", Many(&IDENTITY)),
        plain("kill_signal", "KillSignal", Str),
        opt("kill_timeout", "KillTimeout", Duration),
        plain("kind", "Kind", Str),
        plain("leader", "Leader", Bool),
        opt("lifecycle", "Lifecycle", One(&LIFECYCLE)),
        opt("logs", "LogConfig", One(&LOGS)),
        opt("meta", "Meta", Strings),
        opt("resources", "Resources", One(&RESOURCES)),
        opt("restart", "RestartPolicy", One(&RESTART)),
        opt("scaling", "ScalingPolicies", Many(&TASK_SCALING)),
        opt("schedule", "Schedule", One(&SCHEDULE)),
        opt("secret", "Secrets", Many(&SECRET)),
        opt("service", "Services", Many(&SERVICE)),
        plain("shutdown_delay", "ShutdownDelay", Duration),
        opt("template", "Templates", Many(&TEMPLATE)),
        plain("user", "User", Str),
        opt("vault", "Vault", One(&VAULT)),
        opt("volume_mount", "VolumeMounts", Many(&VOLUME_MOUNT)),
    ],
};

static CONSTRAINT: Object = Object {
    label: "",
    fix: Some(fixups::constraint),
    fields: &[
        plain("attribute", "LTarget", Str),
        plain("operator", "Operand", Str),
        plain("value", "RTarget", Str),
        hidden("regexp", "~regexp", Str),
        hidden("version", "~version", Str),
        hidden("semver", "~semver", Str),
        hidden("set_contains", "~set_contains", Str),
        hidden("set_contains_any", "~set_contains_any", Str),
        hidden("set_contains_all", "~set_contains_all", Str),
        hidden("distinct_hosts", "~distinct_hosts", Bool),
        hidden("distinct_property", "~distinct_property", Str),
    ],
};

static AFFINITY: Object = Object {
    label: "",
    fix: Some(fixups::constraint),
    fields: &[
        plain("attribute", "LTarget", Str),
        plain("operator", "Operand", Str),
        plain("value", "RTarget", Str),
        opt("weight", "Weight", Int),
        hidden("regexp", "~regexp", Str),
        hidden("version", "~version", Str),
        hidden("semver", "~semver", Str),
        hidden("set_contains", "~set_contains", Str),
        hidden("set_contains_any", "~set_contains_any", Str),
        hidden("set_contains_all", "~set_contains_all", Str),
    ],
};

static SPREAD: Object = block(&[
    plain("attribute", "Attribute", Str),
    opt("target", "SpreadTarget", Many(&SPREAD_TARGET)),
    opt("weight", "Weight", Int),
]);
static SPREAD_TARGET: Object =
    labelled("Value", &[plain("percent", "Percent", Int), hidden("value", "Value", Str)]);

static UPDATE: Object = block(&[
    opt("auto_promote", "AutoPromote", Bool),
    opt("auto_revert", "AutoRevert", Bool),
    opt("canary", "Canary", Int),
    opt("health_check", "HealthCheck", Str),
    opt("healthy_deadline", "HealthyDeadline", Duration),
    opt("max_parallel", "MaxParallel", Int),
    opt("min_healthy_time", "MinHealthyTime", Duration),
    opt("progress_deadline", "ProgressDeadline", Duration),
    opt("stagger", "Stagger", Duration),
]);

static MIGRATE: Object = block(&[
    opt("health_check", "HealthCheck", Str),
    opt("healthy_deadline", "HealthyDeadline", Duration),
    opt("max_parallel", "MaxParallel", Int),
    opt("min_healthy_time", "MinHealthyTime", Duration),
]);

static RESTART: Object = block(&[
    opt("attempts", "Attempts", Int),
    opt("delay", "Delay", Duration),
    opt("interval", "Interval", Duration),
    opt("mode", "Mode", Str),
    opt("render_templates", "RenderTemplates", Bool),
]);

static RESCHEDULE: Object = block(&[
    opt("attempts", "Attempts", Int),
    opt("delay", "Delay", Duration),
    opt("delay_function", "DelayFunction", Str),
    opt("interval", "Interval", Duration),
    opt("max_delay", "MaxDelay", Duration),
    opt("unlimited", "Unlimited", Bool),
]);

static DISCONNECT: Object = block(&[
    opt("lost_after", "LostAfter", Duration),
    opt("reconcile", "Reconcile", Str),
    opt("replace", "Replace", Bool),
    opt("stop_on_client_after", "StopOnClientAfter", Duration),
]);

static EPHEMERAL_DISK: Object = block(&[
    opt("migrate", "Migrate", Bool),
    opt("size", "SizeMB", Int),
    opt("sticky", "Sticky", Bool),
]);

static PERIODIC: Object = Object {
    label: "",
    fix: Some(fixups::periodic),
    fields: &[
        opt("enabled", "Enabled", Bool),
        opt("prohibit_overlap", "ProhibitOverlap", Bool),
        opt("cron", "Spec", Str),
        api("SpecType", Null),
        opt("crons", "Specs", Strs),
        opt("time_zone", "TimeZone", Str),
    ],
};

static PARAMETERIZED: Object = block(&[
    opt("meta_optional", "MetaOptional", Strs),
    opt("meta_required", "MetaRequired", Strs),
    plain("payload", "Payload", Str),
]);

static MULTIREGION: Object = block(&[
    opt("region", "Regions", Many(&MULTIREGION_REGION)),
    opt("strategy", "Strategy", One(&MULTIREGION_STRATEGY)),
]);
static MULTIREGION_STRATEGY: Object =
    block(&[opt("max_parallel", "MaxParallel", Int), opt("on_failure", "OnFailure", Str)]);
static MULTIREGION_REGION: Object = labelled(
    "Name",
    &[
        opt("count", "Count", Int),
        opt("datacenters", "Datacenters", Strs),
        opt("meta", "Meta", Strings),
        plain("node_pool", "NodePool", Str),
    ],
);

static UI: Object =
    block(&[plain("description", "Description", Str), opt("link", "Links", Many(&UI_LINK))]);
static UI_LINK: Object = block(&[plain("label", "Label", Str), plain("url", "URL", Str)]);

static SCALING: Object = Object { label: "", fix: Some(fixups::scaling), fields: &SCALING_FIELDS };
static TASK_SCALING: Object =
    Object { label: "~kind", fix: Some(fixups::task_scaling), fields: &SCALING_FIELDS };
static SCALING_FIELDS: [Field; 10] = [
    api("CreateIndex", Unset::Zero),
    opt("enabled", "Enabled", Bool),
    api("ID", Unset::Text),
    opt("max", "Max", Int),
    opt("min", "Min", Int),
    api("ModifyIndex", Unset::Zero),
    api("Namespace", Unset::Text),
    opt("policy", "Policy", Any),
    api("Target", Null),
    plain("type", "Type", Str),
];

static NETWORK: Object = Object {
    label: "",
    fix: Some(fixups::network),
    fields: &[
        plain("cidr", "CIDR", Str),
        opt("cni", "CNI", One(&CNI)),
        opt("dns", "DNS", One(&DNS)),
        plain("device", "Device", Str),
        plain("hostname", "Hostname", Str),
        plain("ip", "IP", Str),
        opt("mbits", "MBits", Int),
        plain("mode", "Mode", Str),
        hidden("port", "~ports", Many(&PORT)),
    ],
};
static CNI: Object = block(&[opt("args", "Args", Strings)]);
static DNS: Object = block(&[
    opt("options", "Options", Strs),
    opt("searches", "Searches", Strs),
    opt("servers", "Servers", Strs),
]);
static PORT: Object = labelled(
    "Label",
    &[
        plain("host_network", "HostNetwork", Str),
        plain("ignore_collision", "IgnoreCollision", Bool),
        plain("to", "To", Int),
        plain("static", "Value", Int),
    ],
);

static RESOURCES: Object = block(&[
    opt("cpu", "CPU", Int),
    opt("cores", "Cores", Int),
    opt("device", "Devices", Many(&DEVICE)),
    opt("disk", "DiskMB", Int),
    opt("iops", "IOPS", Int),
    opt("memory", "MemoryMB", Int),
    opt("memory_max", "MemoryMaxMB", Int),
    opt("numa", "NUMA", One(&NUMA)),
    opt("network", "Networks", Many(&NETWORK)),
    opt("secrets", "SecretsMB", Int),
]);
static DEVICE: Object = labelled(
    "Name",
    &[
        opt("affinity", "Affinities", Many(&AFFINITY)),
        opt("constraint", "Constraints", Many(&CONSTRAINT)),
        opt("count", "Count", Int),
    ],
);
static NUMA: Object = block(&[plain("affinity", "Affinity", Str), opt("devices", "Devices", Strs)]);

static SERVICE: Object = block(&[
    plain("address", "Address", Str),
    plain("address_mode", "AddressMode", Str),
    opt("canary_meta", "CanaryMeta", Strings),
    opt("canary_tags", "CanaryTags", Strs),
    opt("check_restart", "CheckRestart", One(&CHECK_RESTART)),
    opt("check", "Checks", Many(&CHECK)),
    plain("cluster", "Cluster", Str),
    opt("connect", "Connect", One(&CONNECT)),
    plain("enable_tag_override", "EnableTagOverride", Bool),
    opt("identity", "Identity", One(&IDENTITY)),
    plain("kind", "Kind", Str),
    opt("meta", "Meta", Strings),
    plain("name", "Name", Str),
    plain("on_update", "OnUpdate", Str),
    plain("port", "PortLabel", Str),
    plain("provider", "Provider", Str),
    opt("tagged_addresses", "TaggedAddresses", Strings),
    opt("tags", "Tags", Strs),
    plain("task", "TaskName", Str),
    opt("weights", "Weights", One(&WEIGHTS)),
]);
static WEIGHTS: Object =
    block(&[plain("passing", "Passing", Int), plain("warning", "Warning", Int)]);
static CHECK_RESTART: Object = block(&[
    opt("grace", "Grace", Duration),
    plain("ignore_warnings", "IgnoreWarnings", Bool),
    plain("limit", "Limit", Int),
]);
static CHECK: Object = block(&[
    plain("address_mode", "AddressMode", Str),
    plain("advertise", "Advertise", Str),
    opt("args", "Args", Strs),
    plain("body", "Body", Str),
    opt("check_restart", "CheckRestart", One(&CHECK_RESTART)),
    plain("command", "Command", Str),
    plain("expose", "Expose", Bool),
    plain("failures_before_critical", "FailuresBeforeCritical", Int),
    plain("failures_before_warning", "FailuresBeforeWarning", Int),
    plain("grpc_service", "GRPCService", Str),
    plain("grpc_use_tls", "GRPCUseTLS", Bool),
    opt("header", "Header", MapOfLists),
    plain("initial_status", "InitialStatus", Str),
    plain("interval", "Interval", Duration),
    plain("method", "Method", Str),
    plain("name", "Name", Str),
    plain("notes", "Notes", Str),
    plain("on_update", "OnUpdate", Str),
    plain("path", "Path", Str),
    plain("port", "PortLabel", Str),
    plain("protocol", "Protocol", Str),
    plain("success_before_passing", "SuccessBeforePassing", Int),
    plain("tls_server_name", "TLSServerName", Str),
    plain("tls_skip_verify", "TLSSkipVerify", Bool),
    plain("task", "TaskName", Str),
    plain("timeout", "Timeout", Duration),
    plain("type", "Type", Str),
]);

static CONNECT: Object = block(&[
    opt("gateway", "Gateway", Any),
    plain("native", "Native", Bool),
    opt("sidecar_service", "SidecarService", One(&SIDECAR_SERVICE)),
    opt("sidecar_task", "SidecarTask", One(&SIDECAR_TASK)),
]);
static SIDECAR_SERVICE: Object = block(&[
    plain("disable_default_tcp_check", "DisableDefaultTCPCheck", Bool),
    opt("meta", "Meta", Strings),
    plain("port", "Port", Str),
    opt("proxy", "Proxy", One(&PROXY)),
    opt("tags", "Tags", Strs),
]);
static PROXY: Object = block(&[
    opt("config", "Config", Any),
    opt("expose", "Expose", One(&EXPOSE)),
    plain("local_service_address", "LocalServiceAddress", Str),
    plain("local_service_port", "LocalServicePort", Int),
    opt("transparent_proxy", "TransparentProxy", One(&TRANSPARENT_PROXY)),
    opt("upstreams", "Upstreams", Many(&UPSTREAM)),
]);
static EXPOSE: Object = block(&[opt("path", "Paths", Many(&EXPOSE_PATH))]);
static EXPOSE_PATH: Object = block(&[
    plain("listener_port", "ListenerPort", Str),
    plain("local_path_port", "LocalPathPort", Int),
    plain("path", "Path", Str),
    plain("protocol", "Protocol", Str),
]);
static TRANSPARENT_PROXY: Object = block(&[
    opt("exclude_inbound_ports", "ExcludeInboundPorts", Strs),
    opt("exclude_outbound_cidrs", "ExcludeOutboundCIDRs", Strs),
    opt("exclude_uids", "ExcludeUIDs", Strs),
    plain("no_dns", "NoDNS", Bool),
    plain("outbound_port", "OutboundPort", Int),
    plain("uid", "UID", Str),
]);
static UPSTREAM: Object = block(&[
    opt("config", "Config", Any),
    plain("datacenter", "Datacenter", Str),
    plain("destination_name", "DestinationName", Str),
    plain("destination_namespace", "DestinationNamespace", Str),
    plain("destination_partition", "DestinationPartition", Str),
    plain("destination_peer", "DestinationPeer", Str),
    plain("destination_type", "DestinationType", Str),
    plain("local_bind_address", "LocalBindAddress", Str),
    plain("local_bind_port", "LocalBindPort", Int),
    plain("local_bind_socket_mode", "LocalBindSocketMode", Str),
    plain("local_bind_socket_path", "LocalBindSocketPath", Str),
    opt("mesh_gateway", "MeshGateway", One(&MESH_GATEWAY)),
]);
static MESH_GATEWAY: Object = block(&[plain("mode", "Mode", Str)]);
static SIDECAR_TASK: Object = block(&[
    opt("config", "Config", Any),
    plain("driver", "Driver", Str),
    opt("env", "Env", Strings),
    plain("kill_signal", "KillSignal", Str),
    opt("kill_timeout", "KillTimeout", Duration),
    opt("logs", "LogConfig", One(&LOGS)),
    opt("meta", "Meta", Strings),
    plain("name", "Name", Str),
    opt("resources", "Resources", One(&RESOURCES)),
    opt("shutdown_delay", "ShutdownDelay", Duration),
    plain("user", "User", Str),
    opt("volume_mount", "VolumeMounts", Many(&VOLUME_MOUNT)),
]);

static TEMPLATE: Object = Object {
    label: "",
    fix: Some(fixups::template),
    fields: &[
        opt("change_mode", "ChangeMode", Str),
        opt("change_script", "ChangeScript", One(&CHANGE_SCRIPT)),
        opt("change_signal", "ChangeSignal", Str),
        opt("destination", "DestPath", Str),
        opt("data", "EmbeddedTmpl", Str),
        opt("env", "Envvars", Bool),
        plain("error_on_missing_key", "ErrMissingKey", Bool),
        opt("gid", "Gid", Int),
        opt("left_delimiter", "LeftDelim", Str),
        plain("once", "Once", Bool),
        opt("perms", "Perms", Str),
        opt("right_delimiter", "RightDelim", Str),
        opt("source", "SourcePath", Str),
        opt("splay", "Splay", Duration),
        opt("uid", "Uid", Int),
        opt("vault_grace", "VaultGrace", Duration),
        opt("wait", "Wait", One(&WAIT)),
    ],
};
static WAIT: Object = block(&[opt("max", "Max", Duration), opt("min", "Min", Duration)]);
static CHANGE_SCRIPT: Object = block(&[
    opt("args", "Args", Strs),
    opt("command", "Command", Str),
    plain("fail_on_error", "FailOnError", Bool),
    plain("run_on_first_render", "RunOnFirstRender", Bool),
    opt("timeout", "Timeout", Duration),
]);

static ARTIFACT: Object = block(&[
    plain("chown", "Chown", Bool),
    opt("headers", "GetterHeaders", Strings),
    opt("insecure", "GetterInsecure", Bool),
    opt("mode", "GetterMode", Str),
    opt("options", "GetterOptions", Strings),
    opt("source", "GetterSource", Str),
    opt("destination", "RelativeDest", Str),
]);

static LOGS: Object = block(&[
    opt("disabled", "Disabled", Bool),
    opt("enabled", "Enabled", Bool),
    opt("max_file_size", "MaxFileSizeMB", Int),
    opt("max_files", "MaxFiles", Int),
]);

static LIFECYCLE: Object = block(&[plain("hook", "Hook", Str), plain("sidecar", "Sidecar", Bool)]);
static DISPATCH_PAYLOAD: Object = block(&[plain("file", "File", Str)]);
static ACTION: Object =
    labelled("Name", &[opt("args", "Args", Strs), must("command", "Command", Str)]);
static SECRET: Object = labelled(
    "Name",
    &[
        opt("config", "Config", Any),
        opt("env", "Env", Strings),
        plain("path", "Path", Str),
        plain("provider", "Provider", Str),
    ],
);
static SCHEDULE: Object = block(&[opt("cron", "Cron", One(&SCHEDULE_CRON))]);
static SCHEDULE_CRON: Object = block(&[
    plain("end", "End", Str),
    plain("start", "Start", Str),
    plain("timezone", "Timezone", Str),
]);

static VAULT: Object = Object {
    label: "",
    fix: Some(fixups::vault),
    fields: &[
        opt("allow_token_expiration", "AllowTokenExpiration", Bool),
        opt("change_mode", "ChangeMode", Str),
        opt("change_signal", "ChangeSignal", Str),
        plain("cluster", "Cluster", Str),
        opt("disable_file", "DisableFile", Bool),
        opt("env", "Env", Bool),
        opt("namespace", "Namespace", Str),
        opt("policies", "Policies", Strs),
        plain("role", "Role", Str),
    ],
};
static CONSUL: Object = block(&[
    plain("cluster", "Cluster", Str),
    plain("namespace", "Namespace", Str),
    plain("partition", "Partition", Str),
]);
static IDENTITY: Object = block(&[
    opt("aud", "Audience", Strs),
    plain("change_mode", "ChangeMode", Str),
    plain("change_signal", "ChangeSignal", Str),
    plain("env", "Env", Bool),
    opt("extra_claims", "ExtraClaims", Strings),
    plain("file", "File", Bool),
    plain("filepath", "Filepath", Str),
    plain("name", "Name", Str),
    plain("service_name", "ServiceName", Str),
    plain("ttl", "TTL", Duration),
]);
static CSI_PLUGIN: Object = block(&[
    plain("health_timeout", "HealthTimeout", Duration),
    plain("id", "ID", Str),
    plain("mount_dir", "MountDir", Str),
    plain("stage_publish_base_dir", "StagePublishBaseDir", Str),
    plain("type", "Type", Str),
]);

static VOLUME: Object = labelled(
    "Name",
    &[
        plain("access_mode", "AccessMode", Str),
        plain("attachment_mode", "AttachmentMode", Str),
        opt("mount_options", "MountOptions", One(&MOUNT_OPTIONS)),
        plain("per_alloc", "PerAlloc", Bool),
        plain("read_only", "ReadOnly", Bool),
        plain("source", "Source", Str),
        plain("sticky", "Sticky", Bool),
        plain("type", "Type", Str),
    ],
);
static MOUNT_OPTIONS: Object =
    block(&[plain("fs_type", "FSType", Str), opt("mount_flags", "MountFlags", Strs)]);
static VOLUME_MOUNT: Object = block(&[
    opt("destination", "Destination", Str),
    opt("propagation_mode", "PropagationMode", Str),
    opt("read_only", "ReadOnly", Bool),
    opt("selinux_label", "SELinuxLabel", Str),
    opt("volume", "Volume", Str),
]);
