//! Files, flags and environment → [`Config`].
//!
//! The one place where the agent's configuration meets the system. Order, later over earlier:
//! defaults (or those of `-dev`), each `-config` in turn, the flags.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::config::{Config, Host};
use super::config_keys;
use super::config_tree::{Mistake, Tree};
use crate::hcl::v1;
use crate::stdx::json::{self, Any};
use crate::stdx::parse_bool;
use crate::stdx::sort;

/// A flag of `agent`, the key that it sets (empty: see [`Config::load`]) and what it does.
pub struct AgentFlag {
    pub name: &'static str,
    pub key: &'static str,
    /// Takes no value unless one is given with `=`.
    pub switch: bool,
    pub help: &'static str,
}

const fn flag(name: &'static str, key: &'static str, help: &'static str) -> AgentFlag {
    AgentFlag { name, key, switch: false, help }
}

const fn switch(name: &'static str, key: &'static str, help: &'static str) -> AgentFlag {
    AgentFlag { name, key, switch: true, help }
}

/// All flags of `agent`.
pub const FLAGS: &[AgentFlag] = &[
    flag("config", "", "Configuration file or directory; repeatable, later ones win"),
    switch("dev", "", "Server and client in one, on loopback, with a data directory of this run"),
    switch("dev-connect", "", "Not supported by this version"),
    switch("dev-consul", "", "Not supported by this version"),
    switch("dev-vault", "", "Not supported by this version"),
    flag("bind", "bind_addr", "Address to listen on"),
    flag("data-dir", "data_dir", "Directory of the state; absolute"),
    flag("plugin-dir", "plugin_dir", "Directory of plugins; absolute"),
    flag("dc", "datacenter", "Datacenter of this node"),
    flag("region", "region", "Region of this agent"),
    flag("node", "name", "Name of this node; default: the host's"),
    flag("log-level", "log_level", "TRACE, DEBUG, INFO, WARN, ERROR or OFF"),
    switch("log-json", "log_json", "Log as JSON"),
    switch("log-include-location", "log_include_location", "Log source files and lines"),
    switch("server", "server.enabled", "Run a server"),
    flag("bootstrap-expect", "server.bootstrap_expect", "Servers that the region starts with"),
    flag("encrypt", "server.encrypt", "Key of the gossip"),
    flag("join", "server.start_join", "Server to join; repeatable"),
    flag("retry-join", "server.retry_join", "Server to join, retried; repeatable"),
    flag("retry-max", "server.retry_max", "Attempts to join"),
    flag("retry-interval", "server.retry_interval", "Time between attempts to join"),
    flag("raft-protocol", "server.raft_protocol", "Version of Raft's protocol"),
    switch("rejoin", "server.rejoin_after_leave", "Join again after having left"),
    switch("client", "client.enabled", "Run a client"),
    flag("state-dir", "client.state_dir", "Directory of the client's state; absolute"),
    flag("alloc-dir", "client.alloc_dir", "Directory of allocations; absolute"),
    flag("alloc-mounts-dir", "client.alloc_mounts_dir", "Directory of mounts; absolute"),
    flag("host-volumes-dir", "client.host_volumes_dir", "Directory of host volumes; absolute"),
    flag("host-volume-plugin-dir", "client.host_volume_plugin_dir", "Directory of volume plugins"),
    flag("servers", "client.servers", "Servers of a client, with commas between"),
    flag("node-class", "client.node_class", "Class of this node"),
    flag("node-pool", "client.node_pool", "Pool of this node"),
    flag("meta", "client.meta", "Metadata as key=value; repeatable"),
    flag("network-interface", "client.network_interface", "Interface of tasks' ports"),
    flag("preferred-address-family", "client.preferred_address_family", "ipv4 or ipv6"),
    flag("network-speed", "client.network_speed", "Megabits per second"),
    flag("client-intro-token", "client.intro_token", "Token of a node that joins"),
    switch("acl-enabled", "acl.enabled", "Check tokens"),
    flag("acl-replication-token", "acl.replication_token", "Token for replication"),
];

impl Config {
    /// From the arguments after `agent`. The error is one line for a person, without `==> `.
    ///
    /// With `-dev` and no data directory it makes one, of mode 0700, in the system's directory for
    /// temporary files.
    pub fn load(args: &[String]) -> Result<Self, String> {
        let given = read_flags(args)?;
        let mut host = Host {
            dev: given.dev,
            name: host_name(),
            addresses: own_addresses(),
            paths: given.configs.clone(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            ..Host::default()
        };
        let mut asked = Tree::default();
        let mut empty = Vec::new();
        for path in &given.configs {
            let wrap = |e: String| format!("Error loading configuration from {path}: {e}");
            let files = config_files(Path::new(path)).map_err(wrap)?;
            if files.is_empty() {
                empty.push(format!("No configuration loaded from {path}"));
            }
            for file in files {
                let shown = file.display().to_string();
                let text = fs::read(&file).map_err(|e| e.to_string());
                let read = text.and_then(|text| read_text(&text));
                let read = read.map_err(|e| format!("Error loading {shown}: {e}"));
                asked.overlay(read.map_err(wrap)?);
                host.files.push(shown);
            }
        }
        asked.overlay(given.tree);
        let mut tree = match given.dev {
            true => defaults(DEV)?,
            false if given.configs.is_empty() && is_lone(&asked) => defaults(LONE)?,
            false => Tree::default(),
        };
        tree.overlay(asked.clone());
        if given.dev && tree.text("data_dir").is_empty() {
            host.temporary = Some(temporary_dir()?);
        }
        let mut config = Self::build(&tree, &asked, &host)?;
        config.warn_first(empty);
        Ok(config)
    }

    /// From one document, for an agent on a machine called `host` with the address 192.0.2.7.
    pub fn of_text(text: &[u8]) -> Result<Self, String> {
        let tree = read_text(text)?;
        let host = Host {
            name: "host".to_owned(),
            addresses: vec![Ipv4Addr::new(192, 0, 2, 7)],
            ..Host::default()
        };
        Self::build(&tree, &tree, &host)
    }
}

/// Whether flags ask for a data directory and say nothing of what the agent is: then it is server
/// and node of its own.
fn is_lone(asked: &Tree) -> bool {
    let says = |key: &str| asked.given(key).is_some();
    says("data_dir")
        && !["server.enabled", "client.enabled", "server.bootstrap_expect", "client.servers"]
            .into_iter()
            .chain(["server.start_join", "server.retry_join"])
            .any(says)
}

struct Given {
    dev: bool,
    configs: Vec<String>,
    tree: Tree,
}

fn read_flags(args: &[String]) -> Result<Given, String> {
    let mut given = Given { dev: false, configs: Vec::new(), tree: Tree::default() };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let Some(bare) = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')) else {
            return Err(format!("agent takes no argument {arg:?}"));
        };
        let (name, inline) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let flag = FLAGS
            .iter()
            .find(|f| f.name == name)
            .ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
        let value = match inline {
            Some(value) => value,
            None if flag.switch => "true".to_owned(),
            None => rest.next().ok_or(format!("flag needs an argument: -{name}"))?.clone(),
        };
        match flag.key {
            "" if name == "config" => given.configs.push(value),
            "" => {
                let on = parse_bool(&value)
                    .ok_or_else(|| format!("invalid boolean value {value:?} for -{name}"))?;
                if name == "dev" {
                    given.dev = on;
                } else if on {
                    return Err(format!("-{name} is not supported by this version"));
                }
            }
            key => given.tree.set(key, &value).map_err(|e| format!("-{name}: {e}"))?,
        }
    }
    // The environment outranks the flag, so that a token need not stand in the process list.
    #[expect(clippy::disallowed_methods, reason = "configuration is read once, here")]
    if let Ok(token) = std::env::var("NOMAD_CLIENT_INTRO_TOKEN") {
        given.tree.set("client.intro_token", &token)?;
    }
    Ok(given)
}

/// What `-dev` starts from; files and flags override it.
const DEV: &[(&str, &str)] = &[
    ("bind_addr", "127.0.0.1"),
    ("log_level", "DEBUG"),
    ("enable_debug", "true"),
    ("disable_anonymous_signature", "true"),
    ("server.bootstrap_expect", "1"),
    ("client.network_interface", "lo"),
    ("client.options", "driver.raw_exec.enable=true"),
    ("client.options", "driver.docker.volumes=true"),
    ("client.gc_interval", "10m"),
    ("telemetry.prometheus_metrics", "true"),
    ("telemetry.publish_allocation_metrics", "true"),
    ("telemetry.publish_node_metrics", "true"),
];

/// What `-data-dir` alone starts from: one durable node, which only this machine can reach.
const LONE: &[(&str, &str)] = &[
    ("bind_addr", "127.0.0.1"),
    ("server.enabled", "true"),
    ("server.bootstrap_expect", "1"),
    ("client.enabled", "true"),
    ("client.options", "driver.raw_exec.enable=true"),
];

fn defaults(of: &'static [(&'static str, &'static str)]) -> Result<Tree, String> {
    let mut tree = Tree::default();
    for (key, value) in of {
        tree.set(key, value)?;
    }
    Ok(tree)
}

/// The file, or the `*.hcl` and `*.json` of the directory by name, editors' leftovers aside.
fn config_files(path: &Path) -> Result<Vec<PathBuf>, String> {
    if !fs::metadata(path).map_err(|e| e.to_string())?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(|e| e.to_string())? {
        let file = entry.map_err(|e| e.to_string())?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ours = name.ends_with(".hcl") || name.ends_with(".json");
        if ours && !name.starts_with(['.', '#']) && file.is_file() {
            files.push(file);
        }
    }
    sort::by(&mut files, Ord::cmp);
    Ok(files)
}

/// One document, in HCL 1 or JSON. The error says where in it the mistake is.
fn read_text(text: &[u8]) -> Result<Tree, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the text is not UTF-8".to_owned())?;
    let document = match text.trim_start().as_bytes().first() {
        None => return Ok(Tree::default()),
        Some(b'{' | b'[') => json::decode_whole(text.as_bytes()).map_err(|e| e.to_string())?,
        Some(_) => Any::Map(v1::values(&v1::parse(text).map_err(|e| e.to_string())?)),
    };
    Tree::read(&document).map_err(|wrong| placed(text, &wrong))
}

/// A mistake with its line and, for a key that there is not, the one that was probably meant.
fn placed(text: &str, wrong: &Mistake) -> String {
    let items = v1::parse(text).unwrap_or_default();
    let lower = wrong.key.to_ascii_lowercase();
    let mut path = lower.as_str();
    let place = loop {
        match (v1::find(&items, path), path.rsplit_once('.')) {
            (Some(range), _) => break Some(v1::place(text, range.start)),
            (None, Some((outer, _))) => path = outer,
            (None, None) => break None,
        }
    };
    let Some((line, column)) = place else { return wrong.text.clone() };
    let near = match wrong.text.contains("unexpected keys") {
        true => config_keys::near(&lower),
        false => None,
    };
    let near = near.map(|n| format!("; did you mean \"{n}\"?")).unwrap_or_default();
    format!("{} (line {line}, column {column}{near})", wrong.text)
}

/// A directory of this run alone. An existing name is never reused: it could be somebody else's.
fn temporary_dir() -> Result<PathBuf, String> {
    let base = std::env::temp_dir();
    for n in 0..1_000 {
        let path = base.join(format!("vardo-dev-{}-{n}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(format!("Failed to make a data directory in {base:?}: {e}")),
        }
    }
    Err(format!("Failed to make a data directory in {base:?}: too many are left there"))
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

fn own_addresses() -> Vec<Ipv4Addr> {
    local_addresses(&fs::read_to_string("/proc/net/fib_trie").unwrap_or_default())
}

/// Addresses of this machine in the kernel's routing trie: each leaf that is followed by
/// `/32 host LOCAL`. Loopback is left out, each address stands once.
fn local_addresses(trie: &str) -> Vec<Ipv4Addr> {
    let mut out: Vec<Ipv4Addr> = Vec::new();
    let mut leaf = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            out.extend(leaf.take().filter(|a| !a.is_loopback() && !out.contains(a)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(document: &str, flags: &[&str]) -> Result<Config, String> {
        let args: Vec<String> = flags.iter().map(|f| (*f).to_owned()).collect();
        let given = read_flags(&args)?;
        let mut asked = read_text(document.as_bytes())?;
        asked.overlay(given.tree);
        let mut tree = defaults(if given.dev { DEV } else { &[] })?;
        tree.overlay(asked.clone());
        let host = Host {
            dev: given.dev,
            temporary: given.dev.then(|| "/tmp/x".into()),
            name: "here".into(),
            addresses: vec![Ipv4Addr::new(192, 168, 1, 7)],
            ..Host::default()
        };
        Config::build(&tree, &asked, &host)
    }

    /// The documents that the reference's test harness and our measuring programs write.
    #[test]
    fn documents_of_harnesses_are_taken() {
        let harness = r#"{"name":"node-1","data_dir":"/tmp/nomad1","disable_update_check":true,
            "log_level":"DEBUG","ports":{"http":1,"rpc":2,"serf":3},
            "server":{"enabled":true,"bootstrap_expect":1},
            "client":{"enabled":false,"cpu_total_compute":0},
            "vault":[{"enabled":false,"address":"","allow_unauthenticated":true}],
            "acl":{"enabled":false}}"#;
        let c = config(harness, &[]).unwrap();
        assert_eq!(c.node_name, "node-1");
        assert!(c.server.enabled && !c.client.enabled && !c.dev);
        assert_eq!(c.http, ["0.0.0.0:1".parse().unwrap()]);
        assert_eq!(c.advertise_rpc, "192.168.1.7:2".parse().unwrap());
        assert_eq!(c.client.alloc_dir, Path::new("/tmp/nomad1/alloc"));

        let dev = r#"{"ports":{"http":7,"rpc":8,"serf":9},"disable_update_check":true,
            "name":"yard","log_level":"WARN","limits":{"http_max_conns_per_client":0},
            "plugin":[{"raw_exec":[{"config":[{"enabled":true}]}]}]}"#;
        let c = config(dev, &["-dev"]).unwrap();
        assert!(c.dev && c.server.enabled && c.client.enabled && c.raw_exec.enabled);
        assert_eq!(c.http_max_conns_per_client, 0);
        assert_eq!(c.log_level, log::LevelFilter::Warn);
        assert_eq!(c.http, ["127.0.0.1:7".parse().unwrap()]);
        let shown: serde_json::Value = serde_json::from_slice(c.self_json()).unwrap();
        assert_eq!(shown["Plugins"][0]["Config"]["enabled"], true);
        assert_eq!(shown["NodeName"], "yard");
        assert_eq!(shown["Client"]["MaxKillTimeout"], "30s");
        assert_eq!(shown["AdvertiseAddrs"]["HTTP"], "127.0.0.1:7");
    }

    #[test]
    fn wrong_configurations_stop_with_the_recorded_text() {
        for (document, flags, text) in [
            ("{}", &[][..], "Must specify either server, client or dev mode for the agent."),
            (r#"{"server":{"bar":1}}"#, &[], "server unexpected keys bar"),
            (r#"{"client":[{"zed":1}]}"#, &["-dev"], "client unexpected keys zed"),
            (r#"{"zed":1}"#, &["-dev"], "unexpected keys zed"),
            (
                r#"{"server":{"heartbeat_grace":"x"}}"#,
                &[],
                "server.heartbeat_grace can't parse time duration x",
            ),
            (
                r#"{"server":{"enabled":true}}"#,
                &[],
                "Must specify \"data_dir\" config option or \"data-dir\" CLI flag",
            ),
            (
                r#"{"data_dir":"x"}"#,
                &["-server"],
                "data-dir must be given as an absolute path: got x",
            ),
            (r#"{"region":"a\u0000"}"#, &["-dev"], "Region contains invalid characters"),
            (
                r#"{"datacenter":"dc*"}"#,
                &["-dev"],
                "Datacenter contains invalid characters (null or '*')",
            ),
            (r#"{"client":{"meta":{"a..b":"x"}}}"#, &["-dev"], "Invalid Client.Meta key: a..b"),
            (
                r#"{"tls":{"http":true}}"#,
                &["-dev"],
                "tls.cert_file must be given for what else tls asks for",
            ),
            (
                r#"{"vault":{"enabled":true}}"#,
                &["-dev"],
                "vault.enabled is not supported by this version",
            ),
            (
                r#"{"client":{"host_volume":{"v":{"path":"v"}}}}"#,
                &["-dev"],
                "host_volume \"v\" must have an absolute path: \"v\"",
            ),
            (
                r#"{"client":{"options":{"driver.denylist":"raw_exec"}}}"#,
                &["-dev"],
                "client.options driver.denylist is not supported by this version",
            ),
            (
                r#"{"plugin":{"raw_exec":{"config":{"denied_envvars":["A"]}}}}"#,
                &["-dev"],
                "raw_exec denied_envvars is not supported by this version",
            ),
            ("{}", &["-nope"], "flag provided but not defined: -nope"),
            ("{}", &["-bind"], "flag needs an argument: -bind"),
            ("{}", &["-dev=maybe"], "invalid boolean value \"maybe\" for -dev"),
            (
                r#"{"client":{"enabled":true},"data_dir":"/x"}"#,
                &["-bootstrap-expect=1"],
                "Bootstrap requires server mode to be enabled",
            ),
        ] {
            let said = config(document, flags).unwrap_err();
            // The recorded text is followed by the place.
            assert_eq!(said.split(" (line ").next(), Some(text), "{document}");
        }
    }

    /// What is set in vain is named; the defaults of `-dev` are nobody's wish.
    #[test]
    fn settings_without_effect_are_named() {
        let c = config(r#"{"telemetry":{"disable_quota_utilization_metrics":true}}"#, &["-dev"])
            .unwrap();
        let text = "is set and has no effect in this version";
        let key = "telemetry.disable_quota_utilization_metrics";
        assert_eq!(c.warnings(), [format!("{key} {text}")]);
        assert!(config("{}", &["-dev"]).unwrap().warnings().is_empty());
    }

    #[test]
    fn a_cluster_may_begin_with_another_scheduler_configuration() {
        let of = |scheduling: &str| {
            let block = format!(r#"{{"server":{{"default_scheduler_config":{scheduling}}}}}"#);
            config(&block, &["-dev"])
        };
        let c = of(
            r#"{"pause_eval_broker":true,"preemption_config":{"batch_scheduler_enabled":true}}"#,
        );
        let c = c.unwrap();
        let begins = c.server.scheduling.clone().unwrap();
        assert!(begins.pause_eval_broker && !begins.reject_job_registration);
        assert!(begins.preemption_config.batch_scheduler_enabled);
        assert!(begins.preemption_config.system_scheduler_enabled);
        assert_eq!(begins.scheduler_algorithm, "binpack");
        let shown: serde_json::Value = serde_json::from_slice(c.self_json()).unwrap();
        assert_eq!(shown["Server"]["DefaultSchedulerConfig"]["PauseEvalBroker"], true);
        assert_eq!(
            of(r#"{"scheduler_algorithm":"best"}"#).unwrap_err(),
            "invalid scheduler algorithm: best"
        );
        assert!(config("{}", &["-dev"]).unwrap().server.scheduling.is_none());
    }

    /// Lists append where the reference appends, maps merge, plain booleans only go on.
    #[test]
    fn later_sources_win_by_the_rule_of_each_kind() {
        let mut tree = Tree::default();
        for text in [
            r#"{"Region":"a","enable_debug":true,"client":{"meta":{"k":"1","l":"2"}},
                "server":{"enabled_schedulers":["batch"]},"ui":{"enabled":true}}"#,
            r#"{"region":"","enable_debug":false,"client":[{"meta":[{"k":"3"}]}],
                "server":{"enabled_schedulers":["service"]},"ui":{"enabled":false}}"#,
        ] {
            tree.overlay(Tree::read(&json::decode(text.as_bytes()).unwrap()).unwrap());
        }
        assert_eq!(tree.text("region"), "a");
        assert!(tree.bool("enable_debug"));
        assert!(!tree.bool("ui.enabled"));
        assert_eq!(tree.list("server.enabled_schedulers"), ["batch", "service"]);
        let meta: Vec<(String, String)> = tree.strings("client.meta").into_iter().collect();
        assert_eq!(meta, [("k".into(), "3".into()), ("l".into(), "2".into())]);
    }

    #[test]
    fn flags_take_one_or_two_dashes_and_either_form_of_value() {
        let flags =
            ["-dev", "--bind", "127.0.0.2", "-node=n", "-meta", "a=b", "--meta=c=d", "-client"];
        let c = config("{}", &flags).unwrap();
        assert_eq!(c.http, ["127.0.0.2:4646".parse().unwrap()]);
        assert_eq!(c.node_name, "n");
        assert_eq!(c.client.meta["a"], "b");
        assert_eq!(c.client.meta["c"], "d");
    }

    #[test]
    fn every_key_of_the_recorded_configuration_is_printed() {
        let c =
            config(r#"{"name":"contract","acl":{"replication_token":"s"}}"#, &["-dev"]).unwrap();
        let shown: serde_json::Value = serde_json::from_slice(c.self_json()).unwrap();
        assert_eq!(shown["ACL"]["ReplicationToken"], "<redacted>");
        let names: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            names.join(" "),
            "ACL Addresses AdvertiseAddrs Audit Autopilot BindAddr Client ConfigPaths Consuls \
             DataDir Datacenter DevMode DisableAnonymousSignature DisableUpdateCheck EnableDebug \
             EnableSyslog Eventlog Files HTTPAPIResponseHeaders KEKProviders LeaveOnInt \
             LeaveOnTerm Limits LogFile LogIncludeLocation LogJson LogLevel LogRotateBytes \
             LogRotateDuration LogRotateMaxFiles NodeName PluginDir Plugins Ports RPC Region \
             Reporting Sentinel Server SyslogFacility TLSConfig Telemetry UI Vaults Version"
        );
    }

    #[test]
    fn a_data_directory_alone_is_a_node_of_its_own() {
        let load = |flags: &[&str]| {
            Config::load(&flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())
        };
        let c = load(&["-data-dir=/d", "-node", "n"]).unwrap();
        assert!(c.server.enabled && c.client.enabled && c.raw_exec.enabled && !c.dev);
        assert_eq!(c.server.bootstrap_expect, 1);
        assert_eq!(c.http, ["127.0.0.1:4646".parse().unwrap()]);
        assert_eq!(load(&["-data-dir=/d", "-bind=::1"]).unwrap().http[0].port(), 4646);
        // Who says what the agent is gets that and no more.
        assert!(!load(&["-data-dir=/d", "-client", "-bind=127.0.0.1"]).unwrap().server.enabled);
        assert!(load(&["-node", "n"]).is_err());
    }

    #[test]
    fn own_addresses_come_from_the_routing_trie() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
                    \x20    |-- 10.1.2.3\n        /32 host LOCAL\n     |-- 10.1.2.255\n\
                    \x20       /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n\
                    Local:\n     |-- 10.1.2.3\n        /32 host LOCAL\n";
        assert_eq!(local_addresses(trie), [Ipv4Addr::new(10, 1, 2, 3)]);
    }
}
