//! `${…}` targets of constraints, affinities and spreads, and what they mean on a node.

use crate::api::Node;

/// A target, read once per evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Anything that is not `${…}`.
    Literal(String),
    NodeId,
    NodeName,
    Datacenter,
    Class,
    Pool,
    Attribute(String),
    Meta(String),
    /// `${…}` of no known kind: never found.
    Unknown,
}

impl Target {
    pub(super) fn parse(text: &str) -> Self {
        let Some(inner) = text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) else {
            return if text.starts_with("${") { Self::Unknown } else { Self::Literal(text.into()) };
        };
        match inner {
            "node.unique.id" => Self::NodeId,
            "node.unique.name" => Self::NodeName,
            "node.datacenter" => Self::Datacenter,
            "node.class" => Self::Class,
            "node.pool" => Self::Pool,
            _ => match (inner.strip_prefix("attr."), inner.strip_prefix("meta.")) {
                (Some(key), _) => Self::Attribute(key.to_owned()),
                (_, Some(key)) => Self::Meta(key.to_owned()),
                _ => Self::Unknown,
            },
        }
    }

    /// The value on a node; `None` where it is not found.
    pub(super) fn on<'a>(&'a self, node: &'a Node) -> Option<&'a str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::NodeId => Some(&node.id),
            Self::NodeName => Some(&node.name),
            Self::Datacenter => Some(&node.datacenter),
            Self::Class => Some(&node.node_class),
            Self::Pool => Some(&node.node_pool),
            Self::Attribute(key) => node.attributes.get(key).map(String::as_str),
            Self::Meta(key) => node.meta.get(key).map(String::as_str),
            Self::Unknown => None,
        }
    }

    /// Differs between nodes of one computed class, so that answers may not be kept by class.
    pub(super) fn is_unique(&self) -> bool {
        match self {
            Self::NodeId | Self::NodeName => true,
            Self::Attribute(key) | Self::Meta(key) => key.starts_with("unique."),
            Self::Literal(_) | Self::Datacenter | Self::Class | Self::Pool | Self::Unknown => false,
        }
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any run of characters.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        let Some((_, after)) = text.split_once(part).filter(|_| !part.is_empty()) else {
            if part.is_empty() {
                continue;
            }
            return false;
        };
        text = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        for (pattern, text, want) in [
            ("*", "", true),
            ("*", "dc1", true),
            ("dc1", "dc1", true),
            ("dc1", "dc10", false),
            ("dc*", "dc10", true),
            ("*1", "dc1", true),
            ("*1", "dc10", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a**c", "abc", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn targets_read() {
        assert_eq!(Target::parse("linux"), Target::Literal("linux".into()));
        assert_eq!(Target::parse("${attr.kernel.name}"), Target::Attribute("kernel.name".into()));
        assert_eq!(Target::parse("${node.nothing}"), Target::Unknown);
        assert_eq!(Target::parse("${node.class"), Target::Unknown);
        assert!(Target::parse("${meta.unique.rack}").is_unique());
        assert!(Target::parse("${node.unique.id}").is_unique());
        assert!(!Target::parse("${node.class}").is_unique());
    }
}
