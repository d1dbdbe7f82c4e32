//! Checks of services: asked in their intervals, judged, and remembered until the next answer.
//!
//! Nothing here connects: a check that is due becomes a probe, or a script for the executor of a
//! task, whose course comes back as [`ProbeEvent`]s. Every run has an end, at the latest
//! that of its time-out.

use std::net::{IpAddr, SocketAddr};

use super::exec_proto::{ExecutorCmd, LINE_BYTES_MAX};
use super::interpolate::Scope;
use super::services::Place;
use super::task::{Ctx, Spec};
use super::{ClientEffect, Secure};
use crate::api::{CheckResult, ServiceCheck};
use crate::http::response::Response;
use crate::stdx::{BTreeMap, duration, sort};

/// What became of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeEvent {
    /// The connection stands, and what was to be sent is sent.
    Connected,
    Data(Vec<u8>),
    /// The other side is through; with text: it broke.
    Closed(String),
    /// A script has ended; with an error: not by itself.
    Ran {
        code: i32,
        output: String,
        error: String,
    },
}

/// How a check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Tcp(SocketAddr),
    Http(SocketAddr, Vec<u8>, Option<Secure>),
    /// By the executor of this task.
    Script(String, ExecutorCmd),
    /// It cannot be asked, and why.
    Never(String),
}

/// One check of one instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckSpec {
    /// 64 hex digits.
    id: String,
    name: String,
    service: String,
    /// Empty for checks of the group.
    task: String,
    /// Does not count for the health of a rollout.
    readiness: bool,
    /// A warning is good enough for a rollout.
    warnings_pass: bool,
    ask: Ask,
    interval_ns: u64,
    timeout_ns: u64,
    restart: Option<Restart>,
}

/// Terms of `check_restart`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Restart {
    /// Empty: all main tasks.
    task: String,
    limit: u64,
    grace_ns: u64,
    ignore_warnings: bool,
}

impl CheckSpec {
    pub(crate) fn new(
        spec: Spec<'_>,
        service: &str,
        check: &ServiceCheck,
        place: &Place,
        scope: &Scope,
    ) -> Self {
        let name = scope.text(&check.name);
        let ns = |n: i64| u64::try_from(n).unwrap_or(0).max(INTERVAL_NS_MIN);
        let restart = check.check_restart.as_ref().and_then(|r| {
            let limit = u64::try_from(r.limit).ok().filter(|n| *n > 0)?;
            Some(Restart {
                task: check.task_name.clone(),
                limit,
                grace_ns: u64::try_from(r.grace.unwrap_or(0)).unwrap_or(0),
                ignore_warnings: r.ignore_warnings,
            })
        });
        let mut identity = vec![
            spec.alloc.id.as_str(),
            &spec.group.name,
            &spec.task.name,
            service,
            &name,
            &check.kind,
            &check.path,
            &check.port_label,
        ];
        let script = check.kind == "script";
        if script {
            identity.push(&check.command);
            identity.extend(check.args.iter().map(String::as_str));
        }
        let id = digest(&identity);
        let ask =
            if script { script_of(spec, &id, check, scope) } else { ask(check, place, scope) };
        let ask = ask.unwrap_or_else(Ask::Never);
        Self {
            id,
            name,
            service: service.to_owned(),
            task: spec.task.name.clone(),
            readiness: check.on_update == "ignore",
            warnings_pass: check.on_update == "ignore_warnings",
            ask,
            interval_ns: ns(check.interval),
            timeout_ns: ns(check.timeout),
            restart,
        }
    }
}

/// # Errors
/// Why nobody can be asked.
fn ask(check: &ServiceCheck, place: &Place, scope: &Scope) -> Result<Ask, String> {
    let port = u16::try_from(place.port).ok().filter(|p| *p > 0);
    let port = port.ok_or("nomad: the check has no port")?;
    let ip: IpAddr = place.address.parse().map_err(|_| {
        format!("nomad: {:?} is not an IP address, which is all that checks go to", place.address)
    })?;
    let addr = SocketAddr::new(ip, port);
    match check.kind.as_str() {
        "tcp" => Ok(Ask::Tcp(addr)),
        "http" => {
            let name = match check.tls_server_name.as_str() {
                "" => ip.to_string(),
                name => name.to_owned(),
            };
            let secure = Secure { name, anyone: check.tls_skip_verify };
            let secure = Some(secure).filter(|_| check.protocol == "https");
            Ok(Ask::Http(addr, request(check, addr, scope)?, secure))
        }
        other => Err(format!("nomad: checks of type {other:?} are not made by this version")),
    }
}

/// # Errors
/// Why it cannot be run.
fn script_of(spec: Spec<'_>, id: &str, check: &ServiceCheck, scope: &Scope) -> Result<Ask, String> {
    let task = if check.task_name.is_empty() { &spec.task.name } else { &check.task_name };
    let command = ExecutorCmd::Run {
        id: id.to_owned(),
        command: scope.text(&check.command),
        args: check.args.iter().map(|a| scope.text(a)).collect(),
        timeout_ns: u64::try_from(check.timeout).unwrap_or(0).max(INTERVAL_NS_MIN),
    };
    // A longer line would end the conversation with the executor.
    if crate::stdx::json::encode(&command).len() >= LINE_BYTES_MAX {
        return Err("nomad: command and args of the check are too long".to_owned());
    }
    Ok(Ask::Script(task.clone(), command))
}

/// The bytes of a request.
fn request(check: &ServiceCheck, addr: SocketAddr, scope: &Scope) -> Result<Vec<u8>, String> {
    let method = if check.method.is_empty() { "GET" } else { &check.method };
    if !method.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err(format!("nomad: invalid method {method:?}"));
    }
    let mut out = format!("{method} ");
    let path = scope.text(&check.path);
    if !path.starts_with('/') {
        out.push('/');
    }
    for b in path.bytes() {
        if b.is_ascii_graphic() {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out.push_str(" HTTP/1.1\r\n");
    let body = scope.text(&check.body);
    let mut fields = vec![
        ("Host".to_owned(), vec![addr.to_string()]),
        ("User-Agent".to_owned(), vec![format!("vardo/{}", crate::VERSION)]),
        ("Accept".to_owned(), vec!["*/*".to_owned()]),
    ];
    for (name, values) in check.header.iter() {
        let name = scope.text(name);
        fields.retain(|(n, _)| !n.eq_ignore_ascii_case(&name));
        fields.push((name, values.iter().map(|v| scope.text(v)).collect()));
    }
    fields.push(("Connection".to_owned(), vec!["close".to_owned()]));
    if !body.is_empty() {
        fields.push(("Content-Length".to_owned(), vec![body.len().to_string()]));
    }
    for (name, values) in fields {
        for value in values {
            let bad = |b: u8| b < 0x20 || b == 0x7f;
            if value.bytes().any(bad) || name.bytes().any(|b| bad(b) || b == b':' || b == b' ') {
                return Err(format!("nomad: invalid header field {name:?}"));
            }
            out.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    out.push_str("\r\n");
    out.push_str(&body);
    Ok(out.into_bytes())
}

/// SHA-256 in hex, of texts that are kept apart.
fn digest(texts: &[&str]) -> String {
    let mut all = Vec::new();
    for text in texts {
        all.extend_from_slice(text.as_bytes());
        all.push(0);
    }
    let sum = ring::digest::digest(&ring::digest::SHA256, &all);
    sum.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pending,
    Success,
    Warning,
    Failure,
}

#[derive(Clone, Debug)]
struct Check {
    spec: CheckSpec,
    next_at: u64,
    run: Option<Run>,
    verdict: Verdict,
    /// Status of the last answer; 0: none.
    code: u16,
    output: String,
    /// Wall clock of the last change of the above, in seconds.
    at_s: i64,
    /// Failures in a row that count for a restart.
    failures: u64,
    /// Before this they do not count.
    grace_until: u64,
}

/// A run on its way.
#[derive(Clone, Debug)]
struct Run {
    give_up: u64,
    response: Response,
}

/// All checks of an allocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    list: Vec<Check>,
    /// Tasks to be started anew (empty: all main tasks), and because of which check.
    pub(crate) restarts: Vec<(String, String)>,
}

impl Checks {
    /// Replaces the checks; those that stay the same go on.
    pub(crate) fn set(&mut self, alloc: &str, specs: Vec<CheckSpec>, ctx: &mut Ctx<'_>) {
        let mut old = std::mem::take(&mut self.list);
        for spec in specs {
            let same = old.iter().position(|c| c.spec == spec);
            self.list.push(match same {
                Some(at) => old.swap_remove(at),
                None => Check::new(spec, ctx),
            });
        }
        for gone in old.iter().filter(|c| c.run.is_some()) {
            ctx.out.push(ClientEffect::ProbeEnd((alloc.to_owned(), gone.spec.id.clone())));
        }
        self.timer(alloc, ctx);
    }

    /// Monotonic nanoseconds of what has to happen next.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.list.iter().map(|c| c.run.as_ref().map_or(c.next_at, |r| r.give_up)).min()
    }

    /// Begins what is due and ends what takes too long.
    pub(crate) fn timer(&mut self, alloc: &str, ctx: &mut Ctx<'_>) {
        let now = ctx.now.mono_ns;
        for check in &mut self.list {
            if check.run.as_ref().is_some_and(|r| r.give_up <= now) {
                let after = i64::try_from(check.spec.timeout_ns).unwrap_or(i64::MAX);
                let text = format!("nomad: no answer within {}", duration::Go(after));
                check.end(alloc, (Verdict::Failure, 0, text), &mut self.restarts, ctx);
            }
            if check.run.is_none() && check.next_at <= now {
                check.begin(alloc, &mut self.restarts, ctx);
            }
        }
    }

    /// How a run goes on.
    pub(crate) fn probe(&mut self, alloc: &str, id: &str, event: ProbeEvent, ctx: &mut Ctx<'_>) {
        if let Some(check) = self.list.iter_mut().find(|c| c.spec.id == id)
            && let Some(outcome) = check.hear(event)
        {
            check.end(alloc, outcome, &mut self.restarts, ctx);
        }
    }

    /// Whether a rollout may go on.
    pub(crate) fn healthy(&self) -> bool {
        self.list.iter().all(|c| match c.verdict {
            Verdict::Success => true,
            Verdict::Warning => c.spec.readiness || c.spec.warnings_pass,
            Verdict::Pending | Verdict::Failure => c.spec.readiness,
        })
    }

    /// The results as they are served, by id; `null` where there are no checks.
    pub(crate) fn results(&self, alloc_name: &str) -> Vec<u8> {
        let all: BTreeMap<&str, CheckResult> =
            sort::gather(self.list.iter().map(|c| (c.spec.id.as_str(), c.result(alloc_name))));
        crate::stdx::json::encode(&Some(all).filter(|a| !a.is_empty()))
    }
}

impl Check {
    fn new(spec: CheckSpec, ctx: &Ctx<'_>) -> Self {
        let now = ctx.now;
        let grace = spec.restart.as_ref().map_or(0, |r| r.grace_ns);
        Self {
            spec,
            next_at: now.mono_ns,
            run: None,
            verdict: Verdict::Pending,
            code: 0,
            output: "nomad: waiting to run".to_owned(),
            at_s: now.wall_ns.div_euclid(SECOND),
            failures: 0,
            grace_until: now.mono_ns.saturating_add(grace),
        }
    }

    fn begin(&mut self, alloc: &str, restarts: &mut Vec<(String, String)>, ctx: &mut Ctx<'_>) {
        self.next_at = ctx.now.mono_ns.saturating_add(self.spec.interval_ns);
        let probe = |addr, request, secure| {
            let key = (alloc.to_owned(), self.spec.id.clone());
            (ClientEffect::Probe { key, addr, request, secure }, 0)
        };
        let (effect, more_ns) = match &self.spec.ask {
            Ask::Never(why) => {
                let outcome = (Verdict::Failure, 0, why.clone());
                return self.record(outcome, restarts, ctx);
            }
            // The executor keeps the time-out itself.
            Ask::Script(task, command) => {
                let key = (alloc.to_owned(), task.clone());
                (ClientEffect::Executor(key, command.clone()), ANSWER_NS)
            }
            Ask::Tcp(addr) => probe(*addr, Vec::new(), None),
            Ask::Http(addr, request, secure) => probe(*addr, request.clone(), secure.clone()),
        };
        let give_up = ctx.now.mono_ns.saturating_add(self.spec.timeout_ns + more_ns);
        self.run = Some(Run { give_up, response: Response::default() });
        ctx.out.push(effect);
    }

    /// The outcome, where the run is over.
    fn hear(&mut self, event: ProbeEvent) -> Option<(Verdict, u16, String)> {
        let run = self.run.as_mut()?;
        let tcp = matches!(self.spec.ask, Ask::Tcp(_));
        let failed = |text: String| Some((Verdict::Failure, 0, format!("nomad: {text}")));
        match event {
            ProbeEvent::Connected if tcp => {
                return Some((Verdict::Success, 0, "nomad: tcp ok".to_owned()));
            }
            ProbeEvent::Connected => return None,
            ProbeEvent::Data(bytes) => {
                if let Err(text) = run.response.feed(&bytes) {
                    return failed(text.to_owned());
                }
            }
            ProbeEvent::Closed(text) if !text.is_empty() => return failed(text),
            ProbeEvent::Closed(_) if run.response.status().is_none() => {
                return failed("closed without an answer".to_owned());
            }
            ProbeEvent::Closed(_) => return answered(&run.response),
            ProbeEvent::Ran { code, output, error } => return Some(ran(code, &output, &error)),
        }
        let known = run.response.status()?;
        if (200..300).contains(&known) || run.response.is_done() {
            return answered(&run.response);
        }
        None
    }

    fn end(
        &mut self,
        alloc: &str,
        outcome: (Verdict, u16, String),
        restarts: &mut Vec<(String, String)>,
        ctx: &mut Ctx<'_>,
    ) {
        self.run = None;
        ctx.out.push(ClientEffect::ProbeEnd((alloc.to_owned(), self.spec.id.clone())));
        self.record(outcome, restarts, ctx);
    }

    fn record(
        &mut self,
        (verdict, code, output): (Verdict, u16, String),
        restarts: &mut Vec<(String, String)>,
        ctx: &Ctx<'_>,
    ) {
        let now = ctx.now;
        (self.verdict, self.code, self.output) = (verdict, code, output);
        self.at_s = now.wall_ns.div_euclid(SECOND);
        let Some(restart) = &self.spec.restart else { return };
        let bad = match verdict {
            Verdict::Failure => true,
            Verdict::Warning => !restart.ignore_warnings,
            Verdict::Success | Verdict::Pending => false,
        };
        if !bad {
            self.failures = 0;
        } else if now.mono_ns >= self.grace_until {
            self.failures += 1;
        }
        if self.failures >= restart.limit {
            self.failures = 0;
            self.grace_until = now.mono_ns.saturating_add(restart.grace_ns);
            restarts.push((restart.task.clone(), self.spec.name.clone()));
        }
    }

    fn result(&self, alloc_name: &str) -> CheckResult {
        let status = match self.verdict {
            Verdict::Pending => "pending",
            Verdict::Success => "success",
            Verdict::Warning | Verdict::Failure => "failure",
        };
        CheckResult {
            check: self.spec.name.clone(),
            group: alloc_name.to_owned(),
            id: self.spec.id.clone(),
            mode: if self.spec.readiness { "readiness" } else { "healthiness" },
            output: self.output.clone(),
            service: self.spec.service.clone(),
            status,
            status_code: self.code,
            task: self.spec.task.clone(),
            timestamp: self.at_s,
        }
    }
}

/// 2xx is good, and 429 a warning: too busy to answer is not dead.
fn answered(response: &Response) -> Option<(Verdict, u16, String)> {
    let code = response.status()?;
    Some(match code {
        200..300 => (Verdict::Success, code, "nomad: http ok".to_owned()),
        429 => (Verdict::Warning, code, text_of(response)),
        _ => (Verdict::Failure, code, text_of(response)),
    })
}

/// Exit status 0 is good, everything else is not.
fn ran(code: i32, output: &str, error: &str) -> (Verdict, u16, String) {
    let (verdict, mut text) = match (code, error) {
        (0, "") => (Verdict::Success, "nomad: script ok".to_owned()),
        (_, "") => (Verdict::Failure, format!("nomad: script exited with status {code}")),
        _ => (Verdict::Failure, format!("nomad: script: {error}")),
    };
    if !output.is_empty() {
        text = format!("{text}\n{output}");
    }
    (verdict, 0, text)
}

fn text_of(response: &Response) -> String {
    String::from_utf8_lossy(response.body()).into_owned()
}

/// Least interval and time-out, nanoseconds.
const INTERVAL_NS_MIN: u64 = 1_000_000_000;
const SECOND: i64 = 1_000_000_000;
/// How long an executor may take to tell the end of a script beyond its time-out, nanoseconds.
const ANSWER_NS: u64 = 5_000_000_000;
