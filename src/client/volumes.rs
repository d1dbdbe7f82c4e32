//! The host volumes of this node: those of the configuration, and those that were made by requests.
//!
//! Volumes are made by the built-in plugin `mkdir` or by programs of the operator, which the agent
//! runs beside the loop. A volume counts once its row is durable; the node is then registered anew
//! with it.

use crate::api::{ApiError, ClientHostVolumeConfig, HostVolume, Node};
use crate::client::{ClientConfig, ClientEffect};
use crate::stdx::json::records;
use crate::stdx::{BTreeMap, Now, json, uuid};

/// What the leader asks of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeOp {
    Create,
    Register,
    Delete,
}

impl VolumeOp {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Register => "register",
            Self::Delete => "delete",
        }
    }
}

records! {
/// One request of the leader, and with the path and bytes of the volume also its answer.
#[derive(Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeCall {
    pub op: String,
    pub volume: HostVolume,
}

/// What a program prints.
#[derive(Default)]
struct Printed {
    path: String,
    bytes: i64,
    version: String,
}
}

/// A piece of work outside of the loop's values, answered by `VolumeDone` under its number.
#[derive(Clone, Debug, PartialEq)]
pub enum VolumeWork {
    /// Make a directory; what is not given stays as the system makes it.
    Mkdir {
        path: String,
        mode: u32,
        user: Option<u32>,
        group: Option<u32>,
    },
    Remove {
        path: String,
    },
    /// Only see whether there is a directory.
    Look {
        path: String,
    },
    /// Run a program of the operator with one argument.
    Run {
        program: String,
        op: &'static str,
        env: Vec<(String, String)>,
    },
    /// The program has had its time.
    End,
    /// Nothing: all rows before it are durable.
    Kept,
}

#[derive(Debug)]
struct Open {
    about: About,
    /// Monotonic nanoseconds.
    by: u64,
}

#[derive(Debug)]
enum About {
    /// Which version a program is.
    Fingerprint(String),
    Change {
        reply: u64,
        op: VolumeOp,
        volume: Box<HostVolume>,
    },
    /// The rows are on their way to the disk.
    Kept {
        reply: u64,
        body: Vec<u8>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Volumes {
    /// By id.
    made: BTreeMap<String, HostVolume>,
    /// Programs that answered, with their versions.
    plugins: BTreeMap<String, String>,
    open: BTreeMap<u64, Open>,
    last: u64,
}

/// The built-in plugin.
const MKDIR: &str = "mkdir";
/// Version of the built-in plugin, and of the protocol with programs.
const VERSION: &str = "0.0.1";
/// How long a program may take, nanoseconds.
const RUN_NS: u64 = 60_000_000_000;
/// Longest error of a program that is passed on, in characters.
const ERROR_CHARS_MAX: usize = 512;

type Reply = Result<Vec<u8>, ApiError>;

impl Volumes {
    /// Takes up what an earlier run of the agent left, and asks all programs who they are.
    pub(crate) fn begin(
        &mut self,
        made: Vec<HostVolume>,
        config: &ClientConfig,
        now: Now,
        out: &mut Vec<ClientEffect>,
    ) {
        for volume in made {
            self.made.insert(volume.id.clone(), volume);
        }
        for name in &config.volume_plugins {
            let about = About::Fingerprint(name.clone());
            let env = vec![("DHV_OPERATION".to_owned(), "fingerprint".to_owned())];
            let program = format!("{}/{name}", config.volume_plugin_dir);
            self.begin_work(VolumeWork::Run { program, op: "fingerprint", env }, about, now, out);
        }
    }

    fn begin_work(
        &mut self,
        work: VolumeWork,
        about: About,
        now: Now,
        out: &mut Vec<ClientEffect>,
    ) {
        self.last += 1;
        self.open.insert(self.last, Open { about, by: now.mono_ns + RUN_NS });
        out.push(ClientEffect::Volume(self.last, work));
    }

    /// What the node says of itself: its volumes and plugins beside those of the configuration.
    pub(crate) fn describe(&self, config: &ClientConfig, node: &mut Node) {
        node.host_volumes.clone_from(&config.node.host_volumes);
        for volume in self.made.values() {
            let entry = ClientHostVolumeConfig {
                id: volume.id.clone(),
                name: volume.name.clone(),
                path: volume.host_path.clone(),
                read_only: false,
            };
            node.host_volumes.insert(volume.name.clone(), entry);
        }
        let builtin = (MKDIR.to_owned(), VERSION.to_owned());
        for (name, version) in std::iter::once((&builtin.0, &builtin.1)).chain(&self.plugins) {
            node.attributes.insert(format!("plugins.host_volume.{name}.version"), version.clone());
        }
    }

    /// Monotonic nanoseconds at which some work has taken too long.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.open.values().map(|o| o.by).min()
    }

    /// Ends what has taken too long; its end then comes as every other.
    pub(crate) fn expire(&mut self, now: Now, out: &mut Vec<ClientEffect>) {
        for (token, open) in &mut self.open {
            if open.by <= now.mono_ns {
                open.by = u64::MAX;
                out.push(ClientEffect::Volume(*token, VolumeWork::End));
            }
        }
    }

    /// A request of the leader: an answer where there is one at once.
    pub(crate) fn ask(
        &mut self,
        reply: u64,
        body: &[u8],
        config: &ClientConfig,
        now: Now,
        out: &mut Vec<ClientEffect>,
    ) -> Option<Reply> {
        match self.begin_change(body, config) {
            Ok((op, volume, work)) => {
                let about = About::Change { reply, op, volume };
                self.begin_work(work, about, now, out);
                None
            }
            Err(text) => Some(Err(ApiError::failed(text))),
        }
    }

    fn begin_change(
        &self,
        body: &[u8],
        config: &ClientConfig,
    ) -> Result<(VolumeOp, Box<HostVolume>, VolumeWork), String> {
        let call: VolumeCall = json::decode(body).map_err(|e| e.to_string())?;
        let all = [VolumeOp::Create, VolumeOp::Register, VolumeOp::Delete];
        let op = all.into_iter().find(|op| op.name() == call.op).ok_or("no such operation")?;
        let mut volume = Box::new(call.volume);
        if !uuid::is_uuid(&volume.id) {
            return Err(format!("{:?} is no id of a volume", volume.id));
        }
        let old = self.made.get(&volume.id);
        if op == VolumeOp::Delete {
            // What lies where is known here; nothing is removed on someone's word.
            if let Some(old) = old {
                *volume = old.clone();
            }
            if volume.plugin_id.is_empty() || old.is_none() {
                return Ok((op, volume, VolumeWork::Kept));
            }
        } else if config.node.host_volumes.contains_key(&volume.name)
            || self.made.values().any(|v| v.name == volume.name && v.id != volume.id)
        {
            return Err(format!("the node has another volume with the name {:?}", volume.name));
        }
        if op == VolumeOp::Register {
            let path = volume.host_path.clone();
            return Ok((op, volume, VolumeWork::Look { path }));
        }
        let work = self.plugin_work(op, &volume, config)?;
        Ok((op, volume, work))
    }

    fn plugin_work(
        &self,
        op: VolumeOp,
        volume: &HostVolume,
        config: &ClientConfig,
    ) -> Result<VolumeWork, String> {
        let path = format!("{}/{}", config.volumes_dir, volume.id);
        if volume.plugin_id == MKDIR {
            let number = |name: &str| match volume.parameters.get(name).map(|n| n.parse()) {
                Some(Err(_)) => Err(format!("invalid value for {name:?}: not a number")),
                Some(Ok(n)) => Ok(Some(n)),
                None => Ok(None),
            };
            let mode = volume.parameters.get("mode").map_or("0700", String::as_str);
            let mode = u32::from_str_radix(mode, 8).ok().filter(|m| *m <= 0o7777);
            return Ok(match op {
                VolumeOp::Delete => VolumeWork::Remove { path },
                _ => VolumeWork::Mkdir {
                    path,
                    mode: mode.ok_or("invalid value for \"mode\": not an octal number")?,
                    user: number("uid")?,
                    group: number("gid")?,
                },
            });
        }
        if !self.plugins.contains_key(&volume.plugin_id) {
            return Err(format!("no such plugin {:?}", volume.plugin_id));
        }
        let program = format!("{}/{}", config.volume_plugin_dir, volume.plugin_id);
        let (min, max) = (volume.requested_capacity_min_bytes, volume.requested_capacity_max_bytes);
        let parameters = String::from_utf8_lossy(&json::encode(&volume.parameters)).into_owned();
        let mut env = vec![
            ("DHV_OPERATION", op.name().to_owned()),
            ("DHV_VOLUMES_DIR", config.volumes_dir.clone()),
            ("DHV_PLUGIN_DIR", config.volume_plugin_dir.clone()),
            ("DHV_NAMESPACE", volume.namespace.clone()),
            ("DHV_VOLUME_NAME", volume.name.clone()),
            ("DHV_VOLUME_ID", volume.id.clone()),
            ("DHV_NODE_ID", config.node.id.clone()),
            ("DHV_NODE_POOL", config.node.node_pool.clone()),
            ("DHV_CAPACITY_MIN_BYTES", min.to_string()),
            ("DHV_CAPACITY_MAX_BYTES", max.to_string()),
            ("DHV_PARAMETERS", parameters),
        ];
        if op == VolumeOp::Delete {
            env.push(("DHV_CREATED_PATH", volume.host_path.clone()));
        }
        let env = env.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        Ok(VolumeWork::Run { program, op: op.name(), env })
    }

    /// Some work is done. True where the node is another one now.
    pub(crate) fn done(
        &mut self,
        token: u64,
        result: Result<String, String>,
        config: &ClientConfig,
        now: Now,
        out: &mut Vec<ClientEffect>,
    ) -> bool {
        let Some(open) = self.open.remove(&token) else { return false };
        match open.about {
            About::Fingerprint(name) => {
                let version = result.ok().and_then(|text| printed(&text).ok()).map(|p| p.version);
                let Some(version) = version.filter(|v| !v.is_empty()) else { return false };
                self.plugins.insert(name, version);
                true
            }
            About::Kept { reply, body } => {
                out.push(ClientEffect::Reply(reply, Ok(body)));
                false
            }
            About::Change { reply, op, volume } => {
                let changed = match result.and_then(|text| changed(op, *volume, &text, config)) {
                    Ok(volume) => volume,
                    Err(text) => {
                        let text: String = text.trim().chars().take(ERROR_CHARS_MAX).collect();
                        out.push(ClientEffect::Reply(reply, Err(ApiError::failed(text))));
                        return false;
                    }
                };
                let key = format!("client/volume/{}", changed.id).into_bytes();
                if op == VolumeOp::Delete {
                    out.push(ClientEffect::LocalDelete(key));
                    self.made.remove(&changed.id);
                } else {
                    out.push(ClientEffect::LocalPut(key, json::encode(&changed)));
                    self.made.insert(changed.id.clone(), changed.clone());
                }
                let call = VolumeCall { op: op.name().to_owned(), volume: changed };
                let about = About::Kept { reply, body: json::encode(&call) };
                self.begin_work(VolumeWork::Kept, about, now, out);
                true
            }
        }
    }
}

/// The volume as it is once the work is done.
fn changed(
    op: VolumeOp,
    mut volume: HostVolume,
    text: &str,
    config: &ClientConfig,
) -> Result<HostVolume, String> {
    if op == VolumeOp::Create && volume.plugin_id == MKDIR {
        volume.host_path = format!("{}/{}", config.volumes_dir, volume.id);
        volume.capacity_bytes = 0;
    } else if op == VolumeOp::Create {
        let said = printed(text)?;
        if !said.path.starts_with('/') {
            return Err(format!("the plugin made no absolute path: {:?}", said.path));
        }
        volume.host_path = said.path;
        volume.capacity_bytes = said.bytes;
    }
    Ok(volume)
}

fn printed(text: &str) -> Result<Printed, String> {
    json::decode(text.as_bytes()).map_err(|e| format!("the plugin's output is not understood: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11111111-0000-4000-8000-000000000000";

    fn config() -> ClientConfig {
        ClientConfig {
            volumes_dir: "/v".to_owned(),
            volume_plugin_dir: "/p".to_owned(),
            volume_plugins: vec!["lv".to_owned()],
            ..ClientConfig::default()
        }
    }

    fn call(op: &str, plugin: &str) -> Vec<u8> {
        let volume = HostVolume {
            id: ID.to_owned(),
            name: "data".to_owned(),
            plugin_id: plugin.to_owned(),
            ..HostVolume::default()
        };
        json::encode(&VolumeCall { op: op.to_owned(), volume })
    }

    fn at(mono_ns: u64) -> Now {
        Now { mono_ns, wall_ns: 0 }
    }

    #[test]
    fn a_program_makes_a_volume_only_once_it_is_known() {
        let (config, mut volumes, mut out) = (config(), Volumes::default(), Vec::new());
        volumes.begin(Vec::new(), &config, at(0), &mut out);
        let refused = volumes.ask(1, &call("create", "lv"), &config, at(0), &mut Vec::new());
        assert_eq!(refused.unwrap().unwrap_err().text, "no such plugin \"lv\"");
        assert!(volumes.done(1, Ok("{\"version\":\"1\"}".to_owned()), &config, at(0), &mut out));
        assert!(volumes.ask(1, &call("create", "lv"), &config, at(0), &mut out).is_none());
        let Some(ClientEffect::Volume(token, VolumeWork::Run { program, env, .. })) = out.last()
        else {
            panic!("{out:?}")
        };
        assert_eq!(program, "/p/lv");
        assert!(env.contains(&("DHV_VOLUME_NAME".to_owned(), "data".to_owned())));
        let token = *token;
        assert!(!volumes.done(token, Ok("{\"path\":\"x\"}".to_owned()), &config, at(0), &mut out));
        assert!(matches!(out.last(), Some(ClientEffect::Reply(1, Err(_)))), "no absolute path");
    }

    #[test]
    fn a_volume_counts_once_its_row_is_durable() {
        let (config, mut volumes, mut out) = (config(), Volumes::default(), Vec::new());
        assert!(volumes.ask(7, &call("create", "mkdir"), &config, at(0), &mut out).is_none());
        assert!(volumes.done(1, Ok(String::new()), &config, at(0), &mut out));
        let kinds: Vec<bool> =
            out.iter().map(|e| matches!(e, ClientEffect::LocalPut(..))).collect();
        assert_eq!(kinds, [false, true, false], "the answer waits: {out:?}");
        assert!(!volumes.done(2, Ok(String::new()), &config, at(0), &mut out));
        assert!(matches!(out.last(), Some(ClientEffect::Reply(7, Ok(_)))));
        let mut node = Node::default();
        volumes.describe(&config, &mut node);
        assert_eq!(node.host_volumes.get("data").unwrap().path, format!("/v/{ID}"));
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        let (config, mut volumes, mut out) = (config(), Volumes::default(), Vec::new());
        volumes.begin(Vec::new(), &config, at(0), &mut out);
        assert_eq!(volumes.deadline(), Some(RUN_NS));
        volumes.expire(at(RUN_NS), &mut out);
        assert_eq!(out.last(), Some(&ClientEffect::Volume(1, VolumeWork::End)));
    }

    #[test]
    fn ids_and_modes_are_looked_at() {
        let (config, mut volumes) = (config(), Volumes::default());
        let mut ask = |change: fn(&mut HostVolume)| {
            let mut c: VolumeCall = json::decode(&call("create", "mkdir")).unwrap();
            change(&mut c.volume);
            volumes.ask(1, &json::encode(&c), &config, at(0), &mut Vec::new())
        };
        for bad in [
            (|v: &mut HostVolume| v.id = "../../etc".to_owned()) as fn(&mut HostVolume),
            |v| drop(v.parameters.insert("mode".to_owned(), "9".to_owned())),
            |v| drop(v.parameters.insert("uid".to_owned(), "root".to_owned())),
            |v| v.plugin_id = "../../bin/sh".to_owned(),
        ] {
            assert!(matches!(ask(bad), Some(Err(_))));
        }
        assert!(ask(|_| {}).is_none());
    }
}
