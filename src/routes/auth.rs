//! Who asks, and what they may do.
//!
//! [`super::dispatch`] finds out who asks before a handler runs, and holds the column of the
//! routes' table against it. What depends on the object is asked by the handler through [`Ctx`];
//! an answer for which nobody has asked is refused there, so that no route can forget it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::identity::{self, Holder};
use super::namespaces::NAME_MAX;
use super::scaling::text;
use super::table::Need;
use super::{Ctx, Method};
use crate::acl::{Acl, Caps, Level, Policy, Workload, ns};
use crate::api::{AclPolicy, AclRole, AclToken, ApiError, JobAcl};
use crate::limits::{ACL_CACHED_MAX, TOKEN_TTL_MAX_NS, TOKEN_TTL_MIN_NS};
use crate::stdx::json::Time;
use crate::stdx::{Now, blake2b, same_secret, uuid};
use crate::store::{Reader, Row, Table, keys};

/// Settings of access control, and what was found out before.
#[derive(Clone, Debug)]
pub struct AclInfo {
    pub enabled: bool,
    /// How long a token with an end may be valid, ns.
    pub token_min_ttl_ns: i64,
    pub token_max_ttl_ns: i64,
    /// What the file says with which a bootstrap is allowed again; zero: nothing.
    pub bootstrap_reset: u64,
    known: Rc<RefCell<Known>>,
}

impl Default for AclInfo {
    fn default() -> Self {
        Self {
            enabled: false,
            token_min_ttl_ns: TOKEN_TTL_MIN_NS,
            token_max_ttl_ns: TOKEN_TTL_MAX_NS,
            bootstrap_reset: 0,
            known: Rc::default(),
        }
    }
}

/// Holders of tokens by the digest of the secret, and united policies by their names, both in
/// order; as long as none of their tables moves.
#[derive(Debug, Default)]
struct Known {
    at: u64,
    /// Those that asked last, by [`slot`]: they are known by the secret itself.
    recent: [Option<Rc<Who>>; RECENT],
    holders: Vec<([u8; 32], Rc<Who>)>,
    acls: Vec<(Vec<String>, Rc<Acl>)>,
    /// Policies that workloads have by themselves, with their names.
    attached: Option<Vec<(JobAcl, String)>>,
}

/// Who asks.
#[derive(Debug)]
pub struct Who {
    /// What they may do; `None`: everything.
    pub acl: Option<Rc<Acl>>,
    /// `None`: anonymous, or a workload.
    pub token: Option<AclToken>,
    /// A task that proved itself, where it is one.
    workload: Option<Holder>,
    /// Names of their policies, those of their roles among them, in order.
    pub policies: Vec<String>,
    /// The namespace that was last asked for, and what may be done there: requests and rows of a
    /// list that follow each other mostly ask for the same, and patterns are many.
    last: RefCell<Option<(String, Caps)>>,
}

impl Who {
    fn new(acl: Option<Rc<Acl>>, token: Option<AclToken>, policies: Vec<String>) -> Self {
        Self { acl, token, workload: None, policies, last: RefCell::default() }
    }

    /// What may be done in a namespace.
    fn in_namespace(&self, acl: &Acl, namespace: &str) -> Caps {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((name, caps)) if name == namespace => *caps,
            _ => {
                let caps = acl.in_namespace(namespace);
                // Longer ones are no names of namespaces.
                *last = (namespace.len() <= NAME_MAX).then(|| (namespace.to_owned(), caps));
                caps
            }
        }
    }

    /// Of the token; empty for those without one.
    fn secret(&self) -> &str {
        self.token.as_ref().map_or("", |token| &token.secret_id)
    }
}

/// Number of holders that are known without a digest. Compared with one secret each, in a time
/// that does not depend on it.
const RECENT: usize = 32;

/// Where the holder of a secret is among the recent.
fn slot(secret: &str) -> usize {
    usize::from(secret.bytes().fold(0, u8::wrapping_add)) % RECENT
}

/// Asks for all namespaces.
const ALL: &str = "*";
/// Accessor and policy of those without a token.
pub(super) const ANONYMOUS: &str = "anonymous";
/// Accessor of everyone, where access control is off.
pub(super) const DISABLED: &str = "acls-disabled";

/// Access as far as one request has asked for it.
#[derive(Default)]
pub struct Access {
    /// `None`: someone for whom no token is needed, and who may do everything.
    pub who: Option<Rc<Who>>,
    asked: Cell<bool>,
}

type Result<T> = std::result::Result<T, ApiError>;

/// What the holder of a token whose time is over is told where it asks for the token itself.
const EXPIRED: &str = "ACL token expired";

/// 403 with the recorded text.
pub(super) fn denied() -> ApiError {
    ApiError::new(403, "Permission denied")
}

impl AclInfo {
    pub fn new(enabled: bool, token_min_ttl_ns: i64, token_max_ttl_ns: i64) -> Self {
        Self { enabled, token_min_ttl_ns, token_max_ttl_ns, ..Self::default() }
    }

    /// The holder of a token, as of now; `None`: access control is off.
    ///
    /// # Errors
    /// 403 for a token that is unknown, or whose time is over.
    pub fn holder(
        &self,
        reader: Reader<'_>,
        now: Now,
        token: Option<&str>,
    ) -> Result<Option<Rc<Who>>> {
        if !self.enabled {
            return Ok(None);
        }
        let secret = token.unwrap_or_default();
        let mut known = self.known.borrow_mut();
        known.renew(reader);
        let recent = known.recent.get(slot(secret)).and_then(Option::as_ref);
        let who = match recent.filter(|who| same_secret(who.secret(), secret)) {
            Some(who) => Rc::clone(who),
            None if secret.is_empty() || uuid::is_uuid(secret) => known.find(reader, secret)?,
            None => {
                // What it is worth changes with its allocation, so it is not remembered.
                let holder = identity::holder(reader, now, secret).map_err(|why| {
                    log::debug!("a token that is no UUID was refused: {why}");
                    denied()
                })?;
                Rc::new(known.workload(reader, holder)?)
            }
        };
        match &who.token {
            Some(token) if token.is_expired(now.wall_ns) => Err(ApiError::new(403, EXPIRED)),
            _ => Ok(Some(who)),
        }
    }

    /// When the token of a request ends, ns since the epoch; `None`: never.
    pub fn ends(&self, reader: Reader<'_>, now: Now, token: Option<&str>) -> Option<i64> {
        let who = self.holder(reader, now, token).ok()??;
        if let Some(workload) = &who.workload {
            return workload.ends;
        }
        let end = who.token.as_ref()?.expiration_time;
        (end != Time(0)).then_some(end.0)
    }
}

/// Puts something at its place in a list that is in order, and does not grow without end.
fn keep<T>(list: &mut Vec<T>, at: usize, value: T) {
    if list.len() >= ACL_CACHED_MAX {
        list.clear();
    }
    list.insert(at.min(list.len()), value);
}

impl Known {
    /// Forgets what may not hold any more.
    fn renew(&mut self, reader: Reader<'_>) {
        let at = reader.tables_index(Table::ACL);
        if self.at != at {
            *self = Self { at, ..Self::default() };
        }
    }

    /// What a task may do: what its name gives, and the policies that are attached to it.
    fn workload(&mut self, reader: Reader<'_>, holder: Holder) -> Result<Who> {
        if self.attached.is_none() {
            let rows: Vec<AclPolicy> = reader.acl_rows(Table::Policy)?;
            let all = rows.into_iter().filter_map(|p| Some((p.job_acl?, p.name)));
            self.attached = Some(all.collect());
        }
        let workload = &holder.workload;
        let all = self.attached.iter().flatten();
        let mine = all.filter(|(to, _)| identity::attached(to, workload));
        let policies: Vec<String> = mine.map(|(_, name)| name.clone()).collect();
        let acl = Some(self.acl(reader, &policies, Some(workload))?);
        Ok(Who { workload: Some(holder), ..Who::new(acl, None, policies) })
    }

    /// The holder of a secret, by its digest, recent from now on.
    fn find(&mut self, reader: Reader<'_>, secret: &str) -> Result<Rc<Who>> {
        let digest = blake2b::digest(secret.as_bytes());
        let who = match self.holders.binary_search_by(|(d, _)| d.cmp(&digest)) {
            Ok(at) => self.holders.get(at).map(|(_, who)| Rc::clone(who)).ok_or_else(denied)?,
            Err(at) => {
                let who = Rc::new(self.read(reader, secret)?);
                keep(&mut self.holders, at, (digest, Rc::clone(&who)));
                who
            }
        };
        if !same_secret(who.secret(), secret) {
            return Err(denied());
        }
        if let Some(recent) = self.recent.get_mut(slot(secret)) {
            *recent = Some(Rc::clone(&who));
        }
        Ok(who)
    }

    fn read(&mut self, reader: Reader<'_>, secret: &str) -> Result<Who> {
        if secret.is_empty() {
            let policies = vec![ANONYMOUS.to_owned()];
            let acl = Some(self.acl(reader, &policies, None)?);
            return Ok(Who::new(acl, None, policies));
        }
        let token = reader.token_by_secret(secret)?.ok_or_else(denied)?;
        if token.kind == AclToken::MANAGEMENT {
            return Ok(Who::new(None, Some(token), Vec::new()));
        }
        let mut policies = token.policies.clone().unwrap_or_default();
        for link in token.roles.iter() {
            let role: Option<AclRole> = reader.acl_row(Table::Role, &link.id)?;
            policies.extend(role.into_iter().flat_map(|r| r.policies.0).map(|p| p.name));
        }
        policies.sort_unstable();
        policies.dedup();
        let acl = Some(self.acl(reader, &policies, None)?);
        Ok(Who::new(acl, Some(token), policies))
    }

    /// The union of policies, those that are not there passed over, and of what a workload has.
    fn acl(
        &mut self,
        reader: Reader<'_>,
        names: &[String],
        workload: Option<&Workload>,
    ) -> Result<Rc<Acl>> {
        let mut key = names.to_vec();
        // No policy has a name with a zero in it.
        key.extend(workload.map(|w| [&*w.namespace, &*w.job, &*w.group, &*w.task].join("\0")));
        let place = self.acls.binary_search_by(|(n, _)| n.cmp(&key));
        let at = match place {
            Ok(at) => return Ok(self.acls.get(at).map(|(_, a)| Rc::clone(a)).unwrap_or_default()),
            Err(at) => at,
        };
        let mut policies = Vec::new();
        for name in names {
            let Some(row) = reader.acl_row::<AclPolicy>(Table::Policy, name)? else { continue };
            match Policy::parse(&row.rules) {
                Ok(policy) => policies.push(policy),
                Err(e) => return Err(ApiError::failed(format!("policy {name:?}: {e}"))),
            }
        }
        let acl = Acl::new(&policies);
        let acl = Rc::new(match workload {
            Some(workload) => acl.of(workload.clone()),
            None => acl,
        });
        keep(&mut self.acls, at, (key, Rc::clone(&acl)));
        Ok(acl)
    }
}

impl Ctx<'_> {
    /// Finds out who asks, and what the column of the route's table says to that.
    pub(super) fn admit(&mut self, need: Need) -> Result<()> {
        if need == Need::Open {
            self.access.asked.set(true);
            return Ok(());
        }
        let token = self.req.token.as_deref();
        let who = match self.agent.acl.holder(self.reader, self.now, token) {
            Ok(who) => who,
            Err(_) if self.is_node_itself() => None,
            Err(e) if e.text == EXPIRED && self.req.path() != "/v1/acl/token/self" => {
                return Err(denied());
            }
            Err(e) => return Err(self.not_a_token().unwrap_or(e)),
        };
        self.access = Access { who, asked: Cell::new(false) };
        let level = match self.req.method {
            Method::Get | Method::Head => Level::Read,
            _ => Level::Write,
        };
        let allowed = match need {
            Need::Open | Need::Asks => return Ok(()),
            Need::Management => self.is_management(),
            Need::Agent => self.may(|a| a.agent(level)),
            Need::AgentWrite => self.may(|a| a.agent(Level::Write)),
            Need::AgentRead => self.may(|a| a.agent(Level::Read)),
            Need::Node => self.may(|a| a.node(level)),
            Need::NodeWrite => self.may(|a| a.node(Level::Write)),
            Need::Operator => self.may(|a| a.operator(level)),
            Need::Namespace(caps) => self.may_ns(&self.params.namespace, caps),
        };
        if allowed { Ok(()) } else { Err(denied()) }
    }

    /// What some endpoints answer to text that has not even the form of a token, as recorded.
    fn not_a_token(&self) -> Option<ApiError> {
        let status = match self.req.path() {
            "/v1/agent/self" | "/v1/agent/servers" | "/v1/acl/token/self" => 500,
            "/v1/client/stats" => 500,
            "/v1/agent/schedulers" => 403,
            _ => return None,
        };
        let token = self.req.token.as_ref().filter(|t| !uuid::is_uuid(t))?;
        let why = identity::holder(self.reader, self.now, token).err()?;
        let text = format!(
            "ACL token not found or invalid workload identity: failed to parse signed token: \
             go-jose/go-jose: {why}"
        );
        Some(ApiError::new(status, text))
    }

    /// A node asks for its own allocations, with its secret.
    fn is_node_itself(&self) -> bool {
        let id = self.req.path().strip_prefix("/v1/node/");
        let key = id.and_then(|p| p.strip_suffix("/allocations")).and_then(keys::by_uuid);
        let (Some(key), Some(token)) = (key, &self.req.token) else { return false };
        let secret = self.reader.secret(Table::Node, &key).ok().flatten();
        self.is_get() && secret.is_some_and(|s| !s.is_empty() && same_secret(s, token))
    }

    /// Whether anyone has asked yet: an answer without that is not to leave.
    pub(super) fn was_asked(&self) -> bool {
        self.access.asked.get() || self.acl().is_none()
    }

    /// Whether the caller may do something.
    pub(super) fn may(&self, allows: impl Fn(&Acl) -> bool) -> bool {
        self.access.asked.set(true);
        self.acl().is_none_or(allows)
    }

    /// Whether any of the capabilities is given in a namespace.
    pub(super) fn may_ns(&self, namespace: &str, any_of: Caps) -> bool {
        self.access.asked.set(true);
        let Some(who) = &self.access.who else { return true };
        let Some(acl) = &who.acl else { return true };
        match namespace {
            ALL => acl.namespace(ALL, any_of),
            _ => who.in_namespace(acl, namespace) & any_of != 0,
        }
    }

    /// [`Self::may_ns`], or 403.
    pub(super) fn need_ns(&self, namespace: &str, any_of: Caps) -> Result<()> {
        need(self.may_ns(namespace, any_of))
    }

    /// The caller is a running task.
    pub(super) fn is_workload(&self) -> bool {
        self.acl().is_some_and(Acl::is_workload)
    }

    /// Whether the services of a namespace may be seen: any workload may.
    pub(super) fn may_find(&self, namespace: &str) -> bool {
        self.may_ns(namespace, ns::READ_JOB) || (self.is_workload() && namespace != ALL)
    }

    /// [`Self::need_ns`] in the namespace that a stored object is in.
    pub(super) fn need_row(&self, row: &Row<'_>, any_of: Caps) -> Result<()> {
        if self.is_management() {
            return Ok(());
        }
        self.need_ns(&text(row.json, "Namespace"), any_of)
    }

    /// Whether a capability for a variable is given.
    pub(super) fn may_var(&self, namespace: &str, path: &str, cap: Caps) -> bool {
        self.access.asked.set(true);
        self.acl().is_none_or(|a| a.variable(namespace, path, cap))
    }

    /// A management token, or access control is off.
    pub(super) fn is_management(&self) -> bool {
        self.access.asked.set(true);
        self.acl().is_none()
    }

    /// What is answered is the same for all.
    pub(super) fn open(&self) {
        self.access.asked.set(true);
    }

    /// What the caller may do; `None`: everything.
    fn acl(&self) -> Option<&Acl> {
        self.access.who.as_ref()?.acl.as_deref()
    }

    /// The caller's token, where there is one.
    pub(super) fn token(&self) -> Option<&AclToken> {
        self.access.who.as_ref()?.token.as_ref()
    }

    /// Names of the caller's policies.
    pub(super) fn policies(&self) -> &[String] {
        self.access.who.as_ref().map_or(&[], |who| &who.policies)
    }

    /// Who the caller is in rows and events: the accessor of the token.
    pub(super) fn accessor(&self) -> &str {
        let workload = self.access.who.as_ref().and_then(|who| who.workload.as_ref());
        match (self.token(), self.acl()) {
            _ if let Some(holder) = workload => &holder.alloc,
            (Some(token), _) => &token.accessor_id,
            (None, Some(_)) => ANONYMOUS,
            (None, None) => DISABLED,
        }
    }
}

/// 403 unless it is allowed.
pub(super) fn need(allowed: bool) -> Result<()> {
    if allowed { Ok(()) } else { Err(denied()) }
}
