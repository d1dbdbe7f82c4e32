//! The node's metadata: what the configuration says, and what users changed while it ran.

use serde::Serialize;

use crate::api::{ApiError, Node};
use crate::stdx::json::records;
use crate::stdx::{BTreeMap, json};

/// Values set by users; `None` masks a value of the configuration.
pub(crate) type Dynamic = BTreeMap<String, Option<String>>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    fixed: BTreeMap<String, String>,
    pub(crate) dynamic: Dynamic,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    dynamic: &'a Dynamic,
    meta: BTreeMap<String, String>,
    #[serde(rename = "Static")]
    fixed: &'a BTreeMap<String, String>,
}

records! {
#[derive(Default)]
#[serde(rename_all = "PascalCase")]
struct Apply {
    meta: Option<Dynamic>,
}
}

impl Metadata {
    pub(crate) fn new(node: &Node) -> Self {
        Self { fixed: node.meta.clone(), dynamic: Dynamic::new() }
    }

    pub(crate) fn effective(&self) -> BTreeMap<String, String> {
        let mut meta = self.fixed.clone();
        for (key, value) in &self.dynamic {
            match value {
                Some(value) => meta.insert(key.clone(), value.clone()),
                None => meta.remove(key),
            };
        }
        meta
    }

    /// What both reading and writing answer.
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = Body { dynamic: &self.dynamic, meta: self.effective(), fixed: &self.fixed };
        json::encode(&body)
    }

    /// Merges the body of a request; true where something changed.
    ///
    /// # Errors
    /// 400 with the text for the user.
    pub(crate) fn apply(&mut self, body: &[u8]) -> Result<bool, ApiError> {
        let asked: Apply = if body.is_empty() {
            Apply::default()
        } else {
            json::decode(body).map_err(|e| ApiError::bad(e.to_string()))?
        };
        let changes = asked.meta.filter(|m| !m.is_empty());
        let changes = changes.ok_or_else(|| ApiError::bad("missing required Meta object"))?;
        if let Some(bad) = changes.keys().find(|key| !valid_key(key)) {
            return Err(ApiError::bad(format!(
                "{bad:?} is invalid; metadata keys must be valid dotted hcl identifiers"
            )));
        }
        let before = self.dynamic.clone();
        for (key, value) in changes {
            if value.is_none() && !self.fixed.contains_key(&key) {
                self.dynamic.remove(&key);
            } else {
                self.dynamic.insert(key, value);
            }
        }
        Ok(self.dynamic != before)
    }
}

/// Parts between dots, each a letter or `_` and then letters, digits, `_`, `-`.
fn valid_key(key: &str) -> bool {
    key.split('.').all(|part| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_merge_and_mask() {
        let mut node = Node::default();
        node.meta.insert("rack".to_owned(), "r1".to_owned());
        let mut m = Metadata::new(&node);
        assert!(m.apply(br#"{"Meta":{"a":"1","rack":null,"nothing":null}}"#).unwrap());
        let text = String::from_utf8(m.body()).unwrap();
        assert_eq!(
            text,
            r#"{"Dynamic":{"a":"1","rack":null},"Meta":{"a":"1"},"Static":{"rack":"r1"}}"#
        );
        assert!(!m.apply(br#"{"Meta":{"a":"1"}}"#).unwrap());
        assert!(m.apply(br#"{"Meta":{"a":null,"rack":"r2"}}"#).unwrap());
        assert_eq!(m.effective().get("rack").map(String::as_str), Some("r2"));
        assert_eq!(m.effective().len(), 1);
    }

    #[test]
    fn refusals() {
        let mut m = Metadata::default();
        for (body, text) in [
            ("", "missing required Meta object"),
            ("{}", "missing required Meta object"),
            (r#"{"Meta":{}}"#, "missing required Meta object"),
            (
                r#"{"Meta":{"a b":"x"}}"#,
                "\"a b\" is invalid; metadata keys must be valid dotted hcl identifiers",
            ),
        ] {
            assert_eq!(m.apply(body.as_bytes()), Err(ApiError::bad(text)), "{body}");
        }
        assert!(m.dynamic.is_empty());
    }
}
