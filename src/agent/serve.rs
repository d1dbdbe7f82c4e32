//! From a parsed request to what must happen, and from an answer to bytes.
//!
//! This is where the conventions that hold on every endpoint live: redirects of unclean paths,
//! regions, blocking, the headers that say how fresh an answer is, cross-origin rules, `pretty`,
//! gzip. Handlers know none of them.

use crate::api::ApiError;
use crate::http::gzip::Gzip;
use crate::http::reply::{Head, Length};
use crate::http::{Method, Request};
use crate::limits::GZIP_BYTES_MIN;
use crate::routes::answer::JSON;
use crate::routes::{
    self, Access, AgentInfo, Answer, Body, Ctx, Document, Outcome, Params, dispatch,
};
use crate::stdx::{Entropy, Now, json};
use crate::store::Reader;

/// How an answer is to be written; what remains of a request while its answer is awaited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) gzip: bool,
    pub(super) pretty: bool,
    pub(super) keep_alive: bool,
    /// The path is one of those that browsers on other sites may read.
    cors: bool,
    /// The request named its origin.
    origin: bool,
    http10: bool,
}

impl Form {
    pub(super) fn of(req: &Request) -> Self {
        Self {
            gzip: req.accept_gzip,
            pretty: false,
            keep_alive: req.keep_alive,
            cors: is_cors(req.path()),
            origin: req.origin.is_some(),
            http10: req.http10,
        }
    }

    /// The client cannot read chunks: a stream ends with its connection.
    pub(super) fn is_http10(self) -> bool {
        self.http10
    }

    /// A few bits that tell forms apart in the key of shared queries.
    pub(super) fn bits(self) -> u8 {
        u8::from(self.gzip)
            | u8::from(self.pretty) << 1
            | u8::from(self.keep_alive) << 2
            | u8::from(self.origin) << 3
            | u8::from(self.http10) << 4
    }
}

/// What to do with a request.
pub(super) enum Verdict {
    Answer(Answer),
    /// The answer is no newer than what the client has: wait for a change.
    Hold(Answer),
    Do(Outcome),
}

/// Decides about a new request.
pub(super) fn judge(
    now: Now,
    reader: Reader<'_>,
    info: &AgentInfo,
    entropy: &mut dyn Entropy,
    req: &Request,
    form: &mut Form,
    fetched: &[Document],
) -> (Verdict, Params) {
    if let Some(answer) = before_routing(req) {
        return (Verdict::Answer(answer), Params::default());
    }
    let params = match Params::parse(req.path(), req.query()) {
        Ok(params) => params,
        Err(e) => {
            let known = routes::table::find(req.path()).is_some();
            let answer = if known { e.into() } else { Answer::unknown_path() };
            return (Verdict::Answer(answer), Params::default());
        }
    };
    form.pretty = params.pretty;
    let verdict = run(now, reader, info, entropy, req, &params, fetched);
    let verdict = match verdict {
        Verdict::Answer(a)
            if params.index > 0
                && a.watch.is_some()
                && a.index.is_some_and(|i| i <= params.index) =>
        {
            Verdict::Hold(a)
        }
        other => other,
    };
    (verdict, params)
}

/// What a request is answered with that goes to an agent without tokens, unless its caller may.
pub(super) fn vouch(
    now: Now,
    reader: Reader<'_>,
    info: &AgentInfo,
    entropy: &mut dyn Entropy,
    req: &Request,
) -> Option<Answer> {
    let params = match Params::parse(req.path(), req.query()) {
        Ok(params) => params,
        Err(e) => return Some(e.into()),
    };
    let (params, access) = (&params, Access::default());
    let (rest, fetched) = ("", &[][..]);
    routes::vouch(&mut Ctx {
        now,
        reader,
        agent: info,
        entropy,
        req,
        params,
        rest,
        access,
        fetched,
    })
}

/// Runs a request that has been looked at before; the answer to a query is always an answer here.
pub(super) fn run(
    now: Now,
    reader: Reader<'_>,
    info: &AgentInfo,
    entropy: &mut dyn Entropy,
    req: &Request,
    params: &Params,
    fetched: &[Document],
) -> Verdict {
    if !params.region.is_empty() && params.region != info.region {
        return Verdict::Answer(ApiError::failed("No path to region").into());
    }
    let (access, rest) = (Access::default(), "");
    let mut ctx = Ctx { now, reader, agent: info, entropy, req, params, rest, access, fetched };
    match dispatch(&mut ctx) {
        Ok(Outcome::Answer(a)) => Verdict::Answer(a),
        Ok(other) => Verdict::Do(other),
        Err(e) => Verdict::Answer(e.into()),
    }
}

/// Answers that Go's router and the cross-origin wrapper give before any handler.
fn before_routing(req: &Request) -> Option<Answer> {
    let with_query = |path: &str| match req.query() {
        "" => path.to_owned(),
        q => format!("{path}?{q}"),
    };
    if req.path() == "*" && req.method == Method::Options {
        return Some(Answer { status: 200, bare: true, ..Answer::default() });
    }
    if req.path() == "/" {
        return Some(Answer::redirect(with_query("/ui/")));
    }
    if let Some(clean) = cleaned(req.path(), req.raw_path()) {
        return Some(Answer::redirect(with_query(&clean)));
    }
    if matches!(req.path(), "/ui" | "/v1/job" | "/v1/node" | "/v1/allocation")
        || matches!(req.path(), "/v1/evaluation" | "/v1/deployment" | "/v1/service")
        || matches!(req.path(), "/v1/var" | "/v1/node/pool" | "/v1/client/fs")
    {
        return Some(Answer::redirect(with_query(&format!("{}/", req.raw_path()))));
    }
    if req.method == Method::Options
        && is_cors(req.path())
        && let Some(asked) = &req.acr_method
    {
        return Some(preflight(req, asked));
    }
    None
}

fn preflight(req: &Request, asked: &str) -> Answer {
    let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    let mut headers = vec![("Vary", vary.to_owned())];
    let allowed: &[&str] = if req.path().starts_with("/v1/var/") {
        &["HEAD", "GET", "PUT", "DELETE"]
    } else {
        &["HEAD", "GET"]
    };
    if allowed.contains(&asked) && req.origin.is_some() {
        headers.push(("Access-Control-Allow-Origin", "*".to_owned()));
        headers.push(("Access-Control-Allow-Methods", asked.to_owned()));
        headers.push(("Access-Control-Allow-Credentials", "true".to_owned()));
        if let Some(h) = &req.acr_headers {
            headers.push(("Access-Control-Allow-Headers", h.clone()));
        }
    }
    Answer { status: 204, headers, bare: true, ..Answer::default() }
}

/// Whether a page of another site may be the one that wants this, of which whoever has the browser
/// knows nothing: a session, or a change without a token, for that is not asked for before. With
/// one, browsers ask first ([`preflight`]), as they do for methods that no form has.
pub(super) fn is_forged(req: &Request, session: bool) -> bool {
    let simple = !matches!(req.method, Method::Get | Method::Head | Method::Options);
    let asked = is_cors(req.path()) && matches!(req.method, Method::Put | Method::Delete);
    session || (simple && !asked && req.token.is_none())
}

fn is_cors(path: &str) -> bool {
    path.starts_with("/v1/client/fs/")
        || path == "/v1/client/stats"
        || path.starts_with("/v1/client/allocation/")
        || path.starts_with("/v1/client/metadata")
        || path.starts_with("/v1/client/identity")
        || path == "/v1/vars"
        || path.starts_with("/v1/var/")
}

/// The path without `//`, `.` and `..`, where it has any; never one that a browser would take for
/// another host. Looked for in the path as sent: what is percent-encoded is a name, not a step.
fn cleaned(decoded: &str, raw: &str) -> Option<String> {
    if !(raw.contains("//") || raw.contains("/.")) || !decoded.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in raw.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            p => parts.push(p),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if raw.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    (clean != raw).then_some(clean)
}

/// Writes the head of an answer into `head`; the body is returned for the connection to take.
pub(super) fn render(
    form: Form,
    mut answer: Answer,
    info: &AgentInfo,
    extra: &[(String, String)],
    gzip: &mut Gzip,
    head: &mut Vec<u8>,
) -> Body {
    if form.pretty && answer.content_type == Some(JSON) {
        let mut out = Vec::with_capacity(answer.body.as_slice().len() * 2);
        json::pretty(answer.body.as_slice(), &mut out);
        answer.body = Body::Bytes(out);
    }
    let squeeze = form.gzip && !answer.bare && answer.body.as_slice().len() >= GZIP_BYTES_MIN;
    if squeeze {
        answer.body = Body::Bytes(gzip.compress(answer.body.as_slice()));
    }
    let len = Length::Known(answer.body.as_slice().len());
    write_head(form, &answer, info, extra, squeeze, len, head);
    answer.body
}

/// The head of a stream: in chunks, or to the end of the connection for clients that know none.
pub(super) fn render_stream(
    form: Form,
    content_type: &'static str,
    info: &AgentInfo,
    extra: &[(String, String)],
    head: &mut Vec<u8>,
) {
    if form.http10 {
        head.extend_from_slice(b"HTTP/1.0 200 OK\r\nContent-Type: ");
        head.extend_from_slice(content_type.as_bytes());
        head.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
        return;
    }
    let answer = Answer { status: 200, content_type: Some(content_type), ..Answer::default() };
    write_head(form, &answer, info, extra, false, Length::Chunks, head);
}

/// The head of an answer whose body of `bytes` is read as it is sent.
pub(super) fn render_file(
    form: Form,
    answer: &Answer,
    bytes: u64,
    info: &AgentInfo,
    extra: &[(String, String)],
    head: &mut Vec<u8>,
) {
    let length = Length::Known(usize::try_from(bytes).unwrap_or(usize::MAX));
    write_head(form, answer, info, extra, false, length, head);
}

/// The head of the event stream, which ends with its connection.
pub(super) fn render_events(
    mut form: Form,
    info: &AgentInfo,
    extra: &[(String, String)],
    head: &mut Vec<u8>,
) {
    form.keep_alive = false;
    let headers = vec![("Cache-Control", "no-cache".to_owned())];
    let answer = Answer { status: 200, content_type: Some(JSON), headers, ..Answer::default() };
    write_head(form, &answer, info, extra, false, Length::Endless, head);
}

fn write_head(
    form: Form,
    answer: &Answer,
    info: &AgentInfo,
    extra: &[(String, String)],
    gzip: bool,
    len: Length,
    head: &mut Vec<u8>,
) {
    let mut headers: Vec<(&str, &str)> = Vec::new();
    headers.extend(answer.headers.iter().map(|(k, v)| (*k, v.as_str())));
    if !answer.bare {
        headers.extend(extra.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        if form.cors {
            headers.push(("Vary", "Origin"));
            if form.origin {
                headers.push(("Access-Control-Allow-Origin", "*"));
                headers.push(("Access-Control-Allow-Credentials", "true"));
            }
        }
    }
    Head {
        status: answer.status,
        content_type: answer.content_type,
        index: answer.index,
        last_contact_ms: answer.meta.then_some(info.last_contact_ms),
        known_leader: answer.meta.then_some(info.leader_addr.is_some()),
        next_token: answer.next_token.as_deref(),
        gzip,
        vary: !answer.bare,
        extra: &headers,
        len,
        close: !form.keep_alive,
    }
    .write(head);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unclean_paths_become_clean_and_stay_on_this_host() {
        for (raw, clean) in [
            ("/v1/jobs", None),
            ("//v1//status/leader", Some("/v1/status/leader")),
            ("/v1/foo/../status/leader", Some("/v1/status/leader")),
            ("//evil.example/..", Some("/")),
            ("/v1/./jobs/", Some("/v1/jobs/")),
            ("/../../etc", Some("/etc")),
            ("/v1/job/a.b", None),
            ("/v1/var/a/.hidden", None),
        ] {
            assert_eq!(cleaned(raw, raw).as_deref(), clean, "{raw}");
        }
    }
}
