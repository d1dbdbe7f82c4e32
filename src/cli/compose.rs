//! `job convert`: a compose file as a job, as far as one can say what the other does.
//!
//! Each service becomes a group with one task. What has no counterpart is a mistake, told with its
//! place; what means something a little different, or nothing, is a note.

use serde_json::Value;

use super::args::Args;
use super::format::plain;
use super::{Session, Stop, system};
use crate::hcl::format::format as usual_form;
use crate::hcl::yaml;
use crate::stdx::duration;

/// Prints the job of a compose file, or writes it with `-out`.
pub(super) fn run(session: &mut Session<'_>, args: &Args) -> Result<i32, Stop> {
    let path = args.at(0);
    let text = String::from_utf8(system::read(path)?)
        .map_err(|_| format!("{path}: it is no text in UTF-8"))?;
    let tree = yaml::parse(&text).map_err(|(line, why)| format!("{path}:{line}: {why}"))?;
    let raw = match args.value("driver") {
        None | Some("docker") => false,
        Some("raw_exec") => true,
        Some(_) => return Err(Stop::Usage("-driver is docker or raw_exec".to_owned())),
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let mut convert = Convert { raw, folder, ..Convert::default() };
    let job = convert.job(&tree, args.value("name"));
    if !convert.wrong.is_empty() {
        for text in &convert.wrong {
            session.warn(&format!("{path}: {text}"));
        }
        return Ok(1);
    }
    for note in &convert.notes {
        session.warn(&format!("note: {note}"));
    }
    match args.value("out") {
        Some(out) => {
            system::create(out, job.as_bytes())?;
            session.say(&format!("Job file written to {out}"));
            session.hint(&format!("Look at what it would do: vardo job plan {out}"));
        }
        None => session.write(job.as_bytes()),
    }
    Ok(0)
}

#[derive(Default)]
struct Convert {
    raw: bool,
    /// Where the files lie that the file names.
    folder: String,
    wrong: Vec<String>,
    notes: Vec<String>,
}

/// Members of a mapping; none of anything else.
fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A string of HCL.
fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    json.replace("${", "$${").replace("%{", "%%{")
}

fn list(texts: &[String]) -> String {
    let all: Vec<String> = texts.iter().map(|t| quoted(t)).collect();
    format!("[{}]", all.join(", "))
}

/// A name of a job's parts.
fn name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// The words of a command line, by a shell's quotes.
fn words(text: &str) -> Vec<String> {
    let (mut out, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => (quote, begun) = (Some(c), true),
            (Some(q), _) if q == c => quote = None,
            (None, c) if c.is_whitespace() => {
                if begun {
                    out.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            _ => {
                word.push(c);
                begun = true;
            }
        }
    }
    out.extend(begun.then_some(word));
    out
}

/// `512M`, `1.5gb` or bytes, in MiB, rounded up.
fn mebibytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: f64 = match lower.get(digits.len()..)?.trim_end_matches('b') {
        "" => 1.0,
        "k" | "ki" => 1024.0,
        "m" | "mi" => 1_048_576.0,
        "g" | "gi" => 1_073_741_824.0,
        _ => return None,
    };
    let bytes = digits.trim().parse::<f64>().ok().filter(|n| (0.0..1e15).contains(n))? * unit;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in that range")]
    Some((bytes / 1_048_576.0).ceil() as u64)
}

impl Convert {
    fn refuse(&mut self, at: &str, why: &str) {
        self.wrong.push(format!("{at}: {why}"));
    }

    fn note(&mut self, at: &str, what: &str) {
        self.notes.push(format!("{at}: {what}"));
    }

    fn job(&mut self, tree: &Value, wanted: Option<&str>) -> String {
        let id = wanted.or_else(|| tree.get("name")?.as_str()).unwrap_or("compose").to_owned();
        let mut out = format!("job {} {{\n", quoted(&name(&id)));
        for (key, value) in members(tree) {
            match key.as_str() {
                "version" | "name" | "services" => {}
                "volumes" => {
                    for (volume, _) in members(value) {
                        let at = format!("volumes.{volume}");
                        self.note(&at, "volumes are kept by the driver of each node");
                    }
                }
                "networks" => self.note("networks", "groups find each other by services"),
                _ if key.starts_with("x-") => {}
                _ => self.refuse(key, "has no counterpart, take it out"),
            }
        }
        let services = tree.get("services").unwrap_or(&Value::Null);
        if members(services).next().is_none() {
            self.refuse("services", "the file has none");
        }
        for (service, spec) in members(services) {
            out.push_str(&self.group(service, spec));
        }
        out.push_str("}\n");
        usual_form(&out)
    }

    /// A text with the variables of the environment put in, as compose does.
    fn text(&mut self, at: &str, value: &Value) -> String {
        let text = plain(value);
        let (mut out, mut rest) = (String::new(), text.as_str());
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let word = |t: &str| t.find(|c: char| !c.is_alphanumeric() && c != '_');
            let (inner, left) = match after.strip_prefix('{').and_then(|a| a.split_once('}')) {
                Some(split) => split,
                None => after.split_at(word(after).unwrap_or(after.len())),
            };
            let (variable, other) = inner.split_at(word(inner).unwrap_or(inner.len()));
            let or = other.strip_prefix(":-").or_else(|| other.strip_prefix('-'));
            let must = other.strip_prefix(":?").or_else(|| other.strip_prefix('?'));
            let known = other.is_empty() || or.is_some() || must.is_some();
            match system::env(variable).or_else(|| or.map(str::to_owned)) {
                Some(value) if known => out.push_str(&value),
                Some(_) => self.refuse(at, &format!("${{{inner}}} is not understood")),
                None => {
                    let said = must.filter(|m| !m.is_empty()).map(|m| format!(" ({m})"));
                    let said = said.unwrap_or_default();
                    let why = format!("${{{inner}}} has no value{said}: set {variable}");
                    self.refuse(at, &why);
                }
            }
            rest = left;
        }
        out.push_str(rest);
        out
    }

    /// What a list holds, or one of which nothing is written; nothing else will do.
    fn items<'v>(&mut self, at: &str, value: &'v Value) -> &'v [Value] {
        match value {
            Value::Array(items) => return items,
            Value::Null => {}
            _ => self.refuse(at, "is no list"),
        }
        &[]
    }

    /// A list of texts, or a line of words.
    fn texts(&mut self, at: &str, value: &Value) -> Vec<String> {
        match value {
            Value::Array(all) => all.iter().map(|v| self.text(at, v)).collect(),
            Value::Null => Vec::new(),
            other => {
                let line = self.text(at, other);
                words(&line)
            }
        }
    }

    /// The variables of files: lines of `key=value`, later files over earlier ones.
    fn env_file(&mut self, at: &str, value: &Value) -> Vec<(String, String)> {
        let mut out = Vec::new();
        let one = [value.clone()];
        for file in value.as_array().map_or(one.as_slice(), Vec::as_slice) {
            let named = self.text(at, file.get("path").unwrap_or(file));
            let path = match self.folder.as_str() {
                folder if !folder.is_empty() && !named.starts_with('/') => {
                    format!("{folder}/{named}")
                }
                _ => named,
            };
            let bytes = match system::read(&path) {
                Ok(bytes) => bytes,
                Err(_) if file.get("required") == Some(&Value::Bool(false)) => continue,
                Err(why) => {
                    self.refuse(at, &why);
                    continue;
                }
            };
            for line in String::from_utf8_lossy(&bytes).lines() {
                let line = line.trim();
                let line = line.strip_prefix("export ").unwrap_or(line);
                let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#'))
                else {
                    continue;
                };
                let value = value.trim();
                let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
                let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
                put(&mut out, key.trim(), value.to_owned());
            }
        }
        out
    }

    /// Variables: one without a value has that of the environment, where it is set there.
    fn environment(&mut self, at: &str, value: &Value) -> Vec<(String, String)> {
        let mut out = self.map(at, value);
        let bare = |key: &str| match value {
            Value::Array(all) => all.iter().any(|v| v.as_str() == Some(key)),
            other => other.get(key).is_some_and(Value::is_null),
        };
        out.retain_mut(|(key, value)| {
            if !bare(key) {
                return true;
            }
            let here = system::env(key);
            let is_set = here.is_some();
            *value = here.unwrap_or_default();
            is_set
        });
        out
    }

    /// A check by a program: of the words of `CMD`, or of a line for the shell.
    fn healthcheck(&mut self, at: &str, value: &Value) -> Option<Check> {
        let test = value.get("test").unwrap_or(&Value::Null);
        let first = test.as_array().and_then(|a| a.first()).and_then(Value::as_str);
        if value.get("disable") == Some(&Value::Bool(true)) || first == Some("NONE") {
            return None;
        }
        let words = match test {
            Value::String(_) => vec!["CMD-SHELL".to_owned(), self.text(at, test)],
            _ => self.texts(at, test),
        };
        let program = match words.split_first() {
            Some((kind, rest)) if kind == "CMD" && !rest.is_empty() => rest.to_vec(),
            Some((kind, rest)) if kind == "CMD-SHELL" && !rest.is_empty() => {
                vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")]
            }
            _ => {
                self.refuse(at, "has no test that begins with CMD or CMD-SHELL");
                return None;
            }
        };
        let mut out = Check { program, interval: "30s".to_owned(), timeout: "30s".to_owned() };
        for (key, value) in members(value) {
            let at = format!("{at}.{key}");
            let text = if key == "test" { String::new() } else { self.text(&at, value) };
            match key.as_str() {
                "test" | "disable" => {}
                "interval" | "timeout" if duration::parse(&text).is_none() => {
                    self.refuse(&at, "is no duration such as 30s");
                }
                "interval" => out.interval = text,
                "timeout" => out.timeout = text,
                "retries" | "start_period" | "start_interval" => {
                    self.note(&at, "is left out: to restart what fails, write check_restart");
                }
                _ => self.refuse(&at, "has no counterpart, take it out"),
            }
        }
        Some(out)
    }

    /// A mapping, or a list of `key=value`.
    fn map(&mut self, at: &str, value: &Value) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for (key, value) in members(value) {
            out.push((key.clone(), self.text(at, value)));
        }
        for pair in value.as_array().into_iter().flatten() {
            let pair = self.text(at, pair);
            let (key, value) = pair.split_once('=').unwrap_or((&pair, ""));
            out.push((key.to_owned(), value.to_owned()));
        }
        out
    }

    fn group(&mut self, service: &str, spec: &Value) -> String {
        let path = format!("services.{service}");
        let mut group = Group::default();
        for (key, value) in members(spec) {
            let at = format!("{path}.{key}");
            self.member(&mut group, &at, key, value);
        }
        let mut program = std::mem::take(&mut group.entrypoint);
        program.append(&mut group.command);
        let is_empty = group.image.is_empty();
        if self.raw {
            match program.split_first() {
                Some((command, args)) => {
                    group.config.push(format!("command = {}", quoted(command)));
                    group.config.push(format!("args = {}", list(args)));
                }
                None => self.refuse(&path, "raw_exec needs a command, and the file has none"),
            }
        } else if is_empty {
            self.refuse(&path, "an image is missing");
        } else {
            let text = "the driver docker is not part of this version: convert with \
                        -driver=raw_exec, or run the job where it is";
            self.note(&path, text);
            group.config.push(format!("image = {}", quoted(&group.image)));
            if let Some((command, args)) = program.split_first() {
                group.config.push(format!("command = {}", quoted(command)));
                group.config.push(format!("args = {}", list(args)));
            }
        }
        group.print(&name(service), if self.raw { "raw_exec" } else { "docker" })
    }

    fn member(&mut self, group: &mut Group, at: &str, key: &str, value: &Value) {
        match key {
            "image" => group.image = self.text(at, value),
            "command" => group.command = self.texts(at, value),
            "entrypoint" => group.entrypoint = self.texts(at, value),
            "environment" => {
                for (key, value) in self.environment(at, value) {
                    put(&mut group.env, &key, value);
                }
            }
            "env_file" => {
                // What the file itself says is stronger, wherever it stands.
                let own = std::mem::replace(&mut group.env, self.env_file(at, value));
                for (key, value) in own {
                    put(&mut group.env, &key, value);
                }
            }
            "labels" => group.meta = self.map(at, value),
            "ports" => {
                for port in self.items(at, value) {
                    self.port(group, at, port);
                }
            }
            "expose" => {
                for port in self.items(at, value) {
                    let to = self.text(at, port);
                    group.port(&to, None);
                }
            }
            "volumes" if self.raw => self.refuse(
                at,
                "raw_exec sees the node's own files: let the program use those and take this \
                 out, or write a volume_mount into the job and see 'vardo volume init'",
            ),
            "volumes" => {
                let mut all = Vec::new();
                for volume in self.items(at, value) {
                    if volume.is_object() {
                        return self.refuse(at, "write volumes in the short form");
                    }
                    all.push(self.text(at, volume));
                }
                group.config.push(format!("volumes = {}", list(&all)));
            }
            "working_dir" => {
                let text = self.text(at, value);
                group.config.push(format!("work_dir = {}", quoted(&text)));
            }
            "user" => group.user = self.text(at, value),
            "stop_signal" => group.kill_signal = self.text(at, value),
            "stop_grace_period" => {
                let text = self.text(at, value);
                match duration::parse(&text) {
                    Some(_) => group.kill_timeout = text,
                    None => self.refuse(at, "is no duration such as 30s"),
                }
            }
            "restart" => self.restart(group, at, value),
            "mem_limit" => self.memory(group, at, value),
            "cpus" => self.cpus(group, at, value),
            "deploy" => self.deploy(group, at, value),
            "depends_on" => {
                self.note(at, "groups start together: let the program wait, or try again");
            }
            "healthcheck" => group.check = self.healthcheck(at, value),
            "networks" | "container_name" | "hostname" | "logging" | "init" | "tty" => {
                self.note(at, "is left out");
            }
            "stdin_open" | "platform" | "pull_policy" => self.note(at, "is left out"),
            "build" => self.refuse(at, "images are not built here: build it and name it by image"),
            _ if key.starts_with("x-") => {}
            _ => self.refuse(at, "has no counterpart, take it out"),
        }
    }

    /// `[address:][published:]port[/protocol]`, or the long form.
    fn port(&mut self, group: &mut Group, at: &str, value: &Value) {
        let (text, published, address, protocol) = match value.get("target") {
            Some(target) => {
                let member = |name: &str| value.get(name).map(plain);
                let rest = (member("host_ip"), member("protocol"));
                (plain(target), member("published"), rest.0, rest.1)
            }
            None => {
                let text = self.text(at, value);
                let (text, protocol) = match text.split_once('/') {
                    Some((text, protocol)) => (text.to_owned(), Some(protocol.to_owned())),
                    None => (text, None),
                };
                let mut parts = text.rsplitn(3, ':');
                let to = parts.next().unwrap_or_default().to_owned();
                let published = parts.next().map(str::to_owned).filter(|p| !p.is_empty());
                (to, published, parts.next().map(str::to_owned), protocol)
            }
        };
        let everywhere = ["0.0.0.0", "::", "[::]"];
        if let Some(address) = address.filter(|a| !everywhere.contains(&a.as_str())) {
            let text = format!(
                "port {text} is published at {address} alone; in the job it is on the node's \
                 address: name a host_network of the client for it"
            );
            self.note(at, &text);
        }
        if protocol.is_some_and(|p| p != "tcp") {
            self.note(at, &format!("port {text} is for both, TCP and UDP"));
        }
        let is_number = |t: &str| t.parse::<u16>().is_ok_and(|n| n > 0);
        if !is_number(&text) || published.as_deref().is_some_and(|p| !is_number(p)) {
            return self.refuse(at, "ranges of ports are not converted: name each port");
        }
        group.port(&text, published.as_deref());
    }

    fn restart(&mut self, group: &mut Group, at: &str, value: &Value) {
        let text = self.text(at, value);
        let (mode, tries) = text.split_once(':').unwrap_or((&text, ""));
        let attempts = match mode {
            "no" | "false" => 0,
            "always" | "unless-stopped" => return,
            "on-failure" if tries.is_empty() => 3,
            "on-failure" => match tries.parse::<u32>() {
                Ok(tries) => tries,
                Err(_) => return self.refuse(at, "has no number of tries behind on-failure"),
            },
            _ => return self.refuse(at, "is none of no, always, on-failure and unless-stopped"),
        };
        group.restart = format!("restart {{\nattempts = {attempts}\nmode = \"fail\"\n}}\n");
    }

    fn memory(&mut self, group: &mut Group, at: &str, value: &Value) {
        let text = self.text(at, value);
        match mebibytes(&text) {
            Some(memory) => group.memory = memory,
            None => self.refuse(at, "is no size such as 512M"),
        }
    }

    fn cpus(&mut self, group: &mut Group, at: &str, value: &Value) {
        let text = self.text(at, value);
        match text.parse::<f64>().ok().filter(|n| (0.0..4096.0).contains(n)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked")]
            Some(cpus) => group.cpu = (cpus * 1000.0).ceil() as u64,
            None => return self.refuse(at, "is no number of processors"),
        }
        self.note(at, "a processor was taken for 1000 MHz");
    }

    fn deploy(&mut self, group: &mut Group, at: &str, value: &Value) {
        for (key, value) in members(value) {
            let at = format!("{at}.{key}");
            match key.as_str() {
                "replicas" => match value.as_u64() {
                    Some(count) => group.count = Some(count),
                    None => self.refuse(&at, "is no number"),
                },
                "resources" => {
                    for (kind, value) in members(value) {
                        let at = format!("{at}.{kind}");
                        if kind != "limits" {
                            self.note(&at, "is left out: a task gets what its limits say");
                        }
                        for (key, value) in members(value).filter(|_| kind == "limits") {
                            match key.as_str() {
                                "memory" => self.memory(group, &at, value),
                                "cpus" => self.cpus(group, &at, value),
                                _ => self.note(&format!("{at}.{key}"), "is left out"),
                            }
                        }
                    }
                }
                "mode" | "restart_policy" | "update_config" | "rollback_config" | "labels" => {
                    self.note(&at, "is left out");
                }
                _ => self.refuse(&at, "has no counterpart, take it out"),
            }
        }
    }
}

/// Sets one of a list of pairs.
fn put(pairs: &mut Vec<(String, String)>, key: &str, value: String) {
    match pairs.iter_mut().find(|(k, _)| k == key) {
        Some((_, old)) => *old = value,
        None => pairs.push((key.to_owned(), value)),
    }
}

/// A program that tells whether a service is well.
struct Check {
    program: Vec<String>,
    interval: String,
    timeout: String,
}

/// What a service becomes.
#[derive(Default)]
struct Group {
    image: String,
    command: Vec<String>,
    entrypoint: Vec<String>,
    env: Vec<(String, String)>,
    meta: Vec<(String, String)>,
    /// Label, port within the task, port of the node.
    ports: Vec<(String, String, Option<String>)>,
    check: Option<Check>,
    config: Vec<String>,
    user: String,
    kill_signal: String,
    kill_timeout: String,
    restart: String,
    count: Option<u64>,
    cpu: u64,
    memory: u64,
}

impl Group {
    fn port(&mut self, to: &str, published: Option<&str>) {
        let published = published.map(str::to_owned);
        let same = |(_, t, p): &&(String, String, Option<String>)| t == to && *p == published;
        if self.ports.iter().any(|port| same(&port)) {
            return;
        }
        let mut label = format!("p{to}");
        if let Some(published) = published.as_deref().filter(|_| self.has_port(&label)) {
            label = format!("{label}-{published}");
        }
        if !self.has_port(&label) {
            self.ports.push((label, to.to_owned(), published));
        }
    }

    fn has_port(&self, label: &str) -> bool {
        self.ports.iter().any(|(l, ..)| l == label)
    }

    /// What others find it by, with its check.
    fn service(&self, name: &str) -> String {
        if self.ports.is_empty() && self.check.is_none() {
            return String::new();
        }
        let mut out = format!("service {{\nname = {}\nprovider = \"nomad\"\n", quoted(name));
        if let Some((label, ..)) = self.ports.first() {
            out.push_str(&format!("port = {}\n", quoted(label)));
        }
        if let Some((command, args)) = self.check.as_ref().and_then(|c| c.program.split_first()) {
            out.push_str(&format!("check {{\ntype = \"script\"\ntask = {}\n", quoted(name)));
            out.push_str(&format!("command = {}\nargs = {}\n", quoted(command), list(args)));
        }
        if let Some(check) = &self.check {
            let (interval, timeout) = (quoted(&check.interval), quoted(&check.timeout));
            out.push_str(&format!("interval = {interval}\ntimeout = {timeout}\n}}\n"));
        }
        out.push_str("}\n");
        out
    }

    fn print(&self, name: &str, driver: &str) -> String {
        let mut out = format!("group {} {{\n", quoted(name));
        if let Some(count) = self.count {
            out.push_str(&format!("count = {count}\n"));
        }
        out.push_str(&self.restart);
        if !self.ports.is_empty() {
            out.push_str("network {\n");
            for (label, to, published) in &self.ports {
                out.push_str(&format!("port {} {{\n", quoted(label)));
                if let Some(published) = published {
                    out.push_str(&format!("static = {published}\n"));
                }
                if driver == "docker" {
                    out.push_str(&format!("to = {to}\n"));
                }
                out.push_str("}\n");
            }
            out.push_str("}\n");
        }
        out.push_str(&self.service(name));
        out.push_str(&format!("task {} {{\ndriver = {}\n", quoted(name), quoted(driver)));
        for (key, value) in [
            ("user", &self.user),
            ("kill_signal", &self.kill_signal),
            ("kill_timeout", &self.kill_timeout),
        ] {
            if !value.is_empty() {
                out.push_str(&format!("{key} = {}\n", quoted(value)));
            }
        }
        let mut config = self.config.clone();
        if driver == "docker" && !self.ports.is_empty() {
            let labels: Vec<String> = self.ports.iter().map(|(l, ..)| l.clone()).collect();
            config.push(format!("ports = {}", list(&labels)));
        }
        out.push_str(&format!("config {{\n{}\n}}\n", config.join("\n")));
        for (block, pairs) in [("env", &self.env), ("meta", &self.meta)] {
            if !pairs.is_empty() {
                let plain =
                    |(k, _): &(String, String)| k.chars().all(|c| c.is_alphanumeric() || c == '_');
                // Keys that are no names stand in a mapping only.
                let sign = if pairs.iter().all(plain) { "" } else { "= " };
                out.push_str(&format!("{block} {sign}{{\n"));
                for (key, value) in pairs {
                    let key = if sign.is_empty() { key.clone() } else { quoted(key) };
                    out.push_str(&format!("{key} = {}\n", quoted(value)));
                }
                out.push_str("}\n");
            }
        }
        if self.cpu > 0 || self.memory > 0 {
            out.push_str("resources {\n");
            for (key, value) in [("cpu", self.cpu), ("memory", self.memory)] {
                if value > 0 {
                    out.push_str(&format!("{key} = {value}\n"));
                }
            }
            out.push_str("}\n");
        }
        out.push_str("}\n}\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(text: &str, raw: bool) -> (String, Vec<String>) {
        let mut convert = Convert { raw, ..Convert::default() };
        let job = convert.job(&yaml::parse(text).expect("YAML"), None);
        (job, convert.wrong)
    }

    #[test]
    fn what_comes_out_is_a_job() {
        let text = r#"
name: shop
services:
  web app:
    image: nginx:1
    command: sh -c 'echo "a b" $$HOME'
    ports: ["8080:80", "127.0.0.1:53:53/udp"]
    environment:
      - A=1
      - B=${NOT_SET_ANYWHERE:-two}
    labels: {a.b: c}
    restart: on-failure:5
    mem_limit: 1.5g
    deploy: {replicas: 3, resources: {limits: {cpus: '0.5'}}}
    stop_grace_period: 1m
    user: www
    healthcheck:
      test: [CMD, /bin/look, -q]
      interval: 10s
      timeout: 2s
      retries: 3
"#;
        for raw in [false, true] {
            let (job, wrong) = convert(text, raw);
            assert_eq!(wrong, [] as [String; 0]);
            let inputs = crate::jobspec::hcl::Inputs {
                environment: &[],
                files: &[],
                flags: &[],
                strict: true,
            };
            let job = crate::jobspec::hcl::job(&job, &inputs, None).expect("a job");
            assert_eq!(job["ID"], "shop");
            let group = &job["TaskGroups"][0];
            let task = &group["Tasks"][0];
            assert_eq!((&group["Name"], &group["Count"]), (&"web-app".into(), &3.into()));
            assert_eq!(group["RestartPolicy"]["Attempts"], 5);
            assert_eq!(group["Networks"][0]["ReservedPorts"][0]["Value"], 8080);
            assert_eq!(task["Config"]["args"][1], "echo \"a b\" $HOME");
            assert_eq!(task["Env"], serde_json::json!({"A": "1", "B": "two"}));
            assert_eq!(task["Meta"], serde_json::json!({"a.b": "c"}));
            assert_eq!((&task["User"], &task["Driver"] == "raw_exec"), (&"www".into(), raw));
            assert_eq!(task["Resources"]["MemoryMB"], 1536);
            assert_eq!(task["Resources"]["CPU"], 500);
            let service = &group["Services"][0];
            assert_eq!(
                (&service["Name"], &service["PortLabel"]),
                (&"web-app".into(), &"p80".into())
            );
            let check = &service["Checks"][0];
            assert_eq!(
                (&check["Type"], &check["Command"]),
                (&"script".into(), &"/bin/look".into())
            );
            assert_eq!(check["Args"], serde_json::json!(["-q"]));
            assert_eq!(check["Interval"], 10_000_000_000_i64);
            assert_eq!(check["Timeout"], 2_000_000_000_i64);
        }
    }

    #[test]
    fn what_cannot_be_converted_is_named() {
        let text = r#"
services:
  a:
    build: .
    image: x:${NOT_SET_ANYWHERE}
    ports: ['1-5:1-5']
  b:
    secrets: [s]
configs: {}
"#;
        let (_, wrong) = convert(text, false);
        let places: Vec<&str> =
            wrong.iter().map(|w| w.split(": ").next().unwrap_or_default()).collect();
        assert_eq!(
            places,
            [
                "configs",
                "services.a.build",
                "services.a.image",
                "services.a.ports",
                "services.b.secrets",
                "services.b"
            ]
        );
        let text = r#"
services:
  a:
    image: "x:${NOT_SET_ANYWHERE:?name a version}"
    ports: 80:80
    restart: on-failure:many
"#;
        let (_, wrong) = convert(text, false);
        let version = "services.a.image: ${NOT_SET_ANYWHERE:?name a version} has no value \
                       (name a version): set NOT_SET_ANYWHERE";
        let restart = "services.a.restart: has no number of tries behind on-failure";
        assert_eq!(wrong, [version, "services.a.ports: is no list", restart]);
    }

    #[test]
    fn each_port_stands_once_and_what_is_not_kept_is_said() {
        let text = r#"
services:
  a:
    command: x
    ports: ["8080:80", "127.0.0.1:8443:80", "8080:80", "0.0.0.0:9000:9000", "53:53/udp", "80"]
    expose:
"#;
        let mut convert = Convert { raw: true, ..Convert::default() };
        let job = convert.job(&yaml::parse(text).expect("YAML"), None);
        assert_eq!(convert.wrong, [] as [String; 0]);
        let said = |start: &str| convert.notes.iter().any(|n| n.starts_with(start));
        assert!(said("services.a.ports: port 80 is published at 127.0.0.1 alone"));
        assert!(said("services.a.ports: port 53 is for both, TCP and UDP"));
        assert_eq!(convert.notes.len(), 2, "{:?}", convert.notes);
        let ports: Vec<&str> =
            job.lines().filter_map(|l| l.trim().strip_prefix("port \"")).collect();
        assert_eq!(ports, ["p80\" {", "p80-8443\" {", "p9000\" {", "p53\" {"], "{job}");
    }
}
