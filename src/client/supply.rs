//! What the servers give the tasks of an allocation: tokens that say who they are.
//!
//! A task that wants one starts when it is there. Tokens are kept on this node, so that a task
//! starts again with the last ones while no server can be reached, and are renewed at half of their
//! time. What is renewed is written over the old, and the task told as its job says.

use crate::api::{
    ChangeScript, IDENTITY_DEFAULT, SignedIdentity, Task, TaskGroup, Template, WorkloadIdentity,
};
use crate::client::task::{Ctx, alloc_root};
use crate::client::templates::KeptAnswer;
use crate::client::{ClientEffect, Inquiry, PlacedFile, Told};
use crate::stdx::json::{self, List, records};

/// After a failure it is asked again after so long, doubled each time up to the second. A new
/// cluster may have to make the key first.
const RETRY_NS: u64 = 250_000_000;
const RETRY_MAX_NS: u64 = 30_000_000_000;

records! {
/// What is kept on the node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SupplyRow {
    pub(crate) identities: List<SignedIdentity>,
    pub(crate) answers: List<KeptAnswer>,
}
}

/// What a task that starts is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) vars: Vec<(String, String)>,
    pub(crate) files: Vec<PlacedFile>,
}

/// What is to be done to a task because something that it was given has changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) task: String,
    pub(crate) files: Vec<PlacedFile>,
    /// `restart`, `signal`, `script`, or anything else for nothing.
    pub(crate) mode: String,
    pub(crate) signal: String,
    pub(crate) script: Option<ChangeScript>,
    /// What the history of the task says.
    pub(crate) why: String,
}

impl Change {
    /// A script that a task is told by, and nothing else.
    pub(crate) fn script(task: &str, script: &ChangeScript) -> Self {
        let script = Some(script.clone());
        let (task, mode) = (task.to_owned(), "script".to_owned());
        let (files, signal, why) = Default::default();
        Self { task, files, mode, signal, script, why }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Supply {
    identities: List<SignedIdentity>,
    /// The question that is under way.
    asked: Option<u64>,
    /// Monotonic nanoseconds of the next question.
    due: Option<u64>,
    failures: u32,
    /// The row is not on disk as it is here.
    pub(crate) changed: bool,
}

impl Supply {
    pub(crate) fn restore(identities: List<SignedIdentity>) -> Self {
        Self { identities, ..Self::default() }
    }

    pub(crate) fn identities(&self) -> &List<SignedIdentity> {
        &self.identities
    }

    /// Monotonic nanoseconds of what has to happen next.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.due
    }

    /// Asks for what is missing or about to end.
    pub(crate) fn advance(&mut self, alloc: &str, group: &TaskGroup, ctx: &mut Ctx<'_>) {
        if self.asked.is_some() || !group.tasks.iter().any(wants_any) {
            return;
        }
        let now = ctx.now.mono_ns;
        let missing = group.tasks.iter().any(|t| !self.has_all(t));
        let due = self.due.unwrap_or_else(|| {
            if missing { now } else { self.renewal(group, ctx).unwrap_or(u64::MAX) }
        });
        if due > now {
            self.due = Some(due).filter(|d| *d != u64::MAX);
            return;
        }
        let id = ctx.random();
        self.asked = Some(id);
        self.due = None;
        let alloc = alloc.to_owned();
        ctx.out.push(ClientEffect::Ask(id, Inquiry::Identities { alloc }));
    }

    /// When the first of the tokens in use is to be renewed: between half of the time that it has
    /// left and a little more, so that not all nodes come at once.
    fn renewal(&self, group: &TaskGroup, ctx: &mut Ctx<'_>) -> Option<u64> {
        let used = self.identities.iter().filter(|s| {
            let task = group.tasks.iter().find(|t| t.name == s.task);
            s.expires > 0 && task.is_some_and(|t| wanted(t).any(|i| i.name == s.name))
        });
        let end = used.map(|s| s.expires).min()?;
        let left = u64::try_from(end.saturating_sub(ctx.now.wall_ns)).unwrap_or(0);
        let jitter = ctx.random() % (left / 8).max(1);
        Some(ctx.now.mono_ns + left / 2 + jitter)
    }

    /// Nothing is wanted any more.
    pub(crate) fn end(&mut self, ctx: &mut Ctx<'_>) {
        self.due = None;
        if let Some(id) = self.asked.take() {
            ctx.out.push(ClientEffect::Unask(id));
        }
    }

    /// Whether an answer is for this allocation.
    pub(crate) fn awaits(&self, id: u64) -> bool {
        self.asked == Some(id)
    }

    /// The servers have answered: what that changes for tasks that may be running.
    pub(crate) fn told(
        &mut self,
        told: Option<&Told>,
        alloc: &str,
        group: &TaskGroup,
        ctx: &mut Ctx<'_>,
    ) -> Vec<Change> {
        self.asked = None;
        let signed = told.filter(|t| t.status == 200);
        let signed = signed.and_then(|t| json::decode::<List<SignedIdentity>>(&t.body).ok());
        let Some(signed) = signed else {
            if let Some(told) = told {
                let text = String::from_utf8_lossy(&told.body);
                log::warn!("the identities of {alloc} are not signed: {} {text}", told.status);
            }
            let wait = RETRY_NS.checked_shl(self.failures).unwrap_or(RETRY_MAX_NS);
            self.failures = (self.failures + 1).min(16);
            self.due = Some(ctx.now.mono_ns + wait.min(RETRY_MAX_NS));
            return Vec::new();
        };
        self.failures = 0;
        let mut out = Vec::new();
        for task in group.tasks.iter() {
            for identity in wanted(task) {
                let of = |all: &List<SignedIdentity>| {
                    let mut all = all.iter();
                    let found = all.find(|s| s.task == task.name && s.name == identity.name);
                    found.map(|s| (s.jwt.clone(), s.expires))
                };
                // One without an end is as good as its next.
                let Some((jwt, 1..)) = of(&signed) else { continue };
                if of(&self.identities).is_some() {
                    out.push(Change {
                        task: task.name.clone(),
                        files: file(alloc, task, identity, &jwt, ctx).into_iter().collect(),
                        mode: identity.change_mode.clone(),
                        signal: identity.change_signal.clone(),
                        script: None,
                        why: format!("identity {:?} was renewed", identity.name),
                    });
                }
            }
        }
        self.identities = signed;
        self.changed = true;
        self.due = self.renewal(group, ctx);
        out
    }

    /// What a task shows to servers; empty where it needs none.
    pub(crate) fn default_token(&self, task: &str) -> &str {
        self.token(task, IDENTITY_DEFAULT).map_or("", |s| &s.jwt)
    }

    fn token(&self, task: &str, name: &str) -> Option<&SignedIdentity> {
        self.identities.iter().find(|s| s.task == task && s.name == name)
    }

    pub(crate) fn has_all(&self, task: &Task) -> bool {
        wanted(task).all(|i| self.token(&task.name, &i.name).is_some())
    }

    /// Whether a task may start, as far as this goes. With tokens that have ended it may where
    /// newer ones cannot be had.
    pub(crate) fn is_ready(&self, task: &Task, wall_ns: i64) -> bool {
        let ended = |s: &SignedIdentity| s.expires > 0 && s.expires <= wall_ns;
        self.has_all(task)
            && (self.failures > 0
                || !self.identities.iter().any(|s| s.task == task.name && ended(s)))
    }

    /// What a task that starts now is given.
    pub(crate) fn give(&self, alloc: &str, task: &Task, ctx: &Ctx<'_>) -> Given {
        let mut given = Given::default();
        for identity in wanted(task) {
            let Some(token) = self.token(&task.name, &identity.name) else { continue };
            if identity.env {
                let name = match identity.name.as_str() {
                    IDENTITY_DEFAULT => "NOMAD_TOKEN".to_owned(),
                    name => format!("NOMAD_TOKEN_{name}"),
                };
                given.vars.push((name, token.jwt.clone()));
            }
            given.files.extend(file(alloc, task, identity, &token.jwt, ctx));
        }
        given
    }
}

/// The identities that a task is given.
fn wanted(task: &Task) -> impl Iterator<Item = &WorkloadIdentity> {
    // With the default one its templates are read; what those from files ask for is not known yet.
    let asks = |t: &Template| t.embedded_tmpl.contains("nomad") || !t.source_path.is_empty();
    let default = task.templates.iter().any(asks);
    let all = task.identity.iter().chain(task.identities.iter());
    all.filter(move |i| i.env || i.file || (default && i.name == IDENTITY_DEFAULT))
}

fn wants_any(task: &Task) -> bool {
    wanted(task).next().is_some()
}

fn file(
    alloc: &str,
    task: &Task,
    identity: &WorkloadIdentity,
    jwt: &str,
    ctx: &Ctx<'_>,
) -> Option<PlacedFile> {
    let path = match (identity.filepath.as_str(), identity.name.as_str()) {
        _ if !identity.file => return None,
        ("", IDENTITY_DEFAULT) => "secrets/nomad_token".to_owned(),
        ("", name) => format!("secrets/nomad_{name}.jwt"),
        (path, _) => path.to_owned(),
    };
    Some(PlacedFile {
        root: format!("{}/{}", alloc_root(ctx.config, alloc), task.name),
        path,
        mode: 0o600,
        user: task.user.clone(),
        owner: (None, None),
        bytes: jwt.as_bytes().to_vec(),
    })
}
