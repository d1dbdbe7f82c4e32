//! Addresses of documents: `http://host:port/path` and `https://…`, as far as this agent asks for
//! any.

#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::expect_used
)]

/// Longest address, in bytes.
const BYTES_MAX: usize = 2048;

/// Where a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Asked for over TLS.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    pub port: u16,
    /// Path and query, as they are asked for.
    pub target: String,
}

impl Url {
    /// Reads an address. What stands behind a `#` is not asked for.
    ///
    /// # Errors
    /// What is wrong with it. Names and passwords in front of the host are refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fault = |what: &str| format!("{text:?} is no address of a document: {what}");
        if text.len() > BYTES_MAX {
            return Err("an address is too long".to_owned());
        }
        if text.bytes().any(|b| !b.is_ascii_graphic()) {
            return Err(fault("it has characters that addresses do not have"));
        }
        let (secure, rest) = match text.split_once("://") {
            Some((s, rest)) if s.eq_ignore_ascii_case("https") => (true, rest),
            Some((s, rest)) if s.eq_ignore_ascii_case("http") => (false, rest),
            _ => return Err(fault("it begins with neither http:// nor https://")),
        };
        let rest = rest.split_once('#').map_or(rest, |(r, _)| r);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (place, target) = rest.split_at_checked(end).unwrap_or_default();
        let (host, port) = match place.strip_prefix('[') {
            Some(inner) => {
                let (host, behind) = inner.split_once(']').ok_or_else(|| fault("no host"))?;
                (host, behind.strip_prefix(':'))
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        let named = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
        if host.is_empty() || !host.bytes().all(named) {
            return Err(fault("no host"));
        }
        let port = match port {
            None | Some("") if secure => 443,
            None | Some("") => 80,
            Some(port) => port.parse().ok().filter(|p| *p > 0).ok_or_else(|| fault("no port"))?,
        };
        let slash = if target.starts_with('/') { "" } else { "/" };
        let (host, target) = (host.to_owned(), format!("{slash}{target}"));
        Ok(Self { secure, host, port, target })
    }

    /// The `Host` field.
    pub fn authority(&self) -> String {
        let v6 = self.host.contains(':');
        let host = if v6 { format!("[{}]", self.host) } else { self.host.clone() };
        match self.port {
            443 if self.secure => host,
            80 if !self.secure => host,
            port => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, secure, host, port, target, authority) in [
            ("http://a", false, "a", 80, "/", "a"),
            ("HTTPS://a.b:8443/x?y#z", true, "a.b", 8443, "/x?y", "a.b:8443"),
            ("https://[::1]/k", true, "::1", 443, "/k", "[::1]"),
            ("http://[::1]:99?q", false, "::1", 99, "/?q", "[::1]:99"),
            ("https://10.0.0.1:80", true, "10.0.0.1", 80, "/", "10.0.0.1:80"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.authority(), authority);
            let (host, target) = (host.to_owned(), target.to_owned());
            assert_eq!(url, Url { secure, host, port, target }, "{text}");
        }
        for bad in [
            "",
            "a",
            "ftp://a",
            "http://",
            "http:///x",
            "http://u@a/",
            "http://a:0",
            "http://a:x",
            "http://a:99999",
            "http://[::1",
            "http://a b/",
            "http://a/\r\nX: y",
            "file:///x",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
        assert!(Url::parse(&format!("http://a/{}", "x".repeat(3000))).is_err());
    }
}
