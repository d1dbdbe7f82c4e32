//! Configuration as read: values by key, before they mean anything.
//!
//! A file or the command line becomes a [`Tree`]; trees are laid over each other in order, and the
//! result is read by `config.rs`. The rules come from HCL 1, which the reference reads JSON with
//! too: a single block and a list of one are the same, keys have no case, labels do.

use super::config_keys::{self, FREE_BLOCKS, HOST_NETWORK, HOST_VOLUME, KEYS, Key, Kind};
use crate::stdx::json::Any;
use crate::stdx::{BTreeMap, BTreeSet, duration, parse_bool, sort};

/// One value of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    List(Vec<String>),
    Strings(BTreeMap<String, String>),
}

/// A labelled block: its attributes as they were written.
pub(super) type Block = BTreeMap<String, Any>;

/// What is wrong in a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mistake {
    /// Dotted path of the key that it is about, as it was written; empty: the document.
    pub(super) key: String,
    pub(super) text: String,
}

fn mistake(key: impl Into<String>, text: impl Into<String>) -> Mistake {
    Mistake { key: key.into(), text: text.into() }
}

/// What one source sets, or several laid over each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    values: BTreeMap<&'static str, Value>,
    /// `plugin "name" {…}`.
    pub(super) plugins: BTreeMap<String, Block>,
    /// `host_volume "name" {…}`.
    pub(super) host_volumes: BTreeMap<String, Block>,
    /// Blocks that ask for something this version does not have.
    pub(super) absent: BTreeSet<&'static str>,
    /// `consul` and `vault`, by (kind, name).
    pub(super) outside: BTreeMap<(&'static str, String), Block>,
    /// Blocks whose content nobody reads, and whether they ask to be enabled.
    pub(super) free: BTreeMap<&'static str, bool>,
}

impl Tree {
    /// Reads the tree of one file.
    pub(super) fn read(document: &Any) -> Result<Self, Mistake> {
        let mut tree = Self::default();
        for object in objects(document).ok_or_else(|| mistake("", "the document is no object"))? {
            tree.block("", object)?;
        }
        Ok(tree)
    }

    /// Sets a key from text, as a flag does. An unknown key is an error of the caller's table.
    pub(super) fn set(&mut self, name: &'static str, text: &str) -> Result<(), String> {
        let key = config_keys::find(name).ok_or_else(|| format!("unknown key {name}"))?;
        let value = match key.kind {
            Kind::List(_) | Kind::ListNull | Kind::ListAppend => {
                let items = text.split(',').map(|s| s.trim().to_owned());
                Value::List(items.filter(|s| !s.is_empty()).collect())
            }
            Kind::Strings => {
                let (k, v) = text.split_once('=').unwrap_or((text, ""));
                Value::Strings(BTreeMap::from([(k.to_owned(), v.to_owned())]))
            }
            _ => parse(key, &Any::Text(text.to_owned()))?,
        };
        let over = Self { values: BTreeMap::from([(key.name, value)]), ..Self::default() };
        self.overlay(over);
        Ok(())
    }

    /// Lays `over` on top, by the rule of each key's kind.
    pub(super) fn overlay(&mut self, over: Self) {
        for (name, value) in over.values {
            let kind = config_keys::find(name).map(|k| k.kind);
            match (self.values.get_mut(name), value) {
                (Some(Value::Strings(old)), Value::Strings(new)) => old.extend(new),
                (Some(Value::List(old)), Value::List(new)) if kind == Some(Kind::ListAppend) => {
                    old.extend(new);
                }
                (_, value) => {
                    if !is_unset(kind, &value) {
                        self.values.insert(name, value);
                    }
                }
            }
        }
        for (name, block) in over.plugins {
            self.plugins.entry(name).or_default().extend(block);
        }
        for (name, block) in over.host_volumes {
            self.host_volumes.entry(name).or_default().extend(block);
        }
        self.absent.extend(over.absent);
        for (name, block) in over.outside {
            self.outside.entry(name).or_default().extend(block);
        }
        for (name, enabled) in over.free {
            *self.free.entry(name).or_default() |= enabled;
        }
    }

    /// The value that a source gave.
    pub(super) fn given(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Given text, or the default.
    pub(super) fn text(&self, name: &str) -> &str {
        match (self.given(name), config_keys::find(name).map(|k| k.kind)) {
            (Some(Value::Text(t)), _) => t,
            (_, Some(Kind::Text(d) | Kind::Nanos(d) | Kind::NanosText(d))) => d,
            _ => "",
        }
    }

    /// Given number, or the default; 0 for a [`Kind::MaybeInt`] that nobody set.
    pub(super) fn int(&self, name: &str) -> i64 {
        match (self.given(name), config_keys::find(name).map(|k| k.kind)) {
            (Some(Value::Int(n)), _) => *n,
            (_, Some(Kind::Int(d) | Kind::Count(d))) => d,
            _ => 0,
        }
    }

    /// As [`Tree::int`], for fractions.
    pub(super) fn float(&self, name: &str) -> f64 {
        match (self.given(name), config_keys::find(name).map(|k| k.kind)) {
            (Some(Value::Float(n)), _) => *n,
            (_, Some(Kind::Float(d))) => d,
            _ => 0.0,
        }
    }

    /// Given switch, or the default.
    pub(super) fn bool(&self, name: &str) -> bool {
        match (self.given(name), config_keys::find(name).map(|k| k.kind)) {
            (Some(Value::Bool(b)), _) => *b,
            (_, Some(Kind::Switch(d))) => d,
            _ => false,
        }
    }

    /// Given list, or the default.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        match (self.given(name), config_keys::find(name).map(|k| k.kind)) {
            (Some(Value::List(l)), _) => l.clone(),
            (_, Some(Kind::List(d))) => d.iter().map(|s| (*s).to_owned()).collect(),
            _ => Vec::new(),
        }
    }

    /// Given map; empty when nobody set it.
    pub(super) fn strings(&self, name: &str) -> BTreeMap<String, String> {
        if let Some(Value::Strings(m)) = self.given(name) { m.clone() } else { BTreeMap::new() }
    }

    /// Reads the attributes of one block into this tree. `prefix` is empty or ends in a dot.
    fn block(&mut self, prefix: &str, object: &BTreeMap<String, Any>) -> Result<(), Mistake> {
        let mut unexpected = Vec::new();
        for (written, value) in object {
            if *value == Any::Null {
                continue;
            }
            let name = format!("{prefix}{}", written.to_ascii_lowercase());
            if let Some(key) = config_keys::find(&name) {
                let value = parse(key, value).map_err(|text| mistake(&name, text))?;
                let over = Self { values: BTreeMap::from([(key.name, value)]), ..Self::default() };
                self.overlay(over);
            } else if config_keys::is_block(&name) {
                let inner = objects(value);
                let not_block = || mistake(&name, format!("{name} is not a block"));
                for inner in inner.ok_or_else(not_block)? {
                    self.block(&format!("{name}."), inner)?;
                }
            } else if !self.special(&name, value)? {
                unexpected.push(written.as_str());
            }
        }
        let Some(first) = unexpected.first() else { return Ok(()) };
        let (gap, names) = (if prefix.is_empty() { "" } else { " " }, unexpected.join(", "));
        let text = format!("{}{gap}unexpected keys {names}", prefix.trim_end_matches('.'));
        Err(mistake(format!("{prefix}{first}"), text))
    }

    /// Blocks with labels and blocks of free form. False: there is no such block.
    fn special(&mut self, name: &str, value: &Any) -> Result<bool, Mistake> {
        let not_block = || mistake(name, format!("{name} is not a block"));
        match name {
            "plugin" | "client.host_volume" | "client.host_network" => {
                for outer in objects(value).ok_or_else(not_block)? {
                    for (label, inner) in outer {
                        let block = merged(inner).ok_or_else(not_block)?;
                        self.labelled(name, label, block)?;
                    }
                }
            }
            // Labels only; what a fingerprinter takes is its own business.
            "client.fingerprint" => drop(objects(value).ok_or_else(not_block)?),
            "consul" | "vault" => {
                let kind = if name == "consul" { "consul" } else { "vault" };
                for object in objects(value).ok_or_else(not_block)? {
                    let block: Block = sort::gather(
                        object.iter().map(|(k, v)| (k.to_ascii_lowercase(), v.clone())),
                    );
                    let label = block.get("name").and_then(Any::as_str).unwrap_or("default");
                    let key = (kind, label.to_owned());
                    self.outside.entry(key).or_default().extend(block);
                }
            }
            _ => {
                let Some(kind) = FREE_BLOCKS.iter().find(|b| **b == name) else {
                    return Ok(false);
                };
                let on = objects(value).ok_or_else(not_block)?.iter().any(|o| {
                    o.iter()
                        .any(|(k, v)| k.eq_ignore_ascii_case("enabled") && *v == Any::Bool(true))
                });
                *self.free.entry(kind).or_default() |= on;
            }
        }
        Ok(true)
    }

    fn labelled(&mut self, name: &str, label: &str, block: Block) -> Result<(), Mistake> {
        let allowed: &[&str] = match name {
            "plugin" => &["args", "config"],
            "client.host_volume" => HOST_VOLUME,
            _ => HOST_NETWORK,
        };
        let odd: Vec<&str> =
            block.keys().map(String::as_str).filter(|k| !allowed.contains(k)).collect();
        if let Some(first) = odd.first() {
            let text = format!("{name} {label} unexpected keys {}", odd.join(", "));
            return Err(mistake(format!("{name}.{first}"), text));
        }
        match name {
            "plugin" => self.plugins.entry(label.to_owned()).or_default().extend(block),
            "client.host_volume" => {
                self.host_volumes.entry(label.to_owned()).or_default().extend(block);
            }
            _ => drop(self.absent.insert("client.host_network")),
        }
        Ok(())
    }

    /// Keys that were given and ask for `wanted`.
    pub(super) fn given_with(
        &self,
        wanted: config_keys::Use,
    ) -> impl Iterator<Item = &'static str> {
        let asks = move |k: &&Key| k.used == wanted && self.values.contains_key(k.name);
        KEYS.iter().filter(asks).map(|k| k.name)
    }
}

/// A block as written once, or as a list of blocks. `None` where it is neither.
pub(super) fn objects(value: &Any) -> Option<Vec<&BTreeMap<String, Any>>> {
    match value {
        Any::Map(m) => Some(vec![m]),
        Any::List(l) => {
            l.iter().map(|v| if let Any::Map(m) = v { Some(m) } else { None }).collect()
        }
        Any::Null | Any::Bool(_) | Any::Number(_) | Any::Text(_) => None,
    }
}

/// The blocks of one label as one, keys in lower case.
pub(super) fn merged(value: &Any) -> Option<Block> {
    let mut out = Block::new();
    for object in objects(value)? {
        out.extend(object.iter().map(|(k, v)| (k.to_ascii_lowercase(), v.clone())));
    }
    Some(out)
}

/// Text of a scalar, as HCL 1 turns any of them into a string.
pub(super) fn scalar(value: &Any) -> Option<String> {
    match value {
        Any::Text(t) => Some(t.clone()),
        Any::Number(n) => Some(n.to_string()),
        Any::Bool(b) => Some(b.to_string()),
        Any::Null | Any::List(_) | Any::Map(_) => None,
    }
}

/// A value that says no more than that nobody set it: it replaces nothing.
fn is_unset(kind: Option<Kind>, value: &Value) -> bool {
    match value {
        Value::Text(t) => t.is_empty(),
        Value::Int(n) => *n == 0 && !matches!(kind, Some(Kind::Count(_) | Kind::MaybeInt)),
        Value::Float(f) => *f == 0.0,
        Value::Bool(b) => !*b && kind == Some(Kind::Bool),
        Value::List(l) => l.is_empty(),
        Value::Strings(_) => false,
    }
}

fn parse(key: &Key, value: &Any) -> Result<Value, String> {
    let wrong = |want: &str| format!("{}: expected {want}", key.name);
    // A list of one scalar is that scalar.
    let one = match value {
        Any::List(l) if l.len() == 1 => &l[0],
        _ => value,
    };
    match key.kind {
        Kind::Text(_) | Kind::Secret => scalar(one).map(Value::Text).ok_or_else(|| wrong("text")),
        Kind::Int(_) | Kind::Count(_) | Kind::MaybeInt => {
            integer(one).map(Value::Int).ok_or_else(|| wrong("a whole number"))
        }
        Kind::Float(_) => match one {
            Any::Number(n) => Some(*n),
            Any::Text(t) => t.parse().ok(),
            _ => None,
        }
        .filter(|n: &f64| n.is_finite())
        .map(Value::Float)
        .ok_or_else(|| wrong("a number")),
        Kind::Bool | Kind::Switch(_) | Kind::MaybeBool => {
            boolean(one).map(Value::Bool).ok_or_else(|| wrong("true or false"))
        }
        Kind::Nanos(_) | Kind::NanosText(_) => {
            let text = scalar(one).ok_or_else(|| wrong("a duration such as \"30s\""))?;
            if !text.is_empty() && duration::parse(&text).is_none() {
                return Err(format!("{} can't parse time duration {text}", key.name));
            }
            Ok(Value::Text(text))
        }
        Kind::List(_) | Kind::ListNull | Kind::ListAppend => match value {
            Any::List(l) => l.iter().map(scalar).collect(),
            _ => scalar(value).map(|s| vec![s]),
        }
        .map(Value::List)
        .ok_or_else(|| wrong("a list of texts")),
        Kind::Strings => {
            let mut out = BTreeMap::new();
            for object in objects(value).ok_or_else(|| wrong("a map of texts"))? {
                for (k, v) in object {
                    out.insert(k.clone(), scalar(v).ok_or_else(|| wrong("a map of texts"))?);
                }
            }
            Ok(Value::Strings(out))
        }
        Kind::Fixed(_) => Err(wrong("nothing")),
    }
}

/// Whole numbers, also as text.
fn integer(value: &Any) -> Option<i64> {
    match value {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        Any::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => Some(*n as i64),
        Any::Text(t) => t.parse().ok(),
        _ => None,
    }
}

/// Truth values, also as text in the forms that Go's `ParseBool` takes.
pub(super) fn boolean(value: &Any) -> Option<bool> {
    match value {
        Any::Bool(b) => Some(*b),
        Any::Text(t) => parse_bool(t),
        _ => None,
    }
}
