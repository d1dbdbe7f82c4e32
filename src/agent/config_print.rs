//! The configuration as `/v1/agent/self` shows it: names of the reference, secrets redacted.

use super::config::{Host, Settings};
use super::config_keys::{KEYS, Kind};
use super::config_tree::Tree;
use crate::stdx::json::Any;
use crate::stdx::{BTreeMap, duration};

/// The printed form: a tree of objects, keys in byte order.
enum Printed {
    Leaf(String),
    Object(BTreeMap<String, Self>),
}

impl Printed {
    fn put(&mut self, path: &str, json: String) {
        let (head, rest) = path.split_once('.').map_or((path, None), |(h, r)| (h, Some(r)));
        if let Self::Leaf(_) = self {
            *self = Self::Object(BTreeMap::new());
        }
        let Self::Object(map) = self else { return };
        match rest {
            None => drop(map.insert(head.to_owned(), Self::Leaf(json))),
            Some(rest) => map
                .entry(head.to_owned())
                .or_insert_with(|| Self::Object(BTreeMap::new()))
                .put(rest, json),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Leaf(json) => out.extend_from_slice(json.as_bytes()),
            Self::Object(map) => {
                out.push(b'{');
                for (i, (name, value)) in map.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(json(name).as_bytes());
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// Any of our plain values as JSON.
fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// A value by its kind, as the reference shows it.
fn value_json(tree: &Tree, name: &str, kind: Kind) -> String {
    let given = tree.given(name).is_some();
    match kind {
        Kind::Text(_) | Kind::NanosText(_) => json(tree.text(name)),
        Kind::Secret if given => json("<redacted>"),
        Kind::Secret => json(""),
        Kind::MaybeInt | Kind::MaybeBool if !given => "null".to_owned(),
        Kind::Int(_) | Kind::Count(_) | Kind::MaybeInt => tree.int(name).to_string(),
        Kind::Float(_) => json(&tree.float(name)),
        Kind::Bool | Kind::Switch(_) | Kind::MaybeBool => tree.bool(name).to_string(),
        Kind::Nanos(_) => duration::parse(tree.text(name)).unwrap_or(0).to_string(),
        Kind::ListNull | Kind::ListAppend if !given => "null".to_owned(),
        Kind::List(_) | Kind::ListNull | Kind::ListAppend => json(&tree.list(name)),
        Kind::Strings => json(&tree.strings(name)),
        Kind::Fixed(text) => text.to_owned(),
    }
}

/// The `config` object of `/v1/agent/self`.
pub(super) fn print(tree: &Tree, host: &Host, settings: &Settings) -> Vec<u8> {
    let mut root = Printed::Object(BTreeMap::new());
    for key in KEYS.iter().filter(|k| !k.go.is_empty()) {
        root.put(key.go, value_json(tree, key.name, key.kind));
    }
    if let Some(given) = &settings.server.scheduling {
        root.put("Server.DefaultSchedulerConfig", json(given));
    }
    root.put("DevMode", host.dev.to_string());
    root.put("ConfigPaths", json(&host.paths));
    root.put("Files", json(&host.files));
    root.put("NodeName", json(&settings.node_name));
    root.put("Server.Enabled", settings.server.enabled.to_string());
    root.put("Client.Enabled", settings.client.enabled.to_string());
    for (name, bound, told) in [
        ("HTTP", settings.http[0], settings.advertise_http),
        ("RPC", settings.rpc, settings.advertise_rpc),
        ("Serf", settings.serf, settings.advertise_serf),
    ] {
        root.put(&format!("Addresses.{name}"), json(&bound.ip().to_string()));
        root.put(&format!("AdvertiseAddrs.{name}"), json(&told.to_string()));
    }
    let plugin = |(name, config): (&String, &Any)| {
        format!("{{\"Args\":null,\"Config\":{},\"Name\":{}}}", json(config), json(name))
    };
    let plugins: Vec<String> = settings.plugins.iter().map(plugin).collect();
    root.put("Plugins", format!("[{}]", plugins.join(",")));
    root.put("Consuls", "[]".to_owned());
    root.put("Vaults", "[]".to_owned());
    let mut out = Vec::new();
    root.write(&mut out);
    out
}
