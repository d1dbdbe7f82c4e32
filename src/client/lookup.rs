//! What templates ask for: variables and services of the servers, and the task's environment.

use serde_json::{Value, json};

use crate::stdx::BTreeMap;
use crate::stdx::time::Rfc3339;
use crate::template::Source;

/// An answer of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A directory, and a path below it.
pub(crate) type Within = (String, String);

/// One rendering: what is known, and what was looked for.
pub(crate) struct Lookup<'l> {
    pub(crate) vars: &'l BTreeMap<String, String>,
    pub(crate) namespace: &'l str,
    /// By the target of the request.
    pub(crate) known: &'l dyn Fn(&str) -> Option<Answer>,
    /// Directory and path of a file that may be read.
    pub(crate) sandbox: &'l dyn Fn(&str) -> Result<Within, String>,
    pub(crate) wall_ns: i64,
    pub(crate) used: Vec<String>,
    /// What is not there yet.
    pub(crate) missing: Vec<String>,
}

const SECOND: i64 = 1_000_000_000;

/// What the question for a file begins with; that for the text of a template is another one.
const FILE: &str = "file:";
const SOURCE: &str = "source:";

/// Directory and path of the file that a question is for.
pub(crate) fn file_of(target: &str) -> Option<Within> {
    let at = target.strip_prefix(FILE).or_else(|| target.strip_prefix(SOURCE))?;
    at.split_once('\0').map(|(root, path)| (root.to_owned(), path.to_owned()))
}

pub(crate) fn is_source(target: &str) -> bool {
    target.starts_with(SOURCE)
}

const OWN: &[&str] = &[
    "env",
    "envOrDefault",
    "file",
    "mustEnv",
    "nomadService",
    "nomadServices",
    "nomadVar",
    "nomadVarExists",
    "nomadVarList",
    "nomadVarListSafe",
    "timestamp",
];
/// Functions that need what is not here.
const CONSUL: &[&str] = &[
    "caLeaf",
    "caRoots",
    "connect",
    "datacenters",
    "exportedServices",
    "key",
    "keyExists",
    "keyExistsGet",
    "keyOrDefault",
    "ls",
    "node",
    "nodes",
    "partitions",
    "peerings",
    "safeLs",
    "safeTree",
    "service",
    "services",
    "tree",
];
const VAULT: &[&str] = &["pkiCert", "secret", "secrets"];

impl Source for Lookup<'_> {
    fn knows(&self, name: &str) -> bool {
        [OWN, CONSUL, VAULT].iter().any(|all| all.contains(&name))
    }

    fn call(&mut self, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
        for (all, what) in [(CONSUL, "Consul"), (VAULT, "Vault")] {
            if all.contains(&name) {
                return Some(Err(format!(
                    "function {name:?} asks {what}, which is not served by this version"
                )));
            }
        }
        OWN.contains(&name).then(|| self.own(name, args))
    }
}

impl Lookup<'_> {
    fn own(&mut self, name: &str, args: &[Value]) -> Result<Value, String> {
        let wrong = || format!("wrong arguments of {name}");
        let texts: Vec<String> = args.iter().map(text).collect();
        let first = texts.first().map(String::as_str);
        match (name, texts.as_slice()) {
            ("env", [var]) => Ok(self.vars.get(var).cloned().unwrap_or_default().into()),
            ("envOrDefault", [var, or]) => {
                let found = self.vars.get(var).filter(|v| !v.is_empty());
                Ok(found.unwrap_or(or).as_str().into())
            }
            ("mustEnv", [var]) => {
                let found = self.vars.get(var).map(|v| v.as_str().into());
                found.ok_or_else(|| format!("environment variable {var:?} is not set"))
            }
            ("file", [path]) => Ok(self.file(FILE, path)?.unwrap_or_default().into()),
            ("timestamp", []) => Ok(Rfc3339(self.wall_ns / SECOND * SECOND).to_string().into()),
            ("timestamp", [form]) if form == "unix" => {
                Ok((self.wall_ns / SECOND).to_string().into())
            }
            ("nomadVar", [path]) => {
                let Some(answer) = self.variable(path)? else { return Ok(Value::Null) };
                match answer.status {
                    200 => Ok(items(&answer.body)),
                    _ => {
                        self.missing.push(format!("nomad.var.get({path})"));
                        Ok(Value::Null)
                    }
                }
            }
            ("nomadVarExists", [path]) => {
                Ok(self.variable(path)?.is_some_and(|a| a.status == 200).into())
            }
            ("nomadVarList" | "nomadVarListSafe", [] | [_]) => {
                let (prefix, namespace) = self.place(first.unwrap_or_default())?;
                let ask = format!("/v1/vars?namespace={}&prefix={}", url(namespace), url(prefix));
                Ok(self.list(&ask, |v| v))
            }
            ("nomadServices", []) => {
                let ask = format!("/v1/services?namespace={}", url(self.namespace));
                let all = self.list(&ask, |v| v);
                let inner = all.get(0).and_then(|n| n.get("Services")).and_then(Value::as_array);
                let named = |s: &Value| json!({"Name": s["ServiceName"], "Tags": s["Tags"]});
                Ok(inner.into_iter().flatten().map(named).collect())
            }
            ("nomadService", [service]) => {
                let (service, namespace) = self.place(service)?;
                let ask = format!("/v1/service/{}?namespace={}", url(service), url(namespace));
                Ok(self.list(&ask, instance))
            }
            ("nomadService", [count, key, service]) => {
                let (service, namespace) = self.place(service)?;
                let choose = format!("{count}|{key}");
                let ask = format!(
                    "/v1/service/{}?namespace={}&choose={}",
                    url(service),
                    url(namespace),
                    url(&choose)
                );
                Ok(self.list(&ask, instance))
            }
            _ => Err(wrong()),
        }
    }

    /// The text of a template that lies in a file; `None`: it is not there yet.
    pub(crate) fn source(&mut self, path: &str) -> Result<Option<String>, String> {
        let text = self.file(SOURCE, path)?;
        if text.is_none() && self.missing.is_empty() {
            self.missing.push(path.to_owned());
        }
        Ok(text)
    }

    fn file(&mut self, kind: &str, path: &str) -> Result<Option<String>, String> {
        let (root, inner) = (self.sandbox)(path)?;
        let target = format!("{kind}{root}\0{inner}");
        let Some(answer) = self.ask(&target) else { return Ok(None) };
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => {
                self.missing.push(format!("file({path})"));
                Ok(None)
            }
            _ => Err(format!("{path:?}: {}", answer.body)),
        }
    }

    /// `path@namespace`
    fn place<'p>(&'p self, name: &'p str) -> Result<(&'p str, &'p str), String> {
        match name.split_once('@') {
            None => Ok((name, self.namespace)),
            Some((_, rest)) if rest.contains('.') => {
                Err(format!("{name:?}: other regions are not asked by this version"))
            }
            Some((name, namespace)) => Ok((name, namespace)),
        }
    }

    fn variable(&mut self, path: &str) -> Result<Option<Answer>, String> {
        let (name, namespace) = self.place(path)?;
        let ask = format!("/v1/var/{}?namespace={}", path_url(name), url(namespace));
        Ok(self.ask(&ask))
    }

    /// A list of the servers; empty where it is not known yet.
    fn list(&mut self, target: &str, shape: impl Fn(Value) -> Value) -> Value {
        let body = self.ask(target).filter(|a| a.status == 200).map(|a| a.body);
        let list = body.and_then(|b| serde_json::from_str::<Vec<Value>>(&b).ok());
        list.into_iter().flatten().map(shape).collect()
    }

    /// Only what a server has said counts: until it has, and while it refuses, nothing is
    /// rendered.
    fn ask(&mut self, target: &str) -> Option<Answer> {
        if !self.used.iter().any(|u| u == target) {
            self.used.push(target.to_owned());
        }
        let known = (self.known)(target).filter(|a| {
            matches!(a.status, 200 | 404) || (a.status == 400 && file_of(target).is_some())
        });
        if known.is_none() {
            self.missing.push(target.to_owned());
        }
        known
    }
}

fn text(value: &Value) -> String {
    crate::template::plain(value)
}

fn items(body: &str) -> Value {
    let variable: Value = serde_json::from_str(body).unwrap_or_default();
    variable.get("Items").filter(|i| i.is_object()).cloned().unwrap_or_else(|| json!({}))
}

/// A registration as templates know it.
fn instance(row: Value) -> Value {
    let mut out = row;
    if let Some(fields) = out.as_object_mut() {
        for (name, from) in [("Name", "ServiceName"), ("Node", "NodeID")] {
            let value = fields.get(from).cloned().unwrap_or_default();
            fields.insert(name.to_owned(), value);
        }
    }
    out
}

/// As a value of a query, or with its slashes as a path: nothing in it ends the request's line.
fn escaped(text: &str, keep: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || keep.contains(c) {
            out.push(c);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn url(text: &str) -> String {
    escaped(text, "-_.~")
}

fn path_url(text: &str) -> String {
    escaped(text, "-_.~/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Options, render};

    fn run(template: &str) -> (Result<String, String>, Vec<String>, Vec<String>) {
        let vars = [("A".to_owned(), "1".to_owned())].into_iter().collect();
        let known = |target: &str| {
            let (status, body) = match target {
                "/v1/var/nomad/jobs/web?namespace=default" => {
                    (200, r#"{"Path":"nomad/jobs/web","Items":{"password":"p w","user":"u"}}"#)
                }
                "/v1/var/none?namespace=default" => (404, "variable not found"),
                "/v1/var/denied?namespace=default" => (403, "Permission denied"),
                "/v1/service/db?namespace=default" => (
                    200,
                    r#"[{"ServiceName":"db","Address":"10.0.0.1","Port":5432,"Tags":["a"]},
                        {"ServiceName":"db","Address":"10.0.0.2","Port":5433,"Tags":[]}]"#,
                ),
                "/v1/services?namespace=default" => (
                    200,
                    r#"[{"Namespace":"default","Services":[{"ServiceName":"db","Tags":[]}]}]"#,
                ),
                "/v1/vars?namespace=other&prefix=a%2Fb" => {
                    (200, r#"[{"Path":"a/b","Namespace":"other"}]"#)
                }
                _ => return None,
            };
            Some(Answer { status, body: body.to_owned() })
        };
        let mut lookup = Lookup {
            vars: &vars,
            namespace: "default",
            known: &known,
            sandbox: &|path| match path.contains("..") {
                true => Err("outside".to_owned()),
                false => Ok(("/root".to_owned(), path.to_owned())),
            },
            wall_ns: 1_500_000_000,
            used: Vec::new(),
            missing: Vec::new(),
        };
        let options = Options::default();
        let out = render(template, options, &Value::Null, &mut lookup);
        (out, lookup.used, lookup.missing)
    }

    #[test]
    fn templates_read_what_servers_know() {
        for (template, want) in [
            ("{{ env \"A\" }}{{ env \"B\" }}{{ envOrDefault \"B\" \"2\" }}", "12"),
            (
                "{{ with nomadVar \"nomad/jobs/web\" }}{{ .user }}:{{ .password.Value }}{{ end }}",
                "u:p w",
            ),
            (
                "{{ range $k, $v := nomadVar \"nomad/jobs/web\" }}{{ $k }}={{ $v }};{{ end }}",
                "password=p w;user=u;",
            ),
            (
                "{{ range (nomadVar \"nomad/jobs/web\").Tuples }}{{ .K }}{{ .V }} {{ end }}",
                "passwordp w useru ",
            ),
            ("{{ if nomadVarExists \"none\" }}yes{{ else }}no{{ end }}", "no"),
            (
                "{{ range nomadService \"db\" }}server {{ .Address }}:{{ .Port }}\n{{ end }}",
                "server 10.0.0.1:5432\nserver 10.0.0.2:5433\n",
            ),
            ("{{ range nomadServices }}{{ .Name }}{{ end }}", "db"),
            ("{{ range nomadVarList \"a/b@other\" }}{{ .Path }}{{ end }}", "a/b"),
            ("{{ \"x,y\" | split \",\" | join \"-\" | toUpper }}", "X-Y"),
        ] {
            let (out, _, missing) = run(template);
            assert_eq!((out.as_deref(), missing.len()), (Ok(want), 0), "{template}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        for template in [
            "{{ nomadVar \"none\" }}",
            "{{ nomadVar \"denied\" }}",
            "{{ nomadVar \"unknown\" }}",
            "{{ nomadService \"unknown\" }}",
        ] {
            let (_, used, missing) = run(template);
            assert_eq!((used.len(), missing.len()), (1, 1), "{template}");
        }
        for template in [
            "{{ key \"x\" }}",
            "{{ with secret \"x\" }}{{ end }}",
            "{{ nomadVar }}",
            "{{ nomadVar \"a@b.region\" }}",
            "{{ mustEnv \"B\" }}",
            "{{ file \"../x\" }}",
        ] {
            assert!(run(template).0.is_err(), "{template}");
        }
        assert!(run("{{ key \"x\" }}").0.unwrap_err().contains("Consul, which is not served"));
        let (_, used, _) = run("{{ nomadService \"a/../b c\\r\\n\" }}");
        assert!(used[0].bytes().all(|b| b.is_ascii_graphic()), "{used:?}");
    }
}
