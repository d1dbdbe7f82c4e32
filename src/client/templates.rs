//! The templates of the tasks of an allocation: rendered before a task starts, and again when
//! something changes that they were made from.
//!
//! What a template looks up is asked of the servers with the task's own token, first at once and
//! then so that the answer comes when it changes. The last answers are kept on the node: while no
//! server can be reached a task starts with what was last known.

use crate::api::{Task, Template};
use crate::client::interpolate::Scope;
use crate::client::lookup::{self, Answer, Lookup, Within};
use crate::client::supply::{Change, Given};
use crate::client::task::{Ctx, alloc_root};
use crate::client::{ClientEffect, Inquiry, PlacedFile, Told};
use crate::stdx::json::{List, records};
use crate::stdx::{BTreeMap, Now};
use crate::template::{Options, within};

/// The same is not asked again before so long, nanoseconds: what changes all the time is rendered
/// so often.
const PAUSE_NS: u64 = 250_000_000;
/// After a failure it is asked again after so long, doubled each time up to the second.
const RETRY_NS: u64 = 1_000_000_000;
const RETRY_MAX_NS: u64 = 30_000_000_000;
/// Most questions of one task.
const QUESTIONS_MAX: usize = 64;
/// Largest answer that a template is made from, in bytes.
const ANSWER_MAX: usize = crate::limits::TEMPLATE_FILE_MAX;
/// How often a file is looked at that a template reads, nanoseconds.
const LOOK_NS: u64 = 5_000_000_000;
/// Steps of all templates of one task: a few milliseconds.
const TASK_STEPS: usize = 1 << 19;
/// How long renderings wait for company, where the job does not say.
const SPLAY_NS: i64 = 5_000_000_000;

records! {
/// An answer as it is kept on the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeptAnswer {
    task: String,
    target: String,
    status: u64,
    body: String,
}
}

/// One question and its last answer.
#[derive(Clone, Debug, Default)]
struct Watched {
    answer: Option<Answer>,
    /// Of the answer; zero: it is asked at once.
    index: u64,
    asked: Option<u64>,
    /// Not before, monotonic nanoseconds.
    due: u64,
    failures: u32,
}

#[derive(Clone, Debug, Default)]
struct TaskTemplates {
    watched: BTreeMap<String, Watched>,
    /// What its templates make, in their order.
    rendered: Option<Vec<String>>,
    /// They were looked at, and something has changed since.
    begun: bool,
    stale: bool,
    /// The task is given what is new then, monotonic nanoseconds.
    change_at: Option<u64>,
    /// When the first of what is new came, and by how much the task is told later.
    since: Option<(u64, u64)>,
    /// Which of them are new.
    fresh: Vec<usize>,
    /// Its turn to be rendered comes then; the loop has other things to do.
    deferred: Option<u64>,
    /// The task's own files can be read.
    files: bool,
    /// Scripts for the first rendering have been dealt with.
    greeted: bool,
    /// Why they cannot be rendered at all.
    error: Option<String>,
    /// What they wait for, and what of it was told.
    missing: Vec<String>,
    announced: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Templates {
    tasks: BTreeMap<String, TaskTemplates>,
    /// The answers are not on disk as they are here.
    pub(crate) changed: bool,
}

/// What one task has to be rendered with.
pub(crate) struct Place<'a> {
    pub(crate) alloc: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) task: &'a Task,
    pub(crate) scope: &'a Scope,
    pub(crate) token: &'a str,
    /// Its files are as they are to be when it starts.
    pub(crate) files: bool,
}

impl Templates {
    pub(crate) fn restore(kept: List<KeptAnswer>) -> Self {
        let mut out = Self::default();
        for KeptAnswer { task, target, status, body } in kept.0 {
            let status = u16::try_from(status).unwrap_or(0);
            let answer = Some(Answer { status, body });
            let task = out.tasks.entry(task).or_default();
            task.watched.insert(target, Watched { answer, ..Watched::default() });
        }
        out
    }

    pub(crate) fn kept(&self) -> List<KeptAnswer> {
        let mut out = Vec::new();
        for (task, t) in &self.tasks {
            for (target, watched) in &t.watched {
                let Some(answer) = &watched.answer else { continue };
                if lookup::file_of(target).is_some() {
                    continue;
                }
                out.push(KeptAnswer {
                    task: task.clone(),
                    target: target.clone(),
                    status: u64::from(answer.status),
                    body: answer.body.clone(),
                });
            }
        }
        List(out)
    }

    /// Monotonic nanoseconds of what has to happen next.
    pub(crate) fn deadline(&self) -> Option<u64> {
        let asks = |t: &TaskTemplates| {
            let may = |target: &str| t.files || lookup::file_of(target).is_none();
            let open = t.watched.iter().filter(|(target, w)| w.asked.is_none() && may(target));
            open.map(|(_, w)| w.due).min()
        };
        self.tasks.values().flat_map(|t| [t.change_at, t.deferred, asks(t)]).flatten().min()
    }

    /// Whether a task may start, as far as this goes.
    pub(crate) fn is_ready(&self, task: &Task) -> bool {
        let state = self.tasks.get(&task.name);
        task.templates.is_empty()
            || state.is_some_and(|t| t.rendered.is_some() || t.error.is_some())
    }

    /// Why a task cannot be started.
    pub(crate) fn error(&self, task: &str) -> Option<&str> {
        self.tasks.get(task)?.error.as_deref()
    }

    /// What a task waits for, where that is new.
    pub(crate) fn news(&mut self, task: &str) -> Option<String> {
        let state = self.tasks.get_mut(task)?;
        if state.missing == state.announced {
            return None;
        }
        state.announced.clone_from(&state.missing);
        // The first answers are on their way.
        let asked = |m: &String| state.watched.get(m).is_some_and(|w| w.answer.is_none());
        // Files are read when it is their time.
        let known = state.missing.iter().filter(|m| !asked(m)).cloned().collect::<Vec<_>>();
        (!known.is_empty()).then(|| format!("Missing: {}", known.join(", ")))
    }

    /// Whether a task is to be given something new.
    pub(crate) fn is_due(&self, task: &str, now: Now) -> bool {
        let state = self.tasks.get(task);
        state.is_some_and(|t| t.change_at.is_some_and(|at| at <= now.mono_ns))
    }

    /// Renders what is to be rendered, and asks what is to be asked.
    pub(crate) fn advance(&mut self, place: &Place<'_>, ctx: &mut Ctx<'_>) {
        if place.task.templates.is_empty() {
            return;
        }
        let state = self.tasks.entry(place.task.name.clone()).or_default();
        state.files = place.files;
        state.deferred = None;
        if (state.stale || !state.begun) && ctx.turn.steps == 0 {
            state.deferred = Some(ctx.now.mono_ns + 1);
        } else if state.stale || !state.begun {
            (state.stale, state.begun) = (false, true);
            self.changed |= state.render(place, ctx);
        }
        let once = place.task.templates.iter().all(|t| t.once) && state.rendered.is_some();
        for (target, watched) in &mut state.watched {
            if watched.asked.is_some() || watched.due > ctx.now.mono_ns || once {
                if once {
                    watched.due = u64::MAX;
                }
                continue;
            }
            let inquiry = match lookup::file_of(target) {
                Some(_) if !place.files => continue,
                Some((root, path)) => Inquiry::File { root, path },
                None => {
                    let (target, token) = (target.clone(), place.token.to_owned());
                    Inquiry::Get { target, token, index: watched.index }
                }
            };
            let id = ctx.random();
            watched.asked = Some(id);
            ctx.out.push(ClientEffect::Ask(id, inquiry));
        }
    }

    /// Nothing is wanted any more.
    pub(crate) fn end(&mut self, ctx: &mut Ctx<'_>) {
        for task in std::mem::take(&mut self.tasks).into_values() {
            for id in task.watched.into_values().filter_map(|w| w.asked) {
                ctx.out.push(ClientEffect::Unask(id));
            }
        }
    }

    /// The servers have answered; false where it is not a question of these templates.
    pub(crate) fn told(&mut self, id: u64, told: Option<&Told>, ctx: &Ctx<'_>) -> bool {
        let found = self.tasks.values_mut().find_map(|t| {
            let (target, watched) = t.watched.iter_mut().find(|(_, w)| w.asked == Some(id))?;
            Some((target.clone(), watched, &mut t.stale))
        });
        let Some((target, watched, stale)) = found else { return false };
        watched.asked = None;
        let now = ctx.now.mono_ns;
        let file = lookup::file_of(&target).is_some();
        let known = told.filter(|t| {
            let counts = matches!(t.status, 200 | 404) || (file && t.status == 400);
            counts && t.body.len() <= ANSWER_MAX
        });
        let Some(told) = known else {
            let wait = RETRY_NS.checked_shl(watched.failures).unwrap_or(RETRY_MAX_NS);
            watched.failures = (watched.failures + 1).min(16);
            watched.due = now + wait.min(RETRY_MAX_NS);
            // Other servers may count otherwise.
            watched.index = 0;
            return true;
        };
        watched.failures = 0;
        watched.due = match told.status {
            _ if !file => now + PAUSE_NS,
            404 => now + RETRY_NS,
            // What a template itself is, is read once.
            200 if lookup::is_source(&target) => u64::MAX,
            _ => now + LOOK_NS,
        };
        watched.index = told.index;
        let body = String::from_utf8_lossy(&told.body).into_owned();
        let answer = Some(Answer { status: told.status, body });
        if watched.answer != answer {
            watched.answer = answer;
            *stale = true;
            self.changed |= !file;
        }
        true
    }

    /// Files and variables of a task that starts now.
    pub(crate) fn give(&mut self, place: &Place<'_>, ctx: &Ctx<'_>, given: &mut Given) {
        let Some(state) = self.tasks.get_mut(&place.task.name) else { return };
        let Some(rendered) = &state.rendered else { return };
        for (template, text) in place.task.templates.iter().zip(rendered) {
            given.files.extend(file(place, template, text, ctx).ok());
            if template.envvars {
                given.vars.extend(variables(text).unwrap_or_default());
            }
        }
        (state.change_at, state.since) = (None, None);
        state.fresh.clear();
    }

    /// What a task that has just started is told of the first rendering.
    pub(crate) fn first(&mut self, task: &Task) -> Vec<Change> {
        let Some(state) = self.tasks.get_mut(&task.name) else { return Vec::new() };
        if state.rendered.is_none() || std::mem::replace(&mut state.greeted, true) {
            return Vec::new();
        }
        let scripts = task.templates.iter().filter_map(|t| {
            t.change_script.as_ref().filter(|s| s.run_on_first_render && t.change_mode == "script")
        });
        scripts.map(|script| Change::script(&task.name, script)).collect()
    }

    /// A task that runs already has heard of the first rendering.
    pub(crate) fn adopted(&mut self, task: &str) {
        self.tasks.entry(task.to_owned()).or_default().greeted = true;
    }

    /// What a running task is to be given and told now.
    pub(crate) fn due(&mut self, place: &Place<'_>, ctx: &Ctx<'_>) -> Vec<Change> {
        let Some(state) = self.tasks.get_mut(&place.task.name) else { return Vec::new() };
        if state.change_at.is_none_or(|at| at > ctx.now.mono_ns) {
            return Vec::new();
        }
        (state.change_at, state.since) = (None, None);
        let fresh = std::mem::take(&mut state.fresh);
        let all = || place.task.templates.iter().zip(state.rendered.iter().flatten()).enumerate();
        let of = |i: &usize| fresh.contains(i);
        let mut out: Vec<Change> = Vec::new();
        for (_, (template, text)) in all().filter(|(i, _)| of(i)) {
            let restart = template.envvars && template.change_mode != "noop";
            let mode = if restart { "restart" } else { template.change_mode.as_str() };
            let change = Change {
                task: place.task.name.clone(),
                files: file(place, template, text, ctx).into_iter().collect(),
                mode: mode.to_owned(),
                signal: template.change_signal.clone(),
                script: template.change_script.clone(),
                why: "Template with change_mode restart re-rendered".to_owned(),
            };
            // All files, but each thing is done once.
            match out.iter_mut().find(|c| {
                (&c.mode, &c.signal, &c.script) == (&change.mode, &change.signal, &change.script)
            }) {
                Some(same) => same.files.extend(change.files),
                None => out.push(change),
            }
        }
        // One that is started anew needs to hear nothing else.
        if out.iter().any(|c| c.mode == "restart") {
            for change in out.iter_mut().filter(|c| c.mode != "restart") {
                "noop".clone_into(&mut change.mode);
            }
            out.sort_by_key(|c| c.mode == "restart");
        }
        out
    }
}

impl TaskTemplates {
    /// Whether answers were dropped.
    fn render(&mut self, place: &Place<'_>, ctx: &mut Ctx<'_>) -> bool {
        let watched = &self.watched;
        let known = |target: &str| watched.get(target)?.answer.clone();
        let sandbox = |path: &str| file_target(place, path, ctx);
        let mut lookup = Lookup {
            vars: &place.scope.vars,
            namespace: place.namespace,
            known: &known,
            sandbox: &sandbox,
            wall_ns: ctx.now.wall_ns,
            used: Vec::new(),
            missing: Vec::new(),
        };
        let mut texts = Vec::new();
        let mut error = None;
        let mut steps = TASK_STEPS;
        for template in place.task.templates.iter() {
            match one(template, place, &mut lookup, &mut steps, ctx) {
                Ok(text) => texts.push(text),
                // What is missing may be what it stumbles over.
                Err(_) if !lookup.missing.is_empty() => {}
                Err(text) => error = error.or(Some(text)),
            }
        }
        let Lookup { used, missing, .. } = lookup;
        ctx.turn.steps = ctx.turn.steps.saturating_sub(TASK_STEPS - steps);
        if used.len() > QUESTIONS_MAX {
            error = Some(format!("a task's templates ask for more than {QUESTIONS_MAX} things"));
        }
        let mut dropped = false;
        for (target, old) in std::mem::take(&mut self.watched) {
            if used.contains(&target) {
                self.watched.insert(target, old);
            } else {
                dropped = true;
                ctx.out.extend(old.asked.map(ClientEffect::Unask));
            }
        }
        for target in used.into_iter().take(QUESTIONS_MAX) {
            self.watched.entry(target).or_default();
        }
        self.missing = missing;
        if let Some(error) = error {
            log::warn!("a template of task {} is not rendered: {error}", place.task.name);
            // One that has worked goes on with what it has made.
            if self.rendered.is_none() {
                self.error = Some(error);
            }
            return dropped;
        }
        if !self.missing.is_empty() {
            return dropped;
        }
        self.error = None;
        let Some(old) = self.rendered.replace(texts) else { return dropped };
        let new = self.rendered.iter().flatten().enumerate();
        let fresh: Vec<usize> =
            new.filter(|(i, t)| old.get(*i) != Some(t)).map(|(i, _)| i).collect();
        for i in fresh {
            if !self.fresh.contains(&i) {
                self.fresh.push(i);
            }
            if let Some(template) = place.task.templates.get(i) {
                self.plan(template, ctx);
            }
        }
        dropped
    }

    /// When the task is told of a change: once there was none for the least time that the template
    /// says, but no later than the most after the first of them, and by chance up to its splay
    /// after that. Source of the most where it is not said: four times the least.
    fn plan(&mut self, template: &Template, ctx: &mut Ctx<'_>) {
        let ns = |n: Option<i64>| u64::try_from(n.unwrap_or(0)).unwrap_or(0);
        let now = ctx.now.mono_ns;
        let splay = ns(Some(template.splay.unwrap_or(SPLAY_NS)));
        let by_chance = ctx.random() % splay.max(1);
        let (since, later) = *self.since.get_or_insert((now, by_chance));
        let wait = template.wait.as_ref().or(ctx.config.template_wait.as_ref());
        let least = ns(wait.and_then(|w| w.min));
        let most = match ns(wait.and_then(|w| w.max)) {
            0 => least.saturating_mul(4),
            most => most,
        };
        let quiet = now.saturating_add(least).min(since.saturating_add(most).max(now));
        let at = quiet.saturating_add(later);
        self.change_at = Some(self.change_at.map_or(at, |old| old.max(at)));
    }
}

/// Where a task's templates may read: in its own directory, and in what it shares with the others
/// of its group. Source: CVE-2024-1329 and CVE-2020-27195: looked at after the interpolation, and
/// no link leads out of it.
fn file_target(place: &Place<'_>, path: &str, ctx: &Ctx<'_>) -> Result<Within, String> {
    let all = alloc_root(ctx.config, place.alloc);
    let own = format!("{all}/{}", place.task.name);
    let shared = format!("{all}/alloc");
    let path = place.scope.text(path);
    let inner = |root: &str| path.strip_prefix(root)?.strip_prefix('/').map(str::to_owned);
    let (root, inner) = match (inner(&own), inner(&shared)) {
        (Some(inner), _) => (own, inner),
        (None, Some(inner)) => (shared, inner),
        (None, None) => (own, path.clone()),
    };
    let inner = super::files::inside(&inner);
    inner.map(|p| (root, p)).ok_or_else(|| format!("{path:?} leads out of the task's directory"))
}

fn one(
    template: &Template,
    place: &Place<'_>,
    lookup: &mut Lookup<'_>,
    steps: &mut usize,
    ctx: &Ctx<'_>,
) -> Result<String, String> {
    let source = match template.source_path.as_str() {
        path if template.embedded_tmpl.is_empty() && !path.is_empty() => lookup.source(path)?,
        _ => None,
    };
    let text = source.as_deref().unwrap_or(&template.embedded_tmpl);
    let or = |text: &'_ str, default: &'static str| -> String {
        if text.is_empty() { default.to_owned() } else { text.to_owned() }
    };
    let (left, right) = (or(&template.left_delim, "{{"), or(&template.right_delim, "}}"));
    let options = Options { left: &left, right: &right, strict: template.err_missing_key };
    let text = within(steps, text, options, &serde_json::Value::Null, lookup)?;
    file(place, template, &text, ctx)?;
    if template.envvars && lookup.missing.is_empty() {
        variables(&text)?;
    }
    Ok(text)
}

/// Where a rendered template goes: within the task's directory.
fn file(
    place: &Place<'_>,
    template: &Template,
    text: &str,
    ctx: &Ctx<'_>,
) -> Result<PlacedFile, String> {
    let root = format!("{}/{}", alloc_root(ctx.config, place.alloc), place.task.name);
    let dest = place.scope.text(&template.dest_path);
    let path = dest.strip_prefix(&format!("{root}/")).unwrap_or(&dest);
    let path = super::files::inside(path)
        .ok_or_else(|| format!("template destination escapes task dir: {dest:?}"))?;
    let id = |n: Option<i64>| n.and_then(|n| u32::try_from(n).ok());
    Ok(PlacedFile {
        root,
        path,
        mode: u32::from_str_radix(&template.perms, 8).unwrap_or(0o644) & 0o777,
        user: String::new(),
        owner: (id(template.uid), id(template.gid)),
        bytes: text.as_bytes().to_vec(),
    })
}

/// `KEY=VALUE` lines. Behind a value in quotes, or behind white space and `#`, is a comment; in
/// double quotes a backslash has the meaning that it has in most languages.
fn variables(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut out = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let pair = line.strip_prefix("export ").unwrap_or(line).split_once('=');
        let Some((name, value)) = pair.filter(|(n, _)| !n.trim().is_empty()) else {
            return Err(format!("error parsing env template: line {} is no KEY=VALUE", i + 1));
        };
        out.push((name.trim().to_owned(), unquoted(value)));
    }
    Ok(out)
}

/// What a value of [`variables`] says.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let comment = |rest: &str| rest.trim_start().is_empty() || rest.trim_start().starts_with('#');
    if let Some((inner, rest)) = value.strip_prefix('\'').and_then(|v| v.split_once('\''))
        && comment(rest)
    {
        return inner.to_owned();
    }
    if let Some(inner) = value.strip_prefix('"') {
        let mut out = String::new();
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' if comment(chars.as_str()) => return out,
                '\\' => out.push(match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(other) => other,
                    None => '\\',
                }),
                c => out.push(c),
            }
        }
    }
    let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
    value.get(..end).unwrap_or_default().trim_end().to_owned()
}
