//! `${…}` in the texts of a job, resolved on the node.
//!
//! Two rules: outside of a driver's configuration what is not known stays as it is written; inside
//! of one it is an error that fails the task.

use crate::api::Node;
use crate::stdx::BTreeMap;
use crate::stdx::json::Any;

/// What names stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The environment of the task.
    pub vars: BTreeMap<String, String>,
    /// `node.datacenter`, `attr.kernel.name`, `meta.rack` and so on.
    facts: BTreeMap<String, String>,
}

impl Scope {
    pub fn new(vars: BTreeMap<String, String>, node: &Node, region: &str) -> Self {
        let mut facts = BTreeMap::new();
        for (name, value) in [
            ("unique.id", node.id.as_str()),
            ("unique.name", node.name.as_str()),
            ("datacenter", node.datacenter.as_str()),
            ("region", region),
            ("class", node.node_class.as_str()),
            ("pool", node.node_pool.as_str()),
        ] {
            facts.insert(format!("node.{name}"), value.to_owned());
        }
        facts.extend(node.attributes.iter().map(|(k, v)| (format!("attr.{k}"), v.clone())));
        facts.extend(node.meta.iter().map(|(k, v)| (format!("meta.{k}"), v.clone())));
        Self { vars, facts }
    }

    /// Resolves what is known and keeps the rest as it is.
    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let name = after.split_once('}').map(|(name, _)| name);
            match name.filter(|n| plain(n)).and_then(|n| Some((n, self.lookup(n)?))) {
                Some((name, value)) => {
                    out.push_str(value);
                    rest = after.get(name.len() + 1..).unwrap_or_default();
                }
                None => {
                    out.push_str("${");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }

    /// Resolves all texts within a driver's configuration.
    ///
    /// # Errors
    /// The text of the first reference that cannot be resolved.
    pub fn config(&self, value: &Any) -> Result<Any, String> {
        Ok(match value {
            Any::Text(t) => Any::Text(self.strict(t)?),
            Any::List(l) => Any::List(l.iter().map(|v| self.config(v)).collect::<Result<_, _>>()?),
            Any::Map(m) => {
                Any::Map(m.iter().map(|(k, v)| Ok((k.clone(), self.config(v)?))).collect::<Result<
                    _,
                    String,
                >>(
                )?)
            }
            Any::Null | Any::Bool(_) | Any::Number(_) => value.clone(),
        })
    }

    fn strict(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            // A doubled sign stands for itself.
            if let Some(literal) = before.strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let Some((expression, tail)) = after.split_once('}') else {
                return Err("Missing expression: Expected the start of an expression, but found \
                            the end of the file."
                    .to_owned());
            };
            out.push_str(self.expression(expression.trim())?);
            rest = tail;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// `NAME`, `attr.a.b`, `attr["a.b"]`, `env["NAME"]`.
    fn expression(&self, text: &str) -> Result<&str, String> {
        if let Some((object, key)) = text.strip_suffix("\"]").and_then(|t| t.split_once("[\"")) {
            let found = match object {
                "env" => self.vars.get(key).map(String::as_str),
                "attr" | "meta" | "node" => {
                    self.facts.get(&format!("{object}.{key}")).map(String::as_str)
                }
                _ => return Err(unknown_variable(object)),
            };
            return found.ok_or_else(|| {
                "Invalid index: The given key does not identify an element in this collection \
                 value."
                    .to_owned()
            });
        }
        if let Some(value) = self.lookup(text) {
            return Ok(value);
        }
        if let Some(text) = text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
            return Err(format!("Unsupported expression: \"{text}\" is not a reference."));
        }
        let (root, last) = (text.split('.').next().unwrap_or(text), text.rsplit('.').next());
        match last.filter(|last| *last != text && ["attr", "meta", "node", "env"].contains(&root)) {
            Some(last) => Err(format!(
                "Unsupported attribute: This object does not have an attribute named \"{last}\"."
            )),
            None => Err(unknown_variable(root)),
        }
    }

    fn lookup(&self, name: &str) -> Option<&str> {
        self.vars
            .get(name)
            .or_else(|| self.facts.get(name))
            .or_else(|| self.vars.get(name.strip_prefix("env.")?))
            .map(String::as_str)
    }
}

fn unknown_variable(name: &str) -> String {
    format!("Unknown variable: There is no variable named \"{name}\".")
}

fn plain(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let mut node = Node { id: "n1".to_owned(), ..Node::default() };
        node.attributes.insert("kernel.name".to_owned(), "linux".to_owned());
        node.meta.insert("rack".to_owned(), "r1".to_owned());
        let vars = [("X".to_owned(), "${Y}".to_owned()), ("Y".to_owned(), "y".to_owned())];
        Scope::new(vars.into_iter().collect(), &node, "global")
    }

    #[test]
    fn unknown_names_stay() {
        let s = scope();
        for (text, want) in [
            ("", ""),
            ("plain $ {", "plain $ {"),
            ("${Y}", "y"),
            ("a${Y}b${Y}c", "aybyc"),
            // What a value holds is not resolved again.
            ("${X}", "${Y}"),
            ("${nope} ${Y}", "${nope} y"),
            ("${attr.kernel.name}/${meta.rack}/${node.unique.id}", "linux/r1/n1"),
            ("${attr.nope}", "${attr.nope}"),
            ("${env[\"Y\"]}", "${env[\"Y\"]}"),
            ("${", "${"),
            ("${${Y}", "${y"),
            ("ä${Y}ö", "äyö"),
        ] {
            assert_eq!(s.text(text), want);
        }
    }

    #[test]
    fn driver_configuration_is_strict() {
        let s = scope();
        for (text, want) in [
            ("${Y}-${env[\"Y\"]}-${ attr.kernel.name }", Ok("y-y-linux")),
            ("${attr[\"kernel.name\"]}", Ok("linux")),
            ("$${Y} $$", Ok("${Y} $$")),
            ("${nope}", Err("Unknown variable: There is no variable named \"nope\".")),
            (
                "${attr.no.pe}",
                Err("Unsupported attribute: This object does not have an attribute named \"pe\"."),
            ),
        ] {
            let got = s.config(&Any::Text(text.to_owned()));
            assert_eq!(got, want.map(|t| Any::Text(t.to_owned())).map_err(str::to_owned));
        }
        assert!(s.config(&Any::Text("${Y".to_owned())).is_err());
    }
}
