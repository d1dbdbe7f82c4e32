//! The tokens of running tasks: who their holder is.
//!
//! Only keys of this cluster are believed, each for the kinds that it signs, and only as long as
//! the allocation runs that the token was made for.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use serde_json::Value;

use super::acl::jwt::{Key, key_id, verify};
use crate::acl::Workload;
use crate::api::{IDENTITY_AUDIENCE, JobAcl};
use crate::server::introduction::SUBJECT;
use crate::server::rsa::EXPONENT;
use crate::stdx::Now;
use crate::store::{Reader, Table, keys};

/// Clocks of servers may differ by so much, in nanoseconds.
const SKEW_NS: i64 = 60_000_000_000;

/// A task that proved itself.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) workload: Workload,
    pub(super) alloc: String,
    /// When the token ends, ns since the epoch; `None`: with the allocation.
    pub(super) ends: Option<i64>,
}

/// What a token of this cluster says, and when it ends.
///
/// # Errors
/// Why it is not believed.
fn believed(reader: Reader<'_>, now: Now, token: &str) -> Result<(Value, Option<i64>), String> {
    let id = key_id(token)?;
    let known = reader.root_keys().map_err(|e| e.to_string())?;
    let key = known.into_iter().find(|k| k.meta.key_id == id && !id.is_empty());
    let key = key.ok_or("no key of that name signs identities here")?;
    let mut halves = vec![Key::ed25519(&key.public_key.0)];
    if !key.modulus.0.is_empty() {
        halves.push(Key::rsa(&key.modulus.0, &EXPONENT));
    }
    let claims = verify(token, &halves, &["EdDSA", "RS256"].map(str::to_owned))?;
    let ends = times(&claims, now)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let for_us = match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(|a| a == IDENTITY_AUDIENCE),
        Some(Value::String(one)) => one == IDENTITY_AUDIENCE,
        _ => false,
    };
    if !for_us {
        return Err("the token is meant for another audience".to_owned());
    }
    if text("sub").is_empty() {
        return Err("the token says nothing of anyone".to_owned());
    }
    Ok((claims, ends))
}

/// Whether a token introduces a node of this name and pool.
///
/// # Errors
/// Why it does not.
pub fn introduced(
    reader: Reader<'_>,
    now: Now,
    region: &str,
    token: &str,
    (name, pool): (&str, &str),
) -> Result<(), String> {
    if token.is_empty() {
        return Err("it shows no token".to_owned());
    }
    let (claims, _) = believed(reader, now, token)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    if !text("sub").starts_with(&format!("{SUBJECT}:{region}:")) {
        return Err("the token is no introduction".to_owned());
    }
    if text("nomad_node_pool") != pool || !["", name].contains(&text("nomad_node_name")) {
        return Err("the token is for another node or pool".to_owned());
    }
    Ok(())
}

/// Who holds a token.
///
/// # Errors
/// Why it is not believed.
pub(super) fn holder(reader: Reader<'_>, now: Now, token: &str) -> Result<Holder, String> {
    let (claims, ends) = believed(reader, now, token)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
    let alloc = text("nomad_allocation_id");
    let gone = || "allocation does not exist".to_owned();
    let key = keys::by_uuid(alloc).ok_or_else(gone)?;
    let row = reader.row(Table::Alloc, &key).map_err(|e| e.to_string())?.ok_or_else(gone)?;
    if row.alloc().client_terminal() {
        return Err("allocation is terminal".to_owned());
    }
    let stored = reader.alloc(alloc).map_err(|e| e.to_string())?.ok_or_else(gone)?;
    let workload = Workload {
        namespace: text("nomad_namespace").to_owned(),
        job: text("nomad_job_id").to_owned(),
        group: stored.task_group,
        task: text("nomad_task").to_owned(),
    };
    let whole = !workload.namespace.is_empty() && !workload.job.is_empty();
    if stored.namespace != workload.namespace || !whole || workload.task.is_empty() {
        return Err("the token does not say whose it is".to_owned());
    }
    Ok(Holder { workload, alloc: alloc.to_owned(), ends })
}

/// When the token ends, where its times allow it now.
fn times(claims: &Value, now: Now) -> Result<Option<i64>, String> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(at) => match at.as_i64().and_then(|s| s.checked_mul(1_000_000_000)) {
            Some(ns) => Ok(Some(ns)),
            None => Err(format!("{name} is no time")),
        },
    };
    let ends = time("exp")?;
    if ends.is_some_and(|at| at <= now.wall_ns) {
        return Err("the token is expired".to_owned());
    }
    let latest = now.wall_ns.saturating_add(SKEW_NS);
    if time("nbf")?.is_some_and(|at| at > latest) {
        return Err("the token is not valid yet".to_owned());
    }
    Ok(ends)
}

/// Whether a policy is attached to a workload. Names are compared whole: `web` says nothing of
/// `web2`.
pub(super) fn attached(to: &JobAcl, workload: &Workload) -> bool {
    let fits = |rule: &str, name: &str| rule.is_empty() || rule == name;
    !to.namespace.is_empty()
        && to.namespace == workload.namespace
        && fits(&to.job_id, &workload.job)
        && fits(&to.group, &workload.group)
        && fits(&to.task, &workload.task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_attached_by_whole_names() {
        let text = str::to_owned;
        let workload = Workload {
            namespace: text("default"),
            job: text("a"),
            group: text("g"),
            task: text("t"),
        };
        for (namespace, job_id, group, task, fits) in [
            ("default", "a", "g", "t", true),
            ("default", "a", "g", "", true),
            ("default", "a", "", "", true),
            ("default", "", "", "", true),
            ("", "", "", "", false),
            ("", "a", "", "", false),
            ("other", "a", "", "", false),
            ("default", "ab", "", "", false),
            ("default", "a/x", "", "", false),
            ("default", "a", "g2", "", false),
            ("default", "a", "g", "t2", false),
        ] {
            let rule = JobAcl {
                namespace: text(namespace),
                job_id: text(job_id),
                group: text(group),
                task: text(task),
            };
            assert_eq!(attached(&rule, &workload), fits, "{rule:?}");
        }
    }

    #[test]
    fn times_bound_a_token() {
        let now = Now { mono_ns: 0, wall_ns: 1_000_000_000_000 };
        let at = |text: &str| times(&serde_json::from_str(text).unwrap(), now);
        assert_eq!(at("{}"), Ok(None));
        assert_eq!(at(r#"{"exp": 1001}"#), Ok(Some(1_001_000_000_000)));
        assert!(at(r#"{"exp": 1000}"#).is_err() && at(r#"{"exp": "x"}"#).is_err());
        assert!(at(r#"{"nbf": 1060}"#).is_ok() && at(r#"{"nbf": 1061}"#).is_err());
        assert!(at(r#"{"exp": 9223372036854775807}"#).is_err());
    }
}
