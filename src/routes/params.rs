//! The query parameters that every endpoint shares (contract: conventions, section 2).

use super::table::EVENTS;
use crate::api::ApiError;
use crate::http::Query;
use crate::limits::{WAIT_NS_DEFAULT, WAIT_NS_MAX};
use crate::stdx::{duration, parse_bool};

/// Parsed once per request, before its handler runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// Empty: this agent's.
    pub region: String,
    /// Never empty; `*` means all.
    pub namespace: String,
    /// Whether the request named a namespace itself.
    pub namespace_given: bool,
    /// Zero: does not block.
    pub index: u64,
    /// How long to block, without jitter: 1 ns to 10 min.
    pub wait_ns: u64,
    pub stale: bool,
    pub prefix: String,
    /// Zero: all.
    pub per_page: i32,
    pub next_token: String,
    pub filter: String,
    pub reverse: bool,
    pub pretty: bool,
}

impl Params {
    /// # Errors
    /// 400 with the recorded text for the first parameter that does not parse.
    pub fn parse(path: &str, raw: &str) -> Result<Self, ApiError> {
        let mut p = Self { wait_ns: WAIT_NS_DEFAULT, ..Self::default() };
        if raw.is_empty() {
            p.namespace.push_str("default");
            return Ok(p);
        }
        let q = Query::new(raw);
        if let Some(v) = q.get("wait").filter(|v| !v.is_empty()) {
            let ns = duration::parse(&v).ok_or_else(|| ApiError::bad("Invalid wait time"))?;
            p.wait_ns = match u64::try_from(ns) {
                Ok(0) | Err(_) => WAIT_NS_DEFAULT,
                Ok(ns) => ns.min(WAIT_NS_MAX),
            };
        }
        // The event stream does not block, and reads its index in its own way.
        if let Some(v) = q.get("index").filter(|v| !v.is_empty() && path != EVENTS) {
            p.index = v.parse().map_err(|_| ApiError::bad("Invalid index"))?;
        }
        if let Some(v) = q.get("stale") {
            p.stale = v.is_empty()
                || parse_bool(&v).ok_or_else(|| {
                    ApiError::bad("Expect `true` or `false` for `stale` query string parameter")
                })?;
        }
        if let Some(v) = q.get("per_page").filter(|v| !v.is_empty()) {
            p.per_page = v.parse().map_err(|_| {
                ApiError::bad("Expect a number for `per_page` query string parameter")
            })?;
        }
        p.region = q.get("region").unwrap_or_default().into_owned();
        p.namespace = q.get("namespace").unwrap_or_default().into_owned();
        p.namespace_given = !p.namespace.is_empty();
        if p.namespace.is_empty() {
            p.namespace.push_str("default");
        }
        p.prefix = q.get("prefix").unwrap_or_default().into_owned();
        p.next_token = q.get("next_token").unwrap_or_default().into_owned();
        p.filter = q.get("filter").unwrap_or_default().into_owned();
        p.reverse = q.get("reverse").is_some_and(|v| v == "true");
        p.pretty = q.get("pretty").is_some_and(|v| v != "0");
        Ok(p)
    }
}

/// A boolean parameter of one endpoint; absent or empty is false.
///
/// # Errors
/// The reference's text, without a status: endpoints differ in that.
pub fn bool_param(q: &Query<'_>, name: &str) -> Result<bool, String> {
    match q.get(name) {
        None => Ok(false),
        Some(v) if v.is_empty() => Ok(false),
        Some(v) => parse_bool(&v).ok_or_else(|| {
            format!(
                "Failed to parse value of \"{name}\" ({v}) as a bool: \
                 strconv.ParseBool: parsing \"{v}\": invalid syntax"
            )
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Params, ApiError> {
        Params::parse("/v1/jobs", query)
    }

    #[test]
    fn wait_is_five_minutes_by_default_and_ten_at_most() {
        const MIN: u64 = 60_000_000_000;
        for (query, wait) in [
            ("index=1", 5 * MIN),
            ("index=1&wait=0s", 5 * MIN),
            ("index=1&wait=-3s", 5 * MIN),
            ("index=1&wait=10s", MIN / 6),
            ("index=1&wait=10m", 10 * MIN),
            ("index=1&wait=11m", 10 * MIN),
            ("index=1&wait=9999h", 10 * MIN),
        ] {
            assert_eq!(parse(query).unwrap().wait_ns, wait, "{query}");
        }
    }

    #[test]
    fn bad_values_answer_the_recorded_text() {
        for (query, text) in [
            ("index=abc", "Invalid index"),
            ("index=-1", "Invalid index"),
            ("wait=10", "Invalid wait time"),
            ("stale=maybe", "Expect `true` or `false` for `stale` query string parameter"),
            ("per_page=abc", "Expect a number for `per_page` query string parameter"),
            ("per_page=99999999999", "Expect a number for `per_page` query string parameter"),
        ] {
            assert_eq!(parse(query), Err(ApiError::bad(text)), "{query}");
        }
    }

    #[test]
    fn flags_follow_the_contract() {
        assert!(Params::parse(EVENTS, "index=abc").is_ok(), "its own error is another");
        assert!(parse("stale").unwrap().stale);
        assert!(!parse("stale=false").unwrap().stale);
        assert!(parse("pretty=false").unwrap().pretty);
        assert!(!parse("pretty=0").unwrap().pretty);
        assert!(!parse("reverse=1").unwrap().reverse);
        assert_eq!(parse("namespace=").unwrap().namespace, "default");
        assert_eq!(parse("namespace=*").unwrap().namespace, "*");
    }
}
