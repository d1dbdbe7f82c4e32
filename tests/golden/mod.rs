//! Recorded exchanges of the reference, replayed against the built binary.
//!
//! A file of `tests/data/golden` is a scenario: the configuration of an agent and steps, each a
//! request with the answer that the reference gave. Keys of a step:
//!
//! - `do`: method and path; `${name}` is replaced by a saved value, here and everywhere;
//! - `body` (JSON) or `raw` (text), `headers`;
//! - `save`: names for parts of the answer, by JSON pointer or `header:Name`;
//! - `until`: the request is repeated, up to 20 s, until these pointers have these values;
//! - `loose`: pointers whose content is not compared, `unordered`: lists in any order;
//! - `text`: the body is compared as text; `quiet`: nothing is compared;
//! - `want`: status, whether the body is JSON, headers, body. In it `{"$":"number"}` stands for
//!   any value of the kind, `{"$re":"…"}` for text of the form.

mod compare;
pub(crate) mod replay;

#[test]
fn parse() {
    replay::matches("parse");
}

#[test]
fn conventions() {
    replay::matches("conventions");
}

#[test]
fn job_batch() {
    replay::matches("job-batch");
}

#[test]
fn job_service() {
    replay::matches("job-service");
}

#[test]
fn nodes() {
    replay::matches("nodes");
}

#[test]
fn variables() {
    replay::matches("variables");
}

#[test]
fn namespaces_and_pools() {
    replay::matches("namespaces-pools");
}

#[test]
fn acl() {
    replay::matches("acl");
}

#[test]
fn services_search_and_scaling() {
    replay::matches("services-search-scaling");
}

#[test]
fn operator() {
    replay::matches("operator");
}
